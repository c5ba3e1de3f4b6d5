/** A record that failed and what is known of its failures, and the batch in which it is delivered again. Pure. */
import type { CodecName } from '../../../../protocol/records/compression.ts';
import {
  buildRecordBatch,
  type RecordHeaderInput,
} from '../../../../protocol/records/record-batch-builder.ts';
import type { RecordHeader } from '../../../../protocol/records/record-cursor.ts';
import type { Int64 } from '../../../../protocol/wire/int64.ts';
import { messageIdHeader } from '../delay/delay-headers.ts';
import {
  bornMsHeader,
  errorHeader,
  isRetryHeader,
  maxTimesHeader,
  originHeader,
  originMessageIdHeader,
  placeText,
  type RecordPlace,
  readPlace,
  redriveTimesHeader,
  retryTopicHeader,
  timesHeader,
} from './retry-headers.ts';

export interface RetriedRecord {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
  readonly timestamp: Int64;
  /** Of the batch in which it lay. */
  readonly codec: CodecName;
}

/** What is known of a record's failures, all of it told to whoever gets it next. */
export interface FailureFacts {
  /** How often it had failed before this time. */
  readonly times: number;
  readonly topic: string | undefined;
  readonly origin: RecordPlace | undefined;
  readonly originMessageId: string | undefined;
  readonly bornMs: string;
  readonly error: Buffer | undefined;
  readonly redriveTimes: number;
}

/** What a record that the broker (or a faithful copy of its) wrote says of its failures. */
export function toldFacts({ headers, timestamp }: RetriedRecord): FailureFacts {
  const found = lastValues(headers);
  const origin = readPlace(found.get(originHeader) ?? null);
  const topic = found.get(retryTopicHeader)?.toString('latin1');
  return {
    times: countOf(found.get(timesHeader)),
    topic: topic !== undefined && /^[a-zA-Z0-9._-]{1,249}$/.test(topic) ? topic : origin?.topic,
    origin,
    originMessageId: textOf(found.get(originMessageIdHeader) ?? messageIdOf(headers)),
    bornMs:
      /^-?[0-9]{1,19}$/.exec(found.get(bornMsHeader)?.toString('latin1') ?? '')?.[0] ?? String(timestamp),
    error: found.get(errorHeader) ?? undefined,
    redriveTimes: countOf(found.get(redriveTimesHeader)),
  };
}

/** The facts of a record that fails for the first time, at this place. What it says of itself does not count, but for redrives. */
export function firstFacts(record: RetriedRecord, place: RecordPlace, topicId: string): FailureFacts {
  return {
    times: 0,
    topic: place.topic,
    origin: place,
    originMessageId: textOf(messageIdOf(record.headers)) ?? `${topicId}-${place.partition}-${place.offset}`,
    bornMs: String(record.timestamp),
    error: undefined,
    redriveTimes: countOf(lastValues(record.headers).get(redriveTimesHeader)),
  };
}

/** One batch of the one record: the application's part byte for byte, then what the broker says. */
export function retryBatch(record: RetriedRecord, facts: FailureFacts, maxTimes: number): Buffer {
  const { key, value, timestamp, codec } = record;
  const headers = [...ownHeaders(record.headers), ...factHeaders(facts, maxTimes)];
  return buildRecordBatch([{ key, value, timestamp, headers }], { codec });
}

export function ownHeaders(headers: readonly RecordHeader[]): readonly RecordHeader[] {
  return headers.filter(({ key }) => !isRetryHeader(key));
}

/** `facts.times` counts this failure too. */
function factHeaders(facts: FailureFacts, maxTimes: number): RecordHeaderInput[] {
  const said: [string, string | Buffer | undefined][] = [
    [timesHeader, String(facts.times)],
    [maxTimesHeader, String(maxTimes)],
    [retryTopicHeader, facts.topic],
    [originHeader, facts.origin && placeText(facts.origin)],
    [originMessageIdHeader, facts.originMessageId],
    [bornMsHeader, facts.bornMs],
    [errorHeader, facts.error],
    [redriveTimesHeader, facts.redriveTimes > 0 ? String(facts.redriveTimes) : undefined],
  ];
  return said
    .filter((each): each is [string, string | Buffer] => each[1] !== undefined)
    .map(([key, value]) => ({ key, value: typeof value === 'string' ? Buffer.from(value) : value }));
}

function lastValues(headers: readonly RecordHeader[]): ReadonlyMap<string, Buffer | null> {
  return new Map(
    headers.filter(({ key }) => isRetryHeader(key)).map(({ key, value }) => [key.toString('latin1'), value]),
  );
}

function messageIdOf(headers: readonly RecordHeader[]): Buffer | null {
  return headers.find(({ key }) => key.toString('latin1') === messageIdHeader)?.value ?? null;
}

const longestMessageIdBytes = 255;

function textOf(value: Buffer | null): string | undefined {
  if (value === null || value.length === 0 || value.length > longestMessageIdBytes) return undefined;
  return value.toString('utf8');
}

function countOf(value: Buffer | null | undefined): number {
  const text = value?.toString('latin1') ?? '';
  return /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
}
