/**
 * Rations what the cleaner may close the head for. Each close uses up a segment number of the head's, of which there are 1.8 million for
 * ever, and leaves a short segment behind; it brings everything that lies in the head within the cleaner's reach. So closes are
 * saved up, a few an hour, and where none is left a rewrite waits for the next or for the segment to fill: whoever asks for
 * little is served within an hour divided by their number, at the latest. Pure.
 */
import type { Clock } from '../../../util/clock.ts';

export interface HeadCloseLimits {
  /** Closes that are earned in an hour. */
  readonly headClosesPerHour: number;
  /** At most so many are saved; a start begins with all of them. */
  readonly savedHeadCloses: number;
}

const hourMs = 3_600_000;

export class HeadCloses {
  private readonly clock: Clock;
  /** Time that earns one; and that which is saved at most. */
  private readonly closeMs: number;
  private readonly mostMs: number;
  private savedMs: number;
  private countedAtMs: number;

  constructor(clock: Clock, { headClosesPerHour, savedHeadCloses }: HeadCloseLimits) {
    this.clock = clock;
    this.closeMs = hourMs / headClosesPerHour;
    this.mostMs = this.closeMs * savedHeadCloses;
    this.savedMs = this.mostMs;
    this.countedAtMs = clock.monotonicMs();
  }

  get isAnyLeft(): boolean {
    const nowMs = this.clock.monotonicMs();
    this.savedMs = Math.min(this.mostMs, this.savedMs + nowMs - this.countedAtMs);
    this.countedAtMs = nowMs;
    return this.savedMs >= this.closeMs;
  }

  /** False where none is left. */
  take(): boolean {
    if (!this.isAnyLeft) return false;
    this.savedMs -= this.closeMs;
    return true;
  }
}
