/**
 * What firing the timer of a delayed batch does: the batch becomes visible in its partition, in the group that deletes the timer. A
 * link where its bytes can stay; a copy where the topic stamps the append time, or where the due time was changed.
 */
import { isBatchIntact, setBatchMaxTimestamp } from '../../../../protocol/records/record-batch.ts';
import type { AppendEntry, MaybePromise, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Topic, TopicDirectory } from '../../topics/topic.ts';
import type { Discard, FirePlan, TimerHandler } from '../timers/timer-engine.ts';
import type { Timer } from '../timers/timer-row.ts';
import { type DelayedBatch, decodeDelayedBatch, topicIdOf } from './delay-row.ts';
import { withDueTime } from './delayed-records.ts';
import {
  type DelayOutcome,
  idEnded,
  idHolds,
  messageIdIndex,
  messageIdKey,
  outcomeToForget,
  readMessageIdState,
} from './message-ids.ts';

export interface DelayDeliveryOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'byId'>;
  readonly clock: Clock;
  readonly outcomeKeptMs: () => number;
}

/** What an entry, its header and its rows cost beside the payload, roughly. */
const entryOverheadBytes = 512;

export class DelayDelivery implements TimerHandler {
  readonly name: string = 'delayed_delivery';
  private readonly options: DelayDeliveryOptions;

  constructor(options: DelayDeliveryOptions) {
    this.options = options;
  }

  async prepare(timers: readonly Timer[], look: boolean): Promise<readonly (FirePlan | Discard)[]> {
    const plans: (FirePlan | Discard)[] = [];
    for (const timer of timers) {
      const plan = this.planOf(timer, 'delivered', look);
      plans.push(plan instanceof Promise ? await plan : plan);
    }
    return plans;
  }

  subjectOf(timer: Timer): string | undefined {
    return this.options.topics.byId(topicIdOf(timer.payload))?.name;
  }

  /** `look`: the message id may stand for another record by now. */
  planOf(timer: Timer, outcome: DelayOutcome, look: boolean): MaybePromise<FirePlan | Discard> {
    const batch = decodeDelayedBatch(timer.payload);
    const topic = this.options.topics.byId(batch.topicId);
    if (topic?.partitions[batch.partition] === undefined) return { discard: 'topic-deleted' };
    if (look && batch.messageId !== undefined) return this.planAfterLook(timer, batch, topic, outcome);
    const entry = this.entryOf(timer, batch, topic);
    return entry instanceof Promise
      ? entry.then((made) => this.planWith(made, timer, batch, topic, outcome))
      : this.planWith(entry, timer, batch, topic, outcome);
  }

  private async planAfterLook(
    timer: Timer,
    batch: DelayedBatch,
    topic: Topic,
    outcome: DelayOutcome,
  ): Promise<FirePlan | Discard> {
    if (!(await this.isNewestOfItsId(batch.topicId, batch.messageId!, timer)))
      return { discard: 'superseded' };
    return this.planWith(await this.entryOf(timer, batch, topic), timer, batch, topic, outcome);
  }

  private planWith(
    entry: AppendEntry,
    timer: Timer,
    batch: DelayedBatch,
    topic: Topic,
    outcome: DelayOutcome,
  ): FirePlan {
    const { topicId, messageId } = batch;
    const sizeBytes = batch.sizeBytes + entryOverheadBytes;
    if (messageId === undefined) return { entries: [entry], sizeBytes, subject: topic.name };
    const nowMs = this.options.clock.nowMs();
    const ended = idEnded(topicId, messageId, outcome, nowMs, this.options.outcomeKeptMs());
    return {
      entries: [entry],
      changes: ended.changes,
      conditions: [idHolds(topicId, messageId, timer)],
      scheduled: ended.timer === undefined ? [] : [{ timer: ended.timer }],
      sizeBytes,
      subject: topic.name,
    };
  }

  private async isNewestOfItsId(topicId: string, id: Buffer, timer: Timer): Promise<boolean> {
    const value = await this.options.engine.index(messageIdIndex).get(messageIdKey(topicId, id));
    if (value === undefined) return false;
    const state = readMessageIdState(value);
    return (
      state.state === 'pending' &&
      state.dueMs === timer.dueMs &&
      state.source.queue === timer.source.queue &&
      state.source.offset === timer.source.offset
    );
  }

  private entryOf(timer: Timer, batch: DelayedBatch, topic: Topic): MaybePromise<AppendEntry> {
    const target = {
      queue: topic.partitions[batch.partition]!.queue,
      kind: 'data',
      count: batch.recordCount,
      maxTimestampMs: batch.maxTimestampMs,
    } as const;
    const stampsAppendTime = topic.settings.messageTimestampType === 'LogAppendTime';
    if (!stampsAppendTime && !batch.isMoved) return { ...target, payload: batch.inRow ?? timer.source };
    const finish = (stored: Buffer | undefined): AppendEntry => {
      // The engine says the same of a link, and the timer engine knows what to do then.
      if (stored === undefined) return { ...target, payload: timer.source };
      const payload = batch.isMoved ? withDueTime(stored, timer.dueMs) : stored;
      if (!stampsAppendTime) return { ...target, payload };
      const nowMs = this.options.clock.nowMs();
      setBatchMaxTimestamp(payload, 0, 'LogAppendTime', nowMs);
      return { ...target, maxTimestampMs: nowMs, payload };
    };
    return batch.inRow === undefined ? this.readBatch(timer).then(finish) : finish(Buffer.from(batch.inRow));
  }

  /** A copy. */
  private async readBatch({ source }: Timer): Promise<Buffer | undefined> {
    const result = await this.options.engine.read(source.queue, {
      fromOffset: source.offset,
      maxBytes: 0,
      atLeastOne: true,
    });
    if (result.outcome !== 'read') return undefined;
    const bytes = Buffer.concat(result.payloads);
    const { baseOffset } = result;
    result.release();
    return baseOffset === source.offset && isBatchIntact(bytes, 0, bytes.length) ? bytes : undefined;
  }
}

/** Forgets how a record ended, when nobody will ask any more. */
export class OutcomeExpiry implements TimerHandler {
  readonly name = 'delayed_outcome';

  async prepare(timers: readonly Timer[], look: boolean): Promise<readonly (FirePlan | Discard)[]> {
    return timers.map((timer) => {
      // The id was used again.
      if (look) return { discard: 'outcome-replaced' };
      const { change, condition } = outcomeToForget(timer);
      return { entries: [], changes: [change], conditions: [condition], sizeBytes: entryOverheadBytes };
    });
  }
}
