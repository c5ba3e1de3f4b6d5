/**
 * npm run history -- --transactions N --seed S [--kills N] [--pauses N] [--writers N] [--bug NAME | --prove [--first N]] [--port P]
 *
 * Runs the workload of transactions against the broker, bundled from its sources and killed and paused on the way, or against any
 * broker that listens on a port; then checks the history. `--prove` does it with each bug of transaction-bugs.ts (or the first N) in the
 * bundle and passes where all are found. Ends with `N passed, N failed`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { BrokerProcess, freePort, type SeededBug } from '../crash/broker-process.ts';
import { bundleBroker } from '../crash/bundled-broker.ts';
import { seededRandom } from '../fakes/simulated-disk.ts';
import { checkHistory } from './check-history.ts';
import { transactionBugs } from './transaction-bugs.ts';
import { runWorkload } from './workload.ts';

const { values } = parseArgs({
  options: {
    transactions: { type: 'string', default: '2000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    kills: { type: 'string', default: '5' },
    pauses: { type: 'string', default: '2' },
    writers: { type: 'string', default: '4' },
    bug: { type: 'string' },
    prove: { type: 'boolean', default: false },
    first: { type: 'string' },
    port: { type: 'string' },
  },
});
const transactions = Number(values.transactions);
const random = seededRandom(Number(values.seed));
const bug = values.bug === undefined ? undefined : transactionBugs.find(({ name }) => name === values.bug);
if (values.bug !== undefined && bug === undefined) {
  throw new Error(`--bug is one of ${transactionBugs.map(({ name }) => name).join(', ')}`);
}
const startedMs = performance.now();
console.log(`seed ${values.seed}${bug === undefined ? '' : `, with the bug: ${bug.name}`}`);
const { passed, failed } = values.prove ? await prove() : await once();
console.log(`${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function once(): Promise<{ passed: number; failed: number }> {
  const findings =
    values.port === undefined ? await againstOurs(bug) : await against(Number(values.port), () => {});
  return findings === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** Each bug must be found. */
async function prove(): Promise<{ passed: number; failed: number }> {
  const bugs = transactionBugs.slice(0, values.first === undefined ? undefined : Number(values.first));
  let found = 0;
  for (const each of bugs) {
    console.log(`== ${each.name}`);
    // A broker that gets stuck is found, too.
    const isFound = await againstOurs(each).then(
      (findings) => findings > 0,
      (error: unknown) => {
        console.log(`FAILED: ${String(error)}`);
        return true;
      },
    );
    if (isFound) found++;
    else console.log(`NOT FOUND: ${each.name}`);
  }
  return { passed: found, failed: bugs.length - found };
}

async function against(port: number, ended: (count: number) => void): Promise<number> {
  const writers = Number(values.writers);
  const { history, outcomes, errors } = await runWorkload({
    port,
    name: `history-${Date.now().toString(36)}`,
    transactions,
    random,
    writers,
    readers: 2,
    ended,
  });
  for (const [error, count] of errors) console.log(`  ${count} x ${error}`);
  const polls = history.operations.filter(({ kind }) => kind === 'poll').length;
  const records = [...history.final.values()].reduce((sum, one) => sum + one.length, 0);
  console.log(
    `${outcomes.committed} committed, ${outcomes.aborted} aborted, ${outcomes.unknown} unknown; ${polls} polls; ${records} records committed`,
  );
  const findings = checkHistory(history);
  const shown = values.prove ? 2 : 20;
  for (const { rule, detail } of findings.slice(0, shown)) console.log(`FAILED: ${rule}: ${detail}`);
  if (findings.length > shown) console.log(`... and ${findings.length - shown} more`);
  return findings.length;
}

async function againstOurs(seeded: SeededBug | undefined): Promise<number> {
  const bundled = await bundleBroker(resolve(dirname(process.argv[1]!), '../..'), seeded);
  const dataDirectory = await mkdtemp(join(tmpdir(), 'odradek-history-'));
  const port = await freePort();
  const start = (): BrokerProcess => {
    const started = BrokerProcess.load({ program: bundled.program, port, dataDirectory, settings: {} });
    started.go();
    return started;
  };
  let broker = start();
  let isOver = false;
  try {
    await broker.ready(30_000);
    const faults = [
      ...Array.from({ length: Number(values.kills) }, () => 'kill' as const),
      ...Array.from({ length: Number(values.pauses) }, () => 'pause' as const),
    ].sort(() => random() - 0.5);
    let next = 0;
    let busy: Promise<void> = Promise.resolve();
    const failures = await against(port, (count) => {
      if (next >= faults.length || count < ((next + 1) * transactions) / (faults.length + 1)) return;
      const fault = faults[next++];
      busy = busy.then(async () => {
        if (isOver) return;
        if (fault === 'pause') return broker.pause(300 + random() * 1500);
        await broker.kill();
        broker = start();
        await broker.ready(30_000);
      });
    });
    await busy;
    if (next < faults.length) console.log(`FAILED: only ${next} of ${faults.length} faults happened`);
    return failures + (faults.length - next);
  } finally {
    isOver = true;
    await broker.kill();
    await rm(dataDirectory, { recursive: true });
    await bundled.remove();
  }
}
