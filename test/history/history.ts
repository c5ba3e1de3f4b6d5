/**
 * What clients did with transactions and saw, written down while they did it: the input of check-history.ts. Times are of one monotonic
 * clock. Every value is sent once in a history; sending it again after a lost answer is the same send. Knows no client and no broker.
 */

/** topic-partition */
export type PartitionName = string;

export interface Send {
  readonly partition: PartitionName;
  readonly value: number;
  /** As acknowledged; undefined where no acknowledgement came. */
  readonly offset?: number;
}

/** Input records that the transaction has processed: its offsets are committed with it. */
export interface Consumed {
  readonly group: string;
  readonly partition: PartitionName;
  readonly values: readonly number[];
  /** The offset committed: one past the last record processed. */
  readonly toOffset: number;
}

export interface TransactionOp {
  readonly kind: 'transaction';
  readonly process: string;
  /** unknown: the answer to the end never came, or did not say. */
  readonly outcome: 'committed' | 'aborted' | 'unknown';
  readonly sends: readonly Send[];
  readonly consumed?: Consumed;
  /** When the commit was first asked for; undefined: never. */
  readonly commitAskedMs?: number;
  readonly endMs: number;
}

export interface SeenRecord {
  readonly offset: number;
  readonly value: number;
}

/** One read_committed fetch of one partition. */
export interface PollOp {
  readonly kind: 'poll';
  readonly process: string;
  /** Polls of one process with the same number follow one another without a seek. */
  readonly session: number;
  readonly partition: PartitionName;
  readonly position: number;
  readonly nextPosition: number;
  readonly records: readonly SeenRecord[];
  readonly startMs: number;
  readonly endMs: number;
}

/** A committed offset, as a group was told. */
export interface OffsetFetchOp {
  readonly kind: 'offset-fetch';
  readonly group: string;
  readonly partition: PartitionName;
  /** -1: none. */
  readonly offset: number;
  readonly startMs: number;
  readonly endMs: number;
}

export type Operation = TransactionOp | PollOp | OffsetFetchOp;

export interface History {
  readonly operations: readonly Operation[];
  /** Every partition as read_committed shows it at the end, from its beginning, when all transactions had ended. */
  readonly final: ReadonlyMap<PartitionName, readonly SeenRecord[]>;
  /** The committed offset of each input partition at the end. */
  readonly finalOffsets: ReadonlyMap<PartitionName, number>;
}
