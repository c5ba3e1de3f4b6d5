// Opens a magic-2 batch: decompresses its records section where needed and walks the records. For those who must look inside
// (filters, features, conversion, consumers); storing and fetching never does.

import type { Int64 } from '../wire/int64.ts';
import { codecNameOf, decompress } from './compression.ts';
import { addInt64 } from './int64-bytes.ts';
import {
  batchBaseOffset,
  batchBaseTimestamp,
  batchCodecId,
  batchHeaderBytes,
  batchMaxTimestamp,
  batchRecordCount,
  batchSizeBytes,
  batchTimestampType,
  checkBatchBounds,
} from './record-batch.ts';
import { type DecodedRecord, RecordCursor } from './record-cursor.ts';

export interface OpenLimits {
  /** Bytes that the records may decompress to. */
  readonly limitBytes?: number | undefined;
}

const nothing = Buffer.alloc(0);

/**
 * A cursor on the first record of the batch at `at`. Views lie in `buffer` where nothing is compressed, in a buffer of their
 * own otherwise. As in Kafka, a batch that counts no records is not looked into. The CRC is not checked here.
 * @throws RecordError
 */
export function openBatch(buffer: Buffer, at: number, limits: OpenLimits = {}): RecordCursor {
  checkBatchBounds(buffer, at);
  const recordCount = batchRecordCount(buffer, at);
  const codec = codecNameOf(batchCodecId(buffer, at));
  const sectionStart = at + batchHeaderBytes;
  const sectionEnd = at + batchSizeBytes(buffer, at);
  let section = buffer;
  let start = sectionStart;
  let end = sectionEnd;
  if (recordCount === 0) {
    section = nothing;
    start = 0;
    end = 0;
  } else if (codec !== 'none') {
    section = decompress(codec, buffer.subarray(sectionStart, sectionEnd), { limitBytes: limits.limitBytes });
    start = 0;
    end = section.length;
  }
  return new RecordCursor({
    buffer: section,
    start,
    end,
    recordCount,
    baseOffset: batchBaseOffset(buffer, at),
    baseTimestamp: batchBaseTimestamp(buffer, at),
    logAppendTimestamp:
      batchTimestampType(buffer, at) === 'LogAppendTime' ? batchMaxTimestamp(buffer, at) : undefined,
  });
}

/** All records of the batch at `at`, as views. @throws RecordError */
export function decodeRecords(buffer: Buffer, at: number, limits: OpenLimits = {}): DecodedRecord[] {
  const cursor = openBatch(buffer, at, limits);
  const records: DecodedRecord[] = [];
  while (cursor.next()) records.push(cursor.record());
  return records;
}

/** The same, and beside them the timestamps as stored, which LogAppendTime hides. @throws RecordError */
export function decodeRecordsWithTimestamps(
  buffer: Buffer,
  at: number,
  limits: OpenLimits = {},
): { readonly records: DecodedRecord[]; readonly storedTimestamps: Int64[] } {
  const baseTimestamp = batchBaseTimestamp(buffer, at);
  const cursor = openBatch(buffer, at, limits);
  const records: DecodedRecord[] = [];
  const storedTimestamps: Int64[] = [];
  while (cursor.next()) {
    records.push(cursor.record());
    storedTimestamps.push(addInt64(baseTimestamp, cursor.timestampDelta));
  }
  return { records, storedTimestamps };
}
