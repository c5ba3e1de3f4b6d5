/**
 * What is produced to a retry topic: each record says that one failed for the topic's group. The broker counts, and either keeps the
 * record until it is due, when a timer delivers it in the same topic, or makes a dead letter of it. What a batch says is done whole, in
 * one append group with the producer's sequences, or not at all; refusals name the records.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import {
  batchCodecId,
  batchMaxTimestamp,
  setBatchMaxTimestamp,
} from '../../../../protocol/records/record-batch.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import { safeIntegerOrUndefined } from '../../../../protocol/wire/int64.ts';
import type {
  AppendEntry,
  AppendGroup,
  IndexChange,
  IndexCondition,
  ProducerFacts,
  QueueId,
  StorageEngine,
} from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import { partitionOfKey } from '../../../util/murmur2.ts';
import { errorOfAppend, type RecordFault } from '../../append/append-result.ts';
import type { AppendStep, AppendTarget, PerformedWork, PlannedWork } from '../../append/append-steps.ts';
import { type AdmittedBatch, maxRecordFaults, Refusal } from '../../append/batch-admission.ts';
import type { Topic, TopicDirectory } from '../../topics/topic.ts';
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
import { isPointer, maxRetryBatchBytes, type Nack, readNacks } from './retry-batch.ts';
import { originHeader, type RecordPlace, timesHeader } from './retry-headers.ts';
import { delayOf } from './retry-schedule.ts';
import { type GroupValues, type RetrySettings, retryPrefix, retrySettingsOf } from './retry-settings.ts';
import { retryGroupOf, retryRole } from './retry-topics.ts';
import { readSeenUntilMs, seenIndex, seenKey, seenPut } from './seen-row.ts';

export interface RetryStepOptions {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly timers: TimerEngine;
  /** Where records wait for their next delivery: by target, so that one partition's are in one of them. */
  readonly queues: readonly QueueId[];
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly groupConfigs: GroupValues;
  readonly deadLetters: DeadLetterWriter;
  readonly random: () => number;
}

const hiddenAnswer: PerformedWork = { baseOffset: -1, logStartOffset: -1 };
/** How often rows may change between the look and the append. */
const maxAttempts = 10;
const pointerPrefix = Buffer.from(originHeader);

/** What a batch comes to: entries and rows of one group, and what is to be told once it stands. */
interface Plan {
  readonly entries: AppendEntry[];
  readonly changes: IndexChange[];
  readonly conditions: IndexCondition[];
  readonly timers: { readonly timer: Timer; readonly entry: number | undefined }[];
  readonly letters: DeadLetterReason[];
  scheduled: number;
  repeated: number;
}

/** What is retried by one batch, looked up once. */
interface Work {
  readonly group: string;
  readonly settings: RetrySettings;
  readonly target: AppendTarget;
  readonly nacks: readonly Nack[];
  readonly producer: ProducerFacts | undefined;
  /** The batch as it came, for its sequences where nothing else is appended. */
  readonly batch: Buffer;
}

/** A record that failed, with all that is known of it. */
interface Failed {
  readonly record: RetriedRecord | undefined;
  readonly facts: FailureFacts;
  /** Where the group met it. */
  readonly source: RecordPlace;
  readonly why?: string | undefined;
}

export class RetryStep implements AppendStep {
  readonly name = 'retry';
  private readonly options: RetryStepOptions;
  /** By partition: batches are done in the order in which they came, or their sequences would be out of order. */
  private readonly underWay = new Map<QueueId, Promise<unknown>>();
  /** Since the start: records that will come again, and words of a failure that was known already. */
  scheduled = 0;
  repeated = 0;

  constructor(options: RetryStepOptions) {
    this.options = options;
  }

  apply(batch: AdmittedBatch, target: AppendTarget): PlannedWork | Refusal | undefined {
    const { topic } = target;
    try {
      if (topic.settings.role !== retryRole) return guardPlain(batch, topic);
      const group = retryGroupOf(topic);
      if (group === undefined) return refuse([faultOf(0, `${topic.name} names no group (rmq.retry.group)`)]);
      if (batch.isTransactional) {
        return refuse([faultOf(0, 'Retries inside a Kafka transaction are not served by this version')]);
      }
      const settings = retrySettingsOf(this.options.groupConfigs, group);
      if (!settings.isEnabled) {
        return refuse([faultOf(0, `Group ${group} has no retries; its rmq.retry.enable must be true`)]);
      }
      const payload = Buffer.from(batch.payload);
      const read = readNacks(payload);
      if ('tooMany' in read) return new Refusal(errorCodes.MESSAGE_TOO_LARGE, read.tooMany);
      if ('faults' in read) return refuse(read.faults);
      const producer = producerOf(batch, target.partition.queue);
      const work = { group, settings, target, nacks: read.nacks, producer, batch: payload };
      return this.chained(target.partition.queue, () => this.perform(work));
    } catch (error) {
      if (error instanceof RecordError) return new Refusal(errorCodes[error.codeName], error.message);
      throw error;
    }
  }

  private chained(queue: QueueId, work: () => Promise<Refusal | PerformedWork>): PlannedWork {
    return {
      perform: () => {
        const before = this.underWay.get(queue) ?? Promise.resolve();
        const done = before.then(work);
        const settled = done
          .catch(() => undefined)
          .then(() => {
            if (this.underWay.get(queue) === settled) this.underWay.delete(queue);
          });
        this.underWay.set(queue, settled);
        return done;
      },
    };
  }

  private async perform(work: Work): Promise<Refusal | PerformedWork> {
    const { engine } = this.options;
    const loader = new FailedRecords(engine);
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const plan = await this.plan(work, loader);
      if (plan instanceof Refusal) return plan;
      if (plan.entries.length === 0) {
        // Known already, by rows that may be read before they are durable.
        await engine.whenDurable();
        this.repeated += plan.repeated;
        return hiddenAnswer;
      }
      const { entries, changes, conditions } = plan;
      const group: AppendGroup = { durability: 'sync', entries, changes, conditions };
      const results = await engine.append(group);
      if (results.every(({ outcome }) => outcome === 'appended')) {
        this.scheduled += plan.scheduled;
        this.repeated += plan.repeated;
        for (const reason of plan.letters) this.options.deadLetters.count(reason);
        for (const { timer, entry } of plan.timers) {
          this.options.timers.added(entry === undefined ? timer : withOffset(timer, results[entry]!));
        }
        return hiddenAnswer;
      }
      if (results.some(({ outcome }) => outcome === 'duplicate')) {
        await engine.whenDurable();
        return hiddenAnswer;
      }
      const hasChanged = results.some(
        (result) => result.outcome === 'refused' && result.reason === 'condition-failed',
      );
      if (!hasChanged) return new Refusal(errorOfAppend(results), null);
    }
    return new Refusal(errorCodes.REQUEST_TIMED_OUT, null);
  }

  private async plan(work: Work, loader: FailedRecords): Promise<Plan | Refusal> {
    const plan: Plan = {
      entries: [],
      changes: [],
      conditions: [],
      timers: [],
      letters: [],
      scheduled: 0,
      repeated: 0,
    };
    const faults: RecordFault[] = [];
    const seen = new Set<string>();
    let deadLetters: DeadLetterTarget | undefined;
    for (const nack of work.nacks) {
      const failed = await this.failedOf(nack, work, loader, seen, plan);
      if (failed === undefined) continue;
      if (failed instanceof Refusal) return failed;
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
        if (resolved === 'none')
          return refuse([faultOf(nack.index, `Group ${work.group} has no dead-letter topic`)]);
        if ('trouble' in resolved) return refuse([faultOf(nack.index, resolved.trouble)]);
        deadLetters = resolved;
      }
      if (failed.source.topic === deadLetters.topic.name) {
        const message = `${failed.source.topic} has this record as a dead letter already; ${timesHeader}: 0 begins anew`;
        faults.push(faultOf(nack.index, message));
        continue;
      }
      plan.entries.push(this.options.deadLetters.entryOf(letterOf(nack, failed, reason, work), deadLetters));
      plan.letters.push(reason);
    }
    if (faults.length > 0) return refuse(faults);
    this.addProducer(work, plan);
    return plan;
  }

  /** Undefined: known already. */
  private async failedOf(
    nack: Nack,
    work: Work,
    loader: FailedRecords,
    seen: Set<string>,
    plan: Plan,
  ): Promise<Failed | { readonly fault: string } | Refusal | undefined> {
    const { failed } = nack;
    if ('record' in failed) {
      const { topic, partition } = work.target;
      const facts = { ...toldFacts(failed.record), times: nack.times ?? 0 };
      // Where nobody says where it came from, this is the only place that is known of it.
      const source = facts.origin ?? { topic: topic.name, partition: partition.index, offset: -1 };
      return { record: failed.record, facts, source };
    }
    const { place } = failed;
    const topic = this.options.topics.get(place.topic);
    const partition = topic?.partitions[place.partition];
    const name = `${place.topic}-${place.partition}`;
    if (topic === undefined || partition === undefined)
      return { fault: `There is no ${name} (${originHeader})` };
    const owner = retryGroupOf(topic);
    if (topic.isInternal || (owner !== undefined && owner !== work.group)) {
      return { fault: `Records of ${place.topic} are no concern of group ${work.group}` };
    }
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
    switch (loaded.missing) {
      case 'never':
        return { fault: `${name} has no offset ${place.offset} (${originHeader})` };
      case 'marker':
        return { fault: `At ${place.offset} of ${name} stands no record` };
      case 'too-much':
        return new Refusal(
          errorCodes.MESSAGE_TOO_LARGE,
          'What the records of this batch name is too large for one; send fewer at once',
        );
      case 'gone': {
        const facts: FailureFacts = {
          times: nack.times ?? 0,
          topic: place.topic,
          origin: place,
          originMessageId: undefined,
          bornMs: '-1',
          error: undefined,
          redriveTimes: 0,
        };
        return { record: undefined, facts, source: place, why: loaded.why };
      }
    }
  }

  private isDeadLetterTopic({ name }: Topic, { group }: Work): boolean {
    const target = this.options.deadLetters.find(group);
    return target !== undefined && target !== 'none' && !('trouble' in target) && target.topic.name === name;
  }

  /** Whether this delivery was said to have failed before; else it is noted in the plan. */
  private async isRepeated(
    topic: Topic,
    place: RecordPlace,
    { group, settings }: Work,
    seen: Set<string>,
    plan: Plan,
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
    plan.timers.push({ timer: put.timer, entry: undefined });
    return false;
  }

  private schedule(nack: Nack, failed: Failed, { settings, target }: Work, plan: Plan): void {
    const { topic } = target;
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
        ? target.partition
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

  /** The facts of the producer stand on one entry, for the partition that it produced to. */
  private addProducer({ producer, target, batch }: Work, plan: Plan): void {
    if (producer === undefined) return;
    const [first] = plan.entries;
    if (first !== undefined) plan.entries[0] = { ...first, producer };
    else {
      const queue = this.options.queues[target.partition.queue % this.options.queues.length]!;
      plan.entries.push({ queue, kind: 'state', count: 1, maxTimestampMs: -1, payload: batch, producer });
    }
  }
}

function reasonToGiveUp(nack: Nack, failed: Failed, settings: RetrySettings): DeadLetterReason | undefined {
  if (failed.record === undefined) return 'origin-gone';
  if (nack.action === 'dlq') return 'requested';
  return failed.facts.times >= settings.maxTimes ? 'exhausted' : undefined;
}

function letterOf(
  nack: Nack,
  { record, facts, source, why }: Failed,
  reason: DeadLetterReason,
  { group, settings }: Work,
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

/** A plain topic that is called like a retry topic: a pointer would be kept there as an empty record. */
function guardPlain({ payload }: AdmittedBatch, topic: Topic): Refusal | undefined {
  if (!topic.name.startsWith(retryPrefix)) return undefined;
  if (batchCodecId(payload, 0) === 0 && !payload.includes(pointerPrefix)) return undefined;
  const cursor = openBatch(payload, 0, { limitBytes: maxRetryBatchBytes });
  while (cursor.next()) {
    if (cursor.headerCount === 0 || !isPointer(cursor.headers(), cursor.valueLength)) continue;
    const message = `Header ${originHeader} points to a record that failed, and ${topic.name} is no retry topic: turn on rmq.retry.enable of the group`;
    return refuse([faultOf(cursor.index, message)]);
  }
  return undefined;
}

function producerOf(batch: AdmittedBatch, queue: QueueId): ProducerFacts | undefined {
  if (batch.producerId < 0) return undefined;
  return {
    countsForQueue: queue,
    producerId: batch.producerId,
    producerEpoch: batch.producerEpoch,
    firstSequence: batch.firstSequence,
    lastSequence: batch.lastSequence,
    isTransactional: false,
  };
}

function faultOf(batchIndex: number, message: string): RecordFault {
  return { batchIndex, batchIndexErrorMessage: message };
}

function refuse(faults: readonly RecordFault[]): Refusal {
  const [first] = faults;
  const message = `Record ${first!.batchIndex}: ${first!.batchIndexErrorMessage}`;
  return new Refusal(errorCodes.INVALID_RECORD, message, faults);
}
