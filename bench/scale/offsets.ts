/**
 * `npm run bench -- offsets [--keys N] [--rounds N]`: so many committed offsets in one partition (100,000 unless said otherwise), each
 * committed so many times (5); how large the compacted log is, and how long after a kill -9 the first of them is told again.
 */
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { listOffsetsRequest, listOffsetsResponse } from '../../protocol/generated/02-list-offsets.ts';
import { offsetCommitRequest, offsetCommitResponse } from '../../protocol/generated/08-offset-commit.ts';
import { offsetFetchRequest, offsetFetchResponse } from '../../protocol/generated/09-offset-fetch.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import {
  describeLogDirsRequest,
  describeLogDirsResponse,
} from '../../protocol/generated/35-describe-log-dirs.ts';
import type { WireClient } from '../../test/crash/wire-client.ts';
import { type Figures, keepFigures, numberOption } from './figures.ts';
import { MeasuredBroker } from './measured-broker.ts';

const topic = '__consumer_offsets';
const partitions = 1000;
const partitionsAtOnce = 100;

async function commit(client: WireClient, group: string, from: number, offset: number): Promise<void> {
  const answer = await client.request(offsetCommitRequest, offsetCommitResponse, 7, {
    groupId: group,
    generationIdOrMemberEpoch: -1,
    memberId: '',
    topics: [
      {
        name: 'orders',
        partitions: Array.from({ length: partitionsAtOnce }, (_, at) => ({
          partitionIndex: from + at,
          committedOffset: offset,
          committedMetadata: '',
        })),
      },
    ],
  });
  for (const { errorCode } of answer.topics[0]!.partitions) {
    if (errorCode !== 0) throw new Error(`error ${errorCode}`);
  }
}

/** Milliseconds until all of the group's offsets are told. */
async function fetchAll(client: WireClient, group: string): Promise<number> {
  const startedMs = performance.now();
  for (;;) {
    const answer = await client.request(offsetFetchRequest, offsetFetchResponse, 3, {
      groupId: group,
      topics: null,
    });
    const count = answer.topics[0]?.partitions.length ?? 0;
    if (answer.errorCode === 0 && count === partitions) return performance.now() - startedMs;
    if (performance.now() - startedMs > 120_000) throw new Error(`error ${answer.errorCode}, ${count}`);
    await new Promise<void>((done) => setTimeout(done, 5));
  }
}

async function logBytes(client: WireClient): Promise<number> {
  const answer = await client.request(describeLogDirsRequest, describeLogDirsResponse, 1, {
    topics: [{ topic, partitions: [0] }],
  });
  return Number(answer.results[0]!.topics[0]!.partitions[0]!.partitionSize);
}

async function bounds(client: WireClient): Promise<{ start: number; end: number }> {
  const [start, end] = await Promise.all(
    [-2, -1].map(async (timestamp) => {
      const answer = await client.request(listOffsetsRequest, listOffsetsResponse, 2, {
        replicaId: -1,
        isolationLevel: 0,
        topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp }] }],
      });
      return Number(answer.topics[0]!.partitions[0]!.offset);
    }),
  );
  return { start: start!, end: end! };
}

export async function offsetsAtScale(args: readonly string[]): Promise<void> {
  const keys = numberOption(args, 'keys', 100_000);
  const rounds = numberOption(args, 'rounds', 5);
  execFileSync(process.execPath, [resolve('scripts/build.mjs'), '--if-stale'], { stdio: 'inherit' });
  const broker = new MeasuredBroker(
    ['offsets.topic.num.partitions=1', 'log.cleaner.backoff.ms=500'],
    tmpdir(),
  );
  const figures: Figures = {};
  try {
    await broker.start();
    let client = await broker.connect();
    await client.request(createTopicsRequest, createTopicsResponse, 4, {
      topics: [
        { name: 'orders', numPartitions: partitions, replicationFactor: 1, assignments: [], configs: [] },
      ],
      timeoutMs: 60_000,
    });
    const startedMs = performance.now();
    for (let round = 0; round < rounds; round++) {
      for (let key = 0; key < keys; key += partitionsAtOnce) {
        const group = `group-${Math.floor(key / partitions)}`;
        await commit(client, group, key % partitions, round * keys + key);
      }
      figures['largest_log_bytes'] = Math.max(figures['largest_log_bytes'] ?? 0, await logBytes(client));
    }
    figures['commits_per_s'] = (keys * rounds) / ((performance.now() - startedMs) / 1000);
    // Two rounds of the cleaner more.
    await new Promise<void>((done) => setTimeout(done, 5000));
    figures['log_bytes'] = await logBytes(client);
    const { start, end } = await bounds(client);
    figures['start_offset'] = start;
    figures['end_offset'] = end;
    figures['rss_mib'] = broker.residentMib;
    client.close();
    await broker.end('SIGKILL');
    figures['ready_after_kill_ms'] = await broker.start();
    const cpuBefore = broker.cpuMs;
    client = await broker.connect();
    figures['first_answer_after_ready_ms'] = await fetchAll(client, 'group-0');
    figures['load_cpu_ms'] = broker.cpuMs - cpuBefore;
    client.close();
    await broker.end('SIGTERM');
    keepFigures('offsets-at-scale', figures, { keys, rounds });
  } finally {
    await broker.remove();
  }
}
