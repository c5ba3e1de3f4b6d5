import { applyEngineChange } from '../apply-change.ts';
import { decodeEngineChange } from '../engine-changes.ts';
import { headerBytes, isQueueKind, kindEngineChanges, kindLost, kindSegmentEnd } from '../entry-header.ts';
import {
  describeLocation,
  isCleanedSegment,
  locationOf,
  offsetIn,
  segmentFileName,
  segmentOf,
} from '../location.ts';
import { decodeLostRanges, type LostRange } from '../lost-entry.ts';
import { addTo } from './row-sums.ts';
import { claimedSegment } from './segment-walk.ts';
import type { DamagedRegion } from './survey-result.ts';
import type { SurveyState } from './survey-state.ts';

/** Catalogue, queues and starts as they are at the log's end, and what the log itself says was durable. */
export async function replayState(survey: SurveyState): Promise<void> {
  const { manifest } = survey;
  const from = manifest?.state.position ?? 0;
  const numbers = (await survey.segmentNumbers()).filter(
    (number) => number >= segmentOf(from) && !isCleanedSegment(number),
  );
  let firstDamage: number | undefined;
  for (const number of numbers) {
    await survey.walk(number, (item) => {
      if (item.kind === 'damage') {
        if (item.to > from) firstDamage ??= Math.max(from, item.from);
        return;
      }
      const { header, location } = item;
      survey.durablePosition = Math.max(survey.durablePosition, header.durablePosition);
      if (location < from) return;
      if (!item.isPayloadIntact) firstDamage ??= location;
    });
  }
  // What is behind the first damage was durable, or is no part of the log.
  if (firstDamage !== undefined && firstDamage >= survey.durablePosition) survey.tornAt = firstDamage;
  if (survey.parts.isHeld) survey.tornAt = Math.min(survey.tornAt, survey.durablePosition);
  for (const number of numbers) {
    await survey.walk(number, (item) => {
      if (item.kind === 'damage' || item.location < from || item.location >= survey.tornAt) return;
      const { header, payload } = item;
      if (header.kind === kindEngineChanges && item.isPayloadIntact) {
        applyEngineChange(decodeEngineChange(payload), survey.queues, survey.table, survey.leases);
      } else if (isQueueKind(header.kind)) {
        survey.reaches(header.queue, header.baseOffset + header.count);
      } else if (header.kind === kindLost && item.isPayloadIntact) {
        for (const { queue, to } of decodeLostRanges(header, payload)) survey.reaches(queue, to);
      }
    });
  }
}

export async function lookAtSegments(survey: SurveyState): Promise<void> {
  const { layout, fileSystem, crc32c, format } = survey.parts;
  const references = new Map(survey.references().map((reference) => [reference.number, reference]));
  const numbers = await survey.segmentNumbers();
  await lookForStrays(survey, numbers);
  // What lies behind it was begun and never written to.
  let lastWritten = offsetIn(survey.durablePosition) > 0 ? segmentOf(survey.durablePosition) : -1;
  for (const number of numbers.filter((one) => !isCleanedSegment(one))) {
    const info = await fileSystem.stat(`${layout.commitLog}/${segmentFileName(number)}`);
    if ((info?.sizeBytes ?? 0) > 0) lastWritten = Math.max(lastWritten, number);
  }
  let lastEpoch = 0;
  let lastStoreTimeMs = 0;
  survey.end = locationOf(numbers[0] ?? survey.manifest?.headSegment ?? 0, 0);
  for (const number of numbers) {
    const isCleaned = isCleanedSegment(number);
    if (locationOf(number, 0) >= survey.tornAt && !isCleaned) continue;
    const tornAt = isCleaned ? Number.POSITIVE_INFINITY : survey.tornAt;
    const left = survey.without.get(number);
    const path = `${layout.commitLog}/${segmentFileName(number)}`;
    const reference = references.get(number);
    let openGroup: number | undefined;
    let region: DamagedRegion | undefined;
    const lost = (
      from: number,
      to: number,
      reason: string,
      isAtEnd: boolean,
      ranges: LostRange[],
      own?: { group: number; isLastOfGroup: boolean },
    ): void => {
      region = {
        from,
        to,
        reason,
        isAtEnd,
        own,
        ranges,
        laterRanges: [],
        openGroup,
        nextGroup: undefined,
        epoch: lastEpoch,
        storeTimeMs: lastStoreTimeMs,
      };
      survey.regions.push(region);
    };
    const result = await survey.walk(number, (item) => {
      if (item.kind === 'damage') {
        if (item.from < tornAt) lost(item.from, item.to, item.reason, item.isAtEnd, []);
        return;
      }
      const { header, location, totalBytes } = item;
      if (location >= tornAt) return;
      survey.counts.entries++;
      survey.counts.payloadBytes += header.payloadBytes;
      const isOlder = header.epoch < lastEpoch && !isCleaned;
      if (region !== undefined) {
        region.nextGroup = header.group;
        // Whatever group it belongs to, its beginning is not to be seen.
        openGroup = header.group === location ? undefined : header.group;
        region = undefined;
      }
      const belongs = openGroup === undefined ? header.group === location : header.group === openGroup;
      if (!belongs && !isOlder) {
        const message = `the group before ${describeLocation(location)} is not whole`;
        survey.note({ severity: 'damage', kind: 'group', file: path, at: offsetIn(location), message });
      }
      const isLastOfGroup = header.isLastOfGroup || header.kind === kindSegmentEnd;
      if (isOlder) {
        // Intact, but not what was written here last: an old copy was put in its place.
        lost(location, location + totalBytes, 'an older entry stands in its place', false, []);
        return;
      }
      if (!isCleaned) {
        lastEpoch = header.epoch;
        lastStoreTimeMs = Math.max(lastStoreTimeMs, header.storeTimeMs);
      }
      if (!item.isPayloadIntact) {
        const { group, queue, baseOffset } = header;
        const to = baseOffset + header.count;
        const ranges = isQueueKind(header.kind) ? [{ queue, from: baseOffset, to }] : [];
        const own = { group, isLastOfGroup };
        lost(location, location + totalBytes, 'the payload fails its checksum', false, ranges, own);
      } else if (!item.isPadded) {
        const message = `the bytes behind the entry at ${describeLocation(location)} are not zeros`;
        survey.note({ severity: 'damage', kind: 'padding', file: path, at: offsetIn(location), message });
        survey.paddings.push({
          from: location + headerBytes + header.payloadBytes,
          to: location + totalBytes,
        });
      }
      if (!item.isStamped) {
        const message = `the payload at ${describeLocation(location)} has another offset or epoch than its header; reads put it right`;
        survey.note({ severity: 'remark', kind: 'entry', file: path, at: offsetIn(location), message });
      }
      openGroup = isLastOfGroup ? undefined : header.group;
      const span = survey.lostSpans.at(-1);
      // A repair closed the segment here: rows of what stood behind point to nothing.
      if (header.kind === kindSegmentEnd && span?.to === location) span.to = locationOf(number + 1, 0);
      if (isQueueKind(header.kind)) {
        if (
          survey.isLive(header.queue, header.baseOffset + header.count) &&
          left?.has(header.queue) !== true
        ) {
          const { queue, baseOffset, count, payloadBytes, maxTimestampMs } = header;
          addTo(survey.entrySums, location, queue, baseOffset, count, payloadBytes, maxTimestampMs);
        }
      } else if (header.kind === kindLost && item.isPayloadIntact) {
        survey.lostSpans.push({ from: location, to: location + totalBytes });
        for (const { queue, from, to } of decodeLostRanges(header, item.payload)) {
          if (!survey.isLive(queue, to)) continue;
          const message = `offsets ${from} to ${to - 1} of queue ${queue} were lost, as a repair noted`;
          survey.note({
            severity: 'remark',
            kind: 'lost',
            file: path,
            at: offsetIn(location),
            message,
            queue,
            fromOffset: from,
            toOffset: to,
          });
        }
      }
      if (openGroup === undefined && !isCleaned) survey.end = location + totalBytes;
    });
    survey.counts.segments++;
    let { sizeBytes } = result;
    if (sizeBytes === undefined && !isCleaned && reference === undefined && number > lastWritten) {
      if ((await fileSystem.stat(path)) === undefined) continue;
      const message = `${path} is not a file`;
      survey.note({ severity: 'damage', kind: 'segment', file: path, message });
      survey.links.push(path);
      continue;
    }
    if (sizeBytes === undefined) {
      lost(locationOf(number, 0), locationOf(number + 1, 0), `${path} is missing, or is no file`, true, []);
    } else {
      const isSealed = reference !== undefined || number < lastWritten;
      const isCutOff =
        (reference !== undefined && sizeBytes < reference.sizeBytes) ||
        (isSealed && !result.isEnded) ||
        (!isSealed &&
          !result.isEnded &&
          segmentOf(survey.durablePosition) === number &&
          offsetIn(survey.durablePosition) > sizeBytes);
      const last = survey.regions.at(-1);
      if (isCutOff && last?.isAtEnd === true && segmentOf(last.from) === number) {
        last.to = locationOf(number + 1, 0);
      } else if (isCutOff) {
        const from = locationOf(number, sizeBytes);
        if (from < tornAt) lost(from, locationOf(number + 1, 0), 'the file ends', true, []);
      }
      if (result.isEnded && !isCleaned) survey.end = Math.max(survey.end, locationOf(number + 1, 0));
      sizeBytes = result.sizeBytes;
    }
    const isWhollyLost = survey.regions.some(
      ({ from, isAtEnd }) => from === locationOf(number, 0) && isAtEnd && (sizeBytes ?? 0) > 0,
    );
    const claimed = isWhollyLost
      ? await claimedSegment({ fileSystem, directory: layout.commitLog, segment: number, crc32c, format })
      : undefined;
    if (claimed !== undefined && claimed !== number) {
      const message = `${path} holds the entries of ${segmentFileName(claimed)}`;
      survey.note({ severity: 'damage', kind: 'segment', file: path, message });
    }
    survey.segments.push({ number, path, sizeBytes, reference, isEnded: result.isEnded, claimed });
  }
  await lookAtMissingEnd(survey, numbers);
}

/** The last file or files of the log are gone. */
async function lookAtMissingEnd(survey: SurveyState, numbers: readonly number[]): Promise<void> {
  const last = numbers.filter((number) => !isCleanedSegment(number)).at(-1);
  const durable = survey.durablePosition;
  const needed = offsetIn(durable) === 0 ? segmentOf(durable) - 1 : segmentOf(durable);
  for (let number = (last ?? -1) + 1; number <= needed && survey.manifest !== undefined; number++) {
    if (number < survey.manifest.headSegment) continue;
    const path = `${survey.parts.layout.commitLog}/${segmentFileName(number)}`;
    survey.regions.push({
      from: locationOf(number, 0),
      to: locationOf(number + 1, 0),
      reason: `${path} is missing`,
      isAtEnd: true,
      own: undefined,
      ranges: [],
      laterRanges: [],
      openGroup: undefined,
      nextGroup: undefined,
      epoch: survey.manifest.logEpoch,
      storeTimeMs: survey.manifest.lastStoreTimeMs,
    });
    survey.segments.push({
      number,
      path,
      sizeBytes: undefined,
      reference: undefined,
      isEnded: false,
      claimed: undefined,
    });
  }
}

async function lookForStrays(survey: SurveyState, known: readonly number[]): Promise<void> {
  const { fileSystem, layout } = survey.parts;
  if (!(await fileSystem.stat(layout.commitLog))?.isDirectory) return;
  const names = new Set(known.map(segmentFileName));
  for (const name of await fileSystem.readdir(layout.commitLog)) {
    if (names.has(name)) continue;
    const file = `${layout.commitLog}/${name}`;
    survey.note({ severity: 'remark', kind: 'stray', file, message: `${file} is not part of the log` });
  }
}
