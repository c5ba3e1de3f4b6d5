/**
 * EndTxn, versions 0 to 5. 2: the error PRODUCER_FENCED; 3: flexible; 4: the error TRANSACTION_ABORTABLE; 5: each end raises the
 * producer's epoch, and the answer says to what (KIP-890, transaction.version 2).
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type EndTxnRequest,
  type EndTxnResponseInput,
  endTxnRequest,
  endTxnResponse,
} from '../../protocol/generated/26-end-txn.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import { defineHandler } from './handler.ts';
import { fencedErrorFor, producerOf } from './transaction-producers.ts';

export interface EndTxnServices {
  readonly transactions: Pick<TransactionCoordinator, 'endTransaction'>;
}

const firstVersionWithBump = 5;

export function endTxnHandler({ transactions }: EndTxnServices) {
  return defineHandler<EndTxnRequest, EndTxnResponseInput>({
    apiKey: 26,
    minVersion: 0,
    maxVersion: 5,
    request: endTxnRequest,
    response: endTxnResponse,
    async handle(request, { apiVersion }) {
      const answer = await transactions.endTransaction(
        request.transactionalId,
        producerOf(request),
        request.committed,
        apiVersion >= firstVersionWithBump,
      );
      if (answer.errorCode !== errorCodes.NONE) {
        return { throttleTimeMs: 0, errorCode: fencedErrorFor(apiVersion, answer.errorCode) };
      }
      const { producerId, producerEpoch } = answer;
      return apiVersion >= firstVersionWithBump
        ? { throttleTimeMs: 0, errorCode: errorCodes.NONE, producerId, producerEpoch }
        : { throttleTimeMs: 0, errorCode: errorCodes.NONE };
    },
    fail: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode }),
  });
}
