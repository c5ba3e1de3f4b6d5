import { expect, it } from 'vitest';
import {
  ProducerIds,
  producerIdBlockSize,
  producerIdsKey,
} from '../../../src/services/producers/producer-ids.ts';
import type { Catalogue } from '../../../src/storage/engine.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { testPayloadFormat } from '../../storage/test-payload.ts';

function catalogue(): Catalogue {
  return openMemoryEngine({ payloadFormat: testPayloadFormat }).catalogue;
}

async function take(ids: ProducerIds, count: number): Promise<number[]> {
  return Promise.all(Array.from({ length: count }, () => ids.allocate()));
}

it('never gives an id twice, whoever asks and whoever crashed', async () => {
  const shared = catalogue();
  const seen = new Set<number>();
  let taken = 0;
  // Three brokers on one catalogue, each started anew a few times.
  for (let life = 0; life < 4; life++) {
    const brokers = [new ProducerIds(shared), new ProducerIds(shared), new ProducerIds(shared)];
    const lists = await Promise.all(brokers.map((ids, at) => take(ids, 700 * (at + 1))));
    for (const list of lists) {
      taken += list.length;
      for (const id of list) seen.add(id);
    }
  }
  expect(seen.size).toBe(taken);
});

it('takes one block for many who ask at once, and asks no more while it lasts', async () => {
  const shared = catalogue();
  let updates = 0;
  const ids = new ProducerIds({
    get: (key) => shared.get(key),
    update: (update) => {
      updates++;
      return shared.update(update);
    },
  });
  expect(await take(ids, producerIdBlockSize)).toEqual(
    Array.from({ length: producerIdBlockSize }, (_, id) => id),
  );
  expect(updates).toBe(1);
  expect(await ids.allocate()).toBe(producerIdBlockSize);
  expect(updates).toBe(2);
});

it('rejects while there is no block to be had, and goes on when there is', async () => {
  const shared = catalogue();
  let works = false;
  const ids = new ProducerIds({
    get: (key) => shared.get(key),
    update: (update) => (works ? shared.update(update) : Promise.reject(new Error('disk'))),
  });
  await expect(ids.allocate()).rejects.toThrow('disk');
  works = true;
  expect(await ids.allocate()).toBe(0);
});

it('gives up where others always win, and does not trust a damaged counter', async () => {
  const lost = new ProducerIds({
    get: () => undefined,
    update: async () => ({ outcome: 'conflict', key: producerIdsKey }),
  });
  await expect(lost.allocate()).rejects.toThrow('attempts');
  const damaged = new ProducerIds({
    get: () => ({ key: producerIdsKey, value: Buffer.from('-4'), version: 1 }),
    update: async () => ({ outcome: 'done', version: 2 }),
  });
  await expect(damaged.allocate()).rejects.toThrow('damaged');
});
