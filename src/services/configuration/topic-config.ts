/**
 * The settings of a topic: every topic config of Kafka 4.4, what each falls back to in the broker's settings, and how they become
 * the `TopicSettings` that services act on. Where a setting cannot be honoured, its values but the harmless ones are refused.
 */

import { checkDelaySettings, delayFallbacks, delayTopicKeys } from '../features/delay/topic-keys.ts';
import { halfTopicKeys } from '../features/half-message/topic-keys.ts';
import { retryTopicKeys } from '../features/retry/topic-keys.ts';
import type { TopicSettings } from '../topics/topic.ts';
import type { BrokerConfig, BrokerKey, ConfigSynonym } from './broker-config.ts';
import { gzipLevel } from './broker-keys/topics.ts';
import {
  atLeast,
  between,
  type ConfigDefinition,
  ConfigError,
  type ConfigSource,
  configSources,
  define,
  listOf,
  oneOf,
  type ParsedConfig,
  parseConfig,
  parseDefault,
  readConfig,
  type Validator,
} from './config-definition.ts';

const maxLong = '9223372036854775807';
const dynamic = { update: 'cluster-wide' } as const;
const withoutEffect = { update: 'cluster-wide', standing: 'ignored' } as const;
const oneLog = 'All partitions share one log here, so it has no effect.';
const oneCopy = 'There is one copy, so it has no effect.';
const noTiers = 'There is no tiered storage, so it has no effect.';

/** `*` or partition:broker,partition:broker,... */
const throttledReplicas: Validator = (value, name) => {
  if (!Array.isArray(value)) return undefined;
  const passes =
    (value.length === 1 && value[0] === '*') || value.every((item) => /^[0-9]+:[0-9]+$/.test(item.trim()));
  if (passes) return undefined;
  throw new ConfigError(
    `Invalid value [${value.join(', ')}] for configuration ${name}: ${name} must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...`,
  );
};

const notTiered: Validator = (value) => {
  if (value === true) {
    throw new ConfigError(
      'Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.',
    );
  }
  return undefined;
};

const largestRecordBytes = 2147483639;
const onlyUnlimited: Validator = (value) => {
  const fault = between(1, largestRecordBytes)(value, '');
  if (fault !== undefined || value === largestRecordBytes) return fault;
  return `Batches are stored as they come and are not opened to measure their records; only ${largestRecordBytes} is possible`;
};

const definitions = [
  define(
    'cleanup.policy',
    'LIST',
    'delete',
    'What happens to old records: delete removes them by age and size, compact keeps the newest of each key; both may be given, and none keeps everything.',
    {
      valid: listOf('compact', 'delete'),
      ...dynamic,
    },
  ),
  define(
    'compression.type',
    'STRING',
    'producer',
    'How batches are stored: producer keeps them as they were sent, anything else compresses them again where they differ.',
    {
      valid: oneOf('uncompressed', 'zstd', 'lz4', 'snappy', 'gzip', 'producer'),
      ...dynamic,
    },
  ),
  define('compression.gzip.level', 'INT', -1, 'Level for compression.type gzip; -1 is its default.', {
    valid: gzipLevel,
    ...dynamic,
  }),
  define('compression.lz4.level', 'INT', 9, 'Level for compression.type lz4.', {
    valid: between(1, 17),
    ...dynamic,
  }),
  define('compression.zstd.level', 'INT', 3, 'Level for compression.type zstd.', {
    valid: between(-131072, 22),
    ...dynamic,
  }),
  define(
    'delete.retention.ms',
    'LONG',
    86400000,
    'How long the mark of a deleted key stays in a compacted topic.',
    {
      valid: atLeast(0),
      ...dynamic,
    },
  ),
  define(
    'errors.deadletterqueue.group.enable',
    'BOOLEAN',
    false,
    'Groups may write what they cannot deliver to this topic.',
    dynamic,
  ),
  define('file.delete.delay.ms', 'LONG', 60000, `How long a file to be deleted stays. ${oneLog}`, {
    valid: atLeast(0),
    ...withoutEffect,
  }),
  define(
    'flush.messages',
    'LONG',
    maxLong,
    'Records after which the partition is flushed to the disk. 1 makes every answer wait for it.',
    {
      valid: atLeast(1),
      ...dynamic,
    },
  ),
  define('flush.ms', 'LONG', maxLong, 'Time after which records written are flushed to the disk.', {
    valid: atLeast(0),
    ...dynamic,
  }),
  define(
    'follower.replication.throttled.replicas',
    'LIST',
    '',
    `Copies whose followers are slowed down: partition:broker, or *. ${oneCopy}`,
    {
      valid: throttledReplicas,
      ...withoutEffect,
    },
  ),
  define(
    'index.interval.bytes',
    'INT',
    4096,
    'How often a file gets an index entry. Every batch has one here, so it has no effect.',
    {
      valid: atLeast(0),
      ...withoutEffect,
    },
  ),
  define(
    'leader.replication.throttled.replicas',
    'LIST',
    '',
    `Copies whose leaders are slowed down: partition:broker, or *. ${oneCopy}`,
    {
      valid: throttledReplicas,
      ...withoutEffect,
    },
  ),
  define('local.retention.bytes', 'LONG', -2, `Bytes of tiered records that stay here too. ${noTiers}`, {
    valid: atLeast(-2),
    ...withoutEffect,
  }),
  define('local.retention.ms', 'LONG', -2, `How long tiered records stay here too. ${noTiers}`, {
    valid: atLeast(-2),
    ...withoutEffect,
  }),
  define(
    'max.compaction.lag.ms',
    'LONG',
    maxLong,
    'A record older than this is compacted even where little is dirty.',
    {
      valid: atLeast(1),
      ...dynamic,
    },
  ),
  define(
    'max.decompressed.message.bytes',
    'INT',
    largestRecordBytes,
    'The largest record, once decompressed. Batches are stored as they come, so only the default is possible.',
    {
      valid: onlyUnlimited,
      ...dynamic,
    },
  ),
  define('max.message.bytes', 'INT', 1048588, 'The largest record batch taken, as it was sent.', {
    valid: atLeast(0),
    ...dynamic,
  }),
  define(
    'message.timestamp.after.max.ms',
    'LONG',
    3600000,
    'How far in the future the time of a record may lie. Not looked at with LogAppendTime.',
    {
      valid: atLeast(0),
      ...dynamic,
    },
  ),
  define(
    'message.timestamp.before.max.ms',
    'LONG',
    maxLong,
    'How far in the past the time of a record may lie. Not looked at with LogAppendTime.',
    {
      valid: atLeast(0),
      ...dynamic,
    },
  ),
  define(
    'message.timestamp.type',
    'STRING',
    'CreateTime',
    "Whose time a record carries: CreateTime the producer's, LogAppendTime the broker's.",
    {
      valid: oneOf('CreateTime', 'LogAppendTime'),
      ...dynamic,
    },
  ),
  define(
    'min.cleanable.dirty.ratio',
    'DOUBLE',
    0.5,
    'The part of the partition that must be dirty before it is compacted.',
    {
      valid: between(0, 1),
      ...dynamic,
    },
  ),
  define('min.compaction.lag.ms', 'LONG', 0, 'A record younger than this is not compacted.', {
    valid: atLeast(0),
    ...dynamic,
  }),
  define(
    'min.insync.replicas',
    'INT',
    1,
    'Copies in sync that a write with acks=all asks for. There is one copy: more refuses such writes.',
    {
      valid: atLeast(1),
      ...dynamic,
    },
  ),
  define(
    'preallocate',
    'BOOLEAN',
    false,
    `Files get their whole size when they are made. ${oneLog}`,
    withoutEffect,
  ),
  define('remote.copy.lag.bytes', 'LONG', -1, `Newer bytes behind which records may be tiered. ${noTiers}`, {
    valid: atLeast(-1),
    ...withoutEffect,
  }),
  define('remote.copy.lag.ms', 'LONG', 0, `Age at which records may be tiered. ${noTiers}`, {
    valid: atLeast(-1),
    ...withoutEffect,
  }),
  define(
    'remote.log.copy.disable',
    'BOOLEAN',
    false,
    `No more records are tiered. ${noTiers}`,
    withoutEffect,
  ),
  define(
    'remote.log.delete.on.disable',
    'BOOLEAN',
    false,
    `Tiered records go when tiering is turned off. ${noTiers}`,
    withoutEffect,
  ),
  define(
    'remote.storage.enable',
    'BOOLEAN',
    false,
    'Old records go to remote storage. There is no tiered storage, so only false is possible.',
    {
      valid: notTiered,
      ...dynamic,
    },
  ),
  define(
    'retention.bytes',
    'LONG',
    -1,
    'How many bytes a partition keeps with cleanup.policy delete; -1 for no limit.',
    dynamic,
  ),
  define(
    'retention.ms',
    'LONG',
    604800000,
    'How long records are kept after they were stored, with cleanup.policy delete; -1 for ever.',
    {
      valid: atLeast(-1),
      ...dynamic,
    },
  ),
  define(
    'segment.bytes',
    'INT',
    1073741824,
    'How many bytes at the end of the partition are not compacted. All partitions share one log here.',
    {
      valid: atLeast(1048576),
      ...dynamic,
    },
  ),
  define('segment.index.bytes', 'INT', 10485760, `Size of the index of a file. ${oneLog}`, {
    valid: atLeast(4),
    ...withoutEffect,
  }),
  define('segment.jitter.ms', 'LONG', 0, `A random time taken off segment.ms. ${oneLog}`, {
    valid: atLeast(0),
    ...withoutEffect,
  }),
  define(
    'segment.ms',
    'LONG',
    604800000,
    'Age from which records of the partition may be compacted. All partitions share one log here.',
    {
      valid: atLeast(1),
      ...dynamic,
    },
  ),
  define(
    'unclean.leader.election.enable',
    'BOOLEAN',
    false,
    `A copy that is behind may lead. ${oneCopy}`,
    withoutEffect,
  ),
  ...delayTopicKeys,
  ...halfTopicKeys,
  ...retryTopicKeys,
] as const;

export type TopicKey = (typeof definitions)[number]['name'];

/** Every topic setting, in name order. */
export const topicConfigDefinitions: readonly ConfigDefinition[] = [...definitions].sort((a, b) =>
  a.name < b.name ? -1 : 1,
);

const definitionByName = new Map<string, ConfigDefinition>(
  topicConfigDefinitions.map((each) => [each.name, each]),
);

export function topicConfigDefinition(name: string): ConfigDefinition | undefined {
  return definitionByName.get(name);
}

/** The broker setting that a topic setting falls back to (ServerTopicConfigSynonyms); the others have none. */
const brokerFallbacks: Readonly<Partial<Record<TopicKey, BrokerKey>>> = {
  'cleanup.policy': 'log.cleanup.policy',
  'compression.gzip.level': 'compression.gzip.level',
  'compression.lz4.level': 'compression.lz4.level',
  'compression.type': 'compression.type',
  'compression.zstd.level': 'compression.zstd.level',
  'delete.retention.ms': 'log.cleaner.delete.retention.ms',
  'file.delete.delay.ms': 'log.segment.delete.delay.ms',
  'flush.messages': 'log.flush.interval.messages',
  'flush.ms': 'log.flush.interval.ms',
  'index.interval.bytes': 'log.index.interval.bytes',
  'local.retention.bytes': 'log.local.retention.bytes',
  'local.retention.ms': 'log.local.retention.ms',
  'max.compaction.lag.ms': 'log.cleaner.max.compaction.lag.ms',
  'max.decompressed.message.bytes': 'max.decompressed.message.bytes',
  'max.message.bytes': 'message.max.bytes',
  'message.timestamp.after.max.ms': 'log.message.timestamp.after.max.ms',
  'message.timestamp.before.max.ms': 'log.message.timestamp.before.max.ms',
  'message.timestamp.type': 'log.message.timestamp.type',
  'min.cleanable.dirty.ratio': 'log.cleaner.min.cleanable.ratio',
  'min.compaction.lag.ms': 'log.cleaner.min.compaction.lag.ms',
  'min.insync.replicas': 'min.insync.replicas',
  preallocate: 'log.preallocate',
  'remote.copy.lag.bytes': 'log.remote.copy.lag.bytes',
  'remote.copy.lag.ms': 'log.remote.copy.lag.ms',
  'retention.bytes': 'log.retention.bytes',
  'retention.ms': 'log.retention.ms',
  'segment.bytes': 'log.segment.bytes',
  'segment.index.bytes': 'log.index.size.max.bytes',
  'segment.jitter.ms': 'log.roll.jitter.ms',
  'segment.ms': 'log.roll.ms',
  'unclean.leader.election.enable': 'unclean.leader.election.enable',
  ...delayFallbacks,
};

/**
 * Checks what a topic sets itself, as Kafka's LogConfig.validate: unknown names, each value, and values against each other.
 * Throws ConfigError with the message for the client (INVALID_CONFIG).
 */
export function checkTopicOverrides(overrides: ReadonlyMap<string, string>, broker: BrokerConfig): void {
  for (const name of overrides.keys()) {
    if (!definitionByName.has(name)) throw new ConfigError(`Unknown topic config name: ${name}`);
  }
  for (const [name, text] of overrides) parseConfig(definitionByName.get(name)!, text);
  const least = effective('min.compaction.lag.ms', overrides, broker);
  const most = effective('max.compaction.lag.ms', overrides, broker);
  if ((least.value as number) > (most.value as number)) {
    throw new ConfigError(
      `conflict topic config setting min.compaction.lag.ms (${least.text}) > max.compaction.lag.ms (${most.text})`,
    );
  }
  const number = (name: TopicKey) => effective(name, overrides, broker).value as number;
  const type = effective('rmq.message.type', overrides, broker).value as string;
  checkDelaySettings(type, number('rmq.delay.default.ms'), number('rmq.delay.max.ms'));
}

/** The value of a topic setting where the topic says nothing itself. */
export function topicDefault(name: string, broker: BrokerConfig): ParsedConfig {
  const definition = definitionByName.get(name)!;
  switch (name as TopicKey) {
    case 'retention.ms':
      return wholeNumber(broker.retentionMs);
    case 'segment.ms':
      return wholeNumber(broker.rollMs);
    case 'segment.jitter.ms':
      return wholeNumber(broker.rollJitterMs);
    case 'flush.ms':
      return Number.isFinite(broker.flushMs) ? wholeNumber(broker.flushMs) : parseDefault(definition);
  }
  const fallback = brokerFallbacks[name as TopicKey];
  const text = fallback === undefined ? null : broker.text(fallback);
  return text === null ? parseDefault(definition) : readConfig(definition, text);
}

function wholeNumber(value: number): ParsedConfig {
  return { value, text: String(value) };
}

function effective(name: string, overrides: ReadonlyMap<string, string>, broker: BrokerConfig): ParsedConfig {
  const own = overrides.get(name);
  if (own === undefined) return topicDefault(name, broker);
  try {
    return parseConfig(definitionByName.get(name)!, own);
  } catch (error) {
    // Stored by a version with other limits: as if the topic said nothing.
    if (!(error instanceof ConfigError)) throw error;
    return topicDefault(name, broker);
  }
}

/** One topic setting as DescribeConfigs and CreateTopics show it. */
export interface TopicConfigEntry {
  readonly definition: ConfigDefinition;
  readonly text: string | null;
  readonly source: ConfigSource;
  /** Strongest first, the value in force at the head. */
  readonly synonyms: readonly ConfigSynonym[];
}

/** Every setting of a topic, in name order. */
export function describeTopicConfig(
  overrides: ReadonlyMap<string, string>,
  broker: BrokerConfig,
): readonly TopicConfigEntry[] {
  return topicConfigDefinitions.map((definition) => {
    const { text } = effective(definition.name, overrides, broker);
    const synonyms: ConfigSynonym[] = [];
    if (overrides.has(definition.name) && text !== null) {
      synonyms.push({ name: definition.name, text, source: configSources.TOPIC_CONFIG });
    }
    const fallback = brokerFallbacks[definition.name as TopicKey];
    if (fallback !== undefined) synonyms.push(...broker.synonyms(fallback, true));
    return { definition, text, source: synonyms[0]?.source ?? configSources.DEFAULT_CONFIG, synonyms };
  });
}

/** What services act on: the topic's own settings over the broker's. `overrides` must have been checked. */
export function topicSettings(overrides: ReadonlyMap<string, string>, broker: BrokerConfig): TopicSettings {
  const value = (name: TopicKey) => effective(name, overrides, broker).value;
  const number = (name: TopicKey) => value(name) as number;
  const policies = value('cleanup.policy') as readonly string[];
  return {
    cleanupCompact: policies.includes('compact'),
    cleanupDelete: policies.includes('delete'),
    compressionType: value('compression.type') as TopicSettings['compressionType'],
    compressionGzipLevel: number('compression.gzip.level'),
    compressionLz4Level: number('compression.lz4.level'),
    compressionZstdLevel: number('compression.zstd.level'),
    maxMessageBytes: number('max.message.bytes'),
    messageTimestampType: value('message.timestamp.type') as TopicSettings['messageTimestampType'],
    messageTimestampBeforeMaxMs: number('message.timestamp.before.max.ms'),
    messageTimestampAfterMaxMs: number('message.timestamp.after.max.ms'),
    minInsyncReplicas: number('min.insync.replicas'),
    flushMessages: number('flush.messages'),
    flushMs: number('flush.ms'),
    retentionMs: number('retention.ms'),
    retentionBytes: number('retention.bytes'),
    deleteRetentionMs: number('delete.retention.ms'),
    minCleanableDirtyRatio: number('min.cleanable.dirty.ratio'),
    minCompactionLagMs: number('min.compaction.lag.ms'),
    maxCompactionLagMs: number('max.compaction.lag.ms'),
    segmentBytes: number('segment.bytes'),
    segmentMs: number('segment.ms'),
    messageType: value('rmq.message.type') as TopicSettings['messageType'],
    delayDefaultMs: number('rmq.delay.default.ms'),
    delayMaxMs: number('rmq.delay.max.ms'),
    role: value('rmq.role') as TopicSettings['role'],
    producerGroup: value('rmq.producer.group') as string,
    retryGroup: value('rmq.retry.group') as string,
    takesDeadLetters: value('errors.deadletterqueue.group.enable') as boolean,
  };
}
