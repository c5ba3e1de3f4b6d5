import { describe, expect, it } from 'vitest';
import { OffsetMap, offsetMapSlotBytes } from '../../../src/services/compaction/offset-map.ts';

const key = (index: number) => Buffer.from(`key-${index}`);

describe('the offset map', () => {
  it('keeps the largest offset of each key', () => {
    const map = new OffsetMap({ maxBytes: 1 << 20, loadFactor: 0.9, expectedKeys: 1000 });
    for (let offset = 0; offset < 3000; offset++) expect(map.put(key(offset % 1000), offset)).toBe(true);
    expect(map.size).toBe(1000);
    for (let index = 0; index < 1000; index++) expect(map.get(key(index))).toBe(2000 + index);
    expect(map.get(key(1000))).toBe(-1);
    expect(map.get(Buffer.alloc(0))).toBe(-1);
  });

  it('holds offset 0, an empty key and offsets beyond 32 bits', () => {
    const map = new OffsetMap({ maxBytes: 1 << 20, loadFactor: 0.9, expectedKeys: 10 });
    map.put(Buffer.alloc(0), 0);
    expect(map.get(Buffer.alloc(0))).toBe(0);
    map.put(key(1), 2 ** 52 + 1);
    expect(map.get(key(1))).toBe(2 ** 52 + 1);
  });

  it.each([0.5, 0.9, 1])('takes no key more than the load factor %d lets it', (loadFactor) => {
    const map = new OffsetMap({ maxBytes: 100 * offsetMapSlotBytes, loadFactor, expectedKeys: 10_000 });
    let taken = 0;
    while (map.put(key(taken), taken)) taken += 1;
    expect(taken).toBe(Math.min(100 * loadFactor, 99));
    expect(map.sizeBytes).toBe(100 * offsetMapSlotBytes);
    // Keys that it has are still moved.
    expect(map.put(key(0), 500)).toBe(true);
    expect(map.get(key(0))).toBe(500);
    expect(map.get(key(taken))).toBe(-1);
  });

  it.each([0, 1, 23])('takes one key at least, with %d bytes', (maxBytes) => {
    const map = new OffsetMap({ maxBytes, loadFactor: 0.9, expectedKeys: 5 });
    expect(map.put(key(1), 1)).toBe(true);
    expect(map.put(key(2), 2)).toBe(false);
    expect(map.get(key(2))).toBe(-1);
  });

  it('takes no more memory than the keys expected need', () => {
    const map = new OffsetMap({ maxBytes: 128 << 20, loadFactor: 0.9, expectedKeys: 90 });
    expect(map.sizeBytes).toBeLessThan(110 * offsetMapSlotBytes);
    for (let index = 0; index < 90; index++) expect(map.put(key(index), index)).toBe(true);
  });
});
