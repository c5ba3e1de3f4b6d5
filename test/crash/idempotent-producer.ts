/**
 * An idempotent producer of the crash test: numbers its batches in each partition, keeps up to five of them on their way, and
 * sends every one again, with its sequence, until it is acknowledged. Writes all it does into the journal.
 */
import { errorCodes, errorName } from '../../protocol/error-codes.ts';
import { produceRequest, produceResponse } from '../../protocol/generated/00-produce.ts';
import {
  initProducerIdRequest,
  initProducerIdResponse,
} from '../../protocol/generated/22-init-producer-id.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { type PartitionJournal, recordValue } from './journal.ts';
import { WireClient } from './wire-client.ts';

const produceVersion = 8;
const initProducerIdVersion = 1;
const inFlightPerPartition = 5;
const largestBatchRecords = 8;

/** Errors after which a batch is sent again. Any other is a failure of the test. */
const retriable = new Set<number>([
  errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
  errorCodes.LEADER_NOT_AVAILABLE,
  errorCodes.NOT_LEADER_OR_FOLLOWER,
  errorCodes.REQUEST_TIMED_OUT,
  errorCodes.KAFKA_STORAGE_ERROR,
]);

interface Batch {
  readonly firstNumber: number;
  readonly count: number;
  readonly bytes: Buffer;
  onItsWay: boolean;
}

interface PartitionState {
  readonly topic: string;
  readonly acks: number;
  readonly index: number;
  readonly journal: PartitionJournal;
  /** Not acknowledged yet, in the order of their numbers. */
  unresolved: Batch[];
  nextNumber: number;
}

/** PartitionUnderTest is one. */
export interface ProducedPartition {
  readonly topic: string;
  readonly acks: number;
  readonly index: number;
  readonly journal: PartitionJournal;
}

export class IdempotentProducer {
  readonly name: string;
  readonly failures: string[] = [];
  ackedBatches = 0;
  resentBatches = 0;
  private readonly partitions: PartitionState[];
  private readonly random: () => number;
  private producerId: number | undefined;
  private producerEpoch = 0;
  private isStopping = false;

  constructor(name: string, partitions: readonly ProducedPartition[], random: () => number) {
    this.name = name;
    this.partitions = partitions.map(({ topic, acks, index, journal }) => ({
      topic,
      acks,
      index,
      journal,
      unresolved: [],
      nextNumber: 0,
    }));
    this.random = random;
  }

  /** No new batches; those on their way are still followed up. */
  stop(): void {
    this.isStopping = true;
  }

  get isDone(): boolean {
    return this.isStopping && this.partitions.every((partition) => partition.unresolved.length === 0);
  }

  /** The end of a partition's log is lost, as it may be: goes on at `number`, which is the next sequence as well. */
  rewind(journal: PartitionJournal, number: number): void {
    const partition = this.partitions.find((one) => one.journal === journal)!;
    partition.unresolved = [];
    partition.nextNumber = number;
  }

  /**
   * Produces until the connection goes, or, once stopped, until everything is acknowledged. `acks`: to the partitions of such
   * acknowledgements only.
   */
  async produce(port: number, acks?: number): Promise<void> {
    for (const partition of this.partitions) {
      for (const batch of partition.unresolved) {
        if (batch.onItsWay) this.resentBatches++;
        batch.onItsWay = false;
      }
    }
    let client: WireClient;
    try {
      client = await WireClient.connect(port, this.name);
    } catch {
      return; // killed again before it listened
    }
    try {
      if (this.producerId === undefined && !(await this.init(client))) return;
      await this.pump(client, acks);
    } catch (error) {
      if (!(error instanceof Error) || error.message !== 'the connection is gone') throw error;
    } finally {
      client.close();
    }
  }

  private async init(client: WireClient): Promise<boolean> {
    const answer = await client.request(
      initProducerIdRequest,
      initProducerIdResponse,
      initProducerIdVersion,
      {
        transactionalId: null,
        transactionTimeoutMs: 60_000,
      },
    );
    if (answer.errorCode !== errorCodes.NONE) return false;
    this.producerId = Number(answer.producerId);
    this.producerEpoch = answer.producerEpoch;
    return true;
  }

  private async pump(client: WireClient, acks: number | undefined): Promise<void> {
    const wanted = this.partitions.filter((partition) => acks === undefined || partition.acks === acks);
    const topics = [...new Set(wanted.map((partition) => partition.topic))];
    await Promise.all(
      topics.map(async (topic) => {
        const ofTopic = this.partitions.filter((partition) => partition.topic === topic);
        // Several loops, so that requests are pipelined on the connection.
        await Promise.all(Array.from({ length: inFlightPerPartition }, () => this.loop(client, ofTopic)));
      }),
    );
  }

  private async loop(client: WireClient, partitions: readonly PartitionState[]): Promise<void> {
    while (!client.isGone && !this.isDone && this.failures.length === 0) {
      const sending = partitions.flatMap((partition) => {
        // Not always all of them, so that groups differ.
        if (!this.isStopping && this.random() < 0.3) return [];
        const batch = this.nextBatch(partition);
        return batch === undefined ? [] : [{ partition, batch }];
      });
      if (sending.length === 0) {
        await pause(1);
        if (this.isStopping && partitions.every((partition) => partition.unresolved.length === 0)) return;
        continue;
      }
      for (const { batch } of sending) batch.onItsWay = true;
      const answer = await client.request(produceRequest, produceResponse, produceVersion, {
        acks: partitions[0]!.acks,
        timeoutMs: 10_000,
        topicData: [
          {
            name: partitions[0]!.topic,
            partitionData: sending.map(({ partition, batch }) => ({
              index: partition.index,
              records: batch.bytes,
            })),
          },
        ],
      });
      const answers = new Map(answer.responses[0]!.partitionResponses.map((one) => [one.index, one]));
      for (const { partition, batch } of sending) {
        const one = answers.get(partition.index);
        this.resolve(
          partition,
          batch,
          one?.errorCode ?? errorCodes.UNKNOWN_SERVER_ERROR,
          Number(one?.baseOffset),
        );
      }
      if (this.random() < 0.5) await pause(this.random() * 3);
    }
  }

  /** The next batch that may go out: a new one, or one to be sent again once those behind it have come back. */
  private nextBatch(partition: PartitionState): Batch | undefined {
    const { unresolved } = partition;
    const waiting = unresolved.findIndex((batch) => !batch.onItsWay);
    if (waiting >= 0) {
      return unresolved.slice(waiting).some((batch) => batch.onItsWay) ? undefined : unresolved[waiting];
    }
    if (this.isStopping || unresolved.length >= inFlightPerPartition) return undefined;
    const count = 1 + Math.floor(this.random() * largestBatchRecords);
    const firstNumber = partition.nextNumber;
    partition.nextNumber += count;
    partition.journal.sent(this.name, firstNumber, count);
    const batch: Batch = {
      firstNumber,
      count,
      bytes: this.encode(partition, firstNumber, count),
      onItsWay: false,
    };
    unresolved.push(batch);
    return batch;
  }

  private encode(partition: PartitionState, firstNumber: number, count: number): Buffer {
    return buildRecordBatch(
      Array.from({ length: count }, (_, at) => ({
        timestamp: Date.now(),
        key: Buffer.from(this.name),
        value: recordValue(partition.journal.name, this.name, firstNumber + at),
      })),
      {
        baseOffset: 0,
        producerId: this.producerId!,
        producerEpoch: this.producerEpoch,
        baseSequence: firstNumber,
      },
    );
  }

  private resolve(partition: PartitionState, batch: Batch, errorCode: number, baseOffset: number): void {
    batch.onItsWay = false;
    const isFirst = partition.unresolved[0] === batch;
    if (errorCode === errorCodes.NONE || errorCode === errorCodes.DUPLICATE_SEQUENCE_NUMBER) {
      partition.unresolved.splice(partition.unresolved.indexOf(batch), 1);
      partition.journal.acknowledged(this.name, {
        firstNumber: batch.firstNumber,
        count: batch.count,
        baseOffset: errorCode === errorCodes.NONE && baseOffset >= 0 ? baseOffset : undefined,
        atMs: performance.now(),
      });
      this.ackedBatches++;
      return;
    }
    // Behind one that failed the sequence has a gap: that is as it should be, and the batch follows later.
    if (retriable.has(errorCode) || (errorCode === errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER && !isFirst)) {
      this.resentBatches++;
      return;
    }
    this.failures.push(
      `${partition.journal.name}: records ${batch.firstNumber} on of ${this.name} were refused: ${errorName(errorCode)}`,
    );
  }
}

function pause(forMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, forMs));
}
