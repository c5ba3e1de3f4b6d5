import { describe, expect, it } from 'vitest';
import { forEachStateRecord } from '../../../src/services/coordinator/state-batches.ts';
import { type StoreRuntime, startStore } from './store-machine.ts';

const limits = { snapshotLogBytes: 2_000, snapshotGrowth: 4, snapshotChunkBytes: 300 };

async function logBytes(store: StoreRuntime): Promise<number> {
  const [partition] = store.directory.get('__consumer_offsets')!.partitions;
  return store.held.inner.sizeBytes(partition!.queue);
}

/** What a broker finds that starts on the data now. */
async function restarted(store: StoreRuntime): Promise<Map<string, string>> {
  const again = store.restart();
  await again.get('x');
  return again.machines[0]!.values;
}

describe('a log that has grown', () => {
  it('is written anew and trimmed, again and again', async () => {
    const store = startStore(limits);
    let largest = 0;
    for (let round = 0; round < 300; round++) {
      expect(await store.set(`name${round % 5}`, `value${round}`)).toBe('done');
      await store.settle();
      largest = Math.max(largest, await logBytes(store));
    }
    expect(store.held.trims.length).toBeGreaterThan(5);
    expect(largest).toBeLessThan(4_000);
    expect(await restarted(store)).toEqual(
      new Map([0, 1, 2, 3, 4].map((name) => [`name${name}`, `value${295 + name}`])),
    );
  });

  it('grows with the state before it is written again', async () => {
    const store = startStore(limits);
    for (let index = 0; index < 100; index++) await store.set(`name${index}`, 'x'.repeat(60));
    await store.settle();
    const trims = store.held.trims.length;
    const bytes = await logBytes(store);
    for (let index = 0; index < 20; index++) await store.set(`name${index}`, 'y'.repeat(60));
    await store.settle();
    expect(bytes).toBeGreaterThan(limits.snapshotLogBytes);
    expect(store.held.trims).toHaveLength(trims);
    expect((await restarted(store)).size).toBe(100);
  });

  it('is written of many small entries that lie apart, too', async () => {
    const store = startStore({ snapshotLogEntries: 50 });
    for (let round = 0; round < 60; round++) await store.set('name', `value${round}`);
    await store.settle();
    expect(store.held.trims).toHaveLength(1);
    expect(await restarted(store)).toEqual(new Map([['name', 'value59']]));
    for (let round = 60; round < 80; round++) await store.set('name', `value${round}`);
    await store.settle();
    expect(store.held.trims).toHaveLength(1);
    for (let round = 80; round < 120; round++) await store.set('name', `value${round}`);
    await store.settle();
    expect(store.held.trims).toHaveLength(2);
  });

  it('of which nothing lives is trimmed to its end', async () => {
    const store = startStore(limits);
    for (let round = 0; round < 40; round++) await store.set('name', round % 2 === 0 ? 'value' : null);
    await store.settle();
    expect(await logBytes(store)).toBeLessThan(1_000);
    expect((await restarted(store)).size).toBe(0);
  });

  it('is shortened after a restart, too', async () => {
    const store = startStore();
    for (let round = 0; round < 100; round++) await store.set('name', `value${round}`);
    expect(store.held.trims).toHaveLength(0);
    // The limits are of the one that starts now.
    const tight = startStoreLike(store);
    expect(await tight.get('name')).toBe('value99');
    await tight.settle();
    expect(store.held.trims).toHaveLength(1);
    expect(await restarted(tight)).toEqual(new Map([['name', 'value99']]));
  });

  it('keeps what commands change while it is written', async () => {
    const store = startStore({ ...limits, snapshotLogBytes: 10_000, snapshotChunkBytes: 200 });
    const expected = new Map<string, string>();
    for (let round = 0; round < 2_000 && store.held.trims.length < 3; round++) {
      // Several commands a turn, that change, delete and add, while pieces of the state are written.
      const answers = [];
      for (let step = 0; step < 5; step++) {
        const name = `name${(round * 7 + step * 13) % 60}`;
        const value = (round + step) % 4 === 0 ? null : `round ${round} step ${step}`;
        if (value === null) expected.delete(name);
        else expected.set(name, value);
        answers.push(store.set(name, value));
      }
      await Promise.all(answers);
    }
    expect(store.held.trims.length).toBeGreaterThanOrEqual(3);
    expect(await restarted(store)).toEqual(expected);
  });

  it('says the same after a crash at any moment', async () => {
    const store = startStore({ ...limits, snapshotChunkBytes: 100 });
    for (let index = 0; index < 12; index++) await store.set(`name${index}`, `value${index}`);
    await store.settle();
    store.held.holds = true;
    store.held.failTrim = true;
    const trims = store.held.trims.length;
    const expected = new Map(store.machines[0]!.values);
    let written = 0;
    // Each turn of the loop is one moment: some of the pieces are in the log, and the trim never comes.
    for (let moment = 0; moment < 200; moment++) {
      const answer = store.set('moving', `moment ${moment}`);
      await store.settle();
      expected.set('moving', `moment ${moment}`);
      while (store.held.heldCount > 0) {
        store.held.release();
        await store.settle();
        expect(await inTheLog(store)).toEqual(expected);
        if (store.held.appends.at(-1)!.entries[0]!.count > 2) written++;
      }
      expect(await answer).toBe('done');
    }
    expect(store.held.trims).toHaveLength(trims);
    expect(written).toBeGreaterThan(3);
    // The failed trim is made up for.
    store.held.failTrim = false;
    store.held.holds = false;
    for (let index = 0; index < 50; index++) await store.set('moving', `after ${index}`);
    await store.settle();
    expect(store.held.trims.length).toBeGreaterThan(trims);
    expected.set('moving', 'after 49');
    expect(await restarted(store)).toEqual(expected);
  });

  it('is left alone when an append of it is refused', async () => {
    const store = startStore({ ...limits, snapshotLogBytes: 1e9 });
    for (let index = 0; index < 30; index++) await store.set(`name${index}`, 'x'.repeat(60));
    const tight = startStoreLike(store);
    store.held.refuseNext({ outcome: 'refused', reason: 'storage-fault' });
    // The first append of the new broker is a piece of the snapshot.
    expect(await tight.get('name7')).toBe('x'.repeat(60));
    await tight.settle();
    await tight.settle();
    expect(await tight.get('name29')).toBe('x'.repeat(60));
    expect((await restarted(tight)).size).toBe(30);
  });
});

describe('a snapshot that waits for room', () => {
  it('is given up with the machine, and begun again with the next', async () => {
    const store = startStore({ ...limits, snapshotLogBytes: 1e9 });
    for (let index = 0; index < 60; index++) await store.set('name', 'x'.repeat(60));
    const tight = startStoreLike(store);
    store.held.room = new Promise(() => {});
    await tight.settle();
    expect(await tight.get('name')).toBe('x'.repeat(60));
    // The pieces wait in the open group; now the lease goes.
    store.held.leases.at(-1)!.abort();
    store.held.room = undefined;
    expect(await tight.set('name', 'new')).toBe('done');
    await tight.settle();
    await tight.settle();
    expect(store.held.trims).toHaveLength(1);
    expect(await inTheLog(tight)).toEqual(new Map([['name', 'new']]));
  });
});

/** What a start would find in the log now, read without taking the lease away from the broker that runs. */
async function inTheLog(store: StoreRuntime): Promise<Map<string, string>> {
  const { queue } = store.directory.get('__consumer_offsets')!.partitions[0]!;
  const { startOffset } = (await store.held.inner.bounds(queue))!;
  const values = new Map<string, string>();
  const read = await store.held.inner.read(queue, {
    fromOffset: startOffset,
    maxBytes: 1e9,
    atLeastOne: true,
  });
  if (read.outcome !== 'read') throw new Error(read.outcome);
  for (const payload of read.payloads) {
    forEachStateRecord(payload, (key, value) => {
      if (value === null) values.delete(key.toString());
      else values.set(key.toString(), value.toString());
    });
  }
  read.release();
  return values;
}

/** Another broker on the same data, with tight limits. */
function startStoreLike(store: StoreRuntime): StoreRuntime {
  return store.restart(limits);
}
