// What every generated codec looks like, and the one way to turn a value into buffers that can be written to a socket.
// Knows nothing of any message.
import type { ByteReader } from './wire/byte-reader.ts';
import { ByteWriter } from './wire/byte-writer.ts';

/** Reads and writes one kind of message, in every version. `T` is what is decoded, `I` what may be encoded. */
export interface MessageCodec<T, I = T> {
  /** As Kafka calls it: 'ProduceRequest'. */
  readonly name: string;
  /** -1 for data that is no request or response. */
  readonly apiKey: number;
  readonly minVersion: number;
  /** The highest version the codec knows, stable or not. */
  readonly maxVersion: number;
  /** The first version with compact lengths and tagged fields; NEVER_FLEXIBLE for none. */
  readonly flexibleFrom: number;
  /** Reads a body. Bytes after it are left alone, as Kafka leaves them. Throws MalformedMessageError. */
  decode(reader: ByteReader, version: number): T;
  /** Exact bytes of the body, with records that are passed on by reference. */
  sizeOf(value: I, version: number): number;
  /** How many of those bytes are passed on by reference; absent where a message has no records. */
  referencedSizeOf?(value: I, version: number): number;
  encode(writer: ByteWriter, value: I, version: number): void;
}

/** `flexibleFrom` of a message without flexible versions. */
export const NEVER_FLEXIBLE = 32767;

export function isFlexible(codec: { readonly flexibleFrom: number }, version: number): boolean {
  return version >= codec.flexibleFrom;
}

/** A writer with room for `headerSizeBytes` and the body. */
export function writerFor<I>(
  codec: MessageCodec<unknown, I>,
  value: I,
  version: number,
  headerSizeBytes = 0,
): ByteWriter {
  const bodyBytes = codec.sizeOf(value, version);
  const referencedBytes = codec.referencedSizeOf === undefined ? 0 : codec.referencedSizeOf(value, version);
  return new ByteWriter(headerSizeBytes + bodyBytes - referencedBytes);
}

/**
 * Encodes a body (after `headerBytes`, if any) into as few buffers as there can be: one, or more where big record sets are
 * passed on by reference. The record sets must not change until the buffers are sent.
 */
export function encodeMessage<I>(
  codec: MessageCodec<unknown, I>,
  value: I,
  version: number,
  headerBytes?: Buffer,
): Buffer[] {
  const writer = writerFor(codec, value, version, headerBytes === undefined ? 0 : headerBytes.length);
  if (headerBytes !== undefined) writer.raw(headerBytes);
  codec.encode(writer, value, version);
  return writer.finish();
}

/** encodeMessage in one buffer: for data kept in records, and for tests. */
export function encodeToBuffer<I>(codec: MessageCodec<unknown, I>, value: I, version: number): Buffer {
  const parts = encodeMessage(codec, value, version);
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
