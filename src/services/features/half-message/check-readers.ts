/** Whether a group's members read its check topic, and how far: only what is read can be answered. */
import type { DescribeGroupsResponseDescribedGroupInput } from '../../../../protocol/generated/15-describe-groups.ts';
import type { ConsumerGroupDescribeResponseDescribedGroupInput } from '../../../../protocol/generated/69-consumer-group-describe.ts';
import type { GroupCoordinator } from '../../groups/group-coordinator.ts';
import type { Topic } from '../../topics/topic.ts';

/** The subscription's topics stand behind its version. */
const topicsAt = 2;

/**
 * True where a member subscribes to the topic. A group between two generations has nobody who reads; of members of a protocol that
 * says nothing of topics it is taken for granted.
 */
export function readsTopic(
  { members, protocolType }: Pick<DescribeGroupsResponseDescribedGroupInput, 'members' | 'protocolType'>,
  topic: string,
): boolean {
  if (protocolType !== 'consumer') return members.length > 0;
  return members.some(({ memberMetadata }) => subscribedTopics(memberMetadata)?.includes(topic) ?? false);
}

/** Of a consumer group (KIP-848): true where a member subscribes to the topic by name, or has it, or is meant to, by an expression. */
export function consumerReadsTopic(
  { members }: Pick<ConsumerGroupDescribeResponseDescribedGroupInput, 'members'>,
  topic: string,
): boolean {
  return members.some(
    ({ subscribedTopicNames, assignment, targetAssignment }) =>
      subscribedTopicNames.includes(topic) ||
      assignment.topicPartitions.some(({ topicName }) => topicName === topic) ||
      targetAssignment.topicPartitions.some(({ topicName }) => topicName === topic),
  );
}

/** All topics that members subscribe to. */
export function topicsOf({
  members,
  protocolType,
}: Pick<DescribeGroupsResponseDescribedGroupInput, 'members' | 'protocolType'>): readonly string[] {
  if (protocolType !== 'consumer') return [];
  return [...new Set(members.flatMap(({ memberMetadata }) => subscribedTopics(memberMetadata) ?? []))];
}

/** Of a consumer's subscription, all versions; undefined where it is none. */
function subscribedTopics(metadata: Uint8Array): readonly string[] | undefined {
  const bytes = Buffer.from(metadata.buffer, metadata.byteOffset, metadata.byteLength);
  if (bytes.length < topicsAt + 4) return undefined;
  const count = bytes.readInt32BE(topicsAt);
  const topics: string[] = [];
  let at = topicsAt + 4;
  for (let index = 0; index < count; index++) {
    if (at + 2 > bytes.length) return undefined;
    const length = bytes.readInt16BE(at);
    at += 2;
    if (length < 0 || at + length > bytes.length) return undefined;
    topics.push(bytes.toString('utf8', at, at + length));
    at += length;
  }
  return topics;
}

/** What a group has committed in the topic, by partition; empty where it cannot be said. */
export async function committedIn(
  groups: Pick<GroupCoordinator, 'fetchOffsets'>,
  group: string,
  topic: Pick<Topic, 'name' | 'id' | 'partitions'> | undefined,
): Promise<ReadonlyMap<number, number>> {
  const committed = new Map<number, number>();
  if (topic === undefined) return committed;
  const { name, id, partitions } = topic;
  const partitionIndexes = partitions.map(({ index }) => index);
  const answer = await groups.fetchOffsets(group, [{ name, topicId: id, partitionIndexes }]);
  for (const { partitionIndex, offset } of answer.topics[0]?.partitions ?? []) {
    if (Number(offset) >= 0) committed.set(partitionIndex, Number(offset));
  }
  return committed;
}

/** All that a group has committed; empty where it cannot be said. */
export async function committedBy(
  groups: Pick<GroupCoordinator, 'fetchOffsets'>,
  group: string,
): Promise<readonly { readonly topic: string; readonly partition: number; readonly offset: number }[]> {
  const { topics } = await groups.fetchOffsets(group, null);
  return topics.flatMap(({ name, partitions }) =>
    partitions
      .filter(({ offset }) => Number(offset) >= 0)
      .map(({ partitionIndex, offset }) => ({
        topic: name,
        partition: partitionIndex,
        offset: Number(offset),
      })),
  );
}
