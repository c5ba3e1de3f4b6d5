/** The cleaner closes the head for what lies in it only so often; what it cannot reach waits, and is reached before long. */
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { HeadCloses } from '../../../src/storage/embedded/cleaning/head-closes.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { EmbeddedSettings } from '../../../src/storage/embedded/settings.ts';
import type { StorageEngine } from '../../../src/storage/engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { makePayload, testPayloadFormat } from '../test-payload.ts';

const minuteMs = 60_000;

describe('closes of the head', () => {
  test('are earned by the hour and saved up to a number', async () => {
    const clock = new VirtualClock();
    const closes = new HeadCloses(clock, { headClosesPerHour: 6, savedHeadCloses: 3 });
    expect([closes.take(), closes.take(), closes.take(), closes.take()]).toEqual([true, true, true, false]);
    await clock.advance(9 * minuteMs);
    expect(closes.isAnyLeft).toBe(false);
    await clock.advance(minuteMs);
    expect(closes.isAnyLeft).toBe(true);
    expect([closes.take(), closes.take()]).toEqual([true, false]);
    await clock.advance(1000 * minuteMs);
    expect([closes.take(), closes.take(), closes.take(), closes.take()]).toEqual([true, true, true, false]);
  });

  test('a clock that stands still earns none, and a long sleep no more than is saved', async () => {
    const clock = new VirtualClock();
    const closes = new HeadCloses(clock, { headClosesPerHour: 6, savedHeadCloses: 2 });
    let taken = 0;
    for (let hour = 0; hour < 100; hour++) {
      while (closes.take()) taken++;
      await clock.advance(60 * minuteMs);
    }
    expect(taken).toBe(200);
  });
});

describe('a rewrite of what lies in the head', () => {
  const clock = new VirtualClock();
  let engine: StorageEngine;
  let appended = 0;

  async function begin(settings: Partial<EmbeddedSettings>): Promise<void> {
    appended = 0;
    engine = await openEmbeddedEngine({
      directory: '/data',
      payloadFormat: testPayloadFormat,
      crc32c,
      clock,
      fileSystem: new SimulatedDisk({ seed: 1 }),
      settings: { segmentBytes: 64 * 1024, headClosesPerHour: 6, savedHeadCloses: 2, ...settings },
    });
    await engine.catalogue.update({ changes: [], createQueues: [1, 2] });
  }

  async function put(queue: number, entries: number, bytes = 50): Promise<void> {
    for (let at = 0; at < entries; at++) {
      const payload = makePayload(1, `${appended++} ${'.'.repeat(bytes)}`);
      await engine.append({
        durability: 'sync',
        entries: [{ queue, kind: 'data', count: 1, maxTimestampMs: -1, payload }],
      });
    }
  }

  /** Drops all but the last; answers how far it came. */
  async function drop(queue: number): Promise<number> {
    const asked = (await engine.bounds(queue))!.visibleEndOffset;
    const reach = await engine.rewriteReach(queue, asked);
    const [result] = await engine.rewrite([{ queue, untilOffset: asked, decide: () => 'drop' }]);
    expect(result!.untilOffset).toBe(reach);
    return result!.untilOffset;
  }

  test('waits when the ration is used up, and is done when one is earned', async () => {
    await begin({});
    for (const end of [10, 20]) {
      await put(1, 10);
      expect(await drop(1)).toBe(end);
    }
    await put(1, 10);
    // What was sealed before is within reach, and nothing of the rest is offered.
    expect(await drop(1)).toBe(20);
    expect((await engine.entries(1, 0, 100)).length).toBe(10);
    await clock.advance(10 * minuteMs);
    expect(await drop(1)).toBe(30);
    expect((await engine.entries(1, 0, 100)).length).toBe(1);
    await engine.close();
  });

  test('one close serves every queue', async () => {
    await begin({ savedHeadCloses: 1 });
    await put(1, 10);
    await put(2, 10);
    expect(await drop(1)).toBe(10);
    expect(await drop(2)).toBe(10);
    await engine.close();
  });

  test('needs none where the segment filled of itself', async () => {
    await begin({ savedHeadCloses: 0 });
    await put(1, 10);
    expect(await drop(1)).toBe(0);
    await put(2, 80, 1000);
    expect(await drop(1)).toBe(10);
    await engine.close();
  });

  test('takes none for what lies behind the head already', async () => {
    await begin({ savedHeadCloses: 1 });
    await put(1, 10);
    expect(await drop(1)).toBe(10);
    await put(2, 1);
    await clock.advance(10 * minuteMs);
    expect(await drop(1)).toBe(10);
    expect(await drop(1)).toBe(10);
    expect(await drop(2)).toBe(1);
    await engine.close();
  });
});
