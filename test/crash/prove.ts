/**
 * npm run prove -- [--tester NAME ...] [NAME OF A BUG ...]
 *
 * Tests the testers: puts each bug of seeded-bugs.ts into a bundle of its own and looks that each test which must find it does, and
 * that none finds anything without a bug. Ends with `N passed, N failed`.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { bundleWithBug } from './broker-process.ts';
import { bundleBroker } from './bundled-broker.ts';
import { type CrashTestOptions, runCrashTest } from './crash-test.ts';
import { type Machine, machineOfKills } from './machine.ts';
import { choosePowerCuts } from './power-cut-machines.ts';
import { type KnownBug, seededBugs, type Tester } from './seeded-bugs.ts';

const root = resolve(dirname(process.argv[1]!), '../..');
const cyclesOfKills = 8;
const cyclesOfCuts = 12;

type FindFailures = (bug: KnownBug | undefined) => Promise<readonly string[]>;

/** Bundles a program and calls one of its functions, which answers what was wrong. */
function subject(entry: string, name: string): FindFailures {
  return async (bug) => {
    await mkdir(join(root, '.cache'), { recursive: true });
    const directory = await mkdtemp(join(root, '.cache/prove-'));
    try {
      const program = await bundleWithBug(root, entry, directory, bug);
      const module = (await import(pathToFileURL(program).href)) as Record<
        string,
        () => Promise<readonly string[]>
      >;
      return await module[name]!();
    } catch (error) {
      // An engine that asserts or rejects where it must not is a finding too; a bug that cannot be put in is none.
      if (error instanceof Error && /has no text|is not part/.test(error.message)) throw error;
      return [String(error)];
    } finally {
      await rm(directory, { recursive: true });
    }
  };
}

function struckBroker(
  makeMachine: () => Promise<Machine>,
  more: Pick<CrashTestOptions, 'cycles' | 'flushPolicies'>,
): FindFailures {
  return async (bug) => {
    const broker = await bundleBroker(root, bug);
    const lines: string[] = [];
    try {
      const { failed } = await runCrashTest({
        program: broker.program,
        machine: await makeMachine(),
        ...more,
        seed: 11,
        mode: 'both',
        producers: 3,
        foreignClients: [],
        keepData: 'never',
        report: (line) => lines.push(line),
      });
      return failed === 0 ? [] : lines.filter((line) => line.includes('FAILED'));
    } finally {
      await broker.remove();
    }
  };
}

const testers: Readonly<Record<Tester, FindFailures>> = {
  disk: subject('test/crash/power-cut-subject.ts', 'findFailures'),
  simulation: subject('test/simulation/subject.ts', 'findInSimulation'),
  states: subject('test/simulation/subject.ts', 'findInStates'),
  kills: struckBroker(machineOfKills, {
    cycles: cyclesOfKills,
    flushPolicies: ['acks', 'interval', 'always'],
  }),
  cuts: struckBroker(async () => (await choosePowerCuts(root)).make!(11), {
    cycles: cyclesOfCuts,
    flushPolicies: ['acks'],
  }),
};

const { values, positionals } = parseArgs({
  options: { tester: { type: 'string', multiple: true, default: Object.keys(testers) } },
  allowPositionals: true,
});
let wanted = values.tester as Tester[];
const powerCuts = wanted.includes('cuts') ? await choosePowerCuts(root) : undefined;
if (powerCuts !== undefined && powerCuts.make === undefined) {
  console.log(
    `NO POWER CUT OF A REAL FILE SYSTEM CAN BE MADE, so that tester is not tested: ${powerCuts.missing.join('; ')}`,
  );
  wanted = wanted.filter((tester) => tester !== 'cuts');
}
let passed = 0;
let failed = 0;

function verdict(name: string, isRight: boolean, failures: readonly string[], startedMs: number): void {
  if (isRight) passed++;
  else failed++;
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  const first = failures[0] === undefined ? '' : `\n        ${failures[0].split('\n')[0]}`;
  console.log(`${isRight ? 'passed' : 'FAILED'}: ${name} (${seconds} s)${first}`);
}

for (const tester of wanted) {
  if (positionals.length === 0) {
    const startedMs = performance.now();
    const failures = await testers[tester](undefined);
    verdict(`${tester}: finds nothing without a bug`, failures.length === 0, failures, startedMs);
  }
  for (const bug of seededBugs) {
    if (!bug.foundBy.includes(tester)) continue;
    if (positionals.length > 0 && !positionals.some((name) => bug.name.includes(name))) continue;
    const startedMs = performance.now();
    const failures = await testers[tester](bug);
    verdict(`${tester}: finds that ${bug.name}`, failures.length > 0, failures, startedMs);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
