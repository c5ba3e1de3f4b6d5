/** One member of a consumer group. Never changed in place: a change makes another one, and the group's records put it there. */
import type { MemberProtocol } from '../classic/classic-group-member.ts';

/**
 * stable      has what is meant for it, as of its epoch
 * unrevoked   must give partitions back before it may have the next epoch
 * unreleased  waits for partitions that others still have
 * unknown     from a record of a later version
 */
export type MemberState = 'stable' | 'unrevoked' | 'unreleased' | 'unknown';

/** By topic id and partition: the epoch in which the member got the partition. */
export type PartitionEpochs = ReadonlyMap<string, ReadonlyMap<number, number>>;

export const noEpochs: PartitionEpochs = new Map();

/** What a member brought with it that speaks the classic protocol (KIP-848's migration). */
export interface ClassicMemberFacts {
  readonly sessionTimeoutMs: number;
  /** In the member's order of preference; the first is the one that counts. */
  readonly protocols: readonly MemberProtocol[];
}

export interface ConsumerMember {
  readonly memberId: string;
  /** group.instance.id of a static member. */
  readonly instanceId: string | null;
  readonly rackId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly rebalanceTimeoutMs: number;
  readonly serverAssignor: string | null;
  readonly subscribedTopicNames: ReadonlySet<string>;
  /** '' for none, as in Kafka. */
  readonly subscribedTopicRegex: string;
  /** Null for members of the consumer protocol. */
  readonly classic: ClassicMemberFacts | null;
  /** 0 before the first assignment, -2 for a static member that left and will be back. */
  readonly memberEpoch: number;
  readonly previousMemberEpoch: number;
  readonly state: MemberState;
  readonly assigned: PartitionEpochs;
  /** Still the member's, until it says that it has given them back. */
  readonly pendingRevocation: PartitionEpochs;
}

export function newConsumerMember(memberId: string): ConsumerMember {
  return {
    memberId,
    instanceId: null,
    rackId: null,
    clientId: '',
    clientHost: '',
    rebalanceTimeoutMs: -1,
    serverAssignor: null,
    subscribedTopicNames: new Set(),
    subscribedTopicRegex: '',
    classic: null,
    memberEpoch: 0,
    previousMemberEpoch: -1,
    state: 'stable',
    assigned: noEpochs,
    pendingRevocation: noEpochs,
  };
}

export function sameEpochs(a: PartitionEpochs, b: PartitionEpochs): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [topicId, epochs] of a) {
    const others = b.get(topicId);
    if (others === undefined || others.size !== epochs.size) return false;
    for (const [partition, epoch] of epochs) if (others.get(partition) !== epoch) return false;
  }
  return true;
}

/** True where the same partitions are in both, whenever they came. */
export function sameAssigned(a: PartitionEpochs, b: PartitionEpochs): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [topicId, epochs] of a) {
    const others = b.get(topicId);
    if (others === undefined || others.size !== epochs.size) return false;
    for (const partition of epochs.keys()) if (!others.has(partition)) return false;
  }
  return true;
}
