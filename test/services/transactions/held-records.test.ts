/** Delayed records of transactions: scheduled by the commit, dropped by the abort, whoever ends the transaction, and no reader waits for them. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import { HeldRecords, heldFeatures } from '../../../src/services/transactions/held-records.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { batchFormat } from '../features/delay-scenario.ts';
import { type Sender, TransactionBroker } from './transaction-broker.ts';

const id = 'tx';
const later = (value: string, more: Record<string, string> = {}) => ({
  value,
  headers: { 'rmq-delay-ms': '1000', ...more },
});

describe('delayed records in a transaction', () => {
  let broker: TransactionBroker;
  let producer: Sender;

  const init = async (): Promise<Sender> => {
    const { errorCode, ...facts } = await broker.transactions.initProducerId(id, 60_000, undefined);
    expect(errorCode).toBe(0);
    return { transactionalId: id, ...facts, sequence: 0 };
  };
  const end = async (isCommit: boolean) => {
    const { errorCode, ...facts } = await broker.transactions.endTransaction(id, producer, isCommit, true);
    if (errorCode === 0) producer = { transactionalId: id, ...facts, sequence: 0 };
    return errorCode;
  };
  const values = async (partition = 0) => (await broker.committed('later', partition)).values;

  beforeEach(async () => {
    broker = await TransactionBroker.inMemory();
    await broker.createTopic('later', 'DELAY');
    await broker.transactions.ensureTopic();
    producer = await init();
  });
  afterEach(() => broker.closeServices());

  it('are scheduled by its commit, with an answer that tells no offset', async () => {
    const [sent] = await broker.send(producer, [['later', 0, [later('a'), later('b')]]]);
    expect(sent).toMatchObject({ errorCode: 0, baseOffset: -1 });
    expect(broker.transactions.figures()).toMatchObject({ heldRecords: 1, openPartitions: 0 });
    await broker.pass(500);
    expect(await end(true)).toBe(0);
    expect(broker.transactions.figures()).toMatchObject({ heldRecords: 0 });
    expect(await values()).toEqual([]);
    expect(broker.delay.step.scheduled).toBe(2);
    await broker.pass(499);
    expect(await values()).toEqual([]);
    await broker.pass(1);
    expect(await values()).toEqual(['a', 'b']);
  });

  it('are delivered right after a commit that comes when their time has passed, never before it', async () => {
    await broker.send(producer, [['later', 0, [later('a')]]]);
    await broker.pass(30_000);
    expect(await values()).toEqual([]);
    await end(true);
    await broker.pass(0);
    expect(await values()).toEqual(['a']);
    expect(broker.timers.lateness.total).toBe(1);
  });

  it('are dropped by its abort, and their room is given back', async () => {
    await broker.send(producer, [['later', 0, [later('a')]]]);
    await broker.trim.runOnce();
    expect(await broker.hiddenBytes()).toBeGreaterThan(0);
    expect(await end(false)).toBe(0);
    await broker.pass(5000);
    expect(await values()).toEqual([]);
    await broker.trim.runOnce();
    expect(await broker.hiddenBytes()).toBe(0);
  });

  it('hold no last stable offset: others are read while their transaction is open', async () => {
    await broker.send(producer, [['later', 0, [later('a')]]]);
    const request = broker.appends.begin({ version: 9, acks: -1, transactionalId: null });
    const { buildRecordBatch } = await import('../../../protocol/records/record-batch-builder.ts');
    request.add(
      broker.topics.get('later')!,
      0,
      buildRecordBatch([{ value: Buffer.from('plain'), timestamp: 1 }]),
    );
    await request.run();
    expect(await broker.committed('later', 0)).toEqual({ values: ['plain'], isOpen: false });
    expect(broker.transactions.heldPartitions(10)).toEqual([]);
  });

  it('share a batch with records that are there at once, which are of the transaction', async () => {
    await broker.send(producer, [['later', 0, [{ value: 'now' }, later('a')]]]);
    expect(await broker.committed('later', 0)).toEqual({ values: [], isOpen: true });
    await end(false);
    await broker.pass(2000);
    expect(await values()).toEqual([]);
    await broker.send(producer, [['later', 0, [{ value: 'now' }, later('a')]]]);
    await end(true);
    expect(await values()).toEqual(['now']);
    await broker.pass(2000);
    expect(await values()).toEqual(['now', 'a']);
  });

  it('go with a transaction that takes too long', async () => {
    await broker.send(producer, [['later', 0, [later('a', { 'rmq-delay-ms': '100000' })]]]);
    await broker.pass(80_000);
    expect(broker.transactions.figures()).toMatchObject({ timedOut: 1, heldRecords: 0 });
    await broker.pass(80_000);
    expect(await values()).toEqual([]);
    expect(await end(true)).not.toBe(0);
  });

  it('go with a transaction that another producer of the id ends', async () => {
    const before = producer;
    await broker.send(producer, [['later', 0, [later('a')]]]);
    producer = await init();
    const [refused] = await broker.send({ ...before, sequence: 1 }, [['later', 0, [later('b')]]]);
    expect(refused!.errorCode).toBe(errorCodes.INVALID_PRODUCER_EPOCH);
    await broker.send(producer, [['later', 0, [later('c')]]]);
    await end(true);
    await broker.pass(2000);
    expect(await values()).toEqual(['c']);
  });

  it('are ended by a marker of an operator as well', async () => {
    await broker.send(producer, [['later', 0, [later('a')]]]);
    const marker = { ...producer, isCommit: false, coordinatorEpoch: 0 };
    expect(await broker.transactions.writeMarker('later', 0, marker)).toBe(0);
    expect(broker.held.size).toBe(0);
    await broker.pass(2000);
    expect(await values()).toEqual([]);
  });

  it('outlive a start of the broker, and are dropped then where nobody knows their transaction', async () => {
    await broker.send(producer, [['later', 0, [later('a')]]]);
    broker = await broker.restart();
    expect(broker.held.size).toBe(1);
    await broker.trim.runOnce();
    await end(true);
    await broker.pass(2000);
    expect(await values()).toEqual(['a']);

    // As if the coordinator's record were missing: cannot come about, and must not stay for ever.
    const { queue } = broker.topics.get('later')!.partitions[1]!;
    const stray = { queue, producerId: 999, producerEpoch: 0, transactionalId: 'nobody' };
    const hidden = broker.hiddenQueues[0]!;
    const entry = {
      queue: hidden,
      kind: 'state',
      count: 1,
      maxTimestampMs: -1,
      payload: Buffer.alloc(100),
      producer: {
        countsForQueue: queue,
        producerId: 999,
        producerEpoch: 0,
        firstSequence: 0,
        lastSequence: 0,
        isTransactional: true,
      },
    } as const;
    const held = { entry: 0, feature: heldFeatures.delayedRecord, payload: Buffer.from([2]) };
    const batch = broker.held.beforeBatch(stray, [held], [entry]);
    batch.settled(
      await broker.engine.append({ durability: 'sync', entries: [entry], changes: batch.changes }),
    );
    broker = await broker.restart();
    expect(broker.held.size).toBe(0);
    broker = await broker.restart();
    expect(broker.held.size).toBe(0);
  });

  it('go with their topic', async () => {
    await broker.send(producer, [['later', 0, [later('a')]]]);
    await broker.topics.delete(['later']);
    await broker.pass(0);
    expect(broker.held.size).toBe(0);
    expect(await end(true)).toBe(0);
    await broker.trim.runOnce();
    expect(await broker.hiddenBytes()).toBe(0);
    broker = await broker.restart();
    expect(broker.held.size).toBe(0);
  });

  it('are told by their message ids from the commit on, the newest of an id', async () => {
    const topic = () => broker.topics.get('later')!;
    const cancel = async (messageId: string) => {
      const operation = { action: 'cancel', messageId: Buffer.from(messageId) } as const;
      return (await broker.delay.operations.perform(topic(), [operation])).answers[0];
    };
    await broker.send(producer, [
      ['later', 0, [later('a', { 'rmq-message-id': 'm' }), later('b', { 'rmq-message-id': 'n' })]],
    ]);
    expect(await cancel('m')).toMatchObject({ outcome: 'refused', state: 'not-found' });
    await end(true);
    expect(await cancel('m')).toMatchObject({ outcome: 'done' });
    await broker.send(producer, [['later', 1, [later('c', { 'rmq-message-id': 'n' })]]]);
    await end(false);
    await broker.send(producer, [
      ['later', 1, [{ value: 'd', headers: { 'rmq-delay-ms': '0', 'rmq-message-id': 'o' } }]],
    ]);
    expect(await cancel('o')).toMatchObject({ outcome: 'refused', state: 'not-found' });
    await end(true);
    expect(await cancel('o')).toMatchObject({ outcome: 'refused', state: 'already-delivered' });
    await broker.pass(2000);
    expect(await values()).toEqual(['b']);
    expect(await values(1)).toEqual(['d']);
  });

  it('are held once where a batch is sent again', async () => {
    await broker.send(producer, [['later', 0, [later('a')]]]);
    const [again] = await broker.send(producer, [['later', 0, [later('a')]]]);
    expect(again).toMatchObject({ errorCode: 0, baseOffset: -1 });
    expect(broker.held.size).toBe(1);
    await end(true);
    await broker.pass(2000);
    expect(await values()).toEqual(['a']);
  });

  it('that are on their way when the end comes are in it', async () => {
    const sending = broker.send(producer, [['later', 0, [later('a')]]]);
    const ending = end(true);
    expect((await sending)[0]).toMatchObject({ errorCode: 0 });
    expect(await ending).toBe(0);
    await broker.pass(2000);
    expect(await values()).toEqual(['a']);
  });

  it('keep a producer that is of no transaction off the partition', async () => {
    const { queue } = broker.topics.get('later')!.partitions[0]!;
    await broker.send(producer, [['later', 0, [later('a')]]]);
    expect(broker.transactions.admitPlain(queue, producer.producerId)).toBe(errorCodes.INVALID_TXN_STATE);
    await end(true);
    expect(broker.transactions.admitPlain(queue, producer.producerId)).toBe(0);
  });

  it('may be ten thousand in a partition, and no more', { timeout: 30_000 }, async () => {
    const records = (from: number, count: number) =>
      Array.from({ length: count }, (_, at) =>
        later(String(from + at), { 'rmq-message-id': String(from + at) }),
      );
    for (let sequence = 0; sequence < 10_000; sequence += 2500) {
      const [sent] = await broker.send({ ...producer, sequence }, [['later', 0, records(sequence, 2500)]]);
      expect(sent!.errorCode).toBe(0);
    }
    const [refused] = await broker.send({ ...producer, sequence: 10_000 }, [['later', 0, [later('x')]]]);
    expect(refused).toMatchObject({ errorCode: errorCodes.INVALID_RECORD });
    expect(await end(true)).toBe(0);
    await broker.pass(2000);
    expect(await values()).toHaveLength(10_000);
  });
});

describe('room for what is held', () => {
  it('is bounded in bytes over all transactions, and given back by their ends', async () => {
    const engine = openMemoryEngine({ payloadFormat: batchFormat, clock: new VirtualClock() });
    await engine.catalogue.update({ changes: [], createQueues: [1] });
    const held = new HeldRecords({ engine, limits: { maxBytes: 1000 } });
    held.register(heldFeatures.delayedRecord, { commit: () => ({ changes: [], committed: () => {} }) });
    const facts = { queue: 7, producerId: 1, producerEpoch: 0, transactionalId: id };
    const entry = {
      queue: 1,
      kind: 'state',
      count: 1,
      maxTimestampMs: -1,
      payload: Buffer.alloc(70),
    } as const;
    expect(held.lacksRoom(7, 1, 1)).toBeUndefined();
    const one = { entry: 0, feature: heldFeatures.delayedRecord, payload: Buffer.alloc(900) };
    const batch = held.beforeBatch(facts, [one], [entry]);
    batch.settled(await engine.append({ durability: 'sync', entries: [entry], changes: batch.changes }));
    expect(held.lacksRoom(8, 2, 1)).toBe('all');
    const ending = held.beforeEnd(7, 1, true)!;
    await engine.append({ durability: 'sync', entries: [], changes: ending.changes });
    ending.settled(true);
    expect(held.lacksRoom(8, 2, 1)).toBeUndefined();
    for await (const source of held.sources()) expect.unreachable(String(source));
  });

  it('reads what is there where the outcome of a batch is not known', async () => {
    const engine = openMemoryEngine({ payloadFormat: batchFormat, clock: new VirtualClock() });
    await engine.catalogue.update({ changes: [], createQueues: [1] });
    const held = new HeldRecords({ engine });
    held.register(heldFeatures.delayedRecord, { commit: () => ({ changes: [], committed: () => {} }) });
    const facts = { queue: 7, producerId: 1, producerEpoch: 0, transactionalId: id };
    const entry = {
      queue: 1,
      kind: 'state',
      count: 1,
      maxTimestampMs: -1,
      payload: Buffer.alloc(70),
    } as const;
    const one = { entry: 0, feature: heldFeatures.delayedRecord, payload: Buffer.alloc(9) };
    const batch = held.beforeBatch(facts, [one], [entry]);
    expect(held.whenEndable(7, 1)).toBeDefined();
    await engine.append({ durability: 'sync', entries: [entry], changes: batch.changes });
    batch.settled([{ outcome: 'unknown' }]);
    await held.whenEndable(7, 1);
    expect(held.whenEndable(7, 1)).toBeUndefined();
    expect(held.size).toBe(1);
  });
});
