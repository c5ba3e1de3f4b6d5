/**
 * Follows the transactions of one partition while its batches go by in offset order, as Kafka's CleanedTransactionMetadata: tells
 * which batches belong to aborted transactions, and of which markers no data is left. Pure.
 */
import { openBatch } from '../../../protocol/records/batch-records.ts';
import { batchIsTransactional, batchProducerId } from '../../../protocol/records/record-batch.ts';
import { endTransactionMarkerOf } from '../../../protocol/records/record-batch-builder.ts';
import type { Int64 } from '../../../protocol/wire/int64.ts';
import type { AbortedTransaction } from '../fetch/stable-offsets.ts';

export class TransactionTrail {
  /** Aborted ones that were not reached yet, by first offset. */
  private readonly ahead: readonly AbortedTransaction[];
  private nextAhead = 0;
  /** Aborted transactions that were reached and not ended: whether a batch of them was seen. */
  private readonly aborted = new Map<Int64, boolean>();
  private readonly committed = new Set<Int64>();

  /** `aborted`: those with records in the part of the log that will go by, and perhaps others. */
  constructor(aborted: readonly AbortedTransaction[]) {
    this.ahead = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset);
  }

  /** True where the batch of data belongs to an aborted transaction. */
  onDataBatch(payload: Buffer, at: number, lastOffset: number): boolean {
    this.reach(lastOffset);
    if (!batchIsTransactional(payload, at)) return false;
    const producerId = batchProducerId(payload, at);
    if (this.aborted.has(producerId)) {
      this.aborted.set(producerId, true);
      return true;
    }
    this.committed.add(producerId);
    return false;
  }

  /** True where no batch of the transaction that this marker ends went by: it need not be kept for their sake. @throws RecordError */
  onControlBatch(payload: Buffer, at: number, lastOffset: number): boolean {
    this.reach(lastOffset);
    const cursor = openBatch(payload, at);
    // An empty control batch was cleaned before.
    if (!cursor.next()) return true;
    const producerId = batchProducerId(payload, at);
    const marker = endTransactionMarkerOf(cursor.key(), cursor.value());
    if (marker === undefined) return false;
    if (marker.result === 'commit') return !this.committed.delete(producerId);
    const sawBatch = this.aborted.get(producerId) === true;
    this.aborted.delete(producerId);
    return !sawBatch;
  }

  private reach(offset: number): void {
    for (;;) {
      const next = this.ahead[this.nextAhead];
      if (next === undefined || next.firstOffset > offset) return;
      this.nextAhead += 1;
      if (!this.aborted.has(next.producerId)) this.aborted.set(next.producerId, false);
    }
  }
}
