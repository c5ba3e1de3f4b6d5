import { describe, expect, it } from 'vitest';
import { acknowledgeTypes, type StateBatch } from '../../../src/services/share/record-states.ts';
import {
  type AcknowledgementBatch,
  type AcquireTerms,
  maxWindowSpans,
  type ReadBatch,
  ShareWindow,
} from '../../../src/services/share/share-window.ts';

const plain = { maxDeliveries: 5, parks: false, keepsGivenUp: false };
const { accept, release, reject, renew, gap } = acknowledgeTypes;

/** A window, with what the coordinator does around it. */
class Partition {
  readonly window: ShareWindow;
  readonly log: StateBatch[][] = [];
  nowMs = 0;

  constructor(startOffset = 0) {
    this.window = new ShareWindow(startOffset);
  }

  acquire(memberId: string, batches: readonly ReadBatch[], terms: Partial<AcquireTerms> = {}) {
    return this.window
      .acquire({
        memberId,
        fromOffset: this.window.nextFetchOffset,
        batches,
        maxRecords: 500,
        isStrict: false,
        batchSize: 500,
        maxInFlight: 2000,
        lockDueMs: this.nowMs + 30_000,
        maxDeliveries: 5,
        ...terms,
      })
      .map(({ firstOffset, lastOffset, deliveryCount }) => [firstOffset, lastOffset, deliveryCount]);
  }

  acknowledge(memberId: string, ...batches: AcknowledgementBatch[]) {
    const outcome = this.window.planAcknowledge(memberId, batches, plain);
    if (outcome.outcome !== 'planned') return outcome.outcome;
    this.write(outcome.plan.changes);
    this.window.renew(memberId, outcome.plan.renewed, this.nowMs + 30_000);
    return outcome.plan;
  }

  write(changes: readonly StateBatch[]): void {
    if (changes.length === 0) return;
    const all = [...this.window.unsaved(Number.POSITIVE_INFINITY), ...changes];
    this.log.push(all);
    this.window.apply(all);
  }

  expire(): void {
    this.write(this.window.planExpiry(this.nowMs, plain).changes);
  }

  reloaded(startOffset = 0): ShareWindow {
    const window = new ShareWindow(startOffset);
    for (const batches of this.log) window.apply(batches);
    return window;
  }
}

const batch = (firstOffset: number, lastOffset: number): ReadBatch => ({
  firstOffset,
  lastOffset,
  isVoid: false,
});
const control = (offset: number): ReadBatch => ({ firstOffset: offset, lastOffset: offset, isVoid: true });
const ack = (firstOffset: number, lastOffset: number, ...types: number[]): AcknowledgementBatch => ({
  firstOffset,
  lastOffset,
  types,
});

describe('a share window', () => {
  it('hands a record to one member at a time and passes what is accepted', () => {
    const partition = new Partition();
    expect(partition.acquire('a', [batch(0, 9)])).toEqual([[0, 9, 1]]);
    expect(partition.acquire('b', [batch(0, 9)])).toEqual([]);
    partition.acknowledge('a', ack(0, 4, accept));
    expect(partition.window.startOffset).toBe(5);
    partition.acknowledge('a', ack(5, 9, accept));
    expect(partition.window.startOffset).toBe(10);
    expect(partition.window.endOffset).toBe(9);
    expect(partition.window.nextFetchOffset).toBe(10);
  });

  it('holds the start at the first record that is not over', () => {
    const partition = new Partition();
    partition.acquire('a', [batch(0, 9)]);
    partition.acknowledge('a', ack(3, 9, accept));
    expect(partition.window.startOffset).toBe(0);
    expect(partition.window.deliveryComplete).toBe(7);
    expect(partition.window.inFlight).toBe(3);
  });

  it('hands out again what is released, with a higher count, and gives it up after the last delivery', () => {
    const partition = new Partition();
    for (let count = 1; count <= 5; count++) {
      expect(partition.acquire('a', [batch(0, 0)])).toEqual([[0, 0, count]]);
      const plan = partition.acknowledge('a', ack(0, 0, release));
      expect(plan).toMatchObject({
        released: count < 5 ? [{ firstOffset: 0 }] : [],
        exhausted: count < 5 ? [] : [{ firstOffset: 0, deliveryCount: 5 }],
      });
    }
    expect(partition.window.startOffset).toBe(1);
  });

  it('hands out a record alone where its next failure is its last', () => {
    const partition = new Partition();
    for (let count = 1; count <= 4; count++) {
      expect(partition.acquire('a', [batch(0, 9)])).toEqual([[0, 9, count]]);
      partition.acknowledge('a', ack(0, 9, release));
    }
    expect(partition.acquire('a', [batch(0, 9)])).toEqual([[0, 0, 5]]);
    expect(partition.acquire('b', [batch(0, 9)])).toEqual([[1, 1, 5]]);
    partition.acknowledge('a', ack(0, 0, release));
    partition.acknowledge('b', ack(1, 1, accept));
    expect(partition.window.startOffset).toBe(2);
  });

  it('frees what was not acknowledged in time, unless it was renewed', () => {
    const partition = new Partition();
    partition.acquire('a', [batch(0, 3)]);
    partition.nowMs = 20_000;
    partition.acknowledge('a', ack(0, 1, renew));
    partition.nowMs = 30_000;
    expect(partition.window.nextLockDueMs).toBe(30_000);
    partition.expire();
    expect(partition.acquire('b', [batch(0, 3)])).toEqual([[2, 3, 2]]);
    expect(partition.acknowledge('a', ack(2, 2, accept))).toBe('invalid-state');
    expect(partition.acknowledge('a', ack(0, 1, accept))).not.toBe('invalid-state');
  });

  it('gives back what a member held when its session is closed', () => {
    const partition = new Partition();
    partition.acquire('a', [batch(0, 3)]);
    partition.acquire('b', [batch(4, 5)]);
    partition.write(partition.window.planRelease('a', plain).changes);
    expect(partition.acquire('b', [batch(0, 3)])).toEqual([[0, 3, 2]]);
    expect(partition.window.planRelease('a', plain).changes).toEqual([]);
  });

  it('refuses an acknowledgement as a whole', () => {
    const partition = new Partition();
    partition.acquire('a', [batch(0, 3)]);
    partition.acquire('b', [batch(4, 7)]);
    expect(partition.acknowledge('a', ack(0, 3, accept), ack(4, 4, accept))).toBe('invalid-state');
    expect(partition.acknowledge('a', ack(0, 8, accept))).toBe('invalid-request');
    expect(partition.window.recordAt(0)?.state).toBe('acquired');
    expect(partition.acknowledge('a', ack(0, 3, accept, reject, gap, release))).toMatchObject({
      rejected: [{ firstOffset: 1, lastOffset: 1 }],
      released: [{ firstOffset: 3, lastOffset: 3 }],
    });
    expect(partition.acknowledge('a', ack(0, 0, accept))).toBe('invalid-state');
    expect(partition.window.startOffset).toBe(3);
  });

  it('passes over gaps, control batches and aborted ones, also after a crash', () => {
    const partition = new Partition();
    // 0-1 compacted away, 4 a marker, 5-6 gone, 9 a marker at the end.
    expect(partition.acquire('a', [batch(2, 3), control(4), batch(7, 8), control(9)])).toEqual([
      [2, 3, 1],
      [7, 8, 1],
    ]);
    partition.acknowledge('a', ack(7, 8, accept));
    expect(partition.window.startOffset).toBe(2);
    partition.acknowledge('a', ack(2, 3, accept));
    expect(partition.window.startOffset).toBe(10);
    expect(partition.reloaded().startOffset).toBe(10);
  });

  it('keeps whole batches together, or stops at the record limit where that is asked for', () => {
    const whole = new Partition();
    const batches = [batch(0, 9), batch(10, 19), batch(20, 29)];
    expect(whole.acquire('a', batches, { maxRecords: 15, batchSize: 5 })).toEqual([
      [0, 9, 1],
      [10, 19, 1],
    ]);
    const strict = new Partition();
    expect(strict.acquire('a', batches, { maxRecords: 15, isStrict: true })).toEqual([[0, 14, 1]]);
    expect(strict.acquire('a', batches, { maxRecords: 100, isStrict: true })).toEqual([[15, 29, 1]]);
  });

  it('hands out nothing new beyond the records that may be in flight', () => {
    const partition = new Partition();
    expect(partition.acquire('a', [batch(0, 9), batch(10, 19)], { maxInFlight: 10 })).toEqual([[0, 9, 1]]);
    expect(partition.window.canAcquire(10)).toBe(false);
    expect(partition.acquire('a', [batch(10, 19)], { maxInFlight: 10 })).toEqual([]);
    partition.acknowledge('a', ack(5, 9, accept));
    expect(partition.acquire('a', [batch(10, 19)], { maxInFlight: 10, isStrict: true })).toEqual([
      [10, 14, 1],
    ]);
    partition.acknowledge('a', ack(0, 0, release));
    expect(partition.window.canAcquire(10)).toBe(true);
  });

  it('has a limit of its pieces', () => {
    const partition = new Partition();
    const records = maxWindowSpans + 200;
    const types = Array.from({ length: records }, (_, at) => (at % 2 === 0 ? accept : renew));
    partition.acquire('a', [batch(0, records - 1)], { maxInFlight: 1e6 });
    partition.acknowledge('a', { firstOffset: 0, lastOffset: records - 1, types });
    expect(partition.window.canAcquire(1e6)).toBe(false);
  });

  it('moves its start forward and never back', () => {
    const partition = new Partition();
    partition.acquire('a', [batch(0, 9)]);
    partition.window.moveStart(5);
    partition.window.moveStart(3);
    expect(partition.window.startOffset).toBe(5);
    expect(partition.acknowledge('a', ack(0, 4, accept))).toBe('invalid-state');
    expect(partition.acknowledge('a', ack(0, 9, accept))).not.toBe('invalid-state');
    expect(partition.window.startOffset).toBe(10);
    partition.window.moveStart(100);
    expect(partition.window.nextFetchOffset).toBe(100);
  });
});
