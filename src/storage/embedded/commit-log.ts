/**
 * The one writer of the log: gives out places in append slabs, writes what was put there in order, flushes it in groups, and
 * tells how far the log is written and durable. One write and one fdatasync are in flight at a time. Knows nothing of what
 * entries mean, of queues or of who waits for an answer.
 *
 * What was put into a slab is never taken back: when the disk is full the same bytes are written again later. After any other
 * failed write, or any failed flush, nothing is tried again: the log has failed and only a restart may read what is there.
 */
import { assert } from '../../util/assert.ts';
import type { Clock, Timer } from '../../util/clock.ts';
import { type AppendSlab, SlabList } from './append-slab.ts';
import type { Checksum } from './checksum.ts';
import { isNoSpace } from './disk-space.ts';
import { EntryHeader, flagLastOfGroup, headerBytes, kindSegmentEnd } from './entry-header.ts';
import { errorCodeOf, type FileSystem, type OpenFile } from './file-system.ts';
import { firstCleanedSegment, locationOf, offsetIn, segmentFileName, segmentOf } from './location.ts';
import type { EmbeddedSettings } from './settings.ts';

export interface CommitLogEvents {
  /** A write met a full disk. True: room was made, so that it may be tried again at once. Never rejects. */
  makeRoom(error: Error): Promise<boolean>;
  /** `written` or `durable` moved. */
  progressed(): void;
  /** A write could not be done for want of space; it will be tried again. */
  full(error: Error): void;
  /** Space is back. */
  roomAgain(): void;
  /** For good. */
  failed(error: Error): void;
}

export interface CommitLogStart {
  /** Where the log ends: written and durable. */
  readonly position: number;
  /** True when the file that holds the position exists. */
  readonly segmentExists: boolean;
}

interface Segment {
  readonly number: number;
  file: OpenFile | undefined;
  opening: Promise<OpenFile> | undefined;
  /** True when its name survives a power cut. */
  isNamed: boolean;
  /** Offset after its last entry once it is closed. */
  closedAt: number | undefined;
}

interface Waiter {
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Codes after which a write is tried again later: nothing was promised of it and nothing was lost. */
const passingCodes = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE']);

export class CommitLog {
  readonly slabs: SlabList;
  private readonly fileSystem: FileSystem;
  private readonly directory: string;
  private readonly settings: EmbeddedSettings;
  private readonly clock: Clock;
  private readonly crc32c: Checksum;
  private readonly events: CommitLogEvents;
  private readonly segments = new Map<number, Segment>();
  private readonly endHeader = new EntryHeader();

  private appendedPosition: number;
  private writtenPosition: number;
  private durablePosition: number;
  // The same three as running counts of bytes.
  private appendedBytes = 0;
  private writtenBytes = 0;
  private durableBytes = 0;

  private slab: AppendSlab | undefined;
  private isWriteDue = false;
  private isWriting = false;
  private isFlushing = false;
  private isFullNow = false;
  private failure: Error | undefined;
  // What somebody waits for: the first place after which a flush is worth its while, and the last one asked for.
  private firstWanted = Number.POSITIVE_INFINITY;
  private lastWanted = 0;
  private flushTimer: Timer | undefined;
  private flushDueMs = Number.POSITIVE_INFINITY;
  private durableWaiters: Waiter[] = [];
  private roomPromise: Promise<void> | undefined;
  private roomResolve: (() => void) | undefined;
  private isClosed = false;

  constructor(
    fileSystem: FileSystem,
    directory: string,
    settings: EmbeddedSettings,
    clock: Clock,
    crc32c: Checksum,
    start: CommitLogStart,
    events: CommitLogEvents,
  ) {
    this.fileSystem = fileSystem;
    this.directory = directory;
    this.settings = settings;
    this.clock = clock;
    this.crc32c = crc32c;
    this.events = events;
    this.slabs = new SlabList(settings.slabBytes, settings.tailCacheBytes);
    this.appendedPosition = start.position;
    this.writtenPosition = start.position;
    this.durablePosition = start.position;
    if (start.segmentExists) {
      const number = segmentOf(start.position);
      this.segments.set(number, {
        number,
        file: undefined,
        opening: undefined,
        isNamed: true,
        closedAt: undefined,
      });
    }
  }

  /** Where the next entry will lie (before any roll). */
  get appended(): number {
    return this.appendedPosition;
  }

  get written(): number {
    return this.writtenPosition;
  }

  get durable(): number {
    return this.durablePosition;
  }

  get unwrittenBytes(): number {
    return this.appendedBytes - this.writtenBytes;
  }

  get unflushedBytes(): number {
    return this.appendedBytes - this.durableBytes;
  }

  /** Bytes ever put into this log since it was opened. */
  get totalAppendedBytes(): number {
    return this.appendedBytes;
  }

  /** The disk has no room: nothing more should be appended. */
  get isFull(): boolean {
    return this.isFullNow;
  }

  get hasFailed(): boolean {
    return this.failure !== undefined;
  }

  /** Before the entries of a group of that many bytes in all. True when they begin a new segment. */
  beginGroup(totalBytes: number, epoch: number, storeTimeMs: number): boolean {
    const used = offsetIn(this.appendedPosition);
    if (used === 0 || used + totalBytes + headerBytes <= this.settings.segmentBytes) return false;
    this.roll(epoch, storeTimeMs);
    return true;
  }

  /** Closes the segment, where it holds anything, with an entry that says so. False when it holds nothing. */
  closeSegment(epoch: number, storeTimeMs: number): boolean {
    if (offsetIn(this.appendedPosition) === 0) return false;
    this.roll(epoch, storeTimeMs);
    return true;
  }

  private roll(epoch: number, storeTimeMs: number): void {
    const header = this.endHeader;
    header.kind = kindSegmentEnd;
    header.flags = flagLastOfGroup;
    header.location = this.appendedPosition;
    header.group = this.appendedPosition;
    header.epoch = epoch;
    header.storeTimeMs = storeTimeMs;
    header.durablePosition = this.durablePosition;
    const slab = this.place(headerBytes);
    header.encode(slab.view, slab.bytes, slab.used - headerBytes, this.crc32c);
    const number = segmentOf(this.appendedPosition);
    assert(number + 1 < firstCleanedSegment, 'the head has segment numbers left');
    this.segmentFor(number).closedAt = offsetIn(this.appendedPosition);
    this.appendedPosition = locationOf(number + 1, 0);
    this.slab = undefined;
  }

  /**
   * Room for one entry of `bytes` (a multiple of 8) in the slab answered, ending at its `used`; it lies at what `appended`
   * was before the call. The caller fills it before anything else runs.
   */
  place(bytes: number): AppendSlab {
    let slab = this.slab;
    if (slab === undefined || slab.used + bytes > slab.bytes.length) {
      slab = this.slabs.add(this.appendedPosition, bytes, this.writtenPosition);
      this.slab = slab;
    }
    slab.used += bytes;
    this.appendedPosition += bytes;
    this.appendedBytes += bytes;
    return slab;
  }

  /** After the entries of a group. `flush`: somebody waits for it to be durable. */
  endGroup(flush: boolean, flushWithinMs: number | undefined): void {
    if (flush) this.want(this.appendedPosition);
    else this.flushLater(Math.min(flushWithinMs ?? Number.POSITIVE_INFINITY, this.settings.flushIntervalMs));
    if (!this.isWriteDue && !this.isWriting) {
      this.isWriteDue = true;
      setImmediate(this.startWriting);
    }
  }

  /** Resolves when everything before `position` is durable; rejects when the log fails first. Starts the flush. */
  whenDurable(position: number): Promise<void> {
    if (position <= this.durablePosition) return Promise.resolve();
    if (this.failure !== undefined) return Promise.reject(this.failure);
    this.requestFlush(position);
    return new Promise((resolve, reject) => {
      this.durableWaiters.push({ position, resolve, reject });
    });
  }

  /** Starts a flush of everything before `position`, as soon as it is written. */
  requestFlush(position: number): void {
    this.want(position);
    void this.flush();
  }

  private want(position: number): void {
    if (position > this.lastWanted) this.lastWanted = position;
    if (position > this.durablePosition && position < this.firstWanted) this.firstWanted = position;
  }

  /** Undefined when there is room for more. */
  whenRoom(): Promise<void> | undefined {
    if (this.unwrittenBytes < this.settings.maxUnwrittenBytes || this.failure !== undefined) return undefined;
    this.roomPromise ??= new Promise((resolve) => {
      this.roomResolve = resolve;
    });
    return this.roomPromise;
  }

  /** Stops for good, as after a failed flush. */
  fail(error: Error): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.flushTimer?.cancel();
    const waiters = this.durableWaiters;
    this.durableWaiters = [];
    for (const waiter of waiters) waiter.reject(error);
    this.giveRoom();
    this.events.failed(error);
  }

  /** Makes everything durable (unless the log has failed) and closes the files. */
  async close(): Promise<void> {
    this.isClosed = true;
    try {
      if (this.failure === undefined) await this.whenDurable(this.appendedPosition);
    } finally {
      this.flushTimer?.cancel();
      for (const segment of this.segments.values()) {
        const file = segment.file ?? (await segment.opening?.catch(() => undefined));
        await file?.close();
      }
      this.segments.clear();
    }
  }

  private readonly startWriting = (): void => {
    this.isWriteDue = false;
    if (!this.isWriting) void this.writeAll();
  };

  private async writeAll(): Promise<void> {
    this.isWriting = true;
    try {
      while (this.failure === undefined && this.writtenPosition < this.appendedPosition) {
        if (!(await this.writeSome())) break;
      }
    } catch (error) {
      this.fail(error as Error);
    } finally {
      this.isWriting = false;
    }
  }

  /** One write. False when it must wait for space. */
  private async writeSome(): Promise<boolean> {
    const from = this.writtenPosition;
    const number = segmentOf(from);
    const segment = this.segmentFor(number);
    const until =
      segment.closedAt === undefined ? this.appendedPosition : locationOf(number, segment.closedAt);
    if (from === until) {
      this.writtenPosition = locationOf(number + 1, 0);
      // Nothing may come behind it for long: who waits for the segment's end is not to wait for that.
      if (!this.isFlushing) void this.flush();
      return true;
    }
    const buffers = this.slabs.slices(from, until, this.settings.maxWriteBytes);
    let bytes = 0;
    for (const buffer of buffers) bytes += buffer.length;
    try {
      const file = segment.file ?? (await this.opened(segment));
      if (this.isFullNow) await file.truncate(offsetIn(from)); // what a failed write may have left
      await file.write(buffers, offsetIn(from));
    } catch (error) {
      if (!passingCodes.has(errorCodeOf(error) ?? '')) throw error;
      if (isNoSpace(error) && !this.isClosed && (await this.events.makeRoom(error as Error))) return true;
      if (!this.isFullNow) {
        this.isFullNow = true;
        this.events.full(error as Error);
      }
      if (this.isClosed) throw error; // nobody will be there to try again
      this.clock.after(this.settings.fullRetryMs, () => {
        if (!this.isWriting) void this.writeAll();
      });
      return false;
    }
    if (this.failure !== undefined) return false;
    this.writtenPosition = from + bytes;
    this.writtenBytes += bytes;
    if (this.isFullNow) {
      this.isFullNow = false;
      this.events.roomAgain();
    }
    if (this.unwrittenBytes <= this.settings.maxUnwrittenBytes / 2) this.giveRoom();
    if (segment.closedAt === undefined && offsetIn(this.writtenPosition) * 2 > this.settings.segmentBytes) {
      this.prepareNext(number + 1);
    }
    if (!this.isFlushing) void this.flush();
    this.events.progressed();
    return true;
  }

  private async flush(): Promise<void> {
    if (this.isFlushing) return;
    this.isFlushing = true;
    try {
      while (this.failure === undefined && this.flushIsDue()) {
        const target = this.writtenPosition;
        const targetBytes = this.writtenBytes;
        // What is wanted and not written yet will be by the next write.
        this.firstWanted = this.lastWanted > target ? this.lastWanted : Number.POSITIVE_INFINITY;
        if (target === this.appendedPosition) this.stopFlushTimer();
        const last = segmentOf(target);
        for (let number = segmentOf(this.durablePosition); number <= last; number++) {
          const segment = this.segments.get(number);
          if (segment?.file === undefined) continue;
          await this.flushSegment(segment, number < last);
        }
        if (this.failure !== undefined) return;
        this.durablePosition = target;
        this.durableBytes = targetBytes;
        this.wakeDurable();
        this.events.progressed();
        if (this.durableBytes < this.appendedBytes) this.flushLater(this.settings.flushIntervalMs);
      }
    } catch (error) {
      this.fail(error as Error);
    } finally {
      this.isFlushing = false;
    }
  }

  private flushIsDue(): boolean {
    if (this.writtenPosition <= this.durablePosition) return false;
    return (
      this.firstWanted <= this.writtenPosition ||
      this.writtenBytes - this.durableBytes >= this.settings.flushDirtyBytes
    );
  }

  private async flushSegment(segment: Segment, isComplete: boolean): Promise<void> {
    const file = segment.file!;
    await file.datasync();
    if (!segment.isNamed) {
      await this.fileSystem.syncDirectory(this.directory);
      segment.isNamed = true;
    }
    if (isComplete) {
      this.segments.delete(segment.number);
      // Everything in it is durable: a close that fails has nothing to take back.
      await file.close().catch(() => {});
    }
  }

  private flushLater(withinMs: number): void {
    const dueMs = this.clock.monotonicMs() + withinMs;
    if (dueMs >= this.flushDueMs || this.failure !== undefined) return;
    this.stopFlushTimer();
    this.flushDueMs = dueMs;
    this.flushTimer = this.clock.after(withinMs, () => {
      this.flushTimer = undefined;
      this.flushDueMs = Number.POSITIVE_INFINITY;
      this.requestFlush(this.appendedPosition);
    });
  }

  private stopFlushTimer(): void {
    this.flushTimer?.cancel();
    this.flushTimer = undefined;
    this.flushDueMs = Number.POSITIVE_INFINITY;
  }

  private wakeDurable(): void {
    if (this.durableWaiters.length === 0) return;
    const left: Waiter[] = [];
    for (const waiter of this.durableWaiters) {
      if (waiter.position <= this.durablePosition) waiter.resolve();
      else left.push(waiter);
    }
    this.durableWaiters = left;
  }

  private giveRoom(): void {
    const resolve = this.roomResolve;
    this.roomResolve = undefined;
    this.roomPromise = undefined;
    resolve?.();
  }

  private segmentFor(number: number): Segment {
    let segment = this.segments.get(number);
    if (segment === undefined) {
      segment = { number, file: undefined, opening: undefined, isNamed: false, closedAt: undefined };
      this.segments.set(number, segment);
    }
    return segment;
  }

  private opened(segment: Segment): Promise<OpenFile> {
    segment.opening ??= this.openFile(segment).then(
      (file) => {
        segment.file = file;
        return file;
      },
      (error: unknown) => {
        segment.opening = undefined;
        throw error;
      },
    );
    return segment.opening;
  }

  private async openFile(segment: Segment): Promise<OpenFile> {
    const path = `${this.directory}/${segmentFileName(segment.number)}`;
    if (segment.isNamed) return this.fileSystem.open(path, 'write');
    try {
      return await this.fileSystem.open(path, 'create');
    } catch (error) {
      // A try that failed half-way may have left it; recovery leaves no other file beyond the log's end.
      if (errorCodeOf(error) !== 'EEXIST') throw error;
      const file = await this.fileSystem.open(path, 'write');
      assert((await file.sizeBytes()) === 0, `${path} is not empty`);
      return file;
    }
  }

  /** Creates the next file while there is time, so that the roll need not wait for the directory's flush. */
  private prepareNext(number: number): void {
    const segment = this.segmentFor(number);
    if (segment.file !== undefined || segment.opening !== undefined) return;
    this.opened(segment)
      .then(() => this.fileSystem.syncDirectory(this.directory))
      .then(
        () => {
          segment.isNamed = true;
        },
        (error: unknown) => {
          // A directory's failed flush is as final as a file's; a file that could not be made is made when it is needed.
          if (segment.file !== undefined && !this.isClosed) this.fail(error as Error);
        },
      );
  }
}
