/**
 * How fast timers fire on the embedded engine: CPU and time of one delayed record on its way in and out, of those that are overdue at a
 * start, and of ten thousand due in one second beside plain traffic.
 *   node scripts/run-ts.mjs bench/micro/timers.ts [--timers N] [--payload BYTES]
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { crc32c } from '../../protocol/records/crc32c.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { AppendService } from '../../src/services/append/append-service.ts';
import { largestTimeOf } from '../../src/services/compaction/batch-time.ts';
import { BrokerConfig } from '../../src/services/configuration/broker-config.ts';
import { DelayService } from '../../src/services/features/delay/delay-service.ts';
import { HiddenTrim } from '../../src/services/features/timers/hidden-trim.ts';
import { TimerEngine } from '../../src/services/features/timers/timer-engine.ts';
import { TopicCatalogue } from '../../src/services/topics/topic-catalogue.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import { SystemClock } from '../../src/util/clock.ts';
import { silentLog } from '../../src/util/log.ts';
import { MovableClock } from '../../src/util/movable-clock.ts';

const { values } = parseArgs({
  options: { timers: { type: 'string', default: '100000' }, payload: { type: 'string', default: '10' } },
});
const total = Number(values.timers);
const payloadBytes = Number(values.payload);
const partitions = 8;
const perBatch = 500;

const directory = await mkdtemp(join(process.env.BENCH_DIRECTORY ?? tmpdir(), 'bench-timers-'));
const clock = new MovableClock(new SystemClock(), 0);

async function openWorld() {
  const engine = await openEmbeddedEngine({
    directory,
    payloadFormat: {
      stamp: stampBatch,
      isStamped: isBatchStamped,
      isIntact: isBatchIntact,
      largestTimestampMs: largestTimeOf,
    },
    crc32c,
    clock,
  });
  const config = new BrokerConfig();
  const topics = new TopicCatalogue({ catalogue: engine.catalogue, config, randomBytes });
  const timers = new TimerEngine({ engine, clock, log: silentLog });
  const trim = new HiddenTrim({ engine, timers, clock, log: silentLog });
  const queues = await DelayService.ensureQueues(engine);
  const delay = new DelayService({ engine, queues, topics, timers, trim, config, clock, log: silentLog });
  const appends = new AppendService({
    engine,
    topics,
    clock,
    settings: { flushPolicy: 'acks' },
    steps: delay.steps,
  });
  return { engine, topics, timers, appends };
}

function cpuMs(from?: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
}

const rssMib = () => Math.round(process.memoryUsage().rss / 2 ** 20);
const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
const results: Record<string, unknown> = {};
const loop = monitorEventLoopDelay({ resolution: 5 });
const maxBlockMs = () => {
  const ms = loop.max / 1e6 - 5;
  loop.reset();
  return Number(ms.toFixed(1));
};
loop.enable();

type World = Awaited<ReturnType<typeof openWorld>>;

async function schedule(world: World, count: number, dueOf: (number: number) => number): Promise<void> {
  const underWay: Promise<unknown>[] = [];
  for (let sent = 0; sent < count; sent += perBatch) {
    const batch = buildRecordBatch(
      Array.from({ length: Math.min(perBatch, count - sent) }, (_, at) => ({
        timestamp: 1,
        key: null,
        value: randomBytes(payloadBytes),
        headers: [{ key: 'rmq-deliver-at-ms', value: Buffer.from(String(dueOf(sent + at))) }],
      })),
    );
    const room = world.engine.appendRoom();
    if (room !== undefined) await room;
    const request = world.appends.begin({ version: 9, acks: 1, transactionalId: null });
    request.add(world.topics.get('delayed')!, (sent / perBatch) % partitions, batch);
    underWay.push(Promise.resolve(request.run()));
    if (underWay.length >= 8) await Promise.all(underWay.splice(0));
  }
  await Promise.all(underWay);
}

async function whenFired(world: World, count: number): Promise<void> {
  while ((world.timers.fired.get(1) ?? 0) < count) await sleep(5);
}

let world = await openWorld();
await world.topics.create(
  [
    ['delayed', 'DELAY'],
    ['plain', 'NORMAL'],
  ].map(([name, type]) => ({
    name: name!,
    partitions,
    replicationFactor: -1,
    assignments: [],
    overrides: new Map([['rmq.message.type', type!]]),
  })),
  false,
);
results.rss_before_mib = rssMib();

// In, in another order than that in which they are due.
const firstDueMs = clock.nowMs() + 3_600_000;
let from = process.cpuUsage();
let startedMs = performance.now();
await schedule(world, total, (number) => firstDueMs + (((number * 7919) % total) * 100_000) / total);
results.in = {
  cpu_us_per_record: Number(((cpuMs(from) * 1000) / total).toFixed(1)),
  per_second: Math.round((total * 1000) / (performance.now() - startedMs)),
  rss_mib: rssMib(),
  longest_block_ms: maxBlockMs(),
};
await world.timers.close();
await world.engine.close();
await clock.advance(3_600_000 + 200_000);

startedMs = performance.now();
world = await openWorld();
results.open_ms = Math.round(performance.now() - startedMs);
maxBlockMs();
from = process.cpuUsage();
startedMs = performance.now();
world.timers.start();
let peakMib = 0;
const watching = setInterval(() => {
  peakMib = Math.max(peakMib, rssMib());
}, 50);
await whenFired(world, total);
clearInterval(watching);
results.overdue = {
  ms: Math.round(performance.now() - startedMs),
  per_second: Math.round((total * 1000) / (performance.now() - startedMs)),
  cpu_us_per_record: Number(((cpuMs(from) * 1000) / total).toFixed(1)),
  longest_block_ms: maxBlockMs(),
  peak_rss_mib: peakMib,
  heap_mib: Math.round(process.memoryUsage().heapUsed / 2 ** 20),
};

// Ten thousand due within one second, and plain requests every 2 ms beside them.
const plain = buildRecordBatch(
  Array.from({ length: 10 }, () => ({ timestamp: 1, key: null, value: randomBytes(100) })),
);
async function plainFor(ms: number): Promise<number[]> {
  const took: number[] = [];
  const untilMs = performance.now() + ms;
  const all: Promise<unknown>[] = [];
  for (let at = 0; performance.now() < untilMs; at++) {
    const begun = performance.now();
    const request = world.appends.begin({ version: 9, acks: 1, transactionalId: null });
    request.add(world.topics.get('plain')!, at % partitions, plain);
    all.push(Promise.resolve(request.run()).then(() => took.push(performance.now() - begun)));
    await sleep(2);
  }
  await Promise.all(all);
  return took.sort((a, b) => a - b);
}
const at = (list: readonly number[], share: number) =>
  Number((list[Math.min(list.length - 1, Math.floor(list.length * share))] ?? 0).toFixed(1));
const figures = (list: readonly number[]) => ({ p50: at(list, 0.5), p99: at(list, 0.99), max: at(list, 1) });
const alone = await plainFor(3000);
const burst = 10_000;
const dueMs = clock.nowMs() + 2500;
const firedBefore = world.timers.fired.get(1) ?? 0;
const countsBefore = [...world.timers.lateness.counts];
const sumBefore = world.timers.lateness.sumMs;
await schedule(world, burst, (number) => dueMs + ((number * 7919) % 1000));
maxBlockMs();
await sleep(Math.max(0, dueMs - 200 - clock.nowMs()));
const beside = await plainFor(1500);
await whenFired(world, firedBefore + burst);
results.ten_thousand = {
  lateness_counts: world.timers.lateness.counts.map((count, bucket) => count - countsBefore[bucket]!),
  mean_late_ms: Number(((world.timers.lateness.sumMs - sumBefore) / burst).toFixed(1)),
  longest_block_ms: maxBlockMs(),
  plain_alone_ms: figures(alone),
  plain_beside_ms: figures(beside),
};
process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
await world.timers.close();
await world.engine.close();
await rm(directory, { recursive: true });
