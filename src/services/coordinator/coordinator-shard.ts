/**
 * One partition of an internal topic with the state machine that lives on it: reads it when it is first used, runs commands one
 * after the other, gathers what they append within one turn of the event loop into one append group, and holds back every answer
 * until what it rests on is durable. Where the topic is not compacted it keeps the log short by writing the state anew and
 * trimming what is before.
 *
 * Appends are pipelined: commands go on while earlier groups are in flight. Where one is refused, whatever was built on it must
 * not be trusted: the machine is thrown away, everyone who waits is told to come again, and the log is read once all appends in
 * flight are settled. A later group that got in nevertheless does no harm: a record says a whole state, never a difference.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import type {
  AppendResult,
  Fence,
  Lease,
  QueueId,
  RefusalReason,
  StorageEngine,
} from '../../storage/engine.ts';
import { AssertionFailure, assert } from '../../util/assert.ts';
import type { Clock, Timer } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import type { CoordinatorLimits } from './coordinator-limits.ts';
import type {
  CoordinatorMachine,
  Effects,
  EncodedRecord,
  MachineTimers,
  StateRecordFormat,
  Ticket,
} from './coordinator-machine.ts';
import type { ClosedGroup } from './joint-append.ts';
import { forEachStateRecord, recordSizeBytes, stateEntries } from './state-batches.ts';

export interface ShardOptions<StateRecord, Machine extends CoordinatorMachine<StateRecord>> {
  /** For leases and the log: topic and partition. */
  readonly name: string;
  readonly queue: QueueId;
  readonly engine: StorageEngine;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: CoordinatorLimits;
  readonly format: StateRecordFormat<StateRecord>;
  readonly createMachine: (timers: MachineTimers<StateRecord>) => Machine;
  /** The partition is compacted by others, as a topic is: the shard does not shorten its log. Asked again and again. */
  readonly isCompacted: () => boolean;
  /** Calls back at the end of the present turn of the event loop. */
  readonly endOfTurn: (action: () => void) => void;
  /** The shard is of no use any more: its queue or its lease is gone. */
  readonly onClosed: () => void;
}

/** Lets a command have what is appended here kept together with more: see joint-append.ts. */
export interface JoinableGroups {
  /**
   * Closes the group that is open, for the caller to append in this turn; undefined where nothing was appended to it. Answers of the
   * command that runs wait for it.
   */
  closeGroup(): ClosedGroup | undefined;
}

export type Command<StateRecord, Machine, Answer> = (
  machine: Machine,
  effects: Effects<StateRecord>,
  ticket: Ticket<Answer>,
  groups: JoinableGroups,
) => void;

/** A ticket with its answer, or with someone who waits for it. */
export class PendingAnswer<Answer> implements Ticket<Answer> {
  readonly fail: (code: ErrorCode) => Answer;
  #settled = false;
  #answer: Answer | undefined;
  #resolve: ((answer: Answer) => void) | undefined;

  constructor(fail: (code: ErrorCode) => Answer) {
    this.fail = fail;
  }

  get settled(): boolean {
    return this.#settled;
  }

  settle(answer: Answer): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#answer = answer;
    this.#resolve?.(answer);
  }

  /** The answer where it is there already. */
  result(): Answer | Promise<Answer> {
    if (this.#settled) return this.#answer as Answer;
    return new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }
}

interface HeldReply {
  readonly pending: PendingAnswer<unknown>;
  readonly answer: unknown;
}

/** Records that are appended together, and the answers that wait for them. */
class StateGroup {
  readonly records: EncodedRecord[] = [];
  readonly replies: HeldReply[] = [];
  sizeBytes = 0;
  /** Undefined while in flight. */
  outcome: 'appended' | 'refused' | undefined;
  baseOffset = -1;
  /** Where the group begins in the count of all bytes that this shard appended. */
  startBytes = 0;
  startEntries = 0;
  readonly whenSettled: Promise<void>;
  #settle: () => void = () => {};

  constructor() {
    this.whenSettled = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  settle(outcome: 'appended' | 'refused'): void {
    this.outcome = outcome;
    this.#settle();
  }
}

/** An offset, and how many bytes and entries the shard had appended before it. */
interface LogPlace {
  readonly offset: number;
  readonly bytes: number;
  readonly entries: number;
}

type ShardState = 'loading' | 'active' | 'closed';

export class CoordinatorShard<StateRecord, Machine extends CoordinatorMachine<StateRecord>>
  implements JoinableGroups
{
  readonly name: string;
  readonly #options: ShardOptions<StateRecord, Machine>;
  readonly #limits: CoordinatorLimits;
  readonly #effects: Effects<StateRecord>;
  #state: ShardState = 'loading';
  #machine: Machine | undefined;
  #lease: Lease | undefined;
  /** Grows whenever the machine is thrown away: what belongs to an earlier life is void. */
  #life = 0;

  // Commands that wait for the machine.
  #waiting: (() => void)[] = [];
  #loadIsSlow = false;
  /** How far the reading has come, for the log. */
  #progress: { entries: number; offset: number; endOffset: number } | undefined;

  // The command that runs now.
  #running = false;
  #commandReplies: HeldReply[] = [];

  // What was appended and is not durable yet: first those in flight, then the open group.
  #open = new StateGroup();
  readonly #inFlight: StateGroup[] = [];
  #flushIsDue = false;
  readonly #unanswered = new Set<PendingAnswer<unknown>>();
  readonly #timers = new Set<Timer>();

  // The log's length, for snapshots.
  #endOffset = 0;
  #appendedBytes = 0;
  #trimmedBytes = 0;
  #appendedEntries = 0;
  #trimmedEntries = 0;
  #snapshotBytes = 0;
  #snapshotRuns = false;
  /** Something in the log could not be read. */
  #isDamaged = false;
  /** A snapshot stands in the log, and what is before it could not be trimmed yet. */
  #trimDue: LogPlace | undefined;
  /** After a failure the log grows by a piece before the next attempt. */
  #retryBytes = 0;

  constructor(options: ShardOptions<StateRecord, Machine>) {
    this.name = options.name;
    this.#options = options;
    this.#limits = options.limits;
    this.#effects = {
      append: (record) => this.#append(record),
      reply: (ticket, answer) => {
        assert(this.#running, 'an answer outside a command');
        this.#commandReplies.push({ pending: ticket as unknown as PendingAnswer<unknown>, answer });
      },
    };
    void this.#load(this.#life, []);
  }

  get state(): ShardState {
    return this.#state;
  }

  /** Bytes of the log that a reload would read, roughly. */
  get logBytes(): number {
    return this.#appendedBytes - this.#trimmedBytes;
  }

  /** Runs a command now, or in its turn once the partition is read. */
  execute<Answer>(
    fail: (code: ErrorCode) => Answer,
    command: Command<StateRecord, Machine, Answer>,
  ): Answer | Promise<Answer> {
    if (this.#state === 'closed') return fail(errorCodes.NOT_COORDINATOR);
    if (this.#open.sizeBytes > this.#limits.maxUnwrittenBytes)
      return fail(errorCodes.COORDINATOR_NOT_AVAILABLE);
    const pending = new PendingAnswer(fail);
    if (this.#state === 'active') {
      this.#run((machine, effects) => command(machine, effects, pending, this));
    } else {
      if (this.#loadIsSlow || this.#waiting.length >= this.#limits.maxWaitingCommands) {
        return fail(errorCodes.COORDINATOR_LOAD_IN_PROGRESS);
      }
      this.#waiting.push(() => {
        if (!pending.settled) this.#run((machine, effects) => command(machine, effects, pending, this));
      });
    }
    const result = pending.result();
    if (!pending.settled) this.#unanswered.add(pending as unknown as PendingAnswer<unknown>);
    return result;
  }

  /** Runs a command now, on the machine as it is; undefined where it is not in memory. */
  runNow<Result>(
    command: (machine: Machine, effects: Effects<StateRecord>, groups: JoinableGroups) => Result,
  ): { readonly result: Result } | undefined {
    if (this.#state !== 'active' || this.#open.sizeBytes > this.#limits.maxUnwrittenBytes) return undefined;
    let done: { readonly result: Result } | undefined;
    this.#run((machine, effects) => {
      done = { result: command(machine, effects, this) };
    });
    return done;
  }

  /** Resolves when the partition is in memory, or cannot be. */
  async whenLoaded(): Promise<void> {
    if (this.#state !== 'loading') return;
    await this.execute<void>(
      () => undefined,
      (_machine, effects, ticket) => effects.reply(ticket, undefined),
    );
  }

  /** The lease that the machine in memory rests on. */
  get fence(): Fence | undefined {
    return this.#lease === undefined ? undefined : { lease: this.#lease.name, epoch: this.#lease.epoch };
  }

  /** Answers those whom no append holds back but another client: they shall not keep the broker from ending. */
  releaseWaiting(code: ErrorCode): void {
    const held = new Set(
      [...this.#inFlight, this.#open].flatMap((group) => group.replies.map((reply) => reply.pending)),
    );
    for (const pending of [...this.#unanswered]) {
      if (held.has(pending)) continue;
      this.#unanswered.delete(pending);
      pending.settle(pending.fail(code));
    }
  }

  /** Makes durable what was appended, then tells everyone who still waits that the coordinator is gone. */
  async close(code: ErrorCode): Promise<void> {
    if (this.#state === 'closed') return;
    if (this.#open.records.length > 0) this.#flush();
    while (this.#inFlight.length > 0) await this.#inFlight[0]!.whenSettled;
    this.#end(code);
  }

  // ----- commands

  #run(command: (machine: Machine, effects: Effects<StateRecord>) => void): void {
    const machine = this.#machine;
    assert(machine !== undefined && !this.#running, 'a command inside a command, or without a machine');
    this.#running = true;
    try {
      command(machine, this.#effects);
    } finally {
      this.#running = false;
    }
    if (this.#commandReplies.length === 0) return;
    const replies = this.#commandReplies;
    this.#commandReplies = [];
    const restsOn = this.#open.records.length > 0 ? this.#open : this.#inFlight.at(-1);
    if (restsOn === undefined) this.#answer(replies);
    else restsOn.replies.push(...replies);
  }

  #append(record: StateRecord): void {
    const machine = this.#machine;
    assert(this.#running && machine !== undefined, 'a record outside a command');
    this.#enqueue(this.#options.format.encode(record));
    machine.replay(record);
  }

  #enqueue(record: EncodedRecord): void {
    this.#open.records.push(record);
    this.#open.sizeBytes += recordSizeBytes(record);
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    const life = this.#life;
    this.#options.endOfTurn(() => {
      if (life === this.#life) this.#flushWhenThereIsRoom(life);
    });
  }

  #answer(replies: readonly HeldReply[]): void {
    for (const { pending, answer } of replies) {
      this.#unanswered.delete(pending);
      pending.settle(answer);
    }
  }

  #machineTimers(): MachineTimers<StateRecord> {
    const { clock } = this.#options;
    const life = this.#life;
    return {
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
      after: (delayMs, command) => {
        if (life !== this.#life) return { cancel: () => {} };
        const timer = clock.after(delayMs, () => {
          this.#timers.delete(timer);
          if (life === this.#life && this.#state === 'active') this.#run((_, effects) => command(effects));
        });
        this.#timers.add(timer);
        return {
          cancel: () => {
            this.#timers.delete(timer);
            timer.cancel();
          },
        };
      },
    };
  }

  // ----- appends

  #flushWhenThereIsRoom(life: number): void {
    const room = this.#options.engine.appendRoom();
    if (room === undefined) {
      this.#flush();
      return;
    }
    const retry = (): void => {
      if (life === this.#life && this.#flushIsDue) this.#flushWhenThereIsRoom(life);
    };
    void room.then(retry, retry);
  }

  #flush(): void {
    const group = this.closeGroup();
    if (group === undefined) return;
    const { engine } = this.#options;
    engine.append({ durability: 'sync', entries: group.entries, fences: [group.fence] }).then(
      (results) => group.settled(results),
      (error: unknown) => group.lost('unknown', error),
    );
  }

  closeGroup(): ClosedGroup | undefined {
    this.#flushIsDue = false;
    const group = this.#open;
    if (group.records.length === 0) return undefined;
    this.#open = new StateGroup();
    const { clock, queue } = this.#options;
    const entries = stateEntries(queue, group.records, clock.nowMs(), this.#limits.maxBatchBytes);
    group.startBytes = this.#appendedBytes;
    group.startEntries = this.#appendedEntries;
    this.#appendedEntries += entries.length;
    for (const entry of entries) this.#appendedBytes += (entry.payload as Buffer).length;
    this.#inFlight.push(group);
    const life = this.#life;
    const { fence } = this;
    assert(fence !== undefined, 'state appended without a lease');
    return {
      entries,
      fence,
      settled: (results) => this.#settled(life, group, results),
      lost: (reason, error) => this.#lost(life, group, reason, error),
    };
  }

  #settled(life: number, group: StateGroup, results: readonly AppendResult[]): void {
    for (const result of results) {
      if (result.outcome !== 'appended') {
        const refused = results.find((other) => other.outcome === 'refused');
        this.#lost(life, group, refused === undefined ? 'unknown' : refused.reason, undefined);
        return;
      }
    }
    const first = results[0];
    assert(first?.outcome === 'appended', 'an append without a result');
    group.baseOffset = first.baseOffset;
    group.settle('appended');
    if (life !== this.#life) {
      this.#forget(group);
      return;
    }
    // Answers leave in the order of the log, whatever order the engine settles in.
    while (this.#inFlight[0]?.outcome === 'appended') {
      const done = this.#inFlight.shift()!;
      this.#endOffset = done.baseOffset + done.records.length;
      this.#answer(done.replies);
    }
    this.#snapshotWhenDue();
  }

  #lost(life: number, group: StateGroup, reason: RefusalReason | 'unknown', error: unknown): void {
    group.settle('refused');
    this.#forget(group);
    if (life !== this.#life || this.#state === 'closed') return;
    this.#options.log.warn(
      { partition: this.name, reason, err: error },
      'An append of coordinator state was refused; the state is read again',
    );
    if (reason === 'unknown-queue' || reason === 'closing' || reason === 'stale-lease') {
      this.#end(reason === 'stale-lease' ? errorCodes.NOT_COORDINATOR : errorCodes.COORDINATOR_NOT_AVAILABLE);
      return;
    }
    const settling = [...this.#inFlight];
    this.#dropMachine(
      reason === 'unknown' ? errorCodes.COORDINATOR_NOT_AVAILABLE : errorCodes.NOT_COORDINATOR,
    );
    this.#state = 'loading';
    void this.#load(this.#life, settling);
  }

  #forget(group: StateGroup): void {
    const index = this.#inFlight.indexOf(group);
    if (index >= 0) this.#inFlight.splice(index, 1);
  }

  #dropMachine(code: ErrorCode): void {
    this.#life++;
    this.#machine = undefined;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#open.settle('refused');
    this.#open = new StateGroup();
    this.#flushIsDue = false;
    this.#inFlight.length = 0;
    this.#waiting = [];
    this.#commandReplies = [];
    const unanswered = [...this.#unanswered];
    this.#unanswered.clear();
    for (const pending of unanswered) pending.settle(pending.fail(code));
  }

  #end(code: ErrorCode): void {
    this.#state = 'closed';
    this.#dropMachine(code);
    this.#options.onClosed();
  }

  // ----- loading

  async #load(life: number, settling: readonly StateGroup[]): Promise<void> {
    const { engine, clock, queue, log, name } = this.#options;
    this.#loadIsSlow = false;
    let waitsFor = 'earlier appends';
    this.#progress = undefined;
    const slow = clock.after(this.#limits.loadWaitMs, () => {
      if (life !== this.#life || this.#state !== 'loading') return;
      log.warn(
        { partition: name, waitsFor, ...this.#progress, waitMs: this.#limits.loadWaitMs },
        'The state of a coordinator takes long to read; its clients are told to come again',
      );
      this.#loadIsSlow = true;
      this.#waiting = [];
      const unanswered = [...this.#unanswered];
      this.#unanswered.clear();
      for (const pending of unanswered) pending.settle(pending.fail(errorCodes.COORDINATOR_LOAD_IN_PROGRESS));
    });
    const startedMs = clock.monotonicMs();
    try {
      for (const group of settling) await group.whenSettled;
      waitsFor = 'the lease to be durable';
      this.#lease = await engine.acquireLease(name);
      const machine = this.#options.createMachine(this.#machineTimers());
      waitsFor = 'the log to be durable';
      if (settling.length > 0 || life > 0) await engine.whenDurable();
      waitsFor = 'reads of the log';
      const { records, entries } = await this.#replayLog(machine, queue);
      const sizeBytes = await engine.sizeBytes(queue);
      if (life !== this.#life) return;
      this.#appendedBytes = sizeBytes;
      this.#trimmedBytes = 0;
      this.#appendedEntries = entries;
      this.#trimmedEntries = 0;
      this.#trimDue = undefined;
      this.#retryBytes = 0;
      this.#machine = machine;
      this.#state = 'active';
      const lease = this.#lease;
      lease.lost.addEventListener('abort', () => {
        if (this.#lease === lease && this.#state !== 'closed') this.#end(errorCodes.NOT_COORDINATOR);
      });
      log.debug(
        { partition: name, records, sizeBytes, durationMs: Math.round(clock.monotonicMs() - startedMs) },
        'Read the state of a coordinator',
      );
    } catch (error) {
      if (error instanceof AssertionFailure) throw error;
      if (life !== this.#life) return;
      log.error({ partition: name, err: error }, 'The state of a coordinator could not be read');
      this.#end(errorCodes.COORDINATOR_NOT_AVAILABLE);
      return;
    } finally {
      slow.cancel();
    }
    this.#run((machine, effects) => machine.onLoaded(effects));
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const command of waiting) command();
    this.#snapshotWhenDue();
  }

  async #replayLog(
    machine: Machine,
    queue: QueueId,
  ): Promise<{ readonly records: number; readonly entries: number }> {
    const { engine, log, name, format } = this.#options;
    let records = 0;
    this.#isDamaged = false;
    let entries = 0;
    const bounds = await engine.bounds(queue);
    if (bounds === undefined) throw new Error(`${name} has no queue`);
    let offset = bounds.startOffset;
    while (offset < bounds.visibleEndOffset) {
      this.#progress = { entries, offset, endOffset: bounds.visibleEndOffset };
      const read = await engine.read(queue, {
        fromOffset: offset,
        maxBytes: this.#limits.loadReadBytes,
        atLeastOne: true,
        isAlone: true,
      });
      if (read.outcome === 'damaged') {
        // What these records said is lost. Going on without them sets some members or offsets back; not going on stops them all.
        log.error(
          { partition: name, baseOffset: read.baseOffset, nextOffset: read.nextOffset },
          'Records of a coordinator fail their check and are passed over',
        );
        offset = read.nextOffset;
        this.#isDamaged = true;
        continue;
      }
      if (read.outcome !== 'read') throw new Error(`${name} cannot be read at ${offset}: ${read.outcome}`);
      try {
        entries += read.payloads.length;
        for (const payload of read.payloads) {
          forEachStateRecord(payload, (key, value, batch) => {
            const record = format.decode(key, value, batch);
            if (record === undefined) return;
            machine.replay(record);
            records++;
          });
        }
      } finally {
        read.release();
      }
      if (read.nextOffset <= offset) break;
      offset = read.nextOffset;
      // Memory answers at once: let others have their turn between pieces.
      if (offset < bounds.visibleEndOffset) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.#endOffset = bounds.visibleEndOffset;
    return { records, entries };
  }

  // ----- snapshots

  #snapshotWhenDue(): void {
    if (this.#snapshotRuns || this.#state !== 'active') return;
    // Compaction stops before what cannot be read; written anew, the log is whole again.
    if (this.#options.isCompacted() && !this.#isDamaged) return;
    const isSpread = this.#appendedEntries - this.#trimmedEntries >= this.#limits.snapshotLogEntries;
    const dueBytes = Math.max(
      isSpread ? 1 : this.#limits.snapshotLogBytes,
      this.#limits.snapshotGrowth * this.#snapshotBytes,
    );
    if (this.logBytes < Math.max(dueBytes, this.#retryBytes)) return;
    this.#snapshotRuns = true;
    const life = this.#life;
    const shortened = this.#trimDue === undefined ? this.#snapshot(life) : this.#trim(life, this.#trimDue);
    shortened
      .catch((error: unknown) => {
        if (error instanceof AssertionFailure) throw error;
        this.#retryBytes = this.logBytes + this.#limits.snapshotLogBytes;
        this.#options.log.warn(
          { partition: this.name, err: error },
          'A coordinator log could not be shortened',
        );
      })
      .finally(() => {
        this.#snapshotRuns = false;
      });
  }

  /**
   * Appends the whole state again, in pieces, then trims what stood before the first piece. Right at every step: until the trim the
   * log says everything twice, and what changes meanwhile is appended behind its old value.
   */
  async #snapshot(life: number): Promise<void> {
    const machine = this.#machine;
    assert(machine !== undefined, 'a snapshot without a machine');
    const { format } = this.#options;
    // All that is appended from here on stays. Where the state turns out to be empty this is where the log shall begin.
    const last = this.#open.records.length > 0 ? this.#open : this.#inFlight.at(-1);
    const end: LogPlace = {
      offset: this.#endOffset,
      bytes: this.#appendedBytes,
      entries: this.#appendedEntries,
    };
    let first: StateGroup | undefined;
    let sizeBytes = 0;
    let pieceBytes = 0;
    const inTheLog = async (group: StateGroup): Promise<boolean> => {
      await group.whenSettled;
      // All groups before it must be in as well: a later one may be settled first.
      while (life === this.#life && this.#inFlight.includes(group)) await this.#inFlight[0]!.whenSettled;
      return life === this.#life && group.outcome === 'appended';
    };
    for (const record of machine.snapshot()) {
      const encoded = format.encode(record);
      this.#enqueue(encoded);
      first ??= this.#open;
      sizeBytes += recordSizeBytes(encoded);
      pieceBytes += recordSizeBytes(encoded);
      if (pieceBytes < this.#limits.snapshotChunkBytes) continue;
      pieceBytes = 0;
      if (!(await inTheLog(this.#open))) return;
    }
    if (pieceBytes > 0 && !(await inTheLog(this.#open))) return;
    const beginning = first ?? last;
    if (beginning !== undefined && !(await inTheLog(beginning))) return;
    this.#snapshotBytes = sizeBytes;
    this.#trimDue =
      beginning === undefined
        ? end
        : {
            offset: beginning.baseOffset,
            bytes: beginning.startBytes,
            entries: beginning.startEntries,
          };
    await this.#trim(life, this.#trimDue);
  }

  async #trim(life: number, place: LogPlace): Promise<void> {
    await this.#options.engine.trim(this.#options.queue, place.offset);
    if (life !== this.#life) return;
    this.#trimDue = undefined;
    this.#isDamaged = false;
    this.#trimmedBytes = place.bytes;
    this.#trimmedEntries = place.entries;
  }
}
