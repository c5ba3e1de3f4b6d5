/** Broker settings: topics, and what a topic has where it says nothing itself. */
import { atLeast, between, define, listOf, oneOf, type Validator } from '../config-definition.ts';

const maxLong = '9223372036854775807';
const dynamic = 'cluster-wide';

/** -1 or 1 to 9. */
export const gzipLevel: Validator = (value) =>
  typeof value === 'number' && (value === -1 || (value >= 1 && value <= 9))
    ? undefined
    : 'Value must be between 1 and 9 or equal to -1';

export const topicKeys = [
  define(
    'auto.create.topics.enable',
    'BOOLEAN',
    true,
    'A topic that a producer or consumer names and that does not exist is created, with the settings of new topics.',
  ),
  define('delete.topic.enable', 'BOOLEAN', true, 'Topics may be deleted. Otherwise DeleteTopics is refused.'),
  define('num.partitions', 'INT', 1, 'Partitions of a topic whose creator does not say how many.', {
    valid: atLeast(1),
  }),
  define(
    'default.replication.factor',
    'INT',
    1,
    'Copies of a topic whose creator does not say how many. One broker keeps one copy.',
    { standing: 'ignored' },
  ),
  define('min.insync.replicas', 'INT', 1, 'Copies in sync that a write with acks=all asks for.', {
    valid: atLeast(1),
    update: dynamic,
  }),
  define(
    'unclean.leader.election.enable',
    'BOOLEAN',
    false,
    'A copy that is behind may lead. There is one copy.',
    {
      update: dynamic,
      standing: 'ignored',
    },
  ),
  define('message.max.bytes', 'INT', 1048588, 'The largest record batch a topic takes, as it was sent.', {
    valid: atLeast(0),
    update: dynamic,
  }),
  define(
    'max.decompressed.message.bytes',
    'INT',
    2147483639,
    'The largest record, once decompressed, that a topic takes. Batches are stored as they come, so only the default is possible.',
    { valid: between(1, 2147483639), update: dynamic, standing: 'absent' },
  ),
  define(
    'compression.type',
    'STRING',
    'producer',
    'How batches are stored: as the producer sent them, or compressed again.',
    {
      valid: oneOf('uncompressed', 'zstd', 'lz4', 'snappy', 'gzip', 'producer'),
      update: dynamic,
    },
  ),
  define(
    'compression.gzip.level',
    'INT',
    -1,
    'Level used when batches are compressed again with gzip; -1 is its default.',
    {
      valid: gzipLevel,
      update: dynamic,
    },
  ),
  define('compression.lz4.level', 'INT', 9, 'Level used when batches are compressed again with lz4.', {
    valid: between(1, 17),
    update: dynamic,
  }),
  define('compression.zstd.level', 'INT', 3, 'Level used when batches are compressed again with zstd.', {
    valid: between(-131072, 22),
    update: dynamic,
  }),
  define(
    'log.message.timestamp.type',
    'STRING',
    'CreateTime',
    "Whose time a record carries: the producer's or the broker's.",
    {
      valid: oneOf('CreateTime', 'LogAppendTime'),
      update: dynamic,
    },
  ),
  define(
    'log.message.timestamp.before.max.ms',
    'LONG',
    maxLong,
    'How far in the past the time of a record may lie.',
    {
      valid: atLeast(0),
      update: dynamic,
    },
  ),
  define(
    'log.message.timestamp.after.max.ms',
    'LONG',
    3600000,
    'How far in the future the time of a record may lie.',
    {
      valid: atLeast(0),
      update: dynamic,
    },
  ),
  define(
    'log.cleanup.policy',
    'LIST',
    'delete',
    'What happens to old records: delete by age and size, compact by key, or both.',
    {
      valid: listOf('compact', 'delete'),
      update: dynamic,
    },
  ),
  define(
    'log.retention.ms',
    'LONG',
    null,
    'How long records are kept; -1 for ever. Wins over the minutes and the hours.',
    {
      update: dynamic,
    },
  ),
  define('log.retention.minutes', 'INT', null, 'How long records are kept, in minutes. Wins over the hours.'),
  define('log.retention.hours', 'INT', 168, 'How long records are kept, in hours.'),
  define('log.retention.bytes', 'LONG', -1, 'How many bytes a partition keeps; -1 for no limit.', {
    update: dynamic,
  }),
  define(
    'log.retention.check.interval.ms',
    'LONG',
    300000,
    'How often records that need be kept no longer are looked for.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'log.flush.interval.messages',
    'LONG',
    maxLong,
    'Records after which a partition is flushed to the disk.',
    {
      valid: atLeast(1),
      update: dynamic,
    },
  ),
  define('log.flush.interval.ms', 'LONG', null, 'Time after which records written are flushed to the disk.', {
    update: dynamic,
  }),
  define(
    'log.flush.scheduler.interval.ms',
    'LONG',
    maxLong,
    'Time after which records written are flushed, where log.flush.interval.ms says nothing.',
  ),
  define(
    'log.flush.offset.checkpoint.interval.ms',
    'INT',
    60000,
    'How often Kafka notes how far it flushed. The log knows it here.',
    {
      valid: atLeast(0),
      standing: 'ignored',
    },
  ),
  define(
    'log.flush.start.offset.checkpoint.interval.ms',
    'INT',
    60000,
    'How often Kafka notes where partitions start. Every change is kept at once here.',
    { valid: atLeast(0), standing: 'ignored' },
  ),
  define('log.dirs', 'LIST', null, 'Where the data lies; one directory. Wins over log.dir.'),
  define('log.dir', 'LIST', './data', 'Where the data lies, where log.dirs says nothing.'),
  define(
    'cordoned.log.dirs',
    'LIST',
    '',
    'Directories that take no new partitions. There is one directory.',
    {
      update: 'per-broker',
      standing: 'absent',
    },
  ),
  define(
    'log.dir.failure.timeout.ms',
    'LONG',
    30000,
    'How long to wait to tell the controller of a failed directory.',
    {
      valid: atLeast(1),
      standing: 'ignored',
    },
  ),
  define(
    'log.segment.bytes',
    'INT',
    1073741824,
    'How many bytes at the end of a partition are not compacted. All partitions share one log here.',
    {
      valid: atLeast(1048576),
      update: dynamic,
    },
  ),
  define('log.roll.ms', 'LONG', null, 'Age from which records of a partition may be compacted.', {
    update: dynamic,
  }),
  define('log.roll.hours', 'INT', 168, 'Age from which records of a partition may be compacted, in hours.', {
    valid: atLeast(1),
  }),
  define('log.roll.jitter.ms', 'LONG', null, 'A random time taken off log.roll.ms.', {
    update: dynamic,
    standing: 'ignored',
  }),
  define('log.roll.jitter.hours', 'INT', 0, 'A random time taken off log.roll.hours.', {
    valid: atLeast(0),
    standing: 'ignored',
  }),
  define('log.segment.delete.delay.ms', 'LONG', 60000, 'How long a file to be deleted stays.', {
    valid: atLeast(0),
    update: dynamic,
    standing: 'ignored',
  }),
  define('log.index.size.max.bytes', 'INT', 10485760, 'Size of the index of a file.', {
    valid: atLeast(4),
    update: dynamic,
    standing: 'ignored',
  }),
  define(
    'log.index.interval.bytes',
    'INT',
    4096,
    'How often a file gets an index entry. Every batch has one here.',
    {
      valid: atLeast(0),
      update: dynamic,
      standing: 'ignored',
    },
  ),
  define('log.preallocate', 'BOOLEAN', false, 'Files get their whole size when they are made.', {
    update: dynamic,
    standing: 'ignored',
  }),
  define(
    'num.recovery.threads.per.data.dir',
    'INT',
    2,
    'Threads that recover a directory at start. One pass does it here.',
    {
      valid: atLeast(1),
      update: dynamic,
      standing: 'ignored',
    },
  ),
  define('log.cleaner.enable', 'BOOLEAN', true, 'Compaction runs.'),
  define('log.cleaner.threads', 'INT', 1, 'Threads that compact. One thread does it here; 0 stops it.', {
    valid: atLeast(0),
    update: dynamic,
  }),
  define('log.cleaner.backoff.ms', 'LONG', 15000, 'Pause of the cleaner when there is nothing to clean.', {
    valid: atLeast(0),
    update: dynamic,
  }),
  define('log.cleaner.dedupe.buffer.size', 'LONG', 134217728, 'Memory of the cleaner for the keys it saw.', {
    update: dynamic,
  }),
  define('log.cleaner.io.buffer.load.factor', 'DOUBLE', 0.9, 'How full that memory may get.', {
    update: dynamic,
  }),
  define('log.cleaner.io.buffer.size', 'INT', 524288, 'Buffers of the cleaner for reading and writing.', {
    valid: atLeast(0),
    update: dynamic,
  }),
  define(
    'log.cleaner.io.max.bytes.per.second',
    'DOUBLE',
    '1.7976931348623157E308',
    'How fast the cleaner may read and write.',
    {
      update: dynamic,
    },
  ),
  define(
    'log.cleaner.min.cleanable.ratio',
    'DOUBLE',
    0.5,
    'The part of a partition that must be dirty before it is compacted.',
    {
      valid: between(0, 1),
      update: dynamic,
    },
  ),
  define('log.cleaner.delete.retention.ms', 'LONG', 86400000, 'How long the mark of a deleted key stays.', {
    valid: atLeast(0),
    update: dynamic,
  }),
  define('log.cleaner.min.compaction.lag.ms', 'LONG', 0, 'A record younger than this is not compacted.', {
    valid: atLeast(0),
    update: dynamic,
  }),
  define(
    'log.cleaner.max.compaction.lag.ms',
    'LONG',
    maxLong,
    'A record older than this is compacted even where little is dirty.',
    {
      valid: atLeast(1),
      update: dynamic,
    },
  ),
  define(
    'create.topic.policy.class.name',
    'CLASS',
    null,
    'A Java class that judges new topics. None can run here.',
    {
      standing: 'absent',
    },
  ),
  define(
    'alter.config.policy.class.name',
    'CLASS',
    null,
    'A Java class that judges changed settings. None can run here.',
    {
      standing: 'absent',
    },
  ),
  define(
    'producer.id.expiration.ms',
    'INT',
    86400000,
    'How long a producer that is silent is remembered, to know its repeats.',
    {
      valid: atLeast(1),
      update: dynamic,
    },
  ),
] as const;
