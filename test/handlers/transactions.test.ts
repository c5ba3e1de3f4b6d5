/** Transactions over the handlers, on the memory engine with a virtual clock: what is written, who sees it, and what a restart keeps. */
import { beforeEach, describe, expect, it } from 'vitest';
import { errorCodes } from '../../protocol/error-codes.ts';
import type { InitProducerIdResponse } from '../../protocol/generated/22-init-producer-id.ts';
import type { EndTxnResponse } from '../../protocol/generated/26-end-txn.ts';
import type { TxnOffsetCommitResponse } from '../../protocol/generated/28-txn-offset-commit.ts';
import type { DescribeProducersResponse } from '../../protocol/generated/61-describe-producers.ts';
import { decodeRecordSet } from '../../protocol/records/record-set.ts';
import { batchOf, DataBroker } from './data-broker.ts';

let broker: DataBroker;

beforeEach(async () => {
  broker = new DataBroker();
  await broker.topics.create('t', 2);
  await broker.transactions.start();
});

/** A transactional producer of transaction.version 2. */
class Producer {
  readonly id: string;
  producerId = -1;
  producerEpoch = -1;
  private readonly next = new Map<number, number>();

  constructor(id = 'tx') {
    this.id = id;
  }

  get who() {
    const { id: transactionalId, producerId, producerEpoch } = this;
    return { transactionalId, producerId, producerEpoch };
  }

  async init(transactionTimeoutMs = 60_000): Promise<this> {
    const answer = await broker.call<InitProducerIdResponse>(22, 5, {
      transactionalId: this.id,
      transactionTimeoutMs,
    });
    expect(answer.errorCode).toBe(0);
    this.goOn(answer);
    return this;
  }

  private goOn(answer: { producerId: number | bigint; producerEpoch: number }): void {
    this.producerId = Number(answer.producerId);
    this.producerEpoch = answer.producerEpoch;
    this.next.clear();
  }

  send(count = 1, index = 0, version = 12) {
    const { producerId, producerEpoch } = this;
    const baseSequence = this.next.get(index) ?? 0;
    this.next.set(index, baseSequence + count);
    const records = batchOf(count, { producerId, producerEpoch, baseSequence, transactional: true });
    return broker.produce('t', records, { version, index, transactionalId: this.id });
  }

  async end(committed: boolean): Promise<EndTxnResponse> {
    const answer = await broker.call<EndTxnResponse>(26, 5, { ...this.who, committed });
    if (answer.errorCode === 0) this.goOn(answer);
    return answer;
  }

  commitOffset(groupId: string, offset: number, more: object = {}) {
    return broker.call<TxnOffsetCommitResponse>(28, 5, {
      ...this.who,
      groupId,
      generationIdOrMemberEpoch: -1,
      memberId: '',
      groupInstanceId: null,
      topics: [
        {
          name: 't',
          partitions: [
            { partitionIndex: 0, committedOffset: offset, committedLeaderEpoch: -1, committedMetadata: '' },
          ],
        },
      ],
      ...more,
    });
  }
}

async function read(fetchOffset = 0, isolationLevel = 1, partition = 0) {
  const answer = await broker.fetch({
    isolationLevel,
    topics: [{ topic: 't', partitions: [{ partition, fetchOffset }] }],
  });
  const row = answer.responses[0]!.partitions[0]!;
  const { batches } = decodeRecordSet(row.records ?? Buffer.alloc(0));
  return {
    stable: Number(row.lastStableOffset),
    high: Number(row.highWatermark),
    aborted: row.abortedTransactions?.map(({ producerId, firstOffset }) => [
      Number(producerId),
      Number(firstOffset),
    ]),
    offsets: batches.map((batch) => `${batch.baseOffset}${batch.control ? 'c' : ''}`),
  };
}

const stableOf = async (partition = 0) => (await read(0, 1, partition)).stable;

async function restart(): Promise<void> {
  await broker.transactions.close();
  await broker.groups.close();
  broker = new DataBroker({ before: broker });
  await broker.transactions.start();
}

async function offsetOf(groupId: string, requireStable = false) {
  const answer = await broker.call<{
    groups: { topics: { partitions: { committedOffset: number; errorCode: number }[] }[] }[];
  }>(9, 8, { groups: [{ groupId, topics: [{ name: 't', partitionIndexes: [0] }] }], requireStable });
  const { committedOffset, errorCode } = answer.groups[0]!.topics[0]!.partitions[0]!;
  return errorCode === 0 ? committedOffset : `error ${errorCode}`;
}

describe('the last stable offset', () => {
  it('stands at the first record of the oldest open transaction', async () => {
    await broker.produce('t', batchOf(3));
    const [a, b] = [await new Producer('a').init(), await new Producer('b').init()];
    await a.send(2);
    await broker.produce('t', batchOf(1));
    await b.send(1);
    await a.send(1);
    expect(await read()).toMatchObject({ stable: 3, high: 8, offsets: ['0'] });
    expect(await read(0, 0)).toMatchObject({ stable: 3, offsets: ['0', '3', '5', '6', '7'] });
    expect(await broker.listOffsets('t', -1, 7)).toMatchObject({ offset: 8 });
    await a.end(true);
    expect(await read()).toMatchObject({ stable: 6, high: 9, offsets: ['0', '3', '5'], aborted: [] });
    await b.end(false);
    expect(await read()).toMatchObject({ stable: 10, aborted: [[b.producerId, 6]] });
    expect((await read()).offsets).toEqual(['0', '3', '5', '6', '7', '8c', '9c']);
  });

  it('is the same after a restart, in the middle of transactions', async () => {
    const [a, b] = [await new Producer('a').init(), await new Producer('b').init()];
    await a.send(2);
    await b.send(1);
    await a.end(false);
    await a.send(2);
    await b.send(1, 1);
    const before = [await read(), await read(0, 1, 1)];
    await restart();
    expect([await read(), await read(0, 1, 1)]).toEqual(before);
    expect(before[0]).toMatchObject({ stable: 2, aborted: [[a.producerId, 0]] });
    await b.end(true);
    expect(await stableOf()).toBe(4);
    expect(await stableOf(1)).toBe(2);
    await a.send(1);
    await a.end(true);
    expect(await read()).toMatchObject({ stable: 9, high: 9 });
  });

  it('wakes readers that wait, when a transaction ends', async () => {
    const a = await new Producer().init();
    await a.send(2);
    const waiting = broker.fetch({
      maxWaitMs: 60_000,
      isolationLevel: 1,
      topics: [{ topic: 't', partitions: [{ partition: 0, fetchOffset: 0 }] }],
    });
    await new Promise((turn) => setTimeout(turn, 20));
    await a.end(true);
    const row = (await waiting).responses[0]!.partitions[0]!;
    expect(Number(row.lastStableOffset)).toBe(3);
  });

  it('moves with the start of the log, and is let go with the topic', async () => {
    const a = await new Producer().init();
    await a.send(4);
    await a.send(1);
    const { queue } = broker.topics.get('t')!.partitions[0]!;
    await broker.engine.trim(queue, 4);
    expect(broker.open.lastStableOffset(queue, 5)).toBe(4);
    await broker.topics.delete('t');
    expect(broker.open.size).toBe(0);
    expect(await a.end(true)).toMatchObject({ errorCode: 0 });
    await restart();
    expect(broker.open.size).toBe(0);
  });

  it('does not stand still where a first batch is refused', async () => {
    const a = await new Producer().init();
    await a.send(1);
    await a.end(true);
    await a.send(1, 0);
    await a.end(true);
    const late = batchOf(1, {
      producerId: a.producerId,
      producerEpoch: a.producerEpoch,
      baseSequence: 7,
      transactional: true,
    });
    const refused = await broker.produce('t', late, { version: 12, transactionalId: 'tx' });
    expect(refused.errorCode).toBe(errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER);
    expect(broker.open.size).toBe(0);
    expect(await read()).toMatchObject({ stable: 4, high: 4 });
  });

  it('is not passed by batches on their way to the disk', async () => {
    const a = await new Producer().init();
    const sent = [a.send(1), a.send(1), a.send(1)];
    expect(await stableOf()).toBe(0);
    await Promise.all(sent);
    expect(await stableOf()).toBe(0);
    await a.end(true);
    expect(await stableOf()).toBe(4);
    expect(broker.open.size).toBe(0);
  });
});

describe('aborted transactions', () => {
  it('are listed for what a read touches, and no others', async () => {
    const [a, b] = [await new Producer('a').init(), await new Producer('b').init()];
    await b.send(1); // 0
    await a.send(1); // 1
    await a.end(false); // 2
    await a.send(1); // 3
    await a.end(true); // 4
    await b.end(false); // 5
    await a.send(1); // 6
    await a.end(false); // 7
    const [pa, pb] = [a.producerId, b.producerId];
    expect((await read(0)).aborted).toEqual([
      [pa, 1],
      [pb, 0],
      [pa, 6],
    ]);
    expect((await read(3)).aborted).toEqual([
      [pb, 0],
      [pa, 6],
    ]);
    expect((await read(6)).aborted).toEqual([[pa, 6]]);
    await restart();
    expect((await read(3)).aborted).toEqual([
      [pb, 0],
      [pa, 6],
    ]);
    const { queue } = broker.topics.get('t')!.partitions[0]!;
    expect(await broker.open.abortedTransactions(queue, 0, 3)).toMatchObject([
      { firstOffset: 1 },
      { firstOffset: 0 },
    ]);
    await broker.engine.trim(queue, 6);
    expect(await broker.open.sweep()).toBe(2);
    expect(await broker.open.abortedTransactions(queue, 0, 8)).toMatchObject([
      { firstOffset: 6, lastOffset: 7 },
    ]);
    await broker.open.forgetAborted(queue, [{ producerId: pa, firstOffset: 6 }]);
    expect(await broker.open.abortedTransactions(queue, 0, 8)).toEqual([]);
  });
});

describe('offsets of a transaction', () => {
  it('count when it is committed, and not before', async () => {
    const a = await new Producer().init();
    await a.commitOffset('g', 5);
    expect([await offsetOf('g'), await offsetOf('g', true)]).toEqual([
      -1,
      `error ${errorCodes.UNSTABLE_OFFSET_COMMIT}`,
    ]);
    await restart();
    expect(await offsetOf('g', true)).toBe(`error ${errorCodes.UNSTABLE_OFFSET_COMMIT}`);
    await a.end(true);
    expect([await offsetOf('g'), await offsetOf('g', true)]).toEqual([5, 5]);
    await a.commitOffset('g', 9);
    await a.end(false);
    expect(await offsetOf('g', true)).toBe(5);
    await restart();
    expect(await offsetOf('g', true)).toBe(5);
  });

  it('end with a transaction whose group is not in memory after a restart', async () => {
    const a = await new Producer().init();
    await a.send(1);
    await a.commitOffset('g', 5);
    await restart();
    expect(await a.end(true)).toMatchObject({ errorCode: 0 });
    expect(await offsetOf('g', true)).toBe(5);
    expect(await stableOf()).toBe(2);
  });

  it('are the business of the newest producer alone', async () => {
    const a = await new Producer().init();
    const answer = await a.commitOffset('g', 5, { producerEpoch: a.producerEpoch + 1 });
    expect(answer.topics[0]!.partitions[0]!.errorCode).toBe(errorCodes.INVALID_PRODUCER_EPOCH);
    expect(await offsetOf('g', true)).toBe(-1);
  });
});

describe('a transaction that takes too long', () => {
  it('is aborted, its producer fenced, and its partitions go on', async () => {
    const a = await new Producer().init(30_000);
    await a.send(2);
    await a.commitOffset('g', 3);
    await broker.clock.advance(29_000);
    await settle();
    expect(await stableOf()).toBe(0);
    await broker.clock.advance(12_000);
    await settle();
    expect(await read()).toMatchObject({ stable: 3, aborted: [[a.producerId, 0]] });
    expect(await offsetOf('g', true)).toBe(-1);
    // As in Kafka: the epoch before the present one with the other outcome.
    expect(await a.end(true)).toMatchObject({ errorCode: errorCodes.INVALID_TXN_STATE });
    expect(await a.send(1)).toMatchObject({ errorCode: errorCodes.INVALID_PRODUCER_EPOCH });
    expect(broker.transactions.figures()).toMatchObject({ openPartitions: 0, timedOut: 1 });
  });

  it('also over a restart', async () => {
    const a = await new Producer().init(30_000);
    await a.send(2);
    await broker.clock.advance(25_000);
    await restart();
    await broker.clock.advance(20_000);
    await settle();
    expect(await stableOf()).toBe(3);
  });
});

describe('operators', () => {
  it('end in one partition what is open there', async () => {
    const a = await new Producer().init();
    await a.send(1);
    const describeProducers = async () =>
      (
        await broker.call<DescribeProducersResponse>(61, 0, {
          topics: [{ name: 't', partitionIndexes: [0] }],
        })
      ).topics[0]!.partitions[0]!.activeProducers[0]!;
    expect(await describeProducers()).toMatchObject({ producerId: a.producerId, currentTxnStartOffset: 0 });
    const marker = {
      ...a.who,
      transactionResult: false,
      coordinatorEpoch: 0,
      topics: [{ name: 't', partitionIndexes: [0] }],
    };
    expect(await broker.call(27, 1, { markers: [marker] })).toMatchObject({
      markers: [{ topics: [{ partitions: [{ errorCode: 0 }] }] }],
    });
    expect(await describeProducers()).toMatchObject({ currentTxnStartOffset: -1 });
    expect(await read()).toMatchObject({ stable: 2, aborted: [[a.producerId, 0]] });
    // The coordinator ends the rest as if nothing had been.
    expect(await a.end(true)).toMatchObject({ errorCode: 0 });
    expect(await stableOf()).toBe(3);
  });

  it('see what holds partitions back', async () => {
    const a = await new Producer().init();
    await a.send(3);
    await broker.clock.advance(5_000);
    expect(broker.transactions.heldPartitions(10)).toEqual([
      { topic: 't', partition: 0, ageMs: 5_000, lag: 3 },
    ]);
    expect(broker.transactions.figures()).toMatchObject({ openTransactions: 1, oldestOpenMs: 5_000 });
  });
});

it('a broker with as many open partitions as it may have refuses one more, and goes on with the others', async () => {
  broker = new DataBroker({ settings: { 'rmq.transactions.max.open.partitions': '1' } });
  await broker.topics.create('t', 2);
  const a = await new Producer().init();
  expect(await a.send(1, 0)).toMatchObject({ errorCode: 0 });
  expect(await a.send(1, 1)).toMatchObject({ errorCode: errorCodes.NOT_ENOUGH_REPLICAS });
  expect(await a.send(1, 0)).toMatchObject({ errorCode: 0 });
});

/** Lets what a timer began come to its end. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await new Promise((done) => setImmediate(done));
}
