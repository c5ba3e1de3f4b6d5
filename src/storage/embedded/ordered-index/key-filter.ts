/**
 * A Bloom filter over a run's keys: says of most keys that are not in the run that they are not, without reading it. About one of
 * a hundred others gets by.
 */
const bitsPerKey = 10;
const probes = 7;
/** Runs of more rows have no filter, so that filters stay small beside the rest of the process (5 MiB at most). */
const mostKeys = 4 * 1024 * 1024;

export class KeyFilter {
  readonly bytes: Uint8Array;
  private readonly bits: number;

  private constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.bits = bytes.length * 8;
  }

  /** Undefined for so many keys. */
  static forKeys(keys: number): KeyFilter | undefined {
    if (keys === 0 || keys > mostKeys) return undefined;
    return new KeyFilter(new Uint8Array(Math.ceil((keys * bitsPerKey) / 8)));
  }

  static fromBytes(bytes: Uint8Array): KeyFilter | undefined {
    return bytes.length === 0 ? undefined : new KeyFilter(bytes);
  }

  add(key: string): void {
    let hash = hashOf(key);
    const step = stepOf(hash);
    for (let probe = 0; probe < probes; probe++) {
      const bit = hash % this.bits;
      this.bytes[bit >>> 3]! |= 1 << (bit & 7);
      hash = (hash + step) >>> 0;
    }
  }

  /** False: the key was never added. */
  mayHave(key: string): boolean {
    let hash = hashOf(key);
    const step = stepOf(hash);
    for (let probe = 0; probe < probes; probe++) {
      const bit = hash % this.bits;
      if ((this.bytes[bit >>> 3]! & (1 << (bit & 7))) === 0) return false;
      hash = (hash + step) >>> 0;
    }
    return true;
  }
}

/** FNV-1a with a finisher, over the key's bytes. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function stepOf(hash: number): number {
  return (Math.imul(hash, 0x9e3779b1) >>> 15) | 1;
}
