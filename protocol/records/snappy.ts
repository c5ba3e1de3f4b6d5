// Snappy as Kafka clients frame it: the bare block format, and the framing of snappy-java ("xerial") that Java clients write.
// The native block codec is handed in. Each block states its size first, so the limit is checked before anything is decoded.

import { RecordError } from './record-error.ts';

export interface SnappyBlockCodec {
  compressSync(input: Buffer, options: SnappyOutput): Buffer;
  uncompressSync(input: Buffer, options: SnappyOutput): string | Buffer;
}

interface SnappyOutput {
  readonly copyOutputData: boolean;
}

/** Memory that the native side keeps hold of costs thirty times what copying a block does. */
const copied: SnappyOutput = { copyOutputData: true };

const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
/** Magic, version and least compatible version. */
const xerialHeaderBytes = 16;
/** Uncompressed bytes a block; snappy-java's default. */
const xerialBlockBytes = 32 * 1024;
/** Up to so many blocks may be of any size; each costs a call, so that more of them must hold 16 bytes on average. */
const freeBlocks = 1000;
const leastAverageBlockBytes = 16;

/** True when the bytes start with the header of snappy-java's framing. */
export function isXerialFramed(input: Buffer): boolean {
  return input.length >= xerialHeaderBytes && startsWithMagic(input, 0);
}

function startsWithMagic(input: Buffer, at: number): boolean {
  return input.length - at >= 8 && xerialMagic.compare(input, at, at + 8) === 0;
}

/** In snappy-java's framing, which every Kafka client reads. */
export function compressSnappy(input: Buffer, codec: SnappyBlockCodec): Buffer {
  const parts: Buffer[] = [xerialHeader()];
  for (let at = 0; at < input.length; at += xerialBlockBytes) {
    const block = codec.compressSync(input.subarray(at, at + xerialBlockBytes), copied);
    const length = Buffer.allocUnsafe(4);
    length.writeInt32BE(block.length, 0);
    parts.push(length, block);
  }
  return Buffer.concat(parts);
}

function xerialHeader(): Buffer {
  const header = Buffer.alloc(xerialHeaderBytes);
  xerialMagic.copy(header);
  header.writeInt32BE(1, 8);
  header.writeInt32BE(1, 12);
  return header;
}

/** Either framing, told apart by the magic. */
export function decompressSnappy(input: Buffer, limitBytes: number, codec: SnappyBlockCodec): Buffer {
  if (!startsWithMagic(input, 0)) {
    checkBlock(input, limitBytes);
    return decodeBlock(input, codec);
  }
  const blocks: Buffer[] = [];
  let totalBytes = 0;
  let at = 0;
  while (at < input.length) {
    // Streams may follow each other, each with its own header.
    if (startsWithMagic(input, at)) {
      if (input.length - at < xerialHeaderBytes) throw new RecordError('invalid', 'snappy header ends early');
      at += xerialHeaderBytes;
      continue;
    }
    if (input.length - at < 4) throw new RecordError('invalid', 'snappy block length ends early');
    const length = input.readInt32BE(at);
    at += 4;
    if (length < 0) throw new RecordError('invalid', `snappy block length is ${length}`);
    if (length > input.length - at) {
      throw new RecordError('invalid', `snappy block of ${length} bytes where ${input.length - at} are left`);
    }
    const block = input.subarray(at, at + length);
    at += length;
    if (length === 0) continue;
    totalBytes += checkBlock(block, limitBytes - totalBytes);
    blocks.push(block);
    if (blocks.length > freeBlocks && totalBytes < blocks.length * leastAverageBlockBytes) {
      throw new RecordError('invalid', `snappy data in ${blocks.length} blocks of next to nothing`);
    }
  }
  if (blocks.length === 1) return decodeBlock(blocks[0]!, codec);
  return Buffer.concat(
    blocks.map((block) => decodeBlock(block, codec)),
    totalBytes,
  );
}

/** Reads the size that a block says it decodes to and refuses one that is above the limit or that its bytes cannot yield. */
function checkBlock(block: Buffer, limitBytes: number): number {
  let size = 0;
  let scale = 1;
  for (let at = 0; at < 5; at++) {
    const byte = block[at];
    if (byte === undefined) throw new RecordError('invalid', 'snappy block ends inside its length');
    size += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte < 0x80) {
      if (size > limitBytes) {
        throw new RecordError(
          'too-large',
          `snappy data decodes to more than the ${limitBytes} bytes allowed`,
        );
      }
      // The densest element is a copy: 64 bytes from three.
      if (size > (block.length - at - 1) * 22) {
        throw new RecordError('invalid', `snappy block of ${block.length} bytes claims to decode to ${size}`);
      }
      return size;
    }
  }
  throw new RecordError('invalid', 'snappy block length is not a 32-bit number');
}

function decodeBlock(block: Buffer, codec: SnappyBlockCodec): Buffer {
  try {
    return codec.uncompressSync(block, copied) as Buffer;
  } catch (error) {
    throw new RecordError('invalid', `snappy data is corrupt: ${messageOf(error)}`, { cause: error });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
