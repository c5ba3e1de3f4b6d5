import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compress } from '../../../protocol/records/compression.ts';
import { zstdExactBytes, zstdFitsLimit } from '../../../protocol/records/zstd-size.ts';
import { onlyRecordErrors, wordText } from './record-samples.ts';

const noLimit = Number.MAX_SAFE_INTEGER;

/** Runs and repeats of chosen bytes over alphabets of many sizes: what makes literals, matches and every kind of table. */
const texts = fc
  .array(
    fc.tuple(
      fc.uint8Array({ minLength: 1, maxLength: 400 }),
      fc.integer({ min: 1, max: 255 }),
      fc.integer({ min: 1, max: 40 }),
    ),
    { minLength: 1, maxLength: 40 },
  )
  .map((parts) =>
    Buffer.concat(
      parts.flatMap(
        ([bytes, alphabet, times]) => Array(times).fill(bytes.map((byte) => byte % alphabet)) as Uint8Array[],
      ),
    ),
  );

describe('the size of zstd frames', () => {
  it('is told exactly, at every level', () => {
    fc.assert(
      fc.property(texts, fc.constantFrom(1, 3, 6, 12), (text, level) => {
        const frame = compress('zstd', text, { level });
        expect(zstdExactBytes(frame, noLimit)).toBe(text.length);
        expect(zstdFitsLimit(frame, text.length)).toBe(true);
        expect(zstdFitsLimit(frame, text.length - 1)).toBe(false);
      }),
      { numRuns: 100 },
    );
  });

  it('is told exactly over many blocks that repeat tables', () => {
    const text = wordText(2_000_000);
    for (const level of [1, 3, 19])
      expect(zstdExactBytes(compress('zstd', text, { level }), noLimit)).toBe(2_000_000);
  });

  it('is the sum of several frames, and counting stops above the limit', () => {
    const frame = compress('zstd', wordText(1000));
    const frames = Buffer.concat([frame, frame, frame]);
    expect(zstdExactBytes(frames, noLimit)).toBe(3000);
    expect(zstdExactBytes(frames, 1500)).toBe(2000);
  });

  it('of hostile bytes ends in time, with a number or a RecordError', () => {
    const frame = compress('zstd', wordText(3000), { level: 19 });
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const hostile = Buffer.from(frame);
      hostile[bit >>> 3]! ^= 1 << (bit & 7);
      onlyRecordErrors(() => {
        expect(zstdExactBytes(hostile, 1 << 20)).toBeGreaterThanOrEqual(0);
      });
    }
    // As many sequences as a block can state, all of no bits: counting must stop at the block's limit.
    const block = Buffer.from([0x08, 0x61, 0xff, 0xff, 0xff, 0x54, 0x00, 0x00, 0x1f, 0x01]);
    const header = Buffer.alloc(3);
    header.writeUIntLE(1 | (2 << 1) | (block.length << 3), 0, 3);
    const bomb = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]), header, block]);
    onlyRecordErrors(() => {
      expect(zstdExactBytes(bomb, 1 << 30)).toBeLessThan(1 << 18);
    });
  });
});
