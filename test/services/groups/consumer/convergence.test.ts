/**
 * Consumer groups under members that do anything at any time: join, leave, fall silent, change subscriptions, lose answers, come back
 * as static members, while topics come, grow and go and the broker starts anew. Whatever happens no partition is two members' at once,
 * epochs never go back, and the log makes the same state again; once it is quiet, everything is assigned and even.
 */
import { describe, expect, it } from 'vitest';
import type { ConsumerGroup } from '../../../../src/services/groups/consumer/consumer-group.ts';
import type { GroupRecord } from '../../../../src/services/groups/group-records.ts';
import { GroupHarness } from '../group-machine-harness.ts';
import { Consumer } from './consumer-harness.ts';

class Walk {
  readonly h: GroupHarness;
  readonly consumers: Consumer[] = [];
  #state: number;
  #next = 0;
  #epoch = 0;
  #snapshot: { readonly records: Iterator<GroupRecord>; readonly from: number } | undefined;

  constructor(seed: number, assignor: 'uniform' | 'range') {
    this.#state = seed * 7919 + 1;
    this.h = new GroupHarness();
    this.h.topics.set('orders', 4);
    this.h.topics.set('payments', 3);
    this.assignor = assignor;
  }

  readonly assignor: 'uniform' | 'range';

  random(below: number): number {
    this.#state = (Math.imul(this.#state, 1103515245) + 12345) & 0x7fffffff;
    return (this.#state >> 8) % below;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.random(from.length)]!;
  }

  get group(): ConsumerGroup | undefined {
    return this.h.machine.group('g') as ConsumerGroup | undefined;
  }

  async step(): Promise<void> {
    const { h, consumers } = this;
    switch (this.random(16)) {
      case 0:
      case 1:
        if (consumers.length < 6) this.add();
        break;
      case 2:
        if (consumers.length > 0) {
          const [gone] = consumers.splice(this.random(consumers.length), 1);
          if (this.random(2) === 0) gone!.leave(gone!.instanceId !== null && this.random(2) === 0 ? -2 : -1);
        }
        break;
      case 3:
        if (consumers.length > 0) {
          const consumer = this.pick(consumers);
          consumer.names = this.pick([['orders'], ['payments'], ['orders', 'payments'], ['new'], []]);
          this.beat(consumer, { subscribedTopicNames: [...consumer.names], rebalanceTimeoutMs: 60_000 });
        }
        break;
      case 4:
        h.topics.set(this.pick(['orders', 'payments', 'new']), 1 + this.random(8));
        break;
      case 5:
        if (this.random(4) === 0) h.topics.delete('new');
        break;
      case 6:
        await h.clock.advance(this.pick([100, 3_000, 20_000, 50_000, 70_000]));
        break;
      case 7:
        if (this.random(4) === 0) this.reload();
        else this.#snapshot ??= { records: h.machine.snapshot()[Symbol.iterator](), from: h.log.length };
        break;
      case 8:
        if (consumers.length > 0) this.loseAnswer(this.pick(consumers));
        break;
      default:
        if (consumers.length > 0) this.beat(this.pick(consumers));
    }
    this.writeSnapshot(1 + this.random(4));
    this.check();
  }

  /** Another piece of the snapshot that is being written while the group goes on; when all is said the log before it is trimmed. */
  writeSnapshot(pieces: number): void {
    const snapshot = this.#snapshot;
    for (let piece = 0; piece < pieces && snapshot !== undefined; piece++) {
      const next = snapshot.records.next();
      if (next.done === true) {
        this.h.log.splice(0, snapshot.from);
        this.#snapshot = undefined;
        const before = this.fingerprint();
        this.h.reload('log');
        expect(this.fingerprint()).toEqual(before);
        return;
      }
      this.h.log.push(next.value);
    }
  }

  add(): void {
    const instanceId = this.random(3) === 0 ? this.pick(['i1', 'i2', 'i3']) : null;
    if (this.consumers.some((other) => instanceId !== null && other.instanceId === instanceId)) return;
    const names = this.pick([['orders'], ['orders', 'payments'], ['payments']]);
    const consumer = new Consumer(this.h, `m${this.#next++}`, names, instanceId);
    consumer.assignor = this.assignor;
    if (['NONE', 'UNRELEASED_INSTANCE_ID'].includes(consumer.join())) this.consumers.push(consumer);
    else expect.unreachable('a join was refused');
  }

  /** A consumer that was fenced gives up what it has and joins again, as clients do. */
  beat(consumer: Consumer, options: object = {}): void {
    const error = consumer.epoch === 0 ? consumer.join() : consumer.beat(options);
    if (error === 'FENCED_MEMBER_EPOCH' || error === 'UNKNOWN_MEMBER_ID' || error === 'GROUP_ID_NOT_FOUND') {
      const again = consumer.join();
      expect(['NONE', 'UNRELEASED_INSTANCE_ID', 'FENCED_MEMBER_EPOCH']).toContain(again);
    } else {
      expect(['NONE', 'UNRELEASED_INSTANCE_ID', 'FENCED_INSTANCE_ID']).toContain(error);
    }
  }

  /** The request arrives, the answer does not. */
  loseAnswer(consumer: Consumer): void {
    const { epoch, owned } = consumer;
    const kept = new Set(owned);
    consumer.send({ topicPartitions: consumer.ownedOnWire() });
    consumer.epoch = epoch;
    consumer.owned = kept;
  }

  reload(): void {
    // The machine of before is gone, and with it what it was about to say.
    this.#snapshot = undefined;
    const before = this.fingerprint();
    this.h.reload(this.random(2) === 0 ? 'log' : 'snapshot');
    expect(this.fingerprint()).toEqual(before);
  }

  fingerprint(): unknown {
    const { group } = this;
    if (group === undefined) return undefined;
    return {
      epoch: group.groupEpoch,
      hash: group.metadataHash,
      target: group.target.epoch,
      members: [...group.members.values()]
        .sort((a, b) => (a.memberId < b.memberId ? -1 : 1))
        .map((member) => ({ ...member, target: group.target.of(member.memberId) })),
      static: [...group.staticMembers].sort(),
      state: group.state,
    };
  }

  check(): void {
    const { group } = this;
    if (group === undefined) return;
    expect(group.groupEpoch).toBeGreaterThanOrEqual(this.#epoch);
    this.#epoch = group.groupEpoch;
    expect(group.target.epoch).toBeLessThanOrEqual(group.groupEpoch);
    const holders = new Map<string, string>();
    const meant = new Map<string, string>();
    for (const member of group.members.values()) {
      expect(member.memberEpoch).toBeLessThanOrEqual(group.target.epoch);
      for (const partitions of [member.assigned, member.pendingRevocation]) {
        for (const [topicId, epochs] of partitions) {
          for (const partition of epochs.keys()) {
            const place = `${topicId}:${partition}`;
            expect(holders.get(place), place).toBeUndefined();
            holders.set(place, member.memberId);
            expect(group.isHeld(topicId, partition)).toBe(true);
          }
        }
      }
      for (const [topicId, partitions] of group.target.of(member.memberId)) {
        for (const partition of partitions) {
          const place = `${topicId}:${partition}`;
          expect(meant.get(place), `target ${place}`).toBeUndefined();
          meant.set(place, member.memberId);
        }
      }
    }
    // What consumers in the group read, by their own account: a member that was fenced and does not know it yet does not count.
    const readers = new Map<string, string>();
    for (const consumer of this.consumers) {
      const member = group.members.get(consumer.memberId);
      if (member === undefined || consumer.epoch !== member.memberEpoch) continue;
      for (const place of consumer.owned) {
        expect(readers.get(place), place).toBeUndefined();
        readers.set(place, consumer.memberId);
      }
    }
  }

  /** Everyone alive, nobody else: all is assigned, to subscribers, and even. */
  async quieten(): Promise<void> {
    const { h } = this;
    if (this.consumers.length === 0) this.add();
    for (let round = 0; round < 30; round++) {
      for (const consumer of this.consumers) this.beat(consumer);
      this.check();
      await h.clock.advance(4_000);
    }
    const group = this.group!;
    expect(group.state).toBe('Stable');
    expect([...group.members.keys()].sort()).toEqual(this.consumers.map(({ memberId }) => memberId).sort());
    for (const consumer of this.consumers) {
      expect(consumer.epoch).toBe(group.groupEpoch);
      const topics = new Set(consumer.partitions.map((each) => each.slice(0, each.lastIndexOf('-'))));
      for (const topic of topics) expect(consumer.names).toContain(topic);
    }
    for (const name of ['orders', 'payments', 'new']) {
      const topic = h.topics.byName(name);
      const subscribers = this.consumers.filter(({ names }) => names!.includes(name));
      if (topic === undefined || subscribers.length === 0) continue;
      const read = this.consumers.flatMap(({ partitions }) =>
        partitions.filter((each) => each.startsWith(`${name}-`)),
      );
      expect(read.sort()).toEqual(
        Array.from({ length: topic.partitionCount }, (_, index) => `${name}-${index}`).sort(),
      );
      if (this.assignor !== 'uniform') continue;
      // Nobody could give one to a subscriber with two fewer.
      for (const giver of subscribers) {
        if (!giver.partitions.some((each) => each.startsWith(`${name}-`))) continue;
        for (const other of subscribers) {
          expect(giver.partitions.length - other.partitions.length).toBeLessThanOrEqual(1);
        }
      }
    }
  }
}

describe('whatever members do', () => {
  for (const assignor of ['uniform', 'range'] as const) {
    it.each(Array.from({ length: 15 }, (_, seed) => seed))(`with ${assignor}, seed %i`, async (seed) => {
      const walk = new Walk(seed, assignor);
      for (let step = 0; step < 150; step++) await walk.step();
      await walk.quieten();
    });
  }
});
