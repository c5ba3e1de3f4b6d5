/** The real broker as a child process: bundled from its sources, started on a free port, killed with SIGKILL. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { apiVersionsRequest, apiVersionsResponse } from '../../protocol/generated/18-api-versions.ts';
import { BusyTimes } from './busy-times.ts';
import { WireClient } from './wire-client.ts';

/** A text of the sources to be replaced in the bundle: a bug put in to see that a test finds it. */
export interface SeededBug {
  readonly name: string;
  /** From the root of the project. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** Bundles an entry point into `outDirectory` (which must lie in the project, for its packages), with a bug if asked for. */
export async function bundleWithBug(
  root: string,
  entry: string,
  outDirectory: string,
  bug?: SeededBug,
): Promise<string> {
  const { build } = await import('esbuild');
  let isSeeded = bug === undefined;
  await build({
    absWorkingDir: root,
    entryPoints: { main: entry },
    outdir: outDirectory,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    packages: 'external',
    sourcemap: 'linked',
    logLevel: 'error',
    plugins: [
      {
        name: 'seeded-bug',
        setup(builder) {
          // The broker's file calls go through those of kill-points.ts, where that is part of the bundle.
          builder.onResolve({ filter: /node-file-system\.ts$/ }, ({ importer }) => {
            if (entry !== brokerUnderTest || importer.endsWith('kill-points.ts')) return undefined;
            return { path: join(root, dirname(brokerUnderTest), 'kill-points.ts') };
          });
          builder.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
            if (bug === undefined || relative(root, path) !== bug.file) return undefined;
            const source = await readFile(path, 'utf8');
            if (!source.includes(bug.find))
              throw new Error(`${bug.file} has no text for the bug ${bug.name}`);
            isSeeded = true;
            return { contents: source.replace(bug.find, () => bug.replace), loader: 'ts' };
          });
        },
      },
    ],
  });
  if (!isSeeded) throw new Error(`${bug!.file} is not part of ${entry}`);
  return join(outDirectory, 'main.mjs');
}

/** The entry point of the broker that is killed. */
export const brokerUnderTest = 'test/crash/broker-under-test.ts';

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface BrokerOptions {
  /** The bundled program, of `brokerUnderTest`. */
  readonly program: string;
  readonly port: number;
  readonly dataDirectory: string;
  /** Settings by name. */
  readonly settings: Readonly<Record<string, string>>;
  /** File descriptors that it may have (ulimit -n); undefined: as many as this process. */
  readonly openFiles?: number;
}

export class BrokerProcess {
  readonly port: number;
  /** Resolves with how it ended. */
  readonly ended: Promise<string>;
  /** When it flushed, and when it could not run. */
  readonly busyTimes: BusyTimes;
  private readonly child: ChildProcess;
  private output = '';
  private hasEnded = false;

  private constructor(child: ChildProcess, port: number) {
    this.child = child;
    this.port = port;
    const keep = (part: Buffer): void => {
      this.output = (this.output + part.toString()).slice(-4000);
    };
    child.stdout!.on('data', keep);
    child.stderr!.on('data', keep);
    child.stdin!.on('error', () => {});
    // Its clock is the one that hrtime reads; performance.now has another beginning.
    this.busyTimes = new BusyTimes(Number(process.hrtime.bigint()) / 1e6 - performance.now());
    const witness = createInterface({ input: child.stdio[3] as Readable });
    witness.on('line', (line) => this.busyTimes.take(line));
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.hasEnded = true;
        resolve(signal ?? `exit code ${code}`);
      });
    });
  }

  /** Loads the program; it opens nothing until `go`. So the next broker is ready to start while the last one is still killed. */
  static load({ program, port, dataDirectory, settings, openFiles }: BrokerOptions): BrokerProcess {
    const args = [
      '--enable-source-maps',
      program,
      ...['--listen', `127.0.0.1:${port}`, '--data', dataDirectory, '--log-level', 'warn'],
      ...Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`]),
    ];
    const env = { ...process.env, CRASH_WITNESS: '3' };
    const [command, ...words] =
      openFiles === undefined
        ? [process.execPath]
        : ['sh', '-c', `ulimit -n ${openFiles} && exec "$@"`, 'sh', process.execPath];
    const child = spawn(command!, [...words, ...args], { stdio: ['pipe', 'pipe', 'pipe', 'pipe'], env });
    return new BrokerProcess(child, port);
  }

  /** Starts the broker. `killPoint`: where it is to kill itself, in the words of kill-points.ts. */
  go(killPoint?: string): void {
    this.child.stdin!.write(`go ${killPoint ?? ''}\n`);
  }

  get processId(): number {
    return this.child.pid ?? 0;
  }

  get isGone(): boolean {
    return this.hasEnded;
  }

  get lastOutput(): string {
    return this.output;
  }

  /** Resolves with the API versions when it answers, undefined when it ended before or the time is up. */
  async ready(withinMs: number): Promise<ReadonlyMap<number, number> | undefined> {
    const untilMs = performance.now() + withinMs;
    while (!this.hasEnded && performance.now() < untilMs) {
      try {
        const client = await WireClient.connect(this.port, 'crash-test');
        try {
          const answer = await client.request(apiVersionsRequest, apiVersionsResponse, 0, {});
          return new Map(answer.apiKeys.map((api) => [api.apiKey, api.maxVersion]));
        } finally {
          client.close();
        }
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
    return undefined;
  }

  /** kill -9, and waits until it is gone. */
  async kill(): Promise<string> {
    this.child.kill('SIGKILL');
    return this.ended;
  }

  /** Stops it in the middle of whatever it does, and lets it go on. */
  async pause(forMs: number): Promise<void> {
    this.child.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, forMs));
    this.child.kill('SIGCONT');
  }

  /** As Ctrl-C. */
  async stop(): Promise<string> {
    this.child.kill('SIGTERM');
    return this.ended;
  }
}
