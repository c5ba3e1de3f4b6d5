/** DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources. */
import type { Peer } from '../peer.ts';
import { pick } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

const [set, remove, append, subtract] = [0, 1, 2, 3];
const [topicType, brokerType, loggerType, metricsType, groupType] = [2, 4, 8, 16, 32];

const brokerKeys = [
  'node.id',
  'num.partitions',
  'log.retention.ms',
  'log.retention.hours',
  'message.max.bytes',
  'compression.type',
  'auto.create.topics.enable',
  'delete.topic.enable',
  'group.initial.rebalance.delay.ms',
  'offsets.topic.num.partitions',
  'log.segment.bytes',
  'min.insync.replicas',
  'default.replication.factor',
  'fetch.max.bytes',
  'max.connections',
  'log.cleanup.policy',
  'log.message.timestamp.type',
  'offsets.retention.minutes',
  'socket.request.max.bytes',
];

async function describe(peer: Peer): Promise<void> {
  await peer.topic('dc-plain');
  await peer.topic('dc-set', 1, {
    'retention.ms': '1234',
    'cleanup.policy': 'compact,delete',
    'max.message.bytes': '5000',
  });
  for (const version of peer.versions('DescribeConfigs')) {
    const ask = (label: string, resources: readonly object[], more: object = {}) =>
      peer.send(label, 'DescribeConfigs', version, {
        resources,
        includeSynonyms: false,
        includeDocumentation: false,
        ...more,
      });
    const topic = (resourceName: string, configurationKeys: readonly string[] | null = null) => ({
      resourceType: topicType,
      resourceName,
      configurationKeys,
    });
    await ask('plain', [topic('dc-plain')]);
    await ask('set', [topic('dc-set')]);
    await ask('synonyms', [topic('dc-set')], { includeSynonyms: true });
    if (version === peer.latest('DescribeConfigs')) {
      await ask('documentation', [topic('dc-set')], { includeDocumentation: true });
    }
    await ask('some keys', [topic('dc-set', ['retention.ms', 'no.such.key', 'cleanup.policy'])]);
    await ask('no keys', [topic('dc-set', [])]);
    await ask('unknown topic', [topic('dc-none')]);
    await ask('bad topic name', [topic('a b')]);
    await ask('empty topic name', [topic('')]);
    await ask('the same twice', [topic('dc-set', ['retention.ms']), topic('dc-set', ['retention.ms'])]);
    await ask(
      'the broker',
      [{ resourceType: brokerType, resourceName: '1', configurationKeys: brokerKeys }],
      { includeSynonyms: true },
    );
    await ask('all brokers', [{ resourceType: brokerType, resourceName: '', configurationKeys: null }], {
      includeSynonyms: true,
    });
    await ask('another broker', [{ resourceType: brokerType, resourceName: '5', configurationKeys: null }]);
    await ask('a broker of letters', [
      { resourceType: brokerType, resourceName: 'x', configurationKeys: null },
    ]);
    await ask('loggers of another', [
      { resourceType: loggerType, resourceName: '5', configurationKeys: null },
    ]);
    await ask('loggers of nobody', [{ resourceType: loggerType, resourceName: '', configurationKeys: null }]);
    await ask('client metrics', [{ resourceType: metricsType, resourceName: 'cm', configurationKeys: null }]);
    await ask('client metrics of nobody', [
      { resourceType: metricsType, resourceName: '', configurationKeys: null },
    ]);
    await ask('a group of no name', [{ resourceType: groupType, resourceName: '', configurationKeys: null }]);
    await ask('type 0', [{ resourceType: 0, resourceName: 'x', configurationKeys: null }]);
    await ask('type 77', [{ resourceType: 77, resourceName: 'x', configurationKeys: null }]);
    await ask('nothing', []);
  }
}

type Operation = readonly [name: string, operation: number, value: string | null];

const changes: Readonly<Record<string, readonly Operation[]>> = {
  'set one': [['retention.ms', set, '99']],
  'set two': [
    ['retention.ms', set, '98'],
    ['retention.bytes', set, '97'],
  ],
  'delete one': [['retention.ms', remove, null]],
  'delete one that is not set': [['segment.bytes', remove, null]],
  'delete with a value': [['retention.bytes', remove, 'x']],
  'append to a list': [['cleanup.policy', append, 'compact']],
  'append what is there': [['cleanup.policy', append, 'compact']],
  'append two': [['cleanup.policy', append, 'delete,compact']],
  'subtract from a list': [['cleanup.policy', subtract, 'compact']],
  'subtract what is not there': [['cleanup.policy', subtract, 'compact']],
  'subtract all': [['cleanup.policy', subtract, 'delete']],
  'append nonsense': [['cleanup.policy', append, 'shred']],
  'append to a number': [['retention.ms', append, '1']],
  'subtract from a number': [['retention.ms', subtract, '1']],
  'set nonsense': [['retention.ms', set, 'x']],
  'set out of range': [['retention.ms', set, '-9']],
  'one good, one bad': [
    ['retention.ms', set, '55'],
    ['retention.bytes', set, 'x'],
  ],
  null: [['retention.ms', set, null]],
  'append null': [['cleanup.policy', append, null]],
  'unknown key': [['no.such.key', set, '1']],
  'delete an unknown key': [['no.such.key', remove, null]],
  'append to an unknown key': [['no.such.key', append, '1']],
  'the same key twice': [
    ['retention.ms', set, '1'],
    ['retention.ms', set, '2'],
  ],
  'operation 9': [['retention.ms', 9, '1']],
  'operation -1': [['retention.ms', -1, '1']],
  'empty key': [['', set, '1']],
  'empty value': [['retention.ms', set, '']],
  'empty list': [['leader.replication.throttled.replicas', set, '']],
  'list of one': [['leader.replication.throttled.replicas', append, '0:1']],
  'list of two': [['leader.replication.throttled.replicas', append, '1:1']],
  nothing: [],
  'lag out of order': [
    ['min.compaction.lag.ms', set, '10'],
    ['max.compaction.lag.ms', set, '5'],
  ],
};

async function incremental(peer: Peer): Promise<void> {
  for (const version of peer.versions('IncrementalAlterConfigs')) {
    const name = `ia-${version}`;
    await peer.topic(name);
    const send = (
      label: string,
      resourceType: number,
      resourceName: string,
      operations: readonly Operation[],
      validateOnly = false,
    ) =>
      peer.send(label, 'IncrementalAlterConfigs', version, {
        resources: [
          {
            resourceType,
            resourceName,
            configs: operations.map(([key, configOperation, value]) => ({
              name: key,
              configOperation,
              value,
            })),
          },
        ],
        validateOnly,
      });
    for (const [label, operations] of Object.entries(changes)) {
      await send(`${label}, only checked`, topicType, name, operations, true);
      await send(label, topicType, name, operations);
    }
    const wanted: readonly Operation[] = [['retention.ms', set, '4711']];
    await send('settled', topicType, name, wanted);
    await peer.sendUntil(
      'afterwards',
      'DescribeConfigs',
      4,
      {
        resources: [{ resourceType: topicType, resourceName: name, configurationKeys: null }],
        includeSynonyms: true,
        includeDocumentation: false,
      },
      (answer) =>
        (pick(answer, 'results', 0, 'configs') as { name: string; value: string }[]).some(
          (config) => config.name === 'retention.ms' && config.value === '4711',
        ),
    );
    const one: readonly Operation[] = [['retention.ms', set, '1']];
    await send('unknown topic', topicType, 'ia-none', one);
    await send('bad topic name', topicType, 'a b', one);
    await send('no topic name', topicType, '', one);
    await send('type 0', 0, 'x', one);
    await send('type 77', 77, 'x', one);
    await send('no metrics name', metricsType, '', one);
    await send('no group name', groupType, '', one);
    await send('an unknown key of a group', groupType, 'ia-group', [['no.such.key', set, '1']]);
    await send('an unknown logger', loggerType, '1', [['no.such.logger', set, 'INFO']]);
    await send('a logger of another', loggerType, '5', [['root', set, 'INFO']]);
    await send('append to a logger', loggerType, '1', [['root', append, 'INFO']]);
    await send('another broker', brokerType, '5', [['message.max.bytes', set, '1000000']]);
    await send('a broker of letters', brokerType, 'x', [['message.max.bytes', set, '1000000']]);
    await send('a fixed key of the broker', brokerType, '1', [['node.id', set, '7']]);
    await send('a fixed key of all brokers', brokerType, '', [['num.partitions', set, 'x']]);
    await send('a bad value of the broker', brokerType, '1', [['message.max.bytes', set, 'x']]);
    await send(
      'a key of the broker, only checked',
      brokerType,
      '1',
      [['message.max.bytes', set, '1000000']],
      true,
    );
    await send(
      'a key of all brokers, only checked',
      brokerType,
      '',
      [['message.max.bytes', set, '1000000']],
      true,
    );
    await peer.send('the same topic twice', 'IncrementalAlterConfigs', version, {
      resources: [1, 2].map(() => ({ resourceType: topicType, resourceName: name, configs: [] })),
      validateOnly: false,
    });
    await peer.send('no resource', 'IncrementalAlterConfigs', version, {
      resources: [],
      validateOnly: false,
    });
  }
}

async function replace(peer: Peer): Promise<void> {
  for (const version of peer.versions('AlterConfigs')) {
    const name = `ac-${version}`;
    await peer.topic(name, 1, { 'retention.ms': '5', 'segment.bytes': '2000000' });
    const send = (
      label: string,
      resourceType: number,
      resourceName: string,
      values: readonly (readonly [string, string | null])[],
      validateOnly = false,
    ) =>
      peer.send(label, 'AlterConfigs', version, {
        resources: [
          { resourceType, resourceName, configs: values.map(([key, value]) => ({ name: key, value })) },
        ],
        validateOnly,
      });
    await send('only checked', topicType, name, [['retention.ms', '7']], true);
    await send('one', topicType, name, [['retention.ms', '7']]);
    await send('nonsense', topicType, name, [['retention.ms', 'x']]);
    await send('null', topicType, name, [['retention.ms', null]]);
    await send('unknown key', topicType, name, [['no.such.key', '1']]);
    await send('twice', topicType, name, [
      ['retention.ms', '1'],
      ['retention.ms', '2'],
    ]);
    await send('unknown topic', topicType, 'ac-none', [['retention.ms', '1']]);
    await send('no topic name', topicType, '', [['retention.ms', '1']]);
    await send('type 77', 77, 'x', []);
    await send('loggers', loggerType, '1', [['root', 'INFO']]);
    await send('another broker', brokerType, '5', []);
    await send('a broker of letters', brokerType, 'x', []);
    await send('settled', topicType, name, [['retention.ms', '4712']]);
    await peer.sendUntil(
      'afterwards',
      'DescribeConfigs',
      4,
      {
        resources: [{ resourceType: topicType, resourceName: name, configurationKeys: null }],
        includeSynonyms: false,
        includeDocumentation: false,
      },
      (answer) =>
        (pick(answer, 'results', 0, 'configs') as { name: string; value: string }[]).some(
          (config) => config.name === 'retention.ms' && config.value === '4712',
        ),
    );
    await send('nothing', topicType, name, []);
  }
}

async function list(peer: Peer): Promise<void> {
  for (const version of peer.versions('ListConfigResources')) {
    const ask = (label: string, resourceTypes: readonly number[]) =>
      peer.send(label, 'ListConfigResources', version, { resourceTypes });
    if (version === 0) {
      await ask('metrics', []);
      continue;
    }
    for (const type of [brokerType, loggerType, metricsType, groupType, 0, 1, 77])
      await ask(`type ${type}`, [type]);
    await ask('broker and logger', [brokerType, loggerType]);
    await ask('broker twice', [brokerType, brokerType]);
    await ask('one unknown', [brokerType, 77]);
  }
}

export const configScenarios: readonly Scenario[] = [
  { name: 'describe configs', run: describe },
  { name: 'incremental alter configs', run: incremental },
  { name: 'alter configs', run: replace },
  { name: 'list config resources', run: list },
];
