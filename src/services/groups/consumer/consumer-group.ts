/**
 * A consumer group (KIP-848): its members, what they subscribe to, what is meant for them and who has what. Holds what the records
 * say and counts; decides nothing: consumer-group-protocol.ts does. Only `replay...` changes it, but for timers and what is marked as
 * living in memory.
 */
import type { Int64 } from '../../../../protocol/wire/int64.ts';
import type { MachineTimers } from '../../coordinator/coordinator-machine.ts';
import type { MemberProtocol } from '../classic/classic-group-member.ts';
import { leaveEpoch } from '../common/member-epochs.ts';
import { MemberTimers } from '../common/member-timers.ts';
import { TargetAssignment } from '../common/target-assignment.ts';
import { fromWire } from '../common/topic-partitions.ts';
import type { GroupRecord } from '../group-records.ts';
import {
  type ConsumerMember,
  newConsumerMember,
  noEpochs,
  type PartitionEpochs,
} from './consumer-group-member.ts';
import {
  type ConsumerGroupRecord,
  currentAssignmentRecord,
  groupEpochRecord,
  memberRecord,
  partitionEpochsOf,
  regularExpressionRecord,
  stateOf,
  targetMemberRecord,
  targetMetadataRecord,
} from './consumer-group-records.ts';

/** Kafka's names. */
export type ConsumerGroupState = 'Empty' | 'Assigning' | 'Reconciling' | 'Stable';

/** The topics that a regular expression stands for, when it was last looked up. */
export interface ResolvedRegex {
  readonly topics: ReadonlySet<string>;
  readonly version: Int64;
  readonly timestampMs: number;
}

export class ConsumerGroup {
  readonly type = 'consumer';
  readonly protocolType = 'consumer';
  readonly groupId: string;
  /** Grows whenever something happens that a new assignment must take up. Kafka begins with 1, and the first member makes it 2. */
  groupEpoch = 1;
  metadataHash: Int64 = 0;
  /** By member id, in the order in which they joined. */
  readonly members = new Map<string, ConsumerMember>();
  /** Member ids by group.instance.id. */
  readonly staticMembers = new Map<string, string>();
  readonly target = new TargetAssignment();
  readonly resolvedRegexes = new Map<string, ResolvedRegex>();
  readonly timers: MemberTimers<GroupRecord>;

  /** The topics' version when the metadata hash was last computed; in memory. */
  topicsVersion = -1;
  /** The topics' version when the regular expressions were last looked up; in memory. */
  regexTopicsVersion = -1;
  /** A look-up of regular expressions is under way; in memory. */
  isResolving = false;

  readonly #holders = new Map<string, Map<number, string>>();
  readonly #subscribersByName = new Map<string, number>();
  readonly #subscribersByRegex = new Map<string, number>();
  readonly #regexesByTopic = new Map<string, number>();
  readonly #assignorVotes = new Map<string, number>();
  readonly #classicProtocols = new Map<string, number>();
  #classicMemberCount = 0;

  constructor(groupId: string, timers: MachineTimers<GroupRecord>) {
    this.groupId = groupId;
    this.timers = new MemberTimers(timers);
  }

  get state(): ConsumerGroupState {
    if (this.members.size === 0) return 'Empty';
    if (this.groupEpoch > this.target.epoch) return 'Assigning';
    for (const member of this.members.values()) if (!this.isReconciled(member)) return 'Reconciling';
    return 'Stable';
  }

  get isEmpty(): boolean {
    return this.members.size === 0;
  }

  isReconciled(member: ConsumerMember): boolean {
    return member.state === 'stable' && member.memberEpoch === this.target.epoch;
  }

  staticMember(instanceId: string): ConsumerMember | undefined {
    const memberId = this.staticMembers.get(instanceId);
    return memberId === undefined ? undefined : this.members.get(memberId);
  }

  /** True where a member has the partition or has not given it back. */
  isHeld(topicId: string, partition: number): boolean {
    return this.#holders.get(topicId)?.has(partition) ?? false;
  }

  // ----- subscriptions

  /** Subscribed to by name or by a regular expression, as far as those were looked up. */
  get subscribedTopics(): ReadonlySet<string> {
    return new Set([...this.#subscribersByName.keys(), ...this.#regexesByTopic.keys()]);
  }

  isSubscribedTo(topicName: string): boolean {
    return this.#subscribersByName.has(topicName) || this.#regexesByTopic.has(topicName);
  }

  /** The regular expressions that members subscribe to. */
  get subscribedRegexes(): ReadonlyMap<string, number> {
    return this.#subscribersByRegex;
  }

  /** The names of the topics that the member subscribes to; an expression that was not looked up yet stands for none. */
  topicNamesOf(member: ConsumerMember): ReadonlySet<string> {
    const byRegex = this.resolvedRegexes.get(member.subscribedTopicRegex)?.topics;
    if (byRegex === undefined || byRegex.size === 0) return member.subscribedTopicNames;
    if (member.subscribedTopicNames.size === 0) return byRegex;
    return new Set([...member.subscribedTopicNames, ...byRegex]);
  }

  /** All members subscribe to the same topics. */
  get isHomogeneous(): boolean {
    if (this.#subscribersByRegex.size === 0) {
      for (const count of this.#subscribersByName.values()) if (count !== this.members.size) return false;
      return true;
    }
    const [count] = this.#subscribersByRegex.values();
    return count === this.members.size && this.#subscribersByName.size === 0;
  }

  /** The assignor that most members ask for, of these; the earlier of them in a draw, the first where nobody asks. */
  preferredAssignor(known: readonly string[]): string {
    let preferred = known[0]!;
    let most = 0;
    for (const name of known) {
      const votes = this.#assignorVotes.get(name) ?? 0;
      if (votes > most) [preferred, most] = [name, votes];
    }
    return preferred;
  }

  // ----- members of the classic protocol

  get classicMemberCount(): number {
    return this.#classicMemberCount;
  }

  /** True where a classic member with these protocols could be in the group. */
  supportsClassic(protocolType: string, protocols: readonly MemberProtocol[]): boolean {
    if (protocolType !== 'consumer') return false;
    if (this.isEmpty) return protocols.length > 0;
    return protocols.some(({ name }) => (this.#classicProtocols.get(name) ?? 0) === this.#classicMemberCount);
  }

  /** True where the member waits for a partition that another has still. */
  isWaitingForOthers(member: ConsumerMember): boolean {
    for (const [topicId, partitions] of this.target.of(member.memberId)) {
      const assigned = member.assigned.get(topicId);
      for (const partition of partitions) {
        if (assigned?.has(partition) !== true && this.isHeld(topicId, partition)) return true;
      }
    }
    return false;
  }

  // ----- records

  replay(record: ConsumerGroupRecord): void {
    switch (record.type) {
      case 'consumer-group-metadata':
        if (record.value === null) return;
        this.groupEpoch = record.value.epoch;
        this.metadataHash = record.value.metadataHash ?? 0;
        return;
      case 'consumer-group-member-metadata': {
        const { memberId } = record.key;
        if (record.value === null) {
          this.#replace(this.members.get(memberId), undefined);
          this.timers.endAllOf(memberId);
          return;
        }
        const { value } = record;
        const before = this.members.get(memberId);
        this.#replace(before, {
          ...(before ?? newConsumerMember(memberId)),
          instanceId: value.instanceId,
          rackId: value.rackId,
          clientId: value.clientId,
          clientHost: value.clientHost,
          subscribedTopicNames: new Set(value.subscribedTopicNames),
          subscribedTopicRegex: value.subscribedTopicRegex ?? '',
          rebalanceTimeoutMs: value.rebalanceTimeoutMs ?? -1,
          serverAssignor: value.serverAssignor,
          classic:
            value.classicMemberMetadata === undefined || value.classicMemberMetadata === null
              ? null
              : {
                  sessionTimeoutMs: value.classicMemberMetadata.sessionTimeoutMs,
                  protocols: value.classicMemberMetadata.supportedProtocols.map(({ name, metadata }) => ({
                    name,
                    metadata: Buffer.from(metadata.buffer, metadata.byteOffset, metadata.byteLength),
                  })),
                },
        });
        return;
      }
      case 'consumer-group-target-metadata':
        this.target.epoch = record.value?.assignmentEpoch ?? 0;
        this.target.timestampMs = record.value?.assignmentTimestamp ?? 0;
        return;
      case 'consumer-group-target-member':
        this.target.set(
          record.key.memberId,
          record.value === null ? null : fromWire(record.value.topicPartitions),
        );
        return;
      case 'consumer-group-current-assignment': {
        const before = this.members.get(record.key.memberId);
        if (record.value === null) {
          if (before === undefined) return;
          this.#replace(before, {
            ...before,
            memberEpoch: leaveEpoch,
            previousMemberEpoch: leaveEpoch,
            assigned: noEpochs,
            pendingRevocation: noEpochs,
          });
          return;
        }
        const { memberEpoch, previousMemberEpoch, state, assignedPartitions, partitionsPendingRevocation } =
          record.value;
        this.#replace(before, {
          ...(before ?? newConsumerMember(record.key.memberId)),
          memberEpoch,
          previousMemberEpoch,
          state: stateOf(state),
          assigned: partitionEpochsOf(assignedPartitions, memberEpoch),
          pendingRevocation: partitionEpochsOf(partitionsPendingRevocation, memberEpoch),
        });
        return;
      }
      case 'consumer-group-regular-expression':
        this.#replayRegex(
          record.key.regularExpression,
          record.value === null
            ? undefined
            : {
                topics: new Set(record.value.topics),
                version: record.value.version,
                timestampMs: Number(record.value.timestamp),
              },
        );
        return;
    }
  }

  /** Fills a group that is not there yet: all have what is meant for them. */
  adopt(epoch: number, members: readonly ConsumerMember[]): void {
    this.groupEpoch = epoch;
    this.target.epoch = epoch;
    for (const member of members) {
      this.#replace(undefined, member);
      this.target.set(
        member.memberId,
        new Map([...member.assigned].map(([topicId, epochs]) => [topicId, new Set(epochs.keys())])),
      );
    }
  }

  /** Says everything again. Members may come and go between two records: each is said as it is when it is asked for. */
  *snapshot(): Iterable<ConsumerGroupRecord> {
    const { groupId } = this;
    for (const memberId of [...this.members.keys()]) {
      const member = this.members.get(memberId);
      if (member !== undefined) yield memberRecord(groupId, member);
    }
    yield groupEpochRecord(groupId, this.groupEpoch, this.metadataHash);
    for (const regex of [...this.resolvedRegexes.keys()]) {
      const resolved = this.resolvedRegexes.get(regex);
      if (resolved === undefined) continue;
      yield regularExpressionRecord(groupId, regex, resolved.topics, resolved.version, resolved.timestampMs);
    }
    for (const memberId of [...this.target.memberIds]) {
      if (this.target.has(memberId)) yield targetMemberRecord(groupId, memberId, this.target.of(memberId));
    }
    if (this.target.epoch > 0) {
      yield targetMetadataRecord(groupId, this.target.epoch, this.target.timestampMs);
    }
    for (const memberId of [...this.members.keys()]) {
      const member = this.members.get(memberId);
      if (member !== undefined) yield currentAssignmentRecord(groupId, member);
    }
  }

  /** The group is gone: nothing of it may fire any more. */
  stopTimers(): void {
    this.timers.stop();
  }

  #replace(before: ConsumerMember | undefined, after: ConsumerMember | undefined): void {
    if (before !== undefined) this.#count(before, -1);
    if (after !== undefined) this.members.set(after.memberId, after);
    else if (before !== undefined) this.members.delete(before.memberId);
    if (after !== undefined) this.#count(after, 1);
  }

  #count(member: ConsumerMember, change: 1 | -1): void {
    const { memberId, instanceId } = member;
    for (const name of member.subscribedTopicNames) tally(this.#subscribersByName, name, change);
    if (member.subscribedTopicRegex !== '') {
      tally(this.#subscribersByRegex, member.subscribedTopicRegex, change);
    }
    if (member.serverAssignor !== null) tally(this.#assignorVotes, member.serverAssignor, change);
    if (member.classic !== null) {
      this.#classicMemberCount += change;
      for (const { name } of member.classic.protocols) tally(this.#classicProtocols, name, change);
    }
    if (instanceId !== null) {
      if (change === 1) this.staticMembers.set(instanceId, memberId);
      else if (this.staticMembers.get(instanceId) === memberId) this.staticMembers.delete(instanceId);
    }
    this.#hold(memberId, member.assigned, change);
    this.#hold(memberId, member.pendingRevocation, change);
  }

  #hold(memberId: string, partitions: PartitionEpochs, change: 1 | -1): void {
    for (const [topicId, epochs] of partitions) {
      let holders = this.#holders.get(topicId);
      if (change === 1) {
        if (holders === undefined) {
          holders = new Map();
          this.#holders.set(topicId, holders);
        }
        for (const partition of epochs.keys()) holders.set(partition, memberId);
      } else if (holders !== undefined) {
        for (const partition of epochs.keys()) {
          if (holders.get(partition) === memberId) holders.delete(partition);
        }
        if (holders.size === 0) this.#holders.delete(topicId);
      }
    }
  }

  #replayRegex(regex: string, resolved: ResolvedRegex | undefined): void {
    for (const topic of this.resolvedRegexes.get(regex)?.topics ?? []) tally(this.#regexesByTopic, topic, -1);
    if (resolved === undefined) {
      this.resolvedRegexes.delete(regex);
      return;
    }
    this.resolvedRegexes.set(regex, resolved);
    for (const topic of resolved.topics) tally(this.#regexesByTopic, topic, 1);
  }
}

function tally(counts: Map<string, number>, key: string, change: number): void {
  const count = (counts.get(key) ?? 0) + change;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
