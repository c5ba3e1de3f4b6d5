/** Retries of classic groups as a whole: its parts put together for the composition root. Knows nothing of the wire and of HTTP. */
import type { QueueId, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import type { AppendStep } from '../../append/append-steps.ts';
import type { GroupConfigs } from '../../configuration/group-configs.ts';
import { ensureHiddenQueues } from '../../topics/hidden-queues.ts';
import type { TopicDirectory } from '../../topics/topic.ts';
import { type HeldRecords, heldFeatures } from '../../transactions/held-records.ts';
import type { DeadLetterWriter } from '../dead-letters/dead-letter-writer.ts';
import { DelayDelivery } from '../delay/delay-delivery.ts';
import type { FeatureTopics } from '../feature-topic-maker.ts';
import type { HiddenTrim } from '../timers/hidden-trim.ts';
import type { Discard, FirePlan, TimerEngine, TimerHandler } from '../timers/timer-engine.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import type { Timer } from '../timers/timer-row.ts';
import { type GuardedGroups, PoisonGuard } from './poison-guard.ts';
import { RetryHeld, RetryIntake } from './retry-held.ts';
import { type RetryPlan, RetryPlanner } from './retry-planner.ts';
import { RetryStep } from './retry-step.ts';
import { RetryTopics } from './retry-topics.ts';
import { seenToForget } from './seen-row.ts';

export interface RetryServiceOptions {
  readonly engine: StorageEngine;
  /** As `ensureQueues` gave them. */
  readonly queues: readonly QueueId[];
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'> & FeatureTopics;
  readonly timers: TimerEngine;
  readonly trim: HiddenTrim;
  /** Where what a transaction says waits for its end; without, no transaction may say anything. */
  readonly held?: Pick<HeldRecords, 'register'> | undefined;
  readonly groupConfigs: GroupConfigs;
  readonly deadLetters: DeadLetterWriter;
  readonly guarded: GuardedGroups;
  readonly clock: Clock;
  readonly log: Log;
  /** From 0 up to 1: for rmq.retry.jitter.pct. */
  readonly random?: () => number;
}

/** Counted since the start, but for `pending`: as counted at the last pass over all timers. */
export interface RetryFigures {
  readonly pending: number | undefined;
  readonly scheduled: number;
  readonly repeated: number;
  readonly delivered: number;
}

const hiddenName = '__rmq_retry';
const hiddenShards = 8;
const entryOverheadBytes = 512;

export class RetryService {
  readonly step: RetryStep;
  readonly topics: RetryTopics;
  readonly guard: PoisonGuard;
  readonly steps: readonly AppendStep[];
  private readonly timers: TimerEngine;
  private readonly trim: HiddenTrim;

  /** Where records wait for their next delivery: made where they are not there yet. */
  static ensureQueues(engine: StorageEngine): Promise<readonly QueueId[]> {
    return ensureHiddenQueues(engine.catalogue, hiddenName, hiddenShards);
  }

  constructor(options: RetryServiceOptions) {
    const { engine, queues, topics, timers, trim, groupConfigs, deadLetters, clock } = options;
    const log = options.log.component('retries');
    const topicsRead = (group: string): Promise<readonly string[]> => options.guarded.topicsRead(group);
    this.timers = timers;
    this.trim = trim;
    this.topics = new RetryTopics({ engine, topics, groupConfigs, deadLetters, topicsRead, log });
    groupConfigs.guard = (group, before, after, checkOnly) =>
      this.topics.beforeChange(group, before, after, checkOnly);
    timers.register(
      timerKinds.retryDelivery,
      new RetryDelivery({ engine, topics, clock, outcomeKeptMs: () => 0 }),
    );
    timers.register(timerKinds.retrySeen, new SeenExpiry());
    trim.watch(queues);
    const random = options.random ?? Math.random;
    const planner = new RetryPlanner({ engine, clock, timers, queues, topics, deadLetters, random });
    this.step = new RetryStep({ engine, queues, groupConfigs, deadLetters, planner });
    const done = (plan: RetryPlan): void => this.step.count(plan);
    timers.register(
      timerKinds.retryIntake,
      new RetryIntake({ engine, topics, groupConfigs, planner, clock, log, done }),
    );
    options.held?.register(heldFeatures.retryPointer, new RetryHeld(timers, clock));
    this.guard = new PoisonGuard({
      engine,
      clock,
      log,
      topics,
      groupConfigs,
      planner,
      groups: options.guarded,
      done,
    });
    this.steps = [this.step];
  }

  get figures(): RetryFigures {
    const { step, timers, trim } = this;
    const pending = trim.pendingByKind;
    return {
      pending: pending && (pending.get(timerKinds.retryDelivery) ?? 0),
      scheduled: step.scheduled,
      repeated: step.repeated,
      delivered: timers.fired.get(timerKinds.retryDelivery) ?? 0,
    };
  }
}

/** A record that failed becomes visible in its group's retry topic, as a delayed one does in its topic. */
class RetryDelivery extends DelayDelivery {
  override readonly name = 'retry_delivery';
}

/** Forgets that a delivery failed, when nobody will say it again. */
class SeenExpiry implements TimerHandler {
  readonly name = 'retry_seen';

  async prepare(timers: readonly Timer[], look: boolean): Promise<readonly (FirePlan | Discard)[]> {
    return timers.map((timer) => {
      // It failed anew.
      if (look) return { discard: 'retry-seen-replaced' };
      const { change, condition } = seenToForget(timer);
      return { entries: [], changes: [change], conditions: [condition], sizeBytes: entryOverheadBytes };
    });
  }
}
