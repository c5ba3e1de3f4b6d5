/** The built broker in a process of its own, killed, stopped and started again on the same data, and looked at from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { WireClient } from '../../test/crash/wire-client.ts';
import { residentMib } from './figures.ts';

export class MeasuredBroker {
  readonly directory: string;
  private readonly settings: readonly string[];
  private readonly program: string;
  private readonly options: readonly string[];
  private child: ChildProcess | undefined;
  private port = 0;

  /** `checkout`: of the repository, built; this one unless told. `options`: of the command line, beside the settings. */
  constructor(
    settings: readonly string[] = [],
    parent = tmpdir(),
    checkout = '.',
    options: readonly string[] = [],
  ) {
    this.settings = settings;
    this.options = options;
    this.program = resolve(checkout, 'dist/main.js');
    this.directory = mkdtempSync(join(parent, 'odradek-scale-'));
  }

  get data(): string {
    return join(this.directory, 'data');
  }

  get pid(): number {
    return this.child?.pid ?? 0;
  }

  get listeningPort(): number {
    return this.port;
  }

  get residentMib(): number {
    return residentMib(this.pid);
  }

  /** Processor time that it has used: on a busy machine it says more than a clock. */
  get cpuMs(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }

  /** Milliseconds from the start of the process until it says that it is ready. */
  async start(): Promise<number> {
    const startedMs = performance.now();
    const child = spawn(
      process.execPath,
      [
        ...['--import', resolve('bench/scale/loop-probe.mjs')],
        ...[this.program, '--listen', '127.0.0.1:0', '--data', this.data],
        ...this.options,
        ...this.settings.flatMap((setting) => ['--set', setting]),
      ],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, LOOP_PROBE: join(this.directory, 'loop') },
      },
    );
    this.child = child;
    this.port = await new Promise<number>((done, failed) => {
      let output = '';
      child.stdout.on('data', (part: Buffer) => {
        output = (output + part.toString()).slice(-20_000);
        const ready = /ready on 127\.0\.0\.1:(\d+)/.exec(output);
        if (ready !== null) done(Number(ready[1]));
      });
      child.once('exit', (code) => failed(new Error(`the broker ended with ${code}: ${output}`)));
    });
    return performance.now() - startedMs;
  }

  connect(): Promise<WireClient> {
    return WireClient.connect(this.port, 'bench');
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((done) => child.once('exit', () => done()));
    child.kill(signal);
    await ended;
  }

  /** The longest that the broker's event loop was blocked since the last call (or its start). */
  async longestBlockMs(): Promise<number> {
    const path = join(this.directory, 'loop');
    rmSync(path, { force: true });
    this.child?.kill('SIGUSR2');
    while (!existsSync(path)) await new Promise<void>((later) => setTimeout(later, 5));
    return Number(readFileSync(path, 'utf8'));
  }

  async remove(): Promise<void> {
    await this.end('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
  }
}
