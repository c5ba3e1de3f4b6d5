/**
 * What clients pushed last, kept for whoever shows it: the newest value of each metric of each client, deltas added up. Bounded;
 * what does not fit is counted. Knows nothing of requests.
 */
import type { HistogramValue, MetricPoint } from './otlp-metrics.ts';

/** Of all clients together. */
const maxSeries = 50_000;
/** Of one client. */
export const maxSeriesPerClient = 2_000;

export interface Series {
  readonly name: string;
  readonly type: 'gauge' | 'counter' | 'histogram';
  readonly attributes: ReadonlyMap<string, string>;
  value: number | HistogramValue;
}

export class PushedMetrics {
  readonly #byClient = new Map<string, Map<string, Series>>();
  #size = 0;
  /** Points that had no room. */
  leftOut = 0;

  /** Series kept, of all clients. */
  get size(): number {
    return this.#size;
  }

  get clients(): ReadonlyMap<string, ReadonlyMap<string, Series>> {
    return this.#byClient;
  }

  add(clientInstanceId: string, points: readonly MetricPoint[]): void {
    let series = this.#byClient.get(clientInstanceId);
    if (series === undefined) {
      series = new Map();
      this.#byClient.set(clientInstanceId, series);
    }
    for (const point of points) this.#addPoint(series, point);
  }

  forget(clientInstanceId: string): void {
    const series = this.#byClient.get(clientInstanceId);
    if (series === undefined) return;
    this.#size -= series.size;
    this.#byClient.delete(clientInstanceId);
  }

  #addPoint(series: Map<string, Series>, point: MetricPoint): void {
    const { name, attributes, kind, isDelta, isMonotonic, value } = point;
    const key = JSON.stringify([name, ...[...attributes].sort(([a], [b]) => (a < b ? -1 : 1))]);
    const before = series.get(key);
    if (before === undefined) {
      if (series.size >= maxSeriesPerClient || this.#size >= maxSeries) {
        this.leftOut += 1;
        return;
      }
      const type = kind === 'histogram' ? 'histogram' : kind === 'sum' && isMonotonic ? 'counter' : 'gauge';
      series.set(key, { name, attributes, type, value });
      this.#size += 1;
      return;
    }
    before.value = isDelta ? sumOf(before.value, value) : value;
  }
}

function sumOf(before: Series['value'], more: Series['value']): Series['value'] {
  if (typeof before === 'number' || typeof more === 'number') {
    return typeof before === 'number' && typeof more === 'number' ? before + more : more;
  }
  const isAlike =
    before.counts.length === more.counts.length &&
    before.bounds.every((bound, at) => bound === more.bounds[at]);
  return {
    count: before.count + more.count,
    sum: before.sum + more.sum,
    bounds: more.bounds,
    counts: isAlike ? more.counts.map((count, at) => count + before.counts[at]!) : more.counts,
  };
}
