/**
 * Sends what ended in a discard topic where it was meant to go, once an operator knows that its transaction was committed. The row of the
 * half message says afterwards that it was committed, so that a record is sent once however often it is asked for.
 */
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { addInt64 } from '../../../../protocol/records/int64-bytes.ts';
import { batchBaseTimestamp, setBatchMaxTimestamp } from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../../protocol/records/record-batch-builder.ts';
import { safeIntegerOrUndefined } from '../../../../protocol/wire/int64.ts';
import type { StorageEngine } from '../../../storage/engine.ts';
import type { Clock } from '../../../util/clock.ts';
import type { TopicDirectory } from '../../topics/topic.ts';
import type { TimerEngine } from '../timers/timer-engine.ts';
import { maxHalfBatchBytes } from './half-batch.ts';
import { checkHeaders } from './half-headers.ts';
import { halfEnded, halfIndex, halfKey, readHalf } from './half-row.ts';
import { discardTopicOf } from './half-topic-names.ts';

export interface HalfRedriveOptions {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly timers: TimerEngine;
  readonly topics: Pick<TopicDirectory, 'get'>;
  readonly outcomeKeptMs: () => number;
}

export type RedriveAnswer =
  | { readonly outcome: 'sent'; readonly topic: string; readonly partition: number; readonly offset: number }
  | { readonly outcome: 'refused'; readonly message: string };

export class HalfRedrive {
  private readonly options: HalfRedriveOptions;

  constructor(options: HalfRedriveOptions) {
    this.options = options;
  }

  /** Of the record at that place of the group's discard topic. */
  async redrive(producerGroup: string, partition: number, offset: number): Promise<RedriveAnswer> {
    const { engine, topics, clock, timers, outcomeKeptMs } = this.options;
    const name = discardTopicOf(producerGroup);
    const source = topics.get(name)?.partitions[partition];
    if (source === undefined) return refused(`There is no ${name}-${partition}`);
    const read = await engine.read(source.queue, { fromOffset: offset, maxBytes: 0, atLeastOne: true });
    if (read.outcome !== 'read' || read.payloads.length === 0)
      return refused(`${name}-${partition} has no offset ${offset}`);
    const batch = Buffer.concat(read.payloads);
    const { baseOffset } = read;
    read.release();
    const cursor = openBatch(batch, 0, { limitBytes: maxHalfBatchBytes });
    while (cursor.next()) if (baseOffset + cursor.index === offset) break;
    if (baseOffset + cursor.index !== offset) return refused(`${name}-${partition} has no offset ${offset}`);
    const headers = cursor.headers();
    // The broker's stand behind the record's own, beginning with the transaction id.
    const first = headers.findLastIndex(({ key }) => key.toString('latin1') === checkHeaders.txnId);
    const said = (key: string): Buffer | undefined =>
      headers.slice(Math.max(0, first)).find((header) => header.key.toString('latin1') === key)?.value ??
      undefined;
    const txnId = said(checkHeaders.txnId);
    const target = topics.get(said(checkHeaders.realTopic)?.toString('utf8') ?? '');
    const index = Number(said(checkHeaders.realPartition)?.toString('latin1') ?? Number.NaN);
    const queue = target?.partitions[index]?.queue;
    if (first < 0 || txnId === undefined || target === undefined || queue === undefined) {
      return refused('The record does not say where it was to go, or that topic is gone');
    }
    const id = { producerGroup, txnId: Buffer.from(txnId) };
    const key = halfKey(id);
    const row = await engine.index(halfIndex).get(key);
    if (row !== undefined && readHalf(row).state !== 'discarded') {
      return refused(`The half message is ${readHalf(row).state}`);
    }
    const timestamp = addInt64(batchBaseTimestamp(batch, 0), cursor.timestampDelta);
    const payload = buildRecordBatch([
      {
        timestamp,
        key: said(checkHeaders.realKey) ?? null,
        value: cursor.value(),
        headers: headers.slice(0, first),
      },
    ]);
    let maxTimestampMs = safeIntegerOrUndefined(timestamp) ?? -1;
    if (target.settings.messageTimestampType === 'LogAppendTime') {
      maxTimestampMs = clock.nowMs();
      setBatchMaxTimestamp(payload, 0, 'LogAppendTime', maxTimestampMs);
    }
    const ended = halfEnded(id, 'committed', clock.nowMs(), outcomeKeptMs());
    const [result] = await engine.append({
      durability: 'sync',
      entries: [{ queue, kind: 'data', count: 1, maxTimestampMs, payload }],
      changes: ended.changes,
      conditions: [{ index: halfIndex, key, expected: row ?? null }],
    });
    if (result?.outcome !== 'appended') return refused('It could not be sent now; try again');
    timers.added(ended.timer);
    return { outcome: 'sent', topic: target.name, partition: index, offset: result.baseOffset };
  }
}

function refused(message: string): RedriveAnswer {
  return { outcome: 'refused', message };
}
