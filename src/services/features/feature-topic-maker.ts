/** What features ask of topics that they keep for a group: to find them, to make them, and to take over empty ones. */
import type { StorageEngine } from '../../storage/engine.ts';
import type { ApiError } from '../api-error.ts';
import type { Topic } from '../topics/topic.ts';
import type { NewTopic, TopicOutcome } from '../topics/topic-catalogue.ts';

/** The part of the topic catalogue that is needed. */
export interface FeatureTopics {
  get(name: string): Topic | undefined;
  create(requests: readonly NewTopic[], validateOnly: boolean): Promise<readonly TopicOutcome[]>;
  alterOverrides(
    name: string,
    next: (current: ReadonlyMap<string, string>) => ReadonlyMap<string, string> | ApiError,
    validateOnly: boolean,
  ): Promise<TopicOutcome>;
}

/** No record was ever appended to it, or none that is still there. */
export async function isEmptyTopic(engine: StorageEngine, { partitions }: Topic): Promise<boolean> {
  for (const { queue } of partitions) {
    const bounds = await engine.bounds(queue);
    if (bounds !== undefined && bounds.visibleEndOffset > bounds.startOffset) return false;
  }
  return true;
}
