// LZ4 frames (KIP-57). The native frame codec is handed in; it has no output limit, takes the first of several frames for all
// and a cut-off one for whole, so frames are walked here first: their structure is checked and their output bounded. Old
// Kafka (magic 0) computed the header checksum over the wrong bytes: such frames are mended on reading and made on request.

import { RecordError } from './record-error.ts';
import { xxHash32 } from './xxhash32.ts';

export interface Lz4FrameCodec {
  compressFrameSync(input: Buffer): Buffer;
  decompressFrameSync(input: Buffer): Buffer;
}

const frameMagic = 0x184d2204;
/** Sixteen magics from here up mark frames of user data that a decoder skips. */
const skippableMagic = 0x184d2a50;
/** No block decodes to more than this many times its bytes: each byte of a length adds 255. */
const greatestExpansion = 255;
/** Most frames that one batch may hold; each costs a call. */
const greatestFrames = 1000;

interface Lz4Frame {
  readonly start: number;
  readonly end: number;
  /** Position of the header checksum byte. */
  readonly checksumAt: number;
  readonly blocksStart: number;
  readonly blockChecksumBytes: number;
  /** Output is at most this. */
  readonly boundBytes: number;
}

/** `brokenHeaderChecksum`: make the frame as Kafka did for magic 0, for readers that insist on it. */
export function compressLz4(input: Buffer, codec: Lz4FrameCodec, brokenHeaderChecksum: boolean): Buffer {
  const frame = codec.compressFrameSync(input);
  if (brokenHeaderChecksum) {
    const at = readFrame(frame, 0).checksumAt;
    frame[at] = (xxHash32(frame, 0, at) >>> 8) & 0xff;
  }
  return frame;
}

/** Frames one after the other. `ignoreHeaderChecksum` is for magic 0. */
export function decompressLz4(
  input: Buffer,
  limitBytes: number,
  codec: Lz4FrameCodec,
  ignoreHeaderChecksum: boolean,
): Buffer {
  const frames: Lz4Frame[] = [];
  let boundBytes = 0;
  let at = 0;
  do {
    const skipped = skippableFrameEnd(input, at);
    if (skipped !== undefined) {
      at = skipped;
      continue;
    }
    const frame = readFrame(input, at);
    frames.push(frame);
    if (frames.length > greatestFrames)
      throw new RecordError('invalid', `more than ${greatestFrames} lz4 frames`);
    boundBytes += frame.boundBytes;
    at = frame.end;
  } while (at < input.length);
  if (boundBytes > limitBytes) checkExactSize(input, frames, limitBytes);
  const outputs = frames.map((frame) => decodeFrame(input, frame, codec, ignoreHeaderChecksum));
  const output = outputs.length === 1 ? outputs[0]! : Buffer.concat(outputs);
  if (output.length > limitBytes) throw tooLarge(limitBytes);
  return output;
}

function decodeFrame(
  input: Buffer,
  frame: Lz4Frame,
  codec: Lz4FrameCodec,
  ignoreHeaderChecksum: boolean,
): Buffer {
  let bytes = input.subarray(frame.start, frame.end);
  const checksum = (xxHash32(input, frame.start + 4, frame.checksumAt) >>> 8) & 0xff;
  if (checksum !== input[frame.checksumAt]) {
    if (!ignoreHeaderChecksum) throw new RecordError('invalid', 'lz4 frame header checksum is wrong');
    bytes = Buffer.from(bytes);
    bytes[frame.checksumAt - frame.start] = checksum;
  }
  try {
    return codec.decompressFrameSync(bytes);
  } catch (error) {
    throw new RecordError(
      'invalid',
      `lz4 data is corrupt: ${error instanceof Error ? error.message : error}`,
      {
        cause: error,
      },
    );
  }
}

function skippableFrameEnd(input: Buffer, at: number): number | undefined {
  if (input.length - at < 8 || (input.readUInt32LE(at) & 0xfffffff0) >>> 0 !== skippableMagic)
    return undefined;
  const end = at + 8 + input.readUInt32LE(at + 4);
  if (end > input.length) throw new RecordError('invalid', 'lz4 skippable frame ends early');
  return end;
}

function readFrame(input: Buffer, start: number): Lz4Frame {
  need(input, start, 7);
  const magic = input.readUInt32LE(start);
  if (magic !== frameMagic)
    throw new RecordError('invalid', `not an lz4 frame (magic ${magic.toString(16)})`);
  const flags = input[start + 4]!;
  if (flags >>> 6 !== 1) throw new RecordError('invalid', `lz4 frame version ${flags >>> 6}`);
  if ((flags & 0x02) !== 0) throw new RecordError('invalid', 'lz4 frame sets a reserved bit');
  if ((flags & 0x01) !== 0) throw new RecordError('invalid', 'lz4 frame needs a dictionary');
  const blockChecksumBytes = (flags & 0x10) === 0 ? 0 : 4;
  const contentChecksumBytes = (flags & 0x04) === 0 ? 0 : 4;
  const descriptor = input[start + 5]!;
  const blockSizeCode = (descriptor >>> 4) & 0x07;
  if ((descriptor & 0x8f) !== 0 || blockSizeCode < 4) {
    throw new RecordError('invalid', `lz4 block descriptor ${descriptor}`);
  }
  const blockMaxBytes = 1 << (8 + 2 * blockSizeCode);
  let at = start + 6;
  let contentSizeBytes: number | undefined;
  if ((flags & 0x08) !== 0) {
    need(input, at, 9);
    contentSizeBytes = Number(input.readBigUInt64LE(at));
    at += 8;
  }
  const checksumAt = at;
  at += 1;
  const blocksStart = at;
  let boundBytes = 0;
  for (;;) {
    need(input, at, 4);
    const word = input.readUInt32LE(at);
    at += 4;
    if (word === 0) break;
    const compressed = word < 0x80000000;
    const length = word & 0x7fffffff;
    if (length > blockMaxBytes) {
      throw new RecordError('invalid', `lz4 block size ${length} exceeds the frame's ${blockMaxBytes}`);
    }
    need(input, at, length + blockChecksumBytes);
    boundBytes += compressed ? Math.min(blockMaxBytes, length * greatestExpansion) : length;
    at += length + blockChecksumBytes;
  }
  need(input, at, contentChecksumBytes);
  if (contentSizeBytes !== undefined && contentSizeBytes > boundBytes) {
    throw new RecordError(
      'invalid',
      `lz4 frame claims ${contentSizeBytes} bytes of content and holds ${boundBytes} at most`,
    );
  }
  return { start, end: at + contentChecksumBytes, checksumAt, blocksStart, blockChecksumBytes, boundBytes };
}

/** The cheap bound is above the limit: count what the blocks really hold, which needs no decoding. */
function checkExactSize(input: Buffer, frames: readonly Lz4Frame[], limitBytes: number): void {
  let total = 0;
  for (const frame of frames) {
    let at = frame.blocksStart;
    for (let word = input.readUInt32LE(at); word !== 0; word = input.readUInt32LE(at)) {
      const start = at + 4;
      const length = word & 0x7fffffff;
      total += word < 0x80000000 ? decodedBlockBytes(input, start, start + length) : length;
      if (total > limitBytes) throw tooLarge(limitBytes);
      at = start + length + frame.blockChecksumBytes;
    }
  }
}

/** Sum of all literal and match lengths of a compressed block. */
function decodedBlockBytes(input: Buffer, start: number, end: number): number {
  let at = start;
  let total = 0;
  while (at < end) {
    const token = input[at++]!;
    let literals = token >>> 4;
    if (literals === 15) {
      let byte: number;
      do {
        if (at >= end) throw new RecordError('invalid', 'lz4 block ends inside a length');
        byte = input[at++]!;
        literals += byte;
      } while (byte === 255);
    }
    total += literals;
    at += literals;
    if (at >= end) break;
    at += 2;
    let match = (token & 0x0f) + 4;
    if (match === 19) {
      let byte: number;
      do {
        if (at >= end) throw new RecordError('invalid', 'lz4 block ends inside a length');
        byte = input[at++]!;
        match += byte;
      } while (byte === 255);
    }
    total += match;
  }
  return total;
}

function need(input: Buffer, at: number, bytes: number): void {
  if (input.length - at < bytes) throw new RecordError('invalid', 'lz4 frame ends early');
}

function tooLarge(limitBytes: number): RecordError {
  return new RecordError('too-large', `lz4 data decodes to more than ${limitBytes} bytes`);
}
