/** One partition that a fetch reads, in a request or remembered in a session, and what the last read of it gave. */

import { errorCodes } from '../../../protocol/error-codes.ts';
import type {
  FetchRequestFetchPartition,
  FetchResponsePartitionDataInput,
} from '../../../protocol/generated/01-fetch.ts';
import { safeIntegerOrUndefined } from '../../../protocol/wire/int64.ts';
import type { QueueId } from '../../storage/engine.ts';
import type { Topic } from '../topics/topic.ts';

export type PartitionAnswer = FetchResponsePartitionDataInput;

export class FetchTarget {
  /** '' where the request names the topic by its id. */
  readonly topicName: string;
  readonly topicId: string;
  readonly index: number;
  fetchOffset = -1;
  maxBytes = 0;
  currentLeaderEpoch = -1;
  lastFetchedEpoch = -1;

  /** The topic's name when it was last found: a session remembers it where the id ends. */
  foundName: string | undefined;
  /** What the last read gave; undefined before it. */
  answer: PartitionAnswer | undefined;
  /** There was more to read than nothing, or an error: not to be taken for read to the end. */
  isBehind = false;
  /** Bytes that it found, whether they are still held or not. */
  sizeBytes = 0;
  /** Gives back the buffers of `answer`; undefined where none are held. */
  release: (() => void) | undefined;

  /** The queue that `unwatch` is about; 0 for none. */
  watchedQueue: QueueId = 0;
  unwatch: (() => void) | undefined;
  /** Something may be new; in the list of what is read next. */
  isDirty = true;
  /** Taken out of its session. */
  isForgotten = false;
  /** Read for the answer that is being made. */
  isVisited = false;

  // What the client of a session was told last.
  sentHighWatermark = -1;
  sentLastStableOffset = -1;
  sentLogStartOffset = -1;

  constructor(topicName: string, topicId: string, index: number) {
    this.topicName = topicName;
    this.topicId = topicId;
    this.index = index;
  }

  ask(partition: FetchRequestFetchPartition): void {
    // An offset that is no safe integer is far beyond any end.
    this.fetchOffset = safeIntegerOrUndefined(partition.fetchOffset) ?? Number.MAX_SAFE_INTEGER;
    this.maxBytes = partition.partitionMaxBytes;
    this.currentLeaderEpoch = partition.currentLeaderEpoch;
    this.lastFetchedEpoch = partition.lastFetchedEpoch;
  }

  found(topic: Topic): void {
    this.foundName = topic.name;
  }

  giveBack(): void {
    const release = this.release;
    if (release === undefined) return;
    this.release = undefined;
    release();
  }

  stopWatching(): void {
    this.watchedQueue = 0;
    const unwatch = this.unwatch;
    if (unwatch === undefined) return;
    this.unwatch = undefined;
    unwatch();
  }

  /** Whether an incremental answer must mention the partition (KIP-227). */
  hasNews(): boolean {
    const answer = this.answer;
    return (
      answer !== undefined &&
      (this.sizeBytes > 0 ||
        answer.errorCode !== errorCodes.NONE ||
        answer.divergingEpoch !== undefined ||
        answer.highWatermark !== this.sentHighWatermark ||
        answer.lastStableOffset !== this.sentLastStableOffset ||
        answer.logStartOffset !== this.sentLogStartOffset)
    );
  }

  /** The answer leaves. */
  told(): void {
    const answer = this.answer!;
    const failed = answer.errorCode !== errorCodes.NONE;
    // After an error everything is news again.
    this.sentHighWatermark = failed ? -1 : Number(answer.highWatermark);
    this.sentLastStableOffset = failed ? -1 : Number(answer.lastStableOffset);
    this.sentLogStartOffset = failed ? -1 : Number(answer.logStartOffset);
  }
}
