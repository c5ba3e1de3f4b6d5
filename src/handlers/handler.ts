/**
 * What an API handler is and what it is told about its request. Knows nothing of sockets: `connection/` decodes, calls,
 * and encodes.
 */
import type { ByteReader } from '../../protocol/wire/byte-reader.ts';
import type { ByteWriter } from '../../protocol/wire/byte-writer.ts';

/** The decoding half of a MessageCodec. */
export interface RequestCodec<Request> {
  readonly name: string;
  readonly flexibleFrom: number;
  decode(reader: ByteReader, version: number): Request;
}

/** The encoding half of a MessageCodec. */
export interface ResponseCodec<Response> {
  readonly name: string;
  readonly flexibleFrom: number;
  sizeOf(value: Response, version: number): number;
  encode(writer: ByteWriter, value: Response, version: number): void;
}

/** One configured address that clients connect to, and what they are told to connect to. */
export interface ListenerInfo {
  readonly name: string;
  readonly securityProtocol: string;
  readonly advertisedHost: string;
  readonly advertisedPort: number;
}

/** One client connection, as handlers may know it. */
export interface ClientConnection {
  readonly id: number;
  readonly listener: ListenerInfo;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** From ApiVersions 3+ (KIP-511); set by its handler. */
  clientSoftwareName: string | undefined;
  clientSoftwareVersion: string | undefined;
  /** Who the connection speaks for: `User:ANONYMOUS` until security exists. */
  principal: string;
  /** Aborts when the connection is gone: waits end early. */
  readonly closed: AbortSignal;
}

export interface RequestContext {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly correlationId: number;
  readonly clientId: string | null;
  readonly connection: ClientConnection;
  /** Calls back once the answer's bytes have left (or the connection is gone): for buffers lent by the engine. */
  afterSent(release: () => void): void;
  /** The client is over a quota: it is told to wait for so long, and nothing more of it is started before. The longest counts. */
  throttle(waitMs: number): void;
}

/** A handler returns this where the protocol wants no answer at all (Produce with acks=0). */
export const NO_ANSWER: unique symbol = Symbol('no answer');
/** ... and this to have the connection closed, with a reason for the log (Kafka does so for acks=0 errors). */
export class CloseConnection {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

export type HandlerResult<Response> = Response | typeof NO_ANSWER | CloseConnection;

/**
 * One API. `handle` is called in the order in which requests arrived on a connection and fixes their effects in that order:
 * whatever it changes it changes before its first `await`. Only waits overlap; answers are put back in order by the caller.
 *
 * A `records` field of the request is a view of the frame and is valid only until `handle` returns (its first await);
 * every other field is the handler's own.
 */
export interface Handler<Request, Response> {
  readonly apiKey: number;
  readonly minVersion: number;
  readonly maxVersion: number;
  readonly request: RequestCodec<Request>;
  readonly response: ResponseCodec<Response>;
  handle(
    request: Request,
    context: RequestContext,
  ): HandlerResult<Response> | Promise<HandlerResult<Response>>;
  /** The answer to send when `handle` throws an operating fault; without it the connection is closed. */
  fail?(request: Request, errorCode: number, context: RequestContext): Response;
}

/** Any handler, for the registry and the router, which pair codec and handler by construction. */
export type AnyHandler = Handler<unknown, unknown>;

/** Checks the types of a handler, then forgets them so that it fits the registry. */
export function defineHandler<Request, Response>(handler: Handler<Request, Response>): AnyHandler {
  return handler as unknown as AnyHandler;
}
