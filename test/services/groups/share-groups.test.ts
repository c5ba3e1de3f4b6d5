import { describe, expect, it } from 'vitest';
import type { ShareGroupHeartbeatRequest } from '../../../protocol/generated/76-share-group-heartbeat.ts';
import type { Effects } from '../../../src/services/coordinator/coordinator-machine.ts';
import type { GroupTopic, GroupTopics } from '../../../src/services/groups/common/group-topics.ts';
import type { AssignableMember } from '../../../src/services/groups/common/partition-assignor.ts';
import type { TopicPartitions } from '../../../src/services/groups/common/topic-partitions.ts';
import { type GroupRecord, groupRecordFormat } from '../../../src/services/groups/group-records.ts';
import { defaultShareMemberSettings } from '../../../src/services/groups/group-settings.ts';
import { ShareGroupProtocol } from '../../../src/services/groups/share/share-group-protocol.ts';
import { isShareGroupRecord } from '../../../src/services/groups/share/share-group-records.ts';
import { simpleAssignor } from '../../../src/services/groups/share/simple-assignor.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { Random } from '../../fuzz/random.ts';

/** A topic id: 16 bytes. */
function idOf(name: string): string {
  return Buffer.from(name.padEnd(16, '.')).toString('base64url');
}

class Topics implements GroupTopics {
  readonly topics = new Map<string, GroupTopic>();
  version = 0;

  set(name: string, partitionCount: number): void {
    this.topics.set(name, { name, id: idOf(name), partitionCount });
    this.version++;
  }
  byName(name: string): GroupTopic | undefined {
    return this.topics.get(name);
  }
  byId(id: string): GroupTopic | undefined {
    return [...this.topics.values()].find((topic) => topic.id === id);
  }
  names(): readonly string[] {
    return [...this.topics.keys()];
  }
}

/** The protocol on a clock, with every record that it wrote. */
class Coordinator {
  readonly clock = new VirtualClock();
  readonly topics = new Topics();
  readonly log: GroupRecord[] = [];
  protocol = this.make();

  make(): ShareGroupProtocol {
    const protocol: ShareGroupProtocol = new ShareGroupProtocol({
      settings: { ...defaultShareMemberSettings, assignmentIntervalMs: () => 0 },
      topics: this.topics,
      isTaken: (groupId) => groupId === 'classic',
      timers: {
        nowMs: () => this.clock.nowMs(),
        monotonicMs: () => this.clock.monotonicMs(),
        after: (delayMs, command) =>
          this.clock.after(delayMs, () => {
            if (this.protocol === protocol) command(this.effects);
          }),
      },
    });
    return protocol;
  }

  readonly effects: Effects<GroupRecord> = {
    append: (record) => {
      // As it stands in the log.
      const { key, value } = groupRecordFormat.encode(record);
      const stored = groupRecordFormat.decode(key, value)!;
      this.log.push(stored);
      if (isShareGroupRecord(stored)) this.protocol.replay(stored);
    },
    reply: () => {},
  };

  crash(): void {
    this.protocol = this.make();
    for (const record of this.log) if (isShareGroupRecord(record)) this.protocol.replay(record);
    this.protocol.onLoaded();
  }

  beat(memberId: string, memberEpoch: number, topics: string[] | null = null, groupId = 'g') {
    const request: ShareGroupHeartbeatRequest = {
      groupId,
      memberId,
      memberEpoch,
      rackId: null,
      subscribedTopicNames: topics,
    };
    return this.protocol.heartbeat(request, { clientId: 'c', clientHost: '/h' }, this.effects);
  }
}

const partitionsIn = (answer: { assignment?: { topicPartitions: readonly unknown[] } | null | undefined }) =>
  answer.assignment?.topicPartitions;

describe('members of share groups', () => {
  it('join, share partitions, leave', () => {
    const coordinator = new Coordinator();
    coordinator.topics.set('t', 2);
    const a = coordinator.beat('a', 0, ['t']);
    expect(a).toMatchObject({ errorCode: 0, memberEpoch: 2, heartbeatIntervalMs: 5_000 });
    expect(partitionsIn(a)).toEqual([{ topicId: idOf('t'), partitions: [0, 1] }]);
    expect(partitionsIn(coordinator.beat('b', 0, ['t']))).toEqual([{ topicId: idOf('t'), partitions: [1] }]);
    const moved = coordinator.beat('a', 2);
    expect(partitionsIn(moved)).toEqual([{ topicId: idOf('t'), partitions: [0] }]);
    expect(coordinator.beat('a', moved.memberEpoch).assignment).toBeNull();
    expect(partitionsIn(coordinator.beat('c', 0, ['t']))).toHaveLength(1);
    expect(coordinator.beat('b', -1)).toMatchObject({ errorCode: 0, memberEpoch: -1 });
    expect(coordinator.beat('b', 3)).toMatchObject({ errorCode: 25 });
    expect(coordinator.protocol.describe('g')).toMatchObject({ groupState: 'Stable', members: [{}, {}] });
  });

  it('take up partitions that are added', () => {
    const coordinator = new Coordinator();
    coordinator.topics.set('t', 1);
    const { memberEpoch } = coordinator.beat('a', 0, ['t', 'later']);
    coordinator.topics.set('later', 2);
    expect(partitionsIn(coordinator.beat('a', memberEpoch))).toEqual([
      { topicId: idOf('later'), partitions: [0, 1] },
      { topicId: idOf('t'), partitions: [0] },
    ]);
  });

  it('are fenced by epochs, by silence, and by what they may not be', async () => {
    const coordinator = new Coordinator();
    coordinator.topics.set('t', 1);
    expect(coordinator.beat('a', 4)).toMatchObject({ errorCode: 69 });
    expect(coordinator.beat('a', 0, ['t'], 'classic')).toMatchObject({ errorCode: 69 });
    expect(coordinator.beat('', 0, ['t'])).toMatchObject({ errorCode: 42 });
    expect(coordinator.beat('a', 0, null)).toMatchObject({ errorCode: 42 });
    expect(coordinator.beat('a', -2)).toMatchObject({ errorCode: 42 });
    coordinator.beat('a', 0, ['t']);
    expect(coordinator.beat('a', 77)).toMatchObject({ errorCode: 110 });
    await coordinator.clock.advance(40_000);
    expect(coordinator.beat('a', 2)).toMatchObject({ errorCode: 0 });
    await coordinator.clock.advance(46_000);
    expect(coordinator.beat('a', 2)).toMatchObject({ errorCode: 25 });
    expect(coordinator.protocol.describe('g')).toMatchObject({ groupState: 'Empty' });
  });

  it('are there again after a crash, and for a session only', async () => {
    const coordinator = new Coordinator();
    coordinator.topics.set('t', 3);
    coordinator.beat('a', 0, ['t']);
    const before = coordinator.protocol.describe('g');
    coordinator.crash();
    expect(coordinator.protocol.describe('g')).toEqual(before);
    expect(coordinator.beat('a', 2)).toMatchObject({ errorCode: 0 });
    const snapshot = [...coordinator.protocol.snapshot()];
    coordinator.log.splice(0, coordinator.log.length, ...snapshot);
    coordinator.crash();
    expect(coordinator.protocol.describe('g')).toEqual(before);
    await coordinator.clock.advance(46_000);
    expect(coordinator.protocol.describe('g')).toMatchObject({ members: [] });
    coordinator.protocol.delete(coordinator.protocol.group('g')!, coordinator.effects);
    coordinator.crash();
    expect(coordinator.protocol.describe('g')).toMatchObject({ errorCode: 69 });
  });
});

describe('the simple assignor', () => {
  it('is even, leaves no partition and nobody out, and keeps what it can', () => {
    const random = new Random(7, 1);
    for (let round = 0; round < 400; round++) {
      const partitionCount = 1 + random.below(12);
      let members: AssignableMember[] = [];
      for (let change = 0; change < 6; change++) {
        const next = new Map(members.map((member) => [member.memberId, member]));
        if (members.length === 0 || random.oneIn(2)) {
          const memberId = `m${round}-${change}`;
          const assigned: TopicPartitions = new Map();
          next.set(memberId, { memberId, instanceId: null, topicIds: new Set(['t']), assigned });
        } else next.delete(random.pick(members).memberId);
        members = [...next.values()];
        const result = simpleAssignor.assign({
          members,
          isHomogeneous: true,
          partitionCount: () => partitionCount,
          isAssigned: () => false,
        });
        const holders = new Array<number>(partitionCount).fill(0);
        const sizes = members.map(({ memberId }) => {
          const own = result.get(memberId)?.get('t') ?? new Set<number>();
          for (const partition of own) holders[partition]!++;
          return own.size;
        });
        if (members.length > 0) {
          expect(Math.min(...holders)).toBeGreaterThan(0);
          expect(Math.min(...sizes)).toBeGreaterThan(0);
          expect(Math.max(...holders) - Math.min(...holders)).toBeLessThanOrEqual(1);
          expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        }
        members = members.map((member) => ({ ...member, assigned: result.get(member.memberId)! }));
        // Nothing changed: nobody loses anything.
        const again = simpleAssignor.assign({
          members,
          isHomogeneous: true,
          partitionCount: () => partitionCount,
          isAssigned: () => false,
        });
        expect(again).toEqual(result);
      }
    }
  });
});
