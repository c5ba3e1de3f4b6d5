import type { BrokerSettings } from '../configuration/broker-config.ts';

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
}

/** How long a member that does not know its id yet may wait in a JoinGroup: it cannot send heartbeats (fixed in Kafka, too). */
export const newMemberJoinTimeoutMs = 5 * 60 * 1000;

/** The broker's settings as groups see them, always those in force. */
export function groupSettingsFrom(config: Pick<BrokerSettings, 'int' | 'long'>): GroupSettings {
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
  };
}
