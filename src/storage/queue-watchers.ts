/**
 * Who waits for which queue, and the waking of them. Wake-ups are coalesced and run after the change that caused them, never
 * inside it, so that a waiter may append or read at once. Used by every engine; knows nothing of where data lies.
 */
import type { QueueId } from './engine.ts';

interface Watcher {
  readonly wake: () => void;
  isDue: boolean;
  isStopped: boolean;
}

export class QueueWatchers {
  private readonly ofQueue = new Map<QueueId, Set<Watcher>>();
  private due: Watcher[] = [];

  /** Calls `wake` after every `notify` of one of the queues, until the answered function is called. */
  watch(queues: readonly QueueId[], wake: () => void): () => void {
    const watcher: Watcher = { wake, isDue: false, isStopped: false };
    for (const queue of queues) {
      const watchers = this.ofQueue.get(queue);
      if (watchers === undefined) this.ofQueue.set(queue, new Set([watcher]));
      else watchers.add(watcher);
    }
    return () => {
      if (watcher.isStopped) return;
      watcher.isStopped = true;
      for (const queue of queues) {
        const watchers = this.ofQueue.get(queue);
        watchers?.delete(watcher);
        if (watchers?.size === 0) this.ofQueue.delete(queue);
      }
    };
  }

  /** The queue's visible end moved, or it ended: its watchers wake soon. */
  notify(queue: QueueId): void {
    const watchers = this.ofQueue.get(queue);
    if (watchers === undefined) return;
    for (const watcher of watchers) {
      if (watcher.isDue) continue;
      watcher.isDue = true;
      if (this.due.push(watcher) === 1) setImmediate(() => this.wakeDue());
    }
  }

  /** Everybody, as at close. */
  notifyAll(): void {
    for (const queue of this.ofQueue.keys()) this.notify(queue);
  }

  private wakeDue(): void {
    const due = this.due;
    this.due = [];
    // Cleared before the call: what moves while a watcher looks must wake it once more.
    for (const watcher of due) watcher.isDue = false;
    for (const watcher of due) if (!watcher.isStopped) watcher.wake();
  }
}
