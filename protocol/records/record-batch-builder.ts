// Encodes records as one magic-2 batch, to the same bytes as Kafka's MemoryRecordsBuilder where nothing is compressed.
// Sizes are counted first, then everything is written once into one buffer of the exact size.

import type { Int64 } from '../wire/int64.ts';
import { sizeOfVarint, sizeOfVarlong } from '../wire/varint.ts';
import { type CodecName, codecIds, compress } from './compression.ts';
import { maxInt64, subtractInt64, writeInt64, writeVarint, writeVarlong } from './int64-bytes.ts';
import {
  attributeBits,
  batchHeaderBytes,
  batchLayout,
  computeBatchCrc,
  logOverheadBytes,
  NO_LEADER_EPOCH,
  NO_PRODUCER_EPOCH,
  NO_PRODUCER_ID,
  NO_SEQUENCE,
  NO_TIMESTAMP,
  type TimestampType,
} from './record-batch.ts';
import { RecordError } from './record-error.ts';

export interface RecordHeaderInput {
  readonly key: string | Buffer;
  readonly value: Buffer | null;
}

export interface RecordInput {
  /** Default: one above the offset before it; the first has the batch's base offset. */
  readonly offset?: Int64 | undefined;
  /** ms; default -1 (none). */
  readonly timestamp?: Int64 | undefined;
  readonly key?: Buffer | null | undefined;
  readonly value?: Buffer | null | undefined;
  readonly headers?: readonly RecordHeaderInput[] | undefined;
}

export interface BatchOptions {
  /** Default: the first record's offset, or 0. */
  readonly baseOffset?: Int64 | undefined;
  /** Default: the last record's offset. Larger where compaction removed the records at the end. */
  readonly lastOffset?: Int64 | undefined;
  readonly leaderEpoch?: number | undefined;
  readonly codec?: CodecName | undefined;
  /** Compression level in the codec's own scale; default: the codec's default. */
  readonly level?: number | undefined;
  readonly timestampType?: TimestampType | undefined;
  /** What the base timestamp field shall hold; default: the first record's timestamp. */
  readonly baseTimestamp?: Int64 | undefined;
  /** Default: the largest of the records. Under LogAppendTime it is the append time and must be given. */
  readonly maxTimestamp?: Int64 | undefined;
  readonly producerId?: Int64 | undefined;
  readonly producerEpoch?: number | undefined;
  readonly baseSequence?: number | undefined;
  readonly transactional?: boolean | undefined;
  readonly control?: boolean | undefined;
  /** The base timestamp is a delete horizon (KIP-534). */
  readonly deleteHorizon?: boolean | undefined;
}

/** Attributes as the header holds them. */
export function batchAttributesOf(options: BatchOptions): number {
  let attributes: number = codecIds[options.codec ?? 'none'];
  if (options.timestampType === 'LogAppendTime') attributes |= attributeBits.logAppendTime;
  if (options.transactional === true) attributes |= attributeBits.transactional;
  if (options.control === true) attributes |= attributeBits.control;
  if (options.deleteHorizon === true) attributes |= attributeBits.deleteHorizon;
  return attributes;
}

/**
 * One batch of `records` (which may be none, as compaction leaves behind). The result owns its bytes.
 * @throws RecordError `codec-unavailable` when the codec's native package is missing
 */
export function buildRecordBatch(records: readonly RecordInput[], options: BatchOptions = {}): Buffer {
  const section = measureRecords(records, options);
  const compressed = (options.codec ?? 'none') !== 'none';
  const buffer = Buffer.allocUnsafe((compressed ? 0 : batchHeaderBytes) + section.sizeBytes);
  writeRecords(buffer, compressed ? 0 : batchHeaderBytes, section);
  const facts: HeaderFacts = {
    ...options,
    baseOffset: section.baseOffset,
    lastOffsetDelta: section.lastOffsetDelta,
    baseTimestamp: section.baseTimestamp,
    maxTimestamp: section.maxTimestamp,
    recordCount: records.length,
  };
  if (!compressed) return finishBatch(buffer, facts);
  return buildBatchFromSection(buffer, facts);
}

/** What a header says when its records section is already in hand. */
export interface HeaderFacts extends BatchOptions {
  readonly baseOffset: Int64;
  readonly lastOffsetDelta: number;
  readonly baseTimestamp: Int64;
  readonly maxTimestamp: Int64;
  readonly recordCount: number;
}

/** A batch around an uncompressed records section, compressing that with the codec in `facts`. */
export function buildBatchFromSection(section: Buffer, facts: HeaderFacts): Buffer {
  const codec = facts.codec ?? 'none';
  const payload = codec === 'none' ? section : compress(codec, section, { level: facts.level });
  const batch = Buffer.allocUnsafe(batchHeaderBytes + payload.length);
  payload.copy(batch, batchHeaderBytes);
  return finishBatch(batch, facts);
}

/** Writes the header before a records section that already stands at byte 61 of `batch`. */
function finishBatch(batch: Buffer, facts: HeaderFacts): Buffer {
  writeInt64(batch, batchLayout.baseOffset, facts.baseOffset);
  batch.writeInt32BE(batch.length - logOverheadBytes, batchLayout.length);
  batch.writeInt32BE(facts.leaderEpoch ?? NO_LEADER_EPOCH, batchLayout.partitionLeaderEpoch);
  batch.writeInt8(2, batchLayout.magic);
  batch.writeInt16BE(batchAttributesOf(facts), batchLayout.attributes);
  batch.writeInt32BE(facts.lastOffsetDelta, batchLayout.lastOffsetDelta);
  writeInt64(batch, batchLayout.baseTimestamp, facts.baseTimestamp);
  writeInt64(batch, batchLayout.maxTimestamp, facts.maxTimestamp);
  writeInt64(batch, batchLayout.producerId, facts.producerId ?? NO_PRODUCER_ID);
  batch.writeInt16BE(facts.producerEpoch ?? NO_PRODUCER_EPOCH, batchLayout.producerEpoch);
  batch.writeInt32BE(facts.baseSequence ?? NO_SEQUENCE, batchLayout.baseSequence);
  batch.writeInt32BE(facts.recordCount, batchLayout.recordCount);
  batch.writeUInt32BE(computeBatchCrc(batch, 0), batchLayout.crc);
  return batch;
}

interface MeasuredRecords {
  readonly records: readonly RecordInput[];
  readonly bodySizes: Int32Array;
  readonly offsetDeltas: Int32Array;
  readonly timestampDeltas: readonly Int64[];
  readonly sizeBytes: number;
  readonly baseOffset: Int64;
  readonly lastOffsetDelta: number;
  readonly baseTimestamp: Int64;
  readonly maxTimestamp: Int64;
}

function measureRecords(records: readonly RecordInput[], options: BatchOptions): MeasuredRecords {
  const baseOffset = options.baseOffset ?? records[0]?.offset ?? 0;
  const baseTimestamp = options.baseTimestamp ?? records[0]?.timestamp ?? NO_TIMESTAMP;
  const bodySizes = new Int32Array(records.length);
  const offsetDeltas = new Int32Array(records.length);
  const timestampDeltas: Int64[] = [];
  let largest: Int64 = NO_TIMESTAMP;
  let offsetDelta = -1;
  let sizeBytes = 0;
  for (let index = 0; index < records.length; index++) {
    const record = records[index]!;
    offsetDelta =
      record.offset === undefined
        ? offsetDelta + 1
        : int32Delta(subtractInt64(record.offset, baseOffset), 'offset');
    const timestamp = record.timestamp ?? NO_TIMESTAMP;
    const timestampDelta = subtractInt64(timestamp, baseTimestamp);
    largest = maxInt64(largest, timestamp);
    const bodySize = recordBodySizeBytes(record, offsetDelta, timestampDelta);
    bodySizes[index] = bodySize;
    offsetDeltas[index] = offsetDelta;
    timestampDeltas.push(timestampDelta);
    sizeBytes += sizeOfVarint(bodySize) + bodySize;
  }
  const lastOffsetDelta =
    options.lastOffset === undefined
      ? Math.max(offsetDelta, 0)
      : int32Delta(subtractInt64(options.lastOffset, baseOffset), 'last offset');
  if (options.timestampType === 'LogAppendTime' && options.maxTimestamp === undefined) {
    throw new TypeError('a LogAppendTime batch needs maxTimestamp, its append time');
  }
  return {
    records,
    bodySizes,
    offsetDeltas,
    timestampDeltas,
    sizeBytes,
    baseOffset,
    lastOffsetDelta,
    baseTimestamp,
    maxTimestamp: options.maxTimestamp ?? largest,
  };
}

function int32Delta(delta: Int64, what: string): number {
  if (typeof delta === 'number' && delta >= 0 && delta <= 0x7fffffff) return delta;
  throw new RecordError(
    'corrupt',
    `The ${what} is ${delta} away from the base offset, which no batch can hold`,
  );
}

function recordBodySizeBytes(record: RecordInput, offsetDelta: number, timestampDelta: Int64): number {
  const headers = record.headers;
  let size =
    1 +
    sizeOfVarlong(timestampDelta) +
    sizeOfVarint(offsetDelta) +
    fieldSizeBytes(record.key) +
    fieldSizeBytes(record.value) +
    sizeOfVarint(headers === undefined ? 0 : headers.length);
  if (headers !== undefined) {
    for (const header of headers) {
      const keyLength = typeof header.key === 'string' ? Buffer.byteLength(header.key) : header.key.length;
      size += sizeOfVarint(keyLength) + keyLength + fieldSizeBytes(header.value);
    }
  }
  return size;
}

function fieldSizeBytes(field: Buffer | null | undefined): number {
  return field === null || field === undefined ? 1 : sizeOfVarint(field.length) + field.length;
}

function writeRecords(buffer: Buffer, start: number, section: MeasuredRecords): void {
  let at = start;
  for (let index = 0; index < section.records.length; index++) {
    const record = section.records[index]!;
    at = writeVarint(buffer, at, section.bodySizes[index]!);
    buffer[at++] = 0;
    at = writeVarlong(buffer, at, section.timestampDeltas[index]!);
    at = writeVarint(buffer, at, section.offsetDeltas[index]!);
    at = writeField(buffer, at, record.key);
    at = writeField(buffer, at, record.value);
    const headers = record.headers;
    if (headers === undefined) {
      buffer[at++] = 0;
      continue;
    }
    at = writeVarint(buffer, at, headers.length);
    for (const header of headers) {
      if (typeof header.key === 'string') {
        at = writeVarint(buffer, at, Buffer.byteLength(header.key));
        at += buffer.write(header.key, at);
      } else {
        at = writeField(buffer, at, header.key);
      }
      at = writeField(buffer, at, header.value);
    }
  }
  if (at !== buffer.length) throw new Error('record sizes were miscounted');
}

function writeField(buffer: Buffer, start: number, field: Buffer | null | undefined): number {
  if (field === null || field === undefined) return writeVarint(buffer, start, -1);
  const at = writeVarint(buffer, start, field.length);
  field.copy(buffer, at);
  return at + field.length;
}

/** Types of control record that a transaction's end writes (KIP-98); the key is version 0 and this number. */
export const controlTypes = { abort: 0, commit: 1 } as const;
export type EndTransactionResult = keyof typeof controlTypes;

export interface EndTransactionMarker {
  readonly result: EndTransactionResult;
  readonly coordinatorEpoch: number;
}

export interface EndTransactionBatchOptions {
  readonly baseOffset?: Int64 | undefined;
  readonly leaderEpoch?: number | undefined;
  readonly timestamp: Int64;
  readonly producerId: Int64;
  readonly producerEpoch: number;
}

/** The control batch that ends a transaction in one partition, byte for byte as Kafka writes it. */
export function buildEndTransactionMarker(
  marker: EndTransactionMarker,
  options: EndTransactionBatchOptions,
): Buffer {
  const key = Buffer.alloc(4);
  key.writeInt16BE(controlTypes[marker.result], 2);
  const value = Buffer.alloc(6);
  value.writeInt32BE(marker.coordinatorEpoch, 2);
  return buildRecordBatch([{ timestamp: options.timestamp, key, value }], {
    baseOffset: options.baseOffset ?? 0,
    leaderEpoch: options.leaderEpoch,
    producerId: options.producerId,
    producerEpoch: options.producerEpoch,
    transactional: true,
    control: true,
  });
}

/** The marker that a control record carries, or undefined for a control record of another type or a later version's key. */
export function endTransactionMarkerOf(
  key: Buffer | null,
  value: Buffer | null,
): EndTransactionMarker | undefined {
  if (key === null || key.length < 4 || key.readInt16BE(0) < 0 || value === null || value.length < 6)
    return undefined;
  const type = key.readInt16BE(2);
  if (type !== controlTypes.abort && type !== controlTypes.commit) return undefined;
  if (value.readInt16BE(0) < 0) return undefined;
  return {
    result: type === controlTypes.commit ? 'commit' : 'abort',
    coordinatorEpoch: value.readInt32BE(2),
  };
}
