/** Who a group's member is, from the connection that it came by. */
import type { MemberContext } from '../services/groups/classic/classic-group-protocol.ts';
import type { RequestContext } from './handler.ts';

const firstJoinWithMemberIdRound = 4;
const firstJoinThatCanSkipAssignment = 9;
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

/** As Java prints an address without a name, which is what Kafka's tools show. */
function clientHostOf(remoteAddress: string): string {
  return `/${remoteAddress.startsWith(ipv4InIpv6) ? remoteAddress.slice(ipv4InIpv6.length) : remoteAddress}`;
}
