import { describe, expect, test } from 'vitest';
import type { AppendResult, StorageEngine } from '../../src/storage/engine.ts';
import { openMemoryEngine } from '../../src/storage/memory/memory-engine.ts';
import { describeEngineContract, type EngineUnderTest } from './engine-contract.ts';
import { makePayload, testPayloadFormat } from './test-payload.ts';

async function open(stampOffsets: boolean): Promise<EngineUnderTest> {
  const engine = openMemoryEngine({ payloadFormat: testPayloadFormat, stampOffsets });
  return { engine, dispose: () => engine.close() };
}

const nothingKept = { reopen: false, killAndReopen: false, holdFlushes: false, rewrite: true };

describeEngineContract('memory', nothingKept, () => open(true));
describeEngineContract('memory, payloads without offsets', nothingKept, () => open(false));

describe('the memory engine', () => {
  const payloadBytes = 1000;

  async function append(
    engine: StorageEngine,
    queue: number,
    kind: 'data' | 'state' = 'data',
  ): Promise<AppendResult> {
    const payload = makePayload(1, 'x', payloadBytes);
    const results = await engine.append({
      durability: 'async',
      entries: [{ queue, kind, count: 1, maxTimestampMs: -1, payload }],
    });
    return results[0]!;
  }

  async function openWith(maxBytes: number, whenFull: 'trim' | 'refuse'): Promise<StorageEngine> {
    const engine = openMemoryEngine({ payloadFormat: testPayloadFormat, maxBytes, whenFull });
    await engine.catalogue.update({ changes: [], createQueues: [1, 2] });
    return engine;
  }

  test('trims the oldest data of all queues when it is full, never state', async () => {
    const engine = await openWith(20_000, 'trim');
    for (let at = 0; at < 3; at++) await append(engine, 2, 'state');
    for (let at = 0; at < 100; at++) {
      expect((await append(engine, 1 + (at % 2))).outcome).toBe('appended');
      expect(engine.sizes().totalBytes).toBeLessThanOrEqual(20_000);
    }
    const first = await engine.bounds(1);
    expect(first!.visibleEndOffset).toBe(50);
    expect(first!.startOffset).toBeGreaterThan(40);
    expect(first!.startOffset).toBeLessThan(50);
    expect(await engine.sizeBytes(1)).toBe((50 - first!.startOffset) * payloadBytes);
  });

  test('refuses when it is full, if told to', async () => {
    const engine = await openWith(20_000, 'refuse');
    const outcomes: string[] = [];
    for (let at = 0; at < 30; at++) outcomes.push((await append(engine, 1)).outcome);
    expect(outcomes.indexOf('refused')).toBeGreaterThan(10);
    expect(outcomes.lastIndexOf('appended')).toBe(outcomes.indexOf('refused') - 1);
    expect((await engine.bounds(1))!.startOffset).toBe(0);
    await engine.trim(1, 10);
    expect((await append(engine, 1)).outcome).toBe('appended');
  });

  test('refuses what it could not hold after trimming everything, and trims nothing for it', async () => {
    const engine = await openWith(20_000, 'trim');
    await append(engine, 1);
    const results = await engine.append({
      durability: 'async',
      entries: [
        { queue: 1, kind: 'data', count: 1, maxTimestampMs: -1, payload: makePayload(1, 'x', 30_000) },
      ],
    });
    expect(results).toEqual([{ outcome: 'refused', reason: 'storage-fault' }]);
    expect(await engine.bounds(1)).toEqual({ startOffset: 0, visibleEndOffset: 1 });
  });

  test('counts index rows and gives their bytes back', async () => {
    const engine = await openWith(20_000, 'trim');
    const before = engine.sizes().totalBytes;
    const key = Buffer.from('key');
    const change = (value: Buffer | null): Promise<readonly AppendResult[]> =>
      engine.append({ durability: 'async', entries: [], changes: [{ index: 'i', key, value }] });
    await change(Buffer.alloc(5000));
    await change(Buffer.alloc(6000));
    expect(engine.sizes().totalBytes).toBeGreaterThan(before + 6000);
    expect(engine.sizes().totalBytes).toBeLessThan(before + 7000);
    expect(await change(Buffer.alloc(30_000))).toEqual([{ outcome: 'refused', reason: 'storage-fault' }]);
    await change(null);
    expect(engine.sizes().totalBytes).toBe(before);
  });

  test('a released read of unstamped payloads is overwritten, so that a use after it shows', async () => {
    const engine = openMemoryEngine({ payloadFormat: testPayloadFormat, stampOffsets: false });
    await engine.catalogue.update({ changes: [], createQueues: [1] });
    await append(engine, 1);
    const result = await engine.read(1, { fromOffset: 0, maxBytes: 10_000, atLeastOne: true });
    if (result.outcome !== 'read') throw new Error('not read');
    expect(testPayloadFormat.isIntact(result.payloads[0]!, 0, payloadBytes)).toBe(true);
    result.release();
    expect(testPayloadFormat.isIntact(result.payloads[0]!, 0, payloadBytes)).toBe(false);
    expect(() => result.release()).toThrow('released once');
  });
});
