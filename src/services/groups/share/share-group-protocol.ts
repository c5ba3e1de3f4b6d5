/**
 * The members of share groups (KIP-932): heartbeats, by which they join, say what they subscribe to, learn what they may fetch, and
 * leave. Nothing is taken from one member before another has it: records are shared, not partitions. Pure.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import type {
  ShareGroupHeartbeatRequest,
  ShareGroupHeartbeatResponseInput,
} from '../../../../protocol/generated/76-share-group-heartbeat.ts';
import type { ShareGroupDescribeResponseDescribedGroupInput } from '../../../../protocol/generated/77-share-group-describe.ts';
import type { Effects, MachineTimers } from '../../coordinator/coordinator-machine.ts';
import { GroupFault } from '../common/group-fault.ts';
import { type GroupTopics, metadataHash } from '../common/group-topics.ts';
import { epochFault, joinEpoch, leaveEpoch } from '../common/member-epochs.ts';
import type { AssignableMember } from '../common/partition-assignor.ts';
import { samePartitions, sameSet, type TopicPartitions, toWire } from '../common/topic-partitions.ts';
import type { GroupRecord } from '../group-records.ts';
import type { ShareMemberSettings } from '../group-settings.ts';
import { newShareMember, ShareGroup, type ShareMember } from './share-group.ts';
import {
  currentAssignmentRecord,
  groupEpochRecord,
  groupTombstones,
  memberRecord,
  memberTombstones,
  type ShareGroupRecord,
  targetMemberRecord,
  targetMetadataRecord,
} from './share-group-records.ts';
import { simpleAssignor } from './simple-assignor.ts';

type GroupEffects = Effects<GroupRecord>;

export interface ShareGroupProtocolOptions {
  readonly settings: ShareMemberSettings;
  readonly timers: MachineTimers<GroupRecord>;
  readonly topics: GroupTopics;
  /** A group of another kind has the id. */
  readonly isTaken: (groupId: string) => boolean;
}

/** Who sends the heartbeat. */
export interface ShareMemberContext {
  readonly clientId: string;
  readonly clientHost: string;
}

const longestMemberId = 36;
const shortestHeartbeatMs = 100;

export class ShareGroupProtocol {
  readonly #options: ShareGroupProtocolOptions;
  readonly #groups = new Map<string, ShareGroup>();

  constructor(options: ShareGroupProtocolOptions) {
    this.#options = options;
  }

  /** Members that were there before the start have a session's time to be heard of. */
  onLoaded(): void {
    for (const group of this.#groups.values()) {
      for (const memberId of group.members.keys()) this.#renewSession(group, memberId);
    }
  }

  replay(record: ShareGroupRecord): void {
    const { groupId } = record.key;
    let group = this.#groups.get(groupId);
    if (record.type === 'share-group-metadata' && record.value === null) {
      group?.stopTimers();
      this.#groups.delete(groupId);
      return;
    }
    if (group === undefined) {
      if (record.value === null) return;
      group = new ShareGroup(groupId, this.#options.timers);
      this.#groups.set(groupId, group);
    }
    group.replay(record);
  }

  /** Ends of a group where the group does: what is gone must not be said again. */
  *snapshot(): Iterable<ShareGroupRecord> {
    for (const group of this.#groups.values()) {
      for (const record of group.snapshot()) {
        if (this.#groups.get(group.groupId) !== group) break;
        yield record;
      }
    }
  }

  /** In the order in which they came to be. */
  groups(): Iterable<ShareGroup> {
    return this.#groups.values();
  }

  heartbeat(
    request: ShareGroupHeartbeatRequest,
    context: ShareMemberContext,
    effects: GroupEffects,
  ): ShareGroupHeartbeatResponseInput {
    const fault = requestFault(request);
    if (fault !== undefined) return refused(fault);
    return request.memberEpoch === leaveEpoch
      ? this.#leave(request, effects)
      : this.#stay(request, context, effects);
  }

  describe(groupId: string): ShareGroupDescribeResponseDescribedGroupInput {
    const group = this.#groups.get(groupId);
    if (group === undefined) {
      const { errorCode, message } = this.#absent(groupId);
      return { ...noShareGroup(groupId), errorCode, errorMessage: message };
    }
    return {
      ...noShareGroup(groupId),
      groupState: group.state,
      groupEpoch: group.groupEpoch,
      assignmentEpoch: Math.max(1, group.target.epoch),
      assignorName: simpleAssignor.name,
      members: [...group.members.values()].map((member) => ({
        memberId: member.memberId,
        rackId: member.rackId,
        memberEpoch: member.memberEpoch,
        clientId: member.clientId,
        clientHost: member.clientHost,
        subscribedTopicNames: [...member.subscribedTopicNames].sort(),
        assignment: { topicPartitions: this.#named(member.assigned) },
      })),
    };
  }

  /** Undefined where there is no such share group. */
  group(groupId: string): ShareGroup | undefined {
    return this.#groups.get(groupId);
  }

  /** Makes the group, without members, where no group has the id. */
  ensure(groupId: string, effects: GroupEffects): void {
    if (this.#groups.has(groupId) || this.#options.isTaken(groupId)) return;
    effects.append(groupEpochRecord(groupId, 1, 0));
  }

  /** Undefined where there is such a share group. */
  fault(groupId: string): GroupFault | undefined {
    return this.#groups.has(groupId) ? undefined : this.#absent(groupId);
  }

  #absent(groupId: string): GroupFault {
    return new GroupFault(
      'GROUP_ID_NOT_FOUND',
      this.#options.isTaken(groupId) ? notShare(groupId) : notFound(groupId),
    );
  }

  /** The group has no members: it is forgotten. */
  delete(group: ShareGroup, effects: GroupEffects): void {
    for (const record of groupTombstones(group.groupId)) effects.append(record);
  }

  #named(assigned: TopicPartitions) {
    return toWire(assigned).flatMap(({ topicId, partitions }) => {
      const topic = this.#options.topics.byId(topicId);
      return topic === undefined ? [] : [{ topicId, topicName: topic.name, partitions: [...partitions] }];
    });
  }

  #leave(request: ShareGroupHeartbeatRequest, effects: GroupEffects): ShareGroupHeartbeatResponseInput {
    const { groupId, memberId, memberEpoch } = request;
    const found = this.#find(groupId, memberId);
    if (found instanceof GroupFault) return refused(found);
    this.#fence(found.group, memberId, effects);
    return { throttleTimeMs: 0, errorCode: errorCodes.NONE, memberId, memberEpoch, heartbeatIntervalMs: 0 };
  }

  #find(groupId: string, memberId: string): { group: ShareGroup; member: ShareMember } | GroupFault {
    const group = this.#groups.get(groupId);
    if (group === undefined) return this.#absent(groupId);
    const member = group.members.get(memberId);
    if (member === undefined) {
      return new GroupFault('UNKNOWN_MEMBER_ID', `Member ${memberId} is not a member of group ${groupId}.`);
    }
    return { group, member };
  }

  #stay(
    request: ShareGroupHeartbeatRequest,
    context: ShareMemberContext,
    effects: GroupEffects,
  ): ShareGroupHeartbeatResponseInput {
    const { groupId, memberId, memberEpoch } = request;
    const { settings, isTaken } = this.#options;
    const present = this.#groups.get(groupId);
    if (present === undefined && isTaken(groupId)) return refused(this.#absent(groupId));
    let before = present?.members.get(memberId);
    if (before === undefined) {
      if (memberEpoch !== joinEpoch) {
        const missing = this.#find(groupId, memberId);
        if (missing instanceof GroupFault) return refused(present === undefined ? noGroup(groupId) : missing);
      }
      if (present !== undefined && present.members.size >= settings.maxSize) {
        return refused(
          new GroupFault(
            'GROUP_MAX_SIZE_REACHED',
            `The share group has reached its maximum capacity of ${settings.maxSize} members.`,
          ),
        );
      }
      before = newShareMember(memberId);
    } else if (memberEpoch !== joinEpoch) {
      const fault = epochFault('share', before, memberEpoch, true);
      if (fault !== undefined) return refused(fault);
    }
    const after: ShareMember = {
      ...before,
      rackId: request.rackId ?? before.rackId,
      clientId: context.clientId,
      clientHost: context.clientHost,
      subscribedTopicNames:
        request.subscribedTopicNames === null
          ? before.subscribedTopicNames
          : new Set(request.subscribedTopicNames),
    };
    const isNew = present?.members.has(memberId) !== true;
    // The record makes the group, too.
    if (isNew || differ(before, after)) effects.append(memberRecord(groupId, after));
    const group = this.group(groupId)!;
    const hasSubscribed = isNew || !sameSet(before.subscribedTopicNames, after.subscribedTopicNames);
    this.#bumpEpoch(group, hasSubscribed, effects);
    this.#assign(group, effects);
    const member = this.#reconcile(group, memberId, effects);
    this.#renewSession(group, memberId);
    const isTold =
      memberEpoch === joinEpoch ||
      request.subscribedTopicNames !== null ||
      !samePartitions(before.assigned, member.assigned);
    return {
      throttleTimeMs: 0,
      errorCode: errorCodes.NONE,
      memberId,
      memberEpoch: member.memberEpoch,
      heartbeatIntervalMs: this.#heartbeatIntervalMs(group),
      assignment: isTold
        ? {
            topicPartitions: toWire(member.assigned).map(({ topicId, partitions }) => ({
              topicId,
              partitions: [...partitions],
            })),
          }
        : null,
    };
  }

  /** Sooner where an assignment is held back: the member shall not wait for a whole interval to learn of it. */
  #heartbeatIntervalMs({ groupId, groupEpoch, target }: ShareGroup): number {
    const { settings, timers } = this.#options;
    const usualMs = settings.heartbeatIntervalMs(groupId);
    if (target.epoch >= groupEpoch) return usualMs;
    const dueMs = Number(target.timestampMs) + settings.assignmentIntervalMs(groupId);
    return Math.min(usualMs, Math.max(shortestHeartbeatMs, dueMs - timers.nowMs()));
  }

  #bumpEpoch(group: ShareGroup, mustBump: boolean, effects: GroupEffects): void {
    const { topics } = this.#options;
    const { version } = topics;
    if (!mustBump && group.topicsVersion === version) return;
    const hash = metadataHash(group.subscribedTopics, topics);
    if (mustBump || hash !== group.metadataHash) {
      effects.append(groupEpochRecord(group.groupId, group.groupEpoch + 1, hash));
    }
    group.topicsVersion = version;
  }

  #assign(group: ShareGroup, effects: GroupEffects): void {
    const { settings, timers, topics } = this.#options;
    const { groupId, target, groupEpoch } = group;
    if (target.epoch >= groupEpoch) return;
    const nowMs = timers.nowMs();
    if (!target.isDue(settings.assignmentIntervalMs(groupId), nowMs)) return;
    const counts = new Map<string, number>();
    const members: AssignableMember[] = [...group.members.values()].map((member) => {
      const topicIds = new Set<string>();
      for (const name of member.subscribedTopicNames) {
        const topic = topics.byName(name);
        if (topic === undefined) continue;
        topicIds.add(topic.id);
        counts.set(topic.id, topic.partitionCount);
      }
      const { memberId } = member;
      return { memberId, instanceId: null, topicIds, assigned: target.of(memberId) };
    });
    const next = simpleAssignor.assign({
      members,
      isHomogeneous: false,
      partitionCount: (topicId) => counts.get(topicId) ?? 0,
      isAssigned: (topicId, partition) => target.isAssigned(topicId, partition),
    });
    for (const [memberId, partitions] of [...target.changes(group.members.keys(), next)]) {
      effects.append(targetMemberRecord(groupId, memberId, partitions));
    }
    effects.append(targetMetadataRecord(groupId, groupEpoch, nowMs));
  }

  /** The member has what is meant for it, at once. */
  #reconcile(group: ShareGroup, memberId: string, effects: GroupEffects): ShareMember {
    const member = group.members.get(memberId)!;
    const { target, groupId } = group;
    const subscribed = this.#subscribedOf(member, target.of(memberId));
    if (member.memberEpoch === target.epoch && samePartitions(member.assigned, subscribed)) return member;
    effects.append(
      currentAssignmentRecord(groupId, {
        ...member,
        memberEpoch: target.epoch,
        previousMemberEpoch: member.memberEpoch,
        assigned: subscribed,
      }),
    );
    return group.members.get(memberId)!;
  }

  /** Of what was meant for the member, what it still subscribes to. */
  #subscribedOf(member: ShareMember, target: TopicPartitions): TopicPartitions {
    const { topics } = this.#options;
    return new Map(
      [...target].filter(([topicId]) => {
        const topic = topics.byId(topicId);
        return topic !== undefined && member.subscribedTopicNames.has(topic.name);
      }),
    );
  }

  #renewSession({ groupId, timers }: ShareGroup, memberId: string): void {
    timers.renewSession(memberId, this.#options.settings.sessionTimeoutMs(groupId), (effects) => {
      const group = this.group(groupId);
      if (group?.members.has(memberId) === true) this.#fence(group, memberId, effects);
    });
  }

  #fence(group: ShareGroup, memberId: string, effects: GroupEffects): void {
    const { groupId } = group;
    for (const record of memberTombstones(groupId, memberId)) effects.append(record);
    const hash = metadataHash(group.subscribedTopics, this.#options.topics);
    effects.append(groupEpochRecord(groupId, group.groupEpoch + 1, hash));
  }
}

function requestFault(request: ShareGroupHeartbeatRequest): GroupFault | undefined {
  const { groupId, memberId, memberEpoch, rackId, subscribedTopicNames } = request;
  const invalid = (message: string) => new GroupFault('INVALID_REQUEST', message);
  // Kafka gives no reason either.
  if (memberId.trim() === '') return new GroupFault('INVALID_REQUEST', '');
  if (memberId.length > longestMemberId) return invalid('MemberId is too long.');
  if (groupId.trim() === '') return invalid("GroupId can't be empty.");
  if (rackId !== null && rackId.trim() === '') return invalid("RackId can't be empty.");
  if (memberEpoch === joinEpoch && (subscribedTopicNames === null || subscribedTopicNames.length === 0)) {
    return invalid('SubscribedTopicNames must be set in first request.');
  }
  if (memberEpoch < leaveEpoch) return invalid('MemberEpoch is invalid.');
  return undefined;
}

/** True where a record must be written of what the member says of itself. */
function differ(a: ShareMember, b: ShareMember): boolean {
  return (
    a.rackId !== b.rackId ||
    a.clientId !== b.clientId ||
    a.clientHost !== b.clientHost ||
    !sameSet(a.subscribedTopicNames, b.subscribedTopicNames)
  );
}

export function refusedHeartbeat(
  errorCode: number,
  errorMessage: string | null,
): ShareGroupHeartbeatResponseInput {
  return { throttleTimeMs: 0, errorCode, errorMessage, memberEpoch: 0, heartbeatIntervalMs: 0 };
}

function refused({ errorCode, message }: GroupFault): ShareGroupHeartbeatResponseInput {
  return refusedHeartbeat(errorCode, message === '' ? null : message);
}

export function noShareGroup(groupId: string): ShareGroupDescribeResponseDescribedGroupInput {
  return {
    errorCode: errorCodes.NONE,
    errorMessage: null,
    groupId,
    groupState: '',
    groupEpoch: 0,
    assignmentEpoch: 0,
    assignorName: '',
    members: [],
  };
}

function noGroup(groupId: string): GroupFault {
  return new GroupFault('GROUP_ID_NOT_FOUND', `Share group ${groupId} not found.`);
}

function notFound(groupId: string): string {
  return `Group ${groupId} not found.`;
}

function notShare(groupId: string): string {
  return `Group ${groupId} is not a share group.`;
}
