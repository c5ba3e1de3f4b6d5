/** Files that are read and replaced as a whole. */
import { errorCodeOf, type FileSystem } from './file-system.ts';

const largestBytes = 1024 * 1024 * 1024;

/** Puts a file of that name and content in the place of whatever is there, durably and all at once. */
export async function replaceFile(
  fileSystem: FileSystem,
  directory: string,
  name: string,
  content: readonly Uint8Array[],
): Promise<void> {
  const temporary = `${directory}/${name}.new`;
  // A link of that name is not written through.
  if ((await fileSystem.stat(temporary))?.isOther === true) await fileSystem.unlink(temporary);
  const file = await fileSystem.open(temporary, 'replace');
  try {
    await file.write(content, 0);
    await file.datasync();
  } finally {
    await file.close();
  }
  await fileSystem.rename(temporary, `${directory}/${name}`);
  await fileSystem.syncDirectory(directory);
}

/** The file's bytes, or undefined when there is no such file. */
export async function readWhole(fileSystem: FileSystem, path: string): Promise<Buffer | undefined> {
  let file: Awaited<ReturnType<FileSystem['open']>>;
  try {
    file = await fileSystem.open(path, 'read');
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const sizeBytes = await file.sizeBytes();
    if (sizeBytes > largestBytes) throw new Error(`${path} is larger than it can be`);
    const bytes = Buffer.allocUnsafeSlow(sizeBytes);
    const read = await file.read(bytes, 0, sizeBytes, 0);
    return bytes.subarray(0, read);
  } finally {
    await file.close();
  }
}
