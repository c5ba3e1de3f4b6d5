/** Metrics of records that failed: retries and dead letters. */
import type { Collector } from './metrics.ts';

export interface RetryFigures {
  /** Undefined before they were counted. */
  readonly pending: number | undefined;
  readonly scheduled: number;
  readonly repeated: number;
  readonly delivered: number;
  /** Dead letters by reason. */
  readonly deadLetters: Readonly<Record<string, number>>;
}

export function retryMetrics(read: () => RetryFigures): Collector {
  return (writer) => {
    const { pending, scheduled, repeated, delivered, deadLetters } = read();
    if (pending !== undefined) {
      writer.single('odradek_retries_pending', 'gauge', 'Records that failed and will come again', pending);
    }
    const counted = (name: string, help: string, value: number) =>
      writer.single(name, 'counter', help, value);
    counted('odradek_retries_scheduled_total', 'Failures of records that will come again', scheduled);
    counted('odradek_retries_repeated_total', 'Failures told of again and ignored', repeated);
    counted('odradek_retries_delivered_total', 'Records delivered again', delivered);
    writer.family('odradek_dead_letters_total', 'counter', 'Dead letters written, by reason');
    for (const [reason, count] of Object.entries(deadLetters)) writer.sample(count, { reason });
  };
}
