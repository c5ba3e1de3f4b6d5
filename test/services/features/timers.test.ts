/** The timer engine by itself, on a virtual clock: order, numbers, jumps of the clock, two at once, memory, room given back. */
import { describe, expect, it } from 'vitest';
import { buildRecordBatch } from '../../../protocol/records/record-batch-builder.ts';
import { HiddenTrim } from '../../../src/services/features/timers/hidden-trim.ts';
import {
  LatenessBySubject,
  maxSubjects,
  otherSubjects,
} from '../../../src/services/features/timers/lateness.ts';
import {
  TimerEngine,
  type TimerEngineSettings,
  type TimerHandler,
} from '../../../src/services/features/timers/timer-engine.ts';
import {
  keyOf,
  readTimer,
  type Timer,
  timerDelete,
  timerPut,
  timerPutForEntry,
} from '../../../src/services/features/timers/timer-row.ts';
import { TimerWindow } from '../../../src/services/features/timers/timer-window.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { silentLog } from '../../../src/util/log.ts';
import { seededRandom } from '../../fakes/simulated-disk.ts';
import { batchFormat } from './delay-scenario.ts';

const kind = 9;
const target = 1;
const hidden = 2;

async function world(settings: Partial<TimerEngineSettings> = {}) {
  const clock = new VirtualClock();
  const engine = openMemoryEngine({ payloadFormat: batchFormat, clock });
  await engine.catalogue.update({ changes: [], createQueues: [target, hidden] });
  const firedAt: number[] = [];
  const handler: TimerHandler = {
    name: 'test',
    prepare: async (timers) =>
      timers.map((timer) => ({
        entries: [
          { queue: target, kind: 'data', count: 1, maxTimestampMs: timer.dueMs, payload: timer.source },
        ],
        sizeBytes: 100,
      })),
  };
  const start = () => {
    const timers = new TimerEngine({ engine, clock, log: silentLog, settings });
    timers.register(kind, handler);
    timers.start();
    return timers;
  };
  const timers = start();
  await timers.whenIdle();
  const payload = buildRecordBatch([{ timestamp: 1, key: null, value: Buffer.from('x') }]);
  const schedule = async (...dues: number[]) => {
    const made = dues.map((dueMs) => ({
      kind,
      dueMs,
      source: { queue: hidden, offset: 0 },
      payload: Buffer.from('p'),
    }));
    const results = await engine.append({
      durability: 'sync',
      entries: made.map(() => ({ queue: hidden, kind: 'state', count: 1, maxTimestampMs: -1, payload })),
      changes: made.map((timer, entry) => timerPutForEntry(timer, entry)),
    });
    return made.map((timer, at): Timer => {
      const result = results[at]!;
      if (result.outcome !== 'appended') throw new Error(result.outcome);
      const placed = { ...timer, source: { queue: hidden, offset: result.baseOffset } };
      timers.added(placed);
      return placed;
    });
  };
  /** Due times of what was delivered, in order. */
  const delivered = async () =>
    (await engine.entries(target, 0, 1e6)).map(({ maxTimestampMs }) => maxTimestampMs);
  return { clock, engine, timers, start, schedule, delivered, firedAt };
}

describe('timers', () => {
  it('ten thousand of one millisecond all fire, in groups', async () => {
    const { clock, timers, schedule, delivered } = await world({ maxLoaded: 500, maxGroupTimers: 64 });
    const dueMs = clock.nowMs() + 5000;
    for (let at = 0; at < 10; at++) await schedule(...new Array<number>(1000).fill(dueMs));
    expect(timers.loaded).toBeLessThanOrEqual(1000);
    await clock.advance(4999);
    expect(await delivered()).toEqual([]);
    await clock.advance(1);
    await timers.whenIdle();
    expect(await delivered()).toEqual(new Array(10_000).fill(dueMs));
    expect(timers.lateness.total).toBe(10_000);
  });

  it('fire in due order, those too that come before what is loaded, and after a start', async () => {
    const { clock, timers, schedule, delivered, start } = await world({ maxLoaded: 40, maxGroupTimers: 7 });
    const nowMs = clock.nowMs();
    const random = seededRandom(3);
    const dues: number[] = [];
    for (let at = 0; at < 300; at++) {
      const dueMs = nowMs + 1 + Math.floor(random() * 10_000);
      dues.push(dueMs);
      await schedule(dueMs);
      expect(timers.loaded).toBeLessThanOrEqual(80);
    }
    await clock.advance(5000);
    await timers.close();
    const again = start();
    await again.whenIdle();
    await clock.advance(6000);
    await again.whenIdle();
    expect(await delivered()).toEqual(dues.sort((a, b) => a - b));
  });

  it('go by the wall clock: one set forward makes them due, one set back makes them wait, and they fire once', async () => {
    const { clock, timers, schedule, delivered } = await world();
    const nowMs = clock.nowMs();
    await schedule(nowMs + 3_600_000, nowMs + 60_000);
    clock.jumpWall(120_000);
    await clock.advance(1000);
    expect(await delivered()).toEqual([nowMs + 60_000]);
    clock.jumpWall(-2 * 3_600_000);
    await clock.advance(3_600_000);
    expect(await delivered()).toHaveLength(1);
    await clock.advance(2 * 3_600_000);
    await timers.whenIdle();
    expect(await delivered()).toEqual([nowMs + 60_000, nowMs + 3_600_000]);
    clock.jumpWall(-10 * 3_600_000);
    await clock.advance(20 * 3_600_000);
    expect(await delivered()).toHaveLength(2);
  });

  it('fire once where two engines run at the same time', async () => {
    const { clock, timers, schedule, delivered, start } = await world({ maxGroupTimers: 3 });
    const nowMs = clock.nowMs();
    const dues = Array.from({ length: 200 }, (_, at) => nowMs + 100 + (at % 10));
    await schedule(...dues);
    const other = start();
    await other.whenIdle();
    await clock.advance(200);
    await Promise.all([timers.whenIdle(), other.whenIdle()]);
    expect((await delivered()).sort()).toEqual(dues.sort());
  });

  it('what was cancelled a moment before does not fire', async () => {
    const { clock, engine, timers, schedule, delivered } = await world();
    const [first, second] = await schedule(clock.nowMs() + 10, clock.nowMs() + 10);
    // The row goes and nobody tells the engine, as another process would do it.
    await engine.append({ durability: 'sync', entries: [], changes: [timerDelete(first!)] });
    await clock.advance(10);
    await timers.whenIdle();
    expect(await delivered()).toEqual([second!.dueMs]);
  });

  it('a refusal of the engine is tried again, nothing is lost', async () => {
    const { clock, engine, timers, schedule, delivered } = await world();
    const append = engine.append.bind(engine);
    let refusals = 3;
    engine.append = async (group) =>
      group.conditions !== undefined && refusals-- > 0
        ? group.entries.map(() => ({ outcome: 'refused', reason: 'storage-fault' }) as const)
        : append(group);
    await schedule(clock.nowMs() + 10, clock.nowMs() + 20);
    await clock.advance(5000);
    await timers.whenIdle();
    expect(await delivered()).toHaveLength(2);
  });

  it('do not wait for the disk group by group, and no more groups are on their way than the limit', async () => {
    const { clock, engine, timers, schedule, delivered } = await world({
      maxGroupTimers: 10,
      maxGroupsInFlight: 4,
    });
    const append = engine.append.bind(engine);
    const dues = Array.from({ length: 200 }, (_, at) => clock.nowMs() + 1000 + (at % 5));
    await schedule(...dues);
    let onTheirWay = 0;
    let most = 0;
    engine.append = async (group) => {
      const results = await append(group);
      onTheirWay += 1;
      most = Math.max(most, onTheirWay);
      await new Promise<void>((resolve) => clock.after(50, resolve));
      onTheirWay -= 1;
      return results;
    };
    await clock.advance(1500);
    await timers.whenIdle();
    expect(await delivered()).toEqual(dues.sort((a, b) => a - b));
    expect(most).toBe(4);
  });
});

describe('room of what has fired', () => {
  it('is given back up to the first that waits, also while one is moved', async () => {
    const { clock, engine, timers, schedule } = await world();
    const nowMs = clock.nowMs();
    const trim = new HiddenTrim({ engine, timers, clock, log: silentLog });
    trim.watch([hidden]);
    await schedule(nowMs + 10, nowMs + 20);
    const [waiting] = await schedule(nowMs + 1_000_000);
    await schedule(nowMs + 30, nowMs + 2_000_000);
    await clock.advance(50);
    await timers.whenIdle();
    // While the pass reads, the waiting one is moved from ahead of it to behind it.
    const list = timers.list.bind(timers);
    let isMoved = false;
    timers.list = async (from, limit) => {
      const page = isMoved ? await list(from, limit) : [];
      if (isMoved) return page;
      isMoved = true;
      const moved = { ...waiting!, dueMs: nowMs + 60 };
      timers.moving(moved);
      await engine.append({
        durability: 'sync',
        entries: [],
        changes: [timerDelete(waiting!), timerPut(moved)],
      });
      timers.removed(waiting!);
      timers.added(moved);
      return (await list(from, limit)).filter(({ dueMs }) => dueMs !== moved.dueMs);
    };
    await trim.runOnce();
    expect((await engine.bounds(hidden))?.startOffset).toBe(waiting!.source.offset);
    await clock.advance(100);
    await timers.whenIdle();
    await trim.runOnce();
    expect((await engine.bounds(hidden))?.startOffset).toBe(4);
    await clock.advance(3_000_000);
    await timers.whenIdle();
    await trim.runOnce();
    expect(await engine.bounds(hidden)).toEqual({ startOffset: 5, visibleEndOffset: 5 });
    expect(await engine.sizeBytes(hidden)).toBe(0);
  });
});

describe('the window of timers', () => {
  it('holds against a sorted list, whatever comes and goes while a page is read', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = seededRandom(seed);
      const window = new TimerWindow(16);
      const rows = new Map<string, Timer>();
      let next = 1;
      let nowMs = 0;
      const change = () => {
        if (random() < 0.7) {
          const timer = {
            kind,
            dueMs: nowMs + Math.floor(random() * 500),
            source: { queue: 0, offset: next++ },
            payload: Buffer.alloc(0),
          };
          rows.set(keyOf(timer).toString('latin1'), timer);
          window.add(keyOf(timer), timer);
        } else {
          const all = [...rows.keys()];
          const key = all[Math.floor(random() * all.length)];
          if (key === undefined) return;
          rows.delete(key);
          window.remove(Buffer.from(key, 'latin1'));
        }
      };
      for (let step = 0; step < 400; step++) {
        for (let at = Math.floor(random() * 6); at > 0; at--) change();
        while (window.needsMore) {
          const from = window.beginPage().toString('latin1');
          const page = [...rows.keys()]
            .filter((key) => key >= from)
            .sort()
            .slice(0, 8);
          const read = page.map((key) => ({ key: Buffer.from(key, 'latin1'), timer: rows.get(key)! }));
          for (let at = Math.floor(random() * 3); at > 0; at--) change();
          window.endPage(read, page.length < 8);
        }
        nowMs += Math.floor(random() * 60);
        const due = window.takeDue(nowMs, 1000).map((timer) => keyOf(timer).toString('latin1'));
        const expected = [...rows.keys()].filter((key) => rows.get(key)!.dueMs <= nowMs).sort();
        if (window.needsMore) expect(expected.slice(0, due.length)).toEqual(due);
        else expect(due).toEqual(expected);
        for (const key of due) rows.delete(key);
        expect(window.size).toBeLessThanOrEqual(40);
      }
    }
  });

  it('reads what it wrote', () => {
    const timer = {
      kind: 7,
      dueMs: 2 ** 52 + 1,
      source: { queue: 2 ** 40, offset: 2 ** 51 },
      payload: Buffer.from('x'),
    };
    expect(readTimer(keyOf(timer), timer.payload)).toEqual(timer);
  });
});

describe('lateness', () => {
  it('is told for so many subjects apart, and for the others together', () => {
    const lateness = new LatenessBySubject();
    for (let at = 0; at < maxSubjects + 50; at++) lateness.observe(`topic ${at}`, at === 3 ? -5 : 10);
    lateness.observe('topic 0', 30);
    expect(lateness.sums.size).toBe(maxSubjects + 1);
    expect(lateness.sums.get('topic 0')).toEqual({ count: 2, sumMs: 40 });
    expect(lateness.sums.get('topic 3')).toEqual({ count: 1, sumMs: 0 });
    expect(lateness.sums.get(otherSubjects)).toEqual({ count: 50, sumMs: 500 });
  });
});
