/** The wall clock jumps while the engine runs: store times never go back, and nothing that waits looks at the wall. */
import { expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { AppendResult, StorageEngine } from '../../../src/storage/engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { makePayload, testPayloadFormat } from '../test-payload.ts';

const hourMs = 3_600_000;
const yearMs = 365 * 24 * hourMs;

function open(disk: SimulatedDisk, clock: VirtualClock): Promise<StorageEngine> {
  return openEmbeddedEngine({
    directory: '/data',
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: disk,
    clock,
    settings: { flushIntervalMs: 500 },
  });
}

async function put(engine: StorageEngine): Promise<number> {
  const [result] = (await engine.append({
    durability: 'async',
    entries: [{ queue: 1, kind: 'data', count: 1, maxTimestampMs: 1, payload: makePayload(1, 'x') }],
  })) as [AppendResult];
  if (result.outcome !== 'appended') throw new Error(result.outcome);
  return result.storeTimeMs;
}

for (const [name, jumpMs] of [
  ['an hour on', hourMs],
  ['ten years on', 10 * yearMs],
  ['two hours back', -2 * hourMs],
] as const) {
  test(`${name}: store times grow, the flush comes when it is due`, async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const clock = new VirtualClock();
    const engine = await open(disk, clock);
    await engine.catalogue.update({ changes: [], createQueues: [1] });
    const before = await put(engine);
    await clock.advance(100);
    clock.jumpWall(jumpMs);
    const after = await put(engine);
    expect(after).toBe(jumpMs > 0 ? before + 100 + jumpMs : before);
    expect(engine.sizes().unflushedBytes).toBeGreaterThan(0);
    await clock.advance(399);
    expect(engine.sizes().unflushedBytes).toBeGreaterThan(0);
    await clock.advance(1);
    expect(engine.sizes().unflushedBytes).toBe(0);
    clock.jumpWall(-jumpMs);
    const back = await put(engine);
    expect(back).toBeGreaterThanOrEqual(after);
    // Not over a restart either, though the clock says otherwise.
    await engine.whenDurable();
    const again = await open(disk.crash('none', 1), new VirtualClock(1_600_000_000_000));
    expect(await put(again)).toBeGreaterThanOrEqual(back);
  });
}
