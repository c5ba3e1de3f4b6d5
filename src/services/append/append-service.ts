/**
 * Appends what producers send: a request is checked whole, then each partition's batch goes to the engine as a group of its
 * own, so that one partition's error does not stop the others. Knows nothing of the wire and of sockets.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type { AppendEntry, AppendGroup, AppendResult, QueueId, StorageEngine } from '../../storage/engine.ts';
import { assert } from '../../util/assert.ts';
import type { Clock } from '../../util/clock.ts';
import type { Topic, TopicDirectory } from '../topics/topic.ts';
import {
  errorOfAppend,
  errorOfRefusal,
  failedAppend,
  type PartitionAppendResult,
  succeededAppend,
} from './append-result.ts';
import type { AppendRoom } from './append-room.ts';
import type {
  AppendStep,
  AppendTarget,
  OpeningBatch,
  PlannedAppend,
  PlannedWork,
  TransactionGate,
} from './append-steps.ts';
import { type AdmittedBatch, admitRecords, Refusal } from './batch-admission.ts';

export interface AppendSettings {
  /**
   * rmq.flush.policy. acks: acks=all is answered when durable, acks=1 when written. always: everything when durable.
   * interval: everything when written, as Kafka on one broker.
   */
  readonly flushPolicy: 'acks' | 'always' | 'interval';
}

/** Without transactions: the error that every client takes for final, whichever call it makes first. */
export const noTransactions: TransactionGate = {
  admitRequest: () => errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
  admit: () => [],
  admitPlain: () => errorCodes.NONE,
};

export interface AppendServiceOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'onDeleted'>;
  readonly clock: Clock;
  /** Read at every request: it may change while the broker runs. */
  readonly settings: AppendSettings;
  readonly steps?: readonly AppendStep[];
  readonly transactions?: TransactionGate;
  /** Undefined: requests do not wait for room, and are never refused for want of it. */
  readonly room?: AppendRoom;
}

export interface AppendRequestFacts {
  readonly version: number;
  readonly acks: number;
  readonly transactionalId: string | null;
}

const acksAll = -1;

export class AppendService {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly settings: AppendSettings;
  readonly steps: readonly AppendStep[];
  readonly transactions: TransactionGate;
  readonly room: AppendRoom | undefined;
  /** Records since the last flush, of queues whose topic counts them (flush.messages above 1). */
  private readonly unflushedRecords = new Map<QueueId, number>();

  constructor(options: AppendServiceOptions) {
    this.engine = options.engine;
    this.clock = options.clock;
    this.settings = options.settings;
    this.steps = options.steps ?? [];
    this.transactions = options.transactions ?? noTransactions;
    this.room = options.room;
    options.topics.onDeleted((topic) => {
      for (const partition of topic.partitions) this.unflushedRecords.delete(partition.queue);
    });
  }

  /** Begins a request: `add` its partitions, then `run`. All of it happens in one turn of the event loop. */
  begin(facts: AppendRequestFacts): AppendRequest {
    return new AppendRequest(this, facts);
  }

  /** Whether the answer waits for the disk. Counts the records towards flush.messages. */
  durabilityOf(topic: Topic, queue: QueueId, acks: number, recordCount: number): AppendGroup['durability'] {
    const policy = this.settings.flushPolicy;
    const flushMessages = topic.settings.flushMessages;
    if (policy === 'always' || (policy === 'acks' && acks === acksAll) || flushMessages <= 1) return 'sync';
    if (flushMessages === Number.POSITIVE_INFINITY) return 'async';
    const unflushed = (this.unflushedRecords.get(queue) ?? 0) + recordCount;
    this.unflushedRecords.set(queue, unflushed >= flushMessages ? 0 : unflushed);
    return unflushed >= flushMessages ? 'sync' : 'async';
  }
}

/** A batch that passed every check and waits for the rest of its request to be checked. */
interface PlannedPartition {
  /** Place in the request's results. */
  readonly at: number;
  readonly index: number;
  readonly topic: Topic;
  readonly batch: AdmittedBatch;
  plan: PlannedAppend | PlannedWork;
  /** Set where a transaction begins in the partition with this batch, or holds something of it. */
  opening?: OpeningBatch;
}

export class AppendRequest {
  private readonly service: AppendService;
  private readonly facts: AppendRequestFacts;
  private readonly nowMs: number;
  private readonly results: (PartitionAppendResult | undefined)[] = [];
  private planned: PlannedPartition[] = [];
  private isTransactional = false;

  constructor(service: AppendService, facts: AppendRequestFacts) {
    this.service = service;
    this.facts = facts;
    this.nowMs = service.clock.nowMs();
  }

  /** A partition whose answer is known without a look at its records. */
  fail(index: number, errorCode: number): void {
    this.results.push(failedAppend(index, errorCode));
  }

  /** Checks a partition's records. Nothing is appended yet. */
  add(topic: Topic, index: number, records: Buffer | null): void {
    const partition = topic.partitions[index];
    if (partition === undefined) {
      this.fail(index, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
      return;
    }
    const { service, facts } = this;
    if (topic.isInternal) {
      this.results.push(
        failedAppend(
          index,
          errorCodes.INVALID_TOPIC_EXCEPTION,
          `Cannot append to internal topic ${topic.name}`,
        ),
      );
      return;
    }
    let batch = admitRecords(records, topic, index, facts.version, this.nowMs);
    if (batch instanceof Refusal) {
      this.refuse(index, batch);
      return;
    }
    if (batch.isTransactional) this.isTransactional = true;
    else if (batch.producerId >= 0) {
      const errorCode = service.transactions.admitPlain(partition.queue, batch.producerId);
      if (errorCode !== errorCodes.NONE) {
        this.fail(index, errorCode);
        return;
      }
    }
    const durability = service.durabilityOf(topic, partition.queue, facts.acks, batch.recordCount);
    let plan: PlannedAppend | PlannedWork | undefined;
    if (service.steps.length > 0) {
      const { transactionalId, version } = facts;
      const target: AppendTarget = { topic, partition, transactionalId, version, durability };
      for (const step of service.steps) {
        const outcome = step.apply(batch, target);
        if (outcome === undefined) continue;
        if (outcome instanceof Refusal) {
          this.refuse(index, outcome);
          return;
        }
        if ('group' in outcome || 'perform' in outcome) {
          plan = outcome;
          break;
        }
        batch = outcome;
      }
    }
    plan ??= {
      group: groupOf(entryOf(partition.queue, batch), durability, topic.settings.flushMs),
      answeringEntry: 0,
    };
    this.planned.push({ at: this.results.length, index, topic, batch, plan });
    this.results.push(undefined);
  }

  private refuse(index: number, refusal: Refusal): void {
    this.results.push(failedAppend(index, refusal.errorCode, refusal.message, refusal.recordErrors));
  }

  /** Appends what passed. The results stand in the order of the calls before. */
  run(): readonly PartitionAppendResult[] | Promise<readonly PartitionAppendResult[]> {
    const { results, facts, service } = this;
    if (facts.acks < acksAll || facts.acks > 1) this.failPlanned(errorCodes.INVALID_REQUIRED_ACKS);
    else if (service.room?.isOverdue === true) this.failPlanned(errorCodes.REQUEST_TIMED_OUT);
    else if (this.isTransactional) {
      const errorCode = service.transactions.admitRequest(facts.transactionalId);
      if (errorCode !== errorCodes.NONE) {
        return results.map((_, at) => failedAppend(this.indexAt(at), errorCode));
      }
      this.admitTransactional();
    }
    const { planned } = this;
    if (planned.length === 0) return results as PartitionAppendResult[];
    if (planned.length === 1) return this.runOne(planned[0]!);
    return this.runAll();
  }

  /** Asks whether the transaction covers what passed, and takes out what it does not. */
  private admitTransactional(): void {
    const { transactionalId, version } = this.facts;
    const asked = this.planned.filter((one) => one.batch.isTransactional);
    if (transactionalId === null || asked.length === 0) return;
    const verdicts = this.service.transactions.admit(
      transactionalId,
      version,
      asked.map(({ topic, index, batch, plan }) => {
        assert('group' in plan, 'a batch of a transaction is planned at once');
        const { producerId, producerEpoch } = batch;
        return { topic, partition: topic.partitions[index]!, producerId, producerEpoch, plan };
      }),
    );
    for (const [at, one] of asked.entries()) {
      const verdict = verdicts[at];
      if (verdict instanceof Refusal) {
        const { errorCode, message, recordErrors } = verdict;
        this.results[one.at] = failedAppend(one.index, errorCode, message, recordErrors);
        this.planned = this.planned.filter((other) => other !== one);
      } else if (verdict !== undefined) {
        one.opening = verdict;
      }
    }
  }

  private append(one: PlannedPartition, plan: PlannedAppend): Promise<readonly AppendResult[]> {
    const { opening } = one;
    const { engine } = this.service;
    if (opening === undefined) return engine.append(plan.group);
    const { group } = plan;
    return engine
      .append({
        ...group,
        durability: 'sync',
        changes: [...(group.changes ?? []), ...opening.changes],
        fences: [...(group.fences ?? []), opening.fence],
      })
      .then(
        (outcomes) => {
          opening.settled(outcomes);
          return outcomes;
        },
        (error: unknown) => {
          opening.settled(group.entries.map(() => ({ outcome: 'unknown' })));
          throw error;
        },
      );
  }

  private async runOne(one: PlannedPartition): Promise<readonly PartitionAppendResult[]> {
    const { plan } = one;
    if ('perform' in plan) {
      this.results[one.at] = await this.perform(one.index, plan);
      return this.results as PartitionAppendResult[];
    }
    const outcomes = await this.append(one, plan);
    this.results[one.at] = resultOf(one, plan, outcomes);
    if (isEarlyDuplicate(plan, outcomes)) await this.service.engine.whenDurable();
    return this.results as PartitionAppendResult[];
  }

  private async runAll(): Promise<readonly PartitionAppendResult[]> {
    const { planned, results, service } = this;
    const outcomes = await Promise.all(
      planned.map((one) =>
        'perform' in one.plan ? this.perform(one.index, one.plan) : this.append(one, one.plan),
      ),
    );
    let mustWait = false;
    for (let at = 0; at < planned.length; at++) {
      const one = planned[at]!;
      const { plan } = one;
      if ('perform' in plan) {
        results[one.at] = outcomes[at] as PartitionAppendResult;
        continue;
      }
      const appended = outcomes[at] as readonly AppendResult[];
      results[one.at] = resultOf(one, plan, appended);
      mustWait ||= isEarlyDuplicate(plan, appended);
    }
    if (mustWait) await service.engine.whenDurable();
    return results as PartitionAppendResult[];
  }

  private async perform(index: number, plan: PlannedWork): Promise<PartitionAppendResult> {
    const done = await plan.perform();
    if (done instanceof Refusal) return failedAppend(index, done.errorCode, done.message, done.recordErrors);
    return succeededAppend(index, done.baseOffset, -1, done.logStartOffset);
  }

  private failPlanned(errorCode: number): void {
    for (const one of this.planned) this.results[one.at] = failedAppend(one.index, errorCode);
    this.planned.length = 0;
  }

  private indexAt(at: number): number {
    return this.results[at]?.index ?? this.planned.find((one) => one.at === at)!.index;
  }
}

/** The engine's entry for a batch that goes where its producer sent it. */
export function entryOf(queue: QueueId, batch: AdmittedBatch): AppendEntry {
  if (batch.producerId < 0) {
    return {
      queue,
      kind: 'data',
      count: batch.recordCount,
      maxTimestampMs: batch.maxTimestampMs,
      payload: batch.payload,
    };
  }
  return {
    queue,
    kind: 'data',
    count: batch.recordCount,
    maxTimestampMs: batch.maxTimestampMs,
    payload: batch.payload,
    producer: {
      countsForQueue: queue,
      producerId: batch.producerId,
      producerEpoch: batch.producerEpoch,
      firstSequence: batch.firstSequence,
      lastSequence: batch.lastSequence,
      isTransactional: batch.isTransactional,
    },
  };
}

function groupOf(entry: AppendEntry, durability: AppendGroup['durability'], flushMs: number): AppendGroup {
  return flushMs === Number.POSITIVE_INFINITY
    ? { durability, entries: [entry] }
    : { durability, entries: [entry], flushWithinMs: flushMs };
}

function resultOf(
  one: PlannedPartition,
  plan: PlannedAppend,
  outcomes: readonly AppendResult[],
): PartitionAppendResult {
  const answering = plan.answeringEntry;
  const result = outcomes[Math.max(answering, 0)]!;
  if (result.outcome === 'appended') plan.appended?.(outcomes);
  // What is hidden has neither offset nor time nor place in the partition yet.
  const isHidden = answering < 0;
  if (isHidden && (result.outcome === 'appended' || result.outcome === 'duplicate')) {
    return succeededAppend(one.index, -1, -1, -1);
  }
  switch (result.outcome) {
    case 'appended':
      return succeededAppend(one.index, result.baseOffset, one.batch.logAppendTimeMs, result.logStartOffset);
    case 'duplicate':
      // As Kafka: the timestamp of the batch that was appended first, which has the same bytes as this one.
      return succeededAppend(
        one.index,
        result.baseOffset,
        one.batch.logAppendTimeMs < 0 ? one.batch.maxTimestampMs : result.storeTimeMs,
        result.logStartOffset,
      );
    case 'refused':
      return failedAppend(one.index, errorOfRefusal(result.reason));
    case 'not-appended':
      return failedAppend(one.index, errorOfAppend(outcomes));
    case 'unknown':
      // Says that it may have been appended, and is tried again; a repeat is recognised by its sequence.
      return failedAppend(one.index, errorCodes.NOT_ENOUGH_REPLICAS_AFTER_APPEND);
  }
}

/** The batch was appended by an earlier request, perhaps not yet durably, and this one promises that. */
function isEarlyDuplicate(plan: PlannedAppend, outcomes: readonly AppendResult[]): boolean {
  return (
    plan.group.durability === 'sync' && outcomes[Math.max(0, plan.answeringEntry)]!.outcome === 'duplicate'
  );
}
