/**
 * One run of the real embedded engine on a simulated disk and clock, of which every choice follows from the seed: what is asked, how
 * long the disk takes and in which order it answers, when it fails, when the power goes and what is left then, how the wall clock
 * jumps. The trace of a run is everything that the disk was asked and everything that the engine answered, as a hash.
 */
import { createHash } from 'node:crypto';
import { crc32c } from '../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import type { StorageEngine } from '../../src/storage/engine.ts';
import {
  type CrashPolicy,
  type DiskCall,
  type DiskFault,
  SimulatedDisk,
  seededRandom,
} from '../fakes/simulated-disk.ts';
import { smallSettings } from '../storage/embedded/small-settings.ts';
import { testPayloadFormat } from '../storage/test-payload.ts';
import { EventLoop, settle } from './event-loop.ts';
import { type AfterCrash, Workload } from './workload.ts';

export interface SimulationResult {
  readonly seed: number;
  readonly failures: readonly string[];
  /** The same for the same seed and number of operations, on any machine. */
  readonly traceHash: string;
  readonly lives: number;
  readonly faults: number;
  readonly events: number;
  readonly counts: ReadonlyMap<string, number>;
}

export interface SimulationOptions {
  readonly seed: number;
  /** What is asked of the engine, over all its lives. */
  readonly steps: number;
  /** Every traced line, for looking at a run. */
  readonly onTrace?: (line: string) => void;
}

const policies: readonly CrashPolicy[] = ['kill', 'none', 'all', 'prefix', 'subset'];
const flushIntervalMs = 500;
/** Flushes under way when the interval is over, and those of other files before it. */
const longestFlushMs = 1500;
const stuckAfterEvents = 20_000;

export function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const loop = new EventLoop();
  return loop.within(() => new Simulation(options, loop).run());
}

class Simulation {
  private readonly options: SimulationOptions;
  private readonly loop: EventLoop;
  private readonly random: () => number;
  private readonly hash = createHash('sha1');
  private readonly workload: Workload;
  private disk: SimulatedDisk;
  private isSlow = false;
  private faultProbability = 0;
  private faults = 0;
  private lives = 0;
  /** Operations of this life. */
  private done = 0;
  private isDead = false;

  constructor(options: SimulationOptions, loop: EventLoop) {
    this.options = options;
    this.loop = loop;
    this.random = seededRandom(options.seed);
    this.disk = this.prepare(new SimulatedDisk({ seed: options.seed }));
    this.workload = new Workload({
      random: this.random,
      moment: () => this.disk.moment,
      nowMs: () => loop.monotonicMs(),
      trace: (what) => this.trace(what),
      largeEvery: options.seed % 2 === 0 ? 6 : 17,
    });
  }

  async run(): Promise<SimulationResult> {
    const { seed, steps } = this.options;
    let left = steps;
    let crash: AfterCrash | undefined;
    try {
      while (left > 0 && this.workload.failures.length === 0) {
        const budget = Math.min(left, 10 + Math.floor(this.random() * 120));
        this.done = 0;
        crash = await this.live(budget, crash);
        left -= Math.max(1, this.done);
      }
      // What the last crash left is looked at as well.
      if (this.workload.failures.length === 0) await this.live(0, crash);
    } catch (error) {
      this.workload.fail(`${(error as Error).stack}`);
    }
    return {
      seed,
      failures: this.workload.failures,
      traceHash: this.hash.digest('hex'),
      lives: this.lives,
      faults: this.faults,
      events: this.loop.steps,
      counts: this.workload.counts,
    };
  }

  /** From one start of the engine to its end. Answers how it ended. */
  private async live(operations: number, before: AfterCrash | undefined): Promise<AfterCrash | undefined> {
    this.lives++;
    this.trace(`life ${this.lives}`);
    this.isSlow = this.random() < 0.2;
    const mayFail = this.random() < 0.25 && operations > 0;
    this.faultProbability = 0;
    const crashAtCall =
      this.random() < 0.5 && operations > 0
        ? this.disk.calls + 1 + Math.floor(this.random() * (this.random() < 0.2 ? 40 : operations * 4))
        : Number.POSITIVE_INFINITY;
    this.disk.crashAtCall = crashAtCall;
    const engine = await this.open();
    if (engine === undefined) return this.crash(before, false);
    const judged = this.workload.start(engine, before).then(() => true);
    if ((await this.until(judged)) === undefined) {
      this.workload.stop();
      return this.crash(before, false);
    }
    if (this.workload.failures.length > 0) return undefined;
    if (mayFail) {
      this.faultProbability = 0.003;
      this.workload.isExcused = true;
    }
    let hasFailed = false;
    void engine.failed.then((error) => {
      hasFailed = true;
      this.trace(`failed ${error.name}`);
      if (!mayFail) this.workload.fail(`the engine failed: ${error.stack}`);
    });
    for (let at = 0; at < operations && !this.isDead && !hasFailed; at++) {
      const room = engine.appendRoom();
      if (room !== undefined) await this.until(Promise.race([room, engine.failed]));
      if (this.random() < 0.01) this.loop.jumpWall(Math.floor((this.random() - 0.5) * 1_200_000));
      this.done++;
      this.workload.operate();
      await settle();
      const dice = this.random();
      if (dice < 0.12 || this.workload.inFlight > 30) {
        await this.untilQuiet(() => hasFailed);
        if (!hasFailed && !this.isDead && this.random() < 0.3) await this.until(this.workload.checkIndex());
      } else if (dice < 0.17) await this.pass(this.random() * 700);
      else await this.stepTimes(Math.floor(this.random() * 12));
      if (this.workload.failures.length > 0) return undefined;
    }
    if (!hasFailed && !this.isDead && !mayFail && this.random() < 0.3) {
      await this.untilQuiet(() => hasFailed);
      const closed = engine.close().then(() => true);
      if ((await this.until(closed)) !== undefined) {
        this.workload.stop();
        return this.crash(undefined, true);
      }
    }
    const isExact = !mayFail;
    this.workload.stop();
    const crash = this.crash(undefined, false);
    return isExact ? crash : { ...crash, asyncDurableBeforeMs: -1 };
  }

  private async open(): Promise<StorageEngine | undefined> {
    return this.until(
      openEmbeddedEngine({
        directory: '/data',
        payloadFormat: testPayloadFormat,
        crc32c,
        fileSystem: this.disk,
        clock: this.loop,
        settings: { ...smallSettings, flushIntervalMs },
      }),
    );
  }

  /** `unjudged`: how the crash was before, where the life that came after it ended before it was looked at. */
  private crash(unjudged: AfterCrash | undefined, isClean: boolean): AfterCrash {
    const policy = policies[Math.floor(this.random() * policies.length)]!;
    const nowMs = this.loop.monotonicMs();
    const crash: AfterCrash = {
      moment: this.disk.moment,
      keepsWritten: policy === 'kill' || isClean,
      epoch: isClean ? 'same' : 'larger',
      asyncDurableBeforeMs: nowMs - flushIntervalMs - longestFlushMs,
    };
    this.trace(`crash ${policy}`);
    for (const path of this.disk.files()) {
      if (path.includes('/commitlog/')) this.hash.update(this.disk.contents(path));
    }
    this.loop.forgetAll();
    this.isDead = false;
    this.disk = this.prepare(this.disk.crash(policy, Math.floor(this.random() * 2 ** 31)));
    // What nobody looked at after a power cut is no better after a kill; what was durable then is so now.
    if (unjudged === undefined) return crash;
    const keepsWritten = unjudged.keepsWritten && (policy === 'kill' || unjudged.epoch !== 'larger');
    return { ...unjudged, keepsWritten, epoch: unjudged.epoch === 'larger' ? 'larger' : 'any' };
  }

  private prepare(disk: SimulatedDisk): SimulatedDisk {
    disk.latency = (call) => this.loop.sleep(this.latencyMs(call));
    disk.fault = (call) => this.faultAt(call);
    void disk.died.then(() => {
      if (this.disk === disk) this.isDead = true;
    });
    return disk;
  }

  private latencyMs({ name }: DiskCall): number {
    const factor = this.isSlow ? 10 : 1;
    const dice = this.random();
    if (name === 'datasync' || name === 'syncDirectory') return factor * (0.2 + dice * dice * 12);
    if (name === 'write' || name === 'read') return factor * dice * dice * 2;
    return factor * dice * 0.5;
  }

  private faultAt(call: DiskCall): DiskFault | undefined {
    this.trace(`${call.name} ${call.path} ${call.sizeBytes}`);
    if (this.random() >= this.faultProbability) return undefined;
    if (call.name === 'close' || call.name === 'stat' || call.name === 'lock') return undefined;
    this.faults++;
    const code = call.name === 'write' && this.random() < 0.7 ? 'ENOSPC' : 'EIO';
    this.trace(code);
    return { kind: 'error', code, doneBytes: Math.floor(this.random() * call.sizeBytes) };
  }

  private async stepTimes(times: number): Promise<void> {
    for (let left = times; left > 0 && !this.isDead; left--) if (!(await this.loop.step())) return;
  }

  private async pass(forMs: number): Promise<void> {
    let isOver = false;
    this.loop.after(forMs, () => {
      isOver = true;
    });
    for (let events = 0; !isOver && !this.isDead; events++) {
      await this.loop.step();
      if (events > stuckAfterEvents) throw new Error('time stands still');
    }
  }

  private async untilQuiet(isOver: () => boolean): Promise<void> {
    for (let events = 0; this.workload.inFlight > 0 && !this.isDead && !isOver(); events++) {
      if (!(await this.loop.step()) || events > stuckAfterEvents) {
        this.workload.fail(`${this.workload.inFlight} calls are never answered`);
        return;
      }
    }
  }

  /** Runs events until the promise is settled; undefined when the disk dies first. */
  private async until<T>(promise: Promise<T>): Promise<T | undefined> {
    let result: { readonly value: T } | { readonly error: unknown } | undefined;
    promise.then(
      (value) => {
        result = { value };
      },
      (error: unknown) => {
        result = { error };
      },
    );
    await settle();
    for (let events = 0; result === undefined && !this.isDead; events++) {
      if (!(await this.loop.step()) || events > stuckAfterEvents) throw new Error('nothing happens any more');
    }
    const settled = result as { readonly value: T } | { readonly error: unknown } | undefined;
    if (settled === undefined) return undefined;
    if ('error' in settled) throw settled.error;
    return settled.value;
  }

  private trace(what: string): void {
    const line = `${this.loop.steps} ${this.loop.monotonicMs()} ${what}\n`;
    this.hash.update(line);
    this.options.onTrace?.(line);
  }
}
