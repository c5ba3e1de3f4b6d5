/**
 * What is known of a Kafka transaction that its application is asked about: a row beside those of half messages, by producer group and a
 * transaction id of its own (transactional id, producer id and epoch), the timer of its next check, and a row by transactional id while it
 * is open. Its end leaves what the end of a half message leaves.
 */
import type { IndexChange, IndexCondition } from '../../../storage/engine.ts';
import type { AskedTransaction } from '../../transactions/timeout-questions.ts';
import { hashOf } from '../timers/row-hash.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import { readUint64, type Timer, timerPut, writeUint64 } from '../timers/timer-row.ts';
import { type AskedIn, type HalfId, halfIndex, halfKey, transactionCode } from './half-row.ts';

/** By transactional id: the key of the row. Only of what is open. */
export const askedIndex = 'asked-transactions';

export interface TransactionRow extends AskedTransaction {
  readonly state: 'transaction';
  readonly checkAtMs: number;
  /** Intervals that went by, whether or not anybody could answer: the transaction holds readers back. */
  readonly checks: number;
  /** The newest question about it in the check topic. */
  readonly asked: AskedIn | undefined;
}

const checkAt = 1;
const checksAt = 9;
const startAt = 13;
const producerAt = 21;
const epochAt = 29;
const askedPartitionAt = 31;
const askedOffsetAt = 35;
const askedTimeAt = 43;
const idAt = 51;

/** What checks and decisions call the transaction: an application that knows its producer id and epoch can say which one it was. */
export function txnIdOf({ transactionalId, producerId, producerEpoch }: AskedTransaction): Buffer {
  return Buffer.from(`${transactionalId}:${producerId}:${producerEpoch}`);
}

export function encodeTransaction(row: TransactionRow): Buffer {
  const id = Buffer.from(row.transactionalId);
  const value = Buffer.alloc(idAt + id.length);
  value[0] = transactionCode;
  writeUint64(value, row.checkAtMs, checkAt);
  value.writeUInt32BE(row.checks, checksAt);
  writeUint64(value, row.startMs, startAt);
  writeUint64(value, row.producerId, producerAt);
  value.writeInt16BE(row.producerEpoch, epochAt);
  if (row.asked !== undefined) {
    value.writeUInt32BE(row.asked.partition, askedPartitionAt);
    writeUint64(value, row.asked.offset, askedOffsetAt);
    writeUint64(value, row.asked.atMs, askedTimeAt);
  }
  id.copy(value, idAt);
  return value;
}

/** Undefined where the row is none of these. */
export function readTransaction(value: Buffer): TransactionRow | undefined {
  if (value[0] !== transactionCode) return undefined;
  const atMs = readUint64(value, askedTimeAt);
  return {
    state: 'transaction',
    checkAtMs: readUint64(value, checkAt),
    checks: value.readUInt32BE(checksAt),
    startMs: readUint64(value, startAt),
    producerId: readUint64(value, producerAt),
    producerEpoch: value.readInt16BE(epochAt),
    asked:
      atMs === 0
        ? undefined
        : {
            partition: value.readUInt32BE(askedPartitionAt),
            offset: readUint64(value, askedOffsetAt),
            atMs,
          },
    transactionalId: value.toString('utf8', idAt),
  };
}

export function transactionTimer(id: HalfId, { checkAtMs }: Pick<TransactionRow, 'checkAtMs'>): Timer {
  const key = halfKey(id);
  return {
    kind: timerKinds.transactionCheck,
    dueMs: checkAtMs,
    source: { queue: 0, offset: hashOf(key) },
    payload: key,
  };
}

/** Row and timer. `question`: the entry of the group that asks. */
export function transactionPut(id: HalfId, row: TransactionRow, question?: number): readonly IndexChange[] {
  const put = { index: halfIndex, key: halfKey(id), value: encodeTransaction(row) };
  return [
    question === undefined
      ? put
      : { ...put, offsets: [{ part: 'value' as const, at: askedOffsetAt, entry: question }] },
    timerPut(transactionTimer(id, row)),
  ];
}

export function transactionHolds(id: HalfId, row: TransactionRow): IndexCondition {
  return { index: halfIndex, key: halfKey(id), expected: encodeTransaction(row) };
}

/** Finds the row by the transactional id; null: it is not open any more. */
export function askedPut(transactionalId: string, id: HalfId | null): IndexChange {
  return { index: askedIndex, key: Buffer.from(transactionalId), value: id === null ? null : halfKey(id) };
}
