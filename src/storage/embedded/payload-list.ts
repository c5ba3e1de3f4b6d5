/**
 * The buffers of one answer and what they are lent from, until the answer is released: slabs and blocks are pinned, other memory
 * is used again. Knows nothing of where entries lie or of what their payloads look like.
 */
import { assert } from '../../util/assert.ts';
import type { ReadResult } from '../engine.ts';
import type { AppendSlab, SlabList } from './append-slab.ts';
import type { BlockCache, CachedBlock } from './block-cache.ts';
import type { EntryRows } from './entry-rows.ts';
import type { JoinedBytes, JoinMemory } from './join-memory.ts';

/** Payloads of at least this size are lent where they lie; smaller neighbours are copied together into one buffer. */
export const lentPayloadBytes = 16 * 1024;

/** Small payloads that are together at least as large as this are copied into memory that is used again. */
const pooledRoomBytes = 16 * 1024;

export class PayloadList {
  private readonly slabs: SlabList;
  private readonly cache: BlockCache;
  private readonly joinMemory: JoinMemory;
  private readonly payloads: Buffer[] = [];
  private slabsHeld: AppendSlab[] | undefined;
  private blocksHeld: CachedBlock[] | undefined;
  private joinedHeld: JoinedBytes[] | undefined;
  private target: Buffer | undefined;
  roomAt = 0;
  private isReleased = false;

  constructor(slabs: SlabList, cache: BlockCache, joinMemory: JoinMemory) {
    this.slabs = slabs;
    this.cache = cache;
    this.joinMemory = joinMemory;
  }

  lend(view: Buffer): void {
    this.closeRoom();
    this.payloads.push(view);
  }

  holdSlab(slab: AppendSlab): void {
    this.slabsHeld ??= [];
    if (this.slabsHeld.at(-1) === slab) return;
    this.slabsHeld.push(slab);
    this.slabs.pin(slab);
  }

  holdBlock(block: CachedBlock): void {
    this.blocksHeld ??= [];
    if (this.blocksHeld.at(-1) === block) return;
    this.blocksHeld.push(block);
    block.pins++;
  }

  holdJoined(joined: JoinedBytes): void {
    this.joinedHeld ??= [];
    this.joinedHeld.push(joined);
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
    if (totalBytes < pooledRoomBytes) this.target = Buffer.allocUnsafe(totalBytes);
    else {
      const memory = this.joinMemory.take(totalBytes);
      this.holdJoined(memory);
      this.target = memory.bytes;
    }
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
    if (this.joinedHeld !== undefined) for (const joined of this.joinedHeld) this.joinMemory.give(joined);
  }

  private closeRoom(): void {
    if (this.target === undefined) return;
    this.payloads.push(
      this.roomAt === this.target.length ? this.target : this.target.subarray(0, this.roomAt),
    );
    this.target = undefined;
  }
}
