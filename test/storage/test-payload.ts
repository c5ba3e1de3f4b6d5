/**
 * A payload format of the tests' own, so that engines are tested with nothing of Kafka: length, base offset, epoch, CRC-32,
 * count, body.
 */
import { crc32 } from 'node:zlib';
import type { PayloadFormat } from '../../src/storage/engine.ts';

const headerBytes = 24;

/** The smallest payload, in bytes. */
export const smallestPayloadBytes = headerBytes;

export const testPayloadFormat: PayloadFormat = {
  stamp(buffer, start, baseOffset, epoch) {
    buffer.writeDoubleLE(baseOffset, start + 4);
    buffer.writeInt32LE(epoch, start + 12);
  },
  isStamped(buffer, start, baseOffset, epoch) {
    return buffer.readDoubleLE(start + 4) === baseOffset && buffer.readInt32LE(start + 12) === epoch;
  },
  isIntact(buffer, start, length) {
    if (length < headerBytes || start + length > buffer.length) return false;
    if (buffer.readUInt32LE(start) !== length) return false;
    return buffer.readUInt32LE(start + 16) === crc32(buffer.subarray(start + 20, start + length), length);
  },
};

export interface TestPayload {
  readonly baseOffset: number;
  readonly epoch: number;
  readonly count: number;
  readonly body: string;
}

/** A payload of `count` records, stamped with nonsense that an engine must not trust. */
export function makePayload(count: number, body: string, sizeBytes = 0): Buffer {
  const text = Buffer.from(body, 'latin1');
  const buffer = Buffer.alloc(Math.max(sizeBytes, headerBytes + text.length), 0x20);
  buffer.writeUInt32LE(buffer.length, 0);
  testPayloadFormat.stamp(buffer, 0, -7, -7);
  buffer.writeUInt32LE(count, 20);
  text.copy(buffer, headerBytes);
  buffer.writeUInt32LE(crc32(buffer.subarray(20), buffer.length), 16);
  return buffer;
}

/** Takes buffers of whole payloads apart. Throws where one is not intact. */
export function parsePayloads(buffers: readonly Buffer[]): TestPayload[] {
  const payloads: TestPayload[] = [];
  for (const buffer of buffers) {
    let at = 0;
    while (at < buffer.length) {
      const length = buffer.readUInt32LE(at);
      if (!testPayloadFormat.isIntact(buffer, at, length)) throw new Error(`no intact payload at byte ${at}`);
      payloads.push({
        baseOffset: buffer.readDoubleLE(at + 4),
        epoch: buffer.readInt32LE(at + 12),
        count: buffer.readUInt32LE(at + 20),
        body: buffer.toString('latin1', at + headerBytes, at + length).trimEnd(),
      });
      at += length;
    }
  }
  return payloads;
}
