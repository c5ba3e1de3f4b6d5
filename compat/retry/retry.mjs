// Retries and dead letters from kafkajs, in plain client code: what odradek/kafkajs does, without it.
import { Kafka, logLevel } from 'kafkajs';
import { address, assert, scenario, unique, until } from './lib/scenarios.mjs';

const kafka = new Kafka({
  brokers: [address],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 20 },
});

async function send(topic, message) {
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic, messages: [message] });
  await producer.disconnect();
}

// The recipe: what an application writes.
const retryLater = (producer, group, { topic, partition, message }, error) =>
  producer.send({
    topic: `retry.${group}`,
    acks: -1,
    messages: [
      {
        key: message.key,
        value: null,
        headers: { 'rmq-origin': `${topic}/${partition}/${message.offset}`, 'rmq-error': String(error) },
      },
    ],
  });

async function consumeWithRetries(group, topics, process) {
  const producer = kafka.producer();
  const consumer = kafka.consumer({ groupId: group });
  await producer.connect();
  await consumer.connect();
  await consumer.subscribe({ topics: [...topics, `retry.${group}`], fromBeginning: true });
  await consumer.run({
    eachMessage: async (payload) => {
      try {
        await process(payload);
      } catch (error) {
        await retryLater(producer, group, payload, error);
      }
    },
  });
  return async () => {
    await consumer.disconnect();
    await producer.disconnect();
  };
}
// Until here.

const headersOf = (message) =>
  Object.fromEntries(Object.entries(message.headers ?? {}).map(([k, v]) => [k, String(v)]));

/** Both topics are there before the consumer: kafkajs does not see those that come later. */
async function ready(group, topic) {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({
    topics: [
      { topic, numPartitions: 1 },
      { topic: `retry.${group}`, numPartitions: 1 },
    ],
  });
  await admin.disconnect();
}

async function failing(times, expected) {
  const [group, topic] = [unique('g'), unique('orders')];
  await ready(group, topic);
  await send(topic, { key: 'k', value: 'v', headers: { own: 'x' } });
  const seen = [];
  const stop = await consumeWithRetries(group, [topic], async ({ message }) => {
    seen.push({ at: Date.now(), value: String(message.value), headers: headersOf(message) });
    if (seen.length <= times) throw new Error(`failure ${seen.length}`);
  });
  await until(30, `${expected} deliveries`, () => seen.length === expected);
  return { group, topic, seen, stop };
}

async function readOne(topic) {
  const consumer = kafka.consumer({ groupId: unique('reader') });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const message = await new Promise(
    (resolve) => void consumer.run({ eachMessage: async (payload) => resolve(payload.message) }),
  );
  await consumer.disconnect();
  return message;
}

await scenario('kafkajs: fails twice, then succeeds', 60, async () => {
  const { topic, seen, stop } = await failing(2, 3);
  await stop();
  assert.deepEqual(
    seen.map(({ value }) => value),
    ['v', 'v', 'v'],
  );
  assert.deepEqual(
    seen.map(({ headers }) => headers['rmq-reconsume-times']),
    [undefined, '1', '2'],
  );
  assert.equal(seen[2].headers['rmq-retry-topic'], topic);
  assert.equal(seen[2].headers.own, 'x');
  assert.ok(seen[1].at - seen[0].at >= 200 && seen[2].at - seen[1].at >= 400, 'a retry came early');
});

await scenario('kafkajs: fails always, ends in the dead letters', 60, async () => {
  const { group, topic, stop } = await failing(100, 4);
  await until(20, 'the dead letters', async () => {
    const admin = kafka.admin();
    await admin.connect();
    const topics = await admin.listTopics();
    await admin.disconnect();
    return topics.includes(`dlq.${group}`);
  });
  const letter = await readOne(`dlq.${group}`);
  await stop();
  const said = headersOf(letter);
  assert.equal(String(letter.value), 'v');
  assert.equal(said['rmq-dlq-reason'], 'exhausted');
  assert.equal(said['__dlq.errors.delivery.count'], '4');
  assert.equal(said['__dlq.errors.topic'], topic);
  assert.match(said['rmq-error'], /failure 4/);
});

await scenario('kafkajs: failure and offset are handed over in one transaction', 60, async () => {
  const [group, topic] = [unique('g'), unique('orders')];
  await ready(group, topic);
  await send(topic, { value: 'v' });
  const producer = kafka.producer({
    transactionalId: unique('tx'),
    maxInFlightRequests: 1,
    idempotent: true,
  });
  await producer.connect();
  const admin = kafka.admin();
  await admin.connect();
  for (const commit of [false, true]) {
    const transaction = await producer.transaction();
    await retryLater(
      transaction,
      group,
      { topic, partition: 0, message: { offset: '0', key: null } },
      'later',
    );
    await transaction.sendOffsets({
      consumerGroupId: group,
      topics: [{ topic, partitions: [{ partition: 0, offset: '1' }] }],
    });
    await (commit ? transaction.commit() : transaction.abort());
    const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
    assert.equal(partitions[0].offset, commit ? '1' : '-1');
  }
  await admin.disconnect();
  await producer.disconnect();
  assert.equal(headersOf(await readOne(`retry.${group}`))['rmq-reconsume-times'], '1');
});
