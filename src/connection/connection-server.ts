/**
 * All listeners and connections of a broker: accepts within the limits, ends what is idle or stalled, drains. Knows nothing
 * of what requests mean.
 */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { AnyHandler, ListenerInfo } from '../handlers/handler.ts';
import type { AssertionFailure } from '../util/assert.ts';
import type { Clock, Timer } from '../util/clock.ts';
import type { Log } from '../util/log.ts';
import { Connection, type ConnectionHost, type RequestQuotas } from './connection.ts';
import { ConnectionCounters } from './connection-counters.ts';
import type { ConnectionSettings } from './connection-settings.ts';
import { FrameMemory } from './frame-memory.ts';
import { type ListenAddress, Listener } from './listener.ts';
import { AnswerWriter, FlushTurn } from './output.ts';
import { Refusals } from './refusals.ts';
import { RequestRouter } from './request-router.ts';
import { adoptSocket } from './socket-adoption.ts';

/** How often all connections are looked at, at most; more often where the idle limit is short. */
const scanIntervalMs = 5_000;
const shortestScanIntervalMs = 100;
/** A frame that holds budget while others wait must arrive at least this fast, from this time on. */
const slowestFrameBytesPerSecond = 64 * 1024;
const stallGraceMs = 10_000;
/** A connection that is being closed and does not end within these scans is cut off. */
const closingScans = 3;
/** Out of descriptors, nothing is accepted for so long; then as long as there are none to spare. */
const acceptPauseMs = 1_000;
/** File descriptors left to the storage engine and the rest of the process. */
const reservedFileDescriptors = 256;

/** How fast connections may come. */
export interface ConnectionQuotas {
  /** Counts a new connection of an address: how long it is held, unread, before it is closed; 0 where it may stay (KIP-612). */
  connectionWaitMs(address: string): number;
}

export interface ConnectionServerOptions {
  readonly settings: ConnectionSettings;
  readonly handlers: readonly AnyHandler[];
  readonly clock: Clock;
  readonly log: Log;
  /** Something to wait for before a request of this API is started, or undefined. */
  readonly admit?: (apiKey: number) => Promise<void> | undefined;
  readonly brokenInvariant: (error: AssertionFailure) => void;
  readonly quotas?: RequestQuotas & ConnectionQuotas;
  /** What the process may have open; the system's own limit where it is not given. */
  readonly fileDescriptorLimit?: number;
}

/** An address to listen on and what clients of it are told to connect to. */
export interface ListenerPlan {
  readonly address: ListenAddress;
  readonly advertisedHost: string;
  /** Undefined for the port that is really listened on. */
  readonly advertisedPort: number | undefined;
}

export class ConnectionServer implements ConnectionHost {
  settings: ConnectionSettings;
  readonly router: RequestRouter;
  readonly memory: FrameMemory;
  readonly writer = new AnswerWriter();
  readonly flushTurn = new FlushTurn();
  readonly counters = new ConnectionCounters();
  readonly refusals: Refusals;
  readonly log: Log;
  readonly admit: (apiKey: number) => Promise<void> | undefined;
  readonly brokenInvariant: (error: AssertionFailure) => void;
  readonly clock: Clock;
  readonly quotas: (RequestQuotas & ConnectionQuotas) | undefined;
  private readonly held = new Set<Socket>();
  private readonly listeners: Listener[] = [];
  private readonly connections = new Set<Connection>();
  private readonly connectionsByAddress = new Map<string, number>();
  private readonly fileDescriptorLimit: number;
  private acceptTimer: Timer | undefined;
  private lastConnectionId = 0;
  private scan = 0;
  private scanTimer: Timer | undefined;
  private isDraining = false;
  private whenEmpty: (() => void) | undefined;

  constructor(options: ConnectionServerOptions) {
    this.settings = options.settings;
    this.router = new RequestRouter(options.handlers);
    this.memory = new FrameMemory(options.settings.maxBufferedRequestBytes);
    this.clock = options.clock;
    this.quotas = options.quotas;
    this.log = options.log;
    this.refusals = new Refusals(options.log, options.clock);
    this.admit = options.admit ?? (() => undefined);
    this.brokenInvariant = options.brokenInvariant;
    this.fileDescriptorLimit = options.fileDescriptorLimit ?? fileDescriptorLimit();
  }

  /** Opens all listeners, or none. Throws ListenError. Returns what each is, in the order given. */
  async listen(plans: readonly ListenerPlan[]): Promise<readonly ListenerInfo[]> {
    const opened: ListenerInfo[] = [];
    try {
      for (const plan of plans) {
        const listener = new Listener(plan.address);
        this.listeners.push(listener);
        let info: ListenerInfo | undefined;
        const early: Socket[] = [];
        const accepted = (socket: Socket): void => {
          if (info === undefined) early.push(socket);
          else this.accept(socket, info);
        };
        await listener.open(this.settings.listenBacklog, accepted, (error) => this.acceptFailed(error));
        info = {
          name: plan.address.name,
          securityProtocol: plan.address.securityProtocol,
          advertisedHost: plan.advertisedHost,
          advertisedPort: plan.advertisedPort ?? listener.port,
        };
        for (const socket of early) this.accept(socket, info);
        opened.push(info);
      }
    } catch (error) {
      await this.stopAccepting();
      throw error;
    }
    this.scheduleScan();
    return opened;
  }

  /** The port that is really listened on, by the order of `listen`. */
  port(index: number): number {
    return this.listeners[index]?.port ?? 0;
  }

  get openConnections(): number {
    return this.connections.size;
  }

  /** Requests started and not answered, of all connections. */
  get requestsInFlight(): number {
    let sum = 0;
    for (const connection of this.connections) sum += connection.requestsInFlight;
    return sum;
  }

  /** Every open connection, for whoever shows them. */
  list(): Iterable<Connection> {
    return this.connections;
  }

  private accept(accepted: Socket, listener: ListenerInfo): void {
    this.counters.connectionsAccepted += 1;
    const remoteAddress = plainAddress(accepted.remoteAddress ?? '');
    const refusal = this.refusalOf(remoteAddress);
    if (refusal !== undefined) {
      this.counters.connectionsClosed += 1;
      this.refusals.note(
        refusal.kind,
        { client: `${remoteAddress}:${accepted.remotePort}`, listener: listener.name },
        `refused a connection: ${refusal.reason}`,
      );
      accepted.destroy();
      if (refusal.kind === 'file-descriptors') this.pauseAccepting();
      return;
    }
    const waitMs = this.quotas?.connectionWaitMs(remoteAddress) ?? 0;
    if (waitMs > 0) {
      this.hold(accepted, waitMs);
      return;
    }
    this.connectionsByAddress.set(remoteAddress, (this.connectionsByAddress.get(remoteAddress) ?? 0) + 1);
    this.lastConnectionId += 1;
    adoptSocket(accepted, (socket) => {
      const connection = new Connection(
        this,
        this.lastConnectionId,
        socket,
        listener,
        remoteAddress,
        this.scan,
      );
      this.connections.add(connection);
      return (buffer, length) => connection.bytes(buffer, length);
    });
  }

  /** Keeps a connection that came too soon from being tried again at once; nothing of it is read. */
  private hold(socket: Socket, waitMs: number): void {
    const close = (): void => {
      timer.cancel();
      socket.destroy();
      if (this.held.delete(socket)) this.counters.connectionsClosed += 1;
    };
    const timer = this.clock.after(waitMs, close);
    this.held.add(socket);
    socket.on('error', close);
    socket.on('close', close);
  }

  private refusalOf(remoteAddress: string): { kind: string; reason: string } | undefined {
    if (this.isDraining) return { kind: 'draining', reason: 'the broker is stopping' };
    const settings = this.settings;
    if (this.connections.size >= settings.maxConnections) {
      return { kind: 'max-connections', reason: `max.connections=${settings.maxConnections} are open` };
    }
    if (!this.hasDescriptors()) {
      return {
        kind: 'file-descriptors',
        reason: `${this.connections.size} are open and the process may have ${this.fileDescriptorLimit} file descriptors (ulimit -n)`,
      };
    }
    const limit = settings.maxConnectionsByAddress.get(remoteAddress) ?? settings.maxConnectionsPerAddress;
    if ((this.connectionsByAddress.get(remoteAddress) ?? 0) >= limit) {
      return {
        kind: 'max-connections-per-ip',
        reason: `${limit} are open from ${remoteAddress} (max.connections.per.ip)`,
      };
    }
    return undefined;
  }

  /** Enough for another connection without those of the log. */
  private hasDescriptors(): boolean {
    return this.connections.size + this.held.size < this.fileDescriptorLimit - reservedFileDescriptors;
  }

  /** Accepts nothing for a while, so that a storm of connections costs neither descriptors nor time. */
  private pauseAccepting(): void {
    if (this.acceptTimer !== undefined || this.isDraining) return;
    for (const listener of this.listeners) listener.pause();
    this.log.warn(
      { connections: this.connections.size, file_descriptors: this.fileDescriptorLimit },
      'accepts no connections until there are file descriptors to spare (ulimit -n)',
    );
    this.resumeLater();
  }

  private resumeLater(): void {
    this.acceptTimer = this.clock.after(acceptPauseMs, () => {
      if (!this.hasDescriptors()) this.resumeLater();
      else void this.resumeAccepting();
    });
  }

  private async resumeAccepting(): Promise<void> {
    try {
      for (const listener of this.listeners) await listener.resume();
    } catch (error) {
      // Without a descriptor for the listening socket, or somebody else has the port for now.
      this.log.error({ error: (error as Error).message }, 'cannot accept connections again yet');
      this.resumeLater();
      return;
    }
    this.acceptTimer = undefined;
    this.log.info({ connections: this.connections.size }, 'accepts connections again');
    if (this.isDraining) await this.stopAccepting();
  }

  /** The system has no descriptor for another connection; it was closed unseen. Others go on. */
  private acceptFailed(error: Error): void {
    this.pauseAccepting();
    this.refusals.note(
      'accept',
      { error: error.message },
      'refused a connection: the system could not accept it',
    );
  }

  currentScan(): number {
    return this.scan;
  }

  connectionClosed(connection: Connection): void {
    this.counters.connectionsClosed += 1;
    this.connections.delete(connection);
    const left = (this.connectionsByAddress.get(connection.remoteAddress) ?? 1) - 1;
    if (left > 0) this.connectionsByAddress.set(connection.remoteAddress, left);
    else this.connectionsByAddress.delete(connection.remoteAddress);
    if (this.connections.size === 0) this.whenEmpty?.();
  }

  private scheduleScan(): void {
    const intervalMs = Math.max(
      shortestScanIntervalMs,
      Math.min(scanIntervalMs, this.settings.maxIdleMs / 4),
    );
    this.scanTimer = this.clock.after(intervalMs, () => {
      this.scanConnections(intervalMs);
      this.scheduleScan();
    });
  }

  /** One look at every connection instead of a timer each. */
  private scanConnections(intervalMs: number): void {
    this.scan += 1;
    const nowMs = this.clock.monotonicMs();
    const idleScans = Math.ceil(this.settings.maxIdleMs / intervalMs);
    const othersWait = this.memory.waiting > 0;
    for (const connection of this.connections) {
      if (
        connection.closingAtScan >= 0 &&
        this.scan - connection.closingAtScan > closingScans &&
        !this.isDraining
      ) {
        connection.destroy();
      } else if (this.scan - connection.activeAtScan > idleScans && connection.requestsInFlight === 0) {
        connection.destroy('idle', `nothing came for connections.max.idle.ms=${this.settings.maxIdleMs}`);
      } else if (!connection.isReceivingBigFrame) connection.stall = undefined;
      else if (!othersWait || connection.stall === undefined) {
        connection.stall = { atMs: nowMs, arrivedBytes: connection.arrivedFrameBytes };
      } else {
        const elapsedMs = nowMs - connection.stall.atMs;
        const arrived = connection.arrivedFrameBytes - connection.stall.arrivedBytes;
        if (elapsedMs >= stallGraceMs && arrived < (elapsedMs / 1000) * slowestFrameBytesPerSecond) {
          connection.destroy(
            'stalled-frame',
            `a request of ${connection.heldBudgetBytes} bytes hardly moves while others wait for queued.max.request.bytes=${this.settings.maxBufferedRequestBytes}`,
          );
        }
      }
    }
    this.refusals.sweep();
    this.memory.shrink();
  }

  /** Closes the listeners; connections stay. */
  async stopAccepting(): Promise<void> {
    this.acceptTimer?.cancel();
    for (const listener of this.listeners) await listener.close();
  }

  /**
   * Accepts and starts nothing more, wakes waits, and resolves when every connection has ended with its answers, or with
   * how many were cut off after `timeoutMs`.
   */
  async drain(timeoutMs: number): Promise<number> {
    this.isDraining = true;
    await this.stopAccepting();
    for (const socket of [...this.held]) socket.destroy();
    let cutOff = 0;
    if (this.connections.size > 0) {
      const empty = new Promise<void>((resolve) => {
        this.whenEmpty = resolve;
      });
      for (const connection of [...this.connections]) connection.drain();
      const timer = this.clock.after(timeoutMs, () => {
        cutOff = this.connections.size;
        for (const connection of [...this.connections]) connection.destroy();
      });
      await empty;
      timer.cancel();
    }
    this.scanTimer?.cancel();
    return cutOff;
  }
}

/** An IPv4 address that came in over an IPv6 socket, in its own form. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}

/** How many files and sockets the process may have open; Infinity where the system does not say. */
function fileDescriptorLimit(): number {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    return line === null ? Number.POSITIVE_INFINITY : Number(line[1]);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
