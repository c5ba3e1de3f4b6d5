/**
 * Random rewrites, trims, drops and space cleaning over an engine on a simulated disk, beside a model of what each queue must hold. Things
 * are asked one after the other, so after a crash the queues are exactly as before or as after the last one.
 */
import { crc32c } from '../../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../../src/storage/embedded/embedded-engine.ts';
import type { EmbeddedSettings } from '../../../src/storage/embedded/settings.ts';
import type { RewriteVerdict, StorageEngine } from '../../../src/storage/engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { type CrashPolicy, type SimulatedDisk, seededRandom } from '../../fakes/simulated-disk.ts';
import { makePayload, parsePayloads, testPayloadFormat } from '../test-payload.ts';
import { smallSettings } from './small-settings.ts';

interface ModelEntry {
  readonly base: number;
  readonly count: number;
  readonly body: string;
  readonly sizeBytes: number;
}

interface ModelQueue {
  readonly start: number;
  readonly next: number;
  readonly entries: readonly ModelEntry[];
}

type Model = ReadonlyMap<number, ModelQueue>;

const longestWaitSteps = 2000;

export class CleaningScenario {
  readonly failures: string[] = [];
  disk: SimulatedDisk;
  engine: StorageEngine | undefined;
  /** What an operation that failed may reject with; anything where a fault is set on the disk. */
  private readonly random: () => number;
  private readonly settings: Partial<EmbeddedSettings>;
  private clock = new VirtualClock();
  private model: Model = new Map();
  /** As the operation under way will leave it. */
  private after: Model | undefined;
  private isDead = false;
  private nextQueue = 1;
  private nextBody = 0;

  constructor(disk: SimulatedDisk, seed: number, settings: Partial<EmbeddedSettings> = smallSettings) {
    this.disk = disk;
    this.random = seededRandom(seed);
    this.settings = settings;
  }

  async open(): Promise<void> {
    this.isDead = false;
    this.clock = new VirtualClock(this.clock.nowMs() + 1);
    const { disk } = this;
    void disk.died.then(() => {
      if (disk === this.disk) this.isDead = true;
    });
    const opening = openEmbeddedEngine({
      directory: '/data',
      payloadFormat: testPayloadFormat,
      crc32c,
      fileSystem: this.disk,
      clock: this.clock,
      settings: this.settings,
    });
    this.engine = await this.passing(opening);
    if (this.engine !== undefined) await this.judge();
  }

  async close(): Promise<void> {
    await this.passing(this.engine!.close());
  }

  crash(policy: CrashPolicy, seed: number): void {
    this.isDead = true;
    this.disk = this.disk.crash(policy, seed);
    this.engine = undefined;
  }

  async fill(): Promise<void> {
    await this.create();
    await this.create();
    for (let at = 0; at < 6; at++) await this.append(12);
  }

  /** Things one after the other. False when the disk died. */
  async work(operations: number): Promise<boolean> {
    for (let at = 0; at < operations && !this.isDead && this.failures.length === 0; at++) {
      const dice = this.random();
      if (dice < 0.35) await this.append(1 + Math.floor(this.random() * 12));
      else if (dice < 0.7) await this.rewrite();
      else if (dice < 0.8) await this.trim();
      else if (dice < 0.84) await this.create();
      else if (dice < 0.87) await this.drop();
      else await this.idle();
    }
    return !this.isDead;
  }

  /** Lets time pass, in which space is looked over and cleaned. */
  async idle(): Promise<void> {
    for (let at = 0; at < 30 && !this.isDead; at++) {
      await this.clock.advance(20);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  async rewrite(): Promise<void> {
    const salt = Math.floor(this.random() * 1000);
    const requests = [...this.model.keys()]
      .filter(() => this.random() < 0.6)
      .map((queue) => {
        const { start, next } = this.model.get(queue)!;
        const isWhole = this.random() < 0.6;
        return {
          queue,
          untilOffset: isWhole ? next : start + Math.floor(this.random() * (next - start + 1)),
        };
      });
    const after = new Map(this.model);
    for (const { queue, untilOffset } of requests) {
      const before = after.get(queue)!;
      const entries: ModelEntry[] = [];
      for (const entry of before.entries) {
        const end = entry.base + entry.count;
        const verdict = end > untilOffset ? 'keep' : verdictOf(entry.body, entry.count, salt);
        if (verdict === 'drop' && end < before.next) continue;
        if (!Buffer.isBuffer(verdict)) entries.push(entry);
        else entries.push({ ...entry, body: `${entry.body}'`, sizeBytes: verdict.length });
      }
      after.set(queue, { ...before, entries });
    }
    await this.change(after, async (engine) => {
      const seen = new Map<number, number>();
      await engine.rewrite(
        requests.map(({ queue, untilOffset }) => ({
          queue,
          untilOffset,
          decide: (payload, facts): RewriteVerdict => {
            const [parsed] = parsePayloads([payload]);
            if (parsed!.baseOffset !== facts.baseOffset) this.fail('an offered payload has another offset');
            if (facts.baseOffset < (seen.get(queue) ?? 0)) this.fail('entries are offered out of order');
            seen.set(queue, facts.baseOffset + facts.count);
            return verdictOf(parsed!.body, facts.count, salt);
          },
        })),
      );
    });
    if (this.random() < 0.3) await this.judge();
  }

  /** Everything in the engine is as in the model, or as the operation that was cut off would have left it. */
  async judge(): Promise<void> {
    const { engine } = this;
    if (engine === undefined) return;
    const candidates = this.after === undefined ? [this.model] : [this.model, this.after];
    const wrongs: string[] = [];
    for (const candidate of candidates) {
      const wrong = await this.passing(this.compare(engine, candidate)).catch((error: unknown) => {
        if (this.disk.fault === undefined) return `a look rejected: ${error}`;
        this.isDead = true;
        return undefined;
      });
      if (this.isDead) return;
      if (wrong === undefined) {
        this.model = candidate;
        this.after = undefined;
        return;
      }
      wrongs.push(wrong);
    }
    this.fail(wrongs.join(' | '));
  }

  private async compare(engine: StorageEngine, model: Model): Promise<string | undefined> {
    for (let queue = 1; queue < this.nextQueue; queue++) {
      const expected = model.get(queue);
      const bounds = await engine.bounds(queue);
      if (expected === undefined) {
        if (bounds !== undefined) return `queue ${queue} is there`;
        continue;
      }
      if (bounds?.startOffset !== expected.start || bounds.visibleEndOffset !== expected.next) {
        return `queue ${queue} has bounds ${JSON.stringify(bounds)}, not ${expected.start} to ${expected.next}`;
      }
      const found: string[] = [];
      for (let offset = expected.start; ; ) {
        const result = await engine.read(queue, {
          fromOffset: offset,
          maxBytes: Math.floor(this.random() * 2000),
          atLeastOne: true,
        });
        if (result.outcome !== 'read') return `queue ${queue} at ${offset} answers ${JSON.stringify(result)}`;
        if (result.payloads.length === 0) break;
        for (const { baseOffset, body } of parsePayloads(result.payloads))
          found.push(`${baseOffset}:${body}`);
        offset = result.nextOffset;
        result.release();
      }
      const wanted = expected.entries.map(({ base, body }) => `${base}:${body}`);
      if (found.join() !== wanted.join()) return `queue ${queue} holds ${found.join()}, not ${wanted.join()}`;
      const bytes = expected.entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      const sizeBytes = await engine.sizeBytes(queue);
      if (sizeBytes !== bytes) return `queue ${queue} has ${sizeBytes} bytes, not ${bytes}`;
      const at = Math.floor(this.random() * expected.next);
      const next = expected.entries.find(({ base, count }) => base + count > Math.max(at, expected.start));
      const [facts] = await engine.entries(queue, at, 1);
      if (facts?.baseOffset !== next?.base) return `queue ${queue} at ${at}: an entry ${facts?.baseOffset}`;
    }
    return undefined;
  }

  private async append(entries: number): Promise<void> {
    const queues = [...this.model.keys()];
    if (queues.length === 0) return;
    const after = new Map(this.model);
    const planned = Array.from({ length: entries }, () => {
      const queue = queues[Math.floor(this.random() * queues.length)]!;
      const count = 1 + Math.floor(this.random() * 3);
      const body = `b${this.nextBody++}`;
      const payload = makePayload(count, body, Math.floor(this.random() ** 6 * 6000));
      const before = after.get(queue)!;
      const entry: ModelEntry = { base: before.next, count, body, sizeBytes: payload.length };
      after.set(queue, { ...before, next: before.next + count, entries: [...before.entries, entry] });
      return { queue, kind: 'data' as const, count, maxTimestampMs: -1, payload };
    });
    await this.change(after, async (engine) => {
      const results = await engine.append({ durability: 'sync', entries: planned });
      if (!results.every((result) => result.outcome === 'appended')) throw new Error('not appended');
    });
  }

  private async trim(): Promise<void> {
    const queues = [...this.model];
    const found = queues[Math.floor(this.random() * queues.length)];
    if (found === undefined) return;
    const [queue, { start, next, entries }] = found;
    const to = Math.max(start, Math.floor((0.5 + this.random() * 0.5) * next));
    const left = entries.filter(({ base, count }) => base + count > to);
    await this.change(new Map(this.model).set(queue, { start: to, next, entries: left }), (engine) =>
      engine.trim(queue, to),
    );
  }

  private async create(): Promise<void> {
    const queue = this.nextQueue++;
    await this.change(new Map(this.model).set(queue, { start: 0, next: 0, entries: [] }), (engine) =>
      engine.catalogue.update({ changes: [], createQueues: [queue] }),
    );
  }

  private async drop(): Promise<void> {
    const [queue] = this.model.keys();
    if (queue === undefined || this.model.size < 2) return;
    const after = new Map(this.model);
    after.delete(queue);
    await this.change(after, (engine) => engine.catalogue.update({ changes: [], dropQueues: [queue] }));
  }

  private async change(after: Model, ask: (engine: StorageEngine) => Promise<unknown>): Promise<void> {
    const { engine } = this;
    if (engine === undefined || this.isDead) return;
    this.after = after;
    try {
      const done = await this.passing(ask(engine).then(() => true));
      if (done !== true) return;
      this.model = after;
      this.after = undefined;
    } catch (error) {
      if (this.disk.fault === undefined) this.fail(`a call was rejected: ${(error as Error).stack}`);
      // What was refused may be found to have been done after the next crash, and only then.
      this.isDead = true;
    }
  }

  /** Undefined when the disk or the engine died before. */
  private async passing<T>(promise: Promise<T>): Promise<T | undefined> {
    let isDone = false;
    const dead = Symbol('dead');
    const failed = this.engine?.failed.then(() => dead as symbol) ?? new Promise<symbol>(() => {});
    const ended = Promise.race([promise, this.disk.died.then(() => dead as symbol), failed]);
    ended.then(
      () => {
        isDone = true;
      },
      () => {
        isDone = true;
      },
    );
    promise.catch(() => {});
    for (let step = 0; !isDone; step++) {
      if (step > longestWaitSteps) {
        this.fail('a call is never answered');
        this.isDead = true;
        return undefined;
      }
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (step % 3 === 2) await this.clock.advance(5);
    }
    const result = await ended;
    if (result === dead) {
      this.isDead = true;
      return undefined;
    }
    return result as T;
  }

  private fail(message: string): void {
    this.failures.push(message);
  }
}

function verdictOf(body: string, count: number, salt: number): RewriteVerdict {
  let hash = salt;
  for (const character of body) hash = (Math.imul(hash, 31) + character.charCodeAt(0)) | 0;
  const dice = Math.abs(hash) % 10;
  if (dice < 4) return 'drop';
  if (dice < 5) return makePayload(count, `${body}'`, Math.abs(hash) % 500);
  return 'keep';
}
