/**
 * The transaction coordinator as handlers and the produce path call it: finds the state machine that a transactional id lives on, and
 * does what an end entails. Every broker coordinates every id here; which partition of __transaction_state an id lies in follows
 * Kafka's rule.
 *
 * The end of a transaction is one append group: a marker in every partition that it covers, the rows that say what is open and what
 * was aborted, what counts of its offsets in the groups' coordinators, and the decision. A crash leaves all of it or nothing, so
 * nothing is ever half ended, and nothing has to be finished after a start.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import { buildMarkerBatch } from '../../../protocol/records/end-transaction-marker.ts';
import type { AppendEntry, IndexChange, QueueId, StorageEngine } from '../../storage/engine.ts';
import { assert } from '../../util/assert.ts';
import type { Clock, Timer } from '../../util/clock.ts';
import { GuardedClock } from '../../util/guarded-clock.ts';
import type { Log } from '../../util/log.ts';
import type { OpeningBatch, TransactionalBatch, TransactionGate } from '../append/append-steps.ts';
import { Refusal } from '../append/batch-admission.ts';
import { type CoordinatorLimits, defaultCoordinatorLimits } from '../coordinator/coordinator-limits.ts';
import type { Effects } from '../coordinator/coordinator-machine.ts';
import { CoordinatorRuntime, type WhenMissing } from '../coordinator/coordinator-runtime.ts';
import type { JoinableGroups } from '../coordinator/coordinator-shard.ts';
import { appendTogether, type ClosedGroup } from '../coordinator/joint-append.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import type { OffsetCommitAnswer, TransactionalOffsetCommit } from '../groups/offset-commits.ts';
import type { ProducerIds } from '../producers/producer-ids.ts';
import type { Topic, TopicDirectory } from '../topics/topic.ts';
import type { EndingHeld, HeldRecords } from './held-records.ts';
import type { EndingPartition, OpenPartition, OpenTransactions } from './open-transactions.ts';
import { type AskedTransaction, noQuestions, type TimeoutQuestions } from './timeout-questions.ts';
import { type HeldPartition, oldestOfEachQueue } from './transaction-metrics.ts';
import { type TransactionRecord, transactionRecordFormat } from './transaction-records.ts';
import type { TransactionSettings } from './transaction-settings.ts';
import {
  type Deferred,
  type IsReady,
  maxIdsForgottenAtOnce,
  noProducerEpoch,
  noProducerId,
  type ProducerIdAndEpoch,
  type TransactionAnswer,
  type TransactionDescription,
  type TransactionEnding,
  type TransactionFilter,
  TransactionStateMachine,
} from './transaction-state-machine.ts';

const offsetsTopic = '__consumer_offsets';
/** transaction.version of clients that do not, and that do raise the epoch with each transaction (KIP-890). */
const clientVersionWithoutBump = 0;
const clientVersionWithBump = 2;
/** From these versions on a client adds to its transaction by writing. */
const firstProduceThatAdds = 12;
const firstOffsetCommitThatAdds = 5;
/** ... and from these on it knows TRANSACTION_ABORTABLE. */
const firstProduceWithAbortable = 11;
const firstOffsetCommitWithAbortable = 4;
const tooMuchHeld = 'The transaction has too many delayed records in the partition';
/** Times that a command is tried again after what it lacked was fetched. */
const maxAttempts = 5;

export interface TransactionCoordinatorOptions {
  readonly engine: StorageEngine;
  readonly directory: TopicDirectory;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: TransactionSettings;
  readonly producerIds: Pick<ProducerIds, 'allocate'>;
  readonly groups: Pick<
    GroupCoordinator,
    | 'partitionOf'
    | 'isLoaded'
    | 'load'
    | 'ensureTopic'
    | 'commitTransactional'
    | 'endTransaction'
    | 'pendingEpochOf'
  >;
  readonly open: OpenTransactions;
  readonly held: HeldRecords;
  /** Asked before a transaction that takes too long is aborted. */
  readonly questions?: TimeoutQuestions;
  readonly limits?: Partial<CoordinatorLimits>;
  readonly endOfTurn?: (action: () => void) => void;
}

/** Partitions as requests name them. */
export interface NamedPartitions {
  readonly name: string;
  readonly partitions: readonly number[];
}

/** One error for all, or one a partition in the order asked. */
export type VerifyAnswer =
  | { readonly errorCode: ErrorCode }
  | { readonly errorCode: 0; readonly topics: readonly (readonly ErrorCode[])[] };

export interface ListTransactionsAnswer {
  readonly errorCode: ErrorCode;
  readonly transactions: readonly TransactionDescription[];
}

export interface WrittenMarker extends ProducerIdAndEpoch {
  readonly isCommit: boolean;
  readonly coordinatorEpoch: number;
}

export interface TransactionFigures {
  readonly openTransactions: number;
  readonly openPartitions: number;
  /** Delayed records that the end of their transaction schedules or drops. */
  readonly heldRecords: number;
  readonly oldestOpenMs: number;
  readonly committed: number;
  readonly aborted: number;
  readonly timedOut: number;
}

export class TransactionCoordinator implements TransactionGate {
  readonly #options: TransactionCoordinatorOptions;
  readonly #log: Log;
  readonly #settings: TransactionSettings;
  readonly #open: OpenTransactions;
  readonly #held: HeldRecords;
  readonly #questions: TimeoutQuestions;
  readonly #runtime: CoordinatorRuntime<TransactionRecord, TransactionStateMachine>;
  readonly #timers = new Set<Timer>();
  /** For what is forgotten by its age. */
  readonly #ageClock: Clock;
  readonly #stopListening: () => void;
  #closed = false;
  #committed = 0;
  #aborted = 0;
  #timedOut = 0;

  constructor(options: TransactionCoordinatorOptions) {
    const { engine, directory, clock, settings, open, held } = options;
    this.#options = options;
    this.#settings = settings;
    this.#open = open;
    this.#held = held;
    this.#questions = options.questions ?? noQuestions;
    this.#log = options.log.component('transactions');
    this.#ageClock = new GuardedClock(clock, this.#log);
    this.#runtime = new CoordinatorRuntime({
      topicName: '__transaction_state',
      directory,
      engine,
      clock,
      log: this.#log,
      limits: { ...defaultCoordinatorLimits, ...options.limits },
      format: transactionRecordFormat,
      createMachine: (timers) => new TransactionStateMachine({ settings, timers }),
      ...(options.endOfTurn === undefined ? {} : { endOfTurn: options.endOfTurn }),
    });
    this.#stopListening = directory.onDeleted((topic) => {
      const queues = topic.partitions.map((partition) => partition.queue);
      Promise.all([open.queuesEnded(queues), held.queuesEnded(queues)]).catch((error: unknown) =>
        this.#log.warn({ err: error }, 'Rows of a deleted topic were left'),
      );
    });
  }

  /**
   * Reads what is open and who coordinates it. Before it is done nobody may fetch or produce. Then looks for transactions that took
   * too long, and ids that nobody uses, for as long as the broker lives.
   */
  async start(): Promise<void> {
    await this.#open.load();
    await this.#held.load();
    await this.#questions.load();
    await this.#runtime.loadAll();
    await this.#endStrays();
    this.#every(
      () => this.#settings.timeoutCheckIntervalMs,
      () => this.#abortTimedOut(),
    );
    this.#every(
      () => this.#settings.idExpirationCheckIntervalMs,
      async () => {
        await this.#expireIds();
        await this.#open.sweep();
      },
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopListening();
    for (const timer of this.#timers) timer.cancel();
    await this.#runtime.close();
  }

  /** Makes __transaction_state where it does not exist. Rejects where it cannot be made. */
  ensureTopic(): Promise<Topic> {
    return this.#runtime.ensureTopic();
  }

  figures(): TransactionFigures {
    const nowMs = this.#options.clock.nowMs();
    const ids = new Set<string>();
    let oldestOpenMs = 0;
    for (const { transactionalId, startMs } of this.#open.all()) {
      ids.add(transactionalId);
      oldestOpenMs = Math.max(oldestOpenMs, nowMs - startMs);
    }
    return {
      openTransactions: ids.size,
      openPartitions: this.#open.size,
      heldRecords: this.#held.size,
      oldestOpenMs,
      committed: this.#committed,
      aborted: this.#aborted,
      timedOut: this.#timedOut,
    };
  }

  /** Partitions that open transactions hold back, the oldest first. */
  heldPartitions(limit: number): readonly HeldPartition[] {
    const { engine, clock, directory } = this.#options;
    const oldest = oldestOfEachQueue(this.#open.all()).slice(0, limit);
    if (oldest.length === 0) return [];
    const names = new Map<QueueId, readonly [topic: string, partition: number]>();
    for (const topic of directory.all()) {
      for (const { queue, index } of topic.partitions) names.set(queue, [topic.name, index]);
    }
    const nowMs = clock.nowMs();
    return oldest.flatMap(({ queue, startMs, firstOffset }) => {
      const name = names.get(queue);
      const bounds = engine.bounds(queue);
      if (name === undefined || bounds === undefined || bounds instanceof Promise) return [];
      const [topic, partition] = name;
      const lag = Math.max(0, bounds.visibleEndOffset - Math.max(firstOffset, bounds.startOffset));
      return [{ topic, partition, ageMs: Math.max(0, nowMs - startMs), lag }];
    });
  }

  // ----- producers

  /** `expected`: the producer id and epoch that the caller had (KIP-360). */
  async initProducerId(
    transactionalId: string,
    timeoutMs: number,
    expected: ProducerIdAndEpoch | undefined,
  ): Promise<TransactionAnswer> {
    if (transactionalId === '') return failed(errorCodes.INVALID_REQUEST);
    if (timeoutMs <= 0 || timeoutMs > this.#settings.maxTimeoutMs) {
      return failed(errorCodes.INVALID_TRANSACTION_TIMEOUT);
    }
    return this.#ending(transactionalId, 'create', (machine, effects, freshId, isReady) =>
      machine.initProducerId(transactionalId, timeoutMs, expected, freshId, isReady, effects),
    );
  }

  /** `clientAdds`: the client is one that adds by writing (transaction.version 2). */
  async addPartitions(
    transactionalId: string,
    producer: ProducerIdAndEpoch,
    topics: readonly NamedPartitions[],
    clientAdds: boolean,
  ): Promise<ErrorCode> {
    if (transactionalId === '') return errorCodes.INVALID_REQUEST;
    return this.#runtime.execute<ErrorCode>(
      transactionalId,
      'look',
      (code) => code,
      (machine, effects, ticket) =>
        effects.reply(
          ticket,
          machine.addPartitions(
            transactionalId,
            producer,
            new Map(topics.map(({ name, partitions }) => [name, new Set(partitions)])),
            clientAdds ? clientVersionWithBump : clientVersionWithoutBump,
            effects,
          ),
        ),
    );
  }

  /** Whether the open transaction covers partitions, without adding any. */
  async verifyPartitions(
    transactionalId: string,
    producer: ProducerIdAndEpoch,
    topics: readonly NamedPartitions[],
  ): Promise<VerifyAnswer> {
    if (transactionalId === '') return { errorCode: errorCodes.INVALID_REQUEST };
    return this.#runtime.execute<VerifyAnswer>(
      transactionalId,
      'look',
      (errorCode) => ({ errorCode }),
      (machine, effects, ticket) => {
        const errorCode = machine.verify(transactionalId, producer);
        if (errorCode !== errorCodes.NONE) effects.reply(ticket, { errorCode });
        else {
          effects.reply(ticket, {
            errorCode,
            topics: topics.map(({ name, partitions }) =>
              partitions.map((partition) =>
                machine.isCovered(transactionalId, name, partition)
                  ? errorCodes.NONE
                  : errorCodes.TRANSACTION_ABORTABLE,
              ),
            ),
          });
        }
      },
    );
  }

  async addOffsets(
    transactionalId: string,
    producer: ProducerIdAndEpoch,
    groupId: string,
  ): Promise<ErrorCode> {
    if (transactionalId === '') return errorCodes.INVALID_REQUEST;
    if (!(await this.#offsetsTopicExists())) return errorCodes.COORDINATOR_NOT_AVAILABLE;
    const partition = this.#options.groups.partitionOf(groupId);
    if (partition === undefined) return errorCodes.COORDINATOR_NOT_AVAILABLE;
    return this.addPartitions(
      transactionalId,
      producer,
      [{ name: offsetsTopic, partitions: [partition] }],
      false,
    );
  }

  /** Offsets that count when the transaction is committed; it must cover the group, or comes to cover it (TxnOffsetCommit 5). */
  async commitOffsets(
    transactionalId: string,
    commit: TransactionalOffsetCommit,
    version: number,
  ): Promise<OffsetCommitAnswer> {
    const { groups } = this.#options;
    if (commit.groupId === '') return { errorCode: errorCodes.INVALID_GROUP_ID };
    if (transactionalId === '') return { errorCode: errorCodes.INVALID_REQUEST };
    if (!(await this.#offsetsTopicExists())) return { errorCode: errorCodes.COORDINATOR_NOT_AVAILABLE };
    const groupPartition = groups.partitionOf(commit.groupId);
    const partition = this.#runtime.partitionOf(transactionalId);
    if (groupPartition === undefined) return { errorCode: errorCodes.COORDINATOR_NOT_AVAILABLE };
    if (partition === undefined) return { errorCode: errorCodes.INVALID_PRODUCER_ID_MAPPING };
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const found = this.#runtime.runNow(partition, (machine, effects, own) => {
        const errorCode = this.#cover(
          machine,
          effects,
          transactionalId,
          commit,
          [[offsetsTopic, groupPartition]],
          version >= firstOffsetCommitThatAdds,
        )[0]!;
        this.#appendNow(own.closeGroup());
        return errorCode;
      });
      if (found === undefined) {
        await this.#runtime.load(partition);
        continue;
      }
      const errorCode = errorForClient(found.result, version >= firstOffsetCommitWithAbortable);
      // In this turn: the transaction cannot end in between.
      return errorCode === errorCodes.NONE ? groups.commitTransactional(commit) : { errorCode };
    }
    return { errorCode: errorCodes.COORDINATOR_LOAD_IN_PROGRESS };
  }

  /** `raisesEpoch`: EndTxn 5 and above (transaction.version 2). */
  async endTransaction(
    transactionalId: string,
    producer: ProducerIdAndEpoch,
    isCommit: boolean,
    raisesEpoch: boolean,
  ): Promise<TransactionAnswer> {
    if (transactionalId === '') return failed(errorCodes.INVALID_REQUEST);
    return this.#ending(transactionalId, 'look', (machine, effects, freshId, isReady) =>
      raisesEpoch
        ? machine.endTransactionWithBump(transactionalId, producer, isCommit, freshId, isReady, effects)
        : machine.endTransaction(transactionalId, producer, isCommit, isReady, effects),
    );
  }

  /** Ends a transaction whose time was up, as was answered to the question about it. */
  async endAsked(asked: AskedTransaction, isCommit: boolean): Promise<'ended' | 'not-open' | 'failed'> {
    const { transactionalId } = asked;
    const { errorCode } = await this.#ending(transactionalId, 'look', (machine, effects, _freshId, isReady) =>
      machine.endFenced(transactionalId, asked, isCommit, isReady, effects),
    );
    if (errorCode === errorCodes.NONE) return 'ended';
    return errorCode === errorCodes.INVALID_TXN_STATE ? 'not-open' : 'failed';
  }

  // ----- the produce path

  admitRequest(transactionalId: string | null): ErrorCode {
    return transactionalId === null ? errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED : errorCodes.NONE;
  }

  admit(
    transactionalId: string,
    version: number,
    batches: readonly TransactionalBatch[],
  ): readonly (Refusal | OpeningBatch | undefined)[] {
    const partition = this.#runtime.partitionOf(transactionalId);
    if (partition === undefined) {
      return batches.map(() => refusalOf(errorCodes.INVALID_PRODUCER_ID_MAPPING, version));
    }
    const adds = version >= firstProduceThatAdds || !this.#settings.verifiesPartitions;
    const found = this.#runtime.runNow(partition, (machine, effects, own) => {
      const codes = new Array<ErrorCode>(batches.length);
      for (const [at, batch] of batches.entries()) {
        if (codes[at] !== undefined) continue;
        // Nearly always one producer: its partitions are added with one record.
        const sameProducer = batches
          .map((other, index) => ({ other, index }))
          .filter(
            ({ other }) =>
              other.producerId === batch.producerId && other.producerEpoch === batch.producerEpoch,
          );
        const asked = sameProducer.map(({ other }) => [other.topic.name, other.partition.index] as const);
        const answered = this.#cover(machine, effects, transactionalId, batch, asked, adds);
        for (const [place, { index }] of sameProducer.entries()) codes[index] = answered[place]!;
      }
      this.#appendNow(own.closeGroup());
      return codes;
    });
    const fence = this.#runtime.fence(partition);
    if (found === undefined || fence === undefined) {
      void this.#runtime.load(partition);
      return batches.map(() => refusalOf(errorCodes.COORDINATOR_LOAD_IN_PROGRESS, version));
    }
    return batches.map((batch, at) => {
      const errorCode = found.result[at]!;
      if (errorCode !== errorCodes.NONE) return refusalOf(errorCode, version);
      const { queue } = batch.partition;
      const { producerId, producerEpoch } = batch;
      if (this.#open.isFull && this.#open.open(queue, producerId) === undefined) {
        return refusalOf(errorCodes.COORDINATOR_NOT_AVAILABLE, version);
      }
      const { group, held = [] } = batch.plan;
      const room = held.length === 0 ? undefined : this.#held.lacksRoom(queue, producerId, held.length);
      if (room === 'all') return refusalOf(errorCodes.COORDINATOR_NOT_AVAILABLE, version);
      if (room === 'transaction') return new Refusal(errorCodes.INVALID_RECORD, tooMuchHeld);
      const visible = group.entries.findIndex((entry) => entry.queue === queue);
      const opening =
        visible < 0 ? undefined : this.#open.beforeBatch(queue, producerId, producerEpoch, transactionalId);
      const facts = { queue, producerId, producerEpoch, transactionalId };
      const holding = held.length === 0 ? undefined : this.#held.beforeBatch(facts, held, group.entries);
      if (opening === undefined && holding === undefined) return undefined;
      return {
        fence,
        changes: [...(opening?.changes(visible) ?? []), ...(holding?.changes ?? [])],
        settled: (results) => {
          opening?.settled(results[visible]!);
          holding?.settled(results);
        },
      };
    });
  }

  admitPlain(queue: QueueId, producerId: number): ErrorCode {
    return this.#open.open(queue, producerId) === undefined && !this.#held.isHolding(queue, producerId)
      ? errorCodes.NONE
      : errorCodes.INVALID_TXN_STATE;
  }

  /** One error code a partition: whether the producer's transaction covers it, or comes to where it `adds`. */
  #cover(
    machine: TransactionStateMachine,
    effects: Effects<TransactionRecord>,
    transactionalId: string,
    producer: ProducerIdAndEpoch,
    partitions: readonly (readonly [topic: string, partition: number])[],
    adds: boolean,
  ): readonly ErrorCode[] {
    if (adds) {
      const byTopic = new Map<string, Set<number>>();
      for (const [topic, partition] of partitions) {
        const known = byTopic.get(topic);
        if (known === undefined) byTopic.set(topic, new Set([partition]));
        else known.add(partition);
      }
      const errorCode = machine.addPartitions(
        transactionalId,
        producer,
        byTopic,
        clientVersionWithBump,
        effects,
      );
      return partitions.map(() => errorCode);
    }
    const errorCode = machine.verify(transactionalId, producer);
    return partitions.map(([topic, partition]) => {
      if (errorCode !== errorCodes.NONE) return errorCode;
      return machine.isCovered(transactionalId, topic, partition)
        ? errorCodes.NONE
        : errorCodes.TRANSACTION_ABORTABLE;
    });
  }

  /** What follows in this turn must stand behind it in the log. */
  #appendNow(group: ClosedGroup | undefined): void {
    if (group !== undefined) appendTogether(this.#options.engine, [], [], [group], () => {});
  }

  // ----- ends

  /** Runs a command that may end a transaction, again where it lacks something that can be had. */
  async #ending(
    transactionalId: string,
    whenMissing: WhenMissing,
    command: (
      machine: TransactionStateMachine,
      effects: Effects<TransactionRecord>,
      freshProducerId: number | undefined,
      isReady: IsReady,
    ) => TransactionAnswer | Deferred,
  ): Promise<TransactionAnswer> {
    let freshProducerId: number | undefined;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      let readiness: Promise<unknown> | undefined;
      const isReady: IsReady = (ending) => {
        readiness = this.#readiness(ending);
        return readiness === undefined;
      };
      const freshId = freshProducerId;
      const answer = await this.#runtime.execute<TransactionAnswer | Deferred>(
        transactionalId,
        whenMissing,
        failed,
        (machine, effects, ticket, own) => {
          const result = command(machine, effects, freshId, isReady);
          if (typeof result !== 'string' && result.ending !== undefined) this.#complete(result.ending, own);
          effects.reply(ticket, result);
        },
      );
      if (answer === 'not-ready') await readiness;
      else if (answer === 'needs-producer-id') {
        try {
          freshProducerId = await this.#options.producerIds.allocate();
        } catch (error) {
          this.#log.error({ err: error }, 'No producer id can be given out');
          return failed(errorCodes.COORDINATOR_LOAD_IN_PROGRESS);
        }
      } else return answer;
    }
    return failed(errorCodes.CONCURRENT_TRANSACTIONS);
  }

  /** Undefined where the transaction can end in this turn; else resolves when to try again. */
  #readiness(ending: TransactionEnding): Promise<unknown> | undefined {
    const waits: Promise<unknown>[] = [];
    const { groups } = this.#options;
    for (const [topic, partition] of partitionsOf(ending)) {
      if (topic === offsetsTopic) {
        if (this.#queueOf(topic, partition) !== undefined && !groups.isLoaded(partition)) {
          waits.push(groups.load(partition));
        }
        continue;
      }
      const queue = this.#queueOf(topic, partition);
      const wait = queue === undefined ? undefined : this.#whenEndable(queue, ending.producerId);
      if (wait !== undefined) waits.push(wait);
    }
    return waits.length === 0 ? undefined : Promise.all(waits);
  }

  /** Undefined where the producer's transaction can end in the queue now; else resolves when to look again. */
  #whenEndable(queue: QueueId, producerId: number): Promise<void> | undefined {
    return this.#open.whenEndable(queue, producerId) ?? this.#held.whenEndable(queue, producerId);
  }

  /** Appends all that the end of a transaction is, with the record of it that stands in `own`. */
  #complete(ending: TransactionEnding, own: JoinableGroups): void {
    const { engine, groups } = this.#options;
    const { producerId, producerEpoch, isCommit } = ending;
    const coordinatorEpoch = this.coordinatorEpoch(ending.transactionalId);
    const entries: AppendEntry[] = [];
    const changes: IndexChange[] = [];
    const endings: EndingPartition[] = [];
    const endingEntries: number[] = [];
    const endingHeld: EndingHeld[] = [];
    const parts: ClosedGroup[] = [];
    for (const [topic, partition] of partitionsOf(ending)) {
      // A topic that is gone has nothing to end.
      const queue = this.#queueOf(topic, partition);
      if (queue === undefined) continue;
      if (topic === offsetsTopic) {
        const end = { producerId, producerEpoch, isCommit, coordinatorEpoch };
        const part = groups.endTransaction(partition, end);
        assert(part !== undefined, 'the coordinator of a group was in memory');
        parts.push(part);
        continue;
      }
      const part = this.#open.beforeMarker(queue, producerId, isCommit);
      if (part !== undefined) {
        changes.push(...part.changes(entries.length));
        endings.push(part);
        endingEntries.push(entries.length);
      }
      const held = this.#held.beforeEnd(queue, producerId, isCommit);
      if (held !== undefined) {
        changes.push(...held.changes);
        endingHeld.push(held);
      }
      const isKnown = part !== undefined || held !== undefined;
      entries.push(this.#marker(queue, { producerId, producerEpoch, isCommit, coordinatorEpoch }, isKnown));
    }
    const answered = this.#questions.end(ending.transactionalId, isCommit);
    if (answered !== undefined) changes.push(...answered.changes);
    const decision = own.closeGroup();
    assert(decision !== undefined, 'an end without a record');
    parts.push(decision);
    appendTogether(engine, entries, changes, parts, (results, isAppended) => {
      for (const [at, part] of endings.entries()) part.settled(results[endingEntries[at]!]!);
      for (const held of endingHeld) held.settled(isAppended);
      answered?.settled(isAppended);
    });
    if (isCommit) this.#committed++;
    else this.#aborted++;
  }

  /** `isKnown`: the partition has records of the transaction, so that its producer's epoch there is not above the marker's. */
  #marker(queue: QueueId, marker: WrittenMarker, isKnown: boolean): AppendEntry {
    const nowMs = this.#options.clock.nowMs();
    const { producerId, producerEpoch } = marker;
    return {
      queue,
      kind: 'marker',
      count: 1,
      maxTimestampMs: nowMs,
      payload: buildMarkerBatch(producerId, producerEpoch, marker, nowMs),
      ...(isKnown
        ? {
            producer: {
              countsForQueue: queue,
              producerId,
              producerEpoch,
              firstSequence: -1,
              lastSequence: -1,
              isTransactional: true,
            },
          }
        : {}),
    };
  }

  /** Of the coordinator of an id, as markers name it. */
  coordinatorEpoch(transactionalId: string): number {
    const partition = this.#runtime.partitionOf(transactionalId);
    const lease = partition === undefined ? undefined : this.#runtime.fence(partition);
    // Leases count from 1, epochs of leaders in Kafka from 0.
    return lease === undefined ? 0 : lease.epoch - 1;
  }

  /** Undefined where there is no such partition (any more). */
  #queueOf(topic: string, partition: number): QueueId | undefined {
    const { directory, engine } = this.#options;
    const queue = directory.get(topic)?.partitions[partition]?.queue;
    return queue === undefined || engine.bounds(queue) === undefined ? undefined : queue;
  }

  async #offsetsTopicExists(): Promise<boolean> {
    try {
      await this.#options.groups.ensureTopic();
      return true;
    } catch (error) {
      this.#log.error({ err: error }, '__consumer_offsets could not be made');
      return false;
    }
  }

  /**
   * Writes the marker that an operator asks for (WriteTxnMarkers): ends in one partition what its coordinator knows nothing of. Waits
   * for the disk.
   */
  async writeMarker(topicName: string, partition: number, marker: WrittenMarker): Promise<ErrorCode> {
    const { engine, groups, directory } = this.#options;
    const queue = this.#queueOf(topicName, partition);
    if (queue === undefined) return errorCodes.UNKNOWN_TOPIC_OR_PARTITION;
    const { producerId, producerEpoch, isCommit } = marker;
    if (topicName === offsetsTopic) {
      await groups.load(partition);
      // A late end of an earlier transaction is not the end of this one.
      const epoch = groups.pendingEpochOf(partition, producerId);
      if (epoch !== undefined && epoch > producerEpoch) return errorCodes.INVALID_PRODUCER_EPOCH;
      const part = groups.endTransaction(partition, marker);
      if (part === undefined) return errorCodes.COORDINATOR_LOAD_IN_PROGRESS;
      this.#appendNow(part);
      await engine.whenDurable();
      return errorCodes.NONE;
    }
    if (directory.get(topicName)?.isInternal === true) return errorCodes.INVALID_TOPIC_EXCEPTION;
    for (
      let wait = this.#whenEndable(queue, producerId);
      wait !== undefined;
      wait = this.#whenEndable(queue, producerId)
    ) {
      await wait;
    }
    const open = this.#open.open(queue, producerId);
    if (open !== undefined && open.producerEpoch > producerEpoch) return errorCodes.INVALID_PRODUCER_EPOCH;
    const part = this.#open.beforeMarker(queue, producerId, isCommit);
    const held = this.#held.beforeEnd(queue, producerId, isCommit);
    const [result] = await engine.append({
      durability: 'sync',
      entries: [this.#marker(queue, marker, true)],
      changes: [...(part?.changes(0) ?? []), ...(held?.changes ?? [])],
    });
    part?.settled(result!);
    held?.settled(result!.outcome === 'appended');
    switch (result!.outcome) {
      case 'appended':
        return errorCodes.NONE;
      case 'refused':
        return result!.reason === 'stale-producer-epoch'
          ? errorCodes.INVALID_PRODUCER_EPOCH
          : result!.reason === 'unknown-queue'
            ? errorCodes.UNKNOWN_TOPIC_OR_PARTITION
            : errorCodes.KAFKA_STORAGE_ERROR;
      default:
        return errorCodes.KAFKA_STORAGE_ERROR;
    }
  }

  // ----- administration

  /** Undefined where the id is not known. */
  async describe(
    transactionalId: string,
  ): Promise<
    | { readonly errorCode: 0; readonly transaction: TransactionDescription }
    | { readonly errorCode: ErrorCode; readonly transaction?: undefined }
  > {
    return this.#runtime.execute<
      | { readonly errorCode: 0; readonly transaction: TransactionDescription }
      | { readonly errorCode: ErrorCode; readonly transaction?: undefined }
    >(
      transactionalId,
      'look',
      (errorCode) => ({ errorCode }),
      (machine, effects, ticket) => {
        const state = machine.state(transactionalId);
        effects.reply(
          ticket,
          state === undefined
            ? { errorCode: errorCodes.TRANSACTIONAL_ID_NOT_FOUND }
            : { errorCode: errorCodes.NONE, transaction: { transactionalId, state } },
        );
      },
    );
  }

  async list(filter: TransactionFilter): Promise<ListTransactionsAnswer> {
    const answers = await this.#runtime.executeOnAll<ListTransactionsAnswer>(
      (errorCode) => ({ errorCode, transactions: [] }),
      (machine, effects, ticket) =>
        effects.reply(ticket, { errorCode: errorCodes.NONE, transactions: machine.list(filter) }),
    );
    const bad = answers.find((answer) => answer.errorCode !== errorCodes.NONE);
    return (
      bad ?? { errorCode: errorCodes.NONE, transactions: answers.flatMap((answer) => answer.transactions) }
    );
  }

  /** What is open in a queue. */
  openIn(queue: QueueId, producerId: number): OpenPartition | undefined {
    return this.#open.open(queue, producerId);
  }

  // ----- what nobody asks for

  #every(intervalMs: () => number, action: () => Promise<void>): void {
    if (this.#closed) return;
    const timer = this.#options.clock.after(intervalMs(), () => {
      this.#timers.delete(timer);
      action()
        .catch((error: unknown) => {
          if (!this.#closed) this.#log.error({ err: error }, 'Transactions could not be looked through');
        })
        .finally(() => this.#every(intervalMs, action));
    });
    this.#timers.add(timer);
  }

  async #abortTimedOut(): Promise<void> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const waits: Promise<unknown>[] = [];
      await this.#runtime.executeOnAll<void>(
        () => undefined,
        (machine, effects, ticket, own) => {
          for (const transactionalId of machine.timedOut()) {
            if (this.#questions.isAsked(transactionalId)) continue;
            if (this.#ask(machine, transactionalId, effects, own)) continue;
            const ending = machine.abort(
              transactionalId,
              (candidate) => {
                const wait = this.#readiness(candidate);
                if (wait !== undefined) waits.push(wait);
                return wait === undefined;
              },
              effects,
            );
            if (ending === undefined) continue;
            this.#complete(ending, own);
            this.#timedOut++;
            this.#log.info({ transactionalId }, 'Aborted a transaction that took longer than its timeout');
          }
          effects.reply(ticket, undefined);
        },
      );
      if (waits.length === 0) return;
      await Promise.all(waits);
    }
  }

  /** Fences the producer and has the application asked, where that is wanted. */
  #ask(
    machine: TransactionStateMachine,
    transactionalId: string,
    effects: Effects<TransactionRecord>,
    own: JoinableGroups,
  ): boolean {
    const { producerId, producerEpoch, startMs } = machine.state(transactionalId)!;
    const question = this.#questions.begin({ transactionalId, producerId, producerEpoch, startMs });
    if (question === undefined) return false;
    machine.fence(transactionalId, effects);
    const fence = own.closeGroup();
    assert(fence !== undefined, 'a fence without a record');
    appendTogether(this.#options.engine, [], question.changes, [fence], (_results, isAppended) =>
      question.settled(isAppended),
    );
    this.#log.info(
      { transactionalId },
      'A transaction took longer than its timeout; its application is asked',
    );
    return true;
  }

  async #expireIds(): Promise<void> {
    const nowMs = this.#ageClock.nowMs();
    let forgotten = 0;
    for (;;) {
      const counts = await this.#runtime.executeOnAll<number>(
        () => 0,
        (machine, effects, ticket) => effects.reply(ticket, machine.expire(effects, nowMs)),
      );
      for (const count of counts) forgotten += count;
      if (!counts.some((count) => count >= maxIdsForgottenAtOnce)) break;
    }
    if (forgotten > 0) this.#log.info({ ids: forgotten }, 'Forgot transactional ids that nobody uses');
  }

  /**
   * Ends what is open in a partition and whose coordinator knows nothing of it. That cannot come about, because each is appended with,
   * or behind, the record of its coordinator; if it did, nobody else would ever end it.
   */
  async #endStrays(): Promise<void> {
    const { directory, engine } = this.#options;
    const names = new Map<QueueId, readonly [topic: string, partition: number]>();
    const open = [...this.#open.all(), ...this.#held.all()];
    if (open.length === 0) return;
    for (const topic of directory.all()) {
      for (const { queue, index } of topic.partitions) names.set(queue, [topic.name, index]);
    }
    for (const { queue, producerId, producerEpoch, transactionalId } of open) {
      const name = names.get(queue);
      if (name === undefined || (await engine.bounds(queue)) === undefined) {
        await this.#open.queuesEnded([queue]);
        await this.#held.queuesEnded([queue]);
        continue;
      }
      const partition = this.#runtime.partitionOf(transactionalId);
      // One without a state was not read at the start.
      if (partition !== undefined) await this.#runtime.load(partition);
      const known =
        partition === undefined
          ? undefined
          : this.#runtime.runNow(
              partition,
              (machine) =>
                machine.state(transactionalId)?.producerId === producerId &&
                machine.isCovered(transactionalId, ...name),
            );
      if (known?.result === true) continue;
      if (partition !== undefined && known === undefined) {
        this.#log.error(
          { transactionalId, partition },
          'The coordinator of an open transaction cannot be read',
        );
        continue;
      }
      const [topicName, index] = name;
      this.#log.error(
        { transactionalId, producerId, topic: topicName, partition: index },
        'A transaction is open in a partition that its coordinator does not know of; it is aborted there',
      );
      const marker = { producerId, producerEpoch, isCommit: false, coordinatorEpoch: 0 };
      await this.writeMarker(topicName, index, marker);
    }
  }
}

function failed(errorCode: ErrorCode): TransactionAnswer {
  return { errorCode, producerId: noProducerId, producerEpoch: noProducerEpoch };
}

function* partitionsOf(ending: TransactionEnding): Iterable<readonly [topic: string, partition: number]> {
  for (const [topic, partitions] of ending.partitions) {
    for (const partition of partitions) yield [topic, partition];
  }
}

/** As those who write know it: the newer producer is told of by the epoch, and clients of old do not know that they may abort. */
function errorForClient(errorCode: ErrorCode, knowsAbortable: boolean): ErrorCode {
  switch (errorCode) {
    case errorCodes.PRODUCER_FENCED:
      return errorCodes.INVALID_PRODUCER_EPOCH;
    case errorCodes.TRANSACTION_ABORTABLE:
      return knowsAbortable ? errorCode : errorCodes.INVALID_TXN_STATE;
    default:
      return errorCode;
  }
}

/** What cannot be said of the coordinator at the moment is an error that producers try again after. */
function refusalOf(errorCode: ErrorCode, version: number): Refusal {
  switch (errorCode) {
    case errorCodes.COORDINATOR_LOAD_IN_PROGRESS:
    case errorCodes.COORDINATOR_NOT_AVAILABLE:
    case errorCodes.CONCURRENT_TRANSACTIONS:
      return new Refusal(
        errorCodes.NOT_ENOUGH_REPLICAS,
        'Unable to verify the partition has been added to the transaction.',
      );
    case errorCodes.TRANSACTION_ABORTABLE:
      return version >= firstProduceWithAbortable
        ? new Refusal(errorCode, null)
        : new Refusal(errorCodes.INVALID_TXN_STATE, 'Partition was not added to the transaction');
    default:
      return new Refusal(errorForClient(errorCode, true), null);
  }
}
