/** ListPartitionReassignments, version 0 (KIP-455): which partitions are on the move. With one broker none ever is. */

import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type ListPartitionReassignmentsRequest,
  type ListPartitionReassignmentsResponseInput,
  listPartitionReassignmentsRequest,
  listPartitionReassignmentsResponse,
} from '../../protocol/generated/46-list-partition-reassignments.ts';
import { type AnyHandler, defineHandler } from './handler.ts';

export function listPartitionReassignmentsHandler(): AnyHandler {
  return defineHandler<ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponseInput>({
    apiKey: 46,
    minVersion: 0,
    maxVersion: 0,
    request: listPartitionReassignmentsRequest,
    response: listPartitionReassignmentsResponse,
    handle: () => ({ throttleTimeMs: 0, errorCode: errorCodes.NONE, errorMessage: null, topics: [] }),
    fail: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode, errorMessage: null, topics: [] }),
  });
}
