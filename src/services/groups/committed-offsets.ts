/** The offsets that groups have committed, by group, topic and partition. Holds them; who may commit what is decided elsewhere. */
import type { OffsetCommitKey } from '../../../protocol/generated/data-offset-commit-key.ts';
import type { OffsetCommitValueInput } from '../../../protocol/generated/data-offset-commit-value.ts';
import { type Int64, safeIntegerOrUndefined } from '../../../protocol/wire/int64.ts';
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import type { GroupRecord } from './group-records.ts';

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

const noOffsets: GroupOffsets = new Map();

export class CommittedOffsets {
  readonly #byGroup = new Map<string, Map<string, Map<number, CommittedOffset>>>();

  /** Of one group, by topic and partition. */
  of(groupId: string): GroupOffsets {
    return this.#byGroup.get(groupId) ?? noOffsets;
  }

  get groupIds(): Iterable<string> {
    return this.#byGroup.keys();
  }

  replay(key: OffsetCommitKey, value: OffsetCommitValueInput | null): void {
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

  /** One record an offset. Offsets may come and go while this is read. */
  *snapshot(): Iterable<GroupRecord> {
    for (const [group, topics] of this.#byGroup) {
      for (const [topic, partitions] of topics) {
        for (const [partition, committed] of partitions) {
          yield {
            type: 'offset-commit',
            key: { group, topic, partition },
            value: offsetCommitValueOf(committed),
          };
        }
      }
    }
  }
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
