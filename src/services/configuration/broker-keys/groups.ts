/** Broker settings: groups, their offsets, and transactions. */
import {
  atLeast,
  between,
  define,
  listOf,
  listOfAtLeast,
  oneOfAnyCase,
  type Validator,
} from '../config-definition.ts';

/** The newer kinds of groups that are served. */
const servedKinds: ReadonlySet<string> = new Set(['consumer', 'share']);

const nonEmptyListOf =
  (...allowed: readonly string[]): Validator =>
  (value, name) =>
    listOf(...allowed)(value, name) ?? listOfAtLeast(1)(value, name);

const maxInt = 2147483647;
const dynamic = 'cluster-wide';

export const groupKeys = [
  // Classic groups and committed offsets.
  define(
    'group.min.session.timeout.ms',
    'INT',
    6000,
    'The shortest session timeout that a member may ask for.',
  ),
  define(
    'group.max.session.timeout.ms',
    'INT',
    1800000,
    'The longest session timeout that a member may ask for.',
  ),
  define(
    'group.initial.rebalance.delay.ms',
    'INT',
    0,
    'How long the first rebalance of an empty group waits for more members.',
  ),
  define('group.max.size', 'INT', maxInt, 'Members that a group may have; one more is refused.', {
    valid: atLeast(1),
  }),
  define(
    'group.coordinator.rebalance.protocols',
    'LIST',
    'classic,consumer',
    'Which group protocols are served.',
    {
      valid: listOf('consumer', 'classic', 'share', 'streams'),
    },
  ),
  define('offset.metadata.max.bytes', 'INT', 4096, 'The longest text that may be committed with an offset.'),
  define('offsets.retention.minutes', 'INT', 10080, 'How long offsets stay after their group is empty.', {
    valid: atLeast(1),
  }),
  define(
    'offsets.retention.check.interval.ms',
    'LONG',
    600000,
    'How often offsets that are too old are looked for.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'offsets.commit.timeout.ms',
    'INT',
    5000,
    'How long copies of a commit are waited for. It is answered when it is durable; there are no copies to wait for.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define(
    'offsets.topic.num.partitions',
    'INT',
    50,
    'Partitions of __consumer_offsets, fixed when it is created.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'offsets.topic.replication.factor',
    'SHORT',
    3,
    'Copies of __consumer_offsets. One broker keeps one copy.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define(
    'offsets.topic.segment.bytes',
    'INT',
    104857600,
    'The segment.bytes that __consumer_offsets is created with.',
    {
      valid: atLeast(1),
    },
  ),
  define('offsets.topic.compression.codec', 'INT', 0, 'Compression of the records of __consumer_offsets.', {
    standing: 'ignored',
  }),
  define('offsets.load.buffer.size', 'INT', 5242880, 'Bytes read at a time when groups are loaded.', {
    valid: atLeast(1),
    standing: 'ignored',
  }),
  define(
    'group.coordinator.threads',
    'INT',
    4,
    'Threads that coordinate groups. One event loop does it here.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define('group.coordinator.background.threads', 'INT', 2, 'Threads for the long work of coordinators.', {
    valid: atLeast(1),
    standing: 'ignored',
  }),
  define(
    'group.coordinator.append.linger.ms',
    'INT',
    -1,
    'How long group records wait to be written together; -1 adapts.',
    {
      valid: atLeast(-1),
      standing: 'ignored',
    },
  ),
  define(
    'group.coordinator.cached.buffer.max.bytes',
    'INT',
    1048588,
    'The largest write buffer that a coordinator keeps.',
    {
      valid: atLeast(524288),
      update: dynamic,
      standing: 'ignored',
    },
  ),

  // Consumer groups of KIP-848.
  ...rebalanceKeys('consumer', 'consumer groups (KIP-848)'),
  define(
    'group.consumer.assignors',
    'LIST',
    'uniform,range',
    'Assignors that consumer groups may use, the default first.',
    {
      valid: nonEmptyListOf('uniform', 'range'),
    },
  ),
  define('group.consumer.max.size', 'INT', maxInt, 'Members that a consumer group may have.', {
    valid: atLeast(1),
  }),
  define(
    'group.consumer.migration.policy',
    'STRING',
    'bidirectional',
    'Which way groups may change between the two protocols.',
    {
      valid: oneOfAnyCase('DISABLED', 'DOWNGRADE', 'UPGRADE', 'BIDIRECTIONAL'),
    },
  ),

  // Share groups.
  ...rebalanceKeys('share', 'share groups'),
  define('group.share.assignors', 'LIST', 'simple', 'Assignors that share groups may use.', {
    valid: listOf('simple'),
  }),
  define('group.share.max.size', 'INT', 200, 'Members that a share group may have.', {
    valid: between(1, 1000),
  }),
  define('group.share.max.share.sessions', 'INT', 2000, 'Share sessions remembered at once.', {
    valid: atLeast(1),
  }),
  define(
    'group.share.delivery.count.limit',
    'INT',
    5,
    'Deliveries of a record before a share group gives it up.',
    {
      valid: between(2, 100),
    },
  ),
  define('group.share.min.delivery.count.limit', 'INT', 2, 'The least that a group may set that limit to.', {
    valid: between(2, 5),
  }),
  define('group.share.max.delivery.count.limit', 'INT', 10, 'The most that a group may set that limit to.', {
    valid: between(5, 100),
  }),
  define('group.share.record.lock.duration.ms', 'INT', 30000, 'How long a record handed out stays locked.', {
    valid: between(1000, 3600000),
  }),
  define(
    'group.share.min.record.lock.duration.ms',
    'INT',
    15000,
    'The least that a group may set that time to.',
    {
      valid: between(1000, 30000),
    },
  ),
  define(
    'group.share.max.record.lock.duration.ms',
    'INT',
    60000,
    'The most that a group may set that time to.',
    {
      valid: between(30000, 3600000),
    },
  ),
  define(
    'group.share.partition.max.record.locks',
    'INT',
    2000,
    'Records of a partition that may be locked at once.',
    {
      valid: between(100, 10000),
    },
  ),
  define(
    'group.share.min.partition.max.record.locks',
    'INT',
    100,
    'The least that a group may set that number to.',
    {
      valid: between(100, 2000),
    },
  ),
  define(
    'group.share.max.partition.max.record.locks',
    'INT',
    4000,
    'The most that a group may set that number to.',
    {
      valid: between(2000, 10000),
    },
  ),
  define(
    'errors.deadletterqueue.auto.create.topics.enable',
    'BOOLEAN',
    false,
    'Dead-letter topics of groups without rmq.retry.enable are created when first needed; those with it have theirs anyway.',
    { update: dynamic },
  ),
  define(
    'errors.deadletterqueue.topic.name.prefix',
    'STRING',
    'dlq.',
    'What the names of dead-letter topics begin with.',
    {
      update: dynamic,
    },
  ),
  define(
    'share.coordinator.append.linger.ms',
    'INT',
    -1,
    'How long share state waits to be written together; -1 adapts.',
    {
      valid: atLeast(-1),
      standing: 'ignored',
    },
  ),
  define(
    'share.coordinator.cached.buffer.max.bytes',
    'INT',
    1048588,
    'The largest write buffer that a share coordinator keeps.',
    {
      valid: atLeast(524288),
      update: dynamic,
      standing: 'ignored',
    },
  ),
  define(
    'share.coordinator.load.buffer.size',
    'INT',
    5242880,
    'Bytes read at a time when share state is loaded.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define(
    'share.coordinator.snapshot.update.records.per.snapshot',
    'INT',
    500,
    'Updates of share state between two snapshots.',
    {
      valid: between(0, 500),
      standing: 'ignored',
    },
  ),
  define(
    'share.coordinator.state.topic.compression.codec',
    'INT',
    0,
    'Compression of the records of __share_group_state.',
    {
      standing: 'ignored',
    },
  ),
  define(
    'share.coordinator.state.topic.min.isr',
    'SHORT',
    2,
    'Copies in sync that a write to __share_group_state asks for.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define(
    'share.coordinator.state.topic.num.partitions',
    'INT',
    50,
    'Partitions of __share_group_state, fixed when it is created.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'share.coordinator.state.topic.replication.factor',
    'SHORT',
    3,
    'Copies of __share_group_state. One broker keeps one copy.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define(
    'share.coordinator.state.topic.segment.bytes',
    'INT',
    104857600,
    'The segment.bytes that __share_group_state is created with.',
    {
      valid: atLeast(1),
    },
  ),
  define('share.coordinator.threads', 'INT', 1, 'Threads that coordinate share state.', {
    valid: atLeast(1),
    standing: 'ignored',
  }),
  define('share.coordinator.write.timeout.ms', 'INT', 5000, 'How long a write of share state may take.', {
    valid: atLeast(1),
    standing: 'ignored',
  }),
  define(
    'share.fetch.purgatory.purge.interval.requests',
    'INT',
    1000,
    'How often finished waits of share fetches are cleared.',
    {
      standing: 'ignored',
    },
  ),

  // Streams groups.
  ...rebalanceKeys('streams', 'streams groups'),
  define(
    'group.streams.assignors',
    'LIST',
    'sticky',
    'Assignors that streams groups may use, the default first.',
    {
      standing: 'absent',
    },
  ),
  define(
    'group.streams.initial.rebalance.delay.ms',
    'INT',
    3000,
    'How long the first rebalance of a streams group waits.',
    {
      valid: atLeast(0),
      standing: 'absent',
    },
  ),
  define('group.streams.max.size', 'INT', maxInt, 'Members that a streams group may have.', {
    valid: atLeast(1),
    standing: 'absent',
  }),
  define('group.streams.num.standby.replicas', 'INT', 0, 'Standby copies of a task.', {
    valid: atLeast(0),
    standing: 'absent',
  }),
  define('group.streams.max.standby.replicas', 'INT', 2, 'The most that a group may set that number to.', {
    valid: atLeast(0),
    standing: 'absent',
  }),
  define(
    'group.streams.rack.aware.assignment.tags',
    'LIST',
    '',
    'Client tags over which standby copies are spread.',
    {
      standing: 'absent',
    },
  ),
  define(
    'group.streams.topology.description.plugin.class',
    'CLASS',
    null,
    'A Java class that keeps topologies. None can run here.',
    {
      standing: 'absent',
    },
  ),

  // Transactions.
  define(
    'transactional.id.expiration.ms',
    'INT',
    604800000,
    'How long a transactional id that is not used is remembered.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'transaction.max.timeout.ms',
    'INT',
    900000,
    'The longest transaction timeout that a producer may ask for.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'transaction.abort.timed.out.transaction.cleanup.interval.ms',
    'INT',
    10000,
    'How often transactions that took too long are looked for.',
    { valid: atLeast(1) },
  ),
  define(
    'transaction.remove.expired.transaction.cleanup.interval.ms',
    'INT',
    3600000,
    'How often transactional ids that are too old are looked for.',
    { valid: atLeast(1) },
  ),
  define(
    'transaction.partition.verification.enable',
    'BOOLEAN',
    true,
    'A transactional write must belong to an open transaction.',
    {
      update: dynamic,
    },
  ),
  define(
    'transaction.two.phase.commit.enable',
    'BOOLEAN',
    false,
    'Producers may take part in two-phase commits.',
    {
      standing: 'absent',
    },
  ),
  define(
    'transaction.state.log.num.partitions',
    'INT',
    50,
    'Partitions of __transaction_state, fixed when it is created.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'transaction.state.log.replication.factor',
    'SHORT',
    3,
    'Copies of __transaction_state. One broker keeps one copy.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define(
    'transaction.state.log.min.isr',
    'INT',
    2,
    'Copies in sync that a write to __transaction_state asks for.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define(
    'transaction.state.log.segment.bytes',
    'INT',
    104857600,
    'The segment.bytes that __transaction_state is created with.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'transaction.state.log.load.buffer.size',
    'INT',
    5242880,
    'Bytes read at a time when transactions are loaded.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define(
    'add.partitions.to.txn.retry.backoff.ms',
    'INT',
    20,
    'Pause before the broker asks its coordinator again.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define('add.partitions.to.txn.retry.backoff.max.ms', 'INT', 100, 'The longest such pause.', {
    valid: atLeast(0),
    standing: 'ignored',
  }),
] as const;

/** The session, heartbeat and assignment settings that the three newer kinds of groups share. */
function rebalanceKeys<const Kind extends 'consumer' | 'share' | 'streams'>(kind: Kind, groups: string) {
  const absent = { standing: servedKinds.has(kind) ? 'served' : 'absent' } as const;
  return [
    define(
      `group.${kind}.session.timeout.ms`,
      'INT',
      45000,
      `How long a member of ${groups} may be silent.`,
      {
        valid: atLeast(1),
        ...absent,
      },
    ),
    define(
      `group.${kind}.min.session.timeout.ms`,
      'INT',
      45000,
      `The shortest session timeout that ${groups} may set.`,
      {
        valid: atLeast(1),
        ...absent,
      },
    ),
    define(
      `group.${kind}.max.session.timeout.ms`,
      'INT',
      60000,
      `The longest session timeout that ${groups} may set.`,
      {
        valid: atLeast(1),
        ...absent,
      },
    ),
    define(
      `group.${kind}.heartbeat.interval.ms`,
      'INT',
      5000,
      `How often members of ${groups} are asked to send heartbeats.`,
      {
        valid: atLeast(1),
        ...absent,
      },
    ),
    define(
      `group.${kind}.min.heartbeat.interval.ms`,
      'INT',
      5000,
      `The shortest heartbeat interval that ${groups} may set.`,
      {
        valid: atLeast(1),
        ...absent,
      },
    ),
    define(
      `group.${kind}.max.heartbeat.interval.ms`,
      'INT',
      15000,
      `The longest heartbeat interval that ${groups} may set.`,
      {
        valid: atLeast(1),
        ...absent,
      },
    ),
    define(
      `group.${kind}.assignment.interval.ms`,
      'INT',
      1000,
      `The least time between two assignments of ${groups}.`,
      {
        valid: atLeast(0),
        update: 'cluster-wide',
        ...absent,
      },
    ),
    define(
      `group.${kind}.min.assignment.interval.ms`,
      'INT',
      0,
      `The least that ${groups} may set that time to.`,
      {
        valid: atLeast(0),
        ...absent,
      },
    ),
    define(
      `group.${kind}.max.assignment.interval.ms`,
      'INT',
      15000,
      `The most that ${groups} may set that time to.`,
      {
        valid: atLeast(0),
        ...absent,
      },
    ),
  ] as const;
}
