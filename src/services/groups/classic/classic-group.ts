/**
 * A classic group: its members, what they have in common, and where the group stands in its rebalance. Holds and counts; decides
 * nothing: classic-group-coordinator.ts does. What its last record says (`persisted`) is what a restart would find.
 */

import type { JoinGroupResponseInput } from '../../../../protocol/generated/11-join-group.ts';
import { consumerProtocolSubscription } from '../../../../protocol/generated/data-consumer-protocol-subscription.ts';
import type { GroupMetadataValueInput } from '../../../../protocol/generated/data-group-metadata-value.ts';
import { ByteReader } from '../../../../protocol/wire/byte-reader.ts';
import { safeIntegerOrUndefined } from '../../../../protocol/wire/int64.ts';
import { assert } from '../../../util/assert.ts';
import type { Timer } from '../../../util/clock.ts';
import type { Ticket } from '../../coordinator/coordinator-machine.ts';
import type { Deadline } from '../../coordinator/deadline.ts';
import type { GroupRecord } from '../group-records.ts';
import { ClassicGroupMember, type MemberProtocol, noAssignment } from './classic-group-member.ts';

/** Kafka's names. `Dead` is what a group is called that does not exist; an object never has that state. */
export type ClassicGroupState = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable';

/** The protocol type of consumers, whose metadata the coordinator can read; others (Connect's, say) it cannot. */
export const consumerProtocolType = 'consumer';

export class ClassicGroup {
  readonly type = 'classic';
  readonly groupId: string;
  state: ClassicGroupState = 'Empty';
  /** When the state was entered; ms since 1970, -1 unknown. */
  stateTimestampMs: number;
  generationId = 0;
  protocolType: string | null = null;
  protocolName: string | null = null;
  leaderId: string | null = null;
  /** By member id, in the order in which they joined. */
  readonly members = new Map<string, ClassicGroupMember>();
  /** Member ids by group.instance.id. */
  readonly staticMembers = new Map<string, string>();
  /** Ids handed out with MEMBER_ID_REQUIRED that have not come back yet. */
  readonly pendingJoinMembers = new Set<string>();
  /** Members of this generation whose SyncGroup has not come yet. */
  readonly pendingSyncMembers = new Set<string>();
  /** The rebalance under way began with an empty group: it waits its time whoever has joined. */
  isInitialRebalance = false;
  /** Someone joined since the initial rebalance was last put off. */
  hasNewMember = false;
  /** Ends the join phase. */
  joinTimer: Timer | undefined;
  /** Ends the wait for SyncGroups. */
  syncTimer: Timer | undefined;
  /** By member id, of members and of those that have not come back yet. */
  readonly sessions = new Map<string, Deadline<GroupRecord>>();
  /** What the group's last record says; undefined where it has none and only its offsets speak of it. */
  persisted: GroupMetadataValueInput | undefined;

  readonly #supporters = new Map<string, number>();
  #awaitingJoinCount = 0;
  #subscriptions: readonly Buffer[] | undefined;
  #subscribedTopics: ReadonlySet<string> | null | undefined;

  constructor(groupId: string, nowMs: number) {
    this.groupId = groupId;
    this.stateTimestampMs = nowMs;
  }

  /** True where nobody is in it. Offsets, and ids that were handed out, may be there. */
  get isEmpty(): boolean {
    return this.state === 'Empty';
  }

  get usesConsumerProtocol(): boolean {
    return this.protocolType === consumerProtocolType;
  }

  /** Members whose JoinGroup waits. */
  get awaitingJoinCount(): number {
    return this.#awaitingJoinCount;
  }

  get hasEveryoneJoined(): boolean {
    return this.pendingJoinMembers.size === 0 && this.#awaitingJoinCount === this.members.size;
  }

  /** How long a rebalance waits for members: as long as the most patient of them. */
  get rebalanceTimeoutMs(): number {
    let longestMs = 0;
    for (const member of this.members.values()) longestMs = Math.max(longestMs, member.rebalanceTimeoutMs);
    return longestMs;
  }

  enter(state: ClassicGroupState, nowMs: number): void {
    this.isInitialRebalance = state === 'PreparingRebalance' && this.state === 'Empty';
    this.state = state;
    this.stateTimestampMs = nowMs;
  }

  // ----- members

  add(member: ClassicGroupMember, protocolType: string): void {
    assert(!this.members.has(member.memberId), `member ${member.memberId} is in the group already`);
    if (this.members.size === 0) this.protocolType = protocolType;
    this.members.set(member.memberId, member);
    if (member.groupInstanceId !== null) this.staticMembers.set(member.groupInstanceId, member.memberId);
    this.leaderId ??= member.memberId;
    this.#count(member.protocols, 1);
    this.pendingJoinMembers.delete(member.memberId);
  }

  /** Takes a member, or an id that has not come back yet, out of the group. Whoever waits must have been answered. */
  remove(memberId: string): void {
    const member = this.members.get(memberId);
    if (member !== undefined) {
      assert(member.awaitingJoin === undefined, `member ${memberId} is removed while its JoinGroup waits`);
      this.members.delete(memberId);
      this.#count(member.protocols, -1);
      if (member.groupInstanceId !== null) this.staticMembers.delete(member.groupInstanceId);
    }
    if (this.leaderId === memberId) this.leaderId = this.members.keys().next().value ?? null;
    this.pendingJoinMembers.delete(memberId);
    this.pendingSyncMembers.delete(memberId);
    this.sessions.get(memberId)?.cancel();
    this.sessions.delete(memberId);
  }

  /** Gives a static member a new id; the place in the group, the assignment and the leadership stay. */
  rename(member: ClassicGroupMember, newMemberId: string): ClassicGroupMember {
    assert(member.groupInstanceId !== null, 'only a static member is replaced');
    const renamed = new ClassicGroupMember({ ...identityOf(member), memberId: newMemberId }, member);
    renamed.assignment = member.assignment;
    const others = [...this.members.values()];
    this.members.clear();
    for (const other of others) {
      const kept = other === member ? renamed : other;
      this.members.set(kept.memberId, kept);
    }
    this.staticMembers.set(member.groupInstanceId, newMemberId);
    if (this.leaderId === member.memberId) this.leaderId = newMemberId;
    this.pendingSyncMembers.delete(member.memberId);
    this.sessions.get(member.memberId)?.cancel();
    this.sessions.delete(member.memberId);
    return renamed;
  }

  /** Lets the member's JoinGroup wait. Returns an earlier one that did: a client has only one, so nobody listens to it. */
  awaitJoin(
    member: ClassicGroupMember,
    ticket: Ticket<JoinGroupResponseInput>,
  ): Ticket<JoinGroupResponseInput> | undefined {
    const earlier = this.endJoin(member);
    this.#awaitingJoinCount++;
    member.awaitingJoin = ticket;
    return earlier;
  }

  /** The member's JoinGroup that waited, which must be answered now. */
  endJoin(member: ClassicGroupMember): Ticket<JoinGroupResponseInput> | undefined {
    const ticket = member.awaitingJoin;
    if (ticket !== undefined) this.#awaitingJoinCount--;
    member.awaitingJoin = undefined;
    return ticket;
  }

  setProtocols(member: ClassicGroupMember, protocols: readonly MemberProtocol[]): void {
    this.#count(member.protocols, -1);
    member.protocols = protocols;
    this.#count(protocols, 1);
  }

  // ----- what members have in common

  /** True where a member with these protocols could be in the group with all who are. */
  supports(protocolType: string, protocols: readonly MemberProtocol[]): boolean {
    if (this.state === 'Empty') return protocolType !== '' && protocols.length > 0;
    return (
      this.protocolType === protocolType &&
      protocols.some((protocol) => (this.#supporters.get(protocol.name) ?? 0) === this.members.size)
    );
  }

  /** The protocol that most members like best of those that all know; the one liked earlier in the list of members in a draw. */
  voteForProtocol(): string {
    const votes = new Map<string, number>();
    for (const member of this.members.values()) {
      const vote = member.protocols.find(
        (protocol) => this.#supporters.get(protocol.name) === this.members.size,
      );
      assert(vote !== undefined, `group ${this.groupId} has members with no protocol in common`);
      votes.set(vote.name, (votes.get(vote.name) ?? 0) + 1);
    }
    let winner: string | undefined;
    for (const [name, count] of votes) if (winner === undefined || count > votes.get(winner)!) winner = name;
    assert(winner !== undefined, `group ${this.groupId} is empty and cannot vote`);
    return winner;
  }

  #count(protocols: readonly MemberProtocol[], change: number): void {
    for (const { name } of protocols) {
      const count = (this.#supporters.get(name) ?? 0) + change;
      if (count === 0) this.#supporters.delete(name);
      else this.#supporters.set(name, count);
    }
  }

  // ----- subscriptions

  /** Remembers what the members of the present generation said; it is read only when somebody asks. */
  noteSubscriptions(): void {
    this.#subscribedTopics = undefined;
    this.#subscriptions = [...this.members.values()].map(
      (member) => member.metadataFor(this.protocolName) ?? noAssignment,
    );
  }

  /** The topics that this generation consumes; null where that cannot be known. */
  get subscribedTopics(): ReadonlySet<string> | null {
    if (this.#subscribedTopics === undefined) this.#subscribedTopics = this.#readSubscriptions();
    return this.#subscribedTopics;
  }

  isSubscribedTo(topicName: string): boolean {
    return this.subscribedTopics?.has(topicName) ?? this.usesConsumerProtocol;
  }

  #readSubscriptions(): ReadonlySet<string> | null {
    const subscriptions = this.#subscriptions;
    this.#subscriptions = undefined;
    if (!this.usesConsumerProtocol) return null;
    if (subscriptions === undefined || subscriptions.length === 0) return new Set();
    const topics = new Set<string>();
    try {
      for (const bytes of subscriptions) {
        const reader = new ByteReader(bytes);
        reader.int16('version');
        // Newer versions only add fields at the end.
        for (const topic of consumerProtocolSubscription.decode(reader, 0).topics) topics.add(topic);
      }
    } catch {
      return null;
    }
    return topics;
  }

  // ----- records

  /** The group as a record, with these assignments by member id. */
  toValue(assignments: ReadonlyMap<string, Buffer>): GroupMetadataValueInput {
    return {
      protocolType: this.protocolType ?? '',
      generation: this.generationId,
      protocol: this.protocolName,
      leader: this.leaderId,
      currentStateTimestamp: this.stateTimestampMs,
      members: [...this.members.values()].map((member) => ({
        ...identityOf(member),
        rebalanceTimeout: member.rebalanceTimeoutMs,
        sessionTimeout: member.sessionTimeoutMs,
        subscription: member.metadataFor(this.protocolName) ?? noAssignment,
        assignment: assignments.get(member.memberId) ?? noAssignment,
      })),
    };
  }

  /**
   * Makes the group what the record says. Members that are here already keep what only memory knows of them: their other
   * protocols, and who waits.
   */
  replay(value: GroupMetadataValueInput): void {
    this.persisted = value;
    this.generationId = value.generation;
    this.protocolType = value.protocolType === '' ? null : value.protocolType;
    this.protocolName = value.protocol;
    this.stateTimestampMs = safeIntegerOrUndefined(value.currentStateTimestamp ?? -1) ?? -1;
    this.state = value.members.length === 0 ? 'Empty' : 'Stable';
    this.isInitialRebalance = false;
    const before = new Map(this.members);
    this.members.clear();
    this.staticMembers.clear();
    this.#supporters.clear();
    for (const said of value.members) {
      const subscription = Buffer.from(
        said.subscription.buffer,
        said.subscription.byteOffset,
        said.subscription.length,
      );
      const assignment = Buffer.from(
        said.assignment.buffer,
        said.assignment.byteOffset,
        said.assignment.length,
      );
      const known = before.get(said.memberId);
      const rebalanceTimeoutMs = said.rebalanceTimeout ?? -1;
      const member =
        known ??
        new ClassicGroupMember(
          { ...said, groupInstanceId: said.groupInstanceId ?? null },
          {
            rebalanceTimeoutMs: rebalanceTimeoutMs === -1 ? said.sessionTimeout : rebalanceTimeoutMs,
            sessionTimeoutMs: said.sessionTimeout,
            protocols: [{ name: value.protocol ?? '', metadata: subscription }],
          },
        );
      member.assignment = assignment;
      this.members.set(member.memberId, member);
      if (member.groupInstanceId !== null) this.staticMembers.set(member.groupInstanceId, member.memberId);
      this.#count(member.protocols, 1);
      before.delete(member.memberId);
    }
    for (const [gone, member] of before) {
      if (member.awaitingJoin !== undefined) this.#awaitingJoinCount--;
      this.sessions.get(gone)?.cancel();
      this.sessions.delete(gone);
    }
    this.leaderId = value.leader;
    this.noteSubscriptions();
  }

  /** The group is gone: nothing of it may fire any more. */
  stopTimers(): void {
    this.joinTimer?.cancel();
    this.syncTimer?.cancel();
    for (const session of this.sessions.values()) session.cancel();
    this.sessions.clear();
  }
}

function identityOf(member: ClassicGroupMember): {
  memberId: string;
  groupInstanceId: string | null;
  clientId: string;
  clientHost: string;
} {
  return {
    memberId: member.memberId,
    groupInstanceId: member.groupInstanceId,
    clientId: member.clientId,
    clientHost: member.clientHost,
  };
}
