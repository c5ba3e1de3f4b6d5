/**
 * One client connection: bytes come in, are cut into frames, decoded, handed to their handlers in arrival order; answers
 * leave in that order. Stops reading when the client does not take its answers or has too much in flight. Knows nothing of
 * what requests mean.
 */
import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import { errorCodes } from '../../protocol/error-codes.ts';
import { apiByKey } from '../../protocol/generated/apis.ts';
import { API_VERSIONS_KEY, decodeRequestHeader, encodeResponseFrame } from '../../protocol/headers.ts';
import type { MessageCodec } from '../../protocol/message-codec.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import { MalformedMessageError } from '../../protocol/wire/errors.ts';
import {
  type AnyHandler,
  type ClientConnection,
  CloseConnection,
  type HandlerResult,
  type ListenerInfo,
  NO_ANSWER,
} from '../handlers/handler.ts';
import { AssertionFailure } from '../util/assert.ts';
import type { Clock, Timer } from '../util/clock.ts';
import type { Log } from '../util/log.ts';
import { NoRoomError } from '../util/no-room-error.ts';
import type { ConnectionCounters } from './connection-counters.ts';
import type { ConnectionSettings } from './connection-settings.ts';
import type { FrameMemory } from './frame-memory.ts';
import { FrameReader } from './frame-reader.ts';
import type { AnswerWriter, Flushable, FlushTurn } from './output.ts';
import type { Refusals } from './refusals.ts';
import type { RequestRouter } from './request-router.ts';
import { RequestInFlight, ResponseQueue } from './response-queue.ts';

/** What finished requests cost their clients. */
export interface RequestQuotas {
  /** False where nobody has a quota that requests count for: nothing is measured then. */
  readonly isCharging: boolean;
  /** Counts a request; how long its client must wait, in milliseconds. */
  charge(
    client: { readonly principal: string; readonly clientId: string | null },
    cost: {
      readonly apiKey: number;
      readonly requestBytes: number;
      readonly answerBytes: number;
      readonly busyMs: number;
    },
  ): number;
}

/** What all connections of a broker share. */
export interface ConnectionHost {
  readonly settings: ConnectionSettings;
  readonly router: RequestRouter;
  readonly memory: FrameMemory;
  readonly writer: AnswerWriter;
  readonly flushTurn: FlushTurn;
  readonly counters: ConnectionCounters;
  readonly refusals: Refusals;
  readonly log: Log;
  readonly clock: Clock;
  readonly quotas: RequestQuotas | undefined;
  /** Something to wait for before a request of this API is started (the engine's room for appends), or undefined. */
  admit(apiKey: number): Promise<void> | undefined;
  /** A broken invariant: the process must stop. */
  brokenInvariant(error: AssertionFailure): void;
  /** Grows by one each time that all connections are looked at. */
  currentScan(): number;
  connectionClosed(connection: Connection): void;
}

/** Requests whose answers carry records: few of them are started at a time, since each answer may be large. */
const fetchKeys: ReadonlySet<number> = new Set([1, 78]);

export class Connection implements ClientConnection, Flushable {
  readonly id: number;
  readonly listener: ListenerInfo;
  readonly remoteAddress: string;
  readonly remotePort: number;
  clientSoftwareName: string | undefined = undefined;
  clientSoftwareVersion: string | undefined = undefined;
  principal = 'User:ANONYMOUS';
  /** The client id of the last request. */
  clientId: string | null = null;
  /** The scan of the server that last saw this connection do something. */
  activeAtScan: number;
  /** When closing began, by scans; the server ends what does not end by itself. */
  closingAtScan = -1;
  /** When a frame began to hold part of the budget, and what had arrived then. */
  stall: { atMs: number; arrivedBytes: number } | undefined = undefined;

  private readonly host: ConnectionHost;
  private readonly socket: Socket;
  private readonly frames: FrameReader;
  private readonly answers = new ResponseQueue();
  private fetchesInFlight = 0;
  private closedController: AbortController | undefined;
  private isGone = false;
  /** No more requests are started; the connection ends when what was started is answered. */
  private isClosing = false;
  private isPaused = false;
  private isProcessing = false;
  /** A request waits for room in the engine. */
  private isAwaitingRoom = false;
  /** Over a quota: nothing is started before then, by the monotonic clock. */
  private mutedUntilMs = 0;
  private muteTimer: Timer | undefined;

  /** Answers in order, ready for the socket. */
  private outbox: Buffer[] = [];
  private outboxBytes = 0;
  private outboxRequests: RequestInFlight[] = [];
  /** Encoded and not yet with the kernel, in the outbox or behind an answer that is not ready. */
  private pendingBytes = 0;
  private isFlushScheduled = false;
  /** One write is with the socket; the next waits for it. */
  private isWriting = false;
  private writingBytes = 0;
  private writingRequests: RequestInFlight[] = [];
  private writesIssued = 0;
  private writesConfirmed = 0;
  private endWhenWritten = false;

  constructor(
    host: ConnectionHost,
    id: number,
    socket: Socket,
    listener: ListenerInfo,
    remoteAddress: string,
    scan: number,
  ) {
    this.host = host;
    this.id = id;
    this.socket = socket;
    this.listener = listener;
    this.remoteAddress = remoteAddress;
    this.remotePort = socket.remotePort ?? 0;
    this.activeAtScan = scan;
    this.frames = new FrameReader(host.memory, host.settings.maxRequestBytes, () => this.resume());
    socket.on('end', () => this.endOfInput());
    socket.on('error', () => this.socket.destroy());
    socket.on('close', () => this.gone());
  }

  /** Aborts when the connection is gone, or when the broker drains: waits end early. */
  get closed(): AbortSignal {
    if (this.closedController === undefined) {
      this.closedController = new AbortController();
      setMaxListeners(0, this.closedController.signal);
      if (this.isGone || this.isClosing) this.closedController.abort();
    }
    return this.closedController.signal;
  }

  get requestsInFlight(): number {
    return this.answers.size;
  }

  get pendingAnswerBytes(): number {
    return this.pendingBytes;
  }

  /** Bytes of requests that have arrived and are not started. */
  get bufferedRequestBytes(): number {
    return this.frames.bufferedBytes;
  }

  get heldBudgetBytes(): number {
    return this.frames.heldBudgetBytes;
  }

  /** True while it is up to the client that a frame which holds budget becomes whole. */
  get isReceivingBigFrame(): boolean {
    return !this.isPaused && this.frames.heldBudgetBytes > 0;
  }

  get arrivedFrameBytes(): number {
    return this.frames.arrivedBytes;
  }

  get isIdle(): boolean {
    return this.answers.size === 0 && this.pendingBytes === 0;
  }

  /** Looks at bytes from the socket; they may change after it returns. */
  bytes(buffer: Buffer, length: number): void {
    this.activeAtScan = this.host.currentScan();
    this.host.counters.bytesIn += length;
    if (this.isGone || this.isClosing) return;
    this.frames.push(buffer, 0, length);
    this.process();
    this.frames.keepRest();
  }

  /** Starts whatever may be started of the bytes at hand. */
  private process(): void {
    if (this.isProcessing) return;
    this.isProcessing = true;
    try {
      while (!this.isGone && !this.isClosing) {
        if (this.isFull()) {
          // Much of it may be answers that the socket can take right now.
          this.flush();
          if (this.isFull()) {
            this.pause();
            return;
          }
        }
        const state = this.frames.next();
        if (state === 'frame') {
          if (!this.startFrame()) return;
          continue;
        }
        if (state === 'more') {
          this.unpause();
          return;
        }
        if (state === 'budget') {
          this.pause();
          return;
        }
        this.refuse('malformed-frame', this.frames.fault);
        return;
      }
    } finally {
      this.isProcessing = false;
    }
  }

  private isFull(): boolean {
    const settings = this.host.settings;
    return (
      this.isAwaitingRoom ||
      this.muteTimer !== undefined ||
      this.answers.size >= settings.maxRequestsInFlight ||
      this.pendingBytes > settings.maxPendingAnswerBytes
    );
  }

  private pause(): void {
    if (this.isPaused) return;
    this.isPaused = true;
    this.host.counters.pauses += 1;
    this.socket.pause();
  }

  private unpause(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.socket.resume();
  }

  /** Something that was waited for may have come: room, budget, an answer that left. */
  private resume(): void {
    if (this.isPaused && !this.isGone && !this.isClosing) this.process();
  }

  /** Starts the request in the frame found last, or puts the frame back and returns false where it must wait. */
  private startFrame(): boolean {
    const { buffer, start, end } = this.frames;
    const host = this.host;
    if (end - start >= 2) {
      const apiKey = buffer.readInt16BE(start);
      if (fetchKeys.has(apiKey) && this.fetchesInFlight >= host.settings.maxFetchesInFlight) {
        this.frames.unread();
        this.pause();
        return false;
      }
      const room = host.admit(apiKey);
      if (room !== undefined) {
        this.frames.unread();
        this.awaitRoom(room);
        return false;
      }
    }
    const beganMs = host.quotas?.isCharging === true ? performance.now() : undefined;
    const reader = new ByteReader(buffer, start, end);
    let apiKey = -1;
    let apiVersion = -1;
    let handler: AnyHandler | undefined;
    let context: RequestInFlight;
    try {
      const header = decodeRequestHeader(reader, host.router.isFlexibleRequest);
      apiKey = header.apiKey;
      apiVersion = header.apiVersion;
      this.clientId = header.clientId;
      handler = host.router.find(apiKey);
      if (handler === undefined || apiVersion < handler.minVersion || apiVersion > handler.maxVersion) {
        return this.unknownRequest(handler, apiKey, apiVersion, header.correlationId);
      }
      const request = handler.request.decode(reader, apiVersion);
      context = new RequestInFlight(
        apiKey,
        apiVersion,
        header.correlationId,
        header.clientId,
        this,
        handler,
        request,
      );
    } catch (error) {
      if (!(error instanceof MalformedMessageError)) throw error;
      this.refuse('malformed-request', `a request cannot be read: ${error.message}`, { apiKey, apiVersion });
      return false;
    }
    context.sizeBytes = end - start;
    this.start(context, beganMs);
    return true;
  }

  /** `beganMs`: when work on it began, where that is measured. */
  private start(context: RequestInFlight, beganMs: number | undefined): void {
    const counters = this.host.counters;
    counters.requests += 1;
    if (context.apiKey < counters.requestsByApi.length) counters.requestsByApi[context.apiKey]! += 1;
    if (fetchKeys.has(context.apiKey)) {
      context.isFetch = true;
      this.fetchesInFlight += 1;
    }
    try {
      const result = context.handler.handle(context.request, context);
      if (beganMs !== undefined) context.busyMs = performance.now() - beganMs;
      if (result instanceof Promise) {
        this.answers.push(context);
        void this.settle(context, result);
        return;
      }
      this.finish(context, result);
    } catch (error) {
      this.failed(context, error);
    }
    if (this.answers.size === 0) this.post(context);
    else {
      this.answers.push(context);
      this.deliver();
    }
  }

  private async settle(context: RequestInFlight, result: Promise<HandlerResult<unknown>>): Promise<void> {
    try {
      this.finish(context, await result);
    } catch (error) {
      this.failed(context, error);
    }
    this.deliver();
    this.resume();
  }

  private endFetch(context: RequestInFlight): void {
    if (!context.isFetch) return;
    context.isFetch = false;
    this.fetchesInFlight -= 1;
  }

  /** Makes the handler's result an answer. */
  private finish(context: RequestInFlight, result: HandlerResult<unknown>): void {
    this.endFetch(context);
    if (this.isGone) {
      context.state = 'silent';
      context.release();
      return;
    }
    if (result === NO_ANSWER) {
      context.state = 'silent';
      this.mute(this.waitOf(context));
    } else if (result instanceof CloseConnection) {
      context.state = 'close';
      context.closeReason = result.reason;
    } else {
      this.encode(context, result, context.apiVersion);
      const waitMs = this.waitOf(context);
      if (waitMs <= 0) return;
      // Every answer that can tell of a wait has it in the same place; where a version cannot, its codec leaves it out.
      this.pendingBytes -= context.answerBytes;
      this.encode(context, { ...(result as object), throttleTimeMs: waitMs }, context.apiVersion);
      this.mute(waitMs);
    }
  }

  /** How long the client must wait after this request. */
  private waitOf(context: RequestInFlight): number {
    const { quotas } = this.host;
    if (quotas === undefined || !quotas.isCharging) return context.throttleMs;
    const waitMs = quotas.charge(
      { principal: this.principal, clientId: context.clientId },
      {
        apiKey: context.apiKey,
        requestBytes: context.sizeBytes,
        answerBytes: context.answerBytes,
        busyMs: context.busyMs,
      },
    );
    return Math.max(waitMs, context.throttleMs);
  }

  /** Starts nothing more for so long; what was started goes on (KIP-219). */
  private mute(waitMs: number): void {
    if (waitMs <= 0 || this.isClosing) return;
    const { clock } = this.host;
    const untilMs = clock.monotonicMs() + waitMs;
    if (untilMs <= this.mutedUntilMs) return;
    this.mutedUntilMs = untilMs;
    this.muteTimer?.cancel();
    this.muteTimer = clock.after(waitMs, () => {
      this.muteTimer = undefined;
      this.activeAtScan = this.host.currentScan();
      this.resume();
    });
    // The client may go on sending; the system holds that up.
    if (!this.isProcessing) this.pause();
  }

  private encode(context: RequestInFlight, response: unknown, version: number): void {
    // Every handler's response codec is one of protocol/'s; the handler contract shows less of it.
    const codec = context.handler.response as unknown as MessageCodec<unknown, unknown>;
    context.answer = encodeResponseFrame(codec, response, version, context.correlationId);
    let bytes = 0;
    for (const part of context.answer) bytes += part.length;
    context.answerBytes = bytes;
    context.state = 'answered';
    this.pendingBytes += bytes;
  }

  /** The handler threw, or gave an answer that its version cannot carry. */
  private failed(context: RequestInFlight, error: unknown): void {
    this.endFetch(context);
    if (error instanceof AssertionFailure) {
      context.state = 'close';
      this.host.brokenInvariant(error);
      return;
    }
    this.host.counters.faults += 1;
    if (this.isGone) {
      context.state = 'silent';
      context.release();
      return;
    }
    const fields = {
      error,
      apiKey: context.apiKey,
      apiVersion: context.apiVersion,
      'client.id': context.clientId,
      correlation_id: context.correlationId,
    };
    const isFull = error instanceof NoRoomError;
    if (isFull) this.host.refusals.note('disk-full', fields, 'refused a request: the disk is full');
    else this.host.log.error(fields, 'a request failed');
    const handler = context.handler;
    if (handler.fail !== undefined) {
      try {
        const code = isFull ? errorCodes.KAFKA_STORAGE_ERROR : errorCodes.UNKNOWN_SERVER_ERROR;
        const response = handler.fail(context.request, code, context);
        this.encode(context, response, context.apiVersion);
        return;
      } catch (second) {
        this.host.log.error({ ...fields, error: second }, 'the answer to a failed request failed too');
      }
    }
    context.state = 'close';
    context.closeReason = 'its request failed';
  }

  /** Moves what is finished, in order, to the outbox. */
  private deliver(): void {
    for (;;) {
      const context = this.answers.takeFinished();
      if (context === undefined) return;
      this.post(context);
    }
  }

  /** Every earlier request is answered: this one's answer may leave. */
  private post(context: RequestInFlight): void {
    if (this.isGone || this.endWhenWritten) {
      context.release();
      return;
    }
    if (context.state === 'answered') {
      const answer = context.answer;
      if (answer.length === 1) this.outbox.push(answer[0]!);
      else for (const part of answer) this.outbox.push(part);
      this.outboxBytes += context.answerBytes;
      if (context.hasReleases) this.outboxRequests.push(context);
      this.host.counters.answers += 1;
    } else if (context.state === 'close') {
      if (context.closeReason !== undefined) this.note('request', context.closeReason, context);
      this.startNoMore();
      this.endWhenWritten = true;
      if (context.hasReleases) this.outboxRequests.push(context);
    } else if (context.hasReleases) this.outboxRequests.push(context);
    else return;
    this.scheduleFlush();
  }

  private scheduleFlush(): void {
    if (this.isFlushScheduled) return;
    this.isFlushScheduled = true;
    this.host.flushTurn.add(this);
  }

  /** Writes the outbox, unless a write is under way: then what gathers goes out in one write after it. */
  flush(): void {
    this.isFlushScheduled = false;
    if (this.isWriting || this.isGone) return;
    if (this.outbox.length > 0) {
      const parts = this.outbox;
      const sizeBytes = this.outboxBytes;
      this.writingBytes = sizeBytes;
      this.writingRequests = this.outboxRequests;
      this.outbox = [];
      this.outboxBytes = 0;
      if (this.outboxRequests.length > 0) this.outboxRequests = [];
      this.host.counters.bytesOut += sizeBytes;
      this.writesIssued += 1;
      if (!this.host.writer.write(this.socket, parts, sizeBytes, this.onWritten)) {
        this.isWriting = true;
        return;
      }
      this.written();
    } else if (this.outboxRequests.length > 0) {
      for (const request of this.outboxRequests) request.release();
      this.outboxRequests = [];
    }
    if (this.endWhenWritten && this.outbox.length === 0) this.socket.destroySoon();
  }

  /** Once for each write, in order: for one that the kernel took at once too, a little later. */
  private readonly onWritten = (): void => {
    this.writesConfirmed += 1;
    if (!this.isWriting || this.writesConfirmed !== this.writesIssued || this.isGone) return;
    this.isWriting = false;
    this.activeAtScan = this.host.currentScan();
    this.written();
    this.flush();
    this.resume();
  };

  private written(): void {
    this.pendingBytes -= this.writingBytes;
    this.writingBytes = 0;
    if (this.writingRequests.length === 0) return;
    const requests = this.writingRequests;
    this.writingRequests = [];
    for (const request of requests) request.release();
  }

  private awaitRoom(room: Promise<void>): void {
    this.isAwaitingRoom = true;
    this.pause();
    const go = (): void => {
      this.isAwaitingRoom = false;
      this.resume();
    };
    // Whatever is wrong with the room, the handler will hear it from the engine itself.
    room.then(go, go);
  }

  /** An API or version that is not served: Kafka answers ApiVersions in a form that all can read, and closes on others. */
  private unknownRequest(
    handler: AnyHandler | undefined,
    apiKey: number,
    apiVersion: number,
    correlationId: number,
  ): boolean {
    if (apiKey === API_VERSIONS_KEY && handler?.fail !== undefined) {
      const context = new RequestInFlight(apiKey, 0, correlationId, this.clientId, this, handler, undefined);
      this.encode(context, handler.fail(undefined, errorCodes.UNSUPPORTED_VERSION, context), 0);
      this.answers.push(context);
      this.deliver();
      return true;
    }
    if (handler === undefined) {
      const name = apiByKey(apiKey)?.name;
      const shown = name === undefined ? `API key ${apiKey}` : `API ${name} (key ${apiKey})`;
      this.refuse('unknown-api', `${shown} is not served`, { apiKey, apiVersion });
    } else {
      const served = `${handler.minVersion} to ${handler.maxVersion}`;
      const message = `${handler.request.name} version ${apiVersion} is not served (${served} are)`;
      this.refuse('unknown-version', message, { apiKey, apiVersion });
    }
    return false;
  }

  /** Closes after the answers to all earlier requests, with a line in the log. */
  private refuse(kind: string, reason: string, fields?: { apiKey: number; apiVersion: number }): void {
    this.note(kind, reason, fields);
    this.closeAfterAnswers();
  }

  private note(kind: string, reason: string, fields?: { apiKey: number; apiVersion: number }): void {
    const software =
      this.clientSoftwareName === undefined
        ? {}
        : { software: `${this.clientSoftwareName} ${this.clientSoftwareVersion}` };
    this.host.refusals.note(
      kind,
      {
        client: `${this.remoteAddress}:${this.remotePort}`,
        listener: this.listener.name,
        'client.id': this.clientId,
        ...software,
        ...(fields === undefined || fields.apiKey < 0
          ? {}
          : { apiKey: fields.apiKey, apiVersion: fields.apiVersion }),
      },
      `closed a connection: ${reason}`,
    );
  }

  /** Reads no more and ends when what was started is answered. */
  private closeAfterAnswers(): void {
    if (this.isGone || this.isClosing) return;
    this.startNoMore();
    if (this.answers.size === 0) {
      this.endWhenWritten = true;
      this.scheduleFlush();
      return;
    }
    const last = new RequestInFlight(-1, 0, 0, null, this, closingHandler, undefined);
    last.state = 'close';
    this.answers.push(last);
  }

  private startNoMore(): void {
    if (this.isClosing) return;
    this.isClosing = true;
    this.closingAtScan = this.host.currentScan();
    this.frames.close();
    // What still comes is read and dropped: bytes left unread would make the system reset the connection, and the answers
    // before this one would be lost to the client. It also shows when the client is gone.
    this.unpause();
  }

  /** Finishes what was started, wakes waits, then ends. Without a line in the log: the broker says once that it drains. */
  drain(): void {
    this.closeAfterAnswers();
    this.closedController?.abort();
  }

  /** Ends at once. */
  destroy(kind?: string, reason?: string): void {
    if (this.isGone) return;
    if (kind !== undefined && reason !== undefined) this.note(kind, reason);
    this.socket.destroy();
  }

  /** The client sends no more: as Kafka, we take that for the end. What is answered already still goes out. */
  private endOfInput(): void {
    if (this.isGone) return;
    this.flush();
    this.socket.destroySoon();
  }

  private gone(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.muteTimer?.cancel();
    this.frames.close();
    this.written();
    for (const request of this.outboxRequests) request.release();
    this.outbox = [];
    this.outboxRequests = [];
    for (let request = this.answers.take(); request !== undefined; request = this.answers.take()) {
      if (request.state !== 'running') request.release();
    }
    this.pendingBytes = 0;
    this.closedController?.abort();
    this.host.connectionClosed(this);
  }
}

/** Stands in the place of a handler where a connection only has to end in its turn. */
const closingHandler: AnyHandler = {
  apiKey: -1,
  minVersion: 0,
  maxVersion: 0,
  request: { name: '', flexibleFrom: 0, decode: () => undefined },
  response: { name: '', flexibleFrom: 0, sizeOf: () => 0, encode: () => undefined },
  handle: () => NO_ANSWER,
};
