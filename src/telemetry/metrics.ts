/**
 * Metrics in Prometheus' text format. What is counted are plain numbers wherever they belong; collectors read them when
 * somebody scrapes, so counting costs an addition. Knows no metric.
 */

export type MetricType = 'counter' | 'gauge' | 'histogram';
export type Labels = Readonly<Record<string, string | number>>;

/** What a collector writes to. */
export interface MetricWriter {
  /** Begins a family; every sample that follows belongs to it. A name is begun once a scrape. */
  family(name: string, type: MetricType, help: string): void;
  sample(value: number, labels?: Labels): void;
  /** A family of one sample. */
  single(name: string, type: MetricType, help: string, value: number): void;
  /** A histogram without labels. `counts`: one a bound and one for what is beyond, each for its bucket alone. */
  histogram(
    name: string,
    help: string,
    bounds: readonly number[],
    counts: readonly number[],
    sum: number,
  ): void;
}

export type Collector = (writer: MetricWriter) => void;

/** Samples of one scrape; beyond that a scrape is cut and says so. */
const maxSamples = 200_000;

class TextWriter implements MetricWriter {
  readonly lines: string[] = [];
  samples = 0;
  leftOut = 0;
  private name = '';

  family(name: string, type: MetricType, help: string): void {
    this.name = name;
    this.lines.push(`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`);
  }

  sample(value: number, labels?: Labels): void {
    if (this.samples >= maxSamples) {
      this.leftOut += 1;
      return;
    }
    this.samples += 1;
    this.lines.push(`${this.name}${labels === undefined ? '' : labelText(labels)} ${numberText(value)}`);
  }

  single(name: string, type: MetricType, help: string, value: number): void {
    this.family(name, type, help);
    this.sample(value);
  }

  histogram(
    name: string,
    help: string,
    bounds: readonly number[],
    counts: readonly number[],
    sum: number,
  ): void {
    this.family(name, 'histogram', help);
    let total = 0;
    this.name = `${name}_bucket`;
    for (const [at, bound] of [...bounds, Number.POSITIVE_INFINITY].entries()) {
      total += counts[at] ?? 0;
      this.sample(total, { le: numberText(bound) });
    }
    this.name = `${name}_sum`;
    this.sample(sum);
    this.name = `${name}_count`;
    this.sample(total);
  }
}

export class MetricRegistry {
  private readonly collectors: Collector[] = [];

  add(collector: Collector): void {
    this.collectors.push(collector);
  }

  /** One scrape, in text format 0.0.4. */
  render(): string {
    const writer = new TextWriter();
    for (const collect of this.collectors) collect(writer);
    writer.lines.push(
      '# HELP odradek_metrics_samples_left_out Samples beyond the limit of one scrape',
      '# TYPE odradek_metrics_samples_left_out gauge',
      `odradek_metrics_samples_left_out ${writer.leftOut}`,
    );
    return `${writer.lines.join('\n')}\n`;
  }
}

function labelText(labels: Labels): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(labels)) parts.push(`${name}="${escapeLabel(String(value))}"`);
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

function escapeLabel(text: string): string {
  return text.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
}

function escapeHelp(text: string): string {
  return text.replace(/\\/g, '\\\\').replace(/\n/g, '\\n');
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value);
}
