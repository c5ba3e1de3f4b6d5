/**
 * The share partitions of one partition of __share_group_state: what its records make of them, and what may be asked of them. In
 * Kafka the leader of a partition hands records out and a share coordinator keeps the state; here one machine does both, so that a
 * delivery and what is known of it cannot disagree. Pure: runs on the coordinator runtime, and in tests without one.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type { ApiError } from '../api-error.ts';
import type { CoordinatorMachine, Effects, MachineTimers } from '../coordinator/coordinator-machine.ts';
import { Deadline } from '../coordinator/deadline.ts';
import type { StateBatch } from './record-states.ts';
import { type ShareKey, type ShareRecord, shareKeyText } from './share-records.ts';
import type { ShareSettings } from './share-settings.ts';
import {
  type AcknowledgementBatch,
  type AcknowledgementPlan,
  type AcquiredRange,
  type AcquireTerms,
  ShareWindow,
} from './share-window.ts';

export interface ShareStateMachineOptions {
  readonly timers: MachineTimers<ShareRecord>;
  readonly settings: ShareSettings;
  /** The broker's epoch, for the records. */
  readonly leaderEpoch: number;
  /** Something may be handed out of the share partition that could not be before. */
  readonly freed: (key: ShareKey) => void;
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
            this.#expire(one, effects),
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
  #write(partition: SharePartition, changes: readonly StateBatch[], effects: Effects<ShareRecord>): void {
    const window = partition.window!;
    const batches = [...window.unsaved(Number.POSITIVE_INFINITY), ...changes];
    if (batches.length === 0) return;
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

  /** Hands records out. Only what is over at once (gaps at the start) is written. */
  acquire(
    key: ShareKey,
    terms: Omit<AcquireTerms, 'lockDueMs' | 'maxInFlight' | 'maxDeliveries'>,
    effects: Effects<ShareRecord>,
  ): readonly AcquiredRange[] {
    const partition = this.partition(key);
    const window = partition?.window;
    if (partition === undefined || window === undefined) return [];
    const { lockMs, maxInFlight, maxDeliveries } = this.#options.settings.of(key.groupId);
    const lockDueMs = this.#timers.monotonicMs() + lockMs;
    const ranges = window.acquire({ ...terms, lockDueMs, maxInFlight, maxDeliveries });
    if (ranges.length > 0) this.#lockTimer(partition);
    const first = window.ranges()[0];
    if (first !== undefined && first.state === 'archived') this.#write(partition, [], effects);
    return ranges;
  }

  /** Undefined where all is done; nothing is where one record is not the member's. */
  acknowledge(
    key: ShareKey,
    memberId: string,
    batches: readonly AcknowledgementBatch[],
    effects: Effects<ShareRecord>,
  ): ApiError | undefined {
    const partition = this.partition(key);
    const window = partition?.window;
    if (partition === undefined || window === undefined) {
      return { code: errorCodes.UNKNOWN_TOPIC_OR_PARTITION, message: null };
    }
    const { lockMs, maxDeliveries } = this.#options.settings.of(key.groupId);
    const outcome = window.planAcknowledge(memberId, batches, maxDeliveries);
    switch (outcome.outcome) {
      case 'invalid-state':
        return { code: errorCodes.INVALID_RECORD_STATE, message: outcome.message };
      case 'invalid-request':
        return { code: errorCodes.INVALID_REQUEST, message: outcome.message };
      case 'planned':
    }
    window.renew(memberId, outcome.plan.renewed, this.#timers.monotonicMs() + lockMs);
    this.#carryOut(partition, outcome.plan, effects);
    return undefined;
  }

  /** The member's session is over: what it holds is free again. */
  release(key: ShareKey, memberId: string): void {
    const partition = this.partition(key);
    if (partition?.window === undefined || !partition.window.release(memberId)) return;
    this.#lockTimer(partition);
    this.#options.freed(key);
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

  #carryOut(partition: SharePartition, plan: AcknowledgementPlan, effects: Effects<ShareRecord>): void {
    this.#write(partition, plan.changes, effects);
    this.#lockTimer(partition);
    // Records are free again, or there is room for others.
    if (plan.changes.length > 0) this.#options.freed(partition.key);
  }

  #expire(partition: SharePartition, effects: Effects<ShareRecord>): void {
    const { window } = partition;
    if (window === undefined) return;
    const { maxDeliveries } = this.#options.settings.of(partition.key.groupId);
    // A timer of the machine's may come a fraction of a millisecond early.
    const plan = window.planExpiry(this.#timers.monotonicMs() + 1, maxDeliveries);
    this.#carryOut(partition, plan, effects);
  }

  #lockTimer(partition: SharePartition): void {
    const dueMs = partition.window?.nextLockDueMs;
    if (dueMs === undefined) partition.locks.cancel();
    else partition.locks.set(Math.max(0, dueMs - this.#timers.monotonicMs()));
  }
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
