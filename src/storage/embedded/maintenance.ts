/**
 * What happens behind the appends: index tables become run files, state becomes snapshots, runs are merged, segments that nobody can
 * read any more are removed, and the manifest is kept. Each step leaves a directory that a start can use, wherever it is cut
 * off: new files first, durable; then the manifest that names them; then the old ones go.
 *
 * What cannot be done for want of space is tried again; after any other fault the log is made to fail.
 */
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { QueueId } from '../engine.ts';
import type { ProducerWindow } from '../producer-window.ts';
import type { BlockCache } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import type { CommitLog } from './commit-log.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import type { FrozenTable } from './consume-queue-table.ts';
import { type DirectoryLayout, producersFileName, stateFileName } from './directory-layout.ts';
import { type DiskSpace, isNoSpace } from './disk-space.ts';
import { errorCodeOf, type FileSystem } from './file-system.ts';
import { locationOf, segmentFileName } from './location.ts';
import {
  type Extent,
  type Manifest,
  type RunReference,
  type SegmentReference,
  writeManifest,
} from './manifest.ts';
import { writeTwice } from './mirror.ts';
import type { IndexStore } from './ordered-index/index-store.ts';
import { pause, type RunContext, rebuildRun, writeFrozenTable } from './run-build.ts';
import { RunDamagedError, RunFile, runFileName } from './run-file.ts';
import { mergeRuns } from './run-merge.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { EmbeddedSettings } from './settings.ts';
import { sealSnapshot } from './state-snapshot.ts';

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
  readonly blockCache: BlockCache;
  readonly runContext: RunContext;
  /** As of the end of the last group. */
  encodeState(): Buffer;
  lastStoreTimeMs(): number;
  /** First offset of a queue, undefined where it was dropped. */
  startOffsetOf(queue: QueueId): number | undefined;
}

interface SealJob {
  readonly frozen: FrozenTable;
  /** Taken when the table was cut off; undefined: not this time. */
  readonly state: Buffer | undefined;
  readonly producers: Buffer | undefined;
}

const passingCodes = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE']);
/** Snapshots are taken when at least so many times their size was appended since the last. */
const snapshotFactor = 4;
/** The ordered index is sealed at the latest after so many times sealBytes of log. */
const orderedIndexFactor = 8;
const largestLevel = 2;

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
  private roomPromise: Promise<void> | undefined;
  private roomResolve: (() => void) | undefined;
  private repairing = new Set<RunFile>();

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
    for (const frozen of recovered) this.jobs.push({ frozen, state: undefined, producers: undefined });
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
    while (this.running !== undefined) await this.running;
    if (this.parts.commitLog.appended > this.manifest.indexedTo || this.isAnythingOlder()) this.seal();
    while (this.running !== undefined) await this.running;
    const { space, commitLog, logger } = this.parts;
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
    this.jobs = [];
    while (this.running !== undefined) await this.running;
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
    const takesSnapshot =
      this.isClosing ||
      this.parts.space.isShort ||
      bytes - this.bytesAtSnapshot >= this.snapshotBytes * snapshotFactor;
    let state: Buffer | undefined;
    let producers: Buffer | undefined;
    if (takesSnapshot) {
      state = this.parts.encodeState();
      producers = window.size === 0 ? Buffer.alloc(0) : window.serialize();
      this.snapshotBytes = state.length + producers.length;
      this.bytesAtSnapshot = bytes;
    }
    this.jobs.push({ frozen, state, producers });
    this.start();
  }

  private start(): void {
    this.running ??= this.work().finally(() => {
      this.running = undefined;
      if (this.jobs.length > 0 && !this.isClosing) this.start();
    });
  }

  /** Everything that is due, one after the other. */
  private async work(): Promise<void> {
    await pause(); // not inside the append that made it due
    for (;;) {
      try {
        const job = this.jobs[0];
        if (job !== undefined) {
          await this.finishSeal(job);
          this.jobs.shift();
          this.giveRoom();
        } else if (this.parts.space.isShort && this.reclaimIsDue && (await this.reclaimFirst())) {
          // What frees space comes first where there is none.
        } else if (!(await this.mergeOnce()) && !(await this.reclaimOnce())) {
          return;
        }
      } catch (error) {
        if (this.parts.commitLog.hasFailed) return;
        if (isNoSpace(error) && (await this.parts.space.release(error as Error))) continue;
        if (this.isClosing && isNoSpace(error)) {
          // Made again from the log by the next start.
          this.jobs = [];
          return;
        }
        if (!passingCodes.has(errorCodeOf(error) ?? '') || this.isClosing) {
          this.parts.commitLog.fail(error as Error);
          return;
        }
        this.parts.logger.warn({ error: (error as Error).message }, 'no room to seal or merge the index');
        await new Promise<void>((resolve) => {
          this.parts.clock.after(this.parts.settings.fullRetryMs, resolve);
        });
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
      next = { ...next, state: { number, position } };
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
      this.isClosing ||
      this.parts.space.isShort ||
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
      const merged = neighbours.map((extent) => extent.run);
      const run = await this.merge(merged);
      const extent: Extent = {
        segments: neighbours.flatMap((neighbour) => neighbour.segments),
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
    const { index, startOffsetOf, segments, blockCache, layout } = this.parts;
    const { extents, state, producers, orderedIndex } = this.manifest;
    const replayedFrom = Math.min(state.position, producers.position, orderedIndex.position);
    for (const extent of extents) {
      if (extent.run.to > replayedFrom) break;
      const run = index.runs.find((one) => one.reference.number === extent.run.number);
      if (run === undefined || !(await isDead(run, startOffsetOf))) continue;
      await this.swapRuns([extent.run], undefined, {
        extents: extents.filter((one) => one !== extent),
      });
      for (const { number } of extent.segments) {
        const source = await segments.forget(number);
        if (source !== undefined) blockCache.forget(source);
        await this.remove(`${layout.commitLog}/${segmentFileName(number)}`);
      }
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
    const { reference, losses } = await rebuildRun(runContext, run.reference);
    for (const lost of losses) logger.error({ lost }, 'entries are damaged in the log');
    await fileSystem.syncDirectory(layout.consumeQueues);
    const fresh = await RunFile.open(fileSystem, layout.consumeQueues, crc32c, runContext.cache, reference);
    const { number } = run.reference;
    await this.swapRuns([run.reference], fresh, {
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
