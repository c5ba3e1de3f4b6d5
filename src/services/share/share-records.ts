/**
 * The records of __share_group_state in Kafka's own format: a key led by its type (0 snapshot, 1 update) that names group, topic id and
 * partition, a value led by its version. A snapshot says all of a share partition, an update what changed since. Kafka's tools read
 * the topic.
 */
import { shareSnapshotKey } from '../../../protocol/generated/data-share-snapshot-key.ts';
import { shareSnapshotValue } from '../../../protocol/generated/data-share-snapshot-value.ts';
import { shareUpdateKey } from '../../../protocol/generated/data-share-update-key.ts';
import { shareUpdateValue } from '../../../protocol/generated/data-share-update-value.ts';
import { encodeMessage, type MessageCodec } from '../../../protocol/message-codec.ts';
import { ByteReader } from '../../../protocol/wire/byte-reader.ts';
import { type Int64, safeInteger } from '../../../protocol/wire/int64.ts';
import type { EncodedRecord, ProducerBatch, StateRecordFormat } from '../coordinator/coordinator-machine.ts';
import { deliveryStates, lastingStateOf, type StateBatch } from './record-states.ts';

/** A partition of a topic as a group shares it. */
export interface ShareKey {
  readonly groupId: string;
  readonly topicId: string;
  readonly partition: number;
}

/** What Kafka hashes to find a share partition's coordinator. */
export function shareKeyText({ groupId, topicId, partition }: ShareKey): string {
  return `${groupId}:${topicId}:${partition}`;
}

interface ShareState {
  /** Grows with each snapshot; an update has that of the snapshot it follows. */
  readonly snapshotEpoch: number;
  /** Of the broker that handed the records out. */
  readonly leaderEpoch: number;
  /** -1: not known before the first fetch. */
  readonly startOffset: number;
  /** Records behind the start that are over. */
  readonly deliveryCompleteCount: number;
  readonly batches: readonly StateBatch[];
}

export interface ShareSnapshot extends ShareState {
  readonly type: 'snapshot';
  readonly key: ShareKey;
  /** Grows each time that the state is made anew. */
  readonly stateEpoch: number;
  /** ms since 1970 */
  readonly createMs: number;
  readonly writeMs: number;
}

export interface ShareUpdate extends ShareState {
  readonly type: 'update';
  readonly key: ShareKey;
}

/** The share partition is forgotten. */
export interface ShareTombstone {
  readonly type: 'tombstone';
  readonly key: ShareKey;
}

export type ShareRecord = ShareSnapshot | ShareUpdate | ShareTombstone;

const snapshotType = 0;
const updateType = 1;
const version = 0;
const leadBytes = 2;

export const shareRecordFormat: StateRecordFormat<ShareRecord> = {
  encode(record: ShareRecord): EncodedRecord {
    if (record.type === 'update') {
      const { snapshotEpoch, leaderEpoch, startOffset, deliveryCompleteCount } = record;
      return {
        key: led(updateType, shareUpdateKey, record.key),
        value: led(version, shareUpdateValue, {
          snapshotEpoch,
          leaderEpoch,
          startOffset,
          deliveryCompleteCount,
          stateBatches: record.batches.map(written),
        }),
      };
    }
    const key = led(snapshotType, shareSnapshotKey, record.key);
    if (record.type === 'tombstone') return { key, value: null };
    const { snapshotEpoch, stateEpoch, leaderEpoch, startOffset, deliveryCompleteCount } = record;
    return {
      key,
      value: led(version, shareSnapshotValue, {
        snapshotEpoch,
        stateEpoch,
        leaderEpoch,
        startOffset,
        deliveryCompleteCount,
        createTimestamp: record.createMs,
        writeTimestamp: record.writeMs,
        stateBatches: record.batches.map(written),
      }),
    };
  },

  decode(key: Buffer, value: Buffer | null, batch?: ProducerBatch): ShareRecord | undefined {
    if (batch !== undefined) return undefined;
    const keyReader = new ByteReader(key);
    switch (keyReader.int16('type')) {
      case snapshotType: {
        const place = shareSnapshotKey.decode(keyReader, 0);
        if (value === null) return { type: 'tombstone', key: place };
        const reader = new ByteReader(value);
        const stored = shareSnapshotValue.decode(reader, reader.int16('version'));
        return {
          type: 'snapshot',
          key: place,
          snapshotEpoch: stored.snapshotEpoch,
          stateEpoch: stored.stateEpoch,
          leaderEpoch: stored.leaderEpoch,
          startOffset: safeInteger(stored.startOffset),
          deliveryCompleteCount: stored.deliveryCompleteCount,
          createMs: safeInteger(stored.createTimestamp),
          writeMs: safeInteger(stored.writeTimestamp),
          batches: readBatches(stored.stateBatches),
        };
      }
      case updateType: {
        if (value === null) return undefined;
        const reader = new ByteReader(value);
        const place = shareUpdateKey.decode(keyReader, 0);
        const stored = shareUpdateValue.decode(reader, reader.int16('version'));
        return {
          type: 'update',
          key: place,
          snapshotEpoch: stored.snapshotEpoch,
          leaderEpoch: stored.leaderEpoch,
          startOffset: safeInteger(stored.startOffset),
          deliveryCompleteCount: stored.deliveryCompleteCount,
          batches: readBatches(stored.stateBatches),
        };
      }
      default:
        return undefined;
    }
  },
};

function written({ firstOffset, lastOffset, state, deliveryCount }: StateBatch) {
  return { firstOffset, lastOffset, deliveryState: deliveryStates[state], deliveryCount };
}

function readBatches(
  batches: readonly {
    readonly firstOffset: Int64;
    readonly lastOffset: Int64;
    readonly deliveryState: number;
    readonly deliveryCount: number;
  }[],
): StateBatch[] {
  const read: StateBatch[] = [];
  for (const { firstOffset, lastOffset, deliveryState, deliveryCount } of batches) {
    const state = lastingStateOf(deliveryState);
    if (state === undefined) continue;
    read.push({
      firstOffset: safeInteger(firstOffset),
      lastOffset: safeInteger(lastOffset),
      state,
      deliveryCount,
    });
  }
  return read;
}

function led<I>(lead: number, codec: MessageCodec<unknown, I>, message: I): Buffer {
  const lead16 = Buffer.allocUnsafe(leadBytes);
  lead16.writeInt16BE(lead);
  const parts = encodeMessage(codec, message, 0, lead16);
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
