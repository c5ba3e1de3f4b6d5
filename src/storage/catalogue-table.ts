/**
 * The catalogue's rows and its compare-and-set, in memory, for engines that keep it durable their own way: check, write,
 * then apply. Knows nothing of queues beyond passing them on.
 */
import type { CatalogueChange, CatalogueEntry } from './engine.ts';
import { SortedMap } from './sorted-map.ts';

export class CatalogueTable {
  private readonly rows = new SortedMap<CatalogueEntry>();
  private readonly watchers = new Set<() => void>();
  private newest = 0;
  private rowBytes = 0;
  private wakePending = false;

  get version(): number {
    return this.newest;
  }

  /** Bytes of all keys and values. */
  get sizeBytes(): number {
    return this.rowBytes;
  }

  get(key: string): CatalogueEntry | undefined {
    return this.rows.get(key);
  }

  /** In key order (by UTF-16 code unit). */
  list(prefix: string): readonly CatalogueEntry[] {
    const found: CatalogueEntry[] = [];
    this.rows.visit({ from: prefix }, (key, entry) => {
      if (!key.startsWith(prefix)) return false;
      found.push(entry);
      return true;
    });
    return found;
  }

  /** The first key whose version differs from the expected one, or undefined when the changes may be applied. */
  conflict(changes: readonly CatalogueChange[]): string | undefined {
    for (const { key, expectedVersion } of changes) {
      if (expectedVersion === undefined) continue;
      if ((this.rows.get(key)?.version ?? 0) !== expectedVersion) return key;
    }
    return undefined;
  }

  /** Applies checked changes as `version` (default: the next one), wakes the watchers soon. Values are copied. */
  apply(changes: readonly CatalogueChange[], version = this.newest + 1): number {
    for (const { key, value } of changes) {
      const before = this.rows.get(key);
      if (before !== undefined) this.rowBytes -= before.key.length + before.value.length;
      if (value === null) {
        this.rows.delete(key);
      } else {
        this.rows.set(key, { key, value: Buffer.from(value), version });
        this.rowBytes += key.length + value.length;
      }
    }
    this.newest = version;
    if (!this.wakePending) {
      this.wakePending = true;
      setImmediate(() => {
        this.wakePending = false;
        for (const wake of [...this.watchers]) if (this.watchers.has(wake)) wake();
      });
    }
    return version;
  }

  /** Puts rows back as they were stored when an engine opens. `version`: the newest change's, maybe a deletion. */
  load(entries: Iterable<CatalogueEntry>, version: number): void {
    for (const entry of entries) {
      this.rows.set(entry.key, entry);
      this.rowBytes += entry.key.length + entry.value.length;
    }
    this.newest = version;
  }

  watch(wake: () => void): () => void {
    const own = (): void => wake();
    this.watchers.add(own);
    return () => void this.watchers.delete(own);
  }
}
