/**
 * What a change costs the produce path of plain topics: this checkout's broker and another one's (built already), both running, loaded in
 * turns; the ratio of their processor time is the median over the rounds.
 *   node scripts/run-ts.mjs bench/compare.ts --other DIRECTORY [--rounds 5] [--secs 4] [--keep]
 */
import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { cpus, homedir, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { MeasuredBroker } from './scale/measured-broker.ts';

const { values } = parseArgs({
  options: {
    other: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    secs: { type: 'string', default: '4' },
    keep: { type: 'boolean', default: false },
  },
});
if (values.other === undefined) throw new Error('--other DIRECTORY: a checkout with its dist/ built');
const rounds = Number(values.rounds);
const secs = Number(values.secs);
const cache =
  process.env.COMPAT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'odradek-compat');
const loadgen = join(cache, 'loadgen');
mkdirSync(cache, { recursive: true });
execFileSync('go', ['build', '-o', loadgen, '.'], { cwd: resolve('bench/loadgen'), stdio: 'inherit' });
execFileSync(process.execPath, [resolve('scripts/build.mjs'), '--if-stale'], { stdio: 'inherit' });

const rows = [
  { name: 'produce-10-record-batches', batch: 10, figure: 'broker_cpu_us_per_request' },
  { name: 'produce-1000-record-batches-4-partitions', batch: 1000, figure: 'broker_cpu_s_per_gib' },
];
let topics = 0;

async function load(broker: MeasuredBroker, row: (typeof rows)[number], seconds: number): Promise<number> {
  const flags = {
    b: `127.0.0.1:${broker.listeningPort}`,
    pid: broker.pid,
    topic: `compare-${topics++}`,
    partitions: 4,
    batch: row.batch,
    acks: 1,
    secs: seconds,
  };
  const args = ['produce', ...Object.entries(flags).flatMap(([name, value]) => [`-${name}`, String(value)])];
  const child = spawn(loadgen, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  if (code !== 0) throw new Error(`loadgen ${args.join(' ')} ended with ${code}`);
  return Number((JSON.parse(output.trim().split('\n').at(-1)!) as Record<string, number>)[row.figure]);
}

const median = (list: readonly number[]) => [...list].sort((a, b) => a - b)[list.length >> 1]!;
const commitOf = (directory: string) =>
  execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: directory }).toString().trim();

const own = new MeasuredBroker();
const other = new MeasuredBroker([], undefined, resolve(values.other));
try {
  await own.start();
  await other.start();
  for (const row of rows) {
    for (const broker of [own, other]) await load(broker, row, secs);
    const ratios: number[] = [];
    const figures = { own: [] as number[], other: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      const isFirst = round % 2 === 0;
      const first = await load(isFirst ? own : other, row, secs);
      const second = await load(isFirst ? other : own, row, secs);
      const [ours, theirs] = isFirst ? [first, second] : [second, first];
      figures.own.push(ours);
      figures.other.push(theirs);
      ratios.push(ours / theirs);
      process.stdout.write(`${row.name}: ${ours.toFixed(2)} against ${theirs.toFixed(2)}\n`);
    }
    const line = {
      row: `compare-${row.name}`,
      date: new Date().toISOString().slice(0, 16),
      commit: commitOf('.'),
      other: commitOf(values.other),
      cores: cpus().length,
      load_average: Number(loadavg()[0]!.toFixed(2)),
      node: process.version,
      rounds,
      secs,
      figure: row.figure,
      ratio: Number(median(ratios).toFixed(3)),
      own: Number(median(figures.own).toFixed(3)),
      other_figure: Number(median(figures.other).toFixed(3)),
    };
    process.stdout.write(`${JSON.stringify(line)}\n`);
    if (values.keep) appendFileSync(resolve('bench/results.jsonl'), `${JSON.stringify(line)}\n`);
  }
} finally {
  await own.remove();
  await other.remove();
}
