/**
 * The storage engine on a local disk: one commit log, ConsumeQueues as an index over it, an ordered index, a catalogue. This
 * file puts the parts together and holds what must happen in one go: checking a group, giving it its offsets, putting its
 * entries into the log. Everything that waits (writing, flushing, sealing, reading from disk) is in the parts.
 */
import { dirname } from 'node:path';
import { assert } from '../../util/assert.ts';
import { type Clock, SystemClock } from '../../util/clock.ts';
import { type Log, silentLog } from '../../util/log.ts';
import { NoRoomError } from '../../util/no-room-error.ts';
import { type BackupOptions, BackupRefusedError, type BackupReport, type BackupSource } from '../backup.ts';
import type { CatalogueTable } from '../catalogue-table.ts';
import type {
  AppendEntry,
  AppendGroup,
  AppendResult,
  Catalogue,
  CatalogueUpdate,
  EngineSizes,
  EntryFacts,
  IndexChange,
  IndexCondition,
  Lease,
  LinkSource,
  MaybePromise,
  OrderedIndex,
  PayloadFormat,
  ProducerState,
  QueueBounds,
  QueueId,
  ReadOptions,
  ReadResult,
  RefusalReason,
  RewriteRequest,
  RewriteResult,
  SpaceFacts,
  StorageEngine,
} from '../engine.ts';
import {
  defaultProducerWindowLimits,
  type ProducerWindow,
  type ProducerWindowLimits,
  type SequenceVerdict,
} from '../producer-window.ts';
import { QueueWatchers } from '../queue-watchers.ts';
import { offsetsFrom, withOffsets } from '../row-offsets.ts';
import { Backups } from './backup.ts';
import { BlockCache, ReadGate } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import { Cleaner } from './cleaning/cleaner.ts';
import { ReadsInFlight } from './cleaning/reads-in-flight.ts';
import { CommitLog } from './commit-log.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import { layoutOf } from './directory-layout.ts';
import { DiskSpace, type WriteGrade } from './disk-space.ts';
import { type EngineChange, encodeEngineChange, encodeIndexChanges } from './engine-changes.ts';
import {
  EntryHeader,
  entryBytes,
  flagLastOfGroup,
  flagSync,
  headerBytes,
  kindCode,
  kindEngineChanges,
  kindIndexChanges,
} from './entry-header.ts';
import { EntryReader } from './entry-reader.ts';
import { EntryRows } from './entry-rows.ts';
import type { DirectoryLock, FileSystem } from './file-system.ts';
import { offsetIn, segmentOf } from './location.ts';
import { Maintenance } from './maintenance.ts';
import { NodeFileSystem } from './node-file-system.ts';
import type { IndexPin, IndexStore } from './ordered-index/index-store.ts';
import { PinningFileSystem } from './pinning-file-system.ts';
import type { QueueState } from './queue-state.ts';
import { QueueVisibility } from './queue-visibility.ts';
import { applyEngineChange, type RecoveredData, recover } from './recovery.ts';
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

interface UnsettledChanges {
  readonly sequence: number;
  readonly end: number;
}

/** The payload of an entry of the group: its own bytes, or those of the entry that it links to. */
type Sources = readonly Buffer[];

const maxSpareRows = 64;

const largestGroupBytes = 2 ** 31;
/** One read answers at most so many entries: what it asks of memory is bounded, whatever maxBytes says. */
const maxRowsPerRead = 16 * 1024;
const notAppended: AppendResult = { outcome: 'not-appended' };

class EmbeddedEngine implements StorageEngine, BackupSource {
  readonly storageId: string;
  readonly epoch: number;
  readonly catalogue: Catalogue;
  readonly failed: Promise<Error>;

  private readonly format: PayloadFormat;
  private readonly crc32c: Checksum;
  private readonly clock: Clock;
  private readonly logger: Log;
  private readonly lock: DirectoryLock;
  private readonly space: DiskSpace;
  private readonly stampOffsets: boolean;
  private readonly maxSealedTables: number;
  private readonly queues: Map<QueueId, QueueState>;
  private readonly table: CatalogueTable;
  private readonly leaseEpochs: Map<string, number>;
  private readonly window: ProducerWindow;
  private readonly queueIndex: ConsumeQueueIndex;
  private readonly orderedIndex: IndexStore;
  private readonly commitLog: CommitLog;
  private readonly segments: SegmentFiles;
  private readonly reader: EntryReader;
  private readonly maintenance: Maintenance;
  private readonly cleaner: Cleaner;
  private readonly readsInFlight = new ReadsInFlight();
  private readonly backups: Backups;
  private readonly visibility: QueueVisibility;
  private readonly watchers = new QueueWatchers();
  private readonly leases = new Map<string, GrantedLease>();
  private readonly header = new EntryHeader();
  /** Free again. */
  private readonly spareRows: EntryRows[] = [];
  private unsettled: UnsettledChanges[] = [];
  private lastStoreTimeMs: number;
  private refusal: RefusalReason | undefined;
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
    this.format = options.payloadFormat;
    this.crc32c = options.crc32c;
    this.clock = clock;
    this.logger = logger;
    this.lock = lock;
    this.space = space;
    this.stampOffsets = options.stampOffsets !== false;
    this.maxSealedTables = settings.maxSealedTables;
    this.storageId = recovered.manifest.storageId;
    this.epoch = recovered.manifest.logEpoch;
    this.queues = recovered.queues;
    this.table = recovered.table;
    this.leaseEpochs = recovered.leases;
    this.window = recovered.window;
    this.queueIndex = recovered.index;
    this.orderedIndex = recovered.orderedIndex;
    this.lastStoreTimeMs = recovered.lastStoreTimeMs;
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
        progressed: () => this.progressed(),
        makeRoom: (error) => space.release(error),
        full: (error) => {
          logger.error({ error: error.message }, 'the disk is full: appends are refused until there is room');
          this.visibility.answerUnwritten();
        },
        roomAgain: () => logger.info({}, 'the disk has room again'),
        failed: (error) => {
          logger.error({ error: error.message }, 'the commit log has failed: nothing more is acknowledged');
          this.refusal = 'storage-fault';
          this.visibility.answerAll();
          reportFailure(error);
        },
      },
    );
    space.unwrittenBytes = () => this.commitLog.unwrittenBytes;
    this.segments = new SegmentFiles(fileSystem, layout.commitLog);
    const blockCache = new BlockCache(settings.readBlockBytes, settings.blockCacheBytes, readGate);
    this.reader = new EntryReader(
      this.commitLog.slabs,
      this.segments,
      blockCache,
      options.payloadFormat,
      options.crc32c,
      settings.maxDiskReadBytes,
      readGate,
    );
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
        lastStoreTimeMs: () => this.lastStoreTimeMs,
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
      closeHead: () => this.closeHead(),
    });
    this.maintenance.extentMade = () => this.cleaner.checkSoon();
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
    const { entries, conditions } = group;
    if (conditions !== undefined && conditions.length > 0) return this.appendPrepared(group, conditions);
    for (let at = 0; at < entries.length; at++) {
      if (!Buffer.isBuffer(entries[at]!.payload)) return this.appendPrepared(group, []);
    }
    return this.fix(group, undefined);
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
    const queue = this.queues.get(queueId);
    if (queue === undefined) return { outcome: 'unknown-queue' };
    const { fromOffset } = options;
    if (fromOffset < queue.startOffset || fromOffset > queue.visibleEndOffset) {
      return { outcome: 'out-of-range', bounds: queue.bounds };
    }
    if (fromOffset === queue.visibleEndOffset) return this.reader.empty(fromOffset);
    const limits = {
      untilOffset: Math.min(options.untilOffset ?? queue.visibleEndOffset, queue.visibleEndOffset),
      maxBytes: options.maxBytes,
      maxRows: maxRowsPerRead,
      atLeastOne: options.atLeastOne,
    };
    const rows = this.spareRows.pop() ?? new EntryRows();
    rows.clear();
    const generation = this.readsInFlight.enter();
    const result = this.queueIndex.collectFromMemory(queue, fromOffset, limits, rows)
      ? this.readRows(queue, fromOffset, rows)
      : this.readFromRuns(queue, fromOffset, limits, rows);
    if (!(result instanceof Promise)) {
      this.readsInFlight.leave(generation);
      this.keepRows(rows);
      return result;
    }
    return result.finally(() => {
      this.readsInFlight.leave(generation);
      this.keepRows(rows);
    });
  }

  entries(queueId: QueueId, fromOffset: number, limit: number): Promise<readonly EntryFacts[]> {
    return this.readsInFlight.during(() => this.entriesNow(queueId, fromOffset, limit));
  }

  private async entriesNow(
    queueId: QueueId,
    fromOffset: number,
    limit: number,
  ): Promise<readonly EntryFacts[]> {
    const queue = this.queues.get(queueId);
    if (queue === undefined || limit <= 0) return [];
    const rows = new EntryRows();
    const limits = {
      untilOffset: queue.visibleEndOffset,
      maxBytes: Number.POSITIVE_INFINITY,
      maxRows: limit,
      atLeastOne: true,
    };
    await this.guarded(this.queueIndex.collect(queue, Math.max(fromOffset, queue.startOffset), limits, rows));
    const facts: EntryFacts[] = [];
    for (let row = 0; row < rows.length; row++) {
      const one = await this.factsOf(queue, rows, row);
      if (one !== undefined) facts.push(one);
    }
    return facts;
  }

  watch(queues: readonly QueueId[], wake: () => void): () => void {
    return this.watchers.watch(queues, wake);
  }

  findByTime(queueId: QueueId, timestampMs: number): Promise<EntryFacts | undefined> {
    return this.readsInFlight.during(() => this.findByTimeNow(queueId, timestampMs));
  }

  private async findByTimeNow(queueId: QueueId, timestampMs: number): Promise<EntryFacts | undefined> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return undefined;
    const rows = new EntryRows();
    const { startOffset, visibleEndOffset } = queue;
    await this.guarded(this.queueIndex.findByTime(queue, startOffset, visibleEndOffset, timestampMs, rows));
    return rows.length === 0 ? undefined : this.factsOf(queue, rows, 0);
  }

  findLargestTime(queueId: QueueId): Promise<EntryFacts | undefined> {
    return this.readsInFlight.during(() => this.findLargestTimeNow(queueId));
  }

  private async findLargestTimeNow(queueId: QueueId): Promise<EntryFacts | undefined> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return undefined;
    const { startOffset, visibleEndOffset } = queue;
    const largest = await this.guarded(this.queueIndex.largestTime(queue, startOffset, visibleEndOffset));
    if (largest === undefined) return undefined;
    const rows = new EntryRows();
    await this.queueIndex.findByTime(queue, startOffset, visibleEndOffset, largest, rows);
    return rows.length === 0 ? undefined : this.factsOf(queue, rows, 0);
  }

  findEpochEnd(
    queueId: QueueId,
    epoch: number,
  ): Promise<{ readonly epoch: number; readonly endOffset: number } | undefined> {
    return this.readsInFlight.during(() => this.findEpochEndNow(queueId, epoch));
  }

  private async findEpochEndNow(
    queueId: QueueId,
    epoch: number,
  ): Promise<{ readonly epoch: number; readonly endOffset: number } | undefined> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return undefined;
    const { startOffset, visibleEndOffset } = queue;
    if (startOffset === visibleEndOffset) return undefined;
    const header = new EntryHeader();
    const epochOf = async (rows: EntryRows, row: number): Promise<number | undefined> => {
      const found = await this.headerOf(queue, rows, row, header);
      return found?.epoch;
    };
    // An entry whose header is damaged says nothing; taken as old it moves the end forward, never back.
    const isOldEnough = async (probe: EntryRows, row: number): Promise<boolean> => {
      const found = await epochOf(probe, row);
      return found === undefined || found <= epoch;
    };
    const rows = await this.guarded(
      this.queueIndex.findLast(queue, startOffset, visibleEndOffset, isOldEnough),
    );
    if (rows.length === 0) return undefined;
    const found = await epochOf(rows, 0);
    if (found === undefined) return undefined;
    // What was found was rewritten away, and this is the one after it.
    if (found > epoch) return this.findEpochEndNow(queueId, epoch);
    return { epoch: found, endOffset: rows.length > 1 ? rows.baseOffsets[1]! : visibleEndOffset };
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
          : await this.guarded(this.queueIndex.bytesBetween(queue, startOffset, target));
      if (queue.startOffset !== startOffset || queue.isDropped) continue;
      if (queue.rewrites !== rewrites || this.cleaner.whenSettled() !== undefined) continue;
      await this.appendChange({ op: 'trim', queue: queueId, toOffset: target, removedBytes }, 'freeing');
      this.reclaimSoon();
      return queue.bounds;
    }
  }

  rewrite(requests: readonly RewriteRequest[]): Promise<readonly (RewriteResult | undefined)[]> {
    if (this.refusal !== undefined) {
      return Promise.reject(new Error('the storage engine is closed, closing or has failed'));
    }
    return this.cleaner.rewrite(requests);
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
    await this.appendChange({ op: 'lease', name, epoch }, 'state');
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
    this.refusal ??= 'closing';
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

  /** Links are fetched and condition rows loaded; then everything is checked and fixed at once. */
  private async appendPrepared(
    group: AppendGroup,
    conditions: readonly IndexCondition[],
  ): Promise<readonly AppendResult[]> {
    const pins = conditions.map(({ index, key }) => this.orderedIndex.pin(index, key));
    const own =
      conditions.length === 0
        ? noBuffers
        : conditions.map(({ expected }) => expected && Buffer.from(expected));
    try {
      const copied = withOwnPayloads(group);
      const sources = await this.fetchSources(copied.entries);
      for (;;) {
        const missing = pins.find((pin) => pin.value === undefined);
        if (missing === undefined) break;
        await missing.load();
      }
      if (this.refusal === undefined && !conditionsHold(pins, own)) {
        return refuseAll(group, this.fenceRefusal(group) ?? 'condition-failed');
      }
      return await this.fix(copied, sources);
    } finally {
      for (const pin of pins) pin.release();
    }
  }

  /** The payloads to store; undefined stands for a link whose source is missing. */
  private async fetchSources(entries: readonly AppendEntry[]): Promise<(Buffer | undefined)[]> {
    const sources: (Buffer | undefined)[] = [];
    for (const { payload } of entries) {
      sources.push(Buffer.isBuffer(payload) ? payload : await this.fetchLinked(payload));
    }
    return sources;
  }

  private async fetchLinked({ queue, offset }: LinkSource): Promise<Buffer | undefined> {
    const state = this.queues.get(queue);
    if (state === undefined || offset < state.startOffset || offset >= state.visibleEndOffset)
      return undefined;
    const result = await this.read(queue, { fromOffset: offset, maxBytes: 0, atLeastOne: true });
    if (result.outcome !== 'read') return undefined;
    // In a gap the read goes on with the next entry, which is not the one that was meant.
    const isThere = result.payloads.length > 0 && result.baseOffset <= offset;
    const copy = isThere ? Buffer.concat(result.payloads) : undefined;
    result.release();
    return copy;
  }

  private fenceRefusal({ fences }: AppendGroup): RefusalReason | undefined {
    if (fences === undefined) return undefined;
    for (const { lease, epoch } of fences) if (this.leases.get(lease)?.epoch !== epoch) return 'stale-lease';
    return undefined;
  }

  /** Checks the group and puts it into the log, all in one go. `sources`: payloads where the entries' own do not do. */
  private fix(
    group: AppendGroup,
    sources: readonly (Buffer | undefined)[] | undefined,
  ): Promise<readonly AppendResult[]> {
    const reason = this.refusal ?? (this.cannotWrite() ? 'storage-fault' : this.fenceRefusal(group));
    if (reason !== undefined) return Promise.resolve(refuseAll(group, reason));
    const { entries } = group;
    let grade: WriteGrade = 'state';
    const queues: QueueState[] = new Array(entries.length);
    let totalBytes = 0;
    let isRefused = false;
    let hasProducers = false;
    for (let at = 0; at < entries.length; at++) {
      const entry = entries[at]!;
      const queue = this.queues.get(entry.queue);
      const payload = sources === undefined ? (entry.payload as Buffer) : sources[at];
      assert(entry.count >= 1, 'an entry takes at least one offset');
      if (queue === undefined || payload === undefined) {
        isRefused = true;
        continue;
      }
      queues[at] = queue;
      totalBytes += entryBytes(payload.length);
      if (entry.producer !== undefined) hasProducers = true;
      if (entry.kind === 'data') grade = 'data';
    }
    const verdicts = hasProducers ? this.checkProducers(entries) : undefined;
    if (isRefused || verdicts !== undefined) return this.refuse(group, sources, queues, verdicts);
    const changes =
      group.changes === undefined || group.changes.length === 0
        ? undefined
        : this.changesWithOffsets(group.changes, entries, queues);
    const changeBytes = changes === undefined ? undefined : encodeIndexChanges(changes);
    if (changeBytes !== undefined) totalBytes += entryBytes(changeBytes.length);
    if (totalBytes === 0) return this.answerNothing();
    assert(totalBytes < largestGroupBytes, 'a group is far smaller than a segment can be');
    if (!this.space.admits(grade, totalBytes)) return Promise.resolve(refuseAll(group, 'storage-fault'));
    return this.place(
      group,
      (sources ?? undefined) as Sources | undefined,
      queues,
      totalBytes,
      changes,
      changeBytes,
    );
  }

  private changesWithOffsets(
    changes: readonly IndexChange[],
    entries: readonly AppendEntry[],
    queues: readonly QueueState[],
  ): readonly IndexChange[] {
    let offsets: readonly number[] | undefined;
    return withOffsets(changes, (entry) => {
      offsets ??= offsetsFrom(entries, (at) => queues[at]!.nextOffset);
      return offsets[entry]!;
    });
  }

  private cannotWrite(): boolean {
    return this.commitLog.isFull || this.queueIndex.frozenCount > this.maxSealedTables * 8;
  }

  private checkProducers(
    entries: readonly AppendEntry[],
  ): readonly (SequenceVerdict | undefined)[] | undefined {
    if (entries.length > 1) return this.window.checkGroup(entries.map((entry) => entry.producer));
    const verdict = this.window.check(entries[0]!.producer!);
    return verdict.kind === 'next' ? undefined : [verdict];
  }

  /** A group of conditions only, which hold. */
  private answerNothing(): Promise<readonly AppendResult[]> {
    return Promise.resolve([
      { outcome: 'appended', baseOffset: -1, storeTimeMs: this.nextStoreTimeMs(), logStartOffset: -1 },
    ]);
  }

  private refuse(
    group: AppendGroup,
    sources: readonly (Buffer | undefined)[] | undefined,
    queues: readonly (QueueState | undefined)[],
    verdicts: readonly (SequenceVerdict | undefined)[] | undefined,
  ): Promise<readonly AppendResult[]> {
    let neededDurable = 0;
    let hasDuplicate = false;
    const results = group.entries.map((_, at): AppendResult => {
      const queue = queues[at];
      const verdict = verdicts?.[at];
      if (queue === undefined) {
        const isUnknown = !this.queues.has(group.entries[at]!.queue);
        if (isUnknown) return { outcome: 'refused', reason: 'unknown-queue' };
        assert(sources !== undefined, 'only links can be missing');
        return { outcome: 'refused', reason: 'link-source-missing' };
      }
      if (verdict === undefined || verdict.kind === 'next') return notAppended;
      if (verdict.kind !== 'duplicate') return { outcome: 'refused', reason: verdict.kind };
      hasDuplicate = true;
      neededDurable = Math.max(
        neededDurable,
        queue.neededDurable,
        group.durability === 'sync' ? this.commitLog.appended : 0,
      );
      const { baseOffset, storeTimeMs } = verdict;
      return { outcome: 'duplicate', baseOffset, storeTimeMs, logStartOffset: queue.startOffset };
    });
    if (!hasDuplicate) return Promise.resolve(results);
    // The first of them may not be as safe yet as this answer says.
    const answered = this.visibility.addAnswer(this.commitLog.appended, neededDurable, results);
    if (neededDurable > this.commitLog.durable) this.commitLog.requestFlush(neededDurable);
    this.progressed();
    return answered;
  }

  private place(
    group: AppendGroup,
    sources: Sources | undefined,
    queues: readonly QueueState[],
    totalBytes: number,
    changes: readonly IndexChange[] | undefined,
    changeBytes: Buffer | undefined,
  ): Promise<readonly AppendResult[]> {
    const { commitLog, header, epoch } = this;
    const { entries } = group;
    const isSync = group.durability === 'sync';
    const storeTimeMs = this.begin(totalBytes);
    header.group = commitLog.appended;
    header.epoch = epoch;
    header.storeTimeMs = storeTimeMs;
    header.durablePosition = commitLog.durable;
    const results: AppendResult[] = new Array(entries.length);
    const endOffsets: number[] = new Array(entries.length);
    const sizesBytes: number[] = new Array(entries.length);
    const last = changeBytes === undefined ? entries.length - 1 : entries.length;
    for (let at = 0; at < entries.length; at++) {
      const entry = entries[at]!;
      const queue = queues[at]!;
      const payload = sources === undefined ? (entry.payload as Buffer) : sources[at]!;
      const baseOffset = queue.nextOffset;
      const endOffset = baseOffset + entry.count;
      const sizeBytes = payload.length;
      const location = commitLog.appended;
      header.kind = kindCode(entry.kind);
      header.flags = (isSync ? flagSync : 0) | (at === last ? flagLastOfGroup : 0);
      header.payloadBytes = sizeBytes;
      header.location = location;
      header.queue = entry.queue;
      header.baseOffset = baseOffset;
      header.count = entry.count;
      header.maxTimestampMs = entry.maxTimestampMs;
      header.payloadChecksum = 0;
      header.setProducer(entry.producer);
      this.put(payload, this.stampOffsets, baseOffset, false);
      queue.nextOffset = endOffset;
      queue.sizeBytes += sizeBytes;
      this.queueIndex.add(
        queue,
        location,
        baseOffset,
        entry.count,
        sizeBytes,
        entry.maxTimestampMs,
        storeTimeMs,
      );
      if (entry.producer !== undefined) {
        this.window.record(entry.producer, {
          baseOffset,
          lastOffset: endOffset - 1,
          storeTimeMs,
          maxTimestampMs: entry.maxTimestampMs,
        });
      }
      endOffsets[at] = endOffset;
      sizesBytes[at] = sizeBytes;
      results[at] = { outcome: 'appended', baseOffset, storeTimeMs, logStartOffset: queue.startOffset };
    }
    if (changeBytes !== undefined) this.placeOwn(kindIndexChanges, changeBytes, isSync);
    if (entries.length === 0) {
      results.push({ outcome: 'appended', baseOffset: -1, storeTimeMs, logStartOffset: -1 });
    }
    const end = commitLog.appended;
    if (changes !== undefined) this.applyChanges(changes, end);
    const answered = this.visibility.add(
      end,
      isSync,
      commitLog.durable,
      queues,
      endOffsets,
      sizesBytes,
      results,
    );
    commitLog.endGroup(isSync, group.flushWithinMs);
    this.maintenance.sealIfDue();
    return answered;
  }

  /** Makes room for a group. Answers its store time. */
  private begin(totalBytes: number): number {
    const { commitLog } = this;
    this.space.spent(totalBytes);
    const storeTimeMs = this.nextStoreTimeMs();
    const before = commitLog.appended;
    if (commitLog.beginGroup(totalBytes, this.epoch, storeTimeMs)) {
      this.maintenance.segmentSealed({
        number: segmentOf(before),
        sizeBytes: offsetIn(before) + headerBytes,
      });
    }
    return storeTimeMs;
  }

  private nextStoreTimeMs(): number {
    const nowMs = this.clock.nowMs();
    if (nowMs > this.lastStoreTimeMs) this.lastStoreTimeMs = nowMs;
    return this.lastStoreTimeMs;
  }

  /** Copies the payload into the log behind `header`, which is complete but for what depends on the copy. */
  private put(payload: Buffer, isStamped: boolean, baseOffset: number, isOwn: boolean): void {
    const { header } = this;
    const sizeBytes = payload.length;
    const bytes = entryBytes(sizeBytes);
    const slab = this.commitLog.place(bytes);
    const at = slab.used - bytes;
    const start = at + headerBytes;
    const end = start + sizeBytes;
    payload.copy(slab.bytes, start);
    if (isStamped) this.format.stamp(slab.bytes, start, baseOffset, this.epoch);
    else if (!isOwn) this.format.stamp(slab.bytes, start, 0, 0);
    if (isOwn) header.payloadChecksum = this.crc32c(slab.bytes, start, end);
    for (let pad = end; pad < slab.used; pad++) slab.bytes[pad] = 0;
    header.encode(slab.view, slab.bytes, at, this.crc32c);
  }

  /** An entry of the engine's own, the last of its group. */
  private placeOwn(kind: number, payload: Buffer, isSync: boolean): void {
    const { header } = this;
    header.kind = kind;
    header.flags = flagLastOfGroup | (isSync ? flagSync : 0);
    header.payloadBytes = payload.length;
    header.location = this.commitLog.appended;
    header.queue = 0;
    header.baseOffset = 0;
    header.count = 0;
    header.maxTimestampMs = -1;
    header.setProducer(undefined);
    this.put(payload, false, 0, true);
  }

  private applyChanges(changes: readonly IndexChange[], end: number): void {
    this.unsettled.push({ sequence: this.orderedIndex.apply(changes), end });
  }

  /** A change of the engine's own, in the log; done to the state at once. Resolves when durable. */
  private async appendChange(change: EngineChange, grade: WriteGrade): Promise<void> {
    const payload = encodeEngineChange(change);
    this.mustWrite(grade, payload.length);
    const { commitLog, header } = this;
    header.storeTimeMs = this.begin(entryBytes(payload.length));
    header.group = commitLog.appended;
    header.epoch = this.epoch;
    header.durablePosition = commitLog.durable;
    this.placeOwn(kindEngineChanges, payload, true);
    const end = commitLog.appended;
    applyEngineChange(change, this.queues, this.table, this.leaseEpochs);
    commitLog.endGroup(true, undefined);
    this.maintenance.sealIfDue();
    await commitLog.whenDurable(end);
  }

  /** Changes of the engine's own have no refusal to answer. */
  private mustWrite(grade: WriteGrade, bytes: number): void {
    if (this.refusal === 'closing') throw new Error('the storage engine is closed or closing');
    if (this.refusal !== undefined) throw new Error('the storage engine has failed');
    if (this.cannotWrite() || !this.space.admits(grade, bytes)) {
      throw new NoRoomError('the disk is full: nothing can be written until there is room');
    }
  }

  private async updateCatalogue(
    update: CatalogueUpdate,
  ): Promise<{ outcome: 'done'; version: number } | { outcome: 'conflict'; key: string }> {
    const { table, queues } = this;
    const createQueues = update.createQueues ?? [];
    // Dropping frees space, and so may settings; a new queue is there to be filled.
    const grade = createQueues.length === 0 ? 'freeing' : 'state';
    this.mustWrite(grade, 0);
    const key = table.conflict(update.changes);
    if (key !== undefined) return { outcome: 'conflict', key };
    const dropQueues = (update.dropQueues ?? []).filter((id) => queues.has(id) || createQueues.includes(id));
    for (const id of createQueues) {
      assert(!queues.has(id), `queue ${id} exists`);
      assert(Number.isSafeInteger(id) && id >= 1, `${id} is no queue id`);
    }
    const version = table.version + 1;
    const durable = this.appendChange(
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
    if (space.isShort && headBytes >= space.lowWater && !commitLog.isFull && this.refusal === undefined) {
      this.closeHead();
    }
    space.mayFree();
    this.maintenance.reclaimSoon();
    this.cleaner.checkSoon();
  }

  private closeHead(): void {
    const { commitLog } = this;
    const before = commitLog.appended;
    if (!commitLog.closeSegment(this.epoch, this.nextStoreTimeMs())) return;
    this.maintenance.segmentSealed({
      number: segmentOf(before),
      sizeBytes: offsetIn(before) + headerBytes,
    });
    commitLog.endGroup(true, undefined);
  }

  private progressed(): void {
    const { written, durable } = this.commitLog;
    let settled = -1;
    let count = 0;
    for (; count < this.unsettled.length && this.unsettled[count]!.end <= durable; count++) {
      settled = this.unsettled[count]!.sequence;
    }
    if (count > 0) {
      this.unsettled = this.unsettled.slice(count);
      this.orderedIndex.settle(settled);
    }
    this.visibility.progress(written, durable);
  }

  private async readFromRuns(
    queue: QueueState,
    fromOffset: number,
    limits: { untilOffset: number; maxBytes: number; maxRows: number; atLeastOne: boolean },
    rows: EntryRows,
  ): Promise<ReadResult> {
    await this.guarded(this.queueIndex.collect(queue, fromOffset, limits, rows));
    return this.readRows(queue, fromOffset, rows);
  }

  private readRows(queue: QueueState, fromOffset: number, rows: EntryRows): MaybePromise<ReadResult> {
    if (rows.length === 0) return this.reader.empty(fromOffset);
    return this.reader.readFromSlabs(rows) ?? this.reader.read(queue.id, rows);
  }

  private keepRows(rows: EntryRows): void {
    if (this.spareRows.length < maxSpareRows) this.spareRows.push(rows);
  }

  /** Waits for a look into the index; a run that turns out damaged is made again. */
  private async guarded<T>(look: Promise<T>): Promise<T> {
    try {
      return await look;
    } catch (error) {
      this.maintenance.repair(error);
      throw error;
    }
  }

  private async headerOf(
    queue: QueueState,
    rows: EntryRows,
    row: number,
    into: EntryHeader,
  ): Promise<EntryHeader | undefined> {
    return this.reader.header(
      queue.id,
      rows.locations[row]!,
      rows.baseOffsets[row]!,
      rows.sizesBytes[row]!,
      into,
    );
  }

  private async factsOf(queue: QueueState, rows: EntryRows, row: number): Promise<EntryFacts | undefined> {
    return (await this.headerOf(queue, rows, row, new EntryHeader()))?.toFacts();
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

const noBuffers: readonly (Buffer | null)[] = [];

function conditionsHold(pins: readonly IndexPin[], expected: readonly (Buffer | null)[]): boolean {
  for (let at = 0; at < pins.length; at++) {
    const { value } = pins[at]!;
    const wanted = expected[at]!;
    const holds = wanted === null ? value === null : value?.equals(wanted) === true;
    if (!holds) return false;
  }
  return true;
}

/** The group with payloads that its caller cannot change any more. */
function withOwnPayloads(group: AppendGroup): AppendGroup {
  const entries = group.entries.map((entry) =>
    Buffer.isBuffer(entry.payload) ? { ...entry, payload: Buffer.from(entry.payload) } : entry,
  );
  const changes = group.changes?.map((change) => ({
    ...change,
    key: Buffer.from(change.key),
    value: change.value === null ? null : Buffer.from(change.value),
  }));
  return { ...group, entries, ...(changes === undefined ? {} : { changes }) };
}

function refuseAll(group: AppendGroup, reason: RefusalReason): readonly AppendResult[] {
  const refused: AppendResult = { outcome: 'refused', reason };
  return group.entries.length === 0 ? [refused] : group.entries.map(() => refused);
}
