/**
 * What of an extent still counts, by its run's summaries, and which extents are worth copying. An estimate where a queue's start
 * lies inside the extent; exact otherwise, but for the padding of entries.
 */
import type { QueueId } from '../../engine.ts';
import { entryBytes } from '../entry-header.ts';
import { EntryRows } from '../entry-rows.ts';
import type { Extent } from '../manifest.ts';
import type { QueueSummary, RunFile } from '../run-file.ts';

const rowsAtOnce = 4096;
/** An entry's bytes end in up to seven zeros. */
const meanPaddingBytes = 4;

export interface ExtentSpace {
  readonly extent: Extent;
  readonly totalBytes: number;
  readonly liveBytes: number;
}

export interface SpaceLimits {
  readonly segmentBytes: number;
  /** An extent is copied when at most this part of it counts ... */
  readonly cleanLiveShare: number;
  /** ... and at least so much would be given back. */
  readonly cleanLeastBytes: number;
  /** So many small neighbours become one. */
  readonly mergeWidth: number;
}

/** Extents are small below this part of a segment. */
const smallPart = 1 / 8;

export async function spaceOf(
  extent: Extent,
  run: RunFile,
  startOffsetOf: (queue: QueueId) => number | undefined,
): Promise<ExtentSpace> {
  const totalBytes = extent.segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let liveBytes = 0;
  for await (const summary of run.summaries()) {
    const startOffset = startOffsetOf(summary.queue);
    const { firstOffset, endOffset, sizeBytes, rows } = summary;
    if (startOffset === undefined || endOffset <= startOffset) continue;
    const bytes = sizeBytes + rows * (entryBytes(0) + meanPaddingBytes);
    const share = startOffset <= firstOffset ? 1 : (endOffset - startOffset) / (endOffset - firstOffset);
    liveBytes += bytes * share;
  }
  return { extent, totalBytes, liveBytes: Math.min(totalBytes, Math.ceil(liveBytes)) };
}

/** Runs of neighbours to be copied, each at most about a segment of what counts; those that give back most first. */
export function chooseWindows(
  spaces: readonly ExtentSpace[],
  limits: SpaceLimits,
  isRefused: (extent: Extent) => boolean,
): readonly (readonly Extent[])[] {
  const { segmentBytes, cleanLiveShare, cleanLeastBytes, mergeWidth } = limits;
  const windows: { readonly extents: Extent[]; readonly deadBytes: number }[] = [];
  const isDue = ({ extent, totalBytes, liveBytes }: ExtentSpace): boolean =>
    !isRefused(extent) &&
    liveBytes <= totalBytes * cleanLiveShare &&
    totalBytes - liveBytes >= cleanLeastBytes;
  const isSmall = ({ extent, totalBytes }: ExtentSpace): boolean =>
    !isRefused(extent) && totalBytes < segmentBytes * smallPart;
  for (let at = 0; at < spaces.length; ) {
    let until = at;
    let liveBytes = 0;
    let deadBytes = 0;
    let isAnyDue = false;
    for (; until < spaces.length; until++) {
      const space = spaces[until]!;
      if (!isDue(space) && !isSmall(space)) break;
      if (until > at && liveBytes + space.liveBytes > segmentBytes) break;
      if (isDue(space)) isAnyDue = true;
      liveBytes += space.liveBytes;
      deadBytes += space.totalBytes - space.liveBytes;
    }
    if (isAnyDue || until - at >= mergeWidth) {
      windows.push({ extents: spaces.slice(at, until).map(({ extent }) => extent), deadBytes });
    }
    at = Math.max(until, at + 1);
  }
  return windows.sort((a, b) => b.deadBytes - a.deadBytes).map(({ extents }) => extents);
}

/** Payload bytes of the queue's entries in these runs that end after `startOffset`. */
export async function bytesFrom(
  runs: readonly RunFile[],
  queue: QueueId,
  startOffset: number,
): Promise<number> {
  let bytes = 0;
  const rows = new EntryRows();
  for (const run of runs) {
    const summary = await run.summary(queue);
    if (summary === undefined || summary.endOffset <= startOffset) continue;
    if (summary.firstOffset >= startOffset) {
      bytes += summary.sizeBytes;
      continue;
    }
    const endRow = summary.firstRow + summary.rows;
    for (let row = await run.rowFor(summary, startOffset); row < endRow; row += rows.length) {
      rows.clear();
      await run.collect(summary, row, sliceLimits, rows);
      bytes += rows.totalBytes;
    }
  }
  return bytes;
}

export interface QueueInRuns {
  readonly queue: QueueId;
  readonly parts: readonly { readonly run: RunFile; readonly summary: QueueSummary }[];
}

/** Every queue of these runs, ascending, and what each run says of it, in the order of the runs. */
export async function* summariesByQueue(runs: readonly RunFile[]): AsyncGenerator<QueueInRuns> {
  const cursors = runs.map((run) => run.summaries());
  const heads: (QueueSummary | undefined)[] = [];
  for (const cursor of cursors) heads.push((await cursor.next()).value as QueueSummary | undefined);
  for (;;) {
    let queue = Number.POSITIVE_INFINITY;
    for (const head of heads) if (head !== undefined && head.queue < queue) queue = head.queue;
    if (queue === Number.POSITIVE_INFINITY) return;
    const parts: { run: RunFile; summary: QueueSummary }[] = [];
    for (let at = 0; at < heads.length; at++) {
      const head = heads[at];
      if (head === undefined || head.queue !== queue) continue;
      parts.push({ run: runs[at]!, summary: head });
      heads[at] = (await cursors[at]!.next()).value as QueueSummary | undefined;
    }
    yield { queue, parts };
  }
}

const sliceLimits = {
  untilOffset: Number.POSITIVE_INFINITY,
  maxBytes: Number.POSITIVE_INFINITY,
  maxRows: rowsAtOnce,
  atLeastOne: true,
};
