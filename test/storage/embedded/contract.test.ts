import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import { NodeFileSystem } from '../../../src/storage/embedded/node-file-system.ts';
import type { EmbeddedSettings } from '../../../src/storage/embedded/settings.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { describeEngineContract, type EngineUnderTest } from '../engine-contract.ts';
import { testPayloadFormat } from '../test-payload.ts';
import { smallSettings } from './small-settings.ts';

interface Variant {
  readonly stampOffsets?: boolean;
  readonly settings?: Partial<EmbeddedSettings>;
}

async function onSimulatedDisk(
  variant: Variant,
  disk = new SimulatedDisk({ seed: 1 }),
): Promise<EngineUnderTest> {
  const engine = await openEmbeddedEngine({
    directory: '/data',
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: disk,
    ...variant,
  });
  return {
    engine,
    async reopen() {
      await engine.close();
      return onSimulatedDisk(variant, disk);
    },
    killAndReopen: () => onSimulatedDisk(variant, disk.crash('kill', 2)),
    holdFlushes: () => disk.holdSyncs(),
    dispose: () => engine.close(),
  };
}

async function onRealDisk(directory: string): Promise<EngineUnderTest> {
  const engine = await openEmbeddedEngine({
    directory,
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: new NodeFileSystem(),
  });
  return {
    engine,
    async reopen() {
      await engine.close();
      return onRealDisk(directory);
    },
    async dispose() {
      await engine.close();
      await rm(directory, { recursive: true });
    },
  };
}

const everything = { reopen: true, killAndReopen: true, holdFlushes: true, rewrite: true };

describeEngineContract('embedded, on a simulated disk', everything, () => onSimulatedDisk({}));
describeEngineContract('embedded, payloads without offsets', everything, () =>
  onSimulatedDisk({ stampOffsets: false }),
);
describeEngineContract('embedded, everything small', everything, () =>
  onSimulatedDisk({ settings: smallSettings }),
);
describeEngineContract(
  'embedded, on this disk',
  { reopen: true, killAndReopen: false, holdFlushes: false, rewrite: true },
  async () => onRealDisk(await mkdtemp(join(tmpdir(), 'odradek-'))),
);
