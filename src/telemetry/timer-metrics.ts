/** Metrics of timers and of what is delayed. The histogram is milliseconds from the due time to the moment when readers could see it. */
import type { Collector } from './metrics.ts';

export interface TimerFigures {
  readonly loaded: number;
  /** By kind, as counted at the last pass over all; undefined before the first. */
  readonly pending: ReadonlyMap<string, number> | undefined;
  /** Deliveries that wait, at the same pass. A group's retries are delivered to its retry topic. */
  readonly pendingByTopic: ReadonlyMap<string, number>;
  readonly latenessByTopic: ReadonlyMap<string, { readonly count: number; readonly sumMs: number }>;
  /** By kind. */
  readonly fired: ReadonlyMap<string, number>;
  /** By reason. */
  readonly discarded: ReadonlyMap<string, number>;
  readonly lateness: {
    readonly boundsMs: readonly number[];
    /** One a bound and one beyond, each for its bucket alone. */
    readonly counts: readonly number[];
    readonly sumMs: number;
  };
  readonly scheduledRecords: number;
  readonly operations: Readonly<Record<string, number>>;
}

export function timerMetrics(read: () => TimerFigures): Collector {
  return (writer) => {
    const figures = read();
    writer.single(
      'odradek_timers_loaded',
      'gauge',
      'Timers in memory: those that are due next',
      figures.loaded,
    );
    if (figures.pending !== undefined) {
      writer.family('odradek_timers_pending', 'gauge', 'Timers that wait, as counted at the last pass');
      for (const [kind, count] of figures.pending) writer.sample(count, { kind });
    }
    writer.family(
      'odradek_deliveries_pending',
      'gauge',
      'Later deliveries that wait, as counted at the last pass',
    );
    for (const [topic, count] of figures.pendingByTopic) writer.sample(count, { topic });
    writer.family('odradek_deliveries_total', 'counter', 'Later deliveries that were made');
    for (const [topic, { count }] of figures.latenessByTopic) writer.sample(count, { topic });
    writer.family(
      'odradek_deliveries_lateness_seconds_total',
      'counter',
      'By how much they were late, together: divided by their number, the mean',
    );
    for (const [topic, { sumMs }] of figures.latenessByTopic) writer.sample(sumMs / 1000, { topic });
    writer.family('odradek_timers_fired_total', 'counter', 'Timers that fired');
    for (const [kind, count] of figures.fired) writer.sample(count, { kind });
    writer.family('odradek_timers_discarded_total', 'counter', 'Timers that came to nothing');
    for (const [reason, count] of figures.discarded) writer.sample(count, { reason });
    writer.single(
      'odradek_delayed_records_total',
      'counter',
      'Records taken to be delivered later',
      figures.scheduledRecords,
    );
    writer.family('odradek_delayed_operations_total', 'counter', 'Operations done on delayed records');
    for (const [action, count] of Object.entries(figures.operations)) writer.sample(count, { action });
    const { boundsMs, counts, sumMs } = figures.lateness;
    writer.histogram(
      'odradek_timer_lateness_seconds',
      'From when a timer was due to when what it does could be seen',
      boundsMs.map((bound) => bound / 1000),
      counts,
      sumMs / 1000,
    );
  };
}
