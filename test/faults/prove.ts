/**
 * node scripts/run-ts.mjs test/faults/prove.ts [NAME ...]
 *
 * Tests the fault matrix: puts each bug of seeded-bugs.ts into a bundle of its own and looks that the matrix finds it, and that it finds
 * nothing without a bug. Ends with `N passed, N failed`.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundleWithBug, type SeededBug } from '../crash/broker-process.ts';
import { seededBugs } from './seeded-bugs.ts';

const root = resolve(dirname(process.argv[1]!), '../..');

async function find(bug: SeededBug | undefined): Promise<readonly string[]> {
  await mkdir(join(root, '.cache'), { recursive: true });
  const directory = await mkdtemp(join(root, '.cache/prove-'));
  try {
    const program = await bundleWithBug(root, 'test/faults/matrix-subject.ts', directory, bug);
    const subject = (await import(pathToFileURL(program).href)) as {
      findFailures(): Promise<readonly string[]>;
    };
    return await subject.findFailures();
  } catch (error) {
    // An engine that asserts is a finding too; a bug that cannot be put in is none.
    if (error instanceof Error && /has no text|is not part/.test(error.message)) throw error;
    return [String(error)];
  } finally {
    await rm(directory, { recursive: true });
  }
}

const wanted = process.argv.slice(2);
let passed = 0;
let failed = 0;
for (const bug of [undefined, ...seededBugs]) {
  if (wanted.length > 0 && !wanted.some((word) => bug?.name.includes(word))) continue;
  const failures = await find(bug);
  const isRight = bug === undefined ? failures.length === 0 : failures.length > 0;
  if (isRight) passed++;
  else failed++;
  console.log(
    `${isRight ? 'passed' : 'FAILED'}: ${bug === undefined ? 'nothing is found without a bug' : `the matrix finds: ${bug.name}`}${failures.length === 0 ? '' : `\n        ${failures[0]}`}`,
  );
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
