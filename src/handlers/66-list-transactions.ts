/**
 * ListTransactions 0 to 2 (KIP-664, KIP-994, KIP-1152): transactional ids by state, producer id, duration (1) and a pattern (2).
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type ListTransactionsRequest,
  type ListTransactionsResponseInput,
  listTransactionsRequest,
  listTransactionsResponse,
} from '../../protocol/generated/66-list-transactions.ts';
import { safeIntegerOrUndefined } from '../../protocol/wire/int64.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import { transactionStates } from '../services/transactions/transaction-records.ts';
import { linearPattern } from '../util/linear-pattern.ts';
import { defineHandler } from './handler.ts';

export interface ListTransactionsServices {
  readonly transactions: Pick<TransactionCoordinator, 'list'>;
}

const knownStates: ReadonlySet<string> = new Set(transactionStates);

export function listTransactionsHandler({ transactions }: ListTransactionsServices) {
  return defineHandler<ListTransactionsRequest, ListTransactionsResponseInput>({
    apiKey: 66,
    minVersion: 0,
    maxVersion: 2,
    request: listTransactionsRequest,
    response: listTransactionsResponse,
    async handle(request) {
      const pattern = request.transactionalIdPattern ?? '';
      const compiled = pattern === '' ? undefined : linearPattern(pattern);
      if (compiled === 'invalid') return failure(errorCodes.INVALID_REGULAR_EXPRESSION);
      const unknownStateFilters = request.stateFilters.filter((state) => !knownStates.has(state));
      const states = new Set(request.stateFilters);
      const { errorCode, transactions: listed } = await transactions.list({
        states,
        // An id that no number holds exactly belongs to nobody.
        producerIds: new Set(
          request.producerIdFilters.map((id) => safeIntegerOrUndefined(id) ?? Number.MAX_SAFE_INTEGER),
        ),
        durationMs: safeIntegerOrUndefined(request.durationFilter) ?? Number.MAX_SAFE_INTEGER,
        matches: (transactionalId) => compiled === undefined || compiled(transactionalId),
      });
      return {
        throttleTimeMs: 0,
        errorCode,
        unknownStateFilters,
        transactionStates: listed.map(({ transactionalId, state }) => ({
          transactionalId,
          producerId: state.producerId,
          transactionState: state.state,
        })),
      };
    },
    fail: (_request, errorCode) => failure(errorCode),
  });
}

function failure(errorCode: number): ListTransactionsResponseInput {
  return { throttleTimeMs: 0, errorCode, unknownStateFilters: [], transactionStates: [] };
}
