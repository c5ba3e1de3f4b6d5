/** What the broker's and a group's configuration say about share groups. The name of Kafka's key stands beside each. */
import type { BrokerSettings } from '../configuration/broker-config.ts';
import type { GroupConfigs } from '../configuration/group-configs.ts';
import { type OffsetReset, parseOffsetReset } from './offset-reset.ts';

/** Of one group, in force now. */
export interface ShareGroupSettings {
  /** share.record.lock.duration.ms */
  readonly lockMs: number;
  /** share.delivery.count.limit */
  readonly maxDeliveries: number;
  /** share.partition.max.record.locks */
  readonly maxInFlight: number;
  /** share.isolation.level */
  readonly isReadCommitted: boolean;
  /** share.auto.offset.reset */
  readonly offsetReset: OffsetReset;
  /** share.renew.acknowledge.enable */
  readonly mayRenew: boolean;
}

export interface ShareSettings {
  of(groupId: string): ShareGroupSettings;
  /** group.share.max.share.sessions */
  readonly maxSessions: number;
}

export function shareSettingsFrom(
  config: Pick<BrokerSettings, 'int'>,
  groups: Pick<GroupConfigs, 'int' | 'string' | 'boolean'>,
): ShareSettings {
  return {
    of: (groupId) => ({
      lockMs: groups.int(groupId, 'share.record.lock.duration.ms'),
      maxDeliveries: groups.int(groupId, 'share.delivery.count.limit'),
      maxInFlight: groups.int(groupId, 'share.partition.max.record.locks'),
      isReadCommitted: groups.string(groupId, 'share.isolation.level') === 'read_committed',
      offsetReset: parseOffsetReset(groups.string(groupId, 'share.auto.offset.reset')) ?? { kind: 'latest' },
      mayRenew: groups.boolean(groupId, 'share.renew.acknowledge.enable'),
    }),
    get maxSessions() {
      return config.int('group.share.max.share.sessions');
    },
  };
}
