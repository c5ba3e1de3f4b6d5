/**
 * Makes a damaged directory one that starts and serves every entry that can be read. Copies are made again from each other, index
 * runs from the log; a stretch of the log that cannot be read is replaced by an entry that says which offsets it took, so that a
 * read of them is answered `damaged`. No valid entry is dropped, and every byte that is replaced is kept in a side directory first.
 * Cut off at any step and run again it does the rest; where nothing is wrong it changes nothing.
 */
import { randomBytes } from 'node:crypto';
import { BlockCache, ReadGate } from '../block-cache.ts';
import { producersFileName, stateFileName } from '../directory-layout.ts';
import { EntryHeader, flagLastOfGroup, headerBytes, kindSegmentEnd } from '../entry-header.ts';
import type { OpenFile } from '../file-system.ts';
import {
  describeLocation,
  isCleanedSegment,
  locationOf,
  offsetIn,
  segmentFileName,
  segmentOf,
} from '../location.ts';
import { listSegments } from '../log-scan.ts';
import { encodeLostEntry, type LostRange, lostEntryBytes } from '../lost-entry.ts';
import { type Extent, type Manifest, type SegmentReference, writeManifest } from '../manifest.ts';
import {
  type IndexRunDescription,
  runFileName as indexFileName,
  mendRunFile,
} from '../ordered-index/run-file.ts';
import { type RunContext, rebuildRun } from '../run-build.ts';
import { runBlockBytes, runFileName } from '../run-file.ts';
import { decodeState, openSnapshot, type SnapshotKind } from '../state-snapshot.ts';
import { readWhole, replaceFile } from '../whole-file.ts';
import { walkSegment } from './segment-walk.ts';
import { surveyDirectory } from './survey.ts';
import type { DamagedRegion, SurveyParts, SurveyResult } from './survey-result.ts';

export interface RepairOptions extends Omit<SurveyParts, 'isHeld'> {
  /** Names the side directory. */
  readonly nowMs: number;
  /** Says what would be done. */
  readonly isDryRun: boolean;
}

export interface RepairAction {
  readonly file: string;
  readonly message: string;
}

export interface RepairReport {
  readonly actions: readonly RepairAction[];
  /** What cannot be repaired: the broker will not start. */
  readonly refusals: readonly string[];
  /** Where what was replaced is kept; undefined: nothing was. */
  readonly sideDirectory: string | undefined;
  readonly before: SurveyResult;
}

/** The caller holds the directory's lock. Throws the system's errors. */
export async function repairDirectory(options: RepairOptions): Promise<RepairReport> {
  return new Repair(options).run();
}

const copyBytes = 4 * 1024 * 1024;

class Repair {
  private readonly options: RepairOptions;
  private readonly actions: RepairAction[] = [];
  private readonly refusals: string[] = [];
  private readonly sideDirectory: string;
  private hasSideDirectory = false;
  private manifest: Manifest | undefined;
  private nextFileNumber = 1;
  private isManifestDue = false;
  private readonly replacedFiles: string[] = [];
  /** Segments whose file is this directory's alone. */
  private readonly owned = new Set<string>();

  constructor(options: RepairOptions) {
    this.options = options;
    const time = new Date(options.nowMs).toISOString().replace(/[:.]/g, '-');
    this.sideDirectory = `${options.layout.root}/repair-${time}`;
  }

  async run(): Promise<RepairReport> {
    await this.finishMoves();
    const before = await this.survey();
    let survey = before;
    if (survey.manifest === undefined && (await this.makeManifest())) survey = await this.survey();
    if (await this.putFilesRight(survey)) survey = await this.survey();
    this.manifest = survey.manifest;
    if (this.manifest !== undefined && this.refusals.length === 0) {
      this.nextFileNumber = this.manifest.nextFileNumber;
      const hasStaleCopy = survey.findings.some(
        ({ kind, severity }) => kind === 'manifest' && severity === 'damage',
      );
      if (hasStaleCopy) this.will(this.manifestPath, 'both copies are written again from the intact one');
      this.isManifestDue = hasStaleCopy;
      await this.repairSnapshots(survey);
      await this.repairOrderedIndex(survey);
      if (this.refusals.length === 0) {
        await this.repairLog(survey);
        await this.repairRuns(survey);
        await this.finish();
      }
    }
    if (this.hasSideDirectory) await this.writeReport(before);
    return {
      actions: this.actions,
      refusals: this.refusals,
      sideDirectory: this.hasSideDirectory ? this.sideDirectory : undefined,
      before,
    };
  }

  private get manifestPath(): string {
    return `${this.options.layout.root}/MANIFEST`;
  }

  private survey(): Promise<SurveyResult> {
    return surveyDirectory({ ...this.options, isHeld: false });
  }

  private will(file: string, message: string): void {
    this.actions.push({ file, message });
  }

  // The manifest from nothing.

  /** True when there is one now. */
  private async makeManifest(): Promise<boolean> {
    const { fileSystem, layout, crc32c } = this.options;
    const present = (await fileSystem.stat(layout.commitLog))?.isDirectory
      ? await fileSystem.readdir(layout.commitLog)
      : [];
    const all = present
      .filter((name) => /^\d{10}\.log$/.test(name))
      .map((name) => Number(name.slice(0, 10)))
      .sort((a, b) => a - b);
    if (all.some(isCleanedSegment)) {
      this.refusals.push(
        'no copy of the manifest is intact, and only it says which entries the cleaner replaced: restore one of the two copies',
      );
      return false;
    }
    if (all.length === 0) {
      this.refusals.push(
        `there is neither a manifest nor a log in ${layout.root}: there is nothing to repair`,
      );
      return false;
    }
    const state = await this.newestSnapshot('state');
    // The replay begins where the snapshot ends: what is missing from there on is to be noted, not left out.
    const suffix = Math.min(
      wholeFrom(all),
      state === undefined ? Number.POSITIVE_INFINITY : segmentOf(state.position),
    );
    const facts = { epoch: 0, storeTimeMs: 0, durable: 0 };
    for (const segment of all) {
      await this.walk(segment, (header) => {
        facts.epoch = Math.max(facts.epoch, header.epoch);
        facts.storeTimeMs = Math.max(facts.storeTimeMs, header.storeTimeMs);
        facts.durable = Math.max(facts.durable, header.durablePosition);
      });
    }
    this.nextFileNumber = await this.highestFileNumber();
    const position = locationOf(suffix, 0);
    const isWhole = suffix === 0;
    if (state === undefined && !isWhole) {
      this.refusals.push(
        'no copy of the manifest and none of the catalogue is intact, and the beginning of the log is gone: restore a copy of either',
      );
      return false;
    }
    const indexFiles = isWhole ? [] : await this.intactIndexRuns();
    const manifest: Manifest = {
      storageId: randomBytes(16).toString('base64url'),
      generation: 1,
      logEpoch: facts.epoch,
      durablePosition: facts.durable,
      isClean: false,
      lastStoreTimeMs: facts.storeTimeMs,
      extents: [],
      headSegment: suffix,
      headSealed: [],
      pieces: [],
      indexedTo: position,
      state: state ?? { number: undefined, position: 0 },
      producers: (await this.newestSnapshot('producers')) ?? { number: undefined, position },
      orderedIndex: { runs: indexFiles, position },
      nextFileNumber: this.nextFileNumber,
    };
    this.will(
      this.manifestPath,
      'made again from the files that are there; the cluster id is a new one, since only the manifest had it',
    );
    if (this.options.isDryRun) return false;
    await this.moveAside(this.manifestPath);
    await this.moveAside(`${layout.mirror}/MANIFEST`);
    await this.makeDirectories();
    this.manifest = manifest;
    const extents: Extent[] = [];
    for (const number of all.filter((one) => one < suffix)) {
      const sizeBytes = (await fileSystem.stat(this.segmentPath(number)))?.sizeBytes ?? 0;
      const from = locationOf(number, 0);
      const none = { number: 0, from, to: locationOf(number + 1, 0), entries: 0, sizeBytes: 0, checksum: 0 };
      const { reference } = await rebuildRun(this.runContext(), none, undefined);
      extents.push({ segments: [{ number, sizeBytes }], run: reference, level: 1 });
    }
    await writeManifest(fileSystem, layout, crc32c, {
      ...manifest,
      extents,
      nextFileNumber: this.nextFileNumber,
    });
    return true;
  }

  private async walk(segment: number, visit: (header: EntryHeader) => void): Promise<void> {
    const { fileSystem, layout, crc32c, format } = this.options;
    await walkSegment({ fileSystem, directory: layout.commitLog, segment, crc32c, format }, (item) => {
      if (item.kind === 'entry') visit(item.header);
    });
  }

  private async names(directory: string): Promise<readonly string[]> {
    const { fileSystem } = this.options;
    return (await fileSystem.stat(directory))?.isDirectory ? await fileSystem.readdir(directory) : [];
  }

  private async highestFileNumber(): Promise<number> {
    const { layout } = this.options;
    let highest = 0;
    for (const directory of [layout.consumeQueues, layout.orderedIndex, layout.snapshots, layout.mirror]) {
      for (const name of await this.names(directory)) {
        const match = /^(\d{10})\./.exec(name);
        if (match !== null) highest = Math.max(highest, Number(match[1]));
      }
    }
    return highest + 1;
  }

  private async newestSnapshot(
    kind: SnapshotKind,
  ): Promise<{ readonly number: number; readonly position: number } | undefined> {
    const { fileSystem, layout, crc32c } = this.options;
    let newest: { number: number; position: number } | undefined;
    for (const directory of [layout.snapshots, layout.mirror]) {
      for (const name of await this.names(directory)) {
        if (!name.endsWith(`.${kind}`)) continue;
        const bytes = await readWhole(fileSystem, `${directory}/${name}`);
        const opened = bytes === undefined ? undefined : openSnapshot(kind, bytes, crc32c);
        if (opened?.number === undefined || opened.position === undefined) continue;
        const nameOf = kind === 'state' ? stateFileName : producersFileName;
        if (nameOf(opened.number) !== name || opened.number <= (newest?.number ?? -1)) continue;
        if (kind === 'state') decodeState(opened.content);
        newest = { number: opened.number, position: opened.position };
      }
    }
    return newest;
  }

  /** Newest first: numbers grow with the age of what a file holds turned around. */
  private async intactIndexRuns(): Promise<readonly IndexRunDescription[]> {
    const { fileSystem, layout } = this.options;
    const found = new Map<number, IndexRunDescription>();
    for (const directory of [layout.orderedIndex, layout.mirror]) {
      for (const name of await this.names(directory)) {
        const match = /^(\d{10})\.index$/.exec(name);
        if (match === null) continue;
        const description = await mendRunFile.describe(fileSystem, `${directory}/${name}`, Number(match[1]));
        if (description !== undefined) found.set(description.number, description);
      }
    }
    return [...found.values()].sort((a, b) => b.number - a.number);
  }

  // Files in each other's place.

  /** True where files were moved. */
  /** Segments that a repair which was cut off had on their way to their names get there, where nobody else has the name. */
  private async finishMoves(): Promise<void> {
    const { fileSystem, layout, isDryRun } = this.options;
    if (isDryRun) return;
    for (const name of await this.names(layout.commitLog)) {
      const claimed = /^\d{10}\.log\.of-(\d+)$/.exec(name)?.[1];
      if (claimed === undefined) continue;
      const path = this.segmentPath(Number(claimed));
      if ((await fileSystem.stat(path)) !== undefined) continue;
      this.will(
        `${layout.commitLog}/${name}`,
        `was on its way to the name ${segmentFileName(Number(claimed))}`,
      );
      await fileSystem.rename(`${layout.commitLog}/${name}`, path);
      await fileSystem.syncDirectory(layout.commitLog);
    }
  }

  private async putFilesRight({ segments }: SurveyResult): Promise<boolean> {
    const misplaced = segments.filter(({ claimed, number }) => claimed !== undefined && claimed !== number);
    if (misplaced.length === 0) return false;
    const broken = new Set(
      segments
        .filter(({ number, sizeBytes, claimed }) => sizeBytes === undefined || (claimed ?? number) !== number)
        .map(({ number }) => number),
    );
    for (const { claimed, path } of misplaced) {
      const isWanted = broken.has(claimed!);
      this.will(
        path,
        isWanted
          ? `holds the entries of ${segmentFileName(claimed!)}: it gets that name`
          : `is a copy of ${segmentFileName(claimed!)}: it goes to the side directory`,
      );
    }
    if (this.options.isDryRun) return false;
    const { fileSystem, layout } = this.options;
    // First all to names that nobody has, so that a swap is two steps that can each be cut off.
    const moves: { from: string; to: string }[] = [];
    const taken = new Set<number>();
    for (const { path, number, claimed } of misplaced) {
      if (!broken.has(claimed!) || taken.has(claimed!)) {
        await this.moveAside(path);
        continue;
      }
      taken.add(claimed!);
      const aside = `${layout.commitLog}/${segmentFileName(number)}.of-${claimed}`;
      await fileSystem.rename(path, aside);
      moves.push({ from: aside, to: this.segmentPath(claimed!) });
    }
    for (const { from, to } of moves) await fileSystem.rename(from, to);
    await this.finishMoves();
    await fileSystem.syncDirectory(layout.commitLog);
    return true;
  }

  // What is kept twice.

  private async repairSnapshots({ isStateLost, areProducersLost }: SurveyResult): Promise<void> {
    const manifest = this.manifest!;
    const position = await this.wholeLogFrom();
    if (isStateLost && position !== 0) {
      this.refusals.push(
        `both copies of the catalogue are damaged, and the log that it could be made from begins at ${describeLocation(position)}: restore a copy of ${stateFileName(manifest.state.number ?? 0)}`,
      );
      return;
    }
    if (isStateLost) {
      const name = stateFileName(manifest.state.number!);
      this.will(
        `${this.options.layout.snapshots}/${name}`,
        'catalogue and queues are made again from the log',
      );
      this.change({ state: { number: undefined, position: 0 } });
      await this.moveBothAside(name);
    } else if (manifest.state.number !== undefined) {
      await this.mendCopies('state', stateFileName(manifest.state.number));
    }
    if (areProducersLost) {
      const name = producersFileName(manifest.producers.number!);
      this.will(
        `${this.options.layout.snapshots}/${name}`,
        `known producers are made again from the log from ${describeLocation(position)} on; older ones are forgotten`,
      );
      this.change({ producers: { number: undefined, position } });
      await this.moveBothAside(name);
    } else if (manifest.producers.number !== undefined) {
      await this.mendCopies('producers', producersFileName(manifest.producers.number));
    }
  }

  private async mendCopies(kind: SnapshotKind, name: string): Promise<void> {
    const { fileSystem, layout, crc32c, isDryRun } = this.options;
    const reference = kind === 'state' ? this.manifest!.state : this.manifest!.producers;
    const contents: (Buffer | undefined)[] = [];
    const directories = [layout.snapshots, layout.mirror];
    for (const directory of directories) {
      const info = await fileSystem.stat(`${directory}/${name}`);
      const isFile = info !== undefined && !info.isDirectory && !info.isOther;
      const bytes = isFile ? await readWhole(fileSystem, `${directory}/${name}`) : undefined;
      const opened = bytes === undefined ? undefined : openSnapshot(kind, bytes, crc32c);
      const isRight =
        opened !== undefined &&
        (opened.number === undefined ||
          (opened.number === reference.number && opened.position === reference.position));
      contents.push(isRight ? bytes : undefined);
    }
    for (const [at, directory] of directories.entries()) {
      const other = contents[1 - at];
      if (contents[at] !== undefined || other === undefined) continue;
      this.will(`${directory}/${name}`, 'made again from its other copy');
      if (isDryRun) continue;
      await this.moveAside(`${directory}/${name}`);
      await this.makeDirectories();
      await replaceFile(fileSystem, directory, name, [other]);
    }
  }

  private async repairOrderedIndex({ damagedIndexRuns }: SurveyResult): Promise<void> {
    const { fileSystem, layout, isDryRun } = this.options;
    const hasMirror = this.manifest!.generation !== undefined;
    const directories = hasMirror ? [layout.orderedIndex, layout.mirror] : [layout.orderedIndex];
    if (damagedIndexRuns.some(({ isLost }) => isLost)) {
      const position = await this.wholeLogFrom();
      if (position === 0) {
        this.will(layout.orderedIndex, 'the ordered index is made again from the log');
        for (const { number } of this.manifest!.orderedIndex.runs)
          await this.moveBothAside(indexFileName(number));
        this.change({ orderedIndex: { runs: [], position: 0 } });
        return;
      }
      for (const { description, isLost } of damagedIndexRuns) {
        if (!isLost) continue;
        const name = indexFileName(description.number);
        this.refusals.push(
          `${name} of the ordered index is damaged in both copies, and the log that it could be made from begins at ${describeLocation(position)}: restore a copy of it`,
        );
      }
      return;
    }
    for (const { description } of damagedIndexRuns) {
      const name = indexFileName(description.number);
      const whole = await mendRunFile.join(fileSystem, directories, description);
      if (whole === undefined) continue;
      for (const directory of directories) {
        const path = `${directory}/${name}`;
        const info = await fileSystem.stat(path);
        const isFile = info !== undefined && !info.isDirectory && !info.isOther;
        const bytes = isFile ? await readWhole(fileSystem, path) : undefined;
        if (bytes?.equals(whole) === true) continue;
        this.will(path, 'made again from its other copy');
        if (isDryRun) continue;
        await this.moveAside(path);
        await this.makeDirectories();
        await replaceFile(fileSystem, directory, name, [whole]);
      }
    }
  }

  /** The place from which on the log is whole, without a file missing: 0 where nothing was ever removed. */
  private async wholeLogFrom(): Promise<number> {
    const { fileSystem, layout } = this.options;
    const present = (await fileSystem.stat(layout.commitLog))?.isDirectory
      ? await listSegments(fileSystem, layout.commitLog)
      : [];
    const named = [
      ...this.manifest!.extents.flatMap(({ segments }) => segments),
      ...this.manifest!.headSealed,
    ].map(({ number }) => number);
    const all = [...new Set([...present, ...named])].filter((number) => !isCleanedSegment(number));
    return locationOf(wholeFrom(all.sort((a, b) => a - b)), 0);
  }

  // The log.

  private async repairLog({ regions, paddings, links }: SurveyResult): Promise<void> {
    for (const path of links) {
      this.will(path, 'is not a file and holds nothing of the log: removed');
      await this.moveAside(path);
    }
    for (const { from, to } of paddings) {
      this.will(this.segmentPath(segmentOf(from)), `${describeLocation(from)}: zeros between two entries`);
      if (this.options.isDryRun) continue;
      await this.keepBytes(from, to);
      await this.overwrite(from, Buffer.alloc(to - from));
    }
    for (const region of joined(regions)) {
      const ranges = [...region.ranges, ...region.laterRanges].map(
        ({ queue, from, to }) => `${from} to ${to - 1} of queue ${queue}`,
      );
      this.will(
        this.segmentPath(segmentOf(region.from)),
        `${describeLocation(region.from)}: ${region.reason}; noted as lost` +
          (ranges.length === 0 ? '' : `, with the offsets ${ranges.join(', ')}`),
      );
      if (this.options.isDryRun) continue;
      if (region.isAtEnd) await this.closeSegment(region);
      else await this.replace(region);
    }
  }

  /** Puts entries of the same length in the place of what cannot be read. */
  private async replace(region: DamagedRegion): Promise<void> {
    await this.keepBytes(region.from, region.to);
    await this.overwrite(region.from, this.lostEntries(region, region.to));
  }

  /**
   * Entries that note the loss, from where it begins to `to` (undefined: as long as need be). One ends at every place that the
   * manifest has something as of, and where a group begins: recovery begins to read there.
   */
  private lostEntries(region: DamagedRegion, to: number | undefined): Buffer {
    const { from, own, openGroup, nextGroup, epoch, storeTimeMs } = region;
    const { state, producers, orderedIndex, indexedTo } = this.manifest!;
    const end = to ?? locationOf(segmentOf(from) + 1, 0);
    const cuts = [state.position, producers.position, orderedIndex.position, indexedTo];
    if (nextGroup !== undefined && own === undefined) cuts.push(nextGroup);
    const inside = cuts.filter((cut) => cut > from && cut < end);
    const starts = [...new Set([from, ...inside])].sort((a, b) => a - b);
    const ranges: LostRange[][] = starts.map(() => []);
    const roomOf = (at: number): number =>
      at + 1 === starts.length
        ? (to ?? Number.POSITIVE_INFINITY) - starts[at]!
        : starts[at + 1]! - starts[at]!;
    const put = (list: readonly LostRange[], isRight: (start: number) => boolean): void => {
      if (list.length === 0) return;
      const at = starts.findIndex(
        (start, index) =>
          isRight(start) && lostEntryBytes(ranges[index]!.length + list.length) <= roomOf(index),
      );
      if (at < 0) throw new Error(`${describeLocation(from)}: no room to note what was lost`);
      ranges[at]!.push(...list);
    };
    put(region.ranges, (start) => start < indexedTo || from >= indexedTo);
    put(region.laterRanges, (start) => start >= indexedTo || end <= indexedTo);
    const entries = starts.map((start, at) => {
      const isLast = at + 1 === starts.length;
      const group = own?.group ?? (at === 0 ? (openGroup ?? start) : start);
      return encodeLostEntry(
        {
          location: start,
          totalBytes:
            roomOf(at) === Number.POSITIVE_INFINITY ? lostEntryBytes(ranges[at]!.length) : roomOf(at),
          ranges: ranges[at]!,
          group,
          isLastOfGroup: own?.isLastOfGroup ?? (!isLast || nextGroup !== group),
          epoch,
          storeTimeMs,
        },
        this.options.crc32c,
      );
    });
    return Buffer.concat(entries);
  }

  /** Nothing can be read from there to the file's end: the segment ends there, with a note of what was lost. */
  private async closeSegment(region: DamagedRegion): Promise<void> {
    const { fileSystem, layout, crc32c } = this.options;
    const { from, epoch, storeTimeMs } = region;
    const number = segmentOf(from);
    const path = this.segmentPath(number);
    const info = await fileSystem.stat(path);
    const isFile = info !== undefined && !info.isDirectory && !info.isOther;
    if (info !== undefined && !isFile) await this.moveAside(path);
    if (isFile && info.sizeBytes > offsetIn(from))
      await this.keepBytes(from, locationOf(number, info.sizeBytes));
    const lost = this.lostEntries(region, undefined);
    const end = Buffer.alloc(headerBytes);
    const header = new EntryHeader();
    header.kind = kindSegmentEnd;
    header.flags = flagLastOfGroup;
    header.location = from + lost.length;
    header.group = header.location;
    header.epoch = epoch;
    header.storeTimeMs = storeTimeMs;
    header.encode(new DataView(end.buffer, end.byteOffset, end.length), end, 0, crc32c);
    if (isFile) await this.own(path);
    const file = await fileSystem.open(path, isFile ? 'write' : 'replace');
    try {
      const sizeBytes = offsetIn(from) + lost.length + end.length;
      await file.write([lost, end], offsetIn(from));
      await file.truncate(sizeBytes);
      await file.datasync();
      this.resize(number, sizeBytes);
    } finally {
      await file.close();
    }
    await fileSystem.syncDirectory(layout.commitLog);
  }

  private resize(number: number, sizeBytes: number): void {
    const resized = (segment: SegmentReference): SegmentReference =>
      segment.number === number ? { ...segment, sizeBytes } : segment;
    const { extents, headSealed } = this.manifest!;
    this.change({
      extents: extents.map((extent) => ({ ...extent, segments: extent.segments.map(resized) })),
      headSealed: headSealed.map(resized),
    });
  }

  // Index runs.

  private async repairRuns(survey: SurveyResult): Promise<void> {
    const { layout, isDryRun } = this.options;
    const manifest = this.manifest!;
    for (const damaged of survey.damagedRuns) {
      const path = `${layout.consumeQueues}/${runFileName(damaged.number)}`;
      this.will(path, 'made again from the log');
      if (isDryRun) continue;
      await this.makeDirectories();
      const extent = this.manifest!.extents.find(({ run }) => run.number === damaged.number);
      const { reference } = await rebuildRun(this.runContext(), damaged, extent);
      this.change({
        extents: this.manifest!.extents.map((one) =>
          one.run.number === damaged.number ? { ...one, run: reference } : one,
        ),
        pieces: this.manifest!.pieces.map((one) => (one.number === damaged.number ? reference : one)),
      });
      this.replacedFiles.push(path);
    }
    if (manifest !== this.manifest) await this.options.fileSystem.syncDirectory(layout.consumeQueues);
  }

  private runContext(): RunContext {
    const { fileSystem, layout, crc32c, format } = this.options;
    return {
      fileSystem,
      layout,
      crc32c,
      format,
      cache: new BlockCache(runBlockBytes, 4 * 1024 * 1024, new ReadGate(2)),
      nextFileNumber: () => this.nextFileNumber++,
    };
  }

  // The end.

  private change(changes: Partial<Manifest>): void {
    this.manifest = { ...this.manifest!, ...changes };
    this.isManifestDue = true;
  }

  private async finish(): Promise<void> {
    const { fileSystem, layout, crc32c, isDryRun } = this.options;
    if (isDryRun || this.actions.length === 0) return;
    if (this.isManifestDue) {
      await this.makeDirectories();
      await writeManifest(fileSystem, layout, crc32c, {
        ...this.manifest!,
        isClean: false,
        nextFileNumber: Math.max(this.nextFileNumber, this.manifest!.nextFileNumber),
      });
    }
    for (const path of this.replacedFiles) await this.moveAside(path);
  }

  private async makeDirectories(): Promise<void> {
    const { fileSystem, layout } = this.options;
    const { commitLog, consumeQueues, orderedIndex, snapshots, mirror, root } = layout;
    for (const path of [commitLog, consumeQueues, orderedIndex, snapshots, mirror]) {
      const info = await fileSystem.stat(path);
      if (info?.isDirectory === true) continue;
      if (info !== undefined) throw new Error(`${path} is not a directory: move it away first`);
      await fileSystem.mkdir(path);
      await fileSystem.syncDirectory(root);
    }
  }

  private segmentPath(number: number): string {
    return `${this.options.layout.commitLog}/${segmentFileName(number)}`;
  }

  private async side(): Promise<string> {
    if (!this.hasSideDirectory) {
      const { fileSystem, layout } = this.options;
      await fileSystem.mkdir(this.sideDirectory);
      await fileSystem.syncDirectory(layout.root);
      this.hasSideDirectory = true;
    }
    return this.sideDirectory;
  }

  /** A copy of what will be replaced, durable before it is. */
  private async keepBytes(from: number, to: number): Promise<void> {
    const { fileSystem } = this.options;
    const file = await fileSystem.open(this.segmentPath(segmentOf(from)), 'read');
    try {
      const sizeBytes = Math.min(to - from, (await file.sizeBytes()) - offsetIn(from));
      if (sizeBytes <= 0) return;
      const bytes = Buffer.allocUnsafeSlow(sizeBytes);
      await file.read(bytes, 0, sizeBytes, offsetIn(from));
      await this.keep(`${segmentFileName(segmentOf(from))}.at-${offsetIn(from)}`, bytes);
    } finally {
      await file.close();
    }
  }

  private async keep(name: string, bytes: Buffer): Promise<void> {
    const side = await this.side();
    await replaceFile(this.options.fileSystem, side, name, [bytes]);
  }

  /** Copies a file to the side directory, then removes it; nothing happens where there is none. */
  private async moveAside(path: string): Promise<void> {
    const { fileSystem, layout, isDryRun } = this.options;
    if (isDryRun) return;
    const info = await fileSystem.stat(path);
    if (info === undefined) return;
    if (info.isDirectory) throw new Error(`${path} is a directory: move it away first`);
    const name = path.slice(layout.root.length + 1).replaceAll('/', '-');
    if (!info.isOther) await this.keep(name, (await readWhole(fileSystem, path))!);
    await fileSystem.unlink(path);
    await fileSystem.syncDirectory(path.slice(0, path.lastIndexOf('/')));
  }

  private async moveBothAside(name: string): Promise<void> {
    const { layout } = this.options;
    const directory = name.endsWith('.index') ? layout.orderedIndex : layout.snapshots;
    for (const one of [directory, layout.mirror]) this.replacedFiles.push(`${one}/${name}`);
  }

  /**
   * Puts a copy in the place of a segment before its bytes are changed: a backup may have the file under a second name (a hard link),
   * and shall keep it as it is. Once for each segment.
   */
  private async own(path: string): Promise<void> {
    if (this.owned.has(path)) return;
    const { fileSystem, layout } = this.options;
    const temporary = `${path}.new`;
    const source = await fileSystem.open(path, 'read');
    try {
      const sizeBytes = await source.sizeBytes();
      if ((await fileSystem.stat(temporary)) !== undefined) await fileSystem.unlink(temporary);
      const copy = await fileSystem.open(temporary, 'create');
      try {
        const piece = Buffer.allocUnsafeSlow(Math.min(copyBytes, Math.max(1, sizeBytes)));
        for (let at = 0; at < sizeBytes; ) {
          const read = await source.read(piece, 0, Math.min(piece.length, sizeBytes - at), at);
          if (read === 0) throw new Error(`${path} came up short at ${at} while it was copied`);
          await copy.write([piece.subarray(0, read)], at);
          at += read;
        }
        await copy.datasync();
      } finally {
        await copy.close();
      }
    } finally {
      await source.close();
    }
    await fileSystem.rename(temporary, path);
    await fileSystem.syncDirectory(layout.commitLog);
    this.owned.add(path);
  }

  private async overwrite(from: number, bytes: Buffer): Promise<void> {
    await this.own(this.segmentPath(segmentOf(from)));
    const file: OpenFile = await this.options.fileSystem.open(this.segmentPath(segmentOf(from)), 'write');
    try {
      await file.write([bytes], offsetIn(from));
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  private async writeReport(before: SurveyResult): Promise<void> {
    const { actions, refusals } = this;
    const found = before.findings.filter(({ severity }) => severity === 'damage');
    const text = JSON.stringify({ actions, refusals, found }, undefined, 1);
    await this.keep('report.json', Buffer.from(`${text}\n`));
  }
}

/** The first of the segments at the end that follow one another. */
function wholeFrom(ascending: readonly number[]): number {
  let first = ascending.at(-1) ?? 0;
  for (let at = ascending.length - 2; at >= 0 && ascending[at] === first - 1; at--) first--;
  return first;
}

/** Neighbouring stretches as one, but for entries whose header is intact. */
function joined(regions: readonly DamagedRegion[]): DamagedRegion[] {
  const all: DamagedRegion[] = [];
  for (const region of regions) {
    const last = all.at(-1);
    const isNext =
      last?.own === undefined &&
      last?.isAtEnd === false &&
      region.own === undefined &&
      last.to === region.from;
    if (last === undefined || !isNext) all.push(region);
    else {
      all[all.length - 1] = {
        ...region,
        from: last.from,
        openGroup: last.openGroup,
        ranges: [...last.ranges, ...region.ranges],
        laterRanges: [...last.laterRanges, ...region.laterRanges],
      };
    }
  }
  return all;
}
