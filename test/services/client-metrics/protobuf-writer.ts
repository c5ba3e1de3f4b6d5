/** Writes Protocol Buffers fields, for tests. */

function varintBytes(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  do {
    bytes.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    left = Math.floor(left / 128);
  } while (left > 0);
  return Buffer.from(bytes);
}

const tag = (field: number, wireType: number) => varintBytes(field * 8 + wireType);

export function varint(field: number, value: number): Buffer {
  return Buffer.concat([tag(field, 0), varintBytes(value)]);
}

export function fixed64(field: number, value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return Buffer.concat([tag(field, 1), bytes]);
}

export function double(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([tag(field, 1), bytes]);
}

/** A field of bytes: a message, a text or a packed list. */
export function group(field: number, ...parts: readonly Buffer[]): Buffer {
  const bytes = Buffer.concat(parts);
  return Buffer.concat([tag(field, 2), varintBytes(bytes.length), bytes]);
}

export function text(field: number, value: string): Buffer {
  return group(field, Buffer.from(value));
}
