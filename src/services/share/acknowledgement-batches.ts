/** Acknowledgements as requests carry them, checked before any share partition sees them. */
import { type Int64, safeIntegerOrUndefined } from '../../../protocol/wire/int64.ts';
import { acknowledgeTypes } from './record-states.ts';
import type { AcknowledgementBatch } from './share-window.ts';

export interface WireAcknowledgementBatch {
  readonly firstOffset: Int64;
  readonly lastOffset: Int64;
  readonly acknowledgeTypes: readonly number[];
}

/** The batches of one partition; undefined where they are not as KIP-932 has them: in order, apart, with types that there are. */
export function readAcknowledgements(
  batches: readonly WireAcknowledgementBatch[],
  mayRenew: boolean,
): readonly AcknowledgementBatch[] | undefined {
  const largestType = mayRenew ? acknowledgeTypes.renew : acknowledgeTypes.reject;
  const read: AcknowledgementBatch[] = [];
  let after = 0;
  for (const batch of batches) {
    const firstOffset = safeIntegerOrUndefined(batch.firstOffset);
    const lastOffset = safeIntegerOrUndefined(batch.lastOffset);
    const types = batch.acknowledgeTypes;
    if (firstOffset === undefined || lastOffset === undefined) return undefined;
    if (firstOffset < after || lastOffset < firstOffset || types.length === 0) return undefined;
    if (types.length > 1 && types.length !== lastOffset - firstOffset + 1) return undefined;
    if (types.some((type) => type < 0 || type > largestType)) return undefined;
    read.push({ firstOffset, lastOffset, types });
    after = lastOffset + 1;
  }
  return read;
}
