/** `odradek log` on a real directory: what it prints, and its exit codes. */
import { mkdtemp, readdir, readFile, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { crc32c } from '../../protocol/records/crc32c.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { encodeTopicRecord } from '../../src/services/topics/topic-record.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import type { StorageEngine } from '../../src/storage/engine.ts';
import { runLogCommand } from '../../src/tools/log/log-command.ts';
import { batchFormat } from '../damage/prepared.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'odradek-log-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

function open(): Promise<StorageEngine> {
  return openEmbeddedEngine({
    directory,
    payloadFormat: batchFormat,
    crc32c,
    settings: { reserveBytes: 0 },
  });
}

async function fill(engine: StorageEngine): Promise<void> {
  const record = encodeTopicRecord({
    id: 'i',
    partitions: [
      { index: 0, queue: 1 },
      { index: 1, queue: 2 },
    ],
    overrides: new Map(),
  });
  await engine.catalogue.update({
    changes: [{ key: 'topic/orders', value: record }],
    createQueues: [1, 2],
  });
  for (let at = 0; at < 10; at++) {
    const payload = buildRecordBatch(
      [{ timestamp: 1_700_000_000_000, key: Buffer.from(`k${at}`), value: Buffer.from(`v${at}`) }],
      { codec: at % 2 === 0 ? 'none' : 'gzip' },
    );
    const entry = { queue: 1 + (at % 2), kind: 'data', count: 1, maxTimestampMs: 1, payload } as const;
    await engine.append({ durability: 'sync', entries: [entry] });
  }
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const sink = (take: (text: string) => void): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        take(chunk.toString());
        done();
      },
    });
  const code = await runLogCommand(args, {
    out: sink((text) => {
      out += text;
    }),
    err: sink((text) => {
      err += text;
    }),
  });
  return { code, out, err };
}

test('dump prints entries with their topics, and records on demand', async () => {
  const engine = await open();
  await fill(engine);
  await engine.close();
  const all = await run('dump', directory);
  expect(all.code).toBe(0);
  expect(all.out).toContain('data  orders-1 4+1');
  const some = await run('dump', directory, '--topic', 'orders-1', '--from', '2', '--to', '3', '--records');
  expect(some.out.trim().split('\n').length).toBe(2);
  expect(some.out).toContain('"k5" = "v5"');
  const json = (await run('dump', directory, '--queue', '1', '--json')).out.trim().split('\n');
  expect(json.map((line) => (JSON.parse(line) as { baseOffset: number }).baseOffset)).toEqual([
    0, 1, 2, 3, 4,
  ]);
  const shown = await run('dump', directory, '--show', 'queues,catalogue,runs,rows,snapshots,manifest,index');
  expect(shown.out).toContain('1  orders-0  0 to 5');
  expect(shown.out).toContain('orders-1 4+1 at ');
});

test('verify finds a damage, repair mends it, and says so in exit codes', async () => {
  const engine = await open();
  await fill(engine);
  expect(await run('verify', directory)).toMatchObject({
    code: 0,
    err: expect.stringContaining('a broker holds'),
  });
  expect(await run('repair', directory)).toMatchObject({ code: 2, err: expect.stringContaining('in use') });
  await engine.close();
  expect((await run('verify', directory)).out).toContain('nothing is damaged');
  const segment = join(directory, 'commitlog/0000000000.log');
  const bytes = await readFile(segment);
  bytes[bytes.length - 200]! ^= 1;
  await writeFile(segment, bytes);
  const found = await run('verify', directory, '--json');
  expect(found.code).toBe(1);
  expect(found.out).toMatch(/"topic":"orders"/);
  expect(await run('repair', directory, '--dry-run')).toMatchObject({
    code: 0,
    out: expect.stringContaining('would repair'),
  });
  expect((await run('verify', directory)).code).toBe(1);
  expect((await run('repair', directory)).code).toBe(0);
  expect((await run('repair', directory)).out).toBe('there is nothing to repair\n');
  expect((await run('verify', directory)).code).toBe(0);
  const [side] = (await readdir(directory)).filter((name) => name.startsWith('repair-'));
  expect(await readdir(join(directory, side!))).toContain('report.json');
  await (await open()).close();
});

test('a link in the place of a file is not followed', async () => {
  const engine = await open();
  await fill(engine);
  await engine.close();
  const manifest = join(directory, 'MANIFEST');
  const elsewhere = join(directory, 'elsewhere');
  await writeFile(elsewhere, 'somebody else');
  await unlink(manifest);
  await symlink(elsewhere, manifest);
  expect((await run('verify', directory)).out).toContain('is not a file');
  await (await open()).close();
  expect(await readFile(elsewhere, 'utf8')).toBe('somebody else');
  expect((await run('verify', directory)).code).toBe(0);
});

test('what cannot be understood is refused', async () => {
  expect((await run('mend', directory)).code).toBe(2);
  expect((await run('verify')).code).toBe(2);
  expect((await run('verify', directory, '--queue', '1')).code).toBe(2);
  expect((await run('dump', join(directory, 'nowhere'))).code).toBe(2);
  expect((await run('repair', directory)).code).toBe(1);
  expect(await run('--help')).toMatchObject({ code: 0, out: expect.stringContaining('dump|verify|repair') });
});
