/**
 * What one append costs the event loop: CPU of this process (user + system) divided by appends, by payload size and number of
 * queues, async durability, on the disk of the temporary directory. `node scripts/run-ts.mjs bench/micro/append.ts [MiB]`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import type { PayloadFormat, StorageEngine } from '../../src/storage/engine.ts';

/** Stamps as a record batch is stamped; the checksum is left out, for append does not look at it. */
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
  isIntact: () => true,
};

const totalMebibytes = Number(process.argv[2] ?? 256);
const appendsATurn = 64;

async function measure(
  name: string,
  payloadBytes: number,
  queues: number,
  withProducer: boolean,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'odradek-append-'));
  const engine = await openEmbeddedEngine({ directory, payloadFormat: format, crc32c });
  try {
    const ids = Array.from({ length: queues }, (_, at) => at + 1);
    await engine.catalogue.update({ changes: [], createQueues: ids });
    const count = Math.min(400_000, Math.ceil((totalMebibytes * 2 ** 20) / (payloadBytes + 112)));
    await run(engine, payloadBytes, queues, Math.ceil(count / 5), 0, withProducer);
    const before = process.cpuUsage();
    const inAppend = await run(engine, payloadBytes, queues, count, Math.ceil(count / 5), withProducer);
    const cpu = process.cpuUsage(before);
    const microseconds = (cpu.user + cpu.system) / count;
    const gibibytes = (count * payloadBytes) / 2 ** 30;
    process.stdout.write(
      `${name.padEnd(44)} ${microseconds.toFixed(2).padStart(8)} us CPU an append, ` +
        `${((inAppend * 1000) / count).toFixed(2)} us of it in append(), ` +
        `${((cpu.user + cpu.system) / 1e6 / gibibytes).toFixed(2)} s/GiB\n`,
    );
  } finally {
    await engine.close();
    await rm(directory, { recursive: true });
  }
}

/** Milliseconds spent inside append(). */
async function run(
  engine: StorageEngine,
  payloadBytes: number,
  queues: number,
  count: number,
  firstSequence: number,
  withProducer: boolean,
): Promise<number> {
  const payload = Buffer.alloc(payloadBytes, 'x');
  let inAppend = 0;
  let last: Promise<unknown> = Promise.resolve();
  for (let at = 0; at < count; ) {
    const startedMs = performance.now();
    for (let turn = 0; turn < appendsATurn && at < count; turn++, at++) {
      const queue = 1 + (at % queues);
      last = engine.append({
        durability: 'async',
        entries: [
          {
            queue,
            kind: 'data',
            count: 10,
            maxTimestampMs: 1_700_000_000_000 + at,
            payload,
            ...(withProducer
              ? {
                  producer: {
                    countsForQueue: queue,
                    producerId: 7,
                    producerEpoch: 0,
                    firstSequence: Math.floor((firstSequence + at) / queues) * 10,
                    lastSequence: Math.floor((firstSequence + at) / queues) * 10 + 9,
                    isTransactional: false,
                  },
                }
              : {}),
          },
        ],
      });
    }
    inAppend += performance.now() - startedMs;
    await (engine.appendRoom() ?? new Promise<void>((resolve) => setImmediate(resolve)));
  }
  await last;
  return inAppend;
}

await measure('100 B, 4 queues', 100, 4, false);
await measure('1.1 KB, 4 queues', 1100, 4, false);
await measure('1.1 KB, 4 queues, idempotent', 1100, 4, true);
await measure('1.1 KB, 10,000 queues', 1100, 10_000, false);
await measure('100 KB, 4 queues', 100_000, 4, false);
await measure('100 KB, 10,000 queues', 100_000, 10_000, false);
