/**
 * Fetches entries that the index has named: from append slabs at once, else from disk through the block cache. Whatever
 * comes from disk is checked once against its checksums and, every time, against what the index says of it (location, queue, offset,
 * size), so a wrong index can never serve another queue's bytes. Offsets and epochs in payloads are put right in a copy
 * where they differ.
 */
import { assert } from '../../util/assert.ts';
import type { PayloadFormat, QueueId, ReadResult } from '../engine.ts';
import type { AppendSlab, SlabList } from './append-slab.ts';
import type { BlockCache, CachedBlock } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import { checkHeader, EntryHeader, epochAt, headerBytes, isHeaderOf } from './entry-header.ts';
import type { EntryRows } from './entry-rows.ts';
import { offsetIn, segmentOf } from './location.ts';
import type { SegmentFiles } from './segment-files.ts';

/** Payloads of at least this size are lent where they lie; smaller neighbours are copied together into one buffer. */
export const lentPayloadBytes = 16 * 1024;

const nothing: readonly Buffer[] = [];

/** Where an entry's header and payload lie in memory. */
interface Place {
  bytes: Buffer;
  view: DataView;
  at: number;
  /** What must stay as it is while the bytes are lent; undefined when they are the reader's own. */
  holder: AppendSlab | CachedBlock | undefined;
  isBlock: boolean;
}

export class EntryReader {
  private readonly slabs: SlabList;
  private readonly segments: SegmentFiles;
  private readonly cache: BlockCache;
  private readonly format: PayloadFormat;
  private readonly crc32c: Checksum;
  private readonly maxBlocks: number;

  constructor(
    slabs: SlabList,
    segments: SegmentFiles,
    cache: BlockCache,
    format: PayloadFormat,
    crc32c: Checksum,
    maxDiskReadBytes: number,
  ) {
    this.slabs = slabs;
    this.segments = segments;
    this.cache = cache;
    this.format = format;
    this.crc32c = crc32c;
    this.maxBlocks = Math.max(2, Math.floor(maxDiskReadBytes / cache.blockBytes));
  }

  /** An answer without payloads. */
  empty(fromOffset: number): ReadResult {
    return {
      outcome: 'read',
      payloads: nothing,
      sizeBytes: 0,
      baseOffset: fromOffset,
      nextOffset: fromOffset,
      release: releaseNothing,
    };
  }

  /** The rows' payloads when all of them are in slabs, else undefined. At least one row. */
  readFromSlabs(rows: EntryRows): ReadResult | undefined {
    if (this.slabs.find(rows.locations[0]!) === undefined) return undefined;
    const result = new PayloadList(this.slabs, this.cache);
    let slab: AppendSlab | undefined;
    for (let row = 0; row < rows.length; row++) {
      const location = rows.locations[row]!;
      if (slab === undefined || location >= slab.end) {
        slab = this.slabs.find(location);
        if (slab === undefined) {
          result.release();
          return undefined;
        }
      }
      const sizeBytes = rows.sizesBytes[row]!;
      const at = location - slab.base;
      this.deliver(rows, row, slab.bytes, at + headerBytes, epochAt(slab.view, at), slab, false, result);
      assert(slab.view.getUint32(at + 12, true) === sizeBytes, 'the index says what the slab holds');
    }
    return result.finish(rows);
  }

  /**
   * The rows' payloads from wherever they lie; fewer than asked for where they are spread over too many blocks or one of
   * them is damaged. Rejects where the disk does not answer.
   */
  async read(queue: QueueId, rows: EntryRows): Promise<ReadResult> {
    const result = new PayloadList(this.slabs, this.cache);
    this.limitBlocks(rows);
    try {
      for (let row = 0; row < rows.length; row++) {
        const sizeBytes = rows.sizesBytes[row]!;
        const place = await this.fetch(rows.locations[row]!, sizeBytes);
        const isGood =
          place !== undefined && isHeaderOf(place.view, place.at, queue, rows.baseOffsets[row]!, sizeBytes);
        if (!isGood) {
          if (place !== undefined) this.letGo(place);
          if (row === 0) {
            const baseOffset = rows.baseOffsets[0]!;
            return { outcome: 'damaged', baseOffset, nextOffset: rows.endOffset(0) };
          }
          rows.cut(row);
          break;
        }
        const epoch = epochAt(place.view, place.at);
        this.deliver(
          rows,
          row,
          place.bytes,
          place.at + headerBytes,
          epoch,
          place.holder,
          place.isBlock,
          result,
        );
        this.letGo(place);
      }
    } catch (error) {
      result.release();
      throw error;
    }
    return result.finish(rows);
  }

  /** The header of an entry that the index names, or undefined where it is damaged. */
  async header(
    queue: QueueId,
    location: number,
    baseOffset: number,
    sizeBytes: number,
    into: EntryHeader = new EntryHeader(),
  ): Promise<EntryHeader | undefined> {
    const place = await this.fetchHeader(location);
    if (place === undefined) return undefined;
    const isGood = isHeaderOf(place.view, place.at, queue, baseOffset, sizeBytes);
    if (isGood) into.decode(place.view, place.at);
    this.letGo(place);
    return isGood ? into : undefined;
  }

  /** Adds one entry's payload to the answer: lent, or copied together with its neighbours, put right where it must be. */
  private deliver(
    rows: EntryRows,
    row: number,
    bytes: Buffer,
    start: number,
    epoch: number,
    holder: AppendSlab | CachedBlock | undefined,
    isBlock: boolean,
    result: PayloadList,
  ): void {
    const sizeBytes = rows.sizesBytes[row]!;
    const baseOffset = rows.baseOffsets[row]!;
    const isStamped = this.format.isStamped(bytes, start, baseOffset, epoch);
    if (isStamped && sizeBytes >= lentPayloadBytes) {
      result.lend(bytes.subarray(start, start + sizeBytes), holder, isBlock);
      return;
    }
    const target = result.room(rows, row);
    const at = result.roomAt;
    bytes.copy(target, at, start, start + sizeBytes);
    if (!isStamped) this.format.stamp(target, at, baseOffset, epoch);
    result.roomAt = at + sizeBytes;
  }

  /** Cuts the rows off where they would need more blocks than one read may. */
  private limitBlocks(rows: EntryRows): void {
    const { blockBytes } = this.cache;
    let blocks = 0;
    let lastSegment = -1;
    let lastBlock = -1;
    for (let row = 0; row < rows.length; row++) {
      const location = rows.locations[row]!;
      const segment = segmentOf(location);
      const first = Math.floor(offsetIn(location) / blockBytes);
      const last = Math.floor((offsetIn(location) + headerBytes + rows.sizesBytes[row]!) / blockBytes);
      blocks += last - first + (segment === lastSegment && first === lastBlock ? 0 : 1);
      lastSegment = segment;
      lastBlock = last;
      if (blocks > this.maxBlocks && row > 0) {
        rows.cut(row);
        return;
      }
    }
  }

  /** The entry's bytes, checked; undefined where they are damaged. `letGo` it afterwards. */
  private async fetch(location: number, payloadBytes: number): Promise<Place | undefined> {
    const slab = this.slabs.find(location);
    if (slab !== undefined) return this.placeInSlab(slab, location);
    const { blockBytes } = this.cache;
    const offset = offsetIn(location);
    const totalBytes = headerBytes + payloadBytes;
    const block = Math.floor(offset / blockBytes);
    const at = offset - block * blockBytes;
    if (at + totalBytes > blockBytes) {
      const place = await this.gather(location, totalBytes);
      return place !== undefined && this.isIntact(place, location, payloadBytes) ? place : undefined;
    }
    const place = await this.placeInBlock(location, block, at, at + totalBytes);
    if (place === undefined) return undefined;
    const holder = place.holder as CachedBlock;
    if (!holder.isChecked(at)) {
      if (!this.isIntact(place, location, payloadBytes)) {
        this.letGo(place);
        return undefined;
      }
      holder.setChecked(at);
    }
    return place;
  }

  private async fetchHeader(location: number): Promise<Place | undefined> {
    const slab = this.slabs.find(location);
    if (slab !== undefined) return this.placeInSlab(slab, location);
    const { blockBytes } = this.cache;
    const offset = offsetIn(location);
    const block = Math.floor(offset / blockBytes);
    const at = offset - block * blockBytes;
    const place =
      at + headerBytes > blockBytes
        ? await this.gather(location, headerBytes)
        : await this.placeInBlock(location, block, at, at + headerBytes);
    if (place === undefined) return undefined;
    if (checkHeader(place.view, place.bytes, place.at, location, this.crc32c) === 'intact') return place;
    this.letGo(place);
    return undefined;
  }

  private placeInSlab(slab: AppendSlab, location: number): Place {
    this.slabs.pin(slab);
    return { bytes: slab.bytes, view: slab.view, at: location - slab.base, holder: slab, isBlock: false };
  }

  private async placeInBlock(
    location: number,
    block: number,
    at: number,
    neededBytes: number,
  ): Promise<Place | undefined> {
    const source = this.segments.reader(segmentOf(location));
    const isSequential = block > 0 && this.cache.has(source, block - 1) && !this.cache.has(source, block);
    const pinned = this.cache.pin(source, block, neededBytes);
    if (isSequential) this.cache.readAhead(source, block + 1);
    const holder = pinned instanceof Promise ? await pinned : pinned;
    if (holder.length < neededBytes) {
      this.cache.unpin(holder);
      return undefined;
    }
    return { bytes: holder.bytes, view: holder.view, at, holder, isBlock: true };
  }

  /** Bytes that lie across blocks, copied together. */
  private async gather(location: number, totalBytes: number): Promise<Place | undefined> {
    const { blockBytes } = this.cache;
    const source = this.segments.reader(segmentOf(location));
    const offset = offsetIn(location);
    const bytes = Buffer.allocUnsafeSlow(totalBytes);
    let done = 0;
    while (done < totalBytes) {
      const block = Math.floor((offset + done) / blockBytes);
      const at = offset + done - block * blockBytes;
      const count = Math.min(totalBytes - done, blockBytes - at);
      const pinned = this.cache.pin(source, block, at + count);
      if (at + count === blockBytes && done + count < totalBytes) this.cache.readAhead(source, block + 1);
      const holder = pinned instanceof Promise ? await pinned : pinned;
      const isWhole = holder.length >= at + count;
      if (isWhole) holder.bytes.copy(bytes, done, at, at + count);
      this.cache.unpin(holder);
      if (!isWhole) return undefined;
      done += count;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, totalBytes);
    return { bytes, view, at: 0, holder: undefined, isBlock: false };
  }

  private isIntact(place: Place, location: number, payloadBytes: number): boolean {
    const { view, bytes, at } = place;
    return (
      checkHeader(view, bytes, at, location, this.crc32c) === 'intact' &&
      view.getUint32(at + 12, true) === payloadBytes &&
      this.format.isIntact(bytes, at + headerBytes, payloadBytes)
    );
  }

  private letGo(place: Place): void {
    if (place.holder === undefined) return;
    if (place.isBlock) this.cache.unpin(place.holder as CachedBlock);
    else this.slabs.unpin(place.holder as AppendSlab);
  }
}

function releaseNothing(): void {}

/** The buffers of one answer and what they are lent from. */
class PayloadList {
  private readonly slabs: SlabList;
  private readonly cache: BlockCache;
  private readonly payloads: Buffer[] = [];
  private slabsHeld: AppendSlab[] | undefined;
  private blocksHeld: CachedBlock[] | undefined;
  private target: Buffer | undefined;
  roomAt = 0;
  private isReleased = false;

  constructor(slabs: SlabList, cache: BlockCache) {
    this.slabs = slabs;
    this.cache = cache;
  }

  lend(view: Buffer, holder: AppendSlab | CachedBlock | undefined, isBlock: boolean): void {
    this.closeRoom();
    this.payloads.push(view);
    if (holder === undefined) return;
    if (isBlock) {
      this.blocksHeld ??= [];
      this.blocksHeld.push(holder as CachedBlock);
      holder.pins++;
    } else {
      this.slabsHeld ??= [];
      if (this.slabsHeld.at(-1) === holder) return;
      this.slabsHeld.push(holder as AppendSlab);
      holder.pins++;
    }
  }

  /** A buffer for the row and for the small ones that follow it; written from `roomAt` on. */
  room(rows: EntryRows, row: number): Buffer {
    const sizeBytes = rows.sizesBytes[row]!;
    if (this.target !== undefined && this.roomAt + sizeBytes <= this.target.length) return this.target;
    this.closeRoom();
    let totalBytes = sizeBytes;
    for (let at = row + 1; at < rows.length && rows.sizesBytes[at]! < lentPayloadBytes; at++) {
      totalBytes += rows.sizesBytes[at]!;
    }
    this.target = Buffer.allocUnsafe(totalBytes);
    this.roomAt = 0;
    return this.target;
  }

  finish(rows: EntryRows): ReadResult {
    this.closeRoom();
    return {
      outcome: 'read',
      payloads: this.payloads,
      sizeBytes: rows.totalBytes,
      baseOffset: rows.baseOffsets[0]!,
      nextOffset: rows.endOffset(rows.length - 1),
      release: () => this.release(),
    };
  }

  release(): void {
    assert(!this.isReleased, 'a read is released once');
    this.isReleased = true;
    if (this.slabsHeld !== undefined) for (const slab of this.slabsHeld) this.slabs.unpin(slab);
    if (this.blocksHeld !== undefined) for (const block of this.blocksHeld) this.cache.unpin(block);
  }

  private closeRoom(): void {
    if (this.target === undefined) return;
    this.payloads.push(
      this.roomAt === this.target.length ? this.target : this.target.subarray(0, this.roomAt),
    );
    this.target = undefined;
  }
}
