/**
 * `npm run bench -- recovery [--gib N] [--directory DIR]`: so much log (10 GiB unless said otherwise; `--gib 1` for a quick look), of
 * batches of 100 KB and, at its end, of one-record batches until the most that a start ever reads again has come together; then
 * kill -9, and how long until the broker is ready and the first read of old and of new data is answered. Besides, the rate at
 * which index runs are made again from the log.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, statSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { produceRequest, produceResponse } from '../../protocol/generated/00-produce.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import type { WireClient } from '../../test/crash/wire-client.ts';
import { type Figures, keepFigures, mustHaveRoom, numberOption } from './figures.ts';
import { MeasuredBroker } from './measured-broker.ts';

const partitions = 100;
const topic = 'recovery';

function bytesIn(directory: string): number {
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}

async function produce(client: WireClient, records: Buffer, index: number, batches: number): Promise<void> {
  const answer = await client.request(produceRequest, produceResponse, 8, {
    acks: 1,
    timeoutMs: 60_000,
    topicData: [
      {
        name: topic,
        partitionData: Array.from({ length: batches }, (_, at) => ({
          index: (index + at) % partitions,
          records,
        })),
      },
    ],
  });
  for (const { errorCode } of answer.responses[0]!.partitionResponses) {
    if (errorCode !== 0) throw new Error(`error ${errorCode}`);
  }
}

async function readAt(client: WireClient, offset: number): Promise<void> {
  const answer = await client.request(fetchRequest, fetchResponse, 4, {
    replicaId: -1,
    maxWaitMs: 100,
    minBytes: 1,
    maxBytes: 1_000_000,
    topics: [
      {
        topic,
        partitions: [{ partition: 0, fetchOffset: offset, partitionMaxBytes: 100_000 }],
      },
    ],
  });
  const part = answer.responses[0]!.partitions[0]!;
  if (part.errorCode !== 0 || (part.records?.length ?? 0) === 0) throw new Error(`error ${part.errorCode}`);
}

async function endOffset(client: WireClient): Promise<number> {
  const answer = await client.request(fetchRequest, fetchResponse, 4, {
    replicaId: -1,
    maxWaitMs: 0,
    minBytes: 0,
    maxBytes: 1,
    topics: [{ topic, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1 }] }],
  });
  return Number(answer.responses[0]!.partitions[0]!.highWatermark);
}

export async function recoveryAtScale(args: readonly string[]): Promise<void> {
  const gib = numberOption(args, 'gib', 10);
  const directoryAt = args.indexOf('--directory');
  const parent = directoryAt < 0 ? tmpdir() : args[directoryAt + 1]!;
  mustHaveRoom(parent, gib * 2 ** 30);
  execFileSync(process.execPath, [resolve('scripts/build.mjs'), '--if-stale'], { stdio: 'inherit' });
  const broker = new MeasuredBroker([], parent);
  const figures: Figures = {};
  const log = join(broker.data, 'commitlog');
  const runs = join(broker.data, 'consumequeues');
  try {
    await broker.start();
    let client = await broker.connect();
    await client.request(createTopicsRequest, createTopicsResponse, 4, {
      topics: [
        { name: topic, numPartitions: partitions, replicationFactor: 1, assignments: [], configs: [] },
      ],
      timeoutMs: 60_000,
    });
    const large = buildRecordBatch(
      Array.from({ length: 100 }, () => ({ timestamp: Date.now(), value: Buffer.alloc(1000, 'x') })),
    );
    const small = buildRecordBatch([{ timestamp: Date.now(), value: Buffer.alloc(100, 'x') }]);
    const tailBytes = 192 * 2 ** 20;
    const startedMs = performance.now();
    for (let sent = 0; sent < gib * 2 ** 30 - tailBytes; ) {
      const together = Array.from({ length: 4 }, (_, at) => produce(client, large, at * 20, 10));
      await Promise.all(together);
      sent += 40 * large.length;
    }
    // Until a table was just cut off; then as much again as makes nearly the next one.
    const sendSmall = async (count: number): Promise<void> => {
      for (let sent = 0; sent < count; sent += 4 * partitions) {
        await Promise.all(Array.from({ length: 4 }, () => produce(client, small, 0, partitions)));
      }
    };
    await sendSmall(600_000);
    const before = readdirSync(runs).length;
    while (readdirSync(runs).length === before) await sendSmall(10_000);
    await sendSmall(200_000);
    figures['write_mib_per_s'] = (gib * 1024) / ((performance.now() - startedMs) / 1000);
    const end = await endOffset(client);
    await broker.end('SIGKILL');
    figures['log_bytes'] = bytesIn(log);

    figures['ready_after_kill_ms'] = await broker.start();
    figures['cpu_until_ready_after_kill_ms'] = broker.cpuMs;
    figures['start_longest_block_ms'] = await broker.longestBlockMs();
    const readyMs = performance.now();
    client = await broker.connect();
    await readAt(client, 0);
    figures['first_read_of_old_data_ms'] = performance.now() - readyMs;
    const newMs = performance.now();
    await readAt(client, end - 1);
    figures['first_read_of_new_data_ms'] = performance.now() - newMs;
    figures['rss_mib'] = broker.residentMib;
    client.close();
    await broker.end('SIGTERM');
    figures['ready_after_stop_ms'] = await broker.start();
    await broker.end('SIGTERM');

    // Without its index: made again from the whole log at the start.
    let indexBytes = 0;
    for (const name of readdirSync(runs)) {
      indexBytes += statSync(join(runs, name)).size;
      unlinkSync(join(runs, name));
    }
    const rebuildMs = await broker.start();
    figures['rebuild_ms'] = rebuildMs;
    figures['rebuild_cpu_ms'] = broker.cpuMs;
    figures['rebuild_entries'] = Math.floor(indexBytes / 32);
    figures['rebuild_entries_per_s'] = figures['rebuild_entries'] / (rebuildMs / 1000);
    figures['rebuild_entries_per_cpu_s'] = figures['rebuild_entries'] / (figures['rebuild_cpu_ms'] / 1000);
    figures['rebuild_mib_per_s'] = figures['log_bytes'] / 2 ** 20 / (rebuildMs / 1000);
    await broker.end('SIGTERM');
    keepFigures('recovery-at-scale', figures, { gib });
  } finally {
    await broker.remove();
  }
}
