import { describe, expect, it } from 'vitest';
import { SampledRate } from '../../../src/services/quotas/sampled-rate.ts';
import { TokenBucket } from '../../../src/services/quotas/token-bucket.ts';

const window = { samples: 11, sampleMs: 1000 };

describe('a sampled rate', () => {
  it('counts the first second as one of the whole window', () => {
    const rate = new SampledRate(window);
    rate.record(1000, 0);
    expect(rate.windowMs(0)).toBe(10_000);
    expect(rate.rate(0)).toBe(100);
    // Half a second on, the window is that much longer.
    expect(rate.windowMs(500)).toBe(10_500);
    expect(rate.rate(500)).toBeCloseTo(95.238, 3);
  });

  it('is what a steady load is', () => {
    const rate = new SampledRate(window);
    for (let nowMs = 0; nowMs <= 30_000; nowMs += 100) rate.record(50, nowMs);
    expect(rate.rate(30_000)).toBeGreaterThan(495);
    expect(rate.rate(30_000)).toBeLessThan(510);
  });

  it('forgets samples whose last use is a window ago, and counts what was taken back as never used', () => {
    const rate = new SampledRate(window);
    rate.record(1000, 0);
    expect(rate.sum(10_999)).toBe(1000);
    expect(rate.sum(11_000)).toBe(0);
    rate.record(70, 20_000);
    rate.record(-70, 20_001);
    expect(rate.rate(20_002)).toBe(0);
  });

  it('keeps one sample more than the window while the oldest overlaps it', () => {
    const rate = new SampledRate(window);
    // One use at each second, and one late in the first: that sample expires 11 s after its last use.
    rate.record(1, 0);
    rate.record(1, 900);
    for (let second = 1; second <= 11; second++) rate.record(1, second * 1000);
    expect(rate.sum(11_899)).toBe(13);
    expect(rate.sum(11_900)).toBe(11);
  });
});

describe('a token bucket', () => {
  it('is full at first, lets one go into debt, and is paid at the rate', () => {
    const bucket = new TokenBucket(window);
    expect(bucket.tokens(10, 0)).toBe(110);
    bucket.take(150, 10, 0);
    expect(bucket.tokens(10, 0)).toBe(-40);
    expect(bucket.waitMs(10, 0)).toBe(4000);
    expect(bucket.waitMs(10, 3900)).toBe(100);
    expect(bucket.waitMs(10, 4000)).toBe(0);
    expect(bucket.tokens(10, 1_000_000)).toBe(110);
  });
});
