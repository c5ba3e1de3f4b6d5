/**
 * The topics of the broker: which there are, what they are made of and set to, and every change of them. They are kept in the
 * engine's catalogue. Another process may change it too, so every change is a compare-and-set on one row, the revision, that all
 * changes of topics move: a change is planned on what is known, and planned again when somebody was faster.
 *
 * Says nothing of records: a topic's queues come to be and end with it, inside the engine's own update.
 */
import type { Catalogue, CatalogueChange, QueueId } from '../../storage/engine.ts';
import { type ApiError, apiError } from '../api-error.ts';
import type { BrokerConfig } from '../configuration/broker-config.ts';
import { ConfigError } from '../configuration/config-definition.ts';
import { checkTopicOverrides, topicSettings } from '../configuration/topic-config.ts';
import { hiddenPrefix } from './hidden-queues.ts';
import { internalTopicShape, isInternalTopic } from './internal-topics.ts';
import { firstQueueId, nextQueueKey } from './queue-ids.ts';
import {
  checkAddedAssignments,
  checkNewAssignments,
  type PartitionAssignment,
} from './replica-assignment.ts';
import type { InternalTopicName, Partition, Topic, TopicDirectory, TopicSettings } from './topic.ts';
import { topicNameFault } from './topic-name.ts';
import { decodeTopicRecord, encodeTopicRecord, type TopicRecord, topicKeyPrefix } from './topic-record.ts';
import { TopicTable } from './topic-table.ts';

/** How often a change is planned again when other processes change topics at the same moment. */
const maxAttempts = 50;
/** Distinct sets of overrides whose settings are remembered; the topics hold on to theirs anyway. */
const maxCachedSettings = 10_000;
const noOverrides: ReadonlyMap<string, string> = new Map();

export interface TopicCatalogueOptions {
  readonly catalogue: Catalogue;
  readonly config: BrokerConfig;
  readonly randomBytes: (sizeBytes: number) => Buffer;
  /**
   * Settings that a new topic of this name gets beside those that it is created with, where it does not have them: some names stand
   * for something. `get` finds the topics that there are.
   */
  readonly settingsByName?: (
    name: string,
    get: (name: string) => Topic | undefined,
  ) => ReadonlyMap<string, string>;
}

/** A topic to be. -1 asks for the broker's default. */
export interface NewTopic {
  readonly name: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly assignments: readonly PartitionAssignment[];
  readonly overrides: ReadonlyMap<string, string>;
}

export interface PartitionsChange {
  readonly name: string;
  /** Partitions in all. */
  readonly count: number;
  /** Brokers of each partition that is added; null leaves it to the broker. */
  readonly assignments: readonly (readonly number[])[] | null;
}

/** A topic, as it is or (validated only) as it would be; or why not. */
export type TopicOutcome = { readonly topic: Topic } | { readonly error: ApiError };

/** What a change writes and what it answers. Nothing is written where there are no changes. */
interface Plan<Answer> {
  readonly answer: Answer;
  readonly changes: readonly CatalogueChange[];
  readonly createQueues?: readonly QueueId[];
  readonly dropQueues?: readonly QueueId[];
  readonly nextQueue?: QueueId;
}

/** Whether so many partitions of a topic may be made or deleted now; asked last, and maybe again with the same answer. */
export type ChangeRation = (topic: string, partitions: number) => boolean;

const anyChange: ChangeRation = () => true;
const tooManyChanges = apiError('THROTTLING_QUOTA_EXCEEDED', 'The throttling quota has been exceeded.');

export class TopicCatalogue implements TopicDirectory {
  private readonly catalogue: Catalogue;
  private readonly config: BrokerConfig;
  private readonly randomBytes: (sizeBytes: number) => Buffer;
  private readonly settingsByName: NonNullable<TopicCatalogueOptions['settingsByName']>;
  private readonly table = new TopicTable();
  private readonly settingsCache = new Map<string, TopicSettings>();
  private readonly deletedListeners = new Set<(topic: Topic) => void>();
  private readonly changedListeners = new Set<(topic: Topic) => void>();
  private readonly stops: (() => void)[] = [];
  /** Versions of the topics' rows that the table shows. */
  private readonly seenVersions = new Map<string, number>();
  private seenRevision = 0;
  private lastChange: Promise<unknown> = Promise.resolve();
  private changesUnderWay = 0;

  /** Reads what is stored: the topics are there when this returns. */
  constructor(options: TopicCatalogueOptions) {
    this.catalogue = options.catalogue;
    this.config = options.config;
    this.randomBytes = options.randomBytes;
    this.settingsByName = options.settingsByName ?? (() => noOverrides);
    this.catchUp();
    this.stops.push(
      this.catalogue.watch(() => {
        // Our own changes are taken up where they are made.
        if (this.changesUnderWay === 0) this.catchUp();
      }),
      this.config.onChanged(() => this.refreshSettings()),
    );
  }

  close(): void {
    for (const stop of this.stops) stop();
  }

  get(name: string): Topic | undefined {
    return this.table.get(name);
  }

  byId(id: string): Topic | undefined {
    return this.table.getById(id);
  }

  all(): readonly Topic[] {
    return this.table.all();
  }

  get size(): number {
    return this.table.size;
  }

  /** Partitions of all topics together. */
  get partitionCount(): number {
    return this.table.partitionCount;
  }

  onDeleted(listener: (topic: Topic) => void): () => void {
    this.deletedListeners.add(listener);
    return () => void this.deletedListeners.delete(listener);
  }

  onChanged(listener: (topic: Topic) => void): () => void {
    this.changedListeners.add(listener);
    return () => void this.changedListeners.delete(listener);
  }

  async ensureInternal(name: InternalTopicName): Promise<Topic> {
    const topic = this.table.get(name) ?? (await this.autoCreate([name])).get(name)!;
    if ('code' in topic) throw new Error(`cannot create ${name}: ${topic.message}`);
    return topic;
  }

  /**
   * The topics of these names, those that are missing created with the broker's defaults in one durable change. Resolves when all
   * of them can be written to.
   */
  async autoCreate(names: readonly string[]): Promise<ReadonlyMap<string, Topic | ApiError>> {
    return this.change(() => {
      const answer = new Map<string, Topic | ApiError>();
      const draft = new Draft(this.nextQueue);
      for (const name of names) {
        const present = this.table.get(name);
        if (present !== undefined) {
          answer.set(name, present);
          continue;
        }
        const shape = isInternalTopic(name)
          ? internalTopicShape(name, this.config)
          : { partitions: this.config.int('num.partitions'), overrides: noOverrides };
        const outcome = this.draftTopic(draft, {
          name,
          partitions: shape.partitions,
          replicationFactor: -1,
          assignments: [],
          overrides: shape.overrides,
        });
        answer.set(name, 'topic' in outcome ? outcome.topic : outcome.error);
      }
      return { answer, ...draft };
    });
  }

  /** One outcome for each request, in order. All that can be created are created in one durable change. */
  async create(
    requests: readonly NewTopic[],
    validateOnly: boolean,
    mayChange: ChangeRation = anyChange,
  ): Promise<readonly TopicOutcome[]> {
    return this.change(() => {
      const draft = new Draft(this.nextQueue);
      const answer = requests.map((request) => this.draftTopic(draft, request, mayChange));
      return validateOnly ? { answer, changes: [] } : { answer, ...draft };
    });
  }

  /** Deletes the topics, given by name; one outcome each, in order. Their queues are gone when this resolves. */
  async delete(
    names: readonly string[],
    mayChange: ChangeRation = anyChange,
  ): Promise<readonly (ApiError | undefined)[]> {
    return this.change(() => {
      const changes: CatalogueChange[] = [];
      const dropQueues: QueueId[] = [];
      const gone = new Set<string>();
      const answer = names.map((name) => {
        const topic = gone.has(name) ? undefined : this.table.get(name);
        if (topic === undefined) {
          return apiError('UNKNOWN_TOPIC_OR_PARTITION', 'This server does not host this topic-partition.');
        }
        if (!mayChange(name, topic.partitions.length)) return tooManyChanges;
        gone.add(name);
        changes.push({ key: topicKeyPrefix + name, value: null });
        for (const { queue } of topic.partitions) dropQueues.push(queue);
        return undefined;
      });
      return { answer, changes, dropQueues };
    });
  }

  /** Adds partitions; one outcome for each request, in order. */
  async addPartitions(
    requests: readonly PartitionsChange[],
    validateOnly: boolean,
    mayChange: ChangeRation = anyChange,
  ): Promise<readonly TopicOutcome[]> {
    return this.change(() => {
      const draft = new Draft(this.nextQueue);
      const answer = requests.map((request) => this.draftPartitions(draft, request, mayChange));
      return validateOnly ? { answer, changes: [] } : { answer, ...draft };
    });
  }

  /**
   * Changes what a topic sets itself to what `next` makes of it. `next` may be called more than once; it returns the values or why
   * there are none. Values are checked here.
   */
  async alterOverrides(
    name: string,
    next: (current: ReadonlyMap<string, string>) => ReadonlyMap<string, string> | ApiError,
    validateOnly: boolean,
  ): Promise<TopicOutcome> {
    return this.change<TopicOutcome>(() => {
      const fault = topicNameFault(name);
      if (fault !== undefined)
        return { answer: { error: apiError('INVALID_TOPIC_EXCEPTION', fault) }, changes: [] };
      const topic = this.table.get(name);
      const overrides = next(topic?.overrides ?? noOverrides);
      if ('code' in overrides) return { answer: { error: overrides }, changes: [] };
      const wrong = this.overridesFault(overrides);
      if (wrong !== undefined) return { answer: { error: wrong }, changes: [] };
      // Only now, as in Kafka: a bad value is told even where there is no topic.
      if (topic === undefined) {
        const error = apiError('UNKNOWN_TOPIC_OR_PARTITION', `The topic '${name}' does not exist.`);
        return { answer: { error }, changes: [] };
      }
      const answer = { topic: this.topicOf(name, { id: topic.id, partitions: topic.partitions, overrides }) };
      if (validateOnly || sameEntries(topic.overrides, overrides)) return { answer, changes: [] };
      return { answer, changes: [storeTopic(answer.topic)] };
    });
  }

  private draftTopic(draft: Draft, request: NewTopic, mayChange: ChangeRation = anyChange): TopicOutcome {
    const { name } = request;
    if (name === '__cluster_metadata') {
      return {
        error: apiError('INVALID_REQUEST', 'Creation of internal topic __cluster_metadata is prohibited.'),
      };
    }
    const fault = topicNameFault(name);
    if (fault !== undefined) return { error: apiError('INVALID_TOPIC_EXCEPTION', fault) };
    if (name.startsWith(hiddenPrefix)) {
      const message = `Topic name is invalid: names starting with ${hiddenPrefix} are the broker's own`;
      return { error: apiError('INVALID_TOPIC_EXCEPTION', message) };
    }
    if (this.table.get(name) !== undefined || draft.has(name)) {
      return { error: apiError('TOPIC_ALREADY_EXISTS', `Topic '${name}' already exists.`) };
    }
    const other = this.table.collidingWith(name) ?? draft.collidingWith(name);
    if (other !== undefined) {
      const message = `Topic '${name}' collides with existing topic: ${other}`;
      return { error: apiError('INVALID_TOPIC_EXCEPTION', message) };
    }
    const byName = this.settingsByName(name, (other) => this.table.get(other));
    const overrides = byName.size === 0 ? request.overrides : new Map([...byName, ...request.overrides]);
    const wrong = this.overridesFault(overrides);
    if (wrong !== undefined) return { error: wrong };
    const count = this.partitionsOf(request);
    if (typeof count !== 'number') return { error: count };
    const tooMany = this.limitFault(count, count + draft.partitionsAdded);
    if (tooMany !== undefined) return { error: tooMany };
    if (!mayChange(name, count)) return { error: tooManyChanges };
    const topic = this.topicOf(name, {
      id: this.newTopicId(),
      partitions: draft.takeQueues(count, 0),
      overrides,
    });
    draft.add(topic);
    return { topic };
  }

  private draftPartitions(draft: Draft, request: PartitionsChange, mayChange: ChangeRation): TopicOutcome {
    const topic = this.table.get(request.name);
    if (topic === undefined) {
      return { error: apiError('UNKNOWN_TOPIC_OR_PARTITION') };
    }
    const present = topic.partitions.length;
    if (request.count === present) {
      return { error: apiError('INVALID_PARTITIONS', `Topic already has ${present} partition(s).`) };
    }
    if (request.count < present) {
      const message = `The topic ${topic.name} currently has ${present} partition(s); ${request.count} would not be an increase.`;
      return { error: apiError('INVALID_PARTITIONS', message) };
    }
    const added = request.count - present;
    if (request.assignments !== null) {
      const fault = checkAddedAssignments(request.assignments, added, this.config.int('node.id'));
      if (fault !== undefined) return { error: fault };
    }
    const tooMany = this.limitFault(request.count, added + draft.partitionsAdded);
    if (tooMany !== undefined) return { error: tooMany };
    if (!mayChange(topic.name, added)) return { error: tooManyChanges };
    const larger = this.topicOf(topic.name, {
      id: topic.id,
      partitions: [...topic.partitions, ...draft.takeQueues(added, present)],
      overrides: topic.overrides,
    });
    draft.add(larger);
    return { topic: larger };
  }

  private partitionsOf(request: NewTopic): number | ApiError {
    const { assignments, partitions, replicationFactor } = request;
    if (assignments.length > 0) {
      if (replicationFactor !== -1) {
        return apiError(
          'INVALID_REQUEST',
          'A manual partition assignment was specified, but replication factor was not set to -1.',
        );
      }
      if (partitions !== -1) {
        return apiError(
          'INVALID_REQUEST',
          'A manual partition assignment was specified, but numPartitions was not set to -1.',
        );
      }
      return checkNewAssignments(assignments, this.config.int('node.id'));
    }
    if (replicationFactor < -1 || replicationFactor === 0) {
      return apiError(
        'INVALID_REPLICATION_FACTOR',
        'Replication factor must be larger than 0, or -1 to use the default value.',
      );
    }
    if (partitions < -1 || partitions === 0) {
      return apiError('INVALID_PARTITIONS', 'Number of partitions was set to an invalid non-positive value.');
    }
    if (replicationFactor > 1) {
      return apiError(
        'INVALID_REPLICATION_FACTOR',
        `Unable to replicate the partition ${replicationFactor} time(s): The target replication factor of ${replicationFactor} cannot be reached because only 1 broker(s) are registered.`,
      );
    }
    return partitions === -1 ? this.config.int('num.partitions') : partitions;
  }

  private limitFault(ofTopic: number, added: number): ApiError | undefined {
    const topicLimit = this.config.int('rmq.topic.max.partitions');
    if (ofTopic > topicLimit) {
      return apiError(
        'INVALID_PARTITIONS',
        `A topic may have ${topicLimit} partitions (rmq.topic.max.partitions), not ${ofTopic}.`,
      );
    }
    const brokerLimit = this.config.int('rmq.broker.max.partitions');
    if (this.table.partitionCount + added > brokerLimit) {
      return apiError(
        'POLICY_VIOLATION',
        `All topics together may have ${brokerLimit} partitions (rmq.broker.max.partitions).`,
      );
    }
    return undefined;
  }

  private overridesFault(overrides: ReadonlyMap<string, string>): ApiError | undefined {
    if (overrides.size === 0) return undefined;
    try {
      checkTopicOverrides(overrides, this.config);
      return undefined;
    } catch (error) {
      if (error instanceof ConfigError) return apiError('INVALID_CONFIG', error.message);
      throw error;
    }
  }

  /** Random, as Kafka's: neither one of the reserved ids nor one that looks like a command line option. */
  private newTopicId(): string {
    for (;;) {
      const bytes = this.randomBytes(16);
      bytes[6] = (bytes[6]! & 0x0f) | 0x40;
      bytes[8] = (bytes[8]! & 0x3f) | 0x80;
      const id = bytes.toString('base64url');
      if (!id.startsWith('-') && this.table.getById(id) === undefined) return id;
    }
  }

  private topicOf(name: string, record: TopicRecord): Topic {
    return {
      name,
      id: record.id,
      isInternal: isInternalTopic(name),
      partitions: record.partitions,
      overrides: record.overrides,
      settings: this.settingsOf(record.overrides),
    };
  }

  /** Topics with the same overrides share one object. */
  private settingsOf(overrides: ReadonlyMap<string, string>): TopicSettings {
    const key = overrides.size === 0 ? '' : JSON.stringify([...overrides].sort());
    let settings = this.settingsCache.get(key);
    if (settings === undefined) {
      settings = topicSettings(overrides, this.config);
      if (this.settingsCache.size >= maxCachedSettings) this.settingsCache.clear();
      this.settingsCache.set(key, settings);
    }
    return settings;
  }

  private get nextQueue(): QueueId {
    const row = this.catalogue.get(nextQueueKey);
    return row === undefined ? firstQueueId : Number(row.value.toString());
  }

  /** Plans and writes one change at a time. Resolves with the plan's answer when it is durable and shown by the table. */
  private change<Answer>(plan: () => Plan<Answer>): Promise<Answer> {
    const done = this.lastChange.then(() => this.changeNow(plan));
    this.lastChange = done.catch(() => undefined);
    return done;
  }

  private async changeNow<Answer>(plan: () => Plan<Answer>): Promise<Answer> {
    this.changesUnderWay += 1;
    try {
      for (let attempt = 0; attempt < maxAttempts; attempt++) {
        this.catchUp();
        const { answer, changes, createQueues, dropQueues, nextQueue } = plan();
        if (changes.length === 0) return answer;
        const result = await this.catalogue.update({
          changes: [
            {
              key: nextQueueKey,
              expectedVersion: this.seenRevision,
              value: Buffer.from(String(nextQueue ?? this.nextQueue)),
            },
            ...changes,
          ],
          ...(createQueues === undefined ? {} : { createQueues }),
          ...(dropQueues === undefined ? {} : { dropQueues }),
        });
        if (result.outcome === 'conflict') continue;
        for (const { key } of changes) this.takeUp(key);
        this.seenRevision = result.version;
        return answer;
      }
      throw new Error(`topics were changed by others ${maxAttempts} times while a change was tried`);
    } finally {
      this.changesUnderWay -= 1;
    }
  }

  /** Takes up what others changed. */
  private catchUp(): void {
    const revision = this.catalogue.get(nextQueueKey)?.version ?? 0;
    if (revision === this.seenRevision) return;
    const present = this.catalogue.list(topicKeyPrefix);
    if (this.seenVersions.size > 0) {
      const keys = new Set(present.map((entry) => entry.key));
      for (const key of [...this.seenVersions.keys()]) if (!keys.has(key)) this.takeUp(key);
    }
    for (const entry of present) {
      if (this.seenVersions.get(entry.key) !== entry.version) this.takeUp(entry.key);
    }
    this.seenRevision = revision;
  }

  /** Shows a topic as the catalogue has it now, and tells who listens. */
  private takeUp(key: string): void {
    const name = key.slice(topicKeyPrefix.length);
    const entry = this.catalogue.get(key);
    if (entry === undefined) {
      this.seenVersions.delete(key);
      const gone = this.table.remove(name);
      if (gone !== undefined) for (const listener of [...this.deletedListeners]) listener(gone);
      return;
    }
    this.seenVersions.set(key, entry.version);
    const topic = this.topicOf(name, decodeTopicRecord(entry.value));
    const before = this.table.put(topic);
    if (before === undefined) return;
    if (before.id !== topic.id) for (const listener of [...this.deletedListeners]) listener(before);
    else for (const listener of [...this.changedListeners]) listener(topic);
  }

  /** The broker's defaults changed: so do the topics that rest on them. */
  private refreshSettings(): void {
    this.settingsCache.clear();
    for (const topic of this.table.all()) {
      const settings = this.settingsOf(topic.overrides);
      if (sameSettings(topic.settings, settings)) continue;
      const changed = { ...topic, settings };
      this.table.put(changed);
      for (const listener of [...this.changedListeners]) listener(changed);
    }
  }
}

/** Topics that one change makes or enlarges, before it is written. */
class Draft {
  readonly changes: CatalogueChange[] = [];
  readonly createQueues: QueueId[] = [];
  nextQueue: QueueId;
  readonly #drafted = new TopicTable();

  constructor(nextQueue: QueueId) {
    this.nextQueue = nextQueue;
  }

  get partitionsAdded(): number {
    return this.createQueues.length;
  }

  has(name: string): boolean {
    return this.#drafted.get(name) !== undefined;
  }

  collidingWith(name: string): string | undefined {
    return this.#drafted.collidingWith(name);
  }

  takeQueues(count: number, firstIndex: number): readonly Partition[] {
    const partitions: Partition[] = [];
    for (let at = 0; at < count; at++) {
      const queue = this.nextQueue + at;
      partitions.push({ index: firstIndex + at, queue });
      this.createQueues.push(queue);
    }
    this.nextQueue += count;
    return partitions;
  }

  add(topic: Topic): void {
    this.#drafted.put(topic);
    this.changes.push(storeTopic(topic));
  }
}

function storeTopic(topic: Topic): CatalogueChange {
  return { key: topicKeyPrefix + topic.name, value: encodeTopicRecord(topic) };
}

function sameEntries(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  return a.size === b.size && [...a].every(([name, value]) => b.get(name) === value);
}

function sameSettings(a: TopicSettings, b: TopicSettings): boolean {
  return (Object.keys(a) as (keyof TopicSettings)[]).every((name) => Object.is(a[name], b[name]));
}
