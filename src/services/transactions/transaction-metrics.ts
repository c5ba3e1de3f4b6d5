/** Transactions for dashboards: how many are open, how old the oldest is, and what each one holds back. */
import type { OpenPartition } from './open-transactions.ts';
import type { TransactionFigures } from './transaction-coordinator.ts';

/** As telemetry's writer, which services do not import. */
interface MetricWriter {
  single(name: string, type: 'counter' | 'gauge', help: string, value: number): void;
  family(name: string, type: 'counter' | 'gauge', help: string): void;
  sample(value: number, labels?: Readonly<Record<string, string | number>>): void;
}

/** Partitions that are listed one by one: those that have been held back longest. */
export const maxPartitionsListed = 100;

export interface HeldPartition {
  readonly topic: string;
  readonly partition: number;
  /** Since the oldest open transaction with records there began. */
  readonly ageMs: number;
  /** Offsets that read_committed readers do not see yet. */
  readonly lag: number;
}

export interface TransactionMetricsSource {
  figures(): TransactionFigures;
  /** The oldest first, at most `limit`. */
  heldPartitions(limit: number): readonly HeldPartition[];
}

export function transactionMetrics(source: TransactionMetricsSource): (writer: MetricWriter) => void {
  return (writer) => {
    const figures = source.figures();
    const gauge = (name: string, help: string, value: number) => writer.single(name, 'gauge', help, value);
    const counter = (name: string, help: string, value: number) =>
      writer.single(name, 'counter', help, value);
    gauge('odradek_transactions_open', 'Transactions with records and no end', figures.openTransactions);
    gauge(
      'odradek_transactions_open_partitions',
      'Partitions of open transactions, each counted by itself',
      figures.openPartitions,
    );
    gauge(
      'odradek_transactions_held_records',
      'Hidden records (delayed ones) that wait for the end of their transaction',
      figures.heldRecords,
    );
    gauge(
      'odradek_transactions_oldest_open_seconds',
      'Since the oldest open transaction wrote its first record',
      figures.oldestOpenMs / 1000,
    );
    counter('odradek_transactions_committed_total', 'Transactions committed', figures.committed);
    counter('odradek_transactions_aborted_total', 'Transactions aborted', figures.aborted);
    counter(
      'odradek_transactions_timed_out_total',
      'Transactions aborted because they took too long',
      figures.timedOut,
    );
    const held = source.heldPartitions(maxPartitionsListed);
    writer.family(
      'odradek_partition_stable_offset_age_seconds',
      'gauge',
      'How long the last stable offset has stood behind the high watermark; the oldest partitions only',
    );
    for (const { topic, partition, ageMs } of held) writer.sample(ageMs / 1000, { topic, partition });
    writer.family(
      'odradek_partition_stable_offset_lag',
      'gauge',
      'Offsets between the last stable offset and the high watermark; the oldest partitions only',
    );
    for (const { topic, partition, lag } of held) writer.sample(lag, { topic, partition });
  };
}

/** The open parts, one a queue: the oldest of each. */
export function oldestOfEachQueue(open: Iterable<OpenPartition>): readonly OpenPartition[] {
  const byQueue = new Map<number, OpenPartition>();
  for (const part of open) {
    const known = byQueue.get(part.queue);
    if (known === undefined || part.startMs < known.startMs) byQueue.set(part.queue, part);
  }
  return [...byQueue.values()].sort((a, b) => a.startMs - b.startMs);
}
