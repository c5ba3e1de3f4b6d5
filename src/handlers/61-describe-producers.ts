/** DescribeProducers 0 (KIP-664): who writes to partitions, and where the transactions begin that are open there. */
import { type ErrorCode, errorCodes } from '../../protocol/error-codes.ts';
import {
  type DescribeProducersRequest,
  type DescribeProducersResponseInput,
  type DescribeProducersResponsePartitionResponseInput,
  describeProducersRequest,
  describeProducersResponse,
} from '../../protocol/generated/61-describe-producers.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import type { QueueId, StorageEngine } from '../storage/engine.ts';
import { defineHandler } from './handler.ts';

export interface DescribeProducersServices {
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly engine: Pick<StorageEngine, 'producers'>;
  readonly transactions: Pick<TransactionCoordinator, 'openIn' | 'coordinatorEpoch'>;
}

const none = -1;

export function describeProducersHandler({ topics, engine, transactions }: DescribeProducersServices) {
  return defineHandler<DescribeProducersRequest, DescribeProducersResponseInput>({
    apiKey: 61,
    minVersion: 0,
    maxVersion: 0,
    request: describeProducersRequest,
    response: describeProducersResponse,
    handle: (request) => ({
      throttleTimeMs: 0,
      topics: request.topics.map(({ name, partitionIndexes }) => {
        const topic = topics.get(name);
        return {
          name,
          partitions: partitionIndexes.map((partitionIndex) => {
            const queue = topic?.partitions[partitionIndex]?.queue;
            return queue === undefined
              ? // In Kafka's words: a topic that is not there has some, a partition has none.
                failure(
                  partitionIndex,
                  errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
                  topic === undefined ? 'This server does not host this topic-partition.' : null,
                )
              : describe(partitionIndex, queue);
          }),
        };
      }),
    }),
    fail: (request, errorCode) => ({
      throttleTimeMs: 0,
      topics: request.topics.map(({ name, partitionIndexes }) => ({
        name,
        partitions: partitionIndexes.map((index) => failure(index, errorCode as ErrorCode)),
      })),
    }),
  });

  function describe(partitionIndex: number, queue: QueueId): DescribeProducersResponsePartitionResponseInput {
    return {
      partitionIndex,
      errorCode: errorCodes.NONE,
      errorMessage: null,
      activeProducers: engine.producers(queue).map((producer) => {
        const open = transactions.openIn(queue, producer.producerId);
        return {
          producerId: producer.producerId,
          producerEpoch: producer.producerEpoch,
          lastSequence: producer.lastSequence,
          lastTimestamp: producer.lastTimestampMs,
          coordinatorEpoch: open === undefined ? none : transactions.coordinatorEpoch(open.transactionalId),
          currentTxnStartOffset: open?.firstOffset ?? none,
        };
      }),
    };
  }
}

function failure(
  partitionIndex: number,
  errorCode: ErrorCode,
  errorMessage: string | null = null,
): DescribeProducersResponsePartitionResponseInput {
  return { partitionIndex, errorCode, errorMessage, activeProducers: [] };
}
