/**
 * Very many half messages, whose producers and whose broker die at every step: before and while a message is sent, between the answer and the
 * local commit, between that and the decision, while it is sent, and while a check is answered. The local database is a map here, with what a
 * database gives: one verdict for each transaction, the first. In the end each message is in its topic exactly once if its
 * transaction was committed, and not at all otherwise. Plain records go through the same partitions all the time.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { produceRequest, produceResponse } from '../../protocol/generated/00-produce.ts';
import { fetchRequest, fetchResponse } from '../../protocol/generated/01-fetch.ts';
import { createTopicsRequest, createTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import {
  incrementalAlterConfigsRequest,
  incrementalAlterConfigsResponse,
} from '../../protocol/generated/44-incremental-alter-configs.ts';
import { openBatch } from '../../protocol/records/batch-records.ts';
import { batchLastOffset, entryBounds } from '../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { BrokerProcess } from '../crash/broker-process.ts';
import { WireClient } from '../crash/wire-client.ts';
import { seededRandom } from '../fakes/simulated-disk.ts';
import { ProducerProcess } from './producer-process.ts';

export interface HalfKillsOptions {
  readonly program: string;
  readonly checkerProgram: string;
  readonly producerProgram: string;
  readonly port: number;
  readonly dataDirectory: string;
  readonly messages: number;
  readonly kills: number;
  readonly seed: number;
  /** Of the producer group: rmq.txn.check.interval.ms and rmq.txn.check.max. */
  readonly intervalMs: number;
  readonly maxChecks: number;
  readonly say: (line: string) => void;
}

export interface HalfKillsReport {
  readonly messages: number;
  readonly brokerKills: number;
  readonly checkerKills: number;
  /** By step; those of processes among them. */
  readonly producerDeaths: Readonly<Record<string, number>>;
  readonly processKills: Readonly<Record<string, number>>;
  readonly committed: number;
  readonly rolledBack: number;
  readonly neverSent: number;
  readonly checks: number;
  readonly lost: readonly string[];
  readonly notCommittedButThere: readonly string[];
  readonly twice: readonly string[];
  readonly discarded: number;
  /** Decisions that were taken though the contrary had been decided, or nothing was known of the message. */
  readonly contradicted: readonly string[];
  readonly refusedVerdicts: readonly string[];
  readonly plainSent: number;
  readonly plainLost: number;
  /** From its answer until it was read, where the broker lived on meanwhile. */
  readonly plainWaitMs: { readonly p99: number; readonly max: number };
  readonly seconds: number;
}

const topic = 'transfers';
const group = 'bank';
const partitions = 4;
const producersEach = 4;
/** Of those, so many are processes. */
const producerProcesses = 2;
const steps = ['before-send', 'during-send', 'after-send', 'after-local', 'during-decision'] as const;
type Step = (typeof steps)[number];
const shareOfDeaths = 0.2;
/** So often an answer to a check is that nobody knows yet. */
const maxUnknown = 5;
const checkersAtOnce = 2;
const settleMs = 1500;
const longestEndMs = 180_000;
/** Beside the time between two checks: more than the session of a killed instance. */
const quietMs = 10_000;

class Died extends Error {}

const noDeaths = (): Record<Step, number> => ({
  'before-send': 0,
  'during-send': 0,
  'after-send': 0,
  'after-local': 0,
  'during-decision': 0,
});

export class HalfKills {
  private readonly options: HalfKillsOptions;
  private broker: BrokerProcess;
  private readonly random: () => number;
  /** The local database: how each transaction ended; the first entry counts. */
  private readonly journal = new Map<string, 'committed' | 'rolled-back'>();
  private readonly sent = new Set<string>();
  private readonly seen = new Map<string, number>();
  private readonly plainAckedAt = new Map<string, number>();
  private readonly plainWaits: { readonly fromMs: number; readonly ms: number }[] = [];
  private readonly outages: { readonly fromMs: number; untilMs: number }[] = [];
  private readonly deaths = noDeaths();
  private readonly processKills = noDeaths();
  private readonly unknownAnswers = new Map<string, number>();
  private readonly refused: string[] = [];
  private readonly discards = new Set<string>();
  private checkers: ChildProcess[] = [];
  private checkerKills = 0;
  private checks = 0;
  private lastAskedMs = 0;
  private begun = 0;
  private brokerKills = 0;
  private killing: Promise<void> | undefined;
  /** Kills that are due, by the step at which they strike. */
  private dueKill: string | undefined;
  private plainSent = 0;
  private done = false;
  private readonly idle: WireClient[] = [];

  constructor(options: HalfKillsOptions) {
    this.options = options;
    this.random = seededRandom(options.seed);
    this.broker = this.load();
  }

  async run(): Promise<HalfKillsReport> {
    const { messages, say } = this.options;
    const startedMs = Date.now();
    this.broker.go();
    if ((await this.broker.ready(60_000)) === undefined) throw new Error(this.broker.lastOutput);
    await this.prepare();
    await Promise.all(Array.from({ length: checkersAtOnce }, () => this.startChecker()));
    const reading = Promise.all([
      ...Array.from({ length: partitions }, (_, at) => this.readAll(topic, at)),
      this.readAll(`txn.discard.${group}`, 0),
    ]);
    const plain = Promise.all(Array.from({ length: partitions }, (_, at) => this.sendPlain(at)));
    await Promise.all(Array.from({ length: partitions * producersEach }, (_, at) => this.produceAll(at)));
    await this.killing;
    say(
      `${messages} begun in ${Math.round((Date.now() - startedMs) / 1000)} s, ${this.checks} checks so far`,
    );
    this.lastAskedMs = Date.now();
    // What was torn is asked for until it is decided.
    const untilMs = Date.now() + longestEndMs;
    while (Date.now() < untilMs && !this.isAllDecided()) await sleep(200);
    say(`everything was decided ${Math.round((Date.now() - untilMs + longestEndMs) / 1000)} s later`);
    const contradicted = await this.contradictAll();
    await sleep(2000);
    this.done = true;
    await Promise.all([reading, plain]);
    for (const checker of this.checkers) checker.kill('SIGKILL');
    await this.broker.stop();
    return this.report(startedMs, contradicted);
  }

  /**
   * All that is committed is there, and nothing was asked for so long that somebody would have been. What died while it was sent may never
   * have come, so that nothing says how it ended.
   */
  private isAllDecided(): boolean {
    if (Date.now() - this.lastAskedMs < quietMs + this.options.intervalMs) return false;
    return [...this.journal].every(([id, end]) => end === 'rolled-back' || this.seen.has(id));
  }

  private report(startedMs: number, contradicted: readonly string[]): HalfKillsReport {
    const ids = Array.from({ length: this.options.messages }, (_, number) => `t${number}`);
    const committed = ids.filter((id) => this.journal.get(id) === 'committed');
    const isCommitted = new Set(committed);
    const waits = this.plainWaits
      .filter(({ fromMs, ms }) => !this.outages.some((o) => fromMs < o.untilMs && fromMs + ms > o.fromMs))
      .map(({ ms }) => ms)
      .sort((a, b) => a - b);
    return {
      messages: ids.length,
      brokerKills: this.brokerKills,
      checkerKills: this.checkerKills,
      producerDeaths: this.deaths,
      processKills: this.processKills,
      committed: committed.length,
      rolledBack: ids.filter((id) => this.journal.get(id) === 'rolled-back').length,
      neverSent: ids.filter((id) => !this.sent.has(id)).length,
      checks: this.checks,
      lost: committed.filter((id) => !this.seen.has(id)),
      notCommittedButThere: ids.filter((id) => this.seen.has(id) && !isCommitted.has(id)),
      twice: ids.filter((id) => (this.seen.get(id) ?? 0) > 1),
      discarded: this.discards.size,
      contradicted,
      refusedVerdicts: this.refused,
      plainSent: this.plainSent,
      plainLost: this.plainAckedAt.size,
      plainWaitMs: { p99: waits[Math.floor(waits.length * 0.99)] ?? 0, max: waits.at(-1) ?? 0 },
      seconds: Math.round((Date.now() - startedMs) / 1000),
    };
  }

  private load(): BrokerProcess {
    const { program, port, dataDirectory } = this.options;
    const settings = { 'group.initial.rebalance.delay.ms': '0', 'num.partitions': '1' };
    return BrokerProcess.load({ program, port, dataDirectory, settings });
  }

  private async prepare(): Promise<void> {
    const answer = await this.call((client) =>
      client.request(createTopicsRequest, createTopicsResponse, 5, {
        topics: [
          {
            name: topic,
            numPartitions: partitions,
            replicationFactor: 1,
            assignments: [],
            configs: [{ name: 'rmq.message.type', value: 'TRANSACTION' }],
          },
        ],
        timeoutMs: 30_000,
        validateOnly: false,
      }),
    );
    if (answer.topics[0]?.errorCode !== 0) throw new Error(`the topic: error ${answer.topics[0]?.errorCode}`);
    const settings = {
      'rmq.txn.timeout.ms': '500',
      'rmq.txn.check.interval.ms': String(this.options.intervalMs),
      'rmq.txn.check.max': String(this.options.maxChecks),
    };
    const set = await this.call((client) =>
      client.request(incrementalAlterConfigsRequest, incrementalAlterConfigsResponse, 1, {
        resources: [
          {
            resourceType: 32,
            resourceName: group,
            configs: Object.entries(settings).map(([name, value]) => ({ name, configOperation: 0, value })),
          },
        ],
        validateOnly: false,
      }),
    );
    if (set.responses[0]?.errorCode !== 0) throw new Error(`settings: ${set.responses[0]?.errorMessage}`);
  }

  // ----- producers

  /** One producer after the other: a new one takes over where one died. */
  private async produceAll(producer: number): Promise<void> {
    const { messages, producerProgram, port } = this.options;
    const own =
      producer < producerProcesses
        ? new ProducerProcess(producerProgram, [`127.0.0.1:${port}`, topic, group])
        : undefined;
    for (let number = producer; number < messages; number += partitions * producersEach) {
      while (this.isSettling && this.begun >= this.nextKillAt) await sleep(20);
      this.begun += 1;
      const id = `t${number}`;
      const death = this.random() < shareOfDeaths ? this.pick(steps) : undefined;
      try {
        if (own === undefined) await this.transfer(id, number % partitions, death);
        else await this.transferBy(own, id, number % partitions, death);
      } catch (error) {
        if (!(error instanceof Died)) throw error;
        this.deaths[death!] += 1;
        if (own !== undefined) this.processKills[death!] += 1;
      }
    }
    await own?.kill();
  }

  /** The same by a process with the kafkajs helper, which is killed. */
  private async transferBy(
    producer: ProducerProcess,
    id: string,
    partition: number,
    death: Step | undefined,
  ): Promise<void> {
    const isToCommit = this.random() < 0.65;
    const die = async (step: Step, inMs = 0): Promise<void> => {
      if (this.dueKill === step) void this.killBroker();
      if (death !== step) return;
      if (inMs > 0) await sleep(inMs);
      await producer.kill();
      throw new Died(step);
    };
    await producer.begin(id, partition);
    await producer.next();
    // From here on it is being sent: what the broker got when the process dies is not known.
    this.sent.add(id);
    await die('before-send');
    await die('during-send', this.random() * 8);
    await producer.next();
    await die('after-send');
    if (this.random() < 0.02) await sleep(700);
    if (!this.journal.has(id)) this.journal.set(id, isToCommit ? 'committed' : 'rolled-back');
    await die('after-local');
    producer.decide(this.journal.get(id) === 'committed' ? 'commit' : 'rollback');
    await die('during-decision', this.random() * 8);
    const { refused } = await producer.next();
    if (refused !== undefined) this.refused.push(`${id}: ${refused}`);
  }

  /** Tells the broker the contrary of what was decided, and a commit of what it never got: each must be refused. */
  private async contradictAll(): Promise<readonly string[]> {
    const taken: string[] = [];
    const ids = [...this.sent];
    const tellNext = async (): Promise<void> => {
      for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
        const verdict = this.journal.get(id) === 'committed' ? 'rollback' : 'commit';
        const { errorCode } = await this.produce(
          `txn.op.${group}`,
          0,
          decisionOf(id, verdict),
          'during-decision',
          undefined,
        );
        if (errorCode === 0) taken.push(`${id}: ${verdict}`);
      }
    };
    await Promise.all(Array.from({ length: 32 }, tellNext));
    return taken;
  }

  private async transfer(id: string, partition: number, death: Step | undefined): Promise<void> {
    const isToCommit = this.random() < 0.65;
    const batch = buildRecordBatch([
      {
        timestamp: Date.now(),
        key: null,
        value: Buffer.from(id),
        headers: [
          { key: 'rmq-txn', value: Buffer.from('half') },
          { key: 'rmq-txn-id', value: Buffer.from(id) },
          { key: 'rmq-producer-group', value: Buffer.from(group) },
        ],
      },
    ]);
    await this.at('before-send', death);
    this.sent.add(id);
    const sent = await this.produce(topic, partition, batch, 'during-send', death);
    if (sent.errorCode !== 0) throw new Error(`a half message: ${sent.errorCode} ${sent.errorMessage}`);
    await this.at('after-send', death);
    if (this.random() < 0.02) await sleep(700);
    // The local transaction; it fails where the answer to a check came first.
    if (!this.journal.has(id)) this.journal.set(id, isToCommit ? 'committed' : 'rolled-back');
    const verdict = this.journal.get(id) === 'committed' ? 'commit' : 'rollback';
    await this.at('after-local', death);
    const decision = decisionOf(id, verdict);
    const decided = await this.produce(`txn.op.${group}`, 0, decision, 'during-decision', death);
    if (decided.errorCode !== 0) this.refused.push(`${id} ${verdict}: ${decided.errorMessage}`);
  }

  /** A step of a producer: it may die here, and the broker too. */
  private async at(step: Step, death: Step | undefined): Promise<void> {
    if (this.dueKill === step) await this.killBroker();
    if (death === step) throw new Died(step);
  }

  private produce(name: string, index: number, batch: Buffer, step: Step, death: Step | undefined) {
    return this.call(async (client) => {
      const asking = client.request(produceRequest, produceResponse, 8, {
        transactionalId: null,
        acks: -1,
        timeoutMs: 30_000,
        topicData: [{ name, partitionData: [{ index, records: batch }] }],
      });
      asking.catch(() => {});
      if (this.dueKill === step) {
        this.dueKill = undefined;
        await sleep(this.random() * 3);
        void this.killBroker();
      }
      if (death === step) {
        await sleep(this.random() * 4);
        client.close();
        throw new Died(step);
      }
      const result = (await asking).responses[0]!.partitionResponses[0]!;
      // Of an auto-created or unknown topic, or a broker that ends: again.
      if (result.errorCode !== 0 && result.errorCode !== 87) throw new Error(`error ${result.errorCode}`);
      return result;
    });
  }

  // ----- checks

  private async startChecker(): Promise<void> {
    const { checkerProgram, port } = this.options;
    const child = fork(checkerProgram, [`127.0.0.1:${port}`, group], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.checkers.push(child);
    const ready = new Promise<void>((resolve) => {
      child.on('message', (message: { readonly ready?: true; readonly txnId?: string }) => {
        if (message.txnId === undefined) resolve();
        else void this.answer(child, message.txnId);
      });
    });
    child.once('exit', () => {
      this.checkers = this.checkers.filter((each) => each !== child);
      if (!this.done) void this.startChecker();
    });
    await ready;
  }

  private async answer(child: ChildProcess, txnId: string): Promise<void> {
    this.checks += 1;
    this.lastAskedMs = Date.now();
    if (this.dueKill === 'during-check') void this.killBroker();
    // Sessions of killed instances last seconds, in which the rest answers nothing.
    if (this.random() < 0.004 && this.checkerKills < this.options.kills) {
      this.checkerKills += 1;
      child.kill('SIGKILL');
      return;
    }
    let end = this.journal.get(txnId);
    const unknown = this.unknownAnswers.get(txnId) ?? 0;
    if (end === undefined && (unknown >= maxUnknown || this.random() < 0.5)) {
      // Nothing was committed; from now on nothing can be.
      end = 'rolled-back';
      this.journal.set(txnId, end);
    }
    if (end === undefined) this.unknownAnswers.set(txnId, unknown + 1);
    const verdict = end === undefined ? 'unknown' : end === 'committed' ? 'commit' : 'rollback';
    if (child.connected) child.send({ txnId, verdict }, () => {});
  }

  // ----- the broker

  /** Called by whoever is at the step that is due. Kills are spread over the messages, each at another step. */
  private async killBroker(): Promise<void> {
    this.dueKill = undefined;
    if (this.isSettling) return;
    const next = this.load();
    const outage = { fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY };
    this.outages.push(outage);
    const killed = this.broker.kill();
    this.broker = next;
    this.brokerKills += 1;
    this.killing = (async () => {
      await killed;
      next.go();
      if ((await next.ready(120_000)) === undefined) throw new Error(`no start: ${next.lastOutput}`);
      outage.untilMs = Date.now() + settleMs;
      this.options.say(
        `kill ${this.brokerKills}: ${this.begun} begun, ${this.seen.size} seen, ${this.checks} checks, back in ${Date.now() - outage.fromMs} ms`,
      );
    })();
    await this.killing;
  }

  private get isSettling(): boolean {
    return (this.outages.at(-1)?.untilMs ?? 0) > Date.now();
  }

  /** Kills are spread evenly over the messages. */
  private get nextKillAt(): number {
    const { kills, messages } = this.options;
    return ((this.brokerKills + 1) * messages) / (kills + 1);
  }

  private planKill(): void {
    const { kills } = this.options;
    if (this.dueKill !== undefined || this.brokerKills >= kills) return;
    if (this.isSettling || this.begun < this.nextKillAt) return;
    this.dueKill = [...steps, 'during-check'][this.brokerKills % (steps.length + 1)];
  }

  // ----- plain records, and who reads

  private async sendPlain(partition: number): Promise<void> {
    for (let number = 0; !this.done; number++) {
      this.planKill();
      const value = `p${partition}-${number}`;
      const batch = buildRecordBatch([
        { timestamp: Date.now(), key: null, value: Buffer.from(value), headers: [] },
      ]);
      const result = await this.produce(topic, partition, batch, 'before-send', undefined);
      if (result.errorCode !== 0) throw new Error(`a plain record: ${result.errorMessage}`);
      this.plainSent += 1;
      if (!this.seen.has(value)) this.plainAckedAt.set(value, Date.now());
      await sleep(20);
    }
    await sleep(500);
  }

  private async readAll(name: string, partition: number): Promise<void> {
    let offset = 0;
    while (!this.done || (name === topic && this.plainAckedAt.size > 0 && Date.now() < this.lastReadMs())) {
      const answer = await this.call((client) =>
        client.request(fetchRequest, fetchResponse, 11, {
          replicaId: -1,
          maxWaitMs: 200,
          minBytes: 1,
          maxBytes: 4 * 1024 * 1024,
          isolationLevel: 0,
          sessionId: 0,
          sessionEpoch: -1,
          topics: [
            { topic: name, partitions: [{ partition, fetchOffset: offset, partitionMaxBytes: 1 << 20 }] },
          ],
          forgottenTopicsData: [],
        }),
      );
      const records = answer.responses[0]?.partitions[0]?.records;
      if (records === null || records === undefined || records.length === 0) {
        await sleep(answer.responses[0]?.partitions[0]?.errorCode === 0 ? 0 : 200);
        continue;
      }
      for (let at = 0; ; ) {
        const bounds = entryBounds(records, at);
        if (bounds === undefined) break;
        const cursor = openBatch(records, at);
        while (cursor.next()) {
          if (Number(cursor.offset) < offset) continue;
          const value = cursor.value()!.toString();
          if (name === topic) this.note(value);
          else this.discards.add(value);
        }
        offset = Number(batchLastOffset(records, at)) + 1;
        at += bounds.sizeBytes;
      }
    }
  }

  private stoppingMs: number | undefined;

  private lastReadMs(): number {
    this.stoppingMs ??= Date.now() + 10_000;
    return this.stoppingMs;
  }

  private note(value: string): void {
    this.seen.set(value, (this.seen.get(value) ?? 0) + 1);
    const fromMs = this.plainAckedAt.get(value);
    if (fromMs === undefined) return;
    this.plainWaits.push({ fromMs, ms: Date.now() - fromMs });
    this.plainAckedAt.delete(value);
  }

  /** On a connection that nobody else uses meanwhile; again, while the broker is away. */
  private async call<T>(ask: (client: WireClient) => Promise<T>): Promise<T> {
    for (;;) {
      let client: WireClient | undefined;
      try {
        client = this.idle.pop();
        if (client === undefined || client.isGone) {
          client = await WireClient.connect(this.options.port, 'half-kills');
        }
        const answer = await ask(client);
        this.idle.push(client);
        return answer;
      } catch (error) {
        client?.close();
        if (error instanceof Died) throw error;
        await sleep(20);
      }
    }
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)]!;
  }
}

function decisionOf(id: string, verdict: 'commit' | 'rollback'): Buffer {
  return buildRecordBatch([
    {
      timestamp: Date.now(),
      key: Buffer.from(id),
      value: null,
      headers: [{ key: 'rmq-txn-action', value: Buffer.from(verdict) }],
    },
  ]);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
