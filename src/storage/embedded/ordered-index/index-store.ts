/**
 * The embedded engine's ordered index: any number of named indexes in one log-structured store. The newest rows are in a
 * memtable, the others in run files, of which only the fences and a budget of blocks are in memory. Knows nothing of the commit log:
 * the engine fixes the order of changes, keeps the list of run files in its manifest and applies again what is newer than them.
 *
 * The engine's part:
 *  - `apply` when a group's order is fixed, `settle` when the group can no longer be taken back, `takeBack` when it could
 *    not be written. A run file holds settled changes only.
 *  - `seal` (when `isFull`, or with its own index): the answer's `settledSequence` says which groups the run files hold; the engine
 *    writes `descriptions()` and the place of that group in the log into its manifest, then calls `dropUnused`.
 *  - `mergeIfDue` after a seal; when it answers true the manifest is written again.
 */
import { dirname } from 'node:path';
import { assert } from '../../../util/assert.ts';
import type { IndexChange, IndexRange, IndexRow } from '../../engine.ts';
import { byteString, lowerBound } from '../../sorted-map.ts';
import { errorCodeOf, type FileSystem } from '../file-system.ts';
import { readWhole, replaceFile } from '../whole-file.ts';
import { BlockCache } from './block-cache.ts';
import { Memtable } from './memtable.ts';
import {
  type Block,
  type IndexRunDescription,
  Run,
  type RunFault,
  RunWriter,
  runFileName,
  runFileNumber,
} from './run-file.ts';

export interface IndexStoreOptions {
  readonly fileSystem: FileSystem;
  /** A directory of the store's own; made when missing. */
  readonly directory: string;
  /** Another one, for a second copy of every run file. */
  readonly mirror?: string;
  /** Told of damage that was put right from the second copy. */
  readonly report?: (message: string) => void;
  /** Beyond it the store asks to be sealed. */
  readonly maxMemtableBytes?: number;
  readonly blockCacheBytes?: number;
}

const defaultMaxMemtableBytes = 8 * 1024 * 1024;
const defaultBlockCacheBytes = 8 * 1024 * 1024;
/** So many runs of a level become one of the next. */
const mergeFactor = 8;
/** Runs of this level are merged with those that come to it, so there is one at most. */
const lastLevel = 2;

/** The value of one key, kept right through every change until released, to decide on it at a given moment. */
export interface IndexPin {
  /** Null: no row. Undefined: not known (yet, or again after changes were taken back): call `load`. */
  readonly value: Buffer | null | undefined;
  readonly isUnknown: boolean;
  /** Whether that (the bytes as a string of bytes, or null) is the value. */
  holds(value: string | null): boolean;
  load(): Promise<void>;
  release(): void;
}

interface Pin {
  value: string | null | undefined;
  /** Counts the changes, so that a value that was read is not put over a newer one. */
  changes: number;
  users: number;
}

/** What a range read sees, all of one moment. */
interface View {
  readonly runs: readonly Run[];
  /** Newest first, each in the range's direction. */
  readonly memory: readonly MemoryRows[];
}

interface MemoryRows {
  readonly keys: readonly string[];
  readonly values: readonly (string | null)[];
}

export class IndexStore {
  private readonly fileSystem: FileSystem;
  private readonly directories: readonly string[];
  private readonly report: (message: string) => void;
  private readonly maxMemtableBytes: number;
  private readonly cache: BlockCache;
  private memtable = new Memtable();
  /** Being written to a run file. */
  private frozen: Memtable | undefined;
  /** Newest first. */
  private runs: readonly Run[] = [];
  /** Merged away; their files are removed once no manifest names them. */
  private unused: Run[] = [];
  private readonly pins = new Map<string, Pin>();
  private sequence = 0;
  private settled = 0;
  private nextNumber = 1;
  private sealing: Promise<unknown> | undefined;
  private merging: Promise<unknown> | undefined;

  private constructor(options: IndexStoreOptions) {
    this.fileSystem = options.fileSystem;
    this.directories =
      options.mirror === undefined ? [options.directory] : [options.directory, options.mirror];
    this.report = options.report ?? (() => {});
    this.maxMemtableBytes = options.maxMemtableBytes ?? defaultMaxMemtableBytes;
    this.cache = new BlockCache(options.blockCacheBytes ?? defaultBlockCacheBytes);
  }

  /**
   * Opens the store as the manifest describes it. Throws IndexDamagedError where a file is not what its description says in any
   * copy, and the system's error where it is missing. Call `restoreCopies` and `removeStrays` before the first seal.
   */
  static async open(
    options: IndexStoreOptions,
    descriptions: readonly IndexRunDescription[],
  ): Promise<IndexStore> {
    const store = new IndexStore(options);
    for (const directory of store.directories) await store.takeNumbers(directory);
    const runs: Run[] = [];
    try {
      for (const description of descriptions) {
        store.nextNumber = Math.max(store.nextNumber, description.number + 1);
        runs.push(await store.openRun(description));
      }
    } catch (error) {
      await Promise.all(runs.map((run) => run.retire()));
      throw error;
    }
    store.runs = runs;
    return store;
  }

  /** Copies that were found damaged or missing. */
  faults(): readonly RunFault[] {
    return this.runs.flatMap((run) => run.faults);
  }

  /** Makes damaged and missing copies again from intact ones, durably. */
  async restoreCopies(): Promise<void> {
    const touched = new Set<string>();
    for (const run of this.runs) {
      for (const { directory, name } of run.faults) {
        const bytes = await readWhole(this.fileSystem, run.path);
        if (bytes !== undefined) await replaceFile(this.fileSystem, directory, name, [bytes]);
        touched.add(directory);
      }
    }
    for (const directory of touched) await this.fileSystem.syncDirectory(directory);
  }

  /** Removes run files that the descriptions it was opened with do not name, now that no manifest does. */
  async removeStrays(): Promise<void> {
    const known = new Set(this.runs.map((run) => run.description.number));
    for (const directory of this.directories) {
      for (const name of await this.fileSystem.readdir(directory)) {
        const number = runFileNumber(name.replace(/\.new$/, ''));
        if (number === undefined || (known.has(number) && !name.endsWith('.new'))) continue;
        await this.fileSystem.unlink(`${directory}/${name}`);
      }
    }
  }

  /** The run files in use, for the manifest, newest first. */
  descriptions(): readonly IndexRunDescription[] {
    return this.runs.map((run) => run.description);
  }

  /** Rough bytes of the rows in memory that are not in run files. */
  get memtableBytes(): number {
    return this.memtable.sizeBytes + (this.frozen?.sizeBytes ?? 0);
  }

  /** Rows wait to be sealed. Nothing is refused meanwhile: keeping within bounds is the engine's part. */
  get isFull(): boolean {
    return this.memtable.sizeBytes >= this.maxMemtableBytes;
  }

  /** Bytes of all run files. */
  get fileBytes(): number {
    return this.runs.reduce((sum, run) => sum + run.description.sizeBytes, 0);
  }

  /** Makes a group's changes, seen by every read from now on. Answers the group's sequence, for settle and takeBack. */
  apply(changes: readonly IndexChange[]): number {
    const sequence = ++this.sequence;
    for (const { index, key, value } of changes) {
      const row = rowKey(index, byteString(key));
      const text = value === null ? null : byteString(value);
      this.memtable.put(row, text, sequence);
      const pin = this.pins.get(row);
      if (pin !== undefined) {
        pin.value = text;
        pin.changes++;
      }
    }
    return sequence;
  }

  /** The groups up to this sequence stay. */
  settle(sequence: number): void {
    assert(sequence <= this.sequence, 'a sequence that was given');
    if (sequence <= this.settled) return;
    this.settled = sequence;
    this.memtable.settle(sequence);
  }

  /** Takes back the groups from this sequence on, as if they had never been applied. */
  takeBack(fromSequence: number): void {
    assert(fromSequence > this.settled, 'settled groups stay');
    for (const { key } of this.memtable.takeBack(fromSequence)) {
      const pin = this.pins.get(key);
      if (pin !== undefined) {
        pin.value = undefined;
        pin.changes++;
      }
    }
  }

  async get(index: string, key: Buffer): Promise<Buffer | undefined> {
    const value = await this.find(rowKey(index, byteString(key)));
    return value === null ? undefined : Buffer.from(value, 'latin1');
  }

  /** Watches one key from now on; see IndexPin. */
  pin(index: string, key: Buffer): IndexPin {
    const row = rowKey(index, byteString(key));
    let pin = this.pins.get(row);
    if (pin === undefined) {
      pin = { value: this.findInMemory(row), changes: 0, users: 0 };
      this.pins.set(row, pin);
    }
    const shared = pin;
    shared.users++;
    return {
      get value() {
        return typeof shared.value === 'string' ? Buffer.from(shared.value, 'latin1') : shared.value;
      },
      get isUnknown() {
        return shared.value === undefined;
      },
      holds: (value) => shared.value === value,
      load: async () => {
        while (shared.value === undefined) {
          const { changes } = shared;
          const found = await this.find(row);
          if (shared.changes === changes) shared.value = found;
        }
      },
      release: () => {
        shared.users--;
        if (shared.users === 0) this.pins.delete(row);
      },
    };
  }

  async range(index: string, range: IndexRange): Promise<readonly IndexRow[]> {
    const { limit } = range;
    const reverse = range.reverse === true;
    if (limit <= 0) return [];
    const prefixLength = index.length + 1;
    const from = rowKey(index, range.from === undefined ? '' : byteString(range.from));
    const to = range.to === undefined ? `${index}\x01` : rowKey(index, byteString(range.to));
    if (from >= to) return [];
    const found: IndexRow[] = [];
    const view = this.look(from, to, limit, reverse);
    for (const run of view.runs) run.retain();
    try {
      const cursors: Cursor[] = [
        ...view.memory.map((rows) => new MemoryCursor(rows)),
        ...view.runs.map(
          (run) => new RunCursor(run, (block) => this.cache.get(run, block), from, to, reverse),
        ),
      ];
      await mergeRows(cursors, reverse, (key, value) => {
        if (value !== null) {
          found.push({
            key: Buffer.from(key.slice(prefixLength), 'latin1'),
            value: Buffer.from(value, 'latin1'),
          });
        }
        return found.length < limit;
      });
    } finally {
      for (const run of view.runs) run.release();
    }
    return found;
  }

  /**
   * Writes the settled rows of the memtable to a new run file, durably. Undefined when there are none. Until it resolves
   * everything is read as before; when it fails (ENOSPC, EIO) it is as if it had not been called. Never twice at once.
   */
  async seal(): Promise<{ readonly settledSequence: number } | undefined> {
    assert(this.sealing === undefined, 'one seal at a time');
    const sealing = this.sealNow();
    this.sealing = sealing.catch(() => {});
    try {
      return await sealing;
    } finally {
      this.sealing = undefined;
    }
  }

  /**
   * Merges the runs of a level that has enough of them. True when the runs changed: the manifest is to be written. Not
   * twice at once; a seal may run beside it. On an error it is as if it had not been called.
   */
  async mergeIfDue(): Promise<boolean> {
    if (this.merging !== undefined) return false;
    const merged = this.dueForMerge();
    if (merged === undefined) return false;
    const merging = this.merge(merged);
    this.merging = merging.catch(() => {});
    try {
      await merging;
    } finally {
      this.merging = undefined;
    }
    return true;
  }

  /** Removes run files that are merged away, now that a manifest with `kept` (an answer of descriptions()) is durable. */
  async dropUnused(kept: readonly IndexRunDescription[]): Promise<void> {
    const named = new Set(kept.map(({ number }) => number));
    const dropped = this.unused.filter((run) => !named.has(run.description.number));
    this.unused = this.unused.filter((run) => named.has(run.description.number));
    for (const run of dropped) {
      await run.retire();
      for (const directory of this.directories) {
        try {
          await this.fileSystem.unlink(`${directory}/${runFileName(run.description.number)}`);
        } catch (error) {
          if (errorCodeOf(error) !== 'ENOENT') throw error;
        }
      }
    }
  }

  /** Closes the files, after a seal or merge under way. What was not sealed is gone with the memory. */
  async close(): Promise<void> {
    await this.sealing;
    await this.merging;
    const all = [...this.runs, ...this.unused];
    this.runs = [];
    this.unused = [];
    await Promise.all(all.map((run) => run.retire()));
  }

  /** Null: deleted. Undefined: not in memory. */
  private findInMemory(row: string): string | null | undefined {
    const newest = this.memtable.get(row);
    return newest !== undefined ? newest : this.frozen?.get(row);
  }

  private async find(row: string): Promise<string | null> {
    const inMemory = this.findInMemory(row);
    if (inMemory !== undefined) return inMemory;
    const { runs } = this;
    for (const run of runs) run.retain();
    try {
      for (const run of runs) {
        const block = run.mayHave(row) ? run.blockOf(row) : -1;
        if (block < 0) continue;
        const got = this.cache.get(run, block);
        const { keys, values } = got instanceof Promise ? await got : got;
        const at = lowerBound(keys, row);
        if (keys[at] === row) return values[at]!;
      }
      return null;
    } finally {
      for (const run of runs) run.release();
    }
  }

  /** Everything that a range read needs of memory: as many rows as make `limit` of its own. */
  private look(from: string, to: string, limit: number, reverse: boolean): View {
    const memory: MemoryRows[] = [];
    for (const table of [this.memtable, this.frozen]) {
      if (table === undefined || table.size === 0) continue;
      const keys: string[] = [];
      const values: (string | null)[] = [];
      let live = 0;
      table.visit({ from, to, reverse }, (key, value) => {
        keys.push(key);
        values.push(value);
        // A row that a newer table hides is none of the answer's.
        if (value !== null && (table === this.memtable || this.memtable.get(key) !== null)) live++;
        return live < limit;
      });
      memory.push({ keys, values });
    }
    const runs = this.runs.filter(
      (run) => run.fences.length > 0 && run.fences[0]! < to && run.lastKey >= from,
    );
    return { runs, memory };
  }

  private async sealNow(): Promise<{ readonly settledSequence: number } | undefined> {
    const settledSequence = this.settled;
    const old = this.memtable;
    // Unsettled changes move on to the new table, where they can still be taken back.
    const unsettled = old.takeBack(settledSequence + 1);
    const fresh = new Memtable();
    for (const { key, value, sequence } of unsettled) fresh.put(key, value, sequence);
    this.memtable = fresh;
    if (old.size === 0) return undefined;
    this.frozen = old;
    try {
      // Where nothing older lies below, a deleted row hides nothing.
      const keepDeleted = this.runs.length > 0;
      const run = await this.writeRun(0, old.size, async (writer) => {
        let from = '';
        for (let more = true; more; ) {
          let wait: Promise<void> | undefined;
          more = false;
          old.visit({ from }, (key, value) => {
            if (wait !== undefined) {
              from = key;
              more = true;
              return false;
            }
            if (value !== null || keepDeleted) wait = writer.add(key, value);
            return true;
          });
          await wait;
        }
      });
      this.runs = [run, ...this.runs];
      this.frozen = undefined;
    } catch (error) {
      this.thaw(old);
      throw error;
    }
    return { settledSequence };
  }

  private dueForMerge(): readonly Run[] | undefined {
    for (let level = 0; level < lastLevel; level++) {
      const ofLevel = this.runs.filter((run) => run.description.level === level);
      if (ofLevel.length < mergeFactor) continue;
      if (level + 1 < lastLevel) return ofLevel;
      return [...ofLevel, ...this.runs.filter((run) => run.description.level === lastLevel)];
    }
    return undefined;
  }

  private async merge(merged: readonly Run[]): Promise<void> {
    const level = Math.min(merged[0]!.description.level + 1, lastLevel);
    const keepDeleted = this.runs.at(-1) !== merged.at(-1);
    const rows = merged.reduce((sum, one) => sum + one.description.rows, 0);
    const run = await this.writeRun(level, rows, async (writer) => {
      // Past the cache: a merge reads everything once and would leave nothing of it.
      const cursors = merged.map(
        (one) => new RunCursor(one, (block) => one.readBlock(block), '', undefined, false),
      );
      await mergeRows(cursors, false, (key, value) => {
        if (value === null && !keepDeleted) return true;
        return writer.add(key, value) ?? true;
      });
    });
    const runs = [...this.runs];
    runs.splice(runs.indexOf(merged[0]!), merged.length, run);
    this.runs = runs;
    this.unused.push(...merged);
  }

  private async writeRun(
    level: number,
    mostRows: number,
    fill: (writer: RunWriter) => Promise<void>,
  ): Promise<Run> {
    const writer = await RunWriter.create(this.fileSystem, this.directories, this.nextNumber++, mostRows);
    try {
      await fill(writer);
      return await this.openRun(await writer.finish(level));
    } catch (error) {
      await writer.abandon();
      throw error;
    }
  }

  private openRun(description: IndexRunDescription): Promise<Run> {
    return Run.open(this.fileSystem, this.directories, description, this.report);
  }

  /** Makes the directory where it is missing. No number of a file in it is given again. */
  private async takeNumbers(directory: string): Promise<void> {
    if ((await this.fileSystem.stat(directory)) === undefined) {
      await this.fileSystem.mkdir(directory);
      await this.fileSystem.syncDirectory(dirname(directory));
    }
    for (const name of await this.fileSystem.readdir(directory)) {
      const number = runFileNumber(name);
      if (number !== undefined) this.nextNumber = Math.max(this.nextNumber, number + 1);
    }
  }

  /** Puts a table that could not be written back under the rows that came after it. */
  private thaw(old: Memtable): void {
    const newer = this.memtable.takeBack(0);
    // What was settled meanwhile is not among them; it is in the table itself.
    this.memtable.visit({}, (key, value) => {
      old.put(key, value, this.settled);
      return true;
    });
    old.settle(this.settled);
    for (const { key, value, sequence } of newer) old.put(key, value, sequence);
    this.memtable = old;
    this.frozen = undefined;
  }
}

/** Rows of one source in the range's direction. */
interface Cursor {
  keys: readonly string[];
  values: readonly (string | null)[];
  at: number;
  /** Index after the last row of `keys` to take, in the cursor's direction. */
  end: number;
  readonly step: 1 | -1;
  /** Called when `at` has reached `end`. False: nothing is left. */
  more(): Promise<boolean> | boolean;
}

class MemoryCursor implements Cursor {
  readonly keys: readonly string[];
  readonly values: readonly (string | null)[];
  at = 0;
  readonly end: number;
  readonly step = 1;

  constructor(rows: MemoryRows) {
    this.keys = rows.keys;
    this.values = rows.values;
    this.end = rows.keys.length;
  }

  more(): boolean {
    return false;
  }
}

class RunCursor implements Cursor {
  keys: readonly string[] = [];
  values: readonly (string | null)[] = [];
  at = 0;
  end = 0;
  readonly step: 1 | -1;
  private readonly load: (block: number) => Block | Promise<Block>;
  private readonly from: string;
  private readonly to: string | undefined;
  private nextBlock: number;
  private readonly lastBlock: number;

  constructor(
    run: Run,
    load: (block: number) => Block | Promise<Block>,
    from: string,
    to: string | undefined,
    reverse: boolean,
  ) {
    this.load = load;
    this.from = from;
    this.to = to;
    this.step = reverse ? -1 : 1;
    const low = Math.max(0, run.blockOf(from));
    const high = to === undefined ? run.fences.length - 1 : run.blockOf(to);
    this.nextBlock = reverse ? high : low;
    this.lastBlock = reverse ? low : high;
  }

  async more(): Promise<boolean> {
    while ((this.lastBlock - this.nextBlock) * this.step >= 0) {
      const got = this.load(this.nextBlock);
      const { keys, values } = got instanceof Promise ? await got : got;
      this.nextBlock += this.step;
      const first = lowerBound(keys, this.from);
      const end = this.to === undefined ? keys.length : lowerBound(keys, this.to);
      if (first >= end) continue;
      this.keys = keys;
      this.values = values;
      this.at = this.step > 0 ? first : end - 1;
      this.end = this.step > 0 ? end : first - 1;
      return true;
    }
    return false;
  }
}

/**
 * Visits the rows of all cursors in order, of several with one key that of the earliest cursor, until `visit` answers false; a
 * promise is waited for.
 */
async function mergeRows(
  cursors: readonly Cursor[],
  reverse: boolean,
  visit: (key: string, value: string | null) => boolean | Promise<void>,
): Promise<void> {
  const left: Cursor[] = [];
  for (const cursor of cursors) {
    if (cursor.at !== cursor.end || (await cursor.more())) left.push(cursor);
  }
  while (left.length > 0) {
    let key = left[0]!.keys[left[0]!.at]!;
    let value = left[0]!.values[left[0]!.at]!;
    for (let at = 1; at < left.length; at++) {
      const cursor = left[at]!;
      const other = cursor.keys[cursor.at]!;
      if (reverse ? other > key : other < key) {
        key = other;
        value = cursor.values[cursor.at]!;
      }
    }
    const visited = visit(key, value);
    if (visited === false) return;
    if (visited !== true) await visited;
    for (let at = left.length - 1; at >= 0; at--) {
      const cursor = left[at]!;
      if (cursor.keys[cursor.at] !== key) continue;
      cursor.at += cursor.step;
      if (cursor.at === cursor.end && !(await cursor.more())) left.splice(at, 1);
    }
  }
}

/** Names that were looked at before. */
const knownNames = new Set<string>();
const maxKnownNames = 100;

/** Names are printable, so that no index lies inside another's range. */
function rowKey(index: string, key: string): string {
  if (!knownNames.has(index)) {
    assert(/^[\x20-\x7e]+$/.test(index), 'an index has a printable name');
    if (knownNames.size < maxKnownNames) knownNames.add(index);
  }
  return `${index}\0${key}`;
}
