/** Fetch: ranges, limits, epochs, waits and sessions. */
import { batch, firstTimestamp } from '../batches.ts';
import { type Peer, pick } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

const unknownId = 'AAAAAAAAAAAAAAAAAAAAKg';

interface Wanted {
  readonly topic: string;
  readonly topicId: string;
  readonly partition?: number;
  readonly fetchOffset?: number;
  readonly currentLeaderEpoch?: number;
  readonly lastFetchedEpoch?: number;
  readonly partitionMaxBytes?: number;
}

function fetch(wanted: readonly Wanted[], more: object = {}) {
  return {
    replicaId: -1,
    maxWaitMs: 50,
    minBytes: 1,
    maxBytes: 1_000_000,
    isolationLevel: 0,
    sessionId: 0,
    sessionEpoch: -1,
    topics: wanted.map(({ topic, topicId, ...partition }) => ({
      topic,
      topicId,
      partitions: [
        {
          partition: 0,
          currentLeaderEpoch: -1,
          fetchOffset: 0,
          lastFetchedEpoch: -1,
          logStartOffset: -1,
          partitionMaxBytes: 1_000_000,
          ...partition,
        },
      ],
    })),
    forgottenTopicsData: [],
    rackId: '',
    ...more,
  };
}

async function fill(peer: Peer, name: string, batches: readonly Buffer[], partition = 0): Promise<void> {
  for (const records of batches) {
    await peer.quiet('Produce', 9, {
      transactionalId: null,
      acks: -1,
      timeoutMs: 5_000,
      topicData: [{ name, partitionData: [{ index: partition, records }] }],
    });
  }
}

async function everyVersion(peer: Peer): Promise<void> {
  const topic = 'fe-all';
  const topicId = await peer.topic(topic, 2);
  await fill(peer, topic, [
    batch(3),
    batch(2, { codec: 'gzip' }),
    batch(5, {}, firstTimestamp + 60_000, 300),
  ]);
  await fill(peer, topic, [batch(4, { codec: 'zstd' })], 1);
  const one = { topic, topicId };
  const epoch = peer.names.leaderEpoch;
  for (const version of peer.versions('Fetch')) {
    const send = (label: string, wanted: readonly Wanted[], more: object = {}) =>
      peer.send(label, 'Fetch', version, fetch(wanted, more));
    await send('from 0', [one]);
    await send('from inside a batch', [{ ...one, fetchOffset: 1 }]);
    await send('from inside a compressed batch', [{ ...one, fetchOffset: 4 }]);
    await send('from the last', [{ ...one, fetchOffset: 9 }]);
    await send('from the end', [{ ...one, fetchOffset: 10 }]);
    await send('from the end, no bytes wanted', [{ ...one, fetchOffset: 10 }], { minBytes: 0 });
    await send('beyond the end', [{ ...one, fetchOffset: 11 }]);
    await send('from -1', [{ ...one, fetchOffset: -1 }]);
    await send('from -2', [{ ...one, fetchOffset: -2 }]);
    await send('one byte of the partition', [{ ...one, partitionMaxBytes: 1 }]);
    await send('no byte of the partition', [{ ...one, partitionMaxBytes: 0 }]);
    await send('a negative limit', [{ ...one, partitionMaxBytes: -1 }]);
    await send('one byte of all', [one], { maxBytes: 1 });
    await send('no byte of all', [one], { maxBytes: 0 });
    await send('a limit within the first batch', [{ ...one, partitionMaxBytes: 50 }]);
    await send('a limit within the second batch', [{ ...one, partitionMaxBytes: 200 }]);
    await send('a limit of all within the second batch', [one], { maxBytes: 200 });
    await send('two partitions', [one, { ...one, partition: 1 }]);
    await send('two partitions, one byte of all', [one, { ...one, partition: 1 }], { maxBytes: 1 });
    await send('an unknown partition', [{ ...one, partition: 7 }, one]);
    await send('a negative partition', [{ ...one, partition: -1 }]);
    await send('an unknown topic', [{ topic: 'fe-unknown', topicId: unknownId }, one]);
    await send('nothing', []);
    await send('committed', [one], { isolationLevel: 1 });
    await send('isolation level 7', [one], { isolationLevel: 7 });
    await send('the same twice', [one, one]);
    await send('the epoch of now', [{ ...one, currentLeaderEpoch: epoch }]);
    await send('an epoch to come', [{ ...one, currentLeaderEpoch: epoch + 5 }]);
    if (epoch > 0) await send('an epoch gone by', [{ ...one, currentLeaderEpoch: epoch }]);
    await send('a last epoch', [{ ...one, fetchOffset: 5, lastFetchedEpoch: epoch }]);
    await send('a last epoch to come', [{ ...one, fetchOffset: 5, lastFetchedEpoch: epoch + 5 }]);
    await send('more bytes than there are', [{ ...one, fetchOffset: 10 }], { minBytes: 100_000 });
    await send(
      'the end and an error',
      [
        { ...one, fetchOffset: 10 },
        { ...one, partition: 7 },
      ],
      {
        minBytes: 100_000,
        maxWaitMs: 300,
      },
    );
    await send('a negative wait', [{ ...one, fetchOffset: 10 }], { maxWaitMs: -1 });
  }
}

async function waiting(peer: Peer): Promise<void> {
  const topic = 'fe-wait';
  const topicId = await peer.topic(topic);
  for (const version of [4, 7, 12, peer.latest('Fetch')]) {
    const end = pick(
      await peer.quiet('ListOffsets', 7, {
        replicaId: -1,
        isolationLevel: 0,
        topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -1 }] }],
      }),
      'topics',
      0,
      'partitions',
      0,
      'offset',
    ) as number;
    const waits = peer.send(
      'woken',
      'Fetch',
      version,
      fetch([{ topic, topicId, fetchOffset: end }], { maxWaitMs: 10_000 }),
      'waiting',
    );
    await fill(peer, topic, [batch(2)]);
    await waits;
    const waitsForMore = peer.send(
      'woken by enough',
      'Fetch',
      version,
      fetch([{ topic, topicId, fetchOffset: end + 2 }], { maxWaitMs: 10_000, minBytes: 150 }),
      'waiting',
    );
    await fill(peer, topic, [batch(2)]);
    await fill(peer, topic, [batch(2)]);
    await waitsForMore;
  }
}

async function sessions(peer: Peer): Promise<void> {
  const [a, b] = ['fs-a', 'fs-b'];
  const one = { topic: a, topicId: await peer.topic(a, 2) };
  const two = { topic: b, topicId: await peer.topic(b) };
  await fill(peer, a, [batch(2)]);
  for (const version of peer.versions('Fetch').filter((each) => each >= 7)) {
    const send = (label: string, wanted: readonly Wanted[], more: object = {}) =>
      peer.send(label, 'Fetch', version, fetch(wanted, more));
    const idOf = (answer: unknown) => (pick(answer, 'sessionId') as number | undefined) ?? 0;
    const sessionId = idOf(await send('opened', [one, two], { sessionEpoch: 0 }));
    await send('nothing changed', [], { sessionId, sessionEpoch: 1 });
    await send('moved on', [{ ...one, fetchOffset: 2 }], { sessionId, sessionEpoch: 2 });
    await send('nothing new', [], { sessionId, sessionEpoch: 3 });
    await send('another partition', [{ ...one, partition: 1 }], { sessionId, sessionEpoch: 4 });
    await send('an unknown one', [{ topic: 'fs-none', topicId: unknownId }], { sessionId, sessionEpoch: 5 });
    await send('the unknown one still', [], { sessionId, sessionEpoch: 6 });
    await send('forgotten', [], {
      sessionId,
      sessionEpoch: 7,
      forgottenTopicsData: [
        { topic: 'fs-none', topicId: unknownId, partitions: [0] },
        { topic: b, topicId: two.topicId, partitions: [0] },
      ],
    });
    await send('back to the start', [one], { sessionId, sessionEpoch: 8 });
    await send('a wrong epoch', [], { sessionId, sessionEpoch: 50 });
    await send('the same epoch again', [], { sessionId, sessionEpoch: 8 });
    await send('an unknown session', [], { sessionId: 1_234_567, sessionEpoch: 1 });
    await send('no session, an epoch', [one], { sessionId: 0, sessionEpoch: 3 });
    await send('a session, epoch -1: closed', [one], { sessionId, sessionEpoch: -1 });
    await send('closed', [], { sessionId, sessionEpoch: 9 });
    const second = idOf(await send('opened anew', [one], { sessionEpoch: 0 }));
    await send('replaced by a new one', [two], { sessionId: second, sessionEpoch: 0 });
    await send('the replaced one', [], { sessionId: second, sessionEpoch: 1 });
    await send('opened without partitions', [], { sessionEpoch: 0 });
  }
}

async function afterDeletes(peer: Peer): Promise<void> {
  const topic = 'fe-trim';
  const topicId = await peer.topic(topic);
  await fill(peer, topic, [batch(5), batch(5)]);
  for (const version of peer.versions('DeleteRecords')) {
    const send = (label: string, offset: number, name = topic, partitionIndex = 0) =>
      peer.send(label, 'DeleteRecords', version, {
        topics: [{ name, partitions: [{ partitionIndex, offset }] }],
        timeoutMs: 5_000,
      });
    await send('to 2', 2 + version);
    await send('to before', 1);
    await send('beyond', 11);
    await send('to -2', -2);
    await send('unknown topic', 1, 'fe-none');
    await send('unknown partition', 1, topic, 4);
    await send('negative partition', 1, topic, -1);
    await send('internal', 0, '__consumer_offsets');
    await peer.send('nothing', 'DeleteRecords', version, { topics: [], timeoutMs: 5_000 });
  }
  await peer.say('below the start', 'Fetch', fetch([{ topic, topicId, fetchOffset: 1 }]));
  await peer.say('at the start', 'Fetch', fetch([{ topic, topicId, fetchOffset: 4 }]));
  await peer.say('offsets', 'ListOffsets', {
    replicaId: -1,
    isolationLevel: 0,
    topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -2 }] }],
  });
  await peer.say('to the end', 'DeleteRecords', {
    topics: [{ name: topic, partitions: [{ partitionIndex: 0, offset: -1 }] }],
    timeoutMs: 5_000,
  });
  await peer.say('all gone', 'Fetch', fetch([{ topic, topicId, fetchOffset: 10 }]));
  await peer.say('from 0', 'Fetch', fetch([{ topic, topicId, fetchOffset: 0 }]));
  await peer.topic('fe-compact', 1, { 'cleanup.policy': 'compact' });
  await peer.say('of a compacted topic', 'DeleteRecords', {
    topics: [{ name: 'fe-compact', partitions: [{ partitionIndex: 0, offset: 0 }] }],
    timeoutMs: 5_000,
  });
}

export const fetchScenarios: readonly Scenario[] = [
  { name: 'fetch, every version', run: everyVersion },
  { name: 'fetch that waits', run: waiting },
  { name: 'fetch sessions', run: sessions },
  { name: 'delete records', run: afterDeletes },
];
