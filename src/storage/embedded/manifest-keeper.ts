/**
 * Keeps the manifest: every change of it is written here, what it names afterwards is what the index answers from, and the files that it
 * named before are removed, segments once no look-up from before can ask for them.
 */
import type { Log } from '../../util/log.ts';
import type { BlockCache } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import type { ReadsInFlight } from './cleaning/reads-in-flight.ts';
import type { CommitLog } from './commit-log.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import { type DirectoryLayout, producersFileName, stateFileName } from './directory-layout.ts';
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
import { QueueSet } from './queue-set.ts';
import type { RunContext } from './run-build.ts';
import { type RunFile, runFileName } from './run-file.ts';
import type { SegmentFiles } from './segment-files.ts';

export interface ManifestKeeperParts {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly logger: Log;
  readonly commitLog: CommitLog;
  readonly index: ConsumeQueueIndex;
  readonly segments: SegmentFiles;
  readonly readsInFlight: ReadsInFlight;
  readonly blockCache: BlockCache;
  readonly runContext: RunContext;
  lastStoreTimeMs(): number;
}

/** What else changes with the extents. */
export interface ExtentChanges {
  readonly nextCleanedSegment: number;
  readonly sizeChanges?: readonly SizeChange[];
}

export class ManifestKeeper {
  /** Ascending; those sealed since the last extent. */
  headSealed: SegmentReference[];
  /** The newest rewrite that changed sizes. */
  sizeSequence: number;
  /** Called when segments of the head became an extent; set by the engine. */
  extentMade: () => void = () => {};
  /** Resolves when nobody waits for anything any more. */
  readonly stopped: Promise<void>;

  private readonly parts: ManifestKeeperParts;
  private current: Manifest;
  private removing: Promise<void> = Promise.resolve();
  private stopWaiting: () => void = () => {};

  constructor(parts: ManifestKeeperParts, manifest: Manifest, headSealed: readonly SegmentReference[]) {
    this.parts = parts;
    this.current = manifest;
    this.headSealed = [...headSealed];
    this.sizeSequence = manifest.sizeChanges?.at(-1)?.sequence ?? 0;
    this.stopped = new Promise((resolve) => {
      this.stopWaiting = resolve;
    });
  }

  get manifest(): Manifest {
    return this.current;
  }

  /** Nobody is waited for any more. Resolves when no file is being removed. */
  async stop(): Promise<void> {
    this.stopWaiting();
    await this.removing;
  }

  async replaceExtents(
    extents: readonly Extent[],
    fresh: readonly RunFile[],
    changes: ExtentChanges,
    published: () => void,
  ): Promise<void> {
    const { commitLog, index, layout } = this.parts;
    const before = this.current.extents;
    await commitLog.whenDurable(commitLog.appended);
    const sizeChanges = [...(this.current.sizeChanges ?? []), ...(changes.sizeChanges ?? [])];
    const { nextCleanedSegment } = changes;
    await this.write({ ...this.current, extents, nextCleanedSegment, sizeChanges });
    this.sizeSequence = sizeChanges.at(-1)?.sequence ?? this.sizeSequence;
    const open = [...index.runs, ...fresh];
    const byNumber = new Map(open.map((run) => [run.reference.number, run]));
    const runs = extents.map(({ run, without }) => leavingOut(byNumber.get(run.number)!, without));
    for (const piece of this.current.pieces) runs.push(byNumber.get(piece.number)!);
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

  /** Puts a merged run (or nothing) in the place of others: manifest, index, files. */
  async swapRuns(
    old: readonly RunReference[],
    merged: RunFile | undefined,
    changes: Partial<Manifest>,
  ): Promise<void> {
    const { fileSystem, layout, index, commitLog } = this.parts;
    // Rows before a queue's start were left behind: that start must be as durable as they are gone.
    await commitLog.whenDurable(commitLog.appended);
    await this.write({ ...this.current, ...changes });
    if (changes.headSegment !== undefined) {
      this.headSealed = this.headSealed.filter(({ number }) => number >= changes.headSegment!);
      this.extentMade();
    }
    index.replaceRuns(this.filesOf(old), merged);
    for (const { number } of old) await this.remove(`${layout.consumeQueues}/${runFileName(number)}`);
    await fileSystem.syncDirectory(layout.consumeQueues);
  }

  filesOf(references: readonly RunReference[]): RunFile[] {
    const numbers = new Set(references.map((reference) => reference.number));
    return this.parts.index.runs.filter((run) => numbers.has(run.reference.number));
  }

  async removeSnapshots(before: Manifest): Promise<void> {
    const { state, producers } = before;
    if (state.number !== undefined && state.number !== this.current.state.number) {
      await this.removeTwice(stateFileName(state.number));
    }
    if (producers.number !== undefined && producers.number !== this.current.producers.number) {
      await this.removeTwice(producersFileName(producers.number));
    }
  }

  private async removeTwice(name: string): Promise<void> {
    await this.remove(`${this.parts.layout.snapshots}/${name}`);
    await this.remove(`${this.parts.layout.mirror}/${name}`);
  }

  /** Segments that no manifest names any more go when no look-up from before can ask for them. */
  removeSegments(numbers: readonly number[]): void {
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

  async write(manifest: Manifest): Promise<void> {
    const { fileSystem, layout, crc32c, commitLog, runContext } = this.parts;
    const written: Manifest = {
      ...manifest,
      durablePosition: Math.max(manifest.durablePosition, commitLog.durable),
      lastStoreTimeMs: this.parts.lastStoreTimeMs(),
      nextFileNumber: runContext.nextFileNumber(),
    };
    this.current = await writeManifest(fileSystem, layout, crc32c, written);
  }
}

/** The run without those queues, in the place of the run itself. */
export function leavingOut(run: RunFile, without: string | undefined): RunFile {
  return (without ?? '') === run.without.text ? run : run.leavingOut(QueueSet.parse(without));
}

/** After the last of its segments that the log was written to; 0 where the cleaner wrote all of them. */
export function logEndOf({ segments }: Extent): number {
  let end = 0;
  for (const { number } of segments) {
    if (!isCleanedSegment(number)) end = Math.max(end, locationOf(number + 1, 0));
  }
  return end;
}
