/** Who a group's member is, from the connection that it came by. */

import { errorCodes } from '../../protocol/error-codes.ts';
import type { BrokerConfig } from '../services/configuration/broker-config.ts';
import type { FeatureLevels } from '../services/configuration/feature-levels.ts';
import type { MemberContext } from '../services/groups/classic/classic-group-protocol.ts';
import type { HeartbeatContext } from '../services/groups/consumer/consumer-group-protocol.ts';
import type { ShareMemberContext } from '../services/groups/share/share-group-protocol.ts';
import type { RequestContext } from './handler.ts';

const firstJoinWithMemberIdRound = 4;
const firstJoinThatCanSkipAssignment = 9;
const firstHeartbeatWithOwnMemberId = 1;
const ipv4InIpv6 = '::ffff:';

/** Of a JoinGroup. */
export function memberContextOf({ apiVersion, clientId, connection }: RequestContext): MemberContext {
  return {
    clientId: clientId ?? '',
    clientHost: clientHostOf(connection.remoteAddress),
    mustKnowMemberId: apiVersion >= firstJoinWithMemberIdRound,
    canSkipAssignment: apiVersion >= firstJoinThatCanSkipAssignment,
  };
}

/** Of a ConsumerGroupHeartbeat. */
export function heartbeatContextOf({ apiVersion, clientId, connection }: RequestContext): HeartbeatContext {
  return {
    clientId: clientId ?? '',
    clientHost: clientHostOf(connection.remoteAddress),
    mustKnowMemberId: apiVersion >= firstHeartbeatWithOwnMemberId,
  };
}

/** What says whether there may be consumer groups. */
export interface ConsumerGroupSwitches {
  readonly featureLevels: Pick<FeatureLevels, 'level'>;
  readonly config: Pick<BrokerConfig, 'list'>;
}

/** Whether group.version and group.coordinator.rebalance.protocols let there be consumer groups (KIP-848). */
export function servesConsumerGroups({ featureLevels, config }: ConsumerGroupSwitches): boolean {
  return (
    featureLevels.level('group.version') >= 1 &&
    config.list('group.coordinator.rebalance.protocols').includes('consumer')
  );
}

/** What is answered where it does not, as by Kafka. */
export const unsupported = errorCodes.UNSUPPORTED_VERSION;

/** Of a ShareGroupHeartbeat. */
export function shareMemberContextOf({ clientId, connection }: RequestContext): ShareMemberContext {
  return { clientId: clientId ?? '', clientHost: clientHostOf(connection.remoteAddress) };
}

/** As Java prints an address without a name, which is what Kafka's tools show. */
function clientHostOf(remoteAddress: string): string {
  return `/${remoteAddress.startsWith(ipv4InIpv6) ? remoteAddress.slice(ipv4InIpv6.length) : remoteAddress}`;
}
