/**
 * LeaveGroup, versions 0 to 5. 1: throttle time; 3: many members, static ones too, each with its own error (KIP-345);
 * 4: flexible; 5: the reason for leaving (KIP-800).
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type LeaveGroupRequest,
  type LeaveGroupResponseInput,
  leaveGroupRequest,
  leaveGroupResponse,
} from '../../protocol/generated/13-leave-group.ts';
import type { GroupCoordinator, LeaveGroupAnswer } from '../services/groups/group-coordinator.ts';
import { defineHandler } from './handler.ts';

export interface LeaveGroupServices {
  readonly groups: Pick<GroupCoordinator, 'leave'>;
}

const firstVersionWithManyMembers = 3;

export function leaveGroupHandler({ groups }: LeaveGroupServices) {
  return defineHandler<LeaveGroupRequest, LeaveGroupResponseInput>({
    apiKey: 13,
    minVersion: 0,
    maxVersion: 5,
    request: leaveGroupRequest,
    response: leaveGroupResponse,
    async handle(request, { apiVersion }) {
      const members =
        apiVersion < firstVersionWithManyMembers
          ? [{ memberId: request.memberId, groupInstanceId: null }]
          : request.members.map(({ memberId, groupInstanceId }) => ({ memberId, groupInstanceId }));
      return inVersion(await groups.leave(request.groupId, members), apiVersion);
    },
    fail: (_request, errorCode) => ({ errorCode }),
  });
}

function inVersion({ errorCode, members }: LeaveGroupAnswer, version: number): LeaveGroupResponseInput {
  if (errorCode !== errorCodes.NONE) return { errorCode };
  if (version >= firstVersionWithManyMembers) return { errorCode, members };
  return { errorCode: members[0]?.errorCode ?? errorCodes.UNKNOWN_SERVER_ERROR };
}
