/**
 * The payloads of many entries that lie here and there in the log, for groups of links: found in the index queue by queue, read in
 * the order in which they lie, those that lie close together in one read, several reads at a time. Copies, as readers would see them.
 * What it cannot give (a gap, damage, a run that cannot be read) is left to the one who reads it alone.
 */
import type { LinkSource, PayloadFormat, QueueId } from '../engine.ts';
import type { AppendSlab, SlabList } from './append-slab.ts';
import { ReadGate } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import type { ReadsInFlight } from './cleaning/reads-in-flight.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import { checkHeader, epochAt, headerBytes, isHeaderOf } from './entry-header.ts';
import { EntryRows, type RowLimits } from './entry-rows.ts';
import { offsetIn, segmentOf } from './location.ts';
import type { QueueState } from './queue-state.ts';
import type { SegmentFiles } from './segment-files.ts';

export interface LinkedPayloadsParts {
  readonly queues: ReadonlyMap<QueueId, QueueState>;
  readonly index: ConsumeQueueIndex;
  readonly slabs: SlabList;
  readonly segments: SegmentFiles;
  readonly readsInFlight: ReadsInFlight;
  readonly format: PayloadFormat;
  readonly crc32c: Checksum;
}

/** What lies between two entries is read with them up to so many bytes: dearer than another read beyond. */
const largestGapBytes = 16 * 1024;
const largestReadBytes = 256 * 1024;
const readsAtOnce = 4;
/** Bytes of one call, read and copied; the others are left to the one who reads alone. */
const mostBytes = 16 * 1024 * 1024;

/** An entry that is wanted, as the index has it. */
interface Wanted {
  /** Place in the answer. */
  readonly at: number;
  readonly queue: QueueId;
  readonly location: number;
  readonly baseOffset: number;
  readonly sizeBytes: number;
}

export class LinkedPayloads {
  private readonly parts: LinkedPayloadsParts;
  private readonly gate = new ReadGate(readsAtOnce);

  constructor(parts: LinkedPayloadsParts) {
    this.parts = parts;
  }

  /** One payload a link, in order; undefined where it takes another look. */
  fetch(links: readonly LinkSource[]): Promise<(Buffer | undefined)[]> {
    return this.parts.readsInFlight.during(() => this.fetchNow(links));
  }

  private async fetchNow(links: readonly LinkSource[]): Promise<(Buffer | undefined)[]> {
    const payloads = new Array<Buffer | undefined>(links.length);
    const wanted = await this.find(links);
    wanted.sort((a, b) => a.location - b.location);
    const reads: Promise<void>[] = [];
    let bytes = 0;
    for (let from = 0; from < wanted.length; ) {
      const first = wanted[from]!;
      const slab = this.parts.slabs.find(first.location);
      if (slab !== undefined) {
        payloads[first.at] = this.copyFromSlab(slab, first);
        from += 1;
        continue;
      }
      const segment = segmentOf(first.location);
      const start = offsetIn(first.location);
      let end = start + headerBytes + first.sizeBytes;
      let to = from + 1;
      for (; to < wanted.length; to++) {
        const { location, sizeBytes } = wanted[to]!;
        const nextEnd = offsetIn(location) + headerBytes + sizeBytes;
        const isClose = segmentOf(location) === segment && offsetIn(location) - end <= largestGapBytes;
        if (!isClose || nextEnd - start > largestReadBytes) break;
        end = Math.max(end, nextEnd);
      }
      bytes += end - start;
      if (bytes > mostBytes) break;
      reads.push(this.readTogether(wanted, from, to, segment, start, end, payloads));
      from = to;
    }
    await Promise.all(reads);
    return payloads;
  }

  /** What the index knows of the links' entries. */
  private async find(links: readonly LinkSource[]): Promise<Wanted[]> {
    const order = links.map((_, at) => at);
    order.sort((a, b) => links[a]!.queue - links[b]!.queue || links[a]!.offset - links[b]!.offset);
    const wanted: Wanted[] = [];
    const rows = new EntryRows();
    for (const at of order) {
      const { queue: id, offset } = links[at]!;
      const queue = this.parts.queues.get(id);
      if (queue === undefined || offset < queue.startOffset || offset >= queue.visibleEndOffset) continue;
      rows.clear();
      const limits = { ...oneRow, untilOffset: queue.visibleEndOffset };
      if (!this.parts.index.collectFromMemory(queue, offset, limits, rows)) {
        try {
          await this.parts.index.collect(queue, offset, limits, rows);
        } catch {
          // Who looks alone meets the error, and has the run made again.
          continue;
        }
      }
      if (rows.length === 0 || rows.baseOffsets[0]! > offset) continue;
      wanted.push({
        at,
        queue: id,
        location: rows.locations[0]!,
        baseOffset: rows.baseOffsets[0]!,
        sizeBytes: rows.sizesBytes[0]!,
      });
    }
    return wanted;
  }

  private async readTogether(
    wanted: readonly Wanted[],
    from: number,
    to: number,
    segment: number,
    start: number,
    end: number,
    payloads: (Buffer | undefined)[],
  ): Promise<void> {
    const bytes = Buffer.allocUnsafe(end - start);
    let read: number;
    try {
      read = await this.gate.run(() => this.parts.segments.reader(segment).read(start, bytes));
    } catch {
      return;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let index = from; index < to; index++) {
      const one = wanted[index]!;
      const at = offsetIn(one.location) - start;
      if (at + headerBytes + one.sizeBytes > read) continue;
      const isIntact =
        checkHeader(view, bytes, at, one.location, this.parts.crc32c) === 'intact' &&
        isHeaderOf(view, at, one.queue, one.baseOffset, one.sizeBytes) &&
        this.parts.format.isIntact(bytes, at + headerBytes, one.sizeBytes);
      if (isIntact) payloads[one.at] = this.copy(bytes, at + headerBytes, one, epochAt(view, at));
    }
  }

  private copyFromSlab(slab: AppendSlab, one: Wanted): Buffer | undefined {
    const at = one.location - slab.base;
    if (!isHeaderOf(slab.view, at, one.queue, one.baseOffset, one.sizeBytes)) return undefined;
    return this.copy(slab.bytes, at + headerBytes, one, epochAt(slab.view, at));
  }

  private copy(bytes: Buffer, start: number, { sizeBytes, baseOffset }: Wanted, epoch: number): Buffer {
    const payload = Buffer.allocUnsafe(sizeBytes);
    bytes.copy(payload, 0, start, start + sizeBytes);
    const { format } = this.parts;
    if (!format.isStamped(payload, 0, baseOffset, epoch)) format.stamp(payload, 0, baseOffset, epoch);
    return payload;
  }
}

const oneRow: Omit<RowLimits, 'untilOffset'> = { maxBytes: 0, maxRows: 1, atLeastOne: true };
