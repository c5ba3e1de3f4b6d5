/** kafkajs against a broker in this process: what people's own tests look like. The long form is in compat/kafkajs. */
import { type Consumer, Kafka, logLevel } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, createBroker } from '../../src/index.ts';

let broker: Broker;
let kafka: Kafka;
let names = 0;
const unique = (prefix: string): string => `${prefix}-${++names}`;

beforeAll(async () => {
  broker = await createBroker({ listen: '127.0.0.1:0', memory: true, config: { 'num.partitions': '2' } });
  kafka = new Kafka({ brokers: [broker.bootstrapServers], clientId: 'test', logLevel: logLevel.NOTHING });
});

afterAll(() => broker.stop());

interface Seen {
  readonly partition: number;
  readonly key: string | null;
  readonly value: string | null;
}

/** Reads with a group member until `done` says so. */
async function readUntil(
  groupId: string,
  topic: string,
  done: (seen: readonly Seen[]) => boolean,
): Promise<Seen[]> {
  const consumer: Consumer = kafka.consumer({ groupId, heartbeatInterval: 100, maxWaitTimeInMs: 50 });
  const seen: Seen[] = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await new Promise<void>((finished, failed) => {
    consumer
      .run({
        eachMessage: async ({ partition, message }) => {
          seen.push({
            partition,
            key: message.key?.toString() ?? null,
            value: message.value?.toString() ?? null,
          });
          if (done(seen)) finished();
        },
      })
      .catch(failed);
  });
  await consumer.disconnect();
  return seen;
}

describe('kafkajs', () => {
  it('auto-creates a topic, keeps keys, nulls and order, and resumes where it committed', async () => {
    const topic = unique('orders');
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    await producer.send({
      topic,
      messages: [
        { key: 'a', value: '1', partition: 0 },
        { key: null, value: null, partition: 0 },
        { key: 'c', value: '3', partition: 0 },
      ],
    });
    const group = unique('group');
    const first = await readUntil(group, topic, (seen) => seen.length === 3);
    expect(first).toEqual([
      { partition: 0, key: 'a', value: '1' },
      { partition: 0, key: null, value: null },
      { partition: 0, key: 'c', value: '3' },
    ]);
    await producer.send({ topic, messages: [{ key: 'd', value: '4', partition: 0 }] });
    expect(await readUntil(group, topic, (seen) => seen.length === 1)).toEqual([
      { partition: 0, key: 'd', value: '4' },
    ]);
    await producer.disconnect();
  });

  it('refuses a batch over max.message.bytes by name', async () => {
    const admin = kafka.admin();
    await admin.connect();
    const topic = unique('small');
    await admin.createTopics({
      topics: [{ topic, configEntries: [{ name: 'max.message.bytes', value: '500' }] }],
    });
    const producer = kafka.producer({ retry: { retries: 0 } });
    await producer.connect();
    await expect(producer.send({ topic, messages: [{ value: 'x'.repeat(1_000) }] })).rejects.toThrow(
      /larger than the max|too large/i,
    );
    await producer.disconnect();
    await admin.disconnect();
  });

  it('manages topics and offsets', async () => {
    const admin = kafka.admin();
    await admin.connect();
    const topic = unique('managed');
    await admin.createTopics({ topics: [{ topic, numPartitions: 3 }] });
    expect((await admin.fetchTopicMetadata({ topics: [topic] })).topics[0]?.partitions).toHaveLength(3);
    const groupId = unique('group');
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 1, offset: '0' }] });
    const [fetched] = await admin.fetchOffsets({ groupId, topics: [topic] });
    expect(fetched?.partitions.find((p) => p.partition === 1)?.offset).toBe('0');
    await admin.deleteTopics({ topics: [topic] });
    expect(await admin.listTopics()).not.toContain(topic);
    await admin.disconnect();
  });
});
