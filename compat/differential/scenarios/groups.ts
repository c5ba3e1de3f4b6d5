/** Classic groups and committed offsets. */
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import { type Peer, pick } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

const unknownId = 'AAAAAAAAAAAAAAAAAAAAKg';
const bytes = (text: string) => Buffer.from(text);

interface Joining {
  readonly memberId?: string;
  readonly groupInstanceId?: string | null;
  readonly protocolType?: string;
  readonly protocols?: readonly { name: string; metadata: Buffer }[];
  readonly sessionTimeoutMs?: number;
  readonly rebalanceTimeoutMs?: number;
}

function join(groupId: string, joining: Joining = {}) {
  return {
    groupId,
    sessionTimeoutMs: 30_000,
    rebalanceTimeoutMs: 10_000,
    memberId: '',
    groupInstanceId: null,
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: bytes('meta') }],
    reason: 'differential',
    ...joining,
  };
}

function sync(
  groupId: string,
  memberId: string,
  generationId: number,
  assignments: readonly object[] = [],
  more: object = {},
) {
  return {
    groupId,
    generationId,
    memberId,
    groupInstanceId: null,
    protocolType: 'consumer',
    protocolName: 'range',
    assignments,
    ...more,
  };
}

const memberIdOf = (answer: unknown) => (pick(answer, 'memberId') as string | undefined) ?? '';

async function coordinatorReady(peer: Peer): Promise<void> {
  for (const key of ['gr-x', 'gr-y', 'gr-z']) {
    await peer.until(
      'FindCoordinator',
      4,
      { keyType: 0, coordinatorKeys: [key] },
      (answer) => pick(answer, 'coordinators', 0, 'errorCode') === 0,
    );
  }
  await peer.until(
    'DescribeGroups',
    5,
    { groups: Array.from({ length: 40 }, (_, index) => `warm-${index}`) },
    (answer) => (pick(answer, 'groups') as { errorCode: number }[]).every((group) => group.errorCode === 0),
  );
}

/** Joins as the one member, with the id that the broker gives. */
async function joined(
  peer: Peer,
  groupId: string,
  more: Joining = {},
): Promise<{ memberId: string; generationId: number }> {
  const first = await peer.quiet('JoinGroup', 5, join(groupId, more));
  const memberId = memberIdOf(first);
  const answer =
    pick(first, 'errorCode') === 79
      ? await peer.quiet('JoinGroup', 5, join(groupId, { ...more, memberId }))
      : first;
  const generationId = pick(answer, 'generationId') as number;
  await peer.quiet(
    'SyncGroup',
    3,
    sync(groupId, memberId, generationId, [{ memberId, assignment: bytes('mine') }], {
      groupInstanceId: more.groupInstanceId ?? null,
    }),
  );
  return { memberId, generationId };
}

async function findCoordinator(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  for (const version of peer.versions('FindCoordinator')) {
    const ask = (label: string, keyType: number, ...coordinatorKeys: string[]) =>
      peer.send(label, 'FindCoordinator', version, {
        key: coordinatorKeys[0] ?? '',
        keyType,
        coordinatorKeys,
      });
    await ask('a group', 0, 'gr-x');
    await ask('an empty name', 0, '');
    if (version >= 1) await ask('type 7', 7, 'gr-x');
    if (version >= 4) {
      await ask('two', 0, 'gr-x', 'gr-y');
      await ask('one twice', 0, 'gr-x', 'gr-x');
      await ask('none', 0);
    }
  }
}

async function lifeOfOne(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  for (const version of peer.versions('JoinGroup')) {
    const group = `gl-${version}`;
    const first = await peer.send('a new member', 'JoinGroup', version, join(group));
    const memberId = memberIdOf(first);
    let generation = pick(first, 'generationId') as number;
    if (pick(first, 'errorCode') === 79) {
      generation = pick(
        await peer.send('with its id', 'JoinGroup', version, join(group, { memberId })),
        'generationId',
      ) as number;
    }
    await peer.send('an unknown member', 'JoinGroup', version, join(group, { memberId: 'stranger' }));
    await peer.send('another type', 'JoinGroup', version, join(group, { memberId, protocolType: 'connect' }));
    await peer.send('no type', 'JoinGroup', version, join(group, { protocolType: '' }));
    await peer.send('no protocols', 'JoinGroup', version, join(group, { protocols: [] }));
    await peer.send(
      'other protocols',
      'JoinGroup',
      version,
      join(group, { protocols: [{ name: 'sticky', metadata: bytes('') }] }),
    );
    await peer.send('a session too short', 'JoinGroup', version, join(group, { sessionTimeoutMs: 5 }));
    await peer.send(
      'a session too long',
      'JoinGroup',
      version,
      join(group, { sessionTimeoutMs: 100_000_000 }),
    );
    await peer.send('no group', 'JoinGroup', version, join(''));
    await peer.say('before the sync', 'DescribeGroups', { groups: [group] });
    await peer.say('heartbeat before the sync', 'Heartbeat', {
      groupId: group,
      generationId: generation,
      memberId,
    });
    const syncVersion = Math.min(peer.latest('SyncGroup'), version);
    await peer.send('a wrong generation', 'SyncGroup', syncVersion, sync(group, memberId, generation + 1));
    await peer.send('a stranger', 'SyncGroup', syncVersion, sync(group, 'stranger', generation));
    await peer.send(
      'synced',
      'SyncGroup',
      syncVersion,
      sync(group, memberId, generation, [{ memberId, assignment: bytes('mine') }]),
    );
    await peer.send('synced again', 'SyncGroup', syncVersion, sync(group, memberId, generation));
    await peer.say('stable', 'DescribeGroups', { groups: [group] });
    await peer.say('joins again', 'JoinGroup', join(group, { memberId }));
    await peer.say(
      'syncs again',
      'SyncGroup',
      sync(group, memberId, generation + 1, [{ memberId, assignment: bytes('more') }]),
    );
    const leaveVersion = Math.min(peer.latest('LeaveGroup'), version);
    const leave = (label: string, id: string) =>
      peer.send(label, 'LeaveGroup', leaveVersion, {
        groupId: group,
        memberId: id,
        members: [{ memberId: id, groupInstanceId: null, reason: 'x' }],
      });
    await leave('a stranger leaves', 'stranger');
    await leave('leaves', memberId);
    await leave('leaves again', memberId);
    await peer.say('empty', 'DescribeGroups', { groups: [group] });
  }
}

async function smallApis(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  const group = 'gs-one';
  const { memberId, generationId } = await joined(peer, group);
  for (const version of peer.versions('Heartbeat')) {
    const beat = (label: string, body: object) =>
      peer.send(label, 'Heartbeat', version, {
        groupId: group,
        generationId,
        memberId,
        groupInstanceId: null,
        ...body,
      });
    await beat('good', {});
    await beat('wrong generation', { generationId: generationId + 1 });
    await beat('generation -1', { generationId: -1 });
    await beat('stranger', { memberId: 'stranger' });
    await beat('no member', { memberId: '' });
    await beat('unknown group', { groupId: 'gs-none' });
    await beat('empty group', { groupId: '' });
    await beat('unknown instance', { groupInstanceId: 'nobody' });
  }
  for (const version of peer.versions('SyncGroup')) {
    const send = (label: string, body: object) =>
      peer.send(label, 'SyncGroup', version, { ...sync(group, memberId, generationId), ...body });
    await send('good', {});
    await send('wrong generation', { generationId: 77 });
    await send('stranger', { memberId: 'stranger' });
    await send('unknown group', { groupId: 'gs-none' });
    await send('empty group', { groupId: '' });
    await send('wrong type', { protocolType: 'connect' });
    await send('wrong name', { protocolName: 'sticky' });
    await send('no name', { protocolName: null });
    await send('no type', { protocolType: null });
    await send('unknown instance', { groupInstanceId: 'nobody' });
  }
  for (const version of peer.versions('DescribeGroups')) {
    const ask = (label: string, groups: readonly string[], includeAuthorizedOperations = false) =>
      peer.send(label, 'DescribeGroups', version, { groups, includeAuthorizedOperations });
    await ask('one', [group]);
    await ask('with operations', [group], true);
    await ask('unknown', ['gs-none']);
    await ask('unknown with operations', ['gs-none'], true);
    await ask('two', [group, 'gs-none']);
    await ask('twice', [group, group]);
    await ask('no name', ['']);
    await ask('nothing', []);
  }
  for (const version of peer.versions('ListGroups')) {
    const ask = (label: string, body: object) => peer.send(label, 'ListGroups', version, body);
    await ask('all', {});
    if (version >= 4) {
      await ask('stable', { statesFilter: ['Stable'] });
      await ask('stable, small', { statesFilter: ['stable'] });
      await ask('dead', { statesFilter: ['Dead'] });
      await ask('nonsense', { statesFilter: ['Asleep'] });
      await ask('two states', { statesFilter: ['Stable', 'CompletingRebalance'] });
    }
    if (version >= 5) {
      await ask('classic', { typesFilter: ['classic'] });
      await ask('Classic', { typesFilter: ['Classic'] });
      await ask('consumer', { typesFilter: ['consumer'] });
      await ask('a type of nothing', { typesFilter: ['nonsense'] });
    }
  }
  for (const version of peer.versions('LeaveGroup')) {
    const leave = (label: string, body: object) =>
      peer.send(label, 'LeaveGroup', version, { groupId: group, memberId: 'stranger', members: [], ...body });
    await leave('unknown group', {
      groupId: 'gs-none',
      members: [{ memberId: 'stranger', groupInstanceId: null }],
    });
    await leave('empty group', { groupId: '', members: [{ memberId: 'stranger', groupInstanceId: null }] });
    if (version >= 3) {
      await leave('nobody', {});
      await leave('an unknown instance', { members: [{ memberId: '', groupInstanceId: 'nobody' }] });
      await leave('two strangers', {
        members: [
          { memberId: 'a', groupInstanceId: null },
          { memberId: 'b', groupInstanceId: null },
        ],
      });
    }
  }
  for (const version of peer.versions('DeleteGroups')) {
    const empty = `gs-empty-${version}`;
    const member = await joined(peer, empty);
    const remove = (label: string, ...groupsNames: string[]) =>
      peer.send(label, 'DeleteGroups', version, { groupsNames });
    await remove('with members', empty);
    await peer.quiet('LeaveGroup', 3, {
      groupId: empty,
      members: [{ memberId: member.memberId, groupInstanceId: null }],
    });
    await remove('empty', empty);
    await remove('gone', empty);
    await remove('unknown', 'gs-none');
    await remove('no name', '');
    await remove('twice', 'gs-none', 'gs-none');
    await remove('two', group, 'gs-none');
    await remove('nothing');
  }
}

async function twoMembers(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  const group = 'gt-two';
  const one = await joined(peer, group);
  const asked = await peer.say('the second asks for an id', 'JoinGroup', join(group), 'second');
  const second = memberIdOf(asked);
  const secondJoins = peer.quiet(
    'JoinGroup',
    5,
    join(group, {
      memberId: second,
      protocols: [
        { name: 'sticky', metadata: bytes('s') },
        { name: 'range', metadata: bytes('r') },
      ],
    }),
    'second',
  );
  await peer.until(
    'DescribeGroups',
    5,
    { groups: [group] },
    (answer) => pick(answer, 'groups', 0, 'groupState') === 'PreparingRebalance',
  );
  await peer.say('the first hears of it', 'Heartbeat', {
    groupId: group,
    generationId: one.generationId,
    memberId: one.memberId,
  });
  await peer.say('preparing', 'DescribeGroups', { groups: [group] });
  await peer.say(
    'a commit meanwhile',
    'OffsetCommit',
    commit(group, one.memberId, one.generationId, 'gt-topic', unknownId),
  );
  const rejoined = await peer.say(
    'the first joins again',
    'JoinGroup',
    join(group, { memberId: one.memberId }),
  );
  const answer = await secondJoins;
  peer.note('the second is in', {
    errorCode: pick(answer, 'errorCode') as number,
    members: (pick(answer, 'members') as unknown[]).length,
    protocol: pick(answer, 'protocolName') as string,
    isLeader: pick(answer, 'leader') === second,
  });
  const generation = pick(rejoined, 'generationId') as number;
  await peer.say('completing', 'DescribeGroups', { groups: [group] });
  await peer.say(
    'heartbeat of the second',
    'Heartbeat',
    { groupId: group, generationId: generation, memberId: second },
    'second',
  );
  const secondSyncs = peer.quiet('SyncGroup', 5, sync(group, second, generation), 'second');
  await peer.say(
    'the leader syncs',
    'SyncGroup',
    sync(group, one.memberId, generation, [
      { memberId: one.memberId, assignment: bytes('first') },
      { memberId: second, assignment: bytes('second') },
    ]),
  );
  peer.note('the second has its part', (pick(await secondSyncs, 'assignment') as Buffer).toString());
  await peer.say('stable', 'DescribeGroups', { groups: [group] });
  await peer.say(
    'the second leaves',
    'LeaveGroup',
    { groupId: group, memberId: second, members: [{ memberId: second, groupInstanceId: null }] },
    'second',
  );
  await peer.say('the first hears', 'Heartbeat', {
    groupId: group,
    generationId: generation,
    memberId: one.memberId,
  });
  await peer.say('an old generation', 'SyncGroup', sync(group, one.memberId, generation));
  await peer.say('and joins', 'JoinGroup', join(group, { memberId: one.memberId }));
}

async function staticMembers(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  const group = 'gi-static';
  const first = await peer.say('joins', 'JoinGroup', join(group, { groupInstanceId: 'one' }));
  const memberId = memberIdOf(first);
  const generationId = pick(first, 'generationId') as number;
  await peer.say(
    'syncs',
    'SyncGroup',
    sync(group, memberId, generationId, [{ memberId, assignment: bytes('mine') }], {
      groupInstanceId: 'one',
    }),
  );
  await peer.say('stable', 'DescribeGroups', { groups: [group] });
  const again = await peer.say('starts again', 'JoinGroup', join(group, { groupInstanceId: 'one' }), 'again');
  const newId = memberIdOf(again);
  await peer.say('the old one beats', 'Heartbeat', {
    groupId: group,
    generationId,
    memberId,
    groupInstanceId: 'one',
  });
  await peer.say('the old one beats without its instance', 'Heartbeat', {
    groupId: group,
    generationId,
    memberId,
  });
  await peer.say('the new one beats', 'Heartbeat', {
    groupId: group,
    generationId,
    memberId: newId,
    groupInstanceId: 'one',
  });
  await peer.say('the new one beats as another', 'Heartbeat', {
    groupId: group,
    generationId,
    memberId: newId,
    groupInstanceId: 'two',
  });
  await peer.say(
    'the new one syncs',
    'SyncGroup',
    sync(group, newId, generationId, [], { groupInstanceId: 'one' }),
  );
  await peer.say('the old one joins', 'JoinGroup', join(group, { groupInstanceId: 'one', memberId }));
  await peer.say('the old one commits', 'OffsetCommit', {
    ...commit(group, memberId, generationId, 'gi-topic', unknownId),
    groupInstanceId: 'one',
  });
  await peer.say('replaced', 'DescribeGroups', { groups: [group] });
  const other = { groupInstanceId: 'one', protocols: [{ name: 'range', metadata: bytes('other') }] };
  const changed = await peer.say('starts with other metadata', 'JoinGroup', join(group, other), 'again');
  peer.note('generation then', (pick(changed, 'generationId') as number) - generationId);
  await peer.say('leaves by the wrong member id', 'LeaveGroup', {
    groupId: group,
    members: [{ memberId: 'stranger', groupInstanceId: 'one' }],
  });
  await peer.say('leaves by its instance', 'LeaveGroup', {
    groupId: group,
    members: [
      { memberId: '', groupInstanceId: 'one' },
      { memberId: '', groupInstanceId: 'two' },
    ],
  });
  await peer.say('empty', 'DescribeGroups', { groups: [group] });
}

/** What time does to a group: sessions that end, members that do not come back. */
async function timeouts(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  const isState = (state: string) => (answer: unknown) => pick(answer, 'groups', 0, 'groupState') === state;
  const short = { sessionTimeoutMs: 300, rebalanceTimeoutMs: 400 };
  const group = 'gx-session';
  const one = await joined(peer, group, short);
  await peer.sendUntil('its session is over', 'DescribeGroups', 6, { groups: [group] }, isState('Empty'));
  const beat = { groupId: group, generationId: one.generationId, memberId: one.memberId };
  await peer.say('it beats after that', 'Heartbeat', beat);
  await peer.say(
    'it commits after that',
    'OffsetCommit',
    commit(group, one.memberId, one.generationId, 'x', unknownId),
  );
  await peer.say('it joins after that', 'JoinGroup', join(group, { ...short, memberId: one.memberId }));

  const late = 'gx-rebalance';
  const first = await joined(peer, late, { sessionTimeoutMs: 30_000, rebalanceTimeoutMs: 400 });
  const second = memberIdOf(await peer.quiet('JoinGroup', 5, join(late)));
  const answer = await peer.quiet('JoinGroup', 5, join(late, { memberId: second }), 'second');
  peer.note('the first did not come back', {
    errorCode: pick(answer, 'errorCode') as number,
    generationId: pick(answer, 'generationId') as number,
    members: (pick(answer, 'members') as unknown[]).length,
    leads: pick(answer, 'leader') === second,
  });
  await peer.say('the first beats', 'Heartbeat', {
    groupId: late,
    generationId: first.generationId,
    memberId: first.memberId,
  });
  await peer.say(
    'the first commits',
    'OffsetCommit',
    commit(late, first.memberId, first.generationId, 'x', unknownId),
  );

  const pending = 'gx-pending';
  await peer.say('a member asks for an id', 'JoinGroup', join(pending, short));
  await peer.say('and is awaited', 'DescribeGroups', { groups: [pending] });
  await peer.say('listed', 'ListGroups', { statesFilter: ['PreparingRebalance', 'Empty'] });

  const fixed = 'gx-static';
  const held = await joined(peer, fixed, { ...short, groupInstanceId: 'one' });
  await peer.sendUntil(
    'a static member goes in the end',
    'DescribeGroups',
    6,
    { groups: [fixed] },
    isState('Empty'),
  );
  await peer.say('it beats after all', 'Heartbeat', {
    groupId: fixed,
    generationId: held.generationId,
    memberId: held.memberId,
    groupInstanceId: 'one',
  });
}

/** A leader that sends no assignment, members of different minds, other kinds of groups. */
async function misfits(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  const group = 'gm-sync';
  const first = await peer.quiet('JoinGroup', 5, join(group));
  const memberId = memberIdOf(first);
  const answer = await peer.quiet('JoinGroup', 5, join(group, { memberId }));
  const generationId = pick(answer, 'generationId') as number;
  await peer.say(
    'assigns to a stranger',
    'SyncGroup',
    sync(group, memberId, generationId, [{ memberId: 'stranger', assignment: bytes('x') }]),
  );
  await peer.say('then', 'DescribeGroups', { groups: [group] });
  await peer.say(
    'syncs the same generation',
    'SyncGroup',
    sync(group, memberId, generationId, [{ memberId, assignment: bytes('y') }]),
  );
  await peer.say(
    'joins with other metadata',
    'JoinGroup',
    join(group, { memberId, protocols: [{ name: 'range', metadata: bytes('new') }] }),
  );
  await peer.say(
    'commits while it completes',
    'OffsetCommit',
    commit(group, memberId, generationId + 1, 'x', unknownId),
  );
  await peer.say('syncs the generation before', 'SyncGroup', sync(group, memberId, generationId));
  await peer.say('syncs with nothing', 'SyncGroup', sync(group, memberId, generationId + 1, []));
  await peer.say('is stable with nothing', 'DescribeGroups', { groups: [group] });

  const connect = 'gm-connect';
  const worker = { protocolType: 'connect', protocols: [{ name: 'compatible', metadata: bytes('w') }] };
  const asked = await peer.say('a worker asks', 'JoinGroup', join(connect, worker));
  const workerId = memberIdOf(asked);
  await peer.say('a worker joins', 'JoinGroup', join(connect, { ...worker, memberId: workerId }));
  await peer.say('a consumer comes', 'JoinGroup', join(connect));
  await peer.say('described', 'DescribeGroups', { groups: [connect] });
  await peer.say('listed', 'ListGroups', { statesFilter: ['CompletingRebalance'] });
  await peer.say('deleted', 'DeleteGroups', { groupsNames: [connect] });
  await peer.say('offsets deleted', 'OffsetDelete', { groupId: connect, topics: [] });

  const choice = 'gm-choice';
  const three = ['a', 'b', 'c'].map((name) => ({ name, metadata: bytes(name) }));
  const chooser = memberIdOf(await peer.quiet('JoinGroup', 5, join(choice, { protocols: three })));
  await peer.say('chooses its first', 'JoinGroup', join(choice, { memberId: chooser, protocols: three }));
  await peer.say(
    'names a protocol twice',
    'JoinGroup',
    join(choice, { memberId: chooser, protocols: [three[0]!, three[0]!] }),
  );

  const static1 = 'gm-static';
  const held = await joined(peer, static1, { groupInstanceId: 'one' });
  await peer.say(
    'another static member',
    'JoinGroup',
    join(static1, { groupInstanceId: 'one', memberId: 'stranger' }),
  );
  await peer.say('an empty instance', 'JoinGroup', join(static1, { groupInstanceId: '' }));
  await peer.say('its instance commits alone', 'OffsetCommit', {
    ...commit(static1, '', -1, 'x', unknownId),
    groupInstanceId: 'one',
  });
  await peer.say(
    'its member id commits with no instance',
    'OffsetCommit',
    commit(static1, held.memberId, held.generationId, 'x', unknownId),
  );
}

/** Committed offsets go with their topic. */
async function offsetsOfDeleted(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  const topicId = await peer.topic('gd-topic');
  await peer.say('committed', 'OffsetCommit', commit('gd-group', '', -1, 'gd-topic', topicId));
  await peer.say('the topic is deleted', 'DeleteTopics', {
    topics: [{ name: 'gd-topic', topicId: ZERO_UUID }],
    timeoutMs: 10_000,
  });
  const ask = {
    groups: [{ groupId: 'gd-group', memberId: null, memberEpoch: -1, topics: null }],
    requireStable: false,
  };
  await peer.sendUntil(
    'all of the group',
    'OffsetFetch',
    9,
    ask,
    (answer) => (pick(answer, 'groups', 0, 'topics') as unknown[]).length === 0,
  );
  const newId = await peer.topic('gd-topic');
  await peer.say('of the new topic', 'OffsetFetch', {
    groups: [
      {
        groupId: 'gd-group',
        memberId: null,
        memberEpoch: -1,
        topics: [{ name: 'gd-topic', topicId: newId, partitionIndexes: [0] }],
      },
    ],
    requireStable: false,
  });
  await peer.say('the group', 'DescribeGroups', { groups: ['gd-group'] });
}

function commit(
  groupId: string,
  memberId: string,
  generation: number,
  name: string,
  topicId: string,
  partition: object = {},
) {
  return {
    groupId,
    generationIdOrMemberEpoch: generation,
    memberId,
    groupInstanceId: null,
    topics: [
      {
        name,
        topicId,
        partitions: [
          {
            partitionIndex: 0,
            committedOffset: 5,
            committedLeaderEpoch: -1,
            committedMetadata: 'm',
            ...partition,
          },
        ],
      },
    ],
  };
}

async function offsets(peer: Peer): Promise<void> {
  await coordinatorReady(peer);
  const topic = 'go-topic';
  const topicId = await peer.topic(topic, 3);
  const member = await joined(peer, 'go-member');
  for (const version of peer.versions('OffsetCommit')) {
    const group = `go-${version}`;
    const send = (label: string, body: object) => peer.send(label, 'OffsetCommit', version, body);
    await send('of nobody', commit(group, '', -1, topic, topicId));
    await send(
      'again, larger',
      commit(group, '', -1, topic, topicId, {
        committedOffset: 9,
        committedLeaderEpoch: 3,
        committedMetadata: 'mm',
      }),
    );
    await send('smaller', commit(group, '', -1, topic, topicId, { committedOffset: 2 }));
    await send(
      'null metadata',
      commit(group, '', -1, topic, topicId, { partitionIndex: 1, committedMetadata: null }),
    );
    await send(
      'much metadata',
      commit(group, '', -1, topic, topicId, { committedMetadata: 'x'.repeat(5_000) }),
    );
    await send(
      'offset -1',
      commit(group, '', -1, topic, topicId, { partitionIndex: 2, committedOffset: -1 }),
    );
    await send(
      'offset -5',
      commit(group, '', -1, topic, topicId, { partitionIndex: 2, committedOffset: -5 }),
    );
    await send('unknown topic', commit(group, '', -1, 'go-none', unknownId));
    await send('unknown partition', commit(group, '', -1, topic, topicId, { partitionIndex: 9 }));
    await send('no group', commit('', '', -1, topic, topicId));
    await send('generation 0 of nobody', commit(`${group}-new`, '', 0, topic, topicId));
    await send('a stranger', commit(group, 'stranger', -1, topic, topicId));
    await send('a stranger in a generation', commit(group, 'stranger', 3, topic, topicId));
    await send('a stranger in an unknown group', commit(`${group}-none`, 'stranger', 3, topic, topicId));
    await send('the member', commit('go-member', member.memberId, member.generationId, topic, topicId));
    await send(
      'the member, wrong generation',
      commit('go-member', member.memberId, member.generationId + 3, topic, topicId),
    );
    await send(
      'a stranger in the group',
      commit('go-member', 'stranger', member.generationId, topic, topicId),
    );
    await send('nobody in the group', commit('go-member', '', -1, topic, topicId));
    await send('no topics', { ...commit(group, '', -1, topic, topicId), topics: [] });
    await send('no partitions', {
      ...commit(group, '', -1, topic, topicId),
      topics: [{ name: topic, topicId, partitions: [] }],
    });
    await send('one bad, one good', {
      ...commit(group, '', -1, topic, topicId),
      topics: [
        ...commit(group, '', -1, topic, topicId).topics,
        ...commit(group, '', -1, 'go-none', unknownId).topics,
      ],
    });
  }
  for (const version of peer.versions('OffsetFetch')) {
    const ask = (
      label: string,
      groupId: string,
      topics: readonly { name: string; topicId: string; partitionIndexes: readonly number[] }[] | null,
      more: object = {},
    ) =>
      peer.send(label, 'OffsetFetch', version, {
        groupId,
        topics,
        groups: [{ groupId, memberId: null, memberEpoch: -1, topics }],
        requireStable: false,
        ...more,
      });
    const mine = { name: topic, topicId, partitionIndexes: [0, 1, 2, 9] };
    await ask('some', 'go-6', [mine]);
    await ask('unknown topic', 'go-6', [{ name: 'go-none', topicId: unknownId, partitionIndexes: [0] }]);
    await ask('no topics', 'go-6', []);
    await ask('no partitions', 'go-6', [{ ...mine, partitionIndexes: [] }]);
    await ask('unknown group', 'go-unknown', [mine]);
    await ask('no group', '', [mine]);
    await ask('stable', 'go-6', [mine], { requireStable: true });
    await ask('of the group with a member', 'go-member', [mine]);
    if (version >= 2) {
      await ask('all', 'go-6', null);
      await ask('all of an unknown group', 'go-unknown', null);
    }
    if (version >= 8) {
      await peer.send('two groups', 'OffsetFetch', version, {
        groups: ['go-6', 'go-unknown'].map((groupId) => ({
          groupId,
          memberId: null,
          memberEpoch: -1,
          topics: [mine],
        })),
        requireStable: false,
      });
      await peer.send('no groups', 'OffsetFetch', version, { groups: [], requireStable: false });
    }
    if (version >= 9) {
      await peer.send('as a member', 'OffsetFetch', version, {
        groups: [
          {
            groupId: 'go-member',
            memberId: member.memberId,
            memberEpoch: member.generationId,
            topics: [mine],
          },
        ],
        requireStable: false,
      });
      await peer.send('as a stranger', 'OffsetFetch', version, {
        groups: [{ groupId: 'go-member', memberId: 'stranger', memberEpoch: 3, topics: [mine] }],
        requireStable: false,
      });
    }
  }
  for (const version of peer.versions('OffsetDelete')) {
    const remove = (label: string, groupId: string, name: string, ...partitions: number[]) =>
      peer.send(label, 'OffsetDelete', version, {
        groupId,
        topics: [{ name, partitions: partitions.map((partitionIndex) => ({ partitionIndex })) }],
      });
    await remove('unknown group', 'go-unknown', topic, 0);
    await remove('no group', '', topic, 0);
    await remove('unknown topic', 'go-6', 'go-none', 0);
    await remove('one', 'go-6', topic, 0);
    await remove('one again', 'go-6', topic, 0);
    await remove('unknown partition', 'go-6', topic, 0, 9);
    await remove('of a group with members', 'go-member', topic, 0);
    await peer.send('nothing', 'OffsetDelete', version, { groupId: 'go-6', topics: [] });
    await peer.say('afterwards', 'OffsetFetch', {
      groups: [
        {
          groupId: 'go-6',
          memberId: null,
          memberEpoch: -1,
          topics: [{ name: topic, topicId, partitionIndexes: [0, 1] }],
        },
      ],
      requireStable: false,
    });
  }
}

export const groupScenarios: readonly Scenario[] = [
  { name: 'find coordinator', run: findCoordinator },
  { name: 'groups, step by step', run: smallApis },
  { name: 'life of a group of one', run: lifeOfOne },
  { name: 'a group of two', run: twoMembers },
  { name: 'static members', run: staticMembers },
  { name: 'groups and time', run: timeouts },
  { name: 'groups of misfits', run: misfits },
  { name: 'offsets', run: offsets },
  { name: 'offsets of a deleted topic', run: offsetsOfDeleted },
];
