/** A connection server with handlers made for tests, and a client that speaks frames and nothing else. */
import { connect, type Socket } from 'node:net';
import { encodeRequestHeader } from '../../protocol/headers.ts';
import type { ByteReader } from '../../protocol/wire/byte-reader.ts';
import type { ByteWriter } from '../../protocol/wire/byte-writer.ts';
import { ConnectionServer, type ConnectionServerOptions } from '../../src/connection/connection-server.ts';
import {
  type ConnectionSettings,
  defaultConnectionSettings,
} from '../../src/connection/connection-settings.ts';
import type { AnyHandler, HandlerResult, RequestContext } from '../../src/handlers/handler.ts';
import { SystemClock } from '../../src/util/clock.ts';
import type { Log, LogFields } from '../../src/util/log.ts';

/** The body of test requests and answers: an int32 and the rest of the frame. */
export interface TestBody {
  readonly number: number;
  readonly rest: Buffer;
}

const requestCodec = {
  name: 'TestRequest',
  flexibleFrom: 32767,
  decode: (reader: ByteReader): TestBody => ({
    number: reader.int32('number'),
    rest: reader.view(reader.remaining, 'rest'),
  }),
};

const responseCodec = {
  name: 'TestResponse',
  apiKey: 1000,
  flexibleFrom: 32767,
  sizeOf: (value: TestBody) => 4 + value.rest.length,
  encode: (writer: ByteWriter, value: TestBody) => {
    writer.int32(value.number, 'number');
    writer.raw(value.rest);
  },
};

export type TestHandle = (
  request: TestBody,
  context: RequestContext,
) => HandlerResult<TestBody> | Promise<HandlerResult<TestBody>>;

/** Versions 0 to 2 of an API whose bodies are TestBody. */
export function testHandler(
  apiKey: number,
  handle: TestHandle,
  fail?: (error: number) => TestBody,
): AnyHandler {
  return {
    apiKey,
    minVersion: 0,
    maxVersion: 2,
    request: requestCodec,
    response: responseCodec,
    handle,
    ...(fail === undefined ? {} : { fail: (_request: unknown, code: number) => fail(code) }),
  } as unknown as AnyHandler;
}

export const noBytes = Buffer.alloc(0);

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: LogFields;
  readonly message: string;
}

export function recordingLog(lines: LogLine[]): Log {
  const at = (level: LogLine['level']) => (fields: LogFields, message: string) =>
    void lines.push({ level, fields, message });
  const log: Log = {
    level: 'debug',
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    component: () => log,
  };
  return log;
}

export interface TestServer {
  readonly server: ConnectionServer;
  readonly port: number;
  readonly lines: LogLine[];
  readonly broken: Error[];
  connect(): Promise<TestClient>;
  stop(): Promise<void>;
}

export async function startServer(
  handlers: readonly AnyHandler[],
  settings: Partial<ConnectionSettings> = {},
  options: Partial<Pick<ConnectionServerOptions, 'clock' | 'admit' | 'fileDescriptorLimit' | 'quotas'>> = {},
): Promise<TestServer> {
  const lines: LogLine[] = [];
  const broken: Error[] = [];
  const clients: TestClient[] = [];
  const server = new ConnectionServer({
    settings: { ...defaultConnectionSettings, drainTimeoutMs: 2000, ...settings },
    handlers,
    clock: options.clock ?? new SystemClock(),
    log: recordingLog(lines),
    brokenInvariant: (error) => broken.push(error),
    ...(options.admit === undefined ? {} : { admit: options.admit }),
    ...(options.quotas === undefined ? {} : { quotas: options.quotas }),
    ...(options.fileDescriptorLimit === undefined
      ? {}
      : { fileDescriptorLimit: options.fileDescriptorLimit }),
  });
  await server.listen([
    {
      address: { name: 'PLAINTEXT', securityProtocol: 'PLAINTEXT', host: '127.0.0.1', port: 0 },
      advertisedHost: '127.0.0.1',
      advertisedPort: undefined,
    },
  ]);
  const port = server.port(0);
  return {
    server,
    port,
    lines,
    broken,
    async connect() {
      const client = await TestClient.connect(port);
      clients.push(client);
      return client;
    },
    async stop() {
      for (const client of clients) client.socket.destroy();
      await server.drain(1000);
    },
  };
}

export interface Answer {
  readonly correlationId: number;
  readonly body: Buffer;
}

export class TestClient {
  readonly socket: Socket;
  readonly answers: Answer[] = [];
  isClosed = false;
  private received: Buffer = noBytes;
  private waiting: { count: number; resolve: () => void }[] = [];
  private readonly whenClosed: Promise<void>;

  static connect(port: number): Promise<TestClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1');
      socket.setNoDelay(true);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.removeListener('error', reject);
        resolve(new TestClient(socket));
      });
    });
  }

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    this.whenClosed = new Promise((resolve) =>
      socket.on('close', () => {
        this.isClosed = true;
        resolve();
        this.wake();
      }),
    );
    socket.on('data', (chunk: Buffer) => this.take(chunk));
  }

  private take(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    while (this.received.length >= 4) {
      const length = this.received.readInt32BE(0);
      if (this.received.length < 4 + length) break;
      const frame = this.received.subarray(4, 4 + length);
      this.answers.push({ correlationId: frame.readInt32BE(0), body: Buffer.from(frame.subarray(4)) });
      this.received = this.received.subarray(4 + length);
    }
    this.wake();
  }

  private wake(): void {
    this.waiting = this.waiting.filter(({ count, resolve }) => {
      if (this.answers.length < count && !this.isClosed) return true;
      resolve();
      return false;
    });
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** Resolves when so many answers have come in all, or the connection has ended. */
  async until(count: number): Promise<readonly Answer[]> {
    if (this.answers.length < count && !this.isClosed) {
      await new Promise<void>((resolve) => this.waiting.push({ count, resolve }));
    }
    return this.answers;
  }

  /** Resolves when the server has ended the connection. */
  untilClosed(): Promise<void> {
    return this.whenClosed;
  }
}

/** A whole request frame. */
export function request(
  apiKey: number,
  correlationId: number,
  number = 0,
  rest: Buffer = noBytes,
  apiVersion = 0,
): Buffer {
  const header = encodeRequestHeader({ apiKey, apiVersion, correlationId, clientId: 'test' }, false);
  const bytes = Buffer.alloc(4 + header.length + 4 + rest.length);
  bytes.writeInt32BE(bytes.length - 4, 0);
  header.copy(bytes, 4);
  bytes.writeInt32BE(number, 4 + header.length);
  rest.copy(bytes, 8 + header.length);
  return bytes;
}

/** Resolves when `condition` holds; looks after every turn of the event loop. Rejects after five seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > end) throw new Error('it did not come to be');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
