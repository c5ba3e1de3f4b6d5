/**
 * `npm run bench -- index [--entries MILLIONS] [--queues N] [--directory DIR]`: the ConsumeQueue index as 100 GiB of one-record batches
 * over 100,000 partitions make it, without the log: the runs are written by the engine's own writer, as many as `--entries` says
 * (56 million unless given; 467 is all), opened, and asked. Every answer is compared with what was written.
 *
 * Cold means that neither the index's block cache nor, as far as the system takes the advice, the page cache holds a block.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '../../protocol/records/crc32c.ts';
import { BlockCache, ReadGate } from '../../src/storage/embedded/block-cache.ts';
import { ConsumeQueueIndex } from '../../src/storage/embedded/consume-queue-index.ts';
import { EntryRows, type RowLimits } from '../../src/storage/embedded/entry-rows.ts';
import type { FileSystem, OpenFile } from '../../src/storage/embedded/file-system.ts';
import type { RunReference } from '../../src/storage/embedded/manifest.ts';
import { NodeFileSystem } from '../../src/storage/embedded/node-file-system.ts';
import { QueueState } from '../../src/storage/embedded/queue-state.ts';
import { pause } from '../../src/storage/embedded/run-build.ts';
import { RunFile, runBlockBytes } from '../../src/storage/embedded/run-file.ts';
import { mergeRuns } from '../../src/storage/embedded/run-merge.ts';
import { defaultEmbeddedSettings } from '../../src/storage/embedded/settings.ts';
import { forgetCached, keepFigures, mustHaveRoom, numberOption, percentile, residentMib } from './figures.ts';
import { entriesAMs, entriesASegment, firstTimeMs, locationOfEntry } from './synthetic-log.ts';

const entriesAtFullSize = 467_000_000;
const { mergeWidth, sealEntries, indexCacheBytes } = defaultEmbeddedSettings;

class CountingFileSystem extends NodeFileSystem {
  reads = 0;

  override async open(...args: Parameters<FileSystem['open']>): Promise<OpenFile> {
    const file = await super.open(...args);
    const { read } = file;
    file.read = (...asked) => {
      this.reads++;
      return read.apply(file, asked);
    };
    return file;
  }
}

/** The runs as merging leaves them: of 16 segments, then of 2, then of what one sealing of the table makes. */
function planRuns(total: number, queues: number): number[] {
  const whole = (entries: number): number => Math.max(1, Math.floor(entries / queues)) * queues;
  const level2 = whole(2 * mergeWidth * entriesASegment);
  const level1 = whole(2 * entriesASegment);
  const piece = whole(sealEntries);
  const sizes: number[] = [];
  let left = total - (mergeWidth - 1) * level1 - mergeWidth * piece;
  for (; left > 0; left -= level2) sizes.push(level2);
  for (let at = 0; at < mergeWidth - 1; at++) sizes.push(level1);
  for (let at = 0; at < mergeWidth; at++) sizes.push(piece);
  return sizes;
}

const one: RowLimits = { untilOffset: Number.POSITIVE_INFINITY, maxBytes: 0, maxRows: 1, atLeastOne: true };

interface LookUp {
  readonly reads: number;
  readonly ms: number;
}

async function lookUps(
  count: number,
  fileSystem: CountingFileSystem,
  forget: () => Promise<ConsumeQueueIndex>,
  look: (index: ConsumeQueueIndex, rows: EntryRows) => Promise<void>,
): Promise<readonly LookUp[]> {
  const done: LookUp[] = [];
  const rows = new EntryRows();
  for (let at = 0; at < count; at++) {
    const index = await forget();
    rows.clear();
    const before = fileSystem.reads;
    const startedMs = performance.now();
    await look(index, rows);
    done.push({ reads: fileSystem.reads - before, ms: performance.now() - startedMs });
  }
  return done;
}

function summarise(name: string, looks: readonly LookUp[]): Record<string, number> {
  const ms = looks.map((one) => one.ms).sort((a, b) => a - b);
  const reads = looks.map((one) => one.reads).sort((a, b) => a - b);
  return {
    [`${name}_reads_mean`]: reads.reduce((sum, one) => sum + one, 0) / reads.length,
    [`${name}_reads_max`]: reads.at(-1)!,
    [`${name}_ms_p50`]: percentile(ms, 0.5),
    [`${name}_ms_p99`]: percentile(ms, 0.99),
  };
}

export async function indexAtScale(args: readonly string[]): Promise<void> {
  const millions = numberOption(args, 'entries', 56);
  const queues = numberOption(args, 'queues', 100_000);
  const directoryAt = args.indexOf('--directory');
  const parent = directoryAt < 0 ? tmpdir() : args[directoryAt + 1]!;
  const sizes = planRuns(millions * 1e6, queues);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  mustHaveRoom(parent, total * 32 * 1.4);
  const directory = mkdtempSync(join(parent, 'odradek-index-'));
  console.log(
    `index: ${(total / 1e6).toFixed(1)} million entries of ${queues} queues in ${sizes.length} runs`,
  );
  try {
    const fileSystem = new CountingFileSystem();
    const startedMs = performance.now();
    // In a process of its own: what writing leaves in memory is not to be counted.
    const written = execFileSync(
      process.execPath,
      [
        'scripts/run-ts.mjs',
        'bench/scale/write-index-runs.ts',
        directory,
        String(queues),
        ...sizes.map(String),
      ],
      { maxBuffer: 2 ** 26 },
    );
    const references = JSON.parse(written.toString()) as RunReference[];
    const writeS = (performance.now() - startedMs) / 1000;
    const bytes = readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);

    const beforeMib = residentMib(process.pid);
    const gate = new ReadGate(2);
    const openAll = async (): Promise<readonly RunFile[]> => {
      // A cache of its own for each look-up that is to be cold.
      const cache = new BlockCache(runBlockBytes, indexCacheBytes, gate);
      const runs: RunFile[] = [];
      for (const reference of references) {
        runs.push(await RunFile.open(fileSystem, directory, crc32c, cache, reference));
      }
      return runs;
    };
    const openedMs = performance.now();
    const runs = await openAll();
    const openMs = performance.now() - openedMs;
    const index = new ConsumeQueueIndex();
    index.setRuns(runs);
    const heldBytes = runs.reduce((sum, run) => sum + run.memoryBytes, 0);
    const openedMib = residentMib(process.pid);

    const perQueue = total / queues;
    const random = (below: number): number => Math.floor(Math.random() * below);
    const check = (rows: EntryRows, queue: number, offset: number): void => {
      const entry = offset * queues + queue - 1;
      if (
        rows.length === 1 &&
        rows.baseOffsets[0] === offset &&
        rows.locations[0] === locationOfEntry(entry)
      ) {
        return;
      }
      throw new Error(`queue ${queue} at ${offset}: found ${rows.length} rows, ${rows.baseOffsets[0]}`);
    };
    const byOffset = async (asked: ConsumeQueueIndex, rows: EntryRows): Promise<void> => {
      const queue = 1 + random(queues);
      const offset = random(perQueue);
      await asked.collect(new QueueState(queue, 0, perQueue), offset, one, rows);
      check(rows, queue, offset);
    };
    const byTime = async (asked: ConsumeQueueIndex, rows: EntryRows): Promise<void> => {
      const queue = 1 + random(queues);
      const offset = random(perQueue);
      const timeMs = firstTimeMs + Math.floor((offset * queues + queue - 1) / entriesAMs);
      await asked.findByTime(new QueueState(queue, 0, perQueue), 0, perQueue, timeMs, rows);
      check(rows, queue, offset);
    };
    let openNow: readonly RunFile[] = [];
    let untilForgotten = 0;
    const cold = async (): Promise<ConsumeQueueIndex> => {
      for (const run of openNow) run.retire();
      // The page cache is emptied now and then: a look-up touches a ten-thousandth of the files.
      if (untilForgotten-- === 0) {
        for (const name of readdirSync(directory)) forgetCached(join(directory, name));
        untilForgotten = 50;
      }
      openNow = await openAll();
      const fresh = new ConsumeQueueIndex();
      fresh.setRuns(openNow);
      return fresh;
    };
    const warmOffset = await lookUps(20_000, fileSystem, async () => index, byOffset);
    const warmTime = await lookUps(20_000, fileSystem, async () => index, byTime);
    const usedMib = residentMib(process.pid);
    const coldOffset = await lookUps(300, fileSystem, cold, byOffset);
    const coldTime = await lookUps(300, fileSystem, cold, byTime);

    // One merge of the largest kind.
    const level1 = runs.slice(-mergeWidth * 2 + 1, -mergeWidth);
    const mergeStartedMs = performance.now();
    const merged = await mergeRuns(
      fileSystem,
      directory,
      crc32c,
      references.length + 1,
      level1,
      () => 0,
      pause,
    );
    const mergeS = (performance.now() - mergeStartedMs) / 1000;

    const part = total / entriesAtFullSize;
    const largest = runs[0]!;
    const fullRuns = Math.ceil(entriesAtFullSize / largest.reference.entries) + 2 * mergeWidth - 1;
    keepFigures(
      'index-at-scale',
      {
        entries: total,
        queues,
        runs: sizes.length,
        bytes_on_disk: bytes,
        bytes_an_entry: bytes / total,
        write_entries_per_s: total / writeS,
        open_ms: openMs,
        held_mib: heldBytes / 2 ** 20,
        rss_growth_after_open_mib: openedMib - beforeMib,
        rss_growth_after_look_ups_mib: usedMib - beforeMib,
        ...summarise('cold_by_offset', coldOffset),
        ...summarise('cold_by_time', coldTime),
        ...summarise('block_cache_warm_by_offset', warmOffset),
        ...summarise('block_cache_warm_by_time', warmTime),
        merge_entries: merged.entries,
        merge_entries_per_s: merged.entries / mergeS,
        // Said of 467 million entries, from what was measured of these.
        full_runs: fullRuns,
        full_held_mib: (heldBytes + Math.max(0, fullRuns - sizes.length) * largest.memoryBytes) / 2 ** 20,
        full_disk_gib: bytes / part / 2 ** 30,
      },
      { measured_part: Number(part.toPrecision(3)) },
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
