/** The append path with retries on any engine and a virtual clock: what a producer, a consumer of a group and an operator would do. */
import { randomBytes } from 'node:crypto';
import { decodeRecords } from '../../../../protocol/records/batch-records.ts';
import type { CodecName } from '../../../../protocol/records/compression.ts';
import { batchIsControl, batchSizeBytes } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch, type RecordInput } from '../../../../protocol/records/record-batch-builder.ts';
import type { PartitionAppendResult } from '../../../../src/services/append/append-result.ts';
import { AppendService } from '../../../../src/services/append/append-service.ts';
import { BrokerConfig } from '../../../../src/services/configuration/broker-config.ts';
import { configOperations } from '../../../../src/services/configuration/config-operations.ts';
import { GroupConfigs } from '../../../../src/services/configuration/group-configs.ts';
import { Features, type HiddenQueues } from '../../../../src/services/features/features.ts';
import { GroupCoordinator } from '../../../../src/services/groups/group-coordinator.ts';
import { groupSettingsFrom } from '../../../../src/services/groups/group-settings.ts';
import { ProducerIds } from '../../../../src/services/producers/producer-ids.ts';
import { TopicCatalogue } from '../../../../src/services/topics/topic-catalogue.ts';
import { HeldRecords } from '../../../../src/services/transactions/held-records.ts';
import { OpenTransactions } from '../../../../src/services/transactions/open-transactions.ts';
import { TransactionCoordinator } from '../../../../src/services/transactions/transaction-coordinator.ts';
import { transactionSettingsFrom } from '../../../../src/services/transactions/transaction-settings.ts';
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

const fewPartitions = { 'transaction.state.log.num.partitions': '2', 'offsets.topic.num.partitions': '2' };

export interface ProduceOptions {
  readonly codec?: CodecName;
  readonly producer?: readonly [id: number, sequence: number];
  readonly partition?: number;
  readonly transaction?: { readonly id: string; readonly epoch: number };
}

export class RetryBroker {
  readonly clock: VirtualClock;
  readonly engine: StorageEngine;
  readonly topics: TopicCatalogue;
  readonly groupConfigs: GroupConfigs;
  readonly features: Features;
  readonly held: HeldRecords;
  readonly groups: GroupCoordinator;
  readonly open: OpenTransactions;
  readonly transactions: TransactionCoordinator;
  readonly appends: AppendService;

  /** With the topic orders of two partitions, where it is not there yet. */
  static async start(options: RetryBrokerOptions): Promise<RetryBroker> {
    const broker = new RetryBroker(options, await Features.ensureQueues(options.engine));
    if (broker.topics.get('orders') === undefined) await broker.create('orders', 2);
    await broker.transactions.start();
    broker.features.timers.start();
    await broker.features.redrive.start();
    return broker;
  }

  private constructor(options: RetryBrokerOptions, queues: HiddenQueues) {
    const { engine, clock } = options;
    this.engine = engine;
    this.clock = clock;
    const log = options.log ?? silentLog;
    const config = new BrokerConfig(new Map(Object.entries({ ...fewPartitions, ...options.settings })));
    this.groupConfigs = new GroupConfigs(engine.catalogue, config);
    this.topics = new TopicCatalogue({
      catalogue: engine.catalogue,
      config,
      randomBytes,
      settingsByName: (name, get) => this.features.settingsByName(name, get),
    });
    const settings = transactionSettingsFrom(config);
    this.groups = new GroupCoordinator({
      engine,
      directory: this.topics,
      clock,
      log,
      settings: groupSettingsFrom(config, this.groupConfigs),
    });
    this.held = new HeldRecords({ engine });
    const common = { engine, topics: this.topics, groupConfigs: this.groupConfigs, config, clock, log };
    this.features = new Features({ ...common, queues, groups: this.groups, held: this.held });
    this.open = new OpenTransactions({ engine, clock, limits: settings });
    this.transactions = new TransactionCoordinator({
      engine,
      clock,
      log,
      settings,
      directory: this.topics,
      producerIds: new ProducerIds(engine.catalogue),
      groups: this.groups,
      open: this.open,
      held: this.held,
    });
    this.appends = new AppendService({
      engine,
      topics: this.topics,
      clock,
      settings: { flushPolicy: 'acks' },
      steps: this.features.steps,
      transactions: this.transactions,
    });
  }

  async stop(): Promise<void> {
    await this.features.close();
    await this.transactions.close();
    await this.groups.close();
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
        : {
            producerId: options.producer[0],
            producerEpoch: options.transaction?.epoch ?? 0,
            baseSequence: options.producer[1],
          }),
      transactional: options.transaction !== undefined,
    });
    const request = this.appends.begin({
      version: 12,
      acks: -1,
      transactionalId: options.transaction?.id ?? null,
    });
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
          if (batchIsControl(bytes, at)) continue;
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
