/**
 * Reads a whole backup and says what is wrong with it: every file is there and as large as it was, and all that a survey of a data
 * directory finds damaged. Changes nothing.
 */
import type { PayloadFormat } from '../engine.ts';
import { filesOf } from './backup.ts';
import { type BackupListing, readListing } from './backup-listing.ts';
import type { Checksum } from './checksum.ts';
import { layoutOf } from './directory-layout.ts';
import type { FileSystem } from './file-system.ts';
import { encodeManifest, type Manifest } from './manifest.ts';
import { surveyDirectory } from './offline/survey.ts';

export interface BackupVerdict {
  /** For the operator; none: the backup is whole. */
  readonly faults: readonly string[];
  readonly listing: BackupListing | undefined;
}

export interface VerifyOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly crc32c: Checksum;
  readonly payloadFormat: PayloadFormat;
}

const chunkBytes = 4 * 1024 * 1024;

/** Throws the system's errors. */
export async function verifyBackup(options: VerifyOptions): Promise<BackupVerdict> {
  const { fileSystem, directory, crc32c, payloadFormat: format } = options;
  const listing = await readListing(fileSystem, directory, crc32c);
  if (typeof listing === 'string') return { faults: [listing], listing: undefined };
  const faults: string[] = [];
  for (const file of listing.files) {
    const fault = await fileFault(options, file);
    if (fault !== undefined) faults.push(fault);
  }
  try {
    const layout = layoutOf(directory);
    const survey = await surveyDirectory({ fileSystem, layout, crc32c, format, isHeld: false });
    if (survey.manifest === undefined) {
      faults.push(`${directory} has no manifest that can be read: the backup was interrupted, or damaged`);
    } else {
      faults.push(...manifestFaults(options, listing, survey.manifest));
    }
    for (const { severity, message } of survey.findings) if (severity === 'damage') faults.push(message);
  } catch (error) {
    faults.push((error as Error).message);
  }
  return { faults, listing };
}

function manifestFaults(
  { directory, crc32c }: VerifyOptions,
  listing: BackupListing,
  manifest: Manifest,
): readonly string[] {
  const bytes = Buffer.concat(encodeManifest(manifest, crc32c));
  if (crc32c(bytes, 0, bytes.length) !== listing.manifestChecksum) {
    return [`a broker was started on ${directory} after the backup: it is a data directory now`];
  }
  const listed = new Set(listing.files.map(({ path }) => path));
  return filesOf(manifest, listing.position)
    .filter(({ path }) => !listed.has(path))
    .map(({ path }) => `${path} is needed and not part of the backup`);
}

/** Against the listing: its size, and its checksum where it was copied and not linked. */
async function fileFault(
  { fileSystem, crc32c, directory }: VerifyOptions,
  { path, sizeBytes, checksum }: BackupListing['files'][number],
): Promise<string | undefined> {
  const info = await fileSystem.stat(`${directory}/${path}`);
  if (info === undefined || info.isDirectory || info.isOther) return `${path} is missing`;
  if (info.sizeBytes !== sizeBytes) return `${path} has ${info.sizeBytes} bytes instead of ${sizeBytes}`;
  if (checksum === undefined) return undefined;
  const file = await fileSystem.open(`${directory}/${path}`, 'read');
  try {
    const chunk = Buffer.allocUnsafeSlow(Math.max(1, Math.min(sizeBytes, chunkBytes)));
    let sum = 0;
    for (let at = 0; at < sizeBytes; ) {
      const read = await file.read(chunk, 0, Math.min(chunk.length, sizeBytes - at), at);
      if (read === 0) break;
      sum = crc32c(chunk, 0, read, sum);
      at += read;
    }
    return sum === checksum ? undefined : `${path} is damaged: its checksum does not hold`;
  } catch (error) {
    return `${path}: ${(error as Error).message}`;
  } finally {
    await file.close();
  }
}
