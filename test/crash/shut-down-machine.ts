/**
 * Power cuts where there is no FUSE: the data lies on an ext4 file system of its own in an image on a loop device, which is shut down
 * without flushing its journal (EXT4_IOC_SHUTDOWN), unmounted and mounted again. What was not synced is gone, names as well as bytes.
 * Before, random pages of the log are sent to the device, so that pages do not reach it in the order of the file.
 *
 * A fdatasync that the shutdown overtakes may report success for what is gone then (calibrate-power-cuts.ts shows it), where a real cut
 * silences it: so what is acknowledged after the beginning of the cut proves nothing, and is counted only.
 *
 * Needs Linux, root, a loop device, mkfs.ext4 and python3 (for the ioctl).
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { promisify } from 'node:util';
import type { PowerCutMachine, Struck } from './machine.ts';

const run = promisify(execFile);
const imageBytes = 512 * 1024 * 1024;

/** Makes the file system calls that Node has none for. Each line of its input is the seed of a power cut. */
const helper = `
import ctypes, fcntl, os, random, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
mount = sys.argv[1]
print('ready', flush=True)
for line in sys.stdin:
    rng = random.Random(int(line))
    pages = 0
    log = os.path.join(mount, 'data', 'commitlog')
    names = sorted(os.listdir(log)) if os.path.isdir(log) else []
    for name in names[-2:]:
        file = os.open(os.path.join(log, name), os.O_RDONLY)
        size = os.fstat(file).st_size
        last = size >> 12
        for _ in range(rng.randrange(8)):
            page = max(0, last - rng.randrange(64))
            if libc.sync_file_range(file, page << 12, 4096, 7) == 0:
                pages += 1
        os.close(file)
    directory = os.open(mount, os.O_RDONLY)
    now = time.monotonic()
    try:
        fcntl.ioctl(directory, 0x8004587d, struct.pack('I', 2))
        print('cut', pages, now, flush=True)
    except OSError as error:
        print('failed', error, flush=True)
    os.close(directory)
`;

export class ShutDownMachine implements PowerCutMachine {
  readonly dataDirectory: string;
  readonly keepsWritten = false;
  readonly mayFeignFlushes = true;
  cuts = 0;
  /** Pages sent to the device on their own before a cut. */
  pagesSent = 0;
  private readonly directory: string;
  private readonly image: string;
  private readonly mountPoint: string;
  private child: ChildProcess | undefined;
  private lines: Interface | undefined;

  private constructor(directory: string) {
    this.directory = directory;
    this.image = join(directory, 'image');
    this.mountPoint = join(directory, 'mount');
    this.dataDirectory = join(this.mountPoint, 'data');
  }

  static async make(parent = tmpdir()): Promise<ShutDownMachine> {
    const machine = new ShutDownMachine(await mkdtemp(join(parent, 'odradek-power-')));
    await mkdir(machine.mountPoint);
    await run('truncate', ['-s', String(imageBytes), machine.image]);
    await run('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', machine.image]);
    await machine.mount();
    return machine;
  }

  async strike(broker: Struck): Promise<number> {
    return this.cut(() => broker.kill());
  }

  summary(): string {
    return `${this.cuts} power cuts by EXT4_IOC_SHUTDOWN, ${this.pagesSent} pages sent to the device out of order`;
  }

  /** Cuts the power; `whileDark` is done before it comes back. Answers when it went (as performance.now tells the time). */
  private async cut(whileDark: () => Promise<unknown>): Promise<number> {
    const answer = this.nextLine();
    this.child!.stdin!.write(`${++this.cuts}\n`);
    const line = await answer;
    await whileDark();
    if (!line.startsWith('cut ')) throw new Error(`the power could not be cut: ${line}`);
    const [, pages, seconds] = line.split(' ');
    this.pagesSent += Number(pages);
    // The helper's clock is the one that hrtime reads; performance.now has another beginning.
    const atMs = Number(seconds) * 1000 - (Number(process.hrtime.bigint()) / 1e6 - performance.now());
    await this.unmount();
    await this.mount();
    return atMs;
  }

  async remove(keep: boolean): Promise<void> {
    if (keep) {
      this.child?.stdin?.end();
      return;
    }
    await this.unmount();
    await rm(this.directory, { recursive: true });
  }

  private async mount(): Promise<void> {
    await run('mount', ['-o', 'loop,noatime', this.image, this.mountPoint]);
    this.child = spawn('python3', ['-c', helper, this.mountPoint], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.child.stdout! });
    await this.nextLine();
  }

  private async unmount(): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (child !== undefined) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.stdin!.end();
      await ended;
    }
    await run('umount', [this.mountPoint]);
  }

  private nextLine(): Promise<string> {
    return new Promise((resolve) => {
      this.lines!.once('line', resolve);
      this.lines!.once('close', () => resolve('the helper ended'));
    });
  }
}
