// Walks the uncompressed records section of a magic-2 batch, one record at a time, without making an object a record: the
// cursor's fields are the record. Every length is checked against the bytes that are there. It knows nothing of compression.

import type { Int64 } from '../wire/int64.ts';
import { addInt64, unzigzag64 } from './int64-bytes.ts';
import { RecordError } from './record-error.ts';

/** A header as it stands in the record: the key's UTF-8 bytes are kept as they are. Views, not copies. */
export interface RecordHeader {
  readonly key: Buffer;
  readonly value: Buffer | null;
}

/** A record with views of its key, value and headers. */
export interface DecodedRecord {
  readonly offset: Int64;
  readonly timestamp: Int64;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
}

/** Least bytes of a record: length, attributes, two deltas, two null lengths, header count. */
export const leastRecordBytes = 7;

const noHeaders: readonly RecordHeader[] = [];

export interface RecordSection {
  /** Holds the uncompressed records in `[start, end)`. */
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  readonly recordCount: number;
  readonly baseOffset: Int64;
  readonly baseTimestamp: Int64;
  /** Under LogAppendTime, the time that all records have. */
  readonly logAppendTimestamp: Int64 | undefined;
}

/**
 * Usage: `while (cursor.next()) { cursor.offsetDelta ... }`. After the last record it has checked that nothing is left over.
 * @throws RecordError `invalid` from the constructor or `next` for anything that Kafka's own reader refuses
 */
export class RecordCursor {
  /** Position in the batch, counted from 0. */
  index = -1;
  offsetDelta = 0;
  /** The stored delta; `timestamp` is exact and heeds LogAppendTime. */
  timestampDelta: Int64 = 0;
  attributes = 0;
  /** Position of the record's length prefix in `buffer`. */
  startsAt = 0;
  /** Bytes of the record with its length prefix. */
  sizeBytes = 0;
  /** -1 for a null key. */
  keyLength = -1;
  keyStart = 0;
  /** -1 for a null value. */
  valueLength = -1;
  valueStart = 0;
  headerCount = 0;
  readonly recordCount: number;
  readonly buffer: Buffer;
  #headersStart = 0;
  #at: number;
  readonly #end: number;
  readonly #baseOffset: Int64;
  readonly #baseTimestamp: Int64;
  readonly #logAppendTimestamp: Int64 | undefined;

  constructor(section: RecordSection) {
    const { buffer, start, end, recordCount } = section;
    if (start < 0 || end > buffer.length || start > end) throw new RangeError('section outside its buffer');
    if (recordCount < 0) {
      throw new RecordError('invalid', `Found invalid record count ${recordCount} in magic v2 batch`);
    }
    if (recordCount * leastRecordBytes > end - start) {
      throw new RecordError('invalid', `${recordCount} records cannot stand in ${end - start} bytes`);
    }
    this.buffer = buffer;
    this.recordCount = recordCount;
    this.#at = start;
    this.#end = end;
    this.#baseOffset = section.baseOffset;
    this.#baseTimestamp = section.baseTimestamp;
    this.#logAppendTimestamp = section.logAppendTimestamp;
  }

  /** Moves to the next record; false at the end. */
  next(): boolean {
    if (this.index + 1 >= this.recordCount) {
      if (this.#at !== this.#end) {
        throw new RecordError('invalid', 'Incorrect declared batch size, records still remaining in file');
      }
      return false;
    }
    const start = this.#at;
    const bodyLength = this.#varint(this.#end);
    const bodyStart = this.#at;
    const bodyEnd = bodyStart + bodyLength;
    if (bodyLength < 0 || bodyEnd > this.#end) {
      throw new RecordError(
        'invalid',
        `Invalid record size: ${bodyLength} with ${this.#end - bodyStart} bytes left`,
      );
    }
    if (bodyLength < 1) throw new RecordError('invalid', 'Invalid record size: 0');
    this.attributes = this.buffer[this.#at++]!;
    this.timestampDelta = this.#varlong(bodyEnd);
    this.offsetDelta = this.#varint(bodyEnd);
    this.keyLength = this.#length(bodyEnd);
    this.keyStart = this.#at;
    if (this.keyLength > 0) this.#at += this.keyLength;
    this.valueLength = this.#length(bodyEnd);
    this.valueStart = this.#at;
    if (this.valueLength > 0) this.#at += this.valueLength;
    this.headerCount = this.#varint(bodyEnd);
    // A header takes two bytes or more.
    if (this.headerCount < 0 || this.headerCount * 2 > bodyEnd - this.#at) {
      throw new RecordError('invalid', `Found invalid number of record headers ${this.headerCount}`);
    }
    this.#headersStart = this.#at;
    for (let header = 0; header < this.headerCount; header++) {
      const keyLength = this.#length(bodyEnd);
      if (keyLength < 0) throw new RecordError('invalid', `Invalid negative header key size ${keyLength}`);
      this.#at += keyLength;
      const valueLength = this.#length(bodyEnd);
      if (valueLength > 0) this.#at += valueLength;
    }
    if (this.#at !== bodyEnd) {
      throw new RecordError(
        'invalid',
        `Invalid record size: expected to read ${bodyLength} bytes in record payload, but instead read ${this.#at - bodyStart}`,
      );
    }
    this.startsAt = start;
    this.sizeBytes = bodyEnd - start;
    this.index += 1;
    return true;
  }

  /** Offset of the current record, exact. */
  get offset(): Int64 {
    return addInt64(this.#baseOffset, this.offsetDelta);
  }

  /** Timestamp of the current record in ms, exact; the append time under LogAppendTime. */
  get timestamp(): Int64 {
    return this.#logAppendTimestamp ?? addInt64(this.#baseTimestamp, this.timestampDelta);
  }

  /** The current record's key as a view, or null. */
  key(): Buffer | null {
    return this.keyLength < 0 ? null : this.buffer.subarray(this.keyStart, this.keyStart + this.keyLength);
  }

  /** The current record's value as a view, or null. */
  value(): Buffer | null {
    return this.valueLength < 0
      ? null
      : this.buffer.subarray(this.valueStart, this.valueStart + this.valueLength);
  }

  /** The current record's headers as views, in their order. */
  headers(): readonly RecordHeader[] {
    if (this.headerCount === 0) return noHeaders;
    const resume = this.#at;
    this.#at = this.#headersStart;
    const headers: RecordHeader[] = [];
    for (let header = 0; header < this.headerCount; header++) {
      const keyLength = this.#varint(resume);
      const key = this.buffer.subarray(this.#at, this.#at + keyLength);
      this.#at += keyLength;
      const valueLength = this.#varint(resume);
      let value: Buffer | null = null;
      if (valueLength >= 0) {
        value = this.buffer.subarray(this.#at, this.#at + valueLength);
        this.#at += valueLength;
      }
      headers.push({ key, value });
    }
    this.#at = resume;
    return headers;
  }

  /** The current record as an object of views. */
  record(): DecodedRecord {
    return {
      offset: this.offset,
      timestamp: this.timestamp,
      key: this.key(),
      value: this.value(),
      headers: this.headers(),
    };
  }

  /** A varint length whose bytes must stand before `limit`; negative means null. */
  #length(limit: number): number {
    const length = this.#varint(limit);
    if (length > limit - this.#at) {
      throw new RecordError(
        'invalid',
        `Field of ${length} bytes where ${limit - this.#at} are left in the record`,
      );
    }
    return length;
  }

  #varint(limit: number): number {
    const buffer = this.buffer;
    let at = this.#at;
    let zigzag = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (at >= limit) throw new RecordError('invalid', 'Record ends inside a variable-length integer');
      const byte = buffer[at++]!;
      zigzag |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.#at = at;
        return (zigzag >>> 1) ^ -(zigzag & 1);
      }
    }
    throw new RecordError('invalid', 'Varint is too long, the most significant bit in the 5th byte is set');
  }

  #varlong(limit: number): Int64 {
    const buffer = this.buffer;
    let at = this.#at;
    let low = 0;
    // Four bytes hold 28 bits: most deltas end there and need no wide arithmetic.
    for (let shift = 0; shift < 28; shift += 7) {
      if (at >= limit) throw new RecordError('invalid', 'Record ends inside a variable-length integer');
      const byte = buffer[at++]!;
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.#at = at;
        return (low >>> 1) ^ -(low & 1);
      }
    }
    // Up to 49 bits a double is exact.
    let zigzag = low;
    for (let scale = 268435456; scale < 562949953421312; scale *= 128) {
      if (at >= limit) throw new RecordError('invalid', 'Record ends inside a variable-length integer');
      const byte = buffer[at++]!;
      zigzag += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        this.#at = at;
        return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
      }
    }
    let wide = BigInt(zigzag);
    for (let shift = 49n; shift < 70n; shift += 7n) {
      if (at >= limit) throw new RecordError('invalid', 'Record ends inside a variable-length integer');
      const byte = buffer[at++]!;
      wide |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.#at = at;
        return unzigzag64(BigInt.asUintN(64, wide));
      }
    }
    throw new RecordError('invalid', 'Varlong is too long, most significant bit in the 10th byte is set');
  }
}
