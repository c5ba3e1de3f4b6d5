// Zstandard (RFC 8878) by Node's zlib where it has it, else by an optional native package. Node's decoder stops after the first of
// several frames without a word, so each frame is decoded by itself; the native package has no output limit,
// so what the frames decode to is told first (zstd-size.ts), whatever they claim themselves.

import { RecordError } from './record-error.ts';
import { splitZstdFrames, zstdFitsLimit } from './zstd-size.ts';

export interface ZstdCodec {
  compress(input: Buffer, level: number): Buffer;
  /** One frame. `limitBytes` is a second guard where the library knows one. */
  decompress(input: Buffer, limitBytes: number): Buffer;
}

const defaultLevel = 3;

interface NodeZlibWithZstd {
  zstdCompressSync(input: Buffer, options: object): Buffer;
  zstdDecompressSync(input: Buffer, options: object): Buffer;
  constants: Readonly<Record<string, number>>;
}

interface NativeZstd {
  Encoder: new (level: number) => { encodeSync(input: Buffer): Buffer };
  Decoder: new () => { decodeSync(input: Buffer): Buffer };
}

/** The best codec at hand, or null. */
export function zstdCodecFrom(nodeZlib: object, loadNative: () => unknown): ZstdCodec | null {
  const zlib = nodeZlib as Partial<NodeZlibWithZstd>;
  if (typeof zlib.zstdCompressSync === 'function' && typeof zlib.zstdDecompressSync === 'function') {
    const { zstdCompressSync, zstdDecompressSync } = zlib;
    const levelParameter = zlib.constants?.ZSTD_c_compressionLevel ?? 100;
    return {
      compress: (input, level) => zstdCompressSync(input, { params: { [levelParameter]: level } }),
      decompress: (input, limitBytes) =>
        zstdDecompressSync(input, { maxOutputLength: Math.max(1, limitBytes) }),
    };
  }
  const native = loadNative() as Partial<NativeZstd> | undefined;
  const { Encoder, Decoder } = native ?? {};
  if (typeof Encoder !== 'function' || typeof Decoder !== 'function') return null;
  const encoders = new Map<number, InstanceType<NativeZstd['Encoder']>>();
  const decoder = new Decoder();
  return {
    compress(input, level) {
      let encoder = encoders.get(level);
      if (encoder === undefined) {
        encoder = new Encoder(level);
        encoders.set(level, encoder);
      }
      return encoder.encodeSync(input);
    },
    decompress: (input) => decoder.decodeSync(input),
  };
}

export function compressZstd(input: Buffer, codec: ZstdCodec, level: number | undefined): Buffer {
  return codec.compress(input, level ?? defaultLevel);
}

/** Frames one after the other. */
export function decompressZstd(input: Buffer, limitBytes: number, codec: ZstdCodec): Buffer {
  if (!zstdFitsLimit(input, limitBytes)) throw tooLarge(limitBytes);
  let output: Buffer;
  try {
    const outputs = splitZstdFrames(input).map((frame) => codec.decompress(frame, limitBytes));
    output = outputs.length === 1 ? outputs[0]! : Buffer.concat(outputs);
  } catch (error) {
    if (error instanceof RecordError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limitBytes);
    throw new RecordError(
      'invalid',
      `zstd data is corrupt: ${error instanceof Error ? error.message : error}`,
      {
        cause: error,
      },
    );
  }
  if (output.length > limitBytes) throw tooLarge(limitBytes);
  return output;
}

function tooLarge(limitBytes: number): RecordError {
  return new RecordError('too-large', `zstd data decodes to more than ${limitBytes} bytes`);
}
