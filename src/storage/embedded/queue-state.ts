/**
 * What the engine holds in memory of a queue that exists: one small object, whatever its length. Its rows lie in the index
 * table, its bytes in the log.
 */
import type { QueueBounds, QueueId } from '../engine.ts';

export class QueueState {
  readonly id: QueueId;
  startOffset: number;
  /** The offset that the next entry gets. */
  nextOffset: number;
  visibleEndOffset: number;
  /** Payload bytes of the entries from the start on, those not visible yet included. */
  sizeBytes: number;
  invisibleBytes = 0;
  /** How far the log must be durable before anything that is not visible yet may become so. */
  neededDurable = 0;
  isDropped = false;
  /** How often its entries were rewritten since the start. */
  rewrites = 0;
  // Where the index keeps its newest rows that are in memory; that table may be gone.
  tableGeneration = 0;
  tableSlot = -1;

  constructor(id: QueueId, startOffset = 0, nextOffset = 0, sizeBytes = 0) {
    this.id = id;
    this.startOffset = startOffset;
    this.nextOffset = nextOffset;
    this.visibleEndOffset = nextOffset;
    this.sizeBytes = sizeBytes;
  }

  get bounds(): QueueBounds {
    return { startOffset: this.startOffset, visibleEndOffset: this.visibleEndOffset };
  }
}
