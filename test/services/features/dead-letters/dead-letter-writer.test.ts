import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { decodeRecords } from '../../../../protocol/records/batch-records.ts';
import { batchSizeBytes } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../../protocol/records/record-batch-builder.ts';
import { BrokerConfig } from '../../../../src/services/configuration/broker-config.ts';
import { configOperations } from '../../../../src/services/configuration/config-operations.ts';
import { GroupConfigs } from '../../../../src/services/configuration/group-configs.ts';
import type { DeadLetter } from '../../../../src/services/features/dead-letters/dead-letter.ts';
import { DeadLetterWriter } from '../../../../src/services/features/dead-letters/dead-letter-writer.ts';
import { TopicCatalogue } from '../../../../src/services/topics/topic-catalogue.ts';
import { VirtualClock } from '../../../../src/util/clock.ts';
import { memoryEngine } from '../../../handlers/admin-broker.ts';

function start(settings: Record<string, string> = {}) {
  const engine = memoryEngine();
  const config = new BrokerConfig(new Map(Object.entries({ 'num.partitions': '3', ...settings })));
  const groupConfigs = new GroupConfigs(engine.catalogue, config);
  const topics = new TopicCatalogue({ catalogue: engine.catalogue, config, randomBytes });
  const clock = new VirtualClock(1_700_000_000_000);
  const writer = new DeadLetterWriter({ engine, topics, groupConfigs, config, clock });
  const create = (name: string, overrides: Record<string, string> = {}) =>
    topics.create(
      [
        {
          name,
          partitions: 1,
          replicationFactor: -1,
          assignments: [],
          overrides: new Map(Object.entries(overrides)),
        },
      ],
      false,
    );
  const set = (name: string, value: string) =>
    groupConfigs.change('g', [{ name, operation: configOperations.SET, value }], false);
  const read = async (topic: string, partition: number) => {
    const { queue } = topics.get(topic)!.partitions[partition]!;
    const result = await engine.read(queue, { fromOffset: 0, maxBytes: 1_000_000, atLeastOne: true });
    if (result.outcome !== 'read') throw new Error(result.outcome);
    const bytes = Buffer.concat(result.payloads);
    result.release();
    const records = [];
    for (let at = 0; at < bytes.length; at += batchSizeBytes(bytes, at))
      records.push(...decodeRecords(bytes, at));
    return records.map((record) => ({
      key: record.key?.toString() ?? null,
      value: record.value?.toString() ?? null,
      timestamp: record.timestamp,
      headers: record.headers.map((each) => [each.key.toString(), each.value?.toString() ?? null]),
    }));
  };
  return { engine, topics, writer, create, set, read, clock };
}

const letter = (more: Partial<DeadLetter> = {}): DeadLetter => ({
  group: 'g',
  source: { topic: 'orders', partition: 4, offset: 42 },
  deliveryCount: 3,
  reason: 'exhausted',
  message: 'no such customer',
  maxTimes: 2,
  record: {
    key: Buffer.from('k'),
    value: Buffer.from('v'),
    timestamp: 1_600_000_000_000,
    headers: [
      { key: 'mine', value: Buffer.from('1') },
      { key: 'mine', value: null },
      // Of an earlier failure: said anew, not twice.
      { key: 'rmq-reconsume-times', value: Buffer.from('1') },
      { key: '__dlq.errors.topic', value: Buffer.from('old') },
    ],
  },
  ...more,
});

describe('dead letters', () => {
  it('of a group with retries go whole to dlq.<group>, with the headers of KIP-1191 and ours', async () => {
    const { writer, set, read, topics } = start();
    await set('rmq.retry.enable', 'true');
    expect(await writer.write(letter())).toBeUndefined();
    expect(topics.get('dlq.g')?.overrides.get('errors.deadletterqueue.group.enable')).toBe('true');
    // The source's partition modulo the number of partitions.
    expect(await read('dlq.g', 1)).toEqual([
      {
        key: 'k',
        value: 'v',
        timestamp: 1_600_000_000_000,
        headers: [
          ['mine', '1'],
          ['mine', null],
          ['__dlq.errors.topic', 'orders'],
          ['__dlq.errors.partition', '4'],
          ['__dlq.errors.offset', '42'],
          ['__dlq.errors.group', 'g'],
          ['__dlq.errors.delivery.count', '3'],
          ['__dlq.errors.message', 'no such customer'],
          ['rmq-error', 'no such customer'],
          ['rmq-dlq-reason', 'exhausted'],
          ['rmq-dlq-ms', '1700000000000'],
          ['rmq-reconsume-times', '2'],
          ['rmq-max-reconsume-times', '2'],
          ['rmq-retry-topic', 'orders'],
          ['rmq-origin', 'orders/4/42'],
          ['rmq-born-ms', '1600000000000'],
        ],
      },
    ]);
    expect(writer.written.exhausted).toBe(1);
  });

  it('carry headers only where the group says so, as of a share group by default', async () => {
    const { writer, set, read, create } = start();
    await create('dlq.mine', { 'errors.deadletterqueue.group.enable': 'true' });
    await set('errors.deadletterqueue.topic.name', 'dlq.mine');
    expect(await writer.write(letter())).toBeUndefined();
    const [record] = await read('dlq.mine', 0);
    expect(record).toMatchObject({ key: null, value: null, timestamp: 1_700_000_000_000 });
    expect(record!.headers.map(([key]) => key)).not.toContain('mine');
    await set('errors.deadletterqueue.copy.record.enable', 'true');
    expect(await writer.write(letter())).toBeUndefined();
    expect((await read('dlq.mine', 0))[1]).toMatchObject({ key: 'k', value: 'v' });
  });

  it('are dropped where a group has no topic for them, and that is no trouble', async () => {
    const { writer, topics } = start();
    expect(writer.find('g')).toBe('none');
    expect(await writer.write(letter())).toBeUndefined();
    expect(topics.all()).toEqual([]);
  });

  it('make a topic without retries only where the broker lets them', async () => {
    const strict = start();
    await strict.set('errors.deadletterqueue.topic.name', 'dlq.x');
    expect(await strict.writer.write(letter())).toMatch('auto.create.topics.enable is false');
    const free = start({ 'errors.deadletterqueue.auto.create.topics.enable': 'true' });
    await free.set('errors.deadletterqueue.topic.name', 'dlq.x');
    expect(await free.writer.write(letter())).toBeUndefined();
    expect(free.topics.get('dlq.x')?.partitions.length).toBe(3);
  });

  it('take over an empty topic of the name and leave one with records alone', async () => {
    const { writer, set, create, topics, engine } = start();
    await set('rmq.retry.enable', 'true');
    await create('dlq.g');
    const payload = buildRecordBatch([{ timestamp: 1, value: Buffer.from('x') }]);
    const { queue } = topics.get('dlq.g')!.partitions[0]!;
    await engine.append({
      durability: 'sync',
      entries: [{ queue, kind: 'data', count: 1, maxTimestampMs: 1, payload }],
    });
    const trouble = await writer.write(letter());
    expect(trouble).toMatch('Topic dlq.g exists and takes no dead letters');
    await engine.trim(queue, 1);
    expect(await writer.write(letter())).toBeUndefined();
    expect(topics.get('dlq.g')?.settings.takesDeadLetters).toBe(true);
  });

  it('of a dead-letter topic do not go round in it', async () => {
    const { writer, set } = start();
    await set('rmq.retry.enable', 'true');
    await writer.resolve('g');
    const trouble = await writer.write(letter({ source: { topic: 'dlq.g', partition: 0, offset: 1 } }));
    expect(trouble).toMatch('would become a dead letter there again');
  });

  it('can be part of the append group of what gave the record up', async () => {
    const { writer, set, read, engine, topics } = start();
    await set('rmq.retry.enable', 'true');
    const target = await writer.resolve('g');
    if (target === 'none' || 'trouble' in target) throw new Error('no target');
    const message = 'ü'.repeat(4_096);
    const entry = writer.entryOf(letter({ record: undefined, message, reason: 'origin-gone' }), target);
    const condition = { index: 'x', key: Buffer.from('k'), expected: Buffer.from('other') };
    const [refused] = await engine.append({ durability: 'sync', entries: [entry], conditions: [condition] });
    expect(refused?.outcome).toBe('refused');
    const [result] = await engine.append({ durability: 'sync', entries: [entry] });
    expect(result?.outcome).toBe('appended');
    expect(topics.get('dlq.g')?.partitions[1]?.queue).toBe(entry.queue);
    const said = new Map((await read('dlq.g', 1))[0]!.headers as [string, string][]);
    // Cut between characters.
    expect(said.get('rmq-error')).toBe('ü'.repeat(2_048));
    expect(said.get('rmq-dlq-reason')).toBe('origin-gone');
  });
});
