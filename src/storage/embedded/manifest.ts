/**
 * The one file that says what the data directory consists of. Replaced as a whole: written under another name, fsynced, renamed,
 * the directory fsynced; so there is always one whole manifest. A line with format version, length and checksum, then JSON
 * that an operator can read. Knows nothing of what the files it names hold.
 *
 * There are two copies. Each writing has a number of its own, the generation; the mirror is written first, and what a manifest no
 * longer names is removed when both copies are durable. So the intact copy with the larger generation is right, it is at most
 * one step ahead, and every file that either names is there.
 */
import type { Checksum } from './checksum.ts';
import type { DirectoryLayout } from './directory-layout.ts';
import type { FileSystem } from './file-system.ts';
import { readTwice, writeTwice } from './mirror.ts';
import type { IndexRunDescription } from './ordered-index/run-file.ts';

/**
 * Version 1 had no mirror, and its checksum did not cover the first line; version 2 knew nothing of cleaned segments, and is still
 * written while there was none.
 */
export const manifestVersion = 3;
const versionBeforeCleaning = 2;
export const manifestFileName = 'MANIFEST';

/** An index run: the ConsumeQueue rows of the log from `from` up to `to`. */
export interface RunReference {
  readonly number: number;
  readonly from: number;
  readonly to: number;
  readonly entries: number;
  readonly sizeBytes: number;
  /** Of the run's footer, so that no other file is taken for it. */
  readonly checksum: number;
}

export interface SegmentReference {
  readonly number: number;
  readonly sizeBytes: number;
  /** Queues (text of a QueueSet) whose entries in it do not count any more; the run has no rows of them either. */
  readonly without?: string;
}

/** Neighbouring sealed segments and the run over all of them. Extents are in offset order for every queue. */
export interface Extent {
  readonly segments: readonly SegmentReference[];
  readonly run: RunReference;
  /** How often runs were merged into this one. */
  readonly level: number;
  /** Queues (text of a QueueSet) that were rewritten since the run was made: its rows of them do not count any more. */
  readonly without?: string;
}

/** The bytes of a queue changed by a rewrite that the state snapshot does not know of. */
export interface SizeChange {
  readonly queue: number;
  readonly bytes: number;
  /** Grows with every rewrite. */
  readonly sequence: number;
}

/** A file that holds some state as of a place in the log; the log is replayed from there. */
export interface SnapshotReference {
  /** Undefined: there is no file, the state at that place is empty. */
  readonly number: number | undefined;
  readonly position: number;
}

export interface Manifest {
  readonly storageId: string;
  /** Grows with every writing. Undefined in one of version 1. */
  readonly generation?: number;
  readonly logEpoch: number;
  /** Everything before this place was durable when the manifest was written. */
  readonly durablePosition: number;
  /** The log ends at durablePosition and nothing was written after this manifest. */
  readonly isClean: boolean;
  /** Of the newest entry; store times never go back, not even when the clock does while nobody runs. */
  readonly lastStoreTimeMs: number;
  readonly extents: readonly Extent[];
  /** The first segment after the extents; those after it count up from there. */
  readonly headSegment: number;
  /** Those of the head that are sealed. */
  readonly headSealed: readonly SegmentReference[];
  /** Runs of the segments after the extents, up to `indexedTo`, from where rows are made again from the log. */
  readonly pieces: readonly RunReference[];
  readonly indexedTo: number;
  /** Catalogue, queues and leases. */
  readonly state: SnapshotReference;
  readonly producers: SnapshotReference;
  readonly orderedIndex: { readonly runs: readonly IndexRunDescription[]; readonly position: number };
  /** Names of run and snapshot files are made from it; never reused. */
  readonly nextFileNumber: number;
  /** Where the cleaner looks for a free segment number; undefined while it never wrote one. */
  readonly nextCleanedSegment?: number;
  readonly sizeChanges?: readonly SizeChange[];
}

export class ManifestError extends Error {
  override readonly name = 'ManifestError';
}

export interface FoundManifest {
  readonly manifest: Manifest;
  /** What was wrong with a copy, for the operator. */
  readonly faults: readonly string[];
  /** Both copies are there and the same. */
  readonly isWhole: boolean;
}

/**
 * The manifest of a directory; undefined when there is no copy of one. Throws ManifestError where neither copy is intact, or one
 * is of a newer format.
 */
export async function readManifest(
  fileSystem: FileSystem,
  layout: DirectoryLayout,
  crc32c: Checksum,
): Promise<FoundManifest | undefined> {
  const { first, second } = await readTwice(
    fileSystem,
    layout.root,
    layout.mirror,
    manifestFileName,
    (bytes, path) => decodeManifest(bytes, path, crc32c),
  );
  if (first.fault !== undefined && second.fault !== undefined) {
    if (first.fault.endsWith('missing') && second.fault.endsWith('missing')) return undefined;
    throw new ManifestError(
      `${first.fault}, and ${second.fault}: nothing says what the directory consists of. ` +
        `Restore one of the two, or run: odradek log repair ${layout.root}`,
    );
  }
  if (first.fault !== undefined) return { manifest: second.value!, faults: [first.fault], isWhole: false };
  if (second.fault !== undefined) {
    const isOfOldVersion = first.value.generation === undefined;
    return { manifest: first.value, faults: isOfOldVersion ? [] : [second.fault], isWhole: false };
  }
  const ahead = (second.value.generation ?? 0) - (first.value.generation ?? 0);
  const older = ahead > 0 ? first.path : second.path;
  return {
    manifest: ahead > 0 ? second.value : first.value,
    // Cut off between the two writings, the mirror is one ahead. Anything else is an old copy that somebody put there.
    faults: ahead === 0 || ahead === 1 ? [] : [`${older} is an older copy`],
    isWhole: ahead === 0,
  };
}

/** Undefined where the bytes are damaged. Throws ManifestError for an intact manifest of a newer format. */
export function decodeManifest(bytes: Buffer, path: string, crc32c: Checksum): Manifest | undefined {
  const lineEnd = bytes.indexOf(0x0a);
  const line = bytes.toString('latin1', 0, Math.max(0, lineEnd));
  const match = /^(odradek-manifest (\d+) (\d+)) ([0-9a-f]{8})$/.exec(line);
  if (match === null) return undefined;
  const version = Number(match[2]);
  const body = bytes.subarray(lineEnd + 1);
  if (body.length !== Number(match[3])) return undefined;
  const checksum = version === 1 ? crc32c(body, 0, body.length) : checksumOf(match[1]!, body, crc32c);
  if (checksum !== Number.parseInt(match[4]!, 16)) return undefined;
  if (version > manifestVersion) {
    throw new ManifestError(
      `${path} has format version ${version}; this version of Odradek knows up to ${manifestVersion}`,
    );
  }
  return JSON.parse(body.toString('utf8')) as Manifest;
}

function checksumOf(head: string, body: Buffer, crc32c: Checksum): number {
  const first = Buffer.from(head, 'latin1');
  return crc32c(body, 0, body.length, crc32c(first, 0, first.length));
}

export function encodeManifest(manifest: Manifest, crc32c: Checksum): readonly Buffer[] {
  const body = Buffer.from(JSON.stringify(manifest, undefined, 1));
  const version = manifest.nextCleanedSegment === undefined ? versionBeforeCleaning : manifestVersion;
  const head = `odradek-manifest ${version} ${body.length}`;
  const checksum = checksumOf(head, body, crc32c).toString(16).padStart(8, '0');
  return [Buffer.from(`${head} ${checksum}\n`, 'latin1'), body];
}

/** As it is written the next time. */
export function nextManifest(manifest: Manifest): Manifest {
  return { ...manifest, generation: (manifest.generation ?? 0) + 1 };
}

/** Both copies durable when it resolves; answers the manifest with its new generation. Only then may files be removed. */
export async function writeManifest(
  fileSystem: FileSystem,
  layout: DirectoryLayout,
  crc32c: Checksum,
  manifest: Manifest,
): Promise<Manifest> {
  const written = nextManifest(manifest);
  const content = encodeManifest(written, crc32c);
  await writeTwice(fileSystem, layout.root, layout.mirror, manifestFileName, content);
  return written;
}
