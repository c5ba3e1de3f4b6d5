import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import {
  convertBatchesDown,
  fillMaxTimestamp,
  hasBatchWithCodec,
  rewriteBatch,
} from '../../../protocol/records/convert.ts';
import {
  batchMaxTimestamp,
  setBatchMaxTimestamp,
  verifyCrc,
} from '../../../protocol/records/record-batch.ts';
import {
  buildEndTransactionMarker,
  buildRecordBatch,
} from '../../../protocol/records/record-batch-builder.ts';
import { decodeRecordSet } from '../../../protocol/records/record-set.ts';
import { allCodecs, record } from './record-samples.ts';

function down(batches: Buffer, magic: 0 | 1, firstOffset = 0) {
  const converted = convertBatchesDown(batches, { magic, firstOffset });
  if (converted.outcome === 'refused') throw new Error(converted.message);
  return { ...converted, set: decodeRecordSet(converted.records) };
}

describe('down-conversion', () => {
  it('keeps offsets, times of magic 1, keys, values and codecs, and drops headers', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(record, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 }),
        fc.constantFrom('none', 'gzip', 'snappy', 'lz4'),
        fc.constantFrom(0 as const, 1 as const),
        fc.nat(2 ** 40),
        (batches, codec, magic, start) => {
          let offset = start + 1;
          const built = batches.map((records) => {
            const batch = buildRecordBatch(records, { baseOffset: offset, codec, leaderEpoch: 4 });
            offset += records.length;
            return batch;
          });
          const { set, nextOffset } = down(Buffer.concat(built), magic);
          expect(nextOffset).toBe(offset);
          expect(set.batches.every((batch) => batch.codec === codec && batch.magic === magic)).toBe(true);
          const expected = built.flatMap((batch) => decodeRecords(batch, 0));
          expect(set.batches.flatMap((batch) => batch.records)).toEqual(
            expected.map((entry) => ({
              ...entry,
              timestamp: magic === 0 ? -1 : entry.timestamp,
              headers: [],
            })),
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  it('gives one message a record, or one wrapper a compressed batch', () => {
    const records = [{ value: Buffer.from('a') }, { value: Buffer.from('b') }];
    expect(down(buildRecordBatch(records), 1).set.batches.length).toBe(2);
    expect(down(buildRecordBatch(records, { codec: 'lz4' }), 1).set.batches.length).toBe(1);
  });

  it('starts an uncompressed batch at the offset asked for, a compressed one at its first', () => {
    const records = [1, 2, 3].map((value) => ({ value: Buffer.from([value]) }));
    const offsets = (codec: 'none' | 'gzip') =>
      down(buildRecordBatch(records, { baseOffset: 10, codec }), 1, 11).set.batches.flatMap((batch) =>
        batch.records.map((entry) => entry.offset),
      );
    expect(offsets('none')).toEqual([11, 12]);
    expect(offsets('gzip')).toEqual([10, 11, 12]);
  });

  it('drops control batches and says where to read on', () => {
    const marker = buildEndTransactionMarker(
      { result: 'abort', coordinatorEpoch: 0 },
      { baseOffset: 7, timestamp: 1, producerId: 1, producerEpoch: 0 },
    );
    const { records, nextOffset } = down(marker, 1, 7);
    expect([records.length, nextOffset]).toEqual([0, 8]);
  });

  it('keeps the append time of such a batch', () => {
    for (const codec of ['none', 'snappy'] as const) {
      const batch = buildRecordBatch([{ timestamp: 5 }, { timestamp: 6 }], {
        codec,
        timestampType: 'LogAppendTime',
        maxTimestamp: 99,
      });
      const { set } = down(batch, 1);
      expect(
        set.batches.every((entry) => entry.timestampType === 'LogAppendTime' && entry.maxTimestamp === 99),
      ).toBe(true);
      expect(set.batches.flatMap((entry) => entry.records.map((each) => each.timestamp))).toEqual([99, 99]);
    }
  });

  it('stops before zstd, and refuses it at the start', () => {
    const plain = buildRecordBatch([{ value: Buffer.from('a') }], { baseOffset: 4 });
    const zstd = buildRecordBatch([{ value: Buffer.from('a') }], { baseOffset: 5, codec: 'zstd' });
    const mixed = Buffer.concat([plain, zstd]);
    expect(down(mixed, 1).nextOffset).toBe(5);
    expect(convertBatchesDown(zstd, { magic: 0, firstOffset: 5 })).toMatchObject({
      outcome: 'refused',
      error: 'UNSUPPORTED_COMPRESSION_TYPE',
    });
    expect(hasBatchWithCodec(mixed, 'zstd')).toBe(true);
    expect(hasBatchWithCodec(plain, 'zstd')).toBe(false);
  });
});

describe('rewriting a batch', () => {
  it('changes the codec and nothing else', () => {
    fc.assert(
      fc.property(
        fc.array(record, { maxLength: 5 }),
        fc.constantFrom(...allCodecs),
        fc.constantFrom(...allCodecs),
        (records, from, to) => {
          const facts = { baseOffset: 9, leaderEpoch: 2, producerId: 3, producerEpoch: 4, baseSequence: 5 };
          const batch = buildRecordBatch(records, { ...facts, codec: records.length === 0 ? 'none' : from });
          const rewritten = rewriteBatch(batch, 0, { codec: to, maxTimestamp: batchMaxTimestamp(batch, 0) });
          const [before, after] = [batch, rewritten].map((bytes) => decodeRecordSet(bytes).batches[0]!);
          expect(after).toEqual({ ...before, codec: to, sizeInBytes: rewritten.length, crc: after!.crc });
        },
      ),
      { numRuns: 150 },
    );
  });

  it('puts in append time', () => {
    const batch = buildRecordBatch([{ timestamp: 5 }, { timestamp: 6 }], { codec: 'gzip' });
    const rewritten = rewriteBatch(batch, 0, {
      codec: 'lz4',
      timestampType: 'LogAppendTime',
      maxTimestamp: 50,
    });
    expect(decodeRecords(rewritten, 0).map((entry) => entry.timestamp)).toEqual([50, 50]);
  });
});

describe('a missing largest timestamp', () => {
  it.each(allCodecs)('%s: is filled in place', (codec) => {
    const batch = buildRecordBatch([{ timestamp: 5 }, { timestamp: 60 }, { timestamp: 7 }], {
      codec,
      maxTimestamp: -1,
    });
    expect(fillMaxTimestamp(batch, 0)).toBe(60);
    expect(batchMaxTimestamp(batch, 0)).toBe(60);
    expect(verifyCrc(batch, 0)).toBe(true);
    setBatchMaxTimestamp(batch, 0, 'LogAppendTime', 2n ** 60n);
    expect(batchMaxTimestamp(batch, 0)).toBe(2n ** 60n);
  });
});
