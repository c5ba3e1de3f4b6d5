// The control record that ends a producer's transaction in one partition (Kafka's EndTransactionMarker): the key says commit or
// abort, the value which coordinator decided. One record in a control batch of its own.

import { type EndTxnMarker, endTxnMarker } from '../generated/data-end-txn-marker.ts';
import { encodeToBuffer } from '../message-codec.ts';
import { ByteReader } from '../wire/byte-reader.ts';
import { buildRecordBatch } from './record-batch-builder.ts';

/** ControlRecordType's ids. */
const abortType = 0;
const commitType = 1;
const keyVersion = 0;
const valueVersion = 0;
const leadBytes = 2;

export interface TransactionEnd {
  readonly isCommit: boolean;
  readonly coordinatorEpoch: number;
}

/** [version, type], 16 bits each. */
export function encodeMarkerKey(isCommit: boolean): Buffer {
  const key = Buffer.allocUnsafe(2 * leadBytes);
  key.writeInt16BE(keyVersion, 0);
  key.writeInt16BE(isCommit ? commitType : abortType, leadBytes);
  return key;
}

/** The version, then EndTxnMarker. */
export function encodeMarkerValue(coordinatorEpoch: number): Buffer {
  const lead = Buffer.allocUnsafe(leadBytes);
  lead.writeInt16BE(valueVersion);
  return Buffer.concat([lead, encodeToBuffer(endTxnMarker, { coordinatorEpoch }, valueVersion)]);
}

/**
 * Undefined for a control record of another type.
 * @throws MalformedMessageError
 */
export function decodeMarker(key: Buffer, value: Buffer | null): TransactionEnd | undefined {
  const keyReader = new ByteReader(key);
  keyReader.int16('version');
  const type = keyReader.int16('type');
  if (type !== abortType && type !== commitType) return undefined;
  let marker: EndTxnMarker = { coordinatorEpoch: -1 };
  if (value !== null) {
    const reader = new ByteReader(value);
    reader.int16('version');
    marker = endTxnMarker.decode(reader, valueVersion);
  }
  return { isCommit: type === commitType, coordinatorEpoch: marker.coordinatorEpoch };
}

/** The whole batch. */
export function buildMarkerBatch(
  producerId: number,
  producerEpoch: number,
  end: TransactionEnd,
  timestampMs: number,
): Buffer {
  return buildRecordBatch(
    [
      {
        timestamp: timestampMs,
        key: encodeMarkerKey(end.isCommit),
        value: encodeMarkerValue(end.coordinatorEpoch),
      },
    ],
    { producerId, producerEpoch, transactional: true, control: true },
  );
}
