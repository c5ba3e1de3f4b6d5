/** A dead letter as the entry that sends it on: the application's record again, with how often that was done. Reads, and appends nothing. */
import { batchMaxTimestamp, setBatchMaxTimestamp } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../../protocol/records/record-batch-builder.ts';
import { safeIntegerOrUndefined } from '../../../../protocol/wire/int64.ts';
import type { AppendEntry, StorageEngine } from '../../../storage/engine.ts';
import { partitionOfKey } from '../../../util/murmur2.ts';
import type { Partition, Topic, TopicDirectory } from '../../topics/topic.ts';
import type { FailedRecords } from '../retry/failed-records.ts';
import { ownHeaders, type RetriedRecord, retryBatch } from '../retry/retried-record.ts';
import { redriveTimesHeader } from '../retry/retry-headers.ts';
import type { FoundLetter } from './dead-letter-reader.ts';
import type { RedriveJob, SkipReason } from './redrive-job.ts';

export interface RedriveTopics {
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly engine: StorageEngine;
  /** rmq.retry.max.times and the retry topic of the group. */
  readonly retryOf: (group: string) => { readonly topic: string; readonly maxTimes: number };
}

/** The entry, or why the letter is left alone. */
export async function redrivenEntry(
  letter: FoundLetter,
  job: Pick<RedriveJob, 'to' | 'group' | 'maxRedrives'>,
  { topics, retryOf }: RedriveTopics,
  loader: FailedRecords,
  nowMs: number,
): Promise<{ readonly entry: AppendEntry; readonly topic: string } | { readonly skip: SkipReason }> {
  const { facts } = letter;
  if (facts.redriveTimes >= job.maxRedrives) return { skip: 'loop-guard' };
  const retry = retryOf(job.group);
  const name = job.to === 'origin' ? facts.origin?.topic : job.to === 'retry' ? retry.topic : job.to.topic;
  const topic = name === undefined ? undefined : topics.get(name);
  if (topic === undefined || topic.isInternal || !takes(topic, job.to)) return { skip: 'target-gone' };
  const record = letter.isWhole ? letter.record : await originalOf(letter, topics, loader);
  if (record === undefined) return { skip: 'no-record' };
  const partition = partitionOf(topic, letter, record, job.to === 'origin');
  if (partition === undefined) return { skip: 'target-gone' };
  const redriveTimes = facts.redriveTimes + 1;
  const payload =
    job.to === 'retry'
      ? retryBatch(record, { ...facts, times: 0, redriveTimes }, retry.maxTimes)
      : buildRecordBatch(
          [
            {
              key: record.key,
              value: record.value,
              timestamp: record.timestamp,
              headers: [
                ...ownHeaders(record.headers),
                { key: redriveTimesHeader, value: Buffer.from(String(redriveTimes)) },
              ],
            },
          ],
          { codec: record.codec },
        );
  let maxTimestampMs = Math.max(-1, safeIntegerOrUndefined(batchMaxTimestamp(payload, 0)) ?? -1);
  if (topic.settings.messageTimestampType === 'LogAppendTime') {
    maxTimestampMs = nowMs;
    setBatchMaxTimestamp(payload, 0, 'LogAppendTime', nowMs);
  }
  return {
    entry: { queue: partition.queue, kind: 'data', count: 1, maxTimestampMs, payload },
    topic: topic.name,
  };
}

/** Topics on which producing means something else, and such as keep dead letters, are no place to go on from. */
export function takes({ settings }: Topic, to: RedriveJob['to']): boolean {
  return settings.role === (to === 'retry' ? 'retry' : 'plain') && !settings.takesDeadLetters;
}

function partitionOf(
  topic: Topic,
  { facts, partition }: FoundLetter,
  { key }: RetriedRecord,
  isOrigin: boolean,
): Partition | undefined {
  if (isOrigin) return topic.partitions[facts.origin?.partition ?? -1];
  const count = topic.partitions.length;
  return topic.partitions[key === null ? partition % count : partitionOfKey(key, count)];
}

/** Of a letter that carries no record: what lies where it came from. */
async function originalOf(
  { facts: { origin } }: FoundLetter,
  topics: RedriveTopics['topics'],
  loader: FailedRecords,
): Promise<RetriedRecord | undefined> {
  const queue =
    origin === undefined ? undefined : topics.get(origin.topic)?.partitions[origin.partition]?.queue;
  if (origin === undefined || queue === undefined) return undefined;
  const loaded = await loader.load(queue, origin.offset);
  return 'record' in loaded ? loaded.record : undefined;
}
