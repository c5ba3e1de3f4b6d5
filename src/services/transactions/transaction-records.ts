/**
 * The records of __transaction_state in Kafka's own format: the key is a transactional id, the value all that its coordinator knows
 * of it, led by a version. Kafka's tools read the topic.
 */
import { transactionLogKey } from '../../../protocol/generated/data-transaction-log-key.ts';
import { transactionLogValue } from '../../../protocol/generated/data-transaction-log-value.ts';
import { encodeMessage, type MessageCodec } from '../../../protocol/message-codec.ts';
import { ByteReader } from '../../../protocol/wire/byte-reader.ts';
import { safeInteger } from '../../../protocol/wire/int64.ts';
import type { EncodedRecord, ProducerBatch, StateRecordFormat } from '../coordinator/coordinator-machine.ts';

/** By Kafka's ids. The end of a transaction is one append, so that those between Ongoing and the two Complete are never written. */
export const transactionStates = [
  'Empty',
  'Ongoing',
  'PrepareCommit',
  'PrepareAbort',
  'CompleteCommit',
  'CompleteAbort',
  'Dead',
  'PrepareEpochFence',
] as const;

export type TransactionStateName = (typeof transactionStates)[number];

/** Partitions by topic name. Never changed: a change makes another one. */
export type PartitionsByTopic = ReadonlyMap<string, ReadonlySet<number>>;

export interface TransactionState {
  readonly producerId: number;
  /** The producer id before the last change: -1 where there was none. */
  readonly previousProducerId: number;
  /** -1: not yet given to anyone. */
  readonly producerEpoch: number;
  /** The epoch before the present one, where the producer itself asked for that (KIP-360); -1 else. Not kept over a restart, as in Kafka. */
  readonly lastProducerEpoch: number;
  readonly timeoutMs: number;
  readonly state: TransactionStateName;
  readonly partitions: PartitionsByTopic;
  /** ms since 1970; -1 where none has begun. */
  readonly startMs: number;
  /** ms since 1970 */
  readonly updateMs: number;
  /** transaction.version of the client (KIP-890): 2 means that each end raises the epoch. */
  readonly clientVersion: number;
}

export interface TransactionRecord {
  readonly transactionalId: string;
  /** null: the id is forgotten. */
  readonly state: TransactionState | null;
}

const keyType = 0;
/** Version 1 is flexible: it holds the previous producer id and the client's transaction version. */
const valueVersion = 1;
const leadBytes = 2;

export const noPartitions: PartitionsByTopic = new Map();

export const transactionRecordFormat: StateRecordFormat<TransactionRecord> = {
  encode({ transactionalId, state }: TransactionRecord): EncodedRecord {
    const key = led(keyType, transactionLogKey, { transactionalId }, 0);
    if (state === null) return { key, value: null };
    return {
      key,
      value: led(
        valueVersion,
        transactionLogValue,
        {
          producerId: state.producerId,
          previousProducerId: state.previousProducerId,
          producerEpoch: state.producerEpoch,
          transactionTimeoutMs: state.timeoutMs,
          transactionStatus: transactionStates.indexOf(state.state),
          transactionPartitions:
            state.state === 'Empty'
              ? null
              : [...state.partitions].map(([topic, partitions]) => ({
                  topic,
                  partitionIds: [...partitions],
                })),
          transactionLastUpdateTimestampMs: state.updateMs,
          transactionStartTimestampMs: state.startMs,
          clientTransactionVersion: state.clientVersion,
        },
        valueVersion,
      ),
    };
  },

  decode(key: Buffer, value: Buffer | null, batch?: ProducerBatch): TransactionRecord | undefined {
    const keyReader = new ByteReader(key);
    if (batch !== undefined || keyReader.int16('type') !== keyType) return undefined;
    const { transactionalId } = transactionLogKey.decode(keyReader, 0);
    if (value === null) return { transactionalId, state: null };
    const reader = new ByteReader(value);
    const stored = transactionLogValue.decode(reader, reader.int16('version'));
    return {
      transactionalId,
      state: {
        producerId: safeInteger(stored.producerId),
        previousProducerId: safeInteger(stored.previousProducerId),
        producerEpoch: stored.producerEpoch,
        lastProducerEpoch: -1,
        timeoutMs: stored.transactionTimeoutMs,
        state: transactionStates[stored.transactionStatus] ?? 'Dead',
        partitions: new Map(
          (stored.transactionPartitions ?? []).map(({ topic, partitionIds }) => [
            topic,
            new Set(partitionIds),
          ]),
        ),
        startMs: safeInteger(stored.transactionStartTimestampMs),
        updateMs: safeInteger(stored.transactionLastUpdateTimestampMs),
        clientVersion: stored.clientTransactionVersion,
      },
    };
  },
};

function led<I>(lead: number, codec: MessageCodec<unknown, I>, message: I, version: number): Buffer {
  const lead16 = Buffer.allocUnsafe(leadBytes);
  lead16.writeInt16BE(lead);
  const parts = encodeMessage(codec, message, version, lead16);
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
