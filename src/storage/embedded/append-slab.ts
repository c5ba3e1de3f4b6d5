/**
 * The memory that entries are put together in: slabs laid out as the file is, so that what is to be written is what readers of
 * the tail are lent, and a byte is found by arithmetic. Knows nothing of files, queues or durability.
 *
 * A slab covers [base, base + used) of one segment; entries never cross slabs. The tail cache is the list of slabs, oldest
 * dropped first once written. A dropped slab that nobody holds is used again; one that is held is left to the garbage
 * collector, for whoever holds it may do so for long.
 */
import { assert } from '../../util/assert.ts';

export class AppendSlab {
  readonly bytes: Buffer;
  readonly view: DataView;
  base = 0;
  used = 0;
  pins = 0;
  isDropped = false;

  constructor(sizeBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(sizeBytes);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, sizeBytes);
  }

  get end(): number {
    return this.base + this.used;
  }
}

const maxSpareSlabs = 4;

export class SlabList {
  private readonly slabBytes: number;
  private readonly budgetBytes: number;
  /** In log order. */
  private readonly slabs: AppendSlab[] = [];
  private readonly spare: AppendSlab[] = [];
  private heldBytes = 0;

  constructor(slabBytes: number, budgetBytes: number) {
    this.slabBytes = slabBytes;
    this.budgetBytes = budgetBytes;
  }

  /** Bytes of all slabs in the list. */
  get sizeBytes(): number {
    return this.heldBytes;
  }

  get newest(): AppendSlab | undefined {
    return this.slabs[this.slabs.length - 1];
  }

  /** A new newest slab that begins at `base` and has room for `leastBytes`. Drops old ones that lie before `written`. */
  add(base: number, leastBytes: number, written: number): AppendSlab {
    this.dropBeyondBudget(written);
    const slab =
      leastBytes <= this.slabBytes
        ? (this.spare.pop() ?? new AppendSlab(this.slabBytes))
        : new AppendSlab(leastBytes);
    slab.base = base;
    slab.used = 0;
    slab.isDropped = false;
    this.slabs.push(slab);
    this.heldBytes += slab.bytes.length;
    return slab;
  }

  /** The slab that holds the entry at `location`, or undefined when it is not in memory. */
  find(location: number): AppendSlab | undefined {
    const slabs = this.slabs;
    let high = slabs.length - 1;
    if (high < 0 || location < slabs[0]!.base) return undefined;
    const newest = slabs[high]!;
    if (location >= newest.base) return location < newest.end ? newest : undefined;
    let low = 0;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (slabs[middle]!.base <= location) low = middle;
      else high = middle - 1;
    }
    const slab = slabs[low]!;
    return location < slab.end ? slab : undefined;
  }

  /** Slices of what lies in [from, until), at most about `maxBytes`, all of one segment (the caller's `until` sees to it). */
  slices(from: number, until: number, maxBytes: number): Uint8Array[] {
    const found: Uint8Array[] = [];
    let at = from;
    let total = 0;
    for (
      let index = this.indexAt(from);
      index < this.slabs.length && at < until && total < maxBytes;
      index++
    ) {
      const slab = this.slabs[index]!;
      if (slab.base >= until) break;
      const start = Math.max(0, at - slab.base);
      const end = Math.min(slab.used, until - slab.base);
      if (end <= start) continue;
      assert(slab.base + start === at, 'slabs lie side by side');
      found.push(slab.bytes.subarray(start, end));
      total += end - start;
      at = slab.base + end;
    }
    return found;
  }

  pin(slab: AppendSlab): void {
    slab.pins++;
  }

  unpin(slab: AppendSlab): void {
    slab.pins--;
    if (slab.pins === 0 && slab.isDropped) this.keepSpare(slab);
  }

  private indexAt(location: number): number {
    let index = this.slabs.length - 1;
    while (index > 0 && this.slabs[index]!.base > location) index--;
    return Math.max(0, index);
  }

  private dropBeyondBudget(written: number): void {
    while (this.slabs.length > 0 && this.heldBytes + this.slabBytes > this.budgetBytes) {
      const oldest = this.slabs[0]!;
      if (oldest.end > written) return;
      this.slabs.shift();
      this.heldBytes -= oldest.bytes.length;
      oldest.isDropped = true;
      if (oldest.pins === 0) this.keepSpare(oldest);
    }
  }

  private keepSpare(slab: AppendSlab): void {
    if (slab.bytes.length === this.slabBytes && this.spare.length < maxSpareSlabs) this.spare.push(slab);
  }
}
