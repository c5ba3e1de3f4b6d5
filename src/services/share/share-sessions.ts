/**
 * Share sessions (KIP-932): which partitions a member fetches, so that it need not say so each time, and an epoch by which requests
 * that were lost or repeated are found out. A member has one session, on one connection. Pure.
 */
import { errorCodes } from '../../../protocol/error-codes.ts';
import { type ApiError, apiError } from '../api-error.ts';

export const initialEpoch = 0;
export const finalEpoch = -1;
const largestEpoch = 0x7fffffff;

export interface SessionPartition {
  readonly topicId: string;
  readonly partition: number;
}

export interface SessionTopics {
  readonly topicId: string;
  readonly partitions: readonly { readonly partitionIndex: number }[];
}

export interface ForgottenTopics {
  readonly topicId: string;
  readonly partitions: readonly number[];
}

export class ShareSession {
  readonly groupId: string;
  readonly memberId: string;
  readonly connectionId: number;
  /** That of the next request. */
  epoch = 1;
  /** By topic id and partition, in the order in which they were added. */
  readonly partitions = new Map<string, SessionPartition>();

  constructor(groupId: string, memberId: string, connectionId: number) {
    this.groupId = groupId;
    this.memberId = memberId;
    this.connectionId = connectionId;
  }

  add(topics: readonly SessionTopics[]): void {
    for (const { topicId, partitions } of topics) {
      for (const { partitionIndex } of partitions) {
        const text = placeOf(topicId, partitionIndex);
        if (!this.partitions.has(text)) this.partitions.set(text, { topicId, partition: partitionIndex });
      }
    }
  }

  remove(topics: readonly ForgottenTopics[]): void {
    for (const { topicId, partitions } of topics) {
      for (const partition of partitions) this.partitions.delete(placeOf(topicId, partition));
    }
  }

  advance(): void {
    this.epoch = this.epoch === largestEpoch ? 1 : this.epoch + 1;
  }
}

/** A topic id has no blanks. */
export function placeOf(topicId: string, partition: number): string {
  return `${topicId} ${partition}`;
}

export type SessionChoice = { readonly session: ShareSession } | { readonly error: ApiError };

export class ShareSessions {
  readonly #settings: { readonly maxSessions: number };
  /** By member id and group. */
  readonly #sessions = new Map<string, ShareSession>();

  constructor(settings: { readonly maxSessions: number }) {
    this.#settings = settings;
  }

  get size(): number {
    return this.#sessions.size;
  }

  get(groupId: string, memberId: string): ShareSession | undefined {
    return this.#sessions.get(nameOf(groupId, memberId));
  }

  /** A new session for the member, in place of the one that it had. */
  open(groupId: string, memberId: string, connectionId: number): SessionChoice {
    const name = nameOf(groupId, memberId);
    this.#sessions.delete(name);
    if (this.#sessions.size >= this.#settings.maxSessions) {
      return { error: apiError('SHARE_SESSION_LIMIT_REACHED') };
    }
    const session = new ShareSession(groupId, memberId, connectionId);
    this.#sessions.set(name, session);
    return { session };
  }

  /** The member's session, where the request is the one that it awaits; the next one has the next epoch. */
  resume(groupId: string, memberId: string, epoch: number): SessionChoice {
    const session = this.get(groupId, memberId);
    if (session === undefined) return { error: apiError('SHARE_SESSION_NOT_FOUND') };
    if (epoch === finalEpoch) return { session };
    if (session.epoch !== epoch)
      return { error: { code: errorCodes.INVALID_SHARE_SESSION_EPOCH, message: null } };
    session.advance();
    return { session };
  }

  close(session: ShareSession): void {
    const name = nameOf(session.groupId, session.memberId);
    if (this.#sessions.get(name) === session) this.#sessions.delete(name);
  }

  ofGroup(groupId: string): ShareSession[] {
    return [...this.#sessions.values()].filter((session) => session.groupId === groupId);
  }

  ofConnection(connectionId: number): ShareSession[] {
    return [...this.#sessions.values()].filter((session) => session.connectionId === connectionId);
  }
}

function nameOf(groupId: string, memberId: string): string {
  return JSON.stringify([memberId, groupId]);
}
