/** The topic setting of half messages; rmq.message.type and rmq.role stand with those of delayed records. */
import { define } from '../../configuration/config-definition.ts';
import { halfGroupKeys } from './group-keys.ts';

export const halfTopicKeys = [
  define(
    'rmq.producer.group',
    'STRING',
    '',
    'With rmq.role txn-op: the producer group whose half messages are decided here; empty takes what follows txn.op. in the name.',
    { update: 'cluster-wide' },
  ),
] as const;

export const halfBrokerKeys = [
  // What holds for groups that say nothing themselves.
  ...halfGroupKeys,
  define(
    'rmq.txn.outcome.retention.ms',
    'LONG',
    259_200_000,
    'How long it is remembered how a half message was decided, to tell a repeat from a conflict.',
    { update: 'cluster-wide' },
  ),
  define(
    'rmq.txn.check.url.allow',
    'LIST',
    '',
    'Where checks of half messages may be sent by HTTP (rmq.txn.check.url of a group): origins such as http://127.0.0.1:8080. Empty: nowhere.',
    { update: 'cluster-wide' },
  ),
] as const;
