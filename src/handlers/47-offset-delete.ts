/** OffsetDelete, version 0 (KIP-496): takes back committed offsets of topics that the group does not consume at the moment. */
import { type ErrorCode, errorCodes } from '../../protocol/error-codes.ts';
import {
  type OffsetDeleteRequest,
  type OffsetDeleteResponseInput,
  offsetDeleteRequest,
  offsetDeleteResponse,
} from '../../protocol/generated/47-offset-delete.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import { defineHandler } from './handler.ts';

export interface OffsetDeleteServices {
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly groups: Pick<GroupCoordinator, 'deleteOffsets'>;
}

export function offsetDeleteHandler({ topics, groups }: OffsetDeleteServices) {
  return defineHandler<OffsetDeleteRequest, OffsetDeleteResponseInput>({
    apiKey: 47,
    minVersion: 0,
    maxVersion: 0,
    request: offsetDeleteRequest,
    response: offsetDeleteResponse,
    async handle(request) {
      const asked = request.topics.map(({ name, partitions }) => {
        const topic = topics.get(name);
        const indexes = partitions.map(({ partitionIndex }) => partitionIndex);
        return { name, indexes, existing: indexes.filter((index) => topic?.partitions[index] !== undefined) };
      });
      const known = asked.filter(({ existing }) => existing.length > 0);
      const answer = await groups.deleteOffsets(
        request.groupId,
        known.map(({ name, existing }) => ({ name, partitionIndexes: existing })),
      );
      if (!('topics' in answer)) return failure(answer.errorCode);
      let next = 0;
      return {
        errorCode: errorCodes.NONE,
        throttleTimeMs: 0,
        topics: asked.map(({ name, indexes, existing }) => {
          const errors = existing.length > 0 ? (answer.topics[next++] ?? []) : [];
          const errorOf = new Map<number, ErrorCode>(existing.map((index, place) => [index, errors[place]!]));
          return {
            name,
            partitions: indexes.map((partitionIndex) => ({
              partitionIndex,
              errorCode: errorOf.get(partitionIndex) ?? errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
            })),
          };
        }),
      };
    },
    fail: (_request, errorCode) => failure(errorCode),
  });
}

function failure(errorCode: number): OffsetDeleteResponseInput {
  return { errorCode, throttleTimeMs: 0, topics: [] };
}
