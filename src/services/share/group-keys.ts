/** The settings that a share group has beyond Kafka's. */
import { between, define } from '../configuration/config-definition.ts';

const dynamic = { update: 'cluster-wide' } as const;

export const shareGroupKeys = [
  define(
    'rmq.retry.backoff.on.timeout',
    'BOOLEAN',
    false,
    'With rmq.retry.enable: what a share group does not acknowledge in time waits like what it gives back; else it comes again at once.',
    dynamic,
  ),
  define(
    'rmq.consume.orderly',
    'BOOLEAN',
    false,
    'A share group gets the records of a partition in order: nothing more of it is handed out before all that was is acknowledged.',
    dynamic,
  ),
  define(
    'rmq.suspend.ms',
    'INT',
    1_000,
    'With rmq.consume.orderly: how long a partition rests after a record of it was given back.',
    { valid: between(10, 30_000), ...dynamic },
  ),
] as const;
