/** Index rows that name an entry of their own group: the engine puts the offsets in when it fixes the group's order. */
import { assert } from '../util/assert.ts';
import type { AppendEntry, IndexChange, QueueId } from './engine.ts';

/** Bytes that an offset takes in a row: big endian, so that rows sort by it. */
const offsetBytes = 8;

/** The changes with their offsets in place, or the same list where none asks for any. */
export function withOffsets(
  changes: readonly IndexChange[],
  baseOffsetOf: (entry: number) => number,
): readonly IndexChange[] {
  if (!changes.some((change) => change.offsets !== undefined)) return changes;
  return changes.map(({ index, key, value, offsets }) => {
    if (offsets === undefined) return { index, key, value };
    const filled = { index, key: Buffer.from(key), value: value === null ? null : Buffer.from(value) };
    for (const { part, at, entry, plus } of offsets) {
      const bytes = part === 'key' ? filled.key : filled.value;
      assert(bytes !== null && at >= 0 && at + offsetBytes <= bytes.length, 'an offset lies inside its row');
      bytes.writeBigUInt64BE(BigInt(baseOffsetOf(entry) + (plus ?? 0)), at);
    }
    return filled;
  });
}

/** The offsets that entries get when they follow each other, from each queue's next one on. */
export function offsetsFrom(
  entries: readonly AppendEntry[],
  nextOffsetOf: (entry: number) => number,
): readonly number[] {
  const ends = new Map<QueueId, number>();
  return entries.map(({ queue, count }, at) => {
    const baseOffset = ends.get(queue) ?? nextOffsetOf(at);
    ends.set(queue, baseOffset + count);
    return baseOffset;
  });
}
