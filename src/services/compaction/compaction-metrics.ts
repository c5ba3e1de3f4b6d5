/** Compaction for dashboards, under the names that Kafka's LogCleaner and LogCleanerManager have where there are such. */
import type { Clock } from '../../util/clock.ts';
import type { CompactionFigures } from './compaction-service.ts';

/** As telemetry's writer, which services do not import. */
interface MetricWriter {
  single(name: string, type: 'counter' | 'gauge', help: string, value: number): void;
}

export function compactionMetrics(
  read: () => CompactionFigures,
  clock: Pick<Clock, 'monotonicMs'>,
): (writer: MetricWriter) => void {
  return (writer) => {
    const figures = read();
    const gauge = (name: string, help: string, value: number) => writer.single(name, 'gauge', help, value);
    const counter = (name: string, help: string, value: number) =>
      writer.single(name, 'counter', help, value);
    gauge(
      'kafka_log_logcleanermanager_max_dirty_percent',
      'Dirty part of the dirtiest compacted partition, in percent',
      Math.floor(figures.maxDirtyRatio * 100),
    );
    gauge(
      'kafka_log_logcleanermanager_time_since_last_run_ms',
      'Time since partitions were last looked at, in ms; -1 before the first time',
      figures.lastRoundStartedMs === undefined
        ? -1
        : Math.round(clock.monotonicMs() - figures.lastRoundStartedMs),
    );
    gauge(
      'kafka_log_logcleanermanager_uncleanable_partitions_count',
      'Partitions that are not compacted because something in them cannot be read',
      figures.uncleanablePartitions,
    );
    gauge(
      'kafka_log_logcleanermanager_uncleanable_bytes',
      'Bytes of those partitions',
      figures.uncleanableBytes,
    );
    gauge(
      'kafka_log_logcleaner_cleaner_recopy_percent',
      'What the last pass left, in percent of what it looked at',
      figures.lastPassBytesBefore === 0
        ? 0
        : Math.floor((100 * figures.lastPassBytesAfter) / figures.lastPassBytesBefore),
    );
    gauge(
      'kafka_log_logcleaner_max_clean_time_secs',
      'How long the last pass took, in seconds',
      figures.lastPassMs / 1000,
    );
    gauge(
      'kafka_log_logcleaner_max_buffer_utilization_percent',
      'How full the map of keys got, in percent',
      Math.floor(figures.mapFill * 100),
    );
    gauge(
      'kafka_log_logcleaner_max_compaction_delay_secs',
      'By how much the oldest record that max.compaction.lag.ms asks to compact is late, in seconds',
      figures.maxDelayMs / 1000,
    );
    counter('odradek_compaction_passes_total', 'Partitions compacted, each time', figures.passes);
    counter('odradek_compaction_bytes_read_total', 'Bytes that passes looked at', figures.bytesBefore);
    counter('odradek_compaction_bytes_kept_total', 'Bytes that passes left', figures.bytesAfter);
    counter('odradek_compaction_records_read_total', 'Records that passes looked at', figures.recordsBefore);
    counter('odradek_compaction_records_kept_total', 'Records that passes left', figures.recordsAfter);
  };
}
