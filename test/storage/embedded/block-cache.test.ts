import { describe, expect, test } from 'vitest';
import {
  BlockCache,
  type BlockSource,
  newSourceId,
  ReadGate,
} from '../../../src/storage/embedded/block-cache.ts';

const blockBytes = 64;

/** A file whose reads are answered when the test says so. */
class TestSource implements BlockSource {
  readonly sourceId = newSourceId();
  readonly reads: number[] = [];
  length = 10 * blockBytes;
  private waiting: (() => void)[] = [];

  readBlock(block: number, into: Buffer): Promise<number> {
    this.reads.push(block);
    const count = Math.max(0, Math.min(blockBytes, this.length - block * blockBytes));
    into.fill(block, 0, count);
    return new Promise((resolve) => this.waiting.push(() => resolve(count)));
  }

  answer(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const one of waiting) one();
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

describe('the block cache', () => {
  test('reads a block once for all who wait, and answers at once when it has it', async () => {
    const cache = new BlockCache(blockBytes, 4 * blockBytes, new ReadGate(2));
    const source = new TestSource();
    const waiting = [1, 2, 3].map(() => cache.pin(source, 5, 10));
    await turns();
    source.answer();
    const blocks = await Promise.all(waiting);
    expect(source.reads).toEqual([5]);
    expect(new Set(blocks).size).toBe(1);
    expect(blocks[0]!.pins).toBe(3);
    expect(blocks[0]!.bytes[0]).toBe(5);
    for (const block of blocks) cache.unpin(block);
    await turns();
    const again = cache.pin(source, 5, blockBytes);
    expect(again).toBe(blocks[0]);
  });

  test('keeps its budget, the least recently used goes first, and what is pinned stays as it is', async () => {
    const cache = new BlockCache(blockBytes, 2 * blockBytes, new ReadGate(8));
    const source = new TestSource();
    const load = async (block: number) => {
      const pinned = cache.pin(source, block, 1);
      await turns();
      source.answer();
      const loaded = await pinned;
      await turns();
      return loaded;
    };
    const first = await load(1);
    cache.unpin(await load(2));
    cache.unpin(await load(3));
    cache.unpin(await load(4));
    expect(cache.sizeBytes).toBe(2 * blockBytes);
    for (let block = 5; block < 9; block++) cache.unpin(await load(block));
    expect(first.bytes.every((byte) => byte === 1)).toBe(true);
    cache.unpin(first);
    expect(cache.has(source, 1)).toBe(false);
    expect(cache.has(source, 8)).toBe(true);
    cache.forget(source);
    expect(cache.sizeBytes).toBe(0);
  });

  test('a block that was short is read again when more is needed, also behind a read that began before', async () => {
    const cache = new BlockCache(blockBytes, 4 * blockBytes, new ReadGate(2));
    const source = new TestSource();
    source.length = 10;
    const early = cache.pin(source, 0, 10);
    await turns();
    // Meanwhile the file grew; whoever needs the new bytes must not be told that there are none.
    source.length = 40;
    const late = cache.pin(source, 0, 40);
    await turns();
    source.answer();
    await turns();
    source.answer();
    expect((await early).length).toBe(10);
    expect((await late).length).toBe(40);
    expect(source.reads).toEqual([0, 0]);
  });

  test('a failed read is nobody else’s: the next one asks again', async () => {
    const cache = new BlockCache(blockBytes, 4 * blockBytes, new ReadGate(1));
    let isBroken = true;
    const source: BlockSource = {
      sourceId: newSourceId(),
      readBlock: async () => {
        if (isBroken) throw new Error('EIO');
        return blockBytes;
      },
    };
    await expect(Promise.resolve(cache.pin(source, 0, 1))).rejects.toThrow('EIO');
    isBroken = false;
    expect((await cache.pin(source, 0, 1)).length).toBe(blockBytes);
  });

  test('reads neighbours in one go, each to be had by itself, the file’s end among them', async () => {
    const cache = new BlockCache(blockBytes, 2 * blockBytes, new ReadGate(1));
    const reads: number[][] = [];
    const source: BlockSource = {
      sourceId: newSourceId(),
      readBlock: () => Promise.reject(new Error('one by one')),
      readBlocks: async (first, into) => {
        reads.push([first, into.length]);
        for (const [at, bytes] of into.entries()) bytes.fill(first + at);
        return 2 * blockBytes + 10;
      },
    };
    cache.readTogether(source, 5, 3);
    expect(cache.isAbsent(source, 7)).toBe(false);
    expect(cache.isAbsent(source, 8)).toBe(true);
    const blocks = await Promise.all([5, 6, 7].map((block) => cache.pin(source, block, 10)));
    expect(reads).toEqual([[5, 3]]);
    expect(blocks.map((block) => block.length)).toEqual([blockBytes, blockBytes, 10]);
    // More than the budget, but pinned: nobody else gets their memory.
    cache.readTogether(source, 20, 2);
    await turns();
    expect(blocks.map((block) => block.bytes[0])).toEqual([5, 6, 7]);
    expect(cache.sizeBytes).toBe(2 * blockBytes);
    for (const block of blocks) cache.unpin(block);
  });

  test('a failed read of neighbours fails those who wait, and nobody else', async () => {
    const cache = new BlockCache(blockBytes, 4 * blockBytes, new ReadGate(1));
    const source: BlockSource = {
      sourceId: newSourceId(),
      readBlock: async () => blockBytes,
      readBlocks: () => Promise.reject(new Error('EIO')),
    };
    cache.readTogether(source, 0, 2);
    await expect(Promise.resolve(cache.pin(source, 1, 1))).rejects.toThrow('EIO');
    expect(cache.isAbsent(source, 0)).toBe(true);
    expect((await cache.pin(source, 0, 1)).length).toBe(blockBytes);
  });
});
