/** `odradek dlq` against a broker in this process, with kafkajs as the client whose messages failed. */
import { Kafka, logLevel } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, createBroker } from '../../../src/index.ts';
import { deadLetter } from '../../../src/kafkajs/index.ts';
import { dlqCommand } from '../../../src/tools/dlq/dlq-command.ts';

describe('odradek dlq', () => {
  let broker: Broker;

  async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    let out = '';
    let err = '';
    const add = (text: string) => {
      out += text;
    };
    const addError = (text: string) => {
      err += text;
    };
    const code = await dlqCommand(
      [...args, '--admin', `127.0.0.1:${broker.adminPort}`],
      { write: add },
      { write: addError },
    );
    return { code, out, err };
  }

  beforeAll(async () => {
    broker = await createBroker({
      memory: true,
      admin: '127.0.0.1:0',
      config: { 'rmq.retry.enable': 'true' },
    });
    const kafka = new Kafka({ brokers: [broker.bootstrapServers], logLevel: logLevel.NOTHING });
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({
      topic: 'orders',
      messages: [
        { key: 'a', value: '1' },
        { key: 'b', value: '2' },
      ],
    });
    for (const offset of ['0', '1']) {
      const error = new Error(`bad ${offset}\u001b[31m`);
      await deadLetter(
        producer,
        { topic: 'orders', partition: 0, message: { offset, key: null } },
        { groupId: 'g', error },
      );
    }
    await producer.disconnect();
  });
  afterAll(() => broker.stop());

  it('lists letters, a line each, and nothing that a terminal would act on', async () => {
    const { code, out } = await run('list', 'g');
    expect(code).toBe(0);
    expect(out).toMatch(/^0\/0 \S+Z requested orders\/0\/0 after 1 key a Error: bad 0\?\[31m\n0\/1 /);
    expect((await run('list', 'g', '--error', 'bad 1', '--limit', '1')).out).toMatch(/^0\/1 .*\n$/);
    expect((await run('list', 'g', '--reason', 'poison')).out).toBe('Nothing in dlq.g passes.\n');
    expect(JSON.parse((await run('list', 'g', '--json')).out)).toMatchObject({
      letters: [{ value: '1' }, { value: '2' }],
    });
  });

  it('says what a redrive would do, does it, and tells how far it came', async () => {
    const dry = await run('redrive', 'g', '--to', 'origin', '--error', 'bad 1', '--dry-run');
    expect(dry.out).toBe('1 would be sent on (orders 1), left alone: filtered 1; nothing was done.\n');
    const begun = await run('redrive', 'g', '--to', 'origin', '--only', '0/1', '--rate', '50');
    expect(begun.out).toMatch(/^[0-9a-f-]{36} running: g, dlq\.g to origin, 0 sent on, 1 left\n$/);
    const id = begun.out.slice(0, 36);
    for (let turn = 0; turn < 200; turn++) {
      if ((await run('job', id)).out.includes(' done: ')) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect((await run('jobs')).out).toBe(`${id} done: g, dlq.g to origin, 1 sent on, 0 left\n`);
    expect(await run('resume', id)).toMatchObject({ code: 1, err: expect.stringContaining('not done') });
  });

  it('is told what is wrong with what it was asked', async () => {
    expect(await run('list')).toMatchObject({ code: 2 });
    expect(await run('eat', 'g')).toMatchObject({ code: 2, err: expect.stringContaining('eat is none of') });
    expect(await run('redrive', 'g')).toMatchObject({ code: 2, err: expect.stringContaining('--to') });
    expect(await run('redrive', 'g', '--to', 'moon')).toMatchObject({
      code: 1,
      err: expect.stringContaining('origin, retry or topic:NAME'),
    });
    expect(await run('redrive', 'g', '--to', 'topic:none')).toMatchObject({
      code: 1,
      err: expect.stringContaining('no topic none'),
    });
    expect(await run('list', 'g', '--limit', '0')).toMatchObject({ code: 1 });
    expect(await run('list', 'g', '--from', 'soon')).toMatchObject({
      code: 1,
      err: expect.stringContaining('a time such as'),
    });
    expect(await run('list', 'g', '--what')).toMatchObject({ code: 2 });
  });
});
