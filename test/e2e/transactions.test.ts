/** Transactions as people use them: kafkajs against a broker in this process. */
import { type EachMessagePayload, Kafka, logLevel, type Producer } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, createBroker } from '../../src/index.ts';

let broker: Broker;
let kafka: Kafka;
let names = 0;
const unique = (prefix: string): string => `${prefix}-${++names}`;

beforeAll(async () => {
  broker = await createBroker({ listen: '127.0.0.1:0', memory: true, config: { 'num.partitions': '1' } });
  kafka = new Kafka({ brokers: [broker.bootstrapServers], clientId: 'test', logLevel: logLevel.NOTHING });
});

afterAll(() => broker.stop());

async function producerOf(transactionalId: string): Promise<Producer> {
  const producer = kafka.producer({ transactionalId, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  return producer;
}

/** What a reader of the isolation level sees, up to the message `last`. */
async function read(topic: string, readUncommitted = false, last = 'end'): Promise<string[]> {
  const consumer = kafka.consumer({ groupId: unique('reader'), readUncommitted, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const seen: string[] = [];
  await new Promise<void>((done, failed) => {
    consumer
      .run({
        eachMessage: async ({ message }: EachMessagePayload) => {
          const value = String(message.value);
          if (value === last) done();
          else seen.push(value);
        },
      })
      .catch(failed);
  });
  await consumer.disconnect();
  return seen;
}

const send = (producer: { send: Producer['send'] }, topic: string, ...values: string[]) =>
  producer.send({ topic, messages: values.map((value) => ({ value })) });

describe('kafkajs', () => {
  it('commits, aborts, and shows readers what they asked for', async () => {
    const topic = unique('orders');
    const producer = await producerOf(unique('tx'));
    const first = await producer.transaction();
    await send(first, topic, 'a', 'b');
    await first.commit();
    const second = await producer.transaction();
    await send(second, topic, 'lost');
    await second.abort();
    const third = await producer.transaction();
    await send(third, topic, 'c');
    await send(third, topic, 'end');
    await third.commit();
    await producer.disconnect();
    expect(await read(topic)).toEqual(['a', 'b', 'c']);
    expect(await read(topic, true)).toEqual(['a', 'b', 'lost', 'c']);
  });

  it('holds readers back while a transaction is open, and lets them go on at its end', async () => {
    const topic = unique('held');
    const plain = kafka.producer();
    await plain.connect();
    await send(plain, topic, 'before');
    const producer = await producerOf(unique('tx'));
    const transaction = await producer.transaction();
    await send(transaction, topic, 'inside');
    await send(plain, topic, 'end');
    const reading = read(topic);
    const early = await Promise.race([reading, new Promise((wait) => setTimeout(() => wait('held'), 1000))]);
    expect(early).toBe('held');
    await transaction.commit();
    expect(await reading).toEqual(['before', 'inside']);
    await plain.disconnect();
    await producer.disconnect();
  });

  it('sends offsets with a transaction: both count, or neither', async () => {
    const topic = unique('source');
    const groupId = unique('group');
    const producer = await producerOf(unique('tx'));
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic }] });
    const committed = async () => {
      const [row] = await admin.fetchOffsets({ groupId, topics: [topic] });
      return row!.partitions.map(({ offset }) => offset);
    };
    const sendOffset = async (offset: string, end: 'commit' | 'abort') => {
      const transaction = await producer.transaction();
      await send(transaction, topic, `for ${offset}`);
      await transaction.sendOffsets({
        consumerGroupId: groupId,
        topics: [{ topic, partitions: [{ partition: 0, offset }] }],
      });
      expect(await committed()).not.toContain(offset);
      await transaction[end]();
    };
    await sendOffset('5', 'commit');
    expect(await committed()).toEqual(['5']);
    await sendOffset('9', 'abort');
    expect(await committed()).toEqual(['5']);
    await admin.disconnect();
    await producer.disconnect();
  });

  it('delays records of a transaction that is committed, and holds no reader back for them', async () => {
    const topic = unique('orders');
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({
      topics: [{ topic, configEntries: [{ name: 'rmq.message.type', value: 'DELAY' }] }],
    });
    await admin.disconnect();
    const producer = await producerOf(unique('tx'));
    const later = (value: string) => ({ value, headers: { 'rmq-delay-ms': '50' } });
    for (const isCommit of [false, true]) {
      const transaction = await producer.transaction();
      await transaction.send({ topic, messages: [later(`later ${isCommit}`), { value: `now ${isCommit}` }] });
      await (isCommit ? transaction.commit() : transaction.abort());
    }
    const open = await producer.transaction();
    await open.send({ topic, messages: [later('never')] });
    await producer.disconnect();
    const plain = kafka.producer();
    await plain.connect();
    await plain.send({ topic, messages: [{ value: 'end', headers: { 'rmq-delay-ms': '300' } }] });
    expect(await read(topic)).toEqual(['now true', 'later true']);
    await plain.disconnect();
  });

  it('fences a producer whose transactional id another one took over', async () => {
    const topic = unique('fenced');
    const transactionalId = unique('tx');
    const zombie = await producerOf(transactionalId);
    const left = await zombie.transaction();
    await send(left, topic, 'of the zombie');
    const successor = await producerOf(transactionalId);
    const transaction = await successor.transaction();
    await send(transaction, topic, 'of the successor');
    await expect(send(left, topic, 'too late')).rejects.toThrow();
    await expect(left.commit()).rejects.toThrow();
    await send(transaction, topic, 'end');
    await transaction.commit();
    expect(await read(topic)).toEqual(['of the successor']);
    await zombie.disconnect();
    await successor.disconnect();
  });
});
