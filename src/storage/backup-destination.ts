/** Where a backup goes, as a path without links and dots, so that it cannot lie inside the data by another name. */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { BackupRefusedError } from './backup.ts';

/** Rejects with BackupRefusedError where the two lie in one another, with the system's error where they cannot be looked at. */
export async function resolveDestination(dataDirectory: string, destination: string): Promise<string> {
  const data = await realPathOf(resolve(dataDirectory));
  const target = await realPathOf(resolve(destination));
  for (const [inner, outer] of [
    [target, data],
    [data, target],
  ] as const) {
    if (`${inner}/`.startsWith(outer.endsWith('/') ? outer : `${outer}/`)) {
      throw new BackupRefusedError(
        `${destination} and the data directory ${dataDirectory} lie in one another`,
      );
    }
  }
  return target;
}

/** Of a path whose end may not exist yet. */
async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error;
    return join(await realPathOf(dirname(path)), basename(path));
  }
}
