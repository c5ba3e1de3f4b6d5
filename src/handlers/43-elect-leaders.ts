/**
 * ElectLeaders, versions 0 to 2: asks that partitions be led by their preferred copy, or by any that is left. There is one copy, it
 * leads, and so every partition that exists is answered ELECTION_NOT_NEEDED.
 *
 * 0: preferred copies only. 1: the type of election, an error of the whole answer (KIP-460). 2: flexible.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type ElectLeadersRequest,
  type ElectLeadersResponseInput,
  type ElectLeadersResponsePartitionResultInput,
  electLeadersRequest,
  electLeadersResponse,
} from '../../protocol/generated/43-elect-leaders.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

const electionTypes: readonly number[] = [0, 1]; // preferred, unclean

const notNeeded = 'Leader election not needed for topic partition.';

const firstVersionWithErrorCode = 1;

export function electLeadersHandler({ topics }: Pick<Services, 'topics'>): AnyHandler {
  function elect(name: string, partitionId: number): ElectLeadersResponsePartitionResultInput {
    const topic = topics.get(name);
    if (topic?.partitions[partitionId] === undefined) {
      const what = topic === undefined ? `topic as ${name}` : `partition as ${name}-${partitionId}`;
      return {
        partitionId,
        errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
        errorMessage: `No such ${what}`,
      };
    }
    return { partitionId, errorCode: errorCodes.ELECTION_NOT_NEEDED, errorMessage: notNeeded };
  }

  return defineHandler<ElectLeadersRequest, ElectLeadersResponseInput>({
    apiKey: 43,
    minVersion: 0,
    maxVersion: 2,
    request: electLeadersRequest,
    response: electLeadersResponse,
    handle({ electionType, topicPartitions }, { apiVersion }) {
      if (!electionTypes.includes(electionType)) {
        return failure(
          topicPartitions,
          errorCodes.INVALID_REQUEST,
          `Unknown election type ${electionType}`,
          apiVersion,
        );
      }
      // Where all are asked for, those that need none are left out.
      const asked =
        topicPartitions ?? topics.all().map(({ name }) => ({ topic: name, partitions: [] as number[] }));
      return {
        throttleTimeMs: 0,
        replicaElectionResults: asked.map(({ topic, partitions }) => ({
          topic,
          partitionResult: partitions.map((partitionId) => elect(topic, partitionId)),
        })),
      };
    },
    fail: ({ topicPartitions }, errorCode, { apiVersion }) =>
      failure(topicPartitions, errorCode, null, apiVersion),
  });
}

function failure(
  asked: ElectLeadersRequest['topicPartitions'],
  errorCode: number,
  errorMessage: string | null,
  version: number,
): ElectLeadersResponseInput {
  return {
    throttleTimeMs: 0,
    ...(version >= firstVersionWithErrorCode ? { errorCode } : {}),
    replicaElectionResults: (asked ?? []).map(({ topic, partitions }) => ({
      topic,
      partitionResult: partitions.map((partitionId) => ({ partitionId, errorCode, errorMessage })),
    })),
  };
}
