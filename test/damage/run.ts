/**
 * npm run damage -- --count N --seed S [--first] [--only NUMBER]
 *
 * Damages files of prepared data directories N times, each by a seed of its own, and judges what a start, verify and repair make
 * of it. Ends with `N passed, N failed`; a failure names the seed that does it again.
 */
import { parseArgs } from 'node:util';
import { runDamages } from './damage-run.ts';

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '300' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    only: { type: 'string' },
  },
});
console.log(`seed ${values.seed}`);
const only = values.only === undefined ? undefined : Number(values.only);
const startedMs = performance.now();
const result = await runDamages({
  count: Number(values.count),
  seed: Number(values.seed),
  only,
  report: (line) => console.log(line),
});
console.log(result.summary);
console.log(`${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
console.log(`${result.passed} passed, ${result.failed} failed`);
process.exitCode = result.failed === 0 ? 0 : 1;
