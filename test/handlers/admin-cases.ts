/**
 * Requests whose answers by Apache Kafka are kept in admin-answers.jsonl (recorded by record-admin-answers.ts): one broker, started
 * empty, asked in this order.
 */

/** What it is about, API key, version, request. */
export type AdminCase = readonly [name: string, apiKey: number, apiVersion: number, request: unknown];

const zero = 'AAAAAAAAAAAAAAAAAAAAAA';
const ghost = 'R1XJY0bORNGDNDS6ghsOqA';

interface TopicConfig {
  readonly name: string;
  readonly value: string | null;
}

interface Assignment {
  readonly partitionIndex: number;
  readonly brokerIds: readonly number[];
}

function t(
  name: string,
  numPartitions = 1,
  replicationFactor = 1,
  configs: readonly TopicConfig[] = [],
  assignments: readonly Assignment[] = [],
) {
  return { name, numPartitions, replicationFactor, assignments, configs };
}

function ct(topics: readonly unknown[], validateOnly = false) {
  return { topics, timeoutMs: 5000, validateOnly };
}

const stay = { allowAutoTopicCreation: false };

function md(topics: readonly (string | object)[] | null, extra: object = stay) {
  const named = topics?.map((topic) => (typeof topic === 'string' ? { name: topic } : topic)) ?? null;
  return { topics: named, ...extra };
}

type Operation = readonly [name: string, operation: number, value: string | null];

function inc(
  resourceType: number,
  resourceName: string,
  operations: readonly Operation[],
  validateOnly = false,
) {
  const configs = operations.map(([name, configOperation, value]) => ({ name, configOperation, value }));
  return { resources: [{ resourceType, resourceName, configs }], validateOnly };
}

function alt(
  resourceType: number,
  resourceName: string,
  values: readonly (readonly [string, string | null])[],
) {
  const configs = values.map(([name, value]) => ({ name, value }));
  return { resources: [{ resourceType, resourceName, configs }], validateOnly: false };
}

function dc(
  resourceType: number,
  resourceName: string,
  keys: readonly string[] | null = null,
  extra: object = {},
) {
  return { resources: [{ resourceType, resourceName, configurationKeys: keys }], ...extra };
}

const someBrokerKeys = [
  'compression.type',
  'log.cleanup.policy',
  'log.flush.interval.ms',
  'log.retention.hours',
  'log.retention.ms',
  'log.roll.ms',
  'message.max.bytes',
  'socket.request.max.bytes',
];

function metadataCases(): AdminCase[] {
  const cases: AdminCase[] = [];
  for (let version = 0; version <= 13; version++) {
    // Before version 4 a client cannot ask for missing topics without having them created.
    const noCreation = version < 4 ? {} : stay;
    const add = (what: string, topics: readonly string[] | null) =>
      cases.push([`metadata v${version} ${what}`, 3, version, md(topics, noCreation)]);
    add('p1', ['p1']);
    if (version >= 4) add('missing', ['missing']);
    add('bad name', ['b ad']);
    add('empty', []);
    if (version >= 1) add('all', null);
    add('twice', ['p1', 'p1']);
  }
  return cases;
}

export const adminCases: readonly AdminCase[] = [
  ['create p1', 19, 7, ct([t('p1')])],
  ['create a.b', 19, 7, ct([t('a.b', 3)])],
  ...metadataCases(),
  ['metadata v12 by unknown id', 3, 12, md([{ topicId: ghost, name: null }])],
  ['metadata v12 unknown id + name', 3, 12, md([{ topicId: ghost, name: null }, { name: 'p1' }])],
  ['metadata v10 id', 3, 10, md([{ topicId: ghost, name: 'p1' }])],
  ['metadata v10 null name', 3, 10, md([{ name: null }])],
  ['metadata v12 null name zero id', 3, 12, md([{ name: null }])],
  ['metadata v13 null name zero id', 3, 13, md([{ name: null }])],
  ['metadata v12 null name zero id and p1', 3, 12, md([{ name: null }, { name: 'p1' }])],
  [
    'metadata v8 ops',
    3,
    8,
    md(['p1', 'missing'], {
      ...stay,
      includeClusterAuthorizedOperations: true,
      includeTopicAuthorizedOperations: true,
    }),
  ],
  ['metadata v12 ops', 3, 12, md(['p1'], { ...stay, includeTopicAuthorizedOperations: true })],
  ['create dup in request', 19, 7, ct([t('d1'), t('d1'), t('d2')])],
  ['create existing v0', 19, 2, ct([t('p1')])],
  ['create existing v4', 19, 4, ct([t('p1')])],
  ['create existing v5', 19, 5, ct([t('p1')])],
  ['create v2 -1/-1', 19, 2, ct([t('m2', -1, -1)])],
  ['create v3 -1/-1', 19, 3, ct([t('m3', -1, -1)], true)],
  ['create v4 -1/-1', 19, 4, ct([t('m4', -1, -1)], true)],
  ['create v7 validate', 19, 7, ct([t('v7', 2, 1, [{ name: 'retention.ms', value: '5' }])], true)],
  [
    'create v7 configs',
    19,
    7,
    ct([
      t('v8', 2, 1, [
        { name: 'retention.ms', value: ' 5 ' },
        { name: 'cleanup.policy', value: 'delete, compact' },
      ]),
    ]),
  ],
  ['create null config', 19, 7, ct([t('nc', 1, 1, [{ name: 'retention.ms', value: null }])])],
  ['create null unknown config', 19, 7, ct([t('nc', 1, 1, [{ name: 'foo', value: null }])])],
  [
    'create dup config',
    19,
    7,
    ct([
      t('dc', 1, 1, [
        { name: 'retention.ms', value: '5' },
        { name: 'retention.ms', value: '6' },
      ]),
    ]),
  ],
  [
    'create multi error',
    19,
    7,
    ct([t('b ad'), t('p1'), t('e1', 0), t('e2', 1, 3), t('e3', 1, 1, [{ name: 'x', value: '1' }]), t('ok1')]),
  ],
  ['create order name vs config', 19, 7, ct([t('p1', 0, 5, [{ name: 'x', value: '1' }])])],
  ['create order parts vs config', 19, 7, ct([t('ord', 0, 5, [{ name: 'x', value: '1' }])])],
  ['create order parts vs rf', 19, 7, ct([t('ord', 0, 5)])],
  ['create order parts vs rf0', 19, 7, ct([t('ord', 0, 0)])],
  ['create -2', 19, 7, ct([t('ord', -2, 1)])],
  ['create rf -2', 19, 7, ct([t('ord', 1, -2)])],
  [
    'create assign ok',
    19,
    7,
    ct([
      t(
        'as1',
        -1,
        -1,
        [],
        [
          { partitionIndex: 0, brokerIds: [1] },
          { partitionIndex: 1, brokerIds: [1] },
        ],
      ),
    ]),
  ],
  ['create assign + count', 19, 7, ct([t('as2', 2, -1, [], [{ partitionIndex: 0, brokerIds: [1] }])])],
  ['create assign + rf', 19, 7, ct([t('as2', -1, 1, [], [{ partitionIndex: 0, brokerIds: [1] }])])],
  ['create assign + both', 19, 7, ct([t('as2', 1, 1, [], [{ partitionIndex: 0, brokerIds: [1] }])])],
  ['create assign gap', 19, 7, ct([t('as2', -1, -1, [], [{ partitionIndex: 1, brokerIds: [1] }])])],
  [
    'create assign gap2',
    19,
    7,
    ct([
      t(
        'as2',
        -1,
        -1,
        [],
        [
          { partitionIndex: 0, brokerIds: [1] },
          { partitionIndex: 2, brokerIds: [1] },
        ],
      ),
    ]),
  ],
  [
    'create assign dup',
    19,
    7,
    ct([
      t(
        'as2',
        -1,
        -1,
        [],
        [
          { partitionIndex: 0, brokerIds: [1] },
          { partitionIndex: 0, brokerIds: [1] },
        ],
      ),
    ]),
  ],
  ['create assign empty', 19, 7, ct([t('as2', -1, -1, [], [{ partitionIndex: 0, brokerIds: [] }])])],
  ['create assign unknown', 19, 7, ct([t('as2', -1, -1, [], [{ partitionIndex: 0, brokerIds: [9] }])])],
  ['create assign twice', 19, 7, ct([t('as2', -1, -1, [], [{ partitionIndex: 0, brokerIds: [1, 1] }])])],
  ['create assign 1,2', 19, 7, ct([t('as2', -1, -1, [], [{ partitionIndex: 0, brokerIds: [1, 2] }])])],
  [
    'create assign mixed',
    19,
    7,
    ct([
      t(
        'as2',
        -1,
        -1,
        [],
        [
          { partitionIndex: 0, brokerIds: [1] },
          { partitionIndex: 1, brokerIds: [1, 2] },
        ],
      ),
    ]),
  ],
  ['create none', 19, 7, ct([])],
  ['create collide in one', 19, 7, ct([t('c.c'), t('c_c')])],
  ['create metadata topic', 19, 7, ct([t('__cluster_metadata')])],
  ['create offsets validate', 19, 7, ct([t('__consumer_offsets', 50, 1)], true)],
  [
    'parts +',
    37,
    3,
    { topics: [{ name: 'p1', count: 3, assignments: null }], timeoutMs: 5000, validateOnly: false },
  ],
  [
    'parts same',
    37,
    3,
    { topics: [{ name: 'p1', count: 3, assignments: null }], timeoutMs: 5000, validateOnly: false },
  ],
  [
    'parts less',
    37,
    3,
    { topics: [{ name: 'p1', count: 2, assignments: null }], timeoutMs: 5000, validateOnly: false },
  ],
  [
    'parts 0',
    37,
    3,
    { topics: [{ name: 'p1', count: 0, assignments: null }], timeoutMs: 5000, validateOnly: false },
  ],
  [
    'parts -1',
    37,
    3,
    { topics: [{ name: 'p1', count: -1, assignments: null }], timeoutMs: 5000, validateOnly: false },
  ],
  [
    'parts missing',
    37,
    3,
    { topics: [{ name: 'nope', count: 3, assignments: null }], timeoutMs: 5000, validateOnly: false },
  ],
  [
    'parts dup',
    37,
    3,
    {
      topics: [
        { name: 'p1', count: 4, assignments: null },
        { name: 'p1', count: 5, assignments: null },
      ],
      timeoutMs: 5000,
      validateOnly: false,
    },
  ],
  [
    'parts validate',
    37,
    3,
    { topics: [{ name: 'p1', count: 4, assignments: null }], timeoutMs: 5000, validateOnly: true },
  ],
  [
    'parts assign ok',
    37,
    3,
    {
      topics: [{ name: 'p1', count: 4, assignments: [{ brokerIds: [1] }] }],
      timeoutMs: 5000,
      validateOnly: true,
    },
  ],
  [
    'parts assign few',
    37,
    3,
    {
      topics: [{ name: 'p1', count: 5, assignments: [{ brokerIds: [1] }] }],
      timeoutMs: 5000,
      validateOnly: true,
    },
  ],
  [
    'parts assign many',
    37,
    3,
    {
      topics: [{ name: 'p1', count: 4, assignments: [{ brokerIds: [1] }, { brokerIds: [1] }] }],
      timeoutMs: 5000,
      validateOnly: true,
    },
  ],
  [
    'parts assign unknown',
    37,
    3,
    {
      topics: [{ name: 'p1', count: 4, assignments: [{ brokerIds: [7] }] }],
      timeoutMs: 5000,
      validateOnly: true,
    },
  ],
  [
    'parts assign two',
    37,
    3,
    {
      topics: [{ name: 'p1', count: 4, assignments: [{ brokerIds: [1, 2] }] }],
      timeoutMs: 5000,
      validateOnly: true,
    },
  ],
  [
    'parts assign empty',
    37,
    3,
    {
      topics: [{ name: 'p1', count: 4, assignments: [{ brokerIds: [] }] }],
      timeoutMs: 5000,
      validateOnly: true,
    },
  ],
  [
    'parts assign none',
    37,
    3,
    { topics: [{ name: 'p1', count: 4, assignments: [] }], timeoutMs: 5000, validateOnly: true },
  ],
  [
    'parts bad name',
    37,
    3,
    { topics: [{ name: 'b ad', count: 4, assignments: null }], timeoutMs: 5000, validateOnly: true },
  ],
  ['inc topic set', 44, 1, inc(2, 'p1', [['retention.ms', 0, '7']])],
  [
    'inc topic dup',
    44,
    1,
    inc(2, 'p1', [
      ['retention.ms', 0, '7'],
      ['retention.ms', 0, '8'],
    ]),
  ],
  ['inc topic null', 44, 1, inc(2, 'p1', [['retention.ms', 0, null]])],
  ['inc topic null append', 44, 1, inc(2, 'p1', [['cleanup.policy', 2, null]])],
  [
    'inc topic two nulls',
    44,
    1,
    inc(2, 'p1', [
      ['retention.ms', 0, null],
      ['flush.ms', 0, null],
    ]),
  ],
  ['inc topic delete absent', 44, 1, inc(2, 'p1', [['flush.ms', 1, null]])],
  ['inc topic op 9', 44, 1, inc(2, 'p1', [['flush.ms', 9, '5']])],
  ['inc topic append', 44, 1, inc(2, 'p1', [['cleanup.policy', 2, 'compact']])],
  ['inc topic subtract', 44, 1, inc(2, 'p1', [['cleanup.policy', 3, 'delete']])],
  ['inc topic append bad', 44, 1, inc(2, 'p1', [['cleanup.policy', 2, 'zzz']])],
  ['inc topic append nonlist', 44, 1, inc(2, 'p1', [['flush.ms', 2, '4']])],
  ['inc topic subtract unknown', 44, 1, inc(2, 'p1', [['foo', 3, '4']])],
  ['inc topic subtract all', 44, 1, inc(2, 'p1', [['cleanup.policy', 3, 'compact']])],
  ['desc after subtract all', 32, 4, dc(2, 'p1', ['cleanup.policy'], { includeSynonyms: true })],
  ['inc topic delete', 44, 1, inc(2, 'p1', [['cleanup.policy', 1, null]])],
  ['inc topic missing', 44, 1, inc(2, 'nope', [['flush.ms', 0, '4']])],
  ['inc topic empty name', 44, 1, inc(2, '', [['flush.ms', 0, '4']])],
  ['inc topic bad name', 44, 1, inc(2, 'b ad', [['flush.ms', 0, '4']])],
  ['inc type 0', 44, 1, inc(0, 'x', [['flush.ms', 0, '4']])],
  ['inc type 99', 44, 1, inc(99, 'x', [['flush.ms', 0, '4']])],
  [
    'inc dup resource',
    44,
    1,
    {
      resources: [
        ...inc(2, 'p1', [['flush.ms', 0, '4']]).resources,
        ...inc(2, 'p1', [['flush.ms', 0, '5']]).resources,
        ...inc(2, 'a.b', [['flush.ms', 0, '5']]).resources,
      ],
      validateOnly: false,
    },
  ],
  [
    'inc two resources',
    44,
    1,
    {
      resources: [
        ...inc(2, 'p1', [['flush.ms', 0, '4']]).resources,
        ...inc(2, 'nope', [['flush.ms', 0, '5']]).resources,
        ...inc(4, '1', [['log.cleaner.threads', 0, '2']]).resources,
      ],
      validateOnly: false,
    },
  ],
  ['inc validate', 44, 1, inc(2, 'p1', [['flush.ms', 0, '4444']], true)],
  ['inc validate bad', 44, 1, inc(2, 'p1', [['flush.ms', 0, 'x']], true)],
  ['inc empty', 44, 1, inc(2, 'p1', [])],
  [
    'inc conflict',
    44,
    1,
    inc(2, 'p1', [
      ['min.compaction.lag.ms', 0, '50'],
      ['max.compaction.lag.ms', 0, '5'],
    ]),
  ],
  [
    'inc broker fixed',
    44,
    1,
    inc(4, '1', [
      ['node.id', 0, '5'],
      ['log.roll.hours', 0, '5'],
    ]),
  ],
  ['inc broker bad', 44, 1, inc(4, '1', [['log.retention.ms', 0, 'x']])],
  ['inc broker append', 44, 1, inc(4, '1', [['log.cleanup.policy', 2, 'compact']])],
  ['inc broker append nonlist', 44, 1, inc(4, '1', [['log.retention.ms', 2, '1']])],
  ['inc broker subtract nonlist', 44, 1, inc(4, '1', [['log.retention.ms', 3, '1']])],
  ['inc broker delete', 44, 1, inc(4, '1', [['log.cleanup.policy', 1, null]])],
  ['inc broker delete fixed', 44, 1, inc(4, '1', [['node.id', 1, null]])],
  ['inc broker other', 44, 1, inc(4, '7', [['log.retention.ms', 0, '5']])],
  ['inc broker text', 44, 1, inc(4, 'x', [['log.retention.ms', 0, '5']])],
  ['inc default', 44, 1, inc(4, '', [['log.retention.ms', 0, '555555555']])],
  ['inc default per-broker', 44, 1, inc(4, '', [['ssl.keystore.location', 0, '555']])],
  ['inc default del', 44, 1, inc(4, '', [['log.retention.ms', 1, null]])],
  ['inc broker null', 44, 1, inc(4, '1', [['log.retention.ms', 0, null]])],
  [
    'inc broker dup',
    44,
    1,
    inc(4, '1', [
      ['log.retention.ms', 0, '5'],
      ['log.retention.ms', 0, '6'],
    ]),
  ],
  ['inc broker del threads', 44, 1, inc(4, '1', [['log.cleaner.threads', 1, null]])],
  ['inc logger', 44, 1, inc(8, '1', [['kafka', 0, 'INFO']])],
  ['inc logger other', 44, 1, inc(8, '9', [['kafka', 0, 'INFO']])],
  ['inc logger bad level', 44, 1, inc(8, '1', [['kafka', 0, 'LOUD']])],
  ['inc logger append', 44, 1, inc(8, '1', [['kafka', 2, 'INFO']])],
  ['inc metrics empty', 44, 1, inc(16, '', [['interval.ms', 0, '1000']])],
  ['inc metrics bad', 44, 1, inc(16, 'm', [['foo', 0, '1000']])],
  ['inc group empty', 44, 1, inc(32, '', [['consumer.session.timeout.ms', 0, '50000']])],
  ['inc group bad', 44, 1, inc(32, 'g', [['foo', 0, '1000']])],
  ['alter topic', 33, 2, alt(2, 'p1', [['retention.ms', '9']])],
  ['desc after alter', 32, 4, dc(2, 'p1', ['retention.ms', 'flush.ms'], { includeSynonyms: true })],
  ['alter topic null', 33, 2, alt(2, 'p1', [['retention.ms', null]])],
  [
    'alter topic dup',
    33,
    2,
    alt(2, 'p1', [
      ['retention.ms', '1'],
      ['retention.ms', '2'],
    ]),
  ],
  ['alter topic bad', 33, 2, alt(2, 'p1', [['retention.ms', 'x']])],
  ['alter topic unknown', 33, 2, alt(2, 'p1', [['foo', 'x']])],
  ['alter missing', 33, 2, alt(2, 'nope', [['foo', 'x']])],
  ['alter empty name', 33, 2, alt(2, '', [['retention.ms', '1']])],
  ['alter bad name', 33, 2, alt(2, 'b ad', [['retention.ms', '1']])],
  ['alter broker fixed', 33, 2, alt(4, '1', [['node.id', '1']])],
  ['alter broker', 33, 2, alt(4, '1', [['log.retention.ms', '99999999']])],
  ['alter broker empty', 33, 2, alt(4, '1', [])],
  ['alter broker other', 33, 2, alt(4, '7', [])],
  ['alter logger', 33, 2, alt(8, '1', [['kafka', 'INFO']])],
  ['alter metrics', 33, 2, alt(16, 'm', [['interval.ms', '1000']])],
  ['alter group', 33, 2, alt(32, 'g', [['foo', '1']])],
  ['alter type 0', 33, 2, alt(0, 'g', [['foo', '1']])],
  ['alter empty', 33, 2, alt(2, 'p1', [])],
  ['desc topic', 32, 4, dc(2, 'a.b', null, { includeSynonyms: true })],
  ['desc topic v1', 32, 1, dc(2, 'a.b', ['retention.ms'])],
  ['desc topic v3', 32, 3, dc(2, 'a.b', ['retention.ms'], { includeSynonyms: false })],
  ['desc keys empty', 32, 4, dc(2, 'a.b', [])],
  ['desc keys unknown', 32, 4, dc(2, 'a.b', ['foo'])],
  ['desc missing', 32, 4, dc(2, 'nope')],
  ['desc bad name', 32, 4, dc(2, 'b ad')],
  ['desc empty name', 32, 4, dc(2, '')],
  ['desc broker other', 32, 4, dc(4, '7')],
  ['desc broker text', 32, 4, dc(4, 'x')],
  ['desc broker default', 32, 4, dc(4, '')],
  ['desc broker', 32, 4, dc(4, '1', someBrokerKeys, { includeSynonyms: true })],
  ['desc logger', 32, 4, dc(8, '1', ['kafka'])],
  ['desc logger empty', 32, 4, dc(8, '')],
  ['desc logger other', 32, 4, dc(8, '9')],
  ['desc metrics empty', 32, 4, dc(16, '')],
  ['desc group', 32, 4, dc(32, 'g', null, { includeSynonyms: true })],
  ['desc group empty', 32, 4, dc(32, '')],
  ['desc type 0', 32, 4, dc(0, 'x')],
  ['desc type 99', 32, 4, dc(99, 'x')],
  [
    'desc dup',
    32,
    4,
    { resources: [...dc(2, 'p1', ['retention.ms']).resources, ...dc(2, 'p1', ['flush.ms']).resources] },
  ],
  ['cluster v0', 60, 0, { includeClusterAuthorizedOperations: false }],
  ['cluster v1', 60, 1, { includeClusterAuthorizedOperations: true, endpointType: 1 }],
  [
    'cluster v2',
    60,
    2,
    { includeClusterAuthorizedOperations: true, endpointType: 1, includeFencedBrokers: true },
  ],
  ['cluster controllers', 60, 1, { includeClusterAuthorizedOperations: true, endpointType: 2 }],
  ['cluster type 7', 60, 1, { includeClusterAuthorizedOperations: true, endpointType: 7 }],
  ['log dirs p1', 35, 4, { topics: [{ topic: 'p1', partitions: [0, 1, 9] }] }],
  ['log dirs none', 35, 4, { topics: [] }],
  ['log dirs missing', 35, 4, { topics: [{ topic: 'nope', partitions: [0] }] }],
  ['log dirs v1', 35, 1, { topics: [{ topic: 'p1', partitions: [0] }] }],
  ['log dirs no partitions', 35, 4, { topics: [{ topic: 'p1', partitions: [] }] }],
  [
    'drec',
    21,
    2,
    {
      topics: [
        {
          name: 'p1',
          partitions: [
            { partitionIndex: 0, offset: -1 },
            { partitionIndex: 1, offset: 0 },
            { partitionIndex: 2, offset: 5 },
            { partitionIndex: 9, offset: 0 },
          ],
        },
        { name: 'nope', partitions: [{ partitionIndex: 0, offset: 0 }] },
      ],
      timeoutMs: 5000,
    },
  ],
  [
    'drec -2',
    21,
    2,
    { topics: [{ name: 'p1', partitions: [{ partitionIndex: 0, offset: -2 }] }], timeoutMs: 5000 },
  ],
  [
    'make compact',
    19,
    7,
    ct([
      t('comp', 1, 1, [{ name: 'cleanup.policy', value: 'compact' }]),
      t('both', 1, 1, [{ name: 'cleanup.policy', value: 'compact,delete' }]),
      t('none', 1, 1, [{ name: 'cleanup.policy', value: '' }]),
    ]),
  ],
  [
    'drec compact',
    21,
    2,
    {
      topics: ['comp', 'both', 'none'].map((name) => ({
        name,
        partitions: [{ partitionIndex: 0, offset: -1 }],
      })),
      timeoutMs: 5000,
    },
  ],
  ['make offsets', 19, 7, ct([t('__consumer_offsets', 2, 1, [{ name: 'cleanup.policy', value: 'delete' }])])],
  ['metadata internal', 3, 12, md(['__consumer_offsets'])],
  [
    'drec internal',
    21,
    2,
    {
      topics: ['__consumer_offsets'].map((name) => ({
        name,
        partitions: [{ partitionIndex: 0, offset: -1 }],
      })),
      timeoutMs: 5000,
    },
  ],
  ['list resources v0', 74, 0, {}],
  ['list resources v1 all', 74, 1, { resourceTypes: [] }],
  ['list resources topic', 74, 1, { resourceTypes: [2] }],
  ['list resources broker', 74, 1, { resourceTypes: [4, 8] }],
  ['list resources bad', 74, 1, { resourceTypes: [99] }],
  ['list resources group', 74, 1, { resourceTypes: [32] }],
  [
    'dtp',
    75,
    0,
    {
      topics: [{ name: 'p1' }, { name: 'a.b' }, { name: 'nope' }, { name: 'b ad' }],
      responsePartitionLimit: 2000,
    },
  ],
  ['dtp all', 75, 0, { topics: [], responsePartitionLimit: 4 }],
  ['dtp limit 2', 75, 0, { topics: [{ name: 'p1' }, { name: 'a.b' }], responsePartitionLimit: 2 }],
  ['dtp limit 3', 75, 0, { topics: [{ name: 'p1' }, { name: 'a.b' }], responsePartitionLimit: 3 }],
  [
    'dtp cursor',
    75,
    0,
    {
      topics: [{ name: 'p1' }, { name: 'a.b' }],
      responsePartitionLimit: 2,
      cursor: { topicName: 'a.b', partitionIndex: 2 },
    },
  ],
  [
    'dtp cursor beyond',
    75,
    0,
    {
      topics: [{ name: 'p1' }, { name: 'a.b' }],
      responsePartitionLimit: 2,
      cursor: { topicName: 'a.b', partitionIndex: 9 },
    },
  ],
  [
    'dtp cursor neg',
    75,
    0,
    {
      topics: [{ name: 'p1' }, { name: 'a.b' }],
      responsePartitionLimit: 2,
      cursor: { topicName: 'a.b', partitionIndex: -1 },
    },
  ],
  [
    'dtp cursor later',
    75,
    0,
    {
      topics: [{ name: 'p1' }, { name: 'a.b' }],
      responsePartitionLimit: 2,
      cursor: { topicName: 'b', partitionIndex: 0 },
    },
  ],
  ['dtp limit 0', 75, 0, { topics: [{ name: 'p1' }], responsePartitionLimit: 0 }],
  ['dtp dup', 75, 0, { topics: [{ name: 'p1' }, { name: 'p1' }], responsePartitionLimit: 100 }],
  ['delete v5', 20, 5, { topicNames: ['m2', 'nope', 'b ad', 'd2', 'd2'], timeoutMs: 5000 }],
  ['delete v6 both', 20, 6, { topics: [{ name: 'v8', topicId: ghost }], timeoutMs: 5000 }],
  ['delete v6 unknown id', 20, 6, { topics: [{ name: null, topicId: ghost }], timeoutMs: 5000 }],
  ['delete v6 null zero', 20, 6, { topics: [{ name: null, topicId: zero }], timeoutMs: 5000 }],
  [
    'delete v6 name',
    20,
    6,
    {
      topics: [
        { name: 'v8', topicId: zero },
        { name: 'nope2', topicId: zero },
      ],
      timeoutMs: 5000,
    },
  ],
  [
    'delete v6 dup',
    20,
    6,
    {
      topics: [
        { name: 'as1', topicId: zero },
        { name: 'as1', topicId: zero },
      ],
      timeoutMs: 5000,
    },
  ],
  ['delete v1', 20, 1, { topicNames: ['nope'], timeoutMs: 5000 }],
  ['delete none', 20, 6, { topics: [], timeoutMs: 5000 }],
  ['metadata after delete', 3, 12, md(['v8', 'm2'])],
];
