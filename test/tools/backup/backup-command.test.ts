/** `odradek backup` on brokers in this process, with kafkajs as the client that must find everything again. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Broker, type BrokerOptions, createBroker } from '../../../src/index.ts';
import { backupCommand } from '../../../src/tools/backup/backup-command.ts';

let directory: string;
const brokers: Broker[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'odradek-backup-'));
});

afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function start(data: string, options: BrokerOptions = {}): Promise<Broker> {
  const broker = await createBroker({
    data: join(directory, data),
    admin: '127.0.0.1:0',
    config: { 'num.partitions': '2' },
    ...options,
  });
  brokers.push(broker);
  return broker;
}

async function run(...args: string[]): Promise<{ code: number; output: string; errors: string }> {
  let output = '';
  let errors = '';
  const code = await backupCommand(
    args,
    { write: (text: string) => (output += text) },
    { write: (text: string) => (errors += text) },
  );
  return { code, output, errors };
}

const clientOf = (broker: Broker): Kafka =>
  new Kafka({ brokers: [broker.bootstrapServers], clientId: 'test', logLevel: logLevel.NOTHING });

async function send(broker: Broker, values: readonly string[]): Promise<void> {
  const producer = clientOf(broker).producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  await producer.send({ topic: 'orders', messages: values.map((value) => ({ value, partition: 0 })) });
  await producer.disconnect();
}

async function commit(broker: Broker, offset: number): Promise<void> {
  const admin = clientOf(broker).admin();
  await admin.connect();
  await admin.setOffsets({
    groupId: 'workers',
    topic: 'orders',
    partitions: [{ partition: 0, offset: `${offset}` }],
  });
  await admin.disconnect();
}

/** The end of partition 0 and the group's place in it. */
async function placesOf(broker: Broker): Promise<{ end: string; committed: string }> {
  const admin = clientOf(broker).admin();
  await admin.connect();
  const ends = await admin.fetchTopicOffsets('orders');
  const [committed] = await admin.fetchOffsets({ groupId: 'workers', topics: ['orders'] });
  await admin.disconnect();
  return {
    end: ends.find(({ partition }) => partition === 0)!.high,
    committed: committed!.partitions.find(({ partition }) => partition === 0)!.offset,
  };
}

/** Status of a POST to the backup's route. */
function post(broker: Broker, headers: Record<string, string>, body: string): Promise<number> {
  return new Promise((done, failed) => {
    const asking = request(
      {
        host: '127.0.0.1',
        port: broker.adminPort,
        path: '/api/v1/backup',
        method: 'POST',
        headers: { 'content-length': `${body.length}`, ...headers },
      },
      (response) => {
        response.resume();
        response.on('end', () => done(response.statusCode ?? 0));
      },
    );
    asking.on('error', failed);
    asking.end(body);
  });
}

describe('odradek backup', () => {
  it('of a running broker: what was there before is in it, what came later is not, and both go on', {
    timeout: 60_000,
  }, async () => {
    const broker = await start('data');
    await send(broker, ['a', 'b', 'c']);
    await commit(broker, 2);
    const dest = join(directory, 'backup');
    const made = await run(dest, '--admin', `127.0.0.1:${broker.adminPort}`, '--verify');
    expect(made.errors).toBe('');
    expect(made.code).toBe(0);
    expect(made.output).toMatch(/^backed up \d+ files, .*\nverified \d+ files, .* the backup is whole\n$/);
    await send(broker, ['later']);
    await commit(broker, 4);

    const restored = await start('backup');
    expect(restored.clusterId).toBe(broker.clusterId);
    expect(await placesOf(restored)).toEqual({ end: '3', committed: '2' });
    await send(restored, ['other', 'way']);
    expect(await placesOf(restored)).toEqual({ end: '5', committed: '2' });
    expect(await placesOf(broker)).toEqual({ end: '4', committed: '4' });
    const verified = await run(dest, '--verify');
    expect(verified.code).toBe(1);
    expect(verified.errors).toMatch('was started on');
  });

  it('of a stopped one, linked or copied, and not of one that runs', { timeout: 60_000 }, async () => {
    const broker = await start('data');
    await send(broker, ['a', 'b']);
    await commit(broker, 1);
    const data = join(directory, 'data');
    const busy = await run(join(directory, 'no'), '--data', data);
    expect(busy).toMatchObject({ code: 1, output: '' });
    expect(busy.errors).toMatch('give --admin HOST:PORT');
    await brokers.pop()!.stop();
    for (const flags of [[], ['--copy']]) {
      const dest = join(directory, `backup${flags.length}`);
      const made = await run(dest, '--data', data, '--verify', ...flags);
      expect(made.errors).toBe('');
      const links = readdirSync(dest, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .filter((entry) => statSync(join(entry.parentPath, entry.name)).nlink > 1);
      expect(links.length > 0).toBe(flags.length === 0);
      const restored = await start(`backup${flags.length}`);
      expect(await placesOf(restored)).toEqual({ end: '2', committed: '1' });
    }
  });

  it('says what is wrong with what was asked', async () => {
    const broker = await start('data');
    const memory = await createBroker({ memory: true, admin: '127.0.0.1:0' });
    brokers.push(memory);
    const admin = `127.0.0.1:${broker.adminPort}`;
    for (const [args, code, message] of [
      [[], 2, 'one DEST'],
      [['a', 'b', '--admin', admin], 2, 'one DEST'],
      [['a'], 2, 'is needed'],
      [['a', '--admin', admin, '--data', 'b'], 2, 'not both'],
      [['a', '--wrong'], 2, 'Unknown option'],
      [['a', '--verify', '--copy'], 2, 'says nothing'],
      [[join(directory, 'x'), '--admin', '127.0.0.1:1'], 1, 'nothing answers'],
      [[join(directory, 'x'), '--admin', `127.0.0.1:${memory.adminPort}`], 1, 'in memory'],
      [[join(directory, 'data', 'in'), '--admin', admin], 1, 'in one another'],
      [[join(directory, 'x'), '--data', join(directory, 'y')], 1, 'no data directory'],
      [[join(directory, 'x'), '--verify'], 1, 'no backup'],
    ] as const) {
      const said = await run(...args);
      expect(said.code, args.join(' ')).toBe(code);
      expect(said.errors).toMatch(message);
    }
    expect((await run('--help')).output).toMatch('Usage: odradek backup');
    // By another name it is the same place.
    symlinkSync(join(directory, 'data'), join(directory, 'link'));
    expect((await run(join(directory, 'link', 'in'), '--admin', admin)).errors).toMatch('in one another');
    writeFileSync(join(directory, 'file'), '');
    expect((await run(join(directory, 'file'), '--admin', admin)).errors).toMatch('not a directory');
    expect(existsSync(join(directory, 'x'))).toBe(false);
  });

  it('takes no orders from web pages', async () => {
    const broker = await start('data');
    const json = { 'content-type': 'application/json' };
    const body = JSON.stringify({ destination: join(directory, 'backup') });
    expect(await post(broker, { ...json, origin: 'http://127.0.0.1:80' }, body)).toBe(403);
    expect(await post(broker, { ...json, 'sec-fetch-site': 'cross-site' }, body)).toBe(403);
    expect(await post(broker, { ...json, host: 'evil.example' }, body)).toBe(403);
    expect(await post(broker, { 'content-type': 'text/plain' }, body)).toBe(415);
    expect(await post(broker, {}, body)).toBe(415);
    expect(await post(broker, json, '{')).toBe(400);
    expect(await post(broker, json, '{"destination":"relative"}')).toBe(400);
    expect(await post(broker, json, `{"destination":"/x","copy":"yes"}`)).toBe(400);
    expect(await post(broker, json, JSON.stringify({ destination: `/${'x'.repeat(20_000)}` }))).toBe(413);
    expect(existsSync(join(directory, 'backup'))).toBe(false);
    expect(await post(broker, json, body)).toBe(200);
  });
});
