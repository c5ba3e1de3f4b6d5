/**
 * A random life of retries beside a model of it: records, failures told of once and again, alone and together,
 * time that passes, room given back; and crashes of the disk at any call. Group g retries twice, after one and two seconds.
 */
import { crc32c } from '../../../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../../../src/storage/embedded/embedded-engine.ts';
import { VirtualClock } from '../../../../src/util/clock.ts';
import { type CrashPolicy, SimulatedDisk, seededRandom } from '../../../fakes/simulated-disk.ts';
import { smallSettings } from '../../../storage/embedded/small-settings.ts';
import { batchFormat } from '../delay-scenario.ts';
import { pointer, RetryBroker, type SeenRecord } from './retry-broker.ts';

/** One delivery to the group: of a record that many failures after it was produced. */
interface Delivery {
  readonly body: string;
  readonly times: number;
  readonly place: string;
  /** Whether its failure was told of: perhaps, where the answer was lost. */
  told: 'no' | 'perhaps' | 'yes';
  /** By the clock, the earliest at which the broker can have taken it. */
  firstMs: number;
}

const delaysMs = [1_000, 2_000];
const maxTimes = delaysMs.length;
const waitStepMs = 5;
const longestWaitSteps = 2_000;

export class RetryScenario {
  readonly failures: string[] = [];
  readonly seenKinds = new Map<string, number>();
  private disk: SimulatedDisk;
  private readonly random: () => number;
  /** By body and times. */
  private readonly deliveries = new Map<string, Delivery>();
  private readonly letters = new Set<string>();
  private clock = new VirtualClock();
  private broker: RetryBroker | undefined;
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
    void disk.died.then(() => {
      this.isDead = true;
    });
    const { clock } = this;
    const opening = openEmbeddedEngine({
      directory: '/data',
      payloadFormat: batchFormat,
      crc32c,
      fileSystem: disk,
      clock,
      settings: smallSettings,
    });
    const engine = await this.waitFor(opening);
    if (engine === undefined) return;
    const broker = await this.waitFor(RetryBroker.start({ engine, clock }));
    if (broker === undefined) return;
    const settings = { 'rmq.retry.enable': 'true', 'rmq.retry.max.times': '2', 'rmq.retry.delays': '1s,2s' };
    for (const group of ['g', 'h']) await this.waitFor(broker.set(group, settings));
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

  /** Fails everything until it is dead, and judges what is there. */
  async finish(): Promise<void> {
    const { broker } = this;
    if (broker === undefined || this.isDead) return;
    for (let round = 0; round < 2 * maxTimes + 2; round++) {
      for (const delivery of [...this.deliveries.values()]) await this.tell(broker, [delivery]);
      await this.pass(delaysMs.at(-1)! + 1);
      await this.waitFor(broker.features.timers.whenIdle());
      await this.look();
    }
    for (const { body, times } of this.deliveries.values()) {
      if (times === 0 && !this.letters.has(body)) this.fail(`${body} is not dead in the end`);
      for (let retry = 1; retry <= maxTimes; retry++) {
        if (!this.deliveries.has(`${body}/${retry}`)) this.fail(`${body} was not retried ${retry} times`);
      }
    }
    // Only what remembers failures is left: they are forgotten later.
    const left = (await this.waitFor(broker.features.timers.list(undefined, 5_000)))?.filter(
      ({ kind }) => kind !== 6,
    );
    if (left !== undefined && left.length > 0) this.fail(`${left.length} timers are left`);
    await this.waitFor(broker.features.trim.runOnce());
  }

  async close(): Promise<void> {
    const { broker } = this;
    this.broker = undefined;
    if (broker === undefined || this.isDead) return;
    await this.waitFor(broker.stop());
    await this.waitFor(broker.engine.close());
  }

  private async operate(broker: RetryBroker): Promise<void> {
    const dice = this.random();
    if (dice < 0.3) {
      await this.produce(broker);
      return;
    }
    if (dice < 0.7 && this.deliveries.size > 0) {
      const all = [...this.deliveries.values()];
      const some = Array.from({ length: 1 + Math.floor(this.random() * 3) }, () => this.pick(all.slice(-12)));
      await this.tell(broker, some);
      return;
    }
    if (dice < 0.75) {
      await this.waitFor(broker.features.trim.runOnce());
      return;
    }
    await this.pass(Math.floor(this.random() ** 2 * 3_000));
  }

  private async produce(broker: RetryBroker): Promise<void> {
    const bodies = Array.from({ length: 1 + Math.floor(this.random() * 3) }, () => `r${this.next++}`);
    await this.waitFor(
      broker.produce(
        'orders',
        bodies.map((body) => ({ key: body, value: this.random() < 0.1 ? body.padEnd(1_500, '.') : body })),
        { codec: this.random() < 0.3 ? 'gzip' : 'none' },
      ),
    );
  }

  private async tell(broker: RetryBroker, failed: readonly Delivery[]): Promise<void> {
    if (this.isDead) return;
    const nowMs = this.clock.nowMs();
    for (const delivery of failed) {
      if (delivery.told === 'no') delivery.firstMs = nowMs;
      if (delivery.told !== 'yes') delivery.told = 'perhaps';
    }
    const sent = broker.produce(
      'retry.g',
      failed.map(({ place }) => pointer(place)),
    );
    const answer = await this.waitFor(sent);
    if (answer === undefined || this.isDead) return;
    if (answer.errorCode !== 0) {
      this.fail(`refused: ${answer.errorMessage ?? answer.errorCode}`);
      return;
    }
    for (const delivery of failed) {
      this.count(delivery.told === 'yes' ? 'told again' : 'told');
      delivery.told = 'yes';
    }
  }

  /** What readers see: new deliveries and dead letters, each with a reason and once. */
  private async look(): Promise<void> {
    const { broker } = this;
    if (broker === undefined || this.isDead) return;
    for (const topic of ['orders', 'retry.g', 'dlq.g', 'retry.h', 'dlq.h']) {
      const records = await this.waitFor(broker.read(topic));
      if (records === undefined || this.isDead) return;
      const seen = new Set<string>();
      for (const record of records) this.judge(topic, record, seen);
    }
  }

  private judge(topic: string, record: SeenRecord, seen: Set<string>): void {
    const body = record.value?.replace(/\.*$/, '') ?? '';
    const times = Number(record.headers['rmq-reconsume-times'] ?? 0);
    const name = `${body}/${times}`;
    if (seen.has(name)) this.fail(`${name} stands twice in ${topic}`);
    seen.add(name);
    if (topic === 'retry.h' || topic === 'dlq.h') {
      this.fail(`${name} reached another group`);
      return;
    }
    if (topic === 'orders') {
      if (times !== 0) this.fail(`a retry of ${body} stands in orders`);
      this.delivered(topic, record, body, 0);
      return;
    }
    if (topic === 'dlq.g') {
      const last = this.deliveries.get(`${body}/${maxTimes}`);
      if (last === undefined || last.told === 'no') this.fail(`${body} is dead without its last failure`);
      if (!this.letters.has(body)) this.count('dead');
      this.letters.add(body);
      return;
    }
    const before = this.deliveries.get(`${body}/${times - 1}`);
    if (before === undefined || before.told === 'no') {
      this.fail(`${name} came without a failure`);
      return;
    }
    if (this.clock.nowMs() < before.firstMs + delaysMs[times - 1]!) this.fail(`${name} came early`);
    if (!this.deliveries.has(name)) this.count(`retry ${times}`);
    this.delivered(topic, record, body, times);
  }

  private delivered(topic: string, { partition, offset }: SeenRecord, body: string, times: number): void {
    const name = `${body}/${times}`;
    if (this.deliveries.has(name)) return;
    const place = `${topic}/${partition}/${offset}`;
    this.deliveries.set(name, { body, times, place, told: 'no', firstMs: 0 });
  }

  private async pass(ms: number): Promise<void> {
    if (this.isDead) return;
    await Promise.race([this.clock.advance(ms), this.disk.died]);
    await this.look();
  }

  /** Undefined when the disk dies first. */
  private async waitFor<T>(promise: Promise<T>): Promise<T | undefined> {
    let isOver = false;
    const over = Promise.race([promise, this.disk.died.then(() => undefined)]);
    const end = (): void => {
      isOver = true;
    };
    const watched = over.then(end, end);
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
    this.failures.push(what);
  }
}
