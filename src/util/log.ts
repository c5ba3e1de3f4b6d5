/**
 * What a part of the broker may say to the log. Fields go first, as in pino; names follow Kafka's words
 * (`client.id`, `topic`, `partition`, `correlation_id`). Knows nothing of where lines go.
 */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** The same log with `component` on every line. */
  component(name: string): Log;
}

/** Says nothing: for tests and for parts used on their own. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  component: () => silentLog,
};
