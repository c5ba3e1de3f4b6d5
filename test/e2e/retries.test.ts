/** Retries and dead letters as a kafkajs application has them: the schedule on a clock that is moved on, hand-over in a transaction. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type IHeaders, Kafka, logLevel } from 'kafkajs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, createBroker } from '../../src/index.ts';
import { consumeWithRetries, type RetryingPayload, retryLater } from '../../src/kafkajs/index.ts';

const marginMs = 3_000;
const stepMs = 900_000;
const table = [10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];

describe('retries of a kafkajs consumer', () => {
  let broker: Broker;
  let kafka: Kafka;
  const stops: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    broker = await createBroker({
      memory: true,
      admin: '127.0.0.1:0',
      config: { 'rmq.virtual.clock': 'true', 'group.initial.rebalance.delay.ms': '0' },
    });
    kafka = new Kafka({
      brokers: [broker.bootstrapServers],
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 20, maxRetryTime: 200, retries: 20 },
    });
  });
  afterEach(async () => {
    for (const stop of stops.splice(0)) await stop();
  });
  afterAll(() => broker.stop());

  async function ask(path: string, method = 'GET', body?: object): Promise<Record<string, unknown>> {
    const answer = await fetch(`http://127.0.0.1:${broker.adminPort}/api/v1/${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const json = (await answer.json()) as Record<string, unknown>;
    if (!answer.ok) throw new Error(`${answer.status} ${JSON.stringify(json)}`);
    return json;
  }
  /** In steps that a session outlives: the consumer's heartbeats come by real time. */
  async function advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      await ask('clock/advance', 'POST', { ms: Math.min(left, stepMs) });
      if (left > stepMs) await sleep(500);
    }
  }
  const now = async (): Promise<number> => Date.parse(String((await ask('clock'))['now']));
  const set = (group: string, settings: object) => ask(`groups/${group}/settings`, 'PATCH', settings);

  async function until(what: string, holds: () => boolean | Promise<boolean>, ms = 15_000): Promise<void> {
    for (const endMs = Date.now() + ms; !(await holds()); await sleep(10)) {
      if (Date.now() > endMs) throw new Error(`not within ${ms} ms: ${what}`);
    }
  }

  async function produce(topic: string, messages: { key?: string; value: string }[]): Promise<void> {
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({ topic, messages });
    await producer.disconnect();
  }

  /** Of the offsets of a topic, all together. */
  async function end(topic: string): Promise<number> {
    const admin = kafka.admin();
    await admin.connect();
    const offsets = await admin.fetchTopicOffsets(topic);
    await admin.disconnect();
    return offsets.reduce((sum, { high }) => sum + Number(high), 0);
  }

  async function readAll(topic: string, count: number) {
    const consumer = kafka.consumer({ groupId: `reads-${topic}-${Math.random()}` });
    const got: { value: string | undefined; headers: IHeaders }[] = [];
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) =>
        void got.push({ value: message.value?.toString(), headers: message.headers ?? {} }),
    });
    await until(`${count} messages in ${topic}`, () => got.length >= count);
    await consumer.disconnect();
    return got;
  }

  it('come by the table of RocketMQ, none of the sixteen early, and end in the dead letters', async () => {
    await set('shop', { 'rmq.retry.enable': true });
    const seen: RetryingPayload[] = [];
    await produce('orders', [
      { key: 'k', value: 'poisoned' },
      { key: 'k', value: 'good' },
    ]);
    const failedMs: number[] = [];
    const toldMs: number[] = [];
    const running = await consumeWithRetries(
      kafka,
      {
        groupId: 'shop',
        topics: ['orders'],
        fromBeginning: true,
        consumer: { sessionTimeout: 1_800_000, heartbeatInterval: 100, maxWaitTimeInMs: 100 },
        onFailure: () => void now().then((ms) => toldMs.push(ms)),
      },
      async (payload) => {
        seen.push(payload);
        if (payload.message.value?.toString() !== 'poisoned') return;
        failedMs.push(await now());
        throw new Error(`failure ${seen.length}`);
      },
    );
    stops.push(running.stop);
    await until(
      'the first failure and the message behind it',
      () => toldMs.length === 1 && seen.length === 2,
    );
    for (const [at, seconds] of table.entries()) {
      // Real time goes on meanwhile: the broker took the failure between these two.
      const dueMs = {
        earliest: failedMs.at(-1)! + seconds * 1_000,
        latest: toldMs.at(-1)! + seconds * 1_000,
      };
      await advance(Math.max(1, dueMs.earliest - (await now()) - marginMs));
      const isThere = (await end('retry.shop')) > at;
      if (isThere) expect(await now(), `retry ${at + 1} is not early`).toBeGreaterThanOrEqual(dueMs.earliest);
      await advance(Math.max(1, dueMs.latest - (await now())));
      expect(await end('retry.shop'), `retry ${at + 1} is due`).toBe(at + 1);
      await until(`retry ${at + 1} failed`, () => toldMs.length === at + 2, 30_000);
    }
    expect(seen).toHaveLength(18);
    expect(seen.at(-1)).toMatchObject({
      topic: 'orders',
      failures: {
        times: 16,
        maxTimes: 16,
        topic: 'orders',
        origin: { topic: 'orders', partition: 0, offset: 0 },
      },
    });
    expect(seen.at(-1)?.failures?.error).toMatch(/^Error: failure 17/);
    const [letter] = await readAll('dlq.shop', 1);
    expect(letter?.value).toBe('poisoned');
    expect(String(letter?.headers['__dlq.errors.delivery.count'])).toBe('17');
    expect(String(letter?.headers['rmq-dlq-reason'])).toBe('exhausted');
    expect(String(letter?.headers['rmq-error'])).toMatch(/^Error: failure 18/);
  }, 120_000);

  it('are skipped for errors that no retry heals', async () => {
    await set('final', { 'rmq.retry.enable': true });
    await produce('finals', [{ value: 'bad' }]);
    const { stop } = await consumeWithRetries(
      kafka,
      {
        groupId: 'final',
        topics: ['finals'],
        fromBeginning: true,
        isFinal: (error) => error instanceof TypeError,
      },
      async () => {
        throw new TypeError('no such thing');
      },
    );
    stops.push(stop);
    const [letter] = await readAll('dlq.final', 1);
    expect(String(letter?.headers['rmq-dlq-reason'])).toBe('requested');
  });

  it('need the group to have them, and leave nothing behind where it has not', async () => {
    const refused = consumeWithRetries(kafka, { groupId: 'none', topics: ['orders'] }, async () => {});
    await expect(refused).rejects.toThrow('set its rmq.retry.enable to true');
    const admin = kafka.admin();
    await admin.connect();
    expect(await admin.listTopics()).not.toContain('retry.none');
    await admin.disconnect();
  });

  it('are handed over with the offset in one transaction, or not at all', async () => {
    await set('exact', { 'rmq.retry.enable': true, 'rmq.retry.delays': '1s' });
    await produce('exactly', [{ value: 'a' }]);
    const producer = kafka.producer({
      transactionalId: 'hand-over',
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    stops.push(() => producer.disconnect());
    const failed = { topic: 'exactly', partition: 0, message: { offset: '0', key: null } };
    const offsets = {
      consumerGroupId: 'exact',
      topics: [{ topic: 'exactly', partitions: [{ partition: 0, offset: '1' }] }],
    };
    const committed = async () => {
      const admin = kafka.admin();
      await admin.connect();
      const [topic] = await admin.fetchOffsets({ groupId: 'exact', topics: ['exactly'] });
      await admin.disconnect();
      return topic?.partitions[0]?.offset;
    };
    for (const isCommit of [false, true]) {
      const transaction = await producer.transaction();
      await retryLater(transaction, failed, { groupId: 'exact', error: 'later' });
      await transaction.sendOffsets(offsets);
      await (isCommit ? transaction.commit() : transaction.abort());
      await advance(5_000);
      expect(await committed()).toBe(isCommit ? '1' : '-1');
      if (isCommit) expect(await readAll('retry.exact', 1)).toMatchObject([{ value: 'a' }]);
    }
  });
});

describe('the poison-pill guard', () => {
  let broker: Broker;
  let kafka: Kafka;

  beforeAll(async () => {
    broker = await createBroker({
      memory: true,
      admin: '127.0.0.1:0',
      config: { 'group.initial.rebalance.delay.ms': '0', 'rmq.poison.guard.interval.ms': '0' },
    });
    kafka = new Kafka({
      brokers: [broker.bootstrapServers],
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 20, maxRetryTime: 200, retries: 20 },
    });
  });
  afterAll(() => broker.stop());

  /** Starts a consumer that ends itself at the poisoned message, as a crashing program does; what it got before is committed. */
  async function lifeOf(groupId: string, topics: string[]): Promise<{ got: string[]; crashed: boolean }> {
    const consumer = kafka.consumer({
      groupId,
      retry: { initialRetryTime: 20, retries: 1, restartOnFailure: async () => false },
    });
    const got: string[] = [];
    let end: (crashed: boolean) => void = () => {};
    const ended = new Promise<boolean>((resolve) => {
      end = resolve;
    });
    consumer.on(consumer.events.CRASH, () => end(true));
    await consumer.connect();
    await consumer.subscribe({ topics, fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ topic, partition, message }) => {
        const value = message.value?.toString() ?? '';
        if (value === 'poison') throw new Error('killed by it');
        got.push(value);
        await consumer.commitOffsets([{ topic, partition, offset: String(Number(message.offset) + 1) }]);
        if (value === 'last') end(false);
      },
    });
    const crashed = await ended;
    await consumer.disconnect();
    return { got, crashed };
  }

  it('lets a group get past the message at which its members die, with no change in the application', async () => {
    const answer = await fetch(`http://127.0.0.1:${broker.adminPort}/api/v1/groups/brittle/settings`, {
      method: 'PATCH',
      body: JSON.stringify({ 'rmq.retry.enable': true, 'rmq.poison.guard.resumes': 3 }),
    });
    expect(answer.status).toBe(200);
    const producer = kafka.producer();
    await producer.connect();
    const messages = ['first', 'poison', 'last'].map((value) => ({ value }));
    await producer.send({ topic: 'brittle-orders', messages });
    await producer.disconnect();
    const lives: { got: string[]; crashed: boolean }[] = [];
    for (let life = 0; life < 8 && (lives.length === 0 || lives.at(-1)!.crashed); life++) {
      lives.push(await lifeOf('brittle', ['brittle-orders']));
    }
    // The first life committed past 'first'; the second, third and fourth resumed from the poison, the last of them without it.
    expect(lives).toEqual([
      { got: ['first'], crashed: true },
      { got: [], crashed: true },
      { got: [], crashed: true },
      { got: ['last'], crashed: false },
    ]);
    const consumer = kafka.consumer({ groupId: 'looks' });
    await consumer.connect();
    await consumer.subscribe({ topic: 'dlq.brittle', fromBeginning: true });
    const letter = await new Promise<IHeaders>((resolve) => {
      void consumer.run({ eachMessage: async ({ message }) => resolve(message.headers ?? {}) });
    });
    expect(String(letter['rmq-dlq-reason'])).toBe('poison');
    expect(String(letter['rmq-origin'])).toBe('brittle-orders/0/1');
    await consumer.disconnect();
  }, 60_000);
});
