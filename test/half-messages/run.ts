/**
 * `npm run half-messages -- --messages 10000 --kills 20 [--seed N] [--interval MS] [--max-checks N]`: see half-kills.ts. Fails where a
 * promise is broken, and leaves the data then.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { bundleWithBug, freePort } from '../crash/broker-process.ts';
import { bundleBroker } from '../crash/bundled-broker.ts';
import { HalfKills } from './half-kills.ts';

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '300' },
    kills: { type: 'string', default: '5' },
    seed: { type: 'string', default: '1' },
    interval: { type: 'string', default: '1000' },
    'max-checks': { type: 'string', default: '15' },
  },
});
/** Where the broker lived on, a plain record that waits longer is held up. */
const longestWaitMs = 5_000;

const broker = await bundleBroker(process.cwd());
const directory = await mkdtemp(join(process.env.HALF_MESSAGES_DIRECTORY ?? tmpdir(), 'half-messages-'));
try {
  const bundle = (name: string) =>
    bundleWithBug(
      process.cwd(),
      `test/half-messages/${name}.ts`,
      join(dirname(broker.program), `../${name}`),
    );
  const report = await new HalfKills({
    program: broker.program,
    checkerProgram: await bundle('checker'),
    producerProgram: await bundle('producer'),
    port: await freePort(),
    dataDirectory: join(directory, 'data'),
    messages: Number(values.messages),
    kills: Number(values.kills),
    seed: Number(values.seed),
    intervalMs: Number(values.interval),
    maxChecks: Number(values['max-checks']),
    say: (line) => process.stdout.write(`${line}\n`),
  }).run();
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  const { plainWaitMs } = report;
  const wrong = [
    report.lost.length > 0 && `${report.lost.length} committed and not there`,
    report.notCommittedButThere.length > 0 && `${report.notCommittedButThere.length} there and not committed`,
    report.twice.length > 0 && `${report.twice.length} there twice`,
    report.discarded > 0 && `${report.discarded} discarded`,
    report.contradicted.length > 0 && `${report.contradicted.length} decided otherwise afterwards`,
    report.refusedVerdicts.length > 0 && `${report.refusedVerdicts.length} verdicts refused`,
    report.plainLost > 0 && `${report.plainLost} plain records lost`,
    plainWaitMs.max > longestWaitMs && `a plain record was held up for ${plainWaitMs.max} ms`,
    report.brokerKills < Number(values.kills) && `only ${report.brokerKills} kills`,
  ].filter((one) => one !== false);
  process.stdout.write(`${wrong.length === 0 ? 'everything held' : wrong.join(', ')}\n`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
} finally {
  if (process.exitCode === 0) await rm(directory, { recursive: true, force: true });
  else process.stdout.write(`the data is in ${directory}\n`);
  await broker.remove();
}
