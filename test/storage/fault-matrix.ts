/**
 * One run of the embedded engine through everything it does with files, and the same run again with one file call of it struck by a
 * fault. What must hold whatever fails: nothing is acknowledged after a failed flush, nothing acknowledged is lost, what a read answers
 * is right, a fault of a read is an error of that read and no more, a want of space or files or time passes, and a new start finds all.
 */
import { crc32c } from '../../protocol/records/crc32c.ts';
import { openEmbeddedEngine } from '../../src/storage/embedded/embedded-engine.ts';
import type { FileSystem } from '../../src/storage/embedded/file-system.ts';
import type { EmbeddedSettings } from '../../src/storage/embedded/settings.ts';
import type { AppendResult, StorageEngine } from '../../src/storage/engine.ts';
import { VirtualClock } from '../../src/util/clock.ts';
import { SimulatedDisk } from '../fakes/simulated-disk.ts';
import { type CallFault, type Strike, type WatchedCall, WatchedDisk } from '../fakes/watched-disk.ts';
import { makePayload, parsePayloads, testPayloadFormat } from './test-payload.ts';

const settings: Partial<EmbeddedSettings> = {
  segmentBytes: 16 * 1024,
  slabBytes: 4096,
  tailCacheBytes: 8192,
  readBlockBytes: 4096,
  blockCacheBytes: 16 * 1024,
  sealEntries: 12,
  sealBytes: 8 * 1024,
  maxPieces: 3,
  mergeWidth: 2,
  reserveBytes: 64 * 1024,
  lowWaterBytes: 64 * 1024,
  cleanCheckIntervalMs: 500,
  cleanLeastBytes: 1024,
};
const capacityBytes = 1024 * 1024 * 1024;
const queues = [1, 2, 3];
/** What anything may take on the virtual clock, with a call that hangs for a minute. */
const longestMs = 240_000;

/** What happens to the files behind the engine's back, of which nothing that was acknowledged may be lost. */
export interface Mishap {
  readonly name: string;
  /** Before the very first start. */
  beforeAll?(disk: SimulatedDisk): Promise<void>;
  /** The first life ends by a kill, not a close. */
  readonly kills?: boolean;
  /** What was acknowledged may be gone after it, and starts are told so. */
  readonly acceptsLoss?: boolean;
  /** So many lives pass unseen between the first and the second. */
  readonly livesBetween?: number;
  /** The second life is closed as well, and a third begun. */
  readonly closesAgain?: boolean;
  readonly settings?: Partial<EmbeddedSettings>;
  /** Between the first life and the second. */
  between?(disk: SimulatedDisk, watched: WatchedDisk): Promise<void>;
}

interface Sent {
  readonly body: string;
  readonly isSync: boolean;
  state: 'acknowledged' | 'possible' | 'refused';
}

export interface Outcome {
  readonly wrong: readonly string[];
  /** Those that can be struck: all but what looks at the end whether everything is there. */
  readonly calls: readonly WatchedCall[];
  /** By each of the strikes that came to it. */
  readonly struck: readonly WatchedCall[];
  /** The first and the last call of the close in the middle. */
  readonly closing: readonly [number, number];
  readonly hasStopped: boolean;
}

/**
 * The scenario, struck or not, with what happens between two lives in it. `sites`: which calls know the place that makes them (which
 * is slow).
 */
export async function runScenario(
  strikes: readonly Strike[] = [],
  sites: 'none' | 'all' | 'after the strike' = 'none',
  mishap?: Mishap,
): Promise<Outcome> {
  const run = new FaultRun(strikes, sites === 'all', mishap);
  run.watched.namesAfterStrike = sites === 'after the strike';
  const unhandled = (error: unknown): void => void run.wrong.push(`nobody handled ${String(error)}`);
  process.on('unhandledRejection', unhandled);
  try {
    await run.all();
    await settle();
  } finally {
    process.off('unhandledRejection', unhandled);
  }
  return {
    wrong: run.wrong,
    calls: run.watched.calls.slice(0, run.strikeable),
    struck: run.watched.struck,
    closing: run.closing,
    hasStopped: run.hasEverStopped,
  };
}

class FaultRun {
  readonly wrong: string[] = [];
  hasStopped = false;
  hasEverStopped = false;
  strikeable = 0;
  private isRecovering = false;
  /** False while what a mishap broke is made again: reads may fail meanwhile. */
  private isMended = true;
  closing: readonly [number, number] = [0, 0];
  watched: WatchedDisk;
  private readonly clock = new VirtualClock();
  private disk = new SimulatedDisk({ seed: 5, capacityBytes });
  private readonly strikes: readonly Strike[];
  private readonly mishap: Mishap | undefined;
  private engine: StorageEngine | undefined;
  private readonly sent = new Map<number, Map<number, Sent>>();
  private readonly possible = new Set<string>();
  private readonly refused = new Set<string>();
  private readonly trimmed = new Map<number, number>();
  private dropped = false;
  private number = 0;

  constructor(strikes: readonly Strike[], namesSites: boolean, mishap: Mishap | undefined) {
    this.strikes = strikes;
    this.mishap = mishap;
    this.watched = new WatchedDisk(this.disk, this.clock, namesSites);
    this.watched.strikes = strikes;
    for (const queue of [...queues, 4]) this.sent.set(queue, new Map());
  }

  private get hasStruck(): boolean {
    return this.watched.struck.length > 0;
  }

  private get hasStruckFlush(): boolean {
    return this.watched.struck.some(isSync);
  }

  async all(): Promise<void> {
    await this.mishap?.beforeAll?.(this.disk);
    await this.open();
    await this.step('catalogue', (engine) =>
      engine.catalogue.version > 0
        ? Promise.resolve()
        : engine.catalogue.update({
            changes: [{ key: 'k', value: Buffer.from('v') }],
            createQueues: [...queues, 4],
          }),
    );
    if (this.hasStopped || !(await this.hasQueues())) {
      // The very first change failed: the scenario begins where that fault has passed.
      await this.recover();
      await this.engine?.catalogue
        .update({ changes: [], createQueues: [...queues, 4] })
        .catch(() => undefined);
    }
    for (let round = 0; round < 12; round++) await this.append(round, 6);
    await this.readAll(false);
    await this.step('trim', async (engine) => {
      const end = (await engine.bounds(1))!.visibleEndOffset;
      this.trimmed.set(1, end - 2);
      await engine.trim(1, end - 2);
    });
    await this.step('drop', async (engine) => {
      this.dropped = true;
      await engine.catalogue.update({ changes: [], dropQueues: [4] });
    });
    await this.pass(3000);
    for (let round = 12; round < 20; round++) await this.append(round, 4);
    await this.pass(3000);
    await this.step('look-ups', async (engine) => {
      await engine.findByTime(2, 3);
      await engine.findLargestTime(2);
      await engine.entries(2, 0, 100);
      await engine.index('rows').range({ limit: 100 });
    });
    await this.step('rewrite', (engine) =>
      engine.rewrite([{ queue: 2, untilOffset: 4, decide: () => 'keep' }]).then(() => undefined),
    );
    await this.pass(2000);
    await this.readAll(false);
    if (this.mishap?.kills === true) this.kill();
    else await this.close();
    await this.mishap?.between?.(this.disk, this.watched);
    if (this.mishap?.acceptsLoss === true) this.forgetAll();
    for (let life = this.mishap?.livesBetween ?? 0; life > 0; life--) {
      const engine = await openOn(this.disk, this.clock, this.mishap);
      await engine.append(group(1, `after ${life}`, 'sync'));
      await engine.close();
    }
    this.isMended = this.mishap === undefined;
    await this.open();
    for (let round = 20; round < 22; round++) await this.append(round, 3);
    await this.readAll(false);
    if (this.mishap?.closesAgain === true) {
      await this.close();
      await this.open();
      await this.readAll(false);
    }
    // The fault is over: what could not be read for its sake can be, and from the caches too.
    if (!this.hasStopped) {
      await this.pass(longestMs / 2);
      this.isMended = true;
      if (this.hasStruck || this.mishap !== undefined) await this.readAll(true);
    }
    this.isMended = true;
    this.judgeStop();
    await this.recover();
    await this.readAll(true);
    await this.step('an append after all', async (engine) => {
      const [result] = await engine.append(group(1, 'after', 'sync'));
      if (result?.outcome !== 'appended') this.fail(`an append after all is ${JSON.stringify(result)}`);
    });
    const { engine } = this;
    if (engine === undefined) return;
    await this.inTime('the last close', engine.close()).catch((error: Error) =>
      this.fail(`the last close: ${error.message}`),
    );
  }

  private async hasQueues(): Promise<boolean> {
    return this.engine !== undefined && (await this.engine.bounds(1)) !== undefined;
  }

  /** Opens; where the fault lets it fail, tries again as an operator would. */
  private async open(): Promise<void> {
    for (let attempt = 0; attempt <= Math.max(1, this.strikes.length); attempt++) {
      try {
        const opening = openOn(this.watched, this.clock, this.mishap).then((opened) => {
          if (this.isRecovering) this.endStrikes();
          return opened;
        });
        const engine = await this.inTime('an opening', opening);
        void engine.failed.then(() => {
          this.hasStopped = true;
          this.hasEverStopped = true;
        });
        this.engine = engine;
        return;
      } catch (error) {
        if (!this.hasStruck) this.fail(`an opening failed: ${(error as Error).message}`);
        if (this.hasStruckFlush) this.disk = this.replaceDisk('none');
      }
    }
    this.fail('it does not open when the fault is over');
  }

  private async close(): Promise<void> {
    const { engine } = this;
    this.engine = undefined;
    if (engine === undefined) return;
    const first = this.watched.calls.length + 1;
    try {
      await this.inTime('a close', engine.close());
    } catch (error) {
      if (!this.hasStruck) this.fail(`a close failed: ${(error as Error).message}`);
    }
    await settle();
    this.closing = [first, this.watched.calls.length];
    // The process is gone after it, however it went.
    if (this.hasStopped || this.hasStruckFlush) this.replaceDisk('none');
    else this.replaceDisk('kill');
    this.hasStopped = false;
  }

  /** The process is gone in the middle of its work. */
  private kill(): void {
    this.engine = undefined;
    this.replaceDisk(this.hasStopped || this.hasStruckFlush ? 'none' : 'kill');
    this.hasStopped = false;
  }

  /** Where the process stopped: power off, and a new start. */
  private async recover(): Promise<void> {
    const [struck] = this.watched.struck;
    const policy = struck !== undefined && struck.number % 2 === 0 && !this.hasStopped ? 'kill' : 'none';
    this.engine = undefined;
    this.replaceDisk(policy);
    if (policy === 'none') this.forgetAsync();
    this.hasStopped = false;
    // The new start may be struck as well; what comes after it is not.
    this.isRecovering = true;
    await this.open();
    this.isRecovering = false;
    this.endStrikes();
  }

  private endStrikes(): void {
    if (this.watched.strikes.length === 0 && this.strikeable > 0) return;
    this.watched.strikes = [];
    this.strikeable = this.watched.calls.length;
  }

  private replaceDisk(policy: 'none' | 'kill'): SimulatedDisk {
    const { calls, strikes, struck, links } = this.watched;
    const disk = this.disk.crash(policy, 3);
    this.disk = disk;
    const { namesAfterStrike } = this.watched;
    // A new start after the strike does what none without it does.
    const fresh = new WatchedDisk(
      disk,
      this.clock,
      this.watched.namesSites || (namesAfterStrike && struck.length > 0),
    );
    fresh.namesAfterStrike = namesAfterStrike;
    fresh.calls.push(...calls);
    fresh.strikes = strikes;
    fresh.struck = struck;
    for (const link of links) fresh.links.add(link);
    this.watched = fresh;
    if (policy === 'none') this.forgetAsync();
    return disk;
  }

  /** What was written and perhaps not flushed may be gone. */
  private forgetAsync(): void {
    for (const bySent of this.sent.values()) {
      for (const one of bySent.values()) {
        if (!one.isSync && one.state === 'acknowledged') {
          one.state = 'possible';
          this.possible.add(one.body);
        }
      }
    }
  }

  /** Anything acknowledged may be gone: the loss is accepted. */
  private forgetAll(): void {
    for (const bySent of this.sent.values()) {
      for (const one of bySent.values()) {
        one.state = 'possible';
        this.possible.add(one.body);
      }
    }
  }

  /** Appends a few groups at once, sync and async, to several queues, with index rows. */
  private async append(round: number, count: number): Promise<void> {
    const { engine } = this;
    if (engine === undefined) return;
    const hadStopped = this.hasStopped;
    const pending: Promise<unknown>[] = [];
    for (let at = 0; at < count; at++) {
      const queue = [...queues, 4][(round + at) % (this.dropped ? 3 : 4)]!;
      const body = `b${++this.number}`;
      const isSync = this.number % 2 === 0;
      const asked = group(queue, body, isSync ? 'sync' : 'async', this.number % 7 === 0 ? 3000 : 300);
      pending.push(
        engine.append(asked).then(([result]) => this.settled(queue, body, isSync, result!, hadStopped)),
      );
    }
    await this.inTime(`appends of round ${round}`, Promise.all(pending)).catch((error: Error) =>
      this.fail(`an append was rejected: ${error.message}`),
    );
  }

  private settled(
    queue: number,
    body: string,
    isSync: boolean,
    result: AppendResult,
    hadStopped: boolean,
  ): void {
    if (result.outcome === 'appended') {
      if (hadStopped) this.fail(`${body} was acknowledged after the log had failed`);
      this.sent.get(queue)!.set(result.baseOffset, { body, isSync, state: 'acknowledged' });
    } else if (result.outcome === 'unknown') this.possible.add(body);
    else if (result.outcome === 'refused') {
      this.refused.add(body);
      if (!this.hasStruck) this.fail(`${body} was refused (${result.reason}) without a fault`);
    } else this.fail(`${body} was answered ${result.outcome}`);
  }

  private async readAll(mustSucceed: boolean): Promise<void> {
    const { engine } = this;
    if (engine === undefined) return;
    for (const queue of this.dropped ? queues : [...queues, 4])
      await this.readQueue(engine, queue, mustSucceed);
    await this.readRowsOf(engine, mustSucceed);
  }

  /** The row that was put with every entry: acknowledged together, kept together. */
  private async readRowsOf(engine: StorageEngine, mustSucceed: boolean): Promise<void> {
    const found = new Set<string>();
    try {
      const rows = await this.inTime('a read of the rows', engine.index('rows').range({ limit: 10_000 }));
      for (const { key, value } of rows) {
        found.add(key.toString());
        if (!key.equals(value)) this.fail(`the row of ${key} is ${value}`);
      }
    } catch (error) {
      if (mustSucceed || !(this.hasStruck || !this.isMended))
        this.fail(`a read of the rows: ${(error as Error).message}`);
      return;
    }
    for (const bySent of this.sent.values()) {
      for (const { body, state } of bySent.values())
        if (state === 'acknowledged' && !found.has(body)) this.fail(`the row of ${body} is lost`);
    }
    for (const body of this.refused) if (found.has(body)) this.fail(`${body} was refused and has its row`);
  }

  private async readQueue(engine: StorageEngine, queue: number, mustSucceed: boolean): Promise<void> {
    const bounds = await engine.bounds(queue);
    if (bounds === undefined) {
      const isMissing = [...this.sent.get(queue)!.values()].some(({ state }) => state === 'acknowledged');
      if (isMissing && !(queue === 4 && this.dropped)) this.fail(`queue ${queue} is gone`);
      return;
    }
    const found = new Map<number, string>();
    let hasTriedAgain = false;
    let rebuildsLeft = 20;
    // A read that met the fault can be made again at once: nothing of it may be remembered.
    const triesAgain = (): boolean => {
      if (hasTriedAgain || this.hasStopped || !this.isMended || this.watched.strikes.length > 0) return false;
      if (!isRead(this.watched.struck.at(-1))) return false;
      hasTriedAgain = true;
      return true;
    };
    for (let offset = bounds.startOffset; offset < bounds.visibleEndOffset; ) {
      try {
        const result = await this.inTime(
          `a read of queue ${queue}`,
          Promise.resolve(engine.read(queue, { fromOffset: offset, maxBytes: 2000, atLeastOne: true })),
        );
        if (result.outcome === 'damaged' && this.mishap?.acceptsLoss === true) {
          offset = result.nextOffset;
          continue;
        }
        if (result.outcome !== 'read') {
          if (triesAgain()) continue;
          if (mustSucceed || hasTriedAgain || !(this.hasStruck || !this.isMended))
            this.fail(`a read of queue ${queue} at ${offset} is ${result.outcome}`);
          return;
        }
        for (const payload of parsePayloads(result.payloads)) found.set(payload.baseOffset, payload.body);
        if (result.nextOffset <= offset) throw new Error('it does not move');
        offset = result.nextOffset;
        result.release();
      } catch (error) {
        // What asks for a damaged run has it made again, and comes back.
        if ((error as Error).name === 'RunDamagedError' && this.mishap !== undefined && rebuildsLeft-- > 0) {
          await this.pass(1000);
          continue;
        }
        if (triesAgain()) continue;
        if (mustSucceed || hasTriedAgain || !(this.hasStruck || !this.isMended))
          this.fail(`a read of queue ${queue} at ${offset}: ${(error as Error).message}`);
        return;
      }
    }
    this.judgeQueue(queue, bounds.startOffset, found);
  }

  private judgeQueue(queue: number, startOffset: number, found: ReadonlyMap<number, string>): void {
    const sent = this.sent.get(queue)!;
    if (startOffset > (this.trimmed.get(queue) ?? 0)) this.fail(`queue ${queue} begins at ${startOffset}`);
    const seen = new Set<string>();
    for (const [offset, body] of found) {
      if (seen.has(body)) this.fail(`${body} is in queue ${queue} twice`);
      seen.add(body);
      if (this.refused.has(body)) this.fail(`${body} was refused and is there`);
      const known = sent.get(offset);
      if (known?.state === 'acknowledged' && known.body !== body)
        this.fail(`queue ${queue} has ${body} at ${offset} where ${known.body} was acknowledged`);
      if (known?.body !== body && !this.possible.has(body) && !body.startsWith('after'))
        this.fail(`queue ${queue} has ${body} at ${offset}, which nobody sent there`);
    }
    for (const [offset, { body, state }] of sent) {
      if (state === 'acknowledged' && offset >= startOffset && found.get(offset) !== body)
        this.fail(`${body}, acknowledged at ${offset} of queue ${queue}, is lost`);
    }
  }

  private judgeStop(): void {
    const { struck } = this.watched;
    if (struck.length === 0) {
      if (this.hasEverStopped) this.fail('it stopped without a fault');
      return;
    }
    const passes = struck.every((call, at) => {
      const { fault } = this.strikes[at]!;
      return (
        fault.kind === 'slow' ||
        (!isSync(call) &&
          (fault.kind === 'short' ||
            ['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE'].includes(fault.code) ||
            call.call === 'OpenFile.read' ||
            call.call === 'OpenFile.readInto'))
      );
    });
    if (passes && this.hasEverStopped) this.fail('it stopped for what passes');
  }

  /** Something that may be rejected once a fault has struck. */
  private async step(what: string, action: (engine: StorageEngine) => Promise<unknown>): Promise<void> {
    const { engine } = this;
    if (engine === undefined) return;
    try {
      await this.inTime(what, action(engine));
    } catch (error) {
      if (!this.hasStruck) this.fail(`${what}: ${(error as Error).message}`);
    }
  }

  private async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 500) await this.clock.advance(500);
  }

  /** Lets time pass until it is done; fails where it never is. */
  private async inTime<T>(what: string, promise: Promise<T>): Promise<T> {
    let isOver = false;
    const over = promise.then(
      () => {
        isOver = true;
      },
      () => {
        isOver = true;
      },
    );
    for (let turn = 0; turn < 200 && !isOver; turn++) await settle();
    for (let passedMs = 0; !isOver && passedMs < longestMs; passedMs += 500) await this.clock.advance(500);
    if (!isOver) {
      this.fail(`${what} is never done`);
      throw new Error(`${what} is never done`);
    }
    await over;
    return promise;
  }

  private fail(what: string): void {
    if (this.wrong.length < 5) this.wrong.push(what);
  }
}

function isRead(call: WatchedCall | undefined): boolean {
  return call?.call === 'OpenFile.read' || call?.call === 'OpenFile.readInto';
}

function isSync(call: WatchedCall | undefined): boolean {
  return call?.call === 'OpenFile.datasync' || call?.call === 'FileSystem.syncDirectory';
}

function openOn(disk: FileSystem, clock: VirtualClock, mishap: Mishap | undefined): Promise<StorageEngine> {
  return openEmbeddedEngine({
    directory: '/data',
    payloadFormat: testPayloadFormat,
    crc32c,
    fileSystem: disk,
    clock,
    settings: { ...settings, ...mishap?.settings },
    acceptLoss: mishap?.acceptsLoss === true,
  });
}

function group(queue: number, body: string, durability: 'sync' | 'async', sizeBytes = 300) {
  return {
    durability,
    entries: [{ queue, kind: 'data', count: 1, maxTimestampMs: 1, payload: makePayload(1, body, sizeBytes) }],
    changes: [{ index: 'rows', key: Buffer.from(body), value: Buffer.from(body) }],
  } as const;
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const errorCodesOf = ['EIO', 'ENOSPC', 'EDQUOT', 'EMFILE'] as const;

/** Every fault that a call can meet. */
export function faultsOf({ call }: WatchedCall): readonly CallFault[] {
  const faults: CallFault[] = errorCodesOf.map((code) => ({ kind: 'error', code }));
  for (const ms of [300, 5_000, 60_000]) faults.push({ kind: 'slow', ms });
  if (call === 'OpenFile.write') {
    faults.push({ kind: 'error', code: 'EIO', part: 0.5 }, { kind: 'error', code: 'ENOSPC', part: 0.5 });
  }
  if (call === 'OpenFile.read' || call === 'OpenFile.readInto') faults.push({ kind: 'short' });
  return faults;
}

export function describeStrike({ site, call, path, number }: WatchedCall, fault: CallFault): string {
  const what =
    fault.kind === 'slow'
      ? `takes ${fault.ms} ms`
      : fault.kind === 'short'
        ? 'comes up short'
        : `fails with ${fault.code}${fault.part === undefined ? '' : ' half done'}`;
  return `call ${number}, ${call} of ${path}${site === '' ? '' : ` at ${site}`}, ${what}`;
}
