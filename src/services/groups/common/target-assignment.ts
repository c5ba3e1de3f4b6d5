/**
 * What is meant for each member of a group with server-side assignment, for which group epoch it was computed, and who is meant to
 * have a partition. Holds what the records say; computes what a new assignment changes.
 */
import type { Int64 } from '../../../../protocol/wire/int64.ts';
import { noPartitions, samePartitions, type TopicPartitions } from './topic-partitions.ts';

export class TargetAssignment {
  /** The group epoch that it was computed for; 0: never yet. Groups begin with epoch 1. */
  epoch = 0;
  /** When it was computed, ms since 1970; 0: not known. */
  timestampMs: Int64 = 0;
  readonly #byMember = new Map<string, TopicPartitions>();
  readonly #owners = new Map<string, Map<number, string>>();

  of(memberId: string): TopicPartitions {
    return this.#byMember.get(memberId) ?? noPartitions;
  }

  has(memberId: string): boolean {
    return this.#byMember.has(memberId);
  }

  get memberIds(): Iterable<string> {
    return this.#byMember.keys();
  }

  get size(): number {
    return this.#byMember.size;
  }

  isAssigned(topicId: string, partition: number): boolean {
    return this.#owners.get(topicId)?.has(partition) ?? false;
  }

  /** Replays a record. While the records of one computation are replayed two members may have a partition; the later counts. */
  set(memberId: string, partitions: TopicPartitions | null): void {
    for (const [topicId, before] of this.#byMember.get(memberId) ?? noPartitions) {
      const owners = this.#owners.get(topicId);
      if (owners === undefined) continue;
      for (const partition of before) if (owners.get(partition) === memberId) owners.delete(partition);
      if (owners.size === 0) this.#owners.delete(topicId);
    }
    if (partitions === null) {
      this.#byMember.delete(memberId);
      return;
    }
    this.#byMember.set(memberId, partitions);
    for (const [topicId, now] of partitions) {
      let owners = this.#owners.get(topicId);
      if (owners === undefined) {
        owners = new Map();
        this.#owners.set(topicId, owners);
      }
      for (const partition of now) owners.set(partition, memberId);
    }
  }

  /** The members for whom the new assignment means something else, with what it means for them. */
  *changes(
    memberIds: Iterable<string>,
    next: ReadonlyMap<string, TopicPartitions>,
  ): Iterable<readonly [memberId: string, partitions: TopicPartitions]> {
    for (const memberId of memberIds) {
      const partitions = next.get(memberId) ?? noPartitions;
      const before = this.#byMember.get(memberId);
      // A member that nothing is meant for has a record, too, as in Kafka.
      if (before === undefined || !samePartitions(before, partitions)) yield [memberId, partitions];
    }
  }

  /** Whether a new assignment may be computed now: assignors are not asked more often than once in the interval. */
  isDue(intervalMs: number, nowMs: number): boolean {
    if (this.timestampMs === 0 || intervalMs === 0) return true;
    return nowMs >= Number(this.timestampMs) + intervalMs;
  }
}
