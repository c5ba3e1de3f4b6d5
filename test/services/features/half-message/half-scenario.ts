/**
 * A random life of half messages beside a model of it: sends, once and again, alone and beside plain records; decisions, repeated and
 * contradicting; checks with and without somebody who reads them, discards, redrives, room given back; and crashes of the disk at any call.
 * Of each message the model knows what may have become of it: the first verdict that was answered leaves one possibility.
 */
import type { CodecName } from '../../../../protocol/records/compression.ts';
import { crc32c } from '../../../../protocol/records/crc32c.ts';
import type { PartitionAppendResult } from '../../../../src/services/append/append-result.ts';
import { openEmbeddedEngine } from '../../../../src/storage/embedded/embedded-engine.ts';
import { VirtualClock } from '../../../../src/util/clock.ts';
import { type CrashPolicy, SimulatedDisk, seededRandom } from '../../../fakes/simulated-disk.ts';
import { smallSettings } from '../../../storage/embedded/small-settings.ts';
import { batchFormat } from '../delay-scenario.ts';
import { HalfBroker, half } from './half-broker.ts';

type State = 'absent' | 'pending' | 'committed' | 'rolled-back' | 'discarded' | 'redriven';

interface Message {
  readonly id: string;
  readonly body: string;
  possible: Set<State>;
  inTopic: boolean;
  discardedAt: number | undefined;
}

const codecs: readonly CodecName[] = ['none', 'none', 'gzip', 'lz4'];
const ends = { commit: 'committed', rollback: 'rolled-back' } as const;
const groupSettings = new Map([
  ['rmq.txn.timeout.ms', '1000'],
  ['rmq.txn.check.interval.ms', '2000'],
  ['rmq.txn.check.max', '3'],
  ['rmq.txn.max.age.ms', '60000'],
]);
const waitStepMs = 5;
const longestWaitSteps = 2000;

export class HalfScenario {
  readonly failures: string[] = [];
  readonly seenKinds = new Map<string, number>();
  private disk: SimulatedDisk;
  private readonly random: () => number;
  private readonly messages: Message[] = [];
  /** Bodies of plain records; whether they were answered. */
  private readonly plain = new Map<string, { isAcked: boolean; inTopic: boolean }>();
  private clock = new VirtualClock();
  private broker: HalfBroker | undefined;
  private isDead = false;
  private next = 1;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.disk = new SimulatedDisk({ seed });
  }

  async start(crashAtCall = Number.POSITIVE_INFINITY): Promise<void> {
    const { disk } = this;
    disk.crashAtCall = crashAtCall;
    this.isDead = false;
    this.clock = new VirtualClock(this.clock.nowMs() + 1);
    void disk.died.then(() => (this.isDead = true));
    const { clock } = this;
    const engine = await this.waitFor(
      openEmbeddedEngine({
        directory: '/data',
        payloadFormat: batchFormat,
        crc32c,
        fileSystem: disk,
        clock,
        settings: smallSettings,
      }),
    );
    if (engine === undefined) return;
    const timerSettings = { maxLoaded: 16, maxGroupTimers: 5, maxGroupBytes: 4000 };
    const broker = await this.waitFor(HalfBroker.start({ engine, clock, timerSettings }));
    if (broker === undefined) return;
    if (broker.groupConfigs.overrides('shop').size === 0) {
      await this.waitFor(broker.groupConfigs.replace('shop', groupSettings, false));
    }
    if (this.isDead) return;
    this.broker = broker;
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
    this.disk = this.disk.crash(policy, seed);
    this.broker = undefined;
  }

  /** Lets all end, and judges what is there. */
  async finish(): Promise<void> {
    const { broker } = this;
    if (broker === undefined || this.isDead) return;
    broker.someoneIsThere = true;
    for (let round = 0; round < 40; round++) await this.pass(2_000);
    await this.waitFor(broker.timers.whenIdle());
    await this.look();
    for (const { id, possible, inTopic, discardedAt } of this.messages) {
      const state: State[] = inTopic
        ? discardedAt === undefined
          ? ['committed']
          : ['redriven']
        : discardedAt === undefined
          ? ['absent', 'rolled-back']
          : ['discarded'];
      if (!state.some((each) => possible.has(each))) {
        this.fail(`${id} is ${state.join(' or ')} in the end, which should be ${[...possible].join(' or ')}`);
      }
      for (const each of possible) this.count(`ended ${each}`);
    }
    for (const [body, { isAcked, inTopic }] of this.plain)
      if (isAcked && !inTopic) this.fail(`${body} is lost`);
    const kinds = (await this.waitFor(broker.timers.list(undefined, 5000)))?.filter(({ kind }) => kind !== 4);
    if (kinds !== undefined && kinds.length > 0) this.fail(`${kinds.length} timers are left`);
    await this.waitFor(broker.trim.runOnce());
  }

  async close(): Promise<void> {
    const { broker } = this;
    this.broker = undefined;
    if (broker === undefined || this.isDead) return;
    await this.waitFor(broker.stop());
    await this.waitFor(broker.engine.close());
  }

  private operate(broker: HalfBroker): Promise<void> {
    const dice = this.random();
    if (dice < 0.35) return this.send(broker, this.newMessages());
    if (dice < 0.42 && this.messages.length > 0)
      return this.send(broker, [this.pick(this.messages.slice(-8))]);
    if (dice < 0.72 && this.messages.length > 0) return this.decide(broker);
    if (dice < 0.76) return this.redrive(broker);
    if (dice < 0.8) return this.waitFor(broker.trim.runOnce()).then(() => undefined);
    broker.someoneIsThere = this.random() < 0.8;
    return this.pass(Math.floor(this.random() ** 2 * 5_000));
  }

  private newMessages(): Message[] {
    return Array.from({ length: 1 + Math.floor(this.random() * 3) }, () => {
      const id = `t${this.next++}`;
      const body = this.random() < 0.1 ? id.padEnd(1500, '.') : id;
      const possible = new Set<State>(['absent']);
      const message: Message = { id, body, possible, inTopic: false, discardedAt: undefined };
      this.messages.push(message);
      return message;
    });
  }

  private async send(broker: HalfBroker, messages: readonly Message[]): Promise<void> {
    const plain = this.random() < 0.4 ? [`p${this.next++}`] : [];
    for (const body of plain) this.plain.set(body, { isAcked: false, inTopic: false });
    for (const { possible } of messages) if (possible.has('absent')) possible.add('pending');
    const records = [...messages.map(({ id, body }) => half(id, body)), ...plain.map((value) => ({ value }))];
    const result = await this.answerOf(broker.produce('orders', records, { codec: this.pick(codecs) }));
    if (result === undefined) return;
    if (result.errorCode !== 0) {
      this.fail(`a send is answered with ${result.errorCode} ${result.errorMessage}`);
      return;
    }
    for (const { possible } of messages) possible.delete('absent');
    await this.look();
    for (const body of plain) {
      const state = this.plain.get(body)!;
      state.isAcked = true;
      if (!state.inTopic && !this.isDead) this.fail(`${body} is held up`);
    }
  }

  private async decide(broker: HalfBroker): Promise<void> {
    const message = this.pick(this.messages.slice(-20));
    const verdicts: ('commit' | 'rollback')[] = [this.random() < 0.6 ? 'commit' : 'rollback'];
    if (this.random() < 0.2) verdicts.push(verdicts[0] === 'commit' ? 'rollback' : 'commit');
    const before = new Set(message.possible);
    if (before.has('pending')) for (const verdict of verdicts) message.possible.add(ends[verdict]);
    // The second comes on the heels of the first.
    const answers = await Promise.all(
      verdicts.map((verdict) => this.answerOf(broker.decide(message.id, verdict))),
    );
    for (const [at, answer] of answers.entries()) {
      const verdict = verdicts[at]!;
      if (answer === undefined) return;
      this.heed(message, verdict, answer);
    }
    // A refused second leaves what the first said.
    if (answers.length === 2 && answers[0]?.errorCode === 0 && !message.possible.has(ends[verdicts[0]!])) {
      this.fail(`${message.id}: the second verdict won`);
    }
  }

  private heed(message: Message, verdict: 'commit' | 'rollback', answer: PartitionAppendResult): void {
    const { id, possible } = message;
    const end = ends[verdict];
    const text = answer.errorMessage ?? '';
    if (answer.errorCode === 0) {
      this.count(`${verdict} done`);
      // What was sent on is committed, too.
      const left = [...possible].filter(
        (each) => each === end || (verdict === 'commit' && each === 'redriven'),
      );
      if (left.length === 0)
        this.fail(`${verdict} of ${id} is done, which was ${[...possible].join(' or ')}`);
      message.possible = new Set(left);
      return;
    }
    const isUnknown = text.includes('There is no half message');
    this.count(`${verdict} ${isUnknown ? 'not found' : 'conflict'}`);
    if (!isUnknown && !text.includes(' since ')) {
      this.fail(`${verdict} of ${id} is answered with ${answer.errorCode} ${text}`);
      return;
    }
    if (possible.has('pending') && !isUnknown) possible.add('discarded');
    const left = [...possible].filter((each) =>
      isUnknown ? each === 'absent' : each !== end && each !== 'absent' && each !== 'pending',
    );
    if (left.length === 0)
      this.fail(`${verdict} of ${id}: '${text}', which was ${[...possible].join(' or ')}`);
    message.possible = new Set(left);
  }

  private async redrive(broker: HalfBroker): Promise<void> {
    const discarded = this.messages.filter(({ discardedAt }) => discardedAt !== undefined);
    if (discarded.length === 0) return;
    const message = this.pick(discarded);
    message.possible.add('redriven');
    const answer = await this.answerOf(broker.half.redrive.redrive('shop', 0, message.discardedAt!));
    if (answer === undefined) return;
    this.count(`redrive ${answer.outcome}`);
    if (answer.outcome === 'refused' && answer.message !== 'The half message is committed') {
      this.fail(`redrive of ${message.id}: ${answer.message}`);
    }
    message.possible = new Set(['redriven']);
  }

  /** Reads everything there is and holds it against the model. */
  private async look(): Promise<void> {
    const { broker } = this;
    if (broker === undefined || this.isDead) return;
    const orders = await this.waitFor(broker.read('orders'));
    const discards = await this.waitFor(broker.read('txn.discard.shop'));
    const checks = await this.waitFor(broker.read('txn.check.shop'));
    if (orders === undefined || discards === undefined || checks === undefined || this.isDead) return;
    const inTopic = new Map<string, number>();
    for (const { value } of orders) {
      const body = value!.replace(/\.+$/, '');
      inTopic.set(body, (inTopic.get(body) ?? 0) + 1);
    }
    for (const [body, count] of inTopic) if (count > 1) this.fail(`${body} is there ${count} times`);
    for (const [body, state] of this.plain) state.inTopic = inTopic.has(body);
    const discardedAt = new Map<string, number>();
    for (const { key, offset } of discards) {
      if (discardedAt.has(key!)) this.fail(`${key} is discarded twice`);
      discardedAt.set(key!, offset);
    }
    const asked = new Map<string, number>();
    for (const { key, headers } of checks) {
      const times = Number(headers['rmq-check-times']);
      if (times !== (asked.get(key!) ?? 0) + 1) this.fail(`${key} is asked for the ${times}th time too soon`);
      asked.set(key!, times);
      if (times > 3) this.fail(`${key} is asked ${times} times`);
    }
    for (const message of this.messages) {
      const { id, possible } = message;
      message.inTopic = inTopic.has(id);
      message.discardedAt = discardedAt.get(id);
      if (message.discardedAt !== undefined && possible.has('pending')) possible.add('discarded');
      const fits = (state: State) =>
        (!message.inTopic || state === 'committed' || state === 'redriven') &&
        (message.discardedAt === undefined || state === 'discarded' || state === 'redriven');
      const left = [...possible].filter(fits);
      if (left.length === 0) {
        const where = [message.inTopic && 'the topic', message.discardedAt !== undefined && 'the discards'];
        this.fail(
          `${id} is in ${where.filter(Boolean).join(' and ')}, which was ${[...possible].join(' or ')}`,
        );
      }
      message.possible = new Set(left);
      // Seen is seen: what is answered as done is there at once.
      const [only] = left;
      if (left.length === 1 && (only === 'committed' || only === 'redriven') && !message.inTopic) {
        this.fail(`${id} is ${only} and not there`);
      }
      if (asked.has(id)) this.count('asked');
    }
  }

  private async pass(ms: number): Promise<void> {
    if (this.isDead) return;
    await Promise.race([this.clock.advance(ms), this.disk.died]);
    await this.look();
  }

  private async answerOf<T>(promise: Promise<T>): Promise<T | undefined> {
    const answer = await this.waitFor(promise);
    return this.isDead ? undefined : answer;
  }

  /** Undefined when the disk dies first. */
  private async waitFor<T>(promise: Promise<T>): Promise<T | undefined> {
    let isOver = false;
    const over = Promise.race([promise, this.disk.died.then(() => undefined)]);
    const watched = over.then(
      () => (isOver = true),
      () => (isOver = true),
    );
    for (let turn = 0; turn < 50 && !isOver; turn++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    for (let step = 0; !isOver && step < longestWaitSteps; step++) await this.clock.advance(waitStepMs);
    if (!isOver) this.fail('a call is not answered');
    else await watched;
    return isOver ? over : undefined;
  }

  private count(kind: string): void {
    this.seenKinds.set(kind, (this.seenKinds.get(kind) ?? 0) + 1);
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)]!;
  }

  private fail(what: string): void {
    if (!this.isDead) this.failures.push(what);
  }
}
