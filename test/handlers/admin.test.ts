/** What the recorded answers of Kafka do not show: old versions that it no longer serves, data, and what a restart keeps. */
import { describe, expect, it } from 'vitest';
import type { CreateTopicsResponse } from '../../protocol/generated/19-create-topics.ts';
import type { DeleteTopicsResponse } from '../../protocol/generated/20-delete-topics.ts';
import type { DeleteRecordsResponse } from '../../protocol/generated/21-delete-records.ts';
import type { DescribeConfigsResponse } from '../../protocol/generated/32-describe-configs.ts';
import type { DescribeLogDirsResponse } from '../../protocol/generated/35-describe-log-dirs.ts';
import { ZERO_UUID } from '../../protocol/wire/uuid.ts';
import type { RequestContext } from '../../src/handlers/handler.ts';
import { AdminBroker } from './admin-broker.ts';

const topic = (name: string, configs: readonly object[] = []) => ({
  name,
  numPartitions: 1,
  replicationFactor: 1,
  assignments: [],
  configs,
});

describe('CreateTopics', () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7])('v%i creates', async (version) => {
    const broker = new AdminBroker();
    const request = { topics: [topic('a'), topic('a.'), topic('a_')], timeoutMs: 0 };
    const { topics } = await broker.call<CreateTopicsResponse>(19, version, request);
    expect(topics.map(({ name, errorCode }) => [name, errorCode])).toEqual([
      ['a', 0],
      ['a.', 0],
      ['a_', 17],
    ]);
    if (version >= 1) expect(topics[2]?.errorMessage).toBe("Topic 'a_' collides with existing topic: a.");
    expect(topics[0]?.topicId).toBe(version < 7 ? ZERO_UUID : broker.topics.get('a')?.id);
    expect(topics[0]?.numPartitions).toBe(version < 5 ? -1 : 1);
  });
});

describe('DeleteTopics', () => {
  it.each([0, 1, 2, 3, 4, 5])('v%i deletes by name', async (version) => {
    const broker = new AdminBroker();
    await broker.topics.autoCreate(['a']);
    const request = { topicNames: ['a', 'nope'], timeoutMs: 0 };
    const { responses } = await broker.call<DeleteTopicsResponse>(20, version, request);
    expect(responses.map(({ name, errorCode }) => [name, errorCode])).toEqual([
      ['a', 0],
      ['nope', 3],
    ]);
    expect(broker.topics.size).toBe(0);
  });

  it('v6 deletes by id', async () => {
    const broker = new AdminBroker();
    await broker.topics.autoCreate(['a', 'b', 'c']);
    const id = (name: string) => broker.topics.get(name)!.id;
    const request = {
      topics: [
        { name: null, topicId: id('a') },
        { name: 'b', topicId: ZERO_UUID },
        { name: null, topicId: id('b') },
        { name: null, topicId: id('c') },
        { name: null, topicId: id('c') },
      ],
      timeoutMs: 0,
    };
    const [idA, idB, idC] = [id('a'), id('b'), id('c')];
    const { responses } = await broker.call<DeleteTopicsResponse>(20, 6, request);
    expect(responses.map(({ name, topicId, errorCode }) => [name, topicId, errorCode])).toEqual([
      [null, idC, 42],
      ['b', idB, 42],
      ['a', idA, 0],
    ]);
    expect(broker.topics.all().map(({ name }) => name)).toEqual(['b', 'c']);
  });

  it.each([
    [2, 42],
    [3, 73],
  ])('v%i answers %i where the broker does not allow it', async (version, code) => {
    const broker = new AdminBroker({ 'delete.topic.enable': 'false' });
    await broker.topics.autoCreate(['a']);
    const request = { topicNames: ['a'], timeoutMs: 0 };
    const { responses } = await broker.call<DeleteTopicsResponse>(20, version, request);
    expect(responses).toMatchObject([{ name: 'a', errorCode: code }]);
    expect(broker.topics.size).toBe(1);
  });
});

describe('records', () => {
  it.each([0, 1, 2])('are deleted up to an offset, v%i', async (version) => {
    const broker = new AdminBroker({ 'num.partitions': '2' });
    await broker.topics.autoCreate(['a']);
    await broker.append('a', 0, 10);
    await broker.append('a', 1, 10);
    const remove = async (partitionIndex: number, offset: number | bigint) => {
      const request = { topics: [{ name: 'a', partitions: [{ partitionIndex, offset }] }], timeoutMs: 0 };
      const { topics } = await broker.call<DeleteRecordsResponse>(21, version, request);
      const { errorCode, lowWatermark } = topics[0]!.partitions[0]!;
      return [errorCode, lowWatermark];
    };
    expect(await remove(0, 4)).toEqual([0, 4]);
    expect(await remove(0, 2)).toEqual([0, 4]);
    expect(await remove(0, 11)).toEqual([1, -1]);
    expect(await remove(0, 2n ** 62n)).toEqual([1, -1]);
    expect(await remove(0, 10)).toEqual([0, 10]);
    expect(await remove(1, -1)).toEqual([0, 10]);
    const bounds = await broker.engine.bounds(broker.topics.get('a')!.partitions[0]!.queue);
    expect(bounds).toEqual({ startOffset: 10, visibleEndOffset: 10 });
  });

  it('are counted in the directory', async () => {
    const broker = new AdminBroker();
    await broker.topics.autoCreate(['a', 'b']);
    await broker.append('a', 0, 10);
    for (const version of [0, 1, 2, 3, 4, 5]) {
      const answer = await broker.call<DescribeLogDirsResponse>(35, version, { topics: null });
      const [dir] = answer.results;
      expect(dir).toMatchObject({ errorCode: 0, logDir: '/data', topics: { length: 2 } });
      const stored = await broker.engine.sizeBytes(broker.topics.get('a')!.partitions[0]!.queue);
      expect(stored).toBeGreaterThan(100);
      expect(dir?.topics.map(({ partitions }) => partitions[0]?.partitionSize)).toEqual([stored, 0]);
      expect([dir?.totalBytes, dir?.usableBytes]).toEqual(version < 4 ? [-1, -1] : [2000, 1000]);
    }
  });

  it('of a topic that is made again begin at 0', async () => {
    const broker = new AdminBroker();
    await broker.topics.autoCreate(['a']);
    await broker.append('a', 0, 10);
    await broker.topics.delete(['a']);
    await broker.topics.autoCreate(['a']);
    const bounds = await broker.engine.bounds(broker.topics.get('a')!.partitions[0]!.queue);
    expect(bounds).toEqual({ startOffset: 0, visibleEndOffset: 0 });
  });
});

describe('DescribeConfigs', () => {
  it('v0 says only what is a default', async () => {
    const broker = new AdminBroker();
    await broker.call(19, 7, { topics: [topic('a', [{ name: 'flush.ms', value: '5' }])], timeoutMs: 0 });
    const resources = [
      { resourceType: 2, resourceName: 'a', configurationKeys: ['flush.ms', 'retention.ms'] },
    ];
    const { results } = await broker.call<DescribeConfigsResponse>(32, 0, { resources });
    expect(results[0]?.configs.map(({ name, value, isDefault }) => [name, value, isDefault])).toEqual([
      ['flush.ms', '5', false],
      ['retention.ms', '604800000', true],
    ]);
  });

  it('documents every setting from v3 on, and hides what is secret', async () => {
    const broker = new AdminBroker({ 'ssl.keystore.password': 'hunter2' });
    for (const [resourceType, resourceName] of [
      [2, 'a'],
      [4, '1'],
      [32, 'g'],
    ] as const) {
      await broker.topics.autoCreate(['a']);
      const request = {
        resources: [{ resourceType, resourceName, configurationKeys: null }],
        includeSynonyms: true,
        includeDocumentation: true,
      };
      const { results } = await broker.call<DescribeConfigsResponse>(32, 4, request);
      const { configs, errorCode } = results[0]!;
      expect(errorCode).toBe(0);
      expect(configs.length).toBeGreaterThan(20);
      for (const { documentation, configType } of configs) {
        expect(documentation).toMatch(/\.$/);
        expect(configType).toBeGreaterThan(0);
      }
      expect(JSON.stringify(results)).not.toContain('hunter2');
    }
  });
});

describe('a restart', () => {
  it('keeps topics and settings', async () => {
    const before = new AdminBroker();
    await before.call(19, 7, { topics: [topic('a', [{ name: 'flush.ms', value: '5' }])], timeoutMs: 0 });
    const set = (resourceType: number, resourceName: string, name: string) => ({
      resourceType,
      resourceName,
      configs: [{ name, configOperation: 0, value: '77' }],
    });
    const resources = [
      set(2, 'a', 'max.message.bytes'),
      set(4, '', 'log.retention.ms'),
      set(4, '1', 'max.connections'),
    ];
    await before.call(44, 1, { resources, validateOnly: false });
    const after = new AdminBroker({}, before.engine);
    expect(after.topics.all()).toEqual(before.topics.all());
    expect(after.topics.get('a')?.settings).toMatchObject({
      flushMs: 5,
      maxMessageBytes: 77,
      retentionMs: 77,
    });
    expect(after.config.int('max.connections')).toBe(77);
  });
});

describe('an operating fault', () => {
  it('is answered with its code in every version, in the shape of the request', async () => {
    const { handlers } = new AdminBroker();
    const requests: Record<number, object> = {
      3: { topics: [{ name: 'a', topicId: ZERO_UUID }] },
      19: { topics: [topic('a')] },
      20: { topics: [{ name: 'a', topicId: ZERO_UUID }], topicNames: ['a'] },
      21: { topics: [{ name: 'a', partitions: [{ partitionIndex: 0, offset: 0 }] }] },
      32: { resources: [{ resourceType: 2, resourceName: 'a', configurationKeys: null }] },
      33: { resources: [{ resourceType: 2, resourceName: 'a', configs: [] }] },
      35: { topics: null },
      37: { topics: [{ name: 'a', count: 2, assignments: null }] },
      44: { resources: [{ resourceType: 2, resourceName: 'a', configs: [] }] },
      60: {},
      74: { resourceTypes: [] },
      75: { topics: [{ name: 'a' }], cursor: null },
    };
    for (const handler of handlers) {
      for (let apiVersion = handler.minVersion; apiVersion <= handler.maxVersion; apiVersion++) {
        const context = { apiVersion } as unknown as RequestContext;
        const answer = handler.fail!(requests[handler.apiKey], 56, context);
        expect(handler.response.sizeOf(answer, apiVersion)).toBeGreaterThan(0);
        expect(JSON.stringify(answer)).toContain('"errorCode":56');
      }
    }
  });
});
