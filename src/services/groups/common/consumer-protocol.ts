/**
 * The consumer embedded protocol: what consumers of the classic protocol say of themselves in a JoinGroup, and are told in a SyncGroup.
 * Opaque to classic groups; read where a group's members speak both protocols.
 */
import {
  type ConsumerProtocolAssignment,
  consumerProtocolAssignment,
} from '../../../../protocol/generated/data-consumer-protocol-assignment.ts';
import {
  type ConsumerProtocolSubscription,
  consumerProtocolSubscription,
} from '../../../../protocol/generated/data-consumer-protocol-subscription.ts';
import type { MessageCodec } from '../../../../protocol/message-codec.ts';
import { ByteReader } from '../../../../protocol/wire/byte-reader.ts';
import type { GroupTopics } from './group-topics.ts';
import { led } from './record-kind.ts';
import type { TopicPartitions } from './topic-partitions.ts';

/** Undefined where the bytes are none. */
export function readSubscription(bytes: Buffer): ConsumerProtocolSubscription | undefined {
  return read(consumerProtocolSubscription, bytes);
}

/** Undefined where the bytes are none. */
export function readAssignment(bytes: Buffer): ConsumerProtocolAssignment | undefined {
  return read(consumerProtocolAssignment, bytes);
}

/** The version that leads the bytes, as far as there are any; 0 otherwise. */
export function versionOf(bytes: Buffer): number {
  return bytes.length < 2 ? 0 : Math.min(Math.max(bytes.readInt16BE(0), 0), newest);
}

/** Partitions as members of the classic protocol are told: by name, so that topics that are gone are left out. */
export function writeAssignment(
  partitions: ReadonlyMap<string, { keys(): Iterable<number> }>,
  topics: Pick<GroupTopics, 'byId'>,
  version: number,
): Buffer {
  const assignedPartitions = [...partitions].flatMap(([topicId, numbers]) => {
    const topic = topics.byId(topicId);
    return topic === undefined
      ? []
      : [{ topic: topic.name, partitions: [...numbers.keys()].sort((a, b) => a - b) }];
  });
  return led(version, consumerProtocolAssignment, { assignedPartitions, userData: null }, version);
}

/** Partitions by topic id; of names that are no topics nothing. */
export function byTopicId(
  named: readonly { readonly topic: string; readonly partitions: readonly number[] }[],
  topics: Pick<GroupTopics, 'byName'>,
): TopicPartitions {
  const all = new Map<string, Set<number>>();
  for (const { topic: name, partitions } of named) {
    const topic = topics.byName(name);
    if (topic === undefined) continue;
    const before = all.get(topic.id);
    if (before === undefined) all.set(topic.id, new Set(partitions));
    else for (const partition of partitions) before.add(partition);
  }
  return all;
}

const newest = 3;

function read<T>(codec: MessageCodec<T, never>, bytes: Buffer): T | undefined {
  try {
    const reader = new ByteReader(bytes);
    // Newer versions only add fields at the end.
    const version = reader.int16('version');
    return version < 0 ? undefined : codec.decode(reader, Math.min(version, newest));
  } catch {
    return undefined;
  }
}
