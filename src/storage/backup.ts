/** What an engine that keeps its data in files offers besides: a copy of all of it as of one place in the log, while it runs. */
import type { StorageEngine } from './engine.ts';

export interface BackupOptions {
  /** An absolute path: a directory that does not exist yet or is empty, not inside the data directory. */
  readonly destination: string;
  /** False: nothing is shared with the data directory, also where the file system could. */
  readonly mayLink: boolean;
  /** Gives up, and removes what was made so far. */
  readonly signal?: AbortSignal;
}

export interface BackupReport {
  readonly destination: string;
  readonly storageId: string;
  /** Where the copy ends, in words: everything that was acknowledged before the backup began lies before it. */
  readonly position: string;
  readonly files: number;
  /** Of all files. */
  readonly sizeBytes: number;
  /** Files that share their bytes with the data directory. */
  readonly linkedFiles: number;
  readonly copiedBytes: number;
  readonly durationMs: number;
}

export interface BackupSource {
  /**
   * A directory that an engine can be opened on, which then holds exactly what this one held at one place of its log. Durable and
   * whole when it resolves; until then nothing takes the destination for a data directory. Appends go on meanwhile.
   * Rejects with BackupRefusedError or the system's error.
   */
  backup(options: BackupOptions): Promise<BackupReport>;
}

/** Cannot be done as asked. The message is for the operator. */
export class BackupRefusedError extends Error {
  override readonly name = 'BackupRefusedError';
}

export function canBackUp(engine: StorageEngine): engine is StorageEngine & BackupSource {
  return typeof (engine as Partial<BackupSource>).backup === 'function';
}
