import { describe, expect, it } from 'vitest';
import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import { type CodecName, isCodecAvailable } from '../../../protocol/records/compression.ts';
import {
  batchBaseOffset,
  batchBaseSequence,
  batchBaseTimestamp,
  batchCodecId,
  batchHasDeleteHorizon,
  batchIsControl,
  batchIsTransactional,
  batchLastOffset,
  batchLeaderEpoch,
  batchMaxTimestamp,
  batchProducerEpoch,
  batchProducerId,
  batchRecordCount,
  batchTimestampType,
  isBatchIntact,
} from '../../../protocol/records/record-batch.ts';
import {
  type BatchOptions,
  buildEndTransactionMarker,
  buildRecordBatch,
} from '../../../protocol/records/record-batch-builder.ts';
import { RecordError } from '../../../protocol/records/record-error.ts';
import { type CompactionRules, compactBatch } from '../../../src/services/compaction/batch-compactor.ts';
import { TransactionTrail } from '../../../src/services/compaction/transaction-trail.ts';

const nowMs = 1_000_000;
const retentionMs = 5000;

/** `a=1` a value, `a=` an empty one, `a` a tombstone, `=1` no key. */
function records(text: string) {
  return text.split(' ').map((each, index) => {
    const [key, value] = each.split('=');
    return {
      key: key === '' ? null : Buffer.from(key!),
      value: value === undefined ? null : Buffer.from(value),
      timestamp: 100 + index,
      headers: [{ key: 'h', value: Buffer.from([index]) }],
    };
  });
}

function batch(text: string, options: BatchOptions = {}): Buffer {
  return buildRecordBatch(records(text), {
    baseOffset: 10,
    leaderEpoch: 3,
    ...options,
    ...(options.timestampType === 'LogAppendTime' ? { maxTimestamp: 777 } : {}),
  });
}

function shown(payload: Buffer): string {
  return decodeRecords(payload, 0)
    .map(({ key, value, offset }) => `${offset}:${key ?? ''}${value === null ? '' : `=${value}`}`)
    .join(' ');
}

function rules(latest: Record<string, number>, more: Partial<CompactionRules> = {}): CompactionRules {
  return {
    latest: { get: (key) => latest[key.toString()] ?? -1 },
    latestOffset: 1000,
    nowMs,
    deleteRetentionMs: retentionMs,
    lastOffsetOfProducer: () => undefined,
    transactions: new TransactionTrail([]),
    ...more,
  };
}

interface Case {
  readonly why: string;
  readonly records: string;
  readonly latest: Record<string, number>;
  /** What is left: the records, or keep, or drop. */
  readonly left: string;
  readonly options?: BatchOptions;
  readonly more?: Partial<CompactionRules>;
}

const cases: readonly Case[] = [
  { why: 'keys that nobody saw again stay as they are', records: 'a=1 b=2', latest: {}, left: 'keep' },
  { why: 'the newest of its key stays', records: 'a=1 b=2', latest: { a: 10, b: 11 }, left: 'keep' },
  {
    why: 'what is superseded goes',
    records: 'a=1 b=2 c=3',
    latest: { a: 10, b: 40, c: 12 },
    left: '10:a=1 12:c=3',
  },
  { why: 'also the first', records: 'a=1 b=2', latest: { a: 11, b: 11 }, left: '11:b=2' },
  { why: 'inside one batch, too', records: 'a=1 a=2 a=3', latest: { a: 12 }, left: '12:a=3' },
  { why: 'nothing is left', records: 'a=1 b=2', latest: { a: 20, b: 21 }, left: 'drop' },
  { why: 'an empty value is a value', records: 'a= b=2', latest: { a: 10, b: 20 }, left: '10:a=' },
  { why: 'an empty key is a key', records: 'a=1 b=2', latest: { a: 30 }, left: '11:b=2' },
  { why: 'records without a key go', records: '=1 b=2', latest: { b: 11 }, left: '11:b=2' },
  {
    why: 'what lies beyond the map is not judged',
    records: 'a=1 =2 a=3',
    latest: { a: 10 },
    left: 'keep',
    more: { latestOffset: 10 },
  },
  {
    why: 'the map ends inside the batch',
    records: 'a=1 a=2 =3',
    latest: { a: 11 },
    left: '11:a=2 12:=3',
    more: { latestOffset: 11 },
  },
  { why: 'a tombstone that is superseded goes at once', records: 'a b=2', latest: { a: 50 }, left: '11:b=2' },
  {
    why: 'a tombstone past its horizon goes',
    records: 'a b=2',
    latest: { a: 10 },
    left: '11:b=2',
    options: { deleteHorizon: true, baseTimestamp: nowMs },
  },
  {
    why: 'a tombstone before its horizon stays',
    records: 'a b=2',
    latest: { a: 10 },
    left: 'keep',
    options: { deleteHorizon: true, baseTimestamp: nowMs + 1 },
  },
];

describe('a batch', () => {
  it.each(cases)('$why', ({ records: text, latest, left, options, more }) => {
    const payload = batch(text, options);
    const { verdict } = compactBatch(payload, false, rules(latest, more));
    expect(Buffer.isBuffer(verdict) ? shown(verdict) : verdict).toBe(left);
  });

  const codecs: readonly CodecName[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
  it.each(codecs.filter(isCodecAvailable))('keeps all else of its header with codec %s', (codec) => {
    const options = { codec, producerId: 77, producerEpoch: 2, baseSequence: 9, transactional: true };
    const payload = batch('a=1 b=2 c=3 d=4', options);
    const { verdict, recordsBefore, recordsAfter } = compactBatch(payload, false, rules({ b: 90, d: 91 }));
    const after = verdict as Buffer;
    expect([recordsBefore, recordsAfter]).toEqual([4, 2]);
    expect(isBatchIntact(after, 0, after.length)).toBe(true);
    expect(decodeRecords(after, 0)).toEqual([decodeRecords(payload, 0)[0], decodeRecords(payload, 0)[2]]);
    expect({
      offsets: [batchBaseOffset(after, 0), batchLastOffset(after, 0)],
      epoch: batchLeaderEpoch(after, 0),
      codec: batchCodecId(after, 0),
      producer: [batchProducerId(after, 0), batchProducerEpoch(after, 0), batchBaseSequence(after, 0)],
      transactional: batchIsTransactional(after, 0),
      records: batchRecordCount(after, 0),
      maxTimestamp: batchMaxTimestamp(after, 0),
    }).toEqual({
      offsets: [10, 13],
      epoch: 3,
      codec: batchCodecId(payload, 0),
      producer: [77, 2, 9],
      transactional: true,
      records: 2,
      maxTimestamp: 102,
    });
  });

  it.each(['CreateTime', 'LogAppendTime'] as const)(
    'with a tombstone gets a delete horizon, %s',
    (timestampType) => {
      const payload = batch('a=1 b c=3', { timestampType });
      const { verdict, deleteHorizonMs } = compactBatch(payload, false, rules({ a: 60 }));
      const after = verdict as Buffer;
      expect(deleteHorizonMs).toBe(nowMs + retentionMs);
      expect(batchHasDeleteHorizon(after, 0)).toBe(true);
      expect(batchBaseTimestamp(after, 0)).toBe(nowMs + retentionMs);
      expect(batchTimestampType(after, 0)).toBe(timestampType);
      expect(batchLastOffset(after, 0)).toBe(12);
      expect(decodeRecords(after, 0)).toEqual(decodeRecords(payload, 0).slice(1));
      const again = compactBatch(after, false, rules({ a: 60 }));
      expect(again).toMatchObject({ verdict: 'keep', deleteHorizonMs: nowMs + retentionMs });
      const later = compactBatch(after, false, rules({}, { nowMs: nowMs + retentionMs }));
      expect(shown(later.verdict as Buffer)).toBe('12:c=3');
      expect(later.deleteHorizonMs).toBeUndefined();
    },
  );

  it('keeps tombstones for ever where delete.retention.ms is the largest there is', () => {
    const endless = rules({}, { deleteRetentionMs: Number.POSITIVE_INFINITY });
    expect(compactBatch(batch('a'), false, endless)).toMatchObject({
      verdict: 'keep',
      deleteHorizonMs: undefined,
    });
  });

  it.each([
    { why: 'the last of a live producer', mustStay: false, lastOffset: 11 },
    { why: 'the last of the partition', mustStay: true, lastOffset: undefined },
  ])('keeps its header as $why', ({ mustStay, lastOffset }) => {
    const payload = batch('a=1 b=2', { codec: 'gzip', producerId: 5, producerEpoch: 1, baseSequence: 7 });
    const producers = { lastOffsetOfProducer: () => lastOffset };
    const { verdict } = compactBatch(payload, mustStay, rules({ a: 90, b: 91 }, producers));
    const after = verdict as Buffer;
    expect(after.length).toBe(61);
    expect(isBatchIntact(after, 0, 61)).toBe(true);
    expect([batchRecordCount(after, 0), batchCodecId(after, 0), batchBaseSequence(after, 0)]).toEqual([
      0, 0, 7,
    ]);
    expect([batchBaseOffset(after, 0), batchLastOffset(after, 0), batchMaxTimestamp(after, 0)]).toEqual([
      10, 11, 101,
    ]);
    expect(compactBatch(after, mustStay, rules({}, producers)).verdict).toBe('keep');
    expect(compactBatch(after, false, rules({})).verdict).toBe('drop');
  });

  it('that cannot be opened is refused', () => {
    const payload = batch('a=1 b=2', { codec: 'gzip' });
    payload.fill(0xff, 70);
    expect(() => compactBatch(payload, false, rules({ a: 90 }))).toThrow(RecordError);
  });
});

describe('transactions', () => {
  const data = (baseOffset: number, producerId: number, text: string) =>
    batch(text, { baseOffset, producerId, producerEpoch: 0, baseSequence: 0, transactional: true });
  const marker = (baseOffset: number, producerId: number, result: 'commit' | 'abort') =>
    buildEndTransactionMarker(
      { result, coordinatorEpoch: 0 },
      { baseOffset, producerId, producerEpoch: 0, timestamp: 50 },
    );

  /** Cleans batches again and again, `stepMs` apart, as passes over one log would. */
  function pass(
    log: readonly Buffer[],
    atMs: number,
    aborted: { producerId: number; firstOffset: number }[],
    latest = {},
  ) {
    const shared = rules(latest, { nowMs: atMs, transactions: new TransactionTrail(aborted) });
    return log.flatMap((payload) => {
      const { verdict } = compactBatch(payload, false, shared);
      return verdict === 'drop' ? [] : [verdict === 'keep' ? payload : verdict];
    });
  }
  const offsets = (log: readonly Buffer[]) => log.map((each) => batchBaseOffset(each, 0));

  it('lose what was aborted at once, and its marker delete.retention.ms later', () => {
    const aborted = [{ producerId: 1, firstOffset: 10 }];
    let log = [data(10, 1, 'a=1'), data(11, 2, 'b=1'), marker(12, 1, 'abort'), marker(13, 2, 'commit')];
    log = pass(log, nowMs, aborted);
    // In this pass data of both was still seen.
    expect(offsets(log)).toEqual([11, 12, 13]);
    expect(log.map((each) => batchHasDeleteHorizon(each, 0))).toEqual([false, false, false]);
    log = pass(log, nowMs, aborted);
    expect(log.map((each) => batchHasDeleteHorizon(each, 0))).toEqual([false, true, false]);
    expect(batchIsControl(log[1]!, 0)).toBe(true);
    log = pass(log, nowMs + retentionMs - 1, aborted);
    expect(offsets(log)).toEqual([11, 12, 13]);
    // As long as it is listed, readers wait for its marker.
    log = pass(log, nowMs + retentionMs, aborted);
    expect(offsets(log)).toEqual([11, 12, 13]);
    log = pass(log, nowMs + retentionMs, []);
    expect(offsets(log)).toEqual([11, 13]);
  });

  it('keep the marker of a commit as long as one of its batches is there', () => {
    let log = [
      data(10, 1, 'a=1'),
      data(11, 1, 'b=1'),
      marker(12, 1, 'commit'),
      batch('z=1', { baseOffset: 13 }),
    ];
    log = pass(log, nowMs, [], { a: 99 });
    log = pass(log, nowMs + 10 * retentionMs, [], {});
    expect(offsets(log)).toEqual([11, 12, 13]);
    // The second key is superseded, too: the marker gets its horizon in the next pass and goes in the one after that.
    log = pass(log, nowMs, [], { b: 99 });
    expect(offsets(log)).toEqual([12, 13]);
    log = pass(log, nowMs, []);
    expect(batchHasDeleteHorizon(log[0]!, 0)).toBe(true);
    expect(offsets(pass(log, nowMs + retentionMs, []))).toEqual([13]);
  });

  it('of one producer follow one another', () => {
    const aborted = [
      { producerId: 1, firstOffset: 10 },
      { producerId: 1, firstOffset: 14 },
    ];
    const log = [
      data(10, 1, 'a=1'),
      marker(11, 1, 'abort'),
      data(12, 1, 'a=2'),
      marker(13, 1, 'commit'),
      data(14, 1, 'a=3'),
      marker(15, 1, 'abort'),
    ];
    expect(offsets(pass(log, nowMs, aborted, { a: 12 }))).toEqual([11, 12, 13, 15]);
  });

  it('keep the header of a marker that a producer wrote last', () => {
    const shared = rules({}, { lastOffsetOfProducer: () => 10, nowMs: 10 ** 12 });
    const first = compactBatch(marker(10, 1, 'commit'), false, { ...shared, nowMs });
    const { verdict } = compactBatch(first.verdict as Buffer, false, {
      ...shared,
      transactions: new TransactionTrail([]),
    });
    expect(batchRecordCount(verdict as Buffer, 0)).toBe(0);
    expect(batchIsControl(verdict as Buffer, 0)).toBe(true);
  });
});
