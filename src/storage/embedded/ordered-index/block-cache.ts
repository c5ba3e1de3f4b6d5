/** Decoded blocks of run files within a budget, the least recently used given up first; one disk read for all who wait for it. */
import type { Block, Run } from './run-file.ts';

/** What a decoded row costs beside its bytes, roughly. */
const rowOverheadBytes = 64;

export class BlockCache {
  private readonly budgetBytes: number;
  private readonly blocks = new Map<string, Block>();
  private readonly reading = new Map<string, Promise<Block>>();
  private bytes = 0;

  constructor(budgetBytes: number) {
    this.budgetBytes = budgetBytes;
  }

  get sizeBytes(): number {
    return this.bytes;
  }

  /** The block at once where it is in memory, else a promise. */
  get(run: Run, block: number): Block | Promise<Block> {
    const name = `${run.description.number}/${block}`;
    const cached = this.blocks.get(name);
    if (cached !== undefined) {
      this.blocks.delete(name);
      this.blocks.set(name, cached);
      return cached;
    }
    let reading = this.reading.get(name);
    if (reading === undefined) {
      reading = run.readBlock(block).then(
        (read) => {
          this.reading.delete(name);
          this.keep(name, read);
          return read;
        },
        (error: unknown) => {
          this.reading.delete(name);
          throw error;
        },
      );
      this.reading.set(name, reading);
    }
    return reading;
  }

  private keep(name: string, block: Block): void {
    this.blocks.set(name, block);
    this.bytes += costOf(block);
    for (const [oldest, old] of this.blocks) {
      if (this.bytes <= this.budgetBytes) break;
      this.blocks.delete(oldest);
      this.bytes -= costOf(old);
    }
  }
}

function costOf(block: Block): number {
  return block.sizeBytes + block.keys.length * rowOverheadBytes;
}
