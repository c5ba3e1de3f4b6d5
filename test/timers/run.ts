/** `npm run timers -- --timers 1000000 --kills 50 [--lead SECONDS] [--spread SECONDS]`: see timer-kills.ts. Fails where a promise is broken. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../crash/broker-process.ts';
import { bundleBroker } from '../crash/bundled-broker.ts';
import { runTimerKills } from './timer-kills.ts';

const { values } = parseArgs({
  options: {
    timers: { type: 'string', default: '20000' },
    kills: { type: 'string', default: '4' },
    lead: { type: 'string' },
    spread: { type: 'string' },
  },
});
const timers = Number(values.timers);
const kills = Number(values.kills);
const seconds = (text: string | undefined, otherwise: number) =>
  (text === undefined ? otherwise : Number(text)) * 1000;

const broker = await bundleBroker(process.cwd());
const directory = await mkdtemp(join(process.env.TIMERS_DIRECTORY ?? tmpdir(), 'timers-'));
try {
  const report = await runTimerKills({
    program: broker.program,
    port: await freePort(),
    dataDirectory: join(directory, 'data'),
    timers,
    kills,
    leadMs: seconds(values.lead, Math.max(8, timers / 5000)),
    spreadMs: seconds(values.spread, Math.max(8, timers / 4000)),
    say: (line) => process.stdout.write(`${line}\n`),
  });
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  const wrong = [
    report.lost > 0 && `${report.lost} lost`,
    report.early > 0 && `${report.early} early`,
    report.mostCopies > 1 + kills && `a message came ${report.mostCopies} times`,
    report.duplicates > kills * timers && `${report.duplicates} duplicates`,
  ].filter((one) => one !== false);
  process.stdout.write(`${wrong.length === 0 ? 'everything held' : wrong.join(', ')}\n`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
} finally {
  await rm(directory, { recursive: true, force: true });
  await broker.remove();
}
