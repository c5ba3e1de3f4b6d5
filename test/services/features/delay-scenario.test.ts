/** Samples of delay-scenario.ts that fit a test run; `DELAY_SEEDS=n` tries n of each. */
import { describe, expect, it } from 'vitest';
import type { CrashPolicy } from '../../fakes/simulated-disk.ts';
import { DelayScenario } from './delay-scenario.ts';

const seeds = Number(process.env.DELAY_SEEDS ?? 8);
const timeout = 3_600_000;
const policies: readonly CrashPolicy[] = ['kill', 'none', 'subset', 'prefix', 'all'];

describe('delayed records beside a model', () => {
  it('in memory', { timeout }, async () => {
    const kinds = new Map<string, number>();
    let delivered = 0;
    for (let seed = 1; seed <= seeds; seed++) {
      const scenario = new DelayScenario(seed, 'memory');
      await scenario.start();
      await scenario.work(120);
      await scenario.finish();
      await scenario.close();
      expect([seed, scenario.failures]).toEqual([seed, []]);
      delivered += scenario.delivered;
      for (const [kind, count] of scenario.seenKinds) kinds.set(kind, (kinds.get(kind) ?? 0) + count);
    }
    // The walk has been everywhere.
    expect(delivered).toBeGreaterThan(seeds * 50);
    expect([...kinds.keys()].sort()).toEqual(
      expect.arrayContaining([
        'cancel already-delivered',
        'cancel done',
        'deliver already-cancelled',
        'deliver done',
        'reschedule already-delivered',
        'reschedule done',
      ]),
    );
  });

  it('on a disk, restarted cleanly now and then', { timeout }, async () => {
    for (let seed = 100; seed < 100 + Math.ceil(seeds / 2); seed++) {
      const scenario = new DelayScenario(seed, 'embedded');
      for (let life = 0; life < 3; life++) {
        await scenario.start();
        await scenario.work(40);
        if (life < 2) await scenario.close();
      }
      await scenario.finish();
      expect([seed, scenario.failures]).toEqual([seed, []]);
      await scenario.close();
    }
  });

  it('on a disk that crashes at any call, again and again', { timeout }, async () => {
    for (let seed = 200; seed < 200 + seeds * 3; seed++) {
      const scenario = new DelayScenario(seed, 'embedded');
      for (let crash = 0; crash < 4; crash++) {
        scenario.disk!.crashAtCall = 30 + ((seed * 37 + crash * 91) % 400);
        await scenario.start();
        await scenario.work(60);
        scenario.crash(policies[(seed + crash) % policies.length]!, seed + crash);
      }
      await scenario.start();
      await scenario.finish();
      expect([seed, scenario.failures]).toEqual([seed, []]);
      await scenario.close();
    }
  });
});
