/**
 * ConsumerGroupHeartbeat, versions 0 and 1 (KIP-848). 1: regular expressions of topics, and members that make their ids themselves.
 */
import {
  type ConsumerGroupHeartbeatRequest,
  type ConsumerGroupHeartbeatResponseInput,
  consumerGroupHeartbeatRequest,
  consumerGroupHeartbeatResponse,
} from '../../protocol/generated/68-consumer-group-heartbeat.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import {
  type ConsumerGroupSwitches,
  heartbeatContextOf,
  servesConsumerGroups,
  unsupported,
} from './group-member-context.ts';
import { defineHandler } from './handler.ts';

export interface ConsumerGroupHeartbeatServices extends ConsumerGroupSwitches {
  readonly groups: Pick<GroupCoordinator, 'consumerHeartbeat'>;
}

export function consumerGroupHeartbeatHandler(services: ConsumerGroupHeartbeatServices) {
  const { groups } = services;
  return defineHandler<ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponseInput>({
    apiKey: 68,
    minVersion: 0,
    maxVersion: 1,
    request: consumerGroupHeartbeatRequest,
    response: consumerGroupHeartbeatResponse,
    handle(request, context) {
      if (!servesConsumerGroups(services)) return failure(unsupported);
      return groups.consumerHeartbeat(request, heartbeatContextOf(context));
    },
    fail: (_request, errorCode) => failure(errorCode),
  });
}

function failure(errorCode: number): ConsumerGroupHeartbeatResponseInput {
  return { throttleTimeMs: 0, errorCode, memberEpoch: 0, heartbeatIntervalMs: 0 };
}
