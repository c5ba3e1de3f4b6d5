/**
 * Leader epochs (KIP-101, KIP-320) where the log has one epoch for all partitions, raised at each unclean start: what a client's
 * idea of the epoch is worth, and where an epoch ended. As Kafka's leader, ours knows its present epoch from the moment it
 * began, with or without records of it.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type { QueueBounds, QueueId, StorageEngine } from '../../storage/engine.ts';

/** "No epoch", in requests and answers. */
export const noEpoch = -1;

/** The error of a request made under `clientEpoch` (below 0: it does not say), or NONE. */
export function checkLeaderEpoch(clientEpoch: number, currentEpoch: number): number {
  if (clientEpoch < 0 || clientEpoch === currentEpoch) return errorCodes.NONE;
  return clientEpoch < currentEpoch ? errorCodes.FENCED_LEADER_EPOCH : errorCodes.UNKNOWN_LEADER_EPOCH;
}

export interface EpochEnd {
  /** -1 where nothing is known of the epoch asked for. */
  readonly epoch: number;
  readonly endOffset: number;
}

const unknownEpoch: EpochEnd = { epoch: noEpoch, endOffset: -1 };

/** Kafka's LeaderEpochFileCache.endOffsetFor: the largest epoch up to `epoch`, and the offset at which the next one begins. */
export function epochEnd(
  engine: Pick<StorageEngine, 'epoch' | 'findEpochEnd'>,
  queue: QueueId,
  bounds: QueueBounds,
  epoch: number,
): EpochEnd | Promise<EpochEnd> {
  if (epoch === engine.epoch) return { epoch, endOffset: bounds.visibleEndOffset };
  if (epoch < 0 || epoch > engine.epoch) return unknownEpoch;
  return engine.findEpochEnd(queue, epoch).then(
    // Every batch is of a later epoch: what was of this one ended where the first of them begins.
    (found) => found ?? { epoch, endOffset: bounds.startOffset },
  );
}
