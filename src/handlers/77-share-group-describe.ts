/** ShareGroupDescribe 1 (KIP-932). */
import {
  type ShareGroupDescribeRequest,
  type ShareGroupDescribeResponseInput,
  shareGroupDescribeRequest,
  shareGroupDescribeResponse,
} from '../../protocol/generated/77-share-group-describe.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { noShareGroup } from '../services/groups/share/share-group-protocol.ts';
import { authorizedOperations } from './authorized-operations.ts';
import { defineHandler } from './handler.ts';

export function shareGroupDescribeHandler({ groups }: { readonly groups: GroupCoordinator }) {
  return defineHandler<ShareGroupDescribeRequest, ShareGroupDescribeResponseInput>({
    apiKey: 77,
    minVersion: 1,
    maxVersion: 1,
    request: shareGroupDescribeRequest,
    response: shareGroupDescribeResponse,
    async handle({ groupIds, includeAuthorizedOperations }) {
      const described = await Promise.all(groupIds.map((groupId) => groups.describeShare(groupId)));
      return {
        throttleTimeMs: 0,
        groups: described.map((group) =>
          includeAuthorizedOperations && group.errorCode === 0
            ? { ...group, authorizedOperations: authorizedOperations.group }
            : group,
        ),
      };
    },
    fail: ({ groupIds }, errorCode) => ({
      throttleTimeMs: 0,
      groups: groupIds.map((groupId) => ({ ...noShareGroup(groupId), errorCode })),
    }),
  });
}
