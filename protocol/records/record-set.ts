// A whole record set, of any mix of formats, as plain objects and back. For tools, tests and vectors: it copies and allocates
// freely, and the broker's own paths do not go through it.

import type { Int64 } from '../wire/int64.ts';
import { decodeRecordsWithTimestamps } from './batch-records.ts';
import { type CodecName, codecNameOf } from './compression.ts';
import {
  encodeMessageSet,
  type LegacyMagic,
  type LegacyTimestampType,
  readMessageEntry,
} from './message-set.ts';
import {
  batchBaseOffset,
  batchBaseSequence,
  batchBaseTimestamp,
  batchCodecId,
  batchCrc,
  batchHasDeleteHorizon,
  batchIsControl,
  batchIsTransactional,
  batchLastOffset,
  batchLeaderEpoch,
  batchMaxTimestamp,
  batchProducerEpoch,
  batchProducerId,
  batchTimestampType,
  checkBatchBounds,
  computeBatchCrc,
  entryBounds,
  NO_LEADER_EPOCH,
  NO_PRODUCER_EPOCH,
  NO_PRODUCER_ID,
  NO_SEQUENCE,
} from './record-batch.ts';
import { buildRecordBatch } from './record-batch-builder.ts';
import type { DecodedRecord } from './record-cursor.ts';
import { RecordError } from './record-error.ts';

/** A batch, or an old message, which counts as a batch of its own. */
export interface DecodedBatch {
  readonly magic: 0 | 1 | 2;
  readonly codec: CodecName;
  /** Of a compressed wrapper below magic 2: its first inner message's. */
  readonly baseOffset: Int64;
  readonly lastOffset: Int64;
  readonly sizeInBytes: number;
  /** ms; -1 for none. */
  readonly maxTimestamp: Int64;
  readonly timestampType: LegacyTimestampType;
  readonly producerId: Int64;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly transactional: boolean;
  readonly control: boolean;
  readonly leaderEpoch: number;
  /** null below magic 2. */
  readonly crc: number | null;
  /** The header field of magic 2; what it says under a delete horizon is that time. Absent below magic 2. */
  readonly baseTimestamp?: Int64 | undefined;
  readonly deleteHorizon?: boolean | undefined;
  readonly records: readonly DecodedRecord[];
  /** The timestamps as stored, which a LogAppendTime batch hides. Default: the records' own. */
  readonly storedTimestamps?: readonly Int64[] | undefined;
}

export interface DecodedRecordSet {
  readonly batches: readonly DecodedBatch[];
  /** Bytes of a last entry that is not all there: fetch answers may end in one. */
  readonly trailingBytes: number;
}

export interface DecodeOptions {
  /** What each batch may decompress to. */
  readonly limitBytes?: number | undefined;
}

/**
 * Decodes every whole entry of `buffer`, checking CRCs, counts and lengths. Keys, values and headers are views.
 * @throws RecordError
 */
export function decodeRecordSet(buffer: Buffer, options: DecodeOptions = {}): DecodedRecordSet {
  const batches: DecodedBatch[] = [];
  let at = 0;
  for (;;) {
    const bounds = entryBounds(buffer, at);
    if (bounds === undefined) break;
    const entry = buffer.subarray(at, at + bounds.sizeBytes);
    batches.push(bounds.magic === 2 ? decodeBatch(entry, options) : decodeMessage(entry, options));
    at += bounds.sizeBytes;
  }
  return { batches, trailingBytes: buffer.length - at };
}

function decodeBatch(batch: Buffer, options: DecodeOptions): DecodedBatch {
  checkBatchBounds(batch, 0);
  const crc = batchCrc(batch, 0);
  const computed = computeBatchCrc(batch, 0);
  if (crc !== computed) {
    throw new RecordError('corrupt', `Record is corrupt (stored crc = ${crc}, computed crc = ${computed})`);
  }
  const { records, storedTimestamps } = decodeRecordsWithTimestamps(batch, 0, options);
  return {
    magic: 2,
    codec: codecNameOf(batchCodecId(batch, 0)),
    baseOffset: batchBaseOffset(batch, 0),
    lastOffset: batchLastOffset(batch, 0),
    sizeInBytes: batch.length,
    maxTimestamp: batchMaxTimestamp(batch, 0),
    timestampType: batchTimestampType(batch, 0),
    producerId: batchProducerId(batch, 0),
    producerEpoch: batchProducerEpoch(batch, 0),
    baseSequence: batchBaseSequence(batch, 0),
    transactional: batchIsTransactional(batch, 0),
    control: batchIsControl(batch, 0),
    leaderEpoch: batchLeaderEpoch(batch, 0),
    crc,
    baseTimestamp: batchBaseTimestamp(batch, 0),
    deleteHorizon: batchHasDeleteHorizon(batch, 0),
    records,
    storedTimestamps,
  };
}

function decodeMessage(bytes: Buffer, options: DecodeOptions): DecodedBatch {
  const entry = readMessageEntry(bytes, 0, options);
  return {
    magic: entry.magic,
    codec: entry.codec,
    baseOffset: entry.baseOffset,
    lastOffset: entry.offset,
    sizeInBytes: entry.sizeBytes,
    maxTimestamp: entry.timestamp,
    timestampType: entry.timestampType,
    producerId: NO_PRODUCER_ID,
    producerEpoch: NO_PRODUCER_EPOCH,
    baseSequence: NO_SEQUENCE,
    transactional: false,
    control: false,
    leaderEpoch: NO_LEADER_EPOCH,
    crc: null,
    records: entry.records,
    storedTimestamps: entry.storedTimestamps,
  };
}

/**
 * The bytes of a decoded record set: the same as were decoded where nothing is compressed, else bytes that decode to the same
 * records. Sizes and CRCs are computed, not taken over.
 * @throws RecordError `codec-unavailable`, `unsupported-codec` (zstd below magic 2)
 */
export function encodeRecordSet(decoded: { readonly batches: readonly DecodedBatch[] }): Buffer {
  return Buffer.concat(
    decoded.batches.map((batch) =>
      batch.magic === 2 ? encodeBatch(batch) : encodeMessage(batch, batch.magic),
    ),
  );
}

/** The records with the timestamps that are to be written. */
function recordsAsStored(batch: DecodedBatch): readonly DecodedRecord[] {
  const stored = batch.storedTimestamps;
  if (stored === undefined) return batch.records;
  return batch.records.map((record, index) => ({ ...record, timestamp: stored[index]! }));
}

function encodeBatch(batch: DecodedBatch): Buffer {
  return buildRecordBatch(recordsAsStored(batch), {
    baseOffset: batch.baseOffset,
    lastOffset: batch.lastOffset,
    leaderEpoch: batch.leaderEpoch,
    codec: batch.codec,
    timestampType: batch.timestampType === 'LogAppendTime' ? 'LogAppendTime' : 'CreateTime',
    baseTimestamp: batch.baseTimestamp,
    maxTimestamp: batch.maxTimestamp,
    producerId: batch.producerId,
    producerEpoch: batch.producerEpoch,
    baseSequence: batch.baseSequence,
    transactional: batch.transactional,
    control: batch.control,
    deleteHorizon: batch.deleteHorizon,
  });
}

function encodeMessage(batch: DecodedBatch, magic: LegacyMagic): Buffer {
  return encodeMessageSet(recordsAsStored(batch), {
    magic,
    codec: batch.codec,
    timestampType: batch.timestampType === 'LogAppendTime' ? 'LogAppendTime' : 'CreateTime',
    wrapperTimestamp: batch.maxTimestamp,
  });
}
