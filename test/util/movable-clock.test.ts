/** A clock that is moved on: what falls due on the way is done in order, work at its own time, waits end. */
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../src/util/clock.ts';
import { MovableClock } from '../../src/util/movable-clock.ts';

const dayMs = 86_400_000;

describe('a clock that can be moved', () => {
  it('moves wall and monotonic time alike, and goes on by itself', async () => {
    const machine = new VirtualClock(1_000_000);
    const clock = new MovableClock(machine, 500);
    expect(clock.nowMs()).toBe(1_000_500);
    const monotonicMs = clock.monotonicMs();
    await clock.advance(dayMs);
    await machine.advance(7);
    expect(clock.nowMs()).toBe(1_000_500 + dayMs + 7);
    expect(clock.monotonicMs() - monotonicMs).toBe(dayMs + 7);
    expect(clock.shiftMs).toBe(500 + dayMs);
  });

  it('does what falls due in due order, what is set on the way too, and nothing that was cancelled', async () => {
    const clock = new MovableClock(new VirtualClock(), 0);
    const done: string[] = [];
    clock.after(3_600_000, () => {
      done.push('hour');
      cancelled.cancel();
      clock.after(3_600_000, () => done.push('next hour'));
    });
    clock.after(1000, () => done.push('second'));
    const cancelled = clock.after(3_700_000, () => done.push('cancelled'));
    clock.after(2 * dayMs, () => done.push('after two days'));
    await clock.advance(dayMs);
    expect(done).toEqual(['second', 'hour', 'next hour']);
    await clock.advance(dayMs);
    expect(done.at(-1)).toBe('after two days');
  });

  it('keeps for the machine what is not due yet', async () => {
    const machine = new VirtualClock();
    const clock = new MovableClock(machine, 0);
    let isDone = false;
    clock.after(dayMs + 100, () => {
      isDone = true;
    });
    await clock.advance(dayMs);
    await machine.advance(99);
    expect(isDone).toBe(false);
    await machine.advance(1);
    expect(isDone).toBe(true);
  });

  it('does work at the moments at which it is due', async () => {
    const clock = new MovableClock(new VirtualClock(0), 0);
    const dues = [10, 11, 5_000, 3_600_000, dayMs - 1, dayMs + 1];
    const doneAt: number[] = [];
    await clock.advance(dayMs, {
      get nextDueMs() {
        return dues[0];
      },
      async whenDone() {
        while (dues.length > 0 && dues[0]! <= clock.nowMs()) {
          doneAt.push(clock.nowMs());
          dues.shift();
        }
      },
    });
    expect(doneAt).toEqual([10, 11, 5_000, 3_600_000, dayMs - 1]);
    expect(clock.nowMs()).toBe(dayMs);
  });

  it('does not stop for ever at work that cannot be done', async () => {
    const clock = new MovableClock(new VirtualClock(0), 0);
    await clock.advance(dayMs, { nextDueMs: 5, whenDone: async () => {} });
    expect(clock.nowMs()).toBe(dayMs);
  });
});
