/**
 * The composition root: opens the engine, builds the services on it and the handlers on them, then the listeners; and takes
 * it all down in the other order. The one file that knows every part.
 */
import { randomBytes } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { resolve } from 'node:path';
import { apiByKey } from '../protocol/generated/apis.ts';
import { crc32c } from '../protocol/records/crc32c.ts';
import type { AdminServer } from './admin/admin-server.ts';
import type { AdminSource, BrokerState, BrokerStatus } from './admin/admin-source.ts';
import type { ClockAdmin, DelayAdmin } from './admin/delay-admin.ts';
import { delaySource } from './admin/delay-source.ts';
import type { GroupSettingsAdmin, HalfAdmin } from './admin/half-admin.ts';
import { groupSettingsSource, halfSource } from './admin/half-source.ts';
import { connectionSettings, type StartConfig } from './config.ts';
import { connectionMetrics } from './connection/connection-metrics.ts';
import { ConnectionServer } from './connection/connection-server.ts';
import type { ListenerInfo } from './handlers/handler.ts';
import { buildHandlers } from './handlers/registry.ts';
import type { DataVolume, Services } from './handlers/services.ts';
import { recordBatches } from './record-batches.ts';
import { AppendService, type AppendSettings } from './services/append/append-service.ts';
import { compactionMetrics } from './services/compaction/compaction-metrics.ts';
import { CompactionService } from './services/compaction/compaction-service.ts';
import type { BrokerConfig } from './services/configuration/broker-config.ts';
import { DynamicBrokerConfig } from './services/configuration/dynamic-broker-config.ts';
import { FeatureLevels } from './services/configuration/feature-levels.ts';
import { GroupConfigs } from './services/configuration/group-configs.ts';
import { settingsByName } from './services/features/delay/delay-op-step.ts';
import { Features, type HiddenQueues } from './services/features/features.ts';
import { latenessBucketsMs } from './services/features/timers/lateness.ts';
import { defaultFetchSettings, FetchService, type FetchSettings } from './services/fetch/fetch-service.ts';
import { GroupCoordinator } from './services/groups/group-coordinator.ts';
import { groupSettingsFrom } from './services/groups/group-settings.ts';
import { ProducerIds } from './services/producers/producer-ids.ts';
import { Retention } from './services/topics/retention.ts';
import { TopicCatalogue } from './services/topics/topic-catalogue.ts';
import { OpenTransactions } from './services/transactions/open-transactions.ts';
import { TransactionCoordinator } from './services/transactions/transaction-coordinator.ts';
import { transactionMetrics } from './services/transactions/transaction-metrics.ts';
import { transactionSettingsFrom } from './services/transactions/transaction-settings.ts';
import { type BackupOptions, BackupRefusedError, type BackupReport, canBackUp } from './storage/backup.ts';
import { resolveDestination } from './storage/backup-destination.ts';
import type { StorageEngine } from './storage/engine.ts';
import { brokerMetrics } from './telemetry/broker-metrics.ts';
import { halfMetrics } from './telemetry/half-metrics.ts';
import { MetricRegistry } from './telemetry/metrics.ts';
import { processMetrics } from './telemetry/process-metrics.ts';
import { spaceMetrics } from './telemetry/space-metrics.ts';
import { type TimerFigures, timerMetrics } from './telemetry/timer-metrics.ts';
import type { AssertionFailure } from './util/assert.ts';
import type { Clock } from './util/clock.ts';
import { GuardedClock } from './util/guarded-clock.ts';
import type { Log } from './util/log.ts';
import { packageVersion } from './version.ts';
import { openVirtualClock, readShift, VirtualClockError, type VirtualClockHandle } from './virtual-clock.ts';

export interface GatewayOptions {
  readonly config: StartConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** The broker can no longer keep its promises, or an invariant of ours is broken: the process must end. */
  readonly onFatal: (error: Error) => void;
}

const produceKey = 0;

export class Gateway implements AdminSource {
  readonly version = packageVersion();
  /** Every listener, as its clients see it, in the order configured. */
  listeners: readonly ListenerInfo[] = [];
  private readonly options: OpenOptions;
  private readonly engine: StorageEngine;
  private readonly services: Services;
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
      clock,
      log: log.component('connection'),
      admit: (apiKey) => (apiKey === produceKey ? engine.appendRoom() : undefined),
      brokenInvariant: (error: AssertionFailure) => this.fatal(error),
    });
    this.stops.push(config.broker.onChanged(() => this.settingsChanged()));
    this.registry.add(processMetrics(this.startedAtMs));
    this.registry.add(
      brokerMetrics(() => {
        const [first] = this.listeners;
        return {
          nodeId: this.nodeId,
          address: first === undefined ? '' : `${first.advertisedHost}:${first.advertisedPort}`,
          version: this.version,
          isReady: this.currentState === 'ready',
          topics: this.services.topics.size,
          partitions: this.services.topics.partitionCount,
          ...this.engine.sizes(),
        };
      }),
    );
    this.registry.add(transactionMetrics(this.services.transactions));
    this.registry.add(spaceMetrics(() => engine.spaceFacts()));
    this.registry.add(compactionMetrics(() => this.compaction.figures, clock));
    this.registry.add(timerMetrics(() => timerFigures(this.features)));
    this.registry.add(halfMetrics(() => this.features.half.figures));
    this.registry.add(connectionMetrics(this.server, (apiKey) => apiByKey(apiKey)?.name ?? String(apiKey)));
    void engine.failed.then((error) => this.fatal(error));
  }

  private async open(): Promise<void> {
    const { config } = this.options;
    // What is open must be known before anybody reads or writes.
    await this.services.transactions.start();
    this.listeners = await this.server.listen(config.listeners.plans);
    if (config.admin !== undefined) {
      // Only who asks for the HTTP side pays for loading it.
      const { openAdminServer } = await import('./admin/admin-server.ts');
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

  get delayed(): DelayAdmin {
    const { topics } = this.services;
    const { operations } = this.features.delay;
    return delaySource({ topics, operations, clock: this.options.clock });
  }

  get halfMessages(): HalfAdmin {
    return halfSource(this.features.half);
  }

  get groupSettings(): GroupSettingsAdmin {
    return groupSettingsSource(this.services.groupConfigs);
  }

  get virtualClock(): ClockAdmin | undefined {
    const { virtualClock } = this.options;
    if (virtualClock === undefined) return undefined;
    const { retention } = this;
    const { timers } = this.features;
    return {
      get nowMs() {
        return virtualClock.clock.nowMs();
      },
      get shiftMs() {
        return virtualClock.clock.shiftMs;
      },
      async advance(byMs) {
        await virtualClock.advance(byMs);
        await timers.whenIdle();
        await retention.runOnce();
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

/** The start failed for a reason that an operator can do something about. The message is for them. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** What engines call errors whose messages are for operators. */
const operatorErrors = new Set(['DirectoryInUseError', 'DataLossError', 'ManifestError']);

async function openEngine({ config, clock, log }: GatewayOptions): Promise<StorageEngine> {
  const settings = config.broker;
  const producerLimits = {
    maxProducers: settings.int('rmq.producers.max'),
    expirationMs: settings.int('producer.id.expiration.ms'),
  };
  if (config.memory) {
    // Only the engine in use is loaded.
    const { openMemoryEngine } = await import('./storage/memory/memory-engine.ts');
    return openMemoryEngine({ payloadFormat: recordBatches, clock, producerLimits });
  }
  const { openEmbeddedEngine } = await import('./storage/embedded/embedded-engine.ts');
  try {
    return await openEmbeddedEngine({
      directory: config.dataDirectory,
      payloadFormat: recordBatches,
      crc32c,
      clock,
      log,
      producerLimits,
      acceptLoss: settings.boolean('rmq.commitlog.accept.loss'),
      settings: {
        segmentBytes: settings.long('rmq.commitlog.segment.bytes'),
        tailCacheBytes: settings.long('rmq.cache.tail.bytes'),
        maxUnwrittenBytes: settings.long('rmq.commitlog.unwritten.max.bytes'),
        reserveBytes: settings.long('rmq.disk.reserve.bytes'),
        lowWaterBytes: settings.long('rmq.disk.free.min.bytes'),
        flushDirtyBytes: settings.int('rmq.flush.dirty.bytes'),
        flushIntervalMs: Math.min(settings.int('rmq.flush.interval.ms'), settings.flushMs),
        blockCacheBytes: settings.long('rmq.cache.read.bytes'),
        indexCacheBytes: settings.long('rmq.index.cache.bytes'),
      },
    });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (operatorErrors.has(error.name)) throw new StartError(error.message);
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    throw new StartError(`cannot open the data in ${config.dataDirectory}: ${error.message}`);
  }
}

/** The options with the one clock of all parts: the machine's, or one that can be moved. */
type OpenOptions = GatewayOptions & { readonly virtualClock?: VirtualClockHandle };

async function withClock(options: GatewayOptions): Promise<OpenOptions> {
  const { config, clock } = options;
  const directory = config.memory ? undefined : config.dataDirectory;
  try {
    if (config.broker.boolean('rmq.virtual.clock')) {
      const virtualClock = await openVirtualClock(clock, directory);
      return { ...options, clock: virtualClock.clock, virtualClock };
    }
    const shiftMs = directory === undefined ? 0 : await readShift(directory);
    if (shiftMs === 0) return options;
    throw new StartError(
      `the clock of ${directory} was moved on by ${shiftMs} ms: it is a development directory, start it with --virtual-clock`,
    );
  } catch (error) {
    if (error instanceof VirtualClockError) throw new StartError(error.message);
    throw error;
  }
}

function timerFigures({ timers, trim, delay }: Features): TimerFigures {
  const named = (byKind: ReadonlyMap<number, number>) =>
    new Map([...byKind].map(([kind, count]) => [timers.handlerName(kind), count]));
  return {
    loaded: timers.loaded,
    pending: trim.pendingByKind && named(trim.pendingByKind),
    fired: named(timers.fired),
    discarded: timers.discarded,
    lateness: {
      boundsMs: latenessBucketsMs,
      counts: timers.lateness.counts,
      sumMs: timers.lateness.sumMs,
    },
    scheduledRecords: delay.step.scheduled,
    operations: delay.operations.done,
  };
}

function buildServices(
  options: GatewayOptions,
  engine: StorageEngine,
  queues: HiddenQueues,
): Services & { readonly features: Features; readonly openTransactions: OpenTransactions } {
  const { clock, log } = options;
  const config = options.config.broker;
  const dynamicConfig = new DynamicBrokerConfig(engine.catalogue, config);
  const groupConfigs = new GroupConfigs(engine.catalogue, config);
  const topics = new TopicCatalogue({ catalogue: engine.catalogue, config, randomBytes, settingsByName });
  const groups = new GroupCoordinator({
    engine,
    directory: topics,
    clock,
    log,
    settings: groupSettingsFrom(config),
  });
  const features = new Features({ engine, queues, topics, groups, groupConfigs, config, clock, log });
  const producerIds = new ProducerIds(engine.catalogue);
  const transactionSettings = transactionSettingsFrom(config);
  const openTransactions = new OpenTransactions({ engine, clock, limits: transactionSettings });
  const transactions = new TransactionCoordinator({
    engine,
    directory: topics,
    clock,
    log,
    settings: transactionSettings,
    producerIds,
    groups,
    open: openTransactions,
  });
  const appends = new AppendService({
    engine,
    topics,
    clock,
    settings: appendSettings(config),
    transactions,
    steps: features.steps,
  });
  const fetches = new FetchService({
    engine,
    topics,
    clock,
    log: log.component('fetch'),
    settings: fetchSettings(config),
    stableOffsets: openTransactions,
  });
  return {
    clock,
    log,
    engine,
    config,
    dynamicConfig,
    groupConfigs,
    topics,
    dataVolume: dataVolume(options.config),
    groups,
    appends,
    fetches,
    producerIds,
    transactions,
    openTransactions,
    featureLevels: new FeatureLevels(engine.catalogue, config.int('node.id')),
    nodeId: config.int('node.id'),
    features,
  };
}

/** The settings in force, read at every use: they may change while the broker runs. */
function appendSettings(config: BrokerConfig): AppendSettings {
  return {
    get flushPolicy() {
      return config.string('rmq.flush.policy') as AppendSettings['flushPolicy'];
    },
  };
}

function fetchSettings(config: BrokerConfig): FetchSettings {
  return {
    ...defaultFetchSettings,
    get maxAnswerBytes() {
      return config.int('fetch.max.bytes');
    },
    get maxSessions() {
      return config.int('max.incremental.fetch.session.cache.slots');
    },
  };
}

/** What DescribeLogDirs tells of where the data lies. */
function dataVolume(config: StartConfig): DataVolume {
  const path = resolve(config.dataDirectory);
  return {
    path,
    async space() {
      if (config.memory) return undefined;
      const volume = await statfs(path);
      return { totalBytes: volume.blocks * volume.bsize, usableBytes: volume.bavail * volume.bsize };
    },
  };
}

async function closeServices(services: Services): Promise<void> {
  await services.transactions.close();
  await services.groups.close();
  services.topics.close();
  services.groupConfigs.close();
  services.dynamicConfig.close();
}
