/**
 * A random life of delayed records over a whole append path, timers and operations, beside a model of it: sends with and without message
 * ids, cancels, moves, deliveries on demand, time that passes, room given back, and crashes of the disk at any call. At every moment
 * nothing may be visible that is not due, nothing twice; in the end all that was acknowledged, and nothing that was
 * cancelled.
 */
import { randomBytes } from 'node:crypto';
import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import type { CodecName } from '../../../protocol/records/compression.ts';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import {
  batchSizeBytes,
  isBatchIntact,
  isBatchStamped,
  stampBatch,
} from '../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { AppendService } from '../../../src/services/append/append-service.ts';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { settingsByName } from '../../../src/services/features/delay/delay-op-step.ts';
import { DelayService } from '../../../src/services/features/delay/delay-service.ts';
import { HiddenTrim } from '../../../src/services/features/timers/hidden-trim.ts';
import { TimerEngine } from '../../../src/services/features/timers/timer-engine.ts';
import { TopicCatalogue } from '../../../src/services/topics/topic-catalogue.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { PayloadFormat, StorageEngine } from '../../../src/storage/engine.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import { type CrashPolicy, SimulatedDisk, seededRandom } from '../../fakes/simulated-disk.ts';
import { smallSettings } from '../../storage/embedded/small-settings.ts';

export const batchFormat: PayloadFormat = {
  stamp: stampBatch,
  isStamped: isBatchStamped,
  isIntact: isBatchIntact,
};

interface Message {
  readonly body: string;
  readonly id: string | undefined;
  /** When it was asked for; moved by reschedules. Several where it is not known which of them held. */
  dueMs: number[];
  /** Whether the send was answered. */
  isAcked: boolean;
  /** A newer message took its id, or may have. */
  superseded: 'no' | 'maybe' | 'yes';
  cancelled: 'no' | 'maybe' | 'yes';
  onDemand: 'no' | 'maybe' | 'yes';
  seen: boolean;
}

const topicName = 'orders';
const partitions = 2;
const ids = ['a', 'b', 'c', 'd'];
const codecs: readonly CodecName[] = ['none', 'none', 'gzip', 'lz4', 'zstd', 'snappy'];
const longestDelayMs = 100_000;
const waitStepMs = 5;
const longestWaitSteps = 2000;

interface Broker {
  readonly engine: StorageEngine;
  readonly topics: TopicCatalogue;
  readonly timers: TimerEngine;
  readonly trim: HiddenTrim;
  readonly delay: DelayService;
  readonly appends: AppendService;
}

export class DelayScenario {
  readonly failures: string[] = [];
  readonly seenKinds = new Map<string, number>();
  disk: SimulatedDisk | undefined;
  private readonly random: () => number;
  private readonly messages = new Map<string, Message>();
  /** The message that an id stands for, and others that it may stand for. */
  private readonly holders = new Map<string, Message[]>();
  private clock = new VirtualClock();
  private broker: Broker | undefined;
  private isDead = false;
  private next = 1;
  private readOffsets: number[] = new Array<number>(partitions).fill(0);

  constructor(seed: number, kind: 'memory' | 'embedded') {
    this.random = seededRandom(seed);
    if (kind === 'embedded') this.disk = new SimulatedDisk({ seed });
  }

  get delivered(): number {
    return [...this.messages.values()].filter(({ seen }) => seen).length;
  }

  async start(): Promise<void> {
    const { disk } = this;
    this.isDead = false;
    // What was visible before the crash is read again: none of it may be gone, or there twice.
    this.readOffsets = this.readOffsets.map(() => 0);
    for (const message of this.messages.values()) message.seen = false;
    const nowMs = this.clock.nowMs();
    this.clock = new VirtualClock(nowMs + 1);
    if (disk !== undefined) void disk.died.then(() => (this.isDead = true));
    const opening =
      disk === undefined
        ? Promise.resolve(openMemoryEngine({ payloadFormat: batchFormat, clock: this.clock }))
        : openEmbeddedEngine({
            directory: '/data',
            payloadFormat: batchFormat,
            crc32c,
            fileSystem: disk,
            clock: this.clock,
            settings: smallSettings,
          });
    const engine = await this.waitFor(opening);
    if (engine === undefined) return;
    const config = new BrokerConfig();
    const { clock } = this;
    const topics = new TopicCatalogue({ catalogue: engine.catalogue, config, randomBytes, settingsByName });
    const queues = await this.waitFor(DelayService.ensureQueues(engine));
    if (queues === undefined) return;
    const log = silentLog;
    const timers = new TimerEngine({
      engine,
      clock,
      log,
      settings: { maxLoaded: 16, maxGroupTimers: 5, maxGroupBytes: 4000 },
    });
    const trim = new HiddenTrim({ engine, timers, clock, log });
    const delay = new DelayService({ engine, queues, topics, timers, trim, config, clock, log });
    const appends = new AppendService({
      engine,
      topics,
      clock,
      settings: { flushPolicy: 'acks' },
      steps: delay.steps,
    });
    if (topics.get(topicName) === undefined) {
      const overrides = new Map([['rmq.message.type', 'DELAY']]);
      const made = await this.waitFor(
        topics.create(
          [{ name: topicName, partitions, replicationFactor: -1, assignments: [], overrides }],
          false,
        ),
      );
      if (made === undefined) return;
    }
    this.broker = { engine, topics, timers, trim, delay, appends };
    timers.start();
    await this.look();
  }

  async work(operations: number): Promise<void> {
    for (let at = 0; at < operations && !this.isDead && this.failures.length === 0; at++) {
      if (this.broker === undefined) return;
      await this.operate(this.broker);
      await this.look();
    }
  }

  crash(policy: CrashPolicy, seed: number): void {
    this.isDead = true;
    this.disk = this.disk!.crash(policy, seed);
    this.broker = undefined;
  }

  /** Lets all be due, and judges what is there in the end. */
  async finish(): Promise<void> {
    if (this.broker === undefined || this.isDead) return;
    await this.pass(longestDelayMs + 1000);
    await this.waitFor(this.broker.timers.whenIdle());
    await this.look();
    for (const message of this.messages.values()) {
      const { body, seen, isAcked, cancelled, superseded } = message;
      if (seen && cancelled === 'yes') this.fail(`${body} was cancelled and is there`);
      if (!seen && isAcked && cancelled === 'no' && superseded === 'no') this.fail(`${body} is lost`);
    }
    await this.waitFor(this.broker.trim.runOnce());
    let bytes = 0;
    for (const queue of await DelayService.ensureQueues(this.broker.engine)) {
      bytes += await this.broker.engine.sizeBytes(queue);
    }
    if (!this.isDead && bytes > 0) this.fail(`${bytes} bytes are kept of what nobody waits for`);
    const rows = await this.waitFor(this.broker.timers.list(undefined, 1000));
    const kept = rows?.filter(({ kind }) => kind === 1).length ?? 0;
    if (kept > 0) this.fail(`${kept} timers are left`);
  }

  async close(): Promise<void> {
    if (this.broker === undefined) return;
    await this.waitFor(this.broker.timers.close());
    await this.waitFor(this.broker.engine.close());
  }

  private async operate(broker: Broker): Promise<void> {
    const dice = this.random();
    if (dice < 0.5) return this.send(broker);
    if (dice < 0.6) return this.act(broker, 'cancel');
    if (dice < 0.7) return this.act(broker, 'reschedule');
    if (dice < 0.77) return this.act(broker, 'deliver');
    if (dice < 0.82) {
      await this.waitFor(broker.trim.runOnce());
      return;
    }
    await this.pass(Math.floor(this.random() ** 3 * longestDelayMs));
  }

  private async send(broker: Broker): Promise<void> {
    const count = 1 + Math.floor(this.random() * 4);
    const topic = broker.topics.get(topicName)!;
    const nowMs = this.clock.nowMs();
    const sent: Message[] = [];
    const records = [];
    const taken = new Set<string>();
    for (let at = 0; at < count; at++) {
      const delayMs = this.random() < 0.2 ? 0 : Math.floor(this.random() ** 2 * longestDelayMs);
      const isPlain = this.random() < 0.15;
      let id = !isPlain && delayMs > 0 && this.random() < 0.5 ? this.pick(ids) : undefined;
      if (id !== undefined && taken.has(id)) id = undefined;
      if (id !== undefined) taken.add(id);
      const body = `m${this.next++}`;
      sent.push({
        body,
        id,
        dueMs: [isPlain ? nowMs : nowMs + delayMs],
        isAcked: false,
        superseded: 'no',
        cancelled: 'no',
        onDemand: 'no',
        seen: false,
      });
      records.push({
        timestamp: nowMs,
        key: null,
        value: Buffer.from(this.random() < 0.3 ? body.padEnd(1500, '.') : body),
        headers: isPlain
          ? []
          : [
              { key: 'rmq-delay-ms', value: Buffer.from(String(delayMs)) },
              ...(id === undefined ? [] : [{ key: 'rmq-message-id', value: Buffer.from(id) }]),
            ],
      });
    }
    for (const message of sent) this.messages.set(message.body, message);
    const older = new Map(sent.map((message) => [message, this.waiting(message.id)]));
    for (const message of sent) {
      if (message.id === undefined) continue;
      for (const one of older.get(message)!) if (one.superseded === 'no') one.superseded = 'maybe';
      this.holders.set(message.id, [...older.get(message)!, message]);
    }
    const request = broker.appends.begin({ version: 9, acks: -1, transactionalId: null });
    request.add(
      topic,
      Math.floor(this.random() * partitions),
      buildRecordBatch(records, { codec: this.pick(codecs) }),
    );
    const answered = await this.waitFor(Promise.resolve(request.run()));
    if (answered === undefined || this.isDead) return;
    const [result] = answered;
    if (result?.errorCode !== 0) {
      this.fail(`a send is answered with ${result?.errorCode} ${result?.errorMessage}`);
      return;
    }
    await this.look();
    for (const message of sent) {
      message.isAcked = true;
      if (message.id === undefined) continue;
      for (const one of older.get(message)!) {
        // Otherwise it may have been delivered just before.
        if (!one.seen && Math.min(...one.dueMs) > this.clock.nowMs()) one.superseded = 'yes';
      }
      this.holders.set(message.id, [message]);
    }
  }

  /** What an id stands for, or may stand for, as far as it may still wait. */
  private waiting(id: string | undefined): Message[] {
    if (id === undefined) return [];
    return this.holders.get(id) ?? [];
  }

  private async act(broker: Broker, action: 'cancel' | 'reschedule' | 'deliver'): Promise<void> {
    const id = this.pick(ids);
    const topic = broker.topics.get(topicName)!;
    const dueMs = this.clock.nowMs() + Math.floor(this.random() * longestDelayMs);
    const holders = this.waiting(id);
    const before = holders.map(({ dueMs: dues }) => [...dues]);
    for (const one of holders) {
      if (action === 'cancel' && one.cancelled === 'no') one.cancelled = 'maybe';
      if (action === 'deliver' && one.onDemand === 'no') one.onDemand = 'maybe';
      if (action === 'reschedule') one.dueMs.push(dueMs);
    }
    const done = await this.waitFor(
      broker.delay.operations.perform(topic, [
        { action, messageId: Buffer.from(id), ...(action === 'reschedule' ? { dueMs } : {}) },
      ]),
    );
    if (done === undefined || this.isDead) return;
    await this.look();
    const [answer] = done.answers;
    const count = `${action} ${answer?.outcome === 'refused' ? answer.state : answer?.outcome}`;
    this.seenKinds.set(count, (this.seenKinds.get(count) ?? 0) + 1);
    if (answer?.outcome === 'failed') this.fail(`${action} of ${id} failed`);
    const [only] = holders;
    if (answer?.outcome === 'done') {
      if (holders.length === 0) this.fail(`${action} of ${id} is done, and nobody sent it`);
      // With one holder it is known which message it was.
      if (holders.length !== 1) return;
      if (action === 'cancel') only!.cancelled = 'yes';
      if (action === 'deliver') {
        only!.onDemand = 'yes';
        if (!only!.seen) this.fail(`${only!.body} was delivered on demand and is not there`);
      }
      if (action === 'reschedule') only!.dueMs = [dueMs];
      if (action === 'cancel' && only!.seen) this.fail(`${only!.body} is cancelled and there`);
      return;
    }
    for (const [at, one] of holders.entries()) {
      one.dueMs = before[at]!;
      if (action === 'cancel' && one.cancelled === 'maybe' && holders.length === 1) one.cancelled = 'no';
      if (action === 'deliver' && one.onDemand === 'maybe' && holders.length === 1) one.onDemand = 'no';
    }
    if (holders.length !== 1 || answer?.outcome !== 'refused' || !only!.isAcked) return;
    const isThere = only!.seen;
    if (answer.state === 'already-delivered' && !isThere)
      this.fail(`${only!.body} is not delivered, as said`);
    if (answer.state === 'not-found') this.fail(`${only!.body} is not found by its id`);
    if (answer.state === 'already-cancelled' && only!.cancelled === 'no')
      this.fail(`${only!.body} was never cancelled`);
  }

  /** Reads what is new in the partitions and holds it against the model. */
  private async look(): Promise<void> {
    if (this.broker === undefined || this.isDead) return;
    const nowMs = this.clock.nowMs();
    const { engine, topics } = this.broker;
    for (const { index, queue } of topics.get(topicName)!.partitions) {
      for (;;) {
        const fromOffset = this.readOffsets[index]!;
        const result = await this.waitFor(
          Promise.resolve(engine.read(queue, { fromOffset, maxBytes: 100_000, atLeastOne: true })),
        );
        if (result === undefined) return;
        if (result.outcome !== 'read') {
          this.fail(`a read is answered with ${result.outcome}`);
          return;
        }
        if (result.payloads.length === 0) break;
        const bytes = Buffer.concat(result.payloads);
        result.release();
        this.readOffsets[index] = result.nextOffset;
        for (let at = 0; at < bytes.length; at += batchSizeBytes(bytes, at)) {
          for (const record of decodeRecords(bytes, at)) {
            const body = record.value!.toString().replace(/\.+$/, '');
            const due = record.headers.find(({ key }) => key.toString() === 'rmq-due-ms')?.value?.toString();
            this.judge(body, nowMs, due);
          }
        }
      }
    }
  }

  private judge(body: string, nowMs: number, due: string | undefined): void {
    const message = this.messages.get(body);
    if (message === undefined || message.seen) {
      this.fail(message === undefined ? `${body} was never sent` : `${body} is there twice`);
      return;
    }
    message.seen = true;
    const { dueMs, onDemand, cancelled, superseded } = message;
    if (cancelled === 'yes') this.fail(`${body} was cancelled and is there`);
    if (superseded === 'yes') this.fail(`${body} was replaced by a newer message of its id and is there`);
    if (onDemand === 'no' && Math.min(...dueMs) > nowMs)
      this.fail(`${body} is there ${Math.min(...dueMs) - nowMs} ms early`);
    if (due !== undefined && !dueMs.includes(Number(due)) && onDemand === 'no') {
      this.fail(`${body} says that it was due at ${due}, not ${dueMs.join(' or ')}`);
    }
  }

  private async pass(ms: number): Promise<void> {
    if (this.isDead) return;
    const passed = this.clock.advance(ms);
    await (this.disk === undefined ? passed : Promise.race([passed, this.disk.died]));
    await this.look();
  }

  /** Undefined when the disk dies first. */
  private async waitFor<T>(promise: Promise<T>): Promise<T | undefined> {
    let isOver = false;
    const over = Promise.race([
      promise,
      ...(this.disk === undefined ? [] : [this.disk.died.then(() => undefined)]),
    ]);
    const watched = over.then(
      () => (isOver = true),
      () => (isOver = true),
    );
    for (let turn = 0; turn < 50 && !isOver; turn++)
      await new Promise<void>((resolve) => setImmediate(resolve));
    for (let step = 0; !isOver && step < longestWaitSteps; step++) await this.clock.advance(waitStepMs);
    if (!isOver) this.fail('a call is not answered');
    else await watched;
    return isOver ? over : undefined;
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)]!;
  }

  private fail(what: string): void {
    if (!this.isDead) this.failures.push(what);
  }
}
