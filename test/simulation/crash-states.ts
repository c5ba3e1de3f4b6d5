/**
 * Crash states, enumerated: a workload of the real engine is recorded on a disk that remembers every change and every sync; then, for
 * each moment of it, the disk is left as a power cut there could have left it, the engine opened on that, and what it holds compared
 * with what had been acknowledged by then.
 *
 * At each moment: nothing that was not synced, all of it, every prefix of it, random subsets of its pages and names, and a write
 * torn at a sector or lacking a page.
 */
import { createHash } from 'node:crypto';
import { crc32c } from '../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import type { StorageEngine } from '../../src/storage/engine.ts';
import { type Leftover, SimulatedDisk, seededRandom } from '../fakes/simulated-disk.ts';
import { smallSettings } from '../storage/embedded/small-settings.ts';
import { testPayloadFormat } from '../storage/test-payload.ts';
import { EventLoop, settle } from './event-loop.ts';
import { Workload } from './workload.ts';

export interface CrashStatesOptions {
  readonly seed: number;
  /** Asked of the engine in the recorded run. */
  readonly operations: number;
  /** So many states, spread over all there are; undefined: all. */
  readonly states: number | undefined;
  readonly subsets: number;
}

export interface CrashStatesResult {
  readonly failures: readonly string[];
  /** Changes and syncs of the recorded run. */
  readonly moments: number;
  readonly possible: number;
  readonly tried: number;
  /** Of those tried, with different bytes or names. */
  readonly different: number;
  /** Calls of the recorded run by name and folder. */
  readonly calls: ReadonlyMap<string, number>;
}

interface State {
  readonly moment: number;
  readonly leftover: Leftover;
}

const mostFailures = 5;
const tornWrites = 2;
const stuckAfterEvents = 50_000;
/** One in so many states is left by a second crash right after its recovery. */
const crashAgainEvery = 7;

export function tryCrashStates(options: CrashStatesOptions): Promise<CrashStatesResult> {
  const loop = new EventLoop();
  return loop.within(() => tryAll(options, loop));
}

async function tryAll(options: CrashStatesOptions, loop: EventLoop): Promise<CrashStatesResult> {
  const { workload, disk, calls } = await recordRun(options, loop);
  const failures = [...workload.failures];
  const all = enumerate(disk, options);
  const step = options.states === undefined ? 1 : Math.max(1, all.length / options.states);
  const contents = new Set<string>();
  let tried = 0;
  for (let at = 0; Math.floor(at) < all.length && failures.length < mostFailures; at += step) {
    const { moment, leftover } = all[Math.floor(at)]!;
    const left = disk.leftAt(moment, leftover);
    contents.add(hashOf(left));
    tried++;
    const wrong = await judgeState(workload, left, moment, loop, tried % crashAgainEvery === 0);
    for (const one of wrong) failures.push(`moment ${moment}, ${JSON.stringify(leftover)}: ${one}`);
  }
  return {
    failures,
    moments: disk.moment,
    possible: all.length,
    tried,
    different: contents.size,
    calls,
  };
}

/** Runs a workload without a crash. */
async function recordRun(
  { seed, operations }: CrashStatesOptions,
  loop: EventLoop,
): Promise<{ workload: Workload; disk: SimulatedDisk; calls: ReadonlyMap<string, number> }> {
  const random = seededRandom(seed);
  const disk = new SimulatedDisk({ seed, remembersChanges: true });
  const calls = new Map<string, number>();
  disk.latency = () => loop.sleep(random() * 3);
  disk.fault = ({ name, path }) => {
    const folder = /^\/data\/([a-z]+)/.exec(path)?.[1] ?? path.split('/').pop();
    const key = `${name} ${folder}`;
    calls.set(key, (calls.get(key) ?? 0) + 1);
    return undefined;
  };
  const workload = new Workload({
    random,
    moment: () => disk.moment,
    nowMs: () => loop.monotonicMs(),
    trace: () => {},
    largeEvery: 9,
  });
  const engine = await until(loop, open(disk, loop));
  await until(loop, workload.start(engine, undefined));
  for (let at = 0; at < operations; at++) {
    workload.operate();
    await settle();
    for (let left = Math.floor(random() * 12); left > 0; left--) await loop.step();
    // What is done in the background has its time.
    if (random() < 0.06) {
      const untilMs = loop.monotonicMs() + 150;
      while (loop.monotonicMs() < untilMs && (await loop.step()));
    }
  }
  for (let events = 0; workload.inFlight > 0 && events < stuckAfterEvents; events++) await loop.step();
  if (workload.inFlight > 0) workload.fail('calls are never answered');
  workload.stop();
  loop.forgetAll();
  return { workload, disk, calls };
}

function enumerate(disk: SimulatedDisk, { subsets, seed }: CrashStatesOptions): readonly State[] {
  const states: State[] = [];
  for (let moment = 0; moment <= disk.moment; moment++) {
    const unsynced = disk.unsyncedAt(moment);
    states.push({ moment, leftover: { kind: 'none' } });
    if (unsynced.length === 0) continue;
    states.push({ moment, leftover: { kind: 'all' } });
    for (const { order } of unsynced.slice(0, -1))
      states.push({ moment, leftover: { kind: 'prefix', order } });
    for (let at = 0; at < subsets; at++) {
      states.push({ moment, leftover: { kind: 'subset', seed: (seed * 8191 + moment) * 64 + at } });
    }
    const writes = unsynced.filter(({ writtenBytes }) => writtenBytes !== undefined).slice(-tornWrites);
    for (const { order } of writes) {
      for (const unit of ['sector', 'page'] as const) {
        states.push({ moment, leftover: { kind: 'torn', order, unit, seed: seed + moment } });
      }
    }
  }
  return states;
}

async function judgeState(
  workload: Workload,
  left: SimulatedDisk,
  moment: number,
  loop: EventLoop,
  crashesAgain: boolean,
): Promise<readonly string[]> {
  const crash = { moment, keepsWritten: false, epoch: 'any', asyncDurableBeforeMs: -1 } as const;
  let disk = left;
  try {
    for (let round = 0; round < (crashesAgain ? 2 : 1); round++) {
      disk.latency = () => Promise.resolve();
      const engine = await until(loop, open(disk, loop));
      await until(loop, workload.judge(engine, crash, false));
      disk = disk.crash('none', moment);
      loop.forgetAll();
    }
  } catch (error) {
    workload.fail(`${(error as Error).stack}`);
    loop.forgetAll();
  }
  return workload.failures.splice(0);
}

function open(disk: SimulatedDisk, loop: EventLoop): Promise<StorageEngine> {
  return openEmbeddedEngine({
    directory: '/data',
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: disk,
    clock: loop,
    settings: smallSettings,
  });
}

async function until<T>(loop: EventLoop, promise: Promise<T>): Promise<T> {
  let isOver = false;
  const over = (): void => {
    isOver = true;
  };
  promise.then(over, over);
  await settle();
  for (let events = 0; !isOver; events++) {
    if (!(await loop.step()) || events > stuckAfterEvents) throw new Error('nothing happens any more');
  }
  return promise;
}

function hashOf(disk: SimulatedDisk): string {
  const hash = createHash('sha1');
  for (const path of disk.files()) hash.update(path).update(disk.contents(path));
  return hash.digest('base64');
}
