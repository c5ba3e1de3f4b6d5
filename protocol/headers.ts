// Request and response headers, read and written by hand: they are on every request's path, and their rules have exceptions
// (the client id keeps its 2-byte length in flexible headers, ApiVersions answers never have a flexible one).
import { isFlexible, type MessageCodec } from './message-codec.ts';
import type { ByteReader } from './wire/byte-reader.ts';
import { ByteWriter } from './wire/byte-writer.ts';

export const API_VERSIONS_KEY = 18;
/** ControlledShutdown v0 is the one request whose header has no client id. */
const CONTROLLED_SHUTDOWN_KEY = 7;

const CORRELATION_ID_BYTES = 4;
const FRAME_LENGTH_BYTES = 4;

export interface RequestHeader {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly correlationId: number;
  readonly clientId: string | null;
}

/**
 * Reads a request's header (version 1, or 2 where `isFlexibleRequest` says so of the API and version) and leaves the reader at the
 * body. Throws MalformedMessageError.
 */
export function decodeRequestHeader(
  reader: ByteReader,
  isFlexibleRequest: (apiKey: number, apiVersion: number) => boolean,
): RequestHeader {
  reader.begin('RequestHeader', 1);
  const apiKey = reader.int16('requestApiKey');
  const apiVersion = reader.int16('requestApiVersion');
  const correlationId = reader.int32('correlationId');
  if (apiKey === CONTROLLED_SHUTDOWN_KEY && apiVersion === 0) {
    return { apiKey, apiVersion, correlationId, clientId: null };
  }
  const clientId = reader.nullableString('clientId');
  if (isFlexibleRequest(apiKey, apiVersion)) reader.skipTags('tagged fields');
  return { apiKey, apiVersion, correlationId, clientId };
}

/** The header's bytes of a request, without a frame length: for clients and tests. */
export function encodeRequestHeader(header: RequestHeader, flexible: boolean): Buffer {
  const clientIdBytes = header.clientId === null ? 0 : Buffer.byteLength(header.clientId, 'utf8');
  const writer = new ByteWriter(10 + clientIdBytes + (flexible ? 1 : 0));
  writer.begin('RequestHeader', flexible ? 2 : 1);
  writer.int16(header.apiKey, 'requestApiKey');
  writer.int16(header.apiVersion, 'requestApiVersion');
  writer.int32(header.correlationId, 'correlationId');
  writer.nullableString(header.clientId, 'clientId');
  if (flexible) writer.unsignedVarint(0);
  return writer.finish()[0]!;
}

/** Whether the answer to this request has a flexible header (version 1); ApiVersions answers never do. */
export function hasFlexibleResponseHeader(
  response: { readonly apiKey: number; readonly flexibleFrom: number },
  apiVersion: number,
): boolean {
  return response.apiKey !== API_VERSIONS_KEY && isFlexible(response, apiVersion);
}

/** The header's bytes of a response, without a frame length. */
export function encodeResponseHeader(correlationId: number, flexible: boolean): Buffer {
  const bytes = Buffer.allocUnsafe(CORRELATION_ID_BYTES + (flexible ? 1 : 0));
  bytes.writeInt32BE(correlationId, 0);
  if (flexible) bytes[CORRELATION_ID_BYTES] = 0;
  return bytes;
}

/** Reads a response's header; returns its correlation id. For clients and tests. */
export function decodeResponseHeader(reader: ByteReader, flexible: boolean): number {
  reader.begin('ResponseHeader', flexible ? 1 : 0);
  const correlationId = reader.int32('correlationId');
  if (flexible) reader.skipTags('tagged fields');
  return correlationId;
}

/**
 * A whole response as it goes to the socket: 4-byte length, header and body, in one buffer of the exact size but for record sets
 * that are passed on by reference. Those must not change until they are sent.
 */
export function encodeResponseFrame<I>(
  codec: MessageCodec<unknown, I>,
  value: I,
  apiVersion: number,
  correlationId: number,
): Buffer[] {
  const flexible = hasFlexibleResponseHeader(codec, apiVersion);
  const headerBytes = CORRELATION_ID_BYTES + (flexible ? 1 : 0);
  const bodyBytes = codec.sizeOf(value, apiVersion);
  const referencedBytes =
    codec.referencedSizeOf === undefined ? 0 : codec.referencedSizeOf(value, apiVersion);
  const writer = new ByteWriter(FRAME_LENGTH_BYTES + headerBytes + bodyBytes - referencedBytes);
  writer.begin('ResponseHeader', flexible ? 1 : 0);
  writer.int32(headerBytes + bodyBytes, 'length');
  writer.int32(correlationId, 'correlationId');
  if (flexible) writer.unsignedVarint(0);
  codec.encode(writer, value, apiVersion);
  return writer.finish();
}
