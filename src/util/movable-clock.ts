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

/** What falls due at a time of day, and is done in steps of its own. */
export interface DueWork {
  /** When the next of it is due, by `nowMs`; undefined where nothing is. */
  readonly nextDueMs: number | undefined;
  /** Resolves when nothing that is due by now is left to do. */
  whenDone(): Promise<void>;
}

/** A move is made in so many strides, after each of which what fell due is done ... */
const strides = 500;
/** ... and stops so often at the moments at which work is due. */
const maxStops = 500;

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

  /**
   * Moves time on, doing in due order what falls due on the way; what is set on the way falls due too. `work` is done at its own
   * time, where that is not too often.
   */
  async advance(byMs: number, work?: DueWork): Promise<void> {
    const stride = Math.max(1, Math.ceil(byMs / strides));
    let stops = 0;
    for (let left = byMs; left > 0; ) {
      let step = Math.min(stride, left);
      const dueInMs = (work?.nextDueMs ?? Number.POSITIVE_INFINITY) - this.nowMs();
      if (dueInMs < step && stops < maxStops) {
        stops += 1;
        step = Math.max(1, Math.ceil(dueInMs));
      }
      left -= step;
      this.shift += step;
      this.fireDue();
      for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
      await work?.whenDone();
    }
    const nowMs = this.monotonicMs();
    for (const timer of this.pending) {
      timer.real.cancel();
      timer.real = this.real.after(Math.max(0, timer.dueMs - nowMs), () => this.fire(timer));
    }
  }

  private fireDue(): void {
    const nowMs = this.monotonicMs();
    const due = [...this.pending].filter((timer) => timer.dueMs <= nowMs).sort((a, b) => a.dueMs - b.dueMs);
    for (const timer of due) {
      timer.real.cancel();
      this.fire(timer);
    }
  }

  private fire(timer: Pending): void {
    // Cancelled by one that fired before it.
    if (this.pending.delete(timer)) timer.action();
  }
}
