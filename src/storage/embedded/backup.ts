/**
 * A copy of a data directory as of one place in its log, while the engine runs on it. Everything but the head's last segment is never
 * changed in place, so it is linked where the volume can and copied where not; of the last segment the bytes up to that place are
 * copied. Files that the manifest names are pinned meanwhile.
 *
 * The order is what makes it safe to be cut off: a marker first, then the files, durable, then the list of them, the manifest, and
 * the marker goes. The copy is of the manifest that was on disk, with a later end of the log: what a start after a crash would find.
 */
import { dirname } from 'node:path';
import type { Clock } from '../../util/clock.ts';
import type { Log } from '../../util/log.ts';
import { type BackupOptions, BackupRefusedError, type BackupReport } from '../backup.ts';
import { type BackupListing, incompleteBackupName, type ListedFile, writeListing } from './backup-listing.ts';
import type { Checksum } from './checksum.ts';
import { type DirectoryLayout, layoutOf, producersFileName, stateFileName } from './directory-layout.ts';
import { errorCodeOf, type FileSystem } from './file-system.ts';
import { describeLocation, offsetIn, segmentFileName, segmentOf } from './location.ts';
import { encodeManifest, type Manifest, nextManifest, readManifest, writeManifest } from './manifest.ts';
import { runFileName as orderedRunFileName } from './ordered-index/run-file.ts';
import type { FilePin, PinningFileSystem } from './pinning-file-system.ts';
import { runFileName } from './run-file.ts';

export interface BackupParts {
  readonly fileSystem: PinningFileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly clock: Clock;
  readonly logger: Log;
  /** Resolves, when everything appended until the call is durable, with the place where it ends: a group boundary. */
  whenDurable(): Promise<number>;
}

const chunkBytes = 1024 * 1024;
/** Copied bytes are flushed at least so often, so that no long flush stands in the log's way. */
const flushBytes = 8 * 1024 * 1024;
/** The volume, or the two together, cannot link. */
const cannotLink = new Set(['EXDEV', 'EPERM', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);
const namedByManifest = /^(commitlog|consumequeues|index|snapshots|mirror)\/\d{10}\.[a-z]+$/;

/** A file of the backup. `untilBytes`: only so much of it, and it may grow meanwhile. */
interface WantedFile {
  /** From the roots of both directories. */
  readonly path: string;
  /** Where the bytes are taken from when there is no file of that path: the other of two copies. */
  readonly otherPath?: string;
  readonly untilBytes?: number;
}

export class Backups {
  private readonly parts: BackupParts;
  private readonly closing = new AbortController();
  private running: Promise<BackupReport> | undefined;

  constructor(parts: BackupParts) {
    this.parts = parts;
  }

  backup(options: BackupOptions): Promise<BackupReport> {
    if (this.closing.signal.aborted) {
      return Promise.reject(new BackupRefusedError('the broker is stopping'));
    }
    if (this.running !== undefined) {
      return Promise.reject(new BackupRefusedError('another backup is being made; one at a time'));
    }
    const signals = [this.closing.signal, ...(options.signal === undefined ? [] : [options.signal])];
    this.running = new Backup(this.parts, options, AbortSignal.any(signals)).run().finally(() => {
      this.running = undefined;
    });
    return this.running;
  }

  /** Gives up one that is being made. */
  async close(): Promise<void> {
    this.closing.abort();
    await this.running?.catch(() => {});
  }
}

class Backup {
  private readonly parts: BackupParts;
  private readonly options: BackupOptions;
  private readonly signal: AbortSignal;
  private readonly target: DirectoryLayout;
  private readonly marker: string;
  /** Paths that were made, the marker not among them. */
  private readonly made: string[] = [];
  private readonly listed: ListedFile[] = [];
  private mayLink: boolean;
  private linkedFiles = 0;
  private copiedBytes = 0;

  constructor(parts: BackupParts, options: BackupOptions, signal: AbortSignal) {
    this.parts = parts;
    this.options = options;
    this.signal = signal;
    this.mayLink = options.mayLink;
    this.target = layoutOf(options.destination);
    this.marker = `${options.destination}/${incompleteBackupName}`;
  }

  async run(): Promise<BackupReport> {
    const { fileSystem, logger, clock } = this.parts;
    const { destination } = this.options;
    const startedMs = clock.monotonicMs();
    await this.begin();
    let pin: FilePin | undefined;
    try {
      pin = fileSystem.pin((path) => this.mayMatter(path));
      const found = await readManifest(fileSystem, this.parts.layout, this.parts.crc32c);
      if (found === undefined) throw new BackupRefusedError('the data directory has lost its manifest');
      const { manifest } = found;
      const position = await this.parts.whenDurable();
      const wanted = filesOf(manifest, position);
      await pin.keepOnly(new Set(wanted.flatMap(({ path, otherPath }) => this.sourcePaths(path, otherPath))));
      await this.makeDirectories();
      for (const file of wanted) {
        this.mustGoOn();
        await this.take(file);
      }
      await this.finish(manifest, position);
      const report: BackupReport = {
        destination,
        storageId: manifest.storageId,
        position: describeLocation(position),
        files: this.listed.length,
        sizeBytes: this.listed.reduce((sum, file) => sum + file.sizeBytes, 0),
        linkedFiles: this.linkedFiles,
        copiedBytes: this.copiedBytes,
        durationMs: Math.round(clock.monotonicMs() - startedMs),
      };
      logger.info({ ...report }, 'made a backup');
      return report;
    } catch (error) {
      logger.warn({ destination, error: (error as Error).message }, 'the backup was not made');
      await this.removeAll();
      throw error;
    } finally {
      await pin?.release();
    }
  }

  /** Refuses what is not an empty directory, and marks it. */
  private async begin(): Promise<void> {
    const { fileSystem, layout } = this.parts;
    const { destination } = this.options;
    for (const [inner, outer] of [
      [destination, layout.root],
      [layout.root, destination],
    ] as const) {
      if (`${inner}/`.startsWith(outer.endsWith('/') ? outer : `${outer}/`)) {
        throw new BackupRefusedError(
          `${destination} and the data directory ${layout.root} lie in one another`,
        );
      }
    }
    const info = await fileSystem.stat(destination);
    if (info !== undefined && !info.isDirectory) {
      throw new BackupRefusedError(`${destination} is not a directory`);
    }
    if (info !== undefined) await this.mustBeEmpty();
    await makeDurableDirectory(fileSystem, destination);
    try {
      const file = await fileSystem.open(this.marker, 'create');
      await file.close();
    } catch (error) {
      if (errorCodeOf(error) !== 'EEXIST') throw error;
      throw new BackupRefusedError(`another backup to ${destination} is being made`);
    }
    await fileSystem.syncDirectory(destination);
  }

  private async mustBeEmpty(): Promise<void> {
    const { fileSystem } = this.parts;
    const { destination } = this.options;
    const own = new Set(Object.values(this.target));
    for (const name of await fileSystem.readdir(destination)) {
      if (name === 'lost+found') continue;
      if (name === incompleteBackupName) {
        throw new BackupRefusedError(
          `${destination} holds a backup that was interrupted or is being made; remove it first`,
        );
      }
      // Directories that an earlier try left empty do not matter.
      const path = `${destination}/${name}`;
      if (own.has(path) && (await fileSystem.readdir(path)).length === 0) continue;
      throw new BackupRefusedError(`${destination} is not empty`);
    }
  }

  private mayMatter(path: string): boolean {
    const { root } = this.parts.layout;
    return path.startsWith(`${root}/`) && namedByManifest.test(path.slice(root.length + 1));
  }

  private sourcePaths(path: string, otherPath: string | undefined): readonly string[] {
    const { root } = this.parts.layout;
    return otherPath === undefined ? [`${root}/${path}`] : [`${root}/${path}`, `${root}/${otherPath}`];
  }

  private mustGoOn(): void {
    if (this.signal.aborted) throw new BackupRefusedError('the backup was given up before it was whole');
  }

  private async makeDirectories(): Promise<void> {
    const { fileSystem } = this.parts;
    const { root, commitLog, consumeQueues, orderedIndex, snapshots, mirror } = this.target;
    for (const path of [commitLog, consumeQueues, orderedIndex, snapshots, mirror]) {
      await fileSystem.mkdir(path);
    }
    await fileSystem.syncDirectory(root);
  }

  private async take(file: WantedFile): Promise<void> {
    const { fileSystem, layout } = this.parts;
    const to = `${this.target.root}/${file.path}`;
    let from = `${layout.root}/${file.path}`;
    const info = await fileSystem.stat(from);
    if (info === undefined && file.otherPath !== undefined) from = `${layout.root}/${file.otherPath}`;
    if (file.untilBytes === undefined && (await this.linked(from, to))) {
      const linked = await fileSystem.stat(to);
      this.linkedFiles++;
      this.listed.push({ path: file.path, sizeBytes: linked!.sizeBytes });
      return;
    }
    this.listed.push({ path: file.path, ...(await this.copy(from, to, file.untilBytes)) });
  }

  /** False where it must be copied. */
  private async linked(from: string, to: string): Promise<boolean> {
    if (!this.mayLink) return false;
    try {
      await this.parts.fileSystem.link(from, to);
      this.made.push(to);
      return true;
    } catch (error) {
      const code = errorCodeOf(error) ?? '';
      if (!cannotLink.has(code)) throw error;
      // One file may have too many names; anything else is so for all of them.
      if (code !== 'EMLINK') this.mayLink = false;
      return false;
    }
  }

  /** Durable but for its name. */
  private async copy(
    from: string,
    to: string,
    untilBytes: number | undefined,
  ): Promise<{ readonly sizeBytes: number; readonly checksum: number }> {
    const { fileSystem, crc32c } = this.parts;
    const source = await fileSystem.open(from, 'read');
    try {
      const sizeBytes = untilBytes ?? (await source.sizeBytes());
      const target = await fileSystem.open(to, 'create');
      this.made.push(to);
      try {
        const chunk = Buffer.allocUnsafeSlow(Math.max(1, Math.min(chunkBytes, sizeBytes)));
        let checksum = 0;
        let dirtyBytes = 0;
        for (let at = 0; at < sizeBytes; ) {
          this.mustGoOn();
          const wanted = Math.min(chunk.length, sizeBytes - at);
          const read = await source.read(chunk, 0, wanted, at);
          if (read !== wanted) throw new Error(`${from} ends at byte ${at + read} instead of ${sizeBytes}`);
          checksum = crc32c(chunk, 0, read, checksum);
          await target.write([chunk.subarray(0, read)], at);
          at += read;
          dirtyBytes += read;
          this.copiedBytes += read;
          if (dirtyBytes < flushBytes) continue;
          dirtyBytes = 0;
          await target.datasync();
        }
        await target.datasync();
        return { sizeBytes, checksum };
      } finally {
        await target.close();
      }
    } finally {
      await source.close();
    }
  }

  /** All files are there: makes their names durable, then says so. */
  private async finish(manifest: Manifest, position: number): Promise<void> {
    const { fileSystem, crc32c, clock } = this.parts;
    const { root, commitLog, consumeQueues, orderedIndex, snapshots, mirror } = this.target;
    for (const path of [commitLog, consumeQueues, orderedIndex, snapshots, mirror]) {
      await fileSystem.syncDirectory(path);
    }
    this.mustGoOn();
    // Not clean: the start reads on from the manifest's places, and raises the epoch, since clients may know what came later.
    const own: Manifest = { ...manifest, durablePosition: position, isClean: false };
    const bytes = Buffer.concat(encodeManifest(nextManifest(own), crc32c));
    const listing: BackupListing = {
      storageId: manifest.storageId,
      createdAt: new Date(clock.nowMs()).toISOString(),
      position,
      manifestChecksum: crc32c(bytes, 0, bytes.length),
      files: this.listed,
    };
    await writeListing(fileSystem, root, crc32c, listing);
    await writeManifest(fileSystem, this.target, crc32c, own);
    await fileSystem.unlink(this.marker);
    await fileSystem.syncDirectory(root);
  }

  /** As far as it can be: whoever asked shall be able to ask again. The marker goes last. */
  private async removeAll(): Promise<void> {
    const { fileSystem } = this.parts;
    const { root, mirror } = this.target;
    const { manifestPaths, listingPaths } = writtenAtTheEnd(root, mirror);
    try {
      for (const path of [...manifestPaths, ...listingPaths, ...this.made, this.marker]) {
        await fileSystem.unlink(path).catch((error: unknown) => {
          if (errorCodeOf(error) !== 'ENOENT') throw error;
        });
      }
      await fileSystem.syncDirectory(root);
    } catch {
      // The marker stays, and says what this is.
    }
  }
}

function writtenAtTheEnd(root: string, mirror: string) {
  return {
    manifestPaths: [
      `${root}/MANIFEST`,
      `${root}/MANIFEST.new`,
      `${mirror}/MANIFEST`,
      `${mirror}/MANIFEST.new`,
    ],
    listingPaths: [`${root}/BACKUP`, `${root}/BACKUP.new`],
  };
}

/** What a start from the manifest needs, with the log up to `position`. */
export function filesOf(manifest: Manifest, position: number): readonly WantedFile[] {
  const files: WantedFile[] = [];
  for (const { segments, run } of manifest.extents) {
    for (const { number } of segments) files.push({ path: `commitlog/${segmentFileName(number)}` });
    files.push({ path: `consumequeues/${runFileName(run.number)}` });
  }
  for (const { number } of manifest.pieces) files.push({ path: `consumequeues/${runFileName(number)}` });
  const twice = (directory: string, name: string): void => {
    files.push({ path: `${directory}/${name}`, otherPath: `mirror/${name}` });
    files.push({ path: `mirror/${name}`, otherPath: `${directory}/${name}` });
  };
  const { state, producers, orderedIndex, headSegment } = manifest;
  if (state.number !== undefined) twice('snapshots', stateFileName(state.number));
  if (producers.number !== undefined) twice('snapshots', producersFileName(producers.number));
  for (const { number } of orderedIndex.runs) twice('index', orderedRunFileName(number));
  const last = segmentOf(position);
  for (let number = headSegment; number < last; number++) {
    files.push({ path: `commitlog/${segmentFileName(number)}` });
  }
  if (offsetIn(position) > 0) {
    files.push({ path: `commitlog/${segmentFileName(last)}`, untilBytes: offsetIn(position) });
  }
  return files;
}

/** With the directories above it, and so that their names survive a power cut. */
async function makeDurableDirectory(fileSystem: FileSystem, path: string): Promise<void> {
  if ((await fileSystem.stat(path)) !== undefined) return;
  const parent = dirname(path);
  if (parent !== path) await makeDurableDirectory(fileSystem, parent);
  await fileSystem.mkdir(path);
  await fileSystem.syncDirectory(parent);
}
