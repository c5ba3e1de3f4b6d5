import type { EmbeddedSettings } from '../../../src/storage/embedded/settings.ts';

/** Everything happens early: rolls, seals, merges, evictions. */
export const smallSettings: Partial<EmbeddedSettings> = {
  segmentBytes: 16 * 1024,
  slabBytes: 4096,
  tailCacheBytes: 8192,
  readBlockBytes: 4096,
  blockCacheBytes: 16 * 1024,
  sealEntries: 20,
  sealBytes: 8 * 1024,
  maxPieces: 3,
  mergeWidth: 2,
  cleanBytesPerSecond: 2 ** 40,
  cleanMemoryBytes: 3000,
  cleanLeastBytes: 2048,
  cleanCheckIntervalMs: 50,
  cleanedCutBytes: 2048,
};
