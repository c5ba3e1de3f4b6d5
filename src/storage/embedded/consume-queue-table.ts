/**
 * The ConsumeQueues' newest part, in memory: a row an entry, in columns (no object an entry), each row linked to its
 * queue's previous and next one and, for searching back from the tail in O(log n), by a jump link (skew-binary: Myers 1983).
 * `freeze` cuts it off to be written as a run, at the same cost however many queues have rows in it: what the table knows of a
 * queue lies in a slot of the table, and a queue knows its newest slot only. Knows nothing of files.
 */
import { assert } from '../../util/assert.ts';
import { type EntryRows, fits, type RowLimits } from './entry-rows.ts';
import type { QueueState } from './queue-state.ts';

const firstCapacity = 2048;
const firstSlots = 256;
/** Numbers sorted in one go; sorting more is done in slices. */
const sortedAtOnce = 32 * 1024;

let lastGeneration = 0;

export class ConsumeQueueTable {
  locations: Float64Array<ArrayBuffer>;
  baseOffsets: Float64Array<ArrayBuffer>;
  maxTimestampsMs: Float64Array<ArrayBuffer>;
  counts: Uint32Array<ArrayBuffer>;
  sizesBytes: Uint32Array<ArrayBuffer>;
  /** Milliseconds since the store time of the table's first row. */
  private storeDeltasMs: Uint32Array<ArrayBuffer>;
  private firstStoreTimeMs = 0;
  private previous: Int32Array<ArrayBuffer>;
  private following: Int32Array<ArrayBuffer>;
  private jump: Int32Array<ArrayBuffer>;
  /** Rows of the queue before this one. */
  private ordinal: Uint32Array<ArrayBuffer>;
  private rows = 0;
  /** Unique in this process: a queue's newest slot lies in the table of the generation that the queue names. */
  readonly generation = ++lastGeneration;
  /** Queues that have rows here, in the order of their first: a slot each. */
  private readonly queues: QueueState[] = [];
  private firstRows = new Int32Array(firstSlots);
  private lastRows = new Int32Array(firstSlots);
  /** The queue's slot before this one, in an earlier table. */
  private earlierGenerations = new Float64Array(firstSlots);
  private earlierSlots = new Int32Array(firstSlots);

  /** `expectedRows`: how many there will likely be; memory that is not used costs nothing but addresses. */
  constructor(expectedRows = 0) {
    const capacity = Math.max(firstCapacity, expectedRows);
    this.locations = new Float64Array(capacity);
    this.baseOffsets = new Float64Array(capacity);
    this.maxTimestampsMs = new Float64Array(capacity);
    this.counts = new Uint32Array(capacity);
    this.sizesBytes = new Uint32Array(capacity);
    this.storeDeltasMs = new Uint32Array(capacity);
    this.previous = new Int32Array(capacity);
    this.following = new Int32Array(capacity);
    this.jump = new Int32Array(capacity);
    this.ordinal = new Uint32Array(capacity);
  }

  get length(): number {
    return this.rows;
  }

  add(
    queue: QueueState,
    location: number,
    baseOffset: number,
    count: number,
    sizeBytes: number,
    maxTimestampMs: number,
    storeTimeMs: number,
  ): void {
    const row = this.rows;
    if (row === this.locations.length) this.grow();
    if (row === 0) this.firstStoreTimeMs = storeTimeMs;
    this.storeDeltasMs[row] = Math.min(storeTimeMs - this.firstStoreTimeMs, 0xffffffff);
    this.rows = row + 1;
    this.locations[row] = location;
    this.baseOffsets[row] = baseOffset;
    this.maxTimestampsMs[row] = maxTimestampMs;
    this.counts[row] = count;
    this.sizesBytes[row] = sizeBytes;
    this.following[row] = -1;
    if (queue.tableGeneration !== this.generation) {
      this.previous[row] = -1;
      this.jump[row] = row;
      this.ordinal[row] = 0;
      this.takeSlot(queue, row);
    } else {
      const last = this.lastRows[queue.tableSlot]!;
      this.previous[row] = last;
      this.following[last] = row;
      const ordinal = this.ordinal;
      ordinal[row] = ordinal[last]! + 1;
      const lastJump = this.jump[last]!;
      const farJump = this.jump[lastJump]!;
      this.jump[row] =
        ordinal[last]! - ordinal[lastJump]! === ordinal[lastJump]! - ordinal[farJump]! ? farJump : last;
      this.lastRows[queue.tableSlot] = row;
    }
  }

  /** How many queues have rows here; slots count from 0. */
  get slots(): number {
    return this.queues.length;
  }

  /** The queue's slot if the table is its newest, else -1. */
  newestSlot(queue: QueueState): number {
    return queue.tableGeneration === this.generation ? queue.tableSlot : -1;
  }

  queueOf(slot: number): QueueState {
    return this.queues[slot]!;
  }

  firstRow(slot: number): number {
    return this.firstRows[slot]!;
  }

  lastRow(slot: number): number {
    return this.lastRows[slot]!;
  }

  chain(slot: number): RowChain {
    return { table: this, firstRow: this.firstRows[slot]!, lastRow: this.lastRows[slot]! };
  }

  /** Of the table in which the queue of `slot` had its rows before; 0 where there was none since the start. */
  earlierGeneration(slot: number): number {
    return this.earlierGenerations[slot]!;
  }

  earlierSlot(slot: number): number {
    return this.earlierSlots[slot]!;
  }

  /** The last row, from `row` back, whose base offset is at most `offset`. The chain's first row must be one. */
  findBack(row: number, offset: number): number {
    let at = row;
    while (this.baseOffsets[at]! > offset) {
      const far = this.jump[at]!;
      at = this.baseOffsets[far]! > offset ? far : this.previous[at]!;
    }
    return at;
  }

  endOffset(row: number): number {
    return this.baseOffsets[row]! + this.counts[row]!;
  }

  storeTimeMs(row: number): number {
    return this.firstStoreTimeMs + this.storeDeltasMs[row]!;
  }

  /** The next row of the same queue, or -1. */
  next(row: number): number {
    return this.following[row]!;
  }

  /** Takes rows from `row` on until the limits or the chain's end. False when a limit was met. */
  collect(row: number, limits: RowLimits, into: EntryRows): boolean {
    for (let at = row; at >= 0; at = this.following[at]!) {
      const baseOffset = this.baseOffsets[at]!;
      const count = this.counts[at]!;
      const sizeBytes = this.sizesBytes[at]!;
      if (baseOffset + count > limits.untilOffset || !fits(into, limits, sizeBytes)) return false;
      into.add(this.locations[at]!, baseOffset, this.maxTimestampsMs[at]!, sizeBytes, count);
    }
    return true;
  }

  /** Cuts the table off: it must get no more rows, and its queues begin anew in the next one. */
  freeze(from: number, to: number): FrozenTable {
    return { table: this, from, to };
  }

  /**
   * The slots by queue id. `pause` is awaited between slices of the work. Those of dropped queues too: that a queue is dropped may not
   * be durable yet.
   */
  async slotsByQueue(pause: () => Promise<void>): Promise<ArrayLike<number>> {
    const count = this.queues.length;
    const places = 2 ** Math.ceil(Math.log2(Math.max(2, count)));
    const largestId = Number.MAX_SAFE_INTEGER / places - 1;
    // Numbers that hold id and slot: sorted natively, ten times faster than by a function.
    const keys = new Float64Array(count);
    for (let slot = 0; slot < count; slot++) {
      const { id } = this.queues[slot]!;
      if (id > largestId) return this.slotsByLargeId();
      keys[slot] = id * places + slot;
    }
    const sorted = await sortInSlices(keys, pause);
    for (let at = 0; at < count; at++) sorted[at] = sorted[at]! % places;
    return sorted;
  }

  private slotsByLargeId(): number[] {
    const slots = this.queues.map((_, slot) => slot);
    return slots.sort((a, b) => this.queues[a]!.id - this.queues[b]!.id);
  }

  private takeSlot(queue: QueueState, row: number): void {
    const slot = this.queues.length;
    if (slot === this.firstRows.length) {
      const larger = slot * 2;
      this.firstRows = enlarged(this.firstRows, new Int32Array(larger));
      this.lastRows = enlarged(this.lastRows, new Int32Array(larger));
      this.earlierGenerations = enlarged(this.earlierGenerations, new Float64Array(larger));
      this.earlierSlots = enlarged(this.earlierSlots, new Int32Array(larger));
    }
    this.queues.push(queue);
    this.firstRows[slot] = row;
    this.lastRows[slot] = row;
    this.earlierGenerations[slot] = queue.tableGeneration;
    this.earlierSlots[slot] = queue.tableSlot;
    queue.tableGeneration = this.generation;
    queue.tableSlot = slot;
  }

  private grow(): void {
    const capacity = this.locations.length * 2;
    assert(capacity <= 2 ** 26, 'the index table is sealed long before it is so large');
    this.locations = enlarged(this.locations, new Float64Array(capacity));
    this.baseOffsets = enlarged(this.baseOffsets, new Float64Array(capacity));
    this.maxTimestampsMs = enlarged(this.maxTimestampsMs, new Float64Array(capacity));
    this.counts = enlarged(this.counts, new Uint32Array(capacity));
    this.sizesBytes = enlarged(this.sizesBytes, new Uint32Array(capacity));
    this.storeDeltasMs = enlarged(this.storeDeltasMs, new Uint32Array(capacity));
    this.previous = enlarged(this.previous, new Int32Array(capacity));
    this.following = enlarged(this.following, new Int32Array(capacity));
    this.jump = enlarged(this.jump, new Int32Array(capacity));
    this.ordinal = enlarged(this.ordinal, new Uint32Array(capacity));
  }
}

/** Ascending; may answer `values` itself. */
async function sortInSlices(
  values: Float64Array<ArrayBuffer>,
  pause: () => Promise<void>,
): Promise<Float64Array<ArrayBuffer>> {
  const { length } = values;
  for (let from = 0; from < length; from += sortedAtOnce) {
    values.subarray(from, from + sortedAtOnce).sort();
    if (length > sortedAtOnce) await pause();
  }
  let source = values;
  let target = length > sortedAtOnce ? new Float64Array(length) : values;
  for (let width = sortedAtOnce; width < length; width *= 2) {
    for (let from = 0; from < length; from += 2 * width) {
      mergeSorted(source, from, Math.min(length, from + width), Math.min(length, from + 2 * width), target);
      await pause();
    }
    [source, target] = [target, source];
  }
  return source;
}

/** Puts the sorted stretches [from, middle) and [middle, end) of `source` together, sorted, into the same place of `target`. */
function mergeSorted(
  source: Float64Array,
  from: number,
  middle: number,
  end: number,
  target: Float64Array,
): void {
  let left = from;
  let right = middle;
  for (let at = from; at < end; at++) {
    target[at] =
      left < middle && (right >= end || source[left]! <= source[right]!) ? source[left++]! : source[right++]!;
  }
}

function enlarged<T extends Float64Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>(
  column: T,
  larger: T,
): T {
  larger.set(column);
  return larger;
}

/** One queue's rows in one table. */
export interface RowChain {
  readonly table: ConsumeQueueTable;
  readonly firstRow: number;
  readonly lastRow: number;
}

/** The chain's first row whose entry ends after `offset`, or -1. */
export function rowFor(chain: RowChain, offset: number): number {
  const { table } = chain;
  if (table.baseOffsets[chain.firstRow]! > offset) return chain.firstRow;
  const row = table.findBack(chain.lastRow, offset);
  return table.endOffset(row) > offset ? row : table.next(row);
}

/** A table that waits for its run file: rows of the log from `from` up to `to`. */
export interface FrozenTable {
  readonly table: ConsumeQueueTable;
  readonly from: number;
  readonly to: number;
}
