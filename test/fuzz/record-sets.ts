// Good record sets to start from, of every format and codec that there is here, and a repair of their checksums after a change, so
// that what lies behind the checksum meets hostile bytes too.
import { type CodecName, isCodecAvailable } from '../../protocol/records/compression.ts';
import { crc32 } from '../../protocol/records/crc32c.ts';
import { encodeMessageSet } from '../../protocol/records/message-set.ts';
import { computeBatchCrc } from '../../protocol/records/record-batch.ts';
import {
  buildBatchFromSection,
  buildEndTransactionMarker,
  buildRecordBatch,
} from '../../protocol/records/record-batch-builder.ts';
import type { Random } from './random.ts';

export const BOMB_BYTES = 8 * 1024 * 1024;

const LENGTH_AT = 8;
const MAGIC_AT = 16;
const BATCH_CRC_AT = 17;
const BATCH_HEADER_BYTES = 61;
const MESSAGE_CRC_AT = 12;

const codecs: readonly CodecName[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

function records(count: number) {
  return Array.from({ length: count }, (_, index) => ({
    offset: 1000 + index,
    timestamp: 1_700_000_000_000 + index,
    key: index % 3 === 0 ? null : Buffer.from(`key-${index}`),
    value: index % 4 === 1 ? null : Buffer.from(`value ${'x'.repeat(index * 7)}`),
    headers:
      index % 2 === 0
        ? []
        : [
            { key: 'h', value: Buffer.from('v') },
            { key: '', value: null },
          ],
  }));
}

/** Good record sets, every one of which decodes, and small batches that decompress to BOMB_BYTES of nothing. */
export function goodRecordSets(): { readonly sets: Buffer[]; readonly bombs: Buffer[] } {
  const sets: Buffer[] = [];
  const bombs: Buffer[] = [];
  for (const codec of codecs.filter((name) => isCodecAvailable(name))) {
    for (const count of [1, 3, 20]) {
      sets.push(
        buildRecordBatch(records(count), { codec, producerId: 7, producerEpoch: 1, baseSequence: 5 }),
      );
      if (codec === 'zstd') continue;
      for (const magic of [0, 1] as const) sets.push(encodeMessageSet(records(count), { magic, codec }));
    }
    if (codec === 'none') continue;
    // Little that becomes much: it must be stopped at the limit.
    bombs.push(
      buildBatchFromSection(Buffer.alloc(BOMB_BYTES), {
        codec,
        baseOffset: 0,
        lastOffsetDelta: 0,
        baseTimestamp: 0,
        maxTimestamp: 0,
        recordCount: 1,
      }),
    );
  }
  const marker = buildEndTransactionMarker(
    { result: 'commit', coordinatorEpoch: 3 },
    { baseOffset: 42, leaderEpoch: 1, timestamp: 1_700_000_000_000, producerId: 7, producerEpoch: 1 },
  );
  sets.push(marker, Buffer.concat([sets[0]!, marker, sets[1]!]));
  return { sets, bombs };
}

/** Makes length and checksum of the first entry right again, in place, where there is enough of it to have them. */
export function repairFirst(bytes: Buffer): void {
  if (bytes.length <= MAGIC_AT) return;
  const magic = bytes[MAGIC_AT]!;
  bytes.writeInt32BE(bytes.length - MESSAGE_CRC_AT, LENGTH_AT);
  if (magic === 2 && bytes.length >= BATCH_HEADER_BYTES)
    bytes.writeUInt32BE(computeBatchCrc(bytes, 0) >>> 0, BATCH_CRC_AT);
  else if (magic < 2)
    bytes.writeUInt32BE(crc32(bytes, MESSAGE_CRC_AT + 4, bytes.length) >>> 0, MESSAGE_CRC_AT);
}

/** Where a batch or message keeps fields worth breaking: offset in the entry and bytes. */
const fields: readonly (readonly [number, number])[] = [
  [0, 8],
  [LENGTH_AT, 4],
  [MAGIC_AT, 1],
  [17, 1],
  [21, 2],
  [23, 4],
  [27, 8],
  [35, 8],
  [57, 4],
  [61, 5],
  [18, 4],
  [22, 4],
  [26, 4],
];

/** A field of the header, or a varint of the records, at an edge of its type. */
export function breakField(random: Random, bytes: Buffer): Buffer {
  const result = Buffer.from(bytes);
  const [at, size] = random.oneIn(3)
    ? [random.below(result.length), 1 + random.below(5)]
    : random.pick(fields);
  const edge = random.pick([
    '00',
    '01',
    '7fffffff',
    '80000000',
    'ffffffff',
    'ffffffff0f',
    'ffffffffffffffffff01',
    'feffffff0f',
    '7f',
    '80',
  ]);
  const pattern = Buffer.from(edge, 'hex');
  for (let i = 0; i < size && at + i < result.length; i += 1) result[at + i] = pattern[i % pattern.length]!;
  return result;
}
