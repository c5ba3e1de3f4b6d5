/** Sums over rows and over entries, a segment each: where both are equal the two sides need not be compared one by one. */
import { segmentOf } from '../location.ts';

export interface Sum {
  rows: number;
  low: number;
  high: number;
}

const scratch = new Float64Array(6);
const words = new Uint32Array(scratch.buffer);

/** Adds one row to its segment's sum; sums of the same rows are equal in whatever order they come. */
export function addTo(
  sums: Map<number, Sum>,
  location: number,
  queue: number,
  baseOffset: number,
  count: number,
  sizeBytes: number,
  maxTimestampMs: number,
): void {
  scratch[0] = location;
  scratch[1] = queue;
  scratch[2] = baseOffset;
  scratch[3] = count;
  scratch[4] = sizeBytes;
  scratch[5] = maxTimestampMs;
  let low = 0x9e3779b1;
  let high = 0x85ebca6b;
  for (const word of words) {
    low = Math.imul(low ^ word, 0xcc9e2d51);
    low ^= low >>> 15;
    high = Math.imul(high ^ low ^ word, 0x1b873593);
    high ^= high >>> 13;
  }
  const segment = segmentOf(location);
  let sum = sums.get(segment);
  if (sum === undefined) {
    sum = { rows: 0, low: 0, high: 0 };
    sums.set(segment, sum);
  }
  sum.rows++;
  sum.low = (sum.low + low) | 0;
  sum.high = (sum.high + high) | 0;
}
