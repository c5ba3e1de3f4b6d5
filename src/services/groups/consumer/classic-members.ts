/**
 * Members of the classic protocol inside a consumer group (KIP-848's migration): JoinGroup, SyncGroup, Heartbeat and LeaveGroup, answered
 * at once, since there is no leader to wait for. A generation is the member's epoch; a heartbeat tells the member to join again
 * whenever it has to give back or could get something.
 */
import { type ErrorCode, errorCodes } from '../../../../protocol/error-codes.ts';
import type {
  JoinGroupRequest,
  JoinGroupResponseInput,
} from '../../../../protocol/generated/11-join-group.ts';
import type { HeartbeatRequest } from '../../../../protocol/generated/12-heartbeat.ts';
import type {
  SyncGroupRequest,
  SyncGroupResponseInput,
} from '../../../../protocol/generated/14-sync-group.ts';
import type { Effects } from '../../coordinator/coordinator-machine.ts';
import { consumerProtocolType } from '../classic/classic-group.ts';
import {
  joinError,
  type LeavingMember,
  type LeftMember,
  type MemberContext,
  syncError,
} from '../classic/classic-group-protocol.ts';
import { byTopicId, readSubscription, versionOf, writeAssignment } from '../common/consumer-protocol.ts';
import { GroupFault } from '../common/group-fault.ts';
import type { GroupTopics } from '../common/group-topics.ts';
import { toWire } from '../common/topic-partitions.ts';
import type { GroupRecord } from '../group-records.ts';
import type { ConsumerGroupSettings } from '../group-settings.ts';
import type { ConsumerGroup } from './consumer-group.ts';
import { type ConsumerMember, newConsumerMember } from './consumer-group-member.ts';
import { memberOf } from './consumer-group-protocol.ts';
import type { ConsumerGroupSteps } from './consumer-group-steps.ts';
import type { GroupMigration } from './group-migration.ts';

type GroupEffects = Effects<GroupRecord>;

export interface ClassicMembersOptions {
  readonly settings: ConsumerGroupSettings;
  readonly topics: GroupTopics;
  readonly newUuid: () => string;
  readonly steps: ConsumerGroupSteps;
  readonly migration: GroupMigration;
}

export class ClassicMembers {
  readonly #options: ClassicMembersOptions;

  constructor(options: ClassicMembersOptions) {
    this.#options = options;
  }

  join(
    group: ConsumerGroup,
    request: JoinGroupRequest,
    context: MemberContext,
    effects: GroupEffects,
  ): JoinGroupResponseInput {
    const { settings, steps, migration, topics } = this.#options;
    const { groupInstanceId: instanceId, protocols } = request;
    const isUnknown = request.memberId === '';
    const memberId = isUnknown ? this.#options.newUuid() : request.memberId;
    if (group.members.size >= settings.maxSize && !group.members.has(memberId)) {
      return joinError('', errorCodes.GROUP_MAX_SIZE_REACHED);
    }
    if (!group.supportsClassic(request.protocolType, protocols)) {
      return joinError('', errorCodes.INCONSISTENT_GROUP_PROTOCOL);
    }
    if (isUnknown && instanceId === null && context.mustKnowMemberId) {
      return joinError(memberId, errorCodes.MEMBER_ID_REQUIRED);
    }
    const subscription = readSubscription(protocols[0]!.metadata);
    if (subscription === undefined) {
      return joinError('', errorCodes.INCONSISTENT_GROUP_PROTOCOL);
    }
    const existing = instanceId === null ? undefined : group.staticMember(instanceId);
    let before: ConsumerMember;
    if (instanceId === null || isUnknown) {
      before = group.members.get(memberId) ?? newConsumerMember(memberId);
    } else {
      const member = memberOf(group, group.groupId, memberId, instanceId);
      if (member instanceof GroupFault) return joinError('', member.errorCode);
      before = member;
    }

    // From here on nothing is refused.
    const downgrades =
      existing !== undefined &&
      existing.classic === null &&
      group.classicMemberCount === group.members.size - 1 &&
      migration.mayDowngrade(group.members.size);
    if (existing !== undefined && isUnknown) before = steps.replaceStatic(group, existing, memberId, effects);
    const wanted: ConsumerMember = {
      ...before,
      memberId,
      instanceId: instanceId ?? before.instanceId,
      rackId: (subscription.rackId === '' ? null : subscription.rackId) ?? before.rackId,
      rebalanceTimeoutMs:
        request.rebalanceTimeoutMs === -1
          ? before.rebalanceTimeoutMs === -1
            ? request.sessionTimeoutMs
            : before.rebalanceTimeoutMs
          : request.rebalanceTimeoutMs,
      subscribedTopicNames: new Set(subscription.topics),
      subscribedTopicRegex: '',
      clientId: context.clientId,
      clientHost: context.clientHost,
      classic: { sessionTimeoutMs: request.sessionTimeoutMs, protocols },
    };
    const { groupId } = group;
    const change = steps.subscribe(groupId, before, wanted, effects);
    const hasChanged = change.names || change.regex !== 'same';
    steps.bumpEpoch(group, hasChanged, effects);
    const owned = toWire(byTopicId(subscription.ownedPartitions, topics));
    let after: ConsumerMember;
    if (downgrades) {
      const mustRebalance = group.target.epoch < group.groupEpoch;
      after = mustRebalance
        ? group.members.get(memberId)!
        : steps.reconcile(group, memberId, owned, hasChanged, effects);
      migration.downgrade(group, new Set(), mustRebalance, effects);
    } else {
      steps.assign(group, effects);
      after = steps.reconcile(group, memberId, owned, hasChanged, effects);
      group.timers.end('join', memberId);
      steps.renewSession(group, memberId, request.sessionTimeoutMs);
      steps.awaitClassic(group, 'sync', memberId, wanted.rebalanceTimeoutMs);
    }
    return {
      errorCode: errorCodes.NONE,
      generationId: after.memberEpoch,
      protocolType: consumerProtocolType,
      protocolName: protocols[0]!.name,
      leader: '',
      memberId,
      members: [],
    };
  }

  sync(group: ConsumerGroup, request: SyncGroupRequest): SyncGroupResponseInput {
    const member = this.#classicMember(group, request);
    if (typeof member === 'number') return syncError(member);
    if (request.generationId !== member.memberEpoch) return syncError(errorCodes.ILLEGAL_GENERATION);
    const protocol = member.classic!.protocols[0]!;
    if (
      (request.protocolType !== null && request.protocolType !== consumerProtocolType) ||
      (request.protocolName !== null && request.protocolName !== protocol.name)
    ) {
      return syncError(errorCodes.INCONSISTENT_GROUP_PROTOCOL);
    }
    // A member that has just given back need not join again for a newer epoch before it has finished with this one.
    if (epochToReach(group) > member.memberEpoch && member.state !== 'unrevoked') {
      this.#awaitJoin(group, member);
      return syncError(errorCodes.REBALANCE_IN_PROGRESS);
    }
    const { memberId } = member;
    group.timers.end('sync', memberId);
    this.#options.steps.renewSession(group, memberId, member.classic!.sessionTimeoutMs);
    return {
      errorCode: errorCodes.NONE,
      protocolType: request.protocolType,
      protocolName: request.protocolName,
      assignment: writeAssignment(member.assigned, this.#options.topics, versionOf(protocol.metadata)),
    };
  }

  heartbeat(group: ConsumerGroup, request: HeartbeatRequest): ErrorCode {
    const member = this.#classicMember(group, request);
    if (typeof member === 'number') return member;
    if (request.generationId !== member.memberEpoch) return errorCodes.ILLEGAL_GENERATION;
    this.#options.steps.renewSession(group, member.memberId, member.classic!.sessionTimeoutMs);
    const mustJoin =
      member.memberEpoch < epochToReach(group) ||
      member.state === 'unrevoked' ||
      (member.state === 'unreleased' && !group.isWaitingForOthers(member));
    if (!mustJoin) return errorCodes.NONE;
    this.#awaitJoin(group, member);
    return errorCodes.REBALANCE_IN_PROGRESS;
  }

  /** Also of members of the consumer protocol: administrators remove members so. */
  leave(group: ConsumerGroup, leaving: readonly LeavingMember[], effects: GroupEffects): LeftMember[] {
    const gone = new Map<string, ConsumerMember>();
    const answers = leaving.map(({ memberId, groupInstanceId }) => {
      const staticId = groupInstanceId === null ? undefined : group.staticMember(groupInstanceId)?.memberId;
      const member = memberOf(
        group,
        group.groupId,
        memberId === '' && staticId !== undefined ? staticId : memberId,
        groupInstanceId,
      );
      if (member instanceof GroupFault) return { memberId, groupInstanceId, errorCode: member.errorCode };
      gone.set(member.memberId, member);
      return { memberId, groupInstanceId, errorCode: errorCodes.NONE };
    });
    this.#options.steps.fence(group, [...gone.values()], effects);
    return answers;
  }

  #awaitJoin(group: ConsumerGroup, { memberId, rebalanceTimeoutMs }: ConsumerMember): void {
    if (!group.timers.isWaiting('join', memberId)) {
      this.#options.steps.awaitClassic(group, 'join', memberId, rebalanceTimeoutMs);
    }
  }

  #classicMember(
    group: ConsumerGroup,
    { memberId, groupInstanceId }: { readonly memberId: string; readonly groupInstanceId: string | null },
  ): ConsumerMember | ErrorCode {
    const member = memberOf(group, group.groupId, memberId, groupInstanceId);
    if (member instanceof GroupFault) return member.errorCode;
    return member.classic === null ? errorCodes.UNKNOWN_MEMBER_ID : member;
  }
}

/**
 * Members join again once there is another assignment for them. Where nobody else is there to have one computed, their joining does
 * that.
 */
function epochToReach(group: ConsumerGroup): number {
  return group.classicMemberCount === group.members.size ? group.groupEpoch : group.target.epoch;
}
