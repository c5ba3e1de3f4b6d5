// Exact 64-bit reading, writing and arithmetic for record formats, in place in a buffer. The number paths come first: real
// offsets and timestamps never leave them.

import { canonicalInt64, type Int64, int64FromWords } from '../wire/int64.ts';

/** The canonical form of a bigint, wrapped to 64 bits as Java's long does. */
export function wrapInt64(value: bigint): Int64 {
  return canonicalInt64(BigInt.asIntN(64, value));
}

/** Reads the 8 big-endian bytes at `at`; the caller has checked that they are there. */
export function readInt64(buffer: Buffer, at: number): Int64 {
  return int64FromWords(buffer.readInt32BE(at), buffer.readUInt32BE(at + 4));
}

/** Writes a 64-bit value in 8 big-endian bytes. */
export function writeInt64(buffer: Buffer, at: number, value: Int64): void {
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new RangeError(`not a safe integer: ${value}`);
    const high = Math.floor(value / 4294967296);
    buffer.writeInt32BE(high, at);
    buffer.writeUInt32BE(value - high * 4294967296, at + 4);
  } else {
    buffer.writeBigInt64BE(value, at);
  }
}

/** a + b, wrapped to 64 bits as Java's long addition does. */
export function addInt64(a: Int64, b: Int64): Int64 {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  return wrapInt64(BigInt(a) + BigInt(b));
}

/** a - b, wrapped to 64 bits. */
export function subtractInt64(a: Int64, b: Int64): Int64 {
  if (typeof a === 'number' && typeof b === 'number') {
    const difference = a - b;
    if (Number.isSafeInteger(difference)) return difference;
  }
  return wrapInt64(BigInt(a) - BigInt(b));
}

/** The larger of the two; exact across number and bigint. */
export function maxInt64(a: Int64, b: Int64): Int64 {
  return a >= b ? a : b;
}

// Variable-length integers of the record format (ByteUtils in Kafka): zig-zag, seven bits a byte, least first.
// A fifth byte's (for 64 bits a tenth byte's) surplus bits are dropped as Java's shift drops them; a sixth (eleventh) byte is an error.

/** Writes a zig-zag varint and returns the position after it. */
export function writeVarint(buffer: Buffer, at: number, value: number): number {
  let zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  let position = at;
  while (zigzag >= 0x80) {
    buffer[position++] = (zigzag & 0x7f) | 0x80;
    zigzag >>>= 7;
  }
  buffer[position++] = zigzag;
  return position;
}

// Up to 2^52 the zig-zag value stays a safe integer and divisions replace 64-bit shifts.
const varlongNumberLimit = 2 ** 52;

/** Writes a zig-zag varlong and returns the position after it. */
export function writeVarlong(buffer: Buffer, at: number, value: Int64): number {
  let position = at;
  if (typeof value === 'number' && value < varlongNumberLimit && value >= -varlongNumberLimit) {
    let zigzag = value >= 0 ? value * 2 : value * -2 - 1;
    while (zigzag >= 0x80) {
      const rest = Math.floor(zigzag / 128);
      buffer[position++] = zigzag - rest * 128 + 0x80;
      zigzag = rest;
    }
    buffer[position++] = zigzag;
    return position;
  }
  let zigzag = zigzag64(value);
  while (zigzag >= 0x80n) {
    buffer[position++] = Number(zigzag & 0x7fn) | 0x80;
    zigzag >>= 7n;
  }
  buffer[position++] = Number(zigzag);
  return position;
}

function zigzag64(value: Int64): bigint {
  const wide = BigInt(value);
  return BigInt.asUintN(64, (wide << 1n) ^ (wide >> 63n));
}

/** Turns the unsigned 64-bit image of a varlong into its signed value. */
export function unzigzag64(zigzag: bigint): Int64 {
  return wrapInt64((zigzag >> 1n) ^ -(zigzag & 1n));
}
