/**
 * Frees space and rewrites queues, behind the appends and beside the reads. It works on extents only, copies what is kept to
 * segments of its own, and puts them in place by one change of the manifest; wherever that is cut off, the directory is as
 * before or as after.
 *
 * This file says what is done when; how is in rewrites.ts and space-passes.ts. What nobody counts any more is reclaimed when at least
 * half of an extent is such.
 */
import { assert } from '../../../util/assert.ts';
import type { Timer } from '../../../util/clock.ts';
import type { QueueId, RewriteRequest, RewriteResult, SpaceFacts } from '../../engine.ts';
import { RunDamagedError } from '../run-file.ts';
import { type CleanerParts, Copying } from './copying.ts';
import { CleaningStoppedError } from './pacer.ts';
import { Rewrites } from './rewrites.ts';
import { SpacePasses } from './space-passes.ts';

export class Cleaner {
  private readonly parts: CleanerParts;
  private readonly copying: Copying;
  private readonly rewrites: Rewrites;
  private readonly spacePasses: SpacePasses;
  /** What is asked for is done one after the other. */
  private turn: Promise<unknown> = Promise.resolve();
  private timer: Timer | undefined;
  private checkedAtMs: number;
  private isStopped = false;

  constructor(parts: CleanerParts) {
    this.parts = parts;
    this.copying = new Copying(parts);
    this.rewrites = new Rewrites(parts, this.copying);
    this.spacePasses = new SpacePasses(
      parts,
      this.copying,
      (error) => this.report(error),
      () => this.checkSoon(),
    );
    this.checkedAtMs = parts.clock.monotonicMs();
    if (parts.maintenance.extents.length > 0) this.checkSoon();
  }

  spaceFacts(): SpaceFacts {
    return { ...this.copying.facts, appendedBytes: this.parts.commitLog.totalAppendedBytes };
  }

  /** Undefined, or what a change of a queue's start has to wait for: sizes are about to change with the index. */
  whenSettled(): Promise<void> | undefined {
    return this.rewrites.committing;
  }

  /** See StorageEngine.rewrite. */
  rewrite(requests: readonly RewriteRequest[]): Promise<readonly (RewriteResult | undefined)[]> {
    const distinct = new Set(requests.map(({ queue }) => queue));
    assert(distinct.size === requests.length, 'a queue is in one request only');
    return this.inTurn(async () => {
      const results = await this.rewrites.rewrite(requests);
      this.checkSoon();
      return results;
    });
  }

  /** See StorageEngine.rewriteReach. */
  reach(queue: QueueId, untilOffset: number): Promise<number> {
    return this.rewrites.reach(queue, untilOffset);
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
      this.inTurn(() => {
        this.checkedAtMs = clock.monotonicMs();
        return this.spacePasses.check();
      }).catch((error: unknown) => this.report(error));
    });
  }

  /** Gives up what is under way, so that the directory is at rest when it resolves. */
  async stop(): Promise<void> {
    this.isStopped = true;
    this.timer?.cancel();
    this.copying.pacer.stop();
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
    this.copying.facts.failures++;
    if (error instanceof RunDamagedError) this.parts.maintenance.repair(error);
    this.parts.logger.warn(
      { error: (error as Error).message },
      'a cleaning pass was given up; what it began is removed, and it is tried again later',
    );
    this.checkSoon();
  }
}
