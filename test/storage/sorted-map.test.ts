import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SortedMap } from '../../src/storage/sorted-map.ts';

const key = fc.string({ unit: fc.constantFrom('\0', 'a', 'b', '\xff'), maxLength: 4 });

function rows(map: SortedMap<number>, from?: string, to?: string, reverse = false): [string, number][] {
  const found: [string, number][] = [];
  map.visit({ from, to, reverse }, (one, value) => found.push([one, value]) > 0);
  return found;
}

describe('the sorted map', () => {
  test('does as a map sorted at every look', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), key, fc.integer()), { maxLength: 60, size: 'max' }),
        fc.option(key, { nil: undefined }),
        fc.option(key, { nil: undefined }),
        (steps, from, to) => {
          const map = new SortedMap<number>();
          const model = new Map<string, number>();
          for (const [put, one, value] of steps) {
            expect(put ? map.set(one, value) : map.delete(one)).toBe(model.get(one));
            if (put) model.set(one, value);
            else model.delete(one);
          }
          const expected = [...model]
            .filter(([one]) => (from === undefined || one >= from) && (to === undefined || one < to))
            .sort(([a], [b]) => (a < b ? -1 : 1));
          expect(map.size).toBe(model.size);
          expect(rows(map, from, to)).toEqual(expected);
          expect(rows(map, from, to, true)).toEqual(expected.reverse());
        },
      ),
      { numRuns: 500 },
    );
  });

  test('splits and joins its chunks', () => {
    const map = new SortedMap<number>();
    const name = (at: number): string => String(at).padStart(6, '0');
    // 7919 is prime to 10,000: every number once, in no order.
    for (let at = 0; at < 10_000; at++) map.set(name((at * 7919) % 10_000), at);
    expect(rows(map).map(([one]) => one)).toEqual(Array.from({ length: 10_000 }, (_, at) => name(at)));
    for (let at = 0; at < 10_000; at++) if (at % 100 !== 7) map.delete(name((at * 7919) % 10_000));
    expect(map.size).toBe(100);
    expect(rows(map).length).toBe(100);
    expect(rows(map, name(5000), undefined, true).length).toBe(rows(map, name(5000)).length);
    for (let at = 0; at < 10_000; at++) map.set(name(at), at);
    expect(rows(map, name(123), name(456)).length).toBe(333);
    expect(map.get(name(9999))).toBe(9999);
    map.clear();
    expect(map.size).toBe(0);
    expect(rows(map)).toEqual([]);
  });
});
