import { readFileSync } from 'node:fs';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type CodecName,
  codecNameOf,
  compress,
  createCompression,
  decompress,
  isCodecAvailable,
} from '../../../protocol/records/compression.ts';
import { loadOptionalModule } from '../../../protocol/records/optional-module.ts';
import { xxHash32 } from '../../../protocol/records/xxhash32.ts';
import { allCodecs, onlyRecordErrors, recordErrorOf, wordText } from './record-samples.ts';

interface Snappy {
  compressSync(input: Buffer): Buffer;
}
interface Zstd {
  Encoder: new (level: number) => { encodeSync(input: Buffer): Buffer };
}
const snappyBlocks = loadOptionalModule('snappy') as Snappy;
const zstdNative = loadOptionalModule('@toondepauw/node-zstd') as Zstd;

const compressing = allCodecs.filter((codec) => codec !== 'none');

// Frames of liblz4, libzstd and Python's gzip, over the text of wordText(size).
const foreign = JSON.parse(readFileSync('test/protocol/records/foreign-frames.json', 'utf8')) as Record<
  string,
  { size: number; base64: string }
>;
const codecOfForeign = (name: string): CodecName => name.split(' ')[0] as CodecName;

describe('codecs', () => {
  it('are all there in this installation', () => {
    expect(allCodecs.filter((codec) => !isCodecAvailable(codec))).toEqual([]);
  });

  it.each(allCodecs)('%s: what is compressed comes back', (codec) => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.uint8Array({ maxLength: 30 }), fc.nat(2000)), { maxLength: 8 }),
        fc.constantFrom(0, 1, 2),
        (parts, magic) => {
          const input = Buffer.concat(
            parts.map(([bytes, times]) => Buffer.concat(Array.from({ length: times % 50 }, () => bytes))),
          );
          const output = decompress(codec, compress(codec, input, { magic }), {
            magic,
            limitBytes: input.length,
          });
          expect(output.equals(input)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it.each(allCodecs)('%s: input above all block sizes comes back', (codec) => {
    const input = Buffer.concat([wordText(3_000_000), Buffer.alloc(6_000_000, 7)]);
    expect(decompress(codec, compress(codec, input), { limitBytes: input.length }).equals(input)).toBe(true);
  });

  it.each(Object.keys(foreign))('reads another implementation: %s', (name) => {
    const { size, base64 } = foreign[name]!;
    const bytes = Buffer.from(base64, 'base64');
    const text = wordText(size);
    expect(decompress(codecOfForeign(name), bytes, { limitBytes: size }).equals(text)).toBe(true);
    expect(recordErrorOf(() => decompress(codecOfForeign(name), bytes, { limitBytes: size - 1 })).kind).toBe(
      'too-large',
    );
  });

  it.each(compressing)('%s: frames one after the other are one text', (codec) => {
    const texts = [wordText(500), Buffer.alloc(0), wordText(70_000)];
    const frames = texts.map((text) => compress(codec, text));
    expect(decompress(codec, Buffer.concat(frames)).equals(Buffer.concat(texts))).toBe(true);
  });

  it.each(['lz4', 'zstd'] as const)('%s: skippable frames are skipped', (codec) => {
    const skippable = Buffer.from('502a4d1803000000ffffff', 'hex');
    const frame = compress(codec, wordText(90));
    const input = Buffer.concat([skippable, frame, skippable, frame, skippable]);
    expect(decompress(codec, input).equals(Buffer.concat([wordText(90), wordText(90)]))).toBe(true);
  });

  it('refuses a codec id that does not exist', () => {
    expect(recordErrorOf(() => codecNameOf(5)).kind).toBe('unsupported-codec');
    expect(codecNameOf(4)).toBe('zstd');
  });
});

describe('snappy framings', () => {
  const text = wordText(100_000);

  it('writes the framing of Java clients in blocks of 32 KiB', () => {
    const framed = compress('snappy', text);
    expect(framed.subarray(0, 16).toString('hex')).toBe('82534e41505059000000000100000001');
    let blocks = 0;
    for (let at = 16; at < framed.length; at += 4 + framed.readInt32BE(at)) blocks += 1;
    expect(blocks).toBe(4);
  });

  it('reads bare blocks', () => {
    expect(decompress('snappy', snappyBlocks.compressSync(text)).equals(text)).toBe(true);
    expect(decompress('snappy', snappyBlocks.compressSync(Buffer.alloc(0))).length).toBe(0);
  });

  it('refuses thousands of blocks of a byte', () => {
    const header = compress('snappy', Buffer.alloc(0));
    const block = Buffer.from('00000003010061', 'hex');
    const blocks = (count: number) => Buffer.concat([header, ...Array.from({ length: count }, () => block)]);
    expect(decompress('snappy', blocks(1000)).toString()).toBe('a'.repeat(1000));
    expect(recordErrorOf(() => decompress('snappy', blocks(1001))).kind).toBe('invalid');
  });

  it('believes no block that claims more than its bytes can hold, and allocates nothing for it', () => {
    const claim = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x07, 0, 1]);
    expect(recordErrorOf(() => decompress('snappy', claim)).kind).toBe('too-large');
    const modest = Buffer.from([0xff, 0xff, 0x03, 0, 1]);
    expect(recordErrorOf(() => decompress('snappy', modest)).message).toContain('claims to decode to 65535');
  });
});

describe('lz4 frames', () => {
  it('in magic 0 carry the header checksum that old Kafka made, and are read with either', () => {
    const text = wordText(200);
    const right = compress('lz4', text);
    const broken = compress('lz4', text, { magic: 0 });
    expect(right[6]).toBe((xxHash32(right, 4, 6) >>> 8) & 0xff);
    expect(broken[6]).toBe((xxHash32(broken, 0, 6) >>> 8) & 0xff);
    expect(broken[6]).not.toBe(right[6]);
    expect(decompress('lz4', broken, { magic: 0 }).equals(text)).toBe(true);
    expect(decompress('lz4', right, { magic: 0 }).equals(text)).toBe(true);
    expect(recordErrorOf(() => decompress('lz4', broken, { magic: 1 })).message).toContain('checksum');
  });

  it('are written with independent blocks, which Java clients ask for', () => {
    expect(compress('lz4', wordText(300_000))[4]! & 0x20).toBe(0x20);
  });

  it('without their end mark or with a claim above what they hold are refused', () => {
    const frame = compress('lz4', wordText(200));
    expect(recordErrorOf(() => decompress('lz4', frame.subarray(0, frame.length - 4))).kind).toBe('invalid');
    const claiming = Buffer.from(foreign['lz4 independent, content size']!.base64, 'base64');
    claiming.writeBigUInt64LE(1n << 40n, 6);
    claiming[14] = (xxHash32(claiming, 4, 14) >>> 8) & 0xff;
    expect(recordErrorOf(() => decompress('lz4', claiming)).message).toContain('claims');
  });

  it('are no more than a thousand', () => {
    const frame = compress('lz4', Buffer.alloc(0));
    const many = Buffer.concat(Array.from({ length: 1001 }, () => frame));
    expect(recordErrorOf(() => decompress('lz4', many)).kind).toBe('invalid');
    expect(decompress('lz4', many.subarray(frame.length)).length).toBe(0);
  });
});

describe('xxHash32', () => {
  it('gives the published values', () => {
    expect(xxHash32(Buffer.alloc(0), 0, 0)).toBe(0x02cc5d05);
    const text = Buffer.from('Nobody inspects the spammish repetition');
    expect(xxHash32(text, 0, text.length)).toBe(0xe2293b2f);
  });
});

describe('bombs', () => {
  const big = 64 * 1024 * 1024;
  it.each(compressing)('%s: 64 MiB of zeros is refused at 1 MiB without being decoded', (codec) => {
    const bomb = compress(codec, Buffer.alloc(big));
    let decoded = 0;
    // The native packages with decoders that only count (gzip has a limit of its own).
    const guarded = createCompression({
      load(name) {
        if (name !== '@toondepauw/node-zstd') {
          return { uncompressSync: () => (decoded += 1), decompressFrameSync: () => (decoded += 1) };
        }
        return {
          Encoder: zstdNative.Encoder,
          Decoder: class {
            decodeSync = () => (decoded += 1);
          },
        };
      },
      zlib: {},
    });
    expect(recordErrorOf(() => guarded.decompress(codec, bomb, { limitBytes: 1 << 20 })).kind).toBe(
      'too-large',
    );
    expect(decoded).toBe(0);
  });

  it('a zstd frame that claims little and holds much is refused', () => {
    // Single segment, content size 10, then run-length blocks of 128 KiB that no header limits.
    const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 2, 0]);
    const block = Buffer.alloc(4);
    block.writeUIntLE((1 << 1) | ((128 * 1024) << 3), 0, 3);
    const last = Buffer.from(block);
    last[0]! |= 1;
    const bomb = Buffer.concat([header, ...Array.from({ length: 500 }, () => block), last]);
    expect(recordErrorOf(() => decompress('zstd', bomb, { limitBytes: 1 << 20 })).kind).toBe('too-large');
  });

  it.each(compressing)('%s: the limit is exact', (codec) => {
    for (const size of [1, 1000, 40_000, 200_000]) {
      const input = compress(codec, Buffer.alloc(size, 'ab'));
      expect(decompress(codec, input, { limitBytes: size }).length).toBe(size);
      expect(recordErrorOf(() => decompress(codec, input, { limitBytes: size - 1 })).kind).toBe('too-large');
    }
  });
});

describe('hostile input', () => {
  const texts = [
    wordText(300),
    Buffer.alloc(3000, 1),
    Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 89) & 255)),
  ];
  const inputs = compressing.flatMap((codec) => [
    ...texts.map((text) => ({ codec, bytes: compress(codec, text) })),
    ...Object.entries(foreign)
      .filter(([name, { size }]) => codecOfForeign(name) === codec && size < 1000)
      .map(([, { base64 }]) => ({ codec, bytes: Buffer.from(base64, 'base64') })),
  ]);
  inputs.push({ codec: 'snappy', bytes: snappyBlocks.compressSync(wordText(300)) });

  it('cut off at any byte gives a RecordError or less text, never anything else', () => {
    for (const { codec, bytes } of inputs) {
      for (let length = 0; length < bytes.length; length++) {
        onlyRecordErrors(() => {
          expect(decompress(codec, bytes.subarray(0, length), { limitBytes: 5000 }).length).toBeLessThan(
            5001,
          );
        });
      }
    }
  });

  it('with any bit flipped gives a RecordError or at most the limit', () => {
    for (const { codec, bytes } of inputs) {
      for (let bit = 0; bit < Math.min(bytes.length * 8, 2400); bit++) {
        const hostile = Buffer.from(bytes);
        hostile[bit >>> 3]! ^= 1 << (bit & 7);
        onlyRecordErrors(() => {
          expect(decompress(codec, hostile, { limitBytes: 5000 }).length).toBeLessThan(5001);
        });
      }
    }
  });

  it('of random bytes gives a RecordError or at most the limit', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...compressing),
        fc.uint8Array({ maxLength: 200 }),
        fc.nat(3),
        (codec, bytes, lead) => {
          const start = compress(codec, wordText(50)).subarray(0, lead * 5);
          onlyRecordErrors(() => {
            const output = decompress(codec, Buffer.concat([start, bytes]), { limitBytes: 5000 });
            expect(output.length).toBeLessThan(5001);
          });
        },
      ),
      { numRuns: 1500 },
    );
  });
});

describe('optional packages', () => {
  it('that are missing give a clear error, once asked for', () => {
    const bare = createCompression({ load: () => undefined, zlib: {} });
    for (const codec of ['snappy', 'lz4', 'zstd'] as const) {
      expect(bare.isAvailable(codec)).toBe(false);
      for (const run of [
        () => bare.compress(codec, Buffer.from('a')),
        () => bare.decompress(codec, Buffer.from('a')),
      ]) {
        const error = recordErrorOf(run);
        expect(error.kind).toBe('codec-unavailable');
        expect(error.codeName).toBe('UNSUPPORTED_COMPRESSION_TYPE');
        expect(error.message).toContain('not installed');
      }
    }
    expect(bare.decompress('gzip', bare.compress('gzip', Buffer.from('a'))).toString()).toBe('a');
  });

  it('are not loaded before they are needed, and once', () => {
    const loaded: string[] = [];
    const compression = createCompression({
      load(name) {
        loaded.push(name);
        return loadOptionalModule(name);
      },
      zlib: {},
    });
    compression.compress('gzip', Buffer.from('a'));
    expect(loaded).toEqual([]);
    compression.compress('snappy', Buffer.from('a'));
    compression.decompress('snappy', compression.compress('snappy', Buffer.from('a')));
    expect(loaded).toEqual(['snappy']);
  });

  it("give way to Node's own zstd where it has it", () => {
    const calls: unknown[] = [];
    const encoder = new zstdNative.Encoder(3);
    const compression = createCompression({
      load: () => undefined,
      zlib: {
        constants: { ZSTD_c_compressionLevel: 100 },
        zstdCompressSync(input: Buffer, options: unknown) {
          calls.push(options);
          return encoder.encodeSync(input);
        },
        zstdDecompressSync(_input: Buffer, options: unknown) {
          calls.push(options);
          return Buffer.from('text');
        },
      },
    });
    const frame = compression.compress('zstd', Buffer.from('text'), { level: 7 });
    expect(compression.decompress('zstd', frame, { limitBytes: 4 }).toString()).toBe('text');
    expect(calls).toEqual([{ params: { 100: 7 } }, { maxOutputLength: 4 }]);
  });

  it('that Node has are found by the name that they have there', () => {
    // Where this runs on a Node with zstd, the default instance uses it.
    const own = createCompression({ load: () => undefined, zlib });
    expect(own.isAvailable('zstd')).toBe('zstdCompressSync' in zlib);
  });
});
