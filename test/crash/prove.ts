/**
 * node scripts/run-ts.mjs test/crash/prove.ts [NAME ...]
 *
 * Tests the testers: puts each bug of seeded-bugs.ts into a bundle of its own and looks that the crash test which must find it
 * does, and that it finds nothing without a bug. Ends with `N passed, N failed`.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundleWithBug } from './broker-process.ts';
import { bundleBroker } from './bundled-broker.ts';
import { runCrashTest } from './crash-test.ts';
import { machineOfKills } from './machine.ts';
import { type KnownBug, seededBugs } from './seeded-bugs.ts';

const root = resolve(dirname(process.argv[1]!), '../..');
const cyclesForKills = 8;

async function cutPower(bug: KnownBug | undefined): Promise<readonly string[]> {
  await mkdir(join(root, '.cache'), { recursive: true });
  const directory = await mkdtemp(join(root, '.cache/prove-'));
  try {
    const program = await bundleWithBug(root, 'test/crash/power-cut-subject.ts', directory, bug);
    const subject = (await import(pathToFileURL(program).href)) as {
      findFailures(): Promise<readonly string[]>;
    };
    return await subject.findFailures();
  } catch (error) {
    // An engine that asserts or rejects where it must not is a finding too; a bug that cannot be put in is none.
    if (error instanceof Error && /has no text|is not part/.test(error.message)) throw error;
    return [String(error)];
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function kill(bug: KnownBug | undefined): Promise<readonly string[]> {
  const broker = await bundleBroker(root, bug);
  const lines: string[] = [];
  try {
    const { failed } = await runCrashTest({
      program: broker.program,
      machine: await machineOfKills(),
      cycles: cyclesForKills,
      seed: 11,
      mode: 'both',
      flushPolicies: ['acks', 'interval', 'always'],
      producers: 3,
      foreignClients: [],
      keepData: 'never',
      report: (line) => lines.push(line),
    });
    return failed === 0 ? [] : lines.filter((line) => line.includes('FAILED'));
  } finally {
    await broker.remove();
  }
}

const wanted = process.argv.slice(2);
let passed = 0;
let failed = 0;

function verdict(name: string, isRight: boolean, failures: readonly string[]): void {
  if (isRight) passed++;
  else failed++;
  console.log(
    `${isRight ? 'passed' : 'FAILED'}: ${name}${failures.length === 0 ? '' : `\n        ${failures[0]}`}`,
  );
}

if (wanted.length === 0) {
  for (const [name, test] of [
    ['power cuts', cutPower],
    ['kills', kill],
  ] as const) {
    const failures = await test(undefined);
    verdict(`${name} find nothing without a bug`, failures.length === 0, failures);
  }
}
for (const bug of seededBugs) {
  if (wanted.length > 0 && !wanted.some((name) => bug.name.includes(name))) continue;
  const failures = await (bug.foundBy === 'kills' ? kill(bug) : cutPower(bug));
  verdict(`${bug.foundBy} find: ${bug.name}`, failures.length > 0, failures);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
