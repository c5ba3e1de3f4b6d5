import { describe, expect, it } from 'vitest';
import type { MetadataResponse } from '../../protocol/generated/03-metadata.ts';
import { AdminBroker, plainListener } from './admin-broker.ts';

const metadata = (broker: AdminBroker, version: number, request: object, listener = plainListener) =>
  broker.call<MetadataResponse>(3, version, request, listener);

async function brokerWith(...names: string[]) {
  const broker = new AdminBroker();
  await broker.topics.autoCreate(names);
  return broker;
}

describe('Metadata', () => {
  it.each(Array.from({ length: 14 }, (_none, version) => version))(
    'v%i creates a missing topic, with its leader in the same answer',
    async (version) => {
      const broker = new AdminBroker({ 'num.partitions': '2' });
      const { topics } = await metadata(broker, version, { topics: [{ name: 'new' }] });
      expect(topics).toMatchObject([{ errorCode: 0, name: 'new', partitions: { length: 2 } }]);
      expect(topics[0]?.partitions).toMatchObject(
        [0, 1].map((partitionIndex) => ({ errorCode: 0, partitionIndex, leaderId: 1, isrNodes: [1] })),
      );
      if (version >= 7) expect(topics[0]?.partitions[0]?.leaderEpoch).toBe(broker.engine.epoch);
      if (version >= 10) expect(topics[0]?.topicId).toBe(broker.topics.get('new')?.id);
    },
  );

  it('creates nothing where the client, the broker or the name forbids it', async () => {
    const broker = new AdminBroker();
    const asked = { topics: [{ name: 'new' }, { name: 'b ad' }], allowAutoTopicCreation: false };
    expect((await metadata(broker, 4, asked)).topics.map(({ errorCode }) => errorCode)).toEqual([3, 17]);
    const forbidden = new AdminBroker({ 'auto.create.topics.enable': 'false' });
    const answer = await metadata(forbidden, 1, { topics: [{ name: 'new' }] });
    expect(answer.topics.map(({ errorCode }) => errorCode)).toEqual([3]);
    const colliding = await brokerWith('a.b');
    const collision = await metadata(colliding, 12, { topics: [{ name: 'a_b' }, { name: 'a.b' }] });
    expect(collision.topics.map(({ errorCode }) => errorCode)).toEqual([17, 0]);
    expect([broker.topics.size, forbidden.topics.size, colliding.topics.size]).toEqual([0, 0, 1]);
  });

  it.each([
    [0, [], ['a', 'b']],
    [1, [], []],
    [1, null, ['a', 'b']],
    [8, [], []],
    [9, null, ['a', 'b']],
    [13, [], []],
    [13, null, ['a', 'b']],
  ])('v%i understands topics %j as %j', async (version, topics, names) => {
    const answer = await metadata(await brokerWith('b', 'a'), version, { topics });
    expect(answer.topics.map(({ name }) => name)).toEqual(names);
  });

  it('finds topics by id, and says which are unknown', async () => {
    const broker = await brokerWith('a', 'b');
    const gone = broker.topics.get('b')!.id;
    await broker.topics.delete(['b']);
    const asked = [broker.topics.get('a')!.id, gone].map((topicId) => ({ topicId, name: null }));
    const { topics } = await metadata(broker, 12, { topics: asked });
    expect(topics).toMatchObject([
      { errorCode: 0, name: 'a', partitions: { length: 1 } },
      { errorCode: 100, name: null, topicId: gone, partitions: [] },
    ]);
  });

  it('gives the address of the listener that was asked', async () => {
    const broker = new AdminBroker({ 'node.id': '7', 'broker.rack': 'r1' });
    const outside = {
      ...plainListener,
      name: 'OUTSIDE',
      advertisedHost: 'kafka.example',
      advertisedPort: 443,
    };
    const answer = await metadata(broker, 12, { topics: [] }, outside);
    expect(answer.brokers).toEqual([{ nodeId: 7, host: 'kafka.example', port: 443, rack: 'r1' }]);
    expect(answer).toMatchObject({ controllerId: 7, clusterId: broker.engine.storageId });
    const cluster = await broker.call<object>(60, 1, { includeClusterAuthorizedOperations: false }, outside);
    expect(cluster).toMatchObject({ brokers: [{ brokerId: 7, host: 'kafka.example', port: 443 }] });
  });
});
