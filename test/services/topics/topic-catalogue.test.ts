import { describe, expect, it } from 'vitest';
import { BrokerConfig } from '../../../src/services/configuration/broker-config.ts';
import { DynamicBrokerConfig } from '../../../src/services/configuration/dynamic-broker-config.ts';
import type { Topic } from '../../../src/services/topics/topic.ts';
import { type NewTopic, TopicCatalogue } from '../../../src/services/topics/topic-catalogue.ts';
import type { Catalogue, CatalogueUpdate, StorageEngine } from '../../../src/storage/engine.ts';
import { memoryEngine, seededBytes } from '../../handlers/admin-broker.ts';

function open(engine: StorageEngine, settings: Record<string, string> = {}, seed?: string) {
  const config = new BrokerConfig(new Map(Object.entries(settings)));
  const topics = new TopicCatalogue({ catalogue: engine.catalogue, config, randomBytes: seededBytes(seed) });
  return { config, topics };
}

function topicNamed(name: string, partitions = 1, overrides: Record<string, string> = {}): NewTopic {
  const own = new Map(Object.entries(overrides));
  return { name, partitions, replicationFactor: -1, assignments: [], overrides: own };
}

const queuesOf = (topic: Topic | undefined) => topic?.partitions.map(({ queue }) => queue);
const wakes = () => new Promise((resolve) => setImmediate(resolve));

describe('creating topics', () => {
  it('makes queues that can be written to, and keeps the topics', async () => {
    const engine = memoryEngine();
    const { topics } = open(engine);
    const outcomes = await topics.create(
      [topicNamed('b', 3), topicNamed('a', 2, { 'retention.ms': '5' })],
      false,
    );
    expect(outcomes.map((outcome) => 'topic' in outcome && outcome.topic.name)).toEqual(['b', 'a']);
    expect(topics.all().map(({ name }) => name)).toEqual(['a', 'b']);
    const all = [...queuesOf(topics.get('a'))!, ...queuesOf(topics.get('b'))!];
    expect(new Set(all).size).toBe(5);
    for (const queue of all)
      expect(await engine.bounds(queue)).toEqual({ startOffset: 0, visibleEndOffset: 0 });
    expect(topics.get('a')?.settings.retentionMs).toBe(5);
    expect(topics.byId(topics.get('b')!.id)?.name).toBe('b');
    expect(topics.partitionCount).toBe(5);

    const { topics: afterStart } = open(engine);
    expect(afterStart.all()).toEqual(topics.all());
  });

  it('changes nothing when it only validates', async () => {
    const engine = memoryEngine();
    const { topics } = open(engine);
    const [outcome] = await topics.create([topicNamed('a', 7)], true);
    expect(outcome).toMatchObject({ topic: { name: 'a', partitions: { length: 7 } } });
    expect(topics.size).toBe(0);
    expect(engine.catalogue.version).toBe(0);
  });

  it('is one change of the catalogue for all topics of a request', async () => {
    const engine = memoryEngine();
    const { topics } = open(engine);
    await topics.create([topicNamed('a'), topicNamed('b'), topicNamed('.')], false);
    expect(engine.catalogue.version).toBe(1);
    expect(topics.size).toBe(2);
  });

  it('never gives a queue twice, whoever asks', async () => {
    const engine = memoryEngine();
    const one = open(engine, {}, 'one').topics;
    const two = open(engine, {}, 'two').topics;
    await Promise.all(
      ['a', 'b', 'c', 'd', 'e', 'f'].map((name, at) =>
        (at % 2 ? one : two).create([topicNamed(name, 4)], false),
      ),
    );
    const { topics } = open(engine);
    const queues = topics.all().flatMap((topic) => queuesOf(topic)!);
    expect(new Set(queues).size).toBe(24);
    expect(Math.max(...queues)).toBe(24);
  });

  it('gives a name to one of two who want it', async () => {
    const engine = memoryEngine();
    const [one, two] = [open(engine, {}, 'one').topics, open(engine, {}, 'two').topics];
    const outcomes = await Promise.all([
      one.create([topicNamed('a')], false),
      two.create([topicNamed('a')], false),
    ]);
    const errors = outcomes.flat().flatMap((outcome) => ('error' in outcome ? [outcome.error.message] : []));
    expect(errors).toEqual(["Topic 'a' already exists."]);
  });

  it('keeps its limits', async () => {
    const { topics } = open(memoryEngine(), {
      'rmq.topic.max.partitions': '10',
      'rmq.broker.max.partitions': '15',
    });
    const ask = async (...requests: NewTopic[]) =>
      (await topics.create(requests, false)).map((outcome) => ('error' in outcome ? outcome.error.code : 0));
    expect(await ask(topicNamed('large', 11))).toEqual([37]);
    expect(await ask(topicNamed('a', 10), topicNamed('b', 6), topicNamed('c', 5))).toEqual([0, 44, 0]);
    expect(await topics.addPartitions([{ name: 'c', count: 6, assignments: null }], false)).toMatchObject([
      { error: { code: 44 } },
    ]);
  });

  it('gives up, and says so, when others change topics all the time', async () => {
    const engine = memoryEngine();
    const conflicting: Catalogue = Object.create(engine.catalogue, {
      update: {
        value: async (update: CatalogueUpdate) => ({ outcome: 'conflict', key: update.changes[0]!.key }),
      },
    });
    const topics = new TopicCatalogue({
      catalogue: conflicting,
      config: new BrokerConfig(),
      randomBytes: seededBytes(),
    });
    await expect(topics.create([topicNamed('a')], false)).rejects.toThrow('changed by others');
  });
});

describe('auto-creation', () => {
  it('creates what is missing with the defaults, once', async () => {
    const engine = memoryEngine();
    const { topics } = open(engine, { 'num.partitions': '3' });
    const [first, second] = await Promise.all([topics.autoCreate(['a', 'b']), topics.autoCreate(['b', '.'])]);
    expect(first.get('a')).toMatchObject({ partitions: { length: 3 } });
    expect(second.get('b')).toEqual(first.get('b'));
    expect(second.get('.')).toMatchObject({ code: 17 });
    expect(engine.catalogue.version).toBe(1);
  });

  it('gives internal topics their own shape', async () => {
    const { topics } = open(memoryEngine(), { 'offsets.topic.num.partitions': '4' });
    const offsets = await topics.ensureInternal('__consumer_offsets');
    expect(offsets).toMatchObject({
      isInternal: true,
      partitions: { length: 4 },
      settings: { cleanupCompact: true },
    });
    expect(await topics.ensureInternal('__consumer_offsets')).toBe(topics.get('__consumer_offsets'));
    expect((await topics.ensureInternal('__transaction_state')).partitions).toHaveLength(50);
    expect((await topics.ensureInternal('__share_group_state')).settings.retentionMs).toBe(-1);
  });
});

describe('deleting topics', () => {
  it('drops their queues and tells who listens; a new one of the name is another topic', async () => {
    const engine = memoryEngine();
    const { topics } = open(engine);
    await topics.create([topicNamed('a', 2)], false);
    const before = topics.get('a')!;
    const gone: Topic[] = [];
    topics.onDeleted((topic) => gone.push(topic));
    expect(await topics.delete(['a', 'nope', 'a'])).toEqual([
      undefined,
      { code: 3, message: 'This server does not host this topic-partition.' },
      { code: 3, message: 'This server does not host this topic-partition.' },
    ]);
    expect(gone).toEqual([before]);
    expect(topics.get('a')).toBeUndefined();
    expect(topics.byId(before.id)).toBeUndefined();
    expect(await engine.bounds(before.partitions[0]!.queue)).toBeUndefined();
    await topics.create([topicNamed('a', 2)], false);
    const after = topics.get('a')!;
    expect(after.id).not.toBe(before.id);
    expect(queuesOf(after)).toEqual([3, 4]);
    expect(topics.partitionCount).toBe(2);
  });

  it('frees the name for one that would have collided', async () => {
    const { topics } = open(memoryEngine());
    await topics.create([topicNamed('a.b')], false);
    const ask = async () => (await topics.create([topicNamed('a_b')], false))[0]!;
    expect(await ask()).toMatchObject({
      error: { code: 17, message: "Topic 'a_b' collides with existing topic: a.b" },
    });
    await topics.delete(['a.b']);
    expect(await ask()).toMatchObject({ topic: { name: 'a_b' } });
  });
});

describe('changing topics', () => {
  it('adds partitions behind those that are there', async () => {
    const engine = memoryEngine();
    const { topics } = open(engine);
    await topics.create([topicNamed('a', 2), topicNamed('b', 1)], false);
    const changed: number[] = [];
    topics.onChanged((topic) => changed.push(topic.partitions.length));
    await topics.addPartitions([{ name: 'a', count: 4, assignments: null }], false);
    expect(queuesOf(topics.get('a'))).toEqual([1, 2, 4, 5]);
    expect(topics.get('a')?.partitions.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(changed).toEqual([4]);
    expect(open(engine).topics.get('a')).toEqual(topics.get('a'));
  });

  it('sets what a topic says itself', async () => {
    const { topics } = open(memoryEngine());
    await topics.create([topicNamed('a', 1, { 'retention.ms': '5' })], false);
    const { id } = topics.get('a')!;
    await topics.alterOverrides('a', (current) => new Map([...current, ['max.message.bytes', '9']]), false);
    expect(topics.get('a')).toMatchObject({ id, settings: { retentionMs: 5, maxMessageBytes: 9 } });
  });

  it('writes nothing where nothing changes', async () => {
    const engine = memoryEngine();
    const { topics } = open(engine);
    await topics.create([topicNamed('a', 1, { 'retention.ms': '5' })], false);
    const { version } = engine.catalogue;
    await topics.alterOverrides('a', () => new Map([['retention.ms', '5']]), false);
    expect(engine.catalogue.version).toBe(version);
  });

  it('follows the defaults of the broker', async () => {
    const engine = memoryEngine();
    const { config, topics } = open(engine);
    const dynamic = new DynamicBrokerConfig(engine.catalogue, config);
    await topics.create([topicNamed('a'), topicNamed('b', 1, { 'retention.ms': '5' })], false);
    const changed: string[] = [];
    topics.onChanged(({ name }) => changed.push(name));
    await dynamic.replace('all-brokers', new Map([['log.retention.ms', '77']]), false);
    expect(topics.get('a')?.settings.retentionMs).toBe(77);
    expect(topics.get('b')?.settings.retentionMs).toBe(5);
    expect(changed).toEqual(['a']);
    await dynamic.replace('this-broker', new Map([['max.connections', '5']]), false);
    expect(changed).toEqual(['a']);
  });

  it('is taken up from another process', async () => {
    const engine = memoryEngine();
    const [one, two] = [open(engine, {}, 'one').topics, open(engine, {}, 'two').topics];
    const seen: string[] = [];
    two.onDeleted(({ name, id }) => seen.push(`deleted ${name} ${id}`));
    two.onChanged(({ name }) => seen.push(`changed ${name}`));
    await one.create([topicNamed('a'), topicNamed('b')], false);
    await wakes();
    expect(two.all()).toEqual(one.all());
    const first = one.get('a')!;
    await one.addPartitions([{ name: 'b', count: 2, assignments: null }], false);
    await one.delete(['a']);
    await one.create([topicNamed('a')], false);
    await wakes();
    expect(two.all()).toEqual(one.all());
    expect(two.byId(first.id)).toBeUndefined();
    expect(seen.sort()).toEqual(['changed b', `deleted a ${first.id}`]);
  });
});

describe('100,000 partitions', () => {
  // What it costs is measured in bench/: the row `partitions`.
  it('are there again at start', { timeout: 120_000 }, async () => {
    const engine = memoryEngine();
    const { topics } = open(engine);
    const requests = Array.from({ length: 50_000 }, (_none, at) => topicNamed(`topic-${at}`));
    await topics.create(requests, false);
    await topics.create([topicNamed('wide', 50_000)], false);
    expect(topics.partitionCount).toBe(100_000);

    const again = open(engine).topics;
    expect(again.partitionCount).toBe(100_000);
    expect(queuesOf(again.get('wide'))?.at(-1)).toBe(100_000);
    // Topics that set nothing share one settings object.
    expect(again.get('topic-1')?.settings).toBe(again.get('topic-2')?.settings);
    await again.create([topicNamed('one-more')], false);
    expect(again.partitionCount).toBe(100_001);
  });
});
