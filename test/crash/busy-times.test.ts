import { describe, expect, test } from 'vitest';
import { BusyTimes } from './busy-times.ts';

const ns = (ms: number): number => (ms + 1000) * 1e6;

function flushed(...spans: readonly (readonly [number, number | undefined])[]): BusyTimes {
  const times = new BusyTimes(1000);
  for (const [at, [from, to]] of spans.entries()) {
    times.take(`begin ${at} ${ns(from)}`);
    if (to !== undefined) times.take(`end ${at} ${ns(to)}`);
  }
  return times;
}

describe('the times without a flush before a power cut', () => {
  test('are all the time where there was none', () => {
    expect(flushed().idleMs(100, 150)).toBe(50);
    expect(flushed().momentBefore(150, 50)).toBe(100);
  });

  test('leave flushes out, overlapping ones once, and one that never ended', () => {
    const times = flushed([100, 130], [120, 140], [190, undefined]);
    expect(times.idleMs(90, 200)).toBe(60);
    expect(times.momentBefore(200, 50)).toBe(140);
    expect(times.momentBefore(200, 60)).toBe(90);
    expect(times.idleMs(125, 200)).toBe(50);
  });

  test('leave out when the process could not run, also at the end', () => {
    const times = flushed();
    for (const at of [100, 110, 120, 180, 190]) times.take(`tick ${ns(at)}`);
    expect(times.idleMs(100, 190)).toBe(40);
    expect(times.idleMs(100, 250)).toBe(50);
    expect(times.momentBefore(250, 10)).toBe(190);
  });
});
