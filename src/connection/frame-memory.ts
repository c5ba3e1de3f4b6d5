/**
 * The memory that frames are put together in: one budget for all connections, and a pool of buffers for what is used again
 * and again. A frame of some size takes its place in the budget before it is put together, first come first served, so that
 * the ones that were let in can always be finished. Knows nothing of sockets.
 */

const smallestPooledBytes = 64 * 1024;
const largestPooledBytes = 4 * 1024 * 1024;
const maxPooledBytes = 32 * 1024 * 1024;

interface Waiter {
  readonly bytes: number;
  readonly admit: () => void;
  state: 'waiting' | 'admitted' | 'over';
}

/** How a frame waits for its place: `cancel` when its connection is gone. */
export interface BudgetWait {
  cancel(): void;
}

export class FrameMemory {
  private readonly limitBytes: number;
  private reserved = 0;
  private readonly waiters = new Set<Waiter>();
  /** Free buffers by size, a power of two. */
  private readonly free = new Map<number, Buffer[]>();
  private pooled = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get reservedBytes(): number {
    return this.reserved;
  }

  get pooledBytes(): number {
    return this.pooled;
  }

  get waiting(): number {
    return this.waiters.size;
  }

  /** Takes a place for `bytes`. A frame larger than the whole budget is let in alone. */
  tryReserve(bytes: number): boolean {
    if (this.waiters.size > 0 || !this.fits(bytes)) return false;
    this.reserved += bytes;
    return true;
  }

  /** Calls `admit` once the place for `bytes` is taken, never before this returns. */
  waitFor(bytes: number, admit: () => void): BudgetWait {
    const waiter: Waiter = { bytes, admit, state: 'waiting' };
    this.waiters.add(waiter);
    return {
      cancel: () => {
        const was = waiter.state;
        waiter.state = 'over';
        if (was === 'admitted') this.unreserve(bytes);
        else if (this.waiters.delete(waiter)) this.admitWaiters();
      },
    };
  }

  unreserve(bytes: number): void {
    this.reserved -= bytes;
    this.admitWaiters();
  }

  private fits(bytes: number): boolean {
    return this.reserved === 0 || this.reserved + bytes <= this.limitBytes;
  }

  private admitWaiters(): void {
    for (const waiter of this.waiters) {
      if (!this.fits(waiter.bytes)) return;
      this.waiters.delete(waiter);
      this.reserved += waiter.bytes;
      waiter.state = 'admitted';
      // Not from inside whoever gave memory back: that one is in the middle of its own work.
      setImmediate(() => {
        if (waiter.state !== 'admitted') return;
        waiter.state = 'over';
        waiter.admit();
      });
    }
  }

  /** A buffer of at least `bytes`. */
  take(bytes: number): Buffer {
    const size = pooledSize(bytes);
    if (size === 0) return Buffer.allocUnsafeSlow(bytes);
    const buffer = this.free.get(size)?.pop();
    if (buffer === undefined) return Buffer.allocUnsafeSlow(size);
    this.pooled -= size;
    return buffer;
  }

  /** Nobody may look at the buffer any more. */
  give(buffer: Buffer): void {
    const size = buffer.length;
    if (size !== pooledSize(size) || this.pooled + size > maxPooledBytes) return;
    let list = this.free.get(size);
    if (list === undefined) {
      list = [];
      this.free.set(size, list);
    }
    list.push(buffer);
    this.pooled += size;
  }

  /** Lets go of half of the free buffers; called now and then, so that a quiet broker becomes small. */
  shrink(): void {
    for (const [size, list] of this.free) {
      const keep = list.length >> 1;
      this.pooled -= (list.length - keep) * size;
      list.length = keep;
    }
  }
}

/** The pool's size for a buffer of `bytes`, or 0 where it is not pooled. */
function pooledSize(bytes: number): number {
  if (bytes > largestPooledBytes || bytes < smallestPooledBytes / 2) return 0;
  return Math.max(smallestPooledBytes, 2 ** Math.ceil(Math.log2(bytes)));
}
