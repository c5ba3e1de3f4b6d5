/** Which topic and partition a queue is, by the catalogue's rows. */
import { decodeTopicRecord, topicKeyPrefix } from '../../services/topics/topic-record.ts';
import type { CatalogueTable } from '../../storage/catalogue-table.ts';

export interface QueueName {
  readonly topic: string;
  readonly partition: number;
}

export function queueNames(table: CatalogueTable): ReadonlyMap<number, QueueName> {
  const names = new Map<number, QueueName>();
  for (const { key, value } of table.list(topicKeyPrefix)) {
    const topic = key.slice(topicKeyPrefix.length);
    try {
      for (const { index, queue } of decodeTopicRecord(value).partitions) {
        names.set(queue, { topic, partition: index });
      }
    } catch {
      // A topic of a newer version, or none of ours: its queues stay numbers.
    }
  }
  return names;
}

/** `topic-partition`, or the queue's number. */
export function nameOf(names: ReadonlyMap<number, QueueName>, queue: number): string {
  const name = names.get(queue);
  return name === undefined ? `queue ${queue}` : `${name.topic}-${name.partition}`;
}
