// The five codecs of record batches behind two synchronous functions with a hard limit on what decoding may yield. Native
// packages are optional and load on first use; which of them is there is this file's business alone.

import * as zlib from 'node:zlib';
import { compressGzip, decompressGzip } from './gzip.ts';
import { compressLz4, decompressLz4, type Lz4FrameCodec } from './lz4.ts';
import { loadOptionalModule } from './optional-module.ts';
import { RecordError } from './record-error.ts';
import { compressSnappy, decompressSnappy, type SnappyBlockCodec } from './snappy.ts';
import { compressZstd, decompressZstd, type ZstdCodec, zstdCodecFrom } from './zstd.ts';

/** Codec ids as the low three attribute bits have them. */
export const codecIds = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as const;
export type CodecName = keyof typeof codecIds;

const codecNames: readonly CodecName[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

/** Default limit on decompressed bytes of one batch. */
export const defaultDecompressedLimitBytes = 128 * 1024 * 1024;

/** The codec of an id. @throws RecordError `unsupported-codec` for 5, 6 and 7 */
export function codecNameOf(id: number): CodecName {
  const name = codecNames[id];
  if (name === undefined) throw new RecordError('unsupported-codec', `Unknown compression type id: ${id}`);
  return name;
}

export interface CompressOptions {
  /** In the codec's own scale; snappy and lz4 have one level here. */
  readonly level?: number | undefined;
  /** Format of the message that will hold it: lz4 in magic 0 gets Kafka's historical header checksum. Default 2. */
  readonly magic?: number | undefined;
}

export interface DecompressOptions {
  /** No more than this many bytes come out, and no more are allocated. Default 128 MiB. */
  readonly limitBytes?: number | undefined;
  /** Format of the message that holds it: in magic 0 the lz4 header checksum is not checked. Default 2. */
  readonly magic?: number | undefined;
}

export interface Compression {
  /** @throws RecordError `codec-unavailable` */
  compress(codec: CodecName, input: Buffer, options?: CompressOptions): Buffer;
  /** `none` gives the input itself. @throws RecordError `invalid`, `too-large`, `codec-unavailable` */
  decompress(codec: CodecName, input: Buffer, options?: DecompressOptions): Buffer;
  /** True when the codec can be used here. */
  isAvailable(codec: CodecName): boolean;
}

/** Where the codecs come from; tests hand in their own. */
export interface CodecSources {
  load(name: string): unknown;
  readonly zlib: object;
}

export function createCompression(sources: CodecSources): Compression {
  // undefined: not yet tried; null: not there.
  let snappy: SnappyBlockCodec | null | undefined;
  let lz4: Lz4FrameCodec | null | undefined;
  let zstd: ZstdCodec | null | undefined;

  function snappyCodec(): SnappyBlockCodec | null {
    if (snappy === undefined) snappy = moduleWith<SnappyBlockCodec>(sources.load('snappy'), 'uncompressSync');
    return snappy;
  }
  function lz4Codec(): Lz4FrameCodec | null {
    if (lz4 === undefined) lz4 = moduleWith<Lz4FrameCodec>(sources.load('lz4'), 'decompressFrameSync');
    return lz4;
  }
  function zstdCodec(): ZstdCodec | null {
    if (zstd === undefined) zstd = zstdCodecFrom(sources.zlib, () => sources.load('@toondepauw/node-zstd'));
    return zstd;
  }

  return {
    compress(codec, input, options = {}) {
      switch (codec) {
        case 'none':
          return input;
        case 'gzip':
          return compressGzip(input, options.level);
        case 'snappy':
          return compressSnappy(input, snappyCodec() ?? unavailable(codec));
        case 'lz4':
          return compressLz4(input, lz4Codec() ?? unavailable(codec), options.magic === 0);
        case 'zstd':
          return compressZstd(input, zstdCodec() ?? unavailable(codec), options.level);
      }
    },
    decompress(codec, input, options = {}) {
      const limitBytes = options.limitBytes ?? defaultDecompressedLimitBytes;
      switch (codec) {
        case 'none':
          if (input.length > limitBytes) {
            throw new RecordError(
              'too-large',
              `records of ${input.length} bytes where ${limitBytes} are allowed`,
            );
          }
          return input;
        case 'gzip':
          return decompressGzip(input, limitBytes);
        case 'snappy':
          return decompressSnappy(input, limitBytes, snappyCodec() ?? unavailable(codec));
        case 'lz4':
          return decompressLz4(input, limitBytes, lz4Codec() ?? unavailable(codec), options.magic === 0);
        case 'zstd':
          return decompressZstd(input, limitBytes, zstdCodec() ?? unavailable(codec));
      }
    },
    isAvailable(codec) {
      switch (codec) {
        case 'none':
        case 'gzip':
          return true;
        case 'snappy':
          return snappyCodec() !== null;
        case 'lz4':
          return lz4Codec() !== null;
        case 'zstd':
          return zstdCodec() !== null;
      }
    },
  };
}

function moduleWith<T>(module: unknown, member: keyof T & string): T | null {
  const found = module as Partial<T> | undefined;
  return typeof found?.[member] === 'function' ? (found as T) : null;
}

const packages: Readonly<Record<string, string>> = {
  snappy: 'snappy',
  lz4: 'lz4 (an alias of lz4-napi)',
  zstd: '@toondepauw/node-zstd, or Node 22.15 and above',
};

function unavailable(codec: CodecName): never {
  throw new RecordError(
    'codec-unavailable',
    `${codec} needs the optional package ${packages[codec]}, which is not installed`,
  );
}

const shared = createCompression({ load: loadOptionalModule, zlib });

/** See `Compression`. */
export const compress = shared.compress;
export const decompress = shared.decompress;
export const isCodecAvailable = shared.isAvailable;
