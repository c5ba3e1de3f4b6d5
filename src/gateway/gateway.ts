/**
 * The composition root: opens the engine, builds the services on it and the handlers on them, then the listeners; and takes
 * it all down in the other order. The one file that knows every part.
 */
import type { AdminServer } from '../admin/admin-server.ts';
import type { AdminSource, BrokerState, BrokerStatus } from '../admin/admin-source.ts';
import { clientMetricsSource } from '../admin/client-metrics-source.ts';
import type { DeadLetterAdmin } from '../admin/dead-letter-admin.ts';
import { deadLetterSource } from '../admin/dead-letter-source.ts';
import type { ClockAdmin, DelayAdmin } from '../admin/delay-admin.ts';
import { delaySource } from '../admin/delay-source.ts';
import type { GroupSettingsAdmin, HalfAdmin } from '../admin/half-admin.ts';
import { groupSettingsSource, halfSource } from '../admin/half-source.ts';
import type { ClientMetricsAdmin } from '../admin/routes/client-metrics.ts';
import { connectionSettings } from '../config.ts';
import { ConnectionServer } from '../connection/connection-server.ts';
import type { ListenerInfo } from '../handlers/handler.ts';
import { buildHandlers } from '../handlers/registry.ts';
import { CompactionService } from '../services/compaction/compaction-service.ts';
import { Features, type HiddenQueues } from '../services/features/features.ts';
import { Retention } from '../services/topics/retention.ts';
import { type BackupOptions, BackupRefusedError, type BackupReport, canBackUp } from '../storage/backup.ts';
import { resolveDestination } from '../storage/backup-destination.ts';
import type { StorageEngine } from '../storage/engine.ts';
import { MetricRegistry } from '../telemetry/metrics.ts';
import type { AssertionFailure } from '../util/assert.ts';
import { GuardedClock } from '../util/guarded-clock.ts';
import type { DueWork } from '../util/movable-clock.ts';
import { packageVersion } from '../version.ts';
import { addMetrics, type BrokerFacts } from './metrics.ts';
import { openEngine } from './open-engine.ts';
import { type GatewayOptions, type OpenOptions, withClock } from './options.ts';
import { type BuiltServices, buildServices, closeServices } from './services.ts';
import { StartError } from './start-error.ts';

const produceKey = 0;

export class Gateway implements AdminSource {
  readonly version = packageVersion();
  /** Every listener, as its clients see it, in the order configured. */
  listeners: readonly ListenerInfo[] = [];
  private readonly options: OpenOptions;
  private readonly engine: StorageEngine;
  private readonly services: BuiltServices;
  private readonly features: Features;
  private readonly retention: Retention;
  private readonly compaction: CompactionService;
  private readonly server: ConnectionServer;
  private readonly registry = new MetricRegistry();
  private readonly startedAtMs: number;
  private readonly stops: (() => void)[] = [];
  private admin: AdminServer | undefined;
  private currentState: BrokerState = 'starting';
  private stopping: Promise<void> | undefined;

  /** Opens everything; rejects, with nothing left open, where a part cannot be opened. */
  static async start(given: GatewayOptions): Promise<Gateway> {
    const options = await withClock(given);
    const engine = await openEngine(options);
    let gateway: Gateway | undefined;
    try {
      gateway = new Gateway(options, engine, await Features.ensureQueues(engine));
      await gateway.open();
      return gateway;
    } catch (error) {
      if (gateway === undefined) await engine.close();
      else await gateway.stop();
      throw error;
    }
  }

  private constructor(options: OpenOptions, engine: StorageEngine, queues: HiddenQueues) {
    const { config, clock, log } = options;
    this.options = options;
    this.engine = engine;
    this.startedAtMs = clock.nowMs();
    const built = buildServices(options, engine, queues);
    this.services = built;
    this.features = built.features;
    const guarded = { ...this.services, clock: new GuardedClock(clock, log) };
    this.retention = new Retention(guarded);
    this.compaction = new CompactionService({ ...guarded, stableOffsets: built.openTransactions });
    const handlers = buildHandlers(this.services);
    this.server = new ConnectionServer({
      settings: connectionSettings(config.broker),
      handlers,
      // How long peers and sockets take is no part of the time that can be moved.
      clock: options.virtualClock?.machine ?? clock,
      log: log.component('connection'),
      admit: (apiKey) => (apiKey === produceKey ? built.appends.room?.whenRoom() : undefined),
      quotas: this.services.quotas,
      brokenInvariant: (error: AssertionFailure) => this.fatal(error),
    });
    this.stops.push(config.broker.onChanged(() => this.settingsChanged()));
    addMetrics(this.registry, {
      services: built,
      compaction: this.compaction,
      server: this.server,
      startedAtMs: this.startedAtMs,
      clock,
      facts: () => this.facts(),
    });
    void engine.failed.then((error) => this.fatal(error));
  }

  private async open(): Promise<void> {
    const { config } = this.options;
    // What is open must be known before anybody reads or writes.
    await this.services.transactions.start();
    this.listeners = await this.server.listen(config.listeners.plans);
    if (config.admin !== undefined) {
      // Only who asks for the HTTP side pays for loading it.
      const { openAdminServer } = await import('../admin/admin-server.ts');
      const { host, port } = config.admin;
      this.admin = await openAdminServer(this, host, port).catch((error: Error) => {
        throw new StartError(`cannot listen on --admin ${host}:${port}: ${error.message}`);
      });
    }
    this.retention.start();
    this.compaction.start();
    this.features.start();
    this.currentState = 'ready';
  }

  get clientMetrics(): ClientMetricsAdmin {
    return clientMetricsSource(this.services.clientMetrics);
  }

  get delayed(): DelayAdmin {
    const { topics } = this.services;
    const { operations } = this.features.delay;
    return delaySource({ topics, operations, clock: this.options.clock });
  }

  get halfMessages(): HalfAdmin {
    return halfSource(this.features.half);
  }

  get deadLetters(): DeadLetterAdmin {
    return deadLetterSource(this.features.redrive);
  }

  get groupSettings(): GroupSettingsAdmin {
    return groupSettingsSource(this.services.groupConfigs);
  }

  get virtualClock(): ClockAdmin | undefined {
    const { virtualClock } = this.options;
    if (virtualClock === undefined) return undefined;
    const { retention, compaction } = this;
    const { timers } = this.features;
    const work: DueWork = {
      get nextDueMs() {
        return timers.nextDueMs;
      },
      whenDone: () => timers.whenIdle(),
    };
    return {
      get nowMs() {
        return virtualClock.clock.nowMs();
      },
      get shiftMs() {
        return virtualClock.clock.shiftMs;
      },
      async advance(byMs) {
        await virtualClock.advance(byMs, work);
        await retention.runOnce();
        await compaction.runNow();
      },
    };
  }

  get state(): BrokerState {
    return this.currentState;
  }

  /** The port that the listener of this index (as configured) is really on. */
  port(index: number): number {
    return this.server.port(index);
  }

  get adminPort(): number | undefined {
    return this.admin?.port;
  }

  get nodeId(): number {
    return this.services.nodeId;
  }

  get clusterId(): string {
    return this.engine.storageId;
  }

  status(): BrokerStatus {
    const { config, clock } = this.options;
    const { topics } = this.services;
    const sizes = this.engine.sizes();
    return {
      version: this.version,
      state: this.currentState,
      nodeId: this.nodeId,
      clusterId: this.clusterId,
      startedAt: new Date(this.startedAtMs).toISOString(),
      upTimeMs: clock.nowMs() - this.startedAtMs,
      listeners: this.listeners.map((listener) => ({
        name: listener.name,
        securityProtocol: listener.securityProtocol,
        advertised: `${listener.advertisedHost}:${listener.advertisedPort}`,
      })),
      connections: this.server.openConnections,
      requestsInFlight: this.server.requestsInFlight,
      topics: topics.size,
      partitions: topics.partitionCount,
      storage: {
        kind: config.memory ? 'memory' : 'embedded',
        directory: config.memory ? null : config.dataDirectory,
        ...sizes,
        epoch: this.engine.epoch,
      },
    };
  }

  private facts(): BrokerFacts {
    const [first] = this.listeners;
    return {
      address: first === undefined ? '' : `${first.advertisedHost}:${first.advertisedPort}`,
      version: this.version,
      isReady: this.currentState === 'ready',
    };
  }

  async backup(options: BackupOptions): Promise<BackupReport> {
    const { engine } = this;
    if (!canBackUp(engine)) {
      throw new BackupRefusedError(
        'this broker keeps everything in memory: there is nothing on disk to back up',
      );
    }
    const destination = await resolveDestination(this.options.config.dataDirectory, options.destination);
    return engine.backup({ ...options, destination });
  }

  metrics(): string {
    return this.registry.render();
  }

  /** Drains the connections, then makes everything durable and closes. Safe to call again. */
  stop(): Promise<void> {
    this.stopping ??= this.close();
    return this.stopping;
  }

  private async close(): Promise<void> {
    if (this.currentState !== 'failed') this.currentState = 'draining';
    // Members that wait for one another would hold the drain up.
    this.services.groups.releaseWaiting();
    const cutOff = await this.server.drain(this.server.settings.drainTimeoutMs);
    if (cutOff > 0) {
      this.options.log.warn(
        { connections: cutOff },
        `cut off what was not finished within rmq.shutdown.timeout.ms=${this.server.settings.drainTimeoutMs}`,
      );
    }
    for (const stop of this.stops) stop();
    await this.retention.close();
    await this.compaction.close();
    await this.features.close();
    await closeServices(this.services);
    await this.engine.close();
    await this.admin?.close();
    if (this.currentState !== 'failed') this.currentState = 'stopped';
  }

  private fatal(error: Error): void {
    if (this.currentState === 'failed') return;
    this.currentState = 'failed';
    this.options.onFatal(error);
  }

  private settingsChanged(): void {
    try {
      this.server.settings = connectionSettings(this.options.config.broker);
    } catch (error) {
      this.options.log.warn({ error }, 'the limits of connections stay as they were');
    }
  }
}
