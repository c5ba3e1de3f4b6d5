import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { computeBatchCrc } from '../../../protocol/records/record-batch.ts';
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { CompactionCheckpoints } from '../../../src/services/compaction/compaction-checkpoints.ts';
import { configOperations } from '../../../src/services/configuration/config-operations.ts';
import { CompactionBroker, onMemory } from './compaction-broker.ts';

const hourMs = 3_600_000;
/** Every batch is a part of its own, and a partition that got quiet has no active one. */
const eager = { 'segment.ms': '1', 'min.cleanable.dirty.ratio': '0', 'delete.retention.ms': '1000' };
let broker: CompactionBroker;

beforeEach(async () => {
  broker = new CompactionBroker(await onMemory());
});
afterEach(async () => broker.close());

async function fill(name: string, ...batches: string[]): Promise<void> {
  for (const each of batches) {
    await broker.append(name, each);
    await broker.clock.advance(10);
  }
}

describe('a compacted partition', () => {
  it('keeps the newest of each key at its offset', async () => {
    await broker.create('t', eager);
    await fill('t', 'a=1 b=1', 'a=2', 'c=1', 'b=2 c=2');
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('t')).toBe('2:a=2 4:b=2 5:c=2');
    expect(await broker.engine.bounds(broker.queue('t'))).toEqual({ startOffset: 0, visibleEndOffset: 6 });
    expect(await broker.service.runOnce()).toBe(0);
    await fill('t', 'a=3');
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('t')).toBe('4:b=2 5:c=2 6:a=3');
  });

  it('loses its tombstones delete.retention.ms after they were cleaned, without a new record', async () => {
    await broker.create('t', eager);
    await fill('t', 'a=1 b=1', 'a');
    await broker.service.runOnce();
    expect(await broker.shown('t')).toBe('1:b=1 2:a');
    await broker.clock.advance(999);
    expect(await broker.service.runOnce()).toBe(0);
    await broker.clock.advance(1);
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('t')).toBe('1:b=1');
    // The end stays where it was, and a reader gets there.
    expect((await broker.read('t')).batches).toEqual([0, 2]);
    expect(await broker.service.runOnce()).toBe(0);
  });

  it('remembers over a restart how far it was cleaned and when a tombstone may go', async () => {
    await broker.create('t', eager);
    await fill('t', 'a=1', 'a', 'b=1');
    await broker.service.runOnce();
    await broker.service.close();
    broker.restartService();
    expect(await broker.service.runOnce()).toBe(0);
    await broker.clock.advance(1000);
    broker.restartService();
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('t')).toBe('2:b=1');
  });

  it('is cleaned again, to the same, where that is forgotten', async () => {
    await broker.create('t', eager);
    await fill('t', 'a=1', 'a=2', 'b=1');
    await broker.service.runOnce();
    const before = await broker.shown('t');
    await new CompactionCheckpoints(broker.engine).put(new Map([[broker.queue('t'), null]]));
    broker.restartService();
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('t')).toBe(before);
  });

  it('is not cleaned where it is active: younger than segment.ms', async () => {
    await broker.create('t', { ...eager, 'segment.ms': String(hourMs) });
    await fill('t', 'a=1', 'a=2');
    expect(await broker.service.runOnce()).toBe(0);
    await broker.clock.advance(hourMs);
    await fill('t', 'a=3');
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('t')).toBe('1:a=2 2:a=3');
  });

  it('is not cleaned where it is active: within segment.bytes of the end', async () => {
    await broker.create('t', { ...eager, 'segment.ms': String(hourMs), 'segment.bytes': '1048576' });
    const large = 'x'.repeat(400_000);
    await fill('t', `a=${large}`, `a=${large}`);
    expect(await broker.service.runOnce()).toBe(0);
    await fill('t', `a=${large}`);
    expect(await broker.service.runOnce()).toBe(1);
    expect((await broker.read('t')).records.map((each) => each.offset)).toEqual([1, 2]);
  });

  it('waits for min.cleanable.dirty.ratio, but not longer than max.compaction.lag.ms', async () => {
    await broker.create('t', {
      ...eager,
      'min.cleanable.dirty.ratio': '0.5',
      'max.compaction.lag.ms': String(hourMs),
    });
    await fill('t', 'a=1', 'b=1', 'c=1', 'd=1');
    expect(await broker.service.runOnce()).toBe(1);
    await fill('t', 'a=2');
    expect(await broker.service.runOnce()).toBe(0);
    expect(broker.service.figures.maxDirtyRatio).toBeCloseTo(0.2, 1);
    await broker.clock.advance(hourMs + 10);
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('t')).toBe('1:b=1 2:c=1 3:d=1 4:a=2');
  });

  it('keeps what is younger than min.compaction.lag.ms', async () => {
    await broker.create('t', { ...eager, 'min.compaction.lag.ms': '100' });
    await fill('t', 'a=1', 'a=2');
    await broker.clock.advance(100);
    await fill('t', 'a=3', 'a=4');
    await broker.service.runOnce();
    expect(await broker.shown('t')).toBe('1:a=2 2:a=3 3:a=4');
  });

  it('is cleaned in steps where the map is too small', async () => {
    await broker.close();
    broker = new CompactionBroker(await onMemory(), {
      'log.cleaner.dedupe.buffer.size': String(24 * 4),
      'log.cleaner.io.buffer.load.factor': '0.5',
    });
    await broker.create('t', eager);
    await fill('t', 'a=1 b=1 c=1 d=1 e=1', 'a=2 b=2 c=2 d=2 e=2', 'a=3 b=3 c=3 d=3 e=3');
    let rounds = 0;
    while ((await broker.service.runOnce()) > 0) rounds += 1;
    expect(rounds).toBe(8);
    expect(await broker.shown('t')).toBe('10:a=3 11:b=3 12:c=3 13:d=3 14:e=3');
  });

  it('loses records without a key that came before its policy changed', async () => {
    await broker.create('t', { ...eager, 'cleanup.policy': 'delete' });
    await fill('t', '=1 a=1', '=2', 'a=2');
    expect(await broker.service.runOnce()).toBe(0);
    await setPolicy('t', 'compact');
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('t')).toBe('3:a=2');
    await setPolicy('t', 'delete');
    await fill('t', '=3', 'a=4');
    expect(await broker.service.runOnce()).toBe(0);
  });

  it('starts at its log start after records were deleted', async () => {
    await broker.create('t', eager);
    await fill('t', 'a=1', 'b=1', 'a=2', 'b=2');
    await broker.engine.trim(broker.queue('t'), 1);
    expect(await broker.service.runOnce()).toBe(1);
    await fill('t', 'c=1', 'c=2');
    await broker.engine.trim(broker.queue('t'), 5);
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('t')).toBe('5:c=2');
  });
});

async function setPolicy(name: string, policy: string): Promise<void> {
  await broker.topics.alterOverrides(
    name,
    () => new Map(Object.entries({ ...eager, 'cleanup.policy': policy })),
    false,
  );
}

describe('the service', () => {
  it('cleans many small partitions with one rewrite', async () => {
    await broker.create('t', eager, 100);
    for (let partition = 0; partition < 100; partition++) {
      await broker.append('t', `a=${partition}`, { partition });
      await broker.append('t', 'a=2', { partition });
    }
    await broker.clock.advance(10);
    let rewrites = 0;
    const { rewrite } = broker.engine;
    broker.engine.rewrite = (requests) => {
      rewrites += 1;
      return rewrite.call(broker.engine, requests);
    };
    expect(await broker.service.runOnce()).toBe(100);
    expect(rewrites).toBe(1);
    for (let partition = 0; partition < 100; partition++)
      expect(await broker.shown('t', partition)).toBe('1:a=2');
    expect(broker.service.figures).toMatchObject({ passes: 100, recordsBefore: 200, recordsAfter: 100 });
  });

  it('leaves a damaged partition alone, says so once, and cleans the others', async () => {
    const lines: unknown[] = [];
    await broker.close();
    const parts = await onMemory();
    const log = { ...broker.log, error: (fields: unknown) => void lines.push(fields) };
    broker = new CompactionBroker(parts, {}, undefined, log);
    await broker.create('bad', eager);
    await broker.create('good', eager);
    const payload = Buffer.from('not a record set, and long enough to be one, if the header were right');
    await fill('bad', 'a=1', 'a=2');
    const sick = buildRecordBatch([{ key: Buffer.from('a'), value: payload }], { codec: 'gzip' });
    sick.fill(0, 65);
    sick.writeUInt32BE(computeBatchCrc(sick, 0), 17);
    await broker.appendBatch('bad', sick);
    await broker.clock.advance(10);
    await fill('good', 'a=1', 'a=2');
    expect(await broker.service.runOnce()).toBe(1);
    expect(await broker.shown('good')).toBe('1:a=2');
    await broker.service.runOnce();
    expect(lines).toEqual([expect.objectContaining({ topic: 'bad', partition: 0, offset: 2 })]);
    expect(broker.service.figures.uncleanablePartitions).toBe(1);
    expect(broker.service.figures.uncleanableBytes).toBeGreaterThan(0);
    // Nothing was dropped.
    expect((await broker.engine.entries(broker.queue('bad'), 0, 10)).length).toBe(3);
  });

  it('finds damage in what was clean before, and drops nothing', async () => {
    await broker.create('t', eager);
    await fill('t', 'a=1', 'b=1');
    await broker.service.runOnce();
    await fill('t', 'a=2', 'b=2');
    const { rewrite } = broker.engine;
    broker.engine.rewrite = (requests) =>
      rewrite.call(
        broker.engine,
        requests.map((request) => ({
          ...request,
          decide: (payload: Buffer, facts) => {
            const bytes = Buffer.from(payload);
            if (facts.baseOffset === 1) bytes.fill(0xff, 61);
            return request.decide(bytes, facts);
          },
        })),
      );
    expect(await broker.service.runOnce()).toBe(0);
    expect(await broker.shown('t')).toBe('0:a=1 1:b=1 2:a=2 3:b=2');
    expect(broker.service.figures.uncleanablePartitions).toBe(1);
  });

  it('forgets a deleted topic, also one that was deleted while it did not run', async () => {
    await broker.create('a', eager);
    await broker.create('b', eager);
    await fill('a', 'a=1', 'a=2');
    await fill('b', 'a=1', 'a=2');
    expect(await broker.service.runOnce()).toBe(2);
    const rows = async () =>
      (await broker.engine.index('compaction-checkpoints').range({ limit: 10 })).length;
    expect(await rows()).toBe(2);
    await broker.topics.delete(['a']);
    await broker.clock.advance(0);
    expect(await rows()).toBe(1);
    await broker.service.close();
    await broker.topics.delete(['b']);
    broker.restartService();
    await broker.service.runOnce();
    expect(await rows()).toBe(0);
  });

  it('changes nothing where it is closed in the middle', async () => {
    await broker.create('t', eager);
    await fill('t', 'a=1', 'a=2', 'a=3');
    const { rewrite } = broker.engine;
    broker.engine.rewrite = (requests) => {
      void broker.service.close();
      return rewrite.call(broker.engine, requests);
    };
    await expect(broker.service.runOnce()).rejects.toThrow();
    expect(await broker.shown('t')).toBe('0:a=1 1:a=2 2:a=3');
  });

  it('runs by itself every log.cleaner.backoff.ms, as long as it is enabled', async () => {
    await broker.create('t', eager);
    broker.service.start();
    await fill('t', 'a=1', 'a=2');
    await broker.clock.advance(15_000);
    await broker.clock.advance(0);
    expect(await broker.shown('t')).toBe('1:a=2');
    await broker.dynamic.change(
      'all-brokers',
      [{ operation: configOperations.SET, name: 'log.cleaner.threads', value: '0' }],
      false,
    );
    await fill('t', 'a=3');
    await broker.clock.advance(60_000);
    expect(await broker.shown('t')).toBe('1:a=2 2:a=3');
    await broker.dynamic.change(
      'all-brokers',
      [{ operation: configOperations.DELETE, name: 'log.cleaner.threads', value: null }],
      false,
    );
    await broker.clock.advance(60_000);
    expect(await broker.shown('t')).toBe('2:a=3');
  });

  it('reads no faster than log.cleaner.io.max.bytes.per.second', async () => {
    await broker.close();
    broker = new CompactionBroker(await onMemory(), { 'log.cleaner.io.max.bytes.per.second': '1000' });
    await broker.create('t', eager);
    await fill('t', `a=${'x'.repeat(5000)}`, 'a=2');
    let done = false;
    const round = broker.service.runOnce().then(() => {
      done = true;
    });
    await broker.clock.advance(5000);
    expect(done).toBe(false);
    await broker.clock.advance(60_000);
    await round;
    expect(await broker.shown('t')).toBe('1:a=2');
  });
});
