import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import {
  checkHeader,
  EntryHeader,
  entryBytes,
  flagLastOfGroup,
  flagSync,
  headerBytes,
  isHeaderOf,
  kindMarker,
} from '../../../src/storage/embedded/entry-header.ts';
import { describeLocation, locationOf, offsetIn, segmentOf } from '../../../src/storage/embedded/location.ts';

function filled(): EntryHeader {
  const header = new EntryHeader();
  header.kind = kindMarker;
  header.flags = flagLastOfGroup | flagSync;
  header.payloadBytes = 1234;
  header.location = locationOf(77, 4096);
  header.queue = 2 ** 40 + 3;
  header.baseOffset = 2 ** 50 + 1;
  header.count = 17;
  header.epoch = 9;
  header.storeTimeMs = 1_700_000_000_123;
  header.maxTimestampMs = -1;
  header.durablePosition = locationOf(76, 0);
  header.group = locationOf(77, 2048);
  header.payloadChecksum = 0xfedcba98;
  header.setProducer({
    countsForQueue: 5,
    producerId: 2 ** 41,
    producerEpoch: 3,
    firstSequence: 2 ** 31 - 1,
    lastSequence: 0,
    isTransactional: true,
  });
  return header;
}

function encoded(header: EntryHeader, at: number): { bytes: Buffer; view: DataView } {
  const bytes = Buffer.alloc(headerBytes + 2 * at, 0xee);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  header.encode(view, bytes, at, crc32c);
  return { bytes, view };
}

describe('the entry header', () => {
  test('keeps every field', () => {
    const header = filled();
    const { bytes, view } = encoded(header, 24);
    expect(checkHeader(view, bytes, 24, header.location, crc32c)).toBe('intact');
    const decoded = new EntryHeader();
    decoded.decode(view, 24);
    expect(decoded).toEqual(header);
    expect(decoded.producer).toEqual(header.producer);
    expect(decoded.toFacts()).toEqual({
      kind: 'marker',
      baseOffset: 2 ** 50 + 1,
      count: 17,
      sizeBytes: 1234,
      maxTimestampMs: -1,
      storeTimeMs: 1_700_000_000_123,
      epoch: 9,
      producer: header.producer,
    });
    expect([...bytes.subarray(0, 24), ...bytes.subarray(24 + headerBytes)]).toEqual(Array(48).fill(0xee));
  });

  test('a producer of the entry before does not shine through', () => {
    const header = filled();
    header.flags = 0;
    header.setProducer(undefined);
    expect(header.producer).toBe(undefined);
    expect(header.toFacts().producer).toBe(undefined);
  });

  test('no flipped bit goes unseen', () => {
    const header = filled();
    const { bytes, view } = encoded(header, 0);
    for (let bit = 0; bit < headerBytes * 8; bit++) {
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      expect(checkHeader(view, bytes, 0, header.location, crc32c)).toBe('damaged');
      bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
    expect(checkHeader(view, bytes, 0, header.location, crc32c)).toBe('intact');
  });

  test('says where it belongs and whose it is', () => {
    const header = filled();
    const { bytes, view } = encoded(header, 0);
    expect(checkHeader(view, bytes, 0, header.location + 8, crc32c)).toBe('damaged');
    expect(isHeaderOf(view, 0, header.queue, header.baseOffset, 1234)).toBe(true);
    expect(isHeaderOf(view, 0, header.queue + 1, header.baseOffset, 1234)).toBe(false);
    expect(isHeaderOf(view, 0, header.queue, header.baseOffset + 1, 1234)).toBe(false);
    expect(isHeaderOf(view, 0, header.queue, header.baseOffset, 1233)).toBe(false);
  });

  test('entries begin at multiples of 8', () => {
    expect([0, 1, 7, 8, 9].map(entryBytes)).toEqual([112, 120, 120, 120, 128]);
  });
});

describe('locations', () => {
  test('are safe integers that grow along the log', () => {
    for (const [segment, offset] of [
      [0, 0],
      [0, 2 ** 32 - 8],
      [1, 0],
      [2_000_000, 12345],
    ] as const) {
      const location = locationOf(segment, offset);
      expect(Number.isSafeInteger(location)).toBe(true);
      expect([segmentOf(location), offsetIn(location)]).toEqual([segment, offset]);
    }
    expect(describeLocation(locationOf(3, 99))).toBe('0000000003.log byte 99');
  });
});
