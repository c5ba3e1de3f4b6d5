/**
 * Gives back the room of what timers speak of once it has fired or was cancelled: a hidden queue is trimmed up to its first
 * entry that a timer still waits for, and where few of those that follow are waited for the others are rewritten away. What waits is read from
 * the index each time, so nothing is kept a pending timer (what others than timers wait for is asked of them); a pass is made when the queues have grown by as much as
 * they held before.
 */
import type { QueueId, StorageEngine } from '../../../storage/engine.ts';
import type { Clock, Timer as ClockTimer } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import { countedAs } from './lateness.ts';
import type { TimerEngine } from './timer-engine.ts';
import { keyOf, type Timer, type TimerSource } from './timer-row.ts';

export interface HiddenTrimOptions {
  readonly engine: StorageEngine;
  readonly timers: TimerEngine;
  readonly clock: Clock;
  readonly log: Log;
  /** What is waited for and has no timer yet. What gets one is told to `timers.moving` before it stands in the index. */
  readonly others?: () => AsyncIterable<TimerSource>;
}

/** How often it is looked whether a pass is due. */
const checkIntervalMs = 30_000;
/** A pass at least so often, where anything lies there at all. */
const longestIntervalMs = 600_000;
/** Less than this is not worth a pass. */
const leastBytes = 8 * 1024 * 1024;
/** Rewritten where so little of it is waited for. */
const liveShareToRewrite = 0.4;
const timersAtOnce = 1024;

/** What waits in one queue, found by a pass. */
interface Waiting {
  readonly queue: QueueId;
  /** Entries from here on are newer than the pass. */
  readonly endOffset: number;
  offsets: number[];
}

export class HiddenTrim {
  private readonly options: HiddenTrimOptions;
  private readonly queues: QueueId[] = [];
  private readonly listeners: (() => void)[] = [];
  private alarm: ClockTimer | undefined;
  private pass: Promise<unknown> = Promise.resolve();
  private bytesAfterPass = 0;
  private passedAtMs = 0;
  private closed = false;
  /** As counted by the last pass, by kind; undefined before the first. */
  pendingByKind: ReadonlyMap<number, number> | undefined;
  /** The same by what the timers are counted for. */
  pendingBySubject: ReadonlyMap<string, number> = new Map();

  constructor(options: HiddenTrimOptions) {
    this.options = options;
  }

  /** Timers of these queues' entries are what is waited for. */
  watch(queues: readonly QueueId[]): void {
    this.queues.push(...queues);
  }

  start(): void {
    this.passedAtMs = this.options.clock.monotonicMs();
    this.arm();
  }

  async close(): Promise<void> {
    this.closed = true;
    this.alarm?.cancel();
    await this.pass;
  }

  private arm(): void {
    if (this.closed) return;
    this.alarm = this.options.clock.after(checkIntervalMs, () => {
      this.pass = this.runIfDue()
        .catch((error: unknown) => {
          // Tried again at the next check; an engine that cannot go on says so itself.
          if (!this.closed) this.options.log.warn({ error }, 'room of fired timers could not be given back');
        })
        .then(() => this.arm());
    });
  }

  private async runIfDue(): Promise<void> {
    const bytes = await this.hiddenBytes();
    if (bytes === 0 && this.pendingByKind === undefined) this.counted(new Map(), new Map());
    if (bytes === 0) return;
    const ageMs = this.options.clock.monotonicMs() - this.passedAtMs;
    const hasGrown = bytes >= Math.max(leastBytes, 2 * this.bytesAfterPass);
    if (!hasGrown && ageMs < longestIntervalMs && this.pendingByKind !== undefined) return;
    await this.runOnce();
  }

  /** One pass over all queues. Resolves with the number of bytes given back. */
  async runOnce(): Promise<number> {
    const { engine, timers } = this.options;
    const before = await this.hiddenBytes();
    const waiting = new Map<QueueId, Waiting>();
    for (const queue of this.queues) {
      const bounds = await engine.bounds(queue);
      if (bounds !== undefined)
        waiting.set(queue, { queue, endOffset: bounds.visibleEndOffset, offsets: [] });
    }
    const pending = new Map<number, number>();
    const bySubject = new Map<string, number>();
    const note = ({ source }: Pick<Timer, 'source'>) => {
      const found = waiting.get(source.queue);
      if (found !== undefined && source.offset < found.endOffset) found.offsets.push(source.offset);
    };
    // A timer that is moved to another time while the index is read could be missed in both places.
    const stop = timers.onAdded(note);
    try {
      // Before the timers, among which they may turn up meanwhile.
      for await (const source of this.options.others?.() ?? []) note({ source });
      let from: Buffer | undefined;
      for (;;) {
        const page = await timers.list(from, timersAtOnce);
        for (const timer of page) {
          note(timer);
          pending.set(timer.kind, (pending.get(timer.kind) ?? 0) + 1);
          const subject = timers.subjectOf(timer);
          if (subject !== undefined) {
            const name = countedAs(subject, bySubject);
            bySubject.set(name, (bySubject.get(name) ?? 0) + 1);
          }
        }
        if (page.length < timersAtOnce) break;
        from = Buffer.concat([keyOf(page.at(-1)!), Buffer.alloc(1)]);
        if (this.closed) return 0;
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      for (const found of waiting.values()) await this.giveBack(found);
    } finally {
      stop();
    }
    this.counted(pending, bySubject);
    this.passedAtMs = this.options.clock.monotonicMs();
    this.bytesAfterPass = await this.hiddenBytes();
    return before - this.bytesAfterPass;
  }

  /** Called after each pass. */
  onCounted(listener: () => void): void {
    this.listeners.push(listener);
  }

  private counted(pending: ReadonlyMap<number, number>, bySubject: ReadonlyMap<string, number>): void {
    this.pendingByKind = pending;
    this.pendingBySubject = bySubject;
    for (const listener of this.listeners) listener();
  }

  private async giveBack({ queue, endOffset, offsets }: Waiting): Promise<void> {
    const { engine } = this.options;
    const first = offsets.reduce((least, offset) => Math.min(least, offset), endOffset);
    const bounds = await engine.bounds(queue);
    if (bounds === undefined) return;
    if (first > bounds.startOffset) await engine.trim(queue, first);
    const live = new Set(offsets);
    if (live.size === 0 || this.closed) return;
    if ((await engine.sizeBytes(queue)) < leastBytes / this.queues.length) return;
    if (live.size > liveShareToRewrite * (endOffset - first)) return;
    // The offsets stay, so the timers go on speaking of the same entries.
    await engine.rewrite([
      {
        queue,
        untilOffset: endOffset,
        decide: (_payload, { baseOffset, count }) => {
          for (let at = 0; at < count; at++) if (live.has(baseOffset + at)) return 'keep';
          return 'drop';
        },
      },
    ]);
  }

  private async hiddenBytes(): Promise<number> {
    let bytes = 0;
    for (const queue of this.queues) bytes += await this.options.engine.sizeBytes(queue);
    return bytes;
  }
}
