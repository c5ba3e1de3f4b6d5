/**
 * Requests that append wait here while the engine holds as much as it may of what the disk has not taken yet. The wait has a limit: on a
 * disk that hangs, those who waited so long, and those that follow, are let through to be refused, with nothing of theirs appended,
 * until there is room again. What was appended before is never refused: it may be kept yet, so its answer waits for the disk.
 */
import type { StorageEngine } from '../../storage/engine.ts';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';

export interface AppendRoomOptions {
  readonly engine: Pick<StorageEngine, 'appendRoom'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Read at every wait. */
  readonly longestWaitMs: () => number;
}

export class AppendRoom {
  /** The engine takes nothing since longer than the limit: appends are to be refused. */
  isOverdue = false;
  private readonly options: AppendRoomOptions;
  private waiting: Promise<void> | undefined;

  constructor(options: AppendRoomOptions) {
    this.options = options;
  }

  /** Undefined where a request may go on (to be refused, where `isOverdue`); else a promise to wait for before it is tried again. */
  whenRoom(): Promise<void> | undefined {
    if (this.isOverdue) return undefined;
    if (this.waiting !== undefined) return this.waiting;
    const room = this.options.engine.appendRoom();
    if (room === undefined) return undefined;
    this.waiting = this.wait(room).finally(() => {
      this.waiting = undefined;
    });
    return this.waiting;
  }

  private async wait(room: Promise<void>): Promise<void> {
    const { clock, log, longestWaitMs } = this.options;
    const waitMs = longestWaitMs();
    await new Promise<void>((resolve) => {
      const timer = clock.after(waitMs, () => {
        this.isOverdue = true;
        log.error(
          { waitMs },
          'the disk takes nothing; producers are refused with REQUEST_TIMED_OUT until it does',
        );
        resolve();
      });
      const given = (): void => {
        timer.cancel();
        if (this.isOverdue) log.warn({}, 'the disk takes records again');
        this.isOverdue = false;
        resolve();
      };
      // Whatever is wrong with the room, the handler hears it from the engine itself.
      room.then(given, given);
    });
  }
}
