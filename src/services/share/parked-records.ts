/**
 * The records of one share partition that wait outside the window until they are delivered again: RocketMQ's back-off for share groups.
 * The window is done with them; what is known of each stands in a row of an ordered index, and here. A pure state machine: rows to
 * write are answered, not written. Who holds a record is in memory only.
 */
import { readUint64, writeUint64 } from '../features/timers/timer-row.ts';
import type { ShareKey } from './share-records.ts';
import type { AcquiredRange } from './share-window.ts';

export interface ParkedRecord {
  readonly offset: number;
  /** Deliveries so far, the present one of a record that is held among them. */
  readonly count: number;
  /** By the wall clock: it may be delivered from then on. */
  readonly dueMs: number;
  /** Undefined where nobody holds it. `nobody`: the broker does. */
  readonly holder: string | undefined;
  /** By the monotonic clock. */
  readonly lockDueMs: number;
}

/** Parked records of a share partition beyond which nothing new is handed out. */
export const maxParkedRecords = 10_000;

export class ParkedRecords {
  readonly #records = new Map<number, ParkedRecord>();

  get size(): number {
    return this.#records.size;
  }

  get(offset: number): ParkedRecord | undefined {
    return this.#records.get(offset);
  }

  /** From a row, or as the row is about to be. Nobody holds it. */
  put(offset: number, count: number, dueMs: number): void {
    this.#records.set(offset, { offset, count, dueMs, holder: undefined, lockDueMs: 0 });
  }

  remove(offset: number): void {
    this.#records.delete(offset);
  }

  /** Offsets that may be delivered now, in order; at most `limit`. */
  ready(nowMs: number, limit: number): number[] {
    const offsets: number[] = [];
    for (const { offset, dueMs, holder } of this.#records.values()) {
      if (holder === undefined && dueMs <= nowMs) offsets.push(offset);
    }
    return offsets.sort((a, b) => a - b).slice(0, limit);
  }

  /** Hands them out, those that are still free. One range a record, in order. */
  acquire(offsets: readonly number[], memberId: string, nowMs: number, lockDueMs: number): AcquiredRange[] {
    const ranges: AcquiredRange[] = [];
    for (const offset of offsets) {
      const record = this.#records.get(offset);
      if (record === undefined || record.holder !== undefined || record.dueMs > nowMs) continue;
      const count = record.count + 1;
      this.#records.set(offset, { ...record, count, holder: memberId, lockDueMs });
      ranges.push({ firstOffset: offset, lastOffset: offset, deliveryCount: count });
    }
    return ranges;
  }

  /** Those of the range that somebody holds, in order. */
  heldIn(firstOffset: number, lastOffset: number): ParkedRecord[] {
    const held: ParkedRecord[] = [];
    for (const record of this.#records.values()) {
      const { offset, holder } = record;
      if (holder !== undefined && offset >= firstOffset && offset <= lastOffset) held.push(record);
    }
    return held.sort((a, b) => a.offset - b.offset);
  }

  renew(offset: number, lockDueMs: number): void {
    const record = this.#records.get(offset);
    if (record?.holder !== undefined) this.#records.set(offset, { ...record, lockDueMs });
  }

  /** The broker takes it out of its member's hands. */
  holdBack(offset: number, nobody: string): void {
    const record = this.#records.get(offset);
    if (record !== undefined) {
      this.#records.set(offset, { ...record, holder: nobody, lockDueMs: Number.POSITIVE_INFINITY });
    }
  }

  heldBy(memberId: string): ParkedRecord[] {
    return [...this.#records.values()].filter(({ holder }) => holder === memberId);
  }

  /** Those whose locks have ended. */
  expired(nowMs: number): ParkedRecord[] {
    return [...this.#records.values()].filter(
      ({ holder, lockDueMs }) => holder !== undefined && lockDueMs <= nowMs,
    );
  }

  /** Whether anybody holds any. */
  get isHeld(): boolean {
    for (const { holder } of this.#records.values()) if (holder !== undefined) return true;
    return false;
  }

  get nextLockDueMs(): number | undefined {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { holder, lockDueMs } of this.#records.values()) {
      if (holder !== undefined && lockDueMs < earliest) earliest = lockDueMs;
    }
    return earliest === Number.POSITIVE_INFINITY ? undefined : earliest;
  }

  offsets(): number[] {
    return [...this.#records.keys()];
  }
}

// ----- rows

export const parkedIndex = 'share-parked';

const rowVersion = 1;
const rowBytes = 1 + 4 + 8;
const placeBytes = 4 + 8;

/** What the keys of a share partition's rows begin with. Group ids and topic ids are told apart by their lengths. */
export function parkedPrefix({ groupId, topicId, partition }: ShareKey): Buffer {
  const group = Buffer.from(groupId);
  const topic = Buffer.from(topicId, 'latin1');
  const prefix = Buffer.alloc(4 + group.length + 1 + topic.length + 4);
  let at = prefix.writeUInt32BE(group.length, 0);
  at += group.copy(prefix, at);
  at = prefix.writeUInt8(topic.length, at);
  at += topic.copy(prefix, at);
  prefix.writeUInt32BE(partition, at);
  return prefix;
}

export function parkedRowKey(key: ShareKey, offset: number): Buffer {
  const place = Buffer.alloc(8);
  writeUint64(place, offset, 0);
  return Buffer.concat([parkedPrefix(key), place]);
}

export function parkedRow(count: number, dueMs: number): Buffer {
  const row = Buffer.alloc(rowBytes);
  row[0] = rowVersion;
  row.writeUInt32BE(count, 1);
  writeUint64(row, dueMs, 5);
  return row;
}

/** @throws RangeError on bytes that are no row */
export function readParkedRow(row: Buffer): { readonly count: number; readonly dueMs: number } {
  if (row[0] !== rowVersion || row.length < rowBytes) throw new RangeError('no row of a parked record');
  return { count: row.readUInt32BE(1), dueMs: readUint64(row, 5) };
}

/** The share partition and offset that a row's key speaks of. */
export function readParkedRowKey(key: Buffer): { readonly key: ShareKey; readonly offset: number } {
  const groupBytes = key.readUInt32BE(0);
  const topicAt = 4 + groupBytes;
  const topicBytes = key.readUInt8(topicAt);
  const placeAt = topicAt + 1 + topicBytes;
  if (key.length !== placeAt + placeBytes) throw new RangeError('no key of a parked record');
  return {
    key: {
      groupId: key.toString('utf8', 4, topicAt),
      topicId: key.toString('latin1', topicAt + 1, placeAt),
      partition: key.readUInt32BE(placeAt),
    },
    offset: readUint64(key, placeAt + 4),
  };
}
