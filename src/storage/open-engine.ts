/** Picks the storage engine by its kind. */

import { type EmbeddedEngineOptions, openEmbeddedEngine } from './embedded/embedded-engine.ts';
import type { StorageEngine } from './engine.ts';
import { type MemoryEngineOptions, openMemoryEngine } from './memory/memory-engine.ts';

export type EngineOptions =
  | ({ readonly kind: 'memory' } & MemoryEngineOptions)
  | ({ readonly kind: 'embedded' } & EmbeddedEngineOptions);

export async function openEngine(options: EngineOptions): Promise<StorageEngine> {
  return options.kind === 'memory' ? openMemoryEngine(options) : openEmbeddedEngine(options);
}
