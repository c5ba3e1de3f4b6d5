import { describe, expect, it } from 'vitest';
import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import { partitionForKey } from '../../../src/services/coordinator/partition-for-key.ts';
import { silentLog } from '../../../src/util/log.ts';
import { type StoreRuntime, startStore } from './store-machine.ts';

const notAvailable = 'error 15';
const notCoordinator = 'error 16';
const loading = 'error 14';

/** A store whose partition is read, and whose appends are held from here on. */
async function heldStore(limits = {}): Promise<StoreRuntime> {
  const store = startStore(limits);
  await store.set('first', '0');
  store.held.holds = true;
  store.held.appends.length = 0;
  return store;
}

/** What has come of a promise by now. */
async function soFar(answer: string | Promise<string>, store: StoreRuntime): Promise<string> {
  await store.settle();
  return Promise.race([answer, Promise.resolve('waits')]);
}

describe('a turn', () => {
  it('appends the commands that came in it as one group, and answers them when that is durable', async () => {
    const store = await heldStore();
    const answers = ['a', 'b', 'c'].map((name) => store.set(name, name));
    expect(store.held.appends).toHaveLength(0);
    await store.settle();
    expect(store.held.appends).toHaveLength(1);
    const [group] = store.held.appends;
    expect(group).toMatchObject({
      durability: 'sync',
      fences: [{ lease: '__consumer_offsets-0' }],
      entries: [{ kind: 'state', count: 3, maxTimestampMs: store.clock.nowMs() }],
    });
    const records = decodeRecords(group!.entries[0]!.payload as Buffer, 0);
    expect(records.map((record) => [record.key!.toString(), record.value!.toString()])).toEqual([
      ['a', 'a'],
      ['b', 'b'],
      ['c', 'c'],
    ]);
    expect(await soFar(answers[0]!, store)).toBe('waits');
    store.held.release();
    expect(await Promise.all(answers)).toEqual(['done', 'done', 'done']);
  });

  it('goes on while earlier groups are in flight, and sees what they will say', async () => {
    const store = await heldStore();
    const first = store.set('a', '1');
    await store.settle();
    const second = store.set('a', '2');
    await store.settle();
    expect(store.held.heldCount).toBe(2);
    const read = store.get('a');
    store.held.release();
    expect(await first).toBe('done');
    expect(await soFar(read, store)).toBe('waits');
    store.held.release();
    expect(await second).toBe('done');
    expect(await read).toBe('2');
  });

  it('answers in the order of the log when the engine settles in another', async () => {
    const store = await heldStore();
    const first = store.set('a', '1');
    await store.settle();
    const second = store.set('a', '2');
    await store.settle();
    store.held.release(1);
    expect(await soFar(second, store)).toBe('waits');
    store.held.release(0);
    expect(await first).toBe('done');
    expect(await second).toBe('done');
  });

  it('answers at once what rests on nothing that is in flight', async () => {
    const store = await heldStore();
    expect(store.get('first')).toBe('0');
  });

  it('holds an answer back that a command gives before its record', async () => {
    const store = await heldStore();
    const answer = store.runtime.execute<string>(
      'key',
      'look',
      () => 'failed',
      (machine, effects, ticket) => {
        effects.reply(ticket, 'early');
        machine.set('late', '1', effects);
      },
    );
    expect(await soFar(answer, store)).toBe('waits');
    store.held.release();
    expect(await answer).toBe('early');
  });

  it('splits what is large into batches of one group', async () => {
    const store = await heldStore({ maxBatchBytes: 1000 });
    const answer = store.runtime.execute<string>(
      'key',
      'look',
      () => 'failed',
      (machine, effects, ticket) => {
        for (let index = 0; index < 10; index++) machine.set(`name${index}`, 'x'.repeat(300), effects);
        machine.set('huge', 'y'.repeat(5000), effects);
        effects.reply(ticket, 'done');
      },
    );
    await store.settle();
    expect(store.held.appends).toHaveLength(1);
    const counts = store.held.appends[0]!.entries.map((entry) => entry.count);
    expect(counts).toEqual([2, 2, 2, 2, 2, 1]);
    store.held.release();
    expect(await answer).toBe('done');
    store.held.holds = false;
    const again = store.restart();
    expect(await again.get('name9')).toBe('x'.repeat(300));
    expect(await again.get('huge')).toBe('y'.repeat(5000));
  });

  it('waits for room in the engine, and refuses what is too much meanwhile', async () => {
    const store = await heldStore({ maxUnwrittenBytes: 500 });
    let makeRoom: () => void = () => {};
    store.held.room = new Promise((resolve) => {
      makeRoom = resolve;
    });
    const first = store.set('a', 'x'.repeat(600));
    await store.settle();
    expect(store.held.appends).toHaveLength(0);
    expect(await store.set('b', '1')).toBe(notAvailable);
    store.held.room = undefined;
    makeRoom();
    await store.settle();
    store.held.release();
    expect(await first).toBe('done');
  });
});

describe('tickets', () => {
  it('can be kept for a later command to answer', async () => {
    const store = await heldStore();
    const waiting = store.runtime.execute<string>(
      'key',
      'look',
      () => 'failed',
      (machine, _effects, ticket) => void machine.waiting.push(ticket),
    );
    expect(await soFar(waiting, store)).toBe('waits');
    const answering = store.runtime.execute<string>(
      'key',
      'look',
      () => 'failed',
      (machine, effects, ticket) => {
        machine.set('x', '1', effects);
        for (const kept of machine.waiting) effects.reply(kept, 'now');
        effects.reply(ticket, 'done');
      },
    );
    expect(await soFar(waiting, store)).toBe('waits');
    store.held.release();
    expect(await Promise.all([waiting, answering])).toEqual(['now', 'done']);
  });

  it('that only wait for other clients are answered before the end; what is being written is not', async () => {
    const store = await heldStore();
    const waiting = store.runtime.execute<string>(
      'key',
      'look',
      (code) => `error ${code}`,
      (machine, _effects, ticket) => void machine.waiting.push(ticket),
    );
    const writing = store.set('a', '1');
    store.runtime.releaseWaiting();
    expect(await waiting).toBe(notAvailable);
    await store.settle();
    store.held.release();
    expect(await writing).toBe('done');
  });
});

describe('timers', () => {
  it('run commands, which append', async () => {
    const store = startStore();
    await store.set('a', '1');
    store.machines[0]!.timers.after(1000, (effects) => store.machines[0]!.set('a', 'timed', effects));
    await store.clock.advance(999);
    expect(store.get('a')).toBe('1');
    await store.clock.advance(1);
    expect(await store.get('a')).toBe('timed');
    expect(await store.restart().get('a')).toBe('timed');
  });

  it('end with the machine', async () => {
    const store = startStore();
    await store.set('a', '1');
    const old = store.machines[0]!;
    let fired = 0;
    old.timers.after(1000, () => fired++);
    store.held.refuseNext({ outcome: 'unknown' });
    expect(await store.set('a', '2')).toBe(notAvailable);
    old.timers.after(1000, () => fired++);
    expect(store.clock.pendingTimers).toBe(1);
    await store.clock.advance(2000);
    expect(fired).toBe(0);
    expect(store.clock.pendingTimers).toBe(0);
  });
});

describe('a refused append', () => {
  it.each([
    [{ outcome: 'refused', reason: 'storage-fault' }, notCoordinator],
    [{ outcome: 'refused', reason: 'condition-failed' }, notCoordinator],
    [{ outcome: 'unknown' }, notAvailable],
    [{ outcome: 'refused', reason: 'stale-lease' }, notCoordinator],
    [{ outcome: 'refused', reason: 'closing' }, notAvailable],
  ] as const)('%j drops the machine, and the log says what is true', async (result, error) => {
    const store = startStore();
    await store.set('a', 'true');
    const waiting = store.runtime.execute<string>(
      'key',
      'look',
      (code) => `error ${code}`,
      (machine, _effects, ticket) => void machine.waiting.push(ticket),
    );
    store.held.refuseNext(result);
    const refused = store.set('a', 'false');
    const built = store.get('a');
    expect(await refused).toBe(error);
    expect(await built).toBe(error);
    expect(await waiting).toBe(error);
    expect(await store.get('a')).toBe('true');
    expect(store.machines).toHaveLength(2);
    expect(await store.set('a', 'again')).toBe('done');
  });

  it('waits for all that is in flight before it reads, and keeps what got in', async () => {
    const store = await heldStore();
    store.held.refuseNext({ outcome: 'refused', reason: 'storage-fault' });
    const refused = store.set('a', '1');
    await store.settle();
    const later = store.set('b', '2');
    await store.settle();
    store.held.release();
    expect(await refused).toBe(notCoordinator);
    expect(await later).toBe(notCoordinator);
    const read = store.get('b');
    expect(await soFar(read, store)).toBe('waits');
    store.held.release();
    expect(await read).toBe('2');
    expect(store.get('a')).toBe('nothing');
  });
});

describe('reading a partition', () => {
  it('happens when it is first used, and only then', async () => {
    const store = startStore({}, 50);
    await store.set('a', '1', 'some key');
    expect(store.runtime.loadedPartitions).toEqual([partitionForKey('some key', 50)]);
    const again = store.restart();
    await again.settle();
    expect(again.machines).toHaveLength(0);
    expect(await again.get('a', 'some key')).toBe('1');
    expect(again.machines.map((machine) => machine.loadedWith)).toEqual([1]);
  });

  it('lets commands wait, in their order', async () => {
    const store = startStore();
    const answers = [store.set('a', '1'), store.set('a', '2'), store.get('a')];
    expect(await Promise.all(answers)).toEqual(['done', 'done', '2']);
    const again = store.restart();
    const order: string[] = [];
    await Promise.all(
      ['a', 'b', 'c'].map(async (name) => {
        await again.set(name, name);
        order.push(name);
      }),
    );
    expect(order).toEqual(['a', 'b', 'c']);
  });

  it('that takes long answers COORDINATOR_LOAD_IN_PROGRESS until it is done', async () => {
    const store = startStore({ loadWaitMs: 1000 });
    await store.set('a', '1');
    const again = store.restart();
    let go: () => void = () => {};
    const slow = new Promise<void>((resolve) => {
      go = resolve;
    });
    again.held.beforeRead = () => slow.then(() => undefined);
    const waiting = again.get('a');
    await again.clock.advance(1000);
    expect(await waiting).toBe(loading);
    expect(again.get('a')).toBe(loading);
    go();
    await again.settle();
    expect(await again.get('a')).toBe('1');
  });

  it('lets only so many wait', async () => {
    const store = startStore({ maxWaitingCommands: 2 });
    await store.set('a', '1');
    const again = store.restart();
    const answers = [again.get('a'), again.get('a'), again.get('a')];
    expect(await Promise.all(answers)).toEqual(['1', '1', loading]);
  });

  it('passes over what is damaged, and says so', async () => {
    const lines: string[] = [];
    const log = { ...silentLog, error: (_: unknown, message: string) => void lines.push(message) };
    const store = startStore({}, 1, log);
    await store.set('a', '1');
    await store.set('b', '2');
    const again = store.restart();
    let damaged = false;
    again.held.beforeRead = () => {
      if (damaged) return undefined;
      damaged = true;
      return { outcome: 'damaged', baseOffset: 0, nextOffset: 1 };
    };
    expect(await again.get('a')).toBe('nothing');
    expect(await again.get('b')).toBe('2');
    expect(lines).toHaveLength(1);
  });

  it('that fails is tried again at the next use', async () => {
    const store = startStore();
    await store.set('a', '1');
    const again = store.restart();
    again.held.beforeRead = () => Promise.reject(new Error('disk'));
    expect(await again.get('a')).toBe(notAvailable);
    again.held.beforeRead = undefined;
    expect(await again.get('a')).toBe('1');
  });
});

describe('the topic', () => {
  it('is made by the first command that must write, once', async () => {
    const store = startStore();
    expect(store.get('a')).toBe('nothing');
    expect(
      await store.runtime.executeOnAll(
        () => 0,
        () => {},
      ),
    ).toEqual([]);
    expect(store.directory.creations).toBe(0);
    await Promise.all([store.set('a', '1'), store.set('b', '2'), store.runtime.ensureTopic()]);
    expect(store.directory.creations).toBe(1);
  });

  it('that cannot be made answers COORDINATOR_NOT_AVAILABLE, and is tried again', async () => {
    const store = startStore();
    store.directory.failCreation = true;
    expect(await store.set('a', '1')).toBe(notAvailable);
    store.directory.failCreation = false;
    expect(await store.set('a', '1')).toBe('done');
  });

  it('takes its machines with it, and a new one begins with nothing', async () => {
    const store = startStore();
    await store.set('a', '1');
    const waiting = store.runtime.execute<string>(
      'key',
      'look',
      (code) => `error ${code}`,
      (machine, _effects, ticket) => void machine.waiting.push(ticket),
    );
    await store.directory.delete('__consumer_offsets');
    expect(await waiting).toBe(notCoordinator);
    expect(store.get('a')).toBe('nothing');
    expect(await store.set('b', '2')).toBe('done');
    expect(store.get('a')).toBe('nothing');
  });

  it('is asked as a whole, where it holds anything', async () => {
    const store = startStore({}, 8);
    await store.set('a', '1', 'one');
    await store.set('b', '2', 'two');
    const partitions = [partitionForKey('one', 8), partitionForKey('two', 8)].sort();
    expect(new Set(partitions).size).toBe(2);
    const again = store.restart();
    const names = await again.runtime.executeOnAll<string>(
      (code) => `error ${code}`,
      (machine, effects, ticket) => effects.reply(ticket, [...machine.values.keys()].join()),
    );
    expect(new Set(names)).toEqual(new Set(['a', 'b']));
    expect([...again.runtime.loadedPartitions].sort()).toEqual(partitions);
  });
});

describe('a lost lease', () => {
  it('ends the machine; the next use takes the lease again', async () => {
    const store = startStore();
    await store.set('a', '1');
    const waiting = store.runtime.execute<string>(
      'key',
      'look',
      (code) => `error ${code}`,
      (machine, _effects, ticket) => void machine.waiting.push(ticket),
    );
    store.held.leases[0]!.abort();
    expect(await waiting).toBe(notCoordinator);
    expect(await store.get('a')).toBe('1');
    expect(store.held.leases).toHaveLength(2);
  });
});

describe('closing', () => {
  it('makes durable what is pending and tells the others to come again', async () => {
    const store = await heldStore();
    const writing = store.set('a', '1');
    const waiting = store.runtime.execute<string>(
      'key',
      'look',
      (code) => `error ${code}`,
      (machine, _effects, ticket) => void machine.waiting.push(ticket),
    );
    const closed = store.runtime.close();
    await store.settle();
    store.held.releaseAll();
    await closed;
    expect(await writing).toBe('done');
    expect(await waiting).toBe(notAvailable);
    expect(store.set('b', '1')).toBe(notAvailable);
    store.held.holds = false;
    expect(await store.restart().get('a')).toBe('1');
  });
});

describe('the partition of a key', () => {
  it.each([
    ['', 0],
    ['console-consumer-1', 24],
    ['orders-service', 17],
    // A negative hash: its absolute value, not its bits without the sign, which would give 36.
    ['my-group', 12],
    // The hash that has no absolute value.
    ['polygenelubricants', 0],
    ['\u00fcml\u00e4ut-\u6f22\u5b57', 4],
  ])("%j is Java's hash, absolute as Kafka takes it", (key, partition) => {
    expect(partitionForKey(key, 50)).toBe(partition);
  });
});
