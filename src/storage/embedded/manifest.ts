/**
 * The one file that says what the data directory consists of. Replaced as a whole: written under another name, fsynced, renamed,
 * the directory fsynced; so there is always one whole manifest. A line with format version, length and checksum, then JSON
 * that an operator can read. Knows nothing of what the files it names hold.
 */
import type { Checksum } from './checksum.ts';
import { errorCodeOf, type FileSystem } from './file-system.ts';
import type { IndexRunDescription } from './ordered-index/run-file.ts';

export const manifestVersion = 1;
const fileName = 'MANIFEST';
const largestManifestBytes = 256 * 1024 * 1024;

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
}

/** Neighbouring sealed segments and the run over all of them. Extents are in offset order for every queue. */
export interface Extent {
  readonly segments: readonly SegmentReference[];
  readonly run: RunReference;
  /** How often runs were merged into this one. */
  readonly level: number;
}

/** A file that holds some state as of a place in the log; the log is replayed from there. */
export interface SnapshotReference {
  /** Undefined: there is no file, the state at that place is empty. */
  readonly number: number | undefined;
  readonly position: number;
}

export interface Manifest {
  readonly storageId: string;
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
}

export class ManifestError extends Error {
  override readonly name = 'ManifestError';
}

/** Undefined when there is none. Throws ManifestError where it is damaged or of a newer format. */
export async function readManifest(
  fileSystem: FileSystem,
  directory: string,
  crc32c: Checksum,
): Promise<Manifest | undefined> {
  const path = `${directory}/${fileName}`;
  const bytes = await readWhole(fileSystem, path);
  if (bytes === undefined) return undefined;
  const lineEnd = bytes.indexOf(0x0a);
  const match = /^odradek-manifest (\d+) (\d+) ([0-9a-f]{8})$/.exec(
    bytes.toString('latin1', 0, Math.max(0, lineEnd)),
  );
  if (match === null)
    throw new ManifestError(`${path} is not a manifest of Odradek, or its first line is damaged`);
  const version = Number(match[1]);
  if (version > manifestVersion) {
    throw new ManifestError(
      `${path} has format version ${version}; this version of Odradek knows up to ${manifestVersion}`,
    );
  }
  const body = bytes.subarray(lineEnd + 1);
  const isIntact =
    body.length === Number(match[2]) && crc32c(body, 0, body.length) === Number.parseInt(match[3]!, 16);
  if (!isIntact) throw new ManifestError(`${path} is damaged: its checksum does not hold`);
  return JSON.parse(body.toString('utf8')) as Manifest;
}

/** Durable when it resolves. */
export async function writeManifest(
  fileSystem: FileSystem,
  directory: string,
  crc32c: Checksum,
  manifest: Manifest,
): Promise<void> {
  const body = Buffer.from(JSON.stringify(manifest, undefined, 1));
  const checksum = crc32c(body, 0, body.length).toString(16).padStart(8, '0');
  const head = Buffer.from(`odradek-manifest ${manifestVersion} ${body.length} ${checksum}\n`);
  await replaceFile(fileSystem, directory, fileName, [head, body]);
}

/** Puts a file of that name and content in the place of whatever is there, durably and all at once. */
export async function replaceFile(
  fileSystem: FileSystem,
  directory: string,
  name: string,
  content: readonly Uint8Array[],
): Promise<void> {
  const temporary = `${directory}/${name}.new`;
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
    if (sizeBytes > largestManifestBytes) throw new ManifestError(`${path} is larger than it can be`);
    const bytes = Buffer.allocUnsafeSlow(sizeBytes);
    const read = await file.read(bytes, 0, sizeBytes, 0);
    return bytes.subarray(0, read);
  } finally {
    await file.close();
  }
}
