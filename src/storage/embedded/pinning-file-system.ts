/**
 * A file system in which files of the data directory can be pinned for a while: while they are, removing one is put off, and nothing
 * else can take its name. So a backup needs nothing of those who write and remove files but that they do it through here.
 * Knows names only; which files matter is told from outside.
 */
import type { Log } from '../../util/log.ts';
import {
  type DirectoryLock,
  errorCodeOf,
  type FileInfo,
  type FileSystem,
  type OpenFile,
  type OpenMode,
  type VolumeSpace,
} from './file-system.ts';

export interface FilePin {
  /** From now on only these are pinned; others that were removed meanwhile go now. */
  keepOnly(paths: ReadonlySet<string>): Promise<void>;
  /** What was put off is done now. */
  release(): Promise<void>;
}

export class PinningFileSystem implements FileSystem {
  private readonly fileSystem: FileSystem;
  private readonly logger: Log;
  private isPinned: ((path: string) => boolean) | undefined;
  private removed = new Set<string>();
  private released: Promise<void> | undefined;

  constructor(fileSystem: FileSystem, logger: Log) {
    this.fileSystem = fileSystem;
    this.logger = logger;
  }

  /** Pins every file that `mayMatter`, until it is known which do. One pin at a time. */
  pin(mayMatter: (path: string) => boolean): FilePin {
    this.isPinned = mayMatter;
    let report: () => void = () => {};
    this.released = new Promise((resolve) => {
      report = resolve;
    });
    return {
      keepOnly: async (paths) => {
        this.isPinned = (path) => paths.has(path);
        await this.removeUnpinned();
      },
      release: async () => {
        this.isPinned = undefined;
        await this.removeUnpinned();
        this.released = undefined;
        report();
      },
    };
  }

  async open(path: string, mode: OpenMode): Promise<OpenFile> {
    if (mode === 'replace' || mode === 'create') await this.whenFree(path);
    return this.fileSystem.open(path, mode);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.whenFree(to);
    return this.fileSystem.rename(from, to);
  }

  async unlink(path: string): Promise<void> {
    if (this.isPinned?.(path) !== true) return this.fileSystem.unlink(path);
    this.removed.add(path);
    return undefined;
  }

  link(from: string, to: string): Promise<void> {
    return this.fileSystem.link(from, to);
  }

  syncDirectory(path: string): Promise<void> {
    return this.fileSystem.syncDirectory(path);
  }

  truncate(path: string, sizeBytes: number): Promise<void> {
    return this.fileSystem.truncate(path, sizeBytes);
  }

  readdir(path: string): Promise<readonly string[]> {
    return this.fileSystem.readdir(path);
  }

  stat(path: string): Promise<FileInfo | undefined> {
    return this.fileSystem.stat(path);
  }

  mkdir(path: string): Promise<void> {
    return this.fileSystem.mkdir(path);
  }

  space(path: string): Promise<VolumeSpace> {
    return this.fileSystem.space(path);
  }

  lock(path: string): Promise<DirectoryLock> {
    return this.fileSystem.lock(path);
  }

  /** A name whose file was to be removed is not given to another file before it is. */
  private async whenFree(path: string): Promise<void> {
    while (this.removed.has(path) && this.released !== undefined) await this.released;
  }

  private async removeUnpinned(): Promise<void> {
    for (const path of [...this.removed]) {
      if (this.isPinned?.(path) === true) continue;
      try {
        await this.fileSystem.unlink(path);
      } catch (error) {
        if (errorCodeOf(error) !== 'ENOENT') {
          this.logger.warn(
            { path, error: (error as Error).message },
            'an old file could not be removed after a backup; the next start does it',
          );
        }
      }
      this.removed.delete(path);
    }
  }
}
