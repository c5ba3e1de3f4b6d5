import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DirectoryInUseError, errorCodeOf } from '../../../src/storage/embedded/file-system.ts';
import { NodeFileSystem } from '../../../src/storage/embedded/node-file-system.ts';

const disk = new NodeFileSystem();
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'odradek-files-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

describe('file calls', () => {
  test('write many buffers at a place, read parts, truncate, rename', async () => {
    const path = join(directory, 'a');
    const file = await disk.open(path, 'create');
    const buffers = Array.from({ length: 3000 }, (_, at) => Buffer.alloc(10, at & 0xff));
    await file.write(buffers, 5);
    await file.datasync();
    expect(await file.sizeBytes()).toBe(30_005);
    const read = Buffer.alloc(100);
    expect(await file.read(read, 10, 20, 15)).toBe(20);
    expect(read.subarray(10, 30)).toEqual(Buffer.concat(buffers.slice(1, 3)));
    expect(await file.read(read, 0, 100, 29_995)).toBe(10);
    const parts = [Buffer.alloc(7), Buffer.alloc(3), Buffer.alloc(20)];
    expect(await file.readInto(parts, 15)).toBe(30);
    expect(Buffer.concat(parts)).toEqual(Buffer.concat(buffers.slice(1, 4)));
    expect(await file.readInto(parts, 29_990)).toBe(15);
    expect(Buffer.concat(parts).subarray(0, 15)).toEqual(Buffer.concat(buffers.slice(-2)).subarray(5));
    await file.truncate(50);
    expect(await file.sizeBytes()).toBe(50);
    await file.close();
    await expect(disk.open(path, 'create')).rejects.toMatchObject({ code: 'EEXIST' });
    await disk.rename(path, join(directory, 'b'));
    await disk.syncDirectory(directory);
    expect(await disk.readdir(directory)).toEqual(['b']);
    expect(await disk.stat(path)).toBe(undefined);
    const replaced = await disk.open(join(directory, 'b'), 'replace');
    expect(await replaced.sizeBytes()).toBe(0);
    await replaced.close();
  });

  test('do not follow links, and name the fault', async () => {
    await symlink('/etc/passwd', join(directory, 'link'));
    expect(await disk.stat(join(directory, 'link'))).toMatchObject({ isOther: true });
    const error = await disk.open(join(directory, 'none'), 'read').catch((failure: unknown) => failure);
    expect(errorCodeOf(error)).toBe('ENOENT');
  });
});

describe('the directory lock', () => {
  test('is held once, by whatever path, and free after release', async () => {
    const lock = await disk.lock(directory);
    await expect(disk.lock(directory)).rejects.toThrow(DirectoryInUseError);
    await expect(disk.lock(join(directory, '.', ''))).rejects.toThrow(DirectoryInUseError);
    await lock.release();
    await (await disk.lock(directory)).release();
  });

  test('of a process that was killed is free at once', async () => {
    const { dev, ino } = await stat(directory, { bigint: true });
    const names = JSON.stringify([`\0odradek-${dev}-${ino}`, join(directory, 'lock')]);
    const script = `
      const net = require('node:net');
      let left = 2;
      for (const name of ${names}) net.createServer().listen(name, () => { if (--left === 0) console.log('ready'); });
    `;
    const holder = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    await expect(disk.lock(directory)).rejects.toThrow(DirectoryInUseError);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    await (await disk.lock(directory)).release();
  });
});
