/** What the connection layer counts: plain numbers, read when somebody asks. Knows nothing of metrics formats. */

const trackedApiKeys = 128;

export class ConnectionCounters {
  connectionsAccepted = 0;
  connectionsClosed = 0;
  bytesIn = 0;
  bytesOut = 0;
  requests = 0;
  answers = 0;
  /** Requests whose handler threw. */
  faults = 0;
  /** Times a connection stopped being read from: full of requests in flight, of unread answers, no budget, no room. */
  pauses = 0;
  /** Started requests by API key. */
  readonly requestsByApi = new Float64Array(trackedApiKeys);
}
