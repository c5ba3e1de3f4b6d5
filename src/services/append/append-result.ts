/** What a Produce request's partition comes to: the words in which services/append answers. Knows nothing of the wire. */
import { errorCodes } from '../../../protocol/error-codes.ts';

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
