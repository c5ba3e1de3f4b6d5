/** Delayed records through kafkajs, against a whole broker. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type IHeaders, Kafka, logLevel, type Producer } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, type BrokerOptions, createBroker } from '../../src/index.ts';

interface Got {
  readonly value: string;
  readonly atMs: number;
  readonly headers: IHeaders;
  readonly offset: string;
  readonly timestamp: string;
}

describe('delayed records with kafkajs', () => {
  let broker: Broker;
  let kafka: Kafka;
  let producer: Producer;

  beforeAll(async () => {
    broker = await createBroker({ memory: true });
    kafka = new Kafka({
      brokers: [broker.bootstrapServers],
      logLevel: logLevel.NOTHING,
      retry: { retries: 1 },
    });
    producer = kafka.producer();
    await producer.connect();
  });

  afterAll(async () => {
    await producer.disconnect();
    await broker.stop();
  });

  async function createTopic(topic: string, settings: Record<string, string> = {}): Promise<void> {
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({
      topics: [
        {
          topic,
          numPartitions: 1,
          configEntries: Object.entries({ 'rmq.message.type': 'DELAY', ...settings }).map(
            ([name, value]) => ({
              name,
              value,
            }),
          ),
        },
      ],
    });
    await admin.disconnect();
  }

  async function consume(topic: string, count: number, waitMs = 8000): Promise<Got[]> {
    const consumer = kafka.consumer({ groupId: `g-${topic}-${Math.random()}`, maxWaitTimeInMs: 200 });
    const got: Got[] = [];
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) => {
        got.push({
          value: message.value?.toString() ?? '',
          atMs: Date.now(),
          headers: message.headers ?? {},
          offset: message.offset,
          timestamp: message.timestamp,
        });
      },
    });
    for (const until = Date.now() + waitMs; got.length < count && Date.now() < until; ) await sleep(10);
    await consumer.disconnect();
    return got;
  }

  it('delivers by delay, level and time, each when it is due, beside records that are due at once', async () => {
    await createTopic('mixed');
    const sentMs = Date.now();
    const [answer] = await producer.send({
      topic: 'mixed',
      messages: [
        { value: 'later', headers: { 'rmq-delay-ms': '700', trace: 'x' }, timestamp: '1700000000000' },
        { value: 'now' },
        { value: 'level', headers: { 'rmq-delay-level': '1' } },
        { value: 'at', headers: { 'rmq-deliver-at-ms': String(sentMs + 3000) } },
        { value: 'past', headers: { 'rmq-deliver-at-ms': '1' } },
      ],
    });
    expect(answer?.baseOffset).toBe('-1');
    const got = await consume('mixed', 5);
    expect(got.map(({ value }) => value)).toEqual(['now', 'past', 'later', 'level', 'at']);
    expect(got.map(({ offset }) => offset)).toEqual(['0', '1', '2', '3', '4']);
    const later = got[2]!;
    expect(later.timestamp).toBe('1700000000000');
    const dueMs = Number(later.headers['rmq-due-ms']?.toString());
    expect(later.atMs).toBeGreaterThanOrEqual(dueMs);
    expect(dueMs - sentMs).toBeGreaterThanOrEqual(700);
    expect(Object.keys(later.headers).sort()).toEqual(['rmq-due-ms', 'rmq-stored-ms', 'trace']);
    expect(got[0]!.headers).toEqual({});
  });

  it('refuses what a topic does not take, naming the setting', async () => {
    await createTopic('normal', { 'rmq.message.type': 'NORMAL' });
    await expect(
      producer.send({ topic: 'normal', messages: [{ value: 'x', headers: { 'rmq-delay-ms': '700' } }] }),
    ).rejects.toMatchObject({ type: 'INVALID_RECORD' });
    await producer.send({
      topic: 'normal',
      messages: [{ value: 'about rmq-delay-ms', headers: { 'rmq-due-ms': '1' } }],
    });
    expect(await consume('normal', 1)).toMatchObject([{ value: 'about rmq-delay-ms' }]);
  });

  it('cancels, moves and delivers now through the operation topic, with a true answer', async () => {
    await createTopic('orders');
    const headers = (id: string) => ({ 'rmq-delay-ms': '60000', 'rmq-message-id': id });
    for (const id of ['a', 'b', 'c']) {
      await producer.send({ topic: 'orders', messages: [{ value: id, headers: headers(id) }] });
    }
    const act = (id: string, action: string, more: IHeaders = {}) =>
      producer.send({
        topic: 'delay.op.orders',
        messages: [{ key: id, value: '', headers: { 'rmq-delay-action': action, ...more } }],
      });
    await act('a', 'cancel');
    await act('a', 'cancel');
    await act('b', 'deliver');
    await act('c', 'reschedule', { 'rmq-delay-ms': '300' });
    for (const [id, action] of [
      ['a', 'deliver'],
      ['b', 'cancel'],
      ['never', 'cancel'],
    ] as const) {
      await expect(act(id, action)).rejects.toMatchObject({ type: 'INVALID_RECORD' });
    }
    const got = await consume('orders', 2);
    expect(got.map(({ value }) => value)).toEqual(['b', 'c']);
    await expect(act('c', 'cancel')).rejects.toMatchObject({ type: 'INVALID_RECORD' });
  });

  it('a topic with a default delays records that ask for nothing', async () => {
    await createTopic('slow', { 'rmq.delay.default.ms': '300' });
    const sentMs = Date.now();
    await producer.send({
      topic: 'slow',
      messages: [{ value: 'x' }, { value: 'y', headers: { 'rmq-delay-ms': '0' } }],
    });
    const got = await consume('slow', 2);
    expect(got.map(({ value }) => value)).toEqual(['y', 'x']);
    expect(got[1]!.atMs - sentMs).toBeGreaterThanOrEqual(300);
  });
});

describe('delayed records over HTTP', () => {
  const day = 86_400_000;

  async function started(more: BrokerOptions) {
    const broker = await createBroker({
      admin: '127.0.0.1:0',
      config: { 'rmq.virtual.clock': 'true', 'rmq.message.type': 'MIXED', 'num.partitions': '1' },
      ...more,
    });
    const kafka = new Kafka({ brokers: [broker.bootstrapServers], logLevel: logLevel.NOTHING });
    const producer = kafka.producer();
    await producer.connect();
    const call = async (
      method: string,
      path: string,
      body?: unknown,
      headers: Record<string, string> = {},
    ) => {
      const answer = await fetch(`http://127.0.0.1:${broker.adminPort}/api/v1${path}`, {
        method,
        headers: { 'content-type': 'application/json', ...headers },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
    };
    const ends = async (topic: string) => {
      const admin = kafka.admin();
      await admin.connect();
      const [offsets] = await admin.fetchTopicOffsets(topic);
      await admin.disconnect();
      return [offsets?.low, offsets?.high];
    };
    const send = (topic: string, ids: readonly string[], delayMs: number) =>
      producer.send({
        topic,
        messages: ids.map((id) => ({
          value: `body of ${id}`,
          headers: { 'rmq-delay-ms': String(delayMs), 'rmq-message-id': id },
        })),
      });
    const stop = async () => {
      await producer.disconnect();
      await broker.stop();
    };
    return { broker, producer, call, ends, send, stop };
  }

  it('lists by due time in pages, cancels, moves, delivers now, and says why not', async () => {
    const { broker, call, ends, send, stop } = await started({ memory: true });
    await send('orders', ['a', 'b', 'c/ü'], 60_000);
    await send('other', ['a'], 30_000);
    await send('orders', ['soon'], 20_000);
    const ids = ({ body }: { body: Record<string, unknown> }) =>
      (body.messages as { topic: string; messageId: string }[]).map(
        ({ topic, messageId }) => `${topic} ${messageId}`,
      );
    expect(ids(await call('GET', '/delayed'))).toEqual([
      'orders soon',
      'other a',
      'orders a',
      'orders b',
      'orders c/ü',
    ]);
    const first = await call('GET', '/topics/orders/delayed?limit=3');
    expect(ids(first)).toEqual(['orders soon', 'orders a', 'orders b']);
    const second = await call('GET', `/topics/orders/delayed?limit=3&next=${first.body.next}`);
    expect(ids(second)).toEqual(['orders c/ü']);
    expect(second.body.next).toBeNull();

    expect(await call('DELETE', '/topics/orders/delayed/a')).toEqual({
      status: 200,
      body: { status: 'done' },
    });
    expect((await call('DELETE', '/topics/orders/delayed/a')).status).toBe(200);
    const path = `/topics/orders/delayed/${encodeURIComponent('c/ü')}`;
    expect((await call('POST', `${path}/deliver`)).status).toBe(200);
    expect(await ends('orders')).toEqual(['0', '1']);
    expect(await call('DELETE', path)).toMatchObject({ status: 409, body: { reason: 'already-delivered' } });
    expect(await call('DELETE', '/topics/orders/delayed/zzz')).toMatchObject({
      status: 404,
      body: { reason: 'not-found' },
    });
    expect((await call('DELETE', '/topics/nothing/delayed/a')).status).toBe(404);
    expect((await call('POST', '/topics/orders/delayed/b/reschedule', { delayMs: 10_000 })).status).toBe(200);
    expect(
      await call('POST', '/topics/orders/delayed/b/reschedule', { delayMs: 1_000_000_000 }),
    ).toMatchObject({ status: 400, body: { reason: 'invalid' } });
    expect(ids(await call('GET', '/topics/orders/delayed'))).toEqual(['orders b', 'orders soon']);
    expect((await call('GET', '/delayed', undefined, { origin: 'http://evil.example' })).status).toBe(403);
    expect((await call('GET', '/delayed?limit=0')).status).toBe(400);
    expect((await call('GET', '/delayed?next=x')).status).toBe(400);
    expect((await call('POST', '/clock/advance', { ms: 60_000 })).status).toBe(200);
    const metrics = await (await fetch(`http://127.0.0.1:${broker.adminPort}/metrics`)).text();
    expect(metrics).toContain('odradek_deliveries_total{topic="orders"} 2');
    expect(metrics).toMatch(/odradek_deliveries_lateness_seconds_total\{topic="other"\} [0-9.e-]+/);
    await stop();
  });

  it('moves time by a day: delays and retention due by then have happened, and the directory remembers', async () => {
    const data = await mkdtemp(join(tmpdir(), 'delay-'));
    try {
      const first = await started({ data });
      await first.send('orders', ['hour'], day / 24);
      await first.send('orders', ['two-days'], 2 * day);
      await first.producer.send({ topic: 'old', messages: [{ value: 'kept for a week' }] });
      expect(await first.ends('orders')).toEqual(['0', '0']);
      const before = await first.call('GET', '/clock');
      const after = await first.call('POST', '/clock/advance', { ms: day });
      expect(Number(after.body.nowMs) - Number(before.body.nowMs)).toBeGreaterThanOrEqual(day);
      expect(await first.ends('orders')).toEqual(['0', '1']);
      expect(await first.ends('old')).toEqual(['0', '1']);
      expect((await first.call('POST', '/clock/advance', { ms: -1 })).status).toBe(400);
      await first.stop();

      await expect(createBroker({ data })).rejects.toThrow('start it with --virtual-clock');
      const second = await started({ data });
      expect((await second.call('GET', '/clock')).body.shiftMs).toBe(day);
      expect(await second.ends('orders')).toEqual(['0', '1']);
      await second.call('POST', '/clock/advance', { ms: 7 * day });
      expect(await second.ends('orders')).toEqual(['1', '2']);
      expect(await second.ends('old')).toEqual(['1', '1']);
      await second.stop();
    } finally {
      await rm(data, { recursive: true, force: true });
    }
  });

  it('says that the clock cannot be moved where it was not asked for', async () => {
    const { call, stop } = await started({ memory: true, config: {} });
    expect((await call('GET', '/clock')).status).toBe(404);
    expect((await call('POST', '/clock/advance', { ms: 1 })).body.error).toContain('--virtual-clock');
    await stop();
  });
});
