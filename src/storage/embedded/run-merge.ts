/**
 * Merges neighbouring runs into one. Runs are in offset order for every queue, so a queue's rows are those of the first run, then
 * those of the second, and so on. Rows of dropped queues and those before a queue's start are left behind.
 */
import type { QueueId } from '../engine.ts';
import type { Checksum } from './checksum.ts';
import { EntryRows } from './entry-rows.ts';
import type { FileSystem } from './file-system.ts';
import type { RunReference } from './manifest.ts';
import { type QueueSummary, type RunFile, RunWriter } from './run-file.ts';

const rowsAtOnce = 4096;

/**
 * Durable when it resolves, but for the directory. `startOffsetOf`: a queue's first offset, undefined when it was dropped.
 * `pause` is awaited between slices so that nobody else waits long.
 */
export async function mergeRuns(
  fileSystem: FileSystem,
  directory: string,
  crc32c: Checksum,
  number: number,
  runs: readonly RunFile[],
  startOffsetOf: (queue: QueueId) => number | undefined,
  pause: () => Promise<void>,
): Promise<RunReference> {
  const { from } = runs[0]!.reference;
  const { to } = runs[runs.length - 1]!.reference;
  const writer = await RunWriter.create(fileSystem, directory, crc32c, number, from, to);
  try {
    const cursors = runs.map((run) => run.summaries());
    const heads: (QueueSummary | undefined)[] = [];
    for (const cursor of cursors) heads.push((await cursor.next()).value as QueueSummary | undefined);
    const rows = new EntryRows();
    for (;;) {
      let queue = Number.POSITIVE_INFINITY;
      for (const head of heads) if (head !== undefined && head.queue < queue) queue = head.queue;
      if (queue === Number.POSITIVE_INFINITY) break;
      const startOffset = startOffsetOf(queue);
      let firstStoreTimeMs = 0;
      let lastStoreTimeMs = 0;
      let isEmpty = true;
      writer.beginQueue(queue);
      for (let at = 0; at < heads.length; at++) {
        const head = heads[at];
        if (head === undefined || head.queue !== queue) continue;
        heads[at] = (await cursors[at]!.next()).value as QueueSummary | undefined;
        if (startOffset === undefined || head.endOffset <= startOffset) continue;
        if (isEmpty) firstStoreTimeMs = head.firstStoreTimeMs;
        lastStoreTimeMs = head.lastStoreTimeMs;
        isEmpty = false;
        const run = runs[at]!;
        const endRow = head.firstRow + head.rows;
        for (let row = await run.rowFor(head, startOffset); row < endRow; row += rows.length) {
          rows.clear();
          await run.collect(head, row, sliceLimits, rows);
          for (let index = 0; index < rows.length; index++) {
            writer.add(
              rows.locations[index]!,
              rows.baseOffsets[index]!,
              rows.maxTimestampsMs[index]!,
              rows.sizesBytes[index]!,
              rows.counts[index]!,
            );
          }
          await writer.writeIfDue();
          if (rows.length === rowsAtOnce) await pause();
        }
      }
      writer.endQueue(firstStoreTimeMs, lastStoreTimeMs);
    }
    return await writer.finish();
  } catch (error) {
    await writer.abandon();
    throw error;
  }
}

const sliceLimits = {
  untilOffset: Number.POSITIVE_INFINITY,
  maxBytes: Number.POSITIVE_INFINITY,
  maxRows: rowsAtOnce,
  atLeastOne: true,
};
