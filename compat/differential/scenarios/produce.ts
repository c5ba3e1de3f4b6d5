/** Produce and InitProducerId. */
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { batch, changed, faultyRecords, firstTimestamp, now } from '../batches.ts';
import { type Peer, pick } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

const unknownId = 'AAAAAAAAAAAAAAAAAAAAKg';

interface Target {
  readonly name: string;
  readonly topicId: string;
  readonly partition?: number;
}

function produce(records: Buffer, { name, topicId, partition = 0 }: Target, more: object = {}) {
  return {
    transactionalId: null,
    acks: -1,
    timeoutMs: 5_000,
    topicData: [{ name, topicId, partitionData: [{ index: partition, records }] }],
    ...more,
  };
}

async function everyVersion(peer: Peer): Promise<void> {
  for (const version of peer.versions('Produce')) {
    const name = `pr-${version}`;
    const target = { name, topicId: await peer.topic(name, 2) };
    const send = (label: string, body: object) => peer.send(label, 'Produce', version, body);
    await send('one', produce(batch(1), target));
    await send('three', produce(batch(3), target));
    await send('acks 1', produce(batch(1), target, { acks: 1 }));
    await send('acks 2', produce(batch(1), target, { acks: 2 }));
    await send('acks -2', produce(batch(1), target, { acks: -2 }));
    await send('unknown topic', produce(batch(1), { name: 'pr-unknown', topicId: unknownId }));
    await send('unknown partition', produce(batch(1), { ...target, partition: 9 }));
    await send('negative partition', produce(batch(1), { ...target, partition: -1 }));
    await send('crc wrong', produce(faultyRecords['crc wrong']!(), target));
    await send('count too large', produce(faultyRecords['count too large']!(), target));
    await send('codec zstd', produce(batch(3, { codec: 'zstd' }), target));
    await send('a transactional id', produce(batch(1), target, { transactionalId: 'tx' }));
    await send('nothing', { acks: -1, timeoutMs: 1_000, topicData: [] });
    await send('two partitions, one bad', {
      acks: -1,
      timeoutMs: 5_000,
      topicData: [
        {
          name,
          topicId: target.topicId,
          partitionData: [
            { index: 0, records: batch(2) },
            { index: 1, records: faultyRecords['crc wrong']!() },
          ],
        },
      ],
    });
    await send('one partition twice', {
      acks: -1,
      timeoutMs: 5_000,
      topicData: [
        {
          name,
          topicId: target.topicId,
          partitionData: [
            { index: 1, records: batch(1) },
            { index: 1, records: batch(2) },
          ],
        },
      ],
    });
    await send('after all that', produce(batch(1), target));
  }
}

async function acksZero(peer: Peer): Promise<void> {
  const target = { name: 'pr-zero', topicId: await peer.topic('pr-zero') };
  for (const version of peer.versions('Produce')) {
    const on = `zero-${version}`;
    await peer.post('Produce', version, produce(batch(1), target, { acks: 0 }), on);
    await peer.say(`v${version} is still answered`, 'Metadata', { topics: [] }, on);
    await peer.post('Produce', version, produce(faultyRecords['crc wrong']!(), target, { acks: 0 }), on);
    peer.note(`v${version} with a fault closes`, await peer.closes(on));
    peer.drop(on);
  }
}

async function faults(peer: Peer): Promise<void> {
  const target = { name: 'pr-faults', topicId: await peer.topic('pr-faults') };
  for (const [label, records] of Object.entries(faultyRecords)) {
    if (insideFaults.has(label)) continue;
    await peer.say(label, 'Produce', produce(records(), target));
  }
  await fetchAll(peer, 'what was taken', 'pr-faults', target.topicId);
}

/** What only shows when a batch is opened. */
const insideFaults: ReadonlySet<string> = new Set([
  'codec gzip on plain bytes',
  'codec lz4 on plain bytes',
  'codec zstd on plain bytes',
  'record length wrong',
  'max timestamp too large',
  'max timestamp too small',
]);

async function faultsInside(peer: Peer): Promise<void> {
  const target = { name: 'pr-inside', topicId: await peer.topic('pr-inside') };
  for (const label of insideFaults)
    await peer.say(label, 'Produce', produce(faultyRecords[label]!(), target));
  for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const) {
    const records = changed(batch(50, { codec }, firstTimestamp, 200), (bytes) =>
      bytes.fill(0xee, bytes.length - 20),
    );
    await peer.say(`${codec}, cut off inside`, 'Produce', produce(records, target));
  }
}

async function fetchAll(peer: Peer, label: string, topic: string, topicId: string): Promise<void> {
  await peer.say(label, 'Fetch', {
    replicaId: -1,
    maxWaitMs: 100,
    minBytes: 1,
    maxBytes: 10_000_000,
    isolationLevel: 0,
    sessionId: 0,
    sessionEpoch: -1,
    topics: [
      {
        topic,
        topicId,
        partitions: [
          {
            partition: 0,
            currentLeaderEpoch: -1,
            fetchOffset: 0,
            lastFetchedEpoch: -1,
            logStartOffset: -1,
            partitionMaxBytes: 10_000_000,
          },
        ],
      },
    ],
    forgottenTopicsData: [],
  });
}

const settings: readonly Readonly<Record<string, string>>[] = [
  { 'max.message.bytes': '200' },
  { 'message.timestamp.type': 'LogAppendTime' },
  { 'message.timestamp.before.max.ms': '1000' },
  { 'message.timestamp.after.max.ms': '1000' },
  { 'cleanup.policy': 'compact' },
  { 'compression.type': 'gzip' },
  { 'compression.type': 'uncompressed' },
  { 'compression.type': 'lz4', 'message.timestamp.type': 'LogAppendTime' },
  { 'min.insync.replicas': '2' },
];

async function underSettings(peer: Peer): Promise<void> {
  let index = 0;
  for (const configs of settings) {
    index += 1;
    const name = `pr-set-${index}`;
    const target = { name, topicId: await peer.topic(name, 1, configs) };
    const send = (label: string, records: Buffer, more: object = {}) =>
      peer.say(`${JSON.stringify(configs)} ${label}`, 'Produce', produce(records, target, more));
    await send('small', batch(1));
    await send('large', batch(10, {}, firstTimestamp, 100));
    await send('now', batch(1, {}, now));
    await send('in two hours', batch(1, {}, now + 7_200_000));
    await send('gzip', batch(4, { codec: 'gzip' }));
    await send('snappy', batch(4, { codec: 'snappy' }));
    await send(
      'no key',
      buildRecordBatch([{ key: null, value: Buffer.from('v'), timestamp: firstTimestamp }]),
    );
    await send(
      'a key, then none',
      buildRecordBatch([
        { key: Buffer.from('k'), value: Buffer.from('v'), timestamp: firstTimestamp },
        { key: null, value: Buffer.from('v'), timestamp: firstTimestamp },
      ]),
    );
    await send(
      'null value',
      buildRecordBatch([{ key: Buffer.from('k'), value: null, timestamp: firstTimestamp }]),
    );
    await send('acks 1', batch(1), { acks: 1 });
    await send(
      'one record too late',
      buildRecordBatch([
        { key: Buffer.from('k'), value: Buffer.from('v'), timestamp: now },
        { key: Buffer.from('k'), value: Buffer.from('v'), timestamp: now + 7_200_000 },
      ]),
    );
    if (configs['compression.type'] === undefined && configs['message.timestamp.type'] === undefined) {
      await fetchAll(peer, `${JSON.stringify(configs)} what was taken`, name, target.topicId);
    }
  }
}

async function codecs(peer: Peer): Promise<void> {
  const target = { name: 'pr-codecs', topicId: await peer.topic('pr-codecs') };
  for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const) {
    await peer.say(codec, 'Produce', produce(batch(5, { codec }), target));
  }
  await fetchAll(peer, 'all', 'pr-codecs', target.topicId);
}

async function idempotence(peer: Peer): Promise<void> {
  const target = { name: 'pr-idem', topicId: await peer.topic('pr-idem', 2) };
  const ids: number[] = [];
  for (let index = 0; index < 3; index++) {
    const answer = await peer.sendUntil(
      `producer id ${index}`,
      'InitProducerId',
      peer.latest('InitProducerId'),
      { transactionalId: null, transactionTimeoutMs: 60_000, producerId: -1, producerEpoch: -1 },
      (given) => pick(given, 'errorCode') === 0,
    );
    ids.push(pick(answer, 'producerId') as number);
  }
  const [first, second, third] = ids as [number, number, number];
  const send = (
    label: string,
    producerId: number,
    producerEpoch: number,
    baseSequence: number,
    count = 1,
    to: Target = target,
  ) => peer.say(label, 'Produce', produce(batch(count, { producerId, producerEpoch, baseSequence }), to));
  await send('0', first, 0, 0);
  await send('0 again', first, 0, 0);
  await send('1-3', first, 0, 1, 3);
  await send('1-3 again', first, 0, 1, 3);
  await send('1-2, part of a batch', first, 0, 1, 2);
  await send('a gap', first, 0, 5);
  await send('4', first, 0, 4);
  await send('5', first, 0, 5);
  await send('6', first, 0, 6);
  await send('7', first, 0, 7);
  await send('4 again', first, 0, 4);
  await send('1-3 again, out of the window', first, 0, 1, 3);
  await send('0 again, out of the window', first, 0, 0);
  await send('a later epoch, not from 0', first, 1, 3);
  await send('a later epoch from 0', first, 1, 0);
  await send('the epoch before', first, 0, 8);
  await send('the epoch before, a duplicate', first, 0, 7);
  await send('the later epoch again', first, 1, 0);
  await send('next of the later epoch', first, 1, 1);
  await send('an unknown producer from 5', second, 0, 5);
  await send('that goes on', second, 0, 6);
  await send('a producer from epoch 3', third, 3, 0);
  await send('that falls back', third, 2, 0);
  await send('other partition from 7', first, 1, 7, 1, { ...target, partition: 1 });
  await send('sequence up to the end', second, 1, 0);
  await send('a producer nobody was given', 123_456, 0, 0);
  await send('that goes back', 123_456, 0, 0, 2);
  await send('near the end of numbers', 123_457, 0, 2_147_483_646, 2);
  await send('round the end', 123_457, 0, 0);
  await send('over the end', 123_458, 0, 2_147_483_647, 3);
  await send('over the end again', 123_458, 0, 2_147_483_647, 3);
  await send('after the end', 123_458, 0, 2);
  await send('sequence -2', 123_459, 0, -2);
  await send('epoch -2', 123_459, -2, 0, 1, { ...target, partition: 1 });
  await send('producer -2', -2, 0, 0);
  await peer.say(
    'two batches in one',
    'Produce',
    produce(
      Buffer.concat([
        batch(1, { producerId: 123_460, producerEpoch: 0, baseSequence: 0 }),
        batch(1, { producerId: 123_460, producerEpoch: 0, baseSequence: 1 }),
      ]),
      target,
    ),
  );
  await fetchAll(peer, 'what was taken', 'pr-idem', target.topicId);
}

async function initProducerId(peer: Peer): Promise<void> {
  for (const version of peer.versions('InitProducerId')) {
    const ask = (label: string, body: object) =>
      peer.send(label, 'InitProducerId', version, {
        transactionalId: null,
        transactionTimeoutMs: 60_000,
        producerId: -1,
        producerEpoch: -1,
        ...body,
      });
    await ask('new', {});
    await ask('another', {});
    await ask('a timeout of zero', { transactionTimeoutMs: 0 });
    await ask('an empty transactional id', { transactionalId: '' });
    if (version >= 3) {
      await ask('an id without an epoch', { producerId: 5 });
      await ask('an epoch without an id', { producerEpoch: 5 });
      await ask('an id nobody has', { producerId: 7_777, producerEpoch: 3 });
    }
  }
}

export const produceScenarios: readonly Scenario[] = [
  { name: 'produce, every version', run: everyVersion },
  { name: 'produce with acks 0', run: acksZero },
  { name: 'produce what is wrong', run: faults },
  { name: 'produce what is wrong inside', run: faultsInside },
  { name: 'produce under settings', run: underSettings },
  { name: 'produce every codec', run: codecs },
  { name: 'produce idempotently', run: idempotence },
  { name: 'producer ids', run: initProducerId },
];
