/** A client over its quota is told, and nothing more of it is started until it has waited; others go on. */
import { afterEach, expect, it } from 'vitest';
import { NO_ANSWER } from '../../src/handlers/handler.ts';
import { VirtualClock } from '../../src/util/clock.ts';
import { request, startServer, type TestBody, type TestServer, testHandler, until } from './support.ts';

const echoKey = 50;
const silentKey = 51;
const servers: TestServer[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});

async function start(waits: Record<number, number>, connectionWaitsMs: number[] = []) {
  const clock = new VirtualClock();
  const started: number[] = [];
  const charged: { apiKey: number; requestBytes: number; answerBytes: number }[] = [];
  // The test's answers carry their number in the place of the throttle time.
  const echo = testHandler(echoKey, (body) => {
    started.push(body.number);
    return {
      number: body.number,
      rest: Buffer.alloc(0),
      get throttleTimeMs() {
        return 0;
      },
    } as TestBody;
  });
  const silent = testHandler(silentKey, (body) => {
    started.push(body.number);
    return NO_ANSWER;
  });
  const server = await startServer(
    [echo, silent],
    {},
    {
      clock,
      quotas: {
        isCharging: true,
        charge: (_client, { apiKey, requestBytes, answerBytes }) => {
          charged.push({ apiKey, requestBytes, answerBytes });
          return waits[started.at(-1)!] ?? 0;
        },
        connectionWaitMs: () => connectionWaitsMs.shift() ?? 0,
      },
    },
  );
  servers.push(server);
  return { server, clock, started, charged };
}

it('answers at once and starts nothing more of the connection before the time is over', async () => {
  const { server, clock, started, charged } = await start({ 1: 500 });
  const [slow, quick] = [await server.connect(), await server.connect()];
  slow.send(request(echoKey, 1, 1), request(echoKey, 2, 2));
  expect(await slow.until(1)).toHaveLength(1);
  quick.send(request(echoKey, 3, 3));
  await quick.until(1);
  expect(started).toEqual([1, 3]);
  await clock.advance(499);
  expect(started).toEqual([1, 3]);
  await clock.advance(1);
  await slow.until(2);
  expect(started).toEqual([1, 3, 2]);
  expect(charged.every(({ requestBytes, answerBytes }) => requestBytes > 4 && answerBytes > 4)).toBe(true);
});

it('mutes who wants no answer too', async () => {
  const { server, clock, started } = await start({ 1: 100 });
  const client = await server.connect();
  client.send(request(silentKey, 1, 1));
  await until(() => started.length === 1);
  client.send(request(echoKey, 2, 2));
  await clock.advance(99);
  expect(started).toEqual([1]);
  await clock.advance(1);
  await client.until(1);
  expect(started).toEqual([1, 2]);
});

it('lets a muted connection go', async () => {
  const { server, clock, started } = await start({ 1: 1000 });
  const client = await server.connect();
  client.send(request(echoKey, 1, 1), request(echoKey, 2, 2));
  await client.until(1);
  for (const connection of server.server.list()) connection.destroy();
  await until(() => server.server.openConnections === 0);
  await clock.advance(2000);
  expect(started).toEqual([1]);
});

it('holds a connection that came too soon, unread, and then closes it', async () => {
  const { server, clock, started } = await start({}, [300]);
  const early = await server.connect();
  early.send(request(echoKey, 1, 1));
  await until(() => server.server.counters.connectionsAccepted === 1);
  const later = await server.connect();
  later.send(request(echoKey, 2, 2));
  await later.until(1);
  expect(server.server.openConnections).toBe(1);
  await clock.advance(300);
  await early.untilClosed();
  expect(started).toEqual([2]);
  expect(server.server.counters.connectionsClosed).toBe(1);
});
