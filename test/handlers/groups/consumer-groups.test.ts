/** Consumer groups through their handlers and the coordinator's log: what a client sends and reads, also over a restart. */
import { describe, expect, it } from 'vitest';
import { configOperations } from '../../../src/services/configuration/config-operations.ts';
import { type Answer, GroupBroker } from './group-handlers-harness.ts';

const heartbeat = 68;
const describeConsumer = 69;
const memberId = 'a-member-of-its-own-make';

function beat(fields: object): object {
  return {
    groupId: 'g',
    memberId,
    memberEpoch: 0,
    instanceId: null,
    rackId: null,
    rebalanceTimeoutMs: -1,
    subscribedTopicNames: null,
    subscribedTopicRegex: null,
    serverAssignor: null,
    topicPartitions: null,
    ...fields,
  };
}

const joining = { rebalanceTimeoutMs: 30_000, subscribedTopicNames: ['orders'], topicPartitions: [] };

async function join(broker: GroupBroker, version = 1, fields: object = {}): Promise<Answer> {
  return broker.call(heartbeat, version, beat({ ...joining, ...fields }));
}

describe('ConsumerGroupHeartbeat', () => {
  it.each([0, 1])(
    'in version %i gives a member an epoch, its partitions and the interval',
    async (version) => {
      const broker = new GroupBroker();
      const { id } = await broker.createTopic('orders', 3);
      expect(await join(broker, version)).toMatchObject({
        errorCode: 0,
        memberId,
        memberEpoch: 2,
        heartbeatIntervalMs: 5000,
        assignment: { topicPartitions: [{ topicId: id, partitions: [0, 1, 2] }] },
      });
      expect(await broker.call(heartbeat, version, beat({ memberEpoch: 2 }))).toMatchObject({
        errorCode: 0,
        memberEpoch: 2,
        assignment: null,
      });
    },
  );

  it('makes an id in version 0, and asks for one in version 1', async () => {
    const broker = new GroupBroker();
    const named = await join(broker, 0, { memberId: '' });
    expect(named.errorCode).toBe(0);
    expect(named.memberId).not.toBe('');
    expect(await join(broker, 1, { memberId: '' })).toMatchObject({
      errorCode: 42,
      errorMessage: "MemberId can't be empty.",
    });
  });

  it('goes on over a restart where it was', async () => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders', 2);
    await join(broker);
    const committed = await broker.call(8, 10, {
      groupId: 'g',
      memberId,
      generationIdOrMemberEpoch: 2,
      groupInstanceId: null,
      topics: [
        {
          topicId: id,
          partitions: [
            { partitionIndex: 0, committedOffset: 7, committedLeaderEpoch: -1, committedMetadata: '' },
          ],
        },
      ],
    });
    expect(committed.topics[0].partitions[0].errorCode).toBe(0);
    const next = await broker.restart();
    expect(await next.call(heartbeat, 1, beat({ memberEpoch: 2 }))).toMatchObject({
      errorCode: 0,
      memberEpoch: 2,
    });
    const topics = [{ topicId: id, partitionIndexes: [0] }];
    const fetch = (memberEpoch: number) =>
      next.call(9, 10, { groups: [{ groupId: 'g', memberId, memberEpoch, topics }], requireStable: true });
    expect((await fetch(2)).groups[0].topics[0].partitions[0].committedOffset).toBe(7);
    expect((await fetch(1)).groups[0]).toMatchObject({ errorCode: 113, topics: [] });
    expect(await next.call(heartbeat, 1, beat({ memberEpoch: 1 }))).toMatchObject({ errorCode: 110 });
  });

  it('goes by the settings of the group', async () => {
    const broker = new GroupBroker();
    const change = (name: string, value: string) =>
      broker.groupConfigs.change('g', [{ name, operation: configOperations.SET, value }], false);
    expect(await change('consumer.heartbeat.interval.ms', '7000')).toBeUndefined();
    expect(await change('consumer.session.timeout.ms', '60000')).toBeUndefined();
    expect((await join(broker)).heartbeatIntervalMs).toBe(7000);
    await broker.clock.advance(59_000);
    const members = async () =>
      (await broker.call(describeConsumer, 1, { groupIds: ['g'] })).groups[0].members.length;
    expect(await members()).toBe(1);
    await broker.clock.advance(2_000);
    expect(await members()).toBe(0);
  });

  it.each([
    ['the feature group.version is off', {}, true],
    ['the protocol is not served', { 'group.coordinator.rebalance.protocols': 'classic' }, false],
  ] as const)('is refused where %s', async (_why, settings, lower) => {
    const broker = new GroupBroker(settings);
    if (lower) {
      await broker.featureLevels.update([{ name: 'group.version', level: 0, mayLower: true }], false);
    }
    expect(await join(broker)).toMatchObject({ errorCode: 35 });
    expect(await broker.call(describeConsumer, 1, { groupIds: ['g'] })).toMatchObject({
      groups: [{ groupId: 'g', errorCode: 35 }],
    });
  });
});

describe('ConsumerGroupDescribe', () => {
  it.each([0, 1])('in version %i tells of members and what they have', async (version) => {
    const broker = new GroupBroker();
    const { id } = await broker.createTopic('orders', 1);
    await join(broker);
    const { groups } = await broker.call(describeConsumer, version, {
      groupIds: ['g', 'x', ''],
      includeAuthorizedOperations: true,
    });
    const partitions = { topicPartitions: [{ topicId: id, topicName: 'orders', partitions: [0] }] };
    expect(groups).toMatchObject([
      {
        errorCode: 0,
        groupState: 'Stable',
        groupEpoch: 2,
        assignmentEpoch: 2,
        assignorName: 'uniform',
        authorizedOperations: 3400,
        members: [
          {
            memberId,
            memberEpoch: 2,
            clientId: 'client',
            subscribedTopicNames: ['orders'],
            assignment: partitions,
            targetAssignment: partitions,
            memberType: version >= 1 ? 1 : -1,
          },
        ],
      },
      { groupId: 'x', errorCode: 69, errorMessage: 'Group x not found.' },
      { groupId: '', errorCode: 24 },
    ]);
  });

  it('is for consumer groups, and DescribeGroups for classic ones', async () => {
    const broker = new GroupBroker();
    await join(broker);
    for (const version of [5, 6]) {
      expect((await broker.call(15, version, { groups: ['g'] })).groups[0]).toMatchObject({
        groupState: 'Dead',
        errorCode: version === 6 ? 69 : 0,
      });
    }
    const listed = await broker.call(16, 5, { statesFilter: ['stable'], typesFilter: ['Consumer'] });
    expect(listed.groups).toMatchObject([{ groupId: 'g', groupType: 'consumer', protocolType: 'consumer' }]);
  });
});
