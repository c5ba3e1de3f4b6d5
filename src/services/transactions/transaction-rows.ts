/**
 * What the engine's ordered index keeps of transactions, so that a broker that starts knows what is open and what was aborted
 * without a look at the log. A row is changed in the very append group that it speaks of; offsets that the group itself assigns are
 * put in by the engine.
 *
 *   'o' queue producer offset      -> a batch that may be the first of an open transaction: epoch, begin, transactional id
 *   'a' queue last-offset producer -> an aborted transaction: its first offset, and where the queue was stable then
 *   'h' queue producer source-queue source-offset ordinal -> what a feature holds until the transaction ends: whose it is, and its payload
 */
import type { IndexChange, IndexRange, QueueId } from '../../storage/engine.ts';

export const transactionIndex = 'transactions';

const openPrefix = 0x6f;
const abortedPrefix = 0x61;
const heldPrefix = 0x68;
const rowVersion = 1;
const numberBytes = 8;
const keyBytes = 1 + 3 * numberBytes;
const queueAt = 1;
const secondAt = queueAt + numberBytes;
const thirdAt = secondAt + numberBytes;
const openValueHeadBytes = 1 + 2 + numberBytes;
const abortedValueBytes = 1 + 2 * numberBytes;
const heldKeyBytes = 1 + 5 * numberBytes;
const sourceQueueAt = thirdAt;
const sourceOffsetAt = sourceQueueAt + numberBytes;
const ordinalAt = sourceOffsetAt + numberBytes;
/** Version, feature, epoch, length of the transactional id; then that id and the payload. */
const heldValueHeadBytes = 1 + 1 + 2 + 2;

export interface OpenRow {
  readonly queue: QueueId;
  readonly producerId: number;
  readonly offset: number;
  readonly producerEpoch: number;
  /** ms since 1970 */
  readonly startMs: number;
  readonly transactionalId: string;
}

export interface AbortedRow {
  readonly queue: QueueId;
  /** Of the marker. */
  readonly lastOffset: number;
  readonly producerId: number;
  readonly firstOffset: number;
  /** No transaction of the queue that ends after this one begins before. */
  readonly stableOffset: number;
}

/** What a feature holds of a transaction: an entry that no reader sees, or (of another queue) one that it belongs to. */
export interface HeldRow {
  /** Where it was produced to. */
  readonly queue: QueueId;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly transactionalId: string;
  readonly source: { readonly queue: QueueId; readonly offset: number };
  /** Counts what is held, in the order in which it came. */
  readonly ordinal: number;
  readonly feature: number;
  readonly payload: Buffer;
}

/** A row whose source is the entry at `entry` of the group that it is written in. */
export function putHeldRow(row: HeldRow, entry: number): IndexChange {
  const name = Buffer.from(row.transactionalId);
  const value = Buffer.allocUnsafe(heldValueHeadBytes + name.length + row.payload.length);
  value.writeUInt8(rowVersion, 0);
  value.writeUInt8(row.feature, 1);
  value.writeInt16BE(row.producerEpoch, 2);
  value.writeUInt16BE(name.length, 4);
  name.copy(value, heldValueHeadBytes);
  row.payload.copy(value, heldValueHeadBytes + name.length);
  return {
    index: transactionIndex,
    key: heldKey(row),
    value,
    offsets: [{ part: 'key', at: sourceOffsetAt, entry }],
  };
}

export function deleteHeldRow(row: HeldRow): IndexChange {
  return { index: transactionIndex, key: heldKey(row), value: null };
}

export function decodeHeldRow(key: Buffer, value: Buffer): HeldRow {
  checkVersion(value);
  const payloadAt = heldValueHeadBytes + value.readUInt16BE(4);
  return {
    queue: readNumber(key, queueAt),
    producerId: readNumber(key, secondAt),
    producerEpoch: value.readInt16BE(2),
    transactionalId: value.toString('utf8', heldValueHeadBytes, payloadAt),
    source: { queue: readNumber(key, sourceQueueAt), offset: readNumber(key, sourceOffsetAt) },
    ordinal: readNumber(key, ordinalAt),
    feature: value.readUInt8(1),
    payload: value.subarray(payloadAt),
  };
}

function heldKey({ queue, producerId, source, ordinal }: HeldRow): Buffer {
  const key = Buffer.allocUnsafe(heldKeyBytes);
  key.writeUInt8(heldPrefix, 0);
  writeNumber(key, queue, queueAt);
  writeNumber(key, producerId, secondAt);
  writeNumber(key, source.queue, sourceQueueAt);
  writeNumber(key, source.offset, sourceOffsetAt);
  writeNumber(key, ordinal, ordinalAt);
  return key;
}

/** Every held row, from `after` on (a key, not itself included). */
export function heldRows(after: Buffer | undefined, limit: number): IndexRange {
  return rangeOf(heldPrefix, after, limit);
}

/** The held rows of a producer in a queue. */
export function heldRowsOf(
  queue: QueueId,
  producerId: number,
  after: Buffer | undefined,
  limit: number,
): IndexRange {
  return {
    from: after === undefined ? keyOf(heldPrefix, queue, producerId, 0) : keyAfter(after),
    to: keyOf(heldPrefix, queue, producerId + 1, 0),
    limit,
  };
}

/** A row for the entry at `entry` of the group that it is written in. */
export function putOpenRow(row: Omit<OpenRow, 'offset'>, entry: number): IndexChange {
  const name = Buffer.from(row.transactionalId);
  const value = Buffer.allocUnsafe(openValueHeadBytes + name.length);
  value.writeUInt8(rowVersion, 0);
  value.writeInt16BE(row.producerEpoch, 1);
  writeNumber(value, row.startMs, 3);
  name.copy(value, openValueHeadBytes);
  return {
    index: transactionIndex,
    key: keyOf(openPrefix, row.queue, row.producerId, 0),
    value,
    offsets: [{ part: 'key', at: thirdAt, entry }],
  };
}

export function deleteOpenRow(queue: QueueId, producerId: number, offset: number): IndexChange {
  return { index: transactionIndex, key: keyOf(openPrefix, queue, producerId, offset), value: null };
}

/** `stableOffset` undefined: right behind the marker, which is the entry at `entry` of the group. */
export function putAbortedRow(
  row: { readonly queue: QueueId; readonly producerId: number; readonly firstOffset: number },
  stableOffset: number | undefined,
  entry: number,
): IndexChange {
  const value = Buffer.allocUnsafe(abortedValueBytes);
  value.writeUInt8(rowVersion, 0);
  writeNumber(value, row.firstOffset, 1);
  writeNumber(value, stableOffset ?? 0, 1 + numberBytes);
  const ofKey = { part: 'key', at: secondAt, entry } as const;
  const ofValue = { part: 'value', at: 1 + numberBytes, entry } as const;
  return {
    index: transactionIndex,
    key: keyOf(abortedPrefix, row.queue, 0, row.producerId),
    value,
    offsets: stableOffset === undefined ? [ofKey, ofValue] : [ofKey],
  };
}

export function deleteAbortedRow(row: AbortedRow): IndexChange {
  return {
    index: transactionIndex,
    key: keyOf(abortedPrefix, row.queue, row.lastOffset, row.producerId),
    value: null,
  };
}

export function decodeOpenRow(key: Buffer, value: Buffer): OpenRow {
  checkVersion(value);
  return {
    queue: readNumber(key, queueAt),
    producerId: readNumber(key, secondAt),
    offset: readNumber(key, thirdAt),
    producerEpoch: value.readInt16BE(1),
    startMs: readNumber(value, 3),
    transactionalId: value.toString('utf8', openValueHeadBytes),
  };
}

export function decodeAbortedRow(key: Buffer, value: Buffer): AbortedRow {
  checkVersion(value);
  return {
    queue: readNumber(key, queueAt),
    lastOffset: readNumber(key, secondAt),
    producerId: readNumber(key, thirdAt),
    firstOffset: readNumber(value, 1),
    stableOffset: readNumber(value, 1 + numberBytes),
  };
}

/** Every open row, from `after` on (a key, not itself included). */
export function openRows(after: Buffer | undefined, limit: number): IndexRange {
  return rangeOf(openPrefix, after, limit);
}

/** Aborted transactions from the queue's offset on, in the order of their last offsets; of later queues as well. */
export function abortedRowsFrom(queue: QueueId, lastOffset: number, limit: number): IndexRange {
  return {
    from: keyOf(abortedPrefix, queue, Math.max(lastOffset, 0), 0),
    to: Buffer.from([abortedPrefix + 1]),
    limit,
  };
}

/** The queue's aborted transactions from the offset on. */
export function abortedRowsOf(queue: QueueId, lastOffset: number, limit: number): IndexRange {
  return { ...abortedRowsFrom(queue, lastOffset, limit), to: keyOf(abortedPrefix, queue + 1, 0, 0) };
}

/** The newest of the queue. */
export function newestAbortedRow(queue: QueueId): IndexRange {
  return { ...abortedRowsOf(queue, 0, 1), reverse: true };
}

/** The open rows of a queue. */
export function openRowsOf(queue: QueueId, limit: number): IndexRange {
  return { from: keyOf(openPrefix, queue, 0, 0), to: keyOf(openPrefix, queue + 1, 0, 0), limit };
}

export function keyAfter(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.from([0])]);
}

function rangeOf(prefix: number, after: Buffer | undefined, limit: number): IndexRange {
  return {
    from: after === undefined ? Buffer.from([prefix]) : keyAfter(after),
    to: Buffer.from([prefix + 1]),
    limit,
  };
}

function keyOf(prefix: number, first: number, second: number, third: number): Buffer {
  const key = Buffer.allocUnsafe(keyBytes);
  key.writeUInt8(prefix, 0);
  writeNumber(key, first, queueAt);
  writeNumber(key, second, secondAt);
  writeNumber(key, third, thirdAt);
  return key;
}

function checkVersion(value: Buffer): void {
  const version = value.readUInt8(0);
  if (version !== rowVersion) throw new Error(`unknown format ${version} of a row of transactions`);
}

/** Big endian, so that keys sort by it. */
function writeNumber(buffer: Buffer, value: number, at: number): void {
  buffer.writeBigUInt64BE(BigInt(value), at);
}

function readNumber(buffer: Buffer, at: number): number {
  return Number(buffer.readBigUInt64BE(at));
}
