/**
 * What requests of members do to a consumer group, step by step, as Kafka's GroupMetadataManager takes them: note what a member says of
 * itself, raise the group's epoch, compute what is meant for everybody, bring the member nearer to what is meant for it, remove
 * members, look up regular expressions. Each step appends its records, which change the group at once; nothing here refuses anything.
 */
import type { Effects, MachineTimers } from '../../coordinator/coordinator-machine.ts';
import { type GroupTopics, metadataHash } from '../common/group-topics.ts';
import type { AssignableMember } from '../common/partition-assignor.ts';
import type { WireTopicPartitions } from '../common/topic-partitions.ts';
import { sameSet } from '../common/topic-partitions.ts';
import type { GroupRecord } from '../group-records.ts';
import type { ConsumerGroupSettings } from '../group-settings.ts';
import type { GroupTable } from '../group-table.ts';
import { assignorByName } from './assignors/assignors.ts';
import type { ConsumerGroup } from './consumer-group.ts';
import type { ClassicMemberFacts, ConsumerMember } from './consumer-group-member.ts';
import {
  currentAssignmentRecord,
  currentAssignmentTombstone,
  groupEpochRecord,
  memberRecord,
  memberTombstone,
  regularExpressionRecord,
  regularExpressionTombstone,
  targetMemberRecord,
  targetMemberTombstone,
  targetMetadataRecord,
} from './consumer-group-records.ts';
import { reconcile } from './reconciliation.ts';
import { RegexLookup } from './topic-regex.ts';

/** Expressions of a group are not looked up more often. As in Kafka. */
const regexRefreshLeastMs = 10_000;
/** ... and at least so often, for what changed unseen. */
const regexRefreshMostMs = 10 * 60_000;

type GroupEffects = Effects<GroupRecord>;

export interface ConsumerGroupStepsOptions {
  readonly groups: GroupTable;
  readonly settings: ConsumerGroupSettings;
  readonly timers: MachineTimers<GroupRecord>;
  readonly topics: GroupTopics;
  /** Makes the group a classic one where only classic members are left after these; false where it does not. */
  readonly downgradeWithout: (
    group: ConsumerGroup,
    leaving: readonly ConsumerMember[],
    effects: GroupEffects,
  ) => boolean;
}

/** What a member changed of its subscription. */
export interface SubscriptionChange {
  readonly names: boolean;
  /** `resolved`: what the new expression stands for is known already. */
  readonly regex: 'same' | 'unresolved' | 'resolved';
  /** Nobody in the group subscribed to this expression before. */
  readonly isNewRegex: boolean;
}

export class ConsumerGroupSteps {
  readonly #options: ConsumerGroupStepsOptions;

  constructor(options: ConsumerGroupStepsOptions) {
    this.#options = options;
  }

  /** Records what the member says of itself, where that is something else than before. */
  subscribe(
    groupId: string,
    before: ConsumerMember,
    after: ConsumerMember,
    effects: GroupEffects,
  ): SubscriptionChange {
    const oldRegex = before.subscribedTopicRegex;
    const newRegex = after.subscribedTopicRegex;
    const knownBefore = this.#group(groupId)?.subscribedRegexes.has(newRegex) ?? false;
    if (differ(before, after)) effects.append(memberRecord(groupId, after));
    const names = !sameSet(before.subscribedTopicNames, after.subscribedTopicNames);
    if (oldRegex === newRegex) return { names, regex: 'same', isNewRegex: false };
    const group = this.#group(groupId)!;
    if (oldRegex !== '' && !group.subscribedRegexes.has(oldRegex)) {
      effects.append(regularExpressionTombstone(groupId, oldRegex));
    }
    const isNewRegex = newRegex !== '' && !knownBefore;
    const isResolved = newRegex === '' || (!isNewRegex && group.resolvedRegexes.has(newRegex));
    return { names, regex: isResolved ? 'resolved' : 'unresolved', isNewRegex };
  }

  /** Raises the group's epoch where it must be, or where the topics that the group subscribes to have changed. */
  bumpEpoch(group: ConsumerGroup, mustBump: boolean, effects: GroupEffects): void {
    const { topics } = this.#options;
    const { version } = topics;
    if (!mustBump && group.topicsVersion === version) return;
    const hash = metadataHash(group.subscribedTopics, topics);
    if (mustBump || hash !== group.metadataHash) {
      effects.append(groupEpochRecord(group.groupId, group.groupEpoch + 1, hash));
    }
    group.topicsVersion = version;
  }

  /** Computes what is meant for every member, where the group's epoch is ahead of that and the last time is long enough ago. */
  assign(group: ConsumerGroup, effects: GroupEffects): void {
    const { settings, timers, topics } = this.#options;
    const { groupId, target, groupEpoch } = group;
    if (target.epoch >= groupEpoch) return;
    const nowMs = timers.nowMs();
    if (!target.isDue(settings.assignmentIntervalMs(groupId), nowMs)) return;
    const idsByNames = new Map<ReadonlySet<string>, ReadonlySet<string>>();
    const counts = new Map<string, number>();
    const members: AssignableMember[] = [...group.members.values()].map((member) => {
      const names = group.topicNamesOf(member);
      let topicIds = idsByNames.get(names);
      if (topicIds === undefined) {
        const ids = new Set<string>();
        for (const name of names) {
          const topic = topics.byName(name);
          if (topic === undefined) continue;
          ids.add(topic.id);
          counts.set(topic.id, topic.partitionCount);
        }
        topicIds = ids;
        idsByNames.set(names, ids);
      }
      const { memberId, instanceId } = member;
      return { memberId, instanceId, topicIds, assigned: target.of(memberId) };
    });
    const next = assignorByName(group.preferredAssignor(settings.assignors)).assign({
      members,
      isHomogeneous: group.isHomogeneous,
      partitionCount: (topicId) => counts.get(topicId) ?? 0,
      isAssigned: (topicId, partition) => target.isAssigned(topicId, partition),
    });
    for (const [memberId, partitions] of [...target.changes(group.members.keys(), next)]) {
      effects.append(targetMemberRecord(groupId, memberId, partitions));
    }
    effects.append(targetMetadataRecord(groupId, groupEpoch, nowMs));
  }

  /** One step of the member towards what is meant for it. Returns the member after it. */
  reconcile(
    group: ConsumerGroup,
    memberId: string,
    owned: readonly WireTopicPartitions[] | null,
    hasSubscriptionChanged: boolean,
    effects: GroupEffects,
  ): ConsumerMember {
    const member = group.members.get(memberId)!;
    if (!hasSubscriptionChanged && group.isReconciled(member)) return member;
    const names = group.topicNamesOf(member);
    const after = reconcile(member, {
      target: group.target.of(memberId),
      targetEpoch: group.target.epoch,
      isSubscribedTo: (topicId) => {
        const topic = this.#options.topics.byId(topicId);
        return topic !== undefined && names.has(topic.name);
      },
      hasSubscriptionChanged,
      isHeld: (topicId, partition) => group.isHeld(topicId, partition),
      owned,
    });
    if (after === member) return member;
    effects.append(currentAssignmentRecord(group.groupId, after));
    const now = group.members.get(memberId)!;
    // Members of the classic protocol have time to join and to sync instead.
    if (now.classic === null) {
      if (now.state === 'unrevoked') this.awaitRevocation(group, now);
      else group.timers.end('revocation', memberId);
    }
    return now;
  }

  /** A static member is back, with another id: what was the old one's is the new one's. Returns the new one, in epoch 0. */
  replaceStatic(
    group: ConsumerGroup,
    old: ConsumerMember,
    memberId: string,
    effects: GroupEffects,
  ): ConsumerMember {
    const { groupId } = group;
    const target = group.target.of(old.memberId);
    const replacement = { ...old, memberId, memberEpoch: 0, previousMemberEpoch: 0 };
    this.#remove(group, old.memberId, effects);
    effects.append(memberRecord(groupId, replacement));
    effects.append(targetMemberRecord(groupId, memberId, target));
    effects.append(currentAssignmentRecord(groupId, replacement));
    return group.members.get(memberId)!;
  }

  // ----- members that go

  /** Takes the members out and raises the epoch. The group may be a classic one afterwards. */
  fence(group: ConsumerGroup, leaving: readonly ConsumerMember[], effects: GroupEffects): void {
    if (leaving.length === 0) return;
    if (this.#options.downgradeWithout(group, leaving, effects)) return;
    const { groupId } = group;
    for (const { memberId } of leaving) this.#remove(group, memberId, effects);
    for (const regex of new Set(leaving.map(({ subscribedTopicRegex }) => subscribedTopicRegex))) {
      if (regex !== '' && !group.subscribedRegexes.has(regex)) {
        effects.append(regularExpressionTombstone(groupId, regex));
      }
    }
    const hash = metadataHash(group.subscribedTopics, this.#options.topics);
    effects.append(groupEpochRecord(groupId, group.groupEpoch + 1, hash));
  }

  #remove({ groupId }: ConsumerGroup, memberId: string, effects: GroupEffects): void {
    effects.append(currentAssignmentTombstone(groupId, memberId));
    effects.append(targetMemberTombstone(groupId, memberId));
    effects.append(memberTombstone(groupId, memberId));
  }

  #fenceById(groupId: string, memberId: string, effects: GroupEffects): void {
    const group = this.#group(groupId);
    const member = group?.members.get(memberId);
    if (group !== undefined && member !== undefined) this.fence(group, [member], effects);
  }

  // ----- deadlines

  renewSession({ groupId, timers }: ConsumerGroup, memberId: string, timeoutMs: number): void {
    timers.renewSession(memberId, timeoutMs, (effects) => this.#fenceById(groupId, memberId, effects));
  }

  /** The member must have given back what it must before the time is over. */
  awaitRevocation({ groupId, timers }: ConsumerGroup, member: ConsumerMember): void {
    const { memberId, memberEpoch, rebalanceTimeoutMs } = member;
    timers.await('revocation', memberId, rebalanceTimeoutMs, (effects) => {
      if (this.#group(groupId)?.members.get(memberId)?.memberEpoch === memberEpoch) {
        this.#fenceById(groupId, memberId, effects);
      }
    });
  }

  /** A member of the classic protocol must join again, or sync, before the time is over. */
  awaitClassic(
    { groupId, timers }: ConsumerGroup,
    wait: 'join' | 'sync',
    memberId: string,
    timeoutMs: number,
  ): void {
    timers.await(wait, memberId, timeoutMs, (effects) => this.#fenceById(groupId, memberId, effects));
  }

  // ----- regular expressions

  /** Begins to look up what the group's expressions stand for, where that is due. */
  resolveRegexes(group: ConsumerGroup, hasNewRegex: boolean): void {
    const { timers, topics } = this.#options;
    if (group.isResolving || group.subscribedRegexes.size === 0) return;
    const [last] = group.resolvedRegexes.values();
    const lastMs = last?.timestampMs ?? Number.NEGATIVE_INFINITY;
    const nowMs = timers.nowMs();
    if (nowMs <= lastMs + regexRefreshLeastMs) return;
    const isDue =
      hasNewRegex ||
      group.subscribedRegexes.size !== group.resolvedRegexes.size ||
      group.regexTopicsVersion !== topics.version ||
      nowMs > lastMs + regexRefreshMostMs;
    if (!isDue) return;
    group.isResolving = true;
    const { version } = topics;
    const lookup = new RegexLookup([...group.subscribedRegexes.keys()], topics.names());
    const { groupId } = group;
    const slice = (effects: GroupEffects): void => {
      if (this.#group(groupId) !== group) return;
      if (!lookup.advance()) {
        timers.after(0, slice);
        return;
      }
      group.isResolving = false;
      group.regexTopicsVersion = version;
      this.#resolved(group, lookup.result, version, nowMs, effects);
    };
    timers.after(0, slice);
  }

  #resolved(
    group: ConsumerGroup,
    result: ReadonlyMap<string, ReadonlySet<string>>,
    version: number,
    timestampMs: number,
    effects: GroupEffects,
  ): void {
    const { groupId } = group;
    let changed = false;
    for (const [regex, names] of result) {
      if (!group.subscribedRegexes.has(regex)) continue;
      if (!sameSet(group.resolvedRegexes.get(regex)?.topics ?? new Set(), names)) changed = true;
      effects.append(regularExpressionRecord(groupId, regex, names, version, timestampMs));
    }
    const hash = metadataHash(group.subscribedTopics, this.#options.topics);
    if (!changed && hash === group.metadataHash) return;
    effects.append(groupEpochRecord(groupId, group.groupEpoch + 1, hash));
    group.topicsVersion = this.#options.topics.version;
  }

  #group(groupId: string): ConsumerGroup | undefined {
    const group = this.#options.groups.get(groupId);
    return group?.type === 'consumer' ? group : undefined;
  }
}

/** True where a record must be written of what the member says of itself. */
function differ(a: ConsumerMember, b: ConsumerMember): boolean {
  return (
    a.instanceId !== b.instanceId ||
    a.rackId !== b.rackId ||
    a.clientId !== b.clientId ||
    a.clientHost !== b.clientHost ||
    a.rebalanceTimeoutMs !== b.rebalanceTimeoutMs ||
    a.serverAssignor !== b.serverAssignor ||
    a.subscribedTopicRegex !== b.subscribedTopicRegex ||
    !sameSet(a.subscribedTopicNames, b.subscribedTopicNames) ||
    !sameClassic(a.classic, b.classic)
  );
}

function sameClassic(a: ClassicMemberFacts | null, b: ClassicMemberFacts | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.sessionTimeoutMs === b.sessionTimeoutMs &&
    a.protocols.length === b.protocols.length &&
    a.protocols.every((protocol, index) => {
      const other = b.protocols[index]!;
      return protocol.name === other.name && protocol.metadata.equals(other.metadata);
    })
  );
}
