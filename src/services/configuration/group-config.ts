/**
 * The settings of a group (resource type GROUP): the keys that Kafka 4.4 has, with what each falls back to in the broker's settings and
 * the broker's limits of it. Those that belong to kinds of groups that are not served are shown and cannot be changed.
 */
import { halfGroupKeys } from '../features/half-message/group-keys.ts';
import { retryGroupKeys } from '../features/retry/group-keys.ts';
import { shareGroupKeys } from '../share/group-keys.ts';
import { parseOffsetReset } from '../share/offset-reset.ts';
import { topicNameFault } from '../topics/topic-name.ts';
import type { BrokerConfig, BrokerKey, ConfigSynonym } from './broker-config.ts';
import {
  atLeast,
  type ConfigDefinition,
  ConfigError,
  type ConfigSource,
  configSources,
  define,
  oneOf,
  type ParsedConfig,
  parseConfig,
  parseDefault,
  readConfig,
  type Validator,
} from './config-definition.ts';

const absent = { update: 'cluster-wide', standing: 'absent' } as const;
const dynamic = { update: 'cluster-wide' } as const;
const served = (least: number) => ({ valid: atLeast(least), ...dynamic });
const waiting = (least: number) => ({ valid: atLeast(least), ...absent });

const deadLetterTopicName: Validator = (value) => {
  if (value === null || value === '') return undefined;
  const name = String(value);
  if (name.startsWith('__')) return `The name of a dead-letter topic must not start with '__'`;
  return topicNameFault(name);
};

/** The words of Kafka's ShareGroupAutoOffsetResetStrategy. */
const offsetReset: Validator = (value, name) =>
  parseOffsetReset(String(value)) === undefined
    ? `Invalid value \`${String(value)}\` for configuration ${name}. The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS.>'.`
    : undefined;

const kafkaDefinitions: readonly ConfigDefinition[] = [
  define(
    'consumer.assignment.interval.ms',
    'INT',
    1000,
    'The least time between two assignments of the group.',
    served(0),
  ),
  define(
    'consumer.heartbeat.interval.ms',
    'INT',
    5000,
    'How often members are asked to send heartbeats.',
    served(1),
  ),
  define('consumer.session.timeout.ms', 'INT', 45000, 'How long a member may be silent.', served(1)),
  define(
    'errors.deadletterqueue.copy.record.enable',
    'BOOLEAN',
    false,
    'Dead letters carry the record, not only the reason. Where the group says nothing: true with rmq.retry.enable, else false.',
    { update: 'cluster-wide' },
  ),
  define(
    'errors.deadletterqueue.topic.name',
    'STRING',
    '',
    'The dead-letter topic of the group; empty for dlq.<group> with rmq.retry.enable, else for none.',
    { valid: deadLetterTopicName, update: 'cluster-wide' },
  ),
  define(
    'share.assignment.interval.ms',
    'INT',
    1000,
    'The least time between two assignments of the share group.',
    served(0),
  ),
  define(
    'share.auto.offset.reset',
    'STRING',
    'latest',
    'Where a share group starts: latest, earliest or by_duration:PnDTnHnMn.nS.',
    { valid: offsetReset, ...dynamic },
  ),
  define(
    'share.delivery.count.limit',
    'INT',
    5,
    'Deliveries of a record before the share group gives it up.',
    served(2),
  ),
  define(
    'share.heartbeat.interval.ms',
    'INT',
    5000,
    'How often members of the share group are asked to send heartbeats.',
    served(1),
  ),
  define(
    'share.isolation.level',
    'STRING',
    'read_uncommitted',
    'Whether the share group sees records of open or aborted transactions.',
    {
      valid: oneOf('read_committed', 'read_uncommitted'),
      ...dynamic,
    },
  ),
  define(
    'share.partition.max.record.locks',
    'INT',
    2000,
    'Records of a partition that may be locked at once.',
    served(100),
  ),
  define(
    'share.record.lock.duration.ms',
    'INT',
    30000,
    'How long a record handed out stays locked.',
    served(1000),
  ),
  define('share.renew.acknowledge.enable', 'BOOLEAN', true, 'Members may lock a record for longer.', dynamic),
  define(
    'share.session.timeout.ms',
    'INT',
    45000,
    'How long a member of the share group may be silent.',
    served(1),
  ),
  define(
    'streams.assignment.interval.ms',
    'INT',
    1000,
    'The least time between two assignments of the streams group.',
    waiting(0),
  ),
  define('streams.assignor.name', 'STRING', null, 'The assignor of the streams group.', absent),
  define(
    'streams.heartbeat.interval.ms',
    'INT',
    5000,
    'How often members of the streams group are asked to send heartbeats.',
    waiting(1),
  ),
  define(
    'streams.initial.rebalance.delay.ms',
    'INT',
    3000,
    'How long the first rebalance of the streams group waits.',
    waiting(0),
  ),
  define('streams.num.standby.replicas', 'INT', 0, 'Standby copies of a task.', waiting(0)),
  define(
    'streams.rack.aware.assignment.tags',
    'LIST',
    '',
    'Client tags over which standby copies are spread.',
    absent,
  ),
  define(
    'streams.session.timeout.ms',
    'INT',
    45000,
    'How long a member of the streams group may be silent.',
    waiting(1),
  ),
];

/** Every group setting, in name order. */
export const groupConfigDefinitions: readonly ConfigDefinition[] = [
  ...kafkaDefinitions,
  ...halfGroupKeys,
  ...retryGroupKeys,
  ...shareGroupKeys,
].sort((a, b) => (a.name < b.name ? -1 : 1));

const definitionByName = new Map(groupConfigDefinitions.map((each) => [each.name, each]));

const brokerFallbacks: ReadonlyMap<string, BrokerKey> = new Map<string, BrokerKey>([
  ...[...halfGroupKeys, ...retryGroupKeys, ...shareGroupKeys].map(({ name }) => [name, name] as const),
  ['consumer.assignment.interval.ms', 'group.consumer.assignment.interval.ms'],
  ['consumer.heartbeat.interval.ms', 'group.consumer.heartbeat.interval.ms'],
  ['consumer.session.timeout.ms', 'group.consumer.session.timeout.ms'],
  ['share.assignment.interval.ms', 'group.share.assignment.interval.ms'],
  ['share.delivery.count.limit', 'group.share.delivery.count.limit'],
  ['share.heartbeat.interval.ms', 'group.share.heartbeat.interval.ms'],
  ['share.partition.max.record.locks', 'group.share.partition.max.record.locks'],
  ['share.record.lock.duration.ms', 'group.share.record.lock.duration.ms'],
  ['share.session.timeout.ms', 'group.share.session.timeout.ms'],
  ['streams.assignment.interval.ms', 'group.streams.assignment.interval.ms'],
  ['streams.heartbeat.interval.ms', 'group.streams.heartbeat.interval.ms'],
  ['streams.initial.rebalance.delay.ms', 'group.streams.initial.rebalance.delay.ms'],
  ['streams.num.standby.replicas', 'group.streams.num.standby.replicas'],
  ['streams.session.timeout.ms', 'group.streams.session.timeout.ms'],
]);

/** What a broker lets a group set at the least and at the most (GroupConfigManager.validate). */
const brokerLimits: readonly (readonly [string, least: BrokerKey | undefined, most: BrokerKey])[] = [
  ...intervalLimits('consumer'),
  ...intervalLimits('share'),
  ...intervalLimits('streams'),
  [
    'share.record.lock.duration.ms',
    'group.share.min.record.lock.duration.ms',
    'group.share.max.record.lock.duration.ms',
  ],
  [
    'share.delivery.count.limit',
    'group.share.min.delivery.count.limit',
    'group.share.max.delivery.count.limit',
  ],
  [
    'share.partition.max.record.locks',
    'group.share.min.partition.max.record.locks',
    'group.share.max.partition.max.record.locks',
  ],
  ['streams.num.standby.replicas', undefined, 'group.streams.max.standby.replicas'],
];

function intervalLimits(kind: 'consumer' | 'share' | 'streams') {
  const settings = ['heartbeat.interval.ms', 'session.timeout.ms', 'assignment.interval.ms'] as const;
  return settings.map(
    (setting) =>
      [`${kind}.${setting}`, `group.${kind}.min.${setting}`, `group.${kind}.max.${setting}`] as const,
  );
}

/** Of each, the second must be larger than the first. */
const longerThan: readonly (readonly [string, string])[] = [
  ['consumer.heartbeat.interval.ms', 'consumer.session.timeout.ms'],
  ['share.heartbeat.interval.ms', 'share.session.timeout.ms'],
  ['streams.heartbeat.interval.ms', 'streams.session.timeout.ms'],
];

export function groupConfigDefinition(name: string): ConfigDefinition | undefined {
  return definitionByName.get(name);
}

/** The value of a group setting where the group says nothing. */
export function groupDefault(name: string, broker: BrokerConfig): ParsedConfig {
  const definition = definitionByName.get(name)!;
  const fallback = brokerFallbacks.get(name);
  return fallback === undefined
    ? parseDefault(definition)
    : readConfig(definition, broker.text(fallback) ?? definition.defaultText);
}

/** The value in force: the group's own where it may stand, else the default. */
export function groupSetting(
  name: string,
  overrides: ReadonlyMap<string, string>,
  broker: BrokerConfig,
): ParsedConfig {
  const own = overrides.get(name);
  if (own === undefined) return groupDefault(name, broker);
  try {
    return parseConfig(definitionByName.get(name)!, own);
  } catch (error) {
    // Stored by a version with other limits: as if the group said nothing.
    if (!(error instanceof ConfigError)) throw error;
    return groupDefault(name, broker);
  }
}

/** Throws ConfigError, with the words of Kafka's GroupConfigManager, where the values may not stand together. */
export function checkGroupOverrides(overrides: ReadonlyMap<string, string>, broker: BrokerConfig): void {
  for (const name of overrides.keys()) {
    const definition = definitionByName.get(name);
    if (definition === undefined) throw new ConfigError(`Unknown group config name: ${name}`);
    if (definition.standing === 'absent') {
      throw new ConfigError(
        `The group setting ${name} belongs to a kind of group that this broker does not serve`,
      );
    }
  }
  for (const [name, text] of overrides) parseConfig(definitionByName.get(name)!, text);
  const deadLetters = overrides.get('errors.deadletterqueue.topic.name') ?? '';
  const prefix = broker.string('errors.deadletterqueue.topic.name.prefix') ?? '';
  if (deadLetters !== '' && !deadLetters.startsWith(prefix)) {
    throw new ConfigError(
      `errors.deadletterqueue.topic.name must start with ${prefix} (errors.deadletterqueue.topic.name.prefix)`,
    );
  }
  const inForce = (name: string) => groupSetting(name, overrides, broker).value as number;
  for (const [name, least, most] of brokerLimits) {
    if (!overrides.has(name)) continue;
    if (least !== undefined && inForce(name) < Number(broker.text(least))) {
      throw new ConfigError(`${name} must be greater than or equal to ${least}`);
    }
    if (inForce(name) > Number(broker.text(most))) {
      throw new ConfigError(`${name} must be less than or equal to ${most}`);
    }
  }
  for (const [shorter, longer] of longerThan) {
    if ((overrides.has(shorter) || overrides.has(longer)) && inForce(longer) <= inForce(shorter)) {
      throw new ConfigError(`${longer} must be greater than ${shorter}`);
    }
  }
}

/** One group setting as DescribeConfigs shows it. */
export interface GroupConfigEntry {
  readonly definition: ConfigDefinition;
  readonly text: string | null;
  readonly source: ConfigSource;
  readonly synonyms: readonly ConfigSynonym[];
}

/** Every setting of a group, in name order. A group need not exist to have them. */
export function describeGroupConfig(
  overrides: ReadonlyMap<string, string>,
  broker: BrokerConfig,
): readonly GroupConfigEntry[] {
  return groupConfigDefinitions.map((definition) => {
    const { name } = definition;
    const { text } = groupSetting(name, overrides, broker);
    const synonyms: ConfigSynonym[] = [];
    if (overrides.has(name) && text !== null) {
      synonyms.push({ name, text, source: configSources.GROUP_CONFIG });
    }
    const fallback = brokerFallbacks.get(name);
    const ownDefault = groupDefault(name, broker).text;
    if (fallback !== undefined) synonyms.push(...broker.synonyms(fallback));
    else if (ownDefault !== null) {
      synonyms.push({ name, text: ownDefault, source: configSources.DEFAULT_CONFIG });
    }
    return { definition, text, source: synonyms[0]?.source ?? configSources.DEFAULT_CONFIG, synonyms };
  });
}
