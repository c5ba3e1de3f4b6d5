/**
 * Where every queue's entries lie: the table that is being filled, tables that wait for their run file, and runs, in offset order
 * for every queue. Knows locations as numbers; fetches no entry.
 */
import type { QueueId } from '../engine.ts';
import { ConsumeQueueTable, type FrozenTable, type RowChain, rowFor } from './consume-queue-table.ts';
import { EntryRows, type RowLimits } from './entry-rows.ts';
import type { QueueState } from './queue-state.ts';
import type { QueueSummary, RunFile } from './run-file.ts';

/** All parts that hold rows of a queue, as of one moment. `release` it. */
interface QueueView {
  /** Oldest first; some may turn out not to hold the queue. */
  readonly runs: readonly RunFile[];
  readonly chains: readonly RowChain[];
}

interface FoundRun {
  readonly run: RunFile;
  readonly summary: QueueSummary;
}

const rowsAtOnce = 4096;
/** Looks for an offset that go by an even growth of its queue, before halving. */
const evenGuesses = 2;

export class ConsumeQueueIndex {
  private table = new ConsumeQueueTable();
  /** Oldest first. */
  private frozenTables: readonly FrozenTable[] = [];
  /** Oldest first. */
  private runFiles: readonly RunFile[] = [];

  get tableRows(): number {
    return this.table.length;
  }

  get frozenCount(): number {
    return this.frozenTables.length;
  }

  get runs(): readonly RunFile[] {
    return this.runFiles;
  }

  add(
    queue: QueueState,
    location: number,
    baseOffset: number,
    count: number,
    sizeBytes: number,
    maxTimestampMs: number,
    storeTimeMs: number,
  ): void {
    this.table.add(queue, location, baseOffset, count, sizeBytes, maxTimestampMs, storeTimeMs);
  }

  /** Cuts off what is in the table: rows of the log from `from` up to `to`. */
  freeze(from: number, to: number): FrozenTable {
    const frozen = this.table.freeze(from, to);
    this.table = new ConsumeQueueTable(this.table.length);
    this.frozenTables = [...this.frozenTables, frozen];
    return frozen;
  }

  /** The oldest frozen table lies in `run` now (undefined: it was empty). */
  replaceFrozen(frozen: FrozenTable, run: RunFile | undefined): void {
    this.frozenTables = this.frozenTables.filter((one) => one !== frozen);
    if (run !== undefined) this.runFiles = [...this.runFiles, run];
  }

  /** Puts one run in the place of neighbours, or nothing; the old ones are closed when nobody reads them any more. */
  replaceRuns(old: readonly RunFile[], merged: RunFile | undefined): void {
    const at = this.runFiles.indexOf(old[0]!);
    const runs = this.runFiles.filter((run) => !old.includes(run));
    if (merged !== undefined) runs.splice(at, 0, merged);
    this.runFiles = runs;
    for (const run of old) run.retire();
  }

  /** These are the runs from now on, oldest first, all at once; those of `open` that are not among them are let go. */
  arrange(runs: readonly RunFile[], open: Iterable<RunFile>): void {
    this.runFiles = runs;
    for (const run of open) if (!runs.includes(run)) run.retire();
  }

  setRuns(runs: readonly RunFile[]): void {
    this.runFiles = runs;
  }

  close(): void {
    for (const run of this.runFiles) run.retire();
    this.runFiles = [];
  }

  /**
   * Rows from the entry that holds `fromOffset` on (or the next one, where that offset is in a gap). False where they begin in
   * a run: then ask `collect`.
   */
  collectFromMemory(queue: QueueState, fromOffset: number, limits: RowLimits, into: EntryRows): boolean {
    const { table } = this;
    const slot = table.newestSlot(queue);
    if (slot >= 0 && table.baseOffsets[table.firstRow(slot)]! <= fromOffset) {
      const found = table.findBack(table.lastRow(slot), fromOffset);
      const row = table.endOffset(found) > fromOffset ? found : table.next(found);
      if (row >= 0) table.collect(row, limits, into);
      return true;
    }
    if (this.frozenTables.length === 0) return false;
    const chains = this.chains(queue);
    let first = chains.length - 1;
    while (first >= 0 && chains[first]!.table.baseOffsets[chains[first]!.firstRow]! > fromOffset) first--;
    if (first < 0) return false;
    collectChains(chains.slice(first), fromOffset, limits, into);
    return true;
  }

  /** The same from wherever they lie. */
  async collect(queue: QueueState, fromOffset: number, limits: RowLimits, into: EntryRows): Promise<void> {
    if (this.collectFromMemory(queue, fromOffset, limits, into)) return;
    const view = this.view(queue);
    try {
      let at = await findRun(view.runs, queue, fromOffset, endOfRuns(view, queue));
      for (; at.index < view.runs.length; at = await nextRun(view.runs, queue.id, at.index + 1)) {
        const { run, summary } = at.found!;
        const row = await run.rowFor(summary, fromOffset);
        if (!(await run.collect(summary, row, limits, into))) return;
      }
      collectChains(view.chains, fromOffset, limits, into);
    } finally {
      releaseView(view);
    }
  }

  /** The first entry of [from, until) whose timestamp is at least that, as the only row. */
  async findByTime(
    queue: QueueState,
    from: number,
    until: number,
    timestampMs: number,
    into: EntryRows,
  ): Promise<void> {
    const one: RowLimits = { untilOffset: until, maxBytes: 0, maxRows: 1, atLeastOne: true };
    const view = this.view(queue);
    try {
      for (const run of view.runs) {
        if (run.largestTimestampMs < timestampMs) continue;
        const summary = await run.summary(queue.id);
        if (summary === undefined || summary.endOffset <= from || summary.largestTimestampMs < timestampMs) {
          continue;
        }
        const row = await run.rowByTime(summary, await run.rowFor(summary, from), timestampMs);
        if (row < summary.firstRow + summary.rows) {
          await run.collect(summary, row, one, into);
          return;
        }
      }
      for (const { table, firstRow, lastRow } of view.chains) {
        for (let row = rowFor({ table, firstRow, lastRow }, from); row >= 0; row = table.next(row)) {
          if (table.maxTimestampsMs[row]! < timestampMs) continue;
          table.collect(row, one, into);
          return;
        }
      }
    } finally {
      releaseView(view);
    }
  }

  /** The largest timestamp of the entries in [from, until); undefined when there is none. */
  async largestTime(queue: QueueState, from: number, until: number): Promise<number | undefined> {
    let largest: number | undefined;
    await this.eachPart(
      queue,
      from,
      (summary) => {
        if (summary.endOffset > until) return false;
        largest = Math.max(largest ?? summary.largestTimestampMs, summary.largestTimestampMs);
        return true;
      },
      (rows) => {
        for (let row = 0; row < rows.length && rows.endOffset(row) <= until; row++) {
          largest = Math.max(largest ?? rows.maxTimestampsMs[row]!, rows.maxTimestampsMs[row]!);
        }
      },
    );
    return largest;
  }

  /** Payload bytes of the entries from the one that holds `from` on that end at or before `to`. */
  async bytesBetween(queue: QueueState, from: number, to: number): Promise<number> {
    let bytes = 0;
    await this.eachPart(
      queue,
      from,
      (summary) => {
        if (summary.endOffset > to) return summary.firstOffset >= to;
        bytes += summary.sizeBytes;
        return true;
      },
      (rows) => {
        for (let row = 0; row < rows.length && rows.endOffset(row) <= to; row++)
          bytes += rows.sizesBytes[row]!;
      },
    );
    return bytes;
  }

  /**
   * The last entry of [from, until) for which `holds`, where it holds for a beginning of them only; found in O(log n) looks. The
   * answer's row 0; row 1, where there is one, is the entry after it. No row: it holds for none.
   */
  async findLast(
    queue: QueueState,
    from: number,
    until: number,
    holds: (rows: EntryRows, row: number) => Promise<boolean>,
  ): Promise<EntryRows> {
    const answer = new EntryRows();
    const probe = new EntryRows();
    const limits = (maxRows: number): RowLimits => ({
      untilOffset: until,
      maxBytes: Number.POSITIVE_INFINITY,
      maxRows,
      atLeastOne: true,
    });
    const view = this.view(queue);
    try {
      // Newest part first: what is asked for is nearly always near the end.
      for (let index = view.chains.length - 1; index >= 0; index--) {
        const chain = view.chains[index]!;
        const rows = new EntryRows();
        chain.table.collect(Math.max(0, rowFor(chain, from)), limits(Number.POSITIVE_INFINITY), rows);
        if (rowFor(chain, from) < 0 || rows.length === 0 || !(await holds(rows, 0))) continue;
        let low = 0;
        let high = rows.length - 1;
        while (low < high) {
          const middle = (low + high + 1) >> 1;
          if (await holds(rows, middle)) low = middle;
          else high = middle - 1;
        }
        await this.collect(queue, rows.baseOffsets[low]!, limits(2), answer);
        return answer;
      }
      for (let index = view.runs.length - 1; index >= 0; index--) {
        const run = view.runs[index]!;
        const summary = await run.summary(queue.id);
        if (summary === undefined || summary.endOffset <= from) continue;
        const rowHolds = async (row: number): Promise<boolean> => {
          probe.clear();
          await run.collect(summary, row, limits(1), probe);
          return probe.length > 0 && (await holds(probe, 0));
        };
        let low = await run.rowFor(summary, from);
        let high = summary.firstRow + summary.rows - 1;
        if (!(await rowHolds(low))) continue;
        while (low < high) {
          const middle = Math.floor((low + high + 1) / 2);
          if (await rowHolds(middle)) low = middle;
          else high = middle - 1;
        }
        probe.clear();
        await run.collect(summary, low, limits(1), probe);
        await this.collect(queue, probe.baseOffsets[0]!, limits(2), answer);
        return answer;
      }
      return answer;
    } finally {
      releaseView(view);
    }
  }

  /**
   * Visits the queue's parts from `from` on: a run as a whole by its summary, where `whole` takes it (true), everything else row
   * by row in slices.
   */
  private async eachPart(
    queue: QueueState,
    from: number,
    whole: (summary: QueueSummary) => boolean,
    rowsOf: (rows: EntryRows) => void,
  ): Promise<void> {
    const view = this.view(queue);
    const rows = new EntryRows();
    try {
      for (const run of view.runs) {
        const summary = await run.summary(queue.id);
        if (summary === undefined || summary.endOffset <= from) continue;
        if (summary.firstOffset >= from && whole(summary)) continue;
        const endRow = summary.firstRow + summary.rows;
        for (let row = await run.rowFor(summary, from); row < endRow; row += rows.length) {
          rows.clear();
          await run.collect(summary, row, sliceLimits, rows);
          rowsOf(rows);
        }
      }
      for (const chain of view.chains) {
        rows.clear();
        const row = rowFor(chain, from);
        if (row >= 0) chain.table.collect(row, allRows, rows);
        rowsOf(rows);
      }
    } finally {
      releaseView(view);
    }
  }

  private view(queue: QueueState): QueueView {
    const runs = this.runFiles.filter((run) => run.mayHold(queue.id));
    for (const run of runs) run.retain();
    return { runs, chains: this.chains(queue) };
  }

  /** Oldest first. */
  private chains(queue: QueueState): RowChain[] {
    const chains: RowChain[] = [];
    let generation = queue.tableGeneration;
    let slot = queue.tableSlot;
    for (let at = this.frozenTables.length; at >= 0 && generation > 0; at--) {
      const table = at === this.frozenTables.length ? this.table : this.frozenTables[at]!.table;
      if (table.generation !== generation) continue;
      chains.push(table.chain(slot));
      generation = table.earlierGeneration(slot);
      slot = table.earlierSlot(slot);
    }
    return chains.reverse();
  }
}

const allRows: RowLimits = {
  untilOffset: Number.POSITIVE_INFINITY,
  maxBytes: Number.POSITIVE_INFINITY,
  maxRows: Number.POSITIVE_INFINITY,
  atLeastOne: true,
};
const sliceLimits: RowLimits = { ...allRows, maxRows: rowsAtOnce };

function releaseView(view: QueueView): void {
  for (const run of view.runs) run.release();
}

function collectChains(
  chains: readonly RowChain[],
  fromOffset: number,
  limits: RowLimits,
  into: EntryRows,
): void {
  for (const chain of chains) {
    const row = rowFor(chain, fromOffset);
    if (row >= 0 && !chain.table.collect(row, limits, into)) return;
  }
}

/** After the queue's last row that is in a run. */
function endOfRuns(view: QueueView, queue: QueueState): number {
  const chain = view.chains[0];
  return chain === undefined ? queue.nextOffset : chain.table.baseOffsets[chain.firstRow]!;
}

/**
 * The first run that holds an entry of the queue that ends after `offset`. Each look is a read of the disk when nothing is
 * at hand, so the first looks are where the offset would be if the queue had grown evenly with the log, which nearly always finds
 * it; what is left is halved.
 */
async function findRun(
  runs: readonly RunFile[],
  queue: QueueState,
  offset: number,
  endOffset: number,
): Promise<{ index: number; found: FoundRun | undefined }> {
  const candidates = runs.map((_, index) => index);
  let best: { index: number; found: FoundRun | undefined } = { index: runs.length, found: undefined };
  let low = 0;
  let high = candidates.length - 1;
  let lowOffset = queue.startOffset;
  let highOffset = endOffset;
  for (let look = 0; low <= high; look++) {
    const at =
      look < evenGuesses && highOffset > lowOffset
        ? guess(runs, candidates, low, high, (offset - lowOffset) / (highOffset - lowOffset))
        : (low + high) >> 1;
    const index = candidates[at]!;
    const run = runs[index]!;
    const summary = await run.summary(queue.id);
    if (summary === undefined) {
      candidates.splice(at, 1);
      high--;
    } else if (summary.endOffset > offset) {
      best = { index, found: { run, summary } };
      if (summary.firstOffset <= offset) break;
      high = at - 1;
      highOffset = summary.firstOffset;
    } else {
      low = at + 1;
      lowOffset = summary.endOffset;
    }
  }
  return best;
}

/** The candidate of [low, high] in which that part of all their entries ends. */
function guess(
  runs: readonly RunFile[],
  candidates: readonly number[],
  low: number,
  high: number,
  part: number,
): number {
  let entries = 0;
  for (let at = low; at <= high; at++) entries += runs[candidates[at]!]!.reference.entries;
  let before = 0;
  for (let at = low; at < high; at++) {
    before += runs[candidates[at]!]!.reference.entries;
    if (before > part * entries) return at;
  }
  return high;
}

async function nextRun(
  runs: readonly RunFile[],
  queue: QueueId,
  from: number,
): Promise<{ index: number; found: FoundRun | undefined }> {
  for (let index = from; index < runs.length; index++) {
    const run = runs[index]!;
    const summary = await run.summary(queue);
    if (summary !== undefined) return { index, found: { run, summary } };
  }
  return { index: runs.length, found: undefined };
}
