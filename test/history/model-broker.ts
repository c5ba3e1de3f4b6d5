/**
 * A broker of a few lines with Kafka's transactions, and one bug if asked for: it makes histories on which the checker is tried. Nothing
 * here waits; the driver below interleaves its clients by a seed.
 */
import { seededRandom } from '../fakes/simulated-disk.ts';
import type { History, Operation, PartitionName, SeenRecord, Send } from './history.ts';

export const modelBugs = [
  'aborted records are shown',
  'open transactions are shown',
  'a marker is missing in one partition',
  'a commit is answered and forgotten',
  'a committed record is dropped',
  'a record sent again is stored twice',
  'an offset is used again after a crash',
  'a wrong offset is acknowledged',
  'a fetch leaves a record out',
  'a fetch starts too far on',
  'a fetch goes back',
  'offsets of an aborted transaction stay',
  'offsets are not committed with the transaction',
  'committed offsets are lost in a crash',
  'a fenced producer may go on',
  'a late commit ends the next transaction',
  'a record lands in another partition',
] as const;

export type ModelBug = (typeof modelBugs)[number];

interface Stored {
  readonly value: number;
  readonly transaction: number;
}

interface Open {
  readonly id: number;
  readonly producer: string;
  state: 'open' | 'committed' | 'aborted';
  toOffset: number | undefined;
  /** Partitions that must not learn of the end (a bug). */
  readonly deaf: Set<PartitionName>;
}

const input = 'in-0';
const outputs = ['out-0', 'out-1'] as const;

class ModelBroker {
  private readonly logs = new Map<PartitionName, (Stored | undefined)[]>();
  private readonly transactions: Open[] = [];
  private committedOffset = -1;
  private offsetBefore = -1;
  private readonly bug: ModelBug | undefined;
  private readonly random: () => number;

  constructor(bug: ModelBug | undefined, random: () => number) {
    this.bug = bug;
    this.random = random;
  }

  begin(producer: string): number {
    const id = this.transactions.length;
    this.transactions.push({ id, producer, state: 'open', toOffset: undefined, deaf: new Set() });
    return id;
  }

  /** InitProducerId: what the producer left open is aborted. */
  fence(producer: string): void {
    for (const one of this.transactions) {
      if (one.producer === producer && one.state === 'open' && !this.happens('a fenced producer may go on')) {
        this.end(one.id, false);
      }
    }
  }

  append(partition: PartitionName, value: number, transaction: number, isAgain: boolean): number {
    const other = outputs.find((one) => one !== partition)!;
    const log = this.log(this.happens('a record lands in another partition') ? other : partition);
    const at = log.findIndex((stored) => stored?.value === value);
    if (isAgain && at >= 0 && !this.happens('a record sent again is stored twice')) return at;
    log.push({ value, transaction });
    return log.length - 1 + (this.happens('a wrong offset is acknowledged') ? 1 : 0);
  }

  addOffset(transaction: number, toOffset: number): void {
    this.transactions[transaction]!.toOffset = toOffset;
  }

  end(id: number, commit: boolean): void {
    const one = this.transactions[id]!;
    if (one.state !== 'open') return;
    one.state = commit && !this.happens('a commit is answered and forgotten') ? 'committed' : 'aborted';
    if (this.happens('a marker is missing in one partition')) one.deaf.add(outputs[0]);
    const keeps = one.state === 'committed' || this.happens('offsets of an aborted transaction stay');
    if (
      one.toOffset !== undefined &&
      keeps &&
      !this.happens('offsets are not committed with the transaction')
    ) {
      this.offsetBefore = this.committedOffset;
      this.committedOffset = one.toOffset;
    }
    for (const log of this.logs.values()) {
      const isIn = log.some((stored) => stored?.transaction === id);
      if (isIn) log.push(undefined); // the marker takes an offset
      if (isIn && commit && this.happens('a committed record is dropped')) {
        const at = log.findIndex((stored) => stored?.transaction === id);
        log[at] = undefined;
      }
    }
  }

  isOpen(id: number): boolean {
    return this.transactions[id]!.state === 'open';
  }

  /** A commit that was under way when its producer was fenced arrives now. */
  lateCommit(producer: string): void {
    if (!this.happens('a late commit ends the next transaction')) return;
    const open = this.transactions.find((one) => one.producer === producer && one.state === 'open');
    if (open !== undefined) this.end(open.id, true);
  }

  crash(): void {
    if (this.happens('an offset is used again after a crash')) {
      const log = this.log(outputs[0]);
      const last = log.findLastIndex((stored) => stored !== undefined);
      if (last >= 0)
        log[last] = { value: log[last]!.value + 1_000_000_000, transaction: log[last]!.transaction };
    }
    if (this.happens('committed offsets are lost in a crash')) this.committedOffset = this.offsetBefore;
  }

  fetch(partition: PartitionName, position: number): { records: SeenRecord[]; nextPosition: number } {
    const log = this.log(partition);
    let from = position;
    if (this.happens('a fetch goes back')) from = Math.max(0, from - 2);
    if (this.happens('a fetch starts too far on')) from++;
    const records: SeenRecord[] = [];
    let at = from;
    for (; at < log.length; at++) {
      const stored = log[at];
      if (stored === undefined) continue;
      const transaction = this.transactions[stored.transaction]!;
      const state = transaction.deaf.has(partition) ? 'aborted' : transaction.state;
      if (state === 'open' && !this.happens('open transactions are shown')) break;
      if (state === 'aborted' && !this.happens('aborted records are shown')) continue;
      if (this.happens('a fetch leaves a record out')) continue;
      records.push({ offset: at, value: stored.value });
    }
    return { records, nextPosition: Math.max(at, position) };
  }

  get offset(): number {
    return this.committedOffset;
  }

  /** All that is committed, without the bugs of fetches. */
  all(partition: PartitionName): SeenRecord[] {
    return this.log(partition).flatMap((stored, offset) => {
      if (stored === undefined) return [];
      const { state, deaf } = this.transactions[stored.transaction]!;
      return state === 'committed' && !deaf.has(partition) ? [{ offset, value: stored.value }] : [];
    });
  }

  get partitions(): readonly PartitionName[] {
    return [...this.logs.keys()];
  }

  private log(partition: PartitionName): (Stored | undefined)[] {
    let log = this.logs.get(partition);
    if (log === undefined) {
      log = [];
      this.logs.set(partition, log);
    }
    return log;
  }

  private happens(bug: ModelBug): boolean {
    return this.bug === bug && this.random() < 0.3;
  }
}

interface Running {
  readonly id: number;
  readonly sends: Send[];
  readonly consumed: { values: number[]; toOffset: number } | undefined;
  stepsLeft: number;
}

/** A history of two writers, a copier from in-0 to the outputs and two readers, with lost answers and crashes. */
export function modelHistory(seed: number, steps: number, bug?: ModelBug): History {
  const random = seededRandom(seed);
  const broker = new ModelBroker(bug, random);
  const operations: Operation[] = [];
  const running = new Map<string, Running>();
  const positions = new Map<string, { position: number; session: number }>();
  let nowMs = 0;
  let nextValue = 1;

  const begin = (process: string): void => {
    broker.fence(process);
    if (process !== 'copier') {
      running.set(process, {
        id: broker.begin(process),
        sends: [],
        consumed: undefined,
        stepsLeft: 1 + Math.floor(random() * 3),
      });
      return;
    }
    const from = Math.max(0, broker.offset);
    operations.push({
      kind: 'offset-fetch',
      group: 'g',
      partition: input,
      offset: broker.offset,
      startMs: nowMs,
      endMs: nowMs,
    });
    const fetched = broker
      .all(input)
      .filter(({ offset }) => offset >= from)
      .slice(0, 3);
    if (fetched.length === 0) return;
    const consumed = { values: fetched.map(({ value }) => value), toOffset: fetched.at(-1)!.offset + 1 };
    running.set(process, { id: broker.begin(process), sends: [], consumed, stepsLeft: 2 });
  };

  const end = (process: string, one: Running): void => {
    running.delete(process);
    const commit = random() > 0.15;
    const isLost = random() < 0.1;
    const isDone = !isLost || random() < 0.5;
    const isOpen = broker.isOpen(one.id);
    if (one.consumed !== undefined) broker.addOffset(one.id, one.consumed.toOffset);
    const askedMs = nowMs++;
    if (isDone) broker.end(one.id, commit);
    const outcome = isLost ? 'unknown' : commit && isOpen ? 'committed' : 'aborted';
    operations.push({
      kind: 'transaction',
      process,
      outcome: commit ? outcome : 'aborted',
      sends: one.sends,
      ...(one.consumed === undefined ? {} : { consumed: { group: 'g', partition: input, ...one.consumed } }),
      ...(commit ? { commitAskedMs: askedMs } : {}),
      endMs: nowMs,
    });
    if (isLost && process !== 'zombie') {
      begin(process);
      broker.lateCommit(process);
    }
  };

  const step = (process: string): void => {
    // Somebody else goes on under the name of a copier that only seemed to be dead.
    const seemsDead = process === 'copier' && !running.has('zombie') && random() < 0.1;
    if (seemsDead && running.has(process)) {
      running.set('zombie', running.get(process)!);
      running.delete(process);
    }
    const zombie = process === 'copier' && random() < 0.2 ? running.get('zombie') : undefined;
    if (zombie !== undefined) {
      end('zombie', zombie);
      return;
    }
    const one = running.get(process);
    if (one === undefined) begin(process);
    else if (one.stepsLeft === 0) end(process, one);
    else {
      one.stepsLeft--;
      const partition = process === 'writer-0' ? input : outputs[Math.floor(random() * outputs.length)]!;
      const value = nextValue++;
      const isAgain = random() < 0.2;
      const first = broker.append(partition, value, one.id, false);
      one.sends.push({
        partition,
        value,
        offset: isAgain ? broker.append(partition, value, one.id, true) : first,
      });
    }
  };

  const read = (process: string): void => {
    for (const partition of broker.partitions) {
      const key = `${process}/${partition}`;
      const at = positions.get(key) ?? { position: 0, session: 0 };
      const { records, nextPosition } = broker.fetch(partition, at.position);
      operations.push({
        kind: 'poll',
        process,
        session: at.session,
        partition,
        position: at.position,
        nextPosition,
        records,
        startMs: nowMs,
        endMs: nowMs,
      });
      positions.set(
        key,
        random() < 0.1 ? { position: 0, session: at.session + 1 } : { ...at, position: nextPosition },
      );
    }
  };

  for (let count = 0; count < steps; count++) {
    nowMs++;
    const dice = random();
    if (dice < 0.25) read(dice < 0.12 ? 'reader-0' : 'reader-1');
    else if (dice < 0.27) broker.crash();
    else step(dice < 0.5 ? 'writer-0' : dice < 0.75 ? 'writer-1' : 'copier');
  }
  for (const [process, one] of running) {
    broker.fence(process);
    operations.push({ kind: 'transaction', process, outcome: 'aborted', sends: one.sends, endMs: nowMs });
  }
  return {
    operations,
    final: new Map(broker.partitions.map((partition) => [partition, broker.all(partition)])),
    finalOffsets: new Map([[input, Math.max(0, broker.offset)]]),
  };
}
