/** What the storage engine's cleaner knows of space, and what cleaning costs. */
import type { Collector } from './metrics.ts';

/** What is read at a scrape; counters since the start. */
export interface SpaceFigures {
  readonly liveBytes: number;
  readonly reclaimableBytes: number;
  readonly appendedBytes: number;
  readonly copiedBytes: number;
  readonly reclaimedBytes: number;
  readonly rewrites: number;
  readonly spacePasses: number;
  readonly failures: number;
  readonly damagedEntries: number;
}

export function spaceMetrics(read: () => SpaceFigures): Collector {
  return (writer) => {
    const figures = read();
    const gauge = (name: string, help: string, value: number): void =>
      writer.single(name, 'gauge', help, value);
    const counter = (name: string, help: string, value: number): void =>
      writer.single(name, 'counter', help, value);
    gauge(
      'odradek_storage_live_bytes',
      'Bytes of sealed segments that somebody may still read, when last looked over',
      figures.liveBytes,
    );
    gauge(
      'odradek_storage_reclaimable_bytes',
      'Bytes of sealed segments that nobody can read any more and that wait to be given back',
      figures.reclaimableBytes,
    );
    counter('odradek_storage_appended_bytes_total', 'Bytes appended to the log', figures.appendedBytes);
    counter(
      'odradek_storage_copied_bytes_total',
      'Bytes written again by compaction and cleaning',
      figures.copiedBytes,
    );
    counter(
      'odradek_storage_reclaimed_bytes_total',
      'Bytes given back by copying what was left of segments',
      figures.reclaimedBytes,
    );
    gauge(
      'odradek_storage_write_amplification_ratio',
      'Bytes written to segments for each byte appended, since the start',
      figures.appendedBytes === 0 ? 1 : 1 + figures.copiedBytes / figures.appendedBytes,
    );
    counter('odradek_storage_rewrites_total', 'Rewrites of queues', figures.rewrites);
    counter(
      'odradek_storage_cleaner_runs_total',
      'Stretches of the log that were cleaned',
      figures.spacePasses,
    );
    counter('odradek_storage_cleaner_failures_total', 'Cleaning passes that were given up', figures.failures);
    counter(
      'odradek_storage_cleaner_damaged_entries_total',
      'Damaged entries that cleaning met and carried along',
      figures.damagedEntries,
    );
  };
}
