/**
 * A deadline that is moved far more often than it is met: moving it later costs a comparison, no timer. For sessions, which every
 * heartbeat prolongs.
 */
import type { Timer } from '../../util/clock.ts';
import type { MachineTimers, TimedCommand } from './coordinator-machine.ts';

export class Deadline<StateRecord> {
  readonly #timers: MachineTimers<StateRecord>;
  readonly #expire: TimedCommand<StateRecord>;
  #timer: Timer | undefined;
  #timerDueMs = 0;
  #deadlineMs = 0;

  constructor(timers: MachineTimers<StateRecord>, expire: TimedCommand<StateRecord>) {
    this.#timers = timers;
    this.#expire = expire;
  }

  /** `expire` will run in `delayMs`, unless the deadline is moved or cancelled before. */
  set(delayMs: number): void {
    this.#deadlineMs = this.#timers.monotonicMs() + delayMs;
    if (this.#timer !== undefined) {
      if (this.#timerDueMs <= this.#deadlineMs) return;
      this.#timer.cancel();
    }
    this.#arm(delayMs);
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(delayMs: number): void {
    this.#timerDueMs = this.#timers.monotonicMs() + delayMs;
    this.#timer = this.#timers.after(delayMs, (effects) => {
      this.#timer = undefined;
      const leftMs = this.#deadlineMs - this.#timers.monotonicMs();
      // A timer of the machine's may come a fraction of a millisecond early.
      if (leftMs >= 1) this.#arm(leftMs);
      else this.#expire(effects);
    });
  }
}
