/** Topics that a test makes and unmakes, as coordinators of groups see them. */
import type { GroupTopic, GroupTopics } from '../../../src/services/groups/common/group-topics.ts';

export class FakeTopics implements GroupTopics {
  version = 0;
  readonly #byName = new Map<string, GroupTopic>();

  /** Makes the topic, or changes it. The id stays unless it is given. */
  set(name: string, partitionCount: number, id?: string): string {
    this.version++;
    const topicId = id ?? this.#byName.get(name)?.id ?? idOf(name, this.version);
    this.#byName.set(name, { name, id: topicId, partitionCount });
    return topicId;
  }

  delete(name: string): void {
    this.version++;
    this.#byName.delete(name);
  }

  byName(name: string): GroupTopic | undefined {
    return this.#byName.get(name);
  }

  byId(id: string): GroupTopic | undefined {
    return [...this.#byName.values()].find((topic) => topic.id === id);
  }

  names(): readonly string[] {
    return [...this.#byName.keys()];
  }
}

/** 16 bytes, as a topic id is; another one each time. */
function idOf(name: string, version: number): string {
  return Buffer.from(`${version}-${name}`.padEnd(16, '.').slice(0, 16)).toString('base64url');
}
