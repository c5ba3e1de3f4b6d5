/**
 * DeleteRecords, versions 0 to 2: moves the start of partitions forward. Durable when it is answered; the timeout is not looked at,
 * since no other copy is waited for.
 *
 * 1: throttling rules only. 2: flexible.
 *
 * Offset -1 is the high watermark. Topics that are only compacted, and internal ones, are refused, as in Kafka.
 */

import { type ErrorCode, errorCodes } from '../../protocol/error-codes.ts';
import type {
  DeleteRecordsRequest,
  DeleteRecordsResponseDeleteRecordsPartitionResultInput,
  DeleteRecordsResponseInput,
} from '../../protocol/generated/21-delete-records.ts';
import { deleteRecordsRequest, deleteRecordsResponse } from '../../protocol/generated/21-delete-records.ts';
import { type Int64, safeIntegerOrUndefined } from '../../protocol/wire/int64.ts';
import type { Topic } from '../services/topics/topic.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

type PartitionResult = DeleteRecordsResponseDeleteRecordsPartitionResultInput;

const highWatermark = -1;
const noLowWatermark = -1;

export function deleteRecordsHandler({ engine, topics }: Pick<Services, 'engine' | 'topics'>): AnyHandler {
  function refused(partitionIndex: number, errorCode: ErrorCode): PartitionResult {
    return { partitionIndex, lowWatermark: noLowWatermark, errorCode };
  }

  async function deleteBefore(
    topic: Topic | undefined,
    index: number,
    offset: Int64,
  ): Promise<PartitionResult> {
    if (topic?.isInternal) return refused(index, errorCodes.INVALID_TOPIC_EXCEPTION);
    const partition = topic?.partitions[index];
    if (topic === undefined || partition === undefined) {
      return refused(index, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    }
    if (topic.settings.cleanupCompact && !topic.settings.cleanupDelete) {
      return refused(index, errorCodes.POLICY_VIOLATION);
    }
    const bounds = await engine.bounds(partition.queue);
    if (bounds === undefined) return refused(index, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    const asked = safeIntegerOrUndefined(offset);
    const target = asked === highWatermark ? bounds.visibleEndOffset : asked;
    if (target === undefined || target < 0 || target > bounds.visibleEndOffset) {
      return refused(index, errorCodes.OFFSET_OUT_OF_RANGE);
    }
    const after = target <= bounds.startOffset ? bounds : await engine.trim(partition.queue, target);
    if (after === undefined) return refused(index, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    return { partitionIndex: index, lowWatermark: after.startOffset, errorCode: errorCodes.NONE };
  }

  return defineHandler<DeleteRecordsRequest, DeleteRecordsResponseInput>({
    apiKey: 21,
    minVersion: 0,
    maxVersion: 2,
    request: deleteRecordsRequest,
    response: deleteRecordsResponse,
    async handle(request) {
      return {
        throttleTimeMs: 0,
        topics: await Promise.all(
          request.topics.map(async ({ name, partitions }) => {
            const topic = topics.get(name);
            return {
              name,
              partitions: await Promise.all(
                partitions.map(({ partitionIndex, offset }) => deleteBefore(topic, partitionIndex, offset)),
              ),
            };
          }),
        ),
      };
    },
    fail: (request, errorCode) => ({
      throttleTimeMs: 0,
      topics: request.topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map(({ partitionIndex }) => refused(partitionIndex, errorCode as ErrorCode)),
      })),
    }),
  });
}
