/**
 * A produced batch taken apart by when its records are due, and put together again: one batch a due time, and one for each record that
 * has a message id, since such a record may be moved alone. Control headers go, what is delivered says when it was due. Pure.
 */
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { codecNameOf } from '../../../../protocol/records/compression.ts';
import { addInt64 } from '../../../../protocol/records/int64-bytes.ts';
import {
  batchBaseSequence,
  batchBaseTimestamp,
  batchCodecId,
  batchIsTransactional,
  batchMaxTimestamp,
  batchProducerEpoch,
  batchProducerId,
  batchTimestampType,
} from '../../../../protocol/records/record-batch.ts';
import {
  type BatchOptions,
  buildRecordBatch,
  type RecordHeaderInput,
  type RecordInput,
} from '../../../../protocol/records/record-batch-builder.ts';
import type { RecordCursor, RecordHeader } from '../../../../protocol/records/record-cursor.ts';
import type { Int64 } from '../../../../protocol/wire/int64.ts';
import type { RecordFault } from '../../append/append-result.ts';
import { maxRecordFaults } from '../../append/batch-admission.ts';
import {
  controlHeaderFeature,
  type MessageType,
  mayHoldControlHeader,
  refusedControlHeader,
  takesControlHeader,
} from '../control-headers.ts';
import {
  type DelayHeaders,
  delayLevelHeader,
  delayMsHeader,
  deliverAtMsHeader,
  dueMsHeader,
  dueTimeOf,
  longestMessageId,
  messageIdHeader,
  storedMsHeader,
} from './delay-headers.ts';

export interface SplitRules {
  readonly messageType: MessageType;
  readonly nowMs: number;
  /** rmq.delay.max.ms and rmq.delay.default.ms of the topic; a default of -1 is none. */
  readonly maxDelayMs: number;
  readonly defaultDelayMs: number;
  readonly compressionLevel?: number | undefined;
}

export interface DelayedPart {
  readonly dueMs: number;
  readonly messageId: Buffer | undefined;
  readonly payload: Buffer;
  readonly recordCount: number;
  readonly maxTimestampMs: number;
}

export interface SplitBatch {
  /** Those that are due already; undefined where there are none. */
  readonly immediate:
    | { readonly payload: Buffer; readonly recordCount: number; readonly maxTimestampMs: number }
    | undefined;
  readonly delayed: readonly DelayedPart[];
  /** Message ids of records whose time had passed when they came. */
  readonly deliveredIds: readonly Buffer[];
}

export type Split = SplitBatch | { readonly faults: readonly RecordFault[] } | undefined;

/** What one batch that asks for delays may decompress to. */
export const maxDelayedBytes = 64 * 1024 * 1024;
/** Batches that one produced batch may become: due times and message ids. */
export const maxDelayedParts = 10_000;

/**
 * Undefined where no record asks for anything: the batch stays as it came. Faults name the records that ask for what cannot
 * be. @throws RecordError where the batch cannot be opened
 */
export function splitDelayed(batch: Buffer, rules: SplitRules): Split {
  const isCompressed = batchCodecId(batch, 0) !== 0;
  const hasDefault = rules.defaultDelayMs > 0;
  if (!isCompressed && !hasDefault && !mayHoldControlHeader(batch, 0, batch.length)) return undefined;
  const cursor = openBatch(batch, 0, { limitBytes: maxDelayedBytes });
  const asked = readAll(cursor, batchBaseTimestamp(batch, 0), rules);
  if ('faults' in asked) return asked;
  if (!asked.some(({ isAsked }) => isAsked)) return undefined;
  return putTogether(batch, asked, rules);
}

/** Finds control headers that no record of such a topic may have; empty where there is none. @throws RecordError */
export function findControlHeaders(batch: Buffer, messageType: MessageType): readonly RecordFault[] {
  const cursor = openBatch(batch, 0, { limitBytes: maxDelayedBytes });
  const faults: RecordFault[] = [];
  while (cursor.next() && faults.length < maxRecordFaults) {
    if (cursor.headerCount === 0) continue;
    for (const { key } of cursor.headers()) {
      const name = controlNameOf(key);
      const feature = name === undefined ? undefined : controlHeaderFeature(name);
      if (feature === undefined) continue;
      faults.push(faultOf(cursor.index, refusedControlHeader(name!, feature, messageType)));
      break;
    }
  }
  return faults;
}

interface AskedRecord {
  readonly record: RecordInput;
  /** Undefined: at once. */
  readonly dueMs: number | undefined;
  readonly messageId: Buffer | undefined;
  /** A control header stood on it, or the topic's default delays it. */
  readonly isAsked: boolean;
}

function readAll(
  cursor: RecordCursor,
  baseTimestamp: Int64,
  rules: SplitRules,
): AskedRecord[] | { readonly faults: readonly RecordFault[] } {
  const records: AskedRecord[] = [];
  const faults: RecordFault[] = [];
  while (cursor.next()) {
    const asked = readRecord(cursor, rules);
    if ('fault' in asked) {
      if (faults.length < maxRecordFaults) faults.push(faultOf(cursor.index, asked.fault));
      continue;
    }
    if (faults.length > 0) continue;
    records.push({
      ...asked,
      record: {
        timestamp: addInt64(baseTimestamp, cursor.timestampDelta),
        key: cursor.key(),
        value: cursor.value(),
        headers: asked.headers,
      },
    });
  }
  return faults.length > 0 ? { faults } : records;
}

function readRecord(
  cursor: RecordCursor,
  rules: SplitRules,
):
  | {
      readonly dueMs: number | undefined;
      readonly messageId: Buffer | undefined;
      readonly isAsked: boolean;
      readonly headers: readonly RecordHeaderInput[];
    }
  | { readonly fault: string } {
  const headers = cursor.headers();
  const control: { level?: Buffer | null; delayMs?: Buffer | null; deliverAtMs?: Buffer | null } = {};
  let hasControl = false;
  let ids = 0;
  let messageId: Buffer | null | undefined;
  for (const { key, value } of headers) {
    const name = controlNameOf(key);
    if (name === undefined) continue;
    if (name === messageIdHeader) {
      ids += 1;
      messageId = value;
      continue;
    }
    const feature = controlHeaderFeature(name);
    if (feature === undefined) continue;
    if (!takesControlHeader(rules.messageType, feature)) {
      return { fault: refusedControlHeader(name, feature, rules.messageType) };
    }
    const field = delayFields[name];
    if (field === undefined) return { fault: `Header ${name}: half messages are not served by this version` };
    if (control[field] !== undefined) return { fault: `Header ${name} stands more than once` };
    control[field] = value;
    hasControl = true;
  }
  if (!hasControl && rules.defaultDelayMs <= 0) {
    return { dueMs: undefined, messageId: undefined, isAsked: false, headers };
  }
  if (ids > 0) {
    if (ids > 1) return { fault: `Header ${messageIdHeader} stands more than once` };
    if (messageId === null || messageId!.length === 0 || messageId!.length > longestMessageId) {
      return { fault: `Header ${messageIdHeader} must have 1 to ${longestMessageId} bytes` };
    }
  }
  const due = hasControl
    ? dueTimeOf(control as DelayHeaders, rules)
    : { dueMs: rules.nowMs + rules.defaultDelayMs };
  if ('fault' in due) return due;
  const isLater = due.dueMs > rules.nowMs;
  return {
    dueMs: isLater ? due.dueMs : undefined,
    messageId: messageId ?? undefined,
    isAsked: true,
    headers: isLater ? deliveredHeaders(headers, due.dueMs, rules.nowMs) : headers.filter(isOwn),
  };
}

const delayFields: Readonly<Record<string, keyof DelayHeaders | undefined>> = {
  [delayLevelHeader]: 'level',
  [delayMsHeader]: 'delayMs',
  [deliverAtMsHeader]: 'deliverAtMs',
};

/** Without what asked for the delay and what an earlier delivery said; with what this one says. */
function deliveredHeaders(
  headers: readonly RecordHeader[],
  dueMs: number,
  storedMs: number,
): readonly RecordHeaderInput[] {
  return [
    ...headers.filter((header) => isOwn(header) && !informational.has(header.key.toString('latin1'))),
    { key: dueMsHeader, value: Buffer.from(String(dueMs)) },
    { key: storedMsHeader, value: Buffer.from(String(storedMs)) },
  ];
}

const informational = new Set<string>([dueMsHeader, storedMsHeader]);

function isOwn({ key }: RecordHeader): boolean {
  const name = controlNameOf(key);
  return name === undefined || controlHeaderFeature(name) === undefined;
}

/** The name of a header that may be one of ours; undefined for others, cheaply. */
function controlNameOf(key: Buffer): string | undefined {
  // r m q -
  if (key.length < 5 || key.length > 32 || key[0] !== 0x72 || key[3] !== 0x2d) return undefined;
  return key.toString('latin1');
}

function putTogether(batch: Buffer, asked: readonly AskedRecord[], rules: SplitRules): Split {
  const immediate: RecordInput[] = [];
  const deliveredIds: Buffer[] = [];
  const byDue = new Map<number, RecordInput[]>();
  const parts: { dueMs: number; messageId: Buffer | undefined; records: RecordInput[]; at: number }[] = [];
  for (const [at, { record, dueMs, messageId }] of asked.entries()) {
    if (dueMs === undefined) {
      immediate.push(record);
      if (messageId !== undefined) deliveredIds.push(Buffer.from(messageId));
      continue;
    }
    const together = messageId === undefined ? byDue.get(dueMs) : undefined;
    if (together !== undefined) {
      together.push(record);
      continue;
    }
    const records = [record];
    if (messageId === undefined) byDue.set(dueMs, records);
    parts.push({ dueMs, messageId, records, at });
    if (parts.length > maxDelayedParts) {
      const message = `A batch may have ${maxDelayedParts} different due times and message ids`;
      return { faults: [faultOf(at, message)] };
    }
  }
  const codec = codecNameOf(batchCodecId(batch, 0));
  const level = rules.compressionLevel;
  return {
    immediate:
      immediate.length === 0
        ? undefined
        : measured(
            buildRecordBatch(immediate, {
              codec,
              level,
              timestampType: batchTimestampType(batch, 0),
              ...(batchTimestampType(batch, 0) === 'LogAppendTime'
                ? { maxTimestamp: batchMaxTimestamp(batch, 0) }
                : {}),
              ...transactionOf(batch),
            }),
            immediate.length,
          ),
    // The time of the append is not known yet: delivery says it where the topic wants it.
    delayed: parts.map(({ dueMs, messageId, records }) => ({
      dueMs,
      messageId: messageId && Buffer.from(messageId),
      ...measured(buildRecordBatch(records, { codec, level }), records.length),
    })),
    deliveredIds,
  };
}

/** By it readers tell which transaction a record belongs to. */
function transactionOf(
  batch: Buffer,
): Pick<BatchOptions, 'producerId' | 'producerEpoch' | 'baseSequence' | 'transactional'> {
  if (!batchIsTransactional(batch, 0)) return {};
  return {
    producerId: batchProducerId(batch, 0),
    producerEpoch: batchProducerEpoch(batch, 0),
    baseSequence: batchBaseSequence(batch, 0),
    transactional: true,
  };
}

function measured(payload: Buffer, recordCount: number) {
  const maxTimestamp = batchMaxTimestamp(payload, 0);
  const maxTimestampMs =
    typeof maxTimestamp === 'number'
      ? Math.max(-1, maxTimestamp)
      : maxTimestamp < 0n
        ? -1
        : Number.MAX_SAFE_INTEGER;
  return { payload, recordCount, maxTimestampMs };
}

/** The batch of a moved record, saying its new due time. @throws RecordError */
export function withDueTime(batch: Buffer, dueMs: number): Buffer {
  const cursor = openBatch(batch, 0, { limitBytes: maxDelayedBytes });
  const baseTimestamp = batchBaseTimestamp(batch, 0);
  const records: RecordInput[] = [];
  while (cursor.next()) {
    records.push({
      timestamp: addInt64(baseTimestamp, cursor.timestampDelta),
      key: cursor.key(),
      value: cursor.value(),
      headers: cursor
        .headers()
        .map((header) =>
          header.key.toString('latin1') === dueMsHeader
            ? { key: header.key, value: Buffer.from(String(dueMs)) }
            : header,
        ),
    });
  }
  return buildRecordBatch(records, { codec: codecNameOf(batchCodecId(batch, 0)) });
}

function faultOf(batchIndex: number, message: string): RecordFault {
  return { batchIndex, batchIndexErrorMessage: message };
}
