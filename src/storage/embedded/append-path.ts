/**
 * The one way into the log: a group is checked (leases, conditions, producers, room), given its offsets and put into the slabs, all in
 * one go, and so are the engine's own changes. Nothing here waits for the disk; what waits is in the parts.
 */
import { assert } from '../../util/assert.ts';
import type { Clock } from '../../util/clock.ts';
import { NoRoomError } from '../../util/no-room-error.ts';
import type { CatalogueTable } from '../catalogue-table.ts';
import type {
  AppendEntry,
  AppendGroup,
  AppendResult,
  IndexChange,
  IndexCondition,
  LinkSource,
  PayloadFormat,
  QueueId,
  RefusalReason,
} from '../engine.ts';
import type { ProducerWindow, SequenceVerdict } from '../producer-window.ts';
import { offsetsFrom, withOffsets } from '../row-offsets.ts';
import { byteString } from '../sorted-map.ts';
import { applyEngineChange } from './apply-change.ts';
import type { Checksum } from './checksum.ts';
import type { CommitLog } from './commit-log.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import type { DiskSpace, WriteGrade } from './disk-space.ts';
import { type EngineChange, encodeEngineChange, encodeIndexChanges } from './engine-changes.ts';
import {
  EntryHeader,
  entryBytes,
  flagLastOfGroup,
  flagSync,
  headerBytes,
  kindCode,
  kindEngineChanges,
  kindIndexChanges,
} from './entry-header.ts';
import { GroupSequences } from './group-sequences.ts';
import type { LinkedPayloads } from './linked-payloads.ts';
import { offsetIn, segmentOf } from './location.ts';
import type { SegmentReference } from './manifest.ts';
import type { IndexPin, IndexStore } from './ordered-index/index-store.ts';
import type { QueueReads } from './queue-reads.ts';
import type { QueueState } from './queue-state.ts';
import type { QueueVisibility } from './queue-visibility.ts';

export interface AppendPathParts {
  readonly format: PayloadFormat;
  readonly crc32c: Checksum;
  readonly clock: Clock;
  readonly stampOffsets: boolean;
  readonly maxSealedTables: number;
  readonly epoch: number;
  readonly lastStoreTimeMs: number;
  readonly queues: Map<QueueId, QueueState>;
  readonly table: CatalogueTable;
  readonly leaseEpochs: Map<string, number>;
  /** Epochs that this process holds. */
  readonly leases: ReadonlyMap<string, { readonly epoch: number }>;
  readonly window: ProducerWindow;
  readonly queueIndex: ConsumeQueueIndex;
  readonly orderedIndex: IndexStore;
  readonly commitLog: CommitLog;
  readonly space: DiskSpace;
  readonly visibility: QueueVisibility;
  readonly reads: QueueReads;
  readonly linked: LinkedPayloads;
  /** The log goes on in a new segment. */
  segmentSealed(segment: SegmentReference): void;
  /** After every group. */
  grew(): void;
}

interface UnsettledChanges {
  readonly sequence: number;
  readonly end: number;
}

/** The payload of an entry of the group: its own bytes, or those of the entry that it links to. */
type Sources = readonly Buffer[];

const largestGroupBytes = 2 ** 31;
const notAppended: AppendResult = { outcome: 'not-appended' };

export class AppendPath {
  /** Why nothing more is taken; undefined while it is. */
  refusal: RefusalReason | undefined;
  lastStoreTimeMs: number;

  private readonly format: PayloadFormat;
  private readonly crc32c: Checksum;
  private readonly clock: Clock;
  private readonly stampOffsets: boolean;
  private readonly maxSealedTables: number;
  private readonly epoch: number;
  private readonly queues: Map<QueueId, QueueState>;
  private readonly table: CatalogueTable;
  private readonly leaseEpochs: Map<string, number>;
  private readonly leases: ReadonlyMap<string, { readonly epoch: number }>;
  private readonly window: ProducerWindow;
  private readonly queueIndex: ConsumeQueueIndex;
  private readonly orderedIndex: IndexStore;
  private readonly commitLog: CommitLog;
  private readonly space: DiskSpace;
  private readonly visibility: QueueVisibility;
  private readonly reads: QueueReads;
  private readonly linked: LinkedPayloads;
  private readonly sequences = new GroupSequences();
  private readonly segmentSealed: (segment: SegmentReference) => void;
  private readonly grew: () => void;
  private readonly header = new EntryHeader();
  private unsettled: UnsettledChanges[] = [];

  constructor(parts: AppendPathParts) {
    this.format = parts.format;
    this.crc32c = parts.crc32c;
    this.clock = parts.clock;
    this.stampOffsets = parts.stampOffsets;
    this.maxSealedTables = parts.maxSealedTables;
    this.epoch = parts.epoch;
    this.lastStoreTimeMs = parts.lastStoreTimeMs;
    this.queues = parts.queues;
    this.table = parts.table;
    this.leaseEpochs = parts.leaseEpochs;
    this.leases = parts.leases;
    this.window = parts.window;
    this.queueIndex = parts.queueIndex;
    this.orderedIndex = parts.orderedIndex;
    this.commitLog = parts.commitLog;
    this.space = parts.space;
    this.visibility = parts.visibility;
    this.reads = parts.reads;
    this.linked = parts.linked;
    this.segmentSealed = (segment) => parts.segmentSealed(segment);
    this.grew = () => parts.grew();
  }

  append(group: AppendGroup): Promise<readonly AppendResult[]> {
    const { entries, conditions } = group;
    if (conditions !== undefined && conditions.length > 0) return this.appendPrepared(group, conditions);
    if (group.sequence !== undefined) return this.appendPrepared(group, []);
    for (let at = 0; at < entries.length; at++) {
      if (!Buffer.isBuffer(entries[at]!.payload)) return this.appendPrepared(group, []);
    }
    return this.fix(group, undefined);
  }

  /** Links are fetched and condition rows loaded; then everything is checked and fixed at once. */
  private async appendPrepared(
    group: AppendGroup,
    conditions: readonly IndexCondition[],
  ): Promise<readonly AppendResult[]> {
    const pins = conditions.map(({ index, key }) => this.orderedIndex.pin(index, key));
    const expected = conditions.map((condition) => condition.expected && byteString(condition.expected));
    const turn = group.sequence === undefined ? undefined : this.sequences.take(group.sequence);
    try {
      const copied = withOwnPayloads(group);
      const loaded = loadAll(pins);
      // Met below, if the sources do not fail first.
      loaded.catch(() => {});
      const sources = await this.fetchSources(copied.entries);
      await loaded;
      await turn?.before;
      // What is known may be taken back while others are waited for.
      while (pins.some((pin) => pin.isUnknown)) await loadAll(pins);
      if (this.refusal === undefined && !pins.every((pin, at) => pin.holds(expected[at]!))) {
        return refuseAll(group, this.fenceRefusal(group) ?? 'condition-failed');
      }
      const fixed = this.fix(copied, sources);
      turn?.done();
      return await fixed;
    } finally {
      turn?.done();
      for (const pin of pins) pin.release();
    }
  }

  /** The payloads to store; undefined stands for a link whose source is missing. */
  private async fetchSources(entries: readonly AppendEntry[]): Promise<(Buffer | undefined)[]> {
    const links: LinkSource[] = [];
    for (const { payload } of entries) if (!Buffer.isBuffer(payload)) links.push(payload);
    const linked = links.length > 1 ? await this.linked.fetch(links) : [];
    const sources: (Buffer | undefined)[] = [];
    let link = 0;
    for (const { payload } of entries) {
      if (Buffer.isBuffer(payload)) sources.push(payload);
      else sources.push(linked[link++] ?? (await this.fetchLinked(payload)));
    }
    return sources;
  }

  private async fetchLinked({ queue, offset }: LinkSource): Promise<Buffer | undefined> {
    const state = this.queues.get(queue);
    if (state === undefined || offset < state.startOffset || offset >= state.visibleEndOffset)
      return undefined;
    const result = await this.reads.read(queue, { fromOffset: offset, maxBytes: 0, atLeastOne: true });
    if (result.outcome !== 'read') return undefined;
    // In a gap the read goes on with the next entry, which is not the one that was meant.
    const isThere = result.payloads.length > 0 && result.baseOffset <= offset;
    const copy = isThere ? Buffer.concat(result.payloads) : undefined;
    result.release();
    return copy;
  }

  private fenceRefusal({ fences }: AppendGroup): RefusalReason | undefined {
    if (fences === undefined) return undefined;
    for (const { lease, epoch } of fences) if (this.leases.get(lease)?.epoch !== epoch) return 'stale-lease';
    return undefined;
  }

  /** Checks the group and puts it into the log, all in one go. `sources`: payloads where the entries' own do not do. */
  private fix(
    group: AppendGroup,
    sources: readonly (Buffer | undefined)[] | undefined,
  ): Promise<readonly AppendResult[]> {
    const reason = this.refusal ?? (this.cannotWrite() ? 'storage-fault' : this.fenceRefusal(group));
    if (reason !== undefined) return Promise.resolve(refuseAll(group, reason));
    const { entries } = group;
    let grade: WriteGrade = 'state';
    const queues: QueueState[] = new Array(entries.length);
    let totalBytes = 0;
    let isRefused = false;
    let hasProducers = false;
    for (let at = 0; at < entries.length; at++) {
      const entry = entries[at]!;
      const queue = this.queues.get(entry.queue);
      const payload = sources === undefined ? (entry.payload as Buffer) : sources[at];
      assert(entry.count >= 1, 'an entry takes at least one offset');
      if (queue === undefined || payload === undefined) {
        isRefused = true;
        continue;
      }
      queues[at] = queue;
      totalBytes += entryBytes(payload.length);
      if (entry.producer !== undefined) hasProducers = true;
      if (entry.kind === 'data') grade = 'data';
    }
    const verdicts = hasProducers ? this.checkProducers(entries) : undefined;
    if (isRefused || verdicts !== undefined) return this.refuse(group, sources, queues, verdicts);
    const changes =
      group.changes === undefined || group.changes.length === 0
        ? undefined
        : this.changesWithOffsets(group.changes, entries, queues);
    const changeBytes = changes === undefined ? undefined : encodeIndexChanges(changes);
    if (changeBytes !== undefined) totalBytes += entryBytes(changeBytes.length);
    if (totalBytes === 0) return this.answerNothing();
    assert(totalBytes < largestGroupBytes, 'a group is far smaller than a segment can be');
    if (!this.space.admits(grade, totalBytes)) return Promise.resolve(refuseAll(group, 'storage-fault'));
    return this.place(
      group,
      (sources ?? undefined) as Sources | undefined,
      queues,
      totalBytes,
      changes,
      changeBytes,
    );
  }

  private changesWithOffsets(
    changes: readonly IndexChange[],
    entries: readonly AppendEntry[],
    queues: readonly QueueState[],
  ): readonly IndexChange[] {
    let offsets: readonly number[] | undefined;
    return withOffsets(changes, (entry) => {
      offsets ??= offsetsFrom(entries, (at) => queues[at]!.nextOffset);
      return offsets[entry]!;
    });
  }

  private cannotWrite(): boolean {
    return this.commitLog.isFull || this.queueIndex.frozenCount > this.maxSealedTables * 8;
  }

  private checkProducers(
    entries: readonly AppendEntry[],
  ): readonly (SequenceVerdict | undefined)[] | undefined {
    if (entries.length > 1) return this.window.checkGroup(entries.map((entry) => entry.producer));
    const verdict = this.window.check(entries[0]!.producer!);
    return verdict.kind === 'next' ? undefined : [verdict];
  }

  /** A group of conditions only, which hold. */
  private answerNothing(): Promise<readonly AppendResult[]> {
    return Promise.resolve([
      { outcome: 'appended', baseOffset: -1, storeTimeMs: this.nextStoreTimeMs(), logStartOffset: -1 },
    ]);
  }

  private refuse(
    group: AppendGroup,
    sources: readonly (Buffer | undefined)[] | undefined,
    queues: readonly (QueueState | undefined)[],
    verdicts: readonly (SequenceVerdict | undefined)[] | undefined,
  ): Promise<readonly AppendResult[]> {
    let neededDurable = 0;
    let hasDuplicate = false;
    const results = group.entries.map((_, at): AppendResult => {
      const queue = queues[at];
      const verdict = verdicts?.[at];
      if (queue === undefined) {
        const isUnknown = !this.queues.has(group.entries[at]!.queue);
        if (isUnknown) return { outcome: 'refused', reason: 'unknown-queue' };
        assert(sources !== undefined, 'only links can be missing');
        return { outcome: 'refused', reason: 'link-source-missing' };
      }
      if (verdict === undefined || verdict.kind === 'next') return notAppended;
      if (verdict.kind !== 'duplicate') return { outcome: 'refused', reason: verdict.kind };
      hasDuplicate = true;
      neededDurable = Math.max(
        neededDurable,
        queue.neededDurable,
        group.durability === 'sync' ? this.commitLog.appended : 0,
      );
      const { baseOffset, storeTimeMs } = verdict;
      return { outcome: 'duplicate', baseOffset, storeTimeMs, logStartOffset: queue.startOffset };
    });
    if (!hasDuplicate) return Promise.resolve(results);
    // The first of them may not be as safe yet as this answer says.
    const answered = this.visibility.addAnswer(this.commitLog.appended, neededDurable, results);
    if (neededDurable > this.commitLog.durable) this.commitLog.requestFlush(neededDurable);
    this.progressed();
    return answered;
  }

  private place(
    group: AppendGroup,
    sources: Sources | undefined,
    queues: readonly QueueState[],
    totalBytes: number,
    changes: readonly IndexChange[] | undefined,
    changeBytes: Buffer | undefined,
  ): Promise<readonly AppendResult[]> {
    const { commitLog, header, epoch } = this;
    const { entries } = group;
    const isSync = group.durability === 'sync';
    const storeTimeMs = this.begin(totalBytes);
    header.group = commitLog.appended;
    header.epoch = epoch;
    header.storeTimeMs = storeTimeMs;
    header.durablePosition = commitLog.durable;
    const results: AppendResult[] = new Array(entries.length);
    const endOffsets: number[] = new Array(entries.length);
    const sizesBytes: number[] = new Array(entries.length);
    const last = changeBytes === undefined ? entries.length - 1 : entries.length;
    for (let at = 0; at < entries.length; at++) {
      const entry = entries[at]!;
      const queue = queues[at]!;
      const payload = sources === undefined ? (entry.payload as Buffer) : sources[at]!;
      const baseOffset = queue.nextOffset;
      const endOffset = baseOffset + entry.count;
      const sizeBytes = payload.length;
      const location = commitLog.appended;
      header.kind = kindCode(entry.kind);
      header.flags = (isSync ? flagSync : 0) | (at === last ? flagLastOfGroup : 0);
      header.payloadBytes = sizeBytes;
      header.location = location;
      header.queue = entry.queue;
      header.baseOffset = baseOffset;
      header.count = entry.count;
      header.maxTimestampMs = entry.maxTimestampMs;
      header.payloadChecksum = 0;
      header.setProducer(entry.producer);
      this.put(payload, this.stampOffsets, baseOffset, false);
      queue.nextOffset = endOffset;
      queue.sizeBytes += sizeBytes;
      this.queueIndex.add(
        queue,
        location,
        baseOffset,
        entry.count,
        sizeBytes,
        entry.maxTimestampMs,
        storeTimeMs,
      );
      if (entry.producer !== undefined) {
        this.window.record(entry.producer, {
          baseOffset,
          lastOffset: endOffset - 1,
          storeTimeMs,
          maxTimestampMs: entry.maxTimestampMs,
        });
      }
      endOffsets[at] = endOffset;
      sizesBytes[at] = sizeBytes;
      results[at] = { outcome: 'appended', baseOffset, storeTimeMs, logStartOffset: queue.startOffset };
    }
    if (changeBytes !== undefined) this.placeOwn(kindIndexChanges, changeBytes, isSync);
    if (entries.length === 0) {
      results.push({ outcome: 'appended', baseOffset: -1, storeTimeMs, logStartOffset: -1 });
    }
    const end = commitLog.appended;
    if (changes !== undefined) this.applyChanges(changes, end);
    const answered = this.visibility.add(
      end,
      isSync,
      commitLog.durable,
      queues,
      endOffsets,
      sizesBytes,
      results,
    );
    commitLog.endGroup(isSync, group.flushWithinMs);
    this.grew();
    return answered;
  }

  /** Makes room for a group. Answers its store time. */
  private begin(totalBytes: number): number {
    const { commitLog } = this;
    this.space.spent(totalBytes);
    const storeTimeMs = this.nextStoreTimeMs();
    const before = commitLog.appended;
    if (commitLog.beginGroup(totalBytes, this.epoch, storeTimeMs)) {
      this.segmentSealed({
        number: segmentOf(before),
        sizeBytes: offsetIn(before) + headerBytes,
      });
    }
    return storeTimeMs;
  }

  private nextStoreTimeMs(): number {
    const nowMs = this.clock.nowMs();
    if (nowMs > this.lastStoreTimeMs) this.lastStoreTimeMs = nowMs;
    return this.lastStoreTimeMs;
  }

  /** Copies the payload into the log behind `header`, which is complete but for what depends on the copy. */
  private put(payload: Buffer, isStamped: boolean, baseOffset: number, isOwn: boolean): void {
    const { header } = this;
    const sizeBytes = payload.length;
    const bytes = entryBytes(sizeBytes);
    const slab = this.commitLog.place(bytes);
    const at = slab.used - bytes;
    const start = at + headerBytes;
    const end = start + sizeBytes;
    payload.copy(slab.bytes, start);
    if (isStamped) this.format.stamp(slab.bytes, start, baseOffset, this.epoch);
    else if (!isOwn) this.format.stamp(slab.bytes, start, 0, 0);
    if (isOwn) header.payloadChecksum = this.crc32c(slab.bytes, start, end);
    for (let pad = end; pad < slab.used; pad++) slab.bytes[pad] = 0;
    header.encode(slab.view, slab.bytes, at, this.crc32c);
  }

  /** An entry of the engine's own, the last of its group. */
  private placeOwn(kind: number, payload: Buffer, isSync: boolean): void {
    const { header } = this;
    header.kind = kind;
    header.flags = flagLastOfGroup | (isSync ? flagSync : 0);
    header.payloadBytes = payload.length;
    header.location = this.commitLog.appended;
    header.queue = 0;
    header.baseOffset = 0;
    header.count = 0;
    header.maxTimestampMs = -1;
    header.setProducer(undefined);
    this.put(payload, false, 0, true);
  }

  private applyChanges(changes: readonly IndexChange[], end: number): void {
    this.unsettled.push({ sequence: this.orderedIndex.apply(changes), end });
  }

  /** A change of the engine's own, in the log; done to the state at once. Resolves when durable. */
  async appendChange(change: EngineChange, grade: WriteGrade): Promise<void> {
    const payload = encodeEngineChange(change);
    this.mustWrite(grade, payload.length);
    const { commitLog, header } = this;
    header.storeTimeMs = this.begin(entryBytes(payload.length));
    header.group = commitLog.appended;
    header.epoch = this.epoch;
    header.durablePosition = commitLog.durable;
    this.placeOwn(kindEngineChanges, payload, true);
    const end = commitLog.appended;
    applyEngineChange(change, this.queues, this.table, this.leaseEpochs);
    commitLog.endGroup(true, undefined);
    this.grew();
    await commitLog.whenDurable(end);
  }

  /** Changes of the engine's own have no refusal to answer. */
  mustWrite(grade: WriteGrade, bytes: number): void {
    if (this.refusal === 'closing') throw new Error('the storage engine is closed or closing');
    if (this.refusal !== undefined) throw new Error('the storage engine has failed');
    if (this.cannotWrite() || !this.space.admits(grade, bytes)) {
      throw new NoRoomError('the disk is full: nothing can be written until there is room');
    }
  }

  closeHead(): void {
    const { commitLog } = this;
    const before = commitLog.appended;
    if (!commitLog.closeSegment(this.epoch, this.nextStoreTimeMs())) return;
    this.segmentSealed({
      number: segmentOf(before),
      sizeBytes: offsetIn(before) + headerBytes,
    });
    commitLog.endGroup(true, undefined);
  }

  progressed(): void {
    const { written, durable } = this.commitLog;
    let settled = -1;
    let count = 0;
    for (; count < this.unsettled.length && this.unsettled[count]!.end <= durable; count++) {
      settled = this.unsettled[count]!.sequence;
    }
    if (count > 0) {
      this.unsettled = this.unsettled.slice(count);
      this.orderedIndex.settle(settled);
    }
    this.visibility.progress(written, durable);
  }
}

async function loadAll(pins: readonly IndexPin[]): Promise<void> {
  const unknown = pins.filter((pin) => pin.isUnknown);
  if (unknown.length > 0) await Promise.all(unknown.map((pin) => pin.load()));
}

/** The group with payloads that its caller cannot change any more. */
function withOwnPayloads(group: AppendGroup): AppendGroup {
  const entries = group.entries.map((entry) =>
    Buffer.isBuffer(entry.payload) ? { ...entry, payload: Buffer.from(entry.payload) } : entry,
  );
  const changes = group.changes?.map((change) => ({
    ...change,
    key: Buffer.from(change.key),
    value: change.value === null ? null : Buffer.from(change.value),
  }));
  return { ...group, entries, ...(changes === undefined ? {} : { changes }) };
}

function refuseAll(group: AppendGroup, reason: RefusalReason): readonly AppendResult[] {
  const refused: AppendResult = { outcome: 'refused', reason };
  return group.entries.length === 0 ? [refused] : group.entries.map(() => refused);
}
