/**
 * The groups and offsets of one partition of __consumer_offsets: what its records make of it, and what may be asked of it. Pure:
 * runs on the coordinator runtime, and in tests without one.
 */

import { errorCodes } from '../../../protocol/error-codes.ts';
import type { DescribeGroupsResponseDescribedGroupInput } from '../../../protocol/generated/15-describe-groups.ts';
import type { ListGroupsResponseListedGroupInput } from '../../../protocol/generated/16-list-groups.ts';
import type { CoordinatorMachine, Effects, MachineTimers } from '../coordinator/coordinator-machine.ts';
import { ClassicGroup } from './classic/classic-group.ts';
import { noAssignment } from './classic/classic-group-member.ts';
import { ClassicGroupProtocol } from './classic/classic-group-protocol.ts';
import { CommittedOffsets } from './committed-offsets.ts';
import type { GroupRecord } from './group-records.ts';
import type { GroupSettings } from './group-settings.ts';
import type { Group, GroupTable } from './group-table.ts';
import { OffsetCommits } from './offset-commits.ts';

export interface GroupStateMachineOptions {
  readonly settings: GroupSettings;
  readonly timers: MachineTimers<GroupRecord>;
  readonly newUuid: () => string;
  /** The id of the topic of that name, if there is one. */
  readonly topicIdOf: (name: string) => string | undefined;
}

export interface GroupFilter {
  /** In lower case; empty: all. */
  readonly states: ReadonlySet<string>;
  /** In lower case; empty: all. */
  readonly types: ReadonlySet<string>;
}

export class GroupStateMachine implements CoordinatorMachine<GroupRecord> {
  readonly classic: ClassicGroupProtocol;
  readonly offsetCommits: OffsetCommits;
  readonly #groups: GroupTable = new Map();
  readonly #offsets = new CommittedOffsets();
  readonly #options: GroupStateMachineOptions;

  constructor(options: GroupStateMachineOptions) {
    this.#options = options;
    const { settings, timers, newUuid } = options;
    this.classic = new ClassicGroupProtocol({ groups: this.#groups, settings, timers, newUuid });
    this.offsetCommits = new OffsetCommits({
      groups: this.#groups,
      offsets: this.#offsets,
      classic: this.classic,
      settings,
      timers,
    });
  }

  replay(record: GroupRecord): void {
    switch (record.type) {
      case 'group-metadata': {
        const groupId = record.key.group;
        if (record.value === null) {
          this.#groups.get(groupId)?.stopTimers();
          this.#groups.delete(groupId);
        } else {
          this.#groupOf(groupId).replay(record.value);
        }
        return;
      }
      case 'offset-commit':
        // An offset alone makes a group.
        if (record.value !== null) this.#groupOf(record.key.group);
        this.#offsets.replay(record.key, record.value);
        return;
      case 'transactional-offset':
        if (record.value !== null) this.#groupOf(record.key.group);
        this.#offsets.replayPending(record);
        return;
      case 'transaction-end':
        this.#offsets.endTransaction(record.producerId, record.isCommit);
        return;
    }
  }

  onLoaded(effects: Effects<GroupRecord>): void {
    this.offsetCommits.dropOffsetsOfReplacedTopics(this.#options.topicIdOf, effects);
    this.classic.onLoaded(effects);
  }

  *snapshot(): Iterable<GroupRecord> {
    for (const group of this.#groups.values()) {
      if (group.persisted === undefined) continue;
      yield { type: 'group-metadata', key: { group: group.groupId }, value: group.persisted };
    }
    yield* this.#offsets.snapshot();
  }

  group(groupId: string): Group | undefined {
    return this.#groups.get(groupId);
  }

  list(filter: GroupFilter): ListGroupsResponseListedGroupInput[] {
    const listed: ListGroupsResponseListedGroupInput[] = [];
    for (const group of this.#groups.values()) {
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

  #groupOf(groupId: string): ClassicGroup {
    let group = this.#groups.get(groupId);
    if (group === undefined) {
      group = new ClassicGroup(groupId, this.#options.timers.nowMs());
      this.#groups.set(groupId, group);
    }
    return group;
  }
}

/** How a group is described that does not exist. */
export function deadGroup(groupId: string): DescribeGroupsResponseDescribedGroupInput {
  return {
    errorCode: errorCodes.NONE,
    groupId,
    groupState: 'Dead',
    protocolType: '',
    protocolData: '',
    members: [],
  };
}
