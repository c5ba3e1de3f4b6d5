import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkProducedRecords,
  checkRecordsDeep,
  type ProduceRules,
} from '../../../protocol/records/batch-check.ts';
import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import { encodeMessageSet } from '../../../protocol/records/message-set.ts';
import { type AdmittedBatch, admitProducedRecords } from '../../../protocol/records/produced-records.ts';
import {
  batchCodecId,
  batchMaxTimestamp,
  computeBatchCrc,
  verifyCrc,
} from '../../../protocol/records/record-batch.ts';
import {
  type BatchOptions,
  buildRecordBatch,
  type RecordInput,
} from '../../../protocol/records/record-batch-builder.ts';
import { decodeRecordSet } from '../../../protocol/records/record-set.ts';
import { allCodecs } from './record-samples.ts';

const now = 1_700_000_000_000;

function rules(change: Partial<ProduceRules> = {}): ProduceRules {
  return {
    produceVersion: 9,
    partitionName: 'topic-0',
    maxMessageBytes: 1_048_588,
    timestampType: 'CreateTime',
    timestampBeforeMaxMs: Number.POSITIVE_INFINITY,
    timestampAfterMaxMs: 3_600_000,
    compacted: false,
    compression: 'producer',
    nowMs: now,
    ...change,
  };
}

const keyed = (count: number): RecordInput[] =>
  Array.from({ length: count }, (_, index) => ({
    timestamp: now + index,
    key: Buffer.from('k'),
    value: Buffer.from(`v${index}`),
  }));

const batchOf = (count = 1, options: BatchOptions = {}) => buildRecordBatch(keyed(count), options);

/** The bytes with some of them changed. */
function edited(change: (bytes: Buffer) => void, bytes: Buffer): Buffer {
  change(bytes);
  return bytes;
}

/** The batch with bytes changed and the CRC made right again. */
function changed(batch: Buffer, change: (batch: Buffer) => void): Buffer {
  change(batch);
  batch.writeUInt32BE(computeBatchCrc(batch, 0), 17);
  return batch;
}

function verdictOf(records: Buffer | null, change: Partial<ProduceRules> = {}): string {
  const verdict = admitProducedRecords(records, rules(change));
  return verdict.outcome === 'refused' ? verdict.error : verdict.outcome;
}

function admitted(records: Buffer, change: Partial<ProduceRules> = {}): AdmittedBatch {
  const verdict = admitProducedRecords(records, rules(change));
  if (verdict.outcome === 'refused') throw new Error(`${verdict.error}: ${verdict.message}`);
  expect(verifyCrc(verdict.batch, 0)).toBe(true);
  expect(batchMaxTimestamp(verdict.batch, 0)).toBe(verdict.maxTimestamp);
  return verdict;
}

// Verdicts of Kafka 4.3.0 to the same bytes, but where a line says otherwise.
describe('header of a produced batch', () => {
  it.each<[string, string, () => Buffer | null, Partial<ProduceRules>?]>([
    ['a good one', 'admitted', () => batchOf(2)],
    ['any leader epoch', 'admitted', () => batchOf(1, { leaderEpoch: 77 })],
    ['no records', 'INVALID_RECORD', () => Buffer.alloc(0)],
    ['null records (Kafka answers nothing)', 'INVALID_RECORD', () => null],
    ['less than a batch', 'INVALID_RECORD', () => Buffer.alloc(10)],
    ['base offset 5', 'INVALID_RECORD', () => batchOf(1, { baseOffset: 5 })],
    ['a wrong CRC', 'CORRUPT_MESSAGE', () => edited((batch) => batch.writeUInt8(1, 70), batchOf())],
    ['length 13', 'CORRUPT_MESSAGE', () => edited((batch) => batch.writeInt32BE(13, 8), batchOf())],
    ['length 20', 'CORRUPT_MESSAGE', () => edited((batch) => batch.writeInt32BE(20, 8), batchOf())],
    ['length -1', 'CORRUPT_MESSAGE', () => edited((batch) => batch.writeInt32BE(-1, 8), batchOf())],
    ['a length beyond the end', 'INVALID_RECORD', () => batchOf().subarray(0, 70)],
    ['magic 3', 'CORRUPT_MESSAGE', () => edited((batch) => batch.writeInt8(3, 16), batchOf())],
    ['magic -1', 'CORRUPT_MESSAGE', () => edited((batch) => batch.writeInt8(-1, 16), batchOf())],
    ['magic 1', 'INVALID_RECORD', () => edited((batch) => batch.writeInt8(1, 16), batchOf())],
    // Kafka: UNKNOWN_SERVER_ERROR
    [
      'codec 5',
      'UNSUPPORTED_COMPRESSION_TYPE',
      () => changed(batchOf(), (batch) => batch.writeInt16BE(5, 21)),
    ],
    ['zstd in version 7', 'admitted', () => batchOf(1, { codec: 'zstd' }), { produceVersion: 7 }],
    [
      'zstd in version 6',
      'UNSUPPORTED_COMPRESSION_TYPE',
      () => batchOf(1, { codec: 'zstd' }),
      { produceVersion: 6 },
    ],
    [
      'last offset delta too small',
      'INVALID_RECORD',
      () => changed(batchOf(2), (batch) => batch.writeInt32BE(0, 23)),
    ],
    [
      'last offset delta too large',
      'INVALID_RECORD',
      () => changed(batchOf(2), (batch) => batch.writeInt32BE(5, 23)),
    ],
    [
      'last offset delta -1',
      'INVALID_RECORD',
      () => changed(batchOf(1), (batch) => batch.writeInt32BE(-1, 23)),
    ],
    ['count 0', 'INVALID_RECORD', () => changed(batchOf(1), (batch) => batch.writeInt32BE(0, 57))],
    ['count -1', 'INVALID_RECORD', () => changed(batchOf(1), (batch) => batch.writeInt32BE(-1, 57))],
    ['the control bit', 'INVALID_RECORD', () => batchOf(1, { control: true })],
    [
      'a producer id without a sequence',
      'INVALID_RECORD',
      () => batchOf(1, { producerId: 5, producerEpoch: 0 }),
    ],
    [
      'a producer id with one',
      'admitted',
      () => batchOf(1, { producerId: 5, producerEpoch: 0, baseSequence: 0 }),
    ],
    ['a sequence without a producer id', 'admitted', () => batchOf(1, { baseSequence: 5 })],
    ['producer id -5, which is none', 'admitted', () => batchOf(1, { producerId: -5 })],
    ['two batches', 'INVALID_RECORD', () => Buffer.concat([batchOf(), batchOf()])],
    [
      'a batch and twelve bytes of nothing',
      'CORRUPT_MESSAGE',
      () => Buffer.concat([batchOf(), Buffer.alloc(12)]),
    ],
    ['a batch and five bytes', 'admitted', () => Buffer.concat([batchOf(), Buffer.alloc(5)])],
    ['a batch and a part of one', 'admitted', () => Buffer.concat([batchOf(), batchOf().subarray(0, 50)])],
    [
      'attribute bits without meaning',
      'admitted',
      () => changed(batchOf(), (batch) => batch.writeInt16BE(0x7f80, 21)),
    ],
    ['the largest size allowed', 'admitted', () => batchOf(), { maxMessageBytes: 71 }],
    ['a byte more', 'MESSAGE_TOO_LARGE', () => batchOf(), { maxMessageBytes: 70 }],
    ['a magic-2 batch in version 2', 'admitted', () => batchOf(), { produceVersion: 2 }],
  ])('%s: %s', (_what, expected, make, change) => {
    expect(verdictOf(make(), change)).toBe(expected);
  });

  it('is all that is looked at for most batches: the bytes stay where and what they are', () => {
    for (const codec of allCodecs) {
      const batch = batchOf(3, { codec, maxTimestamp: now + 2 });
      const before = Buffer.from(batch);
      expect(admitted(batch).batch).toBe(batch);
      expect(batch.equals(before)).toBe(true);
    }
    const trailing = Buffer.concat([batchOf(), Buffer.alloc(5)]);
    expect(admitted(trailing).batch.length).toBe(trailing.length - 5);
  });

  it('says why it is to be opened', () => {
    const check = (batch: Buffer, change: Partial<ProduceRules> = {}) => {
      const verdict = checkProducedRecords(batch, rules(change));
      return verdict.outcome === 'batch' ? verdict.open : verdict;
    };
    expect(check(batchOf())).toEqual([]);
    expect(check(batchOf(), { compacted: true })).toEqual(['compacted']);
    expect(check(batchOf(), { compression: 'gzip' })).toEqual(['compression-type']);
    expect(check(batchOf(), { compression: 'none' })).toEqual([]);
    expect(check(batchOf(), { timestampBeforeMaxMs: 1000 })).toEqual(['timestamp-window']);
    expect(check(batchOf(1, { maxTimestamp: now + 1e9 }))).toEqual(['timestamp-window']);
    expect(check(batchOf(1, { maxTimestamp: -1 }))).toEqual(['max-timestamp']);
    expect(check(batchOf(1, { maxTimestamp: 0 }))).toEqual(['max-timestamp']);
  });
});

describe('timestamps of a produced batch', () => {
  it.each([-1, 0, now - 1])('a largest timestamp of %d that cannot be is computed', (maxTimestamp) => {
    expect(admitted(batchOf(3, { maxTimestamp, codec: 'lz4' })).maxTimestamp).toBe(now + 2);
  });

  it('one beyond the window that no record has is computed', () => {
    expect(admitted(batchOf(3, { maxTimestamp: now + 1e10 })).maxTimestamp).toBe(now + 2);
  });

  it('-1 in every record stays -1', () => {
    const { batch, maxTimestamp } = admitted(buildRecordBatch([{ timestamp: -1, value: Buffer.from('x') }]));
    expect(maxTimestamp).toBe(-1);
    expect(decodeRecords(batch, 0)[0]!.timestamp).toBe(-1);
  });

  it('append time replaces them where the topic says so, whatever they are', () => {
    const batch = buildRecordBatch([{ timestamp: now + 1e10 }, { timestamp: -1 }], { codec: 'snappy' });
    const { maxTimestamp } = admitted(batch, { timestampType: 'LogAppendTime' });
    expect(maxTimestamp).toBe(now);
    expect(decodeRecords(batch, 0).map((record) => record.timestamp)).toEqual([now, now]);
  });

  it('append time claimed by a producer is refused on such a topic, record by record', () => {
    const batch = batchOf(2, { timestampType: 'LogAppendTime', maxTimestamp: now });
    const verdict = admitProducedRecords(batch, rules({ timestampType: 'LogAppendTime' }));
    expect(verdict).toMatchObject({
      outcome: 'refused',
      error: 'INVALID_TIMESTAMP',
      message: 'One or more records have been rejected due to invalid timestamp',
    });
    expect(verdict.outcome === 'refused' && verdict.recordErrors).toEqual([
      {
        batchIndex: 0,
        message: `Invalid timestamp type in message DefaultRecord(offset=0, timestamp=${now}, key=1 bytes, value=2 bytes). Producer should not set timestamp type to LogAppendTime.`,
      },
      {
        batchIndex: 1,
        message: `Invalid timestamp type in message DefaultRecord(offset=1, timestamp=${now}, key=1 bytes, value=2 bytes). Producer should not set timestamp type to LogAppendTime.`,
      },
    ]);
  });

  it('append time claimed by a producer is taken back elsewhere, and refused without a time', () => {
    const { batch, maxTimestamp } = admitted(
      batchOf(2, { timestampType: 'LogAppendTime', maxTimestamp: now - 5 }),
    );
    expect(maxTimestamp).toBe(now - 5);
    expect(decodeRecords(batch, 0).map((record) => record.timestamp)).toEqual([now, now + 1]);
    expect(verdictOf(batchOf(2, { timestampType: 'LogAppendTime', maxTimestamp: -1 }))).toBe(
      'INVALID_TIMESTAMP',
    );
  });

  it('outside the window refuse the batch and name the records', () => {
    const late = buildRecordBatch([{ timestamp: now }, { timestamp: now + 3_600_001 }], { codec: 'gzip' });
    const verdict = admitProducedRecords(late, rules());
    expect(verdict.outcome === 'refused' && verdict.recordErrors).toEqual([
      {
        batchIndex: 1,
        message: `Timestamp ${now + 3_600_001} of message with offset 1 is out of range. The timestamp should be within [-9223370336854775807, ${now + 3_600_000}]`,
      },
    ]);
    const old = () => buildRecordBatch([{ timestamp: now - 1001 }, { timestamp: -1 }]);
    expect(verdictOf(old(), { timestampBeforeMaxMs: 1000 })).toBe('INVALID_TIMESTAMP');
    expect(verdictOf(old(), { timestampBeforeMaxMs: 1001 })).toBe('admitted');
    const unlimited = checkProducedRecords(old(), rules({ timestampBeforeMaxMs: Number(2n ** 63n - 1n) }));
    expect(unlimited.outcome === 'batch' && unlimited.open).toEqual([]);
  });
});

describe('compacted topics', () => {
  it('take no record without a key', () => {
    const noKeys = buildRecordBatch([
      { key: Buffer.from('k') },
      ...Array.from({ length: 4 }, () => ({ value: Buffer.from('a') })),
    ]);
    const verdict = admitProducedRecords(noKeys, rules({ compacted: true, partitionName: 'compact-0' }));
    expect(verdict.outcome).toBe('refused');
    if (verdict.outcome !== 'refused') return;
    expect(verdict.error).toBe('INVALID_RECORD');
    expect(verdict.recordErrors.map((error) => error.batchIndex)).toEqual([1, 2, 3, 4]);
    expect(verdict.recordErrors[0]!.message).toBe(
      'Compacted topic cannot accept message without key in topic partition compact-0',
    );
    expect(verdict.message).toMatch(
      /due to 4 record errors in total, .*: \[RecordError\(batchIndex=1, .*batchIndex=3, [^R]*\]$/,
    );
  });

  it('take an empty key', () => {
    expect(verdictOf(buildRecordBatch([{ timestamp: now, key: Buffer.alloc(0) }]), { compacted: true })).toBe(
      'admitted',
    );
  });

  it('a timestamp outside the window decides the code', () => {
    const both = buildRecordBatch([{ timestamp: now + 1e10, key: Buffer.from('k') }, { timestamp: now }]);
    expect(verdictOf(both, { compacted: true })).toBe('INVALID_TIMESTAMP');
  });
});

describe('compression.type', () => {
  it('of the topic is what the batch gets, with all facts kept', () => {
    for (const from of allCodecs) {
      for (const to of allCodecs) {
        const batch = buildRecordBatch(keyed(20), {
          codec: from,
          producerId: 2 ** 53 - 1,
          producerEpoch: 5,
          baseSequence: 2147483647,
          transactional: true,
        });
        const before = decodeRecordSet(batch).batches[0]!;
        const { batch: after } = admitted(batch, { compression: to });
        expect(decodeRecordSet(after).batches[0]).toEqual({
          ...before,
          codec: to,
          sizeInBytes: after.length,
          crc: after.readUInt32BE(17),
        });
      }
    }
  });

  it('gives records of a careless producer consecutive offsets', () => {
    const batch = changed(buildRecordBatch([{ offset: 0 }, { offset: 5 }], { baseOffset: 0 }), (bytes) =>
      bytes.writeInt32BE(1, 23),
    );
    expect(
      decodeRecords(admitted(batch, { compression: 'gzip' }).batch, 0).map((record) => record.offset),
    ).toEqual([0, 1]);
  });

  it('counts again for the size limit', () => {
    const batch = buildRecordBatch([{ timestamp: now, value: Buffer.alloc(10_000) }], { codec: 'gzip' });
    expect(verdictOf(batch, { compression: 'none', maxMessageBytes: 1000 })).toBe('MESSAGE_TOO_LARGE');
  });

  it('never opens more than the limit', () => {
    const batch = buildRecordBatch([{ timestamp: now, value: Buffer.alloc(100_000) }], { codec: 'zstd' });
    expect(verdictOf(batch, { compression: 'none', decompressedLimitBytes: 50_000 })).toBe(
      'MESSAGE_TOO_LARGE',
    );
  });
});

describe('opening a batch', () => {
  it.each(allCodecs)('%s: tells what the header cannot', (codec) => {
    const opened = checkRecordsDeep(
      buildRecordBatch([{ timestamp: 5 }, { timestamp: 9 }, { timestamp: 7 }], { codec }),
      rules(),
    );
    expect(opened).toEqual({
      outcome: 'opened',
      maxTimestamp: 9,
      uncompressedBytes: 21,
      offsetsConsecutive: true,
    });
  });

  it('refuses a count that is not the number of records', () => {
    for (const count of [1, 3]) {
      const batch = changed(batchOf(2), (bytes) => {
        bytes.writeInt32BE(count - 1, 23);
        bytes.writeInt32BE(count, 57);
      });
      expect(verdictOf(batch, { compacted: true })).toBe('INVALID_RECORD');
    }
  });

  it('refuses broken compressed data as an invalid record', () => {
    for (const codec of allCodecs) {
      if (codec === 'none') continue;
      const batch = changed(batchOf(3, { codec }), (bytes) => bytes.fill(0xff, 61));
      expect(verdictOf(batch, { compacted: true })).toBe('INVALID_RECORD');
    }
  });
});

describe('hostile produced records', () => {
  it('give a verdict, whatever they are', () => {
    const seeds = [
      ...allCodecs.map((codec) => batchOf(3, { codec })),
      encodeMessageSet([{ offset: 0, timestamp: now, key: null, value: Buffer.from('x') }], {
        magic: 1,
        codec: 'gzip',
      }),
    ];
    fc.assert(
      fc.property(
        fc.nat(seeds.length - 1),
        fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }),
        fc.nat(200),
        fc.boolean(),
        fc.constantFrom(0, 2, 3, 9),
        (seed, changes, cut, fixCrc, produceVersion) => {
          const bytes = Buffer.from(
            seeds[seed]!.subarray(0, Math.max(0, seeds[seed]!.length - (cut < 150 ? 0 : cut - 150))),
          );
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
          if (fixCrc && bytes.length > 61 && bytes.readInt32BE(8) === bytes.length - 12) {
            bytes.writeUInt32BE(computeBatchCrc(bytes, 0), 17);
          }
          const verdict = admitProducedRecords(
            bytes,
            rules({
              produceVersion,
              compacted: cut % 2 === 0,
              compression: cut % 3 === 0 ? 'lz4' : 'producer',
              decompressedLimitBytes: 10_000,
            }),
          );
          expect(['admitted', 'refused']).toContain(verdict.outcome);
          if (verdict.outcome === 'admitted') expect(verifyCrc(verdict.batch, 0)).toBe(true);
        },
      ),
      { numRuns: 3000 },
    );
  });
});

// Kafka 3.9.1, the last that served these versions, makes the same of the same bytes.
describe('Produce 0 to 2', () => {
  const messages = [
    { offset: 0, timestamp: now, key: null, value: Buffer.from('a') },
    { offset: 1, timestamp: now - 1, key: Buffer.from('k'), value: null },
    { offset: 2, timestamp: now - 2, key: Buffer.from('k'), value: Buffer.from('c') },
  ];
  const legacyCodecs = allCodecs.filter((codec) => codec !== 'zstd');
  const old = { produceVersion: 2 };

  it.each([0, 1] as const)('messages of magic %d become one batch of their codec', (magic) => {
    for (const codec of legacyCodecs) {
      const { batch, recordCount } = admitted(encodeMessageSet(messages, { magic, codec }), old);
      const [decoded, ...more] = decodeRecordSet(batch).batches;
      expect(more).toEqual([]);
      expect(recordCount).toBe(3);
      expect([decoded!.codec, decoded!.baseOffset, decoded!.lastOffset]).toEqual([codec, 0, 2]);
      expect(decoded!.records.map(({ key, value }) => [key, value])).toEqual(
        messages.map(({ key, value }) => [key, value]),
      );
      expect(decoded!.records.map((record) => record.timestamp)).toEqual(
        magic === 0 ? [-1, -1, -1] : [now, now - 1, now - 2],
      );
      expect(decoded!.maxTimestamp).toBe(magic === 0 ? -1 : now);
    }
  });

  it("get the topic's codec and append time", () => {
    const set = encodeMessageSet(messages, { magic: 0, codec: 'lz4' });
    const { batch } = admitted(set, { ...old, compression: 'gzip', timestampType: 'LogAppendTime' });
    expect(batchCodecId(batch, 0)).toBe(1);
    expect(decodeRecords(batch, 0).map((record) => record.timestamp)).toEqual([now, now, now]);
  });

  it('leave out a message that is cut off at the end', () => {
    const set = encodeMessageSet(messages, { magic: 1, codec: 'none' });
    expect(admitted(set.subarray(0, set.length - 5), old).recordCount).toBe(2);
  });

  it('offsets that the producer made up do not matter', () => {
    for (const codec of legacyCodecs) {
      const set = encodeMessageSet(
        messages.map((message) => ({ ...message, offset: message.offset * 3 + 100 })),
        { magic: 1, codec },
      );
      expect(decodeRecords(admitted(set, old).batch, 0).map((record) => record.offset)).toEqual([0, 1, 2]);
    }
  });

  it.each<[string, string, () => Buffer, Partial<ProduceRules>?]>([
    [
      'two wrappers',
      'INVALID_RECORD',
      () =>
        Buffer.concat([
          encodeMessageSet(messages, { magic: 1, codec: 'gzip' }),
          encodeMessageSet(messages, { magic: 1, codec: 'gzip' }),
        ]),
    ],
    [
      'messages and a wrapper',
      'INVALID_RECORD',
      () =>
        Buffer.concat([
          encodeMessageSet(messages, { magic: 1, codec: 'none' }),
          encodeMessageSet(messages, { magic: 1, codec: 'gzip' }),
        ]),
    ],
    [
      'magic 0 and 1',
      'INVALID_RECORD',
      () =>
        Buffer.concat([
          encodeMessageSet(messages, { magic: 0, codec: 'none' }),
          encodeMessageSet(messages, { magic: 1, codec: 'none' }),
        ]),
    ],
    [
      'no key on a compacted topic',
      'INVALID_RECORD',
      () => encodeMessageSet(messages, { magic: 1, codec: 'none' }),
      { compacted: true },
    ],
    [
      'a time out of the window',
      'INVALID_TIMESTAMP',
      () => encodeMessageSet([{ ...messages[0]!, timestamp: now + 1e9 }], { magic: 1, codec: 'none' }),
    ],
    [
      'a wrong CRC',
      'CORRUPT_MESSAGE',
      () => edited((set) => set.writeUInt8(9, 33), encodeMessageSet(messages, { magic: 1, codec: 'none' })),
    ],
    [
      'too large a message',
      'MESSAGE_TOO_LARGE',
      () => encodeMessageSet(messages, { magic: 1, codec: 'none' }),
      { maxMessageBytes: 34 },
    ],
    [
      'in version 3',
      'INVALID_RECORD',
      () => encodeMessageSet(messages, { magic: 1, codec: 'none' }),
      { produceVersion: 3 },
    ],
  ])('%s: %s', (_what, expected, make, change) => {
    expect(verdictOf(make(), { ...old, ...change })).toBe(expected);
  });
});
