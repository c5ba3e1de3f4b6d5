/**
 * The log of committed offsets of a real broker that is killed while it compacts. Everything in it is read as a plain consumer does, from
 * offset 0, and remembered; from then on each key's newest record must stand at its offset with its value, nothing may change at
 * an offset, and what was acknowledged must be there. Kafka's LogCompactionTester judges the same way.
 */
import { errorCodes, errorName } from '../../protocol/error-codes.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { listOffsetsRequest, listOffsetsResponse } from '../../protocol/generated/02-list-offsets.ts';
import { offsetCommitRequest, offsetCommitResponse } from '../../protocol/generated/08-offset-commit.ts';
import { offsetFetchRequest, offsetFetchResponse } from '../../protocol/generated/09-offset-fetch.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import { decodeRecords } from '../../protocol/records/batch-records.ts';
import { batchIsControl, batchSizeBytes, entryBounds } from '../../protocol/records/record-batch.ts';
import { BrokerProcess, freePort } from './broker-process.ts';
import { WireClient } from './wire-client.ts';

export interface OffsetsCompactionOptions {
  readonly program: string;
  readonly dataDirectory: string;
  readonly kills: number;
  /** How long commits go on before each kill, at least ... */
  readonly runMs: (kill: number) => number;
  /** ... and of how many offsets, so that there is something to compact on a slow machine, too. */
  readonly leastCommits: number;
  readonly groups: number;
  readonly partitions: number;
  report(line: string): void;
}

export interface OffsetsCompactionResult {
  readonly failures: readonly string[];
  readonly commits: number;
  /** Records in the log at the end, and the offset after the last. */
  readonly records: number;
  readonly endOffset: number;
  /** The longest from the start of the process until the groups answered. */
  readonly longestLoadMs: number;
}

const topic = '__consumer_offsets';
const settings = {
  'offsets.topic.num.partitions': '1',
  'log.cleaner.backoff.ms': '200',
  'auto.create.topics.enable': 'false',
};
const metadata = 'm'.repeat(400);
const notReady = new Set<number>([
  errorCodes.COORDINATOR_LOAD_IN_PROGRESS,
  errorCodes.COORDINATOR_NOT_AVAILABLE,
  errorCodes.NOT_COORDINATOR,
]);

interface Stored {
  readonly key: string;
  readonly value: string | null;
}

class Run {
  readonly failures: string[] = [];
  commits = 0;
  readonly ever = new Map<number, Stored>();
  present = new Map<number, Stored>();
  endOffset = 0;
  longestLoadMs = 0;
  private readonly options: OffsetsCompactionOptions;
  private readonly acked = new Map<string, number>();
  private readonly sent = new Map<string, number>();
  private next = 1;

  constructor(options: OffsetsCompactionOptions) {
    this.options = options;
  }

  async go(): Promise<OffsetsCompactionResult> {
    const { program, dataDirectory, kills, runMs, report } = this.options;
    for (let kill = 0; kill <= kills; kill++) {
      const port = await freePort();
      const broker = BrokerProcess.load({ program, port, dataDirectory, settings });
      broker.go();
      try {
        const startedMs = performance.now();
        if ((await broker.ready(30_000)) === undefined) throw new Error(`no start: ${broker.lastOutput}`);
        const client = await WireClient.connect(port, 'offsets');
        if (kill === 0) await this.createTopic(client);
        await this.judge(client, startedMs);
        if (kill < kills) await this.commitFor(client, broker, runMs(kill));
        client.close();
        report(`kill ${kill}: ${this.present.size} records up to ${this.endOffset}`);
      } finally {
        if (kill < kills) await broker.kill();
        else await broker.stop();
      }
      if (this.failures.length > 0) break;
    }
    const { failures, commits, endOffset, longestLoadMs } = this;
    return { failures, commits, records: this.present.size, endOffset, longestLoadMs };
  }

  private async createTopic(client: WireClient): Promise<void> {
    const { partitions } = this.options;
    const answer = await client.request(createTopicsRequest, createTopicsResponse, 4, {
      topics: [
        { name: 'orders', numPartitions: partitions, replicationFactor: 1, assignments: [], configs: [] },
      ],
      timeoutMs: 10_000,
    });
    if (answer.topics[0]!.errorCode !== 0) throw new Error(errorName(answer.topics[0]!.errorCode));
  }

  /** Commits, and reads now and then, until the time is up; then goes on while the broker is killed. */
  private async commitFor(client: WireClient, broker: BrokerProcess, runMs: number): Promise<void> {
    const untilMs = performance.now() + runMs;
    const untilCommits = this.commits + this.options.leastCommits;
    let killing: Promise<string> | undefined;
    try {
      for (let round = 1; ; round++) {
        if (performance.now() > untilMs && this.commits >= untilCommits) killing ??= broker.kill();
        await Promise.all(Array.from({ length: 4 }, () => this.commit(client)));
        if (round % 50 === 0) await this.read(client);
      }
    } catch (error) {
      if (killing === undefined) throw error;
    }
    await killing;
  }

  private async commit(client: WireClient): Promise<void> {
    const { groups, partitions } = this.options;
    const offset = this.next++;
    const group = `group-${offset % groups}`;
    const indexes = Array.from({ length: 10 }, (_, at) => (offset * 7 + at * 13) % partitions);
    const distinct = [...new Set(indexes)];
    for (const index of distinct) this.sent.set(`${group} ${index}`, offset);
    const answer = await client.request(offsetCommitRequest, offsetCommitResponse, 7, {
      groupId: group,
      generationIdOrMemberEpoch: -1,
      memberId: '',
      topics: [
        {
          name: 'orders',
          partitions: distinct.map((partitionIndex) => ({
            partitionIndex,
            committedOffset: offset,
            committedMetadata: metadata,
          })),
        },
      ],
    });
    for (const { partitionIndex, errorCode } of answer.topics[0]!.partitions) {
      if (errorCode !== 0) continue;
      const place = `${group} ${partitionIndex}`;
      this.acked.set(place, Math.max(offset, this.acked.get(place) ?? 0));
      this.commits++;
    }
  }

  private async judge(client: WireClient, startedMs: number): Promise<void> {
    const { groups } = this.options;
    for (let number = 0; number < groups; number++) {
      const group = `group-${number}`;
      for (;;) {
        const answer = await client.request(offsetFetchRequest, offsetFetchResponse, 3, {
          groupId: group,
          topics: null,
        });
        if (notReady.has(answer.errorCode) && performance.now() < startedMs + 60_000) continue;
        if (answer.errorCode !== 0) throw new Error(errorName(answer.errorCode));
        const found = new Map<string, number>();
        for (const { partitions } of answer.topics) {
          for (const { partitionIndex, committedOffset } of partitions) {
            found.set(`${group} ${partitionIndex}`, Number(committedOffset));
          }
        }
        for (const [place, acked] of this.acked) {
          if (!place.startsWith(`${group} `)) continue;
          const committed = found.get(place) ?? -1;
          if (committed < acked || committed > this.sent.get(place)!) {
            this.failures.push(`${place} is committed at ${committed}, acknowledged were ${acked}`);
          }
        }
        break;
      }
    }
    this.longestLoadMs = Math.max(this.longestLoadMs, performance.now() - startedMs);
    if (this.commits > 0) await this.read(client);
  }

  /** The whole log, as a consumer from the beginning sees it. */
  private async read(client: WireClient): Promise<void> {
    const start = await this.listOffset(client, -2);
    if (start !== 0) this.failures.push(`the log begins at ${start}`);
    const end = await this.listOffset(client, -1);
    const present = new Map<number, Stored>();
    for (let offset = 0; offset < end; ) {
      const answer = await client.request(fetchRequest, fetchResponse, 7, {
        replicaId: -1,
        maxWaitMs: 0,
        minBytes: 0,
        maxBytes: 10_000_000,
        isolationLevel: 0,
        sessionId: 0,
        sessionEpoch: -1,
        topics: [
          { topic, partitions: [{ partition: 0, fetchOffset: offset, partitionMaxBytes: 2_000_000 }] },
        ],
        forgottenTopicsData: [],
      });
      const { errorCode, records } = answer.responses[0]!.partitions[0]!;
      if (errorCode !== 0 || records === null || records.length === 0) {
        this.failures.push(`a reader at ${offset} of ${end} is answered ${errorName(errorCode)}`);
        return;
      }
      for (let at = 0; entryBounds(records, at) !== undefined; at += batchSizeBytes(records, at)) {
        if (batchIsControl(records, at)) continue;
        for (const record of decodeRecords(records, at)) {
          const stored = {
            key: record.key!.toString('base64'),
            value: record.value?.toString('base64') ?? null,
          };
          present.set(Number(record.offset), stored);
          offset = Number(record.offset) + 1;
        }
      }
    }
    for (const [offset, stored] of present) {
      const before = this.ever.get(offset);
      if (before !== undefined && (before.key !== stored.key || before.value !== stored.value)) {
        this.failures.push(`offset ${offset} has another record than before`);
      }
      this.ever.set(offset, stored);
    }
    const newest = new Map<string, number>();
    for (const [offset, { key }] of this.ever) if (offset > (newest.get(key) ?? -1)) newest.set(key, offset);
    for (const [key, offset] of newest) {
      if (!present.has(offset))
        this.failures.push(`the newest record of ${key}, at ${offset}, is not there any more`);
    }
    this.present = present;
    this.endOffset = end;
  }

  private async listOffset(client: WireClient, timestamp: number): Promise<number> {
    const answer = await client.request(listOffsetsRequest, listOffsetsResponse, 2, {
      replicaId: -1,
      isolationLevel: 0,
      topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp }] }],
    });
    return Number(answer.topics[0]!.partitions[0]!.offset);
  }
}

export function runOffsetsCompaction(options: OffsetsCompactionOptions): Promise<OffsetsCompactionResult> {
  return new Run(options).go();
}
