/**
 * What happens to records of share groups outside their window: parked ones are kept in rows and told of when they are due, those
 * that were given up become dead letters. Each step is one append group with the share partition's own records: kept whole or not at
 * all.
 */
import { openBatch } from '../../../protocol/records/batch-records.ts';
import { RecordError } from '../../../protocol/records/record-error.ts';
import type { AppendEntry, IndexChange, StorageEngine } from '../../storage/engine.ts';
import { assert } from '../../util/assert.ts';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import { appendTogether, type ClosedGroup } from '../coordinator/joint-append.ts';
import type { DeadLetter, DeadLetterRecord } from '../features/dead-letters/dead-letter.ts';
import type { DeadLetterWriter } from '../features/dead-letters/dead-letter-writer.ts';
import { hashOf } from '../features/timers/row-hash.ts';
import type { TimerEngine } from '../features/timers/timer-engine.ts';
import { timerKinds } from '../features/timers/timer-kinds.ts';
import { type Timer, timerPut } from '../features/timers/timer-row.ts';
import type { Topic, TopicDirectory } from '../topics/topic.ts';
import {
  parkedIndex,
  parkedPrefix,
  parkedRow,
  parkedRowKey,
  readParkedRow,
  readParkedRowKey,
} from './parked-records.ts';
import type { ShareCoordinator, ShareRecordKeeper } from './share-coordinator.ts';
import { type ShareKey, shareKeyText } from './share-records.ts';
import type { ShareSettings } from './share-settings.ts';
import type { Aftermath, GivenUp } from './share-state-machine.ts';

export interface ShareRetriesOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'byId'>;
  readonly timers: TimerEngine;
  readonly deadLetters: Pick<DeadLetterWriter, 'resolve' | 'entryOf' | 'count'>;
  readonly coordinator: ShareCoordinator;
  readonly settings: ShareSettings;
  readonly clock: Clock;
  readonly log: Log;
}

/** Dead letters of one append group, and the bytes of it. */
const maxLettersAtOnce = 100;
const maxLetterBytesAtOnce = 1024 * 1024;
/** How long to wait where dead letters cannot be written now. */
const retryMs = 5_000;
const rowsAtOnce = 1_000;

export class ShareRetries implements ShareRecordKeeper {
  readonly #options: ShareRetriesOptions;
  /** What is being given up of each share partition, one after the other. */
  readonly #givingUp = new Map<string, Promise<void>>();
  #closed = false;

  constructor(options: ShareRetriesOptions) {
    this.#options = options;
    options.timers.register(timerKinds.shareRetry, {
      name: 'share-retry',
      prepare: async (timers) =>
        timers.map(({ payload }) => ({ entries: [], sizeBytes: 0, fired: () => this.#due(payload) })),
    });
    options.coordinator.keepRecords(this);
  }

  /** What is not given up yet is held by nobody after the next start, and delivered again. */
  close(): void {
    this.#closed = true;
  }

  // ----- parked records

  /** Appends rows together with what the share partition's machine wrote. */
  append(key: ShareKey, rows: Aftermath['rows'], closed: ClosedGroup): void {
    this.#append(key, rows, [], closed, () => {});
  }

  #append(
    key: ShareKey,
    rows: Aftermath['rows'],
    entries: readonly AppendEntry[],
    closed: ClosedGroup,
    appended: () => void,
  ): void {
    const { engine, timers } = this.#options;
    const changes: IndexChange[] = [];
    const alarms: Timer[] = [];
    for (const { offset, row } of rows) {
      const rowKey = parkedRowKey(key, offset);
      changes.push({
        index: parkedIndex,
        key: rowKey,
        value: row === null ? null : parkedRow(row.count, row.dueMs),
      });
      if (row === null || !row.hasAlarm) continue;
      const alarm = alarmOf(rowKey, row.dueMs);
      alarms.push(alarm);
      changes.push(timerPut(alarm));
    }
    const group: ClosedGroup = {
      entries: closed.entries,
      fence: closed.fence,
      settled: (results) => {
        closed.settled(results);
        if (results.some(({ outcome }) => outcome !== 'appended')) return;
        for (const alarm of alarms) timers.added(alarm);
        appended();
      },
      lost: (reason, error) => closed.lost(reason, error),
    };
    appendTogether(engine, entries, changes, [group], () => {});
  }

  #due(rowKey: Buffer): void {
    this.#options.coordinator.tell(readParkedRowKey(rowKey).key);
  }

  /** Every row of the share partition. */
  async readRows(key: ShareKey): Promise<{ offset: number; count: number; dueMs: number }[]> {
    const index = this.#options.engine.index(parkedIndex);
    const prefix = parkedPrefix(key);
    const to = Buffer.concat([prefix, Buffer.alloc(9, 0xff)]);
    const found: { offset: number; count: number; dueMs: number }[] = [];
    let from = prefix;
    for (;;) {
      const rows = await index.range({ from, to, limit: rowsAtOnce });
      for (const row of rows) {
        found.push({ offset: readParkedRowKey(row.key).offset, ...readParkedRow(row.value) });
      }
      if (rows.length < rowsAtOnce) return found;
      from = Buffer.concat([rows.at(-1)!.key, Buffer.alloc(1)]);
    }
  }

  /** Nothing is to be delivered again: the share partition is reset, or forgotten. Durable when it resolves. */
  async dropRows(key: ShareKey): Promise<void> {
    const rows = await this.readRows(key);
    for (let from = 0; from < rows.length; from += rowsAtOnce) {
      const changes = rows.slice(from, from + rowsAtOnce).map(({ offset }) => ({
        index: parkedIndex,
        key: parkedRowKey(key, offset),
        value: null,
      }));
      const [result] = await this.#options.engine.append({ durability: 'sync', entries: [], changes });
      if (result?.outcome !== 'appended') throw new Error('parked records could not be dropped');
    }
  }

  // ----- dead letters

  /** The broker holds these until their dead letters are written. */
  giveUp(key: ShareKey, ranges: readonly GivenUp[]): void {
    const text = shareKeyText(key);
    const before = this.#givingUp.get(text) ?? Promise.resolve();
    const now = before
      .then(() => this.#giveUpAll(key, ranges))
      .catch((error: unknown) => {
        if (!this.#closed)
          this.#options.log.error({ ...key, err: error }, 'dead letters could not be written');
      })
      .finally(() => {
        if (this.#givingUp.get(text) === now) this.#givingUp.delete(text);
      });
    this.#givingUp.set(text, now);
  }

  async #giveUpAll(key: ShareKey, ranges: readonly GivenUp[]): Promise<void> {
    const { deadLetters, topics, log } = this.#options;
    const singles = ranges.flatMap((range) =>
      Array.from({ length: range.lastOffset - range.firstOffset + 1 }, (_, at) => ({
        ...range,
        firstOffset: range.firstOffset + at,
        lastOffset: range.firstOffset + at,
      })),
    );
    let isTold = false;
    for (let from = 0; from < singles.length && !this.#closed; ) {
      const topic = topics.byId(key.topicId);
      if (topic === undefined) return;
      const target = await deadLetters.resolve(key.groupId);
      if (target !== 'none' && 'trouble' in target) {
        if (!isTold) {
          log.warn({ ...key, trouble: target.trouble }, 'dead letters wait: their topic cannot be used');
        }
        isTold = true;
        await this.#pause();
        continue;
      }
      // What a group gives up of its own dead-letter topic is not sent there again.
      const isLost = target === 'none' || target.topic.name === topic.name;
      const part: GivenUp[] = [];
      const letters: DeadLetter[] = [];
      const entries: AppendEntry[] = [];
      for (let bytes = 0; from + part.length < singles.length && part.length < maxLettersAtOnce; ) {
        const one = singles[from + part.length]!;
        if (bytes >= maxLetterBytesAtOnce) break;
        part.push(one);
        if (isLost) continue;
        const letter = await this.#letterOf(key, topic, one);
        const entry = deadLetters.entryOf(letter, target);
        letters.push(letter);
        entries.push(entry);
        bytes += entry.payload.length;
      }
      await this.#finish(key, part, entries, () => {
        for (const { reason } of letters) deadLetters.count(reason);
      });
      from += part.length;
    }
  }

  /** Resolves when the append is on its way; where it does not succeed the machine is read again, and all is as it was before. */
  async #finish(
    key: ShareKey,
    part: readonly GivenUp[],
    entries: readonly AppendEntry[],
    written: () => void,
  ): Promise<void> {
    await this.#options.coordinator.withGroups(key, (machine, effects, groups) => {
      const finished = machine.finishGivenUp(key, part, effects);
      // Nothing is held any more: the share partition was reset, or its state read anew.
      if (finished === undefined) return;
      const closed = groups.closeGroup();
      assert(closed !== undefined, 'what is written off is written');
      this.#append(key, finished.rows, entries, closed, written);
    });
  }

  async #letterOf(
    key: ShareKey,
    topic: Topic,
    { firstOffset: offset, deliveryCount, reason }: GivenUp,
  ): Promise<DeadLetter> {
    return {
      group: key.groupId,
      source: { topic: topic.name, partition: key.partition, offset },
      deliveryCount,
      reason,
      message:
        reason === 'rejected'
          ? 'rejected by a member of the share group'
          : `not accepted in ${deliveryCount} deliveries`,
      record: await this.#recordAt(topic, key.partition, offset),
      maxTimes: this.#options.settings.of(key.groupId).maxDeliveries - 1,
    };
  }

  async #recordAt(topic: Topic, partition: number, offset: number): Promise<DeadLetterRecord | undefined> {
    const queue = topic.partitions[partition]?.queue;
    assert(queue !== undefined, 'a share partition without a partition');
    const read = await this.#options.engine.read(queue, {
      fromOffset: offset,
      maxBytes: 1,
      atLeastOne: true,
    });
    if (read.outcome !== 'read') return undefined;
    try {
      const [payload] = read.payloads;
      if (payload === undefined) return undefined;
      const records = openBatch(payload, 0);
      while (records.next()) {
        if (Number(records.offset) !== offset) continue;
        const { key, value, headers, timestamp } = records.record();
        return {
          key: key === null ? null : Buffer.from(key),
          value: value === null ? null : Buffer.from(value),
          headers: headers.map((header) => ({
            key: Buffer.from(header.key),
            value: header.value === null ? null : Buffer.from(header.value),
          })),
          timestamp,
        };
      }
      return undefined;
    } catch (error) {
      if (error instanceof RecordError) return undefined;
      throw error;
    } finally {
      read.release();
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#options.clock.after(retryMs, resolve);
    });
  }
}

function alarmOf(rowKey: Buffer, dueMs: number): Timer {
  return {
    kind: timerKinds.shareRetry,
    dueMs,
    source: { queue: 0, offset: hashOf(rowKey) },
    payload: rowKey,
  };
}
