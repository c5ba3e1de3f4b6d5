/** DeleteGroups, versions 0 to 3. 2: flexible; 3: an error message beside each error. */
import {
  type DeleteGroupsRequest,
  type DeleteGroupsResponseInput,
  deleteGroupsRequest,
  deleteGroupsResponse,
} from '../../protocol/generated/42-delete-groups.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { defineHandler } from './handler.ts';

export interface DeleteGroupsServices {
  readonly groups: Pick<GroupCoordinator, 'deleteGroup'>;
}

export function deleteGroupsHandler({ groups }: DeleteGroupsServices) {
  return defineHandler<DeleteGroupsRequest, DeleteGroupsResponseInput>({
    apiKey: 42,
    minVersion: 0,
    maxVersion: 3,
    request: deleteGroupsRequest,
    response: deleteGroupsResponse,
    async handle(request) {
      const groupIds = [...new Set(request.groupsNames)];
      const deletions = groupIds.map((groupId) => groups.deleteGroup(groupId));
      const errors = await Promise.all(deletions);
      return {
        throttleTimeMs: 0,
        results: groupIds.map((groupId, index) => ({ groupId, errorCode: errors[index]! })),
      };
    },
    fail: (request, errorCode) => ({
      throttleTimeMs: 0,
      results: [...new Set(request.groupsNames)].map((groupId) => ({ groupId, errorCode })),
    }),
  });
}
