/** What the requests of transactional producers have in common. */
import { type ErrorCode, errorCodes } from '../../protocol/error-codes.ts';
import { type Int64, safeIntegerOrUndefined } from '../../protocol/wire/int64.ts';
import type { ProducerIdAndEpoch } from '../services/transactions/transaction-state-machine.ts';

/** An id that no number holds exactly was never given out. */
export function producerOf(request: {
  readonly producerId: Int64;
  readonly producerEpoch: number;
}): ProducerIdAndEpoch {
  return {
    producerId: safeIntegerOrUndefined(request.producerId) ?? Number.MAX_SAFE_INTEGER,
    producerEpoch: request.producerEpoch,
  };
}

/** Versions of AddPartitionsToTxn, AddOffsetsToTxn and EndTxn from which on a client knows PRODUCER_FENCED. */
const firstVersionWithFenced = 2;

/** Clients of old know of a newer producer by the error of its epoch. */
export function fencedErrorFor(version: number, errorCode: ErrorCode): ErrorCode {
  return errorCode === errorCodes.PRODUCER_FENCED && version < firstVersionWithFenced
    ? errorCodes.INVALID_PRODUCER_EPOCH
    : errorCode;
}
