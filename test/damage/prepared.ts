/**
 * Data directories to be damaged, and a journal of what was put into them, kept outside: Kafka's batches of every codec in several
 * queues, groups over queues, markers, producers, trims, a catalogue, an ordered index, entries that were rewritten; closed, or
 * left by a killed process, and with older states of their files.
 */
import { crc32c } from '../../protocol/records/crc32c.ts';
import { isBatchIntact, isBatchStamped, stampBatch } from '../../protocol/records/record-batch.ts';
import { buildEndTransactionMarker, buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import {
  type EmbeddedEngineOptions,
  openEmbeddedEngine,
} from '../../src/storage/embedded/embedded-engine.ts';
import type {
  AppendEntry,
  IndexChange,
  PayloadFormat,
  QueueId,
  StorageEngine,
} from '../../src/storage/engine.ts';
import type { Log } from '../../src/util/log.ts';
import { seededRandom } from '../fakes/simulated-disk.ts';
import { smallSettings } from '../storage/embedded/small-settings.ts';
import { MemoryFiles } from './memory-files.ts';

export const root = '/data';
export const indexName = 'timers';

export const batchFormat: PayloadFormat = {
  stamp: stampBatch,
  isStamped: isBatchStamped,
  isIntact: isBatchIntact,
};

export interface JournalEntry {
  readonly baseOffset: number;
  readonly count: number;
  /** But for the epoch, which is not compared. */
  readonly bytes: Buffer;
}

export interface Prepared {
  readonly name: string;
  readonly files: MemoryFiles;
  /** Earlier states of the same directory. */
  readonly older: readonly MemoryFiles[];
  readonly queues: ReadonlyMap<
    QueueId,
    { readonly startOffset: number; readonly entries: readonly JournalEntry[] }
  >;
  readonly catalogue: ReadonlyMap<string, string>;
  readonly rows: ReadonlyMap<string, string>;
}

export function open(
  files: MemoryFiles,
  more: Partial<EmbeddedEngineOptions> & { log?: Log } = {},
): Promise<StorageEngine> {
  return openEmbeddedEngine({
    directory: root,
    payloadFormat: batchFormat,
    crc32c,
    fileSystem: files,
    settings: { ...smallSettings, reserveBytes: 0 },
    ...more,
  });
}

const codecs = ['none', 'gzip', 'none', 'snappy', 'lz4', 'none', 'zstd'] as const;

class Preparation {
  readonly queues = new Map<QueueId, { startOffset: number; entries: JournalEntry[] }>();
  readonly catalogue = new Map<string, string>();
  readonly rows = new Map<string, string>();
  private readonly random: () => number;
  private readonly sequences = new Map<QueueId, number>();
  private step = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  async begin(engine: StorageEngine): Promise<void> {
    for (let queue = 1; queue <= 6; queue++) {
      const value = `topic ${queue}`;
      await engine.catalogue.update({
        changes: [{ key: `topic/${queue}`, value: Buffer.from(value) }],
        createQueues: [queue],
      });
      this.catalogue.set(`topic/${queue}`, value);
      this.queues.set(queue, { startOffset: 0, entries: [] });
    }
  }

  async work(engine: StorageEngine, groups: number): Promise<void> {
    for (let at = 0; at < groups; at++) await this.append(engine, at % 7 === 0 ? 'sync' : 'async');
    await engine.whenDurable();
  }

  async trim(engine: StorageEngine, queue: QueueId, share: number): Promise<void> {
    const known = this.queues.get(queue)!;
    const bounds = (await engine.bounds(queue))!;
    const toOffset = Math.floor(bounds.visibleEndOffset * share);
    await engine.trim(queue, toOffset);
    known.startOffset = Math.max(known.startOffset, toOffset);
  }

  /** Every third entry of the queue goes. */
  async clean(engine: StorageEngine, queue: QueueId): Promise<void> {
    const known = this.queues.get(queue)!;
    const { visibleEndOffset } = (await engine.bounds(queue))!;
    const dropped = new Set<number>();
    let seen = 0;
    const [result] = await engine.rewrite([
      {
        queue,
        untilOffset: visibleEndOffset,
        decide: (_, facts) => {
          if (++seen % 3 !== 0) return 'keep';
          dropped.add(facts.baseOffset);
          return 'drop';
        },
      },
    ]);
    if (result === undefined) throw new Error('the queue is not there');
    const last = known.entries.at(-1)!.baseOffset;
    const first = known.startOffset;
    known.entries = known.entries.filter(
      ({ baseOffset, count }) =>
        baseOffset === last || baseOffset + count <= first || !dropped.has(baseOffset),
    );
  }

  private async append(engine: StorageEngine, durability: 'sync' | 'async'): Promise<void> {
    const step = this.step++;
    const entries: AppendEntry[] = [];
    const count = this.random() < 0.2 ? 2 + Math.floor(this.random() * 3) : 1;
    for (let at = 0; at < count; at++) entries.push(this.entry(step, 1 + Math.floor(this.random() * 6)));
    const changes: IndexChange[] = [];
    if (this.random() < 0.4) {
      const key = `row ${Math.floor(this.random() * 150)}`;
      const value = this.random() < 0.25 ? null : `value ${step}`;
      changes.push({
        index: indexName,
        key: Buffer.from(key),
        value: value === null ? null : Buffer.from(value),
      });
      if (value === null) this.rows.delete(key);
      else this.rows.set(key, value);
    }
    const results = await engine.append({ durability, entries, ...(changes.length > 0 ? { changes } : {}) });
    for (const [at, result] of results.entries()) {
      if (result.outcome !== 'appended') throw new Error(`an append was answered ${JSON.stringify(result)}`);
      const { queue, payload, count: records } = entries[at]!;
      const bytes = Buffer.from(payload as Buffer);
      stampBatch(bytes, 0, result.baseOffset, 0);
      this.queues.get(queue)!.entries.push({ baseOffset: result.baseOffset, count: records, bytes });
    }
  }

  private entry(step: number, queue: QueueId): AppendEntry {
    const timestamp = 1_700_000_000_000 + step;
    if (step % 29 === 0) {
      const payload = buildEndTransactionMarker(
        { result: 'commit', coordinatorEpoch: 1 },
        { timestamp, producerId: 77, producerEpoch: 0 },
      );
      return { queue, kind: 'marker', count: 1, maxTimestampMs: timestamp, payload };
    }
    const records = 1 + Math.floor(this.random() * 4);
    const sizeBytes = step % 41 === 0 ? 5000 : step % 9 === 0 ? 600 : 30;
    const hasProducer = queue === 2;
    const first = this.sequences.get(queue) ?? 0;
    if (hasProducer) this.sequences.set(queue, first + records);
    const payload = buildRecordBatch(
      Array.from({ length: records }, (_, at) => ({
        timestamp,
        key: Buffer.from(`key ${step % 11}`),
        value: Buffer.alloc(sizeBytes, `${step}.${at} `),
        headers: step % 5 === 0 ? [{ key: 'h', value: Buffer.from('x') }] : [],
      })),
      {
        codec: codecs[step % codecs.length]!,
        ...(hasProducer ? { producerId: 5, producerEpoch: 0, baseSequence: first } : {}),
      },
    );
    return {
      queue,
      kind: 'data',
      count: records,
      maxTimestampMs: timestamp,
      payload,
      ...(hasProducer
        ? {
            producer: {
              countsForQueue: queue,
              producerId: 5,
              producerEpoch: 0,
              firstSequence: first,
              lastSequence: first + records - 1,
              isTransactional: false,
            },
          }
        : {}),
    };
  }

  done(name: string, files: MemoryFiles, older: readonly MemoryFiles[]): Prepared {
    return { name, files, older, queues: this.queues, catalogue: this.catalogue, rows: this.rows };
  }
}

/**
 * `isClosed`: the last process ended cleanly. `isCleaned`: entries were dropped from the middle of queues. `hasTail`: much of the
 * log has no index run and no snapshot yet.
 */
export async function prepare(
  name: string,
  seed: number,
  { isClosed, isCleaned, hasTail }: { isClosed: boolean; isCleaned: boolean; hasTail: boolean },
): Promise<Prepared> {
  const preparation = new Preparation(seed);
  const files = new MemoryFiles();
  const older: MemoryFiles[] = [];
  let engine = await open(files);
  await preparation.begin(engine);
  await preparation.work(engine, 120);
  await engine.close();
  older.push(files.copy());
  engine = await open(files);
  await preparation.work(engine, 120);
  await preparation.trim(engine, 1, 0.4);
  await preparation.trim(engine, 3, 0.2);
  // Killed: the next start begins another epoch, and writes other bytes where these were never made durable.
  let survivor = files.copy();
  const unsealed = { sealEntries: 2 ** 20, sealBytes: 2 ** 30, segmentBytes: 2 ** 18, reserveBytes: 0 };
  engine = await open(survivor, hasTail ? { settings: { ...smallSettings, ...unsealed } } : {});
  older.push(survivor.copy());
  await preparation.work(engine, 80);
  if (isCleaned) {
    await preparation.clean(engine, 2);
    await preparation.clean(engine, 4);
  }
  await preparation.work(engine, 60);
  if (isClosed) {
    await engine.close();
    return preparation.done(name, survivor, older);
  }
  survivor = survivor.copy();
  return preparation.done(name, survivor, older);
}
