/**
 * A broker's services with transactions and delayed records, on any engine and a virtual clock, without the wire.
 */
import { randomBytes } from 'node:crypto';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { decodeRecordSet } from '../../../protocol/records/record-set.ts';
import type { PartitionAppendResult } from '../../../src/services/append/append-result.ts';
import { AppendService } from '../../../src/services/append/append-service.ts';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { GroupConfigs } from '../../../src/services/configuration/group-configs.ts';
import { DelayService } from '../../../src/services/features/delay/delay-service.ts';
import { HalfService } from '../../../src/services/features/half-message/half-service.ts';
import { HiddenTrim } from '../../../src/services/features/timers/hidden-trim.ts';
import { TimerEngine } from '../../../src/services/features/timers/timer-engine.ts';
import { GroupCoordinator } from '../../../src/services/groups/group-coordinator.ts';
import { groupSettingsFrom } from '../../../src/services/groups/group-settings.ts';
import { ProducerIds } from '../../../src/services/producers/producer-ids.ts';
import { TopicCatalogue } from '../../../src/services/topics/topic-catalogue.ts';
import { HeldRecords } from '../../../src/services/transactions/held-records.ts';
import { OpenTransactions } from '../../../src/services/transactions/open-transactions.ts';
import { TransactionCoordinator } from '../../../src/services/transactions/transaction-coordinator.ts';
import { transactionSettingsFrom } from '../../../src/services/transactions/transaction-settings.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { StorageEngine } from '../../../src/storage/engine.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import type { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { smallSettings } from '../../storage/embedded/small-settings.ts';

const batchFormat = { stamp: stampBatch, isStamped: isBatchStamped, isIntact: isBatchIntact };
const config = new BrokerConfig(
  new Map([
    ['transaction.state.log.num.partitions', '2'],
    ['offsets.topic.num.partitions', '2'],
  ]),
);

export interface SentRecord {
  readonly value: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Sender {
  readonly transactionalId: string;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly sequence: number;
}

export class TransactionBroker {
  readonly clock: VirtualClock;
  readonly engine: StorageEngine;
  readonly topics: TopicCatalogue;
  readonly groups: GroupCoordinator;
  readonly open: OpenTransactions;
  readonly held: HeldRecords;
  readonly timers: TimerEngine;
  readonly trim: HiddenTrim;
  readonly delay: DelayService;
  readonly transactions: TransactionCoordinator;
  readonly appends: AppendService;
  readonly hiddenQueues: readonly number[];
  readonly groupConfigs: GroupConfigs;
  readonly half: HalfService;
  /** Whether a producer group has somebody who could answer, and what it has committed of its checks. */
  someoneIsThere = true;
  readonly checksRead = new Map<number, number>();

  private constructor(
    engine: StorageEngine,
    clock: VirtualClock,
    queues: readonly number[],
    halfQueues: readonly number[],
  ) {
    const shared = { engine, clock, log: silentLog };
    this.clock = clock;
    this.engine = engine;
    this.hiddenQueues = queues;
    this.topics = new TopicCatalogue({ catalogue: engine.catalogue, config, randomBytes });
    const directory = this.topics;
    const groupConfigs = new GroupConfigs(engine.catalogue, config);
    this.groups = new GroupCoordinator({
      ...shared,
      directory,
      settings: groupSettingsFrom(config, groupConfigs),
    });
    const settings = transactionSettingsFrom(config);
    this.open = new OpenTransactions({ engine, clock, limits: settings });
    this.held = new HeldRecords({ engine });
    const { held } = this;
    this.timers = new TimerEngine(shared);
    const { timers } = this;
    this.trim = new HiddenTrim({ ...shared, timers, others: () => held.sources() });
    const features = { ...shared, topics: directory, timers, trim: this.trim, config };
    this.delay = new DelayService({ ...features, queues, held });
    this.groupConfigs = groupConfigs;
    this.half = new HalfService({
      ...features,
      topics: directory,
      queues: halfQueues,
      delay: this.delay,
      groupConfigs,
      isAnyoneThere: async () => this.someoneIsThere,
      readUpTo: async () => this.checksRead,
    });
    this.transactions = new TransactionCoordinator({
      ...shared,
      directory,
      settings,
      producerIds: new ProducerIds(engine.catalogue),
      groups: this.groups,
      open: this.open,
      held,
      questions: this.half.transactions,
    });
    this.half.transactions.bind((asked, isCommit) => this.transactions.endAsked(asked, isCommit));
    this.appends = new AppendService({
      engine,
      topics: directory,
      clock,
      settings: { flushPolicy: 'acks' },
      steps: [...this.half.steps, ...this.delay.steps],
      transactions: this.transactions,
    });
  }

  static async onDisk(disk: SimulatedDisk): Promise<TransactionBroker> {
    const clock = new VirtualClock();
    const engine = await openEmbeddedEngine({
      directory: '/data',
      payloadFormat: batchFormat,
      crc32c,
      fileSystem: disk,
      clock,
      settings: { ...smallSettings, segmentBytes: 64 * 1024 },
    });
    return TransactionBroker.on(engine, clock);
  }

  static inMemory(): Promise<TransactionBroker> {
    const clock = new VirtualClock();
    return TransactionBroker.on(openMemoryEngine({ payloadFormat: batchFormat, clock }), clock);
  }

  static async on(engine: StorageEngine, clock: VirtualClock): Promise<TransactionBroker> {
    const broker = new TransactionBroker(
      engine,
      clock,
      await DelayService.ensureQueues(engine),
      await HalfService.ensureQueues(engine),
    );
    await broker.transactions.start();
    broker.timers.start();
    return broker;
  }

  /** The same engine with a new broker, as after a start. */
  async restart(): Promise<TransactionBroker> {
    await this.closeServices();
    return TransactionBroker.on(this.engine, this.clock);
  }

  async closeServices(): Promise<void> {
    await this.half.close();
    await this.timers.close();
    await this.transactions.close();
    await this.groups.close();
  }

  async createTopic(name: string, messageType: string, partitions = 2): Promise<void> {
    const overrides = new Map([['rmq.message.type', messageType]]);
    await this.topics.create([{ name, partitions, replicationFactor: 1, assignments: [], overrides }], false);
  }

  /** As one Produce request of a transactional producer that adds partitions by writing. */
  async send(
    { transactionalId, producerId, producerEpoch, sequence }: Sender,
    batches: readonly (readonly [topic: string, partition: number, records: readonly SentRecord[]])[],
  ): Promise<readonly PartitionAppendResult[]> {
    const request = this.appends.begin({ version: 12, acks: -1, transactionalId });
    for (const [topic, partition, records] of batches) {
      const batch = buildRecordBatch(
        records.map(({ value, headers = {} }) => ({
          value: Buffer.from(value),
          timestamp: 1,
          headers: Object.entries(headers).map(([key, text]) => ({ key, value: Buffer.from(text) })),
        })),
        { producerId, producerEpoch, baseSequence: sequence, transactional: true },
      );
      request.add(this.topics.get(topic)!, partition, batch);
    }
    return request.run();
  }

  /** The values of the partition that a read_committed reader sees, and whether something open holds it back. */
  async committed(topic: string, partition: number): Promise<{ values: string[]; isOpen: boolean }> {
    const { queue } = this.topics.get(topic)!.partitions[partition]!;
    const bounds = (await this.engine.bounds(queue))!;
    const stable = this.open.lastStableOffset(queue, bounds.visibleEndOffset);
    const values: string[] = [];
    const aborted = [...(await this.open.abortedTransactions(queue, 0, stable))];
    const dropped = new Set<number>();
    for (let offset = 0; offset < stable; ) {
      const read = await this.engine.read(queue, {
        fromOffset: offset,
        untilOffset: stable,
        maxBytes: 1_000_000,
        atLeastOne: true,
      });
      if (read.outcome !== 'read' || read.nextOffset === offset) throw new Error(`cannot read at ${offset}`);
      for (const batch of decodeRecordSet(Buffer.concat(read.payloads)).batches) {
        const producer = Number(batch.producerId);
        while (aborted[0] !== undefined && aborted[0].firstOffset <= Number(batch.lastOffset)) {
          dropped.add(aborted.shift()!.producerId);
        }
        if (batch.control) dropped.delete(producer);
        else if (!dropped.has(producer)) {
          values.push(...batch.records.map((record) => String(record.value)));
        }
      }
      offset = read.nextOffset;
      read.release();
    }
    return { values, isOpen: stable < bounds.visibleEndOffset };
  }

  /** Lets the time pass, and what is due happen. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await this.timers.whenIdle();
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  async hiddenBytes(): Promise<number> {
    let bytes = 0;
    for (const queue of this.hiddenQueues) bytes += await this.engine.sizeBytes(queue);
    return bytes;
  }
}
