/**
 * One connection that says exactly what it is told, in any version, and reads answers strictly: the right header, every byte of
 * the body. For tests of what is on the wire; it retries nothing and knows no API.
 */
import { connect, type Socket } from 'node:net';
import type { ApiDefinition } from '../../protocol/api-definition.ts';
import {
  decodeResponseHeader,
  encodeRequestHeader,
  hasFlexibleResponseHeader,
} from '../../protocol/headers.ts';
import { encodeMessage, isFlexible } from '../../protocol/message-codec.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';

/** The connection went away before the answer came. */
export class ConnectionGone extends Error {}

interface Waiting {
  readonly answer: (frame: Buffer) => void;
  readonly fail: (error: Error) => void;
}

const lengthBytes = 4;

export class RawClient {
  private readonly socket: Socket;
  private readonly clientId: string | null;
  private readonly waiting: Waiting[] = [];
  private received: Buffer = Buffer.alloc(0);
  private correlationId = 0;
  private isGone = false;

  private constructor(socket: Socket, clientId: string | null) {
    this.socket = socket;
    this.clientId = clientId;
    socket.setNoDelay(true);
    socket.on('data', (part) => this.receive(part));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isGone = true;
      for (const { fail } of this.waiting.splice(0)) fail(new ConnectionGone('the connection was closed'));
    });
  }

  /** Rejects where nobody listens. */
  static connect(address: string, clientId: string | null = 'raw'): Promise<RawClient> {
    const colon = address.lastIndexOf(':');
    const socket = connect(Number(address.slice(colon + 1)), address.slice(0, colon));
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawClient(socket, clientId));
      });
    });
  }

  get isClosed(): boolean {
    return this.isGone;
  }

  /**
   * The decoded answer. Rejects with ConnectionGone where the broker closes the connection, and with what is wrong where the
   * answer is out of order, malformed or has bytes left.
   */
  async request(api: ApiDefinition, version: number, value: unknown): Promise<unknown> {
    const { correlationId, frame } = this.frameOf(api, version, value);
    const answer = await this.exchange(frame);
    const reader = new ByteReader(answer);
    const answered = decodeResponseHeader(reader, hasFlexibleResponseHeader(api.response, version));
    if (answered !== correlationId) throw new Error(`answer ${answered} came for request ${correlationId}`);
    const decoded = api.response.decode(reader, version);
    if (reader.remaining > 0) throw new Error(`${reader.remaining} bytes after the answer`);
    return decoded;
  }

  /** For a request that has no answer: resolves when it is written. */
  post(api: ApiDefinition, version: number, value: unknown): Promise<void> {
    const { frame } = this.frameOf(api, version, value);
    return new Promise((resolve, reject) => {
      this.socket.write(frame, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Sends a whole frame as it is; resolves with the next answer's bytes, header included, length excluded. */
  exchange(frame: Buffer): Promise<Buffer> {
    if (this.isGone) return Promise.reject(new ConnectionGone('the connection was closed before'));
    return new Promise((answer, fail) => {
      this.waiting.push({ answer, fail });
      this.socket.write(frame);
    });
  }

  close(): void {
    this.socket.destroy();
  }

  private frameOf(
    api: ApiDefinition,
    apiVersion: number,
    value: unknown,
  ): { correlationId: number; frame: Buffer } {
    this.correlationId += 1;
    const { correlationId, clientId } = this;
    const header = { apiKey: api.apiKey, apiVersion, correlationId, clientId };
    const headerBytes = encodeRequestHeader(header, isFlexible(api.request, apiVersion));
    const message = Buffer.concat(encodeMessage(api.request, value, apiVersion, headerBytes));
    const frame = Buffer.alloc(lengthBytes + message.length);
    frame.writeInt32BE(message.length, 0);
    message.copy(frame, lengthBytes);
    return { correlationId, frame };
  }

  private receive(part: Buffer): void {
    this.received = this.received.length === 0 ? part : Buffer.concat([this.received, part]);
    while (this.received.length >= lengthBytes) {
      const end = lengthBytes + this.received.readInt32BE(0);
      if (this.received.length < end) return;
      const frame = this.received.subarray(lengthBytes, end);
      this.received = this.received.subarray(end);
      this.waiting.shift()?.answer(frame);
    }
  }
}
