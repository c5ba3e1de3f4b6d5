/** The time under which an index by time holds a batch that compaction made smaller. */
import { batchMaxTimestamp, batchRecordCount } from '../../../protocol/records/record-batch.ts';

/** ms; -1 where no record is left, or none has a time. */
export function largestTimeOf(buffer: Buffer, at: number): number {
  if (batchRecordCount(buffer, at) === 0) return -1;
  const largest = batchMaxTimestamp(buffer, at);
  if (typeof largest === 'number') return Math.max(-1, largest);
  return largest < 0n ? -1 : Number.MAX_SAFE_INTEGER;
}
