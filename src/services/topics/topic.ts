/** A topic as every service sees it. Immutable: a change makes a new Topic object. */
import type { QueueId } from '../../storage/engine.ts';
import type { MessageType } from '../features/control-headers.ts';

/** A topic's effective settings: its own overrides over the broker's defaults. Names follow Kafka's topic configs. */
export interface TopicSettings {
  readonly cleanupCompact: boolean;
  readonly cleanupDelete: boolean;
  readonly compressionType: 'producer' | 'uncompressed' | 'gzip' | 'snappy' | 'lz4' | 'zstd';
  readonly compressionGzipLevel: number;
  readonly compressionLz4Level: number;
  readonly compressionZstdLevel: number;
  readonly maxMessageBytes: number;
  readonly messageTimestampType: 'CreateTime' | 'LogAppendTime';
  /** message.timestamp.before.max.ms and message.timestamp.after.max.ms; Infinity for Kafka's Long.MAX_VALUE. */
  readonly messageTimestampBeforeMaxMs: number;
  readonly messageTimestampAfterMaxMs: number;
  readonly minInsyncReplicas: number;
  /** flush.messages: 1 forces every append durable before its answer; Infinity for Kafka's Long.MAX_VALUE. */
  readonly flushMessages: number;
  readonly flushMs: number;
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly deleteRetentionMs: number;
  readonly minCleanableDirtyRatio: number;
  readonly minCompactionLagMs: number;
  readonly maxCompactionLagMs: number;
  readonly segmentBytes: number;
  readonly segmentMs: number;
  /** rmq.message.type: what records may ask for. */
  readonly messageType: MessageType;
  /** rmq.delay.default.ms; -1 for none. */
  readonly delayDefaultMs: number;
  readonly delayMaxMs: number;
  /** rmq.role: what producing to the topic does. */
  readonly role: 'plain' | 'delay-op' | 'txn-op' | 'retry';
  /** rmq.producer.group: whose half messages are decided here; empty: the name says it. */
  readonly producerGroup: string;
  /** rmq.retry.group: whose failed records are produced here; empty: the name says it. */
  readonly retryGroup: string;
  /** errors.deadletterqueue.group.enable */
  readonly takesDeadLetters: boolean;
}

export interface Partition {
  readonly index: number;
  readonly queue: QueueId;
}

export interface Topic {
  readonly name: string;
  /** base64url without padding, never zero, new for each creation. */
  readonly id: string;
  readonly isInternal: boolean;
  readonly partitions: readonly Partition[];
  /** What was set on the topic itself, by Kafka's config names. */
  readonly overrides: ReadonlyMap<string, string>;
  readonly settings: TopicSettings;
}

/** What services other than topics/ may ask of the catalogue. */
export interface TopicDirectory {
  get(name: string): Topic | undefined;
  byId(id: string): Topic | undefined;
  /** In name order. */
  all(): readonly Topic[];
  /** The internal topic, created with the broker's settings for it when missing. Resolves when it can be appended to. */
  ensureInternal(name: InternalTopicName): Promise<Topic>;
  /** Calls back after a topic is gone (its queues are dropped already). Returns how to stop. */
  onDeleted(listener: (topic: Topic) => void): () => void;
  /** Calls back after partitions were added or settings changed. */
  onChanged(listener: (topic: Topic) => void): () => void;
}

export type InternalTopicName = '__consumer_offsets' | '__transaction_state' | '__share_group_state';
