/**
 * Kills the real broker again and again under load and looks after every kill whether it kept what it acknowledged. The
 * journal of acknowledgements lies in this process, outside the broker.
 *
 * kill -9 leaves the machine's page cache alone: what a power cut would lose is the business of embedded-crash.test.ts.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorCodes, errorName } from '../../protocol/error-codes.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import { decodeRecordSet } from '../../protocol/records/record-set.ts';
import { seededRandom } from '../fakes/simulated-disk.ts';
import { BrokerProcess, freePort } from './broker-process.ts';
import { IdempotentProducer, type ProducedPartition } from './idempotent-producer.ts';
import { PartitionChecker, PartitionJournal } from './journal.ts';
import { OffsetCommitter } from './offset-committer.ts';
import { WireClient } from './wire-client.ts';

export interface CrashTestOptions {
  /** The broker's bundled program. */
  readonly program: string;
  readonly cycles: number;
  readonly seed: number;
  /** Which acknowledgements the load asks for: acks=all, acks=1, or each in a topic of its own. */
  readonly mode: 'sync' | 'async' | 'both';
  readonly producers: number;
  /** Data of a run that failed is kept to be looked at, unless 'never'. */
  readonly keepData: 'always' | 'on failure' | 'never';
  readonly report: (line: string) => void;
}

export interface CrashTestResult {
  readonly passed: number;
  readonly failed: number;
}

const partitionsPerTopic = 3;
const readyWithinMs = 15_000;
const commitApis = [8, 9, 10];

export async function runCrashTest(options: CrashTestOptions): Promise<CrashTestResult> {
  const { cycles, seed, report } = options;
  const random = seededRandom(seed);
  const dataDirectory = await mkdtemp(join(tmpdir(), 'odradek-crash-'));
  const port = await freePort();
  const partitions = partitionsOf(options.mode);
  const producers = Array.from(
    { length: options.producers },
    (_, at) => new IdempotentProducer(`producer-${at}`, partitions, seededRandom(seed + at + 1)),
  );
  const committers = ['a', 'b'].map((name) => new OffsetCommitter(`group-${name}`, partitions[0]!.topic));
  let checkers = partitions.map(({ journal }) => new PartitionChecker(journal));
  let readyMs = 0;
  let passed = 0;
  let failed = 0;
  let isStopping = false;
  let commitsOffsets = false;
  const startedMs = performance.now();
  let broker: BrokerProcess | undefined;

  const failuresSoFar = (): string[] =>
    [...checkers, ...producers, ...committers].flatMap((one) => one.failures);

  try {
    for (let cycle = 1; cycle <= cycles; cycle++) {
      const failures: string[] = [];
      const ackedBefore = partitions.map(({ journal }) => ackedNow(journal, producers));
      broker = BrokerProcess.start(options.program, port, dataDirectory);
      // Now and then it is killed while it starts, perhaps in the middle of recovery.
      if (cycle > 1 && random() < 0.15) {
        await Promise.race([pause(random() * 400), broker.ended]);
        await broker.kill();
        broker = BrokerProcess.start(options.program, port, dataDirectory);
      }
      const openedMs = performance.now();
      const apis = await broker.ready(readyWithinMs);
      readyMs += performance.now() - openedMs;
      if (apis === undefined) {
        report(
          `cycle ${cycle}: FAILED: the broker did not start: ${await broker.kill()}\n${broker.lastOutput}`,
        );
        failed++;
        break;
      }
      if (cycle === 1) {
        failures.push(...(await createTopics(port, partitions)));
        commitsOffsets = commitApis.every((apiKey) => apis.has(apiKey));
        if (!commitsOffsets) report('the broker serves no offset commits: they are not tested');
      }
      const load = [
        ...producers.map((producer) => producer.produce(port)),
        ...(commitsOffsets ? committers.map((committer) => committer.run(port, () => isStopping)) : []),
      ];
      failures.push(...(await readOn(port, partitions, checkers)));
      for (const [at, checker] of checkers.entries()) checker.end(ackedBefore[at]!);
      let ended: string | undefined;
      void broker.ended.then((how) => {
        ended = how;
      });
      await pause(20 + random() * 230);
      if (ended !== undefined) failures.push(`the broker ended by itself: ${ended}\n${broker.lastOutput}`);
      await broker.kill();
      await Promise.all(load);
      failures.push(...failuresSoFar());
      if (failures.length === 0) {
        passed++;
        continue;
      }
      failed++;
      for (const failure of failures) report(`cycle ${cycle}: FAILED: ${failure}`);
      break; // what is wrong now stays wrong
    }

    if (failed === 0) {
      const failures = await finish();
      if (failures.length === 0) passed++;
      else failed++;
      for (const failure of failures) report(`at the end: FAILED: ${failure}`);
    }
  } finally {
    await broker?.kill();
    const isKept = options.keepData === 'always' || (options.keepData === 'on failure' && failed > 0);
    if (isKept) report(`the data is kept in ${dataDirectory}`);
    else await rm(dataDirectory, { recursive: true });
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const records = checkers.reduce((sum, checker) => sum + checker.nextOffset, 0);
  const resent = producers.reduce((sum, producer) => sum + producer.resentBatches, 0);
  const commits = committers.reduce((sum, committer) => sum + committer.acked + 1, 0);
  report(
    `${records} records in the log, ${resent} batches sent again, ${commits} offset commits, ` +
      `ready after ${(readyMs / cycles).toFixed(0)} ms, ${(cycles / seconds).toFixed(2)} cycles/s, ${seconds.toFixed(0)} s`,
  );
  return { passed, failed };

  /** A last start: everything on its way is acknowledged, then the whole log is read again from its beginning. */
  async function finish(): Promise<string[]> {
    broker = BrokerProcess.start(options.program, port, dataDirectory);
    if ((await broker.ready(readyWithinMs)) === undefined)
      return [`the broker did not start: ${broker.lastOutput}`];
    isStopping = true;
    for (const producer of producers) producer.stop();
    const failures: string[] = [];
    const done = Promise.all([
      ...producers.map((producer) => producer.produce(port)),
      ...(commitsOffsets ? committers.map((committer) => committer.run(port, () => true)) : []),
    ]);
    await Promise.race([done, pause(20_000)]);
    if (!producers.every((producer) => producer.isDone))
      failures.push('batches are not acknowledged after 20 s');
    checkers = partitions.map(({ journal }) => new PartitionChecker(journal));
    failures.push(...(await readOn(port, partitions, checkers)));
    for (const [at, { journal }] of partitions.entries()) checkers[at]!.end(ackedNow(journal, producers));
    failures.push(...failuresSoFar());
    const ended = await broker.stop();
    if (ended !== 'exit code 0') failures.push(`a clean stop ended with ${ended}`);
    return failures;
  }
}

function partitionsOf(mode: 'sync' | 'async' | 'both'): readonly ProducedPartition[] {
  const topics = [
    ...(mode === 'async' ? [] : [{ topic: 'crash-sync', acks: -1 }]),
    ...(mode === 'sync' ? [] : [{ topic: 'crash-async', acks: 1 }]),
  ];
  return topics.flatMap(({ topic, acks }) =>
    Array.from({ length: partitionsPerTopic }, (_, index) => ({
      topic,
      acks,
      index,
      journal: new PartitionJournal(`${topic}-${index}`),
    })),
  );
}

function ackedNow(
  journal: PartitionJournal,
  producers: readonly IdempotentProducer[],
): ReadonlyMap<string, number> {
  return new Map(producers.map(({ name }) => [name, journal.ackedUntil(name)]));
}

async function createTopics(port: number, partitions: readonly ProducedPartition[]): Promise<string[]> {
  const client = await WireClient.connect(port, 'crash-test');
  try {
    const names = [...new Set(partitions.map(({ topic }) => topic))];
    const answer = await client.request(createTopicsRequest, createTopicsResponse, 4, {
      topics: names.map((name) => ({
        name,
        numPartitions: partitionsPerTopic,
        replicationFactor: 1,
        assignments: [],
        configs: [],
      })),
      timeoutMs: 10_000,
    });
    return answer.topics
      .filter(({ errorCode }) => errorCode !== errorCodes.NONE)
      .map(({ name, errorCode }) => `${name} was not created: ${errorName(errorCode)}`);
  } finally {
    client.close();
  }
}

/** Reads every partition from where its checker is to the high watermark of its first answer. */
async function readOn(
  port: number,
  partitions: readonly ProducedPartition[],
  checkers: readonly PartitionChecker[],
): Promise<string[]> {
  const client = await WireClient.connect(port, 'crash-test');
  const failures: string[] = [];
  try {
    for (const [at, { topic, index }] of partitions.entries()) {
      const checker = checkers[at]!;
      for (let target: number | undefined; target === undefined || checker.nextOffset < target; ) {
        const fromOffset = checker.nextOffset;
        const answer = await client.request(fetchRequest, fetchResponse, 11, {
          maxWaitMs: 0,
          minBytes: 0,
          maxBytes: 8_000_000,
          sessionEpoch: -1,
          topics: [
            {
              topic,
              partitions: [{ partition: index, fetchOffset: fromOffset, partitionMaxBytes: 4_000_000 }],
            },
          ],
        });
        const partition = answer.responses[0]!.partitions[0]!;
        if (partition.errorCode !== errorCodes.NONE) {
          failures.push(`${topic}-${index}: reading from ${fromOffset}: ${errorName(partition.errorCode)}`);
          break;
        }
        target ??= Number(partition.highWatermark);
        for (const batch of decodeRecordSet(partition.records ?? Buffer.alloc(0)).batches) {
          for (const record of batch.records) {
            const offset = Number(record.offset);
            if (offset < fromOffset) continue; // the batch holds the offset asked for, and begins before it
            checker.see({
              offset,
              key: record.key?.toString() ?? '',
              value: record.value ?? Buffer.alloc(0),
            });
          }
        }
        if (checker.nextOffset === fromOffset && fromOffset < target) {
          failures.push(
            `${topic}-${index}: nothing comes from ${fromOffset} on, though ${target} is the end`,
          );
          break;
        }
      }
    }
  } finally {
    client.close();
  }
  return failures;
}

function pause(forMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, forMs));
}
