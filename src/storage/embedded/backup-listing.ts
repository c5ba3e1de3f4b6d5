/**
 * What a backup says of itself: which files it consists of, and up to which place of the log. Written when all of them are durable,
 * before the manifest; so a backup that was interrupted has neither. A line with length and checksum, then JSON.
 */
import type { Checksum } from './checksum.ts';
import type { FileSystem } from './file-system.ts';
import { readWhole, replaceFile } from './whole-file.ts';

export const backupListingName = 'BACKUP';
/** Stands in a directory from the first moment of a backup to its last: what is there is no data directory yet. */
export const incompleteBackupName = 'BACKUP.incomplete';
const version = 1;

export interface ListedFile {
  /** From the backup's root. */
  readonly path: string;
  readonly sizeBytes: number;
  /** CRC-32C of the bytes; undefined where the file was linked and not read. Every kind of file has checksums of its own besides. */
  readonly checksum?: number;
}

export interface BackupListing {
  readonly storageId: string;
  readonly createdAt: string;
  /** The log ends there. */
  readonly position: number;
  /** CRC-32C of the manifest: where it differs, a broker was started from the backup. */
  readonly manifestChecksum: number;
  readonly files: readonly ListedFile[];
}

export async function writeListing(
  fileSystem: FileSystem,
  directory: string,
  crc32c: Checksum,
  listing: BackupListing,
): Promise<void> {
  const body = Buffer.from(JSON.stringify(listing, undefined, 1));
  const checksum = crc32c(body, 0, body.length).toString(16).padStart(8, '0');
  const head = Buffer.from(`odradek-backup ${version} ${body.length} ${checksum}\n`, 'latin1');
  await replaceFile(fileSystem, directory, backupListingName, [head, body]);
}

/** A text for the operator where there is none, or not an intact one. */
export async function readListing(
  fileSystem: FileSystem,
  directory: string,
  crc32c: Checksum,
): Promise<BackupListing | string> {
  const path = `${directory}/${backupListingName}`;
  const bytes = await readWhole(fileSystem, path);
  if (bytes === undefined) {
    const isIncomplete = (await fileSystem.stat(`${directory}/${incompleteBackupName}`)) !== undefined;
    return isIncomplete
      ? `${directory} holds a backup that was interrupted`
      : `${path} is missing: no backup`;
  }
  const lineEnd = bytes.indexOf(0x0a);
  const match = /^odradek-backup (\d+) (\d+) ([0-9a-f]{8})$/.exec(
    bytes.toString('latin1', 0, Math.max(0, lineEnd)),
  );
  if (match === null) return `${path} is damaged`;
  if (Number(match[1]) > version) {
    return `${path} has format version ${match[1]}; this version of Odradek knows up to ${version}`;
  }
  const body = bytes.subarray(lineEnd + 1);
  const isIntact =
    body.length === Number(match[2]) && crc32c(body, 0, body.length) === Number.parseInt(match[3]!, 16);
  return isIntact ? (JSON.parse(body.toString('utf8')) as BackupListing) : `${path} is damaged`;
}
