import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRecords, openBatch } from '../../../protocol/records/batch-records.ts';
import { computeBatchCrc, verifyCrc } from '../../../protocol/records/record-batch.ts';
import { buildBatchFromSection, buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { RecordCursor } from '../../../protocol/records/record-cursor.ts';
import { allCodecs, int64, onlyRecordErrors, record, recordErrorOf } from './record-samples.ts';

function cursorOver(hex: string, recordCount = 1): RecordCursor {
  const buffer = Buffer.from(hex, 'hex');
  return new RecordCursor({
    buffer,
    start: 0,
    end: buffer.length,
    recordCount,
    baseOffset: 0,
    baseTimestamp: 0,
    logAppendTimestamp: undefined,
  });
}

function walk(cursor: RecordCursor): void {
  while (cursor.next()) {
    cursor.record();
  }
}

describe('records of a batch', () => {
  it.each(allCodecs)('%s: come back as they were put in', (codec) => {
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 12 }), int64, (records, baseOffset) => {
        // The last offset must still be one.
        fc.pre(BigInt(baseOffset) < 2n ** 63n - 20n);
        const batch = buildRecordBatch(records, { codec, baseOffset });
        expect(verifyCrc(batch, 0)).toBe(true);
        const decoded = decodeRecords(batch, 0);
        expect(decoded.length).toBe(records.length);
        for (const [index, got] of decoded.entries()) {
          const put = records[index]!;
          expect(BigInt(got.offset)).toBe(BigInt(baseOffset) + BigInt(index));
          expect(got.timestamp).toBe(put.timestamp);
          expect(got.key).toEqual(put.key);
          expect(got.value).toEqual(put.value);
          expect(got.headers).toEqual(put.headers);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('are views of the batch where nothing is compressed', () => {
    const batch = buildRecordBatch([{ value: Buffer.from('abc') }]);
    const value = decodeRecords(batch, 0)[0]!.value!;
    expect(value.buffer).toBe(batch.buffer);
  });

  it('can be counted and located without making objects', () => {
    const batch = buildRecordBatch([
      { timestamp: 10, key: Buffer.from('k') },
      { timestamp: 7, value: Buffer.from('vv'), headers: [{ key: 'h', value: null }] },
    ]);
    const cursor = openBatch(batch, 0);
    const seen = [];
    while (cursor.next()) {
      seen.push([
        cursor.offsetDelta,
        cursor.timestampDelta,
        cursor.keyLength,
        cursor.valueLength,
        cursor.headerCount,
      ]);
    }
    expect(seen).toEqual([
      [0, 0, 1, -1, 0],
      [1, -3, -1, 2, 1],
    ]);
  });
});

describe('what no record can be', () => {
  // length, attributes, timestamp delta, offset delta, key length, value length, header count
  const good = '0c000000010100';

  it.each([
    ['is a record', good, 1, undefined],
    ['too many records for the bytes', good, 2, 'cannot stand in'],
    ['a negative count', good, -1, 'invalid record count -1'],
    ['bytes left over', `${good}00`, 1, 'records still remaining'],
    ['a record longer than the section', '0e000000010100', 1, 'Invalid record size: 7'],
    ['a record of negative length', '0d000000010100', 1, 'Invalid record size: -7'],
    ['a record of no length', '00000000010100', 1, 'Invalid record size: 0'],
    ['a record longer than what stands in it', '0e00000001010000', 1, 'expected to read 7 bytes'],
    ['a key longer than the record', '0c000000100100', 1, 'Field of 8 bytes'],
    ['a value longer than the record', '0c000000011000', 1, 'Field of 8 bytes'],
    ['more headers than bytes', '0c000000010102', 1, 'number of record headers 1'],
    ['a negative number of headers', '0c000000010101', 1, 'number of record headers -1'],
    ['a header without a key', '1000000001010201' + '01', 1, 'negative header key size'],
    ['a varint of six bytes', '1800000080808080800101010100', 1, 'Varint is too long'],
    ['a varlong of eleven bytes', '2000ffffffffffffffffffff01000101' + '00', 1, 'Varlong is too long'],
    ['a varint cut off by the record', '0a0000008080' + '00', 1, 'ends inside a variable-length integer'],
  ])('%s', (_what, hex, count, message) => {
    if (message === undefined) {
      walk(cursorOver(hex, count));
      return;
    }
    const error = recordErrorOf(() => walk(cursorOver(hex, count)));
    expect(error.message).toContain(message);
    expect(error.codeName).toBe('INVALID_RECORD');
  });

  it('overlong but short enough varints are read as Java does', () => {
    const cursor = cursorOver('1c0080808080008080808000010100');
    expect(cursor.next()).toBe(true);
    expect([cursor.timestampDelta, cursor.offsetDelta]).toEqual([0, 0]);
  });
});

describe('hostile batches', () => {
  const records = [
    { timestamp: 1_700_000_000_000, key: Buffer.from('key'), value: Buffer.from('value '.repeat(20)) },
    {
      timestamp: 1_700_000_000_009,
      key: null,
      value: null,
      headers: [{ key: 'h', value: Buffer.from('v') }],
    },
    { timestamp: -1, key: Buffer.alloc(0), value: Buffer.alloc(0) },
  ];

  it.each(allCodecs)('%s: cut off at any byte, or with any bit flipped, give only RecordErrors', (codec) => {
    const batch = buildRecordBatch(records, { codec });
    for (let length = 0; length < batch.length; length++) {
      const error = recordErrorOf(() => decodeRecords(batch.subarray(0, length), 0));
      expect(['truncated', 'corrupt', 'unsupported-magic']).toContain(error.kind);
      // The same with a length that fits, so that what lies inside is cut.
      const shortened = Buffer.from(batch.subarray(0, Math.max(length, 61)));
      shortened.writeInt32BE(shortened.length - 12, 8);
      onlyRecordErrors(() => decodeRecords(shortened, 0, { limitBytes: 10_000 }));
    }
    for (let bit = 0; bit < batch.length * 8; bit++) {
      const hostile = Buffer.from(batch);
      hostile[bit >>> 3]! ^= 1 << (bit & 7);
      onlyRecordErrors(() => decodeRecords(hostile, 0, { limitBytes: 10_000 }));
    }
  });

  it('with any flipped bit from the attributes on fail the CRC', () => {
    const batch = buildRecordBatch(records);
    for (let bit = 17 * 8; bit < batch.length * 8; bit++) {
      batch[bit >>> 3]! ^= 1 << (bit & 7);
      expect(verifyCrc(batch, 0)).toBe(false);
      batch[bit >>> 3]! ^= 1 << (bit & 7);
    }
    expect(verifyCrc(batch, 0)).toBe(true);
  });

  it('that count two billion records allocate nothing for them', () => {
    const batch = buildRecordBatch(records);
    batch.writeInt32BE(0x7fffffff, 57);
    batch.writeUInt32BE(computeBatchCrc(batch, 0), 17);
    expect(recordErrorOf(() => decodeRecords(batch, 0)).message).toContain('cannot stand in');
  });

  it('that decompress above the limit are too large', () => {
    const batch = buildBatchFromSection(Buffer.alloc(100_000), {
      codec: 'zstd',
      baseOffset: 0,
      lastOffsetDelta: 0,
      baseTimestamp: 0,
      maxTimestamp: 0,
      recordCount: 1,
    });
    const error = recordErrorOf(() => decodeRecords(batch, 0, { limitBytes: 99_999 }));
    expect([error.kind, error.codeName]).toEqual(['too-large', 'MESSAGE_TOO_LARGE']);
  });
});
