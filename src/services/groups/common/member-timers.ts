/**
 * The deadlines of a group's members: sessions, which each heartbeat prolongs, and waits for one thing (a revocation, a JoinGroup, a
 * SyncGroup), which are set once. By member id; they end with the member or the group. Live in memory only.
 */
import type { Timer } from '../../../util/clock.ts';
import type { MachineTimers, TimedCommand } from '../../coordinator/coordinator-machine.ts';
import { Deadline } from '../../coordinator/deadline.ts';

export type MemberWait = 'revocation' | 'join' | 'sync';

export class MemberTimers<StateRecord> {
  readonly #timers: MachineTimers<StateRecord>;
  readonly #sessions = new Map<string, Deadline<StateRecord>>();
  readonly #waits: Readonly<Record<MemberWait, Map<string, Timer>>> = {
    revocation: new Map(),
    join: new Map(),
    sync: new Map(),
  };

  constructor(timers: MachineTimers<StateRecord>) {
    this.#timers = timers;
  }

  renewSession(memberId: string, timeoutMs: number, expire: TimedCommand<StateRecord>): void {
    let session = this.#sessions.get(memberId);
    if (session === undefined) {
      session = new Deadline(this.#timers, (effects) => {
        this.#sessions.delete(memberId);
        expire(effects);
      });
      this.#sessions.set(memberId, session);
    }
    session.set(timeoutMs);
  }

  isWaiting(wait: MemberWait, memberId: string): boolean {
    return this.#waits[wait].has(memberId);
  }

  /** Replaces the member's earlier wait of the kind. */
  await(wait: MemberWait, memberId: string, timeoutMs: number, expire: TimedCommand<StateRecord>): void {
    const waits = this.#waits[wait];
    waits.get(memberId)?.cancel();
    const timer = this.#timers.after(timeoutMs, (effects) => {
      if (waits.get(memberId) === timer) waits.delete(memberId);
      expire(effects);
    });
    waits.set(memberId, timer);
  }

  end(wait: MemberWait, memberId: string): void {
    this.#waits[wait].get(memberId)?.cancel();
    this.#waits[wait].delete(memberId);
  }

  /** The member is gone. */
  endAllOf(memberId: string): void {
    this.#sessions.get(memberId)?.cancel();
    this.#sessions.delete(memberId);
    for (const wait of ['revocation', 'join', 'sync'] as const) this.end(wait, memberId);
  }

  /** The group is gone. */
  stop(): void {
    for (const session of this.#sessions.values()) session.cancel();
    this.#sessions.clear();
    for (const waits of Object.values(this.#waits)) {
      for (const timer of waits.values()) timer.cancel();
      waits.clear();
    }
  }
}
