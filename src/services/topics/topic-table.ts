/**
 * The topics that there are, in memory, by name and by id. Topics are immutable: a change puts another one in place. Knows nothing
 * of how they are kept.
 */

import type { Topic } from './topic.ts';
import { collisionKey } from './topic-name.ts';

export class TopicTable {
  private readonly byName = new Map<string, Topic>();
  private readonly byId = new Map<string, Topic>();
  private readonly namesByCollisionKey = new Map<string, Set<string>>();
  private sorted: readonly Topic[] | undefined;
  private partitions = 0;

  get size(): number {
    return this.byName.size;
  }

  /** Of all topics together. */
  get partitionCount(): number {
    return this.partitions;
  }

  get(name: string): Topic | undefined {
    return this.byName.get(name);
  }

  getById(id: string): Topic | undefined {
    return this.byId.get(id);
  }

  /** In name order (by UTF-16 code unit). */
  all(): readonly Topic[] {
    this.sorted ??= [...this.byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.sorted;
  }

  /** A topic whose name differs from this one in '.' and '_' only. */
  collidingWith(name: string): string | undefined {
    const key = collisionKey(name);
    if (key === undefined) return undefined;
    for (const other of this.namesByCollisionKey.get(key) ?? []) if (other !== name) return other;
    return undefined;
  }

  /** Puts the topic in place of the one of that name, if any, which is returned. */
  put(topic: Topic): Topic | undefined {
    const before = this.remove(topic.name);
    this.byName.set(topic.name, topic);
    this.byId.set(topic.id, topic);
    this.partitions += topic.partitions.length;
    const key = collisionKey(topic.name);
    if (key !== undefined) {
      const names = this.namesByCollisionKey.get(key);
      if (names === undefined) this.namesByCollisionKey.set(key, new Set([topic.name]));
      else names.add(topic.name);
    }
    return before;
  }

  remove(name: string): Topic | undefined {
    this.sorted = undefined;
    const topic = this.byName.get(name);
    if (topic === undefined) return undefined;
    this.byName.delete(name);
    this.byId.delete(topic.id);
    this.partitions -= topic.partitions.length;
    const key = collisionKey(name);
    const names = key === undefined ? undefined : this.namesByCollisionKey.get(key);
    if (key !== undefined && names !== undefined) {
      names.delete(name);
      if (names.size === 0) this.namesByCollisionKey.delete(key);
    }
    return topic;
  }
}
