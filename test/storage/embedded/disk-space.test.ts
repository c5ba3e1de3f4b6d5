/** The account of free space alone, on a volume that says what the test wants. */
import { expect, test } from 'vitest';
import { DiskSpace } from '../../../src/storage/embedded/disk-space.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';

const totalBytes = 1 << 30;
const reserveBytes = 8 << 20;
const lowWaterBytes = 4 << 20;

async function open(
  freeBytes: number,
): Promise<{ space: DiskSpace; clock: VirtualClock; looks: () => number }> {
  const disk = new SimulatedDisk({ seed: 1 });
  disk.space = () => Promise.resolve({ totalBytes, availableBytes: freeBytes, availableFiles: 1000 });
  const clock = new VirtualClock();
  const space = new DiskSpace({
    fileSystem: disk,
    directory: '/data',
    settings: { reserveBytes, lowWaterBytes, fullRetryMs: 1000 },
    clock,
    logger: silentLog,
  });
  let looks = 0;
  space.whileShort = () => {
    looks++;
  };
  await space.open();
  return { space, clock, looks: () => looks };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('data that stays refused a little above the mark has somebody look for space', async () => {
  const { space, clock, looks } = await open(reserveBytes + lowWaterBytes + 50_000);
  expect(space.admits('data', 100_000)).toBe(false);
  await settled();
  expect(space.isShort).toBe(true);
  await clock.advance(1000);
  await settled();
  expect(looks()).toBeGreaterThan(0);
});

test('one batch that is too large for a volume with room leaves it open to smaller ones', async () => {
  const { space } = await open(reserveBytes + 3 * lowWaterBytes);
  expect(space.admits('data', 3 * lowWaterBytes)).toBe(false);
  await settled();
  expect(space.isShort).toBe(false);
  expect(space.admits('data', 100_000)).toBe(true);
});
