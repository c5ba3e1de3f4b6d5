/**
 * Fires what is due. A timer is a row of the ordered index, put by its feature in the same append group as what it speaks of; here
 * is read which rows are due next, and each kind's handler says what firing means: entries and changes that go into one
 * append group with the deletion of the row, under the condition that the row is still there. So a timer fires once, whatever
 * happens on the way, and never is anything of it kept in memory but the next few.
 *
 * Due times are wall-clock times, fixed when the timer is set. A clock that is set forward makes timers due, one that is set back
 * makes them wait; in neither case does one fire twice. Knows no feature.
 */
import type {
  AppendEntry,
  AppendResult,
  IndexChange,
  IndexCondition,
  StorageEngine,
} from '../../../storage/engine.ts';
import type { Clock, Timer as ClockTimer } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import { LatenessBySubject, LatenessHistogram } from './lateness.ts';
import { keyOf, readTimer, type Timer, timerDelete, timerHolds, timerIndex } from './timer-row.ts';
import { TimerWindow } from './timer-window.ts';

/** What firing one timer appends. */
export interface FirePlan {
  readonly entries: readonly AppendEntry[];
  /** Offsets in these refer to `entries` of this plan. */
  readonly changes?: readonly IndexChange[];
  /** Beside the timer's own. Where one does not hold, the handler is asked again, to look before it answers. */
  readonly conditions?: readonly IndexCondition[];
  /** Timers that `changes` put. */
  readonly scheduled?: readonly { readonly timer: Timer; readonly entry?: number }[];
  /** Rough bytes that the group takes for it. */
  readonly sizeBytes: number;
  /** What its lateness is counted for: a topic's name. */
  readonly subject?: string;
  /** Called once all this stands in the log; must not throw. */
  fired?(): void;
}

/** The timer comes to nothing; its row goes. The reason is counted. */
export interface Discard {
  readonly discard: string;
}

export interface TimerHandler {
  /** For metrics. */
  readonly name: string;
  /**
   * One answer a timer, in order. `look`: an answer given without looking did not hold. May reject: tried again later. A handler whose
   * plans are large may answer for the first timers only, one at least: it is asked for the others when those have fired.
   */
  prepare(timers: readonly Timer[], look: boolean): Promise<readonly (FirePlan | Discard)[]>;
  /** What a waiting timer is counted for, as in its plan. */
  subjectOf?(timer: Timer): string | undefined;
}

export interface TimerEngineSettings {
  /** Timers kept in memory: the next to be due. About twice as many at most. */
  readonly maxLoaded: number;
  /** Timers fired in one append group, and the bytes of it: what is put together in one go, while requests wait. */
  readonly maxGroupTimers: number;
  readonly maxGroupBytes: number;
  /** Groups on their way to the disk at a time. */
  readonly maxGroupsInFlight: number;
  /** While groups are on their way others gather for so long, so that they are fewer. */
  readonly lingerMs: number;
  /** How long a jump of the wall clock may go unnoticed. */
  readonly clockCheckMs: number;
  /** How long to wait after the engine refused or could not read. */
  readonly retryMs: number;
}

export const defaultTimerSettings: TimerEngineSettings = {
  maxLoaded: 8192,
  maxGroupTimers: 256,
  maxGroupBytes: 1024 * 1024,
  maxGroupsInFlight: 16,
  lingerMs: 10,
  clockCheckMs: 500,
  retryMs: 500,
};

export interface TimerEngineOptions {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings?: Partial<TimerEngineSettings>;
}

export type FireOutcome = 'fired' | 'gone' | 'later';

const rowsAtOnce = 1024;
/** Groups are fixed in the order in which they were made: timers fire in due order. */
const firingSequence = 'timers';
/** How often a group is put together anew because rows changed under it, before its timers are fired one by one. */
const maxAttempts = 3;

export class TimerEngine {
  private readonly engine: StorageEngine;
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly settings: TimerEngineSettings;
  private readonly handlers = new Map<number, TimerHandler>();
  private readonly window: TimerWindow;
  private readonly reading: Pick<ReturnType<StorageEngine['index']>, 'range' | 'get'>;
  private alarm: ClockTimer | undefined;
  private running: Promise<void> | undefined;
  private wakeAgain = false;
  private readonly inFlight = new Set<Promise<void>>();
  /** By the monotonic clock: the engine refused or could not read, and is left in peace until then. */
  private notBeforeMs = Number.NEGATIVE_INFINITY;
  private started = false;
  private closed = false;
  private faultLogged = false;
  private readonly addedListeners = new Set<(timer: Timer) => void>();
  readonly lateness = new LatenessHistogram();
  readonly latenessBySubject = new LatenessBySubject();
  /** By kind. */
  readonly fired = new Map<number, number>();
  readonly discarded = new Map<string, number>();

  constructor(options: TimerEngineOptions) {
    this.engine = options.engine;
    this.clock = options.clock;
    this.log = options.log;
    this.settings = { ...defaultTimerSettings, ...options.settings };
    this.window = new TimerWindow(this.settings.maxLoaded);
    this.reading = options.engine.index(timerIndex);
  }

  /** Before `start`. Rows of a kind without handler stay where they are. */
  register(kind: number, handler: TimerHandler): void {
    this.handlers.set(kind, handler);
  }

  /** What a waiting timer is counted for in metrics; undefined where its kind has nothing to tell. */
  subjectOf(timer: Timer): string | undefined {
    return this.handlers.get(timer.kind)?.subjectOf?.(timer);
  }

  handlerName(kind: number): string {
    return this.handlers.get(kind)?.name ?? String(kind);
  }

  /** What is in memory now: for metrics. */
  get loaded(): number {
    return this.window.size;
  }

  /** When the next is due; undefined where none waits. */
  get nextDueMs(): number | undefined {
    return this.window.nextDueMs;
  }

  /** From now on timers fire, those first whose time has passed already. */
  start(): void {
    this.started = true;
    this.wake();
  }

  /** Nothing fires any more; resolves when nothing is under way. */
  async close(): Promise<void> {
    this.closed = true;
    this.alarm?.cancel();
    await this.settled();
  }

  /** Resolves when nothing that is due by now is left to fire (or the engine does not let it). */
  async whenIdle(): Promise<void> {
    await this.settled();
    if ((this.window.nextDueMs ?? Number.POSITIVE_INFINITY) > this.clock.nowMs()) return;
    this.wake();
    await this.settled();
  }

  private async settled(): Promise<void> {
    while (this.running !== undefined || this.inFlight.size > 0) {
      await this.running;
      await Promise.all(this.inFlight);
    }
  }

  /** The timer's row is in the engine now. */
  added(timer: Timer): void {
    for (const listener of this.addedListeners) listener(timer);
    if (this.window.add(keyOf(timer), timer)) this.wake();
  }

  /** The timer's row was deleted by its feature. */
  removed(timer: Timer): void {
    this.window.remove(keyOf(timer));
  }

  /** Before a group is appended that moves a timer to another time, under the same source. */
  moving(timer: Timer): void {
    for (const listener of this.addedListeners) listener(timer);
  }

  /** Told of every timer that is added or moved, until the function answered is called. */
  onAdded(listener: (timer: Timer) => void): () => void {
    this.addedListeners.add(listener);
    return () => void this.addedListeners.delete(listener);
  }

  /** The timer as it stands in the index; undefined where it does not. */
  async find(key: Buffer): Promise<Timer | undefined> {
    const payload = await this.reading.get(key);
    return payload === undefined ? undefined : readTimer(key, payload);
  }

  /** Timers in due order, from a key on. */
  async list(from: Buffer | undefined, limit: number): Promise<readonly Timer[]> {
    const rows = await this.reading.range({ ...(from === undefined ? {} : { from }), limit });
    return rows.map(({ key, value }) => readTimer(key, value));
  }

  private wake(): void {
    if (!this.started || this.closed) return;
    if (this.running !== undefined) {
      this.wakeAgain = true;
      return;
    }
    this.alarm?.cancel();
    this.alarm = undefined;
    this.running = this.run().then(() => {
      this.running = undefined;
      if (this.wakeAgain) {
        this.wakeAgain = false;
        this.wake();
      }
    });
  }

  private async run(): Promise<void> {
    try {
      while (!this.closed && this.clock.monotonicMs() >= this.notBeforeMs) {
        while (this.window.needsMore) await this.loadPage();
        const nowMs = this.clock.nowMs();
        if (nowMs < this.nextGroupMs()) break;
        const due = this.window.takeDue(nowMs, this.settings.maxGroupTimers);
        if (due.length === 0) break;
        await this.fire(due);
        // Requests go on between the groups of a long run.
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      this.tellFault(error);
      this.holdOff();
    }
    this.arm();
  }

  /** When the next group is to be made: what is due may gather while others are on their way. */
  private nextGroupMs(): number {
    const dueMs = this.window.nextDueMs;
    if (dueMs === undefined) return Number.POSITIVE_INFINITY;
    return this.inFlight.size === 0 ? dueMs : dueMs + this.settings.lingerMs;
  }

  private holdOff(): void {
    this.notBeforeMs = this.clock.monotonicMs() + this.settings.retryMs;
  }

  private arm(): void {
    if (this.closed) return;
    const heldMs = this.notBeforeMs - this.clock.monotonicMs();
    const nextMs = this.nextGroupMs();
    if (heldMs <= 0 && nextMs === Number.POSITIVE_INFINITY) return;
    const waitMs = heldMs > 0 ? heldMs : Math.max(0, nextMs - this.clock.nowMs());
    this.alarm = this.clock.after(Math.min(waitMs, this.settings.clockCheckMs), () => {
      this.alarm = undefined;
      // A look at the clock costs nothing; only what is due starts anything.
      if (heldMs <= 0 && this.nextGroupMs() > this.clock.nowMs()) this.arm();
      else this.wake();
    });
  }

  private async loadPage(): Promise<void> {
    const from = this.window.beginPage();
    try {
      const rows = await this.reading.range({ from, limit: rowsAtOnce });
      this.window.endPage(
        rows.map(({ key, value }) => ({ key, timer: readTimer(key, value) })),
        rows.length < rowsAtOnce,
      );
    } catch (error) {
      this.window.abandonPage();
      throw error;
    }
  }

  /** Sends these on their way; resolves when there is room for more. What must be tried again stands in the window then. */
  private async fire(due: readonly Timer[]): Promise<void> {
    const left = new Set(due);
    const putBack = (timers: Iterable<Timer>) => {
      for (const timer of timers) {
        left.delete(timer);
        this.window.add(keyOf(timer), timer);
      }
      this.holdOff();
    };
    try {
      const planned: PlannedTimer[] = [];
      let isShort = false;
      for (const [kind, ofKind] of byKind(due)) {
        const handler = this.handlers.get(kind);
        if (handler === undefined) continue;
        const plans = await handler.prepare(ofKind, false);
        for (const [at, timer] of ofKind.entries()) {
          const plan = plans[at];
          if (plan !== undefined) planned.push({ timer, plan });
          else {
            isShort = true;
            this.window.add(keyOf(timer), timer);
          }
        }
      }
      planned.sort((a, b) => a.timer.dueMs - b.timer.dueMs);
      for (let from = 0; from < planned.length; ) {
        const group = planned.slice(from, this.endOfGroup(planned, from));
        while (this.inFlight.size >= this.settings.maxGroupsInFlight) await Promise.race(this.inFlight);
        const room = this.engine.appendRoom();
        if (room !== undefined) await room;
        for (const { timer } of group) left.delete(timer);
        this.send(group, putBack);
        from += group.length;
      }
      // A handler that holds much for its answer is asked for more when that is let go.
      if (isShort) await Promise.all(this.inFlight);
    } catch (error) {
      this.tellFault(error);
      putBack(left);
    }
  }

  private endOfGroup(planned: readonly PlannedTimer[], from: number): number {
    let bytes = sizeOf(planned[from]!.plan);
    let to = from + 1;
    while (to < planned.length) {
      bytes += sizeOf(planned[to]!.plan);
      if (bytes > this.settings.maxGroupBytes) break;
      to += 1;
    }
    return to;
  }

  private send(group: readonly PlannedTimer[], putBack: (timers: Iterable<Timer>) => void): void {
    const left = new Set(group.map(({ timer }) => timer));
    const later: Timer[] = [];
    const landed = this.fireGroup(group, 0, (timer, outcome) => {
      left.delete(timer);
      if (outcome === 'later') later.push(timer);
    })
      .catch((error: unknown) => {
        this.tellFault(error);
        later.push(...left);
      })
      .then(() => {
        this.inFlight.delete(landed);
        if (later.length > 0) putBack(later);
        else this.faultLogged = false;
        this.wake();
      });
    this.inFlight.add(landed);
  }

  private async fireGroup(
    planned: readonly PlannedTimer[],
    attempt: number,
    told: (timer: Timer, outcome: FireOutcome) => void,
  ): Promise<void> {
    if (planned.length === 0) return;
    const { entries, changes, conditions, owners } = groupOf(planned);
    for (const { plan } of planned) {
      if ('discard' in plan) continue;
      for (const { timer, entry } of plan.scheduled ?? []) if (entry === undefined) this.moving(timer);
    }
    const results = await this.engine.append({
      durability: 'sync',
      entries,
      changes,
      conditions,
      sequence: firingSequence,
    });
    if (results.every((result) => result.outcome === 'appended')) {
      const nowMs = this.clock.nowMs();
      let first = 0;
      for (const { timer, plan } of planned) {
        if ('discard' in plan) count(this.discarded, plan.discard);
        else {
          count(this.fired, timer.kind);
          this.lateness.observe(nowMs - timer.dueMs);
          if (plan.subject !== undefined) this.latenessBySubject.observe(plan.subject, nowMs - timer.dueMs);
          plan.fired?.();
          for (const { timer: next, entry } of plan.scheduled ?? []) {
            this.added(entry === undefined ? next : withOffset(next, results[first + entry]!));
          }
          first += plan.entries.length;
        }
        this.removed(timer);
        told(timer, 'fired');
      }
      return;
    }
    const verdicts = this.verdictsOf(results, owners, planned.length);
    if (verdicts === 'later') {
      for (const { timer } of planned) told(timer, 'later');
      return;
    }
    if (attempt >= maxAttempts && planned.length > 1) {
      for (const one of planned) await this.fireGroup([one], 0, told);
      return;
    }
    if (attempt > 2 * maxAttempts) {
      for (const { timer } of planned) told(timer, 'later');
      return;
    }
    if (verdicts.some((verdict) => verdict === 'link-source-missing')) {
      // What is written and not yet durable is not seen by readers, though its row is.
      await this.engine.whenDurable();
    }
    await this.fireGroup(await this.lookAgain(planned, verdicts, attempt, told), attempt + 1, told);
  }

  /** What speaks against each timer, or 'later' where it is the engine's own trouble. */
  private verdictsOf(
    results: readonly AppendResult[],
    owners: readonly number[],
    count: number,
  ): readonly (string | undefined)[] | 'later' {
    const verdicts = new Array<string | undefined>(count);
    for (const [at, result] of results.entries()) {
      if (result.outcome === 'unknown') return 'later';
      if (result.outcome !== 'refused') continue;
      const { reason } = result;
      if (reason === 'unknown-queue' || reason === 'link-source-missing') verdicts[owners[at]!] = reason;
      else if (reason !== 'condition-failed') return 'later';
    }
    return verdicts;
  }

  /** Reads the rows again and asks the handlers to look, where the group did not hold. */
  private async lookAgain(
    planned: readonly PlannedTimer[],
    verdicts: readonly (string | undefined)[],
    attempt: number,
    told: (timer: Timer, outcome: FireOutcome) => void,
  ): Promise<readonly PlannedTimer[]> {
    const left: PlannedTimer[] = [];
    for (const [at, { timer, plan }] of planned.entries()) {
      const payload = await this.reading.get(keyOf(timer));
      if (payload === undefined || !payload.equals(timer.payload)) {
        this.window.remove(keyOf(timer));
        told(timer, 'gone');
        continue;
      }
      const verdict = verdicts[at];
      if (verdict === 'unknown-queue' || (verdict === 'link-source-missing' && attempt > 0)) {
        this.log.error(
          { kind: this.handlerName(timer.kind), source: timer.source, dueMs: timer.dueMs },
          verdict === 'unknown-queue'
            ? 'a timer is dropped: where it leads is gone'
            : 'a timer is dropped: what it speaks of cannot be read',
        );
        left.push({ timer, plan: { discard: verdict } });
        continue;
      }
      if ('discard' in plan) left.push({ timer, plan });
      else {
        const [again] = await this.handlers.get(timer.kind)!.prepare([timer], true);
        left.push({ timer, plan: again! });
      }
    }
    return left;
  }

  private tellFault(error: unknown): void {
    if (this.closed || this.faultLogged) return;
    this.faultLogged = true;
    this.log.warn({ error }, 'timers could not be fired; it is tried again');
  }
}

interface PlannedTimer {
  readonly timer: Timer;
  readonly plan: FirePlan | Discard;
}

function groupOf(planned: readonly PlannedTimer[]): {
  readonly entries: readonly AppendEntry[];
  readonly changes: readonly IndexChange[];
  readonly conditions: readonly IndexCondition[];
  /** Which of `planned` each entry belongs to. */
  readonly owners: readonly number[];
} {
  const entries: AppendEntry[] = [];
  const changes: IndexChange[] = [];
  const conditions: IndexCondition[] = [];
  const owners: number[] = [];
  for (const [at, { timer, plan }] of planned.entries()) {
    changes.push(timerDelete(timer));
    conditions.push(timerHolds(timer));
    if ('discard' in plan) continue;
    const first = entries.length;
    for (const entry of plan.entries) {
      entries.push(entry);
      owners.push(at);
    }
    for (const change of plan.changes ?? []) changes.push(movedBy(change, first));
    if (plan.conditions !== undefined) conditions.push(...plan.conditions);
  }
  return { entries, changes, conditions, owners };
}

/** The change in a group in which the plan's entries start at `first`. */
export function movedBy(change: IndexChange, first: number): IndexChange {
  if (change.offsets === undefined || first === 0) return change;
  return {
    ...change,
    offsets: change.offsets.map((offset) => ({ ...offset, entry: offset.entry + first })),
  };
}

/** The timer, whose source is the entry that got this result (`plus`: which of its offsets). */
export function withOffset(timer: Timer, result: AppendResult, plus = 0): Timer {
  if (result.outcome !== 'appended') return timer;
  return { ...timer, source: { queue: timer.source.queue, offset: result.baseOffset + plus } };
}

function byKind(timers: readonly Timer[]): Map<number, Timer[]> {
  const kinds = new Map<number, Timer[]>();
  for (const timer of timers) {
    const ofKind = kinds.get(timer.kind);
    if (ofKind === undefined) kinds.set(timer.kind, [timer]);
    else ofKind.push(timer);
  }
  return kinds;
}

function sizeOf(plan: FirePlan | Discard): number {
  return 'discard' in plan ? 0 : plan.sizeBytes;
}

function count<Key>(counters: Map<Key, number>, key: Key): void {
  counters.set(key, (counters.get(key) ?? 0) + 1);
}
