/**
 * A consumer on an incremental session and producers take turns at random; limits are small, partitions come and go, reads are slow
 * at times. Whatever the turns: every record is read, once, in order, and a wait ends as soon as there is something to read.
 */
import { expect, it } from 'vitest';
import type { FetchResponse } from '../../../protocol/generated/01-fetch.ts';
import { decodeRecordSet } from '../../../protocol/records/record-set.ts';
import { batchOf, DataBroker } from '../../handlers/data-broker.ts';

const partitionCount = 12;

/** mulberry32 */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

it.each([1, 2, 3, 4, 5, 6, 7, 8])('seed %i', async (seed) => {
  const next = random(seed);
  const below = (limit: number) => Math.floor(next() * limit);
  const isSlow = seed % 2 === 0;
  const later = () => new Promise((resolve) => setImmediate(resolve));
  const broker = new DataBroker(
    isSlow
      ? {
          override: (engine) => ({
            read: async (queue, options) => later().then(() => engine.read(queue, options)),
          }),
        }
      : {},
  );
  await broker.topics.create('t', partitionCount);
  const topicId = broker.topics.get('t')!.id;
  const produced = Array.from({ length: partitionCount }, () => 0);
  const position = Array.from({ length: partitionCount }, () => 0);
  const version = seed > 4 ? 13 : 11;
  const maxBytes = batchOf(3).length * 3;

  /** Partitions that the session has, and what it has for their offsets. */
  const known = new Map<number, number>();
  let wanted = new Set(Array.from({ length: partitionCount }, (_, index) => index));
  let sessionId = 0;
  let epoch = 0;

  async function produce(): Promise<void> {
    const index = below(partitionCount);
    const count = 1 + below(3);
    await broker.produce('t', batchOf(count), { index });
    produced[index]! += count;
  }

  function request() {
    const changed = [...wanted].filter((index) => known.get(index) !== position[index]);
    const dropped = [...known.keys()].filter((index) => !wanted.has(index));
    for (const index of dropped) known.delete(index);
    for (const index of changed) known.set(index, position[index]!);
    return {
      sessionId,
      sessionEpoch: epoch,
      maxBytes,
      topics:
        changed.length === 0
          ? []
          : [
              {
                topic: 't',
                partitions: changed.map((partition) => ({
                  partition,
                  fetchOffset: position[partition]!,
                  partitionMaxBytes: maxBytes / 2,
                })),
              },
            ],
      forgottenTopicsData: dropped.length === 0 ? [] : [{ topic: 't', topicId, partitions: dropped }],
    };
  }

  function take(response: FetchResponse): number {
    expect(response.errorCode).toBe(0);
    sessionId = response.sessionId;
    epoch += 1;
    let taken = 0;
    for (const row of response.responses.flatMap((topic) => topic.partitions)) {
      expect(row.errorCode).toBe(0);
      // A client may drop what it got, and ask again.
      if (next() < 0.1) continue;
      for (const batch of decodeRecordSet(row.records!).batches) {
        if (Number(batch.lastOffset) < position[row.partitionIndex]!) continue;
        expect(Number(batch.baseOffset)).toBe(position[row.partitionIndex]);
        position[row.partitionIndex] = Number(batch.lastOffset) + 1;
        taken += batch.records.length;
      }
    }
    return taken;
  }

  for (let turn = 0; turn < 400; turn++) {
    for (let times = below(4); times > 0; times--) await produce();
    if (next() < 0.15 && sessionId !== 0) {
      wanted = new Set([...wanted].filter(() => next() < 0.7));
      wanted.add(below(partitionCount));
    } else if (next() < 0.3) wanted = new Set(Array.from({ length: partitionCount }, (_, index) => index));
    const fetched = broker.fetch({ ...request(), maxWaitMs: 100, minBytes: 1 + below(2) * 500 }, version);
    if (next() < 0.5) await produce();
    // Its time runs from where it begins to wait, which slow reads put off.
    let isOver = false;
    void fetched.then(() => {
      isOver = true;
    });
    for (let times = 0; times < 100 && !isOver; times++) await broker.clock.advance(100);
    take(await fetched);
    expect(broker.clock.pendingTimers).toBe(0);
  }

  // In the end everything can be read, and no wait is needed as long as there is something.
  wanted = new Set(Array.from({ length: partitionCount }, (_, index) => index));
  for (let turn = 0; turn < 2000 && position.some((offset, index) => offset < produced[index]!); turn++) {
    const fetched = broker.fetch({ ...request(), maxWaitMs: 1_000_000 }, version);
    for (let times = 0; times < 60; times++) await later();
    take(await fetched);
  }
  expect(position).toEqual(produced);
  expect(broker.lent).toBe(0);
  expect(broker.fetches.sessions.partitions).toBe(partitionCount);
});
