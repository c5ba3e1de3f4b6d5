// The header of a magic-2 record batch (KIP-98), read and patched in place by (buffer, offset): no object, no copy. Every
// accessor trusts that `checkBatchBounds` (or a reader that did the same) has accepted the batch at that offset. What stands
// in the records section is record-cursor.ts's and batch-records.ts's business.

import type { Int64 } from '../wire/int64.ts';
import { crc32c } from './crc32c.ts';
import { addInt64, readInt64, writeInt64 } from './int64-bytes.ts';
import { RecordError } from './record-error.ts';

/** Positions of the header's fields, relative to the start of the batch. */
export const batchLayout = {
  baseOffset: 0,
  length: 8,
  partitionLeaderEpoch: 12,
  magic: 16,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  baseSequence: 53,
  recordCount: 57,
  records: 61,
} as const;

/** Bytes before the records of a magic-2 batch. */
export const batchHeaderBytes = 61;
/** Base offset and length: what precedes the bytes that the length field counts, in every magic. */
export const logOverheadBytes = 12;
/** Bytes up to and with the magic byte, which stands at the same place in every format. */
export const headerToMagicBytes = 17;
/** Least value of the length field in any magic: a magic-0 message without key and value. */
export const leastMessageBytes = 14;

/** Attribute bits. The low three are the codec id (compression.ts). */
export const attributeBits = {
  codecMask: 0x07,
  logAppendTime: 0x08,
  transactional: 0x10,
  control: 0x20,
  deleteHorizon: 0x40,
} as const;

/** A producer id, epoch, sequence, leader epoch or timestamp that is not set. */
export const NO_PRODUCER_ID = -1;
export const NO_PRODUCER_EPOCH = -1;
export const NO_SEQUENCE = -1;
export const NO_LEADER_EPOCH = -1;
export const NO_TIMESTAMP = -1;

export type TimestampType = 'CreateTime' | 'LogAppendTime';

/** Base offset; the first record's, unless compaction removed that. */
export function batchBaseOffset(buffer: Buffer, at: number): Int64 {
  return readInt64(buffer, at);
}

/** Size of the whole batch in bytes: the length field and the 12 bytes before it. */
export function batchSizeBytes(buffer: Buffer, at: number): number {
  return buffer.readInt32BE(at + 8) + logOverheadBytes;
}

/** The length field itself. */
export function batchLength(buffer: Buffer, at: number): number {
  return buffer.readInt32BE(at + 8);
}

export function batchLeaderEpoch(buffer: Buffer, at: number): number {
  return buffer.readInt32BE(at + 12);
}

/** The format: 0, 1 (message-set.ts) or 2. */
export function batchMagic(buffer: Buffer, at: number): number {
  return buffer.readInt8(at + 16);
}

/** The stored CRC-32C, which covers everything from the attributes on. */
export function batchCrc(buffer: Buffer, at: number): number {
  return buffer.readUInt32BE(at + 17);
}

export function batchAttributes(buffer: Buffer, at: number): number {
  return buffer.readInt16BE(at + 21);
}

/** Codec id 0 to 7, of which 0 to 4 exist. */
export function batchCodecId(buffer: Buffer, at: number): number {
  return buffer[at + 22]! & 0x07;
}

export function batchTimestampType(buffer: Buffer, at: number): TimestampType {
  return (buffer[at + 22]! & attributeBits.logAppendTime) === 0 ? 'CreateTime' : 'LogAppendTime';
}

export function batchIsTransactional(buffer: Buffer, at: number): boolean {
  return (buffer[at + 22]! & attributeBits.transactional) !== 0;
}

export function batchIsControl(buffer: Buffer, at: number): boolean {
  return (buffer[at + 22]! & attributeBits.control) !== 0;
}

/** True when the base timestamp field holds the time after which tombstones and markers may go (KIP-534). */
export function batchHasDeleteHorizon(buffer: Buffer, at: number): boolean {
  return (buffer[at + 22]! & attributeBits.deleteHorizon) !== 0;
}

export function batchLastOffsetDelta(buffer: Buffer, at: number): number {
  return buffer.readInt32BE(at + 23);
}

export function batchLastOffset(buffer: Buffer, at: number): Int64 {
  return addInt64(readInt64(buffer, at), buffer.readInt32BE(at + 23));
}

export function batchBaseTimestamp(buffer: Buffer, at: number): Int64 {
  return readInt64(buffer, at + 27);
}

/** Largest timestamp in ms; the append time itself under LogAppendTime; -1 when unset. */
export function batchMaxTimestamp(buffer: Buffer, at: number): Int64 {
  return readInt64(buffer, at + 35);
}

export function batchProducerId(buffer: Buffer, at: number): Int64 {
  return readInt64(buffer, at + 43);
}

export function batchProducerEpoch(buffer: Buffer, at: number): number {
  return buffer.readInt16BE(at + 51);
}

export function batchBaseSequence(buffer: Buffer, at: number): number {
  return buffer.readInt32BE(at + 53);
}

/** Sequence of the last record: wraps from 2147483647 to 0; -1 when there is no base sequence. */
export function batchLastSequence(buffer: Buffer, at: number): number {
  const base = buffer.readInt32BE(at + 53);
  return base === NO_SEQUENCE ? NO_SEQUENCE : incrementSequence(base, buffer.readInt32BE(at + 23));
}

/** `sequence` + `increment` in the producers' number space, which has no negative numbers: 2147483647 + 1 is 0. */
export function incrementSequence(sequence: number, increment: number): number {
  return (sequence + increment) % 2147483648;
}

export function batchRecordCount(buffer: Buffer, at: number): number {
  return buffer.readInt32BE(at + 57);
}

/** The records section as a view (still compressed when the codec id is not 0). */
export function batchRecordsSection(buffer: Buffer, at: number): Buffer {
  return buffer.subarray(at + batchHeaderBytes, at + batchSizeBytes(buffer, at));
}

/** CRC-32C of the batch's bytes from the attributes on, computed now. */
export function computeBatchCrc(buffer: Buffer, at: number): number {
  return crc32c(buffer, at + batchLayout.attributes, at + batchSizeBytes(buffer, at));
}

/** True when the stored CRC is that of the bytes. The batch must be in bounds. */
export function verifyCrc(buffer: Buffer, at: number): boolean {
  return computeBatchCrc(buffer, at) === buffer.readUInt32BE(at + 17);
}

/** Sets the base offset. The CRC does not cover it. */
export function setBatchBaseOffset(buffer: Buffer, at: number, baseOffset: Int64): void {
  writeInt64(buffer, at, baseOffset);
}

/** Sets the leader epoch. The CRC does not cover it. */
export function setBatchLeaderEpoch(buffer: Buffer, at: number, leaderEpoch: number): void {
  buffer.writeInt32BE(leaderEpoch, at + 12);
}

/** Puts in the base offset and leader epoch, which the CRC does not cover. */
export function stampBatch(buffer: Buffer, at: number, baseOffset: Int64, leaderEpoch: number): void {
  writeInt64(buffer, at, baseOffset);
  buffer.writeInt32BE(leaderEpoch, at + 12);
}

/** True when the batch already carries this base offset and leader epoch, so that a reader need not copy it. */
export function isBatchStamped(buffer: Buffer, at: number, baseOffset: Int64, leaderEpoch: number): boolean {
  return buffer.readInt32BE(at + 12) === leaderEpoch && readInt64(buffer, at) === baseOffset;
}

/** True when `sizeBytes` from `at` are exactly one magic-2 batch with the right CRC. Never throws. */
export function isBatchIntact(buffer: Buffer, at: number, sizeBytes: number): boolean {
  return (
    sizeBytes >= batchHeaderBytes &&
    at >= 0 &&
    at + sizeBytes <= buffer.length &&
    batchSizeBytes(buffer, at) === sizeBytes &&
    batchMagic(buffer, at) === 2 &&
    verifyCrc(buffer, at)
  );
}

/**
 * Sets timestamp type and largest timestamp and computes the CRC anew (the CRC covers both). For LogAppendTime, and for a
 * producer that left the largest timestamp unset.
 */
export function setBatchMaxTimestamp(
  buffer: Buffer,
  at: number,
  type: TimestampType,
  maxTimestamp: Int64,
): void {
  const bit = type === 'LogAppendTime' ? attributeBits.logAppendTime : 0;
  buffer[at + 22] = (buffer[at + 22]! & ~attributeBits.logAppendTime) | bit;
  writeInt64(buffer, at + 35, maxTimestamp);
  buffer.writeUInt32BE(computeBatchCrc(buffer, at), at + 17);
}

/** What stands at a position of a record set: an entry of `sizeBytes` in format `magic`, or nothing whole any more. */
export interface EntryBounds {
  readonly sizeBytes: number;
  readonly magic: number;
}

/**
 * Bounds of the entry (batch or old message) at `at`, by Kafka's rule (ByteBufferLogInputStream): undefined when what is left
 * is shorter than the entry, which readers take for the end.
 * @throws RecordError `corrupt` for a length below any message's, `unsupported-magic` for a magic other than 0, 1, 2.
 */
export function entryBounds(buffer: Buffer, at: number, end = buffer.length): EntryBounds | undefined {
  const left = end - at;
  if (left < logOverheadBytes) return undefined;
  const length = buffer.readInt32BE(at + 8);
  if (length < leastMessageBytes) {
    throw new RecordError(
      'corrupt',
      `Record size ${length} is less than the minimum record overhead (${leastMessageBytes})`,
    );
  }
  if (left < headerToMagicBytes) return undefined;
  const magic = buffer.readInt8(at + 16);
  if (magic < 0 || magic > 2) {
    throw new RecordError('unsupported-magic', `Invalid magic found in record: ${magic}`);
  }
  const sizeBytes = length + logOverheadBytes;
  return left < sizeBytes ? undefined : { sizeBytes, magic };
}

/**
 * Refuses a magic-2 batch at `at` whose accessors would read outside `[at, end)`.
 * @throws RecordError `truncated`, `corrupt` or `unsupported-magic`
 */
export function checkBatchBounds(buffer: Buffer, at: number, end = buffer.length): void {
  const bounds = entryBounds(buffer, at, end);
  if (bounds === undefined) throw new RecordError('truncated', 'Record batch ends before its length says');
  if (bounds.magic !== 2)
    throw new RecordError('unsupported-magic', `Magic ${bounds.magic} where 2 is needed`);
  if (bounds.sizeBytes < batchHeaderBytes) {
    throw new RecordError(
      'corrupt',
      `Record batch is corrupt (the size ${bounds.sizeBytes} is smaller than the minimum allowed overhead ${batchHeaderBytes})`,
    );
  }
}
