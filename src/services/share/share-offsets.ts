/**
 * Offsets of share groups for administrators: what they are, setting them, forgetting them. Answers in the generated types of the
 * protocol. Knows of groups only what it is told through `ShareGroups`.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import type {
  DescribeShareGroupOffsetsResponseDescribeShareGroupOffsetsResponseGroupInput as DescribedGroup,
  DescribeShareGroupOffsetsRequestDescribeShareGroupOffsetsRequestGroup as DescribedGroupRequest,
} from '../../../protocol/generated/90-describe-share-group-offsets.ts';
import type {
  AlterShareGroupOffsetsRequest,
  AlterShareGroupOffsetsResponseInput,
} from '../../../protocol/generated/91-alter-share-group-offsets.ts';
import type {
  DeleteShareGroupOffsetsRequest,
  DeleteShareGroupOffsetsResponseInput,
} from '../../../protocol/generated/92-delete-share-group-offsets.ts';
import { safeIntegerOrUndefined } from '../../../protocol/wire/int64.ts';
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import type { StorageEngine } from '../../storage/engine.ts';
import type { ApiError } from '../api-error.ts';
import type { Topic, TopicDirectory } from '../topics/topic.ts';
import type { ShareCoordinator } from './share-coordinator.ts';
import type { ShareSummary } from './share-state-machine.ts';

export interface ShareGroups {
  /** Undefined where there is such a share group and it has no members; else why it cannot be changed. */
  emptyShareGroupFault(groupId: string): Promise<ApiError | undefined>;
  /** The same of a group that is made where there is none. */
  newShareGroupFault(groupId: string): Promise<ApiError | undefined>;
}

export interface ShareOffsetsOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly coordinator: ShareCoordinator;
  readonly groups: ShareGroups;
}

const unknownOffset = -1;
const nothingToDelete = 'There is no offset information to delete.';
const noSuchPartition = 'This server does not host this topic-partition.';

export class ShareOffsets {
  readonly #options: ShareOffsetsOptions;

  constructor(options: ShareOffsetsOptions) {
    this.#options = options;
  }

  async describe({ groupId, topics }: DescribedGroupRequest): Promise<DescribedGroup> {
    // As in Kafka a group that does not exist has no offsets, which is no error.
    const summaries = new Map<string, Map<number, ShareSummary>>();
    for (const summary of await this.#options.coordinator.summaries(groupId)) {
      const { topicId, partition } = summary.key;
      const ofTopic = summaries.get(topicId) ?? new Map<number, ShareSummary>();
      summaries.set(topicId, ofTopic);
      ofTopic.set(partition, summary);
    }
    const wanted =
      topics === null
        ? [...summaries].flatMap(([topicId, partitions]) => {
            const topic = this.#options.topics.byId(topicId);
            return topic === undefined ? [] : [{ topicName: topic.name, partitions: [...partitions.keys()] }];
          })
        : topics.filter((topic) => topic !== null);
    const described = await Promise.all(
      wanted.map(async ({ topicName, partitions }) => {
        const topic = this.#options.topics.get(topicName);
        const ofTopic = topic === undefined ? undefined : summaries.get(topic.id);
        return {
          topicName,
          topicId: topic?.id ?? ZERO_UUID,
          partitions: await Promise.all(
            partitions.map((index) => this.#describePartition(topic, index, ofTopic?.get(index))),
          ),
        };
      }),
    );
    return { groupId, topics: described, errorCode: errorCodes.NONE, errorMessage: null };
  }

  async #describePartition(
    topic: Topic | undefined,
    partitionIndex: number,
    summary: ShareSummary | undefined,
  ) {
    const partition = topic?.partitions[partitionIndex];
    const startOffset = summary?.startOffset ?? unknownOffset;
    const known = { partitionIndex, startOffset, leaderEpoch: summary?.leaderEpoch ?? 0 };
    const bounds = partition === undefined ? undefined : await this.#options.engine.bounds(partition.queue);
    const lag =
      bounds === undefined || summary === undefined || startOffset < 0
        ? -1
        : bounds.visibleEndOffset - Math.max(startOffset, bounds.startOffset) - summary.deliveryCompleteCount;
    return { ...known, lag: Math.max(-1, lag), errorCode: errorCodes.NONE, errorMessage: null };
  }

  /** Sets where the group starts. Nobody may be in it. */
  async alter({
    groupId,
    topics,
  }: AlterShareGroupOffsetsRequest): Promise<AlterShareGroupOffsetsResponseInput> {
    const fault = await this.#options.groups.newShareGroupFault(groupId);
    if (fault !== undefined) {
      return { throttleTimeMs: 0, errorCode: fault.code, errorMessage: fault.message, responses: [] };
    }
    const responses = await Promise.all(
      topics.map(async ({ topicName, partitions }) => {
        const topic = this.#options.topics.get(topicName);
        return {
          topicName,
          topicId: topic?.id ?? ZERO_UUID,
          partitions: await Promise.all(
            partitions.map(async ({ partitionIndex, startOffset }) => {
              const code = await this.#reset(
                groupId,
                topic,
                partitionIndex,
                safeIntegerOrUndefined(startOffset),
              );
              return {
                partitionIndex,
                errorCode: code,
                errorMessage: code === errorCodes.UNKNOWN_TOPIC_OR_PARTITION ? noSuchPartition : null,
              };
            }),
          ),
        };
      }),
    );
    return { throttleTimeMs: 0, errorCode: errorCodes.NONE, errorMessage: null, responses };
  }

  async #reset(
    groupId: string,
    topic: Topic | undefined,
    partition: number,
    startOffset: number | undefined,
  ): Promise<ErrorCode> {
    if (topic?.partitions[partition] === undefined) return errorCodes.UNKNOWN_TOPIC_OR_PARTITION;
    if (startOffset === undefined || startOffset < 0) return errorCodes.INVALID_REQUEST;
    return this.#options.coordinator.reset({ groupId, topicId: topic.id, partition }, startOffset);
  }

  /** Forgets what the group knows of the topics. Nobody may be in it. */
  async delete({
    groupId,
    topics,
  }: DeleteShareGroupOffsetsRequest): Promise<DeleteShareGroupOffsetsResponseInput> {
    const fault = await this.#options.groups.emptyShareGroupFault(groupId);
    if (fault !== undefined) {
      return { throttleTimeMs: 0, errorCode: fault.code, errorMessage: fault.message, responses: [] };
    }
    const summaries = await this.#options.coordinator.summaries(groupId);
    const known = new Set(summaries.map(({ key }) => key.topicId));
    const responses = await Promise.all(
      topics.map(async ({ topicName }) => {
        const topic = this.#options.topics.get(topicName);
        const isKnown = topic !== undefined && known.has(topic.id);
        const code = isKnown
          ? await this.#options.coordinator.forget(groupId, topic.id)
          : errorCodes.UNKNOWN_TOPIC_OR_PARTITION;
        return {
          topicName,
          topicId: topic?.id ?? ZERO_UUID,
          errorCode: code,
          errorMessage: topic === undefined ? noSuchPartition : isKnown ? null : nothingToDelete,
        };
      }),
    );
    return { throttleTimeMs: 0, errorCode: errorCodes.NONE, errorMessage: null, responses };
  }
}
