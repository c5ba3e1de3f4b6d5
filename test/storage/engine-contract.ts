/**
 * The contract of StorageEngine, held against any engine: `describeEngineContract` in a test file of the engine's own.
 * Everything is asked through the interface; what only some engines can do (survive, hold a flush back) is asked of the harness.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type {
  AppendEntry,
  AppendGroup,
  AppendResult,
  IndexRange,
  ProducerFacts,
  QueueBounds,
  ReadOptions,
  RewriteRequest,
  RewriteResult,
  RewriteVerdict,
  StorageEngine,
} from '../../src/storage/engine.ts';
import { makePayload, parsePayloads, type TestPayload } from './test-payload.ts';

/** An engine opened for one test, with testPayloadFormat. */
export interface EngineUnderTest {
  readonly engine: StorageEngine;
  /** Closes cleanly and opens the same data again. Missing where the engine keeps nothing. */
  reopen?(): Promise<EngineUnderTest>;
  /** Lets the engine die as kill -9 does: all that was written stays, nothing is closed; and opens the data again. */
  killAndReopen?(): Promise<EngineUnderTest>;
  /** From now on flushes do not finish until the answered function is called. Missing where nothing is ever flushed. */
  holdFlushes?(): () => void;
  /** Closes whatever is open and removes the data. */
  dispose(): Promise<void>;
}

/** What a harness can do besides; the tests that need what it cannot do are not there for it. */
export interface EngineAbilities {
  readonly reopen: boolean;
  readonly killAndReopen: boolean;
  readonly holdFlushes: boolean;
  /** Entries can be rewritten. */
  readonly rewrite: boolean;
}

export function describeEngineContract(
  name: string,
  can: EngineAbilities,
  openEngine: () => Promise<EngineUnderTest>,
): void {
  const testWhere = (isAble: boolean): typeof test | (() => void) => (isAble ? test : () => {});

  describe(`the engine contract: ${name}`, () => {
    let harness: EngineUnderTest;
    let engine: StorageEngine;

    beforeEach(async () => {
      harness = await openEngine();
      const { reopen, killAndReopen, holdFlushes } = harness;
      expect({
        reopen: reopen !== undefined,
        killAndReopen: killAndReopen !== undefined,
        holdFlushes: holdFlushes !== undefined,
        rewrite: can.rewrite,
      }).toEqual(can);
      engine = harness.engine;
      await createQueues(1, 2, 3);
    });

    afterEach(async () => {
      await harness.dispose();
    });

    async function createQueues(...queues: number[]): Promise<void> {
      expect((await engine.catalogue.update({ changes: [], createQueues: queues })).outcome).toBe('done');
    }

    async function reopen(how: 'cleanly' | 'killed'): Promise<void> {
      harness = await (how === 'cleanly' ? harness.reopen!() : harness.killAndReopen!());
      engine = harness.engine;
    }

    function entry(queue: number, body: string, more: Partial<AppendEntry> = {}): AppendEntry {
      const count = more.count ?? 1;
      return { queue, kind: 'data', count, maxTimestampMs: -1, payload: makePayload(count, body), ...more };
    }

    function append(
      entries: AppendEntry[],
      more: Partial<AppendGroup> = {},
    ): Promise<readonly AppendResult[]> {
      return engine.append({ durability: 'sync', entries, ...more });
    }

    async function put(queue: number, body: string, more: Partial<AppendEntry> = {}): Promise<number> {
      const [result] = await append([entry(queue, body, more)]);
      if (result?.outcome !== 'appended') throw new Error(`not appended: ${JSON.stringify(result)}`);
      return result.baseOffset;
    }

    async function bounds(queue: number): Promise<QueueBounds | undefined> {
      return await engine.bounds(queue);
    }

    /** Reads, takes the payloads apart, checks what every answer must hold, and releases. */
    async function read(
      queue: number,
      fromOffset: number,
      more: Partial<ReadOptions> = {},
    ): Promise<{ payloads: TestPayload[]; nextOffset: number; sizeBytes: number; baseOffset: number }> {
      const result = await engine.read(queue, { fromOffset, maxBytes: 1_000_000, atLeastOne: true, ...more });
      if (result.outcome !== 'read') throw new Error(`read answered ${JSON.stringify(result)}`);
      const payloads = parsePayloads(result.payloads);
      const { nextOffset, sizeBytes, baseOffset } = result;
      expect(result.payloads.reduce((sum, buffer) => sum + buffer.length, 0)).toBe(sizeBytes);
      if (payloads.length === 0) {
        expect([nextOffset, sizeBytes, baseOffset]).toEqual([fromOffset, 0, fromOffset]);
      } else {
        expect(payloads[0]!.baseOffset).toBe(baseOffset);
        expect(baseOffset).toBeLessThanOrEqual(fromOffset);
        let expected = baseOffset;
        for (const payload of payloads) {
          expect(payload.baseOffset).toBe(expected);
          expect(payload.epoch).toBe(engine.epoch);
          expected += payload.count;
        }
        expect(nextOffset).toBe(expected);
        expect(nextOffset).toBeGreaterThan(fromOffset);
      }
      result.release();
      return { payloads, nextOffset, sizeBytes, baseOffset };
    }

    async function bodies(queue: number, fromOffset = 0, more: Partial<ReadOptions> = {}): Promise<string[]> {
      return (await read(queue, fromOffset, more)).payloads.map((payload) => payload.body);
    }

    function producer(
      firstSequence: number,
      lastSequence: number,
      more: Partial<ProducerFacts> = {},
    ): ProducerFacts {
      return {
        countsForQueue: 1,
        producerId: 5,
        producerEpoch: 0,
        firstSequence,
        lastSequence,
        isTransactional: false,
        ...more,
      };
    }

    function outcomes(results: readonly AppendResult[]): string[] {
      return results.map((result) => (result.outcome === 'refused' ? result.reason : result.outcome));
    }

    describe('append', () => {
      test('gives gap-free offsets by count, queue for queue, in the order of the calls', async () => {
        const answers = await Promise.all([
          append([entry(1, 'a', { count: 3 })]),
          append([entry(2, 'b')]),
          append([entry(1, 'c'), entry(2, 'd', { count: 2 }), entry(1, 'e', { count: 5 })]),
          append([entry(1, 'f')]),
        ]);
        expect(
          answers.map((results) =>
            results.map((result) => (result.outcome === 'appended' ? result.baseOffset : -1)),
          ),
        ).toEqual([[0], [0], [3, 1, 4], [9]]);
        expect(await bounds(1)).toEqual({ startOffset: 0, visibleEndOffset: 10 });
        expect(await bounds(2)).toEqual({ startOffset: 0, visibleEndOffset: 3 });
        expect(await bodies(1)).toEqual(['a', 'c', 'e', 'f']);
        expect(await bodies(2)).toEqual(['b', 'd']);
      });

      test('has copied the payload before it returns', async () => {
        const payload = makePayload(1, 'as it was');
        const appended = append([entry(1, '', { payload })]);
        payload.fill(0xff);
        await appended;
        expect(await bodies(1)).toEqual(['as it was']);
      });

      test('answers store times that never go back, and the start of the log', async () => {
        const beforeMs = Date.now();
        let lastMs = 0;
        for (let at = 0; at < 5; at++) {
          const [result] = await append([entry(1, 'x')], { durability: at % 2 ? 'sync' : 'async' });
          if (result?.outcome !== 'appended') throw new Error('not appended');
          expect(result.storeTimeMs).toBeGreaterThanOrEqual(lastMs);
          expect(result.logStartOffset).toBe(0);
          lastMs = result.storeTimeMs;
        }
        expect(lastMs).toBeGreaterThanOrEqual(beforeMs - 1);
        expect(lastMs).toBeLessThanOrEqual(Date.now() + 1);
        await engine.trim(1, 3);
        expect((await append([entry(1, 'y')]))[0]).toMatchObject({ outcome: 'appended', logStartOffset: 3 });
      });

      test('takes nothing of a group in which one entry is refused', async () => {
        const results = await append([entry(1, 'a'), entry(99, 'b'), entry(2, 'c')], {
          changes: [{ index: 'i', key: Buffer.from('k'), value: Buffer.from('v') }],
        });
        expect(outcomes(results)).toEqual(['not-appended', 'unknown-queue', 'not-appended']);
        expect(await bounds(1)).toEqual({ startOffset: 0, visibleEndOffset: 0 });
        expect(await bounds(2)).toEqual({ startOffset: 0, visibleEndOffset: 0 });
        expect(await engine.index('i').get(Buffer.from('k'))).toBe(undefined);
        expect(await put(1, 'next')).toBe(0);
      });

      test('takes payloads of every size', async () => {
        const sizes = [0, 1, 100, 4095, 4096, 4097, 70_000, 300_000, 1_500_000];
        const answers = await Promise.all(
          sizes.map((sizeBytes, at) =>
            append([entry(1, '', { payload: makePayload(1, `p${at}`, sizeBytes) })], {
              durability: at % 2 ? 'sync' : 'async',
            }),
          ),
        );
        expect(answers.flatMap(outcomes)).toEqual(sizes.map(() => 'appended'));
        for (const [at, sizeBytes] of sizes.entries()) {
          const one = await read(1, at, { maxBytes: 1 });
          expect(one.payloads.map((payload) => payload.body)).toEqual([`p${at}`]);
          expect(one.sizeBytes).toBeGreaterThanOrEqual(sizeBytes);
        }
        expect(await bodies(1, 0, { maxBytes: 10_000_000 })).toEqual(sizes.map((_, at) => `p${at}`));
      });

      test('keeps thousands of queues in one log', async () => {
        const queues = Array.from({ length: 2000 }, (_, at) => 1000 + at);
        await createQueues(...queues);
        for (let round = 0; round < 2; round++) {
          const results = await append(
            queues.map((queue) => entry(queue, `${queue}/${round}`)),
            { durability: round ? 'sync' : 'async' },
          );
          expect(new Set(outcomes(results))).toEqual(new Set(['appended']));
        }
        for (const queue of [1000, 1777, 2999]) {
          expect(await bounds(queue)).toEqual({ startOffset: 0, visibleEndOffset: 2 });
          expect(await bodies(queue)).toEqual([`${queue}/0`, `${queue}/1`]);
          expect(await bodies(queue, 1)).toEqual([`${queue}/1`]);
        }
      });

      test('has no room to wait for when little is in flight', async () => {
        await put(1, 'x');
        expect(engine.appendRoom()).toBe(undefined);
      });
    });

    describe('idempotent producers', () => {
      test('an exact repeat is a duplicate, with the offset of the first', async () => {
        const first = entry(1, 'a', { count: 3, producer: producer(0, 2) });
        const [appended] = await append([first]);
        await put(1, 'other');
        const [again] = await append([first]);
        expect(again).toMatchObject({ outcome: 'duplicate', baseOffset: 0, logStartOffset: 0 });
        if (appended?.outcome !== 'appended' || again?.outcome !== 'duplicate')
          throw new Error('unreachable');
        expect(again.storeTimeMs).toBe(appended.storeTimeMs);
        expect(await bodies(1)).toEqual(['a', 'other']);
        expect(await put(1, 'b', { producer: producer(3, 3) })).toBe(4);
      });

      test('keeps five batches', async () => {
        for (let at = 0; at < 6; at++) await put(1, `b${at}`, { producer: producer(at, at) });
        expect(outcomes(await append([entry(1, 'x', { producer: producer(0, 0) })]))).toEqual([
          'out-of-order-sequence',
        ]);
        expect(await append([entry(1, 'x', { producer: producer(1, 1) })])).toMatchObject([
          { outcome: 'duplicate', baseOffset: 1 },
        ]);
        expect((await bounds(1))?.visibleEndOffset).toBe(6);
      });

      test('refuses gaps and old epochs, begins new epochs at 0, wraps', async () => {
        await put(1, 'a', { producer: producer(2 ** 31 - 2, 2 ** 31 - 1, { producerEpoch: 3 }), count: 2 });
        const ask = async (facts: ProducerFacts): Promise<string> =>
          outcomes(await append([entry(1, 'x', { producer: facts })]))[0]!;
        expect(await ask(producer(1, 1, { producerEpoch: 3 }))).toBe('out-of-order-sequence');
        expect(await ask(producer(0, 0, { producerEpoch: 2 }))).toBe('stale-producer-epoch');
        expect(await ask(producer(5, 5, { producerEpoch: 4 }))).toBe('out-of-order-sequence');
        expect(await ask(producer(0, 0, { producerEpoch: 3 }))).toBe('appended');
        expect(await ask(producer(0, 0, { producerEpoch: 4 }))).toBe('appended');
        expect(await ask(producer(1, 1, { producerEpoch: 3 }))).toBe('stale-producer-epoch');
      });

      test('a duplicate or a gap in a group keeps the others out', async () => {
        await put(1, 'a', { producer: producer(0, 0) });
        const results = await append([
          entry(2, 'b', { producer: producer(0, 0, { countsForQueue: 2 }) }),
          entry(1, 'a', { producer: producer(0, 0) }),
        ]);
        expect(outcomes(results)).toEqual(['not-appended', 'duplicate']);
        // What was not appended is no duplicate later.
        expect(await put(2, 'b', { producer: producer(0, 0, { countsForQueue: 2 }) })).toBe(0);
      });

      test('pipelined batches follow one another', async () => {
        const answers = await Promise.all(
          [0, 1, 2, 3, 1].map((at) => append([entry(1, `${at}`, { producer: producer(at, at) })])),
        );
        expect(answers.flatMap(outcomes)).toEqual([
          'appended',
          'appended',
          'appended',
          'appended',
          'duplicate',
        ]);
        expect(answers[4]).toMatchObject([{ baseOffset: 1 }]);
        const inOneGroup = await append([
          entry(1, '4', { producer: producer(4, 4) }),
          entry(1, '5', { producer: producer(5, 5) }),
        ]);
        expect(outcomes(inOneGroup)).toEqual(['appended', 'appended']);
        expect(await bodies(1)).toEqual(['0', '1', '2', '3', '4', '5']);
      });

      test('a sequence may count for another queue than the one that the entry lies in', async () => {
        await put(3, 'hidden', { producer: producer(0, 0) });
        expect(outcomes(await append([entry(1, 'x', { producer: producer(0, 0) })]))).toEqual(['duplicate']);
        expect(await put(1, 'b', { producer: producer(1, 1) })).toBe(0);
        expect(engine.producers(3)).toEqual([]);
        expect(engine.producers(1)).toMatchObject([
          { producerId: 5, producerEpoch: 0, lastSequence: 1, lastOffset: 0 },
        ]);
      });

      test('tells its live producers', async () => {
        expect(engine.producers(1)).toEqual([]);
        await put(1, 'a', { count: 4, producer: producer(0, 3), maxTimestampMs: 1234 });
        await put(1, 'b', { producer: producer(7, 7, { producerId: 6, producerEpoch: 2 }) });
        expect([...engine.producers(1)].sort((a, b) => a.producerId - b.producerId)).toEqual([
          { producerId: 5, producerEpoch: 0, lastSequence: 3, lastOffset: 3, lastTimestampMs: 1234 },
          { producerId: 6, producerEpoch: 2, lastSequence: 7, lastOffset: 4, lastTimestampMs: -1 },
        ]);
      });
    });

    const describeWhere = (isAble: boolean): typeof describe | (() => void) => (isAble ? describe : () => {});

    describeWhere(can.holdFlushes)('visibility', () => {
      testWhere(can.holdFlushes)(
        'sync is visible and answered when durable, async when written; in order within a queue',
        async () => {
          const release = harness.holdFlushes!();
          const async1 = append([entry(1, 'a1')], { durability: 'async' });
          expect(outcomes(await async1)).toEqual(['appended']);
          expect((await bounds(1))?.visibleEndOffset).toBe(1);
          expect(await bodies(1)).toEqual(['a1']);

          let syncAnswered = false;
          const sync1 = append([entry(1, 's1'), entry(2, 's2')]).then((results) => {
            syncAnswered = true;
            return results;
          });
          // Another queue does not wait for it; the same queue does, though it is async.
          expect(outcomes(await append([entry(3, 'a3')], { durability: 'async' }))).toEqual(['appended']);
          let behindAnswered = false;
          const behind = append([entry(1, 'a1b')], { durability: 'async' }).then((results) => {
            behindAnswered = true;
            return results;
          });
          expect(outcomes(await append([entry(3, 'a3b')], { durability: 'async' }))).toEqual(['appended']);
          expect(syncAnswered).toBe(false);
          expect((await bounds(1))?.visibleEndOffset).toBe(1);
          expect((await bounds(2))?.visibleEndOffset).toBe(0);
          expect((await bounds(3))?.visibleEndOffset).toBe(2);
          expect(await bodies(1)).toEqual(['a1']);
          expect(await bodies(2)).toEqual([]);
          expect(behindAnswered).toBe(false);
          release();
          expect(outcomes(await sync1)).toEqual(['appended', 'appended']);
          expect(outcomes(await behind)).toEqual(['appended']);
          expect(await bodies(1)).toEqual(['a1', 's1', 'a1b']);
          expect(await bodies(2)).toEqual(['s2']);
        },
      );

      testWhere(can.holdFlushes)('a duplicate is not answered before its first is durable', async () => {
        const release = harness.holdFlushes!();
        const first = append([entry(1, 'a', { producer: producer(0, 0) })]);
        let answered = false;
        const again = append([entry(1, 'a', { producer: producer(0, 0) })]).then((results) => {
          answered = true;
          return results;
        });
        await append([entry(3, 'x')], { durability: 'async' });
        await append([entry(3, 'x')], { durability: 'async' });
        expect(answered).toBe(false);
        release();
        expect(outcomes(await first)).toEqual(['appended']);
        expect(outcomes(await again)).toEqual(['duplicate']);
      });

      testWhere(can.holdFlushes)('whenDurable waits for the flush of what was appended before', async () => {
        await append([entry(1, 'before')]);
        await engine.whenDurable();
        const release = harness.holdFlushes!();
        await append([entry(1, 'a')], { durability: 'async' });
        expect(engine.sizes().unflushedBytes).toBeGreaterThan(0);
        let durable = false;
        const waiting = engine.whenDurable().then(() => {
          durable = true;
        });
        await append([entry(2, 'b')], { durability: 'async' });
        expect(durable).toBe(false);
        release();
        await waiting;
        await engine.whenDurable();
        expect(engine.sizes().unflushedBytes).toBe(0);
      });

      testWhere(can.holdFlushes)(
        'a group that asks for it is flushed by itself within its time',
        async () => {
          await append([entry(1, 'a')], { durability: 'async', flushWithinMs: 5 });
          await eventually(() => engine.sizes().unflushedBytes === 0);
        },
      );

      testWhere(can.holdFlushes)('index rows are seen as soon as the order is fixed', async () => {
        const release = harness.holdFlushes!();
        const key = Buffer.from('k');
        const changed = append([entry(1, 'a')], { changes: [{ index: 'i', key, value: Buffer.from('v') }] });
        expect((await engine.index('i').get(key))?.toString()).toBe('v');
        release();
        await changed;
      });
    });

    describe('read', () => {
      test('begins with the entry that holds the offset', async () => {
        await put(1, 'a', { count: 4 });
        await put(1, 'b', { count: 1 });
        await put(1, 'c', { count: 3 });
        for (const [offset, expected] of [
          [0, ['a', 'b', 'c']],
          [3, ['a', 'b', 'c']],
          [4, ['b', 'c']],
          [5, ['c']],
          [7, ['c']],
          [8, []],
        ] as const) {
          expect(await bodies(1, offset)).toEqual(expected);
        }
      });

      test('answers out of range outside the bounds, and unknown queue', async () => {
        await put(1, 'a', { count: 4 });
        await engine.trim(1, 2);
        const options = { maxBytes: 1000, atLeastOne: true };
        const bounds = { startOffset: 2, visibleEndOffset: 4 };
        for (const fromOffset of [-1, 0, 1, 5, 1e9]) {
          expect(await engine.read(1, { fromOffset, ...options })).toEqual({
            outcome: 'out-of-range',
            bounds,
          });
        }
        expect(await engine.read(99, { fromOffset: 0, ...options })).toEqual({ outcome: 'unknown-queue' });
        expect(await engine.bounds(99)).toBe(undefined);
        expect(await bodies(1, 2)).toEqual(['a']);
      });

      test('keeps maxBytes, but for the first entry where at least one is asked for', async () => {
        for (const body of ['a', 'b', 'c']) await put(1, '', { payload: makePayload(1, body, 100) });
        expect(await bodies(1, 0, { maxBytes: 200 })).toEqual(['a', 'b']);
        expect(await bodies(1, 0, { maxBytes: 299 })).toEqual(['a', 'b']);
        expect(await bodies(1, 0, { maxBytes: 300 })).toEqual(['a', 'b', 'c']);
        expect(await bodies(1, 1, { maxBytes: 99 })).toEqual(['b']);
        expect(await bodies(1, 0, { maxBytes: 0 })).toEqual(['a']);
        expect(await bodies(1, 1, { maxBytes: 99, atLeastOne: false })).toEqual([]);
        expect(await bodies(1, 1, { maxBytes: 100, atLeastOne: false })).toEqual(['b']);
        expect(await bodies(1, 3, { maxBytes: 0 })).toEqual([]);
      });

      test('stops before untilOffset', async () => {
        for (const body of ['a', 'b', 'c']) await put(1, body, { count: 2 });
        expect(await bodies(1, 0, { untilOffset: 4 })).toEqual(['a', 'b']);
        expect(await bodies(1, 0, { untilOffset: 0 })).toEqual([]);
        expect(await bodies(1, 4, { untilOffset: 4 })).toEqual([]);
        expect(await bodies(1, 5, { untilOffset: 2 })).toEqual([]);
        expect(await bodies(1, 0, { untilOffset: 1_000_000 })).toEqual(['a', 'b', 'c']);
      });

      test('reads on from nextOffset to the end, entry for entry', async () => {
        const expected = Array.from({ length: 300 }, (_, at) => `body ${at}`);
        await Promise.all(
          expected.map((body, at) =>
            append([entry(1 + (at % 2), body)], { durability: at % 7 ? 'async' : 'sync' }),
          ),
        );
        for (const queue of [1, 2]) {
          const found: string[] = [];
          for (let offset = 0; ; ) {
            const part = await read(queue, offset, { maxBytes: 333 });
            if (part.payloads.length === 0) break;
            found.push(...part.payloads.map((payload) => payload.body));
            offset = part.nextOffset;
          }
          expect(found).toEqual(expected.filter((_, at) => 1 + (at % 2) === queue));
        }
      });

      test('lends buffers that stay as they are until released', async () => {
        await put(1, 'first');
        const result = await engine.read(1, { fromOffset: 0, maxBytes: 1000, atLeastOne: true });
        if (result.outcome !== 'read') throw new Error('not read');
        const before = Buffer.concat(result.payloads);
        for (let at = 0; at < 50; at++) await append([entry(1, 'x'.repeat(2000))], { durability: 'async' });
        await engine.trim(1, 20);
        expect(Buffer.concat(result.payloads)).toEqual(before);
        result.release();
      });
    });

    describe('entries', () => {
      test('tells the facts of entries', async () => {
        const facts = producer(0, 2, { isTransactional: true });
        const payload = makePayload(3, 'a', 77);
        await put(1, '', { count: 3, payload, maxTimestampMs: 500, producer: facts });
        await put(1, 'b', { kind: 'state' });
        await put(1, 'c', { kind: 'marker', count: 2 });
        const all = await engine.entries(1, 0, 100);
        expect(all.map(({ kind, baseOffset, count, epoch }) => [kind, baseOffset, count, epoch])).toEqual([
          ['data', 0, 3, engine.epoch],
          ['state', 3, 1, engine.epoch],
          ['marker', 4, 2, engine.epoch],
        ]);
        expect(all[0]).toMatchObject({ sizeBytes: 77, maxTimestampMs: 500, producer: facts });
        expect(all[1]).toMatchObject({ maxTimestampMs: -1 });
        expect(all[1]!.producer).toBe(undefined);
        expect(await engine.entries(1, 2, 100)).toEqual(all);
        expect(await engine.entries(1, 3, 1)).toEqual(all.slice(1, 2));
        expect(await engine.entries(1, 6, 10)).toEqual([]);
        expect(await engine.sizeBytes(1)).toBe(all.reduce((sum, one) => sum + one.sizeBytes, 0));
      });
    });

    describe('watch', () => {
      test('wakes when the visible end of a watched queue moves, and not once stopped', async () => {
        let wakes = 0;
        const stop = engine.watch([1, 2], () => wakes++);
        await put(2, 'a');
        await eventually(() => wakes > 0);
        stop();
        const before = wakes;
        await put(1, 'b');
        await turns();
        expect(wakes).toBe(before);
      });

      test('loses no wake-up between a look and the next append', async () => {
        const target = 200;
        let seen = 0;
        let stop: () => void = () => {};
        const done = new Promise<void>((resolve, reject) => {
          const look = async (): Promise<void> => {
            const now = await bounds(1);
            if (now!.visibleEndOffset < seen) reject(new Error('the visible end went back'));
            seen = now!.visibleEndOffset;
            if (seen === target) resolve();
          };
          stop = engine.watch([1, 3], () => void look());
        });
        for (let at = 0; at < target; at++) {
          const appended = append([entry(1, 'x')], { durability: at % 3 ? 'async' : 'sync' });
          if (at % 5 === 0) await appended;
          if (at % 11 === 0) await turns();
        }
        await done;
        stop();
      });

      test('sees the new end when it wakes', async () => {
        const seen: number[] = [];
        const stop = engine.watch([1], () => {
          void Promise.resolve(engine.bounds(1)).then((now) => seen.push(now!.visibleEndOffset));
        });
        await put(1, 'a');
        await eventually(() => seen.at(-1) === 1);
        await put(1, 'b');
        await eventually(() => seen.at(-1) === 2);
        stop();
      });

      test('wakes when a queue is dropped', async () => {
        let wakes = 0;
        const stop = engine.watch([2], () => wakes++);
        await engine.catalogue.update({ changes: [], dropQueues: [2] });
        await eventually(() => wakes > 0);
        stop();
      });

      test('a watcher may append and stop from inside', async () => {
        const appended = new Promise<readonly AppendResult[]>((resolve) => {
          const stop = engine.watch([1], () => {
            stop();
            resolve(append([entry(1, 'from inside')]));
          });
        });
        await put(1, 'a');
        expect(outcomes(await appended)).toEqual(['appended']);
        expect(await bodies(1)).toEqual(['a', 'from inside']);
      });
    });

    describe('times and epochs', () => {
      test('finds the first entry that is young enough, though times go up and down', async () => {
        const times = [100, 50, 300, 200, -1, 300, 250, 400];
        for (const maxTimestampMs of times) await put(1, 'x', { count: 2, maxTimestampMs });
        for (const asked of [-1, 0, 50, 51, 100, 101, 200, 300, 301, 400, 401]) {
          const at = times.findIndex((time) => time >= asked);
          expect((await engine.findByTime(1, asked))?.baseOffset).toBe(at < 0 ? undefined : at * 2);
        }
        expect(await engine.findLargestTime(1)).toMatchObject({ baseOffset: 14, maxTimestampMs: 400 });
        expect(await engine.findByTime(2, 0)).toBe(undefined);
        expect(await engine.findLargestTime(2)).toBe(undefined);
        expect(await engine.findByTime(99, 0)).toBe(undefined);
      });

      test('of several largest times the first', async () => {
        for (const maxTimestampMs of [5, 9, 7, 9]) await put(1, 'x', { maxTimestampMs });
        expect(await engine.findLargestTime(1)).toMatchObject({ baseOffset: 1, maxTimestampMs: 9 });
      });

      test('does not find what was trimmed', async () => {
        for (const maxTimestampMs of [900, 10, 500, 20]) await put(1, 'x', { maxTimestampMs });
        await engine.trim(1, 1);
        expect(await engine.findByTime(1, 15)).toMatchObject({ baseOffset: 2 });
        expect(await engine.findByTime(1, 600)).toBe(undefined);
        expect(await engine.findLargestTime(1)).toMatchObject({ baseOffset: 2 });
        await engine.trim(1, 4);
        expect(await engine.findLargestTime(1)).toBe(undefined);
      });

      test('the newest epoch ends at the visible end', async () => {
        expect(await engine.findEpochEnd(1, engine.epoch)).toBe(undefined);
        await put(1, 'a', { count: 3 });
        expect(await engine.findEpochEnd(1, engine.epoch)).toEqual({ epoch: engine.epoch, endOffset: 3 });
        expect(await engine.findEpochEnd(1, engine.epoch + 5)).toEqual({ epoch: engine.epoch, endOffset: 3 });
        expect(await engine.findEpochEnd(1, engine.epoch - 1)).toBe(undefined);
        expect(await engine.findEpochEnd(99, engine.epoch)).toBe(undefined);
      });
    });

    describe('trim', () => {
      test('moves the start forward only, inside an entry too', async () => {
        for (const body of ['a', 'b', 'c']) await put(1, body, { count: 3 });
        expect(await engine.trim(1, 4)).toEqual({ startOffset: 4, visibleEndOffset: 9 });
        expect(await engine.trim(1, 2)).toEqual({ startOffset: 4, visibleEndOffset: 9 });
        expect(await bounds(1)).toEqual({ startOffset: 4, visibleEndOffset: 9 });
        expect((await read(1, 4)).payloads.map((payload) => payload.body)).toEqual(['b', 'c']);
        expect((await engine.entries(1, 4, 10)).map((one) => one.baseOffset)).toEqual([3, 6]);
        expect(await engine.trim(1, 1000)).toEqual({ startOffset: 9, visibleEndOffset: 9 });
        expect(await bodies(1, 9)).toEqual([]);
        expect(await engine.sizeBytes(1)).toBe(0);
        expect(await put(1, 'd')).toBe(9);
        expect(await bodies(1, 9)).toEqual(['d']);
        expect(await engine.trim(99, 4)).toBe(undefined);
      });

      test('does not forget producers', async () => {
        await put(1, 'a', { producer: producer(0, 0) });
        await engine.trim(1, 1);
        expect(outcomes(await append([entry(1, 'a', { producer: producer(0, 0) })]))).toEqual(['duplicate']);
      });
    });

    describe('queues and the catalogue', () => {
      const value = (text: string): Buffer => Buffer.from(text);

      test('a dropped queue is unknown, and its producers too', async () => {
        await put(1, 'a', { producer: producer(0, 0) });
        await put(2, 'b');
        await engine.catalogue.update({ changes: [], dropQueues: [1] });
        expect(await bounds(1)).toBe(undefined);
        expect(outcomes(await append([entry(1, 'x')]))).toEqual(['unknown-queue']);
        expect(engine.producers(1)).toEqual([]);
        expect(await engine.entries(1, 0, 10)).toEqual([]);
        expect(await bodies(2)).toEqual(['b']);
        await createQueues(4);
        expect(await bounds(4)).toEqual({ startOffset: 0, visibleEndOffset: 0 });
      });

      test('compare-and-set: all or none', async () => {
        const { catalogue } = engine;
        const v0 = catalogue.version;
        const first = await catalogue.update({
          changes: [
            { key: 'topic/b', value: value('1'), expectedVersion: 0 },
            { key: 'topic/a', value: value('2'), expectedVersion: 0 },
            { key: 'topid', value: value('3') },
          ],
        });
        if (first.outcome !== 'done') throw new Error('conflict');
        expect(first.version).toBeGreaterThan(v0);
        expect(catalogue.version).toBe(first.version);
        expect(catalogue.get('topic/a')).toEqual({
          key: 'topic/a',
          value: value('2'),
          version: first.version,
        });
        expect(catalogue.list('topic/').map((one) => one.key)).toEqual(['topic/a', 'topic/b']);
        expect(catalogue.list('').map((one) => one.key)).toEqual(['topic/a', 'topic/b', 'topid']);
        expect(catalogue.list('x')).toEqual([]);

        expect(
          await catalogue.update({
            changes: [
              { key: 'topid', value: value('9'), expectedVersion: first.version },
              { key: 'topic/a', value: value('9'), expectedVersion: 0 },
            ],
            createQueues: [50],
            dropQueues: [1],
          }),
        ).toEqual({ outcome: 'conflict', key: 'topic/a' });
        expect(catalogue.get('topid')!.value).toEqual(value('3'));
        expect(catalogue.version).toBe(first.version);
        expect(await bounds(50)).toBe(undefined);
        expect(await bounds(1)).not.toBe(undefined);

        const second = await catalogue.update({
          changes: [{ key: 'topic/a', value: null, expectedVersion: first.version }],
        });
        if (second.outcome !== 'done') throw new Error('conflict');
        expect(second.version).toBeGreaterThan(first.version);
        expect(catalogue.get('topic/a')).toBe(undefined);
        const third = await catalogue.update({
          changes: [{ key: 'topic/a', value: value('again'), expectedVersion: 0 }],
        });
        if (third.outcome !== 'done') throw new Error('conflict');
        expect(catalogue.get('topic/a')!.version).toBeGreaterThan(second.version);
      });

      test('of several at once with the same expectation one wins', async () => {
        const results = await Promise.all(
          ['a', 'b', 'c'].map((text) =>
            engine.catalogue.update({ changes: [{ key: 'k', value: value(text), expectedVersion: 0 }] }),
          ),
        );
        expect(results.map((result) => result.outcome).sort()).toEqual(['conflict', 'conflict', 'done']);
        const winner = results.findIndex((result) => result.outcome === 'done');
        expect(engine.catalogue.get('k')!.value.toString()).toBe('abc'[winner]);
      });

      test('keeps values as they were given', async () => {
        const bytes = value('mine');
        await engine.catalogue.update({ changes: [{ key: 'k', value: bytes }] });
        bytes.fill(0);
        expect(engine.catalogue.get('k')!.value.toString()).toBe('mine');
      });

      test('wakes its watchers after every change', async () => {
        let wakes = 0;
        const stop = engine.catalogue.watch(() => wakes++);
        await engine.catalogue.update({ changes: [{ key: 'k', value: value('1') }] });
        await eventually(() => wakes > 0);
        stop();
        const before = wakes;
        await engine.catalogue.update({ changes: [{ key: 'k', value: value('2') }] });
        await turns();
        expect(wakes).toBe(before);
      });

      test('names its data', () => {
        expect(engine.storageId).toMatch(/^[A-Za-z0-9_-]{22}$/);
      });
    });

    describe('the ordered index', () => {
      const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

      async function change(...rows: [string, string | null][]): Promise<readonly AppendResult[]> {
        return append([], {
          changes: rows.map(([key, text]) => ({
            index: 'timers',
            key: bytes(key),
            value: text === null ? null : bytes(text),
          })),
        });
      }

      async function range(asked: Partial<IndexRange>): Promise<string[]> {
        const rows = await engine.index('timers').range({ limit: 100, ...asked });
        return rows.map((row) => `${row.key.toString('latin1')}=${row.value.toString('latin1')}`);
      }

      test('puts, replaces and deletes rows in byte order; a group without entries has one answer', async () => {
        expect(await change(['b', '1'], ['a\xff', '2'], ['a', '3'], ['\x80', '4'], ['', '5'])).toMatchObject([
          { outcome: 'appended', baseOffset: -1 },
        ]);
        expect(await range({})).toEqual(['=5', 'a=3', 'a\xff=2', 'b=1', '\x80=4']);
        await change(['a', 'new'], ['b', null], ['none', null]);
        expect(await range({})).toEqual(['=5', 'a=new', 'a\xff=2', '\x80=4']);
        expect((await engine.index('timers').get(bytes('a')))?.toString()).toBe('new');
        expect(await engine.index('timers').get(bytes('b'))).toBe(undefined);
        expect(await engine.index('others').get(bytes('a'))).toBe(undefined);
        expect(await engine.index('others').range({ limit: 5 })).toEqual([]);
      });

      test('of two changes of one key in a group the last counts; an empty value is a row', async () => {
        await change(['k', '1'], ['k', ''], ['l', '1'], ['l', null]);
        expect(await range({})).toEqual(['k=']);
      });

      test('answers ranges, both ways, page by page', async () => {
        const keys = Array.from({ length: 50 }, (_, at) => `k${String(at).padStart(2, '0')}`);
        await change(...keys.map((key): [string, string] => [key, key]));
        const rows = keys.map((key) => `${key}=${key}`);
        expect(await range({ from: bytes('k10'), to: bytes('k20') })).toEqual(rows.slice(10, 20));
        expect(await range({ from: bytes('k10'), to: bytes('k20'), reverse: true })).toEqual(
          rows.slice(10, 20).reverse(),
        );
        expect(await range({ from: bytes('k10'), to: bytes('k20'), reverse: true, limit: 3 })).toEqual(
          rows.slice(17, 20).reverse(),
        );
        expect(await range({ from: bytes('k48') })).toEqual(rows.slice(48));
        expect(await range({ to: bytes('k02') })).toEqual(rows.slice(0, 2));
        expect(await range({ from: bytes('k20'), to: bytes('k10') })).toEqual([]);
        expect(await range({ limit: 0 })).toEqual([]);
        const paged: string[] = [];
        for (let from = bytes(''); ; ) {
          const page = await engine.index('timers').range({ from, limit: 7 });
          paged.push(...page.map((row) => row.key.toString('latin1')));
          if (page.length < 7) break;
          from = Buffer.concat([page.at(-1)!.key, Buffer.alloc(1)]);
        }
        expect(paged).toEqual(keys);
      });

      test('keeps keys and values as they were given', async () => {
        const key = bytes('k');
        const text = bytes('v');
        const changed = append([], { changes: [{ index: 'timers', key, value: text }] });
        key.fill(0);
        text.fill(0);
        await changed;
        expect(await range({})).toEqual(['k=v']);
      });

      test('conditions hold at the moment the order is fixed, or nothing happens', async () => {
        const ask = async (expected: string | null, to: string | null): Promise<string[]> =>
          outcomes(
            await append([entry(1, 'fired')], {
              conditions: [
                { index: 'timers', key: bytes('k'), expected: expected === null ? null : bytes(expected) },
              ],
              changes: [{ index: 'timers', key: bytes('k'), value: to === null ? null : bytes(to) }],
            }),
          );
        expect(await ask('x', 'y')).toEqual(['condition-failed']);
        expect(await ask(null, 'x')).toEqual(['appended']);
        expect(await ask(null, 'y')).toEqual(['condition-failed']);
        expect(await ask('x', null)).toEqual(['appended']);
        expect(await range({})).toEqual([]);
        expect((await bounds(1))?.visibleEndOffset).toBe(2);
        expect(
          outcomes(
            await append([], { conditions: [{ index: 'timers', key: bytes('k'), expected: bytes('x') }] }),
          ),
        ).toEqual(['condition-failed']);
      });

      test('a row can say which offset an entry of its own group got', async () => {
        await put(1, 'before', { count: 5 });
        const results = await append([entry(1, 'a', { count: 3 }), entry(2, 'b'), entry(1, 'c')], {
          changes: [
            {
              index: 'timers',
              key: Buffer.concat([bytes('at'), Buffer.alloc(8)]),
              value: Buffer.alloc(17, 7),
              offsets: [
                { part: 'key', at: 2, entry: 2 },
                { part: 'value', at: 1, entry: 0, plus: 2 },
                { part: 'value', at: 9, entry: 1 },
              ],
            },
            { index: 'timers', key: bytes('plain'), value: bytes('x') },
          ],
        });
        expect(results.map((result) => 'baseOffset' in result && result.baseOffset)).toEqual([5, 0, 8]);
        const offset = (value: number) => {
          const big = Buffer.alloc(8);
          big.writeBigUInt64BE(BigInt(value));
          return big;
        };
        const rows = async () =>
          (await engine.index('timers').range({ limit: 10 })).map(({ key, value }) => [
            key.toString('hex'),
            value.toString('hex'),
          ]);
        const expected = [
          [
            Buffer.concat([bytes('at'), offset(8)]).toString('hex'),
            Buffer.concat([Buffer.from([7]), offset(7), offset(0)]).toString('hex'),
          ],
          [bytes('plain').toString('hex'), bytes('x').toString('hex')],
        ];
        expect(await rows()).toEqual(expected);
        if (can.killAndReopen) {
          await reopen('killed');
          expect(await rows()).toEqual(expected);
        }
      });

      test('of several groups with the same condition at once one passes', async () => {
        await change(['k', 'armed']);
        const results = await Promise.all(
          Array.from({ length: 5 }, () =>
            append([entry(1, 'fired')], {
              conditions: [{ index: 'timers', key: bytes('k'), expected: bytes('armed') }],
              changes: [{ index: 'timers', key: bytes('k'), value: null }],
            }),
          ),
        );
        expect(results.flatMap(outcomes).filter((outcome) => outcome === 'appended').length).toBe(1);
        expect(await bodies(1)).toEqual(['fired']);
      });
    });

    describe('groups of one sequence', () => {
      test('are fixed in the order of the calls, whatever each has to look up first', async () => {
        const key = Buffer.from('row');
        for (let at = 0; at < 20; at++) await put(2, `source ${at}`);
        await append([], { changes: [{ index: 'i', key, value: Buffer.from('there') }] });
        const holds = { index: 'i', key, expected: Buffer.from('there') };
        const answers = await Promise.all([
          append(
            Array.from({ length: 20 }, (_, offset) => ({ ...entry(1, ''), payload: { queue: 2, offset } })),
            { sequence: 's', conditions: [holds] },
          ),
          append([entry(1, 'never')], { sequence: 's', conditions: [{ ...holds, expected: null }] }),
          append([{ ...entry(1, ''), payload: { queue: 2, offset: 99 } }], { sequence: 's' }),
          append([entry(1, 'behind')], { sequence: 's', conditions: [holds] }),
          append([entry(1, 'last')], { sequence: 's' }),
        ]);
        expect(answers.map((results) => outcomes(results)[0])).toEqual([
          'appended',
          'condition-failed',
          'link-source-missing',
          'appended',
          'appended',
        ]);
        expect(await bodies(1)).toEqual([
          ...Array.from({ length: 20 }, (_, at) => `source ${at}`),
          'behind',
          'last',
        ]);
      });
    });

    describe('links', () => {
      test('deliver the entry of another queue under offsets of their own', async () => {
        await put(2, 'x');
        await put(2, 'delayed', { count: 2 });
        await put(1, 'a');
        const results = await append([{ ...entry(1, '', { count: 2 }), payload: { queue: 2, offset: 1 } }]);
        expect(results).toMatchObject([{ outcome: 'appended', baseOffset: 1 }]);
        expect((await read(1, 0)).payloads).toMatchObject([
          { baseOffset: 0, body: 'a' },
          { baseOffset: 1, count: 2, body: 'delayed' },
        ]);
        // The source may go; what was delivered stays.
        await engine.trim(2, 3);
        await engine.catalogue.update({ changes: [], dropQueues: [2] });
        expect(await bodies(1)).toEqual(['a', 'delayed']);
      });

      test('are refused where the source is missing', async () => {
        await put(2, 'x');
        await put(2, 'y');
        await engine.trim(2, 1);
        for (const payload of [
          { queue: 2, offset: 0 },
          { queue: 2, offset: 2 },
          { queue: 99, offset: 0 },
        ]) {
          const results = await append([{ ...entry(1, ''), payload }, entry(3, 'z')]);
          expect(outcomes(results)).toEqual(['link-source-missing', 'not-appended']);
        }
        expect((await bounds(3))?.visibleEndOffset).toBe(0);
      });

      test('many in one group are found wherever they lie, in the order of the group', async () => {
        const sent: string[] = [];
        for (let at = 0; at < 60; at++) {
          sent.push(`body ${at} ${'.'.repeat(1 + ((at * 37) % 900))}`);
          await put(at % 2 === 0 ? 2 : 3, sent[at]!);
        }
        const order = sent.map((_, at) => (at * 23) % 60);
        const links = (numbers: number[]): AppendEntry[] =>
          numbers.map((number) => ({
            ...entry(1, ''),
            payload: { queue: number % 2 === 0 ? 2 : 3, offset: Math.floor(number / 2) },
          }));
        expect(outcomes(await append(links(order)))).toEqual(order.map(() => 'appended'));
        expect(await bodies(1)).toEqual(order.map((number) => sent[number]));
        if (can.reopen) {
          harness = await harness.reopen!();
          engine = harness.engine;
          expect(outcomes(await append(links(order)))).toEqual(order.map(() => 'appended'));
          expect((await bodies(1)).slice(60)).toEqual(order.map((number) => sent[number]));
        }
        const missing = await append([
          ...links([5, 3]),
          { ...entry(1, ''), payload: { queue: 2, offset: 30 } },
        ]);
        expect(outcomes(missing)).toEqual(['not-appended', 'not-appended', 'link-source-missing']);
      });
    });

    describeWhere(can.rewrite)('rewrite', () => {
      type Verdicts = Record<string, RewriteVerdict>;
      const everything = Number.MAX_SAFE_INTEGER;

      function request(
        queue: number,
        verdicts: Verdicts,
        untilOffset = everything,
        seen: string[] = [],
      ): RewriteRequest {
        return {
          queue,
          untilOffset,
          decide(payload, facts) {
            const [parsed, ...others] = parsePayloads([payload]);
            expect(others).toEqual([]);
            expect(parsed).toMatchObject({
              baseOffset: facts.baseOffset,
              count: facts.count,
              epoch: facts.epoch,
            });
            expect(facts.sizeBytes).toBe(payload.length);
            seen.push(parsed!.body);
            return verdicts[parsed!.body] ?? 'keep';
          },
        };
      }

      async function rewrite(
        queue: number,
        verdicts: Verdicts,
        untilOffset = everything,
      ): Promise<{ seen: string[]; result: RewriteResult }> {
        const seen: string[] = [];
        const [result] = await engine.rewrite([request(queue, verdicts, untilOffset, seen)]);
        return { seen, result: result! };
      }

      /** Every entry from the offset on as `offset:body`, read in small portions. */
      async function contents(queue: number, fromOffset = 0, maxBytes = 100): Promise<string[]> {
        const found: string[] = [];
        let offset = Math.max(fromOffset, (await bounds(queue))!.startOffset);
        for (;;) {
          const result = await engine.read(queue, { fromOffset: offset, maxBytes, atLeastOne: true });
          if (result.outcome !== 'read') throw new Error(`read answered ${JSON.stringify(result)}`);
          const payloads = parsePayloads(result.payloads);
          if (payloads.length === 0) {
            expect(offset).toBe((await bounds(queue))!.visibleEndOffset);
            result.release();
            return found;
          }
          expect(result.baseOffset).toBe(payloads[0]!.baseOffset);
          for (const payload of payloads) {
            const end = payload.baseOffset + payload.count;
            expect(end).toBeGreaterThan(offset);
            offset = end;
            found.push(`${payload.baseOffset}:${payload.body}`);
          }
          expect(result.nextOffset).toBe(offset);
          expect(payloads.map((payload) => payload.epoch <= engine.epoch)).not.toContain(false);
          result.release();
        }
      }

      async function fill(queue: number, entries: number, more: Partial<AppendEntry> = {}): Promise<void> {
        for (let at = 0; at < entries; at++) {
          await put(queue, `e${at}`, { count: 2, maxTimestampMs: 100 * (at + 1), ...more });
        }
      }

      test('answers at most what was asked for, also before the start', async () => {
        await fill(1, 5);
        await engine.trim(1, 4);
        for (const untilOffset of [0, 3, 4]) {
          expect(await rewrite(1, {}, untilOffset)).toEqual({
            seen: [],
            result: { untilOffset, bytesBefore: 0, bytesAfter: 0 },
          });
          expect(await engine.rewriteReach(1, untilOffset)).toBe(untilOffset);
        }
        expect((await rewrite(1, {}, 6)).seen).toEqual(['e2']);
        expect((await rewrite(1, {}, 7)).result.untilOffset).toBe(6);
        expect((await rewrite(1, {})).result.untilOffset).toBe(10);
      });

      test('tells how far it reaches', async () => {
        await fill(1, 5);
        expect(await engine.rewriteReach(1, 6)).toBe(6);
        expect(await engine.rewriteReach(1, everything)).toBe(10);
        expect(await engine.rewriteReach(2, everything)).toBe(0);
      });

      test('offers every entry in order, and leaves gaps in which reads go on with the next', async () => {
        await fill(1, 6);
        await fill(2, 3);
        const sizeBefore = await engine.sizeBytes(1);
        const { seen, result } = await rewrite(1, { e0: 'drop', e2: 'drop', e3: 'drop' });
        expect(seen).toEqual(['e0', 'e1', 'e2', 'e3', 'e4', 'e5']);
        expect(result).toEqual({ untilOffset: 12, bytesBefore: sizeBefore, bytesAfter: sizeBefore / 2 });
        expect(await engine.sizeBytes(1)).toBe(sizeBefore / 2);
        expect(await bounds(1)).toEqual({ startOffset: 0, visibleEndOffset: 12 });
        expect(await contents(1)).toEqual(['2:e1', '8:e4', '10:e5']);
        for (const [from, expected] of [
          [0, '2:e1'],
          [1, '2:e1'],
          [3, '2:e1'],
          [4, '8:e4'],
          [7, '8:e4'],
          [9, '8:e4'],
          [11, '10:e5'],
        ] as const) {
          expect((await contents(1, from))[0]).toBe(expected);
          expect((await engine.entries(1, from, 1))[0]?.baseOffset).toBe(Number(expected.split(':')[0]));
        }
        expect(await contents(2)).toEqual(['0:e0', '2:e1', '4:e2']);
        expect(await put(1, 'next')).toBe(12);
        expect((await contents(1)).at(-1)).toBe('12:next');
      });

      test('a read that may not go beyond the gap it begins in answers nothing', async () => {
        await fill(1, 4);
        await rewrite(1, { e1: 'drop', e2: 'drop' });
        const result = await engine.read(1, {
          fromOffset: 2,
          untilOffset: 5,
          maxBytes: 1000,
          atLeastOne: true,
        });
        expect(result).toMatchObject({ outcome: 'read', payloads: [], nextOffset: 2, baseOffset: 2 });
        if (result.outcome === 'read') result.release();
      });

      test('never drops the last visible entry, but does once there is another', async () => {
        await fill(1, 3);
        expect((await rewrite(1, { e0: 'drop', e1: 'drop', e2: 'drop' })).result.untilOffset).toBe(6);
        expect(await contents(1)).toEqual(['4:e2']);
        await put(1, 'last');
        await rewrite(1, { e2: 'drop' });
        expect(await contents(1)).toEqual(['6:last']);
        expect((await rewrite(1, { last: 'drop' })).seen).toEqual(['last']);
        expect(await contents(1)).toEqual(['6:last']);
      });

      test('replaces payloads, smaller and larger, under the same offsets and facts', async () => {
        await fill(1, 3);
        const [before] = await engine.entries(1, 2, 1);
        const large = makePayload(2, 'larger', 40_000);
        const { result } = await rewrite(1, { e0: makePayload(2, 's'), e1: large });
        expect(await contents(1)).toEqual(['0:s', '2:larger', '4:e2']);
        const [after] = await engine.entries(1, 2, 1);
        expect(after).toEqual({ ...before, sizeBytes: large.length });
        expect(result.bytesAfter - result.bytesBefore).toBe(large.length - before!.sizeBytes - 1);
        expect(await engine.sizeBytes(1)).toBe(result.bytesAfter);
      });

      test('offers nothing that ends after untilOffset, and nothing that was trimmed', async () => {
        await fill(1, 5);
        await engine.trim(1, 3);
        const { seen, result } = await rewrite(1, { e0: 'drop', e1: 'drop', e2: 'drop', e3: 'drop' }, 7);
        expect(seen).toEqual(['e1', 'e2']);
        expect(result.untilOffset).toBe(6);
        expect(await contents(1)).toEqual(['6:e3', '8:e4']);
        expect(await bounds(1)).toEqual({ startOffset: 3, visibleEndOffset: 10 });
        expect(await engine.trim(1, 5)).toEqual({ startOffset: 5, visibleEndOffset: 10 });
        expect(await contents(1)).toEqual(['6:e3', '8:e4']);
        expect(await engine.sizeBytes(1)).toBe((2 * result.bytesBefore) / 2);
        expect((await engine.trim(1, 8))?.startOffset).toBe(8);
        expect(await engine.sizeBytes(1)).toBe(result.bytesBefore / 2);
        await engine.trim(1, 10);
        expect(await engine.sizeBytes(1)).toBe(0);
        expect((await rewrite(1, {})).seen).toEqual([]);
      });

      test('does many queues at once, again and again, and none that does not exist', async () => {
        for (const queue of [1, 2, 3]) await fill(queue, 20);
        const dropping = (rest: number): Verdicts =>
          Object.fromEntries(
            Array.from({ length: 20 }, (_, at) => [`e${at}`, at % 4 === rest ? 'drop' : 'keep'] as const),
          );
        const results = await engine.rewrite([
          request(3, dropping(0)),
          request(99, {}),
          request(1, dropping(1)),
        ]);
        expect(results.map((result) => result?.untilOffset)).toEqual([40, undefined, 40]);
        await engine.rewrite([request(1, dropping(2)), request(2, dropping(2))]);
        for (let at = 20; at < 30; at++) await put(1, `e${at}`, { count: 2 });
        await engine.rewrite([request(1, { e21: 'drop' }), request(3, dropping(1))]);
        const left = (keeps: (at: number) => boolean, entries = 20): string[] =>
          Array.from({ length: entries }, (_, at) => at)
            .filter((at) => keeps(at) || at === 19)
            .map((at) => `${at * 2}:e${at}`);
        expect(await contents(1)).toEqual(
          left((at) => at !== 21 && (at >= 20 || (at % 4 !== 1 && at % 4 !== 2)), 30),
        );
        expect(await contents(2)).toEqual(left((at) => at % 4 !== 2));
        expect(await contents(3)).toEqual(left((at) => at % 4 !== 0 && at % 4 !== 1));
      });

      test('changes nothing where a decision throws', async () => {
        await fill(1, 4);
        await fill(2, 4);
        const broken: RewriteRequest = {
          queue: 2,
          untilOffset: everything,
          decide: (_, facts) => {
            if (facts.baseOffset === 4) throw new Error('no decision');
            return 'drop';
          },
        };
        await expect(engine.rewrite([request(1, { e0: 'drop' }), broken])).rejects.toThrow('no decision');
        expect(await contents(1)).toEqual(['0:e0', '2:e1', '4:e2', '6:e3']);
        expect(await contents(2)).toEqual(['0:e0', '2:e1', '4:e2', '6:e3']);
        await rewrite(2, { e1: 'drop' });
        expect(await contents(2)).toEqual(['0:e0', '4:e2', '6:e3']);
      });

      test('a queue may be dropped and its like rewritten meanwhile', async () => {
        await fill(1, 10);
        await fill(2, 10);
        const rewriting = engine.rewrite([request(1, { e0: 'drop' }), request(2, { e0: 'drop' })]);
        await engine.catalogue.update({ changes: [], dropQueues: [2] });
        const [first, second] = await rewriting;
        expect(first?.untilOffset).toBe(20);
        expect([undefined, 20]).toContain(second?.untilOffset);
        expect((await engine.read(2, { fromOffset: 0, maxBytes: 1, atLeastOne: true })).outcome).toBe(
          'unknown-queue',
        );
        expect((await contents(1))[0]).toBe('2:e1');
      });

      test('goes on beside appends, trims and reads, which see before or after', async () => {
        const entries = 60;
        await fill(1, entries);
        await fill(2, entries);
        const before = await contents(1);
        const isKept = (at: number): boolean => at % 3 === 0 || at === entries - 1;
        const verdicts: Verdicts = Object.fromEntries(
          before.map((_, at) => [`e${at}`, isKept(at) ? 'keep' : 'drop'] as const),
        );
        let isDone = false;
        const rewriting = engine
          .rewrite([request(1, verdicts), request(2, verdicts, entries)])
          .finally(() => {
            isDone = true;
          });
        const working = (async () => {
          let appended = 0;
          for (let round = 0; !isDone || round < 10; round++) {
            await put(1, `n${appended++}`);
            await engine.trim(2, Math.min(30, round * 3));
            const found = await contents(1, 0, round % 2 ? 70 : 1000);
            const offsets = found.map((one) => Number(one.split(':')[0]));
            expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
            const bodies = new Set(found.map((one) => one.split(':')[1]));
            for (let at = 0; at < entries; at++) if (isKept(at)) expect(bodies).toContain(`e${at}`);
            for (let at = 0; at < appended; at++) expect(bodies).toContain(`n${at}`);
            await turns();
          }
          return appended;
        })();
        const [appended] = await Promise.all([working, rewriting]);
        expect(await contents(1)).toEqual([
          ...before.filter((_, at) => isKept(at)),
          ...Array.from({ length: appended }, (_, at) => `${entries * 2 + at}:n${at}`),
        ]);
        const start = (await bounds(2))!.startOffset;
        let left = 0;
        const second: string[] = [];
        for (let at = 0; at < entries; at++) {
          if (at * 2 + 2 <= start || (at * 2 + 2 <= entries && !isKept(at))) continue;
          second.push(`${at * 2}:e${at}`);
          left += makePayload(2, `e${at}`).length;
        }
        expect(await contents(2)).toEqual(second);
        expect(await engine.sizeBytes(2)).toBe(left);
      });

      test('what is looked up by time and epoch is what is left', async () => {
        await fill(1, 6);
        await rewrite(1, { e0: 'drop', e2: 'drop', e3: 'drop', e5: 'keep' });
        expect((await engine.findByTime(1, 0))?.baseOffset).toBe(2);
        expect((await engine.findByTime(1, 201))?.baseOffset).toBe(8);
        expect((await engine.findByTime(1, 601))?.baseOffset).toBe(undefined);
        expect((await engine.findLargestTime(1))?.baseOffset).toBe(10);
        expect(await engine.findEpochEnd(1, engine.epoch)).toEqual({ epoch: engine.epoch, endOffset: 12 });
        expect((await engine.entries(1, 3, 2)).map((facts) => facts.baseOffset)).toEqual([2, 8]);
        await engine.trim(1, 5);
        expect((await engine.findByTime(1, 0))?.baseOffset).toBe(8);
        expect((await engine.entries(1, 5, 9)).map((facts) => facts.baseOffset)).toEqual([8, 10]);
      });

      test('forgets no producer and keeps the facts of markers and state', async () => {
        const facts = producer(0, 0, { isTransactional: true });
        await put(1, 'a', { kind: 'state', producer: facts });
        await put(1, 'b', { kind: 'marker', producer: producer(1, 1) });
        await put(1, 'c');
        const before = await engine.entries(1, 0, 5);
        await rewrite(1, { b: 'drop' });
        expect(await engine.entries(1, 0, 5)).toEqual([before[0], before[2]]);
        expect(outcomes(await append([entry(1, 'b', { producer: producer(1, 1) })]))).toEqual(['duplicate']);
        expect(await put(1, 'd', { producer: producer(2, 2) })).toBe(3);
      });

      test('links to what is left are delivered, those into a gap refused', async () => {
        await fill(2, 3);
        await rewrite(2, { e0: 'drop', e1: makePayload(2, 'other') });
        const link = (offset: number): AppendEntry => ({
          ...entry(1, '', { count: 2 }),
          payload: { queue: 2, offset },
        });
        expect(outcomes(await append([link(1)]))).toEqual(['link-source-missing']);
        expect(outcomes(await append([link(3)]))).toEqual(['appended']);
        expect(await contents(1)).toEqual(['0:other']);
      });

      test('follows one another when several are asked for at once', async () => {
        await fill(1, 9);
        await Promise.all([
          engine.rewrite([request(1, { e0: 'drop' })]),
          engine.rewrite([request(1, { e3: 'drop' })]),
          engine.rewrite([request(1, { e5: 'drop' })]),
        ]);
        expect((await contents(1)).map((one) => one.split(':')[1])).toEqual([
          'e1',
          'e2',
          'e4',
          'e6',
          'e7',
          'e8',
        ]);
      });

      test('is refused when the engine is closed', async () => {
        await fill(1, 2);
        await engine.close();
        await expect(engine.rewrite([request(1, { e0: 'drop' })])).rejects.toThrow();
      });

      for (const how of ['cleanly', 'killed'] as const) {
        const isAble = how === 'cleanly' ? can.reopen : can.killAndReopen;
        testWhere(isAble)(`is there after a restart (${how})`, async () => {
          await fill(1, 12);
          await fill(2, 12);
          await rewrite(1, { e0: 'drop', e4: makePayload(2, 'new'), e5: 'drop' });
          await put(1, 'more');
          const [sizeBefore, contentsBefore] = [await engine.sizeBytes(1), await contents(1)];
          const factsBefore = await engine.entries(1, 0, 100);
          const epochBefore = engine.epoch;
          await reopen(how);
          expect(await contents(1)).toEqual(contentsBefore);
          expect(await contents(2)).toEqual(Array.from({ length: 12 }, (_, at) => `${at * 2}:e${at}`));
          expect(await engine.entries(1, 0, 100)).toEqual(factsBefore);
          expect(await engine.sizeBytes(1)).toBe(sizeBefore);
          expect(await engine.findEpochEnd(1, epochBefore)).toEqual({ epoch: epochBefore, endOffset: 25 });
          expect(await put(1, 'later')).toBe(25);
          await rewrite(1, { e1: 'drop', more: 'drop' });
          await rewrite(2, { e1: 'drop' });
          await reopen(how);
          expect((await contents(1)).slice(0, 3)).toEqual(['4:e2', '6:e3', '8:new']);
          expect((await contents(1)).slice(-2)).toEqual(['22:e11', '25:later']);
          expect((await contents(2)).length).toBe(11);
          await engine.trim(1, 25);
          expect(await engine.sizeBytes(1)).toBe(makePayload(1, 'later').length);
        });
      }
    });

    describe('leases', () => {
      test('fence off who held one before', async () => {
        const first = await engine.acquireLease('group/7');
        const fences = [{ lease: 'group/7', epoch: first.epoch }];
        expect(outcomes(await append([entry(1, 'a')], { fences }))).toEqual(['appended']);
        const second = await engine.acquireLease('group/7');
        expect(second.epoch).toBeGreaterThan(first.epoch);
        expect(second.name).toBe('group/7');
        expect(first.lost.aborted).toBe(true);
        expect(second.lost.aborted).toBe(false);
        expect(outcomes(await append([entry(1, 'b'), entry(2, 'c')], { fences }))).toEqual([
          'stale-lease',
          'stale-lease',
        ]);
        expect(
          outcomes(await append([entry(1, 'd')], { fences: [{ lease: 'group/7', epoch: second.epoch }] })),
        ).toEqual(['appended']);
        expect(outcomes(await append([entry(1, 'e')], { fences: [{ lease: 'never', epoch: 1 }] }))).toEqual([
          'stale-lease',
        ]);
        expect(await bodies(1)).toEqual(['a', 'd']);
      });

      test('hold a group back where one of several is stale', async () => {
        const group = await engine.acquireLease('group/7');
        const transaction = await engine.acquireLease('transaction/3');
        const both = [group, transaction].map(({ name, epoch }) => ({ lease: name, epoch }));
        expect(outcomes(await append([entry(1, 'a')], { fences: both }))).toEqual(['appended']);
        await engine.acquireLease('group/7');
        expect(outcomes(await append([entry(1, 'b'), entry(2, 'c')], { fences: both }))).toEqual([
          'stale-lease',
          'stale-lease',
        ]);
        expect(outcomes(await append([entry(1, 'd')], { fences: both.slice(1) }))).toEqual(['appended']);
        expect(await bodies(1)).toEqual(['a', 'd']);
      });
    });

    describe('close', () => {
      test('refuses appends, answers those before', async () => {
        const before = append([entry(1, 'a')], { durability: 'async' });
        const closed = engine.close();
        expect(outcomes(await before)).toEqual(['appended']);
        expect(outcomes(await append([entry(1, 'b'), entry(2, 'c')]))).toEqual(['closing', 'closing']);
        await closed;
        expect(outcomes(await append([entry(1, 'b')]))).toEqual(['closing']);
      });

      test('may be called again', async () => {
        await engine.close();
        await engine.close();
      });
    });

    describeWhere(can.reopen || can.killAndReopen)('what survives', () => {
      for (const how of ['cleanly', 'killed'] as const) {
        testWhere(how === 'cleanly' ? can.reopen : can.killAndReopen)(
          `everything, when it is closed and opened again: ${how}`,
          async () => {
            const { storageId, epoch } = engine;
            const facts = producer(0, 1);
            await put(1, 'a', { count: 2, producer: facts, maxTimestampMs: 700 });
            await put(1, 'b', { kind: 'state', maxTimestampMs: 100 });
            await append([entry(2, 'c')], { durability: 'async' });
            await put(3, 'd', { count: 5 });
            await engine.trim(3, 2);
            const key = Buffer.from('k');
            await append([], {
              changes: [
                { index: 'i', key, value: Buffer.from('v') },
                { index: 'i', key: Buffer.from('gone'), value: Buffer.from('v') },
              ],
            });
            await append([], { changes: [{ index: 'i', key: Buffer.from('gone'), value: null }] });
            const updated = await engine.catalogue.update({
              changes: [{ key: 'topic', value: Buffer.from('t') }],
              createQueues: [4, 5],
              dropQueues: [5],
            });
            if (updated.outcome !== 'done') throw new Error('conflict');
            const lease = await engine.acquireLease('l');
            await engine.catalogue.update({ changes: [], createQueues: [6] });
            await engine.catalogue.update({ changes: [], dropQueues: [6] });
            const newest = engine.catalogue.version;
            const entriesBefore = await engine.entries(1, 0, 100);

            await reopen(how);
            expect(engine.storageId).toBe(storageId);
            if (how === 'cleanly') expect(engine.epoch).toBe(epoch);
            else expect(engine.epoch).toBe(epoch + 1);
            expect(await engine.entries(1, 0, 100)).toEqual(entriesBefore);
            expect(await bounds(1)).toEqual({ startOffset: 0, visibleEndOffset: 3 });
            expect(await bounds(2)).toEqual({ startOffset: 0, visibleEndOffset: 1 });
            expect(await bounds(3)).toEqual({ startOffset: 2, visibleEndOffset: 5 });
            expect(await bounds(4)).toEqual({ startOffset: 0, visibleEndOffset: 0 });
            expect(await bounds(5)).toBe(undefined);
            expect(await bounds(6)).toBe(undefined);
            expect(engine.catalogue.version).toBe(newest);
            expect(engine.catalogue.get('topic')).toEqual({
              key: 'topic',
              value: Buffer.from('t'),
              version: updated.version,
            });
            expect((await engine.index('i').get(key))?.toString()).toBe('v');
            expect((await engine.index('i').range({ limit: 10 })).length).toBe(1);
            expect(await engine.findByTime(1, 600)).toMatchObject({ baseOffset: 0 });
            expect(engine.producers(1)).toMatchObject([{ producerId: 5, lastSequence: 1 }]);
            expect(await append([entry(1, 'again', { count: 2, producer: facts })])).toMatchObject([
              { outcome: 'duplicate', baseOffset: 0 },
            ]);
            const old = await engine.read(1, { fromOffset: 0, maxBytes: 1000, atLeastOne: true });
            if (old.outcome !== 'read') throw new Error('not read');
            expect(parsePayloads(old.payloads)).toMatchObject([
              { baseOffset: 0, epoch, body: 'a' },
              { baseOffset: 2, epoch, body: 'b' },
            ]);
            old.release();
            expect(await put(1, 'after')).toBe(3);
            expect(await put(2, 'after')).toBe(1);
            expect((await engine.acquireLease('l')).epoch).toBeGreaterThan(lease.epoch);
            expect(await engine.findEpochEnd(1, epoch)).toEqual({
              epoch,
              endOffset: engine.epoch === epoch ? 4 : 3,
            });
          },
        );
      }

      testWhere(can.killAndReopen)('each kill begins a new epoch, found by where it ends', async () => {
        const epochs: number[] = [];
        for (let round = 0; round < 3; round++) {
          await put(1, `r${round}`, { count: 2 });
          if (round !== 1) await put(2, `r${round}`);
          epochs.push(engine.epoch);
          await reopen('killed');
        }
        const [e0, e1, e2] = epochs as [number, number, number];
        expect(e1).toBeGreaterThan(e0);
        expect(e2).toBeGreaterThan(e1);
        expect(await engine.findEpochEnd(1, e0)).toEqual({ epoch: e0, endOffset: 2 });
        expect(await engine.findEpochEnd(1, e1)).toEqual({ epoch: e1, endOffset: 4 });
        expect(await engine.findEpochEnd(1, e2)).toEqual({ epoch: e2, endOffset: 6 });
        expect(await engine.findEpochEnd(1, engine.epoch)).toEqual({ epoch: e2, endOffset: 6 });
        expect(await engine.findEpochEnd(2, e1)).toEqual({ epoch: e0, endOffset: 1 });
        await engine.trim(1, 2);
        expect(await engine.findEpochEnd(1, e0)).toBe(undefined);
      });

      testWhere(can.reopen)('many entries and rows, through several openings', async () => {
        const expected: string[] = [];
        for (let round = 0; round < 3; round++) {
          const answers: Promise<readonly AppendResult[]>[] = [];
          for (let at = 0; at < 200; at++) {
            const body = `${round}/${at}`;
            expected.push(body);
            answers.push(
              append([entry(1, body)], {
                durability: at % 10 ? 'async' : 'sync',
                changes: [{ index: 'i', key: Buffer.from(body), value: at % 3 ? Buffer.from(body) : null }],
              }),
            );
          }
          expect(new Set((await Promise.all(answers)).flatMap(outcomes))).toEqual(new Set(['appended']));
          await reopen(round % 2 || harness.killAndReopen === undefined ? 'cleanly' : 'killed');
        }
        const found: string[] = [];
        for (let offset = 0; offset < expected.length; ) {
          const result = await engine.read(1, { fromOffset: offset, maxBytes: 5000, atLeastOne: true });
          if (result.outcome !== 'read') throw new Error('not read');
          found.push(...parsePayloads(result.payloads).map((payload) => payload.body));
          offset = result.nextOffset;
          result.release();
        }
        expect(found).toEqual(expected);
        expect((await engine.index('i').range({ limit: 10_000 })).length).toBe(
          expected.filter((body) => Number(body.split('/')[1]) % 3 !== 0).length,
        );
      });
    });
  });
}

/** Lets what is runnable run. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Waits until the condition holds; the test's time limit ends it. */
async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => setTimeout(resolve, 1));
}
