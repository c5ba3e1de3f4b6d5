/** Heartbeat, versions 0 to 4. 1: throttle time; 3: group instance id; 4: flexible. */
import {
  type HeartbeatRequest,
  type HeartbeatResponseInput,
  heartbeatRequest,
  heartbeatResponse,
} from '../../protocol/generated/12-heartbeat.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { defineHandler } from './handler.ts';

export interface HeartbeatServices {
  readonly groups: Pick<GroupCoordinator, 'heartbeat'>;
}

export function heartbeatHandler({ groups }: HeartbeatServices) {
  return defineHandler<HeartbeatRequest, HeartbeatResponseInput>({
    apiKey: 12,
    minVersion: 0,
    maxVersion: 4,
    request: heartbeatRequest,
    response: heartbeatResponse,
    handle(request) {
      const answer = groups.heartbeat(request);
      return answer instanceof Promise ? answer.then((errorCode) => ({ errorCode })) : { errorCode: answer };
    },
    fail: (_request, errorCode) => ({ errorCode }),
  });
}
