/**
 * The records of consumer groups (KIP-848), and a group's member as records have it. Kafka's forms: the number leads the key.
 */
import { consumerGroupCurrentMemberAssignmentKey } from '../../../../protocol/generated/data-consumer-group-current-member-assignment-key.ts';
import {
  type ConsumerGroupCurrentMemberAssignmentValueInput,
  consumerGroupCurrentMemberAssignmentValue,
} from '../../../../protocol/generated/data-consumer-group-current-member-assignment-value.ts';
import { consumerGroupMemberMetadataKey } from '../../../../protocol/generated/data-consumer-group-member-metadata-key.ts';
import {
  type ConsumerGroupMemberMetadataValueInput,
  consumerGroupMemberMetadataValue,
} from '../../../../protocol/generated/data-consumer-group-member-metadata-value.ts';
import { consumerGroupMetadataKey } from '../../../../protocol/generated/data-consumer-group-metadata-key.ts';
import { consumerGroupMetadataValue } from '../../../../protocol/generated/data-consumer-group-metadata-value.ts';
import { consumerGroupRegularExpressionKey } from '../../../../protocol/generated/data-consumer-group-regular-expression-key.ts';
import { consumerGroupRegularExpressionValue } from '../../../../protocol/generated/data-consumer-group-regular-expression-value.ts';
import { consumerGroupTargetAssignmentMemberKey } from '../../../../protocol/generated/data-consumer-group-target-assignment-member-key.ts';
import { consumerGroupTargetAssignmentMemberValue } from '../../../../protocol/generated/data-consumer-group-target-assignment-member-value.ts';
import { consumerGroupTargetAssignmentMetadataKey } from '../../../../protocol/generated/data-consumer-group-target-assignment-metadata-key.ts';
import { consumerGroupTargetAssignmentMetadataValue } from '../../../../protocol/generated/data-consumer-group-target-assignment-metadata-value.ts';
import type { Int64 } from '../../../../protocol/wire/int64.ts';
import { type RecordOfKind, recordKind } from '../common/record-kind.ts';
import { type TopicPartitions, toWire } from '../common/topic-partitions.ts';
import type { ConsumerMember, MemberState, PartitionEpochs } from './consumer-group-member.ts';

const metadata = recordKind(
  'consumer-group-metadata',
  3,
  consumerGroupMetadataKey,
  consumerGroupMetadataValue,
);
const memberMetadata = recordKind(
  'consumer-group-member-metadata',
  5,
  consumerGroupMemberMetadataKey,
  consumerGroupMemberMetadataValue,
);
const targetMetadata = recordKind(
  'consumer-group-target-metadata',
  6,
  consumerGroupTargetAssignmentMetadataKey,
  consumerGroupTargetAssignmentMetadataValue,
);
const targetMember = recordKind(
  'consumer-group-target-member',
  7,
  consumerGroupTargetAssignmentMemberKey,
  consumerGroupTargetAssignmentMemberValue,
);
const currentAssignment = recordKind(
  'consumer-group-current-assignment',
  8,
  consumerGroupCurrentMemberAssignmentKey,
  consumerGroupCurrentMemberAssignmentValue,
);
const regularExpression = recordKind(
  'consumer-group-regular-expression',
  16,
  consumerGroupRegularExpressionKey,
  consumerGroupRegularExpressionValue,
);

/** 4, the metadata of partitions, is no longer written by Kafka, which keeps a hash of it in the group's record. */
export const consumerGroupRecordKinds = [
  metadata,
  memberMetadata,
  targetMetadata,
  targetMember,
  currentAssignment,
  regularExpression,
] as const;

export type ConsumerGroupRecord = RecordOfKind<(typeof consumerGroupRecordKinds)[number]>;

export function groupEpochRecord(groupId: string, epoch: number, metadataHash: Int64): ConsumerGroupRecord {
  return { type: metadata.type, key: { groupId }, value: { epoch, metadataHash } };
}

export function groupTombstone(groupId: string): ConsumerGroupRecord {
  return { type: metadata.type, key: { groupId }, value: null };
}

export function memberRecord(groupId: string, member: ConsumerMember): ConsumerGroupRecord {
  return {
    type: memberMetadata.type,
    key: { groupId, memberId: member.memberId },
    value: memberValue(member),
  };
}

function memberValue(member: ConsumerMember): ConsumerGroupMemberMetadataValueInput {
  return {
    instanceId: member.instanceId,
    rackId: member.rackId,
    clientId: member.clientId,
    clientHost: member.clientHost,
    subscribedTopicNames: [...member.subscribedTopicNames].sort(),
    subscribedTopicRegex: member.subscribedTopicRegex,
    rebalanceTimeoutMs: member.rebalanceTimeoutMs,
    serverAssignor: member.serverAssignor,
    classicMemberMetadata:
      member.classic === null
        ? null
        : {
            sessionTimeoutMs: member.classic.sessionTimeoutMs,
            supportedProtocols: member.classic.protocols.map(({ name, metadata: bytes }) => ({
              name,
              metadata: bytes,
            })),
          },
  };
}

export function memberTombstone(groupId: string, memberId: string): ConsumerGroupRecord {
  return { type: memberMetadata.type, key: { groupId, memberId }, value: null };
}

export function targetMetadataRecord(
  groupId: string,
  assignmentEpoch: number,
  assignmentTimestamp: Int64,
): ConsumerGroupRecord {
  return {
    type: targetMetadata.type,
    key: { groupId },
    value: { assignmentEpoch, assignmentTimestamp },
  };
}

export function targetMetadataTombstone(groupId: string): ConsumerGroupRecord {
  return { type: targetMetadata.type, key: { groupId }, value: null };
}

export function targetMemberRecord(
  groupId: string,
  memberId: string,
  partitions: TopicPartitions,
): ConsumerGroupRecord {
  return {
    type: targetMember.type,
    key: { groupId, memberId },
    value: { topicPartitions: toWire(partitions) },
  };
}

export function targetMemberTombstone(groupId: string, memberId: string): ConsumerGroupRecord {
  return { type: targetMember.type, key: { groupId, memberId }, value: null };
}

export function currentAssignmentRecord(groupId: string, member: ConsumerMember): ConsumerGroupRecord {
  return {
    type: currentAssignment.type,
    key: { groupId, memberId: member.memberId },
    value: {
      memberEpoch: member.memberEpoch,
      previousMemberEpoch: member.previousMemberEpoch,
      state: stateNumbers[member.state],
      assignedPartitions: withEpochs(member.assigned),
      partitionsPendingRevocation: withEpochs(member.pendingRevocation),
    },
  };
}

export function currentAssignmentTombstone(groupId: string, memberId: string): ConsumerGroupRecord {
  return { type: currentAssignment.type, key: { groupId, memberId }, value: null };
}

export function regularExpressionRecord(
  groupId: string,
  regularExpressionText: string,
  topics: ReadonlySet<string>,
  version: Int64,
  timestampMs: number,
): ConsumerGroupRecord {
  return {
    type: regularExpression.type,
    key: { groupId, regularExpression: regularExpressionText },
    value: { topics: [...topics], version, timestamp: timestampMs },
  };
}

export function regularExpressionTombstone(groupId: string, text: string): ConsumerGroupRecord {
  return { type: regularExpression.type, key: { groupId, regularExpression: text }, value: null };
}

/** Kafka's numbers; one that is not known here is `unknown`. */
const stateNumbers: Readonly<Record<MemberState, number>> = {
  stable: 0,
  unrevoked: 1,
  unreleased: 2,
  unknown: 127,
};

export function stateOf(number: number): MemberState {
  switch (number) {
    case 0:
      return 'stable';
    case 1:
      return 'unrevoked';
    case 2:
      return 'unreleased';
    default:
      return 'unknown';
  }
}

type WireAssignment = ConsumerGroupCurrentMemberAssignmentValueInput['assignedPartitions'];

function withEpochs(assigned: PartitionEpochs): WireAssignment {
  return [...assigned].map(([topicId, epochs]) => {
    const partitions = [...epochs.keys()].sort((a, b) => a - b);
    return { topicId, partitions, assignmentEpochs: partitions.map((partition) => epochs.get(partition)!) };
  });
}

/** Records from before assignment epochs: all were assigned in the member's epoch. */
export function partitionEpochsOf(wire: WireAssignment, memberEpoch: number): PartitionEpochs {
  const assigned = new Map<string, Map<number, number>>();
  for (const { topicId, partitions, assignmentEpochs } of wire) {
    const epochs = assigned.get(topicId) ?? new Map<number, number>();
    assigned.set(topicId, epochs);
    for (const [index, partition] of partitions.entries()) {
      epochs.set(partition, assignmentEpochs?.[index] ?? memberEpoch);
    }
  }
  return assigned;
}
