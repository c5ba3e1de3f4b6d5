/**
 * The power goes at every call that the disk gets while transactions begin, write, commit offsets and end. Whatever is left, each
 * transaction is there as a whole or not at all: its records in every partition, its offsets, and what its coordinator says.
 */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { decodeRecordSet } from '../../../protocol/records/record-set.ts';
import { AppendService } from '../../../src/services/append/append-service.ts';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { GroupCoordinator } from '../../../src/services/groups/group-coordinator.ts';
import { groupSettingsFrom } from '../../../src/services/groups/group-settings.ts';
import { ProducerIds } from '../../../src/services/producers/producer-ids.ts';
import { TopicCatalogue } from '../../../src/services/topics/topic-catalogue.ts';
import { OpenTransactions } from '../../../src/services/transactions/open-transactions.ts';
import { TransactionCoordinator } from '../../../src/services/transactions/transaction-coordinator.ts';
import { transactionSettingsFrom } from '../../../src/services/transactions/transaction-settings.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { StorageEngine } from '../../../src/storage/engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import { type CrashPolicy, SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { smallSettings } from '../../storage/embedded/small-settings.ts';

const id = 'tx';
const group = 'g';
const topicName = 't';
const partitions = [0, 1];
const rounds = 6;
const config = new BrokerConfig(
  new Map([
    ['transaction.state.log.num.partitions', '2'],
    ['offsets.topic.num.partitions', '2'],
  ]),
);

class Broker {
  readonly clock = new VirtualClock();
  readonly engine: StorageEngine;
  readonly topics: TopicCatalogue;
  readonly groups: GroupCoordinator;
  readonly open: OpenTransactions;
  readonly transactions: TransactionCoordinator;
  readonly appends: AppendService;

  private constructor(engine: StorageEngine, clock: VirtualClock) {
    const shared = { engine, clock, log: silentLog };
    this.clock = clock;
    this.engine = engine;
    this.topics = new TopicCatalogue({ catalogue: engine.catalogue, config, randomBytes });
    const directory = this.topics;
    this.groups = new GroupCoordinator({ ...shared, directory, settings: groupSettingsFrom(config) });
    const settings = transactionSettingsFrom(config);
    this.open = new OpenTransactions({ engine, clock, limits: settings });
    this.transactions = new TransactionCoordinator({
      ...shared,
      directory,
      settings,
      producerIds: new ProducerIds(engine.catalogue),
      groups: this.groups,
      open: this.open,
    });
    this.appends = new AppendService({
      engine,
      topics: directory,
      clock,
      settings: { flushPolicy: 'acks' },
      transactions: this.transactions,
    });
  }

  static async start(disk: SimulatedDisk): Promise<Broker> {
    const clock = new VirtualClock();
    const engine = await openEmbeddedEngine({
      directory: '/data',
      payloadFormat: { stamp: stampBatch, isStamped: isBatchStamped, isIntact: isBatchIntact },
      crc32c,
      fileSystem: disk,
      clock,
      settings: { ...smallSettings, segmentBytes: 64 * 1024 },
    });
    const broker = new Broker(engine, clock);
    await broker.transactions.start();
    return broker;
  }

  /** The values of the partition that a read_committed reader sees, and where it has to stop. */
  async committed(partition: number): Promise<{ values: number[]; isOpen: boolean }> {
    const { queue } = this.topics.get(topicName)!.partitions[partition]!;
    const bounds = (await this.engine.bounds(queue))!;
    const stable = this.open.lastStableOffset(queue, bounds.visibleEndOffset);
    const values: number[] = [];
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
          values.push(...batch.records.map((record) => Number(String(record.value))));
        }
      }
      offset = read.nextOffset;
      read.release();
    }
    return { values, isOpen: stable < bounds.visibleEndOffset };
  }

  async offset(): Promise<number> {
    const topicId = this.topics.get(topicName)!.id;
    const answer = await this.groups.fetchOffsets(group, [
      { name: topicName, topicId, partitionIndexes: [0] },
    ]);
    return Number(answer.topics[0]!.partitions[0]!.offset);
  }
}

/** Transactions one after the other; each writes its number into every partition and commits it as an offset. Even ones are aborted. */
async function work(broker: Broker, answered: Map<number, boolean>): Promise<void> {
  const { transactions, appends, topics } = broker;
  await topics.create(
    [{ name: topicName, partitions: 2, replicationFactor: 1, assignments: [], overrides: new Map() }],
    false,
  );
  await transactions.ensureTopic();
  let producer = await transactions.initProducerId(id, 60_000, undefined);
  for (let round = 1; round <= rounds; round++) {
    const { producerId, producerEpoch } = producer;
    const topic = topics.get(topicName)!;
    const request = appends.begin({ version: 12, acks: -1, transactionalId: id });
    for (const partition of partitions) {
      request.add(
        topic,
        partition,
        buildRecordBatch([{ value: Buffer.from(String(round)), timestamp: 1 }], {
          producerId,
          producerEpoch,
          baseSequence: 0,
          transactional: true,
        }),
      );
    }
    for (const { errorCode } of await request.run()) expect(errorCode).toBe(0);
    const committed = await transactions.commitOffsets(
      id,
      {
        groupId: group,
        producerId,
        producerEpoch,
        memberId: '',
        groupInstanceId: null,
        generationId: -1,
        topics: [
          {
            name: topicName,
            topicId: topic.id,
            partitions: [
              { partitionIndex: 0, offset: round, leaderEpoch: -1, metadata: '', commitTimestampMs: -1 },
            ],
          },
        ],
      },
      5,
    );
    expect(committed.errorCode).toBe(0);
    const isCommit = round % 2 === 1;
    producer = await transactions.endTransaction(id, producer, isCommit, true);
    expect(producer.errorCode).toBe(0);
    answered.set(round, isCommit);
  }
}

/** What is wrong with what a crash left. */
async function judge(disk: SimulatedDisk, answered: ReadonlyMap<number, boolean>): Promise<string[]> {
  const broker = await Broker.start(disk);
  const wrong: string[] = [];
  if (broker.topics.get(topicName) === undefined) {
    return answered.size === 0 ? [] : ['the topic is gone'];
  }
  const seen = await Promise.all(partitions.map((partition) => broker.committed(partition)));
  const [first, second] = seen.map(({ values }) => values);
  if (String(first) !== String(second)) wrong.push(`torn: ${first} and ${second}`);
  const values = first!;
  if (values.some((value) => value % 2 === 0)) wrong.push(`aborted records are seen: ${values}`);
  if (String(values) !== String([1, 3, 5].slice(0, values.length))) wrong.push(`out of order: ${values}`);
  const last = values.at(-1) ?? -1;
  const offset = await broker.offset();
  if (offset !== last) wrong.push(`the offset is ${offset} and the records end with ${last}`);
  for (const [round, isCommit] of answered) {
    if (isCommit && !values.includes(round)) wrong.push(`${round} was answered and is lost`);
  }
  const described = await broker.transactions.describe(id);
  const state = described.transaction?.state;
  const isOpen = seen.some((one) => one.isOpen);
  if (isOpen && state?.state !== 'Ongoing') wrong.push(`open in a partition and ${state?.state}`);

  // And on it goes: a new producer fences, and whatever was open is over.
  await broker.transactions.ensureTopic();
  const next = await broker.transactions.initProducerId(id, 60_000, undefined);
  if (next.errorCode !== errorCodes.NONE) wrong.push(`a new producer is refused: ${next.errorCode}`);
  for (const partition of partitions) {
    const now = await broker.committed(partition);
    if (now.isOpen || String(now.values) !== String(values)) wrong.push(`after it ${now.values}`);
  }
  if (broker.open.size > 0) wrong.push('something is open for ever');
  if ((await broker.offset()) !== offset) wrong.push('the offset moved by itself');
  await broker.transactions.close();
  await broker.groups.close();
  await broker.engine.close();
  return wrong;
}

async function cutAt(call: number, policy: CrashPolicy): Promise<string[]> {
  const disk = new SimulatedDisk({ seed: call });
  disk.crashAtCall = call;
  const answered = new Map<number, boolean>();
  const working = (async () => work(await Broker.start(disk), answered))();
  await Promise.race([working, disk.died]);
  working.catch(() => {});
  return (await judge(disk.crash(policy, call), answered)).map((what) => `call ${call}, ${policy}: ${what}`);
}

const policies: readonly CrashPolicy[] = ['none', 'subset', 'prefix', 'all', 'kill'];
const step = process.env.CRASH_STATES === 'all' ? 1 : 3;

describe('a power cut in the middle of transactions', () => {
  it('tears none of them', { timeout: 600_000 }, async () => {
    const whole = new SimulatedDisk({ seed: 1 });
    const answered = new Map<number, boolean>();
    await work(await Broker.start(whole), answered);
    expect([...answered]).toHaveLength(rounds);
    const { calls } = whole;
    expect(calls).toBeGreaterThan(30);
    expect(await judge(whole.crash('none', 1), answered)).toEqual([]);
    const wrong: string[] = [];
    for (let call = 1; call <= calls && wrong.length < 5; call += step) {
      const asked = process.env.CRASH_STATES === 'all' ? policies : [policies[call % policies.length]!];
      for (const policy of asked) wrong.push(...(await cutAt(call, policy)));
    }
    expect(wrong).toEqual([]);
  });
});
