/**
 * A share group (KIP-932): its members, what they subscribe to, and what is meant for each. Holds what the records say; decides
 * nothing: share-group-protocol.ts does. Only `replay` changes it, but for timers and what is marked as living in memory.
 */
import type { Int64 } from '../../../../protocol/wire/int64.ts';
import type { MachineTimers } from '../../coordinator/coordinator-machine.ts';
import { MemberTimers } from '../common/member-timers.ts';
import { TargetAssignment } from '../common/target-assignment.ts';
import { fromWire, noPartitions, type TopicPartitions } from '../common/topic-partitions.ts';
import type { GroupRecord } from '../group-records.ts';
import {
  currentAssignmentRecord,
  groupEpochRecord,
  memberRecord,
  type ShareGroupRecord,
  targetMemberRecord,
  targetMetadataRecord,
} from './share-group-records.ts';

/** Kafka's names. */
export type ShareGroupState = 'Empty' | 'Stable';

/** Never changed in place. */
export interface ShareMember {
  readonly memberId: string;
  readonly rackId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly subscribedTopicNames: ReadonlySet<string>;
  /** 0 before the first assignment. */
  readonly memberEpoch: number;
  readonly previousMemberEpoch: number;
  readonly assigned: TopicPartitions;
}

export function newShareMember(memberId: string): ShareMember {
  return {
    memberId,
    rackId: null,
    clientId: '',
    clientHost: '',
    subscribedTopicNames: new Set(),
    memberEpoch: 0,
    previousMemberEpoch: -1,
    assigned: noPartitions,
  };
}

export class ShareGroup {
  readonly type = 'share';
  readonly protocolType = 'share';
  readonly groupId: string;
  /** Grows whenever something happens that a new assignment must take up; begins as in Kafka. */
  groupEpoch = 1;
  metadataHash: Int64 = 0;
  /** By member id, in the order in which they joined. */
  readonly members = new Map<string, ShareMember>();
  readonly target = new TargetAssignment();
  readonly timers: MemberTimers<GroupRecord>;
  /** The topics' version when the metadata hash was last computed; in memory. */
  topicsVersion = -1;

  constructor(groupId: string, timers: MachineTimers<GroupRecord>) {
    this.groupId = groupId;
    this.timers = new MemberTimers(timers);
  }

  get state(): ShareGroupState {
    return this.members.size === 0 ? 'Empty' : 'Stable';
  }

  get isEmpty(): boolean {
    return this.members.size === 0;
  }

  get subscribedTopics(): ReadonlySet<string> {
    const names = new Set<string>();
    for (const member of this.members.values())
      for (const name of member.subscribedTopicNames) names.add(name);
    return names;
  }

  replay(record: ShareGroupRecord): void {
    switch (record.type) {
      case 'share-group-metadata':
        if (record.value === null) return;
        this.groupEpoch = record.value.epoch;
        this.metadataHash = record.value.metadataHash;
        return;
      case 'share-group-member-metadata': {
        const { memberId } = record.key;
        if (record.value === null) {
          this.members.delete(memberId);
          this.timers.endAllOf(memberId);
          return;
        }
        const { rackId, clientId, clientHost, subscribedTopicNames } = record.value;
        this.members.set(memberId, {
          ...(this.members.get(memberId) ?? newShareMember(memberId)),
          rackId,
          clientId,
          clientHost,
          subscribedTopicNames: new Set(subscribedTopicNames),
        });
        return;
      }
      case 'share-group-target-metadata':
        this.target.epoch = record.value?.assignmentEpoch ?? 0;
        this.target.timestampMs = record.value?.assignmentTimestamp ?? 0;
        return;
      case 'share-group-target-member':
        this.target.set(
          record.key.memberId,
          record.value === null ? null : fromWire(record.value.topicPartitions),
        );
        return;
      case 'share-group-current-assignment': {
        const { memberId } = record.key;
        const before = this.members.get(memberId);
        if (record.value === null) {
          if (before !== undefined)
            this.members.set(memberId, { ...before, memberEpoch: -1, assigned: noPartitions });
          return;
        }
        const { memberEpoch, previousMemberEpoch, assignedPartitions } = record.value;
        this.members.set(memberId, {
          ...(before ?? newShareMember(memberId)),
          memberEpoch,
          previousMemberEpoch,
          assigned: fromWire(assignedPartitions),
        });
        return;
      }
    }
  }

  /** Says everything again. Members may come and go between two records: each is said as it is when it is asked for. */
  *snapshot(): Iterable<ShareGroupRecord> {
    const { groupId } = this;
    for (const memberId of [...this.members.keys()]) {
      const member = this.members.get(memberId);
      if (member !== undefined) yield memberRecord(groupId, member);
    }
    yield groupEpochRecord(groupId, this.groupEpoch, this.metadataHash);
    for (const memberId of [...this.target.memberIds]) {
      if (this.target.has(memberId)) yield targetMemberRecord(groupId, memberId, this.target.of(memberId));
    }
    if (this.target.epoch > 0)
      yield targetMetadataRecord(groupId, this.target.epoch, this.target.timestampMs);
    for (const memberId of [...this.members.keys()]) {
      const member = this.members.get(memberId);
      if (member !== undefined) yield currentAssignmentRecord(groupId, member);
    }
  }

  /** The group is gone: nothing of it may fire any more. */
  stopTimers(): void {
    this.timers.stop();
  }
}
