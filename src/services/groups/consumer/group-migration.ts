/**
 * A group on its way from one protocol to the other while its members stay (KIP-848): a classic group becomes a consumer group with the
 * first member of the consumer protocol, whatever the others still speak, and a classic one again when the last such member is gone.
 * group.consumer.migration.policy says which of the two may happen.
 */
import { errorCodes } from '../../../../protocol/error-codes.ts';
import { assert } from '../../../util/assert.ts';
import type { Effects, MachineTimers } from '../../coordinator/coordinator-machine.ts';
import { ClassicGroup, consumerProtocolType } from '../classic/classic-group.ts';
import { ClassicGroupMember } from '../classic/classic-group-member.ts';
import { type ClassicGroupProtocol, joinError, syncError } from '../classic/classic-group-protocol.ts';
import {
  byTopicId,
  readAssignment,
  readSubscription,
  versionOf,
  writeAssignment,
} from '../common/consumer-protocol.ts';
import { GroupFault } from '../common/group-fault.ts';
import { type GroupTopics, metadataHash } from '../common/group-topics.ts';
import type { GroupRecord } from '../group-records.ts';
import type { ConsumerGroupSettings, GroupSettings } from '../group-settings.ts';
import type { GroupTable } from '../group-table.ts';
import { ConsumerGroup } from './consumer-group.ts';
import { type ConsumerMember, newConsumerMember } from './consumer-group-member.ts';
import {
  type ConsumerGroupRecord,
  currentAssignmentTombstone,
  groupEpochRecord,
  groupTombstone,
  memberTombstone,
  regularExpressionTombstone,
  targetMemberTombstone,
  targetMetadataTombstone,
} from './consumer-group-records.ts';

type GroupEffects = Effects<GroupRecord>;

export interface GroupMigrationOptions {
  readonly groups: GroupTable;
  readonly settings: GroupSettings;
  readonly timers: MachineTimers<GroupRecord>;
  readonly topics: GroupTopics;
  readonly classic: ClassicGroupProtocol;
  readonly isShareGroup: (groupId: string) => boolean;
}

/** A group that a member of the consumer protocol may enter, as it is or as it will be. */
export interface GroupEntry {
  readonly group: ConsumerGroup;
  /** A classic group with members becomes it: they have a session to show up in. */
  readonly isUpgrade: boolean;
  /** Makes the group what `group` is. Nothing where it is that already, or where the member's own records do so. */
  commit(effects: GroupEffects): void;
}

export class GroupMigration {
  readonly #options: GroupMigrationOptions;

  constructor(options: GroupMigrationOptions) {
    this.#options = options;
  }

  get #settings(): ConsumerGroupSettings {
    return this.#options.settings.consumer;
  }

  /** The consumer group of that id. A member that joins makes one, also of a classic group. */
  enter(groupId: string, isJoin: boolean): GroupEntry | GroupFault {
    const { groups, timers } = this.#options;
    const group = groups.get(groupId);
    if (this.#options.isShareGroup(groupId)) {
      return new GroupFault('GROUP_ID_NOT_FOUND', `Group ${groupId} is not a consumer group.`);
    }
    if (group === undefined) {
      return isJoin
        ? { group: new ConsumerGroup(groupId, timers), isUpgrade: false, commit: () => {} }
        : new GroupFault('GROUP_ID_NOT_FOUND', `Consumer group ${groupId} not found.`);
    }
    if (group.type === 'consumer') return { group, isUpgrade: false, commit: () => {} };
    if (!isJoin || group.type !== 'classic') {
      return new GroupFault('GROUP_ID_NOT_FOUND', `Group ${groupId} is not a consumer group.`);
    }
    if (group.state !== 'Empty') return this.#upgrade(group);
    return {
      group: new ConsumerGroup(groupId, timers),
      isUpgrade: false,
      commit: (effects) => effects.append({ type: 'group-metadata', key: { group: groupId }, value: null }),
    };
  }

  #upgrade(classic: ClassicGroup): GroupEntry | GroupFault {
    const { groupId } = classic;
    const refuse = (why: string): GroupFault =>
      new GroupFault(
        'GROUP_ID_NOT_FOUND',
        `Cannot upgrade classic group ${groupId} to consumer group because ${why}`,
      );
    const { migrationPolicy, maxSize } = this.#settings;
    if (migrationPolicy !== 'upgrade' && migrationPolicy !== 'bidirectional') {
      return refuse('online upgrade is disabled.');
    }
    if (classic.protocolType !== consumerProtocolType) {
      return refuse('the group does not use the consumer embedded protocol.');
    }
    if (classic.members.size > maxSize) {
      return refuse('the group size exceeds the consumer group maximum size.');
    }
    const members: ConsumerMember[] = [];
    for (const member of classic.members.values()) {
      const converted = this.#convert(classic, member);
      if (converted === 'malformed') return refuse('the embedded consumer protocol is malformed.');
      if (converted === 'custom') {
        return refuse(
          'an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade.',
        );
      }
      members.push(converted);
    }
    const { timers, topics } = this.#options;
    const group = new ConsumerGroup(groupId, timers);
    group.adopt(classic.generationId, members);
    const hash = metadataHash(group.subscribedTopics, topics);
    group.replay(groupEpochRecord(groupId, classic.generationId, hash) as ConsumerGroupRecord);
    return { group, isUpgrade: true, commit: (effects) => this.#commitUpgrade(classic, group, effects) };
  }

  #convert(classic: ClassicGroup, member: ClassicGroupMember): ConsumerMember | 'malformed' | 'custom' {
    const metadata = member.metadataFor(classic.protocolName) ?? member.protocols[0]?.metadata;
    const subscription = metadata === undefined ? undefined : readSubscription(metadata);
    if (subscription === undefined) return 'malformed';
    // A member that has just joined was never told anything.
    const assignment =
      member.assignment.length === 0
        ? { assignedPartitions: [], userData: null }
        : readAssignment(member.assignment);
    if (assignment === undefined) return 'malformed';
    if (assignment.userData !== null && assignment.userData.length > 0) return 'custom';
    const { generationId } = classic;
    return {
      ...newConsumerMember(member.memberId),
      memberEpoch: generationId,
      previousMemberEpoch: generationId,
      instanceId: member.groupInstanceId,
      rackId: subscription.rackId === '' ? null : (subscription.rackId ?? null),
      rebalanceTimeoutMs: member.rebalanceTimeoutMs,
      clientId: member.clientId,
      clientHost: member.clientHost,
      subscribedTopicNames: new Set(subscription.topics),
      assigned: new Map(
        [...byTopicId(assignment.assignedPartitions, this.#options.topics)].map(([topicId, partitions]) => [
          topicId,
          new Map([...partitions].map((partition) => [partition, generationId])),
        ]),
      ),
      classic: { sessionTimeoutMs: member.sessionTimeoutMs, protocols: member.protocols },
    };
  }

  /** Whoever waits joins again, for the rebalance that the new member brings. */
  #commitUpgrade(classic: ClassicGroup, group: ConsumerGroup, effects: GroupEffects): void {
    const { groupId } = classic;
    for (const member of classic.members.values()) {
      const join = classic.endJoin(member);
      if (join !== undefined) {
        effects.reply(join, joinError(member.memberId, errorCodes.REBALANCE_IN_PROGRESS));
      }
      if (member.awaitingSync !== undefined) {
        effects.reply(member.awaitingSync, syncError(errorCodes.REBALANCE_IN_PROGRESS));
        member.awaitingSync = undefined;
      }
    }
    effects.append({ type: 'group-metadata', key: { group: groupId }, value: null });
    for (const record of group.snapshot()) effects.append(record);
  }

  /** True where the group is a classic one now. */
  downgradeWithout(group: ConsumerGroup, leaving: readonly ConsumerMember[], effects: GroupEffects): boolean {
    const leavingClassic = leaving.filter(({ classic }) => classic !== null).length;
    const left = group.members.size - leaving.length;
    if (left <= 0 || group.classicMemberCount - leavingClassic !== left) return false;
    if (!this.mayDowngrade(left)) return false;
    this.downgrade(group, new Set(leaving.map(({ memberId }) => memberId)), true, effects);
    return true;
  }

  /** Whether a group of so many members, all classic, may become a classic one. */
  mayDowngrade(size: number): boolean {
    const { migrationPolicy } = this.#settings;
    return (
      (migrationPolicy === 'downgrade' || migrationPolicy === 'bidirectional') &&
      size <= this.#options.settings.maxGroupSize
    );
  }

  /** All members but those that leave are classic. Each keeps what is meant for it. */
  downgrade(
    group: ConsumerGroup,
    leaving: ReadonlySet<string>,
    mustRebalance: boolean,
    effects: GroupEffects,
  ): void {
    const { timers, topics, classic } = this.#options;
    const { groupId } = group;
    const blank = new ClassicGroup(groupId, timers.nowMs());
    blank.generationId = group.groupEpoch;
    const staying = [...group.members.values()].filter(({ memberId }) => !leaving.has(memberId));
    for (const member of staying) {
      assert(member.classic !== null, 'a group with members of the consumer protocol becomes a classic one');
      blank.add(
        new ClassicGroupMember(
          { ...member, groupInstanceId: member.instanceId },
          {
            rebalanceTimeoutMs: member.rebalanceTimeoutMs,
            sessionTimeoutMs: member.classic.sessionTimeoutMs,
            protocols: member.classic.protocols,
          },
        ),
        consumerProtocolType,
      );
    }
    blank.protocolName = blank.voteForProtocol();
    const assignments = new Map(
      [...blank.members.values()].map((member) => [
        member.memberId,
        writeAssignment(
          group.target.of(member.memberId),
          topics,
          versionOf(member.metadataFor(blank.protocolName) ?? Buffer.alloc(0)),
        ),
      ]),
    );
    const protocols = new Map(
      [...blank.members.values()].map((member) => [member.memberId, member.protocols]),
    );
    const value = blank.toValue(assignments);
    this.#bury(group, effects);
    effects.append({ type: 'group-metadata', key: { group: groupId }, value });
    classic.adopt(groupId, protocols, mustRebalance, effects);
  }

  /** An empty consumer group, for a classic group to come. */
  removeEmpty(group: ConsumerGroup, effects: GroupEffects): void {
    assert(group.isEmpty, 'a group with members is removed');
    this.#bury(group, effects);
  }

  #bury(group: ConsumerGroup, effects: GroupEffects): void {
    for (const record of tombstonesOf(group)) effects.append(record);
  }
}

/** Everything that makes the group go from the log, in Kafka's order. */
export function tombstonesOf(group: ConsumerGroup): readonly ConsumerGroupRecord[] {
  const { groupId } = group;
  const memberIds = [...group.members.keys()];
  return [
    ...memberIds.map((memberId) => currentAssignmentTombstone(groupId, memberId)),
    ...memberIds.map((memberId) => targetMemberTombstone(groupId, memberId)),
    targetMetadataTombstone(groupId),
    ...memberIds.map((memberId) => memberTombstone(groupId, memberId)),
    ...[...group.resolvedRegexes.keys()].map((regex) => regularExpressionTombstone(groupId, regex)),
    groupTombstone(groupId),
  ];
}
