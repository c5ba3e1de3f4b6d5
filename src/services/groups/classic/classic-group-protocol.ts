/**
 * The classic rebalance protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup and their timers, as Kafka's GroupMetadataManager
 * handles them. Pure: time comes through MachineTimers, member ids through `newUuid`, everything that is done through Effects.
 *
 * A group collects members (PreparingRebalance), gives them a generation and a leader (CompletingRebalance), waits for the leader's
 * assignment and is Stable. Joining lives in memory; what is recorded is the group with its assignment, when the leader has sent
 * it, and the group when it gets empty. After a crash the last recorded generation counts again.
 */
import { type ErrorCode, errorCodes } from '../../../../protocol/error-codes.ts';
import type {
  JoinGroupRequest,
  JoinGroupResponseInput,
} from '../../../../protocol/generated/11-join-group.ts';
import type { HeartbeatRequest } from '../../../../protocol/generated/12-heartbeat.ts';
import type {
  SyncGroupRequest,
  SyncGroupResponseInput,
} from '../../../../protocol/generated/14-sync-group.ts';
import { assert } from '../../../util/assert.ts';
import type { Effects, MachineTimers, Ticket } from '../../coordinator/coordinator-machine.ts';
import { Deadline } from '../../coordinator/deadline.ts';
import type { GroupRecord } from '../group-records.ts';
import { type GroupSettings, newMemberJoinTimeoutMs } from '../group-settings.ts';
import type { GroupTable } from '../group-table.ts';
import { ClassicGroup } from './classic-group.ts';
import { ClassicGroupMember, type MemberProtocol, noAssignment } from './classic-group-member.ts';

/** Who asks, as far as groups must know. */
export interface MemberContext {
  readonly clientId: string;
  /** As Java prints an address: '/127.0.0.1'. */
  readonly clientHost: string;
  /** JoinGroup 4+: a member gets its id in a round of its own (KIP-394). */
  readonly mustKnowMemberId: boolean;
  /** JoinGroup 9+: a static leader that comes back may be told to leave the assignment as it is (KIP-814). */
  readonly canSkipAssignment: boolean;
}

export interface LeavingMember {
  readonly memberId: string;
  readonly groupInstanceId: string | null;
}

export interface LeftMember extends LeavingMember {
  readonly errorCode: ErrorCode;
}

type GroupEffects = Effects<GroupRecord>;
type JoinTicket = Ticket<JoinGroupResponseInput>;
type SyncTicket = Ticket<SyncGroupResponseInput>;

export interface ClassicGroupProtocolOptions {
  readonly groups: GroupTable;
  readonly settings: GroupSettings;
  readonly timers: MachineTimers<GroupRecord>;
  readonly newUuid: () => string;
}

export class ClassicGroupProtocol {
  readonly #groups: GroupTable;
  readonly #settings: GroupSettings;
  readonly #timers: MachineTimers<GroupRecord>;
  readonly #newUuid: () => string;

  constructor(options: ClassicGroupProtocolOptions) {
    this.#groups = options.groups;
    this.#settings = options.settings;
    this.#timers = options.timers;
    this.#newUuid = options.newUuid;
  }

  /** After the log was read: members have one session to show up. */
  onLoaded(effects: GroupEffects): void {
    for (const group of this.#groups.values()) {
      if (group.type !== 'classic') continue;
      for (const member of group.members.values())
        this.#renewSession(group, member.memberId, member.sessionTimeoutMs);
      if (group.members.size > this.#settings.maxGroupSize) this.#prepareRebalance(group, effects);
    }
  }

  #group(groupId: string): ClassicGroup | undefined {
    const group = this.#groups.get(groupId);
    return group?.type === 'classic' ? group : undefined;
  }

  /**
   * Takes over a group whose record has just been appended and whose members came by another way: a consumer group that has become
   * this. The record knows one protocol of each member; `protocols` has them all.
   */
  adopt(
    groupId: string,
    protocols: ReadonlyMap<string, readonly MemberProtocol[]>,
    mustRebalance: boolean,
    effects: GroupEffects,
  ): void {
    const group = this.#group(groupId);
    assert(group !== undefined, 'a group is there once its record is');
    for (const member of group.members.values()) {
      group.setProtocols(member, protocols.get(member.memberId) ?? member.protocols);
      this.#renewSession(group, member.memberId, member.sessionTimeoutMs);
    }
    if (mustRebalance) this.#prepareRebalance(group, effects);
  }

  // ----- JoinGroup

  join(request: JoinGroupRequest, context: MemberContext, ticket: JoinTicket, effects: GroupEffects): void {
    const protocols = withoutRepeats(request.protocols);
    let group = this.#group(request.groupId);
    const isUnknown = request.memberId === '';
    if (group === undefined) {
      if (!isUnknown) {
        effects.reply(ticket, joinError(request.memberId, errorCodes.UNKNOWN_MEMBER_ID));
        return;
      }
      const blank = new ClassicGroup(request.groupId, this.#timers.nowMs());
      if (!blank.supports(request.protocolType, protocols)) {
        effects.reply(ticket, joinError('', errorCodes.INCONSISTENT_GROUP_PROTOCOL));
        return;
      }
      group = this.#create(blank, effects);
    }
    if (!this.#hasRoomFor(group, request.memberId)) {
      this.#dismiss(group, request.memberId, effects);
      effects.reply(ticket, joinError('', errorCodes.GROUP_MAX_SIZE_REACHED));
    } else if (!group.supports(request.protocolType, protocols)) {
      effects.reply(ticket, joinError(request.memberId, errorCodes.INCONSISTENT_GROUP_PROTOCOL));
    } else if (isUnknown) {
      this.#joinAsNew(group, request, protocols, context, ticket, effects);
    } else {
      this.#joinAgain(group, request, protocols, context, ticket, effects);
    }
  }

  #create(blank: ClassicGroup, effects: GroupEffects): ClassicGroup {
    effects.append({
      type: 'group-metadata',
      key: { group: blank.groupId },
      value: blank.toValue(new Map()),
    });
    const group = this.#group(blank.groupId);
    assert(group !== undefined, 'a group is there once its record is');
    return group;
  }

  /** group.max.size. While a group rebalances those who wait already count, so that the last of too many are turned away. */
  #hasRoomFor(group: ClassicGroup, memberId: string): boolean {
    const member = group.members.get(memberId);
    switch (group.state) {
      case 'Empty':
        return true;
      case 'PreparingRebalance':
        return member?.awaitingJoin !== undefined || group.awaitingJoinCount < this.#settings.maxGroupSize;
      default:
        return member !== undefined || group.members.size < this.#settings.maxGroupSize;
    }
  }

  /** A member that was turned away is in the group no longer. */
  #dismiss(group: ClassicGroup, memberId: string, effects: GroupEffects): void {
    if (!group.members.has(memberId) && !group.pendingJoinMembers.has(memberId)) return;
    this.#removeMember(group, memberId, effects);
    if (group.state === 'PreparingRebalance') this.#completeJoinWhenAllAreHere(group, effects);
  }

  #joinAsNew(
    group: ClassicGroup,
    request: JoinGroupRequest,
    protocols: readonly MemberProtocol[],
    context: MemberContext,
    ticket: JoinTicket,
    effects: GroupEffects,
  ): void {
    const memberId = `${request.groupInstanceId ?? context.clientId}-${this.#newUuid()}`;
    if (request.groupInstanceId !== null) {
      const existingId = group.staticMembers.get(request.groupInstanceId);
      if (existingId === undefined) this.#add(group, memberId, request, protocols, context, ticket, effects);
      else this.#replaceStatic(group, existingId, memberId, request, protocols, context, ticket, effects);
    } else if (context.mustKnowMemberId) {
      group.pendingJoinMembers.add(memberId);
      this.#renewSession(group, memberId, request.sessionTimeoutMs);
      effects.reply(ticket, joinError(memberId, errorCodes.MEMBER_ID_REQUIRED));
    } else {
      this.#add(group, memberId, request, protocols, context, ticket, effects);
    }
  }

  #joinAgain(
    group: ClassicGroup,
    request: JoinGroupRequest,
    protocols: readonly MemberProtocol[],
    context: MemberContext,
    ticket: JoinTicket,
    effects: GroupEffects,
  ): void {
    const { memberId } = request;
    if (group.pendingJoinMembers.has(memberId)) {
      // Kafka takes it that such a member is never static; one that says it is would break that, so it starts over.
      if (request.groupInstanceId === null) {
        this.#add(group, memberId, request, protocols, context, ticket, effects);
        return;
      }
    }
    const error = validateMember(group, memberId, request.groupInstanceId);
    if (error !== errorCodes.NONE) {
      effects.reply(ticket, joinError(memberId, error));
      return;
    }
    const member = group.members.get(memberId)!;
    const isUnchanged = member.hasSameProtocols(protocols);
    switch (group.state) {
      case 'PreparingRebalance':
        this.#update(group, member, request, protocols, ticket, effects);
        this.#completeJoinWhenAllAreHere(group, effects);
        return;
      case 'CompletingRebalance':
        // The same again: the answer may have been lost. Something new: it must count in the assignment.
        if (isUnchanged) {
          effects.reply(ticket, this.#joined(group, member));
          return;
        }
        break;
      case 'Stable':
        // A leader that joins again asks for a rebalance (partitions were added, say); a follower only if it changed.
        if (isUnchanged && group.leaderId !== memberId) {
          effects.reply(ticket, { ...this.#joined(group, member), members: [] });
          return;
        }
        break;
      default:
        effects.reply(ticket, joinError(memberId, errorCodes.UNKNOWN_MEMBER_ID));
        return;
    }
    this.#update(group, member, request, protocols, ticket, effects);
    this.#prepareRebalance(group, effects);
  }

  #add(
    group: ClassicGroup,
    memberId: string,
    request: JoinGroupRequest,
    protocols: readonly MemberProtocol[],
    context: MemberContext,
    ticket: JoinTicket,
    effects: GroupEffects,
  ): void {
    const member = new ClassicGroupMember(
      {
        memberId,
        groupInstanceId: request.groupInstanceId,
        clientId: context.clientId,
        clientHost: context.clientHost,
      },
      { ...timeoutsOf(request), protocols },
    );
    member.isNew = true;
    if (group.isInitialRebalance) group.hasNewMember = true;
    group.add(member, request.protocolType);
    group.awaitJoin(member, ticket);
    this.#renewSession(group, memberId, newMemberJoinTimeoutMs);
    if (group.state === 'PreparingRebalance') this.#completeJoinWhenAllAreHere(group, effects);
    else this.#prepareRebalance(group, effects);
  }

  #update(
    group: ClassicGroup,
    member: ClassicGroupMember,
    request: JoinGroupRequest,
    protocols: readonly MemberProtocol[],
    ticket: JoinTicket,
    effects: GroupEffects,
  ): void {
    group.setProtocols(member, protocols);
    const timeouts = timeoutsOf(request);
    member.rebalanceTimeoutMs = timeouts.rebalanceTimeoutMs;
    member.sessionTimeoutMs = timeouts.sessionTimeoutMs;
    const earlier = group.awaitJoin(member, ticket);
    if (earlier !== undefined) {
      effects.reply(earlier, joinError(member.memberId, errorCodes.REBALANCE_IN_PROGRESS));
    }
  }

  /** A static member came back without its id (KIP-345): the new id takes the old one's place, and the old one is fenced. */
  #replaceStatic(
    group: ClassicGroup,
    oldMemberId: string,
    memberId: string,
    request: JoinGroupRequest,
    protocols: readonly MemberProtocol[],
    context: MemberContext,
    ticket: JoinTicket,
    effects: GroupEffects,
  ): void {
    const oldMember = group.members.get(oldMemberId);
    assert(oldMember !== undefined, 'a static member without its member');
    const oldLeaderId = group.leaderId;
    const oldJoin = group.endJoin(oldMember);
    if (oldJoin !== undefined) {
      effects.reply(oldJoin, joinError(oldMemberId, errorCodes.FENCED_INSTANCE_ID));
    }
    if (oldMember.awaitingSync !== undefined) {
      effects.reply(oldMember.awaitingSync, syncError(errorCodes.FENCED_INSTANCE_ID));
    }
    const member = group.rename(oldMember, memberId);
    this.#update(group, member, request, protocols, ticket, effects);
    this.#renewSession(group, memberId, member.sessionTimeoutMs);
    switch (group.state) {
      case 'Stable': {
        if (group.voteForProtocol() !== group.protocolName) {
          this.#prepareRebalance(group, effects);
          return;
        }
        // The assignment stays. Who can be told so gets the whole group and leaves it (KIP-814); who cannot is told the leader
        // that was, so that it does not take itself for the leader and assign anew.
        group.endJoin(member);
        this.#record(group, effects);
        const joined = this.#joined(group, member);
        effects.reply(
          ticket,
          context.canSkipAssignment
            ? { ...joined, skipAssignment: group.leaderId === memberId }
            : { ...joined, members: [], leader: oldLeaderId ?? '' },
        );
        return;
      }
      case 'CompletingRebalance':
        // The leader may have been told the old id: its assignment would miss the new one.
        this.#prepareRebalance(group, effects);
        return;
      case 'PreparingRebalance':
        this.#completeJoinWhenAllAreHere(group, effects);
        return;
      default:
        assert(false, `group ${group.groupId} is empty and has a static member`);
    }
  }

  #joined(group: ClassicGroup, member: ClassicGroupMember): JoinGroupResponseInput {
    return {
      errorCode: errorCodes.NONE,
      generationId: group.generationId,
      protocolType: group.protocolType,
      protocolName: group.protocolName,
      leader: group.leaderId ?? '',
      memberId: member.memberId,
      members:
        group.leaderId === member.memberId
          ? [...group.members.values()].map((other) => ({
              memberId: other.memberId,
              groupInstanceId: other.groupInstanceId,
              metadata: other.metadataFor(group.protocolName) ?? noAssignment,
            }))
          : [],
    };
  }

  // ----- rebalances

  #prepareRebalance(group: ClassicGroup, effects: GroupEffects): void {
    assert(group.state !== 'PreparingRebalance', 'a rebalance inside a rebalance');
    if (group.state === 'CompletingRebalance') {
      for (const member of group.members.values()) member.assignment = noAssignment;
      this.#answerSyncs(group, effects, syncError(errorCodes.REBALANCE_IN_PROGRESS));
    }
    this.#stopSyncTimer(group);
    group.pendingSyncMembers.clear();
    const isInitial = group.state === 'Empty';
    group.enter('PreparingRebalance', this.#timers.nowMs());
    if (isInitial) {
      const delayMs = this.#settings.initialRebalanceDelayMs;
      this.#awaitInitialMembers(group, delayMs, Math.max(group.rebalanceTimeoutMs - delayMs, 0));
    } else if (group.hasEveryoneJoined) {
      this.#completeJoin(group, effects);
    } else {
      this.#awaitMembers(group);
    }
  }

  /** Gives the first members of a group time; as long as others come, again and again, up to the rebalance timeout. */
  #awaitInitialMembers(group: ClassicGroup, delayMs: number, remainingMs: number): void {
    this.#setJoinTimer(group, delayMs, (effects) => {
      if (!group.hasNewMember || remainingMs === 0) {
        this.#completeJoin(group, effects);
        return;
      }
      group.hasNewMember = false;
      this.#awaitInitialMembers(
        group,
        Math.min(this.#settings.initialRebalanceDelayMs, remainingMs),
        Math.max(remainingMs - delayMs, 0),
      );
    });
  }

  #awaitMembers(group: ClassicGroup): void {
    this.#setJoinTimer(group, group.rebalanceTimeoutMs, (effects) => this.#completeJoin(group, effects));
  }

  #setJoinTimer(group: ClassicGroup, delayMs: number, command: (effects: GroupEffects) => void): void {
    group.joinTimer?.cancel();
    group.joinTimer = this.#timers.after(delayMs, (effects) => {
      group.joinTimer = undefined;
      if (group.state === 'PreparingRebalance') command(effects);
    });
  }

  #completeJoinWhenAllAreHere(group: ClassicGroup, effects: GroupEffects): void {
    if (group.state === 'PreparingRebalance' && !group.isInitialRebalance && group.hasEveryoneJoined) {
      this.#completeJoin(group, effects);
    }
  }

  /** The join phase is over: who has not joined is out (static members stay), and the others begin a generation. */
  #completeJoin(group: ClassicGroup, effects: GroupEffects): void {
    group.joinTimer?.cancel();
    group.joinTimer = undefined;
    group.hasNewMember = false;
    for (const member of [...group.members.values()]) {
      if (member.awaitingJoin === undefined && !member.isStatic) group.remove(member.memberId);
    }
    if (group.members.size === 0) {
      this.#becomeEmpty(group, effects);
      return;
    }
    const leader = group.leaderId === null ? undefined : group.members.get(group.leaderId);
    if (leader?.awaitingJoin === undefined) {
      const joined = [...group.members.values()].find((member) => member.awaitingJoin !== undefined);
      if (joined === undefined) {
        // Only static members that are away are left: their sessions will end, or they come back.
        this.#awaitMembers(group);
        return;
      }
      group.leaderId = joined.memberId;
    }
    group.generationId++;
    group.protocolName = group.voteForProtocol();
    group.noteSubscriptions();
    group.enter('CompletingRebalance', this.#timers.nowMs());
    group.pendingSyncMembers.clear();
    for (const member of group.members.values()) {
      const ticket = group.endJoin(member);
      if (ticket !== undefined) effects.reply(ticket, this.#joined(group, member));
      this.#renewSession(group, member.memberId, member.sessionTimeoutMs);
      member.isNew = false;
      group.pendingSyncMembers.add(member.memberId);
    }
    const { generationId } = group;
    group.syncTimer = this.#timers.after(group.rebalanceTimeoutMs, (later) => {
      group.syncTimer = undefined;
      if (group.generationId === generationId) this.#expireSyncs(group, later);
    });
  }

  #becomeEmpty(group: ClassicGroup, effects: GroupEffects): void {
    group.enter('Empty', this.#timers.nowMs());
    group.leaderId = null;
    group.protocolName = null;
    group.generationId++;
    this.#stopSyncTimer(group);
    group.pendingSyncMembers.clear();
    this.#record(group, effects);
  }

  /** Appends the group as it stands, with the assignments that its members have. */
  #record(group: ClassicGroup, effects: GroupEffects): void {
    const assignments = new Map(
      [...group.members.values()].map((member) => [member.memberId, member.assignment]),
    );
    effects.append({
      type: 'group-metadata',
      key: { group: group.groupId },
      value: group.toValue(assignments),
    });
  }

  #expireSyncs(group: ClassicGroup, effects: GroupEffects): void {
    if (group.state !== 'CompletingRebalance' && group.state !== 'Stable') return;
    if (group.pendingSyncMembers.size === 0) return;
    for (const memberId of [...group.pendingSyncMembers]) this.#removeMember(group, memberId, effects);
    this.#prepareRebalance(group, effects);
  }

  #stopSyncTimer(group: ClassicGroup): void {
    group.syncTimer?.cancel();
    group.syncTimer = undefined;
  }

  // ----- SyncGroup

  sync(request: SyncGroupRequest, ticket: SyncTicket, effects: GroupEffects): void {
    const group = this.#group(request.groupId);
    if (group === undefined || group.state === 'Empty') {
      effects.reply(ticket, syncError(errorCodes.UNKNOWN_MEMBER_ID));
      return;
    }
    const error = this.#validateSync(group, request);
    if (error !== errorCodes.NONE) {
      effects.reply(ticket, syncError(error));
      return;
    }
    const member = group.members.get(request.memberId)!;
    group.pendingSyncMembers.delete(request.memberId);
    if (group.pendingSyncMembers.size === 0) this.#stopSyncTimer(group);
    if (group.state === 'Stable') {
      effects.reply(ticket, synced(group, member));
      return;
    }
    if (member.awaitingSync !== undefined) {
      effects.reply(member.awaitingSync, syncError(errorCodes.REBALANCE_IN_PROGRESS));
    }
    member.awaitingSync = ticket;
    if (group.leaderId !== request.memberId) return;
    const assignments = new Map(request.assignments.map((each) => [each.memberId, each.assignment]));
    effects.append({
      type: 'group-metadata',
      key: { group: group.groupId },
      value: group.toValue(assignments),
    });
    // Replayed: the group is stable and its members have their assignments.
    for (const each of group.members.values()) {
      if (each.awaitingSync === undefined) continue;
      effects.reply(each.awaitingSync, synced(group, each));
      each.awaitingSync = undefined;
      this.#renewSession(group, each.memberId, each.sessionTimeoutMs);
    }
  }

  #validateSync(group: ClassicGroup, request: SyncGroupRequest): ErrorCode {
    const error = validateMember(group, request.memberId, request.groupInstanceId);
    if (error !== errorCodes.NONE) return error;
    if (request.generationId !== group.generationId) return errorCodes.ILLEGAL_GENERATION;
    if (
      differs(request.protocolType, group.protocolType) ||
      differs(request.protocolName, group.protocolName)
    ) {
      return errorCodes.INCONSISTENT_GROUP_PROTOCOL;
    }
    return group.state === 'PreparingRebalance' ? errorCodes.REBALANCE_IN_PROGRESS : errorCodes.NONE;
  }

  #answerSyncs(group: ClassicGroup, effects: GroupEffects, answer: SyncGroupResponseInput): void {
    for (const member of group.members.values()) {
      if (member.awaitingSync === undefined) continue;
      effects.reply(member.awaitingSync, answer);
      member.awaitingSync = undefined;
      this.#renewSession(group, member.memberId, member.sessionTimeoutMs);
    }
  }

  // ----- Heartbeat and sessions

  heartbeat(request: HeartbeatRequest): ErrorCode {
    const group = this.#group(request.groupId);
    if (group === undefined) return errorCodes.UNKNOWN_MEMBER_ID;
    const error = validateMember(group, request.memberId, request.groupInstanceId);
    if (error !== errorCodes.NONE) return error;
    if (request.generationId !== group.generationId) return errorCodes.ILLEGAL_GENERATION;
    this.renewSessionOf(group, request.memberId);
    return group.state === 'PreparingRebalance' ? errorCodes.REBALANCE_IN_PROGRESS : errorCodes.NONE;
  }

  /** Hearing from a member, in a heartbeat or a commit, gives it another session. */
  renewSessionOf(group: ClassicGroup, memberId: string): void {
    const member = group.members.get(memberId);
    if (member !== undefined) this.#renewSession(group, memberId, member.sessionTimeoutMs);
  }

  #renewSession(group: ClassicGroup, memberId: string, timeoutMs: number): void {
    let session = group.sessions.get(memberId);
    if (session === undefined) {
      session = new Deadline(this.#timers, (effects) => this.#expireSession(group, memberId, effects));
      group.sessions.set(memberId, session);
    }
    session.set(timeoutMs);
  }

  #expireSession(group: ClassicGroup, memberId: string, effects: GroupEffects): void {
    if (group.pendingJoinMembers.has(memberId)) {
      group.remove(memberId);
      this.#completeJoinWhenEveryoneLeftIsHere(group, effects);
      return;
    }
    const member = group.members.get(memberId);
    if (member === undefined || member.isExcusedFromHeartbeats) return;
    this.#removeMember(group, memberId, effects);
    this.#continueWithout(group, effects);
  }

  // ----- LeaveGroup

  /** Undefined where there is no such group. */
  leave(groupId: string, leaving: readonly LeavingMember[], effects: GroupEffects): LeftMember[] | undefined {
    const group = this.#group(groupId);
    if (group === undefined) return undefined;
    const answers: LeftMember[] = [];
    for (const { memberId, groupInstanceId } of leaving) {
      answers.push({
        memberId,
        groupInstanceId,
        errorCode: this.#leave(group, memberId, groupInstanceId, effects),
      });
    }
    if (answers.some((answer) => answer.errorCode === errorCodes.NONE)) {
      if (group.state === 'Stable' || group.state === 'CompletingRebalance')
        this.#prepareRebalance(group, effects);
      else this.#completeJoinWhenAllAreHere(group, effects);
    }
    return answers;
  }

  #leave(
    group: ClassicGroup,
    memberId: string,
    groupInstanceId: string | null,
    effects: GroupEffects,
  ): ErrorCode {
    let leavingId = memberId;
    if (memberId === '') {
      // An administrator removes a static member by its instance id alone.
      const staticId = groupInstanceId === null ? undefined : group.staticMembers.get(groupInstanceId);
      if (staticId === undefined) return errorCodes.UNKNOWN_MEMBER_ID;
      leavingId = staticId;
    } else if (!group.pendingJoinMembers.has(memberId)) {
      const error = validateMember(group, memberId, groupInstanceId);
      if (error !== errorCodes.NONE) return error;
    }
    this.#removeMember(group, leavingId, effects);
    return errorCodes.NONE;
  }

  /** Takes a member out and answers what it waits for. What this means for the group is the caller's business. */
  #removeMember(group: ClassicGroup, memberId: string, effects: GroupEffects): void {
    const member = group.members.get(memberId);
    if (member !== undefined) {
      // It will try again if it is still alive.
      const join = group.endJoin(member);
      if (join !== undefined) effects.reply(join, joinError('', errorCodes.UNKNOWN_MEMBER_ID));
      if (member.awaitingSync !== undefined) {
        effects.reply(member.awaitingSync, syncError(errorCodes.UNKNOWN_MEMBER_ID));
        member.awaitingSync = undefined;
      }
    }
    group.remove(memberId);
  }

  #continueWithout(group: ClassicGroup, effects: GroupEffects): void {
    if (group.state === 'Stable' || group.state === 'CompletingRebalance')
      this.#prepareRebalance(group, effects);
    else this.#completeJoinWhenEveryoneLeftIsHere(group, effects);
  }

  /** After an expiry an initial rebalance, too, ends when all who are left are here. */
  #completeJoinWhenEveryoneLeftIsHere(group: ClassicGroup, effects: GroupEffects): void {
    if (group.state === 'PreparingRebalance' && group.hasEveryoneJoined) this.#completeJoin(group, effects);
  }
}

/** Kafka's order of checks: the instance id first, whose owner may be another member by now. */
export function validateMember(
  group: ClassicGroup,
  memberId: string,
  groupInstanceId: string | null,
): ErrorCode {
  if (groupInstanceId !== null) {
    const ownerId = group.staticMembers.get(groupInstanceId);
    if (ownerId === undefined) return errorCodes.UNKNOWN_MEMBER_ID;
    if (ownerId !== memberId) return errorCodes.FENCED_INSTANCE_ID;
  }
  return group.members.has(memberId) ? errorCodes.NONE : errorCodes.UNKNOWN_MEMBER_ID;
}

export function joinError(memberId: string, errorCode: ErrorCode): JoinGroupResponseInput {
  return { errorCode, protocolName: null, leader: '', memberId, members: [] };
}

export function syncError(errorCode: ErrorCode): SyncGroupResponseInput {
  return { errorCode, assignment: noAssignment };
}

function synced(group: ClassicGroup, member: ClassicGroupMember): SyncGroupResponseInput {
  return {
    errorCode: errorCodes.NONE,
    protocolType: group.protocolType,
    protocolName: group.protocolName,
    assignment: member.assignment,
  };
}

/** JoinGroup 0 has no rebalance timeout: the session timeout serves. */
function timeoutsOf(request: JoinGroupRequest): { rebalanceTimeoutMs: number; sessionTimeoutMs: number } {
  const { rebalanceTimeoutMs, sessionTimeoutMs } = request;
  return {
    rebalanceTimeoutMs: rebalanceTimeoutMs < 0 ? sessionTimeoutMs : rebalanceTimeoutMs,
    sessionTimeoutMs,
  };
}

function differs(said: string | null, known: string | null): boolean {
  return said !== null && known !== null && said !== known;
}

/** Kafka keeps the first of protocols with the same name. */
function withoutRepeats(protocols: readonly MemberProtocol[]): readonly MemberProtocol[] {
  const names = new Set<string>();
  return protocols.filter((protocol) => !names.has(protocol.name) && names.add(protocol.name));
}
