/**
 * Rewrites queues: moves them out of the extents that they share with others. What is left of them goes to new extents behind the last one
 * that held them, and those that held them leave them out from then on. So it costs what these queues weigh, and extent order
 * stays offset order for every queue.
 */
import { assert } from '../../../util/assert.ts';
import type { QueueId, RewriteRequest, RewriteResult } from '../../engine.ts';
import type { EntryRows } from '../entry-rows.ts';
import { firstCleanedSegment, segmentOf } from '../location.ts';
import type { Extent, SizeChange } from '../manifest.ts';
import { QueueSet } from '../queue-set.ts';
import type { QueueState } from '../queue-state.ts';
import { type QueueSummary, RunDamagedError, type RunFile } from '../run-file.ts';
import type { CleanedWriter, FreshExtent } from './cleaned-writer.ts';
import type { CleanerParts, Copying } from './copying.ts';
import type { Offer } from './entry-copy.ts';
import { HeadCloses } from './head-closes.ts';
import { bytesFrom } from './space.ts';

/** More rewrites than this between two state snapshots, and a snapshot is taken for their sake. */
const maxSizeChanges = 4096;

/** However often a broker is started: of the segment numbers that are left no more than this part goes to closes that were saved up. */
const largestShareAtOnce = 0.001;

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

export class Rewrites {
  /** While sizes are about to change with the index. */
  committing: Promise<void> | undefined;

  private readonly parts: CleanerParts;
  private readonly copying: Copying;
  private readonly headCloses: HeadCloses;

  constructor(parts: CleanerParts, copying: Copying) {
    this.parts = parts;
    this.copying = copying;
    const { headClosesPerHour, savedHeadCloses } = parts.settings;
    const numbersLeft = firstCleanedSegment - segmentOf(parts.commitLog.appended);
    this.headCloses = new HeadCloses(parts.clock, {
      headClosesPerHour,
      savedHeadCloses: Math.min(savedHeadCloses, Math.max(1, Math.floor(numbersLeft * largestShareAtOnce))),
    });
  }

  async rewrite(requests: readonly RewriteRequest[]): Promise<readonly (RewriteResult | undefined)[]> {
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
        const writer = this.copying.newWriter(plan.extents);
        writers.push(writer);
        groups.push({ after, fresh: await this.copyMoved(plan, moved, writer) });
      }
      if (plan.moved.length > 0) {
        await maintenance.exclusive(() => {
          isWritten = true;
          return this.commitRewrite(plan, groups);
        });
      }
      this.copying.facts.rewrites++;
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
    const runs = this.copying.runsOf(extents);
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
    const copy = this.copying.newCopy(writer);
    for (const { state, offer, held } of moved) {
      const parts: { run: RunFile; summary: QueueSummary }[] = [];
      for (const at of held) parts.push({ run: runs[at]!, summary: (await runs[at]!.summary(state.id))! });
      await copy.add({ queue: state.id, parts, startOffset: state.startOffset, offer });
    }
    return this.copying.finishCopy(copy, writer);
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
        { nextCleanedSegment: this.copying.nextSegment, sizeChanges },
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
}
