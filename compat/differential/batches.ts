/** Record batches, sound ones and ones with a fault each. */
import { batchLayout, computeBatchCrc } from '../../protocol/records/record-batch.ts';
import { type BatchOptions, buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';

/** The same moment for both brokers. */
export const now = Date.now();
export const firstTimestamp = 1_600_000_000_000;

/** `count` records a second apart from `from` on. */
export function batch(count = 1, options: BatchOptions = {}, from = firstTimestamp, valueBytes = 10): Buffer {
  const records = Array.from({ length: count }, (_, index) => ({
    key: Buffer.from(`k${index}`),
    value: Buffer.alloc(valueBytes, 97 + (index % 26)),
    timestamp: from + index * 1_000,
    headers: index % 2 === 0 ? [] : [{ key: 'h', value: Buffer.from('v') }],
  }));
  return buildRecordBatch(records, options);
}

/** `buffer` after `change`, with a CRC that is right again. */
export function changed(buffer: Buffer, change: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(buffer);
  change(bytes);
  bytes.writeUInt32BE(computeBatchCrc(bytes, 0), batchLayout.crc);
  return bytes;
}

/** The fault, and the records with it. */
export const faultyRecords: Readonly<Record<string, () => Buffer>> = {
  'no bytes': () => Buffer.alloc(0),
  'five bytes': () => Buffer.alloc(5),
  zeros: () => Buffer.alloc(80),
  'crc wrong': () => {
    const bytes = batch(2);
    bytes.writeUInt32BE(1, batchLayout.crc);
    return bytes;
  },
  truncated: () => batch(2).subarray(0, -3),
  'a byte too many': () => Buffer.concat([batch(2), Buffer.alloc(1)]),
  'two batches': () => Buffer.concat([batch(1), batch(1)]),
  'magic 3': () => changed(batch(1), (bytes) => bytes.writeInt8(3, batchLayout.magic)),
  'magic -1': () => changed(batch(1), (bytes) => bytes.writeInt8(-1, batchLayout.magic)),
  'length too small': () => changed(batch(1), (bytes) => bytes.writeInt32BE(10, batchLayout.length)),
  'length negative': () => {
    const bytes = batch(1);
    bytes.writeInt32BE(-1, batchLayout.length);
    return bytes;
  },
  'count too small': () => changed(batch(3), (bytes) => bytes.writeInt32BE(2, batchLayout.recordCount)),
  'count too large': () => changed(batch(3), (bytes) => bytes.writeInt32BE(4, batchLayout.recordCount)),
  'count zero': () => changed(batch(3), (bytes) => bytes.writeInt32BE(0, batchLayout.recordCount)),
  'count negative': () => changed(batch(3), (bytes) => bytes.writeInt32BE(-1, batchLayout.recordCount)),
  'count huge': () => changed(batch(3), (bytes) => bytes.writeInt32BE(0x7fffffff, batchLayout.recordCount)),
  'last delta too small': () =>
    changed(batch(3), (bytes) => bytes.writeInt32BE(1, batchLayout.lastOffsetDelta)),
  'last delta too large': () =>
    changed(batch(3), (bytes) => bytes.writeInt32BE(5, batchLayout.lastOffsetDelta)),
  'last delta negative': () =>
    changed(batch(3), (bytes) => bytes.writeInt32BE(-1, batchLayout.lastOffsetDelta)),
  'codec 5': () => changed(batch(1), (bytes) => bytes.writeInt16BE(5, batchLayout.attributes)),
  'codec 7': () => changed(batch(1), (bytes) => bytes.writeInt16BE(7, batchLayout.attributes)),
  'codec gzip on plain bytes': () =>
    changed(batch(1), (bytes) => bytes.writeInt16BE(1, batchLayout.attributes)),
  'codec lz4 on plain bytes': () =>
    changed(batch(1), (bytes) => bytes.writeInt16BE(3, batchLayout.attributes)),
  'codec zstd on plain bytes': () =>
    changed(batch(1), (bytes) => bytes.writeInt16BE(4, batchLayout.attributes)),
  'log append time attribute': () =>
    changed(batch(1), (bytes) => bytes.writeInt16BE(8, batchLayout.attributes)),
  'control attribute': () => batch(1, { control: true }),
  'transactional without a producer': () => batch(1, { transactional: true }),
  'transactional of an unknown producer': () =>
    batch(1, { transactional: true, producerId: 7_000_000, producerEpoch: 0, baseSequence: 0 }),
  'producer without a sequence': () => batch(1, { producerId: 5_000, producerEpoch: 0 }),
  'producer without an epoch': () => batch(1, { producerId: 5_000, baseSequence: 0 }),
  'sequence without a producer': () => batch(1, { baseSequence: 4 }),
  'unused attribute bits': () =>
    changed(batch(1), (bytes) => bytes.writeInt16BE(0x80, batchLayout.attributes)),
  'delete horizon attribute': () =>
    changed(batch(1), (bytes) => bytes.writeInt16BE(0x40, batchLayout.attributes)),
  'base offset seven': () => batch(2, { baseOffset: 7 }),
  'no timestamp': () => batch(1, {}, -1),
  'timestamp minus two': () => batch(1, {}, -2),
  'timestamp of tomorrow': () => batch(1, {}, now + 86_400_000),
  'max timestamp missing': () =>
    changed(batch(2), (bytes) => bytes.writeBigInt64BE(-1n, batchLayout.maxTimestamp)),
  'max timestamp too large': () =>
    changed(batch(2), (bytes) =>
      bytes.writeBigInt64BE(BigInt(firstTimestamp + 50_000), batchLayout.maxTimestamp),
    ),
  'max timestamp too small': () =>
    changed(batch(2), (bytes) => bytes.writeBigInt64BE(BigInt(firstTimestamp), batchLayout.maxTimestamp)),
  'record length wrong': () => changed(batch(2), (bytes) => bytes.writeUInt8(2, 61)),
  'record offsets out of order': () => changed(batch(2), (bytes) => bytes.writeUInt8(2, 64)),
  'leader epoch 9': () => batch(1, { leaderEpoch: 9 }),
};
