/**
 * One fetch from its first read to its answer: reads in rounds until there are enough bytes, something else to say, or no time
 * left. Between rounds it sleeps until a queue that it reads moves; a round reads only what may have news. A state machine over
 * the clock and the engine's watches; knows nothing of requests and topics.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type { QueueBounds, QueueId, StorageEngine } from '../../storage/engine.ts';
import type { Clock, Timer } from '../../util/clock.ts';
import type { FetchSession } from './fetch-session.ts';
import type { FetchTarget } from './fetch-target.ts';
import type { PartitionReader, ReadTerms } from './partition-reader.ts';
import type { EndableWait, WaitsByConnection } from './waits-by-connection.ts';

/** Wakes when there may be more to read of a queue. Returns how to stop. */
export type WatchQueue = (queue: QueueId, wake: () => void) => () => void;

export interface FetchLimits {
  readonly maxBytes: number;
  readonly minBytes: number;
  readonly maxWaitMs: number;
}

/** Where an operation's targets come from, and what is told of them. */
export interface FetchWork {
  /** What is to be read next. */
  take(): FetchTarget[];
  /** Before a target is read: what happens to its queue from here on must bring it back to `take`. */
  beforeRead(target: FetchTarget, queue: number): void;
  /** Whether targets that no bytes are left for are read for their offsets all the same. */
  readonly visitsAll: boolean;
  /** Targets of a round that were not read. */
  putBack(targets: readonly FetchTarget[]): void;
  /** The answer is made and there is more, or an error: the next fetch must look again. */
  stillNews(target: FetchTarget): void;
  /** The operation sleeps: `wake` is called when `take` has something. */
  sleep(wake: () => void): void;
  /** What the answer mentions, of what was read. */
  toTell(visited: readonly FetchTarget[]): readonly FetchTarget[];
  begin(operation: FetchOperation): void;
  /** The operation is over, its answer not yet made. */
  end(): void;
}

/** A request without a session: its partitions are its own, watched only while it sleeps. */
export class TargetsWork implements FetchWork {
  readonly visitsAll = true;
  private readonly engine: StorageEngine;
  private readonly watch: WatchQueue;
  private readonly stableOffset: ((queue: QueueId, visibleEndOffset: number) => number) | undefined;
  private readonly targets: readonly FetchTarget[];
  private next: FetchTarget[];
  private wake: (() => void) | undefined;
  private isWatching = false;

  /** `stableOffset`: where reads end, if not at the visible end. */
  constructor(
    engine: StorageEngine,
    watch: WatchQueue,
    targets: FetchTarget[],
    stableOffset?: (queue: QueueId, visibleEndOffset: number) => number,
  ) {
    this.engine = engine;
    this.watch = watch;
    this.stableOffset = stableOffset;
    this.targets = targets;
    this.next = targets;
  }

  take(): FetchTarget[] {
    const next = this.next;
    this.next = [];
    for (const target of next) target.isDirty = false;
    return next;
  }

  beforeRead(target: FetchTarget, queue: number): void {
    target.watchedQueue = queue;
  }

  putBack(): void {}

  stillNews(): void {}

  sleep(wake: () => void): void {
    this.wake = wake;
    if (this.isWatching) return;
    this.isWatching = true;
    for (const target of this.targets) {
      if (target.watchedQueue <= 0) continue;
      target.unwatch = this.watch(target.watchedQueue, () => this.news(target));
      // Between the read and now the queue may have moved, if the read had to wait.
      const bounds = this.engine.bounds(target.watchedQueue);
      if (bounds instanceof Promise || this.hasMoved(target, bounds)) this.news(target);
    }
  }

  private hasMoved(target: FetchTarget, bounds: QueueBounds | undefined): boolean {
    const { answer } = target;
    if (bounds === undefined || bounds.visibleEndOffset !== answer?.highWatermark) return true;
    const stable = this.stableOffset?.(target.watchedQueue, bounds.visibleEndOffset);
    return stable !== undefined && stable !== answer.lastStableOffset;
  }

  private news(target: FetchTarget): void {
    if (target.isDirty) return;
    target.isDirty = true;
    this.next.push(target);
    this.wake?.();
  }

  toTell(): readonly FetchTarget[] {
    return this.targets;
  }

  begin(): void {}

  end(): void {
    if (!this.isWatching) return;
    for (const target of this.targets) target.stopWatching();
  }
}

/** A session: its partitions are watched for as long as it lives. */
export class SessionWork implements FetchWork {
  readonly visitsAll: boolean;
  private readonly watch: WatchQueue;
  private readonly session: FetchSession;
  private settle: (() => void) | undefined;

  /** `isFull`: the session's first answer, which mentions every partition. */
  constructor(watch: WatchQueue, session: FetchSession, isFull: boolean) {
    this.watch = watch;
    this.session = session;
    this.visitsAll = isFull;
  }

  begin(operation: FetchOperation): void {
    this.session.busy = {
      supersede: () => operation.supersede(),
      over: new Promise((resolve) => {
        this.settle = resolve;
      }),
    };
  }

  take(): FetchTarget[] {
    return this.session.takeDirty();
  }

  beforeRead(target: FetchTarget, queue: number): void {
    target.isDirty = false;
    if (target.watchedQueue === queue) return;
    target.stopWatching();
    if (queue <= 0 || target.isForgotten) return;
    target.watchedQueue = queue;
    target.unwatch = this.watch(queue, () => this.session.markDirty(target));
  }

  putBack(targets: readonly FetchTarget[]): void {
    this.session.putBack(targets);
  }

  stillNews(target: FetchTarget): void {
    this.session.markDirty(target);
  }

  sleep(wake: () => void): void {
    this.session.onNews = wake;
    if (this.session.dirty.length > 0) wake();
  }

  toTell(visited: readonly FetchTarget[]): readonly FetchTarget[] {
    const told = this.visitsAll ? visited : visited.filter((target) => target.hasNews());
    for (const target of told) target.told();
    return told;
  }

  end(): void {
    this.session.onNews = undefined;
    this.session.busy = undefined;
    this.settle?.();
  }
}

export class FetchOperation implements EndableWait {
  /** The session's client sent another request: this one's answer is an error. */
  isSuperseded = false;
  private readonly clock: Clock;
  private readonly reader: PartitionReader;
  private readonly waits: WaitsByConnection;
  private readonly work: FetchWork;
  private readonly terms: ReadTerms;
  private readonly limits: FetchLimits;
  private readonly connection: { readonly closed: AbortSignal };
  private readonly visited: FetchTarget[] = [];
  /** The round that goes on, and what of it is not read yet: not to be lost where a read fails. */
  private unread: readonly FetchTarget[] = [];
  private unreadFrom = 0;
  private totalBytes = 0;
  /** Something that does not wait for bytes. */
  private mustAnswer = false;
  private timer: Timer | undefined;
  private isSleeping = false;
  private isWakeQueued = false;
  private resolve: ((targets: readonly FetchTarget[]) => void) | undefined;
  private reject: ((error: unknown) => void) | undefined;

  constructor(
    clock: Clock,
    reader: PartitionReader,
    waits: WaitsByConnection,
    work: FetchWork,
    terms: ReadTerms,
    limits: FetchLimits,
    connection: { readonly closed: AbortSignal },
  ) {
    this.clock = clock;
    this.reader = reader;
    this.waits = waits;
    this.work = work;
    this.terms = terms;
    this.limits = limits;
    this.connection = connection;
  }

  /** The partitions that the answer mentions, each with its answer. To be called once. */
  run(): readonly FetchTarget[] | Promise<readonly FetchTarget[]> {
    this.work.begin(this);
    const targets = this.work.take();
    // Nothing to read, nothing to wait for.
    if (targets.length === 0 && this.work.visitsAll) return this.finish();
    let reading: void | Promise<void>;
    try {
      reading = this.round(targets);
      if (reading === undefined && this.isDone()) return this.finish();
    } catch (error) {
      this.abandon();
      throw error;
    }
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      if (reading === undefined) this.sleep();
      else this.proceed(reading);
    });
  }

  supersede(): void {
    this.isSuperseded = true;
    this.endNow();
  }

  /** No more waiting: whatever there is, is the answer. */
  endNow(): void {
    this.mustAnswer = true;
    if (this.isSleeping) this.wakeSoon();
  }

  private isDone(): boolean {
    return this.mustAnswer || this.limits.maxWaitMs <= 0 || this.totalBytes >= this.limits.minBytes;
  }

  /** Reads the targets given, one after the other, as far as the bytes go. */
  private round(targets: FetchTarget[], from = 0): void | Promise<void> {
    for (let at = from; at < targets.length; at++) {
      const target = targets[at]!;
      if (target.isForgotten) continue;
      const otherBytes = this.totalBytes - target.sizeBytes * Number(target.isVisited);
      const left = this.limits.maxBytes - otherBytes;
      if (left <= 0 && otherBytes > 0 && !this.work.visitsAll) {
        this.work.putBack(targets.slice(at));
        this.mustAnswer = true;
        return;
      }
      this.unread = targets;
      this.unreadFrom = at + 1;
      const reading = this.readOne(target, otherBytes, left);
      if (reading !== undefined) {
        return reading.then(() => {
          this.count(target, otherBytes);
          return this.round(targets, at + 1);
        });
      }
      this.count(target, otherBytes);
    }
  }

  private readOne(target: FetchTarget, otherBytes: number, left: number): void | Promise<void> {
    target.giveBack();
    if (!target.isVisited) {
      target.isVisited = true;
      this.visited.push(target);
    }
    const queue = this.reader.find(target, this.terms.version);
    this.work.beforeRead(target, queue);
    return this.reader.read(target, queue, this.terms, Math.min(target.maxBytes, left), otherBytes === 0);
  }

  private count(target: FetchTarget, otherBytes: number): void {
    this.totalBytes = otherBytes + target.sizeBytes;
    const answer = target.answer!;
    if (answer.errorCode !== errorCodes.NONE || answer.divergingEpoch !== undefined) this.mustAnswer = true;
  }

  private proceed(reading: Promise<void>): void {
    reading.then(
      () => (this.isDone() ? this.conclude() : this.sleep()),
      (error: unknown) => this.break(error),
    );
  }

  private sleep(): void {
    this.isSleeping = true;
    if (this.timer === undefined) {
      this.timer = this.clock.after(this.limits.maxWaitMs, () => this.endNow());
      if (!this.waits.add(this.connection.closed, this)) this.endNow();
    }
    // Bytes that do not suffice are let go, and read again when there are enough.
    if (this.totalBytes > 0) for (const target of this.visited) target.giveBack();
    this.work.sleep(() => this.wakeSoon());
  }

  /** Many queues move at once: one round for all of them. */
  private wakeSoon(): void {
    if (this.isWakeQueued || !this.isSleeping) return;
    this.isWakeQueued = true;
    queueMicrotask(() => {
      this.isWakeQueued = false;
      this.isSleeping = false;
      try {
        const reading = this.round(this.work.take());
        if (reading !== undefined) this.proceed(reading);
        else if (this.isDone()) this.conclude();
        else this.sleep();
      } catch (error) {
        this.break(error);
      }
    });
  }

  /** Reads again what was let go, then answers. */
  private conclude(): void {
    try {
      const released = this.visited.filter(
        (target) => target.sizeBytes > 0 && target.release === undefined && !target.isForgotten,
      );
      const reading = released.length === 0 || this.isSuperseded ? undefined : this.readAgain(released);
      if (reading === undefined) this.resolve!(this.finish());
      else
        reading.then(
          () => this.resolve!(this.finish()),
          (error: unknown) => this.break(error),
        );
    } catch (error) {
      this.break(error);
    }
  }

  private readAgain(targets: FetchTarget[], from = 0): void | Promise<void> {
    for (let at = from; at < targets.length; at++) {
      const target = targets[at]!;
      const otherBytes = this.totalBytes - target.sizeBytes;
      const reading = this.readOne(target, otherBytes, this.limits.maxBytes - otherBytes);
      if (reading !== undefined) {
        return reading.then(() => {
          this.count(target, otherBytes);
          return this.readAgain(targets, at + 1);
        });
      }
      this.count(target, otherBytes);
    }
  }

  private finish(): readonly FetchTarget[] {
    this.stop();
    const told = this.work.toTell(this.visited);
    this.letGo();
    return told;
  }

  private break(error: unknown): void {
    this.abandon();
    this.reject!(error);
  }

  private abandon(): void {
    this.stop();
    this.work.putBack(this.unread.slice(this.unreadFrom));
    for (const target of this.visited) {
      target.giveBack();
      target.isBehind = true;
    }
    this.letGo();
  }

  private letGo(): void {
    for (const target of this.visited) {
      target.isVisited = false;
      if (target.isBehind) this.work.stillNews(target);
    }
    this.work.end();
  }

  private stop(): void {
    this.isSleeping = false;
    if (this.timer === undefined) return;
    this.timer.cancel();
    this.waits.remove(this.connection.closed, this);
  }
}
