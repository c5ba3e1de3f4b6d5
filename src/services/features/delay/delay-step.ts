/**
 * Delayed records on their way in: on topics that take them the batch is taken apart and what is due later is put aside, small parts in
 * the rows of their timers, larger ones in hidden queues, all in one append group (of a transaction's batch, held until its end); on all
 * others a record that asks for what its topic does not do is refused,
 * wherever that can be seen at little cost.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import { batchCodecId } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../../protocol/records/record-batch-builder.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import type {
  AppendEntry,
  AppendResult,
  IndexChange,
  ProducerFacts,
  QueueId,
} from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import type { RecordFault } from '../../append/append-result.ts';
import type { AppendStep, AppendTarget, HeldEntry, PlannedAppend } from '../../append/append-steps.ts';
import { type AdmittedBatch, Refusal } from '../../append/batch-admission.ts';
import type { Topic } from '../../topics/topic.ts';
import { heldFeatures } from '../../transactions/held-records.ts';
import { mayHoldControlHeader } from '../control-headers.ts';
import { type TimerEngine, withOffset } from '../timers/timer-engine.ts';
import { type Timer, timerPutForEntry } from '../timers/timer-row.ts';
import { heldDelayed, heldDelivered } from './delay-held.ts';
import { type DelayedBatch, delayTimer, largestBatchInRow } from './delay-row.ts';
import { type DelayedPart, findControlHeaders, type SplitBatch, splitDelayed } from './delayed-records.ts';
import { idEnded, idPut } from './message-ids.ts';

export interface DelayStepOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly timers: TimerEngine;
  /** Where what is delayed lies: by target, so that one partition's records are in one of them. */
  readonly queues: readonly QueueId[];
  /** rmq.delay.outcome.retention.ms, read at every use. */
  readonly outcomeKeptMs: () => number;
}

/** Produce versions that carry no error message: why a batch was refused is told to the log instead. */
const firstVersionWithMessages = 8;
/** Topics that were told of; beyond it no more are. */
const maxTopicsTold = 1000;

export class DelayStep implements AppendStep {
  readonly name = 'delay';
  private readonly options: DelayStepOptions;
  private readonly told = new Set<string>();
  /** Records that were delayed. */
  scheduled = 0;

  constructor(options: DelayStepOptions) {
    this.options = options;
  }

  /** A transaction that held so many was committed. */
  scheduledLater(records: number): void {
    this.scheduled += records;
  }

  apply(batch: AdmittedBatch, target: AppendTarget): PlannedAppend | Refusal | undefined {
    const { messageType } = target.topic.settings;
    try {
      return messageType === 'DELAY' || messageType === 'MIXED'
        ? this.delay(batch, target)
        : this.guard(batch, target);
    } catch (error) {
      if (error instanceof RecordError) return new Refusal(errorCodes[error.codeName], error.message);
      throw error;
    }
  }

  /** A topic without delays: a control header would be lost, so it is refused. A compressed batch is not opened for it. */
  private guard({ payload }: AdmittedBatch, target: AppendTarget): Refusal | undefined {
    if (!mayHoldControlHeader(payload, 0, payload.length) || batchCodecId(payload, 0) !== 0) return undefined;
    const faults = findControlHeaders(payload, target.topic.settings.messageType);
    return faults.length === 0 ? undefined : this.refuse(faults, target);
  }

  private delay(batch: AdmittedBatch, target: AppendTarget): PlannedAppend | Refusal | undefined {
    const { topic, partition } = target;
    const { messageType, delayMaxMs, delayDefaultMs } = topic.settings;
    const nowMs = this.options.clock.nowMs();
    const split = splitDelayed(batch.payload, {
      messageType,
      nowMs,
      maxDelayMs: delayMaxMs,
      defaultDelayMs: delayDefaultMs,
    });
    if (split === undefined) return undefined;
    if ('faults' in split) return this.refuse(split.faults, target);
    const hidden = this.options.queues[partition.queue % this.options.queues.length]!;
    return batch.isTransactional
      ? this.planHeld(batch, target, split, nowMs, hidden)
      : this.plan(batch, target, split, nowMs, hidden);
  }

  /** The transaction's end says whether what is delayed is scheduled or dropped. */
  private planHeld(
    batch: AdmittedBatch,
    { topic, partition, durability }: AppendTarget,
    split: SplitBatch,
    nowMs: number,
    hidden: QueueId,
  ): PlannedAppend {
    const entries: AppendEntry[] = [];
    const held: HeldEntry[] = [];
    const feature = heldFeatures.delayedRecord;
    const producer = producerOf(batch, partition.queue);
    const add = (entry: AppendEntry) =>
      entries.push(entries.length > 0 || producer === undefined ? entry : { ...entry, producer });
    if (split.immediate !== undefined) {
      const { payload, recordCount, maxTimestampMs } = split.immediate;
      add({ queue: partition.queue, kind: 'data', count: recordCount, maxTimestampMs, payload });
      for (const id of split.deliveredIds) {
        held.push({ entry: 0, feature, payload: heldDelivered(topic.id, id) });
      }
    }
    for (const part of split.delayed) {
      const waiting = delayedBatchOf(part, topic, partition.index, nowMs);
      held.push({ entry: entries.length, feature, payload: heldDelayed(waiting, part.dueMs) });
      add(hiddenEntry(hidden, part.payload, part.recordCount));
    }
    return {
      group: { durability, entries },
      answeringEntry: split.delayed.length === 0 ? 0 : -1,
      held,
    };
  }

  private plan(
    batch: AdmittedBatch,
    target: AppendTarget,
    split: SplitBatch,
    nowMs: number,
    hidden: QueueId,
  ): PlannedAppend {
    const { topic, partition, durability } = target;
    const entries: AppendEntry[] = [];
    const changes: IndexChange[] = [];
    const timers: { readonly timer: Timer; readonly entry?: number; readonly plus?: number }[] = [];
    // The facts of the producer stand on one entry, for the partition that it produced to.
    let producer = producerOf(batch, partition.queue);
    const add = (entry: AppendEntry) => {
      entries.push(producer === undefined ? entry : { ...entry, producer });
      producer = undefined;
    };
    if (split.immediate !== undefined) {
      const { payload, recordCount, maxTimestampMs } = split.immediate;
      add({ queue: partition.queue, kind: 'data', count: recordCount, maxTimestampMs, payload });
    }
    for (const id of split.deliveredIds) {
      const ended = idEnded(topic.id, id, 'delivered', nowMs, this.options.outcomeKeptMs());
      changes.push(...ended.changes);
      if (ended.timer !== undefined) timers.push({ timer: ended.timer });
    }
    for (const part of split.delayed) {
      const isInRow = part.payload.length <= largestBatchInRow;
      let entry = entries.length;
      let plus = 0;
      if (!isInRow) add(hiddenEntry(hidden, part.payload, part.recordCount));
      else if (entries.at(-1)?.payload === emptyBatch) {
        entry -= 1;
        plus = entries[entry]!.count;
        entries[entry] = { ...entries[entry]!, count: plus + 1 };
      } else add(hiddenEntry(hidden, emptyBatch, 1));
      const batch = delayedBatchOf(part, topic, partition.index, nowMs);
      const timer = delayTimer(isInRow ? { ...batch, inRow: part.payload } : batch, part.dueMs, hidden, 0);
      changes.push(timerPutForEntry(timer, entry, plus));
      if (part.messageId !== undefined) changes.push(idPut(topic.id, part.messageId, timer, entry, plus));
      timers.push({ timer, entry, plus });
    }
    const flushMs = topic.settings.flushMs;
    return {
      group: {
        durability,
        entries,
        changes,
        ...(flushMs === Number.POSITIVE_INFINITY ? {} : { flushWithinMs: flushMs }),
      },
      answeringEntry: split.delayed.length === 0 ? 0 : -1,
      appended: (results: readonly AppendResult[]) => {
        for (const part of split.delayed) this.scheduled += part.recordCount;
        for (const { timer, entry, plus } of timers) {
          this.options.timers.added(entry === undefined ? timer : withOffset(timer, results[entry]!, plus));
        }
      },
    };
  }

  private refuse(faults: readonly RecordFault[], { topic, version }: AppendTarget): Refusal {
    const [first] = faults;
    const message = `Record ${first!.batchIndex}: ${first!.batchIndexErrorMessage}`;
    if (version < firstVersionWithMessages && !this.told.has(topic.name) && this.told.size < maxTopicsTold) {
      this.told.add(topic.name);
      this.options.log.warn(
        { topic: topic.name, produceVersion: version },
        `a record was refused by a client too old to be told why: ${message}`,
      );
    }
    return new Refusal(errorCodes.INVALID_RECORD, message, faults);
  }
}

/** State, so that no engine takes it for what may go when memory is short. */
function hiddenEntry(queue: QueueId, payload: Buffer, count: number): AppendEntry {
  return { queue, kind: 'state', count, maxTimestampMs: -1, payload };
}

/** Stands for batches in rows, one offset each: it gives them their order and carries the producer's sequence. Nobody reads it. */
const emptyBatch = buildRecordBatch([]);

function delayedBatchOf(part: DelayedPart, topic: Topic, partition: number, nowMs: number): DelayedBatch {
  return {
    topicId: topic.id,
    partition,
    recordCount: part.recordCount,
    maxTimestampMs: part.maxTimestampMs,
    sizeBytes: part.payload.length,
    storedMs: nowMs,
    isMoved: false,
    messageId: part.messageId,
  };
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
