import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { crc32 } from '../../../protocol/records/crc32c.ts';
import { compressGzip } from '../../../protocol/records/gzip.ts';
import { encodeMessageSet, readMessageEntry } from '../../../protocol/records/message-set.ts';
import { type DecodedBatch, decodeRecordSet, encodeRecordSet } from '../../../protocol/records/record-set.ts';
import {
  checkRecordVector,
  type RecordVector,
  toVectorBatches,
} from '../../../protocol/records/record-vectors.ts';
import { xxHash32 } from '../../../protocol/records/xxhash32.ts';
import { allCodecs, int64, onlyRecordErrors, record, recordErrorOf, timestamp } from './record-samples.ts';

const vectors = gunzipSync(readFileSync('test/vectors/records.jsonl.gz'))
  .toString('utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as RecordVector);

describe('record sets of the official Java client', () => {
  it('decode and encode, every one', () => {
    expect(vectors.length).toBeGreaterThan(120);
    const failures = vectors.flatMap((vector) =>
      checkRecordVector(vector).map(
        (failure) => `${vector.what} magic ${vector.magic} ${vector.codec}: ${failure}`,
      ),
    );
    expect(failures).toEqual([]);
  });

  it('cover every format and codec', () => {
    const kinds = new Set(vectors.map((vector) => `${vector.magic} ${vector.codec}`));
    expect(kinds.size).toBe(4 + 4 + 5);
  });

  it('fail the check when any fact in the JSON is wrong', () => {
    for (const vector of [vectors[0]!, vectors.at(-1)!]) {
      const batch = vector.batches[0]!;
      const wrong: Partial<RecordVector>[] = [
        { batches: [{ ...batch, lastOffset: '1' }] },
        { batches: [{ ...batch, leaderEpoch: 99 }] },
        { batches: [{ ...batch, records: [{ ...batch.records[0]!, value: 'AAAA' }] }] },
        { batches: [] },
        { codec: 'gzip' },
        { codec: 'lzma' },
        { hex: `${vector.hex}00` },
        { hex: vector.hex.slice(0, -2) },
        { hex: vector.hex.replace(/..$/, (byte) => (byte === '00' ? '01' : '00')) },
        { what: 'else' as 'records' },
      ];
      for (const change of wrong) expect(checkRecordVector({ ...vector, ...change })).not.toEqual([]);
    }
    expect(checkRecordVector(null)).not.toEqual([]);
    expect(checkRecordVector({})).not.toEqual([]);
  });

  it('have the lz4 header checksum of magic 0 that encoding gives', () => {
    const vector = vectors.find(({ magic, codec }) => magic === 0 && codec === 'lz4')!;
    const value = readMessageEntry(Buffer.from(vector.hex, 'hex'), 0);
    const theirs = Buffer.from(vector.hex, 'hex').subarray(26);
    const frame = theirs.subarray(0, 7);
    expect(frame[6]).toBe((xxHash32(frame, 0, 6) >>> 8) & 0xff);
    const ours = encodeMessageSet(value.records, { magic: 0, codec: 'lz4' }).subarray(26);
    expect(ours[6]).toBe((xxHash32(ours, 0, 6) >>> 8) & 0xff);
  });
});

const batch2 = fc
  .record({
    records: fc.array(record, { minLength: 1, maxLength: 6 }),
    codec: fc.constantFrom(...allCodecs),
    appendTime: fc.boolean(),
    producerId: int64,
    leaderEpoch: fc.integer(),
    baseOffset: fc.nat(),
    maxTimestamp: timestamp,
  })
  .map(({ records, codec, appendTime, producerId, leaderEpoch, baseOffset, maxTimestamp }): DecodedBatch => {
    const stored = records.map((input) => input.timestamp ?? -1);
    return {
      magic: 2,
      codec,
      baseOffset,
      lastOffset: baseOffset + records.length - 1,
      sizeInBytes: 0,
      maxTimestamp,
      timestampType: appendTime ? 'LogAppendTime' : 'CreateTime',
      producerId,
      producerEpoch: 3,
      baseSequence: 8,
      transactional: appendTime,
      control: false,
      leaderEpoch,
      crc: 0,
      baseTimestamp: stored[0],
      deleteHorizon: false,
      records: records.map((input, index) => ({
        offset: baseOffset + index,
        timestamp: appendTime ? maxTimestamp : stored[index]!,
        key: input.key ?? null,
        value: input.value ?? null,
        headers: (input.headers ?? []) as { key: Buffer; value: Buffer | null }[],
      })),
      storedTimestamps: stored,
    };
  });

const messages = fc
  .record({
    records: fc.array(record, { minLength: 1, maxLength: 6 }),
    codec: fc.constantFrom(...allCodecs.filter((codec) => codec !== 'zstd' && codec !== 'none')),
    magic: fc.constantFrom(0 as const, 1 as const),
    baseOffset: fc.integer({ min: 1, max: 2 ** 40 }),
  })
  .map(({ records, codec, magic, baseOffset }): DecodedBatch => {
    const stored = records.map((input) => (magic === 0 ? -1 : (input.timestamp ?? -1)));
    return {
      magic,
      codec,
      baseOffset,
      lastOffset: baseOffset + records.length - 1,
      sizeInBytes: 0,
      maxTimestamp: magic === 0 ? -1 : stored[0]!,
      timestampType: magic === 0 ? 'NoTimestampType' : 'CreateTime',
      producerId: -1,
      producerEpoch: -1,
      baseSequence: -1,
      transactional: false,
      control: false,
      leaderEpoch: -1,
      crc: null,
      records: records.map((input, index) => ({
        offset: baseOffset + index,
        timestamp: stored[index]!,
        key: input.key ?? null,
        value: input.value ?? null,
        headers: [],
      })),
      storedTimestamps: stored,
    };
  });

const computed = { sizeInBytes: 0, crc: null };

describe('record sets', () => {
  it('of any mix of formats and codecs come back', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(batch2, messages), { maxLength: 5 }), (batches) => {
        const decoded = decodeRecordSet(encodeRecordSet({ batches }));
        expect(decoded.trailingBytes).toBe(0);
        expect(decoded.batches.map((batch) => ({ ...batch, ...computed }))).toEqual(
          batches.map((batch) => ({ ...batch, ...computed })),
        );
      }),
      { numRuns: 150 },
    );
  });

  it('may end in a part of an entry', () => {
    const one = encodeRecordSet(decodeRecordSet(Buffer.from(vectors[0]!.hex, 'hex')));
    const decoded = decodeRecordSet(Buffer.concat([one, one.subarray(0, 16)]));
    expect(decoded.trailingBytes).toBe(16);
    expect(toVectorBatches(decoded)).toEqual(vectors[0]!.batches);
  });

  it('that are cut off or changed in any byte give only RecordErrors', () => {
    const small = vectors.filter(({ hex }) => hex.length < 700);
    expect(small.length).toBeGreaterThan(20);
    for (const vector of small) {
      const bytes = Buffer.from(vector.hex, 'hex');
      for (let at = 0; at < bytes.length; at++) {
        onlyRecordErrors(() => decodeRecordSet(bytes.subarray(0, at), { limitBytes: 100_000 }));
        const hostile = Buffer.from(bytes);
        hostile[at] = hostile[at]! ^ (1 + (at % 255));
        onlyRecordErrors(() => decodeRecordSet(hostile, { limitBytes: 100_000 }));
      }
    }
  });
});

describe('old messages', () => {
  const inner = [
    { offset: 10, timestamp: 5, key: null, value: Buffer.from('a') },
    { offset: 12, timestamp: 7, key: Buffer.from('k'), value: null },
  ];

  it('in a wrapper of magic 1 have offsets relative to the wrapper', () => {
    const set = encodeMessageSet(inner, { magic: 1, codec: 'gzip' });
    const entry = readMessageEntry(set, 0);
    expect(entry.records.map((entryRecord) => entryRecord.offset)).toEqual([10, 12]);
    expect(entry.offsetsConsecutive).toBe(false);
    expect(entry.timestamp).toBe(7);
    // A wrapper moved by the log moves its messages.
    set.writeBigInt64BE(112n, 0);
    expect(readMessageEntry(set, 0).records.map((entryRecord) => entryRecord.offset)).toEqual([110, 112]);
  });

  it('in a wrapper with offset 0 keep what they say, as librdkafka once sent them', () => {
    const set = encodeMessageSet(inner, { magic: 1, codec: 'gzip' });
    set.writeBigInt64BE(0n, 0);
    expect(readMessageEntry(set, 0).records.map((entryRecord) => entryRecord.offset)).toEqual([0, 2]);
    set.writeBigInt64BE(1n, 0);
    expect(recordErrorOf(() => readMessageEntry(set, 0)).message).toContain(
      'less than the last inner message offset',
    );
  });

  it('in a wrapper with append time all have that time', () => {
    const set = encodeMessageSet(inner, {
      magic: 1,
      codec: 'lz4',
      timestampType: 'LogAppendTime',
      wrapperTimestamp: 99,
    });
    const entry = readMessageEntry(set, 0);
    expect(entry.records.map((entryRecord) => entryRecord.timestamp)).toEqual([99, 99]);
    expect(entry.storedTimestamps).toEqual([5, 7]);
  });

  it('in a wrapper must be of its magic, uncompressed and at least one', () => {
    const wrap = (value: Buffer) =>
      encodeMessageSet([{ offset: 0, timestamp: 0, key: null, value }], { magic: 1, codec: 'none' });
    const asWrapper = (value: Buffer) => {
      const message = wrap(value);
      message[17] = 1;
      return fixCrc(message);
    };
    const other = encodeMessageSet(inner, { magic: 0, codec: 'none' });
    const nested = encodeMessageSet(inner, { magic: 1, codec: 'snappy' });
    expect(recordErrorOf(() => readMessageEntry(asWrapper(gzip(other)), 0)).message).toContain(
      'does not match',
    );
    expect(recordErrorOf(() => readMessageEntry(asWrapper(gzip(nested)), 0)).message).toContain(
      'must not be compressed',
    );
    expect(recordErrorOf(() => readMessageEntry(asWrapper(gzip(Buffer.alloc(0))), 0)).message).toContain(
      'no inner records',
    );
  });

  it('cannot be zstd', () => {
    expect(recordErrorOf(() => encodeMessageSet(inner, { magic: 1, codec: 'zstd' })).codeName).toBe(
      'UNSUPPORTED_COMPRESSION_TYPE',
    );
  });
});

function gzip(bytes: Buffer): Buffer {
  return compressGzip(bytes, undefined);
}

function fixCrc(message: Buffer): Buffer {
  message.writeUInt32BE(crc32(message, 16), 12);
  return message;
}
