/** The append path with half messages on a memory engine and a virtual clock: what a producer, a checker and a consumer would do. */
import { randomBytes } from 'node:crypto';
import { decodeRecords } from '../../../../protocol/records/batch-records.ts';
import type { CodecName } from '../../../../protocol/records/compression.ts';
import { batchSizeBytes } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch, type RecordInput } from '../../../../protocol/records/record-batch-builder.ts';
import type { PartitionAppendResult } from '../../../../src/services/append/append-result.ts';
import { AppendService } from '../../../../src/services/append/append-service.ts';
import { BrokerConfig } from '../../../../src/services/configuration/broker-config.ts';
import { GroupConfigs } from '../../../../src/services/configuration/group-configs.ts';
import { settingsByName } from '../../../../src/services/features/delay/delay-op-step.ts';
import { DelayService } from '../../../../src/services/features/delay/delay-service.ts';
import type { HttpPost } from '../../../../src/services/features/half-message/check-callback.ts';
import { HalfService } from '../../../../src/services/features/half-message/half-service.ts';
import { HiddenTrim } from '../../../../src/services/features/timers/hidden-trim.ts';
import {
  TimerEngine,
  type TimerEngineSettings,
} from '../../../../src/services/features/timers/timer-engine.ts';
import { TopicCatalogue } from '../../../../src/services/topics/topic-catalogue.ts';
import type { StorageEngine } from '../../../../src/storage/engine.ts';
import type { VirtualClock } from '../../../../src/util/clock.ts';
import { silentLog } from '../../../../src/util/log.ts';

export interface SeenRecord {
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly offset: number;
}

export interface HalfBrokerOptions {
  readonly engine: StorageEngine;
  readonly clock: VirtualClock;
  readonly settings?: Readonly<Record<string, string>>;
  readonly messageType?: string;
  readonly post?: HttpPost;
  readonly timerSettings?: Partial<TimerEngineSettings>;
}

export class HalfBroker {
  readonly clock: VirtualClock;
  readonly engine: StorageEngine;
  readonly topics: TopicCatalogue;
  readonly timers: TimerEngine;
  readonly trim: HiddenTrim;
  readonly half: HalfService;
  readonly groupConfigs: GroupConfigs;
  readonly appends: AppendService;
  /** Whether the producer group has somebody who could answer. */
  someoneIsThere = true;
  /** What its members have committed in the check topic, by partition. */
  readonly checksRead = new Map<number, number>();

  static async start(options: HalfBrokerOptions): Promise<HalfBroker> {
    const { engine } = options;
    const delay = await DelayService.ensureQueues(engine);
    const half = await HalfService.ensureQueues(engine);
    const broker = new HalfBroker(options, delay, half);
    for (const [name, type] of [
      ['orders', options.messageType ?? 'TRANSACTION'],
      ['plain', 'NORMAL'],
    ] as const) {
      if (broker.topics.get(name) !== undefined) continue;
      const overrides = new Map([['rmq.message.type', type]]);
      const request = { name, partitions: 2, replicationFactor: -1, assignments: [], overrides };
      await broker.topics.create([request], false);
    }
    broker.timers.start();
    return broker;
  }

  private constructor(
    options: HalfBrokerOptions,
    delayQueues: readonly number[],
    halfQueues: readonly number[],
  ) {
    const { engine, clock } = options;
    this.engine = engine;
    this.clock = clock;
    const log = silentLog;
    const config = new BrokerConfig(new Map(Object.entries(options.settings ?? {})));
    this.groupConfigs = new GroupConfigs(engine.catalogue, config);
    this.topics = new TopicCatalogue({ catalogue: engine.catalogue, config, randomBytes, settingsByName });
    this.timers = new TimerEngine({ engine, clock, log, settings: options.timerSettings ?? {} });
    this.trim = new HiddenTrim({ engine, timers: this.timers, clock, log });
    const common = { engine, topics: this.topics, timers: this.timers, trim: this.trim, config, clock, log };
    const delay = new DelayService({ ...common, queues: delayQueues });
    this.half = new HalfService({
      ...common,
      queues: halfQueues,
      delay,
      groupConfigs: this.groupConfigs,
      isAnyoneThere: async () => this.someoneIsThere,
      readUpTo: async () => this.checksRead,
      ...(options.post === undefined ? {} : { post: options.post }),
    });
    this.appends = new AppendService({
      engine,
      topics: this.topics,
      clock,
      settings: { flushPolicy: 'acks' },
      steps: [...this.half.steps, ...delay.steps],
      // Every transaction is a good one: what is refused is refused by the steps.
      transactions: {
        admitRequest: () => 0,
        admit: (_id, _version, batches) => batches.map(() => undefined),
        admitPlain: () => 0,
      },
    });
  }

  async stop(): Promise<void> {
    await this.half.close();
    await this.timers.close();
  }

  /** As a Produce request with one partition. */
  async produce(
    topic: string,
    records: readonly TestRecord[],
    options: {
      readonly codec?: CodecName;
      readonly producer?: readonly [id: number, sequence: number];
      readonly transactionalId?: string;
    } = {},
  ): Promise<PartitionAppendResult> {
    const batch = buildRecordBatch(records.map(recordOf), {
      codec: options.codec ?? 'none',
      transactional: options.transactionalId !== undefined,
      ...(options.producer === undefined
        ? {}
        : { producerId: options.producer[0], producerEpoch: 0, baseSequence: options.producer[1] }),
    });
    const request = this.appends.begin({
      version: 9,
      acks: -1,
      transactionalId: options.transactionalId ?? null,
    });
    request.add(this.topics.get(topic)!, 0, batch);
    const [result] = await request.run();
    return result!;
  }

  decide(txnId: string, action: string, group = 'shop'): Promise<PartitionAppendResult> {
    return this.produce(`txn.op.${group}`, [{ key: txnId, headers: { 'rmq-txn-action': action } }]);
  }

  /** Everything visible in the topic. */
  async read(topic: string): Promise<SeenRecord[]> {
    const seen: SeenRecord[] = [];
    for (const { queue } of this.topics.get(topic)?.partitions ?? []) {
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
            seen.push({
              key: record.key?.toString() ?? null,
              value: record.value?.toString() ?? null,
              headers: Object.fromEntries(
                record.headers.map((each) => [each.key.toString(), each.value?.toString() ?? '']),
              ),
              offset: Number(record.offset),
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
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}

export interface TestRecord {
  readonly key?: string;
  readonly value?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export function half(txnId: string, value: string, more: Readonly<Record<string, string>> = {}): TestRecord {
  return {
    key: 'k',
    value,
    headers: { 'rmq-txn': 'half', 'rmq-txn-id': txnId, 'rmq-producer-group': 'shop', ...more },
  };
}

function recordOf({ key, value, headers }: TestRecord): RecordInput {
  return {
    timestamp: 1_000,
    key: key === undefined ? null : Buffer.from(key),
    value: value === undefined ? null : Buffer.from(value),
    headers: Object.entries(headers ?? {}).map(([name, text]) => ({ key: name, value: Buffer.from(text) })),
  };
}
