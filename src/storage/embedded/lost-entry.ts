/**
 * The entry that a repair puts in the place of bytes that cannot be read: it says which offsets of which queues were lost there, so
 * that the index can name them (a read of them is answered `damaged`, never passed over) whenever it is made again from the log.
 *
 * The first range stands in the header's own fields, its queue negative so that nobody takes the entry for one of that queue; the
 * others in the payload, 20 bytes each, their number in the last four. What is left of the payload is zeros.
 */
import type { QueueId } from '../engine.ts';
import type { Checksum } from './checksum.ts';
import { EntryHeader, flagLastOfGroup, headerBytes, kindLost } from './entry-header.ts';

const rangeBytes = 20;
const numberBytes = 4;

export interface LostRange {
  readonly queue: QueueId;
  readonly from: number;
  /** After the last offset. */
  readonly to: number;
}

/** Bytes that an entry with so many ranges takes at least. */
export function lostEntryBytes(ranges: number): number {
  return (headerBytes + (ranges > 1 ? (ranges - 1) * rangeBytes + numberBytes : 0) + 7) & ~7;
}

export interface LostEntry {
  readonly location: number;
  /** Header and payload, a multiple of 8. */
  readonly totalBytes: number;
  readonly ranges: readonly LostRange[];
  readonly group: number;
  readonly isLastOfGroup: boolean;
  readonly epoch: number;
  readonly storeTimeMs: number;
}

export function encodeLostEntry(entry: LostEntry, crc32c: Checksum): Buffer {
  const { location, totalBytes, ranges } = entry;
  const bytes = Buffer.alloc(totalBytes);
  const header = new EntryHeader();
  header.kind = kindLost;
  header.flags = entry.isLastOfGroup ? flagLastOfGroup : 0;
  header.payloadBytes = totalBytes - headerBytes;
  header.location = location;
  header.group = entry.group;
  header.epoch = entry.epoch;
  header.storeTimeMs = entry.storeTimeMs;
  const [first, ...others] = ranges;
  if (first !== undefined) {
    header.queue = -first.queue;
    header.baseOffset = first.from;
    header.count = first.to - first.from;
  }
  let at = headerBytes;
  for (const { queue, from, to } of others) {
    bytes.writeDoubleLE(queue, at);
    bytes.writeDoubleLE(from, at + 8);
    bytes.writeUInt32LE(to - from, at + 16);
    at += rangeBytes;
  }
  if (others.length > 0) bytes.writeUInt32LE(others.length, totalBytes - numberBytes);
  header.payloadChecksum = crc32c(bytes, headerBytes, totalBytes);
  header.encode(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), bytes, 0, crc32c);
  return bytes;
}

/** What an intact entry of kindLost says. */
export function decodeLostRanges(header: EntryHeader, payload: Buffer): LostRange[] {
  const ranges: LostRange[] = [];
  if (header.count > 0) {
    ranges.push({ queue: -header.queue, from: header.baseOffset, to: header.baseOffset + header.count });
  }
  const others =
    payload.length < rangeBytes + numberBytes ? 0 : payload.readUInt32LE(payload.length - numberBytes);
  for (let index = 0, at = 0; index < others; index++, at += rangeBytes) {
    const from = payload.readDoubleLE(at + 8);
    ranges.push({ queue: payload.readDoubleLE(at), from, to: from + payload.readUInt32LE(at + 16) });
  }
  return ranges;
}
