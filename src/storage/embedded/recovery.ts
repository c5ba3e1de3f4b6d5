import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { CatalogueTable } from '../catalogue-table.ts';
import type { PayloadFormat, QueueId } from '../engine.ts';
import { ProducerWindow, type ProducerWindowLimits } from '../producer-window.ts';
import { BlockCache, type ReadGate } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import type { FrozenTable } from './consume-queue-table.ts';
import {
  checkDirectories,
  createDirectory,
  makeDirectories,
  refuseForeignData,
  removeStrays,
} from './data-directory.ts';
import { type DirectoryLayout, producersFileName, stateFileName } from './directory-layout.ts';
import { type DiskSpace, isNoSpace } from './disk-space.ts';
import { type FileSystem, isAbsent } from './file-system.ts';
import { describeLocation, segmentFileName, segmentOf, segmentOfFileName } from './location.ts';
import { LogReplay } from './log-replay.ts';
import { cutLog, DataLossError, scanLog } from './log-scan.ts';
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
import { RunDamagedError, RunFile, runBlockBytes } from './run-file.ts';
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

class Recovery {
  private readonly options: RecoveryOptions;
  private readonly manifest: Manifest;
  private readonly isNew: boolean;
  private readonly found: FoundManifest | undefined;
  /** Copies to be made again, once everything was found to be in order. */
  private readonly restorations: (() => Promise<void>)[] = [];
  private readonly runContext: RunContext;
  private readonly replay: LogReplay;

  constructor(options: RecoveryOptions, manifest: Manifest, isNew: boolean, found?: FoundManifest) {
    this.options = options;
    this.manifest = manifest;
    this.isNew = isNew;
    this.found = found;
    this.replay = new LogReplay(manifest, new ProducerWindow(options.clock, options.producerLimits));
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
      this.replay.orderedIndex = await this.openOrderedIndex();
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
        epoch: manifest.logEpoch,
        acceptLoss,
        visit: (header, payload) => this.replay.entry(header, payload),
        segmentEnded: (segment, next) => this.replay.segmentEnded(segment, next),
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
        const changed = this.replay.queues.get(queue);
        if (changed !== undefined) changed.sizeBytes += bytes;
      }
      for (const queue of this.replay.queues.values()) queue.visibleEndOffset = queue.nextOffset;
      const next: Manifest = {
        ...manifest,
        ...changedRuns,
        ...(await this.sealedRows(this.replay.orderedIndex, scan.end)),
        logEpoch: isClean || this.isNew ? manifest.logEpoch : this.replay.largestEpoch + 1,
        durablePosition: scan.end,
        isClean: false,
        lastStoreTimeMs: this.replay.lastStoreTimeMs,
        nextFileNumber: this.runContext.nextFileNumber(),
      };
      const written = this.isNew ? next : await this.writtenManifest(next);
      if (written === undefined) await this.removeStrays(manifest, next);
      else await this.removeStrays(next);
      const segmentPath = `${layout.commitLog}/${segmentFileName(segmentOf(scan.end))}`;
      return {
        manifest: written ?? next,
        isManifestDue: written === undefined,
        queues: this.replay.queues,
        table: this.replay.table,
        leases: this.replay.leases,
        window: this.replay.window,
        index: this.replay.index,
        orderedIndex: this.replay.orderedIndex,
        runContext: this.runContext,
        position: scan.end,
        segmentExists: (await fileSystem.stat(segmentPath)) !== undefined,
        lastStoreTimeMs: this.replay.lastStoreTimeMs,
        headSealed: this.replay.headSealed,
        frozen: this.replay.frozen,
      };
    } catch (error) {
      this.replay.index.close();
      await this.replay.orderedIndex?.close();
      throw error;
    }
  }

  /**
   * Many rows that came from the log go into a run file before the start is over: a process that is killed again and again before its
   * first seal would replay more of them each time. Nothing where they are few, or the disk has no room for it.
   */
  private async sealedRows(
    orderedIndex: IndexStore,
    position: number,
  ): Promise<Pick<Manifest, 'orderedIndex'> | undefined> {
    if (!orderedIndex.isFull) return undefined;
    try {
      await orderedIndex.seal();
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      return undefined;
    }
    return { orderedIndex: { runs: orderedIndex.descriptions(), position } };
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
    this.replay.table.load(state.catalogue, state.catalogueVersion);
    for (const { id, startOffset, nextOffset, sizeBytes } of state.queues) {
      this.replay.queues.set(id, new QueueState(id, startOffset, nextOffset, sizeBytes));
    }
    for (const [name, epoch] of state.leases) this.replay.leases.set(name, epoch);
  }

  private async loadProducers(): Promise<void> {
    const { number } = this.manifest.producers;
    if (number === undefined) return;
    try {
      const { producers } = this.manifest;
      this.replay.window.restore(await this.snapshot('producers', producersFileName(number), producers));
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

  /** Opens the index runs; those that are damaged or missing are made again from the log. */
  private async openRuns(): Promise<Pick<Manifest, 'extents' | 'pieces'>> {
    const { extents, pieces } = this.manifest;
    const runs: RunFile[] = [];
    this.replay.index.setRuns(runs);
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

  private async removeStrays(...manifests: readonly Manifest[]): Promise<void> {
    await this.replay.orderedIndex!.removeStrays();
    await removeStrays(this.options, ...manifests);
  }

  /** Copies made again where they were damaged, then the manifest. Undefined where the disk is too full for it, whatever could be removed. */
  private async writtenManifest(next: Manifest): Promise<Manifest | undefined> {
    const { fileSystem, layout, crc32c, space, logger } = this.options;
    const write = async (): Promise<Manifest> => {
      await makeDirectories(this.options);
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
}
