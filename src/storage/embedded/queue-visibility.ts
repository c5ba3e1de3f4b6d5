/**
 * Which groups wait for the log to be written or durable, in which order their entries become visible, and their answers. Within a
 * queue entries become visible in order; queues do not wait for each other.
 *
 * A group becomes visible when the log is written beyond its end and durable as far as it needs: its own end when it is sync, and
 * whatever those that wait before it in its queues need. What a queue needs only grows, so every group before it in any of its
 * queues is visible then, without looking at them.
 */
import type { AppendResult } from '../engine.ts';
import type { QueueState } from './queue-state.ts';

class PendingGroup {
  readonly end: number;
  readonly neededDurable: number;
  readonly queues: readonly QueueState[];
  readonly endOffsets: readonly number[];
  readonly sizesBytes: readonly number[];
  readonly results: readonly AppendResult[];
  readonly resolve: (results: readonly AppendResult[]) => void;

  constructor(
    end: number,
    neededDurable: number,
    queues: readonly QueueState[],
    endOffsets: readonly number[],
    sizesBytes: readonly number[],
    results: readonly AppendResult[],
    resolve: (results: readonly AppendResult[]) => void,
  ) {
    this.end = end;
    this.neededDurable = neededDurable;
    this.queues = queues;
    this.endOffsets = endOffsets;
    this.sizesBytes = sizesBytes;
    this.results = results;
    this.resolve = resolve;
  }
}

const unknown: AppendResult = { outcome: 'unknown' };

export class QueueVisibility {
  private readonly moved: (queue: QueueState) => void;
  /** In log order; those before `writtenHead` are done. */
  private awaitingWrite: PendingGroup[] = [];
  private writtenHead = 0;
  /** Written, in log order. */
  private awaitingDurable: PendingGroup[] = [];

  /** `moved`: the queue's visible end is another. */
  constructor(moved: (queue: QueueState) => void) {
    this.moved = moved;
  }

  get waiting(): number {
    return this.awaitingWrite.length - this.writtenHead + this.awaitingDurable.length;
  }

  /**
   * A group that ends at `end` in the log, with an entry of `queues[i]` that ends at `endOffsets[i]`. The promise answers the
   * results when they may be told.
   */
  add(
    end: number,
    isSync: boolean,
    durable: number,
    queues: readonly QueueState[],
    endOffsets: readonly number[],
    sizesBytes: readonly number[],
    results: readonly AppendResult[],
  ): Promise<readonly AppendResult[]> {
    let needed = isSync ? end : 0;
    for (let at = 0; at < queues.length; at++) {
      const queue = queues[at]!;
      queue.invisibleBytes += sizesBytes[at]!;
      if (queue.neededDurable > durable && queue.neededDurable > needed) needed = queue.neededDurable;
    }
    if (needed > durable) for (const queue of queues) queue.neededDurable = needed;
    return new Promise((resolve) => {
      this.awaitingWrite.push(
        new PendingGroup(end, needed, queues, endOffsets, sizesBytes, results, resolve),
      );
    });
  }

  /** Results that rest on what is in the log before `end` (a duplicate's first), told when that is safe. */
  addAnswer(
    end: number,
    neededDurable: number,
    results: readonly AppendResult[],
  ): Promise<readonly AppendResult[]> {
    return new Promise((resolve) => {
      this.awaitingWrite.push(new PendingGroup(end, neededDurable, none, none, none, results, resolve));
    });
  }

  progress(written: number, durable: number): void {
    // What waits for the flush is older than what is only being written now.
    const waiting = this.awaitingDurable;
    if (waiting.length > 0) {
      let kept = 0;
      for (let at = 0; at < waiting.length; at++) {
        const group = waiting[at]!;
        if (group.neededDurable <= durable) this.show(group);
        else waiting[kept++] = group;
      }
      waiting.length = kept;
    }
    const groups = this.awaitingWrite;
    let head = this.writtenHead;
    while (head < groups.length && groups[head]!.end <= written) {
      const group = groups[head++]!;
      if (group.neededDurable <= durable) this.show(group);
      else waiting.push(group);
    }
    if (head === groups.length) {
      groups.length = 0;
      head = 0;
    } else if (head > 1024 && head * 2 > groups.length) {
      this.awaitingWrite = groups.slice(head);
      head = 0;
    }
    this.writtenHead = head;
  }

  /** What is not written may be so much later: its callers are told that it is unknown. It still becomes visible when it is. */
  answerUnwritten(): void {
    for (let at = this.writtenHead; at < this.awaitingWrite.length; at++)
      answerUnknown(this.awaitingWrite[at]!);
  }

  /** Nothing will come of those that wait, or nobody knows. */
  answerAll(): void {
    this.answerUnwritten();
    for (const group of this.awaitingDurable) answerUnknown(group);
    this.awaitingWrite = [];
    this.writtenHead = 0;
    this.awaitingDurable = [];
  }

  private show(group: PendingGroup): void {
    const { queues } = group;
    for (let at = 0; at < queues.length; at++) {
      const queue = queues[at]!;
      queue.visibleEndOffset = group.endOffsets[at]!;
      queue.invisibleBytes -= group.sizesBytes[at]!;
      this.moved(queue);
    }
    group.resolve(group.results);
  }
}

const none: readonly never[] = [];

function answerUnknown(group: PendingGroup): void {
  group.resolve(group.results.map(() => unknown));
}
