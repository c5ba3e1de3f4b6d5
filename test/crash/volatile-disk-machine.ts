/**
 * A machine whose power is cut: the data lies on an ext4 file system of its own, whose disk (volatile-disk.py) has a write cache. A cut
 * keeps what a flush covered, and of the rest nothing, everything or any part. From that moment the disk is silent, then the broker is
 * killed, so no flush can have been acknowledged that the cut prevented: whatever was acknowledged as flushed must be there, whenever
 * the acknowledgement came.
 *
 * Needs Linux, root, FUSE, a loop device, mkfs.ext4 and python3.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { PowerCutMachine, Struck } from './machine.ts';

const run = promisify(execFile);
/** More than a thousand cuts write; only what is written takes room. */
const diskBytes = 2 * 1024 * 1024 * 1024;
const fileSystem = ['-N', '16384', '-J', 'size=16', '-E', 'lazy_itable_init=0,lazy_journal_init=0'];

export class VolatileDiskMachine implements PowerCutMachine {
  readonly dataDirectory: string;
  readonly keepsWritten = false;
  readonly mayFeignFlushes = false;
  private readonly directory: string;
  private readonly mountPoint: string;
  private readonly server: ChildProcess;
  private readonly lines: string[] = [];
  private readonly waiting: ((line: string) => void)[] = [];
  private readonly ended: Promise<void>;
  private readonly seed: number;
  private cuts = 0;
  private pagesSent = 0;
  private cachedBlocks = 0;
  private keptBlocks = 0;

  private constructor(directory: string, seed: number, script: string) {
    this.directory = directory;
    this.seed = seed;
    this.mountPoint = join(directory, 'mount');
    this.dataDirectory = join(this.mountPoint, 'data');
    this.server = spawn('python3', [script, directory], { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: this.server.stdout! });
    const take = (line: string): void => {
      const next = this.waiting.shift();
      if (next === undefined) this.lines.push(line);
      else next(line);
    };
    lines.on('line', take);
    this.server.stdin!.on('error', () => {});
    this.ended = new Promise((resolve) => {
      this.server.once('exit', () => {
        take('ended');
        resolve();
      });
    });
  }

  /** `root`: the project's. The disk's content lies in a new folder of `parent`. */
  static async make(root: string, seed: number, parent = tmpdir()): Promise<VolatileDiskMachine> {
    const directory = await mkdtemp(join(parent, 'odradek-power-'));
    const disk = join(directory, 'disk');
    await mkdir(join(directory, 'mount'));
    await run('truncate', ['-s', String(diskBytes), disk]);
    await run('mkfs.ext4', ['-q', '-F', ...fileSystem, disk]);
    await run('cp', ['--sparse=always', disk, join(directory, 'cached')]);
    await writeFile(join(directory, 'device'), '');
    const machine = new VolatileDiskMachine(directory, seed, join(root, 'test/crash/volatile-disk.py'));
    await machine.nextLine('ready');
    await machine.mount();
    return machine;
  }

  async strike(broker: Struck): Promise<number> {
    const seed = this.seed + ++this.cuts;
    const log = join(this.dataDirectory, 'commitlog');
    const [pages, seconds] = await this.tell(`cut ${seed} ${log}`, 'cut');
    // The disk's clock is the one that hrtime reads; performance.now has another beginning.
    const atMs = Number(seconds) * 1000 - (Number(process.hrtime.bigint()) / 1e6 - performance.now());
    const killed = broker.kill(); // is sent now; its calls to the disk keep the process until they fail
    await this.tell('off', 'off');
    await killed;
    await run('umount', [this.mountPoint]);
    const [cached, kept] = await this.tell(`on ${seed}`, 'on');
    await this.mount();
    this.pagesSent += Number(pages);
    this.cachedBlocks += Number(cached);
    this.keptBlocks += Number(kept);
    return atMs;
  }

  /** Kept: the file system as it is (`disk`) and as the last cut left it (`after-cut`), as images for `mount -o loop`. */
  async remove(keep: boolean): Promise<void> {
    await run('umount', [this.mountPoint]);
    if (keep) await this.tell(`keep ${join(this.directory, 'after-cut')}`, 'kept');
    this.server.stdin!.end();
    await this.ended;
    if (!keep) await rm(this.directory, { recursive: true });
  }

  summary(): string {
    return (
      `${this.cuts} power cuts of a disk with a write cache; of ${this.cachedBlocks} blocks that were in the cache ${this.keptBlocks} reached ` +
      `the disk, ${this.pagesSent} pages were sent out of order`
    );
  }

  private async mount(): Promise<void> {
    await run('mount', ['-o', 'loop,noatime', join(this.directory, 'device'), this.mountPoint]);
  }

  private tell(command: string, answer: string): Promise<readonly string[]> {
    this.server.stdin!.write(`${command}\n`);
    return this.nextLine(answer);
  }

  private async nextLine(word: string): Promise<readonly string[]> {
    const line = this.lines.shift() ?? (await new Promise<string>((resolve) => this.waiting.push(resolve)));
    const [first, ...rest] = line.split(' ');
    if (first !== word) throw new Error(`the disk says "${line}" in place of "${word}"`);
    return rest;
  }
}
