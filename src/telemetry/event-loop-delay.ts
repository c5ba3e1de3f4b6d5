/**
 * How long the event loop keeps waiting what is due: the whole broker runs on it, so a delay here is one in every answer. Measured from
 * the first scrape on. (The histogram of node:perf_hooks forgets, at each reset, the delay that follows upon it.)
 */
import type { Collector } from './metrics.ts';

const everyMs = 20;
const boundsSeconds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What a timer that is due every `everyMs` was late by, counted. Pure. */
export class LatenessOfTimer {
  readonly counts: number[] = Array.from({ length: boundsSeconds.length + 1 }, () => 0);
  sumSeconds = 0;
  longestSeconds = 0;
  private lastMs: number;
  private readonly everyMs: number;

  constructor(nowMs: number, every = everyMs) {
    this.lastMs = nowMs;
    this.everyMs = every;
  }

  tick(nowMs: number): void {
    const seconds = Math.max(0, nowMs - this.lastMs - this.everyMs) / 1000;
    this.lastMs = nowMs;
    const bucket = boundsSeconds.findIndex((bound) => seconds <= bound);
    this.counts[bucket < 0 ? boundsSeconds.length : bucket]!++;
    this.sumSeconds += seconds;
    this.longestSeconds = Math.max(this.longestSeconds, seconds);
  }
}

export function eventLoopDelayMetrics(): Collector {
  let lateness: LatenessOfTimer | undefined;
  return (writer) => {
    if (lateness === undefined) {
      const counted = new LatenessOfTimer(performance.now());
      setInterval(() => counted.tick(performance.now()), everyMs).unref();
      lateness = counted;
    }
    writer.histogram(
      'nodejs_eventloop_lag_seconds',
      'How long the event loop kept a timer waiting that was due',
      boundsSeconds,
      lateness.counts,
      lateness.sumSeconds,
    );
    writer.single(
      'nodejs_eventloop_lag_max_seconds',
      'gauge',
      'The longest of them since the last scrape',
      lateness.longestSeconds,
    );
    lateness.longestSeconds = 0;
  };
}
