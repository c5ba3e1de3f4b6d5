/**
 * DescribeTopicPartitions, version 0: topics in name order, partition by partition, with a cursor where the answer would grow too
 * large (KIP-966).
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import type {
  DescribeTopicPartitionsRequest,
  DescribeTopicPartitionsResponseCursorInput,
  DescribeTopicPartitionsResponseDescribeTopicPartitionsResponseTopicInput,
  DescribeTopicPartitionsResponseInput,
} from '../../protocol/generated/75-describe-topic-partitions.ts';
import {
  describeTopicPartitionsRequest,
  describeTopicPartitionsResponse,
} from '../../protocol/generated/75-describe-topic-partitions.ts';
import { ZERO_UUID } from '../../protocol/wire/uuid.ts';
import { isInternalTopic } from '../services/topics/internal-topics.ts';
import { topicNameFault } from '../services/topics/topic-name.ts';
import { authorizedOperations } from './authorized-operations.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

type TopicAnswer = DescribeTopicPartitionsResponseDescribeTopicPartitionsResponseTopicInput;

export function describeTopicPartitionsHandler({
  config,
  engine,
  topics,
}: Pick<Services, 'config' | 'engine' | 'topics'>): AnyHandler {
  const nodeId = config.int('node.id');
  const replicas = [nodeId];

  function refused(
    request: DescribeTopicPartitionsRequest,
    errorCode: number,
  ): DescribeTopicPartitionsResponseInput {
    return {
      throttleTimeMs: 0,
      topics: request.topics.map(({ name }) => ({ errorCode, name, topicId: ZERO_UUID, partitions: [] })),
    };
  }

  function missing(name: string): TopicAnswer {
    const code =
      topicNameFault(name) === undefined ? 'UNKNOWN_TOPIC_OR_PARTITION' : 'INVALID_TOPIC_EXCEPTION';
    return {
      errorCode: errorCodes[code],
      name,
      topicId: ZERO_UUID,
      isInternal: isInternalTopic(name),
      partitions: [],
      topicAuthorizedOperations: authorizedOperations.topic,
    };
  }

  return defineHandler<DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponseInput>({
    apiKey: 75,
    minVersion: 0,
    maxVersion: 0,
    request: describeTopicPartitionsRequest,
    response: describeTopicPartitionsResponse,
    handle(request) {
      const { cursor } = request;
      const names =
        request.topics.length === 0
          ? topics.all().map(({ name }) => name)
          : [...new Set(request.topics.map(({ name }) => name))].sort((a, b) => (a < b ? -1 : 1));
      const firstName = cursor?.topicName ?? '';
      const following = names.filter((name) => name >= firstName);
      if (cursor != null) {
        const isAsked = request.topics.length === 0 || following[0] === firstName;
        if (cursor.partitionIndex < 0 || !isAsked) return refused(request, errorCodes.INVALID_REQUEST);
      }
      const limit = Math.min(config.int('max.request.partition.size.limit'), request.responsePartitionLimit);
      let left = Math.max(1, limit);
      const answers: TopicAnswer[] = [];
      let nextCursor: DescribeTopicPartitionsResponseCursorInput | null = null;
      for (const name of following) {
        const topic = topics.get(name);
        if (topic === undefined) {
          answers.push(missing(name));
          continue;
        }
        const from = cursor != null && name === firstName ? cursor.partitionIndex : 0;
        if (left === 0) {
          nextCursor = { topicName: name, partitionIndex: from };
          break;
        }
        const taken = topic.partitions.slice(from, from + left);
        left -= taken.length;
        answers.push({
          errorCode: errorCodes.NONE,
          name,
          topicId: topic.id,
          isInternal: topic.isInternal,
          partitions: taken.map(({ index }) => ({
            errorCode: errorCodes.NONE,
            partitionIndex: index,
            leaderId: nodeId,
            leaderEpoch: engine.epoch,
            replicaNodes: replicas,
            isrNodes: replicas,
            eligibleLeaderReplicas: [],
            lastKnownElr: [],
            offlineReplicas: [],
          })),
          topicAuthorizedOperations: authorizedOperations.topic,
        });
        if (from + taken.length < topic.partitions.length) {
          nextCursor = { topicName: name, partitionIndex: from + taken.length };
          break;
        }
      }
      return { throttleTimeMs: 0, topics: answers, nextCursor };
    },
    fail: refused,
  });
}
