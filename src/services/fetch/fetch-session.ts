/**
 * Incremental fetch sessions (KIP-227): the broker remembers which partitions a client reads and from where, requests name only
 * what changes, answers only what is new. A session keeps a list of its partitions that may have news, fed by watching their queues,
 * so that a fetch costs what moved and not what is read. Knows nothing of how partitions are read.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import type {
  FetchRequestFetchTopic,
  FetchRequestForgottenTopic,
} from '../../../protocol/generated/01-fetch.ts';
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import type { Clock } from '../../util/clock.ts';
import { FetchTarget } from './fetch-target.ts';

/** Session id and epochs as FetchMetadata has them. */
export const noSession = 0;
export const initialEpoch = 0;
export const finalEpoch = -1;
const largestId = 2 ** 31 - 1;

export interface FetchSessionSettings {
  /** max.incremental.fetch.session.cache.slots */
  readonly maxSessions: number;
  /** min.incremental.fetch.session.eviction.ms: a session unused for so long makes room for another. */
  readonly minEvictionMs: number;
  /** Partitions that all sessions may have together; beyond it clients get full answers. */
  readonly maxSessionPartitions: number;
}

/** The epoch after `epoch`: from the largest on to 1. */
export function epochAfter(epoch: number): number {
  return epoch >= largestId ? 1 : epoch + 1;
}

export class FetchSession {
  readonly id: number;
  readonly usesTopicIds: boolean;
  /** What the next request must say. */
  nextEpoch = 1;
  lastUsedMs: number;
  /** Partitions that may have news, in the order in which they are read. */
  dirty: FetchTarget[] = [];
  /** Called when one comes to `dirty` while a fetch waits. */
  onNews: (() => void) | undefined;
  /** Resolves when the fetch under way is over. */
  busy: { supersede(): void; readonly over: Promise<void> } | undefined;
  size = 0;
  private readonly topics = new Map<string, Map<number, FetchTarget>>();

  constructor(id: number, usesTopicIds: boolean, nowMs: number) {
    this.id = id;
    this.usesTopicIds = usesTopicIds;
    this.lastUsedMs = nowMs;
  }

  /** Adds what is new and changes what is known; answers how many were added. */
  update(topics: readonly FetchRequestFetchTopic[]): number {
    const before = this.size;
    for (const { topic, topicId, partitions } of topics) {
      const key = this.usesTopicIds ? topicId : topic;
      let ofTopic = this.topics.get(key);
      if (ofTopic === undefined) {
        ofTopic = new Map();
        this.topics.set(key, ofTopic);
      }
      for (const partition of partitions) {
        let target = ofTopic.get(partition.partition);
        if (target === undefined) {
          target = new FetchTarget(topic, topicId, partition.partition);
          ofTopic.set(partition.partition, target);
          this.dirty.push(target);
          this.size += 1;
        } else this.markDirty(target);
        target.ask(partition);
      }
    }
    return this.size - before;
  }

  forget(topics: readonly FetchRequestForgottenTopic[]): void {
    for (const { topic, topicId, partitions } of topics) {
      const key = this.usesTopicIds ? topicId : topic;
      const ofTopic = this.topics.get(key);
      if (ofTopic === undefined) continue;
      for (const index of partitions) {
        const target = ofTopic.get(index);
        if (target === undefined) continue;
        this.drop(target);
        ofTopic.delete(index);
      }
      if (ofTopic.size === 0) this.topics.delete(key);
    }
  }

  private drop(target: FetchTarget): void {
    target.isForgotten = true;
    target.stopWatching();
    this.size -= 1;
  }

  markDirty(target: FetchTarget): void {
    if (target.isDirty || target.isForgotten) return;
    target.isDirty = true;
    this.dirty.push(target);
    this.onNews?.();
  }

  /** Takes all that may have news; what still has is put back by `markDirty` or `putBack`. */
  takeDirty(): FetchTarget[] {
    const dirty = this.dirty;
    this.dirty = [];
    return dirty;
  }

  /** Targets that were not reached: they come first the next time. */
  putBack(targets: readonly FetchTarget[]): void {
    if (targets.length > 0) this.dirty = this.dirty.length === 0 ? [...targets] : [...targets, ...this.dirty];
  }

  close(): void {
    for (const ofTopic of this.topics.values()) for (const target of ofTopic.values()) this.drop(target);
    this.topics.clear();
    this.dirty = [];
  }
}

/** What a request's session id and epoch lead to. */
export type SessionChoice =
  | { readonly kind: 'none' }
  | { readonly kind: 'full'; readonly session: FetchSession }
  | { readonly kind: 'incremental'; readonly session: FetchSession }
  | { readonly kind: 'error'; readonly errorCode: number };

const none: SessionChoice = { kind: 'none' };
const firstVersionWithTopicIds = 13;

export interface SessionRequest {
  readonly sessionId: number;
  readonly sessionEpoch: number;
  readonly topics: readonly FetchRequestFetchTopic[];
  readonly forgottenTopicsData: readonly FetchRequestForgottenTopic[];
}

/** Bounded: when it is full, the session unused for longest makes room, if that is long enough; else there is no new one. */
export class FetchSessionCache {
  private readonly clock: Clock;
  private readonly settings: FetchSessionSettings;
  private readonly random: () => number;
  /** The one unused for longest first. */
  private readonly sessions = new Map<number, FetchSession>();
  private partitionCount = 0;

  constructor(clock: Clock, settings: FetchSessionSettings, random: () => number = Math.random) {
    this.clock = clock;
    this.settings = settings;
    this.random = random;
  }

  get size(): number {
    return this.sessions.size;
  }

  get partitions(): number {
    return this.partitionCount;
  }

  /** Applies a request to its session, or makes one for it. FetchManager.newContext in Kafka. */
  choose(request: SessionRequest, version: number): SessionChoice {
    const { sessionId, sessionEpoch, topics } = request;
    const usesTopicIds = version >= firstVersionWithTopicIds;
    if (sessionEpoch === initialEpoch || sessionEpoch === finalEpoch) {
      if (sessionId !== noSession) this.remove(sessionId);
      if (sessionEpoch === finalEpoch || topics.length === 0) return none;
      const session = this.create(usesTopicIds, countPartitions(topics));
      if (session === undefined) return none;
      this.partitionCount += session.update(topics);
      return { kind: 'full', session };
    }
    const session = this.sessions.get(sessionId);
    if (session === undefined) return { kind: 'error', errorCode: errorCodes.FETCH_SESSION_ID_NOT_FOUND };
    if (session.nextEpoch !== sessionEpoch) {
      return { kind: 'error', errorCode: errorCodes.INVALID_FETCH_SESSION_EPOCH };
    }
    if (session.usesTopicIds !== usesTopicIds) {
      return { kind: 'error', errorCode: errorCodes.FETCH_SESSION_TOPIC_ID_ERROR };
    }
    if (this.partitionCount + countPartitions(topics) > this.settings.maxSessionPartitions) {
      // The client begins anew with all its partitions, and gets full answers until there is room.
      this.remove(sessionId);
      return { kind: 'error', errorCode: errorCodes.FETCH_SESSION_ID_NOT_FOUND };
    }
    const before = session.size;
    session.forget(request.forgottenTopicsData);
    session.update(topics);
    this.partitionCount += session.size - before;
    if (session.size === 0) {
      this.remove(sessionId);
      return none;
    }
    session.nextEpoch = epochAfter(session.nextEpoch);
    session.lastUsedMs = this.clock.monotonicMs();
    this.sessions.delete(sessionId);
    this.sessions.set(sessionId, session);
    return { kind: 'incremental', session };
  }

  remove(id: number): void {
    const session = this.sessions.get(id);
    if (session === undefined) return;
    this.sessions.delete(id);
    this.partitionCount -= session.size;
    session.close();
  }

  private create(usesTopicIds: boolean, partitionCount: number): FetchSession | undefined {
    const { maxSessions, minEvictionMs, maxSessionPartitions } = this.settings;
    const nowMs = this.clock.monotonicMs();
    while (this.sessions.size >= maxSessions || this.partitionCount + partitionCount > maxSessionPartitions) {
      const oldest = this.sessions.values().next().value;
      if (oldest === undefined || nowMs - oldest.lastUsedMs < minEvictionMs) return undefined;
      this.remove(oldest.id);
    }
    const session = new FetchSession(this.newId(), usesTopicIds, nowMs);
    this.sessions.set(session.id, session);
    return session;
  }

  private newId(): number {
    for (;;) {
      const id = 1 + Math.floor(this.random() * largestId);
      if (id <= largestId && !this.sessions.has(id)) return id;
    }
  }
}

function countPartitions(topics: readonly FetchRequestFetchTopic[]): number {
  let count = 0;
  for (const topic of topics) count += topic.partitions.length;
  return count;
}

/** The targets of a request without a session, in its order. */
export function targetsOf(topics: readonly FetchRequestFetchTopic[]): FetchTarget[] {
  const targets: FetchTarget[] = [];
  for (const { topic, topicId, partitions } of topics) {
    for (const partition of partitions) {
      const target = new FetchTarget(topic, topicId, partition.partition);
      target.ask(partition);
      targets.push(target);
    }
  }
  return targets;
}

/** True where an answer's topic group holds the target. */
export function sameTopic(target: FetchTarget, topicName: string, topicId: string): boolean {
  return topicId === ZERO_UUID ? target.topicName === topicName : target.topicId === topicId;
}
