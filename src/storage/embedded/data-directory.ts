/**
 * The folders and files of a data directory as a start finds them: what may be opened, what is made where nothing is, and what is left
 * over and goes.
 */
import { randomBytes } from 'node:crypto';
import { incompleteBackupName } from './backup-listing.ts';
import type { Checksum } from './checksum.ts';
import { type DirectoryLayout, producersFileName, stateFileName } from './directory-layout.ts';
import type { FileSystem } from './file-system.ts';
import { isCleanedSegment, segmentFileName } from './location.ts';
import { DataLossError } from './log-scan.ts';
import { type Manifest, writeManifest } from './manifest.ts';
import { runFileName } from './run-file.ts';

export interface DataDirectory {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
}

/** Links are not followed: what they lead to may be another's, or gone tomorrow. */
export async function checkDirectories({ fileSystem, layout }: DataDirectory): Promise<void> {
  const { commitLog, consumeQueues, orderedIndex, snapshots, mirror } = layout;
  for (const path of [commitLog, consumeQueues, orderedIndex, snapshots, mirror]) {
    const info = await fileSystem.stat(path);
    if (info === undefined || info.isDirectory) continue;
    throw new DataLossError(
      `${path} is not a directory. Links are not followed: mount the volume there instead`,
    );
  }
}

/** A log, an index or a snapshot without a manifest is not an empty directory. */
export async function refuseForeignData({ fileSystem, layout }: DataDirectory): Promise<void> {
  const { root, commitLog, consumeQueues, orderedIndex, snapshots, mirror } = layout;
  if ((await fileSystem.stat(`${root}/${incompleteBackupName}`)) !== undefined) {
    throw new DataLossError(
      `${root} is a backup that was interrupted: it is not whole. Make it again elsewhere`,
    );
  }
  for (const folder of [commitLog, consumeQueues, orderedIndex, snapshots, mirror]) {
    if ((await fileSystem.stat(folder)) === undefined) continue;
    for (const name of await fileSystem.readdir(folder)) {
      if (!/^\d{10}\.(log|run|index|state|producers)$/.test(name)) continue;
      const info = await fileSystem.stat(`${folder}/${name}`);
      if (info?.sizeBytes === 0) continue;
      throw new DataLossError(
        `${root} holds ${folder === commitLog ? 'log segments' : name} but no manifest: it is damaged or only ` +
          `partly copied. Restore the whole directory, or run: odradek log repair ${root}`,
      );
    }
  }
}

export async function createDirectory(directory: DataDirectory): Promise<Manifest> {
  const { fileSystem, layout, crc32c } = directory;
  const { commitLog, consumeQueues, orderedIndex, snapshots, mirror } = layout;
  for (const path of [commitLog, consumeQueues, orderedIndex, snapshots, mirror])
    await fileSystem.mkdir(path);
  // A segment that is there already, and empty, is gone on with: its name must be as durable as one made here.
  await fileSystem.syncDirectory(commitLog);
  const manifest: Manifest = {
    storageId: randomBytes(16).toString('base64url'),
    logEpoch: 0,
    durablePosition: 0,
    isClean: false,
    lastStoreTimeMs: 0,
    extents: [],
    headSegment: 0,
    headSealed: [],
    pieces: [],
    indexedTo: 0,
    state: { number: undefined, position: 0 },
    producers: { number: undefined, position: 0 },
    orderedIndex: { runs: [], position: 0 },
    nextFileNumber: 1,
  };
  // Syncs the directory's own names as well.
  return writeManifest(fileSystem, layout, crc32c, manifest);
}

/** Those that are missing. */
export async function makeDirectories({ fileSystem, layout }: DataDirectory): Promise<void> {
  const { consumeQueues, orderedIndex, snapshots, mirror, root } = layout;
  let isAnyNew = false;
  for (const path of [consumeQueues, orderedIndex, snapshots, mirror]) {
    if ((await fileSystem.stat(path)) !== undefined) continue;
    await fileSystem.mkdir(path);
    isAnyNew = true;
  }
  if (isAnyNew) await fileSystem.syncDirectory(root);
}

/** Files that none of the manifests names: what was being written when the last process ended. */
export async function removeStrays(
  directory: DataDirectory,
  ...manifests: readonly Manifest[]
): Promise<void> {
  const { layout } = directory;
  const runs = new Set<string>();
  const snapshots = new Set<string>();
  const segments = new Set<string>();
  const headSegment = Math.min(...manifests.map((manifest) => manifest.headSegment));
  for (const { pieces, extents, state, producers } of manifests) {
    for (const piece of pieces) runs.add(runFileName(piece.number));
    for (const extent of extents) {
      runs.add(runFileName(extent.run.number));
      for (const { number } of extent.segments) segments.add(segmentFileName(number));
    }
    if (state.number !== undefined) snapshots.add(stateFileName(state.number));
    if (producers.number !== undefined) snapshots.add(producersFileName(producers.number));
  }
  const isOldSegment = (name: string): boolean =>
    /^\d{10}\.log$/.test(name) &&
    (Number(name.slice(0, 10)) < headSegment || isCleanedSegment(Number(name.slice(0, 10)))) &&
    !segments.has(name);
  await removeFrom(directory, layout.consumeQueues, (name) => name.endsWith('.run') && !runs.has(name));
  for (const folder of [layout.snapshots, layout.mirror]) {
    await removeFrom(
      directory,
      folder,
      (name) => /^\d{10}\.(state|producers)(\.new)?$/.test(name) && !snapshots.has(name),
    );
  }
  await removeFrom(directory, layout.commitLog, isOldSegment);
}

async function removeFrom(
  { fileSystem }: DataDirectory,
  folder: string,
  isStray: (name: string) => boolean,
): Promise<void> {
  if ((await fileSystem.stat(folder)) === undefined) return;
  for (const name of await fileSystem.readdir(folder)) {
    if (isStray(name)) await fileSystem.unlink(`${folder}/${name}`);
  }
}
