import { describe, expect, it } from 'vitest';
import { fuzz } from './fuzz.ts';
import { Random } from './random.ts';

describe('hostile bytes', () => {
  it('find no crash, hang or flood in a short run', () => {
    const result = fuzz({ inputs: 10_000, seed: 20_240_607 });
    expect(result.failures).toEqual([]);
    expect(result.passed).toBe(10_000);
    // Every kind was there, and some of what was changed still decodes.
    expect([...result.kinds.keys()].sort()).toEqual([
      'filled array',
      'header',
      'length',
      'other version',
      'random',
      'records bomb',
      'records broken',
      'records repaired',
      'records truncated',
      'scrambled',
      'truncated',
    ]);
    expect(result.kinds.get('scrambled')!.decoded).toBeGreaterThan(100);
    expect(result.kinds.get('truncated')!.decoded).toBe(0);
    expect(result.kinds.get('records bomb')!.decoded).toBe(0);
  });

  it('are the same for the same seed, all together or one alone', () => {
    const once = fuzz({ inputs: 500, seed: 3 });
    expect(fuzz({ inputs: 500, seed: 3 })).toEqual(once);
    expect(fuzz({ inputs: 500, seed: 3, only: 499 }).passed).toBe(1);
    const numbers = (seed: number, stream: number) => {
      const random = new Random(seed, stream);
      return Array.from({ length: 5 }, () => random.next());
    };
    expect(numbers(1, 2)).toEqual(numbers(1, 2));
    expect(numbers(1, 2)).not.toEqual(numbers(1, 3));
    expect(numbers(1, 2)).not.toEqual(numbers(2, 2));
  });
});
