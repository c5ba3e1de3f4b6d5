// Hostile variants of good bytes. It knows where lengths and counts stand, from a reader that notes them while good bytes are read.
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import type { Random } from './random.ts';

/** A length, count or tag in a message: where it is, its bytes, and whether it is a varint. */
export interface LengthPlace {
  readonly offset: number;
  readonly size: number;
  readonly kind: 'int16' | 'int32' | 'varint';
  readonly isArray: boolean;
}

/** Reads as usual and notes where every length stands. */
export class TracingReader extends ByteReader {
  readonly places: LengthPlace[] = [];

  private note(kind: LengthPlace['kind'], from: number, isArray: boolean): void {
    const size = kind === 'int16' ? 2 : kind === 'int32' ? 4 : varintBytes(this.buffer, from);
    this.places.push({ offset: from, size, kind, isArray });
  }

  private tracing<T>(kind: LengthPlace['kind'], isArray: boolean, read: () => T): T {
    const from = this.offset;
    const value = read();
    this.note(kind, from, isArray);
    return value;
  }

  override string(field: string): string {
    return this.tracing('int16', false, () => super.string(field));
  }
  override nullableString(field: string): string | null {
    return this.tracing('int16', false, () => super.nullableString(field));
  }
  override compactString(field: string): string {
    return this.tracing('varint', false, () => super.compactString(field));
  }
  override compactNullableString(field: string): string | null {
    return this.tracing('varint', false, () => super.compactNullableString(field));
  }
  override bytes(field: string): Buffer {
    return this.tracing('int32', false, () => super.bytes(field));
  }
  override nullableBytes(field: string): Buffer | null {
    return this.tracing('int32', false, () => super.nullableBytes(field));
  }
  override compactBytes(field: string): Buffer {
    return this.tracing('varint', false, () => super.compactBytes(field));
  }
  override compactNullableBytes(field: string): Buffer | null {
    return this.tracing('varint', false, () => super.compactNullableBytes(field));
  }
  override records(field: string): Buffer {
    return this.tracing('int32', false, () => super.records(field));
  }
  override nullableRecords(field: string): Buffer | null {
    return this.tracing('int32', false, () => super.nullableRecords(field));
  }
  override compactRecords(field: string): Buffer {
    return this.tracing('varint', false, () => super.compactRecords(field));
  }
  override compactNullableRecords(field: string): Buffer | null {
    return this.tracing('varint', false, () => super.compactNullableRecords(field));
  }
  override arrayLength(min: number, field: string): number {
    return this.tracing('int32', true, () => super.arrayLength(min, field));
  }
  override nullableArrayLength(min: number, field: string): number {
    return this.tracing('int32', true, () => super.nullableArrayLength(min, field));
  }
  override compactArrayLength(min: number, field: string): number {
    return this.tracing('varint', true, () => super.compactArrayLength(min, field));
  }
  override compactNullableArrayLength(min: number, field: string): number {
    return this.tracing('varint', true, () => super.compactNullableArrayLength(min, field));
  }
  override tagCount(field: string): number {
    return this.tracing('varint', false, () => super.tagCount(field));
  }
  override tagEnd(field: string): number {
    return this.tracing('varint', false, () => super.tagEnd(field));
  }
  override skipTags(field: string): void {
    this.tracing('varint', false, () => super.skipTags(field));
  }
}

function varintBytes(buffer: Buffer, offset: number): number {
  let size = 1;
  while (size < 5 && buffer[offset + size - 1]! >= 0x80) size += 1;
  return size;
}

export function unsignedVarint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value >>> 0;
  while (rest >= 0x80) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

const brokenVarints = [
  'ffffffff0f',
  'ffffffffff01',
  'ffffffff7f',
  '8080808000',
  '808080808000',
  '80',
  'ff',
  'ffff',
  '8000',
].map((hex) => Buffer.from(hex, 'hex'));

function replace(bytes: Buffer, offset: number, size: number, by: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, offset), by, bytes.subarray(offset + size)]);
}

function encodeLength(kind: LengthPlace['kind'], value: number): Buffer {
  if (kind === 'varint') return unsignedVarint(value);
  const bytes = Buffer.alloc(kind === 'int16' ? 2 : 4);
  if (kind === 'int16') bytes.writeInt16BE((value << 16) >> 16);
  else bytes.writeInt32BE(value | 0);
  return bytes;
}

/** A length turned giant, negative, slightly wrong or into no varint at all. */
export function breakLength(random: Random, bytes: Buffer, places: readonly LengthPlace[]): Buffer {
  const place = random.pick(places);
  const left = bytes.length - place.offset - place.size;
  if (place.kind === 'varint' && random.oneIn(3)) {
    return replace(bytes, place.offset, place.size, random.pick(brokenVarints));
  }
  const value = random.pick([
    ...[
      -1, -2, -0x80000000, 0x7fffffff, 0x7ffffffe, 0x40000000, 0x10000000, 0x1000000, 0x8000, 0x7fff, 0xffff,
    ],
    ...[
      0,
      1,
      2,
      3,
      127,
      128,
      left - 1,
      left,
      left + 1,
      left + 2,
      left * 2,
      random.below(left + 3),
      random.next(),
    ],
  ]);
  return replace(bytes, place.offset, place.size, encodeLength(place.kind, value));
}

/** An array count as high as the bytes that follow may carry: filler that decodes to as many elements as can be. */
export function fillArray(random: Random, bytes: Buffer, places: readonly LengthPlace[]): Buffer {
  const arrays = places.filter((place) => place.isArray);
  if (arrays.length === 0) return breakLength(random, bytes, places);
  const place = random.pick(arrays);
  const size = random.oneIn(50) ? 200_000 : random.oneIn(4) ? 4000 : 200;
  const filler = Buffer.alloc(size, random.pick([0, 0, 1, 1, 2, 0xff]));
  const count = Math.floor(size / random.pick([1, 2, 3, 4, 6, 8, 12, 16, 24, 32]));
  const by = Buffer.concat([encodeLength(place.kind, count + (place.kind === 'varint' ? 1 : 0)), filler]);
  // With what followed behind the filler, or with nothing behind it.
  return random.oneIn(2)
    ? replace(bytes, place.offset, place.size, by)
    : Buffer.concat([bytes.subarray(0, place.offset), by]);
}

/** Some bytes overwritten, inserted, doubled or cut out. */
export function scramble(random: Random, bytes: Buffer): Buffer {
  let result: Buffer = Buffer.from(bytes);
  for (let left = 1 + random.below(4); left > 0; left -= 1) {
    const at = random.below(result.length + 1);
    const size = Math.min(result.length - at, 1 + random.below(8));
    switch (random.below(6)) {
      case 0:
        for (let i = 0; i < size; i += 1) result[at + i] = random.next();
        break;
      case 1:
        if (size > 0) result[at] = result[at]! ^ (1 << random.below(8));
        break;
      case 2:
        result = replace(result, at, 0, random.bytes(size + 1));
        break;
      case 3:
        result = replace(result, at, size, Buffer.alloc(0));
        break;
      case 4: {
        // A piece twice: elements beyond an array's count, tags beyond theirs.
        const piece = result.subarray(at, at + 1 + random.below(40));
        result = replace(result, at, 0, piece);
        break;
      }
      default:
        if (size > 0) result.fill(random.pick([0, 0x7f, 0x80, 0xff]), at, at + size);
    }
  }
  return result;
}
