/**
 * A clock whose wall time does not leap ahead: for work that deletes what is old. A wrong clock is put right sooner or later; what was
 * deleted by it stays deleted. Time that jumps forward is believed only after it stayed that way for a day; until then it goes on
 * from where it was, at the pace of the monotonic clock. A jump back deletes nothing and is believed at once.
 *
 * There is nothing to compare with when the process starts: what the wall clock says then is believed.
 */
import type { Clock, Timer } from './clock.ts';
import type { Log } from './log.ts';

/** Wall time may run ahead of the monotonic clock by this much at once: corrections, short suspensions. */
export const jumpToleranceMs = 600_000;
/** Time after which a jump is believed. */
export const jumpHoldMs = 24 * 3_600_000;

export class GuardedClock implements Clock {
  private readonly clock: Clock;
  private readonly log: Log;
  private trustedMs: number;
  private atMonotonicMs: number;
  private heldSinceMs: number | undefined;

  constructor(clock: Clock, log: Log) {
    this.clock = clock;
    this.log = log;
    this.trustedMs = clock.nowMs();
    this.atMonotonicMs = clock.monotonicMs();
  }

  nowMs(): number {
    const wallMs = this.clock.nowMs();
    const monotonicMs = this.clock.monotonicMs();
    const expectedMs = this.trustedMs + (monotonicMs - this.atMonotonicMs);
    this.atMonotonicMs = monotonicMs;
    if (wallMs <= expectedMs + jumpToleranceMs) {
      this.heldSinceMs = undefined;
      this.trustedMs = wallMs;
      return wallMs;
    }
    if (this.heldSinceMs === undefined) {
      this.heldSinceMs = monotonicMs;
      this.log.warn(
        { jumpMs: Math.round(wallMs - expectedMs), holdMs: jumpHoldMs },
        'the clock jumped forward; nothing is deleted for its age by the new time before a day has passed',
      );
    } else if (monotonicMs - this.heldSinceMs >= jumpHoldMs) {
      this.heldSinceMs = undefined;
      this.trustedMs = wallMs;
      this.log.warn({ jumpMs: Math.round(wallMs - expectedMs) }, 'the new time of the clock is believed');
      return wallMs;
    }
    this.trustedMs = expectedMs;
    return expectedMs;
  }

  monotonicMs(): number {
    return this.clock.monotonicMs();
  }

  after(delayMs: number, action: () => void): Timer {
    return this.clock.after(delayMs, action);
  }
}
