/**
 * OffsetFetch, versions 0 to 10.
 *
 * 0     a partition without an offset has error 3, as offsets that lay in ZooKeeper
 * 1     ... has offset -1 and no error, from here on
 * 2     null topics: all that the group has; an error for the whole answer
 * 3     throttle time
 * 5     leader epoch
 * 6     flexible
 * 7     require stable: partitions with a transaction's commit pending answer 88 (KIP-447)
 * 8     many groups in one request
 * 9     member id and epoch, which only members of consumer groups (KIP-848) fill in
 * 10    topic ids
 */
import { type ErrorCode, errorCodes } from '../../protocol/error-codes.ts';
import {
  type OffsetFetchRequest,
  type OffsetFetchRequestOffsetFetchRequestGroup,
  type OffsetFetchResponseInput,
  type OffsetFetchResponseOffsetFetchResponseGroupInput,
  type OffsetFetchResponseOffsetFetchResponseTopicsInput,
  offsetFetchRequest,
  offsetFetchResponse,
} from '../../protocol/generated/09-offset-fetch.ts';
import { ZERO_UUID } from '../../protocol/wire/uuid.ts';
import type { GroupCoordinator, OffsetFetchAnswer } from '../services/groups/group-coordinator.ts';
import type { FetchedPartition, WantedTopic } from '../services/groups/offset-commits.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import { defineHandler, type RequestContext } from './handler.ts';

export interface OffsetFetchServices {
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly groups: Pick<GroupCoordinator, 'fetchOffsets'>;
}

const firstVersionWithErrorForAll = 2;
const firstVersionWithLeaderEpoch = 5;
const firstVersionWithGroups = 8;
const firstVersionWithTopicIds = 10;

export function offsetFetchHandler({ topics, groups }: OffsetFetchServices) {
  return defineHandler<OffsetFetchRequest, OffsetFetchResponseInput>({
    apiKey: 9,
    minVersion: 0,
    maxVersion: 10,
    request: offsetFetchRequest,
    response: offsetFetchResponse,
    async handle(request, context) {
      if (context.apiVersion < firstVersionWithGroups) return fetchOne(request, context);
      const answers = request.groups.map((group) =>
        fetchGroup(group, context.apiVersion, request.requireStable),
      );
      return { groups: await Promise.all(answers) };
    },
    fail(request, errorCode, { apiVersion }) {
      return apiVersion < firstVersionWithGroups
        ? oneGroup(request, { errorCode: errorCode as ErrorCode, topics: [] }, apiVersion)
        : { groups: request.groups.map(({ groupId }) => ({ groupId, errorCode, topics: [] })) };
    },
  });

  function wantedByName(
    asked: readonly { readonly name: string; readonly partitionIndexes: readonly number[] }[],
  ): WantedTopic[] {
    return asked.map(({ name, partitionIndexes }) => ({
      name,
      topicId: topics.get(name)?.id ?? ZERO_UUID,
      partitionIndexes,
    }));
  }

  async function fetchOne(
    request: OffsetFetchRequest,
    { apiVersion }: RequestContext,
  ): Promise<OffsetFetchResponseInput> {
    const wanted = request.topics === null ? null : wantedByName(request.topics);
    return oneGroup(
      request,
      await groups.fetchOffsets(request.groupId, wanted, request.requireStable),
      apiVersion,
    );
  }

  async function fetchGroup(
    asked: OffsetFetchRequestOffsetFetchRequestGroup,
    version: number,
    mustBeStable: boolean,
  ): Promise<OffsetFetchResponseOffsetFetchResponseGroupInput> {
    const { groupId, memberId, memberEpoch } = asked;
    const member = { memberId, memberEpoch };
    if (version < firstVersionWithTopicIds) {
      const wanted = asked.topics === null ? null : wantedByName(asked.topics);
      const { errorCode, topics: fetched } = await groups.fetchOffsets(groupId, wanted, mustBeStable, member);
      return {
        groupId,
        errorCode,
        topics: fetched.map(({ name, partitions }) => withPartitions({ name }, partitions)),
      };
    }
    if (asked.topics === null) {
      const { errorCode, topics: fetched } = await groups.fetchOffsets(groupId, null, mustBeStable, member);
      const present: OffsetFetchResponseOffsetFetchResponseTopicsInput[] = [];
      for (const { name, topicId, partitions } of fetched) {
        // What cannot be named by an id is left out; an offset from before ids were kept counts for the topic of that name.
        const topic = topicId === ZERO_UUID ? topics.get(name) : topics.byId(topicId);
        if (topic !== undefined) present.push(withPartitions({ topicId: topic.id }, partitions));
      }
      return { groupId, errorCode, topics: present };
    }
    const known = asked.topics.map(({ topicId }) => topics.byId(topicId));
    const wanted: WantedTopic[] = asked.topics.flatMap(({ topicId, partitionIndexes }, index) => {
      const topic = known[index];
      return topic === undefined ? [] : [{ name: topic.name, topicId, partitionIndexes }];
    });
    const { errorCode, topics: fetched } = await groups.fetchOffsets(groupId, wanted, mustBeStable, member);
    if (errorCode !== errorCodes.NONE) return { groupId, errorCode, topics: [] };
    // Those that are not known come last, as in Kafka.
    const unknown = asked.topics.filter((_topic, index) => known[index] === undefined);
    return {
      groupId,
      errorCode,
      topics: [
        ...fetched.map(({ topicId, partitions }) => withPartitions({ topicId }, partitions)),
        ...unknown.map(({ topicId, partitionIndexes }) =>
          withError({ topicId }, partitionIndexes, errorCodes.UNKNOWN_TOPIC_ID),
        ),
      ],
    };
  }
}

function oneGroup(
  request: OffsetFetchRequest,
  { errorCode, topics }: OffsetFetchAnswer,
  version: number,
): OffsetFetchResponseInput {
  if (errorCode !== errorCodes.NONE) {
    if (version >= firstVersionWithErrorForAll) return { errorCode, topics: [] };
    return {
      topics: (request.topics ?? []).map(({ name, partitionIndexes }) => ({
        name,
        partitions: withError({}, partitionIndexes, errorCode).partitions,
      })),
    };
  }
  return {
    topics: topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map((partition) => ({
        partitionIndex: partition.partitionIndex,
        committedOffset: partition.offset,
        committedLeaderEpoch: version >= firstVersionWithLeaderEpoch ? partition.leaderEpoch : -1,
        metadata: partition.metadata,
        errorCode:
          version === 0 && partition.offset === -1 && partition.errorCode === errorCodes.NONE
            ? errorCodes.UNKNOWN_TOPIC_OR_PARTITION
            : partition.errorCode,
      })),
    })),
  };
}

function withPartitions(
  topic: { readonly name?: string; readonly topicId?: string },
  partitions: readonly FetchedPartition[],
): OffsetFetchResponseOffsetFetchResponseTopicsInput {
  return {
    ...topic,
    partitions: partitions.map((partition) => ({
      partitionIndex: partition.partitionIndex,
      committedOffset: partition.offset,
      committedLeaderEpoch: partition.leaderEpoch,
      metadata: partition.metadata,
      errorCode: partition.errorCode,
    })),
  };
}

function withError(
  topic: { readonly topicId?: string },
  partitionIndexes: readonly number[],
  errorCode: ErrorCode,
): OffsetFetchResponseOffsetFetchResponseTopicsInput {
  return withPartitions(
    topic,
    partitionIndexes.map((partitionIndex) => ({
      partitionIndex,
      errorCode,
      offset: -1,
      leaderEpoch: -1,
      metadata: '',
    })),
  );
}
