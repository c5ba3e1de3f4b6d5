/**
 * The epochs by which members of groups with server-side assignment (KIP-848, KIP-932, KIP-1071) are fenced. A member says in each
 * heartbeat which epoch it is in; the coordinator has the last word. Pure.
 */
import { GroupFault } from './group-fault.ts';
import type { WireTopicPartitions } from './topic-partitions.ts';

/** A member says 0 when it joins, -1 when it leaves, -2 when a static member leaves and will be back. */
export const joinEpoch = 0;
export const leaveEpoch = -1;
export const staticLeaveEpoch = -2;

export interface MemberEpochs {
  readonly memberEpoch: number;
  readonly previousMemberEpoch: number;
}

/**
 * Undefined where the heartbeat's epoch is the member's, or 0: whoever was fenced, or lost all, may always join anew. The previous one will do while `mayLag`: the answer that raised it may have
 * been lost, and the member does nothing that it must not.
 */
export function epochFault(
  kind: 'consumer' | 'share' | 'streams',
  member: MemberEpochs,
  receivedEpoch: number,
  mayLag: boolean,
): GroupFault | undefined {
  if (receivedEpoch === member.memberEpoch || receivedEpoch === joinEpoch) return undefined;
  const isGreater = receivedEpoch > member.memberEpoch;
  if (!isGreater && receivedEpoch === member.previousMemberEpoch && mayLag) return undefined;
  return new GroupFault(
    'FENCED_MEMBER_EPOCH',
    `The ${kind} group member has a ${isGreater ? 'greater' : 'smaller'} member epoch (${receivedEpoch}) than the one known by the group coordinator (${member.memberEpoch}). The member must abandon all its partitions and rejoin.`,
  );
}

/** True where the member says what it owns, and all of it is assigned to it. */
export function ownsOnlyAssigned(
  owned: readonly WireTopicPartitions[] | null,
  assigned: ReadonlyMap<string, { has(partition: number): boolean }>,
): boolean {
  return (
    owned?.every(({ topicId, partitions }) => {
      const ofTopic = assigned.get(topicId);
      return (
        partitions.length === 0 || (ofTopic !== undefined && partitions.every((one) => ofTopic.has(one)))
      );
    }) ?? false
  );
}
