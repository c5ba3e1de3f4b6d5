/** Samples of retry-scenario.ts that fit a test run; `RETRY_SEEDS=n` tries n. */
import { expect, it } from 'vitest';
import type { CrashPolicy } from '../../../fakes/simulated-disk.ts';
import { RetryScenario } from './retry-scenario.ts';

const seeds = Number(process.env.RETRY_SEEDS ?? 4);
const policies: readonly CrashPolicy[] = ['kill', 'none', 'subset', 'prefix', 'all'];

it('every failure that was answered is followed by one retry or dead letter, over crashes at any call', {
  timeout: 3_600_000,
}, async () => {
  const kinds = new Map<string, number>();
  for (let seed = 1; seed <= seeds; seed++) {
    const scenario = new RetryScenario(seed);
    for (let crash = 0; crash < 4; crash++) {
      await scenario.start(60 + ((seed * 37 + crash * 91) % 400));
      await scenario.work(40);
      scenario.crash(policies[(seed + crash) % policies.length]!, seed + crash);
    }
    await scenario.start();
    await scenario.work(20);
    await scenario.finish();
    expect([seed, scenario.failures]).toEqual([seed, []]);
    await scenario.close();
    for (const [kind, count] of scenario.seenKinds) kinds.set(kind, (kinds.get(kind) ?? 0) + count);
  }
  // The walk has been everywhere.
  expect([...kinds.keys()].sort()).toEqual(['dead', 'retry 1', 'retry 2', 'told', 'told again']);
});
