/** The cleaner of the embedded engine: rewrites and space, over crashes, faults and damage. */
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import { firstCleanedSegment } from '../../../src/storage/embedded/location.ts';
import { QueueSet } from '../../../src/storage/embedded/queue-set.ts';
import type { EmbeddedSettings } from '../../../src/storage/embedded/settings.ts';
import type { RewriteRequest, StorageEngine } from '../../../src/storage/engine.ts';
import { type CrashPolicy, SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { makePayload, parsePayloads, testPayloadFormat } from '../test-payload.ts';
import { CleaningScenario } from './cleaning-scenario.ts';
import { smallSettings } from './small-settings.ts';

const triesEverything = process.env.CRASH_STATES === 'all';
const timeout = 3_600_000;
const policies: readonly CrashPolicy[] = ['none', 'subset', 'prefix', 'all', 'kill'];

describe('rewrites, trims and space cleaning at random', () => {
  for (const seed of triesEverything ? Array.from({ length: 40 }, (_, at) => at) : [1, 2, 3, 4]) {
    test(`hold what the model holds, through restarts and kills, seed ${seed}`, { timeout }, async () => {
      const scenario = new CleaningScenario(new SimulatedDisk({ seed }), seed);
      await scenario.open();
      await scenario.fill();
      for (let round = 0; round < 8; round++) {
        await scenario.work(25);
        await scenario.idle();
        await scenario.judge();
        if (round % 2 === 0) await scenario.close();
        scenario.crash(round % 2 === 0 ? 'none' : 'kill', round);
        await scenario.open();
      }
      expect(scenario.failures).toEqual([]);
      const facts = scenario.engine!.spaceFacts();
      expect(facts.failures).toBe(0);
      await scenario.close();
    });
  }
});

describe('a power cut while the cleaner is at work', () => {
  const step = triesEverything ? 1 : 19;
  for (const seed of triesEverything ? [11, 12, 13, 14, 15, 16] : [11, 12]) {
    test(`at any call, seed ${seed}`, { timeout }, async () => {
      const whole = new CleaningScenario(new SimulatedDisk({ seed }), seed);
      await whole.open();
      await whole.fill();
      const filled = whole.disk.calls;
      await whole.work(15);
      await whole.idle();
      const wrong = [...whole.failures];
      for (let call = filled + 1; call <= whole.disk.calls && wrong.length < 5; call += step) {
        const policy = policies[call % policies.length]!;
        const scenario = new CleaningScenario(new SimulatedDisk({ seed }), seed);
        scenario.disk.crashAtCall = call;
        await scenario.open();
        await scenario.fill();
        await scenario.work(15);
        await scenario.idle();
        scenario.crash(policy, call);
        await scenario.open();
        await scenario.rewrite();
        await scenario.idle();
        await scenario.judge();
        scenario.crash('none', call);
        await scenario.open();
        wrong.push(...scenario.failures.map((failure) => `call ${call}, ${policy}: ${failure}`));
      }
      expect(wrong).toEqual([]);
    });
  }
});

describe('a failing disk under the cleaner', () => {
  for (const [name, code] of [
    ['write', 'ENOSPC'],
    ['write', 'EIO'],
    ['open', 'EMFILE'],
    ['open', 'EIO'],
    ['read', 'EIO'],
    ['datasync', 'EIO'],
    ['syncDirectory', 'EIO'],
    ['rename', 'EIO'],
    ['unlink', 'EIO'],
  ] as const) {
    test(`${name} fails once with ${code}`, { timeout }, async () => {
      const wrong: string[] = [];
      let strikes = 0;
      for (let number = 1; wrong.length < 5; number += triesEverything ? 1 : 11) {
        const scenario = new CleaningScenario(new SimulatedDisk({ seed: 21 }), 21);
        await scenario.open();
        await scenario.fill();
        let left = number;
        scenario.disk.fault = (call) =>
          call.name === name && --left === 0 ? { kind: 'error', name, code } : undefined;
        await scenario.work(15);
        await scenario.idle();
        scenario.crash('none', number);
        await scenario.open();
        await scenario.rewrite();
        await scenario.judge();
        wrong.push(...scenario.failures.map((failure) => `${name} ${number}: ${failure}`));
        if (left > 0) break;
        strikes++;
      }
      expect(wrong).toEqual([]);
      expect(strikes).toBeGreaterThan(0);
    });
  }
});

function open(
  disk: SimulatedDisk,
  settings: Partial<EmbeddedSettings> = smallSettings,
): Promise<StorageEngine> {
  return openEmbeddedEngine({
    directory: '/data',
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: disk,
    settings,
  });
}

async function put(engine: StorageEngine, queue: number, body: string, sizeBytes = 0): Promise<void> {
  await engine.append({
    durability: 'async',
    entries: [{ queue, kind: 'data', count: 1, maxTimestampMs: 1, payload: makePayload(1, body, sizeBytes) }],
  });
}

async function bodies(engine: StorageEngine, queue: number, fromOffset = 0): Promise<string[]> {
  const found: string[] = [];
  for (let offset = fromOffset; ; ) {
    const result = await engine.read(queue, { fromOffset: offset, maxBytes: 10_000, atLeastOne: true });
    if (result.outcome === 'damaged') {
      found.push(`damaged ${result.baseOffset}..${result.nextOffset}`);
      offset = result.nextOffset;
      continue;
    }
    if (result.outcome !== 'read') throw new Error(result.outcome);
    if (result.payloads.length === 0) return found;
    found.push(...parsePayloads(result.payloads).map((payload) => payload.body));
    offset = result.nextOffset;
    result.release();
  }
}

function dropping(queue: number, ...dropped: string[]): RewriteRequest {
  return {
    queue,
    untilOffset: Number.MAX_SAFE_INTEGER,
    decide: (payload) => (dropped.includes(parsePayloads([payload])[0]!.body) ? 'drop' : 'keep'),
  };
}

async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise<void>((resolve) => setTimeout(resolve, 5));
}

function segmentsOf(disk: SimulatedDisk): { head: string[]; cleaned: string[] } {
  const logs = disk.files().filter((path) => path.endsWith('.log'));
  const isCleaned = (path: string): boolean => Number(path.slice(-14, -4)) >= firstCleanedSegment;
  return { head: logs.filter((path) => !isCleaned(path)), cleaned: logs.filter(isCleaned) };
}

function logBytes(disk: SimulatedDisk): number {
  const { head, cleaned } = segmentsOf(disk);
  return [...head, ...cleaned].reduce((sum, path) => sum + disk.contents(path).length, 0);
}

describe('space', () => {
  test('that nobody counts is given back, without a new entry at the head', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk);
    await engine.catalogue.update({ changes: [], createQueues: [1, 2] });
    for (let at = 0; at < 200; at++) {
      await put(engine, 1, `long-lived ${at}`, 100);
      await put(engine, 2, `short-lived ${at}`, 900);
    }
    const before = logBytes(disk);
    await engine.trim(2, 190);
    await eventually(() => logBytes(disk) < before / 3);
    await eventually(() => engine.spaceFacts().reclaimableBytes < 3 * smallSettings.segmentBytes!);
    const facts = engine.spaceFacts();
    expect(facts.spacePasses).toBeGreaterThan(0);
    expect(facts.copiedBytes).toBeGreaterThan(0);
    expect(facts.copiedBytes).toBeLessThan(facts.appendedBytes);
    expect(segmentsOf(disk).cleaned.length).toBeGreaterThan(0);
    const expected = Array.from({ length: 200 }, (_, at) => `long-lived ${at}`);
    expect(await bodies(engine, 1)).toEqual(expected);
    expect((await bodies(engine, 2, 190)).length).toBe(10);
    await engine.close();
    const again = await open(disk);
    expect(await bodies(again, 1)).toEqual(expected);
    await again.close();
  });

  test('of a queue that is rewritten again and again does not grow, nor does the number of files', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk);
    await engine.catalogue.update({ changes: [], createQueues: [1, 2] });
    for (let round = 0; round < 40; round++) {
      for (let at = 0; at < 10; at++) await put(engine, 1, `${round}/${at}`, 200);
      await put(engine, 2, `other ${round}`);
      const old = Array.from({ length: 10 }, (_, at) => `${round - 1}/${at}`);
      await engine.rewrite([dropping(1, ...old)]);
    }
    await eventually(() => logBytes(disk) < 30_000);
    await eventually(() => disk.files().length < 25);
    expect(await bodies(engine, 1)).toEqual(Array.from({ length: 10 }, (_, at) => `39/${at}`));
    expect((await bodies(engine, 2)).length).toBe(40);
    await engine.close();
  });

  test('is not copied for what shares the log with a rewritten queue', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk, { ...smallSettings, cleanCheckIntervalMs: 1_000_000 });
    await engine.catalogue.update({ changes: [], createQueues: [1, 2] });
    for (let at = 0; at < 300; at++) {
      await put(engine, 1, `big ${at}`, 1000);
      if (at % 10 === 0) await put(engine, 2, `small ${at}`, 100);
    }
    await engine.rewrite([dropping(2, 'small 0')]);
    const { copiedBytes } = engine.spaceFacts();
    expect(copiedBytes).toBeLessThan(30 * 400);
    await engine.rewrite([dropping(2, 'small 10')]);
    expect(engine.spaceFacts().copiedBytes).toBeLessThan(60 * 400);
    await engine.close();
  });
});

describe('damage', () => {
  /** Flips a byte of the one entry whose payload holds the text: in its payload, or in its header. */
  function damage(disk: SimulatedDisk, text: string, where: 'payload' | 'header'): void {
    for (const path of disk.files().filter((file) => file.endsWith('.log'))) {
      disk.damage(path, (bytes) => {
        const at = bytes.indexOf(text);
        if (at >= 0) bytes[where === 'payload' ? at : at - 24 - 100]! ^= 1;
      });
    }
  }

  for (const where of ['payload', 'header'] as const) {
    test(`of a ${where} is carried along, readable as such, and through a lost index too`, async () => {
      const disk = new SimulatedDisk({ seed: 1 });
      const engine = await open(disk, { ...smallSettings, tailCacheBytes: 0, blockCacheBytes: 0 });
      await engine.catalogue.update({ changes: [], createQueues: [1, 2] });
      for (let at = 0; at < 30; at++) await put(engine, 1, `one${at}.`, 600);
      await engine.whenDurable();
      damage(disk, 'one7.', where);
      const seen: string[] = [];
      await engine.rewrite([
        {
          queue: 1,
          untilOffset: 1000,
          decide: (payload) => {
            const { body } = parsePayloads([payload])[0]!;
            seen.push(body);
            return body === 'one3.' ? 'drop' : 'keep';
          },
        },
      ]);
      expect(seen).not.toContain('one7.');
      const expected = Array.from({ length: 30 }, (_, at) => (at === 7 ? 'damaged 7..8' : `one${at}.`));
      expected.splice(3, 1);
      expect(await bodies(engine, 1)).toEqual(expected);
      expect(engine.spaceFacts().damagedEntries).toBe(1);
      await engine.rewrite([dropping(1, 'one4.')]);
      expected.splice(3, 1);
      expect(await bodies(engine, 1)).toEqual(expected);
      await engine.close();
      for (const path of disk.files()) if (path.endsWith('.run')) disk.damage(path, (bytes) => bytes.fill(7));
      const again = await open(disk);
      expect(await bodies(again, 1)).toEqual(expected);
      await again.close();
    });
  }

  test('of an index run brings nothing back that was rewritten away', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk);
    await engine.catalogue.update({ changes: [], createQueues: [1, 2, 3] });
    for (let at = 0; at < 60; at++) {
      for (const queue of [1, 2, 3]) await put(engine, queue, `${queue}/${at}`, 150);
    }
    await engine.rewrite([dropping(2, '2/0', '2/1', '2/2', '2/50')]);
    await engine.rewrite([dropping(2, '2/3'), dropping(3, '3/0')]);
    const before = [await bodies(engine, 1), await bodies(engine, 2), await bodies(engine, 3)];
    expect(before.map((one) => one.length)).toEqual([60, 55, 59]);
    await engine.close();
    for (const path of disk.files()) if (path.endsWith('.run')) disk.damage(path, (bytes) => bytes.fill(7));
    const again = await open(disk);
    expect([await bodies(again, 1), await bodies(again, 2), await bodies(again, 3)]).toEqual(before);
    await again.rewrite([dropping(1, '1/0')]);
    expect((await bodies(again, 1)).length).toBe(59);
    await again.close();
  });
});

describe('readers in flight', () => {
  test('find what the index told them before a rewrite took its place', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const engine = await open(disk, {
      ...smallSettings,
      tailCacheBytes: 0,
      blockCacheBytes: 0,
      maxReadsAtOnce: 64,
    });
    await engine.catalogue.update({ changes: [], createQueues: [1] });
    for (let at = 0; at < 100; at++) await put(engine, 1, `e${at}`, 500);
    await engine.rewrite([dropping(1, 'e0')]);
    let letGo: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    let isFirst = true;
    disk.latency = (call) => {
      if (call.name !== 'read' || !call.path.endsWith('.log') || !isFirst) return Promise.resolve();
      isFirst = false;
      return held;
    };
    const reading = Promise.resolve(engine.read(1, { fromOffset: 40, maxBytes: 1, atLeastOne: true }));
    await eventually(() => !isFirst);
    const files = segmentsOf(disk).cleaned;
    await engine.rewrite([dropping(1, 'e1', 'e40')]);
    expect(segmentsOf(disk).cleaned).toEqual(expect.arrayContaining(files));
    letGo();
    const result = await reading;
    if (result.outcome !== 'read') throw new Error(result.outcome);
    expect(parsePayloads(result.payloads)[0]?.body).toBe('e40');
    result.release();
    await eventually(() => !segmentsOf(disk).cleaned.some((path) => files.includes(path)));
    expect((await bodies(engine, 1, 40))[0]).toBe('e41');
    await engine.close();
  });
});

describe('a set of queues', () => {
  test('keeps neighbours as ranges', () => {
    const set = QueueSet.of([7, 5, 6, 10, 12]);
    expect(set.text).toBe('5-7,10,12');
    expect(set.plus([11, 4]).text).toBe('4-7,10-12');
    expect(QueueSet.parse('1-3').union(QueueSet.parse('2-9,20')).text).toBe('1-9,20');
    expect(QueueSet.parse(set.text).text).toBe(set.text);
    expect(QueueSet.parse(undefined).isEmpty).toBe(true);
    for (let queue = 0; queue < 15; queue++) expect(set.has(queue)).toBe([5, 6, 7, 10, 12].includes(queue));
    for (const text of ['x', '3-1', '1,1', '4,2', '1-', '1,,2'])
      expect(() => QueueSet.parse(text)).toThrow(RangeError);
  });
});
