/**
 * The offsets that groups have committed, by group, topic and partition, and beside them those of transactions that have not ended.
 * Holds them; who may commit what is decided elsewhere.
 */
import type { OffsetCommitKey } from '../../../protocol/generated/data-offset-commit-key.ts';
import type { OffsetCommitValueInput } from '../../../protocol/generated/data-offset-commit-value.ts';
import { type Int64, safeIntegerOrUndefined } from '../../../protocol/wire/int64.ts';
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import type { GroupRecord, TransactionalOffsetRecord } from './group-records.ts';

export interface CommittedOffset {
  readonly offset: Int64;
  /** -1: the client did not say. */
  readonly leaderEpoch: number;
  readonly metadata: string;
  /** ms since 1970. */
  readonly commitTimestampMs: number;
  /** -1: it goes by the broker's retention. Set by clients that asked for one of their own (OffsetCommit 2 to 4). */
  readonly expireTimestampMs: number;
  /** The topic it was committed for; ZERO_UUID: not known. A topic of the same name may have come since. */
  readonly topicId: string;
}

export type TopicOffsets = ReadonlyMap<number, CommittedOffset>;
export type GroupOffsets = ReadonlyMap<string, TopicOffsets>;

/** Committed in a transaction that has not ended. */
export interface PendingOffset {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly key: OffsetCommitKey;
  readonly value: OffsetCommitValueInput;
  /** Grows with each one: of two for the same place the later counts, whichever transaction ends first. */
  readonly order: number;
}

const noOffsets: GroupOffsets = new Map();
const nothingPending: readonly PendingOffset[] = [];

export class CommittedOffsets {
  readonly #byGroup = new Map<string, Map<string, Map<number, CommittedOffset>>>();

  /** By producer, then by what the offset is for. */
  readonly #pending = new Map<number, Map<string, PendingOffset>>();
  /** The producers whose transactions have pending offsets of a group. */
  readonly #pendingProducers = new Map<string, Set<number>>();
  #nextOrder = 0;

  /** Of one group, by topic and partition. */
  of(groupId: string): GroupOffsets {
    return this.#byGroup.get(groupId) ?? noOffsets;
  }

  get groupIds(): Iterable<string> {
    return this.#byGroup.keys();
  }

  hasPending(group: string, topic: string, partition: number): boolean {
    const producers = this.#pendingProducers.get(group);
    if (producers === undefined) return false;
    const place = placeOf({ group, topic, partition });
    for (const producerId of producers) if (this.#pending.get(producerId)?.has(place) === true) return true;
    return false;
  }

  /** What transactions that have not ended have committed for the group. */
  *pendingOf(group: string): Iterable<PendingOffset> {
    for (const producerId of this.#pendingProducers.get(group) ?? []) {
      for (const pending of this.#pending.get(producerId)?.values() ?? []) {
        if (pending.key.group === group) yield pending;
      }
    }
  }

  /** The newest epoch of a producer among what it committed and has not ended; undefined where there is nothing. */
  pendingEpochOf(producerId: number): number | undefined {
    let newest: number | undefined;
    for (const { producerEpoch } of this.#pending.get(producerId)?.values() ?? []) {
      if (newest === undefined || producerEpoch > newest) newest = producerEpoch;
    }
    return newest;
  }

  hasPendingOf(group: string): boolean {
    return this.#pendingProducers.has(group);
  }

  get groupIdsWithPending(): Iterable<string> {
    return this.#pendingProducers.keys();
  }

  replayPending({ producerId, producerEpoch, key, value }: TransactionalOffsetRecord): void {
    if (value === null) return;
    let offsets = this.#pending.get(producerId);
    if (offsets === undefined) {
      offsets = new Map();
      this.#pending.set(producerId, offsets);
    }
    offsets.set(placeOf(key), { producerId, producerEpoch, key, value, order: this.#nextOrder++ });
    const producers = this.#pendingProducers.get(key.group);
    if (producers === undefined) this.#pendingProducers.set(key.group, new Set([producerId]));
    else producers.add(producerId);
  }

  /** The transaction of the producer ended: what it committed counts from now on, or never. */
  endTransaction(producerId: number, isCommit: boolean): void {
    const offsets = this.#pending.get(producerId);
    if (offsets === undefined) return;
    this.#pending.delete(producerId);
    for (const { key, value, order } of offsets.values()) {
      this.#forgetProducer(key.group, producerId);
      if (isCommit) this.replay(key, value, order);
    }
  }

  /** Makes void what transactions committed for the same place before `order`: by default, all that they did. */
  replay(key: OffsetCommitKey, value: OffsetCommitValueInput | null, order = this.#nextOrder): void {
    this.#dropPending(key, order);
    if (value === null) {
      this.#remove(key);
      return;
    }
    let topics = this.#byGroup.get(key.group);
    if (topics === undefined) {
      topics = new Map();
      this.#byGroup.set(key.group, topics);
    }
    let partitions = topics.get(key.topic);
    if (partitions === undefined) {
      partitions = new Map();
      topics.set(key.topic, partitions);
    }
    // One string for all that say the same: a broker may keep millions of these.
    const before = partitions.get(key.partition) ?? partitions.values().next().value;
    const topicId = value.topicId ?? ZERO_UUID;
    partitions.set(key.partition, {
      offset: value.offset,
      leaderEpoch: value.leaderEpoch ?? -1,
      metadata: value.metadata === before?.metadata ? before.metadata : value.metadata,
      commitTimestampMs: safeIntegerOrUndefined(value.commitTimestamp) ?? -1,
      expireTimestampMs: safeIntegerOrUndefined(value.expireTimestamp ?? -1) ?? Number.MAX_SAFE_INTEGER,
      topicId: topicId === before?.topicId ? before.topicId : topicId,
    });
  }

  #remove(key: OffsetCommitKey): void {
    const topics = this.#byGroup.get(key.group);
    const partitions = topics?.get(key.topic);
    if (topics === undefined || partitions === undefined) return;
    partitions.delete(key.partition);
    if (partitions.size === 0) topics.delete(key.topic);
    if (topics.size === 0) this.#byGroup.delete(key.group);
  }

  #dropPending(key: OffsetCommitKey, before: number): void {
    for (const { producerId, order } of this.#pendingAt(key)) {
      if (order >= before) continue;
      const offsets = this.#pending.get(producerId)!;
      offsets.delete(placeOf(key));
      if (offsets.size === 0) this.#pending.delete(producerId);
      if (![...offsets.values()].some((pending) => pending.key.group === key.group)) {
        this.#forgetProducer(key.group, producerId);
      }
    }
  }

  /** Oldest first. */
  #pendingAt(key: OffsetCommitKey): readonly PendingOffset[] {
    const producers = this.#pendingProducers.get(key.group);
    if (producers === undefined) return nothingPending;
    const place = placeOf(key);
    const found: PendingOffset[] = [];
    for (const producerId of producers) {
      const pending = this.#pending.get(producerId)?.get(place);
      if (pending !== undefined) found.push(pending);
    }
    return found.sort((a, b) => a.order - b.order);
  }

  #forgetProducer(group: string, producerId: number): void {
    const producers = this.#pendingProducers.get(group);
    producers?.delete(producerId);
    if (producers?.size === 0) this.#pendingProducers.delete(group);
  }

  /**
   * One record an offset. Offsets may come and go while this is read, and transactions end: whatever is pending must be said before
   * the record that ends its transaction, and after the committed offset of the same place, which would make it void.
   */
  *snapshot(): Iterable<GroupRecord> {
    for (const offsets of this.#pending.values()) {
      for (const { key } of offsets.values()) {
        // Those that have a committed offset follow it below. One that is committed meanwhile is below as well.
        if (this.#byGroup.get(key.group)?.get(key.topic)?.has(key.partition) === true) continue;
        for (const pending of this.#pendingAt(key)) {
          if (this.#pending.get(pending.producerId)?.get(placeOf(key)) === pending)
            yield pendingRecord(pending);
        }
      }
    }
    for (const [group, topics] of this.#byGroup) {
      for (const [topic, partitions] of topics) {
        for (const partition of partitions.keys()) yield* this.#snapshotOf({ group, topic, partition });
      }
    }
  }

  *#snapshotOf(key: OffsetCommitKey): Iterable<GroupRecord> {
    const { group, topic, partition } = key;
    const committedNow = () => this.#byGroup.get(group)?.get(topic)?.get(partition);
    for (let committed = committedNow(); committed !== undefined; ) {
      yield { type: 'offset-commit', key, value: offsetCommitValueOf(committed) };
      for (const pending of this.#pendingAt(key)) {
        if (this.#pending.get(pending.producerId)?.get(placeOf(key)) === pending)
          yield pendingRecord(pending);
      }
      // Between two records a transaction may have ended that was not said to be pending yet.
      const after = committedNow();
      if (after === committed) return;
      committed = after;
    }
  }
}

function pendingRecord({ producerId, producerEpoch, key, value }: PendingOffset): GroupRecord {
  return { type: 'transactional-offset', producerId, producerEpoch, key, value };
}

/** Topic names have no spaces. */
function placeOf({ group, topic, partition }: OffsetCommitKey): string {
  return `${partition} ${topic} ${group}`;
}

export function offsetCommitValueOf(committed: CommittedOffset): OffsetCommitValueInput {
  return {
    offset: committed.offset,
    leaderEpoch: committed.leaderEpoch,
    metadata: committed.metadata,
    commitTimestamp: committed.commitTimestampMs,
    expireTimestamp: committed.expireTimestampMs,
    topicId: committed.topicId,
  };
}

/** True where both topic ids are known and name different topics. */
export function isOfAnotherTopic(committed: CommittedOffset, topicId: string): boolean {
  return committed.topicId !== ZERO_UUID && topicId !== ZERO_UUID && committed.topicId !== topicId;
}
