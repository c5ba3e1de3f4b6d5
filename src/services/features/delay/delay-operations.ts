/**
 * Cancelling, moving and delivering now of delayed records by their message id, and the list of what waits. Every answer is true: what is
 * told to be cancelled is never delivered, since the timer's row goes under the condition that it is still there.
 *
 * A repeat of what was done already is done: cancelling a cancelled record is no error.
 */
import type { AppendEntry, IndexChange, IndexCondition, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Topic } from '../../topics/topic.ts';
import { movedBy, type TimerEngine } from '../timers/timer-engine.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import {
  firstKeyDueAt,
  keyOf,
  type Timer,
  timerDelete,
  timerHolds,
  timerKey,
  timerPut,
} from '../timers/timer-row.ts';
import type { DelayDelivery } from './delay-delivery.ts';
import { withinLimit } from './delay-headers.ts';
import { decodeDelayedBatch, encodeDelayedBatch } from './delay-row.ts';
import {
  delayOutcomes,
  idEnded,
  idHolds,
  idPut,
  messageIdIndex,
  messageIdKey,
  readMessageIdState,
} from './message-ids.ts';

export interface DelayOperation {
  readonly action: 'cancel' | 'reschedule' | 'deliver';
  readonly messageId: Buffer;
  /** For reschedule. */
  readonly dueMs?: number;
}

/** Done, or why not; `state` for those who tell it in a code of their own. */
export type OperationAnswer =
  | { readonly outcome: 'done' }
  | { readonly outcome: 'refused'; readonly state: RefusedState; readonly message: string }
  /** The engine could not; it may be tried again. */
  | { readonly outcome: 'failed' };

export type RefusedState = 'not-found' | 'already-delivered' | 'already-cancelled' | 'invalid';

export interface DelayedRecord {
  readonly topic: string;
  readonly partition: number;
  readonly dueMs: number;
  readonly storedMs: number;
  readonly recordCount: number;
  readonly sizeBytes: number;
  readonly messageId: Buffer | undefined;
}

export interface DelayedPage {
  readonly records: readonly DelayedRecord[];
  /** Where the next page starts; undefined where there is no more. A page may be short of its limit, or empty, and have one. */
  readonly next: string | undefined;
}

export interface DelayOperationsOptions {
  readonly engine: StorageEngine;
  readonly timers: TimerEngine;
  readonly clock: Clock;
  readonly delivery: DelayDelivery;
  readonly outcomeKeptMs: () => number;
}

/** Rows looked at for one page: a topic with few among the many of others is found in several pages. */
const maxRowsPerPage = 20_000;
const rowsAtOnce = 500;
/** How often rows may change between the look and the append before it is given up. */
const maxAttempts = 10;

interface PlannedOperation {
  readonly entries: readonly AppendEntry[];
  readonly changes: readonly IndexChange[];
  readonly conditions: readonly IndexCondition[];
  readonly gone: readonly Timer[];
  readonly put: readonly Timer[];
}

const nothingToDo: PlannedOperation = { entries: [], changes: [], conditions: [], gone: [], put: [] };

export class DelayOperations {
  private readonly options: DelayOperationsOptions;
  private last: Promise<unknown> = Promise.resolve();
  readonly done = { cancel: 0, reschedule: 0, deliver: 0 };

  constructor(options: DelayOperationsOptions) {
    this.options = options;
  }

  /**
   * Does all of them or none, in one append group with `record` (a note of it, say) as its first entry; one answer each. Where any
   * is refused the others are answered as they would have been. `baseOffset`: the note's.
   */
  perform(
    topic: Topic,
    operations: readonly DelayOperation[],
    record?: AppendEntry,
  ): Promise<{ readonly answers: readonly OperationAnswer[]; readonly baseOffset: number }> {
    // One after the other: a second operation on an id sees what the first did.
    const done = this.last.then(() => this.performNow(topic, operations, record));
    this.last = done.catch(() => undefined);
    return done;
  }

  /** What waits for a topic (or all), in due order, from `fromMs` or a page's `next` on. */
  async list(
    topic: Topic | undefined,
    nameOf: (topicId: string) => string | undefined,
    range: {
      readonly fromMs?: number;
      readonly untilMs?: number;
      readonly limit: number;
      readonly next?: string;
    },
  ): Promise<DelayedPage | undefined> {
    let from: Buffer | undefined = range.fromMs === undefined ? undefined : firstKeyDueAt(range.fromMs);
    if (range.next !== undefined) {
      from = Buffer.from(range.next, 'base64url');
      if (from.length !== 26) return undefined;
    }
    const records: DelayedRecord[] = [];
    for (let looked = 0; looked < maxRowsPerPage; looked += rowsAtOnce) {
      const page = await this.options.timers.list(from, rowsAtOnce);
      for (const timer of page) {
        if (range.untilMs !== undefined && timer.dueMs >= range.untilMs) return { records, next: undefined };
        from = Buffer.concat([keyOf(timer), Buffer.alloc(1)]);
        if (timer.kind !== timerKinds.delayedDelivery) continue;
        const batch = decodeDelayedBatch(timer.payload);
        const name = nameOf(batch.topicId);
        if (name === undefined || (topic !== undefined && batch.topicId !== topic.id)) continue;
        if (batch.messageId !== undefined && !(await this.standsFor(batch.topicId, batch.messageId, timer))) {
          continue;
        }
        records.push({ topic: name, dueMs: timer.dueMs, ...batch });
        if (records.length >= range.limit) return { records, next: from.toString('base64url') };
      }
      if (page.length < rowsAtOnce) return { records, next: undefined };
    }
    return { records, next: from!.toString('base64url') };
  }

  private async performNow(
    topic: Topic,
    operations: readonly DelayOperation[],
    record: AppendEntry | undefined,
  ): Promise<{ readonly answers: readonly OperationAnswer[]; readonly baseOffset: number }> {
    const { engine, timers } = this.options;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const plans: (PlannedOperation | OperationAnswer)[] = [];
      for (const operation of operations) plans.push(await this.plan(topic, operation));
      const answers = plans.map((plan): OperationAnswer => ('outcome' in plan ? plan : { outcome: 'done' }));
      if (answers.some(({ outcome }) => outcome !== 'done')) {
        // What was seen may not be durable yet, and the answer rests on it.
        await engine.whenDurable();
        return { answers, baseOffset: -1 };
      }
      const entries: AppendEntry[] = record === undefined ? [] : [record];
      const changes: IndexChange[] = [];
      const conditions: IndexCondition[] = [];
      for (const plan of plans as PlannedOperation[]) {
        for (const change of plan.changes) changes.push(movedBy(change, entries.length));
        entries.push(...plan.entries);
        conditions.push(...plan.conditions);
        for (const timer of plan.put) timers.moving(timer);
      }
      if (entries.length + changes.length === 0) {
        await engine.whenDurable();
        return { answers, baseOffset: -1 };
      }
      const results = await engine.append({ durability: 'sync', entries, changes, conditions });
      if (results.every(({ outcome }) => outcome === 'appended')) {
        for (const plan of plans as PlannedOperation[]) {
          for (const timer of plan.gone) timers.removed(timer);
          for (const timer of plan.put) timers.added(timer);
        }
        for (const { action } of operations) this.done[action] += 1;
        const [first] = results;
        const baseOffset = record !== undefined && first?.outcome === 'appended' ? first.baseOffset : -1;
        return { answers, baseOffset };
      }
      const reasons = results.map((result) =>
        result.outcome === 'refused' ? result.reason : result.outcome,
      );
      if (reasons.includes('link-source-missing')) await engine.whenDurable();
      else if (!reasons.includes('condition-failed')) break;
    }
    return { answers: operations.map(() => ({ outcome: 'failed' })), baseOffset: -1 };
  }

  private async plan(topic: Topic, operation: DelayOperation): Promise<PlannedOperation | OperationAnswer> {
    const id = operation.messageId.toString('utf8');
    // Between the two looks the timer may fire.
    for (let looks = 0; looks < 3; looks++) {
      const plan = await this.planOnce(topic, operation);
      if (plan !== undefined) return plan;
    }
    return refused('not-found', `not found: the timer of message '${id}' is gone`);
  }

  private async planOnce(
    topic: Topic,
    { action, messageId, dueMs }: DelayOperation,
  ): Promise<PlannedOperation | OperationAnswer | undefined> {
    const id = messageId.toString('utf8');
    const value = await this.options.engine.index(messageIdIndex).get(messageIdKey(topic.id, messageId));
    const found = value === undefined ? undefined : readMessageIdState(value);
    if (found === undefined) {
      return refused('not-found', `not found: no delayed record of ${topic.name} has the message id '${id}'`);
    }
    if (found.state !== 'pending') {
      const isRepeat =
        (action === 'cancel' && found.state === 'cancelled') ||
        (action === 'deliver' && found.state === 'deliveredOnDemand');
      if (isRepeat) return nothingToDo;
      const at = new Date(found.atMs).toISOString();
      return found.state === 'cancelled'
        ? refused('already-cancelled', `already cancelled: message '${id}' at ${at}`)
        : refused('already-delivered', `already delivered: message '${id}' at ${at}`);
    }
    const timer = await this.options.timers.find(
      timerKey(timerKinds.delayedDelivery, found.dueMs, found.source),
    );
    if (timer === undefined) return undefined;
    switch (action) {
      case 'cancel':
        return this.cancellation(topic, messageId, timer);
      case 'deliver':
        return this.deliveryNow(timer);
      case 'reschedule':
        return this.move(topic, messageId, timer, dueMs ?? timer.dueMs);
    }
  }

  private cancellation(topic: Topic, id: Buffer, timer: Timer): PlannedOperation {
    const { clock, outcomeKeptMs } = this.options;
    const ended = idEnded(topic.id, id, 'cancelled', clock.nowMs(), outcomeKeptMs());
    return {
      entries: [],
      changes: [timerDelete(timer), ...ended.changes],
      conditions: [timerHolds(timer), idHolds(topic.id, id, timer)],
      gone: [timer],
      put: ended.timer === undefined ? [] : [ended.timer],
    };
  }

  private async deliveryNow(timer: Timer): Promise<PlannedOperation | OperationAnswer> {
    const plan = await this.options.delivery.planOf(timer, 'deliveredOnDemand', false);
    if ('discard' in plan) return refused('not-found', 'not found: the partition is gone');
    return {
      entries: plan.entries,
      changes: [timerDelete(timer), ...(plan.changes ?? [])],
      conditions: [timerHolds(timer), ...(plan.conditions ?? [])],
      gone: [timer],
      put: (plan.scheduled ?? []).map((scheduled) => scheduled.timer),
    };
  }

  private move(topic: Topic, id: Buffer, timer: Timer, askedMs: number): PlannedOperation | OperationAnswer {
    const due = withinLimit(askedMs, {
      nowMs: this.options.clock.nowMs(),
      maxDelayMs: topic.settings.delayMaxMs,
    });
    if ('fault' in due) return refused('invalid', due.fault);
    if (due.dueMs === timer.dueMs) return nothingToDo;
    const batch = decodeDelayedBatch(timer.payload);
    const moved: Timer = {
      ...timer,
      dueMs: due.dueMs,
      payload: encodeDelayedBatch({ ...batch, isMoved: true }),
    };
    return {
      entries: [],
      changes: [timerDelete(timer), timerPut(moved), idPut(topic.id, id, moved)],
      conditions: [timerHolds(timer), idHolds(topic.id, id, timer)],
      gone: [timer],
      put: [moved],
    };
  }

  /** False where a newer record took the id. */
  private async standsFor(topicId: string, id: Buffer, timer: Timer): Promise<boolean> {
    const value = await this.options.engine.index(messageIdIndex).get(messageIdKey(topicId, id));
    if (value === undefined || value[0] === delayOutcomes.delivered) return false;
    const found = readMessageIdState(value);
    return found.state === 'pending' && keyOf(timer).equals(timerKey(timer.kind, found.dueMs, found.source));
  }
}

function refused(state: RefusedState, message: string): OperationAnswer {
  return { outcome: 'refused', state, message };
}
