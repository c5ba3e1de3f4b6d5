import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { type BackupOptions, BackupRefusedError, type BackupSource } from '../../../src/storage/backup.ts';
import { type BackupVerdict, verifyBackup } from '../../../src/storage/embedded/backup-verify.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { StorageEngine } from '../../../src/storage/engine.ts';
import { type CrashPolicy, SimulatedDisk, seededRandom } from '../../fakes/simulated-disk.ts';
import { makePayload, parsePayloads, testPayloadFormat } from '../test-payload.ts';
import { smallSettings } from './small-settings.ts';

type Engine = StorageEngine & BackupSource;
const queues = [1, 2, 3, 4, 5];
const producerId = 77;

function open(disk: SimulatedDisk, directory = '/data'): Promise<Engine> {
  return openEmbeddedEngine({
    directory,
    fileSystem: disk,
    payloadFormat: testPayloadFormat,
    crc32c,
    settings: smallSettings,
  });
}

function verify(disk: SimulatedDisk, directory = '/backup'): Promise<BackupVerdict> {
  return verifyBackup({ fileSystem: disk, directory, crc32c, payloadFormat: testPayloadFormat });
}

const plain: BackupOptions = { destination: '/backup', mayLink: true };

/** Appends to an engine with an idempotent producer on queue 1 and index rows beside, and remembers what was acknowledged. */
class Writer {
  readonly acknowledged = new Map<number, string[]>(queues.map((queue) => [queue, []]));
  readonly asked = new Map<number, string[]>(queues.map((queue) => [queue, []]));
  private readonly engine: Engine;
  private readonly random: () => number;
  private number = 0;
  private sequence = 0;

  constructor(engine: Engine, seed: number) {
    this.engine = engine;
    this.random = seededRandom(seed);
  }

  async begin(): Promise<void> {
    await this.engine.catalogue.update({
      changes: [{ key: 'topics', value: Buffer.from('five') }],
      createQueues: queues,
    });
  }

  append(): Promise<void> {
    const queue = queues[Math.floor(this.random() * queues.length)]!;
    const number = ++this.number;
    const body = `entry ${number}`;
    this.asked.get(queue)!.push(body);
    const sequence = this.sequence;
    if (queue === 1) this.sequence++;
    return this.engine
      .append({
        durability: this.random() < 0.5 ? 'sync' : 'async',
        entries: [
          {
            queue,
            kind: 'data',
            count: 1,
            maxTimestampMs: number,
            payload: makePayload(1, body, 100 + Math.floor(this.random() * 300)),
            ...(queue === 1
              ? {
                  producer: {
                    countsForQueue: 1,
                    producerId,
                    producerEpoch: 0,
                    firstSequence: sequence,
                    lastSequence: sequence,
                    isTransactional: false,
                  },
                }
              : {}),
          },
        ],
        changes: [{ index: 'rows', key: Buffer.from(`row ${number % 50}`), value: Buffer.from(body) }],
      })
      .then(([result]) => {
        if (result!.outcome === 'appended') this.acknowledged.get(queue)!.push(body);
      });
  }

  async appendMany(count: number): Promise<void> {
    const answers: Promise<void>[] = [];
    for (let at = 0; at < count; at++) {
      answers.push(this.append());
      await this.engine.appendRoom();
      if (at % 7 === 0) await new Promise<void>((turn) => setImmediate(turn));
    }
    await Promise.all(answers);
  }
}

async function bodiesOf(engine: Engine, queue: number): Promise<string[]> {
  const bodies: string[] = [];
  const bounds = (await engine.bounds(queue))!;
  for (let offset = bounds.startOffset; offset < bounds.visibleEndOffset; ) {
    const result = await engine.read(queue, { fromOffset: offset, maxBytes: 10_000, atLeastOne: true });
    if (result.outcome !== 'read') throw new Error(`queue ${queue} at ${offset}: ${result.outcome}`);
    for (const payload of parsePayloads(result.payloads)) {
      expect(payload.baseOffset).toBe(offset);
      bodies.push(payload.body);
      offset++;
    }
    expect(offset).toBe(result.nextOffset);
    result.release();
  }
  return bodies;
}

/** What the backup holds is a beginning of what was asked, and all of what was acknowledged before it was begun. */
async function expectPrefix(
  backup: Engine,
  writer: Writer,
  before: ReadonlyMap<number, number>,
  start = new Map<number, number>(),
): Promise<void> {
  let rows = 0;
  for (const queue of queues) {
    const bodies = await bodiesOf(backup, queue);
    const from = start.get(queue) ?? 0;
    expect(bodies).toEqual(writer.asked.get(queue)!.slice(from, from + bodies.length));
    expect(from + bodies.length).toBeGreaterThanOrEqual(before.get(queue)!);
    rows += from + bodies.length;
  }
  // One position for all: the newest index row is that of the newest entry.
  const found = await backup.index('rows').range({ limit: 100 });
  const newest = Math.max(0, ...found.map(({ value }) => Number(value.toString().slice('entry '.length))));
  expect(newest).toBe(rows);
  expect(backup.catalogue.get('topics')?.value.toString()).toBe('five');
  const ofProducer = backup.producers(1)[0];
  expect(ofProducer?.lastSequence ?? -1).toBe((await backup.bounds(1))!.visibleEndOffset - 1);
}

/** Waits until nothing asks the disk any more: what was sealed is merged, what was dead is gone. */
async function atRest(disk: SimulatedDisk): Promise<void> {
  for (let calls = -1, turns = 0; turns < 20; turns++) {
    if (disk.calls !== calls) turns = 0;
    ({ calls } = disk);
    await new Promise<void>((turn) => setImmediate(turn));
  }
}

function acknowledgedNow(writer: Writer): Map<number, number> {
  return new Map([...writer.acknowledged].map(([queue, bodies]) => [queue, bodies.length]));
}

describe('a backup of a running engine', () => {
  test.each([{ mayLink: true }, { mayLink: false }])(
    'holds everything acknowledged before it, at one place of the log (%o)',
    async ({ mayLink }) => {
      const disk = new SimulatedDisk({ seed: 1 });
      const engine = await open(disk);
      const writer = new Writer(engine, 2);
      await writer.begin();
      await writer.appendMany(900);
      const before = acknowledgedNow(writer);
      const load = writer.appendMany(600);
      const report = await engine.backup({ ...plain, mayLink });
      await load;
      expect(report.linkedFiles > 0).toBe(mayLink);
      expect((await verify(disk)).faults).toEqual([]);
      const storageId = engine.storageId;
      expect(report.storageId).toBe(storageId);

      // While the first goes on.
      const restored = await open(disk, '/backup');
      expect(restored.storageId).toBe(storageId);
      expect(restored.epoch).toBe(engine.epoch + 1);
      await expectPrefix(restored, writer, before);
      const copied = await bodiesOf(restored, 2);
      const continued = new Writer(restored, 3);
      await continued.append().catch(() => {});
      await writer.appendMany(300);
      await restored.close();
      for (const queue of queues) expect(await bodiesOf(engine, queue)).toEqual(writer.asked.get(queue));
      await engine.close();

      const again = await open(disk, '/backup');
      expect((await bodiesOf(again, 2)).slice(0, copied.length)).toEqual(copied);
      await again.close();
      const original = await open(disk);
      for (const queue of queues) expect(await bodiesOf(original, queue)).toEqual(writer.asked.get(queue));
      await original.close();
    },
  );

  test('copies where the volume cannot link', async () => {
    const disk = new SimulatedDisk({ seed: 4 });
    const engine = await open(disk);
    const writer = new Writer(engine, 5);
    await writer.begin();
    await writer.appendMany(400);
    let links = 0;
    disk.fault = ({ name }) => {
      if (name !== 'link') return undefined;
      links++;
      return { kind: 'error', code: 'EXDEV' };
    };
    const report = await engine.backup(plain);
    disk.fault = undefined;
    expect(links).toBe(1);
    expect(report).toMatchObject({ linkedFiles: 0, copiedBytes: report.sizeBytes });
    await engine.close();
    expect((await verify(disk)).faults).toEqual([]);
    const restored = await open(disk, '/backup');
    await expectPrefix(restored, writer, acknowledgedNow(writer));
    await restored.close();
  });

  test('keeps what retention and merges remove meanwhile until it has it', async () => {
    const disk = new SimulatedDisk({ seed: 6 });
    const engine = await open(disk);
    const writer = new Writer(engine, 7);
    await writer.begin();
    await writer.appendMany(900);
    const before = acknowledgedNow(writer);
    const files = disk.files().filter((path) => path.startsWith('/data/'));
    // The backup stands still before its first file, until everything old was trimmed and more was written.
    let goOn: () => void = () => {};
    let stands: () => void = () => {};
    const standing = new Promise<void>((resolve) => {
      stands = resolve;
    });
    const until = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    disk.fault = ({ name }) => {
      if (name !== 'link') return undefined;
      disk.fault = undefined;
      stands();
      return { kind: 'wait', until };
    };
    const backup = engine.backup(plain);
    await standing;
    for (const back of [3, 2, 1]) {
      for (const queue of queues) await engine.trim(queue, before.get(queue)! - back);
      await writer.appendMany(200);
      await atRest(disk);
    }
    const kept = disk.files();
    goOn();
    await backup;
    const logs = files.filter((path) => path.endsWith('.log'));
    expect(logs.every((path) => kept.includes(path))).toBe(true);
    await engine.close();
    expect(logs.every((path) => disk.files().includes(path))).toBe(false);
    expect((await verify(disk)).faults).toEqual([]);
    const restored = await open(disk, '/backup');
    await expectPrefix(restored, writer, before);
    await restored.close();
  });

  test('takes what the cleaner wrote, while it writes', async () => {
    for (const mayLink of [true, false]) {
      const disk = new SimulatedDisk({ seed: 21 });
      const engine = await open(disk);
      const writer = new Writer(engine, 22);
      await writer.begin();
      await writer.appendMany(700);
      const ends = await Promise.all(
        queues.map(async (queue) => (await engine.bounds(queue))!.visibleEndOffset),
      );
      // Keeps every third entry of queue 2 and all of the others.
      const rewrite = (): Promise<unknown> =>
        engine.rewrite([
          {
            queue: 2,
            untilOffset: ends[1]!,
            decide: (_payload, { baseOffset }) => (baseOffset % 3 === 0 ? 'keep' : 'drop'),
          },
        ]);
      await rewrite();
      expect(disk.files().some((path) => path >= '/data/commitlog/0001' && path < '/data/commitlog/~')).toBe(
        true,
      );
      await writer.appendMany(300);
      const [report] = await Promise.all([
        engine.backup({ ...plain, mayLink }),
        rewrite(),
        writer.appendMany(200),
      ]);
      expect(report.linkedFiles > 0).toBe(mayLink);
      expect((await verify(disk)).faults).toEqual([]);
      const restored = await open(disk, '/backup');
      const read = async (from: Engine): Promise<string[]> => {
        const bodies: string[] = [];
        const { startOffset } = (await from.bounds(2))!;
        for (let offset = startOffset; offset < ends[1]!; ) {
          const result = await from.read(2, { fromOffset: offset, maxBytes: 10_000, atLeastOne: true });
          if (result.outcome !== 'read') throw new Error(result.outcome);
          for (const { body, baseOffset } of parsePayloads(result.payloads)) {
            if (baseOffset < ends[1]!) bodies.push(`${baseOffset} ${body}`);
          }
          offset = result.nextOffset;
          result.release();
        }
        return bodies;
      };
      const kept = await read(restored);
      expect(kept.length).toBeLessThan(ends[1]! / 2);
      expect(kept).toEqual(await read(engine));
      for (const queue of [1, 3, 4, 5]) {
        const bodies = await bodiesOf(restored, queue);
        expect(bodies).toEqual(writer.asked.get(queue)!.slice(0, bodies.length));
        expect(bodies.length).toBeGreaterThanOrEqual(ends[queues.indexOf(queue)]!);
      }
      await restored.close();
      await engine.close();
    }
  }, 60_000);

  test('does not stand in the way of appends', async () => {
    const disk = new SimulatedDisk({ seed: 8 });
    const engine = await open(disk);
    const writer = new Writer(engine, 9);
    await writer.begin();
    await writer.appendMany(300);
    let goOn: () => void = () => {};
    const until = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    disk.fault = ({ path }) => (path.startsWith('/backup/commitlog') ? { kind: 'wait', until } : undefined);
    const backup = engine.backup({ ...plain, mayLink: false });
    // Far more than the tables and segments that may wait for their files.
    await writer.appendMany(1500);
    goOn();
    await backup;
    await engine.close();
    expect((await verify(disk)).faults).toEqual([]);
  });

  test('of an engine without any entry can be opened', async () => {
    const disk = new SimulatedDisk({ seed: 10 });
    const engine = await open(disk);
    await engine.backup(plain);
    await engine.close();
    expect((await verify(disk)).faults).toEqual([]);
    const restored = await open(disk, '/backup');
    expect(restored.catalogue.version).toBe(0);
    await restored.close();
  });
});

describe('a backup that is refused or given up', () => {
  test('refuses what is not an empty directory of its own', async () => {
    const disk = new SimulatedDisk({ seed: 11 });
    await disk.mkdir('/full');
    await (await disk.open('/full/file', 'create')).close();
    await disk.mkdir('/empty/lost+found');
    const engine = await open(disk);
    const refused = async (destination: string): Promise<string> => {
      const error = await engine.backup({ destination, mayLink: true }).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(BackupRefusedError);
      return (error as Error).message;
    };
    expect(await refused('/full')).toMatch('is not empty');
    expect(await refused('/full/file')).toMatch('is not a directory');
    expect(await refused('/data')).toMatch('in one another');
    expect(await refused('/data/backup')).toMatch('in one another');
    expect(await refused('/')).toMatch('in one another');
    await engine.backup({ destination: '/empty', mayLink: true });
    expect(await refused('/empty')).toMatch('is not empty');
    const first = engine.backup(plain);
    await expect(engine.backup({ destination: '/second', mayLink: true })).rejects.toThrow('one at a time');
    await first;
    await engine.close();
    await expect(engine.backup({ destination: '/late', mayLink: true })).rejects.toThrow('stopping');
  });

  test('leaves nothing where the disk fails, and the engine goes on', async () => {
    const disk = new SimulatedDisk({ seed: 12 });
    const engine = await open(disk);
    const writer = new Writer(engine, 13);
    await writer.begin();
    await writer.appendMany(300);
    for (const [name, code] of [
      ['write', 'ENOSPC'],
      ['datasync', 'EIO'],
      ['syncDirectory', 'EIO'],
    ] as const) {
      disk.fault = (call) =>
        call.name === name && call.path.startsWith('/backup/commitlog') ? { kind: 'error', code } : undefined;
      await expect(engine.backup(plain)).rejects.toThrow();
      disk.fault = undefined;
      expect(disk.files().filter((path) => path.startsWith('/backup'))).toEqual([]);
    }
    await writer.appendMany(50);
    await engine.backup(plain);
    await engine.close();
    expect((await verify(disk)).faults).toEqual([]);
  });

  test('is given up when the engine closes or the asker goes', async () => {
    for (const way of ['close', 'abort'] as const) {
      const disk = new SimulatedDisk({ seed: 14 });
      const engine = await open(disk);
      const writer = new Writer(engine, 15);
      await writer.begin();
      await writer.appendMany(300);
      const asker = new AbortController();
      const gone = engine.backup({ ...plain, signal: asker.signal }).catch((error: unknown) => error);
      if (way === 'abort') asker.abort();
      const closed = way === 'close' ? engine.close() : undefined;
      expect(await gone).toBeInstanceOf(BackupRefusedError);
      expect(disk.files().filter((path) => path.startsWith('/backup'))).toEqual([]);
      await closed;
      await engine.close();
    }
  });

  test('cut off at any call is never taken for a whole one, and the engine starts with all it acknowledged', async () => {
    const policies: readonly CrashPolicy[] = ['none', 'all', 'prefix', 'subset', 'kill'];
    const prepare = async (crashAt: number) => {
      const disk = new SimulatedDisk({ seed: 16 });
      const engine = await open(disk);
      const writer = new Writer(engine, 17);
      await writer.begin();
      await writer.appendMany(120);
      const before = acknowledgedNow(writer);
      const first = disk.calls + 1;
      disk.crashAtCall = first + crashAt;
      const done = await Promise.race([
        Promise.all([engine.backup(plain), writer.appendMany(30)]).then(() => true),
        disk.died.then(() => false),
      ]);
      return { disk, writer, before, done, calls: disk.calls - first };
    };
    const { done, calls } = await prepare(Number.POSITIVE_INFINITY);
    expect(done).toBe(true);
    let whole = 0;
    let refused = 0;
    for (let at = 0; at <= calls; at += 1 + Math.floor(calls / 90)) {
      const { disk, writer, before } = await prepare(at);
      const policy = policies[at % policies.length]!;
      const left = disk.crash(policy, at);
      const { faults } = await verify(left);
      const files = left.files().filter((path) => path.startsWith('/backup/'));
      if (files.length > 0) {
        const restored = await open(left, '/backup').catch((error: Error) => error);
        if (restored instanceof Error) {
          expect(restored.name).toBe('DataLossError');
          expect(faults.length).toBeGreaterThan(0);
          refused++;
        } else {
          await expectPrefix(restored, writer, before);
          await restored.close();
          // Cut off between the manifest's two copies.
          expect(faults.filter((fault) => fault !== '/backup/MANIFEST is missing')).toEqual([]);
          whole++;
        }
      } else {
        expect(faults.length).toBeGreaterThan(0);
      }
      const source = await open(left);
      for (const queue of queues) {
        const bodies = await bodiesOf(source, queue);
        expect(bodies).toEqual(writer.asked.get(queue)!.slice(0, bodies.length));
        expect(bodies.length).toBeGreaterThanOrEqual(before.get(queue)!);
      }
      await source.close();
    }
    expect(whole).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(20);
  }, 60_000);
});

describe('the verification', () => {
  test('finds damage in every file, and what is missing', async () => {
    const disk = new SimulatedDisk({ seed: 18 });
    const engine = await open(disk);
    const writer = new Writer(engine, 19);
    await writer.begin();
    await writer.appendMany(250);
    await engine.backup({ ...plain, mayLink: false });
    // Of the links too: of what is not listed with a checksum of its own.
    await engine.backup({ destination: '/linked', mayLink: true });
    await engine.close();
    for (const directory of ['/backup', '/linked']) {
      expect((await verify(disk, directory)).faults).toEqual([]);
      for (const path of disk.files().filter((name) => name.startsWith(`${directory}/`))) {
        if (path.endsWith('/lock') || disk.contents(path).length === 0) continue;
        const middle = disk.contents(path).length >> 1;
        const flip = (bytes: Buffer): void => {
          bytes[middle]! ^= 0x10;
          // The first may lie between two entries, where nothing stands.
          if (middle + 8 < bytes.length) bytes[middle + 8]! ^= 0x10;
        };
        disk.damage(path, flip);
        expect((await verify(disk, directory)).faults, path).not.toEqual([]);
        disk.damage(path, flip);
      }
      expect((await verify(disk, directory)).faults).toEqual([]);
    }
    const log = disk.files().find((path) => path.startsWith('/backup/commitlog/'))!;
    disk.cut(log, undefined);
    expect((await verify(disk)).faults.join()).toMatch('is missing');
    expect((await verify(disk, '/data')).faults.join()).toMatch('no backup');
  }, 60_000);

  test('says where a broker was started on the backup', async () => {
    const disk = new SimulatedDisk({ seed: 20 });
    const engine = await open(disk);
    await engine.backup(plain);
    await engine.close();
    await (await open(disk, '/backup')).close();
    expect((await verify(disk)).faults.join()).toMatch('was started');
  });
});
