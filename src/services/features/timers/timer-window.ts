/**
 * The timers that are due next, in memory: all rows of the index below `loadedUntil`, at most about `capacity` of them; whatever
 * is due later stays in the index alone. Pure: reads nothing itself.
 */
import type { Timer } from './timer-row.ts';

/** Above every key. */
const endOfKeys = '\xff'.repeat(32);

/** Keys as strings of bytes: their order is that of the index. */
type KeyText = string;

export class TimerWindow {
  private readonly capacity: number;
  private readonly timers = new Map<KeyText, Timer>();
  /** A binary heap of keys, some of which are not in `timers` any more. */
  private heap: KeyText[] = [];
  private loadedUntil: KeyText = '';
  /** What came and went while a page was being read. */
  private noted:
    | { readonly from: KeyText; readonly added: Map<KeyText, Timer>; readonly removed: Set<KeyText> }
    | undefined;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get size(): number {
    return this.timers.size;
  }

  /** There are rows in the index that should be here. */
  get needsMore(): boolean {
    return this.loadedUntil !== endOfKeys && this.timers.size < this.capacity / 4;
  }

  /** Where the next page starts. From now until `endPage` changes are noted. */
  beginPage(): Buffer {
    this.noted = { from: this.loadedUntil, added: new Map(), removed: new Set() };
    return Buffer.from(this.loadedUntil, 'latin1');
  }

  /** Rows from there on, in order; `isLast` where the index has no more. */
  endPage(rows: readonly { readonly key: Buffer; readonly timer: Timer }[], isLast: boolean): void {
    const noted = this.noted!;
    this.noted = undefined;
    // So much came meanwhile that the end moved: what was read is not the next page any more.
    if (noted.from !== this.loadedUntil) return;
    this.loadedUntil = isLast ? endOfKeys : `${rows.at(-1)!.key.toString('latin1')}\0`;
    for (const { key, timer } of rows) {
      const text = key.toString('latin1');
      if (!noted.removed.has(text)) this.put(text, timer);
    }
    for (const [text, timer] of noted.added) if (text < this.loadedUntil) this.put(text, timer);
    this.shrink();
  }

  /** The page could not be read. */
  abandonPage(): void {
    this.noted = undefined;
  }

  /** A timer whose row was put. Answers whether it is the first to be due. */
  add(key: Buffer, timer: Timer): boolean {
    const text = key.toString('latin1');
    this.noted?.removed.delete(text);
    this.noted?.added.set(text, timer);
    if (text >= this.loadedUntil) return false;
    this.put(text, timer);
    this.shrink();
    return this.heap[0] === text;
  }

  /** A timer whose row was deleted. */
  remove(key: Buffer): void {
    const text = key.toString('latin1');
    this.noted?.added.delete(text);
    this.noted?.removed.add(text);
    this.timers.delete(text);
    if (this.heap.length > 2 * this.timers.size + 1000) {
      this.heap = this.heap.filter((other) => this.timers.has(other)).sort();
    }
  }

  /** Due time of the first timer; undefined where there is none at all. */
  get nextDueMs(): number | undefined {
    this.dropGone();
    const first = this.heap[0];
    return first === undefined ? undefined : this.timers.get(first)!.dueMs;
  }

  /** Takes out the timers due by `nowMs`, in due order, at most `limit`. */
  takeDue(nowMs: number, limit: number): Timer[] {
    const taken: Timer[] = [];
    while (taken.length < limit) {
      this.dropGone();
      const first = this.heap[0];
      if (first === undefined) break;
      const timer = this.timers.get(first)!;
      if (timer.dueMs > nowMs) break;
      this.pop();
      this.timers.delete(first);
      taken.push(timer);
    }
    return taken;
  }

  private put(text: KeyText, timer: Timer): void {
    if (!this.timers.has(text)) this.push(text);
    this.timers.set(text, timer);
  }

  /** Gives up the timers that are due last where there are too many: they are in the index. */
  private shrink(): void {
    if (this.timers.size <= 2 * this.capacity) return;
    const keys = [...this.timers.keys()].sort();
    this.loadedUntil = keys[this.capacity]!;
    for (let at = this.capacity; at < keys.length; at++) this.timers.delete(keys[at]!);
    keys.length = this.capacity;
    // A sorted list is a heap.
    this.heap = keys;
  }

  private dropGone(): void {
    while (this.heap.length > 0 && !this.timers.has(this.heap[0]!)) this.pop();
  }

  private push(text: KeyText): void {
    const { heap } = this;
    let at = heap.length;
    heap.push(text);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= text) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = text;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child += 1;
      if (heap[child]! >= last) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}
