/** One member of a classic group, as the coordinator knows it. Only its group changes it. */
import type { JoinGroupResponseInput } from '../../../../protocol/generated/11-join-group.ts';
import type { SyncGroupResponseInput } from '../../../../protocol/generated/14-sync-group.ts';
import type { Ticket } from '../../coordinator/coordinator-machine.ts';

/** A way of assigning partitions that a member knows, with what it says about itself in it. */
export interface MemberProtocol {
  readonly name: string;
  readonly metadata: Buffer;
}

export interface MemberIdentity {
  readonly memberId: string;
  /** group.instance.id of a static member (KIP-345). */
  readonly groupInstanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
}

export const noAssignment = Buffer.alloc(0);

export class ClassicGroupMember implements MemberIdentity {
  readonly memberId: string;
  readonly groupInstanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  rebalanceTimeoutMs: number;
  sessionTimeoutMs: number;
  /** In the member's order of preference. */
  protocols: readonly MemberProtocol[];
  assignment: Buffer = noAssignment;
  /** The JoinGroup that waits for the others. Set by the group, which counts. */
  awaitingJoin: Ticket<JoinGroupResponseInput> | undefined;
  /** The SyncGroup that waits for the leader's. */
  awaitingSync: Ticket<SyncGroupResponseInput> | undefined;
  /** Waits in its first JoinGroup: it knows no id to send heartbeats with, so it can expire while it waits. */
  isNew = false;

  constructor(
    identity: MemberIdentity,
    terms: {
      readonly rebalanceTimeoutMs: number;
      readonly sessionTimeoutMs: number;
      readonly protocols: readonly MemberProtocol[];
    },
  ) {
    this.memberId = identity.memberId;
    this.groupInstanceId = identity.groupInstanceId;
    this.clientId = identity.clientId;
    this.clientHost = identity.clientHost;
    this.rebalanceTimeoutMs = terms.rebalanceTimeoutMs;
    this.sessionTimeoutMs = terms.sessionTimeoutMs;
    this.protocols = terms.protocols;
  }

  get isStatic(): boolean {
    return this.groupInstanceId !== null;
  }

  /** Waiting members need not send heartbeats, but those that wait for the first time. */
  get isExcusedFromHeartbeats(): boolean {
    return !this.isNew && (this.awaitingJoin !== undefined || this.awaitingSync !== undefined);
  }

  metadataFor(protocolName: string | null): Buffer | undefined {
    return this.protocols.find((protocol) => protocol.name === protocolName)?.metadata;
  }

  /** True where the member would join with exactly what it is in the group with. */
  hasSameProtocols(protocols: readonly MemberProtocol[]): boolean {
    return (
      protocols.length === this.protocols.length &&
      protocols.every((protocol, index) => {
        const own = this.protocols[index]!;
        return own.name === protocol.name && own.metadata.equals(protocol.metadata);
      })
    );
  }
}
