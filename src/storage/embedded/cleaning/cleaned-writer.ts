/**
 * Writes what the cleaner keeps: entries sorted by queue and offset, into segments of the cleaner's own and an index run for each.
 * Nothing of it counts before a manifest names it; `finish` makes it durable, `abandon` removes it.
 *
 * Each segment is an extent of its own, begun anew between two queues once it is large enough for that: then a later rewrite of
 * one queue meets few others.
 */
import { assert } from '../../../util/assert.ts';
import type { QueueId } from '../../engine.ts';
import type { Checksum } from '../checksum.ts';
import type { DirectoryLayout } from '../directory-layout.ts';
import {
  EntryHeader,
  entryBytes,
  flagLastOfGroup,
  flagMoved,
  headerBytes,
  kindSegmentEnd,
} from '../entry-header.ts';
import type { FileSystem, OpenFile } from '../file-system.ts';
import { locationOf, segmentFileName } from '../location.ts';
import type { Extent } from '../manifest.ts';
import type { RunContext } from '../run-build.ts';
import { RunFile, RunWriter, runFileName } from '../run-file.ts';
import type { Pacer } from './pacer.ts';

const blockBytes = 1024 * 1024;

export interface CleanedWriterParts {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly runContext: RunContext;
  readonly pacer: Pacer;
  /** No segment grows beyond this, unless one entry does. */
  readonly segmentBytes: number;
  /** At least so large before the next queue begins another. */
  readonly cutBytes: number;
  /** Stands in the headers of the ends of segments. */
  readonly epoch: number;
  readonly durablePosition: () => number;
  /** A number that no file has. */
  readonly takeSegment: () => number;
}

/** What was written, durable but for the manifest. */
export interface FreshExtent {
  readonly extent: Extent;
  readonly run: RunFile;
}

interface OpenSegment {
  readonly number: number;
  readonly file: OpenFile;
  readonly run: RunWriter;
  sizeBytes: number;
}

export class CleanedWriter {
  private readonly parts: CleanedWriterParts;
  private readonly fresh: FreshExtent[] = [];
  private readonly paths: string[] = [];
  private segment: OpenSegment | undefined;
  private queue: QueueId | undefined;
  private isQueueOpen = false;
  private firstStoreTimeMs = 0;
  private lastStoreTimeMs = 0;
  private block: Buffer = Buffer.allocUnsafeSlow(blockBytes);
  private view = new DataView(this.block.buffer, this.block.byteOffset, blockBytes);
  private used = 0;
  private writtenBytes = 0;

  constructor(parts: CleanedWriterParts) {
    this.parts = parts;
  }

  /** Bytes of segments written. */
  get copiedBytes(): number {
    return this.writtenBytes;
  }

  /** The entries that follow are this queue's. Queues come in ascending order. */
  async beginQueue(queue: QueueId): Promise<void> {
    this.endQueue();
    this.queue = queue;
    if (this.segment !== undefined && this.segment.sizeBytes >= this.parts.cutBytes)
      await this.closeSegment();
  }

  /**
   * One entry: `header`, complete but for what the new place changes, and its payload, `length` bytes of `bytes` from `start`. The
   * index is told `sizeBytes` of it.
   */
  async add(
    header: EntryHeader,
    bytes: Buffer,
    start: number,
    length: number,
    sizeBytes = length,
  ): Promise<void> {
    const totalBytes = entryBytes(length);
    const segment = await this.room(totalBytes);
    const { baseOffset, count, maxTimestampMs, storeTimeMs } = header;
    const location = locationOf(segment.number, segment.sizeBytes);
    const at = this.used;
    bytes.copy(this.block, at + headerBytes, start, start + length);
    this.block.fill(0, at + headerBytes + length, at + totalBytes);
    header.location = location;
    header.group = location;
    header.payloadBytes = length;
    header.flags |= flagLastOfGroup | flagMoved;
    header.encode(this.view, this.block, at, this.parts.crc32c);
    this.used += totalBytes;
    segment.sizeBytes += totalBytes;
    if (!this.isQueueOpen) {
      segment.run.beginQueue(this.queue!);
      this.isQueueOpen = true;
      this.firstStoreTimeMs = storeTimeMs;
    }
    this.lastStoreTimeMs = storeTimeMs;
    segment.run.add(location, baseOffset, maxTimestampMs, sizeBytes, count);
    await segment.run.writeIfDue();
  }

  /** Durable when it resolves, the names too. */
  async finish(): Promise<readonly FreshExtent[]> {
    this.endQueue();
    if (this.segment !== undefined) await this.closeSegment();
    if (this.fresh.length > 0) {
      const { fileSystem, layout } = this.parts;
      await fileSystem.syncDirectory(layout.commitLog);
      await fileSystem.syncDirectory(layout.consumeQueues);
    }
    return this.fresh;
  }

  /** Removes all of it; what cannot be removed is found at the next start. */
  async abandon(): Promise<void> {
    const { segment } = this;
    this.segment = undefined;
    if (segment !== undefined) {
      await segment.file.close().catch(() => {});
      await segment.run.abandon();
    }
    for (const { run } of this.fresh) run.retire();
    for (const path of this.paths) await this.parts.fileSystem.unlink(path).catch(() => {});
  }

  private async room(totalBytes: number): Promise<OpenSegment> {
    let { segment } = this;
    if (
      segment !== undefined &&
      segment.sizeBytes > 0 &&
      segment.sizeBytes + totalBytes + headerBytes > this.parts.segmentBytes
    ) {
      const { queue } = this;
      this.endQueue();
      await this.closeSegment();
      this.queue = queue;
      segment = undefined;
    }
    segment ??= await this.openSegment();
    if (this.used + totalBytes > this.block.length) {
      await this.write(segment);
      if (totalBytes > this.block.length) {
        this.block = Buffer.allocUnsafeSlow(totalBytes);
        this.view = new DataView(this.block.buffer, this.block.byteOffset, totalBytes);
      }
    }
    return segment;
  }

  private async openSegment(): Promise<OpenSegment> {
    const { fileSystem, layout, crc32c, runContext, takeSegment } = this.parts;
    const number = takeSegment();
    const path = `${layout.commitLog}/${segmentFileName(number)}`;
    this.paths.push(path);
    const file = await fileSystem.open(path, 'replace');
    try {
      const runNumber = runContext.nextFileNumber();
      this.paths.push(`${layout.consumeQueues}/${runFileName(runNumber)}`);
      const run = await RunWriter.create(
        fileSystem,
        layout.consumeQueues,
        crc32c,
        runNumber,
        locationOf(number, 0),
        locationOf(number + 1, 0),
      );
      this.segment = { number, file, run, sizeBytes: 0 };
      return this.segment;
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
  }

  private endQueue(): void {
    if (this.isQueueOpen) this.segment!.run.endQueue(this.firstStoreTimeMs, this.lastStoreTimeMs);
    this.isQueueOpen = false;
  }

  private async write(segment: OpenSegment): Promise<void> {
    const { used } = this;
    if (used === 0) return;
    await segment.file.write([this.block.subarray(0, used)], segment.sizeBytes - used);
    this.used = 0;
    this.writtenBytes += used;
    await this.parts.pacer.spend(used);
  }

  private async closeSegment(): Promise<void> {
    const segment = this.segment!;
    const { fileSystem, layout, crc32c, runContext, epoch } = this.parts;
    assert(!this.isQueueOpen, 'a segment ends between two queues, or with an end of one in its run');
    if (this.used + headerBytes > this.block.length) await this.write(segment);
    const end = new EntryHeader();
    end.kind = kindSegmentEnd;
    end.flags = flagLastOfGroup | flagMoved;
    end.location = locationOf(segment.number, segment.sizeBytes);
    end.group = end.location;
    end.epoch = epoch;
    end.storeTimeMs = this.lastStoreTimeMs;
    end.durablePosition = this.parts.durablePosition();
    end.encode(this.view, this.block, this.used, crc32c);
    this.used += headerBytes;
    segment.sizeBytes += headerBytes;
    await this.write(segment);
    await segment.file.datasync();
    await segment.file.close();
    const reference = await segment.run.finish();
    this.segment = undefined;
    const run = await RunFile.open(fileSystem, layout.consumeQueues, crc32c, runContext.cache, reference);
    const { number, sizeBytes } = segment;
    this.fresh.push({ extent: { segments: [{ number, sizeBytes }], run: reference, level: 1 }, run });
  }
}
