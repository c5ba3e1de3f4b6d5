/**
 * Stored batches as a Fetch version can carry them: 0 and 1 get magic 0, 2 and 3 magic 1, and below 10 there is no zstd. From 10 on
 * what is stored is what is sent. Pure.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import { codecIds } from '../../../protocol/records/compression.ts';
import { convertBatchesDown } from '../../../protocol/records/convert.ts';
import { batchCodecId, entryBounds } from '../../../protocol/records/record-batch.ts';

const firstVersionOfMagic1 = 2;
const firstVersionOfMagic2 = 4;
const firstVersionWithZstd = 10;

/** True where stored batches cannot be sent to this Fetch version without a look at them. */
export function needsOldFormat(version: number): boolean {
  return version < firstVersionWithZstd;
}

export interface OldFormatRecords {
  readonly errorCode: number;
  readonly records: readonly Buffer[];
  readonly sizeBytes: number;
  /** Where to read on where `records` is empty and there is no error. */
  readonly nextOffset: number;
  /** The records are buffers of their own: those given may be let go. */
  readonly isCopy: boolean;
}

/**
 * @param payloads whole batches, back to back
 * @param fetchOffset what was asked for; the first batch holds it
 * @param nextOffset the offset after the last batch
 */
export function inOldFormat(
  version: number,
  payloads: readonly Buffer[],
  fetchOffset: number,
  nextOffset: number,
): OldFormatRecords {
  return version < firstVersionOfMagic2
    ? convertedDown(version, payloads, fetchOffset)
    : untilZstd(payloads, nextOffset);
}

function convertedDown(version: number, payloads: readonly Buffer[], fetchOffset: number): OldFormatRecords {
  const converted = convertBatchesDown(payloads.length === 1 ? payloads[0]! : Buffer.concat(payloads), {
    magic: version < firstVersionOfMagic1 ? 0 : 1,
    firstOffset: fetchOffset,
  });
  if (converted.outcome === 'refused') return refused(errorCodes[converted.error]);
  return {
    errorCode: errorCodes.NONE,
    records: converted.records.length === 0 ? [] : [converted.records],
    sizeBytes: converted.records.length,
    nextOffset: Number(converted.nextOffset),
    isCopy: true,
  };
}

/** Everything before the first zstd batch; an error where that is the first one. */
function untilZstd(payloads: readonly Buffer[], nextOffset: number): OldFormatRecords {
  let sizeBytes = 0;
  for (const [place, payload] of payloads.entries()) {
    for (let at = 0; ; ) {
      const bounds = entryBounds(payload, at);
      if (bounds === undefined) break;
      if (batchCodecId(payload, at) === codecIds.zstd) {
        if (sizeBytes + at === 0) return refused(errorCodes.UNSUPPORTED_COMPRESSION_TYPE);
        const kept = payloads.slice(0, place);
        if (at > 0) kept.push(payload.subarray(0, at));
        return {
          errorCode: errorCodes.NONE,
          records: kept,
          sizeBytes: sizeBytes + at,
          nextOffset,
          isCopy: false,
        };
      }
      at += bounds.sizeBytes;
    }
    sizeBytes += payload.length;
  }
  return { errorCode: errorCodes.NONE, records: payloads, sizeBytes, nextOffset, isCopy: false };
}

function refused(errorCode: number): OldFormatRecords {
  return { errorCode, records: [], sizeBytes: 0, nextOffset: -1, isCopy: true };
}
