/**
 * Keeps the engine able to free a disk that is full. A trim, a dropped queue, a seal, a manifest all need a little room before any
 * segment can go, so two things are held back from the data: a reserve of files that are really written, given back to the file
 * system when somebody meets ENOSPC (another program may have filled the disk), and a low-water mark of free space at which data is
 * refused early (the broker itself filled it). What was given back is taken again when there is room.
 *
 * Who may write what is decided at once, by what the volume said last and what was appended since; the volume is asked again as the
 * mark comes near, and on a timer only while space is short. Knows nothing of what is written.
 */
import type { Clock, Timer } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import { errorCodeOf, type FileSystem } from './file-system.ts';

/**
 * `data`: what clients store. `state`: what the broker notes for them (committed offsets, leases, new topics). `freeing`: what leads to
 * space being given back (trims, dropped queues, settings).
 */
export type WriteGrade = 'data' | 'state' | 'freeing';

export interface DiskSpaceSettings {
  /** Bytes kept on disk to be given back; 0 turns all of this off. */
  readonly reserveBytes: number;
  /** Data is refused while less than this is free beside the reserve, and taken again at twice as much. */
  readonly lowWaterBytes: number;
  /** How often a volume that is short of space is looked at. */
  readonly fullRetryMs: number;
}

export interface DiskSpaceParts {
  readonly fileSystem: FileSystem;
  /** Where the reserve lies. */
  readonly directory: string;
  readonly settings: DiskSpaceSettings;
  readonly clock: Clock;
  readonly logger: Log;
}

/** More than one, since a file system may lack files (inodes) instead of bytes. */
const reserveFiles = 8;
/** Fewer than so many files to be made count as a full disk. */
const lowWaterFiles = 16;
/** On small volumes the reserve is at most one part in so many of it, and the low-water mark half of that. */
const largestShare = 16;
/** The volume is asked at the latest after so much was appended ... */
const longestStepBytes = 64 * 1024 * 1024;
/** ... and no more often than this. */
const shortestStepBytes = 64 * 1024;
const chunkBytes = 64 * 1024;
const writeBytes = 1024 * 1024;

const spaceCodes = new Set(['ENOSPC', 'EDQUOT']);

/** The file system has no room for it, by bytes, files or quota. */
export function isNoSpace(error: unknown): boolean {
  return spaceCodes.has(errorCodeOf(error) ?? '');
}

export function reserveFileName(index: number): string {
  return `reserve-${index}`;
}

export class DiskSpace {
  private readonly parts: DiskSpaceParts;
  private readonly isOn: boolean;
  private reserveBytes: number;
  private lowWaterBytes: number;
  /** Bytes of reserve files on disk. */
  private heldBytes = 0;
  /** Free when the volume was last asked, but for what was appended then and not written. */
  private freeBytes = Number.POSITIVE_INFINITY;
  private freeFiles = Number.POSITIVE_INFINITY;
  /** Appended since. */
  private spentBytes = 0;
  private isShortNow = false;
  private asking: Promise<void> | undefined;
  private building: Promise<void> | undefined;
  private releasing: Promise<boolean> | undefined;
  private timer: Timer | undefined;
  private isClosed = false;
  /** Of the volume, since something died. */
  private looks = 0;
  /** Bytes appended and not written yet; set by the engine. */
  unwrittenBytes: () => number = () => 0;
  /** Called as long as space is short, now and then: whoever can free some may try; set by the engine. */
  whileShort: () => void = () => {};
  /** Must be done before anything may be written again; rejects while there is no room for it. */
  private due: (() => Promise<void>) | undefined;

  constructor(parts: DiskSpaceParts) {
    this.parts = parts;
    this.reserveBytes = parts.settings.reserveBytes;
    this.lowWaterBytes = parts.settings.lowWaterBytes;
    this.isOn = this.reserveBytes > 0;
  }

  /** Data is refused. */
  get isShort(): boolean {
    return this.isShortNow || this.due !== undefined;
  }

  /** Bytes that the reserve holds on disk now. */
  get reservedBytes(): number {
    return this.heldBytes;
  }

  /** Bytes that a copy may take now without harm to what else has to be written. */
  get freeForCopies(): number {
    return Math.max(0, (this.freeBytes - this.spentBytes) / 2);
  }

  /** The mark in force on this volume. */
  get lowWater(): number {
    return this.lowWaterBytes;
  }

  /** Looks at the volume and at what an earlier process left of the reserve. Writes nothing. */
  async open(): Promise<void> {
    if (!this.isOn) return;
    const { fileSystem, directory } = this.parts;
    for (let index = 0; index < reserveFiles; index++) {
      const info = await fileSystem.stat(`${directory}/${reserveFileName(index)}`);
      this.heldBytes += info?.sizeBytes ?? 0;
    }
    await this.ask();
  }

  /** After the engine is open: makes the reserve where it is missing, and watches from now on. Does not wait for it. */
  start(): void {
    if (this.isOn) void this.settle();
  }

  /** Nothing is written before `action` succeeded; it is tried now and then. */
  holdUntil(action: () => Promise<void>): void {
    this.due = action;
    this.watch();
  }

  /** Whether `bytes` more of that grade may be appended. */
  admits(grade: WriteGrade, bytes: number): boolean {
    if (this.due !== undefined) return false;
    if (!this.isOn || grade === 'freeing') return true;
    const left = this.beyondReserve() - bytes;
    if (grade === 'state') return left + this.reserveBytes / 2 >= 0;
    if (this.isShortNow) return false;
    if (left >= this.lowWaterBytes) return true;
    void this.settle(bytes);
    return false;
  }

  /** `bytes` were appended. */
  spent(bytes: number): void {
    if (!this.isOn) return;
    this.spentBytes += bytes;
    const step = Math.min(longestStepBytes, (this.beyondReserve() - this.lowWaterBytes) / 4);
    if (this.asking === undefined && this.spentBytes >= Math.max(shortestStepBytes, step)) void this.settle();
  }

  /**
   * A write met a full disk: gives the reserve back. True when there was something to give, so that the write may be tried again at
   * once. Never rejects.
   */
  release(error: Error): Promise<boolean> {
    if (!this.isOn) return Promise.resolve(false);
    this.becomeShort(error.message);
    this.releasing ??= this.giveBack().finally(() => {
      this.releasing = undefined;
    });
    return this.releasing;
  }

  /** Does `write`, giving the reserve back where it meets a full disk. */
  async withRoom<T>(write: () => Promise<T>): Promise<T> {
    try {
      return await write();
    } catch (error) {
      if (!isNoSpace(error) || !(await this.release(error as Error))) throw error;
      return write();
    }
  }

  /** Resolves when nothing of it is under way. The reserve stays. */
  async close(): Promise<void> {
    this.isClosed = true;
    this.timer?.cancel();
    await this.asking;
    await this.releasing;
    await this.building;
  }

  /** Free space beside a whole reserve, by the account. */
  private beyondReserve(): number {
    return this.freeBytes - this.spentBytes + this.heldBytes - this.reserveBytes;
  }

  /** Asks the volume and does what follows from the answer. `refusedBytes`: of data that was refused by the account. */
  private async settle(refusedBytes = 0): Promise<void> {
    await this.ask();
    if (this.isClosed) return;
    const beyond = this.beyondReserve();
    // Data that stays refused a little above the mark must lead to space being freed as well.
    const isAtMark = beyond < 2 * this.lowWaterBytes && beyond - refusedBytes < this.lowWaterBytes;
    if (isAtMark || this.freeFiles < lowWaterFiles) {
      this.becomeShort('the low-water mark is reached');
      return;
    }
    if (this.isShortNow && beyond < 2 * this.lowWaterBytes) return;
    if (this.heldBytes < this.reserveBytes) {
      this.building ??= this.build().finally(() => {
        this.building = undefined;
      });
      await this.building;
      if (this.heldBytes < this.reserveBytes) return;
    }
    if (this.isShortNow && this.due === undefined) {
      this.isShortNow = false;
      this.parts.logger.info({ free_bytes: this.freeBytes }, 'the disk has room again: data is taken again');
    }
  }

  private ask(): Promise<void> {
    this.asking ??= this.askNow().finally(() => {
      this.asking = undefined;
    });
    return this.asking;
  }

  private async askNow(): Promise<void> {
    const { fileSystem, directory, settings } = this.parts;
    const unwrittenBytes = this.unwrittenBytes();
    const spentBefore = this.spentBytes;
    try {
      const { totalBytes, availableBytes, availableFiles } = await fileSystem.space(directory);
      this.reserveBytes = Math.min(settings.reserveBytes, Math.floor(totalBytes / largestShare));
      this.lowWaterBytes = Math.min(settings.lowWaterBytes, Math.floor(totalBytes / largestShare / 2));
      this.freeBytes = availableBytes - unwrittenBytes;
      this.freeFiles = availableFiles;
      this.spentBytes -= spentBefore;
    } catch (error) {
      // A volume that does not say is taken as it was; a write will find out.
      this.parts.logger.warn({ error: (error as Error).message }, 'the volume does not say what is free');
      this.spentBytes -= spentBefore;
    }
  }

  private becomeShort(reason: string): void {
    if (!this.isShortNow) {
      this.isShortNow = true;
      this.looks = 0;
      this.parts.logger.error(
        { reason, free_bytes: Math.max(0, this.freeBytes), reserve_bytes: this.heldBytes },
        'the disk is full: data is refused until there is room; what is stored can be read and deleted',
      );
    }
    this.watch();
  }

  private watch(): void {
    if (this.isClosed || this.timer !== undefined) return;
    this.timer = this.parts.clock.after(this.parts.settings.fullRetryMs, () => {
      this.timer = undefined;
      void this.look();
    });
  }

  private async look(): Promise<void> {
    if (this.due !== undefined) {
      try {
        await this.due();
        this.due = undefined;
      } catch (error) {
        this.parts.logger.debug({ error: (error as Error).message }, 'still no room to begin');
      }
    }
    if (this.isOn) await this.settle();
    if (!this.isShort) return;
    // Ever more seldom, since looking at what may go costs reads.
    this.looks++;
    if (this.due === undefined && (this.looks & (this.looks - 1)) === 0) this.whileShort();
    this.watch();
  }

  /** Something died: what can be freed is looked at soon again. */
  mayFree(): void {
    this.looks = 0;
  }

  private async giveBack(): Promise<boolean> {
    await this.building;
    const isGiven = await this.removeReserve();
    // Others may have filled the disk since it was asked last.
    await this.ask();
    return isGiven;
  }

  private async removeReserve(): Promise<boolean> {
    const { fileSystem, directory, logger } = this.parts;
    const before = this.heldBytes;
    let isGiven = false;
    for (let index = 0; index < reserveFiles; index++) {
      try {
        await fileSystem.unlink(`${directory}/${reserveFileName(index)}`);
        isGiven = true;
      } catch (error) {
        if (errorCodeOf(error) !== 'ENOENT')
          logger.warn({ error: (error as Error).message }, 'the reserve could not be given back');
      }
    }
    this.heldBytes = 0;
    this.freeBytes += before;
    if (isGiven) logger.info({ reserve_bytes: before }, 'gave the reserve back to the file system');
    return isGiven;
  }

  /** Not flushed: its blocks are taken when it is written, and nothing is lost with it. */
  private async build(): Promise<void> {
    const { fileSystem, directory, logger } = this.parts;
    const fileBytes = Math.ceil(this.reserveBytes / reserveFiles);
    const chunk = incompressible(chunkBytes);
    try {
      this.heldBytes = 0;
      for (let index = 0; index < reserveFiles; index++) {
        const path = `${directory}/${reserveFileName(index)}`;
        if ((await fileSystem.stat(path))?.sizeBytes !== fileBytes) {
          const file = await fileSystem.open(path, 'replace');
          try {
            for (let at = 0; at < fileBytes && !this.isClosed; at += writeBytes) {
              await file.write(repeated(chunk, Math.min(writeBytes, fileBytes - at)), at);
            }
          } finally {
            await file.close();
          }
        }
        if (this.isClosed) return;
        this.heldBytes += fileBytes;
        this.freeBytes -= fileBytes;
      }
      await this.ask();
    } catch (error) {
      logger.warn({ error: (error as Error).message }, 'the reserve could not be made');
      if (isNoSpace(error)) {
        await this.removeReserve();
        this.becomeShort('there is no room for the reserve');
      }
    }
  }
}

/** File systems that compress must not make little of it. */
function incompressible(sizeBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(sizeBytes);
  let state = 0x2545f491;
  for (let at = 0; at < sizeBytes; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state & 0xff;
  }
  return bytes;
}

function repeated(chunk: Buffer, sizeBytes: number): Uint8Array[] {
  const views: Uint8Array[] = [];
  for (let left = sizeBytes; left > 0; left -= chunk.length) views.push(chunk.subarray(0, left));
  return views;
}
