/**
 * Compacts partitions of topics whose cleanup.policy has compact: looks at intervals which of them are dirty enough, maps the newest
 * offset of each key in what is dirty, and has the engine rewrite what was superseded. One partition after the other as far as maps
 * go, several small ones in one rewrite. A pass that is broken off (close, deletion, crash) has changed nothing.
 *
 * Which bytes stay is batch-compactor.ts's business, what is due is selection.ts's.
 */

import { openBatch } from '../../../protocol/records/batch-records.ts';
import {
  batchBaseOffset,
  batchIsControl,
  batchLastOffset,
  batchSizeBytes,
} from '../../../protocol/records/record-batch.ts';
import { RecordError } from '../../../protocol/records/record-error.ts';
import type { QueueId, RewriteRequest, RewriteVerdict, StorageEngine } from '../../storage/engine.ts';
import type { Clock, Timer } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { BrokerSettings } from '../configuration/broker-config.ts';
import type { StableOffsets } from '../fetch/stable-offsets.ts';
import type { Topic, TopicDirectory, TopicSettings } from '../topics/topic.ts';
import { type CompactionRules, compactBatch } from './batch-compactor.ts';
import { type CompactionCheckpoint, CompactionCheckpoints } from './compaction-checkpoints.ts';
import { LogParts, type PartLimits } from './log-parts.ts';
import { OffsetMap, offsetMapSlotBytes } from './offset-map.ts';
import { type Selection, select } from './selection.ts';
import { StateTransactions } from './state-transactions.ts';
import { TransactionTrail } from './transaction-trail.ts';
import { WorkSlices } from './work-slices.ts';

export interface CompactionOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'all' | 'byId' | 'onDeleted'>;
  readonly config: BrokerSettings;
  readonly clock: Clock;
  readonly log: Log;
  readonly stableOffsets: StableOffsets;
}

/** Partitions that one rewrite takes at most. */
const maxPartitionsAtOnce = 256;
/** Entries whose facts are read at a time. */
const entriesAtOnce = 500;
/** Pause after a round that cleaned something, where the backoff is longer. */
const busyPauseMs = 1000;
/** Where state of coordinators is cut into parts: whoever reads it at a start reads about what lives, and this ... */
const statePartBytes = 1024 * 1024;
/** ... which lies apart in the log of all partitions, so that each entry costs a read of its own. */
const statePartEntries = 1000;
/** A single map is no smaller than this, however many share the memory. */
const leastMapBytes = 64 * offsetMapSlotBytes;

/** What is known of a partition between rounds. */
interface Tracked {
  firstDirtyOffset: number;
  deleteHorizonMs: number | undefined;
  parts: LogParts;
  /** Of internal topics: where transactions began and ended. */
  transactions: StateTransactions | undefined;
}

interface DuePartition {
  readonly topic: Topic;
  readonly index: number;
  readonly queue: QueueId;
  readonly tracked: Tracked;
  readonly selection: Selection;
}

/** A partition whose newest offsets are known. */
interface MappedPartition {
  readonly due: DuePartition;
  readonly map: OffsetMap;
  readonly latestOffset: number;
  /** End of the last batch that has mapped records. */
  readonly untilOffset: number;
}

/** What dashboards show. */
export interface CompactionFigures {
  /** Of all partitions, 0 to 1, as of the last round. */
  readonly maxDirtyRatio: number;
  readonly maxDelayMs: number;
  /** Monotonic; undefined before the first. */
  readonly lastRoundStartedMs: number | undefined;
  readonly lastPassMs: number;
  readonly lastPassBytesBefore: number;
  readonly lastPassBytesAfter: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly recordsBefore: number;
  readonly recordsAfter: number;
  /** Partitions cleaned, each time counted. */
  readonly passes: number;
  readonly uncleanablePartitions: number;
  readonly uncleanableBytes: number;
  /** How full the map was, 0 to 1, at most in the last round. */
  readonly mapFill: number;
}

/** The pass is given up without a trace: the broker ends, or the topic is not compacted any more. */
class PassStopped extends Error {
  override readonly name = 'PassStopped';
}

/** Something in the partition cannot be read. */
class DamagedPartition extends Error {
  override readonly name = 'DamagedPartition';
  readonly queue: QueueId;
  readonly offset: number;

  constructor(queue: QueueId, offset: number, message: string) {
    super(message);
    this.queue = queue;
    this.offset = offset;
  }
}

export class CompactionService {
  private readonly options: CompactionOptions;
  private readonly checkpoints: CompactionCheckpoints;
  private readonly tracked = new Map<QueueId, Tracked>();
  private readonly uncleanable = new Map<QueueId, number>();
  private readonly stopListening: () => void;
  private timer: Timer | undefined;
  private round: Promise<unknown> = Promise.resolve();
  private wakePause: (() => void) | undefined;
  private closed = false;
  private swept = false;
  private lastFailure = '';

  private maxDirtyRatio = 0;
  private maxDelayMs = 0;
  private lastRoundStartedMs: number | undefined;
  private lastPass = { durationMs: 0, bytesBefore: 0, bytesAfter: 0 };
  private totals = { bytesBefore: 0, bytesAfter: 0, recordsBefore: 0, recordsAfter: 0, passes: 0 };
  private mapFill = 0;

  constructor(options: CompactionOptions) {
    this.options = options;
    this.checkpoints = new CompactionCheckpoints(options.engine);
    this.stopListening = options.topics.onDeleted((topic) => this.forget(topic));
  }

  /** Rounds from now on, every log.cleaner.backoff.ms. */
  start(): void {
    this.arm(this.backoffMs);
  }

  /** Resolves when no round is under way any more. */
  async close(): Promise<void> {
    this.closed = true;
    this.timer?.cancel();
    this.stopListening();
    this.wakePause?.();
    await this.round;
  }

  get figures(): CompactionFigures {
    let uncleanableBytes = 0;
    for (const sizeBytes of this.uncleanable.values()) uncleanableBytes += sizeBytes;
    return {
      maxDirtyRatio: this.maxDirtyRatio,
      maxDelayMs: this.maxDelayMs,
      lastRoundStartedMs: this.lastRoundStartedMs,
      lastPassMs: this.lastPass.durationMs,
      lastPassBytesBefore: this.lastPass.bytesBefore,
      lastPassBytesAfter: this.lastPass.bytesAfter,
      ...this.totals,
      uncleanablePartitions: this.uncleanable.size,
      uncleanableBytes,
      mapFill: this.mapFill,
    };
  }

  /** One round: cleans every partition that is due, the dirtiest first. Resolves with how many were cleaned. */
  async runOnce(): Promise<number> {
    this.lastRoundStartedMs = this.options.clock.monotonicMs();
    if (!this.swept) {
      this.swept = true;
      const queues = new Set<QueueId>();
      for (const topic of this.options.topics.all()) {
        for (const { queue } of topic.partitions) queues.add(queue);
      }
      await this.checkpoints.sweep((queue) => queues.has(queue));
    }
    const due = await this.findDue();
    due.sort((a, b) => b.selection.dirtyRatio - a.selection.dirtyRatio);
    this.mapFill = 0;
    let cleaned = 0;
    for (let next = 0; next < due.length && !this.closed; ) {
      const group = this.nextGroup(due, next);
      next += group.length;
      cleaned += await this.clean(group);
    }
    return cleaned;
  }

  private get backoffMs(): number {
    return this.options.config.long('log.cleaner.backoff.ms');
  }

  /** A round as the settings have it, at once; behind one that is under way. */
  async runNow(): Promise<void> {
    await this.round;
    this.timer?.cancel();
    this.beginRound();
    await this.round;
  }

  private arm(delayMs: number): void {
    if (this.closed) return;
    this.timer = this.options.clock.after(delayMs, () => this.beginRound());
  }

  private beginRound(): void {
    const { config } = this.options;
    const isOn = config.boolean('log.cleaner.enable') && config.int('log.cleaner.threads') > 0;
    this.round = (isOn ? this.runOnce() : Promise.resolve(0))
      .catch((error: unknown) => {
        this.failed(error);
        return 0;
      })
      .then((cleaned) => this.arm(cleaned > 0 ? Math.min(busyPauseMs, this.backoffMs) : this.backoffMs));
  }

  /** An operating fault is said once, and tried again in the next round. */
  private failed(error: unknown): void {
    if (this.closed || error instanceof PassStopped) return;
    const text = String(error);
    if (text === this.lastFailure) return;
    this.lastFailure = text;
    this.options.log.warn({ error }, 'partitions could not be compacted; it is tried again');
  }

  private forget(topic: Topic): void {
    const rows = new Map<QueueId, null>();
    for (const { queue } of topic.partitions) {
      this.uncleanable.delete(queue);
      if (this.tracked.delete(queue)) rows.set(queue, null);
    }
    // What is left of a topic that was deleted goes at the next start.
    void this.checkpoints.put(rows).catch(() => false);
  }

  // ----- what is due

  private async findDue(): Promise<DuePartition[]> {
    const { topics, clock } = this.options;
    const slices = new WorkSlices(clock);
    const due: DuePartition[] = [];
    let maxDirtyRatio = 0;
    let maxDelayMs = 0;
    for (const topic of topics.all()) {
      if (!isCompacted(topic)) continue;
      for (const { index, queue } of topic.partitions) {
        if (this.closed) return [];
        if (this.uncleanable.has(queue)) continue;
        const pause = slices.spend(1024);
        if (pause !== undefined) await pause;
        const inspected = await this.inspect(queue, topic, slices);
        if (inspected === undefined) continue;
        const { tracked, selection } = inspected;
        maxDirtyRatio = Math.max(maxDirtyRatio, selection.dirtyRatio);
        maxDelayMs = Math.max(maxDelayMs, selection.delayMs);
        if (selection.isDue) due.push({ topic, index, queue, tracked, selection });
      }
    }
    this.maxDirtyRatio = maxDirtyRatio;
    this.maxDelayMs = maxDelayMs;
    return due;
  }

  private async inspect(
    queue: QueueId,
    { settings, isInternal }: Topic,
    slices: WorkSlices,
  ): Promise<{ readonly tracked: Tracked; readonly selection: Selection } | undefined> {
    const { engine, clock } = this.options;
    const bounds = await engine.bounds(queue);
    if (bounds === undefined) return undefined;
    const { startOffset, visibleEndOffset } = bounds;
    let tracked = this.tracked.get(queue);
    if (tracked === undefined) {
      const checkpoint = await this.checkpoints.get(queue);
      const firstDirtyOffset = checkpoint?.firstDirtyOffset ?? startOffset;
      tracked = {
        firstDirtyOffset,
        deleteHorizonMs: checkpoint?.deleteHorizonMs,
        parts: new LogParts(firstDirtyOffset),
        transactions: undefined,
      };
      this.tracked.set(queue, tracked);
    }
    if (tracked.firstDirtyOffset < startOffset || tracked.firstDirtyOffset > visibleEndOffset) {
      tracked.firstDirtyOffset = startOffset;
      tracked.parts = new LogParts(startOffset);
    }
    const limits = partLimits(settings, isInternal);
    const { parts } = tracked;
    while (parts.walkedTo < visibleEndOffset) {
      const entries = await engine.entries(queue, parts.walkedTo, entriesAtOnce);
      if (entries.length === 0) break;
      for (const entry of entries) parts.add(entry, limits);
      const pause = slices.spend(entries.length * 64);
      if (pause !== undefined) await pause;
      if (this.closed) return undefined;
    }
    const nowMs = clock.nowMs();
    parts.closeQuiet(nowMs, limits);
    const { firstDirtyOffset, deleteHorizonMs } = tracked;
    const sizeBytes = await engine.sizeBytes(queue);
    const selectUntil = (lastStableOffset: number): Selection =>
      select({ firstDirtyOffset, parts, lastStableOffset, sizeBytes, deleteHorizonMs }, settings, nowMs);
    let selection = selectUntil(visibleEndOffset);
    if (!selection.isDue) return { tracked, selection };
    // Only for what is due otherwise: these are asked of the disk.
    if (isInternal && !(await this.scanTransactions(queue, tracked, startOffset, slices))) return undefined;
    const stable = this.stableOffsets(tracked).lastStableOffset(queue, visibleEndOffset);
    if (stable < selection.untilOffset) selection = selectUntil(stable);
    const reach = await engine.rewriteReach(queue, selection.untilOffset);
    if (reach < selection.untilOffset) selection = selectUntil(Math.min(stable, reach));
    return { tracked, selection };
  }

  /** Where transactions stand: known of partitions that clients write to, read from the partition where coordinators do. */
  private stableOffsets(tracked: Tracked): StableOffsets {
    return tracked.transactions ?? this.options.stableOffsets;
  }

  /** False where the partition cannot be read now. */
  private async scanTransactions(
    queue: QueueId,
    tracked: Tracked,
    startOffset: number,
    slices: WorkSlices,
  ): Promise<boolean> {
    const { engine, config } = this.options;
    if (tracked.transactions === undefined || tracked.transactions.scannedTo < startOffset) {
      tracked.transactions = new StateTransactions(startOffset);
    }
    const { transactions } = tracked;
    for (;;) {
      const read = await engine.read(queue, {
        fromOffset: transactions.scannedTo,
        maxBytes: Math.max(1, config.int('log.cleaner.io.buffer.size')),
        atLeastOne: true,
      });
      // A damaged batch is found again by the pass, which says so.
      if (read.outcome === 'damaged') return true;
      if (read.outcome !== 'read' || this.closed) return false;
      try {
        if (read.payloads.length === 0) return true;
        for (const payload of read.payloads) transactions.add(payload);
      } catch (error) {
        if (error instanceof RecordError) return true;
        throw error;
      } finally {
        read.release();
      }
      const pause = slices.spend(read.sizeBytes);
      if (pause !== undefined) await pause;
    }
  }

  /** Partitions from `from` on whose maps find room together; at least one. */
  private nextGroup(due: readonly DuePartition[], from: number): readonly DuePartition[] {
    let leftBytes = this.mapBytes;
    let end = from;
    while (end < due.length && end - from < maxPartitionsAtOnce) {
      leftBytes -= this.wantedMapBytes(due[end]!);
      if (leftBytes < 0 && end > from) break;
      end += 1;
    }
    return due.slice(from, end);
  }

  private get mapBytes(): number {
    return this.options.config.long('log.cleaner.dedupe.buffer.size');
  }

  private wantedMapBytes({ selection }: DuePartition): number {
    const loadFactor = this.options.config.double('log.cleaner.io.buffer.load.factor');
    return Math.max(leastMapBytes, (selection.cleanableRecords / loadFactor + 1) * offsetMapSlotBytes);
  }

  // ----- one pass

  private async clean(group: readonly DuePartition[]): Promise<number> {
    const { clock, engine } = this.options;
    const startedMs = clock.monotonicMs();
    const mapped: MappedPartition[] = [];
    let cleaned = 0;
    try {
      for (const due of group) {
        const one = await this.mapOrMark(due);
        if (one !== undefined) mapped.push(one);
      }
      if (mapped.length === 0) return 0;
      const passes: PartitionPass[] = [];
      for (const one of mapped) {
        if (!this.isWanted(one.due)) continue;
        passes.push(await this.passOf(one));
      }
      const results = await engine.rewrite(passes.map((pass) => pass.request));
      const rows = new Map<QueueId, CompactionCheckpoint>();
      let bytesBefore = 0;
      let bytesAfter = 0;
      for (const [at, pass] of passes.entries()) {
        const result = results[at];
        if (result === undefined) continue;
        cleaned += 1;
        bytesBefore += result.bytesBefore;
        bytesAfter += result.bytesAfter;
        this.totals.recordsBefore += pass.counts.recordsBefore;
        this.totals.recordsAfter += pass.counts.recordsAfter;
        const { queue } = pass.mapped.due;
        rows.set(queue, this.advance(pass, result.untilOffset));
        const { emptied } = pass.transactions;
        const { tracked } = pass.mapped.due;
        if (emptied.length > 0) await this.stableOffsets(tracked).forgetAborted?.(queue, emptied);
      }
      this.totals.bytesBefore += bytesBefore;
      this.totals.bytesAfter += bytesAfter;
      this.totals.passes += cleaned;
      this.lastPass = { durationMs: clock.monotonicMs() - startedMs, bytesBefore, bytesAfter };
      this.lastFailure = '';
      await this.checkpoints.put(rows);
      await this.throttle(bytesBefore + bytesAfter);
    } catch (error) {
      if (!(error instanceof DamagedPartition)) throw error;
      // Nothing was changed; the others come again in the next round.
      const due = group.find(({ queue }) => queue === error.queue)!;
      await this.markUncleanable(due, error);
    }
    return cleaned;
  }

  private isWanted({ topic, queue }: DuePartition): boolean {
    if (this.closed) return false;
    const now = this.options.topics.byId(topic.id);
    return now !== undefined && isCompacted(now) && !this.uncleanable.has(queue);
  }

  private async mapOrMark(due: DuePartition): Promise<MappedPartition | undefined> {
    try {
      return await this.mapNewest(due);
    } catch (error) {
      if (error instanceof DamagedPartition) await this.markUncleanable(due, error);
      else if (!(error instanceof PassStopped)) throw error;
      return undefined;
    }
  }

  /** Reads what is dirty and remembers the newest offset of each key, as far as the map goes. */
  private async mapNewest(due: DuePartition): Promise<MappedPartition> {
    const { engine, config, clock } = this.options;
    const { queue, tracked, selection } = due;
    const stableOffsets = this.stableOffsets(tracked);
    const untilOffset = selection.untilOffset;
    const from = tracked.firstDirtyOffset;
    const map = new OffsetMap({
      maxBytes: this.mapBytes,
      loadFactor: config.double('log.cleaner.io.buffer.load.factor'),
      expectedKeys: selection.cleanableRecords,
    });
    const trail = new TransactionTrail(
      from < untilOffset ? await stableOffsets.abortedTransactions(queue, from, untilOffset) : [],
    );
    const slices = new WorkSlices(clock);
    let offset = from;
    while (offset < untilOffset) {
      if (!this.isWanted(due)) throw new PassStopped();
      const read = await engine.read(queue, {
        fromOffset: offset,
        untilOffset,
        maxBytes: Math.max(1, config.int('log.cleaner.io.buffer.size')),
        atLeastOne: true,
      });
      if (read.outcome === 'damaged') {
        throw new DamagedPartition(queue, read.baseOffset, 'an entry fails its check');
      }
      // Trimmed or deleted meanwhile: the next round sees what is left.
      if (read.outcome !== 'read') throw new PassStopped();
      try {
        for (const payload of read.payloads) {
          for (let at = 0; at < payload.length; at += batchSizeBytes(payload, at)) {
            const full = mapBatch(payload, at, { queue, map, trail, from });
            if (full !== undefined) {
              this.mapFill = 1;
              return { due, map, ...full };
            }
            const pause = slices.spend(batchSizeBytes(payload, at));
            if (pause !== undefined) await pause;
          }
        }
      } finally {
        read.release();
      }
      await this.throttle(read.sizeBytes);
      if (read.nextOffset <= offset) break;
      offset = read.nextOffset;
    }
    this.mapFill = Math.max(this.mapFill, map.size / map.capacity);
    return { due, map, latestOffset: untilOffset - 1, untilOffset };
  }

  /** What the engine is to do for one partition. */
  private async passOf(mapped: MappedPartition): Promise<PartitionPass> {
    const { engine, clock } = this.options;
    const { due, map, latestOffset, untilOffset } = mapped;
    const { queue, topic, tracked } = due;
    const stableOffsets = this.stableOffsets(tracked);
    const bounds = await engine.bounds(queue);
    const startOffset = bounds?.startOffset ?? 0;
    const lastOffsets = new Map<number, number>();
    for (const { producerId, lastOffset } of engine.producers(queue)) lastOffsets.set(producerId, lastOffset);
    const rules: CompactionRules = {
      latest: map,
      latestOffset,
      nowMs: clock.nowMs(),
      deleteRetentionMs: topic.settings.deleteRetentionMs,
      lastOffsetOfProducer: (producerId) => lastOffsets.get(producerId),
      transactions: new TransactionTrail(
        await stableOffsets.abortedTransactions(queue, startOffset, untilOffset),
      ),
    };
    const { transactions } = rules;
    const counts = { recordsBefore: 0, recordsAfter: 0, deleteHorizonMs: Number.POSITIVE_INFINITY };
    const visibleEndOffset = bounds?.visibleEndOffset ?? 0;
    const decide = (payload: Buffer, facts: { baseOffset: number; count: number }): RewriteVerdict => {
      if (this.closed) throw new PassStopped();
      try {
        const isLast = facts.baseOffset + facts.count >= visibleEndOffset;
        const outcome = compactBatch(payload, isLast, rules);
        counts.recordsBefore += outcome.recordsBefore;
        counts.recordsAfter += outcome.recordsAfter;
        if (outcome.deleteHorizonMs !== undefined) {
          counts.deleteHorizonMs = Math.min(counts.deleteHorizonMs, outcome.deleteHorizonMs);
        }
        return outcome.verdict;
      } catch (error) {
        if (!(error instanceof RecordError)) throw error;
        throw new DamagedPartition(queue, facts.baseOffset, error.message);
      }
    };
    return { mapped, counts, transactions, request: { queue, untilOffset, decide } };
  }

  private advance(pass: PartitionPass, untilOffset: number): CompactionCheckpoint {
    const { due, latestOffset } = pass.mapped;
    const { tracked } = due;
    const firstDirtyOffset = Math.max(tracked.firstDirtyOffset, Math.min(latestOffset + 1, untilOffset));
    const { deleteHorizonMs } = pass.counts;
    tracked.firstDirtyOffset = firstDirtyOffset;
    tracked.deleteHorizonMs = Number.isFinite(deleteHorizonMs) ? deleteHorizonMs : undefined;
    tracked.transactions?.cleanedTo(firstDirtyOffset);
    if (!tracked.parts.cleanedTo(firstDirtyOffset)) tracked.parts = new LogParts(firstDirtyOffset);
    return { firstDirtyOffset, deleteHorizonMs: tracked.deleteHorizonMs };
  }

  private async markUncleanable(due: DuePartition, fault: DamagedPartition): Promise<void> {
    const { queue, topic, index } = due;
    if (this.uncleanable.has(queue)) return;
    this.uncleanable.set(queue, await this.options.engine.sizeBytes(queue));
    this.options.log.error(
      { topic: topic.name, partition: index, offset: fault.offset, reason: fault.message },
      'a partition has records that cannot be read; it is not compacted until the next start',
    );
  }

  /** log.cleaner.io.max.bytes.per.second */
  private throttle(bytes: number): Promise<void> | undefined {
    const rate = this.options.config.double('log.cleaner.io.max.bytes.per.second');
    const delayMs = (bytes / rate) * 1000;
    if (!(delayMs >= 1) || this.closed) return undefined;
    return new Promise((resolve) => {
      const timer = this.options.clock.after(delayMs, resolve);
      this.wakePause = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}

interface PartitionPass {
  readonly mapped: MappedPartition;
  readonly counts: { recordsBefore: number; recordsAfter: number; deleteHorizonMs: number };
  readonly transactions: TransactionTrail;
  readonly request: RewriteRequest;
}

interface Mapping {
  readonly queue: QueueId;
  readonly map: OffsetMap;
  readonly trail: TransactionTrail;
  /** Records before this were cleaned already. */
  readonly from: number;
}

/** Puts the keys of the batch at `at` into the map. Where that is full, tells how far it got; undefined otherwise. */
function mapBatch(
  payload: Buffer,
  at: number,
  { queue, map, trail, from }: Mapping,
): { readonly latestOffset: number; readonly untilOffset: number } | undefined {
  const lastOffset = Number(batchLastOffset(payload, at));
  try {
    if (batchIsControl(payload, at)) {
      trail.onControlBatch(payload, at, lastOffset);
      return undefined;
    }
    if (trail.onDataBatch(payload, at, lastOffset)) return undefined;
    const cursor = openBatch(payload, at);
    while (cursor.next()) {
      const offset = Number(cursor.offset);
      const key = cursor.key();
      if (key === null || offset < from) continue;
      if (map.put(key, offset)) continue;
      const baseOffset = Number(batchBaseOffset(payload, at));
      return { latestOffset: offset - 1, untilOffset: offset > baseOffset ? lastOffset + 1 : baseOffset };
    }
    return undefined;
  } catch (error) {
    if (!(error instanceof RecordError)) throw error;
    throw new DamagedPartition(queue, lastOffset, error.message);
  }
}

function isCompacted({ settings }: Topic): boolean {
  return settings.cleanupCompact;
}

function partLimits(
  { segmentBytes, segmentMs, maxCompactionLagMs }: TopicSettings,
  isInternal: boolean,
): PartLimits {
  const limits = { segmentBytes, segmentMs: Math.min(segmentMs, maxCompactionLagMs) };
  if (!isInternal) return limits;
  return { ...limits, segmentBytes: Math.min(segmentBytes, statePartBytes), maxEntries: statePartEntries };
}
