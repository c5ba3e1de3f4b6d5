/** A process that is killed before its first seal leaves many index rows in the log; the next start does not leave them there. */
import { expect, test } from 'vitest';
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import { readWhole } from '../../../src/storage/embedded/whole-file.ts';
import type { StorageEngine } from '../../../src/storage/engine.ts';
import { SimulatedDisk } from '../../fakes/simulated-disk.ts';
import { testPayloadFormat } from '../test-payload.ts';

const open = (disk: SimulatedDisk) =>
  openEmbeddedEngine({ directory: '/data', payloadFormat: testPayloadFormat, crc32c, fileSystem: disk });

const keyOf = (number: number) => Buffer.from(String(number).padStart(8, '0'));

async function rowsOf(engine: StorageEngine): Promise<number[]> {
  const rows = await engine.index('rows').range({ limit: 1_000_000 });
  return rows.map(({ key }) => Number(key.toString()));
}

async function sealedRows(disk: SimulatedDisk): Promise<number> {
  const manifest = (await readWhole(disk, '/data/MANIFEST'))!.toString();
  const { orderedIndex } = JSON.parse(manifest.slice(manifest.indexOf('\n'))) as {
    orderedIndex: { runs: { rows: number }[] };
  };
  return orderedIndex.runs.reduce((sum, { rows }) => sum + rows, 0);
}

test('rows of the log are in a run file when a start is over, where they are many', async () => {
  let disk = new SimulatedDisk({ seed: 1 });
  let engine = await open(disk);
  await engine.catalogue.update({ changes: [], createQueues: [1] });
  const total = 50_000;
  const groups: Promise<unknown>[] = [];
  for (let from = 0; from < total; from += 5000) {
    const changes = Array.from({ length: 5000 }, (_, at) => ({
      index: 'rows',
      key: keyOf(from + at),
      value: Buffer.from('value'),
    }));
    groups.push(engine.append({ durability: 'async', entries: [], changes }));
  }
  await Promise.all(groups);
  disk = disk.crash('kill', 2);
  expect(await sealedRows(disk)).toBe(0);

  // Killed again at once: nothing but the start had time for it.
  engine = await open(disk);
  disk = disk.crash('kill', 3);
  expect(await sealedRows(disk)).toBe(total);
  engine = await open(disk);
  expect(await rowsOf(engine)).toEqual(Array.from({ length: total }, (_, at) => at));

  // What comes behind is found beside it, and deletions hold.
  await engine.append({
    durability: 'sync',
    entries: [],
    changes: [
      { index: 'rows', key: keyOf(7), value: null },
      { index: 'rows', key: keyOf(total), value: Buffer.from('new') },
    ],
  });
  disk = disk.crash('subset', 4);
  engine = await open(disk);
  const expected = Array.from({ length: total + 1 }, (_, at) => at).filter((at) => at !== 7);
  expect(await rowsOf(engine)).toEqual(expected);
  await engine.close();
});
