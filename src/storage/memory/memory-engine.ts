/**
 * The storage engine of throw-away brokers and of people's tests: everything in this process's memory, gone with it. Keeps
 * every contract of engine.ts but survival; nothing here waits, so what is appended is visible at once.
 *
 * Bounded by `maxBytes`: beyond it the oldest data entries of the whole log are trimmed, as retention would, unless
 * `whenFull` is 'refuse'. State entries, index rows and the catalogue are never trimmed; when they alone fill the memory, what
 * does not fit is refused as a storage fault.
 */
import { randomBytes } from 'node:crypto';
import { assert } from '../../util/assert.ts';
import { type Clock, SystemClock } from '../../util/clock.ts';
import { CatalogueTable } from '../catalogue-table.ts';
import type {
  AppendEntry,
  AppendGroup,
  AppendResult,
  Catalogue,
  CatalogueUpdate,
  EngineSizes,
  EntryFacts,
  IndexChange,
  IndexRange,
  IndexRow,
  Lease,
  LinkSource,
  OrderedIndex,
  PayloadFormat,
  ProducerState,
  QueueBounds,
  QueueId,
  ReadOptions,
  ReadResult,
  RefusalReason,
  RewriteRequest,
  RewriteResult,
  SpaceFacts,
  StorageEngine,
} from '../engine.ts';
import {
  defaultProducerWindowLimits,
  ProducerWindow,
  type ProducerWindowLimits,
} from '../producer-window.ts';
import { QueueWatchers } from '../queue-watchers.ts';
import { withOffsets } from '../row-offsets.ts';
import { byteString, SortedMap } from '../sorted-map.ts';

export interface MemoryEngineOptions {
  readonly payloadFormat: PayloadFormat;
  readonly clock?: Clock;
  /** Bytes of entries, index rows and catalogue, counted with what they cost beside their contents. 512 MiB by default. */
  readonly maxBytes?: number;
  /** What happens to an append beyond maxBytes: 'trim' (the default) makes room, 'refuse' answers a storage fault. */
  readonly whenFull?: 'trim' | 'refuse';
  /**
   * False: payloads are kept without offsets and epoch, as the distributed engine will keep them, and patched in a copy
   * at read; that copy is overwritten at `release`, so that a use after it shows.
   */
  readonly stampOffsets?: boolean;
  readonly producerLimits?: ProducerWindowLimits;
}

const defaultMaxBytes = 512 * 1024 * 1024;
/** Small payloads share slabs of this size; a slab is freed when the last entry in it is. */
const slabBytes = 256 * 1024;
const largestSharedPayload = 32 * 1024;
/** What an entry or a row costs beside its bytes, roughly. */
const entryOverheadBytes = 200;
const rowOverheadBytes = 120;
/** Bytes that a rewrite looks at before others have their turn. */
const rewriteTurnBytes = 32 * 1024;
const releasedByte = 0xdd;
const epoch = 0;
const nothing = Buffer.alloc(0);

interface StoredEntry extends EntryFacts {
  sizeBytes: number;
  maxTimestampMs: number;
  /** Cleared when trimmed: whoever still holds a view keeps its slab alive. */
  buffer: Buffer;
  start: number;
  readonly owner: Queue;
  // Neighbours among the data entries of all queues, by age.
  older: StoredEntry | undefined;
  newer: StoredEntry | undefined;
}

interface Queue {
  readonly id: QueueId;
  /** By offset; those before `head` are trimmed and null. */
  entries: (StoredEntry | null)[];
  head: number;
  startOffset: number;
  endOffset: number;
  sizeBytes: number;
}

interface RewritePlan {
  readonly queue: Queue;
  readonly verdicts: ReadonlyMap<StoredEntry, 'drop' | Buffer>;
  readonly untilOffset: number;
  readonly bytesBefore: number;
}

interface GrantedLease {
  epoch: number;
  lost: AbortController;
}

export function openMemoryEngine(options: MemoryEngineOptions): StorageEngine {
  return new MemoryEngine(options);
}

class MemoryEngine implements StorageEngine {
  readonly storageId = randomBytes(16).toString('base64url');
  readonly epoch = epoch;
  readonly catalogue: Catalogue;
  readonly failed = new Promise<Error>(() => {});

  private readonly format: PayloadFormat;
  private readonly clock: Clock;
  private readonly maxBytes: number;
  private readonly trimsWhenFull: boolean;
  private readonly stampOffsets: boolean;
  private readonly queues = new Map<QueueId, Queue>();
  private readonly indexes = new Map<string, SortedMap<Buffer>>();
  private readonly table = new CatalogueTable();
  private readonly watchers = new QueueWatchers();
  private readonly window: ProducerWindow;
  private readonly leases = new Map<string, GrantedLease>();
  private oldest: StoredEntry | undefined;
  private newest: StoredEntry | undefined;
  private readonly dataSlabs = new SlabFiller();
  private readonly stateSlabs = new SlabFiller();
  private entryBytes = 0;
  /** Those of entryBytes that are not trimmed to make room. */
  private stateBytes = 0;
  private rowBytes = 0;
  private appendedBytes = 0;
  private rewrites = 0;
  private lastRewrite: Promise<unknown> = Promise.resolve();
  private lastStoreTimeMs = 0;
  private closed = false;

  constructor(options: MemoryEngineOptions) {
    this.format = options.payloadFormat;
    this.clock = options.clock ?? new SystemClock();
    this.maxBytes = options.maxBytes ?? defaultMaxBytes;
    this.trimsWhenFull = options.whenFull !== 'refuse';
    this.stampOffsets = options.stampOffsets !== false;
    this.window = new ProducerWindow(this.clock, options.producerLimits ?? defaultProducerWindowLimits);
    const table = this.table;
    this.catalogue = {
      get: (key) => table.get(key),
      list: (prefix) => table.list(prefix),
      get version() {
        return table.version;
      },
      update: async (update) => this.updateCatalogue(update),
      watch: (wake) => table.watch(wake),
    };
  }

  append(group: AppendGroup): Promise<readonly AppendResult[]> {
    return Promise.resolve(this.appendNow(group));
  }

  appendRoom(): undefined {
    return undefined;
  }

  async whenDurable(): Promise<void> {}

  bounds(queueId: QueueId): QueueBounds | undefined {
    const queue = this.queues.get(queueId);
    return queue && boundsOf(queue);
  }

  read(queueId: QueueId, options: ReadOptions): ReadResult {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return { outcome: 'unknown-queue' };
    const { fromOffset, maxBytes } = options;
    if (fromOffset < queue.startOffset || fromOffset > queue.endOffset) {
      return { outcome: 'out-of-range', bounds: boundsOf(queue) };
    }
    const untilOffset = options.untilOffset ?? queue.endOffset;
    const first = indexOf(queue, fromOffset);
    const payloads: Buffer[] = [];
    let sizeBytes = 0;
    let nextOffset = fromOffset;
    // Neighbours that lie side by side in one slab leave as one buffer.
    let run: StoredEntry | undefined;
    let runBytes = 0;
    for (let at = first; at < queue.entries.length; at++) {
      const entry = queue.entries[at]!;
      if (entry.baseOffset + entry.count > untilOffset) break;
      if (sizeBytes + entry.sizeBytes > maxBytes && !(options.atLeastOne && sizeBytes === 0)) break;
      sizeBytes += entry.sizeBytes;
      nextOffset = entry.baseOffset + entry.count;
      if (!this.stampOffsets) {
        payloads.push(this.stampedCopy(entry));
        continue;
      }
      if (run !== undefined && run.buffer === entry.buffer && run.start + runBytes === entry.start) {
        runBytes += entry.sizeBytes;
        continue;
      }
      if (run !== undefined) payloads.push(run.buffer.subarray(run.start, run.start + runBytes));
      run = entry;
      runBytes = entry.sizeBytes;
    }
    if (run !== undefined) payloads.push(run.buffer.subarray(run.start, run.start + runBytes));
    return {
      outcome: 'read',
      payloads,
      sizeBytes,
      baseOffset: sizeBytes === 0 ? fromOffset : queue.entries[first]!.baseOffset,
      nextOffset,
      release: this.stampOffsets ? keepAsIs : overwriteOnce(payloads),
    };
  }

  async entries(queueId: QueueId, fromOffset: number, limit: number): Promise<readonly EntryFacts[]> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return [];
    const first = indexOf(queue, Math.max(fromOffset, queue.startOffset));
    return queue.entries.slice(first, first + limit).map((entry) => factsOf(entry!));
  }

  watch(queues: readonly QueueId[], wake: () => void): () => void {
    return this.watchers.watch(queues, wake);
  }

  async findByTime(queueId: QueueId, timestampMs: number): Promise<EntryFacts | undefined> {
    const queue = this.queues.get(queueId);
    for (let at = queue?.head ?? 0; at < (queue?.entries.length ?? 0); at++) {
      const entry = queue!.entries[at]!;
      if (entry.maxTimestampMs >= timestampMs) return factsOf(entry);
    }
    return undefined;
  }

  async findLargestTime(queueId: QueueId): Promise<EntryFacts | undefined> {
    const queue = this.queues.get(queueId);
    let largest: StoredEntry | undefined;
    for (let at = queue?.head ?? 0; at < (queue?.entries.length ?? 0); at++) {
      const entry = queue!.entries[at]!;
      if (largest === undefined || entry.maxTimestampMs > largest.maxTimestampMs) largest = entry;
    }
    return largest && factsOf(largest);
  }

  async findEpochEnd(
    queueId: QueueId,
    asked: number,
  ): Promise<{ readonly epoch: number; readonly endOffset: number } | undefined> {
    const queue = this.queues.get(queueId);
    if (queue === undefined || queue.head === queue.entries.length || asked < epoch) return undefined;
    return { epoch, endOffset: queue.endOffset };
  }

  sizeBytes(queueId: QueueId): number {
    return this.queues.get(queueId)?.sizeBytes ?? 0;
  }

  producers(queueId: QueueId): readonly ProducerState[] {
    return this.window.producers(queueId);
  }

  async trim(queueId: QueueId, toOffset: number): Promise<QueueBounds | undefined> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return undefined;
    this.trimQueue(queue, Math.min(toOffset, queue.endOffset));
    return boundsOf(queue);
  }

  rewrite(requests: readonly RewriteRequest[]): Promise<readonly (RewriteResult | undefined)[]> {
    const rewritten = this.lastRewrite.then(() => this.rewriteNow(requests));
    this.lastRewrite = rewritten.catch(() => {});
    return rewritten;
  }

  async rewriteReach(queue: QueueId, untilOffset: number): Promise<number> {
    return Math.min(untilOffset, this.queues.get(queue)?.endOffset ?? untilOffset);
  }

  private async rewriteNow(
    requests: readonly RewriteRequest[],
  ): Promise<readonly (RewriteResult | undefined)[]> {
    if (this.closed) throw new Error('the engine is closed');
    const distinct = new Set(requests.map((request) => request.queue));
    assert(distinct.size === requests.length, 'a queue is in one request only');
    // All is decided before anything is done: a decision that throws changes nothing.
    const plans: (RewritePlan | undefined)[] = [];
    for (const request of requests) plans.push(await this.decideAll(request));
    this.rewrites++;
    return plans.map((plan) =>
      plan === undefined || !this.queues.has(plan.queue.id) ? undefined : this.rewriteQueue(plan),
    );
  }

  index(name: string): OrderedIndex {
    return {
      get: async (key) => this.indexes.get(name)?.get(byteString(key)),
      range: async (range) => this.rangeOf(name, range),
    };
  }

  async acquireLease(name: string): Promise<Lease> {
    const before = this.leases.get(name);
    before?.lost.abort();
    const granted: GrantedLease = { epoch: (before?.epoch ?? 0) + 1, lost: new AbortController() };
    this.leases.set(name, granted);
    return { name, epoch: granted.epoch, lost: granted.lost.signal };
  }

  sizes(): EngineSizes {
    return { totalBytes: this.totalBytes(), unflushedBytes: 0, unwrittenBytes: 0 };
  }

  spaceFacts(): SpaceFacts {
    return {
      liveBytes: this.entryBytes,
      reclaimableBytes: 0,
      appendedBytes: this.appendedBytes,
      copiedBytes: 0,
      reclaimedBytes: 0,
      rewrites: this.rewrites,
      spacePasses: 0,
      failures: 0,
      damagedEntries: 0,
    };
  }

  async close(): Promise<void> {
    this.closed = true;
    this.watchers.notifyAll();
  }

  /** In turns of the event loop: deciding may take long. What is trimmed meanwhile is no longer there when it is done. */
  private async decideAll({
    queue: queueId,
    untilOffset,
    decide,
  }: RewriteRequest): Promise<RewritePlan | undefined> {
    const queue = this.queues.get(queueId);
    if (queue === undefined) return undefined;
    const verdicts = new Map<StoredEntry, 'drop' | Buffer>();
    let offeredEnd = Math.min(queue.startOffset, untilOffset);
    let bytesBefore = 0;
    const entries = queue.entries.slice(queue.head);
    let turnBytes = 0;
    for (const [at, entry] of entries.entries()) {
      if (entry === null) continue;
      const endOffset = entry.baseOffset + entry.count;
      if (endOffset > untilOffset) break;
      if (turnBytes > rewriteTurnBytes) {
        turnBytes = 0;
        await new Promise<void>((resolve) => setImmediate(resolve));
        if (this.closed) throw new Error('the engine is closed');
      }
      if (entry.buffer === nothing) continue;
      turnBytes += entry.sizeBytes;
      const payload = this.stampOffsets
        ? entry.buffer.subarray(entry.start, entry.start + entry.sizeBytes)
        : this.stampedCopy(entry);
      const verdict = decide(payload, factsOf(entry));
      if (Buffer.isBuffer(verdict)) verdicts.set(entry, Buffer.from(verdict));
      else if (verdict === 'drop' && at + 1 < entries.length) verdicts.set(entry, 'drop');
      offeredEnd = endOffset;
      bytesBefore += entry.sizeBytes;
    }
    return { queue, verdicts, untilOffset: offeredEnd, bytesBefore };
  }

  private rewriteQueue({ queue, verdicts, untilOffset, bytesBefore }: RewritePlan): RewriteResult {
    const kept: StoredEntry[] = [];
    let bytesAfter = bytesBefore;
    for (let at = queue.head; at < queue.entries.length; at++) {
      const entry = queue.entries[at]!;
      const verdict = verdicts.get(entry);
      if (verdict === 'drop') {
        bytesAfter -= entry.sizeBytes;
        this.forget(queue, entry);
        continue;
      }
      kept.push(entry);
      if (verdict === undefined) continue;
      const grownBytes = verdict.length - entry.sizeBytes;
      const { buffer, start } = (entry.kind === 'state' ? this.stateSlabs : this.dataSlabs).copy(verdict);
      this.format.stamp(buffer, start, this.stampOffsets ? entry.baseOffset : 0, epoch);
      entry.buffer = buffer;
      entry.start = start;
      entry.sizeBytes = verdict.length;
      entry.maxTimestampMs = this.format.largestTimestampMs?.(buffer, start) ?? entry.maxTimestampMs;
      bytesAfter += grownBytes;
      queue.sizeBytes += grownBytes;
      this.entryBytes += grownBytes;
      if (entry.kind === 'state') this.stateBytes += grownBytes;
    }
    queue.entries = kept;
    queue.head = 0;
    return { untilOffset, bytesBefore, bytesAfter };
  }

  private totalBytes(): number {
    return this.entryBytes + this.rowBytes + this.table.sizeBytes;
  }

  private appendNow(group: AppendGroup): readonly AppendResult[] {
    const { entries, changes, conditions, fences } = group;
    if (this.closed) return refuseAll(group, 'closing');
    if (fences?.some(({ lease, epoch: held }) => this.leases.get(lease)?.epoch !== held)) {
      return refuseAll(group, 'stale-lease');
    }
    for (const { index, key, expected } of conditions ?? []) {
      const value = this.indexes.get(index)?.get(byteString(key));
      const holds = expected === null ? value === undefined : value?.equals(expected) === true;
      if (!holds) return refuseAll(group, 'condition-failed');
    }
    const sources = entries.map((entry) => this.sourceOf(entry));
    const refused = this.refusals(entries, sources);
    if (refused !== undefined) return refused;
    let neededBytes = 0;
    for (const source of sources) neededBytes += source!.length + entryOverheadBytes;
    for (const { key, value } of changes ?? [])
      neededBytes += key.length + (value?.length ?? 0) + rowOverheadBytes;
    if (!this.makeRoom(neededBytes)) return refuseAll(group, 'storage-fault');

    const storeTimeMs = Math.max(this.lastStoreTimeMs, this.clock.nowMs());
    this.lastStoreTimeMs = storeTimeMs;
    const results = entries.map((entry, at) => this.place(entry, sources[at]!, storeTimeMs));
    for (const change of withOffsets(changes ?? [], (at) => baseOffsetOf(results[at]!))) this.change(change);
    if (entries.length > 0) return results;
    return [{ outcome: 'appended', baseOffset: -1, storeTimeMs, logStartOffset: -1 }];
  }

  /** The payload's bytes; undefined where a link's source is not there. */
  private sourceOf(entry: AppendEntry): Buffer | undefined {
    if (Buffer.isBuffer(entry.payload)) return entry.payload;
    const { queue: queueId, offset } = entry.payload as LinkSource;
    const queue = this.queues.get(queueId);
    if (queue === undefined || offset < queue.startOffset || offset >= queue.endOffset) return undefined;
    const source = queue.entries[indexOf(queue, offset)];
    if (source === undefined || source === null || source.baseOffset > offset) return undefined;
    return source.buffer.subarray(source.start, source.start + source.sizeBytes);
  }

  private refusals(
    entries: readonly AppendEntry[],
    sources: readonly (Buffer | undefined)[],
  ): AppendResult[] | undefined {
    const verdicts = this.window.checkGroup(entries.map((entry) => entry.producer));
    let mayAppend = verdicts === undefined;
    const results = entries.map((entry, at): AppendResult => {
      assert(entry.count >= 1, 'an entry takes at least one offset');
      const queue = this.queues.get(entry.queue);
      const verdict = verdicts?.[at];
      if (
        queue !== undefined &&
        sources[at] !== undefined &&
        (verdict === undefined || verdict.kind === 'next')
      ) {
        return { outcome: 'not-appended' };
      }
      mayAppend = false;
      if (queue === undefined) return { outcome: 'refused', reason: 'unknown-queue' };
      if (sources[at] === undefined) return { outcome: 'refused', reason: 'link-source-missing' };
      if (verdict!.kind !== 'duplicate')
        return { outcome: 'refused', reason: verdict!.kind as RefusalReason };
      const { baseOffset, storeTimeMs } = verdict as { baseOffset: number; storeTimeMs: number };
      return { outcome: 'duplicate', baseOffset, storeTimeMs, logStartOffset: queue.startOffset };
    });
    return mayAppend ? undefined : results;
  }

  private place(entry: AppendEntry, source: Buffer, storeTimeMs: number): AppendResult {
    const queue = this.queues.get(entry.queue)!;
    const baseOffset = queue.endOffset;
    const isData = entry.kind !== 'state';
    const { buffer, start } = (isData ? this.dataSlabs : this.stateSlabs).copy(source);
    if (this.stampOffsets) this.format.stamp(buffer, start, baseOffset, epoch);
    else this.format.stamp(buffer, start, 0, 0);
    const stored: StoredEntry = {
      kind: entry.kind,
      baseOffset,
      count: entry.count,
      sizeBytes: source.length,
      maxTimestampMs: entry.maxTimestampMs,
      storeTimeMs,
      epoch,
      ...(entry.producer === undefined ? {} : { producer: entry.producer }),
      buffer,
      start,
      owner: queue,
      older: undefined,
      newer: undefined,
    };
    queue.entries.push(stored);
    queue.endOffset += entry.count;
    queue.sizeBytes += stored.sizeBytes;
    this.entryBytes += stored.sizeBytes + entryOverheadBytes;
    this.appendedBytes += stored.sizeBytes + entryOverheadBytes;
    if (isData) this.linkNewest(stored);
    else this.stateBytes += stored.sizeBytes + entryOverheadBytes;
    if (entry.producer !== undefined) {
      this.window.record(entry.producer, {
        baseOffset,
        lastOffset: baseOffset + entry.count - 1,
        storeTimeMs,
        maxTimestampMs: entry.maxTimestampMs,
      });
    }
    this.watchers.notify(queue.id);
    return { outcome: 'appended', baseOffset, storeTimeMs, logStartOffset: queue.startOffset };
  }

  private change({ index: name, key, value }: IndexChange): void {
    let rows = this.indexes.get(name);
    if (rows === undefined) {
      rows = new SortedMap();
      this.indexes.set(name, rows);
    }
    const before =
      value === null ? rows.delete(byteString(key)) : rows.set(byteString(key), Buffer.from(value));
    if (before !== undefined) this.rowBytes -= key.length + before.length + rowOverheadBytes;
    if (value !== null) this.rowBytes += key.length + value.length + rowOverheadBytes;
  }

  private rangeOf(name: string, range: IndexRange): readonly IndexRow[] {
    const found: IndexRow[] = [];
    if (range.limit <= 0) return found;
    this.indexes.get(name)?.visit(
      {
        from: range.from && byteString(range.from),
        to: range.to && byteString(range.to),
        reverse: range.reverse,
      },
      (key, value) => found.push({ key: Buffer.from(key, 'latin1'), value }) < range.limit,
    );
    return found;
  }

  private updateCatalogue(
    update: CatalogueUpdate,
  ): { outcome: 'done'; version: number } | { outcome: 'conflict'; key: string } {
    if (this.closed) throw new Error('the engine is closed');
    const key = this.table.conflict(update.changes);
    if (key !== undefined) return { outcome: 'conflict', key };
    for (const id of update.createQueues ?? []) {
      assert(!this.queues.has(id), `queue ${id} exists`);
      assert(Number.isSafeInteger(id) && id >= 1, `${id} is no queue id`);
    }
    for (const id of update.createQueues ?? []) {
      this.queues.set(id, { id, entries: [], head: 0, startOffset: 0, endOffset: 0, sizeBytes: 0 });
    }
    for (const id of update.dropQueues ?? []) {
      const queue = this.queues.get(id);
      if (queue === undefined) continue;
      this.trimQueue(queue, queue.endOffset);
      this.queues.delete(id);
      this.window.dropQueue(id);
      this.watchers.notify(id);
    }
    return { outcome: 'done', version: this.table.apply(update.changes) };
  }

  private makeRoom(neededBytes: number): boolean {
    const keptBytes = this.stateBytes + this.rowBytes + this.table.sizeBytes;
    if (keptBytes + neededBytes > this.maxBytes) return false;
    while (this.totalBytes() + neededBytes > this.maxBytes) {
      if (!this.trimsWhenFull || this.oldest === undefined) return false;
      const { owner, baseOffset, count } = this.oldest;
      this.trimQueue(owner, baseOffset + count);
    }
    return true;
  }

  private trimQueue(queue: Queue, toOffset: number): void {
    if (toOffset <= queue.startOffset) return;
    queue.startOffset = toOffset;
    while (queue.head < queue.entries.length) {
      const entry = queue.entries[queue.head]!;
      if (entry.baseOffset + entry.count > toOffset) break;
      queue.entries[queue.head++] = null;
      this.forget(queue, entry);
    }
    if (queue.head > 64 && queue.head * 2 > queue.entries.length) {
      queue.entries = queue.entries.slice(queue.head);
      queue.head = 0;
    }
  }

  private forget(queue: Queue, entry: StoredEntry): void {
    queue.sizeBytes -= entry.sizeBytes;
    this.entryBytes -= entry.sizeBytes + entryOverheadBytes;
    if (entry.kind === 'state') this.stateBytes -= entry.sizeBytes + entryOverheadBytes;
    else this.unlink(entry);
    entry.buffer = nothing;
  }

  private stampedCopy(entry: StoredEntry): Buffer {
    const copy = Buffer.allocUnsafeSlow(entry.sizeBytes);
    entry.buffer.copy(copy, 0, entry.start, entry.start + entry.sizeBytes);
    this.format.stamp(copy, 0, entry.baseOffset, entry.epoch);
    return copy;
  }

  private linkNewest(entry: StoredEntry): void {
    entry.older = this.newest;
    if (this.newest === undefined) this.oldest = entry;
    else this.newest.newer = entry;
    this.newest = entry;
  }

  private unlink(entry: StoredEntry): void {
    if (entry.older === undefined) this.oldest = entry.newer;
    else entry.older.newer = entry.newer;
    if (entry.newer === undefined) this.newest = entry.older;
    else entry.newer.older = entry.older;
    entry.older = undefined;
    entry.newer = undefined;
  }
}

/** Copies payloads one after the other into slabs. */
class SlabFiller {
  private slab = nothing;
  private used = 0;

  copy(source: Buffer): { buffer: Buffer; start: number } {
    if (source.length > largestSharedPayload) {
      const own = Buffer.allocUnsafeSlow(source.length);
      source.copy(own);
      return { buffer: own, start: 0 };
    }
    if (this.used + source.length > this.slab.length) {
      this.slab = Buffer.allocUnsafeSlow(slabBytes);
      this.used = 0;
    }
    const start = this.used;
    source.copy(this.slab, start);
    this.used += source.length;
    return { buffer: this.slab, start };
  }
}

/** Index of the entry that holds the offset, or the number of entries at the end. The offset is not before the start. */
function indexOf(queue: Queue, offset: number): number {
  let low = queue.head;
  let high = queue.entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const entry = queue.entries[middle]!;
    if (entry.baseOffset + entry.count <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

function boundsOf(queue: Queue): QueueBounds {
  return { startOffset: queue.startOffset, visibleEndOffset: queue.endOffset };
}

function factsOf(entry: StoredEntry): EntryFacts {
  const { kind, baseOffset, count, sizeBytes, maxTimestampMs, storeTimeMs, producer } = entry;
  const facts = { kind, baseOffset, count, sizeBytes, maxTimestampMs, storeTimeMs, epoch };
  return producer === undefined ? facts : { ...facts, producer };
}

function refuseAll(group: AppendGroup, reason: RefusalReason): readonly AppendResult[] {
  const refused: AppendResult = { outcome: 'refused', reason };
  return group.entries.length === 0 ? [refused] : group.entries.map(() => refused);
}

function baseOffsetOf(result: AppendResult): number {
  assert(result.outcome === 'appended', 'the group was placed');
  return result.baseOffset;
}

function keepAsIs(): void {}

function overwriteOnce(payloads: readonly Buffer[]): () => void {
  let isReleased = false;
  return () => {
    assert(!isReleased, 'a read is released once');
    isReleased = true;
    for (const payload of payloads) payload.fill(releasedByte);
  };
}
