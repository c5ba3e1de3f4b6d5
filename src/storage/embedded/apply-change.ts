/** What an engine entry says, done to the state in memory: the same at run time, by recovery and by the offline tools. */
import type { CatalogueTable } from '../catalogue-table.ts';
import type { QueueId } from '../engine.ts';
import type { EngineChange } from './engine-changes.ts';
import { QueueState } from './queue-state.ts';

/** What an engine entry says, done to the state in memory: at run time when its order is fixed, and again by recovery. */
export function applyEngineChange(
  change: EngineChange,
  queues: Map<QueueId, QueueState>,
  table: CatalogueTable,
  leases: Map<string, number>,
): void {
  if (change.op === 'lease') {
    leases.set(change.name, change.epoch);
  } else if (change.op === 'trim') {
    const queue = queues.get(change.queue);
    if (queue === undefined) return;
    queue.startOffset = Math.max(queue.startOffset, change.toOffset);
    queue.sizeBytes -= change.removedBytes;
  } else {
    for (const id of change.createQueues) queues.set(id, new QueueState(id));
    for (const id of change.dropQueues) {
      const queue = queues.get(id);
      if (queue === undefined) continue;
      queue.isDropped = true;
      queues.delete(id);
    }
    table.apply(change.changes, change.version);
  }
}
