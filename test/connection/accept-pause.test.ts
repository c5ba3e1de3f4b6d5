/** Out of file descriptors: accepting is paused, not spun, and goes on by itself. */
import { connect } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { VirtualClock } from '../../src/util/clock.ts';
import { startServer, type TestServer } from './support.ts';

/** What the server leaves to the log, and three more. */
const fileDescriptorLimit = 256 + 3;

let server: TestServer | undefined;

afterEach(async () => {
  await server?.stop();
});

function isRefused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('never');
}

it('accepts nothing while the descriptors are for the log, then again, on the same port', async () => {
  const clock = new VirtualClock();
  server = await startServer([], {}, { clock, fileDescriptorLimit });
  const { port } = server;
  const clients = [await server.connect(), await server.connect(), await server.connect()];
  await until(() => server!.server.openConnections === 3);
  const surplus = await server.connect();
  await surplus.untilClosed();
  await until(() => isRefused(port));
  const lines = server.lines.length;
  for (let tries = 0; tries < 50; tries++) expect(await isRefused(port)).toBe(true);
  // The system refused them: nothing of ours ran, nothing was logged.
  expect(server.lines).toHaveLength(lines);
  expect(server.server.counters.connectionsAccepted).toBe(4);
  await clock.advance(5_000);
  expect(await isRefused(port)).toBe(true);
  clients[0]!.socket.destroy();
  await until(() => server!.server.openConnections === 2);
  await clock.advance(1_000);
  await until(async () => !(await isRefused(port)));
  expect(server.port).toBe(port);
  expect(server.lines.map(({ message }) => message)).toEqual([
    expect.stringContaining('refused a connection: 3 are open and the process may have 259'),
    'accepts no connections until there are file descriptors to spare (ulimit -n)',
    'accepts connections again',
  ]);
});

it('can be drained while it is paused', async () => {
  const clock = new VirtualClock();
  server = await startServer([], {}, { clock, fileDescriptorLimit: 256 });
  const only = await server.connect();
  await only.untilClosed();
  await server.server.drain(10);
  await clock.advance(10_000);
  expect(await isRefused(server.port)).toBe(true);
});
