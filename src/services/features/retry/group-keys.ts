/** The settings that a group has for records that fail: when they come again, and where they end. */
import {
  atLeast,
  between,
  ConfigError,
  define,
  oneOf,
  type Validator,
} from '../../configuration/config-definition.ts';
import { topicNameFault } from '../../topics/topic-name.ts';
import { defaultDelays, longestRetryDelayMs, parseDelays } from './retry-schedule.ts';

const dynamic = { update: 'cluster-wide' } as const;

const delays: Validator = (value) => {
  try {
    parseDelays(value as readonly string[]);
    return undefined;
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
};

const notLess =
  (least: number): Validator =>
  (value) =>
    typeof value === 'number' && value >= least && Number.isFinite(value)
      ? undefined
      : `Value must be at least ${least}`;

const topicName: Validator = (value) => (value === '' ? undefined : topicNameFault(String(value)));

export const retryGroupKeys = [
  define(
    'rmq.retry.enable',
    'BOOLEAN',
    false,
    'Records that fail come again with growing delays and end as dead letters, for this group alone. Turning it on makes the topics retry.<group> and dlq.<group>.',
    dynamic,
  ),
  define(
    'rmq.retry.max.times',
    'INT',
    16,
    'How often a record comes again before it becomes a dead letter.',
    { valid: between(0, 1_000_000), ...dynamic },
  ),
  define(
    'rmq.retry.policy',
    'STRING',
    'customized',
    'What the delays are taken from: customized from rmq.retry.delays, exponential from rmq.retry.exponential.*.',
    { valid: oneOf('customized', 'exponential'), ...dynamic },
  ),
  define(
    'rmq.retry.delays',
    'LIST',
    defaultDelays,
    'The delay before each retry, with ms, s, m, h or d; the last repeats.',
    { valid: delays, ...dynamic },
  ),
  define(
    'rmq.retry.exponential.initial.ms',
    'LONG',
    5_000,
    'With rmq.retry.policy exponential: the first delay.',
    { valid: between(0, longestRetryDelayMs), ...dynamic },
  ),
  define(
    'rmq.retry.exponential.max.ms',
    'LONG',
    7_200_000,
    'With rmq.retry.policy exponential: the longest delay.',
    { valid: between(0, longestRetryDelayMs), ...dynamic },
  ),
  define(
    'rmq.retry.exponential.multiplier',
    'DOUBLE',
    2,
    'With rmq.retry.policy exponential: what each delay is times the one before.',
    { valid: notLess(1), ...dynamic },
  ),
  define(
    'rmq.retry.jitter.pct',
    'INT',
    0,
    'How much longer than said a delay may be by chance, in hundredths of it; never shorter.',
    { valid: between(0, 100), ...dynamic },
  ),
  define('rmq.retry.topic', 'STRING', '', 'The retry topic; empty for retry.<group>.', {
    valid: topicName,
    ...dynamic,
  }),
  define(
    'rmq.retry.dedup.ms',
    'LONG',
    600_000,
    'How long a second failure of the same delivery (topic, partition and offset) is taken for a repeat of the first and ignored.',
    { valid: atLeast(0), ...dynamic },
  ),
  define(
    'rmq.poison.guard.resumes',
    'INT',
    0,
    'Poison-pill guard: a record from which the group resumed so often without passing it is taken out of its way, to the retry topic where a member reads that, else to the dead letters. For classic groups that commit; 0 is off, and 1 counts as 2.',
    { valid: between(0, 1_000), ...dynamic },
  ),
  define(
    'rmq.poison.guard.interval.ms',
    'INT',
    5_000,
    'Poison-pill guard: resumes that follow each other faster count as one, as when several members join.',
    { valid: atLeast(0), ...dynamic },
  ),
] as const;
