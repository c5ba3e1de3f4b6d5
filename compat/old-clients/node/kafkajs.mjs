/** What an old kafkajs can do: kafkajs.mjs HOST:PORT LABEL, run where that version is installed. */
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { Kafka, logLevel } = createRequire(join(process.cwd(), 'x.js'))('kafkajs');
const [broker, label] = process.argv.slice(2);
const kafka = new Kafka({ clientId: 'old', brokers: [broker], logLevel: logLevel.NOTHING });
const topic = `old-node-${randomUUID()}`;

async function check(name, run) {
  try {
    await run();
    console.log(`pass kafkajs ${label}: ${name}`);
  } catch (error) {
    console.log(`fail kafkajs ${label}: ${name}`);
    console.error(error);
  }
}

async function read(groupId, count) {
  const consumer = kafka.consumer({ groupId });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const values = [];
  await new Promise((done, failed) => {
    const timer = setTimeout(() => failed(new Error(`read ${values.length} of ${count}`)), 40_000);
    consumer.run({
      eachMessage: async ({ message }) => {
        values.push(message.value.toString());
        if (values.length === count) {
          clearTimeout(timer);
          done();
        }
      },
    });
  });
  await consumer.disconnect();
  return values;
}

const send = async (from, to, settings = {}) => {
  const producer = kafka.producer();
  await producer.connect();
  const messages = Array.from({ length: to - from }, (_, at) => ({ key: 'k', value: `v${from + at}` }));
  await producer.send({ topic, messages, ...settings });
  await producer.disconnect();
};

const equal = (one, other) => {
  if (JSON.stringify(one) !== JSON.stringify(other)) throw new Error(`${one} is not ${other}`);
};
const upTo = (from, to) => Array.from({ length: to - from }, (_, at) => `v${from + at}`);

await check('makes a topic', async () => {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true });
  await admin.disconnect();
});
await check('writes and reads in a group', async () => {
  await send(0, 10);
  equal(await read(`g-${topic}`, 10), upTo(0, 10));
});
await check('goes on where it was', async () => {
  await send(10, 15, { compression: 1 });
  equal(await read(`g-${topic}`, 5), upTo(10, 15));
});
process.exit(0);
