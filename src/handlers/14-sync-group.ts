/**
 * SyncGroup, versions 0 to 5. 1: throttle time; 3: group instance id; 4: flexible; 5: protocol type and name, which must be the
 * group's (KIP-559). Followers are answered when the leader has sent the assignment.
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type SyncGroupRequest,
  type SyncGroupResponseInput,
  syncGroupRequest,
  syncGroupResponse,
} from '../../protocol/generated/14-sync-group.ts';
import { syncError } from '../services/groups/classic/classic-group-protocol.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { defineHandler } from './handler.ts';

export interface SyncGroupServices {
  readonly groups: Pick<GroupCoordinator, 'sync'>;
}

const firstVersionWithProtocol = 5;

export function syncGroupHandler({ groups }: SyncGroupServices) {
  return defineHandler<SyncGroupRequest, SyncGroupResponseInput>({
    apiKey: 14,
    minVersion: 0,
    maxVersion: 5,
    request: syncGroupRequest,
    response: syncGroupResponse,
    handle(request, { apiVersion }) {
      const isIncomplete = request.protocolType === null || request.protocolName === null;
      if (apiVersion >= firstVersionWithProtocol && isIncomplete) {
        return syncError(errorCodes.INCONSISTENT_GROUP_PROTOCOL);
      }
      return groups.sync(request);
    },
    fail: (_request, errorCode) => ({ errorCode, assignment: Buffer.alloc(0) }),
  });
}
