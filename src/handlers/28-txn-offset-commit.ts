/**
 * TxnOffsetCommit, versions 0 to 6.
 *
 * 2     leader epoch
 * 3     flexible; member id, generation and instance id, which fence by group (KIP-447)
 * 4     the error TRANSACTION_ABORTABLE
 * 5     the group is added to the transaction by this request (KIP-890, transaction.version 2)
 * 6     topic ids
 *
 * The offsets count when the transaction is committed.
 */
import { type ErrorCode, errorCodes } from '../../protocol/error-codes.ts';
import {
  type TxnOffsetCommitRequest,
  type TxnOffsetCommitRequestTxnOffsetCommitRequestTopic,
  type TxnOffsetCommitResponseInput,
  txnOffsetCommitRequest,
  txnOffsetCommitResponse,
} from '../../protocol/generated/28-txn-offset-commit.ts';
import type { CommittedTopic, OffsetCommitAnswer } from '../services/groups/offset-commits.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import { defineHandler } from './handler.ts';
import { producerOf } from './transaction-producers.ts';

export interface TxnOffsetCommitServices {
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly transactions: Pick<TransactionCoordinator, 'commitOffsets'>;
}

const firstVersionWithTopicIds = 6;

/** Beside each topic asked for: what goes to the coordinator, and the error of each partition known before. */
interface CheckedTopic {
  readonly asked: TxnOffsetCommitRequestTxnOffsetCommitRequestTopic;
  readonly errors: (ErrorCode | undefined)[];
  readonly committed: CommittedTopic | undefined;
}

export function txnOffsetCommitHandler({ topics, transactions }: TxnOffsetCommitServices) {
  return defineHandler<TxnOffsetCommitRequest, TxnOffsetCommitResponseInput>({
    apiKey: 28,
    minVersion: 0,
    maxVersion: 6,
    request: txnOffsetCommitRequest,
    response: txnOffsetCommitResponse,
    async handle(request, { apiVersion }) {
      const checked = request.topics.map((topic) => check(topic, apiVersion));
      const committed = checked.flatMap((topic) => (topic.committed === undefined ? [] : [topic.committed]));
      if (committed.length === 0) return answer(checked, { errorCode: errorCodes.NONE, topics: [] });
      const commit = {
        ...producerOf(request),
        groupId: request.groupId,
        memberId: request.memberId,
        groupInstanceId: request.groupInstanceId,
        generationId: request.generationIdOrMemberEpoch,
        topics: committed,
      };
      return answer(checked, await transactions.commitOffsets(request.transactionalId, commit, apiVersion));
    },
    fail: (request, errorCode) => ({
      throttleTimeMs: 0,
      topics: request.topics.map((topic) => ({
        name: topic.name,
        topicId: topic.topicId,
        partitions: topic.partitions.map(({ partitionIndex }) => ({ partitionIndex, errorCode })),
      })),
    }),
  });

  function check(asked: TxnOffsetCommitRequestTxnOffsetCommitRequestTopic, version: number): CheckedTopic {
    const byId = version >= firstVersionWithTopicIds;
    const topic = byId ? topics.byId(asked.topicId) : topics.get(asked.name);
    const errors: (ErrorCode | undefined)[] = [];
    const partitions: CommittedTopic['partitions'][number][] = [];
    for (const partition of asked.partitions) {
      if (topic === undefined) {
        errors.push(byId ? errorCodes.UNKNOWN_TOPIC_ID : errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
      } else if (topic.partitions[partition.partitionIndex] === undefined) {
        errors.push(errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
      } else {
        errors.push(undefined);
        partitions.push({
          partitionIndex: partition.partitionIndex,
          offset: partition.committedOffset,
          leaderEpoch: partition.committedLeaderEpoch,
          metadata: partition.committedMetadata,
          commitTimestampMs: -1,
        });
      }
    }
    const committed =
      topic === undefined || partitions.length === 0
        ? undefined
        : { name: topic.name, topicId: topic.id, partitions };
    return { asked, errors, committed };
  }
}

function answer(checked: readonly CheckedTopic[], result: OffsetCommitAnswer): TxnOffsetCommitResponseInput {
  const forAll = 'topics' in result ? undefined : result.errorCode;
  let next = 0;
  return {
    throttleTimeMs: 0,
    topics: checked.map(({ asked, errors, committed }) => {
      const results = committed === undefined || !('topics' in result) ? [] : (result.topics[next++] ?? []);
      let nextResult = 0;
      return {
        name: asked.name,
        topicId: asked.topicId,
        partitions: asked.partitions.map(({ partitionIndex }, index) => ({
          partitionIndex,
          errorCode: errors[index] ?? forAll ?? results[nextResult++] ?? errorCodes.UNKNOWN_SERVER_ERROR,
        })),
      };
    }),
  };
}
