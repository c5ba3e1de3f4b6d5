/** What the engine still does when its log has failed: nothing. */
import { expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { EventLoop, settle } from '../../simulation/event-loop.ts';
import { makePayload, testPayloadFormat } from '../test-payload.ts';
import { smallSettings } from './small-settings.ts';

test('a table that waits to be sealed is not tried again and again', async () => {
  const loop = new EventLoop();
  const disk = new SimulatedDisk({ seed: 1 });
  disk.latency = () => loop.sleep(1);
  await loop.within(async () => {
    let isOver = false;
    const done = (async () => {
      const engine = await openEmbeddedEngine({
        directory: '/data',
        payloadFormat: testPayloadFormat,
        crc32c,
        fileSystem: disk,
        clock: loop,
        settings: smallSettings,
      });
      await engine.catalogue.update({ changes: [], createQueues: [1] });
      disk.fault = (call) => (call.name === 'datasync' ? { kind: 'error', code: 'EIO' } : undefined);
      for (let number = 0; number < 30; number++) {
        void engine.append({
          durability: 'async',
          entries: [
            { queue: 1, kind: 'data', count: 1, maxTimestampMs: 1, payload: makePayload(1, `${number}`) },
          ],
        });
      }
      await engine.failed;
      isOver = true;
    })();
    while (!isOver) {
      await loop.step();
      await settle();
    }
    await done;
    for (let steps = 0; steps < 200; steps++) await loop.step();
    expect(loop.immediatesWaiting).toBe(0);
  });
});
