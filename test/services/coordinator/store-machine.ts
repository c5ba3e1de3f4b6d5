/** The simplest machine there is: names with values. What the runtime's tests run, on an engine whose appends they hold in hand. */
import { isBatchIntact, isBatchStamped, stampBatch } from '../../../protocol/records/record-batch.ts';
import {
  type CoordinatorLimits,
  defaultCoordinatorLimits,
} from '../../../src/services/coordinator/coordinator-limits.ts';
import type {
  CoordinatorMachine,
  Effects,
  MachineTimers,
  StateRecordFormat,
  Ticket,
} from '../../../src/services/coordinator/coordinator-machine.ts';
import { CoordinatorRuntime } from '../../../src/services/coordinator/coordinator-runtime.ts';
import type { InternalTopicName, Topic, TopicDirectory } from '../../../src/services/topics/topic.ts';
import type {
  AppendGroup,
  AppendResult,
  Lease,
  MaybePromise,
  QueueId,
  ReadOptions,
  ReadResult,
  StorageEngine,
} from '../../../src/storage/engine.ts';
import { openMemoryEngine } from '../../../src/storage/memory/memory-engine.ts';
import { VirtualClock } from '../../../src/util/clock.ts';
import { type Log, silentLog } from '../../../src/util/log.ts';
import { testTopicSettings } from '../../fakes/topic-directory.ts';

export interface StoreRecord {
  readonly name: string;
  readonly value: string | null;
}

export const storeFormat: StateRecordFormat<StoreRecord> = {
  encode: ({ name, value }) => ({
    key: Buffer.from(name),
    value: value === null ? null : Buffer.from(value),
  }),
  decode: (key, value) => ({ name: key.toString(), value: value === null ? null : value.toString() }),
};

export class StoreMachine implements CoordinatorMachine<StoreRecord> {
  readonly values = new Map<string, string>();
  readonly timers: MachineTimers<StoreRecord>;
  loadedWith: number | undefined;
  waiting: Ticket<string>[] = [];

  constructor(timers: MachineTimers<StoreRecord>) {
    this.timers = timers;
  }

  replay({ name, value }: StoreRecord): void {
    if (value === null) this.values.delete(name);
    else this.values.set(name, value);
  }

  onLoaded(): void {
    this.loadedWith = this.values.size;
  }

  *snapshot(): Iterable<StoreRecord> {
    for (const [name, value] of this.values) yield { name, value };
  }

  set(name: string, value: string | null, effects: Effects<StoreRecord>): void {
    effects.append({ name, value });
  }
}

/** A memory engine whose appends are settled when the test says so, or refused. */
export class HeldEngine {
  readonly inner: StorageEngine;
  readonly engine: StorageEngine;
  readonly appends: AppendGroup[] = [];
  readonly reads: ReadOptions[] = [];
  /** Hold appends back from here on. */
  holds = false;
  #held: (() => void)[] = [];
  #refusals: AppendResult[] = [];
  room: Promise<void> | undefined;
  beforeRead: (() => MaybePromise<ReadResult | undefined>) | undefined;
  readonly leases: AbortController[] = [];
  trims: number[] = [];
  failTrim = false;

  constructor(clock: VirtualClock) {
    this.inner = openMemoryEngine({
      payloadFormat: { stamp: stampBatch, isStamped: isBatchStamped, isIntact: isBatchIntact },
      clock,
    });
    const own: Partial<StorageEngine> = {
      append: (group: AppendGroup): Promise<readonly AppendResult[]> => {
        this.appends.push(group);
        const refusal = this.#refusals.shift();
        const result =
          refusal === undefined
            ? this.inner.append(group)
            : Promise.resolve(group.entries.map(() => refusal));
        if (!this.holds) return result;
        return new Promise((resolve) => {
          this.#held.push(() => resolve(result));
        });
      },
      appendRoom: () => this.room,
      read: async (queue: QueueId, options: ReadOptions): Promise<ReadResult> => {
        this.reads.push(options);
        return (await this.beforeRead?.()) ?? this.inner.read(queue, options);
      },
      trim: (queue: QueueId, toOffset: number) => {
        if (this.failTrim) return Promise.reject(new Error('no trim today'));
        this.trims.push(toOffset);
        return this.inner.trim(queue, toOffset);
      },
      acquireLease: (name: string): Promise<Lease> => {
        const lost = new AbortController();
        this.leases.push(lost);
        return this.inner
          .acquireLease(name)
          .then((lease) => ({ ...lease, name, epoch: lease.epoch, lost: lost.signal }));
      },
    };
    this.engine = new Proxy(this.inner, {
      get: (target, property) => {
        const found = Reflect.get(property in own ? own : target, property) as unknown;
        return typeof found === 'function' && !(property in own) ? found.bind(target) : found;
      },
    });
  }

  get heldCount(): number {
    return this.#held.length;
  }

  refuseNext(result: AppendResult): void {
    this.#refusals.push(result);
  }

  /** Settles the held append of this index, oldest first. */
  release(index = 0): void {
    const [release] = this.#held.splice(index, 1);
    release!();
  }

  releaseAll(): void {
    for (const release of this.#held.splice(0)) release();
  }
}

export class FakeDirectory implements TopicDirectory {
  readonly topics = new Map<string, Topic>();
  readonly #engine: StorageEngine;
  readonly #deleted = new Set<(topic: Topic) => void>();
  readonly partitionCount: number;
  creations = 0;
  failCreation = false;
  isCompacted = false;
  #nextQueue = 1;

  constructor(engine: StorageEngine, partitionCount: number) {
    this.#engine = engine;
    this.partitionCount = partitionCount;
  }

  get(name: string): Topic | undefined {
    return this.topics.get(name);
  }

  byId(id: string): Topic | undefined {
    return this.all().find((topic) => topic.id === id);
  }

  all(): readonly Topic[] {
    return [...this.topics.values()];
  }

  async ensureInternal(name: InternalTopicName): Promise<Topic> {
    const existing = this.topics.get(name);
    if (existing !== undefined) return existing;
    if (this.failCreation) throw new Error('no topics today');
    return this.create(name, this.partitionCount);
  }

  async create(name: string, partitionCount: number): Promise<Topic> {
    this.creations++;
    const partitions = Array.from({ length: partitionCount }, (_, index) => ({
      index,
      queue: this.#nextQueue++,
    }));
    await this.#engine.catalogue.update({ changes: [], createQueues: partitions.map((each) => each.queue) });
    const topic: Topic = {
      name,
      id: Buffer.from(`topic-${String(this.creations).padStart(10, '0')}`).toString('base64url'),
      isInternal: name.startsWith('__'),
      partitions,
      overrides: new Map(),
      settings: { ...testTopicSettings, cleanupCompact: this.isCompacted },
    };
    this.topics.set(name, topic);
    return topic;
  }

  async delete(name: string): Promise<void> {
    const topic = this.topics.get(name)!;
    this.topics.delete(name);
    await this.#engine.catalogue.update({
      changes: [],
      dropQueues: topic.partitions.map((each) => each.queue),
    });
    for (const listener of this.#deleted) listener(topic);
  }

  onDeleted(listener: (topic: Topic) => void): () => void {
    this.#deleted.add(listener);
    return () => this.#deleted.delete(listener);
  }

  onChanged(): () => void {
    return () => {};
  }
}

export interface StoreRuntime {
  readonly clock: VirtualClock;
  readonly held: HeldEngine;
  readonly directory: FakeDirectory;
  readonly runtime: CoordinatorRuntime<StoreRecord, StoreMachine>;
  readonly machines: StoreMachine[];
  /** Answers 'done', or the error. */
  set(name: string, value: string | null, key?: string): string | Promise<string>;
  get(name: string, key?: string): string | Promise<string>;
  /** Lets everything that can run run. */
  settle(): Promise<void>;
  /** A second broker on the same data, after this one is gone. */
  restart(limits?: Partial<CoordinatorLimits>): StoreRuntime;
}

export function startStore(
  limits: Partial<CoordinatorLimits> = {},
  partitionCount = 1,
  log: Log = silentLog,
): StoreRuntime {
  const clock = new VirtualClock();
  const held = new HeldEngine(clock);
  const directory = new FakeDirectory(held.engine, partitionCount);
  return storeOn(clock, held, directory, limits, log);
}

function storeOn(
  clock: VirtualClock,
  held: HeldEngine,
  directory: FakeDirectory,
  limits: Partial<CoordinatorLimits>,
  log: Log,
): StoreRuntime {
  const machines: StoreMachine[] = [];
  const runtime = new CoordinatorRuntime<StoreRecord, StoreMachine>({
    topicName: '__consumer_offsets',
    directory,
    engine: held.engine,
    clock,
    log,
    limits: { ...defaultCoordinatorLimits, ...limits },
    format: storeFormat,
    createMachine: (timers) => {
      const machine = new StoreMachine(timers);
      machines.push(machine);
      return machine;
    },
  });
  const failed = (code: number): string => `error ${code}`;
  return {
    clock,
    held,
    directory,
    runtime,
    machines,
    set: (name, value, key = 'key') =>
      runtime.execute<string>(key, 'create', failed, (machine, effects, ticket) => {
        machine.set(name, value, effects);
        effects.reply(ticket, 'done');
      }),
    get: (name, key = 'key') =>
      runtime.execute<string>(key, 'look', failed, (machine, effects, ticket) =>
        effects.reply(ticket, machine.values.get(name) ?? 'nothing'),
      ),
    settle: () => clock.advance(0),
    restart: (other = limits) => storeOn(clock, held, directory, other, log),
  };
}
