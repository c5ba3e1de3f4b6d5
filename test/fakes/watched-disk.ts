/**
 * The simulated disk with somebody who looks on: every file call of the engine is numbered and known by the place in the sources that
 * makes it, and one of them can be made to fail, to come up short or to take long.
 */
import type {
  DirectoryLock,
  FileInfo,
  FileSystem,
  OpenFile,
  OpenMode,
  VolumeSpace,
} from '../../src/storage/embedded/file-system.ts';
import type { VirtualClock } from '../../src/util/clock.ts';
import type { SimulatedDisk } from './simulated-disk.ts';

/** Every method of the two interfaces: a new one does not compile until it is watched. */
export type FileCall = `FileSystem.${keyof FileSystem}` | `OpenFile.${keyof OpenFile}`;

export interface WatchedCall {
  readonly number: number;
  readonly call: FileCall;
  readonly path: string;
  /** `file.ts:line` of the engine, where asked for. */
  readonly site: string;
}

/** `error`: fails, after a part of a write. `short`: a read answers half of what there is. `slow`: takes so long, then is done. */
export type CallFault =
  | { readonly kind: 'error'; readonly code: string; readonly part?: number }
  | { readonly kind: 'short' }
  | { readonly kind: 'slow'; readonly ms: number };

export interface Strike {
  /** Of the call, as they come. */
  readonly number: number;
  readonly fault: CallFault;
}

const passers = /(strict|pinning|node)-file-system\.ts/;

export class WatchedDisk implements FileSystem {
  readonly calls: WatchedCall[] = [];
  /** The next ones, in the order of their numbers. */
  strikes: readonly Strike[] = [];
  /** Calls after the first strike know their sites. */
  namesAfterStrike = false;
  /** The calls that faults struck. */
  struck: WatchedCall[] = [];
  /** Names that are links: there is something, but no file. */
  readonly links = new Set<string>();
  /** True while a call that was made slow is under way. */
  isHeld = false;
  private readonly disk: SimulatedDisk;
  private readonly clock: VirtualClock;
  /** Calls from now on know their sites. */
  namesSites: boolean;

  constructor(disk: SimulatedDisk, clock: VirtualClock, namesSites: boolean) {
    this.disk = disk;
    this.clock = clock;
    this.namesSites = namesSites;
  }

  async open(path: string, mode: OpenMode): Promise<OpenFile> {
    await this.watched('FileSystem.open', path);
    if (this.links.has(path)) throw Object.assign(new Error(`ELOOP: open '${path}'`), { code: 'ELOOP' });
    return this.watchedFile(await this.disk.open(path, mode), path);
  }

  async syncDirectory(path: string): Promise<void> {
    await this.watched('FileSystem.syncDirectory', path);
    return this.disk.syncDirectory(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.watched('FileSystem.rename', from);
    return this.disk.rename(from, to);
  }

  async link(from: string, to: string): Promise<void> {
    await this.watched('FileSystem.link', from);
    return this.disk.link(from, to);
  }

  async unlink(path: string): Promise<void> {
    await this.watched('FileSystem.unlink', path);
    if (this.links.delete(path)) return;
    return this.disk.unlink(path);
  }

  async truncate(path: string, sizeBytes: number): Promise<void> {
    await this.watched('FileSystem.truncate', path);
    return this.disk.truncate(path, sizeBytes);
  }

  async readdir(path: string): Promise<readonly string[]> {
    await this.watched('FileSystem.readdir', path);
    return this.disk.readdir(path);
  }

  async stat(path: string): Promise<FileInfo | undefined> {
    await this.watched('FileSystem.stat', path);
    if (this.links.has(path)) return { isDirectory: false, isOther: true, sizeBytes: 0 };
    return this.disk.stat(path);
  }

  async mkdir(path: string): Promise<void> {
    await this.watched('FileSystem.mkdir', path);
    return this.disk.mkdir(path);
  }

  async space(path: string): Promise<VolumeSpace> {
    await this.watched('FileSystem.space', path);
    return this.disk.space(path);
  }

  async lock(path: string): Promise<DirectoryLock> {
    await this.watched('FileSystem.lock', path);
    return this.disk.lock(path);
  }

  private watchedFile(file: OpenFile, path: string): OpenFile {
    return {
      read: async (buffer, start, length, position) => {
        const isShort = await this.watched('OpenFile.read', path);
        const count = await file.read(buffer, start, isShort ? Math.floor(length / 2) : length, position);
        return count;
      },
      readInto: async (buffers, position) => {
        const isShort = await this.watched('OpenFile.readInto', path);
        return file.readInto(isShort ? buffers.slice(0, Math.floor(buffers.length / 2)) : buffers, position);
      },
      write: async (buffers, position) => {
        await this.watched('OpenFile.write', path, (part) => {
          const bytes = Buffer.concat(buffers);
          return file.write([bytes.subarray(0, Math.floor(bytes.length * part))], position);
        });
        return file.write(buffers, position);
      },
      datasync: async () => {
        const number = this.calls.length + 1;
        const strike = this.strikes[0];
        if (strike?.number === number && strike.fault.kind === 'error') {
          // The pages are gone from the cache, as Linux does it.
          const { code } = strike.fault;
          this.disk.fault = (call) =>
            call.name === 'datasync' && call.path === path ? { kind: 'error', code } : undefined;
          this.note('OpenFile.datasync', path);
          this.nowStruck();
          try {
            return await file.datasync();
          } finally {
            this.disk.fault = undefined;
          }
        }
        await this.watched('OpenFile.datasync', path);
        return file.datasync();
      },
      truncate: async (sizeBytes) => {
        await this.watched('OpenFile.truncate', path);
        return file.truncate(sizeBytes);
      },
      sizeBytes: async () => {
        await this.watched('OpenFile.sizeBytes', path);
        return file.sizeBytes();
      },
      close: async () => {
        // A descriptor is free whatever close answers.
        try {
          await this.watched('OpenFile.close', path);
        } finally {
          await file.close();
        }
      },
    };
  }

  private note(call: FileCall, path: string): number {
    const number = this.calls.length + 1;
    this.calls.push({ number, call, path, site: this.namesSites ? siteOf(new Error().stack ?? '') : '' });
    return number;
  }

  private nowStruck(): void {
    this.strikes = this.strikes.slice(1);
    this.struck = [...this.struck, this.calls.at(-1)!];
    if (this.namesAfterStrike) this.namesSites = true;
  }

  /** True where the call is to come up short. */
  private async watched(
    call: FileCall,
    path: string,
    before?: (part: number) => Promise<unknown>,
  ): Promise<boolean> {
    const number = this.note(call, path);
    const [strike] = this.strikes;
    if (strike?.number !== number) return false;
    const { fault } = strike;
    this.nowStruck();
    if (fault.kind === 'short') return true;
    if (fault.kind === 'slow') {
      this.isHeld = true;
      await new Promise<void>((resolve) => this.clock.after(fault.ms, resolve));
      this.isHeld = false;
      return false;
    }
    if (fault.part !== undefined) await before?.(fault.part);
    throw Object.assign(new Error(`${fault.code}: ${call} '${path}'`), { code: fault.code });
  }
}

/** The first frame of the engine's own. */
function siteOf(stack: string): string {
  for (const line of stack.split('\n')) {
    const found = /src\/storage\/embedded\/([\w/-]+\.ts):(\d+)/.exec(line);
    if (found !== null && !passers.test(line)) return `${found[1]}:${found[2]}`;
  }
  return 'elsewhere';
}
