import { expect, it } from 'vitest';
import { errorCodes } from '../../protocol/error-codes.ts';
import type { OffsetForLeaderEpochResponse } from '../../protocol/generated/23-offset-for-leader-epoch.ts';
import { batchOf, DataBroker } from './data-broker.ts';

async function brokerInEpoch5(): Promise<DataBroker> {
  const broker = new DataBroker({
    override: () => ({
      epoch: 5,
      // Epochs 2 (offsets 10 to 19) and 3 (20 to 24) have batches.
      findEpochEnd: async (_queue, epoch) => {
        if (epoch < 2) return undefined;
        return epoch === 2 ? { epoch: 2, endOffset: 20 } : { epoch: 3, endOffset: 25 };
      },
      bounds: () => ({ startOffset: 10, visibleEndOffset: 25 }),
    }),
  });
  await broker.topics.create('t', 1);
  return broker;
}

it.each([
  [-1, -1, -1],
  [0, 0, 10],
  [2, 2, 20],
  [3, 3, 25],
  [4, 3, 25],
  [5, 5, 25],
  [6, -1, -1],
])('epoch %i ended as %i at %i', async (asked, leaderEpoch, endOffset) => {
  const broker = await brokerInEpoch5();
  for (const version of [0, 1, 2, 3, 4]) {
    const response = await broker.call<OffsetForLeaderEpochResponse>(23, version, {
      topics: [{ topic: 't', partitions: [{ partition: 0, leaderEpoch: asked }] }],
    });
    expect(response.topics[0]!.partitions[0]).toEqual({
      partition: 0,
      errorCode: 0,
      leaderEpoch: version >= 1 ? leaderEpoch : -1,
      endOffset,
    });
  }
});

it('names what is not there and epochs that are not ours', async () => {
  const broker = await brokerInEpoch5();
  const response = await broker.call<OffsetForLeaderEpochResponse>(23, 4, {
    topics: [
      {
        topic: 't',
        partitions: [
          { partition: 1, leaderEpoch: 5 },
          { partition: 0, leaderEpoch: 5, currentLeaderEpoch: 4 },
          { partition: 0, leaderEpoch: 5, currentLeaderEpoch: 6 },
        ],
      },
      { topic: 'nope', partitions: [{ partition: 0, leaderEpoch: 0 }] },
    ],
  });
  expect(
    response.topics.flatMap((topic) => topic.partitions.map((row) => [row.errorCode, row.endOffset])),
  ).toEqual([
    [errorCodes.UNKNOWN_TOPIC_OR_PARTITION, -1],
    [errorCodes.FENCED_LEADER_EPOCH, -1],
    [errorCodes.UNKNOWN_LEADER_EPOCH, -1],
    [errorCodes.UNKNOWN_TOPIC_OR_PARTITION, -1],
  ]);
});

it('on the engine itself an empty partition ends where it starts', async () => {
  const broker = new DataBroker();
  await broker.topics.create('t', 1);
  const ask = async () =>
    (
      await broker.call<OffsetForLeaderEpochResponse>(23, 4, {
        topics: [{ topic: 't', partitions: [{ partition: 0, leaderEpoch: 0 }] }],
      })
    ).topics[0]!.partitions[0]!.endOffset;
  expect(await ask()).toBe(0);
  await broker.produce('t', batchOf(3));
  expect(await ask()).toBe(3);
});
