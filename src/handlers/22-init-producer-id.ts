/**
 * InitProducerId, versions 0 to 5 (6, with two-phase commit of KIP-939, is not stable). 2: flexible; 3: producer id and epoch of the
 * caller (KIP-360); 4: the error PRODUCER_FENCED; 5: the error TRANSACTION_ABORTABLE (KIP-890).
 *
 * Without a transactional id a new producer id with epoch 0 is the answer, whatever the caller had: as in Kafka, an idempotent
 * producer raises its epoch by itself. With one, a transaction that is open is aborted and the answer given at once, where Kafka has
 * the caller ask again with CONCURRENT_TRANSACTIONS.
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type InitProducerIdRequest,
  type InitProducerIdResponseInput,
  initProducerIdRequest,
  initProducerIdResponse,
} from '../../protocol/generated/22-init-producer-id.ts';
import { safeIntegerOrUndefined } from '../../protocol/wire/int64.ts';
import type { ProducerIds } from '../services/producers/producer-ids.ts';
import type { TransactionCoordinator } from '../services/transactions/transaction-coordinator.ts';
import type { Log } from '../util/log.ts';
import { defineHandler } from './handler.ts';

export interface InitProducerIdServices {
  readonly producerIds: ProducerIds;
  readonly transactions: Pick<TransactionCoordinator, 'initProducerId'>;
  readonly log: Log;
}

const none = -1;
const firstVersionWithFenced = 4;

export function initProducerIdHandler({ producerIds, transactions, log }: InitProducerIdServices) {
  return defineHandler<InitProducerIdRequest, InitProducerIdResponseInput>({
    apiKey: 22,
    minVersion: 0,
    maxVersion: 5,
    request: initProducerIdRequest,
    response: initProducerIdResponse,
    handle(request, { apiVersion }) {
      // Both or none.
      if ((request.producerId === none) !== (request.producerEpoch === none))
        return refusal(errorCodes.INVALID_REQUEST);
      return request.transactionalId === null ? allocate() : initialize(request, apiVersion);
    },
    fail: (_request, errorCode) => refusal(errorCode),
  });

  async function initialize(
    { transactionalId, transactionTimeoutMs, producerId, producerEpoch }: InitProducerIdRequest,
    version: number,
  ): Promise<InitProducerIdResponseInput> {
    // An id that no number holds exactly was never given out.
    const known = safeIntegerOrUndefined(producerId) ?? Number.MAX_SAFE_INTEGER;
    const expected = known === none ? undefined : { producerId: known, producerEpoch };
    const answer = await transactions.initProducerId(transactionalId!, transactionTimeoutMs, expected);
    const errorCode =
      answer.errorCode === errorCodes.PRODUCER_FENCED && version < firstVersionWithFenced
        ? errorCodes.INVALID_PRODUCER_EPOCH
        : answer.errorCode;
    if (errorCode !== errorCodes.NONE) return refusal(errorCode);
    return {
      throttleTimeMs: 0,
      errorCode,
      producerId: answer.producerId,
      producerEpoch: answer.producerEpoch,
    };
  }

  async function allocate(): Promise<InitProducerIdResponseInput> {
    try {
      const producerId = await producerIds.allocate();
      return { throttleTimeMs: 0, errorCode: errorCodes.NONE, producerId, producerEpoch: 0 };
    } catch (error) {
      log.error({ error }, 'no producer id can be given out');
      // What Kafka answers while it has no block: the client asks again.
      return refusal(errorCodes.COORDINATOR_LOAD_IN_PROGRESS);
    }
  }
}

function refusal(errorCode: number): InitProducerIdResponseInput {
  return { throttleTimeMs: 0, errorCode, producerId: none, producerEpoch: none };
}
