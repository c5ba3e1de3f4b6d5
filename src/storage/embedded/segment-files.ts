/** The log's segment files as readers see them: opened when first needed, a bounded number open at a time. */
import { type BlockSource, newSourceId } from './block-cache.ts';
import { errorCodeOf, type FileSystem, type OpenFile } from './file-system.ts';
import { segmentFileName } from './location.ts';

const maxOpenSegments = 64;

export class SegmentReader implements BlockSource {
  readonly sourceId = newSourceId();
  readonly path: string;
  users = 0;
  private readonly fileSystem: FileSystem;
  private file: Promise<OpenFile> | undefined;

  constructor(fileSystem: FileSystem, path: string) {
    this.fileSystem = fileSystem;
    this.path = path;
  }

  readBlock(block: number, into: Buffer): Promise<number> {
    return this.read(block * into.length, into);
  }

  readBlocks(first: number, into: readonly Buffer[]): Promise<number> {
    return this.withFile((file) => file.readInto(into, first * into[0]!.length));
  }

  read(offset: number, into: Buffer): Promise<number> {
    return this.withFile((file) => file.read(into, 0, into.length, offset));
  }

  private async withFile(read: (file: OpenFile) => Promise<number>): Promise<number> {
    this.users++;
    try {
      this.file ??= this.fileSystem.open(this.path, 'read');
      const file = await this.file.catch((error: unknown) => {
        this.file = undefined;
        // A file that is missing (the start was told to accept it) holds nothing: its entries read as damaged.
        if (errorCodeOf(error) === 'ENOENT') return undefined;
        throw error;
      });
      if (file === undefined) return 0;
      return await read(file);
    } finally {
      this.users--;
    }
  }

  get isOpen(): boolean {
    return this.file !== undefined;
  }

  async close(): Promise<void> {
    const file = this.file;
    this.file = undefined;
    const opened = await file?.catch(() => undefined);
    await opened?.close().catch(() => {}); // it was only read from
  }
}

export class SegmentFiles {
  private readonly fileSystem: FileSystem;
  private readonly directory: string;
  /** In the order of use, the oldest first. Those that are not open cost a small object. */
  private readonly readers = new Map<number, SegmentReader>();

  constructor(fileSystem: FileSystem, directory: string) {
    this.fileSystem = fileSystem;
    this.directory = directory;
  }

  reader(segment: number): SegmentReader {
    let reader = this.readers.get(segment);
    if (reader === undefined) {
      reader = new SegmentReader(this.fileSystem, `${this.directory}/${segmentFileName(segment)}`);
    } else {
      this.readers.delete(segment);
    }
    this.readers.set(segment, reader);
    if (this.readers.size > maxOpenSegments) this.closeOldest();
    return reader;
  }

  /** The file is gone. Answers what its blocks are kept under. */
  async forget(segment: number): Promise<BlockSource | undefined> {
    const reader = this.readers.get(segment);
    this.readers.delete(segment);
    await reader?.close();
    return reader;
  }

  async close(): Promise<void> {
    const all = [...this.readers.values()];
    this.readers.clear();
    await Promise.all(all.map((reader) => reader.close()));
  }

  private closeOldest(): void {
    let left = this.readers.size - maxOpenSegments;
    for (const reader of this.readers.values()) {
      if (left <= 0) return;
      // Kept in the map, for its blocks stay in the cache under its id.
      if (reader.isOpen && reader.users === 0) void reader.close().catch(() => {});
      left--;
    }
  }
}
