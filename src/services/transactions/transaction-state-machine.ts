/**
 * The transactions of one partition of __transaction_state: which transactional id has which producer id and epoch, what its
 * transaction covers and how it ended; as Kafka's TransactionMetadata and TransactionCoordinator decide it. Pure: runs on the
 * coordinator runtime, and in tests without one.
 *
 * An end is one record and takes effect at once: there is no state between Ongoing and Complete, because what it entails (markers,
 * offsets) is appended together with it. Who calls must be able to do so: `isReady` is asked before anything changes.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import { assert } from '../../util/assert.ts';
import type { CoordinatorMachine, Effects, MachineTimers } from '../coordinator/coordinator-machine.ts';
import {
  noPartitions,
  type PartitionsByTopic,
  type TransactionRecord,
  type TransactionState,
} from './transaction-records.ts';
import type { TransactionSettings } from './transaction-settings.ts';

export const noProducerId = -1;
export const noProducerEpoch = -1;
/** Kafka's Short.MAX_VALUE, which no client is ever given: it is for fencing the last one. */
export const largestEpoch = 32767;
/** Ids that one command forgets at most; what is left takes another. */
export const maxIdsForgottenAtOnce = 10_000;

const firstVersionWithEpochBump = 2;

export interface ProducerIdAndEpoch {
  readonly producerId: number;
  readonly producerEpoch: number;
}

/** How a transaction ends: what is to be appended together with its record. */
export interface TransactionEnding {
  readonly transactionalId: string;
  readonly producerId: number;
  /** Of the markers. It fences whoever had a lower one. */
  readonly producerEpoch: number;
  readonly isCommit: boolean;
  readonly partitions: PartitionsByTopic;
}

/** Asked before a transaction ends. False: not now; nothing has changed. */
export type IsReady = (ending: TransactionEnding) => boolean;

export interface TransactionAnswer extends ProducerIdAndEpoch {
  readonly errorCode: ErrorCode;
  /** The transaction that ended with this command, for the caller to complete in the same group. */
  readonly ending?: TransactionEnding;
}

/** Instead of an answer: `not-ready` as `isReady` said, `needs-producer-id`: to be called again with one. Nothing has changed. */
export type Deferred = 'not-ready' | 'needs-producer-id';

export interface TransactionFilter {
  /** Empty: all. */
  readonly states: ReadonlySet<string>;
  /** Empty: all. */
  readonly producerIds: ReadonlySet<number>;
  /** Only those that began longer ago; below 0: all. */
  readonly durationMs: number;
  readonly matches: (transactionalId: string) => boolean;
}

export interface TransactionDescription {
  readonly transactionalId: string;
  readonly state: TransactionState;
}

export interface TransactionStateMachineOptions {
  readonly settings: TransactionSettings;
  readonly timers: MachineTimers<TransactionRecord>;
}

type TransactionEffects = Effects<TransactionRecord>;

interface KnownTransaction {
  state: TransactionState;
  /** When the present transaction began, on the clock for deadlines. */
  startedMonotonicMs: number;
}

export class TransactionStateMachine implements CoordinatorMachine<TransactionRecord> {
  readonly #settings: TransactionSettings;
  readonly #timers: MachineTimers<TransactionRecord>;
  readonly #transactions = new Map<string, KnownTransaction>();
  readonly #ongoing = new Set<string>();

  constructor({ settings, timers }: TransactionStateMachineOptions) {
    this.#settings = settings;
    this.#timers = timers;
  }

  get size(): number {
    return this.#transactions.size;
  }

  replay({ transactionalId, state }: TransactionRecord): void {
    const known = this.#transactions.get(transactionalId);
    if (state === null) {
      this.#transactions.delete(transactionalId);
      this.#ongoing.delete(transactionalId);
      return;
    }
    const isOngoing = state.state === 'Ongoing';
    let startedMonotonicMs = known?.startedMonotonicMs ?? 0;
    if (isOngoing && !(known?.state.state === 'Ongoing' && known.state.startMs === state.startMs)) {
      // Read back: some of the time is over. A wall clock that was set back does not make it longer.
      const elapsedMs = Math.max(0, this.#timers.nowMs() - state.startMs);
      startedMonotonicMs = this.#timers.monotonicMs() - elapsedMs;
    }
    if (known === undefined) {
      this.#transactions.set(transactionalId, { state, startedMonotonicMs });
    } else {
      known.state = state;
      known.startedMonotonicMs = startedMonotonicMs;
    }
    if (isOngoing) this.#ongoing.add(transactionalId);
    else this.#ongoing.delete(transactionalId);
  }

  onLoaded(): void {}

  *snapshot(): Iterable<TransactionRecord> {
    for (const [transactionalId, { state }] of this.#transactions) yield { transactionalId, state };
  }

  state(transactionalId: string): TransactionState | undefined {
    return this.#transactions.get(transactionalId)?.state;
  }

  // ----- InitProducerId

  /**
   * Gives the caller the id's producer id with an epoch that fences everybody before it. A transaction that is open is aborted first,
   * with an epoch of its own. `expected`: what the caller had (KIP-360); fences the caller where somebody came after it.
   */
  initProducerId(
    transactionalId: string,
    timeoutMs: number,
    expected: ProducerIdAndEpoch | undefined,
    freshProducerId: number | undefined,
    isReady: IsReady,
    effects: TransactionEffects,
  ): TransactionAnswer | Deferred {
    const known = this.state(transactionalId);
    if (known === undefined) {
      if (this.#transactions.size >= this.#settings.maxIdsPerPartition) {
        return failed(errorCodes.COORDINATOR_NOT_AVAILABLE);
      }
      if (freshProducerId === undefined) return 'needs-producer-id';
    }
    let state = known ?? this.#newState(freshProducerId!, timeoutMs);
    if (expected !== undefined && !mayContinue(state, expected)) return failed(errorCodes.PRODUCER_FENCED);
    let ending: TransactionEnding | undefined;
    if (state.state === 'Ongoing') {
      // The rotation below may need an id: to be known before anything happens.
      if (state.producerEpoch + 1 >= largestEpoch - 1 && freshProducerId === undefined) {
        return 'needs-producer-id';
      }
      ending = this.#fencedEnding(transactionalId, state);
      if (!isReady(ending)) return 'not-ready';
      // To a producer that asks with what it had, this is the epoch after its own.
      state = this.#ended(state, ending, state.producerEpoch, state.producerId);
    }
    const isExhausted = state.producerEpoch >= largestEpoch - 1;
    const epoch = isExhausted
      ? expected === undefined ||
        expected.producerEpoch === state.producerEpoch ||
        (ending !== undefined && expected.producerEpoch === state.lastProducerEpoch)
        ? ({ rotates: true } as const)
        : undefined
      : nextEpoch(state, expected);
    if (epoch === undefined) {
      if (ending !== undefined) effects.append({ transactionalId, state });
      return { ...failed(errorCodes.PRODUCER_FENCED), ...(ending === undefined ? {} : { ending }) };
    }
    if ('rotates' in epoch && freshProducerId === undefined) return 'needs-producer-id';
    const next: TransactionState = {
      ...state,
      ...('rotates' in epoch
        ? {
            producerId: freshProducerId!,
            producerEpoch: 0,
            lastProducerEpoch: expected === undefined ? noProducerEpoch : state.producerEpoch,
          }
        : epoch),
      previousProducerId: known === undefined ? noProducerId : state.producerId,
      timeoutMs,
      state: 'Empty',
      partitions: noPartitions,
      startMs: -1,
      updateMs: this.#timers.nowMs(),
    };
    effects.append({ transactionalId, state: next });
    const { producerId, producerEpoch } = next;
    const answer = { errorCode: errorCodes.NONE, producerId, producerEpoch };
    return ending === undefined ? answer : { ...answer, ending };
  }

  #newState(producerId: number, timeoutMs: number): TransactionState {
    return {
      producerId,
      previousProducerId: noProducerId,
      producerEpoch: noProducerEpoch,
      lastProducerEpoch: noProducerEpoch,
      timeoutMs,
      state: 'Empty',
      partitions: noPartitions,
      startMs: -1,
      updateMs: this.#timers.nowMs(),
      clientVersion: 0,
    };
  }

  // ----- what a transaction covers

  /** Begins a transaction where none is open. `clientVersion`: of the client's protocol (KIP-890). */
  addPartitions(
    transactionalId: string,
    producer: ProducerIdAndEpoch,
    partitions: PartitionsByTopic,
    clientVersion: number,
    effects: TransactionEffects,
  ): ErrorCode {
    const state = this.state(transactionalId);
    const errorCode = errorOfProducer(state, producer);
    if (state === undefined || errorCode !== errorCodes.NONE) return errorCode;
    const isOngoing = state.state === 'Ongoing';
    if (isOngoing && covers(state.partitions, partitions)) return errorCodes.NONE;
    const nowMs = this.#timers.nowMs();
    effects.append({
      transactionalId,
      state: {
        ...state,
        state: 'Ongoing',
        previousProducerId: state.producerId,
        partitions: union(isOngoing ? state.partitions : noPartitions, partitions),
        startMs: isOngoing ? state.startMs : nowMs,
        updateMs: nowMs,
        clientVersion,
      },
    });
    return errorCodes.NONE;
  }

  /** NONE where the producer's transaction is open; which partitions it covers is in `state`. */
  verify(transactionalId: string, producer: ProducerIdAndEpoch): ErrorCode {
    return errorOfProducer(this.state(transactionalId), producer);
  }

  isCovered(transactionalId: string, topic: string, partition: number): boolean {
    const state = this.state(transactionalId);
    return state?.state === 'Ongoing' && state.partitions.get(topic)?.has(partition) === true;
  }

  // ----- ends

  /** EndTxn of a client of before transaction.version 2: the epoch stays. */
  endTransaction(
    transactionalId: string,
    producer: ProducerIdAndEpoch,
    isCommit: boolean,
    isReady: IsReady,
    effects: TransactionEffects,
  ): TransactionAnswer | Deferred {
    const state = this.state(transactionalId);
    const errorCode = errorOfProducer(state, producer);
    if (state === undefined || errorCode !== errorCodes.NONE) return failed(errorCode);
    if (state.state !== 'Ongoing') {
      const isRepeated = state.state === (isCommit ? 'CompleteCommit' : 'CompleteAbort');
      return failed(isRepeated ? errorCodes.NONE : errorCodes.INVALID_TXN_STATE);
    }
    const ending = endingOf(transactionalId, state, state.producerEpoch, isCommit);
    if (!isReady(ending)) return 'not-ready';
    effects.append({
      transactionalId,
      state: this.#ended(state, ending, state.lastProducerEpoch, state.producerId),
    });
    return { ...failed(errorCodes.NONE), ending };
  }

  /**
   * EndTxn of transaction.version 2: each end raises the epoch, and the answer says so. A repeat is known by the epoch before it. An
   * abort needs no transaction.
   */
  endTransactionWithBump(
    transactionalId: string,
    producer: ProducerIdAndEpoch,
    isCommit: boolean,
    freshProducerId: number | undefined,
    isReady: IsReady,
    effects: TransactionEffects,
  ): TransactionAnswer | Deferred {
    const state = this.state(transactionalId);
    if (state === undefined) return failed(errorCodes.INVALID_PRODUCER_ID_MAPPING);
    const { producerId, producerEpoch } = producer;
    const isComplete = state.state === 'CompleteCommit' || state.state === 'CompleteAbort';
    const isRepeatOfOverflow =
      state.previousProducerId === producerId &&
      producerEpoch === largestEpoch - 1 &&
      state.producerEpoch === 0;
    const isRepeat = state.producerEpoch === producerEpoch + 1 || isRepeatOfOverflow;
    if (state.producerId !== producerId && !isRepeatOfOverflow) {
      return failed(errorCodes.INVALID_PRODUCER_ID_MAPPING);
    }
    if (producerEpoch !== state.producerEpoch && !(isComplete && isRepeat)) {
      return failed(errorCodes.PRODUCER_FENCED);
    }
    if (isRepeat) {
      if (state.state !== (isCommit ? 'CompleteCommit' : 'CompleteAbort')) {
        return failed(errorCodes.INVALID_TXN_STATE);
      }
      return {
        errorCode: errorCodes.NONE,
        producerId: state.producerId,
        producerEpoch: state.producerEpoch,
      };
    }
    if (state.state !== 'Ongoing' && isCommit) return failed(errorCodes.INVALID_TXN_STATE);
    const isExhausted = state.producerEpoch >= largestEpoch - 1;
    if (isExhausted && freshProducerId === undefined) return 'needs-producer-id';
    const ending = endingOf(
      transactionalId,
      state,
      Math.min(state.producerEpoch + 1, largestEpoch),
      isCommit,
    );
    if (!isReady(ending)) return 'not-ready';
    const next: TransactionState = {
      ...this.#ended(state, ending, state.producerEpoch, isExhausted ? freshProducerId! : state.producerId),
      clientVersion: firstVersionWithEpochBump,
    };
    effects.append({ transactionalId, state: next });
    return {
      errorCode: errorCodes.NONE,
      producerId: next.producerId,
      producerEpoch: next.producerEpoch,
      ending,
    };
  }

  /** Transactions that are open for longer than their producers said. */
  timedOut(): readonly string[] {
    const nowMs = this.#timers.monotonicMs();
    return [...this.#ongoing].filter((transactionalId) => {
      const { state, startedMonotonicMs } = this.#transactions.get(transactionalId)!;
      return nowMs - startedMonotonicMs > state.timeoutMs;
    });
  }

  /** Fences the producer of what is open and leaves it open: somebody else will end it. */
  fence(transactionalId: string, effects: TransactionEffects): void {
    const state = this.state(transactionalId);
    assert(state?.state === 'Ongoing', 'what is fenced is open');
    effects.append({
      transactionalId,
      state: {
        ...state,
        producerEpoch: Math.min(state.producerEpoch + 1, largestEpoch),
        lastProducerEpoch: noProducerEpoch,
        updateMs: this.#timers.nowMs(),
      },
    });
  }

  /** Ends what `fence` left open; `producer`: as it was before. */
  endFenced(
    transactionalId: string,
    producer: ProducerIdAndEpoch,
    isCommit: boolean,
    isReady: IsReady,
    effects: TransactionEffects,
  ): TransactionAnswer | Deferred {
    const state = this.state(transactionalId);
    const isIt =
      state?.state === 'Ongoing' &&
      state.producerId === producer.producerId &&
      state.producerEpoch === producer.producerEpoch + 1;
    if (!isIt) return failed(errorCodes.INVALID_TXN_STATE);
    const ending = endingOf(transactionalId, state, state.producerEpoch, isCommit);
    if (!isReady(ending)) return 'not-ready';
    effects.append({
      transactionalId,
      state: this.#ended(state, ending, state.lastProducerEpoch, state.producerId),
    });
    return { ...failed(errorCodes.NONE), ending };
  }

  /** Aborts what is open and fences its producer. Undefined where nothing is open, or it cannot be done now. */
  abort(
    transactionalId: string,
    isReady: IsReady,
    effects: TransactionEffects,
  ): TransactionEnding | undefined {
    const state = this.state(transactionalId);
    if (state?.state !== 'Ongoing') return undefined;
    const ending = this.#fencedEnding(transactionalId, state);
    if (!isReady(ending)) return undefined;
    effects.append({
      transactionalId,
      state: this.#ended(state, ending, state.producerEpoch, state.producerId),
    });
    return ending;
  }

  #fencedEnding(transactionalId: string, state: TransactionState): TransactionEnding {
    return endingOf(transactionalId, state, Math.min(state.producerEpoch + 1, largestEpoch), false);
  }

  #ended(
    state: TransactionState,
    ending: TransactionEnding,
    lastProducerEpoch: number,
    nextProducerId: number,
  ): TransactionState {
    const nowMs = this.#timers.nowMs();
    const rotates = nextProducerId !== state.producerId;
    return {
      ...state,
      producerId: nextProducerId,
      previousProducerId: state.producerId,
      producerEpoch: rotates ? 0 : ending.producerEpoch,
      lastProducerEpoch,
      state: ending.isCommit ? 'CompleteCommit' : 'CompleteAbort',
      partitions: noPartitions,
      startMs: state.state === 'Ongoing' ? state.startMs : nowMs,
      updateMs: nowMs,
    };
  }

  // ----- administration

  list(filter: TransactionFilter): TransactionDescription[] {
    const nowMs = this.#timers.nowMs();
    const listed: TransactionDescription[] = [];
    for (const [transactionalId, { state }] of this.#transactions) {
      if (filter.producerIds.size > 0 && !filter.producerIds.has(state.producerId)) continue;
      if (filter.states.size > 0 && !filter.states.has(state.state)) continue;
      if (filter.durationMs >= 0 && nowMs - state.startMs <= filter.durationMs) continue;
      if (!filter.matches(transactionalId)) continue;
      listed.push({ transactionalId, state });
    }
    return listed;
  }

  /** Forgets ids that nobody used for so long, up to `maxIdsForgottenAtOnce`. Returns how many. */
  expire(effects: TransactionEffects, nowMs: number): number {
    const expiredMs = nowMs - this.#settings.idExpirationMs;
    let count = 0;
    for (const [transactionalId, { state }] of [...this.#transactions]) {
      if (state.state === 'Ongoing' || state.updateMs > expiredMs) continue;
      if (count === maxIdsForgottenAtOnce) break;
      effects.append({ transactionalId, state: null });
      count++;
    }
    return count;
  }

  /** Transactional ids with an open transaction. */
  get ongoing(): ReadonlySet<string> {
    return this.#ongoing;
  }
}

function failed(errorCode: ErrorCode): TransactionAnswer {
  return { errorCode, producerId: noProducerId, producerEpoch: noProducerEpoch };
}

/** Checks who calls before what is asked. */
function errorOfProducer(state: TransactionState | undefined, producer: ProducerIdAndEpoch): ErrorCode {
  if (state === undefined || state.producerId !== producer.producerId) {
    return errorCodes.INVALID_PRODUCER_ID_MAPPING;
  }
  return state.producerEpoch === producer.producerEpoch ? errorCodes.NONE : errorCodes.PRODUCER_FENCED;
}

function endingOf(
  transactionalId: string,
  { producerId, partitions }: TransactionState,
  producerEpoch: number,
  isCommit: boolean,
): TransactionEnding {
  return { transactionalId, producerId, producerEpoch, isCommit, partitions };
}

/**
 * Whether a caller that says what it had is the newest one: it has the present producer id (its epoch is looked at later), or the
 * previous one at its last epoch, and the answer that gave it the next was lost (KAFKA-18660).
 */
function mayContinue(state: TransactionState, expected: ProducerIdAndEpoch): boolean {
  return (
    state.producerEpoch === noProducerEpoch ||
    expected.producerId === state.producerId ||
    (expected.producerId === state.previousProducerId && expected.producerEpoch >= largestEpoch - 1)
  );
}

/** The epochs after InitProducerId; undefined: the caller is fenced. */
function nextEpoch(
  state: TransactionState,
  expected: ProducerIdAndEpoch | undefined,
): Pick<TransactionState, 'producerEpoch' | 'lastProducerEpoch'> | undefined {
  const bumped = state.producerEpoch + 1;
  if (expected === undefined) return { producerEpoch: bumped, lastProducerEpoch: noProducerEpoch };
  if (state.producerEpoch === noProducerEpoch || expected.producerEpoch === state.producerEpoch) {
    return { producerEpoch: bumped, lastProducerEpoch: state.producerEpoch };
  }
  // A repeat: the answer was lost. Nobody came after it, or the last epoch would be gone.
  if (expected.producerEpoch === state.lastProducerEpoch) {
    return { producerEpoch: state.producerEpoch, lastProducerEpoch: state.lastProducerEpoch };
  }
  return undefined;
}

function covers(all: PartitionsByTopic, some: PartitionsByTopic): boolean {
  for (const [topic, partitions] of some) {
    const covered = all.get(topic);
    if (covered === undefined) return false;
    for (const partition of partitions) if (!covered.has(partition)) return false;
  }
  return true;
}

function union(a: PartitionsByTopic, b: PartitionsByTopic): PartitionsByTopic {
  const all = new Map(a);
  for (const [topic, partitions] of b) {
    const before = all.get(topic);
    all.set(topic, before === undefined ? partitions : new Set([...before, ...partitions]));
  }
  return all;
}
