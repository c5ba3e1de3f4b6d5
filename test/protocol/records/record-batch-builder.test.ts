import { describe, expect, it } from 'vitest';
import { decodeRecords, openBatch } from '../../../protocol/records/batch-records.ts';
import {
  batchBaseOffset,
  batchBaseSequence,
  batchCrc,
  batchIsControl,
  batchIsTransactional,
  batchLastOffset,
  batchLeaderEpoch,
  batchMaxTimestamp,
  batchProducerEpoch,
  batchProducerId,
  batchRecordCount,
  batchSizeBytes,
  checkBatchBounds,
  isBatchIntact,
  isBatchStamped,
  setBatchMaxTimestamp,
  stampBatch,
  verifyCrc,
} from '../../../protocol/records/record-batch.ts';
import {
  buildEndTransactionMarker,
  buildRecordBatch,
  endTransactionMarkerOf,
} from '../../../protocol/records/record-batch-builder.ts';

// Written by kafka-clients 3.9.1.
const oneRecord =
  '000000000004ce1000000053ffffffff02f25284530000000000000000018bcfe583d60000018bcfe583d6ffffffffffffffffffffffffffff0000000142000000011a676469696c6d72757575726e71040668333104697406683534047971';
const commitMarker =
  '000000000000002a000000420000000302ff50e37c0030000000000000018bcfe568010000018bcfe56801000000000000004d0005ffffffff000000012000000008000000010c00000000000900';

describe('record batch builder', () => {
  it('gives the bytes of the Java client', () => {
    const batch = buildRecordBatch(
      [
        {
          timestamp: 1700000007126,
          value: Buffer.from('gdiilmruuurnq'),
          headers: [
            { key: 'h31', value: Buffer.from('it') },
            { key: Buffer.from('h54'), value: Buffer.from('yq') },
          ],
        },
      ],
      { baseOffset: 314896 },
    );
    expect(batch.toString('hex')).toBe(oneRecord);
  });

  it('gives the end-of-transaction marker of the Java client, and reads it', () => {
    const batch = buildEndTransactionMarker(
      { result: 'commit', coordinatorEpoch: 9 },
      { baseOffset: 42, leaderEpoch: 3, timestamp: 1700000000001, producerId: 77, producerEpoch: 5 },
    );
    expect(batch.toString('hex')).toBe(commitMarker);
    const [record] = decodeRecords(batch, 0);
    expect(endTransactionMarkerOf(record!.key, record!.value)).toEqual({
      result: 'commit',
      coordinatorEpoch: 9,
    });
    expect(batchIsControl(batch, 0)).toBe(true);
    expect(batchIsTransactional(batch, 0)).toBe(true);
  });

  it('reads every header field in place', () => {
    const lead = Buffer.alloc(5);
    const buffer = Buffer.concat([lead, Buffer.from(oneRecord, 'hex'), lead]);
    checkBatchBounds(buffer, 5);
    expect(batchBaseOffset(buffer, 5)).toBe(314896);
    expect(batchLastOffset(buffer, 5)).toBe(314896);
    expect(batchSizeBytes(buffer, 5)).toBe(95);
    expect(batchLeaderEpoch(buffer, 5)).toBe(-1);
    expect(batchCrc(buffer, 5)).toBe(4065494099);
    expect(batchMaxTimestamp(buffer, 5)).toBe(1700000007126);
    expect(batchProducerId(buffer, 5)).toBe(-1);
    expect(batchProducerEpoch(buffer, 5)).toBe(-1);
    expect(batchBaseSequence(buffer, 5)).toBe(-1);
    expect(batchRecordCount(buffer, 5)).toBe(1);
    expect(verifyCrc(buffer, 5)).toBe(true);
    expect(isBatchIntact(buffer, 5, 95)).toBe(true);
    expect(isBatchIntact(buffer, 5, 94)).toBe(false);
    buffer[40]! ^= 1;
    expect(verifyCrc(buffer, 5)).toBe(false);
  });

  it('stamps offset and epoch without touching the CRC, and a timestamp with a new one', () => {
    const batch = buildRecordBatch([{ timestamp: 5, value: Buffer.from('a') }]);
    stampBatch(batch, 0, 2 ** 40 + 3, 12);
    expect(isBatchStamped(batch, 0, 2 ** 40 + 3, 12)).toBe(true);
    expect(isBatchStamped(batch, 0, 2 ** 40 + 3, 11)).toBe(false);
    expect(verifyCrc(batch, 0)).toBe(true);
    setBatchMaxTimestamp(batch, 0, 'LogAppendTime', 99);
    expect(verifyCrc(batch, 0)).toBe(true);
    const cursor = openBatch(batch, 0);
    expect(cursor.next()).toBe(true);
    expect(cursor.timestamp).toBe(99);
    expect(cursor.offset).toBe(2 ** 40 + 3);
    expect(cursor.next()).toBe(false);
  });
});
