/**
 * The clock of a development broker (--virtual-clock): how far it was moved is kept in the data directory, since what lies there was
 * stored at those times. Written before time moves, so that no record is ever newer than the clock of the next start.
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../util/clock.ts';
import { type DueWork, MovableClock } from '../util/movable-clock.ts';

const fileName = 'virtual-clock.json';

/** The data directory's clock was moved, or its file is not what it should be. The message is for the operator. */
export class VirtualClockError extends Error {
  override readonly name = 'VirtualClockError';
}

export interface VirtualClockHandle {
  readonly clock: MovableClock;
  /** The clock that it is moved against. */
  readonly machine: Clock;
  /** Moves time on by whole milliseconds; resolves when what fell due was begun. One at a time. */
  advance(byMs: number, work?: DueWork): Promise<void>;
}

/** How far the clock of this directory was moved; 0 where it never was. Throws VirtualClockError. */
export async function readShift(directory: string): Promise<number> {
  const path = join(directory, fileName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 0;
    throw new VirtualClockError(`cannot read ${path}: ${message}`);
  }
  let shiftMs: unknown;
  try {
    shiftMs = (JSON.parse(text) as { shiftMs?: unknown } | null)?.shiftMs;
  } catch {
    // Said below.
  }
  if (typeof shiftMs !== 'number' || !Number.isSafeInteger(shiftMs) || shiftMs < 0) {
    throw new VirtualClockError(`${path} does not say how far the clock was moved`);
  }
  return shiftMs;
}

/** `directory` undefined: data in memory, nothing is kept. */
export async function openVirtualClock(
  real: Clock,
  directory: string | undefined,
): Promise<VirtualClockHandle> {
  const clock = new MovableClock(real, directory === undefined ? 0 : await readShift(directory));
  let last: Promise<void> = Promise.resolve();
  const move = async (byMs: number, work?: DueWork): Promise<void> => {
    if (directory !== undefined) await writeShift(directory, clock.shiftMs + byMs);
    await clock.advance(byMs, work);
  };
  return {
    clock,
    machine: real,
    advance(byMs, work) {
      const moved = last.then(() => move(byMs, work));
      last = moved.catch(() => undefined);
      return moved;
    },
  };
}

async function writeShift(directory: string, shiftMs: number): Promise<void> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, fileName);
  const file = await open(`${path}.new`, 'w');
  try {
    await file.writeFile(`${JSON.stringify({ shiftMs })}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  const parent = await open(directory, 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}
