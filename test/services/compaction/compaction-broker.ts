/** Compaction on an engine with a catalogue of topics and a clock that stands still. */

import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import {
  batchBaseOffset,
  batchIsControl,
  batchMaxTimestamp,
  batchRecordCount,
  batchSizeBytes,
  isBatchIntact,
  isBatchStamped,
  stampBatch,
} from '../../../protocol/records/record-batch.ts';
import { type BatchOptions, buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { largestTimeOf } from '../../../src/services/compaction/batch-time.ts';
import { CompactionService } from '../../../src/services/compaction/compaction-service.ts';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { DynamicBrokerConfig } from '../../../src/services/configuration/dynamic-broker-config.ts';
import { everythingStable, type StableOffsets } from '../../../src/services/fetch/stable-offsets.ts';
import { TopicCatalogue } from '../../../src/services/topics/topic-catalogue.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { PayloadFormat, StorageEngine } from '../../../src/storage/engine.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { type Log, silentLog } from '../../../src/util/log.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { seededBytes } from '../../handlers/admin-broker.ts';
import { smallSettings } from '../../storage/embedded/small-settings.ts';

export const recordBatches: PayloadFormat = {
  stamp: stampBatch,
  isStamped: isBatchStamped,
  isIntact: isBatchIntact,
  largestTimestampMs: largestTimeOf,
};

export interface LiveRecord {
  readonly offset: number;
  readonly key: string | null;
  readonly value: string | null;
}

export interface BrokerParts {
  readonly engine: StorageEngine;
  readonly clock: VirtualClock;
}

export function onMemory(): Promise<BrokerParts> {
  const clock = new VirtualClock();
  return Promise.resolve({ clock, engine: openMemoryEngine({ clock, payloadFormat: recordBatches }) });
}

export async function onEmbedded(): Promise<BrokerParts> {
  const clock = new VirtualClock();
  const engine = await openEmbeddedEngine({
    directory: '/data',
    payloadFormat: recordBatches,
    crc32c,
    clock,
    fileSystem: new SimulatedDisk({ seed: 1 }),
    settings: smallSettings,
  });
  return { clock, engine };
}

export class CompactionBroker {
  readonly clock: VirtualClock;
  readonly engine: StorageEngine;
  readonly config: BrokerConfig;
  readonly dynamic: DynamicBrokerConfig;
  readonly topics: TopicCatalogue;
  readonly stable: StableOffsets;
  readonly log: Log;
  service: CompactionService;

  constructor(
    parts: BrokerParts,
    given: Record<string, string> = {},
    stable: StableOffsets = everythingStable,
    log: Log = silentLog,
  ) {
    this.clock = parts.clock;
    this.engine = parts.engine;
    this.config = new BrokerConfig(new Map(Object.entries(given)));
    this.dynamic = new DynamicBrokerConfig(this.engine.catalogue, this.config);
    this.topics = new TopicCatalogue({
      catalogue: this.engine.catalogue,
      config: this.config,
      randomBytes: seededBytes(),
    });
    this.stable = stable;
    this.log = log;
    this.service = this.newService();
  }

  /** As after a start: what is remembered is what the engine keeps. */
  restartService(): void {
    this.service = this.newService();
  }

  async create(name: string, overrides: Record<string, string> = {}, partitions = 1): Promise<void> {
    const own = new Map(Object.entries({ 'cleanup.policy': 'compact', ...overrides }));
    const [outcome] = await this.topics.create(
      [{ name, partitions, replicationFactor: 1, assignments: [], overrides: own }],
      false,
    );
    if (outcome === undefined || 'error' in outcome) throw new Error(JSON.stringify(outcome));
  }

  queue(name: string, partition = 0): number {
    return this.topics.get(name)!.partitions[partition]!.queue;
  }

  /** One batch: `a=1 b=2 a` are a value each for a and b, then a tombstone for a. Returns its base offset. */
  async append(
    name: string,
    text: string,
    options: BatchOptions & { partition?: number } = {},
  ): Promise<number> {
    const records = text.split(' ').map((each) => {
      const [key, value] = each.split('=');
      return {
        key: key === '' ? null : Buffer.from(key!),
        value: value === undefined ? null : Buffer.from(value),
        timestamp: this.clock.nowMs(),
      };
    });
    return this.appendBatch(name, buildRecordBatch(records, options), options.partition ?? 0);
  }

  async appendBatch(name: string, payload: Buffer, partition = 0): Promise<number> {
    const [result] = await this.engine.append({
      durability: 'async',
      entries: [
        {
          queue: this.queue(name, partition),
          kind: batchIsControl(payload, 0) ? 'marker' : 'data',
          count: batchRecordCount(payload, 0),
          maxTimestampMs: Number(batchMaxTimestamp(payload, 0)),
          payload,
        },
      ],
    });
    if (result?.outcome !== 'appended') throw new Error(JSON.stringify(result));
    return result.baseOffset;
  }

  /** Every record of data that a consumer from the beginning gets, and the base offsets of markers. */
  async read(
    name: string,
    partition = 0,
  ): Promise<{ records: LiveRecord[]; markers: number[]; batches: number[] }> {
    const queue = this.queue(name, partition);
    const bounds = (await this.engine.bounds(queue))!;
    const records: LiveRecord[] = [];
    const markers: number[] = [];
    const batches: number[] = [];
    for (let offset = bounds.startOffset; offset < bounds.visibleEndOffset; ) {
      const read = await this.engine.read(queue, { fromOffset: offset, maxBytes: 1 << 16, atLeastOne: true });
      if (read.outcome !== 'read') throw new Error(JSON.stringify(read));
      for (const payload of read.payloads) {
        for (let at = 0; at < payload.length; at += batchSizeBytes(payload, at)) {
          const one = payload.subarray(at, at + batchSizeBytes(payload, at));
          if (!isBatchIntact(one, 0, one.length)) throw new Error(`the batch at ${offset} is damaged`);
          batches.push(Number(batchBaseOffset(one, 0)));
          if (batchIsControl(one, 0)) markers.push(Number(batchBaseOffset(one, 0)));
          else {
            for (const { offset: at, key, value } of decodeRecords(one, 0)) {
              records.push({
                offset: Number(at),
                key: key?.toString() ?? null,
                value: value?.toString() ?? null,
              });
            }
          }
        }
      }
      read.release();
      if (read.nextOffset <= offset) throw new Error(`a reader at ${offset} gets no further`);
      offset = read.nextOffset;
    }
    return { records, markers, batches };
  }

  /** `0:a=1 2:b` */
  async shown(name: string, partition = 0): Promise<string> {
    const { records } = await this.read(name, partition);
    return records
      .map(({ offset, key, value }) => `${offset}:${key ?? ''}${value === null ? '' : `=${value}`}`)
      .join(' ');
  }

  async close(): Promise<void> {
    await this.service.close();
    this.topics.close();
    this.dynamic.close();
    await this.engine.close();
  }

  private newService(): CompactionService {
    const { engine, topics, config, clock, log, stable } = this;
    return new CompactionService({ engine, topics, config, clock, log, stableOffsets: stable });
  }
}
