/**
 * A failed flush is final, whatever its code: the system has dropped the pages, and a second flush would say that all is well. Behind
 * this, such an error has no code any more, so that nothing takes it for a passing want of space. A failed read has a name of its
 * own, for it changed nothing and may be tried again, unlike a failed write of the same code.
 */
import {
  type DirectoryLock,
  errorCodeOf,
  type FileInfo,
  type FileSystem,
  type OpenFile,
  type OpenMode,
  type VolumeSpace,
} from './file-system.ts';

export class FlushFailedError extends Error {
  override readonly name = 'FlushFailedError';
}

/** The disk did not give what it holds. Nothing is lost by trying again, and nothing was changed. */
export class ReadFailedError extends Error {
  override readonly name = 'ReadFailedError';
  readonly code = 'EIO';
}

async function asRead<T>(path: string, read: Promise<T>): Promise<T> {
  try {
    return await read;
  } catch (error) {
    if (errorCodeOf(error) !== 'EIO') throw error;
    throw new ReadFailedError(`reading ${path} failed: ${(error as Error).message}`, { cause: error });
  }
}

function flushFailed(path: string, cause: unknown): FlushFailedError {
  return new FlushFailedError(`flushing ${path} to disk failed: ${(cause as Error).message}`, { cause });
}

class StrictFile implements OpenFile {
  private readonly file: OpenFile;
  private readonly path: string;

  constructor(file: OpenFile, path: string) {
    this.file = file;
    this.path = path;
  }

  read(buffer: Uint8Array, start: number, length: number, position: number): Promise<number> {
    return asRead(this.path, this.file.read(buffer, start, length, position));
  }

  readInto(buffers: readonly Uint8Array[], position: number): Promise<number> {
    return asRead(this.path, this.file.readInto(buffers, position));
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    return this.file.write(buffers, position);
  }

  async datasync(): Promise<void> {
    try {
      await this.file.datasync();
    } catch (error) {
      throw flushFailed(this.path, error);
    }
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.file.truncate(sizeBytes);
  }

  sizeBytes(): Promise<number> {
    return this.file.sizeBytes();
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

export class StrictFileSystem implements FileSystem {
  private readonly fileSystem: FileSystem;

  constructor(fileSystem: FileSystem) {
    this.fileSystem = fileSystem;
  }

  async open(path: string, mode: OpenMode): Promise<OpenFile> {
    return new StrictFile(await this.fileSystem.open(path, mode), path);
  }

  async syncDirectory(path: string): Promise<void> {
    try {
      await this.fileSystem.syncDirectory(path);
    } catch (error) {
      throw flushFailed(path, error);
    }
  }

  rename(from: string, to: string): Promise<void> {
    return this.fileSystem.rename(from, to);
  }

  link(from: string, to: string): Promise<void> {
    return this.fileSystem.link(from, to);
  }

  unlink(path: string): Promise<void> {
    return this.fileSystem.unlink(path);
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
}
