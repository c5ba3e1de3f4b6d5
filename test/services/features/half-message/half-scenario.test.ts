/** Samples of half-scenario.ts that fit a test run; `HALF_SEEDS=n` tries n. */
import { expect, it } from 'vitest';
import type { CrashPolicy } from '../../../fakes/simulated-disk.ts';
import { HalfScenario } from './half-scenario.ts';

const seeds = Number(process.env.HALF_SEEDS ?? 12);
const timeout = 3_600_000;
const policies: readonly CrashPolicy[] = ['kill', 'none', 'subset', 'prefix', 'all'];

it('half messages end as the first answered verdict says, over crashes at any call', {
  timeout,
}, async () => {
  const kinds = new Map<string, number>();
  for (let seed = 1; seed <= seeds; seed++) {
    const scenario = new HalfScenario(seed);
    for (let crash = 0; crash < 4; crash++) {
      await scenario.start(40 + ((seed * 37 + crash * 91) % 400));
      await scenario.work(50);
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
  expect([...kinds.keys()].sort()).toEqual(
    expect.arrayContaining([
      'asked',
      'commit conflict',
      'commit done',
      'ended committed',
      'ended discarded',
      'ended rolled-back',
      'redrive sent',
      'rollback conflict',
      'rollback done',
    ]),
  );
});
