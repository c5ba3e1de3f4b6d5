/**
 * A map in the order of its keys, for rows in memory. Keys are byte strings (`latin1`), so that comparing them compares
 * bytes, without a Buffer object a key. Knows nothing of indexes, files or limits.
 *
 * A list of sorted chunks: finding is two binary searches, inserting moves at most half a chunk.
 */
const largestChunk = 512;

/** The bytes as a key: one character a byte. `Buffer.from(key, 'latin1')` is the way back. */
export function byteString(bytes: Buffer): string {
  return bytes.toString('latin1');
}

interface Chunk<V> {
  readonly keys: string[];
  readonly values: V[];
}

export interface SortedRange {
  /** Inclusive. */
  readonly from?: string | undefined;
  /** Exclusive. */
  readonly to?: string | undefined;
  readonly reverse?: boolean | undefined;
}

export class SortedMap<V> {
  private readonly chunks: Chunk<V>[] = [];
  private rows = 0;

  get size(): number {
    return this.rows;
  }

  get(key: string): V | undefined {
    const chunk = this.chunks[this.chunkOf(key)];
    if (chunk === undefined) return undefined;
    const at = lowerBound(chunk.keys, key);
    return chunk.keys[at] === key ? chunk.values[at] : undefined;
  }

  /** Answers the value that was there before. */
  set(key: string, value: V): V | undefined {
    const index = this.chunkOf(key);
    const chunk = this.chunks[index];
    if (chunk === undefined) {
      this.chunks.push({ keys: [key], values: [value] });
      this.rows = 1;
      return undefined;
    }
    const { keys, values } = chunk;
    const last = keys.length - 1;
    // Keys often come in order (due times, counters): then nothing is searched or moved.
    const at = keys[last]! < key ? last + 1 : lowerBound(keys, key);
    if (keys[at] === key) {
      const before = values[at];
      values[at] = value;
      return before;
    }
    this.rows++;
    if (at > last) {
      if (keys.length >= largestChunk) {
        this.chunks.splice(index + 1, 0, { keys: [key], values: [value] });
        return undefined;
      }
      keys.push(key);
      values.push(value);
      return undefined;
    }
    keys.splice(at, 0, key);
    values.splice(at, 0, value);
    if (keys.length > largestChunk) {
      const middle = keys.length >> 1;
      this.chunks.splice(index + 1, 0, { keys: keys.splice(middle), values: values.splice(middle) });
    }
    return undefined;
  }

  /** Answers the value that was there. */
  delete(key: string): V | undefined {
    const index = this.chunkOf(key);
    const chunk = this.chunks[index];
    if (chunk === undefined) return undefined;
    const { keys, values } = chunk;
    const at = lowerBound(keys, key);
    if (keys[at] !== key) return undefined;
    const before = values[at];
    keys.splice(at, 1);
    values.splice(at, 1);
    this.rows--;
    if (keys.length === 0) {
      this.chunks.splice(index, 1);
      return before;
    }
    const neighbour = this.chunks[index + 1];
    if (neighbour !== undefined && keys.length + neighbour.keys.length < largestChunk / 2) {
      for (const moved of neighbour.keys) keys.push(moved);
      for (const moved of neighbour.values) values.push(moved);
      this.chunks.splice(index + 1, 1);
    }
    return before;
  }

  clear(): void {
    this.chunks.length = 0;
    this.rows = 0;
  }

  /** Calls `visit` for each row of the range in order until it answers false. The map must not change meanwhile. */
  visit(range: SortedRange, visit: (key: string, value: V) => boolean): void {
    const { from, to } = range;
    if (range.reverse) {
      let index =
        to === undefined ? this.chunks.length - 1 : Math.min(this.chunkOf(to), this.chunks.length - 1);
      for (let first = true; index >= 0; index--, first = false) {
        const { keys, values } = this.chunks[index]!;
        for (let at = (first && to !== undefined ? lowerBound(keys, to) : keys.length) - 1; at >= 0; at--) {
          if (from !== undefined && keys[at]! < from) return;
          if (!visit(keys[at]!, values[at]!)) return;
        }
      }
      return;
    }
    let index = from === undefined ? 0 : this.chunkOf(from);
    for (let first = true; index < this.chunks.length; index++, first = false) {
      const { keys, values } = this.chunks[index]!;
      for (let at = first && from !== undefined ? lowerBound(keys, from) : 0; at < keys.length; at++) {
        if (to !== undefined && keys[at]! >= to) return;
        if (!visit(keys[at]!, values[at]!)) return;
      }
    }
  }

  /** The chunk that holds the key or would: the last one that begins at or before it, else the first. */
  private chunkOf(key: string): number {
    let low = 0;
    let high = this.chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.chunks[middle]!.keys[0]! <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Index of the first key that is not smaller. */
export function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
