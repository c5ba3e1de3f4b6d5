import { beforeEach, describe, expect, it } from 'vitest';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { Retention } from '../../../src/services/topics/retention.ts';
import { TopicCatalogue } from '../../../src/services/topics/topic-catalogue.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { GuardedClock } from '../../../src/util/guarded-clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import { seededBytes } from '../../handlers/admin-broker.ts';

const hourMs = 3_600_000;
let broker: Broker;

class Broker {
  readonly clock = new VirtualClock();
  readonly engine = openMemoryEngine({
    clock: this.clock,
    payloadFormat: { stamp: stampBatch, isStamped: isBatchStamped, isIntact: isBatchIntact },
  });
  readonly config = new BrokerConfig();
  readonly topics = new TopicCatalogue({
    catalogue: this.engine.catalogue,
    config: this.config,
    randomBytes: seededBytes(),
  });
  /** Reads of entries: what a pass costs. */
  looks = 0;
  readonly retention: Retention;

  constructor() {
    const engine = new Proxy(this.engine, {
      get: (target, name) => {
        if (name === 'entries') this.looks += 1;
        const value = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const { clock, config, topics } = this;
    const guarded = new GuardedClock(clock, silentLog);
    this.retention = new Retention({ engine, topics, config, clock: guarded, log: silentLog });
  }

  async create(name: string, overrides: Record<string, string>) {
    const own = new Map(Object.entries(overrides));
    await this.topics.create(
      [{ name, partitions: 1, replicationFactor: 1, assignments: [], overrides: own }],
      false,
    );
  }

  queue(name: string) {
    return this.topics.get(name)!.partitions[0]!.queue;
  }

  /** One batch of `count` records that claim to be of 1970, where nothing else is said; returns its bytes. */
  async append(name: string, count = 1, maxTimestampMs = 1): Promise<number> {
    const payload = buildRecordBatch(Array.from({ length: count }, () => ({ value: Buffer.alloc(100) })));
    const entry = { queue: this.queue(name), kind: 'data' as const, count, maxTimestampMs, payload };
    await this.engine.append({ durability: 'sync', entries: [entry] });
    return payload.length;
  }

  async start(name: string) {
    return (await this.engine.bounds(this.queue(name)))!.startOffset;
  }
}

beforeEach(() => {
  broker = new Broker();
});

describe('retention.ms', () => {
  it('removes what was stored long enough ago, whatever time it carries', async () => {
    await broker.create('a', { 'retention.ms': String(10 * hourMs) });
    for (let hour = 0; hour < 24; hour++) {
      await broker.append('a', 3);
      await broker.clock.advance(hourMs);
    }
    // Now is hour 24; batch n was stored at hour n: those of 14 and later stay.
    expect(await broker.retention.runOnce()).toBe(1);
    expect(await broker.start('a')).toBe(14 * 3);
    expect(await broker.retention.runOnce()).toBe(0);
    await broker.clock.advance(100 * hourMs);
    await broker.retention.runOnce();
    expect(await broker.engine.bounds(broker.queue('a'))).toEqual({ startOffset: 72, visibleEndOffset: 72 });
  });

  it('keeps a record until it is older than that', async () => {
    await broker.create('a', { 'retention.ms': '1000' });
    await broker.append('a');
    await broker.clock.advance(1000);
    expect(await broker.retention.runOnce()).toBe(0);
    await broker.clock.advance(1);
    expect(await broker.retention.runOnce()).toBe(1);
  });

  it.each([
    { 'retention.ms': '-1' },
    { 'retention.ms': '1', 'cleanup.policy': 'compact' },
    { 'retention.ms': '1', 'cleanup.policy': '' },
  ])('removes nothing with %j', async (overrides) => {
    await broker.create('a', overrides as Record<string, string>);
    await broker.append('a');
    await broker.clock.advance(1000 * hourMs);
    expect(await broker.retention.runOnce()).toBe(0);
  });

  it('leaves internal topics to their coordinators', async () => {
    await broker.create('__consumer_offsets', { 'retention.ms': '1', 'cleanup.policy': 'delete' });
    await broker.append('__consumer_offsets');
    await broker.clock.advance(hourMs);
    expect(await broker.retention.runOnce()).toBe(0);
  });

  it('does not look at a young partition again', async () => {
    await broker.create('a', {});
    await broker.append('a');
    await broker.retention.runOnce();
    expect(broker.looks).toBe(1);
    await broker.append('a');
    await broker.retention.runOnce();
    expect(broker.looks).toBe(1);
  });
});

describe('clocks and times that are wrong', () => {
  const yearMs = 365 * 24 * hourMs;

  it('delete nothing early: the clock jumps ahead and comes back', async () => {
    await broker.create('a', { 'retention.ms': String(10 * hourMs) });
    await broker.append('a');
    broker.clock.jumpWall(10 * yearMs);
    expect(await broker.retention.runOnce()).toBe(0);
    // Stored ten years ahead.
    await broker.append('a');
    broker.clock.jumpWall(-10 * yearMs);
    await broker.append('a', 1, broker.clock.nowMs());
    await broker.clock.advance(9 * hourMs);
    expect(await broker.retention.runOnce()).toBe(0);
    expect(await broker.start('a')).toBe(0);
  });

  it('make nothing stay for ever: what was stored ahead of time goes by the time that it carries', async () => {
    await broker.create('a', { 'retention.ms': String(10 * hourMs) });
    broker.clock.jumpWall(10 * yearMs);
    const ahead = broker.clock.nowMs();
    broker.clock.jumpWall(-10 * yearMs);
    const now = broker.clock.nowMs();
    broker.clock.jumpWall(10 * yearMs);
    await broker.append('a', 1, now);
    broker.clock.jumpWall(-10 * yearMs);
    await broker.append('a', 1, now + 5 * hourMs);
    await broker.append('a', 1, ahead);
    await broker.clock.advance(10 * hourMs);
    expect(await broker.retention.runOnce()).toBe(0);
    await broker.clock.advance(1);
    expect(await broker.retention.runOnce()).toBe(1);
    expect(await broker.start('a')).toBe(1);
    await broker.clock.advance(5 * hourMs);
    await broker.retention.runOnce();
    expect(await broker.start('a')).toBe(2);
  });

  it('in records are not looked at', async () => {
    await broker.create('a', { 'retention.ms': '1000' });
    for (const timestamp of [-1, 0, Number.MAX_SAFE_INTEGER]) await broker.append('a', 1, timestamp);
    await broker.clock.advance(1000);
    expect(await broker.retention.runOnce()).toBe(0);
    await broker.clock.advance(1);
    expect(await broker.retention.runOnce()).toBe(1);
    expect(await broker.start('a')).toBe(3);
  });
});

describe('compact and delete together', () => {
  it('remove what is old by age, over the gaps that compaction left', async () => {
    await broker.create('a', { 'cleanup.policy': 'compact,delete', 'retention.ms': String(10 * hourMs) });
    for (let hour = 0; hour < 20; hour++) {
      await broker.append('a');
      await broker.clock.advance(hourMs);
    }
    // As compaction would: every odd offset goes.
    const queue = broker.queue('a');
    const decide = (_: Buffer, { baseOffset }: { baseOffset: number }) =>
      baseOffset % 2 === 1 ? ('drop' as const) : ('keep' as const);
    await broker.engine.rewrite([{ queue, untilOffset: 19, decide }]);
    const first = async () => (await broker.engine.entries(queue, await broker.start('a'), 1))[0]?.baseOffset;
    await broker.retention.runOnce();
    expect(await first()).toBe(10);
    await broker.clock.advance(hourMs);
    await broker.retention.runOnce();
    expect(await first()).toBe(12);
  });
});

describe('retention.bytes', () => {
  it('removes the oldest batches, and leaves at least that much', async () => {
    await broker.create('a', { 'retention.ms': '-1' });
    const batchBytes = await broker.append('a', 2);
    for (let more = 0; more < 9; more++) await broker.append('a', 2);
    const keep = (bytes: number) =>
      broker.topics.alterOverrides('a', () => new Map([['retention.bytes', String(bytes)]]), false);
    await keep(batchBytes * 10);
    expect(await broker.retention.runOnce()).toBe(0);
    await keep(batchBytes * 4 + 1);
    await broker.retention.runOnce();
    expect(await broker.start('a')).toBe(10);
    await keep(batchBytes * 4);
    await broker.retention.runOnce();
    expect(await broker.start('a')).toBe(12);
    await keep(0);
    await broker.retention.runOnce();
    expect(await broker.start('a')).toBe(20);
  });
});

describe('passes', () => {
  it('come every log.retention.check.interval.ms, and end with the service', async () => {
    await broker.create('a', { 'retention.ms': '1' });
    broker.retention.start();
    for (let round = 1; round <= 3; round++) {
      await broker.append('a');
      await broker.clock.advance(300_000);
      expect(await broker.start('a')).toBe(round);
    }
    await broker.retention.close();
    await broker.append('a');
    await broker.clock.advance(hourMs);
    expect(await broker.start('a')).toBe(3);
    expect(broker.clock.pendingTimers).toBe(0);
  });

  it('go over more partitions than are looked at side by side', async () => {
    const overrides = new Map([['retention.ms', '1']]);
    await broker.topics.create(
      [{ name: 'wide', partitions: 150, replicationFactor: 1, assignments: [], overrides }],
      false,
    );
    const payload = buildRecordBatch([{ value: Buffer.alloc(1) }]);
    for (const { queue } of broker.topics.get('wide')!.partitions) {
      const entry = { queue, kind: 'data' as const, count: 1, maxTimestampMs: 1, payload };
      await broker.engine.append({ durability: 'sync', entries: [entry] });
    }
    await broker.clock.advance(2);
    expect(await broker.retention.runOnce()).toBe(150);
  });
});
