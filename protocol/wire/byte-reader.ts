// Reads Kafka's wire types from hostile bytes. Every length is checked against what is left before anything is allocated.
// Knows nothing of any message: generated code names the fields.
import { MalformedMessageError } from './errors.ts';
import { type Int64, int64FromWords } from './int64.ts';
import { readUtf8 } from './utf8.ts';
import { UUID_BYTES, type Uuid, ZERO_UUID } from './uuid.ts';

/** Elements that all arrays of one message may have together, nested ones too. */
export const MAX_ELEMENTS_PER_MESSAGE = 1_000_000;

/** Longest a string may be in bytes, in the compact form too. */
export const MAX_STRING_BYTES = 0x7fff;

const float64Bytes = Buffer.alloc(8);

export class ByteReader {
  readonly buffer: Buffer;
  /** Where the next read begins. */
  offset: number;
  /** Where reading must stop. */
  end: number;
  /** What is being read, for errors only; decoders set both. */
  messageName = 'bytes';
  messageVersion = 0;
  private elementsLeft = MAX_ELEMENTS_PER_MESSAGE;

  constructor(buffer: Buffer, offset = 0, end = buffer.length) {
    this.buffer = buffer;
    this.offset = offset;
    this.end = end;
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.end - this.offset;
  }

  /** Array elements counted since the reader was made. */
  get elementsRead(): number {
    return MAX_ELEMENTS_PER_MESSAGE - this.elementsLeft;
  }

  /** Names what is read from here on. */
  begin(messageName: string, messageVersion: number): void {
    this.messageName = messageName;
    this.messageVersion = messageVersion;
  }

  malformed(field: string, reason: string): MalformedMessageError {
    return new MalformedMessageError(this.messageName, this.messageVersion, field, reason);
  }

  private tooShort(field: string, needed: number): MalformedMessageError {
    return this.malformed(field, `${needed} bytes needed, ${this.end - this.offset} left`);
  }

  int8(field: string): number {
    const at = this.offset;
    if (at + 1 > this.end) throw this.tooShort(field, 1);
    this.offset = at + 1;
    return (this.buffer[at]! << 24) >> 24;
  }

  bool(field: string): boolean {
    return this.int8(field) !== 0;
  }

  int16(field: string): number {
    const at = this.offset;
    if (at + 2 > this.end) throw this.tooShort(field, 2);
    this.offset = at + 2;
    const buffer = this.buffer;
    return ((buffer[at]! << 24) >> 16) | buffer[at + 1]!;
  }

  uint16(field: string): number {
    return this.int16(field) & 0xffff;
  }

  int32(field: string): number {
    const at = this.offset;
    if (at + 4 > this.end) throw this.tooShort(field, 4);
    this.offset = at + 4;
    const buffer = this.buffer;
    return (buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!;
  }

  uint32(field: string): number {
    return this.int32(field) >>> 0;
  }

  int64(field: string): Int64 {
    const at = this.offset;
    if (at + 8 > this.end) throw this.tooShort(field, 8);
    this.offset = at + 8;
    const buffer = this.buffer;
    const high = (buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!;
    const low = (buffer[at + 4]! << 24) | (buffer[at + 5]! << 16) | (buffer[at + 6]! << 8) | buffer[at + 7]!;
    return int64FromWords(high, low >>> 0);
  }

  float64(field: string): number {
    const at = this.offset;
    if (at + 8 > this.end) throw this.tooShort(field, 8);
    this.offset = at + 8;
    this.buffer.copy(float64Bytes, 0, at, at + 8);
    return float64Bytes.readDoubleBE(0);
  }

  uuid(field: string): Uuid {
    const at = this.offset;
    if (at + UUID_BYTES > this.end) throw this.tooShort(field, UUID_BYTES);
    this.offset = at + UUID_BYTES;
    const buffer = this.buffer;
    let i = at;
    while (i < this.offset && buffer[i] === 0) i += 1;
    return i === this.offset ? ZERO_UUID : buffer.toString('base64url', at, this.offset);
  }

  /** An unsigned varint of at most 32 bits. */
  unsignedVarint(field: string): number {
    const buffer = this.buffer;
    let at = this.offset;
    const end = this.end;
    if (at >= end) throw this.tooShort(field, 1);
    let byte = buffer[at]!;
    at += 1;
    if (byte < 0x80) {
      this.offset = at;
      return byte;
    }
    let value = byte & 0x7f;
    for (let shift = 7; shift < 35; shift += 7) {
      if (at >= end) throw this.tooShort(field, at - this.offset + 1);
      byte = buffer[at]!;
      at += 1;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.offset = at;
        return value >>> 0;
      }
    }
    throw this.malformed(field, 'a varint is longer than 5 bytes');
  }

  /** A zigzag varint of at most 32 bits. */
  varint(field: string): number {
    const raw = this.unsignedVarint(field);
    return (raw >>> 1) ^ -(raw & 1);
  }

  /** A zigzag varint of at most 64 bits. */
  varlong(field: string): Int64 {
    const buffer = this.buffer;
    let at = this.offset;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= this.end) throw this.tooShort(field, at - this.offset + 1);
      const byte = buffer[at]!;
      at += 1;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.offset = at;
        const sign = -(low & 1);
        const zigzagLow = ((low >>> 1) | (high << 31)) ^ sign;
        return int64FromWords((high >>> 1) ^ sign, zigzagLow >>> 0);
      }
    }
    throw this.malformed(field, 'a varlong is longer than 10 bytes');
  }

  string(field: string): string {
    const length = this.int16(field);
    if (length < 0) throw this.malformed(field, `a string's length is ${length}`);
    return this.text(length, field);
  }

  nullableString(field: string): string | null {
    const length = this.int16(field);
    return length < 0 ? null : this.text(length, field);
  }

  compactString(field: string): string {
    const raw = this.unsignedVarint(field);
    if (raw === 0) throw this.malformed(field, 'null where a string must be');
    return this.text(raw - 1, field);
  }

  compactNullableString(field: string): string | null {
    const raw = this.unsignedVarint(field);
    return raw === 0 ? null : this.text(raw - 1, field);
  }

  private text(length: number, field: string): string {
    const at = this.offset;
    if (length > this.end - at) throw this.tooShort(field, length);
    if (length > MAX_STRING_BYTES) throw this.malformed(field, `a string of ${length} bytes`);
    this.offset = at + length;
    return readUtf8(this.buffer, at, length);
  }

  /** A copy: it may outlive the frame. */
  bytes(field: string): Buffer {
    return Buffer.from(this.view(this.lengthOrThrow(field), field));
  }

  nullableBytes(field: string): Buffer | null {
    const length = this.int32(field);
    return length < 0 ? null : Buffer.from(this.view(length, field));
  }

  compactBytes(field: string): Buffer {
    return Buffer.from(this.view(this.compactLengthOrThrow(field), field));
  }

  compactNullableBytes(field: string): Buffer | null {
    const raw = this.unsignedVarint(field);
    return raw === 0 ? null : Buffer.from(this.view(raw - 1, field));
  }

  /** A view of the frame, not a copy: whoever keeps it keeps the frame. */
  records(field: string): Buffer {
    return this.view(this.lengthOrThrow(field), field);
  }

  nullableRecords(field: string): Buffer | null {
    const length = this.int32(field);
    return length < 0 ? null : this.view(length, field);
  }

  compactRecords(field: string): Buffer {
    return this.view(this.compactLengthOrThrow(field), field);
  }

  compactNullableRecords(field: string): Buffer | null {
    const raw = this.unsignedVarint(field);
    return raw === 0 ? null : this.view(raw - 1, field);
  }

  /** The next `length` bytes as a view. */
  view(length: number, field: string): Buffer {
    const at = this.offset;
    if (length > this.end - at) throw this.tooShort(field, length);
    this.offset = at + length;
    return this.buffer.subarray(at, at + length);
  }

  skip(length: number, field: string): void {
    if (length > this.end - this.offset) throw this.tooShort(field, length);
    this.offset += length;
  }

  private lengthOrThrow(field: string): number {
    const length = this.int32(field);
    if (length < 0) throw this.malformed(field, `a length of ${length}`);
    return length;
  }

  private compactLengthOrThrow(field: string): number {
    const raw = this.unsignedVarint(field);
    if (raw === 0) throw this.malformed(field, 'null where bytes must be');
    return raw - 1;
  }

  /** An array's count; `minElementBytes` is the least that one element takes. */
  arrayLength(minElementBytes: number, field: string): number {
    const count = this.int32(field);
    if (count < 0) throw this.malformed(field, `an array's length is ${count}`);
    return this.countElements(count, minElementBytes, field);
  }

  /** An array's count, or -1 for null. */
  nullableArrayLength(minElementBytes: number, field: string): number {
    const count = this.int32(field);
    return count < 0 ? -1 : this.countElements(count, minElementBytes, field);
  }

  compactArrayLength(minElementBytes: number, field: string): number {
    const raw = this.unsignedVarint(field);
    if (raw === 0) throw this.malformed(field, 'null where an array must be');
    return this.countElements(raw - 1, minElementBytes, field);
  }

  compactNullableArrayLength(minElementBytes: number, field: string): number {
    const raw = this.unsignedVarint(field);
    return raw === 0 ? -1 : this.countElements(raw - 1, minElementBytes, field);
  }

  private countElements(count: number, minElementBytes: number, field: string): number {
    const left = this.end - this.offset;
    if (count * minElementBytes > left) {
      throw this.malformed(field, `${count} elements cannot be in the ${left} bytes left`);
    }
    if (count > this.elementsLeft) {
      throw this.malformed(field, `more than ${MAX_ELEMENTS_PER_MESSAGE} elements in one message`);
    }
    this.elementsLeft -= count;
    return count;
  }

  /** The count of tagged fields that follow. */
  tagCount(field: string): number {
    const count = this.unsignedVarint(field);
    // A tag and a size: two bytes at least.
    if (count * 2 > this.end - this.offset)
      throw this.malformed(field, `${count} tagged fields cannot be in the bytes left`);
    return count;
  }

  /** Reads a tagged field's size and checks that it fits; returns where the field must end. */
  tagEnd(field: string): number {
    const size = this.unsignedVarint(field);
    if (size > this.end - this.offset) throw this.tooShort(field, size);
    return this.offset + size;
  }

  /** Checks that a tagged field took exactly the size it declared. */
  endTag(tagEnd: number, field: string): void {
    if (this.offset !== tagEnd) {
      throw this.malformed(field, `a tagged field ends at ${this.offset} and said ${tagEnd}`);
    }
  }

  /** Skips a whole section of tagged fields, none of which we know. */
  skipTags(field: string): void {
    if (this.offset < this.end && this.buffer[this.offset] === 0) {
      this.offset += 1;
      return;
    }
    for (let count = this.tagCount(field); count > 0; count -= 1) {
      this.unsignedVarint(field);
      this.skip(this.unsignedVarint(field), field);
    }
  }
}
