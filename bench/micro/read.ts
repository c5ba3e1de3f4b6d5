/**
 * What reading costs the event loop: CPU of this process a GiB answered, of the log's tail (in memory) and of older data (page
 * cache or disk), by payload size and number of queues. `node scripts/run-ts.mjs bench/micro/read.ts [MiB]`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import type { PayloadFormat, StorageEngine } from '../../src/storage/engine.ts';

/** Checks and stamps at the cost of a record batch's. */
const format: PayloadFormat = {
  stamp(buffer, start, baseOffset, epoch) {
    buffer.writeUInt32BE(Math.floor(baseOffset / 2 ** 32), start);
    buffer.writeUInt32BE(baseOffset >>> 0, start + 4);
    buffer.writeInt32BE(epoch, start + 12);
  },
  isStamped(buffer, start, baseOffset, epoch) {
    return (
      buffer.readUInt32BE(start + 4) === baseOffset >>> 0 &&
      buffer.readUInt32BE(start) === Math.floor(baseOffset / 2 ** 32) &&
      buffer.readInt32BE(start + 12) === epoch
    );
  },
  isIntact(buffer, start, length) {
    return crc32c(buffer, start, start + length) >= 0;
  },
};

const totalMebibytes = Number(process.argv[2] ?? 256);
const fetchBytes = 1024 * 1024;

async function fill(
  engine: StorageEngine,
  payloadBytes: number,
  queues: number,
  bytes: number,
): Promise<void> {
  const payload = Buffer.alloc(payloadBytes, 'x');
  for (let at = 0; at * payloadBytes < bytes; at++) {
    void engine.append({
      durability: 'async',
      entries: [{ queue: 1 + (at % queues), kind: 'data', count: 1, maxTimestampMs: at, payload }],
    });
    if (at % 64 === 63) await (engine.appendRoom() ?? new Promise<void>((resolve) => setImmediate(resolve)));
  }
  await engine.whenDurable();
}

/** All queues in step, as a consumer of all partitions reads. Answers the bytes. */
async function readInStep(
  engine: StorageEngine,
  offsets: Map<number, number>,
  maxBytes: number,
): Promise<number> {
  let bytes = 0;
  for (let isMore = true; isMore; ) {
    isMore = false;
    for (const [queue, offset] of offsets) {
      const asked = engine.read(queue, { fromOffset: offset, maxBytes, atLeastOne: true });
      const result = asked instanceof Promise ? await asked : asked;
      if (result.outcome !== 'read') throw new Error(result.outcome);
      if (result.payloads.length > 0) isMore = true;
      bytes += result.sizeBytes;
      offsets.set(queue, result.nextOffset);
      result.release();
    }
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return bytes;
}

/** One queue after the other, each to its end: on a log of many queues the worst that can be asked. */
async function readAlone(engine: StorageEngine, queues: readonly number[]): Promise<number> {
  let bytes = 0;
  for (const queue of queues) bytes += await readInStep(engine, new Map([[queue, 0]]), fetchBytes);
  return bytes;
}

async function report(name: string, read: () => Promise<number>): Promise<void> {
  const startedMs = performance.now();
  const before = process.cpuUsage();
  const bytes = await read();
  const cpu = process.cpuUsage(before);
  const gibibytes = bytes / 2 ** 30;
  process.stdout.write(
    `${name.padEnd(44)} ${((cpu.user + cpu.system) / 1e6 / gibibytes).toFixed(2).padStart(8)} s CPU/GiB, ` +
      `${(bytes / 2 ** 20 / ((performance.now() - startedMs) / 1000)).toFixed(0)} MiB/s\n`,
  );
}

async function measure(payloadBytes: number, queues: number): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'odradek-read-'));
  const engine = await openEmbeddedEngine({ directory, payloadFormat: format, crc32c });
  const name = `${payloadBytes} B, ${queues} queues`;
  try {
    const ids = Array.from({ length: queues }, (_, at) => at + 1);
    await engine.catalogue.update({ changes: [], createQueues: ids });
    await fill(engine, payloadBytes, queues, totalMebibytes * 2 ** 20);
    await report(`${name}: old data, in step`, () =>
      readInStep(engine, new Map(ids.map((id) => [id, 0])), fetchBytes),
    );
    await report(`${name}: old data, each queue alone`, () => readAlone(engine, ids.slice(0, 20)));
    const tail = new Map<number, number>();
    for (const id of ids) tail.set(id, (await engine.bounds(id))!.visibleEndOffset);
    await fill(engine, payloadBytes, queues, 32 * 2 ** 20);
    const rounds = 8;
    await report(`${name}: tail`, async () => {
      let bytes = 0;
      for (let round = 0; round < rounds; round++)
        bytes += await readInStep(engine, new Map(tail), fetchBytes);
      return bytes;
    });
  } finally {
    await engine.close();
    await rm(directory, { recursive: true });
  }
}

await measure(100_000, 4);
await measure(1100, 4);
await measure(1100, 1000);
