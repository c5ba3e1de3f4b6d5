/**
 * ConsumerGroupHeartbeat (KIP-848): members join, say what they own, are told what is theirs, and leave; all by this one request. Pure:
 * time comes through MachineTimers, ids through `newUuid`, everything that is done through Effects. Whatever may refuse a request is
 * looked at before the first record, since records change the group at once.
 *
 * The group has an epoch, which grows with every change of members, subscriptions or topics. What is meant for each member (the target)
 * is computed for an epoch, and each member follows in its own time: it gives back first, then gets the epoch, then what is free.
 */

import { errorCodes } from '../../../../protocol/error-codes.ts';
import type {
  ConsumerGroupHeartbeatRequest,
  ConsumerGroupHeartbeatResponseInput,
} from '../../../../protocol/generated/68-consumer-group-heartbeat.ts';
import type { ConsumerGroupDescribeResponseDescribedGroupInput } from '../../../../protocol/generated/69-consumer-group-describe.ts';
import type { Effects, MachineTimers } from '../../coordinator/coordinator-machine.ts';
import { GroupFault } from '../common/group-fault.ts';
import type { GroupTopics } from '../common/group-topics.ts';
import {
  epochFault,
  joinEpoch,
  leaveEpoch,
  ownsOnlyAssigned,
  staticLeaveEpoch,
} from '../common/member-epochs.ts';
import { toWire } from '../common/topic-partitions.ts';
import type { GroupRecord } from '../group-records.ts';
import type { ConsumerGroupSettings } from '../group-settings.ts';
import type { GroupTable } from '../group-table.ts';
import type { ConsumerGroup } from './consumer-group.ts';
import { type ConsumerMember, newConsumerMember, noEpochs, sameAssigned } from './consumer-group-member.ts';
import { currentAssignmentRecord } from './consumer-group-records.ts';
import type { ConsumerGroupSteps } from './consumer-group-steps.ts';
import type { GroupMigration } from './group-migration.ts';
import { mustStartAnew } from './reconciliation.ts';
import { regexFault } from './topic-regex.ts';

type GroupEffects = Effects<GroupRecord>;

/** Who asks, as far as groups must know. */
export interface HeartbeatContext {
  readonly clientId: string;
  /** As Java prints an address: '/127.0.0.1'. */
  readonly clientHost: string;
  /** ConsumerGroupHeartbeat 1+: members make their ids themselves (KIP-1082). */
  readonly mustKnowMemberId: boolean;
}

export interface ConsumerGroupProtocolOptions {
  readonly groups: GroupTable;
  readonly settings: ConsumerGroupSettings;
  readonly timers: MachineTimers<GroupRecord>;
  readonly topics: GroupTopics;
  readonly newUuid: () => string;
  readonly steps: ConsumerGroupSteps;
  readonly migration: GroupMigration;
}

/** A member as it is before the request, and whom it takes the place of. */
interface FoundMember {
  readonly member: ConsumerMember;
  readonly replaced: ConsumerMember | undefined;
}

/** The members of a group that is there, or of one that a classic group is about to become. */
type MembersView = Pick<ConsumerGroup, 'members' | 'staticMember' | 'subscribedRegexes'>;

export class ConsumerGroupProtocol {
  readonly #options: ConsumerGroupProtocolOptions;

  constructor(options: ConsumerGroupProtocolOptions) {
    this.#options = options;
  }

  /** After the log was read: members have one session to show up. */
  onLoaded(): void {
    const { groups, steps } = this.#options;
    for (const group of groups.values()) {
      if (group.type !== 'consumer') continue;
      this.#renewSessions(group);
      for (const member of group.members.values()) {
        if (member.state === 'unrevoked' && member.classic === null) steps.awaitRevocation(group, member);
      }
    }
  }

  #renewSessions(group: ConsumerGroup): void {
    const { settings, steps } = this.#options;
    for (const { memberId, classic } of group.members.values()) {
      steps.renewSession(
        group,
        memberId,
        classic?.sessionTimeoutMs ?? settings.sessionTimeoutMs(group.groupId),
      );
    }
  }

  heartbeat(
    request: ConsumerGroupHeartbeatRequest,
    context: HeartbeatContext,
    effects: GroupEffects,
  ): ConsumerGroupHeartbeatResponseInput {
    const fault = requestFault(request, context, this.#options.settings.assignors);
    if (fault !== undefined) return refused(fault);
    const answer =
      request.memberEpoch === leaveEpoch || request.memberEpoch === staticLeaveEpoch
        ? this.#leave(request, effects)
        : this.#stay(request, context, effects);
    return answer instanceof GroupFault ? refused(answer) : answer;
  }

  // ----- members that are there

  #stay(
    request: ConsumerGroupHeartbeatRequest,
    context: HeartbeatContext,
    effects: GroupEffects,
  ): ConsumerGroupHeartbeatResponseInput | GroupFault {
    const { settings, steps } = this.#options;
    const { groupId } = request;
    const isJoin = request.memberEpoch === joinEpoch;
    const entry = this.#options.migration.enter(groupId, isJoin);
    if (entry instanceof GroupFault) return entry;
    const memberId = request.memberId === '' ? this.#options.newUuid() : request.memberId;
    const view: MembersView = entry.group;
    if (view.members.size >= settings.maxSize && !view.members.has(request.memberId)) {
      return new GroupFault(
        'GROUP_MAX_SIZE_REACHED',
        `The consumer group has reached its maximum capacity of ${settings.maxSize} members.`,
      );
    }
    const found = findMember(view, groupId, memberId, request, isJoin);
    if (found instanceof GroupFault) return found;
    if (mustStartAnew(found.member, request.topicPartitions)) {
      return new GroupFault(
        'FENCED_MEMBER_EPOCH',
        'The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.',
      );
    }
    const wanted = afterRequest(found.member, memberId, request, context);
    const regex = wanted.subscribedTopicRegex;
    if (regex !== '' && regex !== found.member.subscribedTopicRegex && !view.subscribedRegexes.has(regex)) {
      const words = regexFault(regex);
      if (words !== undefined) {
        return new GroupFault(
          'INVALID_REGULAR_EXPRESSION',
          `SubscribedTopicRegex \`${regex}\` is not a valid regular expression: ${words}.`,
        );
      }
    }

    // From here on nothing is refused.
    entry.commit(effects);
    if (entry.isUpgrade) this.#renewSessions(this.#consumerGroup(groupId)!);
    const before =
      found.replaced === undefined
        ? found.member
        : steps.replaceStatic(this.#consumerGroup(groupId)!, found.replaced, memberId, effects);
    const change = steps.subscribe(groupId, before, wanted, effects);
    const group = this.#consumerGroup(groupId);
    if (group === undefined) return new GroupFault('GROUP_ID_NOT_FOUND', notFound(groupId));
    steps.bumpEpoch(group, change.names || change.regex === 'resolved', effects);
    steps.resolveRegexes(group, change.isNewRegex);
    steps.assign(group, effects);
    const hasSubscriptionChanged = change.names || change.regex !== 'same';
    const after = steps.reconcile(group, memberId, request.topicPartitions, hasSubscriptionChanged, effects);
    steps.renewSession(group, memberId, settings.sessionTimeoutMs(groupId));

    const saysAll =
      request.rebalanceTimeoutMs !== -1 &&
      (request.subscribedTopicNames !== null || request.subscribedTopicRegex !== null) &&
      request.topicPartitions !== null;
    const tells = isJoin || saysAll || !sameAssigned(before.assigned, after.assigned);
    return {
      throttleTimeMs: 0,
      errorCode: errorCodes.NONE,
      memberId,
      memberEpoch: after.memberEpoch,
      heartbeatIntervalMs: settings.heartbeatIntervalMs(groupId),
      assignment: tells ? { topicPartitions: toWire(after.assigned) } : null,
    };
  }

  // ----- members that leave

  #leave(
    request: ConsumerGroupHeartbeatRequest,
    effects: GroupEffects,
  ): ConsumerGroupHeartbeatResponseInput | GroupFault {
    const { groupId, memberId, instanceId, memberEpoch } = request;
    const found = this.#options.groups.get(groupId);
    if (found === undefined) return new GroupFault('GROUP_ID_NOT_FOUND', notFound(groupId));
    if (found.type !== 'consumer') return new GroupFault('GROUP_ID_NOT_FOUND', notConsumer(groupId));
    const member = memberOf(found, groupId, memberId, instanceId);
    if (member instanceof GroupFault) return member;
    if (instanceId !== null && memberEpoch === staticLeaveEpoch) {
      // Its place is kept until its session ends; partitions count as assigned from epoch 0 on to whoever comes back.
      const leaving: ConsumerMember = {
        ...member,
        memberEpoch: staticLeaveEpoch,
        assigned: new Map(
          [...member.assigned].map(([topicId, epochs]) => [
            topicId,
            new Map([...epochs.keys()].map((partition) => [partition, 0])),
          ]),
        ),
        pendingRevocation: noEpochs,
      };
      effects.append(currentAssignmentRecord(groupId, leaving));
    } else {
      this.#options.steps.fence(found, [member], effects);
    }
    return { throttleTimeMs: 0, errorCode: errorCodes.NONE, memberId, memberEpoch, heartbeatIntervalMs: 0 };
  }

  // ----- what is shown

  describe(groupId: string): ConsumerGroupDescribeResponseDescribedGroupInput {
    const group = this.#options.groups.get(groupId);
    if (group?.type !== 'consumer') {
      return {
        errorCode: errorCodes.GROUP_ID_NOT_FOUND,
        errorMessage: group === undefined ? `Group ${groupId} not found.` : notConsumer(groupId),
        groupId,
        groupState: '',
        groupEpoch: 0,
        assignmentEpoch: 0,
        assignorName: '',
        members: [],
      };
    }
    const { topics, settings } = this.#options;
    const named = (all: ReadonlyMap<string, { keys(): Iterable<number> }>) =>
      toWire(all).flatMap(({ topicId, partitions }) => {
        const topic = topics.byId(topicId);
        return topic === undefined ? [] : [{ topicId, topicName: topic.name, partitions }];
      });
    return {
      errorCode: errorCodes.NONE,
      groupId,
      groupState: group.state,
      groupEpoch: group.groupEpoch,
      assignmentEpoch: group.target.epoch,
      assignorName: group.preferredAssignor(settings.assignors),
      members: [...group.members.values()].map((member) => ({
        memberId: member.memberId,
        instanceId: member.instanceId,
        rackId: member.rackId,
        memberEpoch: member.memberEpoch,
        clientId: member.clientId,
        clientHost: member.clientHost,
        subscribedTopicNames: [...member.subscribedTopicNames],
        subscribedTopicRegex: member.subscribedTopicRegex,
        assignment: { topicPartitions: named(heldBy(member)) },
        targetAssignment: { topicPartitions: named(group.target.of(member.memberId)) },
        memberType: member.classic === null ? 1 : 0,
      })),
    };
  }

  #consumerGroup(groupId: string): ConsumerGroup | undefined {
    const group = this.#options.groups.get(groupId);
    return group?.type === 'consumer' ? group : undefined;
  }
}

/** What the member has, with what it has not given back. */
function heldBy({
  assigned,
  pendingRevocation,
}: ConsumerMember): ReadonlyMap<string, ReadonlyMap<number, number>> {
  const held = new Map(assigned);
  for (const [topicId, epochs] of pendingRevocation) {
    held.set(topicId, new Map([...(held.get(topicId) ?? []), ...epochs]));
  }
  return held;
}

function findMember(
  view: MembersView,
  groupId: string,
  memberId: string,
  request: ConsumerGroupHeartbeatRequest,
  isJoin: boolean,
): FoundMember | GroupFault {
  const { instanceId, memberEpoch, topicPartitions } = request;
  const checked = (member: ConsumerMember): FoundMember | GroupFault =>
    epochFault('consumer', member, memberEpoch, ownsOnlyAssigned(topicPartitions, member.assigned)) ?? {
      member,
      replaced: undefined,
    };
  if (instanceId === null || !isJoin) {
    const member = memberOf(view, groupId, memberId, instanceId);
    if (!(member instanceof GroupFault)) return checked(member);
    return isJoin ? { member: newConsumerMember(memberId), replaced: undefined } : member;
  }
  const existing = view.staticMember(instanceId);
  if (existing === undefined) {
    const sameId = view.members.get(memberId);
    return { member: sameId ?? newConsumerMember(memberId), replaced: undefined };
  }
  if (existing.classic === null && existing.memberEpoch !== staticLeaveEpoch) {
    return new GroupFault(
      'UNRELEASED_INSTANCE_ID',
      `Static member ${memberId} with instance id ${instanceId} cannot join the group because the instance id is owned by ${existing.memberId} member.`,
    );
  }
  return { member: { ...existing, memberId }, replaced: existing };
}

/** The member that says who it is; of a static one the instance id counts. */
export function memberOf(
  group: Pick<ConsumerGroup, 'members' | 'staticMember'>,
  groupId: string,
  memberId: string,
  instanceId: string | null,
): ConsumerMember | GroupFault {
  if (instanceId === null) {
    return (
      group.members.get(memberId) ??
      new GroupFault('UNKNOWN_MEMBER_ID', `Member ${memberId} is not a member of group ${groupId}.`)
    );
  }
  const member = group.staticMember(instanceId);
  if (member === undefined)
    return new GroupFault('UNKNOWN_MEMBER_ID', `Instance id ${instanceId} is unknown.`);
  if (member.memberId === memberId) return member;
  return new GroupFault(
    'FENCED_INSTANCE_ID',
    `Static member ${memberId} with instance id ${instanceId} was fenced by member ${member.memberId}.`,
  );
}

/** The member as it says it is: what a request leaves out stays. */
function afterRequest(
  before: ConsumerMember,
  memberId: string,
  request: ConsumerGroupHeartbeatRequest,
  { clientId, clientHost }: HeartbeatContext,
): ConsumerMember {
  return {
    ...before,
    memberId,
    instanceId: request.instanceId ?? before.instanceId,
    rackId: request.rackId ?? before.rackId,
    rebalanceTimeoutMs:
      request.rebalanceTimeoutMs === -1 ? before.rebalanceTimeoutMs : request.rebalanceTimeoutMs,
    serverAssignor: request.serverAssignor ?? before.serverAssignor,
    subscribedTopicNames:
      request.subscribedTopicNames === null
        ? before.subscribedTopicNames
        : new Set(request.subscribedTopicNames),
    subscribedTopicRegex: request.subscribedTopicRegex ?? before.subscribedTopicRegex,
    clientId,
    clientHost,
    classic: null,
  };
}

/** What is wrong with the request whatever the group is, in Kafka's order. */
function requestFault(
  request: ConsumerGroupHeartbeatRequest,
  { mustKnowMemberId }: HeartbeatContext,
  assignors: readonly string[],
): GroupFault | undefined {
  const { memberEpoch, memberId } = request;
  const invalid = (message: string) => new GroupFault('INVALID_REQUEST', message);
  if ((mustKnowMemberId || memberEpoch > 0 || memberEpoch === leaveEpoch) && memberId.trim() === '') {
    return invalid("MemberId can't be empty.");
  }
  if (request.groupId.trim() === '') return invalid("GroupId can't be empty.");
  if (request.instanceId?.trim() === '') return invalid("InstanceId can't be empty.");
  if (request.rackId?.trim() === '') return invalid("RackId can't be empty.");
  if (memberEpoch === joinEpoch) {
    if (request.rebalanceTimeoutMs === -1) {
      return invalid('RebalanceTimeoutMs must be provided in first request.');
    }
    if (request.topicPartitions === null || request.topicPartitions.length > 0) {
      return invalid('TopicPartitions must be empty when (re-)joining.');
    }
    if (request.subscribedTopicNames === null && request.subscribedTopicRegex === null) {
      return invalid(
        'Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.',
      );
    }
  } else if (memberEpoch === staticLeaveEpoch) {
    if (request.instanceId === null) return invalid("InstanceId can't be null.");
  } else if (memberEpoch < staticLeaveEpoch) {
    return invalid('MemberEpoch is invalid.');
  }
  if (request.serverAssignor !== null && !assignors.includes(request.serverAssignor)) {
    return new GroupFault(
      'UNSUPPORTED_ASSIGNOR',
      `ServerAssignor ${request.serverAssignor} is not supported. Supported assignors: ${assignors.join(', ')}.`,
    );
  }
  return undefined;
}

function refused({ errorCode, message }: GroupFault): ConsumerGroupHeartbeatResponseInput {
  return { throttleTimeMs: 0, errorCode, errorMessage: message, memberEpoch: 0, heartbeatIntervalMs: 0 };
}

function notFound(groupId: string): string {
  return `Group ${groupId} not found.`;
}

function notConsumer(groupId: string): string {
  return `Group ${groupId} is not a consumer group.`;
}
