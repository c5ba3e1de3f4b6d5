/**
 * Fetches entries that the index has named: from append slabs at once, else from disk through the block cache. Whatever
 * comes from disk is checked once against its checksums and, every time, against what the index says of it (location, queue, offset,
 * size), so a wrong index can never serve another queue's bytes. Offsets and epochs in payloads are put right in a copy
 * where they differ.
 */
import { assert } from '../../util/assert.ts';
import type { MaybePromise, PayloadFormat, QueueId, ReadResult } from '../engine.ts';
import type { AppendSlab, SlabList } from './append-slab.ts';
import type { BlockCache, BlockSource, CachedBlock, ReadGate } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import { checkHeader, EntryHeader, epochAt, headerBytes, isHeaderOf } from './entry-header.ts';
import type { EntryRows } from './entry-rows.ts';
import { type JoinedBytes, JoinMemory } from './join-memory.ts';
import { offsetIn, segmentOf } from './location.ts';
import { lentPayloadBytes, PayloadList } from './payload-list.ts';
import type { SegmentFiles } from './segment-files.ts';

/** Rows further apart than this part of a block are sparse. */
const sparsePart = 0.5;
const fewestSparseRows = 4;
/** Sparse rows are read one by one where less than this part of their blocks gets used ... */
const leastUse = 1 / 16;
/** ... but now and then by blocks, to learn whether that has changed. */
const probeEvery = 32;
const maxSingleReads = 256;
/** Of them so many are on their way at a time ... */
const maxReadsAhead = 16;
/** ... and of so many bytes. */
const maxBytesAhead = 1024 * 1024;

/** Neighbouring blocks are read together, so many at most. */
const maxNeighbours = 8;

const nothing: readonly Buffer[] = [];

/** Where an entry's header and payload lie in memory. */
interface Place {
  bytes: Buffer;
  view: DataView;
  at: number;
  /** What must stay as it is while the bytes are looked at; undefined when they are the reader's own. */
  holder: AppendSlab | CachedBlock | undefined;
  isBlock: boolean;
  /** Memory that the bytes were read into, to be given back. */
  joined?: JoinedBytes;
}

/** A block that a read needs, and how much of it. */
interface BlockNeed {
  readonly source: BlockSource;
  readonly block: number;
  neededBytes: number;
}

/** Where the rows of one read lie. */
interface ReadPlan {
  /** For each row the index of its first block, or ~index of its slab. */
  readonly places: number[];
  readonly slabs: AppendSlab[];
  readonly needs: BlockNeed[];
}

export class EntryReader {
  private readonly slabs: SlabList;
  private readonly segments: SegmentFiles;
  private readonly cache: BlockCache;
  private readonly format: PayloadFormat;
  private readonly crc32c: Checksum;
  private readonly maxBlocks: number;
  private readonly joinMemory = new JoinMemory();
  private readonly gate: ReadGate;
  private sparseReads = 0;

  constructor(
    slabs: SlabList,
    segments: SegmentFiles,
    cache: BlockCache,
    format: PayloadFormat,
    crc32c: Checksum,
    maxDiskReadBytes: number,
    gate: ReadGate,
  ) {
    this.gate = gate;
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
    const result = new PayloadList(this.slabs, this.cache, this.joinMemory);
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
      if (this.deliver(rows, row, slab.bytes, at + headerBytes, epochAt(slab.view, at), result)) {
        result.holdSlab(slab);
      }
      assert(slab.view.getUint32(at + 12, true) === sizeBytes, 'the index says what the slab holds');
    }
    return result.finish(rows);
  }

  /**
   * The rows' payloads from wherever they lie; fewer than asked for where they are spread over too many blocks or one of
   * them is damaged. At once where all of it is in memory, else when the disk has answered; rejects where it does not.
   */
  read(queue: QueueId, rows: EntryRows, isAlone = false): MaybePromise<ReadResult> {
    const isSparse = this.areSparse(rows);
    if (isSparse && isAlone) return this.readSingly(queue, rows);
    if (isSparse && this.cache.useOfSparseBlocks < leastUse && ++this.sparseReads % probeEvery !== 0) {
      return this.readSingly(queue, rows);
    }
    const plan = this.plan(rows);
    if (plan === undefined) return this.readHuge(queue, rows);
    for (const slab of plan.slabs) this.slabs.pin(slab);
    const blocks: CachedBlock[] = new Array(plan.needs.length);
    let loading: Promise<CachedBlock>[] | undefined;
    let isSequential = false;
    this.readNeighbours(plan.needs);
    for (let at = 0; at < plan.needs.length; at++) {
      const { source, block, neededBytes } = plan.needs[at]!;
      const pinned = this.cache.pin(source, block, neededBytes);
      if (pinned instanceof Promise) {
        loading ??= [];
        loading.push(pinned.then((loaded) => (blocks[at] = loaded)));
        isSequential =
          block > 0 && (this.cache.has(source, block - 1) || plan.needs[at - 1]?.block === block - 1);
      } else blocks[at] = pinned;
    }
    if (loading === undefined) return this.deliverAll(queue, rows, plan, blocks, isSparse);
    if (isSequential) {
      const { source, block } = plan.needs.at(-1)!;
      this.cache.readAhead(source, block + 1);
    }
    return this.deliverLoaded(queue, rows, plan, blocks, loading, isSparse);
  }

  /** Starts one read for each run of neighbouring blocks that are not at hand. */
  private readNeighbours(needs: readonly BlockNeed[]): void {
    for (let at = 0; at < needs.length; ) {
      const { source, block } = needs[at]!;
      let count = 0;
      while (
        count < maxNeighbours &&
        needs[at + count]?.source === source &&
        needs[at + count]!.block === block + count &&
        this.cache.isAbsent(source, block + count)
      ) {
        count++;
      }
      if (count > 1) this.cache.readTogether(source, block, count);
      at += Math.max(1, count);
    }
  }

  private async deliverLoaded(
    queue: QueueId,
    rows: EntryRows,
    plan: ReadPlan,
    blocks: CachedBlock[],
    loading: readonly Promise<CachedBlock>[],
    isSparse: boolean,
  ): Promise<ReadResult> {
    for (const outcome of await Promise.allSettled(loading)) {
      if (outcome.status === 'fulfilled') continue;
      this.letGoAll(plan, blocks);
      throw outcome.reason;
    }
    return this.deliverAll(queue, rows, plan, blocks, isSparse);
  }

  /** True where the rows lie so far apart that a block holds hardly more than one of them. */
  private areSparse(rows: EntryRows): boolean {
    if (rows.length < fewestSparseRows) return false;
    const first = rows.locations[0]!;
    const last = rows.locations[rows.length - 1]!;
    const segments = segmentOf(last) - segmentOf(first);
    if (segments > rows.length) return true;
    const bytes = segments === 0 ? last - first : offsetIn(last) + segments * this.cache.blockBytes;
    return bytes > rows.length * this.cache.blockBytes * sparsePart;
  }

  /** The rows one by one, each by a read of its own past the cache, some steps ahead. */
  private async readSingly(queue: QueueId, rows: EntryRows): Promise<ReadResult> {
    rows.cut(Math.min(rows.length, maxSingleReads));
    const result = new PayloadList(this.slabs, this.cache, this.joinMemory);
    const ahead: Promise<Place | undefined>[] = [];
    let aheadBytes = 0;
    let next = 0;
    const lookAhead = (): void => {
      while (next < rows.length && ahead.length < maxReadsAhead) {
        const sizeBytes = rows.sizesBytes[next]!;
        if (ahead.length > 0 && aheadBytes + sizeBytes > maxBytesAhead) return;
        const fetched = this.fetchSingly(rows, next++);
        fetched.catch(() => {}); // met when it is its turn
        aheadBytes += sizeBytes;
        ahead.push(fetched);
      }
    };
    /** What was read ahead for nothing. */
    const letGoAhead = (): void => {
      for (const fetched of ahead) {
        fetched.then(
          (place) => place !== undefined && this.letGo(place),
          () => {},
        );
      }
    };
    for (let row = 0; row < rows.length; row++) {
      lookAhead();
      let place: Place | undefined;
      try {
        aheadBytes -= rows.sizesBytes[row]!;
        place = await ahead.shift();
      } catch (error) {
        letGoAhead();
        result.release();
        throw error;
      }
      if (
        place === undefined ||
        !isHeaderOf(place.view, place.at, queue, rows.baseOffsets[row]!, rows.sizesBytes[row]!)
      ) {
        if (place !== undefined) this.letGo(place);
        letGoAhead();
        if (row === 0) {
          return { outcome: 'damaged', baseOffset: rows.baseOffsets[0]!, nextOffset: rows.endOffset(0) };
        }
        rows.cut(row);
        break;
      }
      const { bytes, view, at, holder, joined } = place;
      const isLent = this.deliver(rows, row, bytes, at + headerBytes, epochAt(view, at), result);
      if (isLent && joined !== undefined) {
        result.holdJoined(joined);
        continue;
      }
      if (isLent) result.holdSlab(holder as AppendSlab);
      this.letGo(place);
    }
    return result.finish(rows);
  }

  private async fetchSingly(rows: EntryRows, row: number): Promise<Place | undefined> {
    const location = rows.locations[row]!;
    const payloadBytes = rows.sizesBytes[row]!;
    const slab = this.slabs.find(location);
    if (slab !== undefined) return this.placeInSlab(slab, location);
    const totalBytes = headerBytes + payloadBytes;
    const joined = this.joinMemory.take(totalBytes);
    const { bytes, view } = joined;
    const source = this.segments.reader(segmentOf(location));
    let isGood = false;
    try {
      const into = bytes.subarray(0, totalBytes);
      const read = await this.gate.run(() => source.read(offsetIn(location), into));
      isGood = read === totalBytes && this.isIntact(view, bytes, 0, location, payloadBytes);
    } finally {
      if (!isGood) this.joinMemory.give(joined);
    }
    return isGood ? { bytes, view, at: 0, holder: undefined, isBlock: false, joined } : undefined;
  }

  /** What the rows need, which are cut off where that would be more blocks than one read may have. Undefined: too many for the first. */
  private plan(rows: EntryRows): ReadPlan | undefined {
    const { blockBytes } = this.cache;
    const places: number[] = [];
    const slabs: AppendSlab[] = [];
    const needs: BlockNeed[] = [];
    let source: BlockSource | undefined;
    let lastSegment = -1;
    let lastBlock = -1;
    for (let row = 0; row < rows.length; row++) {
      const location = rows.locations[row]!;
      const slab = this.slabs.find(location);
      if (slab !== undefined) {
        if (slabs.at(-1) !== slab) slabs.push(slab);
        places.push(~(slabs.length - 1));
        continue;
      }
      const segment = segmentOf(location);
      const offset = offsetIn(location);
      const end = offset + headerBytes + rows.sizesBytes[row]!;
      const first = Math.floor(offset / blockBytes);
      const last = Math.floor((end - 1) / blockBytes);
      const isShared = segment === lastSegment && first === lastBlock;
      if (needs.length + last - first + (isShared ? 0 : 1) > this.maxBlocks) {
        if (row === 0) return undefined;
        rows.cut(row);
        break;
      }
      if (segment !== lastSegment || source === undefined) source = this.segments.reader(segment);
      places.push(isShared ? needs.length - 1 : needs.length);
      for (let block = first; block <= last; block++) {
        const neededBytes = block === last ? end - block * blockBytes : blockBytes;
        if (block > first || !isShared) needs.push({ source, block, neededBytes });
        else {
          const shared = needs.at(-1)!;
          shared.neededBytes = Math.max(shared.neededBytes, neededBytes);
        }
      }
      lastSegment = segment;
      lastBlock = last;
    }
    return { places, slabs, needs };
  }

  private deliverAll(
    queue: QueueId,
    rows: EntryRows,
    plan: ReadPlan,
    blocks: readonly CachedBlock[],
    isSparse: boolean,
  ): ReadResult {
    const result = new PayloadList(this.slabs, this.cache, this.joinMemory);
    const { blockBytes } = this.cache;
    for (let row = 0; row < rows.length; row++) {
      const place = plan.places[row]!;
      let isGood: boolean;
      if (place < 0) isGood = this.deliverFromSlab(queue, rows, row, plan.slabs[~place]!, result);
      else {
        const at = offsetIn(rows.locations[row]!) % blockBytes;
        const block = blocks[place]!;
        if (isSparse && block.servedBytes === 0) block.isSparse = true;
        block.servedBytes += headerBytes + rows.sizesBytes[row]!;
        isGood =
          at + headerBytes + rows.sizesBytes[row]! <= blockBytes
            ? this.deliverFromBlock(queue, rows, row, blocks[place]!, at, result)
            : this.deliverJoined(queue, rows, row, blocks, place, at, result);
      }
      if (isGood) continue;
      if (row === 0) {
        this.letGoAll(plan, blocks);
        return { outcome: 'damaged', baseOffset: rows.baseOffsets[0]!, nextOffset: rows.endOffset(0) };
      }
      rows.cut(row);
    }
    this.letGoAll(plan, blocks);
    return result.finish(rows);
  }

  private deliverFromSlab(
    queue: QueueId,
    rows: EntryRows,
    row: number,
    slab: AppendSlab,
    result: PayloadList,
  ): boolean {
    const at = rows.locations[row]! - slab.base;
    if (!isHeaderOf(slab.view, at, queue, rows.baseOffsets[row]!, rows.sizesBytes[row]!)) return false;
    if (this.deliver(rows, row, slab.bytes, at + headerBytes, epochAt(slab.view, at), result)) {
      result.holdSlab(slab);
    }
    return true;
  }

  /** False where the entry is damaged. */
  private deliverFromBlock(
    queue: QueueId,
    rows: EntryRows,
    row: number,
    block: CachedBlock,
    at: number,
    result: PayloadList,
  ): boolean {
    const sizeBytes = rows.sizesBytes[row]!;
    const { bytes, view } = block;
    if (block.length < at + headerBytes + sizeBytes) return false;
    if (!block.isChecked(at)) {
      if (!this.isIntact(view, bytes, at, rows.locations[row]!, sizeBytes)) return false;
      block.setChecked(at);
    }
    if (!isHeaderOf(view, at, queue, rows.baseOffsets[row]!, sizeBytes)) return false;
    if (this.deliver(rows, row, bytes, at + headerBytes, epochAt(view, at), result)) result.holdBlock(block);
    return true;
  }

  /** An entry that lies across blocks, from the one at index `place` on. False where it is damaged. */
  private deliverJoined(
    queue: QueueId,
    rows: EntryRows,
    row: number,
    blocks: readonly CachedBlock[],
    place: number,
    at: number,
    result: PayloadList,
  ): boolean {
    const { blockBytes } = this.cache;
    const sizeBytes = rows.sizesBytes[row]!;
    const totalBytes = headerBytes + sizeBytes;
    const first = blocks[place]!;
    const joined = this.joinMemory.take(totalBytes);
    const { bytes, view } = joined;
    let isChecked = first.isChecked(at);
    let isWhole = true;
    let done = 0;
    let index = place;
    for (let from = at; done < totalBytes && isWhole; from = 0, index++) {
      const block = blocks[index]!;
      const until = Math.min(blockBytes, from + totalBytes - done);
      if (index > place && !block.isHeadChecked) isChecked = false;
      isWhole = block.length >= until;
      if (isWhole) done += block.bytes.copy(bytes, done, from, until);
    }
    const isGood =
      isWhole &&
      (isChecked || this.isIntact(view, bytes, 0, rows.locations[row]!, sizeBytes)) &&
      isHeaderOf(view, 0, queue, rows.baseOffsets[row]!, sizeBytes);
    if (isGood && !isChecked) {
      first.setChecked(at);
      for (let part = place + 1; part < index; part++) blocks[part]!.isHeadChecked = true;
    }
    if (isGood && this.deliver(rows, row, bytes, headerBytes, epochAt(view, 0), result)) {
      result.holdJoined(joined);
    } else this.joinMemory.give(joined);
    return isGood;
  }

  private letGoAll(plan: ReadPlan, blocks: readonly CachedBlock[]): void {
    for (const slab of plan.slabs) this.slabs.unpin(slab);
    for (let at = 0; at < plan.needs.length; at++) {
      const block = blocks[at];
      if (block !== undefined) this.cache.unpin(block);
    }
  }

  /** The first row alone, which needs more blocks than are held at a time: they are copied together one by one. */
  private async readHuge(queue: QueueId, rows: EntryRows): Promise<ReadResult> {
    rows.cut(1);
    const sizeBytes = rows.sizesBytes[0]!;
    const baseOffset = rows.baseOffsets[0]!;
    const location = rows.locations[0]!;
    const place = await this.gather(location, headerBytes + sizeBytes);
    const isGood =
      place !== undefined &&
      this.isIntact(place.view, place.bytes, 0, location, sizeBytes) &&
      isHeaderOf(place.view, 0, queue, baseOffset, sizeBytes);
    if (!isGood) return { outcome: 'damaged', baseOffset, nextOffset: rows.endOffset(0) };
    const result = new PayloadList(this.slabs, this.cache, this.joinMemory);
    this.deliver(rows, 0, place.bytes, headerBytes, epochAt(place.view, 0), result);
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

  /**
   * Adds one entry's payload to the answer: copied together with its neighbours and put right where it must be, or lent where it
   * lies. True where it is lent: then `bytes` must stay as they are.
   */
  private deliver(
    rows: EntryRows,
    row: number,
    bytes: Buffer,
    start: number,
    epoch: number,
    result: PayloadList,
  ): boolean {
    const sizeBytes = rows.sizesBytes[row]!;
    const baseOffset = rows.baseOffsets[row]!;
    const isStamped = this.format.isStamped(bytes, start, baseOffset, epoch);
    if (isStamped && sizeBytes >= lentPayloadBytes) {
      result.lend(bytes.subarray(start, start + sizeBytes));
      return true;
    }
    const target = result.room(rows, row);
    const at = result.roomAt;
    bytes.copy(target, at, start, start + sizeBytes);
    if (!isStamped) this.format.stamp(target, at, baseOffset, epoch);
    result.roomAt = at + sizeBytes;
    return false;
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
    const pinned = this.cache.pin(source, block, neededBytes);
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

  private isIntact(
    view: DataView,
    bytes: Buffer,
    at: number,
    location: number,
    payloadBytes: number,
  ): boolean {
    return (
      checkHeader(view, bytes, at, location, this.crc32c) === 'intact' &&
      view.getUint32(at + 12, true) === payloadBytes &&
      this.format.isIntact(bytes, at + headerBytes, payloadBytes)
    );
  }

  private letGo(place: Place): void {
    if (place.joined !== undefined) this.joinMemory.give(place.joined);
    if (place.holder === undefined) return;
    if (place.isBlock) this.cache.unpin(place.holder as CachedBlock);
    else this.slabs.unpin(place.holder as AppendSlab);
  }
}

function releaseNothing(): void {}
