import type { BrokerSettings } from '../configuration/broker-config.ts';
import type { GroupConfigs } from '../configuration/group-configs.ts';

/** What the broker's configuration says about groups. The name of Kafka's key stands beside each. */
export interface GroupSettings {
  /** group.min.session.timeout.ms */
  readonly minSessionTimeoutMs: number;
  /** group.max.session.timeout.ms */
  readonly maxSessionTimeoutMs: number;
  /** group.initial.rebalance.delay.ms */
  readonly initialRebalanceDelayMs: number;
  /** group.max.size */
  readonly maxGroupSize: number;
  /** offset.metadata.max.bytes; Kafka counts UTF-16 units, and so do we. */
  readonly offsetMetadataMaxBytes: number;
  /** offsets.retention.minutes, in ms */
  readonly offsetsRetentionMs: number;
  /** offsets.retention.check.interval.ms */
  readonly offsetsRetentionCheckIntervalMs: number;
  readonly consumer: ConsumerGroupSettings;
}

/** Of groups of the consumer protocol (KIP-848). Where a group has a setting of its own that counts. */
export interface ConsumerGroupSettings {
  /** consumer.session.timeout.ms, group.consumer.session.timeout.ms */
  sessionTimeoutMs(groupId: string): number;
  /** consumer.heartbeat.interval.ms, group.consumer.heartbeat.interval.ms */
  heartbeatIntervalMs(groupId: string): number;
  /** consumer.assignment.interval.ms, group.consumer.assignment.interval.ms */
  assignmentIntervalMs(groupId: string): number;
  /** group.consumer.max.size */
  readonly maxSize: number;
  /** group.consumer.assignors, the default first. */
  readonly assignors: readonly string[];
  /** group.consumer.migration.policy */
  readonly migrationPolicy: 'disabled' | 'upgrade' | 'downgrade' | 'bidirectional';
}

/** Of members of share groups (KIP-932). Where a group has a setting of its own that counts. */
export interface ShareMemberSettings {
  /** share.session.timeout.ms, group.share.session.timeout.ms */
  sessionTimeoutMs(groupId: string): number;
  /** share.heartbeat.interval.ms, group.share.heartbeat.interval.ms */
  heartbeatIntervalMs(groupId: string): number;
  /** share.assignment.interval.ms, group.share.assignment.interval.ms */
  assignmentIntervalMs(groupId: string): number;
  /** group.share.max.size */
  readonly maxSize: number;
}

/** Kafka's defaults. */
export const defaultShareMemberSettings: ShareMemberSettings = {
  sessionTimeoutMs: () => 45_000,
  heartbeatIntervalMs: () => 5_000,
  assignmentIntervalMs: () => 1_000,
  maxSize: 200,
};

export function shareMemberSettingsFrom(
  config: Pick<BrokerSettings, 'int'>,
  ofGroups: Pick<GroupConfigs, 'int'>,
): ShareMemberSettings {
  return {
    sessionTimeoutMs: (groupId) => ofGroups.int(groupId, 'share.session.timeout.ms'),
    heartbeatIntervalMs: (groupId) => ofGroups.int(groupId, 'share.heartbeat.interval.ms'),
    assignmentIntervalMs: (groupId) => ofGroups.int(groupId, 'share.assignment.interval.ms'),
    get maxSize() {
      return config.int('group.share.max.size');
    },
  };
}

/** How long a member that does not know its id yet may wait in a JoinGroup: it cannot send heartbeats (fixed in Kafka, too). */
export const newMemberJoinTimeoutMs = 5 * 60 * 1000;

/** The broker's settings as groups see them, always those in force. */
export function groupSettingsFrom(
  config: Pick<BrokerSettings, 'int' | 'long' | 'list' | 'string'>,
  ofGroups: Pick<GroupConfigs, 'int'>,
): GroupSettings {
  return {
    get minSessionTimeoutMs() {
      return config.int('group.min.session.timeout.ms');
    },
    get maxSessionTimeoutMs() {
      return config.int('group.max.session.timeout.ms');
    },
    get initialRebalanceDelayMs() {
      return config.int('group.initial.rebalance.delay.ms');
    },
    get maxGroupSize() {
      return config.int('group.max.size');
    },
    get offsetMetadataMaxBytes() {
      return config.int('offset.metadata.max.bytes');
    },
    get offsetsRetentionMs() {
      return config.int('offsets.retention.minutes') * 60_000;
    },
    get offsetsRetentionCheckIntervalMs() {
      return config.long('offsets.retention.check.interval.ms');
    },
    consumer: {
      sessionTimeoutMs: (groupId) => ofGroups.int(groupId, 'consumer.session.timeout.ms'),
      heartbeatIntervalMs: (groupId) => ofGroups.int(groupId, 'consumer.heartbeat.interval.ms'),
      assignmentIntervalMs: (groupId) => ofGroups.int(groupId, 'consumer.assignment.interval.ms'),
      get maxSize() {
        return config.int('group.consumer.max.size');
      },
      get assignors() {
        return config.list('group.consumer.assignors');
      },
      get migrationPolicy() {
        return migrationPolicyOf(config.string('group.consumer.migration.policy'));
      },
    },
  };
}

function migrationPolicyOf(text: string | null): ConsumerGroupSettings['migrationPolicy'] {
  const policy = text?.toLowerCase();
  return policy === 'disabled' || policy === 'upgrade' || policy === 'downgrade' ? policy : 'bidirectional';
}
