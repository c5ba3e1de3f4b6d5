/**
 * What is known of a half message: a row of the ordered index by producer group and transaction id, and the timer of its next check.
 * Once decided the row says how, so that a repeat is told from a conflict, until a timer forgets it.
 */
import type { IndexChange, IndexCondition } from '../../../storage/engine.ts';
import { hashOf } from '../timers/row-hash.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import { readUint64, type Timer, type TimerSource, timerPut, writeUint64 } from '../timers/timer-row.ts';

export const halfIndex = 'half-messages';

/** The numbers stand in rows. */
const endedCodes = { committed: 2, 'rolled-back': 3, discarded: 4 } as const;
export type HalfEnd = keyof typeof endedCodes;

/** When a committed record is to be delivered: so long after the commit, or at a time. */
export type HalfDelay = { readonly afterMs: number } | { readonly atMs: number } | undefined;

export interface PendingHalf {
  readonly state: 'pending';
  /** Where the one-record batch lies. */
  readonly source: TimerSource;
  /** When the next check is due. */
  readonly checkAtMs: number;
  readonly checks: number;
  readonly bornMs: number;
  readonly topicId: string;
  readonly partition: number;
  /** Of the record; -1 for none. */
  readonly maxTimestampMs: number;
  readonly sizeBytes: number;
  readonly delay: HalfDelay;
  /** The newest question about it in the check topic. */
  readonly asked?: AskedIn;
}

export interface AskedIn {
  readonly partition: number;
  readonly offset: number;
  readonly atMs: number;
}

export interface EndedHalf {
  readonly state: HalfEnd;
  readonly atMs: number;
}

export type HalfState = PendingHalf | EndedHalf;

export interface HalfId {
  readonly producerGroup: string;
  readonly txnId: Buffer;
}

const pendingCode = 1;
/** Rows of transaction-row.ts, which stand among these. */
export const transactionCode = 5;
const offsetAt = 9;
const pendingBytes = 87;
/** Behind it, where it was asked for: partition, offset, time. */
const askedOffsetAt = pendingBytes + 4;
const askedPendingBytes = pendingBytes + 20;
const endedBytes = 9;

export function halfKey({ producerGroup, txnId }: HalfId): Buffer {
  const group = Buffer.from(producerGroup);
  const key = Buffer.allocUnsafe(2 + group.length + txnId.length);
  key.writeUInt16BE(group.length, 0);
  group.copy(key, 2);
  txnId.copy(key, 2 + group.length);
  return key;
}

/** The beginning of all keys of a group. */
export function halfKeysOf(producerGroup: string): Buffer {
  return halfKey({ producerGroup, txnId: Buffer.alloc(0) });
}

export function halfIdOf(key: Buffer): HalfId {
  const length = key.readUInt16BE(0);
  return { producerGroup: key.toString('utf8', 2, 2 + length), txnId: key.subarray(2 + length) };
}

export function encodePending(half: PendingHalf): Buffer {
  const { asked } = half;
  const value = Buffer.alloc(asked === undefined ? pendingBytes : askedPendingBytes);
  value[0] = pendingCode;
  writeUint64(value, half.source.queue, 1);
  writeUint64(value, half.source.offset, offsetAt);
  writeUint64(value, half.checkAtMs, 17);
  value.writeUInt32BE(half.checks, 25);
  writeUint64(value, half.bornMs, 29);
  value.writeUInt32BE(half.partition, 37);
  value.write(half.topicId, 41, 16, 'base64url');
  // One above, so that -1 is 0.
  writeUint64(value, half.maxTimestampMs + 1, 57);
  value.writeUInt32BE(half.sizeBytes, 65);
  const { delay } = half;
  value[69] = delay === undefined ? 0 : 'afterMs' in delay ? 1 : 2;
  if (delay !== undefined) writeUint64(value, 'afterMs' in delay ? delay.afterMs : delay.atMs, 70);
  if (asked !== undefined) {
    value.writeUInt32BE(asked.partition, pendingBytes);
    writeUint64(value, asked.offset, askedOffsetAt);
    writeUint64(value, asked.atMs, askedOffsetAt + 8);
  }
  return value;
}

/** Throws a RangeError on bytes that this version did not write. */
export function readHalf(value: Buffer): HalfState {
  if (value[0] === pendingCode && (value.length === pendingBytes || value.length === askedPendingBytes)) {
    const time = readUint64(value, 70);
    return {
      state: 'pending',
      source: { queue: readUint64(value, 1), offset: readUint64(value, offsetAt) },
      checkAtMs: readUint64(value, 17),
      checks: value.readUInt32BE(25),
      bornMs: readUint64(value, 29),
      partition: value.readUInt32BE(37),
      topicId: value.toString('base64url', 41, 57),
      maxTimestampMs: readUint64(value, 57) - 1,
      sizeBytes: value.readUInt32BE(65),
      delay: value[69] === 0 ? undefined : value[69] === 1 ? { afterMs: time } : { atMs: time },
      ...(value.length === pendingBytes
        ? {}
        : {
            asked: {
              partition: value.readUInt32BE(pendingBytes),
              offset: readUint64(value, askedOffsetAt),
              atMs: readUint64(value, askedOffsetAt + 8),
            },
          }),
    };
  }
  for (const state of Object.keys(endedCodes) as HalfEnd[]) {
    if (endedCodes[state] === value[0]) return { state, atMs: readUint64(value, 1) };
  }
  throw new RangeError(`a half message in an unknown format ${value[0]}`);
}

/** The timer of the next check: its payload is the row's key. */
export function checkTimer(id: HalfId, half: Pick<PendingHalf, 'checkAtMs' | 'source'>): Timer {
  return { kind: timerKinds.halfCheck, dueMs: half.checkAtMs, source: half.source, payload: halfKey(id) };
}

export function halfPut(id: HalfId, half: PendingHalf): IndexChange {
  return { index: halfIndex, key: halfKey(id), value: encodePending(half) };
}

/** The same, where the source is the entry of that number of the group. */
export function halfPutForEntry(id: HalfId, half: PendingHalf, entry: number): IndexChange {
  return { ...halfPut(id, half), offsets: [{ part: 'value', at: offsetAt, entry }] };
}

/** The same, where the question is the entry of that number of the group. */
export function halfPutWithQuestion(id: HalfId, half: PendingHalf, entry: number): IndexChange {
  return { ...halfPut(id, half), offsets: [{ part: 'value', at: askedOffsetAt, entry }] };
}

export function halfHolds(id: HalfId, half: PendingHalf): IndexCondition {
  return { index: halfIndex, key: halfKey(id), expected: encodePending(half) };
}

export function halfIsUnknown(id: HalfId): IndexCondition {
  return { index: halfIndex, key: halfKey(id), expected: null };
}

/** Decided: said in the row, and forgotten `keptMs` later by a timer, both in these changes. */
export function halfEnded(
  id: HalfId,
  state: HalfEnd,
  atMs: number,
  keptMs: number,
): { readonly changes: readonly IndexChange[]; readonly timer: Timer } {
  const key = halfKey(id);
  const value = Buffer.allocUnsafe(endedBytes);
  value[0] = endedCodes[state];
  writeUint64(value, atMs, 1);
  const timer: Timer = {
    kind: timerKinds.halfOutcome,
    dueMs: atMs + keptMs,
    source: { queue: 0, offset: hashOf(key) },
    payload: Buffer.concat([value, key]),
  };
  return { changes: [{ index: halfIndex, key, value }, timerPut(timer)], timer };
}

/** What such a timer forgets, unless the id stands for something newer. */
export function halfToForget(timer: Timer): {
  readonly change: IndexChange;
  readonly condition: IndexCondition;
} {
  const value = timer.payload.subarray(0, endedBytes);
  const key = timer.payload.subarray(endedBytes);
  return {
    change: { index: halfIndex, key, value: null },
    condition: { index: halfIndex, key, expected: value },
  };
}
