/** Power cuts and kills at random calls to the disk, again and again on what is left, judged by CrashScenario. */
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { StorageEngine } from '../../../src/storage/engine.ts';
import type { VirtualClock } from '../../../src/util/clock.ts';
import { type CrashPolicy, SimulatedDisk, seededRandom } from '../../fakes/simulated-disk.ts';
import { CrashScenario } from '../crash-scenario.ts';
import { testPayloadFormat } from '../test-payload.ts';
import { smallSettings } from './small-settings.ts';

const seeds = Number(process.env.CRASH_SEEDS ?? 12);
const firstSeed = Number(process.env.CRASH_FIRST_SEED ?? 1);
const policies: readonly CrashPolicy[] = ['kill', 'none', 'all', 'prefix', 'subset'];

function open(disk: SimulatedDisk, clock: VirtualClock): Promise<StorageEngine> {
  return openEmbeddedEngine({
    directory: '/data',
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: disk,
    clock,
    settings: smallSettings,
  });
}

async function play(seed: number): Promise<readonly string[]> {
  const random = seededRandom(seed);
  const scenario = new CrashScenario(open, new SimulatedDisk({ seed }), seed);
  let policy: CrashPolicy | undefined;
  for (let crash = 0; crash < 6; crash++) {
    // Often early, so that openings are cut off too.
    const calls = random() < 0.4 ? random() * 40 : random() * 1500;
    scenario.disk.crashAtCall = scenario.disk.calls + 1 + Math.floor(calls);
    await scenario.start(policy);
    const wasJudged = scenario.disk.calls < scenario.disk.crashAtCall;
    if (scenario.failures.length > 0) break;
    await scenario.work(20 + Math.floor(random() * 150));
    const next = policies[Math.floor(random() * policies.length)]!;
    // What nobody looked at after a power cut is no better after a kill.
    policy = wasJudged || next !== 'kill' ? next : (policy ?? next);
    scenario.crash(next, seed * 100 + crash);
  }
  if (scenario.failures.length === 0) await scenario.start(policy);
  return scenario.failures;
}

describe('the embedded engine after crashes', () => {
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    test(`seed ${seed}`, async () => {
      expect(await play(seed)).toEqual([]);
    });
  }
});
