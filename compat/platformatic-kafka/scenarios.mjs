import { Admin, Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka';
import { address, assert, isShort, restartBroker, scenario, unique, until } from './lib/scenarios.mjs';

const bootstrapBrokers = [address];
const admin = new Admin({ clientId: 'compat', bootstrapBrokers });

async function createTopic(partitions = 1, configs = []) {
  const topic = unique('plat');
  await admin.createTopics({ topics: [topic], partitions, replicas: 1, configs });
  return topic;
}

async function send(messages, options = {}) {
  const producer = new Producer({
    clientId: 'compat',
    bootstrapBrokers,
    serializers: stringSerializers,
    ...options,
  });
  try {
    return await producer.send({ messages });
  } finally {
    await producer.close();
  }
}

async function member(groupId, topic, options = {}) {
  const consumer = new Consumer({
    clientId: 'compat',
    groupId,
    bootstrapBrokers,
    deserializers: stringDeserializers,
    sessionTimeout: 10_000,
    heartbeatInterval: 300,
    rebalanceTimeout: 10_000,
    maxWaitTime: 200,
    ...options,
  });
  const stream = await consumer.consume({
    topics: [topic],
    mode: 'committed',
    fallbackMode: 'earliest',
    autocommit: true,
  });
  const seen = [];
  stream.on('data', (message) => seen.push(message));
  return { consumer, seen, stop: () => consumer.close(true) };
}

async function readAll(topic, count) {
  const reader = await member(unique('reader'), topic);
  try {
    await until(30, `${count} records`, () => reader.seen.length >= count);
    return reader.seen;
  } finally {
    await reader.stop();
  }
}

await scenario('auto-creates a topic on first send', 30, async () => {
  const topic = unique('auto');
  await send([{ topic, value: 'first' }], { autocreateTopics: true });
  assert.deepEqual(
    (await readAll(topic, 1)).map((m) => m.value),
    ['first'],
  );
});

await scenario('keys, values and headers come back as sent', 30, async () => {
  const topic = await createTopic();
  await send([
    { topic, key: 'k', value: 'v', headers: { a: '1' } },
    { topic, value: '' },
  ]);
  const [first, second] = await readAll(topic, 2);
  assert.equal(first.key, 'k');
  assert.equal(first.value, 'v');
  assert.equal(first.headers.get('a'), '1');
  assert.equal(second.value, '');
});

for (const compression of ['gzip', 'snappy', 'lz4', 'zstd']) {
  await scenario(`codec ${compression}`, 30, async () => {
    const topic = await createTopic();
    const values = Array.from({ length: 200 }, (_, i) => `${i} ${'a'.repeat(50)}`);
    await send(
      values.map((value) => ({ topic, value })),
      { compression },
    );
    assert.deepEqual(
      (await readAll(topic, 200)).map((m) => m.value),
      values,
    );
  });
}

for (const acks of [0, 1, -1]) {
  await scenario(`acks ${acks}`, 30, async () => {
    const topic = await createTopic();
    await send([{ topic, value: 'x' }], { acks });
    assert.equal((await readAll(topic, 1)).length, 1);
  });
}

await scenario('idempotent producer keeps order over many batches', 60, async () => {
  const topic = await createTopic();
  const total = isShort ? 1_000 : 5_000;
  const producer = new Producer({
    clientId: 'compat',
    bootstrapBrokers,
    serializers: stringSerializers,
    idempotent: true,
  });
  for (let at = 0; at < total; at += 100) {
    await producer.send({
      messages: Array.from({ length: 100 }, (_, i) => ({ topic, value: String(at + i) })),
    });
  }
  await producer.close();
  assert.deepEqual(
    (await readAll(topic, total)).map((m) => Number(m.value)),
    Array.from({ length: total }, (_, i) => i),
  );
});

await scenario('two members share six partitions, one takes over', 90, async () => {
  const topic = await createTopic(6);
  const group = unique('group');
  const one = await member(group, topic);
  const two = await member(group, topic);
  const owned = (m) => (m.consumer.assignments ?? []).find((a) => a.topic === topic)?.partitions.length ?? 0;
  try {
    await until(40, 'three partitions each', () => owned(one) === 3 && owned(two) === 3);
    const total = 600;
    await send(Array.from({ length: total }, (_, i) => ({ topic, key: `k${i}`, value: String(i) })));
    await until(40, 'all read', () => one.seen.length + two.seen.length >= total);
    assert.equal(new Set([...one.seen, ...two.seen].map((m) => m.value)).size, total);
    await two.stop();
    await until(40, 'the first has all six', () => owned(one) === 6);
  } finally {
    await one.stop();
    await two.stop().catch(() => {});
  }
});

await scenario('commits survive a killed broker', 90, async () => {
  const topic = await createTopic();
  const group = unique('group');
  await send(Array.from({ length: 10 }, (_, i) => ({ topic, value: String(i) })));
  const first = await member(group, topic);
  await until(30, 'ten read', () => first.seen.length === 10);
  await first.consumer.commit({ offsets: [{ topic, partition: 0, offset: 10n, leaderEpoch: 0 }] });
  await first.stop();
  await restartBroker();
  await send([{ topic, value: '10' }]);
  const second = await member(group, topic);
  await until(30, 'the eleventh', () => second.seen.length >= 1);
  await second.stop();
  assert.deepEqual(
    second.seen.map((m) => m.value),
    ['10'],
  );
});

await scenario('admin: topics and metadata', 30, async () => {
  const topic = await createTopic(3);
  assert.ok((await admin.listTopics()).includes(topic));
  const metadata = await admin.metadata({ topics: [topic] });
  assert.equal(metadata.topics.get(topic).partitions.length, 3);
  await admin.deleteTopics({ topics: [topic] });
  assert.ok(!(await admin.listTopics()).includes(topic));
});

await admin.close();
process.exit(0);
