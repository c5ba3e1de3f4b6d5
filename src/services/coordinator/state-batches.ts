/** A coordinator's records as Kafka's record batches, and back. Knows nothing of what the records mean. */
import { openBatch } from '../../../protocol/records/batch-records.ts';
import { batchIsControl, batchSizeBytes, entryBounds } from '../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import type { AppendEntry, QueueId } from '../../storage/engine.ts';
import type { EncodedRecord } from './coordinator-machine.ts';

/** Bytes that a record takes in a batch beside its key and value, at most. */
const recordOverheadBytes = 32;

export function recordSizeBytes(record: EncodedRecord): number {
  return recordOverheadBytes + record.key.length + (record.value === null ? 0 : record.value.length);
}

/** The records as batches of about `maxBatchBytes`, in order, all with the same time. */
export function stateEntries(
  queue: QueueId,
  records: readonly EncodedRecord[],
  nowMs: number,
  maxBatchBytes: number,
): AppendEntry[] {
  const entries: AppendEntry[] = [];
  let start = 0;
  let sizeBytes = 0;
  const close = (end: number): void => {
    const payload = buildRecordBatch(
      records.slice(start, end).map((record) => ({ ...record, timestamp: nowMs })),
    );
    entries.push({ queue, kind: 'state', count: end - start, maxTimestampMs: nowMs, payload });
    start = end;
    sizeBytes = 0;
  };
  for (let index = 0; index < records.length; index++) {
    const recordBytes = recordSizeBytes(records[index]!);
    if (index > start && sizeBytes + recordBytes > maxBatchBytes) close(index);
    sizeBytes += recordBytes;
  }
  if (records.length > start) close(records.length);
  return entries;
}

/**
 * Calls back for each record with a key of the batches in `payload`. Key and value are views. Control batches are passed over.
 * @throws RecordError
 */
export function forEachStateRecord(
  payload: Buffer,
  visit: (key: Buffer, value: Buffer | null) => void,
): void {
  let at = 0;
  while (entryBounds(payload, at) !== undefined) {
    if (!batchIsControl(payload, at)) {
      const cursor = openBatch(payload, at);
      while (cursor.next()) {
        const key = cursor.key();
        if (key !== null) visit(key, cursor.value());
      }
    }
    at += batchSizeBytes(payload, at);
  }
}
