/** Partitions by topic id, as assignments have them. Values are never changed in place: a change makes a new map. */

export type TopicPartitions = ReadonlyMap<string, ReadonlySet<number>>;

/** As requests, answers and records carry them. */
export interface WireTopicPartitions {
  readonly topicId: string;
  readonly partitions: readonly number[];
}

export const noPartitions: TopicPartitions = new Map();
const nothing: ReadonlySet<number> = new Set();

export function partitionsOf(all: TopicPartitions, topicId: string): ReadonlySet<number> {
  return all.get(topicId) ?? nothing;
}

export function fromWire(topics: readonly WireTopicPartitions[]): TopicPartitions {
  const all = new Map<string, Set<number>>();
  for (const { topicId, partitions } of topics) {
    const before = all.get(topicId);
    if (before === undefined) all.set(topicId, new Set(partitions));
    else for (const partition of partitions) before.add(partition);
  }
  return all;
}

/** Topics in the order of the map, partitions in order of number. */
export function toWire(
  all: ReadonlyMap<string, { keys(): Iterable<number> }>,
): { topicId: string; partitions: number[] }[] {
  return [...all].map(([topicId, partitions]) => ({
    topicId,
    partitions: [...partitions.keys()].sort((a, b) => a - b),
  }));
}

export function samePartitions(a: TopicPartitions, b: TopicPartitions): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [topicId, partitions] of a) {
    const others = b.get(topicId);
    if (others === undefined || !sameSet(partitions, others)) return false;
  }
  return true;
}

export function sameSet<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const each of a) if (!b.has(each)) return false;
  return true;
}

export function countPartitions(all: TopicPartitions): number {
  let count = 0;
  for (const partitions of all.values()) count += partitions.size;
  return count;
}
