/** What a Produce request's partition comes to: the words in which services/append answers. Knows nothing of the wire. */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type { AppendResult, RefusalReason } from '../../storage/engine.ts';

/** One record that was the reason for refusing its batch (Produce 8 and above show it; KIP-467). */
export interface RecordFault {
  readonly batchIndex: number;
  readonly batchIndexErrorMessage: string;
}

export const noRecordFaults: readonly RecordFault[] = [];

/** The answer for one partition. A shape that a Produce answer can carry as it is. */
export interface PartitionAppendResult {
  readonly index: number;
  readonly errorCode: number;
  /** -1 on errors, and where the record has no offset that the client may know yet. */
  readonly baseOffset: number;
  /** -1 unless the broker gave the timestamps (or, as in Kafka, where the batch is a duplicate). */
  readonly logAppendTimeMs: number;
  readonly logStartOffset: number;
  readonly recordErrors: readonly RecordFault[];
  readonly errorMessage: string | null;
}

export function failedAppend(
  index: number,
  errorCode: number,
  errorMessage: string | null = null,
  recordErrors: readonly RecordFault[] = noRecordFaults,
): PartitionAppendResult {
  return {
    index,
    errorCode,
    baseOffset: -1,
    logAppendTimeMs: -1,
    logStartOffset: -1,
    recordErrors,
    errorMessage,
  };
}

export function succeededAppend(
  index: number,
  baseOffset: number,
  logAppendTimeMs: number,
  logStartOffset: number,
): PartitionAppendResult {
  return {
    index,
    errorCode: errorCodes.NONE,
    baseOffset,
    logAppendTimeMs,
    logStartOffset,
    recordErrors: noRecordFaults,
    errorMessage: null,
  };
}

const refusalErrors: Readonly<Record<RefusalReason, number>> = {
  'unknown-queue': errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
  'out-of-order-sequence': errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER,
  'stale-producer-epoch': errorCodes.INVALID_PRODUCER_EPOCH,
  'condition-failed': errorCodes.UNKNOWN_SERVER_ERROR,
  'stale-lease': errorCodes.NOT_LEADER_OR_FOLLOWER,
  'link-source-missing': errorCodes.UNKNOWN_SERVER_ERROR,
  closing: errorCodes.KAFKA_STORAGE_ERROR,
  'storage-fault': errorCodes.KAFKA_STORAGE_ERROR,
};

/** The code that a partition is answered with whose entry was refused so. */
export function errorOfRefusal(reason: RefusalReason): number {
  return refusalErrors[reason];
}

/** The code for a group of which nothing was appended, perhaps because of another of its entries. */
export function errorOfAppend(results: readonly AppendResult[]): number {
  for (const result of results) {
    if (result.outcome === 'refused') return refusalErrors[result.reason];
    // Says that it may have been appended, and is tried again.
    if (result.outcome === 'unknown') return errorCodes.NOT_ENOUGH_REPLICAS_AFTER_APPEND;
  }
  return errorCodes.UNKNOWN_SERVER_ERROR;
}
