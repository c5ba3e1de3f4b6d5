import { describe, expect, it } from 'vitest';
import { apiByKey } from '../../../protocol/generated/apis.ts';
import { consumerProtocolSubscription } from '../../../protocol/generated/data-consumer-protocol-subscription.ts';
import { encodeToBuffer } from '../../../protocol/message-codec.ts';
import { type Answer, GroupBroker } from './group-handlers-harness.ts';

const keys = {
  commit: 8,
  fetch: 9,
  find: 10,
  join: 11,
  heartbeat: 12,
  leave: 13,
  sync: 14,
  describe: 15,
  list: 16,
  delete: 42,
  offsetDelete: 47,
};
const otherTopicId = 'b3RoZXItdG9waWMtaWQtMA';

function versions(apiKey: number, from = 0): number[] {
  const { maxVersion } = apiByKey(apiKey)!;
  return Array.from({ length: maxVersion - from + 1 }, (_, index) => from + index);
}

function joinRequest(version: number, memberId = '', instanceId: string | null = null): object {
  return {
    groupId: 'g',
    sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: version === 0 ? -1 : 20_000,
    memberId,
    groupInstanceId: instanceId,
    protocolType: 'consumer',
    protocols: [
      {
        name: 'range',
        metadata: Buffer.concat([
          Buffer.from([0, 0]),
          encodeToBuffer(consumerProtocolSubscription, { topics: ['orders'] }, 0),
        ]),
      },
    ],
  };
}

/** Joins a broker's group g as its only member and syncs, in one version of JoinGroup. */
async function joinAlone(broker: GroupBroker, version = 9): Promise<string> {
  let memberId = '';
  if (version >= 4) {
    const first = await broker.call(keys.join, version, joinRequest(version));
    expect(first.errorCode).toBe(79);
    memberId = first.memberId;
  }
  const joining = broker.send(keys.join, version, joinRequest(version, memberId));
  await broker.clock.advance(3_000);
  const joined = await joining;
  expect(joined).toMatchObject({
    errorCode: 0,
    generationId: 1,
    leader: joined.memberId,
    protocolName: 'range',
  });
  expect(joined.members).toHaveLength(1);
  const synced = await broker.call(keys.sync, Math.min(version, 5), {
    groupId: 'g',
    generationId: 1,
    memberId: joined.memberId,
    protocolType: 'consumer',
    protocolName: 'range',
    assignments: [{ memberId: joined.memberId, assignment: Buffer.from('bytes') }],
  });
  expect(synced).toMatchObject({ errorCode: 0, assignment: Buffer.from('bytes') });
  return joined.memberId;
}

function commitRequest(version: number, topicId: string, options: object = {}): object {
  return {
    groupId: 'g',
    memberId: '',
    topics: [
      {
        ...(version >= 10 ? { topicId } : { name: 'orders' }),
        partitions: [
          {
            partitionIndex: 0,
            committedOffset: 5,
            ...(version >= 6 ? { committedLeaderEpoch: 3 } : {}),
            committedMetadata: 'note',
          },
          { partitionIndex: 1, committedOffset: 6, committedMetadata: null },
        ],
      },
    ],
    ...options,
  };
}

describe('every version', () => {
  it('of the handlers is the newest stable one of Kafka', () => {
    const broker = new GroupBroker();
    for (const [key, handler] of broker.handlers) {
      expect([key, handler.minVersion, handler.maxVersion]).toEqual([key, 0, apiByKey(key)!.maxVersion]);
    }
  });

  it.each(versions(keys.join))(
    'JoinGroup %i, SyncGroup, Heartbeat and LeaveGroup with it',
    async (version) => {
      const broker = new GroupBroker({ 'group.initial.rebalance.delay.ms': '100' });
      await broker.createTopic('orders');
      const memberId = await joinAlone(broker, version);
      for (const each of versions(keys.heartbeat)) {
        const beat = { groupId: 'g', generationId: 1, memberId };
        expect((await broker.call(keys.heartbeat, each, beat)).errorCode).toBe(0);
        expect((await broker.call(keys.heartbeat, each, { ...beat, generationId: 2 })).errorCode).toBe(22);
        expect((await broker.call(keys.heartbeat, each, { ...beat, groupId: '' })).errorCode).toBe(24);
      }
      const [described] = (await broker.call(keys.describe, 4, { groups: ['g'] })).groups;
      expect(described).toMatchObject({
        groupState: 'Stable',
        protocolType: 'consumer',
        protocolData: 'range',
        members: [
          { memberId, clientId: 'client', clientHost: '/10.1.2.3', memberAssignment: Buffer.from('bytes') },
        ],
      });
      const leaveVersion = version % 6;
      const left = await broker.call(
        keys.leave,
        leaveVersion,
        leaveVersion < 3 ? { groupId: 'g', memberId } : { groupId: 'g', members: [{ memberId }] },
      );
      expect(left.errorCode).toBe(0);
      if (leaveVersion >= 3)
        expect(left.members).toEqual([{ memberId, groupInstanceId: null, errorCode: 0 }]);
      expect((await broker.call(keys.describe, 4, { groups: ['g'] })).groups[0].groupState).toBe('Empty');
    },
  );

  it.each(versions(keys.join))('of refusals of JoinGroup %i', async (version) => {
    const broker = new GroupBroker();
    const refused = async (change: object): Promise<Answer> =>
      broker.call(keys.join, version, { ...joinRequest(version), ...change });
    const nothing = { generationId: -1, leader: '', members: [], protocolName: version >= 7 ? null : '' };
    expect(await refused({ groupId: '' })).toMatchObject({ errorCode: 24, memberId: '', ...nothing });
    expect(await refused({ sessionTimeoutMs: 5_999 })).toMatchObject({ errorCode: 26, ...nothing });
    expect(await refused({ sessionTimeoutMs: 1_800_001 })).toMatchObject({ errorCode: 26, ...nothing });
    expect(await refused({ memberId: 'who' })).toMatchObject({ errorCode: 25, memberId: 'who', ...nothing });
    expect(await refused({ protocols: [] })).toMatchObject({ errorCode: 23, ...nothing });
  });

  it.each(versions(keys.sync))('of refusals of SyncGroup %i', async (version) => {
    const broker = new GroupBroker();
    const request = {
      groupId: 'g',
      generationId: 1,
      memberId: 'm',
      protocolType: 'a',
      protocolName: 'b',
      assignments: [],
    };
    expect(await broker.call(keys.sync, version, request)).toMatchObject({
      errorCode: 25,
      assignment: Buffer.alloc(0),
    });
    expect((await broker.call(keys.sync, version, { ...request, groupId: '' })).errorCode).toBe(24);
    const withoutProtocol = { ...request, protocolType: null, protocolName: null };
    expect((await broker.call(keys.sync, version, withoutProtocol)).errorCode).toBe(version >= 5 ? 23 : 25);
  });

  it.each(versions(keys.leave))('of refusals of LeaveGroup %i', async (version) => {
    const broker = new GroupBroker();
    const leave = (groupId: string): Promise<Answer> =>
      broker.call(
        keys.leave,
        version,
        version < 3
          ? { groupId, memberId: 'm' }
          : { groupId, members: [{ memberId: 'm', groupInstanceId: 'i' }] },
      );
    const answer = await leave('g');
    if (version < 3) expect(answer.errorCode).toBe(25);
    else
      expect(answer).toMatchObject({
        errorCode: 0,
        members: [{ memberId: 'm', groupInstanceId: 'i', errorCode: 25 }],
      });
    expect(await leave('')).toMatchObject({ errorCode: 24, members: [] });
  });

  it.each(versions(keys.commit))(
    'of OffsetCommit %i, read in every version of OffsetFetch',
    async (version) => {
      const broker = new GroupBroker();
      const { id } = await broker.createTopic('orders');
      const answer = await broker.call(keys.commit, version, commitRequest(version, id));
      expect(answer.topics).toEqual([
        {
          name: version >= 10 ? '' : 'orders',
          topicId: version >= 10 ? id : 'AAAAAAAAAAAAAAAAAAAAAA',
          partitions: [
            { partitionIndex: 0, errorCode: 0 },
            { partitionIndex: 1, errorCode: 0 },
          ],
        },
      ]);
      const epoch = version >= 6 ? 3 : -1;
      for (const each of versions(keys.fetch)) {
        const named = each >= 10 ? { topicId: id } : { name: 'orders' };
        const topics = [{ ...named, partitionIndexes: [0, 1, 7] }];
        const fetched = await broker.call(
          keys.fetch,
          each,
          each < 8
            ? { groupId: 'g', topics }
            : {
                groups: [
                  { groupId: 'g', topics },
                  { groupId: 'x', topics },
                ],
              },
        );
        const [topic] = each < 8 ? fetched.topics : fetched.groups[0].topics;
        expect(topic).toMatchObject({
          ...named,
          partitions: [
            {
              partitionIndex: 0,
              committedOffset: 5,
              metadata: 'note',
              errorCode: 0,
              committedLeaderEpoch: each >= 5 ? epoch : -1,
            },
            { partitionIndex: 1, committedOffset: 6, metadata: '', errorCode: 0 },
            { partitionIndex: 7, committedOffset: -1, metadata: '', errorCode: each === 0 ? 3 : 0 },
          ],
        });
        if (each >= 8) {
          expect(fetched.groups[1]).toMatchObject({ groupId: 'x', errorCode: 0 });
          expect(fetched.groups[1].topics[0].partitions[0]).toMatchObject({
            committedOffset: -1,
            errorCode: 0,
          });
        }
      }
    },
  );

  it.each(versions(keys.fetch, 2))('of OffsetFetch %i gives all topics for null', async (version) => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    await broker.call(keys.commit, 9, commitRequest(9, id));
    const fetched = await broker.call(
      keys.fetch,
      version,
      version < 8 ? { groupId: 'g', topics: null } : { groups: [{ groupId: 'g', topics: null }] },
    );
    const { topics } = version < 8 ? fetched : fetched.groups[0];
    expect(topics).toHaveLength(1);
    expect(topics[0]).toMatchObject(version >= 10 ? { topicId: id } : { name: 'orders' });
    expect(topics[0].partitions.map((each: Answer) => each.committedOffset)).toEqual([5, 6]);
  });

  it.each(versions(keys.find))(
    'of FindCoordinator %i names this broker, at the address of the listener',
    async (version) => {
      const broker = new GroupBroker();
      const node = { errorCode: 0, nodeId: 1, host: 'broker.example', port: 9092 };
      const answer = await broker.call(
        keys.find,
        version,
        version < 4 ? { key: 'g' } : { keyType: 0, coordinatorKeys: ['g', 'h'] },
      );
      if (version < 4) expect(answer).toMatchObject({ ...node, errorMessage: version >= 1 ? 'NONE' : '' });
      else expect(answer.coordinators).toEqual(['g', 'h'].map((key) => ({ key, ...node, errorMessage: '' })));
      expect(broker.topics.get('__consumer_offsets')?.partitions).toHaveLength(50);
    },
  );

  it.each(versions(keys.find, 1))('of FindCoordinator %i refuses what is not served', async (version) => {
    const broker = new GroupBroker();
    for (const [keyType, errorCode] of [
      [2, 42],
      [7, 42],
    ]) {
      const answer = await broker.call(
        keys.find,
        version,
        version < 4 ? { key: 'k', keyType } : { keyType, coordinatorKeys: ['k'] },
      );
      expect(version < 4 ? answer : answer.coordinators[0]).toMatchObject({
        errorCode,
        nodeId: -1,
        host: '',
        port: -1,
      });
    }
    expect(broker.topics.size).toBe(0);
  });

  it.each(versions(keys.describe))('of DescribeGroups %i', async (version) => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    await broker.call(keys.commit, 9, commitRequest(9, id));
    const { groups } = await broker.call(keys.describe, version, {
      groups: ['g', 'x'],
      ...(version >= 3 ? { includeAuthorizedOperations: true } : {}),
    });
    expect(groups).toMatchObject([
      {
        groupId: 'g',
        errorCode: 0,
        groupState: 'Empty',
        protocolType: '',
        authorizedOperations: version >= 3 ? 3400 : -2147483648,
      },
      version >= 6
        ? {
            groupId: 'x',
            errorCode: 69,
            errorMessage: 'Group x not found.',
            groupState: 'Dead',
            authorizedOperations: -2147483648,
          }
        : {
            groupId: 'x',
            errorCode: 0,
            groupState: 'Dead',
            authorizedOperations: version >= 3 ? 3400 : -2147483648,
          },
    ]);
  });

  it.each(versions(keys.list))('of ListGroups %i', async (version) => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    expect(await broker.call(keys.list, version, {})).toMatchObject({ errorCode: 0, groups: [] });
    await broker.call(keys.commit, 9, commitRequest(9, id, { groupId: 'simple' }));
    await joinAlone(broker);
    const list = async (filter: object): Promise<string[]> =>
      (await broker.call(keys.list, version, filter)).groups.map((group: Answer) => group.groupId).sort();
    const { groups } = await broker.call(keys.list, version, {});
    expect(groups.find((group: Answer) => group.groupId === 'g')).toEqual({
      groupId: 'g',
      protocolType: 'consumer',
      groupState: version >= 4 ? 'Stable' : '',
      groupType: version >= 5 ? 'classic' : '',
    });
    expect(await list({})).toEqual(['g', 'simple']);
    if (version >= 4) {
      expect(await list({ statesFilter: ['stable '] })).toEqual(['g']);
      expect(await list({ statesFilter: ['Empty', 'Dead'] })).toEqual(['simple']);
      expect(await list({ statesFilter: ['bogus'] })).toEqual([]);
    }
    if (version >= 5) {
      expect(await list({ typesFilter: ['CLASSIC'] })).toEqual(['g', 'simple']);
      expect(await list({ typesFilter: ['consumer'] })).toEqual([]);
    }
  });

  it.each(versions(keys.delete))('of DeleteGroups %i', async (version) => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    await broker.call(keys.commit, 9, commitRequest(9, id, { groupId: 'simple' }));
    await joinAlone(broker);
    const { results } = await broker.call(keys.delete, version, {
      groupsNames: ['simple', 'g', 'x', 'simple'],
    });
    expect(results.map((result: Answer) => [result.groupId, result.errorCode])).toEqual([
      ['simple', 0],
      ['g', 68],
      ['x', 69],
    ]);
  });
});

describe('OffsetCommit', () => {
  it('takes offsets only of partitions that there are', async () => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    const partition = (partitionIndex: number): object => ({
      partitionIndex,
      committedOffset: 1,
      committedMetadata: '',
    });
    const byName = await broker.call(keys.commit, 9, {
      groupId: 'g',
      topics: [
        { name: 'nowhere', partitions: [partition(0)] },
        { name: 'orders', partitions: [partition(2), partition(1), partition(-1)] },
        { name: 'orders', partitions: [] },
      ],
    });
    expect(
      byName.topics.map((topic: Answer) => topic.partitions.map((each: Answer) => each.errorCode)),
    ).toEqual([[3], [3, 0, 3]]);
    const byId = await broker.call(keys.commit, 10, {
      groupId: 'g',
      topics: [
        { topicId: otherTopicId, partitions: [partition(0)] },
        { topicId: id, partitions: [partition(0), partition(9)] },
      ],
    });
    expect(
      byId.topics.map((topic: Answer) => topic.partitions.map((each: Answer) => each.errorCode)),
    ).toEqual([[100], [0, 3]]);
  });

  it('says a missing group in the words of the version', async () => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    const errorIn = async (version: number): Promise<number> =>
      (
        await broker.call(
          keys.commit,
          version,
          commitRequest(version, id, { generationIdOrMemberEpoch: 3, memberId: 'm' }),
        )
      ).topics[0].partitions[1].errorCode;
    expect(await errorIn(8)).toBe(22);
    expect(await errorIn(9)).toBe(69);
  });

  it('of old keeps its retention and its own time', async () => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    await broker.call(keys.commit, 4, commitRequest(4, id, { retentionTimeMs: 60_000 }));
    await broker.call(keys.commit, 1, {
      groupId: 'old',
      topics: [
        {
          name: 'orders',
          partitions: [
            {
              partitionIndex: 0,
              committedOffset: 9,
              commitTimestamp: broker.clock.nowMs() - 7 * 86_400_000,
              committedMetadata: '',
            },
          ],
        },
      ],
    });
    await broker.clock.advance(11 * 60_000);
    const { groups } = await broker.call(keys.list, 0, {});
    expect(groups).toEqual([]);
  });
});

describe('OffsetFetch', () => {
  it('by id answers UNKNOWN_TOPIC_ID beside what is known', async () => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    await broker.call(keys.commit, 10, commitRequest(10, id));
    const { groups } = await broker.call(keys.fetch, 10, {
      groups: [
        {
          groupId: 'g',
          topics: [
            { topicId: otherTopicId, partitionIndexes: [0] },
            { topicId: id, partitionIndexes: [1] },
          ],
        },
      ],
    });
    expect(groups[0].topics).toMatchObject([
      { topicId: id, partitions: [{ partitionIndex: 1, committedOffset: 6, errorCode: 0 }] },
      { topicId: otherTopicId, partitions: [{ partitionIndex: 0, committedOffset: -1, errorCode: 100 }] },
    ]);
  });

  it('reads what was committed in the same turn', async () => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    const commit = broker.send(keys.commit, 9, commitRequest(9, id));
    const fetch = broker.send(keys.fetch, 5, {
      groupId: 'g',
      topics: [{ name: 'orders', partitionIndexes: [0] }],
    });
    await broker.clock.advance(0);
    await commit;
    expect((await fetch).topics[0].partitions[0].committedOffset).toBe(5);
  });
});

describe('OffsetDelete', () => {
  it('answers each partition in its place', async () => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    await broker.createTopic('payments');
    const memberId = await joinAlone(broker);
    const mine = { memberId, generationIdOrMemberEpoch: 1 };
    await broker.call(keys.commit, 9, commitRequest(9, id, mine));
    const answer = await broker.call(keys.offsetDelete, 0, {
      groupId: 'g',
      topics: [
        { name: 'nowhere', partitions: [{ partitionIndex: 0 }] },
        { name: 'orders', partitions: [{ partitionIndex: 9 }, { partitionIndex: 0 }] },
        { name: 'payments', partitions: [{ partitionIndex: 0 }, { partitionIndex: 2 }] },
      ],
    });
    expect(answer.errorCode).toBe(0);
    expect(
      answer.topics.map((topic: Answer) => [
        topic.name,
        topic.partitions.map((each: Answer) => each.errorCode),
      ]),
    ).toEqual([
      ['nowhere', [3]],
      ['orders', [3, 86]],
      ['payments', [0, 3]],
    ]);
    expect(await broker.call(keys.offsetDelete, 0, { groupId: 'x', topics: [] })).toMatchObject({
      errorCode: 69,
    });
    expect(await broker.call(keys.offsetDelete, 0, { groupId: '', topics: [] })).toMatchObject({
      errorCode: 24,
    });
  });
});

describe('a broker', () => {
  it('finds groups and offsets again after a restart', async () => {
    const first = new GroupBroker();
    const { id } = await first.createTopic('orders');
    const memberId = await joinAlone(first);
    const mine = { memberId, generationIdOrMemberEpoch: 1 };
    await first.call(keys.commit, 9, commitRequest(9, id, mine));
    const second = await first.restart();
    expect(second.groups.loadedPartitions).toEqual([]);
    expect(
      (await second.call(keys.heartbeat, 4, { groupId: 'g', generationId: 1, memberId })).errorCode,
    ).toBe(0);
    expect(second.groups.loadedPartitions).toHaveLength(1);
    const fetched = await second.call(keys.fetch, 7, {
      groupId: 'g',
      topics: [{ name: 'orders', partitionIndexes: [0, 1] }],
    });
    expect(fetched.topics[0].partitions.map((each: Answer) => each.committedOffset)).toEqual([5, 6]);
    // It never came back: its session ends, as it would have before.
    await second.clock.advance(10_000);
    expect((await second.call(keys.describe, 0, { groups: ['g'] })).groups[0].groupState).toBe('Empty');
  });

  it('drops the offsets of a topic with the topic, of groups that nobody used since the start, too', async () => {
    const first = new GroupBroker();
    const { id } = await first.createTopic('orders');
    await first.call(keys.commit, 9, commitRequest(9, id));
    const second = await first.restart();
    await second.topics.delete(['orders']);
    await second.clock.advance(0);
    await second.createTopic('orders');
    const fetched = await second.call(keys.fetch, 5, { groupId: 'g', topics: null });
    expect(fetched.topics).toEqual([]);
  });

  it('expires offsets of groups that nobody used since the start', async () => {
    const first = new GroupBroker({ 'offsets.retention.minutes': '30' });
    const { id } = await first.createTopic('orders');
    await first.call(keys.commit, 9, commitRequest(9, id));
    const second = await first.restart();
    await second.clock.advance(29 * 60_000);
    expect((await second.call(keys.list, 0, {})).groups).toHaveLength(1);
    await second.clock.advance(11 * 60_000);
    expect((await second.call(keys.list, 0, {})).groups).toEqual([]);
  });

  it('keeps offsets of a group that rests when the clock leaps ahead, until the new time has lasted a day', async () => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders');
    await broker.call(keys.commit, 9, commitRequest(9, id));
    broker.clock.jumpWall(3 * 365 * 86_400_000);
    await broker.clock.advance(60 * 60_000);
    expect((await broker.call(keys.list, 0, {})).groups).toHaveLength(1);
    await broker.clock.advance(25 * 60 * 60_000);
    expect((await broker.call(keys.list, 0, {})).groups).toEqual([]);
  });

  it('keeps nothing in memory of partitions without groups', async () => {
    const broker = new GroupBroker();
    await broker.createTopic('orders');
    await joinAlone(broker);
    await broker.call(keys.list, 5, {});
    await broker.clock.advance(20 * 60_000);
    expect(broker.groups.loadedPartitions).toHaveLength(1);
  });

  it('answers members that wait for one another before it ends', async () => {
    const broker = new GroupBroker({ 'group.initial.rebalance.delay.ms': '3000' });
    const waiting = broker.send(keys.join, 3, joinRequest(3));
    await broker.clock.advance(0);
    broker.groups.releaseWaiting();
    expect((await waiting).errorCode).toBe(15);
  });
});
