/** Shows the metrics that clients pushed, beside those of the broker; the names begin with `client_`, so that none stands for another. */
import type { Collector, Labels, MetricWriter } from './metrics.ts';

interface ShownHistogram {
  readonly count: number;
  readonly sum: number;
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
}

interface ShownSeries {
  readonly name: string;
  readonly type: 'gauge' | 'counter' | 'histogram';
  readonly attributes: ReadonlyMap<string, string>;
  readonly value: number | ShownHistogram;
}

export interface PushedFigures {
  /** Clients that asked or pushed lately. */
  readonly instances: number;
  readonly taken: number;
  readonly unreadable: number;
  readonly leftOut: number;
  readonly clients: readonly {
    readonly id: string;
    readonly clientId: string;
    readonly series: Iterable<ShownSeries>;
  }[];
}

interface Family {
  readonly type: ShownSeries['type'];
  readonly samples: { readonly labels: Labels; readonly value: number | ShownHistogram }[];
}

export function pushedMetrics(read: () => PushedFigures): Collector {
  return (writer) => {
    const { instances, taken, unreadable, leftOut, clients } = read();
    const total = (name: string, help: string, value: number) =>
      writer.single(`odradek_client_metrics_${name}`, 'counter', help, value);
    writer.single('odradek_client_metrics_instances', 'gauge', 'Clients that push metrics', instances);
    total('reports_total', 'Reports of clients taken', taken);
    total('unreadable_reports_total', 'Reports of clients that could not be read', unreadable);
    total('left_out_total', 'Points of reports beyond the limits', leftOut);
    const families = new Map<string, Family>();
    for (const { id, clientId, series } of clients) {
      for (const { name, type, attributes, value } of series) {
        const shownName = `client_${plainName(name)}`;
        let family = families.get(shownName);
        if (family === undefined) {
          family = { type, samples: [] };
          families.set(shownName, family);
        }
        // Two clients that call different things the same cannot both be shown.
        if (family.type !== type) continue;
        const labels: Record<string, string> = { client_instance_id: id, client_id: clientId };
        for (const [key, text] of attributes) {
          const label = plainName(key);
          if (!(label in labels)) labels[label] = text;
        }
        family.samples.push({ labels, value });
      }
    }
    for (const [name, family] of families) writeFamily(writer, name, family);
  };
}

function writeFamily(writer: MetricWriter, name: string, { type, samples }: Family): void {
  if (type !== 'histogram') {
    writer.family(name, type, 'Pushed by clients');
    for (const { labels, value } of samples) if (typeof value === 'number') writer.sample(value, labels);
    return;
  }
  // As a summary of sum and count: buckets may differ from client to client.
  for (const part of ['sum', 'count'] as const) {
    writer.family(`${name}_${part}`, 'counter', 'Pushed by clients');
    for (const { labels, value } of samples)
      if (typeof value !== 'number') writer.sample(value[part], labels);
  }
}

/** What Prometheus takes for a name; colons are for rules. */
function plainName(name: string): string {
  const plain = name.replace(/[^a-zA-Z0-9_]/g, '_');
  return /^[0-9]/.test(plain) || plain === '' ? `_${plain}` : plain;
}
