/**
 * One log line for each connection that is refused or closed by us, saying why; of a flood of the same kind only the first
 * few of each interval, and how many were left out. Knows nothing of sockets.
 */
import type { Clock } from '../util/clock.ts';
import type { Log, LogFields } from '../util/log.ts';

const linesPerInterval = 10;
const intervalMs = 10_000;

interface Kind {
  startMs: number;
  lines: number;
  leftOut: number;
}

export class Refusals {
  private readonly log: Log;
  private readonly clock: Clock;
  private readonly kinds = new Map<string, Kind>();

  constructor(log: Log, clock: Clock) {
    this.log = log;
    this.clock = clock;
  }

  /** How often each kind happened, for the metrics. */
  readonly counts = new Map<string, number>();

  /** `kind` is one of a small, fixed set of words: what is counted and limited together. */
  note(kind: string, fields: LogFields, message: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    const nowMs = this.clock.monotonicMs();
    let state = this.kinds.get(kind);
    if (state === undefined) {
      state = { startMs: nowMs, lines: 0, leftOut: 0 };
      this.kinds.set(kind, state);
    } else if (nowMs - state.startMs >= intervalMs) this.nextInterval(kind, state, nowMs);
    if (state.lines >= linesPerInterval) {
      state.leftOut += 1;
      return;
    }
    state.lines += 1;
    this.log.warn({ kind, ...fields }, message);
  }

  /** Says what was left out where the interval is over; called now and then. */
  sweep(): void {
    const nowMs = this.clock.monotonicMs();
    for (const [kind, state] of this.kinds) {
      if (nowMs - state.startMs >= intervalMs) this.nextInterval(kind, state, nowMs);
    }
  }

  private nextInterval(kind: string, state: Kind, nowMs: number): void {
    if (state.leftOut > 0) this.log.warn({ kind }, `${state.leftOut} more of the same kind were not shown`);
    state.startMs = nowMs;
    state.lines = 0;
    state.leftOut = 0;
  }
}
