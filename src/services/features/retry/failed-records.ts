/** Loads the records that pointers name, as they lie in their topics, within a limit of bytes. A batch that several name is read once. */
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { codecNameOf } from '../../../../protocol/records/compression.ts';
import { batchCodecId, batchIsControl, isBatchIntact } from '../../../../protocol/records/record-batch.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import type { QueueId, StorageEngine } from '../../../storage/engine.ts';
import type { RetriedRecord } from './retried-record.ts';
import { maxRetryBatchBytes } from './retry-batch.ts';

/**
 * `gone`: it was there, and is not any more (retention, compaction), or cannot be read. `never`: it is not there yet. `marker`: no
 * record of anybody's. `too-much`: all together are larger than the limit.
 */
export type Loaded =
  | { readonly record: RetriedRecord }
  | { readonly missing: 'gone' | 'never' | 'marker' | 'too-much'; readonly why?: string };

/** Of all batches that are loaded for one produced batch; one batch is loaded however large it is. */
export const maxLoadedBytes = 16 * 1024 * 1024;

/** The records of one batch, by offset; or why there are none. */
interface LoadedBatch {
  readonly queue: QueueId;
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly records: ReadonlyMap<number, RetriedRecord>;
  readonly missing: Missing | undefined;
}

type Missing = Extract<Loaded, { readonly missing: string }>;

export class FailedRecords {
  private readonly engine: StorageEngine;
  /** Pointers to one batch mostly come one after the other. */
  private last: LoadedBatch | undefined;
  private bytes = 0;

  constructor(engine: StorageEngine) {
    this.engine = engine;
  }

  async load(queue: QueueId, offset: number): Promise<Loaded> {
    let batch = this.last;
    if (batch?.queue !== queue || offset < batch.baseOffset || offset >= batch.nextOffset) {
      const read = await this.read(queue, offset);
      if ('missing' in read && !('records' in read)) return read;
      batch = read as LoadedBatch;
      this.last = batch;
    }
    const record = batch.records.get(offset);
    // Compaction took it where the batch does not have it.
    return record === undefined ? (batch.missing ?? { missing: 'gone' }) : { record };
  }

  private async read(queue: QueueId, offset: number): Promise<LoadedBatch | Missing> {
    if (this.bytes >= maxLoadedBytes) return { missing: 'too-much' };
    const read = await this.engine.read(queue, { fromOffset: offset, maxBytes: 0, atLeastOne: true });
    if (read.outcome === 'unknown-queue') return { missing: 'gone', why: 'its topic is gone' };
    if (read.outcome === 'damaged') return { missing: 'gone', why: 'its bytes are damaged' };
    if (read.outcome === 'out-of-range') {
      return { missing: offset < read.bounds.startOffset ? 'gone' : 'never' };
    }
    const { baseOffset, nextOffset } = read;
    const bytes = Buffer.concat(read.payloads);
    read.release();
    if (bytes.length === 0) return { missing: 'never' };
    if (baseOffset > offset) return { missing: 'gone' };
    this.bytes += bytes.length;
    return { queue, baseOffset, nextOffset, ...recordsOf(bytes) };
  }
}

function recordsOf(bytes: Buffer): Pick<LoadedBatch, 'records' | 'missing'> {
  const records = new Map<number, RetriedRecord>();
  if (!isBatchIntact(bytes, 0, bytes.length)) {
    return { records, missing: { missing: 'gone', why: 'its bytes are damaged' } };
  }
  if (batchIsControl(bytes, 0)) return { records, missing: { missing: 'marker' } };
  const codec = codecNameOf(batchCodecId(bytes, 0));
  try {
    const cursor = openBatch(bytes, 0, { limitBytes: maxRetryBatchBytes });
    while (cursor.next()) {
      const { timestamp } = cursor;
      const record = {
        key: cursor.key(),
        value: cursor.value(),
        headers: cursor.headers(),
        timestamp,
        codec,
      };
      records.set(Number(cursor.offset), record);
    }
    return { records, missing: undefined };
  } catch (error) {
    if (!(error instanceof RecordError)) throw error;
    return { records: new Map(), missing: { missing: 'gone', why: error.message } };
  }
}
