/**
 * The ConsumeQueues' newest part, in memory: a row an entry, in columns (no object an entry), each row linked to its
 * queue's previous and next one and, for searching back from the tail in O(log n), by a jump link (skew-binary: Myers 1983).
 * `freeze` cuts it off to be written as a run. Knows nothing of files.
 */
import { assert } from '../../util/assert.ts';
import { type EntryRows, fits, type RowLimits } from './entry-rows.ts';
import type { QueueState } from './queue-state.ts';

const firstCapacity = 2048;

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
  /** Queues that have rows here, in the order of their first. */
  private readonly touched: QueueState[] = [];

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
    const last = queue.lastRow;
    this.previous[row] = last;
    if (last < 0) {
      this.jump[row] = row;
      this.ordinal[row] = 0;
      queue.firstRow = row;
      this.touched.push(queue);
    } else {
      this.following[last] = row;
      const ordinal = this.ordinal;
      ordinal[row] = ordinal[last]! + 1;
      const lastJump = this.jump[last]!;
      const farJump = this.jump[lastJump]!;
      this.jump[row] =
        ordinal[last]! - ordinal[lastJump]! === ordinal[lastJump]! - ordinal[farJump]! ? farJump : last;
    }
    queue.lastRow = row;
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

  /** Cuts the table off: it gets no more rows, and its queues begin anew in the next one. */
  freeze(from: number, to: number): FrozenTable {
    const frozen = new FrozenTable(this, from, to, sortedById(this.touched));
    for (const queue of this.touched) {
      queue.firstRow = -1;
      queue.lastRow = -1;
    }
    return frozen;
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

/** Those that exist, by id. Native sorting of numbers that hold id and place: ten times faster than by a function. */
function sortedById(queues: readonly QueueState[]): readonly QueueState[] {
  const live = queues.filter((queue) => !queue.isDropped);
  const places = 2 ** Math.ceil(Math.log2(Math.max(2, live.length)));
  const keys = new Float64Array(live.length);
  for (let at = 0; at < live.length; at++) {
    const { id } = live[at]!;
    if (id >= Number.MAX_SAFE_INTEGER / places) return live.sort((a, b) => a.id - b.id);
    keys[at] = id * places + at;
  }
  keys.sort();
  const sorted: QueueState[] = new Array(live.length);
  for (let at = 0; at < live.length; at++) sorted[at] = live[keys[at]! % places]!;
  return sorted;
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
export class FrozenTable {
  readonly table: ConsumeQueueTable;
  readonly from: number;
  readonly to: number;
  /** Sorted. */
  readonly queueIds: Float64Array;
  private readonly firstRows: Int32Array;
  private readonly lastRows: Int32Array;

  constructor(table: ConsumeQueueTable, from: number, to: number, queues: readonly QueueState[]) {
    this.table = table;
    this.from = from;
    this.to = to;
    this.queueIds = new Float64Array(queues.length);
    this.firstRows = new Int32Array(queues.length);
    this.lastRows = new Int32Array(queues.length);
    for (let at = 0; at < queues.length; at++) {
      const queue = queues[at]!;
      this.queueIds[at] = queue.id;
      this.firstRows[at] = queue.firstRow;
      this.lastRows[at] = queue.lastRow;
    }
  }

  /** Which of `queueIds` it is, or -1. */
  find(queue: number): number {
    let low = 0;
    let high = this.queueIds.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const id = this.queueIds[middle]!;
      if (id === queue) return middle;
      if (id < queue) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** The queue's rows here, or undefined. */
  chain(queue: number): RowChain | undefined {
    const at = this.find(queue);
    if (at < 0) return undefined;
    return { table: this.table, firstRow: this.firstRows[at]!, lastRow: this.lastRows[at]! };
  }

  firstRow(at: number): number {
    return this.firstRows[at]!;
  }

  lastRow(at: number): number {
    return this.lastRows[at]!;
  }
}
