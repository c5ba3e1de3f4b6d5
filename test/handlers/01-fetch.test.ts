import { beforeEach, describe, expect, it } from 'vitest';
import { errorCodes } from '../../protocol/error-codes.ts';
import type { FetchResponse } from '../../protocol/generated/01-fetch.ts';
import { computeBatchCrc } from '../../protocol/records/record-batch.ts';
import { decodeRecordSet } from '../../protocol/records/record-set.ts';
import { batchOf, DataBroker, FakeConnection, unknownTopicId } from './data-broker.ts';

let broker: DataBroker;

beforeEach(async () => {
  broker = new DataBroker();
  await broker.topics.create('t', 4);
});

const one = (fetchOffset: number | bigint, extra: object = {}, partition = 0) => [
  { topic: 't', partitions: [{ partition, fetchOffset, ...extra }] },
];

function rows(response: FetchResponse) {
  return response.responses.flatMap((topic) => topic.partitions);
}

function first(response: FetchResponse) {
  return rows(response)[0]!;
}

function offsets(records: Buffer | null): number[] {
  return decodeRecordSet(records!).batches.flatMap((batch) =>
    batch.records.map((record) => Number(record.offset)),
  );
}

/** True when the promise is settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  await broker.clock.advance(0);
  const pending = Symbol();
  return (await Promise.race([promise, Promise.resolve(pending)])) !== pending;
}

describe('records', () => {
  it.each([4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18])(
    'come as stored in version %i',
    async (version) => {
      await broker.produce('t', batchOf(3));
      await broker.produce('t', batchOf(2));
      const row = first(await broker.fetch({ topics: one(0) }, version));
      expect(row).toMatchObject({
        errorCode: 0,
        highWatermark: 5,
        lastStableOffset: 5,
        logStartOffset: version >= 5 ? 0 : -1,
        abortedTransactions: null,
        preferredReadReplica: -1,
      });
      expect(offsets(row.records)).toEqual([0, 1, 2, 3, 4]);
      expect(broker.lent).toBe(0);
    },
  );

  it.each([
    [0, 0],
    [1, 0],
    [2, 1],
    [3, 1],
  ])('version %i gets magic %i', async (version, magic) => {
    await broker.produce('t', batchOf(3));
    await broker.produce('t', batchOf(2, { codec: 'gzip' }));
    const row = first(await broker.fetch({ topics: one(1) }, version));
    expect(row).toMatchObject({ errorCode: 0, highWatermark: 5 });
    const { batches } = decodeRecordSet(row.records!);
    expect(batches.every((batch) => batch.magic === magic)).toBe(true);
    expect(offsets(row.records)).toEqual([1, 2, 3, 4]);
    expect(broker.lent).toBe(0);
  });

  it('the batch that holds the offset comes whole', async () => {
    await broker.produce('t', batchOf(10));
    expect(offsets(first(await broker.fetch({ topics: one(7) })).records)).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ]);
  });

  it('zstd does not go to versions that do not know it', async () => {
    await broker.produce('t', batchOf(2));
    await broker.produce('t', batchOf(2, { codec: 'zstd' }));
    const before = first(await broker.fetch({ topics: one(0) }, 9));
    expect([before.errorCode, offsets(before.records)]).toEqual([0, [0, 1]]);
    for (const version of [0, 2, 4, 9]) {
      const row = first(await broker.fetch({ topics: one(2) }, version));
      expect(row).toMatchObject({ errorCode: errorCodes.UNSUPPORTED_COMPRESSION_TYPE });
    }
    expect(offsets(first(await broker.fetch({ topics: one(2) }, 10)).records)).toEqual([2, 3]);
    expect(broker.lent).toBe(0);
  });

  it('a batch that cannot be opened fails its partition alone, and only where it must be opened', async () => {
    const broken = batchOf(2);
    broken[22]! |= 1;
    broken.writeUInt32BE(computeBatchCrc(broken, 0), 17);
    expect(await broker.produce('t', broken)).toMatchObject({ errorCode: 0 });
    await broker.produce('t', batchOf(1), { index: 1 });
    const partitions = [0, 1].map((partition) => ({ partition, fetchOffset: 0 }));
    const old = rows(await broker.fetch({ topics: [{ topic: 't', partitions }] }, 3));
    expect(old.map((row) => row.errorCode)).toEqual([errorCodes.CORRUPT_MESSAGE, 0]);
    expect(offsets(old[1]!.records)).toEqual([0]);
    expect(first(await broker.fetch({ topics: one(0) })).records).toHaveLength(broken.length);
    expect(broker.lent).toBe(0);
  });

  it('read_committed is told of no aborted transactions, read_uncommitted of none at all', async () => {
    await broker.produce('t', batchOf(1));
    expect(first(await broker.fetch({ topics: one(0), isolationLevel: 1 })).abortedTransactions).toEqual([]);
    expect(first(await broker.fetch({ topics: one(0), isolationLevel: 0 })).abortedTransactions).toBeNull();
  });
});

describe('limits', () => {
  let batchBytes: number;
  beforeEach(async () => {
    batchBytes = batchOf(1, { valueBytes: 1000 }).length;
    for (let index = 0; index < 4; index++) {
      for (let n = 0; n < 3; n++) await broker.produce('t', batchOf(1, { valueBytes: 1000 }), { index });
    }
  });
  const all = (partitionMaxBytes = 1_000_000) => [
    {
      topic: 't',
      partitions: [0, 1, 2, 3].map((partition) => ({ partition, fetchOffset: 0, partitionMaxBytes })),
    },
  ];
  const counts = (response: FetchResponse) => rows(response).map((row) => offsets(row.records).length);

  it('holds a partition to its bytes and all of them to theirs', async () => {
    expect(counts(await broker.fetch({ topics: all(2 * batchBytes) }))).toEqual([2, 2, 2, 2]);
    expect(counts(await broker.fetch({ topics: all(), maxBytes: 5 * batchBytes }))).toEqual([3, 2, 0, 0]);
    expect(broker.lent).toBe(0);
  });

  it('gives the first partition with data one batch over both limits', async () => {
    expect(counts(await broker.fetch({ topics: all(1), maxBytes: 1 }))).toEqual([1, 0, 0, 0]);
    const partitions = [
      { partition: 0, fetchOffset: 3, partitionMaxBytes: 1 },
      { partition: 1, fetchOffset: 0, partitionMaxBytes: 1 },
      { partition: 2, fetchOffset: 0, partitionMaxBytes: 1 },
    ];
    expect(counts(await broker.fetch({ topics: [{ topic: 't', partitions }] }))).toEqual([0, 1, 0]);
  });

  it("holds every client to the broker's limit", async () => {
    broker = new DataBroker({ fetchSettings: { maxAnswerBytes: 2 * batchBytes } });
    await broker.topics.create('t', 1);
    for (let n = 0; n < 4; n++) await broker.produce('t', batchOf(1, { valueBytes: 1000 }));
    // One that wants more than it may get does not wait for it.
    const row = first(await broker.fetch({ topics: one(0), minBytes: 10 * batchBytes, maxWaitMs: 1e9 }));
    expect(offsets(row.records)).toEqual([0, 1]);
  });
});

describe('errors answer at once', () => {
  const waiting = { maxWaitMs: 60_000 };

  it('unknown topics, partitions and ids', async () => {
    const unknown = [{ topic: 'nope', partitions: [{ partition: 0, fetchOffset: 0 }] }];
    expect(first(await broker.fetch({ topics: unknown, ...waiting }))).toMatchObject({
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
      highWatermark: -1,
    });
    const byId = await broker.fetch({ topics: unknown, ...waiting }, 13);
    expect(byId.responses[0]!.topicId).toBe(unknownTopicId);
    expect(first(byId)).toMatchObject({ errorCode: errorCodes.UNKNOWN_TOPIC_ID });
    for (const partition of [4, -1]) {
      expect(first(await broker.fetch({ topics: one(0, {}, partition), ...waiting }, 13))).toMatchObject({
        errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
      });
    }
  });

  it('offsets before the start and beyond the end, and none at the end', async () => {
    await broker.produce('t', batchOf(2));
    await broker.produce('t', batchOf(2));
    await broker.engine.trim(broker.topics.get('t')!.partitions[0]!.queue, 2);
    for (const offset of [1, 5, 2n ** 60n]) {
      expect(first(await broker.fetch({ topics: one(offset), ...waiting }))).toMatchObject({
        errorCode: errorCodes.OFFSET_OUT_OF_RANGE,
        highWatermark: -1,
        lastStableOffset: -1,
        logStartOffset: -1,
      });
    }
    expect(first(await broker.fetch({ topics: one(4) }))).toMatchObject({
      errorCode: 0,
      highWatermark: 4,
      logStartOffset: 2,
    });
  });

  it('leader epochs that are not ours', async () => {
    broker = new DataBroker({ override: () => ({ epoch: 5 }) });
    await broker.topics.create('t', 1);
    const ask = async (currentLeaderEpoch: number) =>
      first(await broker.fetch({ topics: one(0, { currentLeaderEpoch }) })).errorCode;
    expect(await ask(4)).toBe(errorCodes.FENCED_LEADER_EPOCH);
    expect(await ask(6)).toBe(errorCodes.UNKNOWN_LEADER_EPOCH);
    expect(await ask(5)).toBe(0);
    expect([await ask(-1), await ask(-2)]).toEqual([0, 0]);
  });

  it('a last fetched epoch that ended earlier', async () => {
    broker = new DataBroker({
      override: () => ({
        epoch: 5,
        findEpochEnd: async (_queue, epoch) => (epoch >= 3 ? { epoch: 3, endOffset: 2 } : undefined),
      }),
    });
    await broker.topics.create('t', 1);
    await broker.produce('t', batchOf(4));
    const ask = async (fetchOffset: number, lastFetchedEpoch: number) =>
      first(await broker.fetch({ topics: one(fetchOffset, { lastFetchedEpoch }), ...waiting }, 12));
    expect((await ask(3, 3)).divergingEpoch).toEqual({ epoch: 3, endOffset: 2 });
    expect((await ask(1, 4)).divergingEpoch).toEqual({ epoch: 3, endOffset: 2 });
    expect(offsets((await ask(2, 3)).records)).toEqual([0, 1, 2, 3]);
    expect(offsets((await ask(0, 5)).records)).toEqual([0, 1, 2, 3]);
    expect((await ask(3, 7)).errorCode).toBe(errorCodes.OFFSET_OUT_OF_RANGE);
  });

  it('a damaged batch is an error of its own', async () => {
    broker = new DataBroker({
      override: () => ({ read: () => ({ outcome: 'damaged', baseOffset: 0, nextOffset: 1 }) }),
    });
    await broker.topics.create('t', 1);
    await broker.produce('t', batchOf(1));
    expect(first(await broker.fetch({ topics: one(0), ...waiting }))).toMatchObject({
      errorCode: errorCodes.CORRUPT_MESSAGE,
    });
  });
});

describe('waiting', () => {
  it('ends when a record comes', async () => {
    const fetched = broker.fetch({ topics: one(0), maxWaitMs: 500 });
    expect(await isSettled(fetched)).toBe(false);
    await broker.produce('t', batchOf(2));
    expect(await isSettled(fetched)).toBe(true);
    const row = first(await fetched);
    expect([row.highWatermark, offsets(row.records)]).toEqual([2, [0, 1]]);
    expect(broker.clock.pendingTimers).toBe(0);
    expect(broker.lent).toBe(0);
  });

  it('ends with nothing when its time is over, and not before', async () => {
    const fetched = broker.fetch({ topics: one(0), maxWaitMs: 500 });
    await broker.clock.advance(499);
    expect(await isSettled(fetched)).toBe(false);
    await broker.clock.advance(1);
    expect(await isSettled(fetched)).toBe(true);
    expect(first(await fetched)).toMatchObject({ errorCode: 0, highWatermark: 0 });
  });

  it('waits for the bytes asked for, then brings all of them', async () => {
    const size = batchOf(1, { valueBytes: 1000 }).length;
    const partitions = [0, 1, 2].map((partition) => ({ partition, fetchOffset: 0 }));
    const fetched = broker.fetch({
      topics: [{ topic: 't', partitions }],
      maxWaitMs: 500,
      minBytes: 3 * size,
    });
    for (const index of [2, 0]) {
      await broker.produce('t', batchOf(1, { valueBytes: 1000 }), { index });
      expect(await isSettled(fetched)).toBe(false);
      // What does not suffice is not held while it waits.
      expect(broker.lent).toBe(0);
    }
    await broker.produce('t', batchOf(1, { valueBytes: 1000 }), { index: 2 });
    expect(await isSettled(fetched)).toBe(true);
    expect(rows(await fetched).map((row) => offsets(row.records))).toEqual([[0], [], [0, 1]]);
    expect(broker.lent).toBe(0);
  });

  it('brings what there is when its time is over', async () => {
    await broker.produce('t', batchOf(1));
    const fetched = broker.fetch({ topics: one(0), maxWaitMs: 500, minBytes: 100_000 });
    expect(await isSettled(fetched)).toBe(false);
    await broker.clock.advance(500);
    expect(offsets(first(await fetched).records)).toEqual([0]);
  });

  it('ends when the connection is gone', async () => {
    const connection = new FakeConnection();
    const fetched = broker.fetch({ topics: one(0), maxWaitMs: 60_000 }, 11, connection);
    expect(await isSettled(fetched)).toBe(false);
    connection.close();
    expect(await isSettled(fetched)).toBe(true);
    expect(broker.clock.pendingTimers).toBe(0);
    // And does not begin where it is gone already.
    expect(await isSettled(broker.fetch({ topics: one(0), maxWaitMs: 60_000 }, 11, connection))).toBe(true);
  });

  it('ends with an error when the topic is deleted', async () => {
    const fetched = broker.fetch({ topics: one(0), maxWaitMs: 60_000 });
    expect(await isSettled(fetched)).toBe(false);
    await broker.topics.delete('t');
    expect(await isSettled(fetched)).toBe(true);
    expect(first(await fetched)).toMatchObject({ errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION });
  });

  it('does not read what did not move', async () => {
    await broker.topics.create('wide', 1000);
    const partitions = Array.from({ length: 1000 }, (_, partition) => ({ partition, fetchOffset: 0 }));
    const fetched = broker.fetch({
      topics: [{ topic: 'wide', partitions }],
      maxWaitMs: 500,
      minBytes: 10_000,
    });
    expect(await isSettled(fetched)).toBe(false);
    broker.calls.clear();
    for (let n = 0; n < 5; n++) {
      await broker.produce('wide', batchOf(1), { index: 777 });
      await broker.clock.advance(1);
    }
    expect(broker.calls.get('bounds')).toBeLessThanOrEqual(10);
    await broker.clock.advance(500);
    expect(rows(await fetched).filter((row) => row.records!.length > 0)).toHaveLength(1);
  });

  it('a request with nothing to read is answered at once', async () => {
    expect(await broker.fetch({ topics: [], maxWaitMs: 60_000 })).toMatchObject({
      errorCode: 0,
      responses: [],
    });
  });
});

describe('an engine whose reads take time', () => {
  beforeEach(async () => {
    const later = () => new Promise((resolve) => setImmediate(resolve));
    broker = new DataBroker({
      override: (engine) => ({
        bounds: async (queue) => later().then(() => engine.bounds(queue)),
        read: async (queue, options) => later().then(() => engine.read(queue, options)),
      }),
    });
    await broker.topics.create('t', 4);
  });

  it('gives the same answers', async () => {
    for (const index of [0, 1, 3]) await broker.produce('t', batchOf(2), { index });
    const partitions = [0, 1, 2, 3].map((partition) => ({ partition, fetchOffset: 0 }));
    const response = await broker.fetch({ topics: [{ topic: 't', partitions }] });
    expect(rows(response).map((row) => offsets(row.records).length)).toEqual([2, 2, 0, 2]);
    expect(broker.lent).toBe(0);
  });

  it('does not miss what comes while it reads', async () => {
    const fetched = broker.fetch({ topics: one(0), maxWaitMs: 500 });
    await broker.produce('t', batchOf(1));
    for (let turn = 0; turn < 5; turn++) await broker.clock.advance(0);
    expect(await isSettled(fetched)).toBe(true);
    expect(offsets(first(await fetched).records)).toEqual([0]);
  });

  it('an operating fault fails the request and leaves nothing behind', async () => {
    broker = new DataBroker({ override: () => ({ bounds: () => Promise.reject(new Error('disk')) }) });
    await broker.topics.create('t', 1);
    await expect(broker.fetch({ topics: one(0), maxWaitMs: 500 })).rejects.toThrow('disk');
    expect(broker.clock.pendingTimers).toBe(0);
  });
});

describe('sessions', () => {
  const open = (partitions: readonly number[] = [0, 1, 2, 3], version = 11) =>
    broker.fetch(
      {
        sessionEpoch: 0,
        topics: [{ topic: 't', partitions: partitions.map((partition) => ({ partition, fetchOffset: 0 })) }],
      },
      version,
    );
  const next = (sessionId: number, sessionEpoch: number, extra: object = {}, version = 11) =>
    broker.fetch({ sessionId, sessionEpoch, topics: [], ...extra }, version);
  const told = (response: FetchResponse) =>
    rows(response).map((row) => [row.partitionIndex, offsets(row.records).length] as const);

  it('answer all at first, then only what is new', async () => {
    await broker.produce('t', batchOf(1), { index: 1 });
    const full = await open();
    expect(full.sessionId).toBeGreaterThan(0);
    expect(told(full)).toEqual([
      [0, 0],
      [1, 1],
      [2, 0],
      [3, 0],
    ]);
    const id = full.sessionId;
    // The client reads on in partition 1; nothing is new.
    expect(told(await next(id, 1, { topics: one(1, {}, 1) }))).toEqual([]);
    await broker.produce('t', batchOf(2), { index: 3 });
    await broker.clock.advance(0);
    expect(told(await next(id, 2))).toEqual([[3, 2]]);
    // As long as the client does not read on it is told again.
    expect(told(await next(id, 3))).toEqual([[3, 2]]);
    expect(told(await next(id, 4, { topics: one(2, {}, 3) }))).toEqual([]);
    expect(broker.lent).toBe(0);
  });

  it('wait for what moves', async () => {
    const { sessionId } = await open();
    const fetched = next(sessionId, 1, { maxWaitMs: 500 });
    expect(await isSettled(fetched)).toBe(false);
    await broker.produce('t', batchOf(1), { index: 2 });
    expect(await isSettled(fetched)).toBe(true);
    expect(told(await fetched)).toEqual([[2, 1]]);
    const empty = next(sessionId, 2, { maxWaitMs: 500, topics: one(1, {}, 2) });
    await broker.clock.advance(500);
    expect(told(await empty)).toEqual([]);
    expect(broker.clock.pendingTimers).toBe(0);
  });

  it('wait for bytes that come in parts', async () => {
    const { sessionId } = await open();
    const size = batchOf(1).length;
    const fetched = next(sessionId, 1, { maxWaitMs: 500, minBytes: 3 * size });
    for (let part = 0; part < 3; part++) {
      expect(await isSettled(fetched)).toBe(false);
      await broker.produce('t', batchOf(1), { index: 2 });
    }
    expect(await isSettled(fetched)).toBe(true);
    expect(told(await fetched)).toEqual([[2, 3]]);
    expect(broker.lent).toBe(0);
  });

  it('take turns where the bytes do not suffice for all', async () => {
    const size = batchOf(1).length;
    for (let index = 0; index < 4; index++) {
      for (let n = 0; n < 3; n++) await broker.produce('t', batchOf(1), { index });
    }
    const partitions = [0, 1, 2, 3].map((partition) => ({
      partition,
      fetchOffset: 0,
      partitionMaxBytes: size,
    }));
    const full = await broker.fetch({
      sessionEpoch: 0,
      maxBytes: size,
      topics: [{ topic: 't', partitions }],
    });
    const id = full.sessionId;
    const read = new Map<number, number>([[0, 1]]);
    let last = 0;
    for (let epoch = 1; epoch < 12; epoch++) {
      const topics = one(read.get(last)!, { partitionMaxBytes: size }, last);
      const [row] = told(await next(id, epoch, { maxBytes: size, topics })).filter(([, count]) => count > 0);
      last = row![0];
      read.set(last, (read.get(last) ?? 0) + 1);
    }
    expect([...read].sort()).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
  });

  it('add and forget partitions', async () => {
    const { sessionId } = await open([0]);
    expect(told(await next(sessionId, 1, { topics: one(0, {}, 1) }))).toEqual([[1, 0]]);
    const forgotten = [{ topic: 't', topicId: broker.topics.get('t')!.id, partitions: [0] }];
    await next(sessionId, 2, { forgottenTopicsData: forgotten });
    await broker.produce('t', batchOf(1), { index: 0 });
    await broker.produce('t', batchOf(1), { index: 1 });
    await broker.clock.advance(0);
    expect(told(await next(sessionId, 3))).toEqual([[1, 1]]);
    expect(broker.fetches.sessions.partitions).toBe(1);
  });

  it('end when the client says so, or has no partition left', async () => {
    const { sessionId } = await open();
    const last = await broker.fetch({ sessionId, sessionEpoch: -1, topics: one(0) });
    expect(last).toMatchObject({ errorCode: 0, sessionId: 0 });
    expect(await next(sessionId, 1)).toMatchObject({
      errorCode: errorCodes.FETCH_SESSION_ID_NOT_FOUND,
      sessionId: 0,
    });
    const other = await open([0]);
    const forgottenTopicsData = [{ topic: 't', partitions: [0] }];
    expect(await next(other.sessionId, 1, { forgottenTopicsData })).toMatchObject({
      errorCode: 0,
      sessionId: 0,
    });
    expect([broker.fetches.sessions.size, broker.fetches.sessions.partitions]).toEqual([0, 0]);
  });

  it('refuse epochs and forms that do not follow', async () => {
    const { sessionId } = await open();
    expect(await next(sessionId, 2)).toMatchObject({ errorCode: errorCodes.INVALID_FETCH_SESSION_EPOCH });
    expect(await next(sessionId + 1, 1)).toMatchObject({ errorCode: errorCodes.FETCH_SESSION_ID_NOT_FOUND });
    expect(await next(sessionId, 1, {}, 13)).toMatchObject({
      errorCode: errorCodes.FETCH_SESSION_TOPIC_ID_ERROR,
    });
  });

  it('by topic id', async () => {
    const { sessionId } = await open([0, 1], 13);
    await broker.produce('t', batchOf(1), { index: 1 });
    await broker.clock.advance(0);
    const response = await next(sessionId, 1, {}, 13);
    expect(response.responses[0]!.topicId).toBe(broker.topics.get('t')!.id);
    expect(told(response)).toEqual([[1, 1]]);
  });

  it('tell a topic that is gone from one that came after it', async () => {
    const { sessionId } = await open([0], 13);
    const waiting = next(sessionId, 1, { maxWaitMs: 60_000 }, 13);
    await broker.clock.advance(0);
    await broker.topics.delete('t');
    expect(await isSettled(waiting)).toBe(true);
    expect(first(await waiting)).toMatchObject({ errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION });
    await broker.topics.create('t', 1);
    expect(first(await next(sessionId, 2, {}, 13))).toMatchObject({
      errorCode: errorCodes.INCONSISTENT_TOPIC_ID,
    });
  });

  it('by name find the topic that took the name', async () => {
    const { sessionId } = await open([0]);
    await broker.topics.delete('t');
    await broker.clock.advance(0);
    expect(first(await next(sessionId, 1))).toMatchObject({
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    });
    await broker.topics.create('t', 1);
    expect(first(await next(sessionId, 2))).toMatchObject({ errorCode: 0, highWatermark: 0 });
    const fetched = next(sessionId, 3, { maxWaitMs: 500 });
    await broker.clock.advance(0);
    await broker.produce('t', batchOf(1));
    expect(await isSettled(fetched)).toBe(true);
  });

  it('a request that does not wait for the one before ends it with an error', async () => {
    const { sessionId } = await open();
    const earlier = next(sessionId, 1, { maxWaitMs: 60_000 });
    await broker.clock.advance(0);
    const later = next(sessionId, 2, { maxWaitMs: 100 });
    expect(await earlier).toMatchObject({ errorCode: errorCodes.INVALID_FETCH_SESSION_EPOCH });
    await broker.clock.advance(100);
    expect(await later).toMatchObject({ errorCode: 0, sessionId });
  });

  it('requests that overtake one another are answered in order, the last one for good', async () => {
    const { sessionId } = await open();
    const answers = [1, 2, 3, 4].map((epoch) => next(sessionId, epoch, { maxWaitMs: 60_000 }));
    await broker.clock.advance(0);
    for (const earlier of answers.slice(0, 3)) {
      expect(await earlier).toMatchObject({ errorCode: errorCodes.INVALID_FETCH_SESSION_EPOCH });
    }
    await broker.produce('t', batchOf(1), { index: 3 });
    expect(await isSettled(answers[3]!)).toBe(true);
    expect(told(await answers[3]!)).toEqual([[3, 1]]);
    expect(broker.clock.pendingTimers).toBe(0);
  });

  it('survive a read that failed', async () => {
    let fails = false;
    broker = new DataBroker({
      override: (engine) => ({
        bounds: (queue) => {
          if (fails) throw new Error('disk');
          return engine.bounds(queue);
        },
      }),
    });
    await broker.topics.create('t', 4);
    const { sessionId } = await open();
    for (const index of [1, 2]) await broker.produce('t', batchOf(1), { index });
    await broker.clock.advance(0);
    fails = true;
    await expect(next(sessionId, 1)).rejects.toThrow('disk');
    fails = false;
    expect(told(await next(sessionId, 2))).toEqual(
      expect.arrayContaining([
        [1, 1],
        [2, 1],
      ]),
    );
  });

  it('are bounded: the one unused for longest makes room when it may', async () => {
    broker = new DataBroker({ fetchSettings: { maxSessions: 2, minEvictionMs: 1000 } });
    await broker.topics.create('t', 4);
    const ids = [(await open()).sessionId, (await open()).sessionId];
    expect((await open()).sessionId).toBe(0);
    await broker.clock.advance(600);
    await next(ids[0]!, 1);
    await broker.clock.advance(600);
    expect((await open()).sessionId).not.toBe(0);
    expect(await next(ids[1]!, 1)).toMatchObject({ errorCode: errorCodes.FETCH_SESSION_ID_NOT_FOUND });
    expect(await next(ids[0]!, 2)).toMatchObject({ errorCode: 0 });
    expect([broker.fetches.sessions.size, broker.fetches.sessions.partitions]).toEqual([2, 8]);
  });

  it('are bounded in partitions too', async () => {
    broker = new DataBroker({ fetchSettings: { maxSessionPartitions: 5 } });
    await broker.topics.create('t', 4);
    expect((await open()).sessionId).not.toBe(0);
    const full = await open();
    expect([full.sessionId, rows(full).length]).toEqual([0, 4]);
  });

  it('of 10,000 partitions cost what moved', async () => {
    await broker.topics.create('wide', 10_000);
    const partitions = Array.from({ length: 10_000 }, (_, partition) => ({ partition, fetchOffset: 0 }));
    const { sessionId } = await broker.fetch({ sessionEpoch: 0, topics: [{ topic: 'wide', partitions }] });
    broker.calls.clear();
    await broker.produce('wide', batchOf(1), { index: 4321 });
    await broker.clock.advance(0);
    expect(told(await next(sessionId, 1))).toEqual([[4321, 1]]);
    expect(broker.calls.get('bounds')).toBeLessThanOrEqual(2);
  });
});
