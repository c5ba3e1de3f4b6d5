/**
 * The records of one share partition that are in flight: from the start offset, before which everything is over, to the end offset,
 * beyond which nothing was handed out yet. A pure state machine. Knows no log, no clock, no group settings: they come with each call.
 *
 * What must survive (states, delivery counts, start offset) is changed by `apply` and `moveStart` alone, which is what the records of
 * the log say; `plan...` tells what to write and changes nothing. Who holds a record, and until when, is in memory only: after a
 * crash a record that was held is as it was before it was handed out.
 */
import { assert } from '../../util/assert.ts';
import {
  acknowledgeTypes,
  isOver,
  type LastingState,
  type RecordState,
  type StateBatch,
} from './record-states.ts';

/** A run of records of which the same is true. */
interface Span {
  readonly first: number;
  readonly last: number;
  readonly state: RecordState;
  /** Deliveries, with the present one of an acquired record. */
  readonly count: number;
  /** Deliveries as the log says them; -1 where the log says nothing of these records. */
  readonly savedCount: number;
  /** Of acquired records; `nobody` where the broker itself holds them. */
  readonly memberId: string;
  /** Of acquired records, by the monotonic clock; Infinity where nothing ends it but what the broker does. */
  readonly lockDueMs: number;
}

/** Member ids of clients are never empty. */
export const nobody = '';

export interface AcquiredRange {
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly deliveryCount: number;
}

/** A batch that was read from the log. Void: a control batch, or one of an aborted transaction that the group must not see. */
export interface ReadBatch {
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly isVoid: boolean;
}

export interface AcquireTerms {
  readonly memberId: string;
  /** Where the read began: what it holds of lower offsets is not looked at. */
  readonly fromOffset: number;
  /** In offset order. Offsets between them do not exist. */
  readonly batches: readonly ReadBatch[];
  readonly maxRecords: number;
  /** Stop in the middle of a batch rather than pass `maxRecords` (acquire mode 1); else whole batches are handed out. */
  readonly isStrict: boolean;
  /** Ranges in the answer are cut at the first batch border after this many records. */
  readonly batchSize: number;
  /** Records in flight beyond which nothing new is handed out. */
  readonly maxInFlight: number;
  readonly lockDueMs: number;
  /** Deliveries that a record may have. */
  readonly maxDeliveries: number;
}

export interface AcknowledgementBatch {
  readonly firstOffset: number;
  readonly lastOffset: number;
  /** One for all, or one for each offset. */
  readonly types: readonly number[];
}

export interface DeliveredRange {
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly deliveryCount: number;
}

/** What becomes of records that a client gives back or gives up. */
export interface Disposition {
  /** Deliveries that a record may have. */
  readonly maxDeliveries: number;
  /** What is given back is over here: it waits elsewhere until it is delivered again. */
  readonly parks: boolean;
  /** What is given up is not written off yet: the broker does something with it first. */
  readonly keepsGivenUp: boolean;
}

export interface AcknowledgementPlan {
  /** To be written, then applied. */
  readonly changes: readonly StateBatch[];
  /** To be locked anew by `renew`. */
  readonly renewed: readonly DeliveredRange[];
  /** Given back by the client, and may be delivered again. */
  readonly released: readonly DeliveredRange[];
  readonly rejected: readonly DeliveredRange[];
  /** Given back by the client, or not acknowledged in time, after the last delivery that a record may have. */
  readonly exhausted: readonly DeliveredRange[];
}

export type AcknowledgementOutcome =
  | { readonly outcome: 'planned'; readonly plan: AcknowledgementPlan }
  | { readonly outcome: 'invalid-state'; readonly message: string }
  | { readonly outcome: 'invalid-request'; readonly message: string };

/** Runs of equal records that a window may consist of before nothing new is handed out: bounds its memory. */
export const maxWindowSpans = 10_000;

export class ShareWindow {
  #start: number;
  /** Without holes, in order, the first of them from the start offset on. */
  #spans: Span[] = [];

  constructor(startOffset: number) {
    this.#start = startOffset;
  }

  get startOffset(): number {
    return this.#start;
  }

  /** The last offset in flight; one below the start where nothing is. */
  get endOffset(): number {
    return this.#spans.at(-1)?.last ?? this.#start - 1;
  }

  /** Where the next read should begin: the first record that may be handed out (again), or what comes after all. */
  get nextFetchOffset(): number {
    return this.#spans.find(({ state }) => state === 'available')?.first ?? this.endOffset + 1;
  }

  /** Records in the window of which something may still become. */
  get inFlight(): number {
    let records = 0;
    for (const span of this.#spans) if (!isOver(span.state)) records += span.last - span.first + 1;
    return records;
  }

  /** Records in the window that are over: what Kafka counts for the lag. */
  get deliveryComplete(): number {
    return this.endOffset - this.#start + 1 - this.inFlight;
  }

  get spanCount(): number {
    return this.#spans.length;
  }

  /** Something could be handed out if the log had it. */
  canAcquire(maxInFlight: number): boolean {
    if (this.#spans.some(({ state }) => state === 'available')) return true;
    return this.#spans.length < maxWindowSpans && this.inFlight < maxInFlight;
  }

  /** The earliest end of a lock; undefined where nothing is locked. */
  get nextLockDueMs(): number | undefined {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { state, lockDueMs } of this.#spans) {
      if (state === 'acquired' && lockDueMs < earliest) earliest = lockDueMs;
    }
    return earliest === Number.POSITIVE_INFINITY ? undefined : earliest;
  }

  /** Whether anybody holds records. */
  get isHeld(): boolean {
    return this.#spans.some(({ state }) => state === 'acquired');
  }

  /** State, deliveries and owner of one offset in the window. */
  recordAt(
    offset: number,
  ): { readonly state: RecordState; readonly deliveryCount: number; readonly memberId: string } | undefined {
    const span = this.#spans[this.#indexAt(offset)];
    return span === undefined || span.first > offset
      ? undefined
      : { state: span.state, deliveryCount: span.count, memberId: span.memberId };
  }

  /**
   * Hands out what is free of `batches`, in offset order. What does not exist between them, and what is void, is over from now on;
   * that is written with the next change of what lies behind it.
   */
  acquire(terms: AcquireTerms): AcquiredRange[] {
    const { memberId, maxRecords, isStrict, lockDueMs } = terms;
    const ranges = new RangeList(terms.batchSize);
    let acquired = 0;
    let position = Math.max(terms.fromOffset, this.#start);
    // Of what was never handed out there must be nothing between the window and the read.
    if (position > this.endOffset + 1) return [];
    let room = this.#spans.length < maxWindowSpans ? terms.maxInFlight - this.inFlight : 0;
    for (const batch of terms.batches) {
      if (batch.lastOffset < position) continue;
      if (acquired >= maxRecords) break;
      if (batch.firstOffset > position) {
        if (position > this.endOffset && room <= 0) break;
        this.#archiveFree(position, batch.firstOffset - 1);
        position = batch.firstOffset;
      }
      ranges.batchBorder();
      if (batch.isVoid) {
        if (batch.lastOffset > this.endOffset && room <= 0) break;
        this.#archiveFree(position, batch.lastOffset);
        position = batch.lastOffset + 1;
        continue;
      }
      const known = Math.min(batch.lastOffset, this.endOffset);
      const take = (first: number, last: number, count: number, savedCount: number): void => {
        const end = isStrict ? Math.min(last, first + (maxRecords - acquired) - 1) : last;
        if (end < first) return;
        this.#replace(first, end, () => ({ state: 'acquired', count, savedCount, memberId, lockDueMs }));
        ranges.add(first, end, count);
        acquired += end - first + 1;
      };
      for (const free of this.#pieces(position, known)) {
        if (free.state !== 'available') continue;
        const left = lastAttemptRoom(free.count, terms.maxDeliveries, acquired);
        if (left === 0) return ranges.done();
        take(free.first, Math.min(free.last, free.first + left - 1), free.count + 1, free.savedCount);
        // A record that may be the one that kills its consumers is handed out alone.
        if (left === 1) return ranges.done();
      }
      const first = Math.max(position, this.endOffset + 1);
      if (first <= batch.lastOffset && (!isStrict || acquired < maxRecords)) {
        if (room <= 0) break;
        const last = isStrict ? Math.min(batch.lastOffset, first + room - 1) : batch.lastOffset;
        const before = acquired;
        take(first, last, 1, -1);
        room -= acquired - before;
        if (isStrict && last < batch.lastOffset) break;
      }
      position = batch.lastOffset + 1;
    }
    return ranges.done();
  }

  /** What acknowledging comes to; an error where a record is not the member's. Batches in order, not overlapping, types checked. */
  planAcknowledge(
    memberId: string,
    batches: readonly AcknowledgementBatch[],
    disposition: Disposition,
  ): AcknowledgementOutcome {
    const plan = new PlanBuilder(disposition);
    for (const batch of batches) {
      if (batch.lastOffset < this.#start) {
        return invalidState('Batch record not found. The request batch offsets are not found in the cache.');
      }
      if (batch.lastOffset > this.endOffset) {
        return {
          outcome: 'invalid-request',
          message: 'Batch record not found. The last offset in request is past acquired records.',
        };
      }
      for (const piece of this.#pieces(Math.max(batch.firstOffset, this.#start), batch.lastOffset)) {
        if (piece.state !== 'acquired') {
          return invalidState('The batch cannot be acknowledged. The offset is not acquired.');
        }
        if (piece.memberId !== memberId) return invalidState('Member is not the owner of batch record');
        if (batch.types.length === 1) plan.add(piece.first, piece.last, piece.count, batch.types[0]!);
        else {
          for (let offset = piece.first; offset <= piece.last; ) {
            const type = batch.types[offset - batch.firstOffset]!;
            let last = offset;
            while (last < piece.last && batch.types[last + 1 - batch.firstOffset] === type) last++;
            plan.add(offset, last, piece.count, type);
            offset = last + 1;
          }
        }
      }
    }
    return { outcome: 'planned', plan: plan.done() };
  }

  /** Locks what the member holds of the ranges until then. */
  renew(memberId: string, ranges: readonly DeliveredRange[], lockDueMs: number): void {
    for (const { firstOffset, lastOffset } of ranges) {
      this.#replace(firstOffset, lastOffset, (span) =>
        span.state === 'acquired' && span.memberId === memberId ? { ...span, lockDueMs } : span,
      );
    }
  }

  /** Takes records out of their member's hands: the broker does something with them that takes its time. */
  holdBack(ranges: readonly DeliveredRange[]): void {
    for (const { firstOffset, lastOffset } of ranges) {
      this.#replace(firstOffset, lastOffset, (span) =>
        span.state === 'acquired' ? { ...span, memberId: nobody, lockDueMs: Number.POSITIVE_INFINITY } : span,
      );
    }
  }

  /** Of the ranges, what the broker holds back still: what was asked for may have ended meanwhile. */
  heldBack(ranges: readonly DeliveredRange[]): DeliveredRange[] {
    const held: DeliveredRange[] = [];
    for (const { firstOffset, lastOffset } of ranges) {
      for (const piece of this.#pieces(
        Math.max(firstOffset, this.#start),
        Math.min(lastOffset, this.endOffset),
      )) {
        if (piece.state === 'acquired' && piece.memberId === nobody) held.push(delivered(piece));
      }
    }
    return held;
  }

  /**
   * What becomes of what the member holds when its session is closed. As in Kafka 4.3 the delivery counts, since the broker cannot know what
   * the member saw.
   */
  planRelease(memberId: string, disposition: Disposition): AcknowledgementPlan {
    const plan = new PlanBuilder(disposition);
    for (const span of this.#spans) {
      if (span.state === 'acquired' && span.memberId === memberId) {
        plan.add(span.first, span.last, span.count, acknowledgeTypes.release);
      }
    }
    return plan.done();
  }

  /** What becomes of the records whose locks have ended. */
  planExpiry(nowMs: number, disposition: Disposition): AcknowledgementPlan {
    const plan = new PlanBuilder(disposition);
    for (const span of this.#spans) {
      if (span.state === 'acquired' && span.lockDueMs <= nowMs) {
        plan.add(span.first, span.last, span.count, acknowledgeTypes.release);
      }
    }
    return plan.done();
  }

  /** What is over in memory and not in the log, up to an offset: gaps and void batches that were passed over. */
  unsaved(untilOffset: number): StateBatch[] {
    const batches: StateBatch[] = [];
    for (const { first, last, state, count, savedCount } of this.#spans) {
      if (first >= untilOffset) break;
      if (state === 'archived' && savedCount < 0) {
        batches.push({ firstOffset: first, lastOffset: last, state, deliveryCount: count });
      }
    }
    return batches;
  }

  /** What the log says of these records from now on. Moves the start past what is over. */
  apply(batches: readonly StateBatch[]): void {
    for (const { firstOffset, lastOffset, state, deliveryCount } of batches) {
      const first = Math.max(firstOffset, this.#start);
      if (first > lastOffset) continue;
      // Records in between were held by somebody when the log was written.
      if (first > this.endOffset + 1) {
        this.#spans.push({ ...free, first: this.endOffset + 1, last: first - 1 });
      }
      this.#replace(first, lastOffset, () => ({
        state,
        count: deliveryCount,
        savedCount: deliveryCount,
        memberId: nobody,
        lockDueMs: 0,
      }));
    }
    this.#passOver();
  }

  /** Everything before the offset is over. Never back. */
  moveStart(offset: number): void {
    if (offset <= this.#start) return;
    const keep = this.#spans.findIndex(({ last }) => last >= offset);
    this.#spans = keep < 0 ? [] : this.#spans.slice(keep);
    const first = this.#spans[0];
    if (first !== undefined && first.first < offset) this.#spans[0] = { ...first, first: offset };
    this.#start = offset;
    this.#passOver();
  }

  /** The lasting part of the state. What was handed out counts as it was before. */
  saved(): StateBatch[] {
    const batches: StateBatch[] = [];
    for (const { first, last, state, count, savedCount } of this.#spans) {
      const lasting: LastingState = state === 'acquired' ? 'available' : state;
      if (savedCount < 0 && lasting === 'available') continue;
      const deliveryCount = savedCount < 0 ? count : savedCount;
      const before = batches.at(-1);
      if (
        before !== undefined &&
        before.lastOffset + 1 === first &&
        before.state === lasting &&
        before.deliveryCount === deliveryCount
      ) {
        batches[batches.length - 1] = { ...before, lastOffset: last };
      } else batches.push({ firstOffset: first, lastOffset: last, state: lasting, deliveryCount });
    }
    return batches;
  }

  /** Everything in flight, for tests and inspection. */
  ranges(): readonly Readonly<Span>[] {
    return this.#spans;
  }

  #passOver(): void {
    let over = 0;
    while (over < this.#spans.length) {
      const { state, savedCount } = this.#spans[over]!;
      // What the log does not know to be over would be handed out again after a crash: it may not be forgotten yet.
      if (!isOver(state) || savedCount < 0) break;
      over++;
    }
    if (over === 0) return;
    this.#start = this.#spans[over - 1]!.last + 1;
    this.#spans.splice(0, over);
  }

  /** Ends what is free in the range, or was not in the window yet. */
  #archiveFree(first: number, last: number): void {
    this.#replace(first, last, (span) =>
      span.state === 'available' ? { ...span, state: 'archived', savedCount: -1 } : span,
    );
  }

  /** The index of the span that holds the offset, or of the first one after it. */
  #indexAt(offset: number): number {
    let low = 0;
    let high = this.#spans.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#spans[middle]!.last < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Copies of the parts of spans in the range. */
  #pieces(first: number, last: number): Span[] {
    const pieces: Span[] = [];
    for (let at = this.#indexAt(first); at < this.#spans.length && this.#spans[at]!.first <= last; at++) {
      const span = this.#spans[at]!;
      pieces.push({ ...span, first: Math.max(span.first, first), last: Math.min(span.last, last) });
    }
    return pieces;
  }

  /** Changes what is in the range; what is behind the end comes in as free. */
  #replace(first: number, last: number, change: (span: Span) => Omit<Span, 'first' | 'last'>): void {
    if (first > last) return;
    const end = this.endOffset;
    assert(first >= this.#start && first <= end + 1, 'a change outside the window');
    const from = this.#indexAt(first);
    let to = from;
    const next: Span[] = [];
    const push = (span: Span): void => {
      const before = next.at(-1);
      if (before !== undefined && isSame(before, span))
        next[next.length - 1] = { ...before, last: span.last };
      else next.push(span);
    };
    if (from > 0) push(this.#spans[from - 1]!);
    for (; to < this.#spans.length && this.#spans[to]!.first <= last; to++) {
      const span = this.#spans[to]!;
      if (span.first < first) push({ ...span, last: first - 1 });
      const piece = { ...span, first: Math.max(span.first, first), last: Math.min(span.last, last) };
      push({ ...change(piece), first: piece.first, last: piece.last });
      if (span.last > last) push({ ...span, first: last + 1 });
    }
    if (last > end) {
      const tail = { ...free, first: Math.max(first, end + 1), last };
      push({ ...change(tail), first: tail.first, last });
    }
    if (to < this.#spans.length) push(this.#spans[to++]!);
    const begin = Math.max(0, from - 1);
    this.#spans.splice(begin, to - begin, ...next);
  }
}

const free: Omit<Span, 'first' | 'last'> = {
  state: 'available',
  count: 0,
  savedCount: -1,
  memberId: nobody,
  lockDueMs: 0,
};

function isSame(a: Span, b: Span): boolean {
  return (
    a.state === b.state &&
    a.count === b.count &&
    a.savedCount === b.savedCount &&
    a.memberId === b.memberId &&
    a.lockDueMs === b.lockDueMs
  );
}

/**
 * How many records with so many deliveries behind them may be handed out together. A record that is about to be given up is handed out
 * alone, so that one bad record does not take its neighbours with it.
 */
function lastAttemptRoom(count: number, maxDeliveries: number, acquired: number): number {
  if (count === 0 || count + 1 < maxDeliveries) return Number.POSITIVE_INFINITY;
  return acquired === 0 ? 1 : 0;
}

function invalidState(message: string): AcknowledgementOutcome {
  return { outcome: 'invalid-state', message };
}

function delivered({ first, last, count }: Span): DeliveredRange {
  return { firstOffset: first, lastOffset: last, deliveryCount: count };
}

class PlanBuilder {
  readonly #disposition: Disposition;
  readonly #changes: StateBatch[] = [];
  readonly #renewed: DeliveredRange[] = [];
  readonly #released: DeliveredRange[] = [];
  readonly #rejected: DeliveredRange[] = [];
  readonly #exhausted: DeliveredRange[] = [];

  constructor(disposition: Disposition) {
    this.#disposition = disposition;
  }

  add(firstOffset: number, lastOffset: number, deliveryCount: number, type: number): void {
    const range = { firstOffset, lastOffset, deliveryCount };
    switch (type) {
      case acknowledgeTypes.accept:
        this.#change(range, 'acknowledged');
        return;
      case acknowledgeTypes.renew:
        this.#renewed.push(range);
        return;
      case acknowledgeTypes.release:
        if (deliveryCount >= this.#disposition.maxDeliveries) {
          this.#exhausted.push(range);
          if (!this.#disposition.keepsGivenUp) this.#change(range, 'archived');
        } else {
          this.#released.push(range);
          this.#change(range, this.#disposition.parks ? 'archived' : 'available');
        }
        return;
      case acknowledgeTypes.reject:
        this.#rejected.push(range);
        if (!this.#disposition.keepsGivenUp) this.#change(range, 'archived');
        return;
      default:
        this.#change(range, 'archived');
    }
  }

  #change(range: DeliveredRange, state: LastingState): void {
    const before = this.#changes.at(-1);
    if (
      before !== undefined &&
      before.state === state &&
      before.deliveryCount === range.deliveryCount &&
      before.lastOffset + 1 === range.firstOffset
    ) {
      this.#changes[this.#changes.length - 1] = { ...before, lastOffset: range.lastOffset };
    } else this.#changes.push({ ...range, state });
  }

  done(): AcknowledgementPlan {
    return {
      changes: this.#changes,
      renewed: this.#renewed,
      released: this.#released,
      rejected: this.#rejected,
      exhausted: this.#exhausted,
    };
  }
}

/** The ranges of an answer: runs of equal deliveries, cut at batch borders once they are long enough. */
class RangeList {
  readonly #batchSize: number;
  readonly #ranges: AcquiredRange[] = [];
  #atBorder = true;

  constructor(batchSize: number) {
    this.#batchSize = Math.max(1, batchSize);
  }

  batchBorder(): void {
    this.#atBorder = true;
  }

  add(firstOffset: number, lastOffset: number, deliveryCount: number): void {
    const before = this.#ranges.at(-1);
    if (
      before !== undefined &&
      before.lastOffset + 1 === firstOffset &&
      before.deliveryCount === deliveryCount &&
      !(this.#atBorder && firstOffset - before.firstOffset >= this.#batchSize)
    ) {
      this.#ranges[this.#ranges.length - 1] = { ...before, lastOffset };
    } else this.#ranges.push({ firstOffset, lastOffset, deliveryCount });
    this.#atBorder = false;
  }

  done(): AcquiredRange[] {
    return this.#ranges;
  }
}
