/** Metrics of quotas. */
import type { Collector } from './metrics.ts';

/** By what clients had too much of. */
export type ThrottleCounts = Readonly<Record<string, { readonly count: number; readonly sumMs: number }>>;

export function quotaMetrics(figures: ThrottleCounts): Collector {
  return (writer) => {
    writer.family(
      'odradek_throttles_total',
      'counter',
      'Times that a client had to wait for a quota, by kind',
    );
    for (const [kind, { count }] of Object.entries(figures)) writer.sample(count, { kind });
    writer.family(
      'odradek_throttle_seconds_total',
      'counter',
      'Time that clients were told to wait, by kind',
    );
    for (const [kind, { sumMs }] of Object.entries(figures)) writer.sample(sumMs / 1000, { kind });
  };
}
