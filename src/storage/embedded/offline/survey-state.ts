/**
 * What a survey knows so far, for its parts to read and add to, and the few questions that all of them ask.
 *
 * Memory: a few numbers a queue and a segment, and the damaged places; never a number an entry, unless two sides of a segment differ.
 */
import { CatalogueTable } from '../../catalogue-table.ts';
import type { QueueId } from '../../engine.ts';
import { isCleanedSegment, offsetIn, segmentOf } from '../location.ts';
import { listSegments } from '../log-scan.ts';
import type { Manifest, RunReference, SegmentReference } from '../manifest.ts';
import type { IndexRunDescription } from '../ordered-index/run-file.ts';
import type { QueueSet } from '../queue-set.ts';
import type { QueueState } from '../queue-state.ts';
import type { RunFile } from '../run-file.ts';
import type { Sum } from './row-sums.ts';
import { type SegmentItem, walkSegment } from './segment-walk.ts';
import type { DamagedRegion, Finding, SegmentSurvey, SurveyCounts, SurveyParts } from './survey-result.ts';

const maxFindings = 100_000;

export interface OpenedRun {
  readonly reference: RunReference;
  /** Undefined: damaged. */
  readonly run: RunFile | undefined;
  /** Numbers of the segments that its rows point into, in the order of the log. */
  readonly segments: readonly number[];
  /** Queues whose rows do not count. */
  readonly without: QueueSet;
}

export class SurveyState {
  readonly parts: SurveyParts;
  readonly findings: Finding[] = [];
  manifest: Manifest | undefined;
  readonly queues = new Map<QueueId, QueueState>();
  readonly table = new CatalogueTable();
  readonly leases = new Map<string, number>();
  isStateLost = false;
  areProducersLost = false;
  readonly segments: SegmentSurvey[] = [];
  readonly regions: DamagedRegion[] = [];
  /** Where a repair noted a loss: [from, to). */
  readonly lostSpans: { from: number; to: number }[] = [];
  readonly links: string[] = [];
  readonly paddings: { from: number; to: number }[] = [];
  readonly entrySums = new Map<number, Sum>();
  readonly rowSums = new Map<number, Sum>();
  readonly openRuns: OpenedRun[] = [];
  /** Of segments, queues whose entries do not count. */
  readonly without = new Map<number, QueueSet>();
  readonly damagedRuns: RunReference[] = [];
  readonly damagedIndexRuns: { description: IndexRunDescription; isLost: boolean }[] = [];
  durablePosition = 0;
  end = 0;
  /** The runs were gone through; what comes now has no rows in them. */
  isBehindRuns = false;
  /** No entry at or behind it counts: the log is torn there, and nothing of it was durable. */
  tornAt = Number.POSITIVE_INFINITY;
  readonly counts: SurveyCounts = {
    segments: 0,
    entries: 0,
    payloadBytes: 0,
    damagedEntries: 0,
    damagedBytes: 0,
    rows: 0,
    queues: 0,
    indexRows: 0,
  };

  constructor(parts: SurveyParts) {
    this.parts = parts;
  }

  note(finding: Finding): void {
    if (this.findings.length < maxFindings) this.findings.push(finding);
  }

  async segmentNumbers(): Promise<number[]> {
    const { fileSystem, layout } = this.parts;
    const present = (await fileSystem.stat(layout.commitLog))?.isDirectory
      ? await listSegments(fileSystem, layout.commitLog)
      : [];
    const { manifest } = this;
    if (manifest === undefined) return present;
    const named = this.references().map(({ number }) => number);
    const head = present.filter((number) => number >= manifest.headSegment && !isCleanedSegment(number));
    const all = new Set([...named, ...head]);
    // Numbers of the head follow one another.
    const last = Math.max(
      ...head,
      offsetIn(manifest.durablePosition) > 0 ? segmentOf(manifest.durablePosition) : 0,
    );
    for (let number = manifest.headSegment; number <= last; number++) all.add(number);
    return [...all].sort((a, b) => a - b);
  }

  references(): readonly SegmentReference[] {
    const { manifest } = this;
    if (manifest === undefined) return [];
    return [...manifest.extents.flatMap((extent) => extent.segments), ...manifest.headSealed];
  }

  walk(segment: number, visit: (item: SegmentItem) => void) {
    const { fileSystem, layout, crc32c, format } = this.parts;
    return walkSegment({ fileSystem, directory: layout.commitLog, segment, crc32c, format }, visit);
  }

  isLive(queue: QueueId, endOffset: number): boolean {
    const state = this.queues.get(queue);
    return state !== undefined && endOffset > state.startOffset;
  }

  regionAt(location: number): DamagedRegion | undefined {
    let low = 0;
    let high = this.regions.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const region = this.regions[middle]!;
      if (location < region.from) high = middle - 1;
      else if (location >= region.to) low = middle + 1;
      else return region;
    }
    return undefined;
  }

  reaches(queue: QueueId, nextOffset: number): void {
    const state = this.queues.get(queue);
    if (state !== undefined) state.nextOffset = Math.max(state.nextOffset, nextOffset);
  }
}
