/**
 * npm run crash -- --cycles N --seed S [--mode sync|async|both] [--producers N] [--bug NAME] [--keep]
 *
 * Bundles the broker from its sources and kills it N times under load. `--bug` puts one of seeded-bugs.ts into the bundle, to
 * see that it is found. Ends with `N passed, N failed`.
 */
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { bundleBroker } from './bundled-broker.ts';
import { runCrashTest } from './crash-test.ts';
import { seededBugs } from './seeded-bugs.ts';

const { values } = parseArgs({
  options: {
    cycles: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    mode: { type: 'string', default: 'both' },
    producers: { type: 'string', default: '3' },
    bug: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});
const { mode } = values;
if (mode !== 'sync' && mode !== 'async' && mode !== 'both') throw new Error('--mode sync, async or both');
const bug = values.bug === undefined ? undefined : seededBugs.find(({ name }) => name === values.bug);
if (values.bug !== undefined && bug === undefined) {
  throw new Error(`--bug is one of ${seededBugs.map(({ name }) => name).join(', ')}`);
}

const broker = await bundleBroker(resolve(dirname(process.argv[1]!), '../..'), bug);
try {
  console.log(`seed ${values.seed}${bug === undefined ? '' : `, with the bug: ${bug.name}`}`);
  const { passed, failed } = await runCrashTest({
    program: broker.program,
    cycles: Number(values.cycles),
    seed: Number(values.seed),
    mode,
    producers: Number(values.producers),
    keepData: values.keep ? 'always' : 'on failure',
    report: (line) => console.log(line),
  });
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
} finally {
  await broker.remove();
}
