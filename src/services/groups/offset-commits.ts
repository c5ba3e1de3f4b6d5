/**
 * What groups do with committed offsets: commit, fetch, delete, expire; as Kafka's OffsetMetadataManager does it. Pure. Whether a
 * topic exists is the handlers' business; here topics come with their ids. Commits of transactions lie beside the offsets until their
 * transaction ends.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import type { Int64 } from '../../../protocol/wire/int64.ts';
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import type { Effects, MachineTimers } from '../coordinator/coordinator-machine.ts';
import type { ClassicGroup } from './classic/classic-group.ts';
import { type ClassicGroupProtocol, validateMember } from './classic/classic-group-protocol.ts';
import {
  type CommittedOffset,
  type CommittedOffsets,
  isOfAnotherTopic,
  offsetCommitValueOf,
} from './committed-offsets.ts';
import { type CommitCheck, checkCommit, checkFetch } from './consumer/consumer-group-offsets.ts';
import { tombstonesOf } from './consumer/group-migration.ts';
import type { GroupRecord } from './group-records.ts';
import type { GroupSettings } from './group-settings.ts';
import type { Group, GroupTable } from './group-table.ts';

/** Tombstones that one command appends at most when offsets expire or their topic goes; what is left takes another command. */
export const maxOffsetsDroppedAtOnce = 10_000;

export interface OffsetCommit {
  readonly groupId: string;
  /** '' with generation -1: a consumer that manages itself. */
  readonly memberId: string;
  readonly groupInstanceId: string | null;
  /** Or the member's epoch. */
  readonly generationId: number;
  /** OffsetCommit 9+: the client can be told that its epoch is stale (KIP-848). */
  readonly knowsMemberEpochs: boolean;
  /** How long to keep the offsets from now on; -1: as the broker does. */
  readonly retentionMs: number;
  readonly topics: readonly CommittedTopic[];
}

/** Of a producer's transaction. */
export interface TransactionalOffsetCommit {
  readonly groupId: string;
  readonly producerId: number;
  readonly producerEpoch: number;
  /** '' with generation -1: a client of before KIP-447, or a group without members. */
  readonly memberId: string;
  readonly groupInstanceId: string | null;
  readonly generationId: number;
  readonly topics: readonly CommittedTopic[];
}

export interface CommittedTopic {
  readonly name: string;
  readonly topicId: string;
  readonly partitions: readonly CommittedPartition[];
}

export interface CommittedPartition {
  readonly partitionIndex: number;
  readonly offset: Int64;
  readonly leaderEpoch: number;
  readonly metadata: string | null;
  /** -1: now. */
  readonly commitTimestampMs: number;
}

/** Either one error for all, or one a partition in the order asked. */
export type OffsetCommitAnswer =
  | { readonly errorCode: ErrorCode }
  | { readonly errorCode: 0; readonly topics: readonly (readonly ErrorCode[])[] };

export interface FetchedPartition {
  readonly partitionIndex: number;
  readonly errorCode: ErrorCode;
  /** -1: nothing is committed. */
  readonly offset: Int64;
  readonly leaderEpoch: number;
  readonly metadata: string;
}

export interface FetchedTopic {
  readonly name: string;
  /** The topic that the offsets were committed for; of the request where it said. */
  readonly topicId: string;
  readonly partitions: readonly FetchedPartition[];
}

export interface WantedTopic {
  readonly name: string;
  /** The topic of that name now; ZERO_UUID where there is none. */
  readonly topicId: string;
  readonly partitionIndexes: readonly number[];
}

/** Who fetches offsets; a null id with epoch -1 says nothing. */
export interface FetchingMember {
  readonly memberId: string | null;
  readonly memberEpoch: number;
}

export type OffsetDeleteAnswer =
  | { readonly errorCode: ErrorCode }
  | { readonly errorCode: 0; readonly topics: readonly (readonly ErrorCode[])[] };

export interface OffsetCommitsOptions {
  readonly groups: GroupTable;
  readonly offsets: CommittedOffsets;
  readonly classic: ClassicGroupProtocol;
  readonly settings: GroupSettings;
  readonly timers: MachineTimers<GroupRecord>;
  /** Share groups have no committed offsets: their state is elsewhere. */
  readonly isShareGroup: (groupId: string) => boolean;
}

type GroupEffects = Effects<GroupRecord>;

export class OffsetCommits {
  readonly #groups: GroupTable;
  readonly #offsets: CommittedOffsets;
  readonly #classic: ClassicGroupProtocol;
  readonly #settings: GroupSettings;
  readonly #timers: MachineTimers<GroupRecord>;
  readonly #isShareGroup: (groupId: string) => boolean;

  constructor(options: OffsetCommitsOptions) {
    this.#isShareGroup = options.isShareGroup;
    this.#groups = options.groups;
    this.#offsets = options.offsets;
    this.#classic = options.classic;
    this.#settings = options.settings;
    this.#timers = options.timers;
  }

  /** A group that does not exist comes to be with its first offset, when the client manages itself. */
  commit(commit: OffsetCommit, effects: GroupEffects): OffsetCommitAnswer {
    if (this.#isShareGroup(commit.groupId)) return { errorCode: errorCodes.GROUP_ID_NOT_FOUND };
    const group = this.#groups.get(commit.groupId);
    const errorCode = group === undefined ? errorOfAbsentGroup(commit) : this.#validate(group, commit);
    if (errorCode !== errorCodes.NONE) return { errorCode };
    if (group?.type === 'classic' && (group.state === 'Stable' || group.state === 'PreparingRebalance')) {
      this.#classic.renewSessionOf(group, commit.memberId);
    }
    const nowMs = this.#timers.nowMs();
    const expireTimestampMs = commit.retentionMs === -1 ? -1 : nowMs + commit.retentionMs;
    const topics: ErrorCode[][] = [];
    for (const topic of commit.topics) {
      const errors: ErrorCode[] = [];
      for (const partition of topic.partitions) {
        const metadata = partition.metadata ?? '';
        if (metadata.length > this.#settings.offsetMetadataMaxBytes) {
          errors.push(errorCodes.OFFSET_METADATA_TOO_LARGE);
          continue;
        }
        effects.append({
          type: 'offset-commit',
          key: { group: commit.groupId, topic: topic.name, partition: partition.partitionIndex },
          value: offsetCommitValueOf({
            offset: partition.offset,
            leaderEpoch: partition.leaderEpoch,
            metadata,
            commitTimestampMs: partition.commitTimestampMs === -1 ? nowMs : partition.commitTimestampMs,
            expireTimestampMs,
            topicId: topic.topicId,
          }),
        });
        errors.push(errorCodes.NONE);
      }
      topics.push(errors);
    }
    return { errorCode: errorCodes.NONE, topics };
  }

  /** The offsets count when the transaction is committed. Whose transaction it is was checked before (KIP-447 fences by group). */
  commitTransactional(commit: TransactionalOffsetCommit, effects: GroupEffects): OffsetCommitAnswer {
    const { groupId, producerId, producerEpoch } = commit;
    if (this.#isShareGroup(groupId)) return { errorCode: errorCodes.GROUP_ID_NOT_FOUND };
    const group = this.#groups.get(groupId);
    const errorCode =
      group !== undefined
        ? this.#validateTransactional(group, commit)
        : commit.generationId < 0
          ? errorCodes.NONE
          : errorCodes.ILLEGAL_GENERATION;
    if (errorCode !== errorCodes.NONE) return { errorCode };
    const nowMs = this.#timers.nowMs();
    return {
      errorCode: errorCodes.NONE,
      topics: commit.topics.map((topic) =>
        topic.partitions.map((partition) => {
          const metadata = partition.metadata ?? '';
          if (metadata.length > this.#settings.offsetMetadataMaxBytes) {
            return errorCodes.OFFSET_METADATA_TOO_LARGE;
          }
          effects.append({
            type: 'transactional-offset',
            producerId,
            producerEpoch,
            key: { group: groupId, topic: topic.name, partition: partition.partitionIndex },
            value: offsetCommitValueOf({
              offset: partition.offset,
              leaderEpoch: partition.leaderEpoch,
              metadata,
              commitTimestampMs: nowMs,
              expireTimestampMs: -1,
              topicId: topic.topicId,
            }),
          });
          return errorCodes.NONE;
        }),
      ),
    };
  }

  #validate(group: Group, commit: OffsetCommit): ErrorCode {
    if (group.type === 'classic') return validateCommit(group, commit);
    return this.#checkEach(checkCommit(group, { ...commit, isTransactional: false }), commit.topics);
  }

  #validateTransactional(group: Group, commit: TransactionalOffsetCommit): ErrorCode {
    if (group.type === 'classic') return validateTransactionalCommit(group, commit);
    const check = checkCommit(group, { ...commit, isTransactional: true, knowsMemberEpochs: true });
    const errorCode = this.#checkEach(check, commit.topics);
    // Producers know no stale epoch.
    return errorCode === errorCodes.STALE_MEMBER_EPOCH ? errorCodes.ILLEGAL_GENERATION : errorCode;
  }

  /** One partition that is not the member's any more refuses all. */
  #checkEach(check: CommitCheck, topics: readonly CommittedTopic[]): ErrorCode {
    if (typeof check === 'number') return check;
    for (const { topicId, partitions } of topics) {
      for (const { partitionIndex, metadata } of partitions) {
        if ((metadata ?? '').length > this.#settings.offsetMetadataMaxBytes) continue;
        const errorCode = check(topicId, partitionIndex);
        if (errorCode !== errorCodes.NONE) return errorCode;
      }
    }
    return errorCodes.NONE;
  }

  /** Whether the member may fetch: one of a consumer group must be in the epoch that it says. */
  fetchError(groupId: string, member: FetchingMember): ErrorCode {
    const group = this.#groups.get(groupId);
    return group?.type === 'consumer' ? checkFetch(group, member) : errorCodes.NONE;
  }

  /** What is committed for the partitions wanted, or for all; a topic that was deleted and made again has nothing. */
  fetch(groupId: string, wanted: readonly WantedTopic[], mustBeStable = false): FetchedTopic[] {
    const offsets = this.#offsets.of(groupId);
    const isUnstable = (name: string, partition: number): boolean =>
      mustBeStable && this.#offsets.hasPending(groupId, name, partition);
    return wanted.map(({ name, topicId, partitionIndexes }) => {
      const partitions = offsets.get(name);
      return {
        name,
        topicId,
        partitions: partitionIndexes.map((partitionIndex) => {
          if (isUnstable(name, partitionIndex)) return unstable(partitionIndex);
          const committed = partitions?.get(partitionIndex);
          return committed === undefined || isOfAnotherTopic(committed, topicId)
            ? { partitionIndex, errorCode: errorCodes.NONE, offset: -1, leaderEpoch: -1, metadata: '' }
            : fetched(partitionIndex, committed);
        }),
      };
    });
  }

  fetchAll(groupId: string, mustBeStable = false): FetchedTopic[] {
    const topics: FetchedTopic[] = [];
    for (const [name, partitions] of this.#offsets.of(groupId)) {
      const byTopicId = new Map<string, FetchedPartition[]>();
      for (const [partitionIndex, committed] of partitions) {
        const list = byTopicId.get(committed.topicId);
        const partition =
          mustBeStable && this.#offsets.hasPending(groupId, name, partitionIndex)
            ? unstable(partitionIndex)
            : fetched(partitionIndex, committed);
        if (list === undefined) byTopicId.set(committed.topicId, [partition]);
        else list.push(partition);
      }
      for (const [topicId, list] of byTopicId) topics.push({ name, topicId, partitions: list });
    }
    return topics;
  }

  /** OffsetDelete: of a topic that the group consumes at the moment nothing is deleted. */
  delete(
    groupId: string,
    topics: readonly { readonly name: string; readonly partitionIndexes: readonly number[] }[],
    effects: GroupEffects,
  ): OffsetDeleteAnswer {
    const group = this.#groups.get(groupId);
    if (group === undefined) return { errorCode: errorCodes.GROUP_ID_NOT_FOUND };
    if (group.type === 'classic' && !group.isEmpty && !group.usesConsumerProtocol)
      return { errorCode: errorCodes.NON_EMPTY_GROUP };
    return {
      errorCode: errorCodes.NONE,
      topics: topics.map(({ name, partitionIndexes }) => {
        if (group.isSubscribedTo(name)) {
          return partitionIndexes.map(() => errorCodes.GROUP_SUBSCRIBED_TO_TOPIC);
        }
        return partitionIndexes.map((partition) => {
          if (
            this.#offsets.of(groupId).get(name)?.has(partition) === true ||
            this.#offsets.hasPending(groupId, name, partition)
          ) {
            this.#forget(groupId, name, partition, effects);
          }
          return errorCodes.NONE;
        });
      }),
    };
  }

  /** DeleteGroups: the group and all its offsets. */
  deleteGroup(groupId: string, effects: GroupEffects): ErrorCode {
    const group = this.#groups.get(groupId);
    if (group === undefined) return errorCodes.GROUP_ID_NOT_FOUND;
    if (!group.isEmpty) return errorCodes.NON_EMPTY_GROUP;
    for (const [topic, partitions] of [...this.#offsets.of(groupId)]) {
      for (const partition of [...partitions.keys()]) this.#forget(groupId, topic, partition, effects);
    }
    for (const { key } of [...this.#offsets.pendingOf(groupId)]) {
      this.#forget(groupId, key.topic, key.partition, effects);
    }
    this.#bury(group, effects);
    return errorCodes.NONE;
  }

  #bury(group: Group, effects: GroupEffects): void {
    if (group.type === 'consumer') for (const record of tombstonesOf(group)) effects.append(record);
    else effects.append({ type: 'group-metadata', key: { group: group.groupId }, value: null });
  }

  /** Drops what was committed for a topic that is gone, up to `maxOffsetsDroppedAtOnce`. Returns how many offsets. */
  onTopicDeleted(name: string, topicId: string, effects: GroupEffects): number {
    let count = 0;
    for (const groupId of [...this.#offsets.groupIds]) {
      for (const [partition, committed] of [...(this.#offsets.of(groupId).get(name) ?? [])]) {
        if (isOfAnotherTopic(committed, topicId)) continue;
        if (count === maxOffsetsDroppedAtOnce) return count;
        this.#forget(groupId, name, partition, effects);
        count++;
      }
    }
    for (const groupId of [...this.#offsets.groupIdsWithPending]) {
      for (const { key, value } of [...this.#offsets.pendingOf(groupId)]) {
        const isOther =
          value.topicId !== undefined && value.topicId !== ZERO_UUID && value.topicId !== topicId;
        if (key.topic !== name || isOther) continue;
        if (count === maxOffsetsDroppedAtOnce) return count;
        this.#forget(groupId, name, key.partition, effects);
        count++;
      }
    }
    return count;
  }

  /**
   * Drops offsets that were committed for a topic that was deleted and made again, where the broker ended before it could.
   * `topicIdOf` knows the topics there are.
   */
  dropOffsetsOfReplacedTopics(topicIdOf: (name: string) => string | undefined, effects: GroupEffects): void {
    for (const groupId of [...this.#offsets.groupIds]) {
      for (const [name, partitions] of [...this.#offsets.of(groupId)]) {
        const topicId = topicIdOf(name);
        if (topicId === undefined) continue;
        for (const [partition, committed] of [...partitions]) {
          if (isOfAnotherTopic(committed, topicId)) this.#forget(groupId, name, partition, effects);
        }
      }
    }
  }

  /**
   * Drops offsets whose time is over, up to `maxOffsetsDroppedAtOnce`, and groups of which nothing is left. Returns how many offsets.
   * `nowMs`: wall time that does not leap ahead.
   */
  expire(effects: GroupEffects, nowMs: number): number {
    let count = 0;
    for (const group of [...this.#groups.values()]) {
      const startMsOf = retentionStart(group);
      let isLeftEmpty = true;
      for (const [topic, partitions] of [...this.#offsets.of(group.groupId)]) {
        if (startMsOf === undefined || group.isSubscribedTo(topic)) {
          isLeftEmpty = false;
          continue;
        }
        for (const [partition, committed] of [...partitions]) {
          const isOver =
            committed.expireTimestampMs !== -1
              ? nowMs >= committed.expireTimestampMs
              : nowMs - startMsOf(committed) >= this.#settings.offsetsRetentionMs;
          if (isOver && !this.#offsets.hasPending(group.groupId, topic, partition)) {
            if (count === maxOffsetsDroppedAtOnce) return count;
            this.#forget(group.groupId, topic, partition, effects);
            count++;
          } else {
            isLeftEmpty = false;
          }
        }
      }
      // An id that was handed out must find its group again.
      if (
        isLeftEmpty &&
        group.isEmpty &&
        (group.type !== 'classic' || group.pendingJoinMembers.size === 0) &&
        !this.#offsets.hasPendingOf(group.groupId)
      ) {
        this.#bury(group, effects);
      }
    }
    return count;
  }

  #forget(group: string, topic: string, partition: number, effects: GroupEffects): void {
    effects.append({ type: 'offset-commit', key: { group, topic, partition }, value: null });
  }
}

function errorOfAbsentGroup(commit: OffsetCommit): ErrorCode {
  return commit.generationId < 0 ? errorCodes.NONE : errorCodes.GROUP_ID_NOT_FOUND;
}

function validateCommit(group: ClassicGroup, commit: OffsetCommit): ErrorCode {
  const { generationId, memberId, groupInstanceId } = commit;
  // Nobody is in the group: a consumer that manages itself, or a tool that resets offsets.
  if (generationId < 0 && group.state === 'Empty') return errorCodes.NONE;
  if (generationId < 0 && memberId === '' && groupInstanceId === null) return errorCodes.UNKNOWN_MEMBER_ID;
  const error = validateMember(group, memberId, groupInstanceId);
  if (error !== errorCodes.NONE) return error;
  if (generationId !== group.generationId) return errorCodes.ILLEGAL_GENERATION;
  // While a rebalance is prepared members still commit what they did; once it has given out a generation that is too late.
  return group.state === 'CompletingRebalance' ? errorCodes.REBALANCE_IN_PROGRESS : errorCodes.NONE;
}

/** As for other commits, but that clients of old need not say who they are, and that a rebalance does not matter. */
function validateTransactionalCommit(group: ClassicGroup, commit: TransactionalOffsetCommit): ErrorCode {
  const { generationId, memberId, groupInstanceId } = commit;
  if (generationId < 0 && group.state === 'Empty') return errorCodes.NONE;
  if (generationId < 0 && memberId === '' && groupInstanceId === null) return errorCodes.NONE;
  const error = validateMember(group, memberId, groupInstanceId);
  if (error !== errorCodes.NONE) return error;
  return generationId === group.generationId ? errorCodes.NONE : errorCodes.ILLEGAL_GENERATION;
}

/** From when on the retention counts; undefined while it does not. */
function retentionStart(group: Group): ((committed: CommittedOffset) => number) | undefined {
  const sinceCommit = (committed: CommittedOffset): number => committed.commitTimestampMs;
  if (group.type !== 'classic') return sinceCommit;
  if (group.protocolType === null) return sinceCommit;
  if (group.state === 'Empty') {
    return group.stateTimestampMs === -1 ? sinceCommit : () => group.stateTimestampMs;
  }
  // Topics that a consumer group no longer reads expire while it lives; of other groups nobody knows what they read.
  const knowsTopics = group.usesConsumerProtocol && group.subscribedTopics !== null;
  return group.state === 'Stable' && knowsTopics ? sinceCommit : undefined;
}

/** A transaction that has not ended committed another (KIP-447): to be asked for again. */
function unstable(partitionIndex: number): FetchedPartition {
  return {
    partitionIndex,
    errorCode: errorCodes.UNSTABLE_OFFSET_COMMIT,
    offset: -1,
    leaderEpoch: -1,
    metadata: '',
  };
}

function fetched(partitionIndex: number, committed: CommittedOffset): FetchedPartition {
  return {
    partitionIndex,
    errorCode: errorCodes.NONE,
    offset: committed.offset,
    leaderEpoch: committed.leaderEpoch,
    metadata: committed.metadata,
  };
}
