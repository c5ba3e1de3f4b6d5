// From the records of a Produce request to the one magic-2 batch that is stored: judges, and converts, opens or restamps only where
// a rule asks for it. What most producers send comes out as the very bytes that came in.

import type { Int64 } from '../wire/int64.ts';
import {
  checkProducedRecords,
  checkRecordsDeep,
  type ProduceRules,
  type Refused,
  refusedBy,
  tooLarge,
} from './batch-check.ts';
import { codecNameOf } from './compression.ts';
import { convertMessagesUp, rewriteBatch } from './convert.ts';
import { batchCodecId, batchMaxTimestamp, setBatchMaxTimestamp } from './record-batch.ts';

export interface AdmittedBatch {
  readonly outcome: 'admitted';
  /** A view of the request's bytes, or bytes of its own where they had to change. Base offset 0, CRC right. */
  readonly batch: Buffer;
  readonly recordCount: number;
  readonly maxTimestamp: Int64;
}

/**
 * The batch to store for one partition of a Produce request. The request's bytes may be changed in place (timestamp type, largest
 * timestamp, CRC), so they must not be judged a second time.
 */
export function admitProducedRecords(records: Buffer | null, rules: ProduceRules): AdmittedBatch | Refused {
  const check = checkProducedRecords(records, rules);
  if (check.outcome === 'refused') return check;
  if (check.outcome === 'messages') {
    const converted = convertMessagesUp(records!, rules);
    return converted.outcome === 'refused' ? converted : { ...converted, outcome: 'admitted' };
  }
  const { recordCount, sizeBytes } = check;
  const batch = sizeBytes === records!.length ? records! : records!.subarray(0, sizeBytes);
  let maxTimestamp = batchMaxTimestamp(batch, 0);
  if (check.open.length > 0) {
    const opened = checkRecordsDeep(batch, rules);
    if (opened.outcome === 'refused') return opened;
    maxTimestamp = opened.maxTimestamp;
  }
  if (rules.timestampType === 'LogAppendTime') maxTimestamp = rules.nowMs;
  if (check.open.includes('compression-type')) {
    return rewritten(batch, recordCount, maxTimestamp, rules);
  }
  if (check.restamp || maxTimestamp !== batchMaxTimestamp(batch, 0)) {
    setBatchMaxTimestamp(batch, 0, rules.timestampType, maxTimestamp);
  }
  return { outcome: 'admitted', batch, recordCount, maxTimestamp };
}

function rewritten(
  batch: Buffer,
  recordCount: number,
  maxTimestamp: Int64,
  rules: ProduceRules,
): AdmittedBatch | Refused {
  const codec = rules.compression === 'producer' ? codecNameOf(batchCodecId(batch, 0)) : rules.compression;
  try {
    const rebuilt = rewriteBatch(batch, 0, {
      codec,
      level: rules.compressionLevel,
      timestampType: rules.timestampType,
      maxTimestamp,
      limitBytes: rules.decompressedLimitBytes,
      renumber: true,
    });
    if (rebuilt.length > rules.maxMessageBytes) return tooLarge(rebuilt.length, rules);
    return { outcome: 'admitted', batch: rebuilt, recordCount, maxTimestamp };
  } catch (error) {
    return refusedBy(error);
  }
}
