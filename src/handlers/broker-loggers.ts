/**
 * The broker's loggers as the BROKER_LOGGER resource shows them: one, `root`, whose level may be changed while the broker
 * runs (KIP-412). A change is not kept over a restart, as in Kafka.
 */
import { type ApiError, apiError } from '../services/api-error.ts';
import { configSources, define } from '../services/configuration/config-definition.ts';
import { type ConfigOperation, configOperations } from '../services/configuration/config-operations.ts';
import type { Log, LogLevel } from '../util/log.ts';

const rootLogger = define(
  'root',
  'STRING',
  'INFO',
  'What the broker says to its log: FATAL, ERROR, WARN, INFO, DEBUG or TRACE.',
  { update: 'per-broker' },
);

const levelOfName = new Map<string, LogLevel>([
  ['FATAL', 'fatal'],
  ['ERROR', 'error'],
  ['WARN', 'warn'],
  ['INFO', 'info'],
  ['DEBUG', 'debug'],
  ['TRACE', 'trace'],
]);

export function describeLoggers(log: Log) {
  const text = log.level === 'silent' ? 'OFF' : log.level.toUpperCase();
  return [{ definition: rootLogger, text, source: configSources.DYNAMIC_BROKER_LOGGER_CONFIG, synonyms: [] }];
}

/** Changes the root logger's level; every fault in Kafka's words. */
export function changeLoggers(
  log: Log,
  operations: readonly ConfigOperation[],
  validateOnly: boolean,
): ApiError | undefined {
  const listed = operations.find(({ operation }) => operation >= configOperations.APPEND);
  if (listed !== undefined) {
    const word = listed.operation === configOperations.APPEND ? 'APPEND' : 'SUBTRACT';
    return apiError('INVALID_REQUEST', `${word} operation is not allowed for the BROKER_LOGGER resource`);
  }
  let level: LogLevel | undefined;
  for (const { name, operation, value } of operations) {
    if (name !== rootLogger.name) return apiError('INVALID_CONFIG', `Logger ${name} does not exist!`);
    if (operation === configOperations.DELETE) {
      return apiError('INVALID_REQUEST', `Removing the log level of the ${name} logger is not allowed`);
    }
    level = levelOfName.get(value ?? '');
    if (level === undefined) {
      const known = [...levelOfName.keys()].join(', ');
      return apiError(
        'INVALID_CONFIG',
        `Cannot set the log level of ${name} to ${value} as it is not a supported log level. Valid log levels are ${known}`,
      );
    }
  }
  if (level !== undefined && !validateOnly) log.level = level;
  return undefined;
}
