/** Which file calls the embedded engine makes, and what it does when they fail or take long. */
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import {
  type EmbeddedEngineOptions,
  openEmbeddedEngine,
} from '../../../src/storage/embedded/embedded-engine.ts';
import type { AppendResult, StorageEngine } from '../../../src/storage/engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { type DiskCall, SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { makePayload, parsePayloads, testPayloadFormat } from '../test-payload.ts';

async function open(disk: SimulatedDisk, more: Partial<EmbeddedEngineOptions> = {}): Promise<StorageEngine> {
  const engine = await openEmbeddedEngine({
    directory: '/data',
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: disk,
    ...more,
  });
  if (engine.catalogue.version === 0) {
    await engine.catalogue.update({ changes: [], createQueues: [1, 2, 3, 4] });
  }
  return engine;
}

function put(
  engine: StorageEngine,
  durability: 'sync' | 'async',
  sizeBytes = 100,
  queue = 1,
): Promise<readonly AppendResult[]> {
  return engine.append({
    durability,
    entries: [{ queue, kind: 'data', count: 1, maxTimestampMs: 1, payload: makePayload(1, 'x', sizeBytes) }],
  });
}

function outcome([result]: readonly AppendResult[]): string {
  return result!.outcome === 'refused' ? result!.reason : result!.outcome;
}

/** Counts the calls on log segments from now on. */
function logCalls(disk: SimulatedDisk): { write: number; datasync: number; bytes: number } {
  const counts = { write: 0, datasync: 0, bytes: 0 };
  disk.fault = (call: DiskCall) => {
    if (!call.path.endsWith('.log')) return undefined;
    if (call.name === 'write') {
      counts.write++;
      counts.bytes += call.sizeBytes;
    } else if (call.name === 'datasync') counts.datasync++;
    return undefined;
  };
  return counts;
}

describe('reads', () => {
  test('of entries that lie far apart take little more than these where the reader is alone', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const settings = { readBlockBytes: 64 * 1024, slabBytes: 64 * 1024, tailCacheBytes: 64 * 1024 };
    let engine = await open(disk, { settings });
    for (let at = 0; at < 40; at++) {
      await put(engine, 'async', 100, 1);
      await put(engine, 'async', 100_000, 2);
    }
    await engine.close();
    engine = await open(disk, { settings });
    let bytes = 0;
    let atOnce = 0;
    let mostAtOnce = 0;
    disk.fault = (call: DiskCall) => {
      if (call.path.endsWith('.log') && call.name === 'read') bytes += call.sizeBytes;
      return undefined;
    };
    disk.latency = async (call) => {
      if (!call.path.endsWith('.log')) return;
      mostAtOnce = Math.max(mostAtOnce, ++atOnce);
      await new Promise<void>((resolve) => setImmediate(resolve));
      atOnce--;
    };
    const seen: number[] = [];
    for (let fromOffset = 0; fromOffset < 40; ) {
      const read = await engine.read(1, { fromOffset, maxBytes: 1e6, atLeastOne: true, isAlone: true });
      if (read.outcome !== 'read') throw new Error(read.outcome);
      for (const { baseOffset } of parsePayloads(read.payloads)) seen.push(baseOffset);
      fromOffset = read.nextOffset;
      read.release();
    }
    expect(seen).toEqual(Array.from({ length: 40 }, (_, at) => at));
    expect(bytes).toBeGreaterThan(40 * 100);
    expect(bytes).toBeLessThan(40 * 400);
    expect(mostAtOnce).toBe(2); // maxReadsAtOnce
    await engine.close();
  });
});

describe('writes and flushes', () => {
  test('a turn of the event loop is one write and one flush, whatever the queues', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk);
    const counts = logCalls(disk);
    const answers = Array.from({ length: 200 }, (_, at) => put(engine, 'sync', 100, 1 + (at % 4)));
    expect((await Promise.all(answers)).map(outcome)).toEqual(Array(200).fill('appended'));
    expect(counts).toMatchObject({ write: 1, datasync: 1 });
  });

  test('what comes while a flush is under way shares the next one', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk);
    const counts = logCalls(disk);
    const release = disk.holdSyncs();
    const answers = [put(engine, 'sync')];
    for (let turn = 0; turn < 20; turn++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      answers.push(put(engine, 'sync'));
    }
    await put(engine, 'async', 100, 2);
    expect(counts.datasync).toBe(1);
    release();
    await Promise.all(answers);
    expect(counts.datasync).toBe(2);
  });

  test('async entries are flushed on the interval, or earlier where a group asks for it', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const clock = new VirtualClock();
    const engine = await open(disk, { clock, settings: { flushIntervalMs: 300 } });
    const counts = logCalls(disk);
    await put(engine, 'async');
    await clock.advance(299);
    expect(counts.datasync).toBe(0);
    await clock.advance(1);
    expect(counts.datasync).toBe(1);
    expect(engine.sizes().unflushedBytes).toBe(0);
    await engine.append({ durability: 'async', entries: [], changes: rowChange(), flushWithinMs: 10 });
    await clock.advance(9);
    expect(counts.datasync).toBe(1);
    await clock.advance(1);
    expect(counts.datasync).toBe(2);
    await clock.advance(10_000);
    expect(counts.datasync).toBe(2);
  });

  test('much that is dirty is flushed without being asked', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const clock = new VirtualClock();
    const engine = await open(disk, { clock, settings: { flushDirtyBytes: 100_000 } });
    const counts = logCalls(disk);
    for (let at = 0; at < 30; at++) await put(engine, 'async', 10_000);
    expect(counts.datasync).toBeGreaterThanOrEqual(2);
    expect(engine.sizes().unflushedBytes).toBeLessThan(110_000);
  });

  test('an idle engine calls nothing', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const clock = new VirtualClock();
    const engine = await open(disk, { clock });
    await put(engine, 'sync');
    const before = disk.calls;
    await clock.advance(3_600_000);
    expect(disk.calls).toBe(before);
    expect(clock.pendingTimers).toBe(0);
  });

  test('a new segment is named durably before the first answer that says so', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk, { settings: { segmentBytes: 4096 } });
    for (let at = 0; at < 20; at++) await put(engine, 'sync', 700);
    expect(disk.files().filter((path) => path.endsWith('.log')).length).toBeGreaterThan(3);
    const again = await open(disk.crash('none', 1), { settings: { segmentBytes: 4096 } });
    expect((await again.bounds(1))!.visibleEndOffset).toBe(20);
  });

  test('a slow disk makes appenders wait for room, and they get it', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk, { settings: { maxUnwrittenBytes: 50_000 } });
    let letGo: () => void = () => {};
    const until = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    disk.fault = (call) =>
      call.name === 'write' && call.path.endsWith('.log') ? { kind: 'wait', until } : undefined;
    const answers: Promise<unknown>[] = [];
    while (engine.appendRoom() === undefined) answers.push(put(engine, 'async', 1000));
    expect(engine.sizes().unwrittenBytes).toBeGreaterThanOrEqual(50_000);
    expect(engine.sizes().unwrittenBytes).toBeLessThan(52_000);
    const room = engine.appendRoom();
    expect(room).toBeInstanceOf(Promise);
    disk.fault = undefined;
    letGo();
    await room;
    await Promise.all(answers);
    expect(engine.appendRoom()).toBe(undefined);
  });
});

describe('reads', () => {
  const settings = {
    tailCacheBytes: 8192,
    slabBytes: 8192,
    readBlockBytes: 16 * 1024,
    blockCacheBytes: 64 * 1024,
    maxDiskReadBytes: 256 * 1024,
  };

  async function filled(disk: SimulatedDisk, queues: number): Promise<StorageEngine> {
    const engine = await open(disk, { settings });
    const ids = Array.from({ length: queues }, (_, at) => 100 + at);
    await engine.catalogue.update({ changes: [], createQueues: ids });
    for (let round = 0; round < 100; round++) {
      await Promise.all(ids.map((id) => put(engine, 'async', 500, id)));
    }
    await engine.whenDurable();
    return engine;
  }

  function readCalls(disk: SimulatedDisk): { calls: number; bytes: number } {
    const counts = { calls: 0, bytes: 0 };
    disk.fault = (call) => {
      if (call.name === 'read') {
        counts.calls++;
        counts.bytes += call.sizeBytes;
      }
      return undefined;
    };
    return counts;
  }

  async function readAll(engine: StorageEngine, queue: number, maxBytes: number): Promise<number> {
    let entries = 0;
    for (let offset = 0; ; ) {
      const result = await engine.read(queue, { fromOffset: offset, maxBytes, atLeastOne: true });
      if (result.outcome !== 'read') throw new Error(result.outcome);
      if (result.payloads.length === 0) return entries;
      entries += parsePayloads(result.payloads).length;
      offset = result.nextOffset;
      result.release();
    }
  }

  test('of one queue go through the log once, block by block', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await filled(disk, 2);
    const counts = readCalls(disk);
    expect(await readAll(engine, 100, 3000)).toBe(100);
    const blocks = Math.ceil((200 * 620) / settings.readBlockBytes);
    expect(counts.calls).toBeLessThanOrEqual(blocks + 2);
  });

  test('of many queues in step share their blocks', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await filled(disk, 50);
    const counts = readCalls(disk);
    const offsets = Array<number>(50).fill(0);
    for (let round = 0; round < 100; round++) {
      for (let at = 0; at < 50; at++) {
        const fromOffset = offsets[at]!;
        const result = await engine.read(100 + at, { fromOffset, maxBytes: 600, atLeastOne: true });
        if (result.outcome !== 'read') throw new Error(result.outcome);
        expect(parsePayloads(result.payloads)[0]!.baseOffset).toBe(fromOffset);
        offsets[at] = result.nextOffset;
        result.release();
      }
    }
    const blocks = Math.ceil((100 * 50 * 620) / settings.readBlockBytes);
    expect(counts.calls).toBeLessThan(blocks * 1.2);
  });

  test('of one queue among many, alone, stop fetching whole blocks', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await filled(disk, 50);
    for (let queue = 100; queue < 105; queue++) expect(await readAll(engine, queue, 100_000)).toBe(100);
    const counts = readCalls(disk);
    expect(await readAll(engine, 110, 100_000)).toBe(100);
    expect(await readAll(engine, 111, 100_000)).toBe(100);
    expect(counts.bytes / counts.calls).toBeLessThan(5000);
  });
});

describe('a failed flush', () => {
  for (const code of ['EIO', 'ENOSPC']) {
    test(`is final (${code}): the waiting are told that nobody knows, reads go on`, async () => {
      const disk = new SimulatedDisk({ seed: 1 });
      const engine = await open(disk);
      await put(engine, 'sync');
      let flushes = 0;
      disk.fault = (call) => {
        if (call.name !== 'datasync') return undefined;
        flushes++;
        return flushes === 1 ? { kind: 'error', code } : undefined;
      };
      const waiting = [put(engine, 'sync'), put(engine, 'sync', 100, 2)];
      expect((await Promise.all(waiting)).map(outcome)).toEqual(['unknown', 'unknown']);
      expect((await engine.failed).message).toContain('0000000000.log');
      expect(outcome(await put(engine, 'sync'))).toBe('storage-fault');
      await expect(engine.whenDurable()).rejects.toThrow();
      expect(flushes).toBe(1);
      expect((await engine.bounds(1))!.visibleEndOffset).toBe(1);
      const result = await engine.read(1, { fromOffset: 0, maxBytes: 1000, atLeastOne: true });
      expect(result.outcome).toBe('read');
      await engine.close();
      // Not marked as clean: the next start looks for itself.
      disk.fault = undefined;
      const again = await open(disk);
      expect(again.epoch).toBe(1);
    });
  }

  test('so is a failed write', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk);
    disk.fault = (call) =>
      call.name === 'write' && call.path.endsWith('.log') ? { kind: 'error', code: 'EIO' } : undefined;
    expect(outcome(await put(engine, 'async'))).toBe('unknown');
    expect((await engine.failed).message).toContain('EIO');
    expect(outcome(await put(engine, 'async'))).toBe('storage-fault');
  });
});

describe('a full disk', () => {
  test('refuses appends, keeps reads, shows nothing half-written, and goes on when there is room', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const clock = new VirtualClock();
    const engine = await open(disk, { clock });
    for (let at = 0; at < 10; at++) await put(engine, 'sync', 1000);
    disk.capacityBytes = diskBytes(disk) + 1500;
    const facts = {
      countsForQueue: 1,
      producerId: 9,
      producerEpoch: 0,
      firstSequence: 0,
      lastSequence: 0,
      isTransactional: false,
    };
    const entry = {
      queue: 1,
      kind: 'data',
      count: 1,
      maxTimestampMs: 1,
      payload: makePayload(1, 'y', 3000),
      producer: facts,
    } as const;
    expect(outcome(await engine.append({ durability: 'sync', entries: [entry] }))).toBe('unknown');
    expect(outcome(await put(engine, 'async'))).toBe('storage-fault');
    expect((await engine.bounds(1))!.visibleEndOffset).toBe(10);
    const result = await engine.read(1, { fromOffset: 9, maxBytes: 10_000, atLeastOne: true });
    expect(result).toMatchObject({ outcome: 'read', nextOffset: 10 });
    await clock.advance(5000);
    expect(outcome(await put(engine, 'async'))).toBe('storage-fault');

    disk.capacityBytes = Number.POSITIVE_INFINITY;
    await clock.advance(1000);
    expect(outcome(await put(engine, 'sync'))).toBe('appended');
    // The producer's retry finds that it was kept, once.
    expect(await engine.append({ durability: 'sync', entries: [entry] })).toMatchObject([
      { outcome: 'duplicate', baseOffset: 10 },
    ]);
    expect((await engine.bounds(1))!.visibleEndOffset).toBe(12);
    const again = await open(disk.crash('none', 1));
    expect((await again.bounds(1))!.visibleEndOffset).toBe(12);
  });

  test('may be left by a kill: what was not acknowledged may be missing, nothing else', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk, { clock: new VirtualClock() });
    for (let at = 0; at < 10; at++) await put(engine, 'sync', 1000);
    disk.capacityBytes = diskBytes(disk) + 500;
    expect(outcome(await put(engine, 'sync', 3000))).toBe('unknown');
    const left = disk.crash('kill', 1);
    left.capacityBytes = Number.POSITIVE_INFINITY;
    const again = await open(left);
    expect((await again.bounds(1))!.visibleEndOffset).toBe(10);
    expect(outcome(await put(again, 'sync'))).toBe('appended');
  });

  test('can be closed', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk, { clock: new VirtualClock() });
    await put(engine, 'sync');
    disk.capacityBytes = diskBytes(disk);
    expect(outcome(await put(engine, 'sync', 3000))).toBe('unknown');
    await engine.close();
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    expect((await (await open(disk)).bounds(1))!.visibleEndOffset).toBe(1);
  });
});

describe('space', () => {
  test('segments that nobody can read any more are removed', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk, {
      settings: {
        segmentBytes: 8192,
        sealBytes: 4096,
        slabBytes: 4096,
        tailCacheBytes: 8192,
        cleanCheckIntervalMs: 5,
      },
    });
    for (let at = 0; at < 100; at++) await put(engine, 'sync', 1000, 1 + (at % 2));
    const before = engine.sizes().totalBytes;
    await engine.trim(1, 40);
    const end = (await engine.bounds(2))!.visibleEndOffset;
    await engine.catalogue.update({ changes: [], dropQueues: [2] });
    const oldest = '/data/commitlog/0000000000.log';
    // The manifest forgets an extent first, then its files go one by one.
    const isDone = (): boolean => engine.sizes().totalBytes < before / 2 && !disk.files().includes(oldest);
    for (let tries = 0; tries < 200 && !isDone(); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(end).toBe(50);
    expect(engine.sizes().totalBytes).toBeLessThan(before / 2);
    expect(disk.files()).not.toContain(oldest);
    const result = await engine.read(1, { fromOffset: 40, maxBytes: 100_000, atLeastOne: true });
    expect(result).toMatchObject({ outcome: 'read', baseOffset: 40, nextOffset: 50 });
    const again = await open(disk.crash('none', 1));
    expect(await again.bounds(1)).toEqual({ startOffset: 40, visibleEndOffset: 50 });
    expect(await again.entries(1, 40, 100)).toHaveLength(10);
  });
});

function rowChange() {
  return [{ index: 'i', key: Buffer.from('k'), value: Buffer.from('v') }];
}

function diskBytes(disk: SimulatedDisk): number {
  return disk.files().reduce((sum, path) => sum + disk.contents(path).length, 0);
}
