/** The topic setting of retries; rmq.role stands with those of delayed records. */
import { define } from '../../configuration/config-definition.ts';

export const retryTopicKeys = [
  define(
    'rmq.retry.group',
    'STRING',
    '',
    'With rmq.role retry: the group whose failed records are produced here and delivered again; empty takes what follows retry. in the name.',
    { update: 'cluster-wide' },
  ),
] as const;
