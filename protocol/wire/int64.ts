// 64-bit integers: a `number` where that is exact, a `bigint` elsewhere. Every value has one form only (canonical), so === compares.

/** A signed 64-bit integer: a number when it is a safe integer, else a bigint. */
export type Int64 = number | bigint;

export const MIN_INT64 = -(2n ** 63n);
export const MAX_INT64 = 2n ** 63n - 1n;

const WORD = 4294967296;
// The high words between which every value is a safe integer; -0x200000 itself holds one that is not (-2^53).
const MAX_SAFE_HIGH_WORD = 0x1fffff;
const MIN_SAFE_HIGH_WORD = -0x200000;

/** Joins two 32-bit words; `high` signed, `low` unsigned. */
export function int64FromWords(high: number, low: number): Int64 {
  if (
    high <= MAX_SAFE_HIGH_WORD &&
    high >= MIN_SAFE_HIGH_WORD &&
    (high !== MIN_SAFE_HIGH_WORD || low !== 0)
  ) {
    return high * WORD + low;
  }
  return (BigInt(high) << 32n) | BigInt(low);
}

/** The canonical form of any 64-bit value. Throws RangeError outside 64 bits. */
export function canonicalInt64(value: bigint): Int64 {
  if (value < MIN_INT64 || value > MAX_INT64) throw new RangeError(`${value} does not fit 64 bits`);
  const asNumber = Number(value);
  return Number.isSafeInteger(asNumber) ? asNumber : value;
}

/** True where the value is one that 64 bits hold exactly. */
export function isInt64(value: unknown): value is Int64 {
  return typeof value === 'number'
    ? Number.isSafeInteger(value)
    : typeof value === 'bigint' && value >= MIN_INT64 && value <= MAX_INT64;
}

/** The value as a safe integer; throws RangeError where it is none. `what` names it in the error. */
export function safeInteger(value: Int64, what = 'value'): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  const asNumber = Number(value);
  if (Number.isSafeInteger(asNumber)) return asNumber;
  throw new RangeError(`${what} ${value} is not a safe integer`);
}

/** The value as a safe integer, or undefined where it is none. */
export function safeIntegerOrUndefined(value: Int64): number | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : undefined;
  const asNumber = Number(value);
  return Number.isSafeInteger(asNumber) ? asNumber : undefined;
}

/** Decimal text to the canonical form. Throws SyntaxError or RangeError. */
export function int64FromText(text: string): Int64 {
  return canonicalInt64(BigInt(text));
}
