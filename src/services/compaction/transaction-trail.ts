/**
 * Follows the transactions of one partition while its batches go by in offset order, as Kafka's CleanedTransactionMetadata: tells
 * which batches belong to aborted transactions, and of which markers no data is left. Pure.
 */
import { openBatch } from '../../../protocol/records/batch-records.ts';
import { batchIsTransactional, batchProducerId } from '../../../protocol/records/record-batch.ts';
import { endTransactionMarkerOf } from '../../../protocol/records/record-batch-builder.ts';
import type { Int64 } from '../../../protocol/wire/int64.ts';
import type { AbortedTransaction } from '../fetch/stable-offsets.ts';

interface ReachedTransaction {
  readonly transaction: AbortedTransaction;
  sawBatch: boolean;
}

/** What a marker is good for. */
export type MarkerUse =
  /** Batches that it ends went by, or nobody knows what it is. */
  | 'needed'
  /** No batch went by, but the transaction is still listed as aborted: whoever reads the list waits for the marker. */
  | 'listed'
  /** None. */
  | 'none';

export class TransactionTrail {
  /** Aborted ones that were not reached yet, by first offset. */
  private readonly ahead: readonly AbortedTransaction[];
  private nextAhead = 0;
  /** Aborted transactions that were reached and not ended. */
  private readonly aborted = new Map<Int64, ReachedTransaction>();
  private readonly committed = new Set<Int64>();
  /** Listed as aborted, and all of them gone. */
  readonly emptied: AbortedTransaction[] = [];

  /** `aborted`: those with records in the part of the log that will go by, and perhaps others. */
  constructor(aborted: readonly AbortedTransaction[]) {
    this.ahead = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset);
  }

  /** True where the batch of data belongs to an aborted transaction. */
  onDataBatch(payload: Buffer, at: number, lastOffset: number): boolean {
    this.reach(lastOffset);
    if (!batchIsTransactional(payload, at)) return false;
    const producerId = batchProducerId(payload, at);
    const aborted = this.aborted.get(producerId);
    if (aborted !== undefined) {
      aborted.sawBatch = true;
      return true;
    }
    this.committed.add(producerId);
    return false;
  }

  /** @throws RecordError */
  onControlBatch(payload: Buffer, at: number, lastOffset: number): MarkerUse {
    this.reach(lastOffset);
    const cursor = openBatch(payload, at);
    // An empty control batch was cleaned before.
    if (!cursor.next()) return 'none';
    const producerId = batchProducerId(payload, at);
    const marker = endTransactionMarkerOf(cursor.key(), cursor.value());
    if (marker === undefined) return 'needed';
    if (marker.result === 'commit') return this.committed.delete(producerId) ? 'needed' : 'none';
    const aborted = this.aborted.get(producerId);
    if (aborted === undefined) return 'none';
    this.aborted.delete(producerId);
    if (aborted.sawBatch) return 'needed';
    this.emptied.push(aborted.transaction);
    return 'listed';
  }

  private reach(offset: number): void {
    for (;;) {
      const next = this.ahead[this.nextAhead];
      if (next === undefined || next.firstOffset > offset) return;
      this.nextAhead += 1;
      if (!this.aborted.has(next.producerId)) {
        this.aborted.set(next.producerId, { transaction: next, sawBatch: false });
      }
    }
  }
}
