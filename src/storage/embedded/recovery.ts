/**
 * Opens a data directory: reads the manifest and what it names, replays the log from there, decides on its end, and leaves the
 * directory as a running engine may go on from. Nothing is created or changed before everything was found to be in order.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import { CatalogueTable } from '../catalogue-table.ts';
import type { PayloadFormat, QueueId } from '../engine.ts';
import { ProducerWindow, type ProducerWindowLimits } from '../producer-window.ts';
import { incompleteBackupName } from './backup-listing.ts';
import { BlockCache, type ReadGate } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import { ConsumeQueueIndex } from './consume-queue-index.ts';
import type { FrozenTable } from './consume-queue-table.ts';
import { type DirectoryLayout, producersFileName, stateFileName } from './directory-layout.ts';
import { type DiskSpace, isNoSpace } from './disk-space.ts';
import { decodeEngineChange, decodeIndexChanges, type EngineChange } from './engine-changes.ts';
import {
  type EntryHeader,
  isQueueKind,
  kindEngineChanges,
  kindIndexChanges,
  kindLost,
} from './entry-header.ts';
import { type FileSystem, isAbsent } from './file-system.ts';
import {
  describeLocation,
  isCleanedSegment,
  segmentFileName,
  segmentOf,
  segmentOfFileName,
} from './location.ts';
import { cutLog, DataLossError, scanLog } from './log-scan.ts';
import { decodeLostRanges, type LostRange } from './lost-entry.ts';
import {
  type Extent,
  type FoundManifest,
  type Manifest,
  type RunReference,
  readManifest,
  type SegmentReference,
  type SnapshotReference,
  writeManifest,
} from './manifest.ts';
import { readTwice } from './mirror.ts';
import { IndexStore } from './ordered-index/index-store.ts';
import { IndexDamagedError } from './ordered-index/run-file.ts';
import { QueueSet } from './queue-set.ts';
import { QueueState } from './queue-state.ts';
import { type RunContext, rebuildRun } from './run-build.ts';
import { RunDamagedError, RunFile, runBlockBytes, runFileName } from './run-file.ts';
import type { EmbeddedSettings } from './settings.ts';
import { decodeState, openSnapshot, type SnapshotKind } from './state-snapshot.ts';
import { replaceFile } from './whole-file.ts';

export interface RecoveryOptions {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly format: PayloadFormat;
  readonly clock: Clock;
  readonly logger: Log;
  readonly settings: EmbeddedSettings;
  readonly producerLimits: ProducerWindowLimits;
  readonly readGate: ReadGate;
  readonly acceptLoss: boolean;
  readonly space: DiskSpace;
}

/** Everything that a running engine begins with. */
export interface RecoveredData {
  /** Durable, unless it is due; says that the log is in use. */
  readonly manifest: Manifest;
  /** The disk was too full to write it: nothing may be appended before it is. */
  readonly isManifestDue: boolean;
  readonly queues: Map<QueueId, QueueState>;
  readonly table: CatalogueTable;
  readonly leases: Map<string, number>;
  readonly window: ProducerWindow;
  readonly index: ConsumeQueueIndex;
  readonly orderedIndex: IndexStore;
  readonly runContext: RunContext;
  /** Where the log goes on. */
  readonly position: number;
  readonly segmentExists: boolean;
  readonly lastStoreTimeMs: number;
  readonly headSealed: readonly SegmentReference[];
  readonly frozen: readonly FrozenTable[];
}

export async function recover(options: RecoveryOptions): Promise<RecoveredData> {
  const { fileSystem, layout, crc32c } = options;
  await checkDirectories(options);
  const found = await readManifest(fileSystem, layout, crc32c);
  if (found === undefined) {
    await refuseForeignData(options);
    return new Recovery(options, await createDirectory(options), true).run();
  }
  return new Recovery(options, found.manifest, false, found).run();
}

/** Links are not followed: what they lead to may be another's, or gone tomorrow. */
async function checkDirectories({ fileSystem, layout }: RecoveryOptions): Promise<void> {
  const { commitLog, consumeQueues, orderedIndex, snapshots, mirror } = layout;
  for (const path of [commitLog, consumeQueues, orderedIndex, snapshots, mirror]) {
    const info = await fileSystem.stat(path);
    if (info === undefined || info.isDirectory) continue;
    throw new DataLossError(
      `${path} is not a directory. Links are not followed: mount the volume there instead`,
    );
  }
}

/** A log, an index or a snapshot without a manifest is not an empty directory. */
async function refuseForeignData({ fileSystem, layout }: RecoveryOptions): Promise<void> {
  const { root, commitLog, consumeQueues, orderedIndex, snapshots, mirror } = layout;
  if ((await fileSystem.stat(`${root}/${incompleteBackupName}`)) !== undefined) {
    throw new DataLossError(
      `${root} is a backup that was interrupted: it is not whole. Make it again elsewhere`,
    );
  }
  for (const directory of [commitLog, consumeQueues, orderedIndex, snapshots, mirror]) {
    if ((await fileSystem.stat(directory)) === undefined) continue;
    for (const name of await fileSystem.readdir(directory)) {
      if (!/^\d{10}\.(log|run|index|state|producers)$/.test(name)) continue;
      const info = await fileSystem.stat(`${directory}/${name}`);
      if (info?.sizeBytes === 0) continue;
      throw new DataLossError(
        `${root} holds ${directory === commitLog ? 'log segments' : name} but no manifest: it is damaged or only ` +
          `partly copied. Restore the whole directory, or run: odradek log repair ${root}`,
      );
    }
  }
}

async function createDirectory(options: RecoveryOptions): Promise<Manifest> {
  const { fileSystem, layout, crc32c } = options;
  const { commitLog, consumeQueues, orderedIndex, snapshots, mirror } = layout;
  for (const path of [commitLog, consumeQueues, orderedIndex, snapshots, mirror])
    await fileSystem.mkdir(path);
  const manifest: Manifest = {
    storageId: randomBytes(16).toString('base64url'),
    logEpoch: 0,
    durablePosition: 0,
    isClean: false,
    lastStoreTimeMs: 0,
    extents: [],
    headSegment: 0,
    headSealed: [],
    pieces: [],
    indexedTo: 0,
    state: { number: undefined, position: 0 },
    producers: { number: undefined, position: 0 },
    orderedIndex: { runs: [], position: 0 },
    nextFileNumber: 1,
  };
  // Syncs the directory's own names as well.
  return writeManifest(fileSystem, layout, crc32c, manifest);
}

class Recovery {
  private readonly options: RecoveryOptions;
  private readonly manifest: Manifest;
  private readonly isNew: boolean;
  private readonly found: FoundManifest | undefined;
  /** Copies to be made again, once everything was found to be in order. */
  private readonly restorations: (() => Promise<void>)[] = [];
  private largestEpoch: number;
  private readonly runContext: RunContext;
  private readonly queues = new Map<QueueId, QueueState>();
  private readonly table = new CatalogueTable();
  private readonly leases = new Map<string, number>();
  private readonly window: ProducerWindow;
  private readonly index = new ConsumeQueueIndex();
  private orderedIndex: IndexStore | undefined;
  private readonly frozen: FrozenTable[] = [];
  private headSealed: SegmentReference[];
  private lastStoreTimeMs: number;
  private indexedTo: number;

  constructor(options: RecoveryOptions, manifest: Manifest, isNew: boolean, found?: FoundManifest) {
    this.options = options;
    this.manifest = manifest;
    this.isNew = isNew;
    this.found = found;
    this.largestEpoch = manifest.logEpoch;
    this.window = new ProducerWindow(options.clock, options.producerLimits);
    this.headSealed = [...manifest.headSealed];
    this.indexedTo = manifest.indexedTo;
    this.lastStoreTimeMs = manifest.lastStoreTimeMs;
    let nextFileNumber = manifest.nextFileNumber;
    const { fileSystem, layout, crc32c, format, settings } = options;
    this.runContext = {
      fileSystem,
      layout,
      crc32c,
      format,
      cache: new BlockCache(runBlockBytes, settings.indexCacheBytes, options.readGate),
      nextFileNumber: () => nextFileNumber++,
    };
  }

  async run(): Promise<RecoveredData> {
    const { fileSystem, layout, crc32c, format, logger, acceptLoss } = this.options;
    const { manifest } = this;
    for (const fault of this.found?.faults ?? []) this.usesOther(fault);
    try {
      await this.checkSegments();
      await this.loadState();
      await this.loadProducers();
      this.orderedIndex = await this.openOrderedIndex();
      const changedRuns = await this.openRuns();
      const from = Math.min(
        manifest.indexedTo,
        manifest.state.position,
        manifest.producers.position,
        manifest.orderedIndex.position,
      );
      const startedMs = this.options.clock.monotonicMs();
      const scan = await scanLog({
        fileSystem,
        directory: layout.commitLog,
        crc32c,
        format,
        from,
        durablePosition: manifest.durablePosition,
        acceptLoss,
        visit: (header, payload) => this.replay(header, payload),
        segmentEnded: (segment, next) => this.segmentEnded(segment, next),
      });
      for (const lost of scan.losses) logger.error({ lost }, 'started without data that had been durable');
      const isClean =
        manifest.isClean &&
        this.found?.isWhole !== false &&
        scan.end === manifest.durablePosition &&
        scan.tornBytes === 0;
      if (!isClean && !this.isNew) {
        logger.info(
          {
            replayed_from: describeLocation(from),
            log_end: describeLocation(scan.end),
            torn_bytes: scan.tornBytes,
            duration_ms: Math.round(this.options.clock.monotonicMs() - startedMs),
          },
          'recovered after an unclean shutdown',
        );
      }
      if (!isClean && !this.isNew) await cutLog(fileSystem, layout.commitLog, from, scan.end);
      for (const { queue, bytes } of manifest.sizeChanges ?? []) {
        const changed = this.queues.get(queue);
        if (changed !== undefined) changed.sizeBytes += bytes;
      }
      for (const queue of this.queues.values()) queue.visibleEndOffset = queue.nextOffset;
      const next: Manifest = {
        ...manifest,
        ...changedRuns,
        logEpoch: isClean || this.isNew ? manifest.logEpoch : this.largestEpoch + 1,
        durablePosition: scan.end,
        isClean: false,
        lastStoreTimeMs: this.lastStoreTimeMs,
        nextFileNumber: this.runContext.nextFileNumber(),
      };
      const written = this.isNew ? next : await this.writtenManifest(next);
      if (written === undefined) await this.removeStrays(manifest, next);
      else await this.removeStrays(next);
      const segmentPath = `${layout.commitLog}/${segmentFileName(segmentOf(scan.end))}`;
      return {
        manifest: written ?? next,
        isManifestDue: written === undefined,
        queues: this.queues,
        table: this.table,
        leases: this.leases,
        window: this.window,
        index: this.index,
        orderedIndex: this.orderedIndex,
        runContext: this.runContext,
        position: scan.end,
        segmentExists: (await fileSystem.stat(segmentPath)) !== undefined,
        lastStoreTimeMs: this.lastStoreTimeMs,
        headSealed: this.headSealed,
        frozen: this.frozen,
      };
    } catch (error) {
      this.index.close();
      await this.orderedIndex?.close();
      throw error;
    }
  }

  /** The segments that the manifest tells the size of are there, whole. */
  private async checkSegments(): Promise<void> {
    const { manifest } = this;
    const sealed = [...manifest.extents.flatMap((extent) => extent.segments), ...manifest.headSealed];
    const { fileSystem, layout, acceptLoss, logger } = this.options;
    if ((await fileSystem.stat(layout.commitLog)) === undefined) {
      throw new DataLossError(
        `${layout.commitLog} is missing, though the manifest beside it names its files`,
      );
    }
    for (const name of await fileSystem.readdir(layout.commitLog)) {
      if (segmentOfFileName(name) === undefined) continue;
      const info = await fileSystem.stat(`${layout.commitLog}/${name}`);
      if (info === undefined || (!info.isDirectory && !info.isOther)) continue;
      throw new DataLossError(
        `${layout.commitLog}/${name} is not a file, and links are not followed. Run: odradek log repair ${layout.root}`,
      );
    }
    for (const { number, sizeBytes } of sealed) {
      const path = `${layout.commitLog}/${segmentFileName(number)}`;
      const info = await fileSystem.stat(path);
      if (info !== undefined && !info.isDirectory && !info.isOther && info.sizeBytes >= sizeBytes) continue;
      const fault =
        info === undefined
          ? `${path} is missing`
          : `${path} has ${info.sizeBytes} bytes instead of ${sizeBytes}, or is no file`;
      if (!acceptLoss) {
        throw new DataLossError(
          `${fault}. Restore it from a copy, or start with --accept-loss to go on without what it held`,
        );
      }
      logger.error({ lost: fault }, 'started without data that had been durable');
    }
  }

  private async loadState(): Promise<void> {
    const { number } = this.manifest.state;
    if (number === undefined) return;
    const content = await this.snapshot('state', stateFileName(number), this.manifest.state);
    // Queues and catalogue are nothing to guess at: without them nothing could be found, and permissions would be gone.
    const state = decodeState(content);
    this.table.load(state.catalogue, state.catalogueVersion);
    for (const { id, startOffset, nextOffset, sizeBytes } of state.queues) {
      this.queues.set(id, new QueueState(id, startOffset, nextOffset, sizeBytes));
    }
    for (const [name, epoch] of state.leases) this.leases.set(name, epoch);
  }

  private async loadProducers(): Promise<void> {
    const { number } = this.manifest.producers;
    if (number === undefined) return;
    try {
      const { producers } = this.manifest;
      this.window.restore(await this.snapshot('producers', producersFileName(number), producers));
    } catch (error) {
      if (!this.options.acceptLoss) throw error;
      this.options.logger.error({ error: (error as Error).message }, 'started without known producers');
    }
  }

  /** The content of a snapshot from whichever copy is intact. */
  private async snapshot(
    kind: SnapshotKind,
    name: string,
    { number, position }: SnapshotReference,
  ): Promise<Buffer> {
    const { fileSystem, layout, crc32c } = this.options;
    const { first, second } = await readTwice(fileSystem, layout.snapshots, layout.mirror, name, (bytes) => {
      const opened = openSnapshot(kind, bytes, crc32c);
      const isAnother =
        opened?.number !== undefined && (opened.number !== number || opened.position !== position);
      return isAnother ? undefined : opened?.content;
    });
    if (first.fault !== undefined && second.fault !== undefined) {
      throw new DataLossError(
        `${first.fault}, and ${second.fault}. Restore one of the two, or run: odradek log repair ${layout.root}`,
      );
    }
    const intact = first.fault === undefined ? first : second;
    const broken = first.fault === undefined ? second : first;
    if (broken.fault !== undefined) {
      const isOfOldVersion = this.manifest.generation === undefined && broken === second;
      if (!isOfOldVersion) this.usesOther(broken.fault);
      const directory = broken === second ? layout.mirror : layout.snapshots;
      this.restorations.push(() => replaceFile(fileSystem, directory, name, [intact.bytes!]));
    }
    return intact.value!;
  }

  /** The one loud line for a copy that was found damaged. */
  private usesOther(fault: string): void {
    this.options.logger.error(
      { fault },
      'a file is damaged; going on with its other copy, which replaces it',
    );
  }

  private async openOrderedIndex(): Promise<IndexStore> {
    const { fileSystem, layout, logger } = this.options;
    const { runs } = this.manifest.orderedIndex;
    let store: IndexStore;
    try {
      store = await IndexStore.open(
        {
          fileSystem,
          directory: layout.orderedIndex,
          mirror: layout.mirror,
          report: (fault) => logger.error({ fault }, 'a block of the ordered index was damaged'),
        },
        runs,
      );
    } catch (error) {
      if (!(error instanceof IndexDamagedError) && !isAbsent(error)) throw error;
      throw new DataLossError(
        `the ordered index is damaged in both copies: ${(error as Error).message}. ` +
          `Restore one of the two, or run: odradek log repair ${layout.root}`,
      );
    }
    for (const { directory, message } of store.faults()) {
      if (this.manifest.generation !== undefined || directory !== layout.mirror) this.usesOther(message);
    }
    this.restorations.push(() => store.restoreCopies());
    return store;
  }

  /** Those that are missing. */
  private async makeDirectories(): Promise<void> {
    const { fileSystem, layout } = this.options;
    const { consumeQueues, orderedIndex, snapshots, mirror, root } = layout;
    let isAnyNew = false;
    for (const path of [consumeQueues, orderedIndex, snapshots, mirror]) {
      if ((await fileSystem.stat(path)) !== undefined) continue;
      await fileSystem.mkdir(path);
      isAnyNew = true;
    }
    if (isAnyNew) await fileSystem.syncDirectory(root);
  }

  /** Opens the index runs; those that are damaged or missing are made again from the log. */
  private async openRuns(): Promise<Pick<Manifest, 'extents' | 'pieces'>> {
    const { extents, pieces } = this.manifest;
    const runs: RunFile[] = [];
    this.index.setRuns(runs);
    const opened = async (reference: RunReference, extent?: Extent): Promise<RunReference> => {
      const run = await this.openRun(reference, extent);
      runs.push(extent?.without === undefined ? run : run.leavingOut(QueueSet.parse(extent.without)));
      if (runs.at(-1) !== run) run.release();
      return run.reference;
    };
    const newExtents = [];
    for (const extent of extents) newExtents.push({ ...extent, run: await opened(extent.run, extent) });
    const newPieces = [];
    for (const piece of pieces) newPieces.push(await opened(piece));
    return { extents: newExtents, pieces: newPieces };
  }

  private async openRun(reference: RunReference, extent: Extent | undefined): Promise<RunFile> {
    const { fileSystem, layout, crc32c, logger } = this.options;
    const { cache } = this.runContext;
    try {
      return await RunFile.open(fileSystem, layout.consumeQueues, crc32c, cache, reference);
    } catch (error) {
      if (!(error instanceof RunDamagedError) && !isAbsent(error)) throw error;
      const { message } = error as Error;
      logger.error({ error: message }, 'an index run is damaged or missing; making it again from the log');
      await fileSystem.mkdir(layout.consumeQueues);
      const rebuilt = await rebuildRun(this.runContext, reference, extent);
      for (const lost of rebuilt.losses) logger.error({ lost }, 'entries are damaged in the log');
      if (rebuilt.gaps.length > 0 && !this.options.acceptLoss) {
        // Its rows would be left out, and readers pass over them in silence.
        throw new DataLossError(
          `${message}, and the log that it is made from is damaged too: ${rebuilt.gaps[0]}. ` +
            `Run: odradek log repair ${layout.root}`,
        );
      }
      await fileSystem.syncDirectory(layout.consumeQueues);
      return RunFile.open(fileSystem, layout.consumeQueues, crc32c, cache, rebuilt.reference);
    }
  }

  /** One entry of the log, into whatever is older than it. */
  private replay(header: EntryHeader, payload: Buffer): void {
    const { manifest } = this;
    const { location, kind } = header;
    if (header.storeTimeMs > this.lastStoreTimeMs) this.lastStoreTimeMs = header.storeTimeMs;
    if (header.epoch > this.largestEpoch) this.largestEpoch = header.epoch;
    if (kind === kindIndexChanges) {
      if (location < manifest.orderedIndex.position) return;
      this.orderedIndex!.settle(this.orderedIndex!.apply(decodeIndexChanges(payload)));
      return;
    }
    if (kind === kindEngineChanges) {
      this.replayChange(decodeEngineChange(payload), location);
      return;
    }
    if (kind === kindLost) {
      for (const range of decodeLostRanges(header, payload)) this.replayLost(range, header);
      return;
    }
    if (!isQueueKind(kind)) return;
    const { baseOffset, count, payloadBytes, maxTimestampMs, storeTimeMs, producer } = header;
    const queue = this.queues.get(header.queue);
    if (queue !== undefined) {
      if (location >= manifest.state.position) {
        queue.nextOffset = Math.max(queue.nextOffset, baseOffset + count);
        queue.sizeBytes += payloadBytes;
      }
      if (location >= this.indexedTo) {
        this.index.add(queue, location, baseOffset, count, payloadBytes, maxTimestampMs, storeTimeMs);
      }
    }
    if (producer !== undefined && location >= manifest.producers.position) {
      this.window.record(producer, {
        baseOffset,
        lastOffset: baseOffset + count - 1,
        storeTimeMs,
        maxTimestampMs,
      });
    }
  }

  /** Offsets that a repair could not save: taken, and a read of them is answered that they are damaged. */
  private replayLost({ queue: id, from, to }: LostRange, { location, storeTimeMs }: EntryHeader): void {
    const queue = this.queues.get(id);
    if (queue === undefined) return;
    if (location >= this.manifest.state.position) queue.nextOffset = Math.max(queue.nextOffset, to);
    if (location >= this.indexedTo) this.index.add(queue, location, from, to - from, 0, -1, storeTimeMs);
  }

  private replayChange(change: EngineChange, location: number): void {
    const { manifest } = this;
    if (change.op === 'catalogue' && location >= manifest.producers.position) {
      for (const id of change.dropQueues) this.window.dropQueue(id);
    }
    if (location < manifest.state.position) return;
    applyEngineChange(change, this.queues, this.table, this.leases);
  }

  private segmentEnded(segment: SegmentReference, next: number): void {
    const isKnown =
      segment.number < this.manifest.headSegment ||
      this.headSealed.some((known) => known.number === segment.number);
    if (!isKnown) this.headSealed.push(segment);
    if (next <= this.indexedTo) return;
    const from = this.frozen.at(-1)?.to ?? this.indexedTo;
    this.frozen.push(this.index.freeze(from, next));
  }

  /** Copies made again where they were damaged, then the manifest. Undefined where the disk is too full for it, whatever could be removed. */
  private async writtenManifest(next: Manifest): Promise<Manifest | undefined> {
    const { fileSystem, layout, crc32c, space, logger } = this.options;
    const write = async (): Promise<Manifest> => {
      await this.makeDirectories();
      for (const restore of this.restorations) await restore();
      return writeManifest(fileSystem, layout, crc32c, next);
    };
    try {
      return await write();
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      await this.removeStrays(this.manifest, next);
      await space.release(error as Error);
    }
    try {
      return await write();
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      logger.error(
        { error: (error as Error).message },
        'started on a full disk: everything can be read and nothing written until there is room',
      );
      return undefined;
    }
  }

  /** Files that none of the manifests names: what was being written when the last process ended. */
  private async removeStrays(...manifests: readonly Manifest[]): Promise<void> {
    const { layout } = this.options;
    const runs = new Set<string>();
    const snapshots = new Set<string>();
    const segments = new Set<string>();
    const headSegment = Math.min(...manifests.map((manifest) => manifest.headSegment));
    for (const { pieces, extents, state, producers } of manifests) {
      for (const piece of pieces) runs.add(runFileName(piece.number));
      for (const extent of extents) {
        runs.add(runFileName(extent.run.number));
        for (const { number } of extent.segments) segments.add(segmentFileName(number));
      }
      if (state.number !== undefined) snapshots.add(stateFileName(state.number));
      if (producers.number !== undefined) snapshots.add(producersFileName(producers.number));
    }
    const isOldSegment = (name: string): boolean =>
      /^\d{10}\.log$/.test(name) &&
      (Number(name.slice(0, 10)) < headSegment || isCleanedSegment(Number(name.slice(0, 10)))) &&
      !segments.has(name);
    await this.removeFrom(layout.consumeQueues, (name) => name.endsWith('.run') && !runs.has(name));
    for (const directory of [layout.snapshots, layout.mirror]) {
      await this.removeFrom(
        directory,
        (name) => /^\d{10}\.(state|producers)(\.new)?$/.test(name) && !snapshots.has(name),
      );
    }
    await this.orderedIndex!.removeStrays();
    await this.removeFrom(layout.commitLog, isOldSegment);
  }

  private async removeFrom(directory: string, isStray: (name: string) => boolean): Promise<void> {
    const { fileSystem } = this.options;
    if ((await fileSystem.stat(directory)) === undefined) {
      await fileSystem.mkdir(directory);
      return;
    }
    for (const name of await fileSystem.readdir(directory)) {
      if (isStray(name)) await fileSystem.unlink(`${directory}/${name}`);
    }
  }
}

/** What an engine entry says, done to the state in memory: at run time when its order is fixed, and again by recovery. */
export function applyEngineChange(
  change: EngineChange,
  queues: Map<QueueId, QueueState>,
  table: CatalogueTable,
  leases: Map<string, number>,
): void {
  if (change.op === 'lease') {
    leases.set(change.name, change.epoch);
  } else if (change.op === 'trim') {
    const queue = queues.get(change.queue);
    if (queue === undefined) return;
    queue.startOffset = Math.max(queue.startOffset, change.toOffset);
    queue.sizeBytes -= change.removedBytes;
  } else {
    for (const id of change.createQueues) queues.set(id, new QueueState(id));
    for (const id of change.dropQueues) {
      const queue = queues.get(id);
      if (queue === undefined) continue;
      queue.isDropped = true;
      queues.delete(id);
    }
    table.apply(change.changes, change.version);
  }
}
