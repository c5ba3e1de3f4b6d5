// Delayed records from kafkajs.
import { createRequire } from 'node:module';
import { address, assert, restartBroker, scenario, unique, until } from './lib/scenarios.mjs';

const require = createRequire(import.meta.url);
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs');
const snappy = require('snappy');
const lz4 = require('lz4-napi');
const { Encoder, Decoder } = require('@toondepauw/node-zstd');
// Java's block framing around snappy, as kafkajs-snappy writes and reads it.
const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);
CompressionCodecs[CompressionTypes.Snappy] = () => ({
  compress: async (encoder) => snappy.compress(encoder.buffer),
  decompress: async (buffer) => {
    if (!buffer.subarray(0, 8).equals(xerialMagic)) return snappy.uncompress(buffer);
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
  clientId: 'delay',
  brokers: [address],
  logLevel: logLevel.NOTHING,
  retry: { retries: 8 },
});
const admin = kafka.admin();
await admin.connect();
const invalidRecord = 87;

async function create(settings = {}) {
  const topic = unique('delay-js');
  const configEntries = Object.entries({ 'rmq.message.type': 'DELAY', ...settings }).map(([name, value]) => ({
    name,
    value,
  }));
  await admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }] });
  return topic;
}

async function send(topic, messages, options = {}, producerOptions = {}) {
  const producer = kafka.producer(producerOptions);
  await producer.connect();
  try {
    return await producer.send({ topic, messages, ...options });
  } finally {
    await producer.disconnect();
  }
}

const errorOf = (sent) =>
  sent.then(
    () => undefined,
    (error) => error,
  );

async function receive(topic, count, seconds = 20) {
  const consumer = kafka.consumer({ groupId: unique('g'), maxWaitTimeInMs: 100 });
  const got = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      const headers = Object.fromEntries(
        Object.entries(message.headers ?? {}).map(([key, value]) => [key, value.toString()]),
      );
      got.push({
        value: message.value.toString(),
        offset: Number(message.offset),
        headers,
        atMs: Date.now(),
      });
    },
  });
  await until(seconds, `${count} messages`, () => got.length >= count);
  await consumer.disconnect();
  return got;
}

const act = (topic, id, action, headers = {}) =>
  errorOf(
    send(`delay.op.${topic}`, [{ key: id, value: '', headers: { 'rmq-delay-action': action, ...headers } }]),
  );

await scenario('kafkajs: delays, levels and times, every codec, idempotent, never early', 60, async () => {
  const topic = await create();
  const { None, GZIP, Snappy, LZ4, ZSTD } = CompressionTypes;
  for (const compression of [None, GZIP, Snappy, LZ4, ZSTD]) {
    const nowMs = Date.now();
    const [answer] = await send(
      topic,
      [
        { key: 'k', value: 'level', headers: { 'rmq-delay-level': '1' } },
        { key: 'k', value: 'delay', headers: { 'rmq-delay-ms': '600', own: 'x' } },
        { key: 'k', value: 'time', headers: { 'rmq-deliver-at-ms': String(nowMs + 3000) } },
        { key: 'k', value: 'now' },
      ],
      { compression },
      { idempotent: true, maxInFlightRequests: 1 },
    );
    assert.equal(answer.baseOffset, '-1');
  }
  const got = await receive(topic, 20);
  assert.deepEqual(
    got.map(({ offset }) => offset),
    Array.from({ length: 20 }, (_, at) => at),
  );
  for (const { value, headers, atMs } of got) {
    assert.equal(headers['rmq-due-ms'] === undefined, value === 'now');
    if (value !== 'now') assert.ok(atMs >= Number(headers['rmq-due-ms']), `${value} came early`);
    for (const name of ['rmq-delay-level', 'rmq-delay-ms', 'rmq-deliver-at-ms'])
      assert.equal(headers[name], undefined);
    if (value === 'delay') assert.equal(headers.own, 'x');
  }
});

await scenario('kafkajs: what a topic does not take is refused', 30, async () => {
  for (const [type, value] of [
    ['NORMAL', '5'],
    ['DELAY', '-1'],
    ['DELAY', '259200001'],
  ]) {
    const topic = await create({ 'rmq.message.type': type });
    const error = await errorOf(send(topic, [{ value: 'x', headers: { 'rmq-delay-ms': value } }]));
    assert.equal(error?.code ?? error?.cause?.code, invalidRecord, `${type} ${value}: ${error}`);
  }
});

await scenario(
  'kafkajs: the eighteen levels, what is above them, what counts first, what is past',
  30,
  async () => {
    const topic = await create();
    const levels = [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
    const cases = [
      ...levels.map((seconds, at) => [
        `level ${at + 1}`,
        seconds * 1000,
        { 'rmq-delay-level': String(at + 1) },
      ]),
      ['level 19', 7_200_000, { 'rmq-delay-level': '19' }],
      ['level first', 3_600_000, { 'rmq-deliver-at-ms': '1', 'rmq-delay-ms': '5', 'rmq-delay-level': '17' }],
      ['delay before time', 3_000_000, { 'rmq-deliver-at-ms': '1', 'rmq-delay-ms': '3000000' }],
    ];
    const more = [
      ['past', { 'rmq-deliver-at-ms': '1' }],
      ['no delay', { 'rmq-delay-ms': '0' }],
    ];
    await send(topic, [
      ...cases.map(([id, , headers]) => ({ value: id, headers: { ...headers, 'rmq-message-id': id } })),
      ...more.map(([value, headers]) => ({ value, headers })),
    ]);
    assert.deepEqual(
      (await receive(topic, 2)).map(({ value }) => value),
      ['past', 'no delay'],
    );
    for (const [id] of cases.slice(1)) assert.equal(await act(topic, id, 'deliver'), undefined, id);
    const got = new Map((await receive(topic, cases.length + 2)).map((one) => [one.value, one]));
    for (const [id, delayMs] of cases) {
      const { headers } = got.get(id);
      assert.equal(Number(headers['rmq-due-ms']) - Number(headers['rmq-stored-ms']), delayMs, id);
    }
  },
);

await scenario('kafkajs: cancel, deliver now and reschedule through the operation topic', 30, async () => {
  const topic = await create();
  for (const id of ['a', 'b', 'c'])
    await send(topic, [{ value: id, headers: { 'rmq-delay-ms': '60000', 'rmq-message-id': id } }]);
  assert.equal(await act(topic, 'a', 'cancel'), undefined);
  assert.equal(await act(topic, 'b', 'deliver'), undefined);
  assert.equal(await act(topic, 'c', 'reschedule', { 'rmq-delay-ms': '400' }), undefined);
  assert.deepEqual(
    (await receive(topic, 2)).map(({ value }) => value),
    ['b', 'c'],
  );
  for (const [id, action] of [
    ['a', 'deliver'],
    ['b', 'cancel'],
    ['none', 'cancel'],
  ]) {
    const error = await act(topic, id, action);
    assert.equal(error?.code ?? error?.cause?.code, invalidRecord, `${action} ${id}: ${error}`);
  }
});

await scenario("kafkajs: the topic's default delays what has no headers", 20, async () => {
  const topic = await create({ 'rmq.delay.default.ms': '500' });
  const nowMs = Date.now();
  await send(topic, [{ value: 'v' }]);
  assert.ok((await receive(topic, 1))[0].atMs - nowMs >= 500);
});

await scenario(
  'kafkajs: five hundred delays in one batch, small records and large ones, survive kill -9',
  60,
  async () => {
    const topic = await create();
    const dueMs = Date.now() + 4000;
    const messages = Array.from({ length: 500 }, (_, at) => ({
      value: `${at} ${'x'.repeat(at % 7 === 0 ? 3000 : 20)}`,
      headers: { 'rmq-deliver-at-ms': String(dueMs + ((at * 37) % 500)) },
    }));
    await send(topic, messages);
    await restartBroker();
    const got = await receive(topic, 500, 40);
    assert.deepEqual(
      got.map(({ value }) => Number(value.split(' ')[0])).sort((a, b) => a - b),
      messages.map((_, at) => at),
    );
    const dues = got.map(({ headers }) => Number(headers['rmq-due-ms']));
    assert.deepEqual(
      dues,
      [...dues].sort((a, b) => a - b),
    );
  },
);

await admin.disconnect();
// A scenario that failed may have left a consumer running.
process.exit(0);
