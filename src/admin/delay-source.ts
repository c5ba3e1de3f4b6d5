/** Delayed records as the HTTP side asks about them: the service's answers in the words of delay-admin.ts. */

import { longestMessageId } from '../services/features/delay/delay-headers.ts';
import type { DelayOperation, DelayOperations } from '../services/features/delay/delay-operations.ts';
import type { TopicDirectory } from '../services/topics/topic.ts';
import type { Clock } from '../util/clock.ts';
import type { DelayAdmin, DelayedAction } from './delay-admin.ts';

export interface DelaySourceOptions {
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly operations: DelayOperations;
  readonly clock: Clock;
}

export function delaySource({ topics, operations, clock }: DelaySourceOptions): DelayAdmin {
  const operationOf = (messageId: Buffer, asked: DelayedAction): DelayOperation => {
    if (asked.action !== 'reschedule') return { action: asked.action, messageId };
    const dueMs = 'dueMs' in asked ? asked.dueMs : clock.nowMs() + asked.delayMs;
    return { action: 'reschedule', messageId, dueMs };
  };
  return {
    async list(name, range) {
      const topic = name === undefined ? undefined : topics.get(name);
      if (name !== undefined && topic === undefined) return 'unknown-topic';
      const page = await operations.list(topic, (id) => topics.byId(id)?.name, range);
      if (page === undefined) return undefined;
      return {
        messages: page.records.map((record) => ({
          topic: record.topic,
          partition: record.partition,
          messageId: record.messageId?.toString('utf8') ?? null,
          due: new Date(record.dueMs).toISOString(),
          dueMs: record.dueMs,
          stored: new Date(record.storedMs).toISOString(),
          records: record.recordCount,
          bytes: record.sizeBytes,
        })),
        next: page.next ?? null,
      };
    },
    async act(name, id, asked) {
      const topic = topics.get(name);
      if (topic === undefined) {
        return { outcome: 'refused', reason: 'unknown-topic', message: `there is no topic ${name}` };
      }
      const messageId = Buffer.from(id, 'utf8');
      if (messageId.length === 0 || messageId.length > longestMessageId) {
        const message = `a message id has 1 to ${longestMessageId} bytes`;
        return { outcome: 'refused', reason: 'invalid', message };
      }
      const { answers } = await operations.perform(topic, [operationOf(messageId, asked)]);
      const [answer] = answers;
      if (answer === undefined || answer.outcome === 'failed') return { outcome: 'failed' };
      if (answer.outcome === 'done') return answer;
      return { outcome: 'refused', reason: answer.state, message: answer.message };
    },
  };
}
