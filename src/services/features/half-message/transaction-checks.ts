/**
 * Kafka transactions whose time is up and whose transactional id asks for it (rmq.txn.timeout.action=check of the producer group that the id
 * begins with): asked about in the check topic of the group, like half messages, decided by its operation topic, and aborted after so many
 * intervals without a decision. All intervals count, since the open transaction holds readers back.
 */
import { buildRecordBatch } from '../../../../protocol/records/record-batch-builder.ts';
import type { AppendEntry, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import { partitionForKey } from '../../coordinator/partition-for-key.ts';
import type { TopicDirectory } from '../../topics/topic.ts';
import type {
  AskedTransaction,
  QuestionChanges,
  TimeoutQuestions,
} from '../../transactions/timeout-questions.ts';
import type { Discard, FirePlan, TimerHandler } from '../timers/timer-engine.ts';
import { type Timer, timerDelete } from '../timers/timer-row.ts';
import { checkHeaders, longestProducerGroup, longestTxnId } from './half-headers.ts';
import { type HalfId, halfEnded, halfIdOf, halfIndex, halfKey } from './half-row.ts';
import { checkTopicOf } from './half-topic-names.ts';
import type { HalfTopics } from './half-topics.ts';
import {
  askedIndex,
  askedPut,
  readTransaction,
  type TransactionRow,
  transactionHolds,
  transactionPut,
  transactionTimer,
  txnIdOf,
} from './transaction-row.ts';

/** Ends an open transaction whose producer was fenced: the coordinator. */
export type EndAsked = (
  transaction: AskedTransaction,
  isCommit: boolean,
) => Promise<'ended' | 'not-open' | 'failed'>;

export interface TransactionChecksOptions {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly log: Log;
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly halfTopics: Pick<HalfTopics, 'ensure'>;
  readonly timers: { added(timer: Timer): void; removed(timer: Timer): void };
  /** Groups whose transactional ids are asked about. */
  readonly askingGroups: () => Iterable<string>;
  readonly settingsOf: (producerGroup: string) => { readonly intervalMs: number; readonly maxChecks: number };
  readonly outcomeKeptMs: () => number;
  readonly isAnyoneThere: (producerGroup: string) => Promise<boolean>;
  readonly readUpTo: (producerGroup: string) => Promise<ReadonlyMap<number, number>>;
}

const rowsAtOnce = 1000;
const entryOverheadBytes = 512;

export class TransactionChecks implements TimerHandler, TimeoutQuestions {
  readonly name = 'transaction_check';
  private readonly options: TransactionChecksOptions;
  private readonly asked = new Map<string, { readonly id: HalfId; row: TransactionRow }>();
  private endAsked: EndAsked | undefined;

  constructor(options: TransactionChecksOptions) {
    this.options = options;
  }

  /** Before timers fire. */
  bind(endAsked: EndAsked): void {
    this.endAsked = endAsked;
  }

  // ----- as the coordinator sees it

  async load(): Promise<void> {
    const { engine } = this.options;
    let from: Buffer | undefined;
    for (;;) {
      const rows = await engine
        .index(askedIndex)
        .range({ ...(from === undefined ? {} : { from }), limit: rowsAtOnce });
      for (const { key, value } of rows) {
        const stored = await engine.index(halfIndex).get(value);
        const row = stored === undefined ? undefined : readTransaction(stored);
        if (row !== undefined) this.asked.set(key.toString(), { id: halfIdOf(value), row });
      }
      if (rows.length < rowsAtOnce) return;
      from = Buffer.concat([rows.at(-1)!.key, Buffer.alloc(1)]);
    }
  }

  isAsked(transactionalId: string): boolean {
    return this.asked.has(transactionalId);
  }

  begin(transaction: AskedTransaction): QuestionChanges | undefined {
    const { transactionalId } = transaction;
    const producerGroup = this.groupOf(transactionalId);
    if (producerGroup === undefined) return undefined;
    const id = { producerGroup, txnId: txnIdOf(transaction) };
    if (id.txnId.length > longestTxnId) {
      this.options.log.warn(
        { transactionalId },
        'A transactional id is too long for its transaction to be asked about',
      );
      return undefined;
    }
    const checkAtMs = this.options.clock.nowMs();
    const row: TransactionRow = {
      ...transaction,
      state: 'transaction',
      checkAtMs,
      checks: 0,
      asked: undefined,
    };
    this.asked.set(transactionalId, { id, row });
    return {
      changes: [...transactionPut(id, row), askedPut(transactionalId, id)],
      settled: (isAppended) => {
        if (isAppended) this.options.timers.added(transactionTimer(id, row));
        else this.asked.delete(transactionalId);
      },
    };
  }

  end(transactionalId: string, isCommit: boolean): QuestionChanges | undefined {
    const known = this.asked.get(transactionalId);
    if (known === undefined) return undefined;
    const { clock, outcomeKeptMs, timers } = this.options;
    const check = transactionTimer(known.id, known.row);
    const ended = halfEnded(known.id, isCommit ? 'committed' : 'rolled-back', clock.nowMs(), outcomeKeptMs());
    return {
      changes: [timerDelete(check), ...ended.changes, askedPut(transactionalId, null)],
      settled: (isAppended) => {
        if (!isAppended) return;
        this.asked.delete(transactionalId);
        timers.removed(check);
        timers.added(ended.timer);
      },
    };
  }

  /** The longest name that the id begins with. */
  private groupOf(transactionalId: string): string | undefined {
    let found: string | undefined;
    for (const group of this.options.askingGroups()) {
      if (!transactionalId.startsWith(group) || group.length > longestProducerGroup) continue;
      if (found === undefined || group.length > found.length) found = group;
    }
    return found;
  }

  // ----- as the operation topic sees it

  /** Ends the transaction as its application says. */
  decide(row: TransactionRow, isCommit: boolean): Promise<'ended' | 'not-open' | 'failed'> {
    return this.endAsked?.(row, isCommit) ?? Promise.resolve('failed');
  }

  // ----- as the timers see it

  async prepare(timers: readonly Timer[]): Promise<readonly (FirePlan | Discard)[]> {
    const plans: (FirePlan | Discard)[] = [];
    for (const timer of timers) plans.push(await this.planOf(timer));
    return plans;
  }

  private async planOf(timer: Timer): Promise<FirePlan | Discard> {
    const { engine, clock, halfTopics, log } = this.options;
    const value = await engine.index(halfIndex).get(timer.payload);
    const row = value === undefined ? undefined : readTransaction(value);
    if (row === undefined || row.checkAtMs !== timer.dueMs) return { discard: 'transaction-ended' };
    const id = halfIdOf(timer.payload);
    const { transactionalId } = row;
    const { intervalMs, maxChecks } = this.options.settingsOf(id.producerGroup);
    const nowMs = clock.nowMs();
    if (row.checks >= maxChecks) {
      const outcome = await this.decide(row, false);
      if (outcome === 'ended') {
        log.info({ transactionalId }, 'Aborted a transaction that nobody decided about');
        // The end took the timer with it.
        return { discard: 'transaction-ended' };
      }
      // Cannot come about: whatever ends a transaction says so in its row.
      if (outcome === 'not-open') return this.forget(id, row);
    }
    const next = { ...row, checkAtMs: nowMs + intervalMs, checks: row.checks + 1 };
    const trouble = await halfTopics.ensure(id.producerGroup);
    if (trouble !== undefined)
      log.error({ producerGroup: id.producerGroup, trouble }, 'a transaction cannot be asked for now');
    if (trouble !== undefined || !(await this.canBeRead(id, row))) return this.plan(id, row, next, undefined);
    const { partition, entry } = this.question(id, next);
    return this.plan(id, row, { ...next, asked: { partition, offset: 0, atMs: nowMs } }, entry);
  }

  private forget(id: HalfId, row: TransactionRow): FirePlan {
    const { clock, outcomeKeptMs } = this.options;
    const ended = halfEnded(id, 'rolled-back', clock.nowMs(), outcomeKeptMs());
    return {
      entries: [],
      changes: [...ended.changes, askedPut(row.transactionalId, null)],
      conditions: [transactionHolds(id, row)],
      scheduled: [{ timer: ended.timer }],
      sizeBytes: entryOverheadBytes,
      fired: () => void this.asked.delete(row.transactionalId),
    };
  }

  /** Somebody reads the check topic, and has read what was asked before. */
  private async canBeRead({ producerGroup }: HalfId, { asked }: TransactionRow): Promise<boolean> {
    if (!(await this.options.isAnyoneThere(producerGroup))) return false;
    if (asked === undefined) return true;
    const upTo = (await this.options.readUpTo(producerGroup)).get(asked.partition);
    return upTo === undefined || upTo > asked.offset;
  }

  private plan(
    id: HalfId,
    row: TransactionRow,
    next: TransactionRow,
    question: AppendEntry | undefined,
  ): FirePlan {
    return {
      entries: question === undefined ? [] : [question],
      changes: transactionPut(id, next, question === undefined ? undefined : 0),
      conditions: [transactionHolds(id, row)],
      scheduled: [{ timer: transactionTimer(id, next) }],
      sizeBytes: entryOverheadBytes * 2,
      fired: () => {
        const known = this.asked.get(row.transactionalId);
        if (known !== undefined) known.row = next;
      },
    };
  }

  private question(
    id: HalfId,
    row: TransactionRow,
  ): { readonly partition: number; readonly entry: AppendEntry } {
    const topic = this.options.topics.get(checkTopicOf(id.producerGroup))!;
    const nowMs = this.options.clock.nowMs();
    const said = [
      [checkHeaders.txnId, id.txnId.toString()],
      [checkHeaders.producerGroup, id.producerGroup],
      [checkHeaders.transactionalId, row.transactionalId],
      [checkHeaders.producerId, String(row.producerId)],
      [checkHeaders.producerEpoch, String(row.producerEpoch)],
      [checkHeaders.bornMs, String(row.startMs)],
      [checkHeaders.checkTimes, String(row.checks)],
    ] as const;
    const payload = buildRecordBatch([
      {
        timestamp: nowMs,
        key: id.txnId,
        value: null,
        headers: said.map(([key, text]) => ({ key, value: Buffer.from(text) })),
      },
    ]);
    const partition = partitionForKey(halfKey(id).toString('latin1'), topic.partitions.length);
    const { queue } = topic.partitions[partition]!;
    return { partition, entry: { queue, kind: 'data', count: 1, maxTimestampMs: nowMs, payload } };
  }
}
