/** How long a record that failed waits before it is delivered again. Pure: chance comes from outside. */
import { ConfigError } from '../../configuration/config-definition.ts';

export type RetryPolicy =
  /** One delay an attempt; the last repeats. */
  | { readonly kind: 'customized'; readonly delaysMs: readonly number[] }
  | {
      readonly kind: 'exponential';
      readonly initialMs: number;
      readonly maxMs: number;
      readonly multiplier: number;
    };

export interface RetrySchedule {
  readonly policy: RetryPolicy;
  /** At most so much longer, in hundredths of the delay; never shorter. */
  readonly jitterPct: number;
}

/** RocketMQ's sixteen: its delay levels from the third on. */
export const defaultDelays = '10s,30s,1m,2m,3m,4m,5m,6m,7m,8m,9m,10m,20m,30m,1h,2h';

/** Entries of rmq.retry.delays. */
export const maxDelays = 100;
/** Of any delay that a schedule or a consumer asks for. */
export const longestRetryDelayMs = 259_200_000;
/** RocketMQ raises the multiplier to no higher power. */
const highestPower = 32;

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const delayForm = /^([0-9]{1,9})(ms|s|m|h|d)$/;

/**
 * Milliseconds before the record is delivered again that failed for the `attempt`th time, counted from 1. `random`: a number from 0
 * up to 1, asked only where there is jitter.
 */
export function delayOf(attempt: number, { policy, jitterPct }: RetrySchedule, random: () => number): number {
  const delayMs = plainDelayOf(Math.max(1, attempt), policy);
  if (jitterPct <= 0) return delayMs;
  return Math.min(longestRetryDelayMs, delayMs + Math.floor((delayMs * jitterPct * random()) / 100));
}

function plainDelayOf(attempt: number, policy: RetryPolicy): number {
  if (policy.kind === 'customized') {
    const { delaysMs } = policy;
    return delaysMs[Math.min(attempt, delaysMs.length) - 1] ?? 0;
  }
  const { initialMs, maxMs, multiplier } = policy;
  return Math.floor(Math.min(maxMs, initialMs * multiplier ** Math.min(attempt - 1, highestPower)));
}

/** The delays that a list such as "10s,30s,1m" says; units ms, s, m, h, d. @throws ConfigError with what is wrong */
export function parseDelays(items: readonly string[]): readonly number[] {
  if (items.length === 0 || items.length > maxDelays) {
    throw new ConfigError(`There must be 1 to ${maxDelays} delays`);
  }
  return items.map((item) => {
    const parts = delayForm.exec(item.trim());
    const delayMs = parts === null ? Number.NaN : Number(parts[1]) * unitsMs[parts[2]!]!;
    if (!(delayMs <= longestRetryDelayMs)) {
      throw new ConfigError(
        `'${item.slice(0, 40)}' is no delay such as 500ms, 10s, 1m, 2h or 1d of at most ${longestRetryDelayMs} ms`,
      );
    }
    return delayMs;
  });
}
