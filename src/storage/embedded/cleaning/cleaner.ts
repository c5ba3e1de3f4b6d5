/**
 * Frees space and rewrites queues, behind the appends and beside the reads. It works on extents only, copies what is kept to
 * segments of its own, and puts them in place by one change of the manifest; wherever that is cut off, the directory is as
 * before or as after.
 *
 * A rewrite moves the queues out of the extents that they share with others: what is left of them goes to new extents behind
 * the last one that held them, and those that held them leave them out from then on. So it costs what these queues weigh, and
 * extent order stays offset order for every queue. What nobody counts any more is reclaimed when at least half of an extent is such.
 */
import { assert } from '../../../util/assert.ts';
import type { Clock, Timer } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import type { PayloadFormat, QueueId, RewriteRequest, RewriteResult, SpaceFacts } from '../../engine.ts';
import type { Checksum } from '../checksum.ts';
import type { CommitLog } from '../commit-log.ts';
import type { ConsumeQueueIndex } from '../consume-queue-index.ts';
import type { DirectoryLayout } from '../directory-layout.ts';
import type { DiskSpace } from '../disk-space.ts';
import type { EntryRows } from '../entry-rows.ts';
import type { FileSystem } from '../file-system.ts';
import { firstCleanedSegment, segmentNumberLimit, segmentOf } from '../location.ts';
import type { Maintenance } from '../maintenance.ts';
import type { Extent, SizeChange } from '../manifest.ts';
import { logEndOf } from '../manifest-keeper.ts';
import { QueueSet } from '../queue-set.ts';
import type { QueueState } from '../queue-state.ts';
import type { RunContext } from '../run-build.ts';
import { type QueueSummary, RunDamagedError, type RunFile } from '../run-file.ts';
import type { SegmentFiles } from '../segment-files.ts';
import type { EmbeddedSettings } from '../settings.ts';
import { CleanedWriter, type FreshExtent } from './cleaned-writer.ts';
import { EntryCopy, type Offer, type QueueParts } from './entry-copy.ts';
import { HeadCloses } from './head-closes.ts';
import { CleaningStoppedError, Pacer } from './pacer.ts';
import { bytesFrom, chooseWindows, type ExtentSpace, spaceOf, summariesByQueue } from './space.ts';

/** More rewrites than this between two state snapshots, and a snapshot is taken for their sake. */
const maxSizeChanges = 4096;

/** On a full disk an extent is copied when at most this part of it counts. */
const fullLiveShare = 0.9;

export interface CleanerParts {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly format: PayloadFormat;
  readonly settings: EmbeddedSettings;
  readonly clock: Clock;
  readonly logger: Log;
  readonly epoch: number;
  readonly queues: ReadonlyMap<QueueId, QueueState>;
  readonly commitLog: CommitLog;
  readonly index: ConsumeQueueIndex;
  readonly maintenance: Maintenance;
  readonly segments: SegmentFiles;
  readonly runContext: RunContext;
  readonly space: DiskSpace;
  /** Closes the head segment, where it holds anything: the log goes on in the next. Rationed by the cleaner. */
  closeHead(): void;
}

/** One queue of a rewrite and where it lies. */
interface Moved {
  readonly state: QueueState;
  readonly offer: Offer;
  /** Places in the list of extents, ascending. */
  readonly held: readonly number[];
}

interface RewritePlan {
  readonly extents: readonly Extent[];
  /** Open for as long as the plan is. */
  readonly runs: readonly RunFile[];
  readonly moved: readonly Moved[];
  readonly results: (Offer | undefined)[];
  readonly touched: readonly Extent[];
}

/** The new extents that stand behind the one at that place. */
interface FreshGroup {
  readonly after: number;
  readonly fresh: readonly FreshExtent[];
}

export class Cleaner {
  private readonly parts: CleanerParts;
  private readonly pacer: Pacer;
  private readonly headCloses: HeadCloses;
  /** What is asked for is done one after the other. */
  private turn: Promise<unknown> = Promise.resolve();
  private nextSegment: number;
  private timer: Timer | undefined;
  private checkedAtMs: number;
  private committing: Promise<void> | undefined;
  private isStopped = false;
  /** Runs of extents that could not be copied: not tried again by this process. */
  private readonly refused = new Set<number>();
  private readonly facts = {
    liveBytes: 0,
    reclaimableBytes: 0,
    copiedBytes: 0,
    reclaimedBytes: 0,
    rewrites: 0,
    spacePasses: 0,
    failures: 0,
    damagedEntries: 0,
  };

  constructor(parts: CleanerParts) {
    this.parts = parts;
    this.pacer = new Pacer(parts.clock, parts.settings.cleanBytesPerSecond);
    this.headCloses = new HeadCloses(parts.clock, parts.settings);
    this.nextSegment = parts.maintenance.nextCleanedSegment ?? firstCleanedSegment;
    this.checkedAtMs = parts.clock.monotonicMs();
    if (parts.maintenance.extents.length > 0) this.checkSoon();
  }

  spaceFacts(): SpaceFacts {
    return { ...this.facts, appendedBytes: this.parts.commitLog.totalAppendedBytes };
  }

  /** Undefined, or what a change of a queue's start has to wait for: sizes are about to change with the index. */
  whenSettled(): Promise<void> | undefined {
    return this.committing;
  }

  /** See StorageEngine.rewrite. */
  rewrite(requests: readonly RewriteRequest[]): Promise<readonly (RewriteResult | undefined)[]> {
    const distinct = new Set(requests.map(({ queue }) => queue));
    assert(distinct.size === requests.length, 'a queue is in one request only');
    return this.inTurn(() => this.rewriteNow(requests));
  }

  /** See StorageEngine.rewriteReach. */
  async reach(queue: QueueId, untilOffset: number): Promise<number> {
    const { queues, index, commitLog } = this.parts;
    const state = queues.get(queue);
    if (state === undefined) return untilOffset;
    const until = Math.min(untilOffset, state.visibleEndOffset);
    const { startOffset } = state;
    if (until <= startOffset || this.headCloses.isAnyLeft) return until;
    const head = segmentOf(commitLog.appended);
    const isBehindHead = async (rows: EntryRows, row: number): Promise<boolean> =>
      segmentOf(rows.locations[row]!) !== head;
    const rows = await index.findLast(state, startOffset, until, isBehindHead);
    if (rows.length === 0) return startOffset;
    return rows.length > 1 ? Math.min(until, rows.baseOffsets[1]!) : until;
  }

  /** Something died: whether there is enough of it to do something is looked at before long. */
  checkSoon(): void {
    const { clock, settings, space } = this.parts;
    if (this.isStopped || (this.timer !== undefined && !space.isShort)) return;
    this.timer?.cancel();
    const sinceMs = clock.monotonicMs() - this.checkedAtMs;
    const intervalMs = space.isShort ? settings.fullRetryMs : settings.cleanCheckIntervalMs;
    this.timer = clock.after(Math.max(0, intervalMs - sinceMs), () => {
      this.timer = undefined;
      this.inTurn(() => this.check()).catch((error: unknown) => this.report(error));
    });
  }

  /** Gives up what is under way, so that the directory is at rest when it resolves. */
  async stop(): Promise<void> {
    this.isStopped = true;
    this.timer?.cancel();
    this.pacer.stop();
    await this.turn;
  }

  private inTurn<T>(action: () => Promise<T>): Promise<T> {
    const mine = this.turn.then(() => {
      if (this.isStopped) throw new CleaningStoppedError();
      return action();
    });
    this.turn = mine.catch(() => {});
    return mine;
  }

  private report(error: unknown): void {
    if (error instanceof CleaningStoppedError || this.parts.commitLog.hasFailed) return;
    this.facts.failures++;
    if (error instanceof RunDamagedError) this.parts.maintenance.repair(error);
    this.parts.logger.warn(
      { error: (error as Error).message },
      'a cleaning pass was given up; what it began is removed, and it is tried again later',
    );
    this.checkSoon();
  }

  // Rewriting.

  private async rewriteNow(
    requests: readonly RewriteRequest[],
  ): Promise<readonly (RewriteResult | undefined)[]> {
    const { maintenance } = this.parts;
    await this.bringIntoExtents(requests);
    const plan = await maintenance.exclusive(() => this.plan(requests));
    const groups: FreshGroup[] = [];
    const writers: CleanedWriter[] = [];
    let isWritten = false;
    try {
      const groupedBy = new Map<number, Moved[]>();
      for (const moved of plan.moved) {
        const after = moved.held.at(-1)!;
        groupedBy.set(after, [...(groupedBy.get(after) ?? []), moved]);
      }
      for (const [after, moved] of groupedBy) {
        const writer = this.newWriter(plan.extents);
        writers.push(writer);
        groups.push({ after, fresh: await this.copyMoved(plan, moved, writer) });
      }
      if (plan.moved.length > 0) {
        await maintenance.exclusive(() => {
          isWritten = true;
          return this.commitRewrite(plan, groups);
        });
      }
      this.facts.rewrites++;
    } catch (error) {
      // A manifest that was half written may name the new files: then they stay until the next start.
      if (!isWritten) for (const writer of writers) await writer.abandon();
      if (error instanceof RunDamagedError) maintenance.repair(error);
      throw error;
    } finally {
      maintenance.letGo(plan.touched);
      for (const run of plan.runs) run.release();
    }
    if (maintenance.pendingSizeChanges > maxSizeChanges) maintenance.snapshotSoon();
    maintenance.reclaimSoon();
    this.checkSoon();
    return plan.results.map((offer) =>
      offer === undefined || !this.parts.queues.has(offer.request.queue)
        ? undefined
        : {
            untilOffset: offer.offeredEnd,
            bytesBefore: offer.bytesBefore,
            bytesAfter: offer.bytesAfter,
          },
    );
  }

  /** What is asked for and lies in the head is sealed, and the head closed where the ration allows it: only extents are rewritten. */
  private async bringIntoExtents(requests: readonly RewriteRequest[]): Promise<void> {
    const { queues, index, commitLog, maintenance } = this.parts;
    let isAnyInHead = false;
    for (const { queue, untilOffset } of requests) {
      const state = queues.get(queue);
      if (state === undefined) continue;
      const until = Math.min(untilOffset, state.visibleEndOffset);
      if (until <= state.startOffset) continue;
      // Not simply the one at until - 1: in a gap that would be an entry behind it, which nobody asks for.
      const rows = await index.findLast(state, state.startOffset, until, async () => true);
      if (rows.length === 0) continue;
      const segment = segmentOf(rows.locations[0]!);
      if (segment >= maintenance.headSegment && segment < firstCleanedSegment) isAnyInHead = true;
      if (segment === segmentOf(commitLog.appended)) {
        if (this.headCloses.take()) this.parts.closeHead();
        break;
      }
    }
    if (isAnyInHead) await maintenance.exclusive(() => maintenance.promoteHead());
  }

  private async plan(requests: readonly RewriteRequest[]): Promise<RewritePlan> {
    const { queues, maintenance } = this.parts;
    const { extents } = maintenance;
    const runs = this.runsOf(extents);
    const results: (Offer | undefined)[] = [];
    const moved: Moved[] = [];
    for (const request of [...requests].sort((a, b) => a.queue - b.queue)) {
      const state = queues.get(request.queue);
      if (state === undefined) continue;
      const { startOffset } = state;
      const offer: Offer = {
        request: { ...request, untilOffset: Math.min(request.untilOffset, state.visibleEndOffset) },
        visibleEndOffset: () => state.visibleEndOffset,
        offeredEnd: Math.min(startOffset, request.untilOffset),
        bytesBefore: 0,
        bytesAfter: 0,
      };
      results[requests.indexOf(request)] = offer;
      const held: number[] = [];
      let last = -1;
      for (let at = 0; at < runs.length; at++) {
        const summary = await runs[at]!.summary(request.queue);
        if (summary === undefined || summary.endOffset <= startOffset) continue;
        held.push(at);
        if (summary.firstOffset < offer.request.untilOffset) last = held.length;
      }
      if (last > 0) moved.push({ state, offer, held: held.slice(0, last) });
    }
    const touched = [...new Set(moved.flatMap(({ held }) => held))].map((at) => extents[at]!);
    // Nothing waits from here on.
    maintenance.claim(touched);
    for (const run of runs) run.retain();
    for (let at = 0; at < requests.length; at++) results[at] ??= undefined;
    return { extents, runs, moved, results, touched };
  }

  private async copyMoved(
    { runs }: RewritePlan,
    moved: readonly Moved[],
    writer: CleanedWriter,
  ): Promise<readonly FreshExtent[]> {
    const copy = this.newCopy(writer);
    for (const { state, offer, held } of moved) {
      const parts: { run: RunFile; summary: QueueSummary }[] = [];
      for (const at of held) parts.push({ run: runs[at]!, summary: (await runs[at]!.summary(state.id))! });
      await copy.add({ queue: state.id, parts, startOffset: state.startOffset, offer });
    }
    return this.finishCopy(copy, writer);
  }

  private async commitRewrite(plan: RewritePlan, groups: readonly FreshGroup[]): Promise<void> {
    const { maintenance, queues } = this.parts;
    let settle: () => void = () => {};
    this.committing = new Promise((resolve) => {
      settle = resolve;
    });
    try {
      const fresh = groups.flatMap((group) => group.fresh);
      const sizeChanges: SizeChange[] = [];
      const sequence = maintenance.nextSizeSequence();
      for (const { state, held } of plan.moved) {
        if (!queues.has(state.id)) continue;
        const before = await bytesFrom(
          held.map((at) => plan.runs[at]!),
          state.id,
          state.startOffset,
        );
        const after = await bytesFrom(
          fresh.map(({ run }) => run),
          state.id,
          state.startOffset,
        );
        if (before !== after) sizeChanges.push({ queue: state.id, bytes: after - before, sequence });
      }
      const leftOut = new Map<Extent, QueueId[]>();
      for (const { state, held } of plan.moved) {
        for (const at of held) {
          const extent = plan.extents[at]!;
          leftOut.set(extent, [...(leftOut.get(extent) ?? []), state.id]);
        }
      }
      const behind = new Map(groups.map((group) => [plan.extents[group.after]!, group.fresh]));
      const extents: Extent[] = [];
      for (const extent of maintenance.extents) {
        const moved = leftOut.get(extent);
        extents.push(
          moved === undefined
            ? extent
            : { ...extent, without: QueueSet.parse(extent.without).plus(moved).text },
        );
        for (const one of behind.get(extent) ?? []) extents.push(one.extent);
      }
      assert(extents.length === maintenance.extents.length + fresh.length, 'what is claimed stays in place');
      await maintenance.replaceExtents(
        extents,
        fresh.map(({ run }) => run),
        { nextCleanedSegment: this.nextSegment, sizeChanges },
        () => {
          for (const { queue, bytes } of sizeChanges) {
            const state = queues.get(queue);
            if (state !== undefined) state.sizeBytes += bytes;
          }
          for (const { state } of plan.moved) state.rewrites++;
        },
      );
    } finally {
      this.committing = undefined;
      settle();
    }
  }

  // Space.

  private async check(): Promise<void> {
    const { maintenance, clock } = this.parts;
    this.checkedAtMs = clock.monotonicMs();
    const { windows, dead } = await this.measure();
    let isAnyBlocked = dead.some((extent) => logEndOf(extent) > maintenance.replayedFrom);
    for (const window of windows) {
      if (window.some((extent) => logEndOf(extent) > maintenance.replayedFrom)) {
        isAnyBlocked = true;
        continue;
      }
      try {
        await this.cleanWindow(window);
      } catch (error) {
        if (error instanceof CleaningStoppedError) throw error;
        // A disk without room will have some; bytes that cannot be read stay so.
        if (!isPassing(error)) for (const { run } of window) this.refused.add(run.number);
        this.report(error);
      }
    }
    if (windows.length > 0) {
      await this.measure();
      this.checkSoon();
    }
    // What keeps an extent is a start that would read it again: at the next check nothing does.
    if (isAnyBlocked) maintenance.snapshotSoon();
    else if (dead.length > 0) maintenance.reclaimSoon();
  }

  /** Looks at what of every extent counts. Answers what is worth copying, neighbours together, and what is wholly dead. */
  private async measure(): Promise<{
    readonly windows: readonly (readonly Extent[])[];
    readonly dead: readonly Extent[];
  }> {
    const { maintenance, settings, queues } = this.parts;
    const { extents } = maintenance;
    const runs = this.runsOf(extents);
    for (const run of runs) run.retain();
    try {
      const spaces: ExtentSpace[] = [];
      for (let at = 0; at < extents.length; at++) {
        this.pacer.check();
        spaces.push(await spaceOf(extents[at]!, runs[at]!, (queue) => queues.get(queue)?.startOffset));
      }
      this.facts.liveBytes = spaces.reduce((sum, { liveBytes }) => sum + liveBytes, 0);
      this.facts.reclaimableBytes = spaces.reduce(
        (sum, space) => sum + Math.max(0, space.totalBytes - space.liveBytes),
        0,
      );
      return {
        windows: this.parts.space.isShort
          ? this.windowsOnFullDisk(spaces)
          : chooseWindows(spaces, settings, (extent) => this.refused.has(extent.run.number)),
        dead: spaces.filter(({ liveBytes }) => liveBytes === 0).map(({ extent }) => extent),
      };
    } finally {
      for (const run of runs) run.release();
    }
  }

  /** On a full disk little gain is worth much work, as long as there is room for the copy. */
  private windowsOnFullDisk(spaces: readonly ExtentSpace[]): readonly (readonly Extent[])[] {
    const { settings, space } = this.parts;
    const { freeForCopies } = space;
    const tooLarge = new Set(
      spaces.filter(({ liveBytes }) => liveBytes > freeForCopies).map(({ extent }) => extent.run.number),
    );
    const limits = {
      ...settings,
      cleanLiveShare: fullLiveShare,
      segmentBytes: Math.min(settings.segmentBytes, freeForCopies),
      mergeWidth: Number.POSITIVE_INFINITY,
    };
    return chooseWindows(
      spaces,
      limits,
      ({ run }) => this.refused.has(run.number) || tooLarge.has(run.number),
    );
  }

  /** Puts the survivors of neighbouring extents in the place of them. */
  private async cleanWindow(window: readonly Extent[]): Promise<void> {
    const { maintenance, queues } = this.parts;
    const numbers = new Set(window.map(({ run }) => run.number));
    const claimed = await maintenance.exclusive(async () => {
      const found = maintenance.extents.filter(({ run }) => numbers.has(run.number));
      if (found.length !== window.length) return undefined;
      maintenance.claim(found);
      const runs = this.runsOf(found);
      for (const run of runs) run.retain();
      return { extents: found, runs };
    });
    if (claimed === undefined) return; // merged meanwhile: the next check sees it
    const writer = this.newWriter(maintenance.extents);
    let isWritten = false;
    try {
      const copy = this.newCopy(writer);
      for await (const { queue, parts } of summariesByQueue(claimed.runs)) {
        const state = queues.get(queue);
        if (state === undefined) continue;
        const live = parts.filter(({ summary }) => summary.endOffset > state.startOffset);
        if (live.length > 0)
          await copy.add({ queue, parts: live, startOffset: state.startOffset } satisfies QueueParts);
      }
      const fresh = await this.finishCopy(copy, writer);
      await maintenance.exclusive(async () => {
        const extents: Extent[] = [];
        for (const extent of maintenance.extents) {
          if (!numbers.has(extent.run.number)) extents.push(extent);
          else if (extent.run.number === claimed.extents[0]!.run.number) {
            extents.push(...fresh.map((one) => one.extent));
          }
        }
        assert(
          extents.length === maintenance.extents.length - window.length + fresh.length,
          'what is claimed stays in place',
        );
        isWritten = true;
        await maintenance.replaceExtents(
          extents,
          fresh.map(({ run }) => run),
          { nextCleanedSegment: this.nextSegment },
          () => {},
        );
      });
      const sizeOf = (extents: readonly Extent[]): number =>
        extents.flatMap(({ segments }) => segments).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      this.facts.reclaimedBytes += sizeOf(claimed.extents) - sizeOf(fresh.map(({ extent }) => extent));
      this.facts.spacePasses++;
    } catch (error) {
      if (!isWritten) await writer.abandon();
      throw error;
    } finally {
      maintenance.letGo(claimed.extents);
      for (const run of claimed.runs) run.release();
    }
  }

  // Both.

  private newCopy(writer: CleanedWriter): EntryCopy {
    const { segments, format, crc32c, logger, settings } = this.parts;
    return new EntryCopy(
      { segments, format, crc32c, logger, pacer: this.pacer, memoryBytes: settings.cleanMemoryBytes },
      writer,
    );
  }

  private async finishCopy(copy: EntryCopy, writer: CleanedWriter): Promise<readonly FreshExtent[]> {
    const tally = await copy.finish();
    const fresh = await writer.finish();
    this.facts.copiedBytes += writer.copiedBytes;
    this.facts.damagedEntries += tally.damaged;
    return fresh;
  }

  private newWriter(extents: readonly Extent[]): CleanedWriter {
    const { fileSystem, layout, crc32c, runContext, settings, epoch, commitLog } = this.parts;
    const taken = new Set(extents.flatMap(({ segments }) => segments.map(({ number }) => number)));
    return new CleanedWriter({
      fileSystem,
      layout,
      crc32c,
      runContext,
      pacer: this.pacer,
      segmentBytes: settings.segmentBytes,
      cutBytes: settings.cleanedCutBytes,
      epoch,
      durablePosition: () => commitLog.durable,
      takeSegment: () => this.takeSegment(taken),
    });
  }

  /** Numbers come round again, a quarter of a million later. */
  private takeSegment(taken: ReadonlySet<number>): number {
    for (let tries = segmentNumberLimit - firstCleanedSegment; tries > 0; tries--) {
      const number = this.nextSegment;
      this.nextSegment = number + 1 < segmentNumberLimit ? number + 1 : firstCleanedSegment;
      if (!taken.has(number)) return number;
    }
    throw new Error(
      `there are ${segmentNumberLimit - firstCleanedSegment} cleaned segments, and no number is left`,
    );
  }

  private runsOf(extents: readonly Extent[]): RunFile[] {
    const open = new Map(this.parts.index.runs.map((run) => [run.reference.number, run]));
    return extents.map(({ run }) => open.get(run.number)!);
  }
}

const passingCodes = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE']);

function isPassing(error: unknown): boolean {
  return passingCodes.has((error as { code?: string }).code ?? '') || error instanceof RunDamagedError;
}
