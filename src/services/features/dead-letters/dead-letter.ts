/**
 * One dead letter as the record that is appended to a dead-letter topic: the record that was given up, with the headers of KIP-1191 and our
 * own. Pure.
 */
import {
  buildRecordBatch,
  type RecordHeaderInput,
} from '../../../../protocol/records/record-batch-builder.ts';
import type { Int64 } from '../../../../protocol/wire/int64.ts';
import {
  bornMsHeader,
  deadLetterMsHeader,
  deadLetterReasonHeader,
  errorHeader,
  errorValue,
  isRetryHeader,
  kafkaDeadLetterHeaders,
  maxTimesHeader,
  originHeader,
  originMessageIdHeader,
  placeText,
  type RecordPlace,
  redriveTimesHeader,
  retryTopicHeader,
  timesHeader,
} from '../retry/retry-headers.ts';

/**
 * exhausted: it came as often as the group's settings let it. rejected: a member of a share group said so. requested: a consumer asked for
 * it. poison: the group did not get past it. origin-gone: what was to be retried is not there any more.
 */
export const deadLetterReasons = ['exhausted', 'rejected', 'requested', 'poison', 'origin-gone'] as const;
export type DeadLetterReason = (typeof deadLetterReasons)[number];

/** A record as it is kept: `timestamp` in ms, -1 for none. Views are copied when the letter is made. */
export interface DeadLetterRecord {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeaderInput[];
  readonly timestamp: Int64;
}

export interface DeadLetter {
  readonly group: string;
  /** Where the group met the record that it gave up. */
  readonly source: RecordPlace;
  /** How often it was delivered to the group. */
  readonly deliveryCount: number;
  readonly reason: DeadLetterReason;
  /** What went wrong, for people; cut to 4,096 bytes. */
  readonly message?: string | undefined;
  /** Undefined where it cannot be read, or need not be copied. */
  readonly record: DeadLetterRecord | undefined;
  /** Where it was at first, where that is not `source`. */
  readonly origin?: RecordPlace | undefined;
  readonly originMessageId?: string | undefined;
  /** rmq.retry.max.times (or what stands for it). */
  readonly maxTimes?: number | undefined;
  /** How often it was sent on from a dead-letter topic already. */
  readonly redriveTimes?: number | undefined;
}

/** One batch of one record, and its largest timestamp. The application's headers stay as they are, before the broker's. */
export function deadLetterBatch(
  letter: DeadLetter,
  copiesRecord: boolean,
  nowMs: number,
): { readonly payload: Buffer; readonly maxTimestampMs: number } {
  const record = copiesRecord ? letter.record : undefined;
  const own = record?.headers.filter(({ key }) => !isRetryHeader(Buffer.from(key))) ?? [];
  const timestamp = record?.timestamp ?? nowMs;
  const payload = buildRecordBatch([
    {
      timestamp,
      key: record?.key ?? null,
      value: record?.value ?? null,
      headers: [...own, ...headersOf(letter, record, nowMs)],
    },
  ]);
  return { payload, maxTimestampMs: indexTime(timestamp) };
}

function headersOf(
  letter: DeadLetter,
  copied: DeadLetterRecord | undefined,
  nowMs: number,
): RecordHeaderInput[] {
  const { source } = letter;
  const origin = letter.origin ?? source;
  const said: [string, string | Buffer][] = [
    [kafkaDeadLetterHeaders.topic, source.topic],
    [kafkaDeadLetterHeaders.partition, String(source.partition)],
    [kafkaDeadLetterHeaders.offset, String(source.offset)],
    [kafkaDeadLetterHeaders.group, letter.group],
    [kafkaDeadLetterHeaders.deliveryCount, String(letter.deliveryCount)],
  ];
  if (letter.message !== undefined) {
    said.push([kafkaDeadLetterHeaders.message, errorValue(letter.message)]);
    said.push([errorHeader, errorValue(letter.message)]);
  }
  said.push([deadLetterReasonHeader, letter.reason]);
  said.push([deadLetterMsHeader, String(nowMs)]);
  // The first delivery is no retry.
  said.push([timesHeader, String(Math.max(0, letter.deliveryCount - 1))]);
  if (letter.maxTimes !== undefined) said.push([maxTimesHeader, String(letter.maxTimes)]);
  said.push([retryTopicHeader, origin.topic]);
  said.push([originHeader, placeText(origin)]);
  if (letter.originMessageId !== undefined) said.push([originMessageIdHeader, letter.originMessageId]);
  // Not there where nothing of the record is.
  if (copied !== undefined) said.push([bornMsHeader, String(copied.timestamp)]);
  if ((letter.redriveTimes ?? 0) > 0) said.push([redriveTimesHeader, String(letter.redriveTimes)]);
  return said.map(([key, value]) => ({ key, value: typeof value === 'string' ? Buffer.from(value) : value }));
}

function indexTime(timestamp: Int64): number {
  if (typeof timestamp === 'number') return Math.max(-1, timestamp);
  return timestamp < 0n ? -1 : Number.MAX_SAFE_INTEGER;
}
