/**
 * The assignment of a group whose members subscribe to different topics. First each member keeps what it has and may have; then what
 * is free goes to the subscriber with the least; then, topic by topic, partitions go from the subscriber with the most to the one with
 * the least until none differ by more than one, again until a round changes nothing.
 */
import type { AssignableGroup, AssignableMember } from '../../common/partition-assignor.ts';
import type { TopicPartitions } from '../../common/topic-partitions.ts';

/** Rounds over all topics; what one topic evens out another may upset. As in Kafka. */
const maxRounds = 16;

interface Holder {
  readonly member: AssignableMember;
  readonly partitions: Map<string, number[]>;
  total: number;
}

interface BalancedTopic {
  readonly topicId: string;
  readonly partitionCount: number;
  readonly subscribers: readonly Holder[];
}

export class BalancedAssignment {
  readonly #holders: readonly Holder[];
  readonly #topics: readonly BalancedTopic[];

  constructor(group: AssignableGroup) {
    this.#holders = group.members.map((member) => ({ member, partitions: new Map(), total: 0 }));
    const subscribers = new Map<string, Holder[]>();
    for (const holder of this.#holders) {
      for (const topicId of holder.member.topicIds) {
        const list = subscribers.get(topicId);
        if (list === undefined) subscribers.set(topicId, [holder]);
        else list.push(holder);
      }
    }
    // Those that have the fewest to choose from come first: the others can even out what they did.
    this.#topics = [...subscribers]
      .map(([topicId, list]) => ({
        topicId,
        partitionCount: group.partitionCount(topicId),
        subscribers: list,
      }))
      .sort(
        (a, b) =>
          b.partitionCount / b.subscribers.length - a.partitionCount / a.subscribers.length ||
          a.subscribers.length - b.subscribers.length ||
          (a.topicId < b.topicId ? -1 : 1),
      );
  }

  assign(): ReadonlyMap<string, TopicPartitions> {
    const taken = this.#keep();
    for (const topic of this.#topics) this.#giveOut(topic, taken.get(topic.topicId));
    const shared = this.#topics.filter((topic) => topic.subscribers.length > 1);
    let changed = true;
    for (let round = 0; round < maxRounds && changed; round++) {
      changed = false;
      for (const topic of shared) if (this.#evenOut(topic)) changed = true;
    }
    return new Map(
      this.#holders.map(({ member, partitions }) => [
        member.memberId,
        new Map(
          [...partitions]
            .filter(([, numbers]) => numbers.length > 0)
            .map(([topicId, numbers]) => [topicId, new Set(numbers)] as const),
        ),
      ]),
    );
  }

  /** Returns the partitions kept, by topic. */
  #keep(): Map<string, Set<number>> {
    const counts = new Map(this.#topics.map(({ topicId, partitionCount }) => [topicId, partitionCount]));
    const taken = new Map<string, Set<number>>();
    for (const holder of this.#holders) {
      for (const [topicId, partitions] of holder.member.assigned) {
        if (!holder.member.topicIds.has(topicId)) continue;
        const ofTopic = taken.get(topicId) ?? new Set();
        taken.set(topicId, ofTopic);
        for (const partition of partitions) {
          if (partition >= counts.get(topicId)! || ofTopic.has(partition)) continue;
          ofTopic.add(partition);
          give(holder, topicId, partition);
        }
      }
    }
    return taken;
  }

  #giveOut({ topicId, partitionCount, subscribers }: BalancedTopic, taken?: ReadonlySet<number>): void {
    const levels = new Levels(subscribers);
    for (let partition = 0; partition < partitionCount; partition++) {
      if (taken?.has(partition) === true) continue;
      give(levels.takeLeast(), topicId, partition);
    }
  }

  /** True where a partition went from one to another. */
  #evenOut({ topicId, subscribers }: BalancedTopic): boolean {
    const givers = subscribers.filter((holder) => (holder.partitions.get(topicId)?.length ?? 0) > 0);
    const most = new Levels(givers, (a, b) => b.total - a.total);
    const least = new Levels(subscribers);
    let changed = false;
    for (;;) {
      const from = most.peek();
      const to = least.peek();
      if (from === undefined || to === undefined || from.total - to.total <= 1) return changed;
      const partition = from.partitions.get(topicId)!.pop()!;
      from.total--;
      give(to, topicId, partition);
      if (from.partitions.get(topicId)!.length === 0) most.drop();
      else most.sink();
      least.sink();
      changed = true;
    }
  }
}

function give(holder: Holder, topicId: string, partition: number): void {
  const numbers = holder.partitions.get(topicId);
  if (numbers === undefined) holder.partitions.set(topicId, [partition]);
  else numbers.push(partition);
  holder.total++;
}

/** A heap of holders by load: the first is the one with the least (or the most), of equals the one that joined first. */
class Levels {
  readonly #heap: { readonly holder: Holder; readonly place: number }[];
  readonly #order: (a: Holder, b: Holder) => number;

  constructor(
    holders: readonly Holder[],
    order: (a: Holder, b: Holder) => number = (a, b) => a.total - b.total,
  ) {
    this.#order = order;
    // A sorted list is a heap.
    this.#heap = holders.map((holder, place) => ({ holder, place })).sort((a, b) => this.#compare(a, b));
  }

  peek(): Holder | undefined {
    return this.#heap[0]?.holder;
  }

  /** The first, whose load is about to grow by one. */
  takeLeast(): Holder {
    const { holder } = this.#heap[0]!;
    holder.total++;
    this.sink();
    holder.total--;
    return holder;
  }

  drop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.sink();
  }

  /** The first one's load has changed for the worse. */
  sink(): void {
    const heap = this.#heap;
    for (let at = 0; ; ) {
      let first = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && this.#compare(heap[child]!, heap[first]!) < 0) first = child;
      }
      if (first === at) return;
      [heap[at], heap[first]] = [heap[first]!, heap[at]!];
      at = first;
    }
  }

  #compare(a: { holder: Holder; place: number }, b: { holder: Holder; place: number }): number {
    return this.#order(a.holder, b.holder) || a.place - b.place;
  }
}
