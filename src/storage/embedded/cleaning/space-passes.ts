/** Gives space back: neighbouring extents of which little counts are copied, and the copy takes their place. */
import { assert } from '../../../util/assert.ts';
import type { Extent } from '../manifest.ts';
import { logEndOf } from '../manifest-keeper.ts';
import { RunDamagedError } from '../run-file.ts';
import type { CleanerParts, Copying } from './copying.ts';
import type { QueueParts } from './entry-copy.ts';
import { CleaningStoppedError } from './pacer.ts';
import { chooseWindows, type ExtentSpace, spaceOf, summariesByQueue } from './space.ts';

/** On a full disk an extent is copied when at most this part of it counts. */
const fullLiveShare = 0.9;

export class SpacePasses {
  private readonly parts: CleanerParts;
  private readonly copying: Copying;
  private readonly report: (error: unknown) => void;
  private readonly changed: () => void;
  /** Runs of extents that could not be copied: not tried again by this process. */
  private readonly refused = new Set<number>();

  /** `report`: a pass was given up. `changed`: there may be more to do. */
  constructor(parts: CleanerParts, copying: Copying, report: (error: unknown) => void, changed: () => void) {
    this.parts = parts;
    this.copying = copying;
    this.report = report;
    this.changed = changed;
  }

  async check(): Promise<void> {
    const { maintenance } = this.parts;
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
      this.changed();
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
    const runs = this.copying.runsOf(extents);
    for (const run of runs) run.retain();
    try {
      const spaces: ExtentSpace[] = [];
      for (let at = 0; at < extents.length; at++) {
        this.copying.pacer.check();
        spaces.push(await spaceOf(extents[at]!, runs[at]!, (queue) => queues.get(queue)?.startOffset));
      }
      this.copying.facts.liveBytes = spaces.reduce((sum, { liveBytes }) => sum + liveBytes, 0);
      this.copying.facts.reclaimableBytes = spaces.reduce(
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
      const runs = this.copying.runsOf(found);
      for (const run of runs) run.retain();
      return { extents: found, runs };
    });
    if (claimed === undefined) return; // merged meanwhile: the next check sees it
    const writer = this.copying.newWriter(maintenance.extents);
    let isWritten = false;
    try {
      const copy = this.copying.newCopy(writer);
      for await (const { queue, parts } of summariesByQueue(claimed.runs)) {
        const state = queues.get(queue);
        if (state === undefined) continue;
        const live = parts.filter(({ summary }) => summary.endOffset > state.startOffset);
        if (live.length > 0)
          await copy.add({ queue, parts: live, startOffset: state.startOffset } satisfies QueueParts);
      }
      const fresh = await this.copying.finishCopy(copy, writer);
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
          { nextCleanedSegment: this.copying.nextSegment },
          () => {},
        );
      });
      const sizeOf = (extents: readonly Extent[]): number =>
        extents.flatMap(({ segments }) => segments).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      this.copying.facts.reclaimedBytes +=
        sizeOf(claimed.extents) - sizeOf(fresh.map(({ extent }) => extent));
      this.copying.facts.spacePasses++;
    } catch (error) {
      if (!isWritten) await writer.abandon();
      throw error;
    } finally {
      maintenance.letGo(claimed.extents);
      for (const run of claimed.runs) run.release();
    }
  }
}

const passingCodes = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE']);

function isPassing(error: unknown): boolean {
  return passingCodes.has((error as { code?: string }).code ?? '') || error instanceof RunDamagedError;
}
