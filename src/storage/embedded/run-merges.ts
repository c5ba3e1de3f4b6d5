/** Runs become fewer and longer: segments of the head become an extent, neighbouring extents one, small pieces of a segment one. */
import type { QueueId } from '../engine.ts';
import type { Checksum } from './checksum.ts';
import type { DirectoryLayout } from './directory-layout.ts';
import type { DiskSpace } from './disk-space.ts';
import type { FileSystem } from './file-system.ts';
import { locationOf } from './location.ts';
import type { Extent, RunReference, SegmentReference } from './manifest.ts';
import type { ManifestKeeper } from './manifest-keeper.ts';
import { QueueSet } from './queue-set.ts';
import { pause, type RunContext } from './run-build.ts';
import { RunFile } from './run-file.ts';
import { mergeRuns } from './run-merge.ts';
import type { EmbeddedSettings } from './settings.ts';

export interface RunMergesParts {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly settings: EmbeddedSettings;
  readonly space: DiskSpace;
  readonly runContext: RunContext;
  /** First offset of a queue, undefined where it was dropped. */
  startOffsetOf(queue: QueueId): number | undefined;
}

const largestLevel = 2;

export class RunMerges {
  /** Numbers of the runs of extents that the cleaner works on: they stay as they are. */
  readonly claimed = new Set<number>();

  private readonly parts: RunMergesParts;
  private readonly keeper: ManifestKeeper;

  constructor(parts: RunMergesParts, keeper: ManifestKeeper) {
    this.parts = parts;
    this.keeper = keeper;
  }

  /** All sealed segments of the head become an extent. */
  async promoteHead(): Promise<void> {
    const { extents, pieces, indexedTo } = this.keeper.manifest;
    const segments = this.keeper.headSealed.filter(({ number }) => locationOf(number + 1, 0) <= indexedTo);
    if (segments.length === 0) return;
    const headSegment = segments.at(-1)!.number + 1;
    const isOld = (piece: RunReference): boolean => piece.to <= locationOf(headSegment, 0);
    const merged = pieces.filter(isOld);
    const run = merged.length > 1 ? await this.merge(merged) : undefined;
    const extent: Extent = { segments, run: run?.reference ?? merged[0]!, level: 1 };
    const changes = {
      extents: [...extents, extent],
      pieces: pieces.filter((piece) => !isOld(piece)),
      headSealed: this.keeper.headSealed.filter(({ number }) => number >= headSegment),
      headSegment,
    };
    await this.keeper.swapRuns(run === undefined ? [] : merged, run, changes);
  }

  /** One merge that is due. False when there is none. */
  async mergeOnce(): Promise<boolean> {
    const { settings } = this.parts;
    const { extents, pieces, indexedTo } = this.keeper.manifest;
    // Two whole segments of the head become an extent; a single one does where space is short, since only extents can go.
    const [first, second] = this.keeper.headSealed;
    const last = second ?? (this.parts.space.isShort ? first : undefined);
    if (first !== undefined && last !== undefined && locationOf(last.number + 1, 0) <= indexedTo) {
      const until = locationOf(last.number + 1, 0);
      const merged = pieces.filter((piece) => piece.to <= until);
      const run = await this.merge(merged);
      const segments = first === last ? [first] : [first, last];
      const extent: Extent = { segments, run: run.reference, level: 1 };
      await this.keeper.swapRuns(merged, run, {
        extents: [...extents, extent],
        pieces: pieces.filter((piece) => piece.to > until),
        headSealed: this.keeper.headSealed.slice(segments.length),
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
      await this.keeper.swapRuns(merged, run, { extents: kept });
      return true;
    }
    // Many small pieces (a broker that is restarted often): those of one segment become one.
    if (pieces.length <= settings.maxPieces) return false;
    const merged = longestOfOneSegment(pieces);
    if (merged.length < 2) return false;
    const run = await this.merge(merged);
    const kept = [...pieces];
    kept.splice(kept.indexOf(merged[0]!), merged.length, run.reference);
    await this.keeper.swapRuns(merged, run, { pieces: kept });
    return true;
  }

  private async merge(references: readonly RunReference[]): Promise<RunFile> {
    const { fileSystem, layout, crc32c, runContext, startOffsetOf } = this.parts;
    const merged = await mergeRuns(
      fileSystem,
      layout.consumeQueues,
      crc32c,
      runContext.nextFileNumber(),
      this.keeper.filesOf(references),
      startOffsetOf,
      pause,
    );
    await fileSystem.syncDirectory(layout.consumeQueues);
    return RunFile.open(fileSystem, layout.consumeQueues, crc32c, runContext.cache, merged);
  }
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
