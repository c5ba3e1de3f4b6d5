/**
 * Reads a whole backup and says what is wrong with it: every file is there and as large as it was, and every checksum holds, of every
 * entry of the log, every block of every index and every snapshot. Changes nothing.
 */
import type { PayloadFormat } from '../engine.ts';
import { filesOf } from './backup.ts';
import { type BackupListing, readListing } from './backup-listing.ts';
import { BlockCache, ReadGate } from './block-cache.ts';
import type { Checksum } from './checksum.ts';
import { type DirectoryLayout, layoutOf, producersFileName, stateFileName } from './directory-layout.ts';
import type { FileSystem } from './file-system.ts';
import { locationOf, offsetIn, segmentOf } from './location.ts';
import { scanLog } from './log-scan.ts';
import { encodeManifest, type Manifest, readManifest } from './manifest.ts';
import { Run } from './ordered-index/run-file.ts';
import { RunFile, runBlockBytes } from './run-file.ts';
import { openSnapshot, type SnapshotKind } from './state-snapshot.ts';
import { readWhole } from './whole-file.ts';

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

export async function verifyBackup(options: VerifyOptions): Promise<BackupVerdict> {
  const { fileSystem, directory, crc32c } = options;
  const listing = await readListing(fileSystem, directory, crc32c);
  if (typeof listing === 'string') return { faults: [listing], listing: undefined };
  return { faults: await new Verification(options, listing).run(), listing };
}

class Verification {
  private readonly options: VerifyOptions;
  private readonly listing: BackupListing;
  private readonly layout: DirectoryLayout;
  private readonly faults: string[] = [];

  constructor(options: VerifyOptions, listing: BackupListing) {
    this.options = options;
    this.listing = listing;
    this.layout = layoutOf(options.directory);
  }

  async run(): Promise<readonly string[]> {
    const manifest = await this.manifest();
    if (manifest === undefined) return this.faults;
    const { files, position } = this.listing;
    const listed = new Set(files.map(({ path }) => path));
    for (const { path } of filesOf(manifest, position)) {
      if (!listed.has(path)) this.faults.push(`${path} is needed and not part of the backup`);
    }
    for (const file of files) await this.attempt(file.path, () => this.file(file));
    // What is missing was said; the rest is looked into.
    const { extents, pieces, headSegment, orderedIndex, state, producers } = manifest;
    for (const { segments, run } of extents) {
      for (const { number } of segments) await this.segment(number, locationOf(number + 1, 0));
      await this.attempt(`run ${run.number}`, () => this.run_(run));
    }
    for (const piece of pieces) await this.attempt(`run ${piece.number}`, () => this.run_(piece));
    for (let number = headSegment; number < segmentOf(position); number++) {
      await this.segment(number, locationOf(number + 1, 0));
    }
    if (offsetIn(position) > 0) await this.segment(segmentOf(position), position);
    if (state.number !== undefined) await this.snapshots('state', stateFileName(state.number));
    if (producers.number !== undefined)
      await this.snapshots('producers', producersFileName(producers.number));
    for (const description of orderedIndex.runs) {
      for (const copy of [this.layout.orderedIndex, this.layout.mirror]) {
        await this.attempt(`${copy} run ${description.number}`, async () => {
          const run = await Run.open(this.options.fileSystem, [copy], description);
          for (const block of await run.damagedBlocks(run.path)) {
            this.faults.push(`${run.path} is damaged in block ${block}`);
          }
          await run.retire();
        });
      }
    }
    return this.faults;
  }

  private async manifest(): Promise<Manifest | undefined> {
    const { fileSystem, crc32c, directory } = this.options;
    let manifest: Manifest | undefined;
    await this.attempt('MANIFEST', async () => {
      const found = await readManifest(fileSystem, this.layout, crc32c);
      if (found === undefined) this.faults.push(`${directory} has no manifest: the backup was interrupted`);
      else {
        this.faults.push(...found.faults);
        manifest = found.manifest;
      }
    });
    if (manifest === undefined) return undefined;
    const bytes = Buffer.concat(encodeManifest(manifest, crc32c));
    if (crc32c(bytes, 0, bytes.length) === this.listing.manifestChecksum) return manifest;
    this.faults.push(`a broker was started on ${directory} after the backup: it is a data directory now`);
    return undefined;
  }

  private async file({ path, sizeBytes, checksum }: BackupListing['files'][number]): Promise<void> {
    const { fileSystem, crc32c, directory } = this.options;
    const info = await fileSystem.stat(`${directory}/${path}`);
    if (info === undefined || info.isDirectory || info.isOther) {
      this.faults.push(`${path} is missing`);
      return;
    }
    if (info.sizeBytes !== sizeBytes) {
      this.faults.push(`${path} has ${info.sizeBytes} bytes instead of ${sizeBytes}`);
      return;
    }
    if (checksum === undefined) return;
    const file = await fileSystem.open(`${directory}/${path}`, 'read');
    try {
      const chunk = Buffer.allocUnsafeSlow(Math.max(1, Math.min(sizeBytes, 4 * 1024 * 1024)));
      let sum = 0;
      for (let at = 0; at < sizeBytes; ) {
        const read = await file.read(chunk, 0, Math.min(chunk.length, sizeBytes - at), at);
        if (read === 0) break;
        sum = crc32c(chunk, 0, read, sum);
        at += read;
      }
      if (sum !== checksum) this.faults.push(`${path} is damaged: its checksum does not hold`);
    } finally {
      await file.close();
    }
  }

  private async segment(number: number, until: number): Promise<void> {
    const { fileSystem, crc32c, payloadFormat } = this.options;
    await this.attempt(`segment ${number}`, async () => {
      const { losses } = await scanLog({
        fileSystem,
        directory: this.layout.commitLog,
        crc32c,
        format: payloadFormat,
        from: locationOf(number, 0),
        until,
        durablePosition: until,
        acceptLoss: true,
        visit: () => {},
        segmentEnded: () => {},
      });
      this.faults.push(...losses.map((loss) => `in the commit log: ${loss}`));
    });
  }

  private async run_(reference: Manifest['pieces'][number]): Promise<void> {
    const { fileSystem, crc32c } = this.options;
    const cache = new BlockCache(runBlockBytes, 0, new ReadGate(1));
    const run = await RunFile.open(fileSystem, this.layout.consumeQueues, crc32c, cache, reference);
    if (!(await run.isIntact())) this.faults.push(`index run ${reference.number} is damaged`);
    run.retire();
  }

  private async snapshots(kind: SnapshotKind, name: string): Promise<void> {
    for (const directory of [this.layout.snapshots, this.layout.mirror]) {
      const path = `${directory}/${name}`;
      await this.attempt(path, async () => {
        const bytes = await readWhole(this.options.fileSystem, path);
        if (bytes === undefined) return;
        if (openSnapshot(kind, bytes, this.options.crc32c) === undefined)
          this.faults.push(`${path} is damaged`);
      });
    }
  }

  private async attempt(what: string, look: () => Promise<void>): Promise<void> {
    try {
      await look();
    } catch (error) {
      this.faults.push(`${what}: ${(error as Error).message}`);
    }
  }
}
