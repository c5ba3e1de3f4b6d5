/** A catalogue of topics for tests: created, changed and deleted at once, on a real engine's queues. */
import { randomBytes } from 'node:crypto';
import type {
  InternalTopicName,
  Topic,
  TopicDirectory,
  TopicSettings,
} from '../../src/services/topics/topic.ts';
import type { StorageEngine } from '../../src/storage/engine.ts';

export const testTopicSettings: TopicSettings = {
  cleanupCompact: false,
  cleanupDelete: true,
  compressionType: 'producer',
  compressionGzipLevel: -1,
  compressionLz4Level: 9,
  compressionZstdLevel: 3,
  maxMessageBytes: 1_048_588,
  messageTimestampType: 'CreateTime',
  messageTimestampBeforeMaxMs: Number.POSITIVE_INFINITY,
  messageTimestampAfterMaxMs: 3_600_000,
  minInsyncReplicas: 1,
  flushMessages: Number.POSITIVE_INFINITY,
  flushMs: Number.POSITIVE_INFINITY,
  retentionMs: 604_800_000,
  retentionBytes: -1,
  deleteRetentionMs: 86_400_000,
  minCleanableDirtyRatio: 0.5,
  minCompactionLagMs: 0,
  maxCompactionLagMs: Number.POSITIVE_INFINITY,
  segmentBytes: 1_073_741_824,
  segmentMs: 604_800_000,
  messageType: 'NORMAL',
  delayDefaultMs: -1,
  delayMaxMs: 259_200_000,
  role: 'plain',
  producerGroup: '',
  retryGroup: '',
  takesDeadLetters: false,
};

export class FakeTopicDirectory implements TopicDirectory {
  private readonly engine: StorageEngine;
  private readonly byName = new Map<string, Topic>();
  private readonly deletedListeners = new Set<(topic: Topic) => void>();
  private nextQueue = 1;

  constructor(engine: StorageEngine) {
    this.engine = engine;
  }

  async create(
    name: string,
    partitions = 1,
    settings: Partial<TopicSettings> = {},
    isInternal = false,
  ): Promise<Topic> {
    const topic: Topic = {
      name,
      id: randomBytes(16).toString('base64url'),
      isInternal,
      partitions: Array.from({ length: partitions }, (_, index) => ({ index, queue: this.nextQueue++ })),
      overrides: new Map(),
      settings: { ...testTopicSettings, ...settings },
    };
    await this.engine.catalogue.update({
      changes: [],
      createQueues: topic.partitions.map((partition) => partition.queue),
    });
    this.byName.set(name, topic);
    return topic;
  }

  async delete(name: string): Promise<void> {
    const topic = this.byName.get(name)!;
    this.byName.delete(name);
    await this.engine.catalogue.update({
      changes: [],
      dropQueues: topic.partitions.map((partition) => partition.queue),
    });
    for (const listener of this.deletedListeners) listener(topic);
  }

  get(name: string): Topic | undefined {
    return this.byName.get(name);
  }

  byId(id: string): Topic | undefined {
    return this.all().find((topic) => topic.id === id);
  }

  all(): readonly Topic[] {
    return [...this.byName.values()];
  }

  async ensureInternal(name: InternalTopicName): Promise<Topic> {
    return this.byName.get(name) ?? this.create(name, 1, {}, true);
  }

  onDeleted(listener: (topic: Topic) => void): () => void {
    this.deletedListeners.add(listener);
    return () => this.deletedListeners.delete(listener);
  }

  onChanged(): () => void {
    return () => {};
  }
}
