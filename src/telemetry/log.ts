/**
 * The broker's log: pino, one JSON object a line, or a line for people where the output is a terminal. Written
 * synchronously, so that the last line before an exit is never lost; hot paths do not log.
 */
import { type DestinationStream, type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino';
import type { Log, LogFields, LogLevel } from '../util/log.ts';

export const logLevels: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

export interface LogOptions {
  readonly level: LogLevel;
  /** Lines for people instead of JSON. */
  readonly readable: boolean;
  /** Takes one whole line a call, newline included. */
  readonly write: (line: string) => void;
}

class PinoLog implements Log {
  private readonly logger: Logger;
  private readonly name: string | undefined;

  constructor(logger: Logger, name?: string) {
    this.logger = logger;
    this.name = name;
  }

  get level(): LogLevel {
    return this.logger.level as LogLevel;
  }

  set level(level: LogLevel) {
    this.logger.level = level;
  }

  debug(fields: LogFields, message: string): void {
    this.logger.debug(this.named(fields), message);
  }

  info(fields: LogFields, message: string): void {
    this.logger.info(this.named(fields), message);
  }

  warn(fields: LogFields, message: string): void {
    this.logger.warn(this.named(fields), message);
  }

  error(fields: LogFields, message: string): void {
    this.logger.error(this.named(fields), message);
  }

  component(name: string): Log {
    return new PinoLog(this.logger, name);
  }

  // No child logger: those keep the level that they were made with.
  private named(fields: LogFields): LogFields {
    return this.name === undefined ? fields : { component: this.name, ...fields };
  }
}

export function createLog(options: LogOptions): Log {
  const settings: LoggerOptions = {
    level: options.level,
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { error: describeError },
  };
  const destination: DestinationStream = {
    write: options.readable ? (line) => options.write(readableLine(line)) : options.write,
  };
  return new PinoLog(pino(settings, destination));
}

/** What a log line says of an error: its stack where it is a fault of ours, else its message. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = (error as NodeJS.ErrnoException).code;
  return {
    name: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    stack: error.stack,
  };
}

const ownKeys = new Set(['level', 'time', 'component', 'msg', 'error']);

/** `10:31:07.042 WARN  [connection] message  key=value ...`, with the stack of an error on lines of its own. */
export function readableLine(line: string): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const time = typeof entry['time'] === 'string' ? entry['time'].slice(11, 23) : '';
  const component = entry['component'] === undefined ? '' : `[${String(entry['component'])}] `;
  let text = `${time} ${String(entry['level']).toUpperCase().padEnd(5)} ${component}${String(entry['msg'] ?? '')}`;
  for (const [key, value] of Object.entries(entry)) {
    if (ownKeys.has(key)) continue;
    text += `  ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`;
  }
  const error = entry['error'];
  if (typeof error === 'object' && error !== null) {
    const { message, stack } = error as { message?: unknown; stack?: unknown };
    text += typeof stack === 'string' ? `\n${stack}` : `  error=${String(message)}`;
  } else if (error !== undefined) text += `  error=${String(error)}`;
  return `${text}\n`;
}
