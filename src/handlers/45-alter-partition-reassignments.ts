/**
 * AlterPartitionReassignments, versions 0 and 1 (KIP-455): moves the copies of partitions to other brokers. There is one broker:
 * what is to be where it is already is done at once, everything else is refused.
 *
 * 1: the request may forbid another number of copies.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type AlterPartitionReassignmentsRequest,
  type AlterPartitionReassignmentsResponseInput,
  alterPartitionReassignmentsRequest,
  alterPartitionReassignmentsResponse,
} from '../../protocol/generated/45-alter-partition-reassignments.ts';
import { type ApiError, apiError } from '../services/api-error.ts';
import { type AnyHandler, defineHandler } from './handler.ts';
import type { Services } from './services.ts';

export function alterPartitionReassignmentsHandler({
  nodeId,
  topics,
}: Pick<Services, 'nodeId' | 'topics'>): AnyHandler {
  function reassign(name: string, index: number, replicas: readonly number[] | null): ApiError | undefined {
    const topic = topics.get(name);
    if (topic === undefined) {
      return apiError('UNKNOWN_TOPIC_OR_PARTITION', `Unable to find a topic named ${name}.`);
    }
    if (topic.partitions[index] === undefined) {
      return apiError('UNKNOWN_TOPIC_OR_PARTITION', `Unable to find partition ${name}:${index}.`);
    }
    if (replicas === null) return apiError('NO_REASSIGNMENT_IN_PROGRESS');
    return assignmentFault(replicas);
  }

  /** Kafka's words for a list of brokers that cannot be (its validateManualPartitionAssignment). */
  function assignmentFault(replicas: readonly number[]): ApiError | undefined {
    if (replicas.length === 0) {
      return invalid('The manual partition assignment includes an empty replica list.');
    }
    const sorted = [...replicas].sort((a, b) => a - b);
    for (const [at, broker] of sorted.entries()) {
      if (broker !== nodeId) {
        return invalid(
          `The manual partition assignment includes broker ${broker}, but no such broker is registered.`,
        );
      }
      if (at > 0) {
        return invalid(`The manual partition assignment includes the broker ${broker} more than once.`);
      }
    }
    return undefined;
  }

  return defineHandler<AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponseInput>({
    apiKey: 45,
    minVersion: 0,
    maxVersion: 1,
    request: alterPartitionReassignmentsRequest,
    response: alterPartitionReassignmentsResponse,
    handle({ allowReplicationFactorChange, topics: asked }) {
      return {
        throttleTimeMs: 0,
        allowReplicationFactorChange,
        errorCode: errorCodes.NONE,
        errorMessage: null,
        responses: asked.map(({ name, partitions }) => ({
          name,
          partitions: partitions.map(({ partitionIndex, replicas }) => {
            const error = reassign(name, partitionIndex, replicas);
            return {
              partitionIndex,
              errorCode: error?.code ?? errorCodes.NONE,
              errorMessage: error?.message ?? null,
            };
          }),
        })),
      };
    },
    fail: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode, errorMessage: null, responses: [] }),
  });
}

function invalid(message: string): ApiError {
  return apiError('INVALID_REPLICA_ASSIGNMENT', message);
}
