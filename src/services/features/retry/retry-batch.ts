/**
 * What a batch produced to a retry topic says: of each record, what failed and what shall become of it. A pointer (no value, header
 * rmq-origin) names the record that failed, and the broker loads it; everything else is the record itself, copied. Pure.
 */
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { codecNameOf } from '../../../../protocol/records/compression.ts';
import { addInt64 } from '../../../../protocol/records/int64-bytes.ts';
import { batchBaseTimestamp, batchCodecId } from '../../../../protocol/records/record-batch.ts';
import type { RecordCursor, RecordHeader } from '../../../../protocol/records/record-cursor.ts';
import type { RecordFault } from '../../append/append-result.ts';
import { maxRecordFaults } from '../../append/batch-admission.ts';
import { controlHeaderFeature } from '../control-headers.ts';
import { shown } from '../delay/delay-headers.ts';
import type { RetriedRecord } from './retried-record.ts';
import {
  errorHeader,
  errorValue,
  isRetryHeader,
  originHeader,
  type RecordPlace,
  readPlace,
  retryActionHeader,
  retryDelayHeader,
  retryTopicHeader,
  timesHeader,
} from './retry-headers.ts';
import { longestRetryDelayMs } from './retry-schedule.ts';

/** A record that failed. */
export interface Nack {
  /** Of the record in its batch. */
  readonly index: number;
  /** As it was produced; undefined where the broker itself says so. */
  readonly record?: RetriedRecord;
  /** What failed: where it lies, or the record itself. */
  readonly failed: { readonly place: RecordPlace } | { readonly record: RetriedRecord };
  readonly action: 'retry' | 'dlq';
  /** Undefined: the group's schedule. */
  readonly delayMs: number | undefined;
  readonly error: Buffer | undefined;
  /** How often it had failed before, where the headers say it. */
  readonly times: number | undefined;
}

export type ReadNacks =
  | { readonly nacks: readonly Nack[] }
  | { readonly faults: readonly RecordFault[] }
  | { readonly tooMany: string };

/** Failures that one batch may tell of. */
export const maxNacks = 10_000;
/** What one batch may decompress to. */
export const maxRetryBatchBytes = 64 * 1024 * 1024;
const mostTimes = 2_147_483_647;

/** `batch` must stay as it is: what is read are views of it. @throws RecordError where it cannot be opened */
export function readNacks(batch: Buffer): ReadNacks {
  const cursor = openBatch(batch, 0, { limitBytes: maxRetryBatchBytes });
  if (cursor.recordCount > maxNacks) {
    return { tooMany: `A batch may have ${maxNacks} records that failed, not ${cursor.recordCount}` };
  }
  const nacks: Nack[] = [];
  const faults: RecordFault[] = [];
  const common = { baseTimestamp: batchBaseTimestamp(batch, 0), codec: codecNameOf(batchCodecId(batch, 0)) };
  while (cursor.next()) {
    const read = readNack(cursor, common);
    if (!('fault' in read)) nacks.push(read);
    else if (faults.length < maxRecordFaults) {
      faults.push({ batchIndex: cursor.index, batchIndexErrorMessage: read.fault });
    }
  }
  return faults.length > 0 ? { faults } : { nacks };
}

function readNack(
  cursor: RecordCursor,
  { baseTimestamp, codec }: Pick<RetriedRecord, 'codec'> & { readonly baseTimestamp: number | bigint },
): Nack | { readonly fault: string } {
  const headers = cursor.headers();
  const found = new Map<string, Buffer | null>();
  for (const { key, value } of headers) {
    const name = key.length <= 64 ? key.toString('latin1') : '';
    const feature = controlHeaderFeature(name);
    if (feature !== undefined && feature !== 'retry') {
      return {
        fault: `Header ${name} asks for what retry topics do not do; ${retryDelayHeader} says a delay`,
      };
    }
    if (!isRetryHeader(key)) continue;
    // Of what was said on the way the last counts; what asks may stand once.
    if (found.has(name) && asking.has(name)) return { fault: `Header ${name} stands more than once` };
    found.set(name, value);
  }
  const action = found.get(retryActionHeader);
  const actionText = action === undefined ? 'retry' : (action?.toString('latin1') ?? '');
  if (actionText !== 'retry' && actionText !== 'dlq') {
    return { fault: `Header ${retryActionHeader} must be retry or dlq, not ${shown(action ?? null)}` };
  }
  const delay = found.get(retryDelayHeader);
  const delayMs = delay === undefined ? undefined : wholeNumber(delay, longestRetryDelayMs);
  if (Number.isNaN(delayMs)) {
    return {
      fault: `Header ${retryDelayHeader} must be milliseconds in decimal digits, at most ${longestRetryDelayMs}, not ${shown(delay ?? null)}`,
    };
  }
  const said = found.get(timesHeader);
  const times = said === undefined ? undefined : wholeNumber(said, mostTimes);
  if (Number.isNaN(times)) {
    return {
      fault: `Header ${timesHeader} must be a whole number in decimal digits, not ${shown(said ?? null)}`,
    };
  }
  const error = found.get(errorHeader);
  const timestamp = addInt64(baseTimestamp, cursor.timestampDelta);
  const record = { key: cursor.key(), value: cursor.value(), headers, timestamp, codec };
  const common = {
    index: cursor.index,
    record,
    action: actionText,
    delayMs,
    error: error == null ? undefined : errorValue(error),
    times,
  } as const;
  const origin = found.get(originHeader);
  // A retry that is copied whole says where it came from too: a record without a value is no pointer then.
  const isPointer = cursor.valueLength < 0 && origin !== undefined && !found.has(retryTopicHeader);
  if (!isPointer) return { ...common, failed: { record } };
  const place = readPlace(origin);
  if (place === undefined) {
    return { fault: `Header ${originHeader} must be <topic>/<partition>/<offset>, not ${shown(origin)}` };
  }
  return { ...common, failed: { place } };
}

const asking: ReadonlySet<string> = new Set([retryActionHeader, retryDelayHeader]);

/** NaN for what is none. */
function wholeNumber(value: Buffer | null, most: number): number {
  const text = value?.toString('latin1') ?? '';
  const number = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return number <= most ? number : Number.NaN;
}

/** A pointer among these headers of a record without a value: what a plain topic would not understand. */
export function isPointer(headers: readonly RecordHeader[], valueLength: number): boolean {
  if (valueLength >= 0) return false;
  const names = new Set(
    headers.filter(({ key }) => isRetryHeader(key)).map(({ key }) => key.toString('latin1')),
  );
  return names.has(originHeader) && !names.has(retryTopicHeader);
}
