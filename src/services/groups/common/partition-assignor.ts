/**
 * What a server-side assignor is: given members, what they subscribe to and what was meant for them so far, it says what is meant for
 * them from now on. Pure, deterministic, and the same for consumer and share groups.
 */
import type { TopicPartitions } from './topic-partitions.ts';

export interface AssignableMember {
  readonly memberId: string;
  readonly instanceId: string | null;
  /** Topics that exist; a topic that does not is not subscribed to here. */
  readonly topicIds: ReadonlySet<string>;
  /** The target assignment so far. */
  readonly assigned: TopicPartitions;
}

export interface AssignableGroup {
  /** In the order in which they joined. */
  readonly members: readonly AssignableMember[];
  /** All members subscribe to the same topics. */
  readonly isHomogeneous: boolean;
  /** Of every topic that a member subscribes to. */
  partitionCount(topicId: string): number;
  /** True where the partition is in the target assignment of some member of before, here or gone meanwhile. */
  isAssigned(topicId: string, partition: number): boolean;
}

export interface PartitionAssignor {
  readonly name: string;
  /** By member id. Who is not named is meant to have nothing. */
  assign(group: AssignableGroup): ReadonlyMap<string, TopicPartitions>;
}
