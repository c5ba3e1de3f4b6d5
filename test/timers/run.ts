/** `npm run timers -- --timers 1000000 --kills 50 [--lead SECONDS] [--spread SECONDS]`: see timer-kills.ts. Fails where a promise is broken. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../crash/broker-process.ts';
import { bundleBroker } from '../crash/bundled-broker.ts';
import { runTimerKills, type TimerKillsReport } from './timer-kills.ts';

/**
 * What is promised: at most a second late, of timers that were due while the broker was there (a second after a start and later). It is
 * held to where the machine is the test's own, for 999 of 1000: one flush that a disk holds up for longer makes some hundred
 * late and is no fault of timers; the latest may be three seconds. Where others take more than a quarter of the machine the slowest say who
 * was scheduled when; then 99 of 100 must come within two seconds, or as much more as the test's part of the machine is smaller, which an
 * engine that is stuck or falls behind for good does not do.
 */
const mostLateMs = 1000;
const latestMs = 3000;
const busyShare = 0.25;
const mostLateWhenBusyMs = 2000;

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
    ...latenessFaults(report),
  ].filter((one) => one !== false);
  const { p50, p99, max, of } = report.latenessMs;
  const others = Math.round(report.othersShare * 100);
  process.stdout.write(
    `late by ${p50} ms in the middle, ${p99} ms at 99 of 100, ${max} ms at most (${of} timers); others used ${others} % of the machine\n`,
  );
  process.stdout.write(`${wrong.length === 0 ? 'everything held' : wrong.join(', ')}\n`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
} finally {
  await rm(directory, { recursive: true, force: true });
  await broker.remove();
}

function latenessFaults({ latenessMs, othersShare }: TimerKillsReport): readonly string[] {
  const { p99, p999, max } = latenessMs;
  if (othersShare > busyShare) {
    return p99 > mostLateWhenBusyMs / (1 - othersShare)
      ? [`late by ${p99} ms at 99 of 100, even for a busy machine`]
      : [];
  }
  return p999 > mostLateMs || max > latestMs ? [`late by ${p999} ms at 999 of 1000, ${max} ms at most`] : [];
}
