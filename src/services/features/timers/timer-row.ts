/**
 * A timer as a row of the ordered index, where the rows of all kinds stand in the order in which they are due. Knows no kind.
 *
 * Key: due time, kind, source queue, source offset. Value: what the kind's handler keeps with it.
 */
import type { IndexChange, IndexCondition, QueueId } from '../../../storage/engine.ts';

export const timerIndex = 'timers';

const dueAt = 0;
const kindAt = 8;
const queueAt = 9;
const offsetAt = 17;
const keyBytes = 25;

/** What a timer speaks of: an entry of a hidden queue, or (queue 0) a number of its kind's own. */
export interface TimerSource {
  readonly queue: QueueId;
  readonly offset: number;
}

export interface Timer {
  readonly kind: number;
  /** By the wall clock, milliseconds since 1970. */
  readonly dueMs: number;
  readonly source: TimerSource;
  readonly payload: Buffer;
}

/** The row's key: byte order is due order. */
export function timerKey(kind: number, dueMs: number, { queue, offset }: TimerSource): Buffer {
  const key = Buffer.allocUnsafe(keyBytes);
  writeUint64(key, dueMs, dueAt);
  key[kindAt] = kind;
  writeUint64(key, queue, queueAt);
  writeUint64(key, offset, offsetAt);
  return key;
}

export function keyOf(timer: Timer): Buffer {
  return timerKey(timer.kind, timer.dueMs, timer.source);
}

/** The first key of those that are due at this time. */
export function firstKeyDueAt(dueMs: number): Buffer {
  return timerKey(0, dueMs, { queue: 0, offset: 0 });
}

/** Throws a RangeError on bytes that are no timer. */
export function readTimer(key: Buffer, payload: Buffer): Timer {
  if (key.length !== keyBytes) throw new RangeError(`a timer's key has ${keyBytes} bytes, not ${key.length}`);
  return {
    kind: key[kindAt]!,
    dueMs: readUint64(key, dueAt),
    source: { queue: readUint64(key, queueAt), offset: readUint64(key, offsetAt) },
    payload,
  };
}

/** Puts the timer's row. */
export function timerPut(timer: Timer): IndexChange {
  return { index: timerIndex, key: keyOf(timer), value: timer.payload };
}

/**
 * Puts a timer whose source is an entry of the same group: the engine fills in its offset. `plus`: which of the offsets that the
 * entry takes.
 */
export function timerPutForEntry(timer: Timer, entry: number, plus = 0): IndexChange {
  return { ...timerPut(timer), offsets: [{ part: 'key', at: offsetAt, entry, plus }] };
}

export function timerDelete(timer: Timer): IndexChange {
  return { index: timerIndex, key: keyOf(timer), value: null };
}

/** The timer is still there, as it was. */
export function timerHolds(timer: Timer): IndexCondition {
  return { index: timerIndex, key: keyOf(timer), expected: timer.payload };
}

export function writeUint64(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at);
  buffer.writeUInt32BE(value >>> 0, at + 4);
}

export function readUint64(buffer: Buffer, at: number): number {
  return buffer.readUInt32BE(at) * 0x1_0000_0000 + buffer.readUInt32BE(at + 4);
}
