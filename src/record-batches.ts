/** A Kafka record batch, as the storage engine needs to know it. */
import { isBatchIntact, isBatchStamped, stampBatch } from '../protocol/records/record-batch.ts';
import { largestTimeOf } from './services/compaction/batch-time.ts';
import type { PayloadFormat } from './storage/engine.ts';

export const recordBatches: PayloadFormat = {
  stamp: stampBatch,
  isStamped: isBatchStamped,
  isIntact: isBatchIntact,
  largestTimestampMs: largestTimeOf,
};
