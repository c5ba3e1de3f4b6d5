// What Kafka's broker checks of produced records (ProduceRequest.validateRecords, UnifiedLog.analyzeAndValidateRecords,
// LogValidator; held against Kafka 4.3.0), split into what the header tells and what needs the batch opened. Verdicts are
// values that name the Kafka error; nothing here throws on bytes from outside.

import { type Int64, MAX_INT64 } from '../wire/int64.ts';
import { openBatch } from './batch-records.ts';
import { type CodecName, codecIds, codecNameOf } from './compression.ts';
import { addInt64, subtractInt64 } from './int64-bytes.ts';
import {
  batchBaseOffset,
  batchBaseSequence,
  batchBaseTimestamp,
  batchCodecId,
  batchCrc,
  batchHeaderBytes,
  batchIsControl,
  batchLastOffset,
  batchLastOffsetDelta,
  batchMaxTimestamp,
  batchProducerId,
  batchRecordCount,
  batchTimestampType,
  type EntryBounds,
  entryBounds,
  NO_TIMESTAMP,
  type TimestampType,
  verifyCrc,
} from './record-batch.ts';
import { RecordError, type RecordErrorCodeName } from './record-error.ts';

/** Why one record of a batch was refused; `batchIndex` is its place, counted from 0. ProduceResponse 8 and above carry it. */
export interface RecordRefusal {
  readonly batchIndex: number;
  readonly message: string;
}

export interface Refused {
  readonly outcome: 'refused';
  /** Kafka's name of the error code. */
  readonly error: RecordErrorCodeName;
  readonly message: string;
  readonly recordErrors: readonly RecordRefusal[];
}

/** Settings of the topic and facts of the request that the checks depend on. */
export interface ProduceRules {
  /** Version of the Produce request. */
  readonly produceVersion: number;
  /** For messages: `topic-0`. */
  readonly partitionName: string;
  /** max.message.bytes: of a whole batch. */
  readonly maxMessageBytes: number;
  /** message.timestamp.type */
  readonly timestampType: TimestampType;
  /** message.timestamp.before.max.ms; at 2^53 and above (Kafka's default, or Infinity) all pass. */
  readonly timestampBeforeMaxMs: number;
  /** message.timestamp.after.max.ms; Kafka's default is an hour. */
  readonly timestampAfterMaxMs: number;
  /** cleanup.policy contains compact: every record needs a key. */
  readonly compacted: boolean;
  /** compression.type; `producer` keeps the batch's own codec, `none` is Kafka's `uncompressed`. */
  readonly compression: CodecName | 'producer';
  /** In that codec's own scale; default: the codec's default. */
  readonly compressionLevel?: number | undefined;
  readonly nowMs: number;
  /** What a batch that must be opened may decompress to. Default: 128 MiB. */
  readonly decompressedLimitBytes?: number | undefined;
}

/** Why an accepted batch cannot be judged or stored as received without opening it. */
export type OpenReason = 'compacted' | 'timestamp-window' | 'max-timestamp' | 'compression-type';

/** A batch whose header holds. It starts at byte 0 of the records and is `sizeBytes` long: what follows is a cut-off rest. */
export interface AcceptedBatch {
  readonly outcome: 'batch';
  readonly sizeBytes: number;
  readonly recordCount: number;
  /** Why it has to be opened; most batches never are. */
  readonly open: readonly OpenReason[];
  /** The timestamp type bit or the largest timestamp in the header must be set (`setBatchMaxTimestamp`), opened or not. */
  readonly restamp: boolean;
}

/** Produce 0 to 2 with messages of magic 0 or 1: convert.ts judges and converts them. */
export interface LegacyMessages {
  readonly outcome: 'messages';
}

const noRecordErrors: readonly RecordRefusal[] = [];
const noReasons: readonly OpenReason[] = [];

export function refused(
  error: RecordErrorCodeName,
  message: string,
  recordErrors: readonly RecordRefusal[] = noRecordErrors,
): Refused {
  return { outcome: 'refused', error, message, recordErrors };
}

/** A RecordError as a verdict; anything else is a fault of ours and is thrown on. */
export function refusedBy(error: unknown): Refused {
  if (error instanceof RecordError) return refused(error.codeName, error.message);
  throw error;
}

/**
 * Judges the records of one partition in a Produce request by what stands in headers: sizes, magic, CRC, codec, counts,
 * control bit, sequence, one batch a partition. One pass over the bytes, for the CRC.
 */
export function checkProducedRecords(
  records: Buffer | null,
  rules: ProduceRules,
): AcceptedBatch | LegacyMessages | Refused {
  const version = rules.produceVersion;
  let bounds: EntryBounds | undefined;
  let following: EntryBounds | undefined;
  try {
    bounds = records === null ? undefined : entryBounds(records, 0);
    if (records === null || bounds === undefined) {
      return refused(
        'INVALID_RECORD',
        `Produce requests with version ${version} must have at least one record batch per partition`,
      );
    }
    if (version >= 3 && bounds.magic !== 2) {
      return refused(
        'INVALID_RECORD',
        `Produce requests with version ${version} are only allowed to contain record batches with magic version 2`,
      );
    }
    if (bounds.magic < 2) return { outcome: 'messages' };
    if (version < 7 && bounds.sizeBytes >= batchHeaderBytes && batchCodecId(records, 0) === codecIds.zstd) {
      return refused(
        'UNSUPPORTED_COMPRESSION_TYPE',
        `Produce requests with version ${version} are not allowed to use ZStandard compression`,
      );
    }
    following = entryBounds(records, bounds.sizeBytes);
  } catch (error) {
    return refusedBy(error);
  }
  if (following !== undefined) {
    return refused(
      'INVALID_RECORD',
      `Produce requests with version ${version} are only allowed to contain exactly one record batch per partition`,
    );
  }
  return checkBatchHeader(records, bounds.sizeBytes, rules);
}

function checkBatchHeader(batch: Buffer, sizeBytes: number, rules: ProduceRules): AcceptedBatch | Refused {
  const { partitionName } = rules;
  // Nothing but the length and magic may be read of a batch that is shorter than its header.
  if (sizeBytes < batchHeaderBytes) {
    return refused(
      'CORRUPT_MESSAGE',
      `Record batch is corrupt (the size ${sizeBytes} is smaller than the minimum allowed overhead ${batchHeaderBytes})`,
    );
  }
  const baseOffset = batchBaseOffset(batch, 0);
  if (baseOffset !== 0) {
    return refused(
      'INVALID_RECORD',
      `The baseOffset of the record batch in the append to ${partitionName} should be 0, but it is ${baseOffset}`,
    );
  }
  if (sizeBytes > rules.maxMessageBytes) return tooLarge(sizeBytes, rules);
  if (!verifyCrc(batch, 0)) {
    return refused(
      'CORRUPT_MESSAGE',
      `Record is corrupt (stored crc = ${batchCrc(batch, 0)}) in topic partition ${partitionName}.`,
    );
  }
  const codecId = batchCodecId(batch, 0);
  // Kafka answers UNKNOWN_SERVER_ERROR here; the code that says what is wrong is as final to a client.
  if (codecId > codecIds.zstd) {
    return refused('UNSUPPORTED_COMPRESSION_TYPE', `Unknown compression type id: ${codecId}`);
  }
  const lastOffsetDelta = batchLastOffsetDelta(batch, 0);
  if (lastOffsetDelta < 0) {
    return refused(
      'INVALID_RECORD',
      `Batch has an invalid offset range: [0, ${batchLastOffset(batch, 0)}] in topic partition ${partitionName}`,
    );
  }
  const recordCount = batchRecordCount(batch, 0);
  if (recordCount <= 0) {
    return refused(
      'INVALID_RECORD',
      `Invalid reported count for record batch: ${recordCount} in topic partition ${partitionName}`,
    );
  }
  if (lastOffsetDelta !== recordCount - 1) {
    return refused(
      'INVALID_RECORD',
      `Inconsistent batch offset range [0, ${lastOffsetDelta}] and count of records ${recordCount} in topic partition ${partitionName}`,
    );
  }
  if (batchIsControl(batch, 0)) {
    return refused(
      'INVALID_RECORD',
      `Clients are not allowed to write control records in topic partition ${partitionName}`,
    );
  }
  const producerId = batchProducerId(batch, 0);
  const baseSequence = batchBaseSequence(batch, 0);
  if (producerId >= 0 && baseSequence < 0) {
    return refused(
      'INVALID_RECORD',
      `Invalid sequence number ${baseSequence} in record batch with producerId ${producerId} in topic partition ${partitionName}`,
    );
  }
  return { outcome: 'batch', sizeBytes, recordCount, ...treatment(batch, codecId, rules) };
}

/** Whether the batch must be opened, and whether its header's timestamp must change. */
function treatment(
  batch: Buffer,
  codecId: number,
  rules: ProduceRules,
): { readonly open: readonly OpenReason[]; readonly restamp: boolean } {
  const open: OpenReason[] = [];
  const appendTime = rules.timestampType === 'LogAppendTime';
  const batchAppendTime = batchTimestampType(batch, 0) === 'LogAppendTime';
  if (rules.compacted) open.push('compacted');
  if (rules.compression !== 'producer' && codecIds[rules.compression] !== codecId)
    open.push('compression-type');
  const maxTimestamp = batchMaxTimestamp(batch, 0);
  if (appendTime) {
    // Kafka refuses record by record a producer that claims append time.
    if (batchAppendTime) open.push('timestamp-window');
    return { open, restamp: true };
  }
  if (batchAppendTime) {
    // All records have the header's timestamp for now, and -1 is not a time.
    if (maxTimestamp === NO_TIMESTAMP || !withinWindow(maxTimestamp, rules)) open.push('timestamp-window');
    return { open, restamp: true };
  }
  if (rules.timestampBeforeMaxMs <= Number.MAX_SAFE_INTEGER || isAfterWindow(maxTimestamp, rules)) {
    open.push('timestamp-window');
  }
  const unset = maxTimestamp === NO_TIMESTAMP || maxTimestamp < batchBaseTimestamp(batch, 0);
  if (unset) open.push('max-timestamp');
  return { open: open.length === 0 ? noReasons : open, restamp: unset };
}

export function tooLarge(sizeBytes: number, rules: ProduceRules): Refused {
  return refused(
    'MESSAGE_TOO_LARGE',
    `The record batch size in the append to ${rules.partitionName} is ${sizeBytes} bytes which exceeds the maximum configured value of ${rules.maxMessageBytes}.`,
  );
}

function isAfterWindow(timestamp: Int64, rules: ProduceRules): boolean {
  return isBeyond(subtractInt64(timestamp, rules.nowMs), rules.timestampAfterMaxMs);
}

function withinWindow(timestamp: Int64, rules: ProduceRules): boolean {
  return (
    !isBeyond(subtractInt64(rules.nowMs, timestamp), rules.timestampBeforeMaxMs) &&
    !isAfterWindow(timestamp, rules)
  );
}

function isBeyond(distanceMs: Int64, limitMs: number): boolean {
  return limitMs <= Number.MAX_SAFE_INTEGER && distanceMs > limitMs;
}

/** A record as the per-record checks see it. */
export interface CheckedRecord {
  readonly offset: Int64;
  readonly timestamp: Int64;
  /** -1 for null. */
  readonly keyLength: number;
  readonly valueLength: number;
}

/**
 * Collects the refusals of single records: a key where the topic is compacted, a timestamp inside the window, no claim to
 * append time. `claimsAppendTime`: the batch has that bit set.
 */
export class RecordChecker {
  readonly #rules: ProduceRules;
  readonly #claimsAppendTime: boolean;
  readonly #errors: RecordRefusal[] = [];
  #invalidTimestamp = false;

  constructor(rules: ProduceRules, claimsAppendTime: boolean) {
    this.#rules = rules;
    this.#claimsAppendTime = claimsAppendTime;
  }

  check(record: CheckedRecord, batchIndex: number): void {
    const rules = this.#rules;
    if (rules.compacted && record.keyLength < 0) {
      this.#errors.push({
        batchIndex,
        message: `Compacted topic cannot accept message without key in topic partition ${rules.partitionName}`,
      });
    } else if (rules.timestampType === 'CreateTime' && record.timestamp !== NO_TIMESTAMP) {
      if (!withinWindow(record.timestamp, rules)) {
        this.#invalidTimestamp = true;
        this.#errors.push({
          batchIndex,
          message: `Timestamp ${record.timestamp} of message with offset ${record.offset} is out of range. The timestamp should be within [${windowEdge(rules.nowMs, -rules.timestampBeforeMaxMs)}, ${windowEdge(rules.nowMs, rules.timestampAfterMaxMs)}]`,
        });
      }
    } else if (this.#claimsAppendTime) {
      this.#invalidTimestamp = true;
      this.#errors.push({
        batchIndex,
        message: `Invalid timestamp type in message ${describe(record)}. Producer should not set timestamp type to LogAppendTime.`,
      });
    }
  }

  /** The verdict so far: undefined where no record was refused. */
  verdict(): Refused | undefined {
    const errors = this.#errors;
    if (errors.length === 0) return undefined;
    if (this.#invalidTimestamp) {
      return refused(
        'INVALID_TIMESTAMP',
        'One or more records have been rejected due to invalid timestamp',
        errors,
      );
    }
    const shown = errors
      .slice(0, 3)
      .map((error) => `RecordError(batchIndex=${error.batchIndex}, message='${error.message}')`);
    return refused(
      'INVALID_RECORD',
      `One or more records have been rejected due to ${errors.length} record errors in total, and only showing the first three errors at most: [${shown.join(', ')}]`,
      errors,
    );
  }
}

/** `now` + `distance`, in 64 bits like Kafka's; an unlimited distance is the largest that those hold. */
function windowEdge(nowMs: number, distanceMs: number): string {
  if (Math.abs(distanceMs) <= Number.MAX_SAFE_INTEGER) return String(nowMs + distanceMs);
  return String(addInt64(nowMs, distanceMs < 0 ? -MAX_INT64 : MAX_INT64));
}

function describe(record: CheckedRecord): string {
  return `DefaultRecord(offset=${record.offset}, timestamp=${record.timestamp}, key=${Math.max(0, record.keyLength)} bytes, value=${Math.max(0, record.valueLength)} bytes)`;
}

/** What opening a batch told. */
export interface OpenedBatch {
  readonly outcome: 'opened';
  /** Largest timestamp of the records, at least -1, as Kafka counts it. */
  readonly maxTimestamp: Int64;
  /** Bytes of the records section when it is not compressed. */
  readonly uncompressedBytes: number;
  /** Offset deltas are 0, 1, 2 ...; Kafka stores an uncompressed batch where they are not, and so shows wrong offsets. */
  readonly offsetsConsecutive: boolean;
}

/**
 * Opens the batch at the start of `batch` (whose header `checkProducedRecords` accepted) and checks every record: structure,
 * count, keys, timestamps.
 */
export function checkRecordsDeep(batch: Buffer, rules: ProduceRules): OpenedBatch | Refused {
  try {
    codecNameOf(batchCodecId(batch, 0));
    const cursor = openBatch(batch, 0, { limitBytes: rules.decompressedLimitBytes });
    const checker = new RecordChecker(rules, batchTimestampType(batch, 0) === 'LogAppendTime');
    let maxTimestamp: Int64 = NO_TIMESTAMP;
    let uncompressedBytes = 0;
    let offsetsConsecutive = true;
    while (cursor.next()) {
      checker.check(cursor, cursor.index);
      const { timestamp } = cursor;
      if (timestamp > maxTimestamp) maxTimestamp = timestamp;
      if (cursor.offsetDelta !== cursor.index) offsetsConsecutive = false;
      uncompressedBytes += cursor.sizeBytes;
    }
    return checker.verdict() ?? { outcome: 'opened', maxTimestamp, uncompressedBytes, offsetsConsecutive };
  } catch (error) {
    return refusedBy(error);
  }
}
