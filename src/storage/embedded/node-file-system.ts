/** The engine's file calls on Node. */
import * as fs from 'node:fs';
import { lockDirectory } from './directory-lock.ts';
import {
  type DirectoryLock,
  errorCodeOf,
  type FileInfo,
  type FileSystem,
  type OpenFile,
  type OpenMode,
  type VolumeSpace,
} from './file-system.ts';

/** A link is not followed (ELOOP): what it leads to is not the engine's. Windows has no such flag. */
const noFollow = fs.constants.O_NOFOLLOW ?? 0;
const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC } = fs.constants;
const openFlags: Record<OpenMode, number> = {
  read: O_RDONLY | noFollow,
  write: O_RDWR | noFollow,
  create: O_RDWR | O_CREAT | O_EXCL | noFollow,
  replace: O_RDWR | O_CREAT | O_TRUNC | noFollow,
};

/** On fs' callback functions: half the cost of fs/promises, and the descriptor is never closed by the garbage collector. */
class NodeOpenFile implements OpenFile {
  private readonly descriptor: number;

  constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  read(buffer: Uint8Array, start: number, length: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      let done = 0;
      const step = (error: Error | null, count: number): void => {
        if (error !== null) {
          reject(error);
          return;
        }
        done += count;
        if (count === 0 || done === length) resolve(done);
        else fs.read(this.descriptor, buffer, start + done, length - done, position + done, step);
      };
      fs.read(this.descriptor, buffer, start, length, position, step);
    });
  }

  readInto(buffers: readonly Uint8Array[], position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      let left = buffers;
      let done = 0;
      const step = (error: Error | null, count: number): void => {
        if (error !== null) {
          reject(error);
          return;
        }
        done += count;
        left = withoutFirst(left, count);
        if (count === 0 || left.length === 0) resolve(done);
        else fs.readv(this.descriptor, left as Uint8Array[], position + done, step);
      };
      fs.readv(this.descriptor, left as Uint8Array[], position, step);
    });
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      let left = buffers;
      let at = position;
      const next = (): void => {
        if (left.length === 0) resolve();
        else if (left.length === 1) fs.write(this.descriptor, left[0]!, 0, left[0]!.length, at, step);
        else fs.writev(this.descriptor, left as Uint8Array[], at, step);
      };
      const step = (error: Error | null, count: number): void => {
        if (error !== null) {
          reject(error);
          return;
        }
        if (count === 0 && totalLength(left) > 0) {
          reject(Object.assign(new Error('a write wrote nothing'), { code: 'EIO' }));
          return;
        }
        at += count;
        left = withoutFirst(left, count);
        next();
      };
      next();
    });
  }

  datasync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.descriptor, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  truncate(sizeBytes: number): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.ftruncate(this.descriptor, sizeBytes, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  sizeBytes(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.descriptor, (error, info) => (error === null ? resolve(info.size) : reject(error)));
    });
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.close(this.descriptor, (error) => (error == null ? resolve() : reject(error)));
    });
  }
}

function totalLength(buffers: readonly Uint8Array[]): number {
  let total = 0;
  for (const buffer of buffers) total += buffer.length;
  return total;
}

function withoutFirst(buffers: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let index = 0;
  let left = count;
  while (index < buffers.length && left >= buffers[index]!.length) left -= buffers[index++]!.length;
  if (index === buffers.length) return [];
  const rest = buffers.slice(index);
  if (left > 0) rest[0] = rest[0]!.subarray(left);
  return rest;
}

export class NodeFileSystem implements FileSystem {
  open(path: string, mode: OpenMode): Promise<OpenFile> {
    return new Promise((resolve, reject) => {
      fs.open(path, openFlags[mode], 0o640, (error, descriptor) => {
        if (error === null) resolve(new NodeOpenFile(descriptor));
        else reject(error);
      });
    });
  }

  async syncDirectory(path: string): Promise<void> {
    if (process.platform === 'win32') return; // a directory cannot be opened there, and its changes are journalled
    const handle = await fs.promises.open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  rename(from: string, to: string): Promise<void> {
    return fs.promises.rename(from, to);
  }

  link(from: string, to: string): Promise<void> {
    return fs.promises.link(from, to);
  }

  unlink(path: string): Promise<void> {
    return fs.promises.unlink(path);
  }

  truncate(path: string, sizeBytes: number): Promise<void> {
    return fs.promises.truncate(path, sizeBytes);
  }

  readdir(path: string): Promise<readonly string[]> {
    return fs.promises.readdir(path);
  }

  async stat(path: string): Promise<FileInfo | undefined> {
    try {
      const info = await fs.promises.lstat(path);
      return {
        isDirectory: info.isDirectory(),
        isOther: !info.isDirectory() && !info.isFile(),
        sizeBytes: info.size,
      };
    } catch (error) {
      if (errorCodeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async mkdir(path: string): Promise<void> {
    await fs.promises.mkdir(path, { recursive: true, mode: 0o750 });
  }

  async space(path: string): Promise<VolumeSpace> {
    const { bsize, blocks, bavail, files, ffree } = await fs.promises.statfs(path);
    // File systems that make inodes as they need them say that there are none at all.
    const availableFiles = files === 0 ? Number.POSITIVE_INFINITY : ffree;
    return { totalBytes: blocks * bsize, availableBytes: bavail * bsize, availableFiles };
  }

  lock(path: string): Promise<DirectoryLock> {
    return lockDirectory(path);
  }
}
