/**
 * An index run: the ConsumeQueue rows of one stretch of the log, sorted by (queue, offset), written once and never changed. In
 * memory are only the fences (first offset and largest timestamp of every block of rows, first queue of every block of summaries) and
 * a filter that tells which queues are not in it; blocks come through a cache. Knows the log's locations as numbers only.
 *
 *   file:    rows' blocks, summaries' blocks, footer, trailer
 *   block:   64 KiB: records, zeros, and in the last 4 bytes a CRC-32C seeded with run and block number
 *   row:     f64 location, f64 base offset, f64 largest timestamp, u32 payload bytes, u32 count
 *   summary: f64 queue, f64 first row, f64 rows, f64 first offset, f64 end offset, f64 bytes, f64 largest timestamp,
 *            f64 store time of the first entry, f64 of the last
 *   footer:  see encodeFooter; trailer: f64 footer's place, u32 its length, u32 its CRC, u32 version, u32 magic
 */
import { assert } from '../../util/assert.ts';
import type { QueueId } from '../engine.ts';
import { type BlockCache, type BlockSource, type CachedBlock, newSourceId } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import { type EntryRows, fits, type RowLimits } from './entry-rows.ts';
import type { FileSystem, OpenFile } from './file-system.ts';
import type { RunReference } from './manifest.ts';
import { QueueSet } from './queue-set.ts';

export const runBlockBytes = 64 * 1024;
const checksumAt = runBlockBytes - 4;
const rowBytes = 32;
export const rowsPerBlock = Math.floor(checksumAt / rowBytes);
const summaryBytes = 72;
export const summariesPerBlock = Math.floor(checksumAt / summaryBytes);
const trailerBytes = 24;
const magic = 0x3152444e; // "NDR1"
const runVersion = 1;
const writeBytes = 1024 * 1024;
const filterBitsPerQueue = 10;
const filterHashes = 4;

/** The file is not what was written to it. */
export class RunDamagedError extends Error {
  override readonly name = 'RunDamagedError';
}

export function runFileName(number: number): string {
  return `${String(number).padStart(10, '0')}.run`;
}

/** What a run knows of one queue. */
export interface QueueSummary {
  readonly queue: QueueId;
  readonly firstRow: number;
  readonly rows: number;
  readonly firstOffset: number;
  /** After the last entry. */
  readonly endOffset: number;
  readonly sizeBytes: number;
  readonly largestTimestampMs: number;
  readonly firstStoreTimeMs: number;
  readonly lastStoreTimeMs: number;
}

/** Writes a run: queues in ascending order, rows of each in offset order. On an error call `abandon`. */
export class RunWriter {
  private readonly fileSystem: FileSystem;
  private readonly path: string;
  private readonly file: OpenFile;
  private readonly crc32c: Checksum;
  private readonly number: number;
  private readonly from: number;
  private readonly to: number;
  private pending: Buffer[] = [];
  private pendingBytes = 0;
  private positionBytes = 0;
  private blocks = 0;
  private block = newBlock();
  private inBlock = 0;
  private rows = 0;
  private readonly fenceOffsets: number[] = [];
  private readonly fenceTimes: number[] = [];
  private readonly summaries: Float64Array[] = [];
  private summaryCount = 0;
  // Of the queue that rows are added to.
  private queue = -1;
  private queueFirstRow = 0;
  private queueFirstOffset = 0;
  private queueEndOffset = 0;
  private queueBytes = 0;
  private queueLargestMs = -1;

  private constructor(
    fileSystem: FileSystem,
    path: string,
    file: OpenFile,
    crc32c: Checksum,
    number: number,
    from: number,
    to: number,
  ) {
    this.fileSystem = fileSystem;
    this.path = path;
    this.file = file;
    this.crc32c = crc32c;
    this.number = number;
    this.from = from;
    this.to = to;
  }

  static async create(
    fileSystem: FileSystem,
    directory: string,
    crc32c: Checksum,
    number: number,
    from: number,
    to: number,
  ): Promise<RunWriter> {
    const path = `${directory}/${runFileName(number)}`;
    const file = await fileSystem.open(path, 'replace');
    return new RunWriter(fileSystem, path, file, crc32c, number, from, to);
  }

  beginQueue(queue: QueueId): void {
    assert(queue > this.queue, 'queues come in ascending order');
    this.queue = queue;
    this.queueFirstRow = this.rows;
    this.queueBytes = 0;
    this.queueLargestMs = -1;
  }

  add(location: number, baseOffset: number, maxTimestampMs: number, sizeBytes: number, count: number): void {
    const { view } = this.block;
    const at = this.inBlock * rowBytes;
    if (this.inBlock === 0) {
      this.fenceOffsets.push(baseOffset);
      this.fenceTimes.push(maxTimestampMs);
    } else if (maxTimestampMs > this.fenceTimes[this.fenceTimes.length - 1]!) {
      this.fenceTimes[this.fenceTimes.length - 1] = maxTimestampMs;
    }
    view.setFloat64(at, location, true);
    view.setFloat64(at + 8, baseOffset, true);
    view.setFloat64(at + 16, maxTimestampMs, true);
    view.setUint32(at + 24, sizeBytes, true);
    view.setUint32(at + 28, count, true);
    if (this.rows === this.queueFirstRow) this.queueFirstOffset = baseOffset;
    this.queueEndOffset = baseOffset + count;
    this.queueBytes += sizeBytes;
    if (maxTimestampMs > this.queueLargestMs) this.queueLargestMs = maxTimestampMs;
    this.rows++;
    if (++this.inBlock === rowsPerBlock) this.closeBlock();
  }

  endQueue(firstStoreTimeMs: number, lastStoreTimeMs: number): void {
    if (this.rows === this.queueFirstRow) return;
    this.summaries.push(
      Float64Array.of(
        this.queue,
        this.queueFirstRow,
        this.rows - this.queueFirstRow,
        this.queueFirstOffset,
        this.queueEndOffset,
        this.queueBytes,
        this.queueLargestMs,
        firstStoreTimeMs,
        lastStoreTimeMs,
      ),
    );
    this.summaryCount++;
  }

  /** What was added goes to the file when there is enough of it; to be awaited before more is added. */
  writeIfDue(): Promise<void> | undefined {
    return this.pendingBytes >= writeBytes ? this.writePending() : undefined;
  }

  /** Durable when it resolves; the directory is for the caller to sync. */
  async finish(): Promise<RunReference> {
    if (this.inBlock > 0) this.closeBlock();
    const rowBlocks = this.blocks;
    const summaryFences: number[] = [];
    for (const summary of this.summaries) {
      if (this.inBlock === 0) summaryFences.push(summary[0]!);
      const at = this.inBlock * summaryBytes;
      for (let field = 0; field < summary.length; field++) {
        this.block.view.setFloat64(at + field * 8, summary[field]!, true);
      }
      if (++this.inBlock === summariesPerBlock) this.closeBlock();
    }
    if (this.inBlock > 0) this.closeBlock();
    const filter = makeFilter(this.summaries);
    const footer = this.encodeFooter(rowBlocks, summaryFences, filter);
    const checksum = this.crc32c(footer, 0, footer.length);
    const trailer = Buffer.alloc(trailerBytes);
    trailer.writeDoubleLE(this.positionBytes + this.pendingBytes, 0);
    trailer.writeUInt32LE(footer.length, 8);
    trailer.writeUInt32LE(checksum, 12);
    trailer.writeUInt32LE(runVersion, 16);
    trailer.writeUInt32LE(magic, 20);
    this.pending.push(footer, trailer);
    this.pendingBytes += footer.length + trailerBytes;
    await this.writePending();
    await this.file.datasync();
    await this.file.close();
    return {
      number: this.number,
      from: this.from,
      to: this.to,
      entries: this.rows,
      sizeBytes: this.positionBytes,
      checksum,
    };
  }

  /** Removes what there is of the file. */
  async abandon(): Promise<void> {
    await this.file.close().catch(() => {});
    await this.fileSystem.unlink(this.path).catch(() => {});
  }

  private closeBlock(): void {
    const { bytes } = this.block;
    bytes.writeUInt32LE(this.crc32c(bytes, 0, checksumAt, blockSeed(this.number, this.blocks)), checksumAt);
    this.pending.push(bytes);
    this.pendingBytes += runBlockBytes;
    this.blocks++;
    this.block = newBlock();
    this.inBlock = 0;
  }

  private async writePending(): Promise<void> {
    const buffers = this.pending;
    const bytes = this.pendingBytes;
    this.pending = [];
    this.pendingBytes = 0;
    await this.file.write(buffers, this.positionBytes);
    this.positionBytes += bytes;
  }

  private encodeFooter(rowBlocks: number, summaryFences: readonly number[], filter: Uint8Array): Buffer {
    const footer = Buffer.alloc(64 + rowBlocks * 16 + summaryFences.length * 8 + filter.length);
    footer.writeDoubleLE(this.number, 0);
    footer.writeDoubleLE(this.from, 8);
    footer.writeDoubleLE(this.to, 16);
    footer.writeDoubleLE(this.rows, 24);
    footer.writeDoubleLE(this.summaryCount, 32);
    footer.writeUInt32LE(rowBlocks, 40);
    footer.writeUInt32LE(summaryFences.length, 44);
    footer.writeUInt32LE(filter.length, 48);
    let at = 64;
    for (const offset of this.fenceOffsets) at = footer.writeDoubleLE(offset, at);
    for (const time of this.fenceTimes) at = footer.writeDoubleLE(time, at);
    for (const queue of summaryFences) at = footer.writeDoubleLE(queue, at);
    footer.set(filter, at);
    return footer;
  }
}

/** An open run. Closed when nobody uses it any more after `retire`. */
export class RunFile implements BlockSource {
  readonly sourceId: number;
  readonly reference: RunReference;
  /** Queues whose rows here do not count any more: they were rewritten elsewhere. */
  readonly without: QueueSet;
  /** The same file without some queues: this one keeps it open. */
  private readonly whole: RunFile | undefined;
  private readonly file: OpenFile;
  private readonly crc32c: Checksum;
  private readonly cache: BlockCache;
  private readonly path: string;
  private readonly rowBlocks: number;
  private readonly fenceOffsets: Float64Array;
  private readonly fenceTimes: Float64Array;
  private readonly summaryFences: Float64Array;
  private readonly filter: Uint8Array;
  private readonly queueCount: number;
  /** Of all entries, whatever their queue. */
  readonly largestTimestampMs: number;
  private users = 1;

  private constructor(
    reference: RunReference,
    path: string,
    file: OpenFile,
    crc32c: Checksum,
    cache: BlockCache,
    footer: Buffer | RunFile,
    without: QueueSet = QueueSet.empty,
  ) {
    this.without = without;
    this.whole = footer instanceof RunFile ? footer : undefined;
    this.sourceId = this.whole?.sourceId ?? newSourceId();
    this.reference = reference;
    this.path = path;
    this.file = file;
    this.crc32c = crc32c;
    this.cache = cache;
    if (footer instanceof RunFile) {
      this.queueCount = footer.queueCount;
      this.rowBlocks = footer.rowBlocks;
      this.fenceOffsets = footer.fenceOffsets;
      this.fenceTimes = footer.fenceTimes;
      this.largestTimestampMs = footer.largestTimestampMs;
      this.summaryFences = footer.summaryFences;
      this.filter = footer.filter;
      return;
    }
    this.queueCount = footer.readDoubleLE(32);
    this.rowBlocks = footer.readUInt32LE(40);
    const summaryBlocks = footer.readUInt32LE(44);
    const filterBytes = footer.readUInt32LE(48);
    let at = 64;
    const doubles = (count: number): Float64Array => {
      const values = new Float64Array(count);
      for (let index = 0; index < count; index++, at += 8) values[index] = footer.readDoubleLE(at);
      return values;
    };
    this.fenceOffsets = doubles(this.rowBlocks);
    this.fenceTimes = doubles(this.rowBlocks);
    this.largestTimestampMs = this.fenceTimes.reduce((a, b) => Math.max(a, b), -1);
    this.summaryFences = doubles(summaryBlocks);
    this.filter = new Uint8Array(footer.subarray(at, at + filterBytes));
  }

  /** Throws RunDamagedError where the file is not what `reference` says, the system's error where it is missing. */
  static async open(
    fileSystem: FileSystem,
    directory: string,
    crc32c: Checksum,
    cache: BlockCache,
    reference: RunReference,
  ): Promise<RunFile> {
    const path = `${directory}/${runFileName(reference.number)}`;
    const file = await fileSystem.open(path, 'read');
    try {
      const damaged = (): RunDamagedError => new RunDamagedError(`index run ${path} is damaged`);
      if ((await file.sizeBytes()) !== reference.sizeBytes) throw damaged();
      const trailer = Buffer.alloc(trailerBytes);
      await file.read(trailer, 0, trailerBytes, reference.sizeBytes - trailerBytes);
      if (trailer.readUInt32LE(20) !== magic || trailer.readUInt32LE(16) < 1) throw damaged();
      if (trailer.readUInt32LE(16) > runVersion) {
        throw new RunDamagedError(
          `index run ${path} is of a newer format than this version of Odradek knows`,
        );
      }
      const footerBytes = trailer.readUInt32LE(8);
      const footerAt = trailer.readDoubleLE(0);
      // By subtraction: a sum would swallow a fraction that a flipped bit makes of a zero. No checksum covers the trailer.
      if (!Object.is(footerAt, reference.sizeBytes - trailerBytes - footerBytes)) throw damaged();
      const footer = Buffer.allocUnsafe(footerBytes);
      await file.read(footer, 0, footerBytes, footerAt);
      const checksum = crc32c(footer, 0, footerBytes);
      if (checksum !== trailer.readUInt32LE(12) || checksum !== reference.checksum) throw damaged();
      return new RunFile(reference, path, file, crc32c, cache, footer);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The run as it is without the rows of these queues, to be put in this one's place. Costs nothing but the set. */
  leavingOut(without: QueueSet): RunFile {
    const whole = this.whole ?? this;
    whole.retain();
    return new RunFile(whole.reference, whole.path, whole.file, whole.crc32c, whole.cache, whole, without);
  }

  /** Memory that the run costs while it is open. */
  get memoryBytes(): number {
    return this.rowBlocks * 16 + this.summaryFences.length * 8 + this.filter.length;
  }

  async readBlock(block: number, into: Buffer): Promise<number> {
    const read = await this.file.read(into, 0, runBlockBytes, block * runBlockBytes);
    const expected = read === runBlockBytes ? into.readUInt32LE(checksumAt) : -1;
    if (this.crc32c(into, 0, checksumAt, blockSeed(this.reference.number, block)) !== expected) {
      throw new RunDamagedError(`index run ${this.path} is damaged in block ${block}`);
    }
    return read;
  }

  /** False where the queue is certainly not in this run. */
  mayHold(queue: QueueId): boolean {
    return filterHolds(this.filter, queue) && (this.without.isEmpty || !this.without.has(queue));
  }

  async summary(queue: QueueId): Promise<QueueSummary | undefined> {
    if (!this.mayHold(queue)) return undefined;
    const fence = lastAtMost(this.summaryFences, 0, this.summaryFences.length, queue);
    if (fence < 0) return undefined;
    const block = await this.pinned(this.rowBlocks + fence);
    try {
      const { view } = block;
      let low = 0;
      let high = Math.min(summariesPerBlock, this.queueCount - fence * summariesPerBlock) - 1;
      while (low <= high) {
        const middle = (low + high) >> 1;
        const id = view.getFloat64(middle * summaryBytes, true);
        if (id === queue) return summaryAt(view, middle);
        if (id < queue) low = middle + 1;
        else high = middle - 1;
      }
      return undefined;
    } finally {
      this.cache.unpin(block);
    }
  }

  /** All summaries, in order of queues. Past the cache: for merges and look-overs. */
  async *summaries(): AsyncGenerator<QueueSummary> {
    const bytes = Buffer.allocUnsafe(runBlockBytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, runBlockBytes);
    for (let fence = 0; fence < this.summaryFences.length; fence++) {
      await this.readBlock(this.rowBlocks + fence, bytes);
      const count = Math.min(summariesPerBlock, this.queueCount - fence * summariesPerBlock);
      for (let at = 0; at < count; at++) {
        const summary = summaryAt(view, at);
        if (this.without.isEmpty || !this.without.has(summary.queue)) yield summary;
      }
    }
  }

  /** The queue's first row whose entry ends after `offset`; summary.firstRow + summary.rows when there is none. */
  async rowFor(summary: QueueSummary, offset: number): Promise<number> {
    const { firstRow, rows } = summary;
    const endRow = firstRow + rows;
    if (offset <= summary.firstOffset) return firstRow;
    if (offset >= summary.endOffset) return endRow;
    // Blocks that begin with a row of this queue, and the one that its first row is in.
    const firstBlock = Math.floor(firstRow / rowsPerBlock);
    const lastBlock = Math.floor((endRow - 1) / rowsPerBlock);
    const found = lastAtMost(this.fenceOffsets, firstBlock + 1, lastBlock + 1, offset);
    const block = found < 0 ? firstBlock : found;
    const base = block * rowsPerBlock;
    const pinned = await this.pinned(block);
    try {
      // The last row that begins at or before the offset, or the one after it where that ends before (a gap).
      let low = Math.max(firstRow, base) - base;
      let high = Math.min(endRow, base + rowsPerBlock) - base - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (pinned.view.getFloat64(middle * rowBytes + 8, true) <= offset) low = middle;
        else high = middle - 1;
      }
      const end =
        pinned.view.getFloat64(low * rowBytes + 8, true) + pinned.view.getUint32(low * rowBytes + 28, true);
      return base + low + (end > offset ? 0 : 1);
    } finally {
      this.cache.unpin(pinned);
    }
  }

  /** Takes the queue's rows from `row` on until the limits or its last one. False when a limit was met. */
  async collect(summary: QueueSummary, row: number, limits: RowLimits, into: EntryRows): Promise<boolean> {
    const endRow = summary.firstRow + summary.rows;
    for (let at = row; at < endRow; ) {
      const block = Math.floor(at / rowsPerBlock);
      const pinned = await this.pinned(block);
      try {
        const base = block * rowsPerBlock;
        const end = Math.min(endRow, base + rowsPerBlock);
        for (; at < end; at++) {
          const place = (at - base) * rowBytes;
          const baseOffset = pinned.view.getFloat64(place + 8, true);
          const sizeBytes = pinned.view.getUint32(place + 24, true);
          const count = pinned.view.getUint32(place + 28, true);
          if (baseOffset + count > limits.untilOffset || !fits(into, limits, sizeBytes)) return false;
          into.add(
            pinned.view.getFloat64(place, true),
            baseOffset,
            pinned.view.getFloat64(place + 16, true),
            sizeBytes,
            count,
          );
        }
      } finally {
        this.cache.unpin(pinned);
      }
    }
    return true;
  }

  /** The queue's first row from `row` on whose timestamp is at least `timestampMs`, or its end. */
  async rowByTime(summary: QueueSummary, row: number, timestampMs: number): Promise<number> {
    const endRow = summary.firstRow + summary.rows;
    for (let at = row; at < endRow; ) {
      const block = Math.floor(at / rowsPerBlock);
      const base = block * rowsPerBlock;
      const end = Math.min(endRow, base + rowsPerBlock);
      // A fence speaks of all queues in the block, so it can only say that there is nothing.
      if (this.fenceTimes[block]! < timestampMs) {
        at = end;
        continue;
      }
      const pinned = await this.pinned(block);
      try {
        for (; at < end; at++) {
          if (pinned.view.getFloat64((at - base) * rowBytes + 16, true) >= timestampMs) return at;
        }
      } finally {
        this.cache.unpin(pinned);
      }
    }
    return endRow;
  }

  /** Reads every block. */
  async isIntact(): Promise<boolean> {
    return (await this.damagedBlocks(1)).length === 0;
  }

  /** Reads every block; answers those that fail their check, at most `limit`. */
  async damagedBlocks(limit = Number.POSITIVE_INFINITY): Promise<number[]> {
    const bytes = Buffer.allocUnsafe(runBlockBytes);
    const damaged: number[] = [];
    for (
      let block = 0;
      block < this.rowBlocks + this.summaryFences.length && damaged.length < limit;
      block++
    ) {
      try {
        await this.readBlock(block, bytes);
      } catch (error) {
        if (!(error instanceof RunDamagedError)) throw error;
        damaged.push(block);
      }
    }
    return damaged;
  }

  retain(): void {
    this.users++;
  }

  release(): void {
    this.users--;
    if (this.users > 0) return;
    if (this.whole !== undefined) this.whole.release();
    else {
      this.cache.forget(this);
      this.file.close().catch(() => {});
    }
  }

  /** The index does not use it any more. */
  retire(): void {
    this.release();
  }

  private async pinned(block: number): Promise<CachedBlock> {
    const pinned = this.cache.pin(this, block, runBlockBytes);
    return pinned instanceof Promise ? await pinned : pinned;
  }
}

function summaryAt(view: DataView, index: number): QueueSummary {
  const at = index * summaryBytes;
  return {
    queue: view.getFloat64(at, true),
    firstRow: view.getFloat64(at + 8, true),
    rows: view.getFloat64(at + 16, true),
    firstOffset: view.getFloat64(at + 24, true),
    endOffset: view.getFloat64(at + 32, true),
    sizeBytes: view.getFloat64(at + 40, true),
    largestTimestampMs: view.getFloat64(at + 48, true),
    firstStoreTimeMs: view.getFloat64(at + 56, true),
    lastStoreTimeMs: view.getFloat64(at + 64, true),
  };
}

/** Index of the last value in [from, until) of the ascending values that is at most `asked`, or -1. */
function lastAtMost(values: Float64Array, from: number, until: number, asked: number): number {
  let low = from;
  let high = until - 1;
  let found = -1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (values[middle]! <= asked) {
      found = middle;
      low = middle + 1;
    } else {
      high = middle - 1;
    }
  }
  return found;
}

function newBlock(): { readonly bytes: Buffer; readonly view: DataView } {
  const bytes = Buffer.alloc(runBlockBytes);
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, runBlockBytes) };
}

function blockSeed(run: number, block: number): number {
  return (Math.imul(run, 0x9e3779b1) ^ block) >>> 0;
}

function makeFilter(summaries: readonly Float64Array[]): Uint8Array {
  const filter = new Uint8Array(Math.max(8, Math.ceil((summaries.length * filterBitsPerQueue) / 8)));
  for (const summary of summaries) {
    eachFilterBit(filter, summary[0]!, (at, bit) => {
      filter[at]! |= bit;
      return true;
    });
  }
  return filter;
}

function filterHolds(filter: Uint8Array, queue: number): boolean {
  let holds = true;
  eachFilterBit(filter, queue, (at, bit) => {
    holds = (filter[at]! & bit) !== 0;
    return holds;
  });
  return holds;
}

function eachFilterBit(filter: Uint8Array, queue: number, visit: (at: number, bit: number) => boolean): void {
  let hash = mix((queue >>> 0) ^ Math.imul(Math.floor(queue / 2 ** 32), 0x85ebca6b));
  const step = mix(hash ^ 0x9e3779b9) | 1;
  const bits = filter.length * 8;
  for (let round = 0; round < filterHashes; round++) {
    const bit = (hash >>> 0) % bits;
    if (!visit(bit >> 3, 1 << (bit & 7))) return;
    hash = (hash + step) | 0;
  }
}

function mix(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
