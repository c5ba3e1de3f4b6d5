/**
 * What the simulation asks of the engine, and the reference model that every answer is held to: which outcome each append must have
 * (sequences, epochs, leases, queues that are not there), what every offset holds, what look-ups must find, which versions the
 * catalogue has, and, after a crash, what must be there, what may be, and what must not. Knows nothing of files.
 *
 * Every group has an entry in the first queue, so what that queue holds tells which groups there are, and their order.
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
  StorageEngine,
} from '../../src/storage/engine.ts';
import { makePayload, parsePayloads, type TestPayload } from '../storage/test-payload.ts';

const groupsQueue = 1;
const firstQueues = [1, 2, 3, 4];
const indexName = 'rows';
const producerIds = [70, 71];
const leaseNames = ['lease a', 'lease b'];
const catalogueKeys = ['c0', 'c1', 'c2'];
const mostFailures = 5;

interface PlannedEntry {
  readonly queue: number;
  readonly count: number;
  readonly body: string;
  readonly sizeBytes: number;
  readonly maxTimestampMs: number;
  readonly producer: ProducerFacts | undefined;
  readonly source: LinkSource | undefined;
}

interface Group {
  readonly id: number;
  readonly durability: 'sync' | 'async';
  readonly entries: readonly PlannedEntry[];
  readonly changes: readonly IndexChange[];
  readonly conditions: readonly IndexCondition[];
  /** Its place is fixed inside `append`: it has neither conditions nor links. */
  readonly isPlain: boolean;
  readonly epoch: number;
  state: 'asked' | 'appended' | 'refused' | 'unknown';
  /** Base offsets, as far as known. */
  readonly offsets: (number | undefined)[];
  ackedAt: number;
  ackedMs: number;
  /** Known durable since that moment. */
  durableAt: number;
}

interface Known {
  readonly group: Group;
  readonly at: number;
}

interface Trim {
  readonly toOffset: number;
  ackedAt: number;
}

interface Drop {
  /** Gone for sure since that moment. */
  ackedAt: number;
  /** The same, counted in operations. */
  goneSince: number;
}

interface QueueModel {
  readonly id: number;
  readonly known: Map<number, Known>;
  /** Entries that a rewrite was told to drop, by base offset. */
  readonly drops: Map<number, Drop>;
  trims: Trim[];
}

interface CatalogueState {
  readonly version: number;
  readonly values: ReadonlyMap<string, { readonly value: string; readonly version: number }>;
  readonly queues: ReadonlySet<number>;
  ackedAt: number;
}

interface KeptBatch {
  readonly facts: ProducerFacts;
  readonly known: Known;
}

interface ProducerModel {
  epoch: number;
  next: number;
  batches: KeptBatch[];
}

/** How the crash was, for what must have outlived it. */
export interface AfterCrash {
  /** What the disk had done by then. */
  readonly moment: number;
  readonly keepsWritten: boolean;
  /** Async groups acknowledged before this time must be durable; -1 where that cannot be said. */
  readonly asyncDurableBeforeMs: number;
  /** Of the start after it: the same where the last process ended cleanly, else larger; `any` where a start was cut off. */
  readonly epoch: 'same' | 'larger' | 'any';
}

export interface WorkloadOptions {
  readonly random: () => number;
  /** Counts what the disk did (`SimulatedDisk.moment`). */
  readonly moment: () => number;
  readonly nowMs: () => number;
  readonly trace: (what: string) => void;
  /** Large entries are one in so many. */
  readonly largeEvery: number;
}

const never = Number.POSITIVE_INFINITY;

export class Workload {
  readonly failures: string[] = [];
  readonly counts = new Map<string, number>();
  /** A fault was injected in this life: refusals and rejections have an excuse. */
  isExcused = false;
  inFlight = 0;
  private readonly options: WorkloadOptions;
  private readonly random: () => number;
  private engine: StorageEngine | undefined;
  private life = 0;
  private groups = new Map<number, Group>();
  private readonly queues = new Map<number, QueueModel>();
  private catalogue: CatalogueState[] = [{ version: 0, values: new Map(), queues: new Set(), ackedAt: -1 }];
  private producers = new Map<string, ProducerModel>();
  private areProducersSure = true;
  private readonly leases = new Map<
    string,
    { asked: number; acked: number; held: number | undefined; calls: number }
  >();
  private readonly linkedBodies = new Set<string>();
  private nextGroup = 1;
  private operations = 0;
  private nextQueue = 10;
  private storageId: string | undefined;
  private epoch = -1;
  private largestStoreTimeMs = 0;

  constructor(options: WorkloadOptions) {
    this.options = options;
    this.random = options.random;
  }

  /** The engine was opened for the first time, or again after `crash`. */
  async start(engine: StorageEngine, crash: AfterCrash | undefined): Promise<void> {
    this.life++;
    this.engine = engine;
    this.inFlight = 0;
    this.isExcused = false;
    this.areProducersSure = true;
    this.largestStoreTimeMs = 0;
    if (this.storageId !== undefined && engine.storageId !== this.storageId)
      this.fail('it has another storage id');
    const isEpochRight =
      crash === undefined ||
      (engine.epoch > this.epoch && crash.epoch !== 'same') ||
      (engine.epoch === this.epoch && crash.epoch !== 'larger');
    if (!isEpochRight) this.fail(`epoch ${engine.epoch} comes after ${this.epoch}`);
    this.storageId = engine.storageId;
    this.epoch = engine.epoch;
    if (crash !== undefined) await this.judge(engine, crash);
    if (this.current.version === 0) this.begin(engine);
  }

  /** The process is gone; whatever is still asked is not answered. */
  stop(): void {
    this.engine = undefined;
    this.life++;
  }

  private get current(): CatalogueState {
    return this.catalogue.at(-1)!;
  }

  private begin(engine: StorageEngine): void {
    for (const id of firstQueues) this.queues.set(id, { id, known: new Map(), drops: new Map(), trims: [] });
    this.updateCatalogue(engine, new Map([['c0', 'first']]), firstQueues, []);
  }

  /** Asks for one thing. Its answer is judged when it comes. */
  operate(): void {
    const { engine } = this;
    if (engine === undefined) return;
    this.operations++;
    const dice = this.random();
    if (dice < 0.56) this.appendGroup(engine);
    else if (dice < 0.7) this.read(engine);
    else if (dice < 0.73) this.findByTime(engine);
    else if (dice < 0.75) this.findLargestTime(engine);
    else if (dice < 0.77) this.findEpochEnd(engine);
    else if (dice < 0.8) this.entries(engine);
    else if (dice < 0.83) this.look(engine);
    else if (dice < 0.86) this.makeDurable(engine);
    else if (dice < 0.91) this.trim(engine);
    else if (dice < 0.95) this.changeCatalogue(engine);
    else if (dice < 0.965) this.acquireLease(engine);
    else if (dice < 0.98) this.rewrite(engine);
    else this.getRow(engine);
  }

  /** Nothing is under way: rows of the index are as the groups in their order left them. */
  async checkIndex(): Promise<void> {
    const { engine } = this;
    if (engine === undefined || this.isExcused) return;
    const ordered = [...this.groups.values()]
      .filter((group) => group.state === 'appended')
      .sort((a, b) => a.offsets[0]! - b.offsets[0]!);
    if (ordered.length !== this.groups.size) return;
    await this.expectRows(engine, ordered);
  }

  private ask(name: string, life: number, call: Promise<unknown>): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    this.inFlight++;
    call.then(
      () => {
        if (this.life === life) this.inFlight--;
      },
      (error: Error) => {
        if (this.life !== life) return;
        this.inFlight--;
        this.options.trace(`${name} rejected`);
        if (!this.isExcused) this.fail(`${name} was rejected: ${error.stack}`);
        this.areProducersSure = false;
      },
    );
  }

  private isOver(life: number): boolean {
    return this.life !== life;
  }

  private anyQueue(includeGroups = true): QueueModel {
    const live = [...this.current.queues].filter((id) => includeGroups || id !== groupsQueue);
    const id = live[Math.floor(this.random() * live.length)] ?? groupsQueue;
    return this.queues.get(id)!;
  }

  // ---- appends

  private appendGroup(engine: StorageEngine): void {
    const group = this.planGroup();
    this.groups.set(group.id, group);
    const fence = this.random() < 0.08 ? this.anyFence() : undefined;
    const expected = group.isPlain ? this.expectedOutcomes(group, fence) : undefined;
    const asked: AppendGroup = {
      durability: group.durability,
      entries: group.entries.map(toEntry),
      changes: group.changes,
      conditions: group.conditions,
      ...(fence === undefined ? {} : { fences: [{ lease: fence.lease, epoch: fence.epoch }] }),
      ...(this.random() < 0.2 ? { flushWithinMs: 1 + Math.floor(this.random() * 20) } : {}),
    };
    const { life } = this;
    const storeTimeMs = this.largestStoreTimeMs;
    const answer = engine.append(asked).then((results) => {
      if (this.isOver(life)) return;
      this.options.trace(
        `append ${group.id} ${results.map((result) => (result.outcome === 'refused' ? result.reason : `${result.outcome}${'baseOffset' in result ? result.baseOffset : ''}`))}`,
      );
      this.answered(group, results, expected, fence, storeTimeMs);
    });
    this.ask('append', life, answer);
  }

  private answered(
    group: Group,
    results: readonly AppendResult[],
    expected: readonly ExpectedOutcome[] | undefined,
    fence: { readonly isHeld: boolean } | undefined,
    storeTimeMs: number,
  ): void {
    const outcomes = results.map((result) => (result.outcome === 'refused' ? result.reason : result.outcome));
    if (outcomes.includes('unknown') || outcomes.includes('storage-fault') || outcomes.includes('closing')) {
      if (!this.isExcused) this.fail(`group ${group.id} was answered ${outcomes}`);
      this.areProducersSure = false;
      group.state = outcomes.includes('unknown') ? 'unknown' : 'refused';
      if (group.state === 'refused') this.groups.delete(group.id);
      return;
    }
    if (expected !== undefined && this.areProducersSure) {
      for (const [at, one] of expected.entries()) {
        if (outcomes[at] !== one.outcome)
          this.fail(`group ${group.id}, entry ${at}: answered ${outcomes[at]}, expected ${one.outcome}`);
        const result = results[at]!;
        const first = one.first?.group.offsets[one.first.at];
        if (result.outcome === 'duplicate' && first !== undefined && result.baseOffset !== first)
          this.fail(`group ${group.id}: a duplicate of ${first} was answered ${result.baseOffset}`);
      }
    }
    if (results.every((result) => result.outcome === 'appended')) {
      for (const [at, result] of results.entries()) {
        if (result.outcome !== 'appended') continue;
        this.place(group, at, result.baseOffset);
        if (result.storeTimeMs < storeTimeMs)
          this.fail(`group ${group.id} has store time ${result.storeTimeMs} after ${storeTimeMs}`);
        this.largestStoreTimeMs = Math.max(this.largestStoreTimeMs, result.storeTimeMs);
      }
      group.state = 'appended';
      group.ackedAt = this.options.moment();
      group.ackedMs = this.options.nowMs();
      if (group.durability === 'sync') this.durableUpTo(group.id, group);
      return;
    }
    group.state = 'refused';
    this.groups.delete(group.id);
    if (expected !== undefined || !this.areProducersSure) return;
    const isRight = outcomes.every(
      (outcome, at) =>
        outcome === 'not-appended' ||
        (outcome === 'condition-failed' && group.conditions.length > 0) ||
        (outcome === 'stale-lease' && fence !== undefined) ||
        (outcome === 'link-source-missing' && this.mayBeGone(group.entries[at]!.source)) ||
        (outcome === 'unknown-queue' && !this.current.queues.has(group.entries[at]!.queue)),
    );
    if (!isRight) this.fail(`group ${group.id} was answered ${outcomes}`);
  }

  /** Whatever was fixed before the plain group or change of that number is durable. */
  private durableUpTo(id: number, own?: Group): void {
    const moment = this.options.moment();
    for (const group of this.groups.values()) {
      const isBefore = group === own || (group.id < id && (group.isPlain || group.state === 'appended'));
      // Not a group that is still asked for with conditions: its place may come later.
      if (isBefore && (own === undefined || own.isPlain || group === own) && moment < group.durableAt)
        group.durableAt = moment;
    }
  }

  private place(group: Group, at: number, baseOffset: number): void {
    const { queue } = group.entries[at]!;
    const model = this.queues.get(queue);
    const known = model?.known.get(baseOffset);
    if (known !== undefined && (known.group !== group || known.at !== at)) {
      this.fail(
        `offset ${baseOffset} of queue ${queue} is of ${known.group.id}/${known.at} and ${group.id}/${at}`,
      );
    }
    const before = group.offsets[at];
    if (before !== undefined && before !== baseOffset)
      this.fail(`group ${group.id}/${at} is at ${before} and at ${baseOffset}`);
    group.offsets[at] = baseOffset;
    model?.known.set(baseOffset, { group, at });
  }

  private planGroup(): Group {
    const id = this.nextGroup++;
    const entries: PlannedEntry[] = [this.planEntry(id, 0, groupsQueue, 1)];
    const changes: IndexChange[] = [];
    const conditions: IndexCondition[] = [];
    const isDelivery = this.random() < 0.12;
    const used = new Set<string>();
    if (isDelivery) {
      const sources = [...this.groups.values()].filter((group) => group.state === 'appended');
      const from = sources[Math.floor(this.random() * sources.length)];
      if (from !== undefined) {
        const at = Math.floor(this.random() * from.entries.length);
        const entry = from.entries[at]!;
        const offset = from.offsets[at]! + Math.floor(this.random() * entry.count);
        this.linkedBodies.add(entry.body);
        entries.push({
          ...entry,
          queue: this.anyQueue(false).id,
          producer: undefined,
          source: { queue: entry.queue, offset },
        });
      }
      const key = this.anyKey();
      const expected = this.random() < 0.3 ? null : Buffer.from(`g${1 + Math.floor(this.random() * id)}`);
      const last = [...this.groups.values()]
        .filter((group) => group.changes.some((one) => one.key.equals(key)))
        .at(-1);
      const guess = last?.changes.find((one) => one.key.equals(key))?.value ?? null;
      if (this.random() < 0.8)
        conditions.push({ index: indexName, key, expected: this.random() < 0.7 ? guess : expected });
      changes.push({ index: indexName, key, value: this.random() < 0.3 ? null : Buffer.from(`g${id}`) });
    } else {
      for (let left = Math.floor(this.random() * 4); left > 0; left--) {
        // Now and then a queue that is no more, or never was.
        const queue = this.random() < 0.02 ? this.nextQueue + 5 : this.anyQueue(false).id;
        const count = 1 + Math.floor(this.random() * 3);
        const entry = this.planEntry(id, entries.length, queue, count);
        const producerId = producerIds[Math.floor(this.random() * producerIds.length)]!;
        const key = `${queue}/${producerId}`;
        const isProduced = this.random() < 0.6 && !used.has(key) && queue !== groupsQueue;
        used.add(key);
        entries.push(isProduced ? this.withProducer(entry, key, producerId) : entry);
      }
      for (let left = Math.floor(this.random() * 3); left > 0; left--) {
        changes.push({
          index: indexName,
          key: this.anyKey(),
          value: this.random() < 0.3 ? null : Buffer.from(`g${id}`),
        });
      }
    }
    return {
      id,
      durability: this.random() < 0.4 ? 'sync' : 'async',
      entries,
      changes,
      conditions,
      isPlain: conditions.length === 0 && entries.every(({ source }) => source === undefined),
      epoch: this.epoch,
      state: 'asked',
      offsets: entries.map(() => undefined),
      ackedAt: never,
      ackedMs: never,
      durableAt: never,
    };
  }

  private anyKey(): Buffer {
    return Buffer.from(`row ${Math.floor(this.random() * (this.random() < 0.5 ? 5 : 40))}`);
  }

  private planEntry(id: number, at: number, queue: number, count: number): PlannedEntry {
    const body = `g${id}/${at}`;
    const wanted = (id + at) % this.options.largeEvery === 0 ? 5000 + (id % 5000) : id % 5 === 0 ? 700 : 0;
    return {
      queue,
      count,
      body,
      sizeBytes: makePayload(count, body, wanted).length,
      maxTimestampMs: 1000 + ((id * 7919 + at * 31) % 997),
      producer: undefined,
      source: undefined,
    };
  }

  private withProducer(entry: PlannedEntry, key: string, producerId: number): PlannedEntry {
    const model = this.producers.get(key);
    const dice = this.random();
    let firstSequence = model?.next ?? Math.floor(this.random() * 3);
    let producerEpoch = model?.epoch ?? 0;
    let { count } = entry;
    if (model !== undefined && dice < 0.1 && model.batches.length > 0) {
      const { facts } =
        model.batches[Math.floor(this.random() * model.batches.length)]!.known.group.entries.length > 0
          ? model.batches[Math.floor(this.random() * model.batches.length)]!
          : model.batches[0]!;
      firstSequence = facts.firstSequence;
      count = facts.lastSequence - facts.firstSequence + 1;
    } else if (dice < 0.16) firstSequence += 1 + Math.floor(this.random() * 5);
    else if (dice < 0.2) {
      producerEpoch++;
      firstSequence = this.random() < 0.8 ? 0 : 3;
    } else if (dice < 0.23) producerEpoch = Math.max(0, producerEpoch - 1);
    const again =
      count === entry.count
        ? entry
        : { ...entry, count, sizeBytes: makePayload(count, entry.body, entry.sizeBytes).length };
    return {
      ...again,
      producer: {
        countsForQueue: entry.queue,
        producerId,
        producerEpoch,
        firstSequence,
        lastSequence: firstSequence + count - 1,
        isTransactional: false,
      },
    };
  }

  /** What a plain group must be answered; records it in the model where it is appended. */
  private expectedOutcomes(
    group: Group,
    fence: { readonly isHeld: boolean } | undefined,
  ): readonly ExpectedOutcome[] {
    if (fence !== undefined && !fence.isHeld) return group.entries.map(() => ({ outcome: 'stale-lease' }));
    const { queues } = this.current;
    const verdicts = group.entries.map((entry): ExpectedOutcome => {
      if (!queues.has(entry.queue)) return { outcome: 'unknown-queue' };
      return entry.producer === undefined ? appended : this.expectedVerdict(entry.producer);
    });
    if (verdicts.every(({ outcome }) => outcome === 'appended')) {
      for (const [at, { producer }] of group.entries.entries()) {
        if (producer !== undefined) record(this.producers, producer, { group, at });
      }
      return verdicts;
    }
    return verdicts.map((verdict) =>
      verdict.outcome === 'appended' ? { outcome: 'not-appended' } : verdict,
    );
  }

  private expectedVerdict(facts: ProducerFacts): ExpectedOutcome {
    const model = this.producers.get(`${facts.countsForQueue}/${facts.producerId}`);
    if (model === undefined) return appended;
    if (facts.producerEpoch < model.epoch) return { outcome: 'stale-producer-epoch' };
    if (facts.producerEpoch > model.epoch)
      return facts.firstSequence === 0 ? appended : { outcome: 'out-of-order-sequence' };
    if (facts.firstSequence === model.next) return appended;
    const same = model.batches.find(
      ({ facts: kept }) =>
        kept.firstSequence === facts.firstSequence && kept.lastSequence === facts.lastSequence,
    );
    return same === undefined
      ? { outcome: 'out-of-order-sequence' }
      : { outcome: 'duplicate', first: same.known };
  }

  private anyFence(): { readonly lease: string; readonly epoch: number; readonly isHeld: boolean } {
    const lease = leaseNames[Math.floor(this.random() * leaseNames.length)]!;
    const held = this.leases.get(lease)?.held;
    if (held === undefined) return { lease, epoch: 0, isHeld: false };
    return this.random() < 0.7
      ? { lease, epoch: held, isHeld: true }
      : { lease, epoch: held - 1, isHeld: false };
  }

  private mayBeGone(source: LinkSource | undefined): boolean {
    if (source === undefined) return false;
    const trims = this.queues.get(source.queue)?.trims ?? [];
    const { queue, offset } = source;
    const isDropped = this.isInGap(this.queues.get(queue), offset);
    return !this.current.queues.has(queue) || isDropped || trims.some(({ toOffset }) => toOffset > offset);
  }

  // ---- reads

  private read(engine: StorageEngine): void {
    const queue = this.anyQueue();
    const before = engine.bounds(queue.id);
    if (before === undefined || before instanceof Promise) {
      this.fail(`queue ${queue.id} has no bounds`);
      return;
    }
    const span = before.visibleEndOffset - before.startOffset;
    const dice = this.random();
    const fromOffset =
      dice < 0.03
        ? before.visibleEndOffset + 1
        : dice < 0.06
          ? before.startOffset - 1
          : before.startOffset + Math.floor(this.random() * (span + 1));
    const asked = this.operations;
    const maxBytes = Math.floor(this.random() * this.random() * 20_000);
    const atLeastOne = this.random() < 0.8;
    const { life } = this;
    const work = async (): Promise<void> => {
      const result = await engine.read(queue.id, { fromOffset, maxBytes, atLeastOne });
      if (this.isOver(life)) return;
      const after = engine.bounds(queue.id) as { startOffset: number; visibleEndOffset: number } | undefined;
      const isLeft = after !== undefined && after.startOffset <= fromOffset;
      this.options.trace(`read ${queue.id} ${fromOffset} ${result.outcome}`);
      if (result.outcome === 'unknown-queue') {
        if (this.current.queues.has(queue.id)) this.fail(`queue ${queue.id} is unknown to a read`);
      } else if (result.outcome === 'out-of-range') {
        if (fromOffset >= before.startOffset && fromOffset <= before.visibleEndOffset && isLeft)
          this.fail(`${fromOffset} of queue ${queue.id} is out of range ${JSON.stringify(before)}`);
      } else if (result.outcome === 'damaged') {
        if (isLeft) this.fail(`queue ${queue.id} is damaged at ${result.baseOffset}`);
      } else {
        const payloads = this.parse(queue, result.payloads);
        this.checkPayloads(queue, payloads, fromOffset, asked);
        const end = payloads.length === 0 ? fromOffset : payloads.at(-1)!.baseOffset + payloads.at(-1)!.count;
        if (this.afterGap(queue, end, result.nextOffset) !== result.nextOffset)
          this.fail(`a read of queue ${queue.id} ended at ${end} and says ${result.nextOffset}`);
        if (after !== undefined && end > after.visibleEndOffset)
          this.fail(`a read of queue ${queue.id} passes the visible end ${after.visibleEndOffset}`);
        if (payloads.length === 0 && atLeastOne && fromOffset < before.visibleEndOffset && isLeft)
          this.fail(
            `a read of queue ${queue.id} from ${fromOffset} is empty, ${before.visibleEndOffset} is the end`,
          );
        if (payloads.length > 1 && result.sizeBytes > maxBytes)
          this.fail(`a read of at most ${maxBytes} bytes answers ${result.sizeBytes}`);
        if (!atLeastOne && result.sizeBytes > maxBytes)
          this.fail(`a read of at most ${maxBytes} bytes answers ${result.sizeBytes} (not at least one)`);
        this.options.trace(payloads.map(({ body }) => body).join());
        result.release();
      }
    };
    this.ask('read', life, work());
  }

  private parse(queue: QueueModel, buffers: readonly Buffer[]): readonly TestPayload[] {
    try {
      return parsePayloads(buffers);
    } catch (error) {
      this.fail(`queue ${queue.id}: ${(error as Error).message}`);
      return [];
    }
  }

  private checkPayloads(
    queue: QueueModel,
    payloads: readonly TestPayload[],
    fromOffset: number,
    asked: number,
  ): void {
    let next = fromOffset;
    for (const payload of payloads) {
      const { baseOffset, count } = payload;
      const isFirst = next === fromOffset;
      const due = this.afterGap(queue, next, baseOffset);
      if (baseOffset > due || baseOffset + count <= next || (baseOffset < next && !isFirst))
        this.fail(`queue ${queue.id}: ${payload.body} is at ${baseOffset}+${count}, where ${due} is due`);
      if ((queue.drops.get(baseOffset)?.goneSince ?? never) < asked)
        this.fail(`queue ${queue.id}: ${payload.body} at ${baseOffset} was dropped and is there`);
      next = baseOffset + count;
      this.checkPayload(queue, payload);
    }
  }

  /** From an offset on over entries that may be dropped, at most to `until`. */
  private afterGap(queue: QueueModel, from: number, until: number): number {
    let next = from;
    while (next < until && this.isInGap(queue, next)) next++;
    return next;
  }

  private isInGap(queue: QueueModel | undefined, offset: number): boolean {
    if (queue === undefined || queue.drops.size === 0) return false;
    for (let base = offset; base > offset - mostOffsets; base--) {
      if (!queue.drops.has(base)) continue;
      const known = queue.known.get(base);
      if (known === undefined || base + known.group.entries[known.at]!.count > offset) return true;
    }
    return false;
  }

  private checkPayload(queue: QueueModel, payload: TestPayload): void {
    const { baseOffset, count, body, epoch } = payload;
    const known = queue.known.get(baseOffset) ?? this.identify(queue, payload);
    if (known === undefined) {
      if (!this.linkedBodies.has(body))
        this.fail(`queue ${queue.id} has ${body} at ${baseOffset}, which nobody asked for`);
      return;
    }
    const entry = known.group.entries[known.at]!;
    if (entry.body !== body || entry.count !== count)
      this.fail(`queue ${queue.id} has ${body}+${count} at ${baseOffset}, not ${entry.body}+${entry.count}`);
    if (known.group.epoch !== epoch)
      this.fail(`queue ${queue.id} has ${body} with epoch ${epoch}, not ${known.group.epoch}`);
  }

  /** Of what is visible and not yet answered. */
  private identify(queue: QueueModel, { baseOffset, body }: TestPayload): Known | undefined {
    if (this.linkedBodies.has(body)) return undefined;
    const [, id, at] = /^g(\d+)\/(\d+)$/.exec(body) ?? [];
    const group = this.groups.get(Number(id));
    const entry = group?.entries[Number(at)];
    if (group === undefined || entry === undefined || entry.queue !== queue.id || entry.source !== undefined)
      return undefined;
    this.place(group, Number(at), baseOffset);
    return { group, at: Number(at) };
  }

  /** Known entries that begin in the range and end in it, in offset order. */
  private knownIn(
    queue: QueueModel,
    from: number,
    until: number,
  ): { base: number; entry: PlannedEntry; group: Group }[] {
    const found: { base: number; entry: PlannedEntry; group: Group }[] = [];
    for (const [base, { group, at }] of queue.known) {
      const entry = group.entries[at]!;
      if (base >= from && base + entry.count <= until && !queue.drops.has(base))
        found.push({ base, entry, group });
    }
    return found.sort((a, b) => a.base - b.base);
  }

  private entries(engine: StorageEngine): void {
    const queue = this.anyQueue();
    const before = engine.bounds(queue.id) as { startOffset: number; visibleEndOffset: number };
    const from =
      before.startOffset + Math.floor(this.random() * (before.visibleEndOffset - before.startOffset + 1));
    const limit = 1 + Math.floor(this.random() * 20);
    const { life } = this;
    const work = async (): Promise<void> => {
      const found = await engine.entries(queue.id, from, limit);
      if (this.isOver(life)) return;
      this.options.trace(`entries ${queue.id} ${from} ${found.length}`);
      let next: number | undefined;
      for (const facts of found) {
        if (next !== undefined && facts.baseOffset !== this.afterGap(queue, next, facts.baseOffset))
          this.fail(`entries of queue ${queue.id}: ${facts.baseOffset} where ${next} is due`);
        next = facts.baseOffset + facts.count;
        this.checkFacts(queue, facts);
      }
    };
    this.ask('entries', life, work());
  }

  private checkFacts(queue: QueueModel, facts: EntryFacts): void {
    const known = queue.known.get(facts.baseOffset);
    if (known === undefined) return;
    const entry = known.group.entries[known.at]!;
    const isSame =
      facts.count === entry.count &&
      facts.maxTimestampMs === entry.maxTimestampMs &&
      facts.sizeBytes === entry.sizeBytes &&
      facts.epoch === known.group.epoch &&
      facts.producer?.firstSequence === entry.producer?.firstSequence;
    if (!isSame)
      this.fail(
        `facts of ${entry.body} at ${facts.baseOffset} of queue ${queue.id}: ${JSON.stringify(facts)}, of ${JSON.stringify(entry)}`,
      );
  }

  private findByTime(engine: StorageEngine): void {
    const queue = this.anyQueue();
    const before = engine.bounds(queue.id) as { visibleEndOffset: number };
    const timestampMs = 990 + Math.floor(this.random() * 1020);
    const { life } = this;
    const work = async (): Promise<void> => {
      const facts = await engine.findByTime(queue.id, timestampMs);
      if (this.isOver(life)) return;
      this.options.trace(`findByTime ${queue.id} ${timestampMs} ${facts?.baseOffset}`);
      const after = engine.bounds(queue.id) as { startOffset: number } | undefined;
      if (after === undefined) return;
      if (facts !== undefined && facts.maxTimestampMs < timestampMs)
        this.fail(`time ${timestampMs} was found at ${facts.maxTimestampMs}`);
      const missed = this.knownIn(
        queue,
        after.startOffset,
        Math.min(facts?.baseOffset ?? never, before.visibleEndOffset),
      ).find(({ entry }) => entry.maxTimestampMs >= timestampMs);
      if (missed !== undefined)
        this.fail(
          `time ${timestampMs} of queue ${queue.id} was found at ${facts?.baseOffset} and is at ${missed.base}`,
        );
      if (facts !== undefined) this.checkFacts(queue, facts);
    };
    this.ask('find by time', life, work());
  }

  private findLargestTime(engine: StorageEngine): void {
    const queue = this.anyQueue();
    const before = engine.bounds(queue.id) as { visibleEndOffset: number };
    const { life } = this;
    const work = async (): Promise<void> => {
      const facts = await engine.findLargestTime(queue.id);
      if (this.isOver(life)) return;
      this.options.trace(`findLargestTime ${queue.id} ${facts?.baseOffset}`);
      const after = engine.bounds(queue.id) as { startOffset: number } | undefined;
      if (after === undefined) return;
      for (const { base, entry } of this.knownIn(queue, after.startOffset, before.visibleEndOffset)) {
        const isMissed =
          facts === undefined ||
          entry.maxTimestampMs > facts.maxTimestampMs ||
          (entry.maxTimestampMs === facts.maxTimestampMs && base < facts.baseOffset);
        if (isMissed)
          this.fail(
            `the largest time of queue ${queue.id} was found at ${facts?.baseOffset}, and ${base} has ${entry.maxTimestampMs}`,
          );
      }
      if (facts !== undefined) this.checkFacts(queue, facts);
    };
    this.ask('find largest time', life, work());
  }

  private findEpochEnd(engine: StorageEngine): void {
    const queue = this.anyQueue();
    const before = engine.bounds(queue.id) as { visibleEndOffset: number };
    const epoch = Math.floor(this.random() * (this.epoch + 2));
    const { life } = this;
    const work = async (): Promise<void> => {
      const found = await engine.findEpochEnd(queue.id, epoch);
      if (this.isOver(life)) return;
      this.options.trace(`findEpochEnd ${queue.id} ${epoch} ${found?.endOffset}`);
      const after = engine.bounds(queue.id) as { startOffset: number } | undefined;
      if (after === undefined) return;
      if (found !== undefined && found.epoch > epoch)
        this.fail(`epoch ${epoch} was answered with ${found.epoch}`);
      for (const { base, group } of this.knownIn(queue, after.startOffset, before.visibleEndOffset)) {
        const isInside = found !== undefined && base < found.endOffset;
        if (isInside ? group.epoch > found.epoch : group.epoch <= epoch)
          this.fail(
            `the end of epoch ${epoch} of queue ${queue.id} is answered ${JSON.stringify(found)}, ${base} has epoch ${group.epoch}`,
          );
      }
    };
    this.ask('find epoch end', life, work());
  }

  /** What is answered at once: bounds, size, producers, catalogue. */
  private look(engine: StorageEngine): void {
    this.counts.set('look', (this.counts.get('look') ?? 0) + 1);
    const queue = this.anyQueue();
    const bounds = engine.bounds(queue.id) as { startOffset: number; visibleEndOffset: number };
    const known = this.knownIn(queue, bounds.startOffset, bounds.visibleEndOffset);
    let offsets = known.reduce((sum, { entry }) => sum + entry.count, 0);
    for (const [base, { goneSince }] of queue.drops) {
      const dropped = queue.known.get(base);
      if (goneSince === never || dropped === undefined || base < bounds.startOffset) continue;
      offsets += dropped.group.entries[dropped.at]!.count;
    }
    const sizeBytes = engine.sizeBytes(queue.id);
    if (offsets === bounds.visibleEndOffset - bounds.startOffset && !this.isExcused) {
      const expected = known.reduce((sum, { entry }) => sum + entry.sizeBytes, 0);
      if (sizeBytes !== expected) this.fail(`queue ${queue.id} has ${expected} bytes and says ${sizeBytes}`);
    }
    for (const { base, group, entry } of this.knownIn(queue, 0, never)) {
      if (group.state === 'appended' && base + entry.count > bounds.visibleEndOffset)
        this.fail(`queue ${queue.id} ends at ${bounds.visibleEndOffset}, ${base} was acknowledged`);
    }
    if (this.areProducersSure) this.checkProducers(engine, queue.id);
    for (const key of catalogueKeys) {
      const found = engine.catalogue.get(key);
      const expected = this.current.values.get(key);
      if (found?.value.toString() !== expected?.value || found?.version !== expected?.version)
        this.fail(
          `the catalogue has ${found?.value}@${found?.version} for ${key}, not ${expected?.value}@${expected?.version}`,
        );
    }
    this.options.trace(`look ${queue.id} ${bounds.startOffset} ${bounds.visibleEndOffset} ${sizeBytes}`);
  }

  private checkProducers(engine: StorageEngine, queue: number): void {
    const shown = (id: number, epoch: number, last: number): string => `${id}:${epoch}:${last}`;
    const found = engine
      .producers(queue)
      .map((one) => shown(one.producerId, one.producerEpoch, one.lastSequence))
      .sort();
    const expected = [...this.producers]
      .filter(([key]) => key.startsWith(`${queue}/`))
      .map(([key, model]) =>
        shown(Number(key.split('/')[1]), model.epoch, model.batches.at(-1)!.facts.lastSequence),
      )
      .sort();
    if (found.join() !== expected.join())
      this.fail(`producers of queue ${queue} are ${found}, not ${expected}`);
  }

  private getRow(engine: StorageEngine): void {
    const key = this.anyKey();
    const { life } = this;
    const work = async (): Promise<void> => {
      const value = await engine.index(indexName).get(key);
      if (this.isOver(life)) return;
      this.options.trace(`row ${key} ${value}`);
      if (value === undefined) return;
      const group = this.groups.get(Number(value.toString().slice(1)));
      const isThere = group?.changes.some(
        (change) => change.key.equals(key) && change.value?.equals(value) === true,
      );
      if (isThere !== true) this.fail(`${key} is ${value}, which nobody put there`);
    };
    this.ask('get a row', life, work());
  }

  // ---- the rest

  private makeDurable(engine: StorageEngine): void {
    const { life } = this;
    const before = this.nextGroup;
    const prepared = [...this.groups.values()].filter(
      (group) => !group.isPlain && group.state === 'appended',
    );
    const work = async (): Promise<void> => {
      await engine.whenDurable();
      if (this.isOver(life)) return;
      this.options.trace('durable');
      this.durableBefore(before, prepared);
    };
    this.ask('make durable', life, work());
  }

  /** Plain groups before that number and the prepared ones given are durable. */
  private durableBefore(id: number, prepared: readonly Group[]): void {
    const moment = this.options.moment();
    for (const group of this.groups.values())
      if (group.isPlain && group.id < id && moment < group.durableAt) group.durableAt = moment;
    for (const group of prepared) if (moment < group.durableAt) group.durableAt = moment;
  }

  private trim(engine: StorageEngine): void {
    const queue = this.anyQueue(false);
    if (queue.id === groupsQueue) return;
    const bounds = engine.bounds(queue.id) as { startOffset: number; visibleEndOffset: number };
    const toOffset = Math.floor(this.random() * (bounds.visibleEndOffset + 1));
    const trim: Trim = { toOffset, ackedAt: never };
    queue.trims.push(trim);
    const { life } = this;
    const work = async (): Promise<void> => {
      const after = await engine.trim(queue.id, toOffset);
      if (this.isOver(life)) return;
      this.options.trace(`trim ${queue.id} ${toOffset} ${after?.startOffset}`);
      if (after === undefined) {
        if (this.current.queues.has(queue.id)) this.fail(`queue ${queue.id} is unknown to a trim`);
        return;
      }
      trim.ackedAt = this.options.moment();
      const most = queue.trims.reduce((max, one) => Math.max(max, one.toOffset), 0);
      if (after.startOffset < toOffset || after.startOffset > most)
        this.fail(`queue ${queue.id} begins at ${after.startOffset} after a trim to ${toOffset}`);
    };
    this.ask('trim', life, work());
  }

  /** Drops some of the entries of some queues, as a compaction does. */
  private rewrite(engine: StorageEngine): void {
    const queues = [...new Set([this.anyQueue(false), this.anyQueue(false)])].filter(
      ({ id }) => id !== groupsQueue,
    );
    if (queues.length === 0) return;
    const one = 2 + Math.floor(this.random() * 3);
    const offered = queues.map(() => [] as { readonly base: number; readonly drop: Drop | undefined }[]);
    const ends = queues.map(({ id }) => (engine.bounds(id) as { visibleEndOffset: number }).visibleEndOffset);
    const requests = queues.map((queue, at) => ({
      queue: queue.id,
      untilOffset: this.random() < 0.5 ? ends[at]! : Math.floor(this.random() * (ends[at]! + 1)),
      decide: (payload: Buffer, facts: EntryFacts): 'keep' | 'drop' => {
        const { baseOffset: base, count } = facts;
        this.checkFacts(queue, facts);
        const [read] = this.parse(queue, [payload]);
        if (read !== undefined) this.checkPayload(queue, read);
        const isDropped = (base * 7 + one) % one === 0 && count <= mostOffsets;
        let drop = queue.drops.get(base);
        if (isDropped && drop === undefined) {
          drop = { ackedAt: never, goneSince: never };
          queue.drops.set(base, drop);
        }
        offered[at]!.push({ base, drop: isDropped ? drop : undefined });
        return isDropped ? 'drop' : 'keep';
      },
    }));
    const { life } = this;
    const work = async (): Promise<void> => {
      const results = await engine.rewrite(requests);
      if (this.isOver(life)) return;
      this.options.trace(
        `rewrite ${results.map((result) => `${result?.untilOffset} ${result?.bytesAfter}`)}`,
      );
      for (const [at, result] of results.entries()) {
        const queue = queues[at]!;
        if (result === undefined) {
          if (this.current.queues.has(queue.id)) this.fail(`queue ${queue.id} is unknown to a rewrite`);
          continue;
        }
        if (
          (result.untilOffset > requests[at]!.untilOffset && offered[at]!.length > 0) ||
          result.bytesAfter > result.bytesBefore
        )
          this.fail(
            `a rewrite of queue ${queue.id} to ${requests[at]!.untilOffset} answers ${JSON.stringify(result)}`,
          );
        const bounds = engine.bounds(queue.id) as { visibleEndOffset: number } | undefined;
        for (const { base, drop } of offered[at]!) {
          const known = queue.known.get(base);
          const end = known === undefined ? never : base + known.group.entries[known.at]!.count;
          // The last visible entry stays; whether it was the last at that moment is not known here.
          if (drop === undefined || end >= ends[at]! || bounds === undefined) continue;
          drop.ackedAt = Math.min(drop.ackedAt, this.options.moment());
          drop.goneSince = Math.min(drop.goneSince, this.operations);
        }
      }
    };
    this.ask('rewrite', life, work());
  }

  private changeCatalogue(engine: StorageEngine): void {
    const values = new Map<string, string | null>();
    for (let left = 1 + Math.floor(this.random() * 2); left > 0; left--) {
      const key = catalogueKeys[Math.floor(this.random() * catalogueKeys.length)]!;
      values.set(key, this.random() < 0.15 ? null : `v${this.current.version + 1}`);
    }
    const creates = this.random() < 0.4 && this.current.queues.size < 12 ? [this.nextQueue++] : [];
    const droppable = [...this.current.queues].filter((id) => id !== groupsQueue);
    const drops =
      this.random() < 0.25 && droppable.length > 2
        ? [droppable[Math.floor(this.random() * droppable.length)]!]
        : [];
    this.updateCatalogue(engine, values, creates, drops);
  }

  private updateCatalogue(
    engine: StorageEngine,
    values: ReadonlyMap<string, string | null>,
    creates: readonly number[],
    drops: readonly number[],
  ): void {
    const before = this.current;
    let conflict: string | undefined;
    const changes = [...values].map(([key, value]) => {
      const version = before.values.get(key)?.version ?? 0;
      const dice = before.version === 0 ? 0 : this.random();
      const expectedVersion = dice < 0.3 ? undefined : dice < 0.4 ? version + 1 : version;
      if (expectedVersion !== undefined && expectedVersion !== version) conflict ??= key;
      return {
        key,
        value: value === null ? null : Buffer.from(value),
        ...(expectedVersion === undefined ? {} : { expectedVersion }),
      };
    });
    const { life } = this;
    const id = this.nextGroup;
    const prepared = [...this.groups.values()].filter(
      (group) => !group.isPlain && group.state === 'appended',
    );
    const answer = engine.catalogue.update({ changes, createQueues: creates, dropQueues: drops });
    let next: CatalogueState | undefined;
    // A disk without room refuses it; then nothing of it is there.
    const isRefused = conflict === undefined && this.isExcused && engine.catalogue.version === before.version;
    if (conflict === undefined && !isRefused) {
      const kept = new Map(before.values);
      for (const [key, value] of values) {
        if (value === null) kept.delete(key);
        else kept.set(key, { value, version: before.version + 1 });
      }
      const queues = new Set(before.queues);
      for (const one of creates) {
        queues.add(one);
        if (!this.queues.has(one))
          this.queues.set(one, { id: one, known: new Map(), drops: new Map(), trims: [] });
      }
      for (const one of drops) {
        queues.delete(one);
        for (const key of [...this.producers.keys()])
          if (key.startsWith(`${one}/`)) this.producers.delete(key);
      }
      next = { version: before.version + 1, values: kept, queues, ackedAt: never };
      this.catalogue.push(next);
    }
    const work = async (): Promise<void> => {
      const result = await answer;
      if (this.isOver(life)) return;
      this.options.trace(`catalogue ${JSON.stringify(result)}`);
      const isRight =
        next === undefined
          ? !isRefused && result.outcome === 'conflict' && result.key === conflict
          : result.outcome === 'done' && result.version === next.version;
      if (!isRight)
        this.fail(
          `a catalogue update was answered ${JSON.stringify(result)}, not ${conflict ?? next?.version}`,
        );
      if (next === undefined) return;
      next.ackedAt = this.options.moment();
      this.durableBefore(id, prepared);
    };
    this.ask('change the catalogue', life, work());
  }

  private acquireLease(engine: StorageEngine): void {
    const name = leaseNames[Math.floor(this.random() * leaseNames.length)]!;
    const lease = this.leases.get(name) ?? { asked: 0, acked: 0, held: undefined, calls: 0 };
    this.leases.set(name, lease);
    const { life } = this;
    const { held } = lease;
    const least = held === undefined ? lease.acked + 1 : held + 1;
    lease.asked++;
    const most = lease.asked;
    lease.calls++;
    const { calls } = lease;
    // The first epoch of a life is only known when it was granted; until then nothing leans on it.
    if (held !== undefined) lease.held = most;
    const work = async (): Promise<void> => {
      const granted = await engine.acquireLease(name);
      if (this.isOver(life)) return;
      this.options.trace(`lease ${name} ${granted.epoch}`);
      if (granted.epoch < least || granted.epoch > most)
        this.fail(`${name} was granted with epoch ${granted.epoch}, not ${least} to ${most}`);
      lease.acked = Math.max(lease.acked, granted.epoch);
      if (held === undefined && lease.calls === calls) {
        lease.held = granted.epoch;
        lease.asked = granted.epoch;
      }
    };
    this.ask('acquire a lease', life, work());
  }

  // ---- after a crash

  /** What the engine holds against what was asked and answered; from then on that is what there is, unless nothing goes on. */
  async judge(engine: StorageEngine, crash: AfterCrash, goesOn = true): Promise<void> {
    const { version } = engine.catalogue;
    const state = this.catalogue.find((one) => one.version === version);
    const acked = this.catalogue.filter((one) => one.ackedAt <= crash.moment).at(-1)!;
    if (state === undefined || version < acked.version)
      return this.fail(`the catalogue has version ${version}, ${acked.version} was acknowledged`);
    const found = engine.catalogue.list('').map((one) => `${one.key}=${one.value}@${one.version}`);
    const expected = [...state.values]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, one]) => `${key}=${one.value}@${one.version}`);
    this.expectSame(`the catalogue at ${version}`, found, expected);
    const survivors = await this.judgeGroups(engine, state, crash);
    if (this.failures.length > 0) return;
    await this.judgeQueues(engine, survivors, state, crash, goesOn);
    await this.expectRows(engine, survivors);
    if (goesOn) this.rememberOnly(engine, survivors, state);
  }

  private async judgeGroups(
    engine: StorageEngine,
    state: CatalogueState,
    crash: AfterCrash,
  ): Promise<readonly Group[]> {
    const survivors: Group[] = [];
    if (state.queues.has(groupsQueue)) {
      for (const { body } of await this.readQueue(engine, groupsQueue, 0)) {
        const group = this.groups.get(Number(/^g(\d+)\/0$/.exec(body)?.[1]));
        if (group === undefined) this.fail(`${body} is there, but was never asked for, or refused`);
        else survivors.push(group);
      }
    }
    const alive = new Set(survivors);
    if (alive.size !== survivors.length) this.fail('a group is there twice');
    for (const group of this.groups.values()) {
      if (alive.has(group)) continue;
      const isDue =
        group.durableAt <= crash.moment ||
        (group.ackedAt <= crash.moment &&
          (crash.keepsWritten || group.ackedMs <= crash.asyncDurableBeforeMs));
      if (isDue)
        this.fail(
          `group ${group.id}, ${group.durability}, is lost: acknowledged ${group.ackedAt}, durable ${group.durableAt}, crash at ${crash.moment}`,
        );
    }
    return survivors;
  }

  private async judgeQueues(
    engine: StorageEngine,
    survivors: readonly Group[],
    state: CatalogueState,
    crash: AfterCrash,
    goesOn: boolean,
  ): Promise<void> {
    const ends = new Map<number, number>();
    const expected = new Map<number, { base: number; group: Group; at: number }[]>();
    for (const group of survivors) {
      for (const [at, { queue, count, body }] of group.entries.entries()) {
        const base = ends.get(queue) ?? 0;
        ends.set(queue, base + count);
        if (group.offsets[at] !== undefined && group.offsets[at] !== base)
          this.fail(`${body} was seen at ${group.offsets[at]} of queue ${queue} and is at ${base}`);
        const list = expected.get(queue) ?? [];
        list.push({ base, group, at });
        expected.set(queue, list);
      }
    }
    for (const queue of this.queues.values()) {
      const bounds = await engine.bounds(queue.id);
      if ((bounds !== undefined) !== state.queues.has(queue.id))
        this.fail(
          `queue ${queue.id} is ${bounds === undefined ? 'lost' : 'there'}, at version ${state.version} of the catalogue`,
        );
      if (bounds === undefined) continue;
      const trimAcked = queue.trims.reduce(
        (max, one) => (one.ackedAt <= crash.moment ? Math.max(max, one.toOffset) : max),
        0,
      );
      const trimAsked = queue.trims.reduce((max, one) => Math.max(max, one.toOffset), 0);
      const { startOffset, visibleEndOffset } = bounds;
      if (startOffset < trimAcked || startOffset > trimAsked)
        this.fail(
          `queue ${queue.id} begins at ${startOffset}, between ${trimAcked} and ${trimAsked} is right`,
        );
      if (visibleEndOffset !== (ends.get(queue.id) ?? 0))
        this.fail(`queue ${queue.id} ends at ${visibleEndOffset}, not at ${ends.get(queue.id) ?? 0}`);
      const payloads = await this.readQueue(engine, queue.id, startOffset);
      const present = new Set(payloads.map(({ baseOffset }) => baseOffset));
      const due = (expected.get(queue.id) ?? []).filter(({ base, group, at }) => {
        const drop = queue.drops.get(base);
        if (drop !== undefined && (drop.ackedAt <= crash.moment || !present.has(base))) return false;
        return base + group.entries[at]!.count > startOffset;
      });
      const found = payloads.map(
        (payload) => `${payload.body}@${payload.baseOffset}+${payload.count}e${payload.epoch}`,
      );
      this.expectSame(
        `queue ${queue.id}`,
        found,
        due.map(
          ({ base, group, at }) =>
            `${group.entries[at]!.body}@${base}+${group.entries[at]!.count}e${group.epoch}`,
        ),
      );
      const facts = await engine.entries(queue.id, startOffset, 100_000);
      this.expectSame(
        `the entries of queue ${queue.id}`,
        facts.map((one) => `${one.baseOffset}+${one.count}`),
        due.map(({ base, group, at }) => `${base}+${group.entries[at]!.count}`),
      );
      if (!goesOn) continue;
      queue.trims = [{ toOffset: startOffset, ackedAt: -1 }];
      queue.known.clear();
      for (const [base] of queue.drops) {
        // What is behind the start may be there or not; nobody can tell.
        if (present.has(base) || base >= visibleEndOffset) queue.drops.delete(base);
        else queue.drops.set(base, { ackedAt: -1, goneSince: -1 });
      }
      for (const { base, group, at } of expected.get(queue.id) ?? []) {
        group.offsets[at] = base;
        queue.known.set(base, { group, at });
      }
    }
  }

  private async expectRows(engine: StorageEngine, ordered: readonly Group[]): Promise<void> {
    const { life } = this;
    const rows = new Map<string, string>();
    for (const { id, changes, conditions } of ordered) {
      for (const { key, expected } of conditions) {
        if (rows.get(key.toString()) !== expected?.toString())
          this.fail(
            `group ${id} is there, though ${key} was ${rows.get(key.toString())} and not ${expected}`,
          );
      }
      for (const { key, value } of changes) {
        if (value === null) rows.delete(key.toString());
        else rows.set(key.toString(), value.toString());
      }
    }
    const found = await engine.index(indexName).range({ limit: 1000 });
    if (this.isOver(life)) return;
    this.options.trace(`rows ${found.length}`);
    this.expectSame(
      'the index',
      found.map((row) => `${row.key}=${row.value}`),
      [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`),
    );
  }

  private rememberOnly(engine: StorageEngine, survivors: readonly Group[], state: CatalogueState): void {
    this.groups = new Map(survivors.map((group) => [group.id, group]));
    for (const group of survivors) {
      group.state = 'appended';
      group.ackedAt = -1;
      group.ackedMs = -1;
      group.durableAt = -1; // a start makes durable what it finds
    }
    this.catalogue = [{ ...state, ackedAt: -1 }];
    for (const id of [...this.queues.keys()]) if (!state.queues.has(id)) this.queues.delete(id);
    this.producers = new Map();
    for (const group of survivors) {
      for (const [at, { producer, queue }] of group.entries.entries()) {
        if (producer !== undefined && state.queues.has(queue))
          record(this.producers, producer, { group, at });
      }
    }
    for (const id of state.queues) this.checkProducers(engine, id);
    for (const lease of this.leases.values()) {
      lease.held = undefined;
    }
  }

  private async readQueue(engine: StorageEngine, queue: number, fromOffset: number): Promise<TestPayload[]> {
    const found: TestPayload[] = [];
    for (let offset = fromOffset; ; ) {
      const result = await engine.read(queue, { fromOffset: offset, maxBytes: 6000, atLeastOne: true });
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
    const length = Math.max(found.length, expected.length);
    for (let at = 0; at < length; at++) {
      if (found[at] === expected[at]) continue;
      this.fail(
        `${what} differs at ${at}: found ${found[at]}, expected ${expected[at]}, of ${expected.length}`,
      );
      return;
    }
  }

  fail(what: string): void {
    if (this.failures.length < mostFailures) this.failures.push(what);
  }
}

interface ExpectedOutcome {
  readonly outcome: string;
  readonly first?: Known;
}

const appended: ExpectedOutcome = { outcome: 'appended' };
const batchesKept = 5;
/** Of an entry. */
const mostOffsets = 8;

function record(producers: Map<string, ProducerModel>, facts: ProducerFacts, known: Known): void {
  const key = `${facts.countsForQueue}/${facts.producerId}`;
  let model = producers.get(key);
  if (model === undefined || facts.producerEpoch > model.epoch) {
    model = { epoch: facts.producerEpoch, next: 0, batches: [] };
    producers.set(key, model);
  }
  model.next = facts.lastSequence + 1;
  model.batches = [...model.batches.slice(1 - batchesKept), { facts, known }];
}

function toEntry(entry: PlannedEntry): AppendEntry {
  return {
    queue: entry.queue,
    kind: 'data',
    count: entry.count,
    maxTimestampMs: entry.maxTimestampMs,
    payload: entry.source ?? makePayload(entry.count, entry.body, entry.sizeBytes),
    ...(entry.producer === undefined ? {} : { producer: entry.producer }),
  };
}
