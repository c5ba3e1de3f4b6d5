/** The least Kafka client there can be: one connection, requests pipelined, answers in order. For tests. */
import { connect, type Socket } from 'node:net';
import {
  decodeResponseHeader,
  encodeRequestHeader,
  hasFlexibleResponseHeader,
} from '../../protocol/headers.ts';
import { encodeMessage, isFlexible, type MessageCodec } from '../../protocol/message-codec.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';

interface Waiting {
  readonly correlationId: number;
  readonly decode: (frame: Buffer) => void;
  readonly fail: (error: Error) => void;
}

export class WireClient {
  private readonly socket: Socket;
  private readonly clientId: string;
  private waiting: Waiting[] = [];
  private parts: Buffer[] = [];
  private partBytes = 0;
  private correlationId = 0;
  private gone: Error | undefined;
  /** Resolves when the connection is gone, however it went. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket, clientId: string) {
    this.socket = socket;
    this.clientId = clientId;
    socket.setNoDelay(true);
    socket.on('data', (part) => this.receive(part));
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.gone = new Error('the connection is gone');
        const { waiting } = this;
        this.waiting = [];
        for (const one of waiting) one.fail(this.gone);
        resolve();
      });
    });
  }

  /** Rejects when nobody listens. */
  static connect(port: number, clientId: string): Promise<WireClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new WireClient(socket, clientId));
      });
    });
  }

  get isGone(): boolean {
    return this.gone !== undefined;
  }

  /** Rejects when the connection goes before the answer comes. */
  request<Response, Input>(
    request: MessageCodec<unknown, Input>,
    response: MessageCodec<Response, never>,
    apiVersion: number,
    value: Input,
  ): Promise<Response> {
    if (this.gone !== undefined) return Promise.reject(this.gone);
    const correlationId = ++this.correlationId;
    const header = encodeRequestHeader(
      { apiKey: request.apiKey, apiVersion, correlationId, clientId: this.clientId },
      isFlexible(request, apiVersion),
    );
    const buffers = encodeMessage(request, value, apiVersion, header);
    const length = Buffer.alloc(4);
    length.writeInt32BE(buffers.reduce((sum, buffer) => sum + buffer.length, 0));
    this.socket.write(Buffer.concat([length, ...buffers]));
    return new Promise((resolve, reject) => {
      this.waiting.push({
        correlationId,
        decode: (frame) => {
          const reader = new ByteReader(frame);
          decodeResponseHeader(reader, hasFlexibleResponseHeader(response, apiVersion));
          resolve(response.decode(reader, apiVersion));
        },
        fail: reject,
      });
    });
  }

  close(): void {
    this.socket.destroy();
  }

  private receive(part: Buffer): void {
    this.parts.push(part);
    this.partBytes += part.length;
    while (this.partBytes >= 4) {
      if (this.parts[0]!.length < 4) this.parts = [Buffer.concat(this.parts)];
      const length = this.parts[0]!.readInt32BE(0);
      if (this.partBytes < 4 + length) return;
      const all = this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts);
      const rest = all.subarray(4 + length);
      this.parts = rest.length > 0 ? [rest] : [];
      this.partBytes = rest.length;
      this.answer(all.subarray(4, 4 + length));
    }
  }

  private answer(frame: Buffer): void {
    const waiting = this.waiting.shift();
    if (waiting === undefined || waiting.correlationId !== frame.readInt32BE(0)) {
      throw new Error(`an answer with correlation id ${frame.readInt32BE(0)} out of order`);
    }
    try {
      waiting.decode(frame);
    } catch (error) {
      waiting.fail(error as Error);
    }
  }
}
