import { beforeEach, describe, expect, it } from 'vitest';
import { errorCodes } from '../../protocol/error-codes.ts';
import type { ProduceResponse } from '../../protocol/generated/00-produce.ts';
import { encodeMessageSet } from '../../protocol/records/message-set.ts';
import { computeBatchCrc } from '../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { decodeRecordSet } from '../../protocol/records/record-set.ts';
import { CloseConnection } from '../../src/handlers/handler.ts';
import { batchOf, DataBroker, recordsOf, unknownTopicId } from './data-broker.ts';

let broker: DataBroker;

beforeEach(async () => {
  broker = new DataBroker();
  await broker.topics.create('t', 2);
});

function patched(batch: Buffer, change: (batch: Buffer) => void): Buffer {
  change(batch);
  batch.writeUInt32BE(computeBatchCrc(batch, 0), 17);
  return batch;
}

async function stored(topic: string, index = 0) {
  const queue = broker.topics.get(topic)!.partitions[index]!.queue;
  const read = await broker.engine.read(queue, { fromOffset: 0, maxBytes: 1e9, atLeastOne: true });
  if (read.outcome !== 'read') throw new Error(read.outcome);
  const batches = decodeRecordSet(Buffer.from(Buffer.concat([...read.payloads]))).batches;
  read.release();
  return batches;
}

describe('what is appended', () => {
  it.each([3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])('answers offsets in version %i', async (version) => {
    expect(await broker.produce('t', batchOf(3), { version })).toMatchObject({
      errorCode: 0,
      baseOffset: 0,
      logAppendTimeMs: -1,
      logStartOffset: version >= 5 ? 0 : -1,
    });
    expect(await broker.produce('t', batchOf(2), { version })).toMatchObject({ baseOffset: 3 });
    const batches = await stored('t');
    expect(batches.map(({ baseOffset, lastOffset }) => [baseOffset, lastOffset])).toEqual([
      [0, 2],
      [3, 4],
    ]);
  });

  it.each([
    [0, 0],
    [1, 0],
    [2, 1],
    [2, 0],
  ] as const)('makes messages that version %i brings in magic %i one batch', async (version, magic) => {
    const set = encodeMessageSet(
      [0, 1, 2].map((offset) => ({
        offset,
        timestamp: 1000 + offset,
        key: null,
        value: Buffer.from(`v${offset}`),
      })),
      { magic, codec: 'none' },
    );
    expect(await broker.produce('t', set, { version })).toMatchObject({ errorCode: 0, baseOffset: 0 });
    const [batch] = await stored('t');
    expect(batch).toMatchObject({
      magic: 2,
      baseOffset: 0,
      lastOffset: 2,
      maxTimestamp: magic === 0 ? -1 : 1002,
    });
    expect(batch!.records.map((record) => record.value!.toString())).toEqual(['v0', 'v1', 'v2']);
  });

  it('cuts off a torn second batch, as Kafka does', async () => {
    const records = Buffer.concat([batchOf(1), batchOf(1).subarray(0, 60)]);
    expect(await broker.produce('t', records)).toMatchObject({ errorCode: 0, baseOffset: 0 });
    expect(await stored('t')).toHaveLength(1);
  });

  it('stamps the time of append where the topic wants that, and tells it', async () => {
    await broker.topics.create('logged', 1, { messageTimestampType: 'LogAppendTime' });
    const nowMs = broker.clock.nowMs();
    expect(await broker.produce('logged', batchOf(2, { timestamp: 5 }))).toMatchObject({
      logAppendTimeMs: nowMs,
    });
    const [batch] = await stored('logged');
    expect(batch).toMatchObject({ timestampType: 'LogAppendTime', maxTimestamp: nowMs });
  });

  it("compresses anew where the topic's compression differs", async () => {
    await broker.topics.create('zipped', 1, { compressionType: 'gzip' });
    await broker.produce('zipped', batchOf(5));
    await broker.produce('zipped', batchOf(5, { codec: 'gzip' }));
    const batches = await stored('zipped');
    expect(batches.map(({ codec, records }) => [codec, records.length])).toEqual([
      ['gzip', 5],
      ['gzip', 5],
    ]);
  });

  it('fills in a largest timestamp that the producer left out', async () => {
    await broker.produce('t', batchOf(2, { timestamp: 77, maxTimestamp: -1 }));
    expect((await stored('t'))[0]).toMatchObject({ maxTimestamp: 77 });
  });

  it('keeps -1 where no record has a time', async () => {
    await broker.produce('t', batchOf(2, { timestamp: -1 }));
    expect((await stored('t'))[0]).toMatchObject({ maxTimestamp: -1 });
  });
});

describe('what is refused', () => {
  const cases: [string, number, () => Buffer | null, { version?: number }?][] = [
    ['no records', errorCodes.INVALID_RECORD, () => null],
    ['an empty set', errorCodes.INVALID_RECORD, () => Buffer.alloc(0)],
    ['two batches', errorCodes.INVALID_RECORD, () => Buffer.concat([batchOf(1), batchOf(1)])],
    ['half a batch', errorCodes.INVALID_RECORD, () => batchOf(1).subarray(0, 65)],
    ['zeros', errorCodes.CORRUPT_MESSAGE, () => Buffer.alloc(100)],
    [
      'a wrong crc',
      errorCodes.CORRUPT_MESSAGE,
      () => {
        const batch = batchOf(3);
        batch[70]! ^= 1;
        return batch;
      },
    ],
    ['a base offset', errorCodes.INVALID_RECORD, () => batchOf(3, { baseOffset: 7 })],
    [
      'magic 1 above version 2',
      errorCodes.INVALID_RECORD,
      () => {
        const batch = batchOf(1);
        batch[16] = 1;
        return batch;
      },
    ],
    [
      'an unknown magic',
      errorCodes.CORRUPT_MESSAGE,
      () => {
        const batch = batchOf(1);
        batch[16] = 5;
        return batch;
      },
    ],
    ['a control batch', errorCodes.INVALID_RECORD, () => batchOf(1, { control: true })],
    [
      'a count that is not the offsets',
      errorCodes.INVALID_RECORD,
      () => patched(batchOf(3), (b) => b.writeInt32BE(2, 57)),
    ],
    ['a count of 0', errorCodes.INVALID_RECORD, () => patched(batchOf(3), (b) => b.writeInt32BE(0, 57))],
    [
      'a producer id without sequence',
      errorCodes.INVALID_RECORD,
      () => batchOf(1, { producerId: 5, producerEpoch: 0 }),
    ],
    [
      'zstd in version 6',
      errorCodes.UNSUPPORTED_COMPRESSION_TYPE,
      () =>
        patched(batchOf(1), (b) => {
          b[22]! |= 4;
        }),
      { version: 6 },
    ],
    [
      'a codec that does not exist',
      errorCodes.UNSUPPORTED_COMPRESSION_TYPE,
      () =>
        patched(batchOf(1), (b) => {
          b[22]! |= 7;
        }),
    ],
    [
      'a time too far ahead',
      errorCodes.INVALID_TIMESTAMP,
      () => batchOf(1, { timestamp: 1_700_000_000_000 + 3_600_001 }),
    ],
  ];
  it.each(cases)('%s', async (_, errorCode, records, options) => {
    expect(await broker.produce('t', records(), options)).toMatchObject({ errorCode, baseOffset: -1 });
    expect(await stored('t')).toEqual([]);
  });

  it('a batch above max.message.bytes, counted whole', async () => {
    const batch = batchOf(1, { valueBytes: 500 });
    await broker.topics.create('fits', 1, { maxMessageBytes: batch.length });
    await broker.topics.create('small', 1, { maxMessageBytes: batch.length - 1 });
    expect(await broker.produce('fits', Buffer.from(batch))).toMatchObject({ errorCode: 0 });
    expect(await broker.produce('small', batch)).toMatchObject({ errorCode: errorCodes.MESSAGE_TOO_LARGE });
  });

  it('records without a key on a compacted topic, one by one', async () => {
    await broker.topics.create('compacted', 1, { cleanupCompact: true });
    const batch = buildRecordBatch([{ value: Buffer.from('a') }, ...recordsOf(1), { value: null }]);
    const refused = await broker.produce('compacted', batch);
    expect(refused.errorCode).toBe(errorCodes.INVALID_RECORD);
    expect(refused.recordErrors.map((error) => error.batchIndex)).toEqual([0, 2]);
    expect(refused.recordErrors[0]!.batchIndexErrorMessage).toContain(
      'without key in topic partition compacted-0',
    );
    expect(refused.errorMessage).toContain('2 record errors in total');
    expect(await broker.produce('compacted', batchOf(2))).toMatchObject({ errorCode: 0 });
  });

  it('more record errors than an answer lists are cut short', async () => {
    await broker.topics.create('compacted', 1, { cleanupCompact: true });
    const batch = buildRecordBatch(Array.from({ length: 1500 }, () => ({ value: Buffer.from('a') })));
    expect((await broker.produce('compacted', batch)).recordErrors).toHaveLength(1000);
  });

  it('a time too old for the topic, and a claim to append time', async () => {
    await broker.topics.create('recent', 1, { messageTimestampBeforeMaxMs: 1000 });
    const batch = buildRecordBatch([...recordsOf(1), ...recordsOf(1, 1_699_999_000_000)]);
    const refused = await broker.produce('recent', batch);
    expect(refused).toMatchObject({
      errorCode: errorCodes.INVALID_TIMESTAMP,
      errorMessage: 'One or more records have been rejected due to invalid timestamp',
    });
    expect(refused.recordErrors).toEqual([
      {
        batchIndex: 1,
        batchIndexErrorMessage:
          'Timestamp 1699999000000 of message with offset 1 is out of range. The timestamp should be within [1699999999000, 1700003600000]',
      },
    ]);
    await broker.topics.create('logged', 1, { messageTimestampType: 'LogAppendTime' });
    const claiming = batchOf(1, { timestampType: 'LogAppendTime', maxTimestamp: 1_700_000_000_000 });
    expect(await broker.produce('logged', claiming)).toMatchObject({
      errorCode: errorCodes.INVALID_TIMESTAMP,
    });
  });

  it('internal topics', async () => {
    await broker.topics.ensureInternal('__consumer_offsets');
    expect(await broker.produce('__consumer_offsets', batchOf(1))).toMatchObject({
      errorCode: errorCodes.INVALID_TOPIC_EXCEPTION,
    });
  });

  it('topics and partitions that are not there', async () => {
    expect(await broker.produce('nope', batchOf(1))).toMatchObject({
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    });
    expect(await broker.produce('nope', batchOf(1), { version: 13 })).toMatchObject({
      errorCode: errorCodes.UNKNOWN_TOPIC_ID,
    });
    for (const index of [2, -1]) {
      expect(await broker.produce('t', batchOf(1), { version: 13, index })).toMatchObject({
        errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
      });
    }
  });

  it('acks that are none', async () => {
    expect(await broker.produce('t', batchOf(1), { acks: 2 })).toMatchObject({
      errorCode: errorCodes.INVALID_REQUIRED_ACKS,
    });
    expect(await broker.produce('t', batchOf(1), { acks: -2 })).toMatchObject({
      errorCode: errorCodes.INVALID_REQUIRED_ACKS,
    });
    expect(await stored('t')).toEqual([]);
  });

  it('transactional batches without a transactional id, with the whole request', async () => {
    const transactional = batchOf(1, {
      producerId: 1,
      producerEpoch: 0,
      baseSequence: 0,
      transactional: true,
    });
    const response = await broker.call<ProduceResponse>(0, 8, {
      transactionalId: null,
      acks: -1,
      timeoutMs: 1,
      topicData: [
        {
          name: 't',
          partitionData: [
            { index: 0, records: batchOf(1) },
            { index: 1, records: transactional },
          ],
        },
        { name: 'nope', partitionData: [{ index: 4, records: batchOf(1) }] },
      ],
    });
    const rows = response.responses.flatMap((topic) => topic.partitionResponses);
    expect(rows.map(({ index, errorCode }) => [index, errorCode])).toEqual([
      [0, errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED],
      [1, errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED],
      [4, errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED],
    ]);
    expect(await stored('t')).toEqual([]);
    // A transactional id alone harms nobody, as in Kafka.
    expect(await broker.produce('t', batchOf(1), { transactionalId: 'tx' })).toMatchObject({ errorCode: 0 });
  });
});

describe('many partitions', () => {
  it("appends the others where one's records are refused, answers in the order asked", async () => {
    const response = await broker.call<ProduceResponse>(0, 13, {
      acks: 1,
      timeoutMs: 1,
      topicData: [
        {
          topicId: broker.topics.get('t')!.id,
          partitionData: [
            { index: 1, records: batchOf(1) },
            { index: 9, records: batchOf(1) },
            { index: 0, records: Buffer.alloc(100) },
            { index: 0, records: batchOf(2) },
          ],
        },
        { topicId: unknownTopicId, partitionData: [{ index: 0, records: batchOf(1) }] },
      ],
    });
    expect(response.responses.map((topic) => topic.topicId)).toEqual([
      broker.topics.get('t')!.id,
      unknownTopicId,
    ]);
    expect(
      response.responses.map((topic) =>
        topic.partitionResponses.map(({ index, errorCode, baseOffset }) => [index, errorCode, baseOffset]),
      ),
    ).toEqual([
      [
        [1, 0, 0],
        [9, errorCodes.UNKNOWN_TOPIC_OR_PARTITION, -1],
        [0, errorCodes.CORRUPT_MESSAGE, -1],
        [0, 0, 0],
      ],
      [[0, errorCodes.UNKNOWN_TOPIC_ID, -1]],
    ]);
  });
});

describe('idempotent producers', () => {
  const batch = (baseSequence: number, producerEpoch = 0, count = 2) =>
    batchOf(count, { producerId: 800, producerEpoch, baseSequence });

  it('answers a repeat with the offset it got first, and refuses gaps and old epochs', async () => {
    expect(await broker.produce('t', batch(0))).toMatchObject({ errorCode: 0, baseOffset: 0 });
    expect(await broker.produce('t', batch(2))).toMatchObject({ errorCode: 0, baseOffset: 2 });
    // Kafka tells a duplicate's timestamp, whatever the topic's timestamp type.
    expect(await broker.produce('t', batch(0))).toMatchObject({
      errorCode: 0,
      baseOffset: 0,
      logAppendTimeMs: 1_700_000_000_000,
    });
    expect(await broker.produce('t', batch(10))).toMatchObject({
      errorCode: errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER,
    });
    expect(await broker.produce('t', batch(0, 1))).toMatchObject({ errorCode: 0, baseOffset: 4 });
    expect(await broker.produce('t', batch(4))).toMatchObject({
      errorCode: errorCodes.INVALID_PRODUCER_EPOCH,
    });
    expect(await stored('t')).toHaveLength(3);
  });

  it('wraps sequences from the largest to 0', async () => {
    const largest = 2 ** 31 - 1;
    expect(await broker.produce('t', batch(largest - 1, 0, 3))).toMatchObject({ errorCode: 0 });
    expect(await broker.produce('t', batch(1, 0, 1))).toMatchObject({ errorCode: 0, baseOffset: 3 });
    expect(await broker.produce('t', batch(largest - 1, 0, 3))).toMatchObject({
      errorCode: 0,
      baseOffset: 0,
    });
  });

  it('holds each partition to its own sequence', async () => {
    expect(await broker.produce('t', batch(0))).toMatchObject({ errorCode: 0 });
    expect(await broker.produce('t', batch(0), { index: 1 })).toMatchObject({ errorCode: 0, baseOffset: 0 });
  });
});

describe('acks=0', () => {
  it('is answered by nothing, and by closing where it failed', async () => {
    const request = (index: number) => ({
      acks: 0,
      timeoutMs: 1,
      topicData: [{ name: 't', partitionData: [{ index, records: batchOf(1) }] }],
    });
    expect(await broker.call(0, 8, request(0))).toBeUndefined();
    expect(await stored('t')).toHaveLength(1);
    const closed = await broker.call<CloseConnection>(0, 8, request(5));
    expect(closed).toBeInstanceOf(CloseConnection);
    expect(closed.reason).toContain('UNKNOWN_TOPIC_OR_PARTITION');
  });
});
