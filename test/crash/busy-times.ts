/**
 * When the disk was at work for the log of the broker under test, or the broker did not come to run at all on a busy machine: told by its
 * witness line by line (kill-points.ts), asked for how long it was neither before a power cut. Pure.
 *
 * Lines: `begin CALL NANOSECONDS`, `end CALL NANOSECONDS`, `tick NANOSECONDS`, by the machine's monotonic clock.
 */

/** Ticks are this far apart where the process runs as it wants. */
export const tickMs = 10;
/** A tick later than that means that it could not run meanwhile, on a machine with too much to do in many small pieces. */
const lateMs = 12;
const keptMs = 60_000;

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

export class BusyTimes {
  private spans: Span[] = [];
  private readonly flushes = new Map<string, number>();
  private lastTickMs: number | undefined;
  private readonly offsetMs: number;

  /** `offsetMs`: what the witness' clock is ahead of the one that is asked by. */
  constructor(offsetMs: number) {
    this.offsetMs = offsetMs;
  }

  take(line: string): void {
    const [what, first, second] = line.split(' ') as [string, string, string | undefined];
    const atMs = Number(second ?? first) / 1e6 - this.offsetMs;
    if (what === 'begin') this.flushes.set(first, atMs);
    else if (what === 'end') {
      const fromMs = this.flushes.get(first);
      this.flushes.delete(first);
      if (fromMs !== undefined) this.add(fromMs, atMs);
    } else if (what === 'tick') {
      const { lastTickMs } = this;
      if (lastTickMs !== undefined && atMs - lastTickMs > lateMs) this.add(lastTickMs + tickMs, atMs);
      this.lastTickMs = atMs;
    }
  }

  /** The latest moment from which to `untilMs` the broker could have begun a flush and had none under way, for `idleMs` together. */
  momentBefore(untilMs: number, idleMs: number): number {
    let leftMs = idleMs;
    let atMs = untilMs;
    for (const { fromMs, toMs } of this.merged(untilMs).reverse()) {
      const freeMs = atMs - Math.min(toMs, atMs);
      if (freeMs >= leftMs) return atMs - leftMs;
      leftMs -= freeMs;
      atMs = Math.min(atMs, fromMs);
    }
    return atMs - leftMs;
  }

  /** How long in that time it could have begun a flush and had none under way. */
  idleMs(fromMs: number, untilMs: number): number {
    let idleMs = untilMs - fromMs;
    for (const span of this.merged(untilMs)) {
      idleMs -= Math.max(0, Math.min(span.toMs, untilMs) - Math.max(span.fromMs, fromMs));
    }
    return idleMs;
  }

  private add(fromMs: number, toMs: number): void {
    this.spans.push({ fromMs, toMs });
    if (this.spans[0]!.toMs < toMs - keptMs) this.spans.shift();
  }

  /** Without overlaps, in order; with what had no end. */
  private merged(untilMs: number): Span[] {
    const all = [...this.spans];
    for (const fromMs of this.flushes.values()) all.push({ fromMs, toMs: untilMs });
    const { lastTickMs } = this;
    if (lastTickMs !== undefined && untilMs - lastTickMs > lateMs) {
      all.push({ fromMs: lastTickMs + tickMs, toMs: untilMs });
    }
    const merged: { fromMs: number; toMs: number }[] = [];
    for (const { fromMs, toMs } of all.sort((a, b) => a.fromMs - b.fromMs)) {
      const last = merged.at(-1);
      if (last !== undefined && fromMs <= last.toMs) last.toMs = Math.max(last.toMs, toMs);
      else merged.push({ fromMs, toMs });
    }
    return merged;
  }
}
