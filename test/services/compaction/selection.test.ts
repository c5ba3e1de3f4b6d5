import { describe, expect, it } from 'vitest';
import { LogParts, maxClosedParts, type PartLimits } from '../../../src/services/compaction/log-parts.ts';
import {
  type DirtyPartition,
  type SelectionRules,
  select,
} from '../../../src/services/compaction/selection.ts';
import type { EntryFacts } from '../../../src/storage/engine.ts';

const limits: PartLimits = { segmentBytes: 1000, segmentMs: 5000 };

function entry(baseOffset: number, more: Partial<EntryFacts> = {}): EntryFacts {
  const base = { kind: 'data', baseOffset, count: 10, sizeBytes: 300, epoch: 0 } as const;
  return { ...base, storeTimeMs: 100_000, maxTimestampMs: 100_000, ...more };
}

function partsOf(entries: readonly EntryFacts[], own = limits): LogParts {
  const parts = new LogParts(entries[0]?.baseOffset ?? 0);
  for (const each of entries) parts.add(each, own);
  return parts;
}

const edges = (parts: LogParts) => [...parts.closed.map((part) => part.baseOffset), parts.activeOffset];

describe('parts of a log', () => {
  it('end before the batch that makes them too large', () => {
    expect(edges(partsOf([0, 10, 20, 30, 40, 50, 60].map((offset) => entry(offset))))).toEqual([0, 30, 60]);
  });

  it('end where the time of a batch lies more than segment.ms after that of the first', () => {
    const at = (offset: number, timeMs: number) => entry(offset, { maxTimestampMs: timeMs });
    expect(edges(partsOf([at(0, 10), at(10, 5010), at(20, 5011)]))).toEqual([0, 20]);
    // A time from the future counts as the time of storing, and older ones change nothing.
    const odd = partsOf([at(0, 10), at(10, 9e15), at(20, 10)]);
    expect(edges(odd)).toEqual([0, 10]);
    expect(odd.active?.largestTimestampMs).toBe(100_000);
  });

  it('go by the time of storing where there is none, and where it tells more', () => {
    const at = (offset: number, storeTimeMs: number) => entry(offset, { storeTimeMs, maxTimestampMs: -1 });
    expect(edges(partsOf([at(0, 10), at(10, 5011)]))).toEqual([0, 10]);
    const stored = (offset: number, storeTimeMs: number) => entry(offset, { storeTimeMs, maxTimestampMs: 7 });
    expect(edges(partsOf([stored(0, 10), stored(10, 5011)]))).toEqual([0, 10]);
  });

  it('end when nothing was appended for segment.ms', () => {
    const parts = partsOf([entry(0)]);
    parts.closeQuiet(105_000, limits);
    expect(parts.activeOffset).toBe(0);
    parts.closeQuiet(105_001, limits);
    expect(parts.activeOffset).toBe(10);
    expect(parts.closed.length).toBe(1);
  });

  it('are bounded in number, and joined ones are as young as the younger', () => {
    const entries = Array.from({ length: 5000 }, (_, index) =>
      entry(index * 10, { sizeBytes: 2000, maxTimestampMs: index }),
    );
    const parts = partsOf(entries);
    expect(parts.closed.length).toBeLessThanOrEqual(maxClosedParts);
    expect(parts.sizeBytes).toBe(5000 * 2000);
    expect(parts.closed.reduce((sum, part) => sum + part.records, 0)).toBe(49_990);
    for (const part of parts.closed) {
      expect(part.firstTimestampMs).toBe(part.baseOffset / 10);
      expect(part.largestTimestampMs).toBe(part.endOffset / 10 - 1);
    }
  });

  it('are forgotten when cleaned', () => {
    const parts = partsOf([0, 10, 20, 30, 40, 50, 60].map((offset) => entry(offset)));
    expect(parts.cleanedTo(30)).toBe(true);
    expect(edges(parts)).toEqual([30, 60]);
    expect(parts.cleanedTo(45)).toBe(false);
  });
});

describe('a partition', () => {
  const nowMs = 200_000;
  const base: SelectionRules = {
    minCleanableDirtyRatio: 0.5,
    minCompactionLagMs: 0,
    maxCompactionLagMs: Number.POSITIVE_INFINITY,
  };
  // Parts [0,30) [30,60) and the active [60,70): 900, 900 and 300 bytes; 900 clean bytes before.
  const entries = [100, 110, 120, 130, 140, 150, 160].map((offset) =>
    entry(offset, { maxTimestampMs: 1000 * offset, storeTimeMs: 1000 * offset }),
  );
  const partition = (more: Partial<DirtyPartition> = {}): DirtyPartition => ({
    firstDirtyOffset: 100,
    parts: partsOf(entries, { segmentBytes: 1000, segmentMs: 1e9 }),
    lastStableOffset: 170,
    sizeBytes: 2100 + 900,
    deleteHorizonMs: undefined,
    ...more,
  });

  it.each([
    { why: 'all but the active part', rules: {}, until: 160, ratio: 1800 / 2700, due: true },
    {
      why: 'too little dirty',
      rules: { minCleanableDirtyRatio: 0.7 },
      until: 160,
      ratio: 1800 / 2700,
      due: false,
    },
    {
      why: 'the ratio itself is not enough',
      rules: { minCleanableDirtyRatio: 1800 / 2700 },
      until: 160,
      ratio: 1800 / 2700,
      due: false,
    },
    {
      why: 'the second part is too young',
      rules: { minCompactionLagMs: 60_000 },
      until: 130,
      ratio: 0.5,
      due: false,
    },
    { why: 'both are too young', rules: { minCompactionLagMs: 90_000 }, until: 100, ratio: 0, due: false },
    {
      why: 'the oldest is late',
      rules: { minCleanableDirtyRatio: 1, maxCompactionLagMs: 99_999 },
      until: 160,
      ratio: 1800 / 2700,
      due: true,
    },
    {
      why: 'the oldest is not late yet',
      rules: { minCleanableDirtyRatio: 1, maxCompactionLagMs: 100_000 },
      until: 160,
      ratio: 1800 / 2700,
      due: false,
    },
    {
      why: 'late, but held back',
      rules: { minCompactionLagMs: 99_999, maxCompactionLagMs: 99_999 },
      until: 100,
      ratio: 0,
      due: false,
    },
  ])('$why', ({ rules, until, ratio, due }) => {
    const selection = select(partition(), { ...base, ...rules }, nowMs);
    expect(selection).toMatchObject({ untilOffset: until, isDue: due });
    expect(selection.dirtyRatio).toBeCloseTo(ratio, 10);
  });

  it('is not cleaned beyond the last stable offset', () => {
    expect(select(partition({ lastStableOffset: 130 }), base, nowMs)).toMatchObject({
      untilOffset: 130,
      cleanableBytes: 900,
      cleanableRecords: 30,
    });
    expect(select(partition({ lastStableOffset: 100 }), base, nowMs)).toMatchObject({
      untilOffset: 100,
      isDue: false,
    });
  });

  it('is due when a tombstone may go, however little is dirty', () => {
    const lazy = { ...base, minCleanableDirtyRatio: 1 };
    expect(select(partition({ deleteHorizonMs: nowMs }), lazy, nowMs).isDue).toBe(true);
    expect(select(partition({ deleteHorizonMs: nowMs + 1 }), lazy, nowMs).isDue).toBe(false);
  });

  it('is never due when it is empty', () => {
    const empty = {
      parts: new LogParts(5),
      firstDirtyOffset: 5,
      lastStableOffset: 5,
      sizeBytes: 0,
      deleteHorizonMs: 1,
    };
    expect(select(empty, { ...base, minCleanableDirtyRatio: 0 }, nowMs)).toMatchObject({
      isDue: false,
      dirtyRatio: 0,
    });
  });
});
