/** What share groups have beyond Kafka's: back-off of what is given back, dead letters, order. Over TCP. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { fitRequest } from '../../compat/lib/fit-request.ts';
import { RawClient } from '../../compat/lib/raw-client.ts';
import { apis } from '../../protocol/generated/apis.ts';
import { decodeRecords } from '../../protocol/records/batch-records.ts';
import { batchSizeBytes } from '../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { type Broker, createBroker } from '../../src/index.ts';

type Answer = { readonly [field: string]: unknown };

interface Acquired {
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly deliveryCount: number;
}

const brokers: Broker[] = [];
const clients: RawClient[] = [];
const directories: string[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const broker of brokers.splice(0)) await broker.stop();
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true });
});

async function start(data?: string): Promise<Broker> {
  const broker = await createBroker(data === undefined ? { memory: true } : { data });
  brokers.push(broker);
  return broker;
}

class Client {
  private readonly raw: RawClient;
  private epoch = 0;
  private readonly group: string;
  private readonly topicId: string;

  private constructor(raw: RawClient, group: string, topicId: string) {
    this.raw = raw;
    this.group = group;
    this.topicId = topicId;
  }

  static async connect(broker: Broker, group = '', topicId = ''): Promise<Client> {
    const raw = await RawClient.connect(broker.bootstrapServers);
    clients.push(raw);
    return new Client(raw, group, topicId);
  }

  async ask(name: string, version: number, body: unknown): Promise<Answer> {
    const api = apis.find((one) => one.name === name)!;
    return (await this.raw.request(api, version, fitRequest(api, version, body))) as Answer;
  }

  async topic(name: string, configs: Record<string, string> = {}): Promise<string> {
    const answer = await this.ask('CreateTopics', 7, {
      topics: [
        {
          name,
          numPartitions: 1,
          replicationFactor: 1,
          assignments: [],
          configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
        },
      ],
      timeoutMs: 5_000,
    });
    return (answer.topics as { topicId: string; errorCode: number }[])[0]!.topicId;
  }

  async produce(topic: string, ...values: string[]): Promise<void> {
    const records = buildRecordBatch(
      values.map((value) => ({
        key: Buffer.from(`k-${value}`),
        value: Buffer.from(value),
        timestamp: Date.now(),
      })),
    );
    const answer = await this.ask('Produce', 9, {
      acks: -1,
      timeoutMs: 5_000,
      topicData: [{ name: topic, partitionData: [{ index: 0, records }] }],
    });
    expect(answer).toMatchObject({ responses: [{ partitionResponses: [{ errorCode: 0 }] }] });
  }

  async configure(group: string, configs: Record<string, string>): Promise<void> {
    const answer = await this.ask('IncrementalAlterConfigs', 1, {
      resources: [
        {
          resourceType: 32,
          resourceName: group,
          configs: Object.entries(configs).map(([name, value]) => ({ name, configOperation: 0, value })),
        },
      ],
      validateOnly: false,
    });
    expect(answer).toMatchObject({ responses: [{ errorCode: 0 }] });
  }

  async fetch(maxWaitMs = 0): Promise<{ acquired: Acquired[]; values: string[] }> {
    const isFirst = this.epoch === 0;
    const answer = await this.ask('ShareFetch', 2, {
      groupId: this.group,
      memberId: 'm1',
      shareSessionEpoch: this.epoch++,
      maxWaitMs,
      minBytes: 1,
      maxBytes: 1_000_000,
      maxRecords: 100,
      batchSize: 100,
      shareAcquireMode: 0,
      isRenewAck: false,
      topics: isFirst
        ? [{ topicId: this.topicId, partitions: [{ partitionIndex: 0, acknowledgementBatches: [] }] }]
        : [],
      forgottenTopicsData: [],
    });
    expect(answer.errorCode).toBe(0);
    const [topic] = answer.responses as { partitions: { acquiredRecords: Acquired[]; records: Buffer }[] }[];
    const [partition] = topic?.partitions ?? [];
    if (partition === undefined) return { acquired: [], values: [] };
    const { acquiredRecords, records } = partition;
    return { acquired: acquiredRecords, values: valuesIn(records, acquiredRecords) };
  }

  /** The first fetch that gives something. */
  async next(withinMs = 5_000): Promise<{ acquired: Acquired[]; values: string[] }> {
    const untilMs = Date.now() + withinMs;
    for (;;) {
      const found = await this.fetch(500);
      if (found.acquired.length > 0 || Date.now() > untilMs) return found;
    }
  }

  async acknowledge(firstOffset: number, lastOffset: number, ...acknowledgeTypes: number[]): Promise<number> {
    const answer = await this.ask('ShareAcknowledge', 2, {
      groupId: this.group,
      memberId: 'm1',
      shareSessionEpoch: this.epoch++,
      isRenewAck: false,
      topics: [
        {
          topicId: this.topicId,
          partitions: [
            { partitionIndex: 0, acknowledgementBatches: [{ firstOffset, lastOffset, acknowledgeTypes }] },
          ],
        },
      ],
    });
    expect(answer.errorCode).toBe(0);
    const [topic] = answer.responses as { partitions: { errorCode: number }[] }[];
    return topic!.partitions[0]!.errorCode;
  }

  async startOffset(): Promise<number> {
    // The group need not have members for it to have state; the offsets are asked of one that has.
    await this.ask('ShareGroupHeartbeat', 1, {
      groupId: this.group,
      memberId: 'm1',
      memberEpoch: 0,
      subscribedTopicNames: ['t'],
    });
    const answer = await this.ask('DescribeShareGroupOffsets', 1, {
      groups: [{ groupId: this.group, topics: null }],
    });
    const [group] = answer.groups as { topics: { partitions: { startOffset: number }[] }[] }[];
    return group!.topics[0]!.partitions[0]!.startOffset;
  }

  /** Headers and values of the topic's records. */
  async letters(
    topic: string,
    count: number,
  ): Promise<{ value: string | null; headers: Record<string, string> }[]> {
    const metadata = await this.ask('Metadata', 12, {
      topics: [{ name: topic }],
      allowAutoTopicCreation: false,
    });
    const [{ topicId }] = metadata.topics as [{ topicId: string }];
    for (let attempt = 0; attempt < 50; attempt++) {
      const answer = await this.ask('Fetch', 13, {
        maxWaitMs: 200,
        minBytes: 1,
        maxBytes: 1_000_000,
        isolationLevel: 0,
        sessionId: 0,
        sessionEpoch: -1,
        topics: [
          {
            topicId,
            partitions: [
              {
                partition: 0,
                currentLeaderEpoch: -1,
                fetchOffset: 0,
                lastFetchedEpoch: -1,
                logStartOffset: -1,
                partitionMaxBytes: 1_000_000,
              },
            ],
          },
        ],
        forgottenTopicsData: [],
        rackId: '',
      });
      const [read] = answer.responses as { partitions: { records: Buffer | null }[] }[];
      const found = recordsIn(read?.partitions[0]?.records ?? Buffer.alloc(0));
      if (found.length >= count) {
        return found.map(({ value, headers }) => ({
          value: value?.toString() ?? null,
          headers: Object.fromEntries(headers.map((header) => [String(header.key), String(header.value)])),
        }));
      }
    }
    return [];
  }
}

function recordsIn(records: Buffer) {
  const found = [];
  for (let at = 0; at < records.length; at += batchSizeBytes(records, at))
    found.push(...decodeRecords(records, at));
  return found;
}

function valuesIn(records: Buffer, acquired: readonly Acquired[]): string[] {
  return recordsIn(records)
    .filter(({ offset }) =>
      acquired.some((one) => one.firstOffset <= Number(offset) && Number(offset) <= one.lastOffset),
    )
    .map(({ value }) => String(value));
}

const accept = 1;
const release = 2;
const reject = 3;
const earliest = { 'share.auto.offset.reset': 'earliest' };

async function setUp(broker: Broker, configs: Record<string, string>, ...values: string[]): Promise<Client> {
  const admin = await Client.connect(broker);
  const topicId = await admin.topic('t');
  await admin.configure('g', { ...earliest, ...configs });
  await admin.produce('t', ...values);
  return Client.connect(broker, 'g', topicId);
}

describe('back-off of share groups', () => {
  it('hides what is given back for its delay and lets the rest go on', async () => {
    const broker = await start();
    const client = await setUp(
      broker,
      { 'rmq.retry.enable': 'true', 'rmq.retry.delays': '2s,50ms' },
      'a',
      'b',
      'c',
    );
    expect(await client.next()).toMatchObject({ values: ['a', 'b', 'c'] });
    const releasedMs = Date.now();
    expect(await client.acknowledge(0, 2, release, accept, accept)).toBe(0);
    expect(await client.fetch()).toEqual({ acquired: [], values: [] });
    expect(await client.startOffset()).toBe(3);
    const again = await client.next(20_000);
    expect(Date.now() - releasedMs).toBeGreaterThanOrEqual(2_000);
    expect(again).toEqual({ acquired: [{ firstOffset: 0, lastOffset: 0, deliveryCount: 2 }], values: ['a'] });
    expect(await client.acknowledge(0, 0, release)).toBe(0);
    expect(await client.next()).toMatchObject({ acquired: [{ firstOffset: 0, deliveryCount: 3 }] });
    expect(await client.acknowledge(0, 0, accept)).toBe(0);
    expect(await client.fetch(300)).toEqual({ acquired: [], values: [] });
  });

  it('takes an acknowledgement that spans parked records and records in the window', async () => {
    const broker = await start();
    const client = await setUp(
      broker,
      { 'rmq.retry.enable': 'true', 'rmq.retry.delays': '50ms' },
      'a',
      'b',
      'c',
    );
    await client.next();
    await client.acknowledge(0, 0, release);
    expect(await client.next()).toMatchObject({ acquired: [{ firstOffset: 0, deliveryCount: 2 }] });
    // 0 is parked and held, 1 and 2 are held in the window.
    expect(await client.acknowledge(0, 2, accept)).toBe(0);
    expect(await client.startOffset()).toBe(3);
    expect(await client.acknowledge(0, 0, accept)).not.toBe(0);
    expect(await client.fetch(200)).toEqual({ acquired: [], values: [] });
  });

  it('remembers parked records over a restart', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'share-'));
    directories.push(directory);
    const first = await start(directory);
    const client = await setUp(first, { 'rmq.retry.enable': 'true', 'rmq.retry.delays': '300ms' }, 'a', 'b');
    await client.next();
    await client.acknowledge(0, 1, release, accept);
    await brokers.pop()!.stop();
    const second = await start(directory);
    const admin = await Client.connect(second);
    const metadata = await admin.ask('Metadata', 12, {
      topics: [{ name: 't' }],
      allowAutoTopicCreation: false,
    });
    const after = await Client.connect(second, 'g', (metadata.topics as { topicId: string }[])[0]!.topicId);
    expect(await after.next()).toEqual({
      acquired: [{ firstOffset: 0, lastOffset: 0, deliveryCount: 2 }],
      values: ['a'],
    });
  });
});

describe('dead letters of share groups', () => {
  it('gets what failed for the last time', async () => {
    const broker = await start();
    const configs = { 'rmq.retry.enable': 'true', 'rmq.retry.delays': '20ms', 'rmq.retry.max.times': '1' };
    const client = await setUp(broker, configs, 'bad');
    await client.next();
    await client.acknowledge(0, 0, release);
    expect(await client.next()).toMatchObject({ acquired: [{ deliveryCount: 2 }] });
    await client.acknowledge(0, 0, release);
    expect(await client.letters('dlq.g', 1)).toMatchObject([
      {
        value: 'bad',
        headers: {
          '__dlq.errors.topic': 't',
          '__dlq.errors.partition': '0',
          '__dlq.errors.offset': '0',
          '__dlq.errors.group': 'g',
          '__dlq.errors.delivery.count': '2',
          'rmq-dlq-reason': 'exhausted',
        },
      },
    ]);
    expect(await client.fetch(200)).toEqual({ acquired: [], values: [] });
  });

  it('gets what is rejected, also as KIP-1191 alone has it', async () => {
    const broker = await start();
    const client = await setUp(broker, {}, 'a', 'b', 'c');
    await client.topic('dlq.mine', { 'errors.deadletterqueue.group.enable': 'true' });
    await client.configure('g', { 'errors.deadletterqueue.topic.name': 'dlq.mine' });
    await client.next();
    expect(await client.acknowledge(0, 2, accept, reject, accept)).toBe(0);
    expect(await client.letters('dlq.mine', 1)).toMatchObject([
      { value: null, headers: { '__dlq.errors.offset': '1', 'rmq-dlq-reason': 'rejected' } },
    ]);
    expect(await client.startOffset()).toBe(3);
  });
});

describe('share groups in order', () => {
  it('hand out nothing more before all is acknowledged, and rest after a failure', async () => {
    const broker = await start();
    const client = await setUp(broker, { 'rmq.consume.orderly': 'true', 'rmq.suspend.ms': '400' }, 'a', 'b');
    expect(await client.next()).toMatchObject({ values: ['a', 'b'] });
    await client.produce('t', 'c');
    expect(await client.fetch(100)).toEqual({ acquired: [], values: [] });
    await client.acknowledge(0, 0, accept);
    expect(await client.fetch(100)).toEqual({ acquired: [], values: [] });
    const releasedMs = Date.now();
    await client.acknowledge(1, 1, release);
    const again = await client.next();
    expect(Date.now() - releasedMs).toBeGreaterThanOrEqual(400);
    expect(again.values).toEqual(['b', 'c']);
    expect(again.acquired[0]).toMatchObject({ firstOffset: 1, deliveryCount: 2 });
  });
});
