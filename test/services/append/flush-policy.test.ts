/**
 * What is left of acknowledged records, by flush policy and acks: after a kill always all of them; after a power cut those that the
 * policy says, at once or when their flush was due.
 */
import { describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../../protocol/records/record-batch.ts';
import { AppendService, type AppendSettings } from '../../../src/services/append/append-service.ts';
import type { Topic, TopicSettings } from '../../../src/services/topics/topic.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { StorageEngine } from '../../../src/storage/engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { FakeTopicDirectory } from '../../fakes/topic-directory.ts';
import { batchOf } from '../../handlers/data-broker.ts';

const flushIntervalMs = 500;

function open(disk: SimulatedDisk, clock: VirtualClock): Promise<StorageEngine> {
  return openEmbeddedEngine({
    directory: '/data',
    payloadFormat: { stamp: stampBatch, isStamped: isBatchStamped, isIntact: isBatchIntact },
    crc32c,
    fileSystem: disk,
    clock,
    settings: { flushIntervalMs },
  });
}

class Broker {
  readonly disk = new SimulatedDisk({ seed: 1 });
  readonly clock = new VirtualClock();
  private engine: StorageEngine | undefined;
  private appends: AppendService | undefined;
  private topic: Topic | undefined;

  async start(flushPolicy: AppendSettings['flushPolicy'], topic: Partial<TopicSettings> = {}): Promise<void> {
    this.engine = await open(this.disk, this.clock);
    const topics = new FakeTopicDirectory(this.engine);
    this.topic = await topics.create('t', 1, topic);
    this.appends = new AppendService({
      engine: this.engine,
      topics,
      clock: this.clock,
      settings: { flushPolicy },
    });
  }

  /** Resolves when it is answered. */
  async produce(acks: number, records = 1): Promise<void> {
    const request = this.appends!.begin({ version: 9, acks, transactionalId: null });
    request.add(this.topic!, 0, batchOf(records));
    const [result] = await request.run();
    expect(result!.errorCode).toBe(errorCodes.NONE);
  }

  /** Records left on a copy of the disk: `none`, what a power cut leaves at the least; `kill`, what a killed process does. */
  async left(policy: 'none' | 'kill'): Promise<number> {
    const again = await open(this.disk.crash(policy, 1), new VirtualClock());
    return (await again.bounds(this.topic!.partitions[0]!.queue))?.visibleEndOffset ?? 0;
  }
}

interface Case {
  readonly policy: AppendSettings['flushPolicy'];
  readonly acks: number;
  readonly topic?: Partial<TopicSettings>;
  /** Until which what was acknowledged may be lost by a power cut; 0: never. */
  readonly withinMs: number;
}

const cases: readonly Case[] = [
  { policy: 'acks', acks: -1, withinMs: 0 },
  { policy: 'acks', acks: 1, withinMs: flushIntervalMs },
  { policy: 'acks', acks: 0, withinMs: flushIntervalMs },
  { policy: 'acks', acks: 1, topic: { flushMs: 40 }, withinMs: 40 },
  { policy: 'acks', acks: 1, topic: { flushMs: 60_000 }, withinMs: flushIntervalMs },
  { policy: 'acks', acks: 1, topic: { flushMessages: 1 }, withinMs: 0 },
  { policy: 'always', acks: 1, withinMs: 0 },
  { policy: 'always', acks: -1, withinMs: 0 },
  { policy: 'interval', acks: -1, withinMs: flushIntervalMs },
  { policy: 'interval', acks: 1, withinMs: flushIntervalMs },
  { policy: 'interval', acks: -1, topic: { flushMs: 40 }, withinMs: 40 },
  { policy: 'interval', acks: -1, topic: { flushMessages: 1 }, withinMs: 0 },
];

function name({ policy, acks, topic, withinMs }: Case): string {
  const keys = Object.entries(topic ?? {}).map(([key, value]) => ` ${key}=${value}`);
  const promise = withinMs === 0 ? 'when it is answered' : `within ${withinMs} ms`;
  return `${policy}, acks=${acks}${keys.join('')}: on disk ${promise}`;
}

describe('an acknowledged record under rmq.flush.policy', () => {
  for (const each of cases) {
    const { policy, acks, topic, withinMs } = each;

    it(name(each), async () => {
      const atOnce = new Broker();
      await atOnce.start(policy, topic);
      await atOnce.produce(acks);
      expect(await atOnce.left('none')).toBe(withinMs === 0 ? 1 : 0);

      const killed = new Broker();
      await killed.start(policy, topic);
      await killed.produce(acks);
      expect(await killed.left('kill')).toBe(1);

      if (withinMs === 0) return;
      const early = new Broker();
      await early.start(policy, topic);
      await early.produce(acks);
      await early.clock.advance(withinMs - 1);
      expect(await early.left('none')).toBe(0);

      const due = new Broker();
      await due.start(policy, topic);
      await due.produce(acks);
      await due.clock.advance(withinMs);
      expect(await due.left('none')).toBe(1);
    });
  }

  it('flush.messages=10: the one that makes it ten is answered when all ten are on disk', async () => {
    const broker = new Broker();
    await broker.start('interval', { flushMessages: 10 });
    await broker.produce(1, 4);
    await broker.produce(-1, 4);
    await broker.produce(1, 2);
    await broker.produce(1, 4);
    expect(await broker.left('none')).toBe(10);
  });

  it('acks=all after acks=1 of one partition: its answer says that both are on disk', async () => {
    const broker = new Broker();
    await broker.start('acks');
    await broker.produce(1);
    await broker.produce(-1);
    await broker.produce(1);
    expect(await broker.left('none')).toBe(2);
  });
});
