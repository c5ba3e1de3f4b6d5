/**
 * `npm run bench [-- ROW ...] [--secs N] [--no-kafka]`: each row drives Odradek and, where Java and Maven are there, Apache
 * Kafka (heap 2 GiB, warmed up) in the same run, with the same load, and keeps the figures and their ratio as a JSON line in
 * bench/results.jsonl with date and commit. Only ratios of one run mean anything: machines and disks differ by a factor of two.
 *
 * Needs Go, for the load generator: it encodes its batches once, so that what is measured is the broker.
 */
import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { cpus, homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { type PeerBroker, startKafka, startOdradek } from '../compat/lib/broker-process.ts';

type Figures = Record<string, number>;

interface Row {
  readonly name: string;
  /** The figure to compare, and whether a smaller one is better. */
  readonly figure: string;
  readonly run: (broker: PeerBroker, secs: number) => Promise<Figures>;
  /** Rows that Kafka cannot sensibly run here (10,000 partitions take it minutes). */
  readonly onlyOurs?: boolean;
}

const cache =
  process.env['COMPAT_CACHE'] ??
  join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'odradek-compat');
const loadgenPath = join(cache, 'loadgen');
let topicNumber = 0;
const newTopic = (): string => `bench-${process.pid}-${++topicNumber}`;

async function load(
  broker: PeerBroker,
  mode: string,
  flags: Record<string, string | number>,
): Promise<Figures> {
  const args = [mode, '-b', broker.address];
  if (mode !== 'rtt') args.push('-pid', String(broker.pid()));
  for (const [name, value] of Object.entries(flags)) args.push(`-${name}`, String(value));
  const child = spawn(loadgenPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  if (code !== 0) throw new Error(`loadgen ${args.join(' ')} ended with ${code}`);
  const line = JSON.parse(output.trim().split('\n').at(-1) ?? '') as Record<string, number | string>;
  return Object.fromEntries(
    Object.entries(line).filter((entry): entry is [string, number] => typeof entry[1] === 'number'),
  );
}

function residentMib(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) / 1024;
}

const rows: readonly Row[] = [
  {
    name: 'produce-1000-record-batches-4-partitions',
    figure: 'broker_cpu_s_per_gib',
    run: (broker, secs) =>
      load(broker, 'produce', { topic: newTopic(), partitions: 4, batch: 1000, acks: 1, secs }),
  },
  {
    name: 'produce-10-record-batches',
    figure: 'broker_cpu_us_per_request',
    run: (broker, secs) =>
      load(broker, 'produce', { topic: newTopic(), partitions: 4, batch: 10, acks: 1, secs }),
  },
  {
    name: 'produce-1-record-batches',
    figure: 'broker_cpu_us_per_request',
    run: (broker, secs) =>
      load(broker, 'produce', { topic: newTopic(), partitions: 4, batch: 1, acks: 1, secs }),
  },
  {
    name: 'produce-1000-partitions',
    figure: 'broker_cpu_s_per_gib',
    run: (broker, secs) =>
      load(broker, 'produce', { topic: newTopic(), partitions: 1000, batch: 1000, acks: 1, secs }),
  },
  {
    name: 'produce-10000-partitions',
    figure: 'broker_cpu_s_per_gib',
    onlyOurs: true,
    run: (broker, secs) =>
      load(broker, 'produce', { topic: newTopic(), partitions: 10_000, batch: 1000, acks: 1, secs }),
  },
  {
    name: 'produce-10-record-batches-10000-partitions',
    figure: 'broker_cpu_us_per_request',
    onlyOurs: true,
    run: (broker, secs) =>
      load(broker, 'produce', { topic: newTopic(), partitions: 10_000, batch: 10, acks: 1, secs }),
  },
  {
    name: 'fetch-recent',
    figure: 'broker_cpu_s_per_gib',
    run: async (broker, secs) => {
      const topic = newTopic();
      // Some 200 MB: less, and most of the time goes by waiting at the end.
      await load(broker, 'produce', { topic, partitions: 4, batch: 1000, acks: 1, secs: 0.5 });
      return load(broker, 'fetch', { topic, partitions: 4, secs });
    },
  },
  {
    name: 'fetch-older-than-the-cache',
    figure: 'broker_cpu_s_per_gib',
    run: async (broker, secs) => {
      const topic = newTopic();
      // About 1 GB, read round and round: nothing is left in a broker's own memory when it is asked for again.
      await load(broker, 'produce', { topic, partitions: 4, batch: 1000, acks: 1, secs: 2 });
      return load(broker, 'fetch', { topic, partitions: 4, secs });
    },
  },
  {
    name: 'fetch-catch-up-1000-interleaved-partitions',
    figure: 'broker_cpu_s_per_gib',
    run: async (broker, secs) => {
      const topic = newTopic();
      await load(broker, 'produce', {
        topic,
        partitions: 1000,
        batch: 10,
        'per-request': 100,
        acks: 1,
        secs: 3,
      });
      return load(broker, 'fetch', { topic, partitions: 1000, secs });
    },
  },
  {
    name: 'produce-to-consume-1000-a-second',
    figure: 'p99_ms',
    run: (broker, secs) => load(broker, 'rtt', { topic: newTopic(), rate: 1000, acks: 1, secs }),
  },
  {
    name: 'produce-to-consume-5000-a-second',
    figure: 'p99_ms',
    run: (broker, secs) => load(broker, 'rtt', { topic: newTopic(), rate: 5000, acks: 1, secs }),
  },
  {
    name: 'sync-flush-64-connections',
    figure: 'requests_per_s',
    run: (broker, secs) =>
      load(broker, 'produce', {
        topic: newTopic(),
        partitions: 64,
        batch: 1,
        conns: 64,
        inflight: 1,
        acks: -1,
        secs,
      }),
  },
  {
    name: 'acks-all-beside-bulk-acks-1',
    figure: 'p99_ms',
    run: async (broker, secs) => {
      const bulk = load(broker, 'produce', {
        topic: newTopic(),
        partitions: 4,
        batch: 1000,
        acks: 1,
        secs: secs + 1,
      });
      const single = await load(broker, 'produce', {
        topic: newTopic(),
        partitions: 1,
        batch: 1,
        inflight: 1,
        acks: -1,
        secs,
      });
      const beside = await bulk;
      return { ...single, bulk_mib_per_s: beside['mib_per_s'] ?? 0 };
    },
  },
  {
    name: 'memory-after-load',
    figure: 'rss_mib',
    run: async (broker) => ({ rss_mib: residentMib(broker.pid()) }),
  },
];

async function startFigures(): Promise<Figures> {
  const started = performance.now();
  const broker = await startOdradek([]);
  const figures = { listening_ms: performance.now() - started, idle_rss_mib: residentMib(broker.pid()) };
  await broker.stop();
  return figures;
}

function has(command: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const args = process.argv.slice(2);
/** Rows of another kind, each with options of its own: see the files. Not part of a run of all. */
const scaleRows: Readonly<Record<string, (options: readonly string[]) => Promise<void>>> = {
  index: async (options) => (await import('./scale/index.ts')).indexAtScale(options),
  cleaning: async (options) => (await import('./scale/cleaning.ts')).cleaningAtScale(options),
  offsets: async (options) => (await import('./scale/offsets.ts')).offsetsAtScale(options),
  partitions: async (options) => (await import('./scale/partitions.ts')).partitionsAtScale(options),
  recovery: async (options) => (await import('./scale/recovery.ts')).recoveryAtScale(options),
};
const scaleRow = scaleRows[args[0] ?? ''];
if (scaleRow !== undefined) {
  await scaleRow(args.slice(1));
  process.exit(0);
}
const secsAt = args.indexOf('--secs');
const secs = secsAt >= 0 ? Number(args[secsAt + 1]) : 10;
const names = args.filter((arg, at) => !arg.startsWith('--') && at !== secsAt + 1);
for (const name of names) {
  if (!rows.some((row) => row.name === name))
    throw new Error(`no row ${name}; there are ${rows.map((row) => row.name).join(', ')}`);
}
const wanted = names.length > 0 ? rows.filter((row) => names.includes(row.name)) : rows;
const withKafka = !args.includes('--no-kafka') && has('java') && has('mvn');

mkdirSync(cache, { recursive: true });
execFileSync(process.execPath, [resolve('scripts/build.mjs'), '--if-stale'], { stdio: 'inherit' });
execFileSync('go', ['build', '-o', loadgenPath, '.'], { cwd: resolve('bench/loadgen'), stdio: 'inherit' });
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD']).toString().trim();
const keep = (line: object): void => {
  appendFileSync(resolve('bench/results.jsonl'), `${JSON.stringify(line)}\n`);
};
const common = {
  date: new Date().toISOString().slice(0, 16),
  commit,
  cores: cpus().length,
  node: process.version,
};

if (names.length === 0) {
  const figures = await startFigures();
  keep({ row: 'start', ...common, odradek: figures });
  console.log(
    `start: listening after ${figures['listening_ms']?.toFixed(0)} ms, ${figures['idle_rss_mib']?.toFixed(0)} MiB idle`,
  );
}

const kafkaFigures = new Map<string, Figures>();
const ourFigures = new Map<string, Figures>();
// One broker at a time: on few cores a second one, even idle, is in the way.
async function measure(broker: PeerBroker, into: Map<string, Figures>, skipOnlyOurs: boolean): Promise<void> {
  try {
    const topic = newTopic();
    await load(broker, 'produce', { topic, partitions: 4, batch: 1000, acks: 1, secs: Math.min(secs, 5) });
    await load(broker, 'produce', {
      topic: newTopic(),
      partitions: 4,
      batch: 10,
      acks: 1,
      secs: skipOnlyOurs ? Math.max(secs, 20) : 3,
    });
    if (wanted.some((row) => row.name.startsWith('fetch'))) {
      await load(broker, 'fetch', { topic, partitions: 4, secs: Math.max(secs, 10) });
    }
    for (const row of wanted) {
      if (skipOnlyOurs && row.onlyOurs === true) continue;
      into.set(row.name, await row.run(broker, secs));
      console.log(`  ${row.name}: ${row.figure} ${into.get(row.name)?.[row.figure]?.toFixed(3)}`);
    }
  } finally {
    await broker.stop();
  }
}

console.log('odradek');
await measure(await startOdradek([]), ourFigures, false);
if (withKafka) {
  console.log('kafka');
  process.env['KAFKA_HEAP'] = '2g';
  await measure(await startKafka(cache, []), kafkaFigures, true);
}
console.log(`\n${'row'.padEnd(48)} ${'figure'.padEnd(28)} odradek      kafka    ratio`);
for (const row of wanted) {
  const ours = ourFigures.get(row.name) ?? {};
  const kafka = kafkaFigures.get(row.name);
  const ratio = kafka === undefined ? undefined : (ours[row.figure] ?? 0) / (kafka[row.figure] ?? Number.NaN);
  keep({ row: row.name, ...common, secs, figure: row.figure, ratio, odradek: ours, kafka });
  const show = (value: number | undefined): string =>
    (value === undefined ? '' : value.toFixed(3)).padStart(10);
  console.log(
    `${row.name.padEnd(48)} ${row.figure.padEnd(28)} ${show(ours[row.figure])} ${show(kafka?.[row.figure])} ${show(ratio)}`,
  );
}
