import { describe, expect, it } from 'vitest';
import { errorName } from '../../../protocol/error-codes.ts';
import { maxOffsetsDroppedAtOnce } from '../../../src/services/groups/offset-commits.ts';
import { GroupHarness, minuteMs, subscription, topicId } from './group-machine-harness.ts';

const dayMs = 24 * 60 * minuteMs;

function partitionOf(index: number, offset: number, metadata: string | null = '') {
  return { partitionIndex: index, offset, leaderEpoch: -1, metadata, commitTimestampMs: -1 };
}

describe('commits', () => {
  it('of a consumer that manages itself make the group', () => {
    const h = new GroupHarness();
    expect(h.commit({ partition: { offset: 42, leaderEpoch: 3, metadata: 'here' } })).toBe('NONE');
    expect(h.takeRecords()).toEqual([
      {
        type: 'offset-commit',
        key: { group: 'g', topic: 'orders', partition: 0 },
        value: {
          offset: 42,
          leaderEpoch: 3,
          metadata: 'here',
          commitTimestamp: h.clock.nowMs(),
          expireTimestamp: -1,
          topicId,
        },
      },
    ]);
    expect(h.state()).toBe('Empty');
    expect(
      h.machine.offsetCommits.fetch('g', [{ name: 'orders', topicId, partitionIndexes: [0, 1] }]),
    ).toEqual([
      {
        name: 'orders',
        topicId,
        partitions: [
          { partitionIndex: 0, errorCode: 0, offset: 42, leaderEpoch: 3, metadata: 'here' },
          { partitionIndex: 1, errorCode: 0, offset: -1, leaderEpoch: -1, metadata: '' },
        ],
      },
    ]);
  });

  it('of a generation need the group', () => {
    const h = new GroupHarness();
    expect(h.commit({ memberId: 'a', generationId: 1 })).toBe('GROUP_ID_NOT_FOUND');
    expect(h.log).toEqual([]);
  });

  it('take metadata up to its limit, one partition at a time', () => {
    const h = new GroupHarness({ offsetMetadataMaxBytes: 4 });
    const answer = h.run((effects) =>
      h.machine.offsetCommits.commit(
        {
          groupId: 'g',
          memberId: '',
          groupInstanceId: null,
          generationId: -1,
          knowsMemberEpochs: true,
          retentionMs: -1,
          topics: [
            {
              name: 'orders',
              topicId,
              partitions: [partitionOf(0, 1, 'four'), partitionOf(1, 2, 'fives'), partitionOf(2, 3, null)],
            },
          ],
        },
        effects,
      ),
    );
    expect(answer).toEqual({ errorCode: 0, topics: [[0, 12, 0]] });
    expect([h.committed(0), h.committed(1), h.committed(2)]).toEqual([1, -1, 3]);
  });

  it('with a time of their own keep it', () => {
    const h = new GroupHarness();
    h.commit({ partition: { commitTimestampMs: 123 } });
    expect(h.takeRecords()).toMatchObject([{ value: { commitTimestamp: 123 } }]);
  });

  it('keep 64-bit offsets exact', () => {
    const h = new GroupHarness();
    h.commit({ partition: { offset: 9223372036854775807n } });
    h.reload();
    expect(h.committed()).toBe(9223372036854775807n);
  });
});

describe('a table of states and commits', () => {
  /** What each kind of commit is answered in each state. */
  const expected = {
    Empty: {
      member: 'UNKNOWN_MEMBER_ID',
      oldGeneration: 'UNKNOWN_MEMBER_ID',
      stranger: 'UNKNOWN_MEMBER_ID',
      alone: 'NONE',
      memberWithoutGeneration: 'NONE',
    },
    PreparingRebalance: {
      member: 'NONE',
      oldGeneration: 'ILLEGAL_GENERATION',
      stranger: 'UNKNOWN_MEMBER_ID',
      alone: 'UNKNOWN_MEMBER_ID',
      memberWithoutGeneration: 'ILLEGAL_GENERATION',
    },
    CompletingRebalance: {
      member: 'REBALANCE_IN_PROGRESS',
      oldGeneration: 'ILLEGAL_GENERATION',
      stranger: 'UNKNOWN_MEMBER_ID',
      alone: 'UNKNOWN_MEMBER_ID',
      memberWithoutGeneration: 'ILLEGAL_GENERATION',
    },
    Stable: {
      member: 'NONE',
      oldGeneration: 'ILLEGAL_GENERATION',
      stranger: 'UNKNOWN_MEMBER_ID',
      alone: 'UNKNOWN_MEMBER_ID',
      memberWithoutGeneration: 'ILLEGAL_GENERATION',
    },
  } as const;

  it.each(Object.keys(expected) as (keyof typeof expected)[])('in %s', async (state) => {
    const h = new GroupHarness();
    const { member, generation } = await groupIn(h, state);
    expect(h.state()).toBe(state);
    expect({
      member: h.commit({ memberId: member, generationId: generation }),
      oldGeneration: h.commit({ memberId: member, generationId: generation + 5 }),
      stranger: h.commit({ memberId: 'stranger', generationId: generation }),
      alone: h.commit(),
      memberWithoutGeneration: h.commit({ memberId: member, generationId: -1 }),
    }).toEqual(expected[state]);
  });
});

describe('a table of states and requests', () => {
  // Each request comes after the one before: an empty group is gone once it was deleted.
  const expected = {
    Empty: {
      heartbeat: 'UNKNOWN_MEMBER_ID',
      wrongGeneration: 'UNKNOWN_MEMBER_ID',
      sync: 'UNKNOWN_MEMBER_ID',
      leave: undefined,
      deleteGroup: 'NONE',
      described: 'Empty',
    },
    PreparingRebalance: {
      heartbeat: 'REBALANCE_IN_PROGRESS',
      wrongGeneration: 'ILLEGAL_GENERATION',
      sync: 'REBALANCE_IN_PROGRESS',
      leave: ['NONE'],
      deleteGroup: 'NON_EMPTY_GROUP',
      described: 'PreparingRebalance',
    },
    CompletingRebalance: {
      heartbeat: 'NONE',
      wrongGeneration: 'ILLEGAL_GENERATION',
      sync: 'NONE',
      leave: ['NONE'],
      deleteGroup: 'NON_EMPTY_GROUP',
      described: 'CompletingRebalance',
    },
    Stable: {
      heartbeat: 'NONE',
      wrongGeneration: 'ILLEGAL_GENERATION',
      sync: 'NONE',
      leave: ['NONE'],
      deleteGroup: 'NON_EMPTY_GROUP',
      described: 'Stable',
    },
    Dead: {
      heartbeat: 'UNKNOWN_MEMBER_ID',
      wrongGeneration: 'UNKNOWN_MEMBER_ID',
      sync: 'UNKNOWN_MEMBER_ID',
      leave: undefined,
      deleteGroup: 'GROUP_ID_NOT_FOUND',
      described: 'Dead',
    },
  } as const;

  it.each(Object.keys(expected) as (keyof typeof expected)[])('in %s', async (state) => {
    const h = new GroupHarness();
    const { member, generation } =
      state === 'Dead' ? { member: 'm', generation: 1 } : await groupIn(h, state);
    expect({
      described: h.state(),
      heartbeat: h.heartbeat(member, generation),
      wrongGeneration: h.heartbeat(member, generation + 1),
      deleteGroup: errorName(h.run((effects) => h.machine.offsetCommits.deleteGroup('g', effects))),
      sync: errorName(h.sync(member, generation).answer.errorCode),
      leave: h.leave(member),
    }).toEqual(expected[state]);
  });
});

/** A group in a state, with a member (the leader, where there are more) and its generation. */
async function groupIn(
  h: GroupHarness,
  state: 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable',
): Promise<{ member: string; generation: number }> {
  if (state === 'CompletingRebalance') {
    const { memberId } = h.joinWithId();
    await h.clock.advance(3_000);
    return { member: memberId, generation: 1 };
  }
  const [leader, follower] = await h.stableGroup(2);
  if (state === 'Empty') h.leave(leader!, follower!);
  if (state === 'PreparingRebalance')
    h.join({ memberId: follower!, protocols: [['range', subscription('payments')]] });
  return { member: leader!, generation: state === 'Empty' ? 2 : 1 };
}

describe('fetching', () => {
  it('everything gives every topic', () => {
    const h = new GroupHarness();
    h.commit({ partition: { offset: 7 } });
    h.commit({
      topics: [{ name: 'payments', topicId: 'cGF5bWVudHMtdG9waWMtMA', partitions: [partitionOf(2, 9)] }],
    });
    expect(
      h.machine.offsetCommits
        .fetchAll('g')
        .map(({ name, partitions }) => [name, partitions[0]!.partitionIndex, partitions[0]!.offset]),
    ).toEqual([
      ['orders', 0, 7],
      ['payments', 2, 9],
    ]);
    expect(h.machine.offsetCommits.fetchAll('other')).toEqual([]);
  });

  it('shows nothing of an earlier topic of the same name', () => {
    const h = new GroupHarness();
    h.commit({ partition: { offset: 7 } });
    h.topics.set('orders', 4, 'YW5vdGhlci10b3BpYy0wMA');
    expect(h.committed()).toBe(-1);
  });
});

describe('deleting', () => {
  it('offsets leaves those of topics that the group consumes', async () => {
    const h = new GroupHarness();
    const [member] = await h.stableGroup(1);
    h.commit({ memberId: member!, generationId: 1 });
    h.commit({
      memberId: member!,
      generationId: 1,
      topics: [{ name: 'payments', topicId, partitions: [partitionOf(0, 5)] }],
    });
    h.takeRecords();
    const answer = h.run((effects) =>
      h.machine.offsetCommits.delete(
        'g',
        [
          { name: 'orders', partitionIndexes: [0] },
          { name: 'payments', partitionIndexes: [0, 1] },
        ],
        effects,
      ),
    );
    expect(answer).toEqual({ errorCode: 0, topics: [[86], [0, 0]] });
    expect(h.takeRecords()).toEqual([
      { type: 'offset-commit', key: { group: 'g', topic: 'payments', partition: 0 }, value: null },
    ]);
  });

  it('offsets of an active group that is no consumer group is refused', async () => {
    const h = new GroupHarness();
    await h.stableGroup(1, { protocolType: 'connect' });
    expect(h.run((effects) => h.machine.offsetCommits.delete('g', [], effects))).toEqual({ errorCode: 68 });
    expect(h.run((effects) => h.machine.offsetCommits.delete('x', [], effects))).toEqual({ errorCode: 69 });
  });

  it('offsets of a group whose subscriptions cannot be read deletes none', async () => {
    const h = new GroupHarness();
    const [member] = await h.stableGroup(1, { protocols: [['range', Buffer.from('nonsense')]] });
    h.commit({ memberId: member!, generationId: 1 });
    expect(
      h.run((effects) =>
        h.machine.offsetCommits.delete('g', [{ name: 'orders', partitionIndexes: [0] }], effects),
      ),
    ).toEqual({ errorCode: 0, topics: [[86]] });
  });

  it('a group takes its offsets with it', () => {
    const h = new GroupHarness();
    h.commit();
    h.commit({ partition: { partitionIndex: 1 } });
    h.takeRecords();
    expect(h.run((effects) => h.machine.offsetCommits.deleteGroup('g', effects))).toBe(0);
    expect(h.takeRecords()).toEqual([
      { type: 'offset-commit', key: { group: 'g', topic: 'orders', partition: 0 }, value: null },
      { type: 'offset-commit', key: { group: 'g', topic: 'orders', partition: 1 }, value: null },
      { type: 'group-metadata', key: { group: 'g' }, value: null },
    ]);
    expect([h.state(), h.committed()]).toEqual(['Dead', -1]);
  });

  it('a topic drops what was committed for it, and not for its successor', () => {
    const h = new GroupHarness();
    h.commit();
    h.commit({
      groupId: 'other',
      topics: [{ name: 'orders', topicId: 'YW5vdGhlci10b3BpYy0wMA', partitions: [partitionOf(0, 5)] }],
    });
    expect(h.run((effects) => h.machine.offsetCommits.onTopicDeleted('orders', topicId, effects))).toBe(1);
    expect(h.machine.offsetCommits.fetchAll('g')).toEqual([]);
    expect(h.machine.offsetCommits.fetchAll('other')).toHaveLength(1);
  });

  it('of a topic that the broker did not live to see is made up for at the next start', () => {
    const h = new GroupHarness();
    h.commit();
    h.takeRecords();
    h.topics.set('orders', 4, 'YW5vdGhlci10b3BpYy0wMA');
    h.reload();
    expect(h.takeRecords()).toEqual([
      { type: 'offset-commit', key: { group: 'g', topic: 'orders', partition: 0 }, value: null },
    ]);
    // A topic that is not there at all says nothing: perhaps it is only not known yet.
    h.commit();
    h.takeRecords();
    h.topics.delete('orders');
    h.reload();
    expect(h.takeRecords()).toEqual([]);
  });
});

describe('retention', () => {
  it('of a consumer that manages itself counts from the commit', async () => {
    const h = new GroupHarness();
    h.commit();
    await h.clock.advance(7 * dayMs - 1);
    expect(h.expire()).toBe(0);
    await h.clock.advance(1);
    h.takeRecords();
    expect(h.expire()).toBe(1);
    expect(h.takeRecords()).toEqual([
      { type: 'offset-commit', key: { group: 'g', topic: 'orders', partition: 0 }, value: null },
      { type: 'group-metadata', key: { group: 'g' }, value: null },
    ]);
    expect(h.state()).toBe('Dead');
  });

  it('of a group counts from when it got empty, over a restart, too', async () => {
    const h = new GroupHarness();
    const [member] = await h.stableGroup(1, { sessionTimeoutMs: 1_800_000 });
    h.commit({ memberId: member!, generationId: 1 });
    for (let day = 0; day < 10 * 48; day++) {
      await h.clock.advance(30 * minuteMs - 1);
      expect(h.heartbeat(member!, 1)).toBe('NONE');
    }
    expect(h.expire()).toBe(0);
    h.leave(member!);
    h.reload();
    await h.clock.advance(7 * dayMs - 1);
    expect(h.expire()).toBe(0);
    await h.clock.advance(1);
    expect(h.expire()).toBe(1);
    expect(h.state()).toBe('Dead');
  });

  it('counts for topics that a living group does not consume any more', async () => {
    const h = new GroupHarness({ offsetsRetentionMs: 5 * minuteMs });
    const [member] = await h.stableGroup(1, { sessionTimeoutMs: 1_800_000 });
    const mine = { memberId: member!, generationId: 1 };
    h.commit(mine);
    h.commit({ ...mine, topics: [{ name: 'payments', topicId, partitions: [partitionOf(0, 5)] }] });
    await h.clock.advance(6 * minuteMs);
    expect(h.expire()).toBe(1);
    expect(h.machine.offsetCommits.fetchAll('g').map((topic) => topic.name)).toEqual(['orders']);
  });

  it('does not count while a group rebalances, nor for groups that are no consumers', async () => {
    const h = new GroupHarness({ offsetsRetentionMs: 1 });
    const options = { sessionTimeoutMs: 1_800_000, rebalanceTimeoutMs: 1_800_000 };
    const [member] = await h.stableGroup(1, options);
    h.commit({
      memberId: member!,
      generationId: 1,
      topics: [{ name: 'payments', topicId, partitions: [partitionOf(0, 5)] }],
    });
    h.joinWithId(options);
    const [connector] = await (async () => {
      const other = h.joinWithId({ ...options, groupId: 'c', protocolType: 'connect' });
      await h.clock.advance(6_000);
      h.sync(other.memberId, 1, {}, { groupId: 'c' });
      return [other.memberId];
    })();
    h.commit({ groupId: 'c', memberId: connector!, generationId: 1 });
    await h.clock.advance(minuteMs);
    expect(h.expire()).toBe(0);
  });

  it('is what the client asked for, where it did, whatever the group does', async () => {
    const h = new GroupHarness();
    const [member] = await h.stableGroup(1, { sessionTimeoutMs: 1_800_000 });
    h.commit({
      memberId: member!,
      generationId: 1,
      knowsMemberEpochs: true,
      retentionMs: 5 * minuteMs,
      topics: [{ name: 'payments', topicId, partitions: [partitionOf(0, 5)] }],
    });
    expect(h.takeRecords()).toMatchObject([{ value: { expireTimestamp: h.clock.nowMs() + 5 * minuteMs } }]);
    h.reload();
    await h.clock.advance(5 * minuteMs - 1);
    expect(h.expire()).toBe(0);
    await h.clock.advance(1);
    expect(h.expire()).toBe(1);
  });

  it('is not done with too many at once', async () => {
    const h = new GroupHarness({ offsetsRetentionMs: 1 });
    const count = maxOffsetsDroppedAtOnce + 5;
    h.commit({
      topics: [
        {
          name: 'orders',
          topicId,
          partitions: Array.from({ length: count }, (_, index) => partitionOf(index, 1)),
        },
      ],
    });
    await h.clock.advance(1);
    expect([h.expire(), h.state(), h.expire(), h.state()]).toEqual([
      maxOffsetsDroppedAtOnce,
      'Empty',
      5,
      'Dead',
    ]);
  });

  it('drops groups of which nothing is left, but not one whose member is on its way back', async () => {
    const h = new GroupHarness();
    const { memberId } = h.join().answer;
    h.expire();
    expect(h.state()).toBe('Empty');
    h.join({ memberId });
    await h.clock.advance(3_000);
    h.leave(memberId);
    h.expire();
    expect(h.state()).toBe('Dead');
  });
});

describe('a snapshot', () => {
  it('makes the same state again', async () => {
    const h = new GroupHarness();
    const [member] = await h.stableGroup(2);
    h.commit({ memberId: member!, generationId: 1, partition: { offset: 5, metadata: 'x' } });
    h.commit({ groupId: 'simple', retentionMs: 1000 });
    h.commit({ groupId: 'gone' });
    h.run((effects) => h.machine.offsetCommits.deleteGroup('gone', effects));
    const before = [...h.machine.snapshot()];
    h.reload('snapshot');
    expect([...h.machine.snapshot()].map(undefinedAsDefault)).toEqual(before.map(undefinedAsDefault));
    expect(before).toHaveLength(3);
    expect(h.machine.describe('g').members).toHaveLength(2);
  });
});

/** A record with an expiry loses what its version does not have. */
function undefinedAsDefault(record: unknown): unknown {
  return JSON.parse(JSON.stringify(record, (key, value) => (key === 'topicId' ? undefined : value)));
}
