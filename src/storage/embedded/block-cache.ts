/**
 * Aligned blocks of files in memory, within a budget of bytes, the least recently used given up first: one disk read for all who
 * wait for a block, and at most so many reads at a time. Used for log segments and for index runs; knows neither's format.
 */
import { assert } from '../../util/assert.ts';

/** A file that blocks are read of. */
export interface BlockSource {
  /** Unique in this process. */
  readonly sourceId: number;
  /** Fills `into` with the block's bytes; answers how many there are (fewer at the file's end). */
  readBlock(block: number, into: Buffer): Promise<number>;
  /** Fills the buffers with the bytes of neighbouring blocks, all in one read; answers how many bytes there are. */
  readBlocks?(first: number, into: readonly Buffer[]): Promise<number>;
}

/** Blocks of a source are numbered below this. */
const blockSpan = 2 ** 24;

export class CachedBlock {
  readonly bytes: Buffer;
  readonly view: DataView;
  /** Bytes that the file had. */
  length = 0;
  key = -1;
  pins = 0;
  isDropped = false;
  /** Bytes of it that readers used. */
  servedBytes = 0;
  /** Read for a reader that wanted little of it. */
  isSparse = false;
  /** One bit for every 8 bytes: what begins there was checked. For the user of the cache. */
  readonly checked: Uint8Array;
  /** What runs into this block from the one before was checked. For the user of the cache. */
  isHeadChecked = false;

  constructor(sizeBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(sizeBytes);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, sizeBytes);
    this.checked = new Uint8Array((sizeBytes + 63) >> 6);
  }

  isChecked(at: number): boolean {
    return (this.checked[at >> 6]! & (1 << ((at >> 3) & 7))) !== 0;
  }

  setChecked(at: number): void {
    this.checked[at >> 6]! |= 1 << ((at >> 3) & 7);
  }
}

/** Lets so many run at a time, the others in the order that they came. */
export class ReadGate {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(atOnce: number) {
    this.free = atOnce;
  }

  async run<T>(action: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await action();
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free++;
      else next();
    }
  }
}

/** Memory of blocks that are given up and not used again yet: as much as answers that leave together may let go of. */
const maxSpareBytes = 8 * 1024 * 1024;
/** What one block adds to the running mean of their use. */
const sparseUseWeight = 1 / 32;

export class BlockCache {
  readonly blockBytes: number;
  private readonly budgetBytes: number;
  private readonly gate: ReadGate;
  /** In the order of use, the oldest first. */
  private readonly blocks = new Map<number, CachedBlock>();
  private readonly loading = new Map<number, Promise<CachedBlock>>();
  private readonly spare: CachedBlock[] = [];
  private sparseUse = 1;

  constructor(blockBytes: number, budgetBytes: number, gate: ReadGate) {
    this.blockBytes = blockBytes;
    this.budgetBytes = budgetBytes;
    this.gate = gate;
  }

  get sizeBytes(): number {
    return this.blocks.size * this.blockBytes;
  }

  /**
   * How much of the blocks that sparse readers asked for was used before they were given up, 0 to 1. Near 1 where readers of
   * many queues go through the log in step, near 0 where one reads its queue alone.
   */
  get useOfSparseBlocks(): number {
    return this.sparseUse;
  }

  /**
   * The block, pinned: `unpin` it when done. At once where it is in memory with at least `neededBytes`, else read; it may
   * then still be shorter, which means that the file is.
   */
  pin(source: BlockSource, block: number, neededBytes: number): CachedBlock | Promise<CachedBlock> {
    const key = keyOf(source, block);
    const cached = this.blocks.get(key);
    if (cached !== undefined && cached.length >= neededBytes) {
      this.blocks.delete(key);
      this.blocks.set(key, cached);
      cached.pins++;
      return cached;
    }
    // A read that is under way may have begun before the bytes were in the file.
    const isJoined = this.loading.has(key);
    return this.load(source, block, key).then((loaded) => {
      if (isJoined && loaded.length < neededBytes) return this.pin(source, block, neededBytes);
      loaded.pins++;
      return loaded;
    });
  }

  unpin(block: CachedBlock): void {
    assert(block.pins > 0, 'a block is unpinned once');
    block.pins--;
    if (block.pins === 0 && block.isDropped) this.keepSpare(block);
  }

  /** Starts to read a block that will be asked for soon. */
  readAhead(source: BlockSource, block: number): void {
    const key = keyOf(source, block);
    if (this.blocks.has(key) || this.loading.has(key)) return;
    this.load(source, block, key).catch(() => {}); // whoever needs it will meet the error
  }

  /** Starts to read `count` neighbouring blocks, none of them at hand, in one go: each costs a part of a thread's hand-over. */
  readTogether(source: BlockSource, first: number, count: number): void {
    const loading = this.gate.run(async () => {
      const fresh = Array.from({ length: count }, () => this.freshBlock());
      const bytes = await source.readBlocks!(
        first,
        fresh.map((block) => block.bytes),
      );
      for (let at = 0; at < count; at++) {
        fresh[at]!.length = Math.max(0, Math.min(this.blockBytes, bytes - at * this.blockBytes));
      }
      return fresh;
    });
    for (let at = 0; at < count; at++) {
      const one = this.keepLoaded(
        keyOf(source, first + at),
        loading.then((fresh) => fresh[at]!),
      );
      one.catch(() => {}); // whoever needs it will meet the error
    }
  }

  /** True where the block is neither in memory nor on its way. */
  isAbsent(source: BlockSource, block: number): boolean {
    const key = keyOf(source, block);
    return !this.blocks.has(key) && !this.loading.has(key);
  }

  has(source: BlockSource, block: number): boolean {
    return this.blocks.has(keyOf(source, block));
  }

  /** Forgets the blocks of a file that is gone. */
  forget(source: BlockSource): void {
    for (const [key, block] of this.blocks) {
      if (Math.floor(key / blockSpan) === source.sourceId) this.drop(key, block);
    }
  }

  private load(source: BlockSource, block: number, key: number): Promise<CachedBlock> {
    const loading = this.loading.get(key);
    if (loading !== undefined) return loading;
    return this.keepLoaded(
      key,
      this.gate.run(async () => {
        const fresh = this.freshBlock();
        fresh.length = await source.readBlock(block, fresh.bytes);
        return fresh;
      }),
    );
  }

  private keepLoaded(key: number, reading: Promise<CachedBlock>): Promise<CachedBlock> {
    const loading = reading.then(
      (fresh) => {
        this.loading.delete(key);
        this.keep(key, fresh);
        return fresh;
      },
      (error: unknown) => {
        this.loading.delete(key);
        throw error;
      },
    );
    this.loading.set(key, loading);
    return loading;
  }

  private freshBlock(): CachedBlock {
    const fresh = this.spare.pop() ?? new CachedBlock(this.blockBytes);
    fresh.length = 0;
    fresh.isDropped = false;
    fresh.servedBytes = 0;
    fresh.isSparse = false;
    fresh.checked.fill(0);
    fresh.isHeadChecked = false;
    return fresh;
  }

  private keep(key: number, block: CachedBlock): void {
    const shorter = this.blocks.get(key);
    if (shorter !== undefined) this.drop(key, shorter);
    block.key = key;
    this.blocks.set(key, block);
    // Those who wait for it pin it before anything else runs; until then it must not be used again.
    block.pins++;
    queueMicrotask(() => queueMicrotask(() => this.unpin(block)));
    for (const [oldestKey, oldest] of this.blocks) {
      if (this.sizeBytes <= this.budgetBytes || oldest === block) break;
      this.drop(oldestKey, oldest);
    }
  }

  private drop(key: number, block: CachedBlock): void {
    this.blocks.delete(key);
    block.isDropped = true;
    if (block.isSparse && block.length > 0) {
      this.sparseUse += (Math.min(1, block.servedBytes / block.length) - this.sparseUse) * sparseUseWeight;
    }
    if (block.pins === 0) this.keepSpare(block);
  }

  private keepSpare(block: CachedBlock): void {
    if (this.spare.length * this.blockBytes < maxSpareBytes) this.spare.push(block);
  }
}

function keyOf(source: BlockSource, block: number): number {
  return source.sourceId * blockSpan + block;
}

let lastSourceId = 0;

export function newSourceId(): number {
  return ++lastSourceId;
}
