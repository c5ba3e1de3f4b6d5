/**
 * The embedded engine on a simulated disk whose power goes at every single call of a workload, and on one where every call fails
 * once. What is left is judged by CrashScenario. The answers are lists of what was wrong.
 */
import { crc32c } from '../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import type { StorageEngine } from '../../src/storage/engine.ts';
import type { VirtualClock } from '../../src/util/clock.ts';
import { type CrashPolicy, type DiskCallName, SimulatedDisk } from '../fakes/simulated-disk.ts';
import { CrashScenario } from './crash-scenario.ts';
import { smallSettings } from './embedded/small-settings.ts';
import { testPayloadFormat } from './test-payload.ts';

const policies: readonly CrashPolicy[] = ['none', 'subset', 'prefix', 'all', 'kill'];
const operations = 60;
const mostWrong = 5;

export interface RepeatedFault {
  readonly name: DiskCallName;
  readonly code: string;
  /** Of a write, before it fails. */
  readonly doneBytes?: number;
}

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

function scenarioOf(seed: number): CrashScenario {
  return new CrashScenario(open, new SimulatedDisk({ seed }), seed);
}

/** The power goes at every `step`th call of a workload, with the policies that `which` says; then again soon after. */
export async function cutAtEveryCall(
  seed: number,
  which: 'each' | 'in turn' | CrashPolicy,
  step = 1,
): Promise<string[]> {
  const whole = scenarioOf(seed);
  await whole.start(undefined);
  await whole.work(operations);
  const wrong = [...whole.failures];
  for (let call = 1; call <= whole.disk.calls && wrong.length < mostWrong; call += step) {
    for (const [at, policy] of policies.entries()) {
      if (which === 'in turn' ? call % policies.length !== at : which !== 'each' && which !== policy)
        continue;
      const scenario = scenarioOf(seed);
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
  return wrong;
}

/** Openings that are cut off one after the other, each `step` calls further than the one before, until one is through. */
export async function cutOpenings(seed: number, step: number): Promise<string[]> {
  const wrong: string[] = [];
  for (const [at, policy] of policies.entries()) {
    const scenario = scenarioOf(seed + at);
    await scenario.start(undefined);
    await scenario.work(operations);
    scenario.crash(policy, seed);
    for (let call = 1; ; call += step) {
      scenario.disk.crashAtCall = call;
      await scenario.start(policy);
      const isOpen = scenario.disk.calls < call;
      if (isOpen || scenario.failures.length > 0) break;
      scenario.crash(call % 2 ? 'none' : 'subset', seed + call);
    }
    wrong.push(...scenario.failures.map((failure) => `${policy}: ${failure}`));
  }
  return wrong;
}

/** The first call of that name fails, then in a new run the one `step` further, and so on; after each the power goes. */
export async function failEveryCall(
  seed: number,
  fault: RepeatedFault,
  step: number,
): Promise<{ readonly wrong: readonly string[]; readonly strikes: number }> {
  const wrong: string[] = [];
  let strikes = 0;
  for (let number = 1; wrong.length < mostWrong; number += step) {
    const scenario = scenarioOf(seed);
    await scenario.start(undefined);
    let left = number;
    scenario.disk.fault = (call) =>
      call.name === fault.name && --left === 0 ? { kind: 'error', ...fault } : undefined;
    await scenario.work(operations);
    scenario.crash('none', number);
    await scenario.start('none');
    await scenario.work(6);
    wrong.push(...scenario.failures.map((failure) => `${fault.name} ${number}: ${failure}`));
    if (left > 0) break;
    strikes++;
  }
  return { wrong, strikes };
}
