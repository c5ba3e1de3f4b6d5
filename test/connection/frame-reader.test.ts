import { describe, expect, it } from 'vitest';
import { FrameMemory } from '../../src/connection/frame-memory.ts';
import { bigFrameBytes, FrameReader } from '../../src/connection/frame-reader.ts';

const mebibyte = 1024 * 1024;

function frame(payload: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + payload.length);
  bytes.writeInt32BE(payload.length, 0);
  payload.copy(bytes, 4);
  return bytes;
}

/** Counts what is taken from the pool. */
class CountingMemory extends FrameMemory {
  largestTaken = 0;
  outstanding = 0;
  override take(bytes: number): Buffer {
    const buffer = super.take(bytes);
    this.largestTaken = Math.max(this.largestTaken, buffer.length);
    this.outstanding += 1;
    return buffer;
  }
  override give(buffer: Buffer): void {
    this.outstanding -= 1;
    super.give(buffer);
  }
}

function reader(memory = new FrameMemory(256 * mebibyte), maxFrameBytes = 100 * mebibyte): FrameReader {
  return new FrameReader(memory, maxFrameBytes, () => {});
}

/** Pushes the chunks one by one through one scratch buffer that is overwritten after each, as a shared read buffer is. */
function readAll(frames: FrameReader, chunks: readonly Buffer[]): Buffer[] {
  const scratch = Buffer.alloc(Math.max(...chunks.map((chunk) => chunk.length)));
  const found: Buffer[] = [];
  for (const chunk of chunks) {
    chunk.copy(scratch);
    frames.push(scratch, 0, chunk.length);
    while (frames.next() === 'frame')
      found.push(Buffer.from(frames.buffer.subarray(frames.start, frames.end)));
    frames.keepRest();
    scratch.fill(0xee);
  }
  return found;
}

function bytesOf(sizeBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let i = 0; i < sizeBytes; i += 1) bytes[i] = (i * 31 + seed) & 0xff;
  return bytes;
}

/** toEqual looks at every byte by itself, which takes seconds for large buffers. */
function expectSame(found: readonly Buffer[], wanted: readonly Buffer[]): void {
  expect(found.map((each) => each.length)).toEqual(wanted.map((each) => each.length));
  expect(found.every((each, index) => each.equals(wanted[index]!))).toBe(true);
}

/** A small generator with a seed: the same cuts at every run. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 0) / 2 ** 32;
  };
}

describe('FrameReader', () => {
  const payloads = [bytesOf(5, 1), bytesOf(0, 2), bytesOf(1, 3), bytesOf(17, 4)];
  const stream = Buffer.concat(payloads.map(frame));

  it('finds the same frames wherever the stream is cut in two', () => {
    for (let cut = 1; cut < stream.length; cut += 1) {
      expect(readAll(reader(), [stream.subarray(0, cut), stream.subarray(cut)])).toEqual(payloads);
    }
  });

  it('finds the same frames wherever the stream is cut in three', () => {
    for (let first = 1; first < stream.length - 1; first += 1) {
      for (let second = first + 1; second < stream.length; second += 1) {
        const chunks = [stream.subarray(0, first), stream.subarray(first, second), stream.subarray(second)];
        expect(readAll(reader(), chunks)).toEqual(payloads);
      }
    }
  });

  it('finds frames that come byte by byte', () => {
    const chunks = [...stream].map((byte) => Buffer.from([byte]));
    expect(readAll(reader(), chunks)).toEqual(payloads);
  });

  it('finds frames of all sizes over random cuts, and gives all memory back', () => {
    const random = randomFrom(7);
    for (let round = 0; round < 20; round += 1) {
      const sizes = Array.from({ length: 6 }, () => Math.floor(random() ** 4 * 400_000));
      const wanted = sizes.map((size, index) => bytesOf(size, index));
      const all = Buffer.concat(wanted.map(frame));
      const chunks: Buffer[] = [];
      for (let at = 0; at < all.length; ) {
        const end = Math.min(all.length, at + 1 + Math.floor(random() * 100_000));
        chunks.push(all.subarray(at, end));
        at = end;
      }
      const memory = new CountingMemory(256 * mebibyte);
      const frames = reader(memory);
      expectSame(readAll(frames, chunks), wanted);
      frames.close();
      expect(memory.outstanding).toBe(0);
      expect(memory.reservedBytes).toBe(0);
    }
  });

  it('hands out a frame that lies whole in a chunk without copying it', () => {
    const frames = reader();
    frames.push(stream, 0, stream.length);
    expect(frames.next()).toBe('frame');
    expect(frames.buffer).toBe(stream);
    expect([frames.start, frames.end]).toEqual([4, 9]);
  });

  it('puts a frame back and finds it again, also after the rest was kept', () => {
    for (const cut of [0, 2, 6, stream.length - 3]) {
      const frames = reader();
      if (cut > 0) {
        frames.push(stream, 0, cut);
        while (frames.next() === 'frame');
        frames.keepRest();
      }
      const scratch = Buffer.from(stream);
      frames.push(scratch, cut, scratch.length);
      expect(frames.next()).toBe('frame');
      const before = Buffer.from(frames.buffer.subarray(frames.start, frames.end));
      frames.unread();
      expect(frames.hasUnread).toBe(true);
      frames.keepRest();
      scratch.fill(0xee);
      expect(frames.next()).toBe('frame');
      expect(frames.buffer.subarray(frames.start, frames.end)).toEqual(before);
      while (frames.next() === 'frame');
      expect(frames.hasUnread).toBe(false);
    }
  });

  it('refuses lengths that are negative or beyond the limit, and says which setting it is', () => {
    const negative = reader();
    negative.push(Buffer.from([0xff, 0xff, 0xff, 0xff]), 0, 4);
    expect(negative.next()).toBe('malformed');
    expect(negative.fault).toContain('-1');
    const large = reader(undefined, 1000);
    large.push(Buffer.from([0, 0, 3, 233]), 0, 4);
    expect(large.next()).toBe('malformed');
    expect(large.fault).toContain('socket.request.max.bytes=1000');
    const exact = reader(undefined, 1000);
    exact.push(Buffer.from([0, 0, 3, 232]), 0, 4);
    expect(exact.next()).toBe('more');
  });

  it('names the protocol that was meant where the first bytes show it', () => {
    const http = reader();
    http.push(Buffer.from('GET / HTTP/1.1\r\n'), 0, 16);
    expect(http.next()).toBe('malformed');
    expect(http.fault).toContain('HTTP');
    const tls = reader();
    tls.push(Buffer.from([0x16, 3, 1, 2, 0, 1]), 0, 6);
    expect(tls.next()).toBe('malformed');
    expect(tls.fault).toContain('TLS');
  });

  it('takes memory by what has arrived, not by what is announced', () => {
    const memory = new CountingMemory(256 * mebibyte);
    const frames = reader(memory);
    const head = Buffer.alloc(104);
    head.writeInt32BE(99 * mebibyte, 0);
    frames.push(head, 0, head.length);
    expect(frames.next()).toBe('more');
    expect(memory.largestTaken).toBeLessThanOrEqual(64 * 1024);
    expect(memory.reservedBytes).toBe(99 * mebibyte);
    frames.close();
    expect(memory.reservedBytes).toBe(0);
  });

  it('makes a frame that does not fit the budget wait, and goes on when there is room', async () => {
    const memory = new FrameMemory(300_000);
    const woken: string[] = [];
    const first = new FrameReader(memory, mebibyte, () => woken.push('first'));
    const second = new FrameReader(memory, mebibyte, () => woken.push('second'));
    const third = new FrameReader(memory, mebibyte, () => woken.push('third'));
    const payload = bytesOf(200_000, 5);
    const bytes = frame(payload);
    for (const each of [first, second, third]) each.push(bytes, 0, 100_000);
    expect(first.next()).toBe('more');
    expect(second.next()).toBe('budget');
    expect(third.next()).toBe('budget');
    second.keepRest();
    third.close();
    expect(memory.waiting).toBe(1);

    first.push(bytes, 100_000, bytes.length);
    expect(first.next()).toBe('frame');
    expectSame([first.buffer.subarray(first.start, first.end)], [payload]);
    expect(woken).toEqual([]);
    expect(first.next()).toBe('more');
    await new Promise((resolve) => setImmediate(resolve));
    expect(woken).toEqual(['second']);
    expect(second.next()).toBe('more');
    second.push(bytes, 100_000, bytes.length);
    expect(second.next()).toBe('frame');
    expectSame([second.buffer.subarray(second.start, second.end)], [payload]);
    second.close();
    expect(memory.reservedBytes).toBe(0);
  });

  it('gives the budget back where a connection ends between being let in and hearing of it', () => {
    const memory = new FrameMemory(100_000);
    const first = reader(memory);
    const second = reader(memory);
    const bytes = frame(bytesOf(90_000, 1));
    first.push(bytes, 0, 10);
    second.push(bytes, 0, 10);
    expect(first.next()).toBe('more');
    expect(second.next()).toBe('budget');
    first.close();
    second.close();
    expect(memory.reservedBytes).toBe(0);
    expect(memory.waiting).toBe(0);
  });

  it('lets a frame larger than the whole budget in alone', () => {
    const memory = new FrameMemory(100_000);
    const large = reader(memory);
    large.push(frame(bytesOf(200_000, 1)), 0, 50);
    expect(large.next()).toBe('more');
    const other = reader(memory);
    other.push(frame(bytesOf(bigFrameBytes + 1, 1)), 0, 50);
    expect(other.next()).toBe('budget');
  });
});

describe('FrameMemory', () => {
  it('uses buffers again and lets them go when they are not needed', () => {
    const memory = new FrameMemory(mebibyte);
    const buffer = memory.take(100_000);
    expect(buffer.length).toBe(131_072);
    memory.give(buffer);
    expect(memory.pooledBytes).toBe(131_072);
    expect(memory.take(120_000)).toBe(buffer);
    memory.give(buffer);
    memory.shrink();
    expect(memory.pooledBytes).toBe(0);
  });

  it('keeps a limited amount of free memory', () => {
    const memory = new FrameMemory(mebibyte);
    const buffers = Array.from({ length: 20 }, () => memory.take(4 * mebibyte));
    for (const buffer of buffers) memory.give(buffer);
    expect(memory.pooledBytes).toBeLessThanOrEqual(32 * mebibyte);
  });
});
