/**
 * What a start knows: what its manifest and snapshots said, and what each entry of the log behind them did to it. Every part has a
 * place in the log of its own up to which it is known already, so an entry counts for some parts and not for others.
 */
import { assert } from '../../util/assert.ts';
import { CatalogueTable } from '../catalogue-table.ts';
import type { QueueId } from '../engine.ts';
import type { ProducerWindow } from '../producer-window.ts';
import { applyEngineChange } from './apply-change.ts';
import { ConsumeQueueIndex } from './consume-queue-index.ts';
import type { FrozenTable } from './consume-queue-table.ts';
import { decodeEngineChange, decodeIndexChanges, type EngineChange } from './engine-changes.ts';
import {
  type EntryHeader,
  isQueueKind,
  kindEngineChanges,
  kindIndexChanges,
  kindLost,
} from './entry-header.ts';
import { decodeLostRanges, type LostRange } from './lost-entry.ts';
import type { Manifest, SegmentReference } from './manifest.ts';
import type { IndexStore } from './ordered-index/index-store.ts';
import type { QueueState } from './queue-state.ts';

export class LogReplay {
  readonly queues = new Map<QueueId, QueueState>();
  readonly table = new CatalogueTable();
  readonly leases = new Map<string, number>();
  readonly window: ProducerWindow;
  readonly index = new ConsumeQueueIndex();
  /** Set before the first entry comes. */
  orderedIndex: IndexStore | undefined;
  /** Tables of the segments that ended. */
  readonly frozen: FrozenTable[] = [];
  readonly headSealed: SegmentReference[];
  lastStoreTimeMs: number;
  largestEpoch: number;

  private readonly manifest: Manifest;
  private readonly indexedTo: number;

  constructor(manifest: Manifest, window: ProducerWindow) {
    this.manifest = manifest;
    this.window = window;
    this.headSealed = [...manifest.headSealed];
    this.indexedTo = manifest.indexedTo;
    this.lastStoreTimeMs = manifest.lastStoreTimeMs;
    this.largestEpoch = manifest.logEpoch;
  }

  /** One entry of the log, into whatever is older than it. */
  entry(header: EntryHeader, payload: Buffer): void {
    const { manifest } = this;
    const { location, kind } = header;
    if (header.storeTimeMs > this.lastStoreTimeMs) this.lastStoreTimeMs = header.storeTimeMs;
    if (header.epoch > this.largestEpoch) this.largestEpoch = header.epoch;
    if (kind === kindIndexChanges) {
      const { orderedIndex } = this;
      assert(orderedIndex !== undefined, 'the ordered index is opened before the log is read');
      if (location < manifest.orderedIndex.position) return;
      orderedIndex.settle(orderedIndex.apply(decodeIndexChanges(payload)));
      return;
    }
    if (kind === kindEngineChanges) {
      this.replayChange(decodeEngineChange(payload), location);
      return;
    }
    if (kind === kindLost) {
      for (const range of decodeLostRanges(header, payload)) this.replayLost(range, header);
      return;
    }
    if (!isQueueKind(kind)) return;
    const { baseOffset, count, payloadBytes, maxTimestampMs, storeTimeMs, producer } = header;
    const queue = this.queues.get(header.queue);
    if (queue !== undefined) {
      if (location >= manifest.state.position) {
        queue.nextOffset = Math.max(queue.nextOffset, baseOffset + count);
        queue.sizeBytes += payloadBytes;
      }
      if (location >= this.indexedTo) {
        this.index.add(queue, location, baseOffset, count, payloadBytes, maxTimestampMs, storeTimeMs);
      }
    }
    if (producer !== undefined && location >= manifest.producers.position) {
      this.window.record(producer, {
        baseOffset,
        lastOffset: baseOffset + count - 1,
        storeTimeMs,
        maxTimestampMs,
      });
    }
  }

  /** Offsets that a repair could not save: taken, and a read of them is answered that they are damaged. */
  private replayLost({ queue: id, from, to }: LostRange, { location, storeTimeMs }: EntryHeader): void {
    const queue = this.queues.get(id);
    if (queue === undefined) return;
    if (location >= this.manifest.state.position) queue.nextOffset = Math.max(queue.nextOffset, to);
    if (location >= this.indexedTo) this.index.add(queue, location, from, to - from, 0, -1, storeTimeMs);
  }

  private replayChange(change: EngineChange, location: number): void {
    const { manifest } = this;
    if (change.op === 'catalogue' && location >= manifest.producers.position) {
      for (const id of change.dropQueues) this.window.dropQueue(id);
    }
    if (location < manifest.state.position) return;
    applyEngineChange(change, this.queues, this.table, this.leases);
  }

  segmentEnded(segment: SegmentReference, next: number): void {
    const isKnown =
      segment.number < this.manifest.headSegment ||
      this.headSealed.some((known) => known.number === segment.number);
    if (!isKnown) this.headSealed.push(segment);
    if (next <= this.indexedTo) return;
    const from = this.frozen.at(-1)?.to ?? this.indexedTo;
    this.frozen.push(this.index.freeze(from, next));
  }
}
