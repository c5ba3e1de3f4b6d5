/**
 * The machine's clock, and a shift that grows: for development, where a day shall pass in a moment. Time goes on by itself between the
 * moves, and never back. Knows nothing of where the shift is kept.
 */
import type { Clock, Timer } from './clock.ts';

interface Pending {
  readonly dueMs: number;
  readonly action: () => void;
  real: Timer;
}

/** A move is made in so many strides, after each of which what fell due is done. */
const strides = 500;

export class MovableClock implements Clock {
  private readonly real: Clock;
  private shift: number;
  private readonly pending = new Set<Pending>();

  constructor(real: Clock, shiftMs: number) {
    this.real = real;
    this.shift = shiftMs;
  }

  /** How far ahead of the machine's clock this one is. */
  get shiftMs(): number {
    return this.shift;
  }

  nowMs(): number {
    return this.real.nowMs() + this.shift;
  }

  monotonicMs(): number {
    return this.real.monotonicMs() + this.shift;
  }

  after(delayMs: number, action: () => void): Timer {
    const timer: Pending = {
      dueMs: this.monotonicMs() + Math.max(0, delayMs),
      action,
      real: this.real.after(delayMs, () => this.fire(timer)),
    };
    this.pending.add(timer);
    return {
      cancel: () => {
        timer.real.cancel();
        this.pending.delete(timer);
      },
    };
  }

  /** Moves time on, doing in due order what falls due on the way; what is set on the way falls due too. */
  async advance(byMs: number): Promise<void> {
    const stride = Math.max(1, Math.ceil(byMs / strides));
    for (let left = byMs; left > 0; left -= stride) {
      this.shift += Math.min(stride, left);
      const nowMs = this.monotonicMs();
      const due = [...this.pending].filter((timer) => timer.dueMs <= nowMs).sort((a, b) => a.dueMs - b.dueMs);
      for (const timer of due) {
        timer.real.cancel();
        this.fire(timer);
      }
      for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    const nowMs = this.monotonicMs();
    for (const timer of this.pending) {
      timer.real.cancel();
      timer.real = this.real.after(Math.max(0, timer.dueMs - nowMs), () => this.fire(timer));
    }
  }

  private fire(timer: Pending): void {
    // Cancelled by one that fired before it.
    if (this.pending.delete(timer)) timer.action();
  }
}
