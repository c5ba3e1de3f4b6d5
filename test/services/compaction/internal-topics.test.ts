/**
 * The log of committed offsets under commits, transactions, deletions, passes of the cleaner and restarts: everything that lives stays at its
 * offset, the log stays small, and a coordinator that reads it knows what one knows that never forgot anything.
 */
import { describe, expect, it } from 'vitest';
import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import {
  batchIsControl,
  batchIsTransactional,
  batchProducerId,
  batchSizeBytes,
} from '../../../protocol/records/record-batch.ts';
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import { GroupConfigs } from '../../../src/services/configuration/group-configs.ts';
import { appendTogether } from '../../../src/services/coordinator/joint-append.ts';
import { GroupCoordinator } from '../../../src/services/groups/group-coordinator.ts';
import { groupSettingsFrom } from '../../../src/services/groups/group-settings.ts';
import { silentLog } from '../../../src/util/log.ts';
import { type BrokerParts, CompactionBroker, onEmbedded, onMemory } from './compaction-broker.ts';

const topic = '__consumer_offsets';
const settings = { 'offsets.topic.num.partitions': '1' };
/** So that a few hundred commits are a part of the log. */
const metadata = 'm'.repeat(3000);
const producers = [7, 8, 9];

interface Stored {
  readonly offset: number;
  readonly key: string;
  readonly value: string | null;
  readonly isControl: boolean;
  readonly producerId: number;
}

function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** A broker's groups, and an outside account of what they were told. */
class OffsetsLog {
  readonly broker: CompactionBroker;
  groups: GroupCoordinator;
  /** By group and partition. */
  readonly committed = new Map<string, number>();
  readonly pending = new Map<number, Map<string, { offset: number; order: number }>>();
  /** Everything that was ever in the log. */
  readonly ever = new Map<number, Stored>();
  readonly orders = new Map<string, number>();
  private order = 0;

  constructor(parts: BrokerParts) {
    this.broker = new CompactionBroker(parts, settings);
    this.groups = this.newGroups();
  }

  private newGroups(): GroupCoordinator {
    const { engine, topics, clock, config } = this.broker;
    return new GroupCoordinator({
      engine,
      directory: topics,
      clock,
      log: silentLog,
      settings: groupSettingsFrom(config, new GroupConfigs(engine.catalogue, config)),
    });
  }

  get queue(): number {
    return this.broker.queue(topic);
  }

  async commit(group: string, partition: number, offset: number): Promise<void> {
    const answer = await this.groups.commitOffsets({
      groupId: group,
      memberId: '',
      groupInstanceId: null,
      generationId: -1,
      knowsMemberEpochs: false,
      retentionMs: -1,
      topics: topicsOf(partition, offset),
    });
    expect(answer.errorCode).toBe(0);
    const place = `${group} ${partition}`;
    this.committed.set(place, offset);
    this.orders.set(place, this.order++);
    for (const offsets of this.pending.values()) offsets.delete(place);
  }

  /** 400 of them, ten at a time. */
  async commitMany(group: string, partitions: number, from: number): Promise<void> {
    for (let done = 0; done < 400; done += 10) {
      const together = Array.from({ length: 10 }, (_, at) => done + at);
      await Promise.all(together.map((at) => this.commit(group, at % partitions, from + at)));
    }
  }

  async commitIn(producerId: number, group: string, partition: number, offset: number): Promise<void> {
    const answer = await this.groups.commitTransactional({
      groupId: group,
      producerId,
      producerEpoch: 0,
      memberId: '',
      groupInstanceId: null,
      generationId: -1,
      topics: topicsOf(partition, offset),
    });
    expect(answer.errorCode).toBe(0);
    const offsets = this.pending.get(producerId) ?? new Map();
    this.pending.set(producerId, offsets);
    offsets.set(`${group} ${partition}`, { offset, order: this.order++ });
  }

  async end(producerId: number, isCommit: boolean): Promise<void> {
    await this.groups.load(0);
    const closed = this.groups.endTransaction(0, {
      producerId,
      producerEpoch: 0,
      isCommit,
      coordinatorEpoch: 0,
    });
    await new Promise<void>((resolve) => {
      appendTogether(this.broker.engine, [], [], [closed!], () => resolve());
    });
    for (const [place, { offset, order }] of this.pending.get(producerId) ?? []) {
      if (!isCommit || (this.orders.get(place) ?? -1) > order) continue;
      this.committed.set(place, offset);
      this.orders.set(place, order);
    }
    this.pending.delete(producerId);
  }

  /** Of a group that has no offsets of open transactions. */
  async deleteGroup(group: string): Promise<void> {
    const isPending = [...this.pending.values()].some((offsets) =>
      [...offsets.keys()].some((place) => place.startsWith(`${group} `)),
    );
    if (isPending || (await this.groups.deleteGroup(group)) !== 0) return;
    for (const place of [...this.committed.keys()]) {
      if (place.startsWith(`${group} `)) this.committed.delete(place);
    }
  }

  async stored(): Promise<Stored[]> {
    const { engine } = this.broker;
    const stored: Stored[] = [];
    const { startOffset, visibleEndOffset } = (await engine.bounds(this.queue))!;
    for (let offset = startOffset; offset < visibleEndOffset; ) {
      const read = await engine.read(this.queue, {
        fromOffset: offset,
        maxBytes: 1 << 20,
        atLeastOne: true,
      });
      if (read.outcome !== 'read') throw new Error(read.outcome);
      for (const payload of read.payloads) {
        for (let at = 0; at < payload.length; at += batchSizeBytes(payload, at)) {
          const isControl = batchIsControl(payload, at);
          const producerId = batchIsTransactional(payload, at) ? Number(batchProducerId(payload, at)) : -1;
          for (const record of decodeRecords(payload, at)) {
            stored.push({
              offset: Number(record.offset),
              key: record.key!.toString('base64'),
              value: record.value?.toString('base64') ?? null,
              isControl,
              producerId,
            });
          }
        }
      }
      read.release();
      offset = read.nextOffset;
    }
    return stored;
  }

  /** One round of the cleaner, and what LogCompactionTester would say of it. */
  async clean(): Promise<number> {
    for (const one of await this.stored()) this.ever.set(one.offset, one);
    const bounds = (await this.broker.engine.bounds(this.queue))!;
    const cleaned = await this.broker.service.runOnce();
    const after = await this.stored();
    expect(await this.broker.engine.bounds(this.queue)).toEqual(bounds);
    for (const one of after) expect(one).toEqual(this.ever.get(one.offset));
    const there = new Set(after.map(({ offset }) => offset));
    // Those of open transactions, and of every key the newest that counts or will.
    const openProducers = new Set(this.pending.keys());
    const newest = new Map<string, Stored>();
    for (const one of this.countingRecords()) newest.set(one.key, one);
    // A tombstone may be gone, in its time; what it deleted must be.
    for (const one of newest.values()) if (one.value !== null) expect(there).toContain(one.offset);
    for (const one of after) {
      const last = newest.get(one.key);
      if (last?.value === null && !there.has(last.offset) && one.producerId < 0) {
        expect(one.offset).toBeGreaterThan(last.offset);
      }
    }
    for (const one of this.ever.values()) {
      if (!one.isControl && openProducers.has(one.producerId) && this.isOpen(one)) {
        expect(there).toContain(one.offset);
      }
    }
    return cleaned;
  }

  /** Of no transaction that was aborted or is open, in order. */
  private countingRecords(): Stored[] {
    const all = [...this.ever.values()].sort((a, b) => a.offset - b.offset);
    return all.filter((one) => !one.isControl && (one.producerId < 0 || this.endOf(one)?.isCommit === true));
  }

  private endOf(one: Stored): { isCommit: boolean } | undefined {
    const marker = [...this.ever.values()]
      .filter((each) => each.isControl && each.producerId === one.producerId && each.offset > one.offset)
      .sort((a, b) => a.offset - b.offset)[0];
    return marker && { isCommit: Buffer.from(marker.key, 'base64').readInt16BE(2) === 1 };
  }

  private isOpen(one: Stored): boolean {
    return this.endOf(one) === undefined;
  }

  /** A new coordinator on the same log knows the same. */
  async restart(): Promise<void> {
    await this.groups.close();
    this.groups = this.newGroups();
    if (this.broker.clock.nowMs() % 2 === 0) this.broker.restartService();
    await this.judge();
  }

  async judge(): Promise<void> {
    for (const group of ['a', 'b', 'c', 'd']) {
      const { topics } = await this.groups.fetchOffsets(group, null);
      const found = new Map<string, number>();
      for (const { partitions } of topics) {
        for (const { partitionIndex, offset } of partitions) {
          if (Number(offset) >= 0) found.set(`${group} ${partitionIndex}`, Number(offset));
        }
      }
      const wanted = [...this.committed].filter(([place]) => place.startsWith(`${group} `));
      expect(new Map([...found].sort())).toEqual(new Map(wanted.sort()));
    }
  }
}

function topicsOf(partitionIndex: number, offset: number) {
  return [
    {
      name: 'orders',
      topicId: ZERO_UUID,
      partitions: [{ partitionIndex, offset, leaderEpoch: -1, metadata, commitTimestampMs: -1 }],
    },
  ];
}

describe.each([
  ['memory', onMemory],
  ['embedded', onEmbedded],
] as const)('committed offsets on the %s engine', (name, open) => {
  it('are compacted where they lie, and a log that is written for ever stays small', async () => {
    const log = new OffsetsLog(await open());
    let largest = 0;
    let cleaned = 0;
    for (let round = 0; round < 8; round++) {
      await log.commitMany('a', 10, round * 1000);
      cleaned += await log.clean();
      largest = Math.max(largest, await log.broker.engine.sizeBytes(log.queue));
    }
    expect(cleaned).toBeGreaterThan(2);
    expect((await log.broker.engine.bounds(log.queue))!.startOffset).toBe(0);
    expect((await log.broker.engine.bounds(log.queue))!.visibleEndOffset).toBe(3200);
    // One part that is active and one that became dirty behind it, beside what lives.
    expect(largest).toBeLessThan(4 * 1024 * 1024);
    await log.restart();
    await log.groups.close();
    await log.broker.close();
  }, 120_000);

  for (const seed of name === 'memory' ? [1, 2, 3, 4] : [5]) {
    it(`are what they would be without compaction, transactions and deletions included (seed ${seed})`, async () => {
      const log = new OffsetsLog(await open());
      const random = randomOf(seed);
      const group = () => 'abcd'[random(4)]!;
      let cleaned = 0;
      let offset = 0;
      for (let step = 0; step < 2600; step++) {
        const dice = random(100);
        if (dice < 55) await log.commit(group(), random(4), offset++);
        else if (dice < 85) await log.commitIn(producers[random(3)]!, group(), random(4), offset++);
        else if (dice < 95) {
          const producerId = producers[random(3)]!;
          if (log.pending.has(producerId)) await log.end(producerId, random(2) === 0);
        } else if (dice < 96) await log.deleteGroup(group());
        else if (step % 4 === 0) cleaned += await log.clean();
        if (random(400) === 0) await log.restart();
        if (random(300) === 0) await log.broker.clock.advance(random(3) * 43_200_000);
      }
      for (const producerId of [...log.pending.keys()]) await log.end(producerId, producerId % 2 === 0);
      await log.judge();
      cleaned += await log.clean();
      await log.restart();
      expect(cleaned).toBeGreaterThan(1);
      expect((await log.broker.engine.bounds(log.queue))!.startOffset).toBe(0);
      await log.groups.close();
      await log.broker.close();
    }, 120_000);
  }

  it(`keep an offset of a transaction that is still open, however long (${name})`, async () => {
    const log = new OffsetsLog(await open());
    await log.commit('a', 0, 1);
    await log.commitIn(7, 'a', 0, 2);
    for (let round = 0; round < 3; round++) {
      await log.commitMany('b', 3, 0);
      await log.clean();
    }
    expect((await log.stored()).length).toBeGreaterThan(1000);
    await log.end(7, true);
    await log.commitMany('b', 3, 0);
    await log.clean();
    expect((await log.stored()).length).toBeLessThan(900);
    await log.restart();
    expect(log.committed.get('a 0')).toBe(2);
    await log.groups.close();
    await log.broker.close();
  }, 120_000);
});
