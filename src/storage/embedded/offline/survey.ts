/**
 * Reads a whole data directory, without the engine and without changing anything, and says all that is wrong with it: every entry
 * of every segment, every block of every index file, both copies of what is kept twice, and whether they agree. What it finds
 * is what `verify` prints and what `repair` works on.
 */
import { describeLocation, locationOf, offsetIn, segmentFileName, segmentOf } from '../location.ts';
import {
  lookAtManifest,
  lookAtOrderedIndex,
  lookAtProducers,
  lookAtRuns,
  lookAtState,
} from './survey-files.ts';
import type { SurveyParts, SurveyResult } from './survey-result.ts';
import { compareRows } from './survey-rows.ts';
import { lookAtSegments, replayState } from './survey-segments.ts';
import { SurveyState } from './survey-state.ts';

/** Throws the system's errors, ManifestError and RangeError for formats that are newer. */
export async function surveyDirectory(parts: SurveyParts): Promise<SurveyResult> {
  const survey = new SurveyState(parts);
  try {
    await lookAtManifest(survey);
    await lookAtState(survey);
    await lookAtProducers(survey);
    await lookAtOrderedIndex(survey);
    await replayState(survey);
    await lookAtRuns(survey);
    await lookAtSegments(survey);
    await compareRows(survey);
    reportRegions(survey);
  } finally {
    for (const { run } of survey.openRuns) run?.retire();
  }
  survey.counts.queues = survey.queues.size;
  const { manifest, findings, counts, segments, regions, damagedRuns, damagedIndexRuns } = survey;
  const { isStateLost, areProducersLost, queues, table, durablePosition, end, paddings, links } = survey;
  return {
    paddings,
    links,
    manifest,
    findings,
    counts,
    segments,
    regions,
    damagedRuns,
    damagedIndexRuns,
    isStateLost,
    areProducersLost,
    queues,
    table,
    durablePosition,
    end,
  };
}

function reportRegions(survey: SurveyState): void {
  for (const region of survey.regions) {
    const { from, to, reason, isAtEnd } = region;
    const ranges = [...region.ranges, ...region.laterRanges];
    const file = `${survey.parts.layout.commitLog}/${segmentFileName(segmentOf(from))}`;
    const isSegment = isAtEnd && to === locationOf(segmentOf(from) + 1, 0);
    const bytes = isSegment ? undefined : to - from;
    survey.counts.damagedEntries += Math.max(1, ranges.length);
    survey.counts.damagedBytes += bytes ?? 0;
    const what = ranges
      .filter(({ queue, to: end }) => survey.isLive(queue, end))
      .map(({ queue, from: first, to: end }) => `offsets ${first} to ${end - 1} of queue ${queue}`);
    const [first] = ranges;
    survey.note({
      severity: 'damage',
      kind: isSegment ? 'segment' : 'entry',
      file,
      at: offsetIn(from),
      ...(bytes === undefined ? {} : { bytes }),
      message: `${describeLocation(from)}: ${reason}${what.length === 0 ? '' : `; lost: ${what.join(', ')}`}`,
      ...(first === undefined ? {} : { queue: first.queue, fromOffset: first.from, toOffset: first.to }),
    });
  }
  if (survey.tornAt !== Number.POSITIVE_INFINITY && !survey.parts.isHeld) {
    const message = `${describeLocation(survey.tornAt)}: what was being written when the last process ended; the next start cuts it off`;
    const file = `${survey.parts.layout.commitLog}/${segmentFileName(segmentOf(survey.tornAt))}`;
    survey.note({ severity: 'remark', kind: 'tail', file, at: offsetIn(survey.tornAt), message });
  }
}
