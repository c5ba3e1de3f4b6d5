// Generators of records, and a check that hostile bytes meet only the error that they may meet.

import fc from 'fast-check';
import { expect } from 'vitest';
import { type CodecName, codecIds } from '../../../protocol/records/compression.ts';
import type { RecordInput } from '../../../protocol/records/record-batch-builder.ts';
import { RecordError } from '../../../protocol/records/record-error.ts';
import { canonicalInt64 } from '../../../protocol/wire/int64.ts';

export const allCodecs = Object.keys(codecIds) as CodecName[];

const bytes = fc.uint8Array({ maxLength: 80 }).map((array) => Buffer.from(array));
const nullableBytes = fc.option(bytes, { nil: null });

/** Any 64-bit value, near the edges of what a double holds and of 64 bits more often than chance would. */
export const int64 = fc.oneof(
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(canonicalInt64),
  fc.integer(),
  fc.constantFrom(0, -1, 2 ** 53 - 1, 2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n)),
);

/** Times as producers send them, none, and now and then anything. */
export const timestamp = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1_600_000_000_000, max: 1_900_000_000_000 }) },
  { weight: 1, arbitrary: fc.constant(-1) },
  { weight: 1, arbitrary: int64 },
);

export const record: fc.Arbitrary<RecordInput> = fc.record({
  timestamp,
  key: nullableBytes,
  value: nullableBytes,
  headers: fc.array(fc.record({ key: bytes, value: nullableBytes }), { maxLength: 3 }),
});

/** Runs hostile input: whatever is thrown must be a RecordError. */
export function onlyRecordErrors(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof RecordError)) throw error;
  }
}

/** The RecordError that `run` must throw. */
export function recordErrorOf(run: () => unknown): RecordError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(RecordError);
    return error as RecordError;
  }
  throw new Error('nothing was thrown');
}

/** Text that compresses well; the same words as in foreign-frames.json. */
export function wordText(length: number): Buffer {
  const words = ['alpha', 'beta', 'gamma', 'delta', 'omega', 'kafka', 'rocket', 'queue', 'offset', 'broker'];
  const parts: string[] = [];
  let state = 12345;
  for (let size = 0; size < length; ) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    const word = `${words[(state >>> 16) % 10]} `;
    parts.push(word);
    size += word.length;
  }
  return Buffer.from(parts.join('').slice(0, length));
}
