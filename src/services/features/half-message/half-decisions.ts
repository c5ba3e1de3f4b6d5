/**
 * What is decided about half messages: commit delivers the record and rollback drops it, each in one append group with the row that
 * says so; the first decision counts, the same again is done already, another is a conflict. `unknown` says nothing: it is asked
 * again.
 */
import type { AppendEntry, IndexChange, IndexCondition, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { TopicDirectory } from '../../topics/topic.ts';
import type { DelayDelivery } from '../delay/delay-delivery.ts';
import { delayTimer } from '../delay/delay-row.ts';
import { movedBy, type TimerEngine } from '../timers/timer-engine.ts';
import { type Timer, timerDelete, timerHolds, timerPut } from '../timers/timer-row.ts';
import type { Verdict } from './half-headers.ts';
import {
  checkTimer,
  type HalfEnd,
  type HalfId,
  halfEnded,
  halfHolds,
  halfIdOf,
  halfIndex,
  halfKey,
  halfKeysOf,
  type PendingHalf,
  readHalf,
} from './half-row.ts';
import { readTransaction, type TransactionRow } from './transaction-row.ts';

export interface HalfDecision {
  readonly id: HalfId;
  readonly verdict: Verdict;
}

/** Done (again, perhaps), or why not. */
export type DecisionAnswer =
  | { readonly outcome: 'done' }
  | { readonly outcome: 'refused'; readonly state: 'not-found' | 'conflict'; readonly message: string }
  /** The engine could not; it may be tried again. */
  | { readonly outcome: 'failed' };

export interface ListedHalf {
  readonly producerGroup: string;
  readonly txnId: Buffer;
  readonly state: 'pending' | HalfEnd;
  readonly topic: string | undefined;
  readonly partition: number | undefined;
  readonly bornMs: number | undefined;
  readonly checks: number | undefined;
  readonly nextCheckMs: number | undefined;
  readonly endedMs: number | undefined;
}

export interface HalfPage {
  readonly halves: readonly ListedHalf[];
  readonly next: string | undefined;
}

export interface HalfDecisionsOptions {
  readonly engine: StorageEngine;
  readonly timers: TimerEngine;
  readonly clock: Clock;
  readonly topics: Pick<TopicDirectory, 'byId'>;
  /** Delivers what is committed, now or when its delay is over. */
  readonly delivery: DelayDelivery;
  readonly outcomeKeptMs: () => number;
  /** Ends a Kafka transaction that is asked about. */
  readonly decideTransaction: (
    row: TransactionRow,
    isCommit: boolean,
  ) => Promise<'ended' | 'not-open' | 'failed'>;
}

interface PlannedDecision {
  readonly entries: readonly AppendEntry[];
  readonly changes: readonly IndexChange[];
  readonly conditions: readonly IndexCondition[];
  readonly gone: readonly Timer[];
  readonly put: readonly Timer[];
  /** It is a Kafka transaction that is decided about: its end is a group of its own, which says so in the row. */
  readonly transaction?: { readonly row: TransactionRow; readonly isCommit: boolean };
}

const nothingToDo: PlannedDecision = { entries: [], changes: [], conditions: [], gone: [], put: [] };
/** How often rows may change between the look and the append. */
const maxAttempts = 10;

export class HalfDecisions {
  private readonly options: HalfDecisionsOptions;
  /** By row: what is decided there now. */
  private readonly underWay = new Map<string, Promise<unknown>>();
  /** Half messages decided. */
  ended = 0;
  readonly done = { commit: 0, rollback: 0, unknown: 0 };

  constructor(options: HalfDecisionsOptions) {
    this.options = options;
  }

  /**
   * Does all of them or none, in one durable group with `record` (the note of it) as its first entry; one answer each. `baseOffset`:
   * the note's, -1 without one. Kafka transactions among them end one by one before, where nothing speaks against any.
   */
  perform(
    decisions: readonly HalfDecision[],
    record?: AppendEntry,
  ): Promise<{ readonly answers: readonly DecisionAnswer[]; readonly baseOffset: number }> {
    // About one id one after the other, in the order in which they came.
    const keys = new Set(decisions.map(({ id }) => halfKey(id).toString('latin1')));
    const before = [...keys].map((key) => this.underWay.get(key));
    const done = Promise.all(before).then(() => this.performNow(decisions, record));
    const settled: Promise<unknown> = done
      .catch(() => undefined)
      .then(() => {
        for (const key of keys) if (this.underWay.get(key) === settled) this.underWay.delete(key);
      });
    for (const key of keys) this.underWay.set(key, settled);
    return done;
  }

  /** Half messages of a group, or all, in the order of their ids, also those decided of late. Undefined: `next` is none of ours. */
  async list(
    producerGroup: string | undefined,
    limit: number,
    next: string | undefined,
  ): Promise<HalfPage | undefined> {
    const prefix = producerGroup === undefined ? undefined : halfKeysOf(producerGroup);
    const from = next === undefined ? prefix : Buffer.from(next, 'base64url');
    if (from !== undefined && next !== undefined && from.length < 3) return undefined;
    const rows = await this.options.engine.index(halfIndex).range({
      ...(from === undefined ? {} : { from }),
      limit: limit + 1,
    });
    const halves: ListedHalf[] = [];
    for (const { key, value } of rows) {
      if (prefix !== undefined && !key.subarray(0, prefix.length).equals(prefix))
        return { halves, next: undefined };
      if (halves.length === limit) return { halves, next: key.toString('base64url') };
      const transaction = readTransaction(value);
      halves.push(
        transaction === undefined
          ? this.listed(halfIdOf(key), readHalf(value))
          : listedTransaction(halfIdOf(key), transaction),
      );
    }
    return { halves, next: undefined };
  }

  private listed({ producerGroup, txnId }: HalfId, half: ReturnType<typeof readHalf>): ListedHalf {
    const isPending = half.state === 'pending';
    return {
      producerGroup,
      txnId,
      state: half.state,
      topic: isPending ? this.options.topics.byId(half.topicId)?.name : undefined,
      partition: isPending ? half.partition : undefined,
      bornMs: isPending ? half.bornMs : undefined,
      checks: isPending ? half.checks : undefined,
      nextCheckMs: isPending ? half.checkAtMs : undefined,
      endedMs: isPending ? undefined : half.atMs,
    };
  }

  private async performNow(
    decisions: readonly HalfDecision[],
    record: AppendEntry | undefined,
  ): Promise<{ readonly answers: readonly DecisionAnswer[]; readonly baseOffset: number }> {
    const { engine, timers } = this.options;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const plans: (PlannedDecision | DecisionAnswer)[] = [];
      const inThisBatch = new Map<string, Verdict>();
      for (const decision of decisions) plans.push(await this.plan(decision, inThisBatch));
      const answers = plans.map((plan): DecisionAnswer => ('outcome' in plan ? plan : { outcome: 'done' }));
      if (answers.some(({ outcome }) => outcome !== 'done')) {
        // What was decided before may be read before it is durable; nobody is told of it then.
        await engine.whenDurable();
        return { answers, baseOffset: -1 };
      }
      const transactions = await this.endTransactions(plans as PlannedDecision[]);
      if (transactions === 'look-again') continue;
      if (transactions === 'failed') break;
      const entries: AppendEntry[] = record === undefined ? [] : [record];
      const changes: IndexChange[] = [];
      const conditions: IndexCondition[] = [];
      for (const plan of plans as PlannedDecision[]) {
        for (const change of plan.changes) changes.push(movedBy(change, entries.length));
        entries.push(...plan.entries);
        conditions.push(...plan.conditions);
        for (const timer of plan.put) timers.moving(timer);
      }
      if (entries.length + changes.length === 0) {
        await engine.whenDurable();
        for (const { verdict } of decisions) this.done[verdict] += 1;
        return { answers, baseOffset: -1 };
      }
      const results = await engine.append({ durability: 'sync', entries, changes, conditions });
      if (results.every(({ outcome }) => outcome === 'appended')) {
        for (const plan of plans as PlannedDecision[]) {
          for (const timer of plan.gone) timers.removed(timer);
          this.ended += plan.gone.length;
          for (const timer of plan.put) timers.added(timer);
        }
        for (const { verdict } of decisions) this.done[verdict] += 1;
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
    return { answers: decisions.map(() => ({ outcome: 'failed' })), baseOffset: -1 };
  }

  private async endTransactions(
    plans: readonly PlannedDecision[],
  ): Promise<'done' | 'look-again' | 'failed'> {
    for (const { transaction } of plans) {
      if (transaction === undefined) continue;
      const outcome = await this.options.decideTransaction(transaction.row, transaction.isCommit);
      if (outcome !== 'ended') return outcome === 'failed' ? outcome : 'look-again';
    }
    return 'done';
  }

  /** `inThisBatch`: what was decided before in the same group, by key. */
  private async plan(
    { id, verdict }: HalfDecision,
    inThisBatch: Map<string, Verdict>,
  ): Promise<PlannedDecision | DecisionAnswer> {
    const key = halfKey(id);
    const value = await this.options.engine.index(halfIndex).get(key);
    const transaction = value === undefined ? undefined : readTransaction(value);
    const half = value === undefined || transaction !== undefined ? undefined : readHalf(value);
    const name = `'${id.txnId.toString('utf8')}' of producer group '${id.producerGroup}'`;
    if (transaction !== undefined) {
      if (verdict === 'unknown') return nothingToDo;
      const isCommit = verdict === 'commit';
      const isOther = inThisBatch.get(key.toString('latin1')) === (isCommit ? 'rollback' : 'commit');
      if (isOther) return refused('conflict', `The transaction ${name} is decided both ways`);
      inThisBatch.set(key.toString('latin1'), verdict);
      return { ...nothingToDo, transaction: { row: transaction, isCommit } };
    }
    if (half === undefined) return refused('not-found', `There is no half message ${name}`);
    if (half.state !== 'pending') {
      const isRepeat =
        verdict === 'unknown' ||
        (verdict === 'commit' ? half.state === 'committed' : half.state === 'rolled-back');
      const at = new Date(half.atMs).toISOString();
      return isRepeat
        ? nothingToDo
        : refused('conflict', `Half message ${name} is ${words[half.state]} since ${at}`);
    }
    if (verdict === 'unknown') return nothingToDo;
    const text = key.toString('latin1');
    const before = inThisBatch.get(text);
    if (before !== undefined) {
      return before === verdict
        ? nothingToDo
        : refused('conflict', `Half message ${name} is decided both ways`);
    }
    inThisBatch.set(text, verdict);
    return verdict === 'commit' ? this.commit(id, half) : this.end(id, half, 'rolled-back');
  }

  private async commit(id: HalfId, half: PendingHalf): Promise<PlannedDecision | DecisionAnswer> {
    const { clock, delivery, topics } = this.options;
    const nowMs = clock.nowMs();
    const ended = this.end(id, half, 'committed');
    if (topics.byId(half.topicId)?.partitions[half.partition] === undefined) {
      return refused('not-found', 'The topic of the half message is gone');
    }
    const { delay } = half;
    const dueMs = delay === undefined ? nowMs : 'afterMs' in delay ? nowMs + delay.afterMs : delay.atMs;
    const timer = delayTimer(
      {
        topicId: half.topicId,
        partition: half.partition,
        recordCount: 1,
        maxTimestampMs: half.maxTimestampMs,
        sizeBytes: half.sizeBytes,
        storedMs: half.bornMs,
        // Its header says no due time yet.
        isMoved: delay !== undefined,
        messageId: undefined,
      },
      dueMs,
      half.source.queue,
      half.source.offset,
    );
    if (dueMs > nowMs) {
      return { ...ended, changes: [...ended.changes, timerPut(timer)], put: [...ended.put, timer] };
    }
    const plan = await delivery.planOf(timer, 'delivered', false);
    if ('discard' in plan) return refused('not-found', 'The topic of the half message is gone');
    return { ...ended, entries: plan.entries };
  }

  private end(id: HalfId, half: PendingHalf, state: HalfEnd): PlannedDecision {
    const check = checkTimer(id, half);
    const ended = halfEnded(id, state, this.options.clock.nowMs(), this.options.outcomeKeptMs());
    return {
      entries: [],
      changes: [timerDelete(check), ...ended.changes],
      conditions: [timerHolds(check), halfHolds(id, half)],
      gone: [check],
      put: [ended.timer],
    };
  }
}

function listedTransaction(
  { producerGroup, txnId }: HalfId,
  { startMs, checks, checkAtMs }: TransactionRow,
): ListedHalf {
  return {
    producerGroup,
    txnId,
    state: 'pending',
    topic: undefined,
    partition: undefined,
    bornMs: startMs,
    checks,
    nextCheckMs: checkAtMs,
    endedMs: undefined,
  };
}

const words: Readonly<Record<HalfEnd, string>> = {
  committed: 'committed',
  'rolled-back': 'rolled back',
  discarded: 'discarded',
};

function refused(state: 'not-found' | 'conflict', message: string): DecisionAnswer {
  return { outcome: 'refused', state, message };
}
