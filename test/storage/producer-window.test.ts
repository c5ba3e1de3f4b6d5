import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ProducerFacts } from '../../src/storage/engine.ts';
import { ProducerWindow, type RecordedBatch, sequenceAfter } from '../../src/storage/producer-window.ts';
import { VirtualClock } from '../../src/util/clock.ts';

const largest = 2 ** 31 - 1;

function facts(
  firstSequence: number,
  lastSequence: number,
  more: Partial<ProducerFacts> = {},
): ProducerFacts {
  return {
    countsForQueue: 1,
    producerId: 100,
    producerEpoch: 0,
    firstSequence,
    lastSequence,
    isTransactional: false,
    ...more,
  };
}

function batch(baseOffset: number, count = 1): RecordedBatch {
  return {
    baseOffset,
    lastOffset: baseOffset + count - 1,
    storeTimeMs: 1000 + baseOffset,
    maxTimestampMs: 5000,
  };
}

function open(limits = { maxProducers: 1000, expirationMs: 60_000 }) {
  const clock = new VirtualClock();
  return { clock, window: new ProducerWindow(clock, limits) };
}

describe('the producer window', () => {
  test('accepts any first sequence of a producer it does not know', () => {
    const { window } = open();
    expect(window.check(facts(77, 80)).kind).toBe('next');
    window.record(facts(77, 80), batch(0, 4));
    expect(window.check(facts(81, 81)).kind).toBe('next');
    expect(window.check(facts(82, 82)).kind).toBe('out-of-order-sequence');
    expect(window.check(facts(0, 0)).kind).toBe('out-of-order-sequence');
  });

  test('answers an exact repeat of each of the last five batches with its offset, and of no older one', () => {
    const { window } = open();
    for (let at = 0; at < 6; at++) window.record(facts(at * 10, at * 10 + 9), batch(at * 10, 10));
    expect(window.check(facts(0, 9)).kind).toBe('out-of-order-sequence');
    for (let at = 1; at < 6; at++) {
      expect(window.check(facts(at * 10, at * 10 + 9))).toEqual({
        kind: 'duplicate',
        baseOffset: at * 10,
        storeTimeMs: 1000 + at * 10,
      });
    }
    expect(window.check(facts(50, 58)).kind).toBe('out-of-order-sequence');
    expect(window.check(facts(51, 59)).kind).toBe('out-of-order-sequence');
  });

  test('wraps from 2^31-1 to 0', () => {
    const { window } = open();
    expect(sequenceAfter(largest)).toBe(0);
    window.record(facts(largest - 1, largest), batch(0, 2));
    expect(window.check(facts(0, 3)).kind).toBe('next');
    window.record(facts(0, 3), batch(2, 4));
    // A batch may hold the wrap inside.
    window.record(facts(5, 9, { producerId: 7 }), batch(6));
    window.record(facts(largest - 1, 1, { producerId: 8 }), batch(7, 4));
    expect(window.check(facts(2, 2, { producerId: 8 })).kind).toBe('next');
    expect(window.check(facts(largest - 1, 1, { producerId: 8 })).kind).toBe('duplicate');
  });

  test('refuses an older epoch, and a newer one that does not begin at 0', () => {
    const { window } = open();
    window.record(facts(0, 4, { producerEpoch: 3 }), batch(0, 5));
    expect(window.check(facts(5, 5, { producerEpoch: 2 })).kind).toBe('stale-producer-epoch');
    expect(window.check(facts(5, 5, { producerEpoch: 4 })).kind).toBe('out-of-order-sequence');
    expect(window.check(facts(0, 4, { producerEpoch: 4 })).kind).toBe('next');
    window.record(facts(0, 1, { producerEpoch: 4 }), batch(5, 2));
    // The old epoch's batches are no duplicates any more.
    expect(window.check(facts(0, 4, { producerEpoch: 4 })).kind).toBe('out-of-order-sequence');
    expect(window.check(facts(0, 1, { producerEpoch: 4 })).kind).toBe('duplicate');
  });

  test('a marker raises the epoch and takes no sequence', () => {
    const { window } = open();
    window.record(facts(0, 4), batch(0, 5));
    window.record(facts(-1, -1), batch(5));
    expect(window.check(facts(5, 5)).kind).toBe('next');
    window.record(facts(-1, -1, { producerEpoch: 1 }), batch(6));
    expect(window.check(facts(5, 5)).kind).toBe('stale-producer-epoch');
    expect(window.check(facts(-1, -1)).kind).toBe('stale-producer-epoch');
    expect(window.check(facts(5, 5, { producerEpoch: 1 })).kind).toBe('out-of-order-sequence');
    expect(window.check(facts(0, 0, { producerEpoch: 1 })).kind).toBe('next');
  });

  test('keeps queues and producers apart', () => {
    const { window } = open();
    window.record(facts(0, 4), batch(0, 5));
    expect(window.check(facts(9, 9, { countsForQueue: 2 })).kind).toBe('next');
    expect(window.check(facts(9, 9, { producerId: 101 })).kind).toBe('next');
    window.record(facts(9, 9, { countsForQueue: 2 }), batch(1));
    window.dropQueue(1);
    expect(window.size).toBe(1);
    expect(window.check(facts(9, 9)).kind).toBe('next');
    expect(window.check(facts(9, 9, { countsForQueue: 2 })).kind).toBe('duplicate');
    expect(window.producers(1)).toEqual([]);
  });

  test('checks a group as if its earlier entries were recorded', () => {
    const { window } = open();
    window.record(facts(0, 4), batch(0, 5));
    expect(window.checkGroup([facts(5, 5), undefined, facts(6, 9), facts(0, 0, { producerId: 5 })])).toBe(
      undefined,
    );
    expect(window.checkGroup([facts(5, 5), undefined, facts(5, 5)])).toEqual([
      { kind: 'next' },
      undefined,
      { kind: 'out-of-order-sequence' },
    ]);
    expect(window.checkGroup([facts(0, 4), facts(5, 6)])?.map((verdict) => verdict?.kind)).toEqual([
      'duplicate',
      'next',
    ]);
    expect(window.checkGroup([facts(-1, -1), facts(5, 5)])).toBe(undefined);
    expect(window.checkGroup([facts(-1, -1, { producerEpoch: 1 }), facts(5, 5)])?.[1]?.kind).toBe(
      'stale-producer-epoch',
    );
    expect(window.checkGroup([facts(-1, -1, { producerEpoch: 1 }), facts(0, 5, { producerEpoch: 1 })])).toBe(
      undefined,
    );
  });

  test('forgets by age on monotonic time, whatever the wall clock does', async () => {
    const { window, clock } = open({ maxProducers: 10, expirationMs: 1000 });
    window.record(facts(0, 4), batch(0, 5));
    clock.jumpWall(10 * 365 * 86_400_000);
    expect(window.check(facts(9, 9)).kind).toBe('out-of-order-sequence');
    await clock.advance(1000);
    expect(window.check(facts(0, 4)).kind).toBe('duplicate');
    await clock.advance(1);
    expect(window.producers(1)).toEqual([]);
    expect(window.check(facts(9, 9)).kind).toBe('next');
    expect(window.size).toBe(0);
  });

  test('forgets by number the one that appended longest ago', () => {
    const { window } = open({ maxProducers: 3, expirationMs: 60_000 });
    for (const producerId of [1, 2, 3]) window.record(facts(0, 0, { producerId }), batch(producerId));
    window.record(facts(1, 1, { producerId: 1 }), batch(4));
    window.record(facts(0, 0, { producerId: 4 }), batch(5));
    expect(window.size).toBe(3);
    expect(window.producers(1).map((state) => state.producerId)).toEqual([1, 3, 4]);
    expect(window.check(facts(50, 50, { producerId: 2 })).kind).toBe('next');
  });

  test('takes back batches whose write failed', () => {
    const { window } = open();
    window.record(facts(0, 4), batch(0, 5));
    window.record(facts(5, 6), batch(5, 2));
    window.record(facts(7, 9), batch(7, 3));
    window.retract(facts(7, 9), 7);
    window.retract(facts(5, 6), 5);
    expect(window.check(facts(7, 9)).kind).toBe('out-of-order-sequence');
    expect(window.check(facts(5, 6)).kind).toBe('next');
    expect(window.check(facts(0, 4)).kind).toBe('duplicate');
    window.retract(facts(0, 4), 99);
    expect(window.check(facts(0, 4)).kind).toBe('duplicate');
  });

  test('tells its live producers', () => {
    const { window } = open();
    window.record(facts(0, 4), batch(0, 5));
    window.record(facts(5, 6), batch(5, 2));
    expect(window.producers(1)).toEqual([
      { producerId: 100, producerEpoch: 0, lastSequence: 6, lastOffset: 6, lastTimestampMs: 5000 },
    ]);
  });

  test('refuses a snapshot that it did not write', () => {
    const { window } = open();
    window.record(facts(0, 4), batch(0, 5));
    const bytes = window.serialize();
    expect(() => window.restore(bytes.subarray(0, -1))).toThrow(RangeError);
    expect(() => window.restore(Buffer.concat([bytes, Buffer.alloc(1)]))).toThrow(RangeError);
    const other = Buffer.from(bytes);
    other[0] = 9;
    expect(() => window.restore(other)).toThrow(RangeError);
  });

  test('does as a plain list of every batch would, also through a snapshot', () => {
    const step = fc.record({
      queue: fc.integer({ min: 1, max: 2 }),
      producerId: fc.integer({ min: 1, max: 2 }),
      epoch: fc.integer({ min: 0, max: 2 }),
      jump: fc.constantFrom(0, 0, 0, 0, -1, -2, -3, -7, 1),
      count: fc.integer({ min: 1, max: 3 }),
      restart: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.constantFrom(0, largest - 4),
        fc.array(step, { maxLength: 60, size: 'max' }),
        (start, steps) => {
          const clock = new VirtualClock();
          let window = new ProducerWindow(clock);
          interface Appended {
            first: number;
            last: number;
            epoch: number;
            offset: number;
          }
          const history = new Map<string, Appended[]>();
          let offset = 0;
          for (const { queue, producerId, epoch, jump, count, restart } of steps) {
            const all = history.get(`${queue}/${producerId}`) ?? [];
            const newestEpoch = Math.max(-1, ...all.map((one) => one.epoch));
            const kept = all.filter((one) => one.epoch === newestEpoch).slice(-5);
            const last = kept.at(-1);
            const expectedFirst =
              last === undefined ? start : epoch === newestEpoch ? sequenceAfter(last.last) : 0;
            // Now and then a sequence of the past, aligned to a batch or not.
            const past = jump < 0 ? kept.at(jump)?.first : undefined;
            const first = past ?? (expectedFirst + Math.max(0, jump)) % (largest + 1);
            const lastSequence = (first + count - 1) % (largest + 1);
            const repeat = kept.find(
              (one) => one.epoch === epoch && one.first === first && one.last === lastSequence,
            );
            const expected =
              last === undefined
                ? 'next'
                : epoch < newestEpoch
                  ? 'stale-producer-epoch'
                  : first === expectedFirst
                    ? 'next'
                    : repeat !== undefined
                      ? 'duplicate'
                      : 'out-of-order-sequence';
            const asked = facts(first, lastSequence, {
              countsForQueue: queue,
              producerId,
              producerEpoch: epoch,
            });
            const verdict = window.check(asked);
            expect(verdict.kind).toBe(expected);
            if (verdict.kind === 'duplicate') expect(verdict.baseOffset).toBe(repeat?.offset);
            if (verdict.kind === 'next') {
              window.record(asked, batch(offset, count));
              all.push({ first, last: lastSequence, epoch, offset });
              history.set(`${queue}/${producerId}`, all);
              offset += count;
            }
            if (restart) {
              const bytes = window.serialize();
              window = new ProducerWindow(clock);
              window.restore(bytes);
              expect(window.serialize()).toEqual(bytes);
            }
          }
        },
      ),
      { numRuns: 50 },
    );
  });
});
