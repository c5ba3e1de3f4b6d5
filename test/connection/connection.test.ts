import { afterEach, describe, expect, it } from 'vitest';
import type { Connection } from '../../src/connection/connection.ts';
import { apiVersionsHandler } from '../../src/handlers/18-api-versions.ts';
import {
  CloseConnection,
  type HandlerResult,
  NO_ANSWER,
  type RequestContext,
} from '../../src/handlers/handler.ts';
import { AssertionFailure } from '../../src/util/assert.ts';
import { VirtualClock } from '../../src/util/clock.ts';
import {
  noBytes,
  request,
  startServer,
  type TestBody,
  TestClient,
  type TestServer,
  testHandler,
  until,
} from './support.ts';

const echoKey = 50;
const slowKey = 51;
const fetchKey = 1;
const mebibyte = 1024 * 1024;

const servers: TestServer[] = [];
async function start(...args: Parameters<typeof startServer>): Promise<TestServer> {
  const server = await startServer(...args);
  servers.push(server);
  return server;
}

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});

const echo = testHandler(echoKey, (body) => ({ number: body.number, rest: Buffer.from(body.rest) }));

/** A handler whose answers come when the test says so. */
function parked(apiKey: number) {
  const waiting: { body: TestBody; context: RequestContext; answer: (body: TestBody) => void }[] = [];
  const handler = testHandler(
    apiKey,
    (body, context) => new Promise((answer) => waiting.push({ body, context, answer })),
  );
  return { handler, waiting };
}

function onlyConnection(server: TestServer): Connection {
  const [connection] = [...server.server.list()];
  return connection!;
}

const messages = (server: TestServer) => server.lines.map((line) => line.message);

describe('answers', () => {
  it('come back with their correlation id', async () => {
    const server = await start([echo]);
    const client = await server.connect();
    client.send(request(echoKey, 7, 42, Buffer.from('abc')));
    const [answer] = await client.until(1);
    expect(answer!.correlationId).toBe(7);
    expect(answer!.body).toEqual(Buffer.from([0, 0, 0, 42, 97, 98, 99]));
  });

  it('leave in the order of the requests, also behind a long poll', async () => {
    const slow = parked(slowKey);
    const server = await start([echo, slow.handler]);
    const client = await server.connect();
    client.send(
      request(echoKey, 1),
      request(slowKey, 2),
      request(echoKey, 3),
      request(slowKey, 4),
      request(echoKey, 5),
    );
    await until(() => slow.waiting.length === 2);
    await client.until(1);
    slow.waiting[1]!.answer({ number: 4, rest: noBytes });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(client.answers.map((answer) => answer.correlationId)).toEqual([1]);
    slow.waiting[0]!.answer({ number: 2, rest: noBytes });
    await client.until(5);
    expect(client.answers.map((answer) => answer.correlationId)).toEqual([1, 2, 3, 4, 5]);
  });

  it('are none for a request that wants none, wherever it stands', async () => {
    const slow = parked(slowKey);
    const silent = testHandler(52, () => NO_ANSWER);
    const silentLater = testHandler(53, () => Promise.resolve<HandlerResult<TestBody>>(NO_ANSWER));
    const server = await start([echo, slow.handler, silent, silentLater]);
    const client = await server.connect();
    client.send(request(52, 1), request(slowKey, 2), request(52, 3), request(53, 4), request(echoKey, 5));
    await until(() => slow.waiting.length === 1);
    slow.waiting[0]!.answer({ number: 0, rest: noBytes });
    await client.until(2);
    expect(client.answers.map((answer) => answer.correlationId)).toEqual([2, 5]);
  });

  it('of many sizes arrive whole, small ones joined and large ones as they are', async () => {
    const sized = testHandler(54, (body) => ({ number: body.number, rest: Buffer.alloc(body.number, 5) }));
    const server = await start([sized]);
    const client = await server.connect();
    const sizes = Array.from({ length: 300 }, (_, i) => (i % 50 === 7 ? 900_000 : i % 7 === 0 ? 70_000 : i));
    client.send(...sizes.map((size, i) => request(54, i, size)));
    await client.until(sizes.length);
    expect(client.answers.map((answer) => answer.correlationId)).toEqual(sizes.map((_, i) => i));
    expect(client.answers.map((answer) => answer.body.length - 4)).toEqual(sizes);
  });

  it('call back when their bytes have left, and when the connection is gone', async () => {
    const released: number[] = [];
    const slow = parked(slowKey);
    const lent = testHandler(55, (body, context) => {
      context.afterSent(() => released.push(body.number));
      return { number: 0, rest: Buffer.alloc(200_000) };
    });
    const server = await start([lent, slow.handler]);
    const client = await server.connect();
    client.send(request(55, 1, 1));
    await client.until(1);
    await until(() => released.length === 1);
    client.send(request(slowKey, 2), request(55, 3, 2));
    await until(() => slow.waiting.length === 1);
    const late = slow.waiting[0]!;
    late.context.afterSent(() => released.push(3));
    client.socket.destroy();
    await until(() => released.includes(2));
    late.answer({ number: 0, rest: noBytes });
    await until(() => released.includes(3));
    expect(released.sort()).toEqual([1, 2, 3]);
  });
});

describe('requests', () => {
  it('are started in arrival order, and their records may be overwritten after', async () => {
    const seen: string[] = [];
    const note = testHandler(56, (body) => {
      seen.push(body.rest.toString());
      return { number: 0, rest: noBytes };
    });
    const server = await start([note]);
    const client = await server.connect();
    const wanted = Array.from({ length: 500 }, (_, i) => `${i}-${'x'.repeat(i)}`);
    client.send(...wanted.map((text, i) => request(56, i, 0, Buffer.from(text))));
    await client.until(wanted.length);
    expect(seen).toEqual(wanted);
  });

  it('of 10,000 pipelined are all served, a limited number at a time', async () => {
    let inFlight = 0;
    let most = 0;
    const slow = testHandler(slowKey, async (body) => {
      inFlight += 1;
      most = Math.max(most, inFlight);
      await new Promise((resolve) => setImmediate(resolve));
      inFlight -= 1;
      return { number: body.number, rest: noBytes };
    });
    const server = await start([echo, slow], { maxRequestsInFlight: 100 });
    const client = await server.connect();
    const count = 10_000;
    client.send(...Array.from({ length: count }, (_, i) => request(i % 3 === 0 ? slowKey : echoKey, i, i)));
    await client.until(count);
    expect(client.answers.map((answer) => answer.body.readInt32BE(0))).toEqual(
      Array.from({ length: count }, (_, i) => i),
    );
    expect(most).toBeLessThanOrEqual(100);
    expect(most).toBeGreaterThan(1);
    expect(server.server.counters.pauses).toBeGreaterThan(0);
  });

  it('that carry records in their answers are few at a time', async () => {
    const fetch = parked(fetchKey);
    const server = await start([echo, fetch.handler], { maxFetchesInFlight: 3 });
    const client = await server.connect();
    client.send(...Array.from({ length: 10 }, (_, i) => request(fetchKey, i)), request(echoKey, 10));
    await until(() => fetch.waiting.length === 3);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(fetch.waiting.length).toBe(3);
    for (let i = 0; i < 10; i += 1) {
      await until(() => fetch.waiting.length > i);
      fetch.waiting[i]!.answer({ number: i, rest: noBytes });
    }
    await client.until(11);
    expect(client.answers.map((answer) => answer.correlationId)).toEqual(
      Array.from({ length: 11 }, (_, i) => i),
    );
  });

  it('wait for room before they are started, and nothing overtakes them', async () => {
    const started: number[] = [];
    const note = testHandler(57, (body) => {
      started.push(body.number);
      return { number: 0, rest: noBytes };
    });
    let makeRoom: () => void = () => {};
    let room: Promise<void> | undefined = new Promise((resolve) => {
      makeRoom = resolve;
    });
    const server = await start([note, echo], {}, { admit: (apiKey) => (apiKey === 57 ? room : undefined) });
    const client = await server.connect();
    client.send(request(echoKey, 0), request(57, 1, 1), request(57, 2, 2), request(echoKey, 3));
    await client.until(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(started).toEqual([]);
    expect(client.answers.length).toBe(1);
    room = undefined;
    makeRoom();
    await client.until(4);
    expect(started).toEqual([1, 2]);
    expect(client.answers.map((answer) => answer.correlationId)).toEqual([0, 1, 2, 3]);
  });

  it('larger than any read arrive whole', async () => {
    const server = await start([echo]);
    const client = await server.connect();
    const rest = Buffer.alloc(3 * mebibyte, 'odradek');
    client.send(request(echoKey, 1, 0, rest), request(echoKey, 2, 0, rest.subarray(0, 100)));
    await client.until(2);
    expect(client.answers[0]!.body.subarray(4).equals(rest)).toBe(true);
    expect(client.answers[1]!.body.length).toBe(104);
    await until(() => server.server.memory.reservedBytes === 0);
  });
});

describe('a client that does not read', () => {
  it('is not read from, and takes a limited amount of memory', async () => {
    let started = 0;
    const large = testHandler(58, () => {
      started += 1;
      return { number: started, rest: Buffer.alloc(mebibyte) };
    });
    const server = await start([large], { maxPendingAnswerBytes: 2 * mebibyte });
    const client = await server.connect();
    client.socket.pause();
    const count = 200;
    client.send(...Array.from({ length: count }, (_, i) => request(58, i)));
    await until(() => server.server.counters.pauses > 0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const connection = onlyConnection(server);
    const startedWhilePaused = started;
    expect(startedWhilePaused).toBeLessThan(60);
    expect(connection.pendingAnswerBytes).toBeLessThanOrEqual(3 * mebibyte + 100);
    client.socket.resume();
    await client.until(count);
    expect(client.answers.map((answer) => answer.correlationId)).toEqual(
      Array.from({ length: count }, (_, i) => i),
    );
    await until(() => connection.pendingAnswerBytes === 0);
  });
});

describe('what is not served', () => {
  const apiVersions = apiVersionsHandler({
    handlers: [echo],
    featureLevels: undefined,
    clusterId: 'cluster',
    nodeId: 1,
  });

  it('ends its connection after the answers before it, and says what it was', async () => {
    const slow = parked(slowKey);
    const server = await start([echo, slow.handler]);
    const client = await server.connect();
    client.send(request(slowKey, 1), request(echoKey, 2), request(3, 3), request(echoKey, 4));
    await until(() => slow.waiting.length === 1);
    slow.waiting[0]!.answer({ number: 0, rest: noBytes });
    await client.untilClosed();
    expect(client.answers.map((answer) => answer.correlationId)).toEqual([1, 2]);
    expect(messages(server)).toEqual(['closed a connection: API Metadata (key 3) is not served']);
    expect(server.lines[0]!.fields).toMatchObject({ kind: 'unknown-api', 'client.id': 'test', apiKey: 3 });
  });

  it('names the version of a known API', async () => {
    const server = await start([echo]);
    for (const version of [-1, 3]) {
      const client = await server.connect();
      client.send(request(echoKey, 1, 0, noBytes, version));
      await client.untilClosed();
      expect(messages(server).at(-1)).toBe(
        `closed a connection: TestRequest version ${version} is not served (0 to 2 are)`,
      );
    }
  });

  it('is answered in version 0 for ApiVersions, and the connection goes on', async () => {
    const server = await start([echo, apiVersions]);
    const client = await server.connect();
    for (const version of [99, -1]) client.send(request(18, version, 0, noBytes, version));
    client.send(request(18, 2, 0, noBytes, 0), request(echoKey, 3));
    await client.until(4);
    for (const answer of client.answers.slice(0, 2)) {
      // Error 35, one entry: ApiVersions 0 to 5.
      expect(answer.body).toEqual(Buffer.from([0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 5]));
    }
    expect(client.answers[2]!.body).toEqual(
      Buffer.from([0, 0, 0, 0, 0, 2, 0, 18, 0, 0, 0, 5, 0, echoKey, 0, 0, 0, 2]),
    );
    expect(server.lines).toEqual([]);
  });

  it('takes any API as the first request', async () => {
    const server = await start([echo, apiVersions]);
    const client = await server.connect();
    client.send(request(echoKey, 1));
    expect((await client.until(1)).length).toBe(1);
  });
});

describe('malformed bytes', () => {
  const malformed: readonly (readonly [string, Buffer, string])[] = [
    ['a negative length', Buffer.from([0xff, 0xff, 0xff, 0xff]), 'announces -1 bytes'],
    ['an empty frame', Buffer.from([0, 0, 0, 0]), 'requestApiKey'],
    ['a header cut short', Buffer.from([0, 0, 0, 3, 0, 50, 0]), 'requestApiVersion'],
    ['a body cut short', request(echoKey, 1).subarray(0, 20), ''],
    ['a length beyond the limit', Buffer.from([0x7f, 0xff, 0xff, 0xff]), 'socket.request.max.bytes'],
  ];

  it.each(malformed)('%s ends its own connection only', async (name, bytes, reason) => {
    const server = await start([echo]);
    const [bad, good] = [await server.connect(), await server.connect()];
    if (name === 'a body cut short') {
      const cut = Buffer.from(bytes);
      cut.writeInt32BE(cut.length - 4, 0);
      bad.send(cut);
    } else bad.send(bytes);
    await bad.untilClosed();
    good.send(request(echoKey, 1));
    await good.until(1);
    expect(good.isClosed).toBe(false);
    expect(server.lines.length).toBe(1);
    expect(server.lines[0]!.message).toContain(reason);
  });

  it('are told of by the line, and floods of them by a few lines', async () => {
    const clock = new VirtualClock();
    const server = await start([echo], {}, { clock });
    for (let i = 0; i < 50; i += 1) {
      const client = await server.connect();
      client.send(Buffer.from([0xff, 0xff, 0xff, 0xff]));
      await client.untilClosed();
    }
    expect(server.lines.length).toBe(10);
    expect(server.server.refusals.counts.get('malformed-frame')).toBe(50);
    await clock.advance(20_000);
    expect(messages(server).at(-1)).toBe('40 more of the same kind were not shown');
  });
});

describe('a handler that fails', () => {
  it('is answered by what it says about failures', async () => {
    const failing = testHandler(
      60,
      () => {
        throw new Error('disk');
      },
      (code) => ({ number: code, rest: noBytes }),
    );
    const failingLater = testHandler(
      61,
      async () => {
        throw new Error('disk');
      },
      (code) => ({ number: code, rest: noBytes }),
    );
    const server = await start([failing, failingLater, echo]);
    const client = await server.connect();
    client.send(request(60, 1), request(61, 2), request(echoKey, 3, 9));
    await client.until(3);
    expect(client.answers.map((answer) => answer.body.readInt32BE(0))).toEqual([-1, -1, 9]);
    expect(server.lines.map((line) => line.level)).toEqual(['error', 'error']);
    expect(server.server.counters.faults).toBe(2);
  });

  it('ends the connection where it says nothing', async () => {
    const failing = testHandler(60, () => {
      throw new Error('disk');
    });
    const server = await start([failing, echo]);
    const client = await server.connect();
    client.send(request(echoKey, 1), request(60, 2), request(echoKey, 3));
    await client.untilClosed();
    expect(client.answers.map((answer) => answer.correlationId)).toEqual([1]);
  });

  it('ends the connection in its turn where it asks for that', async () => {
    const closing = testHandler(62, async () => new CloseConnection('acks=0 and an error'));
    const server = await start([closing, echo]);
    const client = await server.connect();
    client.send(request(echoKey, 1), request(62, 2), request(echoKey, 3));
    await client.untilClosed();
    expect(client.answers.map((answer) => answer.correlationId)).toEqual([1]);
    expect(messages(server)).toEqual(['closed a connection: acks=0 and an error']);
  });

  it('is a broken invariant where it says so, and no answer leaves', async () => {
    const broken = testHandler(63, () => {
      throw new AssertionFailure('two leaders');
    });
    const server = await start([broken]);
    const client = await server.connect();
    client.send(request(63, 1));
    await until(() => server.broken.length === 1);
    expect(server.broken[0]!.message).toBe('two leaders');
    expect(client.answers).toEqual([]);
  });
});

describe('limits of connections', () => {
  it('refuse one too many with a line, and take another when one has gone', async () => {
    const server = await start([echo], { maxConnections: 2 });
    const [first] = [await server.connect(), await server.connect()];
    await until(() => server.server.openConnections === 2);
    const third = await server.connect();
    await third.untilClosed();
    expect(messages(server)).toEqual(['refused a connection: max.connections=2 are open']);
    first!.socket.destroy();
    await until(() => server.server.openConnections === 1);
    const fourth = await server.connect();
    fourth.send(request(echoKey, 1));
    expect((await fourth.until(1)).length).toBe(1);
  });

  it('count by address, with exceptions', async () => {
    const server = await start([echo], { maxConnectionsPerAddress: 1 });
    await server.connect();
    await until(() => server.server.openConnections === 1);
    const second = await server.connect();
    await second.untilClosed();
    expect(messages(server)[0]).toContain('max.connections.per.ip');
    server.server.settings = {
      ...server.server.settings,
      maxConnectionsByAddress: new Map([['127.0.0.1', 2]]),
    };
    const third = await server.connect();
    third.send(request(echoKey, 1));
    expect((await third.until(1)).length).toBe(1);
  });

  it('end idle connections, and not those that wait for an answer', async () => {
    const clock = new VirtualClock();
    const slow = parked(slowKey);
    const server = await start([echo, slow.handler], { maxIdleMs: 60_000 }, { clock });
    const [idle, busy, waiting] = [await server.connect(), await server.connect(), await server.connect()];
    waiting!.send(request(slowKey, 1));
    await until(() => slow.waiting.length === 1 && server.server.openConnections === 3);
    for (let second = 0; second < 80; second += 10) {
      busy!.send(request(echoKey, second));
      await busy!.until(second / 10 + 1);
      await clock.advance(10_000);
    }
    await idle!.untilClosed();
    expect([busy!.isClosed, waiting!.isClosed]).toEqual([false, false]);
    expect(messages(server)).toEqual(['closed a connection: nothing came for connections.max.idle.ms=60000']);
  });

  it('end a large request that hardly moves while others wait for its place', async () => {
    const clock = new VirtualClock();
    const server = await start([echo], { maxBufferedRequestBytes: 300_000 }, { clock });
    const rest = Buffer.alloc(200_000, 7);
    const whole = request(echoKey, 1, 0, rest);
    const [stalled, waiting] = [await server.connect(), await server.connect()];
    stalled!.send(whole.subarray(0, 1000));
    await until(() => server.server.memory.reservedBytes > 0);
    waiting!.send(whole);
    await until(() => server.server.memory.waiting === 1);
    await clock.advance(30_000);
    await stalled!.untilClosed();
    await waiting!.until(1);
    expect(waiting!.answers[0]!.body.length).toBe(200_004);
    expect(messages(server)[0]).toContain('queued.max.request.bytes=300000');
  });
});

describe('a drain', () => {
  it('answers what was started, wakes waits, starts nothing more, accepts nothing more', async () => {
    const slow = parked(slowKey);
    const server = await start([echo, slow.handler]);
    const client = await server.connect();
    const idle = await server.connect();
    client.send(request(slowKey, 1), request(echoKey, 2));
    await until(() => slow.waiting.length === 1);
    const { context, answer } = slow.waiting[0]!;
    context.connection.closed.addEventListener('abort', () => answer({ number: 11, rest: noBytes }));
    const cutOff = await server.server.drain(2000);
    expect(cutOff).toBe(0);
    await client.untilClosed();
    await idle.untilClosed();
    expect(client.answers.map((each) => each.correlationId)).toEqual([1, 2]);
    await expect(TestClient.connect(server.port)).rejects.toThrow('ECONNREFUSED');
    expect(server.lines).toEqual([]);
  });

  it('cuts off what is not finished in time', async () => {
    const slow = parked(slowKey);
    const server = await start([slow.handler]);
    const client = await server.connect();
    client.send(request(slowKey, 1));
    await until(() => slow.waiting.length === 1);
    expect(await server.server.drain(30)).toBe(1);
    await client.untilClosed();
    expect(slow.waiting[0]!.context.connection.closed.aborted).toBe(true);
  });
});

describe('a client that goes', () => {
  it('ends its waits and is not spoken of', async () => {
    const slow = parked(slowKey);
    const server = await start([slow.handler]);
    const client = await server.connect();
    client.send(request(slowKey, 1));
    await until(() => slow.waiting.length === 1);
    const { closed } = slow.waiting[0]!.context.connection;
    expect(closed.aborted).toBe(false);
    client.socket.end();
    await until(() => closed.aborted);
    await until(() => server.server.openConnections === 0);
    slow.waiting[0]!.answer({ number: 0, rest: noBytes });
    expect(server.lines).toEqual([]);
  });

  it('is heard to the end first', async () => {
    const seen: number[] = [];
    const note = testHandler(64, (body) => {
      seen.push(body.number);
      return NO_ANSWER;
    });
    const server = await start([note]);
    const client = await server.connect();
    client.socket.end(
      Buffer.concat(Array.from({ length: 1000 }, (_, i) => request(64, i, i, Buffer.alloc(2000)))),
    );
    await until(() => seen.length === 1000);
  });
});
