/**
 * The requests of one connection that were started and whose answers have not gone to the socket, in arrival order. They
 * may be finished in any order and leave in this one. Knows nothing of sockets.
 */
import type { AnyHandler, ClientConnection, RequestContext } from '../handlers/handler.ts';

/** One started request: what its handler is told, and its place in the order of answers. */
export class RequestInFlight implements RequestContext {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly correlationId: number;
  readonly clientId: string | null;
  readonly connection: ClientConnection;
  readonly handler: AnyHandler;
  /** Decoded; what `handler.fail` is given. */
  readonly request: unknown;
  /** `close`: the connection ends when this one's turn comes. */
  state: 'running' | 'answered' | 'silent' | 'close' = 'running';
  /** Why, where the state is `close`; undefined where nobody needs to know. */
  closeReason: string | undefined;
  answer: readonly Buffer[] = noBuffers;
  answerBytes = 0;
  /** Counted among its connection's fetches. */
  isFetch = false;
  /** How long the client must wait for its next request, as far as the handler knows. */
  throttleMs = 0;
  /** Of the frame; what a quota counts. */
  sizeBytes = 0;
  /** Of the thread, so far; counted only where a quota asks for it. */
  busyMs = 0;
  next: RequestInFlight | undefined;
  private releases: (() => void)[] | undefined;
  private released = false;

  constructor(
    apiKey: number,
    apiVersion: number,
    correlationId: number,
    clientId: string | null,
    connection: ClientConnection,
    handler: AnyHandler,
    request: unknown,
  ) {
    this.apiKey = apiKey;
    this.apiVersion = apiVersion;
    this.correlationId = correlationId;
    this.clientId = clientId;
    this.connection = connection;
    this.handler = handler;
    this.request = request;
  }

  afterSent(release: () => void): void {
    if (this.released) {
      release();
      return;
    }
    this.releases ??= [];
    this.releases.push(release);
  }

  throttle(waitMs: number): void {
    this.throttleMs = Math.max(this.throttleMs, waitMs);
  }

  /** True where somebody waits for the answer to have left. */
  get hasReleases(): boolean {
    return this.releases !== undefined;
  }

  /** The answer has left, or never will. */
  release(): void {
    this.released = true;
    this.answer = noBuffers;
    const releases = this.releases;
    if (releases === undefined) return;
    this.releases = undefined;
    for (const release of releases) release();
  }
}

const noBuffers: readonly Buffer[] = [];

export class ResponseQueue {
  private head: RequestInFlight | undefined;
  private tail: RequestInFlight | undefined;
  private count = 0;

  get size(): number {
    return this.count;
  }

  push(request: RequestInFlight): void {
    if (this.tail === undefined) this.head = request;
    else this.tail.next = request;
    this.tail = request;
    this.count += 1;
  }

  /** Takes the oldest request if it is finished. */
  takeFinished(): RequestInFlight | undefined {
    const head = this.head;
    return head === undefined || head.state === 'running' ? undefined : this.take();
  }

  /** Takes the oldest request, finished or not. */
  take(): RequestInFlight | undefined {
    const head = this.head;
    if (head === undefined) return undefined;
    this.head = head.next;
    if (this.head === undefined) this.tail = undefined;
    head.next = undefined;
    this.count -= 1;
    return head;
  }
}
