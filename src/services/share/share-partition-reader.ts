/**
 * Reads one share partition for a member: finds where it goes on, reads whole batches there, and has handed out what is free of them.
 * Knows nothing of requests, sessions and waiting.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import {
  batchBaseOffset,
  batchIsControl,
  batchIsTransactional,
  batchLastOffset,
  batchProducerId,
  batchSizeBytes,
  entryBounds,
} from '../../../protocol/records/record-batch.ts';
import type { QueueBounds, QueueId, StorageEngine } from '../../storage/engine.ts';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { OffsetLookup } from '../fetch/offset-lookup.ts';
import type { AbortedTransaction, StableOffsets } from '../fetch/stable-offsets.ts';
import type { TopicDirectory } from '../topics/topic.ts';
import type { ShareCoordinator } from './share-coordinator.ts';
import type { ShareKey } from './share-records.ts';
import type { ShareSettings } from './share-settings.ts';
import type { AcquiredRange, ReadBatch } from './share-window.ts';

export interface ShareReadTerms {
  readonly memberId: string;
  readonly maxBytes: number;
  /** One whole batch, even where it is larger than `maxBytes`. */
  readonly atLeastOne: boolean;
  readonly maxRecords: number;
  readonly isStrict: boolean;
  readonly batchSize: number;
}

export type ShareRead =
  | {
      readonly outcome: 'acquired';
      readonly ranges: readonly AcquiredRange[];
      readonly records: readonly Buffer[];
      readonly sizeBytes: number;
      readonly recordCount: number;
      release(): void;
    }
  /** Nothing is free now; more may come to the queue. */
  | { readonly outcome: 'nothing'; readonly queue: QueueId }
  | { readonly outcome: 'error'; readonly code: ErrorCode };

export interface SharePartitionReaderOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'byId'>;
  readonly coordinator: ShareCoordinator;
  readonly settings: ShareSettings;
  readonly stableOffsets: StableOffsets;
  readonly offsets: Pick<OffsetLookup, 'find'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** How often a read is begun anew because others were handed out meanwhile what it found. */
const maxAttempts = 5;

export class SharePartitionReader {
  readonly #options: SharePartitionReaderOptions;

  constructor(options: SharePartitionReaderOptions) {
    this.#options = options;
  }

  async read(key: ShareKey, terms: ShareReadTerms): Promise<ShareRead> {
    const { topics, engine, coordinator, settings } = this.#options;
    const topic = topics.byId(key.topicId);
    if (topic === undefined) return { outcome: 'error', code: errorCodes.UNKNOWN_TOPIC_ID };
    const queue = topic.partitions[key.partition]?.queue;
    if (queue === undefined) return { outcome: 'error', code: errorCodes.UNKNOWN_TOPIC_OR_PARTITION };
    const { isReadCommitted } = settings.of(key.groupId);
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const bounds = await engine.bounds(queue);
      if (bounds === undefined) return { outcome: 'error', code: errorCodes.UNKNOWN_TOPIC_OR_PARTITION };
      const place = coordinator.now(key, (machine) => machine.place(key))?.result;
      if (place === undefined || place.startOffset < bounds.startOffset) {
        const code = await this.#makeReady(key, queue, bounds);
        if (code !== errorCodes.NONE) return { outcome: 'error', code };
        continue;
      }
      if (place.parked.length > 0) {
        const read = await this.#readParked(key, queue, place.parked, bounds, terms);
        if (read !== undefined) return read;
      }
      const end = isReadCommitted
        ? this.#options.stableOffsets.lastStableOffset(queue, bounds.visibleEndOffset)
        : bounds.visibleEndOffset;
      if (!place.canAcquire || place.nextOffset >= end) return { outcome: 'nothing', queue };
      const read = await this.#readAt(key, queue, place.nextOffset, end, isReadCommitted, terms);
      if (read !== 'again') return read;
    }
    return { outcome: 'nothing', queue };
  }

  /** Reads the state, fixes where the share partition starts, moves it on where the log begins later. */
  async #makeReady(key: ShareKey, queue: QueueId, bounds: QueueBounds): Promise<ErrorCode> {
    const { coordinator, log } = this.#options;
    // The error that makes clients come again.
    const fail = (): ErrorCode => errorCodes.NOT_LEADER_OR_FOLLOWER;
    const isStarted = await coordinator.execute<boolean | ErrorCode>(key, fail, (machine, effects) => {
      if (machine.partition(key)?.window === undefined) return false;
      machine.moveStart(key, bounds.startOffset, effects);
      return true;
    });
    if (typeof isStarted === 'number') return isStarted;
    if (isStarted) {
      await coordinator.readParked(key);
      return errorCodes.NONE;
    }
    const startOffset = await this.#startOffset(key.groupId, queue, bounds);
    log.debug({ ...key, startOffset }, 'a share partition starts');
    return coordinator.execute<ErrorCode>(key, fail, (machine, effects) => {
      machine.start(key, startOffset, effects);
      return errorCodes.NONE;
    });
  }

  async #startOffset(groupId: string, queue: QueueId, bounds: QueueBounds): Promise<number> {
    const { settings, offsets, clock } = this.#options;
    const { offsetReset } = settings.of(groupId);
    switch (offsetReset.kind) {
      case 'earliest':
        return bounds.startOffset;
      case 'latest':
        return bounds.visibleEndOffset;
      case 'by-duration': {
        const timestamp = Math.max(0, clock.nowMs() - offsetReset.durationMs);
        const found = await offsets.find(queue, {
          timestamp,
          currentLeaderEpoch: -1,
          isReadCommitted: false,
        });
        return found.offset >= 0 ? found.offset : bounds.visibleEndOffset;
      }
    }
  }

  /** Parked records that are due, each with the batch that it stands in. Undefined where there is none to hand out after all. */
  async #readParked(
    key: ShareKey,
    queue: QueueId,
    offsets: readonly number[],
    bounds: QueueBounds,
    { memberId, maxBytes, maxRecords }: ShareReadTerms,
  ): Promise<ShareRead | undefined> {
    const { engine, coordinator, log } = this.#options;
    const found: number[] = [];
    const pieces: { readonly lastOffset: number; readonly bytes: Buffer }[] = [];
    const releases: (() => void)[] = [];
    let sizeBytes = 0;
    for (const offset of offsets.slice(0, maxRecords)) {
      if (pieces.length > 0 && offset <= pieces.at(-1)!.lastOffset) {
        found.push(offset);
        continue;
      }
      if (pieces.length > 0 && sizeBytes >= maxBytes) break;
      if (offset < bounds.startOffset) {
        log.warn({ ...key, offset }, 'a record that waited for its next delivery is gone from the log');
        await coordinator.dropParked(key, offset);
        continue;
      }
      const read = await engine.read(queue, { fromOffset: offset, maxBytes: 1, atLeastOne: true });
      if (read.outcome !== 'read') continue;
      const [batch] = batchesIn(read.payloads, []);
      if (batch === undefined || batch.firstOffset > offset) {
        read.release();
        // Compaction took it.
        await coordinator.dropParked(key, offset);
        continue;
      }
      releases.push(read.release);
      pieces.push({
        lastOffset: batch.lastOffset,
        bytes: batch.payload.subarray(batch.at, batch.at + batch.sizeBytes),
      });
      sizeBytes += batch.sizeBytes;
      found.push(offset);
    }
    const release = (): void => {
      for (const one of releases) one();
    };
    const ranges =
      coordinator.now(key, (machine) => machine.acquireParked(key, memberId, found))?.result ?? [];
    if (ranges.length === 0) {
      release();
      return undefined;
    }
    return {
      outcome: 'acquired',
      ranges,
      records: pieces.map(({ bytes }) => bytes),
      sizeBytes,
      recordCount: ranges.length,
      release,
    };
  }

  async #readAt(
    key: ShareKey,
    queue: QueueId,
    fromOffset: number,
    untilOffset: number,
    isReadCommitted: boolean,
    terms: ShareReadTerms,
  ): Promise<ShareRead | 'again'> {
    const { engine, coordinator, stableOffsets, log } = this.#options;
    const { maxBytes, atLeastOne, memberId, maxRecords, isStrict, batchSize } = terms;
    const read = await engine.read(queue, { fromOffset, untilOffset, maxBytes, atLeastOne });
    switch (read.outcome) {
      case 'out-of-range':
        return 'again';
      case 'unknown-queue':
        return { outcome: 'error', code: errorCodes.UNKNOWN_TOPIC_OR_PARTITION };
      case 'damaged':
        log.error({ ...key, offset: read.baseOffset }, 'a stored batch fails its check and cannot be read');
        return { outcome: 'error', code: errorCodes.CORRUPT_MESSAGE };
      case 'read':
    }
    if (read.sizeBytes === 0) {
      read.release();
      return { outcome: 'nothing', queue };
    }
    const aborted = isReadCommitted
      ? await stableOffsets.abortedTransactions(queue, read.baseOffset, read.nextOffset)
      : [];
    const batches = batchesIn(read.payloads, aborted);
    const acquired = coordinator.now(key, (machine, effects) => {
      const before = machine.partition(key)?.window?.nextFetchOffset;
      const ranges = machine.acquire(
        key,
        { memberId, fromOffset, batches, maxRecords, isStrict, batchSize },
        effects,
      );
      const after = machine.partition(key)?.window?.nextFetchOffset;
      return { ranges, isElsewhere: before !== fromOffset || after !== before };
    })?.result;
    if (acquired === undefined || acquired.ranges.length === 0) {
      read.release();
      return acquired === undefined || acquired.isElsewhere ? 'again' : { outcome: 'nothing', queue };
    }
    const { ranges } = acquired;
    const records = payloadsOf(batches, ranges);
    return {
      outcome: 'acquired',
      ranges,
      records,
      sizeBytes: records.reduce((sum, { length }) => sum + length, 0),
      recordCount: ranges.reduce((sum, range) => sum + range.lastOffset - range.firstOffset + 1, 0),
      release: read.release,
    };
  }
}

interface PlacedBatch extends ReadBatch {
  readonly payload: Buffer;
  readonly at: number;
  readonly sizeBytes: number;
}

/** Every batch that was read, those of aborted transactions and control batches marked. */
export function batchesIn(
  payloads: readonly Buffer[],
  aborted: readonly AbortedTransaction[],
): readonly PlacedBatch[] {
  const batches: PlacedBatch[] = [];
  const ahead = [...aborted].sort((a, b) => b.firstOffset - a.firstOffset);
  const open = new Set<number>();
  for (const payload of payloads) {
    for (let at = 0; entryBounds(payload, at) !== undefined; ) {
      const firstOffset = Number(batchBaseOffset(payload, at));
      const lastOffset = Number(batchLastOffset(payload, at));
      const sizeBytes = batchSizeBytes(payload, at);
      const producerId = Number(batchProducerId(payload, at));
      while (ahead.length > 0 && ahead.at(-1)!.firstOffset <= lastOffset) open.add(ahead.pop()!.producerId);
      const isControl = batchIsControl(payload, at);
      const isVoid = isControl || (batchIsTransactional(payload, at) && open.has(producerId));
      // The producer's next transaction may be a good one.
      if (isControl) open.delete(producerId);
      batches.push({ firstOffset, lastOffset, isVoid, payload, at, sizeBytes });
      at += sizeBytes;
    }
  }
  return batches;
}

/** The bytes of those batches that hold something of the ranges, both in offset order. */
function payloadsOf(batches: readonly PlacedBatch[], ranges: readonly AcquiredRange[]): Buffer[] {
  const pieces: Buffer[] = [];
  let range = 0;
  let run: { payload: Buffer; start: number; end: number } | undefined;
  const close = (): void => {
    if (run !== undefined) pieces.push(run.payload.subarray(run.start, run.end));
    run = undefined;
  };
  for (const { firstOffset, lastOffset, payload, at, sizeBytes } of batches) {
    while (range < ranges.length && ranges[range]!.lastOffset < firstOffset) range++;
    if (range === ranges.length) break;
    if (ranges[range]!.firstOffset > lastOffset) continue;
    if (run !== undefined && run.payload === payload && run.end === at) run.end = at + sizeBytes;
    else {
      close();
      run = { payload, start: at, end: at + sizeBytes };
    }
  }
  close();
  return pieces;
}
