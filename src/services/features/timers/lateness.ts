/** How late timers fire: counts in the buckets of a histogram, milliseconds. */

export const latenessBucketsMs: readonly number[] = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000, 600_000, 3_600_000,
];

export class LatenessHistogram {
  /** One count a bucket and one for what is beyond; not yet added up. */
  readonly counts: number[] = new Array<number>(latenessBucketsMs.length + 1).fill(0);
  total = 0;
  sumMs = 0;

  observe(lateMs: number): void {
    let bucket = 0;
    while (bucket < latenessBucketsMs.length && lateMs > latenessBucketsMs[bucket]!) bucket += 1;
    this.counts[bucket]! += 1;
    this.total += 1;
    this.sumMs += Math.max(0, lateMs);
  }
}
