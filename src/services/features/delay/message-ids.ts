/**
 * What became of the records that carry a message id: rows of the ordered index by topic and id. The newest record of an id counts: one
 * that is sent while another of its id waits takes its place.
 */
import type { IndexChange, IndexCondition } from '../../../storage/engine.ts';
import { hashOf } from '../timers/row-hash.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import { readUint64, type Timer, type TimerSource, timerPut, writeUint64 } from '../timers/timer-row.ts';

export const messageIdIndex = 'delay-message-ids';

/** How the record of an id ended. The numbers stand in rows. */
export const delayOutcomes = { delivered: 2, cancelled: 3, deliveredOnDemand: 4 } as const;
export type DelayOutcome = keyof typeof delayOutcomes;

export type MessageIdState =
  | { readonly state: 'pending'; readonly dueMs: number; readonly source: TimerSource }
  | { readonly state: DelayOutcome; readonly atMs: number };

const pendingCode = 1;
const offsetAt = 17;
const endedBytes = 9;

export function messageIdKey(topicId: string, id: Buffer): Buffer {
  return Buffer.concat([Buffer.from(topicId, 'base64url'), id]);
}

function pendingValue(timer: Timer): Buffer {
  const value = Buffer.allocUnsafe(25);
  value[0] = pendingCode;
  writeUint64(value, timer.dueMs, 1);
  writeUint64(value, timer.source.queue, 9);
  writeUint64(value, timer.source.offset, offsetAt);
  return value;
}

function endedValue(outcome: DelayOutcome, atMs: number): Buffer {
  const value = Buffer.allocUnsafe(endedBytes);
  value[0] = delayOutcomes[outcome];
  writeUint64(value, atMs, 1);
  return value;
}

/** The id stands for this timer's record from now on. `entry`: the source is that entry of the group, `plus` as for its timer. */
export function idPut(topicId: string, id: Buffer, timer: Timer, entry?: number, plus = 0): IndexChange {
  const change = { index: messageIdIndex, key: messageIdKey(topicId, id), value: pendingValue(timer) };
  return entry === undefined
    ? change
    : { ...change, offsets: [{ part: 'value', at: offsetAt, entry, plus }] };
}

/** The id stands for this timer's record. */
export function idHolds(topicId: string, id: Buffer, timer: Timer): IndexCondition {
  return { index: messageIdIndex, key: messageIdKey(topicId, id), expected: pendingValue(timer) };
}

/**
 * The record of this id has ended: said in its row, and forgotten `keptMs` later by a timer, both in these changes. With
 * keptMs 0 it is forgotten at once.
 */
export function idEnded(
  topicId: string,
  id: Buffer,
  outcome: DelayOutcome,
  atMs: number,
  keptMs: number,
): { readonly changes: readonly IndexChange[]; readonly timer: Timer | undefined } {
  const key = messageIdKey(topicId, id);
  if (keptMs <= 0) return { changes: [{ index: messageIdIndex, key, value: null }], timer: undefined };
  const value = endedValue(outcome, atMs);
  const timer: Timer = {
    kind: timerKinds.delayedOutcome,
    dueMs: atMs + keptMs,
    source: { queue: 0, offset: hashOf(key) },
    payload: Buffer.concat([value, key]),
  };
  return { changes: [{ index: messageIdIndex, key, value }, timerPut(timer)], timer };
}

/** The outcome that such a timer speaks of is to be forgotten, unless the id stands for something newer by now. */
export function outcomeToForget(timer: Timer): {
  readonly change: IndexChange;
  readonly condition: IndexCondition;
} {
  const value = timer.payload.subarray(0, endedBytes);
  const key = timer.payload.subarray(endedBytes);
  return {
    change: { index: messageIdIndex, key, value: null },
    condition: { index: messageIdIndex, key, expected: value },
  };
}

/** Throws a RangeError on bytes that this version did not write. */
export function readMessageIdState(value: Buffer): MessageIdState {
  if (value[0] === pendingCode) {
    return {
      state: 'pending',
      dueMs: readUint64(value, 1),
      source: { queue: readUint64(value, 9), offset: readUint64(value, offsetAt) },
    };
  }
  for (const state of Object.keys(delayOutcomes) as DelayOutcome[]) {
    if (delayOutcomes[state] === value[0]) return { state, atMs: readUint64(value, 1) };
  }
  throw new RangeError(`the state of a message id in an unknown format ${value[0]}`);
}
