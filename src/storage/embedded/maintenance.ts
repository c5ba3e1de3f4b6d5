/**
 * What happens behind the appends: index tables become run files, state becomes snapshots, runs are merged, segments that nobody can
 * read any more are removed, and the manifest is kept. Each step leaves a directory that a start can use, wherever it is cut
 * off: new files first, durable; then the manifest that names them; then the old ones go.
 *
 * What cannot be done for want of space is tried again; after any other fault the log is made to fail.
 */
import type { Clock, Timer } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { QueueId } from '../engine.ts';
import type { ProducerWindow } from '../producer-window.ts';
import type { BlockCache } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import type { ReadsInFlight } from './cleaning/reads-in-flight.ts';
import type { CommitLog } from './commit-log.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import type { FrozenTable } from './consume-queue-table.ts';
import { type DirectoryLayout, producersFileName, stateFileName } from './directory-layout.ts';
import { type DiskSpace, isNoSpace } from './disk-space.ts';
import { errorCodeOf, type FileSystem } from './file-system.ts';
import { isCleanedSegment, locationOf, segmentFileName } from './location.ts';
import {
  type Extent,
  type Manifest,
  type RunReference,
  type SegmentReference,
  type SizeChange,
  writeManifest,
} from './manifest.ts';
import { writeTwice } from './mirror.ts';
import type { IndexStore } from './ordered-index/index-store.ts';
import { IndexDamagedError } from './ordered-index/run-file.ts';
import { QueueSet } from './queue-set.ts';
import { pause, type RunContext, rebuildRun, writeFrozenTable } from './run-build.ts';
import { RunDamagedError, RunFile, runFileName } from './run-file.ts';
import { mergeRuns } from './run-merge.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { EmbeddedSettings } from './settings.ts';
import { sealSnapshot } from './state-snapshot.ts';
import { ReadFailedError } from './strict-file-system.ts';

export interface MaintenanceParts {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly settings: EmbeddedSettings;
  readonly clock: Clock;
  readonly logger: Log;
  readonly commitLog: CommitLog;
  readonly space: DiskSpace;
  readonly index: ConsumeQueueIndex;
  readonly orderedIndex: IndexStore;
  readonly window: ProducerWindow;
  readonly segments: SegmentFiles;
  readonly readsInFlight: ReadsInFlight;
  readonly blockCache: BlockCache;
  readonly runContext: RunContext;
  /** As of the end of the last group. */
  encodeState(): Buffer;
  lastStoreTimeMs(): number;
  /** First offset of a queue, undefined where it was dropped. */
  startOffsetOf(queue: QueueId): number | undefined;
}

/** What else changes with the extents. */
export interface ExtentChanges {
  readonly nextCleanedSegment: number;
  readonly sizeChanges?: readonly SizeChange[];
}

interface SealJob {
  readonly frozen: FrozenTable;
  /** Taken when the table was cut off; undefined: not this time. */
  readonly state: Buffer | undefined;
  readonly producers: Buffer | undefined;
  /** The newest rewrite that the state knows of. */
  readonly sizeSequence: number;
  /** Nothing may be left that an earlier segment is needed for. */
  readonly isFull: boolean;
}

const passingCodes = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE']);
/** Snapshots are taken when at least so many times their size was appended since the last. */
const snapshotFactor = 4;
/** The ordered index is sealed at the latest after so many times sealBytes of log. */
const orderedIndexFactor = 8;
const largestLevel = 2;
/** What fails again and again is tried at least this often. */
const longestRetryMs = 30_000;

export class Maintenance {
  private readonly parts: MaintenanceParts;
  private manifest: Manifest;
  /** Ascending; those sealed since the last extent. */
  private headSealed: SegmentReference[];
  private jobs: SealJob[] = [];
  private running: Promise<void> | undefined;
  private sealedAt: number;
  // Bytes appended when the last of each was made.
  private bytesAtSeal = 0;
  private bytesAtSnapshot = 0;
  private bytesAtOrderedSeal = 0;
  private snapshotBytes = 0;
  private reclaimIsDue = false;
  private isClosing = false;
  /** A seal failed while closing. */
  private hasGivenUp = false;
  private roomPromise: Promise<void> | undefined;
  private roomResolve: (() => void) | undefined;
  private repairing = new Set<RunFile>();
  /** Numbers of the runs of extents that the cleaner works on: they stay as they are. */
  private readonly claimed = new Set<number>();
  private tasks: (() => Promise<void>)[] = [];
  private wantsSnapshots = false;
  private sizeSequence: number;
  private removing: Promise<void> = Promise.resolve();
  private stopWaiting: () => void = () => {};
  private readonly stopped: Promise<void>;
  /** Called when segments of the head became an extent; set by the engine. */
  extentMade: () => void = () => {};

  /** `recovered`: tables of segments that were read again at the start, in the index already. */
  constructor(
    parts: MaintenanceParts,
    manifest: Manifest,
    headSealed: readonly SegmentReference[],
    recovered: readonly FrozenTable[],
  ) {
    this.parts = parts;
    this.manifest = manifest;
    this.headSealed = [...headSealed];
    this.sealedAt = recovered.at(-1)?.to ?? manifest.indexedTo;
    this.sizeSequence = manifest.sizeChanges?.at(-1)?.sequence ?? 0;
    this.stopped = new Promise((resolve) => {
      this.stopWaiting = resolve;
    });
    const { sizeSequence } = this;
    for (const frozen of recovered) {
      this.jobs.push({ frozen, state: undefined, producers: undefined, sizeSequence, isFull: false });
    }
    // Much was replayed: the next start shall not do it all again.
    if (parts.index.tableRows * 4 > parts.settings.sealEntries) this.seal();
    if (this.jobs.length > 0) this.start();
  }

  /** Bytes of run and snapshot files and of sealed segments. */
  get fileBytes(): number {
    let bytes = this.parts.orderedIndex.fileBytes;
    for (const { run, segments } of this.manifest.extents) {
      bytes += run.sizeBytes;
      for (const segment of segments) bytes += segment.sizeBytes;
    }
    for (const run of this.manifest.pieces) bytes += run.sizeBytes;
    for (const segment of this.headSealed) bytes += segment.sizeBytes;
    return bytes;
  }

  get extents(): readonly Extent[] {
    return this.manifest.extents;
  }

  /** The first segment that is in no extent. */
  get headSegment(): number {
    return this.manifest.headSegment;
  }

  /** A start replays the log from here: what an extent after it holds may still be needed, whatever queues say. */
  get replayedFrom(): number {
    const { state, producers, orderedIndex } = this.manifest;
    return Math.min(state.position, producers.position, orderedIndex.position);
  }

  get nextCleanedSegment(): number | undefined {
    return this.manifest.nextCleanedSegment;
  }

  /** Rewrites whose sizes no state snapshot knows of yet. */
  get pendingSizeChanges(): number {
    return this.manifest.sizeChanges?.length ?? 0;
  }

  nextSizeSequence(): number {
    return this.sizeSequence + 1;
  }

  /** Extents with these runs are neither merged nor removed until they are let go. */
  claim(extents: readonly Extent[]): void {
    for (const { run } of extents) this.claimed.add(run.number);
  }

  letGo(extents: readonly Extent[]): void {
    for (const { run } of extents) this.claimed.delete(run.number);
    this.start();
  }

  /** Does the work when every seal that is due was done, while nothing else changes the manifest. Rejects as the work does. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.tasks.push(async () => {
        if (this.parts.commitLog.hasFailed) {
          reject(new Error('the storage engine has failed'));
          return;
        }
        await work().then(resolve, reject);
      });
      this.start();
    });
  }

  /** Like every other change of the manifest: what is not a want of space, and may have been half done, fails the log. */
  private async seriously(change: () => Promise<void>): Promise<void> {
    try {
      await change();
    } catch (error) {
      if (error instanceof RunDamagedError) this.repair(error);
      else if (!passingCodes.has(errorCodeOf(error) ?? '')) this.parts.commitLog.fail(error as Error);
      throw error;
    }
  }

  /** All sealed segments of the head become an extent. Inside `exclusive`. */
  promoteHead(): Promise<void> {
    return this.seriously(() => this.promote());
  }

  private async promote(): Promise<void> {
    const { extents, pieces, indexedTo } = this.manifest;
    const segments = this.headSealed.filter(({ number }) => locationOf(number + 1, 0) <= indexedTo);
    if (segments.length === 0) return;
    const headSegment = segments.at(-1)!.number + 1;
    const isOld = (piece: RunReference): boolean => piece.to <= locationOf(headSegment, 0);
    const merged = pieces.filter(isOld);
    const run = merged.length > 1 ? await this.merge(merged) : undefined;
    const extent: Extent = { segments, run: run?.reference ?? merged[0]!, level: 1 };
    const changes = {
      extents: [...extents, extent],
      pieces: pieces.filter((piece) => !isOld(piece)),
      headSealed: this.headSealed.filter(({ number }) => number >= headSegment),
      headSegment,
    };
    await this.swapRuns(run === undefined ? [] : merged, run, changes);
  }

  /**
   * These are the extents from now on: manifest, index, then `published`, in one go; what only earlier ones consisted of is
   * removed once no look-up can ask for it. Inside `exclusive`. `fresh`: their runs that were not there before; the index has
   * them then.
   */
  replaceExtents(
    extents: readonly Extent[],
    fresh: readonly RunFile[],
    changes: ExtentChanges,
    published: () => void,
  ): Promise<void> {
    return this.seriously(() => this.putExtents(extents, fresh, changes, published));
  }

  private async putExtents(
    extents: readonly Extent[],
    fresh: readonly RunFile[],
    changes: ExtentChanges,
    published: () => void,
  ): Promise<void> {
    const { commitLog, index, layout } = this.parts;
    const before = this.manifest.extents;
    await commitLog.whenDurable(commitLog.appended);
    const sizeChanges = [...(this.manifest.sizeChanges ?? []), ...(changes.sizeChanges ?? [])];
    const { nextCleanedSegment } = changes;
    await this.write({ ...this.manifest, extents, nextCleanedSegment, sizeChanges });
    this.sizeSequence = sizeChanges.at(-1)?.sequence ?? this.sizeSequence;
    const open = [...index.runs, ...fresh];
    const byNumber = new Map(open.map((run) => [run.reference.number, run]));
    const runs = extents.map(({ run, without }) => leavingOut(byNumber.get(run.number)!, without));
    for (const piece of this.manifest.pieces) runs.push(byNumber.get(piece.number)!);
    index.arrange(runs, open);
    published();
    const kept = new Set(extents.map(({ run }) => run.number));
    const gone = before.filter(({ run }) => !kept.has(run.number));
    for (const { run } of gone) await this.remove(`${layout.consumeQueues}/${runFileName(run.number)}`);
    const keptSegments = new Set(extents.flatMap(({ segments }) => segments.map(({ number }) => number)));
    this.removeSegments(
      gone
        .flatMap(({ segments }) => segments.map(({ number }) => number))
        .filter((number) => !keptSegments.has(number)),
    );
  }

  /** Has state and all else brought up to date, so that nothing keeps an old segment. */
  snapshotSoon(): void {
    if (this.isClosing) return;
    this.wantsSnapshots = true;
    this.reclaimIsDue = true;
    this.seal();
  }

  /** After every group. */
  sealIfDue(): void {
    const { commitLog, index, settings, orderedIndex } = this.parts;
    const isDue =
      index.tableRows >= settings.sealEntries ||
      commitLog.totalAppendedBytes - this.bytesAtSeal >= settings.sealBytes ||
      (orderedIndex.isFull && this.jobs.length === 0 && this.running === undefined);
    if (isDue) this.seal();
  }

  /** The log goes on in a new segment: index tables never reach across. */
  segmentSealed(segment: SegmentReference): void {
    this.headSealed.push(segment);
    this.seal();
  }

  /** Undefined when appends may go on. */
  whenRoom(): Promise<void> | undefined {
    if (this.parts.index.frozenCount <= this.parts.settings.maxSealedTables) return undefined;
    this.roomPromise ??= new Promise((resolve) => {
      this.roomResolve = resolve;
    });
    return this.roomPromise;
  }

  /** A queue's start moved or queues were dropped: there may be something to remove. */
  reclaimSoon(): void {
    this.reclaimIsDue = true;
    this.start();
  }

  /** Writes the manifest as it is: what a start on a full disk could not. */
  async writeAgain(): Promise<void> {
    while (this.running !== undefined) await this.running;
    this.running = this.write(this.manifest).finally(() => {
      this.running = undefined;
      if (this.jobs.length > 0 || this.reclaimIsDue) this.start();
    });
    await this.running;
  }

  /** A block of the run fails its checksum: the run is made again from the log. */
  repair(error: unknown): void {
    if (!(error instanceof RunDamagedError)) return;
    this.parts.logger.error(
      { error: error.message },
      'an index run is damaged; making it again from the log',
    );
    void this.verifyRuns();
  }

  /** Seals what is left, takes snapshots and marks the manifest as clean. The log must be durable and at rest. */
  async close(): Promise<void> {
    this.isClosing = true;
    this.stopWaiting();
    await this.removing;
    while (this.running !== undefined) await this.running;
    const { space, commitLog, logger } = this.parts;
    if (!this.hasGivenUp && (commitLog.appended > this.manifest.indexedTo || this.isAnythingOlder()))
      this.seal();
    while (this.running !== undefined) await this.running;
    if (this.hasGivenUp) {
      logger.warn({}, 'the index could not be sealed: the next start makes it again from the log');
      return;
    }
    try {
      await space.withRoom(() =>
        this.write({ ...this.manifest, durablePosition: commitLog.durable, isClean: true }),
      );
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      logger.warn(
        { error: (error as Error).message },
        'no room to note the clean end: the next start looks for itself',
      );
    }
  }

  /** Waits for what is under way, so that the directory is at rest; nothing more is begun. */
  async abandon(): Promise<void> {
    this.isClosing = true;
    this.stopWaiting();
    this.jobs = [];
    while (this.running !== undefined) await this.running;
    await this.removing;
  }

  private isAnythingOlder(): boolean {
    const { state, producers, orderedIndex, indexedTo } = this.manifest;
    return Math.min(state.position, producers.position, orderedIndex.position) < indexedTo;
  }

  private seal(): void {
    const { commitLog, index, window } = this.parts;
    const position = commitLog.appended;
    const frozen = index.freeze(this.sealedAt, position);
    this.sealedAt = position;
    const bytes = commitLog.totalAppendedBytes;
    this.bytesAtSeal = bytes;
    // On a full disk nothing may keep a segment from going.
    const isFull = this.isClosing || this.parts.space.isShort || this.wantsSnapshots;
    this.wantsSnapshots = false;
    const takesSnapshot = isFull || bytes - this.bytesAtSnapshot >= this.snapshotBytes * snapshotFactor;
    let state: Buffer | undefined;
    let producers: Buffer | undefined;
    if (takesSnapshot) {
      state = this.parts.encodeState();
      producers = window.size === 0 ? Buffer.alloc(0) : window.serialize();
      this.snapshotBytes = state.length + producers.length;
      this.bytesAtSnapshot = bytes;
    }
    this.jobs.push({ frozen, state, producers, sizeSequence: this.sizeSequence, isFull });
    this.start();
  }

  private start(): void {
    this.running ??= this.work().finally(() => {
      this.running = undefined;
      if (
        (this.jobs.length > 0 && !this.isClosing && !this.parts.commitLog.hasFailed) ||
        this.tasks.length > 0
      )
        this.start();
    });
  }

  /** Everything that is due, one after the other. */
  private async work(): Promise<void> {
    await pause(); // not inside the append that made it due
    let failures = 0;
    for (;;) {
      try {
        const job = this.jobs[0];
        if (job !== undefined) {
          await this.finishSeal(job);
        } else if (this.tasks.length > 0) {
          await this.tasks.shift()!();
        } else if (this.parts.space.isShort && this.reclaimIsDue && (await this.reclaimFirst())) {
          // What frees space comes first where there is none.
        } else if (!(await this.reclaimOnce()) && !(await this.mergeOnce())) {
          return;
        }
      } catch (error) {
        if (this.parts.commitLog.hasFailed) {
          for (const task of this.tasks.splice(0)) await task();
          return;
        }
        if (isNoSpace(error) && (await this.parts.space.release(error as Error))) continue;
        const passes =
          passingCodes.has(errorCodeOf(error) ?? '') ||
          error instanceof ReadFailedError ||
          error instanceof RunDamagedError ||
          error instanceof IndexDamagedError;
        if (this.isClosing && passes) {
          // Made again from the log by the next start. Nothing may be sealed after it: its rows would be missing from the index.
          this.jobs = [];
          this.hasGivenUp = true;
          return;
        }
        if (!passes) {
          this.parts.commitLog.fail(error as Error);
          for (const task of this.tasks.splice(0)) await task();
          return;
        }
        this.repair(error);
        this.parts.logger.warn(
          { error: (error as Error).message },
          'the index could not be sealed or merged; it is tried again',
        );
        const waitMs = Math.min(this.parts.settings.fullRetryMs * 2 ** failures, longestRetryMs);
        failures++;
        let timer: Timer | undefined;
        const waited = new Promise<void>((resolve) => {
          timer = this.parts.clock.after(waitMs, resolve);
        });
        await Promise.race([waited, this.stopped]);
        timer?.cancel();
        // The run is made again when this is at rest.
        if (error instanceof RunDamagedError) return;
      }
    }
  }

  private async finishSeal(job: SealJob): Promise<void> {
    const { fileSystem, layout, crc32c, commitLog, index, orderedIndex, runContext, settings } = this.parts;
    const position = job.frozen.to;
    await commitLog.whenDurable(position);
    const isEmpty = job.frozen.from === position;
    const reference = isEmpty ? undefined : await writeFrozenTable(runContext, job.frozen);
    let next: Manifest = {
      ...this.manifest,
      pieces: reference === undefined ? this.manifest.pieces : [...this.manifest.pieces, reference],
      headSealed: this.headSealed.filter(
        (segment) => locationOf(segment.number, segment.sizeBytes) <= position,
      ),
      indexedTo: position,
    };
    if (job.state !== undefined) {
      const number = runContext.nextFileNumber();
      const content = sealSnapshot('state', number, position, job.state, crc32c);
      await writeTwice(fileSystem, layout.snapshots, layout.mirror, stateFileName(number), content);
      const sizeChanges = next.sizeChanges?.filter(({ sequence }) => sequence > job.sizeSequence);
      next = { ...next, state: { number, position }, ...(sizeChanges === undefined ? {} : { sizeChanges }) };
    }
    if (job.producers !== undefined) {
      const number = job.producers.length === 0 ? undefined : runContext.nextFileNumber();
      if (number !== undefined) {
        const content = sealSnapshot('producers', number, position, job.producers, crc32c);
        await writeTwice(fileSystem, layout.snapshots, layout.mirror, producersFileName(number), content);
      }
      next = { ...next, producers: { number, position } };
    }
    const bytes = commitLog.totalAppendedBytes;
    const orderedIsDue =
      job.isFull ||
      orderedIndex.isFull ||
      bytes - this.bytesAtOrderedSeal >= settings.sealBytes * orderedIndexFactor;
    if (orderedIndex.memtableBytes === 0) {
      next = { ...next, orderedIndex: { runs: orderedIndex.descriptions(), position } };
      this.bytesAtOrderedSeal = bytes;
    } else if (orderedIsDue) {
      await orderedIndex.seal();
      next = { ...next, orderedIndex: { runs: orderedIndex.descriptions(), position } };
      this.bytesAtOrderedSeal = bytes;
    }
    const before = this.manifest;
    let run: RunFile | undefined;
    if (reference !== undefined) {
      await fileSystem.syncDirectory(layout.consumeQueues);
      run = await RunFile.open(fileSystem, layout.consumeQueues, crc32c, runContext.cache, reference);
    }
    try {
      await this.write(next);
    } catch (error) {
      run?.retire();
      throw error;
    }
    index.replaceFrozen(job.frozen, run);
    // Done, whatever becomes of the rest: that is made up for by the next.
    this.jobs.shift();
    this.giveRoom();
    await this.removeSnapshots(before);
    await orderedIndex.dropUnused(this.manifest.orderedIndex.runs);
    if (await orderedIndex.mergeIfDue()) {
      const { position: orderedPosition } = this.manifest.orderedIndex;
      await this.write({
        ...this.manifest,
        orderedIndex: { runs: orderedIndex.descriptions(), position: orderedPosition },
      });
      await orderedIndex.dropUnused(this.manifest.orderedIndex.runs);
    }
  }

  /** One merge that is due. False when there is none. */
  private async mergeOnce(): Promise<boolean> {
    if (this.isClosing) return false;
    const { settings } = this.parts;
    const { extents, pieces, indexedTo } = this.manifest;
    // Two whole segments of the head become an extent; a single one does where space is short, since only extents can go.
    const [first, second] = this.headSealed;
    const last = second ?? (this.parts.space.isShort ? first : undefined);
    if (first !== undefined && last !== undefined && locationOf(last.number + 1, 0) <= indexedTo) {
      const until = locationOf(last.number + 1, 0);
      const merged = pieces.filter((piece) => piece.to <= until);
      const run = await this.merge(merged);
      const segments = first === last ? [first] : [first, last];
      const extent: Extent = { segments, run: run.reference, level: 1 };
      await this.swapRuns(merged, run, {
        extents: [...extents, extent],
        pieces: pieces.filter((piece) => piece.to > until),
        headSealed: this.headSealed.slice(segments.length),
        headSegment: last.number + 1,
      });
      return true;
    }
    // Neighbouring extents of one level become one of the next.
    for (let at = 0; at + settings.mergeWidth <= extents.length; at++) {
      const neighbours = extents.slice(at, at + settings.mergeWidth);
      const { level } = neighbours[0]!;
      if (level >= largestLevel || neighbours.some((extent) => extent.level !== level)) continue;
      if (neighbours.some((extent) => this.claimed.has(extent.run.number))) continue;
      const merged = neighbours.map((extent) => extent.run);
      const run = await this.merge(merged);
      const extent: Extent = {
        segments: neighbours.flatMap(segmentsWithout),
        run: run.reference,
        level: level + 1,
      };
      const kept = [...extents];
      kept.splice(at, settings.mergeWidth, extent);
      await this.swapRuns(merged, run, { extents: kept });
      return true;
    }
    // Many small pieces (a broker that is restarted often): those of one segment become one.
    if (pieces.length <= settings.maxPieces) return false;
    const merged = longestOfOneSegment(pieces);
    if (merged.length < 2) return false;
    const run = await this.merge(merged);
    const kept = [...pieces];
    kept.splice(kept.indexOf(merged[0]!), merged.length, run.reference);
    await this.swapRuns(merged, run, { pieces: kept });
    return true;
  }

  private async merge(references: readonly RunReference[]): Promise<RunFile> {
    const { fileSystem, layout, crc32c, runContext, startOffsetOf } = this.parts;
    const merged = await mergeRuns(
      fileSystem,
      layout.consumeQueues,
      crc32c,
      runContext.nextFileNumber(),
      this.filesOf(references),
      startOffsetOf,
      pause,
    );
    await fileSystem.syncDirectory(layout.consumeQueues);
    return RunFile.open(fileSystem, layout.consumeQueues, crc32c, runContext.cache, merged);
  }

  private filesOf(references: readonly RunReference[]): RunFile[] {
    const numbers = new Set(references.map((reference) => reference.number));
    return this.parts.index.runs.filter((run) => numbers.has(run.reference.number));
  }

  /** Puts a merged run (or nothing) in the place of others: manifest, index, files. */
  private async swapRuns(
    old: readonly RunReference[],
    merged: RunFile | undefined,
    changes: Partial<Manifest>,
  ): Promise<void> {
    const { fileSystem, layout, index, commitLog } = this.parts;
    // Rows before a queue's start were left behind: that start must be as durable as they are gone.
    await commitLog.whenDurable(commitLog.appended);
    await this.write({ ...this.manifest, ...changes });
    if (changes.headSegment !== undefined) {
      this.headSealed = this.headSealed.filter(({ number }) => number >= changes.headSegment!);
      this.extentMade();
    }
    index.replaceRuns(this.filesOf(old), merged);
    for (const { number } of old) await this.remove(`${layout.consumeQueues}/${runFileName(number)}`);
    await fileSystem.syncDirectory(layout.consumeQueues);
  }

  /** Before anything is merged; what merges make may be removed after them. */
  private async reclaimFirst(): Promise<boolean> {
    const isDone = await this.reclaimOnce();
    this.reclaimIsDue = true;
    return isDone;
  }

  /** Removes one extent of which nothing can be read any more. False when there is none. */
  private async reclaimOnce(): Promise<boolean> {
    if (!this.reclaimIsDue || this.isClosing) return false;
    const { index, startOffsetOf } = this.parts;
    const { extents } = this.manifest;
    for (const extent of extents) {
      if (logEndOf(extent) > this.replayedFrom) continue;
      if (this.claimed.has(extent.run.number)) continue;
      const run = index.runs.find((one) => one.reference.number === extent.run.number);
      if (run === undefined || !(await isDead(run, startOffsetOf))) continue;
      await this.swapRuns([extent.run], undefined, {
        extents: extents.filter((one) => one !== extent),
      });
      this.removeSegments(extent.segments.map(({ number }) => number));
      return true;
    }
    this.reclaimIsDue = false;
    return false;
  }

  /** Reads every block of every run and makes those again that are damaged. */
  private async verifyRuns(): Promise<void> {
    for (const run of this.parts.index.runs) {
      if (this.repairing.has(run) || this.isClosing) continue;
      this.repairing.add(run);
      run.retain();
      try {
        if (await run.isIntact()) continue;
        while (this.running !== undefined) await this.running;
        if (!this.parts.index.runs.includes(run) || this.isClosing) continue;
        if (this.claimed.has(run.reference.number)) continue; // found again when it is next asked
        this.running = this.replaceDamaged(run).finally(() => {
          this.running = undefined;
        });
        await this.running;
        this.start();
      } catch (error) {
        this.parts.logger.error({ error: (error as Error).message }, 'an index run could not be made again');
      } finally {
        this.repairing.delete(run);
        run.release();
      }
    }
  }

  private async replaceDamaged(run: RunFile): Promise<void> {
    const { fileSystem, layout, crc32c, runContext, logger } = this.parts;
    const { number } = run.reference;
    const extent = this.manifest.extents.find((one) => one.run.number === number);
    const { reference, losses } = await rebuildRun(runContext, run.reference, extent);
    for (const lost of losses) logger.error({ lost }, 'entries are damaged in the log');
    await fileSystem.syncDirectory(layout.consumeQueues);
    const fresh = await RunFile.open(fileSystem, layout.consumeQueues, crc32c, runContext.cache, reference);
    await this.swapRuns([run.reference], leavingOut(fresh, extent?.without), {
      pieces: this.manifest.pieces.map((piece) => (piece.number === number ? reference : piece)),
      extents: this.manifest.extents.map((extent) =>
        extent.run.number === number ? { ...extent, run: reference } : extent,
      ),
    });
  }

  private async removeSnapshots(before: Manifest): Promise<void> {
    const { state, producers } = before;
    if (state.number !== undefined && state.number !== this.manifest.state.number) {
      await this.removeTwice(stateFileName(state.number));
    }
    if (producers.number !== undefined && producers.number !== this.manifest.producers.number) {
      await this.removeTwice(producersFileName(producers.number));
    }
  }

  private async removeTwice(name: string): Promise<void> {
    await this.remove(`${this.parts.layout.snapshots}/${name}`);
    await this.remove(`${this.parts.layout.mirror}/${name}`);
  }

  /** Segments that no manifest names any more go when no look-up from before can ask for them. */
  private removeSegments(numbers: readonly number[]): void {
    if (numbers.length === 0) return;
    const { segments, blockCache, layout, readsInFlight } = this.parts;
    const drained = readsInFlight.drained().then(() => true);
    this.removing = this.removing.then(async () => {
      // At a close nobody waits for a slow reader: what stays behind is removed at the next start.
      if (!(await Promise.race([drained, this.stopped.then(() => false)]))) return;
      for (const number of numbers) {
        const source = await segments.forget(number);
        if (source !== undefined) blockCache.forget(source);
        await this.remove(`${layout.commitLog}/${segmentFileName(number)}`);
      }
    });
  }

  /** A file that no manifest names any more; what stays behind is removed at the next start. */
  private async remove(path: string): Promise<void> {
    try {
      await this.parts.fileSystem.unlink(path);
    } catch (error) {
      if (errorCodeOf(error) !== 'ENOENT') {
        this.parts.logger.warn({ path, error: (error as Error).message }, 'an old file could not be removed');
      }
    }
  }

  private async write(manifest: Manifest): Promise<void> {
    const { fileSystem, layout, crc32c, commitLog, runContext } = this.parts;
    const written: Manifest = {
      ...manifest,
      durablePosition: Math.max(manifest.durablePosition, commitLog.durable),
      lastStoreTimeMs: this.parts.lastStoreTimeMs(),
      nextFileNumber: runContext.nextFileNumber(),
    };
    this.manifest = await writeManifest(fileSystem, layout, crc32c, written);
  }

  private giveRoom(): void {
    if (this.parts.index.frozenCount > this.parts.settings.maxSealedTables) return;
    const resolve = this.roomResolve;
    this.roomResolve = undefined;
    this.roomPromise = undefined;
    resolve?.();
  }
}

/** The run without those queues, in the place of the run itself. */
function leavingOut(run: RunFile, without: string | undefined): RunFile {
  return (without ?? '') === run.without.text ? run : run.leavingOut(QueueSet.parse(without));
}

/** The extent's segments, each with what the extent as a whole leaves out. */
function segmentsWithout({ segments, without }: Extent): readonly SegmentReference[] {
  if (without === undefined) return segments;
  const set = QueueSet.parse(without);
  return segments.map((segment) => ({
    ...segment,
    without: QueueSet.parse(segment.without).union(set).text,
  }));
}

/** After the last of its segments that the log was written to; 0 where the cleaner wrote all of them. */
export function logEndOf({ segments }: Extent): number {
  let end = 0;
  for (const { number } of segments) {
    if (!isCleanedSegment(number)) end = Math.max(end, locationOf(number + 1, 0));
  }
  return end;
}

async function isDead(run: RunFile, startOffsetOf: (queue: QueueId) => number | undefined): Promise<boolean> {
  for await (const { queue, endOffset } of run.summaries()) {
    const startOffset = startOffsetOf(queue);
    if (startOffset !== undefined && endOffset > startOffset) return false;
  }
  return true;
}

function longestOfOneSegment(pieces: readonly RunReference[]): readonly RunReference[] {
  let longest: RunReference[] = [];
  let run: RunReference[] = [];
  for (const piece of pieces) {
    const isSame = run.length > 0 && Math.floor(run[0]!.from / 2 ** 32) === Math.floor(piece.from / 2 ** 32);
    run = isSame ? [...run, piece] : [piece];
    if (run.length > longest.length) longest = run;
  }
  return longest;
}
