import { expect, test } from 'vitest';
import { eventLoopDelayMetrics, LatenessOfTimer } from '../../src/telemetry/event-loop-delay.ts';
import { MetricRegistry } from '../../src/telemetry/metrics.ts';

/** A sample of the answer to a scrape. */
function sample(text: string, name: string): number {
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  return Number(line?.split(' ')[1]);
}

test('counts what a timer was late by', () => {
  const lateness = new LatenessOfTimer(1000, 20);
  for (const at of [1020, 1040, 1063, 1313, 1330]) lateness.tick(at);
  expect(lateness.counts).toEqual([3, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  expect(lateness.longestSeconds).toBeCloseTo(0.23);
  expect(lateness.sumSeconds).toBeCloseTo(0.233);
  lateness.tick(100_000);
  expect(lateness.counts.at(-1)).toBe(1);
});

test('a blocked loop is seen, also right after a scrape, and the longest delay of each time between two', async () => {
  const registry = new MetricRegistry();
  registry.add(eventLoopDelayMetrics());
  expect(sample(registry.render(), 'nodejs_eventloop_lag_seconds_count')).toBe(0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  registry.render();
  const untilMs = performance.now() + 200;
  while (performance.now() < untilMs);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const text = registry.render();
  expect(sample(text, 'nodejs_eventloop_lag_max_seconds')).toBeGreaterThan(0.1);
  expect(sample(text, 'nodejs_eventloop_lag_seconds_count')).toBeGreaterThan(1);
  expect(sample(registry.render(), 'nodejs_eventloop_lag_max_seconds')).toBe(0);
});
