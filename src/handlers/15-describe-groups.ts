/**
 * DescribeGroups, versions 0 to 6. 1: throttle time; 3: authorized operations; 4: group instance ids; 5: flexible;
 * 6: a group that does not exist is GROUP_ID_NOT_FOUND with a message, before that only `Dead` (KIP-1043).
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type DescribeGroupsRequest,
  type DescribeGroupsResponseDescribedGroupInput,
  type DescribeGroupsResponseInput,
  describeGroupsRequest,
  describeGroupsResponse,
} from '../../protocol/generated/15-describe-groups.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { authorizedOperations } from './authorized-operations.ts';
import { defineHandler } from './handler.ts';

export interface DescribeGroupsServices {
  readonly groups: Pick<GroupCoordinator, 'describe'>;
}

const firstVersionWithNotFound = 6;

export function describeGroupsHandler({ groups }: DescribeGroupsServices) {
  return defineHandler<DescribeGroupsRequest, DescribeGroupsResponseInput>({
    apiKey: 15,
    minVersion: 0,
    maxVersion: 6,
    request: describeGroupsRequest,
    response: describeGroupsResponse,
    async handle(request, { apiVersion }) {
      const described = await Promise.all(request.groups.map((groupId) => groups.describe(groupId)));
      return {
        groups: described.map((group) => inVersion(group, apiVersion, request.includeAuthorizedOperations)),
      };
    },
    fail: (request, errorCode) => ({
      groups: request.groups.map((groupId) => ({
        errorCode,
        groupId,
        groupState: '',
        protocolType: '',
        protocolData: '',
        members: [],
      })),
    }),
  });
}

function inVersion(
  group: DescribeGroupsResponseDescribedGroupInput,
  version: number,
  withOperations: boolean,
): DescribeGroupsResponseDescribedGroupInput {
  if (group.errorCode !== errorCodes.NONE) return group;
  if (group.groupState === 'Dead' && version >= firstVersionWithNotFound) {
    return { ...group, errorCode: errorCodes.GROUP_ID_NOT_FOUND };
  }
  const shown = { ...group, errorMessage: null };
  return withOperations ? { ...shown, authorizedOperations: authorizedOperations.group } : shown;
}
