/**
 * What delayed records cost: CPU of producing to a plain topic with the steps of delayed records and without, in turns, on the embedded engine;
 * and CPU of one delayed record on its way in and out.
 *   node scripts/run-ts.mjs bench/micro/delay.ts
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '../../protocol/records/crc32c.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { AppendService } from '../../src/services/append/append-service.ts';
import type { AppendStep } from '../../src/services/append/append-steps.ts';
import { largestTimeOf } from '../../src/services/compaction/batch-time.ts';
import { BrokerConfig } from '../../src/services/configuration/broker-config.ts';
import { DelayService } from '../../src/services/features/delay/delay-service.ts';
import { HiddenTrim } from '../../src/services/features/timers/hidden-trim.ts';
import { TimerEngine } from '../../src/services/features/timers/timer-engine.ts';
import { TopicCatalogue } from '../../src/services/topics/topic-catalogue.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import { SystemClock } from '../../src/util/clock.ts';
import { silentLog } from '../../src/util/log.ts';

const rounds = 9;
const directory = await mkdtemp(join(process.env.BENCH_DIRECTORY ?? tmpdir(), 'bench-delay-'));
const clock = new SystemClock();
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
const appendsWith = (steps: readonly AppendStep[]) =>
  new AppendService({ engine, topics, clock, settings: { flushPolicy: 'acks' }, steps });
const plain = appendsWith([]);
const stepped = appendsWith(delay.steps);
await topics.create(
  ['NORMAL', 'DELAY'].map((type) => ({
    name: type,
    partitions: 1,
    replicationFactor: -1,
    assignments: [],
    overrides: new Map([['rmq.message.type', type]]),
  })),
  false,
);

function cpuMs(from?: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
}

async function produce(service: AppendService, topic: string, batch: Buffer, count: number): Promise<number> {
  const from = process.cpuUsage();
  const underWay: Promise<unknown>[] = [];
  for (let at = 0; at < count; at++) {
    const room = engine.appendRoom();
    if (room !== undefined) await room;
    const request = service.begin({ version: 9, acks: 1, transactionalId: null });
    request.add(topics.get(topic)!, 0, batch);
    underWay.push(Promise.resolve(request.run()));
    if (underWay.length >= 64) await Promise.all(underWay.splice(0));
  }
  await Promise.all(underWay);
  return cpuMs(from);
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;
const text = (bytes: number) =>
  Buffer.from('the quick brown fox asks for requests '.repeat(9).slice(0, bytes));
const results: Record<string, unknown> = {};
for (const [name, records, body] of [
  ['1000 records of 100 random bytes', 1000, () => randomBytes(100)],
  ['1000 records of 100 letters', 1000, () => text(100)],
  ['10 records of 100 random bytes', 10, () => randomBytes(100)],
  ['1 record of 100 random bytes', 1, () => randomBytes(100)],
] as const) {
  const batch = buildRecordBatch(
    Array.from({ length: records }, () => ({ timestamp: 1, key: null, value: body(), headers: [] })),
  );
  const count = Math.min(20_000, Math.ceil(100_000_000 / batch.length));
  const ratios: number[] = [];
  const costs: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const order = round % 2 === 0 ? [plain, stepped] : [stepped, plain];
    const first = await produce(order[0]!, 'NORMAL', batch, count);
    const second = await produce(order[1]!, 'NORMAL', batch, count);
    const [without, withSteps] = order[0] === plain ? [first, second] : [second, first];
    if (round < 0) continue;
    ratios.push(withSteps / without);
    costs.push((withSteps * 1000) / count);
  }
  results[name] = { ratio: Number(median(ratios).toFixed(3)), usPerBatch: Number(median(costs).toFixed(1)) };
  await engine.trim(topics.get('NORMAL')!.partitions[0]!.queue, Number.MAX_SAFE_INTEGER);
}

timers.start();
for (const [name, perBatch, spreadMs] of [
  ['a delayed record, one a batch and due time', 1, 2000],
  ['a delayed record, 500 due times a batch', 500, 2000],
  ['a delayed record, 500 a batch and due time', 500, 0],
] as const) {
  const total = perBatch === 1 ? 5000 : 50_000;
  const dueMs = Date.now() + 15_000;
  const before = timers.fired.get(1) ?? 0;
  let inMs = 0;
  for (let sent = 0; sent < total; sent += perBatch) {
    const batch = buildRecordBatch(
      Array.from({ length: perBatch }, (_, at) => ({
        timestamp: 1,
        key: null,
        value: randomBytes(100),
        headers: [
          {
            key: 'rmq-deliver-at-ms',
            value: Buffer.from(String(dueMs + (spreadMs === 0 ? 0 : (sent + at * 7) % spreadMs))),
          },
        ],
      })),
    );
    inMs += await produce(stepped, 'DELAY', batch, 1);
  }
  const expected =
    before + (spreadMs === 0 ? total / perBatch : Math.min(total, (total / perBatch) * spreadMs));
  while (Date.now() < dueMs - 100) await new Promise((done) => setTimeout(done, 50));
  const from = process.cpuUsage();
  while ((timers.fired.get(1) ?? 0) < expected) await new Promise((done) => setTimeout(done, 20));
  results[name] = {
    inUsPerRecord: Number(((inMs * 1000) / total).toFixed(1)),
    outUsPerRecord: Number(((cpuMs(from) * 1000) / total).toFixed(1)),
  };
}
process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
await timers.close();
await engine.close();
await rm(directory, { recursive: true });
