/**
 * What failures come to: entries and rows of one append group. Each is counted, and either kept until it is due, with the timer that
 * delivers it, or made a dead letter; one that was told of before is left out. Reads, and appends nothing.
 */
import { batchMaxTimestamp, setBatchMaxTimestamp } from '../../../../protocol/records/record-batch.ts';
import { safeIntegerOrUndefined } from '../../../../protocol/wire/int64.ts';
import type {
  AppendEntry,
  AppendResult,
  IndexChange,
  IndexCondition,
  QueueId,
  StorageEngine,
} from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import { partitionOfKey } from '../../../util/murmur2.ts';
import type { RecordFault } from '../../append/append-result.ts';
import { maxRecordFaults } from '../../append/batch-admission.ts';
import type { Partition, Topic, TopicDirectory } from '../../topics/topic.ts';
import type { DeadLetter, DeadLetterReason } from '../dead-letters/dead-letter.ts';
import type { DeadLetterTarget, DeadLetterWriter } from '../dead-letters/dead-letter-writer.ts';
import { delayTimer } from '../delay/delay-row.ts';
import { type TimerEngine, withOffset } from '../timers/timer-engine.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import { type Timer, timerPutForEntry } from '../timers/timer-row.ts';
import { FailedRecords } from './failed-records.ts';
import {
  type FailureFacts,
  firstFacts,
  type RetriedRecord,
  retryBatch,
  toldFacts,
} from './retried-record.ts';
import type { Nack } from './retry-batch.ts';
import { originHeader, type RecordPlace, timesHeader } from './retry-headers.ts';
import { delayOf } from './retry-schedule.ts';
import type { RetrySettings } from './retry-settings.ts';
import { retryGroupOf } from './retry-topics.ts';
import { readSeenUntilMs, seenIndex, seenKey, seenPut } from './seen-row.ts';

export interface RetryPlannerOptions {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly timers: Pick<TimerEngine, 'added'>;
  /** Where records wait for their next delivery: by target, so that one partition's are in one of them. */
  readonly queues: readonly QueueId[];
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly deadLetters: DeadLetterWriter;
  readonly random: () => number;
}

export interface RetryPlan {
  readonly entries: AppendEntry[];
  readonly changes: IndexChange[];
  readonly conditions: IndexCondition[];
  /** To be told to the timer engine; `entry`: the source is that entry. */
  readonly timers: { readonly timer: Timer; readonly entry?: number }[];
  readonly letters: DeadLetterReason[];
  scheduled: number;
  repeated: number;
}

/** Failures told of in one partition of a group's retry topic. */
export interface RetryWork {
  readonly group: string;
  readonly settings: RetrySettings;
  readonly topic: Topic;
  readonly partition: Partition;
  readonly nacks: readonly Nack[];
  /** Nobody can be refused any more: what cannot be retried becomes a dead letter, with what is known of it. */
  readonly isDecided: boolean;
}

/** Why there is no plan: the records' fault, the group's (its dead-letter topic), or all of it is too much at once. */
export type NoPlan =
  | { readonly faults: readonly RecordFault[] }
  | { readonly trouble: string; readonly index: number }
  | { readonly tooMuch: string };

/** A record that failed, with all that is known of it. */
interface Failed {
  readonly record: RetriedRecord | undefined;
  readonly facts: FailureFacts;
  /** Where the group met it. */
  readonly source: RecordPlace;
  readonly why?: string | undefined;
}

export class RetryPlanner {
  private readonly options: RetryPlannerOptions;

  constructor(options: RetryPlannerOptions) {
    this.options = options;
  }

  /** `loader`: what was read is kept for another try. `seen`: what the same append group notes already. */
  async plan(
    work: RetryWork,
    loader = new FailedRecords(this.options.engine),
    seen = new Set<string>(),
  ): Promise<RetryPlan | NoPlan> {
    const plan: RetryPlan = {
      entries: [],
      changes: [],
      conditions: [],
      timers: [],
      letters: [],
      scheduled: 0,
      repeated: 0,
    };
    const faults: RecordFault[] = [];
    let deadLetters: DeadLetterTarget | undefined;
    for (const nack of work.nacks) {
      const failed = await this.failedOf(nack, work, loader, seen, plan);
      if (failed === undefined) continue;
      if ('tooMuch' in failed) return failed;
      if ('fault' in failed) {
        if (faults.length < maxRecordFaults) faults.push(faultOf(nack.index, failed.fault));
        continue;
      }
      const reason = reasonToGiveUp(nack, failed, work.settings);
      if (reason === undefined) {
        this.schedule(nack, failed, work, plan);
        continue;
      }
      if (deadLetters === undefined) {
        const resolved = await this.options.deadLetters.resolve(work.group);
        if (resolved === 'none') {
          return { trouble: `Group ${work.group} has no dead-letter topic`, index: nack.index };
        }
        if ('trouble' in resolved) return { trouble: resolved.trouble, index: nack.index };
        deadLetters = resolved;
      }
      if (failed.source.topic === deadLetters.topic.name) {
        if (work.isDecided) continue;
        const message = `${failed.source.topic} has this record as a dead letter already; ${timesHeader}: 0 begins anew`;
        faults.push(faultOf(nack.index, message));
        continue;
      }
      plan.entries.push(this.options.deadLetters.entryOf(letterOf(nack, failed, reason, work), deadLetters));
      plan.letters.push(reason);
    }
    return faults.length > 0 ? { faults } : plan;
  }

  /** The plan's entries stand in the log, with these results: its timers are set. */
  appended(plan: RetryPlan, results: readonly AppendResult[]): void {
    for (const { timer, entry } of plan.timers) {
      this.options.timers.added(entry === undefined ? timer : withOffset(timer, results[entry]!));
    }
  }

  /** Undefined: known already. */
  private async failedOf(
    nack: Nack,
    work: RetryWork,
    loader: FailedRecords,
    seen: Set<string>,
    plan: RetryPlan,
  ): Promise<Failed | { readonly fault: string } | { readonly tooMuch: string } | undefined> {
    const { failed } = nack;
    if ('record' in failed) {
      const { topic, partition } = work;
      const facts = { ...toldFacts(failed.record), times: nack.times ?? 0 };
      // Where nobody says where it came from, this is the only place that is known of it.
      const source = facts.origin ?? { topic: topic.name, partition: partition.index, offset: -1 };
      return { record: failed.record, facts, source };
    }
    const { place } = failed;
    const gone = (why: string | undefined): Failed => ({
      record: undefined,
      facts: goneFacts(nack, place),
      source: place,
      why,
    });
    const unless = (fault: string): Failed | { readonly fault: string } =>
      work.isDecided ? gone(fault) : { fault };
    const misplaced = this.placeFault(place, work.group);
    if (misplaced !== undefined) return unless(misplaced);
    const topic = this.options.topics.get(place.topic)!;
    const partition = topic.partitions[place.partition]!;
    const owner = retryGroupOf(topic);
    if (work.settings.dedupMs > 0 && (await this.isRepeated(topic, place, work, seen, plan)))
      return undefined;
    const loaded = await loader.load(partition.queue, place.offset);
    if ('record' in loaded) {
      const { record } = loaded;
      const isOwn =
        owner === work.group || (topic.settings.takesDeadLetters && this.isDeadLetterTopic(topic, work));
      const facts = isOwn ? toldFacts(record) : firstFacts(record, place, topic.id);
      // A dead letter begins anew where that is said; everywhere else the broker counts.
      const times = owner === undefined && isOwn ? (nack.times ?? facts.times) : facts.times;
      return { record, facts: { ...facts, times }, source: place };
    }
    const name = `${place.topic}-${place.partition}`;
    switch (loaded.missing) {
      case 'never':
        return unless(`${name} has no offset ${place.offset} (${originHeader})`);
      case 'marker':
        return unless(`At ${place.offset} of ${name} stands no record`);
      case 'too-much':
        return { tooMuch: 'What the records of this batch name is too large for one; send fewer at once' };
      case 'gone':
        return gone(loaded.why);
    }
  }

  /** Why a record there is none that the group could have failed at; undefined where it may be. Says nothing of the offset. */
  placeFault(place: RecordPlace, group: string): string | undefined {
    const topic = this.options.topics.get(place.topic);
    if (topic?.partitions[place.partition] === undefined) {
      return `There is no ${place.topic}-${place.partition} (${originHeader})`;
    }
    const owner = retryGroupOf(topic);
    return topic.isInternal || (owner !== undefined && owner !== group)
      ? `Records of ${place.topic} are no concern of group ${group}`
      : undefined;
  }

  private isDeadLetterTopic({ name }: Topic, { group }: RetryWork): boolean {
    const target = this.options.deadLetters.find(group);
    return target !== undefined && target !== 'none' && !('trouble' in target) && target.topic.name === name;
  }

  /** Whether this delivery was said to have failed before; else it is noted in the plan. */
  private async isRepeated(
    topic: Topic,
    place: RecordPlace,
    { group, settings }: RetryWork,
    seen: Set<string>,
    plan: RetryPlan,
  ): Promise<boolean> {
    const key = seenKey({ group, topicId: topic.id, partition: place.partition, offset: place.offset });
    const text = key.toString('latin1');
    const nowMs = this.options.clock.nowMs();
    const row = await this.options.engine.index(seenIndex).get(key);
    if (seen.has(text) || (row !== undefined && readSeenUntilMs(row) > nowMs)) {
      plan.repeated += 1;
      return true;
    }
    seen.add(text);
    const put = seenPut(key, nowMs + settings.dedupMs, row);
    plan.changes.push(...put.changes);
    plan.conditions.push(put.condition);
    plan.timers.push({ timer: put.timer });
    return false;
  }

  private schedule(
    nack: Nack,
    failed: Failed,
    { settings, topic, partition: produced }: RetryWork,
    plan: RetryPlan,
  ): void {
    const record = failed.record!;
    const nowMs = this.options.clock.nowMs();
    const times = failed.facts.times + 1;
    const delayMs = nack.delayMs ?? delayOf(times, settings.schedule, this.options.random);
    const facts = { ...failed.facts, times, error: nack.error ?? failed.facts.error };
    const payload = retryBatch(record, facts, settings.maxTimes);
    const maxTimestampMs = Math.max(-1, safeIntegerOrUndefined(batchMaxTimestamp(payload, 0)) ?? -1);
    // A copy stays where its producer sent it; of a pointer the producer need not know the key.
    const isCopy = 'record' in nack.failed;
    const partition =
      isCopy || record.key === null
        ? produced
        : topic.partitions[partitionOfKey(record.key, topic.partitions.length)]!;
    plan.scheduled += 1;
    if (delayMs <= 0) {
      plan.entries.push(dueNow(topic, partition.queue, payload, maxTimestampMs, nowMs));
      return;
    }
    const hidden = this.options.queues[partition.queue % this.options.queues.length]!;
    const timer: Timer = {
      ...delayTimer(
        {
          topicId: topic.id,
          partition: partition.index,
          recordCount: 1,
          maxTimestampMs,
          sizeBytes: payload.length,
          storedMs: nowMs,
          isMoved: false,
          messageId: undefined,
        },
        nowMs + delayMs,
        hidden,
        0,
      ),
      kind: timerKinds.retryDelivery,
    };
    const entry = plan.entries.length;
    // State, so that no engine takes it for what may go when memory is short.
    plan.entries.push({ queue: hidden, kind: 'state', count: 1, maxTimestampMs: -1, payload });
    plan.changes.push(timerPutForEntry(timer, entry));
    plan.timers.push({ timer, entry });
  }
}

function goneFacts(nack: Nack, place: RecordPlace): FailureFacts {
  return {
    times: nack.times ?? 0,
    topic: place.topic,
    origin: place,
    originMessageId: undefined,
    bornMs: '-1',
    error: undefined,
    redriveTimes: 0,
  };
}

function reasonToGiveUp(nack: Nack, failed: Failed, settings: RetrySettings): DeadLetterReason | undefined {
  if (failed.record === undefined) return 'origin-gone';
  if (nack.action === 'dlq') return settings.isPoison === true ? 'poison' : 'requested';
  return failed.facts.times >= settings.maxTimes ? 'exhausted' : undefined;
}

function letterOf(
  nack: Nack,
  { record, facts, source, why }: Failed,
  reason: DeadLetterReason,
  { group, settings }: RetryWork,
): DeadLetter {
  const error = nack.error ?? facts.error;
  return {
    group,
    // Where it was before any retry, for whoever wants to find it there.
    source: facts.origin ?? source,
    deliveryCount: facts.times + 1,
    reason,
    message: error?.toString('utf8') ?? why,
    record,
    originMessageId: facts.originMessageId,
    maxTimes: settings.maxTimes,
    redriveTimes: facts.redriveTimes,
  };
}

function dueNow(
  topic: Topic,
  queue: QueueId,
  payload: Buffer,
  maxTimestampMs: number,
  nowMs: number,
): AppendEntry {
  if (topic.settings.messageTimestampType !== 'LogAppendTime') {
    return { queue, kind: 'data', count: 1, maxTimestampMs, payload };
  }
  setBatchMaxTimestamp(payload, 0, 'LogAppendTime', nowMs);
  return { queue, kind: 'data', count: 1, maxTimestampMs: nowMs, payload };
}

function faultOf(batchIndex: number, message: string): RecordFault {
  return { batchIndex, batchIndexErrorMessage: message };
}
