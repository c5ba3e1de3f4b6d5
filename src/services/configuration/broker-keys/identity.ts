/** Broker settings: who the broker is, where it listens, what its clients may open. */
import { atLeast, define, listOf, oneOf } from '../config-definition.ts';

export const identityKeys = [
  define('node.id', 'INT', 1, 'The number that clients know this broker by.', { valid: atLeast(0) }),
  define(
    'broker.id',
    'INT',
    -1,
    'The old name of node.id. Used where node.id is not set; the two must agree.',
  ),
  define(
    'broker.rack',
    'STRING',
    null,
    'The rack (or zone) told to clients with the address of this broker, for those that prefer near replicas.',
  ),
  define(
    'process.roles',
    'LIST',
    'broker,controller',
    'Always both: the one process answers as broker and as controller.',
    { valid: listOf('broker', 'controller'), standing: 'ignored' },
  ),
  define(
    'listeners',
    'LIST',
    'PLAINTEXT://localhost:9092',
    'The addresses to listen on, NAME://HOST:PORT separated by commas. An empty host or 0.0.0.0 is every interface; port 0 takes a free one; localhost is both 127.0.0.1 and ::1.',
  ),
  define(
    'advertised.listeners',
    'LIST',
    null,
    'What clients are told to connect to, by listener name. Where missing, the address listened on.',
  ),
  define(
    'listener.security.protocol.map',
    'STRING',
    'SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT',
    'Which security protocol each listener name speaks.',
  ),
  define(
    'inter.broker.listener.name',
    'STRING',
    null,
    'Which listener brokers use among themselves; there is one broker.',
    {
      standing: 'ignored',
    },
  ),
  define(
    'security.inter.broker.protocol',
    'STRING',
    'PLAINTEXT',
    'Which protocol brokers use among themselves; there is one broker.',
    { valid: oneOf('PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL'), standing: 'ignored' },
  ),
  define(
    'early.start.listeners',
    'LIST',
    null,
    'Listeners opened before the others at start. All open together here.',
    {
      standing: 'ignored',
    },
  ),
  define('socket.listen.backlog.size', 'INT', 50, 'Connections that may wait to be accepted on a listener.', {
    valid: atLeast(1),
  }),
  define(
    'socket.request.max.bytes',
    'INT',
    104857600,
    'The largest request taken; a larger one closes its connection.',
    {
      valid: atLeast(1),
    },
  ),
  define(
    'socket.receive.buffer.bytes',
    'INT',
    102400,
    'Size of the receive buffer of sockets. The system chooses it here.',
    {
      standing: 'ignored',
    },
  ),
  define(
    'socket.send.buffer.bytes',
    'INT',
    102400,
    'Size of the send buffer of sockets. The system chooses it here.',
    {
      standing: 'ignored',
    },
  ),
  define(
    'socket.connection.setup.timeout.ms',
    'LONG',
    10000,
    'How long to wait for a connection to another broker.',
    {
      standing: 'ignored',
    },
  ),
  define(
    'socket.connection.setup.timeout.max.ms',
    'LONG',
    30000,
    'The longest wait for a connection to another broker after several failures.',
    { standing: 'ignored' },
  ),
  define(
    'connections.max.idle.ms',
    'LONG',
    600000,
    'A connection on which nothing was sent or asked for this long is closed.',
  ),
  define('max.connections', 'INT', 2147483647, 'Connections open at once; one more is refused.', {
    valid: atLeast(0),
    update: 'cluster-wide',
  }),
  define('max.connections.per.ip', 'INT', 2147483647, 'Connections open at once from one address.', {
    valid: atLeast(0),
    update: 'cluster-wide',
  }),
  define(
    'max.connections.per.ip.overrides',
    'STRING',
    '',
    'Other limits than max.connections.per.ip for some addresses: host:number, separated by commas.',
    { update: 'cluster-wide' },
  ),
  define(
    'max.connection.creation.rate',
    'INT',
    2147483647,
    'Connections accepted a second; beyond that accepting slows down.',
    {
      valid: atLeast(0),
      update: 'cluster-wide',
      standing: 'ignored',
    },
  ),
  define('queued.max.requests', 'INT', 500, 'Requests that wait before reading from the network pauses.', {
    valid: atLeast(1),
    standing: 'ignored',
  }),
  define(
    'queued.max.request.bytes',
    'LONG',
    -1,
    'Bytes of requests, of all connections, that arrived and wait before reading from the network pauses; -1 is 256 MiB.',
  ),
  define(
    'request.timeout.ms',
    'INT',
    30000,
    'How long a request to another broker may take; there is one broker.',
    {
      standing: 'ignored',
    },
  ),
  define(
    'num.network.threads',
    'INT',
    3,
    'Threads that read and write sockets. One event loop does it here.',
    {
      valid: atLeast(1),
      update: 'cluster-wide',
      standing: 'ignored',
    },
  ),
  define('num.io.threads', 'INT', 8, 'Threads that handle requests. One event loop does it here.', {
    valid: atLeast(1),
    update: 'cluster-wide',
    standing: 'ignored',
  }),
  define('background.threads', 'INT', 10, 'Threads for background work. One event loop does it here.', {
    valid: atLeast(1),
    update: 'cluster-wide',
    standing: 'ignored',
  }),
  define('config.providers', 'LIST', '', 'Sources from which values of settings are looked up.', {
    update: 'cluster-wide',
    standing: 'absent',
  }),
  define(
    'metric.reporters',
    'LIST',
    '',
    'Java classes that Kafka reports its metrics through. None can run here.',
    {
      update: 'cluster-wide',
      standing: 'ignored',
    },
  ),
  define('metrics.num.samples', 'INT', 2, 'Samples kept for a metric.', {
    valid: atLeast(1),
    standing: 'ignored',
  }),
  define('metrics.sample.window.ms', 'LONG', 30000, 'Time that a sample of a metric covers.', {
    valid: atLeast(1),
    standing: 'ignored',
  }),
  define('metrics.recording.level', 'STRING', 'INFO', 'How much is measured.', { standing: 'ignored' }),
  define('kafka.metrics.polling.interval.secs', 'INT', 10, 'How often Kafka polls its reporters.', {
    valid: atLeast(1),
    standing: 'ignored',
  }),
  define(
    'kafka.metrics.reporters',
    'LIST',
    '',
    'Java classes of the older kind that Kafka reports its metrics through.',
    {
      standing: 'ignored',
    },
  ),
  define('telemetry.max.bytes', 'INT', 1048576, 'The largest report of client metrics taken.', {
    valid: atLeast(1),
    standing: 'ignored',
  }),
  define(
    'fetch.max.bytes',
    'INT',
    57671680,
    'The most bytes that one Fetch is answered with, whatever it asks for.',
    {
      valid: atLeast(1024),
    },
  ),
  define(
    'max.request.partition.size.limit',
    'INT',
    2000,
    'The most partitions in one answer to DescribeTopicPartitions; the client asks again for the rest.',
    { valid: atLeast(1) },
  ),
  define('max.incremental.fetch.session.cache.slots', 'INT', 1000, 'Fetch sessions remembered at once.', {
    valid: atLeast(0),
  }),
] as const;
