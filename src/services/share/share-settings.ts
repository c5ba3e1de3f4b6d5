/** What the broker's and a group's configuration say about share groups. The name of Kafka's key stands beside each. */
import type { BrokerSettings } from '../configuration/broker-config.ts';
import type { GroupConfigs } from '../configuration/group-configs.ts';
import { delayOf } from '../features/retry/retry-schedule.ts';
import { deadLetterSettingsOf, isRetryEnabled, retrySettingsOf } from '../features/retry/retry-settings.ts';
import { type OffsetReset, parseOffsetReset } from './offset-reset.ts';

/** Of one group, in force now. */
export interface ShareGroupSettings {
  /** share.record.lock.duration.ms */
  readonly lockMs: number;
  /** share.delivery.count.limit, or rmq.retry.max.times and the first delivery. */
  readonly maxDeliveries: number;
  /** share.partition.max.record.locks */
  readonly maxInFlight: number;
  /** share.isolation.level */
  readonly isReadCommitted: boolean;
  /** share.auto.offset.reset */
  readonly offsetReset: OffsetReset;
  /** share.renew.acknowledge.enable */
  readonly mayRenew: boolean;
  /** What is given back waits before it comes again; undefined: it comes again at once (rmq.retry.enable). */
  readonly backOff: BackOff | undefined;
  /** What is given up becomes a dead letter. */
  readonly hasDeadLetters: boolean;
  /** rmq.consume.orderly: one unfinished hand-over at a time; undefined: none. */
  readonly order: Order | undefined;
}

export interface BackOff {
  /** Milliseconds before the delivery that follows the `attempt`th, counted from 1. */
  delayMs(attempt: number): number;
  /** What is not acknowledged in time waits as well (rmq.retry.backoff.on.timeout). */
  readonly onTimeout: boolean;
}

export interface Order {
  /** rmq.suspend.ms: how long a partition rests after a record of it was given back. */
  readonly suspendMs: number;
}

/** A delivery count is an int16. */
export const mostDeliveries = 32_767;

export interface ShareSettings {
  of(groupId: string): ShareGroupSettings;
  /** group.share.max.share.sessions */
  readonly maxSessions: number;
}

export function shareSettingsFrom(
  config: Pick<BrokerSettings, 'int' | 'boolean' | 'string'>,
  groups: Pick<GroupConfigs, 'int' | 'string' | 'boolean' | 'value' | 'overrides' | 'groups'>,
  random: () => number = Math.random,
): ShareSettings {
  const backOffOf = (groupId: string): BackOff | undefined => {
    if (!isRetryEnabled(groups, groupId)) return undefined;
    const { schedule } = retrySettingsOf(groups, groupId);
    return {
      delayMs: (attempt) => delayOf(attempt, schedule, random),
      onTimeout: groups.boolean(groupId, 'rmq.retry.backoff.on.timeout'),
    };
  };
  return {
    // Read at each request: what is not asked for is not looked up.
    of: (groupId) => ({
      get lockMs() {
        return groups.int(groupId, 'share.record.lock.duration.ms');
      },
      get maxDeliveries() {
        return maxDeliveriesOf(groups, groupId);
      },
      get maxInFlight() {
        return groups.int(groupId, 'share.partition.max.record.locks');
      },
      get isReadCommitted() {
        return groups.string(groupId, 'share.isolation.level') === 'read_committed';
      },
      get offsetReset() {
        return parseOffsetReset(groups.string(groupId, 'share.auto.offset.reset')) ?? { kind: 'latest' };
      },
      get mayRenew() {
        return groups.boolean(groupId, 'share.renew.acknowledge.enable');
      },
      get backOff() {
        return backOffOf(groupId);
      },
      get hasDeadLetters() {
        return deadLetterSettingsOf(groups, config, groupId).topic !== '';
      },
      get order() {
        return orderOf(groups, groupId);
      },
    }),
    get maxSessions() {
      return config.int('group.share.max.share.sessions');
    },
  };
}

function orderOf(groups: Pick<GroupConfigs, 'int' | 'boolean'>, groupId: string): Order | undefined {
  if (!groups.boolean(groupId, 'rmq.consume.orderly')) return undefined;
  return { suspendMs: groups.int(groupId, 'rmq.suspend.ms') };
}

/** The first delivery is no retry. In order nothing is given up unless the group itself says after how many retries. */
function maxDeliveriesOf(
  groups: Pick<GroupConfigs, 'int' | 'boolean' | 'overrides'>,
  groupId: string,
): number {
  const maxTimes = groups.int(groupId, 'rmq.retry.max.times');
  if (groups.boolean(groupId, 'rmq.consume.orderly')) {
    const isSaid = groups.overrides(groupId).has('rmq.retry.max.times');
    return isSaid ? Math.min(mostDeliveries, maxTimes + 1) : mostDeliveries;
  }
  if (groups.boolean(groupId, 'rmq.retry.enable')) return Math.min(mostDeliveries, maxTimes + 1);
  return groups.int(groupId, 'share.delivery.count.limit');
}
