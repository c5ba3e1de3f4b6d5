/**
 * Files in memory behind the engine's file-system seam, for tests that need many directories quickly: a copy of all of them shares
 * their bytes until one is written. Nothing is ever lost and nothing fails; names may stand for links, which nobody follows.
 */
import {
  DirectoryInUseError,
  type DirectoryLock,
  type FileInfo,
  type FileSystem,
  type OpenFile,
  type OpenMode,
  type VolumeSpace,
} from '../../src/storage/embedded/file-system.ts';

interface Content {
  bytes: Buffer;
  size: number;
  /** Shared with a copy: to be copied before it is written. */
  isShared: boolean;
}

const link = Symbol('a link');
const directory = Symbol('a directory');
type Node = Content | typeof link | typeof directory;

export class MemoryFiles implements FileSystem {
  private readonly nodes: Map<string, Node>;
  private readonly locks = new Set<string>();

  constructor(nodes = new Map<string, Node>([['', directory]])) {
    this.nodes = nodes;
  }

  copy(): MemoryFiles {
    const nodes = new Map<string, Node>();
    for (const [path, node] of this.nodes) {
      if (typeof node === 'symbol') nodes.set(path, node);
      else {
        node.isShared = true;
        nodes.set(path, { ...node });
      }
    }
    return new MemoryFiles(nodes);
  }

  /** Paths of files, in order. */
  files(): string[] {
    return [...this.nodes.keys()].filter((path) => typeof this.nodes.get(path) !== 'symbol').sort();
  }

  contents(path: string): Buffer {
    const node = this.content(path, 'read');
    return Buffer.from(node.bytes.subarray(0, node.size));
  }

  has(path: string): boolean {
    return this.nodes.has(path);
  }

  put(path: string, bytes: Buffer): void {
    this.nodes.set(path, { bytes: Buffer.from(bytes), size: bytes.length, isShared: false });
  }

  putLink(path: string): void {
    this.nodes.set(path, link);
  }

  /** With everything below it. */
  remove(path: string): void {
    for (const name of [...this.nodes.keys()]) {
      if (name === path || name.startsWith(`${path}/`)) this.nodes.delete(name);
    }
  }

  async open(path: string, mode: OpenMode): Promise<OpenFile> {
    const node = this.nodes.get(path);
    if (node === link) throw failure('ELOOP', path);
    if (node === directory) throw failure('EISDIR', path);
    if (node === undefined) {
      if (mode === 'read' || mode === 'write') throw failure('ENOENT', path);
      if (this.nodes.get(parentOf(path)) !== directory) throw failure('ENOENT', path);
    } else if (mode === 'create') throw failure('EEXIST', path);
    if (node === undefined || mode === 'replace') {
      this.nodes.set(path, { bytes: Buffer.alloc(0), size: 0, isShared: false });
    }
    return new MemoryFile(this.nodes.get(path) as Content);
  }

  async syncDirectory(path: string): Promise<void> {
    if (this.nodes.get(path) !== directory) throw failure('ENOENT', path);
  }

  async rename(from: string, to: string): Promise<void> {
    const node = this.nodes.get(from);
    if (node === undefined) throw failure('ENOENT', from);
    if (this.nodes.get(to) === directory) throw failure('EISDIR', to);
    this.nodes.delete(from);
    this.nodes.set(to, node);
  }

  async link(_from: string, to: string): Promise<void> {
    throw failure('ENOTSUP', to);
  }

  async unlink(path: string): Promise<void> {
    if (!this.nodes.has(path)) throw failure('ENOENT', path);
    if (this.nodes.get(path) === directory) throw failure('EISDIR', path);
    this.nodes.delete(path);
  }

  async truncate(path: string, sizeBytes: number): Promise<void> {
    await new MemoryFile(this.content(path, 'truncate')).truncate(sizeBytes);
  }

  async readdir(path: string): Promise<readonly string[]> {
    if (this.nodes.get(path) !== directory) throw failure('ENOTDIR', path);
    const names: string[] = [];
    for (const name of this.nodes.keys())
      if (parentOf(name) === path && name !== '') names.push(name.slice(path.length + 1));
    return names;
  }

  async stat(path: string): Promise<FileInfo | undefined> {
    const node = this.nodes.get(path);
    if (node === undefined) return undefined;
    if (typeof node === 'symbol')
      return { isDirectory: node === directory, isOther: node === link, sizeBytes: 0 };
    return { isDirectory: false, isOther: false, sizeBytes: node.size };
  }

  async mkdir(path: string): Promise<void> {
    for (let at = path.indexOf('/', 1); ; at = path.indexOf('/', at + 1)) {
      const part = at < 0 ? path : path.slice(0, at);
      const node = this.nodes.get(part);
      if (node !== undefined && node !== directory) throw failure('ENOTDIR', part);
      this.nodes.set(part, directory);
      if (at < 0) return;
    }
  }

  async space(): Promise<VolumeSpace> {
    return { totalBytes: 2 ** 50, availableBytes: 2 ** 49, availableFiles: Number.POSITIVE_INFINITY };
  }

  async lock(path: string): Promise<DirectoryLock> {
    if (this.locks.has(path)) throw new DirectoryInUseError(path);
    this.locks.add(path);
    return { release: async () => void this.locks.delete(path) };
  }

  private content(path: string, _what: string): Content {
    const node = this.nodes.get(path);
    if (node === undefined || typeof node === 'symbol') throw failure('ENOENT', path);
    return node;
  }
}

class MemoryFile implements OpenFile {
  private readonly content: Content;

  constructor(content: Content) {
    this.content = content;
  }

  async read(buffer: Uint8Array, start: number, length: number, position: number): Promise<number> {
    const { bytes, size } = this.content;
    const count = Math.max(0, Math.min(length, size - position));
    if (count > 0) buffer.set(bytes.subarray(position, position + count), start);
    return count;
  }

  async readInto(buffers: readonly Uint8Array[], position: number): Promise<number> {
    let done = 0;
    for (const buffer of buffers) done += await this.read(buffer, 0, buffer.length, position + done);
    return done;
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    const { content } = this;
    const bytes = Buffer.concat(buffers);
    const end = position + bytes.length;
    this.own(end);
    if (position > content.size) content.bytes.fill(0, content.size, position);
    content.bytes.set(bytes, position);
    content.size = Math.max(content.size, end);
  }

  async datasync(): Promise<void> {}

  async truncate(sizeBytes: number): Promise<void> {
    this.own(sizeBytes);
    if (sizeBytes > this.content.size) this.content.bytes.fill(0, this.content.size, sizeBytes);
    this.content.size = sizeBytes;
  }

  async sizeBytes(): Promise<number> {
    return this.content.size;
  }

  async close(): Promise<void> {}

  private own(sizeBytes: number): void {
    const { content } = this;
    if (!content.isShared && sizeBytes <= content.bytes.length) return;
    const larger = Buffer.alloc(
      Math.max(sizeBytes, content.isShared ? content.size : content.bytes.length * 2),
    );
    content.bytes.copy(larger, 0, 0, content.size);
    content.bytes = larger;
    content.isShared = false;
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: '${path}'`), { code });
}
