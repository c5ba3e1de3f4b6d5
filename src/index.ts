/**
 * A broker inside your own program, for tests above all:
 *
 * ```ts
 * import { createBroker } from 'odradek';
 *
 * const broker = await createBroker({ listen: '127.0.0.1:0', memory: true });
 * const kafka = new Kafka({ brokers: [broker.bootstrapServers] });
 * // ...
 * await broker.stop();
 * ```
 */
import { hostname } from 'node:os';
import { configFromSettings } from './config.ts';
import { Gateway } from './gateway/gateway.ts';
import { createLog } from './telemetry/log.ts';
import { type Clock, SystemClock } from './util/clock.ts';
import type { LogLevel } from './util/log.ts';

export { type Clock, type Timer, VirtualClock } from './util/clock.ts';
export type { LogLevel } from './util/log.ts';

export interface BrokerOptions {
  /** HOST:PORT to listen on, or several; port 0 takes a free one. `127.0.0.1:0` unless set here or in `config`. */
  readonly listen?: string | readonly string[];
  /** Keep everything in memory; nothing is written to disk. False unless set. */
  readonly memory?: boolean;
  /** Where the data lies when it is not in memory; `./data` unless set here or in `config`. */
  readonly data?: string;
  /** HOST:PORT of the HTTP side (health, metrics, status), on loopback; off unless set. */
  readonly admin?: string;
  /** Settings by Kafka's names, as in server.properties. */
  readonly config?: Readonly<Record<string, string>>;
  /** What of the broker's log is shown; `error` unless set. */
  readonly logLevel?: LogLevel;
  /** Takes the log's lines, JSON each; standard error unless set. */
  readonly logTo?: (line: string) => void;
  /** Where the broker's time comes from: a VirtualClock lets a test move it. The machine's clock unless set. */
  readonly clock?: Clock;
  /** The broker could not go on (a failed disk, a fault of ours). Unless set, the error is thrown where nobody catches it. */
  readonly onFatal?: (error: Error) => void;
}

export interface Broker {
  /** Host of the first listener, as clients are told. */
  readonly host: string;
  /** Port of the first listener, as clients are told. */
  readonly port: number;
  /** Every listener as `host:port`, separated by commas: what clients call bootstrap servers or brokers. */
  readonly bootstrapServers: string;
  /** Port of the HTTP side, where there is one. */
  readonly adminPort: number | undefined;
  readonly clusterId: string;
  readonly nodeId: number;
  /** Finishes what is under way, makes everything durable, closes. Safe to call again. */
  stop(): Promise<void>;
}

/** Starts a broker; resolves when clients can connect. Rejects, with nothing left open, where it cannot start. */
export async function createBroker(options: BrokerOptions = {}): Promise<Broker> {
  const settings: Record<string, string> = { ...options.config };
  if (options.data !== undefined) settings['log.dirs'] = options.data;
  const listen =
    options.listen === undefined
      ? settings.listeners === undefined
        ? ['127.0.0.1:0']
        : []
      : typeof options.listen === 'string'
        ? [options.listen]
        : options.listen;
  const config = configFromSettings(settings, listen, {
    memory: options.memory ?? false,
    admin: options.admin,
    clusterId: undefined,
    hostName: hostname(),
  });
  const log = createLog({
    level: options.logLevel ?? 'error',
    readable: false,
    write: options.logTo ?? ((line) => void process.stderr.write(line)),
  });
  for (const { level, message } of config.remarks) log[level]({}, message);
  const gateway = await Gateway.start({
    config,
    clock: options.clock ?? new SystemClock(),
    log,
    onFatal: options.onFatal ?? throwLater,
  });
  const addresses = gateway.listeners.map((listener) => {
    const { advertisedHost: host, advertisedPort: port } = listener;
    return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  });
  const first = gateway.listeners[0]!;
  return {
    host: first.advertisedHost,
    port: first.advertisedPort,
    bootstrapServers: addresses.join(','),
    adminPort: gateway.adminPort,
    clusterId: gateway.clusterId,
    nodeId: gateway.nodeId,
    stop: () => gateway.stop(),
  };
}

function throwLater(error: Error): void {
  setImmediate(() => {
    throw error;
  });
}
