/**
 * Queues of the broker's own that are no topic: no client sees, reads or writes them. They are named like `__rmq_delay`, and no
 * topic may be called so. Knows nothing of what lies in them.
 */
import type { Catalogue, QueueId } from '../../storage/engine.ts';
import { firstQueueId, nextQueueKey } from './queue-ids.ts';

/** Names of topics may not start so. */
export const hiddenPrefix = '__rmq_';

const keyPrefix = 'hidden-queues/';
/** How often it is tried again while others make queues at the same moment. */
const maxAttempts = 100;

/** The queues of this name, as many as they were made with; made now, `count` of them, where there are none. Durable. */
export async function ensureHiddenQueues(
  catalogue: Catalogue,
  name: `${typeof hiddenPrefix}${string}`,
  count: number,
): Promise<readonly QueueId[]> {
  const key = keyPrefix + name;
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const present = catalogue.get(key);
    if (present !== undefined) return readQueues(present.value);
    const next = catalogue.get(nextQueueKey);
    const first = next === undefined ? firstQueueId : Number(next.value.toString());
    const queues = Array.from({ length: count }, (_, at) => first + at);
    const result = await catalogue.update({
      changes: [
        { key: nextQueueKey, expectedVersion: next?.version ?? 0, value: Buffer.from(String(first + count)) },
        { key, expectedVersion: 0, value: Buffer.from(JSON.stringify([formatVersion, ...queues])) },
      ],
      createQueues: queues,
    });
    if (result.outcome === 'done') return queues;
  }
  throw new Error(`queues were made by others ${maxAttempts} times while ${name} was to be made`);
}

const formatVersion = 1;

function readQueues(value: Buffer): readonly QueueId[] {
  const [version, ...queues] = JSON.parse(value.toString()) as number[];
  if (version !== formatVersion) throw new Error(`unknown format ${String(version)} of stored hidden queues`);
  return queues;
}
