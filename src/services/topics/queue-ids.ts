/** Where the id of the next queue is kept: every change of topics and queues moves this row of the catalogue. */
import type { QueueId } from '../../storage/engine.ts';

export const nextQueueKey = 'topics-next-queue';
export const firstQueueId: QueueId = 1;
