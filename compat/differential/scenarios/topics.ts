/** Metadata, CreateTopics, DeleteTopics, CreatePartitions, DescribeTopicPartitions, DescribeCluster. */
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import { type Peer, pick } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

const unknownId = 'AAAAAAAAAAAAAAAAAAAAKg';

interface NewTopic {
  readonly name: string;
  readonly numPartitions?: number;
  readonly replicationFactor?: number;
  readonly assignments?: readonly { partitionIndex: number; brokerIds: readonly number[] }[];
  readonly configs?: Readonly<Record<string, string | null>>;
}

function creation(topics: readonly NewTopic[], validateOnly = false) {
  return {
    topics: topics.map(({ configs, ...topic }) => ({
      numPartitions: 1,
      replicationFactor: 1,
      assignments: [],
      ...topic,
      configs: Object.entries(configs ?? {}).map(([name, value]) => ({ name, value })),
    })),
    timeoutMs: 10_000,
    validateOnly,
  };
}

const oddTopics: Readonly<Record<string, Omit<NewTopic, 'name'> & { readonly name?: string }>> = {
  'no partitions': { numPartitions: 0 },
  'minus two partitions': { numPartitions: -2 },
  'default partitions': { numPartitions: -1, replicationFactor: -1 },
  'no copies': { replicationFactor: 0 },
  'minus two copies': { replicationFactor: -2 },
  'two copies': { replicationFactor: 2 },
  'empty name': { name: '' },
  'name of a dot': { name: '.' },
  'name of two dots': { name: '..' },
  'name with a blank': { name: 'a b' },
  'name with umlauts': { name: 'größe' },
  'name of 249': { name: 'n'.repeat(249) },
  'name of 250': { name: 'n'.repeat(250) },
  'an internal name': { name: '__transaction_state_not' },
  'metadata topic': { name: '__cluster_metadata' },
  assignment: {
    numPartitions: -1,
    replicationFactor: -1,
    assignments: [{ partitionIndex: 0, brokerIds: [1] }],
  },
  'assignment and counts': { assignments: [{ partitionIndex: 0, brokerIds: [1] }] },
  'assignment to nobody': {
    numPartitions: -1,
    replicationFactor: -1,
    assignments: [{ partitionIndex: 0, brokerIds: [] }],
  },
  'assignment to a stranger': {
    numPartitions: -1,
    replicationFactor: -1,
    assignments: [{ partitionIndex: 0, brokerIds: [7] }],
  },
  'assignment twice to one': {
    numPartitions: -1,
    replicationFactor: -1,
    assignments: [{ partitionIndex: 0, brokerIds: [1, 1] }],
  },
  'assignment with a gap': {
    numPartitions: -1,
    replicationFactor: -1,
    assignments: [{ partitionIndex: 1, brokerIds: [1] }],
  },
  'assignment twice of one partition': {
    numPartitions: -1,
    replicationFactor: -1,
    assignments: [
      { partitionIndex: 0, brokerIds: [1] },
      { partitionIndex: 0, brokerIds: [1] },
    ],
  },
};

const topicConfigs: readonly Readonly<Record<string, string | null>>[] = [
  { 'retention.ms': '1000' },
  { 'retention.ms': '-1' },
  { 'retention.ms': '-2' },
  { 'retention.ms': 'soon' },
  { 'retention.ms': '' },
  { 'retention.ms': ' 5 ' },
  { 'retention.ms': null },
  { 'retention.ms': '9223372036854775807' },
  { 'retention.ms': '9223372036854775808' },
  { 'retention.bytes': '0' },
  { 'retention.bytes': '-1' },
  { 'retention.bytes': '-2' },
  { 'cleanup.policy': 'compact' },
  { 'cleanup.policy': 'compact,delete' },
  { 'cleanup.policy': 'delete, compact' },
  { 'cleanup.policy': 'delete,delete' },
  { 'cleanup.policy': '' },
  { 'cleanup.policy': 'shred' },
  { 'compression.type': 'producer' },
  { 'compression.type': 'zstd' },
  { 'compression.type': 'ZSTD' },
  { 'compression.type': 'brotli' },
  { 'compression.gzip.level': '9' },
  { 'compression.gzip.level': '10' },
  { 'compression.gzip.level': '-1' },
  { 'compression.lz4.level': '17' },
  { 'compression.lz4.level': '18' },
  { 'compression.zstd.level': '22' },
  { 'compression.zstd.level': '23' },
  { 'max.message.bytes': '0' },
  { 'max.message.bytes': '-1' },
  { 'max.message.bytes': '100' },
  { 'max.message.bytes': '2147483648' },
  { 'message.timestamp.type': 'LogAppendTime' },
  { 'message.timestamp.type': 'logappendtime' },
  { 'message.timestamp.before.max.ms': '10' },
  { 'message.timestamp.after.max.ms': '-1' },
  { 'message.timestamp.difference.max.ms': '10' },
  { 'message.format.version': '3.0' },
  { 'message.downconversion.enable': 'true' },
  { 'min.insync.replicas': '0' },
  { 'min.insync.replicas': '1' },
  { 'min.insync.replicas': '2' },
  { 'segment.bytes': '1048576' },
  { 'segment.bytes': '100' },
  { 'segment.bytes': '13' },
  { 'segment.ms': '0' },
  { 'segment.ms': '1' },
  { 'segment.jitter.ms': '-1' },
  { 'segment.index.bytes': '3' },
  { 'index.interval.bytes': '-1' },
  { 'flush.messages': '0' },
  { 'flush.messages': '1' },
  { 'flush.ms': '-1' },
  { 'flush.ms': '0' },
  { 'file.delete.delay.ms': '-1' },
  { 'delete.retention.ms': '-1' },
  { 'min.compaction.lag.ms': '-1' },
  { 'min.compaction.lag.ms': '10', 'max.compaction.lag.ms': '5' },
  { 'max.compaction.lag.ms': '0' },
  { 'min.cleanable.dirty.ratio': '1.1' },
  { 'min.cleanable.dirty.ratio': '-0.1' },
  { 'min.cleanable.dirty.ratio': '0.5' },
  { 'min.cleanable.dirty.ratio': 'half' },
  { preallocate: 'true' },
  { preallocate: 'yes' },
  { preallocate: 'TRUE' },
  { 'unclean.leader.election.enable': 'true' },
  { 'unclean.leader.election.enable': 'perhaps' },
  { 'leader.replication.throttled.replicas': '*' },
  { 'leader.replication.throttled.replicas': '0:1' },
  { 'leader.replication.throttled.replicas': 'all' },
  { 'remote.storage.enable': 'true' },
  { 'remote.storage.enable': 'false' },
  { 'local.retention.ms': '-2' },
  { 'local.retention.ms': '-3' },
  { 'local.retention.ms': '5', 'retention.ms': '4' },
  { 'local.retention.bytes': '-3' },
  { 'no.such.setting': '1' },
  { '': '1' },
];

async function createEveryVersion(peer: Peer): Promise<void> {
  for (const version of peer.versions('CreateTopics')) {
    const at = `v${version}`;
    await peer.send(
      'two topics',
      'CreateTopics',
      version,
      creation([{ name: `ct-a-${at}` }, { name: `ct-b-${at}`, numPartitions: 3 }]),
    );
    await peer.send(
      'again',
      'CreateTopics',
      version,
      creation([{ name: `ct-a-${at}` }, { name: `ct-c-${at}` }]),
    );
    await peer.send(
      'twice in one',
      'CreateTopics',
      version,
      creation([{ name: `ct-d-${at}` }, { name: `ct-d-${at}` }]),
    );
    await peer.send('none', 'CreateTopics', version, creation([]));
    await peer.send(
      'only checked',
      'CreateTopics',
      version,
      creation([{ name: `ct-e-${at}`, configs: { 'retention.ms': '5' } }], true),
    );
    await peer.send('only checked, there', 'CreateTopics', version, creation([{ name: `ct-a-${at}` }], true));
    await peer.send(
      'a bad setting',
      'CreateTopics',
      version,
      creation([{ name: `ct-f-${at}`, configs: { 'retention.ms': 'x' } }]),
    );
    await peer.send(
      'a setting',
      'CreateTopics',
      version,
      creation([{ name: `ct-g-${at}`, configs: { 'retention.ms': '77' } }]),
    );
    await peer.send(
      'too many copies',
      'CreateTopics',
      version,
      creation([{ name: `ct-h-${at}`, replicationFactor: 3 }]),
    );
  }
}

async function createOdd(peer: Peer): Promise<void> {
  let index = 0;
  for (const [label, topic] of Object.entries(oddTopics)) {
    index += 1;
    await peer.say(label, 'CreateTopics', creation([{ name: `odd-${index}`, ...topic }]));
  }
  await peer.say('a dot for an underscore, first', 'CreateTopics', creation([{ name: 'col.lide' }]));
  await peer.topicReady('col.lide');
  await peer.say('a dot for an underscore', 'CreateTopics', creation([{ name: 'col_lide' }]));
}

async function createWithConfigs(peer: Peer): Promise<void> {
  let index = 0;
  for (const configs of topicConfigs) {
    index += 1;
    const label = JSON.stringify(configs);
    await peer.say(label, 'CreateTopics', creation([{ name: `cfg-${index}`, configs }]));
  }
}

async function deleteTopics(peer: Peer): Promise<void> {
  for (const version of peer.versions('DeleteTopics')) {
    const name = `dt-${version}`;
    const topicId = await peer.topic(name);
    const gone = await peer.topic(`${name}-byid`);
    const byName = (...names: string[]) => ({
      topics: names.map((one) => ({ name: one, topicId: ZERO_UUID })),
      topicNames: names,
      timeoutMs: 10_000,
    });
    await peer.send('unknown', 'DeleteTopics', version, byName('dt-unknown'));
    await peer.send('empty name', 'DeleteTopics', version, byName(''));
    await peer.send('bad name', 'DeleteTopics', version, byName('a b'));
    await peer.send('none', 'DeleteTopics', version, byName());
    await peer.send('twice', 'DeleteTopics', version, byName(name, name));
    if (version >= 6) {
      const byIds = (...topics: { name: string | null; topicId?: string }[]) => ({
        topics: topics.map((topic) => ({ topicId: ZERO_UUID, ...topic })),
        timeoutMs: 10_000,
      });
      await peer.send('unknown id', 'DeleteTopics', version, byIds({ name: null, topicId: unknownId }));
      await peer.send('neither', 'DeleteTopics', version, byIds({ name: null }));
      await peer.send('both', 'DeleteTopics', version, byIds({ name, topicId }));
      await peer.send(
        'id twice',
        'DeleteTopics',
        version,
        byIds({ name: null, topicId }, { name: null, topicId }),
      );
      await peer.send('id and name', 'DeleteTopics', version, byIds({ name: null, topicId }, { name }));
      await peer.send('by id', 'DeleteTopics', version, byIds({ name: null, topicId: gone }));
    }
    await peer.send('there and unknown', 'DeleteTopics', version, byName(name, 'dt-unknown'));
    await peer.send('gone', 'DeleteTopics', version, byName(name));
  }
}

async function createPartitions(peer: Peer): Promise<void> {
  for (const version of peer.versions('CreatePartitions')) {
    const name = `cp-${version}`;
    await peer.topic(name, 2);
    const body = (topics: readonly unknown[], validateOnly = false) => ({
      topics,
      timeoutMs: 10_000,
      validateOnly,
    });
    const to = (count: number, assignments: unknown = null, topic = name) => ({
      name: topic,
      count,
      assignments,
    });
    const send = (label: string, topics: readonly unknown[], validateOnly = false) =>
      peer.send(label, 'CreatePartitions', version, body(topics, validateOnly));
    await send('unknown', [to(3, null, 'cp-unknown')]);
    await send('as many', [to(2)]);
    await send('fewer', [to(1)]);
    await send('zero', [to(0)]);
    await send('minus one', [to(-1)]);
    await send('twice', [to(3), to(4)]);
    await send('none', []);
    await send('only checked', [to(5)], true);
    await send('assignment too short', [to(5, [{ brokerIds: [1] }])]);
    await send('assignment too long', [to(3, [{ brokerIds: [1] }, { brokerIds: [1] }])]);
    await send('assignment to a stranger', [to(3, [{ brokerIds: [9] }])]);
    await send('assignment to nobody', [to(3, [{ brokerIds: [] }])]);
    await send('assignment with another copy', [to(3, [{ brokerIds: [1, 2] }])]);
    await send('assignment twice to one', [to(3, [{ brokerIds: [1, 1] }])]);
    await send('empty assignment', [to(3, [])]);
    await send('with an assignment', [to(3, [{ brokerIds: [1] }])]);
    await send('more', [to(4)]);
    await peer.topicReady(name, 4);
    await peer.say('afterwards', 'Metadata', { topics: [{ name }] });
  }
}

async function metadata(peer: Peer): Promise<void> {
  const topicId = await peer.topic('md-one', 2);
  await peer.topic('md-two');
  for (const version of peer.versions('Metadata')) {
    const ask = (label: string, topics: unknown, more: object = {}) =>
      peer.send(label, 'Metadata', version, { topics, allowAutoTopicCreation: false, ...more });
    const operations = { includeTopicAuthorizedOperations: true, includeClusterAuthorizedOperations: true };
    if (version >= 1) await ask('none', []);
    await ask('one', [{ name: 'md-one' }]);
    await ask('two', [{ name: 'md-two' }, { name: 'md-one' }]);
    await ask('one twice', [{ name: 'md-one' }, { name: 'md-one' }]);
    await ask('operations', [{ name: 'md-one' }], operations);
    await ask('operations of an unknown one', [{ name: 'md-unknown' }], operations);
    if (version >= 4) {
      await ask('unknown', [{ name: 'md-unknown' }]);
      await ask('bad name', [{ name: 'a b' }]);
      await ask('empty name', [{ name: '' }]);
    }
    await ask('bad name to be created', [{ name: 'a b' }, { name: 'md-two' }], {
      allowAutoTopicCreation: true,
    });
    if (version >= 10) {
      await ask('by id', [{ name: null, topicId }]);
      await ask('by unknown id', [{ name: null, topicId: unknownId }]);
      await ask('by id and name', [{ name: 'md-one', topicId }]);
      await ask('by id, another by name', [{ name: null, topicId }, { name: 'md-two' }]);
      await ask('neither', [{ name: null }]);
    }
    const created = `md-created-${version}`;
    const body = { topics: [{ name: created }], allowAutoTopicCreation: true };
    await peer.sendUntil(
      'created',
      'Metadata',
      version,
      body,
      (answer) =>
        pick(answer, 'topics', 0, 'errorCode') === 0 &&
        pick(answer, 'topics', 0, 'partitions', 0, 'leaderId') === 1,
    );
  }
}

async function describeTopicPartitions(peer: Peer): Promise<void> {
  await peer.topic('dtp-a', 3);
  await peer.topic('dtp-b', 4);
  await peer.topic('dtp-c', 1);
  const ask = (label: string, names: readonly string[], more: object = {}) =>
    peer.say(label, 'DescribeTopicPartitions', { topics: names.map((name) => ({ name })), ...more });
  await ask('two', ['dtp-b', 'dtp-a']);
  await ask('twice', ['dtp-b', 'dtp-b']);
  await ask('unknown', ['dtp-none', 'dtp-a']);
  await ask('bad name', ['a b']);
  await ask('limit 2', ['dtp-a', 'dtp-b', 'dtp-c'], { responsePartitionLimit: 2 });
  await ask('limit 3', ['dtp-a', 'dtp-b', 'dtp-c'], { responsePartitionLimit: 3 });
  await ask('limit 0', ['dtp-a', 'dtp-b'], { responsePartitionLimit: 0 });
  await ask('limit -1', ['dtp-a', 'dtp-b'], { responsePartitionLimit: -1 });
  const cursors: readonly [string, string, number][] = [
    ['from the second of b', 'dtp-b', 1],
    ['from a past its end', 'dtp-a', 9],
    ['from c', 'dtp-c', 0],
    ['negative', 'dtp-a', -1],
    ['from one that was not asked for', 'dtp-zz', 0],
    ['from one between', 'dtp-aa', 0],
  ];
  for (const [label, topicName, partitionIndex] of cursors) {
    const cursor = { topicName, partitionIndex };
    await ask(`cursor ${label}`, ['dtp-a', 'dtp-b', 'dtp-c'], { cursor, responsePartitionLimit: 3 });
  }
}

async function describeCluster(peer: Peer): Promise<void> {
  for (const version of peer.versions('DescribeCluster')) {
    const ask = (label: string, body: object) => peer.send(label, 'DescribeCluster', version, body);
    await ask('plain', {});
    await ask('operations', { includeClusterAuthorizedOperations: true });
    if (version >= 1) {
      await ask('controllers', { endpointType: 2 });
      await ask('an unknown type', { endpointType: 3 });
    }
    if (version >= 2) await ask('fenced ones, too', { includeFencedBrokers: true });
  }
}

export const topicScenarios: readonly Scenario[] = [
  { name: 'create topics, every version', run: createEveryVersion },
  { name: 'create odd topics', run: createOdd },
  { name: 'create topics with settings', run: createWithConfigs },
  { name: 'delete topics', run: deleteTopics },
  { name: 'create partitions', run: createPartitions },
  { name: 'metadata', run: metadata },
  { name: 'describe topic partitions', run: describeTopicPartitions },
  { name: 'describe cluster', run: describeCluster },
];
