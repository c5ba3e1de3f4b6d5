import { describe, expect, it } from 'vitest';
import { maxCounted, ResumeCounts } from '../../../../src/services/features/retry/resume-counts.ts';

describe('counting resumes', () => {
  const at = (offset: number, partition = 0) => ({ topicId: 't', partition, offset });

  it('counts those from one offset in a row, and what follows fast as one', () => {
    const counts = new ResumeCounts();
    expect(counts.resumed('g', at(5), 0, 1_000)).toBe(1);
    expect(counts.resumed('g', at(5), 999, 1_000)).toBe(1);
    expect(counts.resumed('g', at(5), 1_000, 1_000)).toBe(2);
    expect(counts.resumed('h', at(5), 1_000, 1_000)).toBe(1);
    expect(counts.resumed('g', at(5, 1), 1_000, 1_000)).toBe(1);
    // It got further.
    expect(counts.resumed('g', at(6), 5_000, 1_000)).toBe(1);
    expect(counts.resumed('g', at(5), 9_000, 1_000)).toBe(1);
    counts.forget('g', at(5));
    expect(counts.resumed('g', at(5), 99_000, 0)).toBe(1);
  });

  it('forgets what was counted longest ago', () => {
    const counts = new ResumeCounts();
    for (let partition = 0; partition <= maxCounted; partition++) counts.resumed('g', at(1, partition), 0, 0);
    expect(counts.size).toBe(maxCounted);
    expect(counts.resumed('g', at(1, 1), 1, 0)).toBe(2);
    expect(counts.resumed('g', at(1, 0), 1, 0)).toBe(1);
  });
});
