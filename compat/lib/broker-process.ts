/**
 * A fresh broker in a process of its own, with a small control door for scripts: POST /restart kills it (-9) and starts it
 * again on the same port and data; POST /stop and /start likewise, gracefully.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export interface PeerBroker {
  /** HOST:PORT */
  readonly address: string;
  readonly controlUrl: string;
  readonly pid: () => number;
  stop(): Promise<void>;
}

const startLimitMs = 30_000;
const stopLimitMs = 20_000;

/** A free port below the ephemeral range, so that no outgoing connection takes it meanwhile. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const free = await new Promise<boolean>((done) => {
      const probe = createTcpServer();
      probe.once('error', () => done(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => done(true)));
    });
    if (free) return port;
  }
  throw new Error('no free port');
}

async function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      done(true);
    });
    socket.once('error', () => done(false));
  });
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((done) => child.once('exit', () => done()));
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), stopLimitMs);
  await ended(child);
  clearTimeout(timer);
}

async function controlDoor(
  actions: Record<string, () => Promise<void>>,
): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => {
    const action = actions[request.url ?? ''];
    if (request.method !== 'POST' || action === undefined) {
      response.writeHead(404).end();
      return;
    }
    action().then(
      () => response.writeHead(200).end('done\n'),
      (error: unknown) => response.writeHead(500).end(`${String(error)}\n`),
    );
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

/** Starts the built broker on a free port with data in a temporary folder. `settings` are lines key=value. */
export async function startOdradek(settings: readonly string[]): Promise<PeerBroker> {
  const directory = mkdtempSync(join(tmpdir(), 'odradek-compat-'));
  const port = await freePort();
  const file = join(directory, 'server.properties');
  writeFileSync(file, `${settings.join('\n')}\n`);
  let child: ChildProcess;
  const start = async (): Promise<void> => {
    child = spawn(
      process.execPath,
      [
        resolve('dist/main.js'),
        '--listen',
        `127.0.0.1:${port}`,
        // As kafka-up.sh does: a suite looks at where this setting comes from.
        '--advertise',
        `127.0.0.1:${port}`,
        '--data',
        join(directory, 'data'),
        '--config',
        file,
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const deadline = Date.now() + startLimitMs;
    while (!(await answers(port))) {
      if (child.exitCode !== null) throw new Error(`the broker ended with ${child.exitCode}`);
      if (Date.now() > deadline) throw new Error('the broker did not start in time');
      await new Promise((wait) => setTimeout(wait, 50));
    }
  };
  await start();
  const door = await controlDoor({
    '/restart': async () => {
      await end(child, 'SIGKILL');
      await start();
    },
    '/stop': () => end(child, 'SIGTERM'),
    '/start': start,
  });
  return {
    address: `127.0.0.1:${port}`,
    controlUrl: door.url,
    pid: () => child.pid ?? 0,
    stop: async () => {
      door.close();
      await end(child, 'SIGTERM');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Starts Apache Kafka by compat/kafka/up.sh, for the same checks on the real one. */
export async function startKafka(cacheDirectory: string, settings: readonly string[]): Promise<PeerBroker> {
  const directory = mkdtempSync(join(tmpdir(), 'kafka-compat-'));
  const port = await freePort();
  const script = resolve('compat/lib/kafka-up.sh');
  const call = async (args: string[]): Promise<string> => {
    const child = spawn('bash', [script, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, COMPAT_CACHE: cacheDirectory },
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    const code = await new Promise<number | null>((done) => child.once('close', done));
    if (code !== 0) throw new Error(`kafka-up.sh ${args.join(' ')} ended with ${code}`);
    return output.trim();
  };
  const own = settings.filter((line) => !line.startsWith('rmq.'));
  let pid = 0;
  const start = async (): Promise<void> => {
    pid = Number(await call([kafkaVersion, String(port), directory, ...own]));
  };
  await start();
  const door = await controlDoor({
    '/restart': async () => {
      process.kill(pid, 'SIGKILL');
      await call(['--down', directory]);
      await start();
    },
    '/stop': async () => {
      await call(['--down', directory]);
    },
    '/start': start,
  });
  return {
    address: `127.0.0.1:${port}`,
    controlUrl: door.url,
    pid: () => pid,
    stop: async () => {
      door.close();
      await call(['--down', directory]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export const kafkaVersion = process.env['KAFKA_VERSION'] ?? '4.3.0';
