/**
 * Metadata, versions 0 to 13: who serves which partitions, at which addresses.
 *
 *  0: an empty list of topics means all of them.
 *  1: null means all, empty means none; rack, controller and internal topics are told.
 *  2: cluster id. 3: throttle time. 4: the client says whether missing topics may be created (before: they may).
 *  5: offline replicas. 6: throttling rules only. 7: leader epochs.
 *  8: authorized operations of topics and of the cluster (KIP-430). 9: flexible.
 * 10: topic ids are told. 11: authorized operations of the cluster are gone (DescribeCluster has them).
 * 12: topics may be asked for by id. 13: an error of the whole answer.
 *
 * Addresses are those of the listener that the request came in on. A topic that is created has its leader in the same answer.
 */

import { errorCodes } from '../../protocol/error-codes.ts';
import type {
  MetadataRequest,
  MetadataResponseInput,
  MetadataResponseMetadataResponseTopicInput,
} from '../../protocol/generated/03-metadata.ts';
import { metadataRequest, metadataResponse } from '../../protocol/generated/03-metadata.ts';
import { ZERO_UUID } from '../../protocol/wire/uuid.ts';
import type { ApiError } from '../services/api-error.ts';
import { isInternalTopic } from '../services/topics/internal-topics.ts';
import type { Topic } from '../services/topics/topic.ts';
import { topicNameFault } from '../services/topics/topic-name.ts';
import { authorizedOperations } from './authorized-operations.ts';
import { type AnyHandler, defineHandler, type RequestContext } from './handler.ts';
import type { Services } from './services.ts';

type TopicAnswer = MetadataResponseMetadataResponseTopicInput;

const firstVersionWithTopicIds = 12;

export function metadataHandler(services: Pick<Services, 'config' | 'engine' | 'topics'>): AnyHandler {
  const { config, engine, topics } = services;
  const nodeId = config.int('node.id');
  const replicas = [nodeId];

  function describe(topic: Topic, operations: number): TopicAnswer {
    const leaderEpoch = engine.epoch;
    return {
      errorCode: errorCodes.NONE,
      name: topic.name,
      topicId: topic.id,
      isInternal: topic.isInternal,
      partitions: topic.partitions.map(({ index }) => ({
        errorCode: errorCodes.NONE,
        partitionIndex: index,
        leaderId: nodeId,
        leaderEpoch,
        replicaNodes: replicas,
        isrNodes: replicas,
      })),
      topicAuthorizedOperations: operations,
    };
  }

  function missing(name: string, code: number, operations: number): TopicAnswer {
    return {
      errorCode: code,
      name,
      isInternal: isInternalTopic(name),
      partitions: [],
      topicAuthorizedOperations: operations,
    };
  }

  function byId(ids: ReadonlySet<string>, operations: number): readonly TopicAnswer[] {
    return [...ids].map((id) => {
      const topic = topics.byId(id);
      return topic === undefined
        ? { errorCode: errorCodes.UNKNOWN_TOPIC_ID, name: null, topicId: id, partitions: [] }
        : describe(topic, operations);
    });
  }

  async function byName(
    names: ReadonlySet<string>,
    mayCreate: boolean,
    operations: number,
  ): Promise<readonly TopicAnswer[]> {
    const absent = mayCreate
      ? [...names].filter((name) => topics.get(name) === undefined && topicNameFault(name) === undefined)
      : [];
    const created: ReadonlyMap<string, Topic | ApiError> =
      absent.length === 0 ? new Map() : await topics.autoCreate(absent);
    return [...names].map((name) => {
      const found = topics.get(name) ?? created.get(name);
      if (found === undefined) {
        const fault = topicNameFault(name);
        const code = fault === undefined ? 'UNKNOWN_TOPIC_OR_PARTITION' : 'INVALID_TOPIC_EXCEPTION';
        return missing(name, errorCodes[code], operations);
      }
      return 'code' in found ? missing(name, found.code, operations) : describe(found, operations);
    });
  }

  function answer(
    context: RequestContext,
    request: MetadataRequest,
    described: readonly TopicAnswer[],
  ): MetadataResponseInput {
    const { advertisedHost: host, advertisedPort: port } = context.connection.listener;
    return {
      brokers: [{ nodeId, host, port, rack: config.string('broker.rack') }],
      clusterId: engine.storageId,
      controllerId: nodeId,
      topics: described,
      clusterAuthorizedOperations: request.includeClusterAuthorizedOperations
        ? authorizedOperations.cluster
        : authorizedOperations.notAsked,
    };
  }

  function refuse(request: MetadataRequest): MetadataResponseInput {
    return {
      brokers: [],
      clusterId: null,
      controllerId: -1,
      topics: (request.topics ?? []).map((topic) => ({
        errorCode: errorCodes.INVALID_REQUEST,
        name: topic.name ?? '',
        topicId: topic.topicId,
        partitions: [],
      })),
      errorCode: errorCodes.INVALID_REQUEST,
    };
  }

  return defineHandler<MetadataRequest, MetadataResponseInput>({
    apiKey: 3,
    minVersion: 0,
    maxVersion: 13,
    request: metadataRequest,
    response: metadataResponse,
    handle(request, context) {
      const operations = request.includeTopicAuthorizedOperations
        ? authorizedOperations.topic
        : authorizedOperations.notAsked;
      const asked = request.topics;
      if (asked === null || (asked.length === 0 && context.apiVersion === 0)) {
        return answer(
          context,
          request,
          topics.all().map((topic) => describe(topic, operations)),
        );
      }
      const names = new Set<string>();
      const ids = new Set<string>();
      for (const { name, topicId } of asked) {
        const hasId = topicId !== ZERO_UUID;
        if (hasId ? context.apiVersion < firstVersionWithTopicIds : name === null) return refuse(request);
        if (hasId) ids.add(topicId);
        else if (name !== null) names.add(name);
      }
      // Where one is asked for by id, names are not looked at, as in Kafka.
      if (ids.size > 0) return answer(context, request, byId(ids, operations));
      const mayCreate = request.allowAutoTopicCreation && config.boolean('auto.create.topics.enable');
      return byName(names, mayCreate, operations).then((described) => answer(context, request, described));
    },
    fail: (request, errorCode) => ({
      brokers: [],
      controllerId: -1,
      topics: (request.topics ?? []).map(({ name, topicId }) => ({
        errorCode,
        name: name ?? '',
        topicId,
        partitions: [],
      })),
      errorCode,
    }),
  });
}
