/**
 * The cluster's topics as coordinators of groups with server-side assignment (consumer, share and streams groups) see them, and the
 * one number that says whether anything about a group's topics changed (Kafka's metadata hash). Nobody is told of a change: a group
 * compares `version` when a member shows up, as a group in Kafka waits for the next heartbeat, too.
 */
import { createHash } from 'node:crypto';
import type { Int64 } from '../../../../protocol/wire/int64.ts';
import type { Topic, TopicDirectory } from '../../topics/topic.ts';

export interface GroupTopic {
  readonly name: string;
  readonly id: string;
  readonly partitionCount: number;
}

export interface GroupTopics {
  byName(name: string): GroupTopic | undefined;
  byId(id: string): GroupTopic | undefined;
  /** Every topic, the internal ones as well, as Kafka's regular expressions see them. */
  names(): readonly string[];
  /** Grows whenever a topic came, went or changed. */
  readonly version: number;
}

/** What the catalogue knows. */
export class DirectoryTopics implements GroupTopics {
  readonly #directory: Pick<TopicDirectory, 'get' | 'byId' | 'all'>;
  #changes = 0;
  /** The directory makes a new list whenever a topic came, went or changed. */
  #seen: readonly Topic[] | undefined;
  #names: readonly string[] = [];

  constructor(directory: Pick<TopicDirectory, 'get' | 'byId' | 'all'>) {
    this.#directory = directory;
  }

  byName(name: string): GroupTopic | undefined {
    return groupTopic(this.#directory.get(name));
  }

  byId(id: string): GroupTopic | undefined {
    return groupTopic(this.#directory.byId(id));
  }

  names(): readonly string[] {
    this.#look();
    return this.#names;
  }

  get version(): number {
    this.#look();
    return this.#changes;
  }

  #look(): void {
    const topics = this.#directory.all();
    if (topics === this.#seen) return;
    this.#seen = topics;
    this.#changes++;
    this.#names = topics.map(({ name }) => name);
  }
}

function groupTopic(topic: Topic | undefined): GroupTopic | undefined {
  return topic === undefined
    ? undefined
    : { name: topic.name, id: topic.id, partitionCount: topic.partitions.length };
}

/**
 * A hash of what these topics are: 0 where none of them is subscribed to. Equal numbers mean that nothing changed. Kafka keeps an XXH3
 * in this field; nothing but equality is ever asked of it.
 */
export function metadataHash(names: Iterable<string>, topics: Pick<GroupTopics, 'byName'>): Int64 {
  const sorted = [...names].sort();
  if (sorted.length === 0) return 0;
  const hash = createHash('sha1');
  for (const name of sorted) {
    const topic = topics.byName(name);
    // A name has no blanks.
    hash.update(topic === undefined ? `${name} - ` : `${name} ${topic.id} ${topic.partitionCount} `);
  }
  // 48 bits, so that it is a plain number wherever it goes.
  return hash.digest().readUIntBE(0, 6);
}
