/** What the topics of a producer group are called. Clients know it, too. */
import { featureTopicName } from '../feature-topics.ts';

export const checkPrefix = 'txn.check.';
export const operationPrefix = 'txn.op.';
export const discardPrefix = 'txn.discard.';

export const checkTopicOf = (group: string): string => featureTopicName(checkPrefix, group);
export const operationTopicOf = (group: string): string => featureTopicName(operationPrefix, group);
export const discardTopicOf = (group: string): string => featureTopicName(discardPrefix, group);
