/**
 * npm run crash-states -- [--states N] [--seeds N] [--from S] [--operations N] [--subsets N]
 *
 * Records a workload a seed and tries crash states of it, N in all. Ends with `N passed, N failed`, which counts states.
 */
import { parseArgs } from 'node:util';
import { tryCrashStates } from './crash-states.ts';

const { values } = parseArgs({
  options: {
    states: { type: 'string', default: '2000' },
    seeds: { type: 'string', default: '2' },
    from: { type: 'string', default: '1' },
    operations: { type: 'string', default: '240' },
    subsets: { type: 'string', default: '5' },
  },
});
const seeds = Number(values.seeds);
const from = Number(values.from);
const startedMs = performance.now();
let passed = 0;
let failed = 0;
for (let seed = from; seed < from + seeds && failed === 0; seed++) {
  const result = await tryCrashStates({
    seed,
    operations: Number(values.operations),
    states: Math.ceil(Number(values.states) / seeds),
    subsets: Number(values.subsets),
  });
  for (const failure of result.failures) console.log(`seed ${seed} FAILED: ${failure}`);
  passed += result.tried - result.failures.length;
  failed += result.failures.length;
  if (seed === from) {
    const calls = [...result.calls].filter(
      ([name]) => !/^(read|stat|readdir|close|lock|sizeBytes)/.test(name),
    );
    console.log(`recorded: ${calls.map(([name, times]) => `${times} ${name}`).join(', ')}`);
  }
  console.log(
    `seed ${seed}: ${result.moments} changes and syncs, ${result.possible} states, ${result.tried} tried, ` +
      `${result.different} different, ${((performance.now() - startedMs) / 1000).toFixed(1)} s`,
  );
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
