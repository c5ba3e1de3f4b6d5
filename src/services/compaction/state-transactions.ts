/**
 * Which transactions are open in a partition of coordinator state, and which were aborted, read from the partition itself: offsets that
 * are committed in a transaction stand there as in any log, but nobody keeps a list of them. Fed with every batch in order of offsets,
 * from the partition's start on. Pure.
 */
import { openBatch } from '../../../protocol/records/batch-records.ts';
import {
  batchBaseOffset,
  batchIsControl,
  batchIsTransactional,
  batchLastOffset,
  batchProducerId,
  batchSizeBytes,
} from '../../../protocol/records/record-batch.ts';
import { endTransactionMarkerOf } from '../../../protocol/records/record-batch-builder.ts';
import type { QueueId } from '../../storage/engine.ts';
import type { AbortedTransaction, StableOffsets } from '../fetch/stable-offsets.ts';

interface EndedTransaction extends AbortedTransaction {
  readonly markerOffset: number;
}

export class StateTransactions implements StableOffsets {
  /** Batches before this were seen. */
  scannedTo: number;
  /** First offsets, by producer. */
  private readonly open = new Map<number, number>();
  /** By the offset of the marker. */
  private aborted: EndedTransaction[] = [];

  constructor(startOffset: number) {
    this.scannedTo = startOffset;
  }

  /** The batches of `payload`, from `scannedTo` on. @throws RecordError */
  add(payload: Buffer): void {
    for (let at = 0; at < payload.length; at += batchSizeBytes(payload, at)) {
      if (batchIsTransactional(payload, at)) this.addBatch(payload, at);
      this.scannedTo = Number(batchLastOffset(payload, at)) + 1;
    }
  }

  lastStableOffset(_queue: QueueId, visibleEndOffset: number): number {
    let stable = Math.min(visibleEndOffset, this.scannedTo);
    for (const firstOffset of this.open.values()) if (firstOffset < stable) stable = firstOffset;
    return stable;
  }

  abortedTransactions(_queue: QueueId, fromOffset: number, toOffset: number): readonly AbortedTransaction[] {
    return this.aborted.filter(
      ({ firstOffset, markerOffset }) => firstOffset < toOffset && markerOffset >= fromOffset,
    );
  }

  /** Nothing is left of aborted transactions that ended before. */
  cleanedTo(offset: number): void {
    this.aborted = this.aborted.filter(({ markerOffset }) => markerOffset >= offset);
  }

  private addBatch(payload: Buffer, at: number): void {
    const producerId = Number(batchProducerId(payload, at));
    const baseOffset = Number(batchBaseOffset(payload, at));
    if (!batchIsControl(payload, at)) {
      if (!this.open.has(producerId)) this.open.set(producerId, baseOffset);
      return;
    }
    const firstOffset = this.open.get(producerId);
    const cursor = openBatch(payload, at);
    if (firstOffset === undefined || !cursor.next()) return;
    const marker = endTransactionMarkerOf(cursor.key(), cursor.value());
    if (marker === undefined) return;
    this.open.delete(producerId);
    if (marker.result !== 'commit') this.aborted.push({ producerId, firstOffset, markerOffset: baseOffset });
  }
}
