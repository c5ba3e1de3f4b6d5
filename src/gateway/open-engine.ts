/** Opens the storage engine that the settings ask for. Only the engine in use is loaded. */
import { crc32c } from '../../protocol/records/crc32c.ts';
import { recordBatches } from '../record-batches.ts';
import type { StorageEngine } from '../storage/engine.ts';
import type { GatewayOptions } from './options.ts';
import { StartError } from './start-error.ts';

/** What engines call errors whose messages are for operators. */
const operatorErrors = new Set(['DirectoryInUseError', 'DataLossError', 'ManifestError']);

/** Rejects with StartError where an operator can do something about it. */
export async function openEngine({ config, clock, log }: GatewayOptions): Promise<StorageEngine> {
  const settings = config.broker;
  const producerLimits = {
    maxProducers: settings.int('rmq.producers.max'),
    expirationMs: settings.int('producer.id.expiration.ms'),
  };
  if (config.memory) {
    // Only the engine in use is loaded.
    const { openMemoryEngine } = await import('../storage/memory/memory-engine.ts');
    return openMemoryEngine({ payloadFormat: recordBatches, clock, producerLimits });
  }
  const { openEmbeddedEngine } = await import('../storage/embedded/embedded-engine.ts');
  try {
    return await openEmbeddedEngine({
      directory: config.dataDirectory,
      payloadFormat: recordBatches,
      crc32c,
      clock,
      log,
      producerLimits,
      acceptLoss: settings.boolean('rmq.commitlog.accept.loss'),
      settings: {
        segmentBytes: settings.long('rmq.commitlog.segment.bytes'),
        tailCacheBytes: settings.long('rmq.cache.tail.bytes'),
        maxUnwrittenBytes: settings.long('rmq.commitlog.unwritten.max.bytes'),
        reserveBytes: settings.long('rmq.disk.reserve.bytes'),
        lowWaterBytes: settings.long('rmq.disk.free.min.bytes'),
        flushDirtyBytes: settings.int('rmq.flush.dirty.bytes'),
        flushIntervalMs: Math.min(settings.int('rmq.flush.interval.ms'), settings.flushMs),
        blockCacheBytes: settings.long('rmq.cache.read.bytes'),
        indexCacheBytes: settings.long('rmq.index.cache.bytes'),
      },
    });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (operatorErrors.has(error.name)) throw new StartError(error.message);
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    throw new StartError(`cannot open the data in ${config.dataDirectory}: ${error.message}`);
  }
}
