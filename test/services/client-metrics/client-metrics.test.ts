/** Subscriptions, the rules of asking and pushing, and what is kept of reports. */
import { afterEach, describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import { codecIds, compress } from '../../../protocol/records/compression.ts';
import { ZERO_UUID } from '../../../protocol/wire/uuid.ts';
import type { ClientInstance } from '../../../src/services/client-metrics/client-instances.ts';
import { ClientMetrics } from '../../../src/services/client-metrics/client-metrics.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import { memoryEngine, seededBytes } from '../../handlers/admin-broker.ts';
import { double, fixed64, group, text, varint } from './protobuf-writer.ts';

const open: ClientMetrics[] = [];
afterEach(() => {
  for (const metrics of open.splice(0)) metrics.close();
});

const facts = {
  client_id: 'c1',
  client_software_name: 'apache-kafka-java',
  client_software_version: '4.3.0',
  client_source_address: '192.0.2.7',
  client_source_port: '40000',
};

function setUp(maxBytes = 10_000) {
  const clock = new VirtualClock();
  const metrics = new ClientMetrics({
    catalogue: memoryEngine().catalogue,
    clock,
    log: silentLog,
    randomBytes: seededBytes('clients'),
    maxBytes: () => maxBytes,
  });
  open.push(metrics);
  const subscribe = (name: string, values: Record<string, string>) =>
    metrics.subscriptions.replace(name, new Map(Object.entries(values)), false);
  const ask = (id = ZERO_UUID, who = facts) => metrics.ask(id, who) as ClientInstance;
  const push = (instance: ClientInstance, more: object = {}) =>
    metrics.push(
      {
        clientInstanceId: instance.id,
        subscriptionId: instance.subscriptionId,
        terminating: false,
        compressionType: 0,
        metrics: Buffer.alloc(0),
        ...more,
      },
      facts,
    );
  return { clock, metrics, subscribe, ask, push };
}

const attribute = (key: string, value: string) => group(1, text(1, key), group(2, text(1, value)));
const pointAttribute = (key: string, value: string) => group(7, text(1, key), group(2, text(1, value)));

/** MetricsData with one resource, one scope and these metrics. */
function report(...metrics: Buffer[]): Buffer {
  return group(
    1,
    group(1, attribute('client_rack', 'r1')),
    group(2, ...metrics.map((metric) => group(2, metric))),
  );
}

function gauge(name: string, value: number, ...labels: [string, string][]): Buffer {
  const point = group(1, ...labels.map(([key, label]) => pointAttribute(key, label)), double(4, value));
  return Buffer.concat([text(1, name), group(5, point)]);
}

/** Its name behind its points, as is allowed. */
function counter(name: string, value: bigint, temporality: number): Buffer {
  const point = group(1, fixed64(3, 1n), fixed64(6, value));
  return Buffer.concat([group(7, point, varint(2, temporality), varint(3, 1)), text(1, name)]);
}

describe('a subscription', () => {
  it.each([
    [{ 'no.such': '1' }, 42, 'Unknown client metrics configuration: no.such'],
    [{ 'interval.ms': '99' }, 42, 'interval must be between 100 and 3600000 (1 hour)'],
    [{ 'interval.ms': '3600001' }, 42, 'interval must be between 100 and 3600000 (1 hour)'],
    [{ 'interval.ms': 'soon' }, 40, 'Not a number of type INT'],
    [{ match: 'client_id' }, 40, 'Illegal client matching pattern: client_id'],
    [{ match: 'colour=red' }, 40, 'Illegal client matching pattern: colour=red'],
    [{ match: 'client_id=a(' }, 40, 'Illegal client matching pattern: client_id=a('],
  ])('is refused with %j', async (values, code, message) => {
    const { subscribe, metrics } = setUp();
    const fault = await subscribe('s', values as unknown as Record<string, string>);
    expect(fault?.code).toBe(code);
    expect(fault?.message).toContain(message);
    expect(metrics.subscriptions.all).toEqual([]);
  });

  it('counts for clients that all its patterns match; the shortest interval and all metrics together count', async () => {
    const { subscribe, ask } = setUp();
    await subscribe('a', { metrics: 'org.x,org.y', 'interval.ms': '5000', match: 'client_id=c.*' });
    await subscribe('b', { metrics: 'org.y,org.z', match: 'client_id=c1, client_software_version=4\\..*' });
    await subscribe('c', { metrics: '*', 'interval.ms': '100', match: 'client_source_address=10\\..*' });
    expect(ask()).toMatchObject({ metrics: ['org.x', 'org.y', 'org.z'], intervalMs: 5000 });
    expect(ask(ZERO_UUID, { ...facts, client_id: 'd' })).toMatchObject({ metrics: [], intervalMs: 300_000 });
    const all = ask(ZERO_UUID, { ...facts, client_source_address: '10.0.0.1' });
    expect(all).toMatchObject({ metrics: ['*'], intervalMs: 100 });
  });
});

describe('a client', () => {
  it('is given an id, keeps it, and may not ask again before its interval is over', async () => {
    const { subscribe, ask, clock } = setUp();
    await subscribe('a', { metrics: 'org.x', 'interval.ms': '1000' });
    const first = ask();
    const second = ask();
    expect(first.id).not.toBe(second.id);
    expect(first.subscriptionId).not.toBe(second.subscriptionId);
    expect(ask(first.id)).toBe(errorCodes.THROTTLING_QUOTA_EXCEEDED);
    await clock.advance(1000);
    expect(ask(first.id)).toMatchObject({ id: first.id, subscriptionId: first.subscriptionId });
  });

  it('may push once after asking, then once an interval', async () => {
    const { subscribe, ask, push, clock } = setUp();
    await subscribe('a', { metrics: 'org.x', 'interval.ms': '1000' });
    const instance = ask();
    await clock.advance(1);
    expect(push(instance)).toBe(errorCodes.NONE);
    await clock.advance(999);
    expect(push(instance)).toBe(errorCodes.THROTTLING_QUOTA_EXCEEDED);
    await clock.advance(1);
    expect(push(instance)).toBe(errorCodes.NONE);
  });

  it('hears that its subscriptions changed, and may ask at once', async () => {
    const { subscribe, ask, push, clock } = setUp();
    await subscribe('a', { metrics: 'org.x', 'interval.ms': '1000' });
    const instance = ask();
    await clock.advance(10);
    await subscribe('b', { metrics: 'org.z' });
    expect(push(instance)).toBe(errorCodes.UNKNOWN_SUBSCRIPTION_ID);
    const again = ask(instance.id);
    expect(again).toMatchObject({ id: instance.id, metrics: ['org.x', 'org.z'] });
    await clock.advance(1000);
    expect(push(again)).toBe(errorCodes.NONE);
  });

  it('may say goodbye before its time, and nothing after it', async () => {
    const { subscribe, ask, push, clock } = setUp();
    await subscribe('a', { metrics: 'org.x', 'interval.ms': '1000' });
    const instance = ask();
    await clock.advance(1);
    expect(push(instance)).toBe(errorCodes.NONE);
    expect(push(instance, { terminating: true })).toBe(errorCodes.NONE);
    expect(push(instance, { terminating: true })).toBe(errorCodes.INVALID_REQUEST);
  });

  it('is told what is wrong with a push', async () => {
    const { ask, push, clock } = setUp(100);
    for (const [more, code] of [
      [{ clientInstanceId: ZERO_UUID }, errorCodes.INVALID_REQUEST],
      [{ subscriptionId: 5 }, errorCodes.UNKNOWN_SUBSCRIPTION_ID],
      [{ compressionType: 5 }, errorCodes.UNSUPPORTED_COMPRESSION_TYPE],
      [{ compressionType: -1 }, errorCodes.UNSUPPORTED_COMPRESSION_TYPE],
      [{ metrics: Buffer.alloc(101) }, errorCodes.TELEMETRY_TOO_LARGE],
      [{ metrics: Buffer.from([0xff]) }, errorCodes.INVALID_RECORD],
      [{ metrics: Buffer.from('not gzip'), compressionType: codecIds.gzip }, errorCodes.INVALID_RECORD],
    ] as const) {
      const instance = ask();
      await clock.advance(1);
      expect(push(instance, more)).toBe(code);
    }
  });

  it('is forgotten with its metrics after three intervals of silence', async () => {
    const { subscribe, ask, push, clock, metrics } = setUp();
    await subscribe('a', { metrics: 'org.x', 'interval.ms': '1000' });
    const instance = ask();
    await clock.advance(1);
    push(instance, { metrics: report(gauge('org.x', 1)) });
    expect(metrics.pushed.size).toBe(1);
    await clock.advance(3000);
    metrics.instances.sweep();
    expect(metrics.instances.size).toBe(1);
    await clock.advance(1001);
    metrics.instances.sweep();
    expect(metrics.instances.size).toBe(0);
    expect(metrics.pushed.size).toBe(0);
  });
});

describe('reports', () => {
  const series = (metrics: ClientMetrics, id: string) =>
    [...metrics.pushed.clients.get(id)!.values()].map(({ name, type, attributes, value }) => [
      name,
      type,
      Object.fromEntries(attributes),
      value,
    ]);

  it.each(['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const)('are read in %s', async (codec) => {
    const { ask, push, metrics, clock } = setUp();
    const instance = ask();
    await clock.advance(1);
    const bytes = compress(codec, report(gauge('org.x', 2.5, ['node', '1']), counter('org.y', 7n, 2)));
    expect(push(instance, { metrics: bytes, compressionType: codecIds[codec] })).toBe(errorCodes.NONE);
    expect(series(metrics, instance.id)).toEqual([
      ['org.x', 'gauge', { node: '1' }, 2.5],
      ['org.y', 'counter', {}, 7],
    ]);
  });

  it('replace what was there, and deltas are added up', async () => {
    const { subscribe, ask, push, metrics, clock } = setUp();
    await subscribe('a', { metrics: '*', 'interval.ms': '100' });
    const instance = ask();
    for (const value of [1n, 2n, 3n]) {
      await clock.advance(100);
      const bytes = report(gauge('g', Number(value)), counter('delta', value, 1), counter('total', value, 2));
      expect(push(instance, { metrics: bytes })).toBe(errorCodes.NONE);
    }
    expect(series(metrics, instance.id)).toEqual([
      ['g', 'gauge', {}, 3],
      ['delta', 'counter', {}, 6],
      ['total', 'counter', {}, 3],
    ]);
  });

  it('of histograms keep sum, count and buckets', async () => {
    const { ask, push, metrics, clock } = setUp();
    const instance = ask();
    await clock.advance(1);
    const eights = (values: readonly bigint[]) => Buffer.from(BigUint64Array.from(values).buffer);
    const doubles = (values: readonly number[]) => Buffer.from(Float64Array.from(values).buffer);
    const point = group(
      1,
      fixed64(4, 5n),
      double(5, 12.5),
      group(6, eights([1n, 2n, 2n])),
      group(7, doubles([1, 10])),
    );
    const histogram = Buffer.concat([text(1, 'h'), group(9, point, varint(2, 2))]);
    expect(push(instance, { metrics: report(histogram) })).toBe(errorCodes.NONE);
    expect(series(metrics, instance.id)).toEqual([
      ['h', 'histogram', {}, { count: 5, sum: 12.5, bounds: [1, 10], counts: [1, 2, 2] }],
    ]);
  });

  it('that unpack to more than is allowed are refused', async () => {
    const { ask, push, clock } = setUp(1000);
    const instance = ask();
    await clock.advance(1);
    const bomb = compress('gzip', Buffer.alloc(200_000));
    expect(bomb.length).toBeLessThan(1000);
    expect(push(instance, { metrics: bomb, compressionType: codecIds.gzip })).toBe(errorCodes.INVALID_RECORD);
  });

  it('cut anywhere are refused or read, and never more than that', async () => {
    const { subscribe, ask, push, clock } = setUp();
    await subscribe('a', { metrics: '*', 'interval.ms': '100' });
    const bytes = report(gauge('org.x', 2.5, ['node', '1']), counter('org.y', 7n, 2));
    const instance = ask();
    const codes = new Set<number>();
    for (let length = 1; length < bytes.length; length++) {
      await clock.advance(100);
      codes.add(push(instance, { metrics: bytes.subarray(0, length) }));
    }
    expect([...codes]).toEqual([errorCodes.INVALID_RECORD]);
  });

  it('beyond the series of one client are counted and left out', async () => {
    const { ask, push, metrics, clock } = setUp(1_000_000);
    const instance = ask();
    await clock.advance(1);
    const many = Array.from({ length: 2_100 }, (_, at) => gauge(`m${at}`, at));
    expect(push(instance, { metrics: report(...many) })).toBe(errorCodes.NONE);
    expect(metrics.pushed.size).toBe(2_000);
    expect(metrics.pushed.leftOut).toBe(100);
  });
});
