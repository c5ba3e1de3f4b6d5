/** A topic as the engine's catalogue keeps it. Knows nothing of effective settings. */
import type { Partition } from './topic.ts';

export const topicKeyPrefix = 'topic/';

export interface TopicRecord {
  readonly id: string;
  readonly partitions: readonly Partition[];
  readonly overrides: ReadonlyMap<string, string>;
}

const formatVersion = 1;
const noOverrides: ReadonlyMap<string, string> = new Map();

/** [version, id, first queue, count, first queue, count, ..., {overrides}] as JSON: queue ids come in runs. */
export function encodeTopicRecord(record: TopicRecord): Buffer {
  const fields: unknown[] = [formatVersion, record.id];
  let runLength = 0;
  for (const [at, { queue }] of record.partitions.entries()) {
    if (runLength > 0 && queue === record.partitions[at - 1]!.queue + 1) {
      runLength += 1;
    } else {
      if (runLength > 0) fields.push(runLength);
      fields.push(queue);
      runLength = 1;
    }
  }
  if (runLength > 0) fields.push(runLength);
  fields.push(Object.fromEntries(record.overrides));
  return Buffer.from(JSON.stringify(fields));
}

/** Throws on bytes that this version did not write: an operating fault. */
export function decodeTopicRecord(value: Buffer): TopicRecord {
  const fields = JSON.parse(value.toString()) as unknown[];
  if (fields[0] !== formatVersion) throw new Error(`unknown format ${String(fields[0])} of a stored topic`);
  const partitions: Partition[] = [];
  for (let at = 2; at + 1 < fields.length; at += 2) {
    const first = fields[at] as number;
    const count = fields[at + 1] as number;
    for (let queue = first; queue < first + count; queue++)
      partitions.push({ index: partitions.length, queue });
  }
  const overrides = Object.entries(fields[fields.length - 1] as Record<string, string>);
  return {
    id: fields[1] as string,
    partitions,
    overrides: overrides.length === 0 ? noOverrides : new Map(overrides),
  };
}
