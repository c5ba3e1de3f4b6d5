/** Consumer groups of KIP-848: heartbeats, epochs, static members, regular expressions, fenced offsets, and migration both ways. */
import { consumerProtocolSubscription } from '../../../protocol/generated/data-consumer-protocol-subscription.ts';
import { encodeMessage } from '../../../protocol/message-codec.ts';
import { type Answer, type Peer, pick } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

interface Beat {
  readonly memberEpoch: number;
  readonly memberId?: string;
  readonly [field: string]: unknown;
}

function beat(groupId: string, { memberId = 'm-a', ...fields }: Beat) {
  return {
    groupId,
    memberId,
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

/** Range assigns by member id, which both brokers are told: so what comes out is the same. */
function joining(groupId: string, topics: readonly string[], more: object = {}) {
  return beat(groupId, {
    memberEpoch: 0,
    rebalanceTimeoutMs: 30_000,
    subscribedTopicNames: [...topics],
    serverAssignor: 'range',
    topicPartitions: [],
    ...more,
  });
}

const api = 'ConsumerGroupHeartbeat';
const epochOf = (answer: Answer) => pick(answer, 'memberEpoch') as number;
const assignmentOf = (answer: Answer) => pick(answer, 'assignment', 'topicPartitions') as unknown[];

async function ready(peer: Peer): Promise<void> {
  await peer.until(
    'FindCoordinator',
    4,
    { keyType: 0, coordinatorKeys: ['cg'] },
    (answer) => pick(answer, 'coordinators', 0, 'errorCode') === 0,
  );
  await peer.until(
    'DescribeGroups',
    5,
    { groups: Array.from({ length: 40 }, (_, index) => `warm-${index}`) },
    (answer) => (pick(answer, 'groups') as { errorCode: number }[]).every((group) => group.errorCode === 0),
  );
  await peer.topic('cg-four', 4);
  await peer.topic('cg-two', 2);
}

async function refusals(peer: Peer): Promise<void> {
  await ready(peer);
  for (const version of peer.versions(api)) {
    const group = `cgr-${version}`;
    const full = joining(group, ['cg-four']);
    const wrong: Readonly<Record<string, object>> = {
      'no group': { ...full, groupId: '' },
      'no member id, and not the first': { ...full, memberId: '', memberEpoch: 1 },
      'no member id, leaving': { ...full, memberId: '', memberEpoch: -1 },
      'a blank member id': { ...full, memberId: '  ', memberEpoch: 3 },
      'an empty instance id': { ...full, instanceId: '' },
      'an empty rack': { ...full, rackId: '' },
      'no rebalance timeout': { ...full, rebalanceTimeoutMs: -1 },
      'owned partitions missing': { ...full, topicPartitions: null },
      'no topics': { ...full, subscribedTopicNames: null },
      'epoch -3': { ...full, memberEpoch: -3 },
      'epoch -2 of nobody': { ...full, memberEpoch: -2 },
      'a strange assignor': { ...full, serverAssignor: 'mine' },
      'epoch 5 of a group that is not there': { ...full, memberEpoch: 5 },
      'leaving a group that is not there': { ...full, memberEpoch: -1 },
      'leaving statically': { ...full, memberEpoch: -2, instanceId: 'i' },
    };
    for (const [label, body] of Object.entries(wrong)) await peer.send(label, api, version, body);
    await peer.send('then a member', api, version, full);
    await peer.send('another one unknown', api, version, beat(group, { memberId: 'm-x', memberEpoch: 3 }));
    await peer.send('too new an epoch', api, version, beat(group, { memberEpoch: 9 }));
    await peer.send('too old an epoch', api, version, beat(group, { ...full, memberId: 'm-a' }));
    await peer.send('another one leaves', api, version, beat(group, { memberId: 'm-x', memberEpoch: -1 }));
    await peer.send('one leaves', api, version, beat(group, { memberEpoch: -1 }));
    await peer.send('and again', api, version, beat(group, { memberEpoch: -1 }));
  }
  if (peer.latest(api) >= 1) {
    for (const regex of [
      '(',
      '[a',
      'a**',
      '*',
      '\\',
      'a{2,1}',
      '(?P<n',
      'x(?=y)',
      'ok.*',
      '\\pN+',
      '(?i)OK',
      '',
    ]) {
      await peer.say(
        `the expression ${regex}`,
        api,
        joining('cgr-regex', [], {
          subscribedTopicNames: null,
          subscribedTopicRegex: regex,
          memberId: `m-${regex}`,
        }),
      );
    }
  }
}

async function lives(peer: Peer): Promise<void> {
  await ready(peer);
  for (const version of peer.versions(api)) {
    const group = `cgl-${version}`;
    const say = (label: string, body: object) => peer.send(label, api, version, body);
    const a = await say('the first', joining(group, ['cg-four']));
    await say('beats', beat(group, { memberEpoch: epochOf(a) }));
    await say('says all again', {
      ...joining(group, ['cg-four']),
      memberEpoch: epochOf(a),
      topicPartitions: assignmentOf(a),
    });
    await peer.say('described', 'ConsumerGroupDescribe', {
      groupIds: [group],
      includeAuthorizedOperations: false,
    });
    let b = await say('the second', joining(group, ['cg-four'], { memberId: 'm-b' }));
    await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
    const told = await say('the first is told to give back', beat(group, { memberEpoch: epochOf(a) }));
    await say('and does not yet', {
      ...beat(group, { memberEpoch: epochOf(told) }),
      topicPartitions: assignmentOf(a),
    });
    b = await say('the second waits', beat(group, { memberId: 'm-b', memberEpoch: epochOf(b) }));
    const done = await say('the first gives back', {
      ...beat(group, { memberEpoch: epochOf(told) }),
      topicPartitions: assignmentOf(told),
    });
    b = await say('the second gets', beat(group, { memberId: 'm-b', memberEpoch: epochOf(b) }));
    await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group, 'cg-none'] });
    await say('the last epoch again, having what it has', {
      ...beat(group, { memberEpoch: epochOf(a) }),
      topicPartitions: assignmentOf(done) ?? assignmentOf(told),
    });
    await say('subscribes to another too', {
      ...joining(group, ['cg-four', 'cg-two'], { memberId: 'm-b' }),
      memberEpoch: epochOf(b),
      topicPartitions: [],
    });
    await say('subscribes to nothing', {
      ...joining(group, []),
      memberEpoch: epochOf(done),
      topicPartitions: assignmentOf(told),
    });
    await say('the second leaves', beat(group, { memberId: 'm-b', memberEpoch: -1 }));
    await peer.say('listed', 'ListGroups', { statesFilter: [], typesFilter: ['consumer'] });
    for (const old of peer.versions('DescribeGroups')) {
      await peer.send('described as a classic group', 'DescribeGroups', old, { groups: [group] });
    }
    await peer.say('deleted with a member', 'DeleteGroups', { groupsNames: [group] });
    await say('the first leaves', beat(group, { memberEpoch: -1 }));
    await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
    await peer.say('deleted', 'DeleteGroups', { groupsNames: [group] });
    await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group, ''] });
  }
  await peer.say('a member with no topics at all', api, joining('cgl-none', []));
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: ['cgl-none'] });
  await peer.say('a topic that does not exist', api, joining('cgl-absent', ['cg-absent']));
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: ['cgl-absent'] });
}

async function statics(peer: Peer): Promise<void> {
  await ready(peer);
  const group = 'cgs';
  const own = { instanceId: 'i-1' };
  const a = await peer.say('a static member', api, joining(group, ['cg-four'], own));
  await peer.say(
    'another with its instance id',
    api,
    joining(group, ['cg-four'], { ...own, memberId: 'm-b' }),
  );
  await peer.say(
    'the wrong one beats',
    api,
    beat(group, { ...own, memberId: 'm-b', memberEpoch: epochOf(a) }),
  );
  await peer.say('an unknown instance', api, beat(group, { instanceId: 'i-9', memberEpoch: epochOf(a) }));
  await peer.say('goes for a while', api, beat(group, { ...own, memberEpoch: -2 }));
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
  await peer.say('beats although it went', api, beat(group, { ...own, memberEpoch: epochOf(a) }));
  const b = await peer.say(
    'is back as another',
    api,
    joining(group, ['cg-four'], { ...own, memberId: 'm-b' }),
  );
  await peer.say('the old one beats', api, beat(group, { ...own, memberEpoch: epochOf(a) }));
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
  await peer.say('beats', api, beat(group, { ...own, memberId: 'm-b', memberEpoch: epochOf(b) }));
  await peer.say('is removed by instance', 'LeaveGroup', {
    groupId: group,
    members: [
      { memberId: '', groupInstanceId: 'i-1' },
      { memberId: 'm-z', groupInstanceId: null },
    ],
  });
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
}

async function offsets(peer: Peer): Promise<void> {
  await ready(peer);
  const four = await peer.topicReady('cg-four', 4);
  const group = 'cgo';
  const a = await peer.say('a member', api, joining(group, ['cg-four']));
  const commit = (version: number, memberId: string, epoch: number, partitionIndex = 0) => ({
    groupId: group,
    memberId,
    generationIdOrMemberEpoch: epoch,
    groupInstanceId: null,
    retentionTimeMs: -1,
    topics: [
      {
        ...(version >= 10 ? { topicId: four } : { name: 'cg-four' }),
        partitions: [{ partitionIndex, committedOffset: 3, committedLeaderEpoch: -1, committedMetadata: '' }],
      },
    ],
  });
  for (const version of peer.versions('OffsetCommit')) {
    if (version < 2) continue;
    const send = (label: string, memberId: string, epoch: number) =>
      peer.send(label, 'OffsetCommit', version, commit(version, memberId, epoch));
    await send('of nobody', '', -1);
    await send('in its epoch', 'm-a', epochOf(a));
    await send('of another', 'm-x', epochOf(a));
    await send('too new', 'm-a', epochOf(a) + 1);
    await send('too old', 'm-a', epochOf(a) - 1);
  }
  for (const version of peer.versions('OffsetFetch')) {
    if (version < 8) continue;
    const topics = [
      { ...(version >= 10 ? { topicId: four } : { name: 'cg-four' }), partitionIndexes: [0, 1] },
    ];
    const fetch = (label: string, memberId: string | null, memberEpoch: number) =>
      peer.send(label, 'OffsetFetch', version, {
        groups: [{ groupId: group, memberId, memberEpoch, topics }],
        requireStable: false,
      });
    await fetch('of nobody', null, -1);
    if (version < 9) continue;
    await fetch('in its epoch', 'm-a', epochOf(a));
    await fetch('of another', 'm-x', epochOf(a));
    await fetch('stale', 'm-a', epochOf(a) - 1);
    await fetch('too new', 'm-a', epochOf(a) + 3);
  }
  // A late commit counts for what the member has had since then.
  await peer.say('raises the epoch', api, {
    ...joining(group, ['cg-four', 'cg-two']),
    memberEpoch: epochOf(a),
    topicPartitions: assignmentOf(a),
  });
  const last = peer.latest('OffsetCommit');
  await peer.send('in the epoch of before', 'OffsetCommit', last, commit(last, 'm-a', epochOf(a)));
  await peer.send('before that', 'OffsetCommit', last, commit(last, 'm-a', epochOf(a) - 1));
  await peer.say('a topic that is read', 'OffsetDelete', {
    groupId: group,
    topics: [{ name: 'cg-four', partitions: [{ partitionIndex: 0 }] }],
  });
  await peer.say('leaves', api, beat(group, { memberEpoch: -1 }));
  await peer.say('a topic that is not read', 'OffsetDelete', {
    groupId: group,
    topics: [{ name: 'cg-four', partitions: [{ partitionIndex: 0 }] }],
  });
  await peer.send('an empty group', 'OffsetCommit', 9, commit(9, '', -1, 1));
}

async function regexes(peer: Peer): Promise<void> {
  await ready(peer);
  const group = 'cgx';
  const joinRegex = joining(group, [], { subscribedTopicNames: null, subscribedTopicRegex: 'cg-(four|two)' });
  const joined = await peer.say('joins', api, joinRegex);
  const until = (label: string, count: number, first: number) => {
    let epoch = first;
    let told: unknown[] | undefined;
    return peer.sendUntil(
      label,
      'ConsumerGroupDescribe',
      peer.latest('ConsumerGroupDescribe'),
      { groupIds: [group] },
      () => {
        void peer
          .quiet(api, peer.latest(api), {
            ...beat(group, { memberEpoch: epoch }),
            ...(epoch === 0 ? joinRegex : {}),
          })
          .then((answer) => {
            epoch = epochOf(answer);
            told = assignmentOf(answer) ?? told;
          });
        return (told?.length ?? 0) >= count;
      },
    );
  };
  await until('both are found', 2, epochOf(joined));
  await peer.say('leaves', api, beat(group, { memberEpoch: -1 }));
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
}

function subscription(...topics: string[]): Buffer {
  return Buffer.concat([
    Buffer.from([0, 0]),
    ...encodeMessage(consumerProtocolSubscription, { topics, userData: null }, 0),
  ]);
}

function classic(groupId: string, memberId: string, more: object = {}) {
  return {
    groupId,
    sessionTimeoutMs: 30_000,
    rebalanceTimeoutMs: 10_000,
    memberId,
    groupInstanceId: null,
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: subscription('cg-four') }],
    reason: null,
    ...more,
  };
}

function sync(groupId: string, memberId: string, generationId: number, assignments: readonly object[] = []) {
  return {
    groupId,
    generationId,
    memberId,
    groupInstanceId: null,
    protocolType: 'consumer',
    protocolName: 'range',
    assignments,
  };
}

/** All four partitions of cg-four, as the leader of a classic group would say. */
const allFour = Buffer.from(
  '00000000000100076367' + '2d666f7572' + '00000004' + '00000000000000010000000200000003' + 'ffffffff',
  'hex',
);

async function migration(peer: Peer): Promise<void> {
  await ready(peer);
  const group = 'cgm';
  const first = await peer.quiet('JoinGroup', 9, classic(group, ''));
  const old = pick(first, 'memberId') as string;
  peer.names.name(old, 'member', 'old');
  const joined = await peer.say('a classic member', 'JoinGroup', classic(group, old));
  await peer.say(
    'is told',
    'SyncGroup',
    sync(group, old, pick(joined, 'generationId') as number, [{ memberId: old, assignment: allFour }]),
  );
  const generation = pick(joined, 'generationId') as number;
  const a = await peer.say('a consumer member joins', api, joining(group, ['cg-four']));
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
  await peer.say('the classic one must join', 'Heartbeat', {
    groupId: group,
    generationId: generation,
    memberId: old,
    groupInstanceId: null,
  });
  await peer.say('an old generation', 'Heartbeat', {
    groupId: group,
    generationId: generation - 1,
    memberId: old,
    groupInstanceId: null,
  });
  await peer.say('a consumer member beats as a classic one', 'Heartbeat', {
    groupId: group,
    generationId: epochOf(a),
    memberId: 'm-a',
    groupInstanceId: null,
  });
  const again = await peer.say('joins with what it has', 'JoinGroup', classic(group, old));
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
  await peer.say('syncs', 'SyncGroup', sync(group, old, pick(again, 'generationId') as number));
  await peer.say('syncs an old one', 'SyncGroup', sync(group, old, generation - 1));
  const next = await peer.say(
    'the consumer member beats',
    api,
    beat(group, { memberEpoch: epochOf(a), topicPartitions: [] }),
  );
  await peer.say('the classic one beats', 'Heartbeat', {
    groupId: group,
    generationId: pick(again, 'generationId') as number,
    memberId: old,
    groupInstanceId: null,
  });
  await peer.say(
    'a classic one with another protocol',
    'JoinGroup',
    classic(group, '', { protocols: [{ name: 'mine', metadata: subscription('cg-four') }] }),
  );
  await peer.say(
    'a classic one that is no consumer',
    'JoinGroup',
    classic(group, '', { protocolType: 'connect' }),
  );
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
  await peer.say('listed', 'ListGroups', { statesFilter: [], typesFilter: ['consumer'] });
  await peer.say('the consumer member leaves', api, beat(group, { memberEpoch: -1 }));
  void next;
  await peer.say('a classic group again', 'DescribeGroups', { groups: [group] });
  await peer.say('no consumer group', 'ConsumerGroupDescribe', { groupIds: [group] });
  await peer.say('is told to join', 'Heartbeat', {
    groupId: group,
    generationId: pick(again, 'generationId') as number,
    memberId: old,
    groupInstanceId: null,
  });
  const back = await peer.say('joins', 'JoinGroup', classic(group, old));
  await peer.say(
    'and leads',
    'SyncGroup',
    sync(group, old, pick(back, 'generationId') as number, [{ memberId: old, assignment: allFour }]),
  );
  await peer.say('leaves', 'LeaveGroup', {
    groupId: group,
    members: [{ memberId: old, groupInstanceId: null }],
  });
  await peer.say('an empty classic group becomes another', api, joining(group, ['cg-two']));
  await peer.say('described', 'ConsumerGroupDescribe', { groupIds: [group] });
  await peer.say('leaves', api, beat(group, { memberEpoch: -1 }));
  const last = await peer.say(
    'an empty consumer group becomes a classic one',
    'JoinGroup',
    classic(group, ''),
  );
  await peer.say('described', 'DescribeGroups', { groups: [group] });
  void last;
  // A group that is no consumer's cannot be one.
  const connect = await peer.quiet('JoinGroup', 9, classic('cgm-connect', '', { protocolType: 'connect' }));
  const worker = pick(connect, 'memberId') as string;
  await peer.quiet('JoinGroup', 9, classic('cgm-connect', worker, { protocolType: 'connect' }));
  await peer.say("joins a worker's group", api, joining('cgm-connect', ['cg-two']));
}

export const consumerGroupScenarios: readonly Scenario[] = [
  { name: 'consumer groups: refusals', run: refusals },
  { name: 'consumer groups: lives', run: lives },
  { name: 'consumer groups: static members', run: statics },
  { name: 'consumer groups: offsets', run: offsets },
  { name: 'consumer groups: regular expressions', run: regexes },
  { name: 'consumer groups: migration', run: migration },
];
