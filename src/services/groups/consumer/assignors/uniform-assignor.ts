/**
 * Kafka's server-side `uniform`: members have as many partitions as one another, give or take one, and keep what they have as far as
 * that allows. Where members subscribe to different topics it is balanced as far as subscriptions allow: no partition could go to
 * a subscriber that has two or more fewer.
 */
import type { AssignableGroup, PartitionAssignor } from '../../common/partition-assignor.ts';
import type { TopicPartitions } from '../../common/topic-partitions.ts';
import { BalancedAssignment } from './balanced-assignment.ts';

export const uniformAssignor: PartitionAssignor = {
  name: 'uniform',
  assign(group) {
    if (group.members.length === 0) return new Map();
    return group.isHomogeneous ? assignAlike(group) : new BalancedAssignment(group).assign();
  },
};

interface TopicPartition {
  readonly topicId: string;
  readonly partition: number;
}

function assignAlike(group: AssignableGroup): ReadonlyMap<string, TopicPartitions> {
  const topicIds = group.members[0]!.topicIds;
  const free: TopicPartition[] = [];
  let total = 0;
  for (const topicId of topicIds) {
    const count = group.partitionCount(topicId);
    total += count;
    for (let partition = 0; partition < count; partition++) {
      if (!group.isAssigned(topicId, partition)) free.push({ topicId, partition });
    }
  }
  const quota = Math.floor(total / group.members.length);
  // Those that have more than the quota already keep one of the partitions that are left over; then whoever comes first.
  let extras = total % group.members.length;
  const owned = group.members.map(({ assigned }) => countIn(assigned, topicIds));
  const quotas = owned.map((count) => (count > quota && extras-- > 0 ? quota + 1 : quota));
  for (let index = 0; index < quotas.length && extras > 0; index++) {
    if (quotas[index] === quota) {
      quotas[index] = quota + 1;
      extras--;
    }
  }
  const assignment = new Map<string, Map<string, Set<number>>>();
  for (const [index, { memberId, assigned }] of group.members.entries()) {
    let room = quotas[index]!;
    const kept = new Map<string, Set<number>>();
    for (const [topicId, partitions] of assigned) {
      if (!topicIds.has(topicId)) continue;
      const count = group.partitionCount(topicId);
      for (const partition of partitions) {
        if (partition >= count) continue;
        if (room > 0) {
          room--;
          addTo(kept, topicId, partition);
        } else {
          free.push({ topicId, partition });
        }
      }
    }
    quotas[index] = room;
    assignment.set(memberId, kept);
  }
  let next = 0;
  for (const [index, { memberId }] of group.members.entries()) {
    const kept = assignment.get(memberId)!;
    for (let room = quotas[index]!; room > 0 && next < free.length; room--) {
      const { topicId, partition } = free[next++]!;
      addTo(kept, topicId, partition);
    }
  }
  return assignment;
}

function countIn(assigned: TopicPartitions, topicIds: ReadonlySet<string>): number {
  let count = 0;
  for (const [topicId, partitions] of assigned) if (topicIds.has(topicId)) count += partitions.size;
  return count;
}

export function addTo(partitions: Map<string, Set<number>>, topicId: string, partition: number): void {
  const ofTopic = partitions.get(topicId);
  if (ofTopic === undefined) partitions.set(topicId, new Set([partition]));
  else ofTopic.add(partition);
}
