/**
 * Small files that nothing could make again are kept twice, in two directories under the same name: the second copy is written
 * first, then the first, each whole and durable before the next begins. So a crash leaves at worst the mirror one step ahead,
 * and one damaged copy loses nothing. Knows nothing of what the files hold.
 */
import type { FileSystem } from './file-system.ts';
import { readWhole, replaceFile } from './whole-file.ts';

/** Durable, both copies, when it resolves. */
export async function writeTwice(
  fileSystem: FileSystem,
  directory: string,
  mirror: string,
  name: string,
  content: readonly Uint8Array[],
): Promise<void> {
  await replaceFile(fileSystem, mirror, name, content);
  await replaceFile(fileSystem, directory, name, content);
}

/** One of the two copies, as it was found. `fault`: what is wrong with it, for the operator. */
export type Copy<T> =
  | { readonly path: string; readonly value: T; readonly bytes: Buffer; readonly fault?: undefined }
  | { readonly path: string; readonly value?: undefined; readonly bytes?: undefined; readonly fault: string };

/** Reads both copies. `decode` answers undefined, or throws, for bytes that are not what was written. */
export async function readTwice<T>(
  fileSystem: FileSystem,
  directory: string,
  mirror: string,
  name: string,
  decode: (bytes: Buffer, path: string) => T | undefined,
): Promise<{ readonly first: Copy<T>; readonly second: Copy<T> }> {
  return {
    first: await readCopy(fileSystem, `${directory}/${name}`, decode),
    second: await readCopy(fileSystem, `${mirror}/${name}`, decode),
  };
}

async function readCopy<T>(
  fileSystem: FileSystem,
  path: string,
  decode: (bytes: Buffer, path: string) => T | undefined,
): Promise<Copy<T>> {
  const info = await fileSystem.stat(path);
  if (info === undefined) return { path, fault: `${path} is missing` };
  if (info.isDirectory || info.isOther) return { path, fault: `${path} is not a file` };
  const bytes = await readWhole(fileSystem, path);
  if (bytes === undefined) return { path, fault: `${path} is missing` };
  const value = decode(bytes, path);
  return value === undefined ? { path, fault: `${path} is damaged` } : { path, value, bytes };
}
