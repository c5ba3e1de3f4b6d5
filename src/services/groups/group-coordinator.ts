/**
 * The group coordinator as handlers call it: checks what Kafka checks before it looks at a group, finds the state machine that the
 * group lives on, and turns what keeps that from answering into each API's own kind of error. Every broker coordinates every group
 * here; which partition of __consumer_offsets a group lies in follows Kafka's rule.
 */
import { randomUUID } from 'node:crypto';
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import type { JoinGroupRequest, JoinGroupResponseInput } from '../../../protocol/generated/11-join-group.ts';
import type { HeartbeatRequest } from '../../../protocol/generated/12-heartbeat.ts';
import type { SyncGroupRequest, SyncGroupResponseInput } from '../../../protocol/generated/14-sync-group.ts';
import type { DescribeGroupsResponseDescribedGroupInput } from '../../../protocol/generated/15-describe-groups.ts';
import type { ListGroupsResponseListedGroupInput } from '../../../protocol/generated/16-list-groups.ts';
import type {
  ConsumerGroupHeartbeatRequest,
  ConsumerGroupHeartbeatResponseInput,
} from '../../../protocol/generated/68-consumer-group-heartbeat.ts';
import type { ConsumerGroupDescribeResponseDescribedGroupInput } from '../../../protocol/generated/69-consumer-group-describe.ts';
import type {
  ShareGroupHeartbeatRequest,
  ShareGroupHeartbeatResponseInput,
} from '../../../protocol/generated/76-share-group-heartbeat.ts';
import type { ShareGroupDescribeResponseDescribedGroupInput } from '../../../protocol/generated/77-share-group-describe.ts';
import type { MaybePromise, StorageEngine } from '../../storage/engine.ts';
import type { Clock, Timer } from '../../util/clock.ts';
import { GuardedClock } from '../../util/guarded-clock.ts';
import type { Log } from '../../util/log.ts';
import { type ApiError, apiError } from '../api-error.ts';
import { type CoordinatorLimits, defaultCoordinatorLimits } from '../coordinator/coordinator-limits.ts';
import type { Effects } from '../coordinator/coordinator-machine.ts';
import { CoordinatorRuntime, type WhenMissing } from '../coordinator/coordinator-runtime.ts';
import type { ClosedGroup } from '../coordinator/joint-append.ts';
import type { Topic, TopicDirectory } from '../topics/topic.ts';
import {
  joinError,
  type LeavingMember,
  type LeftMember,
  type MemberContext,
  syncError,
} from './classic/classic-group-protocol.ts';
import { offsetCommitValueOf } from './committed-offsets.ts';
import { DirectoryTopics } from './common/group-topics.ts';
import type { HeartbeatContext } from './consumer/consumer-group-protocol.ts';
import { type GroupRecord, groupRecordFormat, type TransactionEndRecord } from './group-records.ts';
import {
  defaultShareMemberSettings,
  type GroupSettings,
  type ShareMemberSettings,
} from './group-settings.ts';
import { deadGroup, type GroupFilter, GroupStateMachine } from './group-state-machine.ts';
import {
  type FetchedTopic,
  type FetchingMember,
  maxOffsetsDroppedAtOnce,
  type OffsetCommit,
  type OffsetCommitAnswer,
  type OffsetDeleteAnswer,
  type TransactionalOffsetCommit,
  type WantedTopic,
} from './offset-commits.ts';
import { noShareGroup, refusedHeartbeat, type ShareMemberContext } from './share/share-group-protocol.ts';

const nobody: FetchingMember = { memberId: null, memberEpoch: -1 };

export interface GroupCoordinatorOptions {
  readonly engine: StorageEngine;
  readonly directory: TopicDirectory;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: GroupSettings;
  readonly shareSettings?: ShareMemberSettings;
  /** Forgets what a share group that is deleted knows of its partitions. */
  readonly forgetShareState?: (groupId: string) => Promise<ErrorCode>;
  readonly limits?: Partial<CoordinatorLimits>;
  readonly newUuid?: () => string;
  readonly endOfTurn?: (action: () => void) => void;
}

export interface GenerationGuard {
  guards(groupId: string): boolean;
  /** Resolves when the generation's members may have their assignment. Never rejects. */
  begins(groupId: string, generationId: number): Promise<void>;
}

export interface OffsetFetchAnswer {
  readonly errorCode: ErrorCode;
  readonly topics: readonly FetchedTopic[];
}

export interface ListGroupsAnswer {
  readonly errorCode: ErrorCode;
  readonly groups: readonly ListGroupsResponseListedGroupInput[];
}

export interface LeaveGroupAnswer {
  readonly errorCode: ErrorCode;
  readonly members: readonly LeftMember[];
}

export class GroupCoordinator {
  readonly #settings: GroupSettings;
  readonly #clock: Clock;
  /** For what is dropped by its age: a commit that a leaping clock drops is gone, though the group only rests. */
  readonly #ageClock: Clock;
  readonly #log: Log;
  readonly #runtime: CoordinatorRuntime<GroupRecord, GroupStateMachine>;
  readonly #stopListening: () => void;
  readonly #forgetShareState: (groupId: string) => Promise<ErrorCode>;
  #expiry: Timer | undefined;
  #closed = false;

  constructor(options: GroupCoordinatorOptions) {
    const { engine, directory, clock, settings } = options;
    this.#settings = settings;
    this.#forgetShareState = options.forgetShareState ?? (async () => errorCodes.NONE);
    this.#clock = clock;
    this.#log = options.log.component('groups');
    this.#ageClock = new GuardedClock(clock, this.#log);
    const newUuid = options.newUuid ?? randomUUID;
    const topics = new DirectoryTopics(directory);
    this.#runtime = new CoordinatorRuntime({
      topicName: '__consumer_offsets',
      directory,
      engine,
      clock,
      log: this.#log,
      limits: { ...defaultCoordinatorLimits, ...options.limits },
      format: groupRecordFormat,
      createMachine: (timers) =>
        new GroupStateMachine({
          settings,
          timers,
          newUuid,
          topics,
          share: options.shareSettings ?? defaultShareMemberSettings,
        }),
      ...(options.endOfTurn === undefined ? {} : { endOfTurn: options.endOfTurn }),
    });
    this.#stopListening = directory.onDeleted((topic) => {
      if (!topic.isInternal) void this.#onTopicDeleted(topic);
    });
    this.#expireLater();
  }

  /** Makes __consumer_offsets where it does not exist. Rejects where it cannot be made. */
  ensureTopic(): Promise<Topic> {
    return this.#runtime.ensureTopic();
  }

  /** Partitions of __consumer_offsets that are in memory. */
  get loadedPartitions(): readonly number[] {
    return this.#runtime.loadedPartitions;
  }

  /** Answers members that wait for one another; called before connections are drained, which would wait for them, too. */
  releaseWaiting(): void {
    this.#runtime.releaseWaiting();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#expiry?.cancel();
    this.#stopListening();
    await this.#runtime.close();
  }

  // ----- members

  /** Waits until the group has all its members, or the rebalance timeout is over. */
  join(request: JoinGroupRequest, context: MemberContext): MaybePromise<JoinGroupResponseInput> {
    const fail = (code: ErrorCode): JoinGroupResponseInput => joinError(request.memberId, code);
    if (request.groupId === '') return fail(errorCodes.INVALID_GROUP_ID);
    const { minSessionTimeoutMs, maxSessionTimeoutMs } = this.#settings;
    if (request.sessionTimeoutMs < minSessionTimeoutMs || request.sessionTimeoutMs > maxSessionTimeoutMs) {
      return fail(errorCodes.INVALID_SESSION_TIMEOUT);
    }
    const whenMissing: WhenMissing = request.memberId === '' ? 'create' : 'look';
    return this.#runtime.execute(request.groupId, whenMissing, fail, (machine, effects, ticket) => {
      if (machine.share.group(request.groupId) === undefined) {
        machine.join(request, context, ticket, effects);
      } else effects.reply(ticket, fail(errorCodes.INCONSISTENT_GROUP_PROTOCOL));
    });
  }

  /** A follower waits until the leader has sent the assignment. */
  sync(request: SyncGroupRequest): MaybePromise<SyncGroupResponseInput> {
    if (request.groupId === '') return syncError(errorCodes.INVALID_GROUP_ID);
    const answer = this.#runtime.execute(request.groupId, 'look', syncError, (machine, effects, ticket) =>
      machine.sync(request, ticket, effects),
    );
    const { guard } = this;
    return guard?.guards(request.groupId) === true ? this.#guarded(answer, request, guard) : answer;
  }

  /** Looks at generations of classic groups before their members may read. */
  guard: GenerationGuard | undefined;

  async #guarded(
    answer: MaybePromise<SyncGroupResponseInput>,
    { groupId, generationId }: SyncGroupRequest,
    guard: GenerationGuard,
  ): Promise<SyncGroupResponseInput> {
    const synced = await answer;
    if (synced.errorCode === errorCodes.NONE) await guard.begins(groupId, generationId);
    return synced;
  }

  heartbeat(request: HeartbeatRequest): MaybePromise<ErrorCode> {
    if (request.groupId === '') return errorCodes.INVALID_GROUP_ID;
    return this.#runtime.execute<ErrorCode>(
      request.groupId,
      'look',
      // The group is being read and cannot know better: the member shall go on.
      (code) => (code === errorCodes.COORDINATOR_LOAD_IN_PROGRESS ? errorCodes.NONE : code),
      (machine, effects, ticket) => effects.reply(ticket, machine.heartbeat(request)),
    );
  }

  leave(groupId: string, members: readonly LeavingMember[]): MaybePromise<LeaveGroupAnswer> {
    const fail = (errorCode: ErrorCode): LeaveGroupAnswer => ({ errorCode, members: [] });
    if (groupId === '') return fail(errorCodes.INVALID_GROUP_ID);
    return this.#runtime.execute<LeaveGroupAnswer>(groupId, 'look', fail, (machine, effects, ticket) =>
      effects.reply(ticket, {
        errorCode: errorCodes.NONE,
        members:
          machine.leave(groupId, members, effects) ??
          members.map((member) => ({ ...member, errorCode: errorCodes.UNKNOWN_MEMBER_ID })),
      }),
    );
  }

  /** A member of the consumer protocol (KIP-848) joins, shows that it is alive, or leaves. */
  consumerHeartbeat(
    request: ConsumerGroupHeartbeatRequest,
    context: HeartbeatContext,
  ): MaybePromise<ConsumerGroupHeartbeatResponseInput> {
    const fail = (errorCode: ErrorCode): ConsumerGroupHeartbeatResponseInput => ({
      throttleTimeMs: 0,
      errorCode,
      memberEpoch: 0,
      heartbeatIntervalMs: 0,
    });
    const whenMissing: WhenMissing = request.memberEpoch === 0 ? 'create' : 'look';
    return this.#runtime.execute(request.groupId, whenMissing, fail, (machine, effects, ticket) =>
      effects.reply(
        ticket,
        machine.share.group(request.groupId) === undefined
          ? machine.consumer.heartbeat(request, context, effects)
          : {
              ...fail(errorCodes.GROUP_ID_NOT_FOUND),
              errorMessage: `Group ${request.groupId} is not a consumer group.`,
            },
      ),
    );
  }

  // ----- offsets

  commitOffsets(commit: OffsetCommit): MaybePromise<OffsetCommitAnswer> {
    const fail = (errorCode: ErrorCode): OffsetCommitAnswer => ({ errorCode });
    const whenMissing: WhenMissing = commit.generationId < 0 ? 'create' : 'look';
    return this.#runtime.execute(commit.groupId, whenMissing, fail, (machine, effects, ticket) =>
      effects.reply(
        ticket,
        // Share groups have no committed offsets.
        machine.share.group(commit.groupId) === undefined
          ? machine.offsetCommits.commit(commit, effects)
          : fail(errorCodes.GROUP_ID_NOT_FOUND),
      ),
    );
  }

  /**
   * `wanted` null: everything. Reads its own writes: an offset that is shown is durable. `mustBeStable`: an offset that a transaction
   * may still replace is answered UNSTABLE_OFFSET_COMMIT.
   */
  fetchOffsets(
    groupId: string,
    wanted: readonly WantedTopic[] | null,
    mustBeStable = false,
    member: FetchingMember = nobody,
  ): MaybePromise<OffsetFetchAnswer> {
    const fail = (errorCode: ErrorCode): OffsetFetchAnswer => ({ errorCode, topics: [] });
    return this.#runtime.execute<OffsetFetchAnswer>(groupId, 'look', fail, (machine, effects, ticket) => {
      const errorCode = machine.offsetCommits.fetchError(groupId, member);
      effects.reply(
        ticket,
        errorCode === errorCodes.NONE
          ? {
              errorCode,
              topics:
                wanted === null
                  ? machine.offsetCommits.fetchAll(groupId, mustBeStable)
                  : machine.offsetCommits.fetch(groupId, wanted, mustBeStable),
            }
          : fail(errorCode),
      );
    });
  }

  // ----- transactions (services/transactions calls these)

  /** The partition of __consumer_offsets in which the group is kept; undefined while there is no such topic. */
  partitionOf(groupId: string): number | undefined {
    return this.#runtime.partitionOf(groupId);
  }

  isLoaded(partition: number): boolean {
    return this.#runtime.isLoaded(partition);
  }

  /** Reads the partition, where it is not in memory. */
  load(partition: number): Promise<void> {
    return this.#runtime.load(partition);
  }

  /** The offsets count when the transaction is committed. The caller knows that they belong to one that is open. */
  commitTransactional(commit: TransactionalOffsetCommit): MaybePromise<OffsetCommitAnswer> {
    const fail = (errorCode: ErrorCode): OffsetCommitAnswer => ({ errorCode });
    return this.#runtime.execute(commit.groupId, 'create', fail, (machine, effects, ticket) =>
      effects.reply(ticket, machine.offsetCommits.commitTransactional(commit, effects)),
    );
  }

  /** The newest epoch of a producer whose offsets wait in the partition for the end of its transaction. */
  pendingEpochOf(partition: number, producerId: number): number | undefined {
    return this.#runtime.runNow(partition, (machine) => machine.pendingEpochOf(producerId))?.result;
  }

  /**
   * What says in the partition how a producer's transaction ended, for the caller to append in this turn together with the decision.
   * Undefined where the partition is not in memory.
   */
  endTransaction(partition: number, end: Omit<TransactionEndRecord, 'type'>): ClosedGroup | undefined {
    return this.#runtime.runNow(partition, (_machine, effects, groups) => {
      effects.append({ type: 'transaction-end', ...end });
      return groups.closeGroup();
    })?.result;
  }

  /**
   * Moves what is committed of a partition, for the caller to append in this turn. Undefined where `from` is not what is committed any
   * more, or the group's partition is not in memory.
   */
  moveOffset(
    groupId: string,
    from: { readonly topic: string; readonly partition: number; readonly offset: number },
    topicId: string,
    to: number,
  ): ClosedGroup | undefined {
    const home = this.#runtime.partitionOf(groupId);
    if (home === undefined) return undefined;
    const { topic, partition } = from;
    return this.#runtime.runNow(home, (machine, effects, groups) => {
      const wanted = [{ name: topic, topicId, partitionIndexes: [partition] }];
      const [now] = machine.offsetCommits.fetch(groupId, wanted);
      if (now?.partitions[0]?.offset !== from.offset) return undefined;
      const value = offsetCommitValueOf({
        offset: to,
        leaderEpoch: -1,
        metadata: '',
        commitTimestampMs: this.#clock.nowMs(),
        expireTimestampMs: -1,
        topicId,
      });
      effects.append({ type: 'offset-commit', key: { group: groupId, topic, partition }, value });
      return groups.closeGroup();
    })?.result;
  }

  deleteOffsets(
    groupId: string,
    topics: readonly { readonly name: string; readonly partitionIndexes: readonly number[] }[],
  ): MaybePromise<OffsetDeleteAnswer> {
    const fail = (errorCode: ErrorCode): OffsetDeleteAnswer => ({ errorCode });
    if (groupId === '') return fail(errorCodes.INVALID_GROUP_ID);
    return this.#runtime.execute(groupId, 'look', fail, (machine, effects, ticket) =>
      effects.reply(ticket, machine.offsetCommits.delete(groupId, topics, effects)),
    );
  }

  // ----- administration

  async list(filter: GroupFilter): Promise<ListGroupsAnswer> {
    const answers = await this.#runtime.executeOnAll<ListGroupsAnswer>(
      (errorCode) => ({ errorCode, groups: [] }),
      (machine, effects, ticket) =>
        effects.reply(ticket, { errorCode: errorCodes.NONE, groups: machine.list(filter) }),
    );
    const failed = answers.find((answer) => answer.errorCode !== errorCodes.NONE);
    return failed ?? { errorCode: errorCodes.NONE, groups: answers.flatMap((answer) => answer.groups) };
  }

  describe(groupId: string): MaybePromise<DescribeGroupsResponseDescribedGroupInput> {
    const fail = (errorCode: ErrorCode): DescribeGroupsResponseDescribedGroupInput => ({
      ...deadGroup(groupId),
      errorCode,
      groupState: '',
    });
    return this.#runtime.execute(groupId, 'look', fail, (machine, effects, ticket) =>
      effects.reply(ticket, machine.describe(groupId)),
    );
  }

  describeConsumer(groupId: string): MaybePromise<ConsumerGroupDescribeResponseDescribedGroupInput> {
    const fail = (errorCode: ErrorCode): ConsumerGroupDescribeResponseDescribedGroupInput => ({
      errorCode,
      groupId,
      groupState: '',
      groupEpoch: 0,
      assignmentEpoch: 0,
      assignorName: '',
      members: [],
    });
    if (groupId === '') return fail(errorCodes.INVALID_GROUP_ID);
    return this.#runtime.execute(groupId, 'look', fail, (machine, effects, ticket) =>
      effects.reply(ticket, machine.consumer.describe(groupId)),
    );
  }

  async deleteGroup(groupId: string): Promise<ErrorCode> {
    let isShared = false;
    const errorCode = await this.#runtime.execute<ErrorCode>(
      groupId,
      'look',
      (code) => code,
      (machine, effects, ticket) => {
        const group = machine.share.group(groupId);
        if (group === undefined) {
          effects.reply(ticket, machine.offsetCommits.deleteGroup(groupId, effects));
          return;
        }
        isShared = group.isEmpty;
        if (group.isEmpty) machine.share.delete(group, effects);
        effects.reply(ticket, group.isEmpty ? errorCodes.NONE : errorCodes.NON_EMPTY_GROUP);
      },
    );
    if (errorCode !== errorCodes.NONE || !isShared) return errorCode;
    return this.#forgetShareState(groupId);
  }

  // ----- share groups

  /** A member of a share group (KIP-932) joins, shows that it is alive, or leaves. */
  shareHeartbeat(
    request: ShareGroupHeartbeatRequest,
    context: ShareMemberContext,
  ): MaybePromise<ShareGroupHeartbeatResponseInput> {
    const fail = (code: ErrorCode) => refusedHeartbeat(code, null);
    const whenMissing: WhenMissing = request.memberEpoch === 0 ? 'create' : 'look';
    return this.#runtime.execute(request.groupId, whenMissing, fail, (machine, effects, ticket) =>
      effects.reply(ticket, machine.share.heartbeat(request, context, effects)),
    );
  }

  describeShare(groupId: string): MaybePromise<ShareGroupDescribeResponseDescribedGroupInput> {
    const fail = (errorCode: ErrorCode) => ({ ...noShareGroup(groupId), errorCode });
    if (groupId === '') return fail(errorCodes.INVALID_GROUP_ID);
    return this.#runtime.execute(groupId, 'look', fail, (machine, effects, ticket) =>
      effects.reply(ticket, machine.share.describe(groupId)),
    );
  }

  /** Undefined where there is such a share group, and nobody is in it. */
  emptyShareGroupFault(groupId: string): Promise<ApiError | undefined> {
    return this.#shareFault(groupId, 'empty');
  }

  /** The same of a group that is made where there is none. */
  newShareGroupFault(groupId: string): Promise<ApiError | undefined> {
    return this.#shareFault(groupId, 'empty-or-new');
  }

  async #shareFault(groupId: string, wanted: 'empty' | 'empty-or-new'): Promise<ApiError | undefined> {
    return this.#runtime.execute<ApiError | undefined>(
      groupId,
      wanted === 'empty-or-new' ? 'create' : 'look',
      (code) => ({ code, message: null }),
      (machine, effects, ticket) => {
        if (wanted === 'empty-or-new') machine.share.ensure(groupId, effects);
        const fault = machine.share.fault(groupId);
        const isRefused = machine.share.group(groupId)?.isEmpty === false;
        effects.reply(
          ticket,
          fault !== undefined
            ? { code: fault.errorCode, message: fault.message }
            : isRefused
              ? apiError('NON_EMPTY_GROUP', 'The group is not empty.')
              : undefined,
        );
      },
    );
  }

  // ----- what nobody asks for

  async #onTopicDeleted(topic: Topic): Promise<void> {
    const offsets = await this.#dropOffsets((machine, effects) =>
      machine.offsetCommits.onTopicDeleted(topic.name, topic.id, effects),
    );
    if (offsets > 0)
      this.#log.info({ topic: topic.name, offsets }, 'Dropped the offsets committed for a deleted topic');
  }

  #expireLater(): void {
    if (this.#closed) return;
    this.#expiry = this.#clock.after(this.#settings.offsetsRetentionCheckIntervalMs, () => {
      void this.#expire().finally(() => this.#expireLater());
    });
  }

  async #expire(): Promise<void> {
    const nowMs = this.#ageClock.nowMs();
    const offsets = await this.#dropOffsets((machine, effects) =>
      machine.offsetCommits.expire(effects, nowMs),
    );
    if (offsets > 0) this.#log.info({ offsets }, 'Dropped committed offsets whose retention is over');
  }

  /** Runs a command that drops up to so many offsets on every machine until none has more. Returns how many were dropped. */
  async #dropOffsets(
    drop: (machine: GroupStateMachine, effects: Effects<GroupRecord>) => number,
  ): Promise<number> {
    let dropped = 0;
    for (;;) {
      const counts = await this.#runtime.executeOnAll<number>(
        () => 0,
        (machine, effects, ticket) => effects.reply(ticket, drop(machine, effects)),
      );
      for (const count of counts) dropped += count;
      if (!counts.some((count) => count >= maxOffsetsDroppedAtOnce)) return dropped;
    }
  }
}
