// Writes Kafka's wire types into one buffer whose exact size is known before; big record sets stay where they are and are
// put between parts of it. Knows nothing of any message.
import { UnencodableMessageError } from './errors.ts';
import { type Int64, isInt64 } from './int64.ts';
import { utf8Size, writeUtf8 } from './utf8.ts';
import { isUuid, UUID_BYTES, type Uuid, ZERO_UUID } from './uuid.ts';
import { sizeOfUnsignedVarint } from './varint.ts';

/** Record sets below this size are copied into the message; from it on they are passed on by reference. */
export const MIN_REFERENCED_RECORDS_BYTES = 1024;

const MAX_STRING_BYTES = 0x7fff;
const WORD = 4294967296;

/** What a `records` field may be given as: one buffer, or several that follow one another. */
export type RecordsInput = Buffer | readonly Buffer[] | null;

/** Bytes of a record set; a null one has none. */
export function recordsSize(records: RecordsInput): number {
  if (records === null) return 0;
  if (!Array.isArray(records)) return (records as Buffer).length;
  let size = 0;
  for (const part of records as readonly Buffer[]) size += part.length;
  return size;
}

/** Bytes of a record set that will be passed on by reference. */
export function referencedSize(records: RecordsInput): number {
  const size = recordsSize(records);
  return size >= MIN_REFERENCED_RECORDS_BYTES ? size : 0;
}

/** Bytes of a string with a 2-byte length. */
export function stringSize(text: string): number {
  return 2 + utf8Size(text);
}

/** Bytes of a string with a varint length. */
export function compactStringSize(text: string): number {
  const size = utf8Size(text);
  return sizeOfUnsignedVarint(size + 1) + size;
}

/** Bytes of a byte string of `length` with a varint length. */
export function compactBytesSize(length: number): number {
  return sizeOfUnsignedVarint(length + 1) + length;
}

export class ByteWriter {
  /** What is being written, for errors only; encoders set both. */
  messageName = 'bytes';
  messageVersion = 0;
  private readonly buffer: Buffer;
  private offset = 0;
  private chunkStart = 0;
  private parts: Buffer[] | undefined;

  /** `sizeBytes`: what will be written, without what is passed on by reference. */
  constructor(sizeBytes: number) {
    this.buffer = Buffer.allocUnsafe(sizeBytes);
  }

  /** Names what is written from here on. */
  begin(messageName: string, messageVersion: number): void {
    this.messageName = messageName;
    this.messageVersion = messageVersion;
  }

  /** What was written, in order. Throws where the size given was wrong: an encoder's size and bytes must never differ. */
  finish(): Buffer[] {
    if (this.offset !== this.buffer.length) {
      throw new Error(
        `${this.messageName} v${this.messageVersion}: ${this.offset} bytes were written into a buffer of ${this.buffer.length}`,
      );
    }
    if (this.parts === undefined) return [this.buffer];
    if (this.offset > this.chunkStart) this.parts.push(this.buffer.subarray(this.chunkStart, this.offset));
    return this.parts;
  }

  unencodable(field: string, reason: string): UnencodableMessageError {
    return new UnencodableMessageError(this.messageName, this.messageVersion, field, reason);
  }

  /** The value where it is not null; throws where the version asked for has no null here. */
  notNull<T>(value: T | null, field: string): T {
    if (value === null) throw this.unencodable(field, 'null');
    return value;
  }

  int8(value: number, field: string): void {
    if ((value << 24) >> 24 !== value) throw this.unencodable(field, `${value} is no int8`);
    this.buffer[this.offset] = value;
    this.offset += 1;
  }

  bool(value: boolean): void {
    this.buffer[this.offset] = value ? 1 : 0;
    this.offset += 1;
  }

  int16(value: number, field: string): void {
    if ((value << 16) >> 16 !== value) throw this.unencodable(field, `${value} is no int16`);
    const at = this.offset;
    this.buffer[at] = value >> 8;
    this.buffer[at + 1] = value;
    this.offset = at + 2;
  }

  uint16(value: number, field: string): void {
    if ((value & 0xffff) !== value) throw this.unencodable(field, `${value} is no uint16`);
    const at = this.offset;
    this.buffer[at] = value >> 8;
    this.buffer[at + 1] = value;
    this.offset = at + 2;
  }

  int32(value: number, field: string): void {
    if ((value | 0) !== value) throw this.unencodable(field, `${value} is no int32`);
    this.word(value);
  }

  uint32(value: number, field: string): void {
    if (value >>> 0 !== value) throw this.unencodable(field, `${value} is no uint32`);
    this.word(value);
  }

  private word(value: number): void {
    const at = this.offset;
    const buffer = this.buffer;
    buffer[at] = value >> 24;
    buffer[at + 1] = value >> 16;
    buffer[at + 2] = value >> 8;
    buffer[at + 3] = value;
    this.offset = at + 4;
  }

  int64(value: Int64, field: string): void {
    if (typeof value === 'number' && Number.isSafeInteger(value)) {
      const high = Math.floor(value / WORD);
      this.word(high);
      this.word(value - high * WORD);
      return;
    }
    if (!isInt64(value)) throw this.unencodable(field, `${value} is no exact int64`);
    this.offset = this.buffer.writeBigInt64BE(value as bigint, this.offset);
  }

  float64(value: number): void {
    this.offset = this.buffer.writeDoubleBE(value, this.offset);
  }

  uuid(value: Uuid, field: string): void {
    const at = this.offset;
    if (value === ZERO_UUID) this.buffer.fill(0, at, at + UUID_BYTES);
    else {
      if (!isUuid(value)) throw this.unencodable(field, `'${value}' is no uuid`);
      this.buffer.write(value, at, UUID_BYTES, 'base64url');
    }
    this.offset = at + UUID_BYTES;
  }

  unsignedVarint(value: number): void {
    const buffer = this.buffer;
    let at = this.offset;
    let rest = value;
    while (rest >= 0x80) {
      buffer[at] = rest | 0x80;
      at += 1;
      rest >>>= 7;
    }
    buffer[at] = rest;
    this.offset = at + 1;
  }

  /** A zigzag varint of 32 bits. */
  varint(value: number): void {
    this.unsignedVarint(((value << 1) ^ (value >> 31)) >>> 0);
  }

  /** A zigzag varint of 64 bits. */
  varlong(value: Int64): void {
    if (typeof value === 'number' && value >= -0x40000000 && value < 0x40000000) {
      this.varint(value);
      return;
    }
    let rest = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n));
    while (rest >= 0x80n) {
      this.buffer[this.offset] = Number(rest & 0x7fn) | 0x80;
      this.offset += 1;
      rest >>= 7n;
    }
    this.buffer[this.offset] = Number(rest);
    this.offset += 1;
  }

  string(text: string, field: string): void {
    const size = utf8Size(text);
    if (size > MAX_STRING_BYTES) throw this.unencodable(field, `a string of ${size} bytes`);
    this.buffer[this.offset] = size >> 8;
    this.buffer[this.offset + 1] = size;
    writeUtf8(this.buffer, text, this.offset + 2, size);
    this.offset += 2 + size;
  }

  nullableString(text: string | null, field: string): void {
    if (text === null) this.int16(-1, field);
    else this.string(text, field);
  }

  compactString(text: string, field: string): void {
    const size = utf8Size(text);
    if (size > MAX_STRING_BYTES) throw this.unencodable(field, `a string of ${size} bytes`);
    this.unsignedVarint(size + 1);
    writeUtf8(this.buffer, text, this.offset, size);
    this.offset += size;
  }

  compactNullableString(text: string | null, field: string): void {
    if (text === null) this.unsignedVarint(0);
    else this.compactString(text, field);
  }

  bytes(value: Uint8Array): void {
    this.word(value.length);
    this.raw(value);
  }

  nullableBytes(value: Uint8Array | null): void {
    if (value === null) this.word(-1);
    else this.bytes(value);
  }

  compactBytes(value: Uint8Array): void {
    this.unsignedVarint(value.length + 1);
    this.raw(value);
  }

  compactNullableBytes(value: Uint8Array | null): void {
    if (value === null) this.unsignedVarint(0);
    else this.compactBytes(value);
  }

  records(value: RecordsInput): void {
    this.word(value === null ? -1 : recordsSize(value));
    if (value !== null) this.recordBytes(value);
  }

  compactRecords(value: RecordsInput): void {
    this.unsignedVarint(value === null ? 0 : recordsSize(value) + 1);
    if (value !== null) this.recordBytes(value);
  }

  private recordBytes(value: Buffer | readonly Buffer[]): void {
    const byReference = referencedSize(value) > 0;
    if (!Array.isArray(value)) {
      if (byReference) this.reference(value as Buffer);
      else this.raw(value as Buffer);
      return;
    }
    for (const part of value as readonly Buffer[]) {
      if (byReference) this.reference(part);
      else this.raw(part);
    }
  }

  /** Copies bytes in. */
  raw(value: Uint8Array): void {
    this.buffer.set(value, this.offset);
    this.offset += value.length;
  }

  /** Puts a buffer after what was written so far without copying it; whoever owns it must leave it alone until it is sent. */
  reference(value: Buffer): void {
    if (value.length === 0) return;
    this.parts ??= [];
    if (this.offset > this.chunkStart) this.parts.push(this.buffer.subarray(this.chunkStart, this.offset));
    this.parts.push(value);
    this.chunkStart = this.offset;
  }

  arrayLength(count: number): void {
    this.word(count);
  }

  compactArrayLength(count: number): void {
    this.unsignedVarint(count + 1);
  }
}
