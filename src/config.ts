/**
 * Where settings come from, and which wins: defaults, then the file of --config, then KAFKA_* environment variables by the
 * rule of Kafka's official image, then --set, then flags. Knows every source and no setting's meaning but the addresses'.
 */
import type { CommandLine } from './command-line.ts';
import type { ConnectionSettings } from './connection/connection-settings.ts';
import { defaultConnectionSettings } from './connection/connection-settings.ts';
import {
  isLoopback,
  type ListenerConfig,
  ListenerConfigError,
  parseEndpoint,
  parseHostPort,
  parseListeners,
} from './connection/listener-config.ts';
import { BrokerConfig, brokerConfigDefinition } from './services/configuration/broker-config.ts';
import { ConfigError, parseConfig } from './services/configuration/config-definition.ts';
import { parseProperties } from './util/properties.ts';

/** Settings that the broker cannot start with. The message is for the operator and says where the bad one came from. */
export class StartConfigError extends Error {
  override readonly name = 'StartConfigError';
}

/** Something to tell the operator once the log is there. */
export interface StartRemark {
  readonly level: 'info' | 'warn';
  readonly message: string;
}

/** All that the gateway needs to know to start. */
export interface StartConfig {
  readonly broker: BrokerConfig;
  readonly listeners: ListenerConfig;
  readonly memory: boolean;
  readonly dataDirectory: string;
  readonly admin: { readonly host: string; readonly port: number } | undefined;
  readonly remarks: readonly StartRemark[];
}

export interface ConfigSources {
  readonly commandLine: CommandLine;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  readonly hostName: string;
}

/** One value and where it was read. */
interface Given {
  readonly text: string;
  readonly source: string;
}

type GivenSettings = Map<string, Given>;

/** Reads all sources. Throws StartConfigError. */
export function loadConfig(sources: ConfigSources): StartConfig {
  const { commandLine, environment } = sources;
  const given: GivenSettings = new Map();
  if (commandLine.configFile !== undefined) readConfigFile(commandLine.configFile, sources.readFile, given);
  readEnvironment(environment, given);
  for (const [key, text] of commandLine.set) given.set(key, { text, source: '--set' });
  applyFlags(commandLine, given);
  return checkConfig(given, {
    memory: commandLine.memory,
    admin: commandLine.admin,
    clusterId: environment.CLUSTER_ID || undefined,
    hostName: sources.hostName,
  });
}

export interface StartExtras {
  readonly memory: boolean;
  /** HOST:PORT. */
  readonly admin: string | undefined;
  readonly clusterId: string | undefined;
  readonly hostName: string;
}

/** Settings by name (from a program instead of a command line), checked. Throws StartConfigError. */
export function configFromSettings(
  settings: Readonly<Record<string, string>>,
  listen: readonly string[],
  extras: StartExtras,
): StartConfig {
  const given: GivenSettings = new Map();
  for (const [key, text] of Object.entries(settings)) given.set(key, { text, source: 'config' });
  if (listen.length > 0) setListeners(listen, [], 'listen', given);
  return checkConfig(given, extras);
}

function readConfigFile(path: string, readFile: (path: string) => string, given: GivenSettings): void {
  let properties: Map<string, string>;
  try {
    properties = parseProperties(readFile(path));
  } catch (error) {
    throw new StartConfigError(`cannot read the settings in ${path}: ${(error as Error).message}`);
  }
  for (const [key, text] of properties) given.set(key, { text, source: path });
}

/** Variables of the official images that are no settings. */
const notSettings =
  /^KAFKA_(VERSION|HOME|HEAP_OPTS|OPTS|JVM_PERFORMANCE_OPTS|GC_LOG_OPTS|DEBUG|LOG4J_.*|JMX_.*|TOOLS_LOG4J_LOGLEVEL|SERVICE_.*|PORT|PORT_.*_(TCP|UDP).*|ADVERTISED_HOST_NAME|CFG_.*)$/;
const prefix = 'KAFKA_';

/** KAFKA_LOG_RETENTION_MS to log.retention.ms: `_` is a dot, `__` an underscore, `___` a dash. */
export function settingOfVariable(name: string): string {
  return name
    .slice(prefix.length)
    .toLowerCase()
    .replace(/___|__|_/g, (run) => (run.length === 1 ? '.' : run.length === 2 ? '_' : '-'));
}

function readEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  given: GivenSettings,
): void {
  for (const name of Object.keys(environment).sort()) {
    const text = environment[name];
    if (!name.startsWith(prefix) || text === undefined || notSettings.test(name)) continue;
    given.set(settingOfVariable(name), { text, source: name });
  }
  const advertised = environment.KAFKA_ADVERTISED_LISTENERS;
  if (advertised !== undefined && !given.has('listeners')) {
    // As the official image does it: every interface, at the advertised ports.
    const text = advertised.replace(/:\/\/(\[[^\]]*\]|[^:,]*):/g, '://0.0.0.0:');
    given.set('listeners', { text, source: 'KAFKA_ADVERTISED_LISTENERS' });
  }
}

function applyFlags(commandLine: CommandLine, given: GivenSettings): void {
  if (commandLine.listen.length > 0) {
    setListeners(commandLine.listen, commandLine.advertise, '--listen', given);
  } else if (commandLine.advertise.length > 0) {
    const { host, port } = fromOperator(() => parseHostPort(commandLine.advertise[0]!, '--advertise'));
    const first = (given.get('listeners')?.text ?? defaultText('listeners')).split(',')[0]!;
    const { name } = fromOperator(() => parseEndpoint(first, 'listeners'));
    given.set('advertised.listeners', {
      text: `${name}://${withBrackets(host)}:${port}`,
      source: '--advertise',
    });
  }
  if (commandLine.dataDirectory !== undefined) {
    given.set('log.dirs', { text: commandLine.dataDirectory, source: '--data' });
  }
  if (commandLine.acceptLoss) {
    given.set('rmq.commitlog.accept.loss', { text: 'true', source: '--accept-loss' });
  }
  if (commandLine.virtualClock) {
    given.set('rmq.virtual.clock', { text: 'true', source: '--virtual-clock' });
  }
}

/** Addresses without names: the first is PLAINTEXT, the others PLAINTEXT_2 and on. They replace what other sources say. */
function setListeners(
  listen: readonly string[],
  advertise: readonly string[],
  source: string,
  given: GivenSettings,
): void {
  const names = listen.map((_text, index) => (index === 0 ? 'PLAINTEXT' : `PLAINTEXT_${index + 1}`));
  const endpoints = (texts: readonly string[], setting: string): string =>
    texts
      .map((text, index) => {
        const { host, port } = fromOperator(() => parseHostPort(text, setting));
        return `${names[index]}://${withBrackets(host)}:${port}`;
      })
      .join(',');
  given.set('listeners', { text: endpoints(listen, source), source });
  given.delete('advertised.listeners');
  if (advertise.length > 0) {
    given.set('advertised.listeners', { text: endpoints(advertise, '--advertise'), source: '--advertise' });
  }
  if (names.length > 1) {
    const map = names.map((name) => `${name}:PLAINTEXT`).join(',');
    given.set('listener.security.protocol.map', { text: map, source });
  }
}

function withBrackets(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

function checkConfig(given: GivenSettings, extras: StartExtras): StartConfig {
  for (const [key, { text, source }] of given) {
    const definition = brokerConfigDefinition(key);
    if (definition === undefined) continue;
    fromOperator(() => parseConfig(definition, text), source);
  }
  const broker = fromOperator(
    () => new BrokerConfig(new Map([...given].map(([key, { text }]) => [key, text]))),
  );
  const remarks: StartRemark[] = broker.remarks.map(({ level, key, message }) => ({
    level,
    message: `${message} (from ${given.get(key)?.source ?? 'the settings'})`,
  }));

  const listeners = fromOperator(() =>
    parseListeners({
      listeners: broker.list('listeners'),
      advertisedListeners: broker.list('advertised.listeners'),
      securityProtocolMap: broker.string('listener.security.protocol.map') ?? '',
      controllerListenerNames: broker.list('controller.listener.names'),
      interBrokerListenerName: broker.string('inter.broker.listener.name'),
      hostName: extras.hostName,
    }),
  );
  for (const message of listeners.warnings) remarks.push({ level: 'warn', message });
  if (listeners.controllers.length > 0) {
    remarks.push({
      level: 'info',
      message: `listener ${listeners.controllers.join(', ')} is for controllers and is not opened: the one process needs none`,
    });
  }

  if (extras.clusterId !== undefined) {
    remarks.push({
      level: 'info',
      message: 'CLUSTER_ID is not used: the cluster id belongs to the data and is made with it',
    });
  }

  const directories = broker.list('log.dirs').length > 0 ? broker.list('log.dirs') : broker.list('log.dir');
  const dataDirectory = directories[0];
  if (dataDirectory === undefined) throw new StartConfigError('log.dirs: there must be one directory');
  if (directories.length > 1) {
    throw new StartConfigError(
      `log.dirs names ${directories.length} directories; all data lies in one log, so there can be only one`,
    );
  }
  const admin =
    extras.admin === undefined ? undefined : fromOperator(() => parseHostPort(extras.admin!, '--admin'));
  if (admin !== undefined && !isLoopback(admin.host)) {
    throw new StartConfigError(
      `--admin ${extras.admin}: only a loopback address is served (localhost, 127.0.0.1, ::1), since the HTTP side asks nobody who they are`,
    );
  }
  connectionSettings(broker);
  return {
    broker,
    listeners,
    memory: extras.memory,
    dataDirectory,
    admin,
    remarks,
  };
}

const defaultBufferedRequestBytes = 256 * 1024 * 1024;

/** The connection layer's limits from the settings in force. Throws StartConfigError. */
export function connectionSettings(broker: BrokerConfig): ConnectionSettings {
  const buffered = broker.long('queued.max.request.bytes');
  const idleMs = broker.long('connections.max.idle.ms');
  return {
    ...defaultConnectionSettings,
    maxRequestBytes: broker.int('socket.request.max.bytes'),
    maxBufferedRequestBytes: buffered > 0 ? buffered : defaultBufferedRequestBytes,
    maxRequestsInFlight: broker.int('rmq.connection.max.requests.in.flight'),
    maxFetchesInFlight: broker.int('rmq.connection.max.fetches.in.flight'),
    maxPendingAnswerBytes: broker.long('rmq.connection.max.pending.answer.bytes'),
    maxConnections: broker.int('max.connections'),
    maxConnectionsPerAddress: broker.int('max.connections.per.ip'),
    maxConnectionsByAddress: addressOverrides(broker.string('max.connections.per.ip.overrides') ?? ''),
    maxIdleMs: idleMs < 0 ? Number.POSITIVE_INFINITY : idleMs,
    listenBacklog: broker.int('socket.listen.backlog.size'),
    drainTimeoutMs: broker.int('rmq.shutdown.timeout.ms'),
  };
}

/** `address:limit,address:limit`. */
function addressOverrides(text: string): ReadonlyMap<string, number> {
  const limits = new Map<string, number>();
  for (const entry of text.split(',')) {
    if (entry.trim() === '') continue;
    const at = entry.lastIndexOf(':');
    const limit = Number(entry.slice(at + 1));
    if (at < 1 || !Number.isSafeInteger(limit) || limit < 0) {
      throw new StartConfigError(`max.connections.per.ip.overrides: '${entry.trim()}' is not ADDRESS:NUMBER`);
    }
    limits.set(entry.slice(0, at).trim(), limit);
  }
  return limits;
}

function defaultText(key: string): string {
  return brokerConfigDefinition(key)?.defaultText ?? '';
}

/** Whatever is wrong with what the operator wrote becomes one error that says where it stands. */
function fromOperator<T>(read: () => T, source?: string): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError) && !(error instanceof ListenerConfigError)) throw error;
    throw new StartConfigError(source === undefined ? error.message : `${error.message} (from ${source})`);
  }
}
