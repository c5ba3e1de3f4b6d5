import { describe, expect, it } from 'vitest';
import { errorName } from '../../../../protocol/error-codes.ts';
import { consumerProtocolAssignment } from '../../../../protocol/generated/data-consumer-protocol-assignment.ts';
import { ByteReader } from '../../../../protocol/wire/byte-reader.ts';
import type { ConsumerGroup } from '../../../../src/services/groups/consumer/consumer-group.ts';
import { GroupHarness, minuteMs, subscription, topicId } from '../group-machine-harness.ts';
import { Consumer, heartbeat, settle } from './consumer-harness.ts';

function group(h: GroupHarness): ConsumerGroup {
  return h.machine.group('g') as ConsumerGroup;
}

function consumerSettings(h: GroupHarness, more: Partial<GroupHarness['settings']['consumer']>) {
  return { consumer: { ...h.settings.consumer, ...more } };
}

const all = ['orders-0', 'orders-1', 'orders-2', 'orders-3'];

describe('joining', () => {
  it("records the member, the group's epoch, what is meant for the member and what it has, in Kafka's order", () => {
    const h = new GroupHarness();
    const a = new Consumer(h, 'a');
    expect(a.join()).toBe('NONE');
    expect(a.partitions).toEqual(all);
    expect(a.epoch).toBe(2);
    expect(h.takeRecords().map(({ type }) => type)).toEqual([
      'consumer-group-member-metadata',
      'consumer-group-metadata',
      'consumer-group-target-member',
      'consumer-group-target-metadata',
      'consumer-group-current-assignment',
    ]);
  });

  it('says nothing more in a heartbeat that changes nothing', () => {
    const h = new GroupHarness();
    const a = new Consumer(h, 'a');
    a.join();
    h.takeRecords();
    expect(a.beatIdle()).toBe('NONE');
    expect(heartbeat(h, { memberId: 'a', memberEpoch: a.epoch }).assignment).toBeNull();
    expect(h.takeRecords()).toEqual([]);
  });

  it('gives nobody a partition before it was given back', () => {
    const h = new GroupHarness();
    const [a, b] = [new Consumer(h, 'a'), new Consumer(h, 'b')];
    a.join();
    b.join();
    expect(b.partitions).toEqual([]);
    expect(a.beatIdle()).toBe('NONE');
    expect(a.partitions).toHaveLength(2);
    expect(a.epoch).toBe(2);
    b.beat();
    expect(b.partitions).toEqual([]);
    a.beat();
    expect(a.epoch).toBe(3);
    b.beat();
    expect([...a.partitions, ...b.partitions].sort()).toEqual(all);
    expect(group(h).state).toBe('Stable');
  });

  it('hears a member again whose answer was lost, and no other of before', () => {
    const h = new GroupHarness();
    const [a, b] = [new Consumer(h, 'a'), new Consumer(h, 'b')];
    a.join();
    const before = a.epoch;
    b.join();
    settle([a, b]);
    expect(a.send({ memberEpoch: before, topicPartitions: a.ownedOnWire() })).toBe('NONE');
    expect(a.send({ memberEpoch: before, topicPartitions: [{ topicId, partitions: [0, 1, 2, 3] }] })).toBe(
      'FENCED_MEMBER_EPOCH',
    );
    expect(a.send({ memberEpoch: 99 })).toBe('FENCED_MEMBER_EPOCH');
    expect(a.send({ memberId: 'c' })).toBe('UNKNOWN_MEMBER_ID');
  });

  it('refuses one more than group.consumer.max.size', () => {
    const h = new GroupHarness();
    const small = new GroupHarness(consumerSettings(h, { maxSize: 1 }));
    const [a, b] = [new Consumer(small, 'a'), new Consumer(small, 'b')];
    expect(a.join()).toBe('NONE');
    expect(b.join()).toBe('GROUP_MAX_SIZE_REACHED');
    expect(a.beat()).toBe('NONE');
  });

  it('goes by what most members ask for', () => {
    const h = new GroupHarness();
    const members = ['a', 'b', 'c'].map((id) => new Consumer(h, id));
    members[0]!.assignor = 'uniform';
    members[1]!.assignor = members[2]!.assignor = 'range';
    for (const member of members) member.join();
    expect(h.machine.consumer.describe('g').assignorName).toBe('range');
    settle(members);
    expect(members.map(({ partitions }) => partitions)).toEqual([
      ['orders-0', 'orders-1'],
      ['orders-2'],
      ['orders-3'],
    ]);
  });

  it('waits between two assignments as long as the group is told to', async () => {
    const h = new GroupHarness();
    const slow = new GroupHarness(consumerSettings(h, { assignmentIntervalMs: () => 1000 }));
    const [a, b] = [new Consumer(slow, 'a'), new Consumer(slow, 'b')];
    a.join();
    b.join();
    expect(group(slow).state).toBe('Assigning');
    expect(b.beat()).toBe('NONE');
    expect(group(slow).target.epoch).toBe(2);
    await slow.clock.advance(1000);
    b.beat();
    expect(group(slow).target.epoch).toBe(3);
    settle([a, b]);
    expect(b.partitions).toHaveLength(2);
  });
});

describe('time', () => {
  it('ends the session of a member that is silent, and only of that', async () => {
    const h = new GroupHarness();
    const [a, b] = [new Consumer(h, 'a'), new Consumer(h, 'b')];
    a.join();
    b.join();
    settle([a, b]);
    await h.clock.advance(30_000);
    a.beatIdle();
    await h.clock.advance(15_001);
    expect([...group(h).members.keys()]).toEqual(['a']);
    settle([a]);
    expect(a.partitions).toEqual(all);
    expect(b.beat()).toBe('UNKNOWN_MEMBER_ID');
  });

  it('fences a member that does not give back within its rebalance timeout', async () => {
    const h = new GroupHarness();
    const [a, b] = [new Consumer(h, 'a'), new Consumer(h, 'b')];
    a.join();
    b.join();
    a.beatIdle();
    for (let second = 0; second < 60; second += 20) {
      expect([...group(h).members.keys()]).toEqual(['a', 'b']);
      a.beatIdle();
      b.beat();
      await h.clock.advance(20_001);
    }
    expect([...group(h).members.keys()]).toEqual(['b']);
    settle([b]);
    expect(b.partitions).toEqual(all);
  });

  it('runs on from the log: members have a session to show up, and one that must give back its time', async () => {
    const h = new GroupHarness();
    const [a, b] = [new Consumer(h, 'a'), new Consumer(h, 'b')];
    a.join();
    b.join();
    a.beatIdle();
    h.reload();
    await h.clock.advance(44_000);
    b.beatIdle();
    await h.clock.advance(2_000);
    expect([...group(h).members.keys()]).toEqual(['b']);
  });

  it('drops an empty group with its last offset', async () => {
    const h = new GroupHarness();
    const a = new Consumer(h, 'a');
    a.join();
    expect(h.commit({ memberId: 'a', generationId: a.epoch })).toBe('NONE');
    await h.clock.advance(1_000);
    expect(h.expire()).toBe(0);
    a.leave();
    await h.clock.advance(h.settings.offsetsRetentionMs + minuteMs);
    expect(h.expire()).toBe(1);
    expect(h.machine.group('g')).toBeUndefined();
    h.reload();
    expect(h.machine.group('g')).toBeUndefined();
  });
});

describe('static members', () => {
  it('keep what they have while they are away for less than a session', async () => {
    const h = new GroupHarness();
    const a = new Consumer(h, 'a', ['orders'], 'i');
    const b = new Consumer(h, 'b');
    a.join();
    b.join();
    settle([a, b]);
    const before = a.partitions;
    const epoch = group(h).groupEpoch;
    expect(a.leave(-2)).toBe('NONE');
    h.reload();
    const again = new Consumer(h, 'c', ['orders'], 'i');
    expect(again.join()).toBe('NONE');
    expect(again.partitions).toEqual(before);
    expect(group(h).groupEpoch).toBe(epoch);
    expect(a.beat()).toBe('FENCED_INSTANCE_ID');
    expect(b.beat()).toBe('NONE');
  });

  it('lose it when they do not come back', async () => {
    const h = new GroupHarness();
    const a = new Consumer(h, 'a', ['orders'], 'i');
    a.join();
    a.leave(-2);
    await h.clock.advance(45_001);
    expect(group(h).isEmpty).toBe(true);
  });

  it('are not replaced while they are there', () => {
    const h = new GroupHarness();
    new Consumer(h, 'a', ['orders'], 'i').join();
    expect(new Consumer(h, 'b', ['orders'], 'i').join()).toBe('UNRELEASED_INSTANCE_ID');
  });
});

describe('topics', () => {
  it('that come, grow and go are assigned anew with the next heartbeat', () => {
    const h = new GroupHarness();
    const a = new Consumer(h, 'a', ['orders', 'new']);
    a.join();
    expect(a.partitions).toEqual(all);
    h.topics.set('new', 2);
    settle([a]);
    expect(a.partitions).toEqual(['new-0', 'new-1', ...all]);
    h.topics.set('orders', 5);
    settle([a]);
    expect(a.partitions).toContain('orders-4');
    h.topics.delete('new');
    settle([a]);
    expect(a.partitions).toEqual([...all, 'orders-4']);
    const epoch = a.epoch;
    h.topics.set('other', 1);
    settle([a]);
    expect(a.epoch).toBe(epoch);
  });

  it('that a member no longer subscribes to are taken back before anything else', () => {
    const h = new GroupHarness();
    h.topics.set('payments', 2);
    const a = new Consumer(h, 'a', ['orders', 'payments']);
    a.join();
    settle([a]);
    a.subscribe(['payments']);
    expect(a.partitions).toEqual(['payments-0', 'payments-1']);
    settle([a]);
    expect(group(h).isHeld(topicId, 0)).toBe(false);
  });
});

describe('regular expressions', () => {
  function joinWith(h: GroupHarness, id: string, regex: string): Consumer {
    const consumer = new Consumer(h, id, null);
    consumer.regex = regex;
    expect(consumer.join()).toBe('NONE');
    return consumer;
  }

  it('are looked up beside the requests, and count from then on', async () => {
    const h = new GroupHarness();
    h.topics.set('payments', 2);
    const a = joinWith(h, 'a', 'order.*');
    expect(a.partitions).toEqual([]);
    await h.clock.advance(1);
    settle([a]);
    expect(a.partitions).toEqual(all);
    expect(group(h).isSubscribedTo('orders')).toBe(true);
    expect(group(h).isSubscribedTo('payments')).toBe(false);
    h.reload();
    expect(group(h).isSubscribedTo('orders')).toBe(true);
  });

  it('find new topics, ten seconds apart at the least', async () => {
    const h = new GroupHarness();
    const a = joinWith(h, 'a', 'order.*');
    await h.clock.advance(1);
    settle([a]);
    h.topics.set('orders-2', 1);
    await h.clock.advance(5_000);
    settle([a]);
    expect(a.partitions).toEqual(all);
    await h.clock.advance(5_001);
    a.beat();
    await h.clock.advance(1);
    settle([a]);
    expect(a.partitions).toContain('orders-2-0');
  });

  it('that are none are refused, and change nothing', () => {
    const h = new GroupHarness();
    const a = new Consumer(h, 'a', null);
    a.regex = '(';
    expect(a.join()).toBe('INVALID_REGULAR_EXPRESSION');
    expect(h.takeRecords()).toEqual([]);
    expect(h.machine.group('g')).toBeUndefined();
  });

  it('go with the last member that has them', async () => {
    const h = new GroupHarness();
    const [a, b] = [joinWith(h, 'a', 'order.*'), joinWith(h, 'b', 'order.*')];
    await h.clock.advance(1);
    settle([a, b]);
    a.leave();
    expect(group(h).resolvedRegexes.size).toBe(1);
    b.leave();
    expect(group(h).resolvedRegexes.size).toBe(0);
  });
});

describe('offsets', () => {
  it("are a member's to commit in its epoch, and in one of before for what it has had since", () => {
    const h = new GroupHarness();
    const [a, b] = [new Consumer(h, 'a'), new Consumer(h, 'b')];
    a.join();
    const first = a.epoch;
    b.join();
    settle([a, b]);
    const own = Number(a.partitions[0]!.slice('orders-'.length));
    const others = Number(b.partitions[0]!.slice('orders-'.length));
    const commit = (
      memberId: string,
      generationId: number,
      partitionIndex: number,
      knowsMemberEpochs = true,
    ) => h.commit({ memberId, generationId, knowsMemberEpochs, partition: { partitionIndex } });
    expect(commit('a', a.epoch, own)).toBe('NONE');
    expect(commit('a', first, own)).toBe('NONE');
    expect(commit('a', first, others)).toBe('STALE_MEMBER_EPOCH');
    expect(commit('a', a.epoch + 1, own)).toBe('STALE_MEMBER_EPOCH');
    expect(commit('a', a.epoch, own, false)).toBe('UNSUPPORTED_VERSION');
    expect(commit('x', a.epoch, own)).toBe('UNKNOWN_MEMBER_ID');
    expect(h.commit()).toBe('UNKNOWN_MEMBER_ID');
  });

  it('of a group with members are neither deleted with it nor with a topic that it reads', () => {
    const h = new GroupHarness();
    const a = new Consumer(h, 'a');
    a.join();
    h.commit({ memberId: 'a', generationId: a.epoch });
    const deleteOrders = () =>
      h.run((effects) =>
        h.machine.offsetCommits.delete('g', [{ name: 'orders', partitionIndexes: [0] }], effects),
      );
    const deleteGroup = () =>
      errorName(h.run((effects) => h.machine.offsetCommits.deleteGroup('g', effects)));
    expect(deleteOrders()).toMatchObject({ topics: [[86]] });
    expect(deleteGroup()).toBe('NON_EMPTY_GROUP');
    a.leave();
    expect(deleteOrders()).toMatchObject({ topics: [[0]] });
    expect(deleteGroup()).toBe('NONE');
    expect(h.machine.group('g')).toBeUndefined();
  });
});

describe('the id of a share group', () => {
  it('is nothing that members of other protocols can join, nor commit offsets for', () => {
    const h = new GroupHarness();
    h.run((effects) => h.machine.share.ensure('g', effects));
    h.takeRecords();
    expect(new Consumer(h, 'a').join()).toBe('GROUP_ID_NOT_FOUND');
    expect(errorName(h.join().answer.errorCode)).toBe('INCONSISTENT_GROUP_PROTOCOL');
    expect(h.commit()).toBe('GROUP_ID_NOT_FOUND');
    expect(h.takeRecords()).toEqual([]);
  });
});

describe('migration', () => {
  /** A classic member that joins, syncs and owns what it is told. */
  function classicRound(h: GroupHarness, memberId: string): { generation: number; partitions: string[] } {
    const { answer } = h.join({ memberId, protocols: [['range', subscription('orders')]] });
    expect(errorName(answer.errorCode)).toBe('NONE');
    const synced = h.sync(memberId, answer.generationId!).answer;
    expect(errorName(synced.errorCode)).toBe('NONE');
    const reader = new ByteReader(Buffer.from(synced.assignment));
    const { assignedPartitions } = consumerProtocolAssignment.decode(reader, reader.int16('version'));
    return {
      generation: answer.generationId!,
      partitions: assignedPartitions
        .flatMap(({ topic, partitions }) => partitions.map((one) => `${topic}-${one}`))
        .sort(),
    };
  }

  async function classicGroup(count: number): Promise<{ h: GroupHarness; ids: string[] }> {
    const h = new GroupHarness();
    const joined = Array.from({ length: count }, () => h.joinWithId());
    await h.clock.advance(6_000);
    const ids = joined.map(({ memberId }) => memberId);
    h.sync(ids[0]!, 1, {});
    return { h, ids };
  }

  it('takes a live classic group over with the first member of the consumer protocol, and back with the last', async () => {
    const { h, ids } = await classicGroup(2);
    const c = new Consumer(h, 'c');
    expect(c.join()).toBe('NONE');
    expect(h.machine.list({ states: new Set(), types: new Set() })).toMatchObject([
      { groupType: 'consumer' },
    ]);
    expect(h.heartbeat(ids[0]!, 1)).toBe('REBALANCE_IN_PROGRESS');
    const rounds = ids.map((id) => classicRound(h, id));
    settle([c]);
    const shared = [...rounds.flatMap(({ partitions }) => partitions), ...c.partitions];
    expect(new Set(shared).size).toBe(shared.length);
    expect(h.heartbeat(ids[0]!, rounds[0]!.generation)).toBe('NONE');
    expect(h.heartbeat('c', c.epoch)).toBe('UNKNOWN_MEMBER_ID');
    h.reload();
    expect(h.machine.consumer.describe('g').members.map(({ memberType }) => memberType)).toEqual([0, 0, 1]);

    expect(c.leave()).toBe('NONE');
    expect(h.machine.list({ states: new Set(), types: new Set() })).toMatchObject([
      { groupType: 'classic', groupState: 'PreparingRebalance' },
    ]);
    const again = ids.map((memberId) => h.join({ memberId, protocols: [['range', subscription('orders')]] }));
    for (const { answer } of again) expect(errorName(answer.errorCode)).toBe('NONE');
    h.reload();
    expect(h.machine.group('g')?.type).toBe('classic');
  });

  it('moves partitions between members of both protocols without two having one', async () => {
    const { h, ids } = await classicGroup(1);
    const c = new Consumer(h, 'c');
    c.join();
    let round = classicRound(h, ids[0]!);
    for (let turn = 0; turn < 5; turn++) {
      c.beat();
      if (h.heartbeat(ids[0]!, round.generation) === 'REBALANCE_IN_PROGRESS')
        round = classicRound(h, ids[0]!);
      const both = [...round.partitions, ...c.partitions];
      expect(new Set(both).size).toBe(both.length);
    }
    expect([...round.partitions, ...c.partitions].sort()).toEqual(all);
    expect(c.partitions).toHaveLength(2);
  });

  it('fences a classic member that does not join again in time', async () => {
    const { h, ids } = await classicGroup(1);
    const c = new Consumer(h, 'c');
    c.join();
    expect(h.heartbeat(ids[0]!, 1)).toBe('REBALANCE_IN_PROGRESS');
    for (let second = 0; second < 60; second += 5) {
      h.heartbeat(ids[0]!, 1);
      c.beat();
      await h.clock.advance(5_001);
    }
    expect([...group(h).members.keys()]).toEqual(['c']);
  });

  it.each([
    ['disabled', 'GROUP_ID_NOT_FOUND'],
    ['downgrade', 'GROUP_ID_NOT_FOUND'],
    ['upgrade', 'NONE'],
    ['bidirectional', 'NONE'],
  ] as const)('with policy %s an upgrade ends in %s', async (migrationPolicy, expected) => {
    const h = new GroupHarness(consumerSettings(new GroupHarness(), { migrationPolicy }));
    h.joinWithId();
    await h.clock.advance(6_000);
    expect(new Consumer(h, 'c').join()).toBe(expected);
  });

  it('leaves a group in the consumer protocol where it may not go back', async () => {
    const h = new GroupHarness(consumerSettings(new GroupHarness(), { migrationPolicy: 'upgrade' }));
    h.joinWithId();
    await h.clock.advance(6_000);
    const c = new Consumer(h, 'c');
    c.join();
    c.leave();
    expect(h.machine.group('g')?.type).toBe('consumer');
    expect(group(h).members.size).toBe(1);
  });

  it('does not take over what is no group of consumers', async () => {
    const h = new GroupHarness();
    h.joinWithId({ protocolType: 'connect' });
    await h.clock.advance(6_000);
    expect(new Consumer(h, 'c').join()).toBe('GROUP_ID_NOT_FOUND');
    expect(h.machine.group('g')?.type).toBe('classic');
  });
});
