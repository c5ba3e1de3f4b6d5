/**
 * Kafka's server-side `range`: of each topic, every subscriber gets one range of partitions, in one order of members for all topics, so
 * that topics of the same size are assigned alike (joins). Static members come first, by instance id, which keeps what they have.
 */
import type {
  AssignableGroup,
  AssignableMember,
  PartitionAssignor,
} from '../../common/partition-assignor.ts';
import type { TopicPartitions } from '../../common/topic-partitions.ts';

/** What is left of a topic while members take their ranges one after the other. */
interface TopicRanges {
  readonly partitionCount: number;
  readonly quota: number;
  extras: number;
  next: number;
}

export const rangeAssignor: PartitionAssignor = {
  name: 'range',
  assign(group) {
    const members = [...group.members].sort(byInstanceThenMember);
    const topics = rangesByTopic(members, group);
    const assignment = new Map<string, TopicPartitions>();
    for (const { memberId, topicIds } of members) {
      const taken = new Map<string, Set<number>>();
      for (const topicId of topicIds) {
        const range = takeRange(topics.get(topicId)!);
        if (range.size > 0) taken.set(topicId, range);
      }
      assignment.set(memberId, taken);
    }
    return assignment;
  },
};

function rangesByTopic(
  members: readonly AssignableMember[],
  group: Pick<AssignableGroup, 'partitionCount'>,
): Map<string, TopicRanges> {
  const subscribers = new Map<string, number>();
  for (const { topicIds } of members) {
    for (const topicId of topicIds) subscribers.set(topicId, (subscribers.get(topicId) ?? 0) + 1);
  }
  const topics = new Map<string, TopicRanges>();
  for (const [topicId, count] of subscribers) {
    const partitionCount = group.partitionCount(topicId);
    const quota = Math.floor(partitionCount / count);
    topics.set(topicId, { partitionCount, quota, extras: partitionCount % count, next: 0 });
  }
  return topics;
}

function takeRange(topic: TopicRanges): Set<number> {
  let size = topic.quota;
  if (topic.extras > 0) {
    topic.extras--;
    size++;
  }
  const end = Math.min(topic.next + size, topic.partitionCount);
  const range = new Set<number>();
  for (; topic.next < end; topic.next++) range.add(topic.next);
  return range;
}

function byInstanceThenMember(a: AssignableMember, b: AssignableMember): number {
  if (a.instanceId !== null && b.instanceId !== null) return compare(a.instanceId, b.instanceId);
  if (a.instanceId !== null) return -1;
  if (b.instanceId !== null) return 1;
  return compare(a.memberId, b.memberId);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
