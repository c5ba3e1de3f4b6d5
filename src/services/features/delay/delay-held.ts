/**
 * Delayed records that were produced in a Kafka transaction: what their step gives to be held, and what a commit makes of it, which is the
 * timers that the step itself would have put. When they are due was fixed when they came; what is due before the commit is delivered
 * right after it.
 */
import type { IndexChange } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { HeldCommit, HeldHandler, HeldRecord } from '../../transactions/held-records.ts';
import type { TimerEngine } from '../timers/timer-engine.ts';
import { readUint64, type Timer, timerPut, writeUint64 } from '../timers/timer-row.ts';
import { type DelayedBatch, decodeDelayedBatch, delayTimer, encodeDelayedBatch } from './delay-row.ts';
import { idEnded, idPut } from './message-ids.ts';

const delayedForm = 1;
const deliveredForm = 2;
const topicIdBytes = 16;

/** Of a batch that waits in the entry that this is held for. */
export function heldDelayed(batch: DelayedBatch, dueMs: number): Buffer {
  const head = Buffer.alloc(9);
  head[0] = delayedForm;
  writeUint64(head, dueMs, 1);
  return Buffer.concat([head, encodeDelayedBatch(batch)]);
}

/** Of a record that was due when it came, and is delivered with the commit: its message id. */
export function heldDelivered(topicId: string, messageId: Buffer): Buffer {
  return Buffer.concat([Buffer.from([deliveredForm]), Buffer.from(topicId, 'base64url'), messageId]);
}

export interface DelayHeldOptions {
  readonly timers: TimerEngine;
  readonly clock: Clock;
  readonly outcomeKeptMs: () => number;
  /** Told how many records were scheduled. */
  readonly scheduled: (records: number) => void;
}

export class DelayHeld implements HeldHandler {
  private readonly options: DelayHeldOptions;

  constructor(options: DelayHeldOptions) {
    this.options = options;
  }

  commit(records: readonly HeldRecord[]): HeldCommit {
    const { timers, clock, outcomeKeptMs } = this.options;
    const nowMs = clock.nowMs();
    const changes: IndexChange[] = [];
    const put: Timer[] = [];
    let recordCount = 0;
    for (const { source, payload } of records) {
      switch (payload[0]) {
        case delayedForm: {
          const batch = decodeDelayedBatch(payload.subarray(9));
          const dueMs = Math.max(readUint64(payload, 1), nowMs);
          const timer = delayTimer(batch, dueMs, source.queue, source.offset);
          changes.push(timerPut(timer));
          if (batch.messageId !== undefined) changes.push(idPut(batch.topicId, batch.messageId, timer));
          put.push(timer);
          recordCount += batch.recordCount;
          break;
        }
        case deliveredForm: {
          const topicId = payload.toString('base64url', 1, 1 + topicIdBytes);
          const messageId = payload.subarray(1 + topicIdBytes);
          const ended = idEnded(topicId, messageId, 'delivered', nowMs, outcomeKeptMs());
          changes.push(...ended.changes);
          if (ended.timer !== undefined) put.push(ended.timer);
          break;
        }
        default:
          throw new RangeError(`a held delayed record in an unknown format ${payload[0]}`);
      }
    }
    for (const timer of put) timers.moving(timer);
    return {
      changes,
      committed: () => {
        for (const timer of put) timers.added(timer);
        this.options.scheduled(recordCount);
      },
    };
  }
}
