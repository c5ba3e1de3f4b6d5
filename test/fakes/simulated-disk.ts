/**
 * A disk behind the embedded engine's file-system seam that forgets as disks do: what was not synced is lost, kept or torn at a
 * crash, as a seeded policy says; names count as un-synced until their directory is synced; a failed fsync drops the dirty
 * pages (as Linux does). Every call is counted, and can be made to fail, wait, or be the one at which the power goes.
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

export type DiskCallName =
  | 'open'
  | 'read'
  | 'write'
  | 'datasync'
  | 'truncate'
  | 'sizeBytes'
  | 'close'
  | 'syncDirectory'
  | 'rename'
  | 'link'
  | 'unlink'
  | 'readdir'
  | 'stat'
  | 'mkdir'
  | 'space'
  | 'lock';

export interface DiskCall {
  readonly number: number;
  readonly name: DiskCallName;
  readonly path: string;
  /** Of a write. */
  readonly sizeBytes: number;
}

/**
 * `error`: fails with the system's code; a write or read before that does the first `doneBytes`. `wait`: begins when the promise
 * resolves.
 */
export type DiskFault =
  | { readonly kind: 'error'; readonly code: string; readonly doneBytes?: number }
  | { readonly kind: 'wait'; readonly until: Promise<void> };

/**
 * What is left of un-synced changes. `kill`: all (the process died, the machine did not). `none`, `all`. `prefix`: those before a
 * random moment. `subset`: of every write any of its pages, one of them torn at a sector; of every directory's changes those before
 * a random moment.
 */
export type CrashPolicy = 'kill' | 'none' | 'all' | 'prefix' | 'subset';

const pageBytes = 4096;
const sectorBytes = 512;

/** `syncedAt`: the order of the sync that made it durable. */
type FileChange =
  | {
      readonly order: number;
      readonly kind: 'write';
      readonly position: number;
      readonly bytes: Buffer;
      syncedAt?: number;
    }
  | { readonly order: number; readonly kind: 'truncate'; readonly sizeBytes: number; syncedAt?: number };

/**
 * What is left of the changes that were not synced at a moment. `prefix`: those up to that order. `subset`: of every write any of
 * its pages, of every directory's changes the first ones. `torn`: those before `order`, and of that change, which is a write, the
 * first sectors (`sector`) or all but one page (`page`).
 */
export type Leftover =
  | { readonly kind: 'none' | 'all' }
  | { readonly kind: 'prefix'; readonly order: number }
  | { readonly kind: 'subset'; readonly seed: number }
  | {
      readonly kind: 'torn';
      readonly order: number;
      readonly unit: 'sector' | 'page';
      readonly seed: number;
    };

class Content {
  private bytes: Buffer;
  size: number;

  constructor(bytes: Buffer = Buffer.alloc(0), size = bytes.length) {
    this.bytes = bytes;
    this.size = size;
  }

  write(position: number, bytes: Uint8Array): void {
    const end = position + bytes.length;
    this.reserve(end);
    if (position > this.size) this.bytes.fill(0, this.size, position);
    this.bytes.set(bytes, position);
    this.size = Math.max(this.size, end);
  }

  truncate(size: number): void {
    this.reserve(size);
    if (size > this.size) this.bytes.fill(0, this.size, size);
    this.size = size;
  }

  read(target: Uint8Array, start: number, length: number, position: number): number {
    const count = Math.max(0, Math.min(length, this.size - position));
    if (count > 0) target.set(this.bytes.subarray(position, position + count), start);
    return count;
  }

  view(): Buffer {
    return this.bytes.subarray(0, this.size);
  }

  copy(): Content {
    return new Content(Buffer.from(this.view()));
  }

  private reserve(size: number): void {
    if (size <= this.bytes.length) return;
    const larger = Buffer.alloc(Math.max(size, 2 * this.bytes.length));
    this.bytes.copy(larger, 0, 0, this.size);
    this.bytes = larger;
  }
}

class FileNode {
  /** What reads see. */
  readonly current: Content;
  /** What a power cut leaves for sure. */
  readonly durable: Content;
  /** Between the two, oldest first. */
  unsynced: FileChange[] = [];
  /** Changes whose fsync failed: they may or may not be on disk, and no later fsync puts them there. */
  dropped: FileChange[] = [];
  /** All changes ever, of a disk that remembers them. */
  readonly history: FileChange[] = [];

  constructor(current: Content = new Content(), durable: Content = new Content()) {
    this.current = current;
    this.durable = durable;
  }

  get isFile(): true {
    return true;
  }
}

interface NameChange {
  readonly order: number;
  /** Name to what it stands for from then on; undefined: gone. A rename is one change of two names. */
  readonly names: ReadonlyMap<string, DiskNode | undefined>;
  syncedAt?: number;
}

class DirectoryNode {
  readonly current = new Map<string, DiskNode>();
  readonly durable = new Map<string, DiskNode>();
  unsynced: NameChange[] = [];
  readonly history: NameChange[] = [];

  get isFile(): false {
    return false;
  }
}

type DiskNode = FileNode | DirectoryNode;

export interface SimulatedDiskOptions {
  readonly seed: number;
  readonly capacityBytes?: number;
  /** Remembers every change, so that `leftAt` can be asked. */
  readonly remembersChanges?: boolean;
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class SimulatedDisk implements FileSystem {
  /** Asked before every call; undefined lets it pass. */
  fault: ((call: DiskCall) => DiskFault | undefined) | undefined;
  /** How long a call takes; undefined: a few turns of the event loop. */
  latency: ((call: DiskCall) => Promise<void>) | undefined;
  /** The power goes when the call of this number begins: a write may have happened in part, anything else did not. */
  crashAtCall = Number.POSITIVE_INFINITY;
  /** Bytes of all files together; writes beyond it fail with ENOSPC. */
  capacityBytes: number;
  /** Calls until now. */
  calls = 0;
  /** Resolves when the power went. Calls do not answer any more. */
  readonly died: Promise<void>;

  private readonly random: () => number;
  private readonly root: DirectoryNode;
  private readonly locks = new Set<string>();
  private readonly remembersChanges: boolean;
  private order = 0;
  private isDead = false;
  private reportDeath: () => void = () => {};
  private heldSyncs: Promise<void> | undefined;

  constructor(options: SimulatedDiskOptions, root: DirectoryNode = new DirectoryNode()) {
    this.random = seededRandom(options.seed);
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
    this.root = root;
    this.remembersChanges = options.remembersChanges === true;
    this.died = new Promise((resolve) => {
      this.reportDeath = resolve;
    });
  }

  /** Takes the power away now: every call from now on, and those under way, never answer. */
  die(): void {
    this.isDead = true;
    this.reportDeath();
  }

  /** What is left after a crash, as a disk of its own. This one is dead from now on; it may be asked again, with another policy. */
  crash(policy: CrashPolicy, seed: number): SimulatedDisk {
    this.die();
    const random = seededRandom(seed);
    const moment = Math.floor(random() * (this.order + 1));
    const files = new Map<FileNode, FileNode>();
    const survivor = (node: DiskNode): DiskNode => {
      if (node.isFile) {
        let copy = files.get(node);
        if (copy === undefined) {
          const content = survivingContent(node, policy, moment, random);
          copy = new FileNode(content, content.copy());
          files.set(node, copy);
        }
        return copy;
      }
      const copy = new DirectoryNode();
      for (const [name, child] of survivingNames(node, policy, moment, random)) {
        const kept = survivor(child);
        copy.current.set(name, kept);
        copy.durable.set(name, kept);
      }
      return copy;
    };
    return new SimulatedDisk(
      { seed: seed + 1, capacityBytes: this.capacityBytes },
      survivor(this.root) as DirectoryNode,
    );
  }

  /** Grows with every change and every sync. */
  get moment(): number {
    return this.order;
  }

  /** Changes that were not synced at that moment, in order; those that are writes with their size. */
  unsyncedAt(moment: number): { readonly order: number; readonly writtenBytes: number | undefined }[] {
    const found: { order: number; writtenBytes: number | undefined }[] = [];
    const seen = new Set<DiskNode>();
    const walk = (node: DiskNode): void => {
      if (seen.has(node)) return;
      seen.add(node);
      for (const change of node.history) {
        if (change.order > moment) break;
        if ('names' in change)
          for (const child of change.names.values()) if (child !== undefined) walk(child);
        if ((change.syncedAt ?? Number.POSITIVE_INFINITY) <= moment) continue;
        const writtenBytes = 'bytes' in change ? change.bytes.length : undefined;
        found.push({ order: change.order, writtenBytes });
      }
    };
    walk(this.root);
    return found.sort((a, b) => a.order - b.order);
  }

  /** What a power cut at that moment would have left, as a disk of its own. This one goes on. */
  leftAt(moment: number, leftover: Leftover): SimulatedDisk {
    const random = seededRandom(leftover.kind === 'subset' || leftover.kind === 'torn' ? leftover.seed : 0);
    const isSynced = (change: { readonly syncedAt?: number }): boolean =>
      (change.syncedAt ?? Number.POSITIVE_INFINITY) <= moment;
    const isKept = (change: { readonly order: number }): boolean =>
      leftover.kind === 'all' ||
      (leftover.kind === 'prefix' && change.order <= leftover.order) ||
      (leftover.kind === 'torn' && change.order < leftover.order);
    const copies = new Map<DiskNode, DiskNode>();
    const survivor = (node: DiskNode): DiskNode => {
      const known = copies.get(node);
      if (known !== undefined) return known;
      if (node.isFile) {
        const content = new Content();
        for (const change of node.history) {
          if (change.order > moment) break;
          if (isSynced(change) || isKept(change)) applyChange(content, change);
          else if (leftover.kind === 'subset') {
            if (change.kind === 'write') applyPages(content, change.position, change.bytes, random);
            else if (random() < 0.5) applyChange(content, change);
          } else if (leftover.kind === 'torn' && change.order === leftover.order && change.kind === 'write') {
            applyTorn(content, change.position, change.bytes, leftover.unit, random);
          }
        }
        const copy = new FileNode(content, content.copy());
        copies.set(node, copy);
        return copy;
      }
      const names = new Map<string, DiskNode>();
      const mayLose = node.history.filter((change) => change.order <= moment && !isSynced(change)).length;
      let left = Math.floor(random() * (mayLose + 1));
      for (const change of node.history) {
        if (change.order > moment) break;
        const keeps = isSynced(change) || (leftover.kind === 'subset' ? left-- > 0 : isKept(change));
        if (keeps) applyNames(names, change);
      }
      const copy = new DirectoryNode();
      copies.set(node, copy);
      for (const [name, child] of names) {
        const kept = survivor(child);
        copy.current.set(name, kept);
        copy.durable.set(name, kept);
      }
      return copy;
    };
    return new SimulatedDisk({ seed: moment + 1 }, survivor(this.root) as DirectoryNode);
  }

  /** From now on datasync and syncDirectory wait, until the answered function is called. */
  holdSyncs(): () => void {
    let release: () => void = () => {};
    this.heldSyncs = new Promise((resolve) => {
      release = resolve;
    });
    return () => {
      this.heldSyncs = undefined;
      release();
    };
  }

  /** Paths of all files, in order. */
  files(): string[] {
    const found: string[] = [];
    const walk = (directory: DirectoryNode, path: string): void => {
      for (const [name, node] of directory.current) {
        if (node.isFile) found.push(`${path}/${name}`);
        else walk(node, `${path}/${name}`);
      }
    };
    walk(this.root, '');
    return found.sort();
  }

  /** A file's bytes as reads see them; what is changed there is damage, durable at once. */
  damage(path: string, change: (bytes: Buffer) => void): void {
    const node = this.find(path);
    if (node === undefined || !node.isFile) throw new Error(`no file ${path}`);
    const bytes = Buffer.from(node.current.view());
    change(bytes);
    node.current.write(0, bytes);
    node.durable.write(0, bytes);
  }

  /** Cuts a file off, or removes it where `sizeBytes` is undefined, durably at once. */
  cut(path: string, sizeBytes: number | undefined): void {
    const { directory, name } = this.place(path);
    const node = directory.current.get(name);
    if (node === undefined || !node.isFile) throw new Error(`no file ${path}`);
    if (sizeBytes === undefined) {
      directory.current.delete(name);
      directory.durable.delete(name);
    } else {
      node.current.truncate(sizeBytes);
      node.durable.truncate(Math.min(sizeBytes, node.durable.size));
    }
  }

  /** Removes a directory with all that is in it, durably at once. */
  removeDirectory(path: string): void {
    const { directory, name } = this.place(path);
    directory.current.delete(name);
    directory.durable.delete(name);
  }

  /** Bytes of a file as reads see them. */
  contents(path: string): Buffer {
    const node = this.find(path);
    if (node === undefined || !node.isFile) throw new Error(`no file ${path}`);
    return Buffer.from(node.current.view());
  }

  async open(path: string, mode: OpenMode): Promise<OpenFile> {
    await this.call('open', path);
    const { directory, name } = this.place(path);
    let node = directory.current.get(name);
    if (node !== undefined && !node.isFile) throw failure('EISDIR', 'open', path);
    if (node === undefined) {
      if (mode === 'read' || mode === 'write') throw failure('ENOENT', 'open', path);
      node = new FileNode();
      this.rename_(directory, new Map([[name, node]]));
    } else if (mode === 'create') {
      throw failure('EEXIST', 'open', path);
    } else if (mode === 'replace') {
      this.truncateNode(node, 0);
    }
    return this.handle(node, path, mode !== 'read');
  }

  async syncDirectory(path: string): Promise<void> {
    const directory = this.find(path);
    if (directory === undefined || directory.isFile) throw failure('ENOENT', 'syncDirectory', path);
    const covered = directory.unsynced.length;
    await this.call('syncDirectory', path);
    const syncedAt = ++this.order;
    for (const change of directory.unsynced.splice(0, covered)) {
      change.syncedAt = syncedAt;
      applyNames(directory.durable, change);
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.call('rename', from);
    const source = this.place(from);
    const target = this.place(to);
    const node = source.directory.current.get(source.name);
    if (node === undefined) throw failure('ENOENT', 'rename', from);
    if (source.directory !== target.directory)
      throw new Error('the simulated disk renames within a directory');
    this.rename_(
      source.directory,
      new Map([
        [source.name, undefined],
        [target.name, node],
      ]),
    );
  }

  async link(from: string, to: string): Promise<void> {
    await this.call('link', from);
    const node = this.find(from);
    if (node === undefined || !node.isFile) throw failure('ENOENT', 'link', from);
    const target = this.place(to);
    if (target.directory.current.has(target.name)) throw failure('EEXIST', 'link', to);
    this.rename_(target.directory, new Map([[target.name, node]]));
  }

  async unlink(path: string): Promise<void> {
    await this.call('unlink', path);
    const { directory, name } = this.place(path);
    if (!directory.current.has(name)) throw failure('ENOENT', 'unlink', path);
    this.rename_(directory, new Map([[name, undefined]]));
  }

  async truncate(path: string, sizeBytes: number): Promise<void> {
    await this.call('truncate', path);
    const node = this.find(path);
    if (node === undefined || !node.isFile) throw failure('ENOENT', 'truncate', path);
    this.truncateNode(node, sizeBytes);
  }

  async readdir(path: string): Promise<readonly string[]> {
    await this.call('readdir', path);
    const directory = this.find(path);
    if (directory === undefined || directory.isFile) throw failure('ENOENT', 'readdir', path);
    return [...directory.current.keys()];
  }

  async stat(path: string): Promise<FileInfo | undefined> {
    await this.call('stat', path);
    const node = this.find(path);
    if (node === undefined) return undefined;
    return { isDirectory: !node.isFile, isOther: false, sizeBytes: node.isFile ? node.current.size : 0 };
  }

  async mkdir(path: string): Promise<void> {
    await this.call('mkdir', path);
    let directory = this.root;
    for (const name of partsOf(path)) {
      let next = directory.current.get(name);
      if (next === undefined) {
        next = new DirectoryNode();
        this.rename_(directory, new Map([[name, next]]));
      }
      if (next.isFile) throw failure('ENOTDIR', 'mkdir', path);
      directory = next;
    }
  }

  async space(path: string): Promise<VolumeSpace> {
    await this.call('space', path);
    const totalBytes = this.capacityBytes;
    const availableBytes = Math.max(0, totalBytes - this.usedBytes());
    return { totalBytes, availableBytes, availableFiles: Number.POSITIVE_INFINITY };
  }

  async lock(path: string): Promise<DirectoryLock> {
    await this.call('lock', path);
    if (this.locks.has(path)) throw new DirectoryInUseError(path);
    this.locks.add(path);
    return { release: async () => void this.locks.delete(path) };
  }

  private handle(node: FileNode, path: string, mayWrite: boolean): OpenFile {
    let isOpen = true;
    const check = (name: DiskCallName): void => {
      if (!isOpen) throw failure('EBADF', name, path);
    };
    return {
      read: async (buffer, start, length, position) => {
        check('read');
        const fault = await this.call('read', path, length);
        const count = node.current.read(buffer, start, length, position);
        if (fault !== undefined) throw failure(fault.code, 'read', path);
        return count;
      },
      readInto: async (buffers, position) => {
        check('read');
        const wanted = buffers.reduce((total, buffer) => total + buffer.length, 0);
        const fault = await this.call('read', path, wanted);
        let done = 0;
        for (const buffer of buffers) done += node.current.read(buffer, 0, buffer.length, position + done);
        if (fault !== undefined) throw failure(fault.code, 'read', path);
        return done;
      },
      write: async (buffers, position) => {
        check('write');
        if (!mayWrite) throw failure('EBADF', 'write', path);
        const bytes = Buffer.concat(buffers);
        // A write at which the power goes may have happened in part, as the policy says.
        if (this.calls + 1 >= this.crashAtCall) this.writeNode(node, position, bytes);
        const fault = await this.call('write', path, bytes.length);
        const roomBytes = this.capacityBytes - this.usedBytes() + Math.max(0, node.current.size - position);
        const doneBytes = Math.min(
          bytes.length,
          fault?.doneBytes ?? (fault === undefined ? bytes.length : 0),
          roomBytes,
        );
        if (doneBytes > 0) this.writeNode(node, position, bytes.subarray(0, doneBytes));
        if (fault !== undefined) throw failure(fault.code, 'write', path);
        if (doneBytes < bytes.length) throw failure('ENOSPC', 'write', path);
      },
      datasync: async () => {
        check('datasync');
        // What is written while the sync runs is not covered by it.
        const covered = node.unsynced.length;
        const fault = await this.call('datasync', path);
        const changes = node.unsynced.splice(0, covered);
        if (fault !== undefined) {
          node.dropped.push(...changes);
          throw failure(fault.code, 'datasync', path);
        }
        const syncedAt = ++this.order;
        for (const change of changes) {
          change.syncedAt = syncedAt;
          applyChange(node.durable, change);
        }
      },
      truncate: async (sizeBytes) => {
        check('truncate');
        await this.call('truncate', path);
        this.truncateNode(node, sizeBytes);
      },
      sizeBytes: async () => {
        check('sizeBytes');
        await this.call('sizeBytes', path);
        return node.current.size;
      },
      close: async () => {
        check('close');
        isOpen = false;
        await this.call('close', path);
      },
    };
  }

  /** Counts the call, lets its fault happen, and answers an error that the call itself has to raise. */
  private async call(
    name: DiskCallName,
    path: string,
    sizeBytes = 0,
  ): Promise<{ code: string; doneBytes?: number } | undefined> {
    if (this.isDead) return never();
    const number = ++this.calls;
    if (number >= this.crashAtCall) {
      this.die();
      return never();
    }
    const fault = this.fault?.({ number, name, path, sizeBytes });
    if (fault?.kind === 'wait') await fault.until;
    if (name === 'datasync' || name === 'syncDirectory') {
      while (this.heldSyncs !== undefined) await this.heldSyncs;
    }
    // Disks answer later; how much later varies, so that calls overlap in more than one way.
    if (this.latency !== undefined) await this.latency({ number, name, path, sizeBytes });
    else
      for (let turn = Math.floor(this.random() * (name === 'datasync' ? 4 : 2)); turn >= 0; turn--)
        await nextTurn();
    if (this.isDead) return never();
    if (fault?.kind !== 'error') return undefined;
    if (name === 'read' || name === 'write' || name === 'datasync') return fault;
    throw failure(fault.code, name, path);
  }

  private usedBytes(): number {
    if (this.capacityBytes === Number.POSITIVE_INFINITY) return 0;
    let used = 0;
    for (const path of this.files()) used += (this.find(path) as FileNode).current.size;
    return used;
  }

  private writeNode(node: FileNode, position: number, bytes: Buffer): void {
    const own = Buffer.from(bytes);
    node.current.write(position, own);
    const change: FileChange = { order: ++this.order, kind: 'write', position, bytes: own };
    node.unsynced.push(change);
    if (this.remembersChanges) node.history.push(change);
  }

  private truncateNode(node: FileNode, sizeBytes: number): void {
    node.current.truncate(sizeBytes);
    const change: FileChange = { order: ++this.order, kind: 'truncate', sizeBytes };
    node.unsynced.push(change);
    if (this.remembersChanges) node.history.push(change);
  }

  private rename_(directory: DirectoryNode, names: ReadonlyMap<string, DiskNode | undefined>): void {
    const change: NameChange = { order: ++this.order, names };
    applyNames(directory.current, change);
    directory.unsynced.push(change);
    if (this.remembersChanges) directory.history.push(change);
  }

  private find(path: string): DiskNode | undefined {
    let node: DiskNode | undefined = this.root;
    for (const name of partsOf(path)) {
      if (node === undefined || node.isFile) return undefined;
      node = node.current.get(name);
    }
    return node;
  }

  private place(path: string): { directory: DirectoryNode; name: string } {
    const parts = partsOf(path);
    const name = parts.pop()!;
    const directory = this.find(parts.join('/'));
    if (directory === undefined || directory.isFile) throw failure('ENOENT', 'open', path);
    return { directory, name };
  }
}

function survivingContent(
  node: FileNode,
  policy: CrashPolicy,
  moment: number,
  random: () => number,
): Content {
  if (policy === 'kill') return node.current.copy();
  const content = node.durable.copy();
  const changes = [...node.dropped, ...node.unsynced].sort((a, b) => a.order - b.order);
  for (const change of changes) {
    switch (policy) {
      case 'none':
        break;
      case 'all':
        applyChange(content, change);
        break;
      case 'prefix':
        if (change.order <= moment) applyChange(content, change);
        break;
      case 'subset':
        if (change.kind === 'truncate') {
          if (random() < 0.5) applyChange(content, change);
        } else {
          applyPages(content, change.position, change.bytes, random);
        }
    }
  }
  return content;
}

function applyPages(content: Content, position: number, bytes: Buffer, random: () => number): void {
  const end = position + bytes.length;
  let tornPage = random() < 0.5;
  for (let at = position; at < end; ) {
    const pageEnd = Math.min(end, at - (at % pageBytes) + pageBytes);
    if (random() < 0.5) {
      let keptEnd = pageEnd;
      if (tornPage && random() < 0.3) {
        tornPage = false;
        const sectors = Math.floor((random() * (pageEnd - at)) / sectorBytes);
        keptEnd = Math.min(pageEnd, at - (at % sectorBytes) + sectors * sectorBytes);
      }
      if (keptEnd > at) content.write(at, bytes.subarray(at - position, keptEnd - position));
    }
    at = pageEnd;
  }
}

/** The first sectors of the write, or all of its pages but one. */
function applyTorn(
  content: Content,
  position: number,
  bytes: Buffer,
  unit: 'sector' | 'page',
  random: () => number,
): void {
  const end = position + bytes.length;
  if (unit === 'sector') {
    const first = Math.floor(position / sectorBytes);
    const sectors = Math.ceil(end / sectorBytes) - first;
    const keptEnd = Math.min(end, (first + Math.floor(random() * sectors)) * sectorBytes);
    if (keptEnd > position) content.write(position, bytes.subarray(0, keptEnd - position));
    return;
  }
  const first = Math.floor(position / pageBytes);
  const lost = first + Math.floor(random() * (Math.ceil(end / pageBytes) - first));
  const lostFrom = Math.max(position, lost * pageBytes);
  const lostEnd = Math.min(end, (lost + 1) * pageBytes);
  if (lostFrom > position) content.write(position, bytes.subarray(0, lostFrom - position));
  if (lostEnd < end) content.write(lostEnd, bytes.subarray(lostEnd - position));
}

function survivingNames(
  directory: DirectoryNode,
  policy: CrashPolicy,
  moment: number,
  random: () => number,
): ReadonlyMap<string, DiskNode> {
  if (policy === 'kill') return directory.current;
  const names = new Map(directory.durable);
  // A journal keeps the order of a directory's changes, whatever else it loses.
  const kept =
    policy === 'subset' ? Math.floor(random() * (directory.unsynced.length + 1)) : directory.unsynced.length;
  for (const [at, change] of directory.unsynced.entries()) {
    if (
      policy === 'all' ||
      (policy === 'prefix' && change.order <= moment) ||
      (policy === 'subset' && at < kept)
    ) {
      applyNames(names, change);
    }
  }
  return names;
}

function applyChange(content: Content, change: FileChange): void {
  if (change.kind === 'write') content.write(change.position, change.bytes);
  else content.truncate(change.sizeBytes);
}

function applyNames(target: Map<string, DiskNode>, change: NameChange): void {
  for (const [name, node] of change.names) {
    if (node === undefined) target.delete(name);
    else target.set(name, node);
  }
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function failure(code: string, call: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${call} '${path}'`), { code });
}

function never(): Promise<never> {
  return new Promise(() => {});
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
