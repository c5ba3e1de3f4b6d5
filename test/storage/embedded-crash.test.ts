/** A sample of power-cuts.ts that fits a test run; `CRASH_STATES=all` tries every call with every policy. */
import { describe, expect, test } from 'vitest';
import { cutAtEveryCall, cutOpenings, failEveryCall, type RepeatedFault } from './power-cuts.ts';

const triesEverything = process.env.CRASH_STATES === 'all';
const timeout = 3_600_000;

describe('a power cut', () => {
  for (const seed of triesEverything ? [1, 2, 3, 4, 5] : [1]) {
    test(`at any call, seed ${seed}`, { timeout }, async () => {
      expect(
        await cutAtEveryCall(seed, triesEverything ? 'each' : 'in turn', triesEverything ? 1 : 2),
      ).toEqual([]);
    });
  }

  test('at any call of an opening, again and again', { timeout }, async () => {
    expect(await cutOpenings(100, triesEverything ? 1 : 3)).toEqual([]);
  });
});

describe('a failing disk', () => {
  const faults: readonly RepeatedFault[] = [
    { name: 'write', code: 'EIO' },
    { name: 'write', code: 'EIO', doneBytes: 100 },
    { name: 'write', code: 'ENOSPC' },
    { name: 'write', code: 'ENOSPC', doneBytes: 1000 },
    { name: 'datasync', code: 'EIO' },
    { name: 'datasync', code: 'ENOSPC' },
    { name: 'open', code: 'EMFILE' },
    { name: 'open', code: 'EIO' },
    { name: 'syncDirectory', code: 'EIO' },
    { name: 'rename', code: 'EIO' },
    { name: 'unlink', code: 'EIO' },
    { name: 'read', code: 'EIO' },
  ];

  for (const fault of faults) {
    const part = fault.doneBytes === undefined ? '' : ` after ${fault.doneBytes} bytes`;
    test(`${fault.name} fails once with ${fault.code}${part}`, { timeout }, async () => {
      const { wrong, strikes } = await failEveryCall(7, fault, triesEverything ? 1 : 4);
      expect(wrong).toEqual([]);
      expect(strikes).toBeGreaterThan(0);
    });
  }
});
