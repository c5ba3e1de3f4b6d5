/**
 * Reads a whole data directory, without the engine and without changing anything, and says all that is wrong with it: every entry
 * of every segment, every block of every index file, both copies of what is kept twice, and whether they agree. What it finds
 * is what `verify` prints and what `repair` works on.
 *
 * Memory: a few numbers a queue and a segment, and the damaged places; never a number an entry, unless two sides of a segment differ.
 */
import { CatalogueTable } from '../../catalogue-table.ts';
import type { PayloadFormat, QueueId } from '../../engine.ts';
import { applyEngineChange } from '../apply-change.ts';
import { BlockCache, ReadGate } from '../block-cache.ts';
import type { Checksum } from '../checksum.ts';
import { type DirectoryLayout, producersFileName, stateFileName } from '../directory-layout.ts';
import { decodeEngineChange } from '../engine-changes.ts';
import { headerBytes, isQueueKind, kindEngineChanges, kindLost, kindSegmentEnd } from '../entry-header.ts';
import { EntryRows } from '../entry-rows.ts';
import { type FileSystem, isAbsent } from '../file-system.ts';
import {
  describeLocation,
  isCleanedSegment,
  locationOf,
  offsetIn,
  segmentFileName,
  segmentOf,
} from '../location.ts';
import { listSegments } from '../log-scan.ts';
import { decodeLostRanges, type LostRange, lostEntryBytes } from '../lost-entry.ts';
import {
  decodeManifest,
  type Manifest,
  manifestFileName,
  type RunReference,
  type SegmentReference,
  type SnapshotReference,
} from '../manifest.ts';
import { readTwice } from '../mirror.ts';
import { IndexDamagedError, type IndexRunDescription, Run } from '../ordered-index/run-file.ts';
import { QueueSet } from '../queue-set.ts';
import { QueueState } from '../queue-state.ts';
import { RunDamagedError, RunFile, runBlockBytes, runFileName } from '../run-file.ts';
import { decodeState, openSnapshot, type SnapshotKind } from '../state-snapshot.ts';
import { claimedSegment, type SegmentItem, walkSegment } from './segment-walk.ts';

export interface SurveyParts {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly format: PayloadFormat;
  /** A broker is at work in the directory: what is not durable yet is not looked at. */
  readonly isHeld: boolean;
}

export type FindingKind =
  | 'manifest'
  | 'snapshot'
  | 'ordered-index'
  | 'index-run'
  | 'segment'
  | 'entry'
  | 'row'
  | 'gap'
  | 'group'
  | 'order'
  | 'lost'
  | 'tail'
  | 'padding'
  | 'stray';

export interface Finding {
  /** `remark`: nothing is wrong with what is served; said for completeness. */
  readonly severity: 'damage' | 'remark';
  readonly kind: FindingKind;
  readonly file: string;
  /** Byte in the file. */
  readonly at?: number;
  readonly bytes?: number;
  readonly message: string;
  readonly queue?: QueueId;
  readonly fromOffset?: number;
  readonly toOffset?: number;
}

/** A stretch of a segment that cannot be read. */
export interface DamagedRegion {
  readonly from: number;
  to: number;
  readonly reason: string;
  /** The file ends inside it, or is missing from there on. */
  readonly isAtEnd: boolean;
  /** The entry's header is intact: its group is known, and it is the last of it or not. */
  readonly own: { readonly group: number; readonly isLastOfGroup: boolean } | undefined;
  /** What was there of queues, as far as rows, headers or gaps tell. */
  ranges: LostRange[];
  /** The same behind the place up to which the index is sealed. */
  laterRanges: LostRange[];
  /** The group that was open before it; undefined: none. */
  readonly openGroup: number | undefined;
  /** The group of the entry behind it. */
  nextGroup: number | undefined;
  readonly epoch: number;
  readonly storeTimeMs: number;
}

export interface SegmentSurvey {
  readonly number: number;
  readonly path: string;
  /** Undefined: missing, or no file. */
  readonly sizeBytes: number | undefined;
  readonly reference: SegmentReference | undefined;
  readonly isEnded: boolean;
  /** The segment whose entries the file holds, where it is another's. */
  readonly claimed: number | undefined;
}

export interface SurveyCounts {
  segments: number;
  entries: number;
  payloadBytes: number;
  damagedEntries: number;
  damagedBytes: number;
  rows: number;
  queues: number;
  indexRows: number;
}

export interface SurveyResult {
  readonly manifest: Manifest | undefined;
  readonly findings: readonly Finding[];
  readonly counts: SurveyCounts;
  readonly segments: readonly SegmentSurvey[];
  readonly regions: readonly DamagedRegion[];
  /** Bytes between entries that are not zeros. */
  readonly paddings: readonly { readonly from: number; readonly to: number }[];
  /** Names of segments that hold nothing, and are no files. */
  readonly links: readonly string[];
  readonly damagedRuns: readonly RunReference[];
  /** Of the ordered index; where `isLost` no copy can be used. */
  readonly damagedIndexRuns: readonly {
    readonly description: IndexRunDescription;
    readonly isLost: boolean;
  }[];
  readonly isStateLost: boolean;
  readonly areProducersLost: boolean;
  readonly queues: ReadonlyMap<QueueId, QueueState>;
  readonly table: CatalogueTable;
  /** Known durable. */
  readonly durablePosition: number;
  /** Behind the last whole group. */
  readonly end: number;
}

const indexCacheBytes = 4 * 1024 * 1024;
const rowsAtOnce = 4096;
const maxFindings = 100_000;
const maxDifferences = 1000;

/** Throws the system's errors, ManifestError and RangeError for formats that are newer. */
export async function surveyDirectory(parts: SurveyParts): Promise<SurveyResult> {
  return new Survey(parts).run();
}

interface OpenedRun {
  readonly reference: RunReference;
  /** Undefined: damaged. */
  readonly run: RunFile | undefined;
  /** Numbers of the segments that its rows point into, in the order of the log. */
  readonly segments: readonly number[];
  /** Queues whose rows do not count. */
  readonly without: QueueSet;
}

interface Sum {
  rows: number;
  low: number;
  high: number;
}

class Survey {
  private readonly parts: SurveyParts;
  private readonly findings: Finding[] = [];
  private manifest: Manifest | undefined;
  private readonly queues = new Map<QueueId, QueueState>();
  private readonly table = new CatalogueTable();
  private readonly leases = new Map<string, number>();
  private isStateLost = false;
  private areProducersLost = false;
  private readonly segments: SegmentSurvey[] = [];
  private readonly regions: DamagedRegion[] = [];
  /** Where a repair noted a loss: [from, to). */
  private readonly lostSpans: { from: number; to: number }[] = [];
  private readonly links: string[] = [];
  private readonly paddings: { from: number; to: number }[] = [];
  private readonly entrySums = new Map<number, Sum>();
  private readonly rowSums = new Map<number, Sum>();
  private readonly openRuns: OpenedRun[] = [];
  /** Of segments, queues whose entries do not count. */
  private readonly without = new Map<number, QueueSet>();
  private readonly damagedRuns: RunReference[] = [];
  private readonly damagedIndexRuns: { description: IndexRunDescription; isLost: boolean }[] = [];
  private durablePosition = 0;
  private end = 0;
  /** The runs were gone through; what comes now has no rows in them. */
  private isBehindRuns = false;
  /** No entry at or behind it counts: the log is torn there, and nothing of it was durable. */
  private tornAt = Number.POSITIVE_INFINITY;
  private readonly counts: SurveyCounts = {
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

  async run(): Promise<SurveyResult> {
    try {
      await this.lookAtManifest();
      await this.lookAtState();
      await this.lookAtProducers();
      await this.lookAtOrderedIndex();
      await this.replayState();
      await this.lookAtRuns();
      await this.lookAtSegments();
      await this.compareRows();
      this.reportRegions();
    } finally {
      for (const { run } of this.openRuns) run?.retire();
    }
    this.counts.queues = this.queues.size;
    const { manifest, findings, counts, segments, regions, damagedRuns, damagedIndexRuns } = this;
    const { isStateLost, areProducersLost, queues, table, durablePosition, end, paddings, links } = this;
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

  private note(finding: Finding): void {
    if (this.findings.length < maxFindings) this.findings.push(finding);
  }

  private async lookAtManifest(): Promise<void> {
    const { fileSystem, layout, crc32c } = this.parts;
    const { first, second } = await readTwice(
      fileSystem,
      layout.root,
      layout.mirror,
      manifestFileName,
      (bytes, path) => decodeManifest(bytes, path, crc32c),
    );
    for (const { fault, path } of [first, second]) {
      if (fault === undefined) continue;
      const isOfOldVersion = first.value !== undefined && first.value.generation === undefined;
      this.note({
        severity: isOfOldVersion && path === second.path ? 'remark' : 'damage',
        kind: 'manifest',
        file: path,
        message: fault,
      });
    }
    const ahead = (second.value?.generation ?? -1) - (first.value?.generation ?? -1);
    if (first.value !== undefined && second.value !== undefined && ahead !== 0) {
      const file = ahead > 0 ? first.path : second.path;
      this.note({
        severity: ahead === 1 ? 'remark' : 'damage',
        kind: 'manifest',
        file,
        message: `${file} is an older copy`,
      });
    }
    this.manifest = ahead > 0 || first.value === undefined ? (second.value ?? first.value) : first.value;
    if (this.manifest === undefined) {
      this.isStateLost = true;
      this.areProducersLost = true;
    } else {
      this.durablePosition = this.manifest.durablePosition;
    }
  }

  private async lookAtState(): Promise<void> {
    const reference = this.manifest?.state;
    if (reference?.number === undefined) return;
    const content = await this.lookAtSnapshot('state', stateFileName(reference.number), reference);
    if (content === undefined) {
      this.isStateLost = true;
      return;
    }
    const state = decodeState(content);
    this.table.load(state.catalogue, state.catalogueVersion);
    for (const { id, startOffset, nextOffset, sizeBytes } of state.queues) {
      this.queues.set(id, new QueueState(id, startOffset, nextOffset, sizeBytes));
    }
    for (const [name, epoch] of state.leases) this.leases.set(name, epoch);
  }

  private async lookAtProducers(): Promise<void> {
    const reference = this.manifest?.producers;
    if (reference?.number === undefined) return;
    const content = await this.lookAtSnapshot('producers', producersFileName(reference.number), reference);
    if (content === undefined) this.areProducersLost = true;
  }

  private async lookAtSnapshot(
    kind: SnapshotKind,
    name: string,
    { number, position }: SnapshotReference,
  ): Promise<Buffer | undefined> {
    const { fileSystem, layout, crc32c } = this.parts;
    const { first, second } = await readTwice(fileSystem, layout.snapshots, layout.mirror, name, (bytes) => {
      const opened = openSnapshot(kind, bytes, crc32c);
      const isAnother =
        opened?.number !== undefined && (opened.number !== number || opened.position !== position);
      return isAnother ? undefined : opened?.content;
    });
    for (const { fault, path } of [first, second]) {
      if (fault === undefined) continue;
      const isOfOldVersion = this.manifest!.generation === undefined && path === second.path;
      this.note({
        severity: isOfOldVersion ? 'remark' : 'damage',
        kind: 'snapshot',
        file: path,
        message: fault,
      });
    }
    return first.value ?? second.value;
  }

  private async lookAtOrderedIndex(): Promise<void> {
    const { fileSystem, layout } = this.parts;
    const hasMirror = this.manifest?.generation !== undefined;
    const directories = hasMirror ? [layout.orderedIndex, layout.mirror] : [layout.orderedIndex];
    for (const description of this.manifest?.orderedIndex.runs ?? []) {
      let run: Run;
      try {
        run = await Run.open(fileSystem, directories, description);
      } catch (error) {
        if (!(error instanceof IndexDamagedError) && !isAbsent(error)) throw error;
        const { message } = error as Error;
        this.note({ severity: 'damage', kind: 'ordered-index', file: layout.orderedIndex, message });
        this.damagedIndexRuns.push({ description, isLost: true });
        continue;
      }
      this.counts.indexRows += description.rows;
      const damaged = new Map<number, number>();
      const intactCopies = directories.length - run.faults.length;
      for (const { directory, name, message } of run.faults) {
        this.note({ severity: 'damage', kind: 'ordered-index', file: `${directory}/${name}`, message });
      }
      for (const path of run.paths) {
        for (const block of await run.damagedBlocks(path)) {
          damaged.set(block, (damaged.get(block) ?? 0) + 1);
          const message = `block ${block} of ${path} fails its checksum`;
          this.note({ severity: 'damage', kind: 'ordered-index', file: path, message });
        }
      }
      const isLost = [...damaged.values()].some((copies) => copies >= intactCopies);
      if (damaged.size > 0 || run.faults.length > 0) this.damagedIndexRuns.push({ description, isLost });
      await run.retire();
    }
  }

  /** Catalogue, queues and starts as they are at the log's end, and what the log itself says was durable. */
  private async replayState(): Promise<void> {
    const { manifest } = this;
    const from = manifest?.state.position ?? 0;
    const numbers = (await this.segmentNumbers()).filter(
      (number) => number >= segmentOf(from) && !isCleanedSegment(number),
    );
    let firstDamage: number | undefined;
    for (const number of numbers) {
      await this.walk(number, (item) => {
        if (item.kind === 'damage') {
          if (item.to > from) firstDamage ??= Math.max(from, item.from);
          return;
        }
        const { header, location } = item;
        this.durablePosition = Math.max(this.durablePosition, header.durablePosition);
        if (location < from) return;
        if (!item.isPayloadIntact) firstDamage ??= location;
      });
    }
    // What is behind the first damage was durable, or is no part of the log.
    if (firstDamage !== undefined && firstDamage >= this.durablePosition) this.tornAt = firstDamage;
    if (this.parts.isHeld) this.tornAt = Math.min(this.tornAt, this.durablePosition);
    for (const number of numbers) {
      await this.walk(number, (item) => {
        if (item.kind === 'damage' || item.location < from || item.location >= this.tornAt) return;
        const { header, payload } = item;
        if (header.kind === kindEngineChanges && item.isPayloadIntact) {
          applyEngineChange(decodeEngineChange(payload), this.queues, this.table, this.leases);
        } else if (isQueueKind(header.kind)) {
          this.reaches(header.queue, header.baseOffset + header.count);
        } else if (header.kind === kindLost && item.isPayloadIntact) {
          for (const { queue, to } of decodeLostRanges(header, payload)) this.reaches(queue, to);
        }
      });
    }
  }

  private reaches(queue: QueueId, nextOffset: number): void {
    const state = this.queues.get(queue);
    if (state !== undefined) state.nextOffset = Math.max(state.nextOffset, nextOffset);
  }

  private async lookAtRuns(): Promise<void> {
    const { fileSystem, layout, crc32c } = this.parts;
    const { manifest } = this;
    if (manifest === undefined) return;
    const cache = new BlockCache(runBlockBytes, indexCacheBytes, new ReadGate(2));
    const of: { reference: RunReference; segments: readonly number[]; without: QueueSet }[] = [];
    for (const { run, segments, without } of manifest.extents) {
      const left = QueueSet.parse(without);
      for (const one of segments) this.without.set(one.number, QueueSet.parse(one.without).union(left));
      of.push({ reference: run, segments: segments.map(({ number }) => number), without: left });
    }
    for (const piece of manifest.pieces) {
      const segments: number[] = [];
      for (let number = segmentOf(piece.from); locationOf(number, 0) < piece.to; number++)
        segments.push(number);
      of.push({ reference: piece, segments, without: QueueSet.empty });
    }
    for (const { reference, segments, without } of of) {
      const file = `${layout.consumeQueues}/${runFileName(reference.number)}`;
      let run: RunFile | undefined;
      const messages: string[] = [];
      try {
        run = await RunFile.open(fileSystem, layout.consumeQueues, crc32c, cache, reference);
        for (const block of await run.damagedBlocks())
          messages.push(`block ${block} of ${file} fails its checksum`);
      } catch (error) {
        if (!(error instanceof RunDamagedError) && !isAbsent(error)) throw error;
        messages.push((error as Error).message);
      }
      for (const message of messages) this.note({ severity: 'damage', kind: 'index-run', file, message });
      if (messages.length > 0) {
        run?.retire();
        run = undefined;
        this.damagedRuns.push(reference);
      }
      this.openRuns.push({ reference, run, segments, without });
    }
  }

  private async segmentNumbers(): Promise<number[]> {
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

  private references(): readonly SegmentReference[] {
    const { manifest } = this;
    if (manifest === undefined) return [];
    return [...manifest.extents.flatMap((extent) => extent.segments), ...manifest.headSealed];
  }

  private walk(segment: number, visit: (item: SegmentItem) => void) {
    const { fileSystem, layout, crc32c, format } = this.parts;
    return walkSegment({ fileSystem, directory: layout.commitLog, segment, crc32c, format }, visit);
  }

  private async lookAtSegments(): Promise<void> {
    const { layout, fileSystem, crc32c, format } = this.parts;
    const references = new Map(this.references().map((reference) => [reference.number, reference]));
    const numbers = await this.segmentNumbers();
    await this.lookForStrays(numbers);
    // What lies behind it was begun and never written to.
    let lastWritten = offsetIn(this.durablePosition) > 0 ? segmentOf(this.durablePosition) : -1;
    for (const number of numbers.filter((one) => !isCleanedSegment(one))) {
      const info = await fileSystem.stat(`${layout.commitLog}/${segmentFileName(number)}`);
      if ((info?.sizeBytes ?? 0) > 0) lastWritten = Math.max(lastWritten, number);
    }
    let lastEpoch = 0;
    let lastStoreTimeMs = 0;
    this.end = locationOf(numbers[0] ?? this.manifest?.headSegment ?? 0, 0);
    for (const number of numbers) {
      const isCleaned = isCleanedSegment(number);
      if (locationOf(number, 0) >= this.tornAt && !isCleaned) continue;
      const tornAt = isCleaned ? Number.POSITIVE_INFINITY : this.tornAt;
      const left = this.without.get(number);
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
        this.regions.push(region);
      };
      const result = await this.walk(number, (item) => {
        if (item.kind === 'damage') {
          if (item.from < tornAt) lost(item.from, item.to, item.reason, item.isAtEnd, []);
          return;
        }
        const { header, location, totalBytes } = item;
        if (location >= tornAt) return;
        this.counts.entries++;
        this.counts.payloadBytes += header.payloadBytes;
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
          this.note({ severity: 'damage', kind: 'group', file: path, at: offsetIn(location), message });
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
          this.note({ severity: 'damage', kind: 'padding', file: path, at: offsetIn(location), message });
          this.paddings.push({
            from: location + headerBytes + header.payloadBytes,
            to: location + totalBytes,
          });
        }
        if (!item.isStamped) {
          const message = `the payload at ${describeLocation(location)} has another offset or epoch than its header; reads put it right`;
          this.note({ severity: 'remark', kind: 'entry', file: path, at: offsetIn(location), message });
        }
        openGroup = isLastOfGroup ? undefined : header.group;
        const span = this.lostSpans.at(-1);
        // A repair closed the segment here: rows of what stood behind point to nothing.
        if (header.kind === kindSegmentEnd && span?.to === location) span.to = locationOf(number + 1, 0);
        if (isQueueKind(header.kind)) {
          if (
            this.isLive(header.queue, header.baseOffset + header.count) &&
            left?.has(header.queue) !== true
          ) {
            const { queue, baseOffset, count, payloadBytes, maxTimestampMs } = header;
            addTo(this.entrySums, location, queue, baseOffset, count, payloadBytes, maxTimestampMs);
          }
        } else if (header.kind === kindLost && item.isPayloadIntact) {
          this.lostSpans.push({ from: location, to: location + totalBytes });
          for (const { queue, from, to } of decodeLostRanges(header, item.payload)) {
            if (!this.isLive(queue, to)) continue;
            const message = `offsets ${from} to ${to - 1} of queue ${queue} were lost, as a repair noted`;
            this.note({
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
        if (openGroup === undefined && !isCleaned) this.end = location + totalBytes;
      });
      this.counts.segments++;
      let { sizeBytes } = result;
      if (sizeBytes === undefined && !isCleaned && reference === undefined && number > lastWritten) {
        if ((await fileSystem.stat(path)) === undefined) continue;
        const message = `${path} is not a file`;
        this.note({ severity: 'damage', kind: 'segment', file: path, message });
        this.links.push(path);
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
            segmentOf(this.durablePosition) === number &&
            offsetIn(this.durablePosition) > sizeBytes);
        const last = this.regions.at(-1);
        if (isCutOff && last?.isAtEnd === true && segmentOf(last.from) === number) {
          last.to = locationOf(number + 1, 0);
        } else if (isCutOff) {
          const from = locationOf(number, sizeBytes);
          if (from < tornAt) lost(from, locationOf(number + 1, 0), 'the file ends', true, []);
        }
        if (result.isEnded && !isCleaned) this.end = Math.max(this.end, locationOf(number + 1, 0));
        sizeBytes = result.sizeBytes;
      }
      const isWhollyLost = this.regions.some(
        ({ from, isAtEnd }) => from === locationOf(number, 0) && isAtEnd && (sizeBytes ?? 0) > 0,
      );
      const claimed = isWhollyLost
        ? await claimedSegment({ fileSystem, directory: layout.commitLog, segment: number, crc32c, format })
        : undefined;
      if (claimed !== undefined && claimed !== number) {
        const message = `${path} holds the entries of ${segmentFileName(claimed)}`;
        this.note({ severity: 'damage', kind: 'segment', file: path, message });
      }
      this.segments.push({ number, path, sizeBytes, reference, isEnded: result.isEnded, claimed });
    }
    await this.lookAtMissingEnd(numbers);
  }

  /** The last file or files of the log are gone. */
  private async lookAtMissingEnd(numbers: readonly number[]): Promise<void> {
    const last = numbers.filter((number) => !isCleanedSegment(number)).at(-1);
    const durable = this.durablePosition;
    const needed = offsetIn(durable) === 0 ? segmentOf(durable) - 1 : segmentOf(durable);
    for (let number = (last ?? -1) + 1; number <= needed && this.manifest !== undefined; number++) {
      if (number < this.manifest.headSegment) continue;
      const path = `${this.parts.layout.commitLog}/${segmentFileName(number)}`;
      this.regions.push({
        from: locationOf(number, 0),
        to: locationOf(number + 1, 0),
        reason: `${path} is missing`,
        isAtEnd: true,
        own: undefined,
        ranges: [],
        laterRanges: [],
        openGroup: undefined,
        nextGroup: undefined,
        epoch: this.manifest.logEpoch,
        storeTimeMs: this.manifest.lastStoreTimeMs,
      });
      this.segments.push({
        number,
        path,
        sizeBytes: undefined,
        reference: undefined,
        isEnded: false,
        claimed: undefined,
      });
    }
  }

  private async lookForStrays(known: readonly number[]): Promise<void> {
    const { fileSystem, layout } = this.parts;
    if (!(await fileSystem.stat(layout.commitLog))?.isDirectory) return;
    const names = new Set(known.map(segmentFileName));
    for (const name of await fileSystem.readdir(layout.commitLog)) {
      if (names.has(name)) continue;
      const file = `${layout.commitLog}/${name}`;
      this.note({ severity: 'remark', kind: 'stray', file, message: `${file} is not part of the log` });
    }
  }

  private isLive(queue: QueueId, endOffset: number): boolean {
    const state = this.queues.get(queue);
    return state !== undefined && endOffset > state.startOffset;
  }

  private regionAt(location: number): DamagedRegion | undefined {
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

  /** Goes along every queue, as the index has it, and looks that nothing is missing and that both sides say the same. */
  private async compareRows(): Promise<void> {
    this.regions.sort((a, b) => a.from - b.from);
    const ends = new Map<QueueId, { end: number; location: number }>();
    const step = (queue: QueueId, baseOffset: number, count: number, location: number): void => {
      const state = this.queues.get(queue);
      if (state === undefined || baseOffset + count <= state.startOffset) return;
      const before = ends.get(queue) ?? { end: state.startOffset, location: -1 };
      if (baseOffset > before.end) this.gap(queue, before.end, baseOffset, before.location, location);
      else if (baseOffset < before.end && ends.has(queue)) {
        const message = `offset ${baseOffset} of queue ${queue} is there twice`;
        const file = segmentFileName(segmentOf(location));
        this.note({ severity: 'damage', kind: 'order', file, at: offsetIn(location), message, queue });
      }
      ends.set(queue, { end: Math.max(before.end, baseOffset + count), location });
    };
    for (const { reference, run, segments, without } of this.openRuns) {
      if (run === undefined) {
        await this.entriesOf(segments, reference.from, reference.to, (queue, ...rest) => {
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
            this.counts.rows++;
            if (!this.isLive(queue, baseOffset + count)) continue;
            step(queue, baseOffset, count, location);
            const region = this.regionAt(location);
            if (region !== undefined && region.own === undefined) {
              addRange(region.ranges, queue, baseOffset, baseOffset + count);
            } else if (!this.lostSpans.some(({ from, to }) => location >= from && location < to)) {
              addTo(
                this.rowSums,
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
    this.isBehindRuns = true;
    const head = (await this.segmentNumbers()).filter((number) => !isCleanedSegment(number));
    await this.entriesOf(head, this.manifest?.indexedTo ?? 0, this.tornAt, step);
    for (const [queue, { nextOffset, startOffset }] of this.queues) {
      const before = ends.get(queue) ?? { end: startOffset, location: -1 };
      if (nextOffset > before.end) {
        this.gap(queue, before.end, nextOffset, before.location, Number.POSITIVE_INFINITY);
      }
    }
    await this.compareSums();
  }

  /** Queue entries of a stretch of the log, in order. */
  private async entriesOf(
    segments: readonly number[],
    from: number,
    to: number,
    step: (queue: QueueId, baseOffset: number, count: number, location: number) => void,
  ): Promise<void> {
    for (const number of segments) {
      const isCleaned = isCleanedSegment(number);
      if (!isCleaned && (number < segmentOf(from) || locationOf(number, 0) >= Math.min(to, this.tornAt)))
        continue;
      const left = this.without.get(number);
      await this.walk(number, (item) => {
        if (item.kind === 'damage') return;
        const { header, location } = item;
        if (!isCleaned && (location < from || location >= to || location >= this.tornAt)) return;
        const region = this.regionAt(location);
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
  private gap(queue: QueueId, from: number, to: number, after: number, before: number): void {
    const between = this.regions.filter(
      (one) => one.own === undefined && one.from > after && one.from < before,
    );
    const region = between.find(hasRoom) ?? between.at(-1);
    if (region !== undefined) {
      addRange(this.isBehindRuns ? region.laterRanges : region.ranges, queue, from, to);
      if (this.isBehindRuns) return;
      // A run that was made again from the damaged log does not name them.
      for (const { reference, run, segments } of this.openRuns) {
        if (run === undefined || this.damagedRuns.includes(reference)) continue;
        if (
          segments.includes(segmentOf(region.from)) &&
          region.from >= reference.from &&
          region.from < reference.to
        )
          this.damagedRuns.push(reference);
      }
      return;
    }
    // The cleaner leaves gaps, next to what it kept.
    if (isCleanedSegment(segmentOf(Math.max(0, after)))) return;
    if (before !== Number.POSITIVE_INFINITY && isCleanedSegment(segmentOf(before))) return;
    const message = `offsets ${from} to ${to - 1} of queue ${queue} are missing`;
    this.note({
      severity: 'damage',
      kind: 'gap',
      file: this.parts.layout.commitLog,
      message,
      queue,
      fromOffset: from,
      toOffset: to,
    });
  }

  private async compareSums(): Promise<void> {
    const indexedTo = this.manifest?.indexedTo ?? 0;
    const indexedBytes = locationOf(segmentOf(indexedTo), 0);
    for (const { reference, run, segments, without } of this.openRuns) {
      if (run === undefined) continue;
      for (const number of segments) {
        const entries = this.entrySums.get(number);
        const rows = this.rowSums.get(number);
        if (entries === undefined && rows === undefined) continue;
        // Part of a segment may have no rows yet, or its rows be in another run, which is damaged.
        const isPartial =
          !isCleanedSegment(number) && (locationOf(number, 0) >= indexedBytes || this.damagedRuns.length > 0);
        const isSame =
          entries !== undefined &&
          rows !== undefined &&
          entries.rows === rows.rows &&
          entries.low === rows.low &&
          entries.high === rows.high;
        if (!isSame || isPartial) await this.differences(number, reference, run, without);
      }
    }
  }

  /** Entry by entry and row by row: what stands in one and not in the other. */
  private async differences(
    number: number,
    reference: RunReference,
    run: RunFile,
    without: QueueSet,
  ): Promise<void> {
    const isCleaned = isCleanedSegment(number);
    const from = isCleaned ? locationOf(number, 0) : Math.max(reference.from, locationOf(number, 0));
    const to = isCleaned
      ? locationOf(number + 1, 0)
      : Math.min(reference.to, locationOf(number + 1, 0), this.tornAt);
    const left = this.without.get(number);
    const path = `${this.parts.layout.commitLog}/${segmentFileName(number)}`;
    const entries = new Map<number, string>();
    await this.walk(number, (item) => {
      if (item.kind === 'damage' || item.location < from || item.location >= to) return;
      const { queue, baseOffset, count, payloadBytes, maxTimestampMs, kind } = item.header;
      if (!isQueueKind(kind) || !this.isLive(queue, baseOffset + count) || left?.has(queue) === true) return;
      const region = this.regionAt(item.location);
      if (region !== undefined && region.own === undefined) return;
      entries.set(item.location, `${queue} ${baseOffset} ${count} ${payloadBytes} ${maxTimestampMs}`);
    });
    let differences = 0;
    const rows = new EntryRows();
    const runPath = `${this.parts.layout.consumeQueues}/${runFileName(reference.number)}`;
    const differs = (location: number, message: string): void => {
      if (++differences > maxDifferences) return;
      const file = runPath;
      this.note({ severity: 'damage', kind: 'row', file, at: offsetIn(location), message });
      if (!this.damagedRuns.includes(reference)) this.damagedRuns.push(reference);
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
          if (location < from || location >= to || !this.isLive(queue, baseOffset + count)) continue;
          const region = this.regionAt(location);
          if (region !== undefined && region.own === undefined) continue;
          if (this.lostSpans.some((span) => location >= span.from && location < span.to)) continue;
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

  private reportRegions(): void {
    for (const region of this.regions) {
      const { from, to, reason, isAtEnd } = region;
      const ranges = [...region.ranges, ...region.laterRanges];
      const file = `${this.parts.layout.commitLog}/${segmentFileName(segmentOf(from))}`;
      const isSegment = isAtEnd && to === locationOf(segmentOf(from) + 1, 0);
      const bytes = isSegment ? undefined : to - from;
      this.counts.damagedEntries += Math.max(1, ranges.length);
      this.counts.damagedBytes += bytes ?? 0;
      const what = ranges
        .filter(({ queue, to: end }) => this.isLive(queue, end))
        .map(({ queue, from: first, to: end }) => `offsets ${first} to ${end - 1} of queue ${queue}`);
      const [first] = ranges;
      this.note({
        severity: 'damage',
        kind: isSegment ? 'segment' : 'entry',
        file,
        at: offsetIn(from),
        ...(bytes === undefined ? {} : { bytes }),
        message: `${describeLocation(from)}: ${reason}${what.length === 0 ? '' : `; lost: ${what.join(', ')}`}`,
        ...(first === undefined ? {} : { queue: first.queue, fromOffset: first.from, toOffset: first.to }),
      });
    }
    if (this.tornAt !== Number.POSITIVE_INFINITY && !this.parts.isHeld) {
      const message = `${describeLocation(this.tornAt)}: what was being written when the last process ended; the next start cuts it off`;
      const file = `${this.parts.layout.commitLog}/${segmentFileName(segmentOf(this.tornAt))}`;
      this.note({ severity: 'remark', kind: 'tail', file, at: offsetIn(this.tornAt), message });
    }
  }
}

const sliceLimits = {
  untilOffset: Number.POSITIVE_INFINITY,
  maxBytes: Number.POSITIVE_INFINITY,
  maxRows: rowsAtOnce,
  atLeastOne: true,
};

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

const scratch = new Float64Array(6);
const words = new Uint32Array(scratch.buffer);

/** Adds one row to its segment's sum; sums of the same rows are equal in whatever order they come. */
function addTo(
  sums: Map<number, Sum>,
  location: number,
  queue: number,
  baseOffset: number,
  count: number,
  sizeBytes: number,
  maxTimestampMs: number,
): void {
  scratch[0] = location;
  scratch[1] = queue;
  scratch[2] = baseOffset;
  scratch[3] = count;
  scratch[4] = sizeBytes;
  scratch[5] = maxTimestampMs;
  let low = 0x9e3779b1;
  let high = 0x85ebca6b;
  for (const word of words) {
    low = Math.imul(low ^ word, 0xcc9e2d51);
    low ^= low >>> 15;
    high = Math.imul(high ^ low ^ word, 0x1b873593);
    high ^= high >>> 13;
  }
  const segment = segmentOf(location);
  let sum = sums.get(segment);
  if (sum === undefined) {
    sum = { rows: 0, low: 0, high: 0 };
    sums.set(segment, sum);
  }
  sum.rows++;
  sum.low = (sum.low + low) | 0;
  sum.high = (sum.high + high) | 0;
}
