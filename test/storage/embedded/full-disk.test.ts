/** A full disk: what is refused, what goes on, and that it can be freed from within. The real file system's turn is test/faults. */
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { EmbeddedSettings } from '../../../src/storage/embedded/settings.ts';
import type { AppendResult, StorageEngine } from '../../../src/storage/engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { NoRoomError } from '../../../src/util/no-room-error.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { makePayload, testPayloadFormat } from '../test-payload.ts';

const kibibyte = 1024;
// An index run takes 128 KiB at least, so the reserve is worth several.
const capacityBytes = 32 * 1024 * kibibyte;
const reserveBytes = 2048 * kibibyte;
const lowWaterBytes = 1024 * kibibyte;

interface Broken {
  readonly disk: SimulatedDisk;
  readonly clock: VirtualClock;
  readonly engine: StorageEngine;
}

async function open(
  disk: SimulatedDisk,
  settings: Partial<EmbeddedSettings> = {},
  clock = new VirtualClock(),
): Promise<Broken> {
  const engine = await openEmbeddedEngine({
    directory: '/data',
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: disk,
    clock,
    settings: {
      segmentBytes: 4096 * kibibyte,
      slabBytes: 512 * kibibyte,
      tailCacheBytes: 1024 * kibibyte,
      sealBytes: 2048 * kibibyte,
      reserveBytes,
      lowWaterBytes,
      fullRetryMs: 1000,
      ...settings,
    },
  });
  if (engine.catalogue.version === 0) await engine.catalogue.update({ changes: [], createQueues: [1, 2, 3] });
  return { disk, clock, engine };
}

async function put(
  engine: StorageEngine,
  queue = 1,
  kind: 'data' | 'state' = 'data',
  sizeBytes = 100_000,
): Promise<string> {
  const [result] = (await engine.append({
    durability: 'sync',
    entries: [{ queue, kind, count: 1, maxTimestampMs: 1, payload: makePayload(1, 'x', sizeBytes) }],
  })) as [AppendResult];
  return result.outcome === 'refused' ? result.reason : result.outcome;
}

/** Appends to queue 1 until data is refused. Answers how many were taken. */
async function fill(engine: StorageEngine): Promise<number> {
  for (let taken = 0; taken < 1000; taken++) if ((await put(engine)) !== 'appended') return taken;
  throw new Error('the disk takes everything');
}

async function readsAll(engine: StorageEngine, queue: number): Promise<number> {
  const bounds = (await engine.bounds(queue))!;
  let offset = bounds.startOffset;
  while (offset < bounds.visibleEndOffset) {
    const result = await engine.read(queue, { fromOffset: offset, maxBytes: 1_000_000, atLeastOne: true });
    if (result.outcome !== 'read') throw new Error(result.outcome);
    offset = result.nextOffset;
    result.release();
  }
  return offset - bounds.startOffset;
}

async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  clock: VirtualClock,
): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (await holds()) return;
    await clock.advance(200);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`never: ${what}`);
}

const reserveFiles = (disk: SimulatedDisk): string[] =>
  disk.files().filter((path) => path.includes('/reserve-'));
const used = (disk: SimulatedDisk): number =>
  disk.files().reduce((sum, path) => sum + disk.contents(path).length, 0);

/** Another program fills the disk, or gives back what it took. */
function othersLeave(disk: SimulatedDisk, freeBytes: number): void {
  disk.capacityBytes = used(disk) + freeBytes;
}

describe('near the low-water mark', () => {
  test('data is refused before the disk is full; state, trims and reads go on; deleting lets data in again', async () => {
    const { disk, clock, engine } = await open(new SimulatedDisk({ seed: 1, capacityBytes }));
    await until('the reserve is made', () => reserveFiles(disk).length === 8, clock);
    const taken = await fill(engine);
    expect(taken).toBeGreaterThan(100);
    expect(capacityBytes - used(disk)).toBeGreaterThan(lowWaterBytes / 2);
    expect(reserveFiles(disk)).toHaveLength(8);
    expect(await put(engine)).toBe('storage-fault');
    expect(await put(engine, 2, 'state', 20_000)).toBe('appended');
    expect(await readsAll(engine, 1)).toBe(taken);
    // Nothing changes by itself.
    await clock.advance(5000);
    expect(await put(engine)).toBe('storage-fault');
    await engine.trim(1, taken);
    await until('data is taken again', async () => (await put(engine, 3)) === 'appended', clock);
    await engine.close();
  });

  test('a dropped queue frees the disk as well, and so does what others give back', async () => {
    const { disk, clock, engine } = await open(new SimulatedDisk({ seed: 2, capacityBytes }));
    await fill(engine);
    await engine.catalogue.update({ changes: [], dropQueues: [1] });
    await until('data is taken again', async () => (await put(engine, 2)) === 'appended', clock);
    othersLeave(disk, lowWaterBytes / 2);
    for (let tries = 0; tries < 20 && (await put(engine, 2)) === 'appended'; tries++);
    await until('data is refused', async () => (await put(engine, 2)) === 'storage-fault', clock);
    othersLeave(disk, capacityBytes);
    await until('data is taken again', async () => (await put(engine, 2)) === 'appended', clock);
    expect(reserveFiles(disk)).toHaveLength(8);
    await engine.close();
  });
});

describe('a disk that others filled', () => {
  test('the reserve goes first: what was accepted is stored, trims work, and space comes back', async () => {
    const { disk, clock, engine } = await open(new SimulatedDisk({ seed: 3, capacityBytes }));
    await until('the reserve is made', () => reserveFiles(disk).length === 8, clock);
    for (let at = 0; at < 100; at++) expect(await put(engine)).toBe('appended');
    othersLeave(disk, 1000);
    // By the account there is room; the write finds out, and the reserve makes it good.
    expect(await put(engine)).toBe('appended');
    expect(reserveFiles(disk)).toHaveLength(0);
    expect(await put(engine)).toBe('storage-fault');
    expect(await put(engine, 2, 'state', 100)).toBe('appended');
    expect(await readsAll(engine, 1)).toBe(101);
    await engine.trim(1, 101);
    await until('data is taken again', async () => (await put(engine, 3)) === 'appended', clock);
    expect(reserveFiles(disk)).toHaveLength(8);
    const left = disk.crash('kill', 1);
    const again = await open(left);
    expect((await again.engine.bounds(1))!.startOffset).toBe(101);
    await again.engine.close();
  });

  test('state is kept from eating all of what deleting needs', async () => {
    const { disk, clock, engine } = await open(new SimulatedDisk({ seed: 4, capacityBytes }));
    await until('the reserve is made', () => reserveFiles(disk).length === 8, clock);
    for (let at = 0; at < 100; at++) expect(await put(engine)).toBe('appended');
    othersLeave(disk, 500);
    let state = 0;
    while (state < 10_000 && (await put(engine, 2, 'state', 20_000)) === 'appended') state++;
    expect(state * 20_000).toBeGreaterThan(reserveBytes / 4);
    expect(state * 20_000).toBeLessThan(2 * reserveBytes); // merged index runs give some back
    await engine.trim(1, 100);
    await engine.trim(2, state);
    await until('data is taken again', async () => (await put(engine, 3)) === 'appended', clock);
    await engine.close();
  });

  test('without anything left nothing is written, everything read; it goes on when there is room', async () => {
    const { disk, clock, engine } = await open(new SimulatedDisk({ seed: 5, capacityBytes }));
    for (let at = 0; at < 20; at++) await put(engine);
    await until('the reserve is made', () => reserveFiles(disk).length === 8, clock);
    // More is accepted in one go than the reserve holds.
    othersLeave(disk, 0);
    const many = Array.from({ length: 40 }, () => put(engine));
    await until(
      'the log is full',
      async () => (await put(engine, 2, 'state', 10)) === 'storage-fault',
      clock,
    );
    await expect(engine.trim(1, 5)).rejects.toBeInstanceOf(NoRoomError);
    expect(await readsAll(engine, 1)).toBeGreaterThanOrEqual(20);
    othersLeave(disk, capacityBytes);
    await until('data is taken again', async () => (await put(engine, 3)) === 'appended', clock);
    // The first may have fitted in; of the others nobody knew, and all are there once.
    expect(await Promise.all(many)).toContain('unknown');
    expect(await Promise.all(many)).not.toContain('storage-fault');
    expect((await engine.bounds(1))!.visibleEndOffset).toBe(60);
    await engine.close();
  });
});

describe('a start on a full disk', () => {
  for (const [how, kept] of [
    ['with the reserve of the last process', true],
    ['without any reserve', false],
  ] as const) {
    test(`${how}: what is stored can be read, and it recovers`, async () => {
      const first = await open(new SimulatedDisk({ seed: 6, capacityBytes }));
      for (let at = 0; at < 60; at++) await put(first.engine);
      await until('the reserve is made', () => reserveFiles(first.disk).length === 8, first.clock);
      const disk = first.disk.crash('kill', 1);
      if (!kept) for (const path of reserveFiles(disk)) disk.cut(path, undefined);
      othersLeave(disk, 0);
      const { engine, clock } = await open(disk);
      expect(await readsAll(engine, 1)).toBe(60);
      expect(await put(engine)).toBe('storage-fault');
      if (kept) await engine.trim(1, 10);
      else await expect(engine.trim(1, 10)).rejects.toBeInstanceOf(NoRoomError);
      await clock.advance(10_000);
      othersLeave(disk, capacityBytes);
      await until('data is taken again', async () => (await put(engine, 3)) === 'appended', clock);
      await engine.close();
      const again = await open(disk);
      expect(await readsAll(again.engine, 1)).toBe(kept ? 50 : 60);
      expect(again.engine.epoch).toBe(1);
      await again.engine.close();
    });
  }
});

test('a full disk that is closed ends cleanly', async () => {
  const { disk, engine } = await open(new SimulatedDisk({ seed: 7, capacityBytes }));
  await fill(engine);
  othersLeave(disk, 0);
  await engine.close();
  let isFatal = false;
  void engine.failed.then(() => {
    isFatal = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(isFatal).toBe(false);
});
