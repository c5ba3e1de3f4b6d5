import { beforeEach, describe, expect, it } from 'vitest';
import { errorCodes } from '../../protocol/error-codes.ts';
import type { ListOffsetsResponse } from '../../protocol/generated/02-list-offsets.ts';
import type { CodecName } from '../../protocol/records/compression.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { batchOf, DataBroker } from './data-broker.ts';

let broker: DataBroker;

beforeEach(async () => {
  broker = new DataBroker();
  await broker.topics.create('t', 2);
});

/** One batch with these times. */
function timed(timestamps: readonly number[], codec: CodecName = 'none'): Buffer {
  return buildRecordBatch(
    timestamps.map((timestamp) => ({ timestamp, value: Buffer.from('v') })),
    { codec },
  );
}

const found = (offset: number, timestamp = -1, leaderEpoch = 0) => ({
  errorCode: 0,
  partitionIndex: 0,
  offset,
  timestamp,
  leaderEpoch,
});

describe('the ends', () => {
  it('of an empty partition are 0', async () => {
    for (const timestamp of [-1, -2, -4]) {
      expect(await broker.listOffsets('t', timestamp, 8)).toMatchObject(found(0));
    }
    for (const timestamp of [-3, -5, 0, 1000]) {
      expect(await broker.listOffsets('t', timestamp, 9)).toMatchObject(found(-1, -1, -1));
    }
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])('of a trimmed one in version %i', async (version) => {
    await broker.produce('t', batchOf(3));
    await broker.produce('t', batchOf(4));
    await broker.engine.trim(broker.topics.get('t')!.partitions[0]!.queue, 3);
    const epoch = version >= 4 ? 0 : -1;
    expect(await broker.listOffsets('t', -2, version)).toMatchObject(found(3, -1, epoch));
    expect(await broker.listOffsets('t', -1, version)).toMatchObject(found(7, -1, epoch));
  });

  it('special times are known from their version on', async () => {
    for (const [timestamp, version] of [
      [-3, 7],
      [-4, 8],
      [-5, 9],
      [-6, 11],
    ] as const) {
      expect((await broker.listOffsets('t', timestamp, version)).errorCode).toBe(0);
      expect((await broker.listOffsets('t', timestamp, version - 1)).errorCode).toBe(
        errorCodes.UNSUPPORTED_VERSION,
      );
    }
    expect((await broker.listOffsets('t', -7, 11)).errorCode).toBe(errorCodes.UNSUPPORTED_VERSION);
    expect(await broker.listOffsets('t', -6, 11)).toMatchObject(found(-1, -1, -1));
  });
});

describe.each(['none', 'gzip', 'zstd'] as const)('by time in %s batches', (codec) => {
  beforeEach(async () => {
    await broker.produce('t', timed([100, 110, 105], codec));
    await broker.produce('t', timed([200, 90, 300], codec));
    await broker.produce('t', timed([250], codec));
  });

  it.each([
    [0, 0, 100],
    [100, 0, 100],
    [101, 1, 110],
    [110, 1, 110],
    [111, 3, 200],
    [201, 5, 300],
    [300, 5, 300],
    [301, -1, -1],
  ])('the first record from %i on', async (asked, offset, timestamp) => {
    expect(await broker.listOffsets('t', asked)).toMatchObject(found(offset, timestamp, offset < 0 ? -1 : 0));
  });

  it('the record with the largest time', async () => {
    expect(await broker.listOffsets('t', -3)).toMatchObject(found(5, 300));
  });

  it('nothing before the start of the log', async () => {
    await broker.engine.trim(broker.topics.get('t')!.partitions[0]!.queue, 4);
    expect(await broker.listOffsets('t', 150)).toMatchObject(found(5, 300));
  });

  it('a time that no number holds is later than all', async () => {
    expect(await broker.listOffsets('t', 2n ** 62n)).toMatchObject(found(-1, -1, -1));
  });
});

it('goes on where a header promises a record that is not there', async () => {
  await broker.produce('t', batchOf(1, { timestamp: 10, maxTimestamp: 500 }));
  await broker.produce('t', timed([20]));
  await broker.produce('t', timed([400]));
  expect(await broker.listOffsets('t', 300)).toMatchObject(found(2, 400));
});

it('under LogAppendTime finds the batch', async () => {
  await broker.topics.create('logged', 1, { messageTimestampType: 'LogAppendTime' });
  const startMs = broker.clock.nowMs();
  await broker.produce('logged', timed([1, 2]));
  await broker.clock.advance(1000);
  await broker.produce('logged', timed([3, 4]));
  expect(await broker.listOffsets('logged', startMs + 1)).toMatchObject(found(2, startMs + 1000));
  expect(await broker.listOffsets('logged', -3)).toMatchObject(found(2, startMs + 1000));
});

describe('read_committed', () => {
  it('is told nothing beyond the last stable offset', async () => {
    broker = new DataBroker({
      fetch: { stableOffsets: { lastStableOffset: () => 2, abortedTransactions: () => [] } },
    });
    await broker.topics.create('t', 1);
    await broker.produce('t', timed([100, 200, 300]));
    const ask = async (isolationLevel: number, timestamp: number) =>
      (
        await broker.call<ListOffsetsResponse>(2, 7, {
          replicaId: -1,
          isolationLevel,
          topics: [{ name: 't', partitions: [{ partitionIndex: 0, timestamp }] }],
        })
      ).topics[0]!.partitions[0]!.offset;
    expect([await ask(0, -1), await ask(1, -1)]).toEqual([3, 2]);
    expect([await ask(0, 300), await ask(1, 300)]).toEqual([2, -1]);
    expect([await ask(0, 200), await ask(1, 200)]).toEqual([1, 1]);
  });
});

describe('errors', () => {
  it('name what is not there, what is asked twice, and epochs that are not ours', async () => {
    expect(await broker.listOffsets('nope', -1)).toMatchObject({
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
      offset: -1,
      timestamp: -1,
    });
    expect(await broker.listOffsets('t', -1, 4, { currentLeaderEpoch: 7 })).toMatchObject({
      errorCode: errorCodes.UNKNOWN_LEADER_EPOCH,
    });
    const response = await broker.call<ListOffsetsResponse>(2, 5, {
      replicaId: -1,
      isolationLevel: 0,
      topics: [
        { name: 't', partitions: [0, 1, 0].map((partitionIndex) => ({ partitionIndex, timestamp: -1 })) },
      ],
    });
    expect(response.topics[0]!.partitions.map((row) => [row.partitionIndex, row.errorCode])).toEqual([
      [0, errorCodes.INVALID_REQUEST],
      [1, 0],
    ]);
  });
});

describe('version 0', () => {
  const ask = async (timestamp: number, maxNumOffsets = 10) =>
    (await broker.listOffsets('t', timestamp, 0, { maxNumOffsets })).oldStyleOffsets;

  it('lists offsets, largest first', async () => {
    expect([await ask(-1), await ask(-2)]).toEqual([[0], [0]]);
    await broker.produce('t', timed([100, 200]));
    await broker.produce('t', timed([300]));
    expect(await ask(-1)).toEqual([3, 0]);
    expect(await ask(-1, 1)).toEqual([3]);
    expect(await ask(-2)).toEqual([0]);
    expect(await ask(150)).toEqual([1, 0]);
    expect(await ask(1000)).toEqual([3, 0]);
    expect(await broker.listOffsets('nope', -1, 0)).toMatchObject({
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
      oldStyleOffsets: [],
    });
  });
});
