/** The package as people's own tests use it. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Broker, type BrokerOptions, createBroker, VirtualClock } from '../../src/index.ts';

const brokers: Broker[] = [];
async function create(options: BrokerOptions = {}): Promise<Broker> {
  const broker = await createBroker({ memory: true, ...options });
  brokers.push(broker);
  return broker;
}

afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.stop();
});

describe('createBroker', () => {
  it('listens on a free port of loopback, and several stand side by side', async () => {
    const [first, second] = [await create(), await create({ listen: '127.0.0.1:0' })];
    expect(first.host).toBe('127.0.0.1');
    expect(first.port).toBeGreaterThan(0);
    expect(first.port).not.toBe(second.port);
    expect(first.bootstrapServers).toBe(`127.0.0.1:${first.port}`);
    expect(first.clusterId).not.toBe(second.clusterId);
    expect(first.clusterId).toMatch(/^[A-Za-z0-9_-]{22}$/);
  });

  it('takes settings by their names, several listeners, and the HTTP side', async () => {
    const broker = await create({
      listen: ['127.0.0.1:0', '127.0.0.1:0'],
      admin: '127.0.0.1:0',
      config: { 'node.id': '12' },
    });
    expect(broker.nodeId).toBe(12);
    expect(broker.bootstrapServers.split(',').length).toBe(2);
    const status = (await (await fetch(`http://127.0.0.1:${broker.adminPort}/api/v1/status`)).json()) as {
      nodeId: number;
      listeners: { name: string }[];
      storage: { kind: string };
    };
    expect(status.nodeId).toBe(12);
    expect(status.listeners.map((listener) => listener.name)).toEqual(['PLAINTEXT', 'PLAINTEXT_2']);
    expect(status.storage.kind).toBe('memory');
    const metrics = await (await fetch(`http://127.0.0.1:${broker.adminPort}/metrics`)).text();
    expect(metrics).toContain(`kafka_broker_info{id="12",address="127.0.0.1:${broker.port}"} 1\n`);
    // Every line is a comment or a sample, and no family is begun twice.
    const lines = metrics.trimEnd().split('\n');
    expect(lines.filter((line) => !/^(# (HELP|TYPE) \S+ .+|[a-z_]+(\{.*\})? \S+)$/.test(line))).toEqual([]);
    const families = lines.filter((line) => line.startsWith('# TYPE')).map((line) => line.split(' ')[2]);
    expect(new Set(families).size).toBe(families.length);
  });

  it('says nothing unless asked, then JSON lines', async () => {
    const lines: string[] = [];
    await create({ config: { 'no.such.setting': '1' }, logTo: (line) => lines.push(line) });
    expect(lines).toEqual([]);
    await create({ config: { 'no.such.setting': '1' }, logTo: (line) => lines.push(line), logLevel: 'warn' });
    expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
      'unknown setting no.such.setting: it has no effect (from config)',
    ]);
  });

  it('rejects what cannot be, with nothing left open', async () => {
    const first = await create();
    await expect(createBroker({ memory: true, listen: `127.0.0.1:${first.port}` })).rejects.toThrow(
      'port is in use',
    );
    await expect(createBroker({ memory: true, config: { 'num.partitions': '-3' } })).rejects.toThrow(
      'num.partitions',
    );
    await expect(createBroker({ memory: true, listen: 'nonsense' })).rejects.toThrow('HOST:PORT');
  });

  it('stops once, however often it is asked', async () => {
    const broker = await create();
    await Promise.all([broker.stop(), broker.stop()]);
    await broker.stop();
    await expect(createBroker({ memory: true, listen: `127.0.0.1:${broker.port}` })).resolves.toSatisfy(
      (again: Broker) => {
        brokers.push(again);
        return again.port === broker.port;
      },
    );
  });

  it('runs on a virtual clock', async () => {
    const clock = new VirtualClock();
    await create({ clock });
    await clock.advance(24 * 3_600_000);
  });
});
