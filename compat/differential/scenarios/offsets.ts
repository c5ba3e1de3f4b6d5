/** ListOffsets and OffsetForLeaderEpoch. */
import { batch, firstTimestamp } from '../batches.ts';
import type { Peer } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

async function fill(peer: Peer, name: string, batches: readonly Buffer[]): Promise<void> {
  for (const records of batches) {
    await peer.quiet('Produce', 9, {
      acks: -1,
      timeoutMs: 5_000,
      topicData: [{ name, partitionData: [{ index: 0, records }] }],
    });
  }
}

const timestamps = [
  -1,
  -2,
  -3,
  -4,
  -5,
  -6,
  -7,
  -100,
  0,
  1,
  firstTimestamp - 1,
  firstTimestamp,
  firstTimestamp + 1,
  firstTimestamp + 1_000,
  firstTimestamp + 1_500,
  firstTimestamp + 2_000,
  firstTimestamp + 2_001,
  firstTimestamp + 61_000,
  firstTimestamp + 999_999_999,
];

async function listOffsets(peer: Peer): Promise<void> {
  await peer.topic('lo-empty');
  await peer.topic('lo-full', 2);
  await peer.topic('lo-unordered');
  await fill(peer, 'lo-full', [batch(3), batch(3, { codec: 'lz4' }, firstTimestamp + 60_000)]);
  await fill(peer, 'lo-unordered', [
    batch(2, {}, firstTimestamp + 60_000),
    batch(3),
    batch(2, {}, firstTimestamp + 60_000),
  ]);
  const epoch = peer.names.leaderEpoch;
  for (const version of peer.versions('ListOffsets')) {
    const send = (label: string, name: string, partition: object, more: object = {}) =>
      peer.send(label, 'ListOffsets', version, {
        replicaId: -1,
        isolationLevel: 0,
        topics: [
          { name, partitions: [{ partitionIndex: 0, currentLeaderEpoch: -1, timestamp: -1, ...partition }] },
        ],
        timeoutMs: 5_000,
        ...more,
      });
    for (const name of ['lo-full', 'lo-empty', 'lo-unordered']) {
      for (const timestamp of timestamps) await send(`${name} at ${timestamp}`, name, { timestamp });
    }
    await send('committed', 'lo-full', {}, { isolationLevel: 1 });
    await send('unknown topic', 'lo-none', {});
    await send('unknown partition', 'lo-full', { partitionIndex: 9 });
    await send('negative partition', 'lo-full', { partitionIndex: -1 });
    await send('the epoch of now', 'lo-full', { currentLeaderEpoch: epoch });
    await send('an epoch to come', 'lo-full', { currentLeaderEpoch: epoch + 4 });
    await send('a replica', 'lo-full', {}, { replicaId: 1 });
    await send('a debugging replica', 'lo-full', {}, { replicaId: -2 });
    await peer.send('one partition twice', 'ListOffsets', version, {
      replicaId: -1,
      isolationLevel: 0,
      topics: [
        {
          name: 'lo-full',
          partitions: [
            { partitionIndex: 0, timestamp: -1 },
            { partitionIndex: 0, timestamp: -2 },
            { partitionIndex: 1, timestamp: -2 },
          ],
        },
      ],
    });
    await peer.send('nothing', 'ListOffsets', version, { replicaId: -1, isolationLevel: 0, topics: [] });
  }
}

async function epochs(peer: Peer): Promise<void> {
  await peer.topic('oe-one');
  await peer.topic('oe-empty');
  await fill(peer, 'oe-one', [batch(3)]);
  const epoch = peer.names.leaderEpoch;
  for (const version of peer.versions('OffsetForLeaderEpoch')) {
    const send = (label: string, topic: string, partition: object) =>
      peer.send(label, 'OffsetForLeaderEpoch', version, {
        replicaId: -1,
        topics: [
          { topic, partitions: [{ partition: 0, currentLeaderEpoch: -1, leaderEpoch: epoch, ...partition }] },
        ],
      });
    await send('of now', 'oe-one', {});
    await send('of an empty one', 'oe-empty', {});
    await send('of an epoch to come', 'oe-one', { leaderEpoch: epoch + 3 });
    await send('of -1', 'oe-one', { leaderEpoch: -1 });
    await send('of -5', 'oe-one', { leaderEpoch: -5 });
    await send('being there', 'oe-one', { currentLeaderEpoch: epoch });
    await send('being ahead', 'oe-one', { currentLeaderEpoch: epoch + 1 });
    await send('unknown partition', 'oe-one', { partition: 4 });
    await send('unknown topic', 'oe-none', {});
    await peer.send('nothing', 'OffsetForLeaderEpoch', version, { replicaId: -1, topics: [] });
  }
}

export const offsetScenarios: readonly Scenario[] = [
  { name: 'list offsets', run: listOffsets },
  { name: 'leader epochs', run: epochs },
];
