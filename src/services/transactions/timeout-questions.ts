/**
 * What may stand between a transaction whose time is up and its abort: somebody who asks the application first. The coordinator calls it
 * where the time is up and at every end; it knows nothing of how is asked, and nobody who asks knows how a transaction ends.
 *
 * A transaction that is asked about is open as before, but for its epoch: its producer is fenced. Whatever ends it (an answer, too many
 * questions, a new producer of the id, an administrator) says so in the append group of the end.
 */
import type { IndexChange } from '../../storage/engine.ts';

export interface AskedTransaction {
  readonly transactionalId: string;
  readonly producerId: number;
  /** Of the producer, before it was fenced. */
  readonly producerEpoch: number;
  /** ms since 1970 */
  readonly startMs: number;
}

/** Rows that go into the append group of what the coordinator does. */
export interface QuestionChanges {
  readonly changes: readonly IndexChange[];
  settled(isAppended: boolean): void;
}

export interface TimeoutQuestions {
  /** Reads what is asked about. To be called once, before anything else. */
  load(): Promise<void>;
  isAsked(transactionalId: string): boolean;
  /** The transaction took too long, and its producer is fenced with these changes. Undefined: nobody wants to be asked. */
  begin(transaction: AskedTransaction): QuestionChanges | undefined;
  /** The transaction ends, whoever ends it. Undefined where it is not asked about. */
  end(transactionalId: string, isCommit: boolean): QuestionChanges | undefined;
}

export const noQuestions: TimeoutQuestions = {
  load: async () => {},
  isAsked: () => false,
  begin: () => undefined,
  end: () => undefined,
};
