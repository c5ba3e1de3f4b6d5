// Conversion of records between formats and codecs: messages of magic 0 and 1 up to one magic-2 batch (Produce 0 to 2), batches
// down to messages (Fetch 0 to 3), and a batch with another codec. Offsets and timestamps are kept exactly; headers have no
// place below magic 2. Judging bytes from outside gives values, as in batch-check.ts.

import type { Int64 } from '../wire/int64.ts';
import {
  type ProduceRules,
  RecordChecker,
  type Refused,
  refused,
  refusedBy,
  tooLarge,
} from './batch-check.ts';
import { decodeRecordsWithTimestamps, openBatch } from './batch-records.ts';
import { type CodecName, codecIds, codecNameOf } from './compression.ts';
import { addInt64, maxInt64 } from './int64-bytes.ts';
import { encodeMessageSet, type LegacyMagic, type MessageEntry, readMessageEntry } from './message-set.ts';
import {
  batchBaseOffset,
  batchBaseSequence,
  batchBaseTimestamp,
  batchCodecId,
  batchHasDeleteHorizon,
  batchIsControl,
  batchIsTransactional,
  batchLastOffset,
  batchLastOffsetDelta,
  batchLeaderEpoch,
  batchMaxTimestamp,
  batchProducerEpoch,
  batchProducerId,
  batchTimestampType,
  checkBatchBounds,
  entryBounds,
  NO_TIMESTAMP,
  setBatchMaxTimestamp,
  type TimestampType,
} from './record-batch.ts';
import {
  type BatchOptions,
  buildBatchFromSection,
  buildRecordBatch,
  type RecordInput,
} from './record-batch-builder.ts';
import { RecordError } from './record-error.ts';

export interface ConvertedBatch {
  readonly outcome: 'converted';
  /** One magic-2 batch, base offset 0. */
  readonly batch: Buffer;
  readonly recordCount: number;
  readonly maxTimestamp: Int64;
}

/**
 * The messages of one partition of a Produce 0 to 2 as one magic-2 batch from offset 0, judged as Kafka's LogValidator does: all of
 * one magic, a compressed wrapper alone, CRCs inside and out, keys and timestamps. A cut-off message at the end is left out.
 * Magic 0 has no timestamps: its records get -1, or all the append time where the topic wants that.
 */
export function convertMessagesUp(records: Buffer, rules: ProduceRules): ConvertedBatch | Refused {
  try {
    const entries = readEntries(records, rules);
    if (!Array.isArray(entries)) return entries;
    return buildConverted(entries, rules);
  } catch (error) {
    return refusedBy(error);
  }
}

function readEntries(records: Buffer, rules: ProduceRules): MessageEntry[] | Refused {
  const entries: MessageEntry[] = [];
  let at = 0;
  for (;;) {
    const bounds = entryBounds(records, at);
    if (bounds === undefined) break;
    const first = entries[0];
    if (first !== undefined) {
      if (bounds.magic !== first.magic) {
        return refused(
          'INVALID_RECORD',
          `Batch magic ${bounds.magic} is not the same as the first batch's magic byte ${first.magic} in topic partition ${rules.partitionName}`,
        );
      }
      if (first.codec !== 'none') return manyWrappers();
    }
    if (bounds.sizeBytes > rules.maxMessageBytes) return tooLarge(bounds.sizeBytes, rules);
    const entry = readMessageEntry(records.subarray(at, at + bounds.sizeBytes), 0, {
      limitBytes: rules.decompressedLimitBytes,
    });
    if (first !== undefined && entry.codec !== 'none') return manyWrappers();
    entries.push(entry);
    at += bounds.sizeBytes;
  }
  return entries.length > 0 ? entries : refused('INVALID_RECORD', 'Record batch has no batches at all');
}

function manyWrappers(): Refused {
  return refused('INVALID_RECORD', 'Compressed outer record has more than one batch');
}

function buildConverted(entries: readonly MessageEntry[], rules: ProduceRules): ConvertedBatch | Refused {
  const inputs: RecordInput[] = [];
  let maxTimestamp: Int64 = NO_TIMESTAMP;
  for (const entry of entries) {
    const checker = new RecordChecker(rules, entry.timestampType === 'LogAppendTime');
    for (const [index, record] of entry.records.entries()) {
      const { offset, timestamp, key, value } = record;
      checker.check(
        { offset, timestamp, keyLength: key?.length ?? -1, valueLength: value?.length ?? -1 },
        index,
      );
      maxTimestamp = maxInt64(maxTimestamp, timestamp);
      inputs.push({ timestamp, key, value });
    }
    const verdict = checker.verdict();
    if (verdict !== undefined) return verdict;
  }
  if (rules.timestampType === 'LogAppendTime') maxTimestamp = rules.nowMs;
  const batch = buildRecordBatch(inputs, {
    codec: rules.compression === 'producer' ? entries[0]!.codec : rules.compression,
    level: rules.compression === 'producer' ? undefined : rules.compressionLevel,
    timestampType: rules.timestampType,
    maxTimestamp,
  });
  if (batch.length > rules.maxMessageBytes) return tooLarge(batch.length, rules);
  return { outcome: 'converted', batch, recordCount: inputs.length, maxTimestamp };
}

export interface ConvertedMessages {
  readonly outcome: 'converted';
  /** Empty where there were only control batches. */
  readonly records: Buffer;
  /** One past the last offset that was converted or left out: read on from there when `records` is empty. */
  readonly nextOffset: Int64;
}

export interface DownConversion {
  /** 0 for Fetch 0 and 1, 1 for Fetch 2 and 3. */
  readonly magic: LegacyMagic;
  /** The offset that was asked for: records before it in an uncompressed batch are left out, as librdkafka wants. */
  readonly firstOffset: Int64;
  /** What one batch may decompress to. */
  readonly limitBytes?: number | undefined;
}

/**
 * Batches (whole, one after the other, with right offsets) as messages, by Kafka's rule (RecordsUtil.downConvert): control batches
 * and headers go, offsets and timestamps stay, codecs stay. A zstd batch cannot be converted: refused when it is the first that
 * holds records, the end of the answer otherwise.
 * @throws RecordError for bytes that are not sound: they come from the log, not from a client
 */
export function convertBatchesDown(batches: Buffer, conversion: DownConversion): ConvertedMessages | Refused {
  const converted: Buffer[] = [];
  let nextOffset = conversion.firstOffset;
  let at = 0;
  for (;;) {
    const bounds = entryBounds(batches, at);
    if (bounds === undefined) break;
    if (bounds.magic !== 2)
      throw new RecordError('unsupported-magic', `Magic ${bounds.magic} where 2 is needed`);
    checkBatchBounds(batches, at);
    if (!batchIsControl(batches, at)) {
      if (batchCodecId(batches, at) === codecIds.zstd) {
        if (converted.length > 0) break;
        return refused(
          'UNSUPPORTED_COMPRESSION_TYPE',
          'Down-conversion of zstandard-compressed batches is not supported',
        );
      }
      const messages = convertBatchDown(batches, at, conversion);
      if (messages.length > 0) converted.push(messages);
    }
    nextOffset = addInt64(batchLastOffset(batches, at), 1);
    at += bounds.sizeBytes;
  }
  return {
    outcome: 'converted',
    records: converted.length === 1 ? converted[0]! : Buffer.concat(converted),
    nextOffset,
  };
}

function convertBatchDown(batches: Buffer, at: number, conversion: DownConversion): Buffer {
  const codec = codecNameOf(batchCodecId(batches, at));
  const { firstOffset, limitBytes, magic } = conversion;
  const cursor = openBatch(batches, at, { limitBytes });
  const records = [];
  while (cursor.next()) {
    const { offset, timestamp } = cursor;
    if (codec === 'none' && offset < firstOffset) continue;
    records.push({ offset, timestamp, key: cursor.key(), value: cursor.value() });
  }
  const timestampType = batchTimestampType(batches, at);
  return encodeMessageSet(records, {
    magic,
    codec,
    timestampType,
    wrapperTimestamp: timestampType === 'LogAppendTime' ? batchMaxTimestamp(batches, at) : undefined,
  });
}

/** True when a batch at or after `at` uses the codec; reads headers only. For fetch versions that do not know zstd. */
export function hasBatchWithCodec(batches: Buffer, codec: CodecName): boolean {
  let at = 0;
  for (;;) {
    const bounds = entryBounds(batches, at);
    if (bounds === undefined) return false;
    if (bounds.magic === 2 && batchCodecId(batches, at) === codecIds[codec]) return true;
    at += bounds.sizeBytes;
  }
}

export interface Rewriting {
  /** The codec that the new batch shall have. */
  readonly codec: CodecName;
  readonly level?: number | undefined;
  /** Default: the batch's own. */
  readonly timestampType?: TimestampType | undefined;
  /** Default: the largest of the records (of a LogAppendTime batch: its append time). */
  readonly maxTimestamp?: Int64 | undefined;
  readonly limitBytes?: number | undefined;
  /** Give records the offset deltas 0, 1, 2 ... where a producer did otherwise. Default: keep them. */
  readonly renumber?: boolean | undefined;
}

/**
 * The batch at `at` built anew with another codec or timestamp rule; all else of the header is kept, records with their headers byte
 * for byte. The result owns its bytes.
 * @throws RecordError
 */
export function rewriteBatch(buffer: Buffer, at: number, rewriting: Rewriting): Buffer {
  const { codec, level, limitBytes } = rewriting;
  const cursor = openBatch(buffer, at, { limitBytes });
  const ownType = batchTimestampType(buffer, at);
  const timestampType = rewriting.timestampType ?? ownType;
  let largest: Int64 = NO_TIMESTAMP;
  let consecutive = true;
  let start = -1;
  let sizeBytes = 0;
  while (cursor.next()) {
    largest = maxInt64(largest, cursor.timestamp);
    if (cursor.offsetDelta !== cursor.index) consecutive = false;
    if (start < 0) start = cursor.startsAt;
    sizeBytes += cursor.sizeBytes;
  }
  const options: BatchOptions = {
    leaderEpoch: batchLeaderEpoch(buffer, at),
    codec,
    level,
    timestampType,
    producerId: batchProducerId(buffer, at),
    producerEpoch: batchProducerEpoch(buffer, at),
    baseSequence: batchBaseSequence(buffer, at),
    transactional: batchIsTransactional(buffer, at),
    control: batchIsControl(buffer, at),
    deleteHorizon: batchHasDeleteHorizon(buffer, at),
  };
  const baseOffset = batchBaseOffset(buffer, at);
  const baseTimestamp = batchBaseTimestamp(buffer, at);
  const maxTimestamp = rewriting.maxTimestamp ?? largest;
  if (rewriting.renumber === true && !consecutive) {
    const { records, storedTimestamps } = decodeRecordsWithTimestamps(buffer, at, { limitBytes });
    const inputs = records.map((record, index) => ({
      ...record,
      offset: undefined,
      timestamp: storedTimestamps[index],
    }));
    return buildRecordBatch(inputs, { ...options, baseOffset, baseTimestamp, maxTimestamp });
  }
  const section = start < 0 ? Buffer.alloc(0) : cursor.buffer.subarray(start, start + sizeBytes);
  return buildBatchFromSection(section, {
    ...options,
    baseOffset,
    baseTimestamp,
    maxTimestamp,
    lastOffsetDelta: batchLastOffsetDelta(buffer, at),
    recordCount: cursor.recordCount,
  });
}

/**
 * Puts the records' largest timestamp into the header of the batch at `at`, in place, with a new CRC; the type becomes CreateTime.
 * Returns the timestamp.
 * @throws RecordError
 */
export function fillMaxTimestamp(buffer: Buffer, at: number, limitBytes?: number): Int64 {
  const cursor = openBatch(buffer, at, { limitBytes });
  let largest: Int64 = NO_TIMESTAMP;
  while (cursor.next()) largest = maxInt64(largest, cursor.timestamp);
  setBatchMaxTimestamp(buffer, at, 'CreateTime', largest);
  return largest;
}
