/**
 * AddPartitionsToTxn, versions 0 to 5.
 *
 * 0-3   one transaction; 2: the error PRODUCER_FENCED; 3: flexible
 * 4     many transactions in one request, and the question whether partitions are in one (KIP-890); from brokers in Kafka
 * 5     the error TRANSACTION_ABORTABLE is known to who asks
 *
 * Where one partition cannot be added none is; the others say OPERATION_NOT_ATTEMPTED.
 */
import { type ErrorCode, errorCodes } from '../../protocol/error-codes.ts';
import {
  type AddPartitionsToTxnRequest,
  type AddPartitionsToTxnRequestAddPartitionsToTxnTopic,
  type AddPartitionsToTxnRequestAddPartitionsToTxnTransaction,
  type AddPartitionsToTxnResponseAddPartitionsToTxnTopicResultInput,
  type AddPartitionsToTxnResponseInput,
  addPartitionsToTxnRequest,
  addPartitionsToTxnResponse,
} from '../../protocol/generated/24-add-partitions-to-txn.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import { defineHandler } from './handler.ts';
import { fencedErrorFor, producerOf } from './transaction-producers.ts';

export interface AddPartitionsToTxnServices {
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly transactions: Pick<TransactionCoordinator, 'addPartitions' | 'verifyPartitions'>;
}

type Transaction = AddPartitionsToTxnRequestAddPartitionsToTxnTransaction;
type TopicResult = AddPartitionsToTxnResponseAddPartitionsToTxnTopicResultInput;

const firstVersionWithMany = 4;
const firstVersionWithAbortable = 5;

export function addPartitionsToTxnHandler({ topics, transactions }: AddPartitionsToTxnServices) {
  return defineHandler<AddPartitionsToTxnRequest, AddPartitionsToTxnResponseInput>({
    apiKey: 24,
    minVersion: 0,
    maxVersion: 5,
    request: addPartitionsToTxnRequest,
    response: addPartitionsToTxnResponse,
    async handle(request, { apiVersion }) {
      const asked = transactionsOf(request, apiVersion);
      const results = await Promise.all(asked.map((one) => add(one, apiVersion)));
      return answer(request, apiVersion, results);
    },
    fail: (request, errorCode, { apiVersion }) =>
      apiVersion < firstVersionWithMany
        ? answer(request, apiVersion, [results(request.v3AndBelowTopics, () => errorCode as ErrorCode)])
        : { throttleTimeMs: 0, errorCode },
  });

  async function add(asked: Transaction, version: number): Promise<TopicResult[]> {
    const isMissing = (topic: string, partition: number): boolean =>
      topics.get(topic)?.partitions[partition] === undefined;
    const someMissing = asked.topics.some(({ name, partitions }) =>
      partitions.some((partition) => isMissing(name, partition)),
    );
    if (someMissing) {
      return results(asked.topics, (topic, partition) =>
        isMissing(topic, partition)
          ? errorCodes.UNKNOWN_TOPIC_OR_PARTITION
          : errorCodes.OPERATION_NOT_ATTEMPTED,
      );
    }
    const producer = producerOf(asked);
    if (!asked.verifyOnly) {
      const errorCode = await transactions.addPartitions(
        asked.transactionalId,
        producer,
        asked.topics,
        version >= firstVersionWithAbortable,
      );
      return results(asked.topics, () => fencedErrorFor(version, errorCode));
    }
    const verified = await transactions.verifyPartitions(asked.transactionalId, producer, asked.topics);
    return results(asked.topics, (_topic, _partition, topicAt, partitionAt) =>
      'topics' in verified ? verified.topics[topicAt]![partitionAt]! : verified.errorCode,
    );
  }
}

function transactionsOf(request: AddPartitionsToTxnRequest, version: number): readonly Transaction[] {
  if (version >= firstVersionWithMany) return request.transactions;
  return [
    {
      transactionalId: request.v3AndBelowTransactionalId,
      producerId: request.v3AndBelowProducerId,
      producerEpoch: request.v3AndBelowProducerEpoch,
      verifyOnly: false,
      topics: request.v3AndBelowTopics,
    },
  ];
}

function results(
  topics: readonly AddPartitionsToTxnRequestAddPartitionsToTxnTopic[],
  errorOf: (topic: string, partition: number, topicAt: number, partitionAt: number) => ErrorCode,
): TopicResult[] {
  return topics.map(({ name, partitions }, topicAt) => ({
    name,
    resultsByPartition: partitions.map((partition, partitionAt) => ({
      partitionIndex: partition,
      partitionErrorCode: errorOf(name, partition, topicAt, partitionAt),
    })),
  }));
}

function answer(
  request: AddPartitionsToTxnRequest,
  version: number,
  answered: readonly TopicResult[][],
): AddPartitionsToTxnResponseInput {
  if (version < firstVersionWithMany) {
    return { throttleTimeMs: 0, resultsByTopicV3AndBelow: answered[0] ?? [] };
  }
  return {
    throttleTimeMs: 0,
    errorCode: errorCodes.NONE,
    resultsByTransaction: request.transactions.map(({ transactionalId }, at) => ({
      transactionalId,
      topicResults: answered[at]!,
    })),
  };
}
