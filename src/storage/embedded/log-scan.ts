/**
 * Reads the log entry by entry, checking each, as recovery and the rebuilding of an index run need it; and decides what is
 * at its end after a crash. Whole groups only reach the visitor.
 *
 * The rule: an entry that fails its check below the highest place that is known to have been durable is lost data, and the start is
 * refused (or, when the operator accepts the loss, said); beyond that place it is the end of what was written, and the log is
 * cut off there. That place is the largest of all that say one: the manifest, and every intact header in the log, those
 * behind the damage too.
 */
import type { PayloadFormat } from '../engine.ts';
import type { Checksum } from './checksum.ts';
import {
  checkHeader,
  EntryHeader,
  entryBytes,
  entryFormatVersion,
  headerBytes,
  isQueueKind,
  kindSegmentEnd,
} from './entry-header.ts';
import type { FileSystem, OpenFile } from './file-system.ts';
import {
  describeLocation,
  isCleanedSegment,
  locationOf,
  offsetIn,
  segmentFileName,
  segmentOf,
  segmentOfFileName,
} from './location.ts';
import type { SegmentReference } from './manifest.ts';

/** The log or a file that belongs to it is not what it must be. The message is for the operator. */
export class DataLossError extends Error {
  override readonly name = 'DataLossError';
}

export interface ScanOptions {
  readonly fileSystem: FileSystem;
  /** Of the segments. */
  readonly directory: string;
  readonly crc32c: Checksum;
  readonly format: PayloadFormat;
  /** A group boundary. */
  readonly from: number;
  /** Known to have been durable. */
  readonly durablePosition: number;
  /**
   * From `durablePosition` on everything was written in this epoch or a later one. What says an earlier one was cut off by a start before,
   * and is seen again where a file system made the file longer than what reached the disk.
   */
  readonly epoch?: number;
  readonly acceptLoss: boolean;
  /** Stop here, a group boundary; to the end of the log where undefined. */
  readonly until?: number;
  /** Called for every entry of whole groups in order. `payload` is valid during the call. */
  visit(header: EntryHeader, payload: Buffer): void;
  /** A segment ends by intent; the next group begins at `next`. */
  segmentEnded(segment: SegmentReference, next: number): void;
}

export interface ScanResult {
  /** After the last whole group. */
  readonly end: number;
  /** The highest place known to have been durable. */
  readonly durablePosition: number;
  /** What was lost, for the operator; empty unless losses were accepted. */
  readonly losses: readonly string[];
  /** Those of them of which not even the header holds: where they stood in their queues nobody knows. */
  readonly gaps: readonly string[];
  /** Bytes behind `end` that are not (whole groups of) intact entries. */
  readonly tornBytes: number;
}

const windowBytes = 4 * 1024 * 1024;
const longestPause = 64;

/** Numbers of the head's segment files in the directory, ascending; the cleaner's are no part of the log that is read on. */
export async function listSegments(fileSystem: FileSystem, directory: string): Promise<number[]> {
  const numbers: number[] = [];
  for (const name of await fileSystem.readdir(directory)) {
    const number = segmentOfFileName(name);
    if (number !== undefined && !isCleanedSegment(number)) numbers.push(number);
  }
  return numbers.sort((a, b) => a - b);
}

/** Throws DataLossError where what was durable is damaged, missing or of a newer format. Changes nothing. */
export async function scanLog(options: ScanOptions): Promise<ScanResult> {
  return new LogScan(options).run();
}

/**
 * Removes what lies behind `end`, and makes durable what lies between `from` and there: a killed process may have written it
 * without a flush, and it is served from now on. Idempotent, and safe to be cut off at any step.
 */
export async function cutLog(
  fileSystem: FileSystem,
  directory: string,
  from: number,
  end: number,
): Promise<void> {
  const segments = await listSegments(fileSystem, directory);
  for (const number of segments.slice().reverse()) {
    if (number > segmentOf(end)) await fileSystem.unlink(`${directory}/${segmentFileName(number)}`);
  }
  for (const number of segments) {
    if (number < segmentOf(from) || number > segmentOf(end)) continue;
    const file = await fileSystem.open(`${directory}/${segmentFileName(number)}`, 'write');
    try {
      if (number === segmentOf(end) && (await file.sizeBytes()) !== offsetIn(end)) {
        await file.truncate(offsetIn(end));
      }
      await file.datasync();
    } finally {
      await file.close();
    }
  }
  await fileSystem.syncDirectory(directory);
}

interface HeldEntry {
  readonly header: EntryHeader;
  readonly payload: Buffer;
}

type EntryVerdict =
  | { readonly kind: 'entry'; readonly bytes: number; readonly isPayloadIntact: boolean }
  | { readonly kind: 'bad'; readonly reason: string };

class LogScan {
  private readonly options: ScanOptions;
  private readonly header = new EntryHeader();
  private readonly losses: string[] = [];
  private readonly gaps: string[] = [];
  private durablePosition: number;
  private segments: number[] = [];
  private window: SegmentWindow | undefined;
  // The group that is being read.
  private held: HeldEntry[] = [];
  private groupStart: number;
  private group = -1;

  constructor(options: ScanOptions) {
    this.options = options;
    this.durablePosition = options.durablePosition;
    this.groupStart = options.from;
  }

  async run(): Promise<ScanResult> {
    const { fileSystem, directory, from } = this.options;
    this.segments = isCleanedSegment(segmentOf(from))
      ? [segmentOf(from)]
      : await listSegments(fileSystem, directory);
    let at = from;
    let seen = 0;
    try {
      await this.checkBefore(from);
      while (at < (this.options.until ?? Number.POSITIVE_INFINITY)) {
        const next = this.stepInMemory(at) ?? (await this.step(at));
        if (next === undefined) break;
        at = next;
        if (++seen % (longestPause * 1024) === 0) await new Promise<void>((resolve) => setImmediate(resolve));
      }
      const tornBytes = await this.bytesFrom(this.groupStart);
      return {
        end: this.groupStart,
        durablePosition: this.durablePosition,
        losses: this.losses,
        gaps: this.gaps,
        tornBytes,
      };
    } finally {
      await this.window?.close();
    }
  }

  /** What lies before the first entry to be read is not read again, but it must be there. */
  private async checkBefore(from: number): Promise<void> {
    if (offsetIn(from) === 0) return;
    const info = await this.options.fileSystem.stat(this.path(segmentOf(from)));
    const sizeBytes = info?.sizeBytes ?? 0;
    if (sizeBytes >= offsetIn(from)) return;
    const end = locationOf(segmentOf(from), sizeBytes);
    const lost = `everything from ${describeLocation(end)} on, which had been durable up to ${describeLocation(Math.max(from, this.durablePosition))}`;
    this.lose(end, 'the file ends', lost, false);
  }

  /** Refuses the start, or notes what is lost. */
  private lose(at: number, reason: string, lost: string, isPlaceKnown: boolean): void {
    if (!this.options.acceptLoss) {
      throw new DataLossError(
        `the commit log is damaged at ${describeLocation(at)}: ${reason}, and what stood there was durable. ` +
          `Lost: ${lost}. Restore the file from a copy, or start with --accept-loss to go on without it`,
      );
    }
    this.losses.push(lost);
    if (!isPlaceKnown) this.gaps.push(lost);
  }

  /** An entry that is wholly in memory and with which nothing is wrong: nearly all of them. Undefined for any other. */
  private stepInMemory(at: number): number | undefined {
    const { window, header } = this;
    const { crc32c, format } = this.options;
    if (window === undefined || window.segment !== segmentOf(at)) return undefined;
    const offset = offsetIn(at);
    if (!window.holds(offset, headerBytes)) return undefined;
    const start = window.indexOf(offset);
    if (checkHeader(window.dataView, window.bytes, start, at, crc32c) !== 'intact') return undefined;
    header.decode(window.dataView, start);
    if (header.kind === kindSegmentEnd || !this.followsGroup(at) || this.isOfEarlierLife(at))
      return undefined;
    const bytes = entryBytes(header.payloadBytes);
    if (!window.holds(offset, bytes)) return undefined;
    const payload = start + headerBytes;
    const isIntact = isQueueKind(header.kind)
      ? format.isIntact(window.bytes, payload, header.payloadBytes)
      : crc32c(window.bytes, payload, payload + header.payloadBytes) === header.payloadChecksum;
    if (!isIntact) return undefined;
    if (header.durablePosition > this.durablePosition) this.durablePosition = header.durablePosition;
    this.take(window, at, bytes, true);
    return at + bytes;
  }

  private isOfEarlierLife(at: number): boolean {
    const { epoch, durablePosition } = this.options;
    return epoch !== undefined && at >= durablePosition && this.header.epoch < epoch;
  }

  /** True where the entry of `header` at `at` may stand behind what was read before it. */
  private followsGroup(at: number): boolean {
    const { group } = this.header;
    return group === this.group || (this.held.length === 0 && group === at);
  }

  /** One entry. Answers where the next begins; undefined at the end. */
  private async step(at: number): Promise<number | undefined> {
    const segment = segmentOf(at);
    const window = await this.open(segment);
    const isLast = !this.segments.some((other) => other > segment);
    if (window === undefined) {
      if (isLast && this.durablePosition <= at) return undefined;
      return this.damaged(at, 'the file is missing');
    }
    if (offsetIn(at) === window.sizeBytes) {
      // The end of the last file is the end of the log, if nothing says that there was more.
      if ((isLast || (await this.areEmptyAfter(segment))) && this.durablePosition <= at) return undefined;
      return this.damaged(at, 'the file ends');
    }
    const verdict = await this.look(window, at);
    if (verdict.kind === 'bad') return this.damaged(at, verdict.reason);
    const { header } = this;
    this.durablePosition = Math.max(this.durablePosition, header.durablePosition);
    if (!verdict.isPayloadIntact) {
      const isPlaceKnown = isQueueKind(header.kind);
      const after = await this.damaged(
        at,
        'the payload fails its checksum',
        at + verdict.bytes,
        isPlaceKnown,
      );
      // Queues keep it as it is: its offsets are taken, and a read of it says that it is damaged.
      if (after !== undefined) this.take(window, at, verdict.bytes, isPlaceKnown);
      return after;
    }
    if (header.kind === kindSegmentEnd) {
      if (this.held.length > 0) return this.damaged(at, 'the segment ends inside a group');
      const sizeBytes = offsetIn(at) + verdict.bytes;
      const next = locationOf(segment + 1, 0);
      this.options.segmentEnded({ number: segment, sizeBytes }, next);
      this.groupStart = next;
      return next;
    }
    this.take(window, at, verdict.bytes, true);
    return at + verdict.bytes;
  }

  /** The entry belongs to the log; its group goes to the visitor when it is whole. */
  private take(window: SegmentWindow, at: number, bytes: number, isUsable: boolean): void {
    const { header, options } = this;
    if (header.group !== this.group) {
      this.held = [];
      this.group = header.group;
    }
    const payload = window.view(offsetIn(at) + headerBytes, header.payloadBytes);
    if (header.isLastOfGroup) {
      for (const held of this.held) options.visit(held.header, held.payload);
      this.held = [];
      if (isUsable) options.visit(header, payload);
      this.groupStart = at + bytes;
    } else if (isUsable) {
      const kept = new EntryHeader();
      Object.assign(kept, header);
      this.held.push({ header: kept, payload: isQueueKind(header.kind) ? empty : Buffer.from(payload) });
    }
  }

  /** Fills `header`. */
  private async look(window: SegmentWindow, at: number): Promise<EntryVerdict> {
    const { crc32c, format } = this.options;
    const offset = offsetIn(at);
    if (!(await window.load(offset, headerBytes))) return { kind: 'bad', reason: 'the header is cut off' };
    const verdict = checkHeader(window.dataView, window.bytes, window.indexOf(offset), at, crc32c);
    if (verdict === 'newer-format') {
      throw new DataLossError(
        `the entry at ${describeLocation(at)} has a newer format than version ${entryFormatVersion}, which is the newest that this version of Odradek knows`,
      );
    }
    if (verdict === 'damaged') return { kind: 'bad', reason: 'there is no intact header' };
    const { header } = this;
    header.decode(window.dataView, window.indexOf(offset));
    if (this.isOfEarlierLife(at))
      return { kind: 'bad', reason: 'what stands there was cut off by an earlier start' };
    if (!this.followsGroup(at)) {
      return {
        kind: 'bad',
        reason: 'the group before it is not whole, or the beginning of its own is missing',
      };
    }
    const total = entryBytes(header.payloadBytes);
    if (!(await window.load(offset, headerBytes + header.payloadBytes))) {
      return { kind: 'bad', reason: 'the payload is cut off' };
    }
    const start = window.indexOf(offset) + headerBytes;
    const isPayloadIntact = isQueueKind(header.kind)
      ? format.isIntact(window.bytes, start, header.payloadBytes)
      : crc32c(window.bytes, start, start + header.payloadBytes) === header.payloadChecksum;
    if (offset + total > window.sizeBytes) return { kind: 'bad', reason: 'the entry is cut off' };
    return { kind: 'entry', bytes: total, isPayloadIntact };
  }

  /**
   * Something is wrong at `at`. Answers where to go on: undefined when the log ends before it; `resume`, or the next intact header,
   * when the loss is accepted. Throws when what was durable is lost.
   */
  private async damaged(
    at: number,
    reason: string,
    resume?: number,
    isPlaceKnown = false,
  ): Promise<number | undefined> {
    const ahead = await this.searchAhead(at + 8);
    if (this.durablePosition <= at) return undefined;
    const until = resume ?? ahead;
    const lost =
      until === undefined
        ? `everything from ${describeLocation(at)} on, which had been durable up to ${describeLocation(this.durablePosition)}`
        : `${describeLocation(at)} up to ${describeLocation(until)}`;
    this.lose(at, reason, lost, isPlaceKnown);
    if (until === undefined) {
      // Nothing intact follows: the log ends here, with what is known to be whole.
      this.durablePosition = Math.min(this.durablePosition, at);
      return undefined;
    }
    if (resume === undefined) {
      this.held = [];
      this.group = -1;
      this.groupStart = until;
      await this.skipTo(at, until);
    }
    return until;
  }

  /** Losses were accepted: segments that end between `at` and `until` do so without saying it. */
  private async skipTo(at: number, until: number): Promise<void> {
    for (let number = segmentOf(at); number < segmentOf(until); number++) {
      const info = await this.options.fileSystem.stat(this.path(number));
      this.options.segmentEnded({ number, sizeBytes: info?.sizeBytes ?? 0 }, locationOf(number + 1, 0));
    }
    // In the middle of a group whose beginning is lost nothing can be begun again: `look` accepts the group as it is.
    const window = await this.open(segmentOf(until));
    if (window !== undefined && (await window.load(offsetIn(until), headerBytes))) {
      const header = new EntryHeader();
      header.decode(window.dataView, window.indexOf(offsetIn(until)));
      this.group = header.group;
    }
  }

  /** Looks for intact headers from `from` on to the end of the log, and for what they say was durable. Answers the first. */
  private async searchAhead(from: number): Promise<number | undefined> {
    const { crc32c } = this.options;
    const header = new EntryHeader();
    let first: number | undefined;
    for (const number of this.segments) {
      if (number < segmentOf(from)) continue;
      const window = await SegmentWindow.open(this.options.fileSystem, this.path(number), number);
      if (window === undefined) continue;
      try {
        let offset = number === segmentOf(from) ? (offsetIn(from) + 7) & ~7 : 0;
        while (offset + headerBytes <= window.sizeBytes) {
          if (!(await window.load(offset, headerBytes))) break;
          const location = locationOf(number, offset);
          const verdict = checkHeader(
            window.dataView,
            window.bytes,
            window.indexOf(offset),
            location,
            crc32c,
          );
          if (verdict === 'damaged') {
            offset += 8;
            continue;
          }
          header.decode(window.dataView, window.indexOf(offset));
          first ??= location;
          this.durablePosition = Math.max(this.durablePosition, header.durablePosition);
          offset += entryBytes(header.payloadBytes);
        }
      } finally {
        await window.close();
      }
    }
    return first;
  }

  private async areEmptyAfter(segment: number): Promise<boolean> {
    for (const number of this.segments) {
      if (number <= segment) continue;
      const info = await this.options.fileSystem.stat(this.path(number));
      if (info !== undefined && info.sizeBytes > 0) return false;
    }
    return true;
  }

  private async bytesFrom(end: number): Promise<number> {
    let bytes = 0;
    for (const number of this.segments) {
      if (number < segmentOf(end)) continue;
      const info = await this.options.fileSystem.stat(this.path(number));
      bytes += (info?.sizeBytes ?? 0) - (number === segmentOf(end) ? offsetIn(end) : 0);
    }
    return Math.max(0, bytes);
  }

  private async open(segment: number): Promise<SegmentWindow | undefined> {
    if (this.window?.segment !== segment) {
      await this.window?.close();
      this.window = await SegmentWindow.open(this.options.fileSystem, this.path(segment), segment);
    }
    return this.window;
  }

  private path(segment: number): string {
    return `${this.options.directory}/${segmentFileName(segment)}`;
  }
}

const empty = Buffer.alloc(0);

/** A stretch of one segment file in memory, read forward. */
export class SegmentWindow {
  readonly segment: number;
  readonly sizeBytes: number;
  bytes: Buffer;
  dataView: DataView;
  private readonly file: OpenFile;
  private start = 0;
  private length = 0;

  private constructor(file: OpenFile, segment: number, sizeBytes: number) {
    this.file = file;
    this.segment = segment;
    this.sizeBytes = sizeBytes;
    this.bytes = Buffer.allocUnsafeSlow(Math.max(headerBytes, Math.min(windowBytes, sizeBytes)));
    this.dataView = viewOf(this.bytes);
  }

  static async open(
    fileSystem: FileSystem,
    path: string,
    segment: number,
  ): Promise<SegmentWindow | undefined> {
    const info = await fileSystem.stat(path);
    if (info === undefined || info.isDirectory || info.isOther) return undefined;
    const file = await fileSystem.open(path, 'read');
    return new SegmentWindow(file, segment, info.sizeBytes);
  }

  holds(offset: number, length: number): boolean {
    return offset >= this.start && offset + length <= this.start + this.length;
  }

  /** Brings [offset, offset + length) into memory; false when the file ends before. */
  async load(offset: number, length: number): Promise<boolean> {
    if (offset + length > this.sizeBytes) return false;
    if (this.holds(offset, length)) return true;
    if (length > this.bytes.length) {
      this.bytes = Buffer.allocUnsafeSlow(length);
      this.dataView = viewOf(this.bytes);
    }
    const wanted = Math.min(this.bytes.length, this.sizeBytes - offset);
    this.start = offset;
    this.length = await this.file.read(this.bytes, 0, wanted, offset);
    return this.length >= length;
  }

  indexOf(offset: number): number {
    return offset - this.start;
  }

  view(offset: number, length: number): Buffer {
    return this.bytes.subarray(offset - this.start, offset - this.start + length);
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
