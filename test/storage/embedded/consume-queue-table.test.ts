import { describe, expect, test } from 'vitest';
import {
  ConsumeQueueTable,
  type RowChain,
  rowFor,
} from '../../../src/storage/embedded/consume-queue-table.ts';
import { EntryRows, type RowLimits } from '../../../src/storage/embedded/entry-rows.ts';
import { QueueState } from '../../../src/storage/embedded/queue-state.ts';
import { seededRandom } from '../../fakes/simulated-disk.ts';

const all: RowLimits = {
  untilOffset: Number.POSITIVE_INFINITY,
  maxBytes: Number.POSITIVE_INFINITY,
  maxRows: Number.POSITIVE_INFINITY,
  atLeastOne: true,
};

/** `rows` entries over the queues, at random, with random counts; answers each queue's base offsets. */
function fill(table: ConsumeQueueTable, queues: readonly QueueState[], rows: number, seed: number) {
  const random = seededRandom(seed);
  const bases = new Map<number, number[]>(queues.map((queue) => [queue.id, []]));
  for (let row = 0; row < rows; row++) {
    const queue = queues[Math.floor(random() * queues.length)]!;
    const count = 1 + Math.floor(random() * 5);
    table.add(queue, row * 200, queue.nextOffset, count, 100 + (row % 7), row, 1_700_000_000_000 + row);
    bases.get(queue.id)!.push(queue.nextOffset);
    queue.nextOffset += count;
  }
  return bases;
}

function chainOf(table: ConsumeQueueTable, queue: QueueState): RowChain {
  return table.chain(table.newestSlot(queue));
}

describe('the index table', () => {
  test('finds the row that holds an offset, for every offset of every queue', () => {
    const table = new ConsumeQueueTable();
    const queues = [1, 2, 3, 40].map((id) => new QueueState(id));
    const bases = fill(table, queues, 6000, 1);
    for (const queue of queues) {
      const own = bases.get(queue.id)!;
      let at = 0;
      for (let offset = 0; offset < queue.nextOffset; offset++) {
        if (own[at + 1] === offset) at++;
        const row = table.findBack(chainOf(table, queue).lastRow, offset);
        expect(table.baseOffsets[row]).toBe(own[at]);
      }
    }
  });

  test('looks at few rows on the way back', () => {
    const table = new ConsumeQueueTable();
    const queue = new QueueState(1);
    fill(table, [queue], 100_000, 2);
    let looks = 0;
    const { baseOffsets } = table;
    table.baseOffsets = new Proxy(baseOffsets, {
      get: (target, name) => {
        if (typeof name === 'string' && /^\d+$/.test(name)) looks++;
        return Reflect.get(target, name, target);
      },
    });
    for (const offset of [0, 1, 1000, queue.nextOffset >> 1, queue.nextOffset - 1]) {
      looks = 0;
      table.findBack(chainOf(table, queue).lastRow, offset);
      expect(looks).toBeLessThan(6 * 17);
    }
  });

  test('collects a queue in order within its limits', () => {
    const table = new ConsumeQueueTable();
    const queues = [7, 8].map((id) => new QueueState(id));
    const bases = fill(table, queues, 500, 3).get(8)!;
    const queue = queues[1]!;
    const rows = new EntryRows();
    expect(table.collect(chainOf(table, queue).firstRow, all, rows)).toBe(true);
    expect(Array.from(rows.baseOffsets.subarray(0, rows.length))).toEqual(bases);
    expect(rows.totalBytes).toBe(
      Array.from(rows.sizesBytes.subarray(0, rows.length)).reduce((sum, size) => sum + size, 0),
    );
    const collected = (limits: Partial<RowLimits>): number => {
      rows.clear();
      table.collect(chainOf(table, queue).firstRow, { ...all, ...limits }, rows);
      return rows.length;
    };
    expect(collected({ maxRows: 3 })).toBe(3);
    expect(collected({ untilOffset: bases[4]! })).toBe(4);
    expect(collected({ untilOffset: bases[4]! + 0.5 })).toBe(4);
    expect(collected({ maxBytes: 250 })).toBe(2);
    expect(collected({ maxBytes: 0 })).toBe(1);
    expect(collected({ maxBytes: 0, atLeastOne: false })).toBe(0);
  });

  test('is cut off: its queues begin anew, and a drop that may not be durable yet leaves nothing out', async () => {
    const table = new ConsumeQueueTable();
    const ids = [2 ** 40, 5, 3, 9];
    const queues = ids.map((id) => new QueueState(id));
    const bases = fill(table, queues, 400, 4);
    queues[3]!.isDropped = true;
    const frozen = table.freeze(0, 80_000);
    const slots = Array.from(await frozen.table.slotsByQueue(async () => {}));
    expect(slots.map((slot) => table.queueOf(slot).id)).toEqual([3, 5, 9, 2 ** 40]);
    const next = new ConsumeQueueTable();
    expect(queues.map((queue) => next.newestSlot(queue))).toEqual([-1, -1, -1, -1]);
    for (const slot of slots) {
      const chain = table.chain(slot);
      const { id } = table.queueOf(slot);
      const own = bases.get(id)!;
      expect(table.baseOffsets[rowFor(chain, -1)]).toBe(own[0]);
      expect(table.baseOffsets[rowFor(chain, own[7]!)]).toBe(own[7]);
      expect(rowFor(chain, queues[ids.indexOf(id)]!.nextOffset)).toBe(-1);
    }
    // In the next table a queue's slot leads back to the one that it had here.
    next.add(queues[1]!, 80_000, queues[1]!.nextOffset, 1, 1, -1, 0);
    const slot = next.newestSlot(queues[1]!);
    expect(slot).toBe(0);
    expect(next.earlierGeneration(slot)).toBe(table.generation);
    expect(table.queueOf(next.earlierSlot(slot))).toBe(queues[1]);
  });

  test('gives its queues sorted, in slices, also where there are very many of them or their ids are very large', async () => {
    const random = seededRandom(5);
    for (const largest of [2 ** 32, Number.MAX_SAFE_INTEGER]) {
      const ids = new Set<number>();
      while (ids.size < 100_000) ids.add(1 + Math.floor(random() * largest));
      const table = new ConsumeQueueTable();
      let location = 0;
      for (const id of ids) table.add(new QueueState(id), location++, 0, 1, 1, -1, 0);
      let pauses = 0;
      const slots = await table.slotsByQueue(async () => void pauses++);
      const sorted = Array.from(slots, (slot) => table.queueOf(slot).id);
      expect(sorted).toEqual([...ids].sort((a, b) => a - b));
      if (largest === 2 ** 32) expect(pauses).toBeGreaterThan(4);
    }
  });

  test('a gap in the offsets leads to the row behind it', () => {
    const table = new ConsumeQueueTable();
    const queue = new QueueState(1);
    for (const base of [0, 10, 20]) table.add(queue, base, base, 2, 1, -1, 0);
    const chain = chainOf(table, queue);
    expect([0, 1, 2, 9, 10, 12, 21, 22].map((offset) => rowFor(chain, offset))).toEqual([
      0, 0, 1, 1, 1, 2, 2, -1,
    ]);
  });
});
