/**
 * What compaction makes of one record batch: it stays as it is, it goes, or a smaller one takes its place at the same offsets. The rules
 * are Kafka's (Cleaner and MemoryRecords.filterTo, with delete horizons of KIP-534). Pure: time, map and transactions are handed in.
 *
 * Offset, producer, epoch, sequence and timestamp type stay; codec too. Records that stay keep their bytes unless the batch gets
 * a delete horizon, which takes the place of the base timestamp that they count from.
 */
import { decodeRecordsWithTimestamps, openBatch } from '../../../protocol/records/batch-records.ts';
import { codecNameOf } from '../../../protocol/records/compression.ts';
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
  NO_TIMESTAMP,
} from '../../../protocol/records/record-batch.ts';
import {
  type BatchOptions,
  buildBatchFromSection,
  buildRecordBatch,
} from '../../../protocol/records/record-batch-builder.ts';
import type { RecordCursor } from '../../../protocol/records/record-cursor.ts';
import { RecordError } from '../../../protocol/records/record-error.ts';
import type { Int64 } from '../../../protocol/wire/int64.ts';
import type { TransactionTrail } from './transaction-trail.ts';

/** The largest offset of each key in the part that was mapped. */
export interface LatestOffsets {
  /** -1 for a key that is not there. */
  get(key: Buffer): number;
}

export interface CompactionRules {
  readonly latest: LatestOffsets;
  /** What lies beyond is not judged. -1 where nothing was mapped. */
  readonly latestOffset: number;
  readonly nowMs: number;
  /** delete.retention.ms; Infinity for ever. */
  readonly deleteRetentionMs: number;
  /** The last batch of each live producer keeps its header, which says the sequence. */
  readonly lastOffsetOfProducer: (producerId: number) => number | undefined;
  readonly transactions: TransactionTrail;
  /** What a batch may decompress to. */
  readonly decompressedLimitBytes?: number | undefined;
}

export interface CompactedBatch {
  readonly verdict: 'keep' | 'drop' | Buffer;
  /** When its tombstones or its marker may go; undefined where it has none (or has not yet been given a time). */
  readonly deleteHorizonMs: number | undefined;
  readonly recordsBefore: number;
  readonly recordsAfter: number;
}

/**
 * Judges the batch that is the whole of `payload`, with its offset and epoch stamped. Batches must come in the order of their offsets.
 * One that `mustStay` keeps its header where its records go.
 * @throws RecordError where the batch cannot be opened: nothing may be dropped then
 */
export function compactBatch(payload: Buffer, mustStay: boolean, rules: CompactionRules): CompactedBatch {
  const isControl = batchIsControl(payload, 0);
  const baseOffset = exact(batchBaseOffset(payload, 0));
  const lastOffset = baseOffset + batchLastOffsetDelta(payload, 0);
  const markerUse = isControl ? rules.transactions.onControlBatch(payload, 0, lastOffset) : undefined;
  const isAborted = !isControl && rules.transactions.onDataBatch(payload, 0, lastOffset);
  const horizonMs = batchHasDeleteHorizon(payload, 0) ? asTime(batchBaseTimestamp(payload, 0)) : undefined;
  const isPastHorizon = horizonMs !== undefined && horizonMs <= rules.nowMs;
  const discards = isAborted || (markerUse === 'none' && isPastHorizon);
  const cursor = openBatch(payload, 0, { limitBytes: rules.decompressedLimitBytes });
  const kept = new KeptRecords();
  while (cursor.next()) {
    if (discards) continue;
    const keeps =
      isControl || keepsRecord(cursor, baseOffset, rules, horizonMs === undefined || !isPastHorizon);
    if (keeps) kept.add(cursor);
  }
  const recordsBefore = cursor.recordCount;
  if (kept.count === 0) {
    const staysEmpty = mustStay || isLastOfProducer(payload, lastOffset, rules);
    const verdict = !staysEmpty ? 'drop' : recordsBefore === 0 ? 'keep' : emptied(payload);
    return { verdict, deleteHorizonMs: undefined, recordsBefore, recordsAfter: 0 };
  }
  const needsHorizon =
    horizonMs === undefined &&
    (kept.hasTombstone || (isControl && markerUse !== 'needed')) &&
    rules.deleteRetentionMs >= 0;
  const recordsAfter = kept.count;
  if (needsHorizon && Number.isFinite(rules.deleteRetentionMs)) {
    const deleteHorizonMs = rules.nowMs + rules.deleteRetentionMs;
    if (Number.isSafeInteger(deleteHorizonMs)) {
      const verdict = withHorizon(payload, kept, deleteHorizonMs, rules.decompressedLimitBytes);
      return { verdict, deleteHorizonMs, recordsBefore, recordsAfter };
    }
  }
  // What is past its horizon and beyond the map is judged by the next pass, whenever that comes.
  const pending = (kept.hasTombstone || isControl) && !isPastHorizon ? horizonMs : undefined;
  const verdict = kept.count === recordsBefore ? 'keep' : shrunk(payload, kept, cursor);
  return { verdict, deleteHorizonMs: pending, recordsBefore, recordsAfter };
}

function keepsRecord(
  cursor: RecordCursor,
  baseOffset: number,
  rules: CompactionRules,
  keepsTombstones: boolean,
): boolean {
  const offset = baseOffset + cursor.offsetDelta;
  if (offset > rules.latestOffset) return true;
  const key = cursor.key();
  // It came before the topic was compacted.
  if (key === null) return false;
  return offset >= rules.latest.get(key) && (cursor.valueLength >= 0 || keepsTombstones);
}

/** Records that stay, as pieces of the section that they stand in. */
class KeptRecords {
  readonly indexes: number[] = [];
  /** Start and end of neighbouring records, in turn. */
  readonly ranges: number[] = [];
  sizeBytes = 0;
  hasTombstone = false;
  maxTimestamp: Int64 = NO_TIMESTAMP;

  get count(): number {
    return this.indexes.length;
  }

  add(cursor: RecordCursor): void {
    const { ranges } = this;
    this.indexes.push(cursor.index);
    const end = cursor.startsAt + cursor.sizeBytes;
    if (ranges.length > 0 && ranges.at(-1) === cursor.startsAt) ranges[ranges.length - 1] = end;
    else ranges.push(cursor.startsAt, end);
    this.sizeBytes += cursor.sizeBytes;
    if (cursor.valueLength < 0) this.hasTombstone = true;
    const { timestamp } = cursor;
    if (timestamp > this.maxTimestamp) this.maxTimestamp = timestamp;
  }
}

function isLastOfProducer(payload: Buffer, lastOffset: number, rules: CompactionRules): boolean {
  const producerId = batchProducerId(payload, 0);
  if (typeof producerId !== 'number' || producerId < 0) return false;
  return rules.lastOffsetOfProducer(producerId) === lastOffset;
}

function headerOf(payload: Buffer): BatchOptions & { readonly baseOffset: Int64 } {
  return {
    baseOffset: batchBaseOffset(payload, 0),
    leaderEpoch: batchLeaderEpoch(payload, 0),
    codec: codecNameOf(batchCodecId(payload, 0)),
    timestampType: batchTimestampType(payload, 0),
    producerId: batchProducerId(payload, 0),
    producerEpoch: batchProducerEpoch(payload, 0),
    baseSequence: batchBaseSequence(payload, 0),
    transactional: batchIsTransactional(payload, 0),
    control: batchIsControl(payload, 0),
    deleteHorizon: batchHasDeleteHorizon(payload, 0),
  };
}

/** The header alone, as Kafka's DefaultRecordBatch.writeEmptyHeader. */
function emptied(payload: Buffer): Buffer {
  return buildBatchFromSection(Buffer.alloc(0), {
    ...headerOf(payload),
    codec: 'none',
    deleteHorizon: false,
    lastOffsetDelta: batchLastOffsetDelta(payload, 0),
    baseTimestamp: NO_TIMESTAMP,
    maxTimestamp: batchMaxTimestamp(payload, 0),
    recordCount: 0,
  });
}

/** Fewer records, each with the bytes that it had. */
function shrunk(payload: Buffer, kept: KeptRecords, cursor: RecordCursor): Buffer {
  const section = Buffer.allocUnsafe(kept.sizeBytes);
  let at = 0;
  for (let range = 0; range < kept.ranges.length; range += 2) {
    at += cursor.buffer.copy(section, at, kept.ranges[range], kept.ranges[range + 1]);
  }
  return buildBatchFromSection(section, {
    ...headerOf(payload),
    lastOffsetDelta: batchLastOffsetDelta(payload, 0),
    baseTimestamp: batchBaseTimestamp(payload, 0),
    maxTimestamp: maxTimestampOf(payload, kept),
    recordCount: kept.count,
  });
}

/** The records that stay, counted from the delete horizon, which stands where the base timestamp did. */
function withHorizon(
  payload: Buffer,
  kept: KeptRecords,
  deleteHorizonMs: number,
  limitBytes: number | undefined,
): Buffer {
  const { records, storedTimestamps } = decodeRecordsWithTimestamps(payload, 0, { limitBytes });
  const inputs = kept.indexes.map((index) => ({
    ...records[index]!,
    timestamp: storedTimestamps[index]!,
  }));
  return buildRecordBatch(inputs, {
    ...headerOf(payload),
    deleteHorizon: true,
    baseTimestamp: deleteHorizonMs,
    maxTimestamp: maxTimestampOf(payload, kept),
    lastOffset: batchLastOffset(payload, 0),
  });
}

function maxTimestampOf(payload: Buffer, kept: KeptRecords): Int64 {
  return batchTimestampType(payload, 0) === 'LogAppendTime'
    ? batchMaxTimestamp(payload, 0)
    : kept.maxTimestamp;
}

/** Offsets that the engine stamped are safe integers. */
function exact(offset: Int64): number {
  if (typeof offset === 'number') return offset;
  throw new RecordError('corrupt', `No partition has the offset ${offset}`);
}

function asTime(value: Int64): number {
  if (typeof value === 'number') return value;
  return value < 0n ? -1 : Number.MAX_SAFE_INTEGER;
}
