/**
 * The format of an ordered index's run file, written once and never changed: sorted rows in blocks, then a filter of the keys, the
 * fences (first key and size of every block) and a trailer. Only filter and fences stay in memory. Every block's checksum is seeded with the run's
 * number and the block's, so a block or a file in another's place is found out. Of every file there is a second copy in another
 * directory: nothing could make the rows again once the log has moved on.
 *
 *   file:    block*  filter  fences  trailer
 *   block:   row*  crc32                          row: varint shared, varint rest, varint value + 1 (0: deleted), rest, value
 *   filter:  a KeyFilter's bytes (maybe none)  crc32
 *   fences:  (varint shared, varint rest, varint block's size, rest)*  last key  crc32
 *   trailer: magic, run number, fences' position and size, blocks, rows, last key's size, filter's size, crc32
 */
import { crc32 } from 'node:zlib';
import { type FileSystem, isAbsent, type OpenFile } from '../file-system.ts';
import { readWhole } from '../whole-file.ts';
import { KeyFilter } from './key-filter.ts';

const magic = 0x5844494f; // "OIDX"
const trailerBytes = 48;
const blockTargetBytes = 8 * 1024;
const writeBytes = 256 * 1024;
/** The checksums of fences and filter are seeded as those of blocks that cannot be. */
const fencesBlock = 0xffffffff;
const filterBlock = 0xfffffffe;

/** One run file, as the engine's manifest keeps it. */
export interface IndexRunDescription {
  /** Names the file and seeds its checksums; never reused. */
  readonly number: number;
  /** How often its rows were merged; larger is older. */
  readonly level: number;
  readonly sizeBytes: number;
  /** Rows, deleted ones too. */
  readonly rows: number;
  /** Of the trailer, so that no other file is taken for this one. */
  readonly checksum: number;
}

/** A run file does not hold what was written to it. */
export class IndexDamagedError extends Error {
  override readonly name = 'IndexDamagedError';
}

export function runFileName(number: number): string {
  return `${String(number).padStart(10, '0')}.index`;
}

/** The number of a run file's name, or undefined. */
export function runFileNumber(name: string): number | undefined {
  const found = /^(\d{10})\.index$/.exec(name);
  return found === null ? undefined : Number(found[1]);
}

export interface Block {
  /** Ascending. */
  readonly keys: readonly string[];
  /** Null: deleted. */
  readonly values: readonly (string | null)[];
  readonly sizeBytes: number;
}

/** Bytes that grow. */
class ByteSink {
  bytes = Buffer.allocUnsafeSlow(2 * blockTargetBytes);
  length = 0;

  varint(value: number): void {
    this.reserve(8);
    let left = value;
    while (left >= 0x80) {
      this.bytes[this.length++] = (left & 0x7f) | 0x80;
      left = Math.floor(left / 128);
    }
    this.bytes[this.length++] = left;
  }

  text(text: string, from: number): void {
    this.reserve(text.length - from);
    this.length += this.bytes.write(from === 0 ? text : text.slice(from), this.length, 'latin1');
  }

  /** What was put in and its checksum, in memory of its own; empty afterwards. */
  take(seed: number): Buffer {
    const taken = withChecksum(this.bytes.subarray(0, this.length), seed);
    this.length = 0;
    return taken;
  }

  private reserve(more: number): void {
    if (this.length + more <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.bytes.length * 2, this.length + more));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }
}

/** Writes one run file: rows in ascending order, then `finish`. On an error call `abandon`. */
export class RunWriter {
  private readonly fileSystem: FileSystem;
  private readonly paths: readonly string[];
  private readonly files: readonly OpenFile[];
  private readonly number: number;
  private readonly block = new ByteSink();
  private readonly fences = new ByteSink();
  private readonly filter: KeyFilter | undefined;
  private pending: Buffer[] = [];
  private pendingBytes = 0;
  private positionBytes = 0;
  private blockRows = 0;
  private blocks = 0;
  private rows = 0;
  private lastKey = '';
  private firstKey = '';
  private lastFence = '';
  private isClosed = false;

  private constructor(
    fileSystem: FileSystem,
    paths: readonly string[],
    files: readonly OpenFile[],
    number: number,
    mostRows: number,
  ) {
    this.filter = KeyFilter.forKeys(mostRows);
    this.fileSystem = fileSystem;
    this.paths = paths;
    this.files = files;
    this.number = number;
  }

  /** A copy in each of the directories. No more than `mostRows` rows will come. */
  static async create(
    fileSystem: FileSystem,
    directories: readonly string[],
    number: number,
    mostRows: number,
  ): Promise<RunWriter> {
    const paths = directories.map((directory) => `${directory}/${runFileName(number)}`);
    const files: OpenFile[] = [];
    try {
      for (const path of paths) files.push(await fileSystem.open(path, 'create'));
    } catch (error) {
      for (const [at, file] of files.entries()) {
        await file.close().catch(() => {});
        await fileSystem.unlink(paths[at]!).catch(() => {});
      }
      throw error;
    }
    return new RunWriter(fileSystem, paths, files, number, mostRows);
  }

  /** Answers a promise when enough is gathered that the caller should wait for it to be written. */
  add(key: string, value: string | null): Promise<void> | undefined {
    const shared = this.blockRows === 0 ? 0 : sharedLength(this.lastKey, key);
    if (this.blockRows === 0) this.firstKey = key;
    this.block.varint(shared);
    this.block.varint(key.length - shared);
    this.block.varint(value === null ? 0 : value.length + 1);
    this.block.text(key, shared);
    if (value !== null) this.block.text(value, 0);
    this.filter?.add(key);
    this.lastKey = key;
    this.blockRows++;
    this.rows++;
    if (this.block.length >= blockTargetBytes) this.endBlock();
    return this.pendingBytes >= writeBytes ? this.flush() : undefined;
  }

  /** Durable, name and all, when it resolves. */
  async finish(level: number): Promise<IndexRunDescription> {
    if (this.blockRows > 0) this.endBlock();
    const filter = withChecksum(this.filter?.bytes ?? new Uint8Array(0), seedOf(this.number, filterBlock));
    this.push(filter);
    const fencesAt = this.positionBytes + this.pendingBytes;
    this.fences.text(this.lastKey, 0);
    const fences = this.fences.take(seedOf(this.number, fencesBlock));
    this.push(fences);
    const trailer = Buffer.alloc(trailerBytes);
    trailer.writeUInt32LE(magic, 0);
    trailer.writeDoubleLE(this.number, 4);
    trailer.writeDoubleLE(fencesAt, 12);
    trailer.writeUInt32LE(fences.length, 20);
    trailer.writeUInt32LE(this.blocks, 24);
    trailer.writeDoubleLE(this.rows, 28);
    trailer.writeUInt32LE(this.lastKey.length, 36);
    trailer.writeUInt32LE(filter.length, 40);
    const checksum = crc32(trailer.subarray(0, trailerBytes - 4));
    trailer.writeUInt32LE(checksum, trailerBytes - 4);
    this.push(trailer);
    await this.flush();
    for (const file of this.files) await file.datasync();
    this.isClosed = true;
    for (const file of this.files) await file.close();
    for (const path of this.paths) await this.fileSystem.syncDirectory(path.slice(0, path.lastIndexOf('/')));
    return { number: this.number, level, sizeBytes: this.positionBytes, rows: this.rows, checksum };
  }

  /** Gives up and removes the file, as far as the disk lets it. */
  async abandon(): Promise<void> {
    for (const [at, file] of this.files.entries()) {
      if (!this.isClosed) await file.close().catch(() => {});
      await this.fileSystem.unlink(this.paths[at]!).catch(() => {});
    }
  }

  private endBlock(): void {
    const block = this.block.take(seedOf(this.number, this.blocks));
    const shared = sharedLength(this.lastFence, this.firstKey);
    this.fences.varint(shared);
    this.fences.varint(this.firstKey.length - shared);
    this.fences.varint(block.length);
    this.fences.text(this.firstKey, shared);
    this.lastFence = this.firstKey;
    this.blocks++;
    this.blockRows = 0;
    this.push(block);
  }

  private push(bytes: Buffer): void {
    this.pending.push(bytes);
    this.pendingBytes += bytes.length;
  }

  private async flush(): Promise<void> {
    const { pending, positionBytes } = this;
    this.positionBytes += this.pendingBytes;
    this.pending = [];
    this.pendingBytes = 0;
    for (const file of this.files) await file.write(pending, positionBytes);
  }
}

/** What is known of a damaged copy of a run file. The message is for the operator. */
export interface RunFault {
  readonly directory: string;
  readonly name: string;
  readonly message: string;
}

/** What stands at a run file's end, in memory. */
interface RunIndex {
  readonly fences: readonly string[];
  readonly lastKey: string;
  readonly filter: KeyFilter | undefined;
  /** Where every block begins; one more at the end. */
  readonly positions: Float64Array;
}

/**
 * An open run file: its fences, and its blocks from disk, from the other copy where one is damaged. Closed when it is retired and
 * nobody reads it any more.
 */
export class Run {
  readonly description: IndexRunDescription;
  /** Copies that cannot be used as they are: to be made again from the other one. */
  readonly faults: readonly RunFault[];
  /** First key of every block. */
  readonly fences: readonly string[];
  readonly lastKey: string;
  private readonly fileSystem: FileSystem;
  /** Of intact copies (but for single blocks); the first is the one that is open. */
  readonly paths: readonly string[];
  private readonly file: OpenFile;
  private readonly filter: KeyFilter | undefined;
  private readonly positions: Float64Array;
  private readonly report: (message: string) => void;
  private users = 1;
  private whenIdle: (() => void) | undefined;

  private constructor(
    fileSystem: FileSystem,
    description: IndexRunDescription,
    paths: readonly string[],
    faults: readonly RunFault[],
    file: OpenFile,
    index: RunIndex,
    report: (message: string) => void,
  ) {
    this.fileSystem = fileSystem;
    this.description = description;
    this.paths = paths;
    this.faults = faults;
    this.file = file;
    this.fences = index.fences;
    this.lastKey = index.lastKey;
    this.positions = index.positions;
    this.filter = index.filter;
    this.report = report;
  }

  /**
   * Throws IndexDamagedError where no copy is what the description says, the system's error where all are missing. `report` is
   * called when a block is damaged and was put right from the other copy.
   */
  static async open(
    fileSystem: FileSystem,
    directories: readonly string[],
    description: IndexRunDescription,
    report: (message: string) => void = () => {},
  ): Promise<Run> {
    const name = runFileName(description.number);
    const intact: { path: string; file: OpenFile; index: RunIndex }[] = [];
    const faults: RunFault[] = [];
    let failure: unknown;
    try {
      for (const directory of directories) {
        const path = `${directory}/${name}`;
        try {
          intact.push({ path, ...(await openCopy(fileSystem, path, description)) });
        } catch (error) {
          if (!(error instanceof IndexDamagedError) && !isAbsent(error)) throw error;
          failure ??= error;
          faults.push({ directory, name, message: (error as Error).message });
        }
      }
    } catch (error) {
      for (const { file } of intact) await file.close().catch(() => {});
      throw error;
    }
    const [first, ...others] = intact;
    if (first === undefined) throw failure;
    for (const { file } of others) await file.close();
    const paths = intact.map(({ path }) => path);
    return new Run(fileSystem, description, paths, faults, first.file, first.index, report);
  }

  /** Where an intact copy lies. */
  get path(): string {
    return this.paths[0]!;
  }

  /** False: the key is not in the run. */
  mayHave(key: string): boolean {
    return this.fences.length > 0 && key <= this.lastKey && this.filter?.mayHave(key) !== false;
  }

  /** The block in which the key would be: the last one that begins at or before it; -1 when it is before the first. */
  blockOf(key: string): number {
    let low = 0;
    let high = this.fences.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.fences[middle]! <= key) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Throws IndexDamagedError where the block fails its check in every copy. */
  async readBlock(block: number): Promise<Block> {
    const position = this.positions[block]!;
    const sizeBytes = this.positions[block + 1]! - position;
    const bytes = Buffer.allocUnsafeSlow(sizeBytes);
    const { number } = this.description;
    const seed = seedOf(number, block);
    const read = await this.file.read(bytes, 0, sizeBytes, position);
    if ((read !== sizeBytes || !isIntact(bytes, seed)) && !(await this.readOther(bytes, position, seed))) {
      throw new IndexDamagedError(`block ${block} of index file ${runFileName(number)} is damaged`);
    }
    return decodeBlock(bytes);
  }

  /** Where a block lies in the file. */
  extentOf(block: number): readonly [number, number] {
    return [this.positions[block]!, this.positions[block + 1]!];
  }

  /** The blocks whose bytes fail their check in the copy at `path`. */
  async damagedBlocks(path: string): Promise<number[]> {
    const file = await this.fileSystem.open(path, 'read');
    const damaged: number[] = [];
    try {
      for (let block = 0; block + 1 < this.positions.length; block++) {
        const position = this.positions[block]!;
        const bytes = Buffer.allocUnsafeSlow(this.positions[block + 1]! - position);
        const read = await file.read(bytes, 0, bytes.length, position);
        if (read !== bytes.length || !isIntact(bytes, seedOf(this.description.number, block))) {
          damaged.push(block);
        }
      }
    } finally {
      await file.close();
    }
    return damaged;
  }

  /** Takes a block from another copy, and puts it right in the one that is read. */
  private async readOther(bytes: Buffer, position: number, seed: number): Promise<boolean> {
    for (const path of this.paths.slice(1)) {
      const other = await this.fileSystem.open(path, 'read').catch(() => undefined);
      if (other === undefined) continue;
      try {
        const read = await other.read(bytes, 0, bytes.length, position);
        if (read !== bytes.length || !isIntact(bytes, seed)) continue;
      } finally {
        await other.close();
      }
      this.report(`index file ${this.path} is damaged at byte ${position}; ${path} has it intact`);
      await this.putRight(bytes, position).catch((error: unknown) =>
        this.report(`index file ${this.path} could not be put right: ${(error as Error).message}`),
      );
      return true;
    }
    return false;
  }

  /** In place: nothing can be lost, the other copy stays as it is. */
  private async putRight(bytes: Buffer, position: number): Promise<void> {
    const file = await this.fileSystem.open(this.path, 'write');
    try {
      await file.write([bytes], position);
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  /** Keeps the file open until `release`. */
  retain(): void {
    this.users++;
  }

  release(): void {
    this.users--;
    if (this.users === 0) this.whenIdle?.();
  }

  /** Closes the file once the last reader is done. */
  async retire(): Promise<void> {
    const idle = new Promise<void>((resolve) => {
      this.whenIdle = resolve;
    });
    this.release();
    await idle;
    await this.file.close();
  }
}

async function openCopy(
  fileSystem: FileSystem,
  path: string,
  description: IndexRunDescription,
): Promise<{ file: OpenFile; index: RunIndex }> {
  const { number, sizeBytes } = description;
  const file = await fileSystem.open(path, 'read');
  try {
    if ((await file.sizeBytes()) !== sizeBytes || sizeBytes < trailerBytes) {
      throw new IndexDamagedError(`index file ${path} is not ${sizeBytes} bytes long`);
    }
    const trailer = Buffer.alloc(trailerBytes);
    await file.read(trailer, 0, trailerBytes, sizeBytes - trailerBytes);
    const checksum = trailer.readUInt32LE(trailerBytes - 4);
    const fencesAt = trailer.readDoubleLE(12);
    const fencesBytes = trailer.readUInt32LE(20);
    const filterBytes = trailer.readUInt32LE(40);
    if (
      checksum !== crc32(trailer.subarray(0, trailerBytes - 4)) ||
      checksum !== description.checksum ||
      trailer.readUInt32LE(0) !== magic ||
      trailer.readDoubleLE(4) !== number ||
      fencesAt + fencesBytes + trailerBytes !== sizeBytes
    ) {
      throw new IndexDamagedError(`the trailer of index file ${path} is damaged`);
    }
    // The filter lies right before the fences.
    const both = Buffer.allocUnsafeSlow(filterBytes + fencesBytes);
    await file.read(both, 0, both.length, fencesAt - filterBytes);
    const filter = both.subarray(0, filterBytes);
    const bytes = both.subarray(filterBytes);
    if (!isIntact(filter, seedOf(number, filterBlock)) || !isIntact(bytes, seedOf(number, fencesBlock))) {
      throw new IndexDamagedError(`the fences of index file ${path} are damaged`);
    }
    const blocks = trailer.readUInt32LE(24);
    const source = new ByteSource(bytes);
    const fences: string[] = [];
    const positions = new Float64Array(blocks + 1);
    for (let block = 0; block < blocks; block++) {
      const shared = source.varint();
      const rest = source.varint();
      positions[block + 1] = positions[block]! + source.varint();
      fences.push(source.key(shared, rest));
    }
    const lastKey = source.key(0, trailer.readUInt32LE(36));
    const keys = KeyFilter.fromBytes(filter.subarray(0, -4));
    return { file, index: { fences, lastKey, filter: keys, positions } };
  } catch (error) {
    await file.close().catch(() => {});
    throw error;
  }
}

/** What a repair needs to know of the format. */
export const mendRunFile = {
  /** Describes an intact file by its own words, as of level 0; undefined where its end is damaged. */
  async describe(
    fileSystem: FileSystem,
    path: string,
    number: number,
  ): Promise<IndexRunDescription | undefined> {
    const file = await fileSystem.open(path, 'read');
    let description: IndexRunDescription;
    try {
      const sizeBytes = await file.sizeBytes();
      if (sizeBytes < trailerBytes) return undefined;
      const trailer = Buffer.alloc(trailerBytes);
      await file.read(trailer, 0, trailerBytes, sizeBytes - trailerBytes);
      const checksum = trailer.readUInt32LE(trailerBytes - 4);
      description = { number, level: 0, sizeBytes, rows: trailer.readDoubleLE(28), checksum };
    } finally {
      await file.close();
    }
    try {
      await (await openCopy(fileSystem, path, description)).file.close();
      return description;
    } catch (error) {
      if (error instanceof IndexDamagedError) return undefined;
      throw error;
    }
  },

  /** The file's bytes, each block from a copy that has it intact; undefined where no copy does. */
  async join(
    fileSystem: FileSystem,
    directories: readonly string[],
    description: IndexRunDescription,
  ): Promise<Buffer | undefined> {
    const run = await Run.open(fileSystem, directories, description);
    try {
      const [first, ...others] = run.paths;
      const whole = await readWhole(fileSystem, first!);
      if (whole === undefined) return undefined;
      for (const block of await run.damagedBlocks(first!)) {
        const [from, to] = run.extentOf(block);
        let isFound = false;
        for (const path of others) {
          const bytes = await readWhole(fileSystem, path);
          const found = bytes?.subarray(from, to);
          if (found === undefined || !isIntact(found, seedOf(description.number, block))) continue;
          found.copy(whole, from);
          isFound = true;
          break;
        }
        if (!isFound) return undefined;
      }
      return whole;
    } finally {
      await run.retire();
    }
  },
};

function decodeBlock(bytes: Buffer): Block {
  const source = new ByteSource(bytes);
  const keys: string[] = [];
  const values: (string | null)[] = [];
  while (source.at < bytes.length - 4) {
    const shared = source.varint();
    const rest = source.varint();
    const value = source.varint();
    keys.push(source.key(shared, rest));
    values.push(value === 0 ? null : source.text(value - 1));
  }
  return { keys, values, sizeBytes: bytes.length };
}

class ByteSource {
  at = 0;
  private readonly bytes: Buffer;
  /** The last key, whose beginning the next one shares. */
  private scratch = Buffer.allocUnsafeSlow(256);

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  varint(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.bytes[this.at++]!;
      if (byte < 0x80) return value + byte * factor;
      value += (byte & 0x7f) * factor;
    }
  }

  key(shared: number, rest: number): string {
    if (shared + rest > this.scratch.length) {
      const larger = Buffer.allocUnsafeSlow(2 * (shared + rest));
      this.scratch.copy(larger);
      this.scratch = larger;
    }
    this.bytes.copy(this.scratch, shared, this.at, this.at + rest);
    this.at += rest;
    return this.scratch.toString('latin1', 0, shared + rest);
  }

  text(length: number): string {
    const start = this.at;
    this.at += length;
    return this.bytes.toString('latin1', start, this.at);
  }
}

function sharedLength(a: string, b: string): number {
  const longest = Math.min(a.length, b.length);
  let shared = 0;
  while (shared < longest && a.charCodeAt(shared) === b.charCodeAt(shared)) shared++;
  return shared;
}

function seedOf(number: number, block: number): number {
  return (Math.imul(number, 0x9e3779b1) ^ Math.imul(block, 0x85ebca6b)) >>> 0;
}

function withChecksum(bytes: Uint8Array, seed: number): Buffer {
  const all = Buffer.allocUnsafeSlow(bytes.length + 4);
  all.set(bytes);
  all.writeUInt32LE(crc32(bytes, seed), bytes.length);
  return all;
}

function isIntact(bytes: Buffer, seed: number): boolean {
  const end = bytes.length - 4;
  return end >= 0 && bytes.readUInt32LE(end) === crc32(bytes.subarray(0, end), seed);
}
