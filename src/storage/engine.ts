/**
 * The one interface of the storage engines: what services may ask of `memory`, `embedded` and, later, `distributed`.
 *
 * The engine knows bytes, positions and queues. It knows nothing of Kafka: what a payload looks like reaches it as a
 * `PayloadFormat`. Every call states its contract here; `test/storage/engine-contract.ts` holds every engine to it.
 *
 * Words: a *queue* is a gap-free run of offsets; an *entry* is one payload that takes `count` offsets; a *group* is a list
 * of entries and index changes that is kept whole or not at all; *written* means that a killed process does not lose it,
 * *durable* that a power cut does not; *visible* means that reads return it.
 */

/** Never reused, a safe integer from 1 up. Ids are allocated by the catalogue's user. */
export type QueueId = number;

export type MaybePromise<T> = T | Promise<T>;

/** What a payload looks like, handed in from above. All calls are on `length` bytes of `buffer` from `start`. */
export interface PayloadFormat {
  /** Puts the base offset and epoch into bytes that the payload's own checksum does not cover. */
  stamp(buffer: Buffer, start: number, baseOffset: number, epoch: number): void;
  /** True where the stamped bytes already say so. */
  isStamped(buffer: Buffer, start: number, baseOffset: number, epoch: number): boolean;
  /** True where the payload's own checksum and lengths hold. Never throws. */
  isIntact(buffer: Buffer, start: number, length: number): boolean;
  /** The largest timestamp inside, of a payload that `rewrite` puts in the place of another; where missing, that of the other stays. */
  largestTimestampMs?(buffer: Buffer, start: number): number;
}

export type EntryKind = 'data' | 'state' | 'marker';

/** Facts of an idempotent producer, for de-duplication inside append (window of five batches a queue and producer id). */
export interface ProducerFacts {
  /** The queue that the sequence counts for; a hidden entry may count for another queue than the one it lies in. */
  readonly countsForQueue: QueueId;
  readonly producerId: number;
  readonly producerEpoch: number;
  /** 0..2^31-1, wrapping to 0; both -1 on a marker, which counts for the epoch alone. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly isTransactional: boolean;
}

export interface AppendEntry {
  readonly queue: QueueId;
  readonly kind: EntryKind;
  /** Offsets taken, at least 1. */
  readonly count: number;
  /** Largest timestamp inside, for look-up by time; -1 when there is none. */
  readonly maxTimestampMs: number;
  /** The bytes, copied before `append` returns, or an entry of another queue to be delivered here (a logical link). */
  readonly payload: Buffer | LinkSource;
  readonly producer?: ProducerFacts;
}

/** The entry that holds the offset; the link is refused where the offset is before the start, not visible yet, or in a gap. */
export interface LinkSource {
  readonly queue: QueueId;
  readonly offset: number;
}

export interface IndexChange {
  readonly index: string;
  readonly key: Buffer;
  /** null deletes. */
  readonly value: Buffer | null;
  /** Offsets of the group's own entries, which the engine writes into the row. */
  readonly offsets?: readonly RowOffset[];
}

/** Where a row says which offset an entry of its own group got: 8 bytes, big endian, in place of those given. */
export interface RowOffset {
  readonly part: 'key' | 'value';
  readonly at: number;
  /** Place of the entry in the group. */
  readonly entry: number;
  /** Added to the entry's base offset: one of the offsets that it takes. */
  readonly plus?: number;
}

/** Holds when the row's value is `expected` (null: when there is no row) at the moment the group's order is fixed. */
export interface IndexCondition {
  readonly index: string;
  readonly key: Buffer;
  readonly expected: Buffer | null;
}

export interface Fence {
  readonly lease: string;
  readonly epoch: number;
}

/**
 * Atomic: recovery keeps all of it or none, and its entries become visible together.
 * `sync` is answered and visible when durable, `async` when written.
 */
export interface AppendGroup {
  readonly durability: 'sync' | 'async';
  readonly entries: readonly AppendEntry[];
  readonly changes?: readonly IndexChange[];
  readonly conditions?: readonly IndexCondition[];
  /** One for each lease that the group rests on. */
  readonly fences?: readonly Fence[];
  /** Groups with the same name here have their order fixed in the order of the calls, conditions and links or not. */
  readonly sequence?: string;
  /** An async group is made durable within this time even when the engine's own interval is longer. */
  readonly flushWithinMs?: number;
}

export type RefusalReason =
  | 'unknown-queue'
  | 'out-of-order-sequence'
  | 'stale-producer-epoch'
  | 'condition-failed'
  | 'stale-lease'
  | 'link-source-missing'
  | 'closing'
  | 'storage-fault';

/**
 * One an entry of the group, in order; a group without entries (index changes only) gets one, whose baseOffset is -1 where
 * it is appended. What speaks against the group as a whole (condition, fence, closing) refuses each entry. Where any entry is refused or a duplicate nothing of the group is appended, and the
 * other entries are answered `not-appended`. `unknown` is retriable: the entry may or may not be there.
 */
export type AppendResult =
  | {
      readonly outcome: 'appended';
      readonly baseOffset: number;
      readonly storeTimeMs: number;
      readonly logStartOffset: number;
    }
  | {
      readonly outcome: 'duplicate';
      readonly baseOffset: number;
      readonly storeTimeMs: number;
      readonly logStartOffset: number;
    }
  | { readonly outcome: 'refused'; readonly reason: RefusalReason }
  | { readonly outcome: 'not-appended' }
  | { readonly outcome: 'unknown' };

export interface QueueBounds {
  /** First offset that may be read. */
  readonly startOffset: number;
  /** One past the last visible offset: Kafka's high watermark. Reads never pass it. */
  readonly visibleEndOffset: number;
}

export interface ReadOptions {
  readonly fromOffset: number;
  /** Reads stop before this offset where given (last stable offset). Never beyond the visible end. */
  readonly untilOffset?: number;
  readonly maxBytes: number;
  /** Return one whole entry even where it is larger than maxBytes (KIP-74). */
  readonly atLeastOne: boolean;
  /** Nobody reads other queues of the same part of the log at the same time: entries that lie far apart are read one by one at once. */
  readonly isAlone?: boolean;
}

/**
 * Whole payloads in offset order, the first of them the one that holds `fromOffset` (the next one, where that offset lies in a
 * gap that `rewrite` left), stamped with their offsets.
 * The buffers stay valid until `release`, which must be called exactly once (an engine may reuse their memory after).
 */
export type ReadResult =
  | {
      readonly outcome: 'read';
      /** Each buffer holds one or more whole payloads, back to back. Empty at the visible end. */
      readonly payloads: readonly Buffer[];
      readonly sizeBytes: number;
      /** Base offset of the first payload; fromOffset when empty. */
      readonly baseOffset: number;
      /** The offset after the last one returned; fromOffset when empty. */
      readonly nextOffset: number;
      release(): void;
    }
  | { readonly outcome: 'out-of-range'; readonly bounds: QueueBounds }
  | { readonly outcome: 'unknown-queue' }
  /** The stored entry fails its check. Entries before and after it can be read. */
  | { readonly outcome: 'damaged'; readonly baseOffset: number; readonly nextOffset: number };

/** What the engine knows of an entry without opening its payload. */
export interface EntryFacts {
  readonly kind: EntryKind;
  readonly baseOffset: number;
  readonly count: number;
  readonly sizeBytes: number;
  readonly maxTimestampMs: number;
  readonly storeTimeMs: number;
  readonly epoch: number;
  readonly producer?: ProducerFacts;
}

/** What becomes of one entry: it stays, it goes and leaves a gap, or these bytes take its place. */
export type RewriteVerdict = 'keep' | 'drop' | Buffer;

export interface RewriteRequest {
  readonly queue: QueueId;
  /** Entries that end after this offset are not offered. */
  readonly untilOffset: number;
  /**
   * Called once for each entry, in offset order of the queue, and never again after an entry that it threw at: then the whole
   * rewrite is given up. `payload` is a view with offset and epoch stamped, valid during the call only; a replacement is copied.
   */
  decide(payload: Buffer, facts: EntryFacts): RewriteVerdict;
}

export interface RewriteResult {
  /**
   * What was offered ends here; at most what was asked for, also where that lies before the queue's start. Less where the engine could
   * not reach further now (see rewriteReach), or the queue ends before it.
   */
  readonly untilOffset: number;
  /** Payload bytes of the entries that were offered, and of what is there in their place. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

export interface ProducerState {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly lastSequence: number;
  readonly lastOffset: number;
  readonly lastTimestampMs: number;
}

export interface IndexRow {
  readonly key: Buffer;
  readonly value: Buffer;
}

export interface IndexRange {
  /** Inclusive. */
  readonly from?: Buffer;
  /** Exclusive. */
  readonly to?: Buffer;
  /** At most this many rows; the caller pages by key. */
  readonly limit: number;
  readonly reverse?: boolean;
}

/** One ordered map of bytes to bytes, by byte order of the keys. Changed only inside an append group. */
export interface OrderedIndex {
  /** Reads see every group whose order is fixed, durable or not. */
  get(key: Buffer): Promise<Buffer | undefined>;
  range(range: IndexRange): Promise<readonly IndexRow[]>;
}

export interface CatalogueEntry {
  readonly key: string;
  readonly value: Buffer;
  /** Grows with every change of the key, never reused: the catalogue's version at which it was written. */
  readonly version: number;
}

export interface CatalogueChange {
  readonly key: string;
  /** 0: the key must not exist. undefined: whatever it is. */
  readonly expectedVersion?: number;
  /** null deletes. */
  readonly value: Buffer | null;
}

export interface CatalogueUpdate {
  readonly changes: readonly CatalogueChange[];
  /** Queues that come to be, empty, with offset 0 first. */
  readonly createQueues?: readonly QueueId[];
  /** Queues that end: reads and appends answer `unknown-queue` from now on, watchers wake, their space may be reclaimed. */
  readonly dropQueues?: readonly QueueId[];
}

/** Small, wholly in memory, durable: topics, settings, counters. Changed by compare-and-set only. */
export interface Catalogue {
  get(key: string): CatalogueEntry | undefined;
  /** In key order. */
  list(prefix: string): readonly CatalogueEntry[];
  /** Version of the newest change; 0 when nothing was ever written. */
  readonly version: number;
  /** All or none; durable and seen by `get` when it resolves. A conflict names the first key whose version differs. */
  update(
    update: CatalogueUpdate,
  ): Promise<
    | { readonly outcome: 'done'; readonly version: number }
    | { readonly outcome: 'conflict'; readonly key: string }
  >;
  /** Calls back after every change, of this process or another. Spurious calls are allowed. */
  watch(wake: () => void): () => void;
}

export interface Lease {
  readonly name: string;
  /** The leader epoch of what the lease protects; larger than that of any earlier holder. */
  readonly epoch: number;
  readonly lost: AbortSignal;
}

export interface EngineSizes {
  /** Bytes on disk (or in memory) of everything the engine keeps. */
  readonly totalBytes: number;
  /** Appended and not yet durable. */
  readonly unflushedBytes: number;
  /** Accepted and not yet written; bounded by a limit. */
  readonly unwrittenBytes: number;
}

/** What the engine's space is used for, and what cleaning it cost. Counters begin at 0 with every start. */
export interface SpaceFacts {
  /** Bytes of sealed data that count, and that do not and wait to be given back; as of the last time that it was looked over. */
  readonly liveBytes: number;
  readonly reclaimableBytes: number;
  /** Appended since the start; with `copiedBytes` it tells the write amplification. */
  readonly appendedBytes: number;
  /** Written again by rewrites and cleaning. */
  readonly copiedBytes: number;
  /** Given back by copying what was left. */
  readonly reclaimedBytes: number;
  readonly rewrites: number;
  readonly spacePasses: number;
  /** Passes and rewrites that were given up. */
  readonly failures: number;
  /** Damaged entries met on the way (each time they are). */
  readonly damagedEntries: number;
}

export interface StorageEngine {
  /** Names the data: kept with it, the same after every restart (Kafka's cluster id is made from it). 16 bytes, base64url. */
  readonly storageId: string;
  /** One counter for the whole log, raised at each unclean start; stamped into payloads at append. */
  readonly epoch: number;
  readonly catalogue: Catalogue;

  /**
   * Fixes the group's order (before this call returns when it has no conditions, links or sequence), de-duplicates and checks
   * the fence inside. Payload bytes are copied before it returns, so the caller may reuse them.
   */
  append(group: AppendGroup): Promise<readonly AppendResult[]>;
  /** Undefined when there is room; else a promise to wait for before appending more (named limit of unwritten bytes). */
  appendRoom(): Promise<void> | undefined;
  /** Resolves when all that was appended before the call is durable. State that was read may be answered then. */
  whenDurable(): Promise<void>;

  bounds(queue: QueueId): MaybePromise<QueueBounds | undefined>;
  read(queue: QueueId, options: ReadOptions): MaybePromise<ReadResult>;
  /** Facts of the visible entries from the one that holds `fromOffset` on, at most `limit`. */
  entries(queue: QueueId, fromOffset: number, limit: number): Promise<readonly EntryFacts[]>;
  /** Wakes after the visible end of any of the queues moved, or one was dropped. Spurious wake-ups are allowed. */
  watch(queues: readonly QueueId[], wake: () => void): () => void;

  /** First visible entry, in offset order, whose maxTimestampMs is at least `timestampMs`; undefined if none. */
  findByTime(queue: QueueId, timestampMs: number): Promise<EntryFacts | undefined>;
  /** The first of the visible entries with the largest maxTimestampMs. */
  findLargestTime(queue: QueueId): Promise<EntryFacts | undefined>;
  /**
   * The largest epoch of the queue's visible entries that is at most `epoch`, and the offset after its last entry
   * (the start of the next larger epoch, or the visible end). Undefined when there is none.
   */
  findEpochEnd(
    queue: QueueId,
    epoch: number,
  ): Promise<{ readonly epoch: number; readonly endOffset: number } | undefined>;
  /** Bytes of the queue's visible entries, as stored. */
  sizeBytes(queue: QueueId): MaybePromise<number>;
  /** Live producers of the queue (bounded; evicted by age and number). */
  producers(queue: QueueId): readonly ProducerState[];

  /**
   * Moves the queue's start forward to `toOffset` (never back, never past the visible end). Durable when it resolves.
   * Undefined where there is no such queue.
   */
  trim(queue: QueueId, toOffset: number): Promise<QueueBounds | undefined>;

  /**
   * Offers each visible entry of [start, untilOffset) of every request's queue and does what is decided. Answers one result a request,
   * in order; undefined where there is no such queue (or it was dropped meanwhile). A queue may be in one request only.
   *
   * Offsets never change: what is dropped leaves a gap, in which a read, a look-up by time and `entries` go on with the next entry. A
   * replacement stands for the same offsets, with the same facts but for its size and largest timestamp. The last visible entry of a queue is never
   * dropped ('drop' of it is taken as 'keep'), so that no reader waits at an end that it cannot reach; nor is a damaged
   * entry, which is not offered. All or nothing a queue over a crash, and durable when it resolves. Bounds, producers and sequences
   * do not change; `sizeBytes` does.
   *
   * Appends, trims and reads go on; reads see the queue as it was before or as it is after. Rewrites run one after the
   * other. Rejects where the disk does not let it (nothing has changed then), where `decide` throws, and when the engine is closing.
   */
  rewrite(requests: readonly RewriteRequest[]): Promise<readonly (RewriteResult | undefined)[]>;
  /**
   * How far a rewrite of the queue would reach now, of what is asked for: at most `untilOffset`, and where entries before it cannot be
   * rewritten yet the offset of the first of them. Changes nothing, and promises nothing: it may be another in a moment.
   */
  rewriteReach(queue: QueueId, untilOffset: number): Promise<number>;

  index(name: string): OrderedIndex;
  /** Embedded always grants it. */
  acquireLease(name: string): Promise<Lease>;

  sizes(): EngineSizes;
  spaceFacts(): SpaceFacts;
  /** Resolves with the reason when the engine can no longer keep its promises (a failed fsync); the process must stop. */
  readonly failed: Promise<Error>;
  /** Refuses new appends, makes everything durable, marks a clean end. */
  close(): Promise<void>;
}
