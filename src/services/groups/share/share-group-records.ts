/** The records of share groups (KIP-932), in Kafka's forms: the number leads the key. */
import { shareGroupCurrentMemberAssignmentKey } from '../../../../protocol/generated/data-share-group-current-member-assignment-key.ts';
import { shareGroupCurrentMemberAssignmentValue } from '../../../../protocol/generated/data-share-group-current-member-assignment-value.ts';
import { shareGroupMemberMetadataKey } from '../../../../protocol/generated/data-share-group-member-metadata-key.ts';
import { shareGroupMemberMetadataValue } from '../../../../protocol/generated/data-share-group-member-metadata-value.ts';
import { shareGroupMetadataKey } from '../../../../protocol/generated/data-share-group-metadata-key.ts';
import { shareGroupMetadataValue } from '../../../../protocol/generated/data-share-group-metadata-value.ts';
import { shareGroupTargetAssignmentMemberKey } from '../../../../protocol/generated/data-share-group-target-assignment-member-key.ts';
import { shareGroupTargetAssignmentMemberValue } from '../../../../protocol/generated/data-share-group-target-assignment-member-value.ts';
import { shareGroupTargetAssignmentMetadataKey } from '../../../../protocol/generated/data-share-group-target-assignment-metadata-key.ts';
import { shareGroupTargetAssignmentMetadataValue } from '../../../../protocol/generated/data-share-group-target-assignment-metadata-value.ts';
import type { Int64 } from '../../../../protocol/wire/int64.ts';
import { type RecordOfKind, recordKind } from '../common/record-kind.ts';
import { type TopicPartitions, toWire } from '../common/topic-partitions.ts';
import type { ShareMember } from './share-group.ts';

const memberMetadata = recordKind(
  'share-group-member-metadata',
  10,
  shareGroupMemberMetadataKey,
  shareGroupMemberMetadataValue,
);
const metadata = recordKind('share-group-metadata', 11, shareGroupMetadataKey, shareGroupMetadataValue);
const targetMetadata = recordKind(
  'share-group-target-metadata',
  12,
  shareGroupTargetAssignmentMetadataKey,
  shareGroupTargetAssignmentMetadataValue,
);
const targetMember = recordKind(
  'share-group-target-member',
  13,
  shareGroupTargetAssignmentMemberKey,
  shareGroupTargetAssignmentMemberValue,
);
const currentAssignment = recordKind(
  'share-group-current-assignment',
  14,
  shareGroupCurrentMemberAssignmentKey,
  shareGroupCurrentMemberAssignmentValue,
);

export const shareGroupRecordKinds = [
  memberMetadata,
  metadata,
  targetMetadata,
  targetMember,
  currentAssignment,
] as const;

export type ShareGroupRecord = RecordOfKind<(typeof shareGroupRecordKinds)[number]>;

export function isShareGroupRecord(record: { readonly type: string }): record is ShareGroupRecord {
  return shareGroupRecordKinds.some(({ type }) => type === record.type);
}

/** The one state that a member of a share group has: nothing need be given back before something else is had. */
const stable = 0;

export function groupEpochRecord(groupId: string, epoch: number, metadataHash: Int64): ShareGroupRecord {
  return { type: metadata.type, key: { groupId }, value: { epoch, metadataHash } };
}

export function memberRecord(groupId: string, member: ShareMember): ShareGroupRecord {
  const { memberId, rackId, clientId, clientHost, subscribedTopicNames } = member;
  return {
    type: memberMetadata.type,
    key: { groupId, memberId },
    value: { rackId, clientId, clientHost, subscribedTopicNames: [...subscribedTopicNames].sort() },
  };
}

export function targetMetadataRecord(
  groupId: string,
  assignmentEpoch: number,
  assignmentTimestamp: Int64,
): ShareGroupRecord {
  return { type: targetMetadata.type, key: { groupId }, value: { assignmentEpoch, assignmentTimestamp } };
}

export function targetMemberRecord(
  groupId: string,
  memberId: string,
  partitions: TopicPartitions,
): ShareGroupRecord {
  return {
    type: targetMember.type,
    key: { groupId, memberId },
    value: { topicPartitions: toWire(partitions) },
  };
}

export function currentAssignmentRecord(groupId: string, member: ShareMember): ShareGroupRecord {
  const { memberId, memberEpoch, previousMemberEpoch, assigned } = member;
  return {
    type: currentAssignment.type,
    key: { groupId, memberId },
    value: { memberEpoch, previousMemberEpoch, state: stable, assignedPartitions: toWire(assigned) },
  };
}

/** The member is gone. */
export function memberTombstones(groupId: string, memberId: string): ShareGroupRecord[] {
  const key = { groupId, memberId };
  return [
    { type: currentAssignment.type, key, value: null },
    { type: targetMember.type, key, value: null },
    { type: memberMetadata.type, key, value: null },
  ];
}

/** The group is gone. It has no members. */
export function groupTombstones(groupId: string): ShareGroupRecord[] {
  return [
    { type: targetMetadata.type, key: { groupId }, value: null },
    { type: metadata.type, key: { groupId }, value: null },
  ];
}
