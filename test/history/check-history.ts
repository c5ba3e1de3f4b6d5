/**
 * Checks a history of transactions against what Kafka promises: the rules of Jepsen's Kafka workload as far as they bind a broker whose
 * clients read committed data by assignment, and exactly-once processing on top. What Kafka does not promise is not checked: writes of
 * open transactions interleave (ww cycles), so only cycles of reads are a finding. Pure.
 */
import type {
  Consumed,
  History,
  OffsetFetchOp,
  PartitionName,
  PollOp,
  Send,
  TransactionOp,
} from './history.ts';

export const rules = [
  'inconsistent offset',
  'duplicate',
  'phantom',
  'aborted read',
  'precommitted read',
  'lost write',
  'torn transaction',
  'poll skip',
  'nonmonotonic poll',
  'processed twice',
  'not processed',
  'offset of no transaction',
  'offset went back',
  'cycle of reads',
] as const;

export type Rule = (typeof rules)[number];

export interface Finding {
  readonly rule: Rule;
  readonly detail: string;
}

interface Written {
  readonly send: Send;
  readonly transaction: TransactionOp;
}

/** All that is wrong; empty where nothing is. */
export function checkHistory(history: History): readonly Finding[] {
  return new HistoryCheck(history).run();
}

class HistoryCheck {
  private readonly history: History;
  private readonly transactions: readonly TransactionOp[];
  private readonly polls: readonly PollOp[];
  private readonly written = new Map<number, Written>();
  /** Values that the last reading shows. */
  private readonly finalValues = new Set<number>();
  private readonly findings: Finding[] = [];

  constructor(history: History) {
    this.history = history;
    this.transactions = history.operations.filter((one) => one.kind === 'transaction');
    this.polls = history.operations.filter((one) => one.kind === 'poll');
    for (const transaction of this.transactions) {
      for (const send of transaction.sends) this.written.set(send.value, { send, transaction });
    }
    for (const records of history.final.values()) {
      for (const { value } of records) this.finalValues.add(value);
    }
  }

  run(): readonly Finding[] {
    this.checkOffsets();
    this.checkWhatWasRead();
    this.checkOutcomes();
    this.checkPolls();
    this.checkProcessing();
    this.checkCommittedOffsets();
    this.checkCycles();
    return this.findings;
  }

  private found(rule: Rule, detail: string): void {
    this.findings.push({ rule, detail });
  }

  /** An offset holds one value for ever, and a value has one offset. */
  private checkOffsets(): void {
    const valueAt = new Map<string, number>();
    const placeOf = new Map<number, string>();
    const note = (partition: PartitionName, offset: number, value: number): void => {
      const place = `${partition}@${offset}`;
      const other = valueAt.get(place);
      if (other !== undefined && other !== value) {
        this.found('inconsistent offset', `${place} is ${other} and ${value}`);
      }
      valueAt.set(place, value);
      const otherPlace = placeOf.get(value);
      if (otherPlace !== undefined && otherPlace !== place) {
        this.found('duplicate', `${value} is at ${otherPlace} and ${place}`);
      }
      placeOf.set(value, place);
    };
    for (const [partition, records] of this.history.final) {
      for (const { offset, value } of records) note(partition, offset, value);
    }
    for (const { partition, records } of this.polls) {
      for (const { offset, value } of records) note(partition, offset, value);
    }
    // An acknowledged offset must be where the value is seen, or where nobody sees another.
    for (const { sends } of this.transactions) {
      for (const { partition, value, offset } of sends) {
        if (offset === undefined) continue;
        const place = `${partition}@${offset}`;
        const other = valueAt.get(place);
        const seenAt = placeOf.get(value);
        if (other !== undefined && other !== value) {
          this.found('inconsistent offset', `${place} was acknowledged for ${value} and holds ${other}`);
        } else if (seenAt !== undefined && seenAt !== place) {
          this.found('inconsistent offset', `${value} was acknowledged at ${place} and is at ${seenAt}`);
        }
      }
    }
  }

  private checkWhatWasRead(): void {
    const look = (where: string, value: number, endMs: number): void => {
      const written = this.written.get(value);
      if (written === undefined) {
        this.found('phantom', `${where} shows ${value}, which nobody sent`);
        return;
      }
      const { outcome, commitAskedMs, process } = written.transaction;
      if (outcome === 'aborted') {
        this.found('aborted read', `${where} shows ${value} of an aborted transaction of ${process}`);
      } else if (commitAskedMs === undefined || endMs < commitAskedMs) {
        this.found('precommitted read', `${where} shows ${value} before ${process} asked for the commit`);
      }
    };
    for (const { partition, process, records, endMs } of this.polls) {
      for (const { value } of records) look(`a poll of ${partition} by ${process}`, value, endMs);
    }
    for (const [partition, records] of this.history.final) {
      for (const { value } of records) look(`the end of ${partition}`, value, Number.POSITIVE_INFINITY);
    }
  }

  /** A transaction is there whole or not at all, and a committed one is there. */
  private checkOutcomes(): void {
    for (const { outcome, sends, process } of this.transactions) {
      if (outcome === 'aborted') continue; // what is seen of it is an aborted read
      const missing = sends.filter(({ value }) => !this.finalValues.has(value));
      if (missing.length === 0) continue;
      const named = missing.map(({ partition, value }) => `${value} in ${partition}`).join(', ');
      if (missing.length < sends.length) {
        this.found('torn transaction', `of a transaction of ${process} is missing: ${named}`);
      } else if (outcome === 'committed') {
        this.found('lost write', `a committed transaction of ${process} is gone: ${named}`);
      }
    }
    for (const { partition, process, records } of this.polls) {
      for (const { value } of records) {
        if (this.finalValues.has(value) || this.written.get(value)?.transaction.outcome === 'aborted')
          continue;
        this.found('lost write', `${value} was read from ${partition} by ${process} and is gone`);
      }
    }
  }

  /** A poll shows everything between its position and its end, and follows on the one before. */
  private checkPolls(): void {
    const lastOf = new Map<string, PollOp>();
    for (const poll of this.polls) {
      const { partition, process, session, position, nextPosition, records } = poll;
      const key = `${process}/${session}/${partition}`;
      const before = lastOf.get(key);
      lastOf.set(key, poll);
      if (before !== undefined && position !== before.nextPosition) {
        const rule = position < before.nextPosition ? 'nonmonotonic poll' : 'poll skip';
        this.found(rule, `${process} went from ${before.nextPosition} to ${position} in ${partition}`);
      }
      let last = position - 1;
      for (const { offset } of records) {
        if (offset <= last) {
          this.found('nonmonotonic poll', `${process} read ${partition}@${offset} after ${last}`);
        }
        last = offset;
      }
      const seen = new Set(records.map(({ offset }) => offset));
      for (const { offset, value } of between(
        this.history.final.get(partition) ?? [],
        position,
        nextPosition,
      )) {
        if (seen.has(offset)) continue;
        this.found('poll skip', `${process} read ${partition} past ${offset} and did not see ${value}`);
      }
    }
  }

  /** Each input record is processed by exactly one transaction that is there, up to the committed offset. */
  private checkProcessing(): void {
    const processedBy = new Map<string, TransactionOp>();
    const perhaps = new Set<string>();
    const groups = new Set<string>();
    for (const transaction of this.transactions) {
      const { consumed } = transaction;
      if (consumed === undefined) continue;
      groups.add(`${consumed.group}\n${consumed.partition}`);
      const keyOf = (value: number): string => `${consumed.group}/${consumed.partition}/${value}`;
      // One that wrote nothing and whose end is unknown may be there or not.
      if (transaction.outcome === 'unknown' && transaction.sends.length === 0) {
        for (const value of consumed.values) perhaps.add(keyOf(value));
      }
      if (!this.isThere(transaction)) continue;
      for (const value of consumed.values) {
        const key = keyOf(value);
        if (processedBy.has(key)) this.found('processed twice', `${value} of ${consumed.partition}`);
        processedBy.set(key, transaction);
      }
    }
    for (const pair of groups) {
      const [group, partition] = pair.split('\n') as [string, string];
      const until = this.history.finalOffsets.get(partition) ?? 0;
      for (const { value } of between(this.history.final.get(partition) ?? [], 0, until)) {
        const key = `${group}/${partition}/${value}`;
        if (!processedBy.has(key) && !perhaps.has(key)) {
          this.found('not processed', `${value} of ${partition}, though ${until} is committed`);
        }
      }
    }
  }

  /** True where it was committed, or shows that it was. A transaction without records shows nothing. */
  private isThere({ outcome, sends }: TransactionOp): boolean {
    return (
      outcome !== 'aborted' &&
      (outcome === 'committed' || sends.some(({ value }) => this.finalValues.has(value)))
    );
  }

  private checkCommittedOffsets(): void {
    const commits = this.transactions.filter(
      (one): one is TransactionOp & { consumed: Consumed } => one.consumed !== undefined,
    );
    const fetches = this.history.operations.filter(
      (one): one is OffsetFetchOp => one.kind === 'offset-fetch',
    );
    for (const { group, partition, offset, startMs } of fetches) {
      const ours = commits.filter(
        ({ consumed }) => consumed.group === group && consumed.partition === partition,
      );
      if (offset >= 0 && !ours.some((one) => one.consumed.toOffset === offset && one.outcome !== 'aborted')) {
        this.found('offset of no transaction', `${group} was told ${offset} for ${partition}`);
      }
      for (const { outcome, consumed, endMs } of ours) {
        if (outcome === 'committed' && endMs < startMs && consumed.toOffset > offset) {
          const told = `${group} was told ${offset} for ${partition}`;
          this.found('offset went back', `${told} after ${consumed.toOffset} was committed`);
        }
      }
    }
  }

  /** Transactions that have each read what the other wrote (G1c with wr edges only). */
  private checkCycles(): void {
    const edges = new Map<TransactionOp, TransactionOp[]>();
    for (const transaction of this.transactions) {
      if (transaction.consumed === undefined || !this.isThere(transaction)) continue;
      for (const value of transaction.consumed.values) {
        const writer = this.written.get(value)?.transaction;
        if (writer === undefined) continue;
        const readers = edges.get(writer) ?? [];
        readers.push(transaction);
        edges.set(writer, readers);
      }
    }
    for (const cycle of stronglyConnected(edges)) {
      const named = cycle.map(({ process }) => process).join(', ');
      this.found('cycle of reads', `${cycle.length} transactions have read one another: ${named}`);
    }
  }
}

/** Of records in offset order. */
function between<One extends { readonly offset: number }>(
  records: readonly One[],
  from: number,
  to: number,
): readonly One[] {
  let low = 0;
  let high = records.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (records[middle]!.offset < from) low = middle + 1;
    else high = middle;
  }
  let end = low;
  while (end < records.length && records[end]!.offset < to) end++;
  return records.slice(low, end);
}

/** Tarjan's strongly connected components, those of a node alone left out where it does not point at itself. No recursion. */
function stronglyConnected<Node>(edges: ReadonlyMap<Node, readonly Node[]>): Node[][] {
  const indexOf = new Map<Node, number>();
  const lowest = new Map<Node, number>();
  const onStack = new Set<Node>();
  const stack: Node[] = [];
  const components: Node[][] = [];
  for (const root of edges.keys()) {
    if (indexOf.has(root)) continue;
    const path: { node: Node; next: number }[] = [{ node: root, next: 0 }];
    while (path.length > 0) {
      const top = path.at(-1)!;
      const { node } = top;
      if (top.next === 0) {
        indexOf.set(node, indexOf.size);
        lowest.set(node, indexOf.get(node)!);
        stack.push(node);
        onStack.add(node);
      }
      const target = edges.get(node)?.[top.next++];
      if (target !== undefined) {
        if (!indexOf.has(target)) path.push({ node: target, next: 0 });
        else if (onStack.has(target)) lowest.set(node, Math.min(lowest.get(node)!, indexOf.get(target)!));
        continue;
      }
      path.pop();
      const parent = path.at(-1)?.node;
      if (parent !== undefined) lowest.set(parent, Math.min(lowest.get(parent)!, lowest.get(node)!));
      if (lowest.get(node) !== indexOf.get(node)) continue;
      const component = stack.splice(stack.lastIndexOf(node));
      for (const one of component) onStack.delete(one);
      if (component.length > 1 || edges.get(node)?.includes(node)) components.push(component);
    }
  }
  return components;
}
