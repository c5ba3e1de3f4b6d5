import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  IndexStore,
  type IndexStoreOptions,
} from '../../../src/storage/embedded/ordered-index/index-store.ts';
import {
  IndexDamagedError,
  type IndexRunDescription,
} from '../../../src/storage/embedded/ordered-index/run-file.ts';
import type { IndexChange, IndexRange } from '../../../src/storage/engine.ts';
import { SimulatedDisk, seededRandom } from '../../fakes/simulated-disk.ts';

const directory = '/data/index';

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

function put(key: string, value: string | null, index = 'i'): IndexChange {
  return { index, key: bytes(key), value: value === null ? null : bytes(value) };
}

async function open(
  disk: SimulatedDisk,
  descriptions: readonly IndexRunDescription[] = [],
  more: Partial<IndexStoreOptions> = {},
): Promise<IndexStore> {
  await disk.mkdir('/data');
  await disk.syncDirectory('/');
  return IndexStore.open({ fileSystem: disk, directory, ...more }, descriptions);
}

function apply(store: IndexStore, ...changes: IndexChange[]): void {
  store.settle(store.apply(changes));
}

async function rows(store: IndexStore, range: Partial<IndexRange> = {}, index = 'i'): Promise<string[]> {
  const found = await store.range(index, { limit: 1_000_000, ...range });
  return found.map((row) => `${row.key.toString('latin1')}=${row.value.toString('latin1')}`);
}

async function text(store: IndexStore, key: string, index = 'i'): Promise<string | undefined> {
  return (await store.get(index, bytes(key)))?.toString('latin1');
}

/** Seals and merges as an engine does, keeping the manifest in a variable. */
async function seal(store: IndexStore): Promise<readonly IndexRunDescription[]> {
  await store.seal();
  await store.mergeIfDue();
  const manifest = store.descriptions();
  await store.dropUnused(manifest);
  return manifest;
}

describe('the ordered index', () => {
  test('reads the same before and after it is sealed, and from its files alone', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const store = await open(disk);
    apply(store, put('b', '1'), put('a', '2'), put('c', ''), put('b', 'other', 'j'));
    const look = async (one: IndexStore): Promise<void> => {
      expect(await rows(one)).toEqual(['a=2', 'b=1', 'c=']);
      expect(await rows(one, { reverse: true, limit: 2 })).toEqual(['c=', 'b=1']);
      expect(await rows(one, { from: bytes('aa'), to: bytes('c') })).toEqual(['b=1']);
      expect(await rows(one, {}, 'j')).toEqual(['b=other']);
      expect(await text(one, 'c')).toBe('');
      expect(await text(one, 'd')).toBe(undefined);
      expect(await text(one, '')).toBe(undefined);
    };
    await look(store);
    const manifest = await seal(store);
    expect(store.memtableBytes).toBe(0);
    expect(manifest).toMatchObject([{ number: 1, level: 0, rows: 4 }]);
    await look(store);
    await store.close();
    await look(await open(disk.crash('none', 1), manifest));
  });

  test('a newer row or deletion hides those in older files; deletions go when nothing is below', async () => {
    const store = await open(new SimulatedDisk({ seed: 1 }));
    apply(store, put('a', '1'), put('b', '1'), put('c', '1'));
    await seal(store);
    apply(store, put('a', null), put('b', '2'));
    expect(await rows(store)).toEqual(['b=2', 'c=1']);
    await seal(store);
    expect(await rows(store)).toEqual(['b=2', 'c=1']);
    expect(await text(store, 'a')).toBe(undefined);
    for (let at = 0; at < 62; at++) {
      apply(store, put(`x${at}`, 'x'), put(`x${at - 1}`, null));
      await seal(store);
    }
    expect(await rows(store)).toEqual(['b=2', 'c=1', 'x61=x']);
    // 64 seals: eight merges of eight, and one of those; nothing deleted is left in it.
    expect(store.descriptions()).toMatchObject([
      { level: 1 },
      { level: 1 },
      { level: 1 },
      { level: 1 },
      { level: 1 },
      { level: 1 },
      { level: 1 },
      { level: 1 },
    ]);
    expect(await store.mergeIfDue()).toBe(true);
    expect(store.descriptions()).toMatchObject([{ level: 2, rows: 3 }]);
    expect(await rows(store)).toEqual(['b=2', 'c=1', 'x61=x']);
  });

  test('takes back what could not be written', async () => {
    const store = await open(new SimulatedDisk({ seed: 1 }));
    apply(store, put('a', 'settled'));
    await seal(store);
    apply(store, put('b', 'settled'));
    const first = store.apply([put('a', '1'), put('a', '2'), put('n', '1')]);
    store.apply([put('a', null), put('b', null)]);
    expect(await rows(store)).toEqual(['n=1']);
    store.takeBack(first + 1);
    expect(await rows(store)).toEqual(['a=2', 'b=settled', 'n=1']);
    store.takeBack(first);
    expect(await rows(store)).toEqual(['a=settled', 'b=settled']);
    expect(() => store.takeBack(1)).toThrow('settled groups stay');
  });

  test('a file holds settled changes only, and those that are not can still be taken back', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const store = await open(disk);
    const settled = store.apply([put('a', '1'), put('b', '1')]);
    store.settle(settled);
    const open1 = store.apply([put('a', '2'), put('c', '2')]);
    expect(await store.seal()).toEqual({ settledSequence: settled });
    expect(await rows(store)).toEqual(['a=2', 'b=1', 'c=2']);
    const reopened = await open(disk.crash('kill', 1), store.descriptions());
    expect(await rows(reopened)).toEqual(['a=1', 'b=1']);
    store.takeBack(open1);
  });

  test('pins follow a key through changes, seals and taking back', async () => {
    const store = await open(new SimulatedDisk({ seed: 1 }));
    apply(store, put('a', '1'));
    await seal(store);
    const pin = store.pin('i', bytes('a'));
    const missing = store.pin('i', bytes('m'));
    expect(pin.value).toBe(undefined);
    await Promise.all([pin.load(), missing.load()]);
    expect(pin.value?.toString()).toBe('1');
    expect(missing.value).toBe(null);
    const sequence = store.apply([put('a', null), put('m', 'x')]);
    expect(pin.value).toBe(null);
    expect(missing.value?.toString()).toBe('x');
    store.takeBack(sequence);
    expect(pin.value).toBe(undefined);
    const loading = pin.load();
    apply(store, put('a', '2'));
    await loading;
    expect(pin.value?.toString()).toBe('2');
    await seal(store);
    expect(pin.value?.toString()).toBe('2');
    pin.release();
    missing.release();
    const again = store.pin('i', bytes('a'));
    await again.load();
    expect(again.value?.toString()).toBe('2');
    again.release();
  });

  test('a seal that fails changes nothing and can be tried again', async () => {
    for (const name of ['open', 'write', 'datasync', 'syncDirectory', 'read'] as const) {
      const disk = new SimulatedDisk({ seed: 1 });
      const store = await open(disk);
      apply(store, put('a', '1'), put('b', '1'));
      await seal(store);
      apply(store, put('a', '2'), put('e', '2'));
      disk.fault = (call) =>
        call.name === name ? { kind: 'error', code: 'ENOSPC', doneBytes: 10 } : undefined;
      const sealing = store.seal();
      sealing.catch(() => {});
      const sequence = store.apply([put('a', '3'), put('c', '3')]);
      apply(store, put('d', '4'));
      const unsettled = store.apply([put('b', null)]);
      await expect(sealing).rejects.toThrow();
      disk.fault = undefined;
      expect(await rows(store)).toEqual(['a=3', 'c=3', 'd=4', 'e=2']);
      store.takeBack(unsettled);
      expect(sequence).toBeLessThan(unsettled);
      expect(await rows(store)).toEqual(['a=3', 'b=1', 'c=3', 'd=4', 'e=2']);
      const manifest = await seal(store);
      const reopened = await open(disk.crash('none', 1), manifest);
      expect(await rows(reopened)).toEqual(['a=3', 'b=1', 'c=3', 'd=4', 'e=2']);
    }
  });

  test('removes files that no manifest names', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const store = await open(disk);
    apply(store, put('a', '1'));
    const manifest = await seal(store);
    apply(store, put('a', '2'));
    await store.seal();
    const survivor = disk.crash('all', 1);
    expect(survivor.files().length).toBe(2);
    const reopened = await open(survivor, manifest);
    await reopened.removeStrays();
    expect(survivor.files().length).toBe(1);
    expect(await rows(reopened)).toEqual(['a=1']);
    // The number of a file that is gone is not used again.
    apply(reopened, put('a', '3'));
    await reopened.seal();
    expect(reopened.descriptions().map(({ number }) => number)).toEqual([3, 1]);
  });

  test('keeps merged files until a manifest without them is durable, and while they are read', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const store = await open(disk);
    for (let at = 0; at < 8; at++) {
      apply(store, put(`k${at}`, 'v'));
      await store.seal();
    }
    const old = store.descriptions();
    expect(await store.mergeIfDue()).toBe(true);
    expect(disk.files().length).toBe(9);
    await store.dropUnused(old);
    expect(disk.files().length).toBe(9);
    expect(await rows(await open(disk.crash('kill', 1), old))).toHaveLength(8);
  });

  test('finds out every damaged byte of a file', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const store = await open(disk);
    apply(store, ...Array.from({ length: 40 }, (_, at) => put(`key ${at}`, `value ${at}`)));
    const manifest = await seal(store);
    const [path] = disk.files();
    const expected = await rows(store);
    const size = disk.contents(path!).length;
    for (let at = 0; at < size; at++) {
      const damaged = disk.crash('kill', at);
      damaged.damage(path!, (content) => {
        content[at]! ^= 0x40;
      });
      const answer = open(damaged, manifest).then((reopened) => rows(reopened));
      await expect(answer, `byte ${at}`).rejects.toThrow(IndexDamagedError);
    }
    for (const cut of [0, 1, size - 1]) {
      const damaged = disk.crash('kill', 1);
      damaged.cut(path!, cut);
      await expect(open(damaged, manifest)).rejects.toThrow(IndexDamagedError);
    }
    const missing = disk.crash('kill', 1);
    missing.cut(path!, undefined);
    await expect(open(missing, manifest)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await rows(await open(disk.crash('kill', 1), manifest))).toEqual(expected);
  });

  test('does not take one block or file for another', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const store = await open(disk);
    const big = 'x'.repeat(20_000);
    apply(store, put('a', big), put('b', big));
    await store.seal();
    apply(store, put('a', big), put('b', big));
    await store.seal();
    const manifest = store.descriptions();
    const [first, second] = disk.files() as [string, string];
    expect(disk.contents(first).length).toBe(disk.contents(second).length);
    const swapped = disk.crash('kill', 1);
    swapped.damage(first, (content) => void disk.contents(second).copy(content));
    await expect(open(swapped, manifest)).rejects.toThrow(IndexDamagedError);
    const moved = disk.crash('kill', 1);
    moved.damage(second, (content) => void disk.contents(first).copy(content, 0, 0, 30_000));
    const reopened = await open(moved, manifest);
    await expect(rows(reopened)).rejects.toThrow(IndexDamagedError);
  });

  test('a failing read fails the call, and the next one is right', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const store = await open(disk);
    apply(store, put('a', '1'));
    await seal(store);
    disk.fault = (call) => (call.name === 'read' ? { kind: 'error', code: 'EIO' } : undefined);
    await expect(text(store, 'a')).rejects.toMatchObject({ code: 'EIO' });
    await expect(rows(store)).rejects.toMatchObject({ code: 'EIO' });
    disk.fault = undefined;
    expect(await text(store, 'a')).toBe('1');
  });

  test('does as a sorted map would through seals, merges, crashes and taking back', async () => {
    const key = fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\xff'), maxLength: 3 });
    const index = fc.constantFrom('i', 'j');
    const row = fc.record({
      index,
      key,
      value: fc.option(fc.string({ unit: 'grapheme-ascii', maxLength: 5 })),
    });
    const step = fc.oneof(
      {
        weight: 10,
        arbitrary: fc.record({
          kind: fc.constant('apply' as const),
          rows: fc.array(row, { minLength: 1, maxLength: 4 }),
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({
          kind: fc.constant('settle' as const),
          part: fc.double({ min: 0, max: 1, noNaN: true }),
        }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('takeBack' as const) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('seal' as const), wait: fc.boolean() }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('merge' as const), wait: fc.boolean() }) },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constant('crash' as const),
          policy: fc.constantFrom('kill', 'none', 'subset'),
        }),
      },
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('range' as const),
          index,
          from: fc.option(key, { nil: undefined }),
          to: fc.option(key, { nil: undefined }),
          limit: fc.integer({ min: 1, max: 6 }),
          reverse: fc.boolean(),
        }),
      },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('get' as const), index, key }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.array(step, { maxLength: 120, size: 'max' }), async (seed, steps) => {
        let disk = new SimulatedDisk({ seed });
        let store = await open(disk, [], { blockCacheBytes: 200 });
        /** Every group that counts, in order, with its sequence in the store of the moment. */
        let groups: { sequence: number; changes: IndexChange[] }[] = [];
        let settled = 0;
        let manifest: { runs: readonly IndexRunDescription[]; groups: number } = { runs: [], groups: 0 };
        let sealing: Promise<void> | undefined;
        let merging: Promise<unknown> | undefined;
        const writeManifest = (): void => {
          manifest = { runs: store.descriptions(), groups: manifest.groups };
        };
        const model = (of: string): Map<string, string> => {
          const map = new Map<string, string>();
          for (const { changes } of groups) {
            for (const change of changes) {
              if (change.index !== of) continue;
              if (change.value === null) map.delete(change.key.toString('latin1'));
              else map.set(change.key.toString('latin1'), change.value.toString('latin1'));
            }
          }
          return map;
        };
        for (const one of steps) {
          switch (one.kind) {
            case 'apply': {
              const changes = one.rows.map((each) => put(each.key, each.value, each.index));
              groups.push({ sequence: store.apply(changes), changes });
              break;
            }
            case 'settle': {
              const target = groups[Math.floor(one.part * groups.length)];
              if (target === undefined || target.sequence <= settled) break;
              store.settle(target.sequence);
              settled = target.sequence;
              break;
            }
            case 'takeBack': {
              const first = groups.find((group) => group.sequence > settled);
              if (first === undefined) break;
              store.takeBack(first.sequence);
              groups = groups.slice(0, groups.indexOf(first));
              break;
            }
            case 'seal': {
              await sealing;
              sealing = store.seal().then((sealed) => {
                if (sealed === undefined) return;
                const through = groups.filter((group) => group.sequence <= sealed.settledSequence).length;
                manifest = { runs: store.descriptions(), groups: through };
              });
              if (one.wait) await sealing;
              break;
            }
            case 'merge': {
              await merging;
              merging = store.mergeIfDue().then(async (changed) => {
                if (!changed) return;
                writeManifest();
                await store.dropUnused(manifest.runs);
              });
              if (one.wait) await merging;
              break;
            }
            case 'crash': {
              await sealing;
              await merging;
              disk = disk.crash(one.policy as 'kill', seed);
              store = await open(disk, manifest.runs, { blockCacheBytes: 200 });
              groups = groups.map((group, at) => ({
                changes: group.changes,
                sequence: at < manifest.groups ? 0 : store.apply(group.changes),
              }));
              settled = groups.at(-1)?.sequence ?? 0;
              store.settle(settled);
              break;
            }
            case 'range': {
              const { from, to, limit, reverse } = one;
              let expected = [...model(one.index)]
                .filter(([each]) => (from === undefined || each >= from) && (to === undefined || each < to))
                .sort(([a], [b]) => (a < b ? -1 : 1));
              if (reverse) expected = expected.reverse();
              expect(
                await rows(
                  store,
                  {
                    limit,
                    reverse,
                    ...(from === undefined ? {} : { from: bytes(from) }),
                    ...(to === undefined ? {} : { to: bytes(to) }),
                  },
                  one.index,
                ),
              ).toEqual(expected.slice(0, limit).map(([each, value]) => `${each}=${value}`));
              break;
            }
            case 'get':
              expect(await text(store, one.key, one.index)).toBe(model(one.index).get(one.key));
          }
        }
        await sealing;
        await merging;
        for (const of of ['i', 'j']) {
          expect(await rows(store, {}, of)).toEqual(
            [...model(of)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([each, value]) => `${each}=${value}`),
          );
        }
      }),
      { numRuns: 400 },
    );
  });

  test('keeps many rows in little memory', async () => {
    const disk = new SimulatedDisk({ seed: 1 });
    const store = await open(disk, [], { maxMemtableBytes: 2 * 1024 * 1024, blockCacheBytes: 1024 * 1024 });
    const random = seededRandom(5);
    const name = (number: number): string => `row ${String(number).padStart(9, '0')}`;
    const model = new Map<string, string>();
    const total = 200_000;
    let largestBytes = 0;
    for (let at = 0; at < total; at++) {
      const key = name(Math.floor(random() * total));
      const value = random() < 0.2 ? null : `value ${at}`;
      apply(store, put(key, value));
      if (value === null) model.delete(key);
      else model.set(key, value);
      if (store.isFull) await seal(store);
      largestBytes = Math.max(largestBytes, store.memtableBytes);
    }
    expect(largestBytes).toBeLessThan(2 * 1024 * 1024 + 1000);
    expect(store.descriptions().length).toBeLessThan(2 * 8);
    for (let at = 0; at < 300; at++) {
      const key = name(Math.floor(random() * total));
      expect(await text(store, key)).toBe(model.get(key));
    }
    const sorted = [...model.keys()].sort();
    expect((await rows(store)).length).toBe(sorted.length);
    const from = Math.floor(sorted.length / 3);
    expect(await rows(store, { from: bytes(sorted[from]!), limit: 50 })).toEqual(
      sorted.slice(from, from + 50).map((key) => `${key}=${model.get(key)}`),
    );
    expect(await rows(store, { to: bytes(sorted[from]!), limit: 50, reverse: true })).toEqual(
      sorted
        .slice(from - 50, from)
        .reverse()
        .map((key) => `${key}=${model.get(key)}`),
    );
  });
});
