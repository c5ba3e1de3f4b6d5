/** ShareGroupHeartbeat 1 (KIP-932): members of share groups join, stay and leave. */
import {
  type ShareGroupHeartbeatRequest,
  type ShareGroupHeartbeatResponseInput,
  shareGroupHeartbeatRequest,
  shareGroupHeartbeatResponse,
} from '../../protocol/generated/76-share-group-heartbeat.ts';
import type { GroupCoordinator } from '../services/groups/group-coordinator.ts';
import { refusedHeartbeat } from '../services/groups/share/share-group-protocol.ts';
import { shareMemberContextOf } from './group-member-context.ts';
import { defineHandler } from './handler.ts';

export function shareGroupHeartbeatHandler({ groups }: { readonly groups: GroupCoordinator }) {
  return defineHandler<ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponseInput>({
    apiKey: 76,
    minVersion: 1,
    maxVersion: 1,
    request: shareGroupHeartbeatRequest,
    response: shareGroupHeartbeatResponse,
    handle: (request, context) => groups.shareHeartbeat(request, shareMemberContextOf(context)),
    fail: (_request, errorCode) => refusedHeartbeat(errorCode, null),
  });
}
