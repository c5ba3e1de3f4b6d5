/**
 * Half messages on their way in: they are taken out of the batch and kept in hidden queues, each with its row and the timer of its
 * first check, in the group of the batch's other records. Always durable before the answer. An id that is known already is stored and left
 * alone: the producer sent it again.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import type {
  AppendEntry,
  AppendResult,
  IndexChange,
  IndexCondition,
  ProducerFacts,
  QueueId,
  StorageEngine,
} from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import { errorOfAppend, type RecordFault } from '../../append/append-result.ts';
import type {
  AppendStep,
  AppendTarget,
  PerformedWork,
  PlannedAppend,
  PlannedWork,
} from '../../append/append-steps.ts';
import { AdmittedBatch, Refusal } from '../../append/batch-admission.ts';
import { movedBy, type TimerEngine, withOffset } from '../timers/timer-engine.ts';
import { timerPutForEntry } from '../timers/timer-row.ts';
import { type HalfRecord, splitHalves } from './half-batch.ts';
import {
  checkTimer,
  halfIndex,
  halfIsUnknown,
  halfKey,
  halfPutForEntry,
  type PendingHalf,
} from './half-row.ts';
import type { HalfTopics } from './half-topics.ts';

export interface HalfStepOptions {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly timers: TimerEngine;
  /** Where half messages lie: by target, so that one partition's are in one of them. */
  readonly queues: readonly QueueId[];
  readonly topics: HalfTopics;
  /** What the batch's other records go through. */
  readonly others: AppendStep;
  readonly timeoutMsOf: (producerGroup: string) => number;
}

/** Other records of the batch, as entries, and what goes with them. */
type Rest = PlannedAppend | undefined;

const hiddenAnswer: PerformedWork = { baseOffset: -1, logStartOffset: -1 };
/** How often ids may turn out to be known between the look and the append. */
const maxAttempts = 10;

export class HalfStep implements AppendStep {
  readonly name = 'half-message';
  private readonly options: HalfStepOptions;
  /** By partition: what follows a batch that waits must wait too, or its sequences would come before. */
  private readonly underWay = new Map<QueueId, Promise<unknown>>();
  /** Half messages taken. */
  stored = 0;

  constructor(options: HalfStepOptions) {
    this.options = options;
  }

  apply(batch: AdmittedBatch, target: AppendTarget): PlannedAppend | PlannedWork | Refusal | undefined {
    const { messageType, delayMaxMs } = target.topic.settings;
    if (messageType !== 'TRANSACTION' && messageType !== 'MIXED') return undefined;
    const nowMs = this.options.clock.nowMs();
    try {
      const split = splitHalves(batch.payload, { messageType, nowMs, maxDelayMs: delayMaxMs });
      if (split !== undefined && 'faults' in split) return refuse(split.faults);
      if (split === undefined) return this.inOrder(batch, target);
      if (batch.isTransactional) {
        return refuse([fault(0, 'A half message cannot be part of a Kafka transaction')]);
      }
      let rest: Rest;
      if (split.rest !== undefined) {
        const { payload, recordCount, maxTimestampMs } = split.rest;
        const others = new AdmittedBatch(payload, recordCount, maxTimestampMs, -1, batch.logAppendTimeMs);
        const planned = this.options.others.apply(others, target);
        if (planned instanceof Refusal) return planned;
        rest =
          planned !== undefined && 'group' in planned
            ? planned
            : { group: { durability: 'sync', entries: [dataEntry(target, others)] }, answeringEntry: 0 };
      }
      const producer = producerOf(batch, target.partition.queue);
      const { halves } = split;
      return this.chained(target.partition.queue, () => this.perform(halves, rest, producer, target, nowMs));
    } catch (error) {
      if (error instanceof RecordError) return new Refusal(errorCodes[error.codeName], error.message);
      throw error;
    }
  }

  /** A batch without half messages behind one with: it waits its turn. */
  private inOrder(batch: AdmittedBatch, target: AppendTarget): PlannedWork | Refusal | undefined {
    const { queue } = target.partition;
    if (batch.producerId < 0 || batch.isTransactional || !this.underWay.has(queue)) return undefined;
    const planned = this.options.others.apply(batch, target);
    if (planned instanceof Refusal) return planned;
    const producer = producerOf(batch, queue)!;
    const plan: PlannedAppend =
      planned !== undefined && 'group' in planned
        ? planned
        : {
            group: {
              durability: target.durability,
              entries: [{ ...dataEntry(target, batch), payload: Buffer.from(batch.payload), producer }],
            },
            answeringEntry: 0,
          };
    return this.chained(queue, async () => {
      const results = await this.options.engine.append(plan.group);
      const answer = results[Math.max(plan.answeringEntry, 0)]!;
      if (answer.outcome === 'appended') plan.appended?.(results);
      if (answer.outcome !== 'appended' && answer.outcome !== 'duplicate') {
        return new Refusal(errorOfAppend(results), null);
      }
      if (answer.outcome === 'duplicate') await this.options.engine.whenDurable();
      return plan.answeringEntry < 0
        ? hiddenAnswer
        : { baseOffset: answer.baseOffset, logStartOffset: answer.logStartOffset };
    });
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

  private async perform(
    halves: readonly HalfRecord[],
    rest: Rest,
    producer: ProducerFacts | undefined,
    target: AppendTarget,
    nowMs: number,
  ): Promise<Refusal | PerformedWork> {
    const { engine, topics } = this.options;
    for (const group of new Set(halves.map(({ id }) => id.producerGroup))) {
      const trouble = await topics.ensure(group);
      if (trouble !== undefined) return refuse([fault(0, trouble)]);
    }
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const known = await this.knownOf(halves);
      const plan = this.plan(halves, known, rest, producer, target, nowMs);
      if (plan.group.entries.length === 0) {
        await engine.whenDurable();
        return hiddenAnswer;
      }
      const results = await engine.append(plan.group);
      if (results.every(({ outcome }) => outcome === 'appended')) {
        plan.appended?.(results);
        return hiddenAnswer;
      }
      if (results.some(({ outcome }) => outcome === 'duplicate')) {
        await engine.whenDurable();
        return hiddenAnswer;
      }
      const isKnownNow = results.some(
        (result) => result.outcome === 'refused' && result.reason === 'condition-failed',
      );
      if (!isKnownNow) return new Refusal(errorOfAppend(results), null);
    }
    return new Refusal(errorCodes.REQUEST_TIMED_OUT, null);
  }

  /** Keys, as text, of the ids that have a row. */
  private async knownOf(halves: readonly HalfRecord[]): Promise<ReadonlySet<string>> {
    const known = new Set<string>();
    const index = this.options.engine.index(halfIndex);
    for (const { id } of halves) {
      const key = halfKey(id);
      if ((await index.get(key)) !== undefined) known.add(key.toString('latin1'));
    }
    return known;
  }

  private plan(
    halves: readonly HalfRecord[],
    known: ReadonlySet<string>,
    rest: Rest,
    producer: ProducerFacts | undefined,
    { topic, partition }: AppendTarget,
    nowMs: number,
  ): PlannedAppend {
    const hidden = this.options.queues[partition.queue % this.options.queues.length]!;
    const entries: AppendEntry[] = [];
    const changes: IndexChange[] = [];
    const conditions: IndexCondition[] = [];
    const timers: { readonly half: PendingHalf; readonly record: HalfRecord; readonly entry: number }[] = [];
    const taken = new Set(known);
    for (const record of halves) {
      const entry = entries.length;
      const key = halfKey(record.id).toString('latin1');
      // What was sent again is only kept where it carries the sequences.
      if (taken.has(key) && (entry > 0 || producer === undefined)) continue;
      entries.push({
        queue: hidden,
        kind: 'state',
        count: 1,
        maxTimestampMs: -1,
        payload: record.payload,
        // The facts of the producer stand on one entry, for the partition that it produced to.
        ...(entry === 0 && producer !== undefined ? { producer } : {}),
      });
      if (taken.has(key)) continue;
      taken.add(key);
      const waitMs = record.immunityMs ?? this.options.timeoutMsOf(record.id.producerGroup);
      const half: PendingHalf = {
        state: 'pending',
        source: { queue: hidden, offset: 0 },
        checkAtMs: nowMs + waitMs,
        checks: 0,
        bornMs: nowMs,
        topicId: topic.id,
        partition: partition.index,
        maxTimestampMs: record.maxTimestampMs,
        sizeBytes: record.payload.length,
        delay: record.delay,
      };
      changes.push(halfPutForEntry(record.id, half, entry));
      changes.push(timerPutForEntry(checkTimer(record.id, half), entry));
      conditions.push(halfIsUnknown(record.id));
      timers.push({ half, record, entry });
    }
    const first = entries.length;
    if (rest !== undefined) {
      entries.push(...rest.group.entries);
      for (const change of rest.group.changes ?? []) changes.push(movedBy(change, first));
    }
    return {
      group: { durability: 'sync', entries, changes, conditions },
      answeringEntry: -1,
      appended: (results: readonly AppendResult[]) => {
        this.stored += timers.length;
        for (const { half, record, entry } of timers) {
          this.options.timers.added(withOffset(checkTimer(record.id, half), results[entry]!));
        }
        rest?.appended?.(results.slice(first));
      },
    };
  }
}

function dataEntry({ partition }: AppendTarget, batch: AdmittedBatch): AppendEntry {
  const { payload, recordCount, maxTimestampMs } = batch;
  return { queue: partition.queue, kind: 'data', count: recordCount, maxTimestampMs, payload };
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

function fault(batchIndex: number, message: string): RecordFault {
  return { batchIndex, batchIndexErrorMessage: message };
}

function refuse(faults: readonly RecordFault[]): Refusal {
  const [first] = faults;
  const message = `Record ${first!.batchIndex}: ${first!.batchIndexErrorMessage}`;
  return new Refusal(errorCodes.INVALID_RECORD, message, faults);
}
