import { describe, expect, it } from 'vitest';
import { parseCommandLine, UsageError } from '../src/command-line.ts';
import { connectionSettings, loadConfig, StartConfigError, settingOfVariable } from '../src/config.ts';

interface Sources {
  readonly args?: readonly string[];
  readonly environment?: Record<string, string>;
  readonly file?: string;
}

function load({ args = [], environment = {}, file }: Sources) {
  return loadConfig({
    commandLine: parseCommandLine(file === undefined ? args : ['--config', 'server.properties', ...args]),
    environment,
    readFile: (path) => {
      if (file === undefined || path !== 'server.properties')
        throw new Error(`ENOENT: no such file, open '${path}'`);
      return file;
    },
    hostName: 'machine',
  });
}

describe('defaults', () => {
  it('are a broker on localhost with its data in ./data', () => {
    const config = load({});
    expect(config.listeners.plans.map((plan) => plan.address)).toEqual([
      { name: 'PLAINTEXT', securityProtocol: 'PLAINTEXT', host: 'localhost', port: 9092 },
    ]);
    expect(config.dataDirectory).toBe('./data');
    expect(config.memory).toBe(false);
    expect(config.admin).toBeUndefined();
    expect(config.broker.int('node.id')).toBe(1);
    expect(config.broker.int('group.initial.rebalance.delay.ms')).toBe(0);
    expect(config.remarks).toEqual([]);
  });
});

describe('precedence', () => {
  it('is file, then environment, then --set, then flags', () => {
    const file = 'num.partitions=2\nnode.id=2\nlog.dirs=/file\ncompression.type=gzip\n';
    const environment = { KAFKA_NUM_PARTITIONS: '3', KAFKA_NODE_ID: '3', KAFKA_LOG_DIRS: '/environment' };
    const args = ['--set', 'node.id=4', '--set', 'log.dirs=/set', '--data', '/flag'];
    const { broker, dataDirectory } = load({ file, environment, args });
    expect(broker.string('compression.type')).toBe('gzip');
    expect(broker.int('num.partitions')).toBe(3);
    expect(broker.int('node.id')).toBe(4);
    expect(dataDirectory).toBe('/flag');
  });

  it('lets log.dirs win over log.dir', () => {
    expect(load({ args: ['--set', 'log.dir=/a'] }).dataDirectory).toBe('/a');
    expect(load({ args: ['--set', 'log.dir=/a', '--set', 'log.dirs=/b'] }).dataDirectory).toBe('/b');
  });
});

describe('environment variables', () => {
  it('are named by the rule of the official image', () => {
    expect(settingOfVariable('KAFKA_LOG_RETENTION_MS')).toBe('log.retention.ms');
    expect(settingOfVariable('KAFKA_MY__KEY___WITH_ALL')).toBe('my_key-with.all');
  });

  it('that are no settings are passed over, unknown ones warned of', () => {
    const { remarks } = load({
      environment: {
        KAFKA_HEAP_OPTS: '-Xmx1g',
        KAFKA_OPTS: '-D',
        KAFKA_JMX_PORT: '9999',
        KAFKA_LOG4J_ROOT_LOGLEVEL: 'INFO',
        KAFKA_HOME: '/opt',
        KAFKA_PORT_9092_TCP: 'tcp://10.0.0.1:9092',
        KAFKA_SERVICE_HOST: '10.0.0.1',
        KAFKA_NO_SUCH_KEY: '1',
        PATH: '/bin',
      },
    });
    expect(remarks).toEqual([
      { level: 'warn', message: 'unknown setting no.such.key: it has no effect (from KAFKA_NO_SUCH_KEY)' },
    ]);
  });

  it('of the image in KRaft mode start a broker', () => {
    const config = load({
      environment: {
        KAFKA_NODE_ID: '1',
        KAFKA_PROCESS_ROLES: 'broker,controller',
        KAFKA_LISTENERS: 'PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093',
        KAFKA_ADVERTISED_LISTENERS: 'PLAINTEXT://localhost:9092',
        KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
        KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
        KAFKA_CONTROLLER_QUORUM_VOTERS: '1@localhost:9093',
        KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
        CLUSTER_ID: '4L6g3nShT-eMCtK--X86sw',
      },
    });
    expect(config.listeners.plans.map((plan) => plan.address.port)).toEqual([9092]);
    expect(config.remarks.filter((remark) => remark.level === 'warn')).toEqual([]);
    expect(config.remarks.map((remark) => remark.message).join('\n')).toContain('listener CONTROLLER');
    expect(config.remarks.map((remark) => remark.message).join('\n')).toContain('CLUSTER_ID is not used');
  });

  it('with advertised listeners alone listen on every interface at their ports', () => {
    const { listeners } = load({
      environment: {
        KAFKA_ADVERTISED_LISTENERS: 'PLAINTEXT://kafka:29092,PLAINTEXT_HOST://localhost:9092',
        KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT',
      },
    });
    expect(
      listeners.plans.map(({ address, advertisedHost }) => [address.host, address.port, advertisedHost]),
    ).toEqual([
      ['0.0.0.0', 29092, 'kafka'],
      ['0.0.0.0', 9092, 'localhost'],
    ]);
  });
});

describe('flags', () => {
  it('--listen replaces the listeners of other sources, and may be given again', () => {
    const { listeners } = load({
      environment: { KAFKA_LISTENERS: 'A://localhost:1', KAFKA_ADVERTISED_LISTENERS: 'A://localhost:1' },
      args: [
        '--listen',
        '127.0.0.1:0',
        '--listen',
        '[::1]:19092',
        '--advertise',
        'here:1',
        '--advertise',
        '[::2]:2',
      ],
    });
    expect(
      listeners.plans.map(({ address, advertisedHost, advertisedPort }) => [
        address.name,
        address.host,
        address.port,
        advertisedHost,
        advertisedPort,
      ]),
    ).toEqual([
      ['PLAINTEXT', '127.0.0.1', 0, 'here', 1],
      ['PLAINTEXT_2', '::1', 19092, '::2', 2],
    ]);
  });

  it('--advertise alone is for the first listener', () => {
    const { listeners } = load({
      file: 'listeners=INSIDE://0.0.0.0:9092\nlistener.security.protocol.map=INSIDE:PLAINTEXT',
      args: ['--advertise', 'broker.example:9092'],
    });
    expect(listeners.plans[0]!.advertisedHost).toBe('broker.example');
  });

  it('--memory, --admin, --accept-loss', () => {
    const config = load({ args: ['--memory', '--admin', 'localhost:9644', '--accept-loss'] });
    expect(config.memory).toBe(true);
    expect(config.admin).toEqual({ host: 'localhost', port: 9644 });
    expect(config.broker.boolean('rmq.commitlog.accept.loss')).toBe(true);
  });

  const badUsage: readonly (readonly string[])[] = [
    ['--nothing'],
    ['positional'],
    ['--listen'],
    ['--set', 'novalue'],
    ['--log-level', 'loud'],
    ['--listen', 'a:1', '--advertise', 'b:1', '--advertise', 'c:1'],
  ];
  it.each(badUsage)('refuses %s %s', (...args) => {
    expect(() => parseCommandLine(args)).toThrow(UsageError);
  });
});

describe('mistakes', () => {
  const mistakes: readonly (readonly [string, Sources, string])[] = [
    ['a bad value', { environment: { KAFKA_NUM_PARTITIONS: 'many' } }, '(from KAFKA_NUM_PARTITIONS)'],
    ['a value out of range', { args: ['--set', 'num.partitions=0'] }, 'at least 1 (from --set)'],
    ['a bad value in a file', { file: 'node.id=-7' }, '(from server.properties)'],
    ['a missing file', { args: ['--config', 'nowhere'] }, 'nowhere'],
    ['a malformed file', { file: 'a=\\u12' }, 'server.properties'],
    ['an admin address that others reach', { args: ['--admin', '0.0.0.0:9644'] }, 'only a loopback address'],
    ['several directories', { args: ['--set', 'log.dirs=/a,/b'] }, 'only one'],
    ['node.id and broker.id apart', { args: ['--set', 'node.id=1', '--set', 'broker.id=2'] }, 'broker.id'],
    ['a listener that speaks TLS', { args: ['--set', 'listeners=SSL://localhost:9093'] }, 'only PLAINTEXT'],
    ['a bad override', { args: ['--set', 'max.connections.per.ip.overrides=a'] }, 'ADDRESS:NUMBER'],
  ];
  it.each(mistakes)('%s is an error that says where it stands', (_name, sources, message) => {
    expect(() => load(sources)).toThrow(StartConfigError);
    expect(() => load(sources)).toThrow(message);
  });
});

describe('connectionSettings', () => {
  it('come from the settings of those names', () => {
    const { broker } = load({
      args: [
        'socket.request.max.bytes=1000000',
        'queued.max.request.bytes=2000000',
        'max.connections=7',
        'max.connections.per.ip=3',
        'max.connections.per.ip.overrides=10.0.0.1:5, ::1:6',
        'connections.max.idle.ms=-1',
        'rmq.connection.max.requests.in.flight=9',
        'rmq.shutdown.timeout.ms=11',
      ].flatMap((setting) => ['--set', setting]),
    });
    expect(connectionSettings(broker)).toMatchObject({
      maxRequestBytes: 1_000_000,
      maxBufferedRequestBytes: 2_000_000,
      maxConnections: 7,
      maxConnectionsPerAddress: 3,
      maxConnectionsByAddress: new Map([
        ['10.0.0.1', 5],
        ['::1', 6],
      ]),
      maxIdleMs: Number.POSITIVE_INFINITY,
      maxRequestsInFlight: 9,
      drainTimeoutMs: 11,
    });
  });

  it('bound the memory of requests where Kafka does not', () => {
    expect(connectionSettings(load({}).broker).maxBufferedRequestBytes).toBe(256 * 1024 * 1024);
  });
});
