/**
 * Every API that a broker advertises, in every version that it advertises, over TCP: one request that succeeds and one that does
 * not. Answers must decode in that version, to the last byte. An API without a row here fails the test.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fitRequest } from '../../compat/lib/fit-request.ts';
import { RawClient } from '../../compat/lib/raw-client.ts';
import type { ApiDefinition } from '../../protocol/api-definition.ts';
import { errorCodes } from '../../protocol/error-codes.ts';
import { apiByKey, apis } from '../../protocol/generated/apis.ts';
import { encodeRequestHeader } from '../../protocol/headers.ts';
import { encodeMessageSet } from '../../protocol/records/message-set.ts';
import { buildRecordBatch } from '../../protocol/records/record-batch-builder.ts';
import { decodeRecordSet } from '../../protocol/records/record-set.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import { ZERO_UUID } from '../../protocol/wire/uuid.ts';
import { type Broker, createBroker } from '../../src/index.ts';

type Answer = { readonly [field: string]: unknown };

interface GoodCase {
  readonly body: unknown;
  /** The error that good answers have here; NONE unless set. */
  readonly errorCode?: number;
  /** What must be in the answer, besides no error. */
  readonly holds: object;
}

interface BadCase {
  readonly body: unknown;
  readonly errorCode: number;
}

type Making<Case> = (world: World, version: number, name: string) => Case | Promise<Case>;

interface Row {
  readonly good: Making<GoodCase>;
  /** A string says why this version of the API has no errors to give. */
  readonly bad: Making<BadCase | string>;
}

const unknownId = 'AAAAAAAAAAAAAAAAAAAAKg';
const timestamp = 1_600_000_000_000;
const timeoutMs = 5_000;

/** A first heartbeat of a consumer group, of a topic of the group's name. */
const beating = (name: string) => ({
  groupId: name,
  memberEpoch: 0,
  rebalanceTimeoutMs: timeoutMs,
  subscribedTopicNames: [name],
});

class World {
  private client: RawClient;
  private readonly broker: Broker;

  constructor(broker: Broker, client: RawClient) {
    this.broker = broker;
    this.client = client;
  }

  get nodeId(): number {
    return this.broker.nodeId;
  }

  async ask(apiName: string, version: number, body: unknown): Promise<Answer> {
    const api = apiNamed(apiName);
    return (await this.client.request(api, version, fitRequest(api, version, body))) as Answer;
  }

  exchange(frame: Buffer): Promise<Buffer> {
    return this.client.exchange(frame);
  }

  async topic(name: string, partitions = 1): Promise<string> {
    const topic = { name, numPartitions: partitions, replicationFactor: 1, assignments: [], configs: [] };
    const answer = await this.ask('CreateTopics', 7, { topics: [topic], timeoutMs });
    expect(answer).toMatchObject({ topics: [{ name, errorCode: 0 }] });
    return (answer.topics as { topicId: string }[])[0]!.topicId;
  }

  async filledTopic(name: string, records = batch(3)): Promise<string> {
    const topicId = await this.topic(name);
    const body = { acks: 1, timeoutMs, topicData: [{ name, partitionData: [{ index: 0, records }] }] };
    expect(await this.ask('Produce', 9, body)).toMatchObject({
      responses: [{ partitionResponses: [{ errorCode: 0 }] }],
    });
    return topicId;
  }

  /** The only member of a group, which has its assignment. */
  async member(groupId: string, isSynced = true): Promise<{ memberId: string; generationId: number }> {
    const asked = await this.ask('JoinGroup', 5, joining(groupId));
    const memberId = asked.memberId as string;
    const answer = await this.ask('JoinGroup', 5, joining(groupId, memberId));
    const generationId = answer.generationId as number;
    if (isSynced) await this.ask('SyncGroup', 3, syncing(groupId, memberId, generationId));
    return { memberId, generationId };
  }

  /** A transactional producer, and what its requests begin with. */
  async producer(transactionalId: string): Promise<Transactional> {
    const asked = { transactionalId, transactionTimeoutMs: 60_000 };
    const answer = await this.ask('InitProducerId', 5, asked);
    expect(answer.errorCode).toBe(0);
    const { producerId, producerEpoch } = answer as { producerId: number; producerEpoch: number };
    return { transactionalId, producerId, producerEpoch };
  }

  /** ... with a transaction that covers the first partition of a topic of the same name. */
  async transaction(name: string): Promise<Transactional> {
    await this.topic(name);
    const producer = await this.producer(name);
    const asked = adding(3, producer, name);
    expect(await this.ask('AddPartitionsToTxn', 3, asked)).toMatchObject({
      resultsByTopicV3AndBelow: [{ resultsByPartition: [{ partitionErrorCode: 0 }] }],
    });
    return producer;
  }

  /** The only member of a share group, with a topic of the same name that has three records. */
  async shareMember(name: string): Promise<string> {
    const topicId = await this.filledTopic(name);
    const configs = [{ name: 'share.auto.offset.reset', configOperation: 0, value: 'earliest' }];
    await this.ask('IncrementalAlterConfigs', 1, {
      resources: [{ resourceType: 32, resourceName: name, configs }],
      validateOnly: false,
    });
    const joining = { groupId: name, memberId: 'm1', memberEpoch: 0, subscribedTopicNames: [name] };
    expect(await this.ask('ShareGroupHeartbeat', 1, joining)).toMatchObject({ errorCode: 0 });
    return topicId;
  }

  /** ... that has left. */
  async emptyShareGroup(name: string): Promise<void> {
    await this.shareMember(name);
    const leaving = { groupId: name, memberId: 'm1', memberEpoch: -1 };
    expect(await this.ask('ShareGroupHeartbeat', 1, leaving)).toMatchObject({ errorCode: 0 });
  }

  async emptyGroup(groupId: string, topic: string): Promise<void> {
    await this.ask('OffsetCommit', 8, committing(groupId, '', -1, topic));
  }
}

function shareFetching(name: string, topicId: string, shareSessionEpoch: number, version: number) {
  return {
    groupId: name,
    memberId: 'm1',
    shareSessionEpoch,
    maxWaitMs: 500,
    minBytes: 1,
    maxBytes: 1_000_000,
    maxRecords: 100,
    batchSize: 100,
    ...(version >= 2 ? { shareAcquireMode: 0, isRenewAck: false } : {}),
    topics: [{ topicId, partitions: [{ partitionIndex: 0, acknowledgementBatches: [] }] }],
    forgottenTopicsData: [],
  };
}

function shareAcknowledging(name: string, topicId: string, lastOffset: number) {
  const acknowledgementBatches = [{ firstOffset: 0, lastOffset, acknowledgeTypes: [1] }];
  return {
    groupId: name,
    memberId: 'm1',
    shareSessionEpoch: 1,
    isRenewAck: false,
    topics: [{ topicId, partitions: [{ partitionIndex: 0, acknowledgementBatches }] }],
  };
}

function apiNamed(name: string): ApiDefinition {
  return apis.find((api) => api.name === name)!;
}

function batch(count: number): Buffer {
  return buildRecordBatch(
    Array.from({ length: count }, (_, at) => ({ value: Buffer.from(`v${at}`), timestamp: timestamp + at })),
  );
}

/** Records as a producer of that version sends them. */
function recordsOf(version: number, count: number): Buffer {
  if (version >= 3) return batch(count);
  const records = Array.from({ length: count }, (_, at) => ({
    offset: at,
    timestamp: timestamp + at,
    key: null,
    value: Buffer.from(`v${at}`),
  }));
  return encodeMessageSet(records, { magic: version < 2 ? 0 : 1, codec: 'none' });
}

function producing(name: string, topicId: string, records: Buffer) {
  return { acks: -1, timeoutMs, topicData: [{ name, topicId, partitionData: [{ index: 0, records }] }] };
}

function fetching(topic: string, topicId: string, fetchOffset: number) {
  return {
    replicaId: -1,
    maxWaitMs: 0,
    minBytes: 0,
    maxBytes: 1_000_000,
    isolationLevel: 0,
    sessionId: 0,
    sessionEpoch: -1,
    topics: [{ topic, topicId, partitions: [{ partition: 0, fetchOffset, partitionMaxBytes: 1_000_000 }] }],
    forgottenTopicsData: [],
  };
}

interface Transactional {
  readonly transactionalId: string;
  readonly producerId: number;
  readonly producerEpoch: number;
}

const nobody: Transactional = { transactionalId: 'nobody', producerId: 5, producerEpoch: 0 };

function adding(version: number, producer: Transactional, name: string) {
  const topics = [{ name, partitions: [0] }];
  if (version >= 4) return { transactions: [{ ...producer, verifyOnly: false, topics }] };
  return {
    v3AndBelowTransactionalId: producer.transactionalId,
    v3AndBelowProducerId: producer.producerId,
    v3AndBelowProducerEpoch: producer.producerEpoch,
    v3AndBelowTopics: topics,
  };
}

function committingIn(producer: Transactional, name: string, topicId: string) {
  return {
    ...producer,
    groupId: name,
    generationIdOrMemberEpoch: -1,
    memberId: '',
    groupInstanceId: null,
    topics: [
      {
        name,
        topicId,
        partitions: [
          { partitionIndex: 0, committedOffset: 7, committedLeaderEpoch: 0, committedMetadata: 'm' },
        ],
      },
    ],
  };
}

function listing(name: string) {
  const partitions = [{ partitionIndex: 0, timestamp: -1, maxNumOffsets: 1 }];
  return { replicaId: -1, isolationLevel: 0, topics: [{ name, partitions }] };
}

function joining(groupId: string, memberId = '') {
  return {
    groupId,
    sessionTimeoutMs: 30_000,
    rebalanceTimeoutMs: 5_000,
    memberId,
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: Buffer.from('m') }],
  };
}

function syncing(groupId: string, memberId: string, generationId: number) {
  return {
    groupId,
    generationId,
    memberId,
    protocolType: 'consumer',
    protocolName: 'range',
    assignments: [{ memberId, assignment: Buffer.from('assigned') }],
  };
}

function committing(groupId: string, memberId: string, generation: number, name: string, topicId?: string) {
  const partitions = [{ partitionIndex: 0, committedOffset: 3, committedMetadata: 'm' }];
  return {
    groupId,
    generationIdOrMemberEpoch: generation,
    memberId,
    topics: [{ name, ...(topicId === undefined ? {} : { topicId }), partitions }],
  };
}

function creating(name: string, partitions = 1) {
  const topic = { name, numPartitions: partitions, replicationFactor: 1, assignments: [], configs: [] };
  return { topics: [topic], timeoutMs };
}

const rows: Readonly<Record<string, Row>> = {
  Produce: {
    good: async (world, version, name) => ({
      body: producing(name, await world.topic(name), recordsOf(version, 2)),
      holds: { responses: [{ partitionResponses: [{ index: 0, baseOffset: 0, logAppendTimeMs: -1 }] }] },
    }),
    bad: (_world, version) => ({
      body: producing('nowhere', unknownId, recordsOf(version, 2)),
      errorCode: version >= 13 ? errorCodes.UNKNOWN_TOPIC_ID : errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
  Fetch: {
    good: async (world, _version, name) => ({
      body: fetching(name, await world.filledTopic(name), 0),
      holds: { responses: [{ partitions: [{ partitionIndex: 0, highWatermark: 3 }] }] },
    }),
    bad: async (world, _version, name) => ({
      body: fetching(name, await world.topic(name), 77),
      errorCode: errorCodes.OFFSET_OUT_OF_RANGE,
    }),
  },
  ListOffsets: {
    good: async (world, version, name) => {
      await world.filledTopic(name);
      const row = version === 0 ? { oldStyleOffsets: [3] } : { offset: 3, timestamp: -1 };
      return { body: listing(name), holds: { topics: [{ name, partitions: [row] }] } };
    },
    bad: () => ({ body: listing('nowhere'), errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION }),
  },
  Metadata: {
    good: async (world, _version, name) => {
      await world.topic(name, 2);
      const { nodeId } = world;
      const partitions = [0, 1].map((partitionIndex) => ({ partitionIndex, leaderId: nodeId }));
      return {
        body: { topics: [{ name }], allowAutoTopicCreation: false },
        holds: { brokers: [{ nodeId, host: '127.0.0.1' }], topics: [{ name, partitions }] },
      };
    },
    bad: () => ({
      body: { topics: [{ name: 'not a name' }], allowAutoTopicCreation: true },
      errorCode: errorCodes.INVALID_TOPIC_EXCEPTION,
    }),
  },
  OffsetCommit: {
    good: async (world, _version, name) => ({
      body: committing(name, '', -1, name, await world.topic(name)),
      holds: { topics: [{ partitions: [{ partitionIndex: 0 }] }] },
    }),
    bad: (_world, version, name) => ({
      body: committing(name, '', -1, 'nowhere', unknownId),
      errorCode: version >= 10 ? errorCodes.UNKNOWN_TOPIC_ID : errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
  OffsetFetch: {
    good: async (world, version, name) => {
      const topicId = await world.topic(name);
      await world.emptyGroup(name, name);
      const topics = [{ name, topicId, partitionIndexes: [0] }];
      const found = [{ partitions: [{ partitionIndex: 0, committedOffset: 3, metadata: 'm' }] }];
      return {
        body: { groupId: name, topics, groups: [{ groupId: name, topics }] },
        holds: version >= 8 ? { groups: [{ groupId: name, topics: found }] } : { topics: found },
      };
    },
    bad: async (world, version, name) => {
      if (version >= 9) {
        await world.member(name);
        const topics = [{ name: 'nowhere', topicId: unknownId, partitionIndexes: [0] }];
        const groups = [{ groupId: name, memberId: 'stranger', memberEpoch: 1, topics }];
        return version >= 10
          ? { body: { groups }, errorCode: errorCodes.UNKNOWN_TOPIC_ID }
          : 'an offset that is not there is -1, and classic groups do not look at the member';
      }
      if (version > 0) return 'an offset that is not there is -1';
      const topics = [{ name: 'nowhere', partitionIndexes: [0] }];
      return { body: { groupId: name, topics }, errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION };
    },
  },
  FindCoordinator: {
    good: (world, version, name) => ({
      body: { key: name, keyType: 0, coordinatorKeys: [name] },
      holds:
        version >= 4 ? { coordinators: [{ key: name, nodeId: world.nodeId }] } : { nodeId: world.nodeId },
    }),
    bad: (_world, version, name) =>
      version === 0
        ? 'there are coordinators of groups only'
        : { body: { key: name, keyType: 9, coordinatorKeys: [name] }, errorCode: errorCodes.INVALID_REQUEST },
  },
  JoinGroup: {
    good: async (world, version, name) => {
      const memberId =
        version < 4 ? '' : ((await world.ask('JoinGroup', 5, joining(name))).memberId as string);
      return {
        body: joining(name, memberId),
        holds: { generationId: 1, protocolName: 'range', members: [{ metadata: Buffer.from('m') }] },
      };
    },
    bad: (_world, _version, name) => ({
      body: joining(name, 'stranger'),
      errorCode: errorCodes.UNKNOWN_MEMBER_ID,
    }),
  },
  Heartbeat: {
    good: async (world, _version, name) => ({
      body: { groupId: name, ...(await world.member(name)) },
      holds: { errorCode: 0 },
    }),
    bad: async (world, _version, name) => ({
      body: { groupId: name, ...(await world.member(name)), generationId: 9 },
      errorCode: errorCodes.ILLEGAL_GENERATION,
    }),
  },
  LeaveGroup: {
    good: async (world, version, name) => {
      const { memberId } = await world.member(name);
      return {
        body: { groupId: name, memberId, members: [{ memberId }] },
        holds: version >= 3 ? { members: [{ memberId }] } : { errorCode: 0 },
      };
    },
    bad: async (world, _version, name) => {
      await world.member(name);
      const memberId = 'stranger';
      return {
        body: { groupId: name, memberId, members: [{ memberId }] },
        errorCode: errorCodes.UNKNOWN_MEMBER_ID,
      };
    },
  },
  SyncGroup: {
    good: async (world, _version, name) => {
      const { memberId, generationId } = await world.member(name, false);
      return {
        body: syncing(name, memberId, generationId),
        holds: { assignment: Buffer.from('assigned') },
      };
    },
    bad: async (world, _version, name) => {
      const { memberId } = await world.member(name);
      return { body: syncing(name, memberId, 9), errorCode: errorCodes.ILLEGAL_GENERATION };
    },
  },
  DescribeGroups: {
    good: async (world, _version, name) => {
      const { memberId } = await world.member(name);
      return {
        body: { groups: [name], includeAuthorizedOperations: true },
        holds: { groups: [{ groupId: name, groupState: 'Stable', members: [{ memberId }] }] },
      };
    },
    bad: (_world, version) =>
      version >= 6
        ? { body: { groups: ['nobody'] }, errorCode: errorCodes.GROUP_ID_NOT_FOUND }
        : 'a group that does not exist is Dead',
  },
  ListGroups: {
    good: async (world, _version, name) => {
      await world.member(name);
      const groups = expect.arrayContaining([expect.objectContaining({ groupId: name })]);
      return { body: {}, holds: { groups } };
    },
    bad: () => 'whatever filter there is, no group may match it',
  },
  ApiVersions: {
    good: () => ({
      body: { clientSoftwareName: 'every-version', clientSoftwareVersion: '1.0' },
      holds: { apiKeys: expect.arrayContaining([expect.objectContaining({ apiKey: 18, minVersion: 0 })]) },
    }),
    bad: (_world, version) =>
      version < 3
        ? 'there is nothing in the request'
        : {
            body: { clientSoftwareName: '-', clientSoftwareVersion: '' },
            errorCode: errorCodes.INVALID_REQUEST,
          },
  },
  CreateTopics: {
    good: (_world, version, name) => ({
      body: creating(name, 2),
      holds: { topics: [version >= 5 ? { name, numPartitions: 2, replicationFactor: 1 } : { name }] },
    }),
    bad: async (world, _version, name) => {
      await world.topic(name);
      return { body: creating(name), errorCode: errorCodes.TOPIC_ALREADY_EXISTS };
    },
  },
  DeleteTopics: {
    good: async (world, _version, name) => {
      await world.topic(name);
      const body = { topicNames: [name], topics: [{ name, topicId: ZERO_UUID }], timeoutMs };
      return { body, holds: { responses: [{ name }] } };
    },
    bad: () => ({
      body: { topicNames: ['nowhere'], topics: [{ name: 'nowhere', topicId: ZERO_UUID }], timeoutMs },
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
  DeleteRecords: {
    good: async (world, _version, name) => {
      await world.filledTopic(name);
      const partitions = [{ partitionIndex: 0, offset: 2 }];
      return {
        body: { topics: [{ name, partitions }], timeoutMs },
        holds: { topics: [{ partitions: [{ lowWatermark: 2 }] }] },
      };
    },
    bad: async (world, _version, name) => {
      await world.topic(name);
      const partitions = [{ partitionIndex: 0, offset: 9 }];
      return {
        body: { topics: [{ name, partitions }], timeoutMs },
        errorCode: errorCodes.OFFSET_OUT_OF_RANGE,
      };
    },
  },
  InitProducerId: {
    good: () => ({
      body: { transactionalId: null, transactionTimeoutMs: 1_000 },
      holds: { producerId: expect.any(Number), producerEpoch: 0 },
    }),
    bad: () => ({
      body: { transactionalId: '', transactionTimeoutMs: 1_000 },
      errorCode: errorCodes.INVALID_REQUEST,
    }),
  },
  OffsetForLeaderEpoch: {
    good: async (world, version, name) => {
      await world.filledTopic(name);
      const metadata = await world.ask('Metadata', 7, { topics: [{ name }] });
      const { leaderEpoch } = (metadata.topics as { partitions: { leaderEpoch: number }[] }[])[0]!
        .partitions[0]!;
      return {
        body: { replicaId: -1, topics: [{ topic: name, partitions: [{ partition: 0, leaderEpoch }] }] },
        holds: {
          topics: [{ partitions: [version >= 1 ? { leaderEpoch, endOffset: 3 } : { endOffset: 3 }] }],
        },
      };
    },
    bad: () => ({
      body: { replicaId: -1, topics: [{ topic: 'nowhere', partitions: [{ partition: 0, leaderEpoch: 0 }] }] },
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
  DescribeConfigs: {
    good: async (world, _version, name) => {
      await world.topic(name);
      const resources = [{ resourceType: 2, resourceName: name, configurationKeys: ['max.message.bytes'] }];
      const configs = [{ name: 'max.message.bytes', value: '1048588' }];
      return {
        body: { resources, includeSynonyms: true, includeDocumentation: true },
        holds: { results: [{ resourceName: name, configs }] },
      };
    },
    bad: () => ({
      body: { resources: [{ resourceType: 2, resourceName: 'nowhere', configurationKeys: null }] },
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
  AlterConfigs: {
    good: async (world, _version, name) => {
      await world.topic(name);
      const configs = [{ name: 'retention.ms', value: '5' }];
      return {
        body: { resources: [{ resourceType: 2, resourceName: name, configs }], validateOnly: false },
        holds: { responses: [{ resourceName: name }] },
      };
    },
    bad: async (world, _version, name) => {
      await world.topic(name);
      const configs = [{ name: 'retention.ms', value: 'soon' }];
      return {
        body: { resources: [{ resourceType: 2, resourceName: name, configs }], validateOnly: false },
        errorCode: errorCodes.INVALID_CONFIG,
      };
    },
  },
  AlterReplicaLogDirs: {
    good: async (world, _version, name) => {
      await world.topic(name);
      const { results } = await world.ask('DescribeLogDirs', 2, { topics: [] });
      const path = (results as { logDir: string }[])[0]!.logDir;
      return {
        body: { dirs: [{ path, topics: [{ name, partitions: [0] }] }] },
        holds: { results: [{ topicName: name, partitions: [{ partitionIndex: 0 }] }] },
      };
    },
    bad: async (world, _version, name) => {
      await world.topic(name);
      return {
        body: { dirs: [{ path: '/elsewhere', topics: [{ name, partitions: [0] }] }] },
        errorCode: errorCodes.LOG_DIR_NOT_FOUND,
      };
    },
  },
  DescribeLogDirs: {
    good: async (world, _version, name) => {
      await world.filledTopic(name);
      const partitions = [{ partitionIndex: 0, partitionSize: batch(3).length }];
      return {
        body: { topics: [{ topic: name, partitions: [0] }] },
        holds: { results: [{ topics: [{ name, partitions }] }] },
      };
    },
    bad: () => 'what is not there is left out',
  },
  CreatePartitions: {
    good: async (world, _version, name) => {
      await world.topic(name);
      return {
        body: { topics: [{ name, count: 3, assignments: null }], timeoutMs, validateOnly: false },
        holds: { results: [{ name }] },
      };
    },
    bad: async (world, _version, name) => {
      await world.topic(name, 3);
      return {
        body: { topics: [{ name, count: 2, assignments: null }], timeoutMs, validateOnly: false },
        errorCode: errorCodes.INVALID_PARTITIONS,
      };
    },
  },
  ConsumerGroupHeartbeat: {
    good: async (world, _version, name) => {
      const topicId = await world.topic(name);
      return {
        body: { ...beating(name), memberId: 'm1', topicPartitions: [] },
        holds: {
          memberId: 'm1',
          assignment: { topicPartitions: [{ topicId, partitions: [0] }] },
        },
      };
    },
    bad: (_world, _version, name) => ({
      body: { ...beating(name), groupId: '', memberId: 'm1', topicPartitions: [] },
      errorCode: errorCodes.INVALID_REQUEST,
    }),
  },
  ConsumerGroupDescribe: {
    good: async (world, _version, name) => {
      await world.topic(name);
      await world.ask('ConsumerGroupHeartbeat', 1, { ...beating(name), memberId: 'm1', topicPartitions: [] });
      return {
        body: { groupIds: [name], includeAuthorizedOperations: true },
        holds: { groups: [{ groupId: name, groupState: 'Stable', members: [{ memberId: 'm1' }] }] },
      };
    },
    bad: () => ({
      body: { groupIds: ['nobody'], includeAuthorizedOperations: false },
      errorCode: errorCodes.GROUP_ID_NOT_FOUND,
    }),
  },
  ShareGroupHeartbeat: {
    good: async (world, _version, name) => {
      const topicId = await world.topic(name);
      return {
        body: { groupId: name, memberId: 'm1', memberEpoch: 0, subscribedTopicNames: [name] },
        holds: {
          memberId: 'm1',
          memberEpoch: 2,
          assignment: { topicPartitions: [{ topicId, partitions: [0] }] },
        },
      };
    },
    bad: () => ({
      body: { groupId: 'nobody', memberId: 'm1', memberEpoch: 3 },
      errorCode: errorCodes.GROUP_ID_NOT_FOUND,
    }),
  },
  ShareGroupDescribe: {
    good: async (world, _version, name) => {
      await world.shareMember(name);
      return {
        body: { groupIds: [name], includeAuthorizedOperations: true },
        holds: { groups: [{ groupId: name, groupState: 'Stable', members: [{ memberId: 'm1' }] }] },
      };
    },
    bad: () => ({
      body: { groupIds: ['nobody'], includeAuthorizedOperations: false },
      errorCode: errorCodes.GROUP_ID_NOT_FOUND,
    }),
  },
  ShareFetch: {
    good: async (world, version, name) => {
      const topicId = await world.shareMember(name);
      return {
        body: shareFetching(name, topicId, 0, version),
        holds: {
          acquisitionLockTimeoutMs: 30_000,
          responses: [
            {
              topicId,
              partitions: [{ acquiredRecords: [{ firstOffset: 0, lastOffset: 2, deliveryCount: 1 }] }],
            },
          ],
        },
      };
    },
    bad: (_world, version) => ({
      body: shareFetching('nobody', unknownId, 7, version),
      errorCode: errorCodes.SHARE_SESSION_NOT_FOUND,
    }),
  },
  ShareAcknowledge: {
    good: async (world, version, name) => {
      const topicId = await world.shareMember(name);
      await world.ask('ShareFetch', version, shareFetching(name, topicId, 0, version));
      return {
        body: shareAcknowledging(name, topicId, 2),
        holds: { responses: [{ topicId, partitions: [{ partitionIndex: 0 }] }] },
      };
    },
    bad: async (world, version, name) => {
      const topicId = await world.shareMember(name);
      await world.ask('ShareFetch', version, shareFetching(name, topicId, 0, version));
      return { body: shareAcknowledging(name, topicId, 99), errorCode: errorCodes.INVALID_REQUEST };
    },
  },
  DescribeShareGroupOffsets: {
    good: async (world, version, name) => {
      const topicId = await world.shareMember(name);
      await world.ask('ShareFetch', 1, shareFetching(name, topicId, 0, 1));
      const partition = { partitionIndex: 0, startOffset: 0, ...(version >= 1 ? { lag: 3 } : {}) };
      return {
        body: { groups: [{ groupId: name, topics: null }] },
        holds: {
          groups: [{ groupId: name, topics: [{ topicName: name, topicId, partitions: [partition] }] }],
        },
      };
    },
    bad: () => 'what is not known has offset -1',
  },
  AlterShareGroupOffsets: {
    good: async (world, _version, name) => {
      await world.emptyShareGroup(name);
      const partitions = [{ partitionIndex: 0, startOffset: 1 }];
      return {
        body: { groupId: name, topics: [{ topicName: name, partitions }] },
        holds: { responses: [{ topicName: name, partitions: [{ partitionIndex: 0 }] }] },
      };
    },
    bad: async (world, _version, name) => {
      await world.shareMember(name);
      return { body: { groupId: name, topics: [] }, errorCode: errorCodes.NON_EMPTY_GROUP };
    },
  },
  DeleteShareGroupOffsets: {
    good: async (world, _version, name) => {
      await world.emptyShareGroup(name);
      const partitions = [{ partitionIndex: 0, startOffset: 1 }];
      await world.ask('AlterShareGroupOffsets', 0, {
        groupId: name,
        topics: [{ topicName: name, partitions }],
      });
      return {
        body: { groupId: name, topics: [{ topicName: name }] },
        holds: { responses: [{ topicName: name }] },
      };
    },
    bad: () => ({ body: { groupId: 'nobody', topics: [] }, errorCode: errorCodes.GROUP_ID_NOT_FOUND }),
  },
  DeleteGroups: {
    good: async (world, _version, name) => {
      await world.topic(name);
      await world.emptyGroup(name, name);
      return { body: { groupsNames: [name] }, holds: { results: [{ groupId: name }] } };
    },
    bad: () => ({ body: { groupsNames: ['nobody'] }, errorCode: errorCodes.GROUP_ID_NOT_FOUND }),
  },
  ElectLeaders: {
    good: async (world, _version, name) => {
      await world.topic(name);
      return {
        body: { electionType: 0, topicPartitions: [{ topic: name, partitions: [0] }], timeoutMs },
        errorCode: errorCodes.ELECTION_NOT_NEEDED,
        holds: { replicaElectionResults: [{ topic: name, partitionResult: [{ partitionId: 0 }] }] },
      };
    },
    bad: () => ({
      body: { electionType: 0, topicPartitions: [{ topic: 'nowhere', partitions: [0] }], timeoutMs },
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
  IncrementalAlterConfigs: {
    good: async (world, _version, name) => {
      await world.topic(name);
      const configs = [{ name: 'cleanup.policy', configOperation: 2, value: 'compact' }];
      return {
        body: { resources: [{ resourceType: 2, resourceName: name, configs }], validateOnly: false },
        holds: { responses: [{ resourceName: name }] },
      };
    },
    bad: async (world, _version, name) => {
      await world.topic(name);
      const configs = [{ name: 'no.such.key', configOperation: 0, value: '1' }];
      return {
        body: { resources: [{ resourceType: 2, resourceName: name, configs }], validateOnly: false },
        errorCode: errorCodes.INVALID_CONFIG,
      };
    },
  },
  AlterPartitionReassignments: {
    good: async (world, _version, name) => {
      await world.topic(name);
      const partitions = [{ partitionIndex: 0, replicas: [world.nodeId] }];
      return {
        body: { timeoutMs, topics: [{ name, partitions }] },
        holds: { responses: [{ name, partitions: [{ partitionIndex: 0 }] }] },
      };
    },
    bad: async (world, _version, name) => {
      await world.topic(name);
      return {
        body: { timeoutMs, topics: [{ name, partitions: [{ partitionIndex: 0, replicas: [77] }] }] },
        errorCode: errorCodes.INVALID_REPLICA_ASSIGNMENT,
      };
    },
  },
  ListPartitionReassignments: {
    good: () => ({ body: { timeoutMs, topics: null }, holds: { topics: [] } }),
    bad: () => 'what does not move is left out, there or not',
  },
  OffsetDelete: {
    good: async (world, _version, name) => {
      await world.topic(name);
      await world.emptyGroup(name, name);
      return {
        body: { groupId: name, topics: [{ name, partitions: [{ partitionIndex: 0 }] }] },
        holds: { topics: [{ name, partitions: [{ partitionIndex: 0 }] }] },
      };
    },
    bad: () => ({
      body: { groupId: 'nobody', topics: [] },
      errorCode: errorCodes.GROUP_ID_NOT_FOUND,
    }),
  },
  AddPartitionsToTxn: {
    good: async (world, version, name) => {
      await world.topic(name);
      const results = [{ name, resultsByPartition: [{ partitionIndex: 0, partitionErrorCode: 0 }] }];
      return {
        body: adding(version, await world.producer(name), name),
        holds:
          version >= 4
            ? { resultsByTransaction: [{ transactionalId: name, topicResults: results }] }
            : { resultsByTopicV3AndBelow: results },
      };
    },
    bad: async (world, version, name) => {
      await world.topic(name);
      return { body: adding(version, nobody, name), errorCode: errorCodes.INVALID_PRODUCER_ID_MAPPING };
    },
  },
  AddOffsetsToTxn: {
    good: async (world, _version, name) => ({
      body: { ...(await world.producer(name)), groupId: name },
      holds: { errorCode: 0 },
    }),
    bad: () => ({
      body: { ...nobody, groupId: 'g' },
      errorCode: errorCodes.INVALID_PRODUCER_ID_MAPPING,
    }),
  },
  EndTxn: {
    good: async (world, version, name) => {
      const producer = await world.transaction(name);
      return {
        body: { ...producer, committed: true },
        holds:
          version >= 5
            ? { producerId: producer.producerId, producerEpoch: producer.producerEpoch + 1 }
            : { errorCode: 0 },
      };
    },
    bad: async (world, _version, name) => ({
      body: { ...(await world.producer(name)), committed: true },
      errorCode: errorCodes.INVALID_TXN_STATE,
    }),
  },
  WriteTxnMarkers: {
    good: async (world, _version, name) => {
      const { producerId, producerEpoch } = await world.transaction(name);
      const marker = { producerId, producerEpoch, transactionResult: false, coordinatorEpoch: 0 };
      return {
        body: { markers: [{ ...marker, topics: [{ name, partitionIndexes: [0] }] }] },
        holds: { markers: [{ producerId, topics: [{ name, partitions: [{ partitionIndex: 0 }] }] }] },
      };
    },
    bad: () => ({
      body: {
        markers: [
          {
            producerId: 5,
            producerEpoch: 0,
            transactionResult: false,
            coordinatorEpoch: 0,
            topics: [{ name: 'nowhere', partitionIndexes: [0] }],
          },
        ],
      },
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
  TxnOffsetCommit: {
    good: async (world, version, name) => {
      const topicId = await world.topic(name);
      const producer = await world.producer(name);
      if (version < 5) await world.ask('AddOffsetsToTxn', 3, { ...producer, groupId: name });
      return {
        body: committingIn(producer, name, topicId),
        holds: { topics: [{ partitions: [{ partitionIndex: 0 }] }] },
      };
    },
    bad: async (world, version, name) => {
      const body = committingIn(await world.producer(name), name, await world.topic(name));
      if (version >= 5) {
        return { body: { ...body, producerEpoch: 9 }, errorCode: errorCodes.INVALID_PRODUCER_EPOCH };
      }
      return {
        body,
        errorCode: version >= 4 ? errorCodes.TRANSACTION_ABORTABLE : errorCodes.INVALID_TXN_STATE,
      };
    },
  },
  UpdateFeatures: {
    good: () => ({
      body: {
        timeoutMs,
        featureUpdates: [{ feature: 'transaction.version', maxVersionLevel: 2, upgradeType: 1 }],
        validateOnly: false,
      },
      holds: { errorCode: 0, errorMessage: null },
    }),
    bad: () => ({
      body: {
        timeoutMs,
        featureUpdates: [{ feature: 'transaction.version', maxVersionLevel: 9, upgradeType: 1 }],
        validateOnly: false,
      },
      errorCode: errorCodes.INVALID_UPDATE_VERSION,
    }),
  },
  DescribeProducers: {
    good: async (world, _version, name) => {
      const topicId = await world.topic(name);
      const { producerId, producerEpoch } = await world.producer(name);
      const records = buildRecordBatch([{ value: Buffer.from('v'), timestamp }], {
        producerId,
        producerEpoch,
        baseSequence: 0,
        transactional: true,
      });
      await world.ask('Produce', 12, { ...producing(name, topicId, records), transactionalId: name });
      return {
        body: { topics: [{ name, partitionIndexes: [0] }] },
        holds: {
          topics: [{ partitions: [{ activeProducers: [{ producerId, currentTxnStartOffset: 0 }] }] }],
        },
      };
    },
    bad: () => ({
      body: { topics: [{ name: 'nowhere', partitionIndexes: [0] }] },
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
  DescribeTransactions: {
    good: async (world, _version, name) => {
      const { producerId } = await world.transaction(name);
      return {
        body: { transactionalIds: [name] },
        holds: {
          transactionStates: [
            { transactionState: 'Ongoing', producerId, topics: [{ topic: name, partitions: [0] }] },
          ],
        },
      };
    },
    bad: () => ({
      body: { transactionalIds: ['nobody'] },
      errorCode: errorCodes.TRANSACTIONAL_ID_NOT_FOUND,
    }),
  },
  ListTransactions: {
    good: async (world, _version, name) => {
      const { producerId } = await world.transaction(name);
      return {
        body: { stateFilters: ['Ongoing'], producerIdFilters: [producerId] },
        holds: {
          transactionStates: [{ transactionalId: name, producerId, transactionState: 'Ongoing' }],
        },
      };
    },
    bad: (_world, version) =>
      version < 2
        ? 'what is not there is not listed'
        : {
            body: { stateFilters: [], producerIdFilters: [], transactionalIdPattern: '(' },
            errorCode: errorCodes.INVALID_REGULAR_EXPRESSION,
          },
  },
  DescribeQuorum: {
    good: (world) => ({
      body: { topics: [{ topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }] }] },
      holds: {
        topics: [{ partitions: [{ leaderId: world.nodeId, currentVoters: [{ replicaId: world.nodeId }] }] }],
      },
    }),
    bad: () => ({
      body: { topics: [{ topicName: 'nowhere', partitions: [{ partitionIndex: 0 }] }] },
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
  DescribeCluster: {
    good: (world) => ({
      body: { includeClusterAuthorizedOperations: true },
      holds: { controllerId: world.nodeId, brokers: [{ brokerId: world.nodeId, host: '127.0.0.1' }] },
    }),
    bad: (_world, version) =>
      version === 0
        ? 'there is nothing to ask wrongly'
        : { body: { endpointType: 2 }, errorCode: errorCodes.MISMATCHED_ENDPOINT_TYPE },
  },
  ListConfigResources: {
    good: (world, version) =>
      version === 0
        ? { body: {}, holds: { configResources: [] } }
        : {
            body: { resourceTypes: [4] },
            holds: { configResources: [{ resourceName: String(world.nodeId), resourceType: 4 }] },
          },
    bad: (_world, version) =>
      version === 0
        ? 'there is nothing to ask wrongly'
        : { body: { resourceTypes: [99] }, errorCode: errorCodes.UNSUPPORTED_VERSION },
  },
  AlterClientQuotas: {
    good: (_world, _version, name) => {
      const entity = [{ entityType: 'client-id', entityName: name }];
      return {
        body: { entries: [{ entity, ops: [{ key: 'producer_byte_rate', value: 1e9, remove: false }] }] },
        holds: { entries: [{ entity }] },
      };
    },
    bad: () => ({ body: { entries: [{ entity: [], ops: [] }] }, errorCode: errorCodes.INVALID_REQUEST }),
  },
  DescribeClientQuotas: {
    good: async (world, _version, name) => {
      const entity = [{ entityType: 'client-id', entityName: name }];
      const ops = [{ key: 'request_percentage', value: 12_345.5, remove: false }];
      await world.ask('AlterClientQuotas', 1, { entries: [{ entity, ops }] });
      return {
        body: { components: [{ entityType: 'client-id', matchType: 0, match: name }], strict: true },
        holds: { entries: [{ entity, values: [{ key: 'request_percentage', value: 12_345.5 }] }] },
      };
    },
    bad: () => ({
      body: { components: [{ entityType: 'user', matchType: 9, match: null }] },
      errorCode: errorCodes.INVALID_REQUEST,
    }),
  },
  GetTelemetrySubscriptions: {
    good: () => ({
      body: { clientInstanceId: ZERO_UUID },
      holds: { requestedMetrics: [], deltaTemporality: true },
    }),
    bad: async (world) => {
      const { clientInstanceId } = await world.ask('GetTelemetrySubscriptions', 0, {
        clientInstanceId: ZERO_UUID,
      });
      return { body: { clientInstanceId }, errorCode: errorCodes.THROTTLING_QUOTA_EXCEEDED };
    },
  },
  PushTelemetry: {
    good: async (world) => {
      const { clientInstanceId, subscriptionId } = await world.ask('GetTelemetrySubscriptions', 0, {
        clientInstanceId: ZERO_UUID,
      });
      const push = { terminating: false, compressionType: 0, metrics: Buffer.alloc(0) };
      return { body: { clientInstanceId, subscriptionId, ...push }, holds: {} };
    },
    bad: () => ({
      body: {
        clientInstanceId: unknownId,
        subscriptionId: 1,
        terminating: false,
        compressionType: 0,
        metrics: Buffer.alloc(0),
      },
      errorCode: errorCodes.UNKNOWN_SUBSCRIPTION_ID,
    }),
  },
  DescribeTopicPartitions: {
    good: async (world, _version, name) => {
      await world.topic(name, 2);
      const partitions = [{ partitionIndex: 0 }, { partitionIndex: 1 }];
      return { body: { topics: [{ name }] }, holds: { topics: [{ name, partitions }] } };
    },
    bad: () => ({
      body: { topics: [{ name: 'nowhere' }] },
      errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    }),
  },
};

/** Every error code in an answer, wherever it stands. */
function errorsIn(value: unknown): number[] {
  if (Array.isArray(value)) return value.flatMap(errorsIn);
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return [];
  return Object.entries(value).flatMap(([field, inner]) =>
    field === 'errorCode' || field === 'partitionErrorCode' ? [inner as number] : errorsIn(inner),
  );
}

describe('every version of every API', async () => {
  const broker = await createBroker({ memory: true });
  const client = await RawClient.connect(broker.bootstrapServers);
  const world = new World(broker, client);
  const advertised = (await world.ask('ApiVersions', 3, {
    clientSoftwareName: 'test',
    clientSoftwareVersion: '1',
  })) as { apiKeys: { apiKey: number; minVersion: number; maxVersion: number }[] };
  const served = advertised.apiKeys.map(({ apiKey, minVersion, maxVersion }) => ({
    name: apiByKey(apiKey)!.name,
    versions: Array.from({ length: maxVersion - minVersion + 1 }, (_, at) => minVersion + at),
  }));
  const cases = served.flatMap(({ name, versions }) => versions.map((version) => ({ name, version })));

  beforeAll(async () => {
    await world.ask('FindCoordinator', 0, { key: 'first' });
  });

  afterAll(async () => {
    client.close();
    await broker.stop();
  });

  it('has a row here for what is advertised, and for nothing else', () => {
    expect(Object.keys(rows).sort()).toEqual(served.map(({ name }) => name).sort());
  });

  it.each(cases)('$name v$version does what it is for', async ({ name, version }) => {
    const { body, errorCode, holds } = await rows[name]!.good(world, version, `${name}-${version}-good`);
    const answer = await world.ask(name, version, body);
    const wanted = errorCode ?? errorCodes.NONE;
    expect(errorsIn(answer).filter((code) => code !== wanted && code !== errorCodes.NONE)).toEqual([]);
    expect(answer).toMatchObject(holds);
  });

  it.each(cases)('$name v$version says what is wrong', async ({ name, version }) => {
    const made = await rows[name]!.bad(world, version, `${name}-${version}-bad`);
    if (typeof made === 'string') return;
    expect(errorsIn(await world.ask(name, version, made.body))).toContain(made.errorCode);
  });

  it.each(Array.from({ length: 19 }, (_, version) => version))(
    'Fetch v%i brings the records in its format',
    async (version) => {
      const name = `records-${version}`;
      const topicId = await world.filledTopic(name);
      const answer = await world.ask('Fetch', version, fetching(name, topicId, 0));
      const { records } = (answer.responses as { partitions: { records: Buffer }[] }[])[0]!.partitions[0]!;
      const { batches, trailingBytes } = decodeRecordSet(records);
      const magic = version >= 4 ? 2 : version >= 2 ? 1 : 0;
      expect(trailingBytes).toBe(0);
      expect([...new Set(batches.map((each) => each.magic))]).toEqual([magic]);
      const values = batches.flatMap((each) => each.records.map((record) => String(record.value)));
      expect(values).toEqual(['v0', 'v1', 'v2']);
    },
  );

  it('answers a version of ApiVersions to come in version 0, with what it serves', async () => {
    const header = { apiKey: 18, apiVersion: 99, correlationId: 7_000_001, clientId: null };
    const message = encodeRequestHeader(header, true);
    const frame = Buffer.concat([Buffer.alloc(4), message]);
    frame.writeInt32BE(message.length, 0);
    const reader = new ByteReader(await world.exchange(frame));
    expect(reader.int32('correlationId')).toBe(7_000_001);
    const answer = apiNamed('ApiVersions').response.decode(reader, 0);
    expect(reader.remaining).toBe(0);
    expect(answer).toMatchObject({
      errorCode: errorCodes.UNSUPPORTED_VERSION,
      apiKeys: [{ apiKey: 18, minVersion: 0 }],
    });
  });
});
