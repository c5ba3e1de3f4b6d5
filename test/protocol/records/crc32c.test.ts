import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32, crc32c, crc32cJavaScript, hasNativeCrc32c } from '../../../protocol/records/crc32c.ts';

describe('CRC-32C', () => {
  it('gives the published values', () => {
    expect(crc32cJavaScript(Buffer.from('123456789'))).toBe(0xe3069283);
    // RFC 3720, B.4
    expect(crc32cJavaScript(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32cJavaScript(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
    expect(crc32cJavaScript(Buffer.alloc(0))).toBe(0);
  });

  it('is the same in JavaScript and native code, at any position, and continues', () => {
    expect(hasNativeCrc32c()).toBe(true);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 700 }),
        fc.nat(700),
        fc.nat(700),
        (bytes, first, second) => {
          const start = Math.min(first, second, bytes.length);
          const end = Math.min(Math.max(first, second), bytes.length);
          const whole = crc32cJavaScript(bytes, start, end);
          expect(crc32c(bytes, start, end)).toBe(whole);
          expect(crc32cJavaScript(bytes.subarray(start, end))).toBe(whole);
          const middle = start + Math.floor((end - start) / 3);
          expect(crc32c(bytes, middle, end, crc32c(bytes, start, middle))).toBe(whole);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('CRC-32', () => {
  it('gives the published value', () => {
    expect(crc32(Buffer.from('x123456789x'), 1, 10)).toBe(0xcbf43926);
  });
});
