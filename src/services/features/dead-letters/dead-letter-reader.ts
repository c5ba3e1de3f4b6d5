/** Reads a group's dead letters: what each says of itself, and the record that it carries. Changes nothing. */
import { openBatch } from '../../../../protocol/records/batch-records.ts';
import { codecNameOf } from '../../../../protocol/records/compression.ts';
import { batchCodecId, batchIsControl, batchSizeBytes } from '../../../../protocol/records/record-batch.ts';
import { RecordError } from '../../../../protocol/records/record-error.ts';
import type { StorageEngine } from '../../../storage/engine.ts';
import type { Topic } from '../../topics/topic.ts';
import { type FailureFacts, type RetriedRecord, toldFacts } from '../retry/retried-record.ts';
import { maxRetryBatchBytes } from '../retry/retry-batch.ts';
import {
  bornMsHeader,
  deadLetterMsHeader,
  deadLetterReasonHeader,
  kafkaDeadLetterHeaders,
  type RecordPlace,
} from '../retry/retry-headers.ts';

export interface FoundLetter {
  readonly partition: number;
  readonly offset: number;
  /** 'unknown' of a letter that somebody else wrote. */
  readonly reason: string;
  /** When it was given up; undefined where it does not say. */
  readonly atMs: number | undefined;
  readonly deliveryCount: number | undefined;
  readonly facts: FailureFacts;
  /** It carries the record, not only what is said of it. */
  readonly isWhole: boolean;
  readonly record: RetriedRecord;
  readonly sizeBytes: number;
}

/** All that is given must hold. */
export interface LetterFilter {
  readonly reason?: string | undefined;
  /** Where it failed first. */
  readonly topic?: string | undefined;
  /** Part of the error's text. */
  readonly error?: string | undefined;
  readonly fromMs?: number | undefined;
  readonly untilMs?: number | undefined;
}

export function passes({ reason, atMs, facts }: FoundLetter, filter: LetterFilter): boolean {
  if (filter.reason !== undefined && filter.reason !== reason) return false;
  if (filter.topic !== undefined && filter.topic !== facts.topic) return false;
  if (filter.error !== undefined && !(facts.error?.toString('utf8') ?? '').includes(filter.error))
    return false;
  if (filter.fromMs !== undefined && (atMs ?? 0) < filter.fromMs) return false;
  return filter.untilMs === undefined || (atMs ?? 0) < filter.untilMs;
}

/** Bytes read at a time. */
const readBytes = 1024 * 1024;

/**
 * Letters of one partition from an offset on, up to `untilOffset`, as many as one read gives. `nextOffset`: where to go on; what is damaged
 * is stepped over and counted.
 */
export async function readLetters(
  engine: StorageEngine,
  topic: Topic,
  partition: number,
  fromOffset: number,
  untilOffset: number,
): Promise<{
  readonly letters: readonly FoundLetter[];
  readonly nextOffset: number;
  readonly damaged: number;
}> {
  const queue = topic.partitions[partition]?.queue;
  const nothing = { letters: [], nextOffset: untilOffset, damaged: 0 };
  if (queue === undefined || fromOffset >= untilOffset) return nothing;
  const read = await engine.read(queue, { fromOffset, untilOffset, maxBytes: readBytes, atLeastOne: true });
  if (read.outcome === 'unknown-queue') return nothing;
  if (read.outcome === 'damaged') return { letters: [], nextOffset: read.nextOffset, damaged: 1 };
  if (read.outcome === 'out-of-range') {
    const { startOffset } = read.bounds;
    return fromOffset < startOffset ? { letters: [], nextOffset: startOffset, damaged: 0 } : nothing;
  }
  const bytes = Buffer.concat(read.payloads);
  const { nextOffset } = read;
  read.release();
  if (bytes.length === 0) return nothing;
  const letters: FoundLetter[] = [];
  let damaged = 0;
  for (let at = 0; at < bytes.length; at += batchSizeBytes(bytes, at)) {
    if (batchIsControl(bytes, at)) continue;
    try {
      letters.push(
        ...lettersOf(bytes, at, partition).filter(
          ({ offset }) => offset >= fromOffset && offset < untilOffset,
        ),
      );
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      damaged += 1;
    }
  }
  return { letters, nextOffset, damaged };
}

function lettersOf(bytes: Buffer, at: number, partition: number): FoundLetter[] {
  const codec = codecNameOf(batchCodecId(bytes, at));
  const cursor = openBatch(bytes, at, { limitBytes: maxRetryBatchBytes });
  const letters: FoundLetter[] = [];
  while (cursor.next()) {
    const { timestamp, sizeBytes } = cursor;
    const record = { key: cursor.key(), value: cursor.value(), headers: cursor.headers(), timestamp, codec };
    const said = new Map(record.headers.map(({ key, value }) => [key.toString('latin1'), value]));
    const number = (name: string): number | undefined => {
      const text = said.get(name)?.toString('latin1') ?? '';
      return /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
    };
    const facts = toldFacts(record);
    letters.push({
      partition,
      offset: Number(cursor.offset),
      reason: said.get(deadLetterReasonHeader)?.toString('latin1') ?? 'unknown',
      atMs: number(deadLetterMsHeader),
      deliveryCount: number(kafkaDeadLetterHeaders.deliveryCount),
      facts: { ...facts, origin: facts.origin ?? kafkaOrigin(said, number) },
      isWhole: said.has(bornMsHeader) || record.value !== null,
      record,
      sizeBytes,
    });
  }
  return letters;
}

/** Of a letter that has only the headers of KIP-1191. */
function kafkaOrigin(
  said: ReadonlyMap<string, Buffer | null>,
  number: (name: string) => number | undefined,
): RecordPlace | undefined {
  const topic = said.get(kafkaDeadLetterHeaders.topic)?.toString('utf8');
  const partition = number(kafkaDeadLetterHeaders.partition);
  const offset = number(kafkaDeadLetterHeaders.offset);
  if (topic === undefined || partition === undefined || offset === undefined) return undefined;
  return { topic, partition, offset };
}
