/**
 * Everything that is asked of queues by offset, time or epoch: rows of the index, then the entries that they point to. Each look-up is
 * counted while it lasts, so that no segment goes under it.
 */
import type { EntryFacts, MaybePromise, QueueId, ReadOptions, ReadResult } from '../engine.ts';
import type { ReadsInFlight } from './cleaning/reads-in-flight.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import { EntryHeader } from './entry-header.ts';
import type { EntryReader } from './entry-reader.ts';
import { EntryRows } from './entry-rows.ts';
import type { QueueState } from './queue-state.ts';

export interface QueueReadsParts {
  readonly queues: ReadonlyMap<QueueId, QueueState>;
  readonly index: ConsumeQueueIndex;
  readonly reader: EntryReader;
  readonly readsInFlight: ReadsInFlight;
  /** A look into the index failed; a damaged run is made again. */
  indexFailed(error: unknown): void;
}

const maxSpareRows = 64;
/** One read answers at most so many entries: what it asks of memory is bounded, whatever maxBytes says. */
const maxRowsPerRead = 16 * 1024;

export class QueueReads {
  private readonly queues: ReadonlyMap<QueueId, QueueState>;
  private readonly index: ConsumeQueueIndex;
  private readonly reader: EntryReader;
  private readonly readsInFlight: ReadsInFlight;
  private readonly indexFailed: (error: unknown) => void;
  /** Free again. */
  private readonly spareRows: EntryRows[] = [];

  constructor(parts: QueueReadsParts) {
    this.queues = parts.queues;
    this.index = parts.index;
    this.reader = parts.reader;
    this.readsInFlight = parts.readsInFlight;
    this.indexFailed = (error) => parts.indexFailed(error);
  }

  read(queueId: QueueId, options: ReadOptions): MaybePromise<ReadResult> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return { outcome: 'unknown-queue' };
    const { fromOffset } = options;
    if (fromOffset < queue.startOffset || fromOffset > queue.visibleEndOffset) {
      return { outcome: 'out-of-range', bounds: queue.bounds };
    }
    if (fromOffset === queue.visibleEndOffset) return this.reader.empty(fromOffset);
    const limits = {
      untilOffset: Math.min(options.untilOffset ?? queue.visibleEndOffset, queue.visibleEndOffset),
      maxBytes: options.maxBytes,
      maxRows: maxRowsPerRead,
      atLeastOne: options.atLeastOne,
      isAlone: options.isAlone === true,
    };
    const rows = this.spareRows.pop() ?? new EntryRows();
    rows.clear();
    const generation = this.readsInFlight.enter();
    const result = this.index.collectFromMemory(queue, fromOffset, limits, rows)
      ? this.readRows(queue, fromOffset, limits.isAlone, rows)
      : this.readFromRuns(queue, fromOffset, limits, rows);
    if (!(result instanceof Promise)) {
      this.readsInFlight.leave(generation);
      this.keepRows(rows);
      return result;
    }
    return result.finally(() => {
      this.readsInFlight.leave(generation);
      this.keepRows(rows);
    });
  }

  entries(queueId: QueueId, fromOffset: number, limit: number): Promise<readonly EntryFacts[]> {
    return this.readsInFlight.during(() => this.entriesNow(queueId, fromOffset, limit));
  }

  private async entriesNow(
    queueId: QueueId,
    fromOffset: number,
    limit: number,
  ): Promise<readonly EntryFacts[]> {
    const queue = this.queues.get(queueId);
    if (queue === undefined || limit <= 0) return [];
    const rows = new EntryRows();
    const limits = {
      untilOffset: queue.visibleEndOffset,
      maxBytes: Number.POSITIVE_INFINITY,
      maxRows: limit,
      atLeastOne: true,
    };
    await this.guarded(this.index.collect(queue, Math.max(fromOffset, queue.startOffset), limits, rows));
    const facts: EntryFacts[] = [];
    for (let row = 0; row < rows.length; row++) {
      const one = await this.factsOf(queue, rows, row);
      if (one !== undefined) facts.push(one);
    }
    return facts;
  }

  findByTime(queueId: QueueId, timestampMs: number): Promise<EntryFacts | undefined> {
    return this.readsInFlight.during(() => this.findByTimeNow(queueId, timestampMs));
  }

  private async findByTimeNow(queueId: QueueId, timestampMs: number): Promise<EntryFacts | undefined> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return undefined;
    const rows = new EntryRows();
    const { startOffset, visibleEndOffset } = queue;
    await this.guarded(this.index.findByTime(queue, startOffset, visibleEndOffset, timestampMs, rows));
    return rows.length === 0 ? undefined : this.factsOf(queue, rows, 0);
  }

  findLargestTime(queueId: QueueId): Promise<EntryFacts | undefined> {
    return this.readsInFlight.during(() => this.findLargestTimeNow(queueId));
  }

  private async findLargestTimeNow(queueId: QueueId): Promise<EntryFacts | undefined> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return undefined;
    const { startOffset, visibleEndOffset } = queue;
    const largest = await this.guarded(this.index.largestTime(queue, startOffset, visibleEndOffset));
    if (largest === undefined) return undefined;
    const rows = new EntryRows();
    await this.index.findByTime(queue, startOffset, visibleEndOffset, largest, rows);
    return rows.length === 0 ? undefined : this.factsOf(queue, rows, 0);
  }

  findEpochEnd(
    queueId: QueueId,
    epoch: number,
  ): Promise<{ readonly epoch: number; readonly endOffset: number } | undefined> {
    return this.readsInFlight.during(() => this.findEpochEndNow(queueId, epoch));
  }

  private async findEpochEndNow(
    queueId: QueueId,
    epoch: number,
  ): Promise<{ readonly epoch: number; readonly endOffset: number } | undefined> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return undefined;
    const { startOffset, visibleEndOffset } = queue;
    if (startOffset === visibleEndOffset) return undefined;
    const header = new EntryHeader();
    const epochOf = async (rows: EntryRows, row: number): Promise<number | undefined> => {
      const found = await this.headerOf(queue, rows, row, header);
      return found?.epoch;
    };
    // An entry whose header is damaged says nothing; taken as old it moves the end forward, never back.
    const isOldEnough = async (probe: EntryRows, row: number): Promise<boolean> => {
      const found = await epochOf(probe, row);
      return found === undefined || found <= epoch;
    };
    const rows = await this.guarded(this.index.findLast(queue, startOffset, visibleEndOffset, isOldEnough));
    if (rows.length === 0) return undefined;
    const found = await epochOf(rows, 0);
    if (found === undefined) return undefined;
    // What was found was rewritten away, and this is the one after it.
    if (found > epoch) return this.findEpochEndNow(queueId, epoch);
    return { epoch: found, endOffset: rows.length > 1 ? rows.baseOffsets[1]! : visibleEndOffset };
  }

  private async readFromRuns(
    queue: QueueState,
    fromOffset: number,
    limits: { untilOffset: number; maxBytes: number; maxRows: number; atLeastOne: boolean; isAlone: boolean },
    rows: EntryRows,
  ): Promise<ReadResult> {
    await this.guarded(this.index.collect(queue, fromOffset, limits, rows));
    return this.readRows(queue, fromOffset, limits.isAlone, rows);
  }

  private readRows(
    queue: QueueState,
    fromOffset: number,
    isAlone: boolean,
    rows: EntryRows,
  ): MaybePromise<ReadResult> {
    if (rows.length === 0) return this.reader.empty(fromOffset);
    return this.reader.readFromSlabs(rows) ?? this.reader.read(queue.id, rows, isAlone);
  }

  private keepRows(rows: EntryRows): void {
    if (this.spareRows.length < maxSpareRows) this.spareRows.push(rows);
  }

  /** Waits for a look into the index; a run that turns out damaged is made again. */
  async guarded<T>(look: Promise<T>): Promise<T> {
    try {
      return await look;
    } catch (error) {
      this.indexFailed(error);
      throw error;
    }
  }

  private async headerOf(
    queue: QueueState,
    rows: EntryRows,
    row: number,
    into: EntryHeader,
  ): Promise<EntryHeader | undefined> {
    return this.reader.header(
      queue.id,
      rows.locations[row]!,
      rows.baseOffsets[row]!,
      rows.sizesBytes[row]!,
      into,
    );
  }

  private async factsOf(queue: QueueState, rows: EntryRows, row: number): Promise<EntryFacts | undefined> {
    return (await this.headerOf(queue, rows, row, new EntryHeader()))?.toFacts();
  }
}
