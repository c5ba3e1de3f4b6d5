/**
 * `npm run bench -- cleaning [--gib N]`: how long single produces and fetches take while nothing else happens, and the same while a
 * compacted topic of so many GiB (1 unless said otherwise) is cleaned and its space given back; what was written for it; then while
 * retention empties 10,000 partitions.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { produceRequest, produceResponse } from '../../protocol/generated/00-produce.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { listOffsetsRequest, listOffsetsResponse } from '../../protocol/generated/02-list-offsets.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import {
  incrementalAlterConfigsRequest,
  incrementalAlterConfigsResponse,
} from '../../protocol/generated/44-incremental-alter-configs.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { freePort } from '../../test/crash/broker-process.ts';
import type { WireClient } from '../../test/crash/wire-client.ts';
import { type Figures, keepFigures, mustHaveRoom, numberOption, percentile } from './figures.ts';
import { MeasuredBroker } from './measured-broker.ts';

const partitions = 10;
const manyPartitions = 10_000;
const keys = 10_000;
const quietMs = 10_000;
/** Produces and fetches a second, of each kind. */
const rate = 100;
const largestWaitMs = 300_000;

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

async function createTopic(
  client: WireClient,
  name: string,
  numPartitions: number,
  more: Readonly<Record<string, string>> = {},
): Promise<void> {
  const configs = Object.entries(more).map(([key, value]) => ({ name: key, value }));
  const answer = await client.request(createTopicsRequest, createTopicsResponse, 4, {
    topics: [{ name, numPartitions, replicationFactor: 1, assignments: [], configs }],
    timeoutMs: 60_000,
  });
  if (answer.topics[0]!.errorCode !== 0) throw new Error(`error ${answer.topics[0]!.errorCode}`);
}

async function setTopic(client: WireClient, topic: string, name: string, value: string): Promise<void> {
  const answer = await client.request(incrementalAlterConfigsRequest, incrementalAlterConfigsResponse, 0, {
    resources: [{ resourceType: 2, resourceName: topic, configs: [{ name, configOperation: 0, value }] }],
    validateOnly: false,
  });
  if (answer.responses[0]!.errorCode !== 0) throw new Error(`error ${answer.responses[0]!.errorCode}`);
}

async function produce(
  client: WireClient,
  topic: string,
  acks: number,
  parts: readonly { readonly index: number; readonly records: Buffer }[],
): Promise<number> {
  const answer = await client.request(produceRequest, produceResponse, 7, {
    acks,
    timeoutMs: 60_000,
    topicData: [{ name: topic, partitionData: [...parts] }],
  });
  const [first] = answer.responses[0]!.partitionResponses;
  for (const { errorCode } of answer.responses[0]!.partitionResponses) {
    if (errorCode !== 0) throw new Error(`error ${errorCode}`);
  }
  return Number(first!.baseOffset);
}

async function fetchOne(client: WireClient, offset: number): Promise<void> {
  const answer = await client.request(fetchRequest, fetchResponse, 4, {
    replicaId: -1,
    maxWaitMs: 1000,
    minBytes: 1,
    maxBytes: 1_000_000,
    isolationLevel: 0,
    topics: [
      { topic: 'foreground', partitions: [{ partition: 0, fetchOffset: offset, partitionMaxBytes: 10_000 }] },
    ],
  });
  const part = answer.responses[0]!.partitions[0]!;
  if (part.errorCode !== 0 || (part.records?.length ?? 0) === 0) throw new Error(`error ${part.errorCode}`);
}

/** Single requests at a fixed rate until told to stop, each kind on a connection of its own. */
async function foreground(
  broker: MeasuredBroker,
  label: string,
  until: () => Promise<boolean>,
): Promise<Figures> {
  const client = await broker.connect();
  const sync = await broker.connect();
  const record = buildRecordBatch([{ timestamp: Date.now(), value: Buffer.alloc(1000, 'f') }]);
  const times = { acks_1: [] as number[], acks_all: [] as number[], fetch: [] as number[] };
  let isOver = false;
  const timed = async <T>(into: number[], action: Promise<T>): Promise<T> => {
    const startedMs = performance.now();
    const result = await action;
    into.push(performance.now() - startedMs);
    return result;
  };
  const single = (async () => {
    while (!isOver) {
      const nextMs = performance.now() + 1000 / rate;
      const offset = await timed(
        times.acks_1,
        produce(client, 'foreground', 1, [{ index: 0, records: record }]),
      );
      await timed(times.fetch, fetchOne(client, offset));
      await pause(Math.max(0, nextMs - performance.now()));
    }
  })();
  const durable = (async () => {
    while (!isOver) {
      await timed(times.acks_all, produce(sync, 'durable', -1, [{ index: 0, records: record }]));
      await pause(1000 / rate);
    }
  })();
  while (!(await until())) await pause(200);
  isOver = true;
  await Promise.all([single, durable]);
  client.close();
  sync.close();
  const figures: Figures = {};
  for (const [kind, list] of Object.entries(times)) {
    list.sort((a, b) => a - b);
    figures[`${label}_${kind}_p50_ms`] = percentile(list, 0.5);
    figures[`${label}_${kind}_p99_ms`] = percentile(list, 0.99);
    figures[`${label}_${kind}_max_ms`] = list.at(-1) ?? Number.NaN;
  }
  return figures;
}

async function metric(adminPort: number, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  if (line === undefined) throw new Error(`no metric ${name}`);
  return Number(line.slice(name.length + 1));
}

function logBytes(broker: MeasuredBroker): number {
  const directory = join(broker.data, 'commitlog');
  let bytes = 0;
  for (const name of readdirSync(directory)) {
    bytes += statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

function after(ms: number): () => Promise<boolean> {
  const untilMs = performance.now() + ms;
  return () => Promise.resolve(performance.now() > untilMs);
}

export async function cleaningAtScale(args: readonly string[]): Promise<void> {
  const gib = numberOption(args, 'gib', 1);
  mustHaveRoom(tmpdir(), gib * 2 ** 30 * 2.2);
  execFileSync(process.execPath, [resolve('scripts/build.mjs'), '--if-stale'], { stdio: 'inherit' });
  const adminPort = await freePort();
  const settings = ['log.cleaner.backoff.ms=500', 'log.retention.check.interval.ms=2000'];
  const broker = new MeasuredBroker(settings, tmpdir(), '.', ['--admin', `127.0.0.1:${adminPort}`]);
  const figures: Figures = {};
  const spaceNow = (name: string): Promise<number> => metric(adminPort, `odradek_storage_${name}`);
  try {
    await broker.start();
    const client = await broker.connect();
    for (const name of ['foreground', 'durable']) await createTopic(client, name, 1);
    await createTopic(client, 'compacted', partitions, {
      'segment.bytes': String(16 * 2 ** 20),
      'min.cleanable.dirty.ratio': '0.1',
    });
    const value = Buffer.alloc(1000, 'x');
    let seed = 1;
    const key = (): Buffer => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Buffer.from(`key ${seed % keys}`);
    };
    const batch = (): Buffer =>
      buildRecordBatch(Array.from({ length: 100 }, () => ({ timestamp: Date.now(), key: key(), value })));
    for (let sent = 0; sent < gib * 2 ** 30; ) {
      const parts = Array.from({ length: partitions }, (_, index) => ({ index, records: batch() }));
      await produce(client, 'compacted', 1, parts);
      for (const { records } of parts) sent += records.length;
    }
    Object.assign(figures, await foreground(broker, 'quiet', after(quietMs)));
    await broker.longestBlockMs();
    figures['log_bytes_before'] = logBytes(broker);
    const cpuBefore = broker.cpuMs;
    const appendedBefore = await spaceNow('appended_bytes_total');
    await setTopic(client, 'compacted', 'cleanup.policy', 'compact');
    const startedMs = performance.now();
    let cleanedMs = 0;
    let quietSinceMs = performance.now();
    let copied = -1;
    // Until nothing was copied for ten seconds.
    const isCleaned = async (): Promise<boolean> => {
      const nowMs = performance.now();
      const bytes = await spaceNow('copied_bytes_total');
      if (bytes !== copied) {
        if (copied >= 0 && bytes > 0) cleanedMs = nowMs - startedMs;
        copied = bytes;
        quietSinceMs = nowMs;
      }
      return (bytes > 0 && nowMs - quietSinceMs > 10_000) || nowMs - startedMs > largestWaitMs;
    };
    Object.assign(figures, await foreground(broker, 'cleaning', isCleaned));
    figures['cleaning_ms'] = cleanedMs;
    figures['cleaning_longest_block_ms'] = await broker.longestBlockMs();
    figures['cleaning_cpu_ms'] = broker.cpuMs - cpuBefore;
    figures['copied_bytes'] = await spaceNow('copied_bytes_total');
    figures['appended_bytes'] = appendedBefore;
    figures['write_amplification'] = await spaceNow('write_amplification_ratio');
    const freedMs = performance.now();
    while ((await spaceNow('reclaimable_bytes')) > 0.1 * gib * 2 ** 30) {
      if (performance.now() - freedMs > 90_000) break;
      await pause(500);
    }
    figures['reclaimable_bytes_after'] = await spaceNow('reclaimable_bytes');
    figures['log_bytes_after'] = logBytes(broker);

    await createTopic(client, 'many', manyPartitions, { 'retention.ms': '86400000' });
    const small = buildRecordBatch([{ timestamp: Date.now(), value: Buffer.alloc(10_000, 'r') }]);
    for (let index = 0; index < manyPartitions; index += 500) {
      const parts = Array.from({ length: 500 }, (_, at) => ({ index: index + at, records: small }));
      await produce(client, 'many', 1, parts);
    }
    await broker.longestBlockMs();
    const beforeCpu = broker.cpuMs;
    await setTopic(client, 'many', 'retention.ms', '1000');
    const retentionMs = performance.now();
    const isEmptied = async (): Promise<boolean> => {
      const answer = await client.request(listOffsetsRequest, listOffsetsResponse, 2, {
        replicaId: -1,
        isolationLevel: 0,
        topics: [
          {
            name: 'many',
            // To ask for all of them five times a second would be the larger load.
            partitions: Array.from({ length: manyPartitions / 100 }, (_, at) => ({
              partitionIndex: at * 100 + 99,
              timestamp: -2,
            })),
          },
        ],
      });
      const left = answer.topics[0]!.partitions.some(({ offset }) => Number(offset) === 0);
      return !left || performance.now() - retentionMs > largestWaitMs;
    };
    Object.assign(figures, await foreground(broker, 'retention', isEmptied));
    figures['retention_of_10000_partitions_ms'] = performance.now() - retentionMs;
    figures['retention_longest_block_ms'] = await broker.longestBlockMs();
    figures['retention_cpu_ms'] = broker.cpuMs - beforeCpu;
    figures['rss_mib'] = broker.residentMib;
    client.close();
    await broker.end('SIGTERM');
    keepFigures('cleaning-at-scale', figures, { gib });
  } finally {
    await broker.remove();
  }
}
