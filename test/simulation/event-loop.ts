/**
 * Time and turns of a simulation: what the engine puts off (setImmediate, timers of its clock, calls to the disk) waits here and is run
 * one by one in an order that follows from the seed alone. Virtual time jumps from one event to the next.
 */
import type { Clock, Timer } from '../../src/util/clock.ts';

interface TimedEvent {
  readonly dueMs: number;
  readonly order: number;
  action: (() => void) | undefined;
}

const realSetImmediate = globalThis.setImmediate;

export class EventLoop implements Clock {
  /** Events run so far. */
  steps = 0;
  private wallMs: number;
  private monotonic = 0;
  private order = 0;
  private immediates: (() => void)[] = [];
  /** A binary heap by due time, then order. */
  private timed: TimedEvent[] = [];

  constructor(startMs = 1_700_000_000_000) {
    this.wallMs = startMs;
  }

  /** Runs `body` with setImmediate under the loop's control. */
  async within<T>(body: () => Promise<T>): Promise<T> {
    const simulated = (action: (...args: unknown[]) => void, ...args: unknown[]): void => {
      this.immediates.push(() => action(...args));
    };
    globalThis.setImmediate = simulated as unknown as typeof setImmediate;
    try {
      return await body();
    } finally {
      globalThis.setImmediate = realSetImmediate;
    }
  }

  /** What was put off to the next turn. */
  get immediatesWaiting(): number {
    return this.immediates.length;
  }

  nowMs(): number {
    return Math.floor(this.wallMs + this.monotonic);
  }

  monotonicMs(): number {
    return this.monotonic;
  }

  after(delayMs: number, action: () => void): Timer {
    const event = this.schedule(Math.max(0, delayMs), action);
    return {
      cancel: () => {
        event.action = undefined;
      },
    };
  }

  sleep(forMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.schedule(forMs, resolve);
    });
  }

  /** The wall clock is set. */
  jumpWall(byMs: number): void {
    this.wallMs += byMs;
  }

  /** The process is dead: nothing that it put off happens. */
  forgetAll(): void {
    this.immediates = [];
    this.timed = [];
  }

  /** Runs the next event and all that follows from it without waiting. False when there is none. */
  async step(): Promise<boolean> {
    const immediate = this.immediates.shift();
    if (immediate !== undefined) immediate();
    else {
      let event = this.pop();
      while (event !== undefined && event.action === undefined) event = this.pop();
      if (event === undefined) return false;
      if (event.dueMs > this.monotonic) this.monotonic = event.dueMs;
      event.action!();
    }
    this.steps++;
    await settle();
    // Signals and whoever else lives in this process have their turn.
    if (this.steps % 1000 === 0) await new Promise((resolve) => realSetImmediate(resolve));
    return true;
  }

  private schedule(delayMs: number, action: () => void): TimedEvent {
    const event: TimedEvent = { dueMs: this.monotonic + delayMs, order: this.order++, action };
    const heap = this.timed;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
    return event;
  }

  private pop(): TimedEvent | undefined {
    const heap = this.timed;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: TimedEvent, b: TimedEvent): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}

/** Lets everything that is already runnable run: a tick comes when no promise has anything left to do. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    process.nextTick(resolve);
  });
}
