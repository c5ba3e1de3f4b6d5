import { describe, expect, it } from 'vitest';
import { errorName } from '../../../../protocol/error-codes.ts';
import type { JoinGroupResponseInput } from '../../../../protocol/generated/11-join-group.ts';
import type { SyncGroupResponseInput } from '../../../../protocol/generated/14-sync-group.ts';
import type { ClassicGroup } from '../../../../src/services/groups/classic/classic-group.ts';
import { groupRecordFormat } from '../../../../src/services/groups/group-records.ts';
import { type Asked, GroupHarness, minuteMs } from '../group-machine-harness.ts';

/** Clients that do anything at any time, and what must hold whatever they do. */
class Walk {
  readonly h: GroupHarness;
  readonly joins: Asked<JoinGroupResponseInput>[] = [];
  readonly syncs: Asked<SyncGroupResponseInput>[] = [];
  readonly ids: string[] = ['nobody'];
  #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
    this.h = new GroupHarness({
      initialRebalanceDelayMs: seed % 2 === 0 ? 0 : 3_000,
      maxGroupSize: seed % 5 === 0 ? 3 : 100,
    });
  }

  random(below: number): number {
    this.#seed = (Math.imul(this.#seed, 1103515245) + 12345) & 0x7fffffff;
    return (this.#seed >>> 8) % below;
  }

  get group(): ClassicGroup | undefined {
    return this.h.machine.group('g') as ClassicGroup | undefined;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.random(from.length)]!;
  }

  async step(): Promise<void> {
    const { h } = this;
    const generation = (this.group?.generationId ?? 0) - (this.random(8) === 0 ? 1 : 0);
    const memberId = this.pick(this.ids);
    const instanceId = this.random(4) === 0 ? this.pick(['i1', 'i2']) : null;
    switch (this.random(10)) {
      case 0:
      case 1:
        this.joins.push(
          h.join({
            version: this.random(10),
            instanceId,
            sessionTimeoutMs: 10_000,
            rebalanceTimeoutMs: 5_000 + this.random(3) * 10_000,
          }),
        );
        break;
      case 2:
      case 3:
        this.joins.push(
          h.join({
            memberId,
            instanceId: memberId.startsWith('i') ? memberId.slice(0, 2) : null,
            protocols: this.pick([['range'], ['range', 'sticky'], ['sticky', 'range']]),
            rebalanceTimeoutMs: 15_000,
          }),
        );
        break;
      case 4: {
        const { group } = this;
        const leaderId = group?.leaderId ?? 'nobody';
        this.syncs.push(h.sync(leaderId, group?.generationId ?? 0, { [leaderId]: 'all' }));
        break;
      }
      case 5:
        this.syncs.push(h.sync(memberId, generation, Object.fromEntries(this.ids.map((id) => [id, id]))));
        break;
      case 6:
        h.heartbeat(memberId, generation);
        break;
      case 7:
        h.commit({
          memberId,
          generationId: generation,
          partition: { partitionIndex: this.random(5), offset: this.random(1000) },
        });
        break;
      case 8:
        if (this.random(4) === 0) h.leave(memberId, { memberId: '', groupInstanceId: instanceId });
        break;
      default:
        await h.clock.advance(this.random(2) === 0 ? this.random(8_000) : this.random(500));
    }
    for (const join of this.joins) {
      const id = join.answers[0]?.memberId;
      if (id !== undefined && id !== '' && !this.ids.includes(id)) this.ids.push(id);
    }
    this.check();
  }

  check(): void {
    const { group } = this;
    if (group === undefined) return;
    const members = [...group.members.values()];
    expect(group.awaitingJoinCount).toBe(
      members.filter((member) => member.awaitingJoin !== undefined).length,
    );
    expect([...group.staticMembers.values()].sort()).toEqual(
      members
        .filter((member) => member.isStatic)
        .map((member) => member.memberId)
        .sort(),
    );
    if (group.state === 'Empty') expect(members).toEqual([]);
    if (group.state !== 'PreparingRebalance' && members.length > 0) {
      expect(members.map((member) => member.memberId)).toContain(group.leaderId);
      expect(members.every((member) => member.metadataFor(group.protocolName) !== undefined)).toBe(true);
      expect(group.awaitingJoinCount).toBe(0);
    }
    if (group.state !== 'CompletingRebalance')
      expect(members.every((member) => member.awaitingSync === undefined)).toBe(true);
    // Whoever is in the group can be expired; whoever is not has no timer left.
    expect([...group.sessions.keys()].sort()).toEqual(
      [...group.members.keys(), ...group.pendingJoinMembers].sort(),
    );
  }

  /** The bytes of the state, in an order of its own. */
  snapshotBytes(): string[] {
    return [...this.h.machine.snapshot()]
      .map((record) => {
        const { key, value } = groupRecordFormat.encode(record);
        return `${key.toString('hex')} ${value?.toString('hex')}`;
      })
      .sort();
  }
}

describe('whatever clients do', () => {
  it.each(Array.from({ length: 60 }, (_, index) => index + 1))('the group stays whole (%i)', async (seed) => {
    const walk = new Walk(seed);
    for (let step = 0; step < 250; step++) await walk.step();
    // The log makes the state that was recorded, and nothing else.
    const recorded = walk.snapshotBytes();
    if (seed % 3 === 0) walk.h.reload();
    expect(walk.snapshotBytes()).toEqual(recorded);
    // Left alone, everyone is answered, sessions end, and the group with them.
    await walk.h.clock.advance(10 * minuteMs);
    if (seed % 3 !== 0) {
      for (const asked of [...walk.joins, ...walk.syncs]) expect(asked.answers).toHaveLength(1);
    }
    expect(['Empty', 'Dead']).toContain(walk.h.state());
    expect(walk.h.clock.pendingTimers).toBe(0);
    // And it can be begun again.
    const again = walk.h.joinWithId();
    await walk.h.clock.advance(6_000);
    expect(errorName(again.join.answer.errorCode)).toBe('NONE');
  });
});
