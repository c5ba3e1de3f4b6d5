import { describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import type { AppendStep } from '../../../src/services/append/append-steps.ts';
import { Refusal } from '../../../src/services/append/batch-admission.ts';
import type { AppendGroup, AppendResult, RefusalReason } from '../../../src/storage/engine.ts';
import { batchOf, DataBroker, type DataBrokerOptions } from '../../handlers/data-broker.ts';

/** A broker that notes what it gives the engine. */
function observed(options: DataBrokerOptions = {}, result?: AppendResult) {
  const groups: AppendGroup[] = [];
  let waits = 0;
  const broker = new DataBroker({
    ...options,
    override: (engine) => ({
      append: (group) => {
        groups.push(group);
        return result === undefined ? engine.append(group) : Promise.resolve(group.entries.map(() => result));
      },
      whenDurable: async () => {
        waits++;
      },
    }),
  });
  return { broker, groups, durableWaits: () => waits };
}

describe('durability', () => {
  it.each([
    ['acks', -1, 'sync'],
    ['acks', 1, 'async'],
    ['acks', 0, 'async'],
    ['always', 1, 'sync'],
    ['always', -1, 'sync'],
    ['interval', -1, 'async'],
    ['interval', 1, 'async'],
  ] as const)('under flush policy %s acks=%i is %s', async (flushPolicy, acks, durability) => {
    const { broker, groups } = observed({ appendSettings: { flushPolicy } });
    await broker.topics.create('t', 1);
    if (acks !== 0) await broker.produce('t', batchOf(1), { acks });
    else {
      await broker.call(0, 8, {
        acks: 0,
        timeoutMs: 1,
        topicData: [{ name: 't', partitionData: [{ index: 0, records: batchOf(1) }] }],
      });
    }
    expect(groups.map((group) => group.durability)).toEqual([durability]);
  });

  it('flush.messages makes every so many records durable, 1 each of them', async () => {
    const { broker, groups } = observed({ appendSettings: { flushPolicy: 'interval' } });
    await broker.topics.create('each', 1, { flushMessages: 1 });
    await broker.topics.create('tenth', 2, { flushMessages: 10 });
    await broker.produce('each', batchOf(1), { acks: 1 });
    expect(groups.map((group) => group.durability)).toEqual(['sync']);
    groups.length = 0;
    for (let n = 0; n < 5; n++) await broker.produce('tenth', batchOf(4), { acks: 1 });
    await broker.produce('tenth', batchOf(4), { acks: 1, index: 1 });
    expect(groups.map((group) => group.durability)).toEqual([
      'async',
      'async',
      'sync',
      'async',
      'async',
      'async',
    ]);
  });

  it('flush.ms goes with the group', async () => {
    const { broker, groups } = observed();
    await broker.topics.create('t', 1, { flushMs: 25 });
    await broker.produce('t', batchOf(1), { acks: 1 });
    expect(groups[0]!.flushWithinMs).toBe(25);
  });

  it('a duplicate under acks=all waits until what it repeats is durable', async () => {
    const { broker, durableWaits } = observed();
    await broker.topics.create('t', 1);
    const batch = () => batchOf(1, { producerId: 1, producerEpoch: 0, baseSequence: 0 });
    await broker.produce('t', batch(), { acks: 1 });
    await broker.produce('t', batch(), { acks: 1 });
    expect(durableWaits()).toBe(0);
    await broker.produce('t', batch(), { acks: -1 });
    expect(durableWaits()).toBe(1);
  });
});

describe("the engine's refusals", () => {
  const codes: [RefusalReason, number][] = [
    ['unknown-queue', errorCodes.UNKNOWN_TOPIC_OR_PARTITION],
    ['out-of-order-sequence', errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER],
    ['stale-producer-epoch', errorCodes.INVALID_PRODUCER_EPOCH],
    ['closing', errorCodes.KAFKA_STORAGE_ERROR],
    ['storage-fault', errorCodes.KAFKA_STORAGE_ERROR],
  ];
  it.each(codes)('%s is error %i', async (reason, errorCode) => {
    const { broker } = observed({}, { outcome: 'refused', reason });
    await broker.topics.create('t', 1);
    expect(await broker.produce('t', batchOf(1))).toMatchObject({ errorCode, baseOffset: -1 });
  });

  it('an unknown outcome is one that may be there and is tried again', async () => {
    const { broker } = observed({}, { outcome: 'unknown' });
    await broker.topics.create('t', 1);
    expect(await broker.produce('t', batchOf(1))).toMatchObject({
      errorCode: errorCodes.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    });
  });
});

describe('steps', () => {
  const refusing: AppendStep = {
    name: 'refusing',
    apply: (batch) => (batch.recordCount === 3 ? new Refusal(errorCodes.INVALID_RECORD, 'three') : undefined),
  };
  const hiding = (queueOf: () => number): AppendStep => ({
    name: 'hiding',
    apply: (batch, { durability }) =>
      batch.recordCount < 2
        ? undefined
        : {
            group: {
              durability,
              entries: [
                { queue: queueOf(), kind: 'data', count: 1, maxTimestampMs: -1, payload: batch.payload },
              ],
            },
            answeringEntry: -1,
          },
  });

  it('are asked in order before anything is appended', async () => {
    let hidden = 0;
    const { broker, groups } = observed({ append: { steps: [refusing, hiding(() => hidden)] } });
    await broker.topics.create('t', 1);
    hidden = (await broker.topics.create('hidden', 1)).partitions[0]!.queue;
    expect(await broker.produce('t', batchOf(3))).toMatchObject({
      errorCode: errorCodes.INVALID_RECORD,
      errorMessage: 'three',
    });
    expect(groups).toEqual([]);
    // What is hidden has no offset to tell.
    expect(await broker.produce('t', batchOf(2))).toMatchObject({ errorCode: 0, baseOffset: -1 });
    expect(groups[0]!.entries[0]!.queue).toBe(hidden);
    expect(await broker.produce('t', batchOf(1))).toMatchObject({ errorCode: 0, baseOffset: 0 });
  });

  it('a gate for transactions lets transactional batches pass', async () => {
    const asked: (string | null)[] = [];
    const { broker, groups } = observed({
      append: {
        transactions: {
          admitRequest: (transactionalId) => {
            asked.push(transactionalId);
            return errorCodes.NONE;
          },
          admit: (_transactionalId, _version, batches) => batches.map(() => undefined),
          admitPlain: () => errorCodes.NONE,
        },
      },
    });
    await broker.topics.create('t', 1);
    const batch = batchOf(1, { producerId: 7, producerEpoch: 2, baseSequence: 0, transactional: true });
    expect(await broker.produce('t', batch, { transactionalId: 'tx' })).toMatchObject({ errorCode: 0 });
    expect(asked).toEqual(['tx']);
    expect(groups[0]!.entries[0]!.producer).toEqual({
      countsForQueue: 1,
      producerId: 7,
      producerEpoch: 2,
      firstSequence: 0,
      lastSequence: 0,
      isTransactional: true,
    });
  });
});
