/** The short forms of `npm run simulate` and `npm run crash-states`, the seeds that once failed, and that a seed means one run. */
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { tryCrashStates } from './crash-states.ts';
import { keptSeeds } from './kept-seeds.ts';
import { simulate } from './simulation.ts';

const root = resolve(import.meta.dirname, '../..');
const timeout = 120_000;

describe('the embedded engine on a simulated disk and clock', () => {
  for (const { seed, steps, found } of keptSeeds) {
    test(`seed ${seed}, which found: ${found}`, { timeout }, async () => {
      expect((await simulate({ seed, steps })).failures).toEqual([]);
    });
  }

  test('answers as the model does, whatever the seed', { timeout }, async () => {
    const wrong: string[] = [];
    for (let seed = 5000; seed < 5030; seed++) {
      const { failures } = await simulate({ seed, steps: 300 });
      wrong.push(...failures.map((failure) => `seed ${seed}: ${failure}`));
    }
    expect(wrong).toEqual([]);
  });

  test('leaves the same trace for the same seed, here and in another process', { timeout }, async () => {
    const first = await simulate({ seed: 9, steps: 300 });
    expect((await simulate({ seed: 9, steps: 300 })).traceHash).toBe(first.traceHash);
    expect((await simulate({ seed: 10, steps: 300 })).traceHash).not.toBe(first.traceHash);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['scripts/run-ts.mjs', 'test/simulation/run.ts', '--seeds', '1', '--from', '9'],
      { cwd: root },
    );
    expect(/^trace ([0-9a-f]+)$/m.exec(stdout)?.[1]).toBe(first.traceHash);
  });
});

test('the embedded engine after every kind of power cut', { timeout }, async () => {
  const result = await tryCrashStates({ seed: 3, operations: 240, states: 300, subsets: 5 });
  expect(result.failures).toEqual([]);
  expect(result.tried).toBeGreaterThanOrEqual(300);
});
