/**
 * What happens behind the appends: index tables become run files, state becomes snapshots, runs are merged, segments that nobody can
 * read any more are removed, and the manifest is kept. Each step leaves a directory that a start can use, wherever it is cut
 * off: new files first, durable; then the manifest that names them; then the old ones go.
 *
 * What cannot be done for want of space is tried again; after any other fault the log is made to fail.
 */
import type { Clock, Timer } from '../../util/clock.ts';
import type { QueueId } from '../engine.ts';
import type { ProducerWindow } from '../producer-window.ts';
import type { FrozenTable } from './consume-queue-table.ts';
import { isNoSpace } from './disk-space.ts';
import { errorCodeOf } from './file-system.ts';
import type { Extent, Manifest, SegmentReference } from './manifest.ts';
import {
  type ExtentChanges,
  leavingOut,
  logEndOf,
  ManifestKeeper,
  type ManifestKeeperParts,
} from './manifest-keeper.ts';
import { IndexDamagedError } from './ordered-index/run-file.ts';
import { pause, rebuildRun } from './run-build.ts';
import { RunDamagedError, RunFile } from './run-file.ts';
import { RunMerges, type RunMergesParts } from './run-merges.ts';
import { type SealJob, Seals, type SealsParts } from './seals.ts';
import { ReadFailedError } from './strict-file-system.ts';

export interface MaintenanceParts extends ManifestKeeperParts, SealsParts, RunMergesParts {
  readonly clock: Clock;
  readonly window: ProducerWindow;
  /** As of the end of the last group. */
  encodeState(): Buffer;
}

const passingCodes = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE']);
/** Snapshots are taken when at least so many times their size was appended since the last. */
const snapshotFactor = 4;
/** What fails again and again is tried at least this often. */
const longestRetryMs = 30_000;

export class Maintenance {
  private readonly parts: MaintenanceParts;
  private readonly keeper: ManifestKeeper;
  private readonly seals: Seals;
  private readonly merges: RunMerges;
  private jobs: SealJob[] = [];
  private running: Promise<void> | undefined;
  private sealedAt: number;
  // Bytes appended when the last of each was made.
  private bytesAtSeal = 0;
  private bytesAtSnapshot = 0;
  private snapshotBytes = 0;
  private reclaimIsDue = false;
  private isClosing = false;
  /** A seal failed while closing. */
  private hasGivenUp = false;
  private roomPromise: Promise<void> | undefined;
  private roomResolve: (() => void) | undefined;
  private repairing = new Set<RunFile>();
  private tasks: (() => Promise<void>)[] = [];
  private wantsSnapshots = false;

  /** `recovered`: tables of segments that were read again at the start, in the index already. */
  constructor(
    parts: MaintenanceParts,
    manifest: Manifest,
    headSealed: readonly SegmentReference[],
    recovered: readonly FrozenTable[],
  ) {
    this.parts = parts;
    this.keeper = new ManifestKeeper(parts, manifest, headSealed);
    this.seals = new Seals(parts, this.keeper);
    this.merges = new RunMerges(parts, this.keeper);
    this.sealedAt = recovered.at(-1)?.to ?? manifest.indexedTo;
    const { sizeSequence } = this.keeper;
    for (const frozen of recovered) {
      this.jobs.push({ frozen, state: undefined, producers: undefined, sizeSequence, isFull: false });
    }
    // Much was replayed: the next start shall not do it all again.
    if (parts.index.tableRows * 4 > parts.settings.sealEntries) this.seal();
    if (this.jobs.length > 0) this.start();
  }

  /** Calls back when segments of the head became an extent. */
  onExtentMade(made: () => void): void {
    this.keeper.extentMade = made;
  }

  /** Bytes of run and snapshot files and of sealed segments. */
  get fileBytes(): number {
    let bytes = this.parts.orderedIndex.fileBytes;
    for (const { run, segments } of this.keeper.manifest.extents) {
      bytes += run.sizeBytes;
      for (const segment of segments) bytes += segment.sizeBytes;
    }
    for (const run of this.keeper.manifest.pieces) bytes += run.sizeBytes;
    for (const segment of this.keeper.headSealed) bytes += segment.sizeBytes;
    return bytes;
  }

  get extents(): readonly Extent[] {
    return this.keeper.manifest.extents;
  }

  /** The first segment that is in no extent. */
  get headSegment(): number {
    return this.keeper.manifest.headSegment;
  }

  /** A start replays the log from here: what an extent after it holds may still be needed, whatever queues say. */
  get replayedFrom(): number {
    const { state, producers, orderedIndex } = this.keeper.manifest;
    return Math.min(state.position, producers.position, orderedIndex.position);
  }

  get nextCleanedSegment(): number | undefined {
    return this.keeper.manifest.nextCleanedSegment;
  }

  /** Rewrites whose sizes no state snapshot knows of yet. */
  get pendingSizeChanges(): number {
    return this.keeper.manifest.sizeChanges?.length ?? 0;
  }

  nextSizeSequence(): number {
    return this.keeper.sizeSequence + 1;
  }

  /** Extents with these runs are neither merged nor removed until they are let go. */
  claim(extents: readonly Extent[]): void {
    for (const { run } of extents) this.merges.claimed.add(run.number);
  }

  letGo(extents: readonly Extent[]): void {
    for (const { run } of extents) this.merges.claimed.delete(run.number);
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
    return this.seriously(() => this.merges.promoteHead());
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
    return this.seriously(() => this.keeper.replaceExtents(extents, fresh, changes, published));
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
    this.keeper.headSealed.push(segment);
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
    this.running = this.keeper.write(this.keeper.manifest).finally(() => {
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
    await this.keeper.stop();
    while (this.running !== undefined) await this.running;
    const { space, commitLog, logger } = this.parts;
    if (!this.hasGivenUp && (commitLog.appended > this.keeper.manifest.indexedTo || this.isAnythingOlder()))
      this.seal();
    while (this.running !== undefined) await this.running;
    if (this.hasGivenUp) {
      logger.warn({}, 'the index could not be sealed: the next start makes it again from the log');
      return;
    }
    try {
      await space.withRoom(() =>
        this.keeper.write({ ...this.keeper.manifest, durablePosition: commitLog.durable, isClean: true }),
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
    const removed = this.keeper.stop();
    this.jobs = [];
    while (this.running !== undefined) await this.running;
    await removed;
  }

  private isAnythingOlder(): boolean {
    const { state, producers, orderedIndex, indexedTo } = this.keeper.manifest;
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
    this.jobs.push({ frozen, state, producers, sizeSequence: this.keeper.sizeSequence, isFull });
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
          await this.seals.finish(job, () => this.sealed());
        } else if (this.tasks.length > 0) {
          await this.tasks.shift()!();
        } else if (this.parts.space.isShort && this.reclaimIsDue && (await this.reclaimFirst())) {
          // What frees space comes first where there is none.
        } else if (!(await this.reclaimOnce()) && (this.isClosing || !(await this.merges.mergeOnce()))) {
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
        await Promise.race([waited, this.keeper.stopped]);
        timer?.cancel();
        // The run is made again when this is at rest.
        if (error instanceof RunDamagedError) return;
      }
    }
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
    const { extents } = this.keeper.manifest;
    for (const extent of extents) {
      if (logEndOf(extent) > this.replayedFrom) continue;
      if (this.merges.claimed.has(extent.run.number)) continue;
      const run = index.runs.find((one) => one.reference.number === extent.run.number);
      if (run === undefined || !(await isDead(run, startOffsetOf))) continue;
      await this.keeper.swapRuns([extent.run], undefined, {
        extents: extents.filter((one) => one !== extent),
      });
      this.keeper.removeSegments(extent.segments.map(({ number }) => number));
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
        if (this.merges.claimed.has(run.reference.number)) continue; // found again when it is next asked
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
    const extent = this.keeper.manifest.extents.find((one) => one.run.number === number);
    const { reference, losses } = await rebuildRun(runContext, run.reference, extent);
    for (const lost of losses) logger.error({ lost }, 'entries are damaged in the log');
    await fileSystem.syncDirectory(layout.consumeQueues);
    const fresh = await RunFile.open(fileSystem, layout.consumeQueues, crc32c, runContext.cache, reference);
    await this.keeper.swapRuns([run.reference], leavingOut(fresh, extent?.without), {
      pieces: this.keeper.manifest.pieces.map((piece) => (piece.number === number ? reference : piece)),
      extents: this.keeper.manifest.extents.map((extent) =>
        extent.run.number === number ? { ...extent, run: reference } : extent,
      ),
    });
  }

  /** The first of the jobs is done. */
  private sealed(): void {
    this.jobs.shift();
    this.giveRoom();
  }

  private giveRoom(): void {
    if (this.parts.index.frozenCount > this.parts.settings.maxSealedTables) return;
    const resolve = this.roomResolve;
    this.roomResolve = undefined;
    this.roomPromise = undefined;
    resolve?.();
  }
}

async function isDead(run: RunFile, startOffsetOf: (queue: QueueId) => number | undefined): Promise<boolean> {
  for await (const { queue, endOffset } of run.summaries()) {
    const startOffset = startOffsetOf(queue);
    if (startOffset !== undefined && endOffset > startOffset) return false;
  }
  return true;
}
