/** Half messages as a whole: its parts put together for the composition root. Knows nothing of the wire and of HTTP's server side. */
import type { QueueId, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import type { AppendStep } from '../../append/append-steps.ts';
import type { BrokerSettings } from '../../configuration/broker-config.ts';
import type { GroupConfigs } from '../../configuration/group-configs.ts';
import { ensureHiddenQueues } from '../../topics/hidden-queues.ts';
import type { TopicDirectory } from '../../topics/topic.ts';
import type { DelayDelivery } from '../delay/delay-delivery.ts';
import type { HiddenTrim } from '../timers/hidden-trim.ts';
import type { TimerEngine } from '../timers/timer-engine.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import { CheckCallback, type HttpPost } from './check-callback.ts';
import { type CheckSettings, HalfChecks, HalfOutcomeExpiry } from './half-checks.ts';
import { HalfDecisions } from './half-decisions.ts';
import type { Verdict } from './half-headers.ts';
import { HalfRedrive } from './half-redrive.ts';
import { HalfStep } from './half-step.ts';
import { HalfTopics, type HalfTopicsOptions } from './half-topics.ts';
import { TransactionChecks } from './transaction-checks.ts';
import { TxnOpStep } from './txn-op-step.ts';

export interface HalfServiceOptions {
  readonly engine: StorageEngine;
  /** As `ensureQueues` gave them. */
  readonly queues: readonly QueueId[];
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'> & HalfTopicsOptions['topics'];
  readonly timers: TimerEngine;
  readonly trim: HiddenTrim;
  /** What delays and delivers records. */
  readonly delay: { readonly step: AppendStep; readonly delivery: DelayDelivery };
  readonly config: Pick<BrokerSettings, 'long' | 'list'>;
  readonly groupConfigs: Pick<GroupConfigs, 'int' | 'string' | 'groups'>;
  readonly isAnyoneThere: (producerGroup: string) => Promise<boolean>;
  readonly readUpTo: (producerGroup: string) => Promise<ReadonlyMap<number, number>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly post?: HttpPost;
}

/** Counted since the start, but for `pending`: as counted at the last pass over all timers, and what came and ended since. */
export interface HalfServiceFigures {
  readonly pending: number | undefined;
  readonly stored: number;
  readonly checks: number;
  readonly discarded: number;
  readonly decisions: Readonly<Record<Verdict, number>>;
  readonly callbacks: { readonly asked: number; readonly failed: number };
}

const hiddenName = '__rmq_half';
const hiddenShards = 8;

export class HalfService {
  readonly decisions: HalfDecisions;
  readonly checks: HalfChecks;
  readonly redrive: HalfRedrive;
  readonly callback: CheckCallback;
  readonly transactions: TransactionChecks;
  readonly step: HalfStep;
  private pendingAtStart: number | undefined;
  /** Before those of delayed records, in the order in which the append service asks them. */
  readonly steps: readonly AppendStep[];

  /** Where half messages wait: made where they are not there yet. */
  static ensureQueues(engine: StorageEngine): Promise<readonly QueueId[]> {
    return ensureHiddenQueues(engine.catalogue, hiddenName, hiddenShards);
  }

  constructor(options: HalfServiceOptions) {
    const { queues, engine, topics, timers, trim, config, groupConfigs, clock, delay } = options;
    const log = options.log.component('half-messages');
    const outcomeKeptMs = (): number => config.long('rmq.txn.outcome.retention.ms');
    const halfTopics = new HalfTopics({ topics });
    const { delivery } = delay;
    this.decisions = new HalfDecisions({
      engine,
      timers,
      clock,
      topics,
      delivery,
      outcomeKeptMs,
      decideTransaction: (row, isCommit) => this.transactions.decide(row, isCommit),
    });
    this.callback = new CheckCallback({
      decisions: this.decisions,
      log,
      allowed: () => config.list('rmq.txn.check.url.allow'),
      ...(options.post === undefined ? {} : { post: options.post }),
    });
    const settingsOf = (group: string): CheckSettings => ({
      intervalMs: groupConfigs.int(group, 'rmq.txn.check.interval.ms'),
      maxChecks: groupConfigs.int(group, 'rmq.txn.check.max'),
      maxAgeMs: groupConfigs.int(group, 'rmq.txn.max.age.ms'),
      url: groupConfigs.string(group, 'rmq.txn.check.url'),
    });
    this.checks = new HalfChecks({
      engine,
      clock,
      log,
      topics,
      halfTopics,
      settingsOf,
      outcomeKeptMs,
      isAnyoneThere: options.isAnyoneThere,
      readUpTo: options.readUpTo,
      callback: this.callback,
    });
    this.redrive = new HalfRedrive({ engine, clock, timers, topics, outcomeKeptMs });
    const { isAnyoneThere, readUpTo } = options;
    this.transactions = new TransactionChecks({
      engine,
      clock,
      log,
      topics,
      halfTopics,
      timers,
      settingsOf,
      outcomeKeptMs,
      isAnyoneThere,
      readUpTo,
      askingGroups: () =>
        groupConfigs
          .groups()
          .filter((group) => groupConfigs.string(group, 'rmq.txn.timeout.action') === 'check'),
    });
    timers.register(timerKinds.halfCheck, this.checks);
    timers.register(timerKinds.transactionCheck, this.transactions);
    timers.register(timerKinds.halfOutcome, new HalfOutcomeExpiry());
    trim.watch(queues);
    this.step = new HalfStep({
      engine,
      clock,
      timers,
      queues,
      topics: halfTopics,
      others: delay.step,
      timeoutMsOf: (group) => groupConfigs.int(group, 'rmq.txn.timeout.ms'),
    });
    this.steps = [new TxnOpStep(this.decisions), this.step];
    trim.onCounted(() => {
      const counted = trim.pendingByKind?.get(timerKinds.halfCheck) ?? 0;
      this.pendingAtStart = counted - this.pendingSinceStart;
    });
  }

  get figures(): HalfServiceFigures {
    const { pendingAtStart, checks, step, decisions, callback } = this;
    return {
      pending:
        pendingAtStart === undefined ? undefined : Math.max(0, pendingAtStart + this.pendingSinceStart),
      stored: step.stored,
      checks: checks.checked,
      discarded: checks.discarded,
      decisions: decisions.done,
      callbacks: { asked: callback.asked, failed: callback.failed },
    };
  }

  private get pendingSinceStart(): number {
    return this.step.stored - this.decisions.ended - this.checks.ended;
  }

  close(): Promise<void> {
    return this.callback.close();
  }
}
