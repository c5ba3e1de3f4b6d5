import type { Clock } from '../../../util/clock.ts';
import type { Log } from '../../../util/log.ts';
import type { PayloadFormat, QueueId } from '../../engine.ts';
import type { Checksum } from '../checksum.ts';
import type { CommitLog } from '../commit-log.ts';
import type { ConsumeQueueIndex } from '../consume-queue-index.ts';
import type { DirectoryLayout } from '../directory-layout.ts';
import type { DiskSpace } from '../disk-space.ts';
import type { FileSystem } from '../file-system.ts';
import { firstCleanedSegment, segmentNumberLimit } from '../location.ts';
import type { Maintenance } from '../maintenance.ts';
import type { Extent } from '../manifest.ts';
import type { QueueState } from '../queue-state.ts';
import type { RunContext } from '../run-build.ts';
import type { RunFile } from '../run-file.ts';
import type { SegmentFiles } from '../segment-files.ts';
import type { EmbeddedSettings } from '../settings.ts';
import { CleanedWriter, type FreshExtent } from './cleaned-writer.ts';
import { EntryCopy } from './entry-copy.ts';
import { Pacer } from './pacer.ts';

export interface CleanerParts {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly format: PayloadFormat;
  readonly settings: EmbeddedSettings;
  readonly clock: Clock;
  readonly logger: Log;
  readonly epoch: number;
  readonly queues: ReadonlyMap<QueueId, QueueState>;
  readonly commitLog: CommitLog;
  readonly index: ConsumeQueueIndex;
  readonly maintenance: Maintenance;
  readonly segments: SegmentFiles;
  readonly runContext: RunContext;
  readonly space: DiskSpace;
  /** Closes the head segment, where it holds anything: the log goes on in the next. Rationed by the cleaner. */
  closeHead(): void;
}

export class Copying {
  readonly pacer: Pacer;
  /** Where the next cleaned segment's number is looked for. */
  nextSegment: number;
  readonly facts = {
    liveBytes: 0,
    reclaimableBytes: 0,
    copiedBytes: 0,
    reclaimedBytes: 0,
    rewrites: 0,
    spacePasses: 0,
    failures: 0,
    damagedEntries: 0,
  };

  private readonly parts: CleanerParts;

  constructor(parts: CleanerParts) {
    this.parts = parts;
    this.pacer = new Pacer(parts.clock, parts.settings.cleanBytesPerSecond);
    this.nextSegment = parts.maintenance.nextCleanedSegment ?? firstCleanedSegment;
  }

  newCopy(writer: CleanedWriter): EntryCopy {
    const { segments, format, crc32c, logger, settings } = this.parts;
    return new EntryCopy(
      { segments, format, crc32c, logger, pacer: this.pacer, memoryBytes: settings.cleanMemoryBytes },
      writer,
    );
  }

  async finishCopy(copy: EntryCopy, writer: CleanedWriter): Promise<readonly FreshExtent[]> {
    const tally = await copy.finish();
    const fresh = await writer.finish();
    this.facts.copiedBytes += writer.copiedBytes;
    this.facts.damagedEntries += tally.damaged;
    return fresh;
  }

  newWriter(extents: readonly Extent[]): CleanedWriter {
    const { fileSystem, layout, crc32c, runContext, settings, epoch, commitLog } = this.parts;
    const taken = new Set(extents.flatMap(({ segments }) => segments.map(({ number }) => number)));
    return new CleanedWriter({
      fileSystem,
      layout,
      crc32c,
      runContext,
      pacer: this.pacer,
      segmentBytes: settings.segmentBytes,
      cutBytes: settings.cleanedCutBytes,
      epoch,
      durablePosition: () => commitLog.durable,
      takeSegment: () => this.takeSegment(taken),
    });
  }

  /** Numbers come round again, a quarter of a million later. */
  private takeSegment(taken: ReadonlySet<number>): number {
    for (let tries = segmentNumberLimit - firstCleanedSegment; tries > 0; tries--) {
      const number = this.nextSegment;
      this.nextSegment = number + 1 < segmentNumberLimit ? number + 1 : firstCleanedSegment;
      if (!taken.has(number)) return number;
    }
    throw new Error(
      `there are ${segmentNumberLimit - firstCleanedSegment} cleaned segments, and no number is left`,
    );
  }

  runsOf(extents: readonly Extent[]): RunFile[] {
    const open = new Map(this.parts.index.runs.map((run) => [run.reference.number, run]));
    return extents.map(({ run }) => open.get(run.number)!);
  }
}
