/**
 * OffsetCommit, versions 0 to 10.
 *
 * 0     no group membership: the client manages itself
 * 1     generation and member id; a commit timestamp a partition
 * 2-4   a retention for the whole request, which outlives the group; 3: throttle time
 * 5     no retention: the broker's counts
 * 6     leader epoch
 * 7     group instance id
 * 8     flexible
 * 9     members of consumer groups (KIP-848); GROUP_ID_NOT_FOUND where 22 was answered for a group that does not exist
 * 10    topic ids
 *
 * Offsets are taken only for partitions that exist.
 */
import { type ErrorCode, errorCodes } from '../../protocol/error-codes.ts';
import {
  type OffsetCommitRequest,
  type OffsetCommitRequestOffsetCommitRequestTopic,
  type OffsetCommitResponseInput,
  offsetCommitRequest,
  offsetCommitResponse,
} from '../../protocol/generated/08-offset-commit.ts';
import { safeIntegerOrUndefined } from '../../protocol/wire/int64.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import type { CommittedTopic, OffsetCommitAnswer } from '../services/groups/offset-commits.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import { defineHandler } from './handler.ts';

export interface OffsetCommitServices {
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly groups: Pick<GroupCoordinator, 'commitOffsets'>;
}

const firstVersionWithGroupIdNotFound = 9;
const firstVersionWithMemberEpochs = 9;
const firstVersionWithTopicIds = 10;

/** Beside each topic asked for: what goes to the coordinator, and the error of each partition known before. */
interface CheckedTopic {
  readonly asked: OffsetCommitRequestOffsetCommitRequestTopic;
  readonly errors: (ErrorCode | undefined)[];
  readonly committed: CommittedTopic | undefined;
}

export function offsetCommitHandler({ topics, groups }: OffsetCommitServices) {
  return defineHandler<OffsetCommitRequest, OffsetCommitResponseInput>({
    apiKey: 8,
    minVersion: 0,
    maxVersion: 10,
    request: offsetCommitRequest,
    response: offsetCommitResponse,
    handle(request, { apiVersion }) {
      // A topic without partitions is not answered, as in Kafka.
      const asked = request.topics.filter((topic) => topic.partitions.length > 0);
      const checked = asked.map((topic) => check(topic, apiVersion));
      const committed = checked.flatMap((topic) => (topic.committed === undefined ? [] : [topic.committed]));
      if (committed.length === 0)
        return answer(checked, { errorCode: errorCodes.NONE, topics: [] }, apiVersion);
      const result = groups.commitOffsets({
        groupId: request.groupId,
        memberId: request.memberId,
        groupInstanceId: request.groupInstanceId,
        generationId: request.generationIdOrMemberEpoch,
        knowsMemberEpochs: apiVersion >= firstVersionWithMemberEpochs,
        // A retention beyond what a number can say is as good as for ever.
        retentionMs: safeIntegerOrUndefined(request.retentionTimeMs) ?? Number.MAX_SAFE_INTEGER / 2,
        topics: committed,
      });
      return result instanceof Promise
        ? result.then((later) => answer(checked, later, apiVersion))
        : answer(checked, result, apiVersion);
    },
    fail: (request, errorCode) => ({
      topics: request.topics.map((topic) => ({
        name: topic.name,
        topicId: topic.topicId,
        partitions: topic.partitions.map(({ partitionIndex }) => ({ partitionIndex, errorCode })),
      })),
    }),
  });

  function check(asked: OffsetCommitRequestOffsetCommitRequestTopic, version: number): CheckedTopic {
    const byId = version >= firstVersionWithTopicIds;
    const topic = byId ? topics.byId(asked.topicId) : topics.get(asked.name);
    const errors: (ErrorCode | undefined)[] = [];
    const partitions: CommittedTopic['partitions'][number][] = [];
    for (const partition of asked.partitions) {
      if (topic === undefined) {
        errors.push(byId ? errorCodes.UNKNOWN_TOPIC_ID : errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
      } else if (topic.partitions[partition.partitionIndex] === undefined) {
        errors.push(errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
      } else {
        errors.push(undefined);
        partitions.push({
          partitionIndex: partition.partitionIndex,
          offset: partition.committedOffset,
          leaderEpoch: partition.committedLeaderEpoch,
          metadata: partition.committedMetadata,
          commitTimestampMs: safeIntegerOrUndefined(partition.commitTimestamp) ?? -1,
        });
      }
    }
    const committed =
      topic === undefined || partitions.length === 0
        ? undefined
        : { name: topic.name, topicId: topic.id, partitions };
    return { asked, errors, committed };
  }
}

function answer(
  checked: readonly CheckedTopic[],
  result: OffsetCommitAnswer,
  version: number,
): OffsetCommitResponseInput {
  const forAll = 'topics' in result ? undefined : errorFor(version, result.errorCode);
  let next = 0;
  return {
    topics: checked.map(({ asked, errors, committed }) => {
      const results = committed === undefined || !('topics' in result) ? [] : (result.topics[next++] ?? []);
      let nextResult = 0;
      return {
        name: asked.name,
        topicId: asked.topicId,
        partitions: asked.partitions.map(({ partitionIndex }, index) => ({
          partitionIndex,
          errorCode: errors[index] ?? forAll ?? results[nextResult++] ?? errorCodes.UNKNOWN_SERVER_ERROR,
        })),
      };
    }),
  };
}

/** Clients of old know no other error for a generation of a group that does not exist. */
function errorFor(version: number, errorCode: ErrorCode): ErrorCode {
  return errorCode === errorCodes.GROUP_ID_NOT_FOUND && version < firstVersionWithGroupIdNotFound
    ? errorCodes.ILLEGAL_GENERATION
    : errorCode;
}
