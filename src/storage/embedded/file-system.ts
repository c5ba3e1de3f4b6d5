/**
 * The few file calls that the embedded engine makes, as an interface, so that a test can put a simulated disk in their
 * place. Errors carry the system's `code` (ENOENT, EEXIST, ENOSPC, EIO ...). Knows no
 * file format; decides nothing about retries.
 */
/**
 * `read`: the file must exist. `write`: read and write, the file must exist. `create`: read and write, the file must not
 * exist (EEXIST). `replace`: read and write, empty afterwards whether it existed or not.
 */
export type OpenMode = 'read' | 'write' | 'create' | 'replace';

export interface OpenFile {
  /** Reads `length` bytes at `position` into `buffer` from `start`. Answers the bytes read: fewer only at the file's end. */
  read(buffer: Uint8Array, start: number, length: number, position: number): Promise<number>;
  /** The same for several buffers, filled one after the other; answers how many bytes there were. */
  readInto(buffers: readonly Uint8Array[], position: number): Promise<number>;
  /** Writes all the buffers one after the other at `position`. When it fails any part of them may have been written. */
  write(buffers: readonly Uint8Array[], position: number): Promise<void>;
  /** All that was written and the file's size survive a power cut. The file's name needs `syncDirectory` besides. */
  datasync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  sizeBytes(): Promise<number>;
  close(): Promise<void>;
}

export interface FileInfo {
  readonly isDirectory: boolean;
  /** Neither a file nor a directory: a symbolic link, a socket ... (never followed). */
  readonly isOther: boolean;
  readonly sizeBytes: number;
}

/** What the file system of a path has left for an ordinary user. */
export interface VolumeSpace {
  readonly totalBytes: number;
  readonly availableBytes: number;
  /** Files that may still be made; Infinity where the file system does not count them. */
  readonly availableFiles: number;
}

export interface DirectoryLock {
  release(): Promise<void>;
}

export interface FileSystem {
  open(path: string, mode: OpenMode): Promise<OpenFile>;
  /** Names created, renamed or removed in the directory survive a power cut. */
  syncDirectory(path: string): Promise<void>;
  /** Replaces `to` when it exists. */
  rename(from: string, to: string): Promise<void>;
  /** A second name for a file that exists; rejects with EXDEV, EPERM, ENOTSUP ... where the volume cannot, EEXIST where `to` exists. */
  link(from: string, to: string): Promise<void>;
  /** Removes a file's name. */
  unlink(path: string): Promise<void>;
  truncate(path: string, sizeBytes: number): Promise<void>;
  /** Names in the directory, in no order. */
  readdir(path: string): Promise<readonly string[]>;
  /** Undefined when there is nothing of that name. Does not follow links. */
  stat(path: string): Promise<FileInfo | undefined>;
  /** Makes the directory and those above it; none of that is an error when it exists. */
  mkdir(path: string): Promise<void>;
  /** Of the volume that the path lies on. */
  space(path: string): Promise<VolumeSpace>;
  /** Held until released or the process dies. Rejects with DirectoryInUseError when another holds it. */
  lock(path: string): Promise<DirectoryLock>;
}

export class DirectoryInUseError extends Error {
  override readonly name = 'DirectoryInUseError';
  constructor(path: string) {
    super(`the data directory ${path} is in use by another process`);
  }
}

/** The system's name for what went wrong ('ENOSPC'), or undefined for an error of another kind. */
export function errorCodeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** There is no file of that name, but perhaps something else: a link, which is not followed, or a directory. */
export function isAbsent(error: unknown): boolean {
  const code = errorCodeOf(error);
  return code === 'ENOENT' || code === 'ELOOP' || code === 'EISDIR' || code === 'ENOTDIR';
}
