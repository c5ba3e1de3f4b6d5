/**
 * A random workload over an engine on a simulated disk, with a journal outside of what was asked and answered, and the judgement
 * on what the engine holds after the disk crashed: nothing durable lost, groups whole, nothing twice, order kept, index,
 * catalogue, trims and producers in step with the log.
 *
 * Every group has an entry in the first queue, so what that queue holds says which groups are there, and in which order; all
 * else must follow from it.
 */
import type {
  AppendEntry,
  AppendGroup,
  AppendResult,
  EntryFacts,
  IndexChange,
  IndexCondition,
  LinkSource,
  ProducerFacts,
  RewriteVerdict,
  StorageEngine,
} from '../../src/storage/engine.ts';
import { VirtualClock } from '../../src/util/clock.ts';
import { type CrashPolicy, type SimulatedDisk, seededRandom } from '../fakes/simulated-disk.ts';
import { makePayload, parsePayloads, type TestPayload } from './test-payload.ts';

export type OpenOnDisk = (disk: SimulatedDisk, clock: VirtualClock) => Promise<StorageEngine>;

const groupsQueue = 1;
const firstQueues = [1, 2, 3, 4];
const indexName = 'rows';
const producerIds = [70, 71];
const waitStepMs = 20;
const longestWaitSteps = 3000;

interface PlannedEntry {
  readonly queue: number;
  readonly count: number;
  readonly body: string;
  readonly producer: ProducerFacts | undefined;
  /** Where the body comes from, when it is delivered from another queue. */
  readonly source?: LinkSource;
}

interface PlannedGroup {
  readonly id: number;
  readonly durability: 'sync' | 'async';
  readonly entries: readonly PlannedEntry[];
  readonly changes: readonly IndexChange[];
  readonly conditions: readonly IndexCondition[];
  /** Base offsets, once answered. */
  acked: readonly number[] | undefined;
  /** An answered whenDurable came after it was answered. */
  isDurable: boolean;
}

interface QueueModel {
  isDropped: 'no' | 'asked' | 'yes';
  isCreated: 'asked' | 'yes';
  trimAsked: number;
  trimAcked: number;
}

export class CrashScenario {
  readonly failures: string[] = [];
  disk: SimulatedDisk;
  private readonly open: OpenOnDisk;
  private readonly random: () => number;
  /** One of so many groups has large entries; workloads differ in it. */
  private readonly largeEvery: number;
  private readonly groups = new Map<number, PlannedGroup>();
  private readonly queues = new Map<number, QueueModel>();
  /** What the catalogue's one key was set to, update for update. */
  private readonly catalogueAsked: string[] = [];
  private catalogueAcked = 0;
  private nextGroup = 1;
  private nextQueue = 10;
  /** The next sequence of each producer in each queue, as far as asked. */
  private readonly nextSequence = new Map<string, number>();
  private storageId: string | undefined;
  private epoch = -1;
  private clock = new VirtualClock();
  private engine: StorageEngine | undefined;
  private isDead = false;

  constructor(open: OpenOnDisk, disk: SimulatedDisk, seed: number) {
    this.open = open;
    this.disk = disk;
    this.random = seededRandom(seed);
    this.largeEvery = seed % 2 === 0 ? 6 : 17;
  }

  /** Opens the engine and looks whether it holds what it must, after a crash by `policy` (undefined: the first time). */
  async start(policy: CrashPolicy | undefined): Promise<void> {
    this.isDead = false;
    this.clock = new VirtualClock(this.clock.nowMs() + 1);
    void this.disk.died.then(() => {
      this.isDead = true;
    });
    const engine = await this.orDeath(this.open(this.disk, this.clock));
    if (engine === undefined) return;
    this.engine = engine;
    if (this.storageId !== undefined && engine.storageId !== this.storageId)
      this.fail('it has another storage id');
    if (engine.epoch <= this.epoch) this.fail(`epoch ${engine.epoch} comes after ${this.epoch}`);
    this.storageId = engine.storageId;
    this.epoch = engine.epoch;
    if (this.queues.size === 0) await this.begin(engine);
    else await this.orDeath(this.judge(engine, policy));
  }

  private async begin(engine: StorageEngine): Promise<void> {
    for (const queue of firstQueues) {
      this.queues.set(queue, { isDropped: 'no', isCreated: 'asked', trimAsked: 0, trimAcked: 0 });
    }
    this.catalogueAsked.push('first');
    const done = await this.orDeath(
      engine.catalogue.update({
        changes: [{ key: 'k', value: Buffer.from('first') }],
        createQueues: firstQueues,
      }),
    );
    if (done === undefined) return;
    this.catalogueAcked = 1;
    for (const queue of this.queues.values()) queue.isCreated = 'yes';
  }

  /** Asks for `operations` things, several at a time, until all are answered or the disk is dead. */
  async work(operations: number): Promise<void> {
    const { engine } = this;
    if (engine === undefined || this.isDead) return;
    let inFlight: Promise<unknown>[] = [];
    for (let at = 0; at < operations && !this.isDead; at++) {
      const room = engine.appendRoom();
      if (room !== undefined) await this.whileTimePasses(Promise.race([room, engine.failed]));
      inFlight.push(
        this.operate(engine).catch((error: unknown) => {
          // On a disk that fails, a call that has no other way to say so rejects.
          if (this.disk.fault === undefined) this.fail(`a call was rejected: ${error}`);
        }),
      );
      if (this.random() < 0.3 || inFlight.length > 8) {
        const all = Promise.all(inFlight);
        inFlight = [];
        await this.whileTimePasses(Promise.race([all, engine.failed]));
      }
      if (this.random() < 0.3) await this.orDeath(this.clock.advance(Math.floor(this.random() * 200)));
    }
    await this.whileTimePasses(Promise.race([Promise.all(inFlight), engine.failed]));
  }

  /** The disk crashes, if it has not yet, and what is left of it is in its place. */
  crash(policy: CrashPolicy, seed: number): void {
    this.isDead = true;
    this.disk = this.disk.crash(policy, seed);
    this.engine = undefined;
  }

  private async operate(engine: StorageEngine): Promise<void> {
    const dice = this.random();
    if (dice < 0.8) return this.appendGroup(engine);
    if (dice < 0.85) return this.makeDurable(engine);
    if (dice < 0.92) return this.trim(engine);
    if (dice < 0.95) return this.rewrite(engine);
    return this.updateCatalogue(engine);
  }

  private async appendGroup(engine: StorageEngine): Promise<void> {
    const group = this.planGroup();
    this.groups.set(group.id, group);
    const asked: AppendGroup = {
      durability: group.durability,
      entries: group.entries.map((entry) => toEntry(entry, this.largeEvery)),
      changes: group.changes,
      conditions: group.conditions,
      ...(this.random() < 0.2 ? { flushWithinMs: 1 } : {}),
    };
    const results = await engine.append(asked);
    if (this.isDead) return;
    if (results.every((result) => result.outcome === 'appended')) {
      group.acked = results.map((result) => (result as { baseOffset: number }).baseOffset);
      return;
    }
    this.judgeRefusal(group, results);
  }

  private planGroup(): PlannedGroup {
    const id = this.nextGroup++;
    const live = [...this.queues]
      .filter(
        ([queue, model]) => queue !== groupsQueue && model.isDropped === 'no' && model.isCreated === 'yes',
      )
      .map(([queue]) => queue);
    if (this.random() < 0.15) return this.planDelivery(id, live);
    const entries: PlannedEntry[] = [{ queue: groupsQueue, count: 1, body: `g${id}`, producer: undefined }];
    const used = new Set<string>();
    for (let at = Math.floor(this.random() * 4); at > 0 && live.length > 0; at--) {
      const queue = live[Math.floor(this.random() * live.length)]!;
      const count = 1 + Math.floor(this.random() * 3);
      let producer: ProducerFacts | undefined;
      const producerId = producerIds[Math.floor(this.random() * producerIds.length)]!;
      const key = `${queue}/${producerId}`;
      if (this.random() < 0.6 && !used.has(key)) {
        used.add(key);
        const firstSequence = this.nextSequence.get(key) ?? 0;
        this.nextSequence.set(key, firstSequence + count);
        producer = {
          countsForQueue: queue,
          producerId,
          producerEpoch: 0,
          firstSequence,
          lastSequence: firstSequence + count - 1,
          isTransactional: false,
        };
      }
      entries.push({ queue, count, body: `g${id}/${entries.length}`, producer });
    }
    const changes: IndexChange[] = [];
    for (let at = Math.floor(this.random() * 3); at > 0; at--) {
      const key = Buffer.from(`row ${Math.floor(this.random() * 30)}`);
      changes.push({ index: indexName, key, value: this.random() < 0.3 ? null : Buffer.from(`g${id}`) });
    }
    return {
      id,
      durability: this.random() < 0.5 ? 'sync' : 'async',
      entries,
      changes,
      conditions: [],
      acked: undefined,
      isDurable: false,
    };
  }

  /** What a timer does: an entry that was acknowledged is delivered to another queue, if a row is as expected; the row changes. */
  private planDelivery(id: number, live: readonly number[]): PlannedGroup {
    const entries: PlannedEntry[] = [{ queue: groupsQueue, count: 1, body: `g${id}`, producer: undefined }];
    const acked = [...this.groups.values()].filter((group) => group.acked !== undefined);
    const from = acked[Math.floor(this.random() * acked.length)];
    const to = live[Math.floor(this.random() * live.length)];
    if (from !== undefined && to !== undefined) {
      const at = Math.floor(this.random() * from.entries.length);
      const { queue, count, body } = from.entries[at]!;
      const offset = from.acked![at]! + Math.floor(this.random() * count);
      entries.push({ queue: to, count, body, producer: undefined, source: { queue, offset } });
    }
    const key = Buffer.from(`row ${Math.floor(this.random() * 5)}`);
    const [writer] = acked
      .filter((group) => group.changes.some((change) => change.key.equals(key)))
      .slice(-1);
    const expected = writer === undefined || this.random() < 0.3 ? null : Buffer.from(`g${writer.id}`);
    return {
      id,
      durability: this.random() < 0.5 ? 'sync' : 'async',
      entries,
      changes: [{ index: indexName, key, value: this.random() < 0.5 ? null : Buffer.from(`g${id}`) }],
      conditions: this.random() < 0.8 ? [{ index: indexName, key, expected }] : [],
      acked: undefined,
      isDurable: false,
    };
  }

  /** A queue may have been dropped meanwhile, and after that sequences have gaps; a fault may have struck. Anything else is wrong. */
  private judgeRefusal(group: PlannedGroup, results: readonly AppendResult[]): void {
    const outcomes = results.map((result) => (result.outcome === 'refused' ? result.reason : result.outcome));
    if (outcomes.includes('unknown')) return; // stays possible
    const isExpected = outcomes.every(
      (outcome, at) =>
        outcome === 'not-appended' ||
        outcome === 'storage-fault' ||
        outcome === 'closing' ||
        (outcome === 'condition-failed' && group.conditions.length > 0) ||
        (outcome === 'link-source-missing' && this.mayBeGone(group.entries[at]!.source!)) ||
        (outcome === 'unknown-queue' && this.queues.get(group.entries[at]!.queue)?.isDropped !== 'no') ||
        (outcome === 'out-of-order-sequence' && this.hasGap(group.entries[at]!)),
    );
    if (!isExpected) this.fail(`group ${group.id} was answered ${outcomes}`);
    this.groups.delete(group.id);
    for (const entry of group.entries) {
      if (entry.producer !== undefined) this.gaps.add(`${entry.queue}/${entry.producer.producerId}`);
    }
  }

  private mayBeGone(source: LinkSource): boolean {
    const model = this.queues.get(source.queue);
    return model === undefined || model.isDropped !== 'no' || model.trimAsked > source.offset;
  }

  /** Producers of which a batch was refused: what they asked for behind it has a gap. */
  private readonly gaps = new Set<string>();

  private hasGap(entry: PlannedEntry): boolean {
    return entry.producer !== undefined && this.gaps.has(`${entry.queue}/${entry.producer.producerId}`);
  }

  private async makeDurable(engine: StorageEngine): Promise<void> {
    const before = [...this.groups.values()].filter((group) => group.acked !== undefined);
    await engine.whenDurable();
    if (this.isDead) return;
    for (const group of before) group.isDurable = true;
  }

  private async trim(engine: StorageEngine): Promise<void> {
    const candidates = [...this.queues].filter(
      ([queue, model]) => queue !== groupsQueue && model.isDropped === 'no' && model.isCreated === 'yes',
    );
    const found = candidates[Math.floor(this.random() * candidates.length)];
    if (found === undefined) return;
    const [queue, model] = found;
    const bounds = await engine.bounds(queue);
    if (bounds === undefined || this.isDead) return;
    const toOffset = Math.floor(this.random() * (bounds.visibleEndOffset + 1));
    model.trimAsked = Math.max(model.trimAsked, toOffset);
    const after = await engine.trim(queue, toOffset);
    if (this.isDead || after === undefined) return;
    model.trimAcked = Math.max(model.trimAcked, toOffset);
    if (after.startOffset < toOffset)
      this.fail(`queue ${queue} begins at ${after.startOffset} after a trim to ${toOffset}`);
  }

  /** Moves entries without changing what queues hold; what may be dropped is tried in cleaning-scenario.ts. */
  private async rewrite(engine: StorageEngine): Promise<void> {
    const requests = [...this.queues.keys()]
      .filter(() => this.random() < 0.4)
      .map((queue) => ({
        queue,
        untilOffset: Number.MAX_SAFE_INTEGER,
        decide: (payload: Buffer, { baseOffset }: EntryFacts): RewriteVerdict =>
          baseOffset % 3 === 0 ? Buffer.from(payload) : 'keep',
      }));
    await engine.rewrite(requests);
  }

  private async updateCatalogue(engine: StorageEngine): Promise<void> {
    if (this.catalogueAsked.length > this.catalogueAcked) return; // one at a time, so that their order is known
    const text = `update ${this.catalogueAsked.length}`;
    const created = this.nextQueue++;
    const droppable = [...this.queues].filter(
      ([queue, model]) => queue !== groupsQueue && model.isDropped === 'no' && model.isCreated === 'yes',
    );
    const dropped = this.random() < 0.5 ? droppable[0] : undefined;
    this.queues.set(created, { isDropped: 'no', isCreated: 'asked', trimAsked: 0, trimAcked: 0 });
    if (dropped !== undefined) dropped[1].isDropped = 'asked';
    this.catalogueAsked.push(text);
    const result = await engine.catalogue.update({
      changes: [{ key: 'k', value: Buffer.from(text) }],
      createQueues: [created],
      dropQueues: dropped === undefined ? [] : [dropped[0]],
    });
    if (this.isDead) return;
    if (result.outcome !== 'done') this.fail(`a catalogue update was answered ${result.outcome}`);
    this.catalogueAcked = this.catalogueAsked.length;
    this.queues.get(created)!.isCreated = 'yes';
    if (dropped !== undefined) dropped[1].isDropped = 'yes';
  }

  private async judge(engine: StorageEngine, policy: CrashPolicy | undefined): Promise<void> {
    const text = engine.catalogue.get('k')?.value.toString();
    const updates = text === undefined ? 0 : this.catalogueAsked.lastIndexOf(text) + 1;
    if (updates < this.catalogueAcked) {
      this.fail(`the catalogue is at update ${updates} of ${this.catalogueAcked} acknowledged`);
    }
    if (updates === 0) {
      // Not even the first update is there, so nothing can be; begin anew.
      this.queues.clear();
      this.catalogueAsked.length = 0;
      this.groups.clear();
      this.nextSequence.clear();
      return this.begin(engine);
    }
    this.catalogueAsked.length = updates;
    this.catalogueAcked = updates;

    const groupBodies = (await this.readQueue(engine, groupsQueue)).map((payload) => payload.body);
    const survivors: PlannedGroup[] = [];
    for (const body of groupBodies) {
      const group = this.groups.get(Number(body.slice(1)));
      if (group === undefined) this.fail(`${body} is there, but was never asked for, or refused`);
      else survivors.push(group);
    }
    if (new Set(survivors).size !== survivors.length) this.fail('a group is there twice');
    const alive = new Set(survivors);
    for (const group of this.groups.values()) {
      const mustLive =
        group.acked !== undefined && (group.durability === 'sync' || group.isDurable || policy === 'kill');
      if (mustLive && !alive.has(group))
        this.fail(`group ${group.id}, ${group.durability}, was acknowledged and is lost`);
      if (!alive.has(group)) this.groups.delete(group.id);
    }

    const bounds = new Map<number, { startOffset: number; visibleEndOffset: number }>();
    for (const [queue, model] of this.queues) {
      const found = await engine.bounds(queue);
      if (found === undefined) {
        if (model.isDropped === 'no' && model.isCreated === 'yes') this.fail(`queue ${queue} is lost`);
        this.queues.delete(queue);
        continue;
      }
      if (model.isDropped === 'yes') this.fail(`queue ${queue} is back`);
      model.isDropped = 'no';
      model.isCreated = 'yes';
      bounds.set(queue, found);
      if (found.startOffset < model.trimAcked || found.startOffset > model.trimAsked) {
        this.fail(
          `queue ${queue} begins at ${found.startOffset}, between ${model.trimAcked} and ${model.trimAsked} is right`,
        );
      }
      model.trimAcked = found.startOffset;
      model.trimAsked = found.startOffset;
    }

    await this.judgeQueues(engine, survivors);
    await this.judgeIndex(engine, survivors);
    await this.judgeProducers(engine, survivors);
  }

  private async judgeQueues(engine: StorageEngine, survivors: readonly PlannedGroup[]): Promise<void> {
    const ends = new Map<number, number>();
    const expected = new Map<number, string[]>();
    for (const group of survivors) {
      for (const [at, { queue, count, body }] of group.entries.entries()) {
        const baseOffset = ends.get(queue) ?? 0;
        ends.set(queue, baseOffset + count);
        if (group.acked !== undefined && group.acked[at] !== baseOffset && this.queues.has(queue)) {
          this.fail(
            `${body} was acknowledged at ${group.acked[at]} of queue ${queue} and is at ${baseOffset}`,
          );
        }
        const model = this.queues.get(queue);
        if (model === undefined || baseOffset + count <= model.trimAcked) continue;
        const list = expected.get(queue) ?? [];
        list.push(`${body}@${baseOffset}+${count}`);
        expected.set(queue, list);
      }
    }
    for (const [queue, model] of this.queues) {
      const found = (await this.readQueue(engine, queue, model.trimAcked)).map(
        (payload) => `${payload.body}@${payload.baseOffset}+${payload.count}`,
      );
      this.expectSame(`queue ${queue}`, found, expected.get(queue) ?? []);
      const end = (await engine.bounds(queue))!.visibleEndOffset;
      if (end !== (ends.get(queue) ?? 0))
        this.fail(`queue ${queue} ends at ${end}, not at ${ends.get(queue) ?? 0}`);
      const facts = (await engine.entries(queue, model.trimAcked, 100_000)).map(
        (one) => `${one.baseOffset}+${one.count}`,
      );
      this.expectSame(
        `the entries of queue ${queue}`,
        facts,
        (expected.get(queue) ?? []).map((one) => one.slice(one.indexOf('@') + 1)),
      );
    }
  }

  private async judgeIndex(engine: StorageEngine, survivors: readonly PlannedGroup[]): Promise<void> {
    const rows = new Map<string, string>();
    for (const { id, changes, conditions } of survivors) {
      for (const { key, expected } of conditions) {
        if (rows.get(key.toString()) !== expected?.toString()) {
          this.fail(
            `group ${id} is there, though ${key} was ${rows.get(key.toString())} and not ${expected}`,
          );
        }
      }
      for (const { key, value } of changes) {
        if (value === null) rows.delete(key.toString());
        else rows.set(key.toString(), value.toString());
      }
    }
    const found = await engine.index(indexName).range({ limit: 1000 });
    this.expectSame(
      'the index',
      found.map((row) => `${row.key}=${row.value}`),
      [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`),
    );
  }

  /** The last batch of each producer must be a duplicate now, and the next one in sequence be taken. */
  private async judgeProducers(engine: StorageEngine, survivors: readonly PlannedGroup[]): Promise<void> {
    this.nextSequence.clear();
    this.gaps.clear();
    const last = new Map<string, { entry: PlannedEntry; baseOffset: number }>();
    const ends = new Map<number, number>();
    for (const group of survivors) {
      for (const entry of group.entries) {
        const baseOffset = ends.get(entry.queue) ?? 0;
        ends.set(entry.queue, baseOffset + entry.count);
        if (entry.producer === undefined || !this.queues.has(entry.queue)) continue;
        const key = `${entry.queue}/${entry.producer.producerId}`;
        last.set(key, { entry, baseOffset });
        this.nextSequence.set(key, entry.producer.lastSequence + 1);
      }
    }
    for (const { entry, baseOffset } of last.values()) {
      const [result] = await engine.append({
        durability: 'sync',
        entries: [toEntry(entry, this.largeEvery)],
      });
      if (result?.outcome !== 'duplicate' || result.baseOffset !== baseOffset) {
        this.fail(`${entry.body} of ${baseOffset}, sent again, was answered ${JSON.stringify(result)}`);
      }
    }
  }

  private async readQueue(engine: StorageEngine, queue: number, fromOffset = 0): Promise<TestPayload[]> {
    const found: TestPayload[] = [];
    for (let offset = fromOffset; ; ) {
      const result = await engine.read(queue, { fromOffset: offset, maxBytes: 5000, atLeastOne: true });
      if (result.outcome !== 'read') {
        this.fail(`reading queue ${queue} from ${offset} was answered ${JSON.stringify(result)}`);
        return found;
      }
      if (result.payloads.length === 0) return found;
      try {
        found.push(...parsePayloads(result.payloads));
      } catch (error) {
        this.fail(`queue ${queue} from ${offset}: ${(error as Error).message}`);
      }
      offset = result.nextOffset;
      result.release();
    }
  }

  private expectSame(what: string, found: readonly string[], expected: readonly string[]): void {
    const at = Math.max(
      found.findIndex((one, index) => one !== expected[index]),
      found.length < expected.length ? found.length : -1,
    );
    if (at >= 0) {
      this.fail(
        `${what} differs at ${at}: found ${found[at]}, expected ${expected[at]}, of ${expected.length}`,
      );
    }
  }

  private fail(what: string): void {
    if (this.failures.length < 10) this.failures.push(what);
  }

  /** Waits for the promise or the disk's death, while the clock goes on: what failed may be tried again after a time. */
  private async whileTimePasses(promise: Promise<unknown>): Promise<void> {
    let isOver = false;
    const over = this.orDeath(promise).then(() => {
      isOver = true;
    });
    for (let step = 0; !isOver && step < longestWaitSteps; step++) await this.clock.advance(waitStepMs);
    if (isOver) return over;
    this.fail(`calls are not answered after ${(longestWaitSteps * waitStepMs) / 1000} s`);
  }

  /** Undefined when the disk dies first. */
  private orDeath<T>(promise: Promise<T>): Promise<T | undefined> {
    return Promise.race([promise, this.disk.died.then(() => undefined)]);
  }
}

/** Bodies of one size class now and then, so that entries cross pages, blocks and segments. */
function toEntry(entry: PlannedEntry, largeEvery: number): AppendEntry {
  const number = Number(/\d+/.exec(entry.body)![0]);
  const sizeBytes = number % largeEvery === 0 ? 9000 : number % 5 === 0 ? 700 : 0;
  return {
    queue: entry.queue,
    kind: 'data',
    count: entry.count,
    maxTimestampMs: number,
    payload: entry.source ?? makePayload(entry.count, entry.body, sizeBytes),
    ...(entry.producer === undefined ? {} : { producer: entry.producer }),
  };
}
