/**
 * The assignor of share groups, `simple`: every partition of a topic has at least one of the topic's subscribers, every subscriber at
 * least one partition, and both counts differ by one at most. Who has a partition keeps it as long as that holds. Pure.
 */
import type { AssignableGroup, AssignableMember, PartitionAssignor } from '../common/partition-assignor.ts';
import type { TopicPartitions } from '../common/topic-partitions.ts';

export const simpleAssignor: PartitionAssignor = { name: 'simple', assign };

function assign(group: AssignableGroup): ReadonlyMap<string, TopicPartitions> {
  const result = new Map<string, Map<string, Set<number>>>();
  const loads = new Map<string, number>();
  const subscribers = new Map<string, AssignableMember[]>();
  for (const member of group.members) {
    result.set(member.memberId, new Map());
    loads.set(member.memberId, 0);
    for (const topicId of member.topicIds) {
      const list = subscribers.get(topicId);
      if (list === undefined) subscribers.set(topicId, [member]);
      else list.push(member);
    }
  }
  for (const topicId of [...subscribers.keys()].sort()) {
    const shared = shareTopic(topicId, subscribers.get(topicId)!, group.partitionCount(topicId), loads);
    for (const [memberId, partitions] of shared) {
      if (partitions.size === 0) continue;
      result.get(memberId)!.set(topicId, partitions);
      loads.set(memberId, loads.get(memberId)! + partitions.size);
    }
  }
  return result;
}

function shareTopic(
  topicId: string,
  members: readonly AssignableMember[],
  partitionCount: number,
  loads: ReadonlyMap<string, number>,
): ReadonlyMap<string, Set<number>> {
  const shares = new Map(members.map(({ memberId }) => [memberId, new Set<number>()]));
  if (partitionCount === 0) return shares;
  const total = Math.max(members.length, partitionCount);
  const perMember = new Quota(total, members.length);
  const perPartition = new Quota(total, partitionCount);
  const holders = new Array<number>(partitionCount).fill(0);
  const give = (memberId: string, partition: number): void => {
    perMember.take(shares.get(memberId)!.size);
    perPartition.take(holders[partition]!);
    shares.get(memberId)!.add(partition);
    holders[partition]!++;
  };
  // What everybody may keep before what only some may.
  for (const isExtra of [false, true]) {
    for (const { memberId, assigned } of members) {
      for (const partition of assigned.get(topicId) ?? []) {
        const share = shares.get(memberId)!;
        if (partition >= partitionCount || share.has(partition)) continue;
        if (perMember.allows(share.size, isExtra) && perPartition.allows(holders[partition]!, isExtra)) {
          give(memberId, partition);
        }
      }
    }
  }
  if (members.length > partitionCount) {
    for (const { memberId } of members) {
      if (shares.get(memberId)!.size === 0) give(memberId, indexOfLeast(holders));
    }
    return shares;
  }
  const order = members.map(({ memberId }) => memberId);
  for (let partition = 0; partition < partitionCount; partition++) {
    if (holders[partition]! > 0) continue;
    let least = order[0]!;
    for (const memberId of order) {
      const size = shares.get(memberId)!.size;
      const leastSize = shares.get(least)!.size;
      if (size < leastSize || (size === leastSize && loads.get(memberId)! < loads.get(least)!))
        least = memberId;
    }
    give(least, partition);
  }
  return shares;
}

/** So many places among so many: each has the same number, some one more. */
class Quota {
  readonly #each: number;
  #extras: number;

  constructor(places: number, among: number) {
    this.#each = Math.floor(places / among);
    this.#extras = places % among;
  }

  allows(has: number, isExtra: boolean): boolean {
    return has < this.#each || (isExtra && has === this.#each && this.#extras > 0);
  }

  take(has: number): void {
    if (has === this.#each) this.#extras--;
  }
}

function indexOfLeast(counts: readonly number[]): number {
  let least = 0;
  for (let index = 1; index < counts.length; index++) if (counts[index]! < counts[least]!) least = index;
  return least;
}
