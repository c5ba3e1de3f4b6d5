/**
 * Moves the start of partitions past records that need be kept no longer: retention.ms and retention.bytes of topics whose
 * cleanup.policy has delete. A record's age counts from when it was stored, not from the time that it carries; only where it was stored
 * by a clock that was ahead of the present one does its own time count. The engine gives the space back; internal topics are their
 * coordinators' own.
 *
 * A pass costs next to nothing for a partition whose oldest record is known and young: its store time is remembered.
 */
import type { EntryFacts, QueueBounds, QueueId, StorageEngine } from '../../storage/engine.ts';
import type { Clock, Timer } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { BrokerSettings } from '../configuration/broker-config.ts';
import type { Topic, TopicDirectory, TopicSettings } from './topic.ts';

export interface RetentionOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'all'>;
  readonly config: BrokerSettings;
  readonly clock: Clock;
  readonly log: Log;
}

/** The first pass, where the interval is longer: what a start brings back may be old. */
const firstPassMs = 30_000;
/** Partitions looked at side by side: trims made together are durable together. */
const maxAtOnce = 256;
/** Entries read at a time where bytes are counted. */
const entriesAtOnce = 500;

/** Times of storing that lie further ahead were written by a clock that has been put right since. */
const futureToleranceMs = 600_000;

interface OldestRecord {
  readonly offset: number;
  readonly bornMs: number;
  readonly isFromTheFuture: boolean;
}

export class Retention {
  private readonly options: RetentionOptions;
  private oldest = new Map<QueueId, OldestRecord>();
  private timer: Timer | undefined;
  private pass: Promise<unknown> = Promise.resolve();
  private closed = false;

  constructor(options: RetentionOptions) {
    this.options = options;
  }

  /** Passes from now on, every log.retention.check.interval.ms. */
  start(): void {
    this.arm(Math.min(firstPassMs, this.intervalMs));
  }

  /** Resolves when no pass is under way any more. */
  async close(): Promise<void> {
    this.closed = true;
    this.timer?.cancel();
    await this.pass;
  }

  /** One pass over all partitions. Resolves with the number of partitions whose start was moved. */
  async runOnce(): Promise<number> {
    const kept = new Map<QueueId, OldestRecord>();
    let moved = 0;
    let batch: Promise<boolean>[] = [];
    const settle = async () => {
      for (const wasMoved of await Promise.all(batch)) if (wasMoved) moved += 1;
      batch = [];
    };
    for (const topic of this.options.topics.all()) {
      if (!isLimited(topic)) continue;
      for (const { queue } of topic.partitions) {
        if (this.closed) break;
        batch.push(this.trimQueue(queue, topic.settings, kept));
        if (batch.length < maxAtOnce) continue;
        await settle();
        // Requests go on between the parts of a long pass.
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
    await settle();
    this.oldest = kept;
    return moved;
  }

  private get intervalMs(): number {
    return this.options.config.long('log.retention.check.interval.ms');
  }

  private arm(delayMs: number): void {
    if (this.closed) return;
    this.timer = this.options.clock.after(delayMs, () => {
      this.pass = this.runOnce()
        .catch((error: unknown) => {
          // Tried again at the next pass; an engine that cannot go on says so itself.
          if (!this.closed) this.options.log.warn({ error }, 'old records could not be removed');
        })
        .then(() => this.arm(this.intervalMs));
    });
  }

  private async trimQueue(
    queue: QueueId,
    settings: TopicSettings,
    kept: Map<QueueId, OldestRecord>,
  ): Promise<boolean> {
    const { engine } = this.options;
    const bounds = await engine.bounds(queue);
    if (bounds === undefined || bounds.startOffset === bounds.visibleEndOffset) return false;
    const byTime = await this.endOfOld(queue, bounds, settings.retentionMs, kept);
    const bySize = await this.endOfSurplus(queue, bounds, settings.retentionBytes);
    const target = Math.max(byTime, bySize);
    if (target <= bounds.startOffset) return false;
    kept.delete(queue);
    await engine.trim(queue, target);
    return true;
  }

  /** The offset of the first record that is young enough. Store times grow with offsets, so it is searched for by halves. */
  private async endOfOld(
    queue: QueueId,
    { startOffset, visibleEndOffset }: QueueBounds,
    retentionMs: number,
    kept: Map<QueueId, OldestRecord>,
  ): Promise<number> {
    if (!isLimit(retentionMs)) return startOffset;
    const nowMs = this.options.clock.nowMs();
    const youngFromMs = nowMs - retentionMs;
    let oldest = this.oldest.get(queue);
    if (oldest?.offset !== startOffset) {
      const first = await this.entryAt(queue, startOffset);
      if (first === undefined) return startOffset;
      oldest = {
        offset: startOffset,
        bornMs: bornMs(first, nowMs),
        isFromTheFuture: isFromTheFuture(first, nowMs),
      };
    }
    if (oldest.bornMs >= youngFromMs) {
      kept.set(queue, oldest);
      return startOffset;
    }
    if (oldest.isFromTheFuture) return this.endOfOldInOrder(queue, startOffset, youngFromMs, nowMs);
    // All before `from` is old, all from `to` on is young.
    let from = startOffset;
    let to = visibleEndOffset;
    while (from < to) {
      const middle = Math.floor((from + to) / 2);
      const entry = await this.entryAt(queue, middle);
      if (entry === undefined || entry.storeTimeMs >= youngFromMs) {
        to = Math.max(from, Math.min(middle, entry?.baseOffset ?? middle));
      } else {
        from = Math.min(to, entry.baseOffset + entry.count);
      }
    }
    return to;
  }

  /** The same, one after the other: times that records carry need not grow. */
  private async endOfOldInOrder(
    queue: QueueId,
    startOffset: number,
    youngFromMs: number,
    nowMs: number,
  ): Promise<number> {
    let offset = startOffset;
    for (;;) {
      const entries = await this.options.engine.entries(queue, offset, entriesAtOnce);
      if (entries.length === 0 || this.closed) return offset;
      for (const entry of entries) {
        if (bornMs(entry, nowMs) >= youngFromMs) return offset;
        offset = entry.baseOffset + entry.count;
      }
    }
  }

  /** The offset up to which entries can go with at least `retentionBytes` left. */
  private async endOfSurplus(
    queue: QueueId,
    { startOffset, visibleEndOffset }: QueueBounds,
    retentionBytes: number,
  ): Promise<number> {
    if (!isLimit(retentionBytes)) return startOffset;
    const { engine } = this.options;
    let surplusBytes = (await engine.sizeBytes(queue)) - retentionBytes;
    let offset = startOffset;
    while (surplusBytes > 0 && offset < visibleEndOffset) {
      const entries = await engine.entries(queue, offset, entriesAtOnce);
      if (entries.length === 0) break;
      for (const entry of entries) {
        surplusBytes -= entry.sizeBytes;
        if (surplusBytes < 0) return offset;
        offset = entry.baseOffset + entry.count;
      }
    }
    return offset;
  }

  private async entryAt(queue: QueueId, offset: number): Promise<EntryFacts | undefined> {
    const [entry] = await this.options.engine.entries(queue, offset, 1);
    return entry;
  }
}

function isFromTheFuture({ storeTimeMs }: EntryFacts, nowMs: number): boolean {
  return storeTimeMs > nowMs + futureToleranceMs;
}

/** From when an entry's age counts. */
function bornMs(entry: EntryFacts, nowMs: number): number {
  return isFromTheFuture(entry, nowMs) && entry.maxTimestampMs >= 0
    ? Math.min(entry.storeTimeMs, entry.maxTimestampMs)
    : entry.storeTimeMs;
}

function isLimited({ isInternal, settings }: Topic): boolean {
  return (
    !isInternal &&
    settings.cleanupDelete &&
    (isLimit(settings.retentionMs) || isLimit(settings.retentionBytes))
  );
}

/** -1 and Infinity are none. */
function isLimit(value: number): boolean {
  return value >= 0 && Number.isFinite(value);
}
