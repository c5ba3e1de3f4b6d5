/** Random logs, transactions too, cleaned by the service on each engine, against Kafka's rules in a few lines. */
import { describe, expect, it } from 'vitest';
import {
  buildEndTransactionMarker,
  buildRecordBatch,
} from '../../../protocol/records/record-batch-builder.ts';
import { CompactionCheckpoints } from '../../../src/services/compaction/compaction-checkpoints.ts';
import type { AbortedTransaction, StableOffsets } from '../../../src/services/fetch/stable-offsets.ts';
import { CompactionBroker, type LiveRecord, onEmbedded, onMemory } from './compaction-broker.ts';

const deleteRetentionMs = 500;

interface ModelBatch {
  readonly baseOffset: number;
  readonly transaction: ModelTransaction | undefined;
  live: LiveRecord[];
  horizonMs: number | undefined;
}

interface ModelTransaction {
  readonly producerId: number;
  readonly firstOffset: number;
  result: 'open' | 'commit' | 'abort';
  markerOffset: number;
  isListed: boolean;
}

/** What is in the log by Kafka's rules. `pass` says that all before `cleanedTo` was cleaned. */
class Model {
  batches: ModelBatch[] = [];
  readonly transactions: ModelTransaction[] = [];
  startOffset = 0;
  endOffset = 0;

  pass(cleanedTo: number, nowMs: number): void {
    const newest = new Map<string, number>();
    for (const { live, transaction } of this.batches) {
      if (transaction?.result === 'abort') continue;
      for (const { key, offset } of live) if (key !== null && offset < cleanedTo) newest.set(key, offset);
    }
    for (const batch of this.batches) {
      if (batch.baseOffset >= cleanedTo) continue;
      const isPast = batch.horizonMs !== undefined && batch.horizonMs <= nowMs;
      batch.live = batch.live.filter(({ offset, key, value }) => {
        if (batch.transaction?.result === 'abort') return false;
        if (offset >= cleanedTo) return true;
        return key !== null && newest.get(key) === offset && (value !== null || !isPast);
      });
      if (batch.live.some(({ value }) => value === null)) batch.horizonMs ??= nowMs + deleteRetentionMs;
    }
  }

  get records(): LiveRecord[] {
    return this.batches.flatMap((batch) => batch.live);
  }

  readonly stable: StableOffsets = {
    lastStableOffset: (_, end) =>
      Math.min(
        end,
        ...this.transactions.filter((each) => each.result === 'open').map((each) => each.firstOffset),
      ),
    abortedTransactions: (_, from, to): readonly AbortedTransaction[] =>
      this.transactions.filter(
        (each) =>
          each.isListed && each.result === 'abort' && each.firstOffset < to && each.markerOffset >= from,
      ),
    forgetAborted: async (_, gone) => {
      for (const { producerId, firstOffset } of gone) {
        const known = this.transactions.find((each) => each.firstOffset === firstOffset);
        expect(known).toMatchObject({ producerId, result: 'abort', isListed: true });
        known!.isListed = false;
      }
    },
  };
}

function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * below);
  };
}

describe.each([
  { engine: 'memory', open: onMemory, seeds: 60 },
  { engine: 'embedded', open: onEmbedded, seeds: 25 },
])('on the $engine engine', ({ open, seeds }) => {
  it.each(Array.from({ length: seeds }, (_, seed) => seed + 1))(
    'random log %d is as Kafka would leave it',
    async (seed) => {
      const random = randomOf(seed);
      const model = new Model();
      // A third of the runs has a map for a few keys only, and cleans in steps.
      const mapBytes = random(3) === 0 ? 24 * (2 + random(6)) : 1 << 20;
      const given = { 'log.cleaner.dedupe.buffer.size': String(mapBytes) };
      const broker = new CompactionBroker(await open(), given, model.stable);
      const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
      await broker.create('t', {
        'segment.ms': '1',
        'min.cleanable.dirty.ratio': '0',
        'delete.retention.ms': String(deleteRetentionMs),
      });
      const queue = broker.queue('t');
      const checkpoints = new CompactionCheckpoints(broker.engine);
      let passes = 0;
      for (let step = 0; step < 60; step++) {
        await broker.clock.advance(10);
        const dice = random(20);
        if (dice < 12) {
          // A batch, perhaps in a transaction.
          const open = model.transactions.filter((each) => each.result === 'open');
          let transaction = open[random(open.length + 2)];
          if (transaction === undefined && random(3) === 0 && open.length < 3) {
            transaction = {
              producerId: 100 + (model.transactions.length % 4),
              firstOffset: model.endOffset,
              result: 'open',
              markerOffset: -1,
              isListed: true,
            };
            if (open.some((each) => each.producerId === transaction?.producerId)) continue;
            model.transactions.push(transaction);
          }
          const live: LiveRecord[] = Array.from({ length: 1 + random(5) }, (_, index) => ({
            offset: model.endOffset + index,
            key: random(15) === 0 ? null : `k${random(8)}`,
            value: random(4) === 0 ? null : `v${step}-${index}`,
          }));
          const payload = buildRecordBatch(
            live.map(({ key, value }) => ({
              timestamp: broker.clock.nowMs() + index64(random),
              key: key === null ? null : Buffer.from(key),
              value: value === null ? null : Buffer.from(value),
            })),
            {
              codec: codecs[random(5)],
              ...(transaction === undefined
                ? {}
                : {
                    producerId: transaction.producerId,
                    producerEpoch: 0,
                    baseSequence: 0,
                    transactional: true,
                  }),
            },
          );
          expect(await broker.appendBatch('t', payload)).toBe(model.endOffset);
          model.batches.push({ baseOffset: model.endOffset, transaction, live, horizonMs: undefined });
          model.endOffset += live.length;
        } else if (dice < 14) {
          const ended = model.transactions.find((each) => each.result === 'open');
          if (ended === undefined) continue;
          ended.result = random(2) === 0 ? 'commit' : 'abort';
          ended.markerOffset = model.endOffset;
          await broker.appendBatch(
            't',
            buildEndTransactionMarker(
              { result: ended.result, coordinatorEpoch: 0 },
              { producerId: ended.producerId, producerEpoch: 0, timestamp: broker.clock.nowMs() },
            ),
          );
          model.endOffset += 1;
        } else if (dice < 15 && random(3) === 0) {
          const stableEnd = model.stable.lastStableOffset(queue, model.endOffset);
          const to = Math.min(
            stableEnd,
            model.startOffset + random(1 + Math.floor((model.endOffset - model.startOffset) / 3)),
          );
          await broker.engine.trim(queue, to);
          model.startOffset = Math.max(model.startOffset, to);
          const first = (await broker.engine.entries(queue, to, 1))[0];
          model.batches = model.batches.filter(
            ({ baseOffset }) => baseOffset >= (first?.baseOffset ?? model.endOffset),
          );
        } else if (dice === 15) {
          await broker.service.close();
          broker.restartService();
        } else if (dice === 16) {
          await broker.clock.advance(deleteRetentionMs);
        } else {
          if ((await broker.service.runOnce()) > 0) {
            passes += 1;
            const { firstDirtyOffset } = (await checkpoints.get(queue))!;
            // What an open transaction wrote supersedes nothing yet.
            expect(firstDirtyOffset).toBeLessThanOrEqual(
              model.stable.lastStableOffset(queue, model.endOffset),
            );
            model.pass(firstDirtyOffset, broker.clock.nowMs());
          }
          const { records, markers } = await broker.read('t');
          // The first batch may hold records from before the start, which nobody asks for.
          const visible = ({ offset }: LiveRecord) => offset >= model.startOffset;
          expect(records.filter(visible)).toEqual(model.records.filter(visible));
          // A marker stays as long as a committed batch that it ends.
          for (const { live, transaction } of model.batches) {
            if (transaction?.result !== 'commit' || live.length === 0) continue;
            expect(markers.some((offset) => offset > live.at(-1)!.offset)).toBe(true);
          }
          const bounds = await broker.engine.bounds(queue);
          expect(bounds).toEqual({ startOffset: model.startOffset, visibleEndOffset: model.endOffset });
        }
      }
      // Left alone, everything that may go goes: markers of nothing, tombstones, all but the newest.
      for (const each of model.transactions) if (each.result === 'open') each.result = 'commit';
      for (let round = 0; round < 200; round++) {
        await broker.clock.advance(deleteRetentionMs + 10);
        const cleaned = await broker.service.runOnce();
        passes += cleaned;
        if (cleaned === 0 && round > 5) break;
      }
      expect(passes).toBeGreaterThan(0);
      const records = (await broker.read('t')).records.filter(({ offset }) => offset >= model.startOffset);
      expect(records.every(({ key, value }) => key !== null && value !== null)).toBe(true);
      expect(new Set(records.map(({ key }) => key)).size).toBe(records.length);
      await broker.close();
    },
  );
});

function index64(random: (below: number) => number): number {
  return random(10) === 0 ? -random(1_000_000) : random(5);
}
