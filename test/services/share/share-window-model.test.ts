/**
 * Random histories of a share window beside a model that keeps every offset by itself, and beside a window made again from what was
 * written. No record is held by two, none is lost, counts and starts agree at every step.
 */
import { describe, expect, it } from 'vitest';
import {
  acknowledgeTypes,
  isOver,
  type RecordState,
  type StateBatch,
} from '../../../src/services/share/record-states.ts';
import {
  type AcknowledgementBatch,
  nobody,
  type ReadBatch,
  ShareWindow,
} from '../../../src/services/share/share-window.ts';
import { Random } from '../../fuzz/random.ts';

const histories = 80;
const steps = 120;
const members = ['a', 'b', 'c'];
const lockMs = 10;
const maxDeliveries = 4;
const plain = { maxDeliveries, parks: false, keepsGivenUp: false };

interface ModelRecord {
  state: RecordState;
  count: number;
  /** -1: the log does not speak of it. */
  saved: number;
  member: string;
  dueMs: number;
}

/** What the topic's partition holds: batches with gaps and void batches between them. */
function makeLog(random: Random): ReadBatch[] {
  const batches: ReadBatch[] = [];
  let offset = 0;
  for (let index = 0; index < 60; index++) {
    if (random.oneIn(5)) offset += 1 + random.below(4);
    const length = 1 + random.below(8);
    batches.push({ firstOffset: offset, lastOffset: offset + length - 1, isVoid: random.oneIn(6) });
    offset += length;
  }
  return batches;
}

class Model {
  readonly records = new Map<number, ModelRecord>();
  start = 0;
  end = -1;

  at(offset: number): ModelRecord {
    let record = this.records.get(offset);
    if (record === undefined) {
      record = { state: 'available', count: 0, saved: -1, member: nobody, dueMs: 0 };
      this.records.set(offset, record);
    }
    return record;
  }

  write(batches: readonly StateBatch[]): void {
    for (const { firstOffset, lastOffset, state, deliveryCount } of batches) {
      for (let offset = firstOffset; offset <= lastOffset; offset++) {
        if (offset < this.start) continue;
        this.records.set(offset, {
          state,
          count: deliveryCount,
          saved: deliveryCount,
          member: nobody,
          dueMs: 0,
        });
        this.end = Math.max(this.end, offset);
      }
    }
    this.pass();
  }

  pass(): void {
    while (this.start <= this.end) {
      const record = this.at(this.start);
      if (!isOver(record.state) || record.saved < 0) break;
      this.start++;
    }
  }
}

class History {
  readonly random: Random;
  readonly log: ReadBatch[];
  readonly model = new Model();
  window = new ShareWindow(0);
  readonly written: (readonly StateBatch[] | number)[] = [];
  nowMs = 0;
  /** Offsets that clients accepted: never to be seen again. */
  readonly accepted = new Set<number>();
  lastStart = 0;

  constructor(seed: number) {
    this.random = new Random(seed, 7);
    this.log = makeLog(this.random);
  }

  step(): void {
    const choice = this.random.below(9);
    if (choice < 3) this.acquire();
    else if (choice < 5) this.acknowledge();
    else if (choice === 5) {
      this.nowMs += this.random.below(lockMs);
      this.write(this.window.planExpiry(this.nowMs, plain).changes);
    } else if (choice === 6) this.release();
    else if (this.random.oneIn(10)) this.moveStart();
    else if (this.random.oneIn(8)) this.crash();
  }

  acquire(): void {
    const memberId = this.random.pick(members);
    const fromOffset = this.window.nextFetchOffset;
    const first = this.log.findIndex((batch) => batch.lastOffset >= fromOffset);
    if (first < 0) return;
    const batches = this.log.slice(first, first + 1 + this.random.below(5));
    const isStrict = this.random.oneIn(2);
    const maxRecords = 1 + this.random.below(20);
    const maxInFlight = 30;
    const flightBefore = this.window.inFlight;
    const endBefore = this.window.endOffset;
    const lockDueMs = this.nowMs + lockMs;
    const ranges = this.window.acquire({
      memberId,
      fromOffset,
      batches,
      maxRecords,
      isStrict,
      batchSize: 1 + this.random.below(10),
      maxInFlight,
      lockDueMs,
      maxDeliveries,
    });
    let records = 0;
    let before = -1;
    for (const { firstOffset, lastOffset, deliveryCount } of ranges) {
      if (firstOffset <= before) expect(firstOffset).toBeGreaterThan(before);
      before = lastOffset;
      for (let offset = firstOffset; offset <= lastOffset; offset++) {
        const record = this.model.at(offset);
        const exists = this.log.some((b) => !b.isVoid && b.firstOffset <= offset && b.lastOffset >= offset);
        const isRight = exists && record.state === 'available' && record.count + 1 === deliveryCount;
        if (!isRight || this.accepted.has(offset)) {
          expect({ ...record, exists }, `offset ${offset} is free`).toEqual({ deliveryCount });
        }
        Object.assign(record, {
          state: 'acquired',
          count: deliveryCount,
          member: memberId,
          dueMs: lockDueMs,
        });
        records++;
      }
    }
    if (isStrict) expect(records).toBeLessThanOrEqual(maxRecords);
    if (this.window.endOffset > endBefore) expect(flightBefore).toBeLessThan(maxInFlight);
    // What does not exist, or may not be seen, is over.
    for (let offset = this.model.start; offset <= this.window.endOffset; offset++) {
      const record = this.model.at(offset);
      const exists = this.log.some((b) => !b.isVoid && b.firstOffset <= offset && b.lastOffset >= offset);
      if (record.state === 'available' && this.window.recordAt(offset)?.state === 'archived') {
        expect(exists).toBe(false);
        Object.assign(record, { state: 'archived', saved: -1 });
      }
    }
    this.model.end = this.window.endOffset;
  }

  acknowledge(): void {
    const memberId = this.random.pick(members);
    const batches: AcknowledgementBatch[] = [];
    let at = this.model.start;
    while (batches.length < 3 && at <= this.model.end) {
      if (this.random.oneIn(3)) {
        at++;
        continue;
      }
      const length = Math.min(1 + this.random.below(6), this.model.end - at + 1);
      const one = this.random.oneIn(2);
      const types = Array.from({ length: one ? 1 : length }, () => this.random.below(5));
      batches.push({ firstOffset: at, lastOffset: at + length - 1, types });
      at += length;
    }
    if (batches.length === 0) return;
    const allHeld = batches.every(({ firstOffset, lastOffset }) => {
      for (let offset = firstOffset; offset <= lastOffset; offset++) {
        const record = this.model.at(offset);
        if (record.state !== 'acquired' || record.member !== memberId) return false;
      }
      return true;
    });
    const outcome = this.window.planAcknowledge(memberId, batches, plain);
    expect(outcome.outcome === 'planned').toBe(allHeld);
    if (outcome.outcome !== 'planned') return;
    const expected = new Map<number, string>();
    for (const { firstOffset, lastOffset, types } of batches) {
      for (let offset = firstOffset; offset <= lastOffset; offset++) {
        const type = types.length === 1 ? types[0] : types[offset - firstOffset];
        const { count } = this.model.at(offset);
        if (type === acknowledgeTypes.accept) {
          expected.set(offset, 'acknowledged');
          this.accepted.add(offset);
        } else if (type === acknowledgeTypes.renew) this.model.at(offset).dueMs = this.nowMs + lockMs;
        else if (type === acknowledgeTypes.release && count < maxDeliveries)
          expected.set(offset, 'available');
        else expected.set(offset, 'archived');
      }
    }
    const planned = new Map<number, string>();
    for (const { firstOffset, lastOffset, state, deliveryCount } of outcome.plan.changes) {
      for (let offset = firstOffset; offset <= lastOffset; offset++) {
        if (deliveryCount !== this.model.at(offset).count)
          expect(deliveryCount).toBe(this.model.at(offset).count);
        planned.set(offset, state);
      }
    }
    expect(planned).toEqual(expected);
    this.window.renew(memberId, outcome.plan.renewed, this.nowMs + lockMs);
    this.write(outcome.plan.changes);
  }

  release(): void {
    const memberId = this.random.pick(members);
    const { changes } = this.window.planRelease(memberId, plain);
    const planned = new Set<number>();
    for (const { firstOffset, lastOffset, state, deliveryCount } of changes) {
      for (let offset = firstOffset; offset <= lastOffset; offset++) {
        planned.add(offset);
        const { count } = this.model.at(offset);
        const isRight = deliveryCount === count && (state === 'archived') === count >= maxDeliveries;
        if (!isRight) expect({ state, deliveryCount }).toEqual({ count });
      }
    }
    const held = [...this.model.records].filter(
      ([, { state, member }]) => state === 'acquired' && member === memberId,
    );
    expect(planned).toEqual(new Set(held.map(([offset]) => offset)));
    this.write(changes);
  }

  moveStart(): void {
    const to = Math.min(this.model.start + this.random.below(12), this.log.at(-1)!.lastOffset + 1);
    this.written.push(to);
    this.window.moveStart(to);
    for (const offset of [...this.model.records.keys()]) if (offset < to) this.model.records.delete(offset);
    this.model.start = Math.max(to, this.model.start);
    this.model.end = Math.max(this.model.end, this.model.start - 1);
    this.model.pass();
  }

  write(changes: readonly StateBatch[]): void {
    const unsaved = this.window.unsaved(Number.POSITIVE_INFINITY);
    if (changes.length === 0 && unsaved.length === 0) return;
    const all = [...unsaved, ...changes];
    this.written.push(all);
    this.window.apply(all);
    this.model.write(all);
  }

  reloaded(): ShareWindow {
    const window = new ShareWindow(0);
    for (const record of this.written) {
      if (typeof record === 'number') window.moveStart(record);
      else window.apply(record);
    }
    return window;
  }

  crash(): void {
    this.window = this.reloaded();
    for (const [offset, record] of [...this.model.records]) {
      if (offset > this.window.endOffset) this.model.records.delete(offset);
      else if (record.saved < 0) Object.assign(record, { state: 'available', count: 0, member: nobody });
      else if (record.state === 'acquired') {
        Object.assign(record, { state: 'available', count: record.saved, member: nobody });
      }
    }
    this.model.end = this.window.endOffset;
  }

  check(): void {
    const { window, model } = this;
    expect(window.startOffset).toBe(model.start);
    expect(window.startOffset).toBeGreaterThanOrEqual(this.lastStart);
    this.lastStart = window.startOffset;
    expect(window.endOffset).toBe(Math.max(model.end, model.start - 1));
    let inFlight = 0;
    let nextFetch = window.endOffset + 1;
    let lockDue: number | undefined;
    for (let offset = window.endOffset; offset >= window.startOffset; offset--) {
      const record = model.at(offset);
      const { state, deliveryCount, memberId } = window.recordAt(offset)!;
      const isSame = state === record.state && deliveryCount === record.count && memberId === record.member;
      if (!isSame) expect(window.recordAt(offset), `offset ${offset}`).toEqual(record);
      if (!isOver(record.state)) inFlight++;
      if (record.state === 'available') nextFetch = offset;
      if (record.state === 'acquired' && record.dueMs < (lockDue ?? Number.POSITIVE_INFINITY))
        lockDue = record.dueMs;
    }
    expect(window.inFlight).toBe(inFlight);
    expect(window.nextFetchOffset).toBe(nextFetch);
    expect(window.nextLockDueMs).toBe(lockDue);
    const again = this.reloaded();
    expect(again.startOffset).toBe(window.startOffset);
    // A snapshot says the same as the log: only gaps may be known that the log does not know yet.
    const snapshot = new ShareWindow(window.startOffset);
    snapshot.apply(window.saved());
    const saved = again.saved();
    for (const { firstOffset, lastOffset, state, deliveryCount } of saved) {
      for (let offset = firstOffset; offset <= lastOffset; offset++) {
        const record = model.at(offset);
        const isNewGap = record.state === 'archived' && record.saved < 0;
        if (isNewGap) continue;
        const kept = snapshot.recordAt(offset);
        if (kept?.state !== state || kept.deliveryCount !== deliveryCount)
          expect(kept).toEqual({ state, deliveryCount });
      }
    }
  }
}

describe('a share window in random histories', () => {
  it('agrees with the model at every step, and with what was written of it', () => {
    for (let seed = 1; seed <= histories; seed++) {
      const history = new History(seed);
      try {
        for (let step = 0; step < steps; step++) {
          history.step();
          history.check();
        }
      } catch (error) {
        throw new Error(`history ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
  });

  it('comes to an end: every record is accepted or given up', () => {
    for (let seed = 1; seed <= 15; seed++) {
      const history = new History(seed);
      const end = history.log.at(-1)!.lastOffset + 1;
      for (let round = 0; round < 5000 && history.window.startOffset < end; round++) {
        history.step();
        history.acquire();
      }
      expect(history.window.startOffset, `history ${seed}`).toBe(end);
    }
  });
});
