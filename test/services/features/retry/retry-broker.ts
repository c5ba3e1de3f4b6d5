/** The append path with retries on any engine and a virtual clock: what a producer, a consumer of a group and an operator would do. */
import { randomBytes } from 'node:crypto';
import { decodeRecords } from '../../../../protocol/records/batch-records.ts';
import type { CodecName } from '../../../../protocol/records/compression.ts';
import { batchSizeBytes } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch, type RecordInput } from '../../../../protocol/records/record-batch-builder.ts';
import type { PartitionAppendResult } from '../../../../src/services/append/append-result.ts';
import { AppendService } from '../../../../src/services/append/append-service.ts';
import { BrokerConfig } from '../../../../src/services/configuration/broker-config.ts';
import { configOperations } from '../../../../src/services/configuration/config-operations.ts';
import { GroupConfigs } from '../../../../src/services/configuration/group-configs.ts';
import { Features, type HiddenQueues } from '../../../../src/services/features/features.ts';
import { TopicCatalogue } from '../../../../src/services/topics/topic-catalogue.ts';
import type { StorageEngine } from '../../../../src/storage/engine.ts';
import type { VirtualClock } from '../../../../src/util/clock.ts';
import { type Log, silentLog } from '../../../../src/util/log.ts';

export interface SeenRecord {
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
}

export interface TestRecord {
  readonly key?: string;
  readonly value?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timestamp?: number;
}

export interface RetryBrokerOptions {
  readonly engine: StorageEngine;
  readonly clock: VirtualClock;
  readonly settings?: Readonly<Record<string, string>>;
  readonly log?: Log;
}

export interface ProduceOptions {
  readonly codec?: CodecName;
  readonly producer?: readonly [id: number, sequence: number];
  readonly partition?: number;
}

export class RetryBroker {
  readonly clock: VirtualClock;
  readonly engine: StorageEngine;
  readonly topics: TopicCatalogue;
  readonly groupConfigs: GroupConfigs;
  readonly features: Features;
  readonly appends: AppendService;

  /** With the topic orders of two partitions, where it is not there yet. */
  static async start(options: RetryBrokerOptions): Promise<RetryBroker> {
    const broker = new RetryBroker(options, await Features.ensureQueues(options.engine));
    if (broker.topics.get('orders') === undefined) await broker.create('orders', 2);
    broker.features.timers.start();
    return broker;
  }

  private constructor(options: RetryBrokerOptions, queues: HiddenQueues) {
    const { engine, clock } = options;
    this.engine = engine;
    this.clock = clock;
    const log = options.log ?? silentLog;
    const config = new BrokerConfig(new Map(Object.entries(options.settings ?? {})));
    this.groupConfigs = new GroupConfigs(engine.catalogue, config);
    this.topics = new TopicCatalogue({
      catalogue: engine.catalogue,
      config,
      randomBytes,
      settingsByName: (name, get) => this.features.settingsByName(name, get),
    });
    const groups = { describe: async () => ({ members: [], protocolType: '' }) as never };
    const common = { engine, topics: this.topics, groupConfigs: this.groupConfigs, config, clock, log };
    this.features = new Features({ ...common, queues, groups });
    this.appends = new AppendService({
      engine,
      topics: this.topics,
      clock,
      settings: { flushPolicy: 'acks' },
      steps: this.features.steps,
    });
  }

  stop(): Promise<void> {
    return this.features.close();
  }

  async create(name: string, partitions: number, overrides: Record<string, string> = {}): Promise<void> {
    const request = { name, partitions, replicationFactor: -1, assignments: [] };
    const [outcome] = await this.topics.create(
      [{ ...request, overrides: new Map(Object.entries(overrides)) }],
      false,
    );
    if (outcome !== undefined && 'error' in outcome) throw new Error(outcome.error.message ?? 'refused');
  }

  /** Of a group; resolves with why not. */
  async set(group: string, values: Readonly<Record<string, string>>): Promise<string | undefined> {
    const operations = Object.entries(values).map(([name, value]) => ({
      name,
      operation: configOperations.SET,
      value,
    }));
    return (await this.groupConfigs.change(group, operations, false))?.message ?? undefined;
  }

  /** As a Produce request with one partition. */
  async produce(
    topic: string,
    records: readonly TestRecord[],
    options: ProduceOptions = {},
  ): Promise<PartitionAppendResult> {
    const batch = buildRecordBatch(records.map(recordOf), {
      codec: options.codec ?? 'none',
      ...(options.producer === undefined
        ? {}
        : { producerId: options.producer[0], producerEpoch: 0, baseSequence: options.producer[1] }),
    });
    const request = this.appends.begin({ version: 9, acks: -1, transactionalId: null });
    request.add(this.topics.get(topic)!, options.partition ?? 0, batch);
    const [result] = await request.run();
    return result!;
  }

  /** A consumer of the group says that the record failed. */
  nack(
    group: string,
    place: string,
    headers: Readonly<Record<string, string>> = {},
    options: ProduceOptions = {},
  ): Promise<PartitionAppendResult> {
    return this.produce(`retry.${group}`, [pointer(place, headers)], options);
  }

  /** Everything visible in the topic. */
  async read(topic: string): Promise<SeenRecord[]> {
    const seen: SeenRecord[] = [];
    for (const { queue, index } of this.topics.get(topic)?.partitions ?? []) {
      const bounds = (await this.engine.bounds(queue))!;
      for (let from = bounds.startOffset; from < bounds.visibleEndOffset; ) {
        const result = await this.engine.read(queue, {
          fromOffset: from,
          maxBytes: 1_000_000,
          atLeastOne: true,
        });
        if (result.outcome !== 'read') throw new Error(result.outcome);
        const bytes = Buffer.concat(result.payloads);
        for (let at = 0; at < bytes.length; at += batchSizeBytes(bytes, at)) {
          for (const record of decodeRecords(bytes, at)) {
            const headers = record.headers.map((each) => [each.key.toString(), each.value?.toString() ?? '']);
            if (new Set(headers.map(([name]) => name)).size < headers.length)
              throw new Error('a header twice');
            seen.push({
              key: record.key?.toString() ?? null,
              value: record.value?.toString() ?? null,
              headers: Object.fromEntries(headers),
              partition: index,
              offset: Number(record.offset),
              timestamp: Number(record.timestamp),
            });
          }
        }
        from = result.nextOffset;
        result.release();
      }
    }
    return seen;
  }

  /** Lets the time pass, and what is due happen. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await this.features.timers.whenIdle();
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** What a client that says nothing else produces to name a record that failed. */
export function pointer(place: string, headers: Readonly<Record<string, string>> = {}): TestRecord {
  return { headers: { 'rmq-origin': place, ...headers } };
}

function recordOf({ key, value, headers, timestamp }: TestRecord): RecordInput {
  return {
    timestamp: timestamp ?? 1_000,
    key: key === undefined ? null : Buffer.from(key),
    value: value === undefined ? null : Buffer.from(value),
    headers: Object.entries(headers ?? {}).map(([name, text]) => ({ key: name, value: Buffer.from(text) })),
  };
}
