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

/** Subjects that are told apart; what is beyond is counted together. */
export const maxSubjects = 200;
export const otherSubjects = '(others)';

/** The subject, or where it is counted in a map that tells no more of them apart. */
export function countedAs(subject: string, known: ReadonlyMap<string, unknown>): string {
  return known.has(subject) || known.size < maxSubjects ? subject : otherSubjects;
}

/** How many fired and how late they were together, for each topic. */
export class LatenessBySubject {
  readonly sums = new Map<string, { count: number; sumMs: number }>();

  observe(subject: string, lateMs: number): void {
    const name = countedAs(subject, this.sums);
    const late = Math.max(0, lateMs);
    const sum = this.sums.get(name);
    if (sum === undefined) this.sums.set(name, { count: 1, sumMs: late });
    else {
      sum.count += 1;
      sum.sumMs += late;
    }
  }
}
