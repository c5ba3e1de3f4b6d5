import { describe, expect, test } from 'vitest';
import { type CrashPolicy, type Leftover, SimulatedDisk } from './simulated-disk.ts';

async function write(
  disk: SimulatedDisk,
  path: string,
  text: string,
  sync: 'data' | 'all' | 'none',
): Promise<void> {
  const file = await disk.open(path, 'create');
  await file.write([Buffer.from(text)], 0);
  if (sync !== 'none') await file.datasync();
  if (sync === 'all') await disk.syncDirectory('/d');
  await file.close();
}

async function prepared(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ seed: 1 });
  await disk.mkdir('/d');
  await disk.syncDirectory('/');
  return disk;
}

function left(disk: SimulatedDisk, policy: CrashPolicy, seed = 1): Record<string, string> {
  const survivor = disk.crash(policy, seed);
  return Object.fromEntries(survivor.files().map((path) => [path, survivor.contents(path).toString()]));
}

describe('the simulated disk', () => {
  test('keeps over a power cut what was synced, name and all, and nothing else', async () => {
    const disk = await prepared();
    await write(disk, '/d/all', 'one', 'all');
    await write(disk, '/d/data', 'two', 'data');
    await write(disk, '/d/none', 'three', 'none');
    expect(left(disk, 'none')).toEqual({ '/d/all': 'one' });
    expect(left(disk, 'kill')).toEqual({ '/d/all': 'one', '/d/data': 'two', '/d/none': 'three' });
    expect(left(disk, 'all')).toEqual({ '/d/all': 'one', '/d/data': 'two', '/d/none': 'three' });
  });

  test('keeps any part of what was not synced', async () => {
    const disk = await prepared();
    await write(disk, '/d/f', '', 'all');
    const file = await disk.open('/d/f', 'write');
    await file.write([Buffer.alloc(20_000, 'x')], 0);
    const seen = { prefix: new Set<number>(), subset: new Set<string>() };
    for (let seed = 0; seed < 60; seed++) {
      seen.prefix.add(left(disk, 'prefix', seed)['/d/f']!.length);
      seen.subset.add(left(disk, 'subset', seed)['/d/f']!);
    }
    expect([...seen.prefix].sort()).toEqual([0, 20_000]);
    expect(seen.subset.size).toBeGreaterThan(20);
    // Pages may be missing in the middle, and be torn at a sector.
    expect([...seen.subset].some((text) => /x\0+x/.test(text))).toBe(true);
    expect([...seen.subset].some((text) => text.length % 4096 !== 0 && text.length % 512 === 0)).toBe(true);
  });

  test('a sync covers what was written before it began', async () => {
    const disk = await prepared();
    await write(disk, '/d/f', 'a', 'all');
    const file = await disk.open('/d/f', 'write');
    await file.write([Buffer.from('b')], 1);
    const release = disk.holdSyncs();
    const syncing = file.datasync();
    await file.write([Buffer.from('c')], 2);
    release();
    await syncing;
    expect(left(disk, 'none')).toEqual({ '/d/f': 'ab' });
  });

  test('a failed sync drops what it should have kept, and the next one does not bring it back', async () => {
    const disk = await prepared();
    await write(disk, '/d/f', 'a', 'all');
    const file = await disk.open('/d/f', 'write');
    await file.write([Buffer.from('b')], 1);
    disk.fault = (call) => (call.name === 'datasync' ? { kind: 'error', code: 'EIO' } : undefined);
    await expect(file.datasync()).rejects.toMatchObject({ code: 'EIO' });
    disk.fault = undefined;
    await file.write([Buffer.from('c')], 2);
    await file.datasync();
    expect(left(disk, 'kill')).toEqual({ '/d/f': 'abc' });
    expect(left(disk, 'none')).toEqual({ '/d/f': 'a\0c' });
  });

  test('a rename replaces, and is kept when the directory is synced', async () => {
    const disk = await prepared();
    await write(disk, '/d/f', 'old', 'all');
    await write(disk, '/d/g', 'new', 'all');
    await disk.rename('/d/g', '/d/f');
    expect(left(disk, 'none')).toEqual({ '/d/f': 'old', '/d/g': 'new' });
    expect(left(disk, 'all')).toEqual({ '/d/f': 'new' });
    const other = disk.crash('kill', 1);
    await other.unlink('/d/f');
    await other.syncDirectory('/d');
    expect(left(other, 'none')).toEqual({});
  });

  test('fails as told, having done a part', async () => {
    const disk = await prepared();
    await write(disk, '/d/f', '', 'all');
    const file = await disk.open('/d/f', 'write');
    disk.fault = (call) => (call.name === 'write' ? { kind: 'error', code: 'EIO', doneBytes: 2 } : undefined);
    await expect(file.write([Buffer.from('ab'), Buffer.from('cd')], 0)).rejects.toMatchObject({
      code: 'EIO',
    });
    disk.fault = undefined;
    expect(disk.contents('/d/f').toString()).toBe('ab');
    disk.capacityBytes = 3;
    await expect(file.write([Buffer.from('xyz')], 2)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(disk.contents('/d/f').toString()).toBe('abx');
    await file.write([Buffer.from('z')], 2);
    await expect(disk.open('/d/f', 'create')).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(disk.open('/d/none', 'read')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('answers nothing after its death, which may come at a given call', async () => {
    const disk = await prepared();
    await write(disk, '/d/f', '', 'all');
    const file = await disk.open('/d/f', 'write');
    disk.crashAtCall = disk.calls + 2;
    await file.write([Buffer.from('a')], 0);
    let answered = false;
    void file.write([Buffer.from('b')], 1).then(() => {
      answered = true;
    });
    await disk.died;
    void disk.stat('/d').then(() => {
      answered = true;
    });
    for (let turn = 0; turn < 10; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
    expect(answered).toBe(false);
    // The write at which the power went may have been done.
    expect(left(disk, 'all')).toEqual({ '/d/f': 'ab' });
    expect(left(disk, 'none')).toEqual({ '/d/f': '' });
  });

  test('locks a directory until the process dies', async () => {
    const disk = await prepared();
    const lock = await disk.lock('/d');
    await expect(disk.lock('/d')).rejects.toThrow('in use');
    await lock.release();
    await disk.lock('/d');
    await disk.crash('kill', 1).lock('/d');
  });

  test('tells what a power cut would have left at any moment of the past', async () => {
    const disk = new SimulatedDisk({ seed: 1, remembersChanges: true });
    await disk.mkdir('/d');
    await disk.syncDirectory('/');
    const file = await disk.open('/d/f', 'create');
    await disk.syncDirectory('/d');
    await file.write([Buffer.from('one')], 0);
    const written = disk.moment;
    await file.datasync();
    await file.write([Buffer.alloc(9000, 'x')], 0);
    await disk.rename('/d/f', '/d/g');
    const at = (moment: number, leftover: Leftover): Record<string, string> => {
      const found = disk.leftAt(moment, leftover);
      return Object.fromEntries(found.files().map((path) => [path, found.contents(path).toString()]));
    };
    expect(at(written, { kind: 'none' })).toEqual({ '/d/f': '' });
    expect(at(written, { kind: 'all' })).toEqual({ '/d/f': 'one' });
    expect(at(disk.moment, { kind: 'none' })).toEqual({ '/d/f': 'one' });
    expect(at(disk.moment, { kind: 'prefix', order: disk.moment - 1 })).toEqual({ '/d/f': 'x'.repeat(9000) });
    expect(Object.keys(at(disk.moment, { kind: 'all' }))).toEqual(['/d/g']);
    const [wrote] = disk.unsyncedAt(disk.moment);
    expect(wrote!.writtenBytes).toBe(9000);
    for (let seed = 1; seed < 8; seed++) {
      const torn = at(disk.moment, { kind: 'torn', order: wrote!.order, unit: 'sector', seed })['/d/f']!;
      expect(torn).toMatch(/^(x*|one)$/);
      expect(torn.length === 3 || torn.length % 512 === 0).toBe(true);
      const holed = at(disk.moment, { kind: 'torn', order: wrote!.order, unit: 'page', seed })['/d/f']!;
      expect(holed).not.toBe('x'.repeat(9000));
    }
    expect((await disk.stat('/d/g'))?.sizeBytes).toBe(9000);
  });
});
