/**
 * A produced batch taken apart into its half messages, one batch each, and the rest. Control headers of half messages go; a delay that
 * stands beside them begins at the commit. Pure.
 */
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { codecNameOf } from '../../../../protocol/records/compression.ts';
import { addInt64 } from '../../../../protocol/records/int64-bytes.ts';
import {
  batchBaseTimestamp,
  batchCodecId,
  batchMaxTimestamp,
  batchTimestampType,
} from '../../../../protocol/records/record-batch.ts';
import { buildRecordBatch, type RecordInput } from '../../../../protocol/records/record-batch-builder.ts';
import type { RecordCursor, RecordHeader } from '../../../../protocol/records/record-cursor.ts';
import { safeIntegerOrUndefined } from '../../../../protocol/wire/int64.ts';
import type { RecordFault } from '../../append/append-result.ts';
import { maxRecordFaults } from '../../append/batch-admission.ts';
import {
  controlHeaderFeature,
  type MessageType,
  mayHoldControlHeader,
  refusedControlHeader,
} from '../control-headers.ts';
import {
  delayLevelHeader,
  delayMsHeader,
  deliverAtMsHeader,
  dueMsHeader,
  dueTimeOf,
  shown,
} from '../delay/delay-headers.ts';
import {
  halfValue,
  immunityHeader,
  longestProducerGroup,
  longestTxnId,
  producerGroupHeader,
  txnHeader,
  txnIdHeader,
} from './half-headers.ts';
import type { HalfDelay, HalfId } from './half-row.ts';

export interface HalfRules {
  readonly messageType: MessageType;
  readonly nowMs: number;
  /** rmq.delay.max.ms of the topic. */
  readonly maxDelayMs: number;
}

export interface HalfRecord {
  readonly id: HalfId;
  /** Undefined: the group's rmq.txn.timeout.ms. */
  readonly immunityMs: number | undefined;
  readonly delay: HalfDelay;
  readonly payload: Buffer;
  /** -1 for none. */
  readonly maxTimestampMs: number;
}

export interface SplitHalves {
  readonly halves: readonly HalfRecord[];
  /** The records that are no half messages, as they came; undefined where there are none. */
  readonly rest:
    | { readonly payload: Buffer; readonly recordCount: number; readonly maxTimestampMs: number }
    | undefined;
}

/** What one batch may decompress to. */
export const maxHalfBatchBytes = 64 * 1024 * 1024;
/** Longer than this nobody is left unasked. */
const longestImmunityMs = 259_200_000;

/** Undefined where no record is a half message. Faults name the records. @throws RecordError where the batch cannot be opened */
export function splitHalves(
  batch: Buffer,
  rules: HalfRules,
): SplitHalves | { readonly faults: readonly RecordFault[] } | undefined {
  const isCompressed = batchCodecId(batch, 0) !== 0;
  if (!isCompressed && !mayHoldControlHeader(batch, 0, batch.length)) return undefined;
  const cursor = openBatch(batch, 0, { limitBytes: maxHalfBatchBytes });
  const baseTimestamp = batchBaseTimestamp(batch, 0);
  const codec = codecNameOf(batchCodecId(batch, 0));
  const rest: RecordInput[] = [];
  const faults: RecordFault[] = [];
  const halves: HalfRecord[] = [];
  while (cursor.next()) {
    const headers = cursor.headerCount === 0 ? [] : cursor.headers();
    const asked = readHalfHeaders(headers, rules);
    if (asked !== undefined && 'fault' in asked) {
      if (faults.length < maxRecordFaults) {
        faults.push({ batchIndex: cursor.index, batchIndexErrorMessage: asked.fault });
      }
      continue;
    }
    const record = { timestamp: addInt64(baseTimestamp, cursor.timestampDelta), ...contentOf(cursor) };
    if (asked === undefined) {
      rest.push({ ...record, headers });
      continue;
    }
    const own: RecordInput['headers'] = headers.filter(({ key }) => !isControl(key));
    // Filled in at the commit, which is when the delay begins.
    const due = asked.delay === undefined ? [] : [{ key: dueMsHeader, value: Buffer.from('0') }];
    const payload = buildRecordBatch([{ ...record, headers: [...own, ...due] }], { codec });
    halves.push({ ...asked, payload, maxTimestampMs: largestTimestampMs(payload) });
  }
  if (faults.length > 0) return { faults };
  if (halves.length === 0) return undefined;
  if (rest.length === 0) return { halves, rest: undefined };
  const timestampType = batchTimestampType(batch, 0);
  const payload = buildRecordBatch(rest, {
    codec,
    timestampType,
    ...(timestampType === 'LogAppendTime' ? { maxTimestamp: batchMaxTimestamp(batch, 0) } : {}),
  });
  return { halves, rest: { payload, recordCount: rest.length, maxTimestampMs: largestTimestampMs(payload) } };
}

type Asked = Pick<HalfRecord, 'id' | 'immunityMs' | 'delay'>;

function readHalfHeaders(
  headers: readonly RecordHeader[],
  rules: HalfRules,
): Asked | { readonly fault: string } | undefined {
  const found = new Map<string, Buffer | null>();
  let isHalf = false;
  let twice: string | undefined;
  for (const { key, value } of headers) {
    if (!isControl(key)) continue;
    const name = key.toString('latin1');
    if (controlHeaderFeature(name) === 'half-message') isHalf = true;
    if (found.has(name)) twice = name;
    found.set(name, value);
  }
  // A record that only asks for a delay is looked at by those who delay it.
  if (!isHalf) return undefined;
  if (twice !== undefined) return { fault: `Header ${twice} stands more than once` };
  for (const name of found.keys()) {
    if (controlHeaderFeature(name) !== 'retry') continue;
    return { fault: refusedControlHeader(name, 'retry', rules.messageType) };
  }
  const kind = found.get(txnHeader);
  if (kind?.toString('latin1') !== halfValue) {
    return { fault: `Header ${txnHeader} must be '${halfValue}', not ${shown(kind ?? null)}` };
  }
  const txnId = found.get(txnIdHeader);
  if (txnId == null || txnId.length === 0 || txnId.length > longestTxnId) {
    return { fault: `Header ${txnIdHeader} must have 1 to ${longestTxnId} bytes` };
  }
  const group = found.get(producerGroupHeader);
  if (group == null || group.length === 0 || group.length > longestProducerGroup) {
    return { fault: `Header ${producerGroupHeader} must have 1 to ${longestProducerGroup} bytes` };
  }
  const immunity = found.get(immunityHeader);
  const immunityMs = immunity === undefined ? undefined : wholeMs(immunity);
  if (Number.isNaN(immunityMs)) {
    return {
      fault: `Header ${immunityHeader} must be milliseconds in decimal digits, at most ${longestImmunityMs}, not ${shown(immunity!)}`,
    };
  }
  const delay = delayOf(found, rules);
  if (delay !== undefined && 'fault' in delay) return delay;
  return { id: { producerGroup: group.toString('utf8'), txnId: Buffer.from(txnId) }, immunityMs, delay };
}

function wholeMs(value: Buffer | null): number {
  const text = value?.toString('latin1') ?? '';
  const ms = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return ms <= longestImmunityMs ? ms : Number.NaN;
}

function delayOf(
  found: ReadonlyMap<string, Buffer | null>,
  { messageType, nowMs, maxDelayMs }: HalfRules,
): HalfDelay | { readonly fault: string } {
  const level = found.get(delayLevelHeader);
  const delayMs = found.get(delayMsHeader);
  const deliverAtMs = found.get(deliverAtMsHeader);
  if (level === undefined && delayMs === undefined && deliverAtMs === undefined) return undefined;
  if (messageType !== 'MIXED') {
    return { fault: 'A half message may ask for a delay on topics with rmq.message.type=MIXED only' };
  }
  const headers = {
    ...(level === undefined ? {} : { level }),
    ...(delayMs === undefined ? {} : { delayMs }),
    ...(deliverAtMs === undefined ? {} : { deliverAtMs }),
  };
  const due = dueTimeOf(headers, { nowMs, maxDelayMs });
  if ('fault' in due) return due;
  return level === undefined && delayMs === undefined ? { atMs: due.dueMs } : { afterMs: due.dueMs - nowMs };
}

function isControl(key: Buffer): boolean {
  // r m q -
  if (key.length < 5 || key.length > 32 || key[0] !== 0x72 || key[3] !== 0x2d) return false;
  return controlHeaderFeature(key.toString('latin1')) !== undefined;
}

function contentOf(cursor: RecordCursor): Pick<RecordInput, 'key' | 'value'> {
  return { key: cursor.key(), value: cursor.value() };
}

function largestTimestampMs(payload: Buffer): number {
  return Math.max(-1, safeIntegerOrUndefined(batchMaxTimestamp(payload, 0)) ?? -1);
}
