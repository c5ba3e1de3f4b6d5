/** OFFSETS_COMPACTION_KILLS=200 npx vitest run test/crash/offsets-compaction.test.ts: the long form. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BundledBroker, bundleBroker } from './bundled-broker.ts';
import { runOffsetsCompaction } from './offsets-compaction.ts';

const kills = Number(process.env['OFFSETS_COMPACTION_KILLS'] ?? 5);

describe('a broker that is killed while it compacts committed offsets', () => {
  let broker: BundledBroker;
  let dataDirectory: string;

  beforeAll(async () => {
    broker = await bundleBroker(resolve(import.meta.dirname, '../..'));
    dataDirectory = await mkdtemp(join(tmpdir(), 'offsets-'));
  });

  afterAll(async () => {
    await broker?.remove();
    await rm(dataDirectory, { recursive: true });
  });

  test('keeps the newest of every key where it was', { timeout: 60_000 + kills * 12_000 }, async () => {
    const lines: string[] = [];
    const result = await runOffsetsCompaction({
      program: broker.program,
      dataDirectory,
      kills,
      runMs: (kill) => 900 + ((kill * 379) % 800),
      leastCommits: 1800,
      groups: 20,
      partitions: 30,
      report: (line) => lines.push(line),
    });
    const said = lines.join('\n');
    expect(result.failures, said).toEqual([]);
    // It was compacted: most of what was ever written is gone.
    expect(result.endOffset, said).toBeGreaterThan(result.records * 2);
    if (kills > 5) console.log(JSON.stringify(result));
  });
});
