/**
 * Broker settings of Kafka's that speak of several brokers, of controllers, of client quotas or of tiered storage: shown and accepted,
 * because files and images set them; most have nothing to act on in one process.
 */
import { atLeast, type ConfigType, define, type UpdateMode, type Validator } from '../config-definition.ts';

const maxLong = '9223372036854775807';

/** Accepted without effect. */
function idle<const Name extends string, const Type extends ConfigType>(
  name: Name,
  type: Type,
  defaultValue: string | number | boolean | null,
  documentation: string,
  valid?: Validator,
  update: UpdateMode = 'read-only',
) {
  return define(name, type, defaultValue, `${documentation} Without effect on one broker.`, {
    ...(valid === undefined ? {} : { valid }),
    update,
    standing: 'ignored',
  });
}

function served<const Name extends string>(
  name: Name,
  type: 'INT',
  defaultValue: number,
  documentation: string,
  valid: Validator,
) {
  return define(name, type, defaultValue, documentation, { valid });
}

/** Asks for tiered storage, which is not there. */
function tiered<const Name extends string, const Type extends ConfigType>(
  name: Name,
  type: Type,
  defaultValue: string | number | boolean | null,
  documentation: string,
  valid?: Validator,
  update: UpdateMode = 'read-only',
) {
  return define(name, type, defaultValue, `${documentation} Tiered storage is not supported.`, {
    ...(valid === undefined ? {} : { valid }),
    update,
    standing: 'absent',
  });
}

const dynamic = 'cluster-wide';

export const clusterKeys = [
  // Controllers.
  idle('controller.listener.names', 'LIST', 'CONTROLLER', 'Listeners that controllers use.'),
  idle('controller.quorum.voters', 'LIST', '', 'The controllers that vote, id@host:port.'),
  idle('controller.quorum.bootstrap.servers', 'LIST', '', 'Where a controller finds the others.'),
  idle(
    'controller.quorum.append.linger.ms',
    'INT',
    25,
    'How long metadata waits to be written together.',
    atLeast(0),
  ),
  idle(
    'controller.quorum.auto.join.enable',
    'BOOLEAN',
    false,
    'A new controller joins the voters by itself.',
  ),
  idle(
    'controller.quorum.election.backoff.max.ms',
    'INT',
    1000,
    'The longest pause between two elections.',
    atLeast(0),
  ),
  idle('controller.quorum.election.timeout.ms', 'INT', 1000, 'How long an election may take.', atLeast(0)),
  idle('controller.quorum.fetch.max.bytes', 'INT', 1048576, 'Bytes of metadata fetched at once.', atLeast(1)),
  idle(
    'controller.quorum.fetch.snapshot.max.bytes',
    'INT',
    1048576,
    'Bytes of a snapshot fetched at once.',
    atLeast(1),
  ),
  idle(
    'controller.quorum.fetch.timeout.ms',
    'INT',
    2000,
    'How long a controller waits to hear of the leader.',
    atLeast(0),
  ),
  idle(
    'controller.quorum.request.timeout.ms',
    'INT',
    2000,
    'How long a request among controllers may take.',
    atLeast(0),
  ),
  idle(
    'controller.quorum.retry.backoff.ms',
    'INT',
    20,
    'Pause before such a request is repeated.',
    atLeast(0),
  ),
  idle('controller.socket.timeout.ms', 'INT', 30000, 'How long sockets to controllers wait.'),
  idle('controlled.shutdown.enable', 'BOOLEAN', true, 'A broker hands over its partitions before it stops.'),
  idle('broker.heartbeat.interval.ms', 'INT', 2000, 'How often a broker tells the controller that it lives.'),
  idle('broker.session.timeout.ms', 'INT', 9000, 'How long a broker may be silent.'),
  idle(
    'initial.broker.registration.timeout.ms',
    'INT',
    60000,
    'How long the first registration of a broker may take.',
  ),
  idle('metadata.log.dir', 'STRING', null, 'Where the metadata lies. It lies in the one log.'),
  idle(
    'metadata.log.max.record.bytes.between.snapshots',
    'LONG',
    20971520,
    'Bytes of metadata between snapshots.',
    atLeast(1),
  ),
  idle(
    'metadata.log.max.snapshot.interval.ms',
    'LONG',
    3600000,
    'Time between snapshots of the metadata.',
    atLeast(0),
  ),
  idle(
    'metadata.log.segment.bytes',
    'INT',
    1073741824,
    'Size of the files of the metadata.',
    atLeast(8388608),
  ),
  idle('metadata.log.segment.ms', 'LONG', 604800000, 'Age at which the metadata gets a new file.'),
  idle(
    'metadata.max.idle.interval.ms',
    'INT',
    500,
    'How often the controller writes when nothing happens.',
    atLeast(0),
  ),
  idle('metadata.max.retention.bytes', 'LONG', 104857600, 'How much metadata is kept.'),
  idle('metadata.max.retention.ms', 'LONG', 604800000, 'How long metadata is kept.'),
  idle(
    'auto.leader.rebalance.enable',
    'BOOLEAN',
    true,
    'Leadership goes back to the preferred brokers by itself.',
  ),
  idle('leader.imbalance.check.interval.seconds', 'LONG', 300, 'How often that is looked at.', atLeast(1)),

  // Replication.
  idle('num.replica.fetchers', 'INT', 1, 'Threads that copy from a leader.', atLeast(1), dynamic),
  idle('num.replica.alter.log.dirs.threads', 'INT', null, 'Threads that move copies between directories.'),
  idle('replica.fetch.backoff.ms', 'INT', 1000, 'Pause of a copy after an error.', atLeast(0)),
  idle('replica.fetch.max.bytes', 'INT', 1048576, 'Bytes copied at once from a partition.', atLeast(0)),
  idle('replica.fetch.min.bytes', 'INT', 1, 'Bytes that the copying of a partition waits for.'),
  idle('replica.fetch.response.max.bytes', 'INT', 10485760, 'Bytes copied at once.', atLeast(0)),
  idle('replica.fetch.wait.max.ms', 'INT', 500, 'How long copying waits for new records.'),
  idle(
    'replica.high.watermark.checkpoint.interval.ms',
    'LONG',
    5000,
    'How often the high watermarks are noted.',
  ),
  idle('replica.lag.time.max.ms', 'LONG', 30000, 'How long a copy in sync may be behind.'),
  idle('replica.selector.class', 'STRING', null, 'A Java class that chooses which copy a consumer reads.'),
  idle('replica.socket.receive.buffer.bytes', 'INT', 65536, 'Receive buffer of sockets for copying.'),
  idle('replica.socket.timeout.ms', 'INT', 30000, 'How long sockets for copying wait.'),
  idle(
    'follower.fetch.last.tiered.offset.enable',
    'BOOLEAN',
    false,
    'A new copy starts at the last tiered offset.',
    undefined,
    dynamic,
  ),

  // Quotas.
  served('quota.window.num', 'INT', 11, 'Samples kept for client quotas.', atLeast(1)),
  served('quota.window.size.seconds', 'INT', 1, 'Time that such a sample covers.', atLeast(1)),
  idle('replication.quota.window.num', 'INT', 11, 'Samples kept for replication quotas.', atLeast(1)),
  idle('replication.quota.window.size.seconds', 'INT', 1, 'Time that such a sample covers.', atLeast(1)),
  idle(
    'alter.log.dirs.replication.quota.window.num',
    'INT',
    11,
    'Samples kept for moves between directories.',
    atLeast(1),
  ),
  idle(
    'alter.log.dirs.replication.quota.window.size.seconds',
    'INT',
    1,
    'Time that such a sample covers.',
    atLeast(1),
  ),
  served('controller.quota.window.num', 'INT', 11, 'Samples kept for quotas of changes.', atLeast(1)),
  served('controller.quota.window.size.seconds', 'INT', 1, 'Time that such a sample covers.', atLeast(1)),
  idle('client.quota.callback.class', 'CLASS', null, 'A Java class that sets quotas.'),

  // Waiting requests.
  idle(
    'fetch.purgatory.purge.interval.requests',
    'INT',
    1000,
    'How often finished waits of fetches are cleared.',
  ),
  idle(
    'producer.purgatory.purge.interval.requests',
    'INT',
    1000,
    'How often finished waits of producers are cleared.',
  ),
  idle(
    'delete.records.purgatory.purge.interval.requests',
    'INT',
    1,
    'How often finished waits of DeleteRecords are cleared.',
  ),

  // Tiered storage.
  tiered(
    'remote.log.storage.system.enable',
    'BOOLEAN',
    false,
    'Topics may keep old records in remote storage.',
  ),
  tiered(
    'remote.log.storage.manager.class.name',
    'STRING',
    null,
    'The Java class that reaches the remote storage.',
  ),
  tiered('remote.log.storage.manager.class.path', 'STRING', null, 'Where that class lies.'),
  tiered(
    'remote.log.storage.manager.impl.prefix',
    'STRING',
    'rsm.config.',
    'What the names of its settings begin with.',
  ),
  tiered(
    'remote.log.metadata.manager.class.name',
    'STRING',
    'org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager',
    'The Java class that knows what lies there.',
  ),
  tiered('remote.log.metadata.manager.class.path', 'STRING', null, 'Where that class lies.'),
  tiered(
    'remote.log.metadata.manager.impl.prefix',
    'STRING',
    'rlmm.config.',
    'What the names of its settings begin with.',
  ),
  tiered('remote.log.metadata.manager.listener.name', 'STRING', null, 'The listener that it uses.'),
  tiered(
    'remote.log.metadata.custom.metadata.max.bytes',
    'INT',
    128,
    'Bytes that the storage may note on a file.',
    atLeast(0),
  ),
  tiered(
    'remote.log.index.file.cache.total.size.bytes',
    'LONG',
    1073741824,
    'Bytes of remote indexes kept.',
    atLeast(1),
    dynamic,
  ),
  tiered('remote.log.manager.thread.pool.size', 'INT', 2, 'Threads that move records.', atLeast(1)),
  tiered(
    'remote.log.manager.copier.thread.pool.size',
    'INT',
    10,
    'Threads that copy to it.',
    atLeast(1),
    dynamic,
  ),
  tiered(
    'remote.log.manager.expiration.thread.pool.size',
    'INT',
    10,
    'Threads that delete from it.',
    atLeast(1),
    dynamic,
  ),
  tiered(
    'remote.log.manager.follower.thread.pool.size',
    'INT',
    2,
    'Threads of followers.',
    atLeast(1),
    dynamic,
  ),
  tiered('remote.log.manager.task.interval.ms', 'LONG', 30000, 'How often records are moved.', atLeast(1)),
  tiered(
    'remote.log.manager.copy.max.bytes.per.second',
    'LONG',
    maxLong,
    'How fast to copy to it.',
    atLeast(1),
    dynamic,
  ),
  tiered('remote.log.manager.copy.quota.window.num', 'INT', 11, 'Samples kept for that limit.', atLeast(1)),
  tiered(
    'remote.log.manager.copy.quota.window.size.seconds',
    'INT',
    1,
    'Time that such a sample covers.',
    atLeast(1),
  ),
  tiered(
    'remote.log.manager.fetch.max.bytes.per.second',
    'LONG',
    maxLong,
    'How fast to read from it.',
    atLeast(1),
    dynamic,
  ),
  tiered('remote.log.manager.fetch.quota.window.num', 'INT', 11, 'Samples kept for that limit.', atLeast(1)),
  tiered(
    'remote.log.manager.fetch.quota.window.size.seconds',
    'INT',
    1,
    'Time that such a sample covers.',
    atLeast(1),
  ),
  tiered('remote.log.reader.max.pending.tasks', 'INT', 100, 'Reads from it that may wait.', atLeast(1)),
  tiered('remote.log.reader.threads', 'INT', 10, 'Threads that read from it.', atLeast(1), dynamic),
  tiered('remote.fetch.max.wait.ms', 'INT', 500, 'How long a fetch waits for it.', atLeast(1), dynamic),
  tiered(
    'remote.list.offsets.request.timeout.ms',
    'LONG',
    30000,
    'How long a look-up by time waits for it.',
    atLeast(1),
    dynamic,
  ),
  tiered(
    'log.local.retention.ms',
    'LONG',
    -2,
    'How long tiered records stay here too.',
    atLeast(-2),
    dynamic,
  ),
  tiered(
    'log.local.retention.bytes',
    'LONG',
    -2,
    'How many bytes of tiered records stay here too.',
    atLeast(-2),
    dynamic,
  ),
  tiered('log.remote.copy.lag.ms', 'LONG', 0, 'Age at which records may be tiered.', atLeast(-1), dynamic),
  tiered(
    'log.remote.copy.lag.bytes',
    'LONG',
    -1,
    'Newer bytes behind which records may be tiered.',
    atLeast(-1),
    dynamic,
  ),
] as const;
