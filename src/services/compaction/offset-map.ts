/**
 * The largest offset of each key, for keys of which only a hash is kept: 24 bytes a key, as in Kafka's SkimpyOffsetMap. Keys are told
 * apart by 128 bits of SHA-256, which nobody can make collide on purpose. Memory is taken once, and a full map says so instead of growing.
 */
import { hash } from 'node:crypto';

/** Bytes of a slot: 16 of the hash, 8 of the offset. */
export const offsetMapSlotBytes = 24;
const wordsOfHash = 4;
/** An offset is stored as one more than it is, so that zero is an empty slot. */
const emptySlot = 0;

export interface OffsetMapSize {
  /** What the map may take (log.cleaner.dedupe.buffer.size). */
  readonly maxBytes: number;
  /** How full it may get, 0 to 1 (log.cleaner.io.buffer.load.factor). */
  readonly loadFactor: number;
  /** Keys that will come at most; the map takes no more memory than they need. */
  readonly expectedKeys: number;
}

export class OffsetMap {
  /** Keys that it takes. */
  readonly capacity: number;
  readonly sizeBytes: number;
  private readonly slots: number;
  private readonly hashes: Uint32Array;
  private readonly offsets: Float64Array;
  private readonly words = new Uint32Array(wordsOfHash);
  private keys = 0;

  constructor({ maxBytes, loadFactor, expectedKeys }: OffsetMapSize) {
    const most = Math.max(1, Math.floor(maxBytes / offsetMapSlotBytes));
    const needed = Math.ceil(expectedKeys / Math.max(loadFactor, 0.01)) + 1;
    this.slots = Math.max(1, Math.min(most, needed));
    // One slot stays empty, where a search ends.
    this.capacity = Math.max(1, Math.min(Math.floor(this.slots * loadFactor), this.slots - 1));
    if (this.slots === 1) this.slots = 2;
    this.sizeBytes = this.slots * offsetMapSlotBytes;
    this.hashes = new Uint32Array(this.slots * wordsOfHash);
    this.offsets = new Float64Array(this.slots);
  }

  get size(): number {
    return this.keys;
  }

  /** False, with nothing changed, where the key is new and the map is full. Offsets of a key must come in growing order. */
  put(key: Buffer, offset: number): boolean {
    const slot = this.find(key);
    if (this.offsets[slot] === emptySlot) {
      if (this.keys >= this.capacity) return false;
      this.keys += 1;
      this.hashes.set(this.words, slot * wordsOfHash);
    }
    this.offsets[slot] = offset + 1;
    return true;
  }

  /** The largest offset of the key; -1 where it was never put. */
  get(key: Buffer): number {
    return this.offsets[this.find(key)]! - 1;
  }

  /** The slot that has the key, or the empty one where it would go. */
  private find(key: Buffer): number {
    // A string of 32 characters is made ten times as fast as a buffer of 32 bytes.
    const digest = hash('sha256', key, 'binary');
    const words = this.words;
    for (let word = 0; word < wordsOfHash; word++) {
      const at = word * 4;
      words[word] =
        (digest.charCodeAt(at) << 24) |
        (digest.charCodeAt(at + 1) << 16) |
        (digest.charCodeAt(at + 2) << 8) |
        digest.charCodeAt(at + 3);
    }
    const { hashes, offsets, slots } = this;
    let slot = words[0]! % slots;
    for (;;) {
      if (offsets[slot] === emptySlot) return slot;
      const at = slot * wordsOfHash;
      if (
        hashes[at] === words[0] &&
        hashes[at + 1] === words[1] &&
        hashes[at + 2] === words[2] &&
        hashes[at + 3] === words[3]
      ) {
        return slot;
      }
      slot = slot + 1 === slots ? 0 : slot + 1;
    }
  }
}
