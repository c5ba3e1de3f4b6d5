/**
 * Where features join the path of a produced batch: between Kafka's own checks and the engine. Each step is asked in the order
 * in which the composition root lists them, for every partition of a request before anything of it is appended. Knows no
 * feature.
 */
import type { AppendGroup, AppendResult, Fence, IndexChange, QueueId } from '../../storage/engine.ts';
import type { Partition, Topic } from '../topics/topic.ts';
import type { AdmittedBatch, Refusal } from './batch-admission.ts';

/** What is appended for one partition, and how that is answered. */
export interface PlannedAppend {
  readonly group: AppendGroup;
  /** The group's entry whose offset is the answer's; -1 where the record has no offset to tell (it is hidden). */
  readonly answeringEntry: number;
  /** Of a transaction's batch, what only its end decides about: transactions/held-records.ts says how a feature takes part. */
  readonly held?: readonly HeldEntry[];
  /** Called when the group was appended, before the answer. */
  appended?(results: readonly AppendResult[]): void;
}

/** A hidden entry of a group (or a visible one that something goes with), until the transaction that it belongs to ends. */
export interface HeldEntry {
  /** Place in the group. */
  readonly entry: number;
  /** Whose handler is asked at a commit. */
  readonly feature: number;
  /** For that handler. */
  readonly payload: Buffer;
}

/**
 * What is done for one partition where that takes more than one group known beforehand: it has to look first, or may be refused
 * after a look. Begun when the whole request was checked. Not for batches of transactions, which are checked and appended in one turn.
 */
export interface PlannedWork {
  /** Must copy what it needs of the payload before it waits. Rejections are answered as UNKNOWN_SERVER_ERROR. */
  perform(): Promise<Refusal | PerformedWork>;
}

export interface PerformedWork {
  readonly baseOffset: number;
  readonly logStartOffset: number;
}

export interface AppendTarget {
  readonly topic: Topic;
  readonly partition: Partition;
  readonly transactionalId: string | null;
  readonly version: number;
  readonly durability: AppendGroup['durability'];
}

export interface AppendStep {
  readonly name: string;
  /**
   * Undefined: no concern of this step. A batch: what the next steps see in its place. A plan: what is appended instead, and
   * no further step is asked. Must not keep the payload, which is a view of the request.
   */
  apply(
    batch: AdmittedBatch,
    target: AppendTarget,
  ): AdmittedBatch | PlannedAppend | PlannedWork | Refusal | undefined;
}

/** A batch of a transaction that passed every other check. */
export interface TransactionalBatch {
  readonly topic: Topic;
  readonly partition: Partition;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly plan: PlannedAppend;
}

/**
 * A batch with which a transaction begins in its partition, or may, or of which something is held until the end: what its append group
 * carries beside it.
 */
export interface OpeningBatch {
  readonly changes: readonly IndexChange[];
  readonly fence: Fence;
  /** What became of the group's entries; called once. */
  settled(results: readonly AppendResult[]): void;
}

/** Whether batches of transactions may be appended (KIP-98, KIP-890); transactions are not part of this folder. */
export interface TransactionGate {
  /** NONE, or the error code of every partition of the request, before any of it is looked at. */
  admitRequest(transactionalId: string | null): number;
  /**
   * One verdict a batch, in order; undefined: it is appended like any other. The state that the verdicts rest on stands in the log
   * when this returns.
   */
  admit(
    transactionalId: string,
    version: number,
    batches: readonly TransactionalBatch[],
  ): readonly (Refusal | OpeningBatch | undefined)[];
  /** NONE, or why a batch that is of no transaction may not be appended for the producer. */
  admitPlain(queue: QueueId, producerId: number): number;
}
