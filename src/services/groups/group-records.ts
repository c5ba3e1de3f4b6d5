/**
 * The records of __consumer_offsets that are served, in Kafka's own format: a key led by its type (0 and 1 committed offset,
 * 2 classic group), a value led by its version. Offsets of a transaction stand in a transactional batch of their producer, and count
 * from the control record on that says that it was committed. Kafka's tools read the topic.
 */

import {
  type GroupMetadataKey,
  groupMetadataKey,
} from '../../../protocol/generated/data-group-metadata-key.ts';
import {
  type GroupMetadataValueInput,
  groupMetadataValue,
} from '../../../protocol/generated/data-group-metadata-value.ts';
import { type OffsetCommitKey, offsetCommitKey } from '../../../protocol/generated/data-offset-commit-key.ts';
import {
  type OffsetCommitValueInput,
  offsetCommitValue,
} from '../../../protocol/generated/data-offset-commit-value.ts';
import { encodeMessage, type MessageCodec } from '../../../protocol/message-codec.ts';
import {
  decodeMarker,
  encodeMarkerKey,
  encodeMarkerValue,
} from '../../../protocol/records/end-transaction-marker.ts';
import { ByteReader } from '../../../protocol/wire/byte-reader.ts';
import type { EncodedRecord, ProducerBatch, StateRecordFormat } from '../coordinator/coordinator-machine.ts';

export interface OffsetCommitRecord {
  readonly type: 'offset-commit';
  readonly key: OffsetCommitKey;
  /** null: the offset is gone. */
  readonly value: OffsetCommitValueInput | null;
}

export interface GroupMetadataRecord {
  readonly type: 'group-metadata';
  readonly key: GroupMetadataKey;
  /** null: the group is gone. */
  readonly value: GroupMetadataValueInput | null;
}

/** An offset that counts once the producer's transaction is committed. */
export interface TransactionalOffsetRecord {
  readonly type: 'transactional-offset';
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly key: OffsetCommitKey;
  readonly value: OffsetCommitValueInput | null;
}

/** The producer's transaction ended. */
export interface TransactionEndRecord {
  readonly type: 'transaction-end';
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly isCommit: boolean;
  readonly coordinatorEpoch: number;
}

export type GroupRecord =
  | OffsetCommitRecord
  | GroupMetadataRecord
  | TransactionalOffsetRecord
  | TransactionEndRecord;

const legacyOffsetCommitType = 0;
const offsetCommitType = 1;
const groupMetadataType = 2;
/** What Kafka 4 writes: version 3 of a group; of an offset 4, or 1 where a client of old asked for a retention of its own. */
const groupMetadataVersion = 3;
const offsetCommitVersion = 4;
const offsetCommitWithExpiryVersion = 1;

export const groupRecordFormat: StateRecordFormat<GroupRecord> = {
  encode(record: GroupRecord): EncodedRecord {
    if (record.type === 'group-metadata') {
      return {
        key: led(groupMetadataType, groupMetadataKey, record.key, 0),
        value:
          record.value === null
            ? null
            : led(groupMetadataVersion, groupMetadataValue, record.value, groupMetadataVersion),
      };
    }
    if (record.type === 'transaction-end') {
      const { producerId, producerEpoch, isCommit, coordinatorEpoch } = record;
      return {
        key: encodeMarkerKey(isCommit),
        value: encodeMarkerValue(coordinatorEpoch),
        batch: { producerId, producerEpoch, isControl: true },
      };
    }
    const encoded = encodeOffset(record);
    if (record.type === 'offset-commit') return encoded;
    const { producerId, producerEpoch } = record;
    return { ...encoded, batch: { producerId, producerEpoch, isControl: false } };
  },

  decode(key: Buffer, value: Buffer | null, batch?: ProducerBatch): GroupRecord | undefined {
    if (batch?.isControl === true) {
      const end = decodeMarker(key, value);
      if (end === undefined) return undefined;
      const { producerId, producerEpoch } = batch;
      return { type: 'transaction-end', producerId, producerEpoch, ...end };
    }
    const keyReader = new ByteReader(key);
    switch (keyReader.int16('type')) {
      case legacyOffsetCommitType:
      case offsetCommitType: {
        const offset = {
          key: offsetCommitKey.decode(keyReader, 0),
          value: versioned(offsetCommitValue, value),
        };
        if (batch === undefined) return { type: 'offset-commit', ...offset };
        const { producerId, producerEpoch } = batch;
        return { type: 'transactional-offset', producerId, producerEpoch, ...offset };
      }
      case groupMetadataType:
        return {
          type: 'group-metadata',
          key: groupMetadataKey.decode(keyReader, 0),
          value: versioned(groupMetadataValue, value),
        };
      default:
        return undefined;
    }
  },
};

function encodeOffset(record: Pick<OffsetCommitRecord, 'key' | 'value'>): EncodedRecord {
  const key = led(offsetCommitType, offsetCommitKey, record.key, 0);
  if (record.value === null) return { key, value: null };
  const expires = record.value.expireTimestamp !== undefined && record.value.expireTimestamp !== -1;
  const version = expires ? offsetCommitWithExpiryVersion : offsetCommitVersion;
  return { key, value: led(version, offsetCommitValue, record.value, version) };
}

function led<I>(lead: number, codec: MessageCodec<unknown, I>, message: I, version: number): Buffer {
  const leadBytes = Buffer.allocUnsafe(2);
  leadBytes.writeInt16BE(lead);
  const parts = encodeMessage(codec, message, version, leadBytes);
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

function versioned<T>(codec: MessageCodec<T, never>, value: Buffer | null): T | null {
  if (value === null) return null;
  const reader = new ByteReader(value);
  return codec.decode(reader, reader.int16('version'));
}
