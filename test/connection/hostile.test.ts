/** What clients that mean harm, or are broken, can make a broker's connection layer do: not much. */
import { afterEach, describe, expect, it } from 'vitest';
import { request, startServer, type TestClient, type TestServer, testHandler, until } from './support.ts';

const echoKey = 50;
const mebibyte = 1024 * 1024;
const echo = testHandler(echoKey, (body) => ({ number: body.number, rest: Buffer.alloc(0) }));

let server: TestServer | undefined;
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 0) / 2 ** 32;
  };
}

describe('hostile clients', () => {
  it('that announce 99 MiB each, 500 of them, take little memory and do not keep others out', async () => {
    const limit = 300 * mebibyte;
    server = await startServer([echo], { maxBufferedRequestBytes: limit });
    const before = process.memoryUsage().arrayBuffers;
    const head = Buffer.alloc(1024);
    head.writeInt32BE(99 * mebibyte, 0);
    const hostile: TestClient[] = [];
    for (let i = 0; i < 500; i += 1) {
      const client = await server.connect();
      client.send(head);
      hostile.push(client);
    }
    const { memory } = server.server;
    await until(() => memory.waiting === 497);
    expect(memory.reservedBytes).toBeLessThanOrEqual(limit);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(30 * mebibyte);
    // Requests of ordinary size take no place in the budget.
    const good = await server.connect();
    good.send(request(echoKey, 1, 5, Buffer.alloc(50_000)));
    expect((await good.until(1))[0]!.correlationId).toBe(1);
    for (const client of hostile) client.socket.destroy();
    await until(() => server!.server.openConnections === 1);
    await until(() => memory.reservedBytes === 0);
    expect(memory.waiting).toBe(0);
  });

  it('that send noise are cut off one by one, and nobody else is', async () => {
    server = await startServer([echo], { maxRequestBytes: 10_000 });
    const good = await server.connect();
    const random = randomFrom(11);
    const rounds = 150;
    for (let round = 0; round < rounds; round += 1) {
      const client = await server.connect();
      const noise = Buffer.alloc(200 + Math.floor(random() * 2000));
      for (let i = 0; i < noise.length; i += 1) noise[i] = Math.floor(random() * 256);
      // A length that is taken, so that what is in the frame is noise too, or a request with noise behind it.
      if (round % 3 === 0) noise.writeInt32BE(noise.length - 4, 0);
      if (round % 3 === 1) noise.set(request(echoKey, round), 0);
      client.send(noise);
      client.socket.end();
      await client.untilClosed();
      good.send(request(echoKey, round));
      await good.until(round + 1);
    }
    expect(good.isClosed).toBe(false);
    expect(good.answers.map((answer) => answer.correlationId)).toEqual(
      Array.from({ length: rounds }, (_, i) => i),
    );
    expect(server.broken).toEqual([]);
    expect(server.lines.filter((line) => line.level === 'error')).toEqual([]);
  });

  it('that send one byte at a time are served', async () => {
    server = await startServer([echo]);
    const client = await server.connect();
    for (const byte of Buffer.concat([request(echoKey, 1), request(echoKey, 2)])) {
      client.socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await client.until(2)).map((answer) => answer.correlationId)).toEqual([1, 2]);
  });

  it('that go away at any moment leave nothing behind', async () => {
    const waits = testHandler(51, (body) => new Promise((resolve) => setTimeout(() => resolve(body), 5)));
    server = await startServer([echo, waits]);
    const bytes = Buffer.concat(
      Array.from({ length: 40 }, (_, i) => request(i % 2 === 0 ? 51 : echoKey, i, i, Buffer.alloc(i * 5000))),
    );
    const random = randomFrom(3);
    for (let round = 0; round < 60; round += 1) {
      const client = await server.connect();
      client.socket.write(bytes.subarray(0, Math.floor(random() * bytes.length)), () =>
        client.socket.resetAndDestroy(),
      );
    }
    await until(() => server!.server.counters.connectionsAccepted === 60);
    await until(() => server!.server.openConnections === 0);
    expect(server.server.memory.reservedBytes).toBe(0);
    expect(server.server.requestsInFlight).toBe(0);
    expect(server.lines).toEqual([]);
  });
});
