/**
 * Decodes what clients push: OpenTelemetry's MetricsData v1 (opentelemetry/proto/metrics/v1/metrics.proto), the parts that Kafka clients
 * write. Exemplars, scopes and exponential histograms are skipped. Bounded by the number of points.
 */
import { ProtobufError, ProtobufReader } from './protobuf-reader.ts';

export type Attributes = ReadonlyMap<string, string>;

export interface HistogramValue {
  readonly count: number;
  readonly sum: number;
  /** Of the buckets; one bucket more than bounds. */
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
}

export interface MetricPoint {
  readonly name: string;
  readonly kind: 'gauge' | 'sum' | 'histogram';
  /** A sum that only grows. */
  readonly isMonotonic: boolean;
  /** What happened since the point before, not since the start. */
  readonly isDelta: boolean;
  readonly attributes: Attributes;
  readonly value: number | HistogramValue;
}

export interface ClientReport {
  /** Of the whole client, as OpenTelemetry resource attributes. */
  readonly resource: Attributes;
  readonly points: readonly MetricPoint[];
  /** Points beyond the limit. */
  readonly leftOut: number;
}

const deltaTemporality = 1;
const maxAttributes = 32;
const maxTextLength = 512;

/** @throws ProtobufError */
export function decodeReport(bytes: Buffer, maxPoints: number): ClientReport {
  const resource = new Map<string, string>();
  const points: MetricPoint[] = [];
  let leftOut = 0;
  const add = (point: MetricPoint): void => {
    if (points.length < maxPoints) points.push(point);
    else leftOut += 1;
  };
  const data = new ProtobufReader(bytes);
  for (let field = data.next(); field !== undefined; field = data.next()) {
    if (field !== 1) continue;
    const resourceMetrics = data.message();
    for (let inner = resourceMetrics.next(); inner !== undefined; inner = resourceMetrics.next()) {
      if (inner === 1) {
        const message = resourceMetrics.message();
        for (let at = message.next(); at !== undefined; at = message.next()) {
          if (at === 1) attribute(message.message(), resource);
        }
      } else if (inner === 2) {
        const scope = resourceMetrics.message();
        for (let at = scope.next(); at !== undefined; at = scope.next()) {
          if (at === 2) metric(scope.message(), add);
        }
      }
    }
  }
  return { resource, points, leftOut };
}

/** A name may come behind the points it names. */
function metric(reader: ProtobufReader, add: (point: MetricPoint) => void): void {
  let name = '';
  const parts: { readonly field: number; readonly message: ProtobufReader }[] = [];
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field === 1) name = short(reader.text());
    else if (field === 5 || field === 7 || field === 9) parts.push({ field, message: reader.message() });
  }
  for (const { field, message } of parts) {
    const points: ProtobufReader[] = [];
    let isDelta = false;
    let isMonotonic = false;
    for (let at = message.next(); at !== undefined; at = message.next()) {
      if (at === 1) points.push(message.message());
      else if (at === 2 && field !== 5) isDelta = message.number() === deltaTemporality;
      else if (at === 3 && field === 7) isMonotonic = message.number() !== 0;
    }
    for (const point of points) {
      const base = { name, isDelta, isMonotonic };
      if (field === 9) add({ ...base, kind: 'histogram', ...histogramPoint(point) });
      else add({ ...base, kind: field === 5 ? 'gauge' : 'sum', ...numberPoint(point) });
    }
  }
}

function numberPoint(reader: ProtobufReader): { attributes: Attributes; value: number } {
  const attributes = new Map<string, string>();
  let value = 0;
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field === 4) value = reader.double();
    else if (field === 6) value = Number(reader.signedFixed64());
    else if (field === 7) attribute(reader.message(), attributes);
  }
  return { attributes, value };
}

function histogramPoint(reader: ProtobufReader): { attributes: Attributes; value: HistogramValue } {
  const attributes = new Map<string, string>();
  let count = 0;
  let sum = 0;
  const bounds: number[] = [];
  const counts: number[] = [];
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field === 4) count = Number(reader.fixed64());
    else if (field === 5) sum = reader.double();
    else if (field === 6) reader.eights((bytes, at) => Number(bytes.readBigUInt64LE(at)), counts);
    else if (field === 7) reader.eights((bytes, at) => bytes.readDoubleLE(at), bounds);
    else if (field === 9) attribute(reader.message(), attributes);
  }
  if (counts.length > 0 && counts.length !== bounds.length + 1) {
    throw new ProtobufError(`a histogram of ${counts.length} buckets and ${bounds.length} bounds`);
  }
  return { attributes, value: { count, sum, bounds, counts } };
}

function attribute(reader: ProtobufReader, into: Map<string, string>): void {
  let key = '';
  let value = '';
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field === 1) key = short(reader.text());
    else if (field === 2) value = short(anyValue(reader.message()));
  }
  if (key !== '' && (into.size < maxAttributes || into.has(key))) into.set(key, value);
}

/** Texts, numbers and truth values; what is nested says nothing. */
function anyValue(reader: ProtobufReader): string {
  let text = '';
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field === 1) text = reader.text();
    else if (field === 2) text = reader.number() === 0 ? 'false' : 'true';
    else if (field === 3) text = String(reader.int64());
    else if (field === 4) text = String(reader.double());
  }
  return text;
}

function short(text: string): string {
  return text.length > maxTextLength ? text.slice(0, maxTextLength) : text;
}
