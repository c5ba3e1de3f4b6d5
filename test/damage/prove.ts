/**
 * node scripts/run-ts.mjs test/damage/prove.ts [NAME ...]
 *
 * Tests the tester: puts each bug of seeded-bugs.ts into a bundle of the damage test and looks that it is found, and that nothing is
 * found without one. Ends with `N passed, N failed`.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundleWithBug, type SeededBug } from '../crash/broker-process.ts';
import { seededBugs } from './seeded-bugs.ts';

const root = resolve(dirname(process.argv[1]!), '../..');
const count = 600;
const seed = 5;

async function failuresWith(bug: SeededBug | undefined): Promise<readonly string[]> {
  await mkdir(join(root, '.cache'), { recursive: true });
  const directory = await mkdtemp(join(root, '.cache/prove-damage-'));
  try {
    const program = await bundleWithBug(root, 'test/damage/damage-subject.ts', directory, bug);
    const subject = (await import(pathToFileURL(program).href)) as {
      findFailures(count: number, seed: number): Promise<readonly string[]>;
    };
    return await subject.findFailures(count, seed);
  } finally {
    await rm(directory, { recursive: true });
  }
}

const wanted = process.argv.slice(2);
let passed = 0;
let failed = 0;

function verdict(name: string, isRight: boolean, failures: readonly string[]): void {
  if (isRight) passed++;
  else failed++;
  const first = failures.length === 0 ? '' : `\n        ${failures[0]!.slice(0, 300)}`;
  console.log(`${isRight ? 'passed' : 'FAILED'}: ${name}${first}`);
}

// The same damages without a bug: what fails there too would prove nothing.
const without = await failuresWith(undefined);
verdict('damages find nothing without a bug', without.length === 0, without);
for (const bug of seededBugs) {
  if (wanted.length > 0 && !wanted.some((name) => bug.name.includes(name))) continue;
  const failures = await failuresWith(bug);
  verdict(`damages find: ${bug.name}`, failures.length > 0, failures);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
