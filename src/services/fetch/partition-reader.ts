/**
 * Reads one partition for a fetch: finds it, checks the client's epochs and offset, reads whole batches up to what the client
 * may see. Everything goes on in one turn of the event loop where the engine has the bytes at hand. Knows nothing of waiting and
 * of sessions.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import { RecordError } from '../../../protocol/records/record-error.ts';
import type { QueueBounds, QueueId, ReadResult, StorageEngine } from '../../storage/engine.ts';
import type { Log } from '../../util/log.ts';
import type { Topic, TopicDirectory } from '../topics/topic.ts';
import type { FetchTarget } from './fetch-target.ts';
import { checkLeaderEpoch, type EpochEnd, epochEnd, noEpoch } from './leader-epoch.ts';
import { inOldFormat, needsOldFormat } from './old-formats.ts';
import type { AbortedTransaction, StableOffsets } from './stable-offsets.ts';

const firstVersionWithTopicIds = 13;
const noRecords: readonly Buffer[] = [];

export interface ReadTerms {
  readonly version: number;
  readonly isReadCommitted: boolean;
}

export interface PartitionReaderOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly stableOffsets: StableOffsets;
  readonly log: Log;
}

export class PartitionReader {
  private readonly engine: StorageEngine;
  private readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  private readonly stableOffsets: StableOffsets;
  private readonly log: Log;

  constructor(options: PartitionReaderOptions) {
    this.engine = options.engine;
    this.topics = options.topics;
    this.stableOffsets = options.stableOffsets;
    this.log = options.log;
  }

  /** The target's queue, or the error code that stands for its absence, below 0 (-3: UNKNOWN_TOPIC_OR_PARTITION). */
  find(target: FetchTarget, version: number): QueueId {
    let topic: Topic | undefined;
    if (version >= firstVersionWithTopicIds) {
      topic = this.topics.byId(target.topicId);
      if (topic === undefined) return -this.errorOfLostId(target);
    } else {
      topic = this.topics.get(target.topicName);
      if (topic === undefined) return -errorCodes.UNKNOWN_TOPIC_OR_PARTITION;
    }
    target.foundName = topic.name;
    const partition = topic.partitions[target.index];
    return partition === undefined ? -errorCodes.UNKNOWN_TOPIC_OR_PARTITION : partition.queue;
  }

  /** As Kafka: an id that a session knew under a name that belongs to another topic now is told apart. */
  private errorOfLostId(target: FetchTarget): number {
    if (target.foundName === undefined) return errorCodes.UNKNOWN_TOPIC_ID;
    return this.topics.get(target.foundName) === undefined
      ? errorCodes.UNKNOWN_TOPIC_OR_PARTITION
      : errorCodes.INCONSISTENT_TOPIC_ID;
  }

  /**
   * Puts the partition's answer, `sizeBytes` and `release` into the target. `queue` is what `find` gave. At most `maxBytes`, but
   * one whole batch where `atLeastOne` is set.
   */
  read(
    target: FetchTarget,
    queue: QueueId,
    terms: ReadTerms,
    maxBytes: number,
    atLeastOne: boolean,
  ): void | Promise<void> {
    target.sizeBytes = 0;
    target.isBehind = true;
    if (queue < 0) {
      fail(target, -queue);
      return;
    }
    const epochError = checkLeaderEpoch(target.currentLeaderEpoch, this.engine.epoch);
    if (epochError !== errorCodes.NONE) {
      fail(target, epochError);
      return;
    }
    const bounds = this.engine.bounds(queue);
    if (bounds instanceof Promise) {
      return bounds.then((later) => this.readWithin(target, queue, later, terms, maxBytes, atLeastOne));
    }
    return this.readWithin(target, queue, bounds, terms, maxBytes, atLeastOne);
  }

  private readWithin(
    target: FetchTarget,
    queue: QueueId,
    bounds: QueueBounds | undefined,
    terms: ReadTerms,
    maxBytes: number,
    atLeastOne: boolean,
  ): void | Promise<void> {
    if (bounds === undefined) {
      fail(target, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
      return;
    }
    if (target.lastFetchedEpoch !== noEpoch) {
      const end = epochEnd(this.engine, queue, bounds, target.lastFetchedEpoch);
      if (end instanceof Promise) {
        return end.then((later) => {
          if (!this.hasDiverged(target, bounds, later)) {
            return this.readRecords(target, queue, bounds, terms, maxBytes, atLeastOne);
          }
        });
      }
      if (this.hasDiverged(target, bounds, end)) return;
    }
    return this.readRecords(target, queue, bounds, terms, maxBytes, atLeastOne);
  }

  /** KIP-595: the client's last batch is not what this log has there. Sets the answer where that is so. */
  private hasDiverged(target: FetchTarget, bounds: QueueBounds, end: EpochEnd): boolean {
    if (end.epoch === noEpoch || target.fetchOffset < bounds.startOffset) {
      fail(target, errorCodes.OFFSET_OUT_OF_RANGE);
      return true;
    }
    if (end.epoch >= target.lastFetchedEpoch && end.endOffset >= target.fetchOffset) return false;
    target.answer = {
      partitionIndex: target.index,
      errorCode: errorCodes.NONE,
      highWatermark: bounds.visibleEndOffset,
      lastStableOffset: bounds.visibleEndOffset,
      logStartOffset: bounds.startOffset,
      divergingEpoch: { epoch: end.epoch, endOffset: end.endOffset },
      abortedTransactions: null,
      records: noRecords,
    };
    return true;
  }

  private readRecords(
    target: FetchTarget,
    queue: QueueId,
    bounds: QueueBounds,
    terms: ReadTerms,
    maxBytes: number,
    atLeastOne: boolean,
  ): void | Promise<void> {
    const { fetchOffset } = target;
    if (fetchOffset < bounds.startOffset || fetchOffset > bounds.visibleEndOffset) {
      fail(target, errorCodes.OFFSET_OUT_OF_RANGE);
      return;
    }
    const stableOffset = this.stableOffsets.lastStableOffset(queue, bounds.visibleEndOffset);
    const readableEnd = terms.isReadCommitted ? stableOffset : bounds.visibleEndOffset;
    target.isBehind = fetchOffset < readableEnd;
    if (!target.isBehind || (maxBytes <= 0 && !atLeastOne)) {
      this.nothing(target, bounds, stableOffset, terms);
      return;
    }
    return this.readFrom(target, queue, fetchOffset, bounds, stableOffset, terms, maxBytes, atLeastOne);
  }

  private readFrom(
    target: FetchTarget,
    queue: QueueId,
    fromOffset: number,
    bounds: QueueBounds,
    stableOffset: number,
    terms: ReadTerms,
    maxBytes: number,
    atLeastOne: boolean,
  ): void | Promise<void> {
    const result = this.engine.read(
      queue,
      terms.isReadCommitted && stableOffset < bounds.visibleEndOffset
        ? { fromOffset, untilOffset: stableOffset, maxBytes, atLeastOne }
        : { fromOffset, maxBytes, atLeastOne },
    );
    if (result instanceof Promise) {
      return result.then((later) =>
        this.take(target, queue, later, bounds, stableOffset, terms, maxBytes, atLeastOne),
      );
    }
    return this.take(target, queue, result, bounds, stableOffset, terms, maxBytes, atLeastOne);
  }

  /** Makes what the engine read the target's answer. */
  private take(
    target: FetchTarget,
    queue: QueueId,
    result: ReadResult,
    bounds: QueueBounds,
    stableOffset: number,
    terms: ReadTerms,
    maxBytes: number,
    atLeastOne: boolean,
  ): void | Promise<void> {
    switch (result.outcome) {
      case 'out-of-range':
        fail(target, errorCodes.OFFSET_OUT_OF_RANGE);
        return;
      case 'unknown-queue':
        fail(target, errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
        return;
      case 'damaged':
        this.log.error(
          { topic: target.foundName, partition: target.index, offset: result.baseOffset },
          'a stored batch fails its check and cannot be read',
        );
        fail(target, errorCodes.CORRUPT_MESSAGE);
        return;
      case 'read':
    }
    if (result.sizeBytes === 0) {
      result.release();
      this.nothing(target, bounds, stableOffset, terms);
      return;
    }
    let records = result.payloads;
    let release: (() => void) | undefined = result.release;
    let sizeBytes = result.sizeBytes;
    if (needsOldFormat(terms.version)) {
      const old = inOldFormatOrNothing(terms.version, records, target.fetchOffset, result.nextOffset);
      if (old === undefined) {
        release();
        fail(target, errorCodes.CORRUPT_MESSAGE);
        return;
      }
      if (old.isCopy) {
        release();
        release = undefined;
      }
      if (old.errorCode !== errorCodes.NONE) {
        fail(target, old.errorCode);
        return;
      }
      if (old.sizeBytes === 0 && old.nextOffset < bounds.visibleEndOffset) {
        // Nothing of it can be shown to such a client, and it must not be left where it is.
        return this.readFrom(
          target,
          queue,
          old.nextOffset,
          bounds,
          stableOffset,
          terms,
          maxBytes,
          atLeastOne,
        );
      }
      records = old.records;
      sizeBytes = old.sizeBytes;
    }
    const aborted = terms.isReadCommitted
      ? this.stableOffsets.abortedTransactions(queue, result.baseOffset, result.nextOffset)
      : null;
    target.sizeBytes = sizeBytes;
    target.release = release;
    // The end may have moved on while the disk was read.
    const highWatermark = Math.max(bounds.visibleEndOffset, result.nextOffset);
    if (aborted instanceof Promise) {
      return aborted.then((later) => answer(target, bounds, highWatermark, stableOffset, later, records));
    }
    answer(target, bounds, highWatermark, stableOffset, aborted, records);
  }

  private nothing(target: FetchTarget, bounds: QueueBounds, stableOffset: number, terms: ReadTerms): void {
    answer(
      target,
      bounds,
      bounds.visibleEndOffset,
      stableOffset,
      terms.isReadCommitted ? noAborted : null,
      noRecords,
    );
  }
}

/** Undefined where the records cannot be opened: they are stored as their producer sent them. */
function inOldFormatOrNothing(
  ...args: Parameters<typeof inOldFormat>
): ReturnType<typeof inOldFormat> | undefined {
  try {
    return inOldFormat(...args);
  } catch (error) {
    if (error instanceof RecordError) return undefined;
    throw error;
  }
}

const noAborted: readonly AbortedTransaction[] = [];
const partitionErrors: ReadonlySet<number> = new Set([
  errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
  errorCodes.UNKNOWN_TOPIC_ID,
  errorCodes.INCONSISTENT_TOPIC_ID,
]);

function answer(
  target: FetchTarget,
  bounds: QueueBounds,
  highWatermark: number,
  lastStableOffset: number,
  abortedTransactions: readonly AbortedTransaction[] | null,
  records: readonly Buffer[],
): void {
  target.answer = {
    partitionIndex: target.index,
    errorCode: errorCodes.NONE,
    highWatermark,
    lastStableOffset,
    logStartOffset: bounds.startOffset,
    divergingEpoch: undefined,
    abortedTransactions,
    records,
  };
}

/** As Kafka: -1 for every offset, no records, and a list of aborted transactions only where there is no such partition. */
export function fail(target: FetchTarget, errorCode: number): void {
  target.sizeBytes = 0;
  target.answer = {
    partitionIndex: target.index,
    errorCode,
    highWatermark: -1,
    lastStableOffset: -1,
    logStartOffset: -1,
    divergingEpoch: undefined,
    abortedTransactions: partitionErrors.has(errorCode) ? noAborted : null,
    records: noRecords,
  };
}
