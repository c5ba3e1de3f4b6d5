/**
 * Memory for entries that lie across blocks and must be in one piece while they are lent: buffers of a few sizes, used again and
 * again, for fresh ones make the garbage collector look at the whole heap each time so many megabytes were allocated.
 */

export interface JoinedBytes {
  /** At least as long as was asked for. */
  readonly bytes: Buffer;
  readonly view: DataView;
}

const smallestBytes = 32 * 1024;
const largestBytes = 2 * 1024 * 1024;
const maxFreeBytes = 8 * 1024 * 1024;

export class JoinMemory {
  /** By size, a power of two. */
  private readonly free = new Map<number, JoinedBytes[]>();
  private heldBytes = 0;

  /** Memory of what is free. */
  get freeBytes(): number {
    return this.heldBytes;
  }

  take(leastBytes: number): JoinedBytes {
    const size = sizeFor(leastBytes);
    const joined = this.free.get(size)?.pop();
    if (joined === undefined) {
      const bytes = Buffer.allocUnsafeSlow(size);
      return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, size) };
    }
    this.heldBytes -= size;
    return joined;
  }

  /** Nobody may look at it any more. */
  give(joined: JoinedBytes): void {
    const size = joined.bytes.length;
    if (size > largestBytes || this.heldBytes + size > maxFreeBytes) return;
    const list = this.free.get(size);
    if (list === undefined) this.free.set(size, [joined]);
    else list.push(joined);
    this.heldBytes += size;
  }
}

function sizeFor(leastBytes: number): number {
  if (leastBytes > largestBytes) return leastBytes;
  let size = smallestBytes;
  while (size < leastBytes) size *= 2;
  return size;
}
