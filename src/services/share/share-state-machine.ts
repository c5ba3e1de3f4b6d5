/**
 * The share partitions of one partition of __share_group_state: what its records make of them, and what may be asked of them. In
 * Kafka the leader of a partition hands records out and a share coordinator keeps the state; here one machine does both, so that a
 * delivery and what is known of it cannot disagree. Pure: runs on the coordinator runtime, and in tests without one.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type { ApiError } from '../api-error.ts';
import type { CoordinatorMachine, Effects, MachineTimers } from '../coordinator/coordinator-machine.ts';
import { Deadline } from '../coordinator/deadline.ts';
import { maxParkedRecords, type ParkedRecord, ParkedRecords } from './parked-records.ts';
import { acknowledgeTypes, type StateBatch } from './record-states.ts';
import { type ShareKey, type ShareRecord, shareKeyText } from './share-records.ts';
import type { ShareGroupSettings, ShareSettings } from './share-settings.ts';
import {
  type AcknowledgementBatch,
  type AcknowledgementPlan,
  type AcquiredRange,
  type AcquireTerms,
  type DeliveredRange,
  nobody,
  ShareWindow,
} from './share-window.ts';

export interface ShareStateMachineOptions {
  readonly timers: MachineTimers<ShareRecord>;
  readonly settings: ShareSettings;
  /** The broker's epoch, for the records. */
  readonly leaderEpoch: number;
  /** Something may be handed out of the share partition that could not be before. */
  readonly freed: (key: ShareKey) => void;
  /** Locks have ended of a share partition where that comes to more than what this machine writes: `expire` is to be called. */
  readonly lockEnded: (key: ShareKey) => void;
}

/** What else a command comes to, to be kept together with what it wrote (rows, alarms) or done after it (what is given up). */
export interface Aftermath {
  /** Rows of parked records; null deletes. */
  readonly rows: readonly { readonly offset: number; readonly row: ParkedRow | null }[];
  readonly givenUp: readonly GivenUp[];
}

export interface ParkedRow {
  readonly count: number;
  readonly dueMs: number;
  /** It is to be told when that time has come. */
  readonly hasAlarm: boolean;
}

/** The broker holds them until `finishGivenUp`. */
export interface GivenUp extends DeliveredRange {
  readonly reason: 'rejected' | 'exhausted';
}

class AftermathBuilder implements Aftermath {
  readonly rows: { offset: number; row: ParkedRow | null }[] = [];
  readonly givenUp: GivenUp[] = [];
}

/** What is known of a share partition without its records. */
export interface ShareSummary {
  readonly key: ShareKey;
  /** -1: not known before the first fetch. */
  readonly startOffset: number;
  readonly stateEpoch: number;
  readonly leaderEpoch: number;
  /** Records behind the start that are over. */
  readonly deliveryCompleteCount: number;
}

export class SharePartition {
  readonly key: ShareKey;
  stateEpoch = 0;
  snapshotEpoch = 0;
  leaderEpoch = 0;
  createMs = 0;
  /** Undefined before the first fetch says where to start. */
  window: ShareWindow | undefined;
  /** Undefined until the rows were read. */
  parked: ParkedRecords | undefined;
  /** Nothing is handed out before, by the monotonic clock: a record of a group that consumes in order was given back. */
  restsUntilMs = 0;
  readonly locks: Deadline<ShareRecord>;

  constructor(
    key: ShareKey,
    timers: MachineTimers<ShareRecord>,
    expire: (partition: SharePartition, effects: Effects<ShareRecord>) => void,
  ) {
    this.key = key;
    this.locks = new Deadline(timers, (effects) => expire(this, effects));
  }
}

const noStart = -1;

export class ShareStateMachine implements CoordinatorMachine<ShareRecord> {
  readonly #options: ShareStateMachineOptions;
  readonly #timers: MachineTimers<ShareRecord>;
  readonly #partitions = new Map<string, SharePartition>();

  constructor(options: ShareStateMachineOptions) {
    this.#options = options;
    this.#timers = options.timers;
  }

  // ----- what is kept

  replay(record: ShareRecord): void {
    const text = shareKeyText(record.key);
    switch (record.type) {
      case 'tombstone':
        this.#partitions.get(text)?.locks.cancel();
        this.#partitions.delete(text);
        return;
      case 'snapshot': {
        let partition = this.#partitions.get(text);
        if (partition === undefined) {
          partition = new SharePartition(record.key, this.#timers, (one, effects) =>
            this.#lockEnded(one, effects),
          );
          this.#partitions.set(text, partition);
        }
        partition.locks.cancel();
        partition.stateEpoch = record.stateEpoch;
        partition.snapshotEpoch = record.snapshotEpoch;
        partition.leaderEpoch = record.leaderEpoch;
        partition.createMs = record.createMs;
        partition.window = record.startOffset < 0 ? undefined : new ShareWindow(record.startOffset);
        partition.window?.apply(record.batches);
        partition.parked = undefined;
        return;
      }
      case 'update': {
        const partition = this.#partitions.get(text);
        if (partition === undefined) return;
        partition.leaderEpoch = record.leaderEpoch;
        if (record.startOffset < 0) return;
        partition.window ??= new ShareWindow(record.startOffset);
        partition.window.moveStart(record.startOffset);
        partition.window.apply(record.batches);
        return;
      }
    }
  }

  onLoaded(): void {}

  *snapshot(): Iterable<ShareRecord> {
    for (const partition of this.#partitions.values()) {
      yield this.#snapshotOf(partition, {
        snapshotEpoch: ++partition.snapshotEpoch,
        startOffset: partition.window?.startOffset ?? noStart,
        deliveryCompleteCount: partition.window?.deliveryComplete ?? 0,
        batches: partition.window?.saved() ?? [],
      });
    }
  }

  #snapshotOf(
    { key, stateEpoch, leaderEpoch, createMs }: SharePartition,
    state: {
      readonly snapshotEpoch: number;
      readonly startOffset: number;
      readonly deliveryCompleteCount: number;
      readonly batches: readonly StateBatch[];
    },
  ): ShareRecord {
    const writeMs = this.#timers.nowMs();
    return { type: 'snapshot', key, stateEpoch, leaderEpoch, createMs, writeMs, ...state };
  }

  /** What changes, with what became known meanwhile. */
  #write(
    partition: SharePartition,
    changes: readonly StateBatch[],
    effects: Effects<ShareRecord>,
    mustWrite = false,
  ): void {
    const window = partition.window!;
    const batches = [...window.unsaved(Number.POSITIVE_INFINITY), ...changes];
    if (batches.length === 0 && !mustWrite) return;
    effects.append({
      type: 'update',
      key: partition.key,
      snapshotEpoch: partition.snapshotEpoch,
      leaderEpoch: this.#options.leaderEpoch,
      startOffset: window.startOffset,
      deliveryCompleteCount: window.deliveryComplete,
      batches,
    });
  }

  // ----- what may be asked

  partition(key: ShareKey): SharePartition | undefined {
    return this.#partitions.get(shareKeyText(key));
  }

  partitions(): Iterable<SharePartition> {
    return this.#partitions.values();
  }

  /**
   * Makes the share partition, or makes it anew: nobody holds anything any more, and it starts there (-1: where the group's
   * share.auto.offset.reset says, at the first fetch).
   */
  reset(key: ShareKey, startOffset: number, effects: Effects<ShareRecord>): void {
    const present = this.partition(key);
    const nowMs = this.#timers.nowMs();
    effects.append({
      type: 'snapshot',
      key,
      snapshotEpoch: present === undefined ? 0 : present.snapshotEpoch + 1,
      stateEpoch: present === undefined ? 0 : present.stateEpoch + 1,
      leaderEpoch: this.#options.leaderEpoch,
      startOffset,
      deliveryCompleteCount: 0,
      createMs: present?.createMs ?? nowMs,
      writeMs: nowMs,
      batches: [],
    });
    this.#options.freed(key);
  }

  /** Fixes the start of a share partition that has none yet. */
  start(key: ShareKey, startOffset: number, effects: Effects<ShareRecord>): void {
    const partition = this.partition(key);
    if (partition !== undefined && partition.window !== undefined) return;
    if (partition === undefined) {
      this.reset(key, startOffset, effects);
      return;
    }
    effects.append({
      type: 'update',
      key,
      snapshotEpoch: partition.snapshotEpoch,
      leaderEpoch: this.#options.leaderEpoch,
      startOffset,
      deliveryCompleteCount: 0,
      batches: [],
    });
  }

  forget(key: ShareKey, effects: Effects<ShareRecord>): void {
    if (this.partition(key) === undefined) return;
    effects.append({ type: 'tombstone', key });
    this.#options.freed(key);
  }

  /** The log begins later now: what was before is over. */
  moveStart(key: ShareKey, startOffset: number, effects: Effects<ShareRecord>): void {
    const partition = this.partition(key);
    const window = partition?.window;
    if (partition === undefined || window === undefined || window.startOffset >= startOffset) return;
    effects.append({
      type: 'update',
      key,
      snapshotEpoch: partition.snapshotEpoch,
      leaderEpoch: this.#options.leaderEpoch,
      startOffset,
      deliveryCompleteCount: window.deliveryComplete,
      batches: [],
    });
    this.#lockTimer(partition);
  }

  /** Whether something may be handed out now, and where a read should begin. Undefined where the share partition is not ready. */
  place(key: ShareKey): SharePlace | undefined {
    const partition = this.partition(key);
    if (partition === undefined) return undefined;
    const { window, parked } = partition;
    if (window === undefined || parked === undefined) return undefined;
    const { order } = this.#options.settings.of(key.groupId);
    const isResting =
      order !== undefined &&
      (window.isHeld || parked.isHeld || partition.restsUntilMs > this.#timers.monotonicMs());
    return {
      startOffset: window.startOffset,
      nextOffset: window.nextFetchOffset,
      canAcquire: !isResting && window.canAcquire(this.#maxInFlight(partition)),
      parked: isResting ? [] : parked.ready(this.#timers.nowMs(), parkedAtOnce),
    };
  }

  /** Parked records beyond their limit hold back what is new. */
  #maxInFlight({ key, parked }: SharePartition): number {
    if (parked !== undefined && parked.size >= maxParkedRecords) return 0;
    return this.#options.settings.of(key.groupId).maxInFlight;
  }

  /** Hands records out. Only what is over at once (gaps at the start) is written. */
  acquire(
    key: ShareKey,
    terms: Omit<AcquireTerms, 'lockDueMs' | 'maxInFlight' | 'maxDeliveries'>,
    effects: Effects<ShareRecord>,
  ): readonly AcquiredRange[] {
    const partition = this.partition(key);
    const window = partition?.window;
    if (partition === undefined || window === undefined) return [];
    if (this.place(key)?.canAcquire !== true) return [];
    const { lockMs, maxDeliveries } = this.#options.settings.of(key.groupId);
    const lockDueMs = this.#timers.monotonicMs() + lockMs;
    const maxInFlight = this.#maxInFlight(partition);
    const ranges = window.acquire({ ...terms, lockDueMs, maxInFlight, maxDeliveries });
    if (ranges.length > 0) this.#lockTimer(partition);
    const first = window.ranges()[0];
    if (first !== undefined && first.state === 'archived') this.#write(partition, [], effects);
    return ranges;
  }

  /** Hands out parked records that are due. */
  acquireParked(key: ShareKey, memberId: string, offsets: readonly number[]): readonly AcquiredRange[] {
    const partition = this.partition(key);
    if (partition?.parked === undefined) return [];
    const { lockMs } = this.#options.settings.of(key.groupId);
    const nowMs = this.#timers.nowMs();
    const ranges = partition.parked.acquire(offsets, memberId, nowMs, this.#timers.monotonicMs() + lockMs);
    if (ranges.length > 0) this.#lockTimer(partition);
    return ranges;
  }

  /** An error where one record is not the member's: then nothing is done. */
  acknowledge(
    key: ShareKey,
    memberId: string,
    batches: readonly AcknowledgementBatch[],
    effects: Effects<ShareRecord>,
  ): { readonly fault: ApiError } | { readonly aftermath: Aftermath } {
    const partition = this.partition(key);
    const window = partition?.window;
    if (partition === undefined || window === undefined) {
      return { fault: { code: errorCodes.UNKNOWN_TOPIC_OR_PARTITION, message: null } };
    }
    const settings = this.#options.settings.of(key.groupId);
    const { ofParked, ofWindow } = splitByPlace(partition.parked, batches);
    if (ofParked.some(({ holder }) => holder !== memberId)) {
      return {
        fault: { code: errorCodes.INVALID_RECORD_STATE, message: 'Member is not the owner of batch record' },
      };
    }
    const outcome = window.planAcknowledge(memberId, ofWindow, dispositionOf(settings, true));
    switch (outcome.outcome) {
      case 'invalid-state':
        return { fault: { code: errorCodes.INVALID_RECORD_STATE, message: outcome.message } };
      case 'invalid-request':
        return { fault: { code: errorCodes.INVALID_REQUEST, message: outcome.message } };
      case 'planned':
    }
    const lockDueMs = this.#timers.monotonicMs() + settings.lockMs;
    window.renew(memberId, outcome.plan.renewed, lockDueMs);
    const aftermath = new AftermathBuilder();
    for (const { offset, count, type } of ofParked) {
      switch (type) {
        case acknowledgeTypes.renew:
          partition.parked!.renew(offset, lockDueMs);
          break;
        case acknowledgeTypes.release:
          if (count >= settings.maxDeliveries)
            this.#giveUpParked(partition, offset, count, 'exhausted', aftermath);
          else this.#park(partition, offset, count, settings, aftermath);
          break;
        case acknowledgeTypes.reject:
          this.#giveUpParked(partition, offset, count, 'rejected', aftermath);
          break;
        default:
          unpark(partition, offset, aftermath);
      }
    }
    if (outcome.plan.released.length > 0 && settings.order !== undefined)
      this.#rest(partition, settings.order.suspendMs);
    this.#carryOut(partition, outcome.plan, settings, true, aftermath, effects);
    return { aftermath };
  }

  /** The member's session is over: what it holds is free again at once, or over. */
  release(key: ShareKey, memberId: string, effects: Effects<ShareRecord>): Aftermath {
    const partition = this.partition(key);
    if (partition?.window === undefined) return new AftermathBuilder();
    const settings = this.#options.settings.of(key.groupId);
    const disposition = { ...dispositionOf(settings, false), parks: false };
    const plan = partition.window.planRelease(memberId, disposition);
    const parked = partition.parked?.heldBy(memberId) ?? [];
    return this.#free(partition, plan, parked, false, settings, effects);
  }

  /** What was held longer than its lock is free again, or over. */
  expire(key: ShareKey, effects: Effects<ShareRecord>): Aftermath {
    const partition = this.partition(key);
    if (partition?.window === undefined) return new AftermathBuilder();
    const settings = this.#options.settings.of(key.groupId);
    // A timer of the machine's may come a fraction of a millisecond early.
    const nowMs = this.#timers.monotonicMs() + 1;
    const plan = partition.window.planExpiry(nowMs, dispositionOf(settings, false));
    const parked = partition.parked?.expired(nowMs) ?? [];
    return this.#free(partition, plan, parked, settings.backOff?.onTimeout === true, settings, effects);
  }

  #free(
    partition: SharePartition,
    plan: AcknowledgementPlan,
    parked: readonly ParkedRecord[],
    mayPark: boolean,
    settings: ShareGroupSettings,
    effects: Effects<ShareRecord>,
  ): Aftermath {
    const aftermath = new AftermathBuilder();
    for (const { offset, count, dueMs } of parked) {
      if (count >= settings.maxDeliveries)
        this.#giveUpParked(partition, offset, count, 'exhausted', aftermath);
      else if (mayPark) this.#park(partition, offset, count, settings, aftermath);
      else {
        partition.parked!.put(offset, count, dueMs);
        aftermath.rows.push({ offset, row: { count, dueMs, hasAlarm: false } });
      }
    }
    this.#carryOut(partition, plan, settings, mayPark, aftermath, effects);
    return aftermath;
  }

  /**
   * What the broker held back is written off. Answers what is still to be done, rows of parked records that go; undefined where nothing of
   * it is held any more.
   */
  finishGivenUp(
    key: ShareKey,
    ranges: readonly GivenUp[],
    effects: Effects<ShareRecord>,
  ): Aftermath | undefined {
    const aftermath = new AftermathBuilder();
    const partition = this.partition(key);
    if (partition?.window === undefined) return undefined;
    const { parked, window } = partition;
    for (const { firstOffset, lastOffset } of ranges) {
      for (const { offset, holder } of parked?.heldIn(firstOffset, lastOffset) ?? []) {
        if (holder === nobody) unpark(partition, offset, aftermath);
      }
    }
    const changes = window.heldBack(ranges).map((range): StateBatch => ({ ...range, state: 'archived' }));
    if (changes.length === 0 && aftermath.rows.length === 0) return undefined;
    this.#write(partition, changes, effects, true);
    this.#lockTimer(partition);
    this.#options.freed(key);
    return aftermath;
  }

  /** The rows were read: what is known of parked records. */
  parkedRead(
    key: ShareKey,
    rows: readonly { readonly offset: number; readonly count: number; readonly dueMs: number }[],
  ): void {
    const partition = this.partition(key);
    if (partition === undefined || partition.parked !== undefined) return;
    partition.parked = new ParkedRecords();
    for (const { offset, count, dueMs } of rows) partition.parked.put(offset, count, dueMs);
  }

  /** A parked record is not to be read any more. */
  dropParked(key: ShareKey, offset: number, effects: Effects<ShareRecord>): Aftermath {
    const aftermath = new AftermathBuilder();
    const partition = this.partition(key);
    if (partition?.window === undefined || partition.parked?.get(offset) === undefined) return aftermath;
    unpark(partition, offset, aftermath);
    this.#write(partition, [], effects, true);
    return aftermath;
  }

  /** Until then nothing of the partition is handed out. */
  #rest(partition: SharePartition, suspendMs: number): void {
    partition.restsUntilMs = this.#timers.monotonicMs() + suspendMs;
    this.#timers.after(suspendMs + 1, () => this.#options.freed(partition.key));
  }

  #park(
    partition: SharePartition,
    offset: number,
    count: number,
    { backOff }: ShareGroupSettings,
    aftermath: AftermathBuilder,
  ): void {
    const dueMs = this.#timers.nowMs() + (backOff?.delayMs(count) ?? 0);
    partition.parked ??= new ParkedRecords();
    partition.parked.put(offset, count, dueMs);
    aftermath.rows.push({ offset, row: { count, dueMs, hasAlarm: true } });
  }

  #giveUpParked(
    partition: SharePartition,
    offset: number,
    count: number,
    reason: GivenUp['reason'],
    aftermath: AftermathBuilder,
  ): void {
    if (!this.#options.settings.of(partition.key.groupId).hasDeadLetters) {
      unpark(partition, offset, aftermath);
      return;
    }
    partition.parked!.holdBack(offset, nobody);
    aftermath.givenUp.push({ firstOffset: offset, lastOffset: offset, deliveryCount: count, reason });
  }

  /** Of the group, or of all where it is undefined. */
  summaries(groupId: string | undefined): ShareSummary[] {
    const found: ShareSummary[] = [];
    for (const partition of this.#partitions.values()) {
      if (groupId === undefined || partition.key.groupId === groupId) found.push(summaryOf(partition));
    }
    return found;
  }

  summary(key: ShareKey): ShareSummary | undefined {
    const partition = this.partition(key);
    return partition === undefined ? undefined : summaryOf(partition);
  }

  #carryOut(
    partition: SharePartition,
    plan: AcknowledgementPlan,
    settings: ShareGroupSettings,
    mayPark: boolean,
    aftermath: AftermathBuilder,
    effects: Effects<ShareRecord>,
  ): void {
    if (settings.backOff !== undefined && mayPark && settings.order === undefined) {
      for (const { firstOffset, lastOffset, deliveryCount } of plan.released) {
        for (let offset = firstOffset; offset <= lastOffset; offset++) {
          this.#park(partition, offset, deliveryCount, settings, aftermath);
        }
      }
    }
    if (settings.hasDeadLetters) {
      partition.window!.holdBack([...plan.rejected, ...plan.exhausted]);
      for (const range of plan.rejected) aftermath.givenUp.push({ ...range, reason: 'rejected' });
      for (const range of plan.exhausted) aftermath.givenUp.push({ ...range, reason: 'exhausted' });
    }
    this.#write(partition, plan.changes, effects, aftermath.rows.length > 0);
    this.#lockTimer(partition);
    // Records are free again, or there is room for others.
    this.#options.freed(partition.key);
  }

  #lockEnded(partition: SharePartition, effects: Effects<ShareRecord>): void {
    const { hasDeadLetters, backOff } = this.#options.settings.of(partition.key.groupId);
    const isPlain = !hasDeadLetters && backOff === undefined && (partition.parked?.size ?? 0) === 0;
    if (isPlain) this.expire(partition.key, effects);
    else this.#options.lockEnded(partition.key);
  }

  #lockTimer(partition: SharePartition): void {
    const dueMs = Math.min(
      partition.window?.nextLockDueMs ?? Number.POSITIVE_INFINITY,
      partition.parked?.nextLockDueMs ?? Number.POSITIVE_INFINITY,
    );
    if (dueMs === Number.POSITIVE_INFINITY) partition.locks.cancel();
    else partition.locks.set(Math.max(0, dueMs - this.#timers.monotonicMs()));
  }
}

/** Where a share partition goes on. */
export interface SharePlace {
  readonly startOffset: number;
  readonly nextOffset: number;
  readonly canAcquire: boolean;
  /** Parked records that may be handed out now. */
  readonly parked: readonly number[];
}

/** Parked records handed out by one read: each may lie in a batch of its own. */
const parkedAtOnce = 32;

function dispositionOf(settings: ShareGroupSettings, isGivenBack: boolean) {
  const { backOff, order, maxDeliveries, hasDeadLetters } = settings;
  const waits = backOff !== undefined && (isGivenBack || backOff.onTimeout);
  return { maxDeliveries, parks: waits && order === undefined, keepsGivenUp: hasDeadLetters };
}

function unpark(partition: SharePartition, offset: number, aftermath: AftermathBuilder): void {
  partition.parked?.remove(offset);
  aftermath.rows.push({ offset, row: null });
}

interface ParkedAcknowledgement {
  readonly offset: number;
  readonly count: number;
  readonly holder: string | undefined;
  readonly type: number;
}

/** An acknowledgement may span records in the window and parked ones. */
function splitByPlace(
  parked: ParkedRecords | undefined,
  batches: readonly AcknowledgementBatch[],
): {
  readonly ofParked: readonly ParkedAcknowledgement[];
  readonly ofWindow: readonly AcknowledgementBatch[];
} {
  if (parked === undefined || parked.size === 0) return { ofParked: [], ofWindow: batches };
  const ofParked: ParkedAcknowledgement[] = [];
  const ofWindow: AcknowledgementBatch[] = [];
  for (const batch of batches) {
    const { firstOffset, lastOffset, types } = batch;
    const typesOf = (first: number, last: number) =>
      types.length === 1 ? types : types.slice(first - firstOffset, last - firstOffset + 1);
    let from = firstOffset;
    for (const { offset, count, holder } of parked.heldIn(firstOffset, lastOffset)) {
      if (offset > from)
        ofWindow.push({ firstOffset: from, lastOffset: offset - 1, types: typesOf(from, offset - 1) });
      ofParked.push({ offset, count, holder, type: typesOf(offset, offset)[0]! });
      from = offset + 1;
    }
    if (from <= lastOffset)
      ofWindow.push({ firstOffset: from, lastOffset, types: typesOf(from, lastOffset) });
  }
  return { ofParked, ofWindow };
}

function summaryOf({ key, stateEpoch, leaderEpoch, window }: SharePartition): ShareSummary {
  return {
    key,
    startOffset: window?.startOffset ?? noStart,
    stateEpoch,
    leaderEpoch,
    deliveryCompleteCount: window?.deliveryComplete ?? 0,
  };
}
