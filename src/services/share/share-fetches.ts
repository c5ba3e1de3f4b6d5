/**
 * What ShareFetch and ShareAcknowledge requests come to: their sessions, acknowledgements, reads and waits. Answers in the generated
 * types of the protocol; knows nothing of sockets.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type {
  ShareFetchRequest,
  ShareFetchResponseInput,
  ShareFetchResponsePartitionDataInput,
} from '../../../protocol/generated/78-share-fetch.ts';
import type {
  ShareAcknowledgeRequest,
  ShareAcknowledgeResponseInput,
} from '../../../protocol/generated/79-share-acknowledge.ts';
import type { StorageEngine } from '../../storage/engine.ts';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import { type ApiError, apiError } from '../api-error.ts';
import type { OffsetLookup } from '../fetch/offset-lookup.ts';
import type { StableOffsets } from '../fetch/stable-offsets.ts';
import { type EndableWait, WaitsByConnection } from '../fetch/waits-by-connection.ts';
import type { TopicDirectory } from '../topics/topic.ts';
import { readAcknowledgements, type WireAcknowledgementBatch } from './acknowledgement-batches.ts';
import { acknowledgeTypes } from './record-states.ts';
import type { ShareCoordinator } from './share-coordinator.ts';
import { SharePartitionReader, type ShareRead } from './share-partition-reader.ts';
import type { ShareKey } from './share-records.ts';
import {
  finalEpoch,
  initialEpoch,
  placeOf,
  type SessionPartition,
  type ShareSession,
  ShareSessions,
} from './share-sessions.ts';
import type { ShareSettings } from './share-settings.ts';

export interface ShareFetchesOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'byId'>;
  readonly coordinator: ShareCoordinator;
  readonly settings: ShareSettings;
  readonly stableOffsets: StableOffsets;
  readonly offsets: Pick<OffsetLookup, 'find'>;
  readonly clock: Clock;
  readonly log: Log;
  /** What one answer may carry, whatever the client asks for. */
  readonly maxAnswerBytes: number;
}

/** A request's connection: its sessions end with it. */
export interface ShareConnection {
  readonly id: number;
  readonly closed: AbortSignal;
}

export interface ShareFetchOutcome {
  readonly response: ShareFetchResponseInput;
  /** To be called when the answer's bytes have left; undefined where none are lent. */
  readonly release: (() => void) | undefined;
}

/** share.acquire.mode record_limit (KIP-1206) */
const strictMode = 1;
/** Kafka's longest member id (a UUID has 22 characters, and older clients 36). */
const maxMemberIdLength = 36;

interface AcknowledgementResult extends SessionPartition {
  readonly error: ApiError | undefined;
}

export class ShareFetches {
  readonly sessions: ShareSessions;
  readonly #options: ShareFetchesOptions;
  readonly #reader: SharePartitionReader;
  readonly #waits = new WaitsByConnection();
  readonly #connections = new WeakSet<AbortSignal>();

  constructor(options: ShareFetchesOptions) {
    this.#options = options;
    this.sessions = new ShareSessions(options.settings);
    this.#reader = new SharePartitionReader(options);
  }

  /** Acknowledges what the request carries, then answers with what is free, or waits for it. */
  async fetch(
    request: ShareFetchRequest,
    connection: ShareConnection,
    version: number,
  ): Promise<ShareFetchOutcome> {
    const groupId = request.groupId ?? '';
    const memberId = request.memberId ?? '';
    const { lockMs } = this.#options.settings.of(groupId);
    const fail = ({ code, message }: ApiError): ShareFetchOutcome => ({
      response: {
        throttleTimeMs: 0,
        errorCode: code,
        errorMessage: message,
        acquisitionLockTimeoutMs: 0,
        responses: [],
        nodeEndpoints: [],
      },
      release: undefined,
    });
    const { shareSessionEpoch, isRenewAck, topics } = request;
    const isRenewal = version >= 2 && isRenewAck;
    const fault = this.#requestFault(request.groupId, request.memberId, groupId, isRenewal);
    if (fault !== undefined) return fail(fault);
    if (
      isRenewal &&
      (request.maxBytes > 0 || request.minBytes > 0 || request.maxRecords > 0 || request.maxWaitMs > 0)
    ) {
      return fail(apiError('INVALID_REQUEST'));
    }
    const acknowledgements = topics.flatMap(({ topicId, partitions }) =>
      partitions
        .filter(({ acknowledgementBatches }) => acknowledgementBatches.length > 0)
        .map(({ partitionIndex, acknowledgementBatches }) => ({
          topicId,
          partition: partitionIndex,
          batches: acknowledgementBatches,
        })),
    );
    if (shareSessionEpoch === initialEpoch && acknowledgements.length > 0) {
      return fail(apiError('INVALID_REQUEST'));
    }
    const isFull = shareSessionEpoch === initialEpoch;
    const choice = isFull
      ? this.sessions.open(groupId, memberId, connection.id)
      : this.sessions.resume(groupId, memberId, shareSessionEpoch);
    if ('error' in choice) return fail(choice.error);
    const { session } = choice;
    this.#endWith(connection);
    const isFinal = shareSessionEpoch === finalEpoch;
    if (!isFinal) {
      session.add(topics);
      session.remove(request.forgottenTopicsData);
    }
    // Before the first wait: acknowledgements take effect in the order of the requests.
    const acknowledging = acknowledgements.map((one) =>
      this.#acknowledge(groupId, memberId, one, version, isRenewal),
    );
    if (isFinal) {
      const results = await Promise.all(acknowledging);
      this.#close(session);
      return this.#answer([], results, false, lockMs);
    }
    const partitions = rotated([...session.partitions.values()], session.epoch);
    const [results, reads] = await Promise.all([
      Promise.all(acknowledging),
      isRenewal ? [] : this.#readOrWait(session, partitions, request, connection),
    ]);
    return this.#answer(reads, results, isFull, lockMs);
  }

  async acknowledge(
    request: ShareAcknowledgeRequest,
    version: number,
  ): Promise<ShareAcknowledgeResponseInput> {
    const groupId = request.groupId ?? '';
    const memberId = request.memberId ?? '';
    const { lockMs } = this.#options.settings.of(groupId);
    const fail = ({ code, message }: ApiError): ShareAcknowledgeResponseInput => ({
      throttleTimeMs: 0,
      errorCode: code,
      errorMessage: message,
      acquisitionLockTimeoutMs: 0,
      responses: [],
      nodeEndpoints: [],
    });
    const isRenewal = version >= 2 && request.isRenewAck;
    const fault = this.#requestFault(request.groupId, request.memberId, groupId, isRenewal);
    if (fault !== undefined) return fail(fault);
    const { shareSessionEpoch } = request;
    if (shareSessionEpoch === initialEpoch) return fail(apiError('INVALID_SHARE_SESSION_EPOCH'));
    const choice = this.sessions.resume(groupId, memberId, shareSessionEpoch);
    if ('error' in choice) return fail(choice.error);
    const results = await Promise.all(
      request.topics.flatMap(({ topicId, partitions }) =>
        partitions.map(({ partitionIndex, acknowledgementBatches }) =>
          this.#acknowledge(
            groupId,
            memberId,
            { topicId, partition: partitionIndex, batches: acknowledgementBatches },
            version,
            isRenewal,
          ),
        ),
      ),
    );
    if (shareSessionEpoch === finalEpoch) this.#close(choice.session);
    const byTopic = new Map<
      string,
      ShareAcknowledgeResponseInput['responses'][number]['partitions'][number][]
    >();
    for (const { topicId, partition, error } of results) {
      pushTo(byTopic, topicId, {
        partitionIndex: partition,
        errorCode: error?.code ?? errorCodes.NONE,
        errorMessage: error?.message ?? null,
        currentLeader: noLeader,
      });
    }
    return {
      throttleTimeMs: 0,
      errorCode: errorCodes.NONE,
      errorMessage: null,
      acquisitionLockTimeoutMs: lockMs,
      responses: [...byTopic].map(([topicId, partitions]) => ({ topicId, partitions })),
      nodeEndpoints: [],
    };
  }

  /** The group is gone: its sessions with it. */
  closeGroup(groupId: string): void {
    for (const session of this.sessions.ofGroup(groupId)) this.#close(session);
  }

  #requestFault(
    groupId: string | null,
    memberId: string | null,
    settingsOf: string,
    isRenewal: boolean,
  ): ApiError | undefined {
    if (groupId === null || groupId === '') return apiError('INVALID_REQUEST');
    if (memberId === null || memberId === '' || memberId.length > maxMemberIdLength) {
      return apiError('INVALID_REQUEST');
    }
    if (isRenewal && !this.#options.settings.of(settingsOf).mayRenew) {
      return apiError('INVALID_REQUEST', 'Renew acknowledgements are not enabled for the group.');
    }
    return undefined;
  }

  async #acknowledge(
    groupId: string,
    memberId: string,
    one: SessionPartition & { readonly batches: readonly WireAcknowledgementBatch[] },
    version: number,
    isRenewal: boolean,
  ): Promise<AcknowledgementResult> {
    const { topicId, partition } = one;
    const result = (error: ApiError | undefined): AcknowledgementResult => ({ topicId, partition, error });
    const batches = readAcknowledgements(one.batches, version >= 2);
    if (batches === undefined) return result(apiError('INVALID_REQUEST'));
    if (!isRenewal && batches.some(({ types }) => types.includes(acknowledgeTypes.renew))) {
      return result(apiError('INVALID_REQUEST'));
    }
    const topic = this.#options.topics.byId(topicId);
    if (topic === undefined) return result(apiError('UNKNOWN_TOPIC_ID'));
    if (topic.partitions[partition] === undefined) return result(apiError('UNKNOWN_TOPIC_OR_PARTITION'));
    return result(
      await this.#options.coordinator.acknowledge({ groupId, topicId, partition }, memberId, batches),
    );
  }

  /** Sessions end with their connection, and what their members hold is free again. */
  #endWith(connection: ShareConnection): void {
    const { closed, id } = connection;
    if (this.#connections.has(closed)) return;
    this.#connections.add(closed);
    const end = (): void => {
      for (const session of this.sessions.ofConnection(id)) this.#close(session);
    };
    if (closed.aborted) queueMicrotask(end);
    else closed.addEventListener('abort', end, { once: true });
  }

  #close(session: ShareSession): void {
    this.sessions.close(session);
    const { groupId, memberId } = session;
    for (const { topicId, partition } of session.partitions.values()) {
      this.#options.coordinator.release({ groupId, topicId, partition }, memberId);
    }
  }

  // ----- reading

  /** Reads until there is something to tell, or the time is over, or the connection. */
  async #readOrWait(
    session: ShareSession,
    partitions: readonly SessionPartition[],
    request: ShareFetchRequest,
    connection: ShareConnection,
  ): Promise<readonly PartitionRead[]> {
    const { clock } = this.#options;
    const deadlineMs = clock.monotonicMs() + request.maxWaitMs;
    let reads = await this.#readAll(session, partitions, request);
    if (reads.some(hasNews) || request.maxWaitMs <= 0 || partitions.length === 0) return reads;
    const wait = new Wait();
    const stops = this.#watchAll(reads, wait);
    const timer = clock.after(Math.max(0, deadlineMs - clock.monotonicMs()), () => wait.endNow());
    if (!this.#waits.add(connection.closed, wait)) wait.endNow();
    try {
      // What came between the read and the watch must not be missed.
      for (;;) {
        reads = await this.#readAll(session, partitions, request);
        if (reads.some(hasNews) || wait.isOver) return reads;
        await wait.news();
      }
    } finally {
      timer.cancel();
      this.#waits.remove(connection.closed, wait);
      for (const stop of stops) stop();
      if (connection.closed.aborted) {
        // Nobody will see what was handed out after the session ended.
        for (const { key } of reads) this.#options.coordinator.release(key, session.memberId);
      }
    }
  }

  #watchAll(reads: readonly PartitionRead[], wait: Wait): (() => void)[] {
    const { coordinator, engine, stableOffsets } = this.#options;
    const wake = (): void => wait.wake();
    const stops: (() => void)[] = [];
    for (const { key, read } of reads) {
      stops.push(coordinator.watch(key, wake));
      if (read.outcome !== 'nothing') continue;
      stops.push(engine.watch([read.queue], wake));
      const stop = stableOffsets.watch?.(read.queue, wake);
      if (stop !== undefined) stops.push(stop);
    }
    return stops;
  }

  async #readAll(
    session: ShareSession,
    partitions: readonly SessionPartition[],
    request: ShareFetchRequest,
  ): Promise<PartitionRead[]> {
    const { groupId, memberId } = session;
    let bytesLeft = Math.min(request.maxBytes, this.#options.maxAnswerBytes);
    let recordsLeft = request.maxRecords > 0 ? request.maxRecords : Number.MAX_SAFE_INTEGER;
    const reads: PartitionRead[] = [];
    let found = 0;
    for (const { topicId, partition } of partitions) {
      if (recordsLeft <= 0 || (found > 0 && bytesLeft <= 0)) break;
      const key = { groupId, topicId, partition };
      const read = await this.#reader.read(key, {
        memberId,
        maxBytes: Math.max(0, bytesLeft),
        atLeastOne: found === 0,
        maxRecords: recordsLeft,
        isStrict: request.shareAcquireMode === strictMode,
        batchSize: request.batchSize > 0 ? request.batchSize : recordsLeft,
      });
      if (read.outcome === 'acquired') {
        found++;
        bytesLeft -= read.sizeBytes;
        recordsLeft -= read.recordCount;
      }
      reads.push({ key, read });
    }
    return reads;
  }

  /** A full answer mentions every partition of the session, another one only those of which there is something to say. */
  #answer(
    reads: readonly PartitionRead[],
    acknowledged: readonly AcknowledgementResult[],
    isFull: boolean,
    lockMs: number,
  ): ShareFetchOutcome {
    const results = new Map(acknowledged.map((one) => [placeOf(one.topicId, one.partition), one]));
    const byTopic = new Map<string, ShareFetchResponsePartitionDataInput[]>();
    const releases: (() => void)[] = [];
    const tell = (place: SessionPartition, read: ShareRead | undefined): void => {
      const text = placeOf(place.topicId, place.partition);
      const result = results.get(text);
      results.delete(text);
      if (read?.outcome === 'acquired') releases.push(read.release);
      else if (!isFull && read?.outcome !== 'error' && result === undefined) return;
      pushTo(byTopic, place.topicId, {
        partitionIndex: place.partition,
        errorCode: read?.outcome === 'error' ? read.code : errorCodes.NONE,
        errorMessage: null,
        acknowledgeErrorCode: result?.error?.code ?? errorCodes.NONE,
        acknowledgeErrorMessage: result?.error?.message ?? null,
        currentLeader: noLeader,
        records: read?.outcome === 'acquired' ? read.records : [],
        acquiredRecords: read?.outcome === 'acquired' ? read.ranges : [],
      });
    };
    for (const { key, read } of reads) tell(key, read);
    for (const result of [...results.values()]) tell(result, undefined);
    return {
      response: {
        throttleTimeMs: 0,
        errorCode: errorCodes.NONE,
        errorMessage: null,
        acquisitionLockTimeoutMs: lockMs,
        responses: [...byTopic].map(([topicId, partitions]) => ({ topicId, partitions })),
        nodeEndpoints: [],
      },
      release:
        releases.length === 0
          ? undefined
          : () => {
              for (const release of releases) release();
            },
    };
  }
}

interface PartitionRead {
  readonly key: ShareKey;
  readonly read: ShareRead;
}

function hasNews({ read }: PartitionRead): boolean {
  return read.outcome !== 'nothing';
}

/** Leaders are told of only where they are not here. */
const noLeader = { leaderId: 0, leaderEpoch: 0 };

/** Each request begins with another partition, so that none is always last. */
function rotated<T>(list: readonly T[], by: number): readonly T[] {
  if (list.length < 2) return list;
  const at = by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

function pushTo<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

/** The wait of one request: woken any number of times, over once. */
class Wait implements EndableWait {
  isOver = false;
  #hasNews = false;
  #wake: (() => void) | undefined;

  wake(): void {
    this.#hasNews = true;
    this.#wake?.();
  }

  endNow(): void {
    this.isOver = true;
    this.#wake?.();
  }

  /** Resolves at the next news, at once where there was some since the last call. */
  async news(): Promise<void> {
    if (!this.#hasNews && !this.isOver) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    this.#hasNews = false;
  }
}
