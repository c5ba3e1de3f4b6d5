/**
 * One step of a member from what it has towards what is meant for it (Kafka's CurrentAssignmentBuilder): first it gives back what is
 * no longer its, then it gets the next epoch and whatever nobody else has any more. This alone keeps a partition from being two
 * members' at once. Pure.
 */
import type { WireTopicPartitions } from '../common/topic-partitions.ts';
import { partitionsOf, type TopicPartitions } from '../common/topic-partitions.ts';
import { type ConsumerMember, noEpochs, type PartitionEpochs } from './consumer-group-member.ts';

export interface ReconciliationInput {
  readonly target: TopicPartitions;
  readonly targetEpoch: number;
  /** Ids of the topics that the member subscribes to: what is meant for it of others is not given to it. */
  readonly isSubscribedTo: (topicId: string) => boolean;
  /** The member changed what it subscribes to in this very request. */
  readonly hasSubscriptionChanged: boolean;
  /** True where some member, this one included, has the partition or has not given it back. */
  readonly isHeld: (topicId: string, partition: number) => boolean;
  /** What the member says that it owns; null where it does not say. */
  readonly owned: readonly WireTopicPartitions[] | null;
}

/** The member after the step; the same object where there is nothing to do. */
export function reconcile(member: ConsumerMember, input: ReconciliationInput): ConsumerMember {
  switch (member.state) {
    case 'stable':
      if (member.memberEpoch !== input.targetEpoch) return step(member, member.memberEpoch, input);
      return input.hasSubscriptionChanged ? withdraw(member, input) : member;
    case 'unrevoked':
      if (stillOwns(input.owned, member.pendingRevocation)) {
        return input.hasSubscriptionChanged ? withdraw(member, input) : member;
      }
      return step(member, member.memberEpoch, input);
    case 'unreleased':
      return step(member, member.memberEpoch, input);
    case 'unknown':
      return step(member, input.targetEpoch, input);
  }
}

/** A member in a state of a later version must start anew, unless it says that it has nothing (KIP-848). */
export function mustStartAnew(member: ConsumerMember, owned: readonly WireTopicPartitions[] | null): boolean {
  return member.state === 'unknown' && (owned === null || owned.length > 0);
}

function step(member: ConsumerMember, memberEpoch: number, input: ReconciliationInput): ConsumerMember {
  const assigned = new Map<string, Map<number, number>>();
  const revoked = new Map<string, Map<number, number>>();
  const added = new Map<string, number[]>();
  let isWaiting = false;
  for (const topicId of new Set([...input.target.keys(), ...member.assigned.keys()])) {
    const target = input.isSubscribedTo(topicId) ? partitionsOf(input.target, topicId) : nothing;
    const current = member.assigned.get(topicId);
    for (const [partition, epoch] of current ?? noPartitionEpochs) {
      put(target.has(partition) ? assigned : revoked, topicId, partition, epoch);
    }
    for (const partition of target) {
      if (current?.has(partition) === true) continue;
      // What this member has not given back itself is not held by anybody else.
      const isOwn = member.pendingRevocation.get(topicId)?.has(partition) === true;
      if (!isOwn && input.isHeld(topicId, partition)) isWaiting = true;
      else {
        const ofTopic = added.get(topicId);
        if (ofTopic === undefined) added.set(topicId, [partition]);
        else ofTopic.push(partition);
      }
    }
  }
  if (revoked.size > 0 && stillOwns(input.owned, revoked)) {
    return {
      ...member,
      state: 'unrevoked',
      memberEpoch,
      previousMemberEpoch: member.memberEpoch,
      assigned,
      pendingRevocation: revoked,
    };
  }
  for (const [topicId, partitions] of added) {
    for (const partition of partitions) put(assigned, topicId, partition, input.targetEpoch);
  }
  return {
    ...member,
    state: isWaiting ? 'unreleased' : 'stable',
    memberEpoch: input.targetEpoch,
    previousMemberEpoch: member.memberEpoch,
    assigned,
    pendingRevocation: noEpochs,
  };
}

/** Takes back the topics that the member no longer subscribes to, without a new epoch. */
function withdraw(member: ConsumerMember, { isSubscribedTo, owned }: ReconciliationInput): ConsumerMember {
  const gone = [...member.assigned].filter(([topicId]) => !isSubscribedTo(topicId));
  if (gone.length === 0) return member;
  const assigned = new Map(member.assigned);
  const pendingRevocation = new Map(member.pendingRevocation);
  for (const [topicId, epochs] of gone) {
    assigned.delete(topicId);
    pendingRevocation.set(topicId, new Map([...(pendingRevocation.get(topicId) ?? []), ...epochs]));
  }
  const { memberEpoch } = member;
  return stillOwns(owned, pendingRevocation)
    ? {
        ...member,
        state: 'unrevoked',
        previousMemberEpoch: memberEpoch,
        assigned,
        pendingRevocation,
      }
    : { ...member, previousMemberEpoch: memberEpoch, assigned };
}

/** A member that does not say what it owns is taken to own it. */
function stillOwns(owned: readonly WireTopicPartitions[] | null, revoked: PartitionEpochs): boolean {
  if (owned === null) return true;
  return owned.some(({ topicId, partitions }) => {
    const ofTopic = revoked.get(topicId);
    return ofTopic !== undefined && partitions.some((partition) => ofTopic.has(partition));
  });
}

function put(
  into: Map<string, Map<number, number>>,
  topicId: string,
  partition: number,
  epoch: number,
): void {
  const ofTopic = into.get(topicId);
  if (ofTopic === undefined) into.set(topicId, new Map([[partition, epoch]]));
  else ofTopic.set(partition, epoch);
}

const nothing: ReadonlySet<number> = new Set();
const noPartitionEpochs: ReadonlyMap<number, number> = new Map();
