/** Broker settings that Kafka has no name for: the one log, its memory, and the limits of queues and buffers. */
import { atLeast, between, define, oneOf } from '../config-definition.ts';

export const ownKeys = [
  define(
    'rmq.flush.policy',
    'STRING',
    'acks',
    'When an answer waits for the disk. acks: acks=all does, acks=1 is answered when written and flushed on the interval. always: every answer does. interval: none does, as Kafka on one broker.',
    { valid: oneOf('acks', 'always', 'interval') },
  ),
  define('rmq.flush.interval.ms', 'INT', 500, 'How long what was written may wait for the flush.', {
    valid: atLeast(1),
  }),
  define(
    'rmq.flush.dirty.bytes',
    'INT',
    8388608,
    'Bytes written that start a flush before the interval is over.',
    {
      valid: atLeast(4096),
    },
  ),
  define('rmq.commitlog.segment.bytes', 'LONG', 268435456, 'Size of a file of the commit log.', {
    valid: between(1048576, 4294967295),
  }),
  define(
    'rmq.commitlog.unwritten.max.bytes',
    'LONG',
    33554432,
    'Bytes accepted and not yet written; more make producers wait.',
    { valid: atLeast(1048576) },
  ),
  define(
    'rmq.commitlog.room.wait.max.ms',
    'INT',
    15000,
    'How long producers wait on a disk that takes nothing before they are answered REQUEST_TIMED_OUT, with nothing of theirs appended.',
    { valid: atLeast(1) },
  ),
  define(
    'rmq.disk.reserve.bytes',
    'LONG',
    33554432,
    'Bytes of disk that are kept, to be given back when it is full, so that deleting still works; on a small volume a sixteenth of it. 0: none, and data is not refused before the disk is full.',
    { valid: atLeast(0) },
  ),
  define(
    'rmq.disk.free.min.bytes',
    'LONG',
    33554432,
    'While less than this is free beside the reserve, producers are refused with KAFKA_STORAGE_ERROR; on a small volume a thirty-second of it.',
    { valid: atLeast(0) },
  ),
  define(
    'rmq.commitlog.accept.loss',
    'BOOLEAN',
    false,
    'Start even where durable data is damaged, and say what is lost.',
  ),
  define(
    'rmq.cache.tail.bytes',
    'LONG',
    67108864,
    'Memory for the newest records, from which most fetches are served.',
    {
      valid: atLeast(1048576),
    },
  ),
  define('rmq.cache.read.bytes', 'LONG', 33554432, 'Memory for records read from the disk.', {
    valid: atLeast(1048576),
  }),
  define('rmq.index.cache.bytes', 'LONG', 8388608, 'Memory for index blocks read from the disk.', {
    valid: atLeast(262144),
  }),
  define(
    'rmq.transactions.partition.max.ids',
    'INT',
    100000,
    'Transactional ids that one partition of __transaction_state keeps; a new one beyond it is told to come again.',
    { valid: atLeast(1) },
  ),
  define(
    'rmq.transactions.max.open.partitions',
    'INT',
    200000,
    'Partitions of all open transactions together; a batch that opens one more is told to come again.',
    { valid: atLeast(1) },
  ),
  define('rmq.topic.max.partitions', 'INT', 100000, 'Partitions that one topic may have.', {
    valid: atLeast(1),
  }),
  define('rmq.broker.max.partitions', 'INT', 1000000, 'Partitions that all topics together may have.', {
    valid: atLeast(1),
  }),
  define(
    'rmq.producers.max',
    'INT',
    100000,
    'Idempotent producers remembered, counted for each partition that they write to; the most recent.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'rmq.connection.max.requests.in.flight',
    'INT',
    1000,
    'Requests of one connection that may be under way; reading from it pauses at that number.',
    { valid: atLeast(1) },
  ),
  define(
    'rmq.connection.max.fetches.in.flight',
    'INT',
    8,
    'Of those, requests whose answers carry records.',
    { valid: atLeast(1) },
  ),
  define(
    'rmq.connection.max.pending.answer.bytes',
    'LONG',
    4194304,
    'Bytes of answers that wait for one client to read them; no request of its is started above that.',
    { valid: atLeast(65536) },
  ),
  define('rmq.shutdown.timeout.ms', 'INT', 10000, 'How long a stop waits for requests under way.', {
    valid: atLeast(0),
  }),
] as const;
