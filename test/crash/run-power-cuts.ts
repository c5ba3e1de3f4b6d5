/**
 * npm run power-cuts -- --cuts N --seed S [--mode sync|async|both] [--model disk|shutdown] [--bug NAME]
 *                       [--keep] [--data PARENT]
 *
 * Cuts the power of the file system under the real broker N times. Where that cannot be (no root, no loop device) the simulated disk's
 * power cuts run in their place, and the summary says so. Ends with `N passed, N failed`.
 */
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { cutAtEveryCall } from '../storage/power-cuts.ts';
import { bundleBroker } from './bundled-broker.ts';
import { runCrashTest } from './crash-test.ts';
import { choosePowerCuts, type PowerCutModel } from './power-cut-machines.ts';
import { seededBugs } from './seeded-bugs.ts';

const { values } = parseArgs({
  options: {
    cuts: { type: 'string', default: '50' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    mode: { type: 'string', default: 'both' },
    model: { type: 'string' },
    bug: { type: 'string' },
    keep: { type: 'boolean', default: false },
    data: { type: 'string' },
  },
});
const { mode } = values;
if (mode !== 'sync' && mode !== 'async' && mode !== 'both') throw new Error('--mode sync, async or both');
const bug = values.bug === undefined ? undefined : seededBugs.find(({ name }) => name === values.bug);
if (values.bug !== undefined && bug === undefined) {
  throw new Error(`--bug is one of ${seededBugs.map(({ name }) => name).join(', ')}`);
}
const seed = Number(values.seed);
console.log(
  `seed ${seed}, ${values.cuts} power cuts${bug === undefined ? '' : `, with the bug: ${bug.name}`}`,
);
const root = resolve(dirname(process.argv[1]!), '../..');
const { make, missing } = await choosePowerCuts(
  root,
  values.model === undefined ? undefined : [values.model as PowerCutModel],
);
if (make === undefined) {
  console.log(`NO POWER CUT OF A REAL FILE SYSTEM WAS MADE: ${missing.join('; ')}.`);
  console.log('The simulated disk runs in its place, which knows nothing of ext4:');
  const wrong = await cutAtEveryCall(seed, 'in turn', 2);
  for (const one of wrong) console.log(`FAILED: ${one}`);
  console.log(wrong.length === 0 ? '1 passed, 0 failed (simulated)' : '0 passed, 1 failed (simulated)');
  process.exit(wrong.length === 0 ? 0 : 1);
}
if (missing.length > 0) {
  console.log(
    `THE POWER IS CUT BY SHUTTING THE FILE SYSTEM DOWN, which is judged less strictly: ${missing.join('; ')}.`,
  );
}
const machine = await make(seed, values.data);
const broker = await bundleBroker(root, bug);
try {
  const { passed, failed } = await runCrashTest({
    program: broker.program,
    machine,
    cycles: Number(values.cuts),
    seed,
    mode,
    flushPolicies: ['acks', 'acks', 'always'],
    producers: 3,
    foreignClients: [],
    keepData: values.keep ? 'always' : 'on failure',
    report: (line) => console.log(line),
  });
  console.log(machine.summary());
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
} finally {
  await broker.remove();
}
process.exit(process.exitCode);
