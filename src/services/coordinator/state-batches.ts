/** A coordinator's records as Kafka's record batches, and back. Knows nothing of what the records mean. */
import { openBatch } from '../../../protocol/records/batch-records.ts';
import {
  batchIsControl,
  batchIsTransactional,
  batchProducerEpoch,
  batchProducerId,
  batchSizeBytes,
  entryBounds,
} from '../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import type { AppendEntry, QueueId } from '../../storage/engine.ts';
import type { EncodedRecord, ProducerBatch } from './coordinator-machine.ts';

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
    const batch = records[start]!.batch;
    const payload = buildRecordBatch(
      records.slice(start, end).map(({ key, value }) => ({ key, value, timestamp: nowMs })),
      batch === undefined
        ? {}
        : {
            producerId: batch.producerId,
            producerEpoch: batch.producerEpoch,
            transactional: true,
            control: batch.isControl,
          },
    );
    entries.push({ queue, kind: 'state', count: end - start, maxTimestampMs: nowMs, payload });
    start = end;
    sizeBytes = 0;
  };
  for (let index = 0; index < records.length; index++) {
    const recordBytes = recordSizeBytes(records[index]!);
    if (
      index > start &&
      (sizeBytes + recordBytes > maxBatchBytes ||
        !isOneBatch(records[index - 1]!.batch, records[index]!.batch))
    ) {
      close(index);
    }
    sizeBytes += recordBytes;
  }
  if (records.length > start) close(records.length);
  return entries;
}

function isOneBatch(a: ProducerBatch | undefined, b: ProducerBatch | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return !a.isControl && !b.isControl && a.producerId === b.producerId && a.producerEpoch === b.producerEpoch;
}

/**
 * Calls back for each record with a key of the batches in `payload`. Key and value are views.
 * @throws RecordError
 */
export function forEachStateRecord(
  payload: Buffer,
  visit: (key: Buffer, value: Buffer | null, batch: ProducerBatch | undefined) => void,
): void {
  let at = 0;
  while (entryBounds(payload, at) !== undefined) {
    const batch = producerBatchAt(payload, at);
    const cursor = openBatch(payload, at);
    while (cursor.next()) {
      const key = cursor.key();
      if (key !== null) visit(key, cursor.value(), batch);
    }
    at += batchSizeBytes(payload, at);
  }
}

function producerBatchAt(payload: Buffer, at: number): ProducerBatch | undefined {
  if (!batchIsTransactional(payload, at)) return undefined;
  return {
    producerId: Number(batchProducerId(payload, at)),
    producerEpoch: batchProducerEpoch(payload, at),
    isControl: batchIsControl(payload, at),
  };
}
