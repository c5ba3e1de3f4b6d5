/**
 * OffsetForLeaderEpoch, versions 0 to 4: where a leader epoch ended, so that a client can see whether it read what is no longer
 * there (KIP-320). 1: the epoch found; 2: the client's current epoch; 3: replica id; 4: flexible.
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type OffsetForLeaderEpochRequest,
  type OffsetForLeaderEpochRequestOffsetForLeaderPartition,
  type OffsetForLeaderEpochResponseEpochEndOffsetInput,
  type OffsetForLeaderEpochResponseInput,
  offsetForLeaderEpochRequest,
  offsetForLeaderEpochResponse,
} from '../../protocol/generated/23-offset-for-leader-epoch.ts';
import { checkLeaderEpoch, epochEnd } from '../services/fetch/leader-epoch.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import type { QueueId, StorageEngine } from '../storage/engine.ts';
import { defineHandler } from './handler.ts';

export interface OffsetForLeaderEpochServices {
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly engine: StorageEngine;
}

type Asked = OffsetForLeaderEpochRequestOffsetForLeaderPartition;
type Row = OffsetForLeaderEpochResponseEpochEndOffsetInput;

export function offsetForLeaderEpochHandler({ topics, engine }: OffsetForLeaderEpochServices) {
  return defineHandler<OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponseInput>({
    apiKey: 23,
    minVersion: 0,
    maxVersion: 4,
    request: offsetForLeaderEpochRequest,
    response: offsetForLeaderEpochResponse,
    async handle(request) {
      const answers = request.topics.map(async ({ topic, partitions }) => {
        const found = topics.get(topic);
        const rows = partitions.map((asked) => find(asked, found?.partitions[asked.partition]?.queue));
        return { topic, partitions: await Promise.all(rows) };
      });
      return { topics: await Promise.all(answers) };
    },
    fail: (request, errorCode) => ({
      topics: request.topics.map(({ topic, partitions }) => ({
        topic,
        partitions: partitions.map((asked) => failure(asked, errorCode)),
      })),
    }),
  });

  async function find(asked: Asked, queue: QueueId | undefined): Promise<Row> {
    if (queue === undefined) return failure(asked, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    const epochError = checkLeaderEpoch(asked.currentLeaderEpoch, engine.epoch);
    if (epochError !== errorCodes.NONE) return failure(asked, epochError);
    const bounds = await engine.bounds(queue);
    if (bounds === undefined) return failure(asked, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    const { epoch, endOffset } = await epochEnd(engine, queue, bounds, asked.leaderEpoch);
    return { partition: asked.partition, errorCode: errorCodes.NONE, leaderEpoch: epoch, endOffset };
  }
}

function failure(asked: Asked, errorCode: number): Row {
  return { partition: asked.partition, errorCode, leaderEpoch: -1, endOffset: -1 };
}
