// Messages of magic 0 and 1, what Kafka before 0.11 spoke: each entry is one message, and a compressed message wraps others.
// Decoding turns an entry into its records; encoding gives the bytes of Kafka's own builder. Conversion is convert.ts's task.

import type { Int64 } from '../wire/int64.ts';
import { type CodecName, codecIds, codecNameOf, compress, decompress } from './compression.ts';
import { crc32 } from './crc32c.ts';
import { addInt64, maxInt64, readInt64, subtractInt64, writeInt64 } from './int64-bytes.ts';
import {
  attributeBits,
  entryBounds,
  logOverheadBytes,
  NO_TIMESTAMP,
  type TimestampType,
} from './record-batch.ts';
import type { DecodedRecord } from './record-cursor.ts';
import { RecordError } from './record-error.ts';

export type LegacyMagic = 0 | 1;
/** Magic 0 has no timestamps and so no type of them. */
export type LegacyTimestampType = TimestampType | 'NoTimestampType';

/** One message as it stands, a wrapper not opened. Key and value are views. */
export interface Message {
  readonly magic: LegacyMagic;
  /** Of a wrapper: the last inner message's (0 from some producers). */
  readonly offset: Int64;
  readonly codec: CodecName;
  readonly timestampType: LegacyTimestampType;
  /** ms; -1 in magic 0. Of a wrapper: the largest inside. */
  readonly timestamp: Int64;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** With offset and length. */
  readonly sizeBytes: number;
}

/** An entry of a message set with its records: one, or a wrapper's. */
export interface MessageEntry extends Message {
  readonly baseOffset: Int64;
  readonly records: readonly DecodedRecord[];
  /** The timestamps that the inner messages carry themselves; a LogAppendTime wrapper's hides them from the records. */
  readonly storedTimestamps: readonly Int64[];
  /** False when inner offsets are not 0, 1, 2 ... (magic 1) or do not rise by one (magic 0): some old producers. */
  readonly offsetsConsecutive: boolean;
}

const noHeaders: readonly never[] = [];

/** Bytes of a message before key and value, with offset and length. */
export function messageOverheadBytes(magic: LegacyMagic): number {
  return magic === 0 ? 26 : 34;
}

/**
 * The message at `at`, every length checked, and its CRC-32.
 * @throws RecordError `truncated`, `corrupt`, `unsupported-magic`, `unsupported-codec`
 */
export function readMessage(buffer: Buffer, at: number, end = buffer.length): Message {
  const bounds = entryBounds(buffer, at, end);
  if (bounds === undefined) throw new RecordError('truncated', 'Message ends before its length says');
  return readMessageWithin(buffer, at, bounds.sizeBytes, bounds.magic);
}

function readMessageWithin(buffer: Buffer, at: number, sizeBytes: number, magic: number): Message {
  if (magic !== 0 && magic !== 1)
    throw new RecordError('unsupported-magic', `Magic ${magic} where 0 or 1 is needed`);
  const end = at + sizeBytes;
  if (sizeBytes < messageOverheadBytes(magic)) {
    throw new RecordError('corrupt', `Message of ${sizeBytes} bytes is too small for magic ${magic}`);
  }
  const storedCrc = buffer.readUInt32BE(at + 12);
  const computedCrc = crc32(buffer, at + 16, end);
  if (storedCrc !== computedCrc) {
    throw new RecordError(
      'corrupt',
      `Record is corrupt (stored crc = ${storedCrc}, computed crc = ${computedCrc})`,
    );
  }
  const attributes = buffer[at + 17]!;
  let position = at + 18;
  let timestamp: Int64 = NO_TIMESTAMP;
  let timestampType: LegacyTimestampType = 'NoTimestampType';
  if (magic === 1) {
    timestamp = readInt64(buffer, position);
    timestampType = (attributes & attributeBits.logAppendTime) === 0 ? 'CreateTime' : 'LogAppendTime';
    position += 8;
  }
  const keyLength = buffer.readInt32BE(position);
  position += 4;
  if (keyLength > end - 4 - position) throw new RecordError('corrupt', `Message key of ${keyLength} bytes`);
  const key = keyLength < 0 ? null : buffer.subarray(position, position + keyLength);
  if (keyLength > 0) position += keyLength;
  const valueLength = buffer.readInt32BE(position);
  position += 4;
  if (valueLength > end - position) throw new RecordError('corrupt', `Message value of ${valueLength} bytes`);
  const value = valueLength < 0 ? null : buffer.subarray(position, position + valueLength);
  if (valueLength > 0) position += valueLength;
  if (position !== end)
    throw new RecordError('corrupt', `${end - position} bytes are left over in a message`);
  return {
    magic,
    offset: readInt64(buffer, at),
    codec: codecNameOf(attributes & attributeBits.codecMask),
    timestampType,
    timestamp,
    key,
    value,
    sizeBytes,
  };
}

/**
 * The entry at `at` with its records. A wrapper's inner messages must have its magic and be uncompressed; one that is cut off
 * at the end is left out, as Kafka does.
 * @throws RecordError
 */
export function readMessageEntry(
  buffer: Buffer,
  at: number,
  limits: { readonly limitBytes?: number | undefined } = {},
): MessageEntry {
  const message = readMessage(buffer, at);
  if (message.codec === 'none') {
    const { offset, timestamp, key, value } = message;
    return {
      ...message,
      baseOffset: offset,
      records: [{ offset, timestamp, key, value, headers: noHeaders }],
      storedTimestamps: [timestamp],
      offsetsConsecutive: true,
    };
  }
  if (message.codec === 'zstd') {
    throw new RecordError(
      'invalid',
      `Invalid wrapper compressionType zstd in a message set of magic ${message.magic}`,
    );
  }
  if (message.value === null) {
    throw new RecordError(
      'invalid',
      `Found invalid compressed record set with null value (magic = ${message.magic})`,
    );
  }
  const inner = innerMessages(
    decompress(message.codec, message.value, { magic: message.magic, limitBytes: limits.limitBytes }),
    message.magic,
  );
  const base = absoluteBaseOffset(message, inner);
  const records: DecodedRecord[] = [];
  let offsetsConsecutive = true;
  const firstOffset = inner[0]!.offset;
  for (const [index, entry] of inner.entries()) {
    const expected = message.magic === 1 ? index : addInt64(firstOffset, index);
    if (entry.offset !== expected) offsetsConsecutive = false;
    records.push({
      offset: addInt64(base, entry.offset),
      timestamp: message.timestampType === 'LogAppendTime' ? message.timestamp : entry.timestamp,
      key: entry.key,
      value: entry.value,
      headers: noHeaders,
    });
  }
  return {
    ...message,
    baseOffset: records[0]!.offset,
    records,
    storedTimestamps: inner.map((entry) => entry.timestamp),
    offsetsConsecutive,
  };
}

function innerMessages(section: Buffer, magic: LegacyMagic): Message[] {
  const inner: Message[] = [];
  let at = 0;
  for (;;) {
    const bounds = entryBounds(section, at);
    if (bounds === undefined) break;
    if (bounds.magic !== magic) {
      throw new RecordError(
        'invalid',
        `Compressed message magic ${bounds.magic} does not match wrapper magic ${magic}`,
      );
    }
    const message = readMessageWithin(section, at, bounds.sizeBytes, magic);
    if (message.codec !== 'none') throw new RecordError('invalid', 'Inner messages must not be compressed');
    inner.push(message);
    at += bounds.sizeBytes;
  }
  if (inner.length === 0) {
    throw new RecordError('invalid', 'Found invalid compressed record set with no inner records');
  }
  return inner;
}

/** What is added to an inner offset. In magic 1 inner offsets are relative and the wrapper has the last one. */
function absoluteBaseOffset(wrapper: Message, inner: readonly Message[]): Int64 {
  // Certain librdkafka versions produce a wrapper offset of 0.
  if (wrapper.magic === 0 || wrapper.offset === 0) return 0;
  const lastInner = inner.at(-1)!.offset;
  if (wrapper.offset < lastInner) {
    throw new RecordError(
      'invalid',
      `Found invalid wrapper offset in compressed v1 message set, wrapper offset '${wrapper.offset}' is less than the last inner message offset '${lastInner}' and it is not zero.`,
    );
  }
  return subtractInt64(wrapper.offset, lastInner);
}

export interface LegacyRecordInput {
  readonly offset: Int64;
  /** ms; not written in magic 0. */
  readonly timestamp: Int64;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
}

export interface MessageSetOptions {
  readonly magic: LegacyMagic;
  readonly codec: CodecName;
  /** Default CreateTime. Magic 0 has none. */
  readonly timestampType?: TimestampType | undefined;
  /** Of a wrapper; default: the largest inside. Under LogAppendTime it is the append time. */
  readonly wrapperTimestamp?: Int64 | undefined;
  readonly level?: number | undefined;
}

/**
 * The records as messages one after the other, or as one compressed wrapper: offsets inside are absolute in magic 0, relative
 * to the first in magic 1; the wrapper has the last. Headers have no place in these formats and are dropped.
 * @throws RecordError `unsupported-codec` for zstd, `codec-unavailable`
 */
export function encodeMessageSet(records: readonly LegacyRecordInput[], options: MessageSetOptions): Buffer {
  const { magic, codec } = options;
  const type = options.timestampType ?? 'CreateTime';
  if (codec === 'none') return encodeMessages(records, magic, 0, type);
  if (codec === 'zstd') {
    throw new RecordError(
      'unsupported-codec',
      'Down-conversion of zstandard-compressed batches is not supported',
    );
  }
  const first = records[0];
  const last = records.at(-1);
  if (first === undefined || last === undefined) return Buffer.alloc(0);
  // The wrapper speaks for the type of all; inner messages are CreateTime.
  const inner = encodeMessages(records, magic, magic === 1 ? first.offset : 0, 'CreateTime');
  const value = compress(codec, inner, { magic, level: options.level });
  const timestamp =
    options.wrapperTimestamp ??
    records.reduce<Int64>((max, record) => maxInt64(max, record.timestamp), NO_TIMESTAMP);
  const wrapper = Buffer.allocUnsafe(messageOverheadBytes(magic) + value.length);
  writeMessage(
    wrapper,
    0,
    { offset: last.offset, timestamp, key: null, value },
    magic,
    last.offset,
    codec,
    type,
  );
  return wrapper;
}

function encodeMessages(
  records: readonly LegacyRecordInput[],
  magic: LegacyMagic,
  offsetBase: Int64,
  type: TimestampType,
): Buffer {
  let sizeBytes = 0;
  for (const record of records) {
    sizeBytes += messageOverheadBytes(magic) + (record.key?.length ?? 0) + (record.value?.length ?? 0);
  }
  const buffer = Buffer.allocUnsafe(sizeBytes);
  let at = 0;
  for (const record of records) {
    at = writeMessage(buffer, at, record, magic, subtractInt64(record.offset, offsetBase), 'none', type);
  }
  return buffer;
}

function writeMessage(
  buffer: Buffer,
  start: number,
  record: LegacyRecordInput,
  magic: LegacyMagic,
  offset: Int64,
  codec: CodecName,
  type: TimestampType,
): number {
  writeInt64(buffer, start, offset);
  buffer[start + 16] = magic;
  let at = start + 18;
  let attributes: number = codecIds[codec];
  if (magic === 1) {
    if (type === 'LogAppendTime') attributes |= attributeBits.logAppendTime;
    writeInt64(buffer, at, record.timestamp);
    at += 8;
  }
  buffer[start + 17] = attributes;
  at = writeField(buffer, at, record.key);
  at = writeField(buffer, at, record.value);
  buffer.writeInt32BE(at - start - logOverheadBytes, start + 8);
  buffer.writeUInt32BE(crc32(buffer, start + 16, at), start + 12);
  return at;
}

function writeField(buffer: Buffer, at: number, field: Buffer | null): number {
  if (field === null) return buffer.writeInt32BE(-1, at);
  const start = buffer.writeInt32BE(field.length, at);
  field.copy(buffer, start);
  return start + field.length;
}
