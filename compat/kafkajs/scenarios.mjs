import { createRequire } from 'node:module';
import { address, assert, isShort, restartBroker, scenario, unique, until } from './lib/scenarios.mjs';

const require = createRequire(import.meta.url);
const { Kafka, CompressionTypes, CompressionCodecs, logLevel, Partitioners } = require('kafkajs');
const snappy = require('snappy');
const lz4 = require('lz4-napi');
const { Encoder, Decoder } = require('@toondepauw/node-zstd');

// Java's block framing around snappy, as kafkajs-snappy writes it.
const xerialHeader = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
CompressionCodecs[CompressionTypes.Snappy] = () => ({
  compress: async (encoder) => snappy.compress(encoder.buffer),
  decompress: async (buffer) => {
    if (!buffer.subarray(0, 8).equals(xerialHeader.subarray(0, 8))) return snappy.uncompress(buffer);
    const parts = [];
    for (let at = 16; at < buffer.length; ) {
      const size = buffer.readUInt32BE(at);
      parts.push(await snappy.uncompress(buffer.subarray(at + 4, at + 4 + size)));
      at += 4 + size;
    }
    return Buffer.concat(parts);
  },
});
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: (buffer) => lz4.decompressFrame(buffer),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: (encoder) => new Encoder(3).encode(encoder.buffer),
  decompress: (buffer) => new Decoder().decode(buffer),
});

const kafka = new Kafka({
  clientId: 'compat',
  brokers: [address],
  logLevel: logLevel.NOTHING,
  retry: { retries: 8 },
});
const admin = kafka.admin();
await admin.connect();

async function withProducer(options, body) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options });
  await producer.connect();
  try {
    return await body(producer);
  } finally {
    await producer.disconnect();
  }
}

async function createTopic(partitions = 1, configEntries = []) {
  const topic = unique('kafkajs');
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions, configEntries }] });
  return topic;
}

/** A running group member that collects what it reads. */
async function member(groupId, topic, options = {}) {
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: 10_000,
    rebalanceTimeout: 10_000,
    heartbeatInterval: 300,
    maxWaitTimeInMs: 200,
    ...options,
  });
  const seen = [];
  const state = { assignment: [], joins: 0 };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    state.assignment = payload.memberAssignment[topic] ?? [];
    state.joins++;
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ partition, message }) => void seen.push({ partition, ...message }),
  });
  return { consumer, seen, state, stop: () => consumer.disconnect() };
}

async function readAll(topic, count, seconds = 20) {
  const reader = await member(unique('reader'), topic);
  try {
    await until(seconds, `${count} records, got ${reader.seen.length}`, () => reader.seen.length >= count);
    return reader.seen;
  } finally {
    await reader.stop();
  }
}

await scenario('auto-creates a topic on first send', 20, async () => {
  const topic = unique('auto');
  await withProducer({ allowAutoTopicCreation: true }, (p) =>
    p.send({ topic, messages: [{ value: 'first' }] }),
  );
  assert.deepEqual(
    (await readAll(topic, 1)).map((m) => m.value.toString()),
    ['first'],
  );
});

await scenario('keys, nulls, headers and timestamps come back as sent', 20, async () => {
  const topic = await createTopic();
  await withProducer({}, (p) =>
    p.send({
      topic,
      messages: [
        { key: 'k', value: 'v', headers: { a: '1', b: ['x', 'y'] }, timestamp: '1700000000123' },
        { key: null, value: null },
        { key: Buffer.alloc(0), value: Buffer.from([0, 255, 1]) },
      ],
    }),
  );
  const [first, second, third] = await readAll(topic, 3);
  assert.equal(first.key.toString(), 'k');
  assert.equal(first.timestamp, '1700000000123');
  assert.equal(first.headers.a.toString(), '1');
  assert.deepEqual(first.headers.b.map(String), ['x', 'y']);
  assert.equal(second.key, null);
  assert.equal(second.value, null);
  assert.equal(third.key.length, 0);
  assert.deepEqual([...third.value], [0, 255, 1]);
});

for (const [name, codec] of Object.entries({
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
})) {
  await scenario(`codec ${name}`, 30, async () => {
    const topic = await createTopic();
    const messages = Array.from({ length: 500 }, (_, i) => ({ value: `${i} ${'a'.repeat(50)}` }));
    await withProducer({}, (p) => p.send({ topic, messages, compression: codec }));
    assert.deepEqual(
      (await readAll(topic, 500)).map((m) => m.value.toString()),
      messages.map((m) => m.value),
    );
  });
}

for (const acks of [0, 1, -1]) {
  await scenario(`acks ${acks}`, 20, async () => {
    const topic = await createTopic();
    await withProducer({}, (p) => p.send({ topic, acks, messages: [{ value: 'x' }] }));
    assert.equal((await readAll(topic, 1)).length, 1);
  });
}

await scenario('idempotent producer keeps order over many batches', 60, async () => {
  const topic = await createTopic();
  const total = isShort ? 2_000 : 20_000;
  await withProducer({ idempotent: true, maxInFlightRequests: 1 }, async (p) => {
    for (let at = 0; at < total; at += 500) {
      await p.send({ topic, messages: Array.from({ length: 500 }, (_, i) => ({ value: String(at + i) })) });
    }
  });
  const values = (await readAll(topic, total, 40)).map((m) => Number(m.value));
  assert.deepEqual(
    values,
    Array.from({ length: total }, (_, i) => i),
  );
});

await scenario('two members share six partitions, read everything once, and one takes over', 90, async () => {
  const topic = await createTopic(6);
  const group = unique('group');
  const total = isShort ? 3_000 : 100_000;
  const one = await member(group, topic);
  const two = await member(group, topic);
  try {
    await until(
      30,
      'both have three partitions',
      () => one.state.assignment.length === 3 && two.state.assignment.length === 3,
    );
    await withProducer({ idempotent: true, maxInFlightRequests: 1 }, async (p) => {
      for (let at = 0; at < total; at += 1_000) {
        await p.send({
          topic,
          messages: Array.from({ length: Math.min(1_000, total - at) }, (_, i) => ({
            key: `k${(at + i) % 97}`,
            value: String(at + i),
            headers: { n: String(at + i) },
          })),
        });
      }
    });
    await until(60, 'everything was read', () => one.seen.length + two.seen.length >= total);
    const all = [...one.seen, ...two.seen];
    assert.equal(all.length, total);
    assert.equal(new Set(all.map((m) => m.value.toString())).size, total);
    for (const m of all) assert.equal(m.headers.n.toString(), m.value.toString());
    const lastOf = new Map();
    for (const m of all) {
      const last = lastOf.get(m.key.toString()) ?? -1;
      assert.ok(Number(m.value) > last, 'order within a key');
      lastOf.set(m.key.toString(), Number(m.value));
    }
    await two.stop();
    await until(30, 'the first has all six', () => one.state.assignment.length === 6);
  } finally {
    await one.stop();
    await two.stop().catch(() => {});
  }
  const committed = await admin.fetchOffsets({ groupId: group, topics: [topic] });
  assert.equal(
    committed[0].partitions.reduce((sum, p) => sum + Number(p.offset), 0),
    total,
  );
});

await scenario('commits survive a killed broker', 60, async () => {
  const topic = await createTopic();
  const group = unique('group');
  await withProducer({}, (p) =>
    p.send({ topic, messages: Array.from({ length: 10 }, (_, i) => ({ value: String(i) })) }),
  );
  const first = await member(group, topic);
  await until(20, 'ten read', () => first.seen.length === 10);
  await first.stop();
  await restartBroker();
  await withProducer({}, (p) => p.send({ topic, messages: [{ value: '10' }] }));
  const second = await member(group, topic);
  await until(30, 'the eleventh', () => second.seen.length >= 1);
  await second.stop();
  assert.deepEqual(
    second.seen.map((m) => m.value.toString()),
    ['10'],
  );
});

await scenario('a batch larger than max.message.bytes is refused by name', 20, async () => {
  const topic = await createTopic(1, [{ name: 'max.message.bytes', value: '1000' }]);
  await assert.rejects(
    withProducer({ retry: { retries: 0 } }, (p) =>
      p.send({ topic, messages: [{ value: Buffer.alloc(5_000) }] }),
    ),
    (error) => /MESSAGE_TOO_LARGE|larger than/i.test(`${error.type} ${error.message} ${error.cause?.type}`),
  );
});

await scenario('admin: topics, partitions, configs, offsets by time, groups', 60, async () => {
  const topic = await createTopic(2, [{ name: 'retention.ms', value: '100000' }]);
  assert.ok((await admin.listTopics()).includes(topic));
  await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] });
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  assert.equal(topics[0].partitions.length, 4);
  const described = await admin.describeConfigs({ resources: [{ type: 2, name: topic }] });
  assert.equal(
    described.resources[0].configEntries.find((e) => e.configName === 'retention.ms').configValue,
    '100000',
  );
  await admin.alterConfigs({
    resources: [{ type: 2, name: topic, configEntries: [{ name: 'retention.ms', value: '200000' }] }],
  });
  const again = await admin.describeConfigs({
    resources: [{ type: 2, name: topic, configNames: ['retention.ms'] }],
  });
  assert.equal(again.resources[0].configEntries[0].configValue, '200000');
  const before = Date.now();
  await withProducer({}, (p) =>
    p.send({
      topic,
      messages: [
        { value: 'a', partition: 0 },
        { value: 'b', partition: 0 },
      ],
    }),
  );
  assert.equal((await admin.fetchTopicOffsets(topic)).find((p) => p.partition === 0).high, '2');
  assert.equal(
    (await admin.fetchTopicOffsetsByTimestamp(topic, before - 1)).find((p) => p.partition === 0).offset,
    '0',
  );
  const group = unique('group');
  const reader = await member(group, topic);
  await until(20, 'read', () => reader.seen.length === 2);
  const live = (await admin.describeGroups([group])).groups[0];
  assert.equal(live.state, 'Stable');
  assert.equal(live.members.length, 1);
  await reader.stop();
  assert.ok((await admin.listGroups()).groups.some((g) => g.groupId === group));
  await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '1' }] });
  assert.equal(
    (await admin.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions.find(
      (p) => p.partition === 0,
    ).offset,
    '1',
  );
  await admin.resetOffsets({ groupId: group, topic, earliest: true });
  await admin.deleteGroups([group]);
  assert.ok(!(await admin.listGroups()).groups.some((g) => g.groupId === group));
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '1' }] });
  assert.equal((await admin.fetchTopicOffsets(topic)).find((p) => p.partition === 0).low, '1');
  await admin.deleteTopics({ topics: [topic] });
  assert.ok(!(await admin.listTopics()).includes(topic));
});

await scenario('describeCluster names this broker as the controller', 20, async () => {
  const cluster = await admin.describeCluster();
  assert.equal(cluster.brokers.length, 1);
  assert.equal(cluster.controller, cluster.brokers[0].nodeId);
  assert.ok(cluster.clusterId.length > 0);
});

await scenario('seek, pause and resume', 40, async () => {
  const topic = await createTopic();
  await withProducer({}, (p) =>
    p.send({ topic, messages: Array.from({ length: 20 }, (_, i) => ({ value: String(i) })) }),
  );
  const reader = await member(unique('group'), topic);
  await until(20, 'twenty', () => reader.seen.length === 20);
  reader.consumer.pause([{ topic }]);
  await withProducer({}, (p) => p.send({ topic, messages: [{ value: '20' }] }));
  reader.consumer.resume([{ topic }]);
  await until(20, 'twenty one', () => reader.seen.length === 21);
  reader.consumer.seek({ topic, partition: 0, offset: '5' });
  await until(20, 'again from five', () => reader.seen.length === 37);
  assert.equal(reader.seen[21].offset, '5');
  await reader.stop();
});

await scenario('transactions: commit, abort, offsets with records, read_committed', 60, async () => {
  const [source, target] = [await createTopic(), await createTopic(2)];
  await withProducer({}, (p) =>
    p.send({ topic: source, messages: ['a', 'b', 'c'].map((value) => ({ value })) }),
  );
  const group = unique('group');
  const transactionalId = unique('txn');
  await withProducer({ transactionalId, maxInFlightRequests: 1, idempotent: true }, async (producer) => {
    const aborted = await producer.transaction();
    await aborted.send({ topic: target, messages: [{ value: 'never', partition: 0 }] });
    await aborted.sendOffsets({
      consumerGroupId: group,
      topics: [{ topic: source, partitions: [{ partition: 0, offset: '1' }] }],
    });
    await aborted.abort();
    const committed = await producer.transaction();
    await committed.send({
      topic: target,
      messages: [
        { value: 'a2', partition: 0 },
        { value: 'b2', partition: 1 },
      ],
    });
    await committed.sendOffsets({
      consumerGroupId: group,
      topics: [{ topic: source, partitions: [{ partition: 0, offset: '2' }] }],
    });
    const reader = await member(unique('group'), target);
    await new Promise((wait) => setTimeout(wait, 1000));
    assert.equal(reader.seen.length, 0);
    await committed.commit();
    await until(20, 'what was committed', () => reader.seen.length === 2);
    await reader.stop();
    assert.deepEqual(reader.seen.map(({ value }) => String(value)).sort(), ['a2', 'b2']);
  });
  const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [source] });
  assert.equal(partitions.find((p) => p.partition === 0).offset, '2');
});

await admin.disconnect();
process.exit(0);
