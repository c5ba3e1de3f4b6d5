/**
 * Strikes the real broker down again and again under load (kill -9, or a power cut of the machine that it runs on) and looks every time
 * whether it kept what it acknowledged. The journal of acknowledgements lies in this process, outside the broker.
 *
 * kill -9 strikes at random moments, at named points of the broker's file calls (kill-points.ts) and several times in a row while it
 * starts. The data directory lives through the whole run: topics are made and deleted, records deleted, segments reclaimed.
 */
import { errorCodes, errorName } from '../../protocol/error-codes.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import { deleteRecordsRequest, deleteRecordsResponse } from '../../protocol/generated/21-delete-records.ts';
import { decodeRecordSet } from '../../protocol/records/record-set.ts';
import { seededRandom } from '../fakes/simulated-disk.ts';
import { BrokerProcess, freePort } from './broker-process.ts';
import type { BusyTimes } from './busy-times.ts';
import { type ForeignClient, foreignTopic } from './foreign-clients.ts';
import { IdempotentProducer } from './idempotent-producer.ts';
import { PartitionJournal } from './journal.ts';
import { anyKillPoint } from './kill-points-by-chance.ts';
import { flushBeside, threadsOf } from './look-into-process.ts';
import type { Machine } from './machine.ts';
import { OffsetCommitter } from './offset-committer.ts';
import { PartitionUnderTest } from './produced-partition.ts';
import { TopicAdministrator } from './topic-administrator.ts';
import { WireClient } from './wire-client.ts';

export type FlushPolicy = 'acks' | 'interval' | 'always';

export interface CrashTestOptions {
  /** The broker's bundled program. */
  readonly program: string;
  readonly machine: Machine;
  readonly cycles: number;
  readonly seed: number;
  /** Which acknowledgements the load asks for: acks=all, acks=1, or each in a topic of its own. */
  readonly mode: 'sync' | 'async' | 'both';
  /** One of them by chance for each life of the broker. */
  readonly flushPolicies: readonly FlushPolicy[];
  readonly producers: number;
  readonly foreignClients: readonly ForeignClient[];
  /** Data of a run that failed is kept to be looked at, unless 'never'. */
  readonly keepData: 'always' | 'on failure' | 'never';
  readonly report: (line: string) => void;
}

export interface CrashTestResult {
  readonly passed: number;
  readonly failed: number;
}

const partitionsPerTopic = 3;
/** A busy machine may leave a process without its share of time for long. */
const readyWithinMs = 60_000;
const longStartMs = 10_000;
/** Segments as small as they may be, so that every few lives one is closed, merged and reclaimed. */
const segmentBytes = 1024 * 1024;
const flushIntervalMs = 50;
/** Beyond the interval, and beside the times in which the disk worked for the log or the broker could not run. */
const toleranceMs = 50;
const longestLoadMs = 230;
/** Long enough that a flush which is too late shows. */
const longestQuietMs = 700;
const readAgainEvery = 50;
const reportEvery = 100;

export function runCrashTest(options: CrashTestOptions): Promise<CrashTestResult> {
  return new CrashTest(options).run();
}

class CrashTest {
  private readonly options: CrashTestOptions;
  private readonly random: () => number;
  private readonly partitions: readonly PartitionUnderTest[];
  private readonly producers: readonly IdempotentProducer[];
  private readonly committers: readonly OffsetCommitter[];
  private readonly administrator = new TopicAdministrator();
  private readonly strikes = new Map<string, number>();
  private port = 0;
  private standby: BrokerProcess | undefined;
  private broker: BrokerProcess | undefined;
  private isStopping = false;
  private cycles = 0;
  private starts = 0;
  private startMs = 0;
  private deathsWhileStarting = 0;
  private records = 0;
  private trims = 0;

  constructor(options: CrashTestOptions) {
    this.options = options;
    this.random = seededRandom(options.seed);
    const own = partitionsOf(options.mode);
    this.partitions = [
      ...own,
      ...options.foreignClients.map(
        ({ journal, partition }) =>
          new PartitionUnderTest({
            topic: foreignTopic,
            index: partition,
            acks: -1,
            journal,
            isTrimmed: false,
          }),
      ),
    ];
    this.producers = Array.from(
      { length: options.producers },
      (_, at) => new IdempotentProducer(`producer-${at}`, own, seededRandom(options.seed + at + 1)),
    );
    this.committers = ['a', 'b'].map(
      (name) =>
        new OffsetCommitter(`group-${name}`, own[0]!.topic, (group) =>
          this.looks.push(this.lookWhyLong(`the coordinator of ${group}`)),
        ),
    );
  }

  async run(): Promise<CrashTestResult> {
    const { cycles, report, machine, keepData, foreignClients } = this.options;
    this.port = await freePort();
    let passed = 0;
    let failed = 0;
    const startedMs = performance.now();
    try {
      for (let cycle = 1; cycle <= cycles && failed === 0; cycle++) {
        const failures = await this.cycle(cycle);
        for (const failure of failures) report(`cycle ${cycle}: FAILED: ${failure}`);
        if (failures.length === 0) passed++;
        else failed++; // what is wrong now stays wrong
        if (cycle % reportEvery === 0)
          report(`${cycle} cycles, ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
      }
      if (failed === 0) {
        const failures = await this.finish();
        for (const failure of failures) report(`at the end: FAILED: ${failure}`);
        if (failures.length === 0) passed++;
        else failed++;
      }
    } finally {
      for (const client of foreignClients) client.end();
      await this.standby?.kill();
      await this.broker?.kill();
      const keep = keepData === 'always' || (keepData === 'on failure' && failed > 0);
      if (keep) report(`the data is kept in ${machine.dataDirectory}`);
      await machine.remove(keep);
    }
    this.summarize((performance.now() - startedMs) / 1000);
    return { passed, failed };
  }

  private summarize(seconds: number): void {
    const { report, cycles, machine } = this.options;
    const resent = this.producers.reduce((sum, producer) => sum + producer.resentBatches, 0);
    const commits = this.committers.reduce((sum, committer) => sum + committer.acked + 1, 0);
    const points = [...this.strikes].map(([point, times]) => `${point} (${times})`).sort();
    report(
      `${this.records} records read, ${resent} batches sent again, ${commits} offset commits, ` +
        `${this.administrator.acked} topics made or deleted, ${this.trims} trims, ready after ${(this.startMs / Math.max(1, this.starts)).toFixed(0)} ms, ` +
        `${(seconds / cycles).toFixed(2)} s a cycle, ${seconds.toFixed(0)} s`,
    );
    if (this.deathsWhileStarting > 0) report(`${this.deathsWhileStarting} deaths more while it started`);
    if (points.length > 0) report(`${points.length} kill points struck: ${points.join(', ')}`);
    if (machine.keepsWritten) return;
    const late = this.partitions.reduce((sum, { lostAfterCut }) => sum + lostAfterCut, 0);
    if (machine.mayFeignFlushes) {
      report(
        `${late} batches of acks=all are gone that were acknowledged after the beginning of a cut, which proves nothing: ` +
          'a flush that the shutdown overtakes may report success',
      );
    }
    const windows = this.partitions.flatMap(({ lostWindowsMs }) => lostWindowsMs).sort((a, b) => a - b);
    const shown = (at: number): string =>
      `${(windows[Math.floor(at * (windows.length - 1))] ?? 0).toFixed(0)} ms`;
    report(
      `acks=1: ${windows.length} times a partition lost its end; the oldest lost acknowledgement was ${shown(0.5)} old in the middle and ` +
        `${shown(1)} at most, ${this.longestIdleMs.toFixed(0)} ms without the times in which the disk worked for the log or the broker could not ` +
        `run (flush interval ${flushIntervalMs} ms, allowed ${flushIntervalMs + toleranceMs} ms)`,
    );
  }

  private load(): BrokerProcess {
    const { program, machine, flushPolicies } = this.options;
    const policy = flushPolicies[Math.floor(this.random() * flushPolicies.length)]!;
    return BrokerProcess.load({
      program,
      port: this.port,
      dataDirectory: machine.dataDirectory,
      settings: {
        'auto.create.topics.enable': 'false',
        'rmq.commitlog.segment.bytes': String(segmentBytes),
        'rmq.flush.interval.ms': String(flushIntervalMs),
        'rmq.flush.policy': policy,
      },
    });
  }

  private next(killPoint?: string): BrokerProcess {
    const broker = this.standby ?? this.load();
    this.standby = this.load();
    this.broker = broker;
    broker.go(killPoint);
    return broker;
  }

  private async cycle(cycle: number): Promise<readonly string[]> {
    this.cycles = cycle;
    const { machine, foreignClients } = this.options;
    const acked = this.partitions.map(({ journal }) => ackedNow(journal));
    const killsAtPoints = machine.keepsWritten && cycle > 1;
    if (killsAtPoints && this.random() < 0.15) await this.dieWhileStarting();
    const killPoint = killsAtPoints && this.random() < 0.6 ? anyKillPoint(this.random) : undefined;
    const startedMs = performance.now();
    const broker = this.next(killPoint);
    const look = setTimeout(
      () => this.looks.push(this.lookWhyLong(`the start of cycle ${cycle}`)),
      longStartMs,
    );
    const apis = await broker.ready(readyWithinMs);
    clearTimeout(look);
    if (apis === undefined) {
      await Promise.all(this.looks.splice(0));
      const how = await broker.kill();
      if (killPoint !== undefined && how === 'SIGKILL' && performance.now() - startedMs < readyWithinMs) {
        this.struck(killPoint);
        return [];
      }
      return [`the broker did not start: ${how}\n${broker.lastOutput}`];
    }
    this.starts++;
    this.startMs += performance.now() - startedMs;
    const failures: string[] = [];
    if (cycle === 1) {
      failures.push(...(await createTopics(this.port, this.partitions)));
      for (const client of foreignClients) await client.start(this.port);
    }
    // After a power cut the producers must know first what they have to send again.
    const load = machine.keepsWritten ? this.startLoad() : [];
    if (cycle % readAgainEvery === 0) for (const partition of this.partitions) partition.readAgain();
    const isRead = await this.readAll(failures);
    if (isRead) this.judge(acked);
    const isQuiet = !machine.keepsWritten && cycle > 1 && this.random() < 0.6;
    if (!machine.keepsWritten) load.push(...this.startLoad(isQuiet));
    if (isRead && failures.length === 0 && this.random() < 0.3) load.push(this.trim());
    await Promise.race([
      pause(20 + this.random() * (isQuiet ? longestQuietMs : longestLoadMs)),
      broker.ended,
    ]);
    if (broker.isGone) {
      const how = await broker.ended;
      if (killPoint === undefined || how !== 'SIGKILL') {
        failures.push(`the broker ended by itself: ${how}\n${broker.lastOutput}`);
      } else this.struck(killPoint);
    }
    this.struckMs = await machine.strike(broker);
    this.struckBusyTimes = broker.busyTimes;
    await Promise.all([...load, ...this.looks.splice(0)]);
    failures.push(...this.failuresSoFar());
    return failures;
  }

  private readonly looks: Promise<void>[] = [];
  private struckMs = 0;
  private struckBusyTimes: BusyTimes | undefined;
  /** Of what a cut took from acks=1: the longest time without a flush between an acknowledgement and the cut. */
  private longestIdleMs = 0;

  private struck(killPoint: string): void {
    const point = killPoint.slice(0, killPoint.lastIndexOf(' '));
    this.strikes.set(point, (this.strikes.get(point) ?? 0) + 1);
  }

  /** Starts that are cut off one after the other, at a random moment or at a point in recovery. */
  private async dieWhileStarting(): Promise<void> {
    for (let left = 1 + Math.floor(this.random() * this.random() * 8); left > 0; left--) {
      const killPoint = this.random() < 0.5 ? anyKillPoint(this.random) : undefined;
      const broker = this.next(killPoint);
      await Promise.race([pause(this.random() * 60), broker.ended]);
      if (broker.isGone && killPoint !== undefined) this.struck(killPoint);
      await broker.kill();
      this.deathsWhileStarting++;
    }
  }

  /** `isQuiet`: nobody asks for more than acks=1, so that nothing is flushed before its interval is over. */
  private startLoad(isQuiet = false): Promise<unknown>[] {
    const isStopping = (): boolean => this.isStopping;
    if (isQuiet) return this.producers.map((producer) => producer.produce(this.port, 1));
    return [
      ...this.producers.map((producer) => producer.produce(this.port)),
      ...this.committers.map((committer) => committer.run(this.port, isStopping)),
      this.administrator.run(this.port, isStopping),
    ];
  }

  /** Everything was read to its end. */
  private judge(acked: readonly ReadonlyMap<string, number>[]): void {
    const { machine } = this.options;
    for (const [at, partition] of this.partitions.entries()) {
      if (machine.keepsWritten || this.struckMs === 0) {
        partition.checker.end(acked[at]!);
      } else {
        const allAckedMs = machine.mayFeignFlushes ? this.struckMs : Number.POSITIVE_INFINITY;
        const busy = this.struckBusyTimes!;
        const durableBeforeMs =
          partition.acks === -1
            ? allAckedMs
            : busy.momentBefore(this.struckMs, flushIntervalMs + toleranceMs);
        const windows = partition.lostWindowsMs.length;
        const rewinds = partition.endAfterCut(this.struckMs, durableBeforeMs);
        const ageMs = partition.lostWindowsMs[windows];
        if (ageMs !== undefined && partition.acks === 1)
          this.longestIdleMs = Math.max(
            this.longestIdleMs,
            busy.idleMs(this.struckMs - ageMs, this.struckMs),
          );
        for (const producer of this.producers) {
          const number = rewinds.get(producer.name);
          if (number !== undefined) producer.rewind(partition.journal, number);
        }
      }
      partition.readToItsEnd();
    }
  }

  /** Something takes seconds: what the broker's threads wait for, what it said, and whether the machine lets it run. */
  private async lookWhyLong(what: string): Promise<void> {
    const { machine, report } = this.options;
    const { broker } = this;
    if (broker === undefined) return;
    report(`cycle ${this.cycles}: ${what} takes long; the broker said: ${broker.lastOutput.slice(-1500)}`);
    report(await threadsOf(broker.processId));
    report(await flushBeside(machine.dataDirectory).catch((error: Error) => error.message));
  }

  private failuresSoFar(): string[] {
    return [
      ...this.partitions.flatMap((partition) => partition.allFailures),
      ...[...this.producers, ...this.committers, this.administrator, ...this.options.foreignClients].flatMap(
        (one) => one.failures,
      ),
    ];
  }

  /** A last start: everything on its way is acknowledged, then the whole log is read again from its beginning. */
  private async finish(): Promise<string[]> {
    const { foreignClients, machine } = this.options;
    const acked = this.partitions.map(({ journal }) => ackedNow(journal));
    const broker = this.next();
    if ((await broker.ready(readyWithinMs)) === undefined)
      return [`the broker did not start: ${broker.lastOutput}`];
    const failures: string[] = [];
    if (!machine.keepsWritten && (await this.readAll(failures))) this.judge(acked);
    this.isStopping = true;
    for (const producer of this.producers) producer.stop();
    const done = Promise.all([...this.startLoad(), ...foreignClients.map((client) => client.stop())]);
    await Promise.race([done, pause(30_000)]);
    if (!this.producers.every((producer) => producer.isDone))
      failures.push('batches are not acknowledged after 30 s');
    for (const partition of this.partitions) partition.readAgain();
    if (!(await this.readAll(failures))) failures.push('the log could not be read to its end');
    for (const partition of this.partitions) partition.checker.end(ackedNow(partition.journal));
    failures.push(...this.failuresSoFar());
    const ended = await broker.stop();
    if (ended !== 'exit code 0') failures.push(`a clean stop ended with ${ended}`);
    return failures;
  }

  /** Deletes old records, so that segments die. */
  private async trim(): Promise<void> {
    let client: WireClient | undefined;
    try {
      client = await WireClient.connect(this.port, 'trimmer');
      for (const partition of this.partitions) {
        const offset = this.random() < 0.6 ? partition.offsetToTrimTo(this.random) : undefined;
        if (offset === undefined) continue;
        const answer = await client.request(deleteRecordsRequest, deleteRecordsResponse, 1, {
          topics: [{ name: partition.topic, partitions: [{ partitionIndex: partition.index, offset }] }],
          timeoutMs: 10_000,
        });
        if (answer.topics[0]!.partitions[0]!.errorCode === errorCodes.NONE) {
          partition.trimmed(offset);
          this.trims++;
        }
      }
    } catch {
      // gone again
    } finally {
      client?.close();
    }
  }

  /** Reads every partition from where its checker is to the high watermark of its first answer. False when the broker went. */
  private async readAll(failures: string[]): Promise<boolean> {
    let client: WireClient;
    try {
      client = await WireClient.connect(this.port, 'reader');
    } catch {
      return false;
    }
    try {
      for (const partition of this.partitions) await this.readOn(client, partition, failures);
      return true;
    } catch (error) {
      if (!(error instanceof Error) || error.message !== 'the connection is gone') throw error;
      return false;
    } finally {
      client.close();
    }
  }

  private async readOn(client: WireClient, partition: PartitionUnderTest, failures: string[]): Promise<void> {
    const { topic, index, checker } = partition;
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
      const found = answer.responses[0]!.partitions[0]!;
      if (found.errorCode !== errorCodes.NONE) {
        failures.push(`${topic}-${index}: reading from ${fromOffset}: ${errorName(found.errorCode)}`);
        return;
      }
      if (target === undefined) partition.seeStart(Number(found.logStartOffset));
      target ??= Number(found.highWatermark);
      for (const batch of decodeRecordSet(found.records ?? Buffer.alloc(0)).batches) {
        for (const record of batch.records) {
          const offset = Number(record.offset);
          if (offset < fromOffset) continue; // the batch holds the offset asked for, and begins before it
          this.records++;
          checker.see({
            offset,
            key: record.key?.toString() ?? '',
            value: record.value ?? Buffer.alloc(0),
          });
        }
      }
      if (checker.nextOffset === fromOffset && fromOffset < target) {
        failures.push(`${topic}-${index}: nothing comes from ${fromOffset} on, though ${target} is the end`);
        return;
      }
    }
  }
}

function partitionsOf(mode: 'sync' | 'async' | 'both'): readonly PartitionUnderTest[] {
  const topics = [
    ...(mode === 'async' ? [] : [{ topic: 'crash-sync', acks: -1 }]),
    ...(mode === 'sync' ? [] : [{ topic: 'crash-async', acks: 1 }]),
  ];
  return topics.flatMap(({ topic, acks }) =>
    Array.from({ length: partitionsPerTopic }, (_, index) => {
      const journal = new PartitionJournal(`${topic}-${index}`);
      return new PartitionUnderTest({ topic, acks, index, journal, isTrimmed: true });
    }),
  );
}

function ackedNow(journal: PartitionJournal): ReadonlyMap<string, number> {
  return new Map(journal.producers().map((name) => [name, journal.ackedUntil(name)]));
}

async function createTopics(port: number, partitions: readonly PartitionUnderTest[]): Promise<string[]> {
  const client = await WireClient.connect(port, 'crash-test');
  try {
    const names = [...new Set([...partitions.map(({ topic }) => topic), foreignTopic])];
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

function pause(forMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, forMs));
}
