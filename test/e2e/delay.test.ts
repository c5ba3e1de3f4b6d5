/** Delayed records through kafkajs, against a whole broker. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type IHeaders, Kafka, logLevel, type Producer } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, createBroker } from '../../src/index.ts';

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
        { value: 'at', headers: { 'rmq-deliver-at-ms': String(sentMs + 400) } },
        { value: 'past', headers: { 'rmq-deliver-at-ms': '1' } },
      ],
    });
    expect(answer?.baseOffset).toBe('-1');
    const got = await consume('mixed', 5);
    expect(got.map(({ value }) => value)).toEqual(['now', 'past', 'at', 'later', 'level']);
    expect(got.map(({ offset }) => offset)).toEqual(['0', '1', '2', '3', '4']);
    const later = got[3]!;
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
