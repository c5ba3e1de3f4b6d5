import type { QueueId } from '../../engine.ts';
import { isQueueKind, kindLost } from '../entry-header.ts';
import { EntryRows } from '../entry-rows.ts';
import {
  describeLocation,
  isCleanedSegment,
  locationOf,
  offsetIn,
  segmentFileName,
  segmentOf,
} from '../location.ts';
import { decodeLostRanges, type LostRange, lostEntryBytes } from '../lost-entry.ts';
import type { RunReference } from '../manifest.ts';
import type { QueueSet } from '../queue-set.ts';
import { type RunFile, runFileName } from '../run-file.ts';
import { addTo } from './row-sums.ts';
import type { DamagedRegion } from './survey-result.ts';
import type { SurveyState } from './survey-state.ts';

const rowsAtOnce = 4096;
const maxDifferences = 1000;

const sliceLimits = {
  untilOffset: Number.POSITIVE_INFINITY,
  maxBytes: Number.POSITIVE_INFINITY,
  maxRows: rowsAtOnce,
  atLeastOne: true,
};

/** Goes along every queue, as the index has it, and looks that nothing is missing and that both sides say the same. */
export async function compareRows(survey: SurveyState): Promise<void> {
  survey.regions.sort((a, b) => a.from - b.from);
  const ends = new Map<QueueId, { end: number; location: number }>();
  const step = (queue: QueueId, baseOffset: number, count: number, location: number): void => {
    const state = survey.queues.get(queue);
    if (state === undefined || baseOffset + count <= state.startOffset) return;
    const before = ends.get(queue) ?? { end: state.startOffset, location: -1 };
    if (baseOffset > before.end) gap(survey, queue, before.end, baseOffset, before.location, location);
    else if (baseOffset < before.end && ends.has(queue)) {
      const message = `offset ${baseOffset} of queue ${queue} is there twice`;
      const file = segmentFileName(segmentOf(location));
      survey.note({ severity: 'damage', kind: 'order', file, at: offsetIn(location), message, queue });
    }
    ends.set(queue, { end: Math.max(before.end, baseOffset + count), location });
  };
  for (const { reference, run, segments, without } of survey.openRuns) {
    if (run === undefined) {
      await entriesOf(survey, segments, reference.from, reference.to, (queue, ...rest) => {
        if (!without.has(queue)) step(queue, ...rest);
      });
      continue;
    }
    const rows = new EntryRows();
    for await (const summary of run.summaries()) {
      const endRow = summary.firstRow + summary.rows;
      if (without.has(summary.queue)) continue;
      for (let row = summary.firstRow; row < endRow; row += rows.length) {
        rows.clear();
        await run.collect(summary, row, sliceLimits, rows);
        if (rows.length === 0) break;
        for (let at = 0; at < rows.length; at++) {
          const { queue } = summary;
          const location = rows.locations[at]!;
          const baseOffset = rows.baseOffsets[at]!;
          const count = rows.counts[at]!;
          survey.counts.rows++;
          if (!survey.isLive(queue, baseOffset + count)) continue;
          step(queue, baseOffset, count, location);
          const region = survey.regionAt(location);
          if (region !== undefined && region.own === undefined) {
            addRange(region.ranges, queue, baseOffset, baseOffset + count);
          } else if (!survey.lostSpans.some(({ from, to }) => location >= from && location < to)) {
            addTo(
              survey.rowSums,
              location,
              queue,
              baseOffset,
              count,
              rows.sizesBytes[at]!,
              rows.maxTimestampsMs[at]!,
            );
          }
        }
      }
    }
  }
  survey.isBehindRuns = true;
  const head = (await survey.segmentNumbers()).filter((number) => !isCleanedSegment(number));
  await entriesOf(survey, head, survey.manifest?.indexedTo ?? 0, survey.tornAt, step);
  for (const [queue, { nextOffset, startOffset }] of survey.queues) {
    const before = ends.get(queue) ?? { end: startOffset, location: -1 };
    if (nextOffset > before.end) {
      gap(survey, queue, before.end, nextOffset, before.location, Number.POSITIVE_INFINITY);
    }
  }
  await compareSums(survey);
}

/** Queue entries of a stretch of the log, in order. */
async function entriesOf(
  survey: SurveyState,
  segments: readonly number[],
  from: number,
  to: number,
  step: (queue: QueueId, baseOffset: number, count: number, location: number) => void,
): Promise<void> {
  for (const number of segments) {
    const isCleaned = isCleanedSegment(number);
    if (!isCleaned && (number < segmentOf(from) || locationOf(number, 0) >= Math.min(to, survey.tornAt)))
      continue;
    const left = survey.without.get(number);
    await survey.walk(number, (item) => {
      if (item.kind === 'damage') return;
      const { header, location } = item;
      if (!isCleaned && (location < from || location >= to || location >= survey.tornAt)) return;
      const region = survey.regionAt(location);
      if (region !== undefined && region.own === undefined) return;
      if (left?.has(header.queue) === true) return;
      if (isQueueKind(header.kind)) step(header.queue, header.baseOffset, header.count, location);
      else if (header.kind === kindLost && item.isPayloadIntact) {
        for (const range of decodeLostRanges(header, item.payload)) {
          step(range.queue, range.from, range.to - range.from, location);
        }
      }
    });
  }
}

/** Offsets of a queue that no entry has: lost in a damaged stretch between its neighbours, or not explained. */
function gap(
  survey: SurveyState,
  queue: QueueId,
  from: number,
  to: number,
  after: number,
  before: number,
): void {
  const between = survey.regions.filter(
    (one) => one.own === undefined && one.from > after && one.from < before,
  );
  const region = between.find(hasRoom) ?? between.at(-1);
  if (region !== undefined) {
    addRange(survey.isBehindRuns ? region.laterRanges : region.ranges, queue, from, to);
    if (survey.isBehindRuns) return;
    // A run that was made again from the damaged log does not name them.
    for (const { reference, run, segments } of survey.openRuns) {
      if (run === undefined || survey.damagedRuns.includes(reference)) continue;
      if (
        segments.includes(segmentOf(region.from)) &&
        region.from >= reference.from &&
        region.from < reference.to
      )
        survey.damagedRuns.push(reference);
    }
    return;
  }
  // The cleaner leaves gaps, next to what it kept.
  if (isCleanedSegment(segmentOf(Math.max(0, after)))) return;
  if (before !== Number.POSITIVE_INFINITY && isCleanedSegment(segmentOf(before))) return;
  const message = `offsets ${from} to ${to - 1} of queue ${queue} are missing`;
  survey.note({
    severity: 'damage',
    kind: 'gap',
    file: survey.parts.layout.commitLog,
    message,
    queue,
    fromOffset: from,
    toOffset: to,
  });
}

async function compareSums(survey: SurveyState): Promise<void> {
  const indexedTo = survey.manifest?.indexedTo ?? 0;
  const indexedBytes = locationOf(segmentOf(indexedTo), 0);
  for (const { reference, run, segments, without } of survey.openRuns) {
    if (run === undefined) continue;
    for (const number of segments) {
      const entries = survey.entrySums.get(number);
      const rows = survey.rowSums.get(number);
      if (entries === undefined && rows === undefined) continue;
      // Part of a segment may have no rows yet, or its rows be in another run, which is damaged.
      const isPartial =
        !isCleanedSegment(number) && (locationOf(number, 0) >= indexedBytes || survey.damagedRuns.length > 0);
      const isSame =
        entries !== undefined &&
        rows !== undefined &&
        entries.rows === rows.rows &&
        entries.low === rows.low &&
        entries.high === rows.high;
      if (!isSame || isPartial) await differences(survey, number, reference, run, without);
    }
  }
}

/** Entry by entry and row by row: what stands in one and not in the other. */
async function differences(
  survey: SurveyState,
  number: number,
  reference: RunReference,
  run: RunFile,
  without: QueueSet,
): Promise<void> {
  const isCleaned = isCleanedSegment(number);
  const from = isCleaned ? locationOf(number, 0) : Math.max(reference.from, locationOf(number, 0));
  const to = isCleaned
    ? locationOf(number + 1, 0)
    : Math.min(reference.to, locationOf(number + 1, 0), survey.tornAt);
  const left = survey.without.get(number);
  const path = `${survey.parts.layout.commitLog}/${segmentFileName(number)}`;
  const entries = new Map<number, string>();
  await survey.walk(number, (item) => {
    if (item.kind === 'damage' || item.location < from || item.location >= to) return;
    const { queue, baseOffset, count, payloadBytes, maxTimestampMs, kind } = item.header;
    if (!isQueueKind(kind) || !survey.isLive(queue, baseOffset + count) || left?.has(queue) === true) return;
    const region = survey.regionAt(item.location);
    if (region !== undefined && region.own === undefined) return;
    entries.set(item.location, `${queue} ${baseOffset} ${count} ${payloadBytes} ${maxTimestampMs}`);
  });
  let differences = 0;
  const rows = new EntryRows();
  const runPath = `${survey.parts.layout.consumeQueues}/${runFileName(reference.number)}`;
  const differs = (location: number, message: string): void => {
    if (++differences > maxDifferences) return;
    const file = runPath;
    survey.note({ severity: 'damage', kind: 'row', file, at: offsetIn(location), message });
    if (!survey.damagedRuns.includes(reference)) survey.damagedRuns.push(reference);
  };
  for await (const summary of run.summaries()) {
    const { queue } = summary;
    if (without.has(queue)) continue;
    for (let row = summary.firstRow; row < summary.firstRow + summary.rows; row += rows.length) {
      rows.clear();
      await run.collect(summary, row, sliceLimits, rows);
      if (rows.length === 0) break;
      for (let at = 0; at < rows.length; at++) {
        const location = rows.locations[at]!;
        const baseOffset = rows.baseOffsets[at]!;
        const count = rows.counts[at]!;
        if (location < from || location >= to || !survey.isLive(queue, baseOffset + count)) continue;
        const region = survey.regionAt(location);
        if (region !== undefined && region.own === undefined) continue;
        if (survey.lostSpans.some((span) => location >= span.from && location < span.to)) continue;
        const text = `${queue} ${baseOffset} ${count} ${rows.sizesBytes[at]!} ${rows.maxTimestampsMs[at]!}`;
        if (entries.get(location) !== text) {
          differs(location, `the row of offset ${baseOffset} of queue ${queue} points to no such entry`);
        }
        entries.delete(location);
      }
    }
  }
  for (const location of entries.keys()) {
    differs(location, `the entry at ${describeLocation(location)} (${path}) has no row`);
  }
}

/** One more range would fit in the entry that takes its place. */
function hasRoom({ from, to, ranges, laterRanges, isAtEnd }: DamagedRegion): boolean {
  return isAtEnd || lostEntryBytes(ranges.length + laterRanges.length + 1) <= to - from;
}

/** Adds a range, growing the queue's last one where it goes on there. */
function addRange(ranges: LostRange[], queue: QueueId, from: number, to: number): void {
  const at = ranges.findIndex((range) => range.queue === queue && range.from <= to && range.to >= from);
  if (at < 0) ranges.push({ queue, from, to });
  else {
    const range = ranges[at]!;
    ranges[at] = { queue, from: Math.min(range.from, from), to: Math.max(range.to, to) };
  }
}
