/** Spreads bytes of background work over time, so that the disk stays free for those who wait for it. */
import type { Clock, Timer } from '../../../util/clock.ts';

/** Work may be so far ahead of its rate before it waits: short passes never do. */
const slackMs = 100;

/** The engine is closing: what is under way is given up. */
export class CleaningStoppedError extends Error {
  override readonly name = 'CleaningStoppedError';
  constructor() {
    super('the storage engine is closing');
  }
}

export class Pacer {
  private readonly clock: Clock;
  private readonly bytesPerSecond: number;
  /** When what was spent so far is paid for. */
  private paidAtMs = 0;
  private isStopped = false;
  private timer: Timer | undefined;
  private wake: (() => void) | undefined;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.clock = clock;
    this.bytesPerSecond = bytesPerSecond;
  }

  /** Throws CleaningStoppedError once `stop` was called. */
  check(): void {
    if (this.isStopped) throw new CleaningStoppedError();
  }

  /** After so many bytes were read or written: waits until more may be. One at a time. */
  async spend(bytes: number): Promise<void> {
    this.check();
    const nowMs = this.clock.monotonicMs();
    this.paidAtMs = Math.max(this.paidAtMs, nowMs) + (bytes * 1000) / this.bytesPerSecond;
    const aheadMs = this.paidAtMs - nowMs;
    if (aheadMs < slackMs) return;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      this.timer = this.clock.after(aheadMs, resolve);
    });
    this.wake = undefined;
    this.check();
  }

  stop(): void {
    this.isStopped = true;
    this.timer?.cancel();
    this.wake?.();
  }
}
