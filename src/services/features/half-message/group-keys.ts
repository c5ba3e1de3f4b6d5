/** The settings that a producer group has for its half messages; it is the consumer group of the same id that has them. */
import { atLeast, define, oneOf } from '../../configuration/config-definition.ts';

const dynamic = { update: 'cluster-wide' } as const;

export const halfGroupKeys = [
  define(
    'rmq.txn.timeout.ms',
    'INT',
    6_000,
    'How long a half message waits for a decision before it is asked for.',
    {
      valid: atLeast(0),
      ...dynamic,
    },
  ),
  define('rmq.txn.check.interval.ms', 'INT', 30_000, 'Time between two checks of a half message.', {
    valid: atLeast(1),
    ...dynamic,
  }),
  define('rmq.txn.check.max', 'INT', 15, 'Checks that are not answered before a half message is discarded.', {
    valid: atLeast(1),
    ...dynamic,
  }),
  define(
    'rmq.txn.max.age.ms',
    'LONG',
    259_200_000,
    'Age at which an undecided half message is discarded, even if nobody could be asked.',
    { valid: atLeast(1), ...dynamic },
  ),
  define(
    'rmq.txn.timeout.action',
    'STRING',
    'abort',
    "What becomes of a Kafka transaction whose time is up and whose transactional id begins with the group's name: abort, or check: its producer is fenced, the group is asked in its check topic, and it is aborted after rmq.txn.check.max intervals without a decision.",
    { valid: oneOf('abort', 'check'), ...dynamic },
  ),
  define(
    'rmq.txn.check.url',
    'STRING',
    '',
    'Checks are also posted there; its origin must be one of rmq.txn.check.url.allow. Empty: only the check topic.',
    dynamic,
  ),
] as const;
