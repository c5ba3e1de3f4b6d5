import { beforeEach, describe, expect, it } from 'vitest';
import { VirtualClock } from '../../src/util/clock.ts';
import { GuardedClock, jumpHoldMs, jumpToleranceMs } from '../../src/util/guarded-clock.ts';
import { silentLog } from '../../src/util/log.ts';

const hourMs = 3_600_000;
const tenYearsMs = 10 * 365 * 24 * hourMs;
let clock: VirtualClock;
let guarded: GuardedClock;
let warnings: string[];

beforeEach(() => {
  clock = new VirtualClock(1_000_000_000);
  warnings = [];
  guarded = new GuardedClock(clock, { ...silentLog, warn: (_, message) => void warnings.push(message) });
});

describe('a guarded clock', () => {
  it('goes with the wall clock, also over long silences', async () => {
    for (const stepMs of [1, hourMs, 30 * 24 * hourMs]) {
      await clock.advance(stepMs);
      expect(guarded.nowMs()).toBe(clock.nowMs());
    }
    expect(warnings).toEqual([]);
  });

  it('believes small corrections and every jump back at once', () => {
    clock.jumpWall(jumpToleranceMs);
    expect(guarded.nowMs()).toBe(clock.nowMs());
    clock.jumpWall(-2 * hourMs);
    expect(guarded.nowMs()).toBe(clock.nowMs());
    expect(warnings).toEqual([]);
  });

  it.each([hourMs, tenYearsMs])(
    'goes on by itself when the wall clock jumps ahead by %d ms, and says so once',
    async (jumpMs) => {
      const before = guarded.nowMs();
      clock.jumpWall(jumpMs);
      expect(guarded.nowMs()).toBe(before);
      await clock.advance(2 * hourMs);
      expect(guarded.nowMs()).toBe(before + 2 * hourMs);
      expect(warnings.length).toBe(1);
      // Put right in time: as if nothing had been.
      clock.jumpWall(-jumpMs);
      expect(guarded.nowMs()).toBe(clock.nowMs());
      await clock.advance(2 * jumpHoldMs);
      expect(guarded.nowMs()).toBe(clock.nowMs());
      expect(warnings.length).toBe(1);
    },
  );

  it('believes the new time when it stayed that way for a day', async () => {
    clock.jumpWall(tenYearsMs);
    guarded.nowMs();
    await clock.advance(jumpHoldMs - 1);
    expect(guarded.nowMs()).toBe(clock.nowMs() - tenYearsMs);
    await clock.advance(1);
    expect(guarded.nowMs()).toBe(clock.nowMs());
    await clock.advance(hourMs);
    expect(guarded.nowMs()).toBe(clock.nowMs());
    expect(warnings.length).toBe(2);
  });
});
