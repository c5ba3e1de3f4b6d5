/**
 * Who may commit and fetch offsets of a consumer group: members in their epoch. A commit that comes late, with an epoch of before, still
 * counts for partitions that the member has had since then (KIP-1251).
 */
import { type ErrorCode, errorCodes } from '../../../../protocol/error-codes.ts';
import type { ConsumerGroup } from './consumer-group.ts';

export interface CommittingMember {
  readonly memberId: string;
  readonly groupInstanceId: string | null;
  /** The member's epoch; -1: of nobody. */
  readonly generationId: number;
  readonly isTransactional: boolean;
  readonly knowsMemberEpochs: boolean;
}

/** One error for all, NONE included, or what to ask for each partition. */
export type CommitCheck = ErrorCode | ((topicId: string, partition: number) => ErrorCode);

export function checkCommit(group: ConsumerGroup, commit: CommittingMember): CommitCheck {
  const { memberId, generationId: epoch } = commit;
  // Nobody is in the group: a consumer that manages itself, or a tool that resets offsets.
  if (epoch < 0 && group.isEmpty) return errorCodes.NONE;
  if (commit.isTransactional && epoch === -1 && memberId === '' && commit.groupInstanceId === null) {
    return errorCodes.NONE;
  }
  const member = group.members.get(memberId);
  if (member === undefined) return errorCodes.UNKNOWN_MEMBER_ID;
  const isClassic = member.classic !== null;
  if (!commit.isTransactional && !isClassic && !commit.knowsMemberEpochs) {
    return errorCodes.UNSUPPORTED_VERSION;
  }
  if (epoch === member.memberEpoch) return errorCodes.NONE;
  const stale = isClassic ? errorCodes.ILLEGAL_GENERATION : errorCodes.STALE_MEMBER_EPOCH;
  if (epoch > member.memberEpoch) return stale;
  return (topicId, partition) => {
    const since =
      member.assigned.get(topicId)?.get(partition) ?? member.pendingRevocation.get(topicId)?.get(partition);
    return since !== undefined && epoch >= since ? errorCodes.NONE : stale;
  };
}

/** A null id with epoch -1: a tool, or a client that does not say who it is. */
export function checkFetch(
  group: ConsumerGroup,
  { memberId, memberEpoch }: { readonly memberId: string | null; readonly memberEpoch: number },
): ErrorCode {
  if (memberId === null && memberEpoch < 0) return errorCodes.NONE;
  const member = memberId === null ? undefined : group.members.get(memberId);
  if (member === undefined) return errorCodes.UNKNOWN_MEMBER_ID;
  if (memberEpoch === member.memberEpoch) return errorCodes.NONE;
  return member.classic === null ? errorCodes.STALE_MEMBER_EPOCH : errorCodes.ILLEGAL_GENERATION;
}
