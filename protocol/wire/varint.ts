// Sizes of Kafka's variable-length integers: 7 bits a byte, low bits first, the top bit set where more follow.

/** Longest an unsigned 32-bit varint may be. */
export const MAX_VARINT_BYTES = 5;
/** Longest a 64-bit varint may be. */
export const MAX_VARLONG_BYTES = 10;

/** Bytes of an unsigned varint; `value` 0 to 2^32 - 1. */
export function sizeOfUnsignedVarint(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < 0x10000000) return 4;
  return 5;
}

/** Bytes of a zigzag varint; `value` a signed 32-bit integer. */
export function sizeOfVarint(value: number): number {
  return sizeOfUnsignedVarint(((value << 1) ^ (value >> 31)) >>> 0);
}

/** Bytes of a zigzag varlong; `value` a safe integer or a 64-bit bigint. */
export function sizeOfVarlong(value: number | bigint): number {
  if (typeof value === 'number' && value >= -0x40000000 && value < 0x40000000) return sizeOfVarint(value);
  let rest = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n));
  let size = 1;
  while (rest >= 0x80n) {
    rest >>= 7n;
    size += 1;
  }
  return size;
}
