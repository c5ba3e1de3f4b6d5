/**
 * How far each partition was compacted, kept over restarts in an ordered index of the engine: one row a queue. Only a memory of work
 * done: where a row is lost the partition is cleaned from its start again, to the same result.
 */
import type { QueueId, StorageEngine } from '../../storage/engine.ts';

export const checkpointIndexName = 'compaction-checkpoints';
/** Rows read at a time. */
const rowsAtOnce = 1000;
const rowVersion = 1;
const noHorizon = -1;

export interface CompactionCheckpoint {
  /** All before it was compacted. */
  readonly firstDirtyOffset: number;
  /** When the first of the tombstones and markers that were kept may go; undefined where none was. */
  readonly deleteHorizonMs: number | undefined;
}

export class CompactionCheckpoints {
  private readonly engine: StorageEngine;

  constructor(engine: StorageEngine) {
    this.engine = engine;
  }

  async get(queue: QueueId): Promise<CompactionCheckpoint | undefined> {
    const value = await this.engine.index(checkpointIndexName).get(keyOf(queue));
    return value === undefined ? undefined : decode(value);
  }

  /** Durable when it resolves; null forgets the queue. False where the engine did not take it. */
  async put(rows: ReadonlyMap<QueueId, CompactionCheckpoint | null>): Promise<boolean> {
    if (rows.size === 0) return true;
    const changes = [...rows].map(([queue, checkpoint]) => ({
      index: checkpointIndexName,
      key: keyOf(queue),
      value: checkpoint === null ? null : encode(checkpoint),
    }));
    const results = await this.engine.append({ durability: 'async', entries: [], changes });
    return results.every((result) => result.outcome === 'appended');
  }

  /** Forgets queues that are no more: those deleted while nobody was there to do it. */
  async sweep(exists: (queue: QueueId) => boolean): Promise<number> {
    let from: Buffer | undefined;
    let removed = 0;
    for (;;) {
      const rows = await this.engine
        .index(checkpointIndexName)
        .range(from === undefined ? { limit: rowsAtOnce } : { from, limit: rowsAtOnce });
      const gone = new Map<QueueId, null>();
      for (const { key } of rows) {
        const queue = queueOf(key);
        if (!exists(queue)) gone.set(queue, null);
      }
      if (!(await this.put(gone))) return removed;
      removed += gone.size;
      const last = rows.at(-1);
      if (last === undefined || rows.length < rowsAtOnce) return removed;
      from = Buffer.concat([last.key, Buffer.alloc(1)]);
    }
  }
}

function keyOf(queue: QueueId): Buffer {
  const key = Buffer.alloc(8);
  key.writeBigUInt64BE(BigInt(queue));
  return key;
}

function queueOf(key: Buffer): QueueId {
  return key.length === 8 ? Number(key.readBigUInt64BE()) : -1;
}

function encode({ firstDirtyOffset, deleteHorizonMs }: CompactionCheckpoint): Buffer {
  const value = Buffer.alloc(17);
  value.writeUInt8(rowVersion, 0);
  value.writeBigInt64BE(BigInt(firstDirtyOffset), 1);
  value.writeBigInt64BE(BigInt(deleteHorizonMs ?? noHorizon), 9);
  return value;
}

/** A row of another make counts as lost. */
function decode(value: Buffer): CompactionCheckpoint | undefined {
  if (value.length !== 17 || value.readUInt8(0) !== rowVersion) return undefined;
  const horizonMs = Number(value.readBigInt64BE(9));
  return {
    firstDirtyOffset: Number(value.readBigInt64BE(1)),
    deleteHorizonMs: horizonMs === noHorizon ? undefined : horizonMs,
  };
}
