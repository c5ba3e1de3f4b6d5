/** A sample of the fault matrix that fits a test run: every place that makes a file call, with one fault each. In full: test/faults/matrix.ts. */
import { expect, test } from 'vitest';
import type { WatchedCall } from '../../fakes/watched-disk.ts';
import { describeStrike, faultsOf, runScenario } from '../fault-matrix.ts';

test('every place that makes a file call, struck once', { timeout: 240_000 }, async () => {
  const whole = await runScenario([], 'all');
  expect(whole.wrong).toEqual([]);
  expect(whole.hasStopped).toBe(false);
  const bySite = new Map<string, WatchedCall[]>();
  for (const call of whole.calls) {
    const key = `${call.site} ${call.call}`;
    bySite.set(key, [...(bySite.get(key) ?? []), call]);
  }
  expect(bySite.size).toBeGreaterThan(80);
  const wrong: string[] = [];
  let stops = 0;
  for (const [index, calls] of [...bySite.values()].entries()) {
    const call = calls[index % calls.length]!;
    const faults = faultsOf(call);
    const fault = faults[index % faults.length]!;
    const outcome = await runScenario([{ number: call.number, fault }]);
    if (outcome.struck.length === 0) wrong.push(`not struck: ${describeStrike(call, fault)}`);
    if (outcome.hasStopped) stops++;
    wrong.push(...outcome.wrong.map((what) => `${describeStrike(call, fault)}: ${what}`));
  }
  expect(wrong).toEqual([]);
  expect(stops).toBeGreaterThan(0);
});

test('a close that lacks descriptors or room half-way loses nothing', { timeout: 240_000 }, async () => {
  const whole = await runScenario();
  const [first, last] = whole.closing;
  expect(last - first).toBeGreaterThan(40);
  const wrong: string[] = [];
  for (let number = first; number <= last; number += 5) {
    const fault = { kind: 'error', code: number % 2 === 0 ? 'EMFILE' : 'ENOSPC' } as const;
    const outcome = await runScenario([{ number, fault }]);
    wrong.push(...outcome.wrong.map((what) => `${describeStrike(whole.calls[number - 1]!, fault)}: ${what}`));
  }
  expect(wrong).toEqual([]);
});
