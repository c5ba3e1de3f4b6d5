/**
 * ListOffsets, versions 0 to 11.
 *
 * 0     a list of offsets before a time, largest first; gone from Kafka 4, which counts by its segments
 * 1     one offset a partition, and its timestamp
 * 2     isolation level, throttle time
 * 4     leader epochs
 * 6     flexible
 * 7     timestamp -3 (largest timestamp); 8: -4 (earliest local); 9: -5 (latest tiered); 11: -6 (earliest pending upload)
 * 10    a timeout for looking into tiered storage, of which there is none
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type ListOffsetsRequest,
  type ListOffsetsRequestListOffsetsPartition,
  type ListOffsetsResponseInput,
  type ListOffsetsResponseListOffsetsPartitionResponseInput,
  listOffsetsRequest,
  listOffsetsResponse,
} from '../../protocol/generated/02-list-offsets.ts';
import {
  type FoundOffset,
  failedLookup,
  type OffsetLookup,
  specialTimestamps,
} from '../services/fetch/offset-lookup.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import type { QueueId } from '../storage/engine.ts';
import { defineHandler } from './handler.ts';

export interface ListOffsetsServices {
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly fetches: { readonly offsets: OffsetLookup };
}

const readCommitted = 1;
const noLeaderEpoch = -1;
const firstVersionWithLeaderEpoch = 4;

/** The first version in which each special timestamp means something. */
const firstVersionOf: ReadonlyMap<number | bigint, number> = new Map([
  [specialTimestamps.latest, 0],
  [specialTimestamps.earliest, 0],
  [specialTimestamps.maxTimestamp, 7],
  [specialTimestamps.earliestLocal, 8],
  [specialTimestamps.latestTiered, 9],
  [specialTimestamps.earliestPendingUpload, 11],
]);

export function listOffsetsHandler({ topics, fetches }: ListOffsetsServices) {
  const offsets = fetches.offsets;
  return defineHandler<ListOffsetsRequest, ListOffsetsResponseInput>({
    apiKey: 2,
    minVersion: 0,
    maxVersion: 11,
    request: listOffsetsRequest,
    response: listOffsetsResponse,
    async handle(request, context) {
      const version = context.apiVersion;
      const isReadCommitted = request.isolationLevel === readCommitted;
      const repeated = repeatedPartitions(request);
      const answers = request.topics.map(async ({ name, partitions }) => {
        const topic = topics.get(name);
        const rows = onceEach(partitions, version).map(async (asked) => {
          const queue = topic?.partitions[asked.partitionIndex]?.queue;
          if (version === 0) return oldRow(asked, queue);
          if (repeated.has(`${name} ${asked.partitionIndex}`)) return row(asked, errorCodes.INVALID_REQUEST);
          if (
            asked.timestamp < 0 &&
            !(version >= (firstVersionOf.get(asked.timestamp) ?? Number.POSITIVE_INFINITY))
          ) {
            return row(asked, errorCodes.UNSUPPORTED_VERSION);
          }
          if (queue === undefined) return row(asked, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
          const { timestamp, currentLeaderEpoch } = asked;
          const found = await offsets.find(queue, { timestamp, currentLeaderEpoch, isReadCommitted });
          return rowOf(
            asked,
            version >= firstVersionWithLeaderEpoch ? found : { ...found, leaderEpoch: noLeaderEpoch },
          );
        });
        return { name, partitions: await Promise.all(rows) };
      });
      return { topics: await Promise.all(answers) };
    },
    fail: (request, errorCode) => ({
      topics: request.topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map((asked) => row(asked, errorCode)),
      })),
    }),
  });

  /** Version 0: the offset asked for and, where more are wanted, the log's start. */
  async function oldRow(
    asked: ListOffsetsRequestListOffsetsPartition,
    queue: QueueId | undefined,
  ): Promise<ListOffsetsResponseListOffsetsPartitionResponseInput> {
    if (queue === undefined) return row(asked, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    const find = (timestamp: number | bigint) =>
      offsets.find(queue, { timestamp, currentLeaderEpoch: noLeaderEpoch, isReadCommitted: false });
    const [start, end] = [await find(specialTimestamps.earliest), await find(specialTimestamps.latest)];
    if (start.errorCode !== errorCodes.NONE) return row(asked, start.errorCode);
    const list: number[] = [];
    if (asked.timestamp === specialTimestamps.latest) list.push(end.offset);
    else if (asked.timestamp >= 0) {
      const found = await find(asked.timestamp);
      if (found.errorCode !== errorCodes.NONE) return row(asked, found.errorCode);
      list.push(found.offset >= 0 ? found.offset : end.offset);
    }
    if (list[0] !== start.offset) list.push(start.offset);
    return {
      partitionIndex: asked.partitionIndex,
      errorCode: errorCodes.NONE,
      oldStyleOffsets: list.slice(0, Math.max(0, asked.maxNumOffsets)),
    };
  }
}

function row(
  asked: ListOffsetsRequestListOffsetsPartition,
  errorCode: number,
): ListOffsetsResponseListOffsetsPartitionResponseInput {
  return rowOf(asked, failedLookup(errorCode));
}

function rowOf(
  asked: ListOffsetsRequestListOffsetsPartition,
  { errorCode, timestamp, offset, leaderEpoch }: FoundOffset,
): ListOffsetsResponseListOffsetsPartitionResponseInput {
  return {
    partitionIndex: asked.partitionIndex,
    errorCode,
    oldStyleOffsets: [],
    timestamp,
    offset,
    leaderEpoch,
  };
}

/** Each partition once, as Kafka answers what is repeated; version 0 may well ask for one at several times. */
function onceEach(
  partitions: readonly ListOffsetsRequestListOffsetsPartition[],
  version: number,
): readonly ListOffsetsRequestListOffsetsPartition[] {
  if (version === 0) return partitions;
  return [...new Map(partitions.map((asked) => [asked.partitionIndex, asked])).values()];
}

/** Partitions that a request names twice are answered with an error. */
function repeatedPartitions(request: ListOffsetsRequest): ReadonlySet<string> {
  const seen = new Set<string>();
  const repeated = new Set<string>();
  for (const { name, partitions } of request.topics) {
    for (const { partitionIndex } of partitions) {
      const key = `${name} ${partitionIndex}`;
      if (seen.has(key)) repeated.add(key);
      seen.add(key);
    }
  }
  return repeated;
}
