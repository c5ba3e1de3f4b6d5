/** What the timer of a delayed batch keeps with it. Knows nothing of where rows lie. */
import type { QueueId } from '../../../storage/engine.ts';
import { timerKinds } from '../timers/timer-kinds.ts';
import { readUint64, type Timer, writeUint64 } from '../timers/timer-row.ts';

export interface DelayedBatch {
  /** base64url, as topics have it. */
  readonly topicId: string;
  readonly partition: number;
  readonly recordCount: number;
  /** Largest timestamp of the records, -1 for none. */
  readonly maxTimestampMs: number;
  readonly sizeBytes: number;
  /** When the broker took it. */
  readonly storedMs: number;
  /** The due time was changed: the record's own header tells another. */
  readonly isMoved: boolean;
  /** A batch with an id is one record. */
  readonly messageId: Buffer | undefined;
  /** The batch itself, where it is small; its source only tells it apart then. Else it lies there. */
  readonly inRow?: Buffer;
}

/**
 * Batches up to this size stand in their rows, which are read in due order: to fire them nothing else is read. Larger ones would be
 * written too often as the index merges its runs.
 */
export const largestBatchInRow = 512;

const formatVersion = 1;
/** The same with the length of the id (one byte) before it, and the batch behind it. */
const formatWithBatch = 2;
const topicIdAt = 2;
const topicIdBytes = 16;
const partitionAt = 18;
const countAt = 22;
const maxTimestampAt = 26;
const sizeAt = 34;
const storedAt = 38;
const idAt = 46;
const movedFlag = 1;
const idFlag = 2;

export function encodeDelayedBatch(batch: DelayedBatch): Buffer {
  const { messageId: id, inRow } = batch;
  const idBytes = id?.length ?? 0;
  const bytes = Buffer.allocUnsafe(idAt + idBytes + (inRow === undefined ? 0 : 1 + inRow.length));
  bytes[0] = inRow === undefined ? formatVersion : formatWithBatch;
  bytes[1] = (batch.isMoved ? movedFlag : 0) | (id === undefined ? 0 : idFlag);
  bytes.write(batch.topicId, topicIdAt, topicIdBytes, 'base64url');
  bytes.writeUInt32BE(batch.partition, partitionAt);
  bytes.writeUInt32BE(batch.recordCount, countAt);
  // One above, so that -1 is 0.
  writeUint64(bytes, batch.maxTimestampMs + 1, maxTimestampAt);
  bytes.writeUInt32BE(batch.sizeBytes, sizeAt);
  writeUint64(bytes, batch.storedMs, storedAt);
  if (inRow === undefined) id?.copy(bytes, idAt);
  else {
    bytes[idAt] = idBytes;
    id?.copy(bytes, idAt + 1);
    inRow.copy(bytes, idAt + 1 + idBytes);
  }
  return bytes;
}

/** The topic of an encoded batch, base64url. */
export function topicIdOf(bytes: Buffer): string {
  return bytes.toString('base64url', topicIdAt, topicIdAt + topicIdBytes);
}

/** Throws a RangeError on bytes that this version did not write. */
export function decodeDelayedBatch(bytes: Buffer): DelayedBatch {
  const format = bytes[0];
  if (bytes.length < idAt || (format !== formatVersion && format !== formatWithBatch)) {
    throw new RangeError(`the timer of a delayed batch in an unknown format ${bytes[0]}`);
  }
  const flags = bytes[1]!;
  const idFrom = format === formatWithBatch ? idAt + 1 : idAt;
  const idUntil = format === formatWithBatch ? idFrom + bytes[idAt]! : bytes.length;
  return {
    topicId: topicIdOf(bytes),
    partition: bytes.readUInt32BE(partitionAt),
    recordCount: bytes.readUInt32BE(countAt),
    maxTimestampMs: readUint64(bytes, maxTimestampAt) - 1,
    sizeBytes: bytes.readUInt32BE(sizeAt),
    storedMs: readUint64(bytes, storedAt),
    isMoved: (flags & movedFlag) !== 0,
    messageId: (flags & idFlag) === 0 ? undefined : bytes.subarray(idFrom, idUntil),
    ...(format === formatWithBatch ? { inRow: bytes.subarray(idUntil) } : {}),
  };
}

/** The timer of a batch that waits at this place (one in its row: for which that place is kept). */
export function delayTimer(batch: DelayedBatch, dueMs: number, queue: QueueId, offset: number): Timer {
  return {
    kind: timerKinds.delayedDelivery,
    dueMs,
    source: { queue, offset },
    payload: encodeDelayedBatch(batch),
  };
}
