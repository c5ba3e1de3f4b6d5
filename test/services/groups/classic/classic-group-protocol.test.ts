import { describe, expect, it } from 'vitest';
import { errorName } from '../../../../protocol/error-codes.ts';
import { GroupHarness, minuteMs, subscription } from '../group-machine-harness.ts';

describe('joining', () => {
  it('gives a new member its id first, and records the group', () => {
    const h = new GroupHarness();
    const first = h.join();
    expect(first.answer).toEqual({
      errorCode: 79,
      protocolName: null,
      leader: '',
      memberId: 'client-uuid1',
      members: [],
    });
    expect(h.takeRecords()).toEqual([
      {
        type: 'group-metadata',
        key: { group: 'g' },
        value: {
          protocolType: '',
          generation: 0,
          protocol: null,
          leader: null,
          currentStateTimestamp: h.clock.nowMs(),
          members: [],
        },
      },
    ]);
    expect(h.state()).toBe('Empty');
    // The next one finds the group.
    h.join();
    expect(h.takeRecords()).toEqual([]);
  });

  it('lets a member of old join at once, with its session timeout as rebalance timeout', async () => {
    const h = new GroupHarness();
    const join = h.join({ version: 0, sessionTimeoutMs: 9_000 });
    expect(join.isAnswered).toBe(false);
    await h.clock.advance(3_000);
    expect(join.answer).toEqual({
      errorCode: 0,
      generationId: 1,
      protocolType: 'consumer',
      protocolName: 'range',
      leader: 'client-uuid1',
      memberId: 'client-uuid1',
      members: [{ memberId: 'client-uuid1', groupInstanceId: null, metadata: subscription('orders') }],
    });
    h.sync('client-uuid1', 1, { 'client-uuid1': 'x' });
    expect(h.takeRecords().at(-1)).toMatchObject({
      value: { members: [{ rebalanceTimeout: 9_000, sessionTimeout: 9_000 }] },
    });
  });

  it('names a member without a client id by the uuid alone', () => {
    const h = new GroupHarness();
    expect(h.join({ clientId: '' }).answer.memberId).toBe('-uuid1');
  });

  it('waits the initial delay, and again for everyone who comes, up to the rebalance timeout', async () => {
    const h = new GroupHarness();
    const first = h.joinWithId({ rebalanceTimeoutMs: 8_000 });
    await h.clock.advance(2_000);
    const second = h.joinWithId({ rebalanceTimeoutMs: 8_000 });
    await h.clock.advance(2_000);
    expect(first.join.isAnswered).toBe(false);
    const third = h.joinWithId({ rebalanceTimeoutMs: 8_000 });
    await h.clock.advance(2_500);
    expect(first.join.isAnswered).toBe(false);
    // A fourth would put it off again, but 8 seconds are over at last.
    const fourth = h.joinWithId({ rebalanceTimeoutMs: 8_000 });
    await h.clock.advance(1_499);
    expect(first.join.isAnswered).toBe(false);
    await h.clock.advance(1);
    for (const { join, memberId } of [first, second, third, fourth]) {
      expect(join.answer).toMatchObject({ errorCode: 0, generationId: 1, memberId, leader: first.memberId });
      expect(join.answer.members).toHaveLength(memberId === first.memberId ? 4 : 0);
    }
    expect(h.state()).toBe('CompletingRebalance');
  });

  it('begins at once without an initial delay, yet after all that came in the same turn', async () => {
    const h = new GroupHarness({ initialRebalanceDelayMs: 0 });
    const first = h.joinWithId();
    const second = h.joinWithId();
    expect(first.join.isAnswered).toBe(false);
    await h.clock.advance(0);
    expect(first.join.answer.members).toHaveLength(2);
    expect(second.join.answer.leader).toBe(first.memberId);
  });

  it('refuses who knows an id of a group that does not exist', () => {
    const h = new GroupHarness();
    expect(errorName(h.join({ memberId: 'somebody' }).answer.errorCode)).toBe('UNKNOWN_MEMBER_ID');
    expect(h.log).toEqual([]);
  });

  it('refuses who brings no protocol, and makes no group of it', () => {
    const h = new GroupHarness();
    expect(errorName(h.join({ protocols: [] }).answer.errorCode)).toBe('INCONSISTENT_GROUP_PROTOCOL');
    expect(errorName(h.join({ protocolType: '' }).answer.errorCode)).toBe('INCONSISTENT_GROUP_PROTOCOL');
    expect(h.log).toEqual([]);
  });

  it('refuses who shares no protocol with all members', async () => {
    const h = new GroupHarness();
    await h.stableGroup(2, { protocols: ['range', 'sticky'] });
    expect(errorName(h.join({ protocols: ['other'] }).answer.errorCode)).toBe('INCONSISTENT_GROUP_PROTOCOL');
    const wrongType = h.join({ protocolType: 'connect', protocols: ['range'] });
    expect(errorName(wrongType.answer.errorCode)).toBe('INCONSISTENT_GROUP_PROTOCOL');
    expect(h.state()).toBe('Stable');
  });

  it('takes the protocol that most members like best', async () => {
    const h = new GroupHarness();
    const members = [
      ['a', 'b'],
      ['b', 'a'],
      ['b', 'c', 'a'],
    ].map((protocols) => h.joinWithId({ protocols }));
    await h.clock.advance(6_000);
    for (const { join } of members) expect(join.answer.protocolName).toBe('b');
  });

  it('forgets an id that does not come back within the session timeout', async () => {
    const h = new GroupHarness();
    const { memberId } = h.join({ sessionTimeoutMs: 10_000 }).answer;
    await h.clock.advance(9_999);
    const other = h.join({ sessionTimeoutMs: 10_000 }).answer.memberId;
    await h.clock.advance(1);
    expect(errorName(h.join({ memberId }).answer.errorCode)).toBe('UNKNOWN_MEMBER_ID');
    const back = h.join({ memberId: other });
    await h.clock.advance(3_000);
    expect(back.answer.errorCode).toBe(0);
  });

  it('holds a rebalance for an id that was handed out', async () => {
    const h = new GroupHarness();
    const [leader] = await h.stableGroup(1);
    const { memberId } = h.join().answer;
    const again = h.join({ memberId: leader! });
    expect(again.isAnswered).toBe(false);
    const joined = h.join({ memberId });
    expect(again.answer.members).toHaveLength(2);
    expect(joined.answer.generationId).toBe(2);
  });

  it('ends a rebalance when the id that was handed out expires', async () => {
    const h = new GroupHarness();
    const [leader] = await h.stableGroup(1);
    h.join({ sessionTimeoutMs: 6_000 });
    const again = h.join({ memberId: leader! });
    await h.clock.advance(6_000);
    expect(again.answer).toMatchObject({ generationId: 2, errorCode: 0 });
    expect(again.answer.members).toHaveLength(1);
  });

  it('answers an earlier JoinGroup of the same member, which nobody waits for any more', async () => {
    const h = new GroupHarness();
    const { memberId, join } = h.joinWithId();
    const again = h.join({ memberId });
    expect(errorName(join.answer.errorCode)).toBe('REBALANCE_IN_PROGRESS');
    await h.clock.advance(3_000);
    expect(again.answer.generationId).toBe(1);
  });

  it('lets a new member of old wait no longer than five minutes', async () => {
    const h = new GroupHarness();
    const [leader] = await h.stableGroup(1, {
      rebalanceTimeoutMs: 20 * minuteMs,
      sessionTimeoutMs: 20 * minuteMs,
    });
    const waiting = h.join({ version: 3, rebalanceTimeoutMs: 20 * minuteMs });
    await h.clock.advance(5 * minuteMs - 1);
    expect(waiting.isAnswered).toBe(false);
    await h.clock.advance(1);
    expect(errorName(waiting.answer.errorCode)).toBe('UNKNOWN_MEMBER_ID');
    expect(h.heartbeat(leader!, 1)).toBe('REBALANCE_IN_PROGRESS');
  });

  it('keeps only the first of protocols with one name', async () => {
    const h = new GroupHarness();
    const { join } = h.joinWithId({
      protocols: [
        ['range', Buffer.from('one')],
        ['range', Buffer.from('two')],
      ],
    });
    await h.clock.advance(3_000);
    expect(join.answer.members[0]!.metadata).toEqual(Buffer.from('one'));
  });
});

describe('group.max.size', () => {
  it('turns away who is too many for a stable group', async () => {
    const h = new GroupHarness({ maxGroupSize: 2 });
    const members = await h.stableGroup(2);
    expect(errorName(h.join().answer.errorCode)).toBe('GROUP_MAX_SIZE_REACHED');
    expect(h.state()).toBe('Stable');
    const back = h.join({ memberId: members[0]! });
    expect(back.isAnswered).toBe(false);
  });

  it('turns away who comes last to a rebalance', async () => {
    const h = new GroupHarness({ maxGroupSize: 2 });
    const waiting = [h.joinWithId(), h.joinWithId()];
    expect(errorName(h.join().answer.errorCode)).toBe('GROUP_MAX_SIZE_REACHED');
    await h.clock.advance(6_000);
    expect(waiting[0]!.join.answer.members).toHaveLength(2);
  });

  it('makes a group that it finds too large rebalance, and drops the last to come back', async () => {
    const large = new GroupHarness();
    const members = await large.stableGroup(3);
    const h = new GroupHarness({ maxGroupSize: 2 });
    h.log.push(...large.log);
    h.reload();
    expect(h.state()).toBe('PreparingRebalance');
    const joins = members.map((memberId) => h.join({ memberId }));
    expect(joins.map((join) => errorName(join.answer.errorCode))).toEqual([
      'NONE',
      'NONE',
      'GROUP_MAX_SIZE_REACHED',
    ]);
  });
});

describe('joining again', () => {
  it('gives a follower that has not changed the present generation', async () => {
    const h = new GroupHarness();
    const [leader, follower] = await h.stableGroup(2);
    expect(h.join({ memberId: follower! }).answer).toMatchObject({
      errorCode: 0,
      generationId: 1,
      leader,
      memberId: follower,
      members: [],
    });
    expect(h.state()).toBe('Stable');
  });

  it('rebalances when the leader joins again', async () => {
    const h = new GroupHarness();
    const [leader, follower] = await h.stableGroup(2);
    const first = h.join({ memberId: leader! });
    expect(h.state()).toBe('PreparingRebalance');
    expect(h.heartbeat(follower!, 1)).toBe('REBALANCE_IN_PROGRESS');
    const second = h.join({ memberId: follower! });
    expect(first.answer).toMatchObject({ generationId: 2, leader, errorCode: 0 });
    expect(second.answer).toMatchObject({ generationId: 2, leader, members: [] });
  });

  it('rebalances when a follower has changed', async () => {
    const h = new GroupHarness();
    const [, follower] = await h.stableGroup(2);
    h.join({ memberId: follower!, protocols: [['range', subscription('orders', 'payments')]] });
    expect(h.state()).toBe('PreparingRebalance');
  });

  it('gives the same answer again while the leader has not synced', async () => {
    const h = new GroupHarness();
    const leader = h.joinWithId();
    const follower = h.joinWithId();
    await h.clock.advance(6_000);
    expect(h.join({ memberId: leader.memberId }).answer).toEqual(leader.join.answer);
    expect(h.join({ memberId: follower.memberId }).answer).toEqual(follower.join.answer);
    expect(h.state()).toBe('CompletingRebalance');
    const changed = h.join({ memberId: follower.memberId, protocols: [['range', subscription('payments')]] });
    expect(changed.isAnswered).toBe(false);
    expect(h.state()).toBe('PreparingRebalance');
  });

  it('drops dynamic members that do not come back in time', async () => {
    const h = new GroupHarness();
    const [leader, follower] = await h.stableGroup(2, { rebalanceTimeoutMs: 5_000 });
    const third = h.joinWithId({ rebalanceTimeoutMs: 5_000 });
    const again = h.join({ memberId: follower!, rebalanceTimeoutMs: 5_000 });
    await h.clock.advance(5_000);
    expect(again.answer).toMatchObject({ generationId: 2, leader: follower });
    expect(again.answer.members.map((member) => member.memberId)).toEqual([follower, third.memberId]);
    expect(h.heartbeat(leader!, 2)).toBe('UNKNOWN_MEMBER_ID');
  });
});

describe('SyncGroup', () => {
  it('lets followers wait for the leader, gives each its bytes, and records the generation', async () => {
    const h = new GroupHarness();
    const leader = h.joinWithId({ protocols: ['range', 'sticky'] });
    const follower = h.joinWithId({ protocols: ['range', 'sticky'], clientId: 'other' });
    await h.clock.advance(6_000);
    h.takeRecords();
    const rebalancedMs = h.clock.nowMs();
    await h.clock.advance(500);
    const waiting = h.sync(follower.memberId, 1);
    expect(waiting.isAnswered).toBe(false);
    expect(h.takeRecords()).toEqual([]);
    const leading = h.sync(leader.memberId, 1, { [leader.memberId]: 'mine', [follower.memberId]: 'yours' });
    expect(leading.answer).toEqual({
      errorCode: 0,
      protocolType: 'consumer',
      protocolName: 'range',
      assignment: Buffer.from('mine'),
    });
    expect(waiting.answer.assignment).toEqual(Buffer.from('yours'));
    const member = {
      groupInstanceId: null,
      clientHost: '/127.0.0.1',
      rebalanceTimeout: 60_000,
      sessionTimeout: 10_000,
    };
    expect(h.takeRecords()).toEqual([
      {
        type: 'group-metadata',
        key: { group: 'g' },
        value: {
          protocolType: 'consumer',
          generation: 1,
          protocol: 'range',
          leader: leader.memberId,
          currentStateTimestamp: rebalancedMs,
          members: [
            {
              ...member,
              memberId: leader.memberId,
              clientId: 'client',
              subscription: subscription('orders'),
              assignment: Buffer.from('mine'),
            },
            {
              ...member,
              memberId: follower.memberId,
              clientId: 'other',
              subscription: subscription('orders'),
              assignment: Buffer.from('yours'),
            },
          ],
        },
      },
    ]);
  });

  it('gives who comes late the assignment, and an empty one to whom the leader left out', async () => {
    const h = new GroupHarness();
    const leader = h.joinWithId();
    const follower = h.joinWithId();
    await h.clock.advance(6_000);
    h.sync(leader.memberId, 1, { [leader.memberId]: 'all', 'not-a-member': 'x' });
    expect(h.sync(follower.memberId, 1).answer).toMatchObject({ errorCode: 0, assignment: Buffer.alloc(0) });
  });

  it('calls off waiting followers when somebody joins', async () => {
    const h = new GroupHarness();
    const leader = h.joinWithId();
    const follower = h.joinWithId();
    await h.clock.advance(6_000);
    const waiting = h.sync(follower.memberId, 1);
    h.joinWithId();
    expect(errorName(waiting.answer.errorCode)).toBe('REBALANCE_IN_PROGRESS');
    expect(errorName(h.sync(leader.memberId, 1).answer.errorCode)).toBe('REBALANCE_IN_PROGRESS');
  });

  it('drops members that do not sync within the rebalance timeout, the leader too', async () => {
    const h = new GroupHarness();
    const options = { rebalanceTimeoutMs: 5_000, sessionTimeoutMs: 30_000 };
    const leader = h.joinWithId(options);
    const follower = h.joinWithId(options);
    await h.clock.advance(5_000);
    const waiting = h.sync(follower.memberId, 1);
    await h.clock.advance(4_999);
    expect(waiting.isAnswered).toBe(false);
    await h.clock.advance(1);
    expect(errorName(waiting.answer.errorCode)).toBe('REBALANCE_IN_PROGRESS');
    expect(h.heartbeat(leader.memberId, 1)).toBe('UNKNOWN_MEMBER_ID');
    expect(h.join({ ...options, memberId: follower.memberId }).answer).toMatchObject({
      generationId: 2,
      leader: follower.memberId,
    });
  });

  it('drops a follower that never syncs even when the group is stable', async () => {
    const h = new GroupHarness();
    const options = { rebalanceTimeoutMs: 5_000, sessionTimeoutMs: 30_000 };
    const leader = h.joinWithId(options);
    const follower = h.joinWithId(options);
    await h.clock.advance(6_000);
    h.sync(leader.memberId, 1, { [leader.memberId]: 'a' });
    expect(h.state()).toBe('Stable');
    await h.clock.advance(5_000);
    expect(h.state()).toBe('PreparingRebalance');
    expect(h.heartbeat(follower.memberId, 1)).toBe('UNKNOWN_MEMBER_ID');
  });

  it('checks protocol type and name where they are given', async () => {
    const h = new GroupHarness();
    const [leader] = await h.stableGroup(1);
    const wrongName = h.sync(leader!, 1, {}, { protocolName: 'sticky', protocolType: 'consumer' });
    const wrongType = h.sync(leader!, 1, {}, { protocolName: 'range', protocolType: 'connect' });
    const right = h.sync(leader!, 1, {}, { protocolName: 'range', protocolType: 'consumer' });
    expect([wrongName, wrongType, right].map((asked) => errorName(asked.answer.errorCode))).toEqual([
      'INCONSISTENT_GROUP_PROTOCOL',
      'INCONSISTENT_GROUP_PROTOCOL',
      'NONE',
    ]);
  });
});

describe('sessions', () => {
  it('live by heartbeats and end without', async () => {
    const h = new GroupHarness();
    const [leader, follower] = await h.stableGroup(2, { sessionTimeoutMs: 10_000 });
    for (let round = 0; round < 5; round++) {
      await h.clock.advance(6_000);
      if (round < 4) expect(h.heartbeat(follower!, 1)).toBe(round < 1 ? 'NONE' : 'REBALANCE_IN_PROGRESS');
    }
    // Only the follower was heard of; the leader went after its session.
    expect(h.heartbeat(leader!, 1)).toBe('UNKNOWN_MEMBER_ID');
  });

  it('live by commits, too', async () => {
    const h = new GroupHarness();
    const [leader] = await h.stableGroup(1, { sessionTimeoutMs: 10_000 });
    for (let round = 0; round < 5; round++) {
      await h.clock.advance(9_000);
      expect(h.commit({ memberId: leader!, generationId: 1 })).toBe('NONE');
    }
    expect(h.state()).toBe('Stable');
  });

  it('end at their moment, not at a heartbeat before', async () => {
    const h = new GroupHarness();
    const [leader] = await h.stableGroup(1, { sessionTimeoutMs: 10_000 });
    await h.clock.advance(7_000);
    expect(h.heartbeat(leader!, 1)).toBe('NONE');
    await h.clock.advance(9_999);
    expect(h.state()).toBe('Stable');
    await h.clock.advance(1);
    expect(h.state()).toBe('Empty');
    expect(h.takeRecords()).toEqual([
      {
        type: 'group-metadata',
        key: { group: 'g' },
        value: {
          protocolType: 'consumer',
          generation: 2,
          protocol: null,
          leader: null,
          currentStateTimestamp: h.clock.nowMs(),
          members: [],
        },
      },
    ]);
  });

  it('cost no timer a heartbeat', async () => {
    const h = new GroupHarness();
    const [leader] = await h.stableGroup(1);
    const timers = h.clock.pendingTimers;
    for (let beat = 0; beat < 1000; beat++) h.heartbeat(leader!, 1);
    expect(h.clock.pendingTimers).toBe(timers);
  });

  it('do not end while a member waits in JoinGroup or SyncGroup', async () => {
    const h = new GroupHarness();
    const options = { sessionTimeoutMs: 6_000, rebalanceTimeoutMs: 60_000 };
    const [leader, follower] = await h.stableGroup(2, options);
    const again = h.join({ ...options, memberId: leader! });
    for (let round = 0; round < 4; round++) {
      await h.clock.advance(5_000);
      h.heartbeat(follower!, 1);
    }
    expect(again.isAnswered).toBe(false);
    h.join({ ...options, memberId: follower! });
    expect(again.answer.generationId).toBe(2);
    const waiting = h.sync(follower!, 2);
    for (let round = 0; round < 4; round++) {
      await h.clock.advance(5_000);
      expect(h.heartbeat(leader!, 2)).toBe('NONE');
    }
    h.sync(leader!, 2, { [follower!]: 'x' });
    expect(waiting.answer).toMatchObject({ errorCode: 0, assignment: Buffer.from('x') });
  });
});

describe('LeaveGroup', () => {
  it('makes the others rebalance, and the last one leave the group empty', async () => {
    const h = new GroupHarness();
    const [leader, follower] = await h.stableGroup(2);
    expect(h.leave(leader!)).toEqual(['NONE']);
    expect(h.state()).toBe('PreparingRebalance');
    const again = h.join({ memberId: follower! });
    expect(again.answer).toMatchObject({ generationId: 2, leader: follower });
    h.sync(follower!, 2, {});
    h.takeRecords();
    expect(h.leave(follower!)).toEqual(['NONE']);
    expect(h.state()).toBe('Empty');
    expect(h.takeRecords()).toMatchObject([
      { value: { generation: 3, members: [], leader: null, protocol: null } },
    ]);
  });

  it('answers each member', async () => {
    const h = new GroupHarness();
    const [leader] = await h.stableGroup(1);
    const pending = h.join().answer.memberId;
    expect(h.leave('nobody', pending, { memberId: '', groupInstanceId: 'no-instance' }, leader!)).toEqual([
      'UNKNOWN_MEMBER_ID',
      'NONE',
      'UNKNOWN_MEMBER_ID',
      'NONE',
    ]);
    expect(h.state()).toBe('Empty');
  });

  it('knows no group that does not exist', () => {
    expect(new GroupHarness().leave('a')).toBeUndefined();
  });

  it('answers what the member waits for', async () => {
    const h = new GroupHarness();
    const first = h.joinWithId();
    const second = h.joinWithId();
    h.leave(second.memberId);
    expect(errorName(second.join.answer.errorCode)).toBe('UNKNOWN_MEMBER_ID');
    await h.clock.advance(6_000);
    expect(first.join.answer.members).toHaveLength(1);
    const third = h.joinWithId();
    h.join({ memberId: first.memberId });
    expect(third.join.answer.generationId).toBe(2);
    const waiting = h.sync(third.memberId, 2);
    h.leave(third.memberId);
    expect(errorName(waiting.answer.errorCode)).toBe('UNKNOWN_MEMBER_ID');
  });
});

describe('static members', () => {
  const one = { instanceId: 'one' };

  async function stableStatic(h: GroupHarness): Promise<{ leader: string; follower: string }> {
    const leader = h.join(one);
    const follower = h.join({ instanceId: 'two' });
    await h.clock.advance(6_000);
    const ids = { leader: leader.answer.memberId, follower: follower.answer.memberId };
    h.sync(ids.leader, 1, { [ids.leader]: 'L', [ids.follower]: 'F' }, { instanceId: 'one' });
    h.sync(ids.follower, 1, {}, { instanceId: 'two' });
    h.takeRecords();
    return ids;
  }

  it('are named by their instance and join at once', async () => {
    const h = new GroupHarness();
    const { leader, follower } = await stableStatic(h);
    expect(leader).toBe('one-uuid1');
    expect(follower).toBe('two-uuid2');
  });

  it('come back to a stable group under a new id with their assignment, and fence the old one', async () => {
    const h = new GroupHarness();
    const { leader, follower } = await stableStatic(h);
    const back = h.join({ instanceId: 'two' });
    const memberId = 'two-uuid3';
    expect(back.answer).toEqual({
      errorCode: 0,
      generationId: 1,
      protocolType: 'consumer',
      protocolName: 'range',
      leader,
      skipAssignment: false,
      memberId,
      members: [],
    });
    expect(h.state()).toBe('Stable');
    expect(h.takeRecords()).toMatchObject([
      {
        value: {
          generation: 1,
          leader,
          members: [
            { memberId: leader, groupInstanceId: 'one', assignment: Buffer.from('L') },
            { memberId, groupInstanceId: 'two', assignment: Buffer.from('F') },
          ],
        },
      },
    ]);
    expect(h.sync(memberId, 1, {}, { instanceId: 'two' }).answer.assignment).toEqual(Buffer.from('F'));
    expect(h.heartbeat(follower, 1, 'two')).toBe('FENCED_INSTANCE_ID');
    expect(h.heartbeat(follower, 1)).toBe('UNKNOWN_MEMBER_ID');
    expect(h.commit({ memberId: follower, groupInstanceId: 'two', generationId: 1 })).toBe(
      'FENCED_INSTANCE_ID',
    );
    expect(errorName(h.sync(follower, 1, {}, { instanceId: 'two' }).answer.errorCode)).toBe(
      'FENCED_INSTANCE_ID',
    );
    const old = h.join({ instanceId: 'two', memberId: follower });
    expect(errorName(old.answer.errorCode)).toBe('FENCED_INSTANCE_ID');
    expect(h.leave({ memberId: follower, groupInstanceId: 'two' })).toEqual(['FENCED_INSTANCE_ID']);
    expect(h.heartbeat(memberId, 1, 'two')).toBe('NONE');
  });

  it('leave the assignment alone when the leader comes back', async () => {
    const h = new GroupHarness();
    const { leader } = await stableStatic(h);
    const told = h.join({ ...one, version: 9 }).answer;
    expect(told).toMatchObject({ leader: 'one-uuid3', memberId: 'one-uuid3', skipAssignment: true });
    expect(told.members).toHaveLength(2);
    // Who cannot be told so is not told that it leads.
    const untold = h.join({ ...one, version: 8 }).answer;
    expect(untold).toMatchObject({ leader: 'one-uuid3', memberId: 'one-uuid4', members: [] });
    expect(untold.skipAssignment).toBeUndefined();
    expect(h.machine.describe('g').members.map((member) => member.memberId)).toContain('one-uuid4');
    expect(leader).toBe('one-uuid1');
  });

  it('rebalance when coming back changes the protocol', async () => {
    const h = new GroupHarness();
    const alone = h.join({ ...one, protocols: ['a', 'b'] });
    await h.clock.advance(3_000);
    h.sync(alone.answer.memberId, 1);
    expect(h.state()).toBe('Stable');
    const wider = h.join({ ...one, protocols: ['b', 'a'] });
    expect(wider.answer).toMatchObject({ generationId: 2, protocolName: 'b' });
  });

  it('come back while the group rebalances, and their old request is fenced', async () => {
    const h = new GroupHarness();
    const { leader } = await stableStatic(h);
    const waiting = h.join({ ...one, memberId: leader });
    expect(h.state()).toBe('PreparingRebalance');
    const back = h.join(one);
    expect(waiting.answer).toEqual({
      errorCode: 82,
      protocolName: null,
      leader: '',
      memberId: leader,
      members: [],
    });
    h.join({ instanceId: 'two', memberId: 'two-uuid2' });
    expect(back.answer).toMatchObject({ generationId: 2, leader: back.answer.memberId });
  });

  it('make a group that has not got its assignment rebalance', async () => {
    const h = new GroupHarness();
    const leader = h.join(one);
    const follower = h.join({ instanceId: 'two' });
    await h.clock.advance(6_000);
    const waiting = h.sync(follower.answer.memberId, 1, {}, { instanceId: 'two' });
    const back = h.join({ instanceId: 'two' });
    expect(errorName(waiting.answer.errorCode)).toBe('FENCED_INSTANCE_ID');
    expect(h.state()).toBe('PreparingRebalance');
    h.join({ ...one, memberId: leader.answer.memberId });
    expect(back.answer.generationId).toBe(2);
  });

  it('stay in the group when they miss a rebalance, until their session ends', async () => {
    const h = new GroupHarness();
    const options = { rebalanceTimeoutMs: 5_000, sessionTimeoutMs: 30_000 };
    const away = h.join({ ...one, ...options });
    const here = h.join({ instanceId: 'two', ...options });
    await h.clock.advance(6_000);
    const hereId = here.answer.memberId;
    h.sync(away.answer.memberId, 1, {}, { instanceId: 'one' });
    h.sync(hereId, 1, {}, { instanceId: 'two' });
    const again = h.join({
      instanceId: 'two',
      memberId: hereId,
      ...options,
      protocols: [['range', subscription('payments')]],
    });
    await h.clock.advance(5_000);
    expect(again.answer).toMatchObject({ generationId: 2, leader: hereId });
    expect(again.answer.members).toHaveLength(2);
  });

  it('are waited for when nobody else is left', async () => {
    const h = new GroupHarness();
    const options = { rebalanceTimeoutMs: 5_000, sessionTimeoutMs: 60_000 };
    h.join({ ...one, ...options, version: 5 });
    await h.clock.advance(6_000);
    h.sync('one-uuid1', 1, {}, { instanceId: 'one' });
    const dynamic = h.joinWithId(options);
    h.leave(dynamic.memberId);
    await h.clock.advance(20_000);
    expect(h.state()).toBe('PreparingRebalance');
    const back = h.join({ ...one, ...options });
    expect(back.answer.generationId).toBe(2);
  });

  it('are removed by their instance id alone', async () => {
    const h = new GroupHarness();
    const { follower } = await stableStatic(h);
    expect(
      h.leave({ memberId: '', groupInstanceId: 'one' }, { memberId: follower, groupInstanceId: 'two' }),
    ).toEqual(['NONE', 'NONE']);
    expect(h.state()).toBe('Empty');
  });
});

describe('restart', () => {
  it.each(['log', 'snapshot'] as const)('goes on with the last recorded generation (%s)', async (from) => {
    const h = new GroupHarness();
    const [leader, follower] = await h.stableGroup(2);
    h.join({ memberId: leader! });
    expect(h.state()).toBe('PreparingRebalance');
    h.reload(from);
    expect(h.state()).toBe('Stable');
    expect(h.heartbeat(follower!, 1)).toBe('NONE');
    expect(h.sync(follower!, 1).answer.assignment).toEqual(Buffer.from(`of ${follower}`));
    expect(h.join({ memberId: follower! }).answer).toMatchObject({ generationId: 1, leader });
  });

  it('gives members one session to show up', async () => {
    const h = new GroupHarness();
    const [leader, follower] = await h.stableGroup(2, {
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 10_000,
    });
    h.reload();
    await h.clock.advance(9_000);
    expect(h.heartbeat(leader!, 1)).toBe('NONE');
    await h.clock.advance(1_000);
    expect(h.heartbeat(follower!, 1)).toBe('UNKNOWN_MEMBER_ID');
    expect(h.heartbeat(leader!, 1)).toBe('REBALANCE_IN_PROGRESS');
  });

  it('knows an empty group again, and no group that was deleted', async () => {
    const h = new GroupHarness();
    const [only] = await h.stableGroup(1);
    h.leave(only!);
    h.reload();
    expect(h.machine.list({ states: new Set(), types: new Set() })).toEqual([
      { groupId: 'g', protocolType: 'consumer', groupState: 'Empty', groupType: 'classic' },
    ]);
    h.run((effects) => h.machine.offsetCommits.deleteGroup('g', effects));
    h.reload();
    expect(h.state()).toBe('Dead');
  });
});
