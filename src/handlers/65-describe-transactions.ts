/** DescribeTransactions 0 (KIP-664): the state of transactional ids. */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type DescribeTransactionsRequest,
  type DescribeTransactionsResponseInput,
  type DescribeTransactionsResponseTransactionStateInput,
  describeTransactionsRequest,
  describeTransactionsResponse,
} from '../../protocol/generated/65-describe-transactions.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import { defineHandler } from './handler.ts';

export interface DescribeTransactionsServices {
  readonly transactions: Pick<TransactionCoordinator, 'describe'>;
}

export function describeTransactionsHandler({ transactions }: DescribeTransactionsServices) {
  return defineHandler<DescribeTransactionsRequest, DescribeTransactionsResponseInput>({
    apiKey: 65,
    minVersion: 0,
    maxVersion: 0,
    request: describeTransactionsRequest,
    response: describeTransactionsResponse,
    async handle({ transactionalIds }) {
      return { throttleTimeMs: 0, transactionStates: await Promise.all(transactionalIds.map(describe)) };
    },
    fail: ({ transactionalIds }, errorCode) => ({
      throttleTimeMs: 0,
      transactionStates: transactionalIds.map((id) => failure(id, errorCode)),
    }),
  });

  async function describe(
    transactionalId: string,
  ): Promise<DescribeTransactionsResponseTransactionStateInput> {
    if (transactionalId === '') return failure(transactionalId, errorCodes.INVALID_REQUEST);
    const { errorCode, transaction } = await transactions.describe(transactionalId);
    if (transaction === undefined) return failure(transactionalId, errorCode);
    const { state } = transaction;
    return {
      errorCode,
      transactionalId,
      transactionState: state.state,
      transactionTimeoutMs: state.timeoutMs,
      transactionStartTimeMs: state.startMs,
      producerId: state.producerId,
      producerEpoch: state.producerEpoch,
      topics: [...state.partitions].map(([topic, partitions]) => ({ topic, partitions: [...partitions] })),
    };
  }
}

/** As Kafka's message says what was not set. */
function failure(
  transactionalId: string,
  errorCode: number,
): DescribeTransactionsResponseTransactionStateInput {
  return {
    errorCode,
    transactionalId,
    transactionState: '',
    transactionTimeoutMs: 0,
    transactionStartTimeMs: 0,
    producerId: 0,
    producerEpoch: 0,
    topics: [],
  };
}
