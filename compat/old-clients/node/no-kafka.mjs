/** no-kafka 3 speaks the protocol of Kafka 0.9 and never asks for versions: no-kafka.mjs HOST:PORT LABEL. */
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const Kafka = createRequire(join(process.cwd(), 'x.js'))('no-kafka');
const [broker, label] = process.argv.slice(2);
const topic = `no-kafka-${randomUUID()}`;
const options = { connectionString: broker, logger: { logLevel: 1 } };

async function check(name, run) {
  try {
    await run();
    console.log(`pass no-kafka ${label}: ${name}`);
  } catch (error) {
    console.log(`fail no-kafka ${label}: ${name}`);
    console.error(error);
  }
}

const within = (promise, what) =>
  Promise.race([
    promise,
    new Promise((_, failed) => setTimeout(() => failed(new Error(`${what} took too long`)), 40_000)),
  ]);

await check('writes', async () => {
  const producer = new Kafka.Producer(options);
  await within(producer.init(), 'init');
  for (let n = 0; n < 10; n++) {
    const [sent] = await within(
      producer.send({ topic, partition: 0, message: { key: 'k', value: `v${n}` } }, { codec: n % 2 }),
      'send',
    );
    if (sent.error !== null || sent.offset !== n) throw new Error(JSON.stringify(sent));
  }
  await producer.end();
});
await check('reads', async () => {
  const consumer = new Kafka.SimpleConsumer(options);
  await within(consumer.init(), 'init');
  const values = [];
  await within(
    new Promise((done) => {
      consumer.subscribe(topic, 0, { time: Kafka.EARLIEST_OFFSET }, (messages) => {
        for (const { message } of messages) values.push(message.value.toString());
        if (values.length >= 10) done();
      });
    }),
    'reading',
  );
  if (values.join() !== Array.from({ length: 10 }, (_, n) => `v${n}`).join()) throw new Error(values.join());
  await consumer.end();
});
await check('joins a group and commits', async () => {
  const consumer = new Kafka.GroupConsumer({
    ...options,
    groupId: `g-${topic}`,
    startingOffset: Kafka.EARLIEST_OFFSET,
  });
  let count = 0;
  await within(
    new Promise((done, failed) => {
      const strategy = {
        subscriptions: [topic],
        handler: async (messages, name, partition) => {
          for (const { offset } of messages) {
            count += 1;
            await consumer.commitOffset({ topic: name, partition, offset });
          }
          if (count >= 10) done();
        },
      };
      consumer.init([strategy]).catch(failed);
    }),
    'the group',
  );
  const [fetched] = await within(consumer.fetchOffset([{ topic, partition: 0 }]), 'fetching the offset');
  if (fetched.offset !== 10 && fetched.offset !== 9) throw new Error(JSON.stringify(fetched));
  await consumer.end();
});
process.exit(0);
