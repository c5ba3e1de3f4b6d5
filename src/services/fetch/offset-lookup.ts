/**
 * Offsets by name and by time, for ListOffsets: where a partition begins and ends, and which record is the first of a time. Opens
 * the one batch in which the record must be. Knows nothing of request versions.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import { openBatch } from '../../../protocol/records/batch-records.ts';
import {
  batchBaseOffset,
  batchMaxTimestamp,
  batchSizeBytes,
  batchTimestampType,
} from '../../../protocol/records/record-batch.ts';
import { RecordError } from '../../../protocol/records/record-error.ts';
import { type Int64, safeIntegerOrUndefined } from '../../../protocol/wire/int64.ts';
import type { EntryFacts, QueueBounds, QueueId, StorageEngine } from '../../storage/engine.ts';
import { checkLeaderEpoch, noEpoch } from './leader-epoch.ts';
import type { StableOffsets } from './stable-offsets.ts';

/** Timestamps with a meaning of their own (ListOffsetsRequest). */
export const specialTimestamps = {
  latest: -1,
  earliest: -2,
  /** The record with the largest timestamp (KIP-734). */
  maxTimestamp: -3,
  /** The first offset that is not in tiered storage only (KIP-405): the first one, as there are no tiers. */
  earliestLocal: -4,
  /** The last offset in tiered storage (KIP-1005): none. */
  latestTiered: -5,
  /** The first offset that waits for tiered storage (KIP-1023): none. */
  earliestPendingUpload: -6,
} as const;

export interface FoundOffset {
  readonly errorCode: number;
  /** -1 where the question was not about time, or nothing was found. */
  readonly timestamp: number;
  /** -1 where nothing was found. */
  readonly offset: number;
  readonly leaderEpoch: number;
}

const notFound: FoundOffset = { errorCode: errorCodes.NONE, timestamp: -1, offset: -1, leaderEpoch: noEpoch };

export function failedLookup(errorCode: number): FoundOffset {
  return { errorCode, timestamp: -1, offset: -1, leaderEpoch: noEpoch };
}

export interface LookupTerms {
  readonly timestamp: Int64;
  /** -1: the client does not say. */
  readonly currentLeaderEpoch: number;
  readonly isReadCommitted: boolean;
}

/** Entries looked at whose largest timestamp promised a record that was not in them. */
const maxEntriesOpened = 16;

export class OffsetLookup {
  private readonly engine: StorageEngine;
  private readonly stableOffsets: StableOffsets;

  constructor(engine: StorageEngine, stableOffsets: StableOffsets) {
    this.engine = engine;
    this.stableOffsets = stableOffsets;
  }

  async find(queue: QueueId, terms: LookupTerms): Promise<FoundOffset> {
    const epochError = checkLeaderEpoch(terms.currentLeaderEpoch, this.engine.epoch);
    if (epochError !== errorCodes.NONE) return failedLookup(epochError);
    const bounds = await this.engine.bounds(queue);
    if (bounds === undefined) return failedLookup(errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    // What a client may fetch is what it is told of: nothing beyond the end that its isolation level has.
    const end = terms.isReadCommitted
      ? this.stableOffsets.lastStableOffset(queue, bounds.visibleEndOffset)
      : bounds.visibleEndOffset;
    switch (terms.timestamp) {
      case specialTimestamps.latest:
        return { errorCode: errorCodes.NONE, timestamp: -1, offset: end, leaderEpoch: this.engine.epoch };
      case specialTimestamps.earliest:
      case specialTimestamps.earliestLocal:
        return this.earliest(queue, bounds);
      case specialTimestamps.latestTiered:
      case specialTimestamps.earliestPendingUpload:
        return notFound;
      case specialTimestamps.maxTimestamp:
        return this.withLargestTime(queue, end);
      default: {
        const timestamp = safeIntegerOrUndefined(terms.timestamp);
        // A time that no number holds exactly is later than all there are.
        return timestamp === undefined ? notFound : this.byTime(queue, bounds, end, timestamp);
      }
    }
  }

  private async earliest(queue: QueueId, bounds: QueueBounds): Promise<FoundOffset> {
    const [first] = await this.engine.entries(queue, bounds.startOffset, 1);
    return {
      errorCode: errorCodes.NONE,
      timestamp: -1,
      offset: bounds.startOffset,
      leaderEpoch: first?.epoch ?? this.engine.epoch,
    };
  }

  private async withLargestTime(queue: QueueId, end: number): Promise<FoundOffset> {
    const entry = await this.engine.findLargestTime(queue);
    if (entry === undefined || entry.maxTimestampMs < 0) return notFound;
    return this.within(queue, entry, entry.maxTimestampMs, entry.baseOffset, end);
  }

  /** The first record, in offset order, of the time or a later one. */
  private async byTime(
    queue: QueueId,
    bounds: QueueBounds,
    end: number,
    timestamp: number,
  ): Promise<FoundOffset> {
    let entry = await this.engine.findByTime(queue, timestamp);
    for (let opened = 0; entry !== undefined && opened < maxEntriesOpened; opened++) {
      const found = await this.within(queue, entry, timestamp, bounds.startOffset, end);
      if (found.offset >= 0 || found.errorCode !== errorCodes.NONE) return found;
      // The record that the header promised is not there (a producer's header, or a trimmed one): on to the next entry.
      entry = await this.nextByTime(queue, entry, timestamp, end);
    }
    return notFound;
  }

  private async nextByTime(
    queue: QueueId,
    after: EntryFacts,
    timestamp: number,
    end: number,
  ): Promise<EntryFacts | undefined> {
    let from = after.baseOffset + after.count;
    while (from < end) {
      const entries = await this.engine.entries(queue, from, 100);
      if (entries.length === 0) return undefined;
      for (const entry of entries) {
        if (entry.maxTimestampMs >= timestamp) return entry;
        from = entry.baseOffset + entry.count;
      }
    }
    return undefined;
  }

  /** The first record of `entry` of the time or later, from `fromOffset` on and before `end`. */
  private async within(
    queue: QueueId,
    entry: EntryFacts,
    timestamp: number,
    fromOffset: number,
    end: number,
  ): Promise<FoundOffset> {
    if (entry.baseOffset >= end) return notFound;
    const read = await this.engine.read(queue, {
      fromOffset: Math.max(entry.baseOffset, fromOffset),
      maxBytes: 1,
      atLeastOne: true,
    });
    switch (read.outcome) {
      case 'damaged':
        return failedLookup(errorCodes.CORRUPT_MESSAGE);
      case 'unknown-queue':
        return failedLookup(errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
      case 'out-of-range':
        return notFound;
      case 'read':
    }
    try {
      const batch = read.payloads[0];
      return batch === undefined ? notFound : firstOfTime(batch, timestamp, fromOffset, end, entry.epoch);
    } catch (error) {
      if (error instanceof RecordError) return failedLookup(errorCodes[error.codeName]);
      throw error;
    } finally {
      read.release();
    }
  }
}

function firstOfTime(
  payload: Buffer,
  timestamp: number,
  fromOffset: number,
  end: number,
  epoch: number,
): FoundOffset {
  const batch = payload.subarray(0, batchSizeBytes(payload, 0));
  // All records have the batch's time, and it is the batch that was looked for.
  if (batchTimestampType(batch, 0) === 'LogAppendTime') {
    const offset = Math.max(Number(batchBaseOffset(batch, 0)), fromOffset);
    return found(batchMaxTimestamp(batch, 0), offset, end, epoch);
  }
  const records = openBatch(batch, 0);
  while (records.next()) {
    if (records.timestamp >= timestamp && records.offset >= fromOffset) {
      return found(records.timestamp, Number(records.offset), end, epoch);
    }
  }
  return notFound;
}

function found(timestamp: Int64, offset: number, end: number, epoch: number): FoundOffset {
  if (offset >= end) return notFound;
  return { errorCode: errorCodes.NONE, timestamp: Number(timestamp), offset, leaderEpoch: epoch };
}
