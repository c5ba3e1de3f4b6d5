/**
 * Cuts a byte stream into Kafka's frames: a signed 32-bit length, then that many bytes. A frame that lies whole in a chunk
 * is handed out as a view of it; one that spans chunks is put together once, in a buffer that grows with what has arrived
 * and never with what was announced. Knows nothing of sockets or of what is in a frame.
 */
import { assert } from '../util/assert.ts';
import type { BudgetWait, FrameMemory } from './frame-memory.ts';

/** Frames above this size take a place in the budget before more of them is read. */
export const bigFrameBytes = 64 * 1024;
/** Frames up to this size get their buffer at once. */
const wholeAtOnceBytes = 16 * 1024;
/** A buffer is at most this many times as large as what has arrived. */
const growthFactor = 8;

/** What `next` found. */
export type FrameState = 'frame' | 'more' | 'budget' | 'malformed';

export class FrameReader {
  /** The frame that `next` found, without its length: `buffer` from `start` to `end`. Valid until the next call. */
  buffer: Buffer = empty;
  start = 0;
  end = 0;
  /** Why the stream is malformed. */
  fault = '';

  private readonly memory: FrameMemory;
  private readonly maxFrameBytes: number;
  private readonly onBudget: () => void;
  /** The bytes being cut: the caller's own memory (transient), or a copy that is ours. */
  private chunk: Buffer = empty;
  private chunkOffset = 0;
  private chunkEnd = 0;
  private transient = false;
  /** Length bytes of a frame whose length is not all there. */
  private lengthBytesSeen = 0;
  private lengthSoFar = 0;
  /** The frame being put together; `announced` -1 when there is none. */
  private announced = -1;
  private assembly: Buffer | undefined;
  private assembledBytes = 0;
  private reservedBytes = 0;
  private wait: BudgetWait | undefined;
  /** The frame found last lies in `assembly`. */
  private fromAssembly = false;
  /** The frame found last was put back. */
  private putBack = false;

  /** `onBudget` is called when a frame that had to wait ('budget') may go on: call `next` again. */
  constructor(memory: FrameMemory, maxFrameBytes: number, onBudget: () => void) {
    this.memory = memory;
    this.maxFrameBytes = maxFrameBytes;
    this.onBudget = onBudget;
  }

  /** Bytes of the frame being put together that have arrived; for whoever watches for stalled clients. */
  get arrivedBytes(): number {
    return this.assembledBytes;
  }

  /** What the frame being put together holds of the budget. */
  get heldBudgetBytes(): number {
    return this.reservedBytes;
  }

  /** Bytes kept here: of a frame being put together, and of those behind one that cannot be started yet. */
  get bufferedBytes(): number {
    return this.assembledBytes + this.chunkEnd - this.chunkOffset;
  }

  /** True while bytes lie here that `next` has not looked at; no more may be pushed. */
  get hasUnread(): boolean {
    return this.putBack || this.chunkOffset < this.chunkEnd;
  }

  /** Gives bytes that stay the caller's: they are looked at until `keepRest`, which must follow before they change. */
  push(chunk: Buffer, start: number, end: number): void {
    assert(!this.hasUnread, 'bytes were pushed over bytes that are not read');
    this.chunk = chunk;
    this.chunkOffset = start;
    this.chunkEnd = end;
    this.transient = true;
  }

  /** Copies what was not read of the caller's bytes. Returns how many bytes that took. */
  keepRest(): number {
    if (!this.transient) return 0;
    this.transient = false;
    const left = this.chunkEnd - this.chunkOffset;
    if (left === 0) {
      this.chunk = empty;
      this.chunkOffset = 0;
      this.chunkEnd = 0;
      return 0;
    }
    const kept = Buffer.allocUnsafeSlow(left);
    this.chunk.copy(kept, 0, this.chunkOffset, this.chunkEnd);
    this.chunk = kept;
    this.chunkOffset = 0;
    this.chunkEnd = left;
    return left;
  }

  /** Finds the next whole frame. */
  next(): FrameState {
    if (this.putBack) {
      this.putBack = false;
      return 'frame';
    }
    if (this.fromAssembly) this.dropAssembly();
    if (this.announced >= 0) return this.assemble();

    // The common case first: the length and the whole frame are in the chunk.
    const chunk = this.chunk;
    let at = this.chunkOffset;
    const available = this.chunkEnd - at;
    let length: number;
    if (this.lengthBytesSeen === 0 && available >= 4) {
      length = (chunk[at]! << 24) | (chunk[at + 1]! << 16) | (chunk[at + 2]! << 8) | chunk[at + 3]!;
      at += 4;
    } else {
      while (this.lengthBytesSeen < 4 && at < this.chunkEnd) {
        this.lengthSoFar = (this.lengthSoFar << 8) | chunk[at]!;
        this.lengthBytesSeen += 1;
        at += 1;
      }
      this.chunkOffset = at;
      if (this.lengthBytesSeen < 4) return 'more';
      length = this.lengthSoFar;
      this.lengthBytesSeen = 0;
      this.lengthSoFar = 0;
    }
    this.chunkOffset = at;
    if (length < 0 || length > this.maxFrameBytes) return this.refuse(length);
    if (this.chunkEnd - at >= length) {
      this.buffer = chunk;
      this.start = at;
      this.end = at + length;
      this.chunkOffset = this.end;
      return 'frame';
    }
    this.announced = length;
    return this.assemble();
  }

  /** Puts the frame found last back: the next `next` finds it again. */
  unread(): void {
    if (this.fromAssembly) {
      this.putBack = true;
      return;
    }
    // The length stands right before it, or was read from an earlier chunk: then it is the frame being put together.
    this.chunkOffset = this.start;
    this.announced = this.end - this.start;
  }

  private refuse(length: number): FrameState {
    this.fault =
      length < 0
        ? `a frame announces ${length} bytes`
        : `a frame announces ${length} bytes, more than socket.request.max.bytes=${this.maxFrameBytes}${otherProtocol(length)}`;
    return 'malformed';
  }

  private assemble(): FrameState {
    const length = this.announced;
    const available = this.chunkEnd - this.chunkOffset;
    if (this.assembledBytes === 0 && available >= length) {
      // Came to be whole while it waited, or was put back.
      this.buffer = this.chunk;
      this.start = this.chunkOffset;
      this.end = this.start + length;
      this.chunkOffset = this.end;
      this.announced = -1;
      this.unreserve();
      return 'frame';
    }
    if (length > bigFrameBytes && this.reservedBytes === 0) {
      if (this.wait !== undefined) return 'budget';
      if (!this.memory.tryReserve(length)) {
        this.wait = this.memory.waitFor(length, () => {
          this.wait = undefined;
          this.reservedBytes = length;
          this.onBudget();
        });
        return 'budget';
      }
      this.reservedBytes = length;
    }
    const taken = Math.min(available, length - this.assembledBytes);
    if (taken > 0) {
      const assembly = this.roomFor(this.assembledBytes + taken);
      this.chunk.copy(assembly, this.assembledBytes, this.chunkOffset, this.chunkOffset + taken);
      this.chunkOffset += taken;
      this.assembledBytes += taken;
    }
    if (this.assembledBytes < length) return 'more';
    this.buffer = this.assembly ?? empty;
    this.start = 0;
    this.end = length;
    this.announced = -1;
    this.fromAssembly = true;
    return 'frame';
  }

  private roomFor(bytes: number): Buffer {
    const old = this.assembly;
    if (old !== undefined && old.length >= bytes) return old;
    const size =
      this.announced <= wholeAtOnceBytes
        ? this.announced
        : Math.min(this.announced, Math.max(wholeAtOnceBytes, bytes * growthFactor));
    const grown = this.memory.take(size);
    if (old !== undefined) {
      old.copy(grown, 0, 0, this.assembledBytes);
      this.memory.give(old);
    }
    this.assembly = grown;
    return grown;
  }

  private dropAssembly(): void {
    if (this.assembly !== undefined) this.memory.give(this.assembly);
    this.assembly = undefined;
    this.assembledBytes = 0;
    this.fromAssembly = false;
    this.buffer = empty;
    this.unreserve();
  }

  private unreserve(): void {
    if (this.reservedBytes === 0) return;
    const bytes = this.reservedBytes;
    this.reservedBytes = 0;
    this.memory.unreserve(bytes);
  }

  /** Forgets everything: the connection is gone. */
  close(): void {
    this.wait?.cancel();
    this.wait = undefined;
    this.putBack = false;
    this.dropAssembly();
    this.announced = -1;
    this.chunk = empty;
    this.chunkOffset = 0;
    this.chunkEnd = 0;
  }
}

/** What the first bytes are where they are no length: the usual mistakes. */
function otherProtocol(length: number): string {
  if (length >>> 16 === 0x1603) return ' (it looks like TLS, which this listener does not speak)';
  const text = String.fromCharCode(
    length >>> 24,
    (length >>> 16) & 0xff,
    (length >>> 8) & 0xff,
    length & 0xff,
  );
  return /^(GET |POST|PUT |HEAD|OPTI|PRI )$/.test(text) ? ' (it looks like HTTP)' : '';
}

const empty = Buffer.alloc(0);
