/**
 * npm run simulate -- --seeds N --from S --steps K [--trace]
 *
 * Runs N simulations of K operations each, seeds S on. A failing seed is told with what was wrong; run it alone with `--seeds 1 --from
 * SEED --trace` to see every call and answer. The first seeds run twice, for the same trace must come out. Ends with `N passed, N failed`.
 */
import { parseArgs } from 'node:util';
import { simulate } from './simulation.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string', default: '300' },
    trace: { type: 'boolean', default: false },
  },
});
const seeds = Number(values.seeds);
const from = Number(values.from);
const steps = Number(values.steps);
const seedsTwice = 20;
const mostFailed = 10;

const startedMs = performance.now();
const counts = new Map<string, number>();
let passed = 0;
let failed = 0;
let lives = 0;
let faults = 0;
let events = 0;
for (let seed = from; seed < from + seeds && failed < mostFailed; seed++) {
  const result = await simulate({
    seed,
    steps,
    ...(values.trace ? { onTrace: (line: string) => process.stdout.write(line) } : {}),
  });
  const failures = [...result.failures];
  if (seed < from + seedsTwice) {
    const again = await simulate({ seed, steps });
    if (again.traceHash !== result.traceHash) failures.push('a second run had another trace');
  }
  for (const [name, count] of result.counts) counts.set(name, (counts.get(name) ?? 0) + count);
  lives += result.lives;
  faults += result.faults;
  events += result.events;
  if (failures.length === 0) passed++;
  else {
    failed++;
    console.log(`seed ${seed} FAILED:\n  ${failures.join('\n  ')}`);
  }
  if (seed % 100 === 0) console.log(`seed ${seed}, ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
  if (seeds === 1) console.log(`trace ${result.traceHash}`);
}
const asked = [...counts].map(([name, count]) => `${count} ${name}`).join(', ');
console.log(`seeds ${from} to ${from + seeds - 1}, ${steps} steps each: ${asked}`);
console.log(
  `${lives} lives of the engine, ${faults} faults, ${events} events, ${((performance.now() - startedMs) / 1000).toFixed(1)} s`,
);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
