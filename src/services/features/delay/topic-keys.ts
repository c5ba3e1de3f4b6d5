/** The topic settings of delayed records, and the broker settings that they fall back to. */
import { atLeast, ConfigError, define, oneOf } from '../../configuration/config-definition.ts';
import { messageTypeKey, messageTypes } from '../control-headers.ts';

const dynamic = { update: 'cluster-wide' } as const;
const typeWords =
  'What records may ask for by control headers: NORMAL and FIFO nothing, DELAY later delivery, TRANSACTION half messages, MIXED everything.';
const maxWords = 'The longest delay that a record may ask for.';
const defaultMaxDelayMs = 259_200_000;

export const delayTopicKeys = [
  define(messageTypeKey, 'STRING', 'NORMAL', typeWords, { valid: oneOf(...messageTypes), ...dynamic }),
  define(
    'rmq.delay.default.ms',
    'LONG',
    -1,
    'The delay of records that ask for none themselves, with rmq.message.type DELAY or MIXED; -1 delivers them at once.',
    { valid: atLeast(-1), ...dynamic },
  ),
  define('rmq.delay.max.ms', 'LONG', defaultMaxDelayMs, maxWords, { valid: atLeast(0), ...dynamic }),
  define(
    'rmq.role',
    'STRING',
    'plain',
    'What producing to the topic does: plain appends, delay-op acts on delayed records of the topic that its name delay.op.<topic> says, txn-op decides about half messages, retry delivers what failed again.',
    { valid: oneOf('plain', 'delay-op', 'txn-op', 'retry'), ...dynamic },
  ),
] as const;

export const delayBrokerKeys = [
  define(messageTypeKey, 'STRING', 'NORMAL', `${typeWords} For topics that do not say it themselves.`, {
    valid: oneOf(...messageTypes),
    ...dynamic,
  }),
  define('rmq.delay.max.ms', 'LONG', defaultMaxDelayMs, maxWords, { valid: atLeast(0), ...dynamic }),
  define(
    'rmq.delay.outcome.retention.ms',
    'LONG',
    86_400_000,
    'How long it is remembered that a delayed record with a message id was delivered or cancelled, to answer who asks.',
    { valid: atLeast(0), ...dynamic },
  ),
  define(
    'rmq.virtual.clock',
    'BOOLEAN',
    false,
    'For development: time may be moved forward over HTTP. The data directory keeps the time that it was moved to.',
  ),
] as const;

export const delayFallbacks = {
  [messageTypeKey]: messageTypeKey,
  'rmq.delay.max.ms': 'rmq.delay.max.ms',
} as const;

/** Throws ConfigError where a default delay could never be. */
export function checkDelaySettings(type: string, defaultDelayMs: number, maxDelayMs: number): void {
  if (defaultDelayMs <= 0) return;
  if (type !== 'DELAY' && type !== 'MIXED') {
    throw new ConfigError(
      `conflict topic config setting rmq.delay.default.ms (${defaultDelayMs}) and ${messageTypeKey} (${type}): only DELAY and MIXED delay records`,
    );
  }
  if (defaultDelayMs > maxDelayMs) {
    throw new ConfigError(
      `conflict topic config setting rmq.delay.default.ms (${defaultDelayMs}) > rmq.delay.max.ms (${maxDelayMs})`,
    );
  }
}
