/**
 * The storage engine on a local disk: one commit log, ConsumeQueues as an index over it, an ordered index, a catalogue. This
 * file puts the parts together and says what happens in which order at a trim, a change of the catalogue and the end.
 */
import { dirname } from 'node:path';
import { assert } from '../../util/assert.ts';
import { type Clock, SystemClock } from '../../util/clock.ts';
import { type Log, silentLog } from '../../util/log.ts';
import { type BackupOptions, BackupRefusedError, type BackupReport, type BackupSource } from '../backup.ts';
import type { CatalogueTable } from '../catalogue-table.ts';
import type {
  AppendGroup,
  AppendResult,
  Catalogue,
  CatalogueUpdate,
  EngineSizes,
  EntryFacts,
  Lease,
  MaybePromise,
  OrderedIndex,
  PayloadFormat,
  ProducerState,
  QueueBounds,
  QueueId,
  ReadOptions,
  ReadResult,
  RewriteRequest,
  RewriteResult,
  SpaceFacts,
  StorageEngine,
} from '../engine.ts';
import {
  defaultProducerWindowLimits,
  type ProducerWindow,
  type ProducerWindowLimits,
} from '../producer-window.ts';
import { QueueWatchers } from '../queue-watchers.ts';
import { AppendPath } from './append-path.ts';
import { Backups } from './backup.ts';
import { BlockCache, ReadGate } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import { Cleaner } from './cleaning/cleaner.ts';
import { ReadsInFlight } from './cleaning/reads-in-flight.ts';
import { CommitLog } from './commit-log.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import { layoutOf } from './directory-layout.ts';
import { DiskSpace } from './disk-space.ts';
import { EntryReader } from './entry-reader.ts';
import type { DirectoryLock, FileSystem } from './file-system.ts';
import { LinkedPayloads } from './linked-payloads.ts';
import { offsetIn } from './location.ts';
import { Maintenance } from './maintenance.ts';
import { NodeFileSystem } from './node-file-system.ts';
import type { IndexStore } from './ordered-index/index-store.ts';
import { PinningFileSystem } from './pinning-file-system.ts';
import { QueueReads } from './queue-reads.ts';
import type { QueueState } from './queue-state.ts';
import { QueueVisibility } from './queue-visibility.ts';
import { type RecoveredData, recover } from './recovery.ts';
import { SegmentFiles } from './segment-files.ts';
import { defaultEmbeddedSettings, type EmbeddedSettings } from './settings.ts';
import { encodeState, type QueueRecord } from './state-snapshot.ts';
import { StrictFileSystem } from './strict-file-system.ts';

export interface EmbeddedEngineOptions {
  /** Made when missing. */
  readonly directory: string;
  readonly payloadFormat: PayloadFormat;
  readonly crc32c: Checksum;
  readonly clock?: Clock;
  readonly fileSystem?: FileSystem;
  readonly log?: Log;
  readonly settings?: Partial<EmbeddedSettings>;
  readonly producerLimits?: ProducerWindowLimits;
  /** False: payloads are stored as given, without offsets and epoch; readers put them right. */
  readonly stampOffsets?: boolean;
  /** Start although durable data is lost; what is lost is logged. */
  readonly acceptLoss?: boolean;
}

/**
 * Opens the data in `directory`, recovering it where the last process did not end cleanly. Rejects with DirectoryInUseError,
 * DataLossError, ManifestError (messages for the operator) or the system's error; the directory is then as it was.
 */
export async function openEmbeddedEngine(
  options: EmbeddedEngineOptions,
): Promise<StorageEngine & BackupSource> {
  const settings = { ...defaultEmbeddedSettings, ...options.settings };
  const clock = options.clock ?? new SystemClock();
  const logger = (options.log ?? silentLog).component('storage');
  const strict = new StrictFileSystem(options.fileSystem ?? new NodeFileSystem());
  const fileSystem = new PinningFileSystem(strict, logger);
  await makeDirectory(fileSystem, options.directory);
  const lock = await fileSystem.lock(options.directory);
  try {
    const readGate = new ReadGate(settings.maxReadsAtOnce);
    const space = new DiskSpace({ fileSystem, directory: options.directory, settings, clock, logger });
    await space.open();
    const recovered = await recover({
      fileSystem,
      layout: layoutOf(options.directory),
      crc32c: options.crc32c,
      format: options.payloadFormat,
      clock,
      logger,
      settings,
      producerLimits: options.producerLimits ?? defaultProducerWindowLimits,
      readGate,
      acceptLoss: options.acceptLoss === true,
      space,
    });
    return new EmbeddedEngine(options, settings, fileSystem, clock, logger, readGate, lock, space, recovered);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** With the directories above it, and so that their names survive a power cut. */
async function makeDirectory(fileSystem: FileSystem, path: string): Promise<void> {
  if ((await fileSystem.stat(path)) !== undefined) return;
  const parent = dirname(path);
  if (parent !== path) await makeDirectory(fileSystem, parent);
  await fileSystem.mkdir(path);
  await fileSystem.syncDirectory(parent);
}

interface GrantedLease {
  readonly epoch: number;
  readonly lost: AbortController;
}

class EmbeddedEngine implements StorageEngine, BackupSource {
  readonly storageId: string;
  readonly epoch: number;
  readonly catalogue: Catalogue;
  readonly failed: Promise<Error>;

  private readonly logger: Log;
  private readonly lock: DirectoryLock;
  private readonly space: DiskSpace;
  private readonly queues: Map<QueueId, QueueState>;
  private readonly table: CatalogueTable;
  private readonly leaseEpochs: Map<string, number>;
  private readonly window: ProducerWindow;
  private readonly queueIndex: ConsumeQueueIndex;
  private readonly orderedIndex: IndexStore;
  private readonly commitLog: CommitLog;
  private readonly segments: SegmentFiles;
  private readonly reads: QueueReads;
  private readonly appends: AppendPath;
  private readonly maintenance: Maintenance;
  private readonly cleaner: Cleaner;
  private readonly readsInFlight = new ReadsInFlight();
  private readonly backups: Backups;
  private readonly visibility: QueueVisibility;
  private readonly watchers = new QueueWatchers();
  private readonly leases = new Map<string, GrantedLease>();
  private closing: Promise<void> | undefined;

  constructor(
    options: EmbeddedEngineOptions,
    settings: EmbeddedSettings,
    fileSystem: PinningFileSystem,
    clock: Clock,
    logger: Log,
    readGate: ReadGate,
    lock: DirectoryLock,
    space: DiskSpace,
    recovered: RecoveredData,
  ) {
    const layout = layoutOf(options.directory);
    this.logger = logger;
    this.lock = lock;
    this.space = space;
    this.storageId = recovered.manifest.storageId;
    this.epoch = recovered.manifest.logEpoch;
    this.queues = recovered.queues;
    this.table = recovered.table;
    this.leaseEpochs = recovered.leases;
    this.window = recovered.window;
    this.queueIndex = recovered.index;
    this.orderedIndex = recovered.orderedIndex;
    this.visibility = new QueueVisibility((queue) => this.watchers.notify(queue.id));
    let reportFailure: (error: Error) => void = () => {};
    this.failed = new Promise((resolve) => {
      reportFailure = resolve;
    });
    this.commitLog = new CommitLog(
      fileSystem,
      layout.commitLog,
      settings,
      clock,
      options.crc32c,
      { position: recovered.position, segmentExists: recovered.segmentExists },
      {
        progressed: () => this.appends.progressed(),
        makeRoom: (error) => space.release(error),
        full: (error) => {
          logger.error({ error: error.message }, 'the disk is full: appends are refused until there is room');
          this.visibility.answerUnwritten();
        },
        roomAgain: () => logger.info({}, 'the disk has room again'),
        failed: (error) => {
          logger.error({ error: error.message }, 'the commit log has failed: nothing more is acknowledged');
          this.appends.refusal = 'storage-fault';
          this.visibility.answerAll();
          reportFailure(error);
        },
      },
    );
    space.unwrittenBytes = () => this.commitLog.unwrittenBytes;
    this.segments = new SegmentFiles(fileSystem, layout.commitLog);
    const blockCache = new BlockCache(settings.readBlockBytes, settings.blockCacheBytes, readGate);
    this.reads = new QueueReads({
      queues: this.queues,
      index: this.queueIndex,
      reader: new EntryReader(
        this.commitLog.slabs,
        this.segments,
        blockCache,
        options.payloadFormat,
        options.crc32c,
        settings.maxDiskReadBytes,
        readGate,
      ),
      readsInFlight: this.readsInFlight,
      indexFailed: (error) => this.maintenance.repair(error),
    });
    this.appends = new AppendPath({
      format: options.payloadFormat,
      crc32c: options.crc32c,
      clock,
      stampOffsets: options.stampOffsets !== false,
      maxSealedTables: settings.maxSealedTables,
      epoch: this.epoch,
      lastStoreTimeMs: recovered.lastStoreTimeMs,
      queues: this.queues,
      table: this.table,
      leaseEpochs: this.leaseEpochs,
      leases: this.leases,
      window: this.window,
      queueIndex: this.queueIndex,
      orderedIndex: this.orderedIndex,
      commitLog: this.commitLog,
      space,
      visibility: this.visibility,
      reads: this.reads,
      linked: new LinkedPayloads({
        queues: this.queues,
        index: this.queueIndex,
        slabs: this.commitLog.slabs,
        segments: this.segments,
        readsInFlight: this.readsInFlight,
        format: options.payloadFormat,
        crc32c: options.crc32c,
      }),
      segmentSealed: (segment) => this.maintenance.segmentSealed(segment),
      grew: () => this.maintenance.sealIfDue(),
    });
    this.maintenance = new Maintenance(
      {
        fileSystem,
        layout,
        crc32c: options.crc32c,
        settings,
        clock,
        logger,
        commitLog: this.commitLog,
        space,
        index: this.queueIndex,
        orderedIndex: this.orderedIndex,
        window: this.window,
        segments: this.segments,
        readsInFlight: this.readsInFlight,
        blockCache,
        runContext: recovered.runContext,
        encodeState: () => this.encodeState(),
        lastStoreTimeMs: () => this.appends.lastStoreTimeMs,
        startOffsetOf: (queue) => this.queues.get(queue)?.startOffset,
      },
      recovered.manifest,
      recovered.headSealed,
      recovered.frozen,
    );
    this.cleaner = new Cleaner({
      fileSystem,
      layout,
      crc32c: options.crc32c,
      format: options.payloadFormat,
      settings,
      clock,
      logger,
      epoch: this.epoch,
      queues: this.queues,
      commitLog: this.commitLog,
      index: this.queueIndex,
      maintenance: this.maintenance,
      segments: this.segments,
      runContext: recovered.runContext,
      space,
      closeHead: () => this.appends.closeHead(),
    });
    this.maintenance.onExtentMade(() => this.cleaner.checkSoon());
    if (recovered.isManifestDue) space.holdUntil(() => this.maintenance.writeAgain());
    space.whileShort = () => {
      this.maintenance.reclaimSoon();
      this.cleaner.checkSoon();
    };
    space.start();
    this.backups = new Backups({
      fileSystem,
      layout,
      crc32c: options.crc32c,
      clock,
      logger,
      whenDurable: () => this.endWhenDurable(),
    });
    const { table } = this;
    this.catalogue = {
      get: (key) => table.get(key),
      list: (prefix) => table.list(prefix),
      get version() {
        return table.version;
      },
      update: (update) => this.updateCatalogue(update),
      watch: (wake) => table.watch(wake),
    };
  }

  append(group: AppendGroup): Promise<readonly AppendResult[]> {
    return this.appends.append(group);
  }

  appendRoom(): Promise<void> | undefined {
    return this.commitLog.whenRoom() ?? this.maintenance.whenRoom();
  }

  whenDurable(): Promise<void> {
    return this.commitLog.whenDurable(this.commitLog.appended);
  }

  bounds(queueId: QueueId): QueueBounds | undefined {
    return this.queues.get(queueId)?.bounds;
  }

  read(queueId: QueueId, options: ReadOptions): MaybePromise<ReadResult> {
    return this.reads.read(queueId, options);
  }

  entries(queueId: QueueId, fromOffset: number, limit: number): Promise<readonly EntryFacts[]> {
    return this.reads.entries(queueId, fromOffset, limit);
  }

  findByTime(queueId: QueueId, timestampMs: number): Promise<EntryFacts | undefined> {
    return this.reads.findByTime(queueId, timestampMs);
  }

  findLargestTime(queueId: QueueId): Promise<EntryFacts | undefined> {
    return this.reads.findLargestTime(queueId);
  }

  findEpochEnd(
    queueId: QueueId,
    epoch: number,
  ): Promise<{ readonly epoch: number; readonly endOffset: number } | undefined> {
    return this.reads.findEpochEnd(queueId, epoch);
  }

  watch(queues: readonly QueueId[], wake: () => void): () => void {
    return this.watchers.watch(queues, wake);
  }

  sizeBytes(queueId: QueueId): number {
    const queue = this.queues.get(queueId);
    return queue === undefined ? 0 : queue.sizeBytes - queue.invisibleBytes;
  }

  producers(queueId: QueueId): readonly ProducerState[] {
    return this.window.producers(queueId);
  }

  async trim(queueId: QueueId, toOffset: number): Promise<QueueBounds | undefined> {
    for (;;) {
      const queue = this.queues.get(queueId);
      if (queue === undefined) return undefined;
      const settling = this.cleaner.whenSettled();
      if (settling !== undefined) {
        await settling;
        continue;
      }
      const { startOffset, rewrites } = queue;
      const target = Math.min(toOffset, queue.visibleEndOffset);
      if (target <= startOffset) {
        // An earlier trim to there may still be on its way to the disk.
        await this.whenDurable();
        return queue.bounds;
      }
      const removedBytes =
        target === queue.nextOffset
          ? queue.sizeBytes
          : await this.reads.guarded(this.queueIndex.bytesBetween(queue, startOffset, target));
      if (queue.startOffset !== startOffset || queue.isDropped) continue;
      if (queue.rewrites !== rewrites || this.cleaner.whenSettled() !== undefined) continue;
      await this.appends.appendChange(
        { op: 'trim', queue: queueId, toOffset: target, removedBytes },
        'freeing',
      );
      this.reclaimSoon();
      return queue.bounds;
    }
  }

  rewrite(requests: readonly RewriteRequest[]): Promise<readonly (RewriteResult | undefined)[]> {
    if (this.appends.refusal !== undefined) {
      return Promise.reject(new Error('the storage engine is closed, closing or has failed'));
    }
    return this.cleaner.rewrite(requests);
  }

  rewriteReach(queue: QueueId, untilOffset: number): Promise<number> {
    return this.readsInFlight.during(() => this.reads.guarded(this.cleaner.reach(queue, untilOffset)));
  }

  spaceFacts(): SpaceFacts {
    return this.cleaner.spaceFacts();
  }

  index(name: string): OrderedIndex {
    return {
      get: (key) => this.orderedIndex.get(name, key),
      range: (range) => this.orderedIndex.range(name, range),
    };
  }

  async acquireLease(name: string): Promise<Lease> {
    const epoch = (this.leaseEpochs.get(name) ?? 0) + 1;
    this.leases.get(name)?.lost.abort();
    const granted: GrantedLease = { epoch, lost: new AbortController() };
    this.leases.set(name, granted);
    await this.appends.appendChange({ op: 'lease', name, epoch }, 'state');
    return { name, epoch, lost: granted.lost.signal };
  }

  backup(options: BackupOptions): Promise<BackupReport> {
    return this.backups.backup(options);
  }

  sizes(): EngineSizes {
    const { commitLog } = this;
    return {
      totalBytes: this.maintenance.fileBytes + offsetIn(commitLog.written),
      unflushedBytes: commitLog.unflushedBytes,
      unwrittenBytes: commitLog.unwrittenBytes,
    };
  }

  close(): Promise<void> {
    this.appends.refusal ??= 'closing';
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<void> {
    try {
      // What waits for room would wait for ever.
      if (this.commitLog.isFull) this.commitLog.fail(new Error('closed while the disk was full'));
      await this.cleaner.stop();
      await this.backups.close();
      if (!this.commitLog.hasFailed) {
        await this.commitLog.whenDurable(this.commitLog.appended);
        await this.maintenance.close();
      } else {
        await this.maintenance.abandon();
      }
    } finally {
      await this.space.close();
      await this.commitLog.close().catch((error: Error) => {
        this.logger.error({ error: error.message }, 'the commit log could not be closed cleanly');
      });
      await this.segments.close();
      this.queueIndex.close();
      await this.orderedIndex.close();
      this.watchers.notifyAll();
      await this.lock.release();
    }
  }

  /** Everything appended until now is durable; answers where it ends. */
  private async endWhenDurable(): Promise<number> {
    const { commitLog } = this;
    if (commitLog.isFull)
      throw new BackupRefusedError('the disk is full: what was appended is not on it yet');
    const end = commitLog.appended;
    await commitLog.whenDurable(end);
    return end;
  }

  private async updateCatalogue(
    update: CatalogueUpdate,
  ): Promise<{ outcome: 'done'; version: number } | { outcome: 'conflict'; key: string }> {
    const { table, queues } = this;
    const createQueues = update.createQueues ?? [];
    // Dropping frees space, and so may settings; a new queue is there to be filled.
    const grade = createQueues.length === 0 ? 'freeing' : 'state';
    this.appends.mustWrite(grade, 0);
    const key = table.conflict(update.changes);
    if (key !== undefined) return { outcome: 'conflict', key };
    const dropQueues = (update.dropQueues ?? []).filter((id) => queues.has(id) || createQueues.includes(id));
    for (const id of createQueues) {
      assert(!queues.has(id), `queue ${id} exists`);
      assert(Number.isSafeInteger(id) && id >= 1, `${id} is no queue id`);
    }
    const version = table.version + 1;
    const durable = this.appends.appendChange(
      { op: 'catalogue', version, changes: update.changes, createQueues, dropQueues },
      grade,
    );
    for (const id of dropQueues) {
      this.window.dropQueue(id);
      this.watchers.notify(id);
    }
    await durable;
    if (dropQueues.length > 0) this.reclaimSoon();
    return { outcome: 'done', version };
  }

  /** There may be something to give back. On a full disk the head is closed for it: only whole segments can go. */
  private reclaimSoon(): void {
    const { commitLog, space } = this;
    const headBytes = offsetIn(commitLog.appended);
    const isOpen = !commitLog.isFull && this.appends.refusal === undefined;
    if (space.isShort && headBytes >= space.lowWater && isOpen) this.appends.closeHead();
    space.mayFree();
    this.maintenance.reclaimSoon();
    this.cleaner.checkSoon();
  }

  private encodeState(): Buffer {
    return encodeState({
      catalogueVersion: this.table.version,
      catalogue: this.table.list(''),
      queues: this.queues.values() as Iterable<QueueRecord>,
      queueCount: this.queues.size,
      leases: this.leaseEpochs,
    });
  }
}
