/**
 * Groups whose members speak both protocols, and go and come: classic ones that join, sync and give back as the Java client's
 * cooperative assignors have them do, and members of the consumer protocol. No partition is ever two members' at once, and once it is
 * quiet all are assigned.
 */
import { describe, expect, it } from 'vitest';
import { errorName } from '../../../../protocol/error-codes.ts';
import { consumerProtocolAssignment } from '../../../../protocol/generated/data-consumer-protocol-assignment.ts';
import { consumerProtocolSubscription } from '../../../../protocol/generated/data-consumer-protocol-subscription.ts';
import { encodeMessage } from '../../../../protocol/message-codec.ts';
import { ByteReader } from '../../../../protocol/wire/byte-reader.ts';
import type { ConsumerGroup } from '../../../../src/services/groups/consumer/consumer-group.ts';
import { GroupHarness } from '../group-machine-harness.ts';
import { Consumer } from './consumer-harness.ts';

class ClassicConsumer {
  readonly h: GroupHarness;
  memberId = '';
  generation = -1;
  owned = new Set<number>();
  #told = new Set<number>();
  #next: 'heartbeat' | 'sync' | 'give back' = 'heartbeat';

  constructor(h: GroupHarness) {
    this.h = h;
  }

  /** The next thing that a client does; others come between any two. What it has it reads until it says that it has given it back. */
  poll(): void {
    switch (this.#next) {
      case 'heartbeat': {
        const error =
          this.generation < 0 ? 'REBALANCE_IN_PROGRESS' : this.h.heartbeat(this.memberId, this.generation);
        if (error === 'NONE') return;
        if (error !== 'REBALANCE_IN_PROGRESS') this.forget();
        this.join();
        return;
      }
      case 'sync':
        this.sync();
        return;
      case 'give back':
        this.owned = this.#told;
        this.join();
    }
  }

  /** Fenced: everything is lost, and the next round begins as a new member. */
  forget(): void {
    this.owned = new Set();
    this.memberId = '';
    this.generation = -1;
    this.#next = 'heartbeat';
  }

  join(): void {
    const ownedPartitions = [{ topic: 'orders', partitions: [...this.owned] }];
    const metadata = Buffer.concat([
      Buffer.from([0, 1]),
      ...encodeMessage(
        consumerProtocolSubscription,
        { topics: ['orders'], userData: null, ownedPartitions },
        1,
      ),
    ]);
    const asked = this.h.join({
      memberId: this.memberId,
      protocols: [['range', metadata]],
      rebalanceTimeoutMs: 30_000,
    });
    const { errorCode, memberId, generationId } = asked.answer;
    if (errorName(errorCode) === 'MEMBER_ID_REQUIRED') {
      this.memberId = memberId;
      this.join();
      return;
    }
    if (errorCode !== 0) {
      this.forget();
      return;
    }
    this.memberId = memberId;
    this.generation = generationId!;
    this.#next = 'sync';
  }

  sync(): void {
    const synced = this.h.sync(this.memberId, this.generation).answer;
    if (synced.errorCode !== 0) {
      if (errorName(synced.errorCode) !== 'REBALANCE_IN_PROGRESS') this.forget();
      this.join();
      return;
    }
    const reader = new ByteReader(Buffer.from(synced.assignment));
    const { assignedPartitions } = consumerProtocolAssignment.decode(reader, reader.int16('version'));
    const told = new Set(assignedPartitions.flatMap(({ partitions }) => partitions));
    const mustGiveBack = [...this.owned].some((partition) => !told.has(partition));
    this.#told = told;
    this.owned = new Set([...this.owned, ...told]);
    this.#next = mustGiveBack ? 'give back' : 'heartbeat';
  }
}

class Walk {
  readonly h = new GroupHarness();
  /** Never leaves, so that the group stays what it is. */
  readonly anchor = new Consumer(this.h, 'anchor');
  readonly consumers: Consumer[] = [this.anchor];
  readonly classics: ClassicConsumer[] = [];
  #state: number;
  #next = 0;

  constructor(seed: number) {
    this.#state = seed * 7919 + 1;
    this.h.topics.set('orders', 7);
    expect(this.anchor.join()).toBe('NONE');
  }

  random(below: number): number {
    this.#state = (Math.imul(this.#state, 1103515245) + 12345) & 0x7fffffff;
    return (this.#state >> 8) % below;
  }

  async step(): Promise<void> {
    const { h, classics, consumers } = this;
    switch (this.random(12)) {
      case 0:
        if (classics.length < 4) classics.push(new ClassicConsumer(h));
        break;
      case 1:
        if (consumers.length < 3) {
          const consumer = new Consumer(h, `c${this.#next++}`);
          expect(consumer.join()).toBe('NONE');
          consumers.push(consumer);
        }
        break;
      case 2: {
        const [gone] = classics.splice(this.random(classics.length + 1), 1);
        if (gone !== undefined && gone.memberId !== '' && this.random(2) === 0) h.leave(gone.memberId);
        break;
      }
      case 3:
        if (consumers.length > 1) consumers.splice(1 + this.random(consumers.length - 1), 1)[0]!.leave();
        break;
      case 4:
        await h.clock.advance([100, 3_000, 9_000][this.random(3)]!);
        break;
      case 5:
        if (this.random(4) === 0) h.reload(this.random(2) === 0 ? 'log' : 'snapshot');
        break;
      case 6:
        h.topics.set('orders', 5 + this.random(4));
        break;
      default:
        if (classics.length > 0 && this.random(2) === 0) classics[this.random(classics.length)]!.poll();
        else this.beat(consumers[this.random(consumers.length)]!);
    }
    this.check();
  }

  beat(consumer: Consumer): void {
    const error = consumer.beat();
    if (error === 'UNKNOWN_MEMBER_ID' || error === 'FENCED_MEMBER_EPOCH')
      expect(consumer.join()).toBe('NONE');
    else expect(error).toBe('NONE');
  }

  get group(): ConsumerGroup {
    return this.h.machine.group('g') as ConsumerGroup;
  }

  check(): void {
    expect(this.group.type).toBe('consumer');
    const readers = new Map<string, string>();
    const reads = (place: string, memberId: string): void => {
      expect(readers.get(place), place).toBeUndefined();
      readers.set(place, memberId);
    };
    for (const { memberId, epoch, owned } of this.consumers) {
      if (this.group.members.get(memberId)?.memberEpoch !== epoch) continue;
      for (const place of owned) reads(place.slice(place.indexOf(':') + 1), memberId);
    }
    for (const { memberId, generation, owned } of this.classics) {
      if (this.group.members.get(memberId)?.memberEpoch !== generation) continue;
      for (const partition of owned) reads(`${partition}`, memberId);
    }
  }

  async quieten(): Promise<void> {
    for (let round = 0; round < 40; round++) {
      for (const consumer of this.consumers) this.beat(consumer);
      for (const classic of this.classics) classic.poll();
      this.check();
      await this.h.clock.advance(2_500);
    }
    expect(this.group.state).toBe('Stable');
    expect(this.group.members.size).toBe(this.consumers.length + this.classics.length);
    const read = [
      ...this.consumers.flatMap(({ owned }) =>
        [...owned].map((place) => place.slice(place.indexOf(':') + 1)),
      ),
      ...this.classics.flatMap(({ owned }) => [...owned].map(String)),
    ];
    const { partitionCount } = this.h.topics.byName('orders')!;
    expect(read.sort()).toEqual(Array.from({ length: partitionCount }, (_, index) => `${index}`));
  }
}

describe('members of both protocols', () => {
  it.each(Array.from({ length: 30 }, (_, seed) => seed))('share a group, seed %i', async (seed) => {
    const walk = new Walk(seed);
    for (let step = 0; step < 120; step++) await walk.step();
    await walk.quieten();
  });
});
