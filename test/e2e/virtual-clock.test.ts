/** A day that passes in a moment: everything of a broker that goes by time has happened when the clock was moved on, seen by kafkajs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Consumer, Kafka, logLevel } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  describeProducersRequest,
  describeProducersResponse,
} from '../../protocol/generated/61-describe-producers.ts';
import { type Broker, createBroker } from '../../src/index.ts';
import { WireClient } from '../crash/wire-client.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

describe('moving the clock of a development broker', () => {
  let broker: Broker;
  let kafka: Kafka;
  const consumers: Consumer[] = [];

  beforeAll(async () => {
    broker = await createBroker({
      memory: true,
      admin: '127.0.0.1:0',
      config: {
        'rmq.virtual.clock': 'true',
        'rmq.message.type': 'MIXED',
        'num.partitions': '1',
        'group.initial.rebalance.delay.ms': '0',
        'producer.id.expiration.ms': String(day),
      },
    });
    kafka = new Kafka({
      brokers: [broker.bootstrapServers],
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 20, maxRetryTime: 200, retries: 20 },
    });
  });

  afterAll(async () => {
    await Promise.all(consumers.map((consumer) => consumer.disconnect()));
    await broker.stop();
  });

  async function advance(ms: number): Promise<void> {
    const answer = await fetch(`http://127.0.0.1:${broker.adminPort}/api/v1/clock/advance`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ms }),
    });
    expect(answer.status).toBe(200);
  }

  const withAdmin = async <T>(ask: (admin: ReturnType<Kafka['admin']>) => Promise<T>): Promise<T> => {
    const admin = kafka.admin();
    await admin.connect();
    try {
      return await ask(admin);
    } finally {
      await admin.disconnect();
    }
  };

  const create = (topic: string, settings: Record<string, string> = {}) =>
    withAdmin((admin) =>
      admin.createTopics({
        topics: [
          {
            topic,
            numPartitions: 1,
            configEntries: Object.entries(settings).map(([name, value]) => ({ name, value })),
          },
        ],
      }),
    );

  async function send(topic: string, value: string, headers: Record<string, string> = {}, key = 'k') {
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({ topic, messages: [{ key, value, headers }] });
    await producer.disconnect();
  }

  async function consume(topic: string, groupId: string, more = {}) {
    const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 2000, heartbeatInterval: 100, ...more });
    consumers.push(consumer);
    const got: string[] = [];
    let joins = 0;
    consumer.on(consumer.events.GROUP_JOIN, () => {
      joins += 1;
    });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) => {
        got.push(message.value!.toString());
      },
    });
    return {
      consumer,
      got,
      get joins() {
        return joins;
      },
    };
  }

  async function until(what: string, holds: () => boolean | Promise<boolean>, ms = 15_000): Promise<void> {
    for (const endMs = Date.now() + ms; !(await holds()); await sleep(20)) {
      if (Date.now() > endMs) throw new Error(`not within ${ms} ms: ${what}`);
    }
  }

  it('ends sessions of a group, whose member joins again, and no fetch hangs', async () => {
    await create('sessions');
    const reader = await consume('sessions', 'sessions-group', { sessionTimeout: 30_000 });
    await until('the member has joined', () => reader.joins === 1);
    await advance(20_000);
    await send('sessions', 'before');
    await until('the message', () => reader.got.includes('before'));
    await advance(day);
    // The fetch under way waited for two seconds at most, however far time went.
    await send('sessions', 'after');
    await until('the message after a day', () => reader.got.includes('after'));
    await until('the member has joined again', () => reader.joins >= 2);
    expect(reader.got).toEqual(['before', 'after']);
    await reader.consumer.disconnect();
  });

  it('aborts transactions that are over their timeout', async () => {
    await create('transactions');
    const producer = kafka.producer({
      transactionalId: 'slow',
      maxInFlightRequests: 1,
      idempotent: true,
      transactionTimeout: minute,
    });
    await producer.connect();
    const transaction = await producer.transaction();
    await transaction.send({ topic: 'transactions', messages: [{ value: 'never committed' }] });
    await advance(2 * minute);
    await send('transactions', 'plain');
    const reader = await consume('transactions', 'transactions-group');
    await until('what lies behind the transaction', () => reader.got.length > 0);
    expect(reader.got).toEqual(['plain']);
    await expect(transaction.commit()).rejects.toThrow();
    await producer.disconnect();
    await reader.consumer.disconnect();
  });

  it('delivers what was delayed for longer than its topic keeps records, and then keeps it for as long', async () => {
    await create('short', { 'retention.ms': String(hour) });
    await send('short', 'in two days', { 'rmq-delay-ms': String(2 * day) });
    await send('short', `large ${'x'.repeat(2000)}`, { 'rmq-delay-ms': String(2 * day) });
    await send('short', 'at once');
    const ends = () =>
      withAdmin(async (admin) => {
        const [offsets] = await admin.fetchTopicOffsets('short');
        return [Number(offsets!.low), Number(offsets!.high)];
      });
    expect(await ends()).toEqual([0, 1]);
    await advance(day);
    expect(await ends()).toEqual([1, 1]);
    await advance(day + minute);
    expect(await ends()).toEqual([1, 3]);
    const reader = await consume('short', 'short-group');
    await until('both', () => reader.got.length === 2);
    expect(reader.got.map((value) => value.slice(0, 11)).sort()).toEqual(['in two days', 'large xxxxx']);
    await reader.consumer.disconnect();
    await advance(2 * hour);
    expect(await ends()).toEqual([3, 3]);
  });

  it('cleans a compacted topic whose lag has passed', async () => {
    await create('compacted', {
      'cleanup.policy': 'compact',
      'min.compaction.lag.ms': String(hour),
      'segment.ms': String(minute),
      'min.cleanable.dirty.ratio': '0.01',
    });
    for (const value of ['first', 'second', 'third']) await send('compacted', value);
    await advance(2 * hour);
    await send('compacted', 'other', {}, 'other key');
    await advance(day);
    const reader = await consume('compacted', 'compacted-group');
    await until('the last record', () => reader.got.includes('other'));
    expect(reader.got).toEqual(['third', 'other']);
    await reader.consumer.disconnect();
  });

  it('forgets offsets of a group without members, after their time', async () => {
    await create('offsets');
    await send('offsets', 'one');
    const reader = await consume('offsets', 'offsets-group', { sessionTimeout: 30_000 });
    await until('the message', () => reader.got.length === 1);
    await reader.consumer.disconnect();
    const committed = () =>
      withAdmin(async (admin) => {
        const [found] = await admin.fetchOffsets({ groupId: 'offsets-group', topics: ['offsets'] });
        return found!.partitions[0]!.offset;
      });
    expect(await committed()).toBe('1');
    await advance(6 * day);
    expect(await committed()).toBe('1');
    await advance(2 * day);
    await until('the offset is forgotten', async () => (await committed()) === '-1');
  });

  it('forgets producers after their time, and they go on', async () => {
    await create('producers', { 'retention.ms': '-1' });
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    await producer.send({ topic: 'producers', messages: [{ value: 'one' }] });
    const known = async () => {
      const client = await WireClient.connect(Number(broker.bootstrapServers.split(':').at(-1)), 'test');
      const answer = await client.request(describeProducersRequest, describeProducersResponse, 0, {
        topics: [{ name: 'producers', partitionIndexes: [0] }],
      });
      client.close();
      return answer.topics[0]!.partitions[0]!.activeProducers.length;
    };
    expect(await known()).toBe(1);
    await advance(2 * day);
    expect(await known()).toBe(0);
    await producer.send({ topic: 'producers', messages: [{ value: 'two' }] });
    await producer.disconnect();
    const reader = await consume('producers', 'producers-group');
    await until('both', () => reader.got.length === 2);
    expect(reader.got).toEqual(['one', 'two']);
    await reader.consumer.disconnect();
  });
});
