/**
 * Share partitions as the services that fetch, acknowledge and administer call them: finds the machine that a share partition lives on,
 * and tells those who wait that something may be free. Knows no requests.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import type { MaybePromise, StorageEngine } from '../../storage/engine.ts';
import { assert } from '../../util/assert.ts';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { ApiError } from '../api-error.ts';
import { type CoordinatorLimits, defaultCoordinatorLimits } from '../coordinator/coordinator-limits.ts';
import type { Effects } from '../coordinator/coordinator-machine.ts';
import { CoordinatorRuntime } from '../coordinator/coordinator-runtime.ts';
import type { JoinableGroups } from '../coordinator/coordinator-shard.ts';
import type { ClosedGroup } from '../coordinator/joint-append.ts';
import type { Topic, TopicDirectory } from '../topics/topic.ts';
import { type ShareKey, type ShareRecord, shareKeyText, shareRecordFormat } from './share-records.ts';
import type { ShareSettings } from './share-settings.ts';
import { type Aftermath, type GivenUp, ShareStateMachine, type ShareSummary } from './share-state-machine.ts';
import type { AcknowledgementBatch } from './share-window.ts';

export interface ShareCoordinatorOptions {
  readonly engine: StorageEngine;
  readonly directory: TopicDirectory;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: ShareSettings;
  readonly limits?: Partial<CoordinatorLimits>;
}

/** Who keeps what becomes of records outside the window. */
export interface ShareRecordKeeper {
  append(key: ShareKey, rows: Aftermath['rows'], closed: ClosedGroup): void;
  giveUp(key: ShareKey, ranges: readonly GivenUp[]): void;
  readRows(key: ShareKey): Promise<readonly { offset: number; count: number; dueMs: number }[]>;
  dropRows(key: ShareKey): Promise<void>;
}

export class ShareCoordinator {
  readonly #runtime: CoordinatorRuntime<ShareRecord, ShareStateMachine>;
  readonly #log: Log;
  readonly #waiters = new Map<string, Set<() => void>>();
  readonly #stopListening: () => void;
  #keeper: ShareRecordKeeper | undefined;

  constructor(options: ShareCoordinatorOptions) {
    const { engine, directory, clock, settings } = options;
    this.#log = options.log.component('share');
    this.#runtime = new CoordinatorRuntime({
      topicName: '__share_group_state',
      directory,
      engine,
      clock,
      log: this.#log,
      limits: { ...defaultCoordinatorLimits, ...options.limits },
      format: shareRecordFormat,
      createMachine: (timers) =>
        new ShareStateMachine({
          timers,
          settings,
          leaderEpoch: engine.epoch,
          freed: (key) => this.tell(key),
          // A machine's timer may not run a command inside its own.
          lockEnded: (key) => queueMicrotask(() => this.#expire(key)),
        }),
    });
    this.#stopListening = directory.onDeleted((topic) => {
      if (!topic.isInternal) void this.#onTopicDeleted(topic);
    });
  }

  /** Called once, before anything is asked. */
  keepRecords(keeper: ShareRecordKeeper): void {
    this.#keeper = keeper;
  }

  async close(): Promise<void> {
    this.#stopListening();
    await this.#runtime.close();
  }

  /** Wakes after something of the share partition may have become free. Returns how to stop. */
  watch(key: ShareKey, wake: () => void): () => void {
    const text = shareKeyText(key);
    const waiters = this.#waiters.get(text) ?? new Set();
    this.#waiters.set(text, waiters);
    waiters.add(wake);
    return () => {
      waiters.delete(wake);
      if (waiters.size === 0 && this.#waiters.get(text) === waiters) this.#waiters.delete(text);
    };
  }

  /** Something of the share partition may have become free. */
  tell(key: ShareKey): void {
    const waiters = this.#waiters.get(shareKeyText(key));
    if (waiters === undefined) return;
    for (const wake of [...waiters]) wake();
  }

  /** Runs on the machine of the share partition as it is in memory now; undefined where it is not. Answers wait for nothing. */
  now<Result>(
    key: ShareKey,
    command: (machine: ShareStateMachine, effects: Effects<ShareRecord>) => Result,
  ): { readonly result: Result } | undefined {
    const partition = this.#runtime.partitionOf(shareKeyText(key));
    return partition === undefined ? undefined : this.#runtime.runNow(partition, command);
  }

  /** Runs a command, and answers when what it wrote is durable. The topic of the state is made where it is missing. */
  execute<Answer>(
    key: ShareKey,
    fail: (code: ErrorCode) => Answer,
    command: (machine: ShareStateMachine, effects: Effects<ShareRecord>) => Answer,
  ): MaybePromise<Answer> {
    return this.#runtime.execute(shareKeyText(key), 'create', fail, (machine, effects, ticket) =>
      effects.reply(ticket, command(machine, effects)),
    );
  }

  acknowledge(
    key: ShareKey,
    memberId: string,
    batches: readonly AcknowledgementBatch[],
  ): MaybePromise<ApiError | undefined> {
    return this.#runtime.execute<ApiError | undefined>(
      shareKeyText(key),
      'look',
      () => ({ code: errorCodes.NOT_LEADER_OR_FOLLOWER, message: null }),
      (machine, effects, ticket, groups) => {
        const outcome = machine.acknowledge(key, memberId, batches, effects);
        if ('fault' in outcome) {
          effects.reply(ticket, outcome.fault);
          return;
        }
        effects.reply(ticket, undefined);
        this.#settle(key, outcome.aftermath, groups);
      },
    );
  }

  /** Runs a command that has more appended with what it writes. Resolves when it ran, or could not. */
  async withGroups(
    key: ShareKey,
    command: (machine: ShareStateMachine, effects: Effects<ShareRecord>, groups: JoinableGroups) => void,
  ): Promise<void> {
    await this.#runtime.execute<void>(
      shareKeyText(key),
      'create',
      () => undefined,
      (machine, effects, ticket, groups) => {
        effects.reply(ticket, undefined);
        command(machine, effects, groups);
      },
    );
  }

  /** What is parked of the share partition is read into its machine. */
  async readParked(key: ShareKey): Promise<void> {
    const rows = (await this.#keeper?.readRows(key)) ?? [];
    this.now(key, (machine) => machine.parkedRead(key, rows));
  }

  /** Makes the share partition anew, without anything parked. */
  async reset(key: ShareKey, startOffset: number): Promise<ErrorCode> {
    await this.#keeper?.dropRows(key);
    return this.execute<ErrorCode>(
      key,
      (code) => code,
      (machine, effects) => {
        machine.reset(key, startOffset, effects);
        return errorCodes.NONE;
      },
    );
  }

  /** A parked record is gone from the log. */
  async dropParked(key: ShareKey, offset: number): Promise<void> {
    await this.withGroups(key, (machine, effects, groups) =>
      this.#settle(key, machine.dropParked(key, offset, effects), groups),
    );
  }

  #expire(key: ShareKey): void {
    this.#withGroupsNow(key, (machine, effects) => machine.expire(key, effects));
  }

  /** Where the state is not in memory there is nothing to do. */
  #withGroupsNow(
    key: ShareKey,
    command: (machine: ShareStateMachine, effects: Effects<ShareRecord>) => Aftermath,
  ): void {
    const partition = this.#runtime.partitionOf(shareKeyText(key));
    if (partition === undefined) return;
    this.#runtime.runNow(partition, (machine, effects, groups) =>
      this.#settle(key, command(machine, effects), groups),
    );
  }

  #settle(key: ShareKey, { rows, givenUp }: Aftermath, groups: JoinableGroups): void {
    if (rows.length > 0) {
      const closed = groups.closeGroup();
      assert(
        this.#keeper !== undefined && closed !== undefined,
        'rows without a record, or without a keeper',
      );
      this.#keeper.append(key, rows, closed);
    }
    if (givenUp.length > 0) this.#keeper?.giveUp(key, givenUp);
  }

  /** The member's session is over. Where the state is not in memory it holds nothing. */
  release(key: ShareKey, memberId: string): void {
    this.#withGroupsNow(key, (machine, effects) => machine.release(key, memberId, effects));
  }

  /** Every share partition of the group; of all groups where it is undefined. Rejects where one cannot be read. */
  async summaries(groupId: string | undefined): Promise<readonly ShareSummary[]> {
    const answers = await this.#runtime.executeOnAll<readonly ShareSummary[] | ErrorCode>(
      (code) => code,
      (machine, effects, ticket) => effects.reply(ticket, machine.summaries(groupId)),
    );
    return answers.flatMap((answer) => {
      if (typeof answer === 'number') throw new ShareStateUnavailableError(answer);
      return answer;
    });
  }

  summary(key: ShareKey): MaybePromise<ShareSummary | ErrorCode | undefined> {
    return this.#runtime.execute<ShareSummary | ErrorCode | undefined>(
      shareKeyText(key),
      'look',
      (code) => code,
      (machine, effects, ticket) => effects.reply(ticket, machine.summary(key)),
    );
  }

  /** Forgets the share partitions of a group, of one topic or of all. Durable when it resolves. */
  async forget(groupId: string, topicId: string | undefined): Promise<ErrorCode> {
    return this.#forgetWhere(
      ({ key }) => key.groupId === groupId && (topicId === undefined || key.topicId === topicId),
    );
  }

  async #onTopicDeleted(topic: Topic): Promise<void> {
    const code = await this.#forgetWhere(({ key }) => key.topicId === topic.id);
    if (code !== errorCodes.NONE) {
      this.#log.warn({ topic: topic.name, code }, 'the share state of a deleted topic could not be dropped');
    }
  }

  async #forgetWhere(isMeant: (summary: ShareSummary) => boolean): Promise<ErrorCode> {
    for (const summary of await this.summaries(undefined)) {
      if (isMeant(summary)) await this.#keeper?.dropRows(summary.key);
    }
    const codes = await this.#runtime.executeOnAll<ErrorCode>(
      (code) => code,
      (machine, effects, ticket) => {
        for (const summary of machine.summaries(undefined)) {
          if (isMeant(summary)) machine.forget(summary.key, effects);
        }
        effects.reply(ticket, errorCodes.NONE);
      },
    );
    return codes.find((code) => code !== errorCodes.NONE) ?? errorCodes.NONE;
  }
}

/** A partition of __share_group_state cannot be read now. */
export class ShareStateUnavailableError extends Error {
  override readonly name = 'ShareStateUnavailableError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode) {
    super(`the state of share groups cannot be read now (error ${code})`);
    this.code = code;
  }
}
