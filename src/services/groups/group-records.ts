/**
 * The records of __consumer_offsets that are served, in Kafka's own format: a key led by its type (0 and 1 committed offset,
 * 2 classic group, others as each kind of group lists them), a value led by its version. Offsets of a transaction stand in a transactional batch of their producer, and count
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
import type { MessageCodec } from '../../../protocol/message-codec.ts';
import {
  decodeMarker,
  encodeMarkerKey,
  encodeMarkerValue,
} from '../../../protocol/records/end-transaction-marker.ts';
import { ByteReader } from '../../../protocol/wire/byte-reader.ts';
import type { EncodedRecord, ProducerBatch, StateRecordFormat } from '../coordinator/coordinator-machine.ts';
import { type AnyRecordKind, led, type RecordKind, versioned } from './common/record-kind.ts';
import { type ConsumerGroupRecord, consumerGroupRecordKinds } from './consumer/consumer-group-records.ts';

import { type ShareGroupRecord, shareGroupRecordKinds } from './share/share-group-records.ts';

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
  | ConsumerGroupRecord
  | ShareGroupRecord
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

/** The kinds of record that groups with server-side assignment have. */
const listedKinds: readonly AnyRecordKind[] = [
  ...consumerGroupRecordKinds,
  ...shareGroupRecordKinds,
] as readonly unknown[] as readonly AnyRecordKind[];
type ListedRecord = ConsumerGroupRecord | ShareGroupRecord;

type UncheckedKind = RecordKind<string, unknown, unknown>;
const kindByType = new Map(listedKinds.map((kind) => [kind.type, kind as unknown as UncheckedKind]));
const kindByKeyType = new Map(listedKinds.map((kind) => [kind.keyType, kind as unknown as UncheckedKind]));

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
    const kind = kindByType.get(record.type);
    if (kind !== undefined) {
      const { key, value } = record as ListedRecord;
      return {
        key: led(kind.keyType, kind.key, key, 0),
        value: value === null ? null : led(kind.valueVersion, kind.value, value, kind.valueVersion),
      };
    }
    const encoded = encodeOffset(record as OffsetCommitRecord | TransactionalOffsetRecord);
    if (record.type !== 'transactional-offset') return encoded;
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
    const keyType = keyReader.int16('type');
    switch (keyType) {
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
      default: {
        const kind = kindByKeyType.get(keyType);
        if (kind === undefined) return undefined;
        return {
          type: kind.type,
          key: kind.key.decode(keyReader, 0),
          value: versioned(kind.value as MessageCodec<unknown, never>, value),
        } as ListedRecord;
      }
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
