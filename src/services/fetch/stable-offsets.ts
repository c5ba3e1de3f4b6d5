/**
 * What read_committed readers may see of a queue. The seam for transactions: fetch/ asks here and knows nothing of how open and
 * aborted transactions are kept.
 */
import type { MaybePromise, QueueId } from '../../storage/engine.ts';

/** An aborted transaction with records in what was read, as a Fetch answer lists it. */
export interface AbortedTransaction {
  readonly producerId: number;
  readonly firstOffset: number;
}

export interface StableOffsets {
  /** The first offset of the oldest open transaction, or the visible end where none is open. */
  lastStableOffset(queue: QueueId, visibleEndOffset: number): number;
  /** Aborted transactions with records in [fromOffset, toOffset). */
  abortedTransactions(
    queue: QueueId,
    fromOffset: number,
    toOffset: number,
  ): MaybePromise<readonly AbortedTransaction[]>;
  /**
   * Wakes after the queue's last stable offset moved for another reason than its visible end. Returns how to stop. Missing where that
   * never happens.
   */
  watch?(queue: QueueId, wake: () => void): () => void;
  /**
   * Compaction removed every record of these: they are listed no more. Their markers go only after that, since a reader who is told of
   * an aborted transaction passes over all that its producer wrote until it finds the marker. Where this is missing the markers stay.
   */
  forgetAborted?(queue: QueueId, transactions: readonly AbortedTransaction[]): Promise<void>;
}

const none: readonly AbortedTransaction[] = [];

/** Without transactions everything visible is stable. */
export const everythingStable: StableOffsets = {
  lastStableOffset: (_queue, visibleEndOffset) => visibleEndOffset,
  abortedTransactions: () => none,
};
