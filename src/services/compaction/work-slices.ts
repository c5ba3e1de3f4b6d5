/** Cuts long work into slices, so that requests come between. Knows nothing of what the work is. */
import type { Clock } from '../../util/clock.ts';

/** How long one slice may take, and how many bytes it may look at. */
export const sliceMs = 4;
export const sliceBytes = 512 * 1024;

export class WorkSlices {
  private readonly clock: Clock;
  private startedMs: number;
  private bytes = 0;

  constructor(clock: Clock) {
    this.clock = clock;
    this.startedMs = clock.monotonicMs();
  }

  /** Counts work done; undefined where the slice may go on, else a promise to wait for. */
  spend(bytes: number): Promise<void> | undefined {
    this.bytes += bytes;
    if (this.bytes < sliceBytes && this.clock.monotonicMs() - this.startedMs < sliceMs) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.bytes = 0;
        this.startedMs = this.clock.monotonicMs();
        resolve();
      });
    });
  }
}
