/** Transactions whose time is up, and whose application is asked before they are aborted. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import { batchSizeBytes } from '../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { type Sender, TransactionBroker } from './transaction-broker.ts';

const group = 'bank';
const id = 'bank-1';
const timeoutMs = 60_000;
/** More than the time-out and the interval in which it is looked for. */
const untilAskedMs = 75_000;

describe('a transaction whose time is up', () => {
  let broker: TransactionBroker;
  let producer: Sender;

  const init = async (transactionalId = id): Promise<Sender> => {
    const { errorCode, ...facts } = await broker.transactions.initProducerId(
      transactionalId,
      timeoutMs,
      undefined,
    );
    expect(errorCode).toBe(0);
    return { transactionalId, ...facts, sequence: 0 };
  };
  const ask = (settings: Record<string, string> = { 'rmq.txn.timeout.action': 'check' }, name = group) =>
    broker.groupConfigs.replace(name, new Map(Object.entries(settings)), false);
  const decide = async (verdict: string, of = producer) => {
    const request = broker.appends.begin({ version: 9, acks: -1, transactionalId: null });
    const key = Buffer.from(`${of.transactionalId}:${of.producerId}:${of.producerEpoch}`);
    const headers = [{ key: 'rmq-txn-action', value: Buffer.from(verdict) }];
    const batch = buildRecordBatch([{ timestamp: 1, key, value: null, headers }]);
    request.add(broker.topics.get(`txn.op.${group}`)!, 0, batch);
    const [result] = await request.run();
    return result!.errorCode;
  };
  const checks = async () => {
    const topic = broker.topics.get(`txn.check.${group}`);
    if (topic === undefined) return [];
    const seen: Record<string, string>[] = [];
    for (const { queue } of topic.partitions) {
      const read = await broker.engine.read(queue, { fromOffset: 0, maxBytes: 1e6, atLeastOne: true });
      if (read.outcome !== 'read') throw new Error(read.outcome);
      const bytes = Buffer.concat(read.payloads);
      read.release();
      for (let at = 0; at < bytes.length; at += batchSizeBytes(bytes, at)) {
        for (const { headers } of decodeRecords(bytes, at)) {
          seen.push(Object.fromEntries(headers.map(({ key, value }) => [key.toString(), value!.toString()])));
        }
      }
    }
    return seen;
  };
  const seen = async () => broker.committed('orders', 0);

  beforeEach(async () => {
    broker = await TransactionBroker.inMemory();
    await broker.createTopic('orders', 'NORMAL');
    await broker.createTopic('later', 'DELAY');
    await broker.transactions.ensureTopic();
    await ask();
    producer = await init();
    await broker.send(producer, [
      ['orders', 0, [{ value: 'paid' }]],
      ['later', 0, [{ value: 'reminded', headers: { 'rmq-delay-ms': '1000' } }]],
    ]);
    await broker.pass(untilAskedMs);
  });
  afterEach(() => broker.closeServices());

  it('is asked about, and its producer is fenced', async () => {
    expect(await checks()).toEqual([
      {
        'rmq-txn-id': `${id}:${producer.producerId}:${producer.producerEpoch}`,
        'rmq-producer-group': group,
        'rmq-transactional-id': id,
        'rmq-producer-id': String(producer.producerId),
        'rmq-producer-epoch': String(producer.producerEpoch),
        'rmq-born-ms': expect.any(String),
        'rmq-check-times': '1',
      },
    ]);
    expect(await seen()).toEqual({ values: [], isOpen: true });
    const [late] = await broker.send({ ...producer, sequence: 1 }, [['orders', 0, [{ value: 'late' }]]]);
    expect(late!.errorCode).toBe(errorCodes.INVALID_PRODUCER_EPOCH);
    const { errorCode } = await broker.transactions.endTransaction(id, producer, true, true);
    expect(errorCode).toBe(errorCodes.PRODUCER_FENCED);
  });

  it('is committed where the answer says so, with all that it holds; the same again is no error', async () => {
    expect(await decide('unknown')).toBe(0);
    expect(await seen()).toEqual({ values: [], isOpen: true });
    expect(await decide('commit')).toBe(0);
    expect(await seen()).toEqual({ values: ['paid'], isOpen: false });
    await broker.pass(5000);
    expect((await broker.committed('later', 0)).values).toEqual(['reminded']);
    expect(await decide('commit')).toBe(0);
    expect(await decide('rollback')).toBe(errorCodes.INVALID_RECORD);
    await broker.pass(3_600_000);
    expect(await checks()).toHaveLength(1);
  });

  it('is aborted where the answer says so', async () => {
    expect(await decide('rollback')).toBe(0);
    expect(await seen()).toEqual({ values: [], isOpen: false });
    await broker.pass(5000);
    expect((await broker.committed('later', 0)).values).toEqual([]);
    expect(await decide('rollback')).toBe(0);
    expect(await decide('commit')).toBe(errorCodes.INVALID_RECORD);
  });

  it('is asked about again and again, and aborted after rmq.txn.check.max intervals', async () => {
    for (let interval = 0; interval < 14; interval++) await broker.pass(30_000);
    expect((await checks()).map((check) => check['rmq-check-times'])).toEqual(
      Array.from({ length: 15 }, (_, at) => String(at + 1)),
    );
    expect(await seen()).toEqual({ values: [], isOpen: true });
    await broker.pass(30_000);
    expect(await seen()).toEqual({ values: [], isOpen: false });
    expect(await decide('commit')).toBe(errorCodes.INVALID_RECORD);
  });

  it('is aborted in time though nobody is there, or nobody reads what is asked', async () => {
    broker.checksRead.set(0, 0);
    for (let interval = 0; interval < 5; interval++) await broker.pass(30_000);
    expect(await checks()).toHaveLength(1);
    broker.someoneIsThere = false;
    for (let interval = 0; interval < 11; interval++) await broker.pass(30_000);
    expect(await checks()).toHaveLength(1);
    expect(await seen()).toEqual({ values: [], isOpen: false });
  });

  it('is aborted by a new producer of the id, which tells those who answer later', async () => {
    const next = await init();
    expect(await seen()).toEqual({ values: [], isOpen: false });
    expect(await decide('commit')).toBe(errorCodes.INVALID_RECORD);
    await broker.send(next, [['orders', 0, [{ value: 'next' }]]]);
    expect(await decide('commit')).toBe(errorCodes.INVALID_RECORD);
    expect(await decide('rollback')).toBe(0);
    expect((await broker.transactions.endTransaction(id, next, true, true)).errorCode).toBe(0);
    expect((await seen()).values).toEqual(['next']);
  });

  it('is asked about further after a start of the broker', async () => {
    const before = await checks();
    broker = await broker.restart();
    await broker.pass(30_000);
    expect(await checks()).toHaveLength(before.length + 1);
    await broker.pass(untilAskedMs);
    expect(await decide('commit')).toBe(0);
    expect((await seen()).values).toEqual(['paid']);
    broker = await broker.restart();
    expect(broker.half.transactions.isAsked(id)).toBe(false);
  });

  it('is listed with the half messages that wait', async () => {
    const page = await broker.half.decisions.list(group, 10, undefined);
    expect(page!.halves).toMatchObject([{ producerGroup: group, state: 'pending', checks: 1 }]);
    await decide('commit');
    expect((await broker.half.decisions.list(group, 10, undefined))!.halves).toMatchObject([
      { state: 'committed' },
    ]);
  });

  it('of an id that belongs to no such group is aborted as ever', async () => {
    const other = await init('shop-1');
    await broker.send(other, [['orders', 0, [{ value: 'x' }]]]);
    await decide('commit');
    await broker.pass(untilAskedMs);
    expect(await seen()).toEqual({ values: ['paid'], isOpen: false });
    expect(broker.transactions.figures().timedOut).toBe(1);
    expect(await checks()).toHaveLength(1);
  });

  it('goes to the longest name that its id begins with', async () => {
    await ask({ 'rmq.txn.timeout.action': 'check' }, 'bank-2');
    await ask({ 'rmq.txn.check.max': '3' }, 'bank-2-of');
    const other = await init('bank-2-of-3');
    await broker.send(other, [['orders', 0, [{ value: 'x' }]]]);
    await broker.pass(untilAskedMs);
    expect((await broker.half.decisions.list('bank-2', 10, undefined))!.halves).toMatchObject([
      {
        producerGroup: 'bank-2',
        txnId: Buffer.from(`bank-2-of-3:${other.producerId}:${other.producerEpoch}`),
      },
    ]);
  });
});
