/**
 * What a part of the broker may say to the log. Fields go first, as in pino; names follow Kafka's words
 * (`client.id`, `topic`, `partition`, `correlation_id`). Knows nothing of where lines go.
 */
export type LogFields = Readonly<Record<string, unknown>>;

/** From most said to nothing. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

export interface Log {
  /** What is said at all; one level for all components, and it may change while the broker runs. */
  level: LogLevel;
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** The same log with `component` on every line. */
  component(name: string): Log;
}

/** Says nothing: for tests and for parts used on their own. */
export const silentLog: Log = {
  level: 'silent',
  debug() {},
  info() {},
  warn() {},
  error() {},
  component: () => silentLog,
};
