// Kafka's uuids: 16 bytes, shown as base64url without padding (22 characters), which is also how we hold them.

/** base64url without padding, 22 characters. */
export type Uuid = string;

export const UUID_BYTES = 16;
export const ZERO_UUID: Uuid = 'AAAAAAAAAAAAAAAAAAAAAA';

const PATTERN = /^[A-Za-z0-9_-]{21}[AQgw]$/;

/** True for the text form of a uuid: 22 base64url characters whose last holds no stray bits. */
export function isUuid(text: string): boolean {
  return PATTERN.test(text);
}

/** The text form of 16 bytes. */
export function uuidFromBytes(bytes: Buffer, offset = 0): Uuid {
  return bytes.toString('base64url', offset, offset + UUID_BYTES);
}

/** The 16 bytes of a text form. Throws RangeError where it is none. */
export function uuidToBytes(uuid: Uuid): Buffer {
  if (!isUuid(uuid)) throw new RangeError(`'${uuid}' is not a uuid`);
  return Buffer.from(uuid, 'base64url');
}
