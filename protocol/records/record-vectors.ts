// Checks one line of a record vector file: JSON that holds a record set's bytes and what Kafka's own client reads in them.
// Known to the vector tool and to tests only.

import { int64FromText } from '../wire/int64.ts';
import { type CodecName, codecIds } from './compression.ts';
import { NO_TIMESTAMP } from './record-batch.ts';
import { buildEndTransactionMarker, endTransactionMarkerOf } from './record-batch-builder.ts';
import { type DecodedBatch, type DecodedRecordSet, decodeRecordSet, encodeRecordSet } from './record-set.ts';

/** A line: 64-bit integers are text, bytes base64, a header a pair of its key and its value. */
export interface RecordVector {
  readonly what: 'records' | 'endTxnMarker';
  readonly magic: number;
  readonly codec: string;
  readonly hex: string;
  readonly batches: readonly VectorBatch[];
}

export interface VectorBatch {
  readonly baseOffset: string;
  readonly lastOffset: string;
  readonly sizeInBytes: number;
  readonly maxTimestamp: string;
  readonly timestampType: string;
  readonly producerId: string;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly transactional: boolean;
  readonly control: boolean;
  readonly leaderEpoch: number;
  readonly crc: string | null;
  readonly records: readonly VectorRecord[];
}

export interface VectorRecord {
  readonly offset: string;
  readonly timestamp: string;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: readonly (readonly [string, string | null])[];
}

/** The batches of a record set in the form of the vectors. */
export function toVectorBatches(decoded: DecodedRecordSet): VectorBatch[] {
  return decoded.batches.map((batch) => ({
    baseOffset: String(batch.baseOffset),
    lastOffset: String(batch.lastOffset),
    sizeInBytes: batch.sizeInBytes,
    maxTimestamp: String(batch.maxTimestamp),
    timestampType: batch.timestampType,
    producerId: String(batch.producerId),
    producerEpoch: batch.producerEpoch,
    baseSequence: batch.baseSequence,
    transactional: batch.transactional,
    control: batch.control,
    leaderEpoch: batch.leaderEpoch,
    crc: batch.crc === null ? null : String(batch.crc),
    records: batch.records.map((record) => ({
      offset: String(record.offset),
      timestamp: String(record.timestamp),
      key: record.key === null ? null : record.key.toString('base64'),
      value: record.value === null ? null : record.value.toString('base64'),
      headers: record.headers.map(
        (header) =>
          [
            header.key.toString('utf8'),
            header.value === null ? null : header.value.toString('base64'),
          ] as const,
      ),
    })),
  }));
}

/** The other way round: what a vector's JSON says, ready to encode. */
export function fromVectorBatches(vector: RecordVector): DecodedBatch[] {
  return vector.batches.map((batch) => ({
    magic: vector.magic as 0 | 1 | 2,
    codec: vector.codec as CodecName,
    baseOffset: int64FromText(batch.baseOffset),
    lastOffset: int64FromText(batch.lastOffset),
    sizeInBytes: batch.sizeInBytes,
    maxTimestamp: int64FromText(batch.maxTimestamp),
    timestampType: batch.timestampType as DecodedBatch['timestampType'],
    producerId: int64FromText(batch.producerId),
    producerEpoch: batch.producerEpoch,
    baseSequence: batch.baseSequence,
    transactional: batch.transactional,
    control: batch.control,
    leaderEpoch: batch.leaderEpoch,
    crc: batch.crc === null ? null : Number(batch.crc),
    records: batch.records.map((record) => ({
      offset: int64FromText(record.offset),
      timestamp: int64FromText(record.timestamp),
      key: record.key === null ? null : Buffer.from(record.key, 'base64'),
      value: record.value === null ? null : Buffer.from(record.value, 'base64'),
      headers: record.headers.map(([key, value]) => ({
        key: Buffer.from(key, 'utf8'),
        value: value === null ? null : Buffer.from(value, 'base64'),
      })),
    })),
  }));
}

/**
 * Checks a line both ways and returns what failed, empty when all holds: the bytes decode to exactly the JSON; what was decoded
 * encodes to the same bytes (to the same records where compressed); so does the JSON alone, unless the batch has a base timestamp that is
 * not in it (LogAppendTime, a delete horizon). Never throws.
 */
export function checkRecordVector(line: unknown): string[] {
  const failures: string[] = [];
  try {
    checkVector(line as RecordVector, failures);
  } catch (error) {
    failures.push(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
  }
  return failures;
}

function checkVector(vector: RecordVector, failures: string[]): void {
  if (vector.what !== 'records' && vector.what !== 'endTxnMarker') {
    failures.push(`what is ${JSON.stringify(vector.what)}, not records or endTxnMarker`);
    return;
  }
  if (![0, 1, 2].includes(vector.magic) || !Object.hasOwn(codecIds, vector.codec)) {
    failures.push(`magic ${vector.magic} with codec ${vector.codec} is not known`);
    return;
  }
  const bytes = Buffer.from(vector.hex, 'hex');
  if (bytes.length * 2 !== vector.hex.length) failures.push('hex is not whole bytes');
  const decoded = decodeRecordSet(bytes);
  if (decoded.trailingBytes > 0)
    failures.push(`${decoded.trailingBytes} bytes are left over after the last batch`);
  compare('decoded', toVectorBatches(decoded), vector.batches, failures);
  for (const [index, batch] of decoded.batches.entries()) {
    if (batch.magic !== vector.magic)
      failures.push(`batch ${index} has magic ${batch.magic}, not ${vector.magic}`);
    if (batch.codec !== vector.codec)
      failures.push(`batch ${index} has codec ${batch.codec}, not ${vector.codec}`);
  }

  const compressed = vector.codec !== 'none';
  checkEncoding('encoded again', encodeRecordSet(decoded), compressed ? undefined : bytes, vector, failures);
  checkEncoding(
    'encoded from the JSON',
    encodeRecordSet({ batches: fromVectorBatches(vector) }),
    compressed || decoded.batches.some(holdsMoreThanItsJson) ? undefined : bytes,
    vector,
    failures,
  );
  if (vector.what === 'endTxnMarker') checkMarkers(decoded, bytes, failures);
}

/** True where the base timestamp or what it stands for does not follow from the JSON, so that exact bytes cannot either. */
function holdsMoreThanItsJson(batch: DecodedBatch): boolean {
  return (
    batch.magic === 2 &&
    (batch.deleteHorizon === true || batch.baseTimestamp !== (batch.records[0]?.timestamp ?? NO_TIMESTAMP))
  );
}

/** `expected` are the exact bytes wanted; without them the encoding must decode to the vector's records. */
function checkEncoding(
  what: string,
  encoded: Buffer,
  expected: Buffer | undefined,
  vector: RecordVector,
  failures: string[],
): void {
  if (expected !== undefined) {
    if (encoded.equals(expected)) return;
    let at = 0;
    while (at < encoded.length && encoded[at] === expected[at]) at += 1;
    failures.push(
      `${what}: ${encoded.length} bytes where ${expected.length} are wanted, different from byte ${at} on`,
    );
    return;
  }
  const free = { sizeInBytes: 0, crc: null };
  compare(
    what,
    toVectorBatches(decodeRecordSet(encoded)).map((batch) => ({ ...batch, ...free })),
    vector.batches.map((batch) => ({ ...batch, ...free })),
    failures,
  );
}

/** A marker's bytes must also come out of the builder of markers. */
function checkMarkers(decoded: DecodedRecordSet, bytes: Buffer, failures: string[]): void {
  const rebuilt = decoded.batches.map((batch, index) => {
    const record = batch.records[0];
    const marker = endTransactionMarkerOf(record?.key ?? null, record?.value ?? null);
    if (record === undefined || marker === undefined || !batch.control) {
      failures.push(`batch ${index} is not an end-of-transaction marker`);
      return Buffer.alloc(0);
    }
    const { baseOffset, leaderEpoch, producerId, producerEpoch } = batch;
    return buildEndTransactionMarker(marker, {
      baseOffset,
      leaderEpoch,
      timestamp: record.timestamp,
      producerId,
      producerEpoch,
    });
  });
  if (!Buffer.concat(rebuilt).equals(bytes)) failures.push('the marker built anew has other bytes');
}

const mostFailuresShown = 20;

function compare(path: string, actual: unknown, expected: unknown, failures: string[]): void {
  if (failures.length >= mostFailuresShown || Object.is(actual, expected)) return;
  if (typeof actual === 'object' && typeof expected === 'object' && actual !== null && expected !== null) {
    if (Array.isArray(actual) !== Array.isArray(expected)) {
      failures.push(`${path}: a list on one side only`);
      return;
    }
    const keys = new Set([...Object.keys(actual), ...Object.keys(expected)]);
    for (const key of keys) {
      compare(
        `${path}.${key}`,
        (actual as Record<string, unknown>)[key],
        (expected as Record<string, unknown>)[key],
        failures,
      );
    }
    return;
  }
  failures.push(`${path}: ${JSON.stringify(actual)} where ${JSON.stringify(expected)} is wanted`);
}
