/**
 * Very many delayed records with a due time each, and a broker that is killed again and again while it takes them and while it delivers
 * them. A reader beside it notes what comes and when. Nothing may be lost, early, or there more often than kills explain; the
 * producer is idempotent, so that what it sends again is no duplicate either.
 */
import { readFile } from 'node:fs/promises';
import { produceRequest, produceResponse } from '../../protocol/generated/00-produce.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import {
  initProducerIdRequest,
  initProducerIdResponse,
} from '../../protocol/generated/22-init-producer-id.ts';
import { openBatch } from '../../protocol/records/batch-records.ts';
import { batchLastOffset, entryBounds } from '../../protocol/records/record-batch.ts';
import { buildRecordBatch, type RecordInput } from '../../protocol/records/record-batch-builder.ts';
import { BrokerProcess } from '../crash/broker-process.ts';
import { WireClient } from '../crash/wire-client.ts';
import { MachineUsage } from './machine-usage.ts';

export interface TimerKillsOptions {
  readonly program: string;
  readonly port: number;
  readonly dataDirectory: string;
  readonly timers: number;
  readonly kills: number;
  /** From the start until the first is due: long enough to send them all. */
  readonly leadMs: number;
  /** From the first to the last. */
  readonly spreadMs: number;
  readonly say: (line: string) => void;
}

export interface TimerKillsReport {
  readonly timers: number;
  readonly kills: number;
  readonly sentInMs: number;
  /** Taken after their time, so that nothing was delayed; how late they came says nothing of timers. */
  readonly sentLate: number;
  readonly lost: number;
  readonly early: number;
  readonly duplicates: number;
  readonly mostCopies: number;
  readonly largestRssBytes: number;
  readonly largestStartMs: number;
  /** Of those that were due while the broker was there, a second after each start and later. */
  readonly latenessMs: {
    readonly p50: number;
    readonly p99: number;
    readonly p999: number;
    readonly max: number;
    readonly of: number;
  };
  /** The part of the machine that others used meanwhile, 0 to 1: what a lateness is worth depends on it. */
  readonly othersShare: number;
  /** Of all, those too that were due while it was not there. */
  readonly latenessOfAllMs: { readonly p50: number; readonly p99: number; readonly max: number };
}

const topic = 'timed';
const partitions = 8;
const recordsPerBatch = 500;
const retryMs = 20;
const settleAfterStartMs = 1000;

export async function runTimerKills(options: TimerKillsOptions): Promise<TimerKillsReport> {
  return new TimerKills(options).run();
}

interface Outage {
  readonly fromMs: number;
  untilMs: number;
}

class TimerKills {
  private readonly options: TimerKillsOptions;
  private broker: BrokerProcess;
  private readonly startedMs = Date.now();
  private readonly copies: Uint8Array;
  private readonly lateMs: Float64Array;
  private received = 0;
  private early = 0;
  private duplicates = 0;
  private readonly isSentLate: Uint8Array;
  private sent = 0;
  private largestRssBytes = 0;
  private largestStartMs = 0;
  private readonly outages: Outage[] = [];
  private done = false;
  private readonly usage = new MachineUsage();

  constructor(options: TimerKillsOptions) {
    this.options = options;
    this.copies = new Uint8Array(options.timers);
    this.isSentLate = new Uint8Array(options.timers);
    this.lateMs = new Float64Array(options.timers);
    this.broker = this.load();
  }

  async run(): Promise<TimerKillsReport> {
    const { timers, kills, say, leadMs, spreadMs } = this.options;
    this.broker.go();
    if ((await this.broker.ready(60_000)) === undefined)
      throw new Error(`no start: ${this.broker.lastOutput}`);
    await this.createTopic();
    const producerId = await this.call((client) =>
      client.request(initProducerIdRequest, initProducerIdResponse, 4, {
        transactionalId: null,
        transactionTimeoutMs: 60_000,
        producerId: -1,
        producerEpoch: -1,
      }),
    );
    const watching = this.watchMemory();
    const killing = this.killAgainAndAgain();
    const reading = Promise.all(Array.from({ length: partitions }, (_, index) => this.readAll(index)));
    await Promise.all(
      Array.from({ length: partitions }, (_, index) => this.sendAll(index, Number(producerId.producerId))),
    );
    const sentInMs = Date.now() - this.startedMs;
    say(`${timers} sent in ${(sentInMs / 1000).toFixed(1)} s`);
    await killing;
    const endMs = Math.max(Date.now(), this.startedMs + leadMs + spreadMs) + 60_000;
    while (this.received < timers && Date.now() < endMs) await sleep(100);
    // Duplicates come, if they come, right behind.
    await sleep(2000);
    this.done = true;
    await Promise.all([reading, watching]);
    await this.broker.stop();
    return this.report(kills, sentInMs);
  }

  private report(kills: number, sentInMs: number): TimerKillsReport {
    const { timers } = this.options;
    const all: number[] = [];
    const steady: number[] = [];
    let lost = 0;
    let mostCopies = 0;
    let sentLate = 0;
    for (let at = 0; at < timers; at++) {
      const copies = this.copies[at]!;
      mostCopies = Math.max(mostCopies, copies);
      if (copies === 0) {
        lost += 1;
        continue;
      }
      if (this.isSentLate[at] === 1) {
        sentLate += 1;
        continue;
      }
      const lateMs = this.lateMs[at]!;
      all.push(lateMs);
      const dueMs = this.dueOf(at);
      if (!this.outages.some(({ fromMs, untilMs }) => dueMs >= fromMs - 50 && dueMs < untilMs)) {
        steady.push(lateMs);
      }
    }
    all.sort((a, b) => a - b);
    steady.sort((a, b) => a - b);
    const at = (list: readonly number[], share: number) =>
      list[Math.min(list.length - 1, Math.floor(list.length * share))] ?? 0;
    return {
      timers,
      kills,
      sentInMs,
      sentLate,
      lost,
      early: this.early,
      duplicates: this.duplicates,
      mostCopies,
      largestRssBytes: this.largestRssBytes,
      largestStartMs: this.largestStartMs,
      latenessMs: {
        p50: at(steady, 0.5),
        p99: at(steady, 0.99),
        p999: at(steady, 0.999),
        max: steady.at(-1) ?? 0,
        of: steady.length,
      },
      othersShare: Number(this.usage.othersShare().toFixed(3)),
      latenessOfAllMs: { p50: at(all, 0.5), p99: at(all, 0.99), max: all.at(-1) ?? 0 },
    };
  }

  /** Neighbours in time lie in different partitions, and not in the order in which they are sent. */
  private dueOf(number: number): number {
    const { timers, leadMs, spreadMs } = this.options;
    const place = (number * 7919) % timers;
    return this.startedMs + leadMs + Math.floor((place * spreadMs) / timers);
  }

  private load(): BrokerProcess {
    const { program, port, dataDirectory } = this.options;
    return BrokerProcess.load({ program, port, dataDirectory, settings: {} });
  }

  private async createTopic(): Promise<void> {
    const answer = await this.call((client) =>
      client.request(createTopicsRequest, createTopicsResponse, 5, {
        topics: [
          {
            name: topic,
            numPartitions: partitions,
            replicationFactor: 1,
            assignments: [],
            configs: [
              { name: 'rmq.message.type', value: 'DELAY' },
              { name: 'rmq.delay.max.ms', value: '86400000' },
            ],
          },
        ],
        timeoutMs: 30_000,
        validateOnly: false,
      }),
    );
    if (answer.topics[0]?.errorCode !== 0) throw new Error(`the topic: error ${answer.topics[0]?.errorCode}`);
  }

  /** One batch at a time a partition; what is not answered is sent again as it was. */
  private async sendAll(partition: number, producerId: number): Promise<void> {
    const { timers } = this.options;
    const numbers: number[] = [];
    let sequence = 0;
    for (let number = partition; number < timers + partitions; number += partitions) {
      if (number < timers) numbers.push(number);
      if (numbers.length < recordsPerBatch && number + partitions < timers + partitions) continue;
      if (numbers.length === 0) break;
      const nowMs = Date.now();
      const records: RecordInput[] = numbers.map((one) => {
        const dueMs = this.dueOf(one);
        return {
          timestamp: nowMs,
          key: null,
          value: Buffer.from(String(one)),
          headers: [{ key: 'rmq-deliver-at-ms', value: Buffer.from(String(dueMs)) }],
        };
      });
      const batch = buildRecordBatch(records, { producerId, producerEpoch: 0, baseSequence: sequence });
      const answer = await this.call((client) =>
        client.request(produceRequest, produceResponse, 8, {
          transactionalId: null,
          acks: -1,
          timeoutMs: 30_000,
          topicData: [{ name: topic, partitionData: [{ index: partition, records: batch }] }],
        }),
      );
      const result = answer.responses[0]?.partitionResponses[0];
      if (result?.errorCode !== 0)
        throw new Error(`a batch: error ${result?.errorCode} ${result?.errorMessage}`);
      sequence += numbers.length;
      this.sent += numbers.length;
      const answeredMs = Date.now();
      for (const one of numbers) if (this.dueOf(one) <= answeredMs) this.isSentLate[one] = 1;
      numbers.length = 0;
    }
  }

  private async readAll(partition: number): Promise<void> {
    let offset = 0;
    while (!this.done) {
      const answer = await this.call((client) =>
        client.request(fetchRequest, fetchResponse, 11, {
          replicaId: -1,
          maxWaitMs: 500,
          minBytes: 1,
          maxBytes: 4 * 1024 * 1024,
          isolationLevel: 0,
          sessionId: 0,
          sessionEpoch: -1,
          topics: [
            {
              topic,
              partitions: [{ partition, fetchOffset: offset, partitionMaxBytes: 4 * 1024 * 1024 }],
            },
          ],
          forgottenTopicsData: [],
        }),
      );
      const nowMs = Date.now();
      const records = answer.responses[0]?.partitions[0]?.records;
      if (records === null || records === undefined) continue;
      for (let at = 0; ; ) {
        const bounds = entryBounds(records, at);
        if (bounds === undefined) break;
        const cursor = openBatch(records, at);
        while (cursor.next()) {
          if (Number(cursor.offset) >= offset) this.note(Number(cursor.value()!.toString()), nowMs);
        }
        offset = Number(batchLastOffset(records, at)) + 1;
        at += bounds.sizeBytes;
      }
    }
  }

  private note(number: number, nowMs: number): void {
    const lateMs = nowMs - this.dueOf(number);
    if (lateMs < 0) this.early += 1;
    const before = this.copies[number]!;
    this.copies[number] = Math.min(255, before + 1);
    if (before > 0) this.duplicates += 1;
    else {
      this.lateMs[number] = lateMs;
      this.received += 1;
    }
  }

  /** Half of the kills fall into the sending, the others into the delivery, after equal parts of each. */
  private async killAgainAndAgain(): Promise<void> {
    const { kills, timers, say } = this.options;
    const whileSending = Math.floor(kills / 2);
    for (let kill = 0; kill < kills; kill++) {
      const isSending = kill < whileSending;
      const part = isSending
        ? (kill + 1) / (whileSending + 1)
        : (kill - whileSending + 1) / (kills - whileSending + 1);
      while ((isSending ? this.sent : this.received) < part * timers) await sleep(50);
      const next = this.load();
      // The program is loaded while the last one still runs.
      await sleep(300);
      const outage: Outage = { fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY };
      this.outages.push(outage);
      await this.broker.kill();
      this.broker = next;
      const killedMs = Date.now();
      next.go();
      if ((await next.ready(120_000)) === undefined) throw new Error(`no start: ${next.lastOutput}`);
      const startMs = Date.now() - killedMs;
      this.largestStartMs = Math.max(this.largestStartMs, startMs);
      outage.untilMs = Date.now() + settleAfterStartMs;
      say(
        `kill ${kill + 1}: ${this.sent} sent, ${this.received} received, back in ${startMs} ms, ${Math.round(this.largestRssBytes / 2 ** 20)} MiB at most`,
      );
    }
  }

  private async watchMemory(): Promise<void> {
    while (!this.done) {
      await sleep(500);
      const status = await readFile(`/proc/${this.broker.processId}/status`, 'utf8').catch(() => '');
      const kib = /VmRSS:\s+(\d+) kB/.exec(status)?.[1];
      if (kib !== undefined) this.largestRssBytes = Math.max(this.largestRssBytes, Number(kib) * 1024);
      await this.usage.look(this.broker.processId);
    }
  }

  private readonly idle: WireClient[] = [];

  /** On a connection that nobody else uses meanwhile; again, while the broker is away. */
  private async call<T>(ask: (client: WireClient) => Promise<T>): Promise<T> {
    for (;;) {
      let client: WireClient | undefined;
      try {
        client = this.idle.pop();
        if (client === undefined || client.isGone) {
          client = await WireClient.connect(this.options.port, 'timer-kills');
        }
        const answer = await ask(client);
        this.idle.push(client);
        return answer;
      } catch (error) {
        client?.close();
        if (this.done) throw error;
        await sleep(retryMs);
      }
    }
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
