/**
 * The coordinators of one internal topic: one state machine a partition, made when the partition is first used. A partition that
 * nobody uses costs nothing; a topic that does not exist is made by the first command that must write.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import type { Fence, StorageEngine } from '../../storage/engine.ts';
import { assert } from '../../util/assert.ts';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { InternalTopicName, Partition, Topic, TopicDirectory } from '../topics/topic.ts';
import type { CoordinatorLimits } from './coordinator-limits.ts';
import type { CoordinatorMachine, Effects, MachineTimers, StateRecordFormat } from './coordinator-machine.ts';
import { type Command, CoordinatorShard, type JoinableGroups, PendingAnswer } from './coordinator-shard.ts';
import { partitionForKey } from './partition-for-key.ts';

export interface CoordinatorRuntimeOptions<StateRecord, Machine extends CoordinatorMachine<StateRecord>> {
  readonly topicName: InternalTopicName;
  readonly directory: TopicDirectory;
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: CoordinatorLimits;
  readonly format: StateRecordFormat<StateRecord>;
  readonly createMachine: (timers: MachineTimers<StateRecord>) => Machine;
  /** Calls back at the end of the present turn of the event loop; all that was appended in a turn goes in one group. */
  readonly endOfTurn?: (action: () => void) => void;
}

/** What to do with a command while the topic does not exist: make it, or run the command on an empty state, where it may only look. */
export type WhenMissing = 'create' | 'look';

export class CoordinatorRuntime<StateRecord, Machine extends CoordinatorMachine<StateRecord>> {
  readonly #options: CoordinatorRuntimeOptions<StateRecord, Machine>;
  readonly #shards = new Map<number, CoordinatorShard<StateRecord, Machine>>();
  readonly #stopListening: () => void;
  #creating: Promise<Topic> | undefined;
  #waitingForTopic = 0;
  #topicId: string | undefined;
  #closed = false;

  constructor(options: CoordinatorRuntimeOptions<StateRecord, Machine>) {
    this.#options = options;
    this.#stopListening = options.directory.onDeleted((topic) => {
      if (topic.name === options.topicName) this.#dropShards();
    });
  }

  /** The partition that coordinates `key`; undefined while the topic does not exist. */
  partitionOf(key: string): number | undefined {
    const topic = this.#options.directory.get(this.#options.topicName);
    return topic === undefined ? undefined : partitionForKey(key, topic.partitions.length);
  }

  /** Makes the topic where it does not exist. Rejects where it cannot be made. */
  ensureTopic(): Promise<Topic> {
    const { directory, topicName } = this.#options;
    if (this.#creating === undefined) {
      this.#creating = directory.ensureInternal(topicName).finally(() => {
        this.#creating = undefined;
      });
    }
    return this.#creating;
  }

  /** Partitions that have been used since the start. */
  get loadedPartitions(): readonly number[] {
    return [...this.#shards.keys()];
  }

  /**
   * Runs a command on the machine that coordinates `key`. Commands of one turn keep their order. The answer is there at once where
   * nothing has to be waited for.
   */
  execute<Answer>(
    key: string,
    whenMissing: WhenMissing,
    fail: (code: ErrorCode) => Answer,
    command: Command<StateRecord, Machine, Answer>,
  ): Answer | Promise<Answer> {
    if (this.#closed) return fail(errorCodes.COORDINATOR_NOT_AVAILABLE);
    const { directory, topicName, limits, log } = this.#options;
    const topic = this.#creating === undefined ? directory.get(topicName) : undefined;
    if (topic !== undefined) {
      const index = partitionForKey(key, topic.partitions.length);
      return this.#shard(topic, topic.partitions[index]!).execute(fail, command);
    }
    if (whenMissing === 'look' && this.#creating === undefined) return this.#look(fail, command);
    if (this.#waitingForTopic >= limits.maxWaitingCommands)
      return fail(errorCodes.COORDINATOR_LOAD_IN_PROGRESS);
    this.#waitingForTopic++;
    return this.ensureTopic().then(
      () => {
        this.#waitingForTopic--;
        return this.execute(key, whenMissing, fail, command);
      },
      (error: unknown) => {
        this.#waitingForTopic--;
        log.error({ topic: topicName, err: error }, 'The internal topic could not be made');
        return fail(errorCodes.COORDINATOR_NOT_AVAILABLE);
      },
    );
  }

  /**
   * Runs a command at once on the machine of a partition, its effects fixed before this returns; undefined where that machine is not
   * in memory. It is read then, for those who come again.
   */
  runNow<Result>(
    partition: number,
    command: (machine: Machine, effects: Effects<StateRecord>, groups: JoinableGroups) => Result,
  ): { readonly result: Result } | undefined {
    return this.#present(partition)?.runNow(command);
  }

  isLoaded(partition: number): boolean {
    return this.#shards.get(partition)?.state === 'active';
  }

  /** Reads the partition if it is not in memory. */
  async load(partition: number): Promise<void> {
    await this.#present(partition)?.whenLoaded();
  }

  /** Reads every partition that has a state. */
  async loadAll(): Promise<void> {
    await this.executeOnAll<void>(
      () => undefined,
      (_machine, effects, ticket) => effects.reply(ticket, undefined),
    );
  }

  /** The lease that a partition's machine rests on, while it is in memory. */
  fence(partition: number): Fence | undefined {
    return this.#shards.get(partition)?.fence;
  }

  #present(index: number): CoordinatorShard<StateRecord, Machine> | undefined {
    const topic = this.#closed ? undefined : this.#options.directory.get(this.#options.topicName);
    const partition = topic?.partitions[index];
    return topic === undefined || partition === undefined ? undefined : this.#shard(topic, partition);
  }

  /** Runs a command on every machine that has a state, reading those that were not used yet. Answers in partition order. */
  async executeOnAll<Answer>(
    fail: (code: ErrorCode) => Answer,
    command: Command<StateRecord, Machine, Answer>,
  ): Promise<readonly Answer[]> {
    const { directory, topicName, engine } = this.#options;
    const topic = directory.get(topicName);
    if (topic === undefined || this.#closed) return [];
    const answers: (Answer | Promise<Answer>)[] = [];
    for (const partition of topic.partitions) {
      if (!this.#shards.has(partition.index)) {
        const bounds = await engine.bounds(partition.queue);
        if (bounds === undefined || bounds.startOffset === bounds.visibleEndOffset) continue;
      }
      if (this.#closed) break;
      answers.push(this.#shard(topic, partition).execute(fail, command));
    }
    return Promise.all(answers);
  }

  /** Tells all who wait for other clients to come again: the broker is about to end. */
  releaseWaiting(): void {
    for (const shard of this.#shards.values()) shard.releaseWaiting(errorCodes.COORDINATOR_NOT_AVAILABLE);
  }

  /** Makes durable what is pending and tells all who wait that the coordinator is gone. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopListening();
    await Promise.all(
      [...this.#shards.values()].map((shard) => shard.close(errorCodes.COORDINATOR_NOT_AVAILABLE)),
    );
  }

  #shard(topic: Topic, partition: Partition): CoordinatorShard<StateRecord, Machine> {
    if (topic.id !== this.#topicId) {
      this.#dropShards();
      this.#topicId = topic.id;
    }
    const existing = this.#shards.get(partition.index);
    if (existing !== undefined) return existing;
    const { engine, clock, log, limits, format, createMachine, endOfTurn } = this.#options;
    const shard: CoordinatorShard<StateRecord, Machine> = new CoordinatorShard({
      name: `${topic.name}-${partition.index}`,
      queue: partition.queue,
      engine,
      clock,
      log,
      limits,
      format,
      createMachine,
      isCompacted: () => this.#options.directory.get(topic.name)?.settings.cleanupCompact === true,
      endOfTurn: endOfTurn ?? ((action) => setImmediate(action)),
      onClosed: () => {
        if (this.#shards.get(partition.index) === shard) this.#shards.delete(partition.index);
      },
    });
    this.#shards.set(partition.index, shard);
    return shard;
  }

  #dropShards(): void {
    const shards = [...this.#shards.values()];
    this.#shards.clear();
    for (const shard of shards) void shard.close(errorCodes.NOT_COORDINATOR);
  }

  #look<Answer>(fail: (code: ErrorCode) => Answer, command: Command<StateRecord, Machine, Answer>): Answer {
    const { clock, createMachine } = this.#options;
    const machine = createMachine({
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
      after: () => ({ cancel: () => {} }),
    });
    const pending = new PendingAnswer(fail);
    command(
      machine,
      {
        append: () => assert(false, 'a command that may only look appended a record'),
        reply: (ticket, answer) => (ticket as unknown as PendingAnswer<unknown>).settle(answer),
      },
      pending,
      { closeGroup: () => undefined },
    );
    assert(pending.settled, 'a command that may only look must answer at once');
    return pending.result() as Answer;
  }
}
