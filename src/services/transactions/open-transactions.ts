/**
 * Which transactions have records in which queues: where the oldest open one begins (the last stable offset), and which aborted ones
 * a read touches. Exact, and the same after a crash: every change is a row in the append group that it speaks of.
 *
 * A transaction is open in a queue from its first batch there until the group with its marker is visible. Between a batch's append
 * and its outcome its offset is not known: until then the queue counts as stable up to where it was visible before.
 */
import type {
  AppendResult,
  IndexChange,
  MaybePromise,
  QueueId,
  StorageEngine,
} from '../../storage/engine.ts';
import { assert } from '../../util/assert.ts';
import type { Clock } from '../../util/clock.ts';
import type { AbortedTransaction, StableOffsets } from '../fetch/stable-offsets.ts';
import {
  type AbortedRow,
  abortedRowsFrom,
  abortedRowsOf,
  decodeAbortedRow,
  decodeOpenRow,
  deleteAbortedRow,
  deleteOpenRow,
  keyAfter,
  newestAbortedRow,
  openRows,
  openRowsOf,
  putAbortedRow,
  putOpenRow,
  transactionIndex,
} from './transaction-rows.ts';

/** Rows that are asked of the index, or deleted, at once. */
const rowsAtOnce = 1000;
/** Queues of which is remembered where their newest aborted transaction ended; beyond it the one asked for longest ago is forgotten. */
const maxRememberedQueues = 100_000;

/** A transaction's part in one queue. */
export interface OpenPartition {
  readonly queue: QueueId;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly transactionalId: string;
  /** ms since 1970 */
  readonly startMs: number;
  /** The first offset; while it is not known, one that it cannot be before. */
  readonly firstOffset: number;
}

class OpenEntry implements OpenPartition {
  readonly queue: QueueId;
  readonly producerId: number;
  readonly transactionalId: string;
  readonly startMs: number;
  readonly floorOffset: number;
  producerEpoch: number;
  /** Offsets of the batches that have a row. */
  readonly rowOffsets: number[] = [];
  /** Batches with a row whose outcome is not known yet. */
  inFlight = 0;
  /** A batch whose outcome nobody knows: it may be there. */
  isUncertain = false;
  /** Its marker is appended: a batch that comes now belongs to another transaction. */
  isEnding = false;
  private waiting: (() => void)[] = [];

  constructor(facts: Omit<OpenPartition, 'firstOffset'>, floorOffset: number) {
    this.queue = facts.queue;
    this.producerId = facts.producerId;
    this.producerEpoch = facts.producerEpoch;
    this.transactionalId = facts.transactionalId;
    this.startMs = facts.startMs;
    this.floorOffset = floorOffset;
  }

  get isKnown(): boolean {
    return this.rowOffsets.length > 0 && !this.isUncertain;
  }

  get firstOffset(): number {
    return this.isKnown && this.inFlight === 0 ? Math.min(...this.rowOffsets) : this.floorOffset;
  }

  whenSettled(): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push(resolve);
    });
  }

  settled(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/** A batch that opens a transaction in its queue, or may: what its append group carries beside it. */
export interface OpeningBatch {
  changes(entry: number): readonly IndexChange[];
  /** What became of the batch. */
  settled(result: AppendResult): void;
}

/** The end of a producer's transaction in one queue. */
export interface EndingPartition {
  /** The marker is the entry at `entry` of the group. */
  changes(entry: number): readonly IndexChange[];
  /** What became of the marker. */
  settled(result: AppendResult): void;
}

export interface OpenTransactionsOptions {
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly limits: { readonly maxOpenPartitions: number };
}

export class OpenTransactions implements StableOffsets {
  private readonly engine: StorageEngine;
  private readonly clock: Clock;
  private readonly limits: { readonly maxOpenPartitions: number };
  private readonly byQueue = new Map<QueueId, OpenEntry[]>();
  private count = 0;
  /** Where each queue's newest aborted transaction ended; -1 for none. */
  private readonly newestAborted = new Map<QueueId, number>();
  private readonly watchers = new Map<QueueId, Set<() => void>>();

  constructor(options: OpenTransactionsOptions) {
    this.engine = options.engine;
    this.clock = options.clock;
    this.limits = options.limits;
  }

  /** Reads what is open. To be called once, before anything else. */
  async load(): Promise<void> {
    const index = this.engine.index(transactionIndex);
    let after: Buffer | undefined;
    for (;;) {
      const rows = await index.range(openRows(after, rowsAtOnce));
      for (const { key, value } of rows) {
        const row = decodeOpenRow(key, value);
        const entry = this.find(row.queue, row.producerId) ?? this.add(new OpenEntry(row, row.offset));
        entry.rowOffsets.push(row.offset);
      }
      if (rows.length < rowsAtOnce) return;
      after = rows.at(-1)!.key;
    }
  }

  // ----- what readers ask

  lastStableOffset(queue: QueueId, visibleEndOffset: number): number {
    const entries = this.byQueue.get(queue);
    if (entries === undefined) return visibleEndOffset;
    let stable = visibleEndOffset;
    for (const entry of entries) stable = Math.min(stable, entry.firstOffset);
    // Records of an open transaction may be trimmed.
    const bounds = this.engine.bounds(queue);
    return bounds === undefined || bounds instanceof Promise ? stable : Math.max(stable, bounds.startOffset);
  }

  abortedTransactions(
    queue: QueueId,
    fromOffset: number,
    toOffset: number,
  ): MaybePromise<readonly (AbortedTransaction & AbortedRow)[]> {
    const newest = this.newestAborted.get(queue);
    if (newest !== undefined && newest < fromOffset) return none;
    return this.findAborted(queue, fromOffset, toOffset);
  }

  /** Wakes after the last stable offset moved for another reason than the visible end. Spurious wake-ups are allowed. */
  watch(queue: QueueId, wake: () => void): () => void {
    let watchers = this.watchers.get(queue);
    if (watchers === undefined) {
      watchers = new Set();
      this.watchers.set(queue, watchers);
    }
    // A function of its own, so that one that watches twice stops twice.
    const own = () => wake();
    watchers.add(own);
    return () => {
      const present = this.watchers.get(queue);
      present?.delete(own);
      if (present?.size === 0) this.watchers.delete(queue);
    };
  }

  /** Compaction removed all records of these. */
  async forgetAborted(queue: QueueId, transactions: readonly AbortedTransaction[]): Promise<void> {
    const isGone = (row: AbortedRow): boolean =>
      transactions.some(
        ({ producerId, firstOffset }) => row.producerId === producerId && row.firstOffset === firstOffset,
      );
    let range = abortedRowsOf(queue, 0, rowsAtOnce);
    for (;;) {
      const rows = await this.engine.index(transactionIndex).range(range);
      const gone = rows.map(({ key, value }) => decodeAbortedRow(key, value)).filter(isGone);
      await this.drop(gone.map(deleteAbortedRow));
      if (rows.length < rowsAtOnce) break;
      range = { ...range, from: keyAfter(rows.at(-1)!.key) };
    }
  }

  private async findAborted(
    queue: QueueId,
    fromOffset: number,
    toOffset: number,
  ): Promise<readonly AbortedRow[]> {
    const index = this.engine.index(transactionIndex);
    if (!this.newestAborted.has(queue)) {
      const [newest] = await index.range(newestAbortedRow(queue));
      this.remember(queue, newest === undefined ? -1 : decodeAbortedRow(newest.key, newest.value).lastOffset);
      if (this.newestAborted.get(queue)! < fromOffset) return none;
    }
    const found: AbortedRow[] = [];
    let range = abortedRowsOf(queue, fromOffset, rowsAtOnce);
    for (;;) {
      const rows = await index.range(range);
      for (const { key, value } of rows) {
        const row = decodeAbortedRow(key, value);
        if (row.firstOffset < toOffset) found.push(row);
        if (row.stableOffset >= toOffset) return found;
      }
      if (rows.length < rowsAtOnce) return found;
      range = { ...range, from: keyAfter(rows.at(-1)!.key) };
    }
  }

  private remember(queue: QueueId, lastOffset: number): void {
    const before = this.newestAborted.get(queue) ?? -1;
    this.newestAborted.delete(queue);
    this.newestAborted.set(queue, Math.max(before, lastOffset));
    if (this.newestAborted.size <= maxRememberedQueues) return;
    const oldest = this.newestAborted.keys().next().value;
    if (oldest !== undefined) this.newestAborted.delete(oldest);
  }

  private wake(queue: QueueId): void {
    const watchers = this.watchers.get(queue);
    if (watchers !== undefined) for (const wake of [...watchers]) wake();
  }

  // ----- what writers say

  /** The producer's transaction that is open in the queue and not ending. */
  open(queue: QueueId, producerId: number): OpenPartition | undefined {
    return this.byQueue.size === 0 ? undefined : this.find(queue, producerId);
  }

  get isFull(): boolean {
    return this.count >= this.limits.maxOpenPartitions;
  }

  /** Parts of open transactions, in queues. */
  get size(): number {
    return this.count;
  }

  /** All that is open, by queue. */
  *all(): Iterable<OpenPartition> {
    for (const entries of this.byQueue.values()) yield* entries;
  }

  /**
   * A batch of a transaction is about to be appended. Undefined where the transaction is known to have begun in the queue before:
   * nothing has to be done then.
   */
  beforeBatch(
    queue: QueueId,
    producerId: number,
    producerEpoch: number,
    transactionalId: string,
  ): OpeningBatch | undefined {
    const known = this.find(queue, producerId);
    if (known?.isKnown === true) return undefined;
    const entry = known ?? this.begin(queue, producerId, producerEpoch, transactionalId);
    entry.inFlight++;
    let isSettled = false;
    return {
      changes: (at) => [putOpenRow(entry, at)],
      settled: (result) => {
        assert(!isSettled, 'a batch has one outcome');
        isSettled = true;
        entry.inFlight--;
        if (result.outcome === 'appended') entry.rowOffsets.push(result.baseOffset);
        else if (result.outcome === 'unknown') entry.isUncertain = true;
        if (entry.inFlight === 0 && entry.rowOffsets.length === 0 && !entry.isUncertain) this.remove(entry);
        entry.settled();
        this.wake(queue);
      },
    };
  }

  private begin(
    queue: QueueId,
    producerId: number,
    producerEpoch: number,
    transactionalId: string,
  ): OpenEntry {
    const bounds = this.engine.bounds(queue);
    const floorOffset = bounds === undefined || bounds instanceof Promise ? 0 : bounds.visibleEndOffset;
    const startMs = this.clock.nowMs();
    return this.add(
      new OpenEntry({ queue, producerId, producerEpoch, transactionalId, startMs }, floorOffset),
    );
  }

  /** Undefined where the producer's transaction can end in the queue now; else resolves when to look again. */
  whenEndable(queue: QueueId, producerId: number): Promise<void> | undefined {
    const entry = this.find(queue, producerId);
    return entry === undefined || entry.inFlight === 0 ? undefined : entry.whenSettled();
  }

  /** The marker of the producer's transaction is about to be appended. Undefined where nothing of it is open in the queue. */
  beforeMarker(queue: QueueId, producerId: number, isCommit: boolean): EndingPartition | undefined {
    const entry = this.find(queue, producerId);
    if (entry === undefined) return undefined;
    assert(entry.inFlight === 0, 'a transaction ends when it is known where it began');
    entry.isEnding = true;
    const { firstOffset } = entry;
    return {
      changes: (at) => {
        const changes = entry.rowOffsets.map((offset) => deleteOpenRow(queue, producerId, offset));
        if (!isCommit) {
          changes.push(putAbortedRow({ queue, producerId, firstOffset }, this.stableWithout(entry), at));
        }
        return changes;
      },
      settled: (result) => {
        entry.isEnding = false;
        if (result.outcome !== 'appended') return;
        if (!isCommit) this.remember(queue, result.baseOffset);
        this.remove(entry);
        this.wake(queue);
      },
    };
  }

  /** Where the queue is stable when `ended` has ended; undefined: right behind its marker. */
  private stableWithout(ended: OpenEntry): number | undefined {
    let stable: number | undefined;
    for (const entry of this.byQueue.get(ended.queue) ?? []) {
      if (entry === ended) continue;
      stable = stable === undefined ? entry.firstOffset : Math.min(stable, entry.firstOffset);
    }
    return stable;
  }

  private find(queue: QueueId, producerId: number): OpenEntry | undefined {
    const entries = this.byQueue.get(queue);
    if (entries === undefined) return undefined;
    for (const entry of entries) if (entry.producerId === producerId && !entry.isEnding) return entry;
    return undefined;
  }

  private add(entry: OpenEntry): OpenEntry {
    const entries = this.byQueue.get(entry.queue);
    if (entries === undefined) this.byQueue.set(entry.queue, [entry]);
    else entries.push(entry);
    this.count++;
    return entry;
  }

  private remove(entry: OpenEntry): void {
    const entries = this.byQueue.get(entry.queue);
    const at = entries?.indexOf(entry) ?? -1;
    if (entries === undefined || at < 0) return;
    entries.splice(at, 1);
    this.count--;
    if (entries.length === 0) this.byQueue.delete(entry.queue);
  }

  // ----- what is not needed any more

  /** Queues ended: nothing is open in them. */
  async queuesEnded(queues: readonly QueueId[]): Promise<void> {
    for (const queue of queues) {
      const entries = this.byQueue.get(queue) ?? [];
      this.newestAborted.delete(queue);
      for (const entry of [...entries]) this.remove(entry);
      if (entries.length === 0) continue;
      for (;;) {
        const rows = await this.engine.index(transactionIndex).range(openRowsOf(queue, rowsAtOnce));
        await this.drop(rows.map(({ key }) => ({ index: transactionIndex, key, value: null })));
        if (rows.length < rowsAtOnce) break;
      }
    }
  }

  /** Drops what is known of aborted transactions whose records are gone. Returns how many. */
  async sweep(): Promise<number> {
    const index = this.engine.index(transactionIndex);
    let dropped = 0;
    let queue = 0;
    for (;;) {
      const [first] = await index.range(abortedRowsFrom(queue, 0, 1));
      if (first === undefined) return dropped;
      queue = decodeAbortedRow(first.key, first.value).queue;
      const bounds = await this.engine.bounds(queue);
      const startOffset = bounds?.startOffset ?? Number.MAX_SAFE_INTEGER;
      for (;;) {
        const rows = await index.range(abortedRowsOf(queue, 0, rowsAtOnce));
        const gone = rows
          .map(({ key, value }) => decodeAbortedRow(key, value))
          .filter((row) => row.lastOffset < startOffset);
        await this.drop(gone.map(deleteAbortedRow));
        dropped += gone.length;
        if (gone.length < rowsAtOnce) break;
      }
      queue += 1;
    }
  }

  private async drop(changes: readonly IndexChange[]): Promise<void> {
    if (changes.length > 0) await this.engine.append({ durability: 'async', entries: [], changes });
  }
}

const none: readonly AbortedRow[] = [];
