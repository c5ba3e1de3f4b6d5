/**
 * Time as the broker sees it. Every part takes a Clock; only this folder touches the real one, so a test moves a virtual
 * clock by a day in a millisecond.
 */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall time, milliseconds since 1970. May jump. For what is stored and shown. */
  nowMs(): number;
  /** Milliseconds that only grow, from an arbitrary start. For sessions, waits and quotas. */
  monotonicMs(): number;
  /** Calls `action` once, `delayMs` of monotonic time from now (0 = as soon as possible, never before this call returns). */
  after(delayMs: number, action: () => void): Timer;
}

const longestTimeoutMs = 2 ** 31 - 1;

/** The machine's clock. Its timers do not keep the process alive. */
export class SystemClock implements Clock {
  nowMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  after(delayMs: number, action: () => void): Timer {
    if (delayMs > longestTimeoutMs) {
      let inner: Timer | undefined;
      const outer = setTimeout(() => {
        inner = this.after(delayMs - longestTimeoutMs, action);
      }, longestTimeoutMs);
      outer.unref();
      return {
        cancel: () => {
          clearTimeout(outer);
          inner?.cancel();
        },
      };
    }
    const handle = setTimeout(action, Math.max(0, delayMs));
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  }
}

interface PendingTimer {
  dueMs: number;
  order: number;
  action: () => void;
}

/** A clock that moves only when told to. Timers fire in due order, at their due time, inside `advance`. */
export class VirtualClock implements Clock {
  private wallMs: number;
  private monotonic = 0;
  private order = 0;
  private pending: PendingTimer[] = [];

  constructor(startMs = 1_700_000_000_000) {
    this.wallMs = startMs;
  }

  nowMs(): number {
    return this.wallMs;
  }

  monotonicMs(): number {
    return this.monotonic;
  }

  after(delayMs: number, action: () => void): Timer {
    const timer: PendingTimer = { dueMs: this.monotonic + Math.max(0, delayMs), order: this.order++, action };
    this.pending.push(timer);
    return {
      cancel: () => {
        this.pending = this.pending.filter((other) => other !== timer);
      },
    };
  }

  /** Moves time on, firing what falls due on the way; lets promise reactions run between timers. */
  async advance(byMs: number): Promise<void> {
    const targetMs = this.monotonic + byMs;
    for (;;) {
      await settle();
      const next = this.pending
        .filter((timer) => timer.dueMs <= targetMs)
        .sort((a, b) => a.dueMs - b.dueMs || a.order - b.order)[0];
      if (next === undefined) break;
      this.pending = this.pending.filter((other) => other !== next);
      this.wallMs += next.dueMs - this.monotonic;
      this.monotonic = next.dueMs;
      next.action();
    }
    this.wallMs += targetMs - this.monotonic;
    this.monotonic = targetMs;
    await settle();
  }

  /** Moves the wall clock alone, as an operator or NTP would. */
  jumpWall(byMs: number): void {
    this.wallMs += byMs;
  }

  get pendingTimers(): number {
    return this.pending.length;
  }
}

/** Lets everything that is already runnable run. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
