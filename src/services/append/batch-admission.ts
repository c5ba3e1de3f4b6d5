/**
 * Whether what a producer sent for one partition may be appended, and in which bytes: a topic's settings made the rules of
 * protocol/records/produced-records.ts, and its verdict made what the engine has to know. Pure: knows nothing of engines.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type { ProduceRules } from '../../../protocol/records/batch-check.ts';
import { admitProducedRecords } from '../../../protocol/records/produced-records.ts';
import {
  batchBaseSequence,
  batchIsTransactional,
  batchProducerEpoch,
  batchProducerId,
  incrementSequence,
} from '../../../protocol/records/record-batch.ts';
import type { Int64 } from '../../../protocol/wire/int64.ts';
import type { Topic, TopicSettings } from '../topics/topic.ts';
import { noRecordFaults, type RecordFault } from './append-result.ts';

/** Record faults that one answer lists; Kafka lists all. */
export const maxRecordFaults = 1000;

/** Why a batch is not appended. */
export class Refusal {
  readonly errorCode: number;
  readonly message: string | null;
  readonly recordErrors: readonly RecordFault[];

  constructor(
    errorCode: number,
    message: string | null,
    recordErrors: readonly RecordFault[] = noRecordFaults,
  ) {
    this.errorCode = errorCode;
    this.message = message;
    this.recordErrors = recordErrors;
  }
}

/** One magic-2 batch that may be appended as it is. */
export class AdmittedBatch {
  /** A view of the request's bytes, or a buffer of its own where the batch was encoded anew. */
  readonly payload: Buffer;
  readonly recordCount: number;
  /** -1 for none. */
  readonly maxTimestampMs: number;
  /** -1 for none; the next three mean nothing then. */
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly isTransactional: boolean;
  /** The time that the broker gave the records; -1 under CreateTime. */
  readonly logAppendTimeMs: number;

  constructor(
    payload: Buffer,
    recordCount: number,
    maxTimestampMs: number,
    producerId: number,
    logAppendTimeMs: number,
  ) {
    this.payload = payload;
    this.recordCount = recordCount;
    this.maxTimestampMs = maxTimestampMs;
    this.producerId = producerId;
    this.logAppendTimeMs = logAppendTimeMs;
    this.isTransactional = batchIsTransactional(payload, 0);
    if (producerId < 0) {
      this.producerEpoch = -1;
      this.firstSequence = -1;
      this.lastSequence = -1;
    } else {
      this.producerEpoch = batchProducerEpoch(payload, 0);
      this.firstSequence = batchBaseSequence(payload, 0);
      this.lastSequence = incrementSequence(this.firstSequence, recordCount - 1);
    }
  }
}

/**
 * Checks the record set of `topic`'s partition `index`. May write into `records`: timestamp type and largest timestamp, where the
 * topic's settings or a producer's omission ask for it.
 */
export function admitRecords(
  records: Buffer | null,
  topic: Topic,
  index: number,
  produceVersion: number,
  nowMs: number,
): AdmittedBatch | Refusal {
  const settings = topic.settings;
  const rules: ProduceRules = {
    produceVersion,
    partitionName: `${topic.name}-${index}`,
    maxMessageBytes: settings.maxMessageBytes,
    timestampType: settings.messageTimestampType,
    timestampBeforeMaxMs: settings.messageTimestampBeforeMaxMs,
    timestampAfterMaxMs: settings.messageTimestampAfterMaxMs,
    compacted: settings.cleanupCompact,
    compression: settings.compressionType === 'uncompressed' ? 'none' : settings.compressionType,
    compressionLevel: compressionLevel(settings),
    nowMs,
  };
  const verdict = admitProducedRecords(records, rules);
  if (verdict.outcome === 'refused') {
    const faults = verdict.recordErrors
      .slice(0, maxRecordFaults)
      .map(({ batchIndex, message }) => ({ batchIndex, batchIndexErrorMessage: message }));
    return new Refusal(errorCodes[verdict.error], verdict.message, faults);
  }
  const { batch, recordCount, maxTimestamp } = verdict;
  const producerId = batchProducerId(batch, 0);
  if (typeof producerId !== 'number') {
    return new Refusal(
      errorCodes.INVALID_PRODUCER_ID_MAPPING,
      `Producer id ${producerId} was never given out`,
    );
  }
  return new AdmittedBatch(
    batch,
    recordCount,
    asIndexTime(maxTimestamp),
    producerId < 0 ? -1 : producerId,
    settings.messageTimestampType === 'LogAppendTime' ? nowMs : -1,
  );
}

function compressionLevel(settings: TopicSettings): number | undefined {
  switch (settings.compressionType) {
    case 'gzip':
      return settings.compressionGzipLevel;
    case 'lz4':
      return settings.compressionLz4Level;
    case 'zstd':
      return settings.compressionZstdLevel;
    default:
      return undefined;
  }
}

/** As an index by time can hold it: nothing below -1, nothing inexact. */
function asIndexTime(timestamp: Int64): number {
  if (typeof timestamp === 'number') return timestamp < 0 ? -1 : timestamp;
  return timestamp < 0n ? -1 : Number.MAX_SAFE_INTEGER;
}
