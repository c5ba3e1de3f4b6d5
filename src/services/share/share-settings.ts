/** What the broker's and a group's configuration say about share groups. The name of Kafka's key stands beside each. */
import type { BrokerSettings } from '../configuration/broker-config.ts';
import type { GroupConfigs } from '../configuration/group-configs.ts';

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

/** Where a share partition starts that has no start offset yet. */
export type OffsetReset =
  | { readonly kind: 'earliest' }
  | { readonly kind: 'latest' }
  | { readonly kind: 'by-duration'; readonly durationMs: number };

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

/** Undefined for a text that is none of `earliest`, `latest`, `by_duration:<ISO 8601 duration>`. */
export function parseOffsetReset(text: string): OffsetReset | undefined {
  const lower = text.toLowerCase();
  if (lower === 'earliest' || lower === 'latest') return { kind: lower };
  const prefix = 'by_duration:';
  if (!lower.startsWith(prefix)) return undefined;
  const durationMs = parseIsoDuration(text.slice(prefix.length));
  return durationMs === undefined || durationMs < 0 ? undefined : { kind: 'by-duration', durationMs };
}

const durationPattern =
  /^([-+]?)P(?:([-+]?\d+)D)?(?:T(?=[-+\d])(?:([-+]?\d+)H)?(?:([-+]?\d+)M)?(?:([-+]?\d+)(?:[.,](\d{0,9}))?S)?)?$/i;

/** Milliseconds of a duration as java.time.Duration reads it; undefined for what it refuses. */
export function parseIsoDuration(text: string): number | undefined {
  const match = durationPattern.exec(text);
  if (match === null) return undefined;
  const [, sign, days, hours, minutes, seconds, fraction] = match;
  if (days === undefined && hours === undefined && minutes === undefined && seconds === undefined) {
    return undefined;
  }
  const wholeSeconds = Number(seconds ?? 0);
  const part = Number(`0.${fraction === undefined || fraction === '' ? '0' : fraction}`);
  const ms =
    Number(days ?? 0) * 86_400_000 +
    Number(hours ?? 0) * 3_600_000 +
    Number(minutes ?? 0) * 60_000 +
    wholeSeconds * 1000 +
    (seconds?.startsWith('-') ? -1 : 1) * Math.floor(part * 1000);
  return sign === '-' ? -ms : ms;
}
