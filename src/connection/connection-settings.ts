/**
 * The named limits of the connection layer. Each stands in the broker's configuration under the key beside it; the values
 * here come from there. Knows nothing of where settings are read.
 */
export interface ConnectionSettings {
  /** socket.request.max.bytes: a frame that announces more closes its connection. */
  readonly maxRequestBytes: number;
  /** queued.max.request.bytes: bytes of all frames that are still arriving, or have arrived and wait to be started. */
  readonly maxBufferedRequestBytes: number;
  /** rmq.connection.max.requests.in.flight: started and not yet answered, for one connection. */
  readonly maxRequestsInFlight: number;
  /** rmq.connection.max.fetches.in.flight: of those, requests whose answers carry records. */
  readonly maxFetchesInFlight: number;
  /** rmq.connection.max.pending.answer.bytes: answers that the client has not taken; no request is started above it. */
  readonly maxPendingAnswerBytes: number;
  /** max.connections, over all listeners. */
  readonly maxConnections: number;
  /** max.connections.per.ip */
  readonly maxConnectionsPerAddress: number;
  /** max.connections.per.ip.overrides: remote address -> limit. */
  readonly maxConnectionsByAddress: ReadonlyMap<string, number>;
  /** connections.max.idle.ms; Infinity for never. */
  readonly maxIdleMs: number;
  /** socket.listen.backlog.size */
  readonly listenBacklog: number;
  /** rmq.shutdown.timeout.ms: how long a drain waits for requests in flight. */
  readonly drainTimeoutMs: number;
}

/** The defaults, for tests and for what the configuration leaves out. */
export const defaultConnectionSettings: ConnectionSettings = {
  maxRequestBytes: 100 * 1024 * 1024,
  maxBufferedRequestBytes: 256 * 1024 * 1024,
  maxRequestsInFlight: 1000,
  maxFetchesInFlight: 8,
  maxPendingAnswerBytes: 4 * 1024 * 1024,
  maxConnections: Number.MAX_SAFE_INTEGER,
  maxConnectionsPerAddress: Number.MAX_SAFE_INTEGER,
  maxConnectionsByAddress: new Map(),
  maxIdleMs: 600_000,
  listenBacklog: 511,
  drainTimeoutMs: 10_000,
};
