// How much zstd frames (RFC 8878) can decode to, read from their frame and block headers without decoding.

import { RecordError } from './record-error.ts';

const frameMagic = 0xfd2fb528;
/** Sixteen magics from here up mark frames of user data that a decoder skips. */
const skippableMagic = 0x184d2a50;
const greatestBlockBytes = 128 * 1024;

/**
 * An upper bound of what all frames in `input` decode to. Raw and run-length blocks count exactly, compressed ones with the
 * block limit. The frame's own claim of its size is not believed beyond that.
 * @throws RecordError `invalid`
 */
export function zstdBoundBytes(input: Buffer, _limitBytes: number): number {
  let bound = 0;
  let at = 0;
  do {
    need(input, at, 5);
    const magic = input.readUInt32LE(at);
    if ((magic & 0xfffffff0) >>> 0 === skippableMagic) {
      need(input, at, 8);
      const length = input.readUInt32LE(at + 4);
      need(input, at + 8, length);
      at += 8 + length;
      continue;
    }
    if (magic !== frameMagic)
      throw new RecordError('invalid', `not a zstd frame (magic ${magic.toString(16)})`);
    const descriptor = input[at + 4]!;
    at += 5;
    if ((descriptor & 0x08) !== 0) throw new RecordError('invalid', 'zstd frame sets a reserved bit');
    const singleSegment = (descriptor & 0x20) !== 0;
    const checksumBytes = (descriptor & 0x04) === 0 ? 0 : 4;
    const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 0x03]!;
    const contentSizeFlag = descriptor >>> 6;
    const contentSizeBytes = contentSizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << contentSizeFlag;
    let windowBytes = Number.POSITIVE_INFINITY;
    need(input, at, (singleSegment ? 0 : 1) + dictionaryIdBytes + contentSizeBytes);
    if (!singleSegment) {
      const window = input[at++]!;
      const base = 2 ** (10 + (window >>> 3));
      windowBytes = base + (base / 8) * (window & 0x07);
    }
    at += dictionaryIdBytes;
    let contentSize: number | undefined;
    if (contentSizeBytes === 1) contentSize = input[at]!;
    else if (contentSizeBytes === 2) contentSize = input.readUInt16LE(at) + 256;
    else if (contentSizeBytes === 4) contentSize = input.readUInt32LE(at);
    else if (contentSizeBytes === 8) contentSize = Number(input.readBigUInt64LE(at));
    at += contentSizeBytes;
    if (singleSegment) windowBytes = contentSize!;
    const blockLimit = Math.min(windowBytes, greatestBlockBytes);
    for (;;) {
      need(input, at, 3);
      const header = input.readUIntLE(at, 3);
      at += 3;
      const type = (header >>> 1) & 0x03;
      const size = header >>> 3;
      if (type === 3) throw new RecordError('invalid', 'zstd block of the reserved type');
      if (size > blockLimit)
        throw new RecordError('invalid', `zstd block of ${size} bytes, limit ${blockLimit}`);
      const stored = type === 1 ? 1 : size;
      need(input, at, stored);
      at += stored;
      bound += type === 2 ? blockLimit : size;
      if ((header & 1) === 1) break;
    }
    need(input, at, checksumBytes);
    at += checksumBytes;
  } while (at < input.length);
  return bound;
}

function need(input: Buffer, at: number, bytes: number): void {
  if (input.length - at < bytes) throw new RecordError('invalid', 'zstd frame ends early');
}
