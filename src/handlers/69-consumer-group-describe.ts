/** ConsumerGroupDescribe, versions 0 and 1 (KIP-848). 1: which protocol each member speaks. */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type ConsumerGroupDescribeRequest,
  type ConsumerGroupDescribeResponseInput,
  consumerGroupDescribeRequest,
  consumerGroupDescribeResponse,
} from '../../protocol/generated/69-consumer-group-describe.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { authorizedOperations } from './authorized-operations.ts';
import { type ConsumerGroupSwitches, servesConsumerGroups, unsupported } from './group-member-context.ts';
import { defineHandler } from './handler.ts';

export interface ConsumerGroupDescribeServices extends ConsumerGroupSwitches {
  readonly groups: Pick<GroupCoordinator, 'describeConsumer'>;
}

export function consumerGroupDescribeHandler(services: ConsumerGroupDescribeServices) {
  const { groups } = services;
  return defineHandler<ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponseInput>({
    apiKey: 69,
    minVersion: 0,
    maxVersion: 1,
    request: consumerGroupDescribeRequest,
    response: consumerGroupDescribeResponse,
    async handle(request) {
      if (!servesConsumerGroups(services)) return failure(request, unsupported);
      const described = await Promise.all(
        request.groupIds.map((groupId) => groups.describeConsumer(groupId)),
      );
      return {
        throttleTimeMs: 0,
        groups: described.map((group) =>
          request.includeAuthorizedOperations && group.errorCode === errorCodes.NONE
            ? { ...group, authorizedOperations: authorizedOperations.group }
            : group,
        ),
      };
    },
    fail: failure,
  });
}

function failure(
  { groupIds }: ConsumerGroupDescribeRequest,
  errorCode: number,
): ConsumerGroupDescribeResponseInput {
  return {
    throttleTimeMs: 0,
    groups: groupIds.map((groupId) => ({
      errorCode,
      groupId,
      groupState: '',
      groupEpoch: 0,
      assignmentEpoch: 0,
      assignorName: '',
      members: [],
    })),
  };
}
