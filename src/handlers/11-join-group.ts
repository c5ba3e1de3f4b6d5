/**
 * JoinGroup, versions 0 to 9.
 *
 * 0     the session timeout is the rebalance timeout, too
 * 1     rebalance timeout
 * 2     throttle time
 * 4     a new member gets its id with MEMBER_ID_REQUIRED and joins again (KIP-394)
 * 5     group instance id: static members (KIP-345)
 * 6     flexible
 * 7     protocol type in the answer; the protocol name may be null
 * 8     the reason for joining (KIP-800)
 * 9     skip assignment (KIP-814)
 *
 * The answer comes when all members are there or the rebalance timeout is over.
 */
import {
  type JoinGroupRequest,
  type JoinGroupResponseInput,
  joinGroupRequest,
  joinGroupResponse,
} from '../../protocol/generated/11-join-group.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { memberContextOf } from './group-member-context.ts';
import { defineHandler } from './handler.ts';

export interface JoinGroupServices {
  readonly groups: Pick<GroupCoordinator, 'join'>;
}

const firstVersionWithNullProtocol = 7;

export function joinGroupHandler({ groups }: JoinGroupServices) {
  return defineHandler<JoinGroupRequest, JoinGroupResponseInput>({
    apiKey: 11,
    minVersion: 0,
    maxVersion: 9,
    request: joinGroupRequest,
    response: joinGroupResponse,
    handle(request, context) {
      const answer = groups.join(request, memberContextOf(context));
      return answer instanceof Promise
        ? answer.then((later) => inVersion(later, context.apiVersion))
        : inVersion(answer, context.apiVersion);
    },
    fail: (request, errorCode, { apiVersion }) =>
      inVersion(
        { errorCode, protocolName: null, leader: '', memberId: request.memberId, members: [] },
        apiVersion,
      ),
  });
}

function inVersion(answer: JoinGroupResponseInput, version: number): JoinGroupResponseInput {
  return answer.protocolName === null && version < firstVersionWithNullProtocol
    ? { ...answer, protocolName: '' }
    : answer;
}
