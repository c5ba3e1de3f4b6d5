/**
 * That a delivery was said to have failed: a row of the ordered index by group and place, and a timer that forgets it. A second word
 * of the same delivery is known by it.
 */
import type { IndexChange, IndexCondition } from '../../../storage/engine.ts';
import { hashOf } from '../timers/row-hash.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import { readUint64, type Timer, timerPut, writeUint64 } from '../timers/timer-row.ts';

export const seenIndex = 'retry-seen';

export interface SeenId {
  readonly group: string;
  readonly topicId: string;
  readonly partition: number;
  readonly offset: number;
}

const valueBytes = 9;
const formatVersion = 1;

export function seenKey({ group, topicId, partition, offset }: SeenId): Buffer {
  const name = Buffer.from(group);
  const key = Buffer.alloc(2 + name.length + 28);
  key.writeUInt16BE(name.length, 0);
  name.copy(key, 2);
  const at = 2 + name.length;
  key.write(topicId, at, 16, 'base64url');
  key.writeUInt32BE(partition, at + 16);
  writeUint64(key, offset, at + 20);
  return key;
}

/** Until when the row counts. Throws a RangeError on bytes that this version did not write. */
export function readSeenUntilMs(value: Buffer): number {
  if (value[0] !== formatVersion || value.length !== valueBytes) {
    throw new RangeError(`a delivery that failed in an unknown format ${value[0]}`);
  }
  return readUint64(value, 1);
}

/** The row, and the timer that forgets it, put by these changes under the condition that the row is as it was. */
export function seenPut(
  key: Buffer,
  untilMs: number,
  before: Buffer | undefined,
): { readonly changes: readonly IndexChange[]; readonly condition: IndexCondition; readonly timer: Timer } {
  const value = Buffer.allocUnsafe(valueBytes);
  value[0] = formatVersion;
  writeUint64(value, untilMs, 1);
  const timer: Timer = {
    kind: timerKinds.retrySeen,
    dueMs: untilMs,
    source: { queue: 0, offset: hashOf(key) },
    payload: Buffer.concat([value, key]),
  };
  return {
    changes: [{ index: seenIndex, key, value }, timerPut(timer)],
    condition: { index: seenIndex, key, expected: before ?? null },
    timer,
  };
}

/** What such a timer forgets, unless the delivery failed anew. */
export function seenToForget(timer: Timer): {
  readonly change: IndexChange;
  readonly condition: IndexCondition;
} {
  const value = timer.payload.subarray(0, valueBytes);
  const key = timer.payload.subarray(valueBytes);
  return {
    change: { index: seenIndex, key, value: null },
    condition: { index: seenIndex, key, expected: value },
  };
}
