/** Placement that a client asks for by hand, checked as Kafka's controller checks it: there is one broker to place on. */
import { type ApiError, apiError } from '../api-error.ts';

export interface PartitionAssignment {
  readonly partition: number;
  readonly brokers: readonly number[];
}

function assignmentFault(brokers: readonly number[], nodeId: number): ApiError | undefined {
  const refuse = (message: string) => apiError('INVALID_REPLICA_ASSIGNMENT', message);
  if (brokers.length === 0) return refuse('The manual partition assignment includes an empty replica list.');
  const sorted = [...brokers].sort((a, b) => a - b);
  for (const [at, broker] of sorted.entries()) {
    if (broker !== nodeId) {
      return refuse(
        `The manual partition assignment includes broker ${broker}, but no such broker is registered.`,
      );
    }
    if (at > 0 && sorted[at - 1] === broker) {
      return refuse(`The manual partition assignment includes the broker ${broker} more than once.`);
    }
  }
  return undefined;
}

/** Assignments of a new topic: how many partitions they make, or what is wrong with them. */
export function checkNewAssignments(
  assignments: readonly PartitionAssignment[],
  nodeId: number,
): number | ApiError {
  const seen = new Set<number>();
  for (const { partition, brokers } of assignments) {
    if (seen.has(partition)) {
      return apiError(
        'INVALID_REPLICA_ASSIGNMENT',
        `Found multiple manual partition assignments for partition ${partition}`,
      );
    }
    const fault = assignmentFault(brokers, nodeId);
    if (fault !== undefined) return fault;
    seen.add(partition);
  }
  for (let index = 0; index < assignments.length; index++) {
    if (!seen.has(index)) {
      return apiError(
        'INVALID_REPLICA_ASSIGNMENT',
        'partitions should be a consecutive 0-based integer sequence',
      );
    }
  }
  return assignments.length;
}

/** Assignments of partitions that a topic gets in addition. */
export function checkAddedAssignments(
  assignments: readonly (readonly number[])[],
  added: number,
  nodeId: number,
): ApiError | undefined {
  if (assignments.length !== added) {
    return apiError(
      'INVALID_REPLICA_ASSIGNMENT',
      `Attempted to add ${added} additional partition(s), but only ${assignments.length} assignment(s) were specified.`,
    );
  }
  for (const brokers of assignments) {
    const fault = assignmentFault(brokers, nodeId);
    if (fault !== undefined) return fault;
  }
  return undefined;
}
