/**
 * What happens when nobody has decided about a half message: it is asked for in the check topic of its producer group (and by HTTP where the
 * group says so), again and again, and in the end it goes to the discard topic. A check counts only where somebody could have answered it;
 * the age of a half message bounds the rest. Row, timer and record change in one append group; an address is asked when that stands in the log.
 *
 * While a question lies unread in the check topic it is not asked again: those who answer slower than they are asked would else find
 * ever more of the same, and never come to what is new.
 */
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { addInt64 } from '../../../../protocol/records/int64-bytes.ts';
import { batchBaseTimestamp } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch, type RecordInput } from '../../../../protocol/records/record-batch-builder.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import type { AppendEntry, StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import { partitionForKey } from '../../coordinator/partition-for-key.ts';
import type { Topic, TopicDirectory } from '../../topics/topic.ts';
import { dueMsHeader } from '../delay/delay-headers.ts';
import type { Discard, FirePlan, TimerHandler } from '../timers/timer-engine.ts';
import { type Timer, timerPut } from '../timers/timer-row.ts';
import type { CheckCallback } from './check-callback.ts';
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
  halfPutWithQuestion,
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
  /** Of the group of that id, what it has committed in its check topic, by partition; partitions without are left out. */
  readonly readUpTo: (producerGroup: string) => Promise<ReadonlyMap<number, number>>;
  readonly callback: Pick<CheckCallback, 'room' | 'standing' | 'ask'>;
}

const entryOverheadBytes = 512;
/** Records read at once for checks; the timers behind them wait their turn. */
const maxReadBytes = 8 * 1024 * 1024;
/** When too many are asked by HTTP, and nobody else could answer. */
const retryMs = 1_000;

/** A question that lies unread for so many intervals is asked again all the same: readers may have passed it without a commit. */
const patienceIntervals = 20;
/** Groups remembered as told of. */
const maxTroubled = 10_000;

/** Of one look at several timers. */
interface Look {
  /** By producer group. */
  readonly isAnyoneThere: Map<string, boolean>;
  readonly readUpTo: Map<string, ReadonlyMap<number, number>>;
  callbackRoom: number;
  readBytes: number;
}

export class HalfChecks implements TimerHandler {
  readonly name = 'half_check';
  private readonly options: HalfChecksOptions;
  /** Groups whose checks meet with trouble, told of once. */
  private readonly troubled = new Set<string>();
  checked = 0;
  discarded = 0;
  /** Half messages given up, in a discard topic or without. */
  ended = 0;

  constructor(options: HalfChecksOptions) {
    this.options = options;
  }

  async prepare(timers: readonly Timer[]): Promise<readonly (FirePlan | Discard)[]> {
    const plans: (FirePlan | Discard)[] = [];
    const { room } = this.options.callback;
    const look: Look = {
      isAnyoneThere: new Map(),
      readUpTo: new Map(),
      callbackRoom: room,
      readBytes: 0,
    };
    for (const timer of timers) {
      if (look.readBytes >= maxReadBytes) break;
      plans.push(await this.planOf(timer, look));
    }
    return plans;
  }

  private async planOf(timer: Timer, look: Look): Promise<FirePlan | Discard> {
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
    const isTooOld = nowMs - half.bornMs >= settings.maxAgeMs;
    let record = await this.recordOf(half);
    if (record === undefined) {
      // What is written and not yet durable is not seen by readers, though its row is.
      await engine.whenDurable();
      record = await this.recordOf(half);
    }
    look.readBytes += half.sizeBytes;
    const trouble = await this.options.halfTopics.ensure(id.producerGroup);
    if (record === undefined || trouble !== undefined) {
      this.tellTrouble(id, trouble ?? 'its bytes cannot be read');
      if (record === undefined && isTooOld) return this.forget(id, half, nowMs);
      return this.later(id, half, nowMs + settings.intervalMs, [], half.checks);
    }
    this.troubled.delete(id.producerGroup);
    const { callback } = this.options;
    const standing = settings.url === '' ? 'not-allowed' : callback.standing(id.producerGroup, settings.url);
    const isUnread = await this.isUnread(id.producerGroup, half, look);
    const wereAnswerable = !isUnread || standing === 'answers';
    if ((half.checks >= settings.maxChecks && wereAnswerable) || isTooOld) {
      const reason = isTooOld
        ? 'nobody decided in rmq.txn.max.age.ms'
        : 'rmq.txn.check.max checks without a decision';
      return this.discard(id, half, topic, record, nowMs, reason);
    }
    let isAnyoneThere = look.isAnyoneThere.get(id.producerGroup);
    if (isAnyoneThere === undefined) {
      isAnyoneThere = await this.options.isAnyoneThere(id.producerGroup);
      look.isAnyoneThere.set(id.producerGroup, isAnyoneThere);
    }
    const nextMs = Math.min(nowMs + settings.intervalMs, half.bornMs + settings.maxAgeMs);
    const next = Math.max(nextMs, nowMs + 1);
    // A question that nobody read could not be answered, so the next does not count either.
    const times = isUnread ? Math.max(half.checks, 1) : half.checks + 1;
    let fired: (() => void) | undefined;
    if (standing !== 'not-allowed' && look.callbackRoom > 0) {
      look.callbackRoom--;
      const { partition, bornMs } = half;
      const asked = { id, url: settings.url, times, topic: topic.name, partition, bornMs, record };
      fired = () => callback.ask(asked);
    } else if (standing === 'answers' && !isAnyoneThere) {
      return this.later(id, half, Math.min(next, nowMs + retryMs), [], half.checks);
    }
    // Nobody would read it: the check topic is not filled, and the check does not count.
    if (!isAnyoneThere && standing !== 'answers') {
      return { ...this.later(id, half, next, [], half.checks), ...(fired === undefined ? {} : { fired }) };
    }
    if (isUnread && nowMs - half.asked!.atMs < patienceIntervals * settings.intervalMs) {
      const plan = this.later(id, half, next, [], fired === undefined ? half.checks : half.checks + 1);
      return fired === undefined ? plan : { ...plan, fired };
    }
    const said = headersOf(id, half, topic.name, record, [[checkHeaders.checkTimes, String(times)]]);
    const checks = this.options.topics.get(checkTopicOf(id.producerGroup))!;
    const { partition, entry } = this.entryFor(checks, id, record, said);
    const asked = { partition, offset: 0, atMs: nowMs };
    return {
      ...this.later(id, { ...half, asked }, next, [entry], times, half),
      fired: () => {
        this.checked++;
        fired?.();
      },
    };
  }

  /** Whether the group reads its checks, and has not read the newest question about this half message. */
  private async isUnread(producerGroup: string, { asked }: PendingHalf, look: Look): Promise<boolean> {
    if (asked === undefined) return false;
    let upTo = look.readUpTo.get(producerGroup);
    if (upTo === undefined) {
      upTo = await this.options.readUpTo(producerGroup);
      look.readUpTo.set(producerGroup, upTo);
    }
    const offset = upTo.get(asked.partition);
    return offset !== undefined && offset <= asked.offset;
  }

  private tellTrouble({ producerGroup }: HalfId, trouble: string): void {
    if (this.troubled.has(producerGroup)) return;
    if (this.troubled.size >= maxTroubled) this.troubled.clear();
    this.troubled.add(producerGroup);
    this.options.log.error({ producerGroup, trouble }, 'a half message cannot be asked for now');
  }

  /** Asked for again at that time. */
  private later(
    id: HalfId,
    half: PendingHalf,
    checkAtMs: number,
    entries: readonly AppendEntry[],
    checks: number,
    before = half,
  ): FirePlan {
    const next: PendingHalf = { ...half, checkAtMs, checks };
    const timer = checkTimer(id, next);
    return {
      entries,
      // The question, where there is one, is the plan's entry.
      changes: [entries.length === 0 ? halfPut(id, next) : halfPutWithQuestion(id, next, 0), timerPut(timer)],
      conditions: [halfHolds(id, before)],
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
    const said = headersOf(id, half, topic.name, record, [
      [checkHeaders.checkTimes, String(half.checks)],
      [checkHeaders.reason, reason],
    ]);
    const discards = this.options.topics.get(discardTopicOf(id.producerGroup))!;
    const entries = [this.entryFor(discards, id, record, said).entry];
    const ended = halfEnded(id, 'discarded', nowMs, this.options.outcomeKeptMs());
    return {
      entries,
      changes: ended.changes,
      conditions: [halfHolds(id, half)],
      scheduled: [{ timer: ended.timer }],
      sizeBytes: sizeOf(entries),
      fired: () => {
        this.discarded++;
        this.ended++;
      },
    };
  }

  /** Where it would go, or what it was, is gone, so there is nothing to ask. */
  private forget(id: HalfId, half: PendingHalf, nowMs: number): FirePlan {
    const ended = halfEnded(id, 'discarded', nowMs, this.options.outcomeKeptMs());
    return {
      entries: [],
      changes: ended.changes,
      conditions: [halfHolds(id, half)],
      scheduled: [{ timer: ended.timer }],
      sizeBytes: entryOverheadBytes,
      fired: () => void this.ended++,
    };
  }

  private entryFor(
    topic: Topic,
    id: HalfId,
    record: RecordInput,
    said: NonNullable<RecordInput['headers']>,
  ): { readonly partition: number; readonly entry: AppendEntry } {
    const nowMs = this.options.clock.nowMs();
    const headers = [...(record.headers ?? []), ...said];
    const payload = buildRecordBatch([{ ...record, timestamp: nowMs, key: id.txnId, headers }]);
    const partition = partitionForKey(halfKey(id).toString('latin1'), topic.partitions.length);
    const { queue } = topic.partitions[partition]!;
    return { partition, entry: { queue, kind: 'data', count: 1, maxTimestampMs: nowMs, payload } };
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
    try {
      return baseOffset === source.offset ? onlyRecordOf(bytes) : undefined;
    } catch (error) {
      if (error instanceof RecordError) return undefined;
      throw error;
    }
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

/**
 * They stand behind the record's own, the transaction id first: a record that was forwarded may bring headers of the same names, but
 * never one of that name, which is consumed.
 */
function headersOf(
  id: HalfId,
  half: PendingHalf,
  topic: string,
  { key: realKey }: RecordInput,
  more: readonly (readonly [string, string])[],
): NonNullable<RecordInput['headers']> {
  const said: (readonly [string, string | Buffer])[] = [
    [checkHeaders.txnId, id.txnId],
    [checkHeaders.producerGroup, id.producerGroup],
    [checkHeaders.realTopic, topic],
    [checkHeaders.realPartition, String(half.partition)],
    [checkHeaders.bornMs, String(half.bornMs)],
    ...(realKey == null ? [] : [[checkHeaders.realKey, realKey] as const]),
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
