/**
 * Failures that were told of in a Kafka transaction: its commit puts a timer for each, due at once, and that timer does what producing it
 * outside of a transaction does. So the look at what failed is after the decision, and nothing of an aborted transaction counts.
 */
import { RecordError } from '../../../../protocol/records/record-error.ts';
import type { StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import type { TopicDirectory } from '../../topics/topic.ts';
import type { HeldCommit, HeldHandler, HeldRecord } from '../../transactions/held-records.ts';
import type { Discard, FirePlan, TimerEngine, TimerHandler } from '../timers/timer-engine.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import { type Timer, timerPut } from '../timers/timer-row.ts';
import { FailedRecords } from './failed-records.ts';
import { type Nack, readNacks } from './retry-batch.ts';
import type { RetryPlan, RetryPlanner } from './retry-planner.ts';
import { type GroupValues, retrySettingsOf } from './retry-settings.ts';
import { retryGroupOf } from './retry-topics.ts';

const formatVersion = 1;
const topicIdBytes = 16;
const payloadBytes = 1 + topicIdBytes + 4;
/** How long to wait where a group's dead-letter topic cannot be had. */
const troubleWaitMs = 30_000;
const entryOverheadBytes = 512;

/** The retry topic's partition that the record was produced to. */
export function heldNack(topicId: string, partition: number): Buffer {
  const payload = Buffer.alloc(payloadBytes);
  payload[0] = formatVersion;
  payload.write(topicId, 1, topicIdBytes, 'base64url');
  payload.writeUInt32BE(partition, 1 + topicIdBytes);
  return payload;
}

export class RetryHeld implements HeldHandler {
  private readonly timers: Pick<TimerEngine, 'moving' | 'added'>;
  private readonly clock: Clock;

  constructor(timers: Pick<TimerEngine, 'moving' | 'added'>, clock: Clock) {
    this.timers = timers;
    this.clock = clock;
  }

  commit(records: readonly HeldRecord[]): HeldCommit {
    const dueMs = this.clock.nowMs();
    const put = records.map(
      ({ source, payload }): Timer => ({ kind: timerKinds.retryIntake, dueMs, source, payload }),
    );
    for (const timer of put) this.timers.moving(timer);
    return {
      changes: put.map(timerPut),
      committed: () => {
        for (const timer of put) this.timers.added(timer);
      },
    };
  }
}

export interface RetryIntakeOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'byId'>;
  readonly groupConfigs: GroupValues;
  readonly planner: RetryPlanner;
  readonly clock: Clock;
  readonly log: Log;
  /** What a timer came to stands in the log. */
  readonly done: (plan: RetryPlan) => void;
}

export class RetryIntake implements TimerHandler {
  readonly name = 'retry_intake';
  private readonly options: RetryIntakeOptions;

  constructor(options: RetryIntakeOptions) {
    this.options = options;
  }

  async prepare(timers: readonly Timer[]): Promise<readonly (FirePlan | Discard)[]> {
    const loader = new FailedRecords(this.options.engine);
    const seen = new Set<string>();
    const plans: (FirePlan | Discard)[] = [];
    for (const timer of timers) {
      const plan = await this.planOf(timer, loader, seen);
      // What is read for one group is limited; the others are asked for again.
      if (plan === undefined) break;
      plans.push(plan);
    }
    return plans;
  }

  private async planOf(
    timer: Timer,
    loader: FailedRecords,
    seen: Set<string>,
  ): Promise<FirePlan | Discard | undefined> {
    const { topics, groupConfigs, planner } = this.options;
    const { payload } = timer;
    if (payload[0] !== formatVersion || payload.length !== payloadBytes) {
      throw new RangeError(`a failure told of in a transaction in an unknown format ${payload[0]}`);
    }
    const topic = topics.byId(payload.toString('base64url', 1, 1 + topicIdBytes));
    const partition = topic?.partitions[payload.readUInt32BE(1 + topicIdBytes)];
    const group = topic === undefined ? undefined : retryGroupOf(topic);
    if (topic === undefined || partition === undefined || group === undefined)
      return { discard: 'topic-deleted' };
    const nacks = await this.nacksOf(timer);
    if (nacks === undefined) return { discard: 'retry-unreadable' };
    const settings = retrySettingsOf(groupConfigs, group);
    const work = { group, settings, topic, partition, nacks, isDecided: true };
    const plan = await planner.plan(work, loader, seen);
    if ('tooMuch' in plan) return undefined;
    if ('trouble' in plan || 'faults' in plan) {
      const trouble = 'trouble' in plan ? plan.trouble : plan.faults[0]?.batchIndexErrorMessage;
      this.options.log.error({ group, trouble }, 'a failure told of in a transaction cannot be taken now');
      return this.later(timer);
    }
    if (plan.repeated > 0 && plan.changes.length === 0) return { discard: 'retry-repeated' };
    return {
      entries: plan.entries,
      changes: plan.changes,
      conditions: plan.conditions,
      scheduled: plan.timers,
      sizeBytes: plan.entries.reduce(
        (sum, entry) =>
          sum + (Buffer.isBuffer(entry.payload) ? entry.payload.length : 0) + entryOverheadBytes,
        entryOverheadBytes,
      ),
      fired: () => this.options.done(plan),
    };
  }

  private later(timer: Timer): FirePlan {
    const next = { ...timer, dueMs: this.options.clock.nowMs() + troubleWaitMs };
    return {
      entries: [],
      changes: [timerPut(next)],
      scheduled: [{ timer: next }],
      sizeBytes: entryOverheadBytes,
    };
  }

  private async nacksOf(timer: Timer): Promise<readonly Nack[] | undefined> {
    const batch =
      (await this.read(timer)) ??
      // What is written and not yet durable is not seen by readers, though its row is.
      (await this.options.engine.whenDurable().then(() => this.read(timer)));
    if (batch === undefined) {
      this.options.log.error({ source: timer.source }, 'a failure told of in a transaction cannot be read');
      return undefined;
    }
    try {
      const read = readNacks(batch);
      return 'nacks' in read ? read.nacks : undefined;
    } catch (error) {
      if (error instanceof RecordError) return undefined;
      throw error;
    }
  }

  /** A copy. */
  private async read({ source }: Timer): Promise<Buffer | undefined> {
    const result = await this.options.engine.read(source.queue, {
      fromOffset: source.offset,
      maxBytes: 0,
      atLeastOne: true,
    });
    if (result.outcome !== 'read') return undefined;
    const bytes = Buffer.concat(result.payloads);
    const { baseOffset } = result;
    result.release();
    return baseOffset === source.offset && bytes.length > 0 ? bytes : undefined;
  }
}
