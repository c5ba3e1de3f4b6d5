/**
 * What happens when nobody has decided about a half message: it is asked for in the check topic of its producer group (and by HTTP where the
 * group says so), again and again, and in the end it goes to the discard topic. A check counts only where somebody could have answered it;
 * the age of a half message bounds the rest. Row, timer and record change in one append group.
 */
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { addInt64 } from '../../../../protocol/records/int64-bytes.ts';
import { batchBaseTimestamp } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch, type RecordInput } from '../../../../protocol/records/record-batch-builder.ts';
import type { AppendEntry, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import { partitionForKey } from '../../coordinator/partition-for-key.ts';
import type { Topic, TopicDirectory } from '../../topics/topic.ts';
import { dueMsHeader } from '../delay/delay-headers.ts';
import type { Discard, FirePlan, TimerHandler } from '../timers/timer-engine.ts';
import { type Timer, timerPut } from '../timers/timer-row.ts';
import { maxHalfBatchBytes } from './half-batch.ts';
import { checkHeaders } from './half-headers.ts';
import {
  checkTimer,
  type HalfId,
  halfEnded,
  halfHolds,
  halfIdOf,
  halfIndex,
  halfKey,
  halfPut,
  halfToForget,
  type PendingHalf,
  readHalf,
} from './half-row.ts';
import { checkTopicOf, discardTopicOf } from './half-topic-names.ts';
import type { HalfTopics } from './half-topics.ts';

export interface CheckSettings {
  readonly intervalMs: number;
  readonly maxChecks: number;
  readonly maxAgeMs: number;
  /** Empty: checks are not sent by HTTP. */
  readonly url: string;
}

/** One question, for those that are asked by HTTP. */
export interface AskedCheck {
  readonly id: HalfId;
  readonly url: string;
  readonly times: number;
  readonly topic: string;
  readonly partition: number;
  readonly bornMs: number;
  readonly record: RecordInput;
}

export interface HalfChecksOptions {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly log: Log;
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly halfTopics: HalfTopics;
  readonly settingsOf: (producerGroup: string) => CheckSettings;
  readonly outcomeKeptMs: () => number;
  /** Whether the group of that id has a member that could answer. */
  readonly isAnyoneThere: (producerGroup: string) => Promise<boolean>;
  /** Sends the question by HTTP, when the check stands in the log; must not throw. */
  readonly ask: (check: AskedCheck) => void;
}

const entryOverheadBytes = 512;

export class HalfChecks implements TimerHandler {
  readonly name = 'half_check';
  private readonly options: HalfChecksOptions;
  checked = 0;
  discarded = 0;

  constructor(options: HalfChecksOptions) {
    this.options = options;
  }

  async prepare(timers: readonly Timer[]): Promise<readonly (FirePlan | Discard)[]> {
    const plans: (FirePlan | Discard)[] = [];
    const there = new Map<string, boolean>();
    for (const timer of timers) plans.push(await this.planOf(timer, there));
    return plans;
  }

  private async planOf(timer: Timer, there: Map<string, boolean>): Promise<FirePlan | Discard> {
    const { engine, clock, topics } = this.options;
    const key = timer.payload;
    const value = await engine.index(halfIndex).get(key);
    const half = value === undefined ? undefined : readHalf(value);
    if (half?.state !== 'pending' || half.checkAtMs !== timer.dueMs) return { discard: 'half-decided' };
    const id = halfIdOf(key);
    const topic = topics.byId(half.topicId);
    const settings = this.options.settingsOf(id.producerGroup);
    const nowMs = clock.nowMs();
    if (topic === undefined) return this.forget(id, half, nowMs);
    const record = await this.recordOf(half);
    const trouble = await this.options.halfTopics.ensure(id.producerGroup);
    if (record === undefined || trouble !== undefined) {
      this.options.log.error(
        { producerGroup: id.producerGroup, trouble: trouble ?? 'its bytes cannot be read' },
        'a half message cannot be asked for now',
      );
      return this.later(id, half, nowMs + settings.intervalMs, [], half.checks);
    }
    const isTooOld = nowMs - half.bornMs >= settings.maxAgeMs;
    if (half.checks >= settings.maxChecks || isTooOld) {
      const reason = isTooOld
        ? 'nobody decided in rmq.txn.max.age.ms'
        : 'rmq.txn.check.max checks without a decision';
      return this.discard(id, half, topic, record, nowMs, reason);
    }
    let canAnswer = there.get(id.producerGroup);
    if (canAnswer === undefined) {
      canAnswer = settings.url !== '' || (await this.options.isAnyoneThere(id.producerGroup));
      there.set(id.producerGroup, canAnswer);
    }
    const nextMs = Math.min(nowMs + settings.intervalMs, half.bornMs + settings.maxAgeMs);
    const next = Math.max(nextMs, nowMs + 1);
    // Nobody would read it: the check topic is not filled, and the check does not count.
    if (!canAnswer) return this.later(id, half, next, [], half.checks);
    this.checked++;
    const times = half.checks + 1;
    const said = headersOf(id, half, topic.name, [[checkHeaders.checkTimes, String(times)]]);
    const entry = this.entryFor(this.options.topics.get(checkTopicOf(id.producerGroup))!, id, record, said);
    if (settings.url !== '') {
      this.options.ask({
        id,
        url: settings.url,
        times,
        topic: topic.name,
        partition: half.partition,
        bornMs: half.bornMs,
        record,
      });
    }
    return this.later(id, half, next, [entry], times);
  }

  /** Asked for again at that time. */
  private later(
    id: HalfId,
    half: PendingHalf,
    checkAtMs: number,
    entries: readonly AppendEntry[],
    checks: number,
  ): FirePlan {
    const next: PendingHalf = { ...half, checkAtMs, checks };
    const timer = checkTimer(id, next);
    return {
      entries,
      changes: [halfPut(id, next), timerPut(timer)],
      conditions: [halfHolds(id, half)],
      scheduled: [{ timer }],
      sizeBytes: sizeOf(entries),
    };
  }

  private discard(
    id: HalfId,
    half: PendingHalf,
    topic: Topic,
    record: RecordInput,
    nowMs: number,
    reason: string,
  ): FirePlan {
    this.discarded++;
    const said = headersOf(id, half, topic.name, [
      [checkHeaders.checkTimes, String(half.checks)],
      [checkHeaders.reason, reason],
    ]);
    const discards = this.options.topics.get(discardTopicOf(id.producerGroup))!;
    const entries = [this.entryFor(discards, id, record, said)];
    const ended = halfEnded(id, 'discarded', nowMs, this.options.outcomeKeptMs());
    return {
      entries,
      changes: ended.changes,
      conditions: [halfHolds(id, half)],
      scheduled: [{ timer: ended.timer }],
      sizeBytes: sizeOf(entries),
    };
  }

  /** Where it would go is gone, so there is nothing to ask. */
  private forget(id: HalfId, half: PendingHalf, nowMs: number): FirePlan {
    const ended = halfEnded(id, 'discarded', nowMs, this.options.outcomeKeptMs());
    return {
      entries: [],
      changes: ended.changes,
      conditions: [halfHolds(id, half)],
      scheduled: [{ timer: ended.timer }],
      sizeBytes: entryOverheadBytes,
    };
  }

  private entryFor(
    topic: Topic,
    id: HalfId,
    record: RecordInput,
    said: NonNullable<RecordInput['headers']>,
  ): AppendEntry {
    const nowMs = this.options.clock.nowMs();
    const realKey = record.key == null ? [] : [{ key: checkHeaders.realKey, value: record.key }];
    const headers = [...(record.headers ?? []), ...said, ...realKey];
    const payload = buildRecordBatch([{ ...record, timestamp: nowMs, key: id.txnId, headers }]);
    const partition =
      topic.partitions[partitionForKey(halfKey(id).toString('latin1'), topic.partitions.length)]!;
    return { queue: partition.queue, kind: 'data', count: 1, maxTimestampMs: nowMs, payload };
  }

  private async recordOf({ source }: PendingHalf): Promise<RecordInput | undefined> {
    const result = await this.options.engine.read(source.queue, {
      fromOffset: source.offset,
      maxBytes: 0,
      atLeastOne: true,
    });
    if (result.outcome !== 'read') return undefined;
    const bytes = Buffer.concat(result.payloads);
    const { baseOffset } = result;
    result.release();
    return baseOffset === source.offset ? onlyRecordOf(bytes) : undefined;
  }
}

/** Forgets how a half message was decided, when nobody will ask any more. */
export class HalfOutcomeExpiry implements TimerHandler {
  readonly name = 'half_outcome';

  async prepare(timers: readonly Timer[], look: boolean): Promise<readonly (FirePlan | Discard)[]> {
    return timers.map((timer) => {
      if (look) return { discard: 'outcome-replaced' };
      const { change, condition } = halfToForget(timer);
      return { entries: [], changes: [change], conditions: [condition], sizeBytes: entryOverheadBytes };
    });
  }
}

/** The record of a batch of one, without what is filled in at delivery. */
export function onlyRecordOf(batch: Buffer): RecordInput | undefined {
  const cursor = openBatch(batch, 0, { limitBytes: maxHalfBatchBytes });
  if (!cursor.next()) return undefined;
  return {
    timestamp: addInt64(batchBaseTimestamp(batch, 0), cursor.timestampDelta),
    key: cursor.key(),
    value: cursor.value(),
    headers: cursor.headers().filter(({ key }) => key.toString('latin1') !== dueMsHeader),
  };
}

function headersOf(
  id: HalfId,
  half: PendingHalf,
  topic: string,
  more: readonly (readonly [string, string])[],
): NonNullable<RecordInput['headers']> {
  const said: (readonly [string, string | Buffer])[] = [
    [checkHeaders.txnId, id.txnId],
    [checkHeaders.producerGroup, id.producerGroup],
    [checkHeaders.realTopic, topic],
    [checkHeaders.realPartition, String(half.partition)],
    [checkHeaders.bornMs, String(half.bornMs)],
    ...more,
  ];
  return said.map(([key, value]) => ({ key, value: typeof value === 'string' ? Buffer.from(value) : value }));
}

function sizeOf(entries: readonly AppendEntry[]): number {
  return entries.reduce(
    (sum, { payload }) => sum + entryOverheadBytes + (Buffer.isBuffer(payload) ? payload.length : 0),
    entryOverheadBytes,
  );
}
