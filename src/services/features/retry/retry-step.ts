/**
 * What is produced to a retry topic: each record says that one failed for the topic's group. The broker counts, and either keeps the
 * record until it is due, when a timer delivers it in the same topic, or makes a dead letter of it. What a batch says is done whole, in
 * one append group with the producer's sequences, or not at all; refusals name the records.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { batchCodecId } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../../protocol/records/record-batch-builder.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import type {
  AppendEntry,
  AppendGroup,
  ProducerFacts,
  QueueId,
  StorageEngine,
} from '../../../storage/engine.ts';
import { errorOfAppend, type RecordFault } from '../../append/append-result.ts';
import type {
  AppendStep,
  AppendTarget,
  HeldEntry,
  PerformedWork,
  PlannedAppend,
  PlannedWork,
} from '../../append/append-steps.ts';
import { type AdmittedBatch, Refusal } from '../../append/batch-admission.ts';
import type { Topic } from '../../topics/topic.ts';
import { heldFeatures } from '../../transactions/held-records.ts';
import type { DeadLetterWriter } from '../dead-letters/dead-letter-writer.ts';
import { FailedRecords } from './failed-records.ts';
import { isPointer, maxRetryBatchBytes, type Nack, readNacks } from './retry-batch.ts';
import { originHeader } from './retry-headers.ts';
import { heldNack } from './retry-held.ts';
import type { RetryPlan, RetryPlanner, RetryWork } from './retry-planner.ts';
import { type GroupValues, retryPrefix, retrySettingsOf } from './retry-settings.ts';
import { retryGroupOf, retryRole } from './retry-topics.ts';

export interface RetryStepOptions {
  readonly engine: StorageEngine;
  /** Where records wait: by target, so that one partition's are in one of them. */
  readonly queues: readonly QueueId[];
  readonly groupConfigs: GroupValues;
  readonly deadLetters: Pick<DeadLetterWriter, 'count'>;
  readonly planner: RetryPlanner;
}

const hiddenAnswer: PerformedWork = { baseOffset: -1, logStartOffset: -1 };
/** How often rows may change between the look and the append. */
const maxAttempts = 10;
const pointerPrefix = Buffer.from(originHeader);

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

  apply(batch: AdmittedBatch, target: AppendTarget): PlannedAppend | PlannedWork | Refusal | undefined {
    const { topic } = target;
    try {
      if (topic.settings.role !== retryRole) return guardPlain(batch, topic);
      const group = retryGroupOf(topic);
      if (group === undefined) return refuse([faultOf(0, `${topic.name} names no group (rmq.retry.group)`)]);
      const settings = retrySettingsOf(this.options.groupConfigs, group);
      if (!settings.isEnabled) {
        return refuse([faultOf(0, `Group ${group} has no retries; its rmq.retry.enable must be true`)]);
      }
      const payload = Buffer.from(batch.payload);
      const read = readNacks(payload);
      if ('tooMany' in read) return new Refusal(errorCodes.MESSAGE_TOO_LARGE, read.tooMany);
      if ('faults' in read) return refuse(read.faults);
      const producer = producerOf(batch, target.partition.queue);
      const { nacks } = read;
      if (batch.isTransactional) return this.hold(nacks, group, target, producer);
      const work = { group, settings, topic, partition: target.partition, nacks, isDecided: false };
      return this.chained(target.partition.queue, () => this.perform(work, payload, producer));
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

  /** What a transaction says of failures: the records wait as they came until its commit has them counted, or its abort drops them. */
  private hold(
    nacks: readonly Nack[],
    group: string,
    { topic, partition }: AppendTarget,
    producer: ProducerFacts | undefined,
  ): PlannedAppend | Refusal {
    const faults: RecordFault[] = [];
    const entries: AppendEntry[] = [];
    const held: HeldEntry[] = [];
    const queue = this.hiddenQueue(partition.queue);
    for (const { index, failed, record } of nacks) {
      const fault = 'place' in failed ? this.options.planner.placeFault(failed.place, group) : undefined;
      if (fault !== undefined) faults.push(faultOf(index, fault));
      const entry = entries.length;
      held.push({ entry, feature: heldFeatures.retryPointer, payload: heldNack(topic.id, partition.index) });
      const payload = buildRecordBatch([record!], { codec: record!.codec });
      const facts = entry === 0 && producer !== undefined ? { producer } : {};
      entries.push({ queue, kind: 'state', count: 1, maxTimestampMs: -1, payload, ...facts });
    }
    if (faults.length > 0) return refuse(faults);
    return { group: { durability: 'sync', entries }, answeringEntry: -1, held };
  }

  private async perform(
    work: RetryWork,
    batch: Buffer,
    producer: ProducerFacts | undefined,
  ): Promise<Refusal | PerformedWork> {
    const { engine, planner } = this.options;
    const loader = new FailedRecords(engine);
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const plan = await planner.plan(work, loader);
      if ('faults' in plan) return refuse(plan.faults);
      if ('trouble' in plan) return refuse([faultOf(plan.index, plan.trouble)]);
      if ('tooMuch' in plan) return new Refusal(errorCodes.MESSAGE_TOO_LARGE, plan.tooMuch);
      const { changes, conditions } = plan;
      const entries = this.withProducer(plan.entries, producer, work, batch);
      if (entries.length === 0) {
        // Known already, by rows that may be read before they are durable.
        await engine.whenDurable();
        this.repeated += plan.repeated;
        return hiddenAnswer;
      }
      const group: AppendGroup = { durability: 'sync', entries, changes, conditions };
      const results = await engine.append(group);
      if (results.every(({ outcome }) => outcome === 'appended')) {
        this.count(plan);
        planner.appended(plan, results);
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

  /** The plan stands in the log. */
  count({ scheduled, repeated, letters }: Pick<RetryPlan, 'scheduled' | 'repeated' | 'letters'>): void {
    this.scheduled += scheduled;
    this.repeated += repeated;
    for (const reason of letters) this.options.deadLetters.count(reason);
  }

  private hiddenQueue(queue: QueueId): QueueId {
    return this.options.queues[queue % this.options.queues.length]!;
  }

  /** The facts of the producer stand on one entry, for the partition that it produced to. */
  private withProducer(
    entries: readonly AppendEntry[],
    producer: ProducerFacts | undefined,
    { partition }: RetryWork,
    payload: Buffer,
  ): readonly AppendEntry[] {
    if (producer === undefined) return entries;
    const [first, ...others] = entries;
    if (first !== undefined) return [{ ...first, producer }, ...others];
    const queue = this.hiddenQueue(partition.queue);
    return [{ queue, kind: 'state', count: 1, maxTimestampMs: -1, payload, producer }];
  }
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
    isTransactional: batch.isTransactional,
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
