import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { BlockCache, ReadGate } from '../../../src/storage/embedded/block-cache.ts';
import { ConsumeQueueIndex } from '../../../src/storage/embedded/consume-queue-index.ts';
import { ConsumeQueueTable } from '../../../src/storage/embedded/consume-queue-table.ts';
import { layoutOf } from '../../../src/storage/embedded/directory-layout.ts';
import { EntryRows, type RowLimits } from '../../../src/storage/embedded/entry-rows.ts';
import { QueueState } from '../../../src/storage/embedded/queue-state.ts';
import { pause, type RunContext, writeFrozenTable } from '../../../src/storage/embedded/run-build.ts';
import {
  RunDamagedError,
  RunFile,
  rowsPerBlock,
  runBlockBytes,
  summariesPerBlock,
} from '../../../src/storage/embedded/run-file.ts';
import { mergeRuns } from '../../../src/storage/embedded/run-merge.ts';
import { SimulatedDisk, seededRandom } from '../../fakes/simulated-disk.ts';
import { testPayloadFormat } from '../test-payload.ts';

const all: RowLimits = {
  untilOffset: Number.POSITIVE_INFINITY,
  maxBytes: Number.POSITIVE_INFINITY,
  maxRows: Number.POSITIVE_INFINITY,
  atLeastOne: true,
};

interface Row {
  readonly location: number;
  readonly base: number;
  readonly count: number;
  readonly sizeBytes: number;
  readonly timeMs: number;
}

class Builder {
  readonly disk = new SimulatedDisk({ seed: 1 });
  readonly queues = new Map<number, QueueState>();
  readonly rows = new Map<number, Row[]>();
  readonly context: RunContext;
  readonly layout = layoutOf('/data');
  private table = new ConsumeQueueTable();
  private location = 0;
  private from = 0;
  private files = 1;

  constructor() {
    this.context = {
      fileSystem: this.disk,
      layout: this.layout,
      crc32c,
      format: testPayloadFormat,
      cache: new BlockCache(runBlockBytes, 4 * runBlockBytes, new ReadGate(2)),
      nextFileNumber: () => this.files++,
    };
  }

  add(id: number, count: number, timeMs: number): void {
    let queue = this.queues.get(id);
    if (queue === undefined) {
      queue = new QueueState(id);
      this.queues.set(id, queue);
      this.rows.set(id, []);
    }
    const sizeBytes = 50 + (this.location % 13);
    this.rows.get(id)!.push({ location: this.location, base: queue.nextOffset, count, sizeBytes, timeMs });
    this.table.add(queue, this.location, queue.nextOffset, count, sizeBytes, timeMs, 1e12 + this.location);
    queue.nextOffset += count;
    this.location += 200;
  }

  async seal(): Promise<RunFile> {
    await this.disk.mkdir(this.layout.consumeQueues);
    const frozen = this.table.freeze(this.from, this.location);
    this.table = new ConsumeQueueTable();
    this.from = this.location;
    return this.open(await writeFrozenTable(this.context, frozen));
  }

  open(reference: RunFile['reference']): Promise<RunFile> {
    return RunFile.open(this.disk, this.layout.consumeQueues, crc32c, this.context.cache, reference);
  }
}

async function rowsOf(run: RunFile, queue: number, offset: number, limits = all): Promise<number[][]> {
  const summary = await run.summary(queue);
  if (summary === undefined) return [];
  const rows = new EntryRows();
  await run.collect(summary, await run.rowFor(summary, offset), limits, rows);
  return Array.from({ length: rows.length }, (_, at) => [
    rows.locations[at]!,
    rows.baseOffsets[at]!,
    rows.counts[at]!,
    rows.sizesBytes[at]!,
    rows.maxTimestampsMs[at]!,
  ]);
}

const plain = ({ location, base, count, sizeBytes, timeMs }: Row): number[] => [
  location,
  base,
  count,
  sizeBytes,
  timeMs,
];

describe('an index run', () => {
  test('holds what the table held, across blocks', async () => {
    const builder = new Builder();
    const random = seededRandom(5);
    // One long queue, some middling ones, and more queues than a block of summaries holds.
    for (let at = 0; at < 3 * rowsPerBlock; at++)
      builder.add(random() < 0.7 ? 10 : 11 + (at % 3), 1 + (at % 4), at);
    for (let id = 100; id < 100 + 2 * summariesPerBlock + 5; id++) builder.add(id, 2, id);
    const run = await builder.seal();
    expect(run.reference.entries).toBe(3 * rowsPerBlock + 2 * summariesPerBlock + 5);
    for (const id of [10, 11, 12, 13, 100, 100 + summariesPerBlock, 104 + 2 * summariesPerBlock]) {
      const expected = builder.rows.get(id)!;
      expect(await rowsOf(run, id, 0)).toEqual(expected.map(plain));
      const summary = (await run.summary(id))!;
      expect(summary).toMatchObject({
        queue: id,
        rows: expected.length,
        firstOffset: 0,
        endOffset: builder.queues.get(id)!.nextOffset,
        sizeBytes: expected.reduce((sum, row) => sum + row.sizeBytes, 0),
        largestTimestampMs: Math.max(...expected.map((row) => row.timeMs)),
        firstStoreTimeMs: 1e12 + expected[0]!.location,
        lastStoreTimeMs: 1e12 + expected.at(-1)!.location,
      });
    }
    const long = builder.rows.get(10)!;
    const summary = (await run.summary(10))!;
    for (const [at, row] of long.entries()) {
      if (at % 37 !== 0 && at > 5 && at < long.length - 5) continue;
      expect(await run.rowFor(summary, row.base)).toBe(summary.firstRow + at);
      expect(await run.rowFor(summary, row.base + row.count - 1)).toBe(summary.firstRow + at);
    }
    expect(await run.rowFor(summary, summary.endOffset)).toBe(summary.firstRow + summary.rows);
    expect(await rowsOf(run, 10, long[500]!.base, { ...all, maxRows: 2 })).toEqual(
      long.slice(500, 502).map(plain),
    );
    for (const absent of [1, 99, 50_000, 2 ** 41]) expect(await run.summary(absent)).toBe(undefined);
    const seen: number[] = [];
    for await (const one of run.summaries()) seen.push(one.queue);
    expect(seen).toEqual([...builder.queues.keys()].sort((a, b) => a - b));
  });

  test('its filter lets most absent queues go unread', async () => {
    const builder = new Builder();
    for (let id = 1; id <= 3000; id++) builder.add(id * 7, 1, 0);
    const run = await builder.seal();
    let maybe = 0;
    for (let id = 1; id <= 3000; id++) {
      expect(run.mayHold(id * 7)).toBe(true);
      if (run.mayHold(id * 7 + 1)) maybe++;
    }
    expect(maybe).toBeLessThan(150);
    expect(run.memoryBytes).toBeLessThan(3000 * 2);
  });

  test('looks up times, reading only blocks that may hold one', async () => {
    const builder = new Builder();
    for (let at = 0; at < 5 * rowsPerBlock; at++) builder.add(1, 1, at % 1000 === 999 ? 10 * at : at);
    const run = await builder.seal();
    const rows = builder.rows.get(1)!;
    const summary = (await run.summary(1))!;
    for (const timeMs of [-1, 0, 5, 998, 999, 9990, 9991, 3 * rowsPerBlock, 60_000, 1e9]) {
      const expected = rows.findIndex((row) => row.timeMs >= timeMs);
      expect(await run.rowByTime(summary, 0, timeMs)).toBe(expected < 0 ? summary.rows : expected);
    }
    let reads = 0;
    builder.disk.fault = (call) => {
      if (call.name === 'read') reads++;
      return undefined;
    };
    await run.rowByTime(summary, 0, 1e9);
    expect(reads).toBe(0);
  });

  test('a damaged block, footer or another file in its place is found out', async () => {
    const builder = new Builder();
    for (let at = 0; at < rowsPerBlock + 10; at++) builder.add(1, 1, at);
    const run = await builder.seal();
    const path = '/data/consumequeues/0000000001.run';
    builder.disk.damage(path, (bytes) => {
      bytes[runBlockBytes + 40]! ^= 1;
    });
    expect(await run.isIntact()).toBe(false);
    await expect(rowsOf(run, 1, rowsPerBlock + 5)).rejects.toThrow(RunDamagedError);
    await expect(builder.open({ ...run.reference, checksum: 1 })).rejects.toThrow(RunDamagedError);
    await expect(builder.open({ ...run.reference, sizeBytes: 100 })).rejects.toThrow(RunDamagedError);
    builder.disk.damage(path, (bytes) => {
      bytes[bytes.length - 60]! ^= 1;
    });
    await expect(builder.open(run.reference)).rejects.toThrow(RunDamagedError);
  });
});

describe('a merge', () => {
  test('keeps rows in order, leaves trimmed and dropped ones behind', async () => {
    const builder = new Builder();
    const random = seededRandom(6);
    const runs: RunFile[] = [];
    for (let part = 0; part < 4; part++) {
      for (let at = 0; at < 3000; at++) {
        // Queue 3 is in some runs only, queue 4 dropped, queue 5 trimmed inside an entry, queue 6 wholly.
        const id = 1 + Math.floor(random() * 6);
        if (id !== 3 || part % 2 === 1) builder.add(id, 1 + (at % 3), at);
      }
      runs.push(await builder.seal());
    }
    const trimmed = builder.rows.get(5)!;
    const middle = trimmed[Math.floor(trimmed.length / 2)]!;
    const starts = new Map([
      [1, 0],
      [2, 0],
      [3, 0],
      [5, middle.base + middle.count - 1],
      [6, builder.queues.get(6)!.nextOffset],
    ]);
    const reference = await mergeRuns(
      builder.disk,
      builder.layout.consumeQueues,
      crc32c,
      50,
      runs,
      (queue) => starts.get(queue),
      pause,
    );
    const merged = await builder.open(reference);
    expect([reference.from, reference.to]).toEqual([0, runs[3]!.reference.to]);
    for (const id of [1, 2, 3]) {
      expect(await rowsOf(merged, id, 0)).toEqual(builder.rows.get(id)!.map(plain));
    }
    expect(await rowsOf(merged, 5, 0)).toEqual(trimmed.filter((row) => row.base >= middle.base).map(plain));
    expect(await merged.summary(4)).toBe(undefined);
    expect(await merged.summary(6)).toBe(undefined);
    const summary = (await merged.summary(3))!;
    expect(summary.firstStoreTimeMs).toBe(1e12 + builder.rows.get(3)![0]!.location);
    expect(summary.lastStoreTimeMs).toBe(1e12 + builder.rows.get(3)!.at(-1)!.location);
  });
});

describe('a look-up over many runs', () => {
  /** 40 runs of 20 queues; queue 7 grows only in the runs that `grows` names, in as many rows as it says. */
  async function build(grows: (run: number) => number) {
    const builder = new Builder();
    const runs: RunFile[] = [];
    for (let run = 0; run < 40; run++) {
      for (let row = 0; row < 200; row++) builder.add(1 + (row % 20), 1, 1000 * run + row);
      for (let row = 0; row < grows(run); row++) builder.add(7, 1, 1000 * run + row);
      runs.push(await builder.seal());
    }
    const index = new ConsumeQueueIndex();
    index.setRuns(runs);
    return { builder, index };
  }

  async function readsOf(disk: SimulatedDisk, look: () => Promise<void>): Promise<number> {
    let reads = 0;
    disk.fault = (call) => {
      if (call.name === 'read') reads++;
      return undefined;
    };
    await look();
    disk.fault = undefined;
    return reads;
  }

  test.each([
    { name: 'an evenly growing queue', grows: () => 0, most: 2, mostReads: 4 },
    {
      name: 'a queue that grew in bursts',
      grows: (run: number) => (run % 13 === 5 ? 3000 : 0),
      most: 9,
      mostReads: 9,
    },
  ])('reads few blocks for $name', async ({ grows, most, mostReads }) => {
    const { builder, index } = await build(grows);
    const queue = builder.queues.get(7)!;
    const rows = builder.rows.get(7)!;
    let total = 0;
    let asked = 0;
    for (let at = 3; at < rows.length; at += Math.ceil(rows.length / 97)) {
      const row = rows[at]!;
      const byOffset = new EntryRows();
      const reads = await readsOf(builder.disk, () =>
        index.collect(queue, row.base, { ...all, maxRows: 1 }, byOffset),
      );
      expect(byOffset.locations[0]).toBe(row.location);
      expect(reads).toBeLessThanOrEqual(mostReads);
      total += reads;
      asked++;
    }
    expect(total / asked).toBeLessThanOrEqual(most);
  });

  test('by time does not read runs that hold nothing so new', async () => {
    const { builder, index } = await build(() => 0);
    const queue = builder.queues.get(7)!;
    const found = new EntryRows();
    const reads = await readsOf(builder.disk, () =>
      index.findByTime(queue, 0, queue.nextOffset, 38_000, found),
    );
    expect(found.maxTimestampsMs[0]).toBe(38_006);
    expect(reads).toBeLessThanOrEqual(2);
  });
});
