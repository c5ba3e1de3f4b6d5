/** File systems of a test's own: small ones, ones with few files, and one whose flushes fail. Needs root. */
import { execFile } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Volume {
  readonly path: string;
  remount(options: string): Promise<void>;
  remove(): Promise<void>;
}

export async function smallVolume(options: string): Promise<Volume> {
  const path = await mkdtemp(join(tmpdir(), 'odradek-faults-'));
  await run('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]);
  return {
    path,
    remount: async (changed) => void (await run('mount', ['-o', `remount,${changed}`, path])),
    remove: async () => {
      await run('umount', ['-l', path]);
      await rm(path, { recursive: true });
    },
  };
}

/** ext4 in a file that promises more than the volume below it holds: what is written there fails when it is flushed. */
export async function lyingVolume(realMebibytes: number, promisedMebibytes: number): Promise<Volume> {
  const below = await smallVolume(`size=${realMebibytes}m`);
  const image = join(below.path, 'image');
  const path = join(below.path, 'mount');
  await mkdir(path);
  closeSync(openSync(image, 'w'));
  await truncate(image, promisedMebibytes * 1024 * 1024);
  try {
    await run('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=1,nodiscard', '-O', '^has_journal', image]);
    await run('mount', ['-o', 'loop', image, path]);
  } catch (error) {
    await below.remove();
    throw error;
  }
  return {
    path,
    remount: async () => {
      throw new Error('only small volumes can be changed');
    },
    remove: async () => {
      await run('umount', ['-l', path]);
      await below.remove();
    },
  };
}

/** What another program does: takes all the space that is left. */
export function fillUp(path: string): void {
  const file = openSync(path, 'w');
  try {
    for (let size = 1024 * 1024; size >= 1; ) {
      try {
        writeSync(file, Buffer.alloc(size, 1));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        size = Math.floor(size / 2);
      }
    }
  } finally {
    closeSync(file);
  }
}

/** Takes all the files that can still be made, in a directory of its own. */
export async function takeFiles(directory: string): Promise<number> {
  await mkdir(directory);
  for (let count = 0; ; count++) {
    try {
      closeSync(openSync(join(directory, String(count)), 'w'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      return count;
    }
  }
}
