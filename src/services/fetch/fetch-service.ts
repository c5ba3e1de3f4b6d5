/**
 * What a Fetch request comes to: which partitions it reads (its own, or a session's), how many bytes, and whether it waits for
 * more. Answers in the generated types of the protocol; knows nothing of sockets.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type {
  FetchRequest,
  FetchResponseFetchableTopicResponseInput,
  FetchResponseInput,
} from '../../../protocol/generated/01-fetch.ts';
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import type { MaybePromise, StorageEngine } from '../../storage/engine.ts';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { TopicDirectory } from '../topics/topic.ts';
import {
  type FetchLimits,
  FetchOperation,
  type FetchWork,
  SessionWork,
  TargetsWork,
  type WatchQueue,
} from './fetch-operation.ts';
import { FetchSessionCache, type FetchSessionSettings, noSession, targetsOf } from './fetch-session.ts';
import type { FetchTarget, PartitionAnswer } from './fetch-target.ts';
import { OffsetLookup } from './offset-lookup.ts';
import { PartitionReader } from './partition-reader.ts';
import { everythingStable, type StableOffsets } from './stable-offsets.ts';
import { WaitsByConnection } from './waits-by-connection.ts';

export interface FetchSettings extends FetchSessionSettings {
  /** fetch.max.bytes: what one answer may carry, whatever the client asks for. */
  readonly maxAnswerBytes: number;
}

export const defaultFetchSettings: FetchSettings = {
  maxAnswerBytes: 57_671_680,
  maxSessions: 1000,
  minEvictionMs: 120_000,
  maxSessionPartitions: 400_000,
};

export interface FetchServiceOptions {
  readonly engine: StorageEngine;
  readonly topics: Pick<TopicDirectory, 'get' | 'byId'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Read at every request: it may change while the broker runs. */
  readonly settings: FetchSettings;
  readonly stableOffsets?: StableOffsets;
  /** For session ids; [0, 1). */
  readonly random?: () => number;
}

/** Where a fetch ends early: the request's connection. */
export interface FetchConnection {
  readonly closed: AbortSignal;
}

export interface FetchOutcome {
  readonly response: FetchResponseInput;
  /** To be called when the answer's bytes have left; undefined where none are lent. */
  readonly release: (() => void) | undefined;
}

const readCommitted = 1;

export class FetchService {
  readonly sessions: FetchSessionCache;
  /** Shares with fetches what read_committed readers may see. */
  readonly offsets: OffsetLookup;
  private readonly clock: Clock;
  private readonly settings: FetchSettings;
  private readonly engine: StorageEngine;
  private readonly reader: PartitionReader;
  private readonly waits = new WaitsByConnection();
  private readonly watchVisible: WatchQueue;
  private readonly watchStable: WatchQueue;
  private readonly stableOffset: StableOffsets['lastStableOffset'];

  constructor(options: FetchServiceOptions) {
    this.clock = options.clock;
    this.settings = options.settings;
    this.engine = options.engine;
    this.sessions = new FetchSessionCache(options.clock, options.settings, options.random);
    const stableOffsets = options.stableOffsets ?? everythingStable;
    this.offsets = new OffsetLookup(options.engine, stableOffsets);
    const { engine } = options;
    this.stableOffset = (queue, visibleEndOffset) => stableOffsets.lastStableOffset(queue, visibleEndOffset);
    this.watchVisible = (queue, wake) => engine.watch([queue], wake);
    this.watchStable = (queue, wake) => {
      const stopVisible = engine.watch([queue], wake);
      const stopStable = stableOffsets.watch?.(queue, wake);
      return () => {
        stopVisible();
        stopStable?.();
      };
    };
    this.reader = new PartitionReader({
      engine: options.engine,
      topics: options.topics,
      stableOffsets,
      log: options.log,
    });
  }

  /**
   * Fetch 0 to 2 know no "at least one batch" (KIP-74); they get it all the same, where Kafka sends a part of the first batch.
   *
   * Answers at once where there is something to say, or what the client waits for comes, or the time is over.
   * `roomBytes`: what a quota leaves.
   */
  fetch(
    request: FetchRequest,
    version: number,
    connection: FetchConnection,
    roomBytes = Number.POSITIVE_INFINITY,
  ): MaybePromise<FetchOutcome> {
    const choice = this.sessions.choose(request, version);
    switch (choice.kind) {
      case 'error':
        return {
          response: { errorCode: choice.errorCode, sessionId: noSession, responses: [] },
          release: undefined,
        };
      case 'none': {
        const targets = targetsOf(request.topics);
        const work =
          request.isolationLevel === readCommitted
            ? new TargetsWork(this.engine, this.watchStable, targets, this.stableOffset)
            : new TargetsWork(this.engine, this.watchVisible, targets);
        return this.perform(work, request, version, connection, noSession, roomBytes);
      }
      case 'full':
      case 'incremental': {
        const { session } = choice;
        // A session watches for as long as it lives, whatever each request's isolation level is.
        const work = new SessionWork(this.watchStable, session, choice.kind === 'full');
        const start = (): MaybePromise<FetchOutcome> => {
          if (session.busy === undefined) {
            return this.perform(work, request, version, connection, session.id, roomBytes);
          }
          // The client did not wait for the answer before: that one ends now, and this one follows.
          session.busy.supersede();
          return session.busy.over.then(start);
        };
        return start();
      }
    }
  }

  /** The answer to who must wait: nothing, and a session goes on. A new one is not begun, since the client would not take it. */
  withoutRecords(request: FetchRequest, version: number): FetchResponseInput {
    const none = { errorCode: errorCodes.NONE, sessionId: noSession, responses: [] };
    if (request.sessionEpoch === 0) return none;
    const choice = this.sessions.choose(request, version);
    if (choice.kind === 'error') return { ...none, errorCode: choice.errorCode };
    return choice.kind === 'none' ? none : { ...none, sessionId: choice.session.id };
  }

  private perform(
    work: FetchWork,
    request: FetchRequest,
    version: number,
    connection: FetchConnection,
    sessionId: number,
    roomBytes: number,
  ): MaybePromise<FetchOutcome> {
    const maxBytes = Math.min(request.maxBytes, this.settings.maxAnswerBytes, roomBytes);
    const limits: FetchLimits = {
      maxBytes,
      minBytes: Math.min(request.minBytes, maxBytes),
      maxWaitMs: request.maxWaitMs,
    };
    const terms = { version, isReadCommitted: request.isolationLevel === readCommitted };
    const operation = new FetchOperation(
      this.clock,
      this.reader,
      this.waits,
      work,
      terms,
      limits,
      connection,
    );
    const told = operation.run();
    return told instanceof Promise
      ? told.then((targets) => outcomeOf(targets, sessionId, operation.isSuperseded))
      : outcomeOf(told, sessionId, false);
  }
}

function outcomeOf(targets: readonly FetchTarget[], sessionId: number, isSuperseded: boolean): FetchOutcome {
  let release: (() => void) | undefined;
  let releases: (() => void)[] | undefined;
  const responses: FetchResponseFetchableTopicResponseInput[] = [];
  let topicName = '';
  let topicId = '';
  let partitions: PartitionAnswer[] = [];
  for (const target of targets) {
    if (target.release !== undefined) {
      if (release === undefined) release = target.release;
      else if (releases === undefined) releases = [release, target.release];
      else releases.push(target.release);
      target.release = undefined;
    }
    if (
      responses.length === 0 ||
      target.topicId !== topicId ||
      (topicId === ZERO_UUID && target.topicName !== topicName)
    ) {
      topicName = target.topicName;
      topicId = target.topicId;
      partitions = [];
      responses.push({ topic: topicName, topicId, partitions });
    }
    partitions.push(target.answer!);
    // A session keeps its targets, and must not keep the bytes.
    target.answer = undefined;
  }
  if (releases !== undefined) {
    const all = releases;
    release = () => {
      for (const one of all) one();
    };
  }
  if (isSuperseded) {
    release?.();
    return {
      response: { errorCode: errorCodes.INVALID_FETCH_SESSION_EPOCH, sessionId: noSession, responses: [] },
      release: undefined,
    };
  }
  return { response: { errorCode: errorCodes.NONE, sessionId, responses }, release };
}
