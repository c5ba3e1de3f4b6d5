/**
 * AddOffsetsToTxn, versions 0 to 4: a transaction will commit offsets of a group. 2: the error PRODUCER_FENCED; 3: flexible; 4: the
 * error TRANSACTION_ABORTABLE.
 */
import {
  type AddOffsetsToTxnRequest,
  type AddOffsetsToTxnResponseInput,
  addOffsetsToTxnRequest,
  addOffsetsToTxnResponse,
} from '../../protocol/generated/25-add-offsets-to-txn.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import { defineHandler } from './handler.ts';
import { fencedErrorFor, producerOf } from './transaction-producers.ts';

export interface AddOffsetsToTxnServices {
  readonly transactions: Pick<TransactionCoordinator, 'addOffsets'>;
}

export function addOffsetsToTxnHandler({ transactions }: AddOffsetsToTxnServices) {
  return defineHandler<AddOffsetsToTxnRequest, AddOffsetsToTxnResponseInput>({
    apiKey: 25,
    minVersion: 0,
    maxVersion: 4,
    request: addOffsetsToTxnRequest,
    response: addOffsetsToTxnResponse,
    async handle(request, { apiVersion }) {
      const { transactionalId, groupId } = request;
      const errorCode = await transactions.addOffsets(transactionalId, producerOf(request), groupId);
      return {
        throttleTimeMs: 0,
        errorCode: fencedErrorFor(apiVersion, errorCode),
      };
    },
    fail: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode }),
  });
}
