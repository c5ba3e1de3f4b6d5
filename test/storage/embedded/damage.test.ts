/** What the embedded engine does with a log, an index or a directory that is not as it left it. */
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { layoutOf } from '../../../src/storage/embedded/directory-layout.ts';
import {
  type EmbeddedEngineOptions,
  openEmbeddedEngine,
} from '../../../src/storage/embedded/embedded-engine.ts';
import { EntryHeader, entryBytes, headerBytes } from '../../../src/storage/embedded/entry-header.ts';
import { DataLossError } from '../../../src/storage/embedded/log-scan.ts';
import { ManifestError } from '../../../src/storage/embedded/manifest.ts';
import { type RepairReport, repairDirectory } from '../../../src/storage/embedded/offline/repair.ts';
import type { AppendGroup, StorageEngine } from '../../../src/storage/engine.ts';
import { type Log, silentLog } from '../../../src/util/log.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { makePayload, parsePayloads, testPayloadFormat } from '../test-payload.ts';
import { smallSettings } from './small-settings.ts';

const segment0 = '/data/commitlog/0000000000.log';

function open(disk: SimulatedDisk, more: Partial<EmbeddedEngineOptions> = {}): Promise<StorageEngine> {
  return openEmbeddedEngine({
    directory: '/data',
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: disk,
    ...more,
  });
}

function group(durability: 'sync' | 'async', queue: number, ...bodies: string[]): AppendGroup {
  return {
    durability,
    entries: bodies.map((body) => ({
      queue,
      kind: 'data',
      count: 1,
      maxTimestampMs: 1,
      payload: makePayload(1, body),
    })),
  };
}

async function bodies(engine: StorageEngine, queue: number, fromOffset = 0): Promise<string[]> {
  const found: string[] = [];
  for (let offset = fromOffset; ; ) {
    const result = await engine.read(queue, { fromOffset: offset, maxBytes: 10_000, atLeastOne: true });
    if (result.outcome === 'damaged') {
      found.push(`damaged ${result.baseOffset}..${result.nextOffset}`);
      offset = result.nextOffset;
      continue;
    }
    if (result.outcome !== 'read') throw new Error(result.outcome);
    if (result.payloads.length === 0) return found;
    found.push(...parsePayloads(result.payloads).map((payload) => payload.body));
    offset = result.nextOffset;
    result.release();
  }
}

function repair(disk: SimulatedDisk): Promise<RepairReport> {
  return repairDirectory({
    fileSystem: disk,
    layout: layoutOf('/data'),
    crc32c,
    format: testPayloadFormat,
    nowMs: 0,
    isDryRun: false,
  });
}

interface FoundEntry {
  readonly at: number;
  readonly header: EntryHeader;
}

/** The entries of a segment, by their headers alone. */
function entriesIn(bytes: Buffer): FoundEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: FoundEntry[] = [];
  for (let at = 0; at + headerBytes <= bytes.length; ) {
    const header = new EntryHeader();
    header.decode(view, at);
    found.push({ at, header });
    at += entryBytes(header.payloadBytes);
  }
  return found;
}

function segmentEntries(disk: SimulatedDisk, path = segment0): FoundEntry[] {
  let found: FoundEntry[] = [];
  disk.damage(path, (bytes) => {
    found = entriesIn(bytes);
  });
  return found;
}

function flip(disk: SimulatedDisk, path: string, at: number): void {
  disk.damage(path, (bytes) => {
    bytes[at]! ^= 0x10;
  });
}

/** Keeps the messages of errors. */
function recordingLog(lines: string[]): Log {
  const log: Log = {
    ...silentLog,
    error: (fields, message) => void lines.push(`${message} ${JSON.stringify(fields)}`),
    component: () => log,
  };
  return log;
}

async function kill(disk: SimulatedDisk): Promise<SimulatedDisk> {
  return disk.crash('kill', 7);
}

/** Queue 1 with durable a, b, c, then async d and the group e, f, which are written but not flushed. */
async function prepared(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ seed: 1 });
  const engine = await open(disk);
  await engine.catalogue.update({ changes: [], createQueues: [1, 2] });
  for (const body of ['a', 'b', 'c']) await engine.append(group('sync', 1, body));
  disk.holdSyncs();
  await engine.append(group('async', 1, 'd'));
  await engine.append(group('async', 1, 'e', 'f'));
  return kill(disk);
}

describe('the tail of the log', () => {
  test('is not what an earlier start cut off, where that comes to light again behind the end', async () => {
    let disk = await prepared();
    const before = disk.contents(segment0);
    const d = segmentEntries(disk).at(-3)!.at;
    disk.cut(segment0, d);
    let engine = await open(disk);
    expect(await bodies(engine, 1)).toEqual(['a', 'b', 'c']);
    disk.holdSyncs();
    await engine.append(group('async', 1, 'new'));
    // The power goes: the file has its new length, its last block what was there long ago.
    disk = disk.crash('none', 7);
    const file = await disk.open(segment0, 'write');
    await file.write([before.subarray(d)], d);
    await file.datasync();
    await file.close();
    engine = await open(disk);
    expect(await bodies(engine, 1)).toEqual(['a', 'b', 'c']);
    await engine.append(group('sync', 1, 'newer'));
    engine = await open(await kill(disk));
    expect(await bodies(engine, 1)).toEqual(['a', 'b', 'c', 'newer']);
  });

  test('what was written is there after a kill', async () => {
    const engine = await open(await prepared());
    expect(await bodies(engine, 1)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    expect(engine.epoch).toBe(1);
  });

  test('is cut at every byte of the last group, and goes on from there', async () => {
    const disk = await prepared();
    const all = segmentEntries(disk);
    const d = all.at(-3)!;
    const e = all.at(-2)!;
    const end = all.at(-1)!.at + entryBytes(all.at(-1)!.header.payloadBytes);
    for (let size = e.at; size < end; size += 5) {
      const torn = disk.crash('kill', size);
      torn.cut(segment0, size);
      const engine = await open(torn);
      expect(await bodies(engine, 1)).toEqual(['a', 'b', 'c', 'd']);
      expect(segmentEntries(torn).at(-1)!.at).toBe(d.at);
      const [result] = await engine.append(group('sync', 1, 'next'));
      expect(result).toMatchObject({ outcome: 'appended', baseOffset: 4 });
      expect(await bodies(engine, 1, 3)).toEqual(['d', 'next']);
    }
  });

  test('a flipped bit in what was not durable cuts it off, at a whole group', async () => {
    const disk = await prepared();
    const f = segmentEntries(disk).at(-1)!;
    for (const at of [f.at + 1, f.at + 60, f.at + headerBytes + 22]) {
      const flipped = disk.crash('kill', at);
      flip(flipped, segment0, at);
      const engine = await open(flipped);
      expect(await bodies(engine, 1)).toEqual(['a', 'b', 'c', 'd']);
    }
  });

  test('zeros and rubbish behind the end are cut off', async () => {
    const disk = await prepared();
    for (const byte of [0, 0xa5]) {
      const longer = disk.crash('kill', byte + 1);
      const file = await longer.open(segment0, 'write');
      await file.write([Buffer.alloc(5000, byte)], await file.sizeBytes());
      const engine = await open(longer);
      expect(await bodies(engine, 1)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
      await engine.append(group('sync', 1, 'g'));
      const again = await open(await kill(longer));
      expect(await bodies(again, 1, 5)).toEqual(['f', 'g']);
    }
  });

  test('recovery cut off at any call does the same again', async () => {
    const disk = await prepared();
    disk.cut(segment0, segmentEntries(disk).at(-1)!.at + 3);
    for (let call = 1; ; call++) {
      const again = disk.crash('kill', call);
      again.crashAtCall = call;
      const opened = await Promise.race([open(again).then(() => true), again.died.then(() => false)]);
      const engine = await open(again.crash('none', call));
      expect(await bodies(engine, 1)).toEqual(['a', 'b', 'c', 'd']);
      if (opened) break;
    }
  });
});

describe('damage to what was durable', () => {
  test('refuses the start and says where, whichever byte it is', async () => {
    const disk = await prepared();
    const b = segmentEntries(disk).find((entry) => entry.header.baseOffset === 1)!;
    for (const at of [b.at, b.at + 5, b.at + 30, b.at + headerBytes + 1]) {
      const flipped = disk.crash('kill', at);
      flip(flipped, segment0, at);
      const before = flipped.files();
      await expect(open(flipped)).rejects.toThrow(DataLossError);
      await expect(open(flipped)).rejects.toThrow(`0000000000.log byte ${b.at}`);
      expect(flipped.files()).toEqual(before);
    }
  });

  test('is found out by what lies behind it, when the manifest knows nothing of it', async () => {
    // The first start's manifest knows of no durable byte; later entries' headers do.
    const disk = await prepared();
    const { at } = segmentEntries(disk)[0]!;
    flip(disk, segment0, at + 20);
    await expect(open(disk)).rejects.toThrow(DataLossError);
  });

  test('a log that ends before its durable end refuses the start', async () => {
    const disk = await prepared();
    const engine = await open(disk);
    await engine.close();
    const c = segmentEntries(disk).find((entry) => entry.header.baseOffset === 2)!;
    disk.cut(segment0, c.at);
    await expect(open(disk)).rejects.toThrow(/the file ends.*everything from 0000000000.log byte/);
    const lines: string[] = [];
    const accepted = await open(disk, { acceptLoss: true, log: recordingLog(lines) });
    expect(await bodies(accepted, 1)).toEqual([
      'a',
      'b',
      'damaged 2..3',
      'damaged 3..4',
      'damaged 4..5',
      'damaged 5..6',
    ]);
    expect(lines.join()).toContain('everything from');
  });

  test('accepted: a payload is damaged for its readers only, a header leaves a gap', async () => {
    const disk = await prepared();
    const all = segmentEntries(disk);
    const a = all.find((entry) => entry.header.baseOffset === 0 && entry.header.queue === 1)!;
    const b = all.find((entry) => entry.header.baseOffset === 1)!;
    flip(disk, segment0, a.at + headerBytes + 22);
    flip(disk, segment0, b.at + 50);
    const lines: string[] = [];
    const engine = await open(disk, { acceptLoss: true, log: recordingLog(lines) });
    expect(await bodies(engine, 1)).toEqual(['damaged 0..1', 'c', 'd', 'e', 'f']);
    expect(lines.length).toBe(2);
    expect(lines[1]).toContain(`0000000000.log byte ${b.at}`);
    expect(await engine.append(group('sync', 1, 'g'))).toMatchObject([{ baseOffset: 6 }]);
  });

  test('a newer format refuses the start', async () => {
    const disk = await prepared();
    const last = segmentEntries(disk).at(-1)!;
    disk.damage(segment0, (bytes) => {
      bytes[last.at + 8] = 2;
      bytes.writeUInt32LE(crc32c(bytes, last.at + 8, last.at + headerBytes), last.at + 4);
    });
    await expect(open(disk)).rejects.toThrow('newer format');
  });
});

/** Many small segments with index runs over them; queue 1 and 2 in turn. */
async function manySegments(): Promise<{ disk: SimulatedDisk; expected: string[] }> {
  const disk = new SimulatedDisk({ seed: 3 });
  const engine = await open(disk, { settings: smallSettings });
  await engine.catalogue.update({
    changes: [{ key: 'k', value: Buffer.from('v') }],
    createQueues: [1, 2],
  });
  const expected: string[] = [];
  for (let at = 0; at < 800; at++) {
    expected.push(`body ${at}`);
    const data = group(at % 50 ? 'async' : 'sync', 1 + (at % 2), `body ${at}`);
    const row = { index: 'i', key: Buffer.from(`row ${at % 100}`), value: Buffer.from(String(at % 100)) };
    await engine.append(at % 3 === 0 ? { ...data, changes: [row] } : data);
  }
  await engine.close();
  return { disk, expected: expected.filter((_, at) => at % 2 === 0) };
}

describe('damage to sealed segments and index runs', () => {
  test('a flipped bit in a sealed segment is damage of that entry only', async () => {
    const { disk, expected } = await manySegments();
    const victim = segmentEntries(disk).find((entry) => entry.header.queue === 1)!;
    for (const at of [victim.at + 40, victim.at + headerBytes + 2]) {
      const flipped = disk.crash('kill', at);
      flip(flipped, segment0, at);
      const engine = await open(flipped, { settings: smallSettings });
      const found = await bodies(engine, 1);
      expect(found).toEqual(['damaged 0..1', ...expected.slice(1)]);
    }
  });

  test('a missing or short segment refuses the start; accepted, only its entries are gone', async () => {
    const { disk, expected } = await manySegments();
    const segments = disk.files().filter((path) => path.endsWith('.log'));
    expect(segments.length).toBeGreaterThan(4);
    for (const damage of [undefined, 10]) {
      const broken = disk.crash('kill', 1);
      const victim = segments[1]!;
      const lost = segmentEntries(broken, victim).filter((entry) => entry.header.queue === 1).length;
      broken.cut(victim, damage);
      await expect(open(broken, { settings: smallSettings })).rejects.toThrow(victim);
      const engine = await open(broken, { settings: smallSettings, acceptLoss: true });
      const found = await bodies(engine, 1);
      expect(found.filter((body) => body.startsWith('damaged')).length).toBe(lost);
      expect(found.filter((body) => !body.startsWith('damaged')).length).toBe(expected.length - lost);
    }
  });

  test('a swapped segment never serves its bytes as another', async () => {
    const { disk } = await manySegments();
    const [first, second] = disk.files().filter((path) => path.endsWith('.log'));
    let a = Buffer.alloc(0);
    disk.damage(first!, (bytes) => {
      a = Buffer.from(bytes);
    });
    disk.damage(second!, (bytes) => {
      a.copy(bytes);
    });
    const engine = await open(disk, { settings: smallSettings });
    const found = await bodies(engine, 1);
    expect(found.filter((body) => body.startsWith('damaged')).length).toBeGreaterThan(10);
    expect(new Set(found).size).toBe(found.length);
  });

  test('index runs that are damaged, cut off or missing are made again from the log', async () => {
    const { disk, expected } = await manySegments();
    const runs = disk.files().filter((path) => path.endsWith('.run'));
    expect(runs.length).toBeGreaterThan(1);
    const changes: ((broken: SimulatedDisk, path: string) => void)[] = [
      (broken, path) => broken.damage(path, (bytes) => bytes.fill(0, bytes.length - 60)),
      (broken, path) => broken.cut(path, 100),
      (broken, path) => broken.cut(path, undefined),
    ];
    for (const change of changes) {
      const broken = disk.crash('kill', 1);
      for (const path of runs) change(broken, path);
      const engine = await open(broken, { settings: smallSettings });
      expect(await bodies(engine, 1)).toEqual(expected);
      expect((await engine.bounds(2))!.visibleEndOffset).toBe(400);
    }
  });

  test('a run that cannot be made again without leaving rows out refuses the start, until a repair notes them', async () => {
    const { disk, expected } = await manySegments();
    const victim = segmentEntries(disk).find((entry) => entry.header.queue === 1)!;
    flip(disk, segment0, victim.at + 40);
    for (const path of disk.files()) if (path.endsWith('.run')) disk.cut(path, 100);
    await expect(open(disk, { settings: smallSettings })).rejects.toThrow('odradek log repair /data');
    const { refusals } = await repair(disk);
    expect(refusals).toEqual([]);
    const engine = await open(disk, { settings: smallSettings });
    expect(await bodies(engine, 1)).toEqual(['damaged 0..1', ...expected.slice(1)]);
  });

  test('a repair changes no byte of a backup that shares files with the directory by hard links', async () => {
    for (const hurt of [
      // In the middle, and from there to the end, where the segment is cut off.
      (bytes: Buffer, at: number) => bytes.fill(0xee, at + 40, at + 48),
      (bytes: Buffer, at: number) => bytes.fill(0, at),
    ]) {
      const { disk } = await manySegments();
      await disk.mkdir('/backup');
      const linked = disk.files().filter((path) => path.startsWith('/data/commitlog/'));
      for (const path of linked) await disk.link(path, path.replace('/data/commitlog', '/backup'));
      const victim = segmentEntries(disk).find((entry) => entry.header.queue === 1)!;
      disk.damage(segment0, (bytes) => void hurt(bytes, victim.at));
      const before = new Map(disk.files().map((path) => [path, disk.contents(path)]));
      const { actions, refusals } = await repair(disk);
      expect(refusals).toEqual([]);
      expect(actions).not.toEqual([]);
      expect(disk.contents(segment0)).not.toEqual(before.get(segment0));
      for (const [path, bytes] of before) {
        if (path.startsWith('/backup/')) expect(disk.contents(path).equals(bytes)).toBe(true);
      }
      expect(disk.files().filter((path) => path.endsWith('.new'))).toEqual([]);
      await (await open(disk, { settings: smallSettings })).close();
    }
  });

  test('a damaged block of a run is found at the read, and the run made again', async () => {
    const { disk, expected } = await manySegments();
    const run = disk.files().find((path) => path.endsWith('.run'))!;
    flip(disk, run, 8);
    const engine = await open(disk, { settings: smallSettings });
    const options = { fromOffset: 0, maxBytes: 100, atLeastOne: true };
    await expect(Promise.resolve(engine.read(1, options))).rejects.toThrow('damaged in block');
    for (let tries = 0; tries < 100; tries++) {
      try {
        expect(await bodies(engine, 1)).toEqual(expected);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
    throw new Error('the run was not made again');
  });
});

const manifests = ['/data/MANIFEST', '/data/mirror/MANIFEST'];

/** What makes a file useless, each in its way. */
const breakages: readonly ((disk: SimulatedDisk, path: string) => void)[] = [
  (disk, path) => flip(disk, path, 100),
  (disk, path) => flip(disk, path, 17),
  (disk, path) => disk.cut(path, disk.contents(path).length - 1),
  (disk, path) => disk.cut(path, 0),
  (disk, path) => disk.cut(path, undefined),
];

describe('the directory', () => {
  test('log segments without a manifest refuse the start', async () => {
    const { disk } = await manySegments();
    for (const path of manifests) disk.cut(path, undefined);
    await expect(open(disk)).rejects.toThrow('no manifest');
    for (const path of disk.files()) if (!path.endsWith('.state')) disk.cut(path, undefined);
    await expect(open(disk)).rejects.toThrow('no manifest');
  });

  test('a newer manifest refuses the start, whichever copy it is', async () => {
    const { disk } = await manySegments();
    for (const path of manifests) {
      const newer = disk.crash('kill', 2);
      newer.damage(path, (bytes) => {
        bytes.write('odradek-manifest 7', 0, 'latin1');
        const [line, start] = [bytes.toString('latin1', 0, bytes.indexOf(0x0a)), bytes.indexOf(0x0a) + 1];
        const head = Buffer.from(line.slice(0, line.lastIndexOf(' ')), 'latin1');
        const checksum = crc32c(bytes, start, bytes.length, crc32c(head, 0, head.length));
        bytes.write(checksum.toString(16).padStart(8, '0'), head.length + 1, 'latin1');
      });
      await expect(open(newer)).rejects.toThrow(ManifestError);
      await expect(open(newer)).rejects.toThrow('format version 7');
    }
  });

  test.each([0, 1, 2, 3, 4])(
    'one damaged copy of any file is replaced by the other, and said (%i)',
    async (way) => {
      const { disk, expected } = await manySegments();
      const small = /MANIFEST$|\.(state|producers|index)$/;
      const paths = disk.files().filter((path) => small.test(path));
      expect(paths.filter((path) => path.endsWith('.index')).length).toBeGreaterThan(1);
      for (const path of paths) {
        const whole = disk.contents(path);
        const broken = disk.crash('kill', way);
        // Blocks of the ordered index are looked at when they are read; its ends at the start.
        if (path.endsWith('.index') && way < 2) flip(broken, path, whole.length - 3 * way - 1);
        else breakages[way]!(broken, path);
        const lines: string[] = [];
        const engine = await open(broken, { settings: smallSettings, log: recordingLog(lines) });
        expect(await bodies(engine, 1)).toEqual(expected);
        expect(engine.catalogue.get('k')?.value.toString()).toBe('v');
        expect((await engine.index('i').get(Buffer.from('row 7')))?.toString()).toBe('7');
        expect(lines.filter((line) => line.includes('a file is damaged')).length, path).toBe(1);
        if (!path.endsWith('MANIFEST')) expect(broken.contents(path), path).toEqual(whole);
        const again: string[] = [];
        await open(broken.crash('kill', way), { settings: smallSettings, log: recordingLog(again) });
        expect(again).toEqual([]);
      }
    },
  );

  test('a damaged block of the ordered index is read from its other copy and put right', async () => {
    const { disk } = await manySegments();
    const paths = disk.files().filter((one) => /index\/.*\.index$/.test(one));
    const whole = paths.map((path) => disk.contents(path));
    for (const path of paths) flip(disk, path, 5);
    const lines: string[] = [];
    const engine = await open(disk, { settings: smallSettings, log: recordingLog(lines) });
    expect(lines).toEqual([]);
    expect((await engine.index('i').range({ limit: 1000 })).length).toBe(100);
    expect(lines.length).toBe(paths.length);
    expect(paths.map((path) => disk.contents(path))).toEqual(whole);
  });

  test('where both copies of a file are damaged the start is refused, and told what to run', async () => {
    const { disk } = await manySegments();
    for (const kind of [/MANIFEST$/, /\.state$/, /\.index$/]) {
      const paths = disk.files().filter((path) => kind.test(path));
      for (const way of [2, 3, 4]) {
        if (way === 4 && kind.test('MANIFEST')) continue; // no manifest at all: the test above
        const broken = disk.crash('kill', way);
        for (const path of paths) breakages[way]!(broken, path);
        const before = broken.files();
        await expect(open(broken)).rejects.toThrow('odradek log repair /data');
        expect(broken.files()).toEqual(before);
      }
    }
  });

  test('an older manifest put in the place of either copy is found out', async () => {
    const { disk, expected } = await manySegments();
    const old = disk.contents('/data/MANIFEST');
    const engine = await open(disk, { settings: smallSettings });
    for (let at = 0; at < 400; at++) await engine.append(group('async', 1, `later ${at}`));
    await engine.trim(1, 100);
    await engine.trim(2, 300);
    await engine.close();
    for (const path of manifests) {
      const stale = disk.crash('kill', 1);
      stale.cut(path, 0);
      const file = await stale.open(path, 'write');
      await file.write([old], 0);
      const lines: string[] = [];
      const opened = await open(stale, { settings: smallSettings, log: recordingLog(lines) });
      expect(lines.join()).toContain(`${path} is an older copy`);
      expect((await bodies(opened, 1, 100)).slice(0, 2)).toEqual([expected[100], expected[101]]);
      expect((await opened.bounds(1))!).toEqual({ startOffset: 100, visibleEndOffset: 800 });
    }
  });

  test('an older snapshot under the name of the newest is found out', async () => {
    const { disk } = await manySegments();
    const old = disk.files().find((path) => /snapshots\/.*\.state$/.test(path))!;
    const content = disk.contents(old);
    const engine = await open(disk, { settings: smallSettings });
    await engine.trim(1, 100);
    for (let at = 0; at < 400; at++) await engine.append(group('async', 1, `later ${at}`));
    await engine.close();
    const newest = disk.files().find((path) => /snapshots\/.*\.state$/.test(path))!;
    expect(newest).not.toBe(old);
    disk.cut(newest, 0);
    const file = await disk.open(newest, 'write');
    await file.write([content], 0);
    const lines: string[] = [];
    const opened = await open(disk, { settings: smallSettings, log: recordingLog(lines) });
    expect(lines.length).toBe(1);
    expect((await opened.bounds(1))!.startOffset).toBe(100);
  });

  test('data of the version before mirrors gets them', async () => {
    const { disk, expected } = await manySegments();
    for (const path of disk.files()) if (path.includes('/mirror/')) disk.cut(path, undefined);
    const line = disk.contents('/data/MANIFEST');
    const manifest = JSON.parse(line.toString('utf8', line.indexOf(0x0a) + 1)) as { generation?: number };
    delete manifest.generation;
    const body = Buffer.from(JSON.stringify(manifest));
    const checksum = crc32c(body, 0, body.length).toString(16).padStart(8, '0');
    disk.cut('/data/MANIFEST', 0);
    const file = await disk.open('/data/MANIFEST', 'write');
    await file.write([Buffer.from(`odradek-manifest 1 ${body.length} ${checksum}\n`), body], 0);
    const lines: string[] = [];
    const engine = await open(disk, { settings: smallSettings, log: recordingLog(lines) });
    expect(lines).toEqual([]);
    expect(await bodies(engine, 1)).toEqual(expected);
    const mirrored = disk.files().filter((path) => path.includes('/mirror/'));
    expect(mirrored.some((path) => path.endsWith('.state'))).toBe(true);
    expect(mirrored.some((path) => path.endsWith('.index'))).toBe(true);
  });

  test('a second opening is refused, and possible after the close', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk);
    await expect(open(disk)).rejects.toThrow('in use by another process');
    await engine.close();
    await (await open(disk)).close();
  });
});

test('every bit of the end of an index run is looked at', async () => {
  const { disk, expected } = await manySegments();
  const path = disk.files().find((one) => one.endsWith('.run'))!;
  const end = disk.contents(path).length;
  for (let bit = 0; bit < 24 * 8; bit++) {
    const flipped = disk.crash('kill', bit);
    flipped.damage(path, (bytes) => {
      bytes[end - 24 + (bit >> 3)]! ^= 1 << (bit & 7);
    });
    const lines: string[] = [];
    const engine = await open(flipped, { settings: smallSettings, log: recordingLog(lines) });
    expect(lines.length, `bit ${bit}`).toBe(1);
    if (bit % 48 === 0) expect(await bodies(engine, 1)).toEqual(expected);
  }
});
