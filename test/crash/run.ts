/**
 * npm run crash -- --cycles N --seed S [--mode sync|async|both] [--policies acks,interval,always] [--producers N]
 *                  [--clients kafkajs,librdkafka|none] [--bug NAME] [--keep] [--data PARENT]
 *
 * Bundles the broker from its sources and kills it N times under load. `--bug` puts one of seeded-bugs.ts into the bundle, to
 * see that it is found. Ends with `N passed, N failed`.
 */
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { bundleBroker } from './bundled-broker.ts';
import { type FlushPolicy, runCrashTest } from './crash-test.ts';
import { foreignClient, foreignClientNames, pythonWithLibrdkafka } from './foreign-clients.ts';
import { machineOfKills } from './machine.ts';
import { seededBugs } from './seeded-bugs.ts';

const { values } = parseArgs({
  options: {
    cycles: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    mode: { type: 'string', default: 'both' },
    policies: { type: 'string', default: 'acks,interval,always' },
    producers: { type: 'string', default: '3' },
    clients: { type: 'string', default: foreignClientNames.join(',') },
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
const root = resolve(dirname(process.argv[1]!), '../..');
let clientNames = foreignClientNames.filter((name) => values.clients.split(',').includes(name));
const python = clientNames.includes('librdkafka') ? pythonWithLibrdkafka() : undefined;
if (clientNames.includes('librdkafka') && python === undefined) {
  console.log('there is no Python with confluent_kafka (CRASH_PYTHON): librdkafka is left out');
  clientNames = clientNames.filter((name) => name !== 'librdkafka');
}

const broker = await bundleBroker(root, bug);
try {
  console.log(
    `seed ${values.seed}, ${values.cycles} cycles, clients: wire${clientNames.map((name) => `, ${name}`).join('')}` +
      `${bug === undefined ? '' : `, with the bug: ${bug.name}`}`,
  );
  const { passed, failed } = await runCrashTest({
    program: broker.program,
    machine: await machineOfKills(values.data),
    cycles: Number(values.cycles),
    seed: Number(values.seed),
    mode,
    flushPolicies: values.policies.split(',') as FlushPolicy[],
    producers: Number(values.producers),
    foreignClients: clientNames.map((name) => foreignClient(name, root, python)),
    keepData: values.keep ? 'always' : 'on failure',
    report: (line) => console.log(line),
  });
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
} finally {
  await broker.remove();
}
process.exit(process.exitCode);
