/** The built program as people start it: the ready line, settings, signals, mistakes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'odradek-start-'));
const running: ChildProcess[] = [];

class Program {
  readonly process: ChildProcess;
  output = '';
  errors = '';
  private readonly exited: Promise<number>;
  private wake: () => void = () => {};

  constructor(args: readonly string[], environment: Record<string, string> = {}) {
    this.process = spawn(process.execPath, [program, ...args], {
      cwd: directory,
      env: { PATH: process.env.PATH ?? '', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.push(this.process);
    this.process.stdout?.on('data', (chunk: Buffer) => {
      this.output += chunk.toString();
      this.wake();
    });
    this.process.stderr?.on('data', (chunk: Buffer) => {
      this.errors += chunk.toString();
      this.wake();
    });
    this.exited = new Promise((resolve) =>
      this.process.on('close', (code, signal) => {
        resolve(code ?? (signal === null ? -1 : -2));
        this.wake();
      }),
    );
  }

  /** What the log says, one object a line. */
  get lines(): { level: string; msg: string; time: string }[] {
    return this.output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { level: string; msg: string; time: string });
  }

  async until(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.output);
      if (found !== null) return found;
      if (this.process.exitCode !== null) {
        throw new Error(`it ended with ${this.process.exitCode}: ${this.output}${this.errors}`);
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** Resolves with the port of the ready line. */
  async ready(): Promise<number> {
    const [, port] = await this.until(/odradek \S+ ready on [^ ]*?:(\d+)/);
    return Number(port);
  }

  exit(): Promise<number> {
    return this.exited;
  }

  async stop(): Promise<number> {
    this.process.kill('SIGINT');
    return this.exit();
  }
}

beforeAll(() => {
  if (!existsSync(program)) throw new Error('dist/ is missing: npm run build');
});

afterEach(() => {
  for (const child of running.splice(0)) if (child.exitCode === null) child.kill('SIGKILL');
});

process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

describe('the program', () => {
  it('says once that it is ready, is, stops on SIGINT, and keeps its data', async () => {
    const first = new Program(['--listen', '127.0.0.1:0', '--data', 'kept']);
    const port = await first.ready();
    expect(await canConnect('127.0.0.1', port)).toBe(true);
    expect(first.lines.length).toBe(1);
    expect(first.lines[0]!.msg).toMatch(
      /^odradek \d+\.\d+\.\d+ ready on 127\.0\.0\.1:\d+ \(data kept, node 1\) in \d\.\d\d s$/,
    );
    expect(existsSync(join(directory, 'kept'))).toBe(true);
    expect(await first.stop()).toBe(0);
    expect(await canConnect('127.0.0.1', port)).toBe(false);
    expect(first.lines.at(-1)!.msg).toMatch(/^stopped in /);
    expect(first.errors).toBe('');

    const second = new Program(['--listen', '127.0.0.1:0', '--data', 'kept']);
    await second.ready();
    expect(await second.stop()).toBe(0);
  });

  it('listens on both loopback addresses for localhost', async () => {
    const started = new Program(['--listen', 'localhost:0', '--memory']);
    const port = await started.ready();
    expect(await canConnect('127.0.0.1', port)).toBe(true);
    // A machine may have no IPv6 at all; where it has, ::1 is listened on.
    const hasIpv6 = await new Promise<boolean>((resolve) => {
      const probe = createServer();
      probe.on('error', () => resolve(false));
      probe.listen(0, '::1', () => probe.close(() => resolve(true)));
    });
    expect(await canConnect('::1', port)).toBe(hasIpv6);
    expect(await started.stop()).toBe(0);
  });

  it('takes settings from a file, the environment and flags, and serves HTTP where asked', async () => {
    writeFileSync(
      join(directory, 'server.properties'),
      'node.id=5\nlisteners=PLAINTEXT://127.0.0.1:0\nno.such=1\n',
    );
    const started = new Program(['--config', 'server.properties', '--memory', '--admin', '127.0.0.1:0'], {
      KAFKA_NODE_ID: '7',
      KAFKA_HEAP_OPTS: '-Xmx1g',
    });
    const [, adminPort] = await started.until(/node 7, admin on 127\.0\.0\.1:(\d+)/);
    expect(started.lines.map((line) => line.level)).toEqual(['warn', 'info']);
    const status = (await (await fetch(`http://127.0.0.1:${adminPort}/api/v1/status`)).json()) as {
      nodeId: number;
    };
    expect(status.nodeId).toBe(7);
    expect((await fetch(`http://127.0.0.1:${adminPort}/readyz`)).status).toBe(200);
    expect(await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()).toContain(
      'odradek_requests_in_flight',
    );
    expect(await started.stop()).toBe(0);
  });

  it('stops on SIGTERM, and takes SIGUSR1 and SIGHUP without opening or ending anything', async () => {
    const started = new Program(['--listen', '127.0.0.1:0', '--memory']);
    const port = await started.ready();
    started.process.kill('SIGUSR1');
    await started.until(/SIGUSR1 does nothing/);
    started.process.kill('SIGHUP');
    await started.until(/SIGHUP does nothing/);
    expect(started.errors).not.toContain('Debugger');
    expect(await canConnect('127.0.0.1', port)).toBe(true);
    started.process.kill('SIGTERM');
    expect(await started.exit()).toBe(0);
  });

  it('waits for answers that a client does not take, until a second signal', async () => {
    const settings = ['--set', 'rmq.shutdown.timeout.ms=60000'];
    const started = new Program([
      '--listen',
      '127.0.0.1:0',
      '--memory',
      '--admin',
      '127.0.0.1:0',
      ...settings,
    ]);
    const port = await started.ready();
    const [, adminPort] = await started.until(/admin on 127\.0\.0\.1:(\d+)/);
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    // Answers to ApiVersions that are more than the system's buffers and the broker's limit can hold.
    const one = Buffer.from([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    socket.pause();
    socket.write(Buffer.concat(Array.from({ length: 200_000 }, () => one)));
    for (;;) {
      const metrics = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
      if (Number(/^odradek_connection_pauses_total (\d+)$/m.exec(metrics)![1]) > 0) break;
    }
    started.process.kill('SIGINT');
    await started.until(/stopping: finishing/);
    started.process.kill('SIGINT');
    expect(await started.exit()).toBe(130);
    socket.destroy();
  });

  it('shows usage and version', async () => {
    const help = new Program(['--help']);
    expect(await help.exit()).toBe(0);
    expect(help.output).toContain('--listen HOST:PORT');
    const version = new Program(['--version']);
    expect(await version.exit()).toBe(0);
    expect(version.output).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('mistakes', () => {
  it('are one line and a code', async () => {
    const holder = new Program(['--listen', '127.0.0.1:0', '--data', 'held']);
    const port = await holder.ready();
    const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
      [
        ['--listen', `127.0.0.1:${port}`, '--memory'],
        1,
        /^odradek: cannot listen on .*: the port is in use; .*\n$/,
      ],
      [['--listen', '127.0.0.1:0', '--data', 'held'], 1, /^odradek: the data directory held is in use .*\n$/],
      [['--set', 'num.partitions=none', '--memory'], 1, /^odradek: Invalid value none .*\(from --set\)\n$/],
      [['--admin', '0.0.0.0:1', '--memory'], 1, /^odradek: --admin 0\.0\.0\.0:1: only a loopback .*\n$/],
      [['--listen', '0.0.0.0:0', '--memory'], 1, /^odradek: listener .* --advertise .*\n$/],
      [['--nothing'], 2, /^odradek: Unknown option '--nothing'/],
    ];
    await Promise.all(
      cases.map(async ([args, code, message]) => {
        const started = new Program(args);
        expect(await started.exit()).toBe(code);
        expect(started.errors).toMatch(message);
      }),
    );
    expect(await holder.stop()).toBe(0);
  });
});
