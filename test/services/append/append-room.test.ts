import { describe, expect, it } from 'vitest';
import { errorCodes } from '../../../protocol/error-codes.ts';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../../protocol/records/record-batch.ts';
import { AppendRoom } from '../../../src/services/append/append-room.ts';
import { AppendService } from '../../../src/services/append/append-service.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { FakeTopicDirectory } from '../../fakes/topic-directory.ts';
import { batchOf } from '../../handlers/data-broker.ts';

const longestWaitMs = 15_000;

/** A broker's appends on a disk whose writes to the log hang when told to. */
async function start() {
  const disk = new SimulatedDisk({ seed: 1 });
  const clock = new VirtualClock();
  const engine = await openEmbeddedEngine({
    directory: '/data',
    payloadFormat: { stamp: stampBatch, isStamped: isBatchStamped, isIntact: isBatchIntact },
    crc32c,
    fileSystem: disk,
    clock,
    settings: { maxUnwrittenBytes: 64 * 1024 },
  });
  const topics = new FakeTopicDirectory(engine);
  const topic = await topics.create('t', 1, {});
  const room = new AppendRoom({ engine, clock, log: silentLog, longestWaitMs: () => longestWaitMs });
  const appends = new AppendService({ engine, topics, clock, settings: { flushPolicy: 'acks' }, room });
  let goOn = (): void => {};
  return {
    clock,
    engine,
    room,
    queue: topic.partitions[0]!.queue,
    hang(): void {
      const over = new Promise<void>((resolve) => {
        goOn = resolve;
      });
      disk.latency = async ({ name, path }) => {
        if (name === 'write' && path.endsWith('.log')) await over;
      };
    },
    goOn(): void {
      disk.latency = undefined;
      goOn();
    },
    async produce(): Promise<number> {
      const request = appends.begin({ version: 9, acks: 1, transactionalId: null });
      request.add(topic, 0, batchOf(1, { valueBytes: 8_000 }));
      const [result] = await request.run();
      return result!.errorCode;
    },
  };
}

describe('a disk that hangs', () => {
  it('has requests wait for room up to the limit, then refuses them with nothing appended, until it goes on', async () => {
    const broker = await start();
    expect(await broker.produce()).toBe(errorCodes.NONE);
    broker.hang();
    const appended: Promise<number>[] = [];
    while (broker.room.whenRoom() === undefined) appended.push(broker.produce());
    expect(appended.length).toBeGreaterThan(3);
    let isLetThrough = false;
    const waiting = broker.room.whenRoom()!.then(() => {
      isLetThrough = true;
    });
    await broker.clock.advance(longestWaitMs - 1);
    expect(isLetThrough).toBe(false);
    await broker.clock.advance(1);
    await waiting;
    expect(broker.room.whenRoom()).toBeUndefined();
    expect(await broker.produce()).toBe(errorCodes.REQUEST_TIMED_OUT);
    broker.goOn();
    expect(await Promise.all(appended)).toEqual(appended.map(() => errorCodes.NONE));
    while (broker.room.isOverdue) await broker.clock.advance(1);
    const end = (await broker.engine.bounds(broker.queue))!.visibleEndOffset;
    expect(end).toBe(1 + appended.length);
    expect(await broker.produce()).toBe(errorCodes.NONE);
    expect((await broker.engine.bounds(broker.queue))!.visibleEndOffset).toBe(end + 1);
    await broker.engine.close();
  });

  it('keeps requests back for as long as it takes where it is only slow', async () => {
    const broker = await start();
    broker.hang();
    const appended: Promise<number>[] = [];
    while (broker.room.whenRoom() === undefined) appended.push(broker.produce());
    const waiting = broker.room.whenRoom()!;
    await broker.clock.advance(longestWaitMs - 1);
    broker.goOn();
    await Promise.all([waiting, ...appended]);
    await broker.clock.advance(longestWaitMs);
    expect(broker.room.isOverdue).toBe(false);
    expect(await broker.produce()).toBe(errorCodes.NONE);
    await broker.engine.close();
  });
});
