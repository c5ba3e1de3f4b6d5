/**
 * Copies the entries that some index runs name, queue for queue in offset order, past whoever decides about them, into a
 * CleanedWriter. Holds a bounded part of them in memory at a time: read in the order in which they lie, written in the order of the
 * index. Everything is checked on the way; what is damaged is copied as it is, so that reads still say so.
 */
import { assert } from '../../../util/assert.ts';
import type { Log } from '../../../util/log.ts';
import type { PayloadFormat, QueueId, RewriteRequest } from '../../engine.ts';
import type { Checksum } from '../checksum.ts';
import { checkHeader, EntryHeader, entryBytes, headerBytes, isHeaderOf, kindLost } from '../entry-header.ts';
import { EntryRows, type RowLimits } from '../entry-rows.ts';
import { describeLocation, offsetIn, segmentOf } from '../location.ts';
import { pause } from '../run-build.ts';
import type { QueueSummary, RunFile } from '../run-file.ts';
import type { SegmentFiles } from '../segment-files.ts';
import type { CleanedWriter } from './cleaned-writer.ts';
import type { Pacer } from './pacer.ts';

/** At most so much is read at once; entries with less than `gapBytes` between them are read together. */
const spanBytes = 1024 * 1024;
const gapBytes = 4096;
/** Sorting so many rows, and copying so many entries, takes no longer than others may wait. */
const chunkRows = 16 * 1024;
const entriesAtOnce = 256;
/** Whoever decides may have to decompress what is offered. */
const offeredBytesAtOnce = 32 * 1024;

export interface CopyParts {
  readonly segments: SegmentFiles;
  readonly format: PayloadFormat;
  readonly crc32c: Checksum;
  readonly logger: Log;
  readonly pacer: Pacer;
  /** Payloads in memory at a time, gaps between them not counted. */
  readonly memoryBytes: number;
}

/** Somebody decides about a queue's entries. */
export interface Offer {
  readonly request: RewriteRequest;
  /** After the last visible entry, as of now. */
  visibleEndOffset(): number;
  /** What was offered so far ends here. */
  offeredEnd: number;
  bytesBefore: number;
  bytesAfter: number;
}

/** A queue, and what the runs say of it, in offset order. */
export interface QueueParts {
  readonly queue: QueueId;
  readonly parts: readonly { readonly run: RunFile; readonly summary: QueueSummary }[];
  /** Entries that end at or before this are left behind. */
  readonly startOffset: number;
  readonly offer?: Offer | undefined;
}

export interface CopyTally {
  readBytes: number;
  entries: number;
  damaged: number;
}

interface ChunkQueue {
  readonly queue: QueueParts;
  readonly firstRow: number;
}

export class EntryCopy {
  readonly tally: CopyTally = { readBytes: 0, entries: 0, damaged: 0 };
  private readonly parts: CopyParts;
  private readonly writer: CleanedWriter;
  private readonly rows = new EntryRows();
  private readonly limits: RowLimits;
  private queues: ChunkQueue[] = [];
  private lastQueue: QueueId | undefined;
  private lastStoreTimeMs = 0;
  private readonly header = new EntryHeader();

  constructor(parts: CopyParts, writer: CleanedWriter) {
    this.parts = parts;
    this.writer = writer;
    this.limits = {
      untilOffset: Number.POSITIVE_INFINITY,
      maxBytes: parts.memoryBytes,
      maxRows: chunkRows,
      atLeastOne: true,
    };
  }

  /** The next queue; queues come in ascending order. */
  async add(queue: QueueParts): Promise<void> {
    const { rows } = this;
    for (const { run, summary } of queue.parts) {
      const endRow = summary.firstRow + summary.rows;
      for (let row = await run.rowFor(summary, queue.startOffset); row < endRow; ) {
        if (this.queues.at(-1)?.queue !== queue) this.queues.push({ queue, firstRow: rows.length });
        const before = rows.length;
        const isAll = await run.collect(summary, row, this.limits, rows);
        row += rows.length - before;
        if (!isAll) await this.flush();
      }
    }
  }

  async finish(): Promise<CopyTally> {
    await this.flush();
    return this.tally;
  }

  private async flush(): Promise<void> {
    const { rows, queues } = this;
    if (rows.length > 0) {
      const loaded = await this.load();
      for (let at = 0; at < queues.length; at++) {
        await this.copyQueue(queues[at]!, queues[at + 1]?.firstRow ?? rows.length, loaded);
      }
    }
    rows.clear();
    this.queues = [];
  }

  /** Reads the chunk's entries in the order in which they lie. Each row's buffer and the place in it. */
  private async load(): Promise<LoadedRows> {
    const { rows } = this;
    const { segments, pacer } = this.parts;
    const { locations } = rows;
    const order = new Uint32Array(rows.length);
    let isSorted = true;
    for (let row = 0; row < rows.length; row++) {
      order[row] = row;
      if (row > 0 && locations[row]! < locations[row - 1]!) isSorted = false;
    }
    if (!isSorted) order.sort((a, b) => locations[a]! - locations[b]!);
    const buffers: Buffer[] = new Array(rows.length);
    const places = new Uint32Array(rows.length);
    let gapsLeft = this.parts.memoryBytes;
    for (let at = 0; at < order.length; ) {
      const first = locations[order[at]!]!;
      let end = first + headerBytes + rows.sizesBytes[order[at]!]!;
      let next = at + 1;
      for (; next < order.length; next++) {
        const location = locations[order[next]!]!;
        const nextEnd = location + headerBytes + rows.sizesBytes[order[next]!]!;
        const gap = location - end;
        const isNear = segmentOf(location) === segmentOf(first) && gap <= Math.min(gapBytes, gapsLeft);
        if (!isNear || nextEnd - first > spanBytes) break;
        gapsLeft -= Math.max(0, gap);
        end = Math.max(end, nextEnd);
      }
      const buffer = Buffer.allocUnsafeSlow(end - first);
      const read = await segments.reader(segmentOf(first)).read(offsetIn(first), buffer);
      buffer.fill(0, read);
      this.tally.readBytes += read;
      await pacer.spend(buffer.length);
      for (; at < next; at++) {
        const row = order[at]!;
        buffers[row] = buffer;
        places[row] = locations[row]! - first;
      }
    }
    return { buffers, places };
  }

  private async copyQueue(chunk: ChunkQueue, endRow: number, loaded: LoadedRows): Promise<void> {
    const { queue } = chunk;
    if (queue.queue !== this.lastQueue) {
      await this.writer.beginQueue(queue.queue);
      this.lastQueue = queue.queue;
      this.lastStoreTimeMs = queue.parts[0]!.summary.firstStoreTimeMs;
    }
    let offeredBytes = 0;
    for (let row = chunk.firstRow; row < endRow; row++) {
      await this.copyEntry(queue, row, loaded.buffers[row]!, loaded.places[row]!);
      if (queue.offer !== undefined) offeredBytes += this.rows.sizesBytes[row]!;
      if (++this.tally.entries % entriesAtOnce === 0 || offeredBytes > offeredBytesAtOnce) {
        offeredBytes = 0;
        await pause();
        this.parts.pacer.check();
      }
    }
  }

  private async copyEntry(
    { queue, offer }: QueueParts,
    row: number,
    read: Buffer,
    at: number,
  ): Promise<void> {
    const { rows, header, writer } = this;
    const baseOffset = rows.baseOffsets[row]!;
    const sizeBytes = rows.sizesBytes[row]!;
    const bytes = this.isIntact(queue, row, read, at) ? read : await this.readAgain(queue, row);
    if (bytes === undefined) {
      // Not offered: nobody can decide about what nobody can read.
      await this.copyDamaged(queue, row, read, at);
      return;
    }
    const start = bytes === read ? at : 0;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    header.decode(view, start);
    this.lastStoreTimeMs = header.storeTimeMs;
    const payload = start + headerBytes;
    const endOffset = baseOffset + header.count;
    if (offer === undefined || endOffset > offer.request.untilOffset) {
      await writer.add(header, bytes, payload, sizeBytes);
      return;
    }
    const verdict = offer.request.decide(this.stamped(bytes, payload, sizeBytes), header.toFacts());
    offer.offeredEnd = endOffset;
    offer.bytesBefore += sizeBytes;
    if (verdict === 'drop' && endOffset < offer.visibleEndOffset()) return;
    if (!Buffer.isBuffer(verdict)) {
      offer.bytesAfter += sizeBytes;
      await writer.add(header, bytes, payload, sizeBytes);
      return;
    }
    const { format } = this.parts;
    const other = Buffer.from(verdict);
    format.stamp(other, 0, baseOffset, header.epoch);
    assert(format.isIntact(other, 0, other.length), 'what takes the place of a payload is an intact one');
    header.maxTimestampMs = format.largestTimestampMs?.(other, 0) ?? header.maxTimestampMs;
    offer.bytesAfter += other.length;
    await writer.add(header, other, 0, other.length);
  }

  /**
   * Reads of it go on to say that it is damaged. Where its header holds it stays as it is; else what is left of it becomes
   * the payload of an entry that says which offsets were lost.
   */
  private async copyDamaged(queue: QueueId, row: number, bytes: Buffer, at: number): Promise<void> {
    const { rows, header, writer } = this;
    const { crc32c, logger } = this.parts;
    const location = rows.locations[row]!;
    const baseOffset = rows.baseOffsets[row]!;
    const sizeBytes = rows.sizesBytes[row]!;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const isHeaderIntact = checkHeader(view, bytes, at, location, crc32c) === 'intact';
    const wasLost = isHeaderIntact && view.getUint8(at + 9) === kindLost;
    if (!wasLost) {
      this.tally.damaged++;
      logger.error(
        { queue, offset: baseOffset, place: describeLocation(location) },
        'an entry is damaged; it is kept as it is, and reads of it say so',
      );
    }
    if (isHeaderIntact && isHeaderOf(view, at, queue, baseOffset, sizeBytes)) {
      header.decode(view, at);
      await writer.add(header, bytes, at + headerBytes, sizeBytes);
      return;
    }
    const left = wasLost ? nothing : bytes.subarray(at, at + headerBytes + sizeBytes);
    // Ends in zeros, so that it names no further ranges.
    const payload = wasLost ? nothing : Buffer.concat([left, Buffer.alloc(8)]);
    const lost = new EntryHeader();
    lost.kind = kindLost;
    lost.queue = -queue;
    lost.baseOffset = baseOffset;
    lost.count = rows.counts[row]!;
    lost.maxTimestampMs = rows.maxTimestampsMs[row]!;
    lost.storeTimeMs = this.lastStoreTimeMs;
    lost.payloadChecksum = crc32c(payload, 0, payload.length);
    await writer.add(lost, payload, 0, payload.length, sizeBytes);
  }

  private stamped(bytes: Buffer, payload: number, sizeBytes: number): Buffer {
    const { format } = this.parts;
    const view = bytes.subarray(payload, payload + sizeBytes);
    const { baseOffset, epoch } = this.header;
    if (format.isStamped(view, 0, baseOffset, epoch)) return view;
    const copy = Buffer.from(view);
    format.stamp(copy, 0, baseOffset, epoch);
    return copy;
  }

  private isIntact(queue: QueueId, row: number, bytes: Buffer, at: number): boolean {
    const { crc32c, format } = this.parts;
    const { rows } = this;
    const sizeBytes = rows.sizesBytes[row]!;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return (
      at + headerBytes + sizeBytes <= bytes.length &&
      checkHeader(view, bytes, at, rows.locations[row]!, crc32c) === 'intact' &&
      isHeaderOf(view, at, queue, rows.baseOffsets[row]!, sizeBytes) &&
      format.isIntact(bytes, at + headerBytes, sizeBytes)
    );
  }

  /** What failed its check is read once more: only what the disk says twice is taken for damage. */
  private async readAgain(queue: QueueId, row: number): Promise<Buffer | undefined> {
    const location = this.rows.locations[row]!;
    const bytes = Buffer.alloc(entryBytes(this.rows.sizesBytes[row]!));
    await this.parts.segments.reader(segmentOf(location)).read(offsetIn(location), bytes);
    return this.isIntact(queue, row, bytes, 0) ? bytes : undefined;
  }
}

const nothing = Buffer.alloc(0);

interface LoadedRows {
  readonly buffers: readonly Buffer[];
  readonly places: Uint32Array;
}
