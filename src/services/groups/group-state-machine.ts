/**
 * The groups and offsets of one partition of __consumer_offsets: what its records make of it, and what may be asked of it. Pure:
 * runs on the coordinator runtime, and in tests without one.
 */

import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import type { JoinGroupRequest, JoinGroupResponseInput } from '../../../protocol/generated/11-join-group.ts';
import type { HeartbeatRequest } from '../../../protocol/generated/12-heartbeat.ts';
import type { SyncGroupRequest, SyncGroupResponseInput } from '../../../protocol/generated/14-sync-group.ts';
import type { DescribeGroupsResponseDescribedGroupInput } from '../../../protocol/generated/15-describe-groups.ts';
import type { ListGroupsResponseListedGroupInput } from '../../../protocol/generated/16-list-groups.ts';
import type {
  CoordinatorMachine,
  Effects,
  MachineTimers,
  Ticket,
} from '../coordinator/coordinator-machine.ts';
import { ClassicGroup } from './classic/classic-group.ts';
import { noAssignment } from './classic/classic-group-member.ts';
import {
  ClassicGroupProtocol,
  joinError,
  type LeavingMember,
  type LeftMember,
  type MemberContext,
} from './classic/classic-group-protocol.ts';
import { CommittedOffsets } from './committed-offsets.ts';
import type { GroupTopics } from './common/group-topics.ts';
import { ClassicMembers } from './consumer/classic-members.ts';
import { ConsumerGroup } from './consumer/consumer-group.ts';
import { ConsumerGroupProtocol } from './consumer/consumer-group-protocol.ts';
import type { ConsumerGroupRecord } from './consumer/consumer-group-records.ts';
import { ConsumerGroupSteps } from './consumer/consumer-group-steps.ts';
import { GroupMigration } from './consumer/group-migration.ts';
import type { GroupRecord } from './group-records.ts';
import {
  defaultShareMemberSettings,
  type GroupSettings,
  type ShareMemberSettings,
} from './group-settings.ts';
import type { Group, GroupTable } from './group-table.ts';
import { OffsetCommits } from './offset-commits.ts';
import { ShareGroupProtocol } from './share/share-group-protocol.ts';
import { isShareGroupRecord } from './share/share-group-records.ts';

export interface GroupStateMachineOptions {
  readonly settings: GroupSettings;
  readonly timers: MachineTimers<GroupRecord>;
  readonly newUuid: () => string;
  readonly topics: GroupTopics;
  /** Kafka's defaults where it is missing. */
  readonly share?: ShareMemberSettings;
}

export interface GroupFilter {
  /** In lower case; empty: all. */
  readonly states: ReadonlySet<string>;
  /** In lower case; empty: all. */
  readonly types: ReadonlySet<string>;
}

export class GroupStateMachine implements CoordinatorMachine<GroupRecord> {
  readonly classic: ClassicGroupProtocol;
  readonly consumer: ConsumerGroupProtocol;
  readonly offsetCommits: OffsetCommits;
  readonly #classicMembers: ClassicMembers;
  readonly #migration: GroupMigration;
  /** Share groups have a table of their own: nothing that other groups are asked may be asked of them. */
  readonly share: ShareGroupProtocol;
  readonly #groups: GroupTable = new Map();
  readonly #offsets = new CommittedOffsets();
  readonly #options: GroupStateMachineOptions;

  constructor(options: GroupStateMachineOptions) {
    this.#options = options;
    const { settings, timers, newUuid, topics } = options;
    const groups = this.#groups;
    const classic = new ClassicGroupProtocol({ groups, settings, timers, newUuid });
    const isShareGroup = (groupId: string): boolean => this.share.group(groupId) !== undefined;
    const migration = new GroupMigration({ groups, settings, timers, topics, classic, isShareGroup });
    const steps = new ConsumerGroupSteps({
      groups,
      settings: settings.consumer,
      timers,
      topics,
      downgradeWithout: (group, leaving, effects) => migration.downgradeWithout(group, leaving, effects),
    });
    const consumer = { settings: settings.consumer, topics, newUuid, steps, migration };
    this.classic = classic;
    this.#migration = migration;
    this.consumer = new ConsumerGroupProtocol({ ...consumer, groups, timers });
    this.#classicMembers = new ClassicMembers(consumer);
    this.offsetCommits = new OffsetCommits({
      groups: this.#groups,
      offsets: this.#offsets,
      classic: this.classic,
      settings,
      timers,
      isShareGroup,
    });
    this.share = new ShareGroupProtocol({
      settings: options.share ?? defaultShareMemberSettings,
      topics,
      timers,
      isTaken: (groupId) => this.#groups.has(groupId),
    });
  }

  /** Of the transaction whose offsets wait for its end; undefined where none do. */
  pendingEpochOf(producerId: number): number | undefined {
    return this.#offsets.pendingEpochOf(producerId);
  }

  replay(record: GroupRecord): void {
    if (isShareGroupRecord(record)) {
      this.share.replay(record);
      return;
    }
    switch (record.type) {
      case 'group-metadata': {
        const groupId = record.key.group;
        if (record.value === null) {
          this.#groups.get(groupId)?.stopTimers();
          this.#groups.delete(groupId);
        } else {
          this.#classicGroup(groupId).replay(record.value);
        }
        return;
      }
      case 'consumer-group-metadata':
      case 'consumer-group-member-metadata':
      case 'consumer-group-target-metadata':
      case 'consumer-group-target-member':
      case 'consumer-group-current-assignment':
      case 'consumer-group-regular-expression':
        this.#replayConsumer(record);
        return;
      case 'offset-commit':
        // An offset alone makes a group.
        if (record.value !== null) this.#anyGroup(record.key.group);
        this.#offsets.replay(record.key, record.value);
        return;
      case 'transactional-offset':
        if (record.value !== null) this.#anyGroup(record.key.group);
        this.#offsets.replayPending(record);
        return;
      case 'transaction-end':
        this.#offsets.endTransaction(record.producerId, record.isCommit);
        return;
    }
  }

  onLoaded(effects: Effects<GroupRecord>): void {
    const { topics } = this.#options;
    this.offsetCommits.dropOffsetsOfReplacedTopics((name) => topics.byName(name)?.id, effects);
    this.classic.onLoaded(effects);
    this.consumer.onLoaded();
    this.share.onLoaded();
  }

  // ----- members of the classic protocol, whatever the group is

  join(
    request: JoinGroupRequest,
    context: MemberContext,
    ticket: Ticket<JoinGroupResponseInput>,
    effects: Effects<GroupRecord>,
  ): void {
    const group = this.#groups.get(request.groupId);
    if (this.share.group(request.groupId) !== undefined) {
      effects.reply(ticket, joinError('', errorCodes.INCONSISTENT_GROUP_PROTOCOL));
      return;
    }
    if (group?.type === 'consumer') {
      if (!group.isEmpty) {
        effects.reply(ticket, this.#classicMembers.join(group, request, context, effects));
        return;
      }
      if (request.memberId !== '' || request.protocolType === '' || request.protocols.length === 0) {
        const code =
          request.memberId === '' ? errorCodes.INCONSISTENT_GROUP_PROTOCOL : errorCodes.UNKNOWN_MEMBER_ID;
        effects.reply(ticket, joinError(request.memberId, code));
        return;
      }
      this.#migration.removeEmpty(group, effects);
    }
    this.classic.join(request, context, ticket, effects);
  }

  sync(
    request: SyncGroupRequest,
    ticket: Ticket<SyncGroupResponseInput>,
    effects: Effects<GroupRecord>,
  ): void {
    const group = this.#groups.get(request.groupId);
    if (group?.type === 'consumer') effects.reply(ticket, this.#classicMembers.sync(group, request));
    else this.classic.sync(request, ticket, effects);
  }

  heartbeat(request: HeartbeatRequest): ErrorCode {
    const group = this.#groups.get(request.groupId);
    return group?.type === 'consumer'
      ? this.#classicMembers.heartbeat(group, request)
      : this.classic.heartbeat(request);
  }

  /** Undefined where there is no such group. */
  leave(
    groupId: string,
    leaving: readonly LeavingMember[],
    effects: Effects<GroupRecord>,
  ): LeftMember[] | undefined {
    const group = this.#groups.get(groupId);
    return group?.type === 'consumer'
      ? this.#classicMembers.leave(group, leaving, effects)
      : this.classic.leave(groupId, leaving, effects);
  }

  // ----- records

  *snapshot(): Iterable<GroupRecord> {
    for (const group of this.#groups.values()) {
      if (group.type === 'consumer') {
        yield* this.#snapshotOf(group);
      } else if (group.persisted !== undefined) {
        yield { type: 'group-metadata', key: { group: group.groupId }, value: group.persisted };
      }
    }
    yield* this.share.snapshot();
    yield* this.#offsets.snapshot();
  }

  /** Ends where the group does: what is gone must not be said again. */
  *#snapshotOf(group: ConsumerGroup): Iterable<GroupRecord> {
    for (const record of group.snapshot()) {
      if (this.#groups.get(group.groupId) !== group) return;
      yield record;
    }
  }

  group(groupId: string): Group | undefined {
    return this.#groups.get(groupId);
  }

  list(filter: GroupFilter): ListGroupsResponseListedGroupInput[] {
    const listed: ListGroupsResponseListedGroupInput[] = [];
    for (const group of [...this.#groups.values(), ...this.share.groups()]) {
      if (filter.states.size > 0 && !filter.states.has(group.state.toLowerCase())) continue;
      if (filter.types.size > 0 && !filter.types.has(group.type)) continue;
      listed.push({
        groupId: group.groupId,
        protocolType: group.protocolType ?? '',
        groupState: group.state,
        groupType: group.type,
      });
    }
    return listed;
  }

  /** What members say and are assigned is shown of a stable group only, as in Kafka. */
  describe(groupId: string): DescribeGroupsResponseDescribedGroupInput {
    const group = this.#groups.get(groupId);
    if (group === undefined) return deadGroup(groupId);
    if (group.type !== 'classic') return deadGroup(groupId, `Group ${groupId} is not a classic group.`);
    const isStable = group.state === 'Stable';
    return {
      errorCode: errorCodes.NONE,
      groupId,
      groupState: group.state,
      protocolType: group.protocolType ?? '',
      protocolData: isStable ? (group.protocolName ?? '') : '',
      members: [...group.members.values()].map((member) => ({
        memberId: member.memberId,
        groupInstanceId: member.groupInstanceId,
        clientId: member.clientId,
        clientHost: member.clientHost,
        memberMetadata: (isStable ? member.metadataFor(group.protocolName) : undefined) ?? noAssignment,
        memberAssignment: member.assignment,
      })),
    };
  }

  #replayConsumer(record: ConsumerGroupRecord): void {
    const { groupId } = record.key;
    const found = this.#groups.get(groupId);
    if (record.value === null) {
      // What is not there need not go: the log may begin after it came.
      if (found?.type !== 'consumer') return;
      if (record.type === 'consumer-group-metadata') {
        found.stopTimers();
        this.#groups.delete(groupId);
      } else {
        found.replay(record);
      }
      return;
    }
    let group = found?.type === 'consumer' ? found : undefined;
    if (group === undefined) {
      // A classic group without a record of its own is but a place for offsets.
      found?.stopTimers();
      group = new ConsumerGroup(groupId, this.#options.timers);
      this.#groups.set(groupId, group);
    }
    group.replay(record);
  }

  /** What an offset alone needs: a group of any kind. */
  #anyGroup(groupId: string): void {
    if (!this.#groups.has(groupId)) this.#classicGroup(groupId);
  }

  #classicGroup(groupId: string): ClassicGroup {
    const found = this.#groups.get(groupId);
    if (found?.type === 'classic') return found;
    found?.stopTimers();
    const group = new ClassicGroup(groupId, this.#options.timers.nowMs());
    this.#groups.set(groupId, group);
    return group;
  }
}

/** How a group is described that does not exist, or not for those who ask. */
export function deadGroup(
  groupId: string,
  why = `Group ${groupId} not found.`,
): DescribeGroupsResponseDescribedGroupInput {
  return {
    errorCode: errorCodes.NONE,
    errorMessage: why,
    groupId,
    groupState: 'Dead',
    protocolType: '',
    protocolData: '',
    members: [],
  };
}
