/** A table of the index that was cut off becomes a run file; state, producers and the ordered index as of the same place go with it. */
import type { Checksum } from './checksum.ts';
import type { CommitLog } from './commit-log.ts';
import type { ConsumeQueueIndex } from './consume-queue-index.ts';
import type { FrozenTable } from './consume-queue-table.ts';
import { type DirectoryLayout, producersFileName, stateFileName } from './directory-layout.ts';
import type { FileSystem } from './file-system.ts';
import { locationOf } from './location.ts';
import type { Manifest } from './manifest.ts';
import type { ManifestKeeper } from './manifest-keeper.ts';
import { writeTwice } from './mirror.ts';
import type { IndexStore } from './ordered-index/index-store.ts';
import { type RunContext, writeFrozenTable } from './run-build.ts';
import { RunFile } from './run-file.ts';
import type { EmbeddedSettings } from './settings.ts';
import { sealSnapshot } from './state-snapshot.ts';

export interface SealsParts {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly settings: EmbeddedSettings;
  readonly commitLog: CommitLog;
  readonly index: ConsumeQueueIndex;
  readonly orderedIndex: IndexStore;
  readonly runContext: RunContext;
}

export interface SealJob {
  readonly frozen: FrozenTable;
  /** Taken when the table was cut off; undefined: not this time. */
  readonly state: Buffer | undefined;
  readonly producers: Buffer | undefined;
  /** The newest rewrite that the state knows of. */
  readonly sizeSequence: number;
  /** Nothing may be left that an earlier segment is needed for. */
  readonly isFull: boolean;
}

/** The ordered index is sealed at the latest after so many times sealBytes of log. */
const orderedIndexFactor = 8;

export class Seals {
  private readonly parts: SealsParts;
  private readonly keeper: ManifestKeeper;
  private bytesAtOrderedSeal = 0;

  constructor(parts: SealsParts, keeper: ManifestKeeper) {
    this.parts = parts;
    this.keeper = keeper;
  }

  /** Once the log is durable up to there. `done`: the table's rows are in a run from here on, whatever becomes of the rest. */
  async finish(job: SealJob, done: () => void): Promise<void> {
    const { fileSystem, layout, crc32c, commitLog, index, orderedIndex, runContext, settings } = this.parts;
    const position = job.frozen.to;
    await commitLog.whenDurable(position);
    const isEmpty = job.frozen.from === position;
    const reference = isEmpty ? undefined : await writeFrozenTable(runContext, job.frozen);
    let next: Manifest = {
      ...this.keeper.manifest,
      pieces:
        reference === undefined ? this.keeper.manifest.pieces : [...this.keeper.manifest.pieces, reference],
      headSealed: this.keeper.headSealed.filter(
        (segment) => locationOf(segment.number, segment.sizeBytes) <= position,
      ),
      indexedTo: position,
    };
    if (job.state !== undefined) {
      const number = runContext.nextFileNumber();
      const content = sealSnapshot('state', number, position, job.state, crc32c);
      await writeTwice(fileSystem, layout.snapshots, layout.mirror, stateFileName(number), content);
      const sizeChanges = next.sizeChanges?.filter(({ sequence }) => sequence > job.sizeSequence);
      next = { ...next, state: { number, position }, ...(sizeChanges === undefined ? {} : { sizeChanges }) };
    }
    if (job.producers !== undefined) {
      const number = job.producers.length === 0 ? undefined : runContext.nextFileNumber();
      if (number !== undefined) {
        const content = sealSnapshot('producers', number, position, job.producers, crc32c);
        await writeTwice(fileSystem, layout.snapshots, layout.mirror, producersFileName(number), content);
      }
      next = { ...next, producers: { number, position } };
    }
    const bytes = commitLog.totalAppendedBytes;
    const orderedIsDue =
      job.isFull ||
      orderedIndex.isFull ||
      bytes - this.bytesAtOrderedSeal >= settings.sealBytes * orderedIndexFactor;
    if (orderedIndex.memtableBytes === 0) {
      next = { ...next, orderedIndex: { runs: orderedIndex.descriptions(), position } };
      this.bytesAtOrderedSeal = bytes;
    } else if (orderedIsDue) {
      await orderedIndex.seal();
      next = { ...next, orderedIndex: { runs: orderedIndex.descriptions(), position } };
      this.bytesAtOrderedSeal = bytes;
    }
    const before = this.keeper.manifest;
    let run: RunFile | undefined;
    if (reference !== undefined) {
      await fileSystem.syncDirectory(layout.consumeQueues);
      run = await RunFile.open(fileSystem, layout.consumeQueues, crc32c, runContext.cache, reference);
    }
    try {
      await this.keeper.write(next);
    } catch (error) {
      run?.retire();
      throw error;
    }
    index.replaceFrozen(job.frozen, run);
    done();
    await this.keeper.removeSnapshots(before);
    await orderedIndex.dropUnused(this.keeper.manifest.orderedIndex.runs);
    if (await orderedIndex.mergeIfDue()) {
      const { position: orderedPosition } = this.keeper.manifest.orderedIndex;
      await this.keeper.write({
        ...this.keeper.manifest,
        orderedIndex: { runs: orderedIndex.descriptions(), position: orderedPosition },
      });
      await orderedIndex.dropUnused(this.keeper.manifest.orderedIndex.runs);
    }
  }
}
