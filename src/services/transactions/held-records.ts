/**
 * Hidden records of open transactions: what a feature made of records that were produced in a Kafka transaction and take no offset in their
 * partition (a delayed record). Nothing of them is visible, so they hold back no last stable offset. The end of the transaction
 * decides: its append group, which holds markers, offsets and decision, also holds what the feature makes of them at a commit, or drops them
 * at an abort. So timeouts, fencing, administrators' aborts and crashes do to them what they do to the other records.
 *
 * A feature takes part in two places. On the way in its append step answers a plan whose `held` names, for each hidden entry, the
 * feature and a payload (append-steps.ts): no rows of the feature's own are put there. And it registers a handler here, which says
 * which rows and timers a commit puts; it must neither wait nor refuse, so what needs a look goes into a timer that is due at once.
 *
 * What is held is a row in the append group of the entry, and is kept in memory until the end. Knows no feature.
 */
import type { AppendEntry, AppendResult, IndexChange, QueueId, StorageEngine } from '../../storage/engine.ts';
import { assert } from '../../util/assert.ts';
import type { HeldEntry } from '../append/append-steps.ts';
import {
  decodeHeldRow,
  deleteHeldRow,
  type HeldRow,
  heldRows,
  heldRowsOf,
  putHeldRow,
  transactionIndex,
} from './transaction-rows.ts';

/** Which handler a held record belongs to, as rows name it. A number is never given twice: rows outlive versions. */
export const heldFeatures = {
  /** Records that are delivered later. */
  delayedRecord: 1,
  /** Pointers to records that a group retries. */
  retryPointer: 2,
} as const;

/** What a handler gets: where the hidden entry lies, and what the step gave it. */
export type HeldRecord = Pick<HeldRow, 'source' | 'payload'>;

export interface HeldCommit {
  /** No offsets of the group's own entries: where each entry lies is known. */
  readonly changes: readonly IndexChange[];
  /** Called once these changes stand in the log; must not throw. */
  committed(): void;
}

export interface HeldHandler {
  /**
   * The transaction is committed in the group that is put together now. `records` in the order in which they came. Where the group does
   * not hold the handler may be asked for the same records again.
   */
  commit(records: readonly HeldRecord[]): HeldCommit;
}

export interface HeldLimits {
  /** Hidden records of one transaction in one partition: the end of it is one append group. */
  readonly maxPerPartition: number;
  /** Bytes of all rows that are held, which are in memory. */
  readonly maxBytes: number;
}

export const defaultHeldLimits: HeldLimits = { maxPerPartition: 10_000, maxBytes: 64 * 1024 * 1024 };

const rowsAtOnce = 1000;
/** Of a row, beside payload and transactional id: roughly. */
const rowOverheadBytes = 200;

/** What is held of one producer's transaction in one partition. */
interface Held {
  readonly queue: QueueId;
  readonly producerId: number;
  rows: HeldRow[];
  /** Batches whose outcome is not known yet, and the rows of them. */
  inFlight: number;
  rowsInFlight: number;
  /** The outcome of a batch is not known and never will be: what is there must be read. */
  isUncertain: boolean;
  isEnding: boolean;
  /** Its queue ended. */
  isGone: boolean;
  waiting: (() => void)[];
}

/** Hidden records that are about to be appended. */
export interface HoldingBatch {
  readonly changes: readonly IndexChange[];
  /** What became of the group's entries. Called once. */
  settled(results: readonly AppendResult[]): void;
}

/** What the end of a transaction does with what is held in one partition. */
export interface EndingHeld {
  readonly changes: readonly IndexChange[];
  settled(isAppended: boolean): void;
}

export interface HeldRecordsOptions {
  readonly engine: StorageEngine;
  readonly limits?: Partial<HeldLimits>;
}

export class HeldRecords {
  private readonly engine: StorageEngine;
  private readonly limits: HeldLimits;
  private readonly handlers = new Map<number, HeldHandler>();
  private readonly byQueue = new Map<QueueId, Held[]>();
  private bytes = 0;
  private nextOrdinal = 0;

  constructor(options: HeldRecordsOptions) {
    this.engine = options.engine;
    this.limits = { ...defaultHeldLimits, ...options.limits };
  }

  /** Before `load`. */
  register(feature: number, handler: HeldHandler): void {
    assert(!this.handlers.has(feature), 'a feature of held records has one handler');
    this.handlers.set(feature, handler);
  }

  /** Reads what is held. To be called once, before anything else. */
  async load(): Promise<void> {
    for await (const row of this.rows()) {
      this.keep(this.findOrAdd(row.queue, row.producerId), row);
      this.nextOrdinal = Math.max(this.nextOrdinal, row.ordinal + 1);
    }
    for (const parts of this.byQueue.values()) {
      for (const held of parts) held.rows.sort((a, b) => a.ordinal - b.ordinal);
    }
  }

  /** Hidden records of open transactions. */
  get size(): number {
    let size = 0;
    for (const parts of this.byQueue.values()) for (const { rows } of parts) size += rows.length;
    return size;
  }

  /** Where held entries lie, by the index: for those who give room back. */
  async *sources(): AsyncGenerator<HeldRow['source']> {
    for await (const { source } of this.rows()) yield source;
  }

  /** All that is held, one a partition and producer: a row of each. */
  *all(): Iterable<HeldRow> {
    for (const parts of this.byQueue.values()) {
      for (const { rows } of parts) if (rows.length > 0) yield rows[0]!;
    }
  }

  /** Whether anything of the producer's is held in the partition by a transaction that is not ending. */
  isHolding(queue: QueueId, producerId: number): boolean {
    return this.byQueue.size > 0 && this.find(queue, producerId) !== undefined;
  }

  /** 'transaction': it holds too much in the partition already; 'all': there is no room at the moment. */
  lacksRoom(queue: QueueId, producerId: number, added: number): 'transaction' | 'all' | undefined {
    const held = this.find(queue, producerId);
    const count = (held?.rows.length ?? 0) + (held?.rowsInFlight ?? 0) + added;
    if (count > this.limits.maxPerPartition) return 'transaction';
    return this.bytes >= this.limits.maxBytes ? 'all' : undefined;
  }

  /** A batch with hidden records is about to be appended: `entries` of its group. */
  beforeBatch(
    facts: Pick<HeldRow, 'queue' | 'producerId' | 'producerEpoch' | 'transactionalId'>,
    toHold: readonly HeldEntry[],
    entries: readonly AppendEntry[],
  ): HoldingBatch {
    const held = this.findOrAdd(facts.queue, facts.producerId);
    const rows = toHold.map(({ entry, feature, payload }): HeldRow => {
      assert(this.handlers.has(feature), 'what is held has a handler');
      const source = { queue: entries[entry]!.queue, offset: 0 };
      return { ...facts, source, ordinal: this.nextOrdinal++, feature, payload };
    });
    held.inFlight += 1;
    held.rowsInFlight += rows.length;
    let isSettled = false;
    return {
      changes: rows.map((row, at) => putHeldRow(row, toHold[at]!.entry)),
      settled: (results) => {
        assert(!isSettled, 'a batch has one outcome');
        isSettled = true;
        held.inFlight -= 1;
        held.rowsInFlight -= rows.length;
        for (const [at, row] of rows.entries()) {
          const result = results[toHold[at]!.entry];
          if (result?.outcome === 'appended') {
            this.keep(held, { ...row, source: { queue: row.source.queue, offset: result.baseOffset } });
          } else if (result === undefined || result.outcome === 'unknown') held.isUncertain = true;
        }
        if (held.isGone) void this.dropRows(held).catch(() => {});
        else this.removeIfEmpty(held);
        const { waiting } = held;
        held.waiting = [];
        for (const resolve of waiting) resolve();
      },
    };
  }

  /** Undefined where the producer's transaction can end in the partition now; else resolves when to look again. */
  whenEndable(queue: QueueId, producerId: number): Promise<void> | undefined {
    const held = this.find(queue, producerId);
    if (held === undefined) return undefined;
    if (held.inFlight > 0) return new Promise((resolve) => held.waiting.push(resolve));
    return held.isUncertain ? this.readAgain(held) : undefined;
  }

  /** The producer's transaction is about to end. Undefined where nothing of it is held in the partition. */
  beforeEnd(queue: QueueId, producerId: number, isCommit: boolean): EndingHeld | undefined {
    const held = this.find(queue, producerId);
    if (held === undefined) return undefined;
    assert(held.inFlight === 0 && !held.isUncertain, 'a transaction ends when it is known what it holds');
    held.isEnding = true;
    const changes: IndexChange[] = held.rows.map(deleteHeldRow);
    const commits: HeldCommit[] = [];
    if (isCommit) {
      for (const [feature, rows] of byFeature(held.rows)) {
        const handler = this.handlers.get(feature);
        assert(handler !== undefined, 'what is held has a handler');
        const commit = handler.commit(rows);
        changes.push(...commit.changes);
        commits.push(commit);
      }
    }
    return {
      changes,
      settled: (isAppended) => {
        held.isEnding = false;
        if (!isAppended) return;
        this.remove(held);
        for (const commit of commits) commit.committed();
      },
    };
  }

  /** Queues ended: what was held for them is dropped. */
  async queuesEnded(queues: readonly QueueId[]): Promise<void> {
    for (const queue of queues) {
      for (const held of [...(this.byQueue.get(queue) ?? [])]) {
        held.isGone = true;
        this.remove(held);
        await this.dropRows(held);
      }
    }
  }

  private async dropRows({ queue, producerId }: Held): Promise<void> {
    const index = this.engine.index(transactionIndex);
    for (;;) {
      const rows = await index.range(heldRowsOf(queue, producerId, undefined, rowsAtOnce));
      const changes = rows.map(({ key }) => ({ index: transactionIndex, key, value: null }));
      if (changes.length > 0) await this.engine.append({ durability: 'async', entries: [], changes });
      if (rows.length < rowsAtOnce) return;
    }
  }

  private async readAgain(held: Held): Promise<void> {
    const found: HeldRow[] = [];
    const index = this.engine.index(transactionIndex);
    let after: Buffer | undefined;
    for (;;) {
      const rows = await index.range(heldRowsOf(held.queue, held.producerId, after, rowsAtOnce));
      for (const { key, value } of rows) found.push(decodeHeldRow(key, value));
      if (rows.length < rowsAtOnce) break;
      after = rows.at(-1)!.key;
    }
    // A batch that came meanwhile is among what is in memory: it is read the next time.
    if (held.inFlight > 0 || held.isGone) return;
    for (const row of held.rows) this.bytes -= sizeOf(row);
    held.rows = [];
    held.isUncertain = false;
    for (const row of found.sort((a, b) => a.ordinal - b.ordinal)) this.keep(held, row);
    this.removeIfEmpty(held);
  }

  private async *rows(): AsyncGenerator<HeldRow> {
    const index = this.engine.index(transactionIndex);
    let after: Buffer | undefined;
    for (;;) {
      const rows = await index.range(heldRows(after, rowsAtOnce));
      for (const { key, value } of rows) yield decodeHeldRow(key, value);
      if (rows.length < rowsAtOnce) return;
      after = rows.at(-1)!.key;
    }
  }

  private keep(held: Held, row: HeldRow): void {
    held.rows.push(row);
    this.bytes += sizeOf(row);
  }

  private find(queue: QueueId, producerId: number): Held | undefined {
    return this.byQueue.get(queue)?.find((held) => held.producerId === producerId && !held.isEnding);
  }

  private findOrAdd(queue: QueueId, producerId: number): Held {
    const known = this.find(queue, producerId);
    if (known !== undefined) return known;
    const held: Held = {
      queue,
      producerId,
      rows: [],
      inFlight: 0,
      rowsInFlight: 0,
      isUncertain: false,
      isEnding: false,
      isGone: false,
      waiting: [],
    };
    const parts = this.byQueue.get(queue);
    if (parts === undefined) this.byQueue.set(queue, [held]);
    else parts.push(held);
    return held;
  }

  private removeIfEmpty(held: Held): void {
    if (held.rows.length === 0 && held.inFlight === 0 && !held.isUncertain) this.remove(held);
  }

  private remove(held: Held): void {
    const parts = this.byQueue.get(held.queue);
    const at = parts?.indexOf(held) ?? -1;
    if (parts === undefined || at < 0) return;
    parts.splice(at, 1);
    if (parts.length === 0) this.byQueue.delete(held.queue);
    for (const row of held.rows) this.bytes -= sizeOf(row);
    held.rows = [];
  }
}

function sizeOf({ payload, transactionalId }: HeldRow): number {
  return rowOverheadBytes + payload.length + transactionalId.length;
}

function byFeature(rows: readonly HeldRow[]): Map<number, HeldRow[]> {
  const features = new Map<number, HeldRow[]>();
  for (const row of rows) {
    const known = features.get(row.feature);
    if (known === undefined) features.set(row.feature, [row]);
    else known.push(row);
  }
  return features;
}
