/**
 * A transactional producer on the wire that is written to be exact about what it knows: it sends again what was not answered, with the
 * same sequence, and says `unknown` only where the end of a transaction was asked for and not answered.
 */
import { type ErrorCode, errorCodes, errorName } from '../../protocol/error-codes.ts';
import { produceRequest, produceResponse } from '../../protocol/generated/00-produce.ts';
import { offsetFetchRequest, offsetFetchResponse } from '../../protocol/generated/09-offset-fetch.ts';
import {
  findCoordinatorRequest,
  findCoordinatorResponse,
} from '../../protocol/generated/10-find-coordinator.ts';
import {
  initProducerIdRequest,
  initProducerIdResponse,
} from '../../protocol/generated/22-init-producer-id.ts';
import {
  addPartitionsToTxnRequest,
  addPartitionsToTxnResponse,
} from '../../protocol/generated/24-add-partitions-to-txn.ts';
import {
  addOffsetsToTxnRequest,
  addOffsetsToTxnResponse,
} from '../../protocol/generated/25-add-offsets-to-txn.ts';
import { endTxnRequest, endTxnResponse } from '../../protocol/generated/26-end-txn.ts';
import {
  txnOffsetCommitRequest,
  txnOffsetCommitResponse,
} from '../../protocol/generated/28-txn-offset-commit.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { WireClient } from '../crash/wire-client.ts';

/** Kafka's transaction.version of the client: 2 adds partitions by producing to them and has a new epoch in each transaction (KIP-890). */
export type TransactionVersion = 1 | 2;

/** Its transaction cannot go on; the producer must be initialised again. */
export class TransactionLost extends Error {
  override readonly name = 'TransactionLost';
  readonly code: ErrorCode;

  constructor(what: string, code: ErrorCode) {
    super(`${what}: ${errorName(code)}`);
    this.code = code;
  }
}

/** The producer was told to give up. */
export class GivenUp extends Error {
  override readonly name = 'GivenUp';
}

const comesAgain = new Set<number>([
  errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
  errorCodes.LEADER_NOT_AVAILABLE,
  errorCodes.NOT_LEADER_OR_FOLLOWER,
  errorCodes.REQUEST_TIMED_OUT,
  errorCodes.COORDINATOR_LOAD_IN_PROGRESS,
  errorCodes.COORDINATOR_NOT_AVAILABLE,
  errorCodes.NOT_COORDINATOR,
  errorCodes.CONCURRENT_TRANSACTIONS,
  errorCodes.UNSTABLE_OFFSET_COMMIT,
  errorCodes.KAFKA_STORAGE_ERROR,
]);

const pauseMs = 20;

/** One connection that is made again when it goes, and requests that are sent again until they are answered. */
export class PatientClient {
  readonly name: string;
  private readonly port: number;
  private readonly isOver: () => boolean;
  private connection: WireClient | undefined;

  constructor(name: string, port: number, isOver: () => boolean) {
    this.name = name;
    this.port = port;
    this.isOver = isOver;
  }

  close(): void {
    this.connection?.close();
    this.connection = undefined;
  }

  /** `send` again and again until its code is not one that comes again. @throws GivenUp */
  async ask<Answer>(
    send: (client: WireClient) => Promise<Answer>,
    codeOf: (answer: Answer) => number,
  ): Promise<Answer> {
    for (;;) {
      if (this.isOver()) throw new GivenUp(`${this.name} was told to give up`);
      const answer = await this.once(send);
      if (answer !== undefined && !comesAgain.has(codeOf(answer))) return answer;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  /** Undefined where the connection could not be had or went before the answer came. */
  private async once<Answer>(send: (client: WireClient) => Promise<Answer>): Promise<Answer | undefined> {
    try {
      if (this.connection === undefined || this.connection.isGone) {
        this.connection = await WireClient.connect(this.port, this.name);
      }
      return await send(this.connection);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === undefined && message !== 'the connection is gone') throw error;
      return undefined;
    }
  }
}

export interface Place {
  readonly topic: string;
  readonly index: number;
}

export class TransactionalClient {
  readonly transactionalId: string;
  private readonly version: TransactionVersion;
  private readonly client: PatientClient;
  private producerId = -1;
  private producerEpoch = -1;
  private readonly sequences = new Map<string, number>();
  private readonly added = new Set<string>();

  constructor(transactionalId: string, version: TransactionVersion, client: PatientClient) {
    this.transactionalId = transactionalId;
    this.version = version;
    this.client = client;
  }

  /** Aborts what is left of any earlier producer of this id, and fences it. */
  async init(): Promise<void> {
    await findCoordinator(this.client, this.transactionalId, 1);
    const answer = await this.client.ask(
      (client) =>
        client.request(initProducerIdRequest, initProducerIdResponse, this.version === 2 ? 5 : 4, {
          transactionalId: this.transactionalId,
          transactionTimeoutMs: 30_000,
          producerId: -1,
          producerEpoch: -1,
        }),
      ({ errorCode }) => errorCode,
    );
    fail('InitProducerId', answer.errorCode);
    this.identify(Number(answer.producerId), answer.producerEpoch);
    this.added.clear();
  }

  /** The offset of the first record; undefined where it was a duplicate whose offset is not known. */
  async send({ topic, index }: Place, values: readonly number[]): Promise<number | undefined> {
    const key = `${topic}-${index}`;
    if (this.version === 1) await this.addPartition({ topic, index });
    const baseSequence = this.sequences.get(key) ?? 0;
    const records = buildRecordBatch(
      values.map((value) => ({ timestamp: Date.now(), value: Buffer.from(String(value)) })),
      {
        baseOffset: 0,
        producerId: this.producerId,
        producerEpoch: this.producerEpoch,
        baseSequence,
        transactional: true,
      },
    );
    const answer = await this.client.ask(
      (client) =>
        client.request(produceRequest, produceResponse, this.version === 2 ? 12 : 9, {
          transactionalId: this.transactionalId,
          acks: -1,
          timeoutMs: 10_000,
          topicData: [{ name: topic, partitionData: [{ index, records }] }],
        }),
      ({ responses }) => responses[0]!.partitionResponses[0]!.errorCode,
    );
    const { errorCode, baseOffset } = answer.responses[0]!.partitionResponses[0]!;
    if (errorCode !== errorCodes.DUPLICATE_SEQUENCE_NUMBER) fail('Produce', errorCode);
    this.sequences.set(key, baseSequence + values.length);
    return errorCode === errorCodes.NONE && Number(baseOffset) >= 0 ? Number(baseOffset) : undefined;
  }

  async commitOffset(group: string, { topic, index }: Place, offset: number): Promise<void> {
    const ids = {
      transactionalId: this.transactionalId,
      producerId: this.producerId,
      producerEpoch: this.producerEpoch,
    };
    if (this.version === 1) {
      const answer = await this.client.ask(
        (client) =>
          client.request(addOffsetsToTxnRequest, addOffsetsToTxnResponse, 3, { ...ids, groupId: group }),
        ({ errorCode }) => errorCode,
      );
      fail('AddOffsetsToTxn', answer.errorCode);
    }
    await findCoordinator(this.client, group, 0);
    const answer = await this.client.ask(
      (client) =>
        client.request(txnOffsetCommitRequest, txnOffsetCommitResponse, this.version === 2 ? 5 : 3, {
          ...ids,
          groupId: group,
          topics: [
            {
              name: topic,
              partitions: [{ partitionIndex: index, committedOffset: offset, committedMetadata: '' }],
            },
          ],
        }),
      ({ topics }) => topics[0]!.partitions[0]!.errorCode,
    );
    fail('TxnOffsetCommit', answer.topics[0]!.partitions[0]!.errorCode);
  }

  /** `lose`: how many answers to leave unread and ask again. @throws TransactionLost, GivenUp: the end is unknown then. */
  async end(committed: boolean): Promise<void> {
    const answer = await this.client.ask(
      (client) =>
        client.request(endTxnRequest, endTxnResponse, this.version === 2 ? 5 : 3, {
          transactionalId: this.transactionalId,
          producerId: this.producerId,
          producerEpoch: this.producerEpoch,
          committed,
        }),
      ({ errorCode }) => errorCode,
    );
    fail('EndTxn', answer.errorCode);
    this.added.clear();
    if (this.version === 2) this.identify(Number(answer.producerId), answer.producerEpoch);
  }

  private identify(producerId: number, producerEpoch: number): void {
    if (producerId !== this.producerId || producerEpoch !== this.producerEpoch) this.sequences.clear();
    this.producerId = producerId;
    this.producerEpoch = producerEpoch;
  }

  private async addPartition({ topic, index }: Place): Promise<void> {
    const key = `${topic}-${index}`;
    if (this.added.has(key)) return;
    const answer = await this.client.ask(
      (client) =>
        client.request(addPartitionsToTxnRequest, addPartitionsToTxnResponse, 3, {
          transactions: [],
          v3AndBelowTransactionalId: this.transactionalId,
          v3AndBelowProducerId: this.producerId,
          v3AndBelowProducerEpoch: this.producerEpoch,
          v3AndBelowTopics: [{ name: topic, partitions: [index] }],
        }),
      ({ resultsByTopicV3AndBelow }) =>
        resultsByTopicV3AndBelow[0]!.resultsByPartition[0]!.partitionErrorCode,
    );
    fail('AddPartitionsToTxn', answer.resultsByTopicV3AndBelow[0]!.resultsByPartition[0]!.partitionErrorCode);
    this.added.add(key);
  }
}

/** The group's committed offset, stable (no transaction may change it any more); -1: none. */
export async function fetchOffset(
  client: PatientClient,
  group: string,
  { topic, index }: Place,
): Promise<number> {
  await findCoordinator(client, group, 0);
  const answer = await client.ask(
    (connection) =>
      connection.request(offsetFetchRequest, offsetFetchResponse, 7, {
        groupId: group,
        topics: [{ name: topic, partitionIndexes: [index] }],
        requireStable: true,
      }),
    ({ errorCode, topics }) => errorCode || topics[0]!.partitions[0]!.errorCode,
  );
  fail('OffsetFetch', answer.errorCode || answer.topics[0]!.partitions[0]!.errorCode);
  return Number(answer.topics[0]!.partitions[0]!.committedOffset);
}

async function findCoordinator(client: PatientClient, key: string, keyType: number): Promise<void> {
  const answer = await client.ask(
    (connection) => connection.request(findCoordinatorRequest, findCoordinatorResponse, 2, { key, keyType }),
    ({ errorCode }) => errorCode,
  );
  fail('FindCoordinator', answer.errorCode);
}

function fail(what: string, code: number): void {
  if (code !== errorCodes.NONE) throw new TransactionLost(what, code as ErrorCode);
}
