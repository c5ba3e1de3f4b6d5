/**
 * The embedded engine on a disk whose power goes at every single call of a workload, and on one where every call fails once. What is
 * left is judged by CrashScenario. `CRASH_STATES=all` tries every call with every policy; otherwise a sample fits a test run.
 */
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import type { EmbeddedSettings } from '../../src/storage/embedded/settings.ts';
import type { StorageEngine } from '../../src/storage/engine.ts';
import type { VirtualClock } from '../../src/util/clock.ts';
import { type CrashPolicy, type DiskCallName, SimulatedDisk } from '../fakes/simulated-disk.ts';
import { CrashScenario } from './crash-scenario.ts';
import { smallSettings } from './embedded/small-settings.ts';
import { testPayloadFormat } from './test-payload.ts';

const triesEverything = process.env.CRASH_STATES === 'all';
const policies: readonly CrashPolicy[] = ['none', 'subset', 'prefix', 'all', 'kill'];
const operations = 60;

function openerWith(settings: Partial<EmbeddedSettings>) {
  return (disk: SimulatedDisk, clock: VirtualClock): Promise<StorageEngine> =>
    openEmbeddedEngine({
      directory: '/data',
      payloadFormat: testPayloadFormat,
      crc32c,
      fileSystem: disk,
      clock,
      settings,
    });
}

const open = openerWith(smallSettings);

/** Calls of the workload when nothing goes wrong. */
async function countCalls(seed: number): Promise<number> {
  const scenario = new CrashScenario(open, new SimulatedDisk({ seed }), seed);
  await scenario.start(undefined);
  await scenario.work(operations);
  expect(scenario.failures).toEqual([]);
  return scenario.disk.calls;
}

describe('a power cut', () => {
  for (const seed of triesEverything ? [1, 2, 3, 4, 5] : [1]) {
    test(`at every call, seed ${seed}`, { timeout: 3_600_000 }, async () => {
      const calls = await countCalls(seed);
      const wrong: string[] = [];
      for (let call = 1; call <= calls && wrong.length < 5; call++) {
        for (const [at, policy] of policies.entries()) {
          if (!triesEverything && call % policies.length !== at) continue;
          const scenario = new CrashScenario(open, new SimulatedDisk({ seed }), seed);
          scenario.disk.crashAtCall = call;
          await scenario.start(undefined);
          await scenario.work(operations);
          scenario.crash(policy, call);
          await scenario.start(policy);
          await scenario.work(6);
          scenario.crash('none', call);
          await scenario.start('none');
          wrong.push(...scenario.failures.map((failure) => `call ${call}, ${policy}: ${failure}`));
        }
      }
      expect(wrong).toEqual([]);
    });
  }

  test('at every call of an opening, again and again', { timeout: 3_600_000 }, async () => {
    const wrong: string[] = [];
    for (const [at, policy] of policies.entries()) {
      const seed = 100 + at;
      const scenario = new CrashScenario(open, new SimulatedDisk({ seed }), seed);
      await scenario.start(undefined);
      await scenario.work(operations);
      scenario.crash(policy, seed);
      // Each opening gets one call further than the one before.
      for (let call = 1; ; call += triesEverything ? 1 : 3) {
        scenario.disk.crashAtCall = call;
        await scenario.start(policy);
        const isOpen = scenario.disk.calls < call;
        if (isOpen || scenario.failures.length > 0) break;
        scenario.crash(call % 2 ? 'none' : 'subset', seed + call);
      }
      wrong.push(...scenario.failures.map((failure) => `${policy}: ${failure}`));
    }
    expect(wrong).toEqual([]);
  });
});

describe('a failing disk', () => {
  const faults: readonly {
    readonly name: DiskCallName;
    readonly code: string;
    readonly doneBytes?: number;
  }[] = [
    { name: 'write', code: 'EIO' },
    { name: 'write', code: 'EIO', doneBytes: 100 },
    { name: 'write', code: 'ENOSPC' },
    { name: 'write', code: 'ENOSPC', doneBytes: 1000 },
    { name: 'datasync', code: 'EIO' },
    { name: 'datasync', code: 'ENOSPC' },
    { name: 'open', code: 'EMFILE' },
    { name: 'open', code: 'EIO' },
    { name: 'syncDirectory', code: 'EIO' },
    { name: 'rename', code: 'EIO' },
    { name: 'unlink', code: 'EIO' },
    { name: 'read', code: 'EIO' },
  ];

  for (const { name, code, doneBytes } of faults) {
    const part = doneBytes === undefined ? '' : ` after ${doneBytes} bytes`;
    test(`${name} fails once with ${code}${part}`, { timeout: 3_600_000 }, async () => {
      const seed = 7;
      const wrong: string[] = [];
      let struck = true;
      let strikes = 0;
      for (let number = 1; struck && wrong.length < 5; number += triesEverything ? 1 : 4) {
        const scenario = new CrashScenario(open, new SimulatedDisk({ seed }), seed);
        await scenario.start(undefined);
        let left = number;
        struck = false;
        scenario.disk.fault = (call) => {
          if (call.name !== name || --left !== 0) return undefined;
          struck = true;
          strikes++;
          return { kind: 'error', code, ...(doneBytes === undefined ? {} : { doneBytes }) };
        };
        await scenario.work(operations);
        scenario.crash('none', number);
        await scenario.start('none');
        await scenario.work(6);
        wrong.push(...scenario.failures.map((failure) => `${name} ${number}: ${failure}`));
      }
      expect(wrong).toEqual([]);
      expect(strikes).toBeGreaterThan(0);
    });
  }
});
