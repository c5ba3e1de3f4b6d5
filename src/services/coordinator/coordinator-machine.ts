/**
 * What a coordinator's state machine is to the runtime that it runs on. Coordinators of groups and transactions are written against
 * this file alone; that of share groups will be. Nothing here knows of sockets, files or Kafka's messages.
 *
 * A machine is the state of one partition of an internal topic. A command is a call of one of its methods: it looks at the state,
 * appends records and answers tickets through `Effects`. What must survive is changed by `replay` alone, which `Effects.append`
 * calls at once, because the place of the record in the log is fixed by then; members that are still joining, deadlines and the
 * like live in memory only and are changed directly. When an append is refused the runtime throws the machine away and reads the
 * log again: a machine has no code to go back.
 */
import type { ErrorCode } from '../../../protocol/error-codes.ts';
import type { Timer } from '../../util/clock.ts';

/** One request that waits for its answer. A command may answer it, or keep it for a later command to answer. */
export interface Ticket<Answer> {
  /** The answer that says only this error. */
  readonly fail: (code: ErrorCode) => Answer;
}

/** What a command does. Valid only until the command returns. */
export interface Effects<StateRecord> {
  /** Fixes the record's place in the log and replays it. All records of one command are kept or none. */
  append(record: StateRecord): void;
  /** Answers a ticket once all that was appended up to the end of this command is durable. At most once a ticket. */
  reply<Answer>(ticket: Ticket<Answer>, answer: Answer): void;
}

export type TimedCommand<StateRecord> = (effects: Effects<StateRecord>) => void;

/** Time, as a machine has it: its timers end with it. */
export interface MachineTimers<StateRecord> {
  /** Wall time, milliseconds since 1970: for what is stored. */
  nowMs(): number;
  /** For deadlines. */
  monotonicMs(): number;
  /** Runs the command once, after `delayMs`. */
  after(delayMs: number, command: TimedCommand<StateRecord>): Timer;
}

export interface CoordinatorMachine<StateRecord> {
  /** Applies a record of this machine's log: one that it has just appended, or one that is read back. */
  replay(record: StateRecord): void;
  /** Called once, after all records were replayed and before the first command. */
  onLoaded(effects: Effects<StateRecord>): void;
  /**
   * Every record that it takes to make the lasting part of the present state again. Read piece by piece while commands go on:
   * what comes to be after the start may be given or not, since it stands later in the log anyway.
   */
  snapshot(): Iterable<StateRecord>;
}

/** The batch that a record stands in, where it is more than a container: that of a producer's transaction. */
export interface ProducerBatch {
  readonly producerId: number;
  readonly producerEpoch: number;
  /** The record is a control record: how the producer's transaction ended. It stands alone in its batch. */
  readonly isControl: boolean;
}

export interface EncodedRecord {
  readonly key: Buffer;
  /** null is a tombstone. */
  readonly value: Buffer | null;
  /** Undefined: of no transaction. Records of different batches are not put together. */
  readonly batch?: ProducerBatch;
}

/** How a machine's records stand in the log. */
export interface StateRecordFormat<StateRecord> {
  encode(record: StateRecord): EncodedRecord;
  /** Undefined for a kind of record that is not known here: it is passed over. @throws MalformedMessageError */
  decode(key: Buffer, value: Buffer | null, batch?: ProducerBatch): StateRecord | undefined;
}
