// Gzip by Node's own zlib, which takes an output limit.

import { constants, gunzipSync, gzipSync } from 'node:zlib';
import { RecordError } from './record-error.ts';

export function compressGzip(input: Buffer, level: number | undefined): Buffer {
  return gzipSync(input, { level: level ?? constants.Z_DEFAULT_COMPRESSION });
}

/** One or more gzip members, inflated to at most `limitBytes` in all. */
export function decompressGzip(input: Buffer, limitBytes: number): Buffer {
  try {
    const output = gunzipSync(input, {
      maxOutputLength: Math.max(1, limitBytes),
      chunkSize: Math.min(Math.max(input.length * 4, 4096), 1 << 18, Math.max(64, limitBytes)),
    });
    if (output.length > limitBytes) throw tooLarge(limitBytes);
    return output;
  } catch (error) {
    if (error instanceof RecordError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limitBytes);
    if (code === 'Z_BUF_ERROR') throw new RecordError('invalid', 'gzip data ends early', { cause: error });
    throw new RecordError('invalid', `gzip data is corrupt (${code ?? String(error)})`, { cause: error });
  }
}

function tooLarge(limitBytes: number): RecordError {
  return new RecordError('too-large', `gzip data decodes to more than ${limitBytes} bytes`);
}
