/** How many partitions one request may make or delete (KIP-599): what CreateTopics, DeleteTopics and CreatePartitions have in common. */
import { type Quotas, unlimitedChanges } from '../services/quotas/quotas.ts';
import type { ChangeRation } from '../services/topics/topic-catalogue.ts';
import type { RequestContext } from './handler.ts';

/** `firstStrictVersion`: from there on clients know that they may be told to come again. */
export function changeRation(
  quotas: Pick<Quotas, 'changesOf'> | undefined,
  { apiVersion, clientId, connection }: RequestContext,
  firstStrictVersion: number,
): { readonly mayChange: ChangeRation; settle(): number } {
  const client = { principal: connection.principal, clientId };
  const quota = quotas?.changesOf(client, apiVersion >= firstStrictVersion) ?? unlimitedChanges;
  // A change that met another one is planned again, and counts once.
  const decided = new Map<string, boolean>();
  return {
    mayChange(topic, partitions) {
      const before = decided.get(topic);
      if (before !== undefined) return before;
      const may = quota.take(partitions);
      decided.set(topic, may);
      return may;
    },
    settle: () => quota.settle(),
  };
}
