/** Makes index runs: from a table in memory, and again from the log where a run's file is lost or damaged. */
import type { PayloadFormat, QueueId } from '../engine.ts';
import type { BlockCache } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import { ConsumeQueueTable, type FrozenTable } from './consume-queue-table.ts';
import type { DirectoryLayout } from './directory-layout.ts';
import { isQueueKind, kindLost } from './entry-header.ts';
import type { FileSystem } from './file-system.ts';
import { locationOf, segmentOf } from './location.ts';
import { scanLog } from './log-scan.ts';
import { decodeLostRanges } from './lost-entry.ts';
import type { Extent, RunReference } from './manifest.ts';
import { QueueSet } from './queue-set.ts';
import { QueueState } from './queue-state.ts';
import { RunFile, RunWriter, runFileName } from './run-file.ts';
import { mergeRuns } from './run-merge.ts';

const rowsAtOnce = 8192;

export interface RunContext {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly format: PayloadFormat;
  readonly cache: BlockCache;
  nextFileNumber(): number;
}

/** Lets others run between slices of long work. */
export function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Durable when it resolves, but for the directory. */
export async function writeFrozenTable(context: RunContext, frozen: FrozenTable): Promise<RunReference> {
  const { fileSystem, layout, crc32c } = context;
  const writer = await RunWriter.create(
    fileSystem,
    layout.consumeQueues,
    crc32c,
    context.nextFileNumber(),
    frozen.from,
    frozen.to,
  );
  try {
    const { table } = frozen;
    const slots = await table.slotsByQueue(pause);
    let slice = 0;
    for (let at = 0; at < slots.length; at++) {
      const slot = slots[at]!;
      const first = table.firstRow(slot);
      writer.beginQueue(table.queueOf(slot).id);
      for (let row = first; row >= 0; row = table.next(row)) {
        writer.add(
          table.locations[row]!,
          table.baseOffsets[row]!,
          table.maxTimestampsMs[row]!,
          table.sizesBytes[row]!,
          table.counts[row]!,
        );
        if (++slice < rowsAtOnce) continue;
        slice = 0;
        await (writer.writeIfDue() ?? pause());
      }
      writer.endQueue(table.storeTimeMs(first), table.storeTimeMs(table.lastRow(slot)));
    }
    return await writer.finish();
  } catch (error) {
    await writer.abandon();
    throw error;
  }
}

/** A stretch of the log, inside one segment, and the queues whose entries in it do not count. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly without: QueueSet;
}

function stretchesOf(reference: RunReference, extent: Extent | undefined): Stretch[] {
  if (extent !== undefined) {
    return extent.segments.map(({ number, without }) => ({
      from: locationOf(number, 0),
      to: locationOf(number + 1, 0),
      without: QueueSet.parse(without).union(QueueSet.parse(extent.without)),
    }));
  }
  const stretches: Stretch[] = [];
  for (let from = reference.from; from < reference.to; ) {
    const to = Math.min(reference.to, locationOf(segmentOf(from) + 1, 0));
    stretches.push({ from, to, without: QueueSet.empty });
    from = to;
  }
  return stretches;
}

/**
 * Makes a run again from the entries of the extent's segments, or, of a run of the head, those of [from, to). What is damaged there is left out where not even its header holds. Answers the
 * new run's reference and what could not be read.
 */
export async function rebuildRun(
  context: RunContext,
  reference: RunReference,
  extent: Extent | undefined,
): Promise<{
  readonly reference: RunReference;
  readonly losses: readonly string[];
  /** Losses that left no row: readers would pass over them in silence. */
  readonly gaps: readonly string[];
}> {
  const { fileSystem, layout, crc32c, format, cache } = context;
  const losses: string[] = [];
  const gaps: string[] = [];
  const parts: RunReference[] = [];
  for (const { from, to, without } of stretchesOf(reference, extent)) {
    const table = new ConsumeQueueTable();
    const queues = new Map<QueueId, QueueState>();
    const result = await scanLog({
      fileSystem,
      directory: layout.commitLog,
      crc32c,
      format,
      from,
      until: to,
      durablePosition: to,
      acceptLoss: true,
      visit: (header, payload) => {
        const queueOf = (id: QueueId): QueueState => {
          let queue = queues.get(id);
          if (queue === undefined) {
            queue = new QueueState(id);
            queues.set(id, queue);
          }
          return queue;
        };
        if (header.kind === kindLost) {
          for (const { queue, from: first, to: end } of decodeLostRanges(header, payload)) {
            if (without.has(queue)) continue;
            table.add(queueOf(queue), header.location, first, end - first, 0, -1, header.storeTimeMs);
          }
        }
        if (!isQueueKind(header.kind) || without.has(header.queue)) return;
        const queue = queueOf(header.queue);
        const { location, baseOffset, count, payloadBytes, maxTimestampMs, storeTimeMs } = header;
        table.add(queue, location, baseOffset, count, payloadBytes, maxTimestampMs, storeTimeMs);
      },
      segmentEnded: () => {},
    });
    losses.push(...result.losses);
    gaps.push(...result.gaps);
    parts.push(await writeFrozenTable(context, table.freeze(from, to)));
  }
  if (parts.length === 1) return { reference: parts[0]!, losses, gaps };
  const runs: RunFile[] = [];
  for (const part of parts) {
    runs.push(await RunFile.open(fileSystem, layout.consumeQueues, crc32c, cache, part));
  }
  const merged = await mergeRuns(
    fileSystem,
    layout.consumeQueues,
    crc32c,
    context.nextFileNumber(),
    runs,
    () => 0,
    pause,
  );
  for (const run of runs) {
    run.retire();
    await fileSystem.unlink(`${layout.consumeQueues}/${runFileName(run.reference.number)}`);
  }
  return { reference: merged, losses, gaps };
}
